package program

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
)

// rssUnit is the unit of ru_maxrss, in bytes.
const rssUnit = 1

// disposition is what a process does at a signal.
type disposition int

const (
	byDefault disposition = iota
	ignored
	caught
)

// dispositionOf does not tell here: every program is stopped as one that has
// nothing to say about it.
func dispositionOf(int, syscall.Signal) disposition { return byDefault }

const sstop = 4 // of sys/proc.h

// stopped reports whether a process is stopped.
func stopped(pid int) bool {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	return err == nil && info.Proc.P_stat == sstop
}
