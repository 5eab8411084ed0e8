package program

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long what was written to a terminal may take to come out at its
// other side: the kernel hands it on in its own time.
const settle = 20 * time.Millisecond

// relay carries what the program prints from its side to ours.
type relay struct {
	from, to *os.File
	out      bool
	copy     func(out bool, b []byte)
	terminal bool

	over         atomic.Bool
	woken, waker *os.File // a pipe: a byte in it wakes run
	close        func()
}

func (s *session) addRelay(from, to *os.File, out bool) error {
	woken, waker, err := os.Pipe()
	if err != nil {
		from.Close()
		return err
	}
	r := &relay{from: from, to: to, out: out, copy: s.Copy, terminal: from == s.master, woken: woken, waker: waker}
	r.close = func() { from.Close(); woken.Close(); waker.Close() }
	s.relays = append(s.relays, r)
	return nil
}

// finish makes run return once it has taken what is there.
func (r *relay) finish() {
	r.over.Store(true)
	_, _ = r.waker.Write([]byte{0})
}

// mostLeft bounds what a program that has ended can have left in a pipe or a
// terminal: what comes beyond it is from others.
const mostLeft = 1 << 20

func (r *relay) run() {
	buf := make([]byte, 64<<10)
	from, left := int(r.from.Fd()), mostLeft
	for {
		watch := []unix.PollFd{{Fd: int32(from), Events: unix.POLLIN}, {Fd: int32(r.woken.Fd()), Events: unix.POLLIN}}
		wait := -1
		over := r.over.Load()
		if over {
			watch, wait = watch[:1], 0
			if r.terminal {
				wait = int(settle / time.Millisecond)
			}
		}
		n, err := unix.Poll(watch, wait)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || over && (n == 0 || left <= 0) {
			return
		}
		if watch[0].Revents == 0 {
			continue
		}
		n, err = unix.Read(from, buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if n <= 0 { // a terminal that nobody has open any more says EIO
			return
		}
		if over {
			left -= n
		}
		err = writeAll(int(r.to.Fd()), buf[:n])
		r.copy(r.out, buf[:n])
		if err != nil {
			// Nobody reads any more: let the program find out as it would have.
			r.from.Close()
			return
		}
	}
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		switch {
		case err == nil:
			b = b[n:]
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			watch := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			if _, err := unix.Poll(watch, -1); err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
		default:
			return err
		}
	}
	return nil
}
