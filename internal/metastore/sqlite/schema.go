package sqlite

import (
	"context"
	"fmt"
	"strings"

	"quant/internal/metastore"
	"quant/internal/metastore/relational"
	"quant/internal/sqltext"
)

// column is a column as the database declares it.
type column struct {
	name, kind string
	required   bool // NOT NULL
	key        int  // place in the primary key, from 1; 0: not in it
}

// columnsOf returns a table's columns in order; none if there is no such table.
func columnsOf(ctx context.Context, q relational.Querier, schema, table string) ([]column, error) {
	rows, err := q.QueryContext(ctx, `SELECT name, type, "notnull", pk FROM pragma_table_info(?, ?) ORDER BY cid`, table, schema)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []column
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.name, &c.kind, &c.required, &c.key); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, rows.Err()
}

// typed is true of a value that a STRICT column takes.
func typed(c column, value string) string {
	return `typeof(` + value + `) IN ('null', '` + strings.ToLower(c.kind) + `')`
}

// foreignKeyProblems lists rows that refer to none, by table.
func foreignKeyProblems(ctx context.Context, q relational.Querier) ([]metastore.Problem, error) {
	rows, err := q.QueryContext(ctx, `SELECT "table", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2 ORDER BY 1, 2`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var found []metastore.Problem
	for rows.Next() {
		var table, parent string
		var n int64
		if err := rows.Scan(&table, &parent, &n); err != nil {
			return nil, err
		}
		found = append(found, metastore.Problem{
			Object: table,
			What:   fmt.Sprintf("%d rows refer to rows of %s that do not exist", n, parent),
			Mend:   relational.MendRows,
		})
	}
	return found, rows.Err()
}

// checkReferences is foreignKeyProblems, but looks up what is referred to once for
// each value, in the order of the key, and counts only where something is missing.
func checkReferences(ctx context.Context, q relational.Querier) ([]metastore.Problem, error) {
	type reference struct{ table, column, parent, key, wholly string }
	all, err := rowsOf(ctx, q, `SELECT t.name, f."from", f."table", coalesce(f."to", ''), count(*) OVER (PARTITION BY t.name, f.id) = 1
		FROM pragma_table_list t JOIN pragma_foreign_key_list(t.name) f WHERE t.schema = 'main' AND t.type = 'table'`,
		nil, func(r *reference) []any { return []any{&r.table, &r.column, &r.parent, &r.key, &r.wholly} })
	if err != nil {
		return nil, err
	}
	for _, r := range all {
		if r.wholly != "1" || r.key == "" {
			return foreignKeyProblems(ctx, q)
		}
		column, key := sqltext.Identifier(r.column), sqltext.Identifier(r.key)
		missing, err := relational.Texts(ctx, q, `SELECT 'one' FROM (SELECT DISTINCT `+column+` AS value FROM main.`+sqltext.Identifier(r.table)+` NOT INDEXED) c
			WHERE value IS NOT NULL AND NOT EXISTS (SELECT 1 FROM main.`+sqltext.Identifier(r.parent)+` p WHERE p.`+key+` = c.value) LIMIT 1`)
		if err != nil || len(missing) > 0 {
			return foreignKeyProblems(ctx, q)
		}
	}
	return nil, nil
}
