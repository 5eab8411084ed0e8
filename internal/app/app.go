// Package app is the composition root: settings, stores, registry, command. The
// one recording wrapper stands here (execute): every execution of every
// command passes through it, from outside, so that a usage error or a panic is
// recorded like any other end.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"quant"
	"quant/internal/cli"
	"quant/internal/config"
	"quant/internal/factstore"
	"quant/internal/lab"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/output"
	"quant/internal/registry"
	"quant/internal/sandbox"
	"quant/internal/secret"
)

// App is one process of quant. The zero value of a field means the system's own.
type App struct {
	Streams     output.Streams
	Environment config.Environment
	Environ     []string // NAME=VALUE, to find secrets in
	Now         func() time.Time

	end *ending
}

// Main is the whole life of this process, and returns its exit status: one
// command line, or the query process that `quant sql` starts.
func Main(args []string) int {
	if len(args) > 0 && args[0] == sandbox.ChildArg {
		return sandbox.ChildMain()
	}
	lookup, all := config.System()
	a := &App{Streams: output.OSStreams(), Environment: lookup, Environ: all, Now: time.Now}
	return a.Run(context.Background(), args)
}

// Run runs one command line and returns its exit status. Signals that arrive
// meanwhile end the command.
func (a *App) Run(ctx context.Context, args []string) int {
	ctx, a.end = catchSignals(ctx)
	defer a.end.stop()
	_, err := a.execute(ctx, args, "", a.Streams, nil)
	return quant.ExitStatus(err)
}

// execute runs one command line: in a recorded run, whose id it returns, unless
// it is no execution. notes are recorded with it. Every error has been printed
// when it returns.
func (a *App) execute(ctx context.Context, args []string, parent string, streams output.Streams, notes []quant.RunIO) (runID string, err error) {
	mask, secrets := &secret.Masker{}, &secret.Masker{}
	env := &cli.Env{Now: a.Now, Mask: mask, Secrets: secrets, Build: build(), Argv: mask.Args(args), Environ: a.Environ, TakeSignals: a.end.take}
	env.Printer = output.NewPrinter(streams, mask, secrets, a.end.stdoutFailed)
	noColor, _ := a.Environment(config.NoColor)
	env.NoColor = noColor != ""
	tree := cli.New(env)
	line := tree.Read(args)
	traits := tree.Traits(line)
	env.SetQuiet(line.Flags["quiet"] == "true" || traits.Silent, line.Flags["log-level"])
	if !tree.IsExecution(line) {
		if words, ok := line.ToComplete(); ok {
			env.OpenToComplete = a.completing(tree, words)
		}
		err = tree.Execute(ctx, line)
		if flushed := env.Flush(ctx); err == nil {
			err = flushed
		}
		if err = a.end.explain(err); err != nil && !isBrokenPipe(err) {
			env.Error(err)
		}
		return "", err
	}

	a.settle(env, tree, line)
	env.Argv = mask.Args(args) // again: more secrets are known now
	if parent == "" {
		parent, _ = a.Environment(config.ParentRun)
	}
	env.ParentRun = parent
	run := &recording{app: a, env: env, line: line, traits: traits, args: args, parent: parent, notes: notes, done: make(chan struct{})}
	defer run.release()
	err = run.guard(func() error { return run.begin(ctx) })
	if err == nil {
		a.end.onForce(func(cause error) { _ = run.record(ctx, cause) })
		err = run.guard(func() error { return tree.Execute(ctx, line) })
	}
	if env.Run != nil {
		runID = env.Run.ID
	}
	return runID, run.close(ctx, traits.Exit(err))
}

// completing opens, read-only, the Meta DB that a line to be completed names.
func (a *App) completing(tree *cli.Tree, words []string) func(context.Context) metastore.Store {
	return func(ctx context.Context) metastore.Store {
		dotenv, _, _ := config.ReadDotenv(".env") // whatever is wrong with it, the shell is told nothing
		settings := config.Resolve(tree.Read(words).LocationFlags(), a.Environment, dotenv)
		store, err := sqlite.Open(ctx, sqlite.Options{Path: settings.Value(config.SQLitePath), ReadOnly: true, Fleeting: true, Wait: 100 * time.Millisecond})
		if err != nil {
			return nil
		}
		return store
	}
}

