package strategy

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"quant"
	"quant/internal/dataset"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// Signals is what a strategy knew on its days: one score a symbol and day,
// sign-adjusted so that higher is better.
type Signals struct {
	Days    []quant.Date
	Symbols []string
	scores  []float64 // [day][symbol]; NaN: no row of that very day
	sign    bool      // scores are the negatives of what is stored
	stamps  []int64
	absent  []bool // [day][symbol]; nil: all are members on every day
}

// Restrict keeps those symbols out of proposals that are not members of the universe on
// a day. Their scores stay, for the order of sales.
func (s *Signals) Restrict(member func(day quant.Date, symbol int) bool) {
	s.absent = make([]bool, len(s.scores))
	for k, day := range s.Days {
		for n := range s.Symbols {
			s.absent[k*len(s.Symbols)+n] = !member(day, n)
		}
	}
}

// Member reports whether Symbols[n] may be proposed on Days[k].
func (s *Signals) Member(k, n int) bool { return s.absent == nil || !s.absent[k*len(s.Symbols)+n] }

// proposable are the scores of Days[k] by symbol, without those of symbols that may
// not be proposed.
func (s *Signals) proposable(k int) []float64 {
	scores := s.scoresOf(k)
	if s.absent == nil {
		return scores
	}
	scores = slices.Clone(scores)
	for n := range scores {
		if !s.Member(k, n) {
			scores[n] = math.NaN()
		}
	}
	return scores
}

// Score is the score of Symbols[n] on Days[k]; NaN where there is none.
func (s *Signals) Score(k, n int) float64 { return s.scores[k*len(s.Symbols)+n] }

// scoresOf are the scores of Days[k], by symbol.
func (s *Signals) scoresOf(k int) []float64 {
	return s.scores[k*len(s.Symbols) : (k+1)*len(s.Symbols)]
}

// Stamps are the times of the transactions that wrote the rows that count, in
// microseconds since 1970 and in no order.
func (s *Signals) Stamps() []int64 { return s.stamps }

// Any reports whether one of the first n symbols has a score on Days[k].
func (s *Signals) Any(k, n int) bool {
	for i, x := range s.scoresOf(k)[:n] {
		if x == x && s.Member(k, i) {
			return true
		}
	}
	return false
}

