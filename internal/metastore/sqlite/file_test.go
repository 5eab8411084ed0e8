package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quant"
	"quant/internal/failpoint"
	"quant/internal/metastore"
	"quant/internal/metastore/metastoretest"
)

// later is the schema of a program to come: the present one and more.
func later(t testing.TB, more ...string) []migration {
	t.Helper()
	schema := must(embedded())
	for i, s := range more {
		schema = append(schema, migration{name: fmt.Sprintf("%04d_more.sql", len(schema)+i+1), sql: s})
	}
	return schema
}

// lived makes a database of the present schema that something was done with.
func lived(t testing.TB) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "meta.db")
	db := openAt(t, path)
	ok(t, record(db, 1))
	_, err := db.EnsureSymbols(context.Background(), []string{"AAPL"})
	ok(t, err)
	ok(t, db.Close())
	return path
}

func TestAnOlderSchemaIsMigratedAfterABackup(t *testing.T) {
	t.Parallel()
	path := lived(t)
	schema := later(t, `CREATE TABLE added (x TEXT) STRICT; INSERT INTO added VALUES ('one')`, `ALTER TABLE added ADD COLUMN y TEXT; UPDATE added SET y = 'two'`)
	db, err := open(context.Background(), Options{Path: path, Now: noon}, schema)
	ok(t, err)
	defer func() { _ = db.Close() }()
	from, to, backup := db.Migrated()
	if from != len(schema)-2 || to != len(schema) {
		t.Errorf("migrated from %d to %d", from, to)
	}
	if want := filepath.Join(filepath.Dir(path), "backups", fmt.Sprintf("meta.db.schema-%d-20260115T120000Z", from)); backup != want {
		t.Errorf("backup %s, want %s", backup, want)
	}
	var got string
	ok(t, db.Pool.QueryRow(`SELECT x || y FROM added`).Scan(&got))
	if got != "onetwo" {
		t.Errorf("got %s", got)
	}
	must(db.GetRun(context.Background(), metastoretest.RunID(1)))
	if found := must(db.Check(context.Background())); found != nil {
		t.Error(found)
	}
	// The backup is the database as it was.
	old := openAt(t, backup)
	if _, _, again := old.Migrated(); again != "" {
		t.Error("the backup was migrated as well")
	}
	must(old.GetRun(context.Background(), metastoretest.RunID(1)))
	if info := must(os.Stat(backup)); info.Mode() != 0o600 {
		t.Errorf("the backup has mode %v", info.Mode())
	}
	// The older program refuses it now, and a second start has nothing to do.
	_, err = Open(context.Background(), Options{Path: path})
	if !errors.Is(err, metastore.ErrNewer) {
		t.Errorf("got %v", err)
	}
	again, err := open(context.Background(), Options{Path: path}, schema)
	ok(t, err)
	if from, to, backup := again.Migrated(); from != 0 || to != 0 || backup != "" {
		t.Error("it migrated twice")
	}
	ok(t, again.Close())
}

// factTexts are error texts as they were before facts had a column, with what
// they say.
func factTexts() map[string]any {
	return map[string]any{
		"it broke": nil, "facts committed": nil, "it broke; facts committed\nhint: x": nil, "it broke; Facts committed": nil,
		"process ended without finishing; facts committed":    "committed",
		"process ended without finishing; no facts committed": "none",
		"it broke\nhint: 다시; facts not checked":               "not_checked",
		"a NUL \x00 in it; facts committed":                   "committed",
	}
}

// beforeFacts makes a database of the schema without facts, with a run for each
// of factTexts, and one that succeeded.
func beforeFacts(t testing.TB) (path string, want map[string]any) {
	t.Helper()
	path, want = filepath.Join(t.TempDir(), "meta.db"), map[string]any{}
	schema := must(embedded())
	db, err := open(context.Background(), Options{Path: path}, schema[:slices.IndexFunc(schema, func(m migration) bool { return m.name == "0003_facts.sql" })])
	ok(t, err)
	n := 1
	add := func(status string, text any) string {
		id := metastoretest.RunID(n)
		n++
		must(db.Pool.Exec(`INSERT INTO runs (run_id, kind, status, started_at, ended_at, error_text) VALUES (?1, 'k', ?2, ?3, ?3, ?4)`,
			id, status, "2026-01-15T09:30:00.000000Z", text))
		must(db.Pool.Exec(`INSERT INTO run_process (run_id, changes, pid) VALUES (?, 1, 7)`, id))
		return id
	}
	for text, facts := range factTexts() {
		want[add("FAIL", text)] = facts
	}
	want[add("SUCCESS", nil)] = nil
	ok(t, db.Close())
	return path, want
}

