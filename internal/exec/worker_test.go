package exec_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"quant"
	"quant/internal/exec"
	"quant/internal/lab/place"
	"quant/internal/session"
)

// worker is a program of sh that works for a run of another kind.
func worker(t *testing.T, script string, logMax int64) (*session.Session, *exec.Worker) {
	t.Helper()
	s := begun(t, place.In(filepath.Join(t.TempDir(), "data")), "train", "train")
	w, err := exec.OpenWorker(s, exec.WorkerOptions{
		Argv: []string{"sh", "-c", script}, Dir: t.TempDir(), LogMax: logMax,
		Environ: append(os.Environ(), "QUANT_DATA_DIR=/nowhere", "QUANT_RUN_ID=0", "KEPT=yes"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, w
}

func TestAWorkerIsCalledAgainAndRecordedOnce(t *testing.T) {
	t.Parallel()
	s, w := worker(t, `echo "call $N" >&2; [ -z "$QUANT_DATA_DIR$QUANT_RUN_ID" ] && [ "$KEPT" = yes ] || exit 7; [ "$N" != 3 ] || exit 4`, 1<<20)
	for _, n := range []string{"1", "2"} {
		if err := w.Call(t.Context(), []string{"N=" + n}); err != nil {
			t.Fatal(err)
		}
	}
	err := w.Call(t.Context(), []string{"N=3"})
	if !errors.Is(err, quant.Failed) || !strings.Contains(err.Error(), "exit status 4: call 3") {
		t.Errorf("a call that fails: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.End(t.Context(), err); err == nil {
		t.Error("the run did not fail")
	}
	p, err := s.Meta.GetProgram(t.Context(), s.RunID())
	if err != nil || p.OutputBytes == nil || *p.OutputBytes != 21 || !strings.Contains(string(p.EnvironmentJSON), "PATH") {
		t.Errorf("recorded is %+v, %v", p, err)
	}
}

// What a worker prints beyond the log's size costs no room, and it is not slowed.
func TestAWorkersHugeOutputIsCut(t *testing.T) {
	t.Parallel()
	s, w := worker(t, `head -c 1073741824 /dev/zero | tr '\0' 'x'`, 64<<10)
	if err := w.Call(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.End(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	p, err := s.Meta.GetProgram(t.Context(), s.RunID())
	if err != nil || p.OutputBytes == nil || *p.OutputBytes != 1<<30 || *p.OutputCutBytes < 1<<30-64<<10 {
		t.Errorf("recorded is %+v, %v", p, err)
	}
	if info, err := os.Stat(s.LogFile(s.RunID())); err != nil || info.Size() > 66<<10 {
		t.Errorf("the log: %v, %v", info, err)
	}
}

// A worker whose context ends is ended with all that it has started: also what ignores
// to be asked, and what went into a session of its own.
func TestAWorkerIsEndedWithAllThatItStarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, w := worker(t, `trap '' TERM; setsid sh -c 'trap "" TERM HUP; echo $$ > `+dir+`/far; sleep 100' & sh -c 'trap "" TERM; echo $$ > `+dir+`/near; sleep 100' & sleep 100`, 1<<20)
	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for {
			_, far := os.Stat(filepath.Join(dir, "far"))
			_, near := os.Stat(filepath.Join(dir, "near"))
			if far == nil && near == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond) // until the numbers stand in the files
		cancel(stop)
	}()
	if err := w.Call(ctx, nil); !errors.Is(err, stop) {
		t.Errorf("the call ended with %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"far", "near"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		pid := 0
		for _, c := range strings.TrimSpace(string(text)) {
			pid = 10*pid + int(c-'0')
		}
		for deadline := time.Now().Add(60 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
			if state, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(text)), "stat")); err == nil && strings.Contains(string(state), ") Z ") {
				break // dead: nobody has asked how it ended
			}
			if time.Now().After(deadline) {
				t.Fatalf("the %s process %d lives", name, pid)
			}
		}
	}
}
