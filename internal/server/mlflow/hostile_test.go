package mlflow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// everyField is a document in which each endpoint finds the fields that it reads,
// of the right type: what is unknown is ignored.
func everyField(s *modelServer, n uint64) map[string]any {
	name := fmt.Sprintf("n%d", n)
	pair := func(k, v string) []any { return []any{map[string]any{"key": k, "value": v}} }
	model := "m-" + strings.Repeat("0", 32)
	return map[string]any{
		"run_id": s.run, "run_uuid": s.run, "experiment_id": s.number, "experiment_ids": []any{s.number}, "experiment_name": name, "name": name, "new_name": name + "x",
		"key": "k", "value": "1", "timestamp": 5, "step": 1, "metrics": []any{map[string]any{"key": "k", "value": 1.5, "timestamp": 5, "step": 1}},
		"params": pair("p"+name, "v"), "tags": pair("t", "v"), "filter": "name = 'x'", "order_by": []any{"name ASC"}, "max_results": 10, "page_token": "",
		"run_view_type": "ALL", "view_type": "ALL", "status": "RUNNING", "start_time": 5, "end_time": 6, "user_id": "u", "run_name": name, "metric_key": "k", "run_ids": []any{s.run},
		"datasets": []any{map[string]any{"dataset": map[string]any{"name": "d", "digest": "1", "source_type": "local", "source": "{}"}, "tags": pair("mlflow.data.context", "c")}},
		"models":   []any{map[string]any{"model_id": model, "step": 1}}, "model_id": model, "source": "runs:/" + s.run + "/m", "version": "1", "stage": "Staging", "archive_existing_versions": true,
		"alias": "a", "description": "d", "stages": []any{"None"}, "source_run_id": s.run, "model_type": "t", "path": "a", "artifact_location": "", "tag_keys": []any{"t"}, "start_step": 0, "end_step": 9,
	}
}

// hostileValues are of another type, too large, too deep, or no text.
func hostileValues() []string {
	return []string{
		`null`, `true`, `false`, `0`, `-1`, `1.5`, `1e400`, `-1e400`, `9223372036854775807`, `9223372036854775808`, `-9223372036854775809`, `1` + strings.Repeat("0", 400), `NaN`, `Infinity`, `-Infinity`,
		`""`, `" "`, `"x"`, `"5"`, `"NaN"`, `"` + strings.Repeat("x", 20_000) + `"`, "\"\xff\xfe\"", `"\ud800"`, `"\u0000"`, `"a\nb"`, `"../../etc/passwd"`, `"/etc/passwd"`, `"file:///etc/passwd"`, `"http://127.0.0.1:1/"`, `"'; DROP TABLE runs; --"`, `"%"`, `"\u202e"`,
		`[]`, `[null]`, `[[]]`, `{}`, `[{}]`, `[{"key":null}]`, `[{"key":"k"}]`, `[{"key":"k","value":{}}]`, `[1,"2",{}]`, `{"a":{"b":{"c":[]}}}`, `["` + strings.Repeat(`x","`, 2000) + `"]`,
		strings.Repeat("[", 12_000) + strings.Repeat("]", 12_000), strings.Repeat(`{"a":`, 500) + "1" + strings.Repeat("}", 500), `"eyJvZmZzZXQiOiAtMX0="`, `"eyJvZmZzZXQiOiA5ZTk5fQ=="`, `"metrics.k > 1e999"`, `"name LIKE '%%%'"`, `"metrics.` + "`k`" + ` IS NULL"`, `["metrics.k DESC","metrics.k ASC"]`,
		`[{"field_name":"metrics.k","ascending":false}]`, `[{"field_name":5}]`, `"runs:/../../x"`, `"models:/x/1"`, `"PENDING"`, `99`, `"99999999999999999999"`,
	}
}