func factsIn(t testing.TB, db *DB) map[string]any {
	t.Helper()
	got := map[string]any{}
	for _, run := range must(db.ListRuns(context.Background(), metastore.RunFilter{All: true})) {
		got[run.RunID] = must(run.Process.Facts.Value())
	}
	return got
}

func TestFactsThatOnlyATextTellsGetTheirColumn(t *testing.T) {
	t.Parallel()
	path, want := beforeFacts(t)
	content := must(os.ReadFile(path))
	db := openAt(t, path)
	if from, to, _ := db.Migrated(); from != 2 || to != len(db.schema) {
		t.Errorf("migrated from %d to %d", from, to)
	}
	if got := factsIn(t, db); !reflect.DeepEqual(got, want) {
		t.Errorf("migrated:\ngot  %v\nwant %v", got, want)
	}
	if found := must(db.Check(context.Background())); found != nil {
		t.Error(found)
	}
	broken := filepath.Join(t.TempDir(), "broken.db")
	ok(t, os.WriteFile(broken, content, 0o600))
	other := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	_, err := other.Salvage(context.Background(), broken, nil)
	ok(t, err)
	if got := factsIn(t, other); !reflect.DeepEqual(got, want) {
		t.Errorf("salvaged:\ngot  %v\nwant %v", got, want)
	}
}

func TestAMigrationThatFailsLeavesTheDatabaseAsItWas(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]string{
		"by an error":            `CREATE TABLE more (x); INSERT INTO nowhere VALUES (1)`,
		"by a broken rule":       `UPDATE symbols SET is_active = 7`,
		"by losing parents":      `DELETE FROM runs`,
		"by a statement cut off": `CREATE TABLE torn (x); CREATE TABLE`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := lived(t)
			_, err := open(context.Background(), Options{Path: path, Now: noon}, later(t, `CREATE TABLE first (x TEXT)`, second))
			refused(t, err, quant.Store, "nothing was changed")
			if errors.Is(err, metastore.ErrDamaged) || errors.Is(err, metastore.ErrNewer) {
				t.Errorf("wrongly marked: %v", err)
			}
			db := openAt(t, path) // the present schema still fits
			if found := must(db.Check(context.Background())); found != nil {
				t.Error(found)
			}
			if got := len(must(db.Tables(context.Background()))); got != tablesOfANewOne(t) {
				t.Errorf("%d tables", got)
			}
			must(db.GetRun(context.Background(), metastoretest.RunID(1)))
		})
	}
}

func TestOfManyProcessesOneMigrates(t *testing.T) {
	t.Parallel()
	path := lived(t)
	schema := later(t, `CREATE TABLE added (x TEXT) STRICT`)
	var all sync.WaitGroup
	migrated := make(chan string, 16)
	for range 16 {
		all.Go(func() {
			db, err := open(context.Background(), Options{Path: path, Now: noon}, schema)
			if err != nil {
				t.Error(err)
				return
			}
			if _, _, backup := db.Migrated(); backup != "" {
				migrated <- backup
			}
			_ = db.Close()
		})
	}
	all.Wait()
	if len(migrated) != 1 {
		t.Errorf("%d migrated", len(migrated))
	}
	if got := names(t, filepath.Join(filepath.Dir(path), "backups")); strings.Contains(got, " ") {
		t.Errorf("backups: %s", got)
	}
}

func TestWithoutRoomForTheBackupNothingIsMigrated(t *testing.T) {
	t.Parallel()
	path := lived(t)
	blocked := filepath.Join(t.TempDir(), "a file")
	ok(t, os.WriteFile(blocked, nil, 0o600))
	_, err := open(context.Background(), Options{Path: path, BackupDir: filepath.Join(blocked, "backups")}, later(t, `CREATE TABLE added (x TEXT)`))
	refused(t, err, quant.Store, "nothing was changed")
	openAt(t, path)
}

