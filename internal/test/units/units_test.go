// Package units tries work that workers divide on a team's stores: with the files of a lake
// in a folder or in a bucket, by real processes that are killed.
package units

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quant/internal/metastore/postgrestest"
	"quant/internal/test/labtest"
	"quant/internal/test/laketest"
	"quant/internal/test/objectstest"
	"quant/internal/test/soak"
)

func TestMain(m *testing.M) { labtest.Main(m) }

const scored = `strategy_id: scored
version: "1"
universe:   {type: symbols, symbols: [A, B, C, D]}
signal:     {type: model_score, order: desc, inputs: {model_id: "experiment:m", task_id: wf}}
rebalance:  {frequency: weekly, asof_policy: close}
portfolio:  {top_k: 2, weighting: equal}
backtest:   {fee_bps: 5}
`

func onLake(t *testing.T, url string) *labtest.Lab {
	t.Helper()
	l := labtest.WithPrices(t)
	l.Env = append(l.Env, laketest.Environment(t, url)...)
	return l
}

// inFolder and inBucket are labs whose Meta DB is on PostgreSQL, with their facts on a
// lake that has its files in a folder, or in a bucket.
func inFolder(t *testing.T) *labtest.Lab {
	t.Helper()
	l := onLake(t, laketest.URL(t))
	l.Env = append(l.Env, "QUANT_META_URL="+postgrestest.Database(t))
	return l
}

func inBucket(t *testing.T) (l *labtest.Lab, front *objectstest.Front, staged func() map[string]string) {
	t.Helper()
	server := objectstest.Shared(t)
	front = server.Front(t, false)
	bucket := server.Bucket(t)
	l = onLake(t, laketest.InBucket(postgrestest.Database(t), bucket, front.Endpoint))
	l.Env = append(l.Env, "QUANT_META_URL="+postgrestest.Database(t))
	for name, value := range objectstest.Environment() {
		l.Env = append(l.Env, name+"="+value)
	}
	return l, front, func() map[string]string { return objectsIn(t, server.File(bucket, "lake/.outputs")) }
}

// objectsIn are the files in which a store keeps the objects below a prefix, by key.
func objectsIn(t *testing.T, above string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(above, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			key, _ := filepath.Rel(above, path)
			found[filepath.ToSlash(key)] = path
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	labtest.Must(t, err)
	return found
}

// cameTo is all that stands of the work of a lab: facts to the bit, the ledger, the
// models, and what the runs that changed something read and wrote, units apart.
func cameTo(l *labtest.Lab) string {
	l.T.Helper()
	var lines []string
	for _, query := range []string{
		"SELECT count(*), sum(hash(symbol, ts, feature_name, feature_version, feature_value)::HUGEINT) AS h FROM features_daily",
		"SELECT count(*), sum(hash(COLUMNS(*))::HUGEINT) FROM returns",
		"SELECT count(*), sum(hash(symbol, ts, model_id, task_id, score)::HUGEINT) AS h FROM predictions",
		`SELECT strategy_id, version, count(*), sum(hash("asof", symbol, weight, score, approved, risk_flags, reason)::HUGEINT) AS h FROM targets GROUP BY ALL ORDER BY ALL`,
		`SELECT strategy_id, count(*), sum(hash("asof", status, gross, turnover, digest)::HUGEINT) AS h FROM target_sets GROUP BY ALL ORDER BY ALL`,
		"SELECT s.strategy_id, result_digest FROM backtest_details JOIN backtest_summary s USING (run_id) ORDER BY ALL",
		"SELECT table_name, count(*), sum(rows_inserted), sum(rows_updated), sum(rows_deleted) FROM ledger GROUP BY ALL ORDER BY ALL",
	} {
		lines = append(lines, l.Must("sql", "--output", "csv", query).Stdout)
	}
	for _, query := range []string{
		"SELECT model_id, metrics_json, train_range FROM models ORDER BY 1",
		`SELECT r.kind, io.direction, io.kind, CASE WHEN io.kind = 'file' THEN '' ELSE io.name END AS name, io.digest, io.rows, count(*) AS n FROM run_io io JOIN runs r USING (run_id) JOIN run_process p USING (run_id)
			WHERE p.changes = 1 AND r.status = 'SUCCESS' AND io.digest IS NOT NULL AND io.kind NOT IN ('stage', 'state', 'snapshot', 'staged')
			AND NOT EXISTS (SELECT 1 FROM run_io u WHERE u.run_id = r.run_id AND u.kind = 'staged') GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6`,
	} {
		lines = append(lines, l.Must("sql", "--meta", "--output", "csv", query).Stdout)
	}
	return strings.Join(lines, "\n")
}

// differs says where two texts of lines differ first; "": nowhere.
func differs(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(a), len(b)) {
		if i >= min(len(a), len(b)) || a[i] != b[i] {
			return "line " + strconv.Itoa(i+1) + "\n" + strings.Join(a[i:min(i+2, len(a))], "\n") + "\nwant\n" + strings.Join(b[i:min(i+2, len(b))], "\n")
		}
	}
	return ""
}

