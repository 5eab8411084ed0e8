package factstore

import (
	"context"
	"database/sql"
	_ "embed"
	"slices"
	"strings"
)

// SchemaVersion is the version of the schema that this program makes and reads.
const SchemaVersion = 2

//go:embed schema.sql
var schemaSQL string

// A table whose rows have a key, and the column that says when a row was
// written ("" where none does).
type keyed struct {
	table string
	key   []string
	stamp string
}

func keyedTables() []keyed {
	return []keyed{
		{"ohlcv", []string{"symbol", "ts"}, "ingested_at"},
		{"returns", []string{"symbol", "ts"}, ""},
		{"features_daily", []string{"symbol", "ts", "feature_name", "feature_version"}, "computed_at"},
		{"labels", []string{"symbol", "ts", "label_name", "label_version"}, ""},
		{"predictions", []string{"symbol", "ts", "model_id", "task_id"}, "generated_at"},
		{"targets", []string{"strategy_id", "asof", "symbol"}, "generated_at"},
		{"target_sets", []string{"strategy_id", "asof"}, "decided_at"},
		{"proposals", []string{"strategy_id", "asof", "symbol"}, "generated_at"},
		{"backtest_summary", []string{"run_id"}, "created_at"},
		{"backtest_equity", []string{"run_id", "ts"}, ""},
		{"backtest_positions", []string{"run_id", "ts", "symbol"}, ""},
		{"backtest_details", []string{"run_id"}, "created_at"},
		{"rejects", []string{"source_digest", "line", "reason"}, "rejected_at"},
		{"fact_slices", []string{"table_name", "symbol", "name", "version", "from_ts"}, ""},
		{"ohlcv_revisions", []string{"symbol", "ts", "replaced_at"}, "replaced_at"},
		{"fact_inputs", []string{"table_name", "symbol", "name", "version"}, ""},
		{"ledger", []string{"committed_at", "table_name"}, ""},
	}
}

type column struct {
	Name, Type string
	NotNull    bool
}

// columns returns the columns of every table of a catalog, in their order.
func columns(ctx context.Context, q querier, catalog string) (map[string][]column, error) {
	rows, err := q.QueryContext(ctx, `SELECT table_name, column_name, data_type, NOT is_nullable
		FROM duckdb_columns() WHERE database_name = ? AND schema_name = 'main' AND NOT internal
		AND table_name IN (SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND schema_name = 'main')
		ORDER BY table_name, column_index`, catalog, catalog)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	tables := map[string][]column{}
	for rows.Next() {
		var table string
		var c column
		if err := rows.Scan(&table, &c.Name, &c.Type, &c.NotNull); err != nil {
			return nil, err
		}
		tables[table] = append(tables[table], c)
	}
	return tables, rows.Err()
}

// freshColumns returns what columns returns for a database just made.
func freshColumns(ctx context.Context) (map[string][]column, error) {
	db, err := sql.Open("duckdb", dsn(Options{}, ""))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, schemaSQL); err != nil {
		return nil, err
	}
	return columns(ctx, db, "memory")
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// ident quotes an identifier.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// literal quotes a text for the statements that take no bound values.
func literal(s string) string { return `'` + strings.ReplaceAll(s, `'`, `''`) + `'` }

func has(cols []column, name string) bool {
	return slices.ContainsFunc(cols, func(c column) bool { return c.Name == name })
}