func TestAnOlderSchemaIsNotMigratedByAReader(t *testing.T) {
	t.Parallel()
	path := lived(t)
	_, err := open(context.Background(), Options{Path: path, ReadOnly: true}, later(t, `CREATE TABLE added (x TEXT)`))
	refused(t, err, quant.Store, "init-db")
	openAt(t, path)
}

func TestFailpointsStandAroundEachCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	var mu sync.Mutex
	var got []string
	failpoint.Set(func(name string) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, name)
	})
	defer failpoint.Set(nil)
	db := openAt(t, path)
	ok(t, record(db, 1))
	want := "meta.create.before meta.create.after meta.start.before meta.start.after meta.config.before meta.config.after meta.finish.before meta.finish.after"
	mu.Lock()
	defer mu.Unlock()
	if strings.Join(got, " ") != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
}

func TestCheckFindsWhatAHandCanBreak(t *testing.T) {
	t.Parallel()
	const run = `'019bc0de-0001-7000-8000-000000000001'`
	for name, tt := range map[string]struct{ statement, object, what string }{
		"a dropped trigger":    {`DROP TRIGGER runs_end_once`, "trigger runs_end_once", "missing"},
		"a dropped index":      {`DROP INDEX runs_kind`, "index runs_kind", "missing"},
		"a dropped table":      {`DROP TABLE symbols`, "table symbols", "missing"},
		"an added column":      {`ALTER TABLE runs ADD COLUMN extra TEXT`, "table runs", "not defined"},
		"a changed index":      {`DROP INDEX runs_kind; CREATE INDEX runs_kind ON runs (kind, status)`, "index runs_kind", "not defined"},
		"an added trigger":     {`CREATE TRIGGER spy AFTER INSERT ON runs BEGIN SELECT 1; END`, "trigger spy", "somebody else"},
		"a missing rule":       {`PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'is_active IN (0, 1)', '1') WHERE name = 'symbols'; PRAGMA writable_schema = RESET`, "table symbols", "not defined"},
		"another version":      {`PRAGMA user_version = 77`, "meta.db", "schema version is 77"},
		"another application":  {`PRAGMA application_id = 5`, "meta.db", "application_id is 5"},
		"a bad is_active":      {`PRAGMA ignore_check_constraints = ON; UPDATE symbols SET is_active = 7`, `symbols "AAPL"`, "is_active is 0 or 1"},
		"a bad status":         {`PRAGMA ignore_check_constraints = ON; UPDATE runs SET status = 'DONE' WHERE run_id = ` + run, `runs "019bc0de-0001-7000-8000-000000000001"`, "status is RUNNING"},
		"a bad date":           {`PRAGMA ignore_check_constraints = ON; UPDATE run_io SET first_date = 'x'`, `run_io "019bc0de-0001-7000-8000-000000000001 in file a"`, "first_date has the form"},
		"bad JSON":             {`PRAGMA ignore_check_constraints = ON; UPDATE runs SET config_json = '{'`, `runs "`, "config_json is valid JSON"},
		"a lost parent":        {`PRAGMA foreign_keys = OFF; DELETE FROM experiments`, "models", "refer to rows of experiments"},
		"a process of no run":  {`PRAGMA foreign_keys = OFF; DELETE FROM runs`, "run_process", "refer to rows of runs"},
		"a run of no process":  {`DELETE FROM run_process`, "run 019bc0de-0001-7000-8000-000000000001", "no row in run_process"},
		"a rule and a bad row": {`PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'is_active IN (0, 1)', '1') WHERE name = 'symbols'; PRAGMA writable_schema = RESET; INSERT INTO symbols (symbol, is_active) VALUES ('B', 9)`, `symbols "B"`, "is_active is 0 or 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "meta.db")
			db := openAt(t, path)
			for _, s := range sampleRows() {
				must(db.Pool.Exec(s))
			}
			if found := must(db.Check(context.Background())); found != nil {
				t.Fatal(found)
			}
			raw(t, path, tt.statement)
			found, err := db.Check(context.Background())
			ok(t, err)
			if !slices.ContainsFunc(found, func(p metastore.Problem) bool {
				return strings.Contains(p.Object, tt.object) && strings.Contains(p.What, tt.what) && strings.Contains(p.Mend, "quant ")
			}) {
				t.Errorf("no %q %q in %+v", tt.object, tt.what, found)
			}
			if len(found) > 3 {
				t.Errorf("%d findings for one fault: %+v", len(found), found)
			}
		})
	}
}

