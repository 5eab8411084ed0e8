package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/search"
)

// A searched lab has one run every 63 seconds, the last one now: a million are
// two years. Of twenty runs four are backtests and three trainings; of every
// hundred nine fail. Each has five params; a backtest three metrics of one
// point, a training one of 63; a third has a team, a tenth a name.
const (
	manyRuns   = 1_000_000
	fewRuns    = 10_000
	runSpacing = 63 * time.Second
)

const headline = `kind = "backtest" and metrics.sharpe > 1 and (params.top_k in (5, 10) or tags.team = "alpha") and started > -7d order by metrics.sharpe desc`

// asked are the searches measured; grows marks those that no index answers and
// whose cost is that of the runs they pass over.
var asked = []struct {
	query string
	grows bool
}{
	{headline, false},
	{``, false},
	{`kind = "backtest"`, false},
	{`kind = "rare"`, false},
	{`kind = "nothing"`, false},
	{`kind like "back%"`, false},
	{`status = "FAIL"`, false},
	{`status = "RUNNING"`, false},
	{`started > -1d`, false},
	{`started < -7d`, false},
	{`ended > -1h`, false},
	{`duration > 1h59m`, false},
	{`order by duration desc`, false},
	{`exit_code = 130`, false},
	{`git_commit = "c0ffee"`, false},
	{`host = "rare"`, false},
	{`user = "nobody"`, false},
	{`params.top_k = 5`, false},
	{`params.seed = 4711`, false},
	{`params.lr < 0.0001`, false},
	{`params.algo = "nothing"`, false},
	{`tags.team = "alpha"`, false},
	{`name = "run 12345"`, false},
	{`name like "run 123%"`, false},
	{`metrics.sharpe > 2.99`, false},
	{`metrics.loss.min < 0.001`, false},
	{`metrics.sharpe > 99`, false},
	{`order by metrics.sharpe desc`, false},
	{`order by metrics.loss.min`, false},
	{`params.seed = 4711 or name = "run 12345" or kind = "rare"`, false},
	{`not (status = "SUCCESS" or status = "FAIL")`, true},
	{`status != "SUCCESS"`, false},
	{`host not in ("host0", "host1", "host2")`, true},
	{`metrics.sharpe > 2.9 and params.top_k = 5 and status = "SUCCESS" order by started desc`, false},
	{`kind = "backtest" and tags.team = "alpha" and params.top_k = 5 and metrics.sharpe < 0`, false},
	{`error like "%disk full%"`, true},
	{`error like "%nothing%"`, true},
	{`params.top_k = 5 and params.algo = "gbm" and metrics.sharpe > 9`, false},
	{`params.nothing is null and tags.nothing is not null`, false},
	{`kind = "backtest" and params.top_k is null`, true},
	{`work_dir like "%nothing%"`, true},
}

func searchRuns(ctx context.Context, b *bench) ([]figure, error) {
	now := time.Now()
	few, many := filepath.Join(b.dir, "few"), filepath.Join(b.dir, "many")
	for dir, n := range map[string]int{few: fewRuns, many: manyRuns} {
		start := time.Now()
		if err := makeLab(ctx, b, dir, n, now); err != nil {
			return nil, fmt.Errorf("make a lab of %d runs: %w", n, err)
		}
		fmt.Fprintf(os.Stderr, "  made a lab of %d runs in %.0f s\n", n, time.Since(start).Seconds())
	}
	var figures []figure
	stores := map[string]*sqlite.DB{}
	for _, dir := range []string{few, many} {
		store, err := sqlite.Open(ctx, sqlite.Options{Path: filepath.Join(dir, "data", "meta.db"), ReadOnly: true})
		if err != nil {
			return nil, err
		}
		defer store.Close()
		stores[dir] = store
	}
	info, err := os.Stat(filepath.Join(many, "data", "meta.db"))
	if err != nil {
		return nil, err
	}
	tables, err := stores[many].Tables(ctx)
	if err != nil {
		return nil, err
	}
	counts := map[string]int64{}
	for _, t := range tables {
		counts[t.Table] = t.Rows
	}
	figures = append(figures, note("the lab", "%d runs, %d params, %d metrics of %d points, %d tags; %.1f GB",
		counts["runs"], counts["run_params"], counts["run_metrics"], counts["run_metric_points"], counts["run_tags"], float64(info.Size())/1e9))

	whole := func(dir string, args ...string) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			u, err := process(ctx, dir, b.quant, args...)
			return u.wall, err
		}
	}
	times, err := inTurn(20, whole(many, "runs", "search", headline), whole(few, "runs", "search", headline), whole(many, "config"), whole(many, "__complete", "runs", "show", ""))
	if err != nil {
		return nil, err
	}
	figures = append(figures,
		figure{"`quant runs search '" + headline + "'`, whole process, with 1,000,000 runs", ms(median(times[0])), median(times[0]) < 100*time.Millisecond},
		note("the same with 10,000 runs; `quant config` with 1,000,000", "%s; %s", ms(median(times[1])), ms(median(times[2]))),
		figure{"completion of a run (`quant __complete runs show ''`), with 1,000,000 runs", ms(median(times[3])), median(times[3]) < 100*time.Millisecond})

	q, err := search.Parse(headline, now)
	if err != nil {
		return nil, err
	}
	plans, err := stores[many].ExplainSearch(ctx, metastore.Search{Where: q.Where, Order: q.Order, Limit: 31, All: true})
	if err != nil {
		return nil, err
	}
	for i, one := range plans {
		var steps []string
		for _, step := range one.Plan {
			steps = append(steps, strings.TrimSpace(step))
		}
		figures = append(figures, note(fmt.Sprintf("its plan, statement %d of %d", i+1, len(plans)), "%s", strings.Join(steps, "; ")))
	}

	for _, a := range asked {
		inStore := func(dir string) func() (time.Duration, error) {
			return func() (time.Duration, error) {
				start := time.Now()
				q, err := search.Parse(a.query, now)
				if err != nil {
					return 0, err
				}
				s := metastore.Search{Where: q.Where, Order: q.Order, Limit: 31, All: strings.Contains(a.query, "kind"), Columns: q.Fields()}
				err = stores[dir].SearchRuns(ctx, s, func([]any) error { return nil })
				return time.Since(start), err
			}
		}
		times, err := inTurn(5, inStore(few), inStore(many))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.query, err)
		}
		small, large := median(times[0]), median(times[1])
		f := figure{"`" + a.query + "`, in process, with 1,000,000 runs / with 10,000", fmt.Sprintf("%s / %s = %.1f", ms(large), ms(small), ratio(large, small)),
			a.grows || large < 100*time.Millisecond}
		if a.grows {
			f.what += " (grows)"
		}
		figures = append(figures, f)
		fmt.Fprintf(os.Stderr, "  %s: %s\n", a.query, f.value)
	}
	for _, dir := range []string{few, many} {
		stores[dir].Close()
	}
	compare, err := compareTen(ctx, b, many)
	return append(figures, compare), err
}

