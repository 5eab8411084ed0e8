package team

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"quant/internal/metastore/postgrestest"
	"quant/internal/test/labtest"
	"quant/internal/test/laketest"
	"quant/internal/test/soak"
)

// crowdFacts are digests of what a crowd stores, without what names runs and times.
const crowdFacts = `SELECT 'prices' AS name, count(*) AS n, count(DISTINCT (symbol, ts)) AS keys, CAST(sum(CAST(hash(symbol, ts, open, high, low, close, volume, adjusted_close, source) AS HUGEINT)) AS VARCHAR) AS digest FROM ohlcv
	UNION ALL SELECT 'features' AS name, count(*) AS n, count(DISTINCT (symbol, ts, feature_name, feature_version)) AS keys, CAST(sum(CAST(hash(symbol, ts, feature_name, feature_version, feature_value) AS HUGEINT)) AS VARCHAR) AS digest FROM features_daily
	UNION ALL SELECT 'targets' AS name, count(*) AS n, count(DISTINCT (strategy_id, asof, symbol)) AS keys, CAST(sum(CAST(hash(strategy_id, version, asof, symbol, weight, score, approved, risk_flags, reason) AS HUGEINT)) AS VARCHAR) AS digest FROM targets
	UNION ALL SELECT 'results' AS name, count(*) AS n, 0 AS keys, CAST(sum(CAST(hash(x) AS HUGEINT)) AS VARCHAR) AS digest FROM (SELECT DISTINCT strategy_id, strategy_digest, result_digest, trial_digest FROM backtest_details) x
	ORDER BY name`

// Many processes of several users work on one team's lab at once, each as a role of its
// own: nothing fails but what contradicts what another has said, and nothing is lost.
func TestACrowdOfUsersWorksOnOneLabAtOnce(t *testing.T) {
	users, each := []string{"ann", "bob", "cyd", "dan"}, 5
	if soak.Full(t) {
		each = 16
	}
	server := postgrestest.Start(t, postgrestest.Options{Settings: map[string]string{"max_connections": "500"}})
	o := &team{t: t, url: server.Database(t)}
	database := o.rows(`SELECT current_database()`)
	facts := []string{"QUANT_FACTS_URL=" + laketest.In(server.Database(t), t.TempDir()), "QUANT_EXTENSIONS_DIR=" + laketest.Extensions(t)}
	labs := map[string]*labtest.Lab{}
	machine := func() *labtest.Lab {
		l := labtest.New(t)
		l.Env = append(l.Env, append(facts, "QUANT_CALENDAR=data", "QUANT_META_URL="+o.url)...)
		return l
	}
	owner, alone := machine(), labtest.New(t)
	alone.Env = append(alone.Env, "QUANT_CALENDAR=data")
	for _, l := range []*labtest.Lab{owner, alone} {
		l.Write("common.csv", labtest.PriceFile(1, 220, "A", "B", "C", "D"))
		l.Must("init-db")
		l.Must("ingest", "common.csv")
		l.Must("features", "--feature-version", "v1")
	}
	server.Exec(t, database, grants(t, "Roles"))
	for _, user := range users {
		server.Exec(t, database, `CREATE ROLE `+user+` LOGIN; GRANT quant_researcher TO `+user)
		l := machine()
		l.Env = append(l.Env, "QUANT_META_URL="+strings.Replace(o.url, postgrestest.Owner+"@", user+"@", 1))
		l.Must("exec", "--name", user, "--", "true")
		labs[user] = l
	}
	short := strings.Replace(labtest.Momentum, "2015-12-31", "2015-05-31", 1)
	var all sync.WaitGroup
	var mu sync.Mutex
	ended := map[string]int{}
	points := map[string]int{}
	for u, user := range users {
		l := labs[user]
		l.Write("common.csv", labtest.PriceFile(1, 220, "A", "B", "C", "D"))
		l.Write("s.yaml", []byte(short))
		alone.Write("s.yaml", []byte(short))
		for i := range each {
			own := fmt.Sprintf("%s-%d.csv", user, i)
			prices := labtest.PriceFile(u*100+i, 100, fmt.Sprintf("%s%d", strings.ToUpper(user), i))
			var line []string
			switch i % 5 {
			case 0: // prices of one's own
				l.Write(own, prices)
				alone.Write(own, prices)
				alone.Must("ingest", own)
				line = []string{"ingest", own, "--wait", "10m"}
			case 1: // the same trials as everybody
				line = []string{"sweep", "--strategy", "s.yaml", "--set", "portfolio.top_k=1,2", "--wait", "10m"}
			case 2:
				line = []string{"runs", "search", `kind = "exec" and tags.name = "` + user + `"`, "--output", "csv"}
			case 3:
				line = []string{"log", "metric", "--run", "@" + user, fmt.Sprintf("m=%d", i), "--step", fmt.Sprint(i)}
				points[user]++
			case 4: // one of these is first; the others contradict it
				line = []string{"log", "param", "--run", "@" + user, fmt.Sprintf("p=%d", i)}
			}
			all.Go(func() {
				r := l.Run(line...)
				what := fmt.Sprintf("%s: exit status %d", strings.Join(line[:2], " "), r.Code)
				if line[0] == "ingest" || line[0] == "sweep" {
					what = fmt.Sprintf("%s: exit status %d", line[0], r.Code)
				}
				mu.Lock()
				defer mu.Unlock()
				ended[what]++
				switch {
				case r.Code == 0:
				case r.Code == 5 && line[1] == "param" && strings.Contains(r.Stderr, "a param is written once"):
				default:
					t.Errorf("%s: %v", user, r)
				}
			})
		}
	}
	all.Wait()
	alone.Must("sweep", "--strategy", "s.yaml", "--set", "portfolio.top_k=1,2")
	if want, got := alone.Must("sql", "-q", "--output", "csv", crowdFacts).Stdout, owner.Must("sql", "-q", "--output", "csv", crowdFacts).Stdout; want != got {
		t.Errorf("one after the other\n%s\nat once\n%s", want, got)
	}
	owner.Doctor()
	if open := o.rows(`SELECT kind, count(*) FROM quant.runs WHERE status = 'RUNNING' GROUP BY 1`); open != "" {
		t.Errorf("RUNNING: %s", open)
	}
	for _, user := range users {
		got := o.rows(`SELECT count(*) FROM quant.run_metric_points p JOIN quant.run_roles r USING (run_id) JOIN quant.run_tags g USING (run_id) WHERE g.name = 'name' AND g.value = '` + user + `' AND r.role = '` + user + `' AND p.name = 'm'`)
		if got != fmt.Sprint(points[user]) {
			t.Errorf("%s logged %d points, and %s stand", user, points[user], got)
		}
		if got := o.rows(`SELECT count(*) FROM quant.runs r JOIN quant.run_roles x USING (run_id) WHERE x.role = '` + user + `' AND r.kind IN ('ingest', 'sweep', 'runs.search', 'log.metric', 'log.param')`); got != fmt.Sprint(each) {
			t.Errorf("%s ran %d commands, and %s are recorded of that role", user, each, got)
		}
	}
	t.Logf("%d processes: %v", len(users)*each, ended)
}
