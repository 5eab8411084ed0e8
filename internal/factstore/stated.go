package factstore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"quant"
	"quant/internal/sqltext"
)

// StatedMerge is a set of rows, a column a feature, to be merged into a feature set, or
// into the predictions of a model.
type StatedMerge struct {
	Name   string   // the version of the set, or the model
	Task   string   // of predictions
	Source string   // TEMP table: symbol, ts, and a DOUBLE column for each of Names, NULL where there is no value; a key stands once
	Names  []string // of predictions: score, and calibrated_score or not
	Exact  bool     // what the source does not have is deleted
	// Computed values can be had again: what they were is not kept.
	Computed bool
}

// StatedDelta counts values: of a feature one a (symbol, ts), of predictions a row.
type StatedDelta struct {
	Inserted, Updated, Unchanged, Deleted int64
	Revisions                             int64 // rows of StatedRevisions
}

// MergeFeatures makes the table of a declared set hold the values of the source: a
// value that is NULL there leaves the stored one, but where the merge is Exact. What a
// value was before another took its place, or none, is kept in StatedRevisions. Rows of
// the set that another program wrote are taken over. The same merge again changes
// nothing. Invalid: the set is not declared, or has no feature of the name.
func (tx *Tx) MergeFeatures(ctx context.Context, m StatedMerge) (StatedDelta, error) {
	w, have, err := tx.db.wide(ctx, m.Name)
	if err != nil {
		return StatedDelta{}, err
	}
	for _, name := range m.Names {
		if have = have && slices.Contains(w.names, name); !have {
			return StatedDelta{}, quant.Errorf(quant.Invalid, "merge into features %s: it has no %s", m.Name, name)
		}
	}
	d, err := tx.mergeWide(ctx, w, m)
	if err != nil {
		return d, tx.db.failure(ctx, "merge into features "+m.Name, err)
	}
	return d, nil
}

func (tx *Tx) mergeWide(ctx context.Context, w wideVersion, m StatedMerge) (d StatedDelta, err error) {
	table, source := factTable(w.table()), "temp.main."+sqltext.Identifier(m.Source)
	foreign, err := tx.affected(ctx, fmt.Sprintf("DELETE FROM %s WHERE feature_version = %s", factTable(FeaturesOther), sqltext.Literal(m.Name)))
	if err != nil {
		return d, err
	}
	daily, _ := LookupTable(FeaturesDaily)
	columns, values, olds, changed := []string{"symbol", "ts"}, []string{"coalesce(s.symbol, f.symbol) AS symbol", "coalesce(s.ts, f.ts) AS ts"}, []string{}, []string{}
	var inserted, updated, deleted, kept []string
	join := "LEFT JOIN"
	if m.Exact {
		join = "FULL JOIN"
	}
	for i, name := range w.names {
		column, old := sqltext.Identifier(name), fmt.Sprintf("old%d", i)
		value := "f." + column
		if slices.Contains(m.Names, name) {
			value = "CAST(s." + column + " AS DOUBLE)"
			if !m.Exact {
				value = "coalesce(" + value + ", f." + column + ")"
			}
			changed = append(changed, value+" IS DISTINCT FROM f."+column)
		}
		columns, values, olds = append(columns, column), append(values, value+" AS "+column), append(olds, "f."+column+" AS "+old)
		both := column + " IS DISTINCT FROM " + old
		inserted = append(inserted, "count(*) FILTER ("+old+" IS NULL AND "+column+" IS NOT NULL)")
		updated = append(updated, "count(*) FILTER ("+old+" IS NOT NULL AND "+column+" IS NOT NULL AND ("+both+" OR unexplained))")
		deleted = append(deleted, "count(*) FILTER ("+old+" IS NOT NULL AND "+column+" IS NULL)")
		kept = append(kept, fmt.Sprintf("SELECT %s AS table_name, %s AS name, symbol, ts, %s AS item, %s AS before, %s AS after, stated_at FROM %s WHERE %s IS NOT NULL AND %s AND NOT unexplained",
			sqltext.Literal(FeaturesDaily), sqltext.Literal(m.Name), sqltext.Literal(name), old, column, diffTable, old, both))
	}
	unexplained := "f.rowid IS NOT NULL AND " + daily.Unexplained()
	query := fmt.Sprintf("CREATE OR REPLACE TEMP TABLE factstore_diff AS SELECT %s, %s, f.rowid AS stored, %s AS unexplained, f.computed_at AS stated_at FROM %s s %s %s f ON f.symbol = s.symbol AND f.ts = s.ts WHERE f.rowid IS NULL OR %s OR %s",
		strings.Join(values, ", "), strings.Join(olds, ", "), unexplained, source, join, table, strings.Join(changed, " OR "), unexplained)
	if _, err := tx.affected(ctx, query); err != nil {
		return d, err
	}
	if err := tx.QueryRow(ctx, fmt.Sprintf("SELECT %s, %s, %s FROM %s", strings.Join(inserted, " + "), strings.Join(updated, " + "), strings.Join(deleted, " + "), diffTable)).Scan(&d.Inserted, &d.Updated, &d.Deleted); err != nil {
		return d, err
	}
	of := make([]string, len(m.Names))
	for i, name := range m.Names {
		of[i] = "count(" + sqltext.Identifier(name) + ")"
	}
	var all int64
	if err := tx.QueryRow(ctx, "SELECT "+strings.Join(of, " + ")+" FROM "+source).Scan(&all); err != nil {
		return d, err
	}
	d.Unchanged = all - d.Inserted - d.Updated
	if d.Updated+d.Deleted > 0 && !m.Computed {
		if d.Revisions, err = tx.keepStated(ctx, strings.Join(kept, " UNION ALL ")); err != nil {
			return d, err
		}
	}
	if _, err := tx.affected(ctx, "DELETE FROM "+table+" WHERE rowid IN (SELECT stored FROM "+diffTable+" WHERE stored IS NOT NULL)"); err != nil {
		return d, err
	}
	list := strings.Join(columns, ", ")
	if _, err := tx.affected(ctx, "INSERT INTO "+table+" ("+list+", computed_at) SELECT "+list+", CAST(? AS TIMESTAMP) FROM "+diffTable+" WHERE coalesce("+strings.Join(columns[2:], ", ")+") IS NOT NULL ORDER BY symbol, ts", tx.Now); err != nil {
		return d, err
	}
	if _, err := tx.affected(ctx, "DROP TABLE "+diffTable); err != nil {
		return d, err
	}
	tx.count(FeaturesDaily, d.Inserted, d.Updated, d.Deleted+foreign)
	return d, nil
}

