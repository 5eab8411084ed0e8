package chain

import (
	"context"
	"database/sql/driver"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/test/labtest"
)

// modelLab is a lab whose sessions are the days of its data, with made up
// features and labels, written as the features and labels commands would.
func modelLab(t *testing.T) *labtest.Lab {
	t.Helper()
	l := labtest.New(t)
	l.Env = append(l.Env, "QUANT_CALENDAR=data")
	const sessions, names, horizon = 200, 6, 5
	start := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	day := func(i int) time.Time { return start.AddDate(0, 0, i) }
	var prices strings.Builder
	prices.WriteString("date,symbol,open,high,low,close,volume\n")
	for i := range sessions {
		fmt.Fprintf(&prices, "%s,S0,1,2,0.5,1.5,100\n", day(i).Format(time.DateOnly))
	}
	l.Write("prices.csv", []byte(prices.String()))
	l.Must("ingest", "prices.csv")

	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: l.Facts()})
	labtest.Must(t, err)
	defer db.Close()
	for _, q := range []string{
		"CREATE TEMP TABLE f (symbol TEXT, ts DATE, feature_name TEXT, feature_value DOUBLE, feature_version TEXT)",
		"CREATE TEMP TABLE l (symbol TEXT, ts DATE, label_name TEXT, label_value DOUBLE, label_version TEXT)",
	} {
		_, err = db.Stage(t.Context(), q)
		labtest.Must(t, err)
	}
	signal := func(s, i int) float64 {
		rng := rand.New(rand.NewPCG(uint64(s), uint64(i)))
		return rng.NormFloat64()
	}
	labtest.Must(t, db.Append(t.Context(), "f", func(row func(...driver.Value) error) error {
		for s := range names {
			for i := range sessions {
				for name, v := range map[string]float64{"ret_20d": signal(s, i), "vol_20d": math.Abs(signal(s+100, i))} {
					if err := row(fmt.Sprintf("S%d", s), day(i), name, v, "v1"); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}))
	labtest.Must(t, db.Append(t.Context(), "l", func(row func(...driver.Value) error) error {
		for s := range names {
			for i := range sessions - horizon {
				y := 0.02*signal(s, i) + 0.02*signal(s+200, i)
				if err := row(fmt.Sprintf("S%d", s), day(i), "fwd_ret_5d", y, "v1"); err != nil {
					return err
				}
				if err := row(fmt.Sprintf("S%d", s), day(i), "direction_5d", map[bool]float64{true: 1}[y > 0], "v1"); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	_, err = db.Write(t.Context(), l.RunOf("ingest").ID, func(ctx context.Context, tx *factstore.Tx) error {
		if _, err := tx.Merge(ctx, factstore.Merge{Table: "features_daily", Source: "f"}); err != nil {
			return err
		}
		_, err := tx.Merge(ctx, factstore.Merge{Table: "labels", Source: "l"})
		return err
	})
	labtest.Must(t, err)
	return l
}

type trainedModel struct {
	ModelID string `json:"model_id"`
	Change  string `json:"change"`
	Digest  string `json:"digest"`
	File    string `json:"file"`
	Metrics struct {
		Overall struct {
			IC *float64 `json:"ic"`
		} `json:"overall"`
		Folds []struct {
			TrainLabelEnd quant.Date `json:"train_label_end"`
		} `json:"folds"`
	} `json:"metrics"`
}

func train(l *labtest.Lab, args ...string) trainedModel {
	l.T.Helper()
	var m trainedModel
	labtest.Decode(l.T, l.Must(append([]string{"train", "--output", "json"}, args...)...).Stdout, &m)
	return m
}

func TestAModelIsTrainedKeptAndScoresOutOfSample(t *testing.T) {
	t.Parallel()
	l := modelLab(t)
	l.Must("experiments", "create", "e", "--features", "ret_20d@v1,vol_20d@v1", "--label", "fwd_ret_5d@v1")
	m := train(l, "--experiment", "e")
	if m.Change != "created" || m.Metrics.Overall.IC == nil || *m.Metrics.Overall.IC < 0.5 || len(m.Metrics.Folds) != 5 {
		t.Errorf("%+v", m)
	}
	if again := train(l, "--experiment", "e"); again.Change != "unchanged" || again.ModelID != m.ModelID {
		t.Errorf("training again: %+v", again)
	}
	if got := l.MetaRows("SELECT model_id, experiment_id, algo, train_range, feature_version, label_version FROM models ORDER BY created_at LIMIT 1"); got != m.ModelID+" e ridge 2020-01-01..2020-07-13 v1 v1\n" {
		t.Errorf("models: %s", got)
	}
	file := filepath.Join(l.Dir, "data", filepath.FromSlash(m.File))
	text, err := os.ReadFile(file)
	labtest.Must(t, err)
	if strings.Contains(string(text), l.Dir) || strings.Contains(string(text), l.LastRun().ID) {
		t.Error("the file names a path or a run")
	}
	// experiment:e is what was trained last, for the first time or again.
	shown := func() string {
		var v struct {
			ModelID string `json:"model_id"`
		}
		labtest.Decode(t, l.Must("models", "show", "experiment:e", "--output", "json").Stdout, &v)
		return v.ModelID
	}
	if stiff := train(l, "--experiment", "e", "--param", "alpha=1e6"); stiff.ModelID == m.ModelID || shown() != stiff.ModelID {
		t.Errorf("with another alpha: %+v, shown is %s", stiff, shown())
	}
	if train(l, "--experiment", "e"); shown() != m.ModelID {
		t.Errorf("trained last is %s, shown %s", m.ModelID, shown())
	}

	// Another lab with the same data has the same bytes under the same name.
	other := modelLab(t)
	other.Must("experiments", "create", "e", "--features", "ret_20d@v1,vol_20d@v1", "--label", "fwd_ret_5d@v1")
	if same := train(other, "--experiment", "e"); same.ModelID != m.ModelID || same.Digest != m.Digest {
		t.Errorf("the same data gives %+v and %+v", m, same)
	}

	// Days that it was trained on are refused, and nothing is written.
	refused := l.Want(6, "score", "--model", m.ModelID, "--from", "2020-01-01", "--to", "2020-07-18")
	if !strings.Contains(refused.Stderr, m.Metrics.Folds[0].TrainLabelEnd.String()) || l.FactRows("SELECT count(*) FROM predictions") != "0\n" {
		t.Errorf("%s", refused)
	}
	l.Want(6, "score", "--model", m.ModelID, "--asof", "2020-01-10")
	scored := l.Must("score", "--model", "experiment:e", "--from", "2020-01-01", "--to", "2020-07-18", "--skip-in-sample")
	if !strings.Contains(scored.Stderr, "left out") {
		t.Errorf("%s", scored)
	}
	facts := l.FactRows("SELECT count(*), count(DISTINCT task_id), count(*) FILTER (task_id = 'in_sample'), min(ts)::VARCHAR FROM predictions")
	if want := fmt.Sprintf("%d 5 0 %s", outOfSampleRows(l, m), (m.Metrics.Folds[0].TrainLabelEnd + 1).String()); !strings.HasPrefix(facts, want) {
		t.Errorf("predictions: %s, want %s", facts, want)
	}
	run := l.RunOf("score")
	inputs := l.MetaRows("SELECT count(*) FROM run_io WHERE run_id = '" + run.ID + "' AND direction = 'in' AND (kind = 'file' AND name = '" + m.File + "' AND digest = '" + m.Digest + "' OR kind = 'run' OR name IN ('features_daily:ret_20d@v1', 'features_daily:vol_20d@v1'))")
	if inputs != "5\n" { // the file, two features, the run that trained and the one that wrote the features
		t.Errorf("inputs: %s of %s", inputs, l.MetaRows("SELECT direction, kind, name FROM run_io WHERE run_id = '"+run.ID+"'"))
	}
	l.Must("score", "--model", m.ModelID, "--from", "2020-01-01", "--to", "2020-07-18", "--skip-in-sample")
	if again := l.FactRows("SELECT count(*) FROM ledger WHERE table_name = 'predictions'"); again != "1\n" {
		t.Errorf("%s ledger rows after the same again", again)
	}
	if r := l.Must("score", "--model", m.ModelID, "--asof", "2020-01-10", "--allow-in-sample"); !strings.Contains(r.Stderr, "IN-SAMPLE") {
		t.Errorf("%s", r)
	}

	// A changed file is refused by all that read it; training writes it anew.
	labtest.Must(t, os.WriteFile(file, append(text, '\n'), 0o600))
	l.Want(6, "models", "show", m.ModelID)
	l.Want(6, "score", "--model", m.ModelID, "--asof", "2020-07-18")
	labtest.Must(t, os.Remove(file))
	l.Want(8, "models", "show", m.ModelID)
	train(l, "--experiment", "e")
	l.Must("models", "show", m.ModelID)
	l.WantClosed()
	l.WantAgreement()
}

// outOfSampleRows is how many predictions there are after the first fold's
// training.
func outOfSampleRows(l *labtest.Lab, m trainedModel) int {
	last, err := quant.ParseDate("2020-07-18")
	labtest.Must(l.T, err)
	return 6 * int(last-m.Metrics.Folds[0].TrainLabelEnd)
}

func TestADirectionIsLearnedByLogistic(t *testing.T) {
	t.Parallel()
	l := modelLab(t)
	l.Must("experiments", "create", "d", "--features", "ret_20d@v1", "--label", "direction_5d@v1", "--folds", "2", "--param", "alpha=1,10")
	m := train(l, "--experiment", "d")
	if !strings.HasPrefix(m.ModelID, "logistic-") {
		t.Errorf("%+v", m)
	}
	l.Must("score", "--model", "experiment:d", "--asof", "2020-07-18")
	if got := l.FactRows("SELECT count(*), bool_and(calibrated_score BETWEEN 0 AND 1), bool_and(abs(1 / (1 + exp(-score)) - calibrated_score) < 1e-12), min(task_id) FROM predictions"); got != "6 true true wf:2\n" {
		t.Errorf("predictions: %s", got)
	}
	l.Want(2, "train", "--experiment", "d", "--algo", "ridge")
}

func TestOwnRunsRecordSettingsAndFigures(t *testing.T) {
	t.Parallel()
	l := modelLab(t)
	l.Must("experiments", "create", "e", "--features", "ret_20d@v1,vol_20d@v1", "--label", "fwd_ret_5d@v1")
	m := train(l, "--experiment", "e")
	id := l.RunOf("train").ID
	if got := l.MetaRows("SELECT name, value FROM run_params WHERE run_id = '" + id + "' AND name IN ('algo', 'features', 'label', 'folds', 'experiment_id') ORDER BY name"); got != "algo ridge\nexperiment_id e\nfeatures ret_20d@v1,vol_20d@v1\nfolds 5\nlabel fwd_ret_5d@v1\n" {
		t.Error(got)
	}
	if got := l.MetaRows("SELECT points, last = " + fmt.Sprintf("%.17g", *m.Metrics.Overall.IC) + " FROM run_metrics WHERE run_id = '" + id + "' AND name = 'ic'"); got != "1 1\n" {
		t.Error(got)
	}
	if got := l.MetaRows("SELECT points, last_step FROM run_metrics WHERE run_id = '" + id + "' AND name = 'fold.ic'"); got != "5 4\n" {
		t.Error(got)
	}
	if got := l.MetaRows("SELECT name, value FROM run_tags WHERE run_id = '" + id + "'"); got != "experiment e\n" {
		t.Error(got)
	}
}
