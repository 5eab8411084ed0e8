// Package program runs another program so that it notices no difference to being
// started in our place: the same terminal, the same signals, the same bytes in
// and out; and it hands on a copy of what the program prints. It records nothing
// and prints nothing of its own.
//
// Where both stdin and stdout are terminals, the program gets a session and a
// terminal of its own, whose other side is ours: what is typed goes in, what is
// printed comes out, and our terminal does nothing by itself meanwhile (raw
// mode). Else it shares our session and process group, as in a pipeline: it reads
// our stdin itself, the terminal sends Ctrl-C and Ctrl-Z to it as it does to us,
// and each of stdout and stderr is a pipe, or a terminal where ours is one.
package program

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"quant/internal/process"
)

// Command is a program that is to run.
type Command struct {
	Path string   // the file, as Find returns it
	Argv []string // with the program's name
	Env  []string
	// In, Out and Err are our own streams; a nil one is closed.
	In, Out, Err *os.File
	// Copy is told what passes, after it has passed: out is true for stdout. It is
	// called by several goroutines.
	Copy func(out bool, b []byte)
	// Started is told the process once it runs, and before it is waited for: also
	// one that has ended by then still has its pid.
	Started func(pid int)
	// Signals are what this process is sent; they go on to the program.
	Signals <-chan os.Signal
	// Mark is a NAME=VALUE of Env by which processes that the program starts are
	// known after it has ended; "" knows them only by who started whom.
	Mark string
	// Relay is the file of a program that calls RelayMain when its first argument is
	// RelayArg. It takes over the pipes that processes still write to after the
	// program has ended, and leads the program's session where that has one of its
	// own; "" closes the pipes, and who writes then gets SIGPIPE.
	Relay string
	// Apart starts the program in a session of its own, without a terminal: a signal
	// reaches all of it, and what it leaves running is killed when it ends. Its
	// streams are pipes, also where ours are terminals.
	Apart bool
	Dir   string // the folder that it starts in; "": ours
}

// Result is how a program ended.
type Result struct {
	Status syscall.WaitStatus
	Usage  syscall.Rusage // of it and of its children that it waited for
	// Asked is the last signal that was handed on and asks a program to end; 0: none.
	Asked syscall.Signal
	// Left are the processes that the program started and that go on running, where
	// it was Asked to end or Kept is true.
	Left []process.Process
	// Kept tells that processes still had its output open when it had ended.
	Kept bool

	floor int64 // our own ru_maxrss
}

// Execute is the operation of the fs.PathError of a program that is there and
// cannot be executed.
const Execute = "execute"

// Find looks a program up as a shell does: a name without a slash along path, the
// list of folders of the PATH variable. Errors: fs.ErrNotExist if there is none,
// fs.ErrPermission if there is one that is not executable.
func Find(name, path string) (string, error) {
	if name == "" {
		return "", fs.ErrNotExist
	}
	if strings.Contains(name, "/") {
		return name, executable(name)
	}
	refused := error(fs.ErrNotExist)
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			dir = "."
		}
		file := filepath.Join(dir, name)
		if !filepath.IsAbs(file) {
			file = "./" + file
		}
		err := executable(file)
		if err == nil {
			return file, nil
		}
		if errors.Is(err, fs.ErrPermission) {
			refused = err
		}
	}
	return "", refused
}

func executable(file string) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return fs.ErrNotExist
	case err != nil:
		return err
	case info.IsDir():
		return &fs.PathError{Op: Execute, Path: file, Err: syscall.EACCES}
	}
	if err := unix.Access(file, unix.X_OK); err != nil {
		return &fs.PathError{Op: Execute, Path: file, Err: err}
	}
	return nil
}

// RunUntil is Run for a program that is to end with ctx: then it gets SIGTERM, and
// SIGKILL if it still runs after grace. c.Signals is not used.
func (c Command) RunUntil(ctx context.Context, grace time.Duration) (Result, error) {
	signals := make(chan os.Signal, 2)
	c.Signals = signals
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-ended:
			return
		case <-ctx.Done():
			signals <- syscall.SIGTERM
		}
		select {
		case <-ended:
		case <-time.After(grace):
			signals <- syscall.SIGKILL
		}
	})
	defer watching.Wait()
	defer close(ended)
	return c.Run()
}