// divided are the lines of a lab's work; W stands where workers divide it.
var divided = []string{
	"init-db", "ingest first.csv", "features W", "labels --horizon 5",
	"experiments create m --name m --features ret_20d@v1,vol_20d@v1 --label fwd_ret_5d@v1 --folds 3",
	"pipeline run --strategy scored.yaml --from 2015-03-01 --to 2015-12-31 W", "ingest second.csv", "features W", "labels --horizon 5", "train --experiment m W",
	"sweep --strategy s.yaml --set portfolio.top_k=1,2,3 --set execution.lag_days=0,1,2 W",
}

// work does the lines, with workers or without.
func work(l *labtest.Lab, workers string) {
	l.T.Helper()
	l.Write("scored.yaml", []byte(scored))
	for _, line := range divided {
		p := l.Start(nil, strings.Fields(strings.ReplaceAll(line, "W", workers))...)
		l.WantCode(p.WaitFor(10*time.Minute), 0)
	}
	l.Must("doctor")
}

var alone sync.Map

// embedded is what the lines come to in one process of an embedded lab.
func embedded(t *testing.T) string {
	t.Helper()
	once, _ := alone.LoadOrStore("", sync.OnceValue(func() string {
		l := labtest.WithPrices(t)
		work(l, "")
		return cameTo(l)
	}))
	return once.(func() string)()
}

// wantDivided holds that so many units of each kind were staged, and taken in.
func wantDivided(l *labtest.Lab) {
	l.T.Helper()
	r := l.Must("sql", "--meta", "--output", "csv", `SELECT r.kind, count(*) AS units FROM runs r JOIN run_io io USING (run_id) WHERE io.kind = 'staged' AND r.status = 'SUCCESS' GROUP BY 1 ORDER BY 1`)
	units := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(r.Stdout), "\n")[1:] {
		kind, n, _ := strings.Cut(line, ",")
		units[kind], _ = strconv.Atoi(n)
	}
	if units["features"] < 7 || units["train"] != 6 || units["sweep"] != 2 {
		l.T.Errorf("units that staged: %s", r.Stdout)
	}
	if open := l.Must("sql", "--meta", "--output", "csv", "SELECT count(*) AS n FROM runs WHERE status = 'RUNNING' AND kind <> 'sql'").Stdout; !strings.HasSuffix(strings.TrimSpace(open), "\n0") {
		l.T.Errorf("runs that are RUNNING: %s", open)
	}
}

// Features, trainings, pipelines and sweeps with workers come to the same on a team's
// stores as in one process of an embedded lab. What differs most from that is always tried.
func TestWorkWithWorkersOnATeamsStoresIsThatOfOneProcess(t *testing.T) {
	t.Parallel()
	full := soak.Full(t)
	t.Run("workers of the command, a lake in a folder", func(t *testing.T) {
		t.Parallel()
		inFull(t, full)
		l := inFolder(t)
		work(l, "--workers 2")
		if d := differs(cameTo(l), embedded(t)); d != "" {
			t.Error(d)
		}
		wantDivided(l)
	})
	queued := func(t *testing.T, l *labtest.Lab) {
		t.Helper()
		l.Must("init-db")
		worker := l.Start(nil, "worker", "--slots", "2")
		work(l, "--workers queue")
		worker.Signal(syscall.SIGTERM)
		if r := worker.Wait(); r.Code != 0 && r.Code != 128+int(syscall.SIGTERM) {
			t.Errorf("the worker: %v", r)
		}
		if d := differs(cameTo(l), embedded(t)); d != "" {
			t.Error(d)
		}
		wantDivided(l)
	}
	t.Run("a worker of its own, a lake in a folder", func(t *testing.T) {
		t.Parallel()
		inFull(t, full)
		queued(t, inFolder(t))
	})
	t.Run("a worker of its own, a lake in a bucket", func(t *testing.T) {
		t.Parallel()
		l, _, staged := inBucket(t)
		queued(t, l)
		if left := staged(); len(left) > 0 {
			t.Errorf("objects are left of outputs that were taken in: %v", left)
		}
	})
}

