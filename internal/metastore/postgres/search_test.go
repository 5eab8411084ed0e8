package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/metastoretest"
	"quant/internal/metastore/relational"
	"quant/internal/search"
	"quant/internal/test/soak"
)

// TestASearchAnswersAsAPlainEvaluator compares random questions on random runs, of which
// some have lost their process: by the plan that a search chooses, with looks so short
// that it walks, and by every driver that it could have chosen.
func TestASearchAnswersAsAPlainEvaluator(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := soak.Random(t)
	db := openAt(t, recycled(t))
	e := metastoretest.NewEvaluator(t, db, r, 300)
	e.LoseProcesses(r, func(runID string) { must(db.Pool.Exec(`DELETE FROM run_process WHERE run_id = ?`, runID)) })
	must(db.Pool.Exec(`ANALYZE`))
	found := 0
	for range soak.Count(t, 150, 10_000) {
		q := e.Question(r)
		want := e.Search(q)
		found += len(want)
		agrees := func(how string, got []string, err error) {
			t.Helper()
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("%s: %s\n got %d %q %v\nwant %d %q", how, metastoretest.Describe(q), len(got), got, err, len(want), want)
			}
		}
		var got []string
		err := db.SearchRuns(ctx, q, func(cells []any) error {
			got = append(got, cells[0].(string))
			return nil
		})
		agrees("as planned", got, err)
		got, err = db.SearchWithLook(ctx, q, 8)
		agrees("with short looks", got, err)
		db.SearchByEach(ctx, q, func(driver int, got []string, err error) {
			agrees(fmt.Sprintf("by driver %d", driver), got, err)
		})
	}
	t.Logf("%d runs found", found)
}

// TestATextLongerThanItsIndexIsFoundWholly is about texts that share what an index holds
// of them.
func TestATextLongerThanItsIndexIsFoundWholly(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := openAt(t, recycled(t))
	head := strings.Repeat("가", 300)
	values := []string{head, head + "a", head + "b", head[:600], strings.Repeat("x", 8192), "x"}
	random := rand.New(rand.NewPCG(1, 2)) // nothing that is made smaller by packing
	long := make([]rune, 2048)
	for i := range long {
		long[i] = rune(0x20000 + random.IntN(0x8000))
	}
	values = append(values, string(long))
	for n, v := range values {
		at := must(quant.ParseTime(fmt.Sprintf("2026-01-15T09:30:%02d.000000Z", n)))
		ok(t, db.CreateRun(ctx, quant.Run{RunID: metastoretest.RunID(n), Kind: "k", Status: quant.Running, StartedAt: at},
			quant.RunProcess{RunID: metastoretest.RunID(n), PID: 1, WorkDir: quant.Text("/" + v), Host: quant.Text(v)}))
		ok(t, db.Log(ctx, metastore.Batch{Params: []quant.Param{{RunID: metastoretest.RunID(n), Name: "p", Value: v}}}))
	}
	for _, f := range []metastore.Field{{Of: metastore.ParamOf, Name: "p"}, {Name: "host"}} {
		for _, v := range values {
			for op, holds := range map[metastore.Op]func(a, b string) bool{
				metastore.Eq: func(a, b string) bool { return a == b }, metastore.Ne: func(a, b string) bool { return a != b },
				metastore.Lt: func(a, b string) bool { return a < b }, metastore.Ge: func(a, b string) bool { return a >= b },
			} {
				var want []string
				for n, other := range values {
					if holds(other, v) {
						want = append([]string{metastoretest.RunID(n)}, want...)
					}
				}
				s := metastore.Search{Where: metastore.Compare{Field: f, Op: op, Value: v}, All: true, Columns: []metastore.Field{{Name: "run_id"}}}
				var got []string
				ok(t, db.SearchRuns(ctx, s, func(cells []any) error {
					got = append(got, cells[0].(string))
					return nil
				}))
				if !slices.Equal(got, want) {
					t.Errorf("%s %s %.20q...: got %q, want %q", f.Name, op, v, got, want)
				}
			}
		}
		s := metastore.Search{Where: metastore.Like{Field: f, Pattern: head + "%"}, All: true, Columns: []metastore.Field{{Name: "run_id"}}}
		n := 0
		ok(t, db.SearchRuns(ctx, s, func([]any) error { n++; return nil }))
		if n != 3 {
			t.Errorf("%s: %d begin like that", f.Name, n)
		}
	}
}

