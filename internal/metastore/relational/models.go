package relational

import (
	"context"

	"quant"
	"quant/internal/metastore"
)

// CreateModel is documented at metastore.Models.
func (db *DB) CreateModel(ctx context.Context, m quant.Model) error {
	if err := m.Validate(); err != nil {
		return err
	}
	return db.noExperiment(m, db.insert(ctx, "model "+m.ModelID,
		modelTable.insert(), modelTable.values(m)...))
}

// GetModel is documented at metastore.Models.
func (db *DB) GetModel(ctx context.Context, id string) (quant.Model, error) {
	return get(ctx, db, "model "+id, `SELECT `+modelTable.columns+` FROM models WHERE model_id = ?`, id, modelTable.scan)
}

// ListModels is documented at metastore.Models.
func (db *DB) ListModels(ctx context.Context, f metastore.ModelFilter) ([]quant.Model, error) {
	s := selection{noun: "models", columns: modelTable.columns, key: "model_id"}
	s.equalText("experiment_id", f.ExperimentID)
	s.equalText("algo", f.Algo)
	query, err := s.query(f.Order, "-created_at", f.Limit, "created_at", "algo", "model_id")
	if err != nil {
		return nil, err
	}
	return list(ctx, db, "list models", query, s.args, modelTable.scan)
}

// UpdateModel is documented at metastore.Models.
func (db *DB) UpdateModel(ctx context.Context, m quant.Model) error {
	if err := m.Validate(); err != nil {
		return err
	}
	query, args := modelTable.update(m)
	return db.noExperiment(m, db.change(ctx, "update", "model "+m.ModelID, query, args...))
}

// noExperiment says which row a model's foreign key missed.
func (db *DB) noExperiment(m quant.Model, err error) error {
	if db.dialect.NoParent(err) {
		return quant.Errorf(quant.NotFound, "model %s: experiment %s does not exist: %w", m.ModelID, m.ExperimentID, err)
	}
	return err
}
