package registry_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"quant"
	"quant/internal/metastore"
	"quant/internal/registry"
	"quant/internal/registry/liveness"
	"quant/internal/test/soak"
)

// abandonMany records so many dead runs in one commit.
func (l *lab) abandonMany(n int, change func(*liveness.Process)) (ids []string) {
	l.t.Helper()
	me := *liveness.ThisProcess()
	me.BootID = "another-boot"
	change(&me)
	g := l.registry(func(o *registry.Options) { o.Process = &me })
	err := g.Store.Tx(l.t.Context(), func(ctx context.Context) error {
		for range n {
			id, err := g.Start(ctx, "ingest", nil)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	g.Close()
	return ids
}

func TestManyDeadRunsAreClosedNewestFirstAndTheRestIsCounted(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	n := soak.Count(t, 11500, 100000)
	dead := l.abandonMany(n/2, func(*liveness.Process) {})
	asked := 0
	g := l.registry(func(o *registry.Options) {
		o.Facts = func(_ context.Context, ids []string) (map[string]bool, error) {
			asked++
			return nil, nil
		}
	})
	alive, err := g.Start(t.Context(), "exec", nil)
	if err != nil {
		t.Fatal(err)
	}
	dead = append(dead, l.abandonMany(n-n/2, func(*liveness.Process) {})...)
	elsewhere := l.abandonMany(50, func(p *liveness.Process) { p.MachineID = "another-machine" })

	first, err := g.Reconcile(t.Context())
	// On a slow machine it does not come to the run that lives, which is then among those
	// that are left: nobody has asked whether it does.
	total := int64(len(first.Closed)) + first.Left
	if err != nil || asked != 1 || len(first.Closed) == 0 || total != int64(n) && total != int64(n)+1 || first.Left == 0 {
		t.Fatalf("first: closed %d, left %d, asked %d, %v", len(first.Closed), first.Left, asked, err)
	}
	if first.Closed[0].RunID != dead[n-1] || first.Closed[0].Status != quant.Fail || l.get(dead[0]).Status != quant.Running {
		t.Errorf("not the newest first: %+v", first.Closed[0].Run)
	}
	rest, err := g.ReconcileAll(t.Context())
	if err != nil || rest.Left != 0 || len(first.Closed)+len(rest.Closed) != n {
		t.Errorf("all: closed %d and %d of %d, left %d, %v", len(first.Closed), len(rest.Closed), n, rest.Left, err)
	}
	for _, id := range append(elsewhere, alive) {
		if got := l.get(id).Status; got != quant.Running {
			t.Errorf("run %s is %s", id, got)
		}
	}
	if again, err := g.Reconcile(t.Context()); err != nil || len(again.Closed) != 0 || again.Left != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
}

func TestTwoThatReconcileAtOnceCloseEachRunOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	n := 3500
	l.abandonMany(n, func(*liveness.Process) {})
	var closed atomic.Int64
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			done, err := l.registry(nil).ReconcileAll(context.Background())
			if err != nil {
				t.Error(err)
			}
			closed.Add(int64(len(done.Closed)))
		})
	}
	both.Wait()
	if closed.Load() != int64(n) {
		t.Errorf("%d of %d runs were closed", closed.Load(), n)
	}
	if left, err := l.registry(nil).Store.ListRuns(t.Context(), metastore.RunFilter{All: true, Status: quant.Running}); err != nil || len(left) != 0 {
		t.Errorf("left: %d, %v", len(left), err)
	}
}

func TestOneRunIsClosedWhateverElseIsDead(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ids := l.abandonMany(2, func(*liveness.Process) {})
	if err := l.registry(nil).ReconcileRun(t.Context(), l.get(ids[0])); err != nil {
		t.Fatal(err)
	}
	if a, b := l.get(ids[0]), l.get(ids[1]); a.Status != quant.Fail || b.Status != quant.Running {
		t.Errorf("%s, %s", a.Status, b.Status)
	}
}

// uncounted is a store that closes nothing, since others were faster, and then
// cannot count.
type uncounted struct{ metastore.Store }

var errUncounted = errors.New("cannot count")

func (uncounted) FinishRuns(context.Context, []string, metastore.RunEnd) ([]string, error) {
	return nil, nil
}

func (uncounted) CountRunningOn(context.Context, string) (int64, error) { return 0, errUncounted }

func TestNothingIsSweptWhileItIsUnknownWhatRuns(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	dead := l.abandon(*liveness.ThisProcess(), false)
	g := l.registry(func(o *registry.Options) { o.Store = uncounted{l.store} })
	if _, err := g.Reconcile(t.Context()); !errors.Is(err, errUncounted) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(l.live, dead)); err != nil {
		t.Error("the file of a dead run was swept:", err)
	}
}
