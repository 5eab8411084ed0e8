package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/runs"
	"quant/internal/search"
)

type searchFor struct {
	Query   string `query:"q" doc:"conditions and an order in quant's search language; empty: all runs, newest first"`
	Columns string `query:"columns" doc:"what is told of each run, a comma list such as run_id,params.top_k,metrics.sharpe; nothing else is read"`
	Limit   int64  `query:"limit" default:"100" min:"1" max:"1000" doc:"how many runs at most; a limit in the query is one of all pages together, at most 1000"`
	After   string `query:"after" doc:"the next of the page before"`
	All     bool   `query:"all" doc:"also the runs that only read"`
}

// maxFound is how many runs one answer holds at most.
const maxFound = 1000

// RunPage is a page of the runs that a search finds.
type RunPage struct {
	Columns []string         `json:"columns" doc:"in the order in which they were asked for"`
	Runs    []map[string]any `json:"runs" doc:"as of quant runs search, by column"`
	Next    quant.Text       `json:"next" doc:"the after of the next page; null: this is the last"`
	Notices []string         `json:"notices" doc:"what no run has although the search speaks of it"`
}

func (h *handler) search(ctx context.Context, in searchFor) (RunPage, error) {
	page := RunPage{Runs: []map[string]any{}, Notices: []string{}}
	f, err := runs.ParseFind(in.Query, h.Session.Now())
	if err != nil {
		return page, err
	}
	if in.Columns != "" {
		if f.Columns, err = search.ParseColumns(in.Columns); err != nil {
			return page, err
		}
	}
	if !f.Limited {
		f.Limit = int(in.Limit)
	} else if f.Limit < 1 || f.Limit > maxFound {
		return page, quant.Errorf(quant.Usage, "limit %d in the query is not within 1 to %d", f.Limit, maxFound).WithHint("leave it out, and go through the pages")
	}
	f.All, f.After = f.All || in.All, in.After
	meta, err := h.Session.MetaDB()
	if err != nil {
		return page, err
	}
	shown := slices.Clone(f.Columns)
	for _, c := range shown {
		page.Columns = append(page.Columns, search.Name(c))
	}
	f.Columns = append(f.Columns, metastore.Field{Name: "run_id"})
	last := ""
	found, err := f.Each(ctx, meta, func(cells []any) error {
		run := make(map[string]any, len(shown))
		for i, c := range shown {
			run[page.Columns[i]] = shownCell(c, cells[i])
		}
		last, _ = cells[len(shown)].(string)
		page.Runs = append(page.Runs, run)
		return nil
	})
	if err != nil {
		return page, err
	}
	if found.More {
		page.Next = quant.Text(last)
	}
	missing, err := f.Unrecorded(ctx, meta)
	for _, m := range missing {
		text := "no run has " + m.Field
		if len(m.Near) > 0 {
			text += "; did you mean " + strings.Join(m.Near, " or ") + "?"
		}
		page.Notices = append(page.Notices, text)
	}
	return page, err
}

// shownCell is a cell as --output json has it.
func shownCell(f metastore.Field, v any) any {
	if d, is := v.(time.Duration); is {
		return d.Seconds()
	}
	return v
}

type compareWith struct {
	Run []string `query:"run" required:"true" doc:"a run; repeat it for each, 2 to 1000 of them"`
	All bool     `query:"all" doc:"also what is the same in all of them"`
}

// Comparison is runs set side by side, and what could not be compared.
type Comparison struct {
	runs.Comparison
	Notices []string `json:"notices" doc:"what could not be compared"`
}

// maxCompared is how many runs a request sets side by side at most.
const maxCompared = 1000

func (h *handler) compare(ctx context.Context, in compareWith) (Comparison, error) {
	meta, ids, err := h.several(ctx, in.Run, 2, maxCompared)
	if err != nil {
		return Comparison{}, err
	}
	c, err := runs.Compare(ctx, meta, h.Session.Artifacts(), ids)
	if err != nil {
		return Comparison{}, err
	}
	notices, _ := list(c.Notices, nil)
	if !in.All {
		c = c.Differences()
	}
	return Comparison{c, notices}, nil
}

type diffOf struct {
	A string `query:"a" required:"true" doc:"a run"`
	B string `query:"b" required:"true" doc:"another run"`
}

