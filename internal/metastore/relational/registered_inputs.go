package relational

import (
	"context"
	"database/sql"
	"errors"

	"quant"
	"quant/internal/metastore"
)

var (
	runDatasetTable = tableOf[quant.RunDataset]("run_datasets")
	runModelTable   = tableOf[quant.RunModel]("run_models")
)

// LogInputs is documented at metastore.Inputs.
func (db *DB) LogInputs(ctx context.Context, datasets []quant.RunDataset, models []quant.RunModel) error {
	for _, d := range datasets {
		if err := d.Validate(); err != nil {
			return err
		}
	}
	for _, m := range models {
		if err := m.Validate(); err != nil {
			return err
		}
	}
	if len(datasets)+len(models) == 0 {
		return nil
	}
	return db.Write(ctx, "log inputs", "meta.log", func(ctx context.Context, q Querier) error {
		w := db.recorder(ctx, q)
		for _, d := range datasets {
			if err := w.run(d.RunID); err != nil {
				return err
			}
			if _, err := q.ExecContext(ctx, runDatasetTable.insert()+` ON CONFLICT DO NOTHING`, runDatasetTable.values(d)...); err != nil {
				return err
			}
			io := quant.RunIO{RunID: d.RunID, Direction: quant.In, Kind: quant.IODataset, Name: d.Name, Digest: quant.Text(d.Digest)}
			var other string
			err := q.QueryRowContext(ctx, `SELECT digest FROM run_io WHERE run_id = ? AND direction = ? AND kind = ? AND name = ?`,
				io.RunID, string(io.Direction), io.Kind, io.Name).Scan(&other)
			switch {
			case err == nil && other == d.Digest:
				continue
			case err == nil:
				io.Name += "@" + d.Digest // a second version of it
			case !errors.Is(err, sql.ErrNoRows):
				return err
			}
			if err := w.io(io); err != nil {
				return err
			}
		}
		for _, m := range models {
			if err := w.run(m.RunID); err != nil {
				return err
			}
			if _, err := q.ExecContext(ctx, runModelTable.insert()+` ON CONFLICT DO NOTHING`, runModelTable.values(m)...); err != nil {
				return err
			}
			if err := w.io(quant.RunIO{RunID: m.RunID, Direction: m.Direction, Kind: quant.IOLoggedModel, Name: m.ModelID}); err != nil {
				return err
			}
		}
		return nil
	})
}

// io stores an input or output where there is none of its name.
func (w *recorder) io(io quant.RunIO) error {
	_, err := w.q.ExecContext(w.ctx, ioTable.insert()+` ON CONFLICT DO NOTHING`, ioTable.values(io)...)
	return err
}

// DatasetsOf is documented at metastore.Inputs.
func (db *DB) DatasetsOf(ctx context.Context, runIDs []string) ([]quant.RunDataset, error) {
	ids := listed(runIDs)
	return ofRuns(ctx, db, "run_datasets", runDatasetTable.columns, "run_id, name, digest", ids, runDatasetTable.scan)
}

// ModelsOf is documented at metastore.Inputs.
func (db *DB) ModelsOf(ctx context.Context, runIDs []string) ([]quant.RunModel, error) {
	ids := listed(runIDs)
	return ofRuns(ctx, db, "run_models", runModelTable.columns, "run_id, direction, model_id, step", ids, runModelTable.scan)
}

// DatasetsOfExperiments is documented at metastore.Inputs.
func (db *DB) DatasetsOfExperiments(ctx context.Context, experimentIDs []string, limit int) ([]metastore.DatasetSummary, error) {
	ids := listed(experimentIDs)
	return list(ctx, db, "list datasets of experiments", `SELECT DISTINCT t.value, d.name, d.digest, d.context
		FROM run_tags t JOIN run_datasets d ON d.run_id = t.run_id
		WHERE t.name = ? AND t.value IN (SELECT value FROM json_each(?))
		ORDER BY 1, 2, 3, 4 LIMIT ?`, []any{quant.ExperimentTag, ids, limit},
		func(s *metastore.DatasetSummary) []any { return []any{&s.ExperimentID, &s.Name, &s.Digest, &s.Context} })
}
