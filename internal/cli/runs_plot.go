package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/durable"
	"quant/internal/output"
	"quant/internal/runs"
)

func runsPlot(env *Env) Command {
	var f plotFlags
	cmd := &cobra.Command{
		Use:   "plot METRIC RUN...",
		Short: "Draw a metric of runs: to the terminal, as PNG or as SVG",
		Long: `Draw the course of a metric, one line a run, to the terminal, or with --out to a
file: a picture (.png) or a drawing (.svg) that needs nothing else.

--x step has the steps from left to right, --x time the time since each run
started. --log-y leaves values out that are not positive. Of many points a column
of the drawing shows the first, lowest, highest and last, so that no spike is
lost; JSON and CSV have the points that are drawn.

A file is written whole or not at all. One that is there already is not
overwritten (exit status 5), unless --force.`,
		Example: `  quant runs plot loss last @baseline
  quant runs plot loss last:exec --log-y --out loss.svg`,
		Args: wantArgs(2, 1+runs.MaxCompared, fmt.Sprintf("a metric and 1 to %d runs", runs.MaxCompared)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd.Flags().Changed); err != nil {
				return err
			}
			return env.plot(cmd.Context(), args[0], args[1:], f)
		},
	}
	cmd.Flags().StringVar(&f.out, "out", "", "the file to write, .png or .svg")
	cmd.Flags().BoolVar(&f.force, "force", false, "overwrite the file that --out names")
	cmd.Flags().StringVar(&f.x, "x", runs.ByStep, "step or time")
	cmd.Flags().BoolVar(&f.logY, "log-y", false, "a logarithmic scale of values")
	cmd.Flags().IntVar(&f.width, "width", 0, "columns, or pixels of a file (default the terminal's, or 1200)")
	cmd.Flags().IntVar(&f.height, "height", 0, "lines, or pixels of a file (default 16, or 600)")
	return Command{Command: cmd}
}

type plotFlags struct {
	out, x        string
	force, logY   bool
	width, height int
}

// format is that of the file to write, as its name has it.
func (f plotFlags) format() string {
	return strings.TrimPrefix(strings.ToLower(filepath.Ext(f.out)), ".")
}

func (f *plotFlags) check(changed func(string) bool) error {
	if f.x != runs.ByStep && f.x != runs.ByTime {
		return quant.Errorf(quant.Usage, "--x %q is not known", f.x).WithHint("use step or time")
	}
	least, most, unit := [2]int{20, 4}, [2]int{1000, 200}, "letters"
	if changed("out") {
		if format := f.format(); format != runs.PNG && format != runs.SVG {
			return quant.Errorf(quant.Usage, "--out %q is no name of a picture", f.out).WithHint("name a file that ends in .png or .svg")
		}
		least, most, unit = [2]int{300, 200}, [2]int{4000, 4000}, "pixels"
	} else if f.force {
		return quant.Errorf(quant.Usage, "--force is for a file").WithHint("name one with --out")
	}
	for i, size := range []struct {
		flag  string
		value int
	}{{"width", f.width}, {"height", f.height}} {
		if changed(size.flag) && (size.value < least[i] || size.value > most[i]) {
			return quant.Errorf(quant.Usage, "--%s %d is not within %d to %d %s", size.flag, size.value, least[i], most[i], unit)
		}
	}
	return nil
}

// plotReport is the result of runs plot.
type plotReport struct {
	runs.Plot
	File *writtenChart `json:"file"` // null: drawn to the terminal

	lines []string
}

type writtenChart struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

type plottedRow struct {
	RunID  string  `json:"run_id"`
	Metric string  `json:"metric"`
	X      float64 `json:"x"`
	Value  float64 `json:"value"`
}

func (r plotReport) CSVRows() any {
	rows := []plottedRow{}
	for _, run := range r.Runs {
		for _, p := range run.Drawn {
			rows = append(rows, plottedRow{run.RunID, r.Metric, p.X, p.Value})
		}
	}
	return rows
}

func (r plotReport) Sections() []output.Section {
	if r.File != nil {
		return []output.Section{{Lines: []string{fmt.Sprintf("%s  %s", r.File.Path, quant.Bytes(r.File.Bytes))}}}
	}
	return []output.Section{{Lines: r.lines}}
}

func (e *Env) plot(ctx context.Context, metric string, refs []string, f plotFlags) error {
	meta, err := e.MetaDB()
	if err != nil {
		return err
	}
	ids, err := e.ResolveAll(ctx, refs)
	if err != nil {
		return err
	}
	if f.out != "" {
		if err := mayCreate(f.out, f.force); err != nil {
			return err
		}
	}
	if f.width == 0 {
		f.width = 1200
		if f.out == "" {
			if f.width = min(output.Width(e.Streams().Out), 160); f.width == 0 {
				f.width = 80
			}
		}
	}
	if f.height == 0 {
		f.height = 600
		if f.out == "" {
			f.height = 16
		}
	}
	plot, err := runs.ReadPlot(ctx, meta, ids, runs.PlotOptions{
		Metric: metric, X: f.x, LogY: f.logY, Columns: f.width,
		Clean: func(text string) string { return output.Clean(e.Secrets.Known(strings.ReplaceAll(text, "\n", " "))) },
		Missing: func(id string) {
			e.Notice("run %s has no metric %q", quant.ShortID(id), quant.Clip(metric, 200))
		},
	})
	if err != nil {
		return err
	}
	report := plotReport{Plot: plot}
	if f.out == "" {
		if report.lines, err = plot.Text(f.width, f.height); err != nil {
			return err
		}
		return e.Print(report)
	}
	drawn, err := plot.Picture(f.format(), f.width, f.height)
	if err != nil {
		return err
	}
	defer e.Target(f.out)()
	if err := createFile(f.out, f.force, durable.Bytes(drawn)); err != nil {
		return err
	}
	report.File = &writtenChart{e.Mask.Text(f.out), int64(len(drawn)), durable.Digest(drawn)}
	e.record(quant.RunIO{Direction: quant.Out, Kind: quant.IOFile, Name: f.out, Digest: quant.Text(report.File.Digest)})
	return e.Print(report)
}
