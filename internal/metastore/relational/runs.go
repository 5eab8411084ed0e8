package relational

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"quant"
	"quant/internal/metastore"
)

// detailColumns are those of a run r with its process p. A run whose process was
// lost still shows; it may have changed something.
var detailColumns = runTable.of("r") + `, ` + strings.NewReplacer(
	`p.run_id`, `r.run_id`, `p.changes`, `coalesce(p.changes, 1)`, `p.pid`, `coalesce(p.pid, 0)`,
).Replace(processTable.of("p"))

func scanDetail(d *metastore.RunDetail) []any {
	return append(runTable.scan(&d.Run), processTable.scan(&d.Process)...)
}

// CreateRun is documented at metastore.Runs.
func (db *DB) CreateRun(ctx context.Context, r quant.Run, p quant.RunProcess) error {
	if err := r.Validate(); err != nil {
		return err
	}
	switch {
	case r.Status != quant.Running:
		return quant.Errorf(quant.Invalid, "run %s: a new run is RUNNING, not %s", r.RunID, r.Status)
	case p.RunID != r.RunID:
		return quant.Errorf(quant.Invalid, "run %s: its process names run %q", r.RunID, p.RunID)
	}
	return db.Write(ctx, "create run "+r.RunID, "meta.start", func(ctx context.Context, q Querier) error {
		return db.insertRun(ctx, q, r, p)
	})
}

// insertRun stores a run with its process; Conflict if its id exists.
func (db *DB) insertRun(ctx context.Context, q Querier, r quant.Run, p quant.RunProcess) error {
	_, err := q.ExecContext(ctx, runTable.insert(), runTable.values(r)...)
	if db.dialect.Duplicate(err) {
		return quant.Errorf(quant.Conflict, "run %s exists already: %w", r.RunID, err)
	}
	if err != nil {
		return err
	}
	_, err = q.ExecContext(ctx, processTable.insert(), processTable.values(p)...)
	return err
}

// UpdateRunConfig is documented at metastore.Runs.
func (db *DB) UpdateRunConfig(ctx context.Context, runID string, config quant.JSON, b metastore.Batch) error {
	if err := validDocument("run "+runID, config); err != nil {
		return err
	}
	if err := b.Validate(); err != nil {
		return err
	}
	return db.Write(ctx, "update config of run "+runID, "meta.config", func(ctx context.Context, q Querier) error {
		res, err := q.ExecContext(ctx, `UPDATE runs SET config_json = ? WHERE run_id = ? AND status = 'RUNNING'`, config, runID)
		if err := mustChange(ctx, q, res, err, runID); err != nil {
			return err
		}
		return db.logBatch(ctx, q, b, runID)
	})
}

// FinishRun is documented at metastore.Runs.
func (db *DB) FinishRun(ctx context.Context, end metastore.RunEnd) error {
	if err := end.Validate(); err != nil {
		return err
	}
	return db.Write(ctx, "finish run "+end.RunID, "meta.finish", func(ctx context.Context, q Querier) error {
		return db.finishRun(ctx, q, end)
	})
}

func (db *DB) finishRun(ctx context.Context, q Querier, end metastore.RunEnd) error {
	res, err := q.ExecContext(ctx, `UPDATE runs SET status = ?, ended_at = ?, error_text = ? WHERE run_id = ? AND status = 'RUNNING'`,
		string(end.Status), end.EndedAt, quant.Text(end.ErrorText), end.RunID)
	if err := mustChange(ctx, q, res, err, end.RunID); err != nil {
		return err
	}
	_, err = q.ExecContext(ctx, `UPDATE run_process SET exit_code = ?, duration_us = ?, git_dirty = coalesce(?, git_dirty), facts = ? WHERE run_id = ?`,
		end.ExitCode, end.DurationUS, end.GitDirty, end.Facts, end.RunID)
	if err != nil {
		return err
	}
	for _, io := range end.IO {
		_, err := q.ExecContext(ctx, ioTable.insert(), ioTable.values(io)...)
		if db.dialect.Duplicate(err) {
			return quant.Errorf(quant.Invalid, "run %s: %s %s %q is given twice: %w", end.RunID, io.Direction, io.Kind, io.Name, err)
		}
		if err != nil {
			return err
		}
	}
	if end.Program != nil {
		if err := saveProgram(ctx, q, *end.Program); err != nil {
			return err
		}
	}
	return db.logBatch(ctx, q, end.Batch, end.RunID)
}

// mustChange tells an update of a RUNNING run that found none why.
func mustChange(ctx context.Context, q Querier, res sql.Result, err error, runID string) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	var status string
	switch err := q.QueryRowContext(ctx, `SELECT status FROM runs WHERE run_id = ?`, runID).Scan(&status); {
	case errors.Is(err, sql.ErrNoRows):
		return quant.Errorf(quant.NotFound, "run %s does not exist", runID)
	case err != nil:
		return err
	}
	return quant.Errorf(quant.Conflict, "run %s has ended already, as %s", runID, status)
}

func (db *DB) statusOf(ctx context.Context, q Querier, runID string) (quant.Status, error) {
	var status string
	err := q.QueryRowContext(ctx, `SELECT status FROM runs WHERE run_id = ?`, runID).Scan(&status)
	if errors.Is(err, sql.ErrNoRows) {
		return "", quant.Errorf(quant.NotFound, "run %s does not exist", runID)
	}
	return quant.Status(status), err
}

// SettleFacts is documented at metastore.Runs.
func (db *DB) SettleFacts(ctx context.Context, runID string, facts quant.Facts, errorText string) error {
	if err := facts.Validate(); err != nil {
		return quant.Errorf(quant.Invalid, "run %s: %w", runID, err)
	}
	if errorText == "" {
		return quant.Errorf(quant.Invalid, "run %s: a FAIL has error_text", runID)
	}
	return db.Write(ctx, "settle the facts of run "+runID, "", func(ctx context.Context, q Querier) error {
		res, err := q.ExecContext(ctx, `UPDATE runs SET error_text = ? WHERE run_id = ? AND status = 'FAIL'`, errorText, runID)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n > 0 {
			_, err := q.ExecContext(ctx, `UPDATE run_process SET facts = ? WHERE run_id = ?`, facts, runID)
			return err
		}
		var status string
		switch err := q.QueryRowContext(ctx, `SELECT status FROM runs WHERE run_id = ?`, runID).Scan(&status); {
		case errors.Is(err, sql.ErrNoRows):
			return quant.Errorf(quant.NotFound, "run %s does not exist", runID)
		case err != nil:
			return err
		}
		return quant.Errorf(quant.Conflict, "run %s is %s, and only a FAIL has error_text", runID, status)
	})
}

// GetRun is documented at metastore.Runs.
func (db *DB) GetRun(ctx context.Context, runID string) (metastore.RunDetail, error) {
	return get(ctx, db, "run "+runID,
		`SELECT `+detailColumns+` FROM runs r LEFT JOIN run_process p ON p.run_id = r.run_id WHERE r.run_id = ?`,
		runID, scanDetail)
}
