package model_test

import (
	"encoding/json"
	"slices"
	"testing"

	"quant/internal/factstore"
	"quant/internal/model"
)

// learnedApart are folds as processes of their own learn them.
func learnedApart(t *testing.T, db *factstore.DB, m *market, spec model.Spec, named string, tasks []string) []model.LearnedFold {
	t.Helper()
	var list []model.LearnedFold
	for _, task := range tasks {
		samples, err := model.LoadSamples(t.Context(), db, m.cal, spec)
		if err != nil {
			t.Fatal(err)
		}
		l, err := samples.LearnFold(t.Context(), nil, task)
		if err != nil {
			t.Fatal(err)
		}
		name := "unit-" + named + "-" + task[len(task)-1:]
		to, err := db.StageOutputs(t.Context(), name, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Stage(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		digest, err := to.Seal(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		o, err := db.OpenOutputs(t.Context(), name, digest)
		if err != nil {
			t.Fatal(err)
		}
		read, err := model.ReadLearned(t.Context(), db, o)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, read)
	}
	return list
}

// A model whose folds were learned apart is the model, with its measures and the
// importance of its features, to the bit.
func TestFoldsThatAreLearnedApartMakeTheSameModel(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]*market{"ridge": newMarket(3, 8, 160, 0.5), "logistic": newMarket(4, 8, 160, 0.5).directions()} {
		db := open(t, 2)
		m.store(t, db, "run")
		spec := m.spec(t, 3)
		load := func() *model.Samples {
			samples, err := model.LoadSamples(t.Context(), db, m.cal, spec)
			if err != nil {
				t.Fatal(err)
			}
			return samples
		}
		trained := func(samples *model.Samples) string {
			out, err := samples.Train(t.Context(), nil, model.ProofNone)
			if err != nil {
				t.Fatal(err)
			}
			importance, err := samples.Importances(t.Context(), out, model.ByBoth, nil)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := json.Marshal([]any{out.Document, out.Metrics, importance})
			if err != nil {
				t.Fatal(err)
			}
			return string(doc)
		}
		want := trained(load())
		tasks, err := load().Tasks()
		if err != nil || len(tasks) != 3 {
			t.Fatalf("%v %v", tasks, err)
		}
		learned := learnedApart(t, db, m, spec, name, tasks)
		slices.Reverse(learned)
		for _, given := range [][]model.LearnedFold{learned, learned[:1], nil} {
			samples := load()
			samples.Given(given)
			if got := trained(samples); got != want {
				t.Errorf("%s, %d folds learned apart:\n%s\nnot\n%s", name, len(given), got, want)
			}
		}
		// What was learned of other samples does not stand.
		other := newMarket(9, 8, 160, 0.5)
		if name == "logistic" {
			other = other.directions()
		}
		otherDB := open(t, 2)
		other.store(t, otherDB, "run")
		samples := load()
		samples.Given(learnedApart(t, otherDB, other, spec, name+"-other", tasks))
		if got := trained(samples); got != want {
			t.Errorf("%s: folds of other samples were taken", name)
		}
	}
}
