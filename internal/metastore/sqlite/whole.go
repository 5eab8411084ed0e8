package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"quant"
	"quant/internal/metastore"
	"quant/internal/sqltext"
)

// Tables is documented at metastore.Store.
func (db *DB) Tables(ctx context.Context) ([]metastore.TableCount, error) {
	q, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	names, err := texts(ctx, q, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name`)
	if err != nil {
		return nil, db.classify("list tables", err)
	}
	if len(names) == 0 {
		return nil, nil
	}
	parts := make([]string, len(names))
	args := make([]any, len(names))
	for i, name := range names {
		parts[i], args[i] = `SELECT ? AS name, count(*) FROM `+sqltext.Identifier(name), name
	}
	// One statement, so that the counts belong together.
	return list(ctx, db, "count rows", strings.Join(parts, ` UNION ALL `)+` ORDER BY name`, args,
		func(t *metastore.TableCount) []any { return []any{&t.Table, &t.Rows} })
}

// Backup is documented at metastore.FileStore. The file has mode 0600. Errors:
// Conflict if something stands at path, Failed inside a Tx.
func (db *DB) Backup(ctx context.Context, path string) error {
	if db.current(ctx) != nil {
		return quant.Errorf(quant.Failed, "back up meta db %s: not inside a transaction", db.shown)
	}
	broken := func(err error) error {
		return storeError(nil, err, "back up meta db %s to %s: %v", db.shown, path, err).
			WithHint("check that you may write there and that the disk has room; nothing was changed")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return broken(err)
	}
	taken := quant.Errorf(quant.Conflict, "back up meta db %s: %s exists already", db.shown, path).
		WithHint("name a file that does not exist")
	if _, err := os.Lstat(abs); err == nil {
		return taken
	}
	// Whole or not at all: under another name until it is complete.
	partial, err := os.CreateTemp(filepath.Dir(abs), filepath.Base(abs)+".partial-*") // mode 0600
	if err != nil {
		return broken(err)
	}
	defer func() { _ = os.Remove(partial.Name()) }()
	if err := partial.Close(); err != nil {
		return broken(err)
	}
	if _, err := db.pool.ExecContext(ctx, `VACUUM INTO ?`, partial.Name()); err != nil {
		return db.classify("back up to "+path, err)
	}
	if err := syncPath(partial.Name()); err != nil {
		return broken(err)
	}
	// A link refuses an existing name, which a rename would replace.
	switch err := os.Link(partial.Name(), abs); {
	case errors.Is(err, fs.ErrExist):
		return taken
	case err != nil: // a file system without links
		if err := os.Rename(partial.Name(), abs); err != nil {
			return broken(err)
		}
	}
	if err := syncPath(filepath.Dir(abs)); err != nil {
		return broken(err)
	}
	return nil
}

// kept are the tables that Reset carries over, parents first.
func kept() []string { return append([]string{"runs"}, companions()...) }

// companions are the tables keyed by run_id whose rows go with their run.
func companions() []string {
	return []string{
		"run_process", "run_io", "run_params", "run_tags", "run_metrics", "run_metric_points",
		"run_notes", "run_artifacts", "run_programs", "run_deletions", "run_imports",
	}
}

// Reset is documented at metastore.FileStore. Errors: Failed inside a Tx; Store,
// marked metastore.ErrDamaged, when what is to be carried over cannot be read (move the
// file aside and salvage it then); nothing is changed after an error.
func (db *DB) Reset(ctx context.Context, backupPath string) (metastore.Carried, error) {
	none := metastore.Carried{}
	if db.current(ctx) != nil {
		return none, quant.Errorf(quant.Failed, "reset meta db %s: not inside a transaction", db.shown)
	}
	release, err := db.queue(ctx)
	if err != nil {
		return none, err
	}
	defer release()
	// Dropping a table that others refer to would first empty it, and them;
	// foreign keys cannot be switched off inside a transaction.
	pool := sql.OpenDB(connector(dsn(db.path, db.wait, "mode=rw&_txlock=immediate")))
	pool.SetMaxOpenConns(1)
	defer func() { _ = pool.Close() }()
	if _, err := pool.ExecContext(ctx, `PRAGMA foreign_keys = OFF`); err != nil {
		return none, db.classify("reset", err)
	}
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return none, db.classify("reset", err)
	}
	defer func() { _ = tx.Rollback() }()
	if backupPath != "" {
		// From another connection: this transaction has written nothing yet, and
		// keeps everybody else from writing.
		if err := db.Backup(ctx, backupPath); err != nil {
			return none, err
		}
	}
	carried, err := reset(ctx, tx, db.schema)
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return none, db.classify("reset", err)
	}
	return carried, nil
}

func reset(ctx context.Context, tx *sql.Tx, schema []migration) (metastore.Carried, error) {
	carried := metastore.Carried{Rows: map[string]int64{}, Lost: map[string]int64{}}
	held := map[string]int64{}
	for _, table := range kept() {
		columns, err := columnsOf(ctx, tx, "main", table)
		if err != nil {
			return carried, err
		}
		if len(columns) == 0 {
			continue
		}
		copied := sqltext.Identifier("carried_" + table)
		if _, err := tx.ExecContext(ctx, `CREATE TEMP TABLE `+copied+` AS SELECT * FROM main.`+sqltext.Identifier(table)); err != nil {
			return carried, err
		}
		var n int64
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM temp.`+copied).Scan(&n); err != nil {
			return carried, err
		}
		held[table] = n
	}
	if err := dropAll(ctx, tx); err != nil {
		return carried, err
	}
	if err := apply(ctx, tx, schema, 0); err != nil {
		return carried, err
	}
	for _, table := range kept() {
		if _, ok := held[table]; !ok {
			continue
		}
		n, err := pour(ctx, tx, "temp", "carried_"+table, table)
		if err != nil {
			return carried, err
		}
		if n > 0 {
			carried.Rows[table] = n
		}
		if lost := held[table] - n; lost > 0 {
			carried.Lost[table] = lost
		}
		if _, err := tx.ExecContext(ctx, `DROP TABLE temp.`+sqltext.Identifier("carried_"+table)); err != nil {
			return carried, err
		}
	}
	if err := fillProcesses(ctx, tx); err != nil {
		return carried, err
	}
	return carried, fillMetrics(ctx, tx)
}