// Run runs the program to its end. The error, if there is one, says why it could
// not be started.
func (c Command) Run() (Result, error) {
	s, err := c.open()
	if err != nil {
		return Result{}, err
	}
	defer s.close()
	if c.Apart {
		// The program dies with the thread that started it, which so must live.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	if !s.own || !s.lead() {
		attr := &syscall.ProcAttr{Env: c.Env, Files: s.files, Dir: c.Dir}
		if c.Apart {
			attr.Sys = apart()
		}
		if s.own {
			attr.Sys = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
		}
		s.pid, err = syscall.ForkExec(c.Path, c.Argv, attr)
		if err != nil {
			return Result{}, &os.PathError{Op: Execute, Path: c.Path, Err: err}
		}
	}
	s.started()
	var own syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &own)
	if c.Started != nil {
		c.Started(s.pid)
	}
	result := s.wait()
	result.floor = own.Maxrss
	if c.Apart {
		s.kill()
	}
	s.drain()
	result.Kept = s.handOver()
	result.Asked = s.ending
	if result.Asked != 0 || result.Kept {
		result.Left = s.left(result.Asked != 0)
	}
	return result, nil
}

// wait waits until the program has ended. A program that is stopped stops us
// too where somebody would let us go on again, so that a shell gets its terminal
// back; else whoever stopped the program lets it go on.
func (s *session) wait() Result {
	done := make(chan struct{})
	var forwarding sync.WaitGroup
	forwarding.Go(func() { s.forward(done) })
	defer forwarding.Wait() // it uses the terminal, which is closed after this
	defer close(done)
	for {
		var r Result
		pid, err := syscall.Wait4(s.pid, &r.Status, syscall.WUNTRACED, &r.Usage)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil || pid == s.pid && !r.Status.Stopped():
			return r
		case s.own:
			s.suspended()
		case stopped(s.pid) && shellWaits(false): // and was not continued meanwhile
			_ = syscall.Kill(os.Getpid(), syscall.SIGTSTP)
		}
	}
}

// forward hands on the signals that we are sent, but for those that the program
// got as well: what the terminal sends, it sends to the whole group.
func (s *session) forward(done <-chan struct{}) {
	for {
		var got os.Signal
		select {
		case <-done:
			return
		case got = <-s.Signals:
		}
		sig, ok := got.(syscall.Signal)
		switch {
		case !ok:
		case sig == syscall.SIGWINCH:
			s.resize()
		case s.own && sig == syscall.SIGCONT:
			s.resume()
		case !s.own && (sig == syscall.SIGINT || sig == syscall.SIGQUIT) && inForeground():
		case s.Apart:
			s.ending = sig
			s.family = started(s.pid)
			_ = syscall.Kill(-s.pid, sig)
		default:
			if sig == syscall.SIGTERM || sig == syscall.SIGINT || sig == syscall.SIGHUP || sig == syscall.SIGQUIT {
				s.ending = sig
				s.family = started(s.pid) // by then they have another parent
			}
			_ = syscall.Kill(s.pid, sig)
		}
	}
}

// inForeground reports whether the terminal that controls us sends its signals
// to our process group.
func inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	return foreground(int(tty.Fd()))
}

func foreground(tty int) bool {
	group, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

func isTerminal(f *os.File) bool { return f != nil && term.IsTerminal(int(f.Fd())) }

// patience bounds how long a program may take to follow a request to stop.
const patience = 200 * time.Millisecond

// PeakBytes is the most memory that the program, or a child that it waited for,
// held at once; nil if that is less than what this process held, which the
// kernel counts as the program's until it is loaded.
func (r Result) PeakBytes() *int64 {
	if r.Usage.Maxrss <= r.floor {
		return nil
	}
	peak := int64(r.Usage.Maxrss) * rssUnit
	return &peak
}
