package pages

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/runs"
)

// shownParts is how many params, metrics and so on of a run its first page has, and
// morePart how many a page of one of them.
const (
	shownParts = 50
	morePart   = 500
)

// pageRoutes are the pages of one run.
func (p *pages) pageRoutes(mux *http.ServeMux) {
	p.handle(mux, "GET /runs/{run}", p.runPage)
	p.handle(mux, "GET /runs/{run}/head", p.runHead)
	p.handle(mux, "GET /runs/{run}/ledger", p.runLedger)
	p.handle(mux, "GET /runs/{run}/params", p.runParams)
	p.handle(mux, "GET /runs/{run}/metrics", p.runMetrics)
	p.handle(mux, "GET /runs/{run}/points", p.runPoints)
	p.handle(mux, "GET /runs/{run}/lineage", p.runLineage)
	p.handle(mux, "GET /runs/{run}/code", p.runCode)
	p.handle(mux, "GET /runs/{run}/log", p.runLog)
	p.handle(mux, "GET /runs/{run}/log/follow", p.followLog)
	p.handle(mux, "GET /runs/{run}/log/whole", p.wholeLog)
	p.handle(mux, "GET /runs/{run}/artifacts", p.runArtifacts)
	p.handle(mux, "GET /runs/{run}/artifacts/{name...}", p.artifactPage)
	p.handle(mux, "GET /runs/{run}/files/{name...}", p.artifactFile)
	p.actionRoutes(mux)
}

// runOf is the run that a request names, as on the command line.
func (p *pages) runOf(r *http.Request) (string, error) {
	return p.Resolve(r.Context(), r.PathValue("run"))
}

// tab is a page of a run.
type tab struct {
	Name, Path string // Path: below that of the run
	Count      int64  // 0: none is shown
	At         bool
}

// runView is what every page of a run shows.
type runView struct {
	runs.Outline
	Tabs    []tab
	Compare bool // there is a page that compares
}

// about is the view of a run, at one of its pages.
func (p *pages) about(ctx context.Context, id, at string) (runView, error) {
	o, err := runs.OutlineOf(ctx, p.Session, id, shownParts)
	if err != nil {
		return runView{}, err
	}
	v := runView{Outline: o, Compare: p.has("/compare")}
	for _, t := range []tab{
		{Name: "Overview"}, {Name: "Metrics", Path: "/metrics", Count: o.Counts.Metrics}, {Name: "Params", Path: "/params", Count: o.Counts.Params},
		{Name: "Artifacts", Path: "/artifacts", Count: o.Counts.Artifacts}, {Name: "Log", Path: "/log"}, {Name: "Code", Path: "/code"}, {Name: "Lineage", Path: "/lineage"},
	} {
		t.At = t.Path == at
		if t.Path == "/log" && o.Program == nil && !t.At {
			continue
		}
		v.Tabs = append(v.Tabs, t)
	}
	return v, nil
}

// Title is the run in a few words.
func (v runView) Title() string {
	if v.Name != "" {
		return v.Name
	}
	return v.Kind + " " + quant.ShortID(v.RunID)
}

// Live tells whether the run may still change by itself.
func (v runView) Live() bool { return v.Status == quant.Running }

// runShown is a page of a run with what it shows besides.
type runShown struct {
	runView
	Write bool
	More  any
}

// showRun answers with a page of a run.
func (p *pages) showRun(w http.ResponseWriter, r *http.Request, v runView, file, title string, more any, scripts ...string) error {
	if title != "" {
		title += " · "
	}
	shown := view{File: file, Title: title + v.Title(), Section: "/runs", Data: runShown{v, mayWrite(r), more}}
	for _, script := range scripts {
		shown.Scripts = append(shown.Scripts, script)
		if script == "uplot.min.js" {
			shown.Styles = append(shown.Styles, "uplot.min.css")
		}
	}
	return p.show(w, r, shown)
}

// chartScripts are what a page with charts needs.
func chartScripts() []string { return []string{"uplot.min.js", "charts.js"} }

// whole sends a request that names a run by a part of its id to its address, and
// else returns the id.
func (p *pages) whole(w http.ResponseWriter, r *http.Request, rest string) (id string, done bool, err error) {
	id, err = p.runOf(r)
	if err != nil || id == r.PathValue("run") {
		return id, false, err
	}
	to := "/runs/" + id + rest
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	http.Redirect(w, r, to, http.StatusFound)
	return id, true, nil
}

