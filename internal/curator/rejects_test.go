package curator

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"quant"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// Rows that are turned away may be more than the engine holds: they go to disk, and the
// ingest says why they were.
func TestManyRejectsFitIntoLittleMemory(t *testing.T) {
	t.Parallel()
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: filepath.Join(t.TempDir(), "quant.duckdb"), Now: clock, MemoryLimit: 192 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	l := &lab{T: t, db: db, dir: t.TempDir()}
	const rows = 2_000_000 // of days to come
	file := filepath.Join(l.dir, "future.parquet")
	duck(t, fmt.Sprintf("COPY (SELECT 'S' || i %% 1000 AS symbol, DATE '%s' + 1000 + (i // 1000)::INTEGER AS date, 10.0 AS open, 11.0 AS high, 9.0 AS low, 10.5 AS close, 1000.0 AS volume FROM range(%d) t(i)) TO %s (FORMAT parquet)",
		quant.NewDate(clock()), rows, sqltext.Literal(file)))
	r, err := l.ingest(func(r *Request) { r.MaxRejectRatio = 0.01 }, file)
	if !errors.Is(err, quant.Refused) || r.RowsRejected != rows {
		t.Fatalf("%d rejected, %v", r.RowsRejected, err)
	}
	var stored int64
	if err := db.QueryRow(t.Context(), "SELECT count(*) FROM rejects").Scan(&stored); err != nil || stored != rows {
		t.Errorf("%d rejects are stored, %v", stored, err)
	}
}
