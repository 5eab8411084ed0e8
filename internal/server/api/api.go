// Package api is quant's own API over HTTP, in JSON, described by an OpenAPI
// document that is made from its routes. The pages use it as well.
//
// A route is a Go function with its input and output types; the mux, the checks of
// a request and the document are made of these. Rules are those of the packages
// that it calls: nothing is decided here but how a thing is asked for and shown.
package api

import (
	"net/http"

	"quant"
	"quant/internal/runs"
	"quant/internal/server/caller"
	"quant/internal/session"
)

// Prefix is the path below which the API stands.
const Prefix = "/api/v1/"

// Options are what the answers rest on.
type Options struct {
	Session *session.Session
}

// handler answers requests; safe for concurrent use.
type handler struct {
	Options
	mux *http.ServeMux
}

// Handler answers below Prefix. Every answer that is none is a Problem.
func Handler(o Options) http.Handler {
	h := &handler{Options: o, mux: http.NewServeMux()}
	for _, r := range routes() {
		h.mux.HandleFunc(r.method+" "+Prefix+r.path, func(w http.ResponseWriter, req *http.Request) {
			if err := h.serve(r, w, req); err != nil {
				h.fail(w, req, err)
			}
		})
	}
	return h
}

// serve does what a route says for a caller who may.
func (h *handler) serve(r route, w http.ResponseWriter, req *http.Request) error {
	scope := caller.Read
	if r.writes {
		scope = caller.Write
	}
	if !caller.From(req.Context()).May(scope) {
		return problemOf(http.StatusForbidden, quant.Errorf(quant.Refused, "this needs the scope %s", scope).
			WithHint("send a token that has it: `quant tokens create` makes one"))
	}
	return r.handle(h, w, req)
}

// ServeHTTP is http.Handler's.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found, pattern := h.mux.Handler(r)
	if pattern != "" {
		h.mux.ServeHTTP(w, r)
		return
	}
	// The mux says in words whether the path or only the method is unknown.
	said := unsaid{head: http.Header{}}
	found.ServeHTTP(&said, r)
	if allow := said.head.Get("Allow"); said.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", allow)
		h.fail(w, r, problemOf(said.status, quant.Errorf(quant.Usage, "%s takes %s, not %s", quant.Clip(r.URL.Path, 200), allow, quant.Clip(r.Method, 20))))
		return
	}
	h.fail(w, r, quant.Errorf(quant.NotFound, "there is no %s", quant.Clip(r.URL.Path, 200)).WithHint("%sdocs lists what there is", Prefix))
}

// unsaid keeps the status and the head of an answer, and not its text.
type unsaid struct {
	head   http.Header
	status int
}

func (u *unsaid) Header() http.Header         { return u.head }
func (u *unsaid) Write(b []byte) (int, error) { return len(b), nil }
func (u *unsaid) WriteHeader(status int)      { u.status = status }

// actor is who acts for a request.
func (h *handler) actor(r caller.Caller) runs.Actor {
	return runs.Actor{Session: h.Session, By: r.Name}
}

// Routes are what is answered, each METHOD PATH with parts in braces.
func Routes() []string {
	var list []string
	for _, r := range routes() {
		list = append(list, r.method+" "+Prefix+r.path)
	}
	return list
}
