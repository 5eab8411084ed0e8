package program

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const szomb = 5 // of sys/proc.h

// processes are all that can be seen here.
func processes() []Process {
	all, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return nil
	}
	list := make([]Process, 0, len(all))
	for _, p := range all {
		list = append(list, Process{
			PID: int(p.Proc.P_pid), Name: unix.ByteSliceToString(p.Proc.P_comm[:]), parent: int(p.Eproc.Ppid),
			start: fmt.Sprint(p.Proc.P_starttime), gone: p.Proc.P_stat == szomb,
		})
	}
	return list
}

func parentOf(pid int) int {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return 0
	}
	return int(info.Eproc.Ppid)
}

// hasVariable does not tell here: processes are known by who started them.
func hasVariable(int, string) bool { return false }

// controlsJobs does not tell here: who puts its children in groups of their own is
// taken for a shell that controls jobs.
func controlsJobs(int) bool { return true }
