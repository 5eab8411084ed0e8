package pages

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"quant"
	"quant/internal/metastore"
	"quant/internal/pipeline"
	"quant/internal/runs"
)

// The bounds of one chart of several runs.
const (
	maxLines    = 40
	linePoints  = 500       // of each run
	wholePoints = 1_000_000 // up to so many in all are read one by one
)

// comparedChart is a metric of several runs as the browser draws it.
type comparedChart struct {
	Title string         `json:"title"`
	X     string         `json:"x"`    // step, or time: seconds since each run started
	Note  string         `json:"note"` // what is not shown; "": all is
	Lines []comparedLine `json:"lines"`
}

type comparedLine struct {
	ID    string    `json:"id"`
	Label string    `json:"label"`
	X     []float64 `json:"x"`
	Y     []float64 `json:"y"`
}

// comparePoints answers with the courses of a metric.
func (p *pages) comparePoints(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	c := readCompareRequest(r)
	q := r.URL.Query()
	doc := comparedChart{Title: q.Get("metric"), X: q.Get("x"), Lines: []comparedLine{}}
	if doc.X == "" {
		doc.X = runs.ByStep
	}
	if doc.X != runs.ByStep && doc.X != runs.ByTime {
		return quant.Errorf(quant.Usage, "x is %q, and a chart has step or time from left to right", quant.Clip(doc.X, 20))
	}
	found, err := p.choose(ctx, c)
	if err != nil {
		return err
	}
	if len(found.ids) == 0 {
		return quant.Errorf(quant.Usage, "no run is named")
	}
	sums, err := p.Meta.MetricsOf(ctx, found.ids)
	if err != nil {
		return err
	}
	sums = slices.DeleteFunc(sums, func(m quant.Metric) bool { return m.Name != doc.Title })
	if len(sums) == 0 {
		return quant.Errorf(quant.NotFound, "no metric %q in these runs", quant.Clip(doc.Title, 200))
	}
	if len(sums) > maxLines {
		best := "with the highest last values"
		direction := c.direction(metastore.Field{Of: metastore.MetricOf, Name: doc.Title})
		slices.SortStableFunc(sums, func(a, b quant.Metric) int {
			if direction == runs.Lower {
				a, b = b, a
			}
			switch {
			case a.Last > b.Last:
				return -1
			case a.Last < b.Last:
				return 1
			}
			return 0
		})
		if direction == runs.Lower {
			best = "with the lowest last values"
		}
		doc.Note = fmt.Sprintf("%d of %s runs, %s. ", maxLines, thousands(int64(len(sums))), best)
		sums = sums[:maxLines]
	}
	if err := p.readLines(ctx, &doc, sums); err != nil {
		return err
	}
	return p.json(w, r, doc)
}

// readLines reads so many points of each run as a chart needs, and says so.
func (p *pages) readLines(ctx context.Context, doc *comparedChart, sums []quant.Metric) error {
	ids, total, most := make([]string, len(sums)), int64(0), int64(0)
	for i, m := range sums {
		ids[i] = m.RunID
		total, most = total+m.Points, max(most, m.Points)
	}
	names, err := p.Meta.NamesOf(ctx, ids)
	if err != nil {
		return err
	}
	label := func(id string) string {
		if names[id] != "" {
			return quant.Clip(names[id], 40) + " " + quant.ShortID(id)
		}
		return quant.ShortID(id)
	}
	if total <= wholePoints {
		plot, err := runs.ReadPlot(ctx, p.Meta, ids, runs.PlotOptions{Metric: doc.Title, X: doc.X, Columns: linePoints / 4})
		if err != nil {
			return err
		}
		drawn := 0
		for _, course := range plot.Runs {
			line := comparedLine{ID: course.RunID, Label: label(course.RunID), X: make([]float64, len(course.Drawn)), Y: make([]float64, len(course.Drawn))}
			for i, point := range course.Drawn {
				line.X[i], line.Y[i] = point.X, point.Value
			}
			drawn += len(course.Drawn)
			doc.Lines = append(doc.Lines, line)
		}
		if int64(drawn) < total {
			doc.Note += fmt.Sprintf("%s of %s points: of each column the first, lowest, highest and last.", thousands(int64(drawn)), thousands(total))
		}
		return nil
	}
	list, err := p.Meta.RunsOf(ctx, ids)
	if err != nil {
		return err
	}
	drawn := 0
	for _, run := range list {
		points, err := p.Meta.MetricSample(ctx, run.RunID, doc.Title, linePoints)
		if err != nil {
			return err
		}
		line := comparedLine{ID: run.RunID, Label: label(run.RunID), X: []float64{}, Y: []float64{}}
		for _, point := range points {
			x := float64(point.Step)
			if doc.X == runs.ByTime {
				x = point.LoggedAt.Sub(run.StartedAt.Time).Seconds()
			}
			line.X, line.Y = append(line.X, x), append(line.Y, point.Value)
		}
		drawn += len(points)
		doc.Lines = append(doc.Lines, line)
	}
	doc.Note += fmt.Sprintf("%s of %s points, spread evenly.", thousands(int64(drawn)), thousands(total))
	return nil
}

// compareDeflated answers with what the number of trials leaves of a Sharpe ratio.
// It reads facts, so the page asks for it once it stands.
func (p *pages) compareDeflated(w http.ResponseWriter, r *http.Request) error {
	id, err := p.Resolve(r.Context(), r.URL.Query().Get("run"))
	if err != nil {
		return err
	}
	judged, err := pipeline.JudgeBacktest(r.Context(), p.Session, id)
	text := judged.String()
	if err != nil {
		text = "not judged by the number of trials: " + err.Error()
	}
	return p.part(w, r, "compare.html", "judged", text)
}
