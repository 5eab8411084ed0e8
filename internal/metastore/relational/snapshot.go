package relational

import "context"

// Snapshot is documented at metastore.Portable.
func (db *DB) Snapshot(ctx context.Context, fn func(ctx context.Context) error) error {
	if st := db.current(ctx); st != nil {
		return st.join(ctx, fn)
	}
	const what = "begin a snapshot"
	conn, err := db.Pool.Conn(ctx)
	if err != nil {
		return db.Classify(what, err)
	}
	defer func() { _ = conn.Close() }()
	if err := db.dialect.BeginReading(ctx, conn); err != nil {
		return db.Classify(what, err)
	}
	st := &txState{conn: conn, readOnly: true}
	defer func() {
		st.mu.Lock()
		st.over = true
		st.mu.Unlock()
		db.dialect.Rollback(conn)
	}()
	return fn(context.WithValue(ctx, txKey{db}, st))
}