// keepStated keeps what values were; rows is a query for all but the last two columns of
// StatedRevisions.
func (tx *Tx) keepStated(ctx context.Context, rows string) (int64, error) {
	return tx.Insert(ctx, StatedRevisions, "(table_name, name, symbol, ts, item, before, after, stated_at, replaced_at, run_id) SELECT *, CAST(? AS TIMESTAMP), ? FROM ("+rows+")", tx.Now, tx.RunID)
}

// MergeStatedPredictions is MergeFeatures for the predictions of a model for a task. A
// row without a score is none.
func (tx *Tx) MergeStatedPredictions(ctx context.Context, m StatedMerge) (d StatedDelta, err error) {
	failed := func(err error) error { return tx.db.failure(ctx, "merge into the predictions of "+m.Name, err) }
	const staged = "factstore_stated"
	calibrated := "score"
	if slices.Contains(m.Names, "calibrated_score") {
		calibrated = "coalesce(calibrated_score, score)"
	}
	if _, err := tx.affected(ctx, fmt.Sprintf("CREATE OR REPLACE TEMP TABLE %s AS SELECT symbol, ts, %s AS model_id, %s AS task_id, score, %s AS calibrated_score FROM temp.main.%s WHERE score IS NOT NULL",
		staged, sqltext.Literal(m.Name), sqltext.Literal(m.Task), calibrated, sqltext.Identifier(m.Source))); err != nil {
		return d, failed(err)
	}
	table, _ := LookupTable(Predictions)
	old := func(after, from, where string) string {
		return fmt.Sprintf("SELECT %s AS table_name, f.model_id AS name, f.symbol, f.ts, f.task_id AS item, f.score AS before, %s AS after, f.generated_at AS stated_at FROM %s WHERE NOT (%s) AND %s",
			sqltext.Literal(Predictions), after, from, table.Unexplained(), where)
	}
	changes, err := tx.Merge(ctx, Merge{Table: Predictions, Source: staged, Unique: true, Review: func(ctx context.Context, diff string) (bool, error) {
		n, err := tx.keepStated(ctx, old("d.score", factTable(tx.db.longTable(Predictions))+" f JOIN "+diff+` d ON f.rowid = d."stored rowid"`, "f.score IS DISTINCT FROM d.score"))
		d.Revisions += n
		return false, err
	}})
	if err != nil {
		return d, err
	}
	d.Inserted, d.Updated, d.Unchanged = changes.Inserted, changes.Updated, changes.Unchanged
	if m.Exact {
		gone := fmt.Sprintf("f.model_id = %s AND f.task_id = %s AND (f.symbol, f.ts) NOT IN (SELECT (symbol, ts) FROM temp.main.%s)", sqltext.Literal(m.Name), sqltext.Literal(m.Task), staged)
		n, err := tx.keepStated(ctx, old("NULL::DOUBLE", factTable(Predictions)+" f", gone))
		if err != nil {
			return d, failed(err)
		}
		d.Revisions += n
		if d.Deleted, err = tx.Delete(ctx, Predictions, strings.ReplaceAll(gone, "f.", "")); err != nil {
			return d, err
		}
	}
	_, err = tx.affected(ctx, "DROP TABLE temp.main."+staged)
	if err != nil {
		return d, failed(err)
	}
	return d, nil
}
