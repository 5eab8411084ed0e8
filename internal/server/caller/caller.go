// Package caller is who asks something of the server: what its guard found out
// about a request, for the faces behind it.
package caller

import "context"

// Scope is what a token allows.
type Scope string

// The scopes. Write includes Read.
const (
	Read  Scope = "read"
	Write Scope = "write"
)

// Caller is who sent a request.
type Caller struct {
	// Name is that of the token, or "local" where none is demanded.
	Name   string
	Scopes []Scope
}

// Local is the caller of a server that only this machine reaches and that demands
// no token.
func Local() Caller { return Caller{Name: "local", Scopes: []Scope{Read, Write}} }

// May tells whether the caller has a scope.
func (c Caller) May(s Scope) bool {
	for _, has := range c.Scopes {
		if has == s || has == Write {
			return true
		}
	}
	return false
}

type key struct{}

// With returns a context that knows the caller.
func With(ctx context.Context, c Caller) context.Context { return context.WithValue(ctx, key{}, c) }

// From is the caller that With put into a context; one without any scope where
// nobody did.
func From(ctx context.Context) Caller {
	c, _ := ctx.Value(key{}).(Caller)
	return c
}
