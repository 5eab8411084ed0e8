package api

import (
	"context"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/pipeline"
	"quant/internal/runs"
)

// ofRun names one run in the path.
type ofRun struct {
	Run string `path:"run" doc:"a run: its id, a unique prefix or suffix of that, @NAME, or last"`
}

// one finds the run of a request.
func (h *handler) one(ctx context.Context, ref string) (metastore.Store, string, error) {
	meta, err := h.Session.MetaDB()
	if err != nil {
		return nil, "", err
	}
	id, err := h.Session.Resolve(ctx, ref)
	return meta, id, err
}

// several finds the runs of a request, at least low of them and at most high.
func (h *handler) several(ctx context.Context, refs []string, low, high int) (metastore.Store, []string, error) {
	if len(refs) < low || len(refs) > high {
		return nil, nil, quant.Errorf(quant.Usage, "%s are named, not %d to %d", quant.Count(len(refs), "run"), low, high).WithHint("repeat the parameter run")
	}
	meta, err := h.Session.MetaDB()
	if err != nil {
		return nil, nil, err
	}
	ids, err := h.Session.ResolveAll(ctx, refs)
	return meta, ids, err
}

// list is a list that is never null.
func list[T any](all []T, err error) ([]T, error) {
	if all == nil {
		all = []T{}
	}
	return all, err
}

// MetricPoints are points of one metric of a run.
type MetricPoints struct {
	RunID   string              `json:"run_id"`
	Name    string              `json:"name"`
	Points  int64               `json:"points" doc:"that were logged"`
	Sampled bool                `json:"sampled" doc:"these are not all: the first, the last, and others spread evenly between them by their numbers"`
	List    []quant.MetricPoint `json:"list" doc:"by number"`
}

type pointsOf struct {
	Run    string `path:"run" doc:"a run: its id, a unique prefix or suffix of that, @NAME, or last"`
	Metric string `query:"metric" required:"true" doc:"the name of the metric"`
	Points int64  `query:"points" default:"1000" min:"2" max:"10000" doc:"how many points at most; of more, so many are chosen"`
}

// Log is a part of what the program of a run printed.
type Log struct {
	RunID    string `json:"run_id"`
	Bytes    int64  `json:"bytes" doc:"that were to be kept until now"`
	CutBytes int64  `json:"cut_bytes" doc:"of these, that are not"`
	From     int64  `json:"from" doc:"the byte with which the text begins"`
	Next     int64  `json:"next" doc:"the byte with which to go on: the from of the next request"`
	Ended    bool   `json:"ended" doc:"the run has ended: once next has reached bytes, nothing more comes"`
	Text     string `json:"text" doc:"what is no UTF-8 is U+FFFD"`
}

type logOf struct {
	Run   string `path:"run" doc:"a run: its id, a unique prefix or suffix of that, @NAME, or last"`
	From  int64  `query:"from" default:"-1" min:"-1" max:"9007199254740991" doc:"the byte with which to begin; -1: where the last lines begin"`
	Lines int64  `query:"lines" default:"1000" min:"1" max:"100000" doc:"without from: how many of the last lines"`
	Bytes int64  `query:"bytes" default:"262144" min:"1" max:"1048576" doc:"how much at most"`
}

func (h *handler) log(ctx context.Context, in logOf) (Log, error) {
	meta, id, err := h.one(ctx, in.Run)
	if err != nil {
		return Log{}, err
	}
	run, err := meta.GetRun(ctx, id) // before what is there is read: what it printed until its end is there then
	if err != nil {
		return Log{}, err
	}
	l, err := runs.OpenLog(ctx, runs.LogOptions{Meta: meta, Registry: h.Session.Registry, RunID: id, Path: h.Session.LogFile(id), Artifacts: h.Session.Artifacts()}, false)
	if err != nil {
		return Log{}, err
	}
	defer func() { _ = l.Close() }() // it was only read
	part := Log{RunID: id, From: in.From, Ended: run.Status != quant.Running}
	if part.From < 0 {
		if part.From, err = l.LastLines(int(in.Lines)); err != nil {
			return Log{}, err
		}
	}
	var text strings.Builder
	if part.Next, err = l.CopyFrom(&text, part.From, in.Bytes); err != nil {
		return Log{}, err
	}
	part.Bytes, part.CutBytes, part.Text = l.Total(), l.Cut(), strings.ToValidUTF8(text.String(), "\uFFFD")
	return part, nil
}

type artifactOf struct {
	Run  string `path:"run" doc:"a run: its id, a unique prefix or suffix of that, @NAME, or last"`
	Name string `path:"name" doc:"the name of the artifact, with its slashes"`
}

// artifact sends the content of an artifact as a file: nothing in it is shown or
// run by a browser.
func (h *handler) artifact(w http.ResponseWriter, r *http.Request, in artifactOf) error {
	meta, id, err := h.one(r.Context(), in.Run)
	if err != nil {
		return err
	}
	a, err := runs.Artifact(r.Context(), meta, id, in.Name)
	if err != nil {
		return err
	}
	file, err := h.Session.Artifacts().Open(r.Context(), a.Digest)
	if err != nil {
		return err
	}
	defer file.Close()
	head := w.Header()
	head.Set("Content-Type", "application/octet-stream")
	head.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(a.Name)}))
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	head.Set("Cache-Control", "private, no-cache")
	head.Set("ETag", `"`+a.Digest+`"`)
	http.ServeContent(w, r, "", a.LoggedAt.Time, file)
	return nil
}

