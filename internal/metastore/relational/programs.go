package relational

import (
	"context"

	"quant"
)

// SaveProgram is documented at metastore.Records.
func (db *DB) SaveProgram(ctx context.Context, p quant.Program) error {
	if err := p.Validate(); err != nil {
		return err
	}
	return db.Write(ctx, "save program of run "+p.RunID, "meta.program", func(ctx context.Context, q Querier) error {
		return saveProgram(ctx, q, p)
	})
}

func saveProgram(ctx context.Context, q Querier, p quant.Program) error {
	_, err := q.ExecContext(ctx, programTable.upsert(), programTable.values(p)...)
	return err
}

// GetProgram is documented at metastore.Records.
func (db *DB) GetProgram(ctx context.Context, runID string) (quant.Program, error) {
	return get(ctx, db, "program of run "+runID, `SELECT `+programTable.columns+` FROM run_programs WHERE run_id = ?`, runID, programTable.scan)
}

// ProgramsOf is documented at metastore.Records.
func (db *DB) ProgramsOf(ctx context.Context, runIDs []string) ([]quant.Program, error) {
	wanted := listed(runIDs)
	return list(ctx, db, "read programs", `SELECT `+programTable.of("p")+` FROM json_each(?) j CROSS JOIN run_programs p ON p.run_id = j.value`,
		[]any{wanted}, programTable.scan)
}
