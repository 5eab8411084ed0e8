package relational

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"quant"
	"quant/internal/metastore"
)

// CreateClientRun is documented at metastore.Tracking.
func (db *DB) CreateClientRun(ctx context.Context, r quant.Run, p quant.RunProcess, c metastore.RunClient, b metastore.Batch) error {
	if err := validClientRun(r, p, c); err != nil {
		return err
	}
	if err := b.Validate(); err != nil {
		return err
	}
	return db.Write(ctx, "create run "+r.RunID, "meta.start", func(ctx context.Context, q Querier) error {
		var id sql.NullString
		if err := q.QueryRowContext(ctx, `SELECT `+runOfClient("?1"), c.ClientID).Scan(&id); err != nil {
			return err
		}
		if id.Valid {
			return quant.Errorf(quant.Conflict, "run %s exists already, as run %s", clipped(c.ClientID), id.String)
		}
		if err := db.insertRun(ctx, q, r, p); err != nil {
			return err
		}
		if _, err := q.ExecContext(ctx, runClientTable.insert(), runClientTable.values(c)...); err != nil {
			return err
		}
		return db.logBatch(ctx, q, b)
	})
}

func validClientRun(r quant.Run, p quant.RunProcess, c metastore.RunClient) error {
	if err := r.Validate(); err != nil {
		return err
	}
	switch {
	case r.Status != quant.Running:
		return quant.Errorf(quant.Invalid, "run %s: a new run is RUNNING, not %s", r.RunID, r.Status)
	case p.RunID != r.RunID || c.RunID != r.RunID:
		return quant.Errorf(quant.Invalid, "run %s: its process names run %q, its client run %q", r.RunID, p.RunID, c.RunID)
	}
	return nil
}

// clientRunColumns are those of a run r with its process p, its client c, its
// experiment e and its deletion d.
var clientRunColumns = detailColumns + `, coalesce(c.client_id, replace(r.run_id, '-', '')), coalesce(c.status, ''), e.number, d.deleted_at`

func scanClientRun(c *metastore.ClientRun) []any {
	return append(scanDetail(&c.RunDetail), &c.ClientID, &c.Status, &c.Number, &c.DeletedAt)
}

// clientRunJoins follows a source of run ids called j, with the columns key and id.
const clientRunJoins = ` CROSS JOIN runs r ON r.run_id = j.id LEFT JOIN run_process p ON p.run_id = r.run_id
	LEFT JOIN run_clients c ON c.run_id = r.run_id LEFT JOIN run_deletions d ON d.run_id = r.run_id
	CROSS JOIN run_tags t ON t.run_id = r.run_id AND t.name = '` + quant.ExperimentTag + `'
	CROSS JOIN client_experiments e ON e.experiment_id = t.value ORDER BY j.key`

// runOfClient is the run_id that a client's id value names now, as SQL: that of the
// current run of it, or the run of quant whose id it is.
func runOfClient(value string) string {
	return `coalesce((SELECT run_id FROM run_clients WHERE client_id = ` + value + ` AND continued_by IS NULL),
		(SELECT x.run_id FROM runs x LEFT JOIN run_clients y ON y.run_id = x.run_id WHERE length(` + value + `) = 32 AND y.run_id IS NULL AND x.run_id =
			substr(` + value + `, 1, 8) || '-' || substr(` + value + `, 9, 4) || '-' || substr(` + value + `, 13, 4) || '-' || substr(` + value + `, 17, 4) || '-' || substr(` + value + `, 21)))`
}

var selectClientRuns = `SELECT ` + clientRunColumns + ` FROM (SELECT key, ` + runOfClient("value") + ` AS id FROM json_each(?)) j` + clientRunJoins

// ClientRuns is documented at metastore.Tracking.
func (db *DB) ClientRuns(ctx context.Context, clientIDs []string, brief bool) ([]metastore.ClientRun, error) {
	wanted := listed(clientIDs)
	query := selectClientRuns
	if brief {
		query = briefly(query)
	}
	return list(ctx, db, "read runs of clients", query, []any{wanted}, scanClientRun)
}

