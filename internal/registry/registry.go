// Package registry is the Run Registry: it records every execution before it
// acts and closes the record whatever happens. It decides what a run's life
// looks like; the rows are the metastore's, and what a run does is its
// caller's. It never opens the Fact DB; who can tells it (Options.Facts).
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"quant"
	"quant/internal/git"
	"quant/internal/metastore"
	"quant/internal/registry/liveness"
	"quant/internal/secret"
)

// Options are what a Registry needs from outside.
type Options struct {
	Store metastore.Store
	// Liveness proves to others that this process lives, and tells of theirs. All
	// processes that share a Meta DB must share what it rests on.
	Liveness Liveness
	Mask     *secret.Masker    // nil: the rules that need no values
	Now      func() time.Time  // nil: time.Now
	Random   io.Reader         // nil: crypto/rand
	Process  *liveness.Process // nil: this process
	// Facts tells, without waiting, which of these runs have committed facts.
	// nil, or an error: not checked.
	Facts func(ctx context.Context, runIDs []string) (map[string]bool, error)
	// FactsShared: Facts knows those of every machine that shares the Meta DB. Else it
	// is asked only about runs whose lock lies in the folder of Liveness.
	FactsShared bool
	// Binary describes the program: its version, and the commit it was built
	// from.
	BinaryVersion, BinaryCommit string
	// AskGit starts git beside each run that may change something, to learn
	// whether tracked files differ from the commit. It costs a process a run.
	AskGit bool
}

// Liveness is how processes prove to each other that they live.
type Liveness interface {
	// Hold begins the proof that this process lives, or goes on with it, and returns
	// the name under which others find it (RunProcess.LiveLock). It is held when Hold
	// returns, until Release or the end of the process. runID is that of a run that
	// starts.
	Hold(ctx context.Context, runID string) (name string, err error)
	// Judge tells whether the process that recorded a run still lives. What cannot
	// be found out is liveness.Unjudged.
	Judge(ctx context.Context, p quant.RunProcess) liveness.Life
	// Sweep takes away what processes left that are gone; what takes long it leaves
	// for another time.
	Sweep(ctx context.Context)
	// Release ends the proof.
	Release()
}

// SharedLiveness is a Liveness among the processes of several machines: see
// liveness.Leases.
type SharedLiveness interface {
	Liveness
	// LockHere tells whether the lock of a process lies in the folder of this one,
	// LockFree whether it proves that the process is dead.
	LockHere(p quant.RunProcess) bool
	LockFree(p quant.RunProcess) bool
	// NothingDead tells in one look that Abandoned would return none, that no other
	// process of the machine has RUNNING runs, and that nothing is left to sweep.
	NothingDead(ctx context.Context, machine string) (bool, error)
	// Abandoned returns RUNNING runs of all machines whose processes are dead by what
	// they share, as metastore.Runs.RunningOn does.
	Abandoned(ctx context.Context, before string, limit int) ([]metastore.RunDetail, error)
	// Revoke makes sure that the processes of dead runs write nothing any more, neither
	// records nor facts, and returns the runs for which that is so.
	Revoke(ctx context.Context, runs []metastore.RunDetail) ([]metastore.RunDetail, error)
	// Fence runs a commit of facts while nobody can close these runs of this process:
	// Conflict when somebody has, and nothing is committed.
	Fence(ctx context.Context, tx func(context.Context, func(context.Context) error) error, runIDs []string, commit func() error) error
	// Lost is closed when this process was taken for dead.
	Lost() <-chan struct{}
}

// Fence runs a commit of facts of runs of this process. Where processes of other
// machines may take it for dead and close its runs, they cannot while commit runs;
// if they have, nothing is committed: Conflict.
func (g *Registry) Fence(ctx context.Context, runIDs []string, commit func() error) error {
	shared, ok := g.Liveness.(SharedLiveness)
	if !ok {
		return commit()
	}
	return g.lost(ctx, runIDs[0], shared.Fence(ctx, g.Store.Tx, runIDs, commit))
}

