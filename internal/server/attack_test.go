package server

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/server/api"
	"quant/internal/server/mlflow"
	"quant/internal/server/pages"
	"quant/internal/session/sessiontest"
)

// whole is a server with all its faces.
func whole(t *testing.T, o Options) *guarded {
	t.Helper()
	if o.Session == nil {
		o.Session = sessiontest.Begin(t).Session
	}
	g := guard(t, "127.0.0.1:0", o, who)
	g.routes = routes(g.options, clientsOf(g.options))
	return g
}

// asked is one request for each route.
type asked struct{ method, path string }

// everything is all that any face answers, with "x" for what is in braces.
func everything() (list []asked) {
	filled := regexp.MustCompile(`\{[^}]*\}`)
	for _, some := range [][]string{mlflow.Routes(), api.Routes(), pages.Routes()} {
		for _, route := range some {
			method, path, _ := strings.Cut(route, " ")
			path = filled.ReplaceAllString(strings.TrimSuffix(path, "{$}"), "x")
			list = append(list, asked{method, path})
			if rest, found := strings.CutPrefix(path, "/api/"); found && !strings.HasPrefix(path, api.Prefix) {
				list = append(list, asked{method, "/ajax-api/" + rest})
				list = append(list, asked{method, strings.Replace(path, "/mlflow/", "/preview/mlflow/", 1)})
			}
		}
	}
	return list
}

// searching are the requests that change nothing although they are no GET: searches
// that MLflow's clients send by POST, and what is not offered.
func searching(a asked) bool {
	path := strings.Replace(a.path, "/preview/", "/", 1)
	for _, end := range []string{
		"/runs/search", "/experiments/search", "/experiments/search-datasets", "/logged-models/search", "/registered-models/get-latest-versions",
		"/metrics/get-history-bulk-interval",
	} {
		if strings.HasSuffix(path, "2.0/mlflow"+end) {
			return a.method == http.MethodPost
		}
	}
	return false
}

func TestWhoHasNoTokenGetsNothingOfAnyRoute(t *testing.T) {
	t.Parallel()
	g := whole(t, Options{Auth: true})
	all := append(everything(), asked{"GET", "/metrics"}, asked{"GET", "/"}, asked{"GET", "/nothing"}, asked{"POST", "/nothing"}, asked{"OPTIONS", "/runs"}, asked{"PROPFIND", "/runs"})
	if len(all) < 150 {
		t.Fatalf("only %d routes", len(all))
	}
	for _, a := range all {
		for _, headers := range [][]string{nil, {"Authorization", "Bearer "}, {"Cookie", g.admission.sessions.cookie + "=x"}} {
			g.now = g.now.Add(time.Minute) // too many a minute would be 429
			r := g.ask(a.method, a.path, "{}", headers...)
			toLogin := r.StatusCode == http.StatusSeeOther && strings.HasPrefix(r.Header.Get("Location"), "/login?next=")
			if r.StatusCode != http.StatusUnauthorized && !toLogin {
				t.Errorf("%s %s %v: %d %s", a.method, a.path, headers, r.StatusCode, r.body)
			}
		}
	}
	for _, path := range []string{"/api/v1/runs", "/runs", "/api/2.0/mlflow/experiments/search"} { // no place but a header holds a token
		for _, name := range []string{"token", "access_token", "api_key", "Authorization"} {
			secret := g.token(name+strings.ReplaceAll(path, "/", "-"), quant.TokenWrites, 0)
			r := g.ask("GET", path+"?"+name+"="+secret, "")
			if r.StatusCode != 401 && r.StatusCode != 303 {
				t.Errorf("a token as %s in the address of %s: %d", name, path, r.StatusCode)
			}
			if strings.Contains(g.log.String(), secret) {
				t.Error("it stands in the access log")
			}
		}
	}
	if r := g.ask("GET", "/health", ""); r.StatusCode != 200 || r.body != "OK" {
		t.Errorf("health: %d %q", r.StatusCode, r.body)
	}
}

