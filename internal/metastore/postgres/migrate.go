package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/relational"
)

//go:embed migrations/*.sql
var files embed.FS

// migration brings a database to a version of the schema, which has the number that
// SQLite's has.
type migration struct {
	version int
	name    string
	sql     string
}

// baseline is the first version that PostgreSQL had.
const baseline = 8

// embedded returns the program's schema: its place in the list is its version, less one.
// There is nothing before the baseline, whose one file makes all of it.
func embedded() ([]migration, error) {
	entries, err := fs.ReadDir(files, "migrations") // in name order
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "read the embedded migrations: %w", err)
	}
	schema := make([]migration, baseline-1, baseline-1+len(entries))
	for _, e := range entries {
		text, err := files.ReadFile("migrations/" + e.Name())
		if err != nil {
			return nil, quant.Errorf(quant.Failed, "read embedded migration %s: %w", e.Name(), err)
		}
		m := migration{version: len(schema) + 1, name: e.Name(), sql: string(text)}
		if e.Name()[:5] != fmt.Sprintf("%04d_", m.version) {
			return nil, quant.Errorf(quant.Failed, "embedded migration %d is called %s", m.version, e.Name())
		}
		schema = append(schema, m)
	}
	return schema, nil
}

// versionTable says which migrations a database has taken. It is no table of the Meta
// DB's contract.
const versionTable = "schema_migrations"

// The locks of a database that quant takes are of this class; SchemaLock is held while
// its schema is made or changed.
const (
	LockClass  = 0x716e744d // "qntM"
	SchemaLock = 1
)

// state is what a look at a database finds.
type state struct {
	version int    // of the schema; 0 where there is none
	backend int64  // the server's process
	path    string // where names without a schema are looked up
}

// look finds the version of the schema, in one statement where there is one, and learns
// whether the role may write, and how far the server's clock is ahead.
func (db *DB) look(ctx context.Context, conn *sql.Conn) (found state, err error) {
	const session = `pg_backend_pid(), current_setting('search_path')`
	var may, only string
	var now time.Time
	err = conn.QueryRowContext(ctx, `SELECT (SELECT coalesce(max(version), 0) FROM quant.schema_migrations),
		has_table_privilege('quant.runs', 'INSERT')::text, current_setting('transaction_read_only'), clock_timestamp(), `+session).
		Scan(&found.version, &may, &only, &now, &found.backend, &found.path)
	if err == nil {
		db.ahead, db.knowsAhead = now.Sub(db.now()), true // the answer was on its way for less than the question, which was parsed
		if found.version == 0 {
			return found, db.foreign("its table " + versionTable + " is empty")
		}
		db.canWrite = may == "true" && only == "off"
		return found, nil
	}
	failed, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || failed.Code != undefinedTable && failed.Code != undefinedSchema && failed.Code != undefinedColumn && failed.Code != noPrivilege {
		return found, db.Classify("open meta db "+db.engine.shown, err)
	}
	var ours, tables int
	if err := conn.QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE c.relname = ?), count(*), `+session+`
		FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid WHERE n.nspname = ?`, versionTable, Schema).
		Scan(&ours, &tables, &found.backend, &found.path); err != nil {
		return found, db.Classify("open meta db "+db.engine.shown, err)
	}
	switch {
	case tables > 0 && failed.Code == noPrivilege:
		return found, relational.StoreError(nil, err, "meta db %s: the role may not read it: %s", db.engine.shown, failed.Message).
			WithHint("its owner grants that: GRANT USAGE ON SCHEMA %[1]s TO ROLE; GRANT SELECT ON ALL TABLES IN SCHEMA %[1]s TO ROLE", Schema)
	case ours > 0:
		return found, db.foreign("its table " + versionTable + " is not quant's")
	case tables > 0:
		return found, db.foreign("its schema " + Schema + " holds other tables")
	}
	return found, nil
}

// foreign is the error of a schema that is not ours.
func (db *DB) foreign(why string) error {
	return relational.StoreError(metastore.ErrDamaged, nil, "meta db %s is another program's: %s", db.engine.shown, why).
		WithHint("name another database; nothing was changed")
}

// prepare makes the schema, or brings it up to date, in one transaction that one process
// at a time is in.
func (db *DB) prepare(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return db.Classify("prepare", err)
	}
	committed := false
	defer func() {
		if !committed {
			db.engine.Rollback(conn)
		}
	}()
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_xact_lock(?, ?)`, LockClass, SchemaLock); err != nil {
		return db.notPrepared(err)
	}
	// What failed before BEGIN would end the transaction: whether there is a schema is asked first.
	var prepared bool
	if err := conn.QueryRowContext(ctx, `SELECT to_regclass('quant.`+versionTable+`') IS NOT NULL`).Scan(&prepared); err != nil {
		return db.notPrepared(err)
	}
	from := 0
	if prepared {
		found, err := db.look(ctx, conn)
		if err != nil {
			return err
		}
		from = found.version
	}
	if from >= len(db.schema) {
		return nil // somebody was quicker
	}
	if from == 0 {
		if _, err := conn.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS quant; COMMENT ON SCHEMA quant IS 'the Meta DB of quant';
			CREATE TABLE quant.schema_migrations (version bigint NOT NULL PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(), applied_by text NOT NULL DEFAULT current_user)`); err != nil {
			return db.notPrepared(err)
		}
	}
	for _, m := range db.schema[from:] {
		if m.sql == "" {
			continue
		}
		if _, err := conn.ExecContext(ctx, m.sql); err != nil {
			return db.notPrepared(fmt.Errorf("migration %s: %w", m.name, err))
		}
		if _, err := conn.ExecContext(ctx, `INSERT INTO quant.schema_migrations (version, name) VALUES (?, ?)`, m.version, m.name); err != nil {
			return db.notPrepared(err)
		}
	}
	if _, err := conn.ExecContext(ctx, "COMMIT"); err != nil {
		return db.notPrepared(err)
	}
	committed, db.canWrite = true, true
	if from == 0 {
		db.created = true
	} else {
		db.from, db.to = from, len(db.schema)
	}
	return nil
}

func (db *DB) notPrepared(err error) error {
	e, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ok && (e.Code == noPrivilege || e.Code == readOnlyTransaction):
		return relational.StoreError(nil, err, "prepare meta db %s: %v", db.engine.shown, err).
			WithHint("nothing was changed; a role that may create a schema there prepares it once (GRANT CREATE ON DATABASE ... TO ROLE)")
	case ok && e.Code == lockNotAvailable:
		return quant.Errorf(quant.Locked, "prepare meta db %s: another process prepares it (waited %s): %w", db.engine.shown, db.engine.wait, err).
			WithHint("try again when the other program has finished")
	case ok:
		return relational.StoreError(nil, err, "prepare meta db %s for schema %d: %v", db.engine.shown, len(db.schema), err).WithHint("nothing was changed")
	}
	return db.Classify("prepare", err)
}
