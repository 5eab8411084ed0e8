// Package pages shows the lab in a browser: pages rendered here, with their
// scripts and styles embedded, so that nothing is loaded from elsewhere.
package pages

import (
	"net/http"

	"quant/internal/session"
)

// Options are what the pages rest on.
type Options struct {
	Session *session.Session
}

// Handler answers every path that no other face has.
func Handler(o Options) http.Handler { return http.NotFoundHandler() }
