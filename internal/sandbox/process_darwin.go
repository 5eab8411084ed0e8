package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

func executable() (string, error) { return os.Executable() }

// childAttributes put the child in a group of its own. There is no death signal
// here: a child whose parent dies ends when its control socket does.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func killChild(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func controlPair() (theirs, ours *os.File, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("control socket: %w", err)
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	return os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control"), nil
}

var errNotStartedByQuant = errors.New("this is not a command: it is started by `quant sql` only")

func checkParent(control *os.File) error {
	if _, err := unix.Getpeername(int(control.Fd())); err != nil {
		return errNotStartedByQuant
	}
	return nil
}

// limitProcess forbids core files and regular files. Address space cannot be
// limited on these systems: the engines' own memory limits stand alone.
func limitProcess(_, fileBytes int64) error {
	for resource, m := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_FSIZE: uint64(fileBytes)} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: m, Max: m}); err != nil {
			return fmt.Errorf("set limit %d: %w", resource, err)
		}
	}
	return nil
}
