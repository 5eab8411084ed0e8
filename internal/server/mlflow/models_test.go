package mlflow

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/artifact"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/registry"
	"quant/internal/tracking"
)

// modelServer is the face over a lab of its own, with a run and an experiment.
type modelServer struct {
	t         *testing.T
	handler   http.Handler
	store     metastore.Store
	artifacts artifact.Store
	run       string // the client's id of a run
	runID     string // its run_id
	number    string // of its experiment
}

func newModelServer(t *testing.T) *modelServer {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "meta.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	s := &modelServer{t: t, store: store, artifacts: artifact.Store{Dir: filepath.Join(t.TempDir(), "artifacts")}}
	tick := time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC)
	lab := tracking.New(tracking.Options{
		Store: store, Artifacts: s.artifacts, Registry: registry.New(registry.Options{Store: store}),
		Now: func() time.Time { tick = tick.Add(time.Second); return tick },
	})
	s.handler = Handler(Options{Tracking: lab})
	s.newRun()
	return s
}

// do sends a request and returns the answer.
func (s *modelServer) do(method, path string, body io.Reader, headers ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), method, "http://localhost"+path, body)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// json sends a document and returns the answer's.
func (s *modelServer) json(method, path, body string) (status int, doc map[string]any) {
	s.t.Helper()
	w := s.do(method, "/api/2.0/mlflow/"+path, strings.NewReader(body), "Content-Type", "application/json")
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		s.t.Fatalf("%s %s: %d %q: %v", method, path, w.Code, w.Body, err)
	}
	return w.Code, doc
}

// must is json of what succeeds.
func (s *modelServer) must(method, path, body string) map[string]any {
	s.t.Helper()
	status, doc := s.json(method, path, body)
	if status != http.StatusOK {
		s.t.Fatalf("%s %s: %d %v", method, path, status, doc)
	}
	return doc
}

// refused asserts the code and a part of the message of an error.
func (s *modelServer) refused(method, path, body string, status int, code, message string) {
	s.t.Helper()
	got, doc := s.json(method, path, body)
	if got != status || doc["error_code"] != code || !strings.Contains(fmt.Sprint(doc["message"]), message) {
		s.t.Errorf("%s %s %s: %d %v", method, path, body, got, doc)
	}
}

func (s *modelServer) put(path, content string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.do(http.MethodPut, "/api/2.0/mlflow-artifacts/artifacts/"+path, strings.NewReader(content))
}

func (s *modelServer) get(path string, headers ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.do(http.MethodGet, "/api/2.0/mlflow-artifacts/artifacts/"+path, nil, headers...)
}

// at reads a member of a document by its path.
func at(t *testing.T, doc any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := doc.(map[string]any)
			doc = m[p]
		case int:
			l, _ := doc.([]any)
			if p >= len(l) {
				t.Fatalf("there is no member %v", path)
			}
			doc = l[p]
		}
	}
	return doc
}

func same(t *testing.T, got, want any) {
	t.Helper()
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if !bytes.Equal(g, w) {
		t.Errorf("got  %s\nwant %s", g, w)
	}
}

// contents is how many contents the store has, with what writers left.
func (s *modelServer) contents() (n int) {
	s.t.Helper()
	err := s.artifacts.Each(context.Background(), func(artifact.Content) error { n++; return nil })
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *modelServer) newRun() {
	s.t.Helper()
	id := at(s.t, s.must(http.MethodPost, "experiments/create", `{"name":"e"}`), "experiment_id").(string)
	run := s.must(http.MethodPost, "runs/create", `{"experiment_id":"`+id+`"}`)
	s.number, s.run = id, at(s.t, run, "run", "info", "run_id").(string)
	s.runID = strings.Join([]string{s.run[:8], s.run[8:12], s.run[12:16], s.run[16:20], s.run[20:]}, "-")
}

// experiment is the id of the run's experiment.
func (s *modelServer) experiment() string {
	s.t.Helper()
	tags, err := s.store.Tags(s.t.Context(), s.runID)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, t := range tags {
		if t.Name == quant.ExperimentTag {
			return t.Value
		}
	}
	s.t.Fatal("the run stands in no experiment")
	return ""
}