var selectClientRunsOf = `SELECT ` + briefly(clientRunColumns) + ` FROM (SELECT key, value AS id FROM json_each(?)) j` + clientRunJoins

// ClientRunsOf is documented at metastore.Tracking.
func (db *DB) ClientRunsOf(ctx context.Context, runIDs []string) ([]metastore.ClientRun, error) {
	wanted := listed(runIDs)
	return list(ctx, db, "read runs of clients", selectClientRunsOf, []any{wanted}, scanClientRun)
}

// EndClientRun is documented at metastore.Tracking.
func (db *DB) EndClientRun(ctx context.Context, end metastore.RunEnd, status string, seen quant.Time) error {
	if err := end.Validate(); err != nil {
		return err
	}
	return db.Write(ctx, "finish run "+end.RunID, "meta.finish", func(ctx context.Context, q Querier) error {
		if err := db.finishRun(ctx, q, end); err != nil {
			return err
		}
		return setClientStatus(ctx, q, end.RunID, status, seen)
	})
}

// SetClientStatus is documented at metastore.Tracking.
func (db *DB) SetClientStatus(ctx context.Context, runID, status string, seen quant.Time) error {
	return db.Write(ctx, "change the status of run "+runID, "", func(ctx context.Context, q Querier) error {
		s, err := db.statusOf(ctx, q, runID)
		if err != nil {
			return err
		}
		if s != quant.Running {
			return quant.Errorf(quant.Conflict, "run %s has ended already, as %s", runID, s)
		}
		return setClientStatus(ctx, q, runID, status, seen)
	})
}

func setClientStatus(ctx context.Context, q Querier, runID, status string, seen quant.Time) error {
	_, err := q.ExecContext(ctx, `UPDATE run_clients SET status = ?, seen_at = ? WHERE run_id = ?`, status, seen, runID)
	return err
}

// continued are the tables whose rows a run that continues another one takes over.
func continued() []string {
	return []string{"run_io", "run_params", "run_tags", "run_metrics", "run_metric_points", "run_metric_latest", "run_metric_nans", "run_notes", "run_artifacts", "run_datasets", "run_models"}
}

