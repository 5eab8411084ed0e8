package model

import (
	"context"
	"slices"

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

// scorers are the models that may score: of a walk-forward the folds and the final
// one, of Combinatorial the final one alone, because its folds learned from what came
// after their tests.
func (d Document) scorers() []scorer {
	var list []scorer
	for _, f := range d.walkForwardFolds() {
		list = append(list, scorer{f.TaskID, f.TrainLabelEnd, f.fitted()})
	}
	return append(list, scorer{TaskFinal, d.Final.TrainLabelEnd, d.Final.fitted()})
}

func (d Document) walkForwardFolds() []Fold {
	if d.SplitPolicy.Method == Combinatorial {
		return nil
	}
	return d.Folds
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
//
// A model of ByProgram is scored by Scoring.
func Score(ctx context.Context, db *factstore.DB, req ScoreRequest) (Scored, error) {
	s, err := StartScoring(ctx, db, req)
	if err != nil {
		return s.out, err
	}
	return s.Write(ctx, db)
}

// Scoring is Score in its three parts, so that the Fact DB need not be open while a
// program predicts: StartScoring reads, Predict has the program predict what Models of
// ByProgram cannot by themselves, Write writes.
type Scoring struct {
	req    ScoreRequest
	models []scorer
	p      *predicted
	out    Scored
}

// StartScoring reads the features of a request, and predicts where the model is
// linear. The Scoring is not nil, and tells what was read, also after an error. Errors:
// those of Score.
func StartScoring(ctx context.Context, db *factstore.DB, req ScoreRequest) (*Scoring, error) {
	s := &Scoring{req: req, models: req.Model.scorers(), p: &predicted{days: map[quant.Date]int{}}}
	s.out = Scored{ModelID: req.ModelID, From: req.From, To: req.To, Tasks: []TaskRows{}}
	s.out.OutOfSampleAfter = s.models[0].after
	if req.To < req.From {
		return s, quant.Errorf(quant.Usage, "from %s is after to %s", req.From, req.To).WithHint("swap them")
	}
	f, err := findFeatures(ctx, db, req.Model.Features, dateRange{&req.From, &req.To})
	if err != nil {
		return s, err
	}
	if err := s.out.compute(ctx, db, req, s.models, f, s.p); err != nil {
		return s, err
	}
	if err := s.out.inSample(req, s.p); err != nil {
		return s, err
	}
	s.out.tell(s.models, s.p)
	return s, nil
}

// Done is what there is to tell so far.
func (s *Scoring) Done() Scored { return s.out }

// Write writes the predictions.
func (s *Scoring) Write(ctx context.Context, db *factstore.DB) (Scored, error) {
	return s.out, s.out.write(ctx, db, s.req, dateRange{&s.req.From, &s.req.To}, s.models, s.p)
}

// predicted are predictions, a row after another.
type predicted struct {
	names             factstore.Names
	symbol            []int32 // the name's number
	day               []quant.Date
	task              []int32 // index of models; len(models): in sample
	score, calibrated []float64
	x                 [][]float64 // of a program: the features, by feature

	days map[quant.Date]int // the task of each day that has every feature of a symbol, -1 of none
}

// compute predicts the rows that have every feature, and counts the others.
func (s *Scored) compute(ctx context.Context, db *factstore.DB, req ScoreRequest, models []scorer, f features, p *predicted) (err error) {
	s.Reads, err = f.each(ctx, db, &p.names, func(symbols []int32, days []quant.Date, x [][]float64) error {
		for row, day := range days {
			if !complete(x, row) {
				if slices.ContainsFunc(x, func(column []float64) bool { return column[row]-column[row] == 0 }) {
					s.Incomplete++
				}
				continue
			}
			task, known := p.days[day]
			if !known {
				task = scorerOf(models, day, req.InSample)
				p.days[day] = task
			}
			if task < 0 {
				continue
			}
			if req.Model.Algo == ByProgram {
				p.gather(symbols[row], day, task, x, row)
				continue
			}
			eta := models[min(task, len(models)-1)].eta(x, row)
			if eta-eta != 0 { // NaN or infinite
				s.Incomplete++
				continue
			}
			p.symbol, p.day, p.task, p.score = append(p.symbol, symbols[row]), append(p.day, day), append(p.task, int32(task)), append(p.score, eta)
			if req.Model.Algo == Logistic {
				p.calibrated = append(p.calibrated, sigmoid(eta))
			}
		}
		return nil
	})
	return err
}

// inSample counts the days that no model can score out of sample.
func (s *Scored) inSample(req ScoreRequest, p *predicted) error {
	if req.InSample == AllowInSample {
		return nil
	}
	for day := range p.days {
		if day <= s.OutOfSampleAfter {
			s.Skipped++
		}
	}
	if s.Skipped == 0 || req.InSample == SkipInSample && s.Skipped < len(p.days) {
		return nil
	}
	return quant.Errorf(quant.Refused, "model %s was trained on %d of the %d days from %s to %s, or on days after them, and cannot score these out of sample", req.ModelID, s.Skipped, len(p.days), req.From, req.To).
		WithHint("score days after %s, leave the others out with --skip-in-sample, or look at them with --allow-in-sample", s.OutOfSampleAfter)
}

// tell says what each task scored.
func (s *Scored) tell(models []scorer, p *predicted) {
	names := taskNames(models)
	counts := make([]TaskRows, len(names))
	for day, task := range p.days {
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
	for _, task := range p.task {
		counts[task].Rows++
	}
	// In-sample days come before the others.
	for k := range counts {
		k = (k + len(models)) % len(counts)
		if counts[k].Days > 0 {
			counts[k].TaskID = names[k]
			s.Tasks = append(s.Tasks, counts[k])
		}
	}
	s.Rows = int64(len(p.task))
}

// taskNames are those of the models, and that of what is in sample.
func taskNames(models []scorer) []string {
	var names []string
	for _, m := range models {
		names = append(names, m.task)
	}
	return append(names, TaskInSample)
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

func (s *Scored) write(ctx context.Context, db *factstore.DB, req ScoreRequest, r dateRange, models []scorer, p *predicted) error {
	// Who does not ask for in-sample predictions does not judge them.
	mine := "model_id = " + sqltext.Literal(req.ModelID) + " AND " + r.where()
	if req.InSample != AllowInSample {
		mine += " AND task_id <> '" + TaskInSample + "'"
	}
	relation, release, err := p.hold(db, req.ModelID, taskNames(models))
	if err != nil {
		return err
	}
	defer release()
	_, err = db.Write(ctx, req.RunID, func(ctx context.Context, tx *factstore.Tx) error {
		var stood bool
		err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM predictions WHERE "+mine+")").Scan(&stood)
		if err != nil {
			return err
		}
		if !stood {
			s.Inserted, err = tx.Insert(ctx, factstore.Predictions, "(symbol, ts, model_id, task_id, score, calibrated_score, generated_at) SELECT *, CAST(? AS TIMESTAMP) FROM "+relation("true"), tx.Now)
		} else {
			err = s.replace(ctx, db, tx, p, taskNames(models), mine, relation)
		}
		if err != nil {
			return err
		}
		if !stood {
			s.OutputFirst, s.OutputLast, s.Output = p.stands(req.ModelID, taskNames(models))
			return nil
		}
		stands := "SELECT symbol, ts, model_id, task_id, score, calibrated_score FROM predictions WHERE " + mine
		if _, s.Output, err = tx.Digest(ctx, stands); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT min(ts)::VARCHAR, max(ts)::VARCHAR FROM ("+stands+")").Scan(&s.OutputFirst, &s.OutputLast)
	})
	return err
}

// stands tells of the predictions where they alone are stored: their first and last
// day, and their digest.
func (p *predicted) stands(modelID string, tasks []string) (first, last quant.Text, digest string) {
	_, digest = factstore.RowDigest(
		factstore.Column{Numbers: p.symbol, Texts: p.names.List}, factstore.Column{Dates: p.day},
		factstore.Column{Numbers: make([]int32, len(p.day)), Texts: []string{modelID}}, factstore.Column{Numbers: p.task, Texts: tasks},
		factstore.Column{Floats: p.score}, factstore.Column{Floats: p.meaning()})
	if len(p.day) > 0 {
		first, last = quant.Text(slices.Min(p.day).String()), quant.Text(slices.Max(p.day).String())
	}
	return first, last, digest
}

// meaning are the calibrated scores.
func (p *predicted) meaning() []float64 {
	if p.calibrated == nil {
		return p.score
	}
	return p.calibrated
}

// hold makes the predictions readable in SQL: relation is the columns of the table,
// but for its stamp, of the rows for which a condition on their number row holds.
func (p *predicted) hold(db *factstore.DB, modelID string, tasks []string) (relation func(where string) string, release func(), err error) {
	rows := make([]int32, len(p.task))
	for i := range rows {
		rows[i] = int32(i)
	}
	var releases []func()
	release = func() {
		for _, r := range releases {
			r()
		}
	}
	var from [3]string
	numbers := make([]int32, len(tasks))
	for i := range numbers {
		numbers[i] = int32(i)
	}
	for i, columns := range [][]factstore.Column{
		{{Name: "row", Integers: rows}, {Name: "k", Integers: p.symbol}, {Name: "ts", Dates: p.day}, {Name: "t", Integers: p.task}, {Name: "score", Floats: p.score}, {Name: "calibrated_score", Floats: p.meaning()}},
		{{Name: "t", Integers: numbers}, {Name: "task_id", Texts: tasks}},
	} {
		text, done, err := db.Hold(columns...)
		if err != nil {
			release()
			return nil, nil, err
		}
		from[i] = text
		releases = append(releases, done)
	}
	text, done, err := holdNames(db, p.names.List)
	if err != nil {
		release()
		return nil, nil, err
	}
	releases = append(releases, done)
	return func(where string) string {
		return "(SELECT n.symbol, p.ts, " + sqltext.Literal(modelID) + " AS model_id, j.task_id, p.score, p.calibrated_score FROM " + from[0] + " p JOIN " + text + " n ON n.k = p.k JOIN " + from[1] + " j ON j.t = p.t WHERE " + where + ")"
	}, release, nil
}

// replace makes the predictions that stand those that were computed: what does not
// come out again is deleted, and what is new or another is merged.
func (s *Scored) replace(ctx context.Context, db *factstore.DB, tx *factstore.Tx, p *predicted, tasks []string, mine string, relation func(where string) string) error {
	type key struct {
		symbol int32
		day    quant.Date
	}
	at := make(map[key]int32, len(p.symbol))
	for row, symbol := range p.symbol {
		at[key{symbol, p.day[row]}] = int32(row)
	}
	calibrated := p.meaning()
	same := make([]bool, len(p.symbol))
	var gone struct {
		symbol, task []int32
		day          []quant.Date
	}
	names, taskNumbers := p.names, factstore.Names{}
	for _, task := range tasks {
		taskNumbers.Number(task)
	}
	var symbol, task []int32
	var day []quant.Date
	var score, calibratedScore []float64
	var foreign []bool
	table, _ := factstore.LookupTable(factstore.Predictions)
	err := db.Columns(ctx, "SELECT f.symbol, f.ts, f.task_id, f.score, f.calibrated_score, "+table.Unexplained()+" FROM predictions f WHERE "+mine, nil, func(c *factstore.Chunk) error {
		symbol, day, task = c.AppendNumbers(symbol[:0], 0, &names), c.AppendDates(day[:0], 1), c.AppendNumbers(task[:0], 2, &taskNumbers)
		score, calibratedScore, foreign = c.AppendFloats(score[:0], 3), c.AppendFloats(calibratedScore[:0], 4), c.AppendBooleans(foreign[:0], 5)
		for i := range symbol {
			row, again := at[key{symbol[i], day[i]}]
			if !again || p.task[row] != task[i] {
				gone.symbol, gone.task, gone.day = append(gone.symbol, symbol[i]), append(gone.task, task[i]), append(gone.day, day[i])
			} else if score[i] == p.score[row] && calibratedScore[i] == calibrated[row] && !foreign[i] {
				same[row] = true
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(gone.day) > 0 {
		if s.Deleted, err = deleteKeys(ctx, db, tx, mine, names.List, taskNumbers.List, gone.symbol, gone.task, gone.day); err != nil {
			return err
		}
	}
	var changed []int32
	for row, s := range same {
		if !s {
			changed = append(changed, int32(row))
		}
	}
	s.Unchanged = int64(len(same) - len(changed))
	if len(changed) == 0 {
		return nil
	}
	rows, release, err := db.Hold(factstore.Column{Name: "row", Integers: changed})
	if err != nil {
		return err
	}
	defer release()
	if _, err := tx.Stage(ctx, "CREATE OR REPLACE TEMP TABLE model_prediction AS SELECT * FROM "+relation("p.row IN (SELECT row FROM "+rows+")")); err != nil {
		return err
	}
	d, err := tx.Merge(ctx, factstore.Merge{Table: factstore.Predictions, Source: "model_prediction"})
	s.Inserted, s.Updated = d.Inserted, d.Updated
	return err
}

// deleteKeys deletes the predictions of mine with these keys.
func deleteKeys(ctx context.Context, db *factstore.DB, tx *factstore.Tx, mine string, symbols, tasks []string, symbol, task []int32, day []quant.Date) (int64, error) {
	texts := [2][]string{make([]string, len(day)), make([]string, len(day))}
	for i := range day {
		texts[0][i], texts[1][i] = symbols[symbol[i]], tasks[task[i]]
	}
	keys, release, err := db.Hold(factstore.Column{Name: "symbol", Texts: texts[0]}, factstore.Column{Name: "ts", Dates: day}, factstore.Column{Name: "task_id", Texts: texts[1]})
	if err != nil {
		return 0, err
	}
	defer release()
	return tx.Delete(ctx, factstore.Predictions, mine+" AND (symbol, ts, task_id) IN (SELECT (symbol, ts, task_id) FROM "+keys+")")
}
