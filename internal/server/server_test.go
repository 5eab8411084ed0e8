package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"quant"
	"quant/internal/server/caller"
	"quant/internal/server/token"
	"quant/internal/session/sessiontest"
)

// guarded is a server before faces of the test's own.
type guarded struct {
	*httptest.Server
	*handler
	t   *testing.T
	log *syncBuffer
	now time.Time
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func only(method ...string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		for _, m := range method {
			if r.Method == m {
				return true
			}
		}
		return false
	}
}

// plainly refuses as a test reads it.
func plainly(w http.ResponseWriter, _ *http.Request, status int, err error) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "refused: %v (%s)", err, quant.HintOf(err))
}

// guard makes a server at a place, which answers every path by do, streams below
// /stream/, and shows pages below /page.
func guard(t *testing.T, place string, o Options, do http.HandlerFunc) *guarded {
	t.Helper()
	g := &guarded{t: t, log: &syncBuffer{}, now: time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC)}
	if o.Session == nil {
		o.Session = sessiontest.Begin(t).Session
	}
	o.AccessLog, o.Clock = g.log, func() time.Time { return g.now }
	at, err := resolve(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	g.handler = newHandler(o, at)
	own := &face{name: "own", Handler: do, reads: only(http.MethodGet, http.MethodHead), streams: never, refuse: plainly}
	streaming, page := *own, *own
	streaming.streams = func(*http.Request) bool { return true }
	page.name = pagesName
	g.routes = []route{{"/stream/", &streaming}, {"/page", &page}, {"/", own}}
	g.Server = httptest.NewServer(g.handler)
	t.Cleanup(g.Close)
	return g
}

// answered is what came back.
type answered struct {
	*http.Response
	body string
}

// ask sends a request, whose headers are NAME, VALUE, ...; Host is one of them.
func (g *guarded) ask(method, path, body string, headers ...string) answered {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), method, g.URL+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answered{res, string(b)}
}

func (g *guarded) token(name, scope string, expires time.Duration) string {
	g.t.Helper()
	made, err := token.Issue(g.t.Context(), g.options.Session.Meta, token.Request{Name: name, Scope: scope, Expires: expires}, g.now, rand.Reader)
	if err != nil {
		g.t.Fatal(err)
	}
	return made.Secret
}

func who(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, caller.From(r.Context()).Name)
}

func TestOnlyTheNamesOfTheServerAreAnswered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		place, host string
		answered    bool
	}{
		{"127.0.0.1:0", "127.0.0.1:5000", true},
		{"127.0.0.1:0", "localhost", true},
		{"127.0.0.1:0", "LOCALHOST:5000", true},
		{"127.0.0.1:0", "localhost.:5000", true},
		{"127.0.0.1:0", "[::1]:5000", true},
		{"127.0.0.1:0", "127.8.8.8", true},
		{"127.0.0.1:0", "lab.example:443", true}, // trusted
		{"127.0.0.1:0", "evil.example", false},
		{"127.0.0.1:0", "127.0.0.1.evil.example", false},
		{"127.0.0.1:0", "localhost.evil.example", false},
		{"127.0.0.1:0", "lab.example.evil.example", false},
		{"127.0.0.1:0", "192.168.1.5", false},
		{"127.0.0.1:0", "0.0.0.0", false},
		{"127.0.0.1:0", "2130706433", false},
		{"192.168.1.5:0", "192.168.1.5:80", true},
		{"192.168.1.5:0", "192.168.1.6", false},
		{"0.0.0.0:0", "192.168.1.6", true},
		{"0.0.0.0:0", "evil.example", false},
		{":0", "10.0.0.1:5000", true},
	} {
		at, err := resolve(t.Context(), c.place)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = c.host
		status, err := hostsOf(at, []string{"lab.example"}).check(r)
		if (err == nil) != c.answered || (err != nil) != (status == http.StatusForbidden) {
			t.Errorf("at %s, %s: %d, %v", c.place, c.host, status, err)
		}
	}
	g := guard(t, "127.0.0.1:0", Options{}, who)
	if a := g.ask("GET", "/", "", "Host", "evil.example"); a.StatusCode != http.StatusForbidden || !strings.Contains(a.body, "--trusted-host evil.example") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := g.ask("GET", "/health", "", "Host", "10.1.2.3"); a.StatusCode != http.StatusOK || a.body != "OK" {
		t.Errorf("a probe: %d %s", a.StatusCode, a.body)
	}
}

