package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"quant/internal/metastore/sqlite"
	"quant/internal/registry"
	"quant/internal/registry/liveness"
)

// commitsOfConfig is how many durable commits a recorded command makes: start,
// resolved config, end.
const commitsOfConfig = 3

func recordedCommand(ctx context.Context, b *bench) ([]figure, error) {
	dir := filepath.Join(b.dir, "config")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if _, err := process(ctx, dir, b.quant, "config"); err != nil {
		return nil, err
	}
	commits, stop, err := bareCommits(ctx, filepath.Join(dir, "data", "bare.db"))
	if err != nil {
		return nil, err
	}
	defer stop()
	quant := func(args ...string) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			u, err := process(ctx, dir, b.quant, args...)
			return u.wall, err
		}
	}
	fns := []func() (time.Duration, error){
		quant("version"), quant("config"),
		func() (time.Duration, error) { return commits(commitsOfConfig) },
	}
	python, err := exec.LookPath("python3")
	if err == nil {
		script := filepath.Join(dir, "record.py")
		if err := os.WriteFile(script, []byte(pythonRecord), 0o600); err != nil {
			return nil, err
		}
		fns = append(fns, func() (time.Duration, error) {
			u, err := process(ctx, dir, python, script)
			return u.wall, err
		})
	}
	times, err := inTurn(60, fns...)
	if err != nil {
		return nil, err
	}
	version, config, bare := median(times[0]), median(times[1]), median(times[2])
	r := ratio(config-bare, version)
	figures := []figure{
		note("`quant version`, whole process, median of 60", "%s", ms(version)),
		note("`quant config`, whole process", "%s", ms(config)),
		note(fmt.Sprintf("its %d bare durable commits", commitsOfConfig), "%s", ms(bare)),
		{"(config - commits) / version", fmt.Sprintf("%.2f", r), r <= 2.0},
	}
	if len(times) == 4 {
		return append(figures, note("a Python script that only does the same SQLite writes", "%s (config takes %.2f of it)",
			ms(median(times[3])), ratio(config, median(times[3])))), nil
	}
	return append(figures, note("a Python script that only does the same SQLite writes", "not measured: no python3 here")), nil
}

// pythonRecord makes the same three durable commits as a recorded command.
const pythonRecord = `
import json, os, sqlite3, sys, uuid
db = sqlite3.connect("data/python.db", isolation_level=None)
db.execute("PRAGMA journal_mode=WAL")
db.execute("PRAGMA synchronous=FULL")
db.execute("CREATE TABLE IF NOT EXISTS runs (run_id TEXT PRIMARY KEY, kind TEXT, status TEXT, started_at TEXT, ended_at TEXT, config_json TEXT, error_text TEXT)")
run = str(uuid.uuid4())
db.execute("INSERT INTO runs VALUES (?, 'config', 'RUNNING', '2026-01-15T09:30:00.000000Z', NULL, ?, NULL)", (run, json.dumps({"argv": sys.argv})))
db.execute("UPDATE runs SET config_json = ? WHERE run_id = ?", (json.dumps(dict(list(os.environ.items())[:5])), run))
db.execute("UPDATE runs SET status = 'SUCCESS', ended_at = '2026-01-15T09:30:01.000000Z' WHERE run_id = ?", (run,))
`

// bareCommits returns a function that makes n durable commits of one row each
// in a SQLite database with the Meta DB's settings, and times them.
func bareCommits(ctx context.Context, path string) (commit func(n int) (time.Duration, error), stop func(), err error) {
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_synchronous=FULL&_txlock=immediate")
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, `CREATE TABLE bare (id INTEGER PRIMARY KEY, text TEXT)`); err != nil {
		return nil, nil, err
	}
	text := fmt.Sprintf("%0700d", 1) // about what a run's rows hold
	insert, err := db.PrepareContext(ctx, `INSERT INTO bare (text) VALUES (?)`)
	if err != nil {
		return nil, nil, err
	}
	stop = func() { _, _ = insert.Close(), db.Close() }
	return func(n int) (time.Duration, error) {
		start := time.Now()
		for range n {
			if _, err := insert.ExecContext(ctx, text); err != nil {
				return 0, err
			}
		}
		return time.Since(start), nil
	}, stop, nil
}

func registryInProcess(ctx context.Context, b *bench) ([]figure, error) {
	dir := filepath.Join(b.dir, "registry")
	path := filepath.Join(dir, "meta.db")
	store, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		return nil, err
	}
	defer store.Close()
	g := registry.New(registry.Options{Store: store, Liveness: liveness.NewLocks(path+".live", nil)})
	commits, stop, err := bareCommits(ctx, filepath.Join(dir, "bare.db"))
	if err != nil {
		return nil, err
	}
	defer stop()
	same, stopSame, err := sameCommits(ctx, path)
	if err != nil {
		return nil, err
	}
	defer stopSame()
	const batch = 20 // a single pair is too short to time
	times, err := inTurn(100,
		func() (time.Duration, error) {
			start := time.Now()
			for range batch {
				id, err := g.Start(ctx, "bench", map[string]any{"n": 1})
				if err != nil {
					return 0, err
				}
				if err := g.Success(ctx, id); err != nil {
					return 0, err
				}
			}
			return time.Since(start) / batch, nil
		},
		func() (time.Duration, error) { return same(batch) },
		func() (time.Duration, error) {
			d, err := commits(2 * batch)
			return d / batch, err
		})
	if err != nil {
		return nil, err
	}
	pair, bare, small := median(times[0]), median(times[1]), median(times[2])
	r := ratio(pair, bare)
	return []figure{
		note("`Start` + `Success`, median of 100 batches of 20", "%s", ms(pair)),
		note("its two durable commits, bare: the same rows by prepared statements, nothing else", "%s", ms(bare)),
		{"ratio", fmt.Sprintf("%.2f", r), r <= 1.5},
		note("two commits of one row each, in a table without an index or a rule", "%s (ratio %.2f)", ms(small), ratio(pair, small)),
	}, nil
}

