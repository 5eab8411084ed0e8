package process

import (
	"errors"
	"os"
	"syscall"
)

// Terminate asks a process to end, with SIGTERM. start is its Process.Start: no other
// process that has come to its pid is touched. Errors: os.ErrProcessDone where that
// process has ended, those of the system.
func Terminate(pid int, start string) error {
	p, err := os.FindProcess(pid) // on Linux this holds the process, whatever becomes of its pid
	if err != nil {
		return err
	}
	defer func() { _ = p.Release() }()
	now, exists := StartOf(pid)
	switch {
	case !exists:
		return os.ErrProcessDone
	case start == "" || now == "":
		return errors.New("when it started is not known")
	case now != start:
		return os.ErrProcessDone
	}
	return p.Signal(syscall.SIGTERM)
}