// Lineage is what a run's result came from.
func (h *handler) lineage(ctx context.Context, in ofRun) (pipeline.Lineage, error) {
	meta, id, err := h.one(ctx, in.Run)
	if err != nil {
		return pipeline.Lineage{}, err
	}
	l, err := pipeline.Trace(ctx, meta, id)
	l.Nodes, _ = list(l.Nodes, nil)
	l.Edges, _ = list(l.Edges, nil)
	return l, err
}

// routesOfRun are those of one run.
func routesOfRun() []route {
	return []route{
		reads("runs/{run}", about{id: "showRun", group: "runs", summary: "Everything that is known about a run", command: "runs show"},
			func(ctx context.Context, h *handler, in ofRun) (runs.Report, error) {
				_, id, err := h.one(ctx, in.Run)
				if err != nil {
					return runs.Report{}, err
				}
				return runs.Show(ctx, h.Session, id)
			}),
		reads("runs/{run}/params", about{id: "listParams", group: "runs", summary: "Its params"},
			func(ctx context.Context, h *handler, in ofRun) ([]quant.Param, error) {
				meta, id, err := h.one(ctx, in.Run)
				if err != nil {
					return nil, err
				}
				return list(meta.Params(ctx, id))
			}),
		reads("runs/{run}/tags", about{id: "listTags", group: "runs", summary: "Its tags"},
			func(ctx context.Context, h *handler, in ofRun) ([]quant.Tag, error) {
				meta, id, err := h.one(ctx, in.Run)
				if err != nil {
					return nil, err
				}
				return list(meta.Tags(ctx, id))
			}),
		reads("runs/{run}/notes", about{id: "listNotes", group: "runs", summary: "Its notes"},
			func(ctx context.Context, h *handler, in ofRun) ([]quant.Note, error) {
				meta, id, err := h.one(ctx, in.Run)
				if err != nil {
					return nil, err
				}
				return list(meta.Notes(ctx, id))
			}),
		reads("runs/{run}/metrics", about{id: "listMetrics", group: "runs", summary: "Its metrics, each in sums"},
			func(ctx context.Context, h *handler, in ofRun) ([]quant.Metric, error) {
				meta, id, err := h.one(ctx, in.Run)
				if err != nil {
					return nil, err
				}
				return list(meta.Metrics(ctx, id))
			}),
		reads("runs/{run}/points", about{id: "listPoints", group: "runs", summary: "Points of one of its metrics"},
			func(ctx context.Context, h *handler, in pointsOf) (MetricPoints, error) { return h.points(ctx, in) }),
		reads("runs/{run}/artifacts", about{id: "listArtifacts", group: "runs", summary: "Its artifacts"},
			func(ctx context.Context, h *handler, in ofRun) ([]quant.Artifact, error) {
				meta, id, err := h.one(ctx, in.Run)
				if err != nil {
					return nil, err
				}
				return list(meta.Artifacts(ctx, id))
			}),
		content("runs/{run}/artifacts/{name...}", "application/octet-stream", about{
			id: "getArtifact", group: "runs", summary: "The content of an artifact",
			text: "Whole, or the part that Range asks for. It is verified before it is sent.",
		}, (*handler).artifact),
		reads("runs/{run}/log", about{id: "getLog", group: "runs", summary: "What its program printed: the last lines, or from a byte on"},
			func(ctx context.Context, h *handler, in logOf) (Log, error) { return h.log(ctx, in) }),
		reads("runs/{run}/lineage", about{id: "getLineage", group: "runs", summary: "What its result came from", command: "lineage"},
			func(ctx context.Context, h *handler, in ofRun) (pipeline.Lineage, error) { return h.lineage(ctx, in) }),
	}
}

func (h *handler) points(ctx context.Context, in pointsOf) (MetricPoints, error) {
	meta, id, err := h.one(ctx, in.Run)
	if err != nil {
		return MetricPoints{}, err
	}
	metrics, err := meta.Metrics(ctx, id)
	if err != nil {
		return MetricPoints{}, err
	}
	for _, m := range metrics {
		if m.Name != in.Metric {
			continue
		}
		points, err := list(meta.MetricSample(ctx, id, m.Name, int(in.Points)))
		return MetricPoints{RunID: id, Name: m.Name, Points: m.Points, Sampled: int64(len(points)) < m.Points, List: points}, err
	}
	return MetricPoints{}, quant.Errorf(quant.NotFound, "run %s has no metric %q", id, quant.Clip(in.Metric, 200)).
		WithHint("%sruns/%s/metrics lists them", Prefix, quant.ShortID(id))
}

// daysAgo is the time so many days before now; 0: the beginning.
func daysAgo(now time.Time, days int64) quant.Time {
	if days == 0 {
		return quant.Time{}
	}
	return quant.NewTime(now.Add(-time.Duration(days) * 24 * time.Hour))
}
