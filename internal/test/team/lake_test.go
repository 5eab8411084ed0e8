package team

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quant/internal/metastore/postgrestest"
	"quant/internal/test/labtest"
	"quant/internal/test/laketest"
	"quant/internal/test/objectstest"
)

// onLake is a lab with its facts on a lake.
func onLake(t *testing.T, url string) *labtest.Lab {
	t.Helper()
	l := labtest.WithPrices(t)
	l.Env = append(l.Env, laketest.Environment(t, url)...)
	return l
}

// digests are what the runs of a lab read and wrote, without what names runs and times.
func digests(l *labtest.Lab) string {
	return l.Must("sql", "--meta", "--output", "csv", `SELECT r.kind, io.direction, io.kind, CASE WHEN io.kind = 'file' THEN '' ELSE io.name END AS name, io.digest, io.rows FROM run_io io JOIN runs r USING (run_id)
		WHERE io.digest IS NOT NULL AND io.kind NOT IN ('stage', 'state', 'snapshot') AND r.kind NOT IN ('sql', 'pipeline.run') ORDER BY r.started_at, 2, 3, 4, 5`).Stdout
}

// In a bucket of an object store a lake is the same as in a folder, and its keys are
// nowhere.
func TestALakeInABucketIsTheSame(t *testing.T) {
	t.Parallel()
	server := objectstest.Shared(t)
	front := server.Front(t, true)
	bucket := server.Bucket(t)
	url := laketest.InBucket(postgrestest.Database(t), bucket, front.Endpoint)
	file, lake, stranger := labtest.WithPrices(t), onLake(t, url), onLake(t, url)
	for name, value := range objectstest.Environment() {
		lake.Env, stranger.Env = append(lake.Env, name+"="+value), append(stranger.Env, name+"="+value)
	}
	stranger.Must("init-db") // nothing is written into the bucket yet
	if r := stranger.Run("ingest", "first.csv"); r.Code == 0 || strings.Contains(r.Stderr, objectstest.Secret) {
		t.Errorf("a store whose certificate nobody knows: %s", r)
	}
	lake.Env = append(lake.Env, "AWS_CA_BUNDLE="+front.CA(t))
	for _, l := range []*labtest.Lab{file, lake} {
		for _, line := range []string{"init-db", "ingest first.csv", "ingest second.csv", "features --feature-version v2", "pipeline run --strategy s.yaml", "doctor"} {
			l.Must(strings.Fields(line)...)
		}
	}
	if want, got := digests(file), digests(lake); want != got || strings.Count(want, "rows:") < 5 {
		t.Errorf("digests on a file:\n%s\nin a bucket:\n%s", want, got)
	}
	for _, query := range []string{
		"SELECT symbol, ts, open, close, adjusted_close FROM ohlcv ORDER BY ALL LIMIT 50", "SELECT * EXCLUDE (run_id, created_at) FROM backtest_summary ORDER BY ALL",
	} {
		if want, got := file.Must("sql", "--output", "csv", query).Stdout, lake.Must("sql", "--output", "csv", query).Stdout; want != got || strings.Count(want, "\n") < 2 {
			t.Errorf("%s\n%s\nin a bucket:\n%s", query, want, got)
		}
	}
	if r := lake.Run("sql", "SELECT * FROM duckdb_secrets()"); strings.Contains(r.Stdout+r.Stderr, objectstest.Secret) {
		t.Error("a query shows the keys:", r)
	}
	if r := lake.Run("sql", "SELECT * FROM read_parquet('s3://another/x.parquet')"); r.Code == 0 {
		t.Error("a query reads another bucket:", r)
	}
	if all := lake.MetaRows("SELECT config_json, error_text FROM runs"); strings.Contains(all, objectstest.Secret) {
		t.Error("the keys are in the record")
	}
}

