package factstore_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quant"
	"quant/internal/factstore"
	"quant/internal/lab/place"
	"quant/internal/metastore/postgrestest"
	"quant/internal/test/laketest"
	"quant/internal/test/soak"
)

// lakeEnv makes a test binary keep its facts on lakes: the folder of the extensions and
// the URL of a server's database, in which it may make others.
const lakeEnv = "QUANT_FACTSTORE_LAKE"

// contract are tests of what holds wherever the facts are.
var contract = []string{
	"TestWriteThatChangesNothingLeavesNoTrace", "TestWriteRollsBackOnErrorPanicAndCancellation", "TestCommittedAtGrowsWhenTheClockIsSetBack",
	"TestMergeAgreesWithAMapOnRandomData", "TestAComparisonFindsWhatAJoinFinds", "TestMergeLeavesAnIdenticalReloadUnchanged", "TestMergeRefusesWhatWouldBreakTheKey", "TestAMergeIsReviewedBeforeItChangesAnything",
	"TestABarThatTheFactorDoesNotSayIsKeptWhole", "TestARevisionThatIsRolledBackLeavesNothing",
	"TestRowsHaveTheDigestThatDuckDBGivesThem", "TestValuesHaveTheDigestThatDuckDBGivesTheirRows", "TestADigestIsOfTheRowsAndNotOfTheirOrder",
	"TestFeaturesAreReadWithTheRunsThatWroteThem", "TestRowsThatNoRunWroteAreRefusedByName",
	"TestAWriteChangesFactsOnlyWhereItCountsThem", "TestStagedRowsLiveInTempTablesUntilClose",
	"TestStagedOutputsAreTakenInWithTheDigestsOfOneProcess", "TestOutputsThatAreNotWholeAreRefused", "TestAFailedClosingMergeLeavesTheOutputsAndNothingElse", "TestStagedRowsAreStoredForTheRunsThatTheyName",
}

