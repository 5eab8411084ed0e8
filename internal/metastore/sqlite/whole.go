package sqlite

import (
	"context"
	"database/sql"
	"iter"
	"strings"

	"quant/internal/metastore/relational"
	"quant/internal/sqltext"
)

// StoreWhole is documented at relational.Dialect. All rules of SQLite are those of rows.
func (dialect) StoreWhole(_ context.Context, _ *sql.Conn, _ []string, store func() error) error {
	return store()
}

// mostBound is how many values a statement binds, which is fewer than SQLite takes.
const mostBound = 4000

// StoreRows is documented at relational.Dialect.
func (dialect) StoreRows(ctx context.Context, conn *sql.Conn, table string, columns []string, rows iter.Seq2[[]any, error]) error {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = sqltext.Identifier(c)
	}
	one := "(?" + strings.Repeat(", ?", len(columns)-1) + ")"
	insert := func(n int) string {
		return `INSERT INTO ` + sqltext.Identifier(table) + ` (` + strings.Join(names, ", ") + `) VALUES ` + one + strings.Repeat(", "+one, n-1)
	}
	many := max(1, mostBound/len(columns))
	prepared, err := conn.PrepareContext(ctx, insert(many))
	if err != nil {
		return err
	}
	defer func() { _ = prepared.Close() }()
	held := make([]any, 0, many*len(columns))
	for row, err := range rows {
		if err != nil {
			return err
		}
		if len(row) != len(columns) {
			return relational.OtherColumns(table, len(row), len(columns))
		}
		if held = append(held, row...); len(held) < cap(held) {
			continue
		}
		if _, err := prepared.ExecContext(ctx, held...); err != nil {
			return err
		}
		held = held[:0]
	}
	if len(held) == 0 {
		return nil
	}
	_, err = conn.ExecContext(ctx, insert(len(held)/len(columns)), held...)
	return err
}
