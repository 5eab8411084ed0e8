package relational

import (
	"context"
	"database/sql"

	"quant"
	"quant/internal/metastore"
)

// DeleteRuns is documented at metastore.Deletions.
func (db *DB) DeleteRuns(ctx context.Context, deletions []quant.Deletion) (marked []string, err error) {
	err = db.Write(ctx, "delete runs", "meta.delete", func(ctx context.Context, q Querier) error {
		marked = nil
		ids := make([]string, len(deletions))
		for i, d := range deletions {
			ids[i] = d.RunID
		}
		if err := db.lockRuns(ctx, q, ids); err != nil {
			return err
		}
		for _, d := range deletions {
			status, err := db.statusOf(ctx, q, d.RunID)
			if err != nil {
				return err
			}
			if status == quant.Running {
				return quant.Errorf(quant.Conflict, "run %s is RUNNING, and a run that runs is not deleted", d.RunID).
					WithHint("wait for its end, or end it first; `quant runs close` ends one whose process is gone")
			}
			res, err := q.ExecContext(ctx, deletionTable.insert()+` ON CONFLICT DO NOTHING`, deletionTable.values(d)...)
			if marked, err = counted(marked, d.RunID, res, err); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return marked, nil
}

// counted adds a run to a list if a statement changed something of it.
func counted(list []string, runID string, res sql.Result, err error) ([]string, error) {
	if err != nil {
		return list, err
	}
	n, err := res.RowsAffected()
	if n > 0 {
		list = append(list, runID)
	}
	return list, err
}

// RestoreRuns is documented at metastore.Deletions.
func (db *DB) RestoreRuns(ctx context.Context, runIDs []string) (restored []string, err error) {
	err = db.Write(ctx, "restore runs", "meta.undelete", func(ctx context.Context, q Querier) error {
		restored = nil
		if err := db.lockRuns(ctx, q, runIDs); err != nil {
			return err
		}
		for _, id := range runIDs {
			if _, err := db.statusOf(ctx, q, id); err != nil {
				return err
			}
			res, err := q.ExecContext(ctx, `DELETE FROM run_deletions WHERE run_id = ?`, id)
			if restored, err = counted(restored, id, res, err); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return restored, nil
}

// PurgeRuns is documented at metastore.Deletions.
func (db *DB) PurgeRuns(ctx context.Context, runIDs []string) error {
	all := listed(runIDs)
	return db.Write(ctx, "purge runs", "meta.purge", func(ctx context.Context, q Querier) error {
		if err := db.lockRuns(ctx, q, runIDs); err != nil {
			return err
		}
		for _, id := range runIDs {
			if _, err := db.statusOf(ctx, q, id); err != nil {
				return err
			}
			var deleted, reset bool
			var child, made sql.NullString
			err := q.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM run_deletions WHERE run_id = ?1),
				(SELECT run_id FROM run_process WHERE parent_run_id = ?1 AND run_id NOT IN (SELECT value FROM json_each(?2)) LIMIT 1),
				(SELECT m.model_id FROM run_io i JOIN models m ON m.model_id = i.name WHERE i.run_id = ?1 AND i.direction = 'out' AND i.kind = 'model' LIMIT 1),
				EXISTS (SELECT 1 FROM run_io i JOIN runs r ON r.run_id = i.run_id WHERE i.run_id = ?1 AND r.kind = 'init-db' AND i.direction = 'out' AND i.kind = 'backup')`,
				id, all).Scan(&deleted, &child, &made, &reset)
			switch {
			case err != nil:
				return err
			case !deleted:
				return quant.Errorf(quant.Conflict, "run %s is not deleted, and only a deleted run is purged", id).
					WithHint("quant runs delete %s hides it, and can be undone; then purge it", id)
			case reset:
				return quant.Errorf(quant.Refused, "run %s made the databases anew, and tells where the facts of earlier runs are", id).
					WithHint("leave it deleted: lists do not show it")
			case child.Valid:
				return quant.Errorf(quant.Refused, "run %s is the parent of run %s, which would lead to nothing", id, child.String).
					WithHint("`quant runs delete --children` and then `quant runs purge --children` take them along")
			case made.Valid:
				return quant.Errorf(quant.Refused, "run %s made model %s, and every number leads back to its run", id, made.String).
					WithHint("leave it deleted: lists do not show it")
			}
		}
		for _, id := range runIDs {
			if _, err := q.ExecContext(ctx, `DELETE FROM runs WHERE run_id = ?`, id); err != nil { // companions go with it
				return err
			}
		}
		return nil
	})
}

// Deletions is documented at metastore.Deletions.
func (db *DB) Deletions(ctx context.Context, before quant.Time) ([]quant.Deletion, error) {
	where, args := "", []any(nil)
	if !before.IsZero() {
		where, args = ` WHERE deleted_at < ?`, []any{before}
	}
	return list(ctx, db, "list deletions", `SELECT `+deletionTable.columns+` FROM run_deletions`+where+` ORDER BY deleted_at, run_id`,
		args, deletionTable.scan)
}

// idleReads is true of a run r with process p that may be cleared: it only
// read, ended before ?1, and nothing else is known of it or hangs on it.
const idleReads = `p.changes = 0 AND r.status <> 'RUNNING' AND r.ended_at < ?1
	AND NOT EXISTS (SELECT 1 FROM run_process c WHERE c.parent_run_id = r.run_id)
	AND NOT EXISTS (SELECT 1 FROM run_params x WHERE x.run_id = r.run_id)
	AND NOT EXISTS (SELECT 1 FROM run_tags x WHERE x.run_id = r.run_id)
	AND NOT EXISTS (SELECT 1 FROM run_metrics x WHERE x.run_id = r.run_id)
	AND NOT EXISTS (SELECT 1 FROM run_notes x WHERE x.run_id = r.run_id)
	AND NOT EXISTS (SELECT 1 FROM run_artifacts x WHERE x.run_id = r.run_id)
	AND NOT EXISTS (SELECT 1 FROM run_programs x WHERE x.run_id = r.run_id)
	AND NOT EXISTS (SELECT 1 FROM run_deletions x WHERE x.run_id = r.run_id)
	AND NOT EXISTS (SELECT 1 FROM run_imports x WHERE x.run_id = r.run_id)`

// ClearReads is documented at metastore.Deletions. Ids are in the order of
// starts, so that runs that began after the time are not looked at.
func (db *DB) ClearReads(ctx context.Context, before quant.Time, after string, limit int) (gone int64, next string, err error) {
	err = db.Write(ctx, "clear reading runs", "meta.clear", func(ctx context.Context, q Querier) error {
		var last sql.NullString
		var seen int
		gone, next = 0, ""
		err := q.QueryRowContext(ctx, `SELECT max(run_id), count(*) FROM (SELECT run_id FROM run_process
			WHERE run_id > ? AND run_id < ? ORDER BY run_id LIMIT ?) p`, after, endOfIDs(before), limit).Scan(&last, &seen)
		if err != nil || seen == 0 {
			return err
		}
		res, err := q.ExecContext(ctx, `DELETE FROM runs WHERE run_id IN (SELECT p.run_id FROM run_process p CROSS JOIN runs r ON r.run_id = p.run_id
			WHERE p.run_id > ?2 AND p.run_id <= ?3 AND `+idleReads+`)`, before, after, last)
		if err != nil {
			return err
		}
		if seen == limit {
			next = last.String
		}
		gone, err = res.RowsAffected()
		return err
	})
	if err != nil {
		return 0, "", err
	}
	return gone, next, nil
}

// CountReads is documented at metastore.Deletions.
func (db *DB) CountReads(ctx context.Context, before quant.Time) (int64, error) {
	n, err := list(ctx, db, "count reading runs", `SELECT count(*) FROM run_process p CROSS JOIN runs r ON r.run_id = p.run_id
		WHERE p.run_id < ?2 AND `+idleReads, []any{before, endOfIDs(before)}, func(n *int64) []any { return []any{n} })
	if err != nil {
		return 0, err
	}
	return n[0], nil
}

// IsDeleted is documented at metastore.Portable.
func (db *DB) IsDeleted(ctx context.Context, runID string) (bool, error) {
	found, err := list(ctx, db, "look for a deletion", `SELECT run_id FROM run_deletions WHERE run_id = ?`, []any{runID},
		func(s *string) []any { return []any{s} })
	return len(found) > 0, err
}

// MarksOf is documented at metastore.Overview.
func (db *DB) MarksOf(ctx context.Context, runID string) (m metastore.Marks, err error) {
	deletions, err := list(ctx, db, "read deletion of run "+runID, `SELECT `+deletionTable.columns+` FROM run_deletions WHERE run_id = ?`,
		[]any{runID}, deletionTable.scan)
	if err != nil {
		return m, err
	}
	imports, err := list(ctx, db, "read import of run "+runID, `SELECT `+importTable.columns+` FROM run_imports WHERE run_id = ?`,
		[]any{runID}, importTable.scan)
	if err != nil {
		return m, err
	}
	if len(deletions) > 0 {
		m.Deletion = &deletions[0]
	}
	if len(imports) > 0 {
		m.Import = &imports[0]
	}
	return m, nil
}
