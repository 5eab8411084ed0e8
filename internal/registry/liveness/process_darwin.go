package liveness

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

func machineID() string { return sysctl("kern.uuid") }

func bootID() string { return sysctl("kern.bootsessionuuid") }

func sysctl(name string) string {
	s, err := unix.Sysctl(name)
	if err != nil {
		return ""
	}
	return s
}

// ProcessStart returns the start time that the kernel keeps of the process;
// exists is false when there is no such process.
func ProcessStart(pid int) (start string, exists bool) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return "", !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EIO)
	}
	t := info.Proc.P_starttime
	return strconv.FormatInt(t.Sec, 10) + "." + strconv.FormatInt(int64(t.Usec), 10), true
}