// sameCommits returns a function that makes, n times, the two durable commits
// of a run in the Meta DB itself, by prepared statements and without anything
// that a registry adds, and times a pair of them.
func sameCommits(ctx context.Context, path string) (pair func(n int) (time.Duration, error), stop func(), err error) {
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_synchronous=FULL&_foreign_keys=on")
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(1)
	var statements []*sql.Stmt
	for _, text := range []string{
		`BEGIN IMMEDIATE`,
		`INSERT INTO runs (run_id, kind, status, started_at, config_json) VALUES (?, 'bare', 'RUNNING', '2026-01-15T09:30:00.000000Z', '{"n":1}')`,
		`INSERT INTO run_process (run_id, changes, host, user, machine_id, boot_id, pid, process_start, live_lock, argv, work_dir)
			VALUES (?, 1, 'host', 'user', '3d1219c7c4c5404aaa1f6d2a48adfda4', '3ee05520-47f3-42a0-9dd2-be6f18fc9112', 1, '283557', '01a20502-599f-74c5-8058-da1f64198c69', '["bench"]', '/some/folder')`,
		`COMMIT`,
		`BEGIN IMMEDIATE`,
		`UPDATE runs SET status = 'SUCCESS', ended_at = '2026-01-15T09:30:01.000000Z' WHERE run_id = ? AND status = 'RUNNING'`,
		`UPDATE run_process SET exit_code = 0, duration_us = 1000 WHERE run_id = ?`,
		`COMMIT`,
	} {
		statement, err := db.PrepareContext(ctx, text) //nolint:sqlclosecheck // closed with the database, by stop
		if err != nil {
			return nil, nil, err
		}
		statements = append(statements, statement)
	}
	next := 0
	return func(n int) (time.Duration, error) {
		start := time.Now()
		for range n {
			next++
			id := fmt.Sprintf("%08x-%04x-7%03x-8%03x-%012x", 0x018f0000+next>>16, next&0xffff, next&0xfff, next*7919&0xfff, next*104729)
			for i, statement := range statements {
				args := []any{id}
				if i%4 == 0 || i%4 == 3 {
					args = nil
				}
				if _, err := statement.ExecContext(ctx, args...); err != nil {
					return 0, err
				}
			}
		}
		return time.Since(start) / time.Duration(n), nil
	}, func() { _ = db.Close() }, nil
}

// fillRuns stores n closed runs, every tenth of which may change something, the
// way a long life of a lab would have left them.
const fillRuns = `
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
INSERT INTO runs (run_id, kind, status, started_at, ended_at, config_json, error_text)
SELECT printf('%%08x-%%04x-7%%03x-8%%03x-%%012x', 0x018f0000 + i / 65536, i %% 65536, i %% 4096, i %% 4096, abs(random()) %% 0xffffffffffff),
       CASE i %% 10 WHEN 0 THEN 'ingest' WHEN 1 THEN 'sql' ELSE 'config' END,
       CASE WHEN i %% 50 = 0 THEN 'FAIL' ELSE 'SUCCESS' END,
       strftime('%%Y-%%m-%%dT%%H:%%M:%%S', 1700000000 + i, 'unixepoch') || '.000000Z',
       strftime('%%Y-%%m-%%dT%%H:%%M:%%S', 1700000001 + i, 'unixepoch') || '.000000Z',
       '{"argv":["quant","config"]}', CASE WHEN i %% 50 = 0 THEN 'failed' END
FROM n`

const fillProcesses = `INSERT INTO run_process (run_id, changes, pid, host, machine_id, argv, exit_code, duration_us)
SELECT run_id, kind = 'ingest', 1, 'bench', 'bench', '["quant","config"]', status = 'FAIL', 1000 FROM runs WHERE run_id NOT IN (SELECT run_id FROM run_process)`

func millionRuns(ctx context.Context, b *bench) ([]figure, error) {
	sizes := map[string]int{"small": 1_000, "large": 1_000_000}
	for name, n := range sizes {
		dir := filepath.Join(b.dir, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		if _, err := process(ctx, dir, b.quant, "config"); err != nil {
			return nil, err
		}
		db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "data", "meta.db")+"?_journal_mode=WAL&_foreign_keys=on")
		if err != nil {
			return nil, err
		}
		for _, statement := range []string{fmt.Sprintf(fillRuns, n), fillProcesses, `PRAGMA wal_checkpoint(TRUNCATE)`} {
			if _, err := db.ExecContext(ctx, statement); err != nil {
				return nil, fmt.Errorf("fill %s: %w", name, err)
			}
		}
		if err := db.Close(); err != nil {
			return nil, err
		}
	}
	var figures []figure
	for _, command := range [][]string{{"runs", "list"}, {"runs", "show", "last"}} {
		timed := func(name string) func() (time.Duration, error) {
			return func() (time.Duration, error) {
				u, err := process(ctx, filepath.Join(b.dir, name), b.quant, command...)
				return u.wall, err
			}
		}
		times, err := inTurn(40, timed("small"), timed("large"))
		if err != nil {
			return nil, err
		}
		small, large := median(times[0]), median(times[1])
		r := ratio(large, small)
		what := fmt.Sprintf("`quant %s %s`, whole process, with 1,000,000 runs against 1,000", command[0], command[1])
		figures = append(figures, figure{what, fmt.Sprintf("%s / %s = %.2f", ms(large), ms(small), r), r <= 1.5})
	}
	return figures, nil
}
