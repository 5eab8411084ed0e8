package registry

import (
	"context"
	"errors"
	"fmt"
	"os"

	"quant"
	"quant/internal/metastore"
)

// DeadText is the text with which a dead run is closed. What became of its facts
// follows it; doctor settles quant.FactsNotChecked once it has looked.
const DeadText = "process ended without finishing"

// Life is what can be told about the process of a RUNNING run.
type Life int

// A run whose life is Unjudged belongs to another host, or left no trace.
const (
	Alive Life = iota
	Dead
	Unjudged
)

// Judge tells whether the process of a RUNNING run still lives. The lock
// decides; where its file is gone (somebody removed it), the process itself
// does: same boot, same pid, same start. Nothing here reads a wall clock, so
// setting it back changes nothing.
func (g *Registry) Judge(run metastore.RunDetail) Life {
	p := run.Process
	if p.RunID == "" || p.MachineID == "" || string(p.MachineID) != g.Process.MachineID {
		return Unjudged
	}
	switch g.lockState(string(p.LiveLock)) {
	case lockHeld:
		return Alive
	case lockFree:
		return Dead
	case lockUnknown:
		if p.BootID == "" || string(p.BootID) == g.Process.BootID {
			if _, exists := processStart(int(p.PID)); exists {
				return Unjudged
			}
		}
		return Dead
	}
	if p.BootID != "" && string(p.BootID) != g.Process.BootID {
		return Dead
	}
	start, exists := processStart(int(p.PID))
	if exists && start == string(p.ProcessStart) {
		return Alive
	}
	return Dead
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
	defer g.sweepLocks()
	var dead []metastore.RunDetail
	var ask []string
	for _, run := range running {
		if g.Judge(run) == Dead {
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

// sweepLocks removes the lock files that dead processes left.
func (g *Registry) sweepLocks() {
	entries, err := os.ReadDir(g.LiveDir)
	if err != nil {
		return
	}
	for _, e := range entries {
		g.sweep(e.Name())
	}
}
