package relational

import (
	"context"
	"strings"

	"quant"
	"quant/internal/metastore"
)

// runningOn are the RUNNING runs of a machine. The index has little else than
// these, and no run of another machine is looked at.
const runningOn = ` FROM run_process p INDEXED BY run_process_running CROSS JOIN runs r ON r.run_id = p.run_id
	WHERE p.machine_id = ? AND p.exit_code IS NULL AND p.facts IS NULL AND +r.status = 'RUNNING'`

// RunningOn is documented at metastore.Runs.
func (db *DB) RunningOn(ctx context.Context, machineID, before string, limit int) ([]metastore.RunDetail, error) {
	if limit < 0 {
		return nil, quant.Errorf(quant.Invalid, "runs: limit %d is negative", limit)
	}
	query, args := `SELECT `+briefly(detailColumns)+runningOn, []any{machineID}
	if before != "" {
		query += ` AND p.run_id < ?`
		args = append(args, before)
	}
	query += ` ORDER BY p.run_id DESC`
	if limit > 0 {
		query += ` LIMIT ?`
		args = append(args, limit)
	}
	return list(ctx, db, "list running runs", query, args, scanDetail)
}

// briefly leaves out of the columns of a run those that can be long.
func briefly(columns string) string {
	return strings.NewReplacer(`r.config_json`, `NULL`, `p.argv`, `NULL`).Replace(columns)
}

// CountRunningOn is documented at metastore.Runs.
func (db *DB) CountRunningOn(ctx context.Context, machineID string) (n int64, err error) {
	q, err := db.Reader(ctx)
	if err != nil {
		return 0, err
	}
	err = q.QueryRowContext(ctx, `SELECT count(*)`+runningOn, machineID).Scan(&n)
	return n, db.Classify("count running runs", err)
}

// FinishRuns is documented at metastore.Runs.
func (db *DB) FinishRuns(ctx context.Context, runIDs []string, end metastore.RunEnd) (closed []string, err error) {
	if err := end.Validate(); err != nil {
		return nil, err
	}
	if end.RunID != "" || end.ExitCode != nil || end.DurationUS != nil || end.GitDirty != nil || end.Program != nil || len(end.IO) > 0 || end.Batch.Len() > 0 {
		return nil, quant.Errorf(quant.Invalid, "finish runs: an end of several runs has nothing that belongs to one")
	}
	if len(runIDs) == 0 {
		return nil, nil
	}
	wanted := listed(runIDs)
	err = db.Write(ctx, "finish runs", "meta.finish", func(ctx context.Context, q Querier) error {
		if err := db.lockRuns(ctx, q, runIDs); err != nil {
			return err
		}
		// By key, not by the index of statuses: most runs that have it are others.
		closed, err = Texts(ctx, q, `UPDATE runs SET status = ?, ended_at = ?, error_text = ?
			WHERE run_id IN (SELECT value FROM json_each(?)) AND +status = 'RUNNING' RETURNING run_id`,
			string(end.Status), end.EndedAt, quant.Text(end.ErrorText), wanted)
		if err != nil || len(closed) == 0 {
			return err
		}
		ended := listed(closed)
		_, err = q.ExecContext(ctx, `UPDATE run_process SET facts = ? WHERE run_id IN (SELECT value FROM json_each(?))`, end.Facts, ended)
		return err
	})
	if err != nil {
		return nil, err
	}
	return closed, nil
}
