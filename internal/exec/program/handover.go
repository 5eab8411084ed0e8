package program

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// RelayArg is the first argument of a process that keeps reading what is still
// written after a program has ended. It is no command.
const RelayArg = "__relay"

// The descriptors of such a process come in pairs from firstRelayFD on: a pipe to
// read, and where it goes.
const firstRelayFD = 3

// handOver leaves the pipes that processes still write to, after the program has
// ended, to a process of its own, so that writing goes on to be possible for them.
// It reports whether there are any. Into a file or a device what they write goes
// on as before; to the reader of a pipe or socket the program's end is the end of
// its output, and what comes later is read and dropped.
func (s *session) handOver() (kept bool) {
	files := []uintptr{0, 0, 0}
	for _, r := range s.relays {
		if r.terminal || !r.stillWritten() {
			continue
		}
		kept = true
		to := r.to.Fd()
		if info, err := r.to.Stat(); err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0 {
			to = closed
		}
		files = append(files, r.from.Fd(), to)
	}
	if !kept || s.Relay == "" {
		return kept
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return kept
	}
	defer func() { _ = unix.Close(null) }()
	for i, fd := range files {
		if i < firstRelayFD || fd == closed {
			files[i] = uintptr(null)
		}
	}
	// In a session of its own: no key of a terminal is meant for it. That it cannot
	// be started only means that nobody reads.
	_, _ = syscall.ForkExec(s.Relay, []string{"quant", RelayArg}, &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	return kept
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
// more. It returns its exit status: 2 when it was not started by handOver.
func RelayMain() int {
	done := make(chan struct{})
	relays := 0
	for fd := firstRelayFD; ; fd += 2 {
		var info unix.Stat_t
		if unix.Fstat(fd, &info) != nil || info.Mode&unix.S_IFMT != unix.S_IFIFO {
			break
		}
		relays++
		go func() {
			passOn(fd, fd+1)
			done <- struct{}{}
		}()
	}
	if relays == 0 {
		return 2
	}
	for range relays {
		<-done
	}
	return 0
}

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
		if writeAll(to, buf[:n]) != nil {
			return
		}
	}
}
