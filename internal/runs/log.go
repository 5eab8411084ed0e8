package runs

import (
	"context"
	"errors"
	"io"
	"time"

	"quant"
	"quant/internal/artifact"
	"quant/internal/exec/transcript"
	"quant/internal/metastore"
	"quant/internal/registry"
	"quant/internal/registry/liveness"
)

// Log is what the program of a run printed. Not safe for concurrent use.
type Log struct {
	*transcript.Reader
	o LogOptions
}

// LogOptions say whose log it is.
type LogOptions struct {
	Meta metastore.Store
	// Registry closes the run if its process died; nil: nobody does.
	Registry *registry.Registry
	RunID    string
	Path     string // of the transcript on this machine
	// Artifacts have the transcripts of runs that ended on other machines.
	Artifacts artifact.Store
	Every     time.Duration // how often a log that is followed is looked at
}

// OpenLog opens the log of a run, for its Close. wait: one that is only about to
// be made is waited for. NotFound: the run has none, or it is gone. Other errors:
// transcript.Open's, ctx's cause.
func OpenLog(ctx context.Context, o LogOptions, wait bool) (*Log, error) {
	l := &Log{o: o}
	for {
		ended, err := l.runEnded(ctx)
		if err != nil {
			return nil, err
		}
		l.Reader, err = transcript.Open(o.Path)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, quant.NotFound) {
			return nil, err
		}
		if ended {
			shared, err := l.shared(ctx)
			if err != nil || shared {
				return l, err
			}
		}
		if !wait || ended {
			break
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(o.Every):
		}
	}
	if err := o.elsewhere(ctx); err != nil {
		return nil, err
	}
	if _, err := o.Meta.GetProgram(ctx, o.RunID); errors.Is(err, quant.NotFound) {
		return nil, quant.Errorf(quant.NotFound, "run %s has no log", o.RunID).
			WithHint("only programs that run under `quant exec` have one")
	} else if err != nil {
		return nil, err
	}
	return nil, quant.Errorf(quant.NotFound, "the log of run %s is gone, or could not be made: %s", o.RunID, o.Path).
		WithHint("`quant runs show %s` has what is recorded beside it", quant.ShortID(o.RunID))
}

// shared opens the transcript of an ended run that its machine has stored where all see
// it; found tells whether there is one.
func (l *Log) shared(ctx context.Context) (found bool, err error) {
	a, err := l.o.Meta.ArtifactOf(ctx, l.o.RunID, quant.ProgramLog)
	if err != nil {
		if errors.Is(err, quant.NotFound) {
			return false, nil
		}
		return false, err
	}
	f, err := l.o.Artifacts.Open(ctx, a.Digest)
	if err != nil {
		return false, err
	}
	l.Reader, err = transcript.From(f)
	return err == nil, err
}

// elsewhere is the error of a log that is a file of another machine.
func (o LogOptions) elsewhere(ctx context.Context) error {
	run, err := o.Meta.GetRun(ctx, o.RunID)
	if err != nil || o.Registry == nil || run.Process.MachineID == "" || string(run.Process.MachineID) == o.Registry.Process.MachineID {
		return causeOr(ctx, err)
	}
	if run.Status == quant.Running {
		e := quant.Errorf(quant.NotFound, "run %s goes on on %s, which has what it prints", o.RunID, run.Process.Host)
		if o.Artifacts.Shared != nil {
			return e.WithHint("follow it there; here it can be read when the run has ended, and `quant runs logs --follow` waits for that")
		}
		return e.WithHint("follow it there; with QUANT_OBJECTS_URL all machines can read it when the run has ended")
	}
	return quant.Errorf(quant.NotFound, "the log of run %s, if it has one, is on %s alone", o.RunID, run.Process.Host).
		WithHint("read it there: its process was killed, or did not know QUANT_OBJECTS_URL")
}

// Follow is Copy, and then goes on with what is printed until the run has ended,
// or ctx does. Between two looks it calls w's Flush, if it has one.
func (l *Log) Follow(ctx context.Context, w io.Writer, lines int) error {
	return l.Reader.Follow(ctx, w, lines, l.o.Every, l.runEnded)
}

// runEnded reports whether the run has ended; one whose process died is closed.
func (l *Log) runEnded(ctx context.Context) (bool, error) {
	run, err := l.o.Meta.GetRun(ctx, l.o.RunID)
	if err != nil || run.Status != quant.Running {
		return true, causeOr(ctx, err)
	}
	if r := l.o.Registry; r != nil && r.Judge(ctx, run) == liveness.Dead {
		return true, causeOr(ctx, r.ReconcileRun(ctx, run))
	}
	return false, nil
}
