package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"quant"
	"quant/internal/config"
	"quant/internal/git"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/registry"
	"quant/internal/runs"
	"quant/internal/secret"
)

func runsRerun(env *Env) Command {
	var o rerunOptions
	cmd := &cobra.Command{
		Use:   "rerun RUN",
		Short: "Run what a run ran again, and compare the two",
		Long: `Run what a run ran again: the same arguments in the same folder with the same
settings, in the present lab, as a new run that is linked to its origin by the
tag rerun_of. At the end the two are compared, as ` + "`quant runs compare`" + ` does. The
exit status is that of the command that was run again.

The code is what stands in the folder now; with --code it is the recorded one:
the commit, checked out into a git worktree of its own, with the recorded
changes, and deleted afterwards (--keep leaves it). What the arguments name by
an absolute path is not part of it.

An argument that was masked must be given again. Arguments are counted from 1,
without quant itself; --set-arg N=VALUE replaces the Nth, also one that was not
masked. --dry-run prints the arguments with their numbers and runs nothing.`,
		Example: `  quant runs rerun last:exec
  quant runs rerun 1a2b3c4d --code --set-arg 9=0.01`,
		Args: wantArgs(1, 1, "one run"),
		RunE: func(cmd *cobra.Command, args []string) error { return env.rerun(cmd.Context(), args[0], o) },
	}
	cmd.Flags().StringArrayVar(&o.set, "set-arg", nil, "N=VALUE: another value for the Nth argument (repeatable)")
	cmd.Flags().BoolVar(&o.code, "code", false, "with the recorded code, in a git worktree")
	cmd.Flags().BoolVar(&o.keep, "keep", false, "leave the git worktree of --code")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print what would run")
	return Command{Command: cmd, Traits: Traits{Changes: func(l Line) bool { return l.Flags["dry-run"] != "true" }}}
}

type rerunOptions struct {
	set                []string
	code, keep, dryRun bool
}

// rerunArg is one argument of a command line.
type rerunArg struct {
	N        int    `json:"n"`
	Argument string `json:"argument"`
	Masked   bool   `json:"masked"`
}

