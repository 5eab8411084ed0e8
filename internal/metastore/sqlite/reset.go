package sqlite

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/relational"
	"quant/internal/sqltext"
)

// carriedTables are the tables that Reset carries over, parents first.
func carriedTables() []string { return relational.RunsAndRegistered() }

// Reset is documented at metastore.FileStore. Errors: Failed inside a Tx; Store,
// marked metastore.ErrDamaged, when what is to be carried over cannot be read (move the
// file aside and salvage it then); nothing is changed after an error.
func (db *DB) Reset(ctx context.Context, backupPath string) (metastore.Carried, error) {
	none := metastore.Carried{}
	if db.InTx(ctx) {
		return none, quant.Errorf(quant.Failed, "reset meta db %s: not inside a transaction", db.Shown)
	}
	release, err := db.Queue(ctx)
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
		return none, db.Classify("reset", err)
	}
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return none, db.Classify("reset", err)
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
		return none, db.Classify("reset", err)
	}
	return carried, nil
}

func reset(ctx context.Context, tx *sql.Tx, schema []migration) (metastore.Carried, error) {
	carried := metastore.Carried{Rows: map[string]int64{}, Lost: map[string]int64{}}
	held := map[string]int64{}
	for _, table := range carriedTables() {
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
	for _, table := range carriedTables() {
		if _, ok := held[table]; !ok {
			continue
		}
		n, err := copyRows(ctx, tx, "temp", "carried_"+table, table)
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
	return carried, relational.FillMetrics(ctx, tx)
}

// copyRows inserts those rows of a table of another schema that this one's rules
// accept, by the columns that both have, and returns their number. Foreign
// keys that are missed also keep a row out.
func copyRows(ctx context.Context, q relational.Querier, schema, from, into string) (int64, error) {
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
	for _, r := range relational.Registered() {
		if r.Table == into && r.Parent != "" {
			where = append(where, r.Parent)
		}
	}
	switch {
	case slices.Contains(relational.Companions(), into):
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

// fillProcesses gives a run whose process was lost an empty one, as one that
// may have changed something.
func fillProcesses(ctx context.Context, q relational.Querier) error {
	_, err := q.ExecContext(ctx, `INSERT INTO run_process (run_id, changes, pid)
		SELECT run_id, 1, 0 FROM runs WHERE run_id NOT IN (SELECT run_id FROM run_process)`)
	return err
}

// dropAll drops every object but SQLite's own. Foreign keys must be off.
func dropAll(ctx context.Context, q relational.Querier) error {
	for _, kind := range []string{"trigger", "view", "index", "table"} {
		names, err := relational.Texts(ctx, q, `SELECT name FROM main.sqlite_schema
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
