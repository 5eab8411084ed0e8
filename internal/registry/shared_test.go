package registry_test

import (
	"context"
	"testing"

	"quant"
	"quant/internal/metastore"
	"quant/internal/registry"
	"quant/internal/registry/liveness"
)

// lastMoment is a liveness among machines whose dead process commits facts until its
// lease is taken away.
type lastMoment struct {
	registry.Liveness
	committed bool
}

func (l *lastMoment) LockHere(quant.RunProcess) bool                    { return true }
func (l *lastMoment) LockFree(quant.RunProcess) bool                    { return true }
func (l *lastMoment) NothingDead(context.Context, string) (bool, error) { return false, nil }
func (l *lastMoment) Lost() <-chan struct{}                             { return nil }
func (l *lastMoment) Abandoned(context.Context, string, int) ([]metastore.RunDetail, error) {
	return nil, nil
}

func (l *lastMoment) Revoke(_ context.Context, runs []metastore.RunDetail) ([]metastore.RunDetail, error) {
	l.committed = true
	return runs, nil
}

func (l *lastMoment) Fence(ctx context.Context, tx func(context.Context, func(context.Context) error) error, _ []string, commit func() error) error {
	return tx(ctx, func(context.Context) error { return commit() })
}

func TestWhatADeadRunCommittedIsLookedAtWhenItCanCommitNoMore(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	dead := l.abandon(*liveness.ThisProcess(), false)
	g := l.registry(func(o *registry.Options) {
		of := &lastMoment{Liveness: o.Liveness}
		o.Liveness = of
		o.Facts = func(context.Context, []string) (map[string]bool, error) {
			return map[string]bool{dead: of.committed}, nil
		}
	})
	if done, err := g.Reconcile(t.Context()); err != nil || len(done.Closed) != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	if row := l.get(dead); row.Status != quant.Fail || row.Process.Facts != quant.FactsCommitted {
		t.Errorf("%s: %q", row.Status, row.ErrorText)
	}
}
