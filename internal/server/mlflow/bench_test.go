package mlflow

import (
	"encoding/json"
	"fmt"
	"testing"
)

// BenchmarkDecodeABatch reads what clients send as log-batch with 1,000 points.
func BenchmarkDecodeABatch(b *testing.B) {
	list := make([]map[string]any, 1000)
	for i := range list {
		list[i] = map[string]any{"key": fmt.Sprintf("m%d", i%10), "value": float64(i) / 7, "timestamp": 1_700_000_000_000, "step": i / 10}
	}
	doc, err := json.Marshal(map[string]any{"run_id": "0123", "metrics": list, "params": []any{}, "tags": []any{}})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		var in logBatch
		if err := decodeDocument(doc, nil, &in); err != nil || len(in.Metrics) != 1000 {
			b.Fatal(err)
		}
	}
}
