// Package runlog records runs from within a Go program: it opens a lab, starts
// a run or joins the one that the program was started in, and logs its params,
// metrics, tags, notes and artifacts, as `quant log` does from a shell.
//
// It writes the Meta DB alone and knows no Fact DB. Names and values have the
// limits of package quant, and are masked as everywhere in a lab: known secrets
// wherever they stand, and the value of a param or tag whose name tells of one.
// Everything is safe for concurrent use, also by several processes. Errors have
// a quant.Code: Invalid for what breaks a rule, Conflict for a param with
// another value and for a run that is deleted, NotFound, Locked, Store.
package runlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"quant"
	"quant/internal/config"
	"quant/internal/lab"
	"quant/internal/lab/place"
	"quant/internal/logstream"
	"quant/internal/metastore"
	"quant/internal/registry"
	"quant/internal/secret"
)

// Lab is an open lab.
type Lab struct {
	lab    *lab.Lab
	parent string // of the environment, perhaps no run id at all

	mu   sync.Mutex
	open map[*Run]bool
}

// Open opens the lab in a data folder and makes it where it is missing. Errors:
// Usage for "", Store, Locked.
func Open(ctx context.Context, dataDir string) (*Lab, error) {
	if dataDir == "" {
		return nil, quant.Errorf(quant.Usage, "no data folder is named").WithHint("OpenEnvironment takes the ordinary one")
	}
	lookup, _ := config.System()
	return open(ctx, config.Resolve(map[string]string{"data-dir": dataDir, "sqlite": place.In(dataDir).MetaPath}, lookup, nil))
}

// OpenEnvironment opens the lab that a quant started here would use: that of
// QUANT_DATA_DIR and QUANT_SQLITE_PATH, of the file .env in the working
// directory, or ./data. Errors: as of Open; Usage for settings or a .env that
// cannot be used.
func OpenEnvironment(ctx context.Context) (*Lab, error) {
	lookup, _ := config.System()
	dotenv, _, err := config.ReadDotenv(".env")
	if err != nil {
		return nil, err
	}
	settings := config.Resolve(nil, lookup, dotenv)
	if err := settings.Validate(); err != nil {
		return nil, err
	}
	return open(ctx, settings)
}

func open(ctx context.Context, settings config.Settings) (*Lab, error) {
	mask := &secret.Masker{}
	mask.Know(settings.Secrets()...)
	lookup, environ := config.System()
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		mask.KnowVariable(name, value)
	}
	at := lab.Options{
		Place:    settings.Place(),
		Mask:     mask,
		Patience: lab.Patience,
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		at.BinaryVersion = strings.TrimSpace(info.Main.Path + " " + info.Main.Version)
	}
	opened := lab.New(at)
	if err := opened.Open(ctx, false); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	l := &Lab{lab: opened, open: map[*Run]bool{}}
	l.parent, _ = lookup(config.ParentRun)
	return l, nil
}

// Close ends what is still open as FAIL and closes the lab.
func (l *Lab) Close() error {
	l.mu.Lock()
	var left []*Run
	for r := range l.open {
		left = append(left, r)
	}
	l.mu.Unlock()
	var all error
	for _, r := range left {
		all = errors.Join(all, r.Close(quant.Errorf(quant.Failed, "its lab was closed before the run was")))
	}
	return errors.Join(all, l.lab.Close())
}

// Start records a run as RUNNING; it is durable when Start returns. kind says
// what runs (train, notebook), config is anything that has a JSON form; nil is
// none. Inside another run (QUANT_RUN_ID) it is a child of that one. Close the
// run; a process that dies first leaves it to the next command of the lab, which
// closes it as FAIL.
func (l *Lab) Start(ctx context.Context, kind string, config any) (*Run, error) {
	id, err := l.lab.Registry.Start(ctx, kind, config, l.childOf()...)
	if err != nil {
		return nil, err
	}
	return l.run(id, true), nil
}

func (l *Lab) childOf() []registry.StartOption {
	if registry.IsRunID(l.parent) {
		return []registry.StartOption{registry.ChildOf(l.parent)}
	}
	return nil
}

// Track runs fn as a run: closed as SUCCESS when fn returns nil, as FAIL with
// its text when it returns an error or panics (the panic goes on after that).
func (l *Lab) Track(ctx context.Context, kind string, config any, fn func(ctx context.Context, run *Run) error) error {
	return l.lab.Registry.Track(ctx, kind, config, func(ctx context.Context, tracked *registry.Run) (err error) {
		r := l.run(tracked.ID, false)
		defer func() { err = errors.Join(err, r.Close(nil)) }()
		return fn(ctx, r)
	}, l.childOf()...)
}

// Current joins the run that this program was started in, that of QUANT_RUN_ID:
// its Close stores what is left and does not end it. NotFound: there is none.
func (l *Lab) Current(ctx context.Context) (*Run, error) {
	if l.parent == "" {
		return nil, quant.Errorf(quant.NotFound, "this program runs in no run").
			WithHint("start it with `quant exec -- PROGRAM`, or use Start")
	}
	if !registry.IsRunID(l.parent) {
		return nil, quant.Errorf(quant.Invalid, "%s is %q, and that is no whole run id", config.ParentRun, l.parent).WithHint("leave it to `quant exec` to set it")
	}
	return l.Join(ctx, l.parent)
}

