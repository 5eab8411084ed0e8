// Package app is the composition root: settings, stores, registry, command. The
// one recording wrapper stands here (execute): every execution of every
// command passes through it, from outside, so that a usage error or a panic is
// recorded like any other end.
package app

import (
	"context"
	"errors"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"quant"
	"quant/internal/cli"
	"quant/internal/config"
	"quant/internal/crash"
	"quant/internal/exec"
	"quant/internal/factstore"
	"quant/internal/failpoint"
	"quant/internal/feature"
	"quant/internal/jobs"
	"quant/internal/lab"
	"quant/internal/lab/facts"
	"quant/internal/metastore"
	"quant/internal/output"
	"quant/internal/registry"
	"quant/internal/sandbox"
	"quant/internal/secret"
	"quant/internal/session"
)

// App is one process of quant. The zero value of a field means the system's own.
type App struct {
	Streams     output.Streams
	Environment config.Environment
	Environ     []string // NAME=VALUE, to find secrets in
	Now         func() time.Time

	process bool // it is all that this process does
	end     *ending
}

// Main is the whole life of this process, and returns its exit status: one
// command line, or a process that `quant sql` or `quant exec` starts.
func Main(args []string) int {
	lookup, all := config.System()
	if len(args) > 0 {
		switch args[0] {
		case sandbox.ChildArg:
			return sandbox.ChildMain()
		case exec.RelayArg:
			return exec.RelayMain(args[1:], all)
		}
	}
	a := &App{Streams: output.OSStreams(), Environment: lookup, Environ: all, Now: failpoint.Now, process: true}
	if len(args) > 0 && args[0] == crash.SuccessorArg {
		return a.afterCrash(args)
	}
	return a.Run(context.Background(), args)
}

// Run runs one command line and returns its exit status. Signals that arrive
// meanwhile end the command.
func (a *App) Run(ctx context.Context, args []string) int {
	ctx, a.end = catchSignals(ctx)
	defer a.end.stop()
	_, err := a.execute(ctx, args, "", a.Streams)
	return quant.ExitStatus(err)
}

