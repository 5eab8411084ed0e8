package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"

	"quant"
	"quant/internal/metastore"
)

const (
	runColumns     = `run_id, kind, status, started_at, ended_at, config_json, error_text`
	processColumns = `run_id, changes, parent_run_id, host, user, machine_id, boot_id, pid, process_start, live_lock, ` +
		`binary_version, binary_commit, git_commit, git_dirty, argv, work_dir, exit_code, duration_us, facts`
	// A run whose process was lost still shows; it may have changed something.
	detailColumns = `r.run_id, r.kind, r.status, r.started_at, r.ended_at, r.config_json, r.error_text, ` +
		`r.run_id, coalesce(p.changes, 1), p.parent_run_id, p.host, p.user, p.machine_id, p.boot_id, coalesce(p.pid, 0), p.process_start, p.live_lock, ` +
		`p.binary_version, p.binary_commit, p.git_commit, p.git_dirty, p.argv, p.work_dir, p.exit_code, p.duration_us, p.facts`
	ioColumns = `run_id, direction, kind, name, rows, first_date, last_date, digest`
)

func scanDetail(d *metastore.RunDetail) []any {
	p := &d.Process
	return []any{
		&d.RunID, &d.Kind, &d.Status, &d.StartedAt, &d.EndedAt, &d.ConfigJSON, &d.ErrorText,
		&p.RunID, &p.Changes, &p.ParentRunID, &p.Host, &p.User, &p.MachineID, &p.BootID, &p.PID, &p.ProcessStart, &p.LiveLock,
		&p.BinaryVersion, &p.BinaryCommit, &p.GitCommit, &p.GitDirty, &p.Argv, &p.WorkDir, &p.ExitCode, &p.DurationUS, &p.Facts,
	}
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
	return db.write(ctx, "create run "+r.RunID, "meta.start", func(ctx context.Context, q querier) error {
		return insertRun(ctx, q, r, p)
	})
}

// insertRun stores a run with its process; Conflict if its id exists.
func insertRun(ctx context.Context, q querier, r quant.Run, p quant.RunProcess) error {
	_, err := q.ExecContext(ctx, `INSERT INTO runs (`+runColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		r.RunID, r.Kind, string(r.Status), r.StartedAt, r.EndedAt, r.ConfigJSON, r.ErrorText)
	if is(err, sqlite3.ErrConstraintPrimaryKey, sqlite3.ErrConstraintUnique) {
		return quant.Errorf(quant.Conflict, "run %s exists already: %w", r.RunID, err)
	}
	if err != nil {
		return err
	}
	_, err = q.ExecContext(ctx, `INSERT INTO run_process (`+processColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		p.RunID, p.Changes, p.ParentRunID, p.Host, p.User, p.MachineID, p.BootID, p.PID, p.ProcessStart, p.LiveLock,
		p.BinaryVersion, p.BinaryCommit, p.GitCommit, p.GitDirty, p.Argv, p.WorkDir, p.ExitCode, p.DurationUS, p.Facts)
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
	return db.write(ctx, "update config of run "+runID, "meta.config", func(ctx context.Context, q querier) error {
		res, err := q.ExecContext(ctx, `UPDATE runs SET config_json = ? WHERE run_id = ? AND status = 'RUNNING'`, config, runID)
		if err := mustChange(ctx, q, res, err, runID); err != nil {
			return err
		}
		return logBatch(ctx, q, b)
	})
}

