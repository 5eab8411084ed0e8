package hosts

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"quant/internal/test/labtest"
)

// facts are digests of what stands in each table of facts, without what names runs and
// times: rows, distinct keys, and a sum over the rows.
var facts = func() string {
	var parts []string
	table := func(name, key, values string) {
		parts = append(parts, fmt.Sprintf(`SELECT '%s' AS name, count(*) AS n, count(DISTINCT (%s)) AS keys, CAST(sum(CAST(hash(%s) AS HUGEINT)) AS VARCHAR) AS digest FROM %[1]s`, name, key, values))
	}
	// Of backtests, what runs agree on counts once: an attempt that died after its commit
	// leaves the same result under a run that is FAIL.
	results := func(name, without string) {
		parts = append(parts, fmt.Sprintf(`SELECT '%s' AS name, count(*) AS n, 0 AS keys, CAST(sum(CAST(hash(x) AS HUGEINT)) AS VARCHAR) AS digest FROM (SELECT DISTINCT * EXCLUDE (%s) FROM %[1]s) x`, name, without))
	}
	table("ohlcv", "symbol, ts", "symbol, ts, open, high, low, close, volume, adjusted_close, source")
	table("ohlcv_revisions", "symbol, ts, replaced_at", "symbol, ts, open, high, low, close, volume, adjusted_close, source, bars, factor, decimals, corrections")
	table("features_daily", "symbol, ts, feature_name, feature_version", "symbol, ts, feature_name, feature_version, feature_value")
	table("returns", "symbol, ts", "symbol, ts, ret_1d, ret_5d, ret_20d, ret_60d")
	table("fact_inputs", "table_name, symbol, name, version", "table_name, symbol, name, version, inputs, facts, last_ts, sums")
	table("fact_slices", "table_name, symbol, name, version, from_ts", "table_name, symbol, name, version, from_ts, to_ts")
	table("targets", `strategy_id, asof, symbol`, `strategy_id, version, asof, symbol, weight, score, approved, risk_flags, reason`)
	table("target_sets", `strategy_id, asof`, `strategy_id, version, asof, status, proposed, approved, gross, turnover, exempt_turnover, basis_asof, config_digest, digest`)
	table("proposals", `strategy_id, asof, symbol`, `strategy_id, version, asof, symbol, rank, score, weight`)
	results("backtest_summary", "run_id, created_at")
	results("backtest_trades", "run_id")
	results("backtest_equity", "run_id")
	results("backtest_positions", "run_id")
	return strings.Join(parts, " UNION ALL ") + ` UNION ALL SELECT 'backtest_details' AS name, count(*) AS n, 0 AS keys, CAST(sum(CAST(hash(x) AS HUGEINT)) AS VARCHAR) AS digest
		FROM (SELECT DISTINCT strategy_id, version, strategy_digest, result_digest, trial_digest FROM backtest_details) x ORDER BY name`
}()

// wrong counts what must not be, whatever happened: what is twice, what is half, and what
// leads back to no run.
const wrong = `SELECT
	(SELECT count(*) - count(DISTINCT (committed_at, table_name)) FROM ledger) AS ledger_twice,
	(SELECT count(*) FROM (SELECT committed_at FROM ledger GROUP BY committed_at HAVING count(DISTINCT run_id) > 1)) AS commits_of_two_runs,
	(SELECT count(*) - count(DISTINCT (symbol, ts)) FROM ohlcv) AS prices_twice,
	(SELECT count(*) FROM ohlcv WHERE ingested_at NOT IN (SELECT committed_at FROM ledger)) AS prices_of_nobody,
	(SELECT count(*) - count(DISTINCT (symbol, ts, feature_name, feature_version)) FROM features_daily) AS features_twice,
	(SELECT count(*) FROM features_daily WHERE computed_at NOT IN (SELECT committed_at FROM ledger)) AS features_of_nobody,
	(SELECT count(*) - count(DISTINCT (strategy_id, asof, symbol)) FROM targets) AS targets_twice,
	(SELECT count(*) - count(DISTINCT run_id) FROM backtest_summary) AS summaries_twice,
	(SELECT count(*) - count(DISTINCT run_id) FROM backtest_details) AS details_twice,
	(SELECT count(*) - count(DISTINCT (run_id, ts)) FROM backtest_equity) AS equity_twice,
	(SELECT count(*) FROM backtest_summary WHERE run_id NOT IN (SELECT run_id FROM backtest_equity) OR run_id NOT IN (SELECT run_id FROM backtest_details)
		OR run_id NOT IN (SELECT run_id FROM ledger)) AS backtests_half,
	(SELECT count(*) FROM (SELECT run_id FROM backtest_equity UNION SELECT run_id FROM backtest_details UNION SELECT run_id FROM backtest_trades) WHERE run_id NOT IN (SELECT run_id FROM backtest_summary)) AS backtests_without_summary`

