package runs

import (
	"context"
	"os"

	"quant"
	"quant/internal/metastore"
	"quant/internal/process"
	"quant/internal/registry/liveness"
	"quant/internal/session"
)

// Stopped says that the process of a run was asked to end: it closes the record.
const Stopped = "stopped"

// Stop asks the process of a run to end, with SIGTERM, as a terminal's kill does: the
// process closes its record by itself, as a FAIL that says so. It must run on this
// machine and be the one that recorded the run, which its pid and start together
// prove. A process that has recorded several runs ends as a whole; so a run that
// stands inside another of the same process is not stopped apart. Errors: those of
// Resolve; Conflict for a run that has ended; Refused for one that cannot be stopped
// from here.
func Stop(ctx context.Context, s *session.Session, ref string) (Change, error) {
	id, err := s.Resolve(ctx, ref)
	if err != nil {
		return Change{}, err
	}
	run, err := s.Meta.GetRun(ctx, id)
	if err != nil {
		return Change{}, err
	}
	if err := stoppable(ctx, s, run); err != nil {
		return Change{}, err
	}
	if err := process.Terminate(int(run.Process.PID), string(run.Process.ProcessStart)); err != nil {
		return Change{}, quant.Errorf(quant.Refused, "run %s: its process %d cannot be stopped: %w", quant.ShortID(id), run.Process.PID, err).
			WithHint("a run is stopped by the user that started it, while it runs")
	}
	return Change{RunID: id, Kind: run.Kind, Change: Stopped}, nil
}

func stoppable(ctx context.Context, s *session.Session, run metastore.RunDetail) error {
	short := quant.ShortID(run.RunID)
	switch {
	case run.Status != quant.Running:
		return quant.Errorf(quant.Conflict, "run %s has ended: it is %s", short, run.Status)
	case int(run.Process.PID) == os.Getpid() && run.Process.MachineID == quant.Text(s.Registry.Process.MachineID):
		return quant.Errorf(quant.Refused, "run %s is part of this very process", short).WithHint("end the process itself, or the client that records the run")
	}
	switch s.Registry.Judge(ctx, run) {
	case liveness.Dead:
		return quant.Errorf(quant.Conflict, "run %s: its process has ended without finishing it", short).WithHint("the next command closes its record")
	case liveness.Unjudged:
		if run.Process.PID == 0 {
			return quant.Errorf(quant.Refused, "run %s is recorded by a client of MLflow, whose process is not known", short).
				WithHint("end the client's program; `quant runs close %s` ends the record", short)
		}
		return quant.Errorf(quant.Refused, "run %s runs on %s, not here", short, run.Process.Host).WithHint("stop it there; `quant runs close %s` ends its record", short)
	}
	if parent := string(run.Process.ParentRunID); parent != "" {
		outer, err := s.Meta.GetRun(ctx, parent)
		if err == nil && outer.Process.PID == run.Process.PID && outer.Process.ProcessStart == run.Process.ProcessStart {
			return quant.Errorf(quant.Refused, "run %s is a part of run %s, in the same process", short, quant.ShortID(parent)).
				WithHint("stop run %s", quant.ShortID(parent))
		}
	}
	return nil
}

// Stop is Stop as an action; a run that a client makes is ended by StopClient.
func (a Actor) Stop(ctx context.Context, ref string) (Acted, error) {
	id, err := a.Session.Resolve(ctx, ref)
	if err != nil {
		return Acted{}, err
	}
	run, err := a.Session.Meta.GetRun(ctx, id)
	if err != nil {
		return Acted{}, err
	}
	c := session.Command{Kind: "runs.stop", Args: []string{"runs", "stop", id}, Operands: []string{id}, Flags: map[string]string{}}
	return a.act(ctx, c, func(ctx context.Context, s *session.Session) ([]Change, error) {
		if a.StopClient != nil {
			if made, err := a.StopClient(ctx, id, a.By); err != nil || made {
				return []Change{{RunID: id, Kind: run.Kind, Change: Stopped}}, err
			}
		}
		change, err := Stop(ctx, s, id)
		if err != nil {
			return nil, err
		}
		return []Change{change}, nil
	})
}
