package program

import (
	"errors"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// RelayArg is the first argument of a process that keeps reading what is still
// written after a program has ended, and stands before how many pairs of
// descriptors that reads; before a program and its arguments, of a leader. It is no
// command.
const RelayArg = "__relay"

// The descriptors of such a process come in pairs from firstRelayFD on: a pipe to
// read, and where it goes.
const firstRelayFD = 3

// mostPairs is how many there are at most.
const mostPairs = 8

// handOver leaves the pipes and terminals that processes still write to, after the
// program has ended, to the leader or a process of its own, so that writing goes on
// to be possible for them.
// It reports whether there are any. Into a file or a device what they write goes
// on as before; to the reader of a pipe or socket the program's end is the end of
// its output, and what comes later is read and dropped.
func (s *session) handOver() (kept bool) {
	var list []carried
	for _, r := range s.relays {
		if !r.stillWritten() || r.terminal && !isMaster(int(r.from.Fd())) {
			continue
		}
		c := carried{from: int(r.from.Fd()), to: -1}
		if info, err := r.to.Stat(); err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
			c.to = int(r.to.Fd())
		}
		list = append(list, c)
	}
	switch {
	case s.leader != nil:
		s.leader.handOver(list)
	case len(list) > 0 && s.Relay != "":
		startRelay(s.Relay, list)
	}
	return len(list) > 0
}

// startRelay starts a process that carries on. That it cannot be started only means
// that nobody reads.
func startRelay(file string, list []carried) {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(null) }()
	files := []uintptr{uintptr(null), uintptr(null), uintptr(null)}
	for _, c := range list {
		if c.to < 0 {
			c.to = null
		}
		files = append(files, uintptr(c.from), uintptr(c.to))
	}
	// In a session of its own: no key of a terminal is meant for it.
	pid, err := syscall.ForkExec(file, []string{"quant", RelayArg, strconv.Itoa(len(list))}, &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err == nil {
		go func() { _, _ = retry(func() (int, error) { return syscall.Wait4(pid, nil, 0, nil) }) }()
	}
}

// stillWritten reports whether somebody has the writing side of a pipe open.
func (r *relay) stillWritten() bool {
	watch := []unix.PollFd{{Fd: int32(r.from.Fd()), Events: unix.POLLIN}}
	if watch[0].Fd < 0 { // it was closed: nobody reads it any more
		return false
	}
	_, err := unix.Poll(watch, 0)
	return err == nil && (watch[0].Revents == 0 || watch[0].Revents == unix.POLLIN)
}

// RelayMain is the whole life of such a process: it ends when nobody writes any
// more. args are what stands behind RelayArg, environ is the environment of the
// process. It returns its exit status: 2 when it was not started by this package.
func RelayMain(args, environ []string) int {
	if len(args) != 1 {
		return leaderMain(args, environ)
	}
	pairs, err := strconv.Atoi(args[0])
	if err != nil || pairs < 1 || pairs > mostPairs {
		return 2
	}
	beyond := firstRelayFD + 2*pairs
	for fd := firstRelayFD; fd < beyond; fd += 2 {
		var info unix.Stat_t
		if unix.Fstat(fd, &info) != nil || info.Mode&unix.S_IFMT != unix.S_IFIFO && !isMaster(fd) {
			return 2
		}
	}
	closeInherited(beyond)
	var reading sync.WaitGroup
	for fd := firstRelayFD; fd < beyond; fd += 2 {
		reading.Go(func() { passOn(fd, fd+1) })
	}
	reading.Wait()
	return 0
}

// closeInherited closes the descriptors from one on that this process was started
// with: others wait for the end of what these are of, such as a pipe or a lock. Our
// own, the Go runtime's among them, are the ones that no other program inherits.
func closeInherited(from int) {
	dir, err := os.Open("/dev/fd")
	if err != nil {
		return
	}
	names, _ := dir.Readdirnames(-1)
	dir.Close()
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || fd < from {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
}

// passOn reads until nobody writes any more; to: -1 drops what it reads.
func passOn(from, to int) {
	defer func() { _ = unix.Close(from) }() // who writes then learns that nobody reads
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(from, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(from), Events: unix.POLLIN}}, -1)
			continue
		case n <= 0:
			return
		}
		if to >= 0 && writeAll(to, buf[:n]) != nil {
			return
		}
	}
}
