package model

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"testing"

	"quant"
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
	d := &sampleSet{width: len(g.X[0]), y: y}
	for i, row := range g.X {
		d.x = append(d.x, row...)
		d.t = append(d.t, i)
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
		fits, err := l.fit(c.algo, alphas)
		if err != nil {
			t.Fatal(err)
		}
		for k, want := range c.want {
			near(t, string(c.algo)+" intercept", fits[k].intercept, want.Intercept, c.tolerance)
			for j, coefficient := range want.Coefficients {
				near(t, string(c.algo)+" coefficient", fits[k].coefficient[j], coefficient, c.tolerance)
			}
			eta, z := make([]float64, len(l.y)), make([]float64, l.width)
			for i := range eta {
				eta[i] = fits[k].eta(z, l.row(i))
			}
			m := measure(c.algo, 1, l.sampleSet, 0, len(l.y), eta, make([]float64, len(l.y)))
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
	near(t, "pearson", correlation(a, g.Y), g.Pearson, 1e-12)
	near(t, "spearman", correlation(ranks(a), ranks(g.Y)), g.Spearman, 1e-12)
	if got := correlation([]float64{1, 1, 1}, []float64{1, 2, 3}); !math.IsNaN(got) {
		t.Errorf("the correlation with a constant is %v", got)
	}
	near(t, "the area with ties", areaUnderCurve([]float64{1, 2, 2, 3}, []float64{0, 0, 1, 1}), 0.875, 0)
}

func TestAFeatureThatDoesNotVaryHasNoWeight(t *testing.T) {
	t.Parallel()
	g := readGolden(t)
	for i := range g.X {
		g.X[i] = append(g.X[i], 0.1)
	}
	for algo, y := range map[Algo][]float64{Ridge: g.Y, Logistic: g.Direction} {
		fits, err := g.learning(y).fit(algo, []float64{1})
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
	if _, err := g.learning(make([]float64, len(g.X))).fit(Logistic, []float64{1}); !errors.Is(err, quant.Refused) {
		t.Errorf("one class gave %v", err)
	}
}

func TestAPerfectSeparationStillConverges(t *testing.T) {
	t.Parallel()
	d := &sampleSet{width: 1}
	for i := range 400 {
		x := float64(i) - 199.5
		d.x, d.y, d.t = append(d.x, x), append(d.y, 0), append(d.t, i)
		if x > 0 {
			d.y[i] = 1
		}
	}
	for _, alpha := range []float64{1e-6, 1, 1e6} {
		fits, err := learning{d, []span{{0, 400}}}.fit(Logistic, []float64{alpha})
		if err != nil {
			t.Fatal(err)
		}
		_, grad, _ := learning{d, []span{{0, 400}}}.curvature(fits[0], alpha)
		near(t, "gradient", grad[0], 0, 1e-6)
		near(t, "gradient of the intercept", grad[1], 0, 1e-6)
	}
}