// The tests of the contract run a second time, in a process of their own, with every
// file a lake.
func TestTheContractHoldsOnDuckLake(t *testing.T) {
	t.Parallel()
	if os.Getenv(lakeEnv) != "" {
		return
	}
	extensions := laketest.Extensions(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^("+strings.Join(contract, "|")+")$", "-test.v", "-test.parallel", "4")
	cmd.Env = append(os.Environ(), lakeEnv+"="+extensions+" "+postgrestest.Shared(t).Superuser("postgres"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range contract {
		if !strings.Contains(string(out), "--- PASS: "+name+" ") {
			t.Errorf("%s did not run", name)
		}
	}
}

var lakesMade sync.Map

// onLake makes the options of a file those of a lake of its own.
func onLake(o factstore.Options) factstore.Options {
	extensions, server, _ := strings.Cut(os.Getenv(lakeEnv), " ")
	h := fnv.New64a()
	_, _ = h.Write([]byte(o.Path))
	name := fmt.Sprintf("lake_%x", h.Sum64())
	if _, there := lakesMade.LoadOrStore(name, true); !there {
		ctx := context.Background()
		pg, err := pgx.Connect(ctx, server)
		if err != nil {
			panic(err)
		}
		defer func() { _ = pg.Close(ctx) }()
		if _, err := pg.Exec(ctx, "CREATE DATABASE "+name); err != nil && !strings.Contains(err.Error(), "already exists") {
			panic(err)
		}
	}
	at, err := url.Parse(server)
	if err != nil {
		panic(err)
	}
	at.Path = "/" + name
	o.URL, o.Extensions, o.TempDir = laketest.In(at.String(), filepath.Dir(o.Path)), extensions, o.Path+".tmp"
	return o
}

// lake are the options of a lake of its own.
func lake(t *testing.T) factstore.Options {
	t.Helper()
	o := options("")
	o.URL, o.Extensions, o.TempDir, o.Wait = laketest.URL(t), laketest.Extensions(t), filepath.Join(t.TempDir(), "tmp"), time.Minute
	return o
}

func openLake(t *testing.T, o factstore.Options) *factstore.DB {
	t.Helper()
	db, err := factstore.OpenWrite(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestALakeIsMadeOnceAndReadersWaitForNobody(t *testing.T) {
	t.Parallel()
	o := lake(t)
	if _, err := factstore.OpenRead(t.Context(), o); !errors.Is(err, factstore.ErrMissing) {
		t.Fatalf("a lake that nobody made: %v", err)
	}
	db := openLake(t, o)
	if !db.Created() || db.Upgraded() {
		t.Errorf("created %v, upgraded %v", db.Created(), db.Upgraded())
	}
	mustWriteBars(t, db, "run-1", "A", 10)
	// The writer is still there.
	o.Wait = 0
	reader, err := factstore.OpenRead(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	mustWriteBars(t, db, "run-2", "B", 10)
	if n := number(t, reader, "SELECT count(*) FROM ohlcv"); n != 10 {
		t.Errorf("a reader sees %d bars, and 10 were there when it opened", n)
	}
	later, err := factstore.OpenRead(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	if n := number(t, later, "SELECT count(*) FROM ohlcv"); n != 20 {
		t.Errorf("a later reader sees %d bars of 20", n)
	}
	// A second writer waits for the first.
	_, err = factstore.OpenWrite(t.Context(), o)
	wantCode(t, err, quant.Locked, "is held by", "--wait")
	closeDB(t, db)
	again := openLake(t, o)
	if again.Created() {
		t.Error("made again")
	}
	wantSound(t, again)
}

// A process that lost its lock, and whose place another took, commits nothing.
func TestAWriterWhoseLockIsGoneCommitsNothing(t *testing.T) {
	t.Parallel()
	server := postgrestest.Shared(t)
	database := server.Database(t)
	o := lake(t)
	o.URL = laketest.In(database, t.TempDir())
	slow := openLake(t, o)
	mustWriteBars(t, slow, "run-1", "A", 10)
	endSessions(t, database)
	fast := openLake(t, o)
	mustWriteBars(t, fast, "run-2", "B", 10)

	_, err := writeBars(t.Context(), slow, "run-3", "C", 10)
	wantCode(t, err, quant.Conflict, "another process has written", "run the command again")
	if slow.State() != factstore.Committed { // run-1
		t.Errorf("state %v", slow.State())
	}
	// Also where the other comes between the beginning and the commit.
	closeDB(t, slow)
	closeDB(t, fast)
	slow = openLake(t, o)
	_, err = slow.Write(t.Context(), "run-4", func(ctx context.Context, tx *factstore.Tx) error {
		_, err := tx.Insert(ctx, factstore.OHLCV, "SELECT 'D', DATE '2020-01-01', 2, 3, 1, 2, 10, NULL, 'test', CAST(? AS TIMESTAMP)", tx.Now)
		if err != nil {
			return err
		}
		endSessions(t, database)
		fast = openLake(t, o)
		mustWriteBars(t, fast, "run-5", "D", 10)
		return nil
	})
	wantCode(t, err, quant.Conflict, "another process has written")
	if n := number(t, fast, "SELECT count(*) FROM ohlcv"); n != 30 {
		t.Errorf("%d bars, want 30", n)
	}
	wantSound(t, fast)
}

// endSessions cuts the sessions that hold a lock of quant.
func endSessions(t *testing.T, database string) {
	t.Helper()
	pg, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pg.Close(context.Background()) }()
	var n int
	if err := pg.QueryRow(t.Context(), "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'quant %' AND datname = current_database()").Scan(&n); err != nil || n == 0 {
		t.Fatalf("%d sessions ended, %v", n, err)
	}
}

// Three processes merge the same keys at once, again and again, and are killed now and
// then.
func TestWritersAtOnceLeaveNoKeyTwiceAndNothingHalf(t *testing.T) {
	t.Parallel()
	o := lake(t)
	openLake(t, o).Close()
	const writers = 3
	rounds := soak.Count(t, 2, 20)
	for round := range rounds {
		var all sync.WaitGroup
		for w := range writers {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=merge-lake %s %s %s %d", childEnv, o.TempDir, o.Extensions, o.URL, round*writers+w))
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			killed := w == round%writers
			if killed {
				time.AfterFunc(time.Duration(700+300*round)*time.Millisecond, func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
			}
			all.Go(func() {
				if err := cmd.Wait(); err != nil && !killed {
					t.Errorf("writer %d: %v: %s", w, err, out.String())
				}
			})
		}
		all.Wait()
	}
	db := openLake(t, o)
	wantSound(t, db) // keys that stand twice, and rows of runs without a ledger row, among others
	if n := number(t, db, "SELECT count(*) FROM ohlcv"); n != 300 {
		t.Errorf("%d bars, want 300", n)
	}
	if n := number(t, db, "SELECT count(*) FROM (SELECT ingested_at FROM ohlcv EXCEPT SELECT committed_at FROM ledger WHERE table_name = 'ohlcv')"); n != 0 {
		t.Errorf("%d transactions have bars and no ledger row", n)
	}
	if n := number(t, db, "SELECT count(*) FROM (SELECT committed_at FROM ledger GROUP BY committed_at HAVING count(DISTINCT run_id) > 1)"); n != 0 {
		t.Errorf("%d times are those of two runs", n)
	}
}

// mergeLake is the child of that test: it merges the same keys five times, with values of
// its own.
func mergeLake(ctx context.Context, o factstore.Options, n int) error {
	for i := range 5 {
		db, err := factstore.OpenWrite(ctx, o)
		if err != nil {
			return err
		}
		run := fmt.Sprintf("run-%d-%d", n, i)
		_, err = db.Write(ctx, run, func(ctx context.Context, tx *factstore.Tx) error {
			if _, err := tx.Stage(ctx, "CREATE OR REPLACE TEMP TABLE staged AS SELECT 'S' || (i % 3) AS symbol, DATE '2020-01-01' + CAST(i // 3 AS INTEGER) AS ts, 2.0 AS open, 3.0 AS high, 1.0 AS low, 2.0 AS close, "+
				"10.0 + i + ? AS volume, NULL::DOUBLE AS adjusted_close, 'test' AS source FROM range(300) r(i)", n*10+i); err != nil {
				return err
			}
			_, err := tx.Merge(ctx, factstore.Merge{Table: factstore.OHLCV, Source: "staged"})
			return err
		})
		if err != nil {
			return err
		}
		if err := db.Close(); err != nil {
			return err
		}
	}
	return nil
}

func TestExtensionsAreCheckedBeforeTheyAreLoaded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wantCode(t, factstore.CheckExtensions(dir), quant.Store, "ducklake", "is not there", "pip install", "duckdb-extension-ducklake==1.5.5", "duckdb-extension-postgres-scanner==1.5.5")
	if err := os.WriteFile(filepath.Join(dir, "ducklake.duckdb_extension"), []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantCode(t, factstore.CheckExtensions(dir), quant.Store, "is not the extension ducklake of DuckDB", "SHA-256")
}

// A writer that computes first takes the lock for its COMMIT alone. It harms nobody who
// holds it, and commits nothing over what another wrote meanwhile.
func TestALateWriterLetsOthersWriteAndCommitsNothingOverThem(t *testing.T) {
	t.Parallel()
	o := lake(t)
	openLake(t, o).Close()
	late := o
	late.Late = true
	slow := openLake(t, late)
	o.Wait = 0
	store := func(ctx context.Context, tx *factstore.Tx, symbol string) error {
		_, err := tx.Insert(ctx, factstore.OHLCV, "SELECT ?, DATE '2020-01-01', 2, 3, 1, 2, 10, NULL, 'test', CAST(? AS TIMESTAMP)", symbol, tx.Now)
		return err
	}
	// Alone it commits, and again.
	for i := range 2 {
		if _, err := slow.Write(t.Context(), fmt.Sprintf("run-%d", i), func(ctx context.Context, tx *factstore.Tx) error { return store(ctx, tx, fmt.Sprintf("S%d", i)) }); err != nil {
			t.Fatal(err)
		}
	}
	// Another comes while it computes; it need not wait.
	_, err := slow.Write(t.Context(), "run-late", func(ctx context.Context, tx *factstore.Tx) error {
		if err := store(ctx, tx, "T"); err != nil {
			return err
		}
		fast := openLake(t, o)
		mustWriteBars(t, fast, "run-fast", "T", 10)
		return fast.Close()
	})
	wantCode(t, err, quant.Conflict, "another process has written", "nothing was committed")
	if !errors.Is(err, factstore.ErrOvertaken) {
		t.Errorf("%v", err)
	}
	closeDB(t, slow)
	// Who holds the lock is waited for, and is not harmed.
	slow = openLake(t, late)
	holder := openLake(t, o)
	done := make(chan error, 1)
	go func() {
		_, err := slow.Write(t.Context(), "run-later", func(ctx context.Context, tx *factstore.Tx) error { return store(ctx, tx, "U") })
		done <- err
	}()
	mustWriteBars(t, holder, "run-holder", "V", 10)
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	closeDB(t, holder)
	if err := <-done; !errors.Is(err, factstore.ErrOvertaken) {
		t.Errorf("%v", err)
	}
	closeDB(t, slow)
	db := openLake(t, o)
	if n := number(t, db, "SELECT count(*) FROM ohlcv"); n != 22 {
		t.Errorf("%d bars, want 22", n)
	}
	wantSound(t, db)
}

// Many small files become few; all rows, and every snapshot, read as before.
func TestACompactedLakeReadsTheSame(t *testing.T) {
	t.Parallel()
	o := lake(t)
	db := openLake(t, o)
	writes := soak.Count(t, 40, 200)
	for i := range writes {
		mustWriteBars(t, db, fmt.Sprintf("run-%d", i), fmt.Sprintf("S%d", i), 12+i%5)
	}
	snapshots := db.Snapshots().Written
	if len(snapshots) == 0 {
		t.Fatal("no snapshot was noted")
	}
	const digest = "SELECT count(*) || ' ' || sum(hash(ohlcv)::HUGEINT) FROM ohlcv"
	at := func(snapshot int64) string {
		t.Helper()
		o := o
		o.Snapshot = snapshot
		reader, err := factstore.OpenRead(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		var text string
		if err := reader.QueryRow(t.Context(), digest).Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	first, middle, newest := at(snapshots[0]), at(snapshots[len(snapshots)/2]), at(0)
	if first == newest || middle == newest {
		t.Fatalf("snapshots %q, %q, newest %q", first, middle, newest)
	}
	done, err := db.Compact(t.Context(), factstore.CompactOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if done.FilesAfter*3 > done.FilesBefore || done.Removed == 0 || done.Expired != 0 {
		t.Errorf("%+v", done)
	}
	if a, b, c := at(snapshots[0]), at(snapshots[len(snapshots)/2]), at(0); a != first || b != middle || c != newest {
		t.Errorf("after compaction: %q, %q, %q; before: %q, %q, %q", a, b, c, first, middle, newest)
	}
	// A snapshot that is referred to stays, the others go.
	done, err = db.Compact(t.Context(), factstore.CompactOptions{Expire: time.Nanosecond, Keep: snapshots[:1]})
	if err != nil {
		t.Fatal(err)
	}
	if done.Expired == 0 || done.Snapshots != 2 {
		t.Errorf("%+v", done)
	}
	if a, c := at(snapshots[0]), at(0); a != first || c != newest {
		t.Errorf("after expiry: %q, %q; before: %q, %q", a, c, first, newest)
	}
	gone := o
	gone.Snapshot = snapshots[len(snapshots)/2]
	_, err = factstore.OpenRead(t.Context(), gone)
	wantCode(t, err, quant.NotFound, "keeps no snapshot", "lab compact")
	mustWriteBars(t, db, "run-after", "Z", 10)
	wantSound(t, db)
}

// What becomes of a lake whose server restarts, whose URL is wrong, or whose files are
// gone is said in words of ours.
func TestWhatFailsOnALakeIsSaidInOurWords(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t, postgrestest.Options{})
	o := lake(t)
	dir := t.TempDir()
	database := server.Database(t)
	o.URL = laketest.In(database, dir)
	db := openLake(t, o)
	mustWriteBars(t, db, "run-1", "A", 300)
	closeDB(t, db)

	wrong := o
	wrong.URL = laketest.In(database, t.TempDir())
	_, err := factstore.OpenRead(t.Context(), wrong)
	wantCode(t, err, quant.Usage, "has its files in", dir, "leave data_path out")

	reader, err := factstore.OpenRead(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	db = openLake(t, o)
	for _, inside := range []bool{true, false} {
		_, err = db.Write(t.Context(), "run-2", func(ctx context.Context, tx *factstore.Tx) error {
			if _, err := tx.Insert(ctx, factstore.OHLCV, "SELECT 'B', DATE '2020-01-01' + i::INTEGER, 2, 3, 1, 2, 10, NULL, 'test', CAST(? AS TIMESTAMP) FROM range(300) r(i)", tx.Now); err != nil {
				return err
			}
			server.Kill()
			server.Restart(t)
			if inside {
				var n int64
				return tx.QueryRow(ctx, "SELECT sum(volume) FROM ohlcv").Scan(&n)
			}
			return nil
		})
		if code := quant.CodeOf(err); code != quant.Store && code != quant.Conflict || strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "COPY") || strings.Contains(err.Error(), "ROLLBACK") {
			t.Errorf("a restart (read inside: %v): %v, %q", inside, err, quant.HintOf(err))
		}
		closeDB(t, db)
		db = openLake(t, o)
		if n := number(t, db, "SELECT count(*) FROM ohlcv"); n != 300 {
			t.Errorf("%d bars, want 300", n)
		}
	}
	wantSound(t, db)

	files, err := filepath.Glob(filepath.Join(dir, "files", "main", "ohlcv", "*.parquet"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		if err := os.Rename(file, file+".away"); err != nil {
			t.Fatal(err)
		}
	}
	var n float64
	err = db.QueryRow(t.Context(), "SELECT sum(volume) FROM ohlcv").Scan(&n)
	wantCode(t, err, quant.Store, "a file of", "cannot be read", "mounted")
}

// A role that may only read a lake is told so before it waits for its turn; one that lost
// its rights after it opened the lake, when it commits, and commits nothing.
func TestARoleThatMayNotWriteIsToldSo(t *testing.T) {
	t.Parallel()
	server := postgrestest.Shared(t)
	database := server.Database(t)
	config, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	server.Exec(t, config.Database, `DO $$ BEGIN
		IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'wes') THEN CREATE ROLE wes LOGIN; END IF; END $$;
		GRANT USAGE, CREATE ON SCHEMA public TO wes`)
	o := lake(t)
	o.URL = laketest.In(strings.Replace(database, "quant@", "wes@", 1), t.TempDir())
	db := openLake(t, o)
	mustWriteBars(t, db, "run-1", "A", 300)
	server.Exec(t, config.Database, "REVOKE INSERT ON ducklake_snapshot FROM wes")
	_, err = writeBars(t.Context(), db, "run-2", "B", 300)
	wantCode(t, err, quant.Store, "may only read the lake at ", "nothing was committed", "as the role that owns its tables")
	late := o
	late.Wait = 0 // and db holds the lock
	for _, late.Late = range []bool{false, true} {
		_, err = factstore.OpenWrite(t.Context(), late)
		wantCode(t, err, quant.Store, "the role wes may only read the lake at ", "as the role that owns its tables")
	}
	reader, err := factstore.OpenRead(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if n := number(t, reader, "SELECT count(*) FROM ohlcv"); n != 300 {
		t.Errorf("%d bars, want 300", n)
	}
}

// Compacting removes neither what units have staged within the data path, nor what a
// writer has written and not yet committed, nor what a reader that began before reads.
func TestCompactionLeavesAloneWhatOthersAreAt(t *testing.T) {
	t.Parallel()
	o := lake(t)
	db := openLake(t, o)
	for i := range 12 {
		mustWriteBars(t, db, fmt.Sprintf("run-%d", i), fmt.Sprintf("S%d", i), 30)
	}
	reader, err := factstore.OpenRead(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	staged := stageUnit(t, o, "unit-1", "Z", 10)
	closeDB(t, db)
	const digest = "SELECT count(*) || ' ' || sum(hash(ohlcv)::HUGEINT) FROM ohlcv"
	of := func(db *factstore.DB) (text string) {
		t.Helper()
		if err := db.QueryRow(t.Context(), digest).Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	before := of(reader)
	compact := func(c factstore.CompactOptions) (done factstore.Compacted) {
		t.Helper()
		db := openLake(t, o)
		defer closeDB(t, db)
		done, err := db.Compact(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	insert := func(ctx context.Context, tx *factstore.Tx) error {
		_, err := tx.Insert(ctx, factstore.OHLCV, "SELECT 'L', DATE '2000-01-01' + i::INTEGER, 2, 3, 1, 2, 10, NULL, 'test', CAST(? AS TIMESTAMP) FROM range(5000) r(i)", tx.Now)
		return err
	}
	late := o
	late.Late = true
	slow := openLake(t, late)
	_, err = slow.Write(t.Context(), "run-late", func(ctx context.Context, tx *factstore.Tx) error {
		if err := insert(ctx, tx); err != nil {
			return err
		}
		compact(factstore.CompactOptions{Expire: time.Nanosecond, Since: time.Hour})
		return nil
	})
	if !errors.Is(err, factstore.ErrOvertaken) {
		t.Fatalf("files that it reads were merged: %v", err)
	}
	// Compaction changed no row, so what it read still holds.
	_, err = slow.Write(t.Context(), "run-late", func(ctx context.Context, tx *factstore.Tx) error {
		if err := insert(ctx, tx); err != nil {
			return err
		}
		compact(factstore.CompactOptions{Since: time.Hour}) // finds nothing to merge, and commits nothing
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	closeDB(t, slow)
	// Nothing was expired or removed that the reader needs.
	done := compact(factstore.CompactOptions{Expire: time.Nanosecond, Since: time.Hour})
	if done.Expired != 0 || done.Removed != 0 {
		t.Errorf("%+v while a reader is open", done)
	}
	if got := of(reader); got != before {
		t.Errorf("the reader reads %s, before %s", got, before)
	}
	// Where it is not spared it fails, and reads nothing else.
	if done := compact(factstore.CompactOptions{Expire: time.Nanosecond}); done.Expired == 0 || done.Removed == 0 {
		t.Errorf("%+v with no reader to spare", done)
	}
	var text string
	if err := reader.QueryRow(t.Context(), digest).Scan(&text); err == nil && text != before {
		t.Errorf("the reader reads %s, before %s", text, before)
	} else if err != nil && (quant.CodeOf(err) != quant.Store || !strings.Contains(err.Error(), "snapshot")) {
		t.Errorf("%v, %s", err, quant.HintOf(err))
	}
	db = openLake(t, o)
	if n := number(t, db, "SELECT count(*) FROM ohlcv"); n != 12*30+5000 {
		t.Errorf("%d bars", n)
	}
	if _, err := db.OpenOutputs(t.Context(), staged.RunID, staged.Digest); err != nil {
		t.Errorf("what a unit staged: %v", err)
	}
	wantSound(t, db)
}

// A file that a killed compaction removed and still has on its list harms no later one.
func TestACompactionThatWasKilledWhileItRemovedFilesIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	o := lake(t)
	db := openLake(t, o)
	for i := range 12 {
		mustWriteBars(t, db, fmt.Sprintf("run-%d", i), fmt.Sprintf("S%d", i), 30)
	}
	if done, err := db.Compact(t.Context(), factstore.CompactOptions{Replaced: time.Hour}); err != nil || done.Removed != 0 || done.FilesAfter >= done.FilesBefore {
		t.Fatalf("%+v, %v", done, err)
	}
	u, err := place.ParseLakeURL(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	pg, err := pgx.Connect(t.Context(), u.Catalog)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pg.Close(context.WithoutCancel(t.Context())) }()
	rows, err := pg.Query(t.Context(), "SELECT CASE WHEN path_is_relative THEN $1 || '/' ELSE '' END || path FROM ducklake_files_scheduled_for_deletion ORDER BY path", u.DataPath)
	if err != nil {
		t.Fatal(err)
	}
	listed, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(listed) < 2 {
		t.Fatalf("%v, %v", listed, err)
	}
	if err := os.Remove(listed[0]); err != nil {
		t.Fatal(err)
	}
	done, err := db.Compact(t.Context(), factstore.CompactOptions{})
	if err != nil || done.Removed != int64(len(listed)) {
		t.Errorf("%+v, %v, %d files were listed", done, err, len(listed))
	}
	if n := number(t, db, "SELECT count(*) FROM ohlcv"); n != 12*30 {
		t.Errorf("%d bars", n)
	}
	wantSound(t, db)
}
