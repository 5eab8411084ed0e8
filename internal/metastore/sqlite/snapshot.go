package sqlite

import "context"

// Snapshot is documented at metastore.Portable.
func (db *DB) Snapshot(ctx context.Context, fn func(ctx context.Context) error) error {
	if st := db.current(ctx); st != nil {
		return st.join(ctx, fn)
	}
	const what = "begin a snapshot"
	conn, err := db.pool.Conn(ctx)
	if err != nil {
		return db.classify(what, err)
	}
	defer func() { _ = conn.Close() }()
	// The first read fixes the state; until then a deferred transaction has none.
	if _, err := conn.ExecContext(ctx, "BEGIN DEFERRED"); err != nil {
		return db.classify(what, err)
	}
	st := &txState{conn: conn, readOnly: true}
	defer func() {
		st.mu.Lock()
		st.over = true
		st.mu.Unlock()
		rollback(conn)
	}()
	var version int
	if err := conn.QueryRowContext(ctx, "PRAGMA schema_version").Scan(&version); err != nil {
		return db.classify(what, err)
	}
	return fn(context.WithValue(ctx, txKey{db}, st))
}
