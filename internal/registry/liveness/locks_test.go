package liveness_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/failpoint"
	"quant/internal/registry/liveness"
)

func TestAProcessLivesWhileItHoldsItsLock(t *testing.T) {
	t.Parallel()
	dir, me := filepath.Join(t.TempDir(), "live"), liveness.ThisProcess()
	holder, other := liveness.NewLocks(dir, me), liveness.NewLocks(dir, nil)
	name, err := holder.Hold(t.Context(), "run-1")
	if err != nil || name != "run-1" {
		t.Fatalf("%q, %v", name, err)
	}
	if again, err := holder.Hold(t.Context(), "run-2"); err != nil || again != name {
		t.Errorf("a second run bears the lock %q, %v", again, err)
	}
	row := quant.RunProcess{RunID: "run-1", MachineID: quant.Text(me.MachineID), BootID: quant.Text(me.BootID), PID: 1 << 30, LiveLock: quant.Text(name)}
	judged := func(change func(*quant.RunProcess)) liveness.Life {
		p := row
		if change != nil {
			change(&p)
		}
		return other.Judge(t.Context(), p)
	}
	other.Sweep(t.Context())
	if got := judged(nil); got != liveness.Alive {
		t.Errorf("with its lock held: %v", got)
	}
	if got := judged(func(p *quant.RunProcess) { p.MachineID = "another" }); got != liveness.Unjudged {
		t.Errorf("of another machine: %v", got)
	}
	if got := judged(func(p *quant.RunProcess) { p.RunID = "" }); got != liveness.Unjudged {
		t.Errorf("of a lost process: %v", got)
	}
	if got := judged(func(p *quant.RunProcess) { p.LiveLock = "../run-1" }); got != liveness.Dead {
		t.Errorf("with a name that is a path: %v", got)
	}
	holder.Release()
	if got := judged(nil); got != liveness.Dead {
		t.Errorf("after its release: %v", got)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A sweep of another process, stopped in the middle, must not hold up a start for ever.
func TestALockThatAnotherProcessKeepsIsWaitedForWithinABound(t *testing.T) {
	dir := t.TempDir()
	other, err := durable.OpenLock(filepath.Join(dir, "run-1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Try(durable.Exclusive); err != nil {
		t.Fatal(err)
	}
	failpoint.SetPatience(func(string, time.Duration) time.Duration { return 50 * time.Millisecond })
	defer failpoint.SetPatience(nil)
	locks := liveness.NewLocks(dir, nil)
	if name, err := locks.Hold(t.Context(), "run-1"); !errors.Is(err, quant.Locked) || !strings.Contains(err.Error(), "run-1") {
		t.Errorf("%q, %v", name, err)
	}
	other.Close()
	if _, err := locks.Hold(t.Context(), "run-1"); err != nil {
		t.Error(err)
	}
	locks.Release()
}

func TestASweepNeverTakesTheLockFileOfALivingRun(t *testing.T) {
	t.Parallel()
	live := t.TempDir()
	sweeper := liveness.NewLocks(live, nil)
	stop := make(chan struct{})
	var sweepers, starters sync.WaitGroup
	for range 3 {
		sweepers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					sweeper.Sweep(t.Context())
				}
			}
		})
	}
	for n := range 3 {
		starters.Go(func() {
			for i := range 1000 {
				l := liveness.NewLocks(live, nil)
				name := fmt.Sprintf("run-%d-%d", n, i)
				if _, err := l.Hold(t.Context(), name); err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stat(filepath.Join(live, name)); err != nil {
					t.Error(err)
				}
				l.Release()
			}
		})
	}
	starters.Wait()
	close(stop)
	sweepers.Wait()
}
