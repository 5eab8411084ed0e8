package factstore

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"quant"
	"quant/internal/failpoint"
	"quant/internal/sqltext"
)

// Tx is one write transaction, valid until the function that was given it
// returns.
type Tx struct {
	// Now is the transaction's time, the ledger's committed_at: UTC,
	// microseconds, later than that of every earlier transaction. What a run
	// stores as ingested_at, computed_at, generated_at or created_at is this.
	Now   time.Time
	RunID string

	db      *DB
	changes map[string]*LedgerRow
}

// Write runs fn in one transaction. When fn returns nil, each table that
// changed (by Tx.Merge, Tx.Insert, Tx.Update or Tx.Delete) gets one ledger row in the same
// transaction, which is then committed, and the rows are returned in table
// order. If nothing was counted it is rolled back and Write returns no rows.
// An error or a panic of fn, or the end of ctx before the commit, rolls back;
// a commit that has begun is not interrupted. After an error State says what
// became of the facts.
func (db *DB) Write(ctx context.Context, runID string, fn func(context.Context, *Tx) error) (_ []LedgerRow, err error) {
	return db.WriteAll(ctx, []string{runID}, func(ctx context.Context, txs []*Tx) error { return fn(ctx, txs[0]) })
}

// WriteAll is Write for several runs in one transaction of the file: all of them
// commit, or none. Each has a Tx of its own, with a Now of its own, in the order of
// the runs, and ledger rows of its own, as if it had committed alone.
func (db *DB) WriteAll(ctx context.Context, runIDs []string, fn func(context.Context, []*Tx) error) (_ []LedgerRow, err error) {
	if len(runIDs) == 0 || slices.Contains(runIDs, "") {
		return nil, quant.Errorf(quant.Invalid, "write facts: run_id is missing")
	}
	if db.readOnly {
		return nil, quant.Errorf(quant.Failed, "write facts: fact db %s is open for reading only", db.path)
	}
	if db.writing {
		return nil, quant.Errorf(quant.Failed, "write facts: a transaction is open already")
	}
	db.writing, db.reshaped = true, false
	defer func() { db.writing = false }()
	if err := begin(ctx, db.conn, "BEGIN"); err != nil {
		return nil, db.failure(ctx, "begin", err)
	}
	open := true
	defer func() {
		if open { // error, panic, or nothing to commit
			rollBack(ctx, db.conn)
			db.sets, db.setsKnown = nil, false
		}
	}()
	var begun int64 // the snapshot of a lake
	if db.lake != nil {
		if err := db.passFence(ctx); err != nil {
			return nil, err
		}
		if !db.lake.locked {
			if err := db.conn.QueryRowContext(ctx, currentSnapshot).Scan(&begun); err != nil {
				return nil, db.failure(ctx, "begin", err)
			}
		}
	}
	now, err := db.nextTime(ctx)
	if err != nil {
		return nil, err
	}
	txs := make([]*Tx, len(runIDs))
	for i, runID := range runIDs {
		txs[i] = &Tx{Now: now.Add(time.Duration(i) * time.Microsecond), RunID: runID, db: db, changes: map[string]*LedgerRow{}}
	}
	if err := fn(ctx, txs); err != nil {
		if ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
			// A statement that was ended leaves the transaction aborted, and the next
			// one says only that.
			return nil, quant.Errorf(quant.Failed, "write facts: %w", context.Cause(ctx))
		}
		return nil, err
	}
	var rows []LedgerRow
	for _, tx := range txs {
		written, err := tx.writeLedger(ctx)
		if err != nil {
			return nil, err
		}
		rows = append(rows, written...)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	if ctx.Err() != nil {
		return nil, quant.Errorf(quant.Failed, "write facts: %w", context.Cause(ctx))
	}
	if db.lake != nil {
		release, err := db.takeTurn(ctx, begun)
		if err != nil {
			return nil, err
		}
		defer release()
	}
	if err := db.renewKeys(ctx); err != nil { // small changes become files now
		return nil, err
	}
	failpoint.Hit("fact.commit.before")
	commit := func() error {
		open = false
		earlier := db.State()
		db.setState(Unknown)
		if _, err := db.conn.ExecContext(context.WithoutCancel(ctx), "COMMIT"); err != nil {
			db.sets, db.setsKnown = nil, false
			return db.afterFailedCommit(context.WithoutCancel(ctx), runIDs, now, txs[len(txs)-1].Now, earlier, err)
		}
		db.setState(Committed)
		return nil
	}
	if db.o.Fence == nil {
		err = commit()
	} else {
		err = db.o.Fence(context.WithoutCancel(ctx), runIDs, commit)
	}
	if err != nil {
		return nil, err
	}
	failpoint.Hit("fact.commit.after")
	if db.lake != nil {
		db.lake.fence++
		db.noteCommit(context.WithoutCancel(ctx))
	} else if db.reshaped {
		// The facts are committed, whatever becomes of it: see makeSchema.
		_, _ = db.conn.ExecContext(context.WithoutCancel(ctx), "CHECKPOINT")
	}
	return rows, nil
}

