package cli

import (
	"context"
	"errors"

	"quant"
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
	report, err := logstream.Stream{
		In: e.Streams().In, Sink: e.Registry, Now: e.Now, Run: target, NoRun: noTarget, Strict: f.strict,
		Resolve: e.Resolve,
		Keep:    e.Artifacts().PutPath,
		Mask:    e.Mask.Text,
		Warn:    e.Warn,
	}.Store(ctx)
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
