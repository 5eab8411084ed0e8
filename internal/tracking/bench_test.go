package tracking_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/registry"
	"quant/internal/tracking"
)

// BenchmarkBareInsert is what LogMetric is measured against: one durable insert.
func BenchmarkBareInsert(b *testing.B) {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(b.TempDir(), "bare.db")+"?_journal_mode=WAL&_synchronous=FULL&_stmt_cache_size=8")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE metrics (run TEXT, name TEXT, step INTEGER, at INTEGER, value REAL)`); err != nil {
		b.Fatal(err)
	}
	for n := range b.N {
		if _, err := db.Exec(`INSERT INTO metrics VALUES (?, ?, ?, ?, ?)`, "run", "m", n, n, float64(n)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareBatch is what Log of 1,000 points is measured against: a durable
// transaction of 1,000 inserts by one prepared statement.
func BenchmarkBareBatch(b *testing.B) {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(b.TempDir(), "bare.db")+"?_journal_mode=WAL&_synchronous=FULL&_stmt_cache_size=8")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE metrics (run TEXT, name TEXT, step INTEGER, at INTEGER, value REAL)`); err != nil {
		b.Fatal(err)
	}
	for range b.N {
		tx, err := db.Begin()
		if err != nil {
			b.Fatal(err)
		}
		insert, err := tx.Prepare(`INSERT INTO metrics VALUES (?, ?, ?, ?, ?)`)
		if err != nil {
			b.Fatal(err)
		}
		defer insert.Close()
		for n := range 1000 {
			if _, err := insert.Exec("run", "m", n, n, float64(n)); err != nil {
				b.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
	}
}

func openedForBench(b *testing.B) (*tracking.Tracking, string) {
	b.Helper()
	store, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(b.TempDir(), "meta.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	t := tracking.New(tracking.Options{Store: store, Registry: registry.New(registry.Options{Store: store})})
	r, err := t.CreateRun(context.Background(), tracking.NewRun{UserID: "me"})
	if err != nil {
		b.Fatal(err)
	}
	return t, r.ClientID
}

func BenchmarkLogMetric(b *testing.B) {
	t, id := openedForBench(b)
	b.ResetTimer()
	for n := range b.N {
		if err := t.LogMetric(context.Background(), id, tracking.Metric{Key: "m", Value: float64(n), Timestamp: int64(n), Step: int64(n)}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLogMetricByManyClients(b *testing.B) {
	t, id := openedForBench(b)
	b.SetParallelism(50)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for n := 0; p.Next(); n++ {
			if err := t.LogMetric(context.Background(), id, tracking.Metric{Key: "m", Value: float64(n), Timestamp: int64(n), Step: int64(n)}); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkLogBatch(b *testing.B) {
	t, id := openedForBench(b)
	batch := tracking.LogBatch{Metrics: make([]tracking.Metric, 1000)}
	b.ResetTimer()
	for n := range b.N {
		for i := range batch.Metrics {
			batch.Metrics[i] = tracking.Metric{Key: "m" + strconv.Itoa(i%10), Value: float64(i), Timestamp: int64(n), Step: int64(n*1000 + i)}
		}
		if err := t.Log(context.Background(), id, batch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGetRun(b *testing.B) {
	t, id := openedForBench(b)
	batch := tracking.LogBatch{}
	for i := range 10 {
		batch.Metrics = append(batch.Metrics, tracking.Metric{Key: "m" + strconv.Itoa(i), Timestamp: 1})
		batch.Params = append(batch.Params, tracking.Param{Key: "p" + strconv.Itoa(i), Value: "v"})
	}
	if err := t.Log(context.Background(), id, batch); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		if _, err := t.GetRun(context.Background(), id); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAPageAmongManyRunsIsFoundInTheOrderOfAnIndex measures pages among as many runs
// as QUANT_TRACKING_RUNS says, each with 3 metrics, 2 params and 4 tags. Without it
// there is nothing to measure.
func TestAPageAmongManyRunsIsFoundInTheOrderOfAnIndex(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("QUANT_TRACKING_RUNS"))
	if n == 0 {
		t.Skip("QUANT_TRACKING_RUNS says among how many runs")
	}
	path := os.Getenv("QUANT_TRACKING_DB")
	ctx := context.Background()
	_, missing := os.Stat(path)
	store, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	tr := tracking.New(tracking.Options{Store: store, Registry: registry.New(registry.Options{Store: store})})
	if missing != nil {
		id, err := tr.CreateExperiment(ctx, "many", "", nil)
		if err != nil || id != "2" && id != "1" {
			t.Fatal(id, err)
		}
		fillRuns(t, path, "mlflow-"+id, n)
	}
	e, err := tr.ExperimentNamed(ctx, "many")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []tracking.RunSearch{
		{},
		{Filter: "metrics.m0 > 0.5"},
		{Filter: "metrics.m0 > 0.9999"},
		{Filter: "metrics.m0 > 0.98"},
		{Filter: "metrics.m0 > 0.95"},
		{Filter: "metrics.m0 > 0.5 AND metrics.m1 < 0.5"},
		{Filter: "metrics.m0 > 0.9 AND metrics.m1 < 0.1"},
		{Filter: "run_id = '018bd05c12e870008000000000001e61'"},
		{Filter: "run_id IN ('018bd05c12e870008000000000001e61', 'none')"},
		{Filter: "artifact_uri = 'mlflow-artifacts:/1/018bd05c12e870008000000000001e61/artifacts'"},
		{Filter: "params.p0 = '7'"},
		{Filter: "tags.t0 = 'v3' AND metrics.m1 < 0.1"},
		{Filter: "attributes.status = 'FAILED'"},
		{Filter: "attributes.status = 'FINISHED'"},
		{Filter: "attributes.run_name = 'run-77'"},
		{Filter: "attributes.run_name LIKE 'run-7%'"},
		{Filter: "attributes.run_name ILIKE 'RUN-777%'"},
		{Filter: "attributes.user_id = 'u3'"},
		{Filter: "start_time > 1700000500000"},
		{Filter: "end_time > 1700000500000"},
		{Filter: "params.p0 != '7'"},
		{Filter: "tags.none IS NULL"},
		{Filter: "params.p1 LIKE '%9%'"},
		{Offset: 4900},
		{Filter: "params.p0 = '7'", Offset: 4900},
		{OrderBy: []string{"metrics.m0 DESC"}, Offset: 4900},
		{OrderBy: []string{"params.p0 ASC"}, Offset: 4900},
		{OrderBy: []string{"metrics.m0 DESC"}},
		{OrderBy: []string{"metrics.m0 ASC"}},
		{OrderBy: []string{"params.p0 ASC"}},
		{OrderBy: []string{"params.p1 DESC"}},
		{OrderBy: []string{"tags.t0 DESC"}},
		{OrderBy: []string{"start_time ASC"}},
		{OrderBy: []string{"end_time DESC"}},
		{OrderBy: []string{"status ASC"}},
		{OrderBy: []string{"attributes.run_name ASC"}},
		{OrderBy: []string{"user_id ASC"}},
		{OrderBy: []string{"run_id ASC"}},
		{OrderBy: []string{"artifact_uri ASC"}},
		{OrderBy: []string{"run_id DESC"}, Offset: 4900},
		{OrderBy: []string{"metrics.m0 DESC", "params.p0 ASC"}},
		{Filter: "metrics.m1 > 0.5", OrderBy: []string{"metrics.m0 DESC"}},
		{Filter: "metrics.m1 > 0.999", OrderBy: []string{"metrics.m0 DESC"}},
	} {
		s.ExperimentIDs, s.Max = []string{e.ID()}, 100
		if s.Offset > 0 { // as a client comes there, page by page
			before := s
			before.Offset, before.Max = 0, int64(s.Offset)
			page, err := tr.SearchRuns(ctx, before)
			if err != nil {
				t.Fatal(s, err)
			}
			s.After = page.Last
		}
		best := time.Hour
		var page tracking.RunPage
		for range 3 {
			begun := time.Now()
			if page, err = tr.SearchRuns(ctx, s); err != nil {
				t.Fatal(s, err)
			}
			best = min(best, time.Since(begun))
		}
		t.Logf("%8.1f ms %4d runs after %d  %s %v", float64(best.Microseconds())/1000, len(page.Runs), s.Offset, s.Filter, s.OrderBy)
		if os.Getenv("QUANT_TRACKING_EXPLAIN") != "" && best > 25*time.Millisecond {
			plans, err := tr.Explain(ctx, s)
			for _, p := range plans {
				t.Logf("%d %v", p.Runs, p.Plan)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	var _ metastore.Store = store
}

// fillRuns makes runs of clients set by set.
func fillRuns(t *testing.T, path, experiment string, n int) {
	db, err := sql.Open("sqlite3", "file:"+path+"?_foreign_keys=on")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, s := range []string{
		`PRAGMA synchronous = OFF`, `PRAGMA cache_size = -3000000`,
		fmt.Sprintf(`CREATE TEMP TABLE n AS WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < %d - 1)
			SELECT i, printf('%%08x-%%04x-7000-8000-%%012x', (1700000000000 + i * 1000) >> 16, (1700000000000 + i * 1000) & 65535, i) AS id,
				strftime('%%Y-%%m-%%dT%%H:%%M:%%S', 1700000000 + i, 'unixepoch') || '.000000Z' AS at FROM c`, n),
		`INSERT INTO runs (run_id, kind, status, started_at, ended_at, error_text) SELECT id, 'mlflow', CASE i % 10 WHEN 0 THEN 'FAIL' ELSE 'SUCCESS' END, at, at, CASE i % 10 WHEN 0 THEN 'x' END FROM n`,
		`INSERT INTO run_process (run_id, changes, user, pid) SELECT id, 1, 'u' || (i % 7), 0 FROM n`,
		`INSERT INTO run_clients SELECT id, replace(id, '-', ''), CASE i % 10 WHEN 0 THEN 'FAILED' ELSE 'FINISHED' END, at, NULL FROM n`,
		`INSERT INTO run_tags SELECT id, 'experiment', '` + experiment + `', NULL FROM n`,
		`INSERT INTO run_tags SELECT id, 'name', 'run-' || i, NULL FROM n`,
		`INSERT INTO run_tags SELECT id, 'mlflow.user', 'u' || (i % 7), NULL FROM n`,
		`INSERT INTO run_tags SELECT id, 't0', 'v' || (i % 5), NULL FROM n`,
		`INSERT INTO run_params SELECT id, 'p0', CAST(i % 100 AS TEXT), i % 100 FROM n`,
		`INSERT INTO run_params SELECT id, 'p1', 'x' || ((i * 7919) % 1000003), NULL FROM n`,
		`INSERT INTO run_metrics SELECT id, 'm0', 1, 0, ((i * 7919) % 1000003) / 1000003.0, ((i * 7919) % 1000003) / 1000003.0, ((i * 7919) % 1000003) / 1000003.0 FROM n`,
		`INSERT INTO run_metrics SELECT id, 'm1', 1, 0, ((i * 104729) % 1000003) / 1000003.0, ((i * 104729) % 1000003) / 1000003.0, ((i * 104729) % 1000003) / 1000003.0 FROM n`,
		`INSERT INTO run_metrics SELECT id, 'm2', 1, 0, i % 3, i % 3, i % 3 FROM n`,
		`INSERT INTO run_metric_latest SELECT run_id, name, 0, '2026-01-01T00:00:00.000000Z', last FROM run_metrics`,
	} {
		for _, s := range []string{s, `PRAGMA wal_checkpoint(TRUNCATE)`} { // the log never holds more than one set
			if _, err := db.Exec(s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}
}