// settle resolves the settings of the line, leniently.
func (a *App) settle(env *cli.Env, tree *cli.Tree, line cli.Line) {
	dotenv, seen, err := config.ReadDotenv(".env")
	env.SettingsErr = err
	flags := line.LocationFlags()
	if own := tree.Traits(line).DataDir; own != nil {
		if dir := own(line); dir != "" {
			flags = map[string]string{"data-dir": dir}
			for _, name := range []string{"sqlite", "duckdb"} {
				flags[name] = filepath.Join(dir, map[string]string{"sqlite": "meta.db", "duckdb": "quant.duckdb"}[name])
			}
		}
	}
	env.Settings = config.Resolve(flags, a.Environment, dotenv)
	env.Recorded(flags)
	env.Mask.Know(env.Settings.Secrets()...)
	env.Secrets.Know(env.Settings.Secrets()...)
	for _, pair := range slices.Concat(seen, a.Environ) {
		name, value, _ := strings.Cut(pair, "=")
		if name == config.AlphaVantageKey { // also where a broken .env keeps it from being a setting
			env.Mask.Know(value)
			env.Secrets.Know(value)
		}
		env.Mask.KnowVariable(name, value)
	}
}

// recording is the life of one run, from before its row to its closing line.
type recording struct {
	app    *App
	env    *cli.Env
	line   cli.Line
	traits cli.Traits
	args   []string
	parent string
	notes  []quant.RunIO

	claimed *lab.Claim
	store   *sqlite.DB
	begun   time.Time
	closed  bool
	done    chan struct{} // closed once the record is
}

// begin records the run, durably, before anything else happens.
func (r *recording) begin(ctx context.Context) error {
	r.begun = time.Now()
	env := r.env
	changes := r.traits.Changes != nil && r.traits.Changes(r.line)
	remedy := r.traits.Remedy != nil && r.traits.Remedy(r.line)

	err := r.open(ctx, remedy)
	if err == nil {
		err = r.start(ctx, changes)
		if remedy && (errors.Is(err, sqlite.ErrDamaged) || errors.Is(err, sqlite.ErrSchema)) && r.setAside(ctx, err) == nil {
			err = r.start(ctx, changes)
		}
	}
	if err == nil {
		r.reconcile(ctx)
		return nil
	}
	if changes || errors.Is(err, sqlite.ErrNewer) {
		return quant.Errorf(quant.CodeOf(err), "this run cannot be recorded, so it did not start: %w", err).
			WithHint("%s", quant.HintOf(err))
	}
	env.Warn("this run is not recorded: %v", err)
	env.MetaErr = err
	if env.Meta != nil {
		return nil
	}
	if store, roErr := sqlite.Open(ctx, r.options(true)); roErr == nil {
		r.store, env.Meta, env.MetaFile = store, store, r.metaFile()
	}
	return nil
}

func (r *recording) options(readOnly bool) sqlite.Options {
	path := r.env.Settings.Value(config.SQLitePath)
	return sqlite.Options{Path: path, ReadOnly: readOnly, Now: r.app.Now, BackupDir: filepath.Join(filepath.Dir(path), "backups")}
}

