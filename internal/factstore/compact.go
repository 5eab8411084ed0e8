package factstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"quant"
	"quant/internal/failpoint"
	"quant/internal/sqltext"
)

// CompactOptions say how a lake is compacted.
type CompactOptions struct {
	// Replaced: files that nothing reads any more for so long are removed. Readers that
	// began earlier may still be at one.
	Replaced time.Duration
	// Expire: snapshots that another followed so long ago, and that are not in Keep, are
	// forgotten; 0: none is.
	Expire time.Duration
	Keep   []int64
	// Since bounds both from below: readers that began so long ago are still reading.
	Since time.Duration
	// DryRun: nothing is changed; what would be is counted as far as that is known.
	DryRun bool
}

// Compacted is what compacting a lake did.
type Compacted struct {
	FilesBefore int64 `json:"files_before"` // of the newest snapshot
	FilesAfter  int64 `json:"files_after"`
	BytesBefore int64 `json:"bytes_before"`
	BytesAfter  int64 `json:"bytes_after"`
	Snapshots   int64 `json:"snapshots"` // that are kept
	Expired     int64 `json:"expired"`   // snapshots
	Removed     int64 `json:"removed"`   // files that nothing read any more
}

// Compact merges the small files of a lake that lie beside one another, so that a
// statement opens fewer of them, and removes what was replaced before. Rows, their
// order within a file and all snapshots that are kept read the same before and after.
// It takes its turn among the writers. Refused: the facts are in a file.
func (db *DB) Compact(ctx context.Context, o CompactOptions) (done Compacted, err error) {
	if db.lake == nil {
		return done, quant.Errorf(quant.Refused, "compact %s: only facts on DuckLake lie in many files", db.path).WithHint("a Fact DB in a file needs none of it")
	}
	if db.readOnly || db.writing || db.lake.pg == nil {
		return done, quant.Errorf(quant.Failed, "compact %s: it is not open for writing", db.path)
	}
	if done.FilesBefore, done.BytesBefore, err = db.lakeFiles(ctx); err != nil {
		return done, err
	}
	if !o.DryRun {
		failpoint.Hit("compact.before")
		if err := db.mergeFiles(ctx); err != nil {
			return done, err
		}
		failpoint.Hit("compact.merged")
	}
	if o.Expire > 0 {
		if done.Expired, err = db.expire(ctx, o); err != nil {
			return done, err
		}
	}
	failpoint.Hit("compact.expired")
	dry := ""
	if o.DryRun {
		dry = ", dry_run => true"
	}
	before, err := db.catalogTime(ctx, max(o.Replaced, o.Since))
	if err != nil {
		return done, err
	}
	if done.Removed, err = db.countRows(ctx, "remove files", "CALL ducklake_cleanup_old_files('"+catalog+"', older_than => "+sqltext.Literal(before.UTC().Format("2006-01-02 15:04:05.000000+00"))+"::TIMESTAMPTZ"+dry+")"); err != nil {
		return done, err
	}
	failpoint.Hit("compact.removed")
	if done.FilesAfter, done.BytesAfter, err = db.lakeFiles(ctx); err != nil {
		return done, err
	}
	err = db.lake.pg.QueryRow(ctx, "SELECT count(*) FROM "+db.metadata("ducklake_snapshot")).Scan(&done.Snapshots)
	return done, db.failed(ctx, "count snapshots", err)
}

// catalogTime is the moment so long ago by the clock of the catalog's database, which is
// that of snapshots and replaced files.
func (db *DB) catalogTime(ctx context.Context, ago time.Duration) (t time.Time, err error) {
	err = db.lake.pg.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&t)
	return t.Add(-ago), db.failed(ctx, "ask for the time", err)
}

// metadata names a table of the catalog in PostgreSQL.
func (db *DB) metadata(table string) string {
	return pgx.Identifier{db.lake.url.Schema, table}.Sanitize()
}

// failed is db.failure of an error that may be nil.
func (db *DB) failed(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	return db.failure(ctx, doing, err)
}

// lakeFiles counts the files that the newest snapshot reads.
func (db *DB) lakeFiles(ctx context.Context) (files, bytes int64, err error) {
	err = db.lake.pg.QueryRow(ctx, "SELECT count(*), coalesce(sum(file_size_bytes), 0)::bigint FROM "+db.metadata("ducklake_data_file")+" WHERE end_snapshot IS NULL").Scan(&files, &bytes)
	return files, bytes, db.failed(ctx, "count files", err)
}

// mergeFiles merges adjacent files. DuckLake commits that by itself, in a snapshot of its
// own, and changes no row, so it stands behind the lock but cannot raise the fence: where
// another process deletes from one of the files meanwhile, one of the two commits fails.
func (db *DB) mergeFiles(ctx context.Context) error {
	var writes int64
	if err := db.conn.QueryRowContext(ctx, "SELECT writes FROM "+fence()).Scan(&writes); err != nil {
		return db.failure(ctx, "read the fence", err)
	}
	if writes != db.lake.fence {
		return db.overtaken()
	}
	_, err := db.countRows(ctx, "merge files", "CALL ducklake_merge_adjacent_files('"+catalog+"')")
	if err != nil && conflicts(err) {
		return db.overtaken()
	}
	return err
}

// expire forgets snapshots, and tells how many.
func (db *DB) expire(ctx context.Context, o CompactOptions) (int64, error) {
	before, err := db.catalogTime(ctx, max(o.Expire, o.Since))
	if err != nil {
		return 0, err
	}
	rows, err := db.lake.pg.Query(ctx, "SELECT snapshot_id FROM (SELECT snapshot_id, lead(snapshot_time) OVER (ORDER BY snapshot_id) AS replaced FROM "+db.metadata("ducklake_snapshot")+") s WHERE replaced < $1 ORDER BY snapshot_id", before)
	if err != nil {
		return 0, db.failure(ctx, "list snapshots", err)
	}
	old, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return 0, db.failure(ctx, "list snapshots", err)
	}
	old = slices.DeleteFunc(old, func(id int64) bool { return slices.Contains(o.Keep, id) })
	if len(old) == 0 || o.DryRun {
		return int64(len(old)), nil
	}
	return db.countRows(ctx, "expire snapshots", "CALL ducklake_expire_snapshots('"+catalog+"', versions => ["+strings.Trim(strings.ReplaceAll(fmt.Sprint(old), " ", ", "), "[]")+"])")
}

// countRows runs a statement of this package to its end, and counts the rows of its
// answer.
func (db *DB) countRows(ctx context.Context, doing, statement string) (n int64, err error) {
	if err := db.renewKeys(ctx); err != nil {
		return 0, err
	}
	rows, err := db.conn.QueryContext(ctx, statement)
	if err != nil {
		return 0, db.failure(ctx, doing, err)
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	return n, db.failed(ctx, doing, rows.Err())
}