// compareTen times the comparison of ten runs, whole process.
func compareTen(ctx context.Context, b *bench, dir string) (figure, error) {
	// A group's help is what an unknown command of it shows.
	help, err := exec.CommandContext(ctx, b.quant, "runs", "compare", "--help").Output()
	if err != nil || !strings.Contains(string(help), "quant runs compare RUN") {
		return note("`quant runs compare` of ten runs", "not measured: there is no such command"), nil
	}
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "data", "meta.db")+"?mode=ro")
	if err != nil {
		return figure{}, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `SELECT run_id FROM runs WHERE kind = 'backtest' ORDER BY run_id DESC LIMIT 10`)
	if err != nil {
		return figure{}, err
	}
	defer rows.Close()
	args := []string{"runs", "compare"}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return figure{}, err
		}
		args = append(args, id)
	}
	if err := rows.Err(); err != nil {
		return figure{}, err
	}
	times, err := inTurn(20, func() (time.Duration, error) {
		u, err := process(ctx, dir, b.quant, args...)
		return u.wall, err
	})
	if err != nil {
		return figure{}, err
	}
	return figure{"`quant runs compare` of ten runs, whole process, with 1,000,000 runs", ms(median(times[0])), median(times[0]) < 50*time.Millisecond}, nil
}

// makeLab makes a lab with n runs. The indexes are made at the end, which is
// several times as fast.
func makeLab(ctx context.Context, b *bench, dir string, n int, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if _, err := process(ctx, dir, b.quant, "config"); err != nil {
		return err
	}
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "data", "meta.db")+"?_journal_mode=WAL&_foreign_keys=off")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	exec := func(statement string, args ...any) error {
		if _, err := db.ExecContext(ctx, statement, args...); err != nil {
			return fmt.Errorf("%s: %w", strings.TrimSpace(statement), err)
		}
		return nil
	}
	for _, s := range []string{
		`PRAGMA journal_mode = OFF`, `PRAGMA synchronous = OFF`, `PRAGMA cache_size = -200000`, `PRAGMA temp_store = MEMORY`,
		`CREATE TEMP TABLE kept AS SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name LIKE 'run%'`,
	} {
		if err := exec(s); err != nil {
			return err
		}
	}
	indexes, err := textsOf(ctx, db, `SELECT sql FROM kept`)
	if err != nil {
		return err
	}
	names, err := textsOf(ctx, db, `SELECT name FROM kept`)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := exec(`DROP INDEX ` + name); err != nil {
			return err
		}
	}
	from := now.Add(-time.Duration(n) * runSpacing).UnixMilli()
	for _, s := range labSQL {
		if err := exec(strings.NewReplacer("$n", fmt.Sprint(n), "$from", fmt.Sprint(from), "$step", fmt.Sprint(runSpacing.Milliseconds())).Replace(s)); err != nil {
			return err
		}
	}
	for _, s := range append(indexes, `PRAGMA journal_mode = WAL`) {
		if err := exec(s); err != nil {
			return err
		}
	}
	return db.Close()
}