// query asks a lab, and returns the answer without its line of names.
func query(l *labtest.Lab, text string) string {
	_, rows, _ := strings.Cut(l.Must("sql", "-q", "--output", "csv", text).Stdout, "\n")
	return rows
}

// judge judges what stands in the team's lab when all jobs are over: want are the facts
// of a lab that nothing disturbed.
func (d *disturbance) judge(round int, want string) {
	d.t.Helper()
	d.wantNoneOpen(round, `r.kind <> 'worker' OR NOT EXISTS (SELECT 1 FROM quant.leases l WHERE l.name = p.live_lock AND l.expires_at > now())`)
	if got := query(d.control, facts); got != want {
		d.t.Errorf("round %d: the facts are\n%s\nnot\n%s", round, got, want)
	}
	if got := strings.TrimSpace(query(d.control, wrong)); strings.Trim(got, "0,") != "" || strings.Count(got, ",") != strings.Count(wrong, " AS ")-1 {
		d.t.Errorf("round %d: this must not be: %s\nof %s", round, got, wrong)
	}
	ledger := query(d.control, "SELECT DISTINCT run_id || ' ' || table_name FROM ledger")
	for line := range strings.Lines(d.rows(`SELECT run_id || ' ' || io.name FROM quant.runs r JOIN quant.run_io io USING (run_id) WHERE r.status = 'SUCCESS' AND io.direction = 'out' AND io.kind = 'table' AND io.rows > 0`)) {
		if !strings.Contains(ledger, strings.TrimSpace(line)) {
			d.t.Errorf("round %d: a SUCCESS without its ledger row: %s", round, line)
		}
	}
	known := d.rows(`SELECT run_id FROM quant.runs`)
	for line := range strings.Lines(ledger) {
		if run, _, _ := strings.Cut(line, " "); !strings.Contains(known, run) {
			d.t.Errorf("round %d: facts of a run that is not recorded: %s", round, line)
		}
	}
	// A job counts once, however often it was begun.
	twice := d.rows(`SELECT j.id, j.state::text, count(r.run_id) FROM quant_jobs.river_job j LEFT JOIN LATERAL jsonb_array_elements(j.metadata->'attempts') a ON true
		LEFT JOIN quant.runs r ON r.run_id = a->>'run_id' AND r.status = 'SUCCESS' WHERE j.state = 'completed' GROUP BY 1, 2 HAVING count(r.run_id) <> 1`)
	if twice != "" {
		d.t.Errorf("round %d: jobs that are done, and their runs that ended SUCCESS:\n%s", round, twice)
	}
	d.readPrinted(round)
	var checkup labtest.Checkup
	labtest.Decode(d.t, d.control.Must("doctor", "--output", "json").Stdout, &checkup)
	if !checkup.Healthy {
		d.t.Errorf("round %d: the doctor: %+v", round, checkup)
	}
	for _, f := range checkup.Findings {
		d.count(d.found, f.Severity+": "+scrub(f.What))
	}
}

// wantNoneOpen waits until no run is RUNNING of which the condition holds: the next command
// of anybody closes what is dead.
func (d *disturbance) wantNoneOpen(round int, condition string) {
	d.t.Helper()
	for begun := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		d.control.Must("config", "-q")
		open := d.rows(`SELECT r.run_id, r.kind, p.host, p.pid FROM quant.runs r JOIN quant.run_process p USING (run_id) WHERE r.status = 'RUNNING' AND (` + condition + `)`)
		if open == "" {
			return
		}
		if time.Since(begun) > found {
			d.t.Fatalf("round %d: runs stay RUNNING:\n%s", round, open)
		}
	}
}

// readPrinted reads from the object store what the programs of the round printed and kept.
func (d *disturbance) readPrinted(round int) {
	d.t.Helper()
	runs := strings.Fields(d.rows(`SELECT run_id FROM quant.runs WHERE kind = 'exec' AND status = 'SUCCESS' ORDER BY run_id DESC LIMIT ` + fmt.Sprint(programs)))
	if len(runs) != programs {
		d.t.Errorf("round %d: %d programs ended SUCCESS, not %d", round, len(runs), programs)
	}
	want, got := map[string]bool{}, map[string]bool{}
	for p, run := range runs {
		if text := d.control.Must("runs", "logs", run).Stdout; !strings.HasPrefix(text, printed(round)) {
			d.t.Errorf("round %d: a program printed %q, and %q is read", round, printed(round), labtest.Clipped(text))
		}
		for i := range keeps {
			want[kept(round, p, i)] = true
			got[d.control.Must("runs", "artifact", run, fmt.Sprintf("kept-%d.txt", i)).Stdout] = true
		}
	}
	if !maps.Equal(want, got) {
		d.t.Errorf("round %d: what programs kept is %v, not %v", round, got, want)
	}
}
