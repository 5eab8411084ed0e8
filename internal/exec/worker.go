package exec

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/exec/program"
	"quant/internal/exec/transcript"
	"quant/internal/session"
)

// WorkerOptions say which program works for a run, and in what.
type WorkerOptions struct {
	Argv    []string // with the program's name, which is looked up along PATH
	Environ []string // NAME=VALUE; what begins with QUANT_ does not reach the program
	Dir     string   // the folder that it starts in; "": ours
	Show    *os.File // where what it prints is shown, too; nil: nowhere
	LogMax  int64    // bytes that are kept at most of what it prints
}

// Worker is a program that a run calls, once or several times, to do a part of what
// the run does. It is recorded as exec records one: environment, packages, code,
// what it prints. It knows neither the run nor the lab, works in a session of its
// own, and leaves no process behind. Call is called by one goroutine at a time.
type Worker struct {
	s       *session.Session
	o       WorkerOptions
	path    string
	environ []string
	null    *os.File
	held    *room
	log     *transcript.Writer
	copies  map[bool]*transcript.Input
	seen    *inspection // of the first call; nil before
	about   map[string]any
	usage   syscall.Rusage
	peak    *int64
	signal  *int64
}

const (
	// workerMark names the run in the environment of a worker and of all that it
	// starts, so that none of them outlives it.
	workerMark = "QUANT_WORKS_FOR"
	ours       = "QUANT_"
	// workerGrace is how long a worker that is asked to end may take before it is
	// killed.
	workerGrace = 2 * time.Second
)

// OpenWorker makes ready to call a program for the session's run. Close is to be
// called after it. Store: there is no room to record it. NotFound and Failed: there
// is no such program, or it cannot be executed.
func OpenWorker(s *session.Session, o WorkerOptions) (*Worker, error) {
	if s.Run == nil {
		return nil, quant.Errorf(quant.Store, "a program is called for a recorded run, and there is none").WithHint("run quant doctor")
	}
	path, err := program.Find(o.Argv[0], valueOf(o.Environ, "PATH"))
	if err != nil {
		err = cannotRun(o.Argv[0], err)
		if exit, ok := errors.AsType[quant.Exit](err); ok {
			return nil, exit.Err
		}
		return nil, err
	}
	w := &Worker{s: s, o: o, path: path}
	for _, pair := range o.Environ {
		if !strings.HasPrefix(pair, ours) {
			w.environ = append(w.environ, pair)
		}
	}
	w.environ = append(w.environ, workerMark+"="+s.RunID())
	w.about = map[string]any{"variables": recorded(w.environ)}
	if w.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
		return nil, quant.Errorf(quant.Failed, "open %s: %w", os.DevNull, err)
	}
	if w.held, err = reserve(s.MetaFile()); err != nil {
		w.null.Close()
		return nil, err
	}
	s.KeepReserve()
	w.log, err = transcript.Create(s.LogFile(s.RunID()), o.LogMax, s.Mask)
	if err != nil {
		note(s, "what the program printed is not kept: %v", err)
	}
	if sameDisk(s.LogDir(), s.MetaFile()) {
		w.log.Leave(othersRoom)
	}
	w.copies = map[bool]*transcript.Input{true: w.log.Input(), false: w.log.Input()}
	return w, nil
}

// Call runs the program to its end, with more variables in its environment. When ctx
// ends, the program and all that it has started are asked to end and then killed, and
// the error is the cause of ctx. Failed: the program ended otherwise than with 0; the
// error tells the last line that it printed on stderr.
func (w *Worker) Call(ctx context.Context, variables []string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	environ := append(append([]string{}, w.environ...), variables...)
	command := program.Command{
		Path: w.path, Argv: w.o.Argv, Env: environ, Dir: w.o.Dir, In: w.null, Out: w.null, Err: w.null,
		Mark: workerMark + "=" + w.s.RunID(), Apart: true,
		Copy: func(out bool, b []byte) { _, _ = w.copies[out].Write(b) },
	}
	if w.o.Show != nil {
		command.Out, command.Err = w.o.Show, w.o.Show
	}
	var saving sync.WaitGroup
	if w.seen == nil {
		w.seen = inspect(ctx, w.s, w.path, w.o.Argv, environ, false)
		command.Started = func(pid int) {
			w.seen.started(pid)
			save := w.s.Registry.ProgramStarted(w.s.RunID(), quant.Program{Path: quant.Text(w.path), ChildPID: ptr(int64(pid)), EnvironmentJSON: document(w.about)})
			saving.Go(func() { _ = save(context.WithoutCancel(ctx)) }) // the end stores it again
		}
	}
	result, err := command.RunUntil(ctx, workerGrace)
	saving.Wait()
	if err != nil {
		if exit, ok := errors.AsType[quant.Exit](cannotRun(w.o.Argv[0], err)); ok {
			return exit.Err
		}
		return err
	}
	w.add(result)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return w.failure(result.Status)
}

func (w *Worker) add(r program.Result) {
	w.usage.Utime = sum(w.usage.Utime, r.Usage.Utime)
	w.usage.Stime = sum(w.usage.Stime, r.Usage.Stime)
	if peak := r.PeakBytes(); peak != nil && (w.peak == nil || *peak > *w.peak) {
		w.peak = peak
	}
	if r.Status.Signaled() {
		w.signal = ptr(int64(r.Status.Signal()))
	}
}

func sum(a, b syscall.Timeval) syscall.Timeval { return syscall.NsecToTimeval(a.Nano() + b.Nano()) }

// LastLine is the last line that the program printed on stderr, or else on stdout,
// masked; "" where there is none.
func (w *Worker) LastLine() string {
	for _, out := range []bool{false, true} {
		if said := w.copies[out].LastLine(); said != "" {
			return quant.Clip(said, mostWords)
		}
	}
	return ""
}

// failure is how the program ended, where it did not end well.
func (w *Worker) failure(status syscall.WaitStatus) error {
	how := ""
	switch {
	case status.Signaled():
		how = "was killed by " + unix.SignalName(status.Signal())
	case status.ExitStatus() != 0:
		how = "ended with exit status " + strconv.Itoa(status.ExitStatus())
	default:
		return nil
	}
	if said := w.LastLine(); said != "" {
		how += ": " + said
	}
	return quant.Errorf(quant.Failed, "the program %s %s", w.o.Argv[0], how).
		WithHint("`quant runs logs %s` shows what it printed", quant.ShortID(w.s.RunID()))
}

// Close records what is known of the program. The caller ends the run.
func (w *Worker) Close() error {
	defer w.null.Close()
	defer w.held.release()
	seen, cut := w.log.Close()
	if w.seen == nil {
		_ = os.Remove(w.s.LogFile(w.s.RunID()))
		return nil
	}
	if kept, why := w.log.Stopped(); errors.Is(why, syscall.ENOSPC) {
		note(w.s, "the log was cut at %d bytes because the disk was full: %d of the %d bytes that the program printed are not kept", kept, cut, seen)
	}
	shareLog(context.Background(), w.s, seen)
	w.seen.finish(w.about)
	return w.s.Registry.ProgramEnded(w.s.RunID(), func(p *quant.Program) {
		p.Signal, p.MaxRSSBytes = w.signal, w.peak
		p.UserUS, p.SystemUS = ptr(micros(w.usage.Utime)), ptr(micros(w.usage.Stime))
		p.OutputBytes, p.OutputCutBytes = ptr(seen), ptr(cut)
		p.EnvironmentJSON = document(w.about)
	})
}