// TestAWholeNumberComparesWithAnyNumber is about columns of whole numbers, to which
// PostgreSQL gives no other.
func TestAWholeNumberComparesWithAnyNumber(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := openAt(t, recycled(t))
	for n := range 3 {
		at := must(quant.ParseTime(fmt.Sprintf("2026-01-15T09:30:%02d.000000Z", n)))
		ok(t, db.CreateRun(ctx, quant.Run{RunID: metastoretest.RunID(n), Kind: "k", Status: quant.Running, StartedAt: at}, quant.RunProcess{RunID: metastoretest.RunID(n), PID: int64(n)}))
		code, took := int64(n), int64(n)
		ok(t, db.FinishRun(ctx, metastore.RunEnd{RunID: metastoretest.RunID(n), Status: quant.Success, EndedAt: at, ExitCode: &code, DurationUS: &took}))
	}
	pid, code, duration := metastore.Field{Name: "pid"}, metastore.Field{Name: "exit_code"}, metastore.Field{Name: "duration"}
	for _, tt := range []struct {
		where metastore.Expr
		want  int
	}{
		{metastore.Compare{Field: pid, Op: metastore.Gt, Value: 0.5}, 2},
		{metastore.Compare{Field: pid, Op: metastore.Eq, Value: 1.0}, 1},
		{metastore.Compare{Field: pid, Op: metastore.Lt, Value: 1e300}, 3},
		{metastore.In{Field: pid, Values: []any{1.0, 1.5, -2.5}}, 1},
		{metastore.Compare{Field: code, Op: metastore.Ge, Value: 0.5}, 2},
		{metastore.Compare{Field: code, Op: metastore.Gt, Value: 1e19}, 0},
		{metastore.Compare{Field: code, Op: metastore.Ne, Value: 1.5}, 3},
		{metastore.Compare{Field: duration, Op: metastore.Gt, Value: 500 * time.Nanosecond}, 2},
		{metastore.Compare{Field: duration, Op: metastore.Eq, Value: 2 * time.Microsecond}, 1},
	} {
		s := metastore.Search{Where: tt.where, All: true, Columns: []metastore.Field{{Name: "run_id"}}}
		n := 0
		ok(t, db.SearchRuns(ctx, s, func([]any) error { n++; return nil }))
		if n != tt.want {
			t.Errorf("%s: %d", metastoretest.Describe(s), n)
		}
		db.SearchByEach(ctx, s, func(_ int, ids []string, err error) {
			if err != nil || len(ids) != tt.want {
				t.Errorf("%s: %q %v", metastoretest.Describe(s), ids, err)
			}
		})
	}
}

// TestEveryIndexOfASearchIsThere holds the table of indexes, by which a search chooses
// what drives it, to the schema.
func TestEveryIndexOfASearchIsThere(t *testing.T) {
	t.Parallel()
	db := openAt(t, recycled(t))
	defined := map[string]string{}
	for _, line := range lines(t, db.Pool, `SELECT tablename || '.' || indexname || ' ' || indexdef FROM pg_indexes WHERE schemaname = 'quant'`) {
		name, definition, _ := strings.Cut(line, " ")
		defined[name] = strings.ReplaceAll(definition, `"`, "")
	}
	for _, i := range relational.SearchIndexes() {
		name := i.Name
		if name == "" {
			name = i.Table + "_pkey"
		}
		definition := defined[i.Table+"."+name]
		partial := i.Condition != "" && i.Column != ""
		if of, _, _ := strings.Cut(i.Condition, " "); !strings.Contains(definition, "run_id") || !strings.Contains(definition, i.Column) ||
			!strings.Contains(definition, of) || partial && !strings.Contains(definition, "WHERE") {
			t.Errorf("%+v is %q", i, definition)
		}
	}
}

