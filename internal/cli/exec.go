package cli

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/exec"
	"quant/internal/exec/sample"
	"quant/internal/metastore"
	"quant/internal/registry"
	"quant/internal/session"
)

const defaultLogMax = 64 << 20

func execCommand(env *Env) Command {
	var name, experiment string
	var tags, params []string
	var keepSecrets bool
	var every time.Duration
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
the git commit and what differs from it, also in submodules (artifact code.diff),
and for Python the packages that are installed (artifact python-packages.txt).
What the program prints is kept in a log, masked, as far as the disk has room
beside the record; ` + "`quant runs logs`" + ` shows it. The error of a run that failed
ends with the last line that its program printed on stderr.

With --sample 1s, what all processes of the program use is recorded as metrics of the
run, every second: system.cpu_cores, system.memory_bytes, system.processes,
system.read_bytes, system.write_bytes, and of each NVIDIA accelerator
system.gpu.N.utilization, system.gpu.N.memory_bytes, system.gpu.N.program_memory_bytes.

In code.diff, secrets that are written out (api_key = "...", a password in a URL,
a private key) are masked, and ` + "`quant runs rerun --code`" + ` refuses new lines that
were; --keep-secrets keeps them, for everybody who can read the lab, its exports
and its backups.

The program finds QUANT_RUN_ID, QUANT_DATA_DIR, QUANT_SQLITE_PATH and
QUANT_DUCKDB_PATH in its environment, so that every quant that it starts works in
the same lab and is recorded as part of this run. Nothing of .env reaches it.

exec ends when the program does. What the program leaves running in the background
lives on; what that prints from then on is not in the log: it goes on to a terminal,
a file or a device, and is dropped where stdout or stderr is a pipe, whose reader is
done. On macOS, where stdin and stdout are a terminal, the end of the program hangs
up (SIGHUP) what it leaves in its own process group: setsid or nohup keeps it. After
a signal that ends the program, exec names the processes that still run.`,
		Example: `  quant exec -- python train.py --lr 0.1
  quant exec --name baseline --tag team=alpha --param lr=0.1 -- ./train.sh
  quant exec --log-max 1GiB -- sh -c 'for i in 1 2 3; do ./step $i; done'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkSample(cmd, every); err != nil {
				return err
			}
			return exec.Run(cmd.Context(), env.Session, exec.Options{
				Argv: args, Environ: env.Environ, Streams: exec.Streams(env.Streams()), Signals: env.TakeSignals, LogMax: int64(logMax),
				KeepSecrets: keepSecrets, Sample: every,
				Program: thisProgram(), Say: func(text string) { env.Warn("%s", text) },
			})
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
	cmd.Flags().StringVar(&name, "name", "", "name of the run: quant runs show @NAME finds it")
	cmd.Flags().StringVar(&experiment, "experiment", "", "id or name of the experiment that the run belongs to")
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "tag of the run, K=V; may be given more than once")
	cmd.Flags().StringArrayVar(&params, "param", nil, "param of the run, K=V; may be given more than once")
	cmd.Flags().BoolVar(&keepSecrets, "keep-secrets", false, "keep uncommitted code exactly, with the secrets that are written out in it")
	sampleFlag(cmd, &every)
	cmd.Flags().Var(&logMax, "log-max", "most that is kept of what the program prints, such as 512KiB or 1GiB (0: nothing): half of it from the beginning, half from the end")
	return Command{
		Command: cmd,
		Traits: Traits{
			Changes: always, Silent: true, Failure: exec.Failed,
			Records: func(ctx context.Context) (metastore.Batch, error) {
				return labels(ctx, env.Session, name, experiment, tags, params)
			},
		},
	}
}

func sampleFlag(cmd *cobra.Command, every *time.Duration) {
	cmd.Flags().Var(newDuration(every, 0), "sample", "record what the program's processes use, so often, such as 1s (default: not at all)")
	cmd.Flags().Lookup("sample").DefValue = "" // 0s is refused
}

func checkSample(cmd *cobra.Command, every time.Duration) error {
	if !cmd.Flags().Changed("sample") {
		return nil
	}
	if err := sample.CheckEvery(every); err != nil {
		return quant.Errorf(quant.Usage, "--sample: %w", err).WithHint("%s", quant.HintOf(err))
	}
	return nil
}

// labels are the tags and params that flags give to the session's run.
func labels(ctx context.Context, s *session.Session, name, experiment string, tags, params []string) (metastore.Batch, error) {
	var b metastore.Batch
	runID := s.RunID()
	if runID == "" {
		runID = "-"
	}
	tag := func(name, value string) error {
		t := quant.Tag{RunID: runID, Name: name, Value: value}
		b.Tags = append(b.Tags, t)
		return t.Validate()
	}
	for _, text := range tags {
		k, v, found := strings.Cut(text, "=")
		if !found {
			return metastore.Batch{}, quant.Errorf(quant.Usage, "--tag %q is not of the form K=V", text).WithHint("write --tag team=alpha")
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
		meta, err := s.MetaDB()
		if err != nil {
			return metastore.Batch{}, err
		}
		id, err := registry.ResolveExperiment(ctx, meta, experiment)
		if err != nil {
			return metastore.Batch{}, err
		}
		if err := tag(quant.ExperimentTag, id); err != nil {
			return metastore.Batch{}, err
		}
	}
	for _, text := range params {
		k, v, found := strings.Cut(text, "=")
		if !found {
			return metastore.Batch{}, quant.Errorf(quant.Usage, "--param %q is not of the form K=V", text).WithHint("write --param lr=0.1")
		}
		p := quant.Param{RunID: runID, Name: k, Value: v}
		if err := p.Validate(); err != nil {
			return metastore.Batch{}, err
		}
		b.Params = append(b.Params, p)
	}
	return b, nil
}

// thisProgram is the file that this process runs, also after another one has taken
// its name; "" if it is not known.
func thisProgram() string {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self
	}
	file, err := os.Executable()
	if err != nil {
		return ""
	}
	return file
}