// Lost returns, once this process was taken for dead, why its run has ended: Conflict.
// nil: ctx ended before, or no other process could take it for dead.
func (g *Registry) Lost(ctx context.Context, runID string) error {
	shared, ok := g.Liveness.(SharedLiveness)
	if !ok {
		return nil
	}
	select {
	case <-shared.Lost():
		return g.lost(ctx, runID, quant.Errorf(quant.Conflict, "%w", metastore.ErrLeaseLost).
			WithHint("this process was suspended or cut off for too long; run it again"))
	case <-ctx.Done():
		return nil
	}
}

// lost says of the error of a process that was taken for dead how its run was closed.
func (g *Registry) lost(ctx context.Context, runID string, err error) error {
	if !errors.Is(err, metastore.ErrLeaseLost) {
		return err
	}
	run, failed := g.Store.GetRun(ctx, runID)
	if failed != nil || run.ErrorText == "" {
		return err
	}
	return quant.Errorf(quant.Conflict, "%w; run %s was closed at %s: %s", err, quant.ShortID(runID), run.EndedAt, run.ErrorText).
		WithHint("this process was suspended or cut off for too long; nothing that it still had was stored: run it again")
}

// Registry records runs. Safe for concurrent use.
type Registry struct {
	Options

	mu   sync.Mutex
	open map[string]*Run

	// What every run of this process shares is worked out once: the masked
	// command line (until there are more secrets to mask) and the commit.
	argv      quant.JSON
	argvKnows int
	commit    *string
}

// New makes a registry; it touches nothing yet. Close it once its runs have
// ended.
func New(o Options) *Registry {
	if o.Mask == nil {
		o.Mask = &secret.Masker{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = systemRandom
	}
	if o.Process == nil {
		o.Process = liveness.ThisProcess()
	}
	return &Registry{Options: o, open: map[string]*Run{}}
}

// ErrFinished is the cause when a run is finished that has ended already
// (quant.Conflict), ErrUnknown when there is no such run (quant.NotFound).
var (
	ErrFinished = errors.New("the run has ended already")
	ErrUnknown  = errors.New("there is no such run")
)

// Run is one open run of this process.
type Run struct {
	ID      string
	Kind    string
	Started quant.Time

	begun    time.Time // for the duration: the injected clock may be set back, this one not
	gitDirty func() *bool

	mu      sync.Mutex
	io      []quant.RunIO
	batch   metastore.Batch
	program *quant.Program
}

// Draft is a run that is recorded nowhere: it keeps what is noted of it, for Drafted.
func Draft(id string) *Run { return &Run{ID: id} }

// Drafted returns what has been noted of the run and is not stored yet.
func (r *Run) Drafted() ([]quant.RunIO, metastore.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.io), r.batch
}

// Record notes what the run read or wrote; it is stored when the run ends. The
// same direction, kind and name again replaces the earlier note.
func (r *Run) Record(io quant.RunIO) {
	io.RunID = r.ID
	io.Name = strings.ToValidUTF8(io.Name, "\uFFFD") // a file's name may be any bytes
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, old := range r.io {
		if old.Direction == io.Direction && old.Kind == io.Kind && old.Name == io.Name {
			r.io[i] = io
			return
		}
	}
	r.io = append(r.io, io)
}

// Log keeps entries of a batch until the run ends; they are stored in the same
// commit as its end, masked, and are lost with a process that dies before. An
// entry names no run: it is this one's. What must be stored at once goes through
// Registry.Log.
func (r *Run) Log(b metastore.Batch) {
	b = ofRun(b, r.ID)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batch.Params = append(r.batch.Params, b.Params...)
	r.batch.Tags = append(r.batch.Tags, b.Tags...)
	r.batch.Metrics = append(r.batch.Metrics, b.Metrics...)
	r.batch.Notes = append(r.batch.Notes, b.Notes...)
	r.batch.Artifacts = append(r.batch.Artifacts, b.Artifacts...)
}

