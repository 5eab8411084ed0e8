package model

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"testing"

	"quant"
	"quant/internal/correlation"
)

// golden is testdata/sklearn.json; its origin stands in it.
type golden struct {
	X         [][]float64 `json:"x"`
	Y         []float64   `json:"y"`
	Direction []float64   `json:"direction"`
	Ridge     []reference `json:"ridge"`
	Logistic  []reference `json:"logistic"`
	Pearson   float64     `json:"pearson"`
	Spearman  float64     `json:"spearman"`
}

type reference struct {
	Alpha        float64   `json:"alpha"`
	Intercept    float64   `json:"intercept"`
	Coefficients []float64 `json:"coefficients"`
	RMSE         float64   `json:"rmse"`
	AUC          float64   `json:"auc"`
	LogLoss      float64   `json:"log_loss"`
}

func readGolden(t *testing.T) golden {
	t.Helper()
	text, err := os.ReadFile("testdata/sklearn.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g golden) learning(y []float64) learning {
	d := &sampleSet{width: len(g.X[0]), y: y, x: make([][]float64, len(g.X[0]))}
	for i, row := range g.X {
		for j, v := range row {
			d.x[j] = append(d.x[j], v)
		}
		d.days = append(d.days, sessionStart{i, i})
	}
	return learning{d, []span{{0, 100}, {100, len(g.X)}}}
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*max(1, math.Abs(want))) {
		t.Errorf("%s = %v, want %v within %v", what, got, want, tolerance)
	}
}

func TestTheFitsAreThoseOfScikitLearn(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	for _, c := range []struct {
		algo      Algo
		y         []float64
		want      []reference
		tolerance float64
	}{
		{Ridge, g.Y, g.Ridge, 1e-12},
		{Logistic, g.Direction, g.Logistic, 1e-9},
	} {
		l := g.learning(c.y)
		var alphas []float64
		for _, want := range c.want {
			alphas = append(alphas, want.Alpha)
		}
		fits, err := l.fit(t.Context(), c.algo, alphas)
		if err != nil {
			t.Fatal(err)
		}
		for k, want := range c.want {
			near(t, string(c.algo)+" intercept", fits[k].intercept, want.Intercept, c.tolerance)
			for j, coefficient := range want.Coefficients {
				near(t, string(c.algo)+" coefficient", fits[k].coefficient[j], coefficient, c.tolerance)
			}
			j := judging{algo: c.algo, horizon: 1, d: l.sampleSet, eta: make([]float64, len(l.y)), baseline: make([]float64, len(l.y))}
			fits[k].etas(j.eta, l.x, 0, len(l.y))
			for i, eta := range j.eta {
				if one := fits[k].eta(l.x, i); one != eta {
					t.Errorf("sample %d: %v by itself, %v in its column", i, one, eta)
				}
			}
			m := j.measure(span{0, len(l.y)})
			if c.algo == Ridge {
				near(t, "rmse", *m.RMSE, want.RMSE, 1e-12)
			} else {
				near(t, "auc", *m.AUC, want.AUC, 1e-12)
				near(t, "log loss", *m.LogLoss, want.LogLoss, 1e-9)
				near(t, "auc of a constant", *m.BaselineAUC, 0.5, 0)
			}
		}
	}
}

func TestCorrelationsAreThoseOfNumpyAndScipy(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	var a []float64
	for _, row := range g.X {
		a = append(a, math.RoundToEven(row[3]))
	}
	var r correlation.Ranker
	near(t, "pearson", correlation.Pearson(a, g.Y), g.Pearson, 1e-12)
	near(t, "spearman", correlation.Pearson(r.Ranks(nil, a), r.Ranks(nil, g.Y)), g.Spearman, 1e-12)
	near(t, "the area with ties", areaUnderCurve([]float64{1, 2, 2, 3}, []float64{0, 0, 1, 1}), 0.875, 0)
}

func TestAFeatureThatDoesNotVaryHasNoWeight(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	for i := range g.X {
		g.X[i] = append(g.X[i], 0.1)
	}
	for algo, y := range map[Algo][]float64{Ridge: g.Y, Logistic: g.Direction} {
		fits, err := g.learning(y).fit(t.Context(), algo, []float64{1})
		if err != nil {
			t.Fatal(err)
		}
		near(t, string(algo)+" weight", fits[0].coefficient[4], 0, 1e-12)
		near(t, string(algo)+" weight of another", fits[0].coefficient[1], map[Algo]reference{Ridge: g.Ridge[0], Logistic: g.Logistic[0]}[algo].Coefficients[1], 1e-9)
	}
}

func TestLabelsThatAreAllAlikeTeachNoDirection(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	if _, err := g.learning(make([]float64, len(g.X))).fit(t.Context(), Logistic, []float64{1}); !errors.Is(err, quant.Refused) {
		t.Errorf("one class gave %v", err)
	}
}

func TestAPerfectSeparationStillConverges(t *testing.T) {
	t.Parallel()
	d := &sampleSet{width: 1, x: make([][]float64, 1)}
	for i := range 400 {
		x := float64(i) - 199.5
		d.x[0], d.y, d.days = append(d.x[0], x), append(d.y, 0), append(d.days, sessionStart{i, i})
		if x > 0 {
			d.y[i] = 1
		}
	}
	for _, alpha := range []float64{1e-6, 1, 1e6} {
		fits, err := learning{d, []span{{0, 400}}}.fit(t.Context(), Logistic, []float64{alpha})
		if err != nil {
			t.Fatal(err)
		}
		_, grad, _, err := learning{d, []span{{0, 400}}}.curvature(t.Context(), fits[0], alpha)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "gradient", grad[0], 0, 1e-6)
		near(t, "gradient of the intercept", grad[1], 0, 1e-6)
	}
}
