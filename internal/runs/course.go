package runs

import (
	"bytes"
	"context"
	"time"

	"quant"
	"quant/internal/chart"
	"quant/internal/metastore"
)

// What a Plot has from left to right: the steps, or the seconds since the run
// started.
const (
	ByStep = "step"
	ByTime = "time"
)

// PlotOptions say what is drawn of a metric.
type PlotOptions struct {
	Metric string
	X      string // ByStep or ByTime
	LogY   bool   // values that are not positive are left out
	// Columns is for how many columns points are kept: each keeps its first, lowest,
	// highest and last, so that no spike is lost.
	Columns int
	// Clean makes texts of runs fit to be drawn; nil: they are.
	Clean func(text string) string
	// Missing is told of a run that has no such metric; nil: it is left out.
	Missing func(runID string)
}

// Plot is the course of a metric, one line a run.
type Plot struct {
	Metric string   `json:"metric"`
	X      string   `json:"x"`
	Runs   []Course `json:"runs"`

	figure chart.Figure
}

// Course is the line of one run.
type Course struct {
	RunID  string        `json:"run_id"`
	Name   quant.Text    `json:"name"`
	Points int64         `json:"points"` // that were logged
	Drawn  []CoursePoint `json:"drawn"`
}

// CoursePoint is one point of a Course.
type CoursePoint struct {
	X     float64 `json:"x"`
	Value float64 `json:"value"`
}

// ReadPlot reads a metric of runs, those without it left out. Its memory is that
// of the columns, however many points there are. Errors: NotFound where no run
// has it, the store's, ctx's cause.
func ReadPlot(ctx context.Context, meta metastore.Store, ids []string, o PlotOptions) (Plot, error) {
	clean := func(text string) string {
		if o.Clean == nil {
			return text
		}
		return o.Clean(text)
	}
	plot := Plot{Metric: o.Metric, X: o.X, Runs: []Course{}, figure: chart.Figure{Title: clean(o.Metric), LogY: o.LogY}}
	unit := 1.0
	if o.X == ByTime {
		unit = 1e-6
		plot.figure.LabelX = func(seconds float64) string {
			return (time.Duration(seconds*1000) * time.Millisecond).String()
		}
	}
	list, err := meta.RunsOf(ctx, ids)
	if err != nil {
		return plot, err
	}
	names, err := meta.NamesOf(ctx, ids)
	if err != nil {
		return plot, err
	}
	for _, run := range list {
		label := quant.ShortID(run.RunID)
		if names[run.RunID] != "" {
			label += " " + clean(quant.Clip(names[run.RunID], 40))
		}
		line := chart.NewSeries(label, o.Columns, unit)
		n := 0
		err := meta.EachMetricPoint(ctx, run.RunID, o.Metric, func(p quant.MetricPoint) error {
			if n++; n%4096 == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			x := float64(p.Step)
			if o.X == ByTime {
				x = p.LoggedAt.Sub(run.StartedAt.Time).Seconds()
			}
			line.Add(x, p.Value)
			return nil
		})
		if err != nil {
			return plot, err
		}
		if line.Added() == 0 {
			if o.Missing != nil {
				o.Missing(run.RunID)
			}
			continue
		}
		course := Course{RunID: run.RunID, Name: quant.Text(names[run.RunID]), Points: line.Added(), Drawn: []CoursePoint{}}
		for _, p := range line.Points() {
			if !o.LogY || p.Y > 0 {
				course.Drawn = append(course.Drawn, CoursePoint{p.X, p.Y})
			}
		}
		plot.figure.Lines, plot.Runs = append(plot.figure.Lines, line), append(plot.Runs, course)
	}
	if len(plot.Runs) == 0 {
		return plot, quant.Errorf(quant.NotFound, "no metric %q in these runs", quant.Clip(o.Metric, 200)).
			WithHint("`quant runs show %s` lists the metrics of a run", quant.ShortID(ids[0]))
	}
	return plot, nil
}

// The formats of Picture.
const (
	PNG = "png"
	SVG = "svg"
)

// Picture draws the plot as a file in a format, so many pixels large. Invalid: a
// logarithmic scale shows nothing of it.
func (p Plot) Picture(format string, width, height int) ([]byte, error) {
	draw := p.figure.PNG
	if format == SVG {
		draw = p.figure.SVG
	}
	var drawn bytes.Buffer
	ok, err := draw(&drawn, width, height)
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "draw metric %q: %w", p.Metric, err)
	}
	if !ok {
		return nil, p.nothingToDraw()
	}
	return drawn.Bytes(), nil
}

// Text draws the plot as lines of text. Invalid: as of Picture.
func (p Plot) Text(width, height int) ([]string, error) {
	lines := p.figure.Text(width, height)
	if lines == nil {
		return nil, p.nothingToDraw()
	}
	return lines, nil
}

func (p Plot) nothingToDraw() error {
	return quant.Errorf(quant.Invalid, "metric %q has no positive value, so that a logarithmic scale shows nothing", p.Metric).WithHint("leave --log-y out")
}