func TestCheckFindsFlippedBits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	db := openAt(t, path)
	fillRuns(t, db, 2_000)
	must(db.Pool.Exec(`VACUUM`)) // no page is free, each one counts
	ok(t, db.Close())
	whole := must(os.ReadFile(path))
	noticed := 0
	const tries = 40
	for seed := range uint64(tries) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		broken := bytes.Clone(whole)
		page := 1 + rnd.IntN(len(broken)/4096-1)
		for i := range 64 { // a page's head is destroyed
			broken[page*4096+i] ^= byte(rnd.IntN(256))
		}
		copied := filepath.Join(t.TempDir(), "meta.db")
		ok(t, os.WriteFile(copied, broken, 0o600))
		db, err := Open(context.Background(), Options{Path: copied})
		if err != nil {
			refused(t, err, quant.Store, "")
			noticed++
			continue
		}
		found, err := db.Check(context.Background())
		if err != nil || len(found) > 0 {
			noticed++
		}
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		ok(t, db.Close())
	}
	if noticed != tries {
		t.Errorf("%d of %d were noticed", noticed, tries)
	}
}

func TestABackupTakenBesideWritersIsWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := openAt(t, filepath.Join(dir, "meta.db"))
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
				if err := record(db, n); err != nil {
					stopped <- err
					return
				}
			}
		}
	}()
	for i := range 5 {
		path := filepath.Join(dir, fmt.Sprintf("backup-%d.db", i))
		ok(t, db.Backup(context.Background(), path))
		if info := must(os.Stat(path)); info.Mode() != 0o600 {
			t.Errorf("mode %v", info.Mode())
		}
		copied := openAt(t, path)
		if found := must(copied.Check(context.Background())); found != nil {
			t.Error(found)
		}
		ok(t, copied.Close())
	}
	close(stop)
	ok(t, <-stopped)
	if got := names(t, dir); strings.Contains(got, "partial") {
		t.Errorf("left over: %s", got)
	}
}

func TestResetBringsBackTheSchemaAndLeavesOutNonsense(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	db := openAt(t, path)
	for _, s := range sampleRows() {
		must(db.Pool.Exec(s))
	}
	for n := range 5 {
		ok(t, record(db, n))
	}
	raw(t, path,
		`PRAGMA ignore_check_constraints = ON`, `PRAGMA foreign_keys = OFF`,
		`UPDATE runs SET config_json = '{' WHERE run_id = '`+metastoretest.RunID(0)+`'`,
		`DELETE FROM run_process WHERE run_id = '`+metastoretest.RunID(1)+`'`,
		`INSERT INTO run_process (run_id, changes, pid) VALUES ('nobody', 1, 1)`,
		`DROP TRIGGER runs_end_once`, `DROP INDEX runs_kind`,
		`ALTER TABLE runs ADD COLUMN extra TEXT`,
		`CREATE TABLE "odd ""name" (x)`, `CREATE VIEW v AS SELECT * FROM runs`,
		`CREATE TRIGGER spy AFTER INSERT ON runs BEGIN SELECT 1; END`,
		`CREATE VIRTUAL TABLE search USING fts3(x)`,
		`DROP TABLE symbols`,
	)
	carried, err := db.Reset(context.Background(), "")
	ok(t, err)
	want := metastore.Carried{
		Rows: map[string]int64{"runs": 5, "run_process": 4, "run_io": 1},
		Lost: map[string]int64{"runs": 1, "run_process": 2},
	}
	if fmt.Sprint(carried) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", carried, want)
	}
	if found := must(db.Check(context.Background())); found != nil {
		t.Error(found)
	}
	if got := len(must(db.Tables(context.Background()))); got != tablesOfANewOne(t) {
		t.Errorf("%d tables", got)
	}
	// Its process is lost; it shows as one that may have changed something.
	if got := must(db.GetRun(context.Background(), metastoretest.RunID(1))); !got.Process.Changes {
		t.Errorf("%+v", got.Process)
	}
}

