package relational

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"quant"
)

var clientArtifactTable = tableOf[quant.ClientArtifact]("client_artifacts")

// below is true of a column that is ?2 or lies below it as a folder; "" is the
// folder of all.
func below(column string) string {
	return `(?2 = '' OR ` + column + ` = ?2 OR (` + column + ` >= ?2 || '/' AND ` + column + ` < ?2 || '0'))`
}

// asFolder tells whether a name stands in the way of another: as a folder that the
// other would be, or as a file that would be the other's folder.
func asFolder(ctx context.Context, q Querier, from, column, name string, args ...any) error {
	folders := []string{}
	for i, c := range name {
		if c == '/' {
			folders = append(folders, name[:i])
		}
	}
	list := listed(folders)
	var other string
	err := q.QueryRowContext(ctx, `SELECT `+column+` FROM `+from+` AND (`+column+` IN (SELECT value FROM json_each(?))
		OR (`+column+` >= ? AND `+column+` < ?)) LIMIT 1`, append(args, list, name+"/", name+"0")...).Scan(&other)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	case strings.HasPrefix(other, name+"/"):
		return quant.Errorf(quant.Conflict, "artifact %q is a folder, in which %q is", name, other).WithHint("give the file another name")
	}
	return quant.Errorf(quant.Conflict, "artifact %q cannot lie below %q, which is a file", name, other).WithHint("give the file another name")
}

// PutArtifact is documented at metastore.ClientFiles.
func (db *DB) PutArtifact(ctx context.Context, a quant.Artifact) error {
	if err := a.Validate(); err != nil {
		return err
	}
	return db.Write(ctx, "put an artifact", "", func(ctx context.Context, q Querier) error {
		w := db.recorder(ctx, q)
		if err := w.run(a.RunID); err != nil {
			return err
		}
		if err := asFolder(ctx, q, `run_artifacts WHERE run_id = ?`, "name", a.Name, a.RunID); err != nil {
			return err
		}
		_, err := q.ExecContext(ctx, artifactTable.insert()+` ON CONFLICT (run_id, name) DO UPDATE SET
			digest = excluded.digest, bytes = excluded.bytes, logged_at = excluded.logged_at`, artifactTable.values(a)...)
		return err
	})
}

// RemoveArtifacts is documented at metastore.ClientFiles.
func (db *DB) RemoveArtifacts(ctx context.Context, runIDs []string, name string) (gone int64, err error) {
	ids := listed(runIDs)
	err = db.Write(ctx, "remove artifacts", "", func(ctx context.Context, q Querier) error {
		w := db.recorder(ctx, q)
		for _, id := range runIDs {
			if err := w.run(id); err != nil {
				return err
			}
		}
		res, err := q.ExecContext(ctx, `DELETE FROM run_artifacts WHERE run_id IN (SELECT value FROM json_each(?1)) AND `+below("name"), ids, name)
		if err != nil {
			return err
		}
		gone, err = res.RowsAffected()
		return err
	})
	return gone, err
}

// ArtifactsBelow is documented at metastore.ClientFiles.
func (db *DB) ArtifactsBelow(ctx context.Context, runIDs []string, name string) ([]quant.Artifact, error) {
	ids := listed(runIDs)
	return list(ctx, db, "list artifacts", `SELECT `+artifactTable.columns+` FROM run_artifacts
		WHERE run_id IN (SELECT value FROM json_each(?1)) AND `+below("name")+` ORDER BY name, run_id`, []any{ids, name}, artifactTable.scan)
}

// PutClientArtifact is documented at metastore.ClientFiles.
func (db *DB) PutClientArtifact(ctx context.Context, a quant.ClientArtifact) error {
	if err := a.Validate(); err != nil {
		return err
	}
	return db.Write(ctx, "put a file", "", func(ctx context.Context, q Querier) error {
		if err := asFolder(ctx, q, `client_artifacts WHERE true`, "path", a.Path); err != nil {
			return err
		}
		_, err := q.ExecContext(ctx, clientArtifactTable.insert()+` ON CONFLICT (path) DO UPDATE SET
			digest = excluded.digest, bytes = excluded.bytes, logged_at = excluded.logged_at`, clientArtifactTable.values(a)...)
		return err
	})
}

// RemoveClientArtifacts is documented at metastore.ClientFiles.
func (db *DB) RemoveClientArtifacts(ctx context.Context, path string) (gone int64, err error) {
	err = db.Write(ctx, "remove files", "", func(ctx context.Context, q Querier) error {
		res, err := q.ExecContext(ctx, `DELETE FROM client_artifacts WHERE ?1 IS NULL AND `+below("path"), nil, path)
		if err != nil {
			return err
		}
		gone, err = res.RowsAffected()
		return err
	})
	return gone, err
}

// ClientArtifactsBelow is documented at metastore.ClientFiles.
func (db *DB) ClientArtifactsBelow(ctx context.Context, path string) ([]quant.ClientArtifact, error) {
	return list(ctx, db, "list files", `SELECT `+clientArtifactTable.columns+` FROM client_artifacts
		WHERE ?1 IS NULL AND `+below("path")+` ORDER BY path`, []any{nil, path}, clientArtifactTable.scan)
}
