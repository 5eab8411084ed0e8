package mlflow

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http/httptest"
	"strings"
	"testing"
)

type point struct {
	Key       string `json:"key" rule:"required"`
	Value     Float  `json:"value" rule:"required"`
	Timestamp Int    `json:"timestamp" rule:"required"`
	Step      Int    `json:"step"`
}

type request struct {
	RunID string      `json:"run_id" rule:"required"`
	Key   string      `json:"key"`
	Flag  *bool       `json:"flag"`
	List  []string    `json:"list"`
	View  enumeration `json:"view" rule:"enum:ACTIVE_ONLY|DELETED_ONLY|ALL"`
	Some  []point     `json:"metrics"`
	Step  Int         `json:"step"`
}

// asked is what a server with one endpoint answers.
func asked(t *testing.T, method, target, contentType, body string) (in request, status int, answer string) {
	t.Helper()
	h := newRouter([]endpoint{
		on(method, "/2.0/mlflow/x", func(_ context.Context, r request) (any, error) { in = r; return empty{}, nil }),
		on(method, "/2.0/mlflow/x/{run_id}/y", func(_ context.Context, r request) (any, error) { in = r; return empty{}, nil }),
	})
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return in, w.Code, w.Body.String()
}

func TestARequestIsReadFromBodyQueryAndPath(t *testing.T) {
	t.Parallel()
	const json = "application/json"
	in, status, answer := asked(t, "POST", "/api/2.0/mlflow/x", json+"; charset=utf-8",
		`{"run_id": "r", "flag": false, "list": ["a"], "view": 2, "step": "12", "unknown": {},
		"metrics": [{"key": "k", "value": NaN, "timestamp": 5, "step": 1e3}, {"key": "NaN", "value": "-Infinity", "timestamp": 5.0}, {"key": "x", "value": -Infinity, "timestamp": 0}]}`)
	if status != 200 || answer != "{}" {
		t.Fatal(status, answer)
	}
	if in.RunID != "r" || in.Flag == nil || *in.Flag || in.View != "DELETED_ONLY" || in.Step.V != 12 || len(in.Some) != 3 ||
		!math.IsNaN(in.Some[0].Value.V) || in.Some[0].Step.V != 1000 || in.Some[1].Key != "NaN" || !math.IsInf(in.Some[1].Value.V, -1) ||
		in.Some[1].Step.Set || !in.Some[2].Timestamp.Set || !math.IsInf(in.Some[2].Value.V, -1) {
		t.Errorf("%+v", in)
	}
	in, status, _ = asked(t, "GET", "/ajax-api/2.0/preview/mlflow/x?run_id=r&list=a&list=b&flag=TRUE&step=3&view=ALL", "", "")
	if status != 200 || in.RunID != "r" || len(in.List) != 2 || !*in.Flag || in.Step.V != 3 || in.View != "ALL" {
		t.Errorf("%d %+v", status, in)
	}
	in, status, _ = asked(t, "DELETE", "/api/2.0/mlflow/x/a%2Fb/y", json, `{"key": "k"}`)
	if status != 200 || in.RunID != "a/b" || in.Key != "k" {
		t.Errorf("%d %+v", status, in)
	}
	in, status, _ = asked(t, "POST", "/api/2.0/mlflow/x", json, `"{\"run_id\": \"twice\"}"`)
	if status != 200 || in.RunID != "twice" {
		t.Errorf("%d %+v", status, in)
	}
}