func TestAPageOfAnotherOriginChangesNothing(t *testing.T) {
	t.Parallel()
	changed := 0
	g := guard(t, "127.0.0.1:0", Options{}, func(_ http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			changed++
		}
	})
	for _, c := range []struct {
		method   string
		headers  []string
		answered bool
	}{
		{"POST", nil, true}, // a client that is no browser
		{"POST", []string{"Sec-Fetch-Site", "same-origin"}, true},
		{"POST", []string{"Origin", g.URL}, true},
		{"POST", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"POST", []string{"Sec-Fetch-Site", "same-site"}, false},
		{"PUT", []string{"Origin", "http://evil.example"}, false},
		{"PATCH", []string{"Origin", "null"}, false},
		{"DELETE", []string{"Origin", "http://localhost:1"}, false},
		{"POST", []string{"Origin", "http://evil.example", "Content-Type", "text/plain"}, false},
		{"GET", []string{"Origin", "http://evil.example"}, true}, // it cannot read the answer
	} {
		before := changed
		a := g.ask(c.method, "/x", "{}", c.headers...)
		if got := a.StatusCode == http.StatusOK; got != c.answered || c.method != "GET" && (changed != before) != c.answered {
			t.Errorf("%s %v: %d %s", c.method, c.headers, a.StatusCode, a.body)
		}
		if h := a.Header.Get("Access-Control-Allow-Origin"); h != "" {
			t.Errorf("another origin may read: %q", h)
		}
	}
}

func TestEveryAnswerHasTheHeadersThatKeepABrowserSafe(t *testing.T) {
	t.Parallel()
	g := guard(t, "127.0.0.1:0", Options{}, who)
	for _, path := range []string{"/", "/health", "/metrics", "/version", "/login", "/login.css", "/none"} {
		a := g.ask("GET", path, "")
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := a.Header.Get(name); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s %q", path, name, got)
			}
		}
		for _, never := range []string{"unsafe", "http:", "https:", "*"} {
			if strings.Contains(a.Header.Get("Content-Security-Policy"), never) {
				t.Errorf("%s: the policy has %s", path, never)
			}
		}
	}
	if a := g.ask("GET", "/version", ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("/version: %d", a.StatusCode)
	}
}

func TestWhoHasNoTokenIsLetInAtLoopbackAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		place string
		login bool
		free  bool
	}{{"127.0.0.1:0", false, true}, {"localhost:0", false, true}, {"[::1]:0", false, true}, {"127.0.0.1:0", true, false}, {"0.0.0.0:0", false, false}, {":0", false, false}, {"192.168.1.5:0", false, false}} {
		g := guard(t, c.place, Options{Auth: c.login, TrustedHosts: []string{"127.0.0.1"}}, who)
		err := g.admission.ready(t.Context())
		if (err == nil) != c.free || err != nil && (quant.CodeOf(err) != quant.Refused || !strings.Contains(quant.HintOf(err), "quant tokens create")) {
			t.Errorf("%+v: %v", c, err)
		}
		a := g.ask("GET", "/x", "", "Host", "localhost")
		if free := a.StatusCode == http.StatusOK && a.body == "local"; free != c.free {
			t.Errorf("%+v: %d %s", c, a.StatusCode, a.body)
		}
		if !c.free && a.Header.Get("WWW-Authenticate") != `Bearer realm="quant"` {
			t.Errorf("%+v: asked for %q", c, a.Header.Get("WWW-Authenticate"))
		}
	}
}

