package mlflow

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"unicode/utf8"
)

// slowBatch is a logBatch without a scanner.
type slowBatch logBatch

// FuzzABatchIsScannedAsItIsParsed compares what the scanner makes of a document with
// what the parser of JSON does.
func FuzzABatchIsScannedAsItIsParsed(f *testing.F) {
	for _, doc := range []string{
		`{"run_id":"r","metrics":[{"key":"m","value":1.5,"timestamp":1,"step":-2}],"params":[],"tags":[]}`,
		`{ "run_id" : "r" , "metrics" : [ { "key" : "é" , "value" : -0.0e+1 , "timestamp" : 0 } , {"value":0,"key":"k","timestamp":9223372036854775807,"model_id":"m","dataset_name":"d","dataset_digest":""} ] } `,
		`{"run_id":"r","params":[{"key":"k","value":"v"},{"key":"l"}],"tags":[{"value":"","key":"k"}]}`,
		`{"run_id":"r","metrics":[{"key":"m","value":1e400,"timestamp":1}]}`,
		`{"run_id":"r","metrics":[{"key":"m","value":01,"timestamp":1}]}`, `{"run_id":"r","metrics":[{"key":"m","value":1.,"timestamp":1}]}`,
		`{"run_id":"r","metrics":[{"key":"m","value":NaN,"timestamp":1}]}`, `{"run_id":"r","metrics":[{"key":"m","value":"1","timestamp":1.0}]}`,
		`{"run_id":"r","metrics":[{"key":"m","key":"n","value":1,"timestamp":1}]}`, `{"run_id":"r","metrics":[],"metrics":[]}`,
		`{"run_id":"r","metrics":[{"key":"","value":1,"timestamp":1}]}`, `{"run_id":"r","metrics":[{"Key":"m","value":1,"timestamp":1}]}`,
		`{"run_id":"r\u0061"}`, `{"run_id":"r","metrics":null}`, `{"run_id":"r"}x`, `{"run_id":"r",}`, `{"run_id":"r","metrics":[{},]}`, `{}`, `[]`, ``, `{"run_id":"`, "{\"run_id\":\"a\nb\"}", "{\"run_id\":\"r\"}\x00",
	} {
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		var quick logBatch
		if !utf8.ValidString(doc) || !quick.scan([]byte(doc)) {
			return
		}
		var slow slowBatch
		if err := decodeDocument([]byte(doc), nil, &slow); err != nil {
			t.Fatalf("%q: scanned, but %v", doc, err)
		}
		for i := range slow.Metrics {
			if math.Signbit(slow.Metrics[i].Value.V) != math.Signbit(quick.Metrics[i].Value.V) {
				t.Errorf("%q: %v %v", doc, quick.Metrics[i].Value, slow.Metrics[i].Value)
			}
		}
		if !reflect.DeepEqual(slowBatch(quick), slow) {
			t.Errorf("%q:\n scanned %+v\n parsed %+v", doc, quick, slow)
		}
	})
}

func TestWhatTheClientSendsByTheThousandIsScanned(t *testing.T) {
	t.Parallel()
	doc, err := json.MarshalIndent(map[string]any{"run_id": "r", "metrics": []map[string]any{
		{"key": "loss", "value": 1e-05, "timestamp": 1_700_000_000_000, "step": 3}, {"key": "loss", "value": 2, "timestamp": 0, "step": 0},
	}, "params": []any{}, "tags": []map[string]any{{"key": "k", "value": "v"}}}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var in logBatch
	if !in.scan(doc) || in.RunID != "r" || len(in.Metrics) != 2 || in.Metrics[0].Value.V != 1e-05 || in.Metrics[0].Step.V != 3 || len(in.Tags) != 1 || in.Tags[0].Value != "v" {
		t.Errorf("%+v", in)
	}
	// What only the parser can read leaves nothing of the scanner behind.
	in = logBatch{}
	if err := decodeDocument([]byte(`{"run_id": "r", "tags": [{"key": "k"}], "metrics": [{"key": "m", "value": "NaN", "timestamp": 1}], "more": 1}`), nil, &in); err != nil ||
		len(in.Metrics) != 1 || !math.IsNaN(in.Metrics[0].Value.V) || len(in.Tags) != 1 {
		t.Errorf("%+v %v", in, err)
	}
}