// labSQL fills a database with runs: of twenty four are backtests and three trainings; of
// every hundred nine fail. Each has five params; a backtest three metrics, a training
// one; a third has a team, a tenth a name.
var labSQL = []string{
	`CREATE TEMP TABLE n AS SELECT i, ms, h, format('%s-%s-7%s-8%s-%s', lpad(to_hex(ms >> 16), 8, '0'), lpad(to_hex(ms & 65535), 4, '0'), lpad(to_hex(i % 4096), 3, '0'),
			lpad(to_hex(h % 4096), 3, '0'), lpad(to_hex(h * 65521 % 281474976710656), 12, '0')) AS id,
		CASE WHEN h % 100003 = 7 THEN 'rare' WHEN h % 20 < 4 THEN 'backtest' WHEN h % 20 < 7 THEN 'train' WHEN h % 20 < 14 THEN 'exec' WHEN h % 20 < 17 THEN 'ingest' ELSE 'config' END AS kind
		FROM (SELECT i, $from + i * 63000 AS ms, (i * 2654435761) % 4294967296 AS h FROM generate_series(1::bigint, $n) i) s`,
	`INSERT INTO runs SELECT id, kind, CASE WHEN h % 100 < 9 THEN 'FAIL' WHEN h % 100000 = 99999 THEN 'RUNNING' ELSE 'SUCCESS' END, at(ms),
		CASE WHEN h % 100000 = 99999 AND h % 100 >= 9 THEN NULL ELSE at(ms + h % 7200 * 1000) END,
		'{"argv":["quant","' || kind || '"]}', CASE WHEN h % 100 < 9 THEN CASE h % 900 WHEN 5 THEN 'write: disk full' ELSE 'strategy file momentum.yaml: unknown key' END END FROM n`,
	`INSERT INTO run_process (run_id, changes, host, "user", machine_id, boot_id, pid, git_commit, git_dirty, argv, work_dir, binary_version, exit_code, duration_us)
		SELECT id, (kind <> 'config')::int, CASE WHEN h % 200003 = 11 THEN 'rare' ELSE 'host' || (h % 3) END, 'user', 'm', 'b', i, lpad(to_hex(i / 50), 40, '0'), (h % 7 = 0)::int,
		'["quant","' || kind || '"]', '/home/user/lab', 'v1.' || (i / 100000), CASE WHEN h % 100000 = 99999 THEN NULL WHEN h % 10000 < 9 THEN 130 WHEN h % 100 < 9 THEN 1 ELSE 0 END, (h % 7200) * 1000000 FROM n`,
	`INSERT INTO run_params SELECT id, 'algo', CASE h % 3 WHEN 0 THEN 'ridge' WHEN 1 THEN 'gbm' ELSE 'linear' END, NULL FROM n`,
	`INSERT INTO run_params SELECT id, 'lr', (h % 1000003) / 1000003.0, (h % 1000003) / 1000003.0 FROM n`,
	`INSERT INTO run_params SELECT id, 'seed', h % 1000000, h % 1000000 FROM n`,
	`INSERT INTO run_params SELECT id, 'top_k', k, k FROM (SELECT id, CASE h % 6 WHEN 0 THEN 5 WHEN 1 THEN 10 ELSE 20 + h % 6 END AS k FROM n) s`,
	`INSERT INTO run_params SELECT id, 'universe', 'sp' || (h % 9 * 100), NULL FROM n`,
	`INSERT INTO run_tags SELECT id, 'team', CASE h % 9 WHEN 0 THEN 'alpha' WHEN 3 THEN 'beta' ELSE 'gamma' END, NULL FROM n WHERE h % 3 = 0`,
	`INSERT INTO run_tags SELECT id, 'name', 'run ' || i, NULL FROM n WHERE i % 10 = 5`,
	`INSERT INTO run_metrics SELECT id, 'sharpe', 1, 0, v, v, v FROM (SELECT id, (h % 5000011) / 1000000.0 - 2 AS v FROM n WHERE kind = 'backtest') s`,
	`INSERT INTO run_metrics SELECT id, 'cagr', 1, 0, v, v, v FROM (SELECT id, (h % 500009) / 1000000.0 AS v FROM n WHERE kind = 'backtest') s`,
	`INSERT INTO run_metrics SELECT id, 'max_dd', 1, 0, v, v, v FROM (SELECT id, (h % 400009) / -1000000.0 AS v FROM n WHERE kind = 'backtest') s`,
	`INSERT INTO run_metrics SELECT id, 'loss', 63, 62, v / 63, v / 63, v FROM (SELECT id, (h % 2000003) / 1000000.0 AS v FROM n WHERE kind = 'train') s`,
	`DROP TABLE n`,
}

