package registry

import (
	"context"
	"errors"
	"fmt"

	"quant"
	"quant/internal/metastore"
	"quant/internal/registry/liveness"
)

// DeadText is the text with which a dead run is closed. What became of its facts
// follows it; doctor settles quant.FactsNotChecked once it has looked.
const DeadText = "process ended without finishing"

// Judge tells whether the process of a RUNNING run still lives.
func (g *Registry) Judge(ctx context.Context, run metastore.RunDetail) liveness.Life {
	return g.Liveness.Judge(ctx, run.Process)
}

// Reconcile closes every RUNNING run whose process is dead as FAIL, and returns
// those it closed. It asks Options.Facts at most once and never waits for the
// Fact DB. Runs that live or that cannot be judged from here stay as they are.
// Two processes that reconcile at once close each run once.
func (g *Registry) Reconcile(ctx context.Context) ([]metastore.RunDetail, error) {
	running, err := g.Store.ListRuns(ctx, metastore.RunFilter{All: true, Status: quant.Running})
	if err != nil {
		return nil, err
	}
	defer g.Liveness.Sweep(ctx)
	var dead []metastore.RunDetail
	var ask []string
	for _, run := range running {
		if g.Judge(ctx, run) == liveness.Dead {
			dead = append(dead, run)
			if run.Process.Changes {
				ask = append(ask, run.RunID)
			}
		}
	}
	if len(dead) == 0 {
		return nil, nil
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
	closed := dead[:0]
	for _, run := range dead {
		facts := quant.FactsNone // a reading run cannot commit any
		switch {
		case run.Process.Changes && !checked:
			facts = quant.FactsNotChecked
		case committed[run.RunID]:
			facts = quant.FactsCommitted
		}
		text := DeadText
		if pid := g.livingProgram(ctx, run); pid != 0 {
			text += fmt.Sprintf("; its program still runs: pid %d", pid)
		}
		text = WithFacts(text, facts)
		err := g.Store.FinishRun(ctx, metastore.RunEnd{
			RunID: run.RunID, Status: quant.Fail, EndedAt: quant.NewTime(g.Now()), ErrorText: text, Facts: facts,
		})
		switch {
		case errors.Is(err, quant.Conflict):
			continue // another process was faster
		case err != nil:
			return closed, err
		}
		run.Status, run.ErrorText, run.Process.Facts = quant.Fail, quant.Text(text), facts
		closed = append(closed, run)
	}
	return closed, nil
}
