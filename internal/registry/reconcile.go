package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/registry/liveness"
)

// DeadText is the text with which a dead run is closed. What became of its facts
// follows it; doctor settles quant.FactsNotChecked once it has looked.
const DeadText = "process ended without finishing"

const (
	// atOnce is how many runs one commit closes: few enough that nobody waits long
	// for the Meta DB.
	atOnce = 1000
	// lookedAt and patience bound what Reconcile does. A slow disk meets the second.
	lookedAt = 10000
	patience = 400 * time.Millisecond
)

// Reconciled is what a reconciliation did.
type Reconciled struct {
	// Closed are the runs that it closed as FAIL, newest first, without ConfigJSON
	// and Argv.
	Closed []metastore.RunDetail
	// Left is how many more runs of this machine are RUNNING that it did not come
	// to, or did not close any more.
	Left int64
}

// Judge tells whether the process of a RUNNING run still lives. nil, the registry of who
// may only read, can tell of none.
func (g *Registry) Judge(ctx context.Context, run metastore.RunDetail) liveness.Life {
	if g == nil {
		return liveness.Unjudged
	}
	return g.Liveness.Judge(ctx, run.Process)
}

// Reconcile closes RUNNING runs whose process is dead as FAIL, the newest first,
// and no more of them than a command has time for: the next call goes on. It asks
// Options.Facts at most once and never waits for the Fact DB. Runs that live or
// that cannot be judged from here stay as they are; those of other machines are
// not even looked at. Two processes that reconcile at once close each run once.
// After an error it tells what was closed before.
func (g *Registry) Reconcile(ctx context.Context) (Reconciled, error) {
	return g.reconcile(ctx, lookedAt, patience)
}

// ReconcileAll is Reconcile without its bounds.
func (g *Registry) ReconcileAll(ctx context.Context) (Reconciled, error) {
	return g.reconcile(ctx, 0, 0)
}

// ReconcileRun closes one run, if it is RUNNING and its process is dead.
func (g *Registry) ReconcileRun(ctx context.Context, run metastore.RunDetail) error {
	if run.Status != quant.Running || g.Judge(ctx, run) != liveness.Dead {
		return nil
	}
	_, err := g.closeDead(ctx, []metastore.RunDetail{run}, func() bool { return false })
	return err
}

// reconcile looks at most at so many runs and begins no commit after so long; 0:
// no bound.
func (g *Registry) reconcile(ctx context.Context, most int, long time.Duration) (done Reconciled, err error) {
	machine := g.Process.MachineID
	begun := time.Now()
	late := func() bool { return long > 0 && time.Since(begun) > long }
	looked, all := 0, false
	look := func(running func(before string) ([]metastore.RunDetail, error), isDead func(metastore.RunDetail) bool) (dead []metastore.RunDetail, err error) {
		for before := ""; ; {
			page, err := running(before)
			if err != nil {
				return nil, err
			}
			for _, run := range page {
				if isDead(run) {
					dead = append(dead, run)
				}
			}
			looked += len(page)
			if all = len(page) < atOnce; all || most > 0 && looked >= most || late() {
				return dead, nil
			}
			before = page[len(page)-1].RunID
		}
	}
	here := func(before string) ([]metastore.RunDetail, error) {
		return g.Store.RunningOn(ctx, machine, before, atOnce)
	}
	var dead []metastore.RunDetail
	shared, isShared := g.Liveness.(SharedLiveness)
	switch {
	case isShared:
		if nothing, err := shared.NothingDead(ctx, machine); err != nil || nothing {
			return done, err
		}
		// Those of this machine without asking the database for each, then, of every
		// machine, those whose lease has ended.
		if machine != "" {
			if dead, err = look(here, func(run metastore.RunDetail) bool { return shared.LockFree(run.Process) }); err != nil {
				return done, err
			}
		}
		known := make(map[string]bool, len(dead))
		for _, run := range dead {
			known[run.RunID] = true
		}
		seen := looked
		ended, err := look(func(before string) ([]metastore.RunDetail, error) { return shared.Abandoned(ctx, before, atOnce) },
			func(run metastore.RunDetail) bool { return !known[run.RunID] })
		if err != nil {
			return done, err
		}
		looked = seen // of this machine
		if dead = append(dead, ended...); len(ended) > 0 && len(known) > 0 {
			slices.SortFunc(dead, func(a, b metastore.RunDetail) int { return strings.Compare(b.RunID, a.RunID) })
		}
	case machine == "":
		return done, nil // nothing can be judged
	default:
		if dead, err = look(here, func(run metastore.RunDetail) bool { return g.Judge(ctx, run) == liveness.Dead }); err != nil {
			return done, err
		}
	}
	closed, err := g.closeDead(ctx, dead, late)
	done.Closed = closed
	if err != nil {
		return done, err
	}
	if all && len(closed) == len(dead) {
		// Not before: as long as the file of a dead run is there, it tells the most.
		g.Liveness.Sweep(ctx)
		return done, nil
	}
	running, err := g.Store.CountRunningOn(ctx, machine)
	if err != nil {
		return done, err
	}
	done.Left = max(running-int64(looked-len(dead)), 0)
	if done.Left == 0 && all {
		g.Liveness.Sweep(ctx)
	}
	return done, nil
}