// open opens the Meta DB, making the data folder and it where they are missing.
func (r *recording) open(ctx context.Context, remedy bool) error {
	path := r.env.Settings.Value(config.SQLitePath)
	if r.traits.DataDir != nil && r.traits.DataDir(r.line) != "" {
		if err := r.traits.MakeDir(r.line); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(r.env.Settings.Value(config.DataDir), 0o700); err != nil {
		return quant.Errorf(quant.Store, "make the data folder: %w", err).WithHint("choose another with --data-dir")
	}
	if err := r.claim(ctx); err != nil {
		return err
	}
	store, err := sqlite.Open(ctx, r.options(false))
	if remedy && errors.Is(err, sqlite.ErrDamaged) {
		return r.setAside(ctx, err)
	}
	if err != nil {
		return err
	}
	if remedy {
		if damage := store.Damage(ctx); damage != nil {
			store.Close()
			return r.setAside(ctx, damage)
		}
	}
	r.use(store)
	r.env.MetaChange = "unchanged"
	if store.Created() {
		r.env.MetaChange = "created"
		r.env.Notice("new lab at %s", r.labPath())
	}
	if from, to, backup := store.Migrated(); from != to && !store.Created() {
		r.env.MetaChange = "upgraded"
		r.env.Notice("brought the Meta DB %s from schema %d to %d; backup: %s", path, from, to, backup)
	}
	return nil
}

func (r *recording) use(store *sqlite.DB) {
	env := r.env
	r.store, env.Meta, env.MetaFile = store, store, r.metaFile()
	env.OpenMeta, env.Replace = r.openMeta, r.replace
	env.Registry = registry.New(registry.Options{
		Store: store, LiveDir: env.MetaFile + lab.LiveSuffix, Mask: env.Mask, Now: r.app.Now, AskGit: true,
		BinaryVersion: env.Build.Version, BinaryCommit: env.Build.Commit,
		Facts: func(ctx context.Context, ids []string) (map[string]bool, error) {
			return factstore.CommittedRuns(ctx, factstore.Options{Path: env.Settings.Value(config.DuckDBPath)}, ids)
		},
	})
}

// metaFile is the Meta DB's file itself: every name of it must lead to the same
// locks, artifacts and logs, which stand beside it.
func (r *recording) metaFile() string {
	path := r.env.Settings.Value(config.SQLitePath)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// setAside moves a Meta DB that cannot be used out of the way, makes a new one
// and takes over what can be read of the old.
func (r *recording) setAside(ctx context.Context, why error) error {
	path := r.env.Settings.Value(config.SQLitePath)
	if r.store != nil {
		r.store.Close()
		r.store, r.env.Meta, r.env.Registry = nil, nil, nil
	}
	moved, err := sqlite.MoveAside(path, r.app.Now())
	if err != nil {
		return err
	}
	r.env.Warn("the Meta DB cannot be used (%v); moved to %s", why, moved)
	store, err := sqlite.Open(ctx, r.options(false))
	if err != nil {
		return err
	}
	r.use(store)
	r.env.MovedAside, r.env.MetaChange = moved, "created"
	if r.env.Salvaged, err = store.Salvage(ctx, moved, nil); err != nil {
		r.env.Warn("nothing more could be read of %s: %v", moved, err)
	}
	return nil
}

func (r *recording) start(ctx context.Context, changes bool) error {
	options := []registry.StartOption{registry.ChildOf(r.parentRun()), registry.Argv(append([]string{"quant"}, r.args...))}
	if !changes {
		options = append(options, registry.ReadsOnly())
	}
	r.env.Argv = append([]string{"quant"}, r.env.Argv...)
	id, err := r.env.Registry.Start(context.WithoutCancel(ctx), r.line.Kind(), map[string]any{"argv": r.env.Argv}, options...)
	if err != nil {
		r.env.Argv = r.env.Argv[1:]
		return err
	}
	r.env.Run = r.env.Registry.Get(id)
	for _, note := range r.notes {
		r.env.Run.Record(note)
	}
	r.env.Exec = func(ctx context.Context, args []string, out io.Writer, notes ...quant.RunIO) (string, error) {
		streams := r.env.Streams()
		streams.Out = out
		return r.app.execute(ctx, args, id, streams, notes)
	}
	return nil
}

// parentRun is the run inside which this one was started, if it has the form
// of one.
func (r *recording) parentRun() string {
	if registry.IsRunID(r.parent) {
		return r.parent
	}
	return ""
}

// labPath is where the lab is: the data folder, or the Meta DB that stands
// elsewhere.
func (r *recording) labPath() string {
	dir, path := r.env.Settings.Value(config.DataDir), r.env.Settings.Value(config.SQLitePath)
	if filepath.Dir(path) == filepath.Clean(dir) {
		return dir
	}
	return path
}

// reconcile closes the runs whose processes died, and says so.
func (r *recording) reconcile(ctx context.Context) {
	dead, err := r.env.Registry.Reconcile(ctx)
	for _, run := range dead {
		r.env.Notice("run %s %s FAIL: %s", run.RunID, run.Kind, run.ErrorText)
	}
	if err != nil {
		r.env.Notice("dead runs could not be closed: %v", err)
	}
}

// guard turns a panic of a step into an error with its stack.
func (r *recording) guard(step func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = registry.Panicked(p)
		}
	}()
	return step()
}

