package server

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"quant"
)

const (
	loginPath  = "/login"
	logoutPath = "/logout"
	loginStyle = "/login.css"
)

// The bounds of sessions.
const (
	sessionTime  = 12 * time.Hour
	sessionsOpen = 1000
)

// sessions are the browsers that logged in. They are forgotten when the server ends.
type sessions struct {
	cookie string // cookies know no port, so its name does
	secure bool

	mu   sync.Mutex
	open map[[sha256.Size]byte]loggedIn // by the digest of the id
}

type loggedIn struct {
	token string // its digest: a token that is revoked ends its sessions
	until time.Time
}

func newSessions(port uint16, secure bool) *sessions {
	return &sessions{cookie: "quant_session_" + strconv.Itoa(int(port)), secure: secure, open: map[[sha256.Size]byte]loggedIn{}}
}

// begin opens a session for a token and returns its cookie.
func (s *sessions) begin(digest string, now time.Time) *http.Cookie {
	id := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, one := range s.open {
		if !now.Before(one.until) {
			delete(s.open, key)
		}
	}
	if len(s.open) >= sessionsOpen { // the one that would end first
		var first [sha256.Size]byte
		var soonest time.Time
		for key, one := range s.open {
			if soonest.IsZero() || one.until.Before(soonest) {
				first, soonest = key, one.until
			}
		}
		delete(s.open, first)
	}
	s.open[sha256.Sum256([]byte(id))] = loggedIn{digest, now.Add(sessionTime)}
	return s.made(id, int(sessionTime.Seconds()))
}

func (s *sessions) made(value string, age int) *http.Cookie {
	return &http.Cookie{Name: s.cookie, Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteStrictMode}
}

// find returns the digest of the token with which the browser of a request logged in,
// "" for none.
func (s *sessions) find(r *http.Request, now time.Time) string {
	c, err := r.Cookie(s.cookie)
	if err != nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.open[sha256.Sum256([]byte(c.Value))]
	if !ok || !now.Before(one.until) {
		return ""
	}
	return one.token
}

// end forgets the session of a request and returns the cookie that takes it away.
func (s *sessions) end(r *http.Request) *http.Cookie {
	if c, err := r.Cookie(s.cookie); err == nil {
		s.mu.Lock()
		delete(s.open, sha256.Sum256([]byte(c.Value)))
		s.mu.Unlock()
	}
	return s.made("", -1)
}

// answers answers the paths by which a browser is let in and out, and tells whether
// the path was one of them.
func (d *admission) answers(w http.ResponseWriter, r *http.Request) bool {
	switch r.URL.Path {
	case loginPath:
		r.Pattern = loginPath
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			d.showLogin(w, http.StatusOK, local(r.URL.Query().Get("next")), nil)
		case http.MethodPost:
			d.logIn(w, r)
		default:
			notAllowed(w, "GET, HEAD, POST")
		}
	case logoutPath:
		r.Pattern = logoutPath
		if r.Method != http.MethodPost {
			notAllowed(w, "POST")
			break
		}
		http.SetCookie(w, d.sessions.end(r))
		http.Redirect(w, r, loginPath, http.StatusSeeOther)
	case loginStyle:
		r.Pattern = loginStyle
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "max-age=3600")
		_, _ = w.Write([]byte(loginCSS))
	default:
		return false
	}
	return true
}

func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
}

// logIn opens a session for a token that is one.
func (d *admission) logIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := r.ParseForm(); err != nil {
		d.showLogin(w, http.StatusBadRequest, "/", quant.Errorf(quant.Invalid, "this is no form"))
		return
	}
	next := local(r.PostForm.Get("next"))
	t, err := d.check(r.Context(), strings.TrimSpace(r.PostForm.Get("token")))
	switch quant.CodeOf(err) {
	case "":
		d.note(t)
		http.SetCookie(w, d.sessions.begin(t.Digest, d.now()))
		http.Redirect(w, r, next, http.StatusSeeOther)
	case quant.Refused:
		d.refused.Add(1)
		if d.failures.many(host(r.RemoteAddr), d.now()) {
			w.Header().Set("Retry-After", "60")
			d.showLogin(w, http.StatusTooManyRequests, next, quant.Errorf(quant.Refused, "too many tokens that are none: wait a minute"))
			return
		}
		d.showLogin(w, http.StatusUnauthorized, next, err)
	default:
		d.showLogin(w, http.StatusServiceUnavailable, next, err)
	}
}

// local is a path of this server to go on with, / for anything else.
func local(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}

func (d *admission) showLogin(w http.ResponseWriter, status int, next string, why error) {
	said := ""
	if why != nil {
		said = `<p role="alert">` + html.EscapeString(why.Error()) + `</p>`
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, loginPage, said, html.EscapeString(next))
}

const loginPage = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in - quant</title>
<link rel="stylesheet" href="/login.css">
</head>
<body>
<main>
<h1>quant</h1>
%s
<form method="post" action="/login">
<input type="hidden" name="next" value="%s">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button>
</form>
<p>Where the lab is, <code>quant tokens create NAME</code> makes one.</p>
</main>
</body>
</html>
`

const loginCSS = `:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { display: grid; place-items: center; min-height: 90vh; margin: 0; }
main { width: min(22rem, 90vw); }
h1 { font-size: 1.4rem; }
label { display: block; margin-bottom: .25rem; }
input[type=password], button { box-sizing: border-box; width: 100%; padding: .5rem; font: inherit; margin-bottom: .75rem; }
[role=alert] { border-left: 4px solid #c62828; padding-left: .75rem; }
`
