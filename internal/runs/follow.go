package runs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// Watched is a run as it stood at one moment of a Watch.
type Watched struct {
	At        quant.Time   `json:"at"`
	RunID     string       `json:"run_id"`
	Kind      string       `json:"kind"`
	Name      quant.Text   `json:"name"`
	Status    quant.Status `json:"status"`
	ElapsedUS int64        `json:"elapsed_us"` // so far, or in all
	ErrorText quant.Text   `json:"error_text"`
	Metrics   []LastValue  `json:"metrics"` // by name
}

// LastValue is the newest point of a metric.
type LastValue struct {
	Name     string  `json:"name"`
	LastStep int64   `json:"last_step"`
	Last     float64 `json:"last"`
}

// differs reports whether w is news to who saw before.
func (w Watched) differs(before Watched) bool {
	return w.Status != before.Status || w.Name != before.Name || !slices.Equal(w.Metrics, before.Metrics)
}

// maxRunning is how many running runs a watch shows at most.
const maxRunning = 100

// Watch looks at runs again and again: at those that are named, or at the running
// and the newest ones. Look, then read what it saw. Not safe for concurrent use.
type Watch struct {
	Meta metastore.Store
	// Registry closes runs whose process died; nil: nobody does.
	Registry *registry.Registry
	Now      func() time.Time

	Named []string // ids; none: the running and the newest runs
	Self  string   // the run that watches, which it does not show; "": none
	All   bool     // also runs that only read
	Limit int      // of the newest runs, beside those that run

	runs  []Watched
	at    quant.Time // of the last look that succeeded
	stale bool
}

// Runs are the runs as the last Look saw them: those named in their order, else
// first those that run, then those that ran a moment ago, then the newest.
func (w *Watch) Runs() []Watched { return w.runs }

// Stale reports that the last Look found the Meta DB locked, and of when Runs is.
func (w *Watch) Stale() (asOf quant.Time, stale bool) { return w.at, w.stale }

// Ended reports whether all named runs have ended; a watch of others never ends.
func (w *Watch) Ended() bool {
	return len(w.Named) > 0 && !slices.ContainsFunc(w.runs, func(r Watched) bool { return r.Status == quant.Running })
}

// Err tells which of the named runs ended as FAIL, once all have ended; nil if
// none did.
func (w *Watch) Err() error {
	var failed []string
	for _, r := range w.runs {
		if len(w.Named) > 0 && r.Status == quant.Fail {
			failed = append(failed, quant.ShortID(r.RunID))
		}
	}
	if failed == nil || !w.Ended() {
		return nil
	}
	return quant.Errorf(quant.Failed, "%s of %s ended as FAIL: %s", quant.Count(len(failed), "run"), quant.Count(len(w.Named), "run"), strings.Join(failed, ", ")).
		WithHint("quant runs show %s says why", failed[0])
}

// Follow calls changed for each run that is new, has ended, or whose name or
// metrics have moved, the oldest first, and looks again every so often until
// Ended. It begins with what has been seen, or with a Look. Errors: the first one
// of Look or changed, or ctx's cause.
func (w *Watch) Follow(ctx context.Context, every time.Duration, changed func(Watched) error) error {
	if w.runs == nil {
		if err := w.Look(ctx); err != nil {
			return err
		}
	}
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	told := map[string]Watched{}
	for {
		for _, r := range slices.Backward(w.runs) {
			if before, known := told[r.RunID]; known && !r.differs(before) {
				continue
			}
			if err := changed(r); err != nil {
				return err
			}
		}
		clear(told) // only runs that are still looked at are remembered
		for _, r := range w.runs {
			told[r.RunID] = r
		}
		if w.Ended() {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticks.C:
		}
		if err := w.Look(ctx); err != nil {
			return err
		}
	}
}

// Look reads how the runs stand, after it has closed those whose process died. A
// Meta DB that somebody else holds just now is no error but to the first Look:
// Runs stays as it was, and is Stale. Errors: NotFound for a named run that is
// gone, Store, ctx's cause.
func (w *Watch) Look(ctx context.Context) error {
	list, err := w.list(ctx)
	if err == nil {
		err = w.describe(ctx, list)
	}
	if w.stale = errors.Is(err, quant.Locked) && w.runs != nil && ctx.Err() == nil; w.stale {
		return nil
	}
	return causeOr(ctx, err)
}

// causeOr is the cause of ctx for an error that met its end, else the error.
func causeOr(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (w *Watch) list(ctx context.Context) ([]metastore.RunDetail, error) {
	if w.Registry != nil {
		if _, err := w.Registry.Reconcile(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, quant.Locked) {
			return nil, err
		}
	}
	if len(w.Named) > 0 {
		return w.Meta.RunsOf(ctx, w.Named)
	}
	f := metastore.RunFilter{All: w.All, Status: quant.Running, Except: w.Self, Brief: true, Limit: maxRunning}
	list, err := w.Meta.ListRuns(ctx, f)
	if err != nil {
		return nil, err
	}
	f.Status, f.Limit = "", w.Limit
	newest, err := w.Meta.ListRuns(ctx, f)
	if err != nil {
		return nil, err
	}
	listed := map[string]bool{}
	for _, r := range list {
		listed[r.RunID] = true
	}
	for _, r := range w.runs { // what ran a moment ago is shown to have ended
		if r.Status != quant.Running || listed[r.RunID] {
			continue
		}
		run, err := w.Meta.GetRun(ctx, r.RunID)
		if errors.Is(err, quant.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list, listed[r.RunID] = append(list, run), true
	}
	for _, r := range newest {
		if !listed[r.RunID] {
			list = append(list, r)
		}
	}
	return list, nil
}

// describe reads names and metrics of runs.
func (w *Watch) describe(ctx context.Context, list []metastore.RunDetail) error {
	ids := make([]string, len(list))
	for i, r := range list {
		ids[i] = r.RunID
	}
	names, err := w.Meta.NamesOf(ctx, ids)
	if err != nil {
		return err
	}
	metrics, err := w.Meta.MetricsOf(ctx, ids)
	if err != nil {
		return err
	}
	of := map[string][]LastValue{}
	for _, m := range metrics {
		of[m.RunID] = append(of[m.RunID], LastValue{m.Name, m.LastStep, m.Last})
	}
	w.at, w.runs = quant.NewTime(w.Now()), []Watched{}
	for _, r := range list {
		seen := Watched{
			At: w.at, RunID: r.RunID, Kind: r.Kind, Name: quant.Text(names[r.RunID]), Status: r.Status,
			ErrorText: r.ErrorText, Metrics: append([]LastValue{}, of[r.RunID]...),
		}
		switch {
		case r.Process.DurationUS != nil:
			seen.ElapsedUS = *r.Process.DurationUS
		case r.Status == quant.Running:
			seen.ElapsedUS = max(w.at.Sub(r.StartedAt.Time).Microseconds(), 0)
		default:
			seen.ElapsedUS = max(r.EndedAt.Sub(r.StartedAt.Time).Microseconds(), 0)
		}
		w.runs = append(w.runs, seen)
	}
	return nil
}