// fact is a name and what is known under it.
type fact struct{ Name, Value string }

func (p *pages) runPage(w http.ResponseWriter, r *http.Request) error {
	id, done, err := p.whole(w, r, "")
	if err != nil || done {
		return err
	}
	v, err := p.about(r.Context(), id, "")
	if err != nil {
		return err
	}
	more := struct {
		Facts, Config, Program []fact
		Cards                  []chartCard
	}{Facts: v.facts(), Config: configOf(v.RunDetail), Cards: chartCards(v.RunID, v.Metrics[:min(len(v.Metrics), 6)], v.Live())}
	if v.Program != nil {
		more.Program = programFacts(*v.Program)
	}
	var scripts []string
	if len(more.Cards) > 0 {
		scripts = chartScripts()
	}
	return p.showRun(w, r, v, "run.html", "", more, scripts...)
}

// runHead answers with the head of a run's page alone.
func (p *pages) runHead(w http.ResponseWriter, r *http.Request) error {
	id, err := p.runOf(r)
	if err != nil {
		return err
	}
	v, err := p.about(r.Context(), id, "")
	if err != nil {
		return err
	}
	return p.part(w, r, "run.html", "head", runShown{runView: v, Write: mayWrite(r)})
}

// facts are the process and the code of a run.
func (v runView) facts() (list []fact) {
	add := func(name, value string) {
		if value != "" {
			list = append(list, fact{name, value})
		}
	}
	p := v.Process
	if p.ExitCode != nil {
		add("exit code", strconv.FormatInt(*p.ExitCode, 10))
	}
	add("facts", string(p.Facts))
	add("folder", string(p.WorkDir))
	add("host", string(p.Host))
	add("process", fmt.Sprintf("%d of %s", p.PID, p.User))
	add("quant", strings.TrimSpace(string(p.BinaryVersion)+" "+string(p.BinaryCommit)))
	git := string(p.GitCommit)
	if git != "" && p.GitDirty != nil && *p.GitDirty {
		git += " with changes"
	}
	add("git commit", git)
	return list
}

// configOf is the recorded config of a run, without the command line, which stands
// elsewhere.
func configOf(r metastore.RunDetail) (list []fact) {
	for _, e := range runs.Flatten(r.ConfigJSON) {
		if e.Name != "argv" && e.Name != "args" && e.Value != "" && e.Value != "{}" {
			list = append(list, fact{e.Name, quant.Clip(e.Value, 2000)})
		}
		if len(list) == morePart {
			break
		}
	}
	return list
}

func programFacts(p quant.Program) (list []fact) {
	add := func(name, value string) {
		if value != "" {
			list = append(list, fact{name, value})
		}
	}
	size := func(n *int64) string {
		if n == nil {
			return ""
		}
		return quant.Bytes(*n)
	}
	add("file", string(p.Path))
	if p.Signal != nil {
		add("ended by signal", strconv.FormatInt(*p.Signal, 10))
	}
	add("user time", quant.Micros(p.UserUS))
	add("system time", quant.Micros(p.SystemUS))
	add("peak memory", size(p.MaxRSSBytes))
	add("output", size(p.OutputBytes))
	if p.OutputCutBytes != nil && *p.OutputCutBytes > 0 {
		add("output left out", size(p.OutputCutBytes))
	}
	for _, e := range runs.Flatten(p.EnvironmentJSON) {
		add(e.Name, quant.Clip(e.Value, 2000))
	}
	return list
}

// runLedger answers with what a run committed, apart, since the Fact DB may be held.
func (p *pages) runLedger(w http.ResponseWriter, r *http.Request) error {
	id, err := p.runOf(r)
	if err != nil {
		return err
	}
	var shown struct {
		Rows []factstore.LedgerRow
		Why  string
	}
	if p.HasFactDB() {
		rows, err := p.Facts().Ledger(r.Context(), id)
		if err != nil {
			shown.Why = err.Error()
		}
		shown.Rows = rows
	}
	return p.part(w, r, "run.html", "ledger", shown)
}

