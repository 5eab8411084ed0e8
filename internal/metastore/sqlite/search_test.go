package sqlite

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quant/internal/metastore"
	"quant/internal/metastore/metastoretest"
	"quant/internal/search"
	"quant/internal/test/soak"
)

// searchBegin is the time of the queries.
var searchBegin = time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC)

// newEvaluator fills a database with runs, of which some have lost their process.
func newEvaluator(t testing.TB, db *DB, r *rand.Rand, n int) *metastoretest.Evaluator {
	t.Helper()
	e := metastoretest.NewEvaluator(t, db, r, n)
	e.LoseProcesses(r, func(runID string) { must(db.Pool.Exec(`DELETE FROM run_process WHERE run_id = ?`, runID)) })
	return e
}

// TestASearchAnswersAsAPlainEvaluator compares random questions on random runs:
// by the plan that a search chooses, with looks so short that it walks, and by
// every driver that it could have chosen.
func TestASearchAnswersAsAPlainEvaluator(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	w := newEvaluator(t, db, r, 400)
	found, drivers := 0, 0
	for range soak.Count(t, 1_500, 30_000) {
		q := w.Question(r)
		want := w.Search(q)
		found += len(want)
		var got []string
		err := db.SearchRuns(context.Background(), q, func(cells []any) error {
			got = append(got, cells[0].(string))
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%s\n got %d %q %v\nwant %d %q", metastoretest.Describe(q), len(got), got, err, len(want), want)
		}
		if got, err = db.SearchWithLook(context.Background(), q, 8); err != nil || !slices.Equal(got, want) {
			t.Fatalf("with short looks: %s\n got %d %q %v\nwant %d %q", metastoretest.Describe(q), len(got), got, err, len(want), want)
		}
		db.SearchByEach(context.Background(), q, func(driver int, got []string, err error) {
			drivers++
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("by driver %d: %s\n got %d %q %v\nwant %d %q", driver, metastoretest.Describe(q), len(got), got, err, len(want), want)
			}
		})
	}
	t.Logf("%d runs found, %d drivers tried", found, drivers)
}

// TestASearchReadsNoTableFromEndToEnd looks at the plan of every statement with
// which a search that has an index finds its runs.
func TestASearchReadsNoTableFromEndToEnd(t *testing.T) {
	t.Parallel()
	db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	newEvaluator(t, db, rand.New(rand.NewPCG(1, 2)), 300)
	for _, tt := range []struct{ query, want string }{
		{`kind = "backtest" and metrics.sharpe > 1 and (params.top_k in (5, 10) or tags.team = "alpha") and started > 2026-01-15 order by metrics.sharpe desc`, "run_metrics_last"},
		{`kind = "rare"`, "runs_kind"},
		{`kind like "rare%"`, "runs_kind"},
		{`status = "RUNNING" and host = "x"`, "run_process_host"},
		{`ended is null and kind = "nothing"`, "runs_kind"},
		{`started > 2027-01-01`, "PRIMARY KEY (run_id>?)"},
		{`ended > 2027-01-01`, "runs_ended"},
		{`duration > 100h`, "run_process_duration"},
		{`exit_code = 7`, "run_process_exit"},
		{`git_commit = "none"`, "run_process_commit"},
		{`user = "none"`, "run_process_user"},
		{`work_dir like "/none%"`, "run_process_dir"},
		{`binary_version = "none"`, "run_process_version"},
		{`parent = "none"`, "run_process_parent"},
		{`params.a = "none"`, "run_params_value"},
		{`params.a > 1000`, "run_params_number"},
		{`tags.a in ("none", 77)`, "run_tags_number"},
		{`name like "none%"`, "run_tags_value"},
		{`metrics.m.min < -7`, "run_metrics_min"},
		{`metrics.m.max > 70`, "run_metrics_max"},
		{`params.a = "none" or (tags.b = "none" and metrics.m > 1)`, "run_tags_value"},
		{`not (params.a != "none")`, "run_params_value"},
		{`status != "SUCCESS"`, "runs_status"},
		{`status not in ("SUCCESS", "FAIL")`, "runs_status"},
		{`not (status = "SUCCESS" or status = "FAIL")`, "runs_status"},
		{`kind != "backtest" and host != "x"`, "INDEX run"},
		{`not params.none is null`, "run_params_value"},
		{`host not in ("alpha", "beta")`, "run_process_host (host>? AND host<?)"},
		{`params.a not in (7, 9) and params.a != 8`, "run_params_number"},
	} {
		q, err := search.Parse(tt.query, searchBegin)
		ok(t, err)
		statements, err := db.ExplainSearch(context.Background(), metastore.Search{Where: q.Where, Order: q.Order, All: true})
		ok(t, err)
		if len(statements) == 0 {
			t.Errorf("%s: nothing was asked", tt.query)
		}
		for _, one := range statements {
			all := strings.Join(one.Plan, "\n") + "\n"
			if !strings.Contains(all, tt.want) {
				t.Errorf("%s: no %s in\n%s", tt.query, tt.want, all)
			}
			for _, table := range []string{"SCAN r", "SCAN p", "SCAN run", "SCAN runs"} {
				if strings.Contains(all, table+"\n") || strings.Contains(all, table+" USING") {
					t.Errorf("%s scans:\n%s", tt.query, all)
				}
			}
		}
	}
}
