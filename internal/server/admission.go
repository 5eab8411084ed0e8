package server

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/server/caller"
	"quant/internal/server/token"
)

// admission finds out who asks, and lets in who may be let in.
type admission struct {
	demands  bool             // a token, of everybody
	tokens   metastore.Tokens // nil: there are none
	now      func() time.Time
	sessions *sessions
	failures *failures
	refused  interface{ Add(int64) int64 } // counts tokens that were none

	mu   sync.Mutex
	used map[string]quant.Time // by digest: what is to be noted
}

func newAdmission(o Options, place address, m *metrics) *admission {
	d := &admission{
		demands: o.Auth || !place.loopback(), now: o.Clock, used: map[string]quant.Time{},
		failures: &failures{}, refused: &m.failed,
	}
	d.sessions = newSessions(place.port, o.TLSCert != "")
	if o.Session != nil && o.Session.Meta != nil {
		d.tokens = o.Session.Meta
	}
	return d
}

// ready refuses to serve where nobody could be let in.
func (d *admission) ready(ctx context.Context) error {
	if !d.demands {
		return nil
	}
	if d.tokens == nil {
		return quant.Errorf(quant.Store, "the Meta DB, which has the tokens, cannot be used").WithHint("run quant doctor")
	}
	any, err := token.AnyValid(ctx, d.tokens, d.now())
	if err == nil && !any {
		err = quant.Errorf(quant.Refused, "whoever is to reach this server needs a token, and there is none").
			WithHint("quant tokens create NAME makes one; --addr 127.0.0.1:5000 without --login serves this machine alone, without one")
	}
	return err
}

// refusal is why somebody was not let in.
type refusal struct {
	status    int
	err       error
	attempted bool // with a token that is none
}

func (r *refusal) Error() string { return r.err.Error() }

// admit finds out who asks: by the Authorization header, by the cookie of a browser
// that logged in, or, where no token is demanded, whoever it is.
func (d *admission) admit(r *http.Request) (caller.Caller, *refusal) {
	if header := r.Header.Get("Authorization"); header != "" {
		secret, ok := secretIn(r, header)
		if !ok {
			return caller.Caller{}, &refusal{http.StatusUnauthorized, quant.Errorf(quant.Refused, "the Authorization header is neither Bearer nor Basic").
				WithHint("send a token as Authorization: Bearer, or as the password of Basic"), true}
		}
		t, err := d.check(r.Context(), secret)
		return d.let(t, err)
	}
	if digest := d.sessions.find(r, d.now()); digest != "" && d.tokens != nil {
		t, err := token.Still(r.Context(), d.tokens, digest, d.now())
		if err == nil || d.demands {
			return d.let(t, err)
		}
	}
	if !d.demands {
		return caller.Local(), nil
	}
	return caller.Caller{}, &refusal{http.StatusUnauthorized, quant.Errorf(quant.Refused, "a token is needed here").
		WithHint("set MLFLOW_TRACKING_TOKEN, send it as Authorization: Bearer, or log in at /login"), false}
}

func (d *admission) check(ctx context.Context, secret string) (quant.Token, error) {
	if d.tokens == nil {
		return quant.Token{}, quant.Errorf(quant.Store, "the Meta DB, which has the tokens, cannot be used")
	}
	return token.Check(ctx, d.tokens, secret, d.now())
}

// let is the caller that a token stands for.
func (d *admission) let(t quant.Token, err error) (caller.Caller, *refusal) {
	switch quant.CodeOf(err) {
	case "":
	case quant.Refused:
		return caller.Caller{}, &refusal{http.StatusUnauthorized, err, true}
	default: // not the fault of who asks
		return caller.Caller{}, &refusal{http.StatusServiceUnavailable, err, false}
	}
	d.note(t)
	scopes := []caller.Scope{caller.Read}
	if t.Scope == quant.TokenWrites {
		scopes = append(scopes, caller.Write)
	}
	return caller.Caller{Name: t.Name, Scopes: scopes}, nil
}

// secretIn is the token that a header holds: of Basic it is the password, and the
// user may be anybody.
func secretIn(r *http.Request, header string) (secret string, ok bool) {
	if scheme, rest, found := strings.Cut(header, " "); found && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(rest), true
	}
	_, secret, ok = r.BasicAuth()
	return secret, ok
}

// noteEvery is how old what is stored of the last use of a token may be.
const noteEvery = time.Minute

// note remembers that a token was used; flush stores it.
func (d *admission) note(t quant.Token) {
	now := quant.NewTime(d.now())
	if !t.LastUsedAt.IsZero() && now.Sub(t.LastUsedAt.Time) < noteEvery {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used[t.Digest] = now
}

// flush stores when tokens were used.
func (d *admission) flush(ctx context.Context) error {
	d.mu.Lock()
	used := d.used
	d.used = map[string]quant.Time{}
	d.mu.Unlock()
	if len(used) == 0 {
		return nil
	}
	return d.tokens.TokensUsed(ctx, used)
}

// turnAway says why somebody was not let in; who opens a page in a browser is shown
// where to log in.
func (d *admission) turnAway(w http.ResponseWriter, r *http.Request, f *face, why *refusal) {
	if why.attempted {
		d.refused.Add(1)
		if d.failures.many(host(r.RemoteAddr), d.now()) {
			w.Header().Set("Retry-After", "60")
			f.refuse(w, r, http.StatusTooManyRequests, quant.Errorf(quant.Refused, "too many tokens that are none came from this address").
				WithHint("wait a minute"))
			return
		}
	}
	if why.status == http.StatusUnauthorized {
		if f.name == pagesName && (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Header.Get("Authorization") == "" {
			http.Redirect(w, r, loginPath+"?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
			return
		}
		// Not Basic as well: a browser would ask for a user and a password by itself.
		w.Header().Set("WWW-Authenticate", `Bearer realm="quant"`)
	}
	f.refuse(w, r, why.status, why.err)
}

// failures counts, by address and minute, the tokens that were none. A valid token is
// always let in: who shares an address with somebody who guesses is not locked out,
// and 256 bits are not guessed.
type failures struct {
	mu     sync.Mutex
	minute int64
	count  map[string]int
}

// The bounds of failures.
const (
	failuresAMinute = 20
	addressesKnown  = 1000
)

// many counts one more and tells whether they are too many.
func (f *failures) many(address string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if minute := now.Unix() / 60; minute != f.minute || f.count == nil {
		f.minute, f.count = minute, map[string]int{}
	}
	if _, known := f.count[address]; !known && len(f.count) >= addressesKnown {
		address = "" // all others together
	}
	f.count[address]++
	return f.count[address] > failuresAMinute
}
