package model

import (
	"context"
	"database/sql/driver"
	"math"

	"quant"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// OutsideSample says what becomes of a day that no model of the file can score
// out of sample: the first fold's training labels had not all ended before it.
type OutsideSample string

// The ways to deal with such days.
const (
	RefuseInSample OutsideSample = "refuse" // none is scored, not one day of the range
	SkipInSample   OutsideSample = "skip"   // the others are scored
	AllowInSample  OutsideSample = "allow"  // by the final model, under TaskInSample
)

// ScoreRequest says what to score.
type ScoreRequest struct {
	RunID    string
	ModelID  string
	Model    Document
	From, To quant.Date // both included
	InSample OutsideSample
}

// Scored is what Score did.
type Scored struct {
	ModelID  string     `json:"model_id"`
	From     quant.Date `json:"from"`
	To       quant.Date `json:"to"`
	Tasks    []TaskRows `json:"tasks"` // in the order of time
	Rows     int64      `json:"rows"`  // predictions of these
	Inserted int64      `json:"rows_inserted"`
	Updated  int64      `json:"rows_updated"`
	Deleted  int64      `json:"rows_deleted"` // stood in the range before, and have no features any more
	// Unchanged stood there already, with the same values.
	Unchanged int64 `json:"rows_unchanged"`
	// Incomplete counts the (symbol, day) without every feature: not scored.
	Incomplete int64 `json:"incomplete"`
	// Skipped counts the days that no model can score out of sample.
	Skipped int `json:"days_skipped"`
	// OutOfSampleAfter is the day after which one can.
	OutOfSampleAfter quant.Date `json:"out_of_sample_after"`

	Reads       []Read     `json:"-"`
	OutputFirst quant.Text `json:"-"`
	OutputLast  quant.Text `json:"-"`
	Output      string     `json:"-"` // digest of the predictions that now stand
}

// Outputs are what was written: the predictions of the model in the range.
func (s Scored) Outputs() []quant.RunIO {
	changed := s.Inserted + s.Updated + s.Deleted
	return []quant.RunIO{{
		Direction: quant.Out, Kind: quant.IOTable, Name: factstore.Predictions, Rows: &changed,
		FirstDate: s.OutputFirst, LastDate: s.OutputLast, Digest: quant.Text(s.Output),
	}}
}

// TaskRows is what one task scored.
type TaskRows struct {
	TaskID string     `json:"task_id"`
	First  quant.Date `json:"first"`
	Last   quant.Date `json:"last"`
	Days   int        `json:"days"`
	Rows   int64      `json:"rows"`
}

// scorer is a model of the file and the day after which it may score.
type scorer struct {
	task  string
	after quant.Date
	*fitted
}

func (d Document) scorers() []scorer {
	var list []scorer
	for _, f := range d.Folds {
		list = append(list, scorer{f.TaskID, f.TrainLabelEnd, f.fitted()})
	}
	return append(list, scorer{TaskFinal, d.Final.TrainLabelEnd, d.Final.fitted()})
}

// Score writes the predictions of the model on the days of the range that have
// features, from the features of that very day alone, one row a (symbol, day):
// by the latest of its models whose training labels had all ended before the
// day. score is the value of the model (a return in decimals for Ridge, the
// logarithm of the odds for Logistic), calibrated_score what it means: the
// predicted return, or the probability. Higher is better. A symbol that lacks a
// feature on a day is left out, and counted.
//
// Earlier predictions of this model in the range that do not come out again
// are deleted; those outside of it stay. The same again changes nothing.
//
// NotFound: there are no features. Refused: days that can be scored in sample
// only, as the request has it; nothing is written then.
func Score(ctx context.Context, db *factstore.DB, req ScoreRequest) (Scored, error) {
	out := Scored{ModelID: req.ModelID, From: req.From, To: req.To, Tasks: []TaskRows{}}
	models := req.Model.scorers()
	out.OutOfSampleAfter = models[0].after
	if req.To < req.From {
		return out, quant.Errorf(quant.Usage, "from %s is after to %s", req.From, req.To).WithHint("swap them")
	}
	r := dateRange{&req.From, &req.To}
	var err error
	if out.Reads, out.Incomplete, err = stageFeatures(ctx, db, req.Model.Features, r); err != nil {
		return out, err
	}
	if err := out.inSample(ctx, db, req); err != nil {
		return out, err
	}
	if err := out.compute(ctx, db, req, models); err != nil {
		return out, err
	}
	return out, out.write(ctx, db, req, r)
}

// inSample counts the days that no model can score out of sample.
func (s *Scored) inSample(ctx context.Context, db *factstore.DB, req ScoreRequest) error {
	if req.InSample == AllowInSample {
		return nil
	}
	var days int
	if err := db.QueryRow(ctx, "SELECT count(DISTINCT ts), count(DISTINCT ts) FILTER (ts <= CAST(? AS DATE)) FROM "+featureTable, s.OutOfSampleAfter).Scan(&days, &s.Skipped); err != nil {
		return err
	}
	if s.Skipped == 0 || req.InSample == SkipInSample && s.Skipped < days {
		return nil
	}
	return quant.Errorf(quant.Refused, "model %s was trained on %d of the %d days from %s to %s, or on days after them, and cannot score these out of sample", req.ModelID, s.Skipped, days, req.From, req.To).
		WithHint("score days after %s, leave the others out with --skip-in-sample, or look at them with --allow-in-sample", s.OutOfSampleAfter)
}

// compute fills the TEMP table model_prediction, in key order.
func (s *Scored) compute(ctx context.Context, db *factstore.DB, req ScoreRequest, models []scorer) error {
	type prediction struct {
		symbol string
		day    quant.Date
		task   int // index of models; len(models): in sample
		eta    float64
	}
	var list []prediction
	x, z := make([]float64, len(req.Model.Features)), make([]float64, len(req.Model.Features))
	symbol := ""
	taskOf := map[quant.Date]int{}
	err := eachRow(ctx, db, "model_feature", "symbol, ts", "", len(x), func(day quant.Date, sym string) error {
		task, known := taskOf[day]
		if !known {
			task = scorerOf(models, day, req.InSample)
			taskOf[day] = task
		}
		if task < 0 {
			return nil
		}
		if sym != symbol {
			symbol = sym
		}
		eta := models[min(task, len(models)-1)].eta(z, x)
		if math.IsNaN(eta) || math.IsInf(eta, 0) {
			s.Incomplete++
			return nil
		}
		list = append(list, prediction{symbol, day, task, eta})
		return nil
	}, x)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(models)+1)
	for _, m := range models {
		names = append(names, m.task)
	}
	names = append(names, TaskInSample)
	counts := make([]TaskRows, len(names))
	for day, task := range taskOf {
		if task < 0 {
			continue
		}
		c := &counts[task]
		if c.Days == 0 {
			c.First, c.Last = day, day
		}
		c.First, c.Last = min(c.First, day), max(c.Last, day)
		c.Days++
	}
	if _, err := db.Stage(ctx, "CREATE OR REPLACE TEMP TABLE model_prediction (symbol TEXT, ts DATE, model_id TEXT, task_id TEXT, score DOUBLE, calibrated_score DOUBLE)"); err != nil {
		return err
	}
	err = db.Append(ctx, "model_prediction", func(row func(...driver.Value) error) error {
		for _, p := range list {
			calibrated := p.eta
			if req.Model.Algo == Logistic {
				calibrated = sigmoid(p.eta)
			}
			counts[p.task].Rows++
			if err := row(p.symbol, p.day, req.ModelID, names[p.task], p.eta, calibrated); err != nil {
				return err
			}
		}
		return nil
	})
	// In-sample days come before the others.
	for k := range counts {
		k = (k + len(models)) % len(counts)
		if counts[k].Days > 0 {
			counts[k].TaskID = names[k]
			s.Tasks = append(s.Tasks, counts[k])
		}
	}
	s.Rows = int64(len(list))
	return err
}