// spoiled is a document of which some fields were changed, by chance.
func spoiled(r *rand.Rand, doc map[string]any) (text string, query url.Values) {
	values, names := hostileValues(), slices.Sorted(maps.Keys(doc))
	query = url.Values{}
	var b strings.Builder
	b.WriteByte('{')
	write := func(name, value string) {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", name, value)
		var text string
		if json.Unmarshal([]byte(value), &text) != nil {
			text = value
		}
		if len(text) < 8000 {
			query.Add(name, text)
		}
	}
	bad := r.IntN(4)
	for _, name := range names {
		if r.IntN(40) == 0 {
			continue
		}
		good, _ := json.Marshal(doc[name])
		if r.IntN(len(names)) < bad {
			write(name, values[r.IntN(len(values))])
			if r.IntN(3) > 0 {
				continue
			}
		}
		write(name, string(good)) // the second of its name, at times
	}
	b.WriteByte('}')
	text = b.String()
	switch r.IntN(40) {
	case 0:
		text = text[:r.IntN(len(text))]
	case 1:
		text = values[r.IntN(len(values))]
	case 2:
		at := r.IntN(len(text))
		text = text[:at] + "\xf0\x28" + text[at:]
	}
	return text, query
}

// checkHostile sends an endpoint one spoiled request.
func checkHostile(s *modelServer, e endpoint, r *rand.Rand) {
	s.t.Helper()
	doc := everyField(s, r.Uint64())
	text, query := spoiled(r, doc)
	path := "/api" + e.path
	for strings.Contains(path, "{") {
		before, rest, _ := strings.Cut(path, "{")
		_, after, _ := strings.Cut(rest, "}")
		part := []string{"m-" + strings.Repeat("0", 32), s.run, "x", "%2e%2e", "a%00b", "%ff", "..%2f..", s.number}[r.IntN(8)]
		path = before + part + after
	}
	var body io.Reader
	if e.method == http.MethodGet {
		path += "?" + query.Encode()
	} else {
		body = strings.NewReader(text)
	}
	w := s.do(e.method, path, body, "Content-Type", "application/json")
	answer := w.Body.Bytes()
	if w.Code >= 500 && w.Code != http.StatusNotImplemented {
		s.t.Errorf("%s %s: %d %s\nasked: %.2000q", e.method, path, w.Code, answer, text)
	}
	if w.Code < 400 {
		return
	}
	var document struct {
		Code    string `json:"error_code"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(answer, &document); err != nil || document.Code == "" || !utf8.Valid(answer) {
		s.t.Errorf("%s %s: %d is no error document: %.500q", e.method, path, w.Code, answer)
	}
	for _, inside := range []string{"Go value", "Go struct", "json:", "SQLITE", "constraint failed", "sql:", "goroutine"} {
		if strings.Contains(document.Message, inside) {
			s.t.Errorf("%s %s tells of its insides: %.500s\nasked: %.500q", e.method, path, document.Message, text)
		}
	}
	if len(document.Message) > 4000 {
		s.t.Errorf("%s %s: a message of %d bytes", e.method, path, len(document.Message))
	}
}

// Whatever a request says, the answer is a document of the protocol and never a
// defect of the server, and the lab goes on working.
func TestNoRequestIsADefect(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	r := rand.New(rand.NewPCG(1, 2))
	for _, e := range (&face{}).endpoints() {
		for range 12 {
			checkHostile(s, e, r)
			if t.Failed() {
				t.FailNow()
			}
		}
	}
	s.newRun()
	s.must(http.MethodPost, "runs/log-metric", `{"run_id": "`+s.run+`", "key": "k", "value": 1, "timestamp": 5}`)
}

func FuzzRequests(f *testing.F) {
	for i := range uint64(8) {
		f.Add(i, i, []byte(nil))
	}
	f.Add(uint64(1), uint64(2), []byte(`{"run_id": "x"}`))
	f.Fuzz(func(t *testing.T, seed, which uint64, text []byte) {
		s := newModelServer(t)
		all := (&face{}).endpoints()
		e := all[which%uint64(len(all))]
		if len(bytes.TrimSpace(text)) > 0 && e.method != http.MethodGet && !strings.Contains(e.path, "{") {
			if w := s.do(e.method, "/api"+e.path, bytes.NewReader(text), "Content-Type", "application/json"); w.Code >= 500 && w.Code != http.StatusNotImplemented {
				t.Errorf("%s %s: %d %s", e.method, e.path, w.Code, w.Body)
			}
		}
		r := rand.New(rand.NewPCG(seed, which))
		for range 5 {
			checkHostile(s, e, r)
		}
	})
}
