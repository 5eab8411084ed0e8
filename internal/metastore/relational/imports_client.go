package relational

import (
	"context"
	"database/sql"
	"errors"

	"quant"
	"quant/internal/metastore"
)

// ClientRecordsOf is documented at metastore.Portable.
func (db *DB) ClientRecordsOf(ctx context.Context, runID string) (c metastore.ClientRecords, found bool, err error) {
	const what = "read what clients know of a run"
	id := []any{runID}
	clients, err := list(ctx, db, what, `SELECT `+runClientTable.columns+` FROM run_clients WHERE run_id = ?`, id, runClientTable.scan)
	if err != nil || len(clients) == 0 {
		return c, false, err
	}
	c.RunClient = clients[0]
	c.Latest, err = list(ctx, db, what, `SELECT run_id, name, step, at, coalesce(value, 0.0), value IS NULL FROM run_metric_latest WHERE run_id = ? ORDER BY name`, id, scanLatest)
	if err != nil {
		return c, false, err
	}
	c.NaNs, err = list(ctx, db, what, `SELECT run_id, name, step, logged_at FROM run_metric_nans WHERE run_id = ? ORDER BY name, nth`, id,
		func(p *quant.MetricPoint) []any { return []any{&p.RunID, &p.Name, &p.Step, &p.LoggedAt} })
	if err != nil {
		return c, false, err
	}
	if c.Datasets, err = db.DatasetsOf(ctx, []string{runID}); err != nil {
		return c, false, err
	}
	c.Models, err = db.ModelsOf(ctx, []string{runID})
	return c, err == nil, err
}

// ImportClientRecords is documented at metastore.Portable.
func (db *DB) ImportClientRecords(ctx context.Context, c metastore.ClientRecords, experimentID string) error {
	if err := c.Validate(); err != nil {
		return err
	}
	return db.Write(ctx, "import what clients know of run "+c.RunID, "", func(ctx context.Context, q Querier) error {
		var one int
		err := q.QueryRowContext(ctx, `SELECT 1 FROM run_imports WHERE run_id = ?`, c.RunID).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return quant.Errorf(quant.Conflict, "run %s was not imported", c.RunID)
		}
		if err != nil {
			return err
		}
		_, err = q.ExecContext(ctx, runClientTable.insert(), runClientTable.values(c.RunClient)...)
		if db.dialect.Duplicate(err) {
			return quant.Errorf(quant.Conflict, "clients know run %s already", c.RunID)
		}
		if err != nil {
			return err
		}
		if experimentID != "" {
			if err := db.logBatch(ctx, q, metastore.Batch{Tags: []quant.Tag{{RunID: c.RunID, Name: quant.ExperimentTag, Value: experimentID}}}); err != nil {
				return err
			}
		}
		for _, m := range c.Latest {
			var value any = m.Value
			if m.NaN {
				value = nil
			}
			if _, err := q.ExecContext(ctx, `INSERT INTO run_metric_latest (run_id, name, step, at, value) VALUES (?, ?, ?, ?, ?)`, c.RunID, m.Name, m.Step, m.At, value); err != nil {
				return err
			}
		}
		// The last of a metric that clients logged is found otherwise than when it was stored.
		_, err = q.ExecContext(ctx, `UPDATE run_metrics SET last = (`+lastOf("run_metrics", "run_metrics.last_step")+`)
			WHERE run_id = ?1 AND name IN (SELECT name FROM run_metric_latest WHERE run_id = ?1)`, c.RunID)
		if err != nil {
			return err
		}
		w := db.recorder(ctx, q)
		if err := w.nans(c.RunID, c.NaNs); err != nil {
			return err
		}
		for _, d := range c.Datasets {
			if _, err := q.ExecContext(ctx, runDatasetTable.insert(), runDatasetTable.values(d)...); err != nil {
				return err
			}
		}
		for _, m := range c.Models {
			if _, err := q.ExecContext(ctx, runModelTable.insert(), runModelTable.values(m)...); err != nil {
				return err
			}
		}
		return nil
	})
}
