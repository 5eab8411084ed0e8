package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"quant"
	"quant/internal/registry"
	"quant/internal/server/caller"
)

// handler is the whole of what a server answers.
type handler struct {
	options   Options
	routes    []route
	hosts     hosts
	origins   *http.CrossOriginProtection
	admission *admission
	metrics   *metrics
	access    *accessLog
	streams   *streams
	lab       standing
}

func newHandler(o Options, place address) *handler {
	clients := clientsOf(o)
	if o.Sweep == nil && clients != nil && clients.Store != nil {
		o.Sweep = func(ctx context.Context) error {
			_, err := clients.Sweep(ctx)
			return err
		}
	}
	h := &handler{
		options: o, routes: routes(o, clients), hosts: hostsOf(place, o.TrustedHosts), origins: http.NewCrossOriginProtection(),
		metrics: newMetrics(o.Clock()), access: &accessLog{to: o.AccessLog}, streams: newStreams(), lab: standingOf(o),
	}
	if o.Session != nil {
		h.access.mask = o.Session.Mask
		if o.Session.Mask != nil {
			o.Session.Mask.ServesMany()
		}
	}
	h.admission = newAdmission(o, place, h.metrics)
	return h
}

// ServeHTTP measures what serve answers, and makes an error of its panic.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	asked := &request{}
	r = r.WithContext(context.WithValue(ctx, requestKey{}, asked))
	a := newAnswer(w, func() (left func()) { return h.streams.enter(cancel) })
	f := faceOf(h.routes, r.URL.Path)
	h.metrics.began()
	whole := false
	defer func() {
		p := recover()
		aborted := false
		if p != nil {
			err, _ := p.(error)
			aborted = errors.Is(err, http.ErrAbortHandler)
			if !aborted {
				h.panicked(a, r, f, p)
			}
		} else if !whole {
			aborted = true // runtime.Goexit
		}
		a.close()
		took := time.Since(begun)
		name := r.Pattern
		if name == "" {
			name = f.name
		}
		h.metrics.ended(name, r.Method, a.status(), a.bytes, took)
		h.access.line(h.options.Clock(), r, a.status(), a.bytes, took, asked.caller)
		if aborted || p != nil && a.begun() && !a.refused {
			panic(http.ErrAbortHandler) // the client must not take the piece for the whole
		}
	}()
	secure(a.Header())
	h.serve(a, r, f)
	whole = true
}

// serve lets a request pass the guard, and its face answer it.
func (h *handler) serve(a *answer, r *http.Request, f *face) {
	switch r.URL.Path {
	case "/health": // for probes, which know no name and no token
		h.health(a, r)
		return
	case "/version": // said only by who takes traces by OTLP, as MLflow's clients read it
		http.NotFound(a, r)
		return
	}
	if status, err := h.hosts.check(r); err != nil {
		f.refuse(a, r, status, err)
		return
	}
	if err := h.origins.Check(r); err != nil {
		f.refuse(a, r, http.StatusForbidden, quant.Errorf(quant.Refused, "a page of another origin asked for this: %w", err).
			WithHint("open the page at this server itself; behind a proxy, keep the Host header as the browser sent it"))
		return
	}
	if embedded(r) {
		f.refuse(a, r, http.StatusForbidden, quant.Errorf(quant.Refused, "a page of another origin loads this").
			WithHint("open it by a link, or at this server itself"))
		return
	}
	body := boundBody(a, r, f.streams(r))
	defer body.end()
	if h.admission.answers(a, r) {
		return
	}
	who, refusal := h.admission.admit(r)
	if refusal != nil {
		h.admission.turnAway(a, r, f, refusal)
		return
	}
	if asked, ok := r.Context().Value(requestKey{}).(*request); ok {
		asked.caller = who.Name
	}
	need := caller.Write
	if r.URL.Path == metricsPath || f.reads(r) {
		need = caller.Read
	}
	if !who.May(need) {
		f.refuse(a, r, http.StatusForbidden, quant.Errorf(quant.Refused, "token %q may only read", who.Name).
			WithHint("create one that may write: quant tokens create NAME --scope write"))
		return
	}
	if r.URL.Path == metricsPath {
		h.showMetrics(a, r)
		return
	}
	if err := h.lab.check(); err != nil {
		f.refuse(a, r, http.StatusServiceUnavailable, err)
		return
	}
	inner := r.WithContext(caller.With(r.Context(), who))
	f.ServeHTTP(a, inner)
	r.Pattern = inner.Pattern // that of the face's own routes
}

// embedded tells whether a page of another origin loads something, as a picture, a
// script or a frame, or by a request of its own. A browser would not let it see the
// answer; so nothing is done for it. A link may lead here.
func embedded(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none": // a program, a page of this server, who looks
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}

func (h *handler) health(w http.ResponseWriter, r *http.Request) {
	r.Pattern = "/health"
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		notAllowed(w, "GET, HEAD")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if h.lab.check() != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte("the lab is gone"))
		return
	}
	_, _ = w.Write([]byte("OK"))
}

// panicked answers a request that a defect of this program ended, and says so.
func (h *handler) panicked(a *answer, r *http.Request, f *face, p any) {
	h.metrics.panics.Add(1)
	err := registry.Panicked(p)
	if h.options.Session != nil {
		h.options.Session.Say().Warn("%s %s: a defect of quant: %v", r.Method, r.URL.Path, p)
	}
	h.access.defect(err)
	if a.begun() {
		return
	}
	a.refused = true
	f.refuse(a, r, http.StatusInternalServerError, quant.Errorf(quant.Failed, "this request met a defect of quant").
		WithHint("what the server wrote on stderr, with --log-level debug, says more"))
}

// request is what is known of a request only once it passed the guard.
type request struct{ caller string }

type requestKey struct{}

// secure sets the headers that every answer has unless its face says otherwise:
// nothing is loaded from elsewhere, nothing is guessed, nothing is told to others.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"font-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
