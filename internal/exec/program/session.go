package program

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"quant/internal/process"
)

// session is a program with the streams that lead to it.
type session struct {
	Command
	own   bool // it has a session and a terminal of its own
	pid   int
	files []uintptr // its descriptors 0, 1 and 2

	master *os.File   // our side of its terminal, where it has one
	inner  []*os.File // its sides, closed here once it has them
	relays []*relay
	busy   sync.WaitGroup // the relays

	leader *leader // of its session; nil: it leads that itself, or shares ours

	keys         *os.File // the master again, for the reader of the keyboard alone
	woken, waker *os.File // a pipe: closing its one side wakes that reader

	asked atomic.Bool // that it stops

	ending syscall.Signal    // see Result.Asked; forward's, and ours once that has returned
	family []process.Process // what the program had started by then

	mu    sync.Mutex
	saved *term.State // of our terminal, while that is raw
	ended bool
}

// closed is a descriptor that the program does not get.
const closed = ^uintptr(0)

func (c Command) open() (*session, error) {
	s := &session{Command: c}
	in, out, errs := isTerminal(c.In), isTerminal(c.Out), isTerminal(c.Err)
	if c.Apart {
		in, out, errs = false, false, false
	}
	s.own = in && out
	s.files = []uintptr{closed, closed, closed}
	if c.In != nil {
		s.files[0] = c.In.Fd()
	}
	if out || errs {
		master, slave, err := pty.Open()
		if err != nil {
			return nil, err
		}
		s.master, s.inner = master, append(s.inner, slave)
		like := c.Out
		if !out {
			like = c.Err
		}
		if modes, err := unix.IoctlGetTermios(int(like.Fd()), getTermios); err == nil {
			_ = unix.IoctlSetTermios(int(slave.Fd()), setTermios, modes)
		}
		if s.own {
			s.files[0] = slave.Fd()
			if err := s.openKeyboard(); err != nil {
				s.close()
				return nil, err
			}
		}
		if err := s.addRelay(master, like, out); err != nil {
			s.close()
			return nil, err
		}
		if out {
			s.files[1] = slave.Fd()
		}
		if errs {
			s.files[2] = slave.Fd()
		}
		s.resize()
	}
	if !out && c.Out != nil {
		if err := s.pipe(1, c.Out, true); err != nil {
			s.close()
			return nil, err
		}
	}
	switch {
	case errs || c.Err == nil:
	case c.Out != nil && !out && same(c.Out, c.Err): // 2>&1: one pipe keeps the order
		s.files[2] = s.files[1]
	default:
		if err := s.pipe(2, c.Err, false); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// openKeyboard opens what the reader of the keyboard uses. That reader may be in
// the middle of a read when the program ends, is not waited for, and closes its
// own side.
func (s *session) openKeyboard() error {
	fd, err := unix.FcntlInt(s.master.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	s.keys = os.NewFile(uintptr(fd), s.master.Name())
	s.woken, s.waker, err = os.Pipe()
	return err
}

func same(a, b *os.File) bool {
	one, err1 := a.Stat()
	two, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(one, two)
}

func (s *session) pipe(fd int, to *os.File, out bool) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	s.inner = append(s.inner, w)
	s.files[fd] = w.Fd() // which also makes it blocking, as the program expects
	return s.addRelay(r, to, out)
}

// started is called once the program has its descriptors.
func (s *session) started() {
	for _, f := range s.inner {
		f.Close()
	}
	s.inner = nil
	for _, r := range s.relays {
		s.busy.Go(r.run)
	}
	if s.own {
		s.enter()
		go s.keyboard()
	}
}

// drain takes what the program has printed before it ended. What processes
// print that it left behind is not waited for: see handOver.
func (s *session) drain() {
	for _, r := range s.relays {
		r.finish()
	}
	s.busy.Wait()
}

func (s *session) close() {
	s.leave(true)
	if s.waker != nil {
		s.waker.Close() // its reader closes the other side
	}
	if s.leader != nil {
		s.leader.close()
	}
	for _, f := range s.inner {
		f.Close()
	}
	for _, r := range s.relays {
		r.close()
	}
}

// resize gives the program's terminal the size of ours; the program is told if
// that is another one.
func (s *session) resize() {
	if s.master == nil {
		return
	}
	for _, f := range []*os.File{s.Out, s.Err, s.In} {
		if isTerminal(f) {
			if size, err := pty.GetsizeFull(f); err == nil {
				_ = pty.Setsize(s.master, size)
			}
			return
		}
	}
}

// enter makes our terminal raw, if it is ours to use.
func (s *session) enter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	tty := int(s.In.Fd())
	if s.ended || !foreground(tty) {
		return
	}
	saved, err := term.MakeRaw(tty) // also if it was raw: a shell may have had it meanwhile
	if err == nil && s.saved == nil {
		s.saved = saved
	}
}

// leave gives our terminal back as it was.
func (s *session) leave(ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = s.ended || ended
	if s.saved != nil {
		_ = term.Restore(int(s.In.Fd()), s.saved)
		s.saved = nil
	}
}

func (s *session) raw() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.saved != nil
}