// close writes out the result, then closes the record. After an error the
// result is not waited for: nobody may be reading it.
func (r *recording) close(ctx context.Context, err error) error {
	patience := ctx
	if err != nil {
		ended, cancel := context.WithCancelCause(ctx)
		cancel(err)
		patience = ended
	}
	if flushed := r.env.Flush(patience); err == nil {
		err = flushed
	}
	return r.record(ctx, r.app.end.explain(err))
}

// record closes the record, prints the error and the closing line, and returns
// the error that decides the exit status. Only the first call does anything.
// A later one waits until the first is done.
func (r *recording) record(ctx context.Context, err error) error {
	if !r.app.end.closeOnce(&r.closed) {
		select {
		case <-r.done:
		case <-time.After(registry.ClosingTime):
		}
		return err
	}
	defer close(r.done)
	env := r.env
	if err != nil {
		if facts := env.FactsOf(); facts != "" {
			err = withFacts{err, facts}
		}
		if shown := firstLines(err, env.Settings.Value(config.LogLevel)); !isBrokenPipe(err) && !isSilent(err) {
			env.Error(shown)
		}
	}
	if env.Run == nil {
		return err
	}
	closing, stop := registry.Closing(ctx)
	defer stop()
	status, closeErr := quant.Success, error(nil)
	if err == nil {
		closeErr = env.Registry.Success(closing, env.Run.ID)
	} else {
		status, closeErr = quant.Fail, env.Registry.Fail(closing, env.Run.ID, err)
	}
	if errors.Is(closeErr, registry.ErrFinished) {
		say := env.Warn
		if r.traits.Silent {
			say = env.Notice
		}
		say("run %s %s was closed by another command meanwhile; it keeps that end", env.Run.ID, env.Run.Kind)
		return err
	}
	if closeErr != nil {
		closeErr = quant.Errorf(quant.CodeOf(closeErr), "run %s is over but its record could not be closed: %w", env.Run.ID, closeErr).
			WithHint("the next command of this host closes it as FAIL; what it printed above holds")
		env.Error(closeErr)
		if err == nil {
			return r.traits.Exit(closeErr)
		}
		return err
	}
	env.Notice("run %s %s %s %s", env.Run.ID, env.Run.Kind, status, elapsed(time.Since(r.begun)))
	return err
}

func (r *recording) release() {
	if r.env.Registry != nil {
		r.env.Registry.Close()
	}
	if r.store != nil {
		r.store.Close()
	}
	r.claimed.Release()
}

// withFacts is an error of a run that committed facts before it failed.
type withFacts struct {
	error
	facts string
}

func (w withFacts) Unwrap() error { return w.error }

// Facts is the clause with which the registry ends the text of the run.
func (w withFacts) Facts() string { return w.facts }

// firstLines is the error as a person sees it: without the stack of a panic,
// unless the log level is debug. The record keeps all of it.
func firstLines(err error, logLevel string) error {
	text, _, found := strings.Cut(err.Error(), "\n\ngoroutine ")
	if !found || logLevel == "debug" {
		return err
	}
	return quant.Errorf(quant.CodeOf(err), "%s", text).
		WithHint("this is a defect of quant; `quant runs show last` has the stack, --log-level debug prints it")
}

func isBrokenPipe(err error) bool {
	s, ok := errors.AsType[quant.Signalled](err)
	return ok && s.Number == int(syscall.SIGPIPE)
}

func isSilent(err error) bool {
	e, ok := errors.AsType[quant.Exit](err)
	return ok && e.Silent
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

// build reads what the linker knows of this binary.
func build() cli.Build {
	b := cli.Build{Version: "dev", DuckDB: factstore.EngineVersion, SQLite: sqlite.EngineVersion()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go = info.GoVersion
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value + b.Commit
		case "vcs.modified":
			if s.Value == "true" {
				b.Commit += "-dirty"
			}
		}
	}
	return b
}
