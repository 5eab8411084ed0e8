package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/config"
	"quant/internal/logstream"
	"quant/internal/metastore"
	"quant/internal/output"
	"quant/internal/registry"
)

// logCommand records what a run says of itself. It is no change of its own: what
// it writes belongs to the run that it names (docs/adr/0020).
func logCommand(env *Env) Command {
	var l logFlags
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Record params, metrics, tags, notes and artifacts of a run",
		Long: fmt.Sprintf(`Record what a program has to say of a run, from any language: inside `+"`quant exec`"+`
(or any program that sets %[1]s) of that run, elsewhere of --run RUN. A run
that has ended may still be logged to; a deleted one not.

A name has 1 to %[2]d bytes of UTF-8 without control characters, a value of a param
or tag at most %[3]d bytes, a note %[4]d, the name of an artifact %[5]d. A param is
written once; a tag may change. Values of params and tags whose names tell of a
secret are stored as ***. Nothing is printed on stdout, which is the script's,
unless --output json or csv asks for it.

--stdin reads JSON lines, one object each, and stores them while they come, within
about half a second, in batches that are stored whole or not at all:

  {"metric":"loss","value":0.5,"step":3,"time":"2026-01-15T09:30:00Z"}
  {"metrics":{"loss":0.5,"acc":0.9},"step":3}
  {"param":"lr","value":0.1}       {"params":{"lr":0.1,"optimizer":"adam"}}
  {"tag":"team","value":"alpha"}   {"tags":{"team":"alpha"}}
  {"note":"the loss fell"}         {"artifact":"plot.png","name":"plots/loss.png"}

step and time may be left out, and "run":"RUN" beside any of them names another
run. A line has at most %[6]d bytes. A bad line is reported and left out, and the
others go on: exit status 3; with --strict it ends the stream: exit status 2.

With --start KIND the stream has a run of its own, which stands in the lab until
the program says {"end":"SUCCESS"} or {"end":"FAIL","error":"what happened"}, or ends
without a word, which is a FAIL. Behind -- stands the program's command line; it is
the process that started this one. Printed is {"run_id":"..."}, at once.`,
			config.ParentRun, quant.MaxRecordName, quant.MaxRecordValue, quant.MaxNoteText, quant.MaxArtifactName, logstream.MaxBytes),
		Example: `  quant log metric loss=0.25 acc=0.9 --step 3
  quant log param lr=0.001 --run last
  train.py | quant log --stdin --run 3f2a
  quant log --stdin --start fit -- python train.py`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if l.start != "" || len(args) > 0 {
				return env.logOwnRun(cmd, l, args)
			}
			if !l.stdin {
				return quant.Errorf(quant.Usage, "nothing to log is named").WithHint("`quant log metric NAME=VALUE`, or --stdin for JSON lines")
			}
			return env.logLines(cmd.Context(), l)
		},
	}
	cmd.Args = cobra.ArbitraryArgs
	cmd.PersistentFlags().StringVar(&l.run, "run", "", "the run to log to (default: that of "+config.ParentRun+")")
	cmd.Flags().BoolVar(&l.stdin, "stdin", false, "read JSON lines from standard input")
	cmd.Flags().StringVar(&l.start, "start", "", "with --stdin: start a run of this kind, which lives as long as the stream")
	cmd.Flags().StringVar(&l.name, "name", "", "name of the run that --start starts")
	cmd.Flags().StringVar(&l.experiment, "experiment", "", "id or name of the experiment of the run that --start starts")
	sampleFlag(cmd, &l.sample)
	cmd.Flags().BoolVar(&l.keepSecrets, "keep-secrets", false, "with --start: keep uncommitted code exactly, with the secrets that are written out in it")
	cmd.Flags().BoolVar(&l.strict, "strict", false, "with --stdin: end at the first bad line")
	return Command{Command: cmd, Traits: Traits{TakesProgram: true}, Sub: []Command{logMetric(env, &l), logParam(env, &l), logTag(env, &l), logNote(env, &l), logArtifact(env, &l)}}
}

type logFlags struct {
	run                     string
	stdin, strict           bool
	start, name, experiment string
	keepSecrets             bool
	sample                  time.Duration
}

// logReport is the result of the commands that log.
type logReport struct{ logstream.Counts }

func (r logReport) CSVRows() any { return []logReport{r} }