// The whole chain computes the same to the bit, whether a lab is in files or its Meta DB
// on PostgreSQL and its facts on a lake.
func TestTheChainIsTheSameOnATeamsBackends(t *testing.T) {
	t.Parallel()
	file, lake := labtest.WithPrices(t), onLake(t, laketest.URL(t))
	lake.Env = append(lake.Env, "QUANT_META_URL="+postgrestest.Database(t))
	for _, l := range []*labtest.Lab{file, lake} {
		for _, line := range []string{
			"init-db", "ingest first.csv", "ingest second.csv", "features --feature-version v2", "labels --horizon 5",
			"experiments create m --name m --features ret_20d@v1,vol_20d@v1 --label fwd_ret_5d@v1 --folds 2",
			"pipeline run --strategy s.yaml", "train --experiment m", "score --model experiment:m --from 2015-11-01 --to 2015-11-20", "pipeline run --strategy s.yaml", "doctor",
		} {
			l.Must(strings.Fields(line)...)
		}
	}
	if want, got := digests(file), digests(lake); want != got || strings.Count(want, "rows:") < 10 {
		t.Errorf("digests on a file:\n%s\non a lake:\n%s", want, got)
	}
	for _, query := range []string{
		"SELECT count(*), sum(hash(symbol, ts, feature_name, feature_value, feature_version)::HUGEINT) FROM features_daily",
		"SELECT symbol, ts, open, close, adjusted_close, bars, factor FROM ohlcv_revisions ORDER BY ALL LIMIT 50",
		"SELECT * EXCLUDE (run_id, created_at) FROM backtest_summary ORDER BY ALL",
	} {
		if want, got := file.Must("sql", "--output", "csv", query).Stdout, lake.Must("sql", "--output", "csv", query).Stdout; want != got || strings.Count(want, "\n") < 2 {
			t.Errorf("%s\non a file:\n%s\non a lake:\n%s", query, want, got)
		}
	}
	sweep := "sweep --strategy s.yaml --set portfolio.top_k=1,2,3 --set execution.lag_days=0,1,2"
	file.Must(strings.Fields(sweep)...)
	lake.Must(append(strings.Fields(sweep), "--workers", "2")...) // nine trials: two units
	query := `SELECT s.strategy_id, result_digest, (SELECT sum(hash(version, "asof", symbol, weight, score, approved, reason)) FROM targets t WHERE t.strategy_id = s.strategy_id) AS decided
		FROM backtest_details JOIN backtest_summary s USING (run_id) WHERE s.strategy_id LIKE '%#%' ORDER BY ALL`
	if want, got := file.Must("sql", "--output", "csv", query).Stdout, lake.Must("sql", "--output", "csv", query).Stdout; want != got || strings.Count(want, "\n") != 10 {
		t.Errorf("trials of one process on a file:\n%s\nof two workers on a lake:\n%s", want, got)
	}
	if r := lake.Must("sql", "--meta", "--output", "csv", "SELECT count(DISTINCT value) AS units FROM run_tags WHERE name = 'unit_run_id'"); !strings.HasSuffix(strings.TrimSpace(r.Stdout), "\n2") {
		t.Errorf("units that worked out trials: %s", r.Stdout)
	}
	lake.Must("doctor")
}

// What is done with the file of the facts is refused, and says what to do; passwords
// never show.
func TestALakeSaysWhatCannotBeDoneWithIt(t *testing.T) {
	t.Parallel()
	server := postgrestest.Shared(t)
	l := onLake(t, laketest.In(strings.Replace(server.Database(t), "quant@", "quant:hunter22@", 1), t.TempDir()))
	l.Want(8, "sql", "SELECT 1")
	l.Must("init-db")
	for _, line := range []string{"init-db --reset --yes"} {
		if r := l.Want(6, strings.Fields(line)...); !strings.Contains(r.Stderr, "pg_dump") {
			t.Errorf("%s: %s", line, r)
		}
	}
	l.Must("config", "--output", "json")
	l.Must("sql", "FROM duckdb_databases()")
	l.Want(2, "--facts-url", "ducklake:elsewhere.ducklake", "config")
	l.Want(2, "--facts-url", "ducklake:postgres:dbname=x", "--duckdb", "x.duckdb", "config")
	l.Env = append(l.Env, "QUANT_EXTENSIONS_DIR="+t.TempDir())
	if r := l.Want(8, "sql", "SELECT 1"); !strings.Contains(r.Stderr, "pip install") {
		t.Errorf("without extensions: %s", r)
	}
	if strings.Contains(l.Printed(), "hunter22") {
		t.Errorf("the password shows:\n%s", l.Printed())
	}
	if config := l.MetaRows("SELECT config_json FROM runs"); strings.Contains(config, "hunter22") || !strings.Contains(config, "QUANT_FACTS_URL") {
		t.Errorf("recorded: %s", config)
	}
}

