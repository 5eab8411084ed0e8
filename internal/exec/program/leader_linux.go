package program

import (
	"encoding/binary"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"quant/internal/process"
)

// The descriptors of a leader: the program's terminal, the socket to us, and nothing.
const (
	leaderTerminal = 0
	leaderSocket   = 1
	leaderStderr   = 2 // /dev/null
)

// What we tell a leader: to start the program, and by that what its stderr is; or
// that the program has ended, followed by a carries or drops for each descriptor
// that comes along to be read, and behind it, for carries, where it goes.
const (
	startNoStderr byte = iota
	startStderrOnTerminal
	startStderrAttached
	ended

	carries
	drops
)

// leaderPatience is how long a leader may take to answer that the program has ended.
const leaderPatience = time.Second

// mostAttached is how many descriptors come with a message at most.
const mostAttached = 8

// lead starts the program in a session that a leader leads, as our own child. ok:
// it did; else the program has not started, and is to be started in another way.
func (s *session) lead() (ok bool) {
	if s.Relay == "" {
		return false
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(pair[0])
		_ = unix.Close(pair[1])
		return false
	}
	// The program's arguments and environment are the leader's, so that it hands on
	// what it was given, byte for byte.
	pid, err := syscall.ForkExec(s.Relay, append([]string{"quant", RelayArg, s.Path}, s.Argv...), &syscall.ProcAttr{
		Env: s.Env, Files: []uintptr{s.files[0], uintptr(pair[1]), uintptr(null)},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: leaderTerminal},
	})
	_ = unix.Close(pair[1])
	_ = unix.Close(null)
	l := &leader{socket: pair[0]}
	if err != nil {
		l.close()
		return false
	}
	how, attached := startNoStderr, []int(nil)
	switch s.files[2] {
	case closed:
	case s.files[0]:
		how = startStderrOnTerminal
	default:
		how, attached = startStderrAttached, []int{int(s.files[2])}
	}
	answer := make([]byte, 4)
	if unix.Sendmsg(l.socket, []byte{how}, rights(attached), nil, unix.MSG_NOSIGNAL) == nil {
		if n, err := retry(func() (int, error) { return unix.Read(l.socket, answer) }); err == nil && n == len(answer) {
			s.pid = int(binary.NativeEndian.Uint32(answer))
		}
	}
	if s.pid == 0 {
		l.close()
		_, _ = retry(func() (int, error) { return syscall.Wait4(pid, nil, 0, nil) })
		reapSession(pid)
		return false
	}
	go func() { _, _ = retry(func() (int, error) { return syscall.Wait4(pid, nil, 0, nil) }) }()
	s.leader = l
	return true
}

// reapSession waits for our children in the session of a leader that has ended: it
// cannot wait itself for one that could not become the program.
func reapSession(leader int) {
	for _, p := range process.All() {
		if sid, err := unix.Getsid(p.PID); p.Parent == os.Getpid() && err == nil && sid == leader {
			_, _ = retry(func() (int, error) { return syscall.Wait4(p.PID, nil, 0, nil) })
		}
	}
}

func rights(fds []int) []byte {
	if len(fds) == 0 {
		return nil
	}
	return unix.UnixRights(fds...)
}

// handOver tells the leader that the program has ended, and what is to be read on.
// It returns once the program's session is the leader's to keep, or after
// leaderPatience: a leader may have been stopped.
func (l *leader) handOver(list []carried) {
	text, attached := []byte{ended}, []int(nil)
	for _, c := range list {
		attached = append(attached, c.from)
		if c.to < 0 {
			text = append(text, drops)
			continue
		}
		text, attached = append(text, carries), append(attached, c.to)
	}
	wait := unix.NsecToTimeval(int64(leaderPatience))
	if unix.SetsockoptTimeval(l.socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait) == nil && unix.Sendmsg(l.socket, text, rights(attached), nil, unix.MSG_NOSIGNAL) == nil {
		_, _ = retry(func() (int, error) { return unix.Read(l.socket, make([]byte, 1)) })
	}
}

func (l *leader) close() { _ = unix.Close(l.socket) }

// leaderMain is the whole life of a leader: argv is the program's, with its file in
// front, and environ is the program's. It returns its exit status.
func leaderMain(argv, environ []string) int {
	text, attached, err := receive()
	if err != nil || len(text) != 1 || len(argv) < 2 {
		return 2
	}
	files := []uintptr{leaderTerminal, leaderTerminal, closed}
	switch {
	case text[0] == startStderrOnTerminal:
		files[2] = leaderTerminal
	case text[0] == startStderrAttached && len(attached) == 1:
		files[2] = uintptr(attached[0])
	}
	// It becomes a child of our parent, who waits for it; in the foreground before it
	// runs, so that it never finds itself in the background.
	pid, err := syscall.ForkExec(argv[0], argv[1:], &syscall.ProcAttr{
		Env: environ, Files: files,
		Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT, Foreground: true, Ctty: leaderTerminal},
	})
	if err != nil {
		return 2
	}
	for _, fd := range attached {
		_ = unix.Close(fd)
	}
	closeInherited(leaderStderr + 1) // the program has them
	// Who has the terminal open is now the program, or was started by it.
	if null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		_ = unix.Dup3(null, leaderTerminal, 0)
		_ = unix.Close(null)
	}
	if _, err := unix.Write(leaderSocket, binary.NativeEndian.AppendUint32(nil, uint32(pid))); err != nil {
		return 2
	}
	text, attached, err = receive()
	if err != nil || len(text) == 0 || text[0] != ended {
		return 0
	}
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTTOU, unix.SIGTSTP)
	if tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0); err == nil {
		_ = unix.IoctlSetPointerInt(int(tty.Fd()), unix.TIOCSPGRP, unix.Getpgrp())
		tty.Close()
	}
	_ = unix.Chdir("/") // what it is in can be unmounted
	var reading sync.WaitGroup
	for _, kind := range text[1:] {
		c := carried{to: -1}
		c.from, attached = attached[0], attached[1:]
		if kind == carries {
			c.to, attached = attached[0], attached[1:]
		}
		reading.Go(func() { passOn(c.from, c.to) })
	}
	_, _ = unix.Write(leaderSocket, []byte{ended})
	_ = unix.Close(leaderSocket)
	reading.Wait()
	return 0
}

// receive returns the next message to a leader, and the descriptors that came with
// it. Errors: also that who would send one is gone.
func receive() (text []byte, attached []int, err error) {
	text, space := make([]byte, 1+mostAttached), make([]byte, unix.CmsgSpace(4*mostAttached))
	var spaceUsed int
	n, err := retry(func() (n int, err error) {
		n, spaceUsed, _, _, err = unix.Recvmsg(leaderSocket, text, space, unix.MSG_CMSG_CLOEXEC)
		return n, err
	})
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return nil, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(space[:spaceUsed])
	for i := range messages {
		if err == nil {
			attached, err = unix.ParseUnixRights(&messages[i])
		}
	}
	return text[:n], attached, err
}

// isMaster reports whether a descriptor is our side of a terminal.
func isMaster(fd int) bool {
	_, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	return err == nil
}