// ofRun returns a batch whose entries that name no run name this one.
func ofRun(b metastore.Batch, runID string) metastore.Batch {
	b.Params, b.Tags, b.Metrics = slices.Clone(b.Params), slices.Clone(b.Tags), slices.Clone(b.Metrics)
	b.Notes, b.Artifacts = slices.Clone(b.Notes), slices.Clone(b.Artifacts)
	name := func(id *string) {
		if *id == "" {
			*id = runID
		}
	}
	for i := range b.Params {
		name(&b.Params[i].RunID)
	}
	for i := range b.Tags {
		name(&b.Tags[i].RunID)
	}
	for i := range b.Metrics {
		name(&b.Metrics[i].RunID)
	}
	for i := range b.Notes {
		name(&b.Notes[i].RunID)
	}
	for i := range b.Artifacts {
		name(&b.Artifacts[i].RunID)
	}
	return b
}

// Log stores a batch at once, in one durable commit, masked: the value of a
// param or tag whose name tells of a secret, and every known secret wherever it
// stands. Entries that name no run are those of runID, and points and notes
// without a time get the present one. Errors are metastore.Records.Log's.
func (g *Registry) Log(ctx context.Context, runID string, b metastore.Batch) error {
	return g.lost(ctx, runID, g.Store.Log(ctx, g.loggable(ofRun(b, runID))))
}

// DeleteTags takes tags of a run away, all of them or none. Errors: Invalid for a
// name that breaks a rule, NotFound for one that the run does not have.
func (g *Registry) DeleteTags(ctx context.Context, runID string, names []string) error {
	for _, name := range names {
		if err := quant.ValidateRecordName("tag", name); err != nil {
			return err
		}
	}
	return g.Store.Tx(ctx, func(ctx context.Context) error {
		for _, name := range names {
			if err := g.Store.DeleteTag(ctx, runID, g.Mask.Text(name)); err != nil { // as Log stored it
				return err
			}
		}
		return nil
	})
}

// loggable masks a batch and gives it times, in place.
func (g *Registry) loggable(b metastore.Batch) metastore.Batch {
	return g.masked(b, func(name, v string) string {
		masked, _ := g.Mask.Value(name, v).(string)
		return masked
	})
}

// masked is loggable with a rule for the values of params and tags.
func (g *Registry) masked(b metastore.Batch, value func(name, v string) string) metastore.Batch {
	now := quant.NewTime(g.Now())
	for i, p := range b.Params {
		b.Params[i].Name, b.Params[i].Value = g.Mask.Text(p.Name), value(p.Name, p.Value)
	}
	for i, t := range b.Tags {
		b.Tags[i].Name, b.Tags[i].Value = g.Mask.Text(t.Name), value(t.Name, t.Value)
	}
	masked := map[string]string{} // thousands of points have a few names
	for i := range b.Metrics {
		m := &b.Metrics[i]
		name, known := masked[m.Name]
		if !known {
			name = g.Mask.Text(m.Name)
			masked[m.Name] = name
		}
		m.Name = name
		if m.LoggedAt.IsZero() {
			m.LoggedAt = now
		}
	}
	for i := range b.Notes {
		n := &b.Notes[i]
		n.Text = g.Mask.Text(n.Text)
		if n.LoggedAt.IsZero() {
			n.LoggedAt = now
		}
	}
	for i := range b.Artifacts {
		a := &b.Artifacts[i]
		a.Name = g.Mask.Text(a.Name)
		if a.LoggedAt.IsZero() {
			a.LoggedAt = now
		}
	}
	return b
}

// StartOption says more about a run that starts.
type StartOption func(*start)

type start struct {
	readsOnly bool
	parent    string
	argv      []string
	runID     string
}