func (db *DB) setState(c Commit) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.state = c
}

// nextTime is the time of the transaction that has begun.
func (db *DB) nextTime(ctx context.Context) (time.Time, error) {
	var last sql.NullTime
	if err := db.conn.QueryRowContext(ctx, "SELECT max(committed_at) FROM ledger").Scan(&last); err != nil {
		return time.Time{}, db.failure(ctx, "read the ledger", err)
	}
	now := quant.NewTime(db.o.Now()).Time
	if last.Valid && !now.After(last.Time) {
		now = last.Time.UTC().Add(time.Microsecond)
	}
	return now, nil
}

func (tx *Tx) writeLedger(ctx context.Context) ([]LedgerRow, error) {
	var rows []LedgerRow
	var values []string
	var args []any
	for _, table := range slices.Sorted(maps.Keys(tx.changes)) {
		row := *tx.changes[table]
		if row.Inserted == 0 && row.Updated == 0 && row.Deleted == 0 {
			continue
		}
		row.RunID, row.Table, row.CommittedAt = tx.RunID, table, quant.NewTime(tx.Now)
		values = append(values, "(?, ?, ?, ?, ?, ?)")
		args = append(args, row.RunID, row.Table, row.Inserted, row.Updated, row.Deleted, tx.Now)
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	if _, err := tx.affected(ctx, "INSERT INTO ledger VALUES "+strings.Join(values, ", "), args...); err != nil {
		return nil, tx.db.failure(ctx, "write the ledger", err)
	}
	return rows, nil
}

// afterFailedCommit asks the database what became of a COMMIT that failed.
func (db *DB) afterFailedCommit(ctx context.Context, runIDs []string, first, last time.Time, earlier Commit, cause error) error {
	rollBack(ctx, db.conn)
	var these int64
	err := db.conn.QueryRowContext(ctx, "SELECT count(*) FROM ledger WHERE committed_at BETWEEN ? AND ? AND run_id IN (SELECT unnest(string_split(?, ',')))", first, last, strings.Join(runIDs, ",")).Scan(&these)
	what := "nothing was committed"
	switch {
	case err != nil:
		what = "whether it was committed is not known until the file is opened again"
	case these > 0:
		db.setState(Committed)
		what = "but the facts are committed"
	default:
		db.setState(earlier)
		if db.lake != nil && conflicts(cause) {
			return db.overtaken()
		}
	}
	if told := db.told(cause); quant.CodeOf(told) == quant.Store {
		return quant.Errorf(quant.Store, "commit failed (%s): %w", what, told).WithHint("%s", quant.HintOf(told))
	}
	return quant.Errorf(quant.Store, "commit to fact db %s failed (%s): %s", db.path, what, firstLine(cause)).
		WithHint("check the free space; `quant doctor` compares runs and facts")
}

// failure wraps an error of a statement on the open file.
func (db *DB) failure(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return quant.Errorf(quant.Failed, "%s in fact db %s: %w", doing, db.path, context.Cause(ctx))
	}
	if err = db.told(err); quant.CodeOf(err) == quant.Store && (db.lake != nil || errors.Is(err, ErrDamaged)) {
		return quant.Errorf(quant.Store, "%s: %w", doing, err).WithHint("%s", quant.HintOf(err))
	}
	return &quant.Error{Code: quant.Store, Err: err, Msg: doing + " in fact db " + db.path + ": " + firstLine(err),
		Hint: "check the free space; `quant doctor` examines the file"}
}

// Stage is DB.Stage within the transaction.
func (tx *Tx) Stage(ctx context.Context, query string, args ...any) (int64, error) {
	return tx.db.Stage(ctx, query, args...)
}

// Query is DB.Query within the transaction.
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return tx.db.Query(ctx, query, args...)
}

// QueryRow is DB.QueryRow within the transaction.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) Row {
	return tx.db.QueryRow(ctx, query, args...)
}

// Insert, Update and Delete reach of features_daily and returns only the rows that no
// table of a feature version holds; Store and Remove reach the others. Rows in codes are
// taken out of them before they are updated or deleted: see coded.go.

// Insert inserts into a table what a query selects, counts the rows, and returns
// their number. rows is what follows the table's name in INSERT INTO: a query,
// with the columns in front of it in brackets where they are not all of them.
func (tx *Tx) Insert(ctx context.Context, table, rows string, args ...any) (int64, error) {
	n, err := tx.change(ctx, "insert into", table, "INSERT INTO "+factTable(tx.db.longTable(table))+" "+rows, args...)
	if err == nil {
		tx.count(table, n, 0, 0)
	}
	return n, err
}