func (e *Env) rerun(ctx context.Context, ref string, o rerunOptions) error {
	if o.keep && !o.code {
		return quant.Errorf(quant.Usage, "--keep leaves the worktree of --code, which is not given")
	}
	meta, err := e.MetaDB()
	if err != nil {
		return err
	}
	id, err := e.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	origin, err := meta.GetRun(ctx, id)
	if err != nil {
		return err
	}
	args, err := rerunArgs(origin, o.set)
	if err != nil {
		return err
	}
	if o.dryRun {
		list := []rerunArg{}
		for i, arg := range args {
			list = append(list, rerunArg{i + 1, strings.Join(e.Mask.Args([]string{arg}), ""), strings.Contains(arg, secret.Placeholder)})
		}
		return e.Print(list)
	}
	if err := refuseMasked(origin, args); err != nil {
		return err
	}
	if e.Run == nil {
		return quant.Errorf(quant.Store, "nothing can be run again while runs cannot be recorded").WithHint("run quant doctor")
	}
	link := metastore.Batch{Tags: []quant.Tag{{Name: quant.RerunOfTag, Value: id}}}
	if err := e.Registry.Log(ctx, e.Run.ID, link); err != nil {
		return err
	}
	e.record(quant.RunIO{Direction: quant.In, Kind: "run", Name: id})

	dir := string(origin.Process.WorkDir)
	if o.code {
		tree, err := e.checkOut(ctx, origin, o.keep)
		if err != nil {
			return err
		}
		dir = tree.Dir
		if o.keep {
			defer e.Notice("the recorded code stays in %s; take it away with: git worktree remove --force", dir)
		} else {
			defer func() {
				if err := tree.Remove(); err != nil {
					e.Warn("the worktree %s could not be deleted: %v", tree.Dir, err)
				}
			}()
		}
	}
	failed := e.runAgain(ctx, origin, args, dir)
	again, err := e.lastChild(ctx, meta, origin.Kind)
	if err != nil {
		return errors.Join(failed, err)
	}
	closing, stop := registry.Closing(ctx)
	defer stop()
	if err := e.Registry.Log(closing, again, link); err != nil {
		return errors.Join(failed, err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c, err := runs.Compare(ctx, meta, e.Artifacts(), []string{id, again})
	if err == nil {
		err = printComparison(e, c.Differences())
	}
	return errors.Join(failed, err)
}

// rerunArgs are the recorded arguments, without the program's own name, with
// the values of --set-arg in their places.
func rerunArgs(origin metastore.RunDetail, set []string) ([]string, error) {
	var argv []string
	if err := json.Unmarshal(origin.Process.Argv, &argv); err != nil || len(argv) < 2 {
		return nil, quant.Errorf(quant.Refused, "run %s has no command line on record", quant.ShortID(origin.RunID))
	}
	if origin.Kind == "unknown" || origin.Kind == "runs.rerun" {
		return nil, quant.Errorf(quant.Refused, "a run of kind %s is not run again", origin.Kind).
			WithHint("run again the run that it was about: `quant runs show %s` names it", quant.ShortID(origin.RunID))
	}
	args := argv[1:]
	for _, pair := range set {
		number, value, found := strings.Cut(pair, "=")
		n, err := strconv.Atoi(number)
		if !found || err != nil || n < 1 || n > len(args) {
			return nil, quant.Errorf(quant.Usage, "--set-arg wants N=VALUE with N from 1 to %d", len(args)).
				WithHint("`quant runs rerun %s --dry-run` numbers the arguments", quant.ShortID(origin.RunID))
		}
		if strings.ContainsRune(value, 0) {
			return nil, quant.Errorf(quant.Usage, "--set-arg %d: the value contains a NUL byte", n)
		}
		args[n-1] = value
	}
	return args, nil
}

// refuseMasked is the error of arguments that were masked when they were
// recorded and have not been given again.
func refuseMasked(origin metastore.RunDetail, args []string) error {
	for i, arg := range args {
		if !strings.Contains(arg, secret.Placeholder) {
			continue
		}
		shown := arg
		if i > 0 && arg == secret.Placeholder {
			shown = args[i-1] + " " + arg
		}
		return quant.Errorf(quant.Refused, "argument %d of run %s was masked when it was recorded: %s", i+1, quant.ShortID(origin.RunID), shown).
			WithHint("give it again: --set-arg %d=VALUE (the whole argument)", i+1)
	}
	return nil
}

// checkOut makes a worktree of the recorded code, under a name that gc leaves
// alone if it is to be kept.
func (e *Env) checkOut(ctx context.Context, origin metastore.RunDetail, keep bool) (*git.Worktree, error) {
	p := origin.Process
	if p.GitCommit == "" {
		return nil, quant.Errorf(quant.Refused, "run %s has no git commit on record: it ran outside a work tree", quant.ShortID(origin.RunID)).
			WithHint("run it again without --code")
	}
	var diff io.Reader
	artifacts, err := e.Meta.Artifacts(ctx, origin.RunID)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(artifacts, func(a quant.Artifact) bool { return a.Name == quant.CodeDiff })
	switch {
	case at >= 0:
		f, err := e.Artifacts().Open(artifacts[at].Digest)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		diff = f
	case p.GitDirty != nil && *p.GitDirty:
		e.Warn("the work tree of run %s differed from its commit, and the changes are not on record: the commit alone is run", quant.ShortID(origin.RunID))
	}
	folder, err := filepath.Abs(e.ScratchDir())
	if err == nil {
		err = os.MkdirAll(folder, 0o700)
	}
	if err != nil {
		return nil, quant.Errorf(quant.Store, "make the folder for the worktree: %w", err)
	}
	name := place.Checkout + e.Run.ID
	if keep {
		name = "code-" + e.Run.ID
	}
	return git.CheckOut(ctx, string(p.WorkDir), string(p.GitCommit), filepath.Join(folder, name), diff)
}

// runAgain runs a command line as a child of this run, in a process of its own
// with this one's terminal, and returns how it ended.
func (e *Env) runAgain(ctx context.Context, origin metastore.RunDetail, args []string, dir string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return quant.Errorf(quant.NotFound, "the folder of run %s, %s, is not there any more", quant.ShortID(origin.RunID), dir).
			WithHint("--code checks it out again, where it was under git")
	}
	self, err := os.Executable()
	if err != nil {
		return quant.Errorf(quant.Failed, "find this program: %w", err)
	}
	lab, environment, err := e.labOf(origin)
	if err != nil {
		return err
	}
	line := e.tree.Read(args)
	if e.tree.Traits(line).DataDir == nil && slices.ContainsFunc(locationFlags, func(name string) bool { return line.Flags[name] != "" }) {
		// Flags are stronger than variables, and the last one counts.
		args = slices.Clone(args)
		at := slices.Index(args, "--")
		if at < 0 {
			at = len(args)
		}
		args = slices.Insert(args, at, lab...)
	}
	streams := e.Streams()
	cmd := exec.Command(self, args...)
	cmd.Args[0], cmd.Dir = "quant", dir
	cmd.Env = append(cmd.Environ(), environment...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = streams.In, streams.Out, streams.Err
	if e.Format != "table" {
		cmd.Stdout = streams.Err // stdout is one document: the comparison
	}
	if err := cmd.Start(); err != nil {
		return quant.Errorf(quant.Failed, "start %s: %w", self, err)
	}
	over := make(chan struct{})
	go func() {
		select {
		case <-over:
		case <-ctx.Done():
			if s, ok := errors.AsType[quant.Signalled](context.Cause(ctx)); ok && !fromTerminal(streams.In, s.Number) {
				_ = cmd.Process.Signal(syscall.Signal(s.Number))
			} else if !ok {
				_ = cmd.Process.Signal(syscall.SIGTERM)
			}
		}
	}()
	err = cmd.Wait()
	close(over)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok {
			return ended(status)
		}
	}
	if err != nil {
		return quant.Errorf(quant.Failed, "run %s again: %w", quant.ShortID(origin.RunID), err)
	}
	return nil
}

// labOf are the flags and variables that give a repetition the present lab and
// the recorded settings.
func (e *Env) labOf(origin metastore.RunDetail) (flags, environment []string, err error) {
	for _, name := range []string{config.DataDir, config.SQLitePath, config.DuckDBPath} {
		path, err := filepath.Abs(e.Settings.Value(name))
		if err != nil {
			return nil, nil, quant.Errorf(quant.Failed, "find %s: %w", e.Settings.Value(name), err)
		}
		environment = append(environment, name+"="+path)
		for _, s := range e.Settings.List() {
			if s.Name == name {
				flags = append(flags, string(s.Flag)+"="+path)
			}
		}
	}
	var recorded struct {
		Settings map[string]string `json:"settings"`
	}
	_ = json.Unmarshal(origin.ConfigJSON, &recorded) // a run that failed early has none
	for _, s := range e.Settings.List() {
		value := recorded.Settings[s.Name]
		if value != "" && !s.Secret && s.Flag == "" && !strings.Contains(value, secret.Placeholder) {
			environment = append(environment, s.Name+"="+value)
		}
	}
	return flags, append(environment, config.ParentRun+"="+e.Run.ID), nil
}

// fromTerminal reports whether the terminal sends this signal to every process
// that it controls, so that it need not be sent on.
func fromTerminal(in io.Reader, number int) bool {
	f, ok := in.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && slices.Contains([]syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP}, syscall.Signal(number))
}

// lastChild is the run of this kind that this run started.
func (e *Env) lastChild(ctx context.Context, meta metastore.Store, kind string) (string, error) {
	children, err := meta.ListRuns(context.WithoutCancel(ctx), metastore.RunFilter{All: true, Parent: e.Run.ID, Kind: kind, Brief: true, Limit: 1})
	if err == nil && len(children) == 0 {
		err = quant.Errorf(quant.Failed, "the repetition was not recorded").WithHint("what it said stands above")
	}
	if err != nil {
		return "", err
	}
	return children[0].RunID, nil
}
