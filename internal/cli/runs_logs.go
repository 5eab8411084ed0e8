package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/exec/transcript"
	"quant/internal/output"
	"quant/internal/runs"
)

// followEvery is how often a log that is followed is looked at.
const followEvery = 100 * time.Millisecond

// printedLog is what a program printed, as JSON and CSV have it.
type printedLog struct {
	RunID    string `json:"run_id"`
	Bytes    int64  `json:"bytes"`     // that were to be kept
	CutBytes int64  `json:"cut_bytes"` // of these, that are not
	Text     string `json:"text"`      // what is no UTF-8 is U+FFFD
}

// logLine is a line of a log.
type logLine struct {
	Line int    `json:"line"`
	Text string `json:"text"`
}

func (r printedLog) CSVRows() any {
	rows := []logLine{}
	for line := range strings.Lines(r.Text) {
		rows = append(rows, logLine{len(rows) + 1, strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")})
	}
	return rows
}

func runsLogs(env *Env) Command {
	var follow bool
	var lines int
	cmd := &cobra.Command{
		Use:   "logs RUN",
		Short: "Show what the program of a run printed",
		Long: `Show what a program printed that ran under ` + "`quant exec`" + `: stdout and stderr, line
by line in the order in which they came, with secrets masked. Where a part was
not kept (--log-max, a full disk), a line says how much that is.

On a terminal only colours remain of its control sequences, and each state of a
progress bar is a line: what a program printed can neither rewrite the screen nor
hide anything. Into a pipe or a file it goes as it was kept.`,
		Args: wantArgs(1, 1, "one run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("lines") {
				lines = -1
			} else if lines < 0 {
				return quant.Errorf(quant.Usage, "--lines %d is negative", lines).WithHint("leave it out to see all")
			}
			if follow && env.Format != output.Table {
				return quant.Errorf(quant.Usage, "--follow has no end that --output %s could wait for", env.Format).
					WithHint("leave one of the two out")
			}
			return env.showLog(cmd.Context(), args[0], lines, follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is printed until the run ends")
	cmd.Flags().VarP(newWhole(&lines, 0), "lines", "n", "only the last so many lines (default all)")
	return Command{Command: cmd}
}

func (e *Env) showLog(ctx context.Context, ref string, lines int, follow bool) error {
	meta, err := e.MetaDB()
	if err != nil {
		return err
	}
	id, err := e.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	log, err := runs.OpenLog(ctx, runs.LogOptions{Meta: meta, Registry: e.Registry, RunID: id, Path: e.LogFile(id), Artifacts: e.Artifacts(), Every: followEvery}, follow)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // it was only read
	if e.Format != output.Table {
		var text strings.Builder
		if err := log.Copy(&text, lines); err != nil {
			return err
		}
		return e.Print(printedLog{RunID: id, Bytes: log.Total(), CutBytes: log.Cut(), Text: strings.ToValidUTF8(text.String(), "\uFFFD")})
	}
	show := func(w io.Writer) error {
		if follow {
			return log.Follow(ctx, flushing{w, func() error { return e.Flush(ctx) }}, lines)
		}
		return log.Copy(w, lines)
	}
	if !output.IsTerminal(e.Streams().Out) {
		return show(e.Out())
	}
	screen := &transcript.Screen{W: e.Out(), Colour: !e.NoColor}
	return errors.Join(show(screen), screen.Close())
}

// flushing shows at once what a log that is followed gives.
type flushing struct {
	io.Writer
	flush func() error
}

// Flush is called between two looks at the log.
func (f flushing) Flush() error { return f.flush() }
