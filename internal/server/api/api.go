// Package api is quant's own API over HTTP, in JSON, described by an OpenAPI
// document that is made from its routes. The pages use it as well.
package api

import (
	"net/http"

	"quant/internal/session"
)

// Prefix is the path below which the API stands.
const Prefix = "/api/v1/"

// Options are what the answers rest on.
type Options struct {
	Session *session.Session
}

// Handler answers below Prefix.
func Handler(o Options) http.Handler { return http.NotFoundHandler() }
