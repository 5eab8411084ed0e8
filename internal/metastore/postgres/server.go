package postgres

import (
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"quant/internal/metastore/relational"
)

// suits refuses a server that cannot keep a Meta DB, by what it said when the connection
// was made.
func (db *DB) suits(conn *sql.Conn) error {
	_, version, encoding, err := greeting(conn)
	if err != nil {
		return db.Classify("open", err)
	}
	if leading(version) < oldest {
		return relational.StoreError(nil, nil, "meta db %s: the server at %s is PostgreSQL %s, and quant needs %d or newer", db.engine.shown, db.engine.address, version, oldest).
			WithHint("upgrade the server, or name another")
	}
	if encoding != "UTF8" {
		return relational.StoreError(nil, nil, "meta db %s: the database's encoding is %s, and quant needs UTF8", db.engine.shown, encoding).
			WithHint("make one with CREATE DATABASE NAME ENCODING 'UTF8' TEMPLATE template0")
	}
	return nil
}

// leading is the number that a text begins with; 0 if it begins with none.
func leading(text string) int {
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(text)
	}
	n, _ := strconv.Atoi(text[:end])
	return n
}

// unsettled is a configuration for a pooler, which takes no settings when a connection is
// made, and the statement that makes them afterwards.
func unsettled(config *pgx.ConnConfig) (bare *pgx.ConnConfig, settings string) {
	bare = config.Copy()
	var b strings.Builder
	names := make([]string, 0, len(config.RuntimeParams))
	for name := range config.RuntimeParams {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name == "application_name" || name == "client_encoding" {
			continue
		}
		b.WriteString("SELECT pg_catalog.set_config('" + strings.ReplaceAll(name, "'", "''") + "', '" + strings.ReplaceAll(config.RuntimeParams[name], "'", "''") + "', false);")
		delete(bare.RuntimeParams, name)
	}
	return bare, b.String()
}

// behindPooler tells whether the process that works for a connection is another than the
// one that greeted it.
func (db *DB) behindPooler(conn *sql.Conn, backend int64) bool {
	pid, _, _, err := greeting(conn)
	return err == nil && pid != backend
}

// shares tells whether a pooler gives the server's process behind conn to others while
// conn is open: it pools by transaction. Locks and settings of a session are then
// anybody's.
func (db *DB) shares(ctx context.Context, conn *sql.Conn) bool {
	// In a pool of one process, a second session waits for the first one's end.
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	other, err := db.Pool.Conn(ctx)
	if err != nil {
		return false
	}
	defer func() { _ = other.Close() }()
	for range 3 {
		var before, held, after int64
		const ask = `SELECT pg_backend_pid()`
		if conn.QueryRowContext(ctx, ask).Scan(&before) != nil {
			return false
		}
		if _, err := other.ExecContext(ctx, "BEGIN"); err != nil {
			return false
		}
		failed := other.QueryRowContext(ctx, ask).Scan(&held) != nil || conn.QueryRowContext(ctx, ask).Scan(&after) != nil
		db.engine.Rollback(other)
		if failed {
			return false
		}
		if held == before || after != before {
			return true
		}
	}
	return false
}

// pooled is the error of a pooler by transaction.
func (db *DB) pooled() error {
	return relational.StoreError(nil, nil, "meta db %s: at %s is a pooler that shares its connections by transaction, where the locks of a lab are anybody's", db.engine.shown, db.engine.address).
		WithHint("name the address of PostgreSQL itself, or of a pool by session (PgBouncer: pool_mode=session)")
}
