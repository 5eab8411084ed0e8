// Package server is the lab behind HTTP: it listens, guards, measures and ends;
// what is answered is said by its faces, each a package below it: mlflow (the API
// of MLflow's clients), api (quant's own) and pages.
package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"quant"
	"quant/internal/server/api"
	"quant/internal/server/caller"
	"quant/internal/server/mlflow"
	"quant/internal/server/pages"
	"quant/internal/session"
)

// Options say what is served, and where.
type Options struct {
	Session *session.Session // the run that serving is recorded as
	Addr    string           // HOST:PORT; port 0: any
	// Ready is told the address once requests are answered.
	Ready func(url string)
}

// Serve answers requests until ctx ends, then lets those that it is answering
// finish. Errors: Conflict when the address is taken, Invalid when it is none.
func Serve(ctx context.Context, o Options) error {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", o.Addr)
	if err != nil {
		return quant.Errorf(quant.Conflict, "serve on %s: %w", o.Addr, err).WithHint("choose another address with --addr")
	}
	defer o.Session.ShareFacts()()
	srv := &http.Server{Handler: Handler(o), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	if o.Ready != nil {
		o.Ready("http://" + l.Addr().String())
	}
	select {
	case err := <-ended:
		return quant.Errorf(quant.Failed, "serve on %s: %w", o.Addr, err)
	case <-ctx.Done():
	}
	closing, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	if err := srv.Shutdown(closing); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return quant.Errorf(quant.Failed, "end serving: %w", err)
	}
	return nil
}

// Handler answers what Serve answers.
func Handler(o Options) http.Handler {
	mux := http.NewServeMux()
	client := mlflow.Handler(mlflow.Options{Session: o.Session})
	for _, prefix := range mlflow.Prefixes() {
		mux.Handle(prefix, client)
	}
	mux.Handle(api.Prefix, api.Handler(api.Options{Session: o.Session}))
	mux.Handle("/", pages.Handler(pages.Options{Session: o.Session}))
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("OK")) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(caller.With(r.Context(), caller.Local())))
	})
}
