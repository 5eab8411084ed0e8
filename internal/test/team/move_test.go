package team

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"quant/internal/metastore/postgrestest"
	"quant/internal/test/labtest"
	"quant/internal/test/laketest"
)

// filled is a lab in files with a bit of everything: prices that were corrected, features,
// labels, decisions, a backtest, an experiment, a symbol, a token, records of runs, a deleted
// run, an artifact, a log, a plan.
func filled(t *testing.T) *labtest.Lab {
	t.Helper()
	l := labtest.WithPrices(t)
	l.Env = append(l.Env, "QUANT_EXTENSIONS_DIR="+laketest.Extensions(t))
	l.Write("plot.txt", []byte("seen"))
	for _, line := range []string{
		"init-db", "symbols add ZZZ", "ingest first.csv", "ingest second.csv", "labels --horizon 5",
		"experiments create m --name m --features ret_20d@v1 --label fwd_ret_5d@v1 --folds 2",
		"pipeline run --strategy s.yaml", "log artifact plot.txt --run last:ingest", "log note --run last:ingest mended", "log param k=v --run last:ingest",
		"tokens create ci", "exec -- echo printed", "runs delete last:config --yes",
	} {
		if r := l.Run(strings.Fields(line)...); r.Code != 0 && !strings.HasPrefix(line, "runs delete") {
			t.Fatalf("%s: %s", line, r)
		}
	}
	return l
}

// moved is what a move prints of itself.
type moved struct {
	RunID  string `json:"run_id"`
	Moved  bool
	Tables []struct {
		Part, Table, Digest string
		Rows                int64
	}
	Files []struct {
		Kind, Digest string
		Files, Bytes int64
	}
	Missing []string `json:"missing_artifacts"`
	Since   int64    `json:"runs_since"`
}

func movedBy(t *testing.T, r labtest.Result) (m moved) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.Stdout), &m); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	return m
}

// tablesOf are the numbers and digests of one part.
func (m moved) tablesOf(part string) map[string]string {
	list := map[string]string{}
	for _, t := range m.Tables {
		if t.Part == part {
			list[t.Table] = t.Digest
		}
	}
	return list
}

// tree are the contents of all files below a folder but the shared memory that SQLite keeps
// for readers, and what is locked.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	labtest.Must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, "-shm") || strings.HasSuffix(path, "-wal") {
			return err
		}
		b, err := os.ReadFile(path)
		files[path] = string(b)
		return err
	}))
	return files
}

// role is the member that names who recorded a run in the database, as only a server knows.
var role = regexp.MustCompile(`\n *"role": [^\n]*`)

// answers are what a lab says of itself, without what moving adds.
func answers(l *labtest.Lab, env ...string) string {
	var b strings.Builder
	for _, args := range [][]string{
		{"sql", "SELECT count(*), sum(hash(symbol, ts, feature_name, feature_value, feature_version, computed_at)::HUGEINT) FROM features_daily"},
		{"sql", "SELECT symbol, ts, close, bars, factor, run_id FROM ohlcv_revisions ORDER BY ALL LIMIT 50"},
		{"sql", "SELECT run_id, table_name, rows_inserted, committed_at FROM ledger ORDER BY ALL"},
		{"sql", "SELECT * FROM backtest_summary ORDER BY ALL"},
		{"runs", "show", "last:ingest", "--output", "json"},
		{"symbols", "list"}, {"experiments", "list"}, {"tokens", "list"},
		{"runs", "artifact", "last:ingest", "plot.txt"},
		{"runs", "logs", "last:exec"},
	} {
		r := l.Start(env, append([]string{"--quiet"}, args...)...).Wait()
		if r.Code != 0 {
			l.T.Errorf("%v: %s", args, r)
		}
		b.WriteString(role.ReplaceAllString(r.Stdout, ""))
	}
	return b.String()
}