// closeDead closes dead runs in their order, as many as it can before late is
// true, but some in any case, and returns those that were not closed by somebody
// else.
func (g *Registry) closeDead(ctx context.Context, dead []metastore.RunDetail, late func() bool) (closed []metastore.RunDetail, err error) {
	if shared, ok := g.Liveness.(SharedLiveness); ok {
		// Whoever still lives can write nothing from here on; else its run stays open. Only
		// then is it looked what was committed: before, it may yet commit.
		if dead, err = revoke(ctx, shared, dead); err != nil || len(dead) == 0 {
			return nil, err
		}
	}
	var ask []string
	for _, run := range dead {
		if run.Process.Changes && g.seesFacts(run) {
			ask = append(ask, run.RunID)
		}
	}
	committed, checked := map[string]bool{}, true
	if len(ask) > 0 {
		checked = false
		if g.Facts != nil {
			if committed, err = g.Facts(ctx, ask); err == nil {
				checked = true
			}
		}
	}
	for i := 0; i < len(dead) && (i == 0 || !late()); i += atOnce {
		if ctx.Err() != nil {
			return closed, context.Cause(ctx)
		}
		batch, err := g.closeSure(ctx, dead[i:min(i+atOnce, len(dead))], func(run metastore.RunDetail) quant.Facts {
			switch {
			case !run.Process.Changes:
				return quant.FactsNone // a reading run cannot commit any
			case !checked || !g.seesFacts(run):
				return quant.FactsNotChecked
			case committed[run.RunID]:
				return quant.FactsCommitted
			}
			return quant.FactsNone
		})
		if err != nil {
			return closed, err
		}
		closed = append(closed, batch...)
	}
	return closed, nil
}

// seesFacts tells whether Options.Facts knows what became of the facts of a run.
func (g *Registry) seesFacts(run metastore.RunDetail) bool {
	shared, ok := g.Liveness.(SharedLiveness)
	return !ok || g.FactsShared || shared.LockHere(run.Process)
}

// revoke returns the runs of those whose processes write nothing any more. A run that it
// returns and that is not closed is found by the next who looks.
func revoke(ctx context.Context, shared SharedLiveness, dead []metastore.RunDetail) (sure []metastore.RunDetail, err error) {
	for some := range slices.Chunk(dead, atOnce) {
		gone, err := shared.Revoke(ctx, some)
		if err != nil {
			return nil, err
		}
		sure = append(sure, gone...)
	}
	return sure, nil
}

// leaseText says of a dead run of a shared Meta DB whose process it was and who found
// that out: they may be far from each other.
func (g *Registry) leaseText(run metastore.RunDetail) string {
	shared, ok := g.Liveness.(SharedLiveness)
	if !ok || shared.LockFree(run.Process) {
		return ""
	}
	return g.Mask.Text(fmt.Sprintf("; its lease had ended (process %d on %s, found by %s)", run.Process.PID, run.Process.Host, g.Process.Host))
}

// closeSure closes, in one commit, runs whose processes are known to write nothing any more.
func (g *Registry) closeSure(ctx context.Context, dead []metastore.RunDetail, factsOf func(metastore.RunDetail) quant.Facts) ([]metastore.RunDetail, error) {
	programs, err := g.livingPrograms(ctx, dead)
	if err != nil {
		return nil, err
	}
	type ending struct {
		text  string
		facts quant.Facts
	}
	alike := map[ending][]string{}
	of := make(map[string]ending, len(dead))
	for _, run := range dead {
		text := DeadText + g.leaseText(run)
		if pid := programs[run.RunID]; pid != 0 {
			text += fmt.Sprintf("; its program still runs: pid %d", pid)
		}
		facts := factsOf(run)
		e := ending{WithFacts(text, facts), facts}
		alike[e] = append(alike[e], run.RunID)
		of[run.RunID] = e
	}
	now := quant.NewTime(g.Now())
	mine := make(map[string]bool, len(dead))
	err = g.Store.Tx(ctx, func(ctx context.Context) error {
		for e, ids := range alike {
			closed, err := g.Store.FinishRuns(ctx, ids, metastore.RunEnd{Status: quant.Fail, EndedAt: now, ErrorText: e.text, Facts: e.facts})
			if err != nil {
				return err
			}
			for _, id := range closed {
				mine[id] = true
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var closed []metastore.RunDetail
	for _, run := range dead {
		if !mine[run.RunID] {
			continue // another process was faster
		}
		e := of[run.RunID]
		run.Status, run.EndedAt, run.ErrorText, run.Process.Facts = quant.Fail, now, quant.Text(e.text), e.facts
		closed = append(closed, run)
	}
	return closed, nil
}
