package relational

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/metastore"
)

// Querier is what a statement runs on: the pool or a transaction.
type Querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// list runs a query and scans each row.
func list[T any](ctx context.Context, db *DB, what, query string, args []any, scan func(*T) []any) ([]T, error) {
	q, err := db.Reader(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, db.Classify(what, err)
	}
	defer func() { _ = rows.Close() }()
	var all []T
	for rows.Next() {
		var one T
		if err := rows.Scan(scan(&one)...); err != nil {
			return nil, db.unreadable(what, err)
		}
		all = append(all, one)
	}
	return all, db.Classify(what, rows.Err())
}

// get runs a query for one row; a missing one is NotFound.
func get[T any](ctx context.Context, db *DB, object, query string, key string, scan func(*T) []any) (T, error) {
	rows, err := list(ctx, db, "read "+object, query, []any{key}, scan)
	if err == nil && len(rows) == 0 {
		err = quant.Errorf(quant.NotFound, "%s does not exist", object)
	}
	if err != nil {
		return *new(T), err
	}
	return rows[0], nil
}

// unreadable is the error of a row that could not be scanned: it holds a value
// that no rule of the schema would have let in.
func (db *DB) unreadable(what string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return db.Classify(what, err)
	}
	return StoreError(nil, err, "%s: meta db %s holds a value that breaks its rules: %v", what, db.Shown, err).
		WithHint("run quant doctor")
}

// insert stores one new row; Conflict if its key exists.
func (db *DB) insert(ctx context.Context, object, query string, args ...any) error {
	return db.Write(ctx, "create "+object, "", func(ctx context.Context, q Querier) error {
		_, err := q.ExecContext(ctx, query, args...)
		if db.dialect.Duplicate(err) {
			return quant.Errorf(quant.Conflict, "%s exists already: %w", object, err)
		}
		return err
	})
}

// change updates or deletes one row; NotFound if there is none.
func (db *DB) change(ctx context.Context, verb, object, query string, args ...any) error {
	return db.Write(ctx, verb+" "+object, "", func(ctx context.Context, q Querier) error {
		var res sql.Result
		res, err := q.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return quant.Errorf(quant.NotFound, "%s does not exist", object)
	})
}

// selection builds the query of a list. Names come from this package only,
// values are bound.
type selection struct {
	noun, columns, key string
	where              []string
	args               []any
}

func (s *selection) equal(column string, value any) {
	s.where = append(s.where, column+" = ?")
	s.args = append(s.args, value)
}

// equalText selects nothing away for "".
func (s *selection) equalText(column, value string) {
	if value != "" {
		s.equal(column, value)
	}
}

func (s *selection) query(order, byDefault metastore.Order, limit int, allowed ...string) (string, error) {
	if order == "" {
		order = byDefault
	}
	column, descending := strings.CutPrefix(string(order), "-")
	if !slices.Contains(allowed, column) {
		return "", quant.Errorf(quant.Invalid, "%s: cannot order by %q", s.noun, order).
			WithHint("order by one of %s, with - before it for descending order", strings.Join(allowed, ", "))
	}
	if limit < 0 {
		return "", quant.Errorf(quant.Invalid, "%s: limit %d is negative", s.noun, limit)
	}
	query := `SELECT ` + s.columns + ` FROM ` + s.noun
	if len(s.where) > 0 {
		query += ` WHERE ` + strings.Join(s.where, ` AND `)
	}
	query += ` ORDER BY ` + column
	if descending {
		query += ` DESC`
	}
	if column != s.key {
		query += `, ` + s.key
	}
	if limit > 0 {
		query += ` LIMIT ?`
		s.args = append(s.args, limit)
	}
	return query, nil
}

func validDocument(object string, doc quant.JSON) error {
	if len(doc) > 0 && !json.Valid(doc) {
		return quant.Errorf(quant.Invalid, "%s: not valid JSON", object)
	}
	return nil
}

// List is a list that a statement binds as one value, and reads with json_each: one
// statement for any number of values. A number is read by CAST(value AS BIGINT).
type List interface {
	driver.Valuer // one JSON array
	// Texts is what is in the list, in a slice of its own, for an engine that binds one.
	Texts() []string
}

type bindable[T string | int64] []T

func (l bindable[T]) Texts() []string {
	all := make([]string, len(l))
	for i, v := range l {
		switch v := any(v).(type) {
		case string:
			all[i] = v
		case int64:
			all[i] = strconv.FormatInt(v, 10)
		}
	}
	return all
}

func (l bindable[T]) Value() (driver.Value, error) {
	b, err := json.Marshal([]T(l))
	return string(b), err
}

// listed binds a list; nil is an empty one.
func listed[T string | int64](values []T) List { return bindable[T](slices.Concat([]T{}, values)) }

// Texts runs a query and returns its one column.
func Texts(ctx context.Context, q Querier, query string, args ...any) ([]string, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}