// ReadsOnly marks a run that can change nothing, whatever happens.
func ReadsOnly() StartOption { return func(s *start) { s.readsOnly = true } }

// ChildOf names the run inside which this one was started; "" is no parent.
func ChildOf(runID string) StartOption { return func(s *start) { s.parent = runID } }

// Argv gives the command line, unmasked, where it is not the process's own.
func Argv(argv []string) StartOption { return func(s *start) { s.argv = argv } }

// As gives the run an id that NewRunID made: it began when that was made. Two runs of
// one id cannot be recorded, so whoever was handed an id runs once. "" is a new id.
func As(runID string) StartOption { return func(s *start) { s.runID = runID } }

// NewRunID makes the id of a run that somebody else is to record, at once and once.
func (g *Registry) NewRunID() (string, error) { return newRunID(g.Now(), g.Random) }

// Start records a run as RUNNING and returns its id. The row is durable, and
// its liveness lock held, when Start returns. config is anything that has a
// JSON form, masked before it is stored. Errors: Invalid for a kind or config
// that cannot be stored, else the store's, or Store when the lock file cannot
// be made.
func (g *Registry) Start(ctx context.Context, kind string, config any, options ...StartOption) (string, error) {
	ids, err := g.StartAll(ctx, []Beginning{{Kind: kind, Config: config, Options: options}})
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// Beginning is a run that shall start, as Start's arguments say it.
type Beginning struct {
	Kind    string
	Config  any
	Options []StartOption
}

// StartAll is Start for several runs in one durable commit: all of them are
// recorded when it returns, or none. It returns their ids in the same order.
func (g *Registry) StartAll(ctx context.Context, list []Beginning) ([]string, error) {
	runs, rows, processes := make([]*Run, len(list)), make([]quant.Run, len(list)), make([]quant.RunProcess, len(list))
	for i, b := range list {
		var err error
		if runs[i], rows[i], processes[i], err = g.prepare(ctx, b); err != nil {
			return nil, err
		}
	}
	create := func(ctx context.Context) error {
		for i := range rows {
			if err := g.Store.CreateRun(ctx, rows[i], processes[i]); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	if len(list) == 1 {
		err = create(ctx)
	} else {
		err = g.Store.Tx(ctx, create)
	}
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(runs))
	var dirty func() *bool // git is asked once for all of them
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, run := range runs {
		if g.AskGit && processes[i].GitCommit != "" && processes[i].Changes {
			if dirty == nil {
				dirty = sync.OnceValue(git.AskDirty(g.Process.WorkDir))
			}
			run.gitDirty = dirty
		}
		g.open[run.ID], ids[i] = run, run.ID
	}
	return ids, nil
}

// prepare makes what is recorded of a run that shall start.
func (g *Registry) prepare(ctx context.Context, b Beginning) (*Run, quant.Run, quant.RunProcess, error) {
	var row quant.Run
	var process quant.RunProcess
	s := start{}
	for _, o := range b.Options {
		o(&s)
	}
	now := g.Now()
	id, err := s.runID, error(nil)
	if id == "" {
		id, err = newRunID(now, g.Random)
	} else {
		now, err = beganAt(id) // the text order of ids is that of their starts
	}
	if err != nil {
		return nil, row, process, quant.Errorf(quant.Failed, "make a run id: %w", err)
	}
	run := &Run{ID: id, Kind: b.Kind, Started: quant.NewTime(now), begun: time.Now()}
	row = quant.Run{RunID: id, Kind: b.Kind, Status: quant.Running, StartedAt: run.Started}
	if row.ConfigJSON, err = g.maskedJSON(b.Config); err != nil {
		return nil, row, process, err
	}
	process = processRow(g.Process, id, !s.readsOnly)
	for _, shown := range []*quant.Text{&process.Host, &process.User, &process.WorkDir} {
		*shown = quant.Text(g.Mask.Text(strings.ToValidUTF8(string(*shown), "\uFFFD")))
	}
	live, err := g.Liveness.Hold(ctx, id)
	if err != nil {
		return nil, row, process, err
	}
	process.LiveLock = quant.Text(live)
	process.ParentRunID = quant.Text(s.parent)
	process.BinaryVersion = quant.Text(g.BinaryVersion)
	process.BinaryCommit = quant.Text(g.BinaryCommit)
	if process.Argv, err = g.maskedArgv(s.argv); err != nil {
		return nil, row, process, err
	}
	process.GitCommit = quant.Text(g.checkedOut())
	return run, row, process, nil
}

// Configure replaces, once the settings are resolved, the config that Start
// recorded, and stores a batch (as Log does) in the same commit.
func (g *Registry) Configure(ctx context.Context, runID string, config any, b metastore.Batch) error {
	doc, err := g.maskedJSON(config)
	if err != nil {
		return err
	}
	return g.lost(ctx, runID, g.Store.UpdateRunConfig(ctx, runID, doc, g.loggable(ofRun(b, runID))))
}

// Close ends the proof that this process lives: from then on a run of this
// registry that is still open is taken for dead. Only a registry that starts runs
// needs it. Another run may be started afterwards.
func (g *Registry) Close() { g.Liveness.Release() }

// Get returns an open run of this process, or nil.
func (g *Registry) Get(runID string) *Run {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open[runID]
}

// Success closes a run as SUCCESS. See Fail for the errors.
func (g *Registry) Success(ctx context.Context, runID string) error {
	return g.finish(ctx, Ending{RunID: runID})
}

// Fail closes a run as FAIL, with the masked text of cause and the exit status
// that cause has. A run that has ended already is ErrFinished, an unknown one
// ErrUnknown; neither changes anything. A run that another process started can
// be closed too; its duration is then not known.
func (g *Registry) Fail(ctx context.Context, runID string, cause error) error {
	if cause == nil {
		cause = quant.Errorf(quant.Failed, "failed without saying why")
	}
	return g.finish(ctx, Ending{RunID: runID, Cause: cause})
}

// Ending is how a run ends: nil is a success, anything else why it failed.
type Ending struct {
	RunID string
	Cause error
}

// FinishAll is Success or Fail for several runs in one durable commit, where that
// is possible; a run that cannot be closed with the others is closed alone. It
// returns the error of each, in the same order, as Fail has it.
func (g *Registry) FinishAll(ctx context.Context, list []Ending) []error {
	errs := make([]error, len(list))
	if len(list) == 1 {
		errs[0] = g.finish(ctx, list[0])
		return errs
	}
	committed := g.Store.Tx(ctx, func(ctx context.Context) error {
		for i, e := range list {
			end, _ := g.ending(e)
			errs[i] = g.Store.FinishRun(ctx, end) // its failure leaves the others as they are
		}
		return nil
	})
	for i, e := range list {
		if committed != nil || errs[i] != nil {
			errs[i] = g.finish(ctx, e)
			continue
		}
		g.forget(e.RunID)
	}
	return errs
}

func (g *Registry) forget(runID string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, runID)
}

// ending is what is stored of the end of a run, and the run if this process
// started it.
func (g *Registry) ending(e Ending) (metastore.RunEnd, *Run) {
	end := metastore.RunEnd{RunID: e.RunID, Status: quant.Success, EndedAt: quant.NewTime(g.Now())}
	run := g.Get(e.RunID)
	if run != nil {
		exit := int64(quant.ExitStatus(e.Cause))
		duration := time.Since(run.begun).Microseconds()
		end.ExitCode, end.DurationUS = &exit, &duration
		run.mu.Lock()
		end.IO = append(end.IO, run.io...)
		end.Batch = g.loggable(ofRun(run.batch, e.RunID))
		end.Program = run.program
		run.mu.Unlock()
		end.IO = g.storable(end.IO)
		if run.gitDirty != nil {
			end.GitDirty = run.gitDirty()
		}
	}
	if e.Cause != nil {
		end.Status, end.ErrorText, end.Facts = quant.Fail, g.errorText(e.Cause), factsOf(e.Cause)
	}
	return end, run
}

func (g *Registry) finish(ctx context.Context, e Ending) error {
	end, run := g.ending(e)
	runID := e.RunID
	err := g.Store.FinishRun(ctx, end)
	if _, shared := g.Liveness.(SharedLiveness); shared && err != nil && ctx.Err() == nil &&
		!errors.Is(err, quant.Conflict) && !errors.Is(err, quant.NotFound) && !errors.Is(err, quant.Invalid) {
		// The connection broke, perhaps after the server had committed.
		err = g.Store.FinishRun(ctx, end)
		if errors.Is(err, quant.Conflict) && !errors.Is(err, metastore.ErrLeaseLost) {
			if now, failed := g.Store.GetRun(ctx, runID); failed == nil && now.Status == end.Status && now.EndedAt == end.EndedAt {
				err = nil
			}
		}
	}
	if errors.Is(err, metastore.ErrLeaseLost) {
		if run != nil {
			g.forget(runID)
		}
		return g.lost(ctx, runID, err)
	}
	if err != nil && end.Batch.Len() > 0 && !errors.Is(err, quant.Store) && !errors.Is(err, quant.Locked) {
		// No record may keep a run open; that it was not stored is one itself.
		end.Batch = metastore.Batch{Notes: []quant.Note{{RunID: runID, Text: "not recorded: " + g.errorText(err), LoggedAt: end.EndedAt}}}
		err = g.Store.FinishRun(ctx, end)
	}
	if errors.Is(err, quant.Invalid) && len(end.IO) > 0 {
		end.IO = nil // nor may what it read or wrote
		err = g.Store.FinishRun(ctx, end)
	}
	switch {
	case errors.Is(err, quant.Conflict):
		err = quant.Errorf(quant.Conflict, "finish run %s: %w", runID, ErrFinished)
	case errors.Is(err, quant.NotFound):
		err = quant.Errorf(quant.NotFound, "finish run %s: %w", runID, ErrUnknown)
	}
	if run != nil && (err == nil || errors.Is(err, ErrFinished) || errors.Is(err, ErrUnknown)) {
		g.forget(runID)
	}
	return err
}

// storable makes of what was recorded what a store accepts: masked, valid
// UTF-8, no name blank and none twice, no date that is none. What has no
// direction or no kind is left out.
func (g *Registry) storable(noted []quant.RunIO) []quant.RunIO {
	type key struct {
		direction  quant.Direction
		kind, name string
	}
	taken := map[key]bool{}
	var list []quant.RunIO
	for _, io := range noted {
		io.Kind = strings.ToValidUTF8(io.Kind, "\uFFFD")
		mask := g.Mask.Text
		if io.Kind == quant.IOTable { // the program's own name: targets:S@beta is no DSN
			mask = g.Mask.Known
		}
		name := mask(strings.ToValidUTF8(io.Name, "\uFFFD"))
		if strings.TrimSpace(name) == "" {
			name = strconv.Quote(name)
		}
		io.Name = name
		for n := 2; taken[key{io.Direction, io.Kind, io.Name}]; n++ {
			io.Name = fmt.Sprintf("%s (%d)", name, n)
		}
		for _, date := range []*quant.Text{&io.FirstDate, &io.LastDate} {
			if _, err := time.Parse(time.DateOnly, string(*date)); err != nil {
				*date = ""
			}
		}
		if io.Validate() != nil {
			continue
		}
		taken[key{io.Direction, io.Kind, io.Name}] = true
		list = append(list, io)
	}
	return list
}

// errorText is the masked text of an error, with its hint, and last what became
// of the run's facts, where the error tells it (FailedWith). A text is never
// empty: the database refuses a FAIL that does not say why.
func (g *Registry) errorText(err error) string {
	text := err.Error()
	if hint := quant.HintOf(err); hint != "" {
		text += "\nhint: " + hint
	}
	if text == "" {
		text = fmt.Sprintf("failed without saying why (%T)", err)
	}
	return WithFacts(clip(g.Mask.Text(strings.ToValidUTF8(text, "\uFFFD"))), factsOf(err))
}

// maxErrorText bounds error_text: enough for a stack.
const maxErrorText = 64 << 10

// clip leaves out the middle of a long text, between two characters.
func clip(s string) string {
	if len(s) <= maxErrorText {
		return s
	}
	head, tail := maxErrorText/2, len(s)-maxErrorText/2
	for !utf8.RuneStart(s[head]) {
		head--
	}
	for tail < len(s) && !utf8.RuneStart(s[tail]) {
		tail++
	}
	return s[:head] + "\n[...]\n" + s[tail:]
}

// Track runs fn as a recorded run: started before fn, closed after it, as FAIL
// when fn returns an error, panics (the panic goes on after that) or ends its
// goroutine. fn's ctx is ctx; the record is closed even when ctx has been cancelled.
func (g *Registry) Track(ctx context.Context, kind string, config any, fn func(ctx context.Context, run *Run) error, options ...StartOption) (err error) {
	id, err := g.Start(ctx, kind, config, options...)
	if err != nil {
		return err
	}
	returned := false
	defer func() {
		closing, stop := Closing(ctx)
		defer stop()
		switch p := recover(); {
		case p == nil && !returned:
			_ = g.Fail(closing, id, quant.Errorf(quant.Failed, "its goroutine ended before it returned"))
		case p != nil:
			_ = g.Fail(closing, id, Panicked(p)) // the panic says more than a failure to record it
			panic(p)
		case err != nil:
			err = errors.Join(err, g.Fail(closing, id, err))
		default:
			err = g.Success(closing, id)
		}
	}()
	err = fn(ctx, g.Get(id))
	returned = true
	return err
}

// ClosingTime bounds how long the closing of a record may take.
const ClosingTime = 20 * time.Second

// Closing returns a context in which a run can be closed although ctx has been
// cancelled.
func Closing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), ClosingTime)
}

