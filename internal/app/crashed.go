package app

import (
	"context"
	"errors"
	"fmt"
	"os"

	"quant"
	"quant/internal/cli"
	"quant/internal/config"
	"quant/internal/crash"
	"quant/internal/output"
	"quant/internal/registry"
	"quant/internal/secret"
	"quant/internal/session"
)

// armed makes a crash end in one line, and in a closed record, unless the trace is
// what is wanted: with the log level debug, or where GOTRACEBACK asks for it.
func (a *App) armed(args []string, logLevel, runID string) {
	if _, wanted := a.Environment("GOTRACEBACK"); !a.process || wanted || logLevel == "debug" {
		crash.Disarm()
		return
	}
	crash.Arm(args, runID)
}

// afterCrash is the whole life of the image that is started when this process has
// crashed: the error has been said; here the record is closed. What cannot be
// closed, the next command closes.
func (a *App) afterCrash(args []string) int {
	status := quant.ExitStatus(quant.Errorf(quant.Failed, "crashed"))
	crashed, err := crash.Succeed(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "quant:", err)
		return quant.ExitStatus(quant.Errorf(quant.Usage, "%w", err))
	}
	if crashed.RunID == "" {
		return status
	}
	ctx := context.Background()
	mask, secrets := &secret.Masker{}, &secret.Masker{}
	env := &cli.Env{Mask: mask, Secrets: secrets, Now: a.Now, Build: build(), Program: a.calledAs, Argv: mask.Args(crashed.Args), Environ: a.Environ}
	env.Printer = output.NewPrinter(a.Streams, mask, secrets, func(error) {})
	tree := cli.New(env)
	line := tree.Read(crashed.Args)
	traits := tree.Traits(line)
	env.SetQuiet(line.Flags["quiet"] == "true" || traits.Silent, line.Flags["log-level"])
	a.settle(env, tree, line)
	a.end = &ending{}
	run := a.newRecording(env, line, traits)
	defer run.release()
	err = session.Guard(func() error {
		if err := env.Open(ctx, false); err != nil {
			return err
		}
		ended, err := env.Registry.Crashed(ctx, crashed.RunID, crashed.What)
		if err == nil {
			env.Notice("run %s %s FAIL", ended.RunID, ended.Kind)
		}
		_, _ = env.Registry.Reconcile(ctx) // the runs inside it
		return err
	})
	if err != nil && !errors.Is(err, registry.ErrFinished) {
		env.Notice("run %s was not closed here: %v", crashed.RunID, err)
	}
	return status
}

// logLevel is the level that a command line and its environment ask for, as far as
// can be told before settings are resolved.
func (a *App) logLevel(line cli.Line) string {
	if level := line.Flags["log-level"]; level != "" {
		return level
	}
	level, _ := a.Environment(config.LogLevel)
	return level
}
