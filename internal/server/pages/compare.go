package pages

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"quant"
	"quant/internal/metastore"
	"quant/internal/runs"
)

// The bounds of what a page sets side by side.
const (
	maxCompared = 1000 // runs
	fewRuns     = 6    // so many stand as columns; more as rows
	comparePage = 100  // runs that a page of rows has
)

// compareRoutes are the pages that set runs side by side.
func (p *pages) compareRoutes(mux *http.ServeMux) []section {
	p.handle(mux, "GET /compare", p.compareRuns)
	p.handle(mux, "GET /compare/points", p.comparePoints)
	p.handle(mux, "GET /compare/deflated", p.compareDeflated)
	p.handle(mux, "GET /runs/{run}/sweep", p.compareSweep)
	return []section{{Name: "Compare", Path: "/compare", Key: "c"}}
}

// compareRequest is which runs are compared, and how they are shown, as the address
// says it. The runs are named, or found by a search, or ran inside another one.
type compareRequest struct {
	Runs   []string // run, each
	Query  string   // q
	Sweep  string   // of the path, or sweep
	All    bool     // all: also what is the same in all
	By     string   // by: the metric by which the best is chosen
	Better string   // better: high or low; "": as the words of its name say
	Sort   string   // sort: a column, after - the other way round
	From   int      // from: the first row
	HeatX  string   // hx
	HeatY  string   // hy
}

func readCompareRequest(r *http.Request) compareRequest {
	q := r.URL.Query()
	c := compareRequest{
		Query: q.Get("q"), Sweep: q.Get("sweep"), All: q.Get("all") != "", By: q.Get("by"), Better: q.Get("better"),
		Sort: q.Get("sort"), HeatX: q.Get("hx"), HeatY: q.Get("hy"),
	}
	for _, ref := range q["run"] {
		if ref = strings.TrimSpace(ref); ref != "" {
			c.Runs = append(c.Runs, ref)
		}
	}
	for _, digit := range q.Get("from") {
		if digit < '0' || digit > '9' || c.From > maxCompared {
			c.From = 0
			break
		}
		c.From = c.From*10 + int(digit-'0')
	}
	return c
}

// which is the part of an address that says which runs.
func (c compareRequest) which() url.Values {
	q := url.Values{}
	if c.Sweep != "" {
		q.Set("sweep", c.Sweep)
	}
	if c.Query != "" {
		q.Set("q", c.Query)
	}
	for _, run := range c.Runs {
		q.Add("run", run)
	}
	return q
}

