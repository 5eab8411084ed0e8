package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"quant"
	"quant/internal/exec/transcript"
	"quant/internal/jobs"
	"quant/internal/metastore"
	"quant/internal/secret"
	"quant/internal/server/api"
	"quant/internal/server/caller"
	"quant/internal/session"
	"quant/internal/session/sessiontest"
)

// served is the API over a lab of its own with two ended runs of kind train: a has
// lr 0.1, 5000 points of loss, a metric and an artifact whose names are hostile, and a log; b has lr 0.2, a
// name and a note.
type served struct {
	*sessiontest.Session
	t    *testing.T
	h    http.Handler
	a, b string
}

const (
	evilName  = `loss/<script>alert("x")</script>'; DROP TABLE runs; --`
	evilFile  = `plots/<b>"é'.html`
	evilValue = "<img src=x onerror=alert(1)>\u202e"
)

func serve(t *testing.T) *served {
	t.Helper()
	s := &served{Session: sessiontest.Begin(t), t: t}
	ctx := t.Context()
	s.Mask.Know("hunter2-hunter2")
	run := func(lr string, points int, b metastore.Batch) string {
		id, err := s.Inside(ctx, session.Command{Kind: "train", Args: []string{"train"}, Flags: map[string]string{"lr": lr}}, func(_ context.Context, inner *session.Session) error {
			b.Params = append(b.Params, quant.Param{Name: "lr", Value: lr})
			for i := range points {
				b.Metrics = append(b.Metrics, quant.MetricPoint{Name: "loss", Step: int64(i), Value: 1 / float64(1+i), LoggedAt: quant.NewTime(time.Now())})
			}
			inner.Log(b)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	digest, size, err := s.Artifacts().Put(ctx, strings.NewReader("<script>alert(1)</script>"))
	if err != nil {
		t.Fatal(err)
	}
	s.a = run("0.1", 5000, metastore.Batch{
		Tags:      []quant.Tag{{Name: "evil", Value: evilValue}},
		Metrics:   []quant.MetricPoint{{Name: evilName, Value: 1, LoggedAt: quant.NewTime(time.Now())}},
		Artifacts: []quant.Artifact{{Name: evilFile, Digest: digest, Bytes: size}},
	})
	s.b = run("0.2", 1, metastore.Batch{Tags: []quant.Tag{{Name: quant.NameTag, Value: "baseline"}}, Notes: []quant.Note{{Text: "a note"}}})
	if err := s.Meta.SaveProgram(ctx, quant.Program{RunID: s.a}); err != nil {
		t.Fatal(err)
	}
	w, err := transcript.Create(s.LogFile(s.a), 1<<20, &secret.Masker{})
	if err != nil {
		t.Fatal(err)
	}
	printed := w.Input()
	for i := range 1000 {
		fmt.Fprintf(printed, "line %d\n", i)
	}
	w.Close()
	if err := s.Meta.CreateExperiment(ctx, quant.Experiment{ExperimentID: "e1", Name: "first", CreatedAt: quant.NewTime(time.Now())}); err != nil {
		t.Fatal(err)
	}
	queue, err := jobs.Open(ctx, s.Place, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := queue.Submit(ctx, jobs.Submission{Argv: []string{"symbols", "list"}, Command: "symbols.list"}); err != nil {
		t.Fatal(err)
	}
	if err := queue.Close(); err != nil {
		t.Fatal(err)
	}
	s.h = api.Handler(api.Options{Session: s.Session.Session})
	return s
}

// ask sends a request as a caller and returns the answer with its body unpacked.
func (s *served) ask(as caller.Caller, method, path, body string, head ...string) (*http.Response, []byte) {
	s.t.Helper()
	r := httptest.NewRequestWithContext(caller.With(s.t.Context(), as), method, "http://127.0.0.1"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	answer := w.Result()
	content := w.Body.Bytes()
	if answer.Header.Get("Content-Encoding") == "gzip" {
		unzip, err := gzip.NewReader(bytes.NewReader(content))
		if err != nil {
			s.t.Fatal(err)
		}
		if content, err = io.ReadAll(unzip); err != nil {
			s.t.Fatal(err)
		}
	}
	return answer, content
}

func (s *served) get(path string, into any) *http.Response {
	s.t.Helper()
	answer, content := s.ask(caller.Local(), http.MethodGet, path, "")
	if answer.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %d %s", path, answer.StatusCode, content)
	}
	if err := json.Unmarshal(content, into); err != nil {
		s.t.Fatalf("%s: %v", path, err)
	}
	return answer
}

// problem is a problem document as a client reads it.
type problem struct {
	Type, Title, Detail, Code string
	Hint                      *string
	Status                    int
	Column                    *int
}

func (s *served) refused(as caller.Caller, method, path, body string, head ...string) problem {
	s.t.Helper()
	answer, content := s.ask(as, method, path, body, head...)
	var p problem
	if err := json.Unmarshal(content, &p); err != nil {
		s.t.Fatalf("%s %s: %d %s: %v", method, path, answer.StatusCode, content, err)
	}
	if got := answer.Header.Get("Content-Type"); got != "application/problem+json" || p.Status != answer.StatusCode || p.Status < 400 || p.Title == "" || p.Detail == "" || p.Code == "" {
		s.t.Errorf("%s %s: %d %s %+v is no problem document", method, path, answer.StatusCode, got, p)
	}
	return p
}

// document is the OpenAPI document, and its schemas made strict: a member that is
// not described is a fault.
func (s *served) document() (doc map[string]any, compiler *jsonschema.Compiler) {
	s.t.Helper()
	_, content := s.ask(caller.Local(), http.MethodGet, "/api/v1/openapi.json", "")
	strict, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
	if err != nil {
		s.t.Fatal(err)
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if _, object := v["properties"]; object && v["type"] == "object" {
				v["additionalProperties"] = false
			}
			for _, one := range v {
				walk(one)
			}
		case []any:
			for _, one := range v {
				walk(one)
			}
		}
	}
	walk(strict)
	compiler = jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", strict); err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(content, &doc); err != nil {
		s.t.Fatal(err)
	}
	return doc, compiler
}

// members follows names through objects.
func members(v any, names ...string) any {
	for _, name := range names {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

func pointer(names ...string) string {
	text := "openapi.json#"
	for _, name := range names {
		text += "/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	return text
}

// TestEveryRouteAnswersAsItsDocumentSays asks every operation of the document and
// holds the answer to its schema.
func TestEveryRouteAnswersAsItsDocumentSays(t *testing.T) {
	t.Parallel()
	s := serve(t)
	doc, compiler := s.document()
	requests := map[string]struct{ query, body string }{
		"searchRuns": {query: "?q=" + url.QueryEscape(`kind = "train" order by params.lr`)}, "compareRuns": {query: "?run=" + s.a + "&run=@baseline&all=true"},
		"diffRuns": {query: "?a=" + s.a + "&b=" + s.b}, "plotMetric": {query: "?metric=loss&x=time&width=10&run=" + s.a},
		"listNames": {query: "?of=metrics"}, "listPoints": {query: "?metric=loss&points=2"}, "removeTags": {query: "?name=team"},
		"setTags": {body: `{"tags":{"team":"alpha"}}`}, "addNote": {body: `{"text":"x"}`}, "setName": {body: `{"name":"n"}`},
		"deleteRuns": {body: `{"runs":["` + s.b + `"]}`}, "restoreRuns": {body: `{"runs":["` + s.b + `"],"children":true}`},
	}
	order := []string{"setTags", "removeTags", "starRun", "unstarRun"} // what goes on with what another one did
	var ids []string
	operations := map[string][2]string{}
	for path, methods := range doc["paths"].(map[string]any) {
		for method, operation := range methods.(map[string]any) {
			id := members(operation, "operationId").(string)
			if operations[id] != ([2]string{}) {
				t.Errorf("operationId %s stands twice", id)
			}
			operations[id] = [2]string{path, method}
			if !slices.Contains(order, id) {
				ids = append(ids, id)
			}
			var inPath []string
			for _, p := range asList(members(operation, "parameters")) {
				if members(p, "in") == "path" {
					inPath = append(inPath, "{"+members(p, "name").(string)+"}")
				}
				if members(p, "description") == "" {
					t.Errorf("%s: parameter %v is not explained", id, members(p, "name"))
				}
			}
			if want := regexp.MustCompile(`\{[a-z]+\}`).FindAllString(path, -1); !slices.Equal(inPath, want) {
				t.Errorf("%s: the parameters of its path are %v, not %v", id, inPath, want)
			}
		}
	}
	slices.Sort(ids)
	for _, id := range append(ids, order...) {
		at := operations[id]
		path := strings.NewReplacer("{run}", s.a, "{name}", url.PathEscape(evilFile), "{experiment}", "e1", "{job}", "1").Replace(at[0])
		answer, content := s.ask(caller.Local(), strings.ToUpper(at[1]), "/api/v1"+path+requests[id].query, requests[id].body)
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", id, answer.StatusCode, content)
			continue
		}
		media := strings.TrimSuffix(answer.Header.Get("Content-Type"), "; charset=utf-8")
		described, _ := members(doc, "paths", at[0], at[1], "responses", "200", "content").(map[string]any)
		if _, said := described[media]; !said {
			t.Errorf("%s answers %s, the document says %v", id, media, described)
		}
		if members(described, media, "schema") == nil {
			continue
		}
		schema, err := compiler.Compile(pointer("paths", at[0], at[1], "responses", "200", "content", media, "schema"))
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s: %v\n%s", id, err, quant.Clip(string(content), 2000))
		}
		if bytes.Contains(content, []byte("hunter2-hunter2")) {
			t.Errorf("%s shows a secret", id)
		}
	}
	for name := range members(doc, "components", "schemas").(map[string]any) {
		if _, err := compiler.Compile(pointer("components", "schemas", name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	wrong, err := compiler.Compile(pointer("components", "schemas", "Problem"))
	if err != nil {
		t.Fatal(err)
	}
	_, content := s.ask(caller.Local(), http.MethodGet, "/api/v1/runs?q=kind+%3D", "")
	value, _ := jsonschema.UnmarshalJSON(bytes.NewReader(content))
	if err := wrong.Validate(value); err != nil {
		t.Errorf("a problem: %v\n%s", err, content)
	}
}

func asList(v any) []any { list, _ := v.([]any); return list }

func TestPagesOfASearch(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ctx := t.Context()
	var want []string
	for i := range 25 {
		id, err := s.Inside(ctx, session.Command{Kind: "exec", Args: []string{"exec"}}, func(_ context.Context, inner *session.Session) error {
			inner.Log(metastore.Batch{Params: []quant.Param{{Name: "k", Value: fmt.Sprint(i % 7)}}})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	for _, q := range []string{`kind = "exec"`, `kind = "exec" order by params.k desc`, `kind = "exec" order by duration`} {
		var found []string
		after := ""
		for range 10 {
			var page struct {
				Columns []string
				Runs    []map[string]any
				Next    *string
			}
			s.get("/api/v1/runs?columns=params.k,run_id&limit=7&q="+url.QueryEscape(q)+"&after="+after, &page)
			if !slices.Equal(page.Columns, []string{"params.k", "run_id"}) {
				t.Fatal(page.Columns)
			}
			for _, run := range page.Runs {
				found = append(found, run["run_id"].(string))
			}
			if page.Next == nil {
				break
			}
			after = *page.Next
			// A run that begins between two pages moves nothing.
			if _, err := s.Inside(ctx, session.Command{Kind: "exec", Args: []string{"exec"}}, func(context.Context, *session.Session) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[string]int{}
		for _, id := range found {
			seen[id]++
		}
		for _, id := range want {
			if seen[id] != 1 {
				t.Errorf("%s: a run came %d times", q, seen[id])
			}
		}
	}
	var page struct {
		Runs    []map[string]any
		Notices []string
	}
	s.get("/api/v1/runs?q="+url.QueryEscape("metrics.los > 1"), &page)
	if len(page.Runs) != 0 || !slices.Equal(page.Notices, []string{"no run has metrics.los; did you mean loss or " + evilName + "?"}) {
		t.Errorf("%+v", page)
	}
}

func TestPointsAreSampledAndItSaysSo(t *testing.T) {
	t.Parallel()
	s := serve(t)
	var p struct {
		Points  int
		Sampled bool
		List    []struct{ Step int }
	}
	s.get("/api/v1/runs/"+s.a+"/points?metric=loss&points=100", &p)
	if p.Points != 5000 || !p.Sampled || len(p.List) != 100 || p.List[0].Step != 0 || p.List[99].Step != 4999 {
		t.Errorf("%d of %d points, sampled %v", len(p.List), p.Points, p.Sampled)
	}
	s.get("/api/v1/runs/"+s.a+"/points?points=10000&metric="+url.QueryEscape(evilName), &p)
	if p.Points != 1 || p.Sampled || len(p.List) != 1 {
		t.Errorf("%+v", p)
	}
}

func TestALogIsReadFromItsEndAndOn(t *testing.T) {
	t.Parallel()
	s := serve(t)
	var l struct {
		Text              string
		Bytes, From, Next int64
		Ended             bool
	}
	s.get("/api/v1/runs/"+s.a+"/log?lines=2", &l)
	if l.Text != "line 998\nline 999\n" || !l.Ended || l.Next != l.Bytes {
		t.Errorf("%+v", l)
	}
	var whole strings.Builder
	for l.Next = 0; l.Next < l.Bytes; {
		s.get(fmt.Sprintf("/api/v1/runs/%s/log?from=%d&bytes=1000", s.a, l.Next), &l)
		whole.WriteString(l.Text)
		if len(l.Text) == 0 || len(l.Text) > 1000 {
			t.Fatalf("a part of %d bytes", len(l.Text))
		}
	}
	if lines := strings.Count(whole.String(), "\n"); lines != 1000 || !strings.HasPrefix(whole.String(), "line 0\n") {
		t.Errorf("%d lines", lines)
	}
	s.get(fmt.Sprintf("/api/v1/runs/%s/log?from=%d", s.a, l.Next+1_000_000), &l)
	if l.Text != "" || l.Next != l.Bytes {
		t.Errorf("beyond the end: %+v", l)
	}
	if p := s.refused(caller.Local(), http.MethodGet, "/api/v1/runs/"+s.b+"/log", ""); p.Code != "not found" {
		t.Errorf("%+v", p)
	}
}

func TestAnArtifactIsSentAsAFileThatNothingRuns(t *testing.T) {
	t.Parallel()
	s := serve(t)
	path := "/api/v1/runs/" + s.a + "/artifacts/" + strings.ReplaceAll(url.PathEscape(evilFile), "%2F", "/")
	answer, content := s.ask(caller.Local(), http.MethodGet, path, "")
	head := answer.Header
	if string(content) != "<script>alert(1)</script>" || head.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(head.Get("Content-Disposition"), "attachment") ||
		head.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(head.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("%d %q %v", answer.StatusCode, content, head)
	}
	if answer, content := s.ask(caller.Local(), http.MethodGet, path, "", "Range", "bytes=1-6"); answer.StatusCode != http.StatusPartialContent || string(content) != "script" {
		t.Errorf("%d %q", answer.StatusCode, content)
	}
	if answer, _ := s.ask(caller.Local(), http.MethodGet, path, "", "If-None-Match", head.Get("ETag")); answer.StatusCode != http.StatusNotModified {
		t.Error(answer.StatusCode)
	}
	for _, name := range []string{"../../meta.db", "%2e%2e%2f%2e%2e%2fmeta.db", "/etc/passwd", "%2Fetc%2Fpasswd", "plots", "plots/", "..", "%00", `..\..\meta.db`} {
		answer, content := s.ask(caller.Local(), http.MethodGet, "/api/v1/runs/"+s.a+"/artifacts/"+name, "")
		if answer.StatusCode == http.StatusOK && bytes.HasPrefix(content, []byte("SQLite")) || answer.StatusCode == http.StatusOK && bytes.Contains(content, []byte("root:")) {
			t.Errorf("%s leads out of the run", name)
		}
		if answer.StatusCode < 300 {
			t.Errorf("%s: %d", name, answer.StatusCode)
		}
	}
}

func TestAnAnswerThatIsStillSoIsNotSentAgain(t *testing.T) {
	t.Parallel()
	s := serve(t)
	path := "/api/v1/runs/" + s.a
	answer, plain := s.ask(caller.Local(), http.MethodGet, path, "")
	packed, content := s.ask(caller.Local(), http.MethodGet, path, "", "Accept-Encoding", "br, gzip;q=0.5")
	if packed.Header.Get("Content-Encoding") != "gzip" || !bytes.Equal(plain, content) || packed.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("%v", packed.Header)
	}
	if refused, _ := s.ask(caller.Local(), http.MethodGet, path, "", "Accept-Encoding", "gzip;q=0"); refused.Header.Get("Content-Encoding") != "" {
		t.Error("it is packed for who does not take that")
	}
	tag := answer.Header.Get("ETag")
	same, content := s.ask(caller.Local(), http.MethodGet, path, "", "If-None-Match", `"x", `+tag)
	if same.StatusCode != http.StatusNotModified || len(content) != 0 || tag == "" {
		t.Errorf("%d %q", same.StatusCode, tag)
	}
	if a, _ := s.ask(caller.Local(), http.MethodPost, path+"/notes", `{"text":"more"}`); a.StatusCode != http.StatusOK {
		t.Fatal(a.StatusCode)
	}
	if changed, _ := s.ask(caller.Local(), http.MethodGet, path, "", "If-None-Match", tag); changed.StatusCode != http.StatusOK {
		t.Error(changed.StatusCode)
	}
	if head, content := s.ask(caller.Local(), http.MethodHead, path, ""); head.StatusCode != http.StatusOK || len(content) != 0 {
		t.Errorf("HEAD: %d, %d bytes", head.StatusCode, len(content))
	}
}

func TestWhoMayOnlyReadChangesNothing(t *testing.T) {
	t.Parallel()
	s := serve(t)
	reader := caller.Caller{Name: "reader", Scopes: []caller.Scope{caller.Read}}
	doc, _ := s.document()
	before := len(s.recorded())
	asked := 0
	for path, methods := range doc["paths"].(map[string]any) {
		for method := range methods.(map[string]any) {
			if method == "get" {
				if p := s.refused(caller.Caller{Name: "nobody"}, "GET", "/api/v1"+path, ""); p.Status != http.StatusForbidden {
					t.Errorf("%s without a scope: %+v", path, p)
				}
				continue
			}
			asked++
			path := strings.NewReplacer("{run}", s.a).Replace(path)
			if p := s.refused(reader, strings.ToUpper(method), "/api/v1"+path, `{"runs":["`+s.a+`"]}`); p.Status != http.StatusForbidden || p.Code != "refused" {
				t.Errorf("%s %s: %+v", method, path, p)
			}
		}
	}
	if after := len(s.recorded()); after != before || asked < 8 {
		t.Errorf("%d requests recorded %d runs", asked, after-before)
	}
	if answer, _ := s.ask(reader, http.MethodGet, "/api/v1/runs/"+s.a, ""); answer.StatusCode != http.StatusOK {
		t.Error(answer.StatusCode)
	}
}

// recorded are the kinds of all runs.
func (s *served) recorded() (kinds []string) {
	s.t.Helper()
	list, err := s.Meta.ListRuns(s.t.Context(), metastore.RunFilter{All: true})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range list {
		kinds = append(kinds, r.Kind)
	}
	return kinds
}

func TestAnActionNamesWhoAsked(t *testing.T) {
	t.Parallel()
	s := serve(t)
	alice := caller.Caller{Name: "alice", Scopes: []caller.Scope{caller.Write}}
	answer, content := s.ask(alice, http.MethodPost, "/api/v1/runs/@baseline/tags", `{"tags":{"desk":"<b>","team":"a"}}`)
	var acted struct {
		ID      string `json:"action_run_id"`
		By      string
		Changes []struct {
			RunID  string `json:"run_id"`
			Change string
		}
	}
	if err := json.Unmarshal(content, &acted); err != nil || answer.StatusCode != http.StatusOK || acted.By != "alice" || len(acted.Changes) != 1 || acted.Changes[0].RunID != s.b {
		t.Fatalf("%d %s %v", answer.StatusCode, content, err)
	}
	var page struct{ Runs []map[string]any }
	s.get("/api/v1/runs?all=true&columns=kind,run_id&q="+url.QueryEscape(`tags.by = "alice"`), &page)
	if len(page.Runs) != 1 || page.Runs[0]["run_id"] != acted.ID || page.Runs[0]["kind"] != "log.tag" {
		t.Errorf("%v", page.Runs)
	}
	if _, content := s.ask(alice, http.MethodPost, "/api/v1/runs/delete", `{"runs":["`+s.b+`","ffffffff"]}`); !bytes.Contains(content, []byte(`"not found"`)) {
		t.Errorf("%s", content)
	}
	if marks, err := s.Meta.MarksOf(t.Context(), s.b); err != nil || marks.Deletion != nil {
		t.Errorf("one of two was deleted: %v", err)
	}
}

func TestWhatCannotBeIsAProblem(t *testing.T) {
	t.Parallel()
	s := serve(t)
	run := "/api/v1/runs/" + s.a
	long := strings.Repeat("x", 10<<20)
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		code                     quant.Code
	}{
		{"no such path", "GET", "/api/v1/nothing", "", 404, quant.NotFound},
		{"the prefix alone", "GET", "/api/v1/", "", 404, quant.NotFound},
		{"a wrong method", "PATCH", run, "", 405, quant.Usage},
		{"another wrong method", "POST", "/api/v1/lab", "{}", 405, quant.Usage},
		{"no such run", "GET", "/api/v1/runs/ffffffff", "", 404, quant.NotFound},
		{"a run that is no name", "GET", "/api/v1/runs/" + url.PathEscape(`'; DROP TABLE runs; --`), "", 400, quant.Invalid},
		{"an unknown parameter", "GET", "/api/v1/runs?limt=5", "", 400, quant.Usage},
		{"a parameter twice", "GET", "/api/v1/runs?limit=5&limit=6", "", 400, quant.Usage},
		{"no number", "GET", "/api/v1/runs?limit=many", "", 400, quant.Usage},
		{"too large a number", "GET", "/api/v1/runs?limit=1001", "", 400, quant.Usage},
		{"a number beyond all", "GET", "/api/v1/runs?limit=99999999999999999999", "", 400, quant.Usage},
		{"neither true nor false", "GET", "/api/v1/runs?all=perhaps", "", 400, quant.Usage},
		{"no choice", "GET", "/api/v1/names?of=secrets", "", 400, quant.Usage},
		{"a parameter that is missing", "GET", "/api/v1/names", "", 400, quant.Usage},
		{"one that is empty", "GET", "/api/v1/diff?a=&b=" + s.b, "", 400, quant.Usage},
		{"a query that is none", "GET", "/api/v1/runs?q=%zz", "", 400, quant.Usage},
		{"bytes that are no text", "GET", "/api/v1/runs?q=%ff", "", 400, quant.Usage},
		{"a column that is none", "GET", "/api/v1/runs?columns=params", "", 400, quant.Usage},
		{"a page after nothing", "GET", "/api/v1/runs?after=nothing", "", 404, quant.NotFound},
		{"one run to compare", "GET", "/api/v1/compare?run=" + s.a, "", 400, quant.Usage},
		{"a run twice", "GET", "/api/v1/compare?run=" + s.a + "&run=" + s.a, "", 400, quant.Usage},
		{"no such metric", "GET", run + "/points?metric=none", "", 404, quant.NotFound},
		{"no such experiment", "GET", "/api/v1/experiments/none", "", 404, quant.NotFound},
		{"no JSON", "POST", run + "/notes", "text=x", 400, quant.Usage},
		{"a wrong type", "POST", run + "/notes", `{"text":5}`, 400, quant.Usage},
		{"a list for a document", "POST", run + "/notes", `[1]`, 400, quant.Usage},
		{"an unknown member", "POST", run + "/notes", `{"text":"x","txt":"y"}`, 400, quant.Usage},
		{"a member twice", "POST", run + "/notes", `{"text":"x","text":"y"}`, 400, quant.Usage},
		{"more than a document", "POST", run + "/notes", `{"text":"x"} {}`, 400, quant.Usage},
		{"an empty note", "POST", run + "/notes", `{"text":" "}`, 400, quant.Invalid},
		{"a note that is too long", "POST", run + "/notes", `{"text":"` + long[:100_000] + `"}`, 400, quant.Invalid},
		{"10 MB", "POST", run + "/notes", `{"text":"` + long + `"}`, 413, quant.Usage},
		{"a tag with a line in its name", "POST", run + "/tags", `{"tags":{"a\nb":"x"}}`, 400, quant.Invalid},
		{"no tags", "POST", run + "/tags", `{}`, 400, quant.Invalid},
		{"a tag that is not there", "DELETE", run + "/tags?name=none", "", 404, quant.NotFound},
		{"deleting nothing", "POST", "/api/v1/runs/delete", `{"runs":[]}`, 400, quant.Invalid},
		{"deleting the run that serves", "POST", "/api/v1/runs/delete", `{"runs":["` + s.RunID() + `"]}`, 409, quant.Conflict},
	} {
		p := s.refused(caller.Local(), c.method, c.path, c.body)
		if p.Status != c.status || p.Code != string(c.code) {
			t.Errorf("%s: %d %s (%s), want %d %s", c.name, p.Status, p.Code, p.Detail, c.status, c.code)
		}
		if len(p.Detail) > 2000 {
			t.Errorf("%s: the detail has %d bytes", c.name, len(p.Detail))
		}
	}
	if p := s.refused(caller.Local(), "GET", "/api/v1/runs?q="+url.QueryEscape(`kind = "a" and stats = 3`), ""); p.Column == nil || *p.Column != 16 || p.Hint == nil {
		t.Errorf("%+v", p)
	}
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""} {
		if p := s.refused(caller.Local(), "POST", run+"/notes", `{"text":"x"}`, "Content-Type", media); p.Status != http.StatusUnsupportedMediaType {
			t.Errorf("%q: %+v", media, p)
		}
	}
	if answer, _ := s.ask(caller.Local(), "PATCH", run, ""); answer.Header.Get("Allow") == "" {
		t.Error("405 says nothing of what is allowed")
	}
}

func TestHostileNamesStandInTheDocumentsAsTheyAre(t *testing.T) {
	t.Parallel()
	s := serve(t)
	var metrics []struct{ Name string }
	answer := s.get("/api/v1/runs/"+s.a+"/metrics", &metrics)
	if len(metrics) != 2 || metrics[0].Name != evilName && metrics[1].Name != evilName || answer.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v", metrics)
	}
	var tags []struct{ Name, Value string }
	s.get("/api/v1/runs/"+s.a+"/tags", &tags)
	if len(tags) != 1 || tags[0].Value != evilValue {
		t.Errorf("%v", tags)
	}
	var plot struct{ Runs []struct{ Drawn []any } }
	s.get("/api/v1/plot?run="+s.a+"&metric="+url.QueryEscape(evilName), &plot)
	if len(plot.Runs) != 1 || len(plot.Runs[0].Drawn) != 1 {
		t.Errorf("%+v", plot)
	}
}

func TestThePageOfTheAPINamesEveryOperationAndRunsNothing(t *testing.T) {
	t.Parallel()
	s := serve(t)
	answer, page := s.ask(caller.Local(), http.MethodGet, "/api/v1/docs", "")
	if policy := answer.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "script") || bytes.Contains(page, []byte("<script")) {
		t.Errorf("the page may run scripts: %s", policy)
	}
	doc, _ := s.document()
	for path, methods := range doc["paths"].(map[string]any) {
		for _, operation := range methods.(map[string]any) {
			if id := members(operation, "operationId").(string); !bytes.Contains(page, []byte(`id="`+id+`"`)) {
				t.Errorf("the page lacks %s %s", id, path)
			}
		}
	}
	for _, target := range regexp.MustCompile(`href="#([^"]+)"`).FindAllSubmatch(page, -1) {
		if !bytes.Contains(page, []byte(`id="`+string(target[1])+`"`)) {
			t.Errorf("a link leads to #%s, which is not there", target[1])
		}
	}
}
