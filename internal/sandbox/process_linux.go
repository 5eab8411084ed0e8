package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// executable is the very file that this process runs, even if another one
// stands under its name by now.
func executable() (string, error) {
	if _, err := os.Stat("/proc/self/exe"); err == nil {
		return "/proc/self/exe", nil
	}
	return os.Executable()
}

// childAttributes put the child in a group of its own, so that a terminal's
// Ctrl-C reaches the parent only, and let it die with the parent.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func killChild(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

// controlPair returns the child's and the parent's end of a socket pair. A
// socket and not a pipe: it works both ways, and it knows who made it.
func controlPair() (theirs, ours *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("control socket: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control"), nil
}

var errNotStartedByQuant = errors.New("this is not a command: it is started by `quant sql` only")

// checkParent makes sure that the control socket was made by our parent, and
// that the parent is this same program: a query that nobody recorded cannot be
// run by calling the child from a shell.
func checkParent(control *os.File) error {
	cred, err := unix.GetsockoptUcred(int(control.Fd()), unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || int(cred.Pid) != os.Getppid() || int(cred.Uid) != os.Getuid() {
		return errNotStartedByQuant
	}
	self, err := os.Stat("/proc/self/exe")
	if errors.Is(err, os.ErrNotExist) {
		return nil // no /proc here
	}
	parent, perr := os.Stat(fmt.Sprintf("/proc/%d/exe", cred.Pid))
	if err != nil || perr != nil || !os.SameFile(self, parent) {
		return errNotStartedByQuant
	}
	return nil
}

// addressSlack is address space beyond the query's memory that is not memory in
// use: thread stacks, allocator arenas, the Go heap's reserved ranges.
const addressSlack = 768 << 20

// limitProcess lowers this process's limits for good: address space to what it
// has now plus memory and some slack, no core files, no file longer than
// fileBytes (0: no regular file can be written), no new privileges.
func limitProcess(memory, fileBytes int64) error {
	signal.Ignore(syscall.SIGXFSZ) // let the write fail instead
	var pages int64
	b, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(b), &pages)
	}
	if err != nil {
		return fmt.Errorf("own memory size: %w", err)
	}
	space := uint64(pages*int64(os.Getpagesize()) + memory + addressSlack)
	for _, l := range []struct {
		resource int
		max      uint64
	}{
		{unix.RLIMIT_AS, space},
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_FSIZE, uint64(fileBytes)},
	} {
		var now unix.Rlimit
		if err := unix.Getrlimit(l.resource, &now); err != nil {
			return fmt.Errorf("read limit %d: %w", l.resource, err)
		}
		m := min(l.max, now.Max)
		if err := unix.Setrlimit(l.resource, &unix.Rlimit{Cur: m, Max: m}); err != nil {
			return fmt.Errorf("set limit %d: %w", l.resource, err)
		}
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}