// url is the address of this view, with other values for some of its names; ""
// leaves one out.
func (c compareRequest) url(change map[string]string) string {
	q := c.which()
	path := "/compare"
	if c.Sweep != "" {
		path = "/runs/" + url.PathEscape(c.Sweep) + "/sweep"
		q.Del("sweep")
	}
	values := map[string]string{"by": c.By, "better": c.Better, "sort": c.Sort, "hx": c.HeatX, "hy": c.HeatY}
	if c.All {
		values["all"] = "1"
	}
	for name, value := range change {
		values[name] = value
	}
	for name, value := range values {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// chosen are the runs of a request.
type chosen struct {
	ids     []string
	sweep   *metastore.RunDetail // the run inside which they ran
	notices []string
}

// choose finds the runs of a request: none where it names none.
func (p *pages) choose(ctx context.Context, c compareRequest) (found chosen, err error) {
	meta, err := p.MetaDB()
	if err != nil {
		return found, err
	}
	switch {
	case c.Sweep != "":
		return p.chooseInside(ctx, meta, c.Sweep)
	case c.Query != "":
		f, err := runs.ParseFind(c.Query, p.Now())
		if err != nil {
			return found, err
		}
		if !f.Limited || f.Limit > maxCompared {
			f.Limit, f.Limited = maxCompared, false
		}
		f.Except, f.Columns = p.RunID(), []metastore.Field{{Name: "run_id"}}
		all, err := f.Each(ctx, meta, func(cells []any) error {
			id, _ := cells[0].(string)
			found.ids = append(found.ids, id)
			return nil
		})
		if all.More {
			found.notices = append(found.notices, "The search finds more runs: these are the first "+thousands(maxCompared)+".")
		}
		return found, err
	}
	if len(c.Runs) > maxCompared {
		return found, quant.Errorf(quant.Usage, "%d runs are more than the %d that are compared at once", len(c.Runs), maxCompared).WithHint("choose fewer, or compare what a search finds")
	}
	seen := map[string]bool{}
	for _, ref := range c.Runs {
		id, err := p.Resolve(ctx, ref)
		if err != nil {
			return found, err
		}
		if !seen[id] {
			seen[id] = true
			found.ids = append(found.ids, id)
		}
	}
	return found, nil
}

// chooseInside finds the runs that ran inside another one: the trials of a sweep, or
// those of the kind that most of them are.
func (p *pages) chooseInside(ctx context.Context, meta metastore.Store, ref string) (found chosen, err error) {
	id, err := p.Resolve(ctx, ref)
	if err != nil {
		return found, err
	}
	run, err := meta.GetRun(ctx, id)
	if err != nil {
		return found, err
	}
	found.sweep = &run
	inside, err := meta.ListRuns(ctx, metastore.RunFilter{All: true, Parent: id, Brief: true, Limit: 4*maxCompared + 1})
	if err != nil {
		return found, err
	}
	if len(inside) > 4*maxCompared {
		found.notices = append(found.notices, "More runs ran inside of it: only the newest are looked at.")
	}
	kinds, most := map[string]int{}, ""
	failed := 0
	for _, r := range inside {
		kinds[r.Kind]++
		if most == "" || kinds[r.Kind] > kinds[most] {
			most = r.Kind
		}
	}
	if kinds[backtestKind] > 0 {
		most = backtestKind // a trial is decided, then replayed: the replay has the results
	}
	for _, r := range inside {
		switch {
		case r.Kind == most && len(found.ids) == maxCompared:
			found.notices = append(found.notices, "More trials ran: these are the newest "+thousands(maxCompared)+".")
			return found, nil
		case r.Kind == most:
			found.ids = append(found.ids, r.RunID)
		case r.Status == quant.Fail:
			failed++
		}
	}
	if failed > 0 {
		text, _ := count(failed, "run")
		found.notices = append(found.notices, text+" inside of it failed before there was a result.")
	}
	return found, nil
}

// backtestKind is the kind of a run that replays decisions.
const backtestKind = "backtest"

func (p *pages) compareRuns(w http.ResponseWriter, r *http.Request) error {
	c := readCompareRequest(r)
	c.Sweep = ""
	return p.showComparison(w, r, c)
}

func (p *pages) compareSweep(w http.ResponseWriter, r *http.Request) error {
	c := readCompareRequest(r)
	c.Sweep, c.Runs, c.Query = r.PathValue("run"), nil, ""
	return p.showComparison(w, r, c)
}

func (p *pages) showComparison(w http.ResponseWriter, r *http.Request, c compareRequest) error {
	ctx := r.Context()
	v := view{File: "compare.html", Title: "Compare", Section: "/compare", Wide: true, Styles: []string{"uplot.min.css", "compare.css"}, Scripts: []string{"uplot.min.js", "compare.js"}}
	found, err := p.choose(ctx, c)
	if quant.CodeOf(err) == quant.Usage && c.Sweep == "" {
		v.Data = comparison{compareRequest: c, Failure: &failure{Message: err.Error(), Hint: quant.HintOf(err)}}
		v.Scripts, v.Styles = nil, []string{"compare.css"}
		return p.show(w, r, v)
	}
	if err != nil {
		return err
	}
	data, err := p.comparison(ctx, c, found)
	if err != nil {
		return err
	}
	if text, _ := count(len(found.ids), "run"); found.sweep != nil {
		v.Title = "Trials of " + found.sweep.Kind + " " + quant.ShortID(found.sweep.RunID)
	} else if len(found.ids) > 0 {
		v.Title = "Compare " + text
	}
	v.Data = data
	return p.show(w, r, v)
}
