package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"quant/internal/metastore/postgrestest"
)

// serverCommitsPart is this program as a process that does nothing but connect to a
// server and make the commits of a recorded command: its URL, its run, and "columns" for
// commits of a row of one column in place of those.
const serverCommitsPart = "server-commits"

// serverCommit is a transaction that a recorded command makes, by hand.
type serverCommit []serverStatement

type serverStatement struct {
	sql  string
	args []any
}

// commandOnServer measures a recorded command on PostgreSQL, as a whole process, in turn
// with processes of the same size that connect to the same server and commit by hand.
func commandOnServer(ctx context.Context, b *bench) ([]figure, error) {
	server, end, err := postgrestest.Run(postgrestest.Options{Durable: true})
	if err != nil {
		return nil, err
	}
	defer end()
	if err := createDatabases(ctx, server, "team", "bare"); err != nil {
		return nil, err
	}
	onServer, inFiles := filepath.Join(b.dir, "on-server"), filepath.Join(b.dir, "in-files")
	for _, dir := range []string{onServer, inFiles} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	database := server.URL("team")
	if err := os.WriteFile(filepath.Join(onServer, ".env"), []byte("QUANT_META_URL="+database+"\n"), 0o600); err != nil {
		return nil, err
	}
	run := func(dir, program string, args ...string) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			u, err := process(ctx, dir, program, args...)
			time.Sleep(10 * time.Millisecond) // the server's process ends
			return u.wall, err
		}
	}
	if _, err := run(onServer, b.quant, "init-db")(); err != nil {
		return nil, err
	}
	if err := serverCommits(server.URL("bare"), []string{"table"}); err != nil {
		return nil, err
	}
	n := 0
	byHand := func() (time.Duration, error) {
		n++
		return run(b.dir, self, serverCommitsPart, database, fmt.Sprintf("019bc0de-0000-7000-8000-%012x", n))()
	}
	times, err := inTurn(60,
		run(onServer, b.quant, "version"), run(inFiles, b.quant, "config"), run(onServer, b.quant, "config"), byHand,
		run(b.dir, self, serverCommitsPart, server.URL("bare"), "columns"), run(b.dir, self, serverCommitsPart, server.URL("bare"), "nothing"))
	if err != nil {
		return nil, err
	}
	version, embedded, config, same, columns, connect := median(times[0]), median(times[1]), median(times[2]), median(times[3]), median(times[4]), median(times[5])
	r := ratio(config, same)
	return []figure{
		note("`quant version`; `quant config` of a lab in files; whole processes, median of 60", "%s; %s", ms(version), ms(embedded)),
		note("`quant config` on a server", "%s", ms(config)),
		note(fmt.Sprintf("a process that connects and makes the same %d commits by hand", commitsOfConfig), "%s", ms(same)),
		note("one that makes as many commits of a row of one column", "%s, %.2f", ms(columns), ratio(config, columns)),
		note("one that only connects", "%s", ms(connect)),
		{"config / the same commits by hand", fmt.Sprintf("%.2f", r), r <= 1.5},
	}, nil
}

// createDatabases makes databases that belong to the owner whom their URLs name.
func createDatabases(ctx context.Context, server *postgrestest.Server, names ...string) error {
	conn, err := pgx.Connect(ctx, server.Superuser("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, name := range names {
		if _, err := conn.Exec(ctx, `CREATE DATABASE `+name+` OWNER `+postgrestest.Owner); err != nil {
			return err
		}
	}
	return nil
}

// serverCommits connects, commits and disconnects.
func serverCommits(url string, what []string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var commits []serverCommit
	switch what[0] {
	case "nothing":
	case "table":
		commits = []serverCommit{{{`CREATE TABLE bare (id bigserial PRIMARY KEY, text text)`, nil}}}
	case "columns":
		for range commitsOfConfig {
			commits = append(commits, serverCommit{{`INSERT INTO bare (text) VALUES ('0123456789abcdef')`, nil}})
		}
	default:
		commits = commitsByHand(what[0])
	}
	for _, commit := range commits {
		if _, err := conn.Exec(ctx, "BEGIN"); err != nil {
			return err
		}
		for _, s := range commit {
			if _, err := conn.Exec(ctx, s.sql, append([]any{pgx.QueryExecModeExec}, s.args...)...); err != nil {
				return err
			}
		}
		if _, err := conn.Exec(ctx, "COMMIT"); err != nil {
			return err
		}
	}
	return nil
}

// commitsByHand are those of a command that is recorded as a run: its start, its resolved
// settings, its end.
func commitsByHand(id string) []serverCommit {
	const at = "2026-01-15T09:30:00.000000Z"
	return []serverCommit{
		{
			{`INSERT INTO quant.runs (run_id, kind, status, started_at, config_json) VALUES ($1, $2, $3, $4, $5)`, []any{id, "config", "RUNNING", at, `{"argv":["quant","config"]}`}},
			{
				`INSERT INTO quant.run_process (run_id, changes, host, "user", machine_id, boot_id, pid, process_start, binary_version, binary_commit, argv, work_dir)
					VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
				[]any{
					id, int64(0), "host", "user", "0123456789abcdef0123456789abcdef", "01234567-89ab-cdef-0123-456789abcdef", int64(4711), "123456",
					"v0.1.0", "0123456789abcdef0123456789abcdef01234567", `["quant","config"]`, "/home/user/lab",
				},
			},
		},
		{{`UPDATE quant.runs SET config_json = $1 WHERE run_id = $2 AND status = 'RUNNING'`, []any{`{"argv":["quant","config"],"flags":{},"settings":{"QUANT_DATA_DIR":"./data"}}`, id}}},
		{
			{`UPDATE quant.runs SET status = 'SUCCESS', ended_at = $1 WHERE run_id = $2 AND status = 'RUNNING'`, []any{at, id}},
			{`UPDATE quant.run_process SET exit_code = 0, duration_us = 41000 WHERE run_id = $1`, []any{id}},
		},
	}
}
