package relational

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"quant"
	"quant/internal/metastore"
)

var (
	experimentTagTable = tableOf[metastore.ExperimentTag]("experiment_tags")
	runClientTable     = tableOf[metastore.RunClient]("run_clients")
)

var clientExperimentColumns = experimentTable.of("e") + `, c.number, c.deleted_at, c.updated_at`

func scanClientExperiment(e *metastore.ClientExperiment) []any {
	return append(experimentTable.scan(&e.Experiment), &e.Number, &e.DeletedAt, &e.UpdatedAt)
}

const clientExperiments = ` FROM client_experiments c CROSS JOIN experiments e ON e.experiment_id = c.experiment_id `

// EnsureDefaultExperiment is documented at metastore.Tracking.
func (db *DB) EnsureDefaultExperiment(ctx context.Context, e quant.Experiment) error {
	if err := e.Validate(); err != nil {
		return err
	}
	const zero = `SELECT number FROM client_experiments WHERE number = 0`
	found, err := list(ctx, db, "look for the default experiment", zero, nil, func(n *int64) []any { return []any{n} })
	if err != nil || len(found) > 0 {
		return err
	}
	return db.Write(ctx, "make the default experiment", "", func(ctx context.Context, q Querier) error {
		var n int64
		if err := q.QueryRowContext(ctx, zero).Scan(&n); !errors.Is(err, sql.ErrNoRows) {
			return err // nil: somebody was quicker
		}
		id := e.ExperimentID
		err := q.QueryRowContext(ctx, `SELECT e.experiment_id FROM experiments e JOIN client_experiments c ON c.experiment_id = e.experiment_id
			WHERE e.name = ? ORDER BY c.number LIMIT 1`, e.Name).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			_, err = q.ExecContext(ctx, experimentTable.insert(), experimentTable.values(e)...)
		}
		if err != nil {
			return err
		}
		_, err = q.ExecContext(ctx, `UPDATE client_experiments SET number = 0 WHERE experiment_id = ?`, id)
		return err
	})
}

// HighestNumber is the highest number of an experiment, or 0.
const HighestNumber = `SELECT coalesce(max(number), 0) FROM client_experiments`

// clientExperimentID is the id of an experiment that a client made.
func clientExperimentID(number int64) string { return fmt.Sprintf("mlflow-%d", number) }

// CreateClientExperiment is documented at metastore.Tracking.
func (db *DB) CreateClientExperiment(ctx context.Context, e quant.Experiment, tags []metastore.ExperimentTag) (number int64, err error) {
	err = db.Write(ctx, "create experiment "+clipped(e.Name), "", func(ctx context.Context, q Querier) error {
		if err := unusedName(ctx, q, e.Name, -1); err != nil {
			return err
		}
		if err := q.QueryRowContext(ctx, HighestNumber).Scan(&number); err != nil {
			return err
		}
		number++
		for n := number; ; n++ { // an experiment of quant may have the id
			e.ExperimentID = clientExperimentID(n)
			if err := e.Validate(); err != nil {
				return err
			}
			_, err := q.ExecContext(ctx, experimentTable.insert(), experimentTable.values(e)...)
			if db.dialect.Duplicate(err) {
				continue
			}
			if err != nil {
				return err
			}
			break
		}
		for _, t := range tags {
			t.ExperimentID = e.ExperimentID
			if err := setExperimentTag(ctx, q, t); err != nil {
				return err
			}
		}
		return nil
	})
	return number, err
}

// unusedName reports a name that an experiment other than number has, as Conflict.
func unusedName(ctx context.Context, q Querier, name string, number int64) error {
	var taken int64
	err := q.QueryRowContext(ctx, `SELECT c.number FROM experiments e JOIN client_experiments c ON c.experiment_id = e.experiment_id
		WHERE e.name = ? AND c.number <> ? LIMIT 1`, name, number).Scan(&taken)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return quant.Errorf(quant.Conflict, "experiment %d is named %q already", taken, clipped(name))
}

func setExperimentTag(ctx context.Context, q Querier, t metastore.ExperimentTag) error {
	_, err := q.ExecContext(ctx, experimentTagTable.insert()+` ON CONFLICT (experiment_id, name) DO UPDATE SET value = excluded.value`,
		experimentTagTable.values(t)...)
	return err
}

// GetClientExperiment is documented at metastore.Tracking.
func (db *DB) GetClientExperiment(ctx context.Context, number int64) (metastore.ClientExperiment, error) {
	found, err := list(ctx, db, "read an experiment", `SELECT `+clientExperimentColumns+clientExperiments+`WHERE c.number = ?`,
		[]any{number}, scanClientExperiment)
	return theOne(found, err, "experiment %d does not exist", number)
}

// ClientExperimentNamed is documented at metastore.Tracking.
func (db *DB) ClientExperimentNamed(ctx context.Context, name string) (metastore.ClientExperiment, error) {
	found, err := list(ctx, db, "read an experiment", `SELECT `+clientExperimentColumns+`
		FROM experiments e CROSS JOIN client_experiments c ON c.experiment_id = e.experiment_id
		WHERE e.name = ? ORDER BY c.deleted_at IS NOT NULL, c.number LIMIT 1`, []any{name}, scanClientExperiment)
	return theOne(found, err, "there is no experiment %q", clipped(name))
}