// Join opens a run, also one that has ended, by any reference that the command
// line takes: an id, a unique part of it, last, last:KIND, @NAME. Its Close
// stores what is left and does not end it. Errors: NotFound, Invalid.
func (l *Lab) Join(ctx context.Context, ref string) (*Run, error) {
	id, err := registry.Resolve(ctx, l.lab.Meta, ref, "")
	if err != nil {
		return nil, err
	}
	if _, err := l.lab.Meta.GetRun(ctx, id); err != nil {
		return nil, err
	}
	return l.run(id, false), nil
}

func (l *Lab) run(id string, owned bool) *Run {
	r := &Run{lab: l, id: id, owned: owned, points: logstream.NewBatcher(context.Background(), logstream.BatcherOptions{
		Sink: l.lab.Registry, RunID: id, Limits: pointLimits,
	})}
	l.mu.Lock()
	l.open[r] = true
	l.mu.Unlock()
	return r
}

// Run is a run to log to. Points of metrics are stored in batches, at the latest
// half a second after they were logged; everything else is stored when its
// method returns.
type Run struct {
	lab    *Lab
	id     string
	owned  bool // Close ends it
	points *logstream.Batcher

	mu     sync.Mutex
	closed bool
}

// pointLimits are those of the points that wait to be stored.
var pointLimits = logstream.Limits{Records: 4 << 10, Age: 500 * time.Millisecond, Retain: 256 << 10}

// ID is the run's id.
func (r *Run) ID() string { return r.id }

func (r *Run) log(b metastore.Batch) error {
	r.mu.Lock()
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return r.closedError()
	}
	return r.lab.lab.Registry.Log(context.Background(), r.id, b)
}

func (r *Run) closedError() error {
	return quant.Errorf(quant.Conflict, "run %s is closed here", r.id).WithHint("log before Close, or Join the run")
}

// Param records a setting, once: the same value again is fine, another one is
// Conflict. The value is written as fmt.Sprint does.
func (r *Run) Param(name string, value any) error { return r.Params(map[string]any{name: value}) }

// Params records settings, all of them or none.
func (r *Run) Params(values map[string]any) error {
	var b metastore.Batch
	for name, value := range values {
		b.Params = append(b.Params, quant.Param{Name: name, Value: fmt.Sprint(value)})
	}
	return r.log(b)
}

// Tag sets a tag, in place of the one of that name.
func (r *Run) Tag(name, value string) error {
	return r.log(metastore.Batch{Tags: []quant.Tag{{Name: name, Value: value}}})
}

// Note adds a note.
func (r *Run) Note(text string) error {
	return r.log(metastore.Batch{Notes: []quant.Note{{Text: text}}})
}

// Metric logs a point of a metric at the step after its highest, 0 for the
// first. Invalid: the value is not finite, or the name breaks a rule; the point
// is then not logged. Any other error is that of points logged before.
func (r *Run) Metric(name string, value float64) error {
	return r.MetricAt(quant.AutoStep, name, value)
}

// MetricAt is Metric at a step.
func (r *Run) MetricAt(step int64, name string, value float64) error {
	p := quant.MetricPoint{RunID: r.id, Name: name, Step: step, Value: value, LoggedAt: quant.NewTime(time.Now())}
	if err := p.Validate(); err != nil {
		return err
	}
	err := r.points.Add(context.Background(), logstream.Record{Batch: metastore.Batch{Metrics: []quant.MetricPoint{p}}})
	if errors.Is(err, logstream.ErrClosed) {
		return r.closedError()
	}
	return err
}

// Flush stores the points that wait. Points that the store cannot take now
// (Locked, Store) are kept for the next time.
func (r *Run) Flush() error { return r.points.Flush(context.Background()) }

// Artifact keeps a file under a name, "" for the file's own; of a folder all
// files, by their paths within it, below name. What is no regular file, and what
// a folder's links show outside of it, is Invalid. The same content again is
// fine, another one under the same name Conflict.
func (r *Run) Artifact(ctx context.Context, path, name string) error {
	list, err := r.lab.lab.Artifacts().PutPath(ctx, path, name)
	if err != nil {
		return err
	}
	return r.log(metastore.Batch{Artifacts: list})
}

// ArtifactFrom keeps what a reader gives, until its end.
func (r *Run) ArtifactFrom(ctx context.Context, in io.Reader, name string) error {
	a, err := r.lab.lab.Artifacts().KeepFrom(ctx, in, name)
	if err != nil {
		return err
	}
	return r.log(metastore.Batch{Artifacts: []quant.Artifact{a}})
}

// Close stores what waits and ends a run that Start began: as SUCCESS when cause
// is nil, else as FAIL with its text. Of a run that was joined, or is tracked,
// cause counts for nothing. A second Close does nothing.
func (r *Run) Close(cause error) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	r.lab.mu.Lock()
	delete(r.lab.open, r)
	r.lab.mu.Unlock()
	err := r.points.Close(context.Background())
	if !r.owned {
		return err
	}
	closing, stop := registry.Closing(context.Background())
	defer stop()
	if cause != nil {
		return errors.Join(err, r.lab.lab.Registry.Fail(closing, r.id, cause))
	}
	return errors.Join(err, r.lab.lab.Registry.Success(closing, r.id))
}
