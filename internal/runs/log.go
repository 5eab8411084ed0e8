package runs

import (
	"context"
	"errors"
	"io"
	"time"

	"quant"
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
	Path     string        // of the transcript
	Every    time.Duration // how often a log that is followed is looked at
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
		if !wait || ended {
			break
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(o.Every):
		}
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