func TestALabMovesToATeamsStoresAndBack(t *testing.T) {
	t.Parallel()
	l := filled(t)
	meta, lake := postgrestest.Database(t), laketest.URL(t)
	team := []string{"QUANT_META_URL=" + meta, "QUANT_FACTS_URL=" + lake}
	want := answers(l)

	dry := movedBy(t, l.Must("lab", "move", "--to-meta-url", meta, "--to-facts-url", lake, "--dry-run", "--output", "json"))
	if dry.Moved || len(dry.Tables) < 40 || len(dry.Files) < 3 {
		t.Errorf("a dry run: %+v", dry)
	}
	before := tree(t, l.Path("data"))
	there := movedBy(t, l.Must("lab", "move", "--to-meta-url", meta, "--to-facts-url", lake, "--output", "json"))
	after := tree(t, l.Path("data"))
	for path, content := range before {
		if after[path] != content {
			t.Errorf("the source was changed: %s", path)
		}
	}
	if len(there.Missing) > 0 || there.Since != 0 || there.tablesOf("meta")["runs"] == "" || there.tablesOf("facts")["ohlcv"] == "" {
		t.Errorf("moved: %+v", there)
	}
	if got := answers(l, team...); got != want {
		t.Errorf("the team's lab says\n%s\nand the files\n%s", got, want)
	}
	if r := l.Start(team, "doctor").Wait(); r.Code != 0 {
		t.Errorf("the doctor of the team's lab: %s", r)
	}
	// It is in use now.
	l.Want(5, "lab", "move", "--to-meta-url", meta, "--to-facts-url", lake)
	if r := l.Start(team, "features", "--force").Wait(); r.Code != 0 {
		t.Errorf("it goes on: %s", r)
	}

	out := movedBy(t, l.Start(team, "lab", "move", "--to-data-dir", "back", "--output", "json").Wait())
	if !slices.Equal(slices.Sorted(maps.Keys(out.tablesOf("facts"))), slices.Sorted(maps.Keys(there.tablesOf("facts")))) || out.tablesOf("facts")["ohlcv"] != there.tablesOf("facts")["ohlcv"] {
		t.Errorf("back: %+v\nthere: %+v", out.tablesOf("facts"), there.tablesOf("facts"))
	}
	back := answers(l, "QUANT_DATA_DIR=back")
	if again := answers(l, team...); back != again {
		t.Errorf("the files that came back say\n%s\nand the team's lab\n%s", back, again)
	}
	if r := l.Start([]string{"QUANT_DATA_DIR=back"}, "doctor").Wait(); r.Code != 0 {
		t.Errorf("the doctor of what came back: %s", r)
	}
	if r := l.Start([]string{"QUANT_DATA_DIR=back"}, "runs", "show", out.RunID).Wait(); !strings.Contains(r.Stdout, "lab.move") || !strings.Contains(r.Stdout, "SUCCESS") {
		t.Errorf("the move itself: %s", r)
	}
}

// Facts alone, or the Meta DB alone, go where they are told, and the rest stays.
func TestOnePartOfALabMovesAlone(t *testing.T) {
	t.Parallel()
	l := filled(t)
	want := answers(l)
	lake := laketest.URL(t)
	l.Must("lab", "move", "--to-facts-url", lake)
	if got := answers(l, "QUANT_FACTS_URL="+lake); got != want {
		t.Errorf("facts on a lake:\n%s\nwant\n%s", got, want)
	}
	meta := postgrestest.Database(t)
	l.Must("lab", "move", "--to-meta-url", meta)
	if got := answers(l, "QUANT_META_URL="+meta); got != want {
		t.Errorf("a Meta DB on a server:\n%s\nwant\n%s", got, want)
	}
	for _, line := range []string{"lab move", "lab move --to-data-dir data", "lab move --to-meta-url mysql://x/y", "lab move --to-facts-url ducklake:x"} {
		l.Want(2, strings.Fields(line)...)
	}
}

// A move that is killed anywhere is finished by the same line, and takes nothing over
// twice.
func TestAMoveThatIsKilledIsGoneOnWith(t *testing.T) {
	t.Parallel()
	l := filled(t)
	want := answers(l)
	meta, lake := postgrestest.Database(t), laketest.URL(t)
	line := []string{"lab", "move", "--to-meta-url", meta, "--to-facts-url", lake, "--output", "json"}
	for _, at := range labtest.MoveSteps {
		l.WantCode(l.Start([]string{"QUANT_TEST_FAILPOINT=" + at}, line...).Wait(), 1009)
	}
	digests := movedBy(t, l.Must(line...)).tablesOf("facts")
	if got := answers(l, "QUANT_META_URL="+meta, "QUANT_FACTS_URL="+lake); got != want {
		t.Errorf("after kills it says\n%s\nwant\n%s", got, want)
	}
	if r := l.Start([]string{"QUANT_META_URL=" + meta, "QUANT_FACTS_URL=" + lake}, "doctor").Wait(); r.Code != 0 {
		t.Errorf("the doctor: %s", r)
	}
	back := []string{"lab", "move", "--to-data-dir", "back", "--output", "json"}
	team := []string{"QUANT_META_URL=" + meta, "QUANT_FACTS_URL=" + lake}
	for _, at := range []string{"fact.copy.after", "move.meta"} {
		l.WantCode(l.Start(append([]string{"QUANT_TEST_FAILPOINT=" + at}, team...), back...).Wait(), 1009)
	}
	if m := movedBy(t, l.Start(team, back...).Wait()); !maps.Equal(m.tablesOf("facts"), digests) {
		t.Errorf("it took over %v, want %v", m.tablesOf("facts"), digests)
	}
	if got := answers(l, "QUANT_DATA_DIR=back"); got != want {
		t.Errorf("back, after kills, it says\n%s\nwant\n%s", got, want)
	}
}