func TestWhatIsWrongWithARequestIsSaidInTheWordsOfTheReference(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{}`:                            "Missing value for required parameter 'run_id'. See the API docs for more information about request parameters.",
		`{"run_id": null}`:              "Missing value for required parameter 'run_id'.",
		`{"run_id": ""}`:                "Missing value for required parameter 'run_id'.",
		`{"run_id": 31}`:                "Invalid value 31 for parameter 'run_id' supplied:  Hint: Value was of type 'int'. See",
		`{"run_id": "r", "key": 9.0}`:   "Invalid value 9.0 for parameter 'key' supplied",
		`{"run_id": "r", "list": "5"}`:  `Invalid value \"5\" for parameter 'list' supplied`,
		`{"run_id": "r", "list": [5]}`:  `Invalid value [5] for parameter 'list' supplied`,
		`{"run_id": "r", "step": "x"}`:  `Invalid value \"x\" for parameter 'step' supplied`,
		`{"run_id": "r", "step": 1.5}`:  `Invalid value 1.5 for parameter 'step' supplied`,
		`{"run_id": "r", "flag": "x"}`:  `Invalid value \"x\" for parameter 'flag' supplied`,
		`{"run_id": "r", "view": "x"}`:  `Invalid value \"x\" for parameter 'view' supplied`,
		`{"run_id": "r", "view": 4}`:    `Invalid value \"4\" for parameter 'view' supplied`,
		`{"run_id": "r", "metrics": 1}`: `Invalid value 1 for parameter 'metrics' supplied`,
		`{"run_id": "r", "metrics": [{"key": "k", "value": 1}]}`:                     "Missing value for required parameter 'metrics[0].timestamp'",
		`{"run_id": "r", "metrics": [{"value": 1}]}`:                                 "Missing value for required parameter 'metrics[0].key'",
		`{"run_id": "r", "metrics": [{"key": "k", "value": "one", "timestamp": 1}]}`: `Invalid value \"one\" for parameter 'metrics[0].value' supplied`,
		`{"run_id": "r", "metrics": [{"key": "k", "value": 1, "timestamp": 1e300}]}`: `Invalid value 1e300 for parameter 'metrics[0].timestamp' supplied`,
		`{"run_id": "r"`: "The request body could not be parsed",
		`[]`:             "The request body could not be parsed",
	} {
		_, status, answer := asked(t, "POST", "/api/2.0/mlflow/x", "application/json", body)
		if status != 400 || !strings.Contains(answer, want) {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded"} {
		_, status, answer := asked(t, "POST", "/api/2.0/mlflow/x", kind, `{"run_id": "r"}`)
		if status != 400 || !strings.Contains(answer, "Content-Type") {
			t.Errorf("%q: %d %s", kind, status, answer)
		}
	}
}

func TestPathsThatAreNotOfferedSaySo(t *testing.T) {
	t.Parallel()
	h := Handler(Options{})
	for target, want := range map[string]string{
		"GET /api/2.0/mlflow/nothing":                   `404 {"error_code":"ENDPOINT_NOT_FOUND"`,
		"POST /api/2.0/mlflow/traces":                   `501 {"error_code":"NOT_IMPLEMENTED"`,
		"GET /api/3.0/mlflow/traces/tr-1/info":          `501 {"error_code":"NOT_IMPLEMENTED"`,
		"POST /ajax-api/3.0/mlflow/scorers/register":    `501 {"error_code":"NOT_IMPLEMENTED"`,
		"POST /ajax-api/2.0/mlflow/gateway-proxy":       `501 {"error_code":"NOT_IMPLEMENTED"`,
		"GET /api/2.0/mlflow/../../etc":                 `404 {"error_code":"ENDPOINT_NOT_FOUND"`,
		"GET /api/9.9/mlflow/runs/get":                  `404 {"error_code":"ENDPOINT_NOT_FOUND"`,
		"PUT /api/2.0/mlflow/webhooks":                  `501 {"error_code":"NOT_IMPLEMENTED"`,
		"POST /api/3.0/mlflow/traces/x%2Fy/assessments": `501 {"error_code":"NOT_IMPLEMENTED"`,
	} {
		method, path, _ := strings.Cut(target, " ")
		r := httptest.NewRequest(method, "/", nil)
		r.URL.Path, r.URL.RawPath = path, path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := fmt.Sprintf("%d %s", w.Code, w.Body); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", target, got)
		}
	}
}

func TestPageTokensAreThoseOfTheReference(t *testing.T) {
	t.Parallel()
	if n, err := offsetOf(pageToken(100)); n != 100 || err != nil {
		t.Error(n, err)
	}
	if n, err := offsetOf("eyJvZmZzZXQiOiA0fQ=="); n != 4 || err != nil { // as the reference server writes 4
		t.Error(n, err)
	}
	for _, token := range []string{"invalid_token", "e30=", "eyJvZmZzZXQiOiAtNH0=", "!"} {
		_, err := offsetOf(token)
		if e, ok := errors.AsType[*apiError](err); !ok || e.Code != invalidParameter {
			t.Errorf("%q: %v", token, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"run_id": "r", "metrics": [{"key": "k", "value": NaN, "timestamp": 5}]}`)
	f.Add(`{"run_id": "r", "view": 1, "flag": null, "step": "9223372036854775807"}`)
	f.Fuzz(func(t *testing.T, doc string) {
		var in request
		err := decodeDocument([]byte(doc), map[string]string{}, &in)
		if err == nil && in.RunID == "" {
			t.Errorf("%q lacks what is required", doc)
		}
		if _, ok := errors.AsType[*apiError](err); err != nil && !ok {
			t.Errorf("%q: %v", doc, err)
		}
	})
}
