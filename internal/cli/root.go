// Package cli is the command tree: one file a command, one line a command in
// New. A command parses its flags, calls a module or a store, and prints a
// result; recording, exit statuses and output formats are done around it, in
// app and term. It opens no Meta DB by itself and reads no environment.
package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/feature"
	"quant/internal/lab"
	"quant/internal/metastore"
)

// Command is a leaf or a group of the tree with what app must know about it
// before it runs. A group that has a RunE of its own runs as a leaf does when
// one of its own flags is given (`quant backtest --strategy F`), and prints its
// help when none is, unless it RunsBare; it takes no arguments but those behind -- where
// it TakesProgram.
type Command struct {
	*cobra.Command
	Traits
	Sub []Command
}

// Traits are what is known of a command from its line alone, before anything
// is opened or checked.
type Traits struct {
	// Changes reports whether this execution may change something. nil: no.
	Changes func(Line) bool
	// Remedy reports whether this execution must work on a broken lab. nil: no.
	Remedy func(Line) bool
	// Prepares reports whether this execution makes what a Meta DB on a server needs. nil:
	// no.
	Prepares func(Line) bool
	// MakesRoom reports whether this execution takes away so much that it must work on
	// a full disk. nil: no.
	MakesRoom func(Line) bool
	// Places are location flags that the line implies, as if it had them: where this
	// execution works if not where the settings say; "" takes one of the line's away. It
	// is called once, before anything is opened. nil: none.
	Places func(Line) map[string]string
	// Prepare makes what must stand before the lab is opened. It is called after
	// Places. nil: nothing.
	Prepare func() error
	// Unrecorded marks what is no execution: help, version, completion.
	Unrecorded bool
	// Silent commands print no notices and no closing line.
	Silent bool
	// RunsBare marks a group that runs as a leaf does also where no flag is given.
	RunsBare bool
	// TakesProgram marks a group that runs as a leaf with the words behind --, which
	// are the command line of a program.
	TakesProgram bool
	// Failure is the exit status of every error that is not an exit status
	// itself. 0: the error's own.
	Failure int
	// Records returns what the command line alone says about the run; it is stored
	// together with the resolved settings, before the command does anything.
	Records func(context.Context) (metastore.Batch, error)
}

// Exit gives an error the exit status that it has as one of this command.
func (t Traits) Exit(err error) error {
	if err == nil || t.Failure == 0 {
		return err
	}
	if _, ok := errors.AsType[quant.Exit](err); ok {
		return err
	}
	if _, ok := errors.AsType[quant.Signalled](err); ok {
		return err
	}
	return quant.Exit{Status: t.Failure, Err: err}
}

// waitFlag is the flag of Globals.Wait.
const waitFlag = "wait"

func always(Line) bool { return true }

func withFlag(name string) func(Line) bool {
	return func(l Line) bool { _, set := l.Flags[name]; return set }
}

// Globals are the flags that every command has.
type Globals struct {
	Quiet   bool
	NoColor bool
	Wait    time.Duration
}

// Tree is the command tree and its traits.
type Tree struct {
	Root    *cobra.Command
	Globals Globals

	env    *Env
	traits map[*cobra.Command]Traits
	parsed bool
	// recorded is the command as which the execution is recorded: no other one
	// may run under its name.
	recorded *cobra.Command
}

