package sqlite

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
)

func TestZZ(t *testing.T) {
	vars := [][]string{{}, {"DROP INDEX runs_suffix"}, {"DROP INDEX runs_kind"}, {"DROP INDEX runs_status"}, {"DROP INDEX run_process_changes"}, {"DROP TRIGGER runs_end_once", "DROP TRIGGER runs_keep_identity"}, {"DROP INDEX runs_suffix", "DROP INDEX runs_kind", "DROP INDEX runs_status", "DROP INDEX run_process_changes"}, {"bare"}}
	dbs := make([]*DB, len(vars))
	for i, drop := range vars {
		dbs[i] = openAt(t, filepath.Join(t.TempDir(), "meta.db"))
		dbs[i].pool.SetMaxOpenConns(1)
		for _, d := range drop {
			if d == "bare" {
				d = `CREATE TABLE bare (id INTEGER PRIMARY KEY, text TEXT)`
			}
			if _, err := dbs[i].pool.Exec(d); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx := context.Background()
	at := quant.NewTime(time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC))
	res := make([][]time.Duration, len(vars))
	n := 0
	var code, took int64 = 0, 41_000
	for round := 0; round < 20; round++ {
		for i, v := range vars {
			db := dbs[i]
			const N = 100
			t0 := time.Now()
			for k := 0; k < N; k++ {
				n++
				if len(v) > 0 && v[0] == "bare" {
					for range 2 {
						db.pool.Exec(`INSERT INTO bare (text) VALUES (?)`, "0123456789abcdef")
					}
					continue
				}
				id := benchID(n)
				if err := db.CreateRun(ctx,
					quant.Run{RunID: id, Kind: "config", Status: quant.Running, StartedAt: at, ConfigJSON: quant.JSON(`{"argv":["quant","config"]}`)},
					quant.RunProcess{
						RunID: id, Changes: true, Host: "host", User: "user", MachineID: "0123456789abcdef0123456789abcdef",
						BootID: "01234567-89ab-cdef-0123-456789abcdef", PID: 4711, ProcessStart: "123456", BinaryVersion: "v0.1.0",
						BinaryCommit: "0123456789abcdef0123456789abcdef01234567", Argv: quant.JSON(`["quant","config"]`), WorkDir: "/home/user/lab",
					}); err != nil {
					t.Fatal(err)
				}
				if err := db.FinishRun(ctx, metastore.RunEnd{
					RunID: id, Status: quant.Success, EndedAt: at, ExitCode: &code, DurationUS: &took,
				}); err != nil {
					t.Fatal(err)
				}
			}
			res[i] = append(res[i], time.Since(t0)/N)
		}
	}
	for i, v := range vars {
		slices.Sort(res[i])
		t.Log("X", res[i][2], res[i][10], v)
	}
}
