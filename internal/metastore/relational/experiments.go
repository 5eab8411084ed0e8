package relational

import (
	"context"

	"quant"
	"quant/internal/metastore"
)

// CreateExperiment is documented at metastore.Experiments.
func (db *DB) CreateExperiment(ctx context.Context, e quant.Experiment) error {
	if err := e.Validate(); err != nil {
		return err
	}
	return db.insert(ctx, "experiment "+e.ExperimentID,
		experimentTable.insert(), experimentTable.values(e)...)
}

// GetExperiment is documented at metastore.Experiments.
func (db *DB) GetExperiment(ctx context.Context, id string) (quant.Experiment, error) {
	return get(ctx, db, "experiment "+id, `SELECT `+experimentTable.columns+` FROM experiments WHERE experiment_id = ?`, id, experimentTable.scan)
}

// ListExperiments is documented at metastore.Experiments.
func (db *DB) ListExperiments(ctx context.Context, f metastore.ExperimentFilter) ([]quant.Experiment, error) {
	s := selection{noun: "experiments", columns: experimentTable.columns, key: "experiment_id"}
	s.equalText("name", f.Name)
	query, err := s.query(f.Order, "-created_at", f.Limit, "created_at", "name", "experiment_id")
	if err != nil {
		return nil, err
	}
	return list(ctx, db, "list experiments", query, s.args, experimentTable.scan)
}

// UpdateExperiment is documented at metastore.Experiments.
func (db *DB) UpdateExperiment(ctx context.Context, e quant.Experiment) error {
	if err := e.Validate(); err != nil {
		return err
	}
	query, args := experimentTable.update(e)
	return db.change(ctx, "update", "experiment "+e.ExperimentID, query, args...)
}
