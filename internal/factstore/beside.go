package factstore

import (
	"context"

	"quant"
)

// Beside returns a DB that reads the same opening at the same time, with a connection
// and TEMP tables of its own, so that several goroutines can read what one process may
// open once. db must be open for reading, or hold a file for writing; it stays open, and
// writes nothing, until every DB beside it is closed. Where a lake is written to, nobody
// reads beside: Failed.
//
// The end of life interrupts what runs, and ends what is asked later, with its cause.
// Settings of the engine stay as they are: Unordered and WithMemory only run what they
// are given; Backup, Files, Alone and TrustBounds are Failed.
func (db *DB) Beside(ctx, life context.Context) (*DB, error) {
	if !db.readOnly && (db.lake != nil || db.writing) {
		return nil, quant.Errorf(quant.Failed, "fact db %s: nobody reads beside who writes to it", db.path)
	}
	db.engine.SetMaxIdleConns(-1) // a connection goes with its TEMP tables
	conn, err := db.engine.Conn(ctx)
	if err != nil {
		return nil, failure("read fact db "+db.path, err)
	}
	if _, err := conn.ExecContext(ctx, "USE "+catalog); err != nil {
		_ = conn.Close()
		return nil, failure("read fact db "+db.path, err)
	}
	return &DB{path: db.path, o: db.o, readOnly: true, conn: conn, spill: db.spill, made: db.made, life: life, lake: db.lake}, nil
}

// within is a context that ends with the DB's life, too.
func (db *DB) within(ctx context.Context) context.Context {
	if db.life == nil {
		return ctx
	}
	ctx, end := context.WithCancelCause(ctx)
	context.AfterFunc(db.life, func() { end(context.Cause(db.life)) })
	return ctx
}

func errShared(path string) error {
	return quant.Errorf(quant.Failed, "fact db %s: not while its opening is shared", path)
}
