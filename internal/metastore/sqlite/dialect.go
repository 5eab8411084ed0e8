package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"

	"quant/internal/metastore"
	"quant/internal/metastore/relational"
)

// dialect is what SQLite does and says otherwise than other engines.
type dialect struct {
	shown string
	wait  time.Duration
}

var _ relational.Dialect = dialect{}

// queuePoll is how long a writer sleeps between two tries.
const queuePoll = 3 * time.Millisecond

// Begin waits for the lock of other processes. SQLite's own waiting sleeps the
// longer the more often it was in vain, so that among many writers the newest win
// and an old one may starve; here every one has the same chance.
func (d dialect) Begin(ctx context.Context, conn *sql.Conn) error {
	const begin = "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE"
	_, err := conn.ExecContext(ctx, begin)
	for begun := time.Now(); isBusy(err) && time.Since(begun) < d.wait; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(queuePoll):
		}
		_, err = conn.ExecContext(ctx, begin)
	}
	// Everything else waits as the connection was told to; also when it failed.
	if _, e := conn.ExecContext(context.WithoutCancel(ctx), fmt.Sprintf("PRAGMA busy_timeout = %d", max(d.wait.Milliseconds(), 1))); e != nil && err == nil {
		d.Rollback(conn)
		return e
	}
	return err
}

func isBusy(err error) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	return ok && e.Code == sqlite3.ErrBusy
}

// BeginReading is documented at relational.Dialect. The first read fixes the state;
// until then a deferred transaction has none.
func (d dialect) BeginReading(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "BEGIN DEFERRED"); err != nil {
		return err
	}
	var version int
	err := conn.QueryRowContext(ctx, "PRAGMA schema_version").Scan(&version)
	if err != nil {
		d.Rollback(conn)
	}
	return err
}

// Rollback is documented at relational.Dialect.
func (d dialect) Rollback(conn *sql.Conn) {
	_, err := conn.ExecContext(context.Background(), "ROLLBACK")
	if err != nil && !strings.Contains(err.Error(), "no transaction is active") {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
}

// Classify is documented at relational.Dialect.
func (d dialect) Classify(what string, err error) error {
	return classify(d.shown, d.wait.String(), what, err)
}

// Duplicate is documented at relational.Dialect.
func (d dialect) Duplicate(err error) bool {
	return is(err, sqlite3.ErrConstraintPrimaryKey, sqlite3.ErrConstraintUnique)
}

// NoParent is documented at relational.Dialect.
func (d dialect) NoParent(err error) bool { return is(err, sqlite3.ErrConstraintForeignKey) }

// TableNames is documented at relational.Dialect.
func (dialect) TableNames() string {
	return `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name`
}

// Again is documented at relational.Dialect. A writer holds the database before it
// reads anything.
func (dialect) Again(error) bool { return false }

// Once is documented at relational.Dialect. A file has no server whose answer is lost.
func (dialect) Once(metastore.Mark) (query string, args []any) { return "", nil }

// Away is documented at relational.Dialect. A file has no server.
func (dialect) Away(error) bool { return false }

// LockRuns is documented at relational.Dialect.
func (dialect) LockRuns() string { return "" }

// Alone is documented at relational.Dialect.
func (dialect) Alone() string { return "" }

// Last is documented at relational.Dialect.
func (dialect) Last(text, characters string) string {
	return `substr(` + text + `, -` + characters + `)`
}

// TextArray is documented at relational.Dialect.
func (dialect) TextArray(text string) string {
	return `json_group_array(` + text + ` ORDER BY ` + text + `)`
}

// Head is documented at relational.Dialect.
func (dialect) Head() string { return "" }

// Explain is documented at relational.Dialect.
func (d dialect) Explain(ctx context.Context, q relational.Querier, query string, args []any) ([]string, error) {
	rows, err := q.QueryContext(ctx, `EXPLAIN QUERY PLAN `+query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var plan []string
	depth := map[int]int{}
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			return nil, err
		}
		depth[id] = depth[parent] + 1
		plan = append(plan, strings.Repeat("  ", depth[parent])+detail)
	}
	return plan, rows.Err()
}

// OtherColumns is documented at relational.Dialect.
func (dialect) OtherColumns() string {
	return `SELECT name FROM pragma_table_info(?) WHERE name <> 'run_id'`
}

// LookUp is documented at relational.Dialect.
func (dialect) LookUp(bool) string { return "" }
