// Package pages shows the lab in a browser: pages rendered here, with their
// scripts and styles embedded, so that nothing is loaded from elsewhere.
//
// A group of pages is one file with its handlers and its routes, and its templates
// below templates. A handler parses, calls one function of the package that owns
// the rule, and shows the result; what it returns as an error becomes a page that
// says what, why and what to do next.
package pages

import (
	"net/http"

	"quant"
	"quant/internal/server/caller"
	"quant/internal/session"
	"quant/internal/tracking"
)

// Options are what the pages rest on.
type Options struct {
	Session *session.Session
	// Tracking ends the runs that clients make; nil: there are none.
	Tracking *tracking.Tracking
}

// pages answers requests, many at once.
type pages struct {
	*session.Session
	templates templates
	sections  []section
	clients   *tracking.Tracking
	places    chan struct{} // a place for each process that looks into a file
	routes    []string      // METHOD PATH of what is answered, with parts in braces
}

// section is an entry of the navigation.
type section struct {
	Name string // as shown
	Path string // where it leads
	Key  string // after g, the key that leads there
}

// Handler answers every path that no other face has.
func Handler(o Options) http.Handler {
	_, mux := newPages(o)
	return mux
}

// Routes are what is answered, each METHOD PATH with parts in braces.
func Routes() []string {
	p, _ := newPages(Options{})
	return p.routes
}

func newPages(o Options) (*pages, *http.ServeMux) {
	p := &pages{Session: o.Session, clients: o.Tracking, places: make(chan struct{}, 2)}
	mux := http.NewServeMux()
	for _, routes := range []func(*http.ServeMux) []section{p.runRoutes, p.compareRoutes, p.jobRoutes, p.researchRoutes, p.sqlRoutes} {
		p.sections = append(p.sections, routes(mux)...)
	}
	p.route(mux, "GET "+assetPrefix+"{version}/{name}", serveAsset)
	p.route(mux, "GET /favicon.ico", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, assetURL("icon.svg"), http.StatusFound)
	})
	p.route(mux, "GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/runs", http.StatusFound) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p.fail(w, r, quant.Errorf(quant.NotFound, "there is no page %s", r.URL.Path).WithHint("start from the list of runs"))
	})
	return p, mux
}

func (p *pages) route(mux *http.ServeMux, pattern string, h http.HandlerFunc) {
	p.routes = append(p.routes, pattern)
	mux.HandleFunc(pattern, h)
}

// handle answers pattern with h; its error becomes a page.
func (p *pages) handle(mux *http.ServeMux, pattern string, h func(w http.ResponseWriter, r *http.Request) error) {
	p.route(mux, pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := session.Guard(func() error { return h(w, r) }); err != nil {
			p.fail(w, r, err)
		}
	})
}

// change is handle for what changes the lab: the caller needs the scope to write, and
// the form must be one of these pages.
func (p *pages) change(mux *http.ServeMux, pattern string, h func(w http.ResponseWriter, r *http.Request) error) {
	origin := http.NewCrossOriginProtection()
	p.handle(mux, pattern, func(w http.ResponseWriter, r *http.Request) error {
		if c := caller.From(r.Context()); !c.May(caller.Write) {
			return forbidden{quant.Errorf(quant.Refused, "%q may read this lab, not change it", c.Name).
				WithHint("ask for a token with the scope write")}
		}
		if err := origin.Check(r); err != nil {
			return forbidden{quant.Errorf(quant.Refused, "a form of another site was sent here: %w", err).WithHint("do it on the page of the run")}
		}
		return h(w, r)
	})
}
