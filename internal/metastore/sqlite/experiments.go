package sqlite

import (
	"context"

	"quant"
	"quant/internal/metastore"
)

const experimentColumns = `experiment_id, name, description, feature_set_id, label_set_id, split_policy_json, params_json, created_at`

func scanExperiment(e *quant.Experiment) []any {
	return []any{
		&e.ExperimentID, &e.Name, &e.Description, &e.FeatureSetID, &e.LabelSetID,
		&e.SplitPolicyJSON, &e.ParamsJSON, &e.CreatedAt,
	}
}

// CreateExperiment is documented at metastore.Experiments.
func (db *DB) CreateExperiment(ctx context.Context, e quant.Experiment) error {
	if err := e.Validate(); err != nil {
		return err
	}
	return db.insert(ctx, "experiment "+e.ExperimentID,
		`INSERT INTO experiments (`+experimentColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		e.ExperimentID, e.Name, e.Description, e.FeatureSetID, e.LabelSetID, e.SplitPolicyJSON, e.ParamsJSON, e.CreatedAt)
}

// GetExperiment is documented at metastore.Experiments.
func (db *DB) GetExperiment(ctx context.Context, id string) (quant.Experiment, error) {
	return get(ctx, db, "experiment "+id, `SELECT `+experimentColumns+` FROM experiments WHERE experiment_id = ?`, id, scanExperiment)
}

// ListExperiments is documented at metastore.Experiments.
func (db *DB) ListExperiments(ctx context.Context, f metastore.ExperimentFilter) ([]quant.Experiment, error) {
	s := selection{noun: "experiments", columns: experimentColumns, key: "experiment_id"}
	s.equalText("name", f.Name)
	query, err := s.query(f.Order, "-created_at", f.Limit, "created_at", "name", "experiment_id")
	if err != nil {
		return nil, err
	}
	return list(ctx, db, "list experiments", query, s.args, scanExperiment)
}

// UpdateExperiment is documented at metastore.Experiments.
func (db *DB) UpdateExperiment(ctx context.Context, e quant.Experiment) error {
	if err := e.Validate(); err != nil {
		return err
	}
	return db.change(ctx, "update", "experiment "+e.ExperimentID,
		`UPDATE experiments SET name = ?, description = ?, feature_set_id = ?, label_set_id = ?, split_policy_json = ?,
			params_json = ?, created_at = ? WHERE experiment_id = ?`,
		e.Name, e.Description, e.FeatureSetID, e.LabelSetID, e.SplitPolicyJSON, e.ParamsJSON, e.CreatedAt, e.ExperimentID)
}
