package secret

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestMaskingADocumentChangesOnlyTextsAndKeepsItValid(t *testing.T) {
	t.Parallel()
	var m Masker
	m.Know("true", "12345678", "val\"ue<x", "name")
	doc := `{"name": "the name", "flag": true, "n": 12345678, "list": ["12345678", "a val\"ue<x b", "val\u0022ue\u003cx", null], "same": "other"}`
	want := `{"name": "the ***", "flag": true, "n": 12345678, "list": ["***", "a *** b", "***", null], "same": "other"}`
	if got := string(m.KnownJSON([]byte(doc))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if same := m.KnownJSON([]byte(`{"a": 1}`)); string(same) != `{"a": 1}` {
		t.Errorf("%s", same)
	}
}

func FuzzMaskedJSONIsValidAndWithoutTheSecret(f *testing.F) {
	f.Add(`{"a":["x s3cret y"],"s3cret":1}`, "s3cret")
	f.Fuzz(func(t *testing.T, doc, value string) {
		if !json.Valid([]byte(doc)) || len(value) < 6 || strings.Contains(value, "*") || value != strings.TrimSpace(value) {
			return
		}
		var m Masker
		m.Know(value)
		masked := m.KnownJSON([]byte(doc))
		if !json.Valid(masked) {
			t.Fatalf("%s became %s", doc, masked)
		}
		var v any
		if err := json.Unmarshal(masked, &v); err != nil {
			t.Fatal(err)
		}
		var look func(any)
		look = func(v any) {
			switch v := v.(type) {
			case string:
				if strings.Contains(v, value) && !strings.Contains(strings.ReplaceAll(v, value, Placeholder), value) {
					t.Fatalf("%q still stands in %s", value, masked)
				}
			case []any:
				for _, item := range v {
					look(item)
				}
			case map[string]any:
				for _, item := range v {
					look(item)
				}
			}
		}
		look(v)
	})
}