func TestATokenLetsInAsItsScopeSays(t *testing.T) {
	t.Parallel()
	g := guard(t, "127.0.0.1:0", Options{Auth: true}, who)
	writes, reads := g.token("writer", quant.TokenWrites, 0), g.token("reader", quant.TokenReads, time.Hour)
	if err := g.admission.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	basic := func(secret string) string {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.SetBasicAuth("anybody", secret)
		return r.Header.Get("Authorization")
	}
	for _, c := range []struct {
		method, authorization string
		status                int
		body                  string
	}{
		{"GET", "Bearer " + writes, 200, "writer"},
		{"POST", "bearer " + writes, 200, "writer"},
		{"POST", basic(writes), 200, "writer"},
		{"GET", "Bearer " + reads, 200, "reader"},
		{"GET", basic(reads), 200, "reader"},
		{"POST", "Bearer " + reads, 403, `token "reader" may only read`},
		{"DELETE", basic(reads), 403, `token "reader" may only read`},
		{"OPTIONS", "Bearer " + reads, 403, `token "reader" may only read`},
		{"GET", "", 401, "a token is needed"},
		{"GET", "Bearer", 401, "neither Bearer nor Basic"},
		{"GET", "Bearer " + writes[:len(writes)-1], 401, "no token of this lab"},
		{"GET", "Bearer " + writes + "a", 401, "no token of this lab"},
		{"GET", "Bearer quant_" + strings.Repeat("a", quant.TokenLength), 401, "no token of this lab"},
		{"GET", "Digest " + writes, 401, "neither Bearer nor Basic"},
		{"GET", writes, 401, "neither Bearer nor Basic"},
	} {
		var headers []string
		if c.authorization != "" {
			headers = []string{"Authorization", c.authorization}
		}
		if a := g.ask(c.method, "/x", "", headers...); a.StatusCode != c.status || !strings.Contains(a.body, c.body) {
			t.Errorf("%s %q: %d %s", c.method, c.authorization, a.StatusCode, a.body)
		}
	}
	g.now = g.now.Add(2 * time.Hour)
	if a := g.ask("GET", "/x", "", "Authorization", "Bearer "+reads); a.StatusCode != 401 || !strings.Contains(a.body, "expired") {
		t.Errorf("expired: %d %s", a.StatusCode, a.body)
	}
	if _, err := g.options.Session.Meta.RevokeToken(t.Context(), "writer", quant.NewTime(g.now)); err != nil {
		t.Fatal(err)
	}
	if a := g.ask("GET", "/x", "", "Authorization", "Bearer "+writes); a.StatusCode != 401 || !strings.Contains(a.body, "revoked") {
		t.Errorf("revoked: %d %s", a.StatusCode, a.body)
	}
	if strings.Contains(g.log.String(), writes) || strings.Contains(g.log.String(), reads) {
		t.Errorf("a token in the access log:\n%s", g.log)
	}
}

