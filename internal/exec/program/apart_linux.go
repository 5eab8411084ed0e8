package program

import "syscall"

// apart starts a process in a session of its own, and ends it when the thread that
// started it does.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}
