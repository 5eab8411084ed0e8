package process_test

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"quant/internal/process"
)

func TestAProcessIsShownAsItIs(t *testing.T) {
	t.Parallel()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	if sleep, err = filepath.EvalSymlinks(sleep); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	cmd.Env = []string{"A=1", "B=two words"}
	cmd.Dir, _ = filepath.EvalSymlinks(t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	shown, err := process.Of(pid)
	if err != nil || shown.PID != pid || shown.Parent != os.Getpid() || shown.Name != filepath.Base(sleep) || shown.Start == "" || shown.Ended || shown.Stopped {
		t.Errorf("%+v, %v", shown, err)
	}
	if start, exists := process.StartOf(pid); !exists || start != shown.Start || process.ParentOf(pid) != os.Getpid() {
		t.Errorf("start %q, %v; parent %d", start, exists, process.ParentOf(pid))
	}
	args, err := process.Args(pid)
	if err != nil || !slices.Equal(args, []string{"sleep", "60"}) {
		t.Errorf("args %q, %v", args, err)
	}
	if file, err := process.Executable(pid); err != nil || file != sleep {
		t.Errorf("executes %q, %v, want %q", file, err, sleep)
	}
	if image, ok := process.Image(pid); !ok || image == 0 {
		t.Errorf("image %d, %v", image, ok)
	}
	if process.Readable {
		env, err := process.Environ(pid)
		if err != nil || !slices.Equal(env, cmd.Env) {
			t.Errorf("environ %q, %v", env, err)
		}
		if dir := process.Folder(pid); dir != cmd.Dir {
			t.Errorf("in %q, want %q", dir, cmd.Dir)
		}
	}
	if family, _ := process.Family(os.Getpid(), 100); !slices.Contains(family, pid) || family[0] != os.Getpid() {
		t.Errorf("the family is %v", family)
	}
	if family, _ := process.Family(os.Getpid(), 1); len(family) != 1 {
		t.Errorf("of one: %v", family)
	}
	if !slices.ContainsFunc(process.All(), func(p process.Process) bool { return p == shown }) {
		t.Error("it is not among all")
	}
	await := func(what string, ok func(process.Process) bool) {
		t.Helper()
		for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(time.Millisecond) {
			if p, err := process.Of(pid); err == nil && ok(p) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("never " + what)
			}
		}
	}
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	await("stopped", func(p process.Process) bool { return p.Stopped })
	_ = syscall.Kill(pid, syscall.SIGKILL)
	await("ended", func(p process.Process) bool { return p.Ended })
	if start, exists := process.StartOf(pid); exists || start != "" {
		t.Errorf("after its end: %q, %v", start, exists)
	}
	_ = cmd.Wait()
	if _, err := process.Of(pid); err == nil {
		t.Error("it is shown though nobody waits for it any more")
	}
	if start, exists := process.StartOf(1 << 30); exists || start != "" || process.ParentOf(1<<30) != 0 {
		t.Errorf("of no process: %q, %v, parent %d", start, exists, process.ParentOf(1<<30))
	}
}

func TestASignalIsCaughtOrNot(t *testing.T) {
	if !process.Readable {
		t.Skip("not told here")
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR2)
	if got := process.DispositionOf(os.Getpid(), syscall.SIGUSR2); got != process.Caught {
		t.Errorf("caught: %v", got)
	}
	signal.Ignore(syscall.SIGUSR2)
	if got := process.DispositionOf(os.Getpid(), syscall.SIGUSR2); got != process.Ignored {
		t.Errorf("ignored: %v", got)
	}
}