// What a run read and wrote names snapshots of the lake, which can be read after others
// have written and after the lake was compacted.
func TestARunNamesTheSnapshotsOfItsLake(t *testing.T) {
	t.Parallel()
	l := onLake(t, laketest.URL(t))
	l.Must("init-db")
	l.Must("ingest", "first.csv")
	l.Must("features")
	const digest = "SELECT (SELECT count(*) || ' ' || sum(hash(ohlcv)::HUGEINT) FROM ohlcv), (SELECT count(*) || ' ' || sum(hash(symbol, ts, feature_name, feature_value)::HUGEINT) FROM features_daily)"
	asOf := func(what string) string { return l.Must("sql", "--output", "csv", "--as-of", what, digest).Stdout }
	then := l.Must("sql", "--output", "csv", digest).Stdout
	if got := asOf("last:features"); got != then {
		t.Errorf("as of features: %s; then: %s", got, then)
	}
	ingested := asOf("last:ingest")
	id := strings.TrimSpace(l.MetaRows("SELECT io.name FROM run_io io JOIN runs r USING (run_id) WHERE r.kind = 'features' AND io.kind = 'snapshot' AND io.direction = 'out'"))
	if id == "" || !strings.Contains(l.Must("runs", "show", "last:features").Stdout, "snapshot") {
		t.Fatalf("snapshot %q; %s", id, l.Must("runs", "show", "last:features").Stdout)
	}
	features := strings.TrimSpace(l.MetaRows("SELECT run_id FROM runs WHERE kind = 'features'"))
	l.Must("ingest", "second.csv")
	l.Must("features")
	if now := l.Must("sql", "--output", "csv", digest).Stdout; now == then {
		t.Fatal("nothing changed")
	}
	for range 2 {
		if a, b := asOf(features), asOf("snapshot:"+id); a != then || b != then || ingested == then {
			t.Errorf("as of %s: %s; of its snapshot: %s; then: %s", features, a, b, then)
		}
		l.Must("lab", "compact", "--grace", "0s", "--expire", "1ms")
	}
	l.Must("doctor")
	l.Want(4, "sql", "--as-of", "snapshot:123456", "SELECT 1")
	// Numbers of snapshots mean nothing on another lake.
	other := "QUANT_FACTS_URL=" + laketest.URL(t)
	l.Must("lab", "move", "--to-facts-url", strings.TrimPrefix(other, "QUANT_FACTS_URL="))
	if r := l.Start([]string{other}, "sql", "--as-of", features, digest).Wait(); r.Code != 4 || !strings.Contains(r.Stderr, "another lake") {
		t.Errorf("after a move: %s", r)
	}
	l.Want(2, "sql", "--as-of", "snapshot:x", "SELECT 1")
	file := labtest.WithPrices(t)
	file.Must("init-db")
	file.Want(6, "sql", "--as-of", "snapshot:1", "SELECT 1")
	file.Want(6, "lab", "compact")
}

// Compaction harms nobody, whoever writes and reads meanwhile and wherever it is killed,
// and forgets nothing that a run refers to or that an open one may.
func TestCompactionBesideOthersAndKilledAnywhereLeavesFactsAsTheyAre(t *testing.T) {
	t.Parallel()
	o := newTeam(t)
	facts := []string{"QUANT_FACTS_URL=" + laketest.URL(t), "QUANT_EXTENSIONS_DIR=" + laketest.Extensions(t)}
	machine := func() *labtest.Lab {
		l := labtest.WithPrices(t)
		l.Env = append(append(l.Env, facts...), "QUANT_META_URL="+o.url, "QUANT_TEST_PATIENCE=lease="+lease.String())
		return l
	}
	a, b, c := machine(), machine(), machine()
	a.Must("init-db")
	a.Must("ingest", "first.csv")
	a.Must("features")
	const digest = "SELECT (SELECT count(*) || ' ' || sum(hash(symbol, ts, open, high, low, close, volume)::HUGEINT) FROM ohlcv), (SELECT count(*) || ' ' || sum(hash(symbol, ts, feature_name, feature_value)::HUGEINT) FROM features_daily)"
	at := func(l *labtest.Lab, what string) string {
		return l.Must("sql", "--output", "csv", "--as-of", what, digest).Stdout
	}
	first := strings.TrimSpace(o.rows("SELECT run_id FROM quant.runs WHERE kind = 'features'"))
	then := at(a, first)
	compact := []string{"lab", "compact", "--wait", "2m", "--grace", "0s", "--expire", "1ms"}
	for i, step := range labtest.CompactSteps {
		b.Write("more.csv", labtest.Corrected(3000+i, "A", "B", "C", "D", "E"))
		writer, reader := b.Start(nil, "ingest", "--wait", "2m", "more.csv"), c.Start(nil, "features", "--wait", "2m", "--feature-version", "v2")
		a.WantCode(a.Start([]string{"QUANT_TEST_FAILPOINT=" + step}, compact...).Wait(), 1009)
		if now := at(a, first); now != then {
			t.Errorf("killed at %s: as of the first features %s, then %s", step, now, then)
		}
		for _, p := range []*labtest.Process{writer, reader} {
			if r := p.Wait(); r.Code != 0 {
				t.Errorf("beside a compaction that is killed at %s: %s", step, r)
			}
		}
	}
	a.Must("features")
	now := a.Must("sql", "--output", "csv", digest).Stdout
	// What is open may still read what was replaced since it began.
	sleeping := c.Start(nil, "exec", "--", "sleep", "600")
	a.Eventually("it runs", func() bool { return strings.Contains(a.Must("runs", "list", "--output", "csv").Stdout, "exec,RUNNING") })
	b.Write("more.csv", labtest.Corrected(4000, "A", "B", "C", "D", "E"))
	b.Must("ingest", "more.csv")
	b.Write("more.csv", labtest.Corrected(3000+len(labtest.CompactSteps)-1, "A", "B", "C", "D", "E"))
	b.Must("ingest", "more.csv")
	if r := a.Must(append(compact, "--output", "json")...); !strings.Contains(r.Stdout, `"expired": 0`) && !strings.Contains(r.Stdout, `"expired":0`) {
		t.Errorf("beside an open run: %s", r)
	}
	sleeping.Signal(syscall.SIGTERM)
	sleeping.Wait()
	a.Must(compact...)
	if got := a.Must("sql", "--output", "csv", digest).Stdout; got != now {
		t.Errorf("now %s, before %s", got, now)
	}
	if got := at(b, first); got != then {
		t.Errorf("as of the first features %s, then %s", got, then)
	}
	for _, l := range []*labtest.Lab{a, b, c} {
		if r := l.Run("doctor"); r.Code != 0 {
			t.Errorf("the doctor: %s", r)
		}
	}
}

