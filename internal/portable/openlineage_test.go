package portable_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"quant"
	"quant/internal/metastore"
	"quant/internal/portable"
)

func (l testLab) lineage(t *testing.T, ids ...string) []map[string]any {
	t.Helper()
	var b bytes.Buffer
	_, err := portable.Write(t.Context(), l.Lab, ids, portable.ExportOptions{Format: portable.OpenLineage, Path: "-", Stdout: &b})
	ok(t, err)
	var list []map[string]any
	for line := range bytes.Lines(b.Bytes()) {
		var event map[string]any
		ok(t, json.Unmarshal(line, &event))
		list = append(list, event)
	}
	return list
}

// TestEveryEventHasWhatOpenLineageDemands puts events to a schema that states
// anew what the specification demands of them. With QUANT_OPENLINEAGE_SCHEMA
// naming a copy of its OpenLineage.json, they are put to that as well.
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
	schemas := openLineageSchemas(t)
	for i, e := range events {
		want := []string{"START"}
		if i%2 == 1 {
			want = []string{"COMPLETE", "FAIL"}
		}
		if !slices.Contains(want, e["eventType"].(string)) {
			t.Errorf("event %d is %v", i, e["eventType"])
		}
		if id := e["run"].(map[string]any)["runId"]; id != ids[i/2] {
			t.Errorf("event %d is of run %s", i, id)
		}
		for _, schema := range schemas {
			ok(t, schema.Validate(any(e)))
		}
	}
	// The schema refuses what is wrong.
	for name, spoil := range map[string]func(e map[string]any){
		"no time":             func(e map[string]any) { delete(e, "eventTime") },
		"a time that is none": func(e map[string]any) { e["eventTime"] = "yesterday" },
		"no schema":           func(e map[string]any) { delete(e, "schemaURL") },
		"an unknown type":     func(e map[string]any) { e["eventType"] = "DONE" },
		"an id that is none":  func(e map[string]any) { e["run"].(map[string]any)["runId"] = "1" },
		"no name":             func(e map[string]any) { delete(e["job"].(map[string]any), "name") },
		"a bare facet":        func(e map[string]any) { e["job"].(map[string]any)["facets"] = map[string]any{"x": map[string]any{}} },
		"a nameless input":    func(e map[string]any) { e["inputs"] = []any{map[string]any{"namespace": "n"}} },
	} {
		e := l.lineage(t, ids[0])[1]
		spoil(e)
		if schemas[0].Validate(any(e)) == nil {
			t.Errorf("%s is let through", name)
		}
	}
}

func openLineageSchemas(t *testing.T) (list []*jsonschema.Schema) {
	t.Helper()
	for _, path := range []string{filepath.Join("testdata", "openlineage.schema.json"), os.Getenv("QUANT_OPENLINEAGE_SCHEMA")} {
		if path == "" {
			t.Log("not put to the text of the specification: QUANT_OPENLINEAGE_SCHEMA names no copy of it")
			continue
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		list = append(list, must(c.Compile(path)))
	}
	return list
}

func TestAnEventTellsWhatTheRunDid(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	parent := l.record(t, 1, rand.New(rand.NewPCG(1, 2)))
	id := runID(2)
	ok(t, l.Meta.CreateRun(t.Context(), quant.Run{RunID: id, Kind: "backtest", Status: quant.Running, StartedAt: at(1)},
		quant.RunProcess{RunID: id, Host: "lab", ParentRunID: quant.Text(parent), GitCommit: "abc"}))
	ok(t, l.Meta.Log(t.Context(), metastore.Batch{
		Params:  []quant.Param{{RunID: id, Name: "top_k", Value: "5"}},
		Metrics: []quant.MetricPoint{{RunID: id, Name: "sharpe", Value: 1.5, LoggedAt: at(1)}},
	}))
	ok(t, l.Meta.FinishRun(t.Context(), metastore.RunEnd{RunID: id, Status: quant.Fail, ErrorText: "it broke", EndedAt: at(3), IO: []quant.RunIO{
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
