package model_test

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"quant/internal/model"
)

// The files in testdata are models that an earlier version of the program trained,
// as Encode wrote them.
func TestAModelHasTheBytesThatAnEarlierVersionGaveIt(t *testing.T) {
	t.Parallel()
	for _, algo := range []model.Algo{model.Ridge, model.Logistic} {
		m := newMarket(33, 9, 300, 0.3)
		for s := range m.y { // symbols that begin late and end early, and days that lack a row
			for i := range m.y[s] {
				if i < 20*(s%4) || i > 300-10*(s%3) || (i*7+s)%31 == 0 {
					m.y[s][i] = math.NaN()
				}
			}
			m.x[s][100+s][s%3] = math.NaN()
		}
		if algo == model.Logistic {
			m = m.directions()
		}
		spec := m.spec(t, 4)
		spec.Algo, spec.Alphas = algo, []float64{0.1, 10, 1000}
		now, _, err := fresh(t, m, spec).Document.Encode()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", "earlier-"+string(algo)+".json")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(now) != string(text) {
			t.Errorf("%s: %s\nthen\n%s", algo, now, text)
		}
	}
}
