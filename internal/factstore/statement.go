package factstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"quant"
)

// Facts change within DB.Write alone, and there through methods of Tx that
// count what they change. Every other statement is looked at before it runs:
// what DuckDB prepares it as says whether it reads, and whether it is one
// statement or several. Stage runs outside a Write in a transaction that DuckDB
// itself keeps from writing to anything but TEMP objects.

// statementType says what a text is, without running any of it. An error: it is
// no statement, or more than one.
func (db *DB) statementType(ctx context.Context, query string) (kind duckdb.StmtType, err error) {
	err = db.conn.Raw(func(c any) error {
		conn := c.(*duckdb.Conn)
		prepared, err := conn.Prepare(query) // refuses several statements; PrepareContext would run all but the last
		if _, single := errors.AsType[*duckdb.Error](err); single {
			first := err
			prepared, err = conn.PrepareContext(ctx, query) // a table function may need the context
			if err != nil && strings.Contains(err.Error(), "Current transaction is aborted") {
				err = first // which aborted it
			}
		}
		if err != nil {
			return err
		}
		defer func() { _ = prepared.Close() }()
		kind, err = prepared.(*duckdb.Stmt).StatementType()
		return err
	})
	return kind, err
}

// mustBe refuses a text that is not one statement of one of these types. A
// context that has ended passes: nothing runs with it.
func (db *DB) mustBe(ctx context.Context, what, query string, types ...duckdb.StmtType) error {
	if ctx.Err() != nil {
		return nil
	}
	if err := db.renewKeys(ctx); err != nil {
		return err
	}
	kind, err := db.statementType(ctx, query)
	if db.refused(ctx, err) { // a file may be looked at to prepare it
		kind, err = db.statementType(ctx, query)
	}
	if err != nil {
		return db.told(err)
	}
	if !slices.Contains(types, kind) {
		return quant.Errorf(quant.Failed, "fact db %s: a statement that shall %s does something else: %.80q", db.path, what, query)
	}
	return nil
}

// Query runs one statement that only reads, such as SELECT; anything else is
// refused (quant.Failed) and not run. The rows must be closed before the next
// call.
func (db *DB) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx = db.within(ctx)
	if err := db.mustBe(ctx, "read", query, duckdb.STATEMENT_TYPE_SELECT); err != nil {
		return nil, err
	}
	rows, err := db.conn.QueryContext(ctx, query, args...)
	if db.refused(ctx, err) {
		rows, err = db.conn.QueryContext(ctx, query, args...)
	}
	return rows, db.told(err)
}

