package tracking

import (
	"context"

	"quant"
	"quant/internal/metastore"
)

// Stop ends a RUNNING run that a client made, as KILLED; by says who asks for it. Its
// client is not reached: what that still sends belongs to a run that has ended. made
// tells whether run_id is such a run; without, nothing was done.
func (t *Tracking) Stop(ctx context.Context, runID, by string) (made bool, err error) {
	found, err := t.Store.ClientRunsOf(ctx, []string{runID})
	if err != nil || len(found) == 0 || found[0].Status == "" || found[0].Run.Status != quant.Running {
		return false, err
	}
	run, now := found[0], t.now()
	end := metastore.RunEnd{RunID: run.RunID, EndedAt: now, Status: quant.Fail, ErrorText: "stopped by " + by}
	if d := now.Sub(run.StartedAt.Time).Microseconds(); d >= 0 {
		end.DurationUS = &d
	}
	err = t.writes.do(ctx, func(ctx context.Context) error { return t.Store.EndClientRun(ctx, end, Killed, now) })
	t.life.forget(run.RunID)
	return true, err
}