// InsertColumns is Insert of rows that Go holds, those of several Tx of one
// transaction in one statement: rows has the columns of each, called as the
// table's, without its stamp, which is set. Columns of a type TIMESTAMP are
// microseconds.
func InsertColumns(ctx context.Context, db *DB, txs []*Tx, table string, rows [][]Column) error {
	if c, ok := db.coded(table); ok {
		if err := insertCoded(ctx, db, txs, c, rows); err != nil {
			return db.failed(ctx, "insert into "+table, err)
		}
		return nil
	}
	t, _ := LookupTable(table)
	var parts [][]Column
	for i, tx := range txs {
		n := rows[i][0].rows()
		if n == 0 {
			continue
		}
		part := slices.Clip(rows[i])
		if t.Stamp != "" {
			part = append(part, Column{Name: t.Stamp, Bigints: slices.Repeat([]int64{tx.Now.UnixMicro()}, n)})
		}
		parts = append(parts, part)
		tx.count(table, int64(n), 0, 0)
	}
	if len(parts) == 0 {
		return nil
	}
	return txs[0].insertHeld(ctx, table, table, joinColumns(parts))
}

// insertHeld inserts rows that Go holds into a table, or into the one of its codes, and
// counts nothing. They are in one relation, for DuckDB stores whole row groups at once,
// and what is left of each relation a second time.
func (tx *Tx) insertHeld(ctx context.Context, table, into string, held []Column) error {
	db := tx.db
	types, err := columns(ctx, db.conn, catalog)
	if err != nil {
		return db.failure(ctx, "list tables", err)
	}
	relation, release, err := db.Hold(held...)
	if err != nil {
		return err
	}
	defer release()
	names, values := make([]string, len(held)), make([]string, len(held))
	for k, c := range held {
		names[k] = sqltext.Identifier(c.Name)
		values[k] = names[k]
		if slices.Contains(types[into], column{Name: c.Name, Type: "TIMESTAMP"}) {
			values[k] = "make_timestamp(" + names[k] + ")"
		}
	}
	n, err := tx.change(ctx, "insert into", table, "INSERT INTO "+factTable(into)+" ("+strings.Join(names, ", ")+") SELECT "+strings.Join(values, ", ")+" FROM "+relation)
	if err != nil {
		return db.failure(ctx, "insert into "+table, err)
	}
	if want := int64(held[0].rows()); n != want {
		return quant.Errorf(quant.Failed, "insert into %s: %d rows were stored, and %d belong to the runs", table, n, want)
	}
	return nil
}

// Update changes rows of a table, counts them, and returns their number. set is
// what follows SET in UPDATE, with the condition.
func (tx *Tx) Update(ctx context.Context, table, set string, args ...any) (int64, error) {
	if err := tx.takeOut(ctx, table, "true"); err != nil {
		return 0, tx.db.failure(ctx, "update "+table, err)
	}
	n, err := tx.change(ctx, "update", table, "UPDATE "+factTable(tx.db.longTable(table))+" SET "+set, args...)
	if err == nil {
		tx.count(table, 0, n, 0)
	}
	return n, err
}

// Delete deletes the rows of a table for which where holds ("" is Invalid: say
// "true"), counts them, and returns their number.
func (tx *Tx) Delete(ctx context.Context, table, where string, args ...any) (int64, error) {
	if where == "" {
		return 0, quant.Errorf(quant.Invalid, "delete from %s: no condition", table)
	}
	if err := tx.takeOut(ctx, table, where, args...); err != nil {
		return 0, tx.db.failure(ctx, "delete from "+table, err)
	}
	n, err := tx.change(ctx, "delete from", table, "DELETE FROM "+factTable(tx.db.longTable(table))+" WHERE "+where, args...)
	if err != nil {
		return 0, tx.db.failure(ctx, "delete from "+table, err)
	}
	tx.count(table, 0, 0, n)
	return n, nil
}

// change runs one statement that changes a fact table.
func (tx *Tx) change(ctx context.Context, doing, table, query string, args ...any) (int64, error) {
	if t, known := LookupTable(table); !known || t.Name == Ledger || t.Name == schemaVersions {
		return 0, quant.Errorf(quant.Invalid, "%s %s: it is no table for facts", doing, table)
	}
	return tx.runChange(ctx, doing, query, args...)
}

// runChange runs one statement that inserts, updates or deletes.
func (tx *Tx) runChange(ctx context.Context, doing, query string, args ...any) (int64, error) {
	if err := tx.db.mustBe(ctx, doing, query, duckdb.STATEMENT_TYPE_INSERT, duckdb.STATEMENT_TYPE_UPDATE, duckdb.STATEMENT_TYPE_DELETE); err != nil {
		return 0, err
	}
	return tx.affected(ctx, query, args...)
}

// Replaced counts n rows of a table, each deleted and inserted in this
// transaction, as updated.
func (tx *Tx) Replaced(table string, n int64) { tx.count(table, -n, n, -n) }

// count adds changes of a table to the ledger.
func (tx *Tx) count(table string, inserted, updated, deleted int64) {
	row := tx.changes[table]
	if row == nil {
		row = &LedgerRow{}
		tx.changes[table] = row
	}
	row.Inserted += inserted
	row.Updated += updated
	row.Deleted += deleted
}

// affected runs a statement of this package.
func (tx *Tx) affected(ctx context.Context, query string, args ...any) (int64, error) {
	return tx.db.affected(ctx, query, args...)
}

// factTable names a table of the file, which no TEMP table of that name hides.
func factTable(name string) string { return catalog + ".main." + sqltext.Identifier(name) }
