package relational

import (
	"context"
	"database/sql"
	"errors"

	"quant"
	"quant/internal/metastore"
)

// ImportClientExperiment is documented at metastore.Foreign.
func (db *DB) ImportClientExperiment(
	ctx context.Context, e metastore.ClientExperiment, tags []metastore.ExperimentTag,
) (stored metastore.ClientExperiment, isNew bool, err error) {
	err = db.Write(ctx, "import experiment "+clipped(e.Name), "", func(ctx context.Context, q Querier) error {
		var number int64
		err := q.QueryRowContext(ctx, `SELECT c.number FROM experiments e JOIN client_experiments c ON c.experiment_id = e.experiment_id
			WHERE e.name = ? ORDER BY c.deleted_at IS NOT NULL, c.number LIMIT 1`, e.Name).Scan(&number)
		switch {
		case err == nil:
			return readClientExperiment(ctx, q, number, &stored)
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		isNew = true
		if number, err = freeNumber(ctx, q, e.Number); err != nil {
			return err
		}
		for n := number; ; n++ { // an experiment of quant may have the id
			e.ExperimentID = clientExperimentID(n)
			if err := e.Validate(); err != nil {
				return err
			}
			_, err := q.ExecContext(ctx, experimentTable.insert(), experimentTable.values(e.Experiment)...)
			if db.dialect.Duplicate(err) {
				continue
			}
			if err != nil {
				return err
			}
			break
		}
		_, err = q.ExecContext(ctx, `UPDATE client_experiments SET number = ?, deleted_at = ?, updated_at = ? WHERE experiment_id = ?`,
			number, e.DeletedAt, e.UpdatedAt, e.ExperimentID)
		if err != nil {
			return err
		}
		for _, t := range tags {
			t.ExperimentID = e.ExperimentID
			if err := setExperimentTag(ctx, q, t); err != nil {
				return err
			}
		}
		return readClientExperiment(ctx, q, number, &stored)
	})
	return stored, isNew, err
}

// freeNumber is the number that is wanted if no experiment has it, else the next one.
func freeNumber(ctx context.Context, q Querier, wanted int64) (number int64, err error) {
	if wanted >= 0 {
		var taken bool
		err := q.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM client_experiments WHERE number = ?)`, wanted).Scan(&taken)
		if err != nil || !taken {
			return wanted, err
		}
	}
	err = q.QueryRowContext(ctx, `SELECT coalesce(max(number), 0) + 1 FROM client_experiments`).Scan(&number)
	return number, err
}

func readClientExperiment(ctx context.Context, q Querier, number int64, into *metastore.ClientExperiment) error {
	return q.QueryRowContext(ctx, `SELECT `+clientExperimentColumns+clientExperiments+`WHERE c.number = ?`, number).Scan(scanClientExperiment(into)...)
}

// MarkImported is documented at metastore.Foreign.
func (db *DB) MarkImported(ctx context.Context, mark quant.Import) error {
	return db.Write(ctx, "mark run "+mark.RunID+" as imported", "", func(ctx context.Context, q Querier) error {
		status, err := db.statusOf(ctx, q, mark.RunID)
		if err != nil {
			return err
		}
		if status == quant.Running {
			return quant.Errorf(quant.Conflict, "run %s has not ended", mark.RunID)
		}
		_, err = q.ExecContext(ctx, importTable.insert(), importTable.values(mark)...)
		if db.dialect.Duplicate(err) {
			return quant.Errorf(quant.Conflict, "run %s is marked as imported already", mark.RunID)
		}
		return err
	})
}
