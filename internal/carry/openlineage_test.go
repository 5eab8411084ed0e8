package carry_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"quant"
	"quant/internal/carry"
	"quant/internal/metastore"
)

func (l lab) lineage(t *testing.T, ids ...string) []map[string]any {
	t.Helper()
	var b bytes.Buffer
	_, err := carry.OpenLineage(t.Context(), l.Lab, ids, &b)
	ok(t, err)
	var list []map[string]any
	for line := range bytes.Lines(b.Bytes()) {
		var event map[string]any
		ok(t, json.Unmarshal(line, &event))
		list = append(list, event)
	}
	return list
}

// TestEveryEventHasWhatOpenLineageDemands states in our words what the
// specification demands of a run event. With QUANT_OPENLINEAGE_SCHEMA naming a
// copy of its OpenLineage.json, the events are also put to that.
func TestEveryEventHasWhatOpenLineageDemands(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var ids []string
	for n := range 30 {
		ids = append(ids, l.record(t, n, rand.New(rand.NewPCG(uint64(n), 2))))
	}
	events := l.lineage(t, ids...)
	if len(events) != 2*len(ids) {
		t.Fatalf("%d events of %d runs", len(events), len(ids))
	}
	schema := openLineageSchema(t)
	for i, e := range events {
		want := []string{"START"}
		if i%2 == 1 {
			want = []string{"COMPLETE", "FAIL"}
		}
		if !slices.Contains(want, e["eventType"].(string)) {
			t.Errorf("event %d is %v", i, e["eventType"])
		}
		if _, err := time.Parse(time.RFC3339, e["eventTime"].(string)); err != nil {
			t.Error(err)
		}
		isURI(t, e["producer"])
		isURI(t, e["schemaURL"])
		run, job := e["run"].(map[string]any), e["job"].(map[string]any)
		if id := run["runId"].(string); id != ids[i/2] || !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(id) {
			t.Errorf("event %d is of run %s", i, id)
		}
		named(t, job)
		for _, holder := range []any{run["facets"], job["facets"]} {
			facets(t, holder)
		}
		for _, list := range []string{"inputs", "outputs"} {
			for _, set := range e[list].([]any) {
				named(t, set.(map[string]any))
				facets(t, set.(map[string]any)["facets"])
				facets(t, set.(map[string]any)["outputFacets"])
			}
		}
		if schema != nil {
			ok(t, schema.Validate(any(e)))
		}
	}
}

func isURI(t *testing.T, v any) {
	t.Helper()
	if u, err := url.Parse(v.(string)); err != nil || !u.IsAbs() {
		t.Errorf("%v is no URI", v)
	}
}

func named(t *testing.T, object map[string]any) {
	t.Helper()
	for _, member := range []string{"namespace", "name"} {
		if text, is := object[member].(string); !is || text == "" {
			t.Errorf("%v has no %s", object, member)
		}
	}
}

func facets(t *testing.T, holder any) {
	t.Helper()
	if holder == nil {
		return
	}
	for name, facet := range holder.(map[string]any) {
		if strings.HasPrefix(name, "_") {
			t.Errorf("facet %s", name)
		}
		isURI(t, facet.(map[string]any)["_producer"])
		isURI(t, facet.(map[string]any)["_schemaURL"])
	}
}

func openLineageSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	path := os.Getenv("QUANT_OPENLINEAGE_SCHEMA")
	if path == "" {
		t.Log("not put to the schema itself: QUANT_OPENLINEAGE_SCHEMA names no copy of it")
		return nil
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	return must(c.Compile(path))
}

func TestAnEventTellsWhatTheRunDid(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	parent := l.record(t, 1, rand.New(rand.NewPCG(1, 2)))
	id := runID(2)
	ok(t, l.Store.CreateRun(t.Context(), quant.Run{RunID: id, Kind: "backtest", Status: quant.Running, StartedAt: at(1)},
		quant.RunProcess{RunID: id, Host: "lab", ParentRunID: quant.Text(parent), GitCommit: "abc"}))
	ok(t, l.Store.Log(t.Context(), metastore.Batch{
		Params:  []quant.Param{{RunID: id, Name: "top_k", Value: "5"}},
		Metrics: []quant.MetricPoint{{RunID: id, Name: "sharpe", Value: 1.5, LoggedAt: at(1)}},
	}))
	ok(t, l.Store.FinishRun(t.Context(), metastore.RunEnd{RunID: id, Status: quant.Fail, ErrorText: "it broke", EndedAt: at(3), IO: []quant.RunIO{
		{RunID: id, Direction: quant.In, Kind: "file", Name: "momentum.yaml", Digest: "sha256:aa"},
		{RunID: id, Direction: quant.Out, Kind: "table", Name: "backtest_trades", Rows: pointer(int64(7))},
	}}))
	last := l.lineage(t, id)[1]
	text := string(must(json.Marshal(last)))
	for _, want := range []string{
		`"eventType":"FAIL"`, `"eventTime":"2026-01-15T09:30:03.123456Z"`, `"namespace":"quant://lab"`, `"name":"backtest"`,
		`"message":"it broke"`, `"runId":"` + parent + `"`, `"datasetVersion":"sha256:aa"`, `"rowCount":7`, `"top_k":"5"`, `"last":1.5`, `"gitCommit":"abc"`,
		`"namespace":"quant.file"`, `"namespace":"quant.table"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the event lacks %s: %s", want, text)
		}
	}
}
