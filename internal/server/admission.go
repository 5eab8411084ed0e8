package server

import (
	"context"
	"net/http"

	"quant"
	"quant/internal/server/caller"
)

// admission decides who may ask.
type admission struct {
	demands bool // a token
}

func newAdmission(o Options, place address) *admission {
	return &admission{demands: o.Auth || !place.loopback()}
}

// ready refuses to serve where nobody could be let in.
func (d *admission) ready(context.Context) error {
	if !d.demands {
		return nil
	}
	return quant.Errorf(quant.Refused, "whoever reaches this address would be let in")
}

// answers answers the paths by which a browser is let in and out.
func (d *admission) answers(http.ResponseWriter, *http.Request) bool { return false }

// admit finds out who asks.
func (d *admission) admit(*http.Request) (caller.Caller, error) { return caller.Local(), nil }

func (d *admission) turnAway(w http.ResponseWriter, r *http.Request, f *face, err error) {
	f.refuse(w, r, http.StatusUnauthorized, err)
}