// Machines that share a lake ingest the same keys at once; one of them is killed.
func TestMachinesThatIngestTheSameAtOnceLeaveNothingTwice(t *testing.T) {
	t.Parallel()
	url := laketest.URL(t)
	first := onLake(t, url)
	first.Must("init-db")
	machines := []*labtest.Lab{first, onLake(t, url), onLake(t, url)}
	var running []*labtest.Process
	for i, l := range machines {
		l.Write("same.csv", labtest.Corrected(2000+i, "A", "B", "C", "D", "E", "F"))
		running = append(running, l.Start(nil, "ingest", "--wait", "2m", "same.csv"))
	}
	time.Sleep(1200 * time.Millisecond)
	running[2].Signal(syscall.SIGKILL)
	for i, p := range running {
		if r := p.Wait(); i < 2 && r.Code != 0 {
			t.Errorf("machine %d: %s", i, r)
		}
	}
	query := "SELECT count(*), count(DISTINCT (symbol, ts)), count(*) FILTER (ingested_at NOT IN (SELECT committed_at FROM ledger)) FROM ohlcv"
	if r := first.Must("sql", "--output", "csv", query); !strings.HasSuffix(strings.TrimSpace(r.Stdout), "\n2520,2520,0") {
		t.Errorf("%s", r)
	}
}

// A lake is shared, the data folders beside it need not be: contents of artifacts that
// another has are no fault here.
func TestTheDoctorOfALakeMissesNoContentsOfOtherDataFolders(t *testing.T) {
	t.Parallel()
	o := newTeam(t)
	facts := []string{"QUANT_FACTS_URL=" + laketest.URL(t), "QUANT_EXTENSIONS_DIR=" + laketest.Extensions(t)}
	a, b := o.machine(), o.machine()
	a.Env, b.Env = append(a.Env, facts...), append(b.Env, facts...)
	a.Must("init-db")
	a.Write("plot.txt", []byte("seen"))
	a.Must("log", "artifact", "plot.txt", "--run", "last:init-db")
	if c := a.Doctor(); !c.Healthy || c.Has("note", "artifacts", "another data folder") {
		t.Errorf("where it was logged: %+v", c)
	}
	if c := b.Doctor(); !c.Healthy || !c.Has("note", "artifacts", "another data folder") {
		t.Errorf("elsewhere: %+v", c)
	}
}

// Where the catalog is, and who logs in, may stand in PostgreSQL's own variables alone,
// also for a query of a user, which runs in a process with an environment of its own.
func TestALakeIsReachedByTheVariablesOfPostgreSQL(t *testing.T) {
	t.Parallel()
	at, err := pgx.ParseConfig(postgrestest.Database(t))
	labtest.Must(t, err)
	l := onLake(t, "ducklake:postgres:dbname="+at.Database+"?data_path="+t.TempDir())
	l.Env = append(l.Env, "PGHOST="+at.Host, fmt.Sprintf("PGPORT=%d", at.Port), "PGUSER="+at.User)
	l.Must("init-db")
	l.Must("ingest", "first.csv")
	if r := l.Must("sql", "--output", "csv", "SELECT count(*) FROM ohlcv"); !strings.HasSuffix(strings.TrimSpace(r.Stdout), "\n1680") {
		t.Error(r)
	}
}