// runParams shows the params of a run, a page at a time.
func (p *pages) runParams(w http.ResponseWriter, r *http.Request) error {
	id, done, err := p.whole(w, r, "/params")
	if err != nil || done {
		return err
	}
	v, err := p.about(r.Context(), id, "/params")
	if err != nil {
		return err
	}
	list, err := p.Meta.ParamsAfter(r.Context(), id, r.URL.Query().Get("after"), morePart+1)
	if err != nil {
		return err
	}
	var more struct {
		Params []quant.Param
		Next   string
	}
	if more.Params = list; len(list) > morePart {
		more.Params = list[:morePart]
		more.Next = "?after=" + url.QueryEscape(more.Params[morePart-1].Name)
	}
	return p.showRun(w, r, v, "run_params.html", "Params", more)
}

// chartCard is a chart of a metric.
type chartCard struct {
	Metric quant.Metric
	URL    string // of its points
	Live   bool
}

// chartCards are the charts of metrics that have more than one point.
func chartCards(id string, list []quant.Metric, live bool) (cards []chartCard) {
	for _, m := range list {
		if m.Points > 1 || live {
			cards = append(cards, chartCard{m, "/runs/" + id + "/points?name=" + url.QueryEscape(m.Name), live})
		}
	}
	return cards
}

// metricsPart is how many metrics a page with their charts has.
const metricsPart = 60

// runMetrics shows the metrics of a run with their charts, a page at a time.
func (p *pages) runMetrics(w http.ResponseWriter, r *http.Request) error {
	id, done, err := p.whole(w, r, "/metrics")
	if err != nil || done {
		return err
	}
	v, err := p.about(r.Context(), id, "/metrics")
	if err != nil {
		return err
	}
	list, err := p.Meta.MetricsAfter(r.Context(), id, r.URL.Query().Get("after"), metricsPart+1)
	if err != nil {
		return err
	}
	var more struct {
		Metrics []quant.Metric
		Cards   []chartCard
		Next    string
	}
	if more.Metrics = list; len(list) > metricsPart {
		more.Metrics = list[:metricsPart]
		more.Next = "?after=" + url.QueryEscape(more.Metrics[metricsPart-1].Name)
	}
	more.Cards = chartCards(id, more.Metrics, v.Live())
	return p.showRun(w, r, v, "run_metrics.html", "Metrics", more, chartScripts()...)
}

// chartDocument is what charts.js draws.
type chartDocument struct {
	Title  string        `json:"title"`
	Note   string        `json:"note"` // what is not shown; "": all is
	Series []chartSeries `json:"series"`
}

// chartSeries is a line. A value that is null is a gap.
type chartSeries struct {
	Name string     `json:"name"`
	Step []float64  `json:"step,omitempty"`
	Time []float64  `json:"time,omitempty"` // seconds since 1970
	Y    []*float64 `json:"y"`
}

// The bounds of how many points of a metric a chart has.
const (
	chartPoints    = 1_000
	maxChartPoints = 5_000
)

// runPoints answers with points of a metric, spread evenly where there are many.
func (p *pages) runPoints(w http.ResponseWriter, r *http.Request) error {
	id, err := p.runOf(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	n := chartPoints
	if text := q.Get("n"); text != "" {
		if n, err = strconv.Atoi(text); err != nil || n < 2 || n > maxChartPoints {
			return quant.Errorf(quant.Usage, "n is %q, and a chart has 2 to %d points", quant.Clip(text, 20), maxChartPoints)
		}
	}
	m, err := p.Meta.MetricOf(r.Context(), id, q.Get("name"))
	if err != nil {
		return err
	}
	points, err := p.Meta.MetricSample(r.Context(), id, m.Name, n)
	if err != nil {
		return err
	}
	doc := chartDocument{Title: m.Name, Series: []chartSeries{newSeries(m.Name, points)}}
	if int64(len(points)) < m.Points {
		doc.Note = fmt.Sprintf("%s of %s points, spread evenly", thousands(int64(len(points))), thousands(m.Points))
	}
	return p.json(w, r, doc)
}

func newSeries(name string, points []quant.MetricPoint) chartSeries {
	s := chartSeries{Name: name, Y: []*float64{}}
	for _, point := range points {
		s.Step = append(s.Step, float64(point.Step))
		s.Time = append(s.Time, float64(point.LoggedAt.UnixMicro())/1e6)
		y := &point.Value
		if *y-*y != 0 { // JSON has no infinity
			y = nil
		}
		s.Y = append(s.Y, y)
	}
	return s
}
