package labtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"quant"
	"quant/internal/process"
)

// Result is how a process ended. A process that a signal killed has code
// 1000+n, which no exit status equals.
type Result struct {
	Line           string
	Stdout, Stderr string
	Code           int
	Took           time.Duration
}

func (r Result) String() string {
	return fmt.Sprintf("%s\nexit %d after %v\n--- stdout\n%s--- stderr\n%s", r.Line, r.Code, r.Took, Clipped(r.Stdout), Clipped(r.Stderr))
}

// Clipped is the head and the tail of a long text.
func Clipped(s string) string {
	if len(s) > 4000 {
		return s[:2000] + "\n[...]\n" + s[len(s)-2000:]
	}
	return s
}

// Command is quant with these arguments, in the folder and with a bare
// environment, not yet started.
func (l *Lab) Command(args ...string) *exec.Cmd {
	l.T.Helper()
	program, err := exec.LookPath("quant")
	Must(l.T, err)
	cmd := exec.Command(program, args...)
	cmd.Args[0] = "quant"
	cmd.Dir = l.Dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.Dir, "TMPDIR=" + os.TempDir(), "LC_ALL=C.UTF-8", NoRaceSleep}, l.Env...)
	return cmd
}

// Process is a quant that runs.
type Process struct {
	*exec.Cmd
	Stdout, Stderr *Stream       // what it has written, unless the Cmd was given others
	Done           chan struct{} // closed when it has ended
	lab            *Lab
	begun          time.Time
	end            Result
}

// Stream collects what a process writes, readable while it writes.
type Stream struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *Stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *Stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// Start runs quant with these variables (NAME=VALUE) before the arguments; it
// is killed when the test ends.
func (l *Lab) Start(env []string, args ...string) *Process {
	l.T.Helper()
	cmd := l.Command(args...)
	cmd.Env = append(cmd.Env, env...)
	return l.StartCmd(cmd)
}

// StartCmd starts a Command that the caller has changed; it is killed when the
// test ends.
func (l *Lab) StartCmd(cmd *exec.Cmd) *Process {
	l.T.Helper()
	p := &Process{Cmd: cmd, lab: l, begun: time.Now(), Stdout: &Stream{}, Stderr: &Stream{}, Done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.Stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.Stderr
	}
	Must(l.T, cmd.Start())
	go func() {
		err := cmd.Wait()
		p.end = Result{Line: strings.Join(cmd.Args, " "), Stdout: p.Stdout.String(), Stderr: p.Stderr.String(), Took: time.Since(p.begun)}
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			p.end.Code = 1000 + int(status.Signal())
		} else {
			p.end.Code = cmd.ProcessState.ExitCode()
		}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			p.end.Stderr += "\n(wait: " + err.Error() + ")"
		}
		l.mu.Lock()
		l.printed.WriteString(p.end.Stdout + p.end.Stderr)
		l.mu.Unlock()
		close(p.Done)
	}()
	l.T.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.Done
	})
	return p
}

// Wait returns how the process ended.
func (p *Process) Wait() Result {
	p.lab.T.Helper()
	return p.WaitFor(patience)
}

// WaitFor is Wait for one that may take so long on a busy machine, because it starts many
// others.
func (p *Process) WaitFor(most time.Duration) Result {
	p.lab.T.Helper()
	select {
	case <-p.Done:
		return p.end
	case <-time.After(most):
		p.lab.T.Fatalf("%s does not end\n--- stderr\n%s", strings.Join(p.Args, " "), p.Stderr)
		return Result{}
	}
}

// Signal sends it a signal.
func (p *Process) Signal(s syscall.Signal) {
	p.lab.T.Helper()
	Must(p.lab.T, syscall.Kill(p.Process.Pid, s))
}

// Stopped waits until the process has stopped itself (failpoint :stop).
func (p *Process) Stopped() *Process {
	p.lab.T.Helper()
	p.lab.Eventually("the process stops at its failpoint", func() bool {
		select {
		case <-p.Done:
			p.lab.T.Fatalf("it ended instead of stopping: %v", p.end)
		default:
		}
		return IsStopped(p.Process.Pid)
	})
	return p
}

// IsStopped reports whether a process has been stopped by a signal.
func IsStopped(pid int) bool {
	p, err := process.Of(pid)
	return err == nil && p.Stopped
}

// Eventually polls until ok.
func (l *Lab) Eventually(what string, ok func() bool) {
	l.T.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			l.T.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Run runs quant to its end.
func (l *Lab) Run(args ...string) Result {
	l.T.Helper()
	return l.Start(nil, args...).Wait()
}

// Must runs quant and fails the test unless it exits with 0.
func (l *Lab) Must(args ...string) Result {
	l.T.Helper()
	return l.Want(0, args...)
}

// Want runs quant and fails the test unless it exits with code.
func (l *Lab) Want(code int, args ...string) Result {
	l.T.Helper()
	r := l.Run(args...)
	l.WantCode(r, code)
	return r
}

// WantCode fails the test unless a process ended with code and, when it failed,
// said so without a trace of the runtime.
func (l *Lab) WantCode(r Result, code int) {
	l.T.Helper()
	if r.Code != code {
		l.T.Fatalf("want exit status %d: %v", code, r)
	}
	for _, never := range []string{"goroutine ", "SIGSEGV", "panic: runtime"} {
		if strings.Contains(r.Stderr, never) {
			l.T.Fatalf("%q on stderr: %v", never, r)
		}
	}
	if code > 0 && code < 1000 && r.Stderr == "" {
		l.T.Fatalf("a failure without a word: %v", r)
	}
}

// ClosingLine is the line that acknowledges a run.
var ClosingLine = regexp.MustCompile(`(?m)^run ([0-9a-f-]{36}) (\S+) (SUCCESS|FAIL) \S+$`)

// Acknowledged returns the run that a process said it closed as SUCCESS.
func (r Result) Acknowledged() string {
	m := ClosingLine.FindAllStringSubmatch(r.Stderr, -1)
	if len(m) == 0 || m[len(m)-1][3] != string(quant.Success) {
		return ""
	}
	return m[len(m)-1][1]
}

// Killed is the code of a process that SIGKILL ended.
const Killed = 1000 + int(syscall.SIGKILL)