func TestAtLoopbackATokenThatIsGivenCounts(t *testing.T) {
	t.Parallel()
	g := guard(t, "127.0.0.1:0", Options{}, who)
	reads := g.token("reader", quant.TokenReads, 0)
	if a := g.ask("GET", "/x", "", "Authorization", "Bearer "+reads); a.body != "reader" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := g.ask("POST", "/x", "", "Authorization", "Bearer "+reads); a.StatusCode != 403 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := g.ask("GET", "/x", "", "Authorization", "Bearer nonsense"); a.StatusCode != 401 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestTheLastUseOfATokenIsNotedOnceAMinute(t *testing.T) {
	t.Parallel()
	g := guard(t, "127.0.0.1:0", Options{Auth: true}, who)
	secret := g.token("a", quant.TokenReads, 0)
	used := func() string {
		if err := g.admission.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := g.options.Session.Meta.ListTokens(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return list[0].LastUsedAt.String()
	}
	begun := g.now
	for _, c := range []struct{ after, noted time.Duration }{{0, 0}, {59 * time.Second, 0}, {time.Minute, time.Minute}} {
		g.now = begun.Add(c.after)
		g.ask("GET", "/x", "", "Authorization", "Bearer "+secret)
		if want := quant.NewTime(begun.Add(c.noted)).String(); used() != want {
			t.Errorf("after %s: %s, want %s", c.after, used(), want)
		}
	}
}

func TestABrowserLogsInAndOut(t *testing.T) {
	t.Parallel()
	g := guard(t, "127.0.0.1:0", Options{Auth: true}, who)
	secret := g.token("me", quant.TokenWrites, 0)
	if a := g.ask("GET", "/page?a=1&b=//x", ""); a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/login?next=%2Fpage%3Fa%3D1%26b%3D%2F%2Fx" {
		t.Fatalf("%d %v", a.StatusCode, a.Header)
	}
	if a := g.ask("GET", "/login?next=/page%3Fa%3D1", ""); a.StatusCode != 200 || !strings.Contains(a.body, `value="/page?a=1"`) {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	for _, next := range []string{"//evil.example", "https://evil.example", `/\evil.example`, "javascript:alert(1)", "/\r\nX: y", ""} {
		if got := local(next); got != "/" {
			t.Errorf("%q leads to %q", next, got)
		}
	}
	form := func(token, next string) answered {
		return g.ask("POST", "/login", "token="+token+"&next="+next, "Content-Type", "application/x-www-form-urlencoded", "Origin", g.URL)
	}
	if a := form("wrong", "/page"); a.StatusCode != 401 || !strings.Contains(a.body, `role="alert"`) || a.Header.Get("Set-Cookie") != "" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	if a := form("%3Cscript%3E", "%22%3E%3Cscript%3E"); strings.Contains(a.body, "<script>") {
		t.Fatalf("not escaped: %s", a.body)
	}
	if a := g.ask("POST", "/login", "token="+secret, "Content-Type", "application/x-www-form-urlencoded", "Origin", "http://evil.example"); a.StatusCode != 403 {
		t.Fatalf("logged in by another origin: %d", a.StatusCode)
	}
	a := form(secret, "/page%3Fa%3D1")
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != "/page?a=1" || len(a.Cookies()) != 1 {
		t.Fatalf("%d %v", a.StatusCode, a.Header)
	}
	c := a.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.MaxAge != 12*60*60 || strings.Contains(c.Value, secret) {
		t.Errorf("cookie %v", c)
	}
	cookie := c.Name + "=" + c.Value
	if a := g.ask("POST", "/page", "", "Cookie", cookie); a.body != "me" {
		t.Errorf("with the cookie: %d %s", a.StatusCode, a.body)
	}
	for _, other := range []string{c.Name + "=x", "other=" + c.Value, c.Name + "=" + c.Value + "x"} {
		if a := g.ask("GET", "/x", "", "Cookie", other); a.StatusCode != 401 {
			t.Errorf("with %s: %d", other, a.StatusCode)
		}
	}
	if a := g.ask("POST", "/logout", "", "Cookie", cookie); a.StatusCode != http.StatusSeeOther || a.Cookies()[0].MaxAge >= 0 {
		t.Errorf("log out: %d %v", a.StatusCode, a.Cookies())
	}
	if a := g.ask("GET", "/x", "", "Cookie", cookie); a.StatusCode != 401 {
		t.Errorf("logged out: %d", a.StatusCode)
	}
	for _, ends := range []func(){
		func() { g.now = g.now.Add(12 * time.Hour) },
		func() {
			if _, err := g.options.Session.Meta.RevokeToken(t.Context(), "me", quant.NewTime(g.now)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		c := form(secret, "").Cookies()[0]
		ends()
		if a := g.ask("GET", "/x", "", "Cookie", c.Name+"="+c.Value); a.StatusCode != 401 {
			t.Errorf("after the end of the session: %d", a.StatusCode)
		}
	}
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	s := newSessions(5000, true)
	now := time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	first := s.begin("sha256:a", now)
	if !first.Secure {
		t.Error("the cookie of TLS is not secure")
	}
	for i := range 2 * sessionsOpen {
		s.begin("sha256:a", now.Add(time.Duration(i+1)*time.Millisecond))
	}
	if len(s.open) != sessionsOpen {
		t.Errorf("%d sessions", len(s.open))
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.AddCookie(first)
	if s.find(r, now) != "" {
		t.Error("the oldest session is still open")
	}
	s.begin("sha256:a", now.Add(24*time.Hour))
	if len(s.open) != 1 {
		t.Errorf("%d sessions, of which one has not ended", len(s.open))
	}
}

func TestWhoGuessesTokensIsHeldOffAndLocksNobodyOut(t *testing.T) {
	t.Parallel()
	g := guard(t, "127.0.0.1:0", Options{Auth: true}, who)
	secret := g.token("me", quant.TokenWrites, 0)
	count := map[int]int{}
	for range 3 * failuresAMinute {
		a := g.ask("GET", "/x", "", "Authorization", "Bearer wrong")
		count[a.StatusCode]++
		if a.StatusCode == 429 && a.Header.Get("Retry-After") == "" {
			t.Fatal("it does not say when to try again")
		}
	}
	if count[401] != failuresAMinute || count[429] != 2*failuresAMinute {
		t.Errorf("%v", count)
	}
	if a := g.ask("GET", "/x", "", "Authorization", "Bearer "+secret); a.body != "me" {
		t.Errorf("locked out: %d", a.StatusCode)
	}
	g.now = g.now.Add(time.Minute)
	if a := g.ask("GET", "/x", "", "Authorization", "Bearer wrong"); a.StatusCode != 401 {
		t.Errorf("a minute later: %d", a.StatusCode)
	}
	var f failures
	for i := range 10 * addressesKnown {
		f.many(fmt.Sprint(i), g.now)
	}
	if len(f.count) > addressesKnown+1 {
		t.Errorf("%d addresses are kept", len(f.count))
	}
}

func TestAPanicEndsOneRequestOnly(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	g := guard(t, "127.0.0.1:0", Options{Session: s.Session}, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/before":
			panic("boom")
		case "/within":
			_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
			w.(http.Flusher).Flush()
			panic(errors.New("boom"))
		case "/nil":
			var none *answered
			none.body = "x"
		}
		_, _ = io.WriteString(w, "fine")
	})
	for _, path := range []string{"/before", "/nil"} {
		if a := g.ask("GET", path, ""); a.StatusCode != 500 || !strings.Contains(a.body, "a defect of quant") || strings.Contains(a.body, "boom") || strings.Contains(a.body, "goroutine") {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	res, err := http.Get(g.URL + "/within")
	if err == nil {
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	if err == nil {
		t.Error("a piece of an answer looks whole")
	}
	if a := g.ask("GET", "/", ""); a.body != "fine" {
		t.Errorf("afterwards: %d %s", a.StatusCode, a.body)
	}
	if a := g.ask("GET", "/metrics", ""); !strings.Contains(a.body, "\nquant_http_panics_total 3\n") || !strings.Contains(a.body, "\nquant_http_requests_in_flight 1\n") {
		t.Errorf("metrics:\n%s", a.body)
	}
	if !strings.Contains(g.log.String(), "goroutine") {
		t.Error("the stack is nowhere")
	}
	if !s.Heard.Has("GET /before: a defect of quant: boom") {
		t.Error("it is not said")
	}
}

func TestBodiesAreBoundedUnlessTheyStream(t *testing.T) {
	t.Parallel()
	g := guard(t, "127.0.0.1:0", Options{}, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		_, _ = fmt.Fprint(w, n)
	})
	send := func(path string, size int64) answered {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, g.URL+path, io.LimitReader(zeros{}, size))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			return answered{&http.Response{StatusCode: 0}, err.Error()} // cut off while it was sent
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return answered{res, string(b)}
	}
	if a := send("/x", maxBody); a.body != fmt.Sprint(maxBody) {
		t.Errorf("the largest: %d %s", a.StatusCode, a.body)
	}
	if a := send("/x", maxBody+1); a.StatusCode == 200 {
		t.Errorf("one more: %d %s", a.StatusCode, a.body)
	}
	if a := send("/stream/x", 3*maxBody); a.body != fmt.Sprint(3*maxBody) {
		t.Errorf("a stream: %d %s", a.StatusCode, a.body)
	}
	if a := g.ask("GET", "/x", "", "X-Large", strings.Repeat("x", 2*maxHeader)); a.StatusCode != http.StatusRequestHeaderFieldsTooLarge && a.StatusCode != http.StatusOK {
		t.Errorf("headers: %d", a.StatusCode)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestTheAccessLogIsOneCleanLineARequest(t *testing.T) {
	t.Parallel()
	g := guard(t, "127.0.0.1:0", Options{}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "hello")
	})
	g.ask("GET", "/a%0a%1b%5b31m%e2%80%ae/user:pw@x?token=hunter2hunter2", "")
	secret := quant.TokenPrefix + strings.Repeat("a", quant.TokenLength)
	g.ask("POST", "/x/"+secret, "")
	g.eventually(func() bool { return strings.Count(g.log.String(), "\n") == 2 })
	lines := strings.Split(strings.TrimSpace(g.log.String()), "\n")
	if want := `2026-01-15T09:30:00.000Z 127.0.0.1 local "GET /a\n\x1b[31m\u202e/`; !strings.HasPrefix(lines[0], want) || !strings.Contains(lines[0], `" 418 5 `) {
		t.Errorf("got  %s\nwant %s", lines[0], want)
	}
	if strings.Contains(g.log.String(), "hunter2") || strings.Contains(g.log.String(), secret) {
		t.Errorf("a secret is in the log:\n%s", g.log)
	}
}

func (g *guarded) eventually(ok func() bool) {
	g.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatalf("waited in vain; the log:\n%s", g.log)
		}
	}
}

func TestMetricsCountByRouteAndNoClientMakesThemMany(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /runs/{id}", who)
	g := guard(t, "127.0.0.1:0", Options{}, mux.ServeHTTP)
	for i := range 50 {
		g.ask("GET", fmt.Sprintf("/runs/%d", i), "")
		g.ask("GET", fmt.Sprintf("/nowhere/%d", i), "")
		g.ask(fmt.Sprintf("METHOD%d", i), "/runs/1", "")
	}
	g.ask("GET", "/health", "")
	a := g.ask("GET", "/metrics", "")
	if got := a.Header.Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("content type %q", got)
	}
	for _, want := range []string{
		`quant_http_requests_total{route="/runs/{id}",method="GET",status="200"} 50`,
		`quant_http_requests_total{route="own",method="GET",status="404"} 50`,
		`quant_http_requests_total{route="own",method="OTHER",status="405"} 50`,
		`quant_http_requests_total{route="/health",method="GET",status="200"} 1`,
		`quant_http_request_duration_seconds_bucket{route="/runs/{id}",le="+Inf"} 50`,
		`quant_http_request_duration_seconds_count{route="/runs/{id}"} 50`,
		"# TYPE quant_http_request_duration_seconds histogram", "quant_runs_open 1", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("no %s", want)
		}
	}
	if n := strings.Count(a.body, "quant_http_requests_total{"); n > 4 {
		t.Errorf("%d series:\n%s", n, a.body)
	}
	for line := range strings.Lines(a.body) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); !ok || name != "#" && strings.ContainsAny(value, " \t") {
			t.Errorf("no line of the format: %q", line)
		}
	}
}