func TestAReadingTokenChangesNothingByAnyRoute(t *testing.T) {
	t.Parallel()
	g := whole(t, Options{Auth: true})
	reader := g.token("reader", quant.TokenReads, 0)
	recorded := func() int {
		list, err := g.options.Session.Meta.ListRuns(t.Context(), metastore.RunFilter{All: true, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	before, refused := recorded(), 0
	for _, a := range everything() {
		if strings.HasPrefix(a.path, "/sql/") {
			continue // a query is a run, and a process
		}
		r := g.ask(a.method, a.path, "{}", "Authorization", "Bearer "+reader, "Content-Type", "application/json")
		reads := a.method == http.MethodGet || searching(a)
		switch {
		case r.StatusCode == http.StatusForbidden && !reads:
			refused++
		case r.StatusCode == http.StatusForbidden || r.StatusCode == http.StatusUnauthorized:
			t.Errorf("%s %s is not read: %d %s", a.method, a.path, r.StatusCode, r.body)
		case !reads && r.StatusCode != http.StatusNotImplemented && !(r.StatusCode == 404 && strings.Contains(r.body, "ENDPOINT_NOT_FOUND")):
			t.Errorf("%s %s passes: %d %s", a.method, a.path, r.StatusCode, r.body)
		}
	}
	if refused < 50 {
		t.Errorf("only %d were refused", refused)
	}
	if after := recorded(); after != before {
		t.Errorf("%d runs, then %d", before, after)
	}
}

func TestAPageOfAnotherOriginLoadsNothing(t *testing.T) {
	t.Parallel()
	g := whole(t, Options{})
	for _, c := range []struct {
		site, mode, dest string
		status           int
	}{
		{"", "", "", 200},
		{"same-origin", "cors", "empty", 200},
		{"same-origin", "navigate", "iframe", 200},
		{"none", "navigate", "document", 200},
		{"cross-site", "navigate", "document", 200}, // a link
		{"same-site", "navigate", "document", 200},
		{"cross-site", "navigate", "iframe", 403},
		{"cross-site", "no-cors", "image", 403},
		{"cross-site", "no-cors", "script", 403},
		{"same-site", "cors", "empty", 403}, // another port of this machine
		{"cross-site", "websocket", "websocket", 403},
		{"anything", "", "", 403},
	} {
		for _, path := range []string{"/runs", "/api/v1/runs", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"} {
			r := g.ask("GET", path, "", "Sec-Fetch-Site", c.site, "Sec-Fetch-Mode", c.mode, "Sec-Fetch-Dest", c.dest)
			if r.StatusCode != c.status {
				t.Errorf("%+v %s: %d %s", c, path, r.StatusCode, r.body)
			}
		}
	}
}

// A value that its name says is a secret is nowhere: not in what is stored, not in
// an answer, also not one that says what is wrong, not in the log.
func TestASecretThatAClientLogsIsShownNowhere(t *testing.T) {
	t.Parallel()
	const canary, other = "hunter2canaryq7", "hunter3canaryq8"
	g := whole(t, Options{})
	run, runID := g.clientRun()
	var seen []string
	send := func(path, body string) {
		r := g.ask("POST", "/api/2.0/mlflow/"+path, body, "Content-Type", "application/json")
		seen = append(seen, fmt.Sprintf("POST %s: %d %s", path, r.StatusCode, r.body))
	}
	for _, value := range []string{canary, other} { // the second says that the first cannot be changed
		send("runs/log-parameter", `{"run_id":"`+run+`","key":"api_key","value":"`+value+`"}`)
		send("runs/log-batch", `{"run_id":"`+run+`","params":[{"key":"model.password","value":"`+value+`"}],"tags":[{"key":"secret_token","value":"`+value+`"}]}`)
	}
	send("runs/set-tag", `{"run_id":"`+run+`","key":"password","value":"`+canary+`"}`)
	send("runs/set-tag", `{"run_id":"`+run+`","key":"url","value":"postgres://u:`+canary+`@h/db"}`)
	for _, path := range []string{
		"/api/2.0/mlflow/runs/get?run_id=" + run, "/api/v1/runs/" + runID, "/runs/" + runID, "/runs/" + runID + "/params", "/runs?columns=params.api_key,tags.password",
		"/runs/rows?columns=params.api_key", "/api/v1/runs?columns=params.api_key", "/runs/password=" + canary, "/api/v1/runs/password=" + canary,
	} {
		r := g.ask("GET", path, "")
		if strings.Contains(path, canary) { // who sends it sees it
			continue
		}
		seen = append(seen, fmt.Sprintf("GET %s: %d %s", path, r.StatusCode, r.body))
	}
	seen = append(seen, "log: "+g.log.String())
	for _, text := range seen {
		if strings.Contains(text, canary) || strings.Contains(text, other) {
			t.Error(text)
		}
		if strings.HasPrefix(text, "GET") && !strings.Contains(text, ": 200 ") {
			t.Error(text)
		}
	}
}

func TestWhatOneClientCallsASecretIsNotTakenFromAnother(t *testing.T) {
	t.Parallel()
	g := whole(t, Options{})
	run, _ := g.clientRun()
	g.ask("POST", "/api/2.0/mlflow/runs/log-parameter", `{"run_id":"`+run+`","key":"token","value":"momentum"}`, "Content-Type", "application/json")
	g.ask("POST", "/api/2.0/mlflow/runs/set-tag", `{"run_id":"`+run+`","key":"api_key","value":"sharpe"}`, "Content-Type", "application/json")
	run, _ = g.clientRun()
	g.ask("POST", "/api/2.0/mlflow/runs/log-batch", `{"run_id":"`+run+`","params":[{"key":"signal","value":"momentum"}],"tags":[{"key":"by","value":"the best sharpe"}],
		"metrics":[{"key":"sharpe","value":1.5,"timestamp":1,"step":0}]}`, "Content-Type", "application/json")
	r := g.ask("GET", "/api/2.0/mlflow/runs/get?run_id="+run, "")
	for _, want := range []string{`"value":"momentum"`, `"value":"the best sharpe"`, `"key":"sharpe"`} {
		if !strings.Contains(r.body, want) {
			t.Errorf("%s is not in %s", want, r.body)
		}
	}
}

// clientRun begins a run as a client of MLflow and returns its id there and here.
func (g *guarded) clientRun() (id, runID string) {
	g.t.Helper()
	r := g.ask("POST", "/api/2.0/mlflow/runs/create", `{"experiment_id":"0","start_time":1}`, "Content-Type", "application/json")
	found := regexp.MustCompile(`"run_id":"([0-9a-f]{32})"`).FindStringSubmatch(r.body)
	if r.StatusCode != 200 || found == nil {
		g.t.Fatalf("%d %s", r.StatusCode, r.body)
	}
	id = found[1]
	return id, id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}

// What is long or deep is refused, or answered in time that grows with it; nothing of
// it is a defect.
func TestNoRequestTakesMoreTimeThanItsLengthIsWorth(t *testing.T) {
	t.Parallel()
	g := whole(t, Options{})
	run, _ := g.clientRun()
	document := func(path, body string) asked { return asked{path, body} }
	quoted := func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`) }
	var all []asked
	for _, filter := range []string{
		strings.Repeat("metrics.a > 1 AND ", 5000) + "metrics.a > 1",
		strings.Repeat("'", 1<<19), strings.Repeat("\"", 1<<19), strings.Repeat("`", 1<<19), strings.Repeat("a.", 1<<18), strings.Repeat("(", 1<<19),
		"params.a LIKE '" + strings.Repeat("%a", 1<<18) + "'",
		"params.a ILIKE '" + strings.Repeat("%_", 1<<14) + "b'",
		"attributes.run_id IN ('" + strings.Repeat("a','", 1<<17) + "a')",
		strings.Repeat("a.", 1<<16), strings.Repeat("tags.a = 'b' AND ", 499) + "tags.a = 'b'", strings.Repeat("metrics.a > 1 AND ", 499) + "metrics.a > 1",
	} {
		all = append(all, document("runs/search", `{"experiment_ids":["0"],"filter":"`+quoted(filter)+`"}`))
		all = append(all, document("experiments/search", `{"max_results":10,"filter":"`+quoted(filter)+`"}`))
		all = append(all, document("logged-models/search", `{"experiment_ids":["0"],"filter":"`+quoted(filter)+`"}`))
	}
	all = append(all,
		document("runs/log-batch", `{"run_id":"`+run+`","metrics":`+strings.Repeat("[", 1<<20)+`}`),
		document("runs/log-batch", `{"run_id":"`+run+`","x":`+strings.Repeat(`{"a":`, 1<<19)+`1`+strings.Repeat("}", 1<<19)+`}`),
		document("runs/log-batch", `{"run_id":"`+run+`","params":[`+strings.Repeat(`{"key":"k","value":"`+strings.Repeat("v", 6000)+`"},`, 1000)+`{"key":"k","value":"v"}]}`),
		document("runs/set-tag", `{"run_id":"`+run+`","key":"`+strings.Repeat("k", 1<<20)+`","value":"`+strings.Repeat("v", 1<<20)+`"}`),
		document("runs/search", `{"experiment_ids":[`+strings.Repeat(`"1",`, 100000)+`"0"]}`),
		document("runs/search", `{"experiment_ids":["0"],"order_by":[`+strings.Repeat(`"metrics.a",`, 100000)+`"metrics.b"]}`),
		document("logged-models/search", `{"experiment_ids":["0"],"order_by":[`+strings.Repeat(`{"field_name":"metrics.a"},`, 100000)+`{"field_name":"metrics.b"}]}`),
	)
	for _, one := range all {
		begun := time.Now()
		r := g.ask("POST", "/api/2.0/mlflow/"+one.method, one.path, "Content-Type", "application/json")
		if took := time.Since(begun); took > 5*time.Second || r.StatusCode >= 500 {
			t.Errorf("%s %.80s: %d %.200s in %s", one.method, one.path, r.StatusCode, r.body, took)
		}
		if len(r.body) > 1<<16 {
			t.Errorf("%s %.80s: answered by %d bytes", one.method, one.path, len(r.body))
		}
	}
	for _, path := range []string{"/api/v1/runs?", "/runs?", "/runs/rows?"} {
		var columns []string
		for i := range 3000 {
			columns = append(columns, fmt.Sprintf("params.p%d", i))
		}
		begun := time.Now()
		r := g.ask("GET", path+"columns="+strings.Join(columns, ","), "")
		if took := time.Since(begun); took > 5*time.Second || r.StatusCode >= 500 {
			t.Errorf("%d columns at %s: %d %.200s in %s", len(columns), path, r.StatusCode, r.body, took)
		}
	}
	for _, query := range []string{strings.Repeat("(", 10000), strings.Repeat("not ", 8000), strings.Repeat("a=1 and ", 3000) + "a=1", strings.Repeat("'", 20000)} {
		for _, path := range []string{"/api/v1/runs?q=", "/runs?q=", "/runs/complete?q=", "/compare?q="} {
			begun := time.Now()
			r := g.ask("GET", path+url.QueryEscape(query), "")
			if took := time.Since(begun); took > 5*time.Second || r.StatusCode >= 500 {
				t.Errorf("%s%.40s: %d %.200s in %s", path, query, r.StatusCode, r.body, took)
			}
		}
	}
}

// A body in a coding is not unpacked: what it would become has no bound.
func TestNoBodyIsUnpacked(t *testing.T) {
	t.Parallel()
	g := whole(t, Options{})
	r := g.ask("POST", "/api/2.0/mlflow/experiments/search", "\x1f\x8b\x08\x00", "Content-Type", "application/json", "Content-Encoding", "gzip")
	if r.StatusCode != http.StatusBadRequest {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
}

// What a client sends stands in a header of an answer only as a part of it.
func TestNoClientWritesAHeader(t *testing.T) {
	t.Parallel()
	g := whole(t, Options{})
	run, runID := g.clientRun()
	for _, name := range []string{"a\r\nX-Made: 1", "a\"; filename=b", "a\nb", "a;b", "é\u202e.txt", "%0d%0aX-Made:1"} {
		put := g.ask("POST", "/api/2.0/mlflow/upload-artifact?run_uuid="+run+"&path="+url.QueryEscape(name), "content")
		for _, path := range []string{
			"/get-artifact?run_id=" + run + "&path=" + url.QueryEscape(name),
			"/runs/" + runID + "/files/" + url.PathEscape(name), "/login?next=" + url.QueryEscape(name), "/runs/" + url.PathEscape(name) + "?x=" + url.QueryEscape(name),
		} {
			r := g.ask("GET", path, "")
			made := slices.ContainsFunc(r.Header.Values("Content-Disposition"), func(v string) bool { return !strings.HasPrefix(v, "attachment") })
			if r.Header.Get("X-Made") != "" || made || r.StatusCode >= 500 {
				t.Errorf("%q (stored: %d) at %s: %d %v", name, put.StatusCode, path, r.StatusCode, r.Header)
			}
		}
	}
}

// Every way to the content of an artifact keeps it from running in the server's name.
func TestAnArtifactIsInASandboxByEveryRoute(t *testing.T) {
	t.Parallel()
	g := whole(t, Options{})
	run, runID := g.clientRun()
	for _, name := range []string{"page.html", "drawing.svg", "page.HTM", "x.xhtml", "x.xml", "x.js", "none", "x.pdf", "x.mhtml"} {
		if r := g.ask("POST", "/api/2.0/mlflow/upload-artifact?run_uuid="+run+"&path="+name, "<html><p>harmless</p></html>"); r.StatusCode != 200 {
			t.Fatalf("%d %s", r.StatusCode, r.body)
		}
		for _, path := range []string{
			"/get-artifact?run_id=" + run + "&path=" + name, "/ajax-api/2.0/mlflow/get-artifact?run_id=" + run + "&path=" + name,
			"/runs/" + runID + "/files/" + name, "/runs/" + runID + "/files/" + name + "?show=1", "/api/v1/runs/" + runID + "/artifacts/" + name,
		} {
			r := g.ask("GET", path, "")
			policy := r.Header.Get("Content-Security-Policy")
			if r.StatusCode != 200 || !strings.HasPrefix(policy, "sandbox") || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "allow-same-origin") ||
				r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Cross-Origin-Resource-Policy") != "same-origin" {
				t.Errorf("%s: %d %v", path, r.StatusCode, r.Header)
			}
		}
	}
}

func TestFiftyAtOnceActThroughOneServer(t *testing.T) {
	t.Parallel()
	g := whole(t, Options{})
	run, runID := g.clientRun()
	var acting sync.WaitGroup
	for i := range 50 {
		acting.Go(func() {
			r := g.ask("POST", "/api/v1/runs/"+runID+"/tags", fmt.Sprintf(`{"tags":{"n%d":"%d"}}`, i, i), "Content-Type", "application/json")
			if r.StatusCode != http.StatusOK {
				t.Errorf("%d %s", r.StatusCode, r.body)
			}
			if r := g.ask("POST", "/runs/"+runID+"/note", "text=note"+fmt.Sprint(i), "Content-Type", "application/x-www-form-urlencoded"); r.StatusCode != http.StatusSeeOther {
				t.Errorf("%d %s", r.StatusCode, r.body)
			}
		})
	}
	acting.Wait()
	r := g.ask("GET", "/api/2.0/mlflow/runs/get?run_id="+run, "")
	for i := range 50 {
		if !strings.Contains(r.body, fmt.Sprintf(`{"key":"n%d","value":"%d"}`, i, i)) {
			t.Errorf("tag n%d is lost: %s", i, r.body)
			break
		}
	}
}

// An id that somebody put into a browser before does not become a session's, and a
// session of one server is none of another.
func TestNobodyChoosesTheIdOfASession(t *testing.T) {
	t.Parallel()
	g, other := whole(t, Options{Auth: true}), whole(t, Options{Auth: true})
	secret, chosen := g.token("writer", quant.TokenWrites, 0), g.admission.sessions.cookie+"=chosen"
	r := g.ask("POST", "/login", "token="+secret, "Content-Type", "application/x-www-form-urlencoded", "Cookie", chosen)
	made := r.Cookies()
	if r.StatusCode != http.StatusSeeOther || len(made) != 1 || len(made[0].Value) < 26 || strings.Contains(made[0].Value, "chosen") || strings.Contains(made[0].Value, secret) {
		t.Fatalf("%d %v", r.StatusCode, made)
	}
	if again := g.ask("POST", "/login", "token="+secret, "Content-Type", "application/x-www-form-urlencoded", "Cookie", made[0].Name+"="+made[0].Value).Cookies(); len(again) != 1 || again[0].Value == made[0].Value {
		t.Errorf("a second login has the id of the first: %v", again)
	}
	for server, statuses := range map[*guarded]map[string]int{
		g:     {chosen: 303, made[0].Name + "=" + made[0].Value: 200, made[0].Name + "=" + strings.ToLower(made[0].Value): 303, made[0].Name + "=": 303},
		other: {made[0].Name + "=" + made[0].Value: 303},
	} {
		for cookie, status := range statuses {
			if r := server.ask("GET", "/runs", "", "Cookie", cookie); r.StatusCode != status {
				t.Errorf("%s: %d, want %d", cookie, r.StatusCode, status)
			}
		}
	}
}
