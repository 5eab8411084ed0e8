package postgres

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/postgrestest"
	"quant/internal/test/soak"
)

// benchID returns distinct ids in time order.
func benchID(n int) string {
	return fmt.Sprintf("%08x-%04x-7000-8000-%012x", 0x019bc0de+(n>>16), n&0xffff, uint64(n)*0x9e3779b97f4a7c15>>16)
}

// durable is the URL of a prepared database on a server that waits for its disk.
func durable(b testing.TB) string {
	b.Helper()
	url := postgrestest.Start(b, postgrestest.Options{Durable: true}).Database(b)
	db, err := Open(context.Background(), Options{URL: url, Create: true})
	if err != nil {
		b.Fatal(err)
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	return url
}

// record records one run, as a command does.
func record(db *DB, n int) error {
	ctx, id := context.Background(), benchID(n)
	at := quant.NewTime(time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC))
	var code, took int64 = 0, 41_000
	if err := db.CreateRun(ctx,
		quant.Run{RunID: id, Kind: "config", Status: quant.Running, StartedAt: at, ConfigJSON: quant.JSON(`{"argv":["quant","config"]}`)},
		quant.RunProcess{
			RunID: id, Changes: true, Host: "host", User: "user", MachineID: "0123456789abcdef0123456789abcdef",
			BootID: "01234567-89ab-cdef-0123-456789abcdef", PID: 4711, ProcessStart: "123456", BinaryVersion: "v0.1.0",
			BinaryCommit: "0123456789abcdef0123456789abcdef01234567", Argv: quant.JSON(`["quant","config"]`), WorkDir: "/home/user/lab",
		}); err != nil {
		return err
	}
	return db.FinishRun(ctx, metastore.RunEnd{RunID: id, Status: quant.Success, EndedAt: at, ExitCode: &code, DurationUS: &took})
}

// TestACommandCostsLittleMoreThanItsConnection compares, side by side, a whole command's
// use of the database (connect, look at it, record a run in two durable commits,
// disconnect) with a bare connection that makes the same two commits by hand, and with
// one that commits one row of one column twice. The best of many is what neither the
// disk nor another process has disturbed.
func TestACommandCostsLittleMoreThanItsConnection(t *testing.T) {
	if !soak.Full(t) {
		t.Skip("it measures, and needs a quiet machine")
	}
	url := durable(t)
	bareTable(t, url)
	ctx := context.Background()
	whole, same, bare := time.Hour, time.Hour, time.Hour
	connected := func(best *time.Duration, fn func(conn *pgx.Conn)) {
		begun := time.Now()
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		fn(conn)
		if err := conn.Close(ctx); err != nil {
			t.Fatal(err)
		}
		*best = min(*best, time.Since(begun))
		time.Sleep(5 * time.Millisecond) // the server's process ends
	}
	for n := range 150 {
		begun := time.Now()
		db, err := Open(ctx, Options{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		if err := record(db, 2*n); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		whole = min(whole, time.Since(begun))
		time.Sleep(5 * time.Millisecond)

		connected(&same, func(conn *pgx.Conn) { sameCommits(t, conn, benchID(2*n+1)) })
		connected(&bare, func(conn *pgx.Conn) { bareCommits(t, conn) })
	}
	times := float64(whole) / float64(same)
	t.Logf("a recorded run %v; a bare connection and the same commits %v (%.2f times); and commits of one column %v (%.2f times)",
		whole, same, times, bare, float64(whole)/float64(bare))
	if times > 1.5 {
		t.Errorf("a command takes %.2f times as long as a bare connection with its commits", times)
	}
}

// sameCommits records a run by hand.
func sameCommits(t testing.TB, conn *pgx.Conn, id string) {
	t.Helper()
	const at = "2026-01-15T09:30:00.000000Z"
	for _, s := range []struct {
		sql  string
		args []any
	}{
		{`BEGIN`, nil},
		{
			`INSERT INTO quant.runs (run_id, kind, status, started_at, config_json) VALUES ($1, $2, $3, $4, $5)`,
			[]any{pgx.QueryExecModeExec, id, "config", "RUNNING", at, `{"argv":["quant","config"]}`},
		},
		{
			`INSERT INTO quant.run_process (run_id, changes, host, "user", machine_id, boot_id, pid, process_start, binary_version, binary_commit, argv, work_dir)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
			[]any{
				pgx.QueryExecModeExec, id, int64(1), "host", "user", "0123456789abcdef0123456789abcdef", "01234567-89ab-cdef-0123-456789abcdef", int64(4711), "123456",
				"v0.1.0", "0123456789abcdef0123456789abcdef01234567", `["quant","config"]`, "/home/user/lab",
			},
		},
		{`COMMIT`, nil},
		{`BEGIN`, nil},
		{`UPDATE quant.runs SET status = 'SUCCESS', ended_at = $1 WHERE run_id = $2 AND status = 'RUNNING'`, []any{pgx.QueryExecModeExec, at, id}},
		{`UPDATE quant.run_process SET exit_code = 0, duration_us = 41000 WHERE run_id = $1`, []any{pgx.QueryExecModeExec, id}},
		{`COMMIT`, nil},
	} {
		if _, err := conn.Exec(context.Background(), s.sql, s.args...); err != nil {
			t.Fatal(err)
		}
	}
}

func bareTable(b testing.TB, url string) {
	b.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(context.Background(), `CREATE TABLE bare (id bigserial PRIMARY KEY, text text)`); err != nil {
		b.Fatal(err)
	}
}

// bareCommits are two durable commits of one small row each.
func bareCommits(b testing.TB, conn *pgx.Conn) {
	b.Helper()
	for range 2 {
		for _, s := range []string{`BEGIN`, `INSERT INTO bare (text) VALUES ('0123456789abcdef')`, `COMMIT`} {
			if _, err := conn.Exec(context.Background(), s); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkStartFinish is what a recorded run costs over a connection that is there: two
// durable commits.
func BenchmarkStartFinish(b *testing.B) {
	db := openAt(b, durable(b))
	for n := 0; b.Loop(); n++ {
		if err := record(db, n); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBareCommits(b *testing.B) {
	url := durable(b)
	bareTable(b, url)
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for b.Loop() {
		bareCommits(b, conn)
	}
}

// BenchmarkPoints stores a batch of 10,000 points of 10 metrics.
func BenchmarkPoints(b *testing.B) {
	db := openAt(b, durable(b))
	ctx := context.Background()
	at := quant.NewTime(time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC))
	for n := 0; b.Loop(); n++ {
		id := benchID(n)
		if err := db.CreateRun(ctx, quant.Run{RunID: id, Kind: "train", Status: quant.Running, StartedAt: at}, quant.RunProcess{RunID: id}); err != nil {
			b.Fatal(err)
		}
		var batch metastore.Batch
		for i := range 10_000 {
			batch.Metrics = append(batch.Metrics, quant.MetricPoint{RunID: id, Name: fmt.Sprint("metric", i%10), Step: quant.AutoStep, Value: float64(i), LoggedAt: at})
		}
		if err := db.Log(ctx, batch); err != nil {
			b.Fatal(err)
		}
	}
}
