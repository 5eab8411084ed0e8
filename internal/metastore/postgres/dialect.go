package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"quant/internal/metastore"
	"quant/internal/metastore/relational"
)

// dialect is how PostgreSQL does and says what package relational asks of an engine.
type dialect struct {
	shown   string // the database, for messages
	address string // the server, for messages
	wait    time.Duration
	held    *atomic.Pointer[lease] // of this process; nil in it: none
}

var _ relational.Dialect = dialect{}

// Begin is documented at relational.Dialect. Each statement sees what was committed before
// it; who changes a row waits for others who do. It begins with the proof that this
// process still has its lease.
func (d dialect) Begin(ctx context.Context, conn *sql.Conn) error {
	return d.held.Load().begin(ctx, conn, "BEGIN")
}

// BeginReading is documented at relational.Dialect.
func (d dialect) BeginReading(ctx context.Context, conn *sql.Conn) error {
	// The first statement after BEGIN fixes the state that is read.
	_, err := conn.ExecContext(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1")
	return err
}

// Rollback is documented at relational.Dialect. Outside a transaction it is a warning of
// the server, and none of ours.
func (d dialect) Rollback(conn *sql.Conn) {
	if _, err := conn.ExecContext(context.Background(), "ROLLBACK"); err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
}

// Once is documented at relational.Dialect. The mark goes with the lease of this process,
// without which nothing of it is stored any more. A transaction of this process that may
// yet commit is waited for: it has the row, too.
func (d dialect) Once(m metastore.Mark) (query string, args []any) {
	held := d.held.Load()
	if held == nil || m.Stream == "" {
		return "", nil
	}
	return `INSERT INTO batches (stream, lease, number) VALUES (?, ?, ?) ON CONFLICT (stream) DO UPDATE SET number = excluded.number WHERE batches.number < excluded.number`,
		[]any{m.Stream, held.name, m.Number}
}

// TableNames is documented at relational.Dialect. The tables that only a shared database
// has are no part of the contract.
func (d dialect) TableNames() string {
	return `SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = '` + Schema + `' AND tablename NOT IN ('` + versionTable + `', 'leases', 'batches', 'run_roles') ORDER BY tablename COLLATE "C"`
}

// Duplicate is documented at relational.Dialect.
func (d dialect) Duplicate(err error) bool { return hasCode(err, uniqueViolation) }

// NoParent is documented at relational.Dialect.
func (d dialect) NoParent(err error) bool { return hasCode(err, foreignKeyViolation) }

func hasCode(err error, code string) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == code
}