func TestAMissingTableOrColumnIsMarked(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"table":  `DROP TABLE run_io`,
		"column": `DROP INDEX run_process_running; ALTER TABLE run_process DROP COLUMN machine_id`,
		"runs":   `ALTER TABLE runs RENAME TO others`,
	} {
		path := filepath.Join(t.TempDir(), "meta.db")
		db := openAt(t, path)
		raw(t, path, `PRAGMA foreign_keys = OFF`, statement)
		_, err := db.RunIO(context.Background(), metastoretest.RunID(1))
		if name != "table" {
			err = record(db, 1)
		}
		if !errors.Is(err, metastore.ErrSchema) || !errors.Is(err, quant.Store) || errors.Is(err, metastore.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNothingIsWrittenBetweenTheBackupOfAResetAndTheReset(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	db, writer := openAt(t, path), openAt(t, path) // as two processes
	ctx := context.Background()
	stop, begun, stopped := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var acknowledged []string
	go func() {
		for n := 0; ; n++ {
			id := fmt.Sprintf("S%d", n)
			if err := writer.CreateSymbol(ctx, quant.Symbol{Symbol: id}); err != nil {
				stopped <- err
				return
			}
			acknowledged = append(acknowledged, id)
			if n == 5 {
				close(begun)
			}
			time.Sleep(100 * time.Microsecond) // SQLite's lock is not fair
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
		}
	}()
	<-begun
	var backups []string
	for i := range 5 {
		backups = append(backups, filepath.Join(filepath.Dir(path), fmt.Sprintf("backup-%d.db", i)))
		must(db.Reset(ctx, backups[i]))
	}
	close(stop)
	ok(t, <-stopped)
	held := map[string]bool{}
	for _, file := range append(backups, path) {
		for _, s := range must(openAt(t, file).ListSymbols(ctx, metastore.SymbolFilter{})) {
			held[s.Symbol] = true
		}
	}
	for _, id := range acknowledged {
		if !held[id] {
			t.Errorf("%s of %d is lost", id, len(acknowledged))
		}
	}
}

func TestSalvageTakesWhatADamagedFileStillHolds(t *testing.T) {
	t.Parallel()
	const total = 5_000
	source := filepath.Join(t.TempDir(), "meta.db")
	db := openAt(t, source)
	fillRuns(t, db, total)
	_, err := db.EnsureSymbols(context.Background(), []string{"A", "B"})
	ok(t, err)
	ok(t, db.Close())
	whole := must(os.ReadFile(source))
	for name, tt := range map[string]struct {
		damage func([]byte) []byte
		least  int64
	}{
		"none":                    {func(b []byte) []byte { return b }, total},
		"the second half cut off": {func(b []byte) []byte { return b[:len(b)/2/4096*4096] }, total / 10},
		"no first page":           {func(b []byte) []byte { clear(b[:4096]); return b }, total},
		"no page of the schema":   {func(b []byte) []byte { clear(b[:100]); clear(b[4096*17 : 4096*18]); return b }, total},
		"a page in the middle":    {func(b []byte) []byte { clear(b[len(b)/2/4096*4096:][:4096]); return b }, total * 9 / 10},
		"three pages of rubbish":  {func(b []byte) []byte { copy(b[40*4096:43*4096], bytes.Repeat([]byte("rubbish "), 1536)); return b }, total * 9 / 10},
		"half a page at its end":  {func(b []byte) []byte { return b[:len(b)-2048] }, total * 9 / 10},
		"a torn header":           {func(b []byte) []byte { clear(b[:60]); return b }, total},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := filepath.Join(t.TempDir(), "meta.db.broken")
			content := tt.damage(bytes.Clone(whole))
			ok(t, os.WriteFile(broken, content, 0o600))
			db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
			carried, err := db.Salvage(context.Background(), broken, nil)
			ok(t, err)
			t.Logf("carried %v", carried)
			if carried.Rows["runs"] < tt.least || carried.Rows["runs"] > total {
				t.Errorf("%d runs of %d, want at least %d", carried.Rows["runs"], total, tt.least)
			}
			if found := must(db.Check(context.Background())); found != nil {
				t.Error(found)
			}
			if got := must(os.ReadFile(broken)); !bytes.Equal(got, content) {
				t.Error("the broken file was changed")
			}
			again, err := db.Salvage(context.Background(), broken, nil)
			ok(t, err)
			if len(again.Rows) != 0 {
				t.Errorf("a second time it found %v", again.Rows)
			}
		})
	}
}

