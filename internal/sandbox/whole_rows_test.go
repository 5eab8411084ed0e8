package sandbox

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestAJSONResultThatIsCutAnywhereIsStillValid(t *testing.T) {
	t.Parallel()
	const whole = "[\n{\"a\":1,\"b\":\"x,\\ny\"},\n{\"a\":2,\"b\":\"]\"},\n{\"a\":3,\"b\":\"\"}\n]\n"
	for _, chunk := range []int{1, 2, 7, 1000} {
		for cut := range len(whole) + 1 {
			var out strings.Builder
			w := &wholeRows{out: &out}
			for at := 0; at < cut; at += chunk {
				if _, err := w.Write([]byte(whole[at:min(at+chunk, cut)])); err != nil {
					t.Fatal(err)
				}
			}
			complete := cut == len(whole)
			if err := w.finish(complete); err != nil {
				t.Fatal(err)
			}
			if complete && out.String() != whole {
				t.Fatalf("chunk %d: %q", chunk, out.String())
			}
			if out.Len() > 0 && !json.Valid([]byte(out.String())) {
				t.Fatalf("chunk %d cut %d: %q", chunk, cut, out.String())
			}
		}
	}
}