func inFull(t *testing.T, full bool) {
	t.Helper()
	if !full {
		t.Skip("it takes a minute, and is tried with QUANT_SOAK=1")
	}
}

// sweepOfNine is a sweep of two units.
var sweepOfNine = strings.Fields("sweep --strategy s.yaml --set portfolio.top_k=1,2,3 --set execution.lag_days=0,1,2 --workers 2")

// sweptAlone is what the sweep of nine comes to in one process of an embedded lab.
var sweptAlone sync.Map

func ofSweep(t *testing.T) string {
	t.Helper()
	once, _ := sweptAlone.LoadOrStore("", sync.OnceValue(func() string {
		l := labtest.WithPrices(t)
		for _, line := range []string{"init-db", "ingest first.csv", "features"} {
			l.Must(strings.Fields(line)...)
		}
		l.Must(sweepOfNine[:len(sweepOfNine)-2]...)
		return cameTo(l)
	}))
	return once.(func() string)()
}

func sweptInBucket(t *testing.T) (l *labtest.Lab, front *objectstest.Front, staged func() map[string]string) {
	t.Helper()
	l, front, staged = inBucket(t)
	for _, line := range []string{"init-db", "ingest first.csv", "features"} {
		l.Must(strings.Fields(line)...)
	}
	return l, front, staged
}

// Wherever a unit or the command that takes in is killed, the objects in the bucket do no
// harm: the same sweep again comes to the same, and gc removes what was left.
func TestASweepInABucketThatIsKilledAnywhereComesToTheSame(t *testing.T) {
	t.Parallel()
	steps := []string{"unit outputs.manifest.before", "fact.commit.after", "unit outputs.written", "unit outputs.manifest.after", "outputs.take.before", "outputs.take.after"}
	for _, step := range steps[:soak.Count(t, 2, len(steps))] {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l, _, staged := sweptInBucket(t)
			name, of := "QUANT_TEST_FAILPOINT=", step
			if unit, is := strings.CutPrefix(step, "unit "); is { // each attempt at it dies
				name, of = "QUANT_TEST_JOB_FAILPOINT=", unit
			}
			if r := l.Start([]string{name + of + ":kill"}, sweepOfNine...).Wait(); r.Code == 0 {
				t.Fatalf("it was not killed: %v", r)
			}
			left := len(staged())
			if left == 0 && of != "outputs.written" && of != "fact.commit.after" {
				t.Error("nothing is staged, so nothing was tried")
			}
			l.Must(sweepOfNine...)
			if d := differs(cameTo(l), ofSweep(t)); d != "" && of != "fact.commit.after" && of != "outputs.take.after" { // which committed: a second ledger row of nothing is none
				t.Error(d)
			}
			l.Must("doctor")
			old := time.Now().Add(-3 * time.Hour)
			for _, file := range staged() {
				labtest.Must(t, os.Chtimes(file, old, old))
			}
			if n := len(staged()); n > 0 {
				l.Must("gc", "--min-age", "2h")
				if len(staged()) != n {
					t.Error("gc removed something without --yes")
				}
				l.Must("gc", "--min-age", "2h", "--yes")
			}
			if left := staged(); len(left) > 0 {
				t.Errorf("gc leaves %v", left)
			}
		})
	}
}

