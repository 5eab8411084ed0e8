// Package mlflow answers what clients of MLflow ask of a tracking server: it
// reads and writes MLflow's documents and calls package tracking, which owns the
// rules.
package mlflow

import (
	"net/http"
	"strings"

	"quant/internal/session"
	"quant/internal/tracking"
)

// Options are what the answers rest on.
type Options struct {
	Session *session.Session
	// Tracking is the lab as MLflow's clients see it.
	Tracking *tracking.Tracking
}

// Prefixes are the paths below which MLflow's clients ask.
func Prefixes() []string {
	return []string{"/api/2.0/", "/api/3.0/", "/ajax-api/2.0/", "/ajax-api/3.0/", "/get-artifact", "/model-versions/get-artifact"}
}

// face is what the endpoints answer from.
type face struct {
	Options
}

// endpoints are all that is offered, each noun's in a file of its own.
func (f *face) endpoints() []endpoint {
	var all []endpoint
	for _, some := range [][]endpoint{
		f.experimentEndpoints(),
		f.runEndpoints(),
		f.logEndpoints(),
		f.searchEndpoints(),
		f.metricEndpoints(),
		f.artifactEndpoints(),
		f.datasetEndpoints(),
		f.loggedModelEndpoints(),
		f.registeredModelEndpoints(),
		notOffered(),
	} {
		all = append(all, some...)
	}
	return all
}

// Handler answers below Prefixes.
func Handler(o Options) http.Handler {
	return newRouter((&face{o}).endpoints())
}

// Reads tells whether a request to a path below Prefixes only reads, so that a
// caller who may not write may send it. A path that is not offered reads: its
// answer changes nothing.
func Reads(r *http.Request) bool {
	e, _, found := routes().find(r.Method, r.URL.EscapedPath())
	return !found || e.reads
}

// Routes are what is answered, each METHOD PATH with parts in braces, below the
// first of Prefixes where several lead to it.
func Routes() []string {
	var list []string
	for _, e := range (&face{}).endpoints() {
		path := e.path
		if version := strings.SplitN(path, "/", 3)[1]; version == "2.0" || version == "3.0" {
			path = "/api" + path
		}
		list = append(list, e.method+" "+path)
	}
	return list
}