// maskedArgv returns argv, or the process's own where it is nil, masked.
func (g *Registry) maskedArgv(argv []string) (quant.JSON, error) {
	if argv != nil {
		return quant.NewJSON(g.Mask.Args(argv))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.argv == nil || g.argvKnows != g.Mask.Knows() {
		doc, err := quant.NewJSON(g.Mask.Args(g.Process.Argv))
		if err != nil {
			return nil, err
		}
		g.argv, g.argvKnows = doc, g.Mask.Knows()
	}
	return g.argv, nil
}

// checkedOut is the commit of the work tree around the working directory when
// the registry recorded its first run.
func (g *Registry) checkedOut() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.commit == nil {
		commit := git.Commit(g.Process.WorkDir)
		g.commit = &commit
	}
	return *g.commit
}

func (g *Registry) maskedJSON(config any) (quant.JSON, error) {
	if config == nil {
		return nil, nil
	}
	doc, err := quant.NewJSON(config)
	if err != nil {
		return nil, err
	}
	return g.Mask.JSON(doc)
}

func processRow(p *liveness.Process, runID string, changes bool) quant.RunProcess {
	return quant.RunProcess{
		RunID: runID, Changes: changes,
		Host: quant.Text(p.Host), User: quant.Text(p.User),
		MachineID: quant.Text(p.MachineID), BootID: quant.Text(p.BootID),
		PID: int64(p.PID), ProcessStart: quant.Text(p.Start), WorkDir: quant.Text(p.WorkDir),
	}
}
