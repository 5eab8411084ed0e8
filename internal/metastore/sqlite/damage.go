package sqlite

import (
	"context"

	"github.com/mattn/go-sqlite3"

	"quant/internal/metastore"
)

// EngineVersion returns the version of SQLite that is linked in.
func EngineVersion() string {
	v, _, _ := sqlite3.Version()
	return "v" + v
}

// Damage examines the pages of an open database and returns metastore.ErrDamaged if they
// are not sound, so that a remedy can decide to start anew before it records
// itself in a file that is falling apart. nil when all is well; rows that
// break a rule are no damage (Check names them).
func (db *DB) Damage(ctx context.Context) error {
	problems, err := db.checkPages(ctx, db.pool)
	if err != nil {
		return storeError(metastore.ErrDamaged, err, "meta db %s: cannot be examined: %v", db.shown, err).WithHint("%s", hintDamaged)
	}
	if len(problems) > 0 {
		return storeError(metastore.ErrDamaged, nil, "meta db %s: %s", db.shown, problems[0].What).WithHint("%s", hintDamaged)
	}
	return nil
}
