package model

import (
	"context"
	"slices"
	"sync"

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
	taskOf := p.tasks(models, req)
	var eta []float64
	s.Reads, err = f.each(ctx, db, &p.names, func(symbols []int32, days []quant.Date, x [][]float64) error {
		for row := 0; row < len(days); {
			if !complete(x, row) {
				if slices.ContainsFunc(x, func(column []float64) bool { return column[row]-column[row] == 0 }) {
					s.Incomplete++
				}
				row++
				continue
			}
			from, task := row, taskOf(days[row])
			for row++; row < len(days) && complete(x, row) && taskOf(days[row]) == task; {
				row++
			}
			switch {
			case task < 0:
			case req.Model.Algo == ByProgram:
				for i := from; i < row; i++ {
					p.gather(symbols[i], days[i], task, x, i)
				}
			default:
				eta = slices.Grow(eta[:0], row-from)[:row-from]
				models[min(task, len(models)-1)].etas(eta, x, from, row)
				s.Incomplete += p.add(symbols[from:row], days[from:row], int32(task), eta, req.Model.Algo == Logistic)
			}
		}
		return nil
	})
	return err
}

// tasks says which task scores a day of the request, and notes the days that it was asked
// for.
func (p *predicted) tasks(models []scorer, req ScoreRequest) func(quant.Date) int {
	known := make([]int, req.To-req.From+1) // the task, and 2
	return func(day quant.Date) int {
		k := &known[day-req.From]
		if *k == 0 {
			task := scorerOf(models, day, req.InSample)
			p.days[day], *k = task, task+2
		}
		return *k - 2
	}
}

// add adds the predictions of rows by one task, and returns how many are no numbers,
// which it leaves out.
func (p *predicted) add(symbols []int32, days []quant.Date, task int32, eta []float64, odds bool) (left int64) {
	for i, x := range eta {
		if x-x != 0 { // NaN or infinite
			left++
			continue
		}
		p.symbol, p.day, p.task, p.score = append(p.symbol, symbols[i]), append(p.day, days[i]), append(p.task, task), append(p.score, x)
		if odds {
			p.calibrated = append(p.calibrated, sigmoid(x))
		}
	}
	return left
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
	_, err := db.Write(ctx, req.RunID, func(ctx context.Context, tx *factstore.Tx) error {
		var stood bool
		err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM predictions WHERE "+mine+")").Scan(&stood)
		if err != nil {
			return err
		}
		if !stood {
			return s.store(ctx, db, tx, req.ModelID, p, taskNames(models))
		}
		if err := s.replace(ctx, db, tx, req.ModelID, p, taskNames(models), mine); err != nil {
			return err
		}
		stands := "SELECT symbol, ts, model_id, task_id, score, calibrated_score FROM predictions WHERE " + mine
		if _, s.Output, err = tx.Digest(ctx, stands); err != nil {
			return err
		}
		return tx.QueryRow(ctx, "SELECT min(ts)::VARCHAR, max(ts)::VARCHAR FROM ("+stands+")").Scan(&s.OutputFirst, &s.OutputLast)
	})
	return err
}

// store stores the predictions where none stand, and digests them meanwhile.
func (s *Scored) store(ctx context.Context, db *factstore.DB, tx *factstore.Tx, modelID string, p *predicted, tasks []string) error {
	columns := p.columns(modelID, tasks)
	var digested sync.WaitGroup
	digested.Go(func() { s.OutputFirst, s.OutputLast, s.Output = p.stands(columns) })
	defer digested.Wait()
	s.Inserted = int64(len(p.day))
	return db.Unordered(ctx, func() error {
		return factstore.InsertColumns(ctx, db, []*factstore.Tx{tx}, factstore.Predictions, [][]factstore.Column{columns})
	})
}

// stands tells of the predictions where they alone are stored: their first and last
// day, and their digest.
func (p *predicted) stands(columns []factstore.Column) (first, last quant.Text, digest string) {
	_, digest = factstore.RowDigest(columns...)
	if len(p.day) > 0 {
		first, last = quant.Text(slices.Min(p.day).String()), quant.Text(slices.Max(p.day).String())
	}
	return first, last, digest
}

// columns are those of the table, but for its stamp.
func (p *predicted) columns(modelID string, tasks []string) []factstore.Column {
	return []factstore.Column{
		{Name: "symbol", Numbers: p.symbol, Texts: p.names.List}, {Name: "ts", Dates: p.day},
		{Name: "model_id", Numbers: make([]int32, len(p.day)), Texts: []string{modelID}}, {Name: "task_id", Numbers: p.task, Texts: tasks},
		{Name: "score", Floats: p.score}, {Name: "calibrated_score", Floats: p.meaning()},
	}
}

// meaning are the calibrated scores.
func (p *predicted) meaning() []float64 {
	if p.calibrated == nil {
		return p.score
	}
	return p.calibrated
}

// of are the predictions of these rows.
func (p *predicted) of(rows []int32) *predicted {
	some := &predicted{names: p.names}
	for _, row := range rows {
		some.symbol, some.day, some.task, some.score = append(some.symbol, p.symbol[row]), append(some.day, p.day[row]), append(some.task, p.task[row]), append(some.score, p.score[row])
		if p.calibrated != nil {
			some.calibrated = append(some.calibrated, p.calibrated[row])
		}
	}
	return some
}

// replace makes the predictions that stand those that were computed: what does not
// come out again is deleted, and what is new or another is merged.
func (s *Scored) replace(ctx context.Context, db *factstore.DB, tx *factstore.Tx, modelID string, p *predicted, tasks []string, mine string) error {
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
	held, release, err := db.Hold(p.of(changed).columns(modelID, tasks)...)
	if err != nil {
		return err
	}
	defer release()
	if _, err := tx.Stage(ctx, "CREATE OR REPLACE TEMP TABLE model_prediction AS SELECT * FROM "+held); err != nil {
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