// scorerOf is the index of the model that scores a day: the latest whose
// training labels had all ended before it, for what a later one learned from
// includes what an earlier one did. len(models) stands for the final one in
// sample, -1 for none.
func scorerOf(models []scorer, day quant.Date, in OutsideSample) int {
	for k := len(models) - 1; k >= 0; k-- {
		if models[k].after < day {
			return k
		}
	}
	if in == AllowInSample {
		return len(models)
	}
	return -1
}

func (s *Scored) write(ctx context.Context, db *factstore.DB, req ScoreRequest, r dateRange) error {
	// Who does not ask for in-sample predictions does not judge them.
	mine := "model_id = " + sqltext.Literal(req.ModelID) + " AND " + r.where()
	if req.InSample != AllowInSample {
		mine += " AND task_id <> '" + TaskInSample + "'"
	}
	_, err := db.Write(ctx, req.RunID, func(ctx context.Context, tx *factstore.Tx) error {
		var stood bool
		err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM predictions WHERE "+mine+")").Scan(&stood)
		if err != nil {
			return err
		}
		if stood {
			if s.Deleted, err = tx.Delete(ctx, factstore.Predictions, mine+" AND (symbol, ts, task_id) NOT IN (SELECT (symbol, ts, task_id) FROM temp.main.model_prediction)"); err != nil {
				return err
			}
		}
		d, err := tx.Merge(ctx, factstore.Merge{Table: factstore.Predictions, Source: "model_prediction"})
		if err != nil {
			return err
		}
		s.Inserted, s.Updated, s.Unchanged = d.Inserted, d.Updated, d.Unchanged
		stands := "SELECT symbol, ts, model_id, task_id, score, calibrated_score FROM predictions WHERE " + mine
		if _, s.Output, err = tx.Digest(ctx, stands); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT min(ts)::VARCHAR, max(ts)::VARCHAR FROM ("+stands+")").Scan(&s.OutputFirst, &s.OutputLast)
	})
	return err
}