func TestSalvageKeepsWhatIsThereAndLeavesOutNonsense(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "meta.db")
	old := openAt(t, source)
	ctx := context.Background()
	for n := range 3 {
		ok(t, record(old, n))
	}
	r, p := aRun(7)
	ok(t, old.CreateRun(ctx, r, p))
	_, err := old.EnsureSymbols(ctx, []string{"A", "B"})
	ok(t, err)
	raw(t, source, `PRAGMA ignore_check_constraints = ON`, `UPDATE runs SET config_json = '{' WHERE run_id = '`+metastoretest.RunID(2)+`'`)

	db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	r, p = aRun(1)
	r.Kind = "mine"
	ok(t, db.CreateRun(ctx, r, p))
	carried, err := db.Salvage(ctx, source, []string{"runs", "run_process", "run_io"})
	ok(t, err)
	want := metastore.Carried{Rows: map[string]int64{"runs": 2, "run_process": 2}, Lost: map[string]int64{"runs": 1, "run_process": 1}}
	if fmt.Sprint(carried) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", carried, want)
	}
	if got := must(db.GetRun(ctx, metastoretest.RunID(1))); got.Kind != "mine" || got.Status != quant.Running {
		t.Errorf("the run that was there became %+v", got.Run)
	}
	if got := must(db.GetRun(ctx, metastoretest.RunID(7))); got.Status != quant.Running {
		t.Errorf("the running one became %+v", got.Run)
	}
	if got := must(db.ListSymbols(ctx, metastore.SymbolFilter{})); len(got) != 0 {
		t.Errorf("symbols came along: %v", got)
	}
	_, err = db.Salvage(ctx, source, []string{"runs", "sqlite_schema"})
	refused(t, err, quant.Invalid, "")
	for _, hopeless := range []func(string){
		func(string) {},
		func(p string) { ok(t, os.Mkdir(p, 0o700)) },
		func(p string) { ok(t, os.WriteFile(p, []byte(strings.Repeat("no database", 999)), 0o600)) },
	} {
		path := filepath.Join(t.TempDir(), "hopeless")
		hopeless(path)
		_, err = db.Salvage(ctx, path, nil)
		refused(t, err, quant.Store, "")
		if !errors.Is(err, metastore.ErrDamaged) {
			t.Errorf("got %v", err)
		}
	}
}

func TestABrokenLabIsMendedByMakingAnotherAndSalvaging(t *testing.T) {
	t.Parallel()
	path := lived(t)
	whole := must(os.ReadFile(path))
	ok(t, os.WriteFile(path, whole[:len(whole)-4096], 0o600))
	_, err := Open(context.Background(), Options{Path: path})
	if !errors.Is(err, metastore.ErrDamaged) {
		t.Fatalf("got %v", err)
	}
	db := openAt(t, path+".next")
	carried, err := db.Salvage(context.Background(), path, nil)
	ok(t, err)
	if carried.Rows["runs"] != 1 {
		t.Errorf("carried %v", carried)
	}
	must(db.GetRun(context.Background(), metastoretest.RunID(1)))
}

func TestASealedFileAloneIsTheDatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	db := openAt(t, path)
	fillRuns(t, db, 50)
	if info := must(os.Stat(path + "-wal")); info.Size() == 0 {
		t.Fatal("nothing is in the log")
	}
	ok(t, db.Seal(context.Background()))
	for _, suffix := range fileSuffixes() {
		if _, err := os.Lstat(path + suffix); err == nil {
			t.Errorf("%s is left", suffix)
		}
	}
	moved := filepath.Join(t.TempDir(), "moved.db")
	ok(t, os.Rename(path, moved))
	if got := must(openAt(t, moved).ListRuns(context.Background(), metastore.RunFilter{All: true})); len(got) != 50 {
		t.Errorf("%d runs", len(got))
	}
}

// What closing left in the log is an error, and not lost.
func TestAFileWhoseLogCannotBeWrittenIntoItIsNotSealed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	db := openAt(t, path)
	fillRuns(t, db, 5)
	reader := openAt(t, path)
	err := reader.Snapshot(context.Background(), func(context.Context) error { // holds the log
		ok(t, record(db, 99))
		db.wait = time.Millisecond
		return db.Seal(context.Background())
	})
	refused(t, err, quant.Store, "")
	must(reader.GetRun(context.Background(), metastoretest.RunID(99)))
}

