package relational

import (
	"context"
	"database/sql"
	"errors"

	"quant"
	"quant/internal/metastore"
)

var (
	loggedModelTable       = tableOf[quant.LoggedModel]("logged_models")
	loggedModelParamTable  = tableOf[quant.LoggedModelParam]("logged_model_params")
	loggedModelTagTable    = tableOf[quant.LoggedModelTag]("logged_model_tags")
	loggedModelMetricTable = tableOf[quant.LoggedModelMetric]("logged_model_metrics")
)

// CreateLoggedModel is documented at metastore.LoggedModels.
func (db *DB) CreateLoggedModel(ctx context.Context, m quant.LoggedModel, params []quant.LoggedModelParam, tags []quant.LoggedModelTag) error {
	if err := m.Validate(); err != nil {
		return err
	}
	return db.Write(ctx, "create logged model "+m.ModelID, "meta.log", func(ctx context.Context, q Querier) error {
		res, err := q.ExecContext(ctx, loggedModelTable.insert()+` ON CONFLICT DO NOTHING`, loggedModelTable.values(m)...)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return quant.Errorf(quant.Conflict, "logged model %s exists already", m.ModelID)
		}
		return logModels(ctx, q, params, tags, nil)
	})
}

// LogLoggedModel is documented at metastore.LoggedModels.
func (db *DB) LogLoggedModel(ctx context.Context, params []quant.LoggedModelParam, tags []quant.LoggedModelTag, metrics []quant.LoggedModelMetric) error {
	return db.Write(ctx, "log of models", "meta.log", func(ctx context.Context, q Querier) error {
		return logModels(ctx, q, params, tags, metrics)
	})
}

