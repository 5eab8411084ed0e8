package factstore

import (
	"context"
	"database/sql"
	"slices"

	_ "embed"
)

// SchemaVersion is the version of the schema that this program makes and reads, the newest
// of both: a lake stays at lakeSchemaVersion, for what came after it is about files, and
// its earlier snapshots are to be read as they are.
const (
	SchemaVersion     = 7
	lakeSchemaVersion = 5
)

func schemaVersion(onLake bool) int {
	if onLake {
		return lakeSchemaVersion
	}
	return SchemaVersion
}

//go:embed schema.sql
var schemaSQL string

type column struct {
	Name, Type string
	NotNull    bool
}

// columns returns the columns of every table and view of a catalog, in their order.
func columns(ctx context.Context, q querier, catalog string) (map[string][]column, error) {
	rows, err := q.QueryContext(ctx, `SELECT table_name, column_name, data_type, NOT is_nullable
		FROM duckdb_columns() WHERE database_name = ? AND schema_name = 'main' AND NOT internal
		ORDER BY table_name, column_index`, catalog)
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

// freshColumns returns what columns returns for a database just made that has these
// versions, in a file or on a lake.
func freshColumns(ctx context.Context, versions []wideVersion, onLake bool) (map[string][]column, error) {
	db, err := sql.Open("duckdb", dsn(Options{}, ""))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, schemaSQL+codedSchema(onLake)+featureSchema(versions, false)); err != nil {
		return nil, err
	}
	return columns(ctx, db, "memory")
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func has(cols []column, name string) bool {
	return slices.ContainsFunc(cols, func(c column) bool { return c.Name == name })
}