func TestAPageThatCannotBeGotIsNoFinding(t *testing.T) {
	t.Parallel()
	for line, damage := range map[string]bool{
		"Tree 5 page 7: unable to get the page. error code=266": false, // SQLITE_IOERR_READ
		"Tree 5 page 7: unable to get the page. error code=7":   false,
		"Tree 5 page 7: unable to get the page. error code=11":  true,
		"Tree 5 page 7: btreeInitPage() returns error code 11":  true,
		"Page 3: never used": true,
		"row 3 missing from index unable to get the page.":       true,
		"Tree 5 page 7: unable to get the page. error code=six":  true,
		"Tree 5 page 7: unable to get the page. error code=8458": false,
		"*** in database main ***\nTree 34 page 34: unable to get the page. error code=8458\nTree 3 page 3: unable to get the page. error code=8458": false,
	} {
		if got := pageNotRead(line) == nil; got != damage {
			t.Errorf("%q: %v", line, got)
		}
	}
}

func TestAFileThatWasCutOffIsCalledThat(t *testing.T) {
	t.Parallel()
	path := lived(t)
	whole := must(os.ReadFile(path))
	for _, size := range []int{100, 4096, len(whole) * 3 / 10, len(whole) - 4096} {
		ok(t, os.WriteFile(path, whole[:size], 0o600))
		_, err := Open(context.Background(), Options{Path: path})
		refused(t, err, quant.Store, "")
		want := fmt.Sprintf("is truncated: it has %d bytes, and its header says %d pages of 4096 bytes (%d)", size, len(whole)/4096, len(whole))
		if !errors.Is(err, metastore.ErrDamaged) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestSalvageSaysWhatItDidNotRead(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "meta.db")
	db := openAt(t, source)
	fillRuns(t, db, 500)
	ok(t, db.Close())
	whole := must(os.ReadFile(source))
	for name, tt := range map[string]struct {
		damage func([]byte) []byte
		want   string // "": all was read
	}{
		"none":                 {func(b []byte) []byte { return b }, ""},
		"a torn header":        {func(b []byte) []byte { clear(b[:100]); return b }, ""},
		"cut off":              {func(b []byte) []byte { return b[:len(b)/2/4096*4096] }, "its header says"},
		"a page in the middle": {func(b []byte) []byte { clear(b[len(b)/2/4096*4096:][:4096]); return b }, "malformed"},
		"no first page":        {func(b []byte) []byte { clear(b[:4096]); return b }, "schema is lost"},
	} {
		broken := filepath.Join(t.TempDir(), "broken")
		ok(t, os.WriteFile(broken, tt.damage(bytes.Clone(whole)), 0o600))
		carried, err := openAt(t, filepath.Join(t.TempDir(), "meta.db")).Salvage(context.Background(), broken, nil)
		ok(t, err)
		if said := strings.Join(carried.Unread, "; "); (said == "") != (tt.want == "") || !strings.Contains(said, tt.want) || carried.Whole() != (tt.want == "") {
			t.Errorf("%s: %q, want %q", name, said, tt.want)
		}
	}
}

func TestADatabaseThatLacksOnlyAnIndexIsReadAsItIs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	all := must(embedded())
	db, err := open(context.Background(), Options{Path: path, Now: noon}, all[:4])
	ok(t, err)
	ok(t, db.Close())
	db, err = open(context.Background(), Options{Path: path, ReadOnly: true}, all[:5]) // the fifth makes an index
	ok(t, err)
	if list, err := db.ListRuns(context.Background(), metastore.RunFilter{All: true}); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	ok(t, db.Close())
	older := filepath.Join(t.TempDir(), "meta.db")
	db, err = open(context.Background(), Options{Path: older, Now: noon}, all[:2])
	ok(t, err)
	ok(t, db.Close())
	if _, err := Open(context.Background(), Options{Path: older, ReadOnly: true}); !errors.Is(err, metastore.ErrOlder) {
		t.Errorf("an older one: %v", err)
	}
}

// tablesOfANewOne is how many tables this program makes.
func tablesOfANewOne(t *testing.T) int {
	t.Helper()
	return len(must(openAt(t, filepath.Join(t.TempDir(), "new.db")).Tables(context.Background())))
}