// Values returns what a query gives that has one column, from its first row to its
// last; nil for no row. T is what database/sql scans the column into: a NULL needs a
// pointer or a sql.Null. Of a transaction it reads what that has written so far.
// Errors are those of DB.Query.
func Values[T any](ctx context.Context, of interface {
	Query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}, query string, args ...any) ([]T, error) {
	rows, err := of.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// Row is the one row of a query, as *sql.Row.
type Row struct {
	row *sql.Row
	db  *DB
	err error
}

// Scan copies the row's columns to where dest points; sql.ErrNoRows if there is
// no row. An error of the query comes out here.
func (r Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	return r.db.told(r.row.Scan(dest...))
}

// QueryRow is Query for the first row.
func (db *DB) QueryRow(ctx context.Context, query string, args ...any) Row {
	ctx = db.within(ctx)
	if err := db.mustBe(ctx, "read", query, duckdb.STATEMENT_TYPE_SELECT); err != nil {
		return Row{err: err}
	}
	row := db.conn.QueryRowContext(ctx, query, args...)
	if db.refused(ctx, row.Err()) {
		row = db.conn.QueryRowContext(ctx, query, args...)
	}
	return Row{row: row, db: db}
}

// Stage runs one statement that makes, fills, changes or drops TEMP tables and
// views, which live until Close, and returns the number of rows that it
// touched. A statement that would change a table of the file is refused and
// changes nothing. It may be called within a Write, and is then undone with it;
// there it must name its target as temp.main.<name>, or CREATE it TEMP.
func (db *DB) Stage(ctx context.Context, query string, args ...any) (int64, error) {
	ctx = db.within(ctx)
	if err := db.mustBe(ctx, "stage rows", query, duckdb.STATEMENT_TYPE_CREATE, duckdb.STATEMENT_TYPE_INSERT,
		duckdb.STATEMENT_TYPE_UPDATE, duckdb.STATEMENT_TYPE_DELETE, duckdb.STATEMENT_TYPE_DROP); err != nil {
		return 0, err
	}
	if db.writing {
		if !namesTemp().MatchString(query) {
			return 0, quant.Errorf(quant.Failed, "fact db %s: a statement that shall stage rows does not name a TEMP table or view: %.80q", db.path, query)
		}
		return db.affected(ctx, query, args...)
	}
	if err := begin(ctx, db.conn, "BEGIN TRANSACTION READ ONLY"); err != nil {
		return 0, db.told(err)
	}
	n, err := db.affected(ctx, query, args...)
	if err == nil {
		_, err = db.conn.ExecContext(context.WithoutCancel(ctx), "COMMIT")
	}
	if err != nil {
		rollBack(ctx, db.conn)
		return 0, db.told(err)
	}
	return n, nil
}

// begin begins a transaction, or leaves none behind.
func begin(ctx context.Context, conn *sql.Conn, statement string) error {
	_, err := conn.ExecContext(ctx, statement)
	if err != nil { // ctx may have ended once it had begun
		rollBack(ctx, conn)
	}
	return err
}

// mostInterrupts is how many late interrupts a rollback outlives.
const mostInterrupts = 20

// rollBack ends the transaction of a connection, if one is open, also when ctx has
// ended. The interrupt of a statement may come so late that it meets the rollback, which
// is then tried again: what stays open would refuse every later statement.
func rollBack(ctx context.Context, conn *sql.Conn) {
	for range mostInterrupts {
		_, err := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		if interrupted, is := errors.AsType[*duckdb.Error](err); !is || interrupted.Type != duckdb.ErrorTypeInterrupt {
			return
		}
	}
}

// namesTemp matches a statement by its target, where that is a TEMP object.
func namesTemp() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^\s*(CREATE\s+(OR\s+REPLACE\s+)?TEMP\s+(TABLE|VIEW)|(INSERT\s+INTO|UPDATE|DELETE\s+FROM|DROP\s+(TABLE|VIEW)(\s+IF\s+EXISTS)?)\s+temp\.main\.)`)
}

func (db *DB) affected(ctx context.Context, query string, args ...any) (int64, error) {
	if err := db.renewKeys(ctx); err != nil {
		return 0, err
	}
	result, err := db.conn.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, db.told(err)
	}
	return result.RowsAffected()
}

// Append fills a TEMP table with rows that Go computed: fill calls row once for
// each, with the table's columns in their order (nil is NULL; a DATE takes
// quant.Date). About a million rows a second; nothing is visible until Append
// returns. An error of fill is returned as it is.
func (db *DB) Append(ctx context.Context, table string, fill func(row func(values ...driver.Value) error) error) error {
	ctx = db.within(ctx)
	return db.conn.Raw(func(c any) error {
		a, err := duckdb.NewAppender(c.(driver.Conn), "temp", "main", table)
		if err != nil {
			return quant.Errorf(quant.Failed, "append to %s: %w", table, err)
		}
		n := 0
		err = fill(func(values ...driver.Value) error {
			if n++; n%4096 == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			for i, v := range values {
				if d, ok := v.(quant.Date); ok {
					values[i] = d.Time()
				}
			}
			return a.AppendRow(values...)
		})
		if err != nil {
			_ = a.Close()
			return err
		}
		return a.CloseWithCancel(ctx)
	})
}

// RegisterTable makes a table function known to the connection, for statements
// of Query and Stage. The same name again changes nothing.
func (db *DB) RegisterTable(name string, f duckdb.ChunkTableFunction) error {
	return register(db, name, f)
}

func register[T duckdb.TableFunction](db *DB, name string, f T) error {
	db.made.mu.Lock()
	defer db.made.mu.Unlock()
	if slices.Contains(db.made.functions, name) {
		return nil
	}
	if err := duckdb.RegisterTableUDF(db.conn, name, f); err != nil {
		return fmt.Errorf("register table function %s: %w", name, err)
	}
	db.made.functions = append(db.made.functions, name)
	return nil
}

// TrustBounds says whether DuckDB may fold comparisons by the bounds that a file
// claims for its columns, which leave NaN out and may be wrong altogether. It
// does unless told otherwise.
func (db *DB) TrustBounds(ctx context.Context, trust bool) error {
	if db.life != nil {
		return errShared(db.path)
	}
	setting := "SET disabled_optimizers = '" + unsoundOptimizers + ",statistics_propagation'"
	if trust {
		setting = "SET disabled_optimizers = '" + unsoundOptimizers + "'"
	}
	_, err := db.conn.ExecContext(ctx, setting)
	return err
}

// Alone says whether statements run on the caller's thread alone. It is for a
// statement that one thread works at, fed by goroutines: of the engine's threads
// the others have nothing to do then, and the one that waits for the result does
// not sleep but takes a whole processor from the goroutines.
func (db *DB) Alone(ctx context.Context, alone bool) error {
	if db.life != nil {
		return errShared(db.path)
	}
	setting := "RESET threads"
	switch {
	case alone:
		setting = "SET threads = 1"
	case db.o.Threads > 0:
		setting = fmt.Sprintf("SET threads = %d", db.o.Threads)
	}
	_, err := db.conn.ExecContext(ctx, setting)
	return err
}

// onOneThread runs do while statements run on the caller's thread alone. An INSERT of
// some row groups costs less so: of several threads each leaves row groups in part, which
// the next checkpoint writes a second time (DuckDB 1.5.5; docs/benchmarks.md has figures).
func (db *DB) onOneThread(ctx context.Context, do func() error) error {
	if db.life != nil {
		return do()
	}
	if err := db.Alone(ctx, true); err != nil {
		return err
	}
	err := do()
	if again := db.Alone(context.WithoutCancel(ctx), false); err == nil {
		err = again
	}
	return err
}

// without says which of DuckDB's ways of compression is not tried on columns; "":
// all are.
func (db *DB) without(ctx context.Context, method string) error {
	_, err := db.conn.ExecContext(ctx, "SET disabled_compression_methods = '"+method+"'")
	return err
}
