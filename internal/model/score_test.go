package model_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"quant"
	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
	"quant/internal/model"
)

func score(t *testing.T, db *factstore.DB, req model.ScoreRequest) model.Scored {
	t.Helper()
	out, err := model.Score(t.Context(), db, req)
	if err != nil {
		t.Fatal(err, quant.HintOf(err))
	}
	return out
}

type stored struct {
	task              string
	score, calibrated float64
}

// predictions are by symbol and day.
func predictions(t *testing.T, db *factstore.DB) map[string]stored {
	t.Helper()
	rows, err := db.Query(t.Context(), "SELECT symbol, ts, task_id, score, calibrated_score FROM predictions")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[string]stored{}
	for rows.Next() {
		var symbol string
		var day quant.Date
		var p stored
		if err := rows.Scan(&symbol, &day, &p.task, &p.score, &p.calibrated); err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("%s %s", symbol, day)
		if _, twice := out[key]; twice {
			t.Errorf("%s stands twice", key)
		}
		out[key] = p
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEveryDayIsScoredByTheLatestModelThatDidNotKnowIt(t *testing.T) {
	t.Parallel()
	for _, directions := range []bool{false, true} {
		m := newMarket(5, 6, 100, 0.3)
		// The features go on where the labels, and so the training, end.
		cal := m.cal
		if directions {
			m.directions()
		}
		for s := range m.y {
			for i := 70; i < 100; i++ {
				m.y[s][i] = math.NaN()
			}
		}
		m.x[1][80][2] = math.NaN()
		db := open(t, 0)
		m.store(t, db, "r")
		trained := train(t, db, m, m.spec(t, 3))
		doc := trained.Document
		after, _ := cal.Index(doc.Folds[0].TrainLabelEnd)
		req := model.ScoreRequest{RunID: "s1", ModelID: "m", Model: doc, From: cal.At(after + 1), To: cal.Last(), InSample: model.RefuseInSample}
		out := score(t, db, req)
		got := predictions(t, db)
		if want := 6*(99-after) - 1; len(got) != want || out.Rows != int64(want) || out.Inserted != int64(want) || out.Incomplete != 1 {
			t.Errorf("%d predictions, want %d: %s", len(got), want, asJSON(t, out))
		}
		// Plainly, once more: for each day the last model whose labels had ended.
		for s, symbol := range m.symbols {
			for i := after + 1; i < 100; i++ {
				f := doc.Folds[0]
				for _, next := range append(doc.Folds[1:len(doc.Folds):len(doc.Folds)], doc.Final) {
					if next.TrainLabelEnd < cal.At(i) {
						f = next
					}
				}
				p, ok := got[fmt.Sprintf("%s %s", symbol, cal.At(i))]
				if s == 1 && i == 80 {
					if ok {
						t.Errorf("a day that lacks a feature has the prediction %v", p)
					}
					continue
				}
				want := f.Intercept
				for j, c := range f.Coefficients {
					want += c.Coefficient * (m.x[s][i][j] - c.Mean) / c.Deviation
				}
				calibrated := want
				if directions {
					calibrated = 1 / (1 + math.Exp(-want))
				}
				if p.task != f.TaskID || math.Abs(p.score-want) > 1e-12 || math.Abs(p.calibrated-calibrated) > 1e-12 {
					t.Fatalf("%s on %s: %+v, want %s %v %v", symbol, cal.At(i), p, f.TaskID, want, calibrated)
				}
			}
		}
		if last := out.Tasks[len(out.Tasks)-1]; last.TaskID != "final" || last.First != cal.At(75) || last.Days != 25 {
			t.Errorf("the final model scored %+v", last)
		}

		// The same again changes nothing; a part of it leaves the rest alone.
		req.RunID = "s2"
		if out := score(t, db, req); out.Inserted+out.Updated+out.Deleted != 0 || out.Unchanged != int64(len(got)) {
			t.Errorf("the same again: %s", asJSON(t, out))
		}
		req.From, req.To = cal.At(90), cal.At(90)
		if out := score(t, db, req); out.Unchanged != 6 || len(predictions(t, db)) != len(got) {
			t.Errorf("one day again: %s", asJSON(t, out))
		}
		if ledger, err := db.Ledger(t.Context(), "s2"); err != nil || len(ledger) != 0 {
			t.Errorf("ledger %v %v", ledger, err)
		}

		// A feature that is gone takes its prediction along.
		if err := factstoretest.Write(t.Context(), db, "gone", "DELETE FROM features_daily WHERE symbol = 'S03' AND ts = DATE '"+cal.At(90).String()+"'"); err != nil {
			t.Fatal(err)
		}
		if out := score(t, db, req); out.Deleted != 1 || out.Unchanged != 5 || len(predictions(t, db)) != len(got)-1 {
			t.Errorf("without a feature: %s", asJSON(t, out))
		}
	}
}

func TestDaysThatTheModelWasTrainedOnAreRefused(t *testing.T) {
	t.Parallel()
	m := newMarket(5, 6, 100, 0.3)
	db := open(t, 0)
	m.store(t, db, "r")
	doc := train(t, db, m, m.spec(t, 3)).Document
	end, _ := m.cal.Index(doc.Folds[0].TrainLabelEnd)
	req := model.ScoreRequest{RunID: "s", ModelID: "m", Model: doc, From: m.cal.At(0), To: m.cal.Last(), InSample: model.RefuseInSample}
	_, err := model.Score(t.Context(), db, req)
	if !errors.Is(err, quant.Refused) || len(predictions(t, db)) != 0 {
		t.Fatalf("%v", err)
	}
	if want := fmt.Sprintf("%d of the 100 days", end+1); !strings.Contains(err.Error(), want) || !strings.Contains(quant.HintOf(err), doc.Folds[0].TrainLabelEnd.String()) {
		t.Errorf("%v; %s", err, quant.HintOf(err))
	}
	req.InSample = model.SkipInSample
	out := score(t, db, req)
	if out.Skipped != end+1 || out.Rows != int64(6*(99-end)) || out.OutOfSampleAfter != m.cal.At(end) {
		t.Errorf("%s", asJSON(t, out))
	}
	for key, p := range predictions(t, db) {
		if model.InSample(p.task) {
			t.Errorf("%s is in sample", key)
		}
	}
	req.To = m.cal.At(end) // nothing but such days
	if _, err := model.Score(t.Context(), db, req); !errors.Is(err, quant.Refused) {
		t.Errorf("nothing to score out of sample: %v", err)
	}

	req.To, req.InSample = m.cal.Last(), model.AllowInSample
	out = score(t, db, req)
	if out.Inserted != int64(6*(end+1)) || out.Tasks[0].TaskID != model.TaskInSample || out.Tasks[0].Days != end+1 || out.Tasks[1].TaskID != "wf:1" {
		t.Errorf("%s", asJSON(t, out))
	}
	for key, p := range predictions(t, db) {
		if in := key[4:] <= m.cal.At(end).String(); model.InSample(p.task) != in {
			t.Errorf("%s has the task %s", key, p.task)
		}
	}
	// Who scores out of sample again leaves them alone.
	req.InSample = model.SkipInSample
	if out := score(t, db, req); out.Deleted+out.Inserted+out.Updated != 0 || len(predictions(t, db)) != 600 {
		t.Errorf("%s", asJSON(t, out))
	}
}