// ContinueClientRun is documented at metastore.Tracking.
func (db *DB) ContinueClientRun(ctx context.Context, r quant.Run, p quant.RunProcess, c metastore.RunClient, oldRunID string) error {
	if err := validClientRun(r, p, c); err != nil {
		return err
	}
	return db.Write(ctx, "continue run "+oldRunID, "meta.start", func(ctx context.Context, q Querier) error {
		old, err := db.statusOf(ctx, q, oldRunID)
		if err != nil {
			return err
		}
		if old == quant.Running {
			return quant.Errorf(quant.Conflict, "run %s has not ended", oldRunID)
		}
		var by sql.NullString
		err = q.QueryRowContext(ctx, `SELECT continued_by FROM run_clients WHERE run_id = ?`, oldRunID).Scan(&by)
		if err == nil && by.Valid {
			return quant.Errorf(quant.Conflict, "run %s is continued by run %s already", oldRunID, by.String)
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err := db.insertRun(ctx, q, r, p); err != nil {
			return err
		}
		if errors.Is(err, sql.ErrNoRows) { // a run of quant, which gets a client now
			_, err = q.ExecContext(ctx, `INSERT INTO run_clients (run_id, client_id, status, seen_at, continued_by)
				SELECT run_id, ?2, CASE status WHEN 'SUCCESS' THEN 'FINISHED' ELSE 'FAILED' END, ?3, ?4 FROM runs WHERE run_id = ?1`, oldRunID, c.ClientID, c.SeenAt, r.RunID)
		} else {
			_, err = q.ExecContext(ctx, `UPDATE run_clients SET continued_by = ? WHERE run_id = ?`, r.RunID, oldRunID)
		}
		if err != nil {
			return err
		}
		if _, err := q.ExecContext(ctx, runClientTable.insert(), runClientTable.values(c)...); err != nil {
			return err
		}
		for _, table := range continued() {
			columns, err := Texts(ctx, q, `SELECT name FROM pragma_table_info(?) WHERE name <> 'run_id'`, table)
			if err != nil {
				return err
			}
			list := strings.Join(columns, ", ")
			// What continued the one before that, and the models, are its own.
			_, err = q.ExecContext(ctx, `INSERT INTO `+table+` (run_id, `+list+`) SELECT ?, `+list+` FROM `+table+` WHERE run_id = ?`+
				map[string]string{"run_io": ` AND NOT (direction = 'in' AND kind = '` + quant.IORun + `')`}[table], r.RunID, oldRunID)
			if err != nil {
				return err
			}
		}
		_, err = q.ExecContext(ctx, ioTable.insert(), ioTable.values(quant.RunIO{RunID: r.RunID, Direction: quant.In, Kind: quant.IORun, Name: oldRunID})...)
		return err
	})
}

// DeleteClientRun is documented at metastore.Tracking.
func (db *DB) DeleteClientRun(ctx context.Context, d quant.Deletion) error {
	return db.Write(ctx, "delete run "+d.RunID, "meta.delete", func(ctx context.Context, q Querier) error {
		if _, err := db.statusOf(ctx, q, d.RunID); err != nil {
			return err
		}
		_, err := q.ExecContext(ctx, deletionTable.insert()+` ON CONFLICT DO NOTHING`, deletionTable.values(d)...)
		return err
	})
}

// SeeClientRuns is documented at metastore.Tracking.
func (db *DB) SeeClientRuns(ctx context.Context, seen map[string]quant.Time) error {
	if len(seen) == 0 {
		return nil
	}
	return db.Write(ctx, "note that clients live", "", func(ctx context.Context, q Querier) error {
		for id, at := range seen {
			if _, err := q.ExecContext(ctx, `UPDATE run_clients SET seen_at = ?1 WHERE run_id = ?2 AND seen_at < ?1`, at, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// SilentClientRuns is documented at metastore.Tracking.
func (db *DB) SilentClientRuns(ctx context.Context, since quant.Time, limit int) ([]metastore.RunClient, error) {
	return list(ctx, db, "look for silent clients", `SELECT `+runClientTable.of("c")+`
		FROM run_clients c INDEXED BY run_clients_status CROSS JOIN runs r ON r.run_id = c.run_id
		WHERE c.continued_by IS NULL AND c.status IN ('RUNNING', 'SCHEDULED') AND c.seen_at < ? AND +r.status = 'RUNNING'
		ORDER BY c.seen_at LIMIT ?`, []any{since, limit}, runClientTable.scan)
}

// ParamsAndTagsOf is documented at metastore.Tracking.
func (db *DB) ParamsAndTagsOf(ctx context.Context, runIDs []string) (params []quant.Param, tags []quant.Tag, err error) {
	wanted := listed(runIDs)
	const byRun = "run_id, name"
	if params, err = ofRuns(ctx, db, "run_params", paramTable.columns, byRun, wanted, paramTable.scan); err != nil {
		return nil, nil, err
	}
	tags, err = ofRuns(ctx, db, "run_tags", tagTable.columns, byRun, wanted, tagTable.scan)
	return params, tags, err
}

// Named is documented at metastore.Tracking.
func (db *DB) Named(ctx context.Context, kind string) (bool, error) {
	found, err := list(ctx, db, "look for runs without a client's id", `SELECT run_id FROM runs INDEXED BY runs_kind
		WHERE kind = ? AND NOT EXISTS (SELECT 1 FROM run_clients c WHERE c.run_id = runs.run_id) LIMIT 1`, []any{kind}, func(s *string) []any { return []any{s} })
	return len(found) == 0, err
}
