package runs

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/metastore"
	"quant/internal/search"
)

// Matrix is many runs side by side, a row a run, and a column for each param, metric
// and tag that any of them has: what a sweep comes to.
type Matrix struct {
	Runs    []Row
	Names   map[string]string // of runs, by id; one without a name is left out
	Columns []Column          // metrics, params, then tags, each by name
}

// Column is what the runs of a Matrix have of one field.
type Column struct {
	Field    metastore.Field
	Values   []Value // one a run, in the order of Runs
	Present  int     // runs that have it
	Distinct int     // different values, the missing one apart
	Points   int64   // of a metric: the most that a run logged
}

// Value is what a run has of a field.
type Value struct {
	Has    bool
	Text   string
	Number *float64 // nil: the text is no number
}

// Differs reports whether not all runs have the same.
func (c Column) Differs() bool {
	return c.Distinct > 1 || c.Distinct == 1 && c.Present < len(c.Values)
}

// Numeric reports whether all values there are are numbers.
func (c Column) Numeric() bool {
	for _, v := range c.Values {
		if v.Has && v.Number == nil {
			return false
		}
	}
	return c.Present > 0
}

// Names reports whether the column only names the runs: a text that is another in
// each. It tells nothing of why they came to different results.
func (c Column) Names() bool {
	return !c.Numeric() && c.Present == len(c.Values) && c.Distinct == len(c.Values) && len(c.Values) > 2
}

// ReadMatrix reads a matrix of runs, in a number of queries that does not depend on
// theirs. ids are whole and each stands once. Errors: NotFound, Store.
func ReadMatrix(ctx context.Context, meta metastore.Store, ids []string) (Matrix, error) {
	list, err := meta.RunsOf(ctx, ids)
	if err != nil {
		return Matrix{}, err
	}
	found, err := meta.RecordsOf(ctx, ids)
	if err != nil {
		return Matrix{}, err
	}
	m := Matrix{Runs: rows(list), Names: map[string]string{}}
	at := make(map[string]int, len(ids))
	for i, id := range ids {
		at[id] = i
	}
	columns := map[metastore.Field]*Column{}
	set := func(f metastore.Field, runID string, v Value) *Column {
		c := columns[f]
		if c == nil {
			c = &Column{Field: f, Values: make([]Value, len(ids))}
			columns[f] = c
		}
		c.Values[at[runID]] = v
		return c
	}
	for _, p := range found.Params {
		set(metastore.Field{Of: metastore.ParamOf, Name: p.Name}, p.RunID, Value{true, p.Value, p.Number})
	}
	for _, t := range found.Tags {
		if t.Name == quant.NameTag {
			m.Names[t.RunID] = t.Value
			continue
		}
		set(metastore.Field{Of: metastore.TagOf, Name: t.Name}, t.RunID, Value{true, t.Value, t.Number})
	}
	for _, one := range found.Metrics {
		number := one.Last
		c := set(metastore.Field{Of: metastore.MetricOf, Name: one.Name}, one.RunID, Value{true, strconv.FormatFloat(number, 'g', -1, 64), &number})
		c.Points = max(c.Points, one.Points)
	}
	for _, c := range columns {
		c.count()
		m.Columns = append(m.Columns, *c)
	}
	rank := map[metastore.Source]int{metastore.MetricOf: 0, metastore.ParamOf: 1, metastore.TagOf: 2}
	slices.SortFunc(m.Columns, func(a, b Column) int {
		return cmp.Or(rank[a.Field.Of]-rank[b.Field.Of], strings.Compare(a.Field.Name, b.Field.Name))
	})
	return m, nil
}

func (c *Column) count() {
	seen := map[string]bool{}
	for _, v := range c.Values {
		if v.Has {
			c.Present++
			seen[v.Text] = true
		}
	}
	c.Distinct = len(seen)
}

// Column returns the column that a query calls so; nil: there is none.
func (m Matrix) Column(name string) *Column {
	for i := range m.Columns {
		if search.Name(m.Columns[i].Field) == name {
			return &m.Columns[i]
		}
	}
	return nil
}

// Order is the runs, by their places in Runs, in the order of a column: numbers
// before texts, those without a value last, whatever the direction. Equal ones keep
// their order.
func (m Matrix) Order(c Column, descending bool) []int {
	order := make([]int, len(m.Runs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := c.Values[i], c.Values[j]
		if a.Has != b.Has {
			return firstOf(a.Has)
		}
		if (a.Number == nil) != (b.Number == nil) {
			return firstOf(a.Number != nil)
		}
		if descending {
			a, b = b, a
		}
		if a.Number != nil {
			return cmp.Compare(*a.Number, *b.Number)
		}
		return strings.Compare(a.Text, b.Text)
	})
	return order
}

// firstOf is the order of two of which the left one comes first, or the right one.
func firstOf(left bool) int {
	if left {
		return -1
	}
	return 1
}

// Direction says which values of a metric are better.
type Direction int

// The directions.
const (
	Unknown Direction = iota
	Higher
	Lower
)

// DirectionOf is the direction of a metric by what the words of its name mean
// everywhere: of loss and error the least is best, of accuracy and of the Sharpe
// ratio the greatest. A drawdown is at most 0, so that the greatest is best.
func DirectionOf(metric string) Direction {
	words := strings.FieldsFunc(strings.ToLower(metric), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	for _, w := range words { // log_loss is a loss, whatever else its name says
		if slices.Contains([]string{"loss", "error", "err", "rmse", "mse", "mae", "mape", "logloss", "brier", "perplexity", "vol", "volatility", "turnover", "fees", "cost", "latency"}, w) {
			return Lower
		}
	}
	for _, w := range words {
		if slices.Contains([]string{"sharpe", "sortino", "calmar", "cagr", "return", "returns", "dd", "drawdown", "win", "acc", "accuracy", "auc", "f1", "precision", "recall", "r2", "ic", "icir", "score", "alpha", "psr", "dsr", "pnl"}, w) {
			return Higher
		}
	}
	return Unknown
}

// Best is the run, by its place in Runs, with the best value of a column of numbers;
// of several, the first. ok is false where no run has one.
func (m Matrix) Best(c Column, d Direction) (place int, ok bool) {
	for i, v := range c.Values {
		if v.Number == nil {
			continue
		}
		if !ok || d == Lower && *v.Number < *c.Values[place].Number || d != Lower && *v.Number > *c.Values[place].Number {
			place, ok = i, true
		}
	}
	return place, ok
}
