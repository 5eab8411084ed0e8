//go:build linux && (amd64 || arm64)

package faults

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"quant/internal/test/labtest"
)

// call says where the file of a system call stands among its arguments: as the
// descriptor in the first, as a descriptor in argument out, or as a path in
// argument path, from the folder in argument at (-1: the working directory).
type call struct {
	name          string
	fd            bool
	out, path, at int
}

// The kernel asks this process at each watched call of another one, and waits for
// the answer (seccomp's user notifications). The counter is one for all threads,
// nothing is parsed, and the process that is watched is not slowed down between
// its calls.

// notifySocket names the descriptor over which a process that is to be watched
// hands over its listener.
const notifySocket = "QUANT_TEST_WATCHED_BY"

// becomeWatched is called first of all in a test binary: where it was started to
// be watched, the filter is set up and the binary started again.
func becomeWatched() {
	if os.Getenv(notifySocket) == "" {
		return
	}
	runtime.LockOSThread()
	socket, err := strconv.Atoi(os.Getenv(notifySocket))
	if err == nil {
		err = handOver(socket)
	}
	if err == nil {
		_ = os.Unsetenv(notifySocket)
		err = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, "not watched:", err)
	os.Exit(99)
}

func handOver(socket int) error {
	filter := program()
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	listener, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	unix.CloseOnExec(socket)
	return unix.Sendmsg(socket, []byte{1}, unix.UnixRights(int(listener)), nil, 0)
}

// program lets everything pass but the watched calls.
func program() []unix.SockFilter {
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // the number of the call
	left := len(watched)
	for number := range watched {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(number), Jt: uint8(left)})
		left--
	}
	return append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
}

// notification and response are seccomp_notif and seccomp_notif_resp.
type notification struct {
	id         uint64
	pid, flags uint32
	number     int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type response struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// run runs quant in the lab with a fault, and returns how it ended and the calls
// that touched the lab, in their order.
func run(l *labtest.Lab, f fault, args ...string) (labtest.Result, []place) {
	l.T.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	labtest.Must(l.T, err)
	ours, theirs := pair[0], os.NewFile(uintptr(pair[1]), "watched")
	cmd := l.Command(args...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Env = append(cmd.Env, notifySocket+"=3")
	p := l.StartCmd(cmd)
	theirs.Close()
	listener, err := receive(ours)
	unix.Close(ours)
	if err != nil {
		l.T.Fatalf("the process cannot be watched: %v: %v", err, p.Wait())
	}
	w := &watch{root: l.Dir, pid: p.Process.Pid, listener: listener, fault: f, processes: map[uint32]int{}}
	watched := make(chan error, 1)
	go func() { watched <- w.loop() }()
	r := p.Wait()
	labtest.Must(l.T, <-watched)
	unix.Close(listener)
	return r, w.places
}

func receive(socket int) (int, error) {
	space := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), space, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(space[:n])
	if err != nil || len(messages) != 1 {
		return 0, fmt.Errorf("no listener came: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return 0, fmt.Errorf("no listener came: %w", err)
	}
	return fds[0], nil
}

// watch answers the kernel for one process.
type watch struct {
	root      string
	pid       int
	listener  int
	fault     fault
	places    []place
	processes map[uint32]int // of threads
}

// loop ends when the last process that has the filter has ended.
func (w *watch) loop() error {
	for {
		poll := []unix.PollFd{{Fd: int32(w.listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return err
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			return nil
		}
		var n notification
		if err := w.control(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); err != nil {
			continue // it was killed meanwhile
		}
		answer := response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if at, ok := w.place(n); ok {
			w.places = append(w.places, at)
			switch {
			case !w.fault.at(len(w.places), at):
			case w.fault.errno != 0:
				answer.flags, answer.errno = 0, -int32(w.fault.errno)
			default:
				if w.fault.torn {
					w.half(n)
				}
				if err := unix.Kill(w.pid, unix.SIGKILL); err != nil {
					return err
				}
				continue
			}
		}
		if err := w.control(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&answer)); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
}

func (w *watch) control(request uint, argument unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(w.listener), uintptr(request), uintptr(argument))
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}

// place tells which file of the lab a call of the watched process itself is for.
func (w *watch) place(n notification) (place, bool) {
	c, known := watched[int(n.number)]
	if !known || w.process(n.pid) != w.pid {
		return place{}, false
	}
	path := ""
	switch {
	case c.fd:
		path = w.link(n.pid, "fd", int32(n.args[0]))
	case c.out > 0:
		path = w.link(n.pid, "fd", int32(n.args[c.out]))
	default:
		path = w.text(n.pid, n.args[c.path])
		if !filepath.IsAbs(path) {
			folder := "cwd"
			if c.at >= 0 && int32(n.args[c.at]) != unix.AT_FDCWD {
				folder = w.link(n.pid, "fd", int32(n.args[c.at]))
			} else if to, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", n.pid)); err == nil {
				folder = to
			}
			path = filepath.Join(folder, path)
		}
	}
	file, err := filepath.Rel(w.root, path)
	if err != nil || file == ".." || strings.HasPrefix(file, "../") {
		return place{}, false
	}
	return place{c.name, file}, true
}

func (w *watch) process(thread uint32) int {
	if known, ok := w.processes[thread]; ok {
		return known
	}
	pid := 0
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread)); err == nil {
		if _, after, found := bytes.Cut(status, []byte("\nTgid:\t")); found {
			line, _, _ := bytes.Cut(after, []byte("\n"))
			pid, _ = strconv.Atoi(string(line))
		}
	}
	w.processes[thread] = pid
	return pid
}

func (w *watch) link(thread uint32, what string, fd int32) string {
	to, err := os.Readlink(fmt.Sprintf("/proc/%d/%s/%d", thread, what, fd))
	if err != nil || !filepath.IsAbs(to) { // a pipe, a socket
		return "/"
	}
	return to
}

func (w *watch) text(thread uint32, at uint64) string {
	b := w.memory(thread, at, unix.PathMax)
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	return string(b)
}

func (w *watch) memory(thread uint32, at, length uint64) []byte {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", thread))
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, length)
	n, _ := f.ReadAt(b, int64(at)) // what is mapped of it
	return b[:n]
}

// half does the first half of a write, as a disk may have when the power fails.
func (w *watch) half(n notification) {
	name := watched[int(n.number)].name
	if name != "write" && name != "pwrite" {
		return
	}
	b := w.memory(n.pid, n.args[1], n.args[2]/2)
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/%d", n.pid, n.args[0]), os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	offset := int64(n.args[3])
	if name == "write" {
		info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", n.pid, n.args[0]))
		if _, scanned := fmt.Sscanf(string(info), "pos:\t%d", &offset); err != nil || scanned != nil {
			return
		}
	}
	_, _ = f.WriteAt(b, offset)
}

// wantWatching skips a test where the kernel does not let processes be watched,
// and fails it where that must not be.
func wantWatching(t *testing.T) {
	t.Helper()
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_NOTIF_SIZES, 0, uintptr(unsafe.Pointer(&[3]uint16{})))
	if errno != 0 {
		withoutWatching(t, errno)
	}
}

// withoutWatching ends a test where no fault can be put into a process.
func withoutWatching(t *testing.T, why error) {
	t.Helper()
	labtest.CannotTry(t, "no process can be watched here, so no fault can be put into one: %v", why)
}
