package model

import (
	"testing"

	"quant"
)

func FuzzModelFiles(f *testing.F) {
	day := quant.Date(14_000)
	feature := Feature{"ret_20d", "v1"}
	fold := Fold{TaskID: "wf:1", TrainFrom: day, TrainTo: day + 9, TrainLabelEnd: day + 14, TestFrom: &day, TestTo: &day, Alpha: 1, Coefficients: []Coefficient{{feature, 0.5, 0.1, 2}}}
	good, _, err := Document{
		Format: Format, Algo: Ridge, Features: []Feature{feature}, Label: Label{"fwd_ret_5d", "v1", 5, false}, Alphas: []float64{1},
		SplitPolicy: Policy{Method: Method, Folds: 1, Horizon: 5, MinTrainSessions: 1}, Folds: []Fold{fold}, Final: fold,
	}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	if _, err := parse(good); err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{"label":"fwd_ret_0d@v1"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := parse(text)
		if err != nil {
			return
		}
		// What is accepted can score any day.
		models := d.scorers()
		x := make([][]float64, len(d.Features))
		for j := range x {
			x[j] = []float64{0}
		}
		for day := quant.Date(-10); day < 20_000; day += 1000 {
			if k := scorerOf(models, day, AllowInSample); k >= 0 {
				models[min(k, len(models)-1)].eta(x, 0)
			}
		}
	})
}
