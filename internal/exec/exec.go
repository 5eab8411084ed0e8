// Package exec runs a program as a recorded run, and runs again what a run ran.
// The program notices no difference: streams, environment and signals are handed
// to it as they are handed in here. This package prints nothing of its own.
package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/config"
	"quant/internal/exec/program"
	"quant/internal/exec/transcript"
	"quant/internal/metastore"
	"quant/internal/session"
)

// The exit statuses of a program that did not run, as other programs that run
// programs have them (env, nohup, timeout).
const (
	Failed       = 125 // quant itself failed
	notPermitted = 126
	notFound     = 127
)

// Streams are what a program reads and prints to. A program gets those that are
// files as they are; Run closes one that is none.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Options say which program runs, and in what.
type Options struct {
	Argv    []string // with the program's name, which is looked up along PATH
	Environ []string // NAME=VALUE: the environment, but for what names the run and the lab
	Streams Streams
	// Signals is called right before the program starts and returns what is to
	// reach it: from then on, signals do not end this process.
	Signals func() <-chan os.Signal
	// LogMax is how many bytes are kept at most of what the program prints.
	LogMax int64
	// KeepSecrets keeps what of the code is not committed exactly, without masking
	// the secrets in it.
	KeepSecrets bool
	// Sample is how often it is measured what the program uses; 0: not at all.
	Sample time.Duration
	// Program is the file of quant, which goes on reading what processes print that
	// the program left running; "": nobody does, and they get SIGPIPE.
	Program string
	// Say shows a person one line; nil: nobody looks.
	Say func(text string)
}

// RelayArg is the first argument of the process of quant that goes on reading what
// is printed after the end of a recorded program, and RelayMain its whole life.
const RelayArg = program.RelayArg

// RelayMain is documented at RelayArg: args are those behind it, environ the
// environment of the process.
func RelayMain(args, environ []string) int { return program.RelayMain(args, environ) }

// Run runs a program as the one of the session's run, and returns once it has
// ended and the record holds what is known of it; the caller ends the run. An
// exit status other than 0 and a program that cannot be started are errors of
// type quant.Exit. ctx does not end a program that runs: signals do.
func Run(ctx context.Context, s *session.Session, o Options) error {
	if s.Run == nil {
		return quant.Errorf(quant.Store, "a program is run as a recorded run, and there is none").WithHint("run quant doctor")
	}
	name := o.Argv[0]
	path, err := program.Find(name, valueOf(o.Environ, "PATH"))
	if err != nil {
		return cannotRun(name, err)
	}
	environ, err := environFor(s, o.Environ)
	if err != nil {
		return err
	}
	signals := o.Signals()
	if ctx.Err() != nil { // one came before
		return context.Cause(ctx)
	}
	s.KeepReserve()
	held, err := reserve(s.MetaFile())
	if err != nil {
		return err
	}
	defer held.release()
	log, err := transcript.Create(s.LogFile(s.RunID()), o.LogMax, s.Mask)
	if err != nil {
		note(s, "what the program printed is not kept: %v", err)
	}
	if sameDisk(s.LogDir(), s.MetaFile()) {
		log.Leave(othersRoom)
	}
	copies := map[bool]*transcript.Input{true: log.Input(), false: log.Input()}
	command := program.Command{
		Path: path, Argv: o.Argv, Env: environ, Signals: signals,
		In: file(o.Streams.In), Out: file(o.Streams.Out), Err: file(o.Streams.Err),
		Mark: config.ParentRun + "=" + s.RunID(), Relay: o.Program,
		Copy: func(out bool, b []byte) { _, _ = copies[out].Write(b) },
	}
	inspected := inspect(ctx, s, path, o.Argv, environ, o.KeepSecrets)
	about := map[string]any{"variables": recorded(environ)}
	saved := make(chan struct{})
	sampled := sampling{session: s, every: o.Sample}
	command.Started = func(pid int) {
		inspected.started(pid)
		sampled.started(ctx, pid)
		save := s.Registry.ProgramStarted(s.RunID(), quant.Program{
			Path: quant.Text(path), ChildPID: ptr(int64(pid)), EnvironmentJSON: document(about),
		})
		go func() {
			defer close(saved)
			_ = save(context.WithoutCancel(ctx)) // the end stores it again
		}()
	}
	result, err := command.Run()
	if err != nil {
		inspected.cancel()
		log.Close()
		_ = os.Remove(s.LogFile(s.RunID()))
		return cannotRun(name, err)
	}
	seen, cut := log.Close()
	shareLog(ctx, s, seen)
	if kept, why := log.Stopped(); err == nil && errors.Is(why, syscall.ENOSPC) {
		note(s, "the log was cut at %d bytes because the disk was full: %d of the %d bytes that the program printed are not kept", kept, cut, seen)
	} else if err == nil && why != nil {
		note(s, "the log was cut at %d bytes: %v", kept, why)
	}
	sayLeft(s, o.Say, result)
	<-saved
	sampled.finish(ctx, about)
	inspected.finish(about)
	err = s.Registry.ProgramEnded(s.RunID(), func(p *quant.Program) {
		if result.Status.Signaled() {
			p.Signal = ptr(int64(result.Status.Signal()))
		}
		p.UserUS, p.SystemUS = ptr(micros(result.Usage.Utime)), ptr(micros(result.Usage.Stime))
		p.MaxRSSBytes = result.PeakBytes()
		p.OutputBytes, p.OutputCutBytes = ptr(seen), ptr(cut)
		p.EnvironmentJSON = document(about)
	})
	if err != nil {
		return err
	}
	said := copies[false].LastLine()
	if said == "" && oneStream(o.Streams) {
		said = copies[true].LastLine()
	}
	return withWords(exitError(result.Status), result.Status, said)
}

