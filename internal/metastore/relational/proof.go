package relational

import (
	"context"
	"math"

	"quant/internal/metastore"
)

// What this file has shows the tests of an engine how its database is asked: an
// answer must not depend on the way that was chosen, and each way must find its index.

// SearchIndex is an index that a search relies on.
type SearchIndex struct {
	Table     string
	Name      string // "": the key of the table
	Column    string // in whose order it is, and by run_id within a value; "": its condition stands for that
	Condition string // of a partial index
}

// SearchIndexes returns all of them; some several times.
func SearchIndexes() []SearchIndex {
	all := []index{paramValues, paramNumbers, tagValues, tagNumbers, metricLasts, metricMins, metricMaxes, metricNaNs, allRuns, changingRuns}
	for _, f := range searchFields {
		if f.index != nil {
			all = append(all, *f.index)
		}
	}
	list := make([]SearchIndex, len(all))
	for n, i := range all {
		list[n] = SearchIndex{Table: i.table, Name: i.name, Column: i.column, Condition: i.condition}
	}
	return list
}

// SearchFields returns the names of the attributes that a search knows.
func SearchFields() []string {
	var names []string
	for name := range searchFields {
		names = append(names, name)
	}
	return names
}

// SearchWithLook answers a search by looks of this many runs, the first of which is
// otherwise thousands.
func (db *DB) SearchWithLook(ctx context.Context, s metastore.Search, look int) (ids []string, err error) {
	err = db.OnSnapshot(ctx, func(q Querier) (err error) {
		w := searcher{ctx: ctx, q: q, look: look}
		ids, err = w.ids(s)
		return err
	})
	return ids, err
}

// SearchByEach answers a search by all runs of each driver that it could choose, however
// many they are.
func (db *DB) SearchByEach(ctx context.Context, s metastore.Search, fn func(driver int, ids []string, err error)) {
	choices, _ := driversOf(s, idRange{})
	for n, driver := range choices {
		var ids []string
		err := db.OnSnapshot(ctx, func(q Querier) error {
			w := searcher{ctx: ctx, q: q}
			at, err := w.standingOf(s)
			if err != nil {
				return err
			}
			query, err := compile(s, at)
			if err != nil {
				return err
			}
			_, chosen, err := w.count(driver, math.MaxInt32)
			if err == nil {
				ids, err = w.run(query, union(chosen))
			}
			return err
		})
		fn(n, ids, err)
	}
}

// Query is a statement with what it binds.
type Query struct {
	SQL  string
	Args []any
}

// ListQuery is the statement of ListRuns.
func (db *DB) ListQuery(f metastore.RunFilter) (Query, error) {
	query, args, err := listRuns(f)
	return Query{query, args}, err
}

// ResolveQuery is the statement of ResolveRun for a part of an id.
func (db *DB) ResolveQuery(ref string) Query {
	query, args := db.resolveRun(ref)
	return Query{query, args}
}

// LookUps are the statements that read of named runs, by what they read.
func (db *DB) LookUps(ids []string, metric, tag string) (map[string]Query, error) {
	wanted := listed(ids)
	numbers := listed([]int64{1, 2})
	return map[string]Query{
		"runs":    {selectRuns, []any{wanted}},
		"params":  {selectOfRuns("run_params", paramTable.columns, "name, run_id"), []any{wanted}},
		"metrics": {selectOfRuns("run_metrics", metricTable.columns, "run_id, name"), []any{wanted}},
		"io":      {selectOfRuns("run_io", ioTable.columns, "run_id, name"), []any{wanted}},
		"names":   {selectNames, []any{wanted, tag}},
		"sample":  {selectSample, []any{numbers, ids[0], metric}},
	}, nil
}

// TableColumns is the columns of each table whose rows are values of a noun, in the
// order of the noun's fields.
func TableColumns() map[string]string {
	return map[string]string{
		symbolTable.name: symbolTable.columns, experimentTable.name: experimentTable.columns, modelTable.name: modelTable.columns,
		runTable.name: runTable.columns, processTable.name: processTable.columns, ioTable.name: ioTable.columns,
		paramTable.name: paramTable.columns, tagTable.name: tagTable.columns, metricTable.name: metricTable.columns,
		pointTable.name: pointTable.columns, noteTable.name: noteTable.columns, artifactTable.name: artifactTable.columns,
		programTable.name: programTable.columns, deletionTable.name: deletionTable.columns, importTable.name: importTable.columns,
		tokenTable.name: tokenTable.columns,
	}
}
