package pages

import (
	"net/http"
	"net/url"

	"quant"
	"quant/internal/pipeline"
	"quant/internal/session"
)

func (p *pages) strategyList(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	from, err := fromOf(r, "start")
	if err != nil {
		return err
	}
	list, total, err := pipeline.ListStrategies(r.Context(), s, from, listSize)
	if err != nil {
		return err
	}
	return p.show(w, r, view{File: "research_strategies.html", Styles: []string{"research.css"}, Title: "Strategies", Section: "/strategies", Data: struct {
		List  []pipeline.DecidedStrategy
		Pager pager
	}{list, newPager(r, "start", from, len(list), listSize, total, "strategy")}})
}

// decisionSize is how many decisions a strategy's page lists at once.
const decisionSize = 50

func (p *pages) strategyPage(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	id := r.PathValue("id")
	from, err := fromOf(r, "start")
	if err != nil {
		return err
	}
	asof, err := dayOf(r.URL.Query(), "asof")
	if err != nil {
		return err
	}
	d, err := pipeline.ReadDecisions(r.Context(), s, id, asof, from, decisionSize)
	if err != nil {
		return err
	}
	days, lines := make([]quant.Date, len(d.Turnover)), []plotLine{{Name: "turnover", Color: "c1", Kind: barLine}, {Name: "gross", Color: "c3"}}
	for i, t := range d.Turnover {
		days[i] = t.Asof
	}
	turnover := &plotFigure{Title: "Turnover and gross weight of each decision", Shown: ""}
	turnover.factPlot = overDays(days, lines, []func(i int) any{
		func(i int) any { return shortOf(d.Turnover[i].Turnover) }, func(i int) any { return shortOf(d.Turnover[i].Gross) },
	})
	turnover.Unit, turnover.Height = "%", 180
	turnover.Shown = thinnedText(len(turnover.X), len(days), "decision")
	turnover.Summary = lineEnds("turnover", turnover.Lines[0].Y)
	return p.show(w, r, view{
		File: "research_strategy.html", Title: id, Section: "/strategies", Scripts: plotScripts(), Styles: plotStyles(),
		Data: struct {
			pipeline.Decisions
			Pager  pager
			Plot   *plotFigure
			Chosen string
			Sweeps string
		}{d, newPager(r, "start", from, len(d.Sets), decisionSize, d.Strategy.Decisions, "decision"), turnover, r.URL.Query().Get("asof"),
			"/runs?" + url.Values{"q": {`kind = "sweep" and params.strategy_id = ` + searchText(id)}}.Encode()},
	})
}

// searchText is a text as the search language has it.
func searchText(text string) string {
	b := []byte{'"'}
	for _, c := range []byte(text) {
		if c == '"' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	return string(append(b, '"'))
}

// plotScripts and plotStyles are what a page with drawings needs.
func plotScripts() []string { return []string{"uplot.min.js", "research.js"} }

func plotStyles() []string { return []string{"uplot.min.css", "research.css"} }
