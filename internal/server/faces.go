package server

import (
	"net/http"
	"strings"

	"quant/internal/server/api"
	"quant/internal/server/mlflow"
	"quant/internal/server/pages"
	"quant/internal/tracking"
)

// face is what answers below some paths, and what the guard must know of it.
type face struct {
	name string // as metrics say it where no pattern matched
	http.Handler
	// reads tells whether a request changes nothing, so that the scope read is
	// enough for it.
	reads func(*http.Request) bool
	// streams tells whether the body of a request may have any size.
	streams func(*http.Request) bool
	// refuse says in the face's own form why a request was not answered.
	refuse func(w http.ResponseWriter, r *http.Request, status int, err error)
}

// pagesName is the face that browsers see.
const pagesName = "pages"

// route is the face that answers below a path.
type route struct {
	prefix string
	*face
}

// clientsOf is the lab as MLflow's clients see it; nil where there is no lab.
func clientsOf(o Options) *tracking.Tracking {
	if o.Session == nil {
		return nil
	}
	return tracking.New(tracking.Options{
		Store: o.Session.Meta, Registry: o.Session.Registry, Artifacts: o.Session.Artifacts(), RunID: o.Session.RunID(), Now: o.Clock, Lease: o.ClientLease,
	})
}

// routes are the faces of a lab by the paths below which each answers, the last of
// them every path. No path is cleaned before a face is chosen: all are guarded
// alike, so none is a way around another's guard.
func routes(o Options, clients *tracking.Tracking) []route {
	client := &face{
		name: "mlflow", Handler: mlflow.Handler(mlflow.Options{Session: o.Session, Tracking: clients}),
		reads: mlflow.Reads, streams: mlflow.Streams, refuse: mlflow.Refuse,
	}
	own := &face{
		name: "api", Handler: api.Handler(api.Options{Session: o.Session}),
		reads: api.Reads, streams: never, refuse: api.Refuse,
	}
	shown := &face{
		name: pagesName, Handler: pages.Handler(pages.Options{Session: o.Session, Tracking: clients}),
		reads: pages.Reads, streams: never, refuse: pages.Refuse,
	}
	var list []route
	for _, prefix := range mlflow.Prefixes() {
		list = append(list, route{prefix, client})
	}
	return append(list, route{api.Prefix, own}, route{"/", shown})
}

func never(*http.Request) bool { return false }

// faceOf finds the face that answers a path.
func faceOf(list []route, path string) *face {
	for _, r := range list {
		if strings.HasPrefix(path, r.prefix) {
			return r.face
		}
	}
	return list[len(list)-1].face // "*" of OPTIONS, and what is no path
}