func logModels(ctx context.Context, q Querier, params []quant.LoggedModelParam, tags []quant.LoggedModelTag, metrics []quant.LoggedModelMetric) error {
	known := map[string]bool{}
	model := func(id string) error {
		if known[id] {
			return nil
		}
		known[id] = true
		return loggedModelThere(ctx, q, id)
	}
	for _, p := range params {
		if err := model(p.ModelID); err != nil {
			return err
		}
		var value string
		err := q.QueryRowContext(ctx, `SELECT value FROM logged_model_params WHERE model_id = ? AND name = ?`, p.ModelID, p.Name).Scan(&value)
		switch {
		case err == nil && value == p.Value:
			continue
		case err == nil:
			return quant.Errorf(quant.Conflict, "logged model %s has a param %q already, with another value", p.ModelID, p.Name)
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		if _, err := q.ExecContext(ctx, loggedModelParamTable.insert(), loggedModelParamTable.values(p)...); err != nil {
			return err
		}
	}
	for _, t := range tags {
		if err := model(t.ModelID); err != nil {
			return err
		}
		_, err := q.ExecContext(ctx, loggedModelTagTable.insert()+` ON CONFLICT (model_id, name) DO UPDATE SET value = excluded.value`,
			loggedModelTagTable.values(t)...)
		if err != nil {
			return err
		}
	}
	for _, m := range metrics {
		if err := model(m.ModelID); err != nil {
			return err
		}
		if _, err := q.ExecContext(ctx, loggedModelMetricTable.insert()+` ON CONFLICT DO NOTHING`, loggedModelMetricTable.values(m)...); err != nil {
			return err
		}
	}
	return nil
}

// loggedModelThere is NotFound for a model that does not exist or is deleted.
func loggedModelThere(ctx context.Context, q Querier, id string) error {
	var there int
	err := q.QueryRowContext(ctx, `SELECT 1 FROM logged_models WHERE model_id = ? AND deleted_at IS NULL`, id).Scan(&there)
	if errors.Is(err, sql.ErrNoRows) {
		return quant.Errorf(quant.NotFound, "logged model %s does not exist", id)
	}
	return err
}

// LoggedModelsOf is documented at metastore.LoggedModels.
func (db *DB) LoggedModelsOf(ctx context.Context, ids []string, deleted bool) ([]metastore.LoggedModelDetail, error) {
	wanted := listed(ids)
	found, err := list(ctx, db, "read logged models", `SELECT `+loggedModelTable.of("m")+` FROM json_each(?) j
		CROSS JOIN logged_models m ON m.model_id = j.value WHERE m.deleted_at IS NULL OR ? ORDER BY j.key`, []any{wanted, deleted}, loggedModelTable.scan)
	if err != nil {
		return nil, err
	}
	return db.loggedDetails(ctx, found)
}

// loggedDetails reads what is recorded of models, by one query for a table.
func (db *DB) loggedDetails(ctx context.Context, models []quant.LoggedModel) ([]metastore.LoggedModelDetail, error) {
	details := make([]metastore.LoggedModelDetail, len(models))
	at, ids := map[string]int{}, make([]string, len(models))
	for i, m := range models {
		details[i].LoggedModel = m
		at[m.ModelID], ids[i] = i, m.ModelID
	}
	if len(models) == 0 {
		return details, nil
	}
	wanted := listed(ids)
	of := func(table, columns, order string) string {
		return `SELECT ` + columns + ` FROM ` + table + ` WHERE model_id IN (SELECT value FROM json_each(?)) ORDER BY ` + order
	}
	params, err := list(ctx, db, "read params of logged models", of("logged_model_params", loggedModelParamTable.columns, "model_id, name"),
		[]any{wanted}, loggedModelParamTable.scan)
	if err != nil {
		return nil, err
	}
	tags, err := list(ctx, db, "read tags of logged models", of("logged_model_tags", loggedModelTagTable.columns, "model_id, name"),
		[]any{wanted}, loggedModelTagTable.scan)
	if err != nil {
		return nil, err
	}
	metrics, err := list(ctx, db, "read metrics of logged models", of("logged_model_metrics", loggedModelMetricTable.columns, "model_id, name, logged_at, step, run_id"),
		[]any{wanted}, loggedModelMetricTable.scan)
	if err != nil {
		return nil, err
	}
	for _, p := range params {
		d := &details[at[p.ModelID]]
		d.Params = append(d.Params, p)
	}
	for _, t := range tags {
		d := &details[at[t.ModelID]]
		d.Tags = append(d.Tags, t)
	}
	for _, m := range metrics {
		d := &details[at[m.ModelID]]
		d.Metrics = append(d.Metrics, m)
	}
	return details, nil
}

// ChangeLoggedModel is documented at metastore.LoggedModels.
func (db *DB) ChangeLoggedModel(ctx context.Context, id string, fn func(*quant.LoggedModel)) error {
	return db.Write(ctx, "change logged model "+id, "", func(ctx context.Context, q Querier) error {
		if err := loggedModelThere(ctx, q, id); err != nil {
			return err
		}
		var m quant.LoggedModel
		err := q.QueryRowContext(ctx, `SELECT `+loggedModelTable.columns+` FROM logged_models WHERE model_id = ?`, id).Scan(loggedModelTable.scan(&m)...)
		if err != nil {
			return err
		}
		fn(&m)
		if err := m.Validate(); err != nil {
			return err
		}
		query, args := loggedModelTable.update(m)
		_, err = q.ExecContext(ctx, query, args...)
		return err
	})
}

// DeleteLoggedModelTag is documented at metastore.LoggedModels.
func (db *DB) DeleteLoggedModelTag(ctx context.Context, id, name string) error {
	return db.Write(ctx, "delete a tag of logged model "+id, "", func(ctx context.Context, q Querier) error {
		if err := loggedModelThere(ctx, q, id); err != nil {
			return err
		}
		res, err := q.ExecContext(ctx, `DELETE FROM logged_model_tags WHERE model_id = ? AND name = ?`, id, name)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return quant.Errorf(quant.NotFound, "logged model %s has no tag %q", id, name)
	})
}
