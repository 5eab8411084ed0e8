// Package session is one execution at work in a lab: the lab, its facts, the run
// that the execution is recorded as, and where it says things. It starts and ends
// the record of a run and of the runs inside it, exactly once each, whatever
// happens; what the run does is the caller's.
package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/lab"
	"quant/internal/lab/facts"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// Voice is where an execution says what is no result.
type Voice interface {
	Notice(format string, args ...any) // for who looks on; may be left out
	Warn(format string, args ...any)
	Failed(err error) // why a run failed, before it is closed
}

// Silent says nothing. Errors are returned all the same.
type Silent struct{}

func (Silent) Notice(string, ...any) {}
func (Silent) Warn(string, ...any)   {}
func (Silent) Failed(error)          {}

// Quiet leaves out what is for who looks on: only warnings and errors are said.
type Quiet struct{ Voice }

// Notice says nothing.
func (Quiet) Notice(string, ...any) {}

// Build describes the program.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"` // "-dirty" appended when the tree differed
	Go      string `json:"go"`
	DuckDB  string `json:"duckdb"`
	SQLite  string `json:"sqlite"`
}

// Options say where an execution works, and how.
type Options struct {
	Lab      *lab.Lab
	Voice    Voice         // nil: Silent
	Build    Build         // of this program
	Calendar string        // whose sessions count: XNYS, XKRX or data
	Wait     time.Duration // for a locked Fact DB
	Memory   int64         // bytes that the Fact DB may hold before it spills; 0: its default
	// Shared is the opening that this process reads the facts of the lab through; nil:
	// each read opens them.
	Shared *facts.Shared
	// Settings, and the flags that every command has, are recorded with each run
	// that is started inside this one.
	Settings map[string]string
	Globals  map[string]string
	// Programs is for the programs that a run calls.
	Programs Programs
	// Explain replaces the error of a run by the reason for which it was stopped;
	// nil: it stays.
	Explain func(error) error
}

// Programs is what the programs that a run calls are given.
type Programs struct {
	Environ []string // NAME=VALUE: the environment of this process
	Show    *os.File // where what they print is shown, too; nil: nowhere
}

// Session is one execution. Once it has started, runs inside it may be begun and
// finished from any goroutine (Inside, Begin, Finish, with a Voice that takes that),
// and End may be called from any. Every other method that starts or writes is called
// from one goroutine at a time; the session of a run inside is its own.
type Session struct {
	*lab.Lab
	Run *registry.Run // nil: not recorded

	options Options
	facts   facts.Store
	begun   time.Time

	mu     sync.Mutex
	ended  bool
	done   chan struct{} // closed once the record is
	inside []*Session    // open runs inside this one, outermost first
}

// New makes the session of an execution that has no run yet.
func New(o Options) *Session {
	if o.Voice == nil {
		o.Voice = Silent{}
	}
	s := &Session{Lab: o.Lab, options: o, begun: time.Now(), done: make(chan struct{})}
	s.facts = facts.Store{Lab: o.Lab, Wait: o.Wait, Memory: o.Memory, Shared: o.Shared, Waiting: func(text string) { o.Voice.Notice("%s", text) }}
	return s
}

// In makes the session of an execution of this program in another lab, which says
// things to v. It has no run yet.
func (s *Session) In(l *lab.Lab, v Voice) *Session {
	o := s.options
	if l != s.Lab {
		o.Shared = nil
	}
	o.Lab, o.Voice = l, v
	return New(o)
}

// ShareFacts makes this session, and those made of it from now on, read the facts
// through one opening of the process, which gives way to writers; end closes it. It is
// called once, before anything else reads.
func (s *Session) ShareFacts() (end func()) {
	s.options.Shared = &facts.Shared{Lab: s.Lab}
	s.facts.Shared = s.options.Shared
	return s.options.Shared.Close
}

// Say is where this execution says things.
func (s *Session) Say() Voice { return s.options.Voice }

// Programs is what the programs that this execution calls are given.
func (s *Session) Programs() Programs { return s.options.Programs }

// Build describes this program.
func (s *Session) Build() Build { return s.options.Build }

// CalendarName says whose sessions count.
func (s *Session) CalendarName() string { return s.options.Calendar }

// Settle replaces what is known only once the command line is parsed.
func (s *Session) Settle(calendar string, wait time.Duration, memory int64, settings, globals map[string]string) {
	s.options.Calendar, s.options.Wait, s.options.Settings, s.options.Globals = calendar, wait, settings, globals
	s.options.Memory = memory
	s.facts.Wait, s.facts.Memory = wait, memory
}

