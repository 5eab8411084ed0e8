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
)

// benchID returns distinct ids in time order.
func benchID(n int) string {
	return fmt.Sprintf("%08x-%04x-7000-8000-%012x", 0x019bc0de+(n>>16), n&0xffff, uint64(n)*0x9e3779b97f4a7c15>>16)
}

// durable is the URL of a prepared database on a server that waits for its disk.
func durable(b *testing.B) string {
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

// BenchmarkCommand is a whole command's use of the database: connect, two durable
// commits, disconnect.
func BenchmarkCommand(b *testing.B) {
	url := durable(b)
	for n := 0; b.Loop(); n++ {
		db, err := Open(context.Background(), Options{URL: url})
		if err != nil {
			b.Fatal(err)
		}
		if err := record(db, n); err != nil {
			b.Fatal(err)
		}
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareCommand is the least that such a command can do: a connection, and two
// commits of the rows alone.
func BenchmarkBareCommand(b *testing.B) {
	url := durable(b)
	ctx := context.Background()
	bareTable(b, url)
	for b.Loop() {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			b.Fatal(err)
		}
		bareCommits(b, conn)
		if err := conn.Close(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func bareTable(b *testing.B, url string) {
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
func bareCommits(b *testing.B, conn *pgx.Conn) {
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
