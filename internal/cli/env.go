package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"quant"
	"quant/internal/artifact"
	"quant/internal/config"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/output"
	"quant/internal/registry"
	"quant/internal/secret"
)

// Env is what a command works with. app fills it before the command runs.
type Env struct {
	*output.Printer
	Now     func() time.Time
	Mask    *secret.Masker // of what is stored, and of notices and errors
	Secrets *secret.Masker // knows the secret settings: of texts in results

	Settings    config.Settings
	SettingsErr error // what is wrong with .env, to be reported once the run is recorded

	// Meta is the open Meta DB; nil when it cannot be used, and then MetaErr
	// says why. Only commands that read get to run without it.
	Meta     metastore.Store
	MetaErr  error
	MetaFile string             // its file, links resolved: what belongs to its runs stands beside it
	Registry *registry.Registry // nil when Meta is, or is read-only
	Run      *registry.Run      // nil when this execution is not recorded
	// ParentRun names the run inside which this execution was started, as the
	// environment has it: perhaps no run id at all; "" for none.
	ParentRun string
	// MovedAside is where a Meta DB that could not be opened was put, with what
	// could be read of it.
	MovedAside string
	MetaChange string // created, upgraded or unchanged, by this execution
	Salvaged   metastore.Carried
	// OpenMeta opens another Meta DB than the lab's.
	OpenMeta func(ctx context.Context, path string) (metastore.Store, error)
	// Replace calls swap while no other process uses the lab (Locked if one does
	// for longer than wait) and goes on with the Meta DB that swap put in its place.
	Replace func(ctx context.Context, wait time.Duration, swap func() error) error

	// TakeSignals makes the signals that this process is sent from now on the
	// caller's: they no longer end the command.
	TakeSignals func() <-chan os.Signal

	Environ []string // NAME=VALUE of this process; nothing of .env
	Argv    []string // masked, as recorded
	Build   Build
	// Exec runs another command line as a recorded child of this run, its result
	// on out, and returns the child's run id. notes are recorded with the child,
	// beside what it records itself.
	Exec func(ctx context.Context, args []string, out io.Writer, notes ...quant.RunIO) (runID string, err error)

	// OpenToComplete opens the Meta DB that the line to be completed names, for
	// one look, creating nothing; nil if there is none. Set for completions only.
	OpenToComplete func(ctx context.Context) metastore.Store

	tree     *Tree
	recorded map[string]string // the location flags that the run was recorded with
	commit   factstore.Commit
}

// Build describes the binary.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"` // "-dirty" appended when the tree differed
	Go      string `json:"go"`
	DuckDB  string `json:"duckdb"`
	SQLite  string `json:"sqlite"`
}

// Recorded tells the environment with which location flags the run has been
// recorded.
func (e *Env) Recorded(flags map[string]string) { e.recorded = flags }

// locationFlags decide where an execution is recorded.
var locationFlags = []string{"data-dir", "sqlite", "duckdb"}

// LocationFlags returns the well-formed location flags of the line.
func (l Line) LocationFlags() map[string]string {
	out := map[string]string{}
	for _, name := range append([]string{"log-level"}, locationFlags...) {
		if v, ok := l.Flags[name]; ok {
			out[name] = v
		}
	}
	return out
}

// configure runs between the parsing of a command line and its command: it
// checks the settings and replaces the recorded config by the resolved one.
func (e *Env) configure(cmd *cobra.Command, args []string) error {
	traits := e.tree.traits[cmd]
	e.SetQuiet(e.tree.Globals.Quiet || traits.Silent, e.Settings.Value(config.LogLevel))
	if e.tree.Globals.NoColor {
		e.NoColor = true
	}
	if traits.Unrecorded || e.Settings.List() == nil {
		return nil
	}
	var said metastore.Batch
	var saidErr error
	if traits.Records != nil {
		said, saidErr = traits.Records(cmd.Context())
	}
	if e.Run != nil {
		if err := e.Registry.Configure(context.WithoutCancel(cmd.Context()), e.Run.ID, e.resolved(cmd, args), said); err != nil {
			return err
		}
	}
	if saidErr != nil {
		return saidErr
	}
	if e.SettingsErr != nil {
		return e.SettingsErr
	}
	for _, name := range locationFlags {
		if traits.DataDir != nil {
			break // the command itself refuses these flags
		}
		f := cmd.Flags().Lookup(name)
		value, given := e.recorded[name]
		if f.Changed && (!given || value != f.Value.String()) {
			return quant.Errorf(quant.Usage, "--%s %q cannot be used", name, f.Value.String()).
				WithHint("give it once, with a value that is not empty, before any --")
		}
	}
	return e.Settings.Validate()
}

