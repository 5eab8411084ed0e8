package factstore

import (
	"context"
	"errors"
)

// ExecUnchecked runs any statements on the connection: for tests that break a
// database, or show that nobody else can.
func (db *DB) ExecUnchecked(ctx context.Context, query string, args ...any) error {
	_, err := db.conn.ExecContext(ctx, query, args...)
	return err
}

// ExecUnchecked runs any statements in the transaction, uncounted.
func (tx *Tx) ExecUnchecked(ctx context.Context, query string, args ...any) error {
	return tx.db.ExecUnchecked(ctx, query, args...)
}

// CountUnchecked counts changes that nobody made.
func (tx *Tx) CountUnchecked(table string, inserted, updated, deleted int64) {
	tx.count(table, inserted, updated, deleted)
}

// AttachError is what is made of an error of attaching a file.
var AttachError = attachError

// FeatureRelation is the relation whatever other tables hold.
func FeatureRelation(version string, names ...string) string {
	return featureRelation(ownVersions(), version, names...)
}

// OutputsDir is the folder of the staged outputs.
func (db *DB) OutputsDir() (string, error) {
	folder, is := db.staging().(stagingFolder)
	if !is {
		return "", errors.New("it is no folder")
	}
	return folder.above, nil
}
