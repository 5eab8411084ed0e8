package pages

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"quant"
	"quant/internal/feature"
	"quant/internal/pipeline"
	"quant/internal/session"
)

// factorForm is what a factor report is asked for.
type factorForm struct {
	Features, Labels []string // name@version of what has been computed
	Feature, Label   string
	From, To         string
	Quantiles        int
	Recorded         string // address of the runs of the command
}

func readFactorForm(r *http.Request, s *session.Session) (factorForm, error) {
	q := r.URL.Query()
	f := factorForm{Feature: q.Get("feature"), Label: q.Get("label"), From: q.Get("from"), To: q.Get("to"), Quantiles: 5,
		Recorded: "/runs?" + url.Values{"q": {`kind = "factor.report"`}, "all": {"1"}}.Encode()}
	if text := q.Get("quantiles"); text != "" {
		var err error
		if f.Quantiles, err = strconv.Atoi(text); err != nil {
			return f, quant.Errorf(quant.Usage, "quantiles %q is no number", text).WithHint("5 is usual")
		}
	}
	features, labels, err := pipeline.StoredFactors(r.Context(), s)
	if err != nil {
		return f, err
	}
	for _, one := range features {
		if one.ScaleFree {
			f.Features = append(f.Features, one.Name+"@"+one.Version)
		}
	}
	for _, one := range labels {
		f.Labels = append(f.Labels, one.Name+"@"+one.Version)
	}
	return f, nil
}

func (p *pages) factorList(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	form, err := readFactorForm(r, s)
	if err != nil {
		return err
	}
	catalogue, err := pipeline.CatalogueOf(r.Context(), s, "")
	if err != nil {
		return err
	}
	return p.show(w, r, view{File: "research_factors.html", Title: "Factors", Section: "/factors", Styles: []string{"research.css"}, Data: struct {
		Form    factorForm
		Entries []feature.Entry
	}{form, catalogue.Entries}})
}

func (p *pages) factorReport(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	form, err := readFactorForm(r, s)
	if err != nil {
		return err
	}
	req := feature.FactorRequest{Quantiles: form.Quantiles}
	if req.From, req.To, err = daysOf(r.URL.Query()); err != nil {
		return err
	}
	if form.Feature == "" || form.Label == "" {
		return quant.Errorf(quant.Usage, "a factor report needs a feature and a label").WithHint("choose both")
	}
	req.Feature, req.FeatureVersion, _ = strings.Cut(form.Feature, "@")
	req.Label, req.LabelVersion, _ = strings.Cut(form.Label, "@")
	report, err := pipeline.QuickFactor(r.Context(), s, req)
	if err != nil {
		return err
	}
	return p.show(w, r, view{
		File: "research_factor.html", Title: form.Feature + " by " + form.Label, Section: "/factors", Scripts: plotScripts(), Styles: plotStyles(),
		Data: struct {
			Form   factorForm
			Report feature.FactorReport
			Plots  []*plotFigure
		}{form, report, drawFactor(report)},
	})
}

// drawFactor draws IC along time, quantiles and decay.
func drawFactor(f feature.FactorReport) []*plotFigure {
	var list []*plotFigure
	var days []quant.Date
	var daily, running []float64
	sum := 0.0
	for _, d := range f.Daily {
		if d.RankIC != nil {
			sum += *d.RankIC
			days, daily, running = append(days, d.Date), append(daily, *d.RankIC), append(running, sum)
		}
	}
	if len(days) > 1 {
		ic := &plotFigure{Title: "RankIC, running sum", factPlot: overDays(days, []plotLine{{Name: "running sum of RankIC", Color: "c1"}}, []func(i int) any{func(i int) any { return short6(running[i]) }})}
		ic.Height, ic.Sync, ic.Shown = 200, "ic", thinnedText(len(ic.X), len(days), "session")
		ic.Summary = lineEnds("running sum of RankIC", ic.Lines[0].Y)
		each := &plotFigure{Title: "RankIC by session", factPlot: overDays(days, []plotLine{{Name: "RankIC", Color: "c3", Kind: barLine}}, []func(i int) any{func(i int) any { return short6(daily[i]) }})}
		each.Height, each.Sync, each.Shown = 140, "ic", thinnedText(len(each.X), len(days), "session")
		each.Summary = fmt.Sprintf("mean %s", figureText(f.RankIC.Mean))
		list = append(list, ic, each)
	}
	quantiles := &plotFigure{Title: "Mean label by quantile of the feature", factPlot: factPlot{Lines: []plotLine{{Name: "mean " + f.Label, Color: "c2", Kind: barLine}}, Height: 180, XName: "quantile"}}
	for _, q := range f.Quantiles {
		if q.Mean != nil {
			quantiles.X, quantiles.Lines[0].Y = append(quantiles.X, float64(q.Quantile)), append(quantiles.Lines[0].Y, short6(*q.Mean))
		}
	}
	quantiles.Summary = lineEnds("lowest to highest quantile", quantiles.Lines[0].Y)
	decay := &plotFigure{Title: "Decay: IC over other horizons", factPlot: factPlot{Lines: []plotLine{{Name: "IC", Color: "c1"}, {Name: "RankIC", Color: "c3"}}, Height: 180, XName: "horizon"}}
	for _, d := range f.Decay {
		if d.IC == nil && d.RankIC == nil {
			continue
		}
		decay.X = append(decay.X, float64(d.Horizon))
		decay.Lines[0].Y, decay.Lines[1].Y = append(decay.Lines[0].Y, shortOf(d.IC)), append(decay.Lines[1].Y, shortOf(d.RankIC))
	}
	decay.Summary = lineEnds("RankIC from the shortest horizon to the longest", decay.Lines[1].Y)
	for _, d := range []*plotFigure{quantiles, decay} {
		if len(d.X) > 0 {
			list = append(list, d)
		}
	}
	return list
}
