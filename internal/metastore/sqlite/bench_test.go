package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
)

// benchID returns distinct ids in time order.
func benchID(n int) string {
	return fmt.Sprintf("%08x-%04x-7000-8000-%012x", 0x019bc0de+(n>>16), n&0xffff, uint64(n)*0x9e3779b97f4a7c15>>16)
}

// BenchmarkStartFinish is what a recorded run costs: two durable commits.
func BenchmarkStartFinish(b *testing.B) {
	db := openAt(b, filepath.Join(b.TempDir(), "meta.db"))
	ctx := context.Background()
	at := quant.NewTime(time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC))
	var code, took int64 = 0, 41_000
	for n := 0; b.Loop(); n++ {
		id := benchID(n)
		if err := db.CreateRun(ctx,
			quant.Run{RunID: id, Kind: "config", Status: quant.Running, StartedAt: at, ConfigJSON: quant.JSON(`{"argv":["quant","config"]}`)},
			quant.RunProcess{
				RunID: id, Changes: true, Host: "host", User: "user", MachineID: "0123456789abcdef0123456789abcdef",
				BootID: "01234567-89ab-cdef-0123-456789abcdef", PID: 4711, ProcessStart: "123456", BinaryVersion: "v0.1.0",
				BinaryCommit: "0123456789abcdef0123456789abcdef01234567", Argv: quant.JSON(`["quant","config"]`), WorkDir: "/home/user/lab",
			}); err != nil {
			b.Fatal(err)
		}
		if err := db.FinishRun(ctx, metastore.RunEnd{
			RunID: id, Status: quant.Success, EndedAt: at, ExitCode: &code, DurationUS: &took,
		}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareCommits is what two durable commits of one small row each cost
// in a database of the same make.
func BenchmarkBareCommits(b *testing.B) {
	db := openAt(b, filepath.Join(b.TempDir(), "meta.db"))
	if _, err := db.Pool.Exec(`CREATE TABLE bare (id INTEGER PRIMARY KEY, text TEXT)`); err != nil {
		b.Fatal(err)
	}
	insert, err := db.Pool.Prepare(`INSERT INTO bare (text) VALUES (?)`)
	if err != nil {
		b.Fatal(err)
	}
	defer insert.Close()
	for b.Loop() {
		for range 2 {
			if _, err := insert.Exec("0123456789abcdef"); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkOpenAndCheck is what a command pays before its first statement.
func BenchmarkOpenAndCheck(b *testing.B) {
	path := filepath.Join(b.TempDir(), "meta.db")
	openAt(b, path) // stays open, so that closing the other does not write the log back
	for b.Loop() {
		db, err := Open(context.Background(), Options{Path: path})
		if err != nil {
			b.Fatal(err)
		}
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoneOpenWriteClose is a whole command's use of the database: the
// last one to close also writes the log back.
func BenchmarkLoneOpenWriteClose(b *testing.B) {
	path := filepath.Join(b.TempDir(), "meta.db")
	db := openAt(b, path)
	_ = db.Close()
	at := quant.NewTime(time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC))
	for n := 0; b.Loop(); n++ {
		db, err := Open(context.Background(), Options{Path: path})
		if err != nil {
			b.Fatal(err)
		}
		id := benchID(n)
		if err := db.CreateRun(context.Background(), quant.Run{RunID: id, Kind: "config", Status: quant.Running, StartedAt: at}, quant.RunProcess{RunID: id}); err != nil {
			b.Fatal(err)
		}
		if err := db.FinishRun(context.Background(), metastore.RunEnd{RunID: id, Status: quant.Success, EndedAt: at}); err != nil {
			b.Fatal(err)
		}
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