// logTarget is the run that a `quant log` is about.
func (e *Env) logTarget(ctx context.Context, flag string) (string, error) {
	if e.Run == nil {
		return "", quant.Errorf(quant.CodeOf(e.MetaErr), "nothing can be logged: %w", e.MetaErr).WithHint("%s", quant.HintOf(e.MetaErr))
	}
	if flag != "" {
		return e.Resolve(ctx, flag)
	}
	switch {
	case e.ParentRun == "":
		return "", quant.Errorf(quant.Usage, "no run to log to is named").
			WithHint("inside `quant exec` there is one; elsewhere give --run RUN, or set %s", config.ParentRun)
	case !registry.IsRunID(e.ParentRun):
		return "", quant.Errorf(quant.Usage, "%s is %q, and that is no whole run id", config.ParentRun, clipName(e.ParentRun)).
			WithHint("set it to a run id, or give --run RUN")
	}
	if _, err := e.Meta.GetRun(ctx, e.ParentRun); err != nil {
		return "", quant.Errorf(quant.CodeOf(err), "%s: %w", config.ParentRun, err).
			WithHint("it is the run of another lab? %s and --data-dir say which lab this is", config.DataDir)
	}
	return e.ParentRun, nil
}

func clipName(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:57], "") + "..."
	}
	return s
}

// logOnce stores a batch for the target and prints what it held.
func (e *Env) logOnce(ctx context.Context, target string, b metastore.Batch) error {
	if err := e.Registry.Log(ctx, target, b); err != nil {
		return err
	}
	report := logReport{logstream.Counts{RunID: quant.Text(target)}}
	report.Add(b)
	e.recordLogged(report.Counts)
	return e.printLogged(report)
}

// printLogged prints what was logged if --output asks for it: stdout is the
// script's, whose output is recorded.
func (e *Env) printLogged(report any) error {
	if e.Format == output.Table {
		return nil
	}
	return e.Print(report)
}

// recordLogged notes what was written as outputs of the `quant log` itself.
func (e *Env) recordLogged(c logstream.Counts) {
	for _, written := range c.Outputs() {
		e.record(written)
	}
}

func logMetric(env *Env, l *logFlags) Command {
	var step int64
	cmd := &cobra.Command{
		Use:   "metric NAME=VALUE...",
		Short: "Log points of metrics",
		Long: `Log points of metrics, all of them or none. A value is a finite number. Without
--step each point gets the step after its metric's highest, 0 for the first.`,
		Args: wantArgs(1, -1, "at least one NAME=VALUE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("step") {
				step = quant.AutoStep
			}
			points, err := logstream.Metrics(args, step)
			if err != nil {
				return err
			}
			if step == quant.AutoStep && cmd.Flags().Changed("step") {
				return quant.Errorf(quant.Usage, "--step %d is too low", step).WithHint("any other whole number will do")
			}
			target, err := env.logTarget(cmd.Context(), l.run)
			if err != nil {
				return err
			}
			return env.logOnce(cmd.Context(), target, metastore.Batch{Metrics: points})
		},
	}
	cmd.Flags().Int64Var(&step, "step", 0, "step of the points (default: the next)")
	return Command{Command: cmd}
}

func logParam(env *Env, l *logFlags) Command {
	return Command{Command: &cobra.Command{
		Use:   "param NAME=VALUE...",
		Short: "Log params, each written once",
		Long: `Log params, all of them or none. A param is written once: the same value again is
fine, another one is a conflict (exit status 5).`,
		Args: wantArgs(1, -1, "at least one NAME=VALUE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			params, err := logstream.Params(args)
			if err != nil {
				return err
			}
			target, err := env.logTarget(cmd.Context(), l.run)
			if err != nil {
				return err
			}
			return env.logOnce(cmd.Context(), target, metastore.Batch{Params: params})
		},
	}}
}

