package process

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

func TestOnlyTheProcessThatIsMeantIsAskedToEnd(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	start, _ := StartOf(pid)
	for _, other := range []string{start + "1", ""} {
		if err := Terminate(pid, other); err == nil {
			t.Errorf("a process that started at %q was ended instead of the one at %q", start, other)
		}
	}
	if _, lives := StartOf(pid); !lives {
		t.Fatal("it ended")
	}
	if err := Terminate(pid, start); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if ended, is := errors.AsType[*exec.ExitError](err); !is || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v", err)
	}
	if err := Terminate(pid, start); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("ended again: %v", err)
	}
}
