package app

import (
	"context"
	"time"

	"quant"
	"quant/internal/config"
	"quant/internal/lab"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
)

// claim takes part in the use of the lab, so that nobody puts another in its
// place meanwhile.
func (r *recording) claim(ctx context.Context) (err error) {
	if r.claimed == nil {
		r.claimed, err = lab.Use(ctx, lab.Real(r.env.Settings.Value(config.SQLitePath)))
	}
	return err
}

// openMeta opens another Meta DB, one that stands nowhere yet: no backup is
// taken before it is migrated.
func (r *recording) openMeta(ctx context.Context, path string) (metastore.Store, error) {
	return sqlite.Open(ctx, sqlite.Options{Path: path, Now: r.app.Now, BackupDir: path + ".backups"})
}

// replace closes the Meta DB, calls swap while no other process uses the lab,
// and goes on with the Meta DB that stands there then, which has this run's row.
func (r *recording) replace(ctx context.Context, wait time.Duration, swap func() error) error {
	return r.claimed.Alone(ctx, wait, func() error {
		if err := r.store.Close(); err != nil {
			return err
		}
		swapped := swap()
		store, err := sqlite.Open(ctx, r.options(false))
		if err != nil {
			if swapped != nil {
				return swapped
			}
			return quant.Errorf(quant.CodeOf(err), "open the restored Meta DB: %w", err).WithHint("%s", quant.HintOf(err))
		}
		r.store, r.env.Meta, r.env.Registry.Store = store, store, store
		return swapped
	})
}