// What was left of units is named by the doctor, and kept by gc while it is young; what was
// tampered with is refused by its name, and nothing of it is stored.
func TestObjectsThatUnitsStagedAreNamedKeptAndVerified(t *testing.T) {
	t.Parallel()
	l, _, staged := sweptInBucket(t)
	if r := l.Start([]string{"QUANT_TEST_FAILPOINT=sweep.dispatched:kill"}, sweepOfNine...).Wait(); r.Code != labtest.Killed {
		t.Fatal(r)
	}
	all := staged()
	if len(all) < 4 {
		t.Fatalf("staged: %v", all)
	}
	minute := time.Now().Add(-time.Minute) // stores tell times to the second
	for _, file := range all {
		labtest.Must(t, os.Chtimes(file, minute, minute))
	}
	l.Must("runs", "list") // closes the sweep that died
	if r := l.Must("doctor"); !strings.Contains(r.Stdout, "s3://") || !strings.Contains(r.Stdout, "left it behind") {
		t.Errorf("the doctor does not name them: %s", r)
	}
	l.Must("gc", "--min-age", "2h", "--yes")
	if len(staged()) != len(all) {
		t.Error("gc removed young outputs")
	}
	var file string
	for key, path := range all {
		if strings.HasSuffix(key, "targets.parquet") {
			file = path
		}
	}
	whole, err := os.ReadFile(file)
	labtest.Must(t, err)
	changed := slices.Clone(whole)
	changed[len(changed)/2] ^= 1
	before := l.Must("sql", "--output", "csv", "SELECT (SELECT count(*) FROM targets), (SELECT count(*) FROM ledger)").Stdout
	for what, content := range map[string][]byte{"has another digest": changed, "is missing, or of another size": append(slices.Clone(whole), 0)} {
		labtest.Must(t, os.WriteFile(file, content, 0o600))
		if r := l.Want(8, sweepOfNine...); !strings.Contains(r.Stderr, "targets.parquet "+what) || !strings.Contains(r.Stderr, "s3://") {
			t.Errorf("tampered: %v", r)
		}
	}
	if after := l.Must("sql", "--output", "csv", "SELECT (SELECT count(*) FROM targets), (SELECT count(*) FROM ledger)").Stdout; after != before {
		t.Errorf("stored of what was tampered with: %s, before %s", after, before)
	}
	labtest.Must(t, os.WriteFile(file, whole, 0o600))
	if r := l.Must(sweepOfNine...); !strings.Contains(r.Stderr, "are taken over") {
		t.Errorf("what was staged is not taken over: %v", r)
	}
	if d := differs(cameTo(l), ofSweep(t)); d != "" {
		t.Error(d)
	}
	if left := staged(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	// Old outputs that nobody takes in are removed.
	if r := l.Start([]string{"QUANT_TEST_FAILPOINT=sweep.dispatched:kill"}, append(slices.Clone(sweepOfNine), "--set", "backtest.fee_bps=7")...).Wait(); r.Code != labtest.Killed {
		t.Fatal(r)
	}
	old := time.Now().Add(-3 * time.Hour)
	for _, file := range staged() {
		labtest.Must(t, os.Chtimes(file, old, old))
	}
	l.Must("gc", "--min-age", "2h", "--yes")
	if left := staged(); len(left) > 0 {
		t.Errorf("gc leaves %v", left)
	}
	if r := l.Must("doctor"); strings.Contains(r.Stdout, "left it behind") {
		t.Errorf("the doctor names what is gone: %s", r)
	}
}

// A store that is slow, answers 500 now and then and loses answers changes nothing.
func TestASweepInABucketOfAStoreThatFailsNowAndThenComesToTheSame(t *testing.T) {
	t.Parallel()
	l, front, staged := sweptInBucket(t)
	var mu sync.Mutex
	n, staging := 0, 0
	front.Fail(func(r *http.Request) objectstest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if !strings.Contains(r.URL.Path, ".outputs") && !strings.Contains(r.URL.RawQuery, "outputs") {
			return objectstest.Fault{}
		}
		n++
		staging++
		switch n % 5 {
		case 0:
			return objectstest.Fault{Status: http.StatusInternalServerError}
		case 1:
			return objectstest.Fault{Delay: 300 * time.Millisecond}
		case 2:
			return objectstest.Fault{Lost: r.Method == http.MethodPut, Cut: r.Method == http.MethodGet, After: 500}
		}
		return objectstest.Fault{}
	})
	l.Must(sweepOfNine...)
	front.Fail(nil)
	if staging < 20 {
		t.Errorf("%d requests of staged outputs", staging)
	}
	if d := differs(cameTo(l), ofSweep(t)); d != "" {
		t.Error(d)
	}
	if left := staged(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