// pour inserts those rows of a table of another schema that this one's rules
// accept, by the columns that both have, and returns their number. Foreign
// keys that are missed also keep a row out.
func pour(ctx context.Context, q querier, schema, from, into string) (int64, error) {
	theirs, err := columnsOf(ctx, q, schema, from)
	if err != nil {
		return 0, err
	}
	ours, err := columnsOf(ctx, q, "main", into)
	if err != nil {
		return 0, err
	}
	var names, values, where []string
	for _, c := range ours {
		i := slices.IndexFunc(theirs, func(t column) bool { return strings.EqualFold(t.name, c.name) })
		if i < 0 {
			continue
		}
		names = append(names, sqltext.Identifier(c.name))
		values = append(values, sqltext.Identifier(theirs[i].name))
		// OR IGNORE skips a row for any rule but its types.
		where = append(where, typed(c, sqltext.Identifier(theirs[i].name)))
	}
	if len(names) == 0 {
		return 0, nil
	}
	switch {
	case slices.Contains(companions(), into):
		where = append(where, `run_id IN (SELECT run_id FROM main.runs)`)
	case into == "models":
		where = append(where, `(experiment_id IS NULL OR experiment_id IN (SELECT experiment_id FROM main.experiments))`)
	}
	res, err := q.ExecContext(ctx, `INSERT OR IGNORE INTO main.`+sqltext.Identifier(into)+` (`+strings.Join(names, ", ")+`) SELECT `+
		strings.Join(values, ", ")+` FROM `+schema+`.`+sqltext.Identifier(from)+` WHERE `+strings.Join(where, " AND "))
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// typed is true of a value that a STRICT column takes.
func typed(c column, value string) string {
	return `typeof(` + value + `) IN ('null', '` + strings.ToLower(c.kind) + `')`
}

// fillProcesses gives a run whose process was lost an empty one, as one that
// may have changed something.
func fillProcesses(ctx context.Context, q querier) error {
	_, err := q.ExecContext(ctx, `INSERT INTO run_process (run_id, changes, pid)
		SELECT run_id, 1, 0 FROM runs WHERE run_id NOT IN (SELECT run_id FROM run_process)`)
	return err
}

// dropAll drops every object but SQLite's own. Foreign keys must be off.
func dropAll(ctx context.Context, q querier) error {
	for _, kind := range []string{"trigger", "view", "index", "table"} {
		names, err := texts(ctx, q, `SELECT name FROM main.sqlite_schema
			WHERE type = '`+kind+`' AND sql IS NOT NULL AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
			ORDER BY sql LIKE 'CREATE VIRTUAL%' DESC, name`)
		if err != nil {
			return err
		}
		for _, name := range names {
			// IF EXISTS: a virtual table takes its shadow tables with it.
			if _, err := q.ExecContext(ctx, `DROP `+kind+` IF EXISTS main.`+sqltext.Identifier(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// column is a column as the database declares it.
type column struct {
	name, kind string
	required   bool // NOT NULL
	key        int  // place in the primary key, from 1; 0: not in it
}

// columnsOf returns a table's columns in order; none if there is no such table.
func columnsOf(ctx context.Context, q querier, schema, table string) ([]column, error) {
	rows, err := q.QueryContext(ctx, `SELECT name, type, "notnull", pk FROM pragma_table_info(?, ?) ORDER BY cid`, table, schema)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []column
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.name, &c.kind, &c.required, &c.key); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, rows.Err()
}

func texts(ctx context.Context, q querier, query string, args ...any) ([]string, error) {
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

// foreignKeyProblems lists rows that refer to none, by table.
func foreignKeyProblems(ctx context.Context, q querier) ([]metastore.Problem, error) {
	rows, err := q.QueryContext(ctx, `SELECT "table", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2 ORDER BY 1, 2`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var found []metastore.Problem
	for rows.Next() {
		var table, parent string
		var n int64
		if err := rows.Scan(&table, &parent, &n); err != nil {
			return nil, err
		}
		found = append(found, metastore.Problem{
			Object: table,
			What:   fmt.Sprintf("%d rows refer to rows of %s that do not exist", n, parent),
			Mend:   mendRows,
		})
	}
	return found, rows.Err()
}

const mendRows = "quant init-db --reset carries the sound rows over, after a backup"