// RunID is the id of the run; "" if there is none.
func (s *Session) RunID() string {
	if s.Run == nil {
		return ""
	}
	return s.Run.ID
}

// Resolve finds the run that ref names: see registry.Resolve.
func (s *Session) Resolve(ctx context.Context, ref string) (string, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return "", err
	}
	return registry.Resolve(ctx, meta, ref, s.RunID())
}

// ResolveAll finds the runs that refs name, each once.
func (s *Session) ResolveAll(ctx context.Context, refs []string) ([]string, error) {
	var ids []string
	for _, ref := range refs {
		id, err := s.Resolve(ctx, ref)
		if err != nil {
			return nil, err
		}
		if slices.Contains(ids, id) {
			return nil, quant.Errorf(quant.Usage, "run %s is named twice, the second time as %q", id, ref).WithHint("name each run once")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// Record notes an input or output of the run; without a run it does nothing.
func (s *Session) Record(list ...quant.RunIO) {
	if s.Run == nil {
		return
	}
	for _, io := range list {
		s.Run.Record(io)
	}
}

// Log records params, metrics and tags with the end of the run; without a run it
// does nothing.
func (s *Session) Log(b metastore.Batch) {
	if s.Run != nil {
		s.Run.Log(b)
	}
}

// Facts is the Fact DB of the lab, as this execution works with it.
func (s *Session) Facts() *facts.Store { return &s.facts }

// HasFactDB reports whether there is a file where the Fact DB should be.
func (s *Session) HasFactDB() bool { return s.facts.Exists() }

// ReadFacts runs fn with the Fact DB open for reading.
func (s *Session) ReadFacts(ctx context.Context, fn func(db *factstore.DB) error) error {
	return s.facts.Read(ctx, fn)
}

// KeepReads has what is read of facts in a bucket from now on kept on this machine: for an
// execution that is one of many which read the same.
func (s *Session) KeepReads() { s.facts.Near = true }

// WriteFacts runs fn with the Fact DB open for writing, made or brought up to date
// where needed. What it commits counts as this run's.
func (s *Session) WriteFacts(ctx context.Context, fn func(db *factstore.DB) error) error {
	return s.facts.Write(ctx, fn)
}

// WriteFactsLate is WriteFacts for what computes long before it commits: see
// facts.Store.WriteLate.
func (s *Session) WriteFactsLate(ctx context.Context, fn func(db *factstore.DB) error) error {
	return s.facts.WriteLate(ctx, fn)
}

// WriteFactsInside is WriteFacts for runs inside this one: what is committed is
// theirs, not this run's. Who calls says so with FactsBecame.
func (s *Session) WriteFactsInside(ctx context.Context, fn func(db *factstore.DB) error) error {
	store := facts.Store{Lab: s.Lab, Self: s.facts.Self, Wait: s.facts.Wait, Memory: s.facts.Memory, Shared: s.facts.Shared, Waiting: s.facts.Waiting}
	defer s.facts.AddSnapshots(&store)
	return store.Write(ctx, fn)
}

// FactsBecame says what became of facts that were written for this run with
// WriteFactsInside. It may be called from any goroutine.
func (s *Session) FactsBecame(c factstore.Commit) { s.facts.Became(c) }

// Command says what a run is recorded as.
type Command struct {
	Kind     string            // the command's path joined by dots
	Args     []string          // the command line that does the same, without the program
	Program  []string          // in place of Args: the command line of another program, whole
	Flags    map[string]string // the command's own flags, as they stand; nil: not known yet
	Operands []string          // what of Args is neither the command's path nor a flag
	Reads    bool              // it changes nothing
	Notes    []quant.RunIO     // recorded with it, beside what it records itself
	Voice    Voice             // where a run inside another says things; nil: where that does
	RunID    string            // the id that it is recorded under, as registry.NewRunID made it; "": a new one
	Parent   *string           // the run that a run inside another is recorded under, "": none; nil: the one that it is inside
}

// Start records a run as RUNNING, durably, and makes it the session's. parent is
// the run inside which it was started; "" or no run id: none. What is recorded is
// masked; masked is c's command line as it is stored.
func (s *Session) Start(ctx context.Context, c Command, parent string) (masked []string, err error) {
	b, masked := s.beginning(c, parent)
	ids, err := s.Registry.StartAll(context.WithoutCancel(ctx), []registry.Beginning{b})
	if err != nil {
		return nil, err
	}
	s.started(ids[0], c)
	return masked, nil
}

// beginning is what is recorded of a run that shall start.
func (s *Session) beginning(c Command, parent string) (b registry.Beginning, masked []string) {
	argv := c.Program
	if argv == nil {
		argv = append([]string{"quant"}, c.Args...)
	}
	b = registry.Beginning{Kind: c.Kind, Options: []registry.StartOption{registry.Argv(argv)}}
	if registry.IsRunID(parent) {
		b.Options = append(b.Options, registry.ChildOf(parent))
	}
	if c.RunID != "" {
		b.Options = append(b.Options, registry.As(c.RunID))
	}
	if c.Reads {
		b.Options = append(b.Options, registry.ReadsOnly())
	}
	masked = append([]string{argv[0]}, s.Mask.Args(argv[1:])...)
	config := map[string]any{"argv": masked}
	if c.Flags != nil {
		flags := maps.Clone(s.options.Globals)
		if flags == nil {
			flags = map[string]string{}
		}
		maps.Copy(flags, c.Flags)
		config = s.config(masked, flags, s.Mask.Args(c.Operands))
	}
	b.Config = config
	return b, masked
}

// started makes a run that was started the session's.
func (s *Session) started(id string, c Command) {
	s.Run, s.facts.Self = s.Registry.Get(id), id
	s.Record(c.Notes...)
}

// config is what config_json holds once a command line is parsed. Flags are
// masked with it by the registry, args are masked already.
func (s *Session) config(argv []string, flags map[string]string, args []string) map[string]any {
	return map[string]any{"argv": argv, "settings": s.options.Settings, "flags": flags, "args": args}
}

// Resolved replaces the recorded config by the resolved settings, flags and
// arguments, and stores b with it. Without a run it does nothing.
func (s *Session) Resolved(ctx context.Context, argv []string, flags map[string]string, args []string, b metastore.Batch) error {
	if s.Run == nil {
		return nil
	}
	return s.Registry.Configure(context.WithoutCancel(ctx), s.Run.ID, s.config(argv, flags, args), b)
}

// Inside runs do as a run of its own inside this one and returns its id. Its
// error is said and recorded before Inside returns it; a panic of do is one.
func (s *Session) Inside(ctx context.Context, c Command, do func(ctx context.Context, inner *Session) error) (runID string, err error) {
	list, err := s.Begin(ctx, []Command{c})
	if err != nil {
		return "", err
	}
	inner := list[0]
	if s.isEnded() { // meanwhile, by somebody who did not see this run
		err = quant.Errorf(quant.Conflict, "run %s ended before this one began", s.RunID())
	} else {
		err = Guard(func() error { return do(ctx, inner) })
	}
	return inner.Run.ID, s.Finish(ctx, list, []error{err})[0]
}

// Begin starts a run inside this one for each command, all in one durable commit,
// and returns their sessions in the same order. Finish ends them. An error has been
// said, and none was started.
func (s *Session) Begin(ctx context.Context, commands []Command) ([]*Session, error) {
	if s.Registry == nil {
		return nil, quant.Errorf(quant.Store, "nothing can be run while runs cannot be recorded").WithHint("run quant doctor")
	}
	if s.isEnded() {
		return nil, quant.Errorf(quant.Conflict, "run %s has ended: nothing can be run inside it", s.RunID())
	}
	list, begin := make([]*Session, len(commands)), make([]registry.Beginning, len(commands))
	for i, c := range commands {
		o := s.options
		if c.Voice != nil {
			o.Voice = c.Voice
		}
		list[i] = New(o)
		parent := s.RunID()
		if c.Parent != nil {
			parent = *c.Parent
		}
		begin[i], _ = list[i].beginning(c, parent)
	}
	ids, err := s.Registry.StartAll(context.WithoutCancel(ctx), begin)
	if err != nil {
		err = quant.Errorf(quant.CodeOf(err), "this run cannot be recorded, so it did not start: %w", err).WithHint("%s", quant.HintOf(err))
		s.Say().Failed(err)
		return nil, err
	}
	for i, inner := range list {
		inner.started(ids[i], commands[i])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inside = append(s.inside, list...)
	return list, nil
}

// Finish ends runs that Begin has started, each with its error, in one durable
// commit where that is possible; a success has none. It returns the error of each
// as End does.
func (s *Session) Finish(ctx context.Context, list []*Session, errs []error) []error {
	ended := endAll(ctx, list, errs)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inside = slices.DeleteFunc(s.inside, func(o *Session) bool { return slices.Contains(list, o) })
	return ended
}

func (s *Session) isEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// Guard runs a step and turns its panic into an error with the stack.
func Guard(step func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = registry.Panicked(p)
		}
	}()
	return step()
}

// End closes the record of the run, those of runs inside it first, says why it
// failed and how it ended, and returns the error that the caller goes on with.
// Only the first call does anything; a later one waits until the first is done.
// It works also when ctx is cancelled.
func (s *Session) End(ctx context.Context, err error) error {
	return endAll(ctx, []*Session{s}, []error{err})[0]
}

// endAll is End for several sessions of one lab, whose records are closed in one
// commit where that is possible.
func endAll(ctx context.Context, list []*Session, errs []error) []error {
	errs = slices.Clone(errs)
	var closes []int // of list
	var endings []registry.Ending
	for i, s := range list {
		s.mu.Lock()
		first := !s.ended
		s.ended = true
		open := slices.Clone(s.inside)
		s.mu.Unlock()
		if !first {
			select {
			case <-s.done:
			case <-time.After(registry.ClosingTime):
			}
			continue
		}
		defer close(s.done)
		errs[i] = s.tellWhy(ctx, open, errs[i])
		if s.Run != nil {
			s.Record(s.facts.Snapshots()...)
			closes, endings = append(closes, i), append(endings, registry.Ending{RunID: s.Run.ID, Cause: errs[i]})
		}
	}
	if len(endings) == 0 {
		return errs
	}
	closing, stop := registry.Closing(ctx)
	defer stop()
	for n, closed := range list[closes[0]].Registry.FinishAll(closing, endings) {
		i := closes[n]
		errs[i] = list[i].tellEnd(errs[i], closed)
	}
	return errs
}

// tellWhy ends the runs inside this one, and says and returns why it failed.
func (s *Session) tellWhy(ctx context.Context, open []*Session, err error) error {
	for _, inner := range slices.Backward(open) {
		_ = inner.End(ctx, err)
	}
	if err != nil && s.options.Explain != nil {
		err = s.options.Explain(err)
	}
	if err != nil {
		if facts := s.committed(); facts != "" {
			err = registry.FailedWith(err, facts)
		}
		s.Say().Failed(err)
	}
	return err
}

// tellEnd says how the run ended, with err if it failed, and whether its record
// could be closed, and returns the error that the caller goes on with.
func (s *Session) tellEnd(err, closed error) error {
	if errors.Is(closed, registry.ErrFinished) {
		s.Say().Warn("run %s %s was closed by another command meanwhile; it keeps that end", s.Run.ID, s.Run.Kind)
		return err
	}
	if errors.Is(closed, metastore.ErrLeaseLost) {
		if !errors.Is(err, metastore.ErrLeaseLost) { // else it has been said
			s.Say().Failed(closed)
		}
		if err == nil {
			return closed
		}
		return err
	}
	if closed != nil {
		closed = quant.Errorf(quant.CodeOf(closed), "run %s is over but its record could not be closed: %w", s.Run.ID, closed).
			WithHint("the next command of this host closes it as FAIL; what it printed above holds")
		s.Say().Failed(closed)
		if err == nil {
			return closed
		}
		return err
	}
	status := quant.Success
	if err != nil {
		status = quant.Fail
	}
	s.Say().Notice("run %s %s %s %s", s.Run.ID, s.Run.Kind, status, elapsed(time.Since(s.begun)))
	return err
}

// committed says what became of the facts of a run that failed: "" when it
// committed none.
func (s *Session) committed() quant.Facts {
	switch s.facts.Committed() {
	case factstore.Committed:
		return quant.FactsCommitted
	case factstore.Unknown:
		return quant.FactsNotChecked
	default:
		return ""
	}
}

func elapsed(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	default:
		return d.Round(time.Second).String()
	}
}

// Identity names the program as exactly as it can be: by the commit that it was
// built from, or by its own bytes if they came from no commit.
func (b Build) Identity(digest func(path string) (string, error)) (string, error) {
	if b.Commit != "" && !strings.HasSuffix(b.Commit, "-dirty") {
		return fmt.Sprintf("commit %s, %s, DuckDB %s", b.Commit, b.Go, b.DuckDB), nil
	}
	path, err := os.Executable()
	if err != nil {
		return "", quant.Errorf(quant.Failed, "find the program's file: %w", err)
	}
	return digest(path)
}

// FactsHolder names the run behind the process that holds the Fact DB.
func (s *Session) FactsHolder(ctx context.Context, pid int) string {
	return s.facts.Holder(ctx, pid, "")
}