// While something runs in the source nothing is moved, and a lab in use is no target.
func TestAMoveWaitsForTheSourceAndRefusesALabInUse(t *testing.T) {
	t.Parallel()
	l := filled(t)
	running := l.Start([]string{"QUANT_TEST_FAILPOINT=ingest.merged:stop"}, "ingest", "first.csv").Stopped()
	if r := l.Want(5, "lab", "move", "--to-data-dir", "there", "--wait", "0"); !strings.Contains(r.Stderr, "RUNNING") {
		t.Errorf("while an ingest runs: %s", r)
	}
	running.Signal(syscall.SIGKILL)
	running.Wait()
	l.Want(5, "lab", "move", "--to-data-dir", "there", "--wait", "0") // nobody has closed it
	l.Must("config")
	l.Must("lab", "move", "--to-data-dir", "there")
	other := labtest.WithPrices(t)
	other.Must("init-db")
	other.Must("ingest", "first.csv")
	l.Want(5, "lab", "move", "--to-data-dir", other.Path("data"))
	// With its facts alone, too.
	labtest.Must(t, os.MkdirAll(l.Path("facts"), 0o700))
	labtest.Must(t, os.WriteFile(l.Path("facts/quant.duckdb"), []byte(tree(t, other.Path("data"))[other.Path("data/quant.duckdb")]), 0o600))
	l.Want(5, "lab", "move", "--to-data-dir", "facts")
}

// A team's lab is backed up into the file that a lab in files is, which comes back on either
// side.
func TestATeamsLabIsBackedUpAndComesBackOnEitherSide(t *testing.T) {
	t.Parallel()
	l := filled(t)
	team := []string{"QUANT_META_URL=" + postgrestest.Database(t), "QUANT_FACTS_URL=" + laketest.URL(t), "QUANT_DATA_DIR=team"}
	at := func(env []string, code int, args ...string) labtest.Result {
		t.Helper()
		r := l.Start(env, args...).Wait()
		l.WantCode(r, code)
		return r
	}
	// What stands in files comes back on the team's side.
	l.Must("backup", "files.tar")
	want := answers(l)
	at(team, 0, "init-db")
	at(team, 0, "restore", "files.tar")
	if got := answers(l, team...); got != want {
		t.Errorf("in the team's stores it says\n%s\nwant\n%s", got, want)
	}
	at(team, 0, "doctor")
	at(team, 5, "restore", "files.tar") // it is in use now

	// While somebody works, the state is of one moment.
	working := l.Start(append([]string{"QUANT_TEST_FAILPOINT=ingest.merged:stop"}, team...), "ingest", "first.csv").Stopped()
	at(team, 0, "backup", "team.tar")
	at(team, 0, "backup", "--verify", "team.tar")
	working.Signal(syscall.SIGKILL)
	working.Wait()

	files := []string{"QUANT_DATA_DIR=again"}
	if r := at(files, 0, "restore", "team.tar", "--yes"); !strings.Contains(r.Stdout, "; 2 of them were running") { // the backup itself is one
		t.Errorf("restored: %s", r)
	}
	if r := at(files, 0, "runs", "show", "last:ingest"); !strings.Contains(r.Stdout, "was running when the backup was taken") {
		t.Errorf("in files: %s", r)
	}
	at(files, 0, "doctor")
	other := []string{"QUANT_META_URL=" + postgrestest.Database(t), "QUANT_FACTS_URL=" + laketest.URL(t), "QUANT_DATA_DIR=other"}
	at(other, 0, "init-db")
	at(other, 0, "restore", "team.tar")
	at(other, 0, "doctor")
	for _, query := range []string{"SELECT * FROM ledger ORDER BY ALL", "SELECT count(*), sum(hash(symbol, ts, close)::HUGEINT) FROM ohlcv", "SELECT count(*), sum(hash(symbol, ts, feature_name, feature_value)::HUGEINT) FROM features_daily"} {
		a, b, c := at(team, 0, "sql", query).Stdout, at(files, 0, "sql", query).Stdout, at(other, 0, "sql", query).Stdout
		if a != b || a != c {
			t.Errorf("%s\nin the team's lab\n%s\nin files\n%s\nin another team's\n%s", query, a, b, c)
		}
	}
}

// A run of a team's lab is repeated in a private lab in files, on the prices that it read.
func TestARunOfATeamsLabIsRepeatedInFiles(t *testing.T) {
	t.Parallel()
	l := onLake(t, laketest.URL(t))
	l.Env = append(l.Env, "QUANT_META_URL="+postgrestest.Database(t))
	l.Must("init-db")
	l.Must("ingest", "first.csv")
	l.Must("pipeline", "run", "--strategy", "s.yaml")
	l.Must("ingest", "second.csv")
	before := l.Must("sql", "SELECT run_id, table_name, committed_at FROM ledger ORDER BY ALL").Stdout
	if r := l.Must("repro", "last:pipeline.run"); !strings.Contains(r.Stderr, "prices have changed since run") {
		t.Errorf("%s", r)
	}
	l.Must("repro", "last:backtest")
	if after := l.Must("sql", "SELECT run_id, table_name, committed_at FROM ledger ORDER BY ALL").Stdout; after != before {
		t.Errorf("the lake was changed:\n%s\nfrom\n%s", after, before)
	}
	if left, err := filepath.Glob(l.Path("data", "tmp", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
