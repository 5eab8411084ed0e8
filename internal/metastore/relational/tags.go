package relational

import (
	"context"

	"quant"
)

func (w *recorder) tag(t quant.Tag) error {
	if err := w.run(t.RunID); err != nil {
		return err
	}
	t.Number = number(t.Value)
	_, err := w.q.ExecContext(w.ctx, tagTable.insert()+`
		ON CONFLICT (run_id, name) DO UPDATE SET value = excluded.value, number = excluded.number`, tagTable.values(t)...)
	return err
}

// DeleteTag is documented at metastore.Records.
func (db *DB) DeleteTag(ctx context.Context, runID, name string) error {
	return db.Write(ctx, "delete a tag", "", func(ctx context.Context, q Querier) error {
		if err := db.lockRuns(ctx, q, []string{runID}); err != nil {
			return err
		}
		w := db.recorder(ctx, q)
		if err := w.run(runID); err != nil {
			return err
		}
		res, err := q.ExecContext(ctx, `DELETE FROM run_tags WHERE run_id = ? AND name = ?`, runID, name)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return quant.Errorf(quant.NotFound, "run %s has no tag %q", runID, name)
	})
}

// Tags is documented at metastore.Records.
func (db *DB) Tags(ctx context.Context, runID string) ([]quant.Tag, error) {
	return list(ctx, db, "read tags of run "+runID, `SELECT `+tagTable.columns+` FROM run_tags WHERE run_id = ? ORDER BY name`, []any{runID}, tagTable.scan)
}

// TaggedRuns is documented at metastore.Records.
func (db *DB) TaggedRuns(ctx context.Context, name, value string, limit int) ([]string, error) {
	return list(ctx, db, "look for a tag", `SELECT run_id FROM run_tags t WHERE name = ? AND value = ?
		AND NOT EXISTS (SELECT 1 FROM run_deletions d WHERE d.run_id = t.run_id) ORDER BY run_id DESC LIMIT ?`,
		[]any{name, value, limit}, func(s *string) []any { return []any{s} })
}

var selectNames = `SELECT ` + tagTable.columns + ` FROM (SELECT DISTINCT value AS id FROM json_each(?)) j
	CROSS JOIN run_tags t ON t.run_id = j.id AND t.name = ?`

// NamesOf is documented at metastore.Overview.
func (db *DB) NamesOf(ctx context.Context, ids []string) (map[string]string, error) {
	wanted := listed(ids)
	tags, err := list(ctx, db, "read names of runs", selectNames, []any{wanted, quant.NameTag}, tagTable.scan)
	names := map[string]string{}
	for _, t := range tags {
		names[t.RunID] = t.Value
	}
	return names, err
}