// asked are searches of the documents, with the most that one may take among a million
// runs, in milliseconds; 0: no index answers it, and it grows with the runs that it passes
// over.
var asked = []struct {
	query string
	most  int
}{
	{`kind = "backtest" and metrics.sharpe > 1 and (params.top_k in (5, 10) or tags.team = "alpha") and started > -7d order by metrics.sharpe desc`, 100},
	{``, 100},
	{`kind = "backtest"`, 100},
	{`kind = "rare"`, 100},
	{`kind = "nothing"`, 100},
	{`kind like "back%"`, 100},
	{`status = "FAIL"`, 100},
	{`status = "RUNNING"`, 100},
	{`started > -1d`, 100},
	{`started < -7d`, 100},
	{`ended > -1h`, 100},
	{`duration > 1h59m`, 100},
	{`order by duration desc`, 100},
	{`exit_code = 130`, 100},
	{`git_commit = "c0ffee"`, 100},
	{`host = "rare"`, 100},
	{`user = "nobody"`, 100},
	{`params.top_k = 5`, 100},
	{`params.seed = 4711`, 100},
	{`params.lr < 0.0001`, 100},
	{`params.algo = "nothing"`, 100},
	{`tags.team = "alpha"`, 100},
	{`name = "run 12345"`, 100},
	{`name like "run 123%"`, 100},
	{`metrics.sharpe > 2.99`, 100},
	{`metrics.loss.min < 0.001`, 100},
	{`metrics.sharpe > 99`, 100},
	{`order by metrics.sharpe desc`, 100},
	{`order by metrics.loss.min`, 100},
	{`params.seed = 4711 or name = "run 12345" or kind = "rare"`, 100},
	{`not (status = "SUCCESS" or status = "FAIL")`, 0},
	{`status != "SUCCESS"`, 100},
	{`host not in ("host0", "host1", "host2")`, 0},
	{`metrics.sharpe > 2.9 and params.top_k = 5 and status = "SUCCESS" order by started desc`, 100},
	{`kind = "backtest" and tags.team = "alpha" and params.top_k = 5 and metrics.sharpe < 0`, 100},
	{`error like "%disk full%"`, 0},
	{`params.top_k = 5 and params.algo = "gbm" and metrics.sharpe > 9`, 100},
	{`params.nothing is null and tags.nothing is not null`, 100},
	{`kind = "backtest" and params.top_k is null`, 0},
}

// TestALongHistorySlowsNoSearch times every search among many runs, each by the best of
// its tries: a search that passes over all of them takes longer by far.
func TestALongHistorySlowsNoSearch(t *testing.T) {
	ctx := context.Background()
	db := openAt(t, prepared(t))
	now := time.Now()
	runs := soak.Count(t, 20_000, 1_000_000)
	conn := must(db.Pool.Conn(ctx)) // a temporary table belongs to one
	begun := time.Now()
	must(conn.ExecContext(ctx, `CREATE FUNCTION pg_temp.at(ms bigint) RETURNS text LANGUAGE sql AS $$
		SELECT to_char(to_timestamp(ms / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') || '.' || lpad((ms % 1000)::text, 3, '0') || '000Z' $$`))
	for _, s := range labSQL {
		s = strings.NewReplacer("$n", fmt.Sprint(runs), "$from", fmt.Sprint(now.Add(-time.Duration(runs)*63*time.Second).UnixMilli()), " at(", " pg_temp.at(").Replace(s)
		if _, err := conn.ExecContext(ctx, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	must(conn.ExecContext(ctx, `VACUUM ANALYZE`))
	ok(t, conn.Close())
	t.Logf("%d runs made in %s", runs, time.Since(begun))
	for _, a := range asked {
		q := must(search.Parse(a.query, now))
		s := metastore.Search{Where: q.Where, Order: q.Order, Limit: 31, All: strings.Contains(a.query, "kind"), Columns: q.Fields()}
		least, found := time.Hour, 0
		for range 3 {
			start := time.Now()
			found = 0
			ok(t, db.SearchRuns(ctx, s, func([]any) error { found++; return nil }))
			least = min(least, time.Since(start))
		}
		t.Logf("%8.2f ms  %2d found  %s", float64(least.Microseconds())/1000, found, a.query)
		if limit := time.Duration(a.most) * time.Millisecond; limit > 0 && least > 2*limit { // others use the machine
			t.Errorf("%s takes %s among %d runs", a.query, least, runs)
			for _, one := range must(db.ExplainSearch(ctx, s)) {
				t.Logf("%d runs by\n%s", one.Runs, strings.Join(one.Plan, "\n"))
			}
		}
	}
	for _, one := range must(db.ExplainSearch(ctx, func() metastore.Search {
		q := must(search.Parse(asked[0].query, now))
		return metastore.Search{Where: q.Where, Order: q.Order, Limit: 31, All: true}
	}())) {
		t.Logf("%d runs by\n%s", one.Runs, strings.Join(one.Plan, "\n"))
	}
}