func textsOf(ctx context.Context, db *sql.DB, query string) ([]string, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

var labSQL = []string{
	`CREATE TEMP TABLE n AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $n)
		SELECT i, $from + i * $step AS ms, (i * 2654435761) % 4294967296 AS h, '' AS id, '' AS kind FROM n`,
	`UPDATE n SET id = printf('%08x-%04x-7%03x-8%03x-%012x', ms >> 16, ms & 65535, i % 4096, h % 4096, h * 65521 % 281474976710656),
		kind = CASE WHEN h % 100003 = 7 THEN 'rare' WHEN h % 20 < 4 THEN 'backtest' WHEN h % 20 < 7 THEN 'train' WHEN h % 20 < 14 THEN 'exec' WHEN h % 20 < 17 THEN 'ingest' ELSE 'config' END`,
	`INSERT INTO runs SELECT id, kind, CASE WHEN h % 100 < 9 THEN 'FAIL' WHEN h % 100000 = 99999 THEN 'RUNNING' ELSE 'SUCCESS' END,
		strftime('%Y-%m-%dT%H:%M:%S', ms / 1000, 'unixepoch') || printf('.%03d000Z', ms % 1000),
		CASE WHEN h % 100000 = 99999 AND h % 100 >= 9 THEN NULL ELSE strftime('%Y-%m-%dT%H:%M:%S', ms / 1000 + h % 7200, 'unixepoch') || printf('.%03d000Z', ms % 1000) END,
		'{"argv":["quant","' || kind || '"]}', CASE WHEN h % 100 < 9 THEN CASE h % 900 WHEN 5 THEN 'write: disk full' ELSE 'strategy file momentum.yaml: unknown key' END END FROM n`,
	`INSERT INTO run_process (run_id, changes, host, user, machine_id, boot_id, pid, git_commit, git_dirty, argv, work_dir, binary_version, exit_code, duration_us)
		SELECT id, kind <> 'config', CASE WHEN h % 200003 = 11 THEN 'rare' ELSE 'host' || (h % 3) END, 'user', 'm', 'b', i, printf('%040x', i / 50), h % 7 = 0,
		'["quant","' || kind || '"]', '/home/user/lab', 'v1.' || (i / 100000), CASE WHEN h % 100000 = 99999 THEN NULL WHEN h % 10000 < 9 THEN 130 WHEN h % 100 < 9 THEN 1 ELSE 0 END, (h % 7200) * 1000000 FROM n`,
	`INSERT INTO run_params SELECT id, 'algo', algo, NULL FROM (SELECT id, CASE h % 3 WHEN 0 THEN 'ridge' WHEN 1 THEN 'gbm' ELSE 'linear' END AS algo FROM n)`,
	`INSERT INTO run_params SELECT id, 'lr', lr, lr FROM (SELECT id, (h % 1000003) / 1000003.0 AS lr FROM n)`,
	`INSERT INTO run_params SELECT id, 'seed', h % 1000000, h % 1000000 FROM n`,
	`INSERT INTO run_params SELECT id, 'top_k', k, k FROM (SELECT id, CASE h % 6 WHEN 0 THEN 5 WHEN 1 THEN 10 ELSE 20 + h % 6 END AS k FROM n)`,
	`INSERT INTO run_params SELECT id, 'universe', 'sp' || (h % 9 * 100), NULL FROM n`,
	`INSERT INTO run_tags SELECT id, 'team', CASE h % 9 WHEN 0 THEN 'alpha' WHEN 3 THEN 'beta' ELSE 'gamma' END, NULL FROM n WHERE h % 3 = 0`,
	`INSERT INTO run_tags SELECT id, 'name', 'run ' || i, NULL FROM n WHERE i % 10 = 5`,
	`INSERT INTO run_metrics SELECT id, 'sharpe', 1, 0, v, v, v FROM (SELECT id, (h % 5000011) / 1000000.0 - 2 AS v FROM n WHERE kind = 'backtest')`,
	`INSERT INTO run_metrics SELECT id, 'cagr', 1, 0, v, v, v FROM (SELECT id, (h % 500009) / 1000000.0 AS v FROM n WHERE kind = 'backtest')`,
	`INSERT INTO run_metrics SELECT id, 'max_dd', 1, 0, v, v, v FROM (SELECT id, (h % 400009) / -1000000.0 AS v FROM n WHERE kind = 'backtest')`,
	`INSERT INTO run_metrics SELECT id, 'loss', 63, 62, v / 63, v / 63, v FROM (SELECT id, (h % 2000003) / 1000000.0 AS v FROM n WHERE kind = 'train')`,
	`CREATE TEMP TABLE k AS SELECT i FROM n WHERE i <= 63 ORDER BY i`,
	`INSERT INTO run_metric_points SELECT m.run_id, name, 1, 0, last, r.started_at FROM run_metrics m JOIN runs r USING (run_id) WHERE points = 1`,
	`INSERT INTO run_metric_points SELECT m.run_id, name, k.i, k.i - 1, max / k.i, r.started_at FROM run_metrics m CROSS JOIN runs r USING (run_id) CROSS JOIN k WHERE points = 63`,
	`DROP TABLE n`,
}
