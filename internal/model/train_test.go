package model_test

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/model"
)

// market is features and labels made up in Go.
type market struct {
	cal      *calendar.Calendar
	symbols  []string
	features []string
	x        [][][]float64 // symbol, session, feature; NaN: no row
	label    string
	y        [][]float64 // symbol, session; NaN: no row
}

const horizon = 5

// newMarket draws independent features, and labels of which share of the
// deviation is the first feature.
func newMarket(seed uint64, symbols, sessions int, share float64) *market {
	rng := rand.New(rand.NewPCG(seed, 7))
	m := &market{features: []string{"alpha", "beta", "gamma"}, label: fmt.Sprintf("fwd_ret_%dd", horizon)}
	var days []quant.Date
	for d := quant.Date(14_000); len(days) < sessions; d++ {
		if d%7 != 0 && d%7 != 6 {
			days = append(days, d)
		}
	}
	m.cal = calendar.FromDates(days)
	for s := range symbols {
		m.symbols = append(m.symbols, fmt.Sprintf("S%02d", s))
		x, y := make([][]float64, sessions), make([]float64, sessions)
		for t := range sessions {
			x[t] = []float64{rng.NormFloat64(), 100 + 20*rng.NormFloat64(), rng.NormFloat64() / 50}
			y[t] = 0.03 * (share*x[t][0] + math.Sqrt(1-share*share)*rng.NormFloat64())
			if t >= sessions-horizon {
				y[t] = math.NaN()
			}
		}
		m.x, m.y = append(m.x, x), append(m.y, y)
	}
	return m
}

// directions makes the labels 0 or 1.
func (m *market) directions() *market {
	m.label = fmt.Sprintf("direction_%dd", horizon)
	for _, y := range m.y {
		for t, v := range y {
			if v > 0 {
				y[t] = 1
			} else if v <= 0 {
				y[t] = 0
			}
		}
	}
	return m
}

