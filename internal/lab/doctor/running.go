package doctor

import (
	"context"
	"fmt"

	"quant"
	"quant/internal/metastore"
	"quant/internal/registry/liveness"
	"quant/internal/tracking"
)

// namedRuns is how many runs of a host that cannot be judged are named one by one.
const namedRuns = 10

// running closes the runs whose processes died, all of them, and names the others
// that are RUNNING.
func (e *examination) running(ctx context.Context) {
	if e.Registry != nil {
		done, err := e.Registry.ReconcileAll(ctx)
		if n := len(done.Closed); n > 0 {
			e.add(Fixed, "runs", "", "%s were RUNNING whose processes had died, and are FAIL now; the newest is run %s", quant.Count(n, "run"), done.Closed[0].RunID)
		}
		if err != nil {
			e.failed("runs", err)
		}
	}
	running, err := e.Meta.ListRuns(ctx, metastore.RunFilter{All: true, Status: quant.Running, Except: e.store.Self, Brief: true})
	if err != nil {
		e.failed("runs", err)
		return
	}
	elsewhere := map[quant.Text][]metastore.RunDetail{}
	for _, run := range running {
		object := "run " + run.RunID
		if e.Registry == nil {
			e.partly = true
			e.add(Note, object, "", "%s is RUNNING; it cannot be judged while the Meta DB is read-only", run.Kind)
			continue
		}
		switch e.Registry.Judge(ctx, run) {
		case liveness.Alive:
			e.add(Note, object, "", "%s is running: process %d on %s", run.Kind, run.Process.PID, run.Process.Host)
		case liveness.Unjudged:
			if run.Kind == tracking.Kind && run.Process.MachineID == "" { // no process of a machine stands behind it
				e.add(Note, object, "", "a client of MLflow logs to it; quant serve ends it when the client has been silent for the lease, quant runs close %s at once", run.RunID)
				continue
			}
			elsewhere[run.Process.Host] = append(elsewhere[run.Process.Host], run)
			if len(elsewhere[run.Process.Host]) <= namedRuns {
				e.add(Warning, object, fmt.Sprintf("if its process is gone: quant runs close %s", run.RunID),
					"%s is RUNNING and cannot be judged from here: process %d on host %q", run.Kind, run.Process.PID, run.Process.Host)
			}
		case liveness.Dead:
			e.add(Fault, object, fmt.Sprintf("run any command again, or: quant runs close %s", run.RunID), "%s is RUNNING but its process is dead", run.Kind)
		}
	}
	for host, runs := range elsewhere {
		if more := len(runs) - namedRuns; more > 0 {
			e.add(Warning, "runs", "quant runs list --all --status RUNNING --limit 0 shows them; run a command on that host, or quant runs close each whose process is gone",
				"%d older runs are RUNNING and cannot be judged from here: of host %q", more, host)
		}
	}
}
