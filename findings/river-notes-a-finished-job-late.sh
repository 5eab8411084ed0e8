#!/usr/bin/env bash
# River says that a job is over up to a quarter of a second after its worker has returned.
#
# Version    github.com/riverqueue/river v0.51.2 with riversqlite v0.51.2
# Guess      When Work returns nil, the job is completed in the database a few milliseconds
#            later: nothing else waits to be written, and FetchPollInterval and FetchCooldown
#            are set low.
# Behaviour  The state is written by a batch that looks every 50 ms and, with fewer than a
#            hundred jobs to note, writes at every fifth look. No setting says so. Whoever
#            waits for the row waits 125 ms in the middle. Client.Stop writes the batch at once.
# Output     30 jobs: completed in the database 126 ms after Work returned in the middle, 447 ms
#            at most; with Stop as soon as Work has returned 1 ms (on a busy machine)
#
# Exits with 1 if that changes: if the middle is below 40 ms, or Stop takes as long.
# Needs Go, gcc and a module proxy; works in a temporary folder.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"
cat >main.go <<'GO'
package main

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	_ "github.com/mattn/go-sqlite3"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
)

type nothing struct{}

func (nothing) Kind() string { return "nothing" }

type worker struct {
	river.WorkerDefaults[nothing]
	returned chan time.Time
}

func (w *worker) Work(context.Context, *river.Job[nothing]) error {
	w.returned <- time.Now()
	return nil
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	ctx := context.Background()
	db := must(sql.Open("sqlite3", "file:jobs.sqlite3?_journal_mode=WAL&_txlock=immediate"))
	db.SetMaxOpenConns(1)
	driver := riversqlite.New(db)
	must(must(rivermigrate.New(driver, nil)).Migrate(ctx, rivermigrate.DirectionUp, nil))
	start := func() (*river.Client[*sql.Tx], *worker) {
		w := &worker{returned: make(chan time.Time, 1)}
		workers := river.NewWorkers()
		river.AddWorker(workers, w)
		client := must(river.NewClient(driver, &river.Config{
			Logger: slog.New(slog.DiscardHandler), Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}, Workers: workers,
			FetchPollInterval: 20 * time.Millisecond, FetchCooldown: time.Millisecond, PollOnly: true,
		}))
		if err := client.Start(ctx); err != nil {
			panic(err)
		}
		return client, w
	}
	completed := func(client *river.Client[*sql.Tx], id int64) time.Time {
		for must(client.JobGet(ctx, id)).State != rivertype.JobStateCompleted {
			time.Sleep(time.Millisecond)
		}
		return time.Now()
	}
	client, w := start()
	var after []time.Duration
	for i := range 30 {
		time.Sleep(time.Duration(i*37%250) * time.Millisecond)
		id := must(client.Insert(ctx, nothing{}, nil)).Job.ID
		returned := <-w.returned
		after = append(after, completed(client, id).Sub(returned))
	}
	_ = client.Stop(ctx)
	var stopped []time.Duration
	for range 5 {
		client, w := start()
		id := must(client.Insert(ctx, nothing{}, nil)).Job.ID
		returned := <-w.returned
		_ = client.Stop(ctx)
		stopped = append(stopped, completed(client, id).Sub(returned))
	}
	slices.Sort(after)
	slices.Sort(stopped)
	middle, quick := after[len(after)/2], stopped[len(stopped)/2]
	fmt.Printf("%d jobs: completed in the database %d ms after Work returned in the middle, %d ms at most; with Stop as soon as Work has returned %d ms\n",
		len(after), middle.Milliseconds(), after[len(after)-1].Milliseconds(), quick.Milliseconds())
	if middle < 40*time.Millisecond || quick > middle/2 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/riverqueue/river@v0.51.2 github.com/riverqueue/river/riverdriver/riversqlite@v0.51.2 github.com/mattn/go-sqlite3@v1.14.32 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go run .
