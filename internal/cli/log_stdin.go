package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/exec"
	"quant/internal/logstream"
	"quant/internal/output"
)

// logLinesReport is the result of log --stdin.
type logLinesReport struct{ logstream.Report }

// logCounts is the result as one row.
type logCounts struct {
	logstream.Counts
	Lines    int `json:"lines"`
	Stored   int `json:"stored"`
	BadLines int `json:"bad_lines"`
}

func (r logLinesReport) counts() logCounts {
	return logCounts{r.Counts, r.Lines, r.Stored, r.Lines - r.Stored}
}

func (r logLinesReport) CSVRows() any { return []logCounts{r.counts()} }

func (r logLinesReport) Sections() []output.Section {
	sections := []output.Section{{Rows: []logCounts{r.counts()}}}
	if len(r.Bad) > 0 {
		sections = append(sections, output.Section{Title: "bad lines", Rows: r.Bad})
	}
	return sections
}

func (e *Env) logLines(ctx context.Context, f logFlags) error {
	target, noTarget := e.logTarget(ctx, f.run)
	if noTarget != nil && (f.run != "" || e.ParentRun != "" || e.Run == nil) {
		return noTarget
	}
	stream := e.logStream(f)
	stream.Run, stream.NoRun = target, noTarget
	report, err := stream.Store(ctx)
	e.recordLogged(report.Counts)
	if err != nil {
		if _, signal := errors.AsType[quant.Signalled](err); signal || errors.Is(err, context.Canceled) {
			e.Notice("%s stored before the end", quant.Count(report.Stored, "line"))
		}
		return err
	}
	if err := e.Print(logLinesReport{report}); err != nil {
		return err
	}
	return report.Err()
}

// logStream is standard input as a stream for no run yet.
func (e *Env) logStream(f logFlags) logstream.Stream {
	return logstream.Stream{
		In: e.Streams().In, Sink: e.Registry, Now: e.Now, Strict: f.strict,
		Resolve: e.Resolve,
		Keep:    e.Artifacts().PutPath,
		Mask:    e.Mask.Text,
		Warn:    e.Warn,
	}
}

// startedRun is the result of log --start.
type startedRun struct {
	RunID string `json:"run_id"`
	Kind  string `json:"kind"`
}

func (r startedRun) CSVRows() any { return []startedRun{r} }

func (e *Env) logOwnRun(cmd *cobra.Command, f logFlags, argv []string) error {
	usage := "write: quant log --stdin --start KIND -- PROGRAM [ARG...]"
	switch {
	case f.start == "" || !f.stdin || cmd.ArgsLenAtDash() != 0 || len(argv) == 0:
		return quant.Errorf(quant.Usage, "a program's command line and --stdin go with --start, and stand behind --").WithHint("%s", usage)
	case f.run != "":
		return quant.Errorf(quant.Usage, "--run and --start exclude one another").WithHint("--run logs to a run that there is, --start starts one")
	case e.Run == nil:
		return quant.Errorf(quant.CodeOf(e.MetaErr), "no run can be started: %w", e.MetaErr).WithHint("%s", quant.HintOf(e.MetaErr))
	}
	if err := checkSample(cmd, f.sample); err != nil {
		return err
	}
	ctx := cmd.Context()
	first, err := labels(ctx, e.Session, f.name, f.experiment, nil, nil)
	if err != nil {
		return err
	}
	report, err := exec.FollowProgram(ctx, e.Session, exec.Follow{
		Kind: f.start, Argv: argv, Parent: e.ParentRun, First: first, Stream: e.logStream(f), Environ: e.Environ, KeepSecrets: f.keepSecrets, Sample: f.sample,
		Started: func(runID string) error {
			if err := e.Print(startedRun{runID, f.start}); err != nil {
				return err
			}
			return e.Flush(ctx) // the program waits for it
		},
	})
	e.recordLogged(report.Counts)
	if err != nil {
		return err
	}
	return report.Err()
}