// New builds the tree. Commands use env only once they run.
func New(env *Env) *Tree {
	t := &Tree{env: env, traits: map[*cobra.Command]Traits{}}
	env.tree = t
	if env.Mask != nil {
		env.Mask.KnowVersions(feature.Versions()...)
	}
	t.Root = &cobra.Command{
		Use:   "quant",
		Short: "A research lab for quantitative investing, in which nothing runs unrecorded",
		Long: `quant keeps a research lab in one folder: a Meta DB (SQLite) that says what
exists and what happened, and a Fact DB (DuckDB) of prices and results. Every
execution of a command is recorded as a run before it does anything, and the
record is closed whatever happens.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		// Flags may stand anywhere; everything after -- is arguments.
		TraverseChildren: false,
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			t.parsed = true
			if t.recorded != nil && cmd != t.recorded {
				return quant.Errorf(quant.Usage, "%s: the words of the command do not stand together", cmd.CommandPath()).
					WithHint("write the command first: %s ...", cmd.CommandPath())
			}
			return env.configure(cmd, args)
		},
	}
	t.Root.SetOut(env.Out())
	t.Root.SetErr(env.Streams().Err)
	t.Root.CompletionOptions.HiddenDefaultCmd = false
	f := t.Root.PersistentFlags()
	f.String("data-dir", "", "data folder (default ./data)")
	f.String("sqlite", "", "Meta DB file (default DATA-DIR/meta.db)")
	f.String("duckdb", "", "Fact DB file (default DATA-DIR/quant.duckdb)")
	f.String("facts-url", "", "facts on DuckLake in place of a file: ducklake:postgres:dbname=NAME host=HOST?data_path=FOLDER")
	f.String("objects-url", "", "artifacts and logs where all machines see them: s3://BUCKET/PREFIX or file:///FOLDER")
	f.String("meta-url", "", "Meta DB in a database of PostgreSQL in place of a file: postgres://USER@HOST/DATABASE")
	f.String("log-level", "", "debug, info, warn or error (default info)")
	f.String("memory-limit", "", "memory that the Fact DB may take before it spills to disk, such as 2GiB (default a share of the machine's)")
	f.Var(&env.Format, "output", "form of the result")
	f.BoolVar(&env.Exact, "exact", false, "in CSV, leave texts as they are that a spreadsheet takes for formulas")
	f.BoolVarP(&t.Globals.Quiet, "quiet", "q", false, "no notices on stderr, only errors")
	f.BoolVar(&t.Globals.NoColor, "no-color", false, "no colours")
	f.Var(newDuration(&t.Globals.Wait, lab.Patience), waitFlag, "how long to wait for a locked Fact DB, and for a server of the Meta DB that is away, such as 500ms, 2m or 1d")
	for _, name := range []string{"data-dir", "sqlite", "duckdb", "meta-url", "facts-url", "objects-url", "log-level", "memory-limit"} {
		f.Lookup(name).DefValue = ""
	}
	t.Root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return quant.Errorf(quant.Usage, "%w", err).WithHint("`%s --help` shows the flags", cmd.CommandPath())
	})

	completeAll(env, t.Root)
	t.add(t.Root, []Command{
		initDBCommand(env),
		configCommand(env),
		symbolsCommand(env),
		calendarCommand(env),
		ingestCommand(env),
		dataCommand(env),
		delistingsCommand(env),
		universeCommand(env),
		featuresCommand(env),
		labelsCommand(env),
		factorCommand(env),
		experimentsCommand(env),
		trainCommand(env),
		modelsCommand(env),
		scoreCommand(env),
		predictionsCommand(env),
		strategyCommand(env),
		recommendCommand(env),
		backtestCommand(env),
		sweepCommand(env),
		pipelineCommand(env),
		lineageCommand(env),
		reproCommand(env),
		sqlCommand(env),
		runsCommand(env),
		execCommand(env),
		jobsCommand(env),
		scheduleCommand(env),
		workerCommand(env),
		logCommand(env),
		gcCommand(env),
		labCommand(env),
		backupCommand(env),
		restoreCommand(env),
		doctorCommand(env),
		demoCommand(env),
		serveCommand(env),
		tokensCommand(env),
		versionCommand(env),
	})
	t.Root.InitDefaultHelpCmd()
	t.Root.InitDefaultCompletionCmd()
	for _, c := range t.Root.Commands() {
		if c.Name() == "help" || c.Name() == "completion" {
			t.traits[c] = Traits{Unrecorded: true}
			c.Run, c.Args = nil, cobra.ArbitraryArgs
			for _, sub := range c.Commands() {
				t.traits[sub] = Traits{Unrecorded: true}
			}
			if c.Name() == "help" {
				c.RunE = t.help
			} else {
				c.RunE = helpOrUnknown
			}
		}
	}
	return t
}

func (t *Tree) add(parent *cobra.Command, commands []Command) {
	for _, c := range commands {
		parent.AddCommand(c.Command)
		t.traits[c.Command] = c.Traits
		completeAll(t.env, c.Command)
		if len(c.Sub) > 0 {
			t.add(c.Command, c.Sub)
			c.RunE = t.group(c.RunE)
		}
	}
}

// group is what a group does: run, if it is called as the leaf that it is as
// well, with no words but those of a program behind --, else help.
func (t *Tree) group(run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		foreign := len(args) > 0 && (cmd.ArgsLenAtDash() != 0 || !t.traits[cmd].TakesProgram)
		if run == nil || foreign || t.recorded == nil {
			return helpOrUnknown(cmd, args)
		}
		return run(cmd, args)
	}
}

// helpOrUnknown is what a group does that is nothing else.
func helpOrUnknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return unknownCommand(cmd, args[0])
}

// help shows the help of the command that args name.
func (t *Tree) help(_ *cobra.Command, args []string) error {
	cmd := t.Root
	for _, word := range args {
		sub := subcommand(cmd, word)
		if sub == nil {
			return unknownCommand(cmd, word)
		}
		cmd = sub
	}
	return cmd.Help()
}

// unknownCommand is the error for a word that is no command of parent.
func unknownCommand(parent *cobra.Command, word string) error {
	err := quant.Errorf(quant.Usage, "unknown command %q for %q", word, parent.CommandPath())
	parent.SuggestionsMinimumDistance = 2
	if near := parent.SuggestionsFor(word); len(near) > 0 {
		return err.WithHint("did you mean `%s %s`?", parent.CommandPath(), strings.Join(near, "`, `"))
	}
	return err.WithHint("`%s --help` lists the commands", parent.CommandPath())
}

// noArgs, exactArgs and minArgs are the argument counts, as Usage errors.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return quant.Errorf(quant.Usage, "%s takes no arguments, got %q", cmd.CommandPath(), args[0]).
			WithHint("`%s --help` shows how to call it", cmd.CommandPath())
	}
	return nil
}

func wantArgs(low, high int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < low || high >= 0 && len(args) > high {
			return quant.Errorf(quant.Usage, "%s needs %s, got %d arguments", cmd.CommandPath(), what, len(args)).
				WithHint("usage: %s", cmd.UseLine())
		}
		return nil
	}
}