func TestAFaceKnowsWhereAPathEndsOnlyByItsPrefix(t *testing.T) {
	t.Parallel()
	list := routes(Options{}, nil)
	for path, want := range map[string]string{
		"/api/2.0/mlflow/runs/create": "mlflow", "/ajax-api/2.0/mlflow/runs/search": "mlflow", "/api/3.0/mlflow/traces": "mlflow",
		"/api/v1/runs": "api", "/": "pages", "/runs": "pages", "*": "pages", "": "pages",
		"//api/2.0/mlflow/runs/create": "pages", "/x/../api/2.0/mlflow/runs/create": "pages", "/API/2.0/": "pages",
	} {
		if got := faceOf(list, path).name; got != want {
			t.Errorf("%q: %s, want %s", path, got, want)
		}
	}
}

func TestNoFormOfAPathPassesTheGuard(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	h := newHandler(Options{Session: s.Session, Auth: true, Clock: time.Now}, address{ip: netip.MustParseAddr("127.0.0.1")})
	srv := httptest.NewServer(h)
	defer srv.Close()
	for _, path := range []string{
		"/api/2.0/mlflow/experiments/search", "//api/2.0/mlflow/experiments/search", "/./api/2.0/mlflow/experiments/search",
		"/health/../api/2.0/mlflow/experiments/search", "/health/%2e%2e/api/v1/runs", "/login/../api/v1/runs", "/login.css/../runs",
		"/%61pi/v1/runs", "/api/v1/runs;/health", "/health%00/api", "/health/", "/metrics", "/static/../runs", "/favicon.ico", "/assets/x",
		"/ajax-api/2.0/mlflow/runs/search", "/get-artifact?path=../../etc/passwd",
	} {
		for _, method := range []string{"GET", "POST", "HEAD", "OPTIONS"} {
			c, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method, path)
			b, _ := io.ReadAll(c)
			c.Close()
			line, _, _ := strings.Cut(string(b), "\r\n")
			if !strings.Contains(line, " 401 ") && !strings.Contains(line, " 303 ") && !strings.Contains(line, " 400 ") {
				t.Errorf("%s %s: %s", method, path, line)
			}
			if strings.Contains(line, " 303 ") && !strings.Contains(string(b), "Location: /login?next=") {
				t.Errorf("%s %s leads elsewhere: %s", method, path, b)
			}
		}
	}
}

