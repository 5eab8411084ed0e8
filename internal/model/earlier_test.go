package model_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"quant/internal/model"
)

// The files in testdata are models that the program trained when it still added
// samples one by one, as Encode wrote them. A model that is trained from the same
// samples today has the same choices, days and digests, and the same figures but for
// rounding.
func TestAModelAgreesWithOneOfAnEarlierVersionButForRounding(t *testing.T) {
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
		now := fresh(t, m, spec).Document
		file := filepath.Join("testdata", "earlier-"+string(algo)+".json")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var then model.Document
		if err := json.Unmarshal(text, &then); err != nil {
			t.Fatal(err)
		}
		const rounding = 1e-12
		near := func(what string, now, then *float64, scale float64) {
			if !(math.Abs(*now-*then) <= rounding*max(scale, math.Abs(*then))) {
				t.Errorf("%s, %s: %v, then %v", algo, what, *now, *then)
			}
			*now = *then
		}
		pair := func(now, then *model.Fold) {
			largest := 0.0
			for _, c := range then.Coefficients {
				largest = max(largest, math.Abs(c.Coefficient))
			}
			near(then.TaskID+" intercept", &now.Intercept, &then.Intercept, largest)
			for j := range then.Coefficients {
				a, b := &now.Coefficients[j], &then.Coefficients[j]
				near(then.TaskID+" coefficient", &a.Coefficient, &b.Coefficient, largest)
				near(then.TaskID+" mean", &a.Mean, &b.Mean, b.Deviation)
				near(then.TaskID+" deviation", &a.Deviation, &b.Deviation, 0)
			}
		}
		for k := range then.Folds {
			pair(&now.Folds[k], &then.Folds[k])
		}
		pair(&now.Final, &then.Final)
		// What is left is the same to the byte.
		again, _, err := now.Encode()
		if err != nil || string(again) != string(text) {
			t.Errorf("%s: %s\nthen\n%s\n%v", algo, again, text, err)
		}
	}
}
