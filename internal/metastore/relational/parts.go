package relational

import (
	"context"

	"quant"
	"quant/internal/metastore"
)

// CountRecords is documented at metastore.Parts.
func (db *DB) CountRecords(ctx context.Context, runID string) (metastore.RecordCounts, error) {
	found, err := list(ctx, db, "count what run "+runID+" recorded", `SELECT
			(SELECT count(*) FROM run_params WHERE run_id = ?1), (SELECT count(*) FROM run_tags WHERE run_id = ?1),
			(SELECT count(*) FROM run_metrics WHERE run_id = ?1), (SELECT count(*) FROM run_notes WHERE run_id = ?1),
			(SELECT count(*) FROM run_artifacts WHERE run_id = ?1),
			(SELECT count(*) FROM run_io WHERE run_id = ?1 AND direction = 'in'), (SELECT count(*) FROM run_io WHERE run_id = ?1 AND direction = 'out')`,
		[]any{runID}, func(c *metastore.RecordCounts) []any {
			return []any{&c.Params, &c.Tags, &c.Metrics, &c.Notes, &c.Artifacts, &c.Inputs, &c.Outputs}
		})
	if err != nil {
		return metastore.RecordCounts{}, err
	}
	return found[0], nil
}

// after reads rows of a companion of a run by name, those after one.
func after[T any](ctx context.Context, db *DB, from table[T], runID, name string, limit int) ([]T, error) {
	return list(ctx, db, "read "+from.name+" of run "+runID,
		`SELECT `+from.columns+` FROM `+from.name+` WHERE run_id = ? AND name > ? ORDER BY name LIMIT ?`, []any{runID, name, limit}, from.scan)
}

// only reads the row of a companion of a run that has this name.
func only[T any](ctx context.Context, db *DB, from table[T], noun, runID, name string) (row T, err error) {
	found, err := list(ctx, db, "read "+from.name+" of run "+runID,
		`SELECT `+from.columns+` FROM `+from.name+` WHERE run_id = ? AND name = ?`, []any{runID, name}, from.scan)
	if err != nil {
		return row, err
	}
	if len(found) == 0 {
		return row, quant.Errorf(quant.NotFound, "run %s has no %s %q", runID, noun, clipped(name))
	}
	return found[0], nil
}

// ParamsAfter is documented at metastore.Parts.
func (db *DB) ParamsAfter(ctx context.Context, runID, name string, limit int) ([]quant.Param, error) {
	return after(ctx, db, paramTable, runID, name, limit)
}

// TagsAfter is documented at metastore.Parts.
func (db *DB) TagsAfter(ctx context.Context, runID, name string, limit int) ([]quant.Tag, error) {
	return after(ctx, db, tagTable, runID, name, limit)
}

// MetricsAfter is documented at metastore.Parts.
func (db *DB) MetricsAfter(ctx context.Context, runID, name string, limit int) ([]quant.Metric, error) {
	return after(ctx, db, metricTable, runID, name, limit)
}

// ArtifactsAfter is documented at metastore.Parts.
func (db *DB) ArtifactsAfter(ctx context.Context, runID, name string, limit int) ([]quant.Artifact, error) {
	return after(ctx, db, artifactTable, runID, name, limit)
}

// LastNotes is documented at metastore.Parts.
func (db *DB) LastNotes(ctx context.Context, runID string, limit int) ([]quant.Note, error) {
	return list(ctx, db, "read notes of run "+runID,
		`SELECT * FROM (SELECT `+noteTable.columns+` FROM run_notes WHERE run_id = ? ORDER BY note DESC LIMIT ?) n ORDER BY note`, []any{runID, limit}, noteTable.scan)
}

// TagOf is documented at metastore.Parts.
func (db *DB) TagOf(ctx context.Context, runID, name string) (quant.Tag, error) {
	return only(ctx, db, tagTable, "tag", runID, name)
}

// MetricOf is documented at metastore.Parts.
func (db *DB) MetricOf(ctx context.Context, runID, name string) (quant.Metric, error) {
	return only(ctx, db, metricTable, "metric", runID, name)
}

// ArtifactOf is documented at metastore.Parts.
func (db *DB) ArtifactOf(ctx context.Context, runID, name string) (quant.Artifact, error) {
	return only(ctx, db, artifactTable, "artifact", runID, name)
}