func TestStreamsOfEventsEndWhenServingEnds(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	g := guard(t, "127.0.0.1:0", Options{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: x\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(ended)
	})
	res, err := http.Get(g.URL + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n := g.streams.count(); n != 1 {
		t.Errorf("%d streams", n)
	}
	g.streams.end()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the stream goes on")
	}
	g.eventually(func() bool { return g.streams.count() == 0 })
	cancelled := false
	g.streams.enter(func() { cancelled = true })
	if !cancelled {
		t.Error("a stream begins after the end")
	}
}

func TestASlowClientIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stream  bool
		begun   time.Duration // ago
		minimum time.Duration
		maximum time.Duration
	}{
		{false, 0, stallTime - time.Second, stallTime + time.Second},
		{false, bodyTime - 5*time.Second, 4 * time.Second, 6 * time.Second},
		{true, time.Hour, stallTime - time.Second, stallTime + time.Second},
	} {
		rec := &deadlines{ResponseWriter: httptest.NewRecorder()}
		a := newAnswer(rec, func() func() { return func() {} })
		r := httptest.NewRequest(http.MethodPut, "/", strings.NewReader("xy"))
		b := boundBody(a, r, c.stream)
		if !b.until.IsZero() {
			b.until = b.until.Add(-c.begun)
		}
		if _, err := r.Body.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if left := time.Until(rec.read); left < c.minimum || left > c.maximum {
			t.Errorf("%+v: %v are left", c, left)
		}
		_, _ = io.ReadAll(r.Body)
		if !rec.read.IsZero() {
			t.Errorf("%+v: a body that has ended is waited for until %v", c, rec.read)
		}
		_, _ = a.Write([]byte("x"))
		if left := time.Until(rec.written); left < stallTime-time.Second || left > stallTime {
			t.Errorf("%+v: an answer has %v", c, left)
		}
	}
}

