package relational

import (
	"context"
	"database/sql"
	"errors"

	"quant"
)

func (w *recorder) artifact(a quant.Artifact) error {
	if err := w.run(a.RunID); err != nil {
		return err
	}
	var digest string
	err := w.q.QueryRowContext(w.ctx, `SELECT digest FROM run_artifacts WHERE run_id = ? AND name = ?`, a.RunID, a.Name).Scan(&digest)
	switch {
	case err == nil && digest == a.Digest:
		return nil
	case err == nil:
		return quant.Errorf(quant.Conflict, "run %s has an artifact %q already, with other content", a.RunID, a.Name).
			WithHint("give this one another name")
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	_, err = w.q.ExecContext(w.ctx, artifactTable.insert(), artifactTable.values(a)...)
	return err
}

// Artifacts is documented at metastore.Records.
func (db *DB) Artifacts(ctx context.Context, runID string) ([]quant.Artifact, error) {
	return list(ctx, db, "read artifacts of run "+runID, `SELECT `+artifactTable.columns+` FROM run_artifacts WHERE run_id = ? ORDER BY name`, []any{runID}, artifactTable.scan)
}

// ArtifactUsed is documented at metastore.Records.
func (db *DB) ArtifactUsed(ctx context.Context, digest string) (bool, error) {
	found, err := list(ctx, db, "look for an artifact", `SELECT digest FROM run_artifacts WHERE digest = ?1
		UNION ALL SELECT digest FROM client_artifacts WHERE digest = ?1 LIMIT 1`, []any{digest},
		func(s *string) []any { return []any{s} })
	return len(found) > 0, err
}

// StoredArtifacts is documented at metastore.Deletions.
func (db *DB) StoredArtifacts(ctx context.Context) ([]quant.Artifact, error) {
	return list(ctx, db, "list artifacts", `SELECT `+artifactTable.columns+` FROM (
		SELECT `+artifactTable.columns+`, row_number() OVER (PARTITION BY digest ORDER BY run_id, name) AS nth FROM (
			SELECT `+artifactTable.columns+` FROM run_artifacts UNION ALL SELECT '', path, digest, bytes, logged_at FROM client_artifacts) a
		) b WHERE nth = 1 ORDER BY digest`, nil, artifactTable.scan)
}