// Sum is the digest of symbol, ts and value, as they are stored, of the rows that
// count.
func (s *Signals) Sum() *factstore.RowSum {
	const daysAtOnce = 64 // each symbol is hashed once for so many
	parts := make([]factstore.RowSum, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for p := range parts {
		wg.Go(func() {
			most := daysAtOnce * len(s.Symbols)
			symbol, day, value := make([]int32, 0, most), make([]quant.Date, 0, most), make([]float64, 0, most)
			for from := p * daysAtOnce; from < len(s.Days); from += len(parts) * daysAtOnce {
				symbol, day, value = symbol[:0], day[:0], value[:0]
				for k := from; k < min(from+daysAtOnce, len(s.Days)); k++ {
					for n, x := range s.scoresOf(k) {
						if x != x {
							continue
						}
						if s.sign {
							x = 0 - x
						}
						symbol, day, value = append(symbol, int32(n)), append(day, s.Days[k]), append(value, x)
					}
				}
				parts[p].Add(factstore.Column{Texts: s.Symbols, Numbers: symbol}, factstore.Column{Dates: day}, factstore.Column{Floats: value})
			}
		})
	}
	wg.Wait()
	for p := range parts[1:] {
		parts[0].Join(&parts[p+1])
	}
	return &parts[0]
}

// Bounds are the first and the last day with a score; false: there is none.
func (s *Signals) Bounds() (first, last quant.Date, ok bool) {
	for k, day := range s.Days {
		if s.Any(k, len(s.Symbols)) {
			if !ok {
				first = day
			}
			last, ok = day, true
		}
	}
	return first, last, ok
}

// Candidate is one name of a proposal.
type Candidate struct {
	N      int // index in Signals.Symbols
	Symbol string
	Rank   int // from 1
	Score  float64
	Weight float64 // decimal of equity; negative: short
}

// CheckScale refuses a signal that cannot rank: a price-level feature says
// which share is dear, not which is good. priceLevel tells, for a feature, its
// scale-free twin ("" where it has none), and whether it is price-level. quant.Refused.
func (s Strategy) CheckScale(priceLevel func(feature, version string) (twin string, is bool)) error {
	if s.Signal.Type != FactorRank {
		return nil
	}
	twin, is := priceLevel(s.Signal.Inputs.FeatureName, s.Signal.Inputs.FeatureVersion)
	if !is {
		return nil
	}
	err := quant.Errorf(quant.Refused, "strategy %s ranks by %s, which is in units of the price: it ranks shares by what one costs", s.ID, s.Signal.Inputs.FeatureName).
		WithHint("rank by %s, its scale-free twin", twin)
	if twin == "" {
		return err.WithHint("rank by one that is divided by what it is measured in, such as a price by $close, in a new feature version")
	}
	return err
}

// SignalDataset names the rows that the signal reads: those of a feature, or a
// model's predictions.
func (s Strategy) SignalDataset() dataset.Name {
	in := s.Signal.Inputs
	if s.Signal.Type == ModelScore {
		return dataset.PredictionsOf(in.ModelID, in.TaskID)
	}
	return dataset.Feature(in.FeatureName, in.FeatureVersion)
}

// source is the table of the signal, where its rows are read from, its value, its
// stamp, and which rows. What they are of stands there as literals, for the bounds that
// DuckDB prunes by.
func (s Strategy) source(ctx context.Context, db *factstore.DB) (table, from, value, stamp, where string, err error) {
	in := s.Signal.Inputs
	if s.Signal.Type == ModelScore {
		where := "model_id = " + sqltext.Literal(in.ModelID)
		if in.TaskID == WalkForward {
			return factstore.Predictions, "main." + factstore.Predictions, "score", "generated_at", where + " AND (task_id = 'final' OR starts_with(task_id, 'wf:'))", nil
		}
		return factstore.Predictions, "main." + factstore.Predictions, "score", "generated_at", where + " AND task_id = " + sqltext.Literal(in.TaskID), nil
	}
	from, err = db.FeatureRows(ctx, in.FeatureVersion, in.FeatureName)
	return factstore.FeaturesDaily, from, "feature_value", "computed_at", "feature_name = " + sqltext.Literal(in.FeatureName) + " AND feature_version = " + sqltext.Literal(in.FeatureVersion), err
}

// manySymbols are so many that reading the rows of all costs less than telling them
// apart in SQL.
const manySymbols = 200

// Read reads the signals of these days, ascending, for the universe and for
// others (names held that left it: their score is for the order of sales), in one
// pass over the rows from the first day to the last. A value that is no finite
// number counts as none. Where a walk-forward model has several out-of-sample
// scores of one day, the one whose task_id is first in byte order counts, so final
// before any fold. most says that few rows are of other symbols: then to read these, too,
// costs less than to tell them apart in SQL. Refused: a row of these days that no run
// wrote.
func (s Strategy) Read(ctx context.Context, db *factstore.DB, days []quant.Date, others []string, most bool) (*Signals, error) {
	r := &Signals{Days: days, Symbols: s.Universe.Symbols, sign: s.Signal.Order == Asc}
	for _, symbol := range others {
		if !slices.Contains(r.Symbols, symbol) {
			r.Symbols = append(slices.Clone(r.Symbols), symbol)
		}
	}
	if len(days) == 0 || len(r.Symbols) == 0 {
		return r, nil
	}
	r.scores = make([]float64, len(r.Days)*len(r.Symbols))
	for i := range r.scores {
		r.scores[i] = math.NaN()
	}
	table, from, value, stamp, where, err := s.source(ctx, db)
	if err != nil {
		return nil, err
	}
	first, last := days[0], days[len(days)-1]
	where += " AND f.ts BETWEEN DATE " + sqltext.Literal(first.String()) + " AND DATE " + sqltext.Literal(last.String())
	sorted := slices.Sorted(slices.Values(r.Symbols))
	among := " AND f.symbol BETWEEN " + sqltext.Literal(sorted[0]) + " AND " + sqltext.Literal(sorted[len(sorted)-1])
	switch {
	case most:
		among = ""
	case len(sorted) < manySymbols:
		among = " AND f.symbol IN (" + sqltext.Literals(sorted) + ")"
	}
	read := signalReader{into: r, tasks: table == factstore.Predictions, index: make(map[string]int32, len(r.Symbols)), first: first, day: make([]int32, last-first+1), stampAt: map[int64]int32{}}
	task := ""
	if read.tasks {
		task = ", f.task_id"
		read.taskOf, read.stampOf = make([]int32, len(r.scores)), make([]int32, len(r.scores))
	}
	for n, symbol := range r.Symbols {
		read.index[symbol] = int32(n)
	}
	for i := range read.day {
		read.day[i] = -1
	}
	for k, d := range days {
		read.day[d-first] = int32(k)
	}
	if err := db.Columns(ctx, "SELECT f.symbol, f.ts, f."+value+", f."+stamp+task+" FROM "+from+" f WHERE "+where+among, nil, func(c *factstore.Chunk) error {
		read.take(c)
		return nil
	}); err != nil {
		return nil, err
	}
	written, err := db.Committed(ctx, table)
	if err != nil {
		return nil, err
	}
	explained := !read.unstamped
	for _, micros := range read.stamps {
		_, known := written[micros]
		explained = explained && known
	}
	if !explained {
		list := make([]string, len(days))
		for i, d := range days {
			list[i] = d.String()
		}
		if err := db.RequireExplained(ctx, table, from, where+" AND f.ts IN (SELECT unnest(["+sqltext.Literals(list)+"])::DATE) AND f.symbol IN ("+sqltext.Literals(sorted)+")"); err != nil {
			return nil, err
		}
	}
	r.stamps = read.counted()
	return r, nil
}

// signalReader takes the rows of a signal as they come.
type signalReader struct {
	into   *Signals
	names  factstore.Names
	symbol []int32 // by number of a name: index of Signals.Symbols, -1 if it is not asked for
	index  map[string]int32
	first  quant.Date
	day    []int32 // by day from first on: index of Signals.Days, -1: it is none

	stamps    []int64
	stampAt   map[int64]int32
	used      []bool // stamps of the rows that count; where tasks compete, stampOf says it
	last      int64
	lastAt    int32
	unstamped bool

	// A cell may have rows of several tasks.
	tasks   bool
	task    factstore.Names
	taskOf  []int32 // of the row that counts, by cell
	stampOf []int32

	numbers []int32
	days    []quant.Date
	values  []float64
	written []int64
}

func (r *signalReader) take(c *factstore.Chunk) {
	r.numbers = c.AppendNumbers(r.numbers[:0], 0, &r.names)
	r.days, r.values, r.written = c.AppendDates(r.days[:0], 1), c.AppendFloats(r.values[:0], 2), c.AppendBigints(r.written[:0], 3)
	for len(r.symbol) < len(r.names.List) {
		n, known := r.index[r.names.List[len(r.symbol)]]
		if !known {
			n = -1
		}
		r.symbol = append(r.symbol, n)
	}
	width := len(r.into.Symbols)
	for row, number := range r.numbers {
		n, k := r.symbol[number], r.day[r.days[row]-r.first]
		if n < 0 || k < 0 {
			continue
		}
		at := r.stamp(r.written[row])
		r.unstamped = r.unstamped || r.written[row] == 0 && c.Null(3, row)
		v := r.values[row]
		if math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		if r.into.sign {
			v = 0 - v // not -v: no minus zero
		}
		cell := int(k)*width + int(n)
		if !r.tasks {
			r.used[at] = true
		} else {
			v += 0 // a score of minus zero has always been decided on as zero
			task := c.Text(4, row)
			if known := r.into.scores[cell]; known == known && r.task.List[r.taskOf[cell]] <= task {
				continue
			}
			r.taskOf[cell], r.stampOf[cell] = r.task.Number(task), at
		}
		r.into.scores[cell] = v
	}
}

// stamp is the number of a time.
func (r *signalReader) stamp(micros int64) int32 {
	if micros == r.last && r.stamps != nil {
		return r.lastAt
	}
	at, known := r.stampAt[micros]
	if !known {
		at = int32(len(r.stamps))
		r.stampAt[micros] = at
		r.stamps, r.used = append(r.stamps, micros), append(r.used, false)
	}
	r.last, r.lastAt = micros, at
	return at
}

// counted are the stamps of the rows that count.
func (r *signalReader) counted() []int64 {
	for cell, at := range r.stampOf {
		if x := r.into.scores[cell]; x == x {
			r.used[at] = true
		}
	}
	var list []int64
	for at, is := range r.used {
		if is {
			list = append(list, r.stamps[at])
		}
	}
	return list
}

// SignalDays are the days, in order, on which a symbol of the universe has a
// signal.
func (s Strategy) SignalDays(ctx context.Context, db *factstore.DB) ([]quant.Date, error) {
	_, from, value, _, where, err := s.source(ctx, db)
	if err != nil {
		return nil, err
	}
	return factstore.Values[quant.Date](ctx, db, fmt.Sprintf("SELECT DISTINCT f.ts FROM %s f WHERE %s AND isfinite(f.%s) AND f.symbol IN (%s) ORDER BY f.ts",
		from, where, value, sqltext.Literals(s.Universe.Symbols)))
}

// Propose returns the portfolio that the strategy wants on Days[k], in rank
// order: its top_k names by score, ties by symbol in byte order, weighted.
// Empty where no symbol of the universe has a score: all cash. Of LongShort, see
// proposeSides.
func (s Strategy) Propose(r *Signals, k int) []Candidate {
	if s.Portfolio.Weighting == Combined {
		return s.proposeCombined(r, k)
	}
	if s.LongShort() {
		return s.proposeSides(r, k)
	}
	list := best(r.proposable(k)[:len(s.Universe.Symbols)], r.Symbols, s.Portfolio.TopK)
	// Divided by the largest, no sum of scores overflows.
	var most, total float64
	for _, c := range list {
		most = max(most, c.Score)
	}
	for _, c := range list {
		if most > 0 {
			total += max(c.Score, 0) / most
		}
	}
	for i := range list {
		c := &list[i]
		c.Rank = i + 1
		switch {
		case s.Portfolio.Weighting == ScoreWeighted:
			if most > 0 {
				c.Weight = max(c.Score, 0) / most / total
			}
		case s.Portfolio.Fill == FillRedistribute:
			c.Weight = 1 / float64(len(list))
		default:
			c.Weight = 1 / float64(s.Portfolio.TopK)
		}
	}
	return list
}

// best are the names of the k highest scores, in their order, ties by symbol in
// byte order; NaN has none. symbols are in byte order.
func best(scores []float64, symbols []string, k int) []Candidate {
	// The heap's root is the worst of the best so far. A later symbol with the same
	// score is worse.
	heap := make([]int32, 0, min(k, len(scores)))
	worse := func(a, b int32) bool {
		return scores[a] < scores[b] || scores[a] == scores[b] && a > b
	}
	down := func(at int) {
		for {
			least := 2*at + 1
			if least >= len(heap) {
				return
			}
			if least+1 < len(heap) && worse(heap[least+1], heap[least]) {
				least++
			}
			if !worse(heap[least], heap[at]) {
				return
			}
			heap[least], heap[at] = heap[at], heap[least]
			at = least
		}
	}
	for n, score := range scores {
		switch {
		case score != score:
		case len(heap) < cap(heap):
			if heap = append(heap, int32(n)); len(heap) == cap(heap) {
				for at := len(heap)/2 - 1; at >= 0; at-- {
					down(at)
				}
			}
		case score > scores[heap[0]]:
			heap[0] = int32(n)
			down(0)
		}
	}
	slices.SortFunc(heap, func(a, b int32) int {
		if worse(b, a) {
			return -1
		}
		return 1
	})
	list := make([]Candidate, len(heap))
	for i, n := range heap {
		list[i] = Candidate{N: int(n), Symbol: symbols[n], Score: scores[n]}
	}
	return list
}
