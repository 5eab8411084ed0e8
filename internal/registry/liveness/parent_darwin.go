package liveness

import "golang.org/x/sys/unix"

// ParentOf returns the pid of the parent of a living process, 0 if it is not
// known.
func ParentOf(pid int) int {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return 0
	}
	return int(info.Eproc.Ppid)
}
