package relational

import (
	"context"
	"encoding/json"

	"quant"
	"quant/internal/metastore"
)

// RunIO is documented at metastore.Runs. A run without any, or no such run, is
// an empty list. Snapshots come last, so that a run on a lake lists the same before them
// as one on a file.
func (db *DB) RunIO(ctx context.Context, runID string) ([]quant.RunIO, error) {
	return list(ctx, db, "read inputs and outputs of run "+runID,
		`SELECT `+ioTable.columns+` FROM run_io WHERE run_id = ? ORDER BY direction, CASE kind WHEN '`+quant.IOSnapshot+`' THEN 1 ELSE 0 END, kind, name`,
		[]any{runID}, ioTable.scan)
}

// ListOutputs is documented at metastore.Runs. It reads all of run_io.
func (db *DB) ListOutputs(ctx context.Context, kind string) ([]quant.RunIO, error) {
	return list(ctx, db, "read outputs of all runs",
		`SELECT `+ioTable.columns+` FROM run_io WHERE direction = 'out' AND kind = ? ORDER BY run_id DESC, name`,
		[]any{kind}, ioTable.scan)
}

// IONames is documented at metastore.Runs. It reads all of run_io.
func (db *DB) IONames(ctx context.Context, kind string) ([]string, error) {
	return list(ctx, db, "read what runs read and wrote", `SELECT DISTINCT name FROM run_io WHERE kind = ? ORDER BY name`, []any{kind},
		func(name *string) []any { return []any{name} })
}

// EachClaim is documented at metastore.Runs. It reads the ids of the runs that have
// not succeeded and of all outputs, and of each such run its row by its key.
func (db *DB) EachClaim(ctx context.Context, fn func(metastore.Claim) error) error {
	const what = "read what runs say of facts"
	q, err := db.Reader(ctx)
	if err != nil {
		return err
	}
	rows, err := q.QueryContext(ctx, `SELECT c.* FROM (SELECT d.run_id, r.kind, r.status, coalesce(p.facts, '') AS facts,
			CASE WHEN p.facts = 'not_checked' THEN r.error_text ELSE '' END AS error_text, coalesce(p.changes, 0) AS changes,
			EXISTS (SELECT 1 FROM run_imports i WHERE i.run_id = r.run_id) AS imported,
			coalesce((SELECT `+db.dialect.TextArray("name")+` FROM run_io o WHERE o.run_id = r.run_id AND direction = 'out' AND kind = 'table' AND rows > 0), '[]') AS tables
		FROM (SELECT run_id FROM runs INDEXED BY runs_status WHERE status IN ('FAIL', 'RUNNING')
			UNION SELECT run_id FROM run_io WHERE direction = 'out' AND kind = 'table' AND rows > 0 ORDER BY run_id DESC) d
		CROSS JOIN runs r ON r.run_id = d.run_id LEFT JOIN run_process p ON p.run_id = r.run_id
		) c WHERE c.facts <> '' OR c.tables <> '[]'
		ORDER BY c.run_id DESC`)
	if err != nil {
		return db.Classify(what, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var c metastore.Claim
		var tables []byte
		if err := rows.Scan(&c.RunID, &c.Kind, &c.Status, &c.Facts, &c.ErrorText, &c.Changes, &c.Imported, &tables); err != nil {
			return db.unreadable(what, err)
		}
		if err := json.Unmarshal(tables, &c.Tables); err != nil {
			return db.unreadable(what, err)
		}
		if err := fn(c); err != nil {
			return err
		}
	}
	return db.Classify(what, rows.Err())
}
