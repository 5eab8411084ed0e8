package sqlite

import (
	"context"

	"quant"
)

const programColumns = `run_id, path, child_pid, child_start, signal, user_us, system_us, max_rss_bytes, output_bytes, output_cut_bytes, environment_json`

func scanProgram(p *quant.Program) []any {
	return []any{
		&p.RunID, &p.Path, &p.ChildPID, &p.ChildStart, &p.Signal, &p.UserUS, &p.SystemUS,
		&p.MaxRSSBytes, &p.OutputBytes, &p.OutputCutBytes, &p.EnvironmentJSON,
	}
}

// SaveProgram is documented at metastore.Records.
func (db *DB) SaveProgram(ctx context.Context, p quant.Program) error {
	if err := p.Validate(); err != nil {
		return err
	}
	return db.write(ctx, "save program of run "+p.RunID, "meta.program", func(ctx context.Context, q querier) error {
		return saveProgram(ctx, q, p)
	})
}

func saveProgram(ctx context.Context, q querier, p quant.Program) error {
	_, err := q.ExecContext(ctx, `INSERT OR REPLACE INTO run_programs (`+programColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		p.RunID, p.Path, p.ChildPID, p.ChildStart, p.Signal, p.UserUS, p.SystemUS, p.MaxRSSBytes, p.OutputBytes, p.OutputCutBytes, p.EnvironmentJSON)
	return err
}

// GetProgram is documented at metastore.Records.
func (db *DB) GetProgram(ctx context.Context, runID string) (quant.Program, error) {
	return get(ctx, db, "program of run "+runID, `SELECT `+programColumns+` FROM run_programs WHERE run_id = ?`, runID, scanProgram)
}
