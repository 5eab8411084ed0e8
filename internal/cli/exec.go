package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/config"
	"quant/internal/exec/program"
	"quant/internal/exec/transcript"
	"quant/internal/metastore"
)

// The exit statuses of exec that are not the program's, as other programs that
// run programs have them (env, nohup, timeout).
const (
	execFailed       = 125
	execNotPermitted = 126
	execNotFound     = 127
)

const defaultLogMax = 64 << 20

// execution is a program that is to be run as the one of this run.
type execution struct {
	argv   []string
	logMax int64
}

func execCommand(env *Env) Command {
	var name, experiment string
	var tags, params []string
	logMax := logSize(defaultLogMax)
	cmd := &cobra.Command{
		Use:   "exec [flags] -- PROGRAM [ARG...]",
		Short: "Run any program as a recorded run",
		Long: `Run a program as a run of kind exec. The program notices no difference: it has
the same terminal, the same streams and signals, and its exit status is that of
quant (128+n if signal n ended it). exec prints nothing of its own unless it
fails itself: then it exits with 125, with 126 if the program cannot be executed
and with 127 if there is none.

Recorded are the command line, the working directory, how it ended, the time it
took (wall, user, system), its peak memory, some variables of the environment,
the git commit and what differs from it (artifact code.diff), and for Python the
packages that are installed (artifact python-packages.txt). What the program
prints is kept in a log, masked; ` + "`quant runs logs`" + ` shows it.

The program finds QUANT_RUN_ID, QUANT_DATA_DIR, QUANT_SQLITE_PATH and
QUANT_DUCKDB_PATH in its environment, so that every quant that it starts works in
the same lab and is recorded as part of this run. Nothing of .env reaches it.`,
		Example: `  quant exec -- python train.py --lr 0.1
  quant exec --name baseline --tag team=alpha --param lr=0.1 -- ./train.sh
  quant exec --log-max 1GiB -- sh -c 'for i in 1 2 3; do ./step $i; done'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.exec(cmd.Context(), execution{argv: args, logMax: int64(logMax)})
		},
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch dash := cmd.ArgsLenAtDash(); {
		case dash < 0:
			return quant.Errorf(quant.Usage, "exec needs -- before the program").
				WithHint("write: quant exec [flags] -- PROGRAM [ARG...]")
		case dash > 0:
			return quant.Errorf(quant.Usage, "exec takes no argument before --, got %q", args[0]).
				WithHint("write: quant exec [flags] -- PROGRAM [ARG...]")
		case len(args) == 0:
			return quant.Errorf(quant.Usage, "exec needs a program behind --").
				WithHint("write: quant exec [flags] -- PROGRAM [ARG...]")
		}
		return nil
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if !strings.HasPrefix(err.Error(), "unknown") {
			return quant.Errorf(quant.Usage, "%w", err).WithHint("`quant exec --help` shows the flags")
		}
		return quant.Errorf(quant.Usage, "%w", err).
			WithHint("flags of the program stand behind --, such as: quant exec -- PROGRAM --flag")
	})
	cmd.Flags().StringVar(&name, "name", "", "name of the run: `quant runs show @NAME` finds it")
	cmd.Flags().StringVar(&experiment, "experiment", "", "id or name of the experiment that the run belongs to")
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "tag of the run, K=V; may be given more than once")
	cmd.Flags().StringArrayVar(&params, "param", nil, "param of the run, K=V; may be given more than once")
	cmd.Flags().Var(&logMax, "log-max", "most that is kept of what the program prints, such as 512KiB or 1GiB (0: nothing): half of it from the beginning, half from the end")
	return Command{
		Command: cmd,
		Traits: Traits{
			Changes: always, Silent: true, Failure: execFailed,
			Records: func(ctx context.Context) (metastore.Batch, error) {
				return env.said(ctx, name, experiment, tags, params)
			},
		},
	}
}

// said is what the flags say about a run.
func (e *Env) said(ctx context.Context, name, experiment string, tags, params []string) (metastore.Batch, error) {
	var b metastore.Batch
	tag := func(name, value string) error {
		t := quant.Tag{RunID: e.runID(), Name: name, Value: value}
		b.Tags = append(b.Tags, t)
		return t.Validate()
	}
	for _, s := range tags {
		k, v, found := strings.Cut(s, "=")
		if !found {
			return metastore.Batch{}, quant.Errorf(quant.Usage, "--tag %q is not of the form K=V", s).WithHint("write --tag team=alpha")
		}
		if err := tag(k, v); err != nil {
			return metastore.Batch{}, err
		}
	}
	if name != "" {
		if err := tag(quant.NameTag, name); err != nil {
			return metastore.Batch{}, err
		}
	}
	if experiment != "" {
		id, err := e.experimentNamed(ctx, experiment)
		if err != nil {
			return metastore.Batch{}, err
		}
		if err := tag(quant.ExperimentTag, id); err != nil {
			return metastore.Batch{}, err
		}
	}
	for _, s := range params {
		k, v, found := strings.Cut(s, "=")
		if !found {
			return metastore.Batch{}, quant.Errorf(quant.Usage, "--param %q is not of the form K=V", s).WithHint("write --param lr=0.1")
		}
		p := quant.Param{RunID: e.runID(), Name: k, Value: v}
		if err := p.Validate(); err != nil {
			return metastore.Batch{}, err
		}
		b.Params = append(b.Params, p)
	}
	return b, nil
}

func (e *Env) runID() string {
	if e.Run == nil {
		return "-"
	}
	return e.Run.ID
}

// experimentNamed finds an experiment by its id, or by its name if only one has
// it.
func (e *Env) experimentNamed(ctx context.Context, ref string) (string, error) {
	meta, err := e.MetaDB()
	if err != nil {
		return "", err
	}
	found, err := meta.GetExperiment(ctx, ref)
	if err == nil {
		return found.ExperimentID, nil
	}
	if !errors.Is(err, quant.NotFound) {
		return "", err
	}
	named, err := meta.ListExperiments(ctx, metastore.ExperimentFilter{Name: ref, Limit: 3})
	switch {
	case err != nil:
		return "", err
	case len(named) == 1:
		return named[0].ExperimentID, nil
	case len(named) == 0:
		return "", quant.Errorf(quant.NotFound, "there is no experiment %q", ref).
			WithHint("`quant experiments list` shows them, `quant experiments create` makes one")
	}
	return "", quant.Errorf(quant.Invalid, "more than one experiment is named %q", ref).
		WithHint("give an id: %s, %s", named[0].ExperimentID, named[1].ExperimentID)
}

// exec runs a program as the one of this run. Its exit status is an error of
// type quant.Exit, unless it is 0.
func (e *Env) exec(ctx context.Context, x execution) error {
	argv := x.argv
	path, err := program.Find(argv[0], lookup(e.Environ, "PATH"))
	if err != nil {
		return cannotRun(argv[0], err)
	}
	childEnv, err := e.childEnv()
	if err != nil {
		return err
	}
	signals := e.TakeSignals()
	if ctx.Err() != nil { // one came before
		return context.Cause(ctx)
	}
	log, err := transcript.Create(e.LogFile(e.Run.ID), x.logMax, e.Mask)
	if err != nil {
		e.Run.Log(metastore.Batch{Notes: []quant.Note{{Text: "what the program printed is not kept: " + err.Error()}}})
	}
	copies := map[bool]*transcript.Input{true: log.Input(), false: log.Input()}
	streams := e.Streams()
	run := program.Command{
		Path: path, Argv: argv, Env: childEnv, Signals: signals,
		In: file(streams.In), Out: file(streams.Out), Err: file(streams.Err),
		Copy: func(out bool, b []byte) { _, _ = copies[out].Write(b) },
	}
	beside := e.lookAside(ctx, path, childEnv)
	environment := map[string]any{"variables": environmentOf(childEnv)}
	saved := make(chan struct{})
	run.Started = func(pid int) {
		save := e.Registry.ProgramStarted(e.Run.ID, quant.Program{
			Path: quant.Text(path), ChildPID: ptr(int64(pid)), EnvironmentJSON: document(environment),
		})
		go func() {
			defer close(saved)
			_ = save(context.WithoutCancel(ctx)) // the end stores it again
		}()
	}
	result, err := run.Run()
	if err != nil {
		beside.cancel()
		log.Close()
		_ = os.Remove(e.LogFile(e.Run.ID))
		return cannotRun(argv[0], err)
	}
	seen, cut := log.Close()
	<-saved
	beside.finish(environment)
	err = e.Registry.ProgramEnded(e.Run.ID, func(p *quant.Program) {
		if result.Status.Signaled() {
			p.Signal = ptr(int64(result.Status.Signal()))
		}
		p.UserUS, p.SystemUS = ptr(micros(result.Usage.Utime)), ptr(micros(result.Usage.Stime))
		p.MaxRSSBytes = result.PeakBytes()
		p.OutputBytes, p.OutputCutBytes = ptr(seen), ptr(cut)
		p.EnvironmentJSON = document(environment)
	})
	if err != nil {
		return err
	}
	return ended(result.Status)
}

// ended is how a program ended, as the error of its run.
func ended(status syscall.WaitStatus) error {
	switch {
	case status.Signaled():
		n := status.Signal()
		name := unix.SignalName(n)
		if name == "" {
			name = n.String()
		}
		return quant.Exit{Status: 128 + int(n), Err: quant.Errorf(quant.Failed, "killed by %s", name), Silent: true}
	case status.ExitStatus() != 0:
		return quant.Exit{Status: status.ExitStatus(), Err: quant.Errorf(quant.Failed, "exit status %d", status.ExitStatus()), Silent: true}
	}
	return nil
}

// cannotRun is the error of a program that cannot be started.
func cannotRun(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) && !errors.As(err, new(*os.PathError)) {
		return quant.Exit{Status: execNotFound, Err: quant.Errorf(quant.NotFound, "exec: there is no program %q", name).
			WithHint("check the name; a program in this folder is written ./%s", filepath.Base(name))}
	}
	if errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), "execute ") {
		return quant.Exit{Status: execNotFound, Err: quant.Errorf(quant.NotFound, "exec: there is no program %q", name).
			WithHint("check the path")}
	}
	cause := err
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		cause = path.Err
	}
	return quant.Exit{Status: execNotPermitted, Err: quant.Errorf(quant.Failed, "exec: %q cannot be executed: %w", name, cause).
		WithHint("is it a program of this machine, with execute permission (chmod +x) and an interpreter that exists?")}
}

func micros(t syscall.Timeval) int64 { return t.Nano() / int64(time.Microsecond) }

func file(stream any) *os.File {
	f, _ := stream.(*os.File)
	return f
}

// childEnv is the environment of the program: ours, with the run and the lab.
func (e *Env) childEnv() ([]string, error) {
	set := []string{config.ParentRun + "=" + e.Run.ID}
	for _, name := range []string{config.DataDir, config.SQLitePath, config.DuckDBPath} {
		path := e.absolute(e.Settings.Value(name))
		if path == "" {
			return nil, quant.Errorf(quant.Failed, "the working directory is gone").WithHint("change to one that exists")
		}
		set = append(set, name+"="+path)
	}
	env := slices.DeleteFunc(slices.Clone(e.Environ), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.ContainsFunc(set, func(s string) bool { return strings.HasPrefix(s, name+"=") })
	})
	return append(env, set...), nil
}

func lookup(environ []string, name string) string {
	for _, pair := range environ {
		if value, found := strings.CutPrefix(pair, name+"="); found {
			return value
		}
	}
	return ""
}

// kept are the variables that are recorded of a program's environment: what
// decides which programs and libraries it finds and how they compute. A name
// that ends in * stands for all that begin so.
var kept = []string{
	"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LANGUAGE", "LC_*", "TZ", "VIRTUAL_ENV", "CONDA_*", "PYTHON*", "R_HOME", "R_LIBS*", "JULIA_*",
	"CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "TF_DETERMINISTIC_OPS",
	"OMP_*", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "GOMAXPROCS",
}

func environmentOf(environ []string) map[string]string {
	out := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		for _, k := range kept {
			prefix, open := strings.CutSuffix(k, "*")
			if name == k || open && strings.HasPrefix(name, prefix) {
				value = strings.ToValidUTF8(value[:min(len(value), quant.MaxRecordValue)], "\uFFFD")
				out[strings.ToValidUTF8(name, "\uFFFD")] = value
			}
		}
	}
	return out
}

func document(v any) quant.JSON {
	doc, err := json.Marshal(v)
	if err != nil {
		return nil // texts always have a JSON form
	}
	return doc
}
