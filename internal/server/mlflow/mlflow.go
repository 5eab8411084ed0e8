// Package mlflow answers what clients of MLflow ask of a tracking server: it
// reads and writes MLflow's documents and calls package tracking, which owns the
// rules.
package mlflow

import (
	"net/http"

	"quant/internal/session"
)

// Options are what the answers rest on.
type Options struct {
	Session *session.Session
}

// Prefixes are the paths below which MLflow's clients ask.
func Prefixes() []string {
	return []string{"/api/2.0/", "/api/3.0/", "/ajax-api/2.0/", "/ajax-api/3.0/"}
}

// Handler answers below Prefixes.
func Handler(o Options) http.Handler { return http.NotFoundHandler() }
