package sqlite

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"quant"
	"quant/internal/durable"
	"quant/internal/metastore/relational"
)

// Backup is documented at metastore.FileStore. The file has mode 0600. Errors:
// Conflict if something stands at path, Failed inside a Tx.
func (db *DB) Backup(ctx context.Context, path string) error {
	if db.InTx(ctx) {
		return quant.Errorf(quant.Failed, "back up meta db %s: not inside a transaction", db.Shown)
	}
	broken := func(err error) error {
		return relational.StoreError(nil, err, "back up meta db %s to %s: %v", db.Shown, path, err).
			WithHint("check that you may write there and that the disk has room; nothing was changed")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return broken(err)
	}
	taken := quant.Errorf(quant.Conflict, "back up meta db %s: %s exists already", db.Shown, path).
		WithHint("name a file that does not exist")
	if _, err := os.Lstat(abs); err == nil {
		return taken
	}
	// Whole or not at all: under another name until it is complete.
	partial, err := durable.Begin(abs, 0o600)
	if err != nil {
		return broken(err)
	}
	defer partial.Discard()
	if _, err := db.Pool.ExecContext(ctx, `VACUUM INTO ?`, partial.Name()); err != nil {
		return db.Classify("back up to "+path, err)
	}
	// It is written without a log and without syncing.
	if err := db.reread(ctx, partial.Name()); err != nil {
		return db.notWritten("back up to "+path, err)
	}
	err = partial.Create()
	if errors.Is(err, durable.ErrExists) {
		return taken
	}
	if err != nil {
		return broken(err)
	}
	return nil
}
