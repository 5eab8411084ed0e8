package relational

import (
	"context"
	"database/sql"
	"iter"
	"slices"

	"quant"
	"quant/internal/metastore"
	"quant/internal/sqltext"
)

// WholeTables is documented at metastore.Whole.
func (db *DB) WholeTables() []metastore.WholeTable {
	var tables []metastore.WholeTable
	for _, name := range ParentsFirst() {
		tables = append(tables, metastore.WholeTable{Name: name, OfRuns: name == "runs" || slices.Contains(Companions(), name), Implied: name == numbers})
	}
	return tables
}

// Rows is documented at metastore.Whole.
func (db *DB) Rows(ctx context.Context, table string) iter.Seq2[[]any, error] {
	return func(yield func([]any, error) bool) {
		fail := func(err error) { yield(nil, db.Classify("read "+table, err)) }
		q, err := db.Reader(ctx)
		if err != nil {
			fail(err)
			return
		}
		found, err := q.QueryContext(ctx, `SELECT * FROM `+sqltext.Identifier(table))
		if err != nil {
			fail(err)
			return
		}
		defer func() { _ = found.Close() }()
		columns, err := found.Columns()
		if err != nil {
			fail(err)
			return
		}
		row, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		for found.Next() {
			if err := found.Scan(into...); err != nil {
				fail(err)
				return
			}
			for i, v := range row { // of a column that holds bytes
				if text, is := v.([]byte); is {
					row[i] = string(text)
				}
			}
			if !yield(row, nil) {
				return
			}
		}
		if err := found.Err(); err != nil {
			fail(err)
		}
	}
}

// StoreWhole is documented at metastore.Whole.
func (db *DB) StoreWhole(ctx context.Context, fn func(ctx context.Context) error) error {
	return db.Tx(ctx, func(ctx context.Context) error {
		return db.Classify("store a whole meta db", db.dialect.StoreWhole(ctx, db.current(ctx).conn, ParentsFirst(), func() error { return fn(ctx) }))
	})
}

// StoreRows is documented at metastore.Whole.
func (db *DB) StoreRows(ctx context.Context, table string, rows iter.Seq2[[]any, error]) error {
	conn, err := db.storing(ctx)
	if err != nil {
		return err
	}
	columns, err := columnNames(ctx, conn, table)
	if err != nil {
		return db.Classify("store "+table, err)
	}
	return db.Classify("store "+table, db.dialect.StoreRows(ctx, conn, table, columns, rows))
}

// ClearRows is documented at metastore.Whole.
func (db *DB) ClearRows(ctx context.Context, table string) error {
	conn, err := db.storing(ctx)
	if err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, `DELETE FROM `+sqltext.Identifier(table))
	return db.Classify("clear "+table, err)
}

func (db *DB) storing(ctx context.Context) (*sql.Conn, error) {
	st := db.current(ctx)
	if st == nil || st.readOnly {
		return nil, quant.Errorf(quant.Failed, "store a whole meta db: not inside its transaction")
	}
	return st.conn, st.usable()
}

func columnNames(ctx context.Context, q Querier, table string) ([]string, error) {
	rows, err := q.QueryContext(ctx, `SELECT * FROM `+sqltext.Identifier(table)+` LIMIT 0`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	return columns, rows.Err()
}

// OtherColumns is the error of rows that come from a table of another schema.
func OtherColumns(table string, theirs, ours int) error {
	return StoreError(metastore.ErrOlder, nil, "table %s has %d columns in the source, and this program knows %d", table, theirs, ours).
		WithHint("bring the source up to date first: any command that may write there does, such as quant init-db")
}
