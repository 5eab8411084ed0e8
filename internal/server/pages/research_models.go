package pages

import (
	"cmp"
	"encoding/json"
	"math"
	"net/http"
	"slices"

	"quant"
	"quant/internal/model"
	"quant/internal/pipeline"
	"quant/internal/session"
)

// modelRow is a model in a list.
type modelRow struct {
	quant.Model
	Metrics model.Metrics
}

func (p *pages) modelList(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	from, err := fromOf(r, "start")
	if err != nil {
		return err
	}
	experiment := r.URL.Query().Get("experiment")
	all, err := pipeline.ListModels(r.Context(), s, experiment)
	if err != nil {
		return err
	}
	part := all[min(from, len(all)):min(from+listSize, len(all))]
	rows := make([]modelRow, len(part))
	for i, m := range part {
		rows[i].Model = m
		_ = json.Unmarshal(m.MetricsJSON, &rows[i].Metrics) // another program's may not fit: no figures then
	}
	return p.show(w, r, view{File: "research_models.html", Styles: []string{"research.css"}, Title: "Models", Section: "/models", Data: struct {
		List       []modelRow
		Pager      pager
		Experiment string
	}{rows, newPager(r, "start", from, len(rows), listSize, int64(len(all)), "model"), experiment}})
}

func (p *pages) modelPage(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	report, err := pipeline.ShowModel(r.Context(), s, r.PathValue("id"))
	if err != nil {
		return err
	}
	runID, err := pipeline.ModelRun(r.Context(), s, report.ModelID)
	if err != nil {
		return err
	}
	folds := report.Metrics.Folds
	logistic := slices.ContainsFunc(folds, func(f model.FoldMetrics) bool { return f.AUC != nil })
	lines := []plotLine{{Name: "IC", Color: "c1", Kind: barLine}, {Name: "RankIC", Color: "c3"}}
	d := &plotFigure{Title: "Information coefficient by fold, out of sample", factPlot: factPlot{Lines: lines, Height: 180, XName: "fold"}}
	for i, f := range folds {
		d.X = append(d.X, float64(i+1))
		d.Lines[0].Y, d.Lines[1].Y = append(d.Lines[0].Y, shortOf(f.IC)), append(d.Lines[1].Y, shortOf(f.RankIC))
	}
	d.Summary = lineEnds("RankIC", d.Lines[1].Y)
	return p.show(w, r, view{
		File: "research_model.html", Title: report.ModelID, Section: "/models", Scripts: plotScripts(), Styles: plotStyles(),
		Data: struct {
			pipeline.ModelReport
			RunID    string
			Logistic bool
			Plot     *plotFigure
			Weighed  []weighed
		}{report, runID, logistic, d, weigh(report.Coefficients)},
	})
}

// weighed is a coefficient beside the others.
type weighed struct {
	Name  string
	Value float64
	Share float64 // of the largest, whatever its sign
}

// weigh sorts coefficients by size: they are of features in standard deviations.
func weigh(list []model.Coefficient) []weighed {
	largest := 0.0
	out := make([]weighed, len(list))
	for i, c := range list {
		out[i] = weighed{Name: c.Feature.String(), Value: c.Coefficient}
		largest = max(largest, math.Abs(c.Coefficient))
	}
	for i := range out {
		if largest > 0 {
			out[i].Share = math.Abs(out[i].Value) / largest
		}
	}
	slices.SortStableFunc(out, func(a, b weighed) int { return cmp.Compare(b.Share, a.Share) })
	return out
}
