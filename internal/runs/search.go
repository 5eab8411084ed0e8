package runs

import (
	"context"
	"fmt"
	"slices"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/parquet"
	"quant/internal/search"
)

// Find is a search for runs: what a query asks for, with the columns and the limit
// that its caller wants.
type Find struct {
	metastore.Search
	// Limited: the query itself says how many it wants; a limit that it asks for
	// hides nothing.
	Limited bool

	spoken []metastore.Field // of the conditions and the order
}

// Found says what a search found.
type Found struct {
	Runs int
	More bool // there are more than the limit that nobody asked for in the query
}

// ParseFind reads a query in the search language. Its columns are those of a list
// and then what the query speaks of. Times such as -7d are counted from now.
// Errors: Usage, with the column.
func ParseFind(text string, now time.Time) (Find, error) {
	q, err := search.Parse(text, now)
	if err != nil {
		return Find{}, err
	}
	f := Find{Search: metastore.Search{Where: q.Where, Order: q.Order, All: wantsReaders(q), Columns: defaultColumns(q)}, spoken: q.Fields()}
	if q.Limit != nil {
		f.Limit, f.Limited = *q.Limit, true
	}
	return f, nil
}

// Each calls show with the cells of each run that is found, in order. The first
// error of show ends it.
func (f Find) Each(ctx context.Context, meta metastore.Store, show func(cells []any) error) (Found, error) {
	var found Found
	s := f.asked()
	err := meta.SearchRuns(ctx, s, func(cells []any) error {
		if f.Limit > 0 && found.Runs == f.Limit {
			found.More = true
			return nil
		}
		found.Runs++
		return show(cells)
	})
	return found, err
}

// Unrecorded is what a search speaks of although no run has it, with the names that
// are like it.
type Unrecorded struct {
	Field string // metrics.los
	Near  []string
}

// nearOf is among how many names of a kind the ones like another are looked for.
const nearOf = 1000

// Unrecorded finds the params, tags and metrics of the search, its columns included,
// that no run has: a condition on one is unknown for every run. Errors: the store's.
func (f Find) Unrecorded(ctx context.Context, meta metastore.Store) ([]Unrecorded, error) {
	names := map[metastore.Source]metastore.NameSource{
		metastore.ParamOf: metastore.ParamNames, metastore.TagOf: metastore.TagNames, metastore.MetricOf: metastore.MetricNames,
	}
	var missing []Unrecorded
	asked := map[metastore.Field]bool{}
	for _, field := range slices.Concat(f.spoken, f.Columns) {
		one := metastore.Field{Of: field.Of, Name: field.Name}
		of, recorded := names[field.Of]
		// Name and experiment are words of every run, whether or not one has them.
		if !recorded || asked[one] || field.Of == metastore.TagOf && (field.Name == quant.NameTag || field.Name == quant.ExperimentTag) {
			continue
		}
		asked[one] = true
		// In their order the name itself comes before all that are longer.
		found, err := meta.Names(ctx, of, field.Name, 1)
		if err != nil {
			return nil, err
		}
		if len(found) > 0 && found[0] == field.Name {
			continue
		}
		all, err := meta.Names(ctx, of, "", nearOf)
		if err != nil {
			return nil, err
		}
		missing = append(missing, Unrecorded{Field: search.Name(one), Near: search.Nearest(field.Name, all)})
	}
	return missing, nil
}

// Explain says how the search is answered.
func (f Find) Explain(ctx context.Context, meta metastore.Store) ([]metastore.Statement, error) {
	return meta.ExplainSearch(ctx, f.asked())
}

// asked is what the store is asked for: one run more than is shown tells whether
// there are more.
func (f Find) asked() metastore.Search {
	s := f.Search
	if s.Limit > 0 && !f.Limited {
		s.Limit++
	}
	return s
}

// wantsReaders: who names a kind, or a run, wants its runs also where they
// only read.
func wantsReaders(q search.Query) bool {
	return slices.ContainsFunc(search.Query{Where: q.Where}.Fields(), func(f metastore.Field) bool {
		return f.Of == metastore.Attribute && slices.Contains([]string{"kind", "changes", "run_id", "parent"}, f.Name)
	})
}

// defaultColumns are those of a list, then what the query speaks of.
func defaultColumns(q search.Query) []metastore.Field {
	all := []metastore.Field{{Name: "run_id"}, {Name: "kind"}, {Name: "status"}, {Name: "started"}, {Name: "duration"}}
	for _, f := range q.Fields() {
		if !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	return all
}

// WriteParquet writes rows of a search to a file, whole or not at all, its texts
// masked by mask. Errors: Conflict for a file that exists, unless replace.
func WriteParquet(ctx context.Context, file string, replace bool, fields []metastore.Field, mask func(string) string, each func(func(cells []any) error) error) error {
	var columns []parquet.Column
	for _, f := range fields {
		t, _ := f.Type()
		c := parquet.Column{Name: search.Name(f), Type: map[metastore.Type]parquet.Type{
			metastore.Text: parquet.Text, metastore.Mixed: parquet.Text, metastore.Number: parquet.Double,
			metastore.Time: parquet.Timestamp, metastore.Duration: parquet.Double, metastore.Bool: parquet.Boolean,
		}[t]}
		if f.Of == metastore.Attribute && t == metastore.Number {
			c.Type = parquet.BigInt
		}
		columns = append(columns, c)
	}
	return parquet.Write(ctx, file, columns, replace, func(row func([]any) error) error {
		return each(func(cells []any) error {
			for i, v := range cells {
				switch v := v.(type) {
				case string:
					cells[i] = mask(v)
				case quant.Time:
					cells[i] = v.Time
				case time.Duration:
					cells[i] = v.Seconds()
				}
			}
			if err := row(cells); err != nil {
				return fmt.Errorf("write %s: %w", file, err)
			}
			return nil
		})
	})
}