// FinishRun is documented at metastore.Runs.
func (db *DB) FinishRun(ctx context.Context, end metastore.RunEnd) error {
	if err := end.Validate(); err != nil {
		return err
	}
	return db.write(ctx, "finish run "+end.RunID, "meta.finish", func(ctx context.Context, q querier) error {
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
			_, err := q.ExecContext(ctx, `INSERT INTO run_io (`+ioColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
				io.RunID, string(io.Direction), io.Kind, io.Name, io.Rows, io.FirstDate, io.LastDate, io.Digest)
			if is(err, sqlite3.ErrConstraintPrimaryKey, sqlite3.ErrConstraintUnique) {
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
		return logBatch(ctx, q, end.Batch)
	})
}

// mustChange tells an update of a RUNNING run that found none why.
func mustChange(ctx context.Context, q querier, res sql.Result, err error, runID string) error {
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

// SettleFacts is documented at metastore.Runs.
func (db *DB) SettleFacts(ctx context.Context, runID string, facts quant.Facts, errorText string) error {
	if err := facts.Validate(); err != nil {
		return quant.Errorf(quant.Invalid, "run %s: %w", runID, err)
	}
	if errorText == "" {
		return quant.Errorf(quant.Invalid, "run %s: a FAIL has error_text", runID)
	}
	return db.write(ctx, "settle the facts of run "+runID, "", func(ctx context.Context, q querier) error {
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

// ListRuns is documented at metastore.Runs. With several filters it costs what
// the strongest of them returns, taken as parent, then kind, then status, then
// the runs that may change something.
func (db *DB) ListRuns(ctx context.Context, f metastore.RunFilter) ([]metastore.RunDetail, error) {
	query, args, err := listRuns(f)
	if err != nil {
		return nil, err
	}
	return list(ctx, db, "list runs", query, args, scanDetail)
}

// listRuns chooses the index, by what the join begins with (CROSS JOIN keeps
// the order) and by the + that keeps a column from its index; left to itself
// the planner guesses, having no statistics.
func listRuns(f metastore.RunFilter) (query string, args []any, err error) {
	switch f.Status {
	case "", quant.Running, quant.Success, quant.Fail:
	default:
		return "", nil, quant.Errorf(quant.Invalid, "runs: status %q is none of RUNNING, SUCCESS, FAIL", f.Status)
	}
	if f.Limit < 0 {
		return "", nil, quant.Errorf(quant.Invalid, "runs: limit %d is negative", f.Limit)
	}
	var where []string
	add := func(clause string, arg any) {
		where = append(where, clause)
		args = append(args, arg)
	}
	from := `runs r LEFT JOIN run_process p ON p.run_id = r.run_id`
	key := "r.run_id"
	switch {
	case f.Parent != "":
		from, key = `run_process p CROSS JOIN runs r ON r.run_id = p.run_id`, "p.run_id"
		add(`p.parent_run_id = ?`, f.Parent)
		if f.Kind != "" {
			add(`r.kind = ?`, f.Kind)
		}
		if f.Status != "" {
			add(`r.status = ?`, string(f.Status))
		}
		if !f.All {
			where = append(where, `+p.changes = 1`)
		}
	case f.Kind != "" && f.Status != quant.Running:
		add(`r.kind = ?`, f.Kind)
		if f.Status != "" {
			add(`+r.status = ?`, string(f.Status))
		}
		if !f.All {
			where = append(where, `coalesce(p.changes, 1) = 1`)
		}
	case f.Status != "":
		add(`r.status = ?`, string(f.Status))
		if f.Kind != "" {
			add(`+r.kind = ?`, f.Kind)
		}
		if !f.All {
			where = append(where, `coalesce(p.changes, 1) = 1`)
		}
	case !f.All:
		from, key = `run_process p INDEXED BY run_process_changes CROSS JOIN runs r ON r.run_id = p.run_id`, "p.run_id"
		where = append(where, `p.changes = 1`)
	}
	if !f.Since.IsZero() {
		add(key+` >= ?`, firstID(f.Since.Time))
		add(`+r.started_at >= ?`, f.Since)
	}
	if f.Except != "" {
		add(`+`+key+` <> ?`, f.Except)
	}
	switch {
	case f.Deleted:
		where = append(where, `EXISTS (SELECT 1 FROM run_deletions d WHERE d.run_id = `+key+`)`)
	case f.Status != quant.Running: // a run that runs is never hidden
		where = append(where, `NOT EXISTS (SELECT 1 FROM run_deletions d WHERE d.run_id = `+key+`)`)
	}
	columns := detailColumns
	if f.Brief {
		columns = strings.NewReplacer(`r.config_json`, `NULL`, `p.argv`, `NULL`).Replace(columns)
	}
	query = `SELECT ` + columns + ` FROM ` + from
	if len(where) > 0 {
		query += ` WHERE ` + strings.Join(where, ` AND `)
	}
	query += ` ORDER BY ` + key + ` DESC`
	if f.Limit > 0 {
		query += ` LIMIT ?`
		args = append(args, f.Limit)
	}
	return query, args, nil
}

// firstID is a lower bound of the ids of runs started at or after t. The head
// of an id is the time of its making in milliseconds, which may be read from
// the clock just before started_at; hence the second.
func firstID(t time.Time) string {
	ms := max(t.Add(-time.Second).UnixMilli(), 0)
	b := []byte{byte(ms >> 40), byte(ms >> 32), byte(ms >> 24), byte(ms >> 16), byte(ms >> 8), byte(ms)}
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:]
}

// ResolveRun is documented at metastore.Runs. An empty ref, or one with
// anything but digits a-f and hyphens, names no run.
func (db *DB) ResolveRun(ctx context.Context, ref string) ([]string, error) {
	if ref == "" || strings.Trim(ref, "0123456789abcdef-") != "" || len(ref) > 36 {
		return nil, nil
	}
	const what = "resolve run"
	one := func(id *string) []any { return []any{id} }
	if len(ref) == 36 {
		return list(ctx, db, what, `SELECT run_id FROM runs WHERE run_id = ?`, []any{ref}, one)
	}
	query, args := resolveRun(ref)
	ids, err := list(ctx, db, what, query, args, one)
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	ids = slices.Compact(ids)
	return ids[:min(len(ids), 3)], nil
}

// resolveRun finds up to three ids by their beginning and three by their end.
// "g" is greater than any character of an id.
func resolveRun(ref string) (query string, args []any) {
	query = `SELECT * FROM (SELECT run_id FROM runs WHERE run_id >= ?1 AND run_id < ?1 || 'g' ORDER BY run_id DESC LIMIT 3)`
	if len(ref) >= 4 {
		query += ` UNION ALL SELECT * FROM (SELECT run_id FROM runs WHERE substr(run_id, -4) = substr(?1, -4)` +
			` AND substr(run_id, -length(?1)) = ?1 ORDER BY run_id DESC LIMIT 3)`
	}
	return query, []any{ref}
}

// ListOutputs is documented at metastore.Runs. It reads all of run_io.
func (db *DB) ListOutputs(ctx context.Context, kind string) ([]quant.RunIO, error) {
	return list(ctx, db, "read outputs of all runs",
		`SELECT `+ioColumns+` FROM run_io WHERE direction = 'out' AND kind = ? ORDER BY run_id DESC, name`,
		[]any{kind}, scanIO)
}

func scanIO(io *quant.RunIO) []any {
	return []any{&io.RunID, &io.Direction, &io.Kind, &io.Name, &io.Rows, &io.FirstDate, &io.LastDate, &io.Digest}
}

// RunIO is documented at metastore.Runs. A run without any, or no such run, is
// an empty list.
func (db *DB) RunIO(ctx context.Context, runID string) ([]quant.RunIO, error) {
	return list(ctx, db, "read inputs and outputs of run "+runID,
		`SELECT `+ioColumns+` FROM run_io WHERE run_id = ? ORDER BY direction, kind, name`,
		[]any{runID}, scanIO)
}