// execute runs one command line: in a recorded run, whose id it returns, unless
// it is no execution. Every error has been printed when it returns.
func (a *App) execute(ctx context.Context, args []string, parent string, streams output.Streams) (runID string, err error) {
	mask, secrets := &secret.Masker{}, &secret.Masker{}
	env := &cli.Env{Mask: mask, Secrets: secrets, Now: a.Now, Build: build(), Program: a.calledAs, Argv: mask.Args(args), Environ: a.Environ, TakeSignals: a.end.take}
	env.Printer = output.NewPrinter(streams, mask, secrets, a.end.stdoutFailed)
	noColor, _ := a.Environment(config.NoColor)
	env.NoColor = noColor != ""
	tree := cli.New(env)
	line := tree.Read(args)
	traits := tree.Traits(line)
	if parent == "" {
		a.armed(args, a.logLevel(line), "")
	}
	env.SetQuiet(line.Flags["quiet"] == "true" || traits.Silent, line.Flags["log-level"])
	if !tree.IsExecution(line) {
		if words, ok := line.ToComplete(); ok {
			env.OpenToComplete = a.completing(tree, words)
			env.OwnFeaturesToComplete = a.completingFeatures(tree, words)
			env.JobsToComplete = a.completingJobs(tree, words)
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
	outermost := parent == ""
	if outermost {
		parent, _ = a.Environment(config.ParentRun)
		env.RunAs, env.AskedBy, env.Environ = runAs(env.Environ)
	}
	env.ParentRun = parent
	run := a.newRecording(env, line, traits)
	defer run.release()
	err = session.Guard(func() error { return run.begin(ctx, session.Command{Kind: line.Kind(), Args: args}) })
	if err == nil {
		if env.AskedBy != "" {
			env.Log(metastore.Batch{Tags: []quant.Tag{{Name: quant.ByTag, Value: env.AskedBy}}})
		}
		if outermost {
			a.armed(args, env.Settings.Value(config.LogLevel), env.RunID())
		}
		a.end.onForce(func(cause error) { _ = run.end(ctx, cause) })
		err = session.Guard(func() error { return tree.Execute(ctx, line) })
	}
	err = run.close(ctx, traits.Exit(err))
	if outermost && a.process {
		crash.Ended(quant.ExitStatus(err))
		failpoint.Hit("ended")
	}
	return env.RunID(), err
}

// runAs takes out of the environment the run id, and who asked for it, that a worker
// handed to this process, and to no other: what this one starts is recorded under ids of
// its own.
func runAs(environ []string) (runID, askedBy string, rest []string) {
	for _, pair := range environ {
		if value, found := strings.CutPrefix(pair, config.JobUser+"="); found {
			askedBy = value
			continue
		}
		if value, found := strings.CutPrefix(pair, config.JobRun+"="); found {
			if registry.IsRunID(value) {
				runID = value
			}
			continue
		}
		rest = append(rest, pair)
	}
	if runID == "" {
		askedBy = "" // nobody's job: who runs it is who asks
	}
	return runID, askedBy, rest
}

// completing opens, read-only, the Meta DB that a line to be completed names.
func (a *App) completing(tree *cli.Tree, words []string) func(context.Context) metastore.Store {
	return func(ctx context.Context) metastore.Store {
		store, err := lab.Peek(ctx, a.settingsToComplete(tree, words).Place())
		if err != nil {
			return nil
		}
		return store
	}
}

// completingJobs looks at the newest jobs of the lab, creating nothing.
func (a *App) completingJobs(tree *cli.Tree, words []string) func(context.Context) []jobs.Job {
	return func(ctx context.Context) []jobs.Job {
		store, err := jobs.Open(ctx, a.settingsToComplete(tree, words).Place(), false)
		if err != nil {
			return nil
		}
		defer func() { _ = store.Close() }() // it was only read
		list, _ := store.List(ctx, nil, offeredJobs)
		return list
	}
}

// offeredJobs is how many jobs a completion offers.
const offeredJobs = 50

// completingFeatures looks at the lab's own versions of features, without waiting.
func (a *App) completingFeatures(tree *cli.Tree, words []string) func(context.Context) []feature.Entry {
	return func(ctx context.Context) (own []feature.Entry) {
		db, err := factstore.OpenRead(ctx, factstore.Options{Path: a.settingsToComplete(tree, words).Value(config.DuckDBPath)})
		if err != nil {
			return nil
		}
		defer db.Close()
		sets, _ := db.FeatureSets(ctx)
		for _, set := range sets {
			if !slices.Contains(feature.Versions(), set.Version) {
				list, _ := feature.Catalogue(set.Version, sets...)
				own = append(own, list...)
			}
		}
		return own
	}
}

func (a *App) settingsToComplete(tree *cli.Tree, words []string) config.Settings {
	dotenv, _, _ := config.ReadDotenv(".env") // whatever is wrong with it, the shell is told nothing
	return config.Resolve(tree.Read(words).LocationFlags(), a.Environment, dotenv)
}

// settle resolves the settings of the line, leniently.
func (a *App) settle(env *cli.Env, tree *cli.Tree, line cli.Line) {
	dotenv, seen, err := config.ReadDotenv(".env")
	env.SettingsErr = err
	flags := line.LocationFlags()
	env.Named = config.Resolve(flags, a.Environment, dotenv)
	env.Settings = env.Named
	env.Recorded(flags)
	if implied := tree.Traits(line).Places; implied != nil {
		there := maps.Clone(flags)
		for name, value := range implied(line) {
			if there[name] = value; value == "" {
				delete(there, name)
			}
		}
		env.Settings = config.Resolve(there, a.Environment, dotenv)
		env.Mask.Know(env.Named.Secrets()...)
		env.Secrets.Know(env.Named.Secrets()...)
	}
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

// build reads what the linker knows of this binary.
func build() session.Build {
	b := session.Build{Version: "dev", DuckDB: facts.EngineVersion, SQLite: lab.EngineVersion()}
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