type plotOf struct {
	Metric string   `query:"metric" required:"true" doc:"the name of the metric"`
	Run    []string `query:"run" required:"true" doc:"a run; repeat it for each, at most 100 of them"`
	X      string   `query:"x" default:"step" choices:"step,time" doc:"what stands from left to right: the step, or the seconds since the run started"`
	Width  int64    `query:"width" default:"500" min:"10" max:"4000" doc:"for how many columns points are kept: of each the first, lowest, highest and last, so that no spike is lost"`
	LogY   bool     `query:"log_y" doc:"leave out values that are not positive"`
}

type statsOf struct {
	Kind string `query:"kind" doc:"only this kind, also one that only reads"`
	Days int64  `query:"days" default:"30" min:"0" max:"36500" doc:"only runs started in so many days; 0: all"`
	All  bool   `query:"all" doc:"also the runs that only read"`
}

type namesOf struct {
	Of     string `query:"of" required:"true" choices:"attributes,kinds,params,tags,metrics,names" doc:"names of what; names are those of runs"`
	Prefix string `query:"prefix" doc:"with which they begin"`
	Limit  int64  `query:"limit" default:"50" min:"1" max:"1000" doc:"how many at most"`
}

func (h *handler) names(ctx context.Context, in namesOf) ([]string, error) {
	if in.Of == "attributes" {
		found := []string{}
		for _, a := range search.Attributes() {
			if strings.HasPrefix(a, in.Prefix) && len(found) < int(in.Limit) {
				found = append(found, a)
			}
		}
		return found, nil
	}
	meta, err := h.Session.MetaDB()
	if err != nil {
		return nil, err
	}
	of := map[string]metastore.NameSource{
		"kinds": metastore.KindNames, "params": metastore.ParamNames, "tags": metastore.TagNames, "metrics": metastore.MetricNames, "names": metastore.RunNames,
	}[in.Of]
	return list(meta.Names(ctx, of, in.Prefix, int(in.Limit)))
}

// routesOfSearch are those of several runs.
func routesOfSearch() []route {
	return []route{
		reads("runs", about{
			id: "searchRuns", group: "search", summary: "Runs that a query finds, a page at a time",
			text: "A page goes on after a run, not after a number of them: none comes twice or is left out because others were recorded meanwhile. " +
				"Deleted runs are never found; runs that only read are found with all, or if the query speaks of kind, changes, run_id or parent.",
		}, func(ctx context.Context, h *handler, in searchFor) (RunPage, error) { return h.search(ctx, in) }),
		reads("compare", about{id: "compareRuns", group: "search", summary: "In what runs differ", command: "runs compare"},
			func(ctx context.Context, h *handler, in compareWith) (Comparison, error) { return h.compare(ctx, in) }),
		reads("diff", about{id: "diffRuns", group: "search", summary: "Config and code of two runs, line by line", command: "runs diff"},
			func(ctx context.Context, h *handler, in diffOf) (runs.Patch, error) {
				meta, ids, err := h.several(ctx, []string{in.A, in.B}, 2, 2)
				if err != nil {
					return runs.Patch{}, err
				}
				return runs.Diff(ctx, meta, h.Session.Artifacts(), ids[0], ids[1])
			}),
		reads("plot", about{id: "plotMetric", group: "search", summary: "The course of a metric, one line a run", command: "runs plot",
			text: "points says how many were logged, drawn are those that are kept for so many columns."},
			func(ctx context.Context, h *handler, in plotOf) (runs.Plot, error) {
				meta, ids, err := h.several(ctx, in.Run, 1, runs.MaxCompared)
				if err != nil {
					return runs.Plot{}, err
				}
				return runs.ReadPlot(ctx, meta, ids, runs.PlotOptions{Metric: in.Metric, X: in.X, LogY: in.LogY, Columns: int(in.Width)})
			}),
		reads("stats", about{id: "sumRuns", group: "search", summary: "The runs summed up by kind", command: "runs stats"},
			func(ctx context.Context, h *handler, in statsOf) ([]runs.Kind, error) {
				meta, err := h.Session.MetaDB()
				if err != nil {
					return nil, err
				}
				return list(runs.Stats(ctx, meta, metastore.RunFilter{All: in.All || in.Kind != "", Kind: in.Kind, Since: daysAgo(h.Session.Now(), in.Days)}))
			}),
		reads("names", about{id: "listNames", group: "search", summary: "Names that begin with a text, to complete a search"},
			func(ctx context.Context, h *handler, in namesOf) ([]string, error) { return h.names(ctx, in) }),
	}
}
