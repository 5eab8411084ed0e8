package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"quant"
	"quant/internal/durable"
	"quant/internal/lab/place"
	"quant/internal/metastore/relational"
)

//go:embed migrations/*.sql
var files embed.FS

// migration is one step of the schema; the version of a database is how many
// it has taken.
type migration struct {
	name string
	sql  string
	// unread: it changes nothing that reading rests on, so that a database without
	// it can be opened for reading.
	unread bool
}

// embedded returns the program's migrations in order. The runner is our own
// because all pending migrations must commit together or not at all, and the
// known ones commit each by itself.
func embedded() ([]migration, error) {
	entries, err := fs.ReadDir(files, "migrations") // in name order
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "read the embedded migrations: %w", err)
	}
	schema := make([]migration, 0, len(entries))
	for i, e := range entries {
		text, err := files.ReadFile("migrations/" + e.Name())
		if err != nil {
			return nil, quant.Errorf(quant.Failed, "read embedded migration %s: %w", e.Name(), err)
		}
		if !strings.HasPrefix(e.Name(), fmt.Sprintf("%04d_", i+1)) {
			return nil, quant.Errorf(quant.Failed, "embedded migration %d is called %s", i+1, e.Name())
		}
		schema = append(schema, migration{name: e.Name(), sql: string(text), unread: e.Name() == running})
	}
	return schema, nil
}

// apply runs the migrations after version from and stores the new version, in
// the caller's transaction.
func apply(ctx context.Context, q relational.Querier, schema []migration, from int) error {
	for _, m := range schema[from:] {
		if _, err := q.ExecContext(ctx, m.sql); err != nil {
			return fmt.Errorf("migration %s: %w", m.name, err)
		}
	}
	_, err := q.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(schema)))
	return err
}

// running is the migration that adds an index, which only those who close runs
// need.
const running = "0005_running.sql"

// readable tells whether a database of a version can be read as it is.
func readable(schema []migration, version int) bool {
	return !slices.ContainsFunc(schema[version:], func(m migration) bool { return !m.unread })
}

// factsOfTexts is the migration that also fills the facts of runs that come from
// a file of an older schema.
const factsOfTexts = "0004_facts_of_texts.sql"

// fillFacts gives runs whose facts are told at the end of their text alone their
// column.
func fillFacts(ctx context.Context, q relational.Querier, schema []migration) error {
	i := slices.IndexFunc(schema, func(m migration) bool { return m.name == factsOfTexts })
	_, err := q.ExecContext(ctx, schema[i].sql)
	return err
}

// migrate brings an older schema up to date: backup, then all migrations in
// one transaction. Nobody can write between the two.
func (db *DB) migrate(ctx context.Context, backupDir string) error {
	unlock, err := lock(ctx, db.path, db.Shown, db.wait)
	if err != nil {
		return err
	}
	defer unlock()
	// A migration may rebuild a table that others refer to, which foreign keys
	// would see as deleting it; that cannot be switched off in a transaction.
	pool := sql.OpenDB(connector(dsn(db.path, db.wait, "mode=rw&_txlock=immediate")))
	pool.SetMaxOpenConns(1)
	defer func() { _ = pool.Close() }()
	if _, err := pool.ExecContext(ctx, "PRAGMA foreign_keys = OFF"); err != nil {
		return db.Classify("migrate", err)
	}
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return db.Classify("migrate", err)
	}
	defer func() { _ = tx.Rollback() }()
	var from int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&from); err != nil {
		return db.Classify("migrate", err)
	}
	if from >= len(db.schema) {
		return nil // somebody else was quicker
	}
	if backupDir == "" {
		backupDir = place.BackupDir(db.path)
	}
	if err := durable.MakeFolder(backupDir); err != nil {
		return relational.StoreError(nil, err, "back up meta db %s before migrating it: %v", db.Shown, err).
			WithHint("check that you may write %s; nothing was changed", backupDir)
	}
	backup, err := freeName(filepath.Join(backupDir, fmt.Sprintf("%s.schema-%d-", filepath.Base(db.path), from)), db.now())
	if err != nil {
		return relational.StoreError(nil, err, "back up meta db %s before migrating it: %v", db.Shown, err)
	}
	if err := db.Backup(ctx, backup); err != nil {
		return err
	}
	if err := apply(ctx, tx, db.schema, from); err != nil {
		return db.notMigrated(from, err)
	}
	orphans, err := foreignKeyProblems(ctx, tx)
	if err != nil {
		return db.notMigrated(from, err)
	}
	if len(orphans) > 0 {
		return db.notMigrated(from, fmt.Errorf("%s: %s", orphans[0].Object, orphans[0].What))
	}
	if err := tx.Commit(); err != nil {
		return db.notMigrated(from, err)
	}
	db.from, db.to, db.backup = from, len(db.schema), backup
	return nil
}

func (db *DB) notMigrated(from int, err error) error {
	return relational.StoreError(nil, err, "migrate meta db %s from schema %d to %d: %v", db.Shown, from, len(db.schema), err).
		WithHint("nothing was changed; run quant doctor, or go on with the program that made it")
}
