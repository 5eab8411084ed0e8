package registry

import (
	"context"
	"errors"

	"quant"
	"quant/internal/metastore"
)

// CrashText begins the text of a run whose process said what ended it, but could
// not close it any more.
const CrashText = "the process crashed: "

// Crashed closes a run whose process crashed as FAIL, with what ended it, in one
// line, and returns it. Only the process of the run closes it so, started anew
// (execve keeps pid and start): nobody else works on it any more. It asks
// Options.Facts without waiting. Errors: NotFound; ErrFinished if somebody closed it
// before; Conflict if it is the run of another process; Store.
func (g *Registry) Crashed(ctx context.Context, runID, what string) (metastore.RunDetail, error) {
	run, err := g.Store.GetRun(ctx, runID)
	if err != nil {
		return run, err
	}
	if p, me := run.Process, g.Process; string(p.MachineID) != me.MachineID || string(p.BootID) != me.BootID || p.PID != int64(me.PID) || string(p.ProcessStart) != me.Start {
		return run, quant.Errorf(quant.Conflict, "finish run %s: it is the run of another process", runID).
			WithHint("`quant doctor` closes the runs whose processes have died")
	}
	facts := quant.FactsNone
	if run.Process.Changes {
		facts = quant.FactsNotChecked
		if g.Facts != nil {
			if committed, err := g.Facts(ctx, []string{runID}); err == nil {
				facts = quant.FactsNone
				if committed[runID] {
					facts = quant.FactsCommitted
				}
			}
		}
	}
	exit := int64(quant.ExitStatus(quant.Errorf(quant.Failed, "%s", what)))
	now := quant.NewTime(g.Now())
	duration := now.Sub(run.StartedAt.Time).Microseconds()
	end := metastore.RunEnd{
		RunID: runID, Status: quant.Fail, EndedAt: now, ErrorText: WithFacts(g.Mask.Text(CrashText+what), facts), Facts: facts,
		ExitCode: &exit, DurationUS: &duration,
	}
	if duration < 0 {
		end.DurationUS = nil // the clock was set back
	}
	err = g.Store.FinishRun(ctx, end)
	if errors.Is(err, quant.Conflict) {
		err = quant.Errorf(quant.Conflict, "finish run %s: %w", runID, ErrFinished)
	}
	return run, err
}