func note(s *session.Session, format string, args ...any) {
	s.Log(metastore.Batch{Notes: []quant.Note{{Text: fmt.Sprintf(format, args...)}}})
}

// sharing is how long storing a log where all machines see it may take at most.
const sharing = 2 * time.Minute

// shareLog stores what a program printed as an artifact of its run, where machines share
// artifacts: until then it is read on this machine alone.
func shareLog(ctx context.Context, s *session.Session, seen int64) {
	store := s.Artifacts()
	if store.Shared == nil || seen == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sharing)
	defer cancel()
	f, err := os.Open(s.LogFile(s.RunID()))
	if err == nil {
		defer f.Close()
		var a quant.Artifact
		if a, err = store.KeepFrom(ctx, f, quant.ProgramLog); err == nil {
			s.Log(metastore.Batch{Artifacts: []quant.Artifact{a}})
			return
		}
	}
	note(s, "what the program printed is kept on this machine alone: %v", err)
}

// mostLeft is how many processes are named that a program left running.
const mostLeft = 10

// sayLeft records which processes the program left running, and says so where it
// was asked to end: who asked may have meant them too.
func sayLeft(s *session.Session, say func(string), r program.Result) {
	if len(r.Left) == 0 {
		return
	}
	var names []string
	for _, p := range r.Left[:min(len(r.Left), mostLeft)] {
		names = append(names, fmt.Sprintf("%d %s", p.PID, transcript.Plain(p.Name)))
	}
	if more := len(r.Left) - mostLeft; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	text := "what the program started goes on running: " + strings.Join(names, ", ")
	if r.Asked == 0 {
		note(s, "%s; what that prints from now on is not in the log", text)
		return
	}
	text = fmt.Sprintf("after %s, %s", unix.SignalName(r.Asked), text)
	note(s, "%s", text)
	if say != nil {
		say(s.Mask.Text(text))
	}
}

// oneStream reports whether stdout and stderr of a program go into one.
func oneStream(s Streams) bool {
	out, errs := file(s.Out), file(s.Err)
	if out == nil || errs == nil {
		return false
	}
	one, err1 := out.Stat()
	two, err2 := errs.Stat()
	return err1 == nil && err2 == nil && os.SameFile(one, two)
}

// mostWords bounds what of a program's last line is in its run's error, in letters.
const mostWords = 400

// withWords adds to how a program ended the last line that it printed on stderr,
// where it ended by itself or by abort: what another process made of it with a
// signal, its last line does not explain.
func withWords(err error, status syscall.WaitStatus, said string) error {
	exit, ok := errors.AsType[quant.Exit](err)
	if !ok || said == "" || status.Signaled() && status.Signal() != syscall.SIGABRT {
		return err
	}
	exit.Err = quant.Errorf(quant.Failed, "%w: %s", exit.Err, quant.Clip(said, mostWords))
	return exit
}

// exitError is how a program ended, as the error of its run.
func exitError(status syscall.WaitStatus) error {
	switch {
	case status.Signaled():
		n := status.Signal()
		name := unix.SignalName(n)
		if name == "" {
			name = n.String()
		}
		return quant.Exit{Status: 128 + int(n), Err: quant.Errorf(quant.Failed, "killed by %s", name), Silent: true}
	case status.ExitStatus() != 0:
		return quant.Exit{Status: status.ExitStatus(), Err: quant.Errorf(quant.Failed, "exit status %d", status.ExitStatus()), Silent: true}
	}
	return nil
}

// cannotRun is the error of a program that cannot be started.
func cannotRun(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) && !errors.As(err, new(*os.PathError)) {
		return quant.Exit{Status: notFound, Err: quant.Errorf(quant.NotFound, "exec: there is no program %q", name).
			WithHint("check the name; a program in this folder is written ./%s", filepath.Base(name))}
	}
	if path, ok := errors.AsType[*fs.PathError](err); errors.Is(err, fs.ErrNotExist) && !(ok && path.Op == program.Execute) {
		return quant.Exit{Status: notFound, Err: quant.Errorf(quant.NotFound, "exec: there is no program %q", name).
			WithHint("check the path")}
	}
	cause := err
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		cause = path.Err
	}
	return quant.Exit{Status: notPermitted, Err: quant.Errorf(quant.Failed, "exec: %q cannot be executed: %w", name, cause).
		WithHint("is it a program of this machine, with execute permission (chmod +x) and an interpreter that exists?")}
}

func micros(t syscall.Timeval) int64 { return t.Nano() / int64(time.Microsecond) }

func file(stream any) *os.File {
	f, _ := stream.(*os.File)
	return f
}

func ptr[T any](v T) *T { return &v }