type deadlines struct {
	http.ResponseWriter
	read, written time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error  { d.read = t; return nil }
func (d *deadlines) SetWriteDeadline(t time.Time) error { d.written = t; return nil }

func TestAFileIsSentWhole(t *testing.T) {
	t.Parallel()
	content := strings.Repeat("0123456789abcdef", 3*piece/16) + "end"
	g := guard(t, "127.0.0.1:0", Options{}, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "x.bin", time.Time{}, strings.NewReader(content))
	})
	if a := g.ask("GET", "/", ""); a.body != content || a.ContentLength != int64(len(content)) {
		t.Errorf("%d bytes", len(a.body))
	}
	if a := g.ask("GET", "/", "", "Range", "bytes=16-31"); a.StatusCode != http.StatusPartialContent || a.body != "0123456789abcdef" {
		t.Errorf("%d %q", a.StatusCode, a.body)
	}
	if a := g.ask("HEAD", "/", ""); a.ContentLength != int64(len(content)) || a.body != "" {
		t.Errorf("HEAD: %d", a.ContentLength)
	}
}

func TestTrustedHostsAreNames(t *testing.T) {
	t.Parallel()
	if err := trusted([]string{"lab.example.com", "LAB:8443", "10.0.0.1", "[::1]:80", "my_host", "xn--3e0b707e"}); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", "http://lab.example.com", "lab.example.com/path", "a b", "*.example.com", "연구실"} {
		if err := trusted([]string{"ok", name}); quant.CodeOf(err) != quant.Usage {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAddressesThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	for addr, says := range map[string]string{
		"5000": "missing port", "127.0.0.1": "missing port", "127.0.0.1:": "no port", "127.0.0.1:http": "no port", "127.0.0.1:65536": "no port",
		"127.0.0.1:-1": "no port", "[::1:5000": "missing ']'", "::1:5000": "too many colons", "host.invalid:5000": "no host",
	} {
		_, err := resolve(t.Context(), addr)
		if quant.CodeOf(err) != quant.Usage || !strings.Contains(fmt.Sprint(err), says) || !strings.Contains(quant.HintOf(err), "HOST:PORT") {
			t.Errorf("%q: %v (%s)", addr, err, quant.HintOf(err))
		}
	}
	for addr, loopback := range map[string]bool{"127.0.0.1:0": true, "127.1.2.3:0": true, "localhost:0": true, "[::1]:0": true, "[::ffff:127.0.0.1]:0": true, ":0": false, "0.0.0.0:0": false, "[::]:0": false, "10.0.0.1:0": false} {
		at, err := resolve(t.Context(), addr)
		if err != nil || at.loopback() != loopback {
			t.Errorf("%q: %v, loopback %v", addr, err, at.loopback())
		}
	}
}

func TestDeadRunsAreClosedAndOthersSweptWhileServing(t *testing.T) {
	t.Parallel()
	swept := make(chan struct{}, 1)
	s := sessiontest.Begin(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	ready := make(chan string, 1)
	go func() {
		ended <- Serve(ctx, Options{
			Session: s.Session, Addr: "127.0.0.1:0", Ready: func(url string) { ready <- url },
			Sweep: func(context.Context) error {
				select {
				case swept <- struct{}{}:
				default:
				}
				return nil
			},
		})
	}()
	url := <-ready
	if res, err := http.Get(url + "/health"); err != nil || res.StatusCode != 200 {
		t.Fatal(err)
	}
	select {
	case <-swept:
	case <-time.After(10 * keepEvery):
		t.Fatal("nothing is swept")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := s.Recorded(s.RunID()); got.Status != quant.Running {
		t.Errorf("the server ended the run that is its caller's: %s", got.Status)
	}
	tags, err := s.Meta.Tags(t.Context(), s.RunID())
	if err != nil || len(tags) != 1 || tags[0].Name != URLTag || tags[0].Value != url {
		t.Errorf("%v, %v", tags, err)
	}
}