// keyboard hands on what is typed while our terminal is ours to use.
func (s *session) keyboard() {
	defer s.woken.Close()
	defer s.keys.Close()
	buf := make([]byte, 4096)
	tty := int32(s.In.Fd())
	for {
		watch := []unix.PollFd{{Fd: int32(s.woken.Fd()), Events: unix.POLLIN}}
		wait := 100
		if s.raw() {
			watch = append(watch, unix.PollFd{Fd: tty, Events: unix.POLLIN})
			wait = -1
		}
		_, err := unix.Poll(watch, wait)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || watch[0].Revents != 0 {
			return
		}
		if len(watch) == 1 || watch[1].Revents == 0 || !s.raw() {
			continue
		}
		n, err := unix.Read(int(tty), buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if n <= 0 {
			return
		}
		s.typed(buf[:n])
	}
}

// typed writes what was typed into the program's terminal. The key that stops
// programs (Ctrl-Z) is acted on here: nobody else in its session waits for the
// program, and such a group the kernel does not stop by itself.
func (s *session) typed(b []byte) {
	from := 0
	for i, c := range b {
		if s.stops(c) {
			s.into(b[from:i])
			from = i
			if process.DispositionOf(s.pid, syscall.SIGTSTP) != process.Ignored {
				s.echo(c)
				s.suspend()
				from = i + 1
			}
		}
	}
	s.into(b[from:])
}

func (s *session) into(b []byte) {
	if len(b) > 0 {
		_ = writeAll(int(s.keys.Fd()), b)
	}
}

// echo shows a key on our terminal as the program's would have.
func (s *session) echo(c byte) {
	modes, err := unix.IoctlGetTermios(int(s.keys.Fd()), getTermios)
	if err == nil && modes.Lflag&(unix.ECHO|unix.ECHOCTL) == unix.ECHO|unix.ECHOCTL && c < 0x20 {
		_ = writeAll(int(s.Out.Fd()), []byte{'^', c + '@'})
	}
}

// stops reports whether the program's terminal would stop the program at this
// key.
func (s *session) stops(c byte) bool {
	if c >= 0x20 && c != 0x7f {
		return false
	}
	modes, err := unix.IoctlGetTermios(int(s.keys.Fd()), getTermios)
	if err != nil || modes.Lflag&unix.ISIG == 0 || c == 0 || c != modes.Cc[unix.VSUSP] {
		return false
	}
	group, err := unix.IoctlGetInt(int(s.keys.Fd()), unix.TIOCGPGRP)
	return err == nil && group == s.pid // else it is a shell, which stops its jobs itself
}

// suspend stops the program; one that has something to do first, such as to
// give the screen back, may.
func (s *session) suspend() {
	s.asked.Store(true)
	if process.DispositionOf(s.pid, syscall.SIGTSTP) == process.Caught {
		_ = syscall.Kill(-s.pid, syscall.SIGTSTP)
		for range int(patience / (5 * time.Millisecond)) {
			if stopped(s.pid) {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	_ = syscall.Kill(-s.pid, syscall.SIGSTOP)
}

// suspended is called when the program has stopped: we do as well, with all of
// our group, as the terminal would have it. When we go on, it does.
func (s *session) suspended() {
	time.Sleep(settle) // what it printed before is still to come out
	s.leave(false)
	asked := s.asked.Swap(false)
	if asked || shellWaits(true) {
		_ = syscall.Kill(0, syscall.SIGTSTP) // without effect where no shell would see it
	}
	if asked {
		s.resume()
	} else {
		s.enter()
	}
}

// resume lets the program go on after we were stopped.
func (s *session) resume() {
	s.enter()
	s.resize()
	_ = syscall.Kill(-s.pid, syscall.SIGCONT)
}