func logTag(env *Env, l *logFlags) Command {
	var remove bool
	cmd := &cobra.Command{
		Use:   "tag NAME=VALUE... | --delete NAME...",
		Short: "Set tags, or take them away",
		Long: `Set tags, all of them or none; --delete takes tags away. Some have a meaning: a run
with the tag name=N is @N, and experiment=ID links it to an experiment.`,
		Args: wantArgs(1, -1, "at least one NAME=VALUE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			var tags []quant.Tag
			if !remove {
				var err error
				if tags, err = logstream.Tags(args); err != nil {
					return err
				}
			}
			target, err := env.logTarget(ctx, l.run)
			if err != nil {
				return err
			}
			if !remove {
				return env.logOnce(ctx, target, metastore.Batch{Tags: tags})
			}
			if err := env.Registry.DeleteTags(ctx, target, args); err != nil {
				return err
			}
			report := logReport{logstream.Counts{RunID: quant.Text(target), Removed: len(args)}}
			env.recordLogged(report.Counts)
			return env.printLogged(report)
		},
	}
	cmd.Flags().BoolVar(&remove, "delete", false, "take tags of these names away")
	return Command{Command: cmd}
}

func logNote(env *Env, l *logFlags) Command {
	return Command{Command: &cobra.Command{
		Use:   "note TEXT",
		Short: "Add a note; - reads it from standard input",
		Args:  wantArgs(1, 1, "one text, in quotes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			target, err := env.logTarget(ctx, l.run)
			if err != nil {
				return err
			}
			text := args[0]
			if text == "-" {
				b, err := whileWaiting(ctx, func() ([]byte, error) {
					return io.ReadAll(io.LimitReader(env.Streams().In, quant.MaxNoteText+2))
				})
				if err != nil {
					return quant.Errorf(quant.Failed, "read the note from standard input: %w", err).WithHint("give it as an argument")
				}
				text = strings.TrimRight(string(b), "\r\n")
			}
			return env.logOnce(ctx, target, metastore.Batch{Notes: []quant.Note{{Text: text}}})
		},
	}}
}

// loggedArtifact is an artifact as `log artifact` shows it.
type loggedArtifact struct {
	RunID  string `json:"run_id"`
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Bytes  int64  `json:"bytes"`
}

func logArtifact(env *Env, l *logFlags) Command {
	var name string
	cmd := &cobra.Command{
		Use:   "artifact PATH...",
		Short: "Keep files that a run made; - reads standard input",
		Long: `Keep the contents of files, under their own names or --name; of a folder all of
its files, by their paths within it, below --name if it is given. A folder with
anything else in it (a link that leads out of it, a pipe) is refused as a whole.
- reads standard input, and needs --name. All names are recorded, or none. A name
with the same content again is fine; with another one it is a conflict (exit
status 5).`,
		Args: wantArgs(1, -1, "at least one path"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if cmd.Flags().Changed("name") {
				if len(args) > 1 {
					return quant.Errorf(quant.Usage, "--name stands for %d paths", len(args)).WithHint("log them one by one, or leave it out")
				}
				if err := quant.ValidateArtifactName(name); err != nil {
					return err
				}
			}
			target, err := env.logTarget(ctx, l.run)
			if err != nil {
				return err
			}
			var b metastore.Batch
			for _, arg := range args {
				list, err := env.keepArtifacts(ctx, arg, name)
				if err != nil {
					return err
				}
				b.Artifacts = append(b.Artifacts, list...)
			}
			if err := env.Registry.Log(ctx, target, b); err != nil {
				return err
			}
			var counts logstream.Counts
			counts.Add(b)
			env.recordLogged(counts)
			rows := []loggedArtifact{}
			for _, a := range b.Artifacts {
				rows = append(rows, loggedArtifact{target, env.Mask.Text(a.Name), a.Digest, a.Bytes})
			}
			return env.printLogged(rows)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the artifact, or of the folder: a relative path with slashes")
	return Command{Command: cmd}
}

// keepArtifacts stores the contents at a path, or of standard input, and returns
// them as artifacts, named name where that is not empty.
func (e *Env) keepArtifacts(ctx context.Context, file, name string) ([]quant.Artifact, error) {
	if file != "-" {
		return e.Artifacts().PutPath(ctx, file, name)
	}
	if name == "" {
		return nil, quant.Errorf(quant.Usage, "what standard input gives has no name").WithHint("add --name NAME")
	}
	a, err := whileWaiting(ctx, func() (quant.Artifact, error) { return e.Artifacts().KeepFrom(ctx, e.Streams().In, name) })
	if err != nil && quant.CodeOf(err) == quant.Failed && ctx.Err() == nil {
		err = quant.Errorf(quant.Failed, "read artifact %s from standard input: %w", name, err).WithHint("nothing was recorded; try again")
	}
	return []quant.Artifact{a}, err
}
