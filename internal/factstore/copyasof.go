package factstore

import (
	"context"
	"time"

	"quant"
	"quant/internal/sqltext"
)

// Past says what a copy of a Fact DB is to hold.
type Past struct {
	// RunID and Ended name the state of ohlcv, as DB.PricesAsOf takes them.
	RunID string
	Ended time.Time
	// Without are the tables that are emptied, and with each what its companions
	// say of it.
	Without []string
}

// CopyAsOf writes a copy of the database to dst, as Backup does, in which the
// prices are those of the past and some tables are empty: for running again
// there what was run then. changed reports whether other prices stand here now.
// The copy has no ledger rows for what was taken from it; it is for a repetition
// alone. After an error what stands at dst is of no use.
func (db *DB) CopyAsOf(ctx context.Context, dst string, past Past) (changed bool, err error) {
	if err := db.Backup(ctx, dst); err != nil {
		return false, err
	}
	o := db.o
	o.Path, o.URL, o.TempDir, o.Fence = dst, "", "", nil
	to, err := OpenWrite(ctx, o)
	if err != nil {
		return false, err
	}
	defer to.Close()
	if changed, err = to.rewind(ctx, past); err != nil {
		return false, err
	}
	return changed, to.Close()
}

func (db *DB) rewind(ctx context.Context, past Past) (changed bool, err error) {
	at, err := db.PricesAsOf(ctx, past.RunID, past.Ended)
	if err != nil {
		return false, err
	}
	then, err := db.StageAsOf(ctx, at)
	if err != nil {
		return false, err
	}
	var statements []string
	if changed = then != OHLCV; changed {
		const earlier = "factstore_prices"
		statements = append(statements,
			"CREATE TEMP TABLE "+earlier+" AS SELECT * FROM "+then,
			"DELETE FROM "+factTable(OHLCV),
			"INSERT INTO "+factTable(OHLCV)+" BY NAME SELECT * FROM temp.main."+earlier)
	}
	for _, name := range past.Without {
		t, known := LookupTable(name)
		if !known {
			return false, quant.Errorf(quant.Invalid, "prepare the copy of the facts: there is no table %s", name)
		}
		tables, err := db.storage(ctx, name)
		if err != nil {
			return false, err
		}
		if tables == nil {
			tables = []string{name}
		}
		for _, table := range tables {
			statements = append(statements, "DELETE FROM "+factTable(table))
		}
		for _, companion := range t.Companions {
			statements = append(statements, "DELETE FROM "+factTable(companion)+" WHERE table_name = "+sqltext.Literal(name))
		}
	}
	for _, s := range statements {
		if _, err := db.conn.ExecContext(ctx, s); err != nil {
			return false, quant.Errorf(quant.Store, "prepare the copy of the facts: %w", err)
		}
	}
	return changed, nil
}