// resolved is what config_json holds once the flags are parsed.
func (e *Env) resolved(cmd *cobra.Command, args []string) map[string]any {
	settings := map[string]any{}
	for _, s := range e.Settings.List() {
		settings[s.Name] = s.Value
	}
	flags := map[string]any{}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			flags[f.Name] = f.Value.String()
		}
	})
	for _, name := range append([]string{"log-level"}, locationFlags...) {
		delete(flags, name) // these are settings
	}
	return map[string]any{"argv": e.Argv, "settings": settings, "flags": flags, "args": e.Mask.Args(args)}
}

// SetQuiet leaves notices out where --quiet or a log level above info asks for
// it. Warnings and errors are always printed.
func (e *Env) SetQuiet(quiet bool, logLevel string) {
	e.Quiet = quiet || logLevel == "warn" || logLevel == "error"
}

// MetaDB returns the open Meta DB, or the error that says why there is none.
func (e *Env) MetaDB() (metastore.Store, error) {
	if e.Meta == nil {
		return nil, e.MetaErr
	}
	return e.Meta, nil
}

// factOptions are the options of every opening of the Fact DB: the wait for
// its lock is said on stderr, with the run that holds it.
func (e *Env) factOptions(ctx context.Context) factstore.Options {
	path := e.Settings.Value(config.DuckDBPath)
	return factstore.Options{
		Path: path, Wait: e.tree.Globals.Wait, Now: e.Now,
		TempDir: filepath.Join(filepath.Dir(path), "tmp"),
		Waiting: func(w factstore.Wait) {
			e.Notice("waiting for the Fact DB %s, held by %s (%s so far, --wait %s)",
				w.Path, e.holder(ctx, w), w.Waited.Round(time.Second), e.tree.Globals.Wait)
		},
	}
}

// holder names the run behind the process that holds the Fact DB.
func (e *Env) holder(ctx context.Context, w factstore.Wait) string {
	process := fmt.Sprintf("process %d", w.PID)
	if w.Program != "" {
		process += " (" + w.Program + ")"
	}
	if e.Meta == nil {
		return process
	}
	running, err := e.Meta.ListRuns(ctx, metastore.RunFilter{All: true, Status: quant.Running})
	if err != nil {
		return process
	}
	// A query runs in a child of the process that is the run.
	parent := registry.ParentOf(w.PID)
	for _, run := range running {
		if (run.Process.PID == int64(w.PID) || parent != 0 && run.Process.PID == int64(parent)) && (e.Run == nil || run.RunID != e.Run.ID) {
			return fmt.Sprintf("run %s (%s), process %d", shortID(run.RunID), run.Kind, w.PID)
		}
	}
	return process
}

// ReadFacts runs fn with the Fact DB open for reading.
func (e *Env) ReadFacts(ctx context.Context, fn func(db *factstore.DB) error) error {
	db, err := factstore.OpenRead(ctx, e.factOptions(ctx))
	if err != nil {
		return err
	}
	defer db.Close()
	return fn(db)
}

// WriteFacts runs fn with the Fact DB open for writing, made or brought up to
// date where needed.
func (e *Env) WriteFacts(ctx context.Context, fn func(db *factstore.DB) error) (err error) {
	db, err := factstore.OpenWrite(ctx, e.factOptions(ctx))
	if err != nil {
		return err
	}
	defer func() {
		if state := db.State(); state != factstore.NoneCommitted {
			e.commit = state
		}
		if closing := db.Close(); err == nil {
			err = closing
		}
	}()
	return fn(db)
}

// FactsOf says, for the closing text of a failed run, what became of its
// facts: "" when it committed none.
func (e *Env) FactsOf() string {
	switch e.commit {
	case factstore.Committed:
		return registry.FactsCommitted
	case factstore.Unknown:
		return registry.FactsNotChecked
	default:
		return ""
	}
}

// Artifacts is where the contents of artifacts are.
func (e *Env) Artifacts() artifact.Store { return artifact.Store{Dir: e.MetaFile + ".artifacts"} }

// LogDir is the folder of what recorded programs printed.
func (e *Env) LogDir() string { return e.MetaFile + ".logs" }

// HasFactDB reports whether there is a file where the Fact DB should be.
func (e *Env) HasFactDB() bool {
	_, err := os.Stat(e.Settings.Value(config.DuckDBPath))
	return err == nil
}

// record notes an input or output of this run.
func (e *Env) record(io quant.RunIO) {
	if e.Run != nil {
		e.Run.Record(io)
	}
}

// shortID is how lists show a run id: its last 8 digits, since the head of a
// version 7 id is a clock.
func shortID(id string) string { return id[max(0, len(id)-8):] }

// counted is a number of things in words: 1 fault, 2 faults.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// whileWaiting runs a read that nothing can interrupt (of a terminal, of a
// pipe) and returns what it read, or the cause of ctx as soon as that ends: the
// read is left behind.
func whileWaiting[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

func ptr[T any](v T) *T { return &v }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