func open(t *testing.T, threads int) *factstore.DB {
	t.Helper()
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: filepath.Join(t.TempDir(), "quant.duckdb"), Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// store writes the market as the feature module would.
func (m *market) store(t *testing.T, db *factstore.DB, runID string) {
	t.Helper()
	ctx := t.Context()
	exec := func(q string) {
		t.Helper()
		if _, err := db.Stage(ctx, q); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE OR REPLACE TEMP TABLE f (symbol TEXT, ts DATE, feature_name TEXT, feature_value DOUBLE, feature_version TEXT)")
	exec("CREATE OR REPLACE TEMP TABLE l (symbol TEXT, ts DATE, label_name TEXT, label_value DOUBLE, label_version TEXT)")
	err := db.Append(ctx, "f", func(row func(...driver.Value) error) error {
		for s, x := range m.x {
			for i := range x {
				for j, v := range x[i] {
					if !math.IsNaN(v) {
						if err := row(m.symbols[s], m.cal.At(i), m.features[j], v, "v1"); err != nil {
							return err
						}
					}
				}
			}
		}
		return nil
	})
	if err == nil {
		err = db.Append(ctx, "l", func(row func(...driver.Value) error) error {
			for s, y := range m.y {
				for i, v := range y {
					if !math.IsNaN(v) {
						if err := row(m.symbols[s], m.cal.At(i), m.label, v, "v1"); err != nil {
							return err
						}
					}
				}
			}
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Write(ctx, runID, func(ctx context.Context, tx *factstore.Tx) error {
		if _, err := tx.Merge(ctx, factstore.Merge{Table: "features_daily", Source: "f"}); err != nil {
			return err
		}
		if _, err := tx.Merge(ctx, factstore.Merge{Table: "labels", Source: "l"}); err != nil {
			return err
		}
		if _, err := tx.Stage(ctx, "CREATE OR REPLACE TEMP TABLE sl AS SELECT 'labels' AS table_name, symbol, label_name AS name, label_version AS version, min(ts) AS from_ts, max(ts) AS to_ts, '"+runID+"' AS run_id FROM temp.main.l GROUP BY ALL"); err != nil {
			return err
		}
		_, err := tx.Merge(ctx, factstore.Merge{Table: "fact_slices", Source: "sl"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// spec is what the tests train.
func (m *market) spec(t *testing.T, folds int) model.Spec {
	t.Helper()
	label, err := model.ParseLabel(m.label + "@v1")
	if err != nil {
		t.Fatal(err)
	}
	s := model.Spec{ExperimentID: "e", Algo: model.Ridge, Label: label, Alphas: []float64{1, 100},
		Policy: model.Policy{Method: model.Method, Folds: folds, Horizon: label.Horizon, Embargo: label.Horizon, MinTrainSessions: 10}}
	if label.Direction {
		s.Algo = model.Logistic
	}
	for _, f := range m.features {
		s.Features = append(s.Features, model.Feature{Name: f, Version: "v1"})
	}
	return s
}

func train(t *testing.T, db *factstore.DB, m *market, spec model.Spec) model.Trained {
	t.Helper()
	out, err := model.Train(t.Context(), db, m.cal, spec)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func fresh(t *testing.T, m *market, spec model.Spec) model.Trained {
	t.Helper()
	db := open(t, 0)
	m.store(t, db, "r")
	return train(t, db, m, spec)
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWhatComesAfterATrainingPartChangesNoBitOfItsModel(t *testing.T) {
	t.Parallel()
	for _, directions := range []bool{false, true} {
		m := newMarket(3, 8, 150, 0.3)
		if directions {
			m.directions()
		}
		spec := m.spec(t, 4)
		before := fresh(t, m, spec)
		for k, fold := range before.Metrics.Folds {
			changed := newMarket(3, 8, 150, 0.3)
			if directions {
				changed.directions()
			}
			first, _ := m.cal.Index(fold.TestFrom)
			for s := range changed.symbols {
				for i := range changed.y[s] {
					// Every label that ends in the block or after it, every feature of the
					// block and after it.
					if i+horizon >= first {
						changed.y[s][i] = float64((s + i) % 2)
					}
					if i >= first {
						for j := range changed.x[s][i] {
							changed.x[s][i][j] = 1e6 * float64(s-i)
						}
					}
				}
			}
			for s := range changed.symbols { // labels stand on the same days
				for i := range changed.y[s] {
					if math.IsNaN(m.y[s][i]) {
						changed.y[s][i] = math.NaN()
					}
				}
			}
			after := fresh(t, changed, spec)
			for j := 0; j <= k; j++ {
				if got, want := asJSON(t, after.Document.Folds[j]), asJSON(t, before.Document.Folds[j]); got != want {
					t.Errorf("fold %d changed with what comes after fold %d\n got %s\nwant %s", j+1, k+1, got, want)
				}
			}
			if asJSON(t, after.Document.Final) == asJSON(t, before.Document.Final) {
				t.Error("the final model did not notice")
			}
		}
	}
}

func TestNoiseHasNoInformationAndAPlantedSignalIsFound(t *testing.T) {
	t.Parallel()
	const share = 0.3
	for _, directions := range []bool{false, true} {
		for _, c := range []struct{ share, ic, within float64 }{{0, 0, 0.05}, {share, share, 0.08}} {
			m := newMarket(11, 30, 300, c.share)
			if directions {
				m.directions()
			}
			o := fresh(t, m, m.spec(t, 4)).Metrics.Overall
			if o.IC == nil || math.Abs(*o.IC-c.ic) > c.within || math.Abs(*o.RankIC-c.ic) > c.within {
				t.Errorf("a signal of %v gives the IC %s", c.share, asJSON(t, o))
			}
			better := directions && *o.LogLoss < *o.BaselineLogLoss && *o.AUC > 0.55 || !directions && *o.RMSE < *o.BaselineRMSE*0.98
			if better != (c.share > 0) {
				t.Errorf("a signal of %v against the baseline: %s", c.share, asJSON(t, o))
			}
			if o.EffectiveSample != float64(o.Sessions)/horizon {
				t.Errorf("effective sample %v of %d sessions", o.EffectiveSample, o.Sessions)
			}
		}
	}
}

func TestTheSameDataGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	var first []byte
	var id string
	for _, threads := range []int{1, 2, 8} {
		m := newMarket(5, 12, 120, 0.2)
		db := open(t, threads)
		m.store(t, db, "r")
		text, digest, err := train(t, db, m, m.spec(t, 3)).Document.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first, id = text, model.ID(model.Ridge, digest)
		}
		if !bytes.Equal(text, first) || model.ID(model.Ridge, digest) != id {
			t.Errorf("%d threads give another model", threads)
		}
		again, _, _ := train(t, db, m, m.spec(t, 3)).Document.Encode()
		if !bytes.Equal(again, first) {
			t.Error("a second training gives another model")
		}
	}
	// Features of days that have no label yet are no training data.
	m := newMarket(5, 12, 120, 0.2)
	m.x[0][119][0] = 1e6
	if later, _, _ := fresh(t, m, m.spec(t, 3)).Document.Encode(); !bytes.Equal(later, first) {
		t.Error("a feature of a day without a label gives another model")
	}
	if !strings.HasPrefix(id, "ridge-") || len(id) != len("ridge-")+12 {
		t.Errorf("id %q", id)
	}
	for _, leak := range []string{"run", "/", "generated", "created"} {
		if strings.Contains(string(first), leak) {
			t.Errorf("the file speaks of %q", leak)
		}
	}
}

func TestADayThatLacksAFeatureIsLeftOutAndCounted(t *testing.T) {
	t.Parallel()
	m := newMarket(5, 6, 100, 0.2)
	m.x[2][50][1] = math.NaN()
	m.x[3][99][1] = math.NaN() // has no label
	out := fresh(t, m, m.spec(t, 3))
	if want := 6*(100-horizon) - 1; out.Samples != want || out.LeftOut != 1 || out.Symbols != 6 {
		t.Errorf("%d samples, %d left out, %d symbols, want %d, 1, 6", out.Samples, out.LeftOut, out.Symbols, want)
	}
	if len(out.Reads) != 4 || out.Reads[0].Name != "features_daily:alpha@v1" || out.Reads[3].Name != "labels:fwd_ret_5d@v1" || fmt.Sprint(out.Reads[0].Writers, out.Reads[3].Writers) != "[r] [r]" {
		t.Errorf("reads %+v", out.Reads)
	}
	var names []string
	for _, io := range model.Inputs(out.Reads) {
		if err := (quant.RunIO{RunID: "r", Direction: io.Direction, Kind: io.Kind, Name: io.Name}).Validate(); err != nil || io.Direction != quant.In || io.Kind == quant.IOTable && (io.Digest == "" || *io.Rows == 0) {
			t.Errorf("%+v: %v", io, err)
		}
		names = append(names, io.Kind+" "+io.Name)
	}
	if got := strings.Join(names, "; "); !strings.HasPrefix(got, "table features_daily:alpha@v1; run r; ") || !strings.HasSuffix(got, "; table labels:fwd_ret_5d@v1; run r") {
		t.Errorf("inputs %s", got)
	}
}

func TestMetricsSayWhatWasTrainedAndTested(t *testing.T) {
	t.Parallel()
	m := newMarket(5, 6, 100, 0.2)
	out := fresh(t, m, m.spec(t, 3))
	// 95 sessions with labels: 24 for training alone, then 24, 24 and 23.
	f := out.Metrics.Folds[1]
	if f.TestFrom != m.cal.At(48) || f.TestTo != m.cal.At(71) || f.TestLabelEnd != m.cal.At(76) || f.TrainTo != m.cal.At(42) || f.TrainLabelEnd != m.cal.At(47) ||
		f.Purged != 6*5 || f.TrainSamples != 6*43 || f.Samples != 6*24 || f.ICDays != 24 || f.TaskID != "wf:2" || f.Embargoed == 0 {
		t.Errorf("fold 2: %s", asJSON(t, f))
	}
	if o := out.Metrics.Overall; o.Samples != 6*71 || o.Sessions != 71 || o.AUC != nil || o.RMSE == nil {
		t.Errorf("overall: %s", asJSON(t, o))
	}
	if fin := out.Document.Final; fin.Samples != 6*95 || fin.TrainLabelEnd != m.cal.At(99) || fin.TestFrom != nil || fin.TaskID != "final" {
		t.Errorf("final: %s", asJSON(t, fin))
	}
}

func TestFewerThanFiveNamesHaveNoIC(t *testing.T) {
	t.Parallel()
	m := newMarket(5, 4, 100, 0.2)
	out := fresh(t, m, m.spec(t, 3))
	if o := out.Metrics.Overall; o.IC != nil || o.RankICIR != nil || o.ICDays != 0 || o.RMSE == nil || len(out.Notices) != 1 {
		t.Errorf("%s %v", asJSON(t, o), out.Notices)
	}
}

func TestWhatCannotBeTrainedSaysWhy(t *testing.T) {
	t.Parallel()
	m := newMarket(5, 6, 60, 0.2)
	db := open(t, 0)
	m.store(t, db, "r")
	for name, c := range map[string]struct {
		change func(*model.Spec)
		code   quant.Code
	}{
		"an unknown feature":        {func(s *model.Spec) { s.Features[0].Name = "nothing" }, quant.NotFound},
		"an unknown label":          {func(s *model.Spec) { s.Label.Version = "v9" }, quant.NotFound},
		"too many folds":            {func(s *model.Spec) { s.Policy.Folds = 60 }, quant.Refused},
		"a range without rows":      {func(s *model.Spec) { s.Policy.To = ptr(m.cal.At(0) - 10) }, quant.NotFound},
		"logistic on returns":       {func(s *model.Spec) { s.Algo = model.Logistic }, quant.Usage},
		"a negative penalty":        {func(s *model.Spec) { s.Alphas = []float64{-1} }, quant.Usage},
		"a penalty that is no one":  {func(s *model.Spec) { s.Alphas = []float64{math.NaN()} }, quant.Usage},
		"another method of a split": {func(s *model.Spec) { s.Policy.Method = "shuffle" }, quant.Usage},
	} {
		spec := m.spec(t, 3)
		c.change(&spec)
		if _, err := model.Train(t.Context(), db, m.cal, spec); !errors.Is(err, c.code) || quant.HintOf(err) == "" {
			t.Errorf("%s: %v (%s)", name, err, quant.HintOf(err))
		}
	}
	other := calendar.FromDates([]quant.Date{m.cal.At(0), m.cal.At(1), m.cal.At(59)})
	if _, err := model.Train(t.Context(), db, other, m.spec(t, 3)); !errors.Is(err, quant.Refused) {
		t.Errorf("samples that are no sessions: %v", err)
	}
}

func ptr[T any](v T) *T { return &v }

func TestAModelFileIsFoundByItsDigestAndRefusedWhenItWasChanged(t *testing.T) {
	t.Parallel()
	m := newMarket(5, 6, 60, 0.2)
	doc := fresh(t, m, m.spec(t, 3)).Document
	dir := filepath.Join(t.TempDir(), "models")
	digest, err := model.Save(dir, doc)
	if err != nil {
		t.Fatal(err)
	}
	name, err := model.FileName(digest)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	if again, err := model.Save(dir, doc); err != nil || again != digest {
		t.Fatal(again, err)
	}
	read, err := model.Load(dir, digest)
	if err != nil || asJSON(t, read) != asJSON(t, doc) {
		t.Fatalf("%v\n got %s\nwant %s", err, asJSON(t, read), asJSON(t, doc))
	}
	text, _ := os.ReadFile(path)
	if err := os.WriteFile(path, bytes.Replace(text, []byte(`"seed": 0`), []byte(`"seed": 1`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := model.Load(dir, digest); !errors.Is(err, quant.Refused) || !strings.Contains(err.Error(), "changed") {
		t.Errorf("a changed file: %v", err)
	}
	if _, err := model.Save(dir, doc); err != nil {
		t.Fatal(err)
	}
	if _, err := model.Load(dir, digest); err != nil {
		t.Errorf("a file that was written again: %v", err)
	}
	os.Remove(path)
	if _, err := model.Load(dir, digest); !errors.Is(err, quant.Store) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := model.Load(dir, "sha256:../../etc/passwd"); !errors.Is(err, quant.Store) {
		t.Errorf("a path for a digest: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