// theOne is the only element of a list; NotFound with a message where it has none.
func theOne[T any](found []T, err error, format string, args ...any) (T, error) {
	if err == nil && len(found) == 0 {
		err = quant.Errorf(quant.NotFound, format, args...)
	}
	if err != nil {
		return *new(T), err
	}
	return found[0], nil
}

// ListClientExperiments is documented at metastore.Tracking.
func (db *DB) ListClientExperiments(ctx context.Context) ([]metastore.ClientExperiment, error) {
	return list(ctx, db, "list experiments", `SELECT `+clientExperimentColumns+clientExperiments+`ORDER BY c.number`, nil, scanClientExperiment)
}

// ExperimentTags is documented at metastore.Tracking.
func (db *DB) ExperimentTags(ctx context.Context, experimentID string) ([]metastore.ExperimentTag, error) {
	query, args := `SELECT `+experimentTagTable.columns+` FROM experiment_tags`, []any(nil)
	if experimentID != "" {
		query, args = query+` WHERE experiment_id = ?`, []any{experimentID}
	}
	return list(ctx, db, "read tags of experiments", query+` ORDER BY experiment_id, name`, args, experimentTagTable.scan)
}

// RenameClientExperiment is documented at metastore.Tracking.
func (db *DB) RenameClientExperiment(ctx context.Context, number int64, name string, at quant.Time) error {
	return db.Write(ctx, "rename an experiment", "", func(ctx context.Context, q Querier) error {
		id, err := experimentOf(ctx, q, number)
		if err != nil {
			return err
		}
		if err := unusedName(ctx, q, name, number); err != nil {
			return err
		}
		if _, err := q.ExecContext(ctx, `UPDATE experiments SET name = ? WHERE experiment_id = ?`, name, id); err != nil {
			return err
		}
		_, err = q.ExecContext(ctx, `UPDATE client_experiments SET updated_at = ? WHERE number = ?`, at, number)
		return err
	})
}

// experimentOf is the id of the experiment of a number.
func experimentOf(ctx context.Context, q Querier, number int64) (id string, err error) {
	err = q.QueryRowContext(ctx, `SELECT experiment_id FROM client_experiments WHERE number = ?`, number).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		err = quant.Errorf(quant.NotFound, "experiment %d does not exist", number)
	}
	return id, err
}

// clientRunsOfExperiment are the current runs of clients in an experiment.
const clientRunsOfExperiment = `SELECT t.run_id FROM run_tags t JOIN run_clients c ON c.run_id = t.run_id AND c.continued_by IS NULL
	WHERE t.name = '` + quant.ExperimentTag + `' AND t.value = ?`

// MarkClientExperiment is documented at metastore.Tracking.
func (db *DB) MarkClientExperiment(ctx context.Context, number int64, deleted bool, at quant.Time, byRunID string) error {
	return db.Write(ctx, "mark an experiment", "meta.delete", func(ctx context.Context, q Querier) error {
		id, err := experimentOf(ctx, q, number)
		if err != nil {
			return err
		}
		mark := at
		if !deleted {
			mark = quant.Time{}
		}
		if _, err := q.ExecContext(ctx, `UPDATE client_experiments SET deleted_at = ?, updated_at = ? WHERE number = ?`, mark, at, number); err != nil {
			return err
		}
		if deleted {
			_, err = q.ExecContext(ctx, `INSERT INTO run_deletions (`+deletionTable.columns+`) SELECT run_id, ?2, ?3 FROM (`+clientRunsOfExperiment+`1) WHERE true ON CONFLICT DO NOTHING`,
				id, at, quant.Text(byRunID))
		} else {
			_, err = q.ExecContext(ctx, `DELETE FROM run_deletions WHERE run_id IN (`+clientRunsOfExperiment+`1)`, id)
		}
		return err
	})
}

// SetExperimentTag is documented at metastore.Tracking.
func (db *DB) SetExperimentTag(ctx context.Context, t metastore.ExperimentTag) error {
	return db.Write(ctx, "tag an experiment", "", func(ctx context.Context, q Querier) error {
		var one int
		err := q.QueryRowContext(ctx, `SELECT 1 FROM experiments WHERE experiment_id = ?`, t.ExperimentID).Scan(&one)
		if errors.Is(err, sql.ErrNoRows) {
			return quant.Errorf(quant.NotFound, "experiment %s does not exist", t.ExperimentID)
		}
		if err != nil {
			return err
		}
		return setExperimentTag(ctx, q, t)
	})
}

// DeleteExperimentTag is documented at metastore.Tracking.
func (db *DB) DeleteExperimentTag(ctx context.Context, experimentID, name string) error {
	return db.change(ctx, "delete", fmt.Sprintf("tag %q of experiment %s", clipped(name), experimentID),
		`DELETE FROM experiment_tags WHERE experiment_id = ? AND name = ?`, experimentID, name)
}
