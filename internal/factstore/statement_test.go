package factstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"quant"
	"quant/internal/factstore"
)

// everything is a digest of all tables of a database.
func everything(t *testing.T, db *factstore.DB) string {
	t.Helper()
	counts, err := db.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, c := range counts {
		_, digest, err := db.Digest(t.Context(), "SELECT * FROM fact.main."+c.Table)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&all, c.Table, c.Rows, digest)
	}
	return all.String()
}

// writing are statements that change, or would let the next one change, what
// the file holds.
func writing() []string {
	return []string{
		"INSERT INTO ohlcv (symbol, ts) VALUES ('A', DATE '2020-01-02')", "INSERT INTO fact.main.labels VALUES ('A', DATE '2020-01-02', 'l', 1, 'v1')",
		"UPDATE ohlcv SET close = 1", "UPDATE main.ohlcv SET close = t.a FROM temp.main.x t", "DELETE FROM ohlcv", "TRUNCATE ledger", "DELETE FROM ledger WHERE true",
		"MERGE INTO ohlcv USING temp.main.x ON false WHEN NOT MATCHED THEN INSERT (symbol, ts) VALUES ('B', DATE '2020-01-01')",
		"CREATE TABLE more (a INTEGER)", "CREATE VIEW more AS SELECT 1", "CREATE SCHEMA more", "CREATE SEQUENCE more", "CREATE INDEX more ON ohlcv (symbol)",
		"ALTER TABLE ohlcv ADD COLUMN more INTEGER", "DROP TABLE ohlcv", "DROP TABLE fact.main.ledger",
		"EXPLAIN ANALYZE DELETE FROM ohlcv", "COPY ohlcv FROM '/dev/null'", "COPY ohlcv TO '/dev/null'", "EXPORT DATABASE '/dev/null'",
		"SELECT 1; DELETE FROM ohlcv", "DELETE FROM ohlcv; SELECT 1", "COMMIT; DELETE FROM ohlcv", "CREATE TEMP TABLE y AS SELECT 1; DELETE FROM ohlcv",
		"BEGIN", "COMMIT", "ROLLBACK", "PREPARE p AS DELETE FROM ohlcv", "EXECUTE p", "ATTACH ':memory:' AS more", "DETACH fact", "USE memory",
		"SET memory_limit = '1GB'", "PRAGMA disable_checkpoint_on_shutdown", "CHECKPOINT", "VACUUM", "CALL pragma_version()", "LOAD json",
		"WITH gone AS (DELETE FROM ohlcv RETURNING *) SELECT * FROM gone", "", ";", "nonsense",
	}
}

// ended is the error of a query, once its rows are closed.
func ended(rows *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	return rows.Err()
}

func TestNoMethodOutsideAWriteChangesTheFile(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	mustWriteBars(t, db, "r", "A", 10)
	run(t, db, "CREATE TEMP TABLE x AS SELECT 1 AS a")
	before := everything(t, db)
	for _, q := range writing() {
		for name, refused := range map[string]func() error{
			"Query": func() error { return ended(db.Query(t.Context(), q)) },
			"QueryRow": func() error {
				var v any
				return db.QueryRow(t.Context(), q).Scan(&v)
			},
			"Stage": func() error { _, err := db.Stage(t.Context(), q); return err },
			"Digest": func() error {
				_, _, err := db.Digest(t.Context(), q)
				return err
			},
		} {
			if err := refused(); err == nil || errors.Is(err, sql.ErrNoRows) {
				t.Errorf("%s ran %q: %v", name, q, err)
			}
		}
		if n := number(t, db, "SELECT count(*) FROM temp.main.x"); n != 1 {
			t.Fatalf("after %q TEMP tables are gone", q)
		}
	}
	for _, table := range factstore.Tables() {
		if err := db.Append(t.Context(), table.Name, func(row func(...driver.Value) error) error { return row("A") }); err == nil {
			t.Errorf("Append filled %s", table.Name)
		}
	}
	// What is staged does not hide a table of the file from a Write.
	if _, err := db.Stage(t.Context(), "CREATE TEMP TABLE ohlcv AS FROM fact.main.ohlcv LIMIT 0"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Stage(t.Context(), "INSERT INTO temp.main.ohlcv (symbol, ts) VALUES ('B', DATE '2020-01-01')"); err != nil {
		t.Fatal(err)
	}
	if got := everything(t, db); got != before {
		t.Errorf("changed:\n%s\nbefore:\n%s", got, before)
	}
	mustWriteBars(t, db, "r2", "B", 3)
	if n := number(t, db, "SELECT count(*) FROM fact.main.ohlcv"); n != 13 {
		t.Errorf("%d bars", n)
	}
	wantSound(t, db)
}

func TestAWriteChangesFactsOnlyWhereItCountsThem(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	mustWriteBars(t, db, "r", "A", 10)
	before := everything(t, db)
	rows, err := db.Write(t.Context(), "r2", func(ctx context.Context, tx *factstore.Tx) error {
		if _, err := tx.Stage(ctx, "CREATE TEMP TABLE x AS SELECT 1 AS a"); err != nil {
			t.Error(err)
		}
		for _, q := range writing() {
			if _, err := tx.Stage(ctx, q); err == nil {
				t.Errorf("Stage ran %q", q)
			}
			if err := ended(tx.Query(ctx, q)); err == nil {
				t.Errorf("Query ran %q", q)
			}
		}
		for _, q := range []string{"/* */ DELETE FROM ohlcv", "-- temp.main.x\nDELETE FROM ohlcv", "UPDATE x SET a = 2", "DELETE FROM main.ohlcv -- temp.main.x"} {
			if _, err := tx.Stage(ctx, q); err == nil {
				t.Errorf("Stage ran %q", q)
			}
		}
		for _, table := range []string{factstore.Ledger, "schema_version", "nowhere", `ohlcv" SELECT 1; --`} {
			if _, err := tx.Insert(ctx, table, "SELECT 1"); quant.CodeOf(err) != quant.Invalid {
				t.Errorf("inserted into %s: %v", table, err)
			}
			if _, err := tx.Delete(ctx, table, "true"); err == nil {
				t.Errorf("deleted from %s", table)
			}
		}
		for _, rest := range []string{"(symbol, ts) VALUES ('Z', DATE '2020-01-01'); DELETE FROM ledger", "SELECT 1; COMMIT"} {
			if _, err := tx.Insert(ctx, factstore.OHLCV, rest); err == nil {
				t.Errorf("several statements passed: %q", rest)
			}
		}
		return nil
	})
	if err != nil || rows != nil {
		t.Errorf("%v, %v", rows, err)
	}
	if got := everything(t, db); got != before {
		t.Errorf("changed:\n%s\nbefore:\n%s", got, before)
	}
	rows, err = db.Write(t.Context(), "r3", func(ctx context.Context, tx *factstore.Tx) error {
		if n, err := tx.Insert(ctx, factstore.OHLCV, "(symbol, ts) VALUES ('B', DATE '2020-01-01'), ('B', DATE '2020-01-02')"); n != 2 || err != nil {
			t.Errorf("inserted %d, %v", n, err)
		}
		if n, err := tx.Update(ctx, factstore.OHLCV, "close = ? WHERE symbol = 'A' AND ts < DATE '2020-01-04'", 3.0); n != 3 || err != nil {
			t.Errorf("updated %d, %v", n, err)
		}
		if n, err := tx.Delete(ctx, factstore.OHLCV, "symbol = 'A' AND ts > DATE '2020-01-08'"); n != 2 || err != nil {
			t.Errorf("deleted %d, %v", n, err)
		}
		tx.Replaced(factstore.OHLCV, 1)
		return nil
	})
	if err != nil || len(rows) != 1 || rows[0].Inserted != 1 || rows[0].Updated != 4 || rows[0].Deleted != 1 {
		t.Errorf("%+v, %v", rows, err)
	}
}

func TestStagedRowsLiveInTempTablesUntilClose(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	closeDB(t, openWrite(t, path))
	for _, open := range []func(context.Context, factstore.Options) (*factstore.DB, error){factstore.OpenRead, factstore.OpenWrite} {
		db, err := open(t.Context(), options(path))
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			query string
			rows  int64
		}{
			{"CREATE TEMP TABLE x (a INTEGER)", 0}, {"INSERT INTO temp.main.x SELECT range FROM range(5)", 5}, {"INSERT INTO x VALUES (?)", 1},
			{"UPDATE temp.main.x SET a = a + 1 WHERE a > 2", 3}, {"DELETE FROM x WHERE a = 1", 1}, {"CREATE OR REPLACE TEMP VIEW v AS SELECT a FROM x", 0},
		} {
			var args []any
			if strings.Contains(step.query, "?") {
				args = append(args, 7)
			}
			if n, err := db.Stage(t.Context(), step.query, args...); err != nil || step.rows > 0 && n != step.rows {
				t.Fatalf("%s: %d rows, %v", step.query, n, err)
			}
		}
		if n := number(t, db, "SELECT sum(a) FROM temp.main.v"); n != 19 {
			t.Errorf("the view sums to %d", n)
		}
		// A statement that fails, or is cancelled, leaves no transaction open.
		if _, err := db.Stage(t.Context(), "CREATE TEMP TABLE bad AS SELECT error('no')"); err == nil {
			t.Error("a failing statement passed")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := db.Stage(ctx, "CREATE TEMP TABLE slow AS SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE hash(a, b) = 1"); err == nil {
			t.Error("a cancelled statement passed")
		}
		cancel()
		if _, err := db.Stage(t.Context(), "DROP VIEW v"); err != nil {
			t.Error(err)
		}
		closeDB(t, db)
	}
}

// ten is a table function of ten numbers, which asks its context for the first.
type ten struct{ next int }

type firstKey struct{}

func (*ten) ColumnInfos() []duckdb.ColumnInfo {
	info, _ := duckdb.NewTypeInfo(duckdb.TYPE_BIGINT)
	return []duckdb.ColumnInfo{{Name: "n", T: info}}
}
func (*ten) Cardinality() *duckdb.CardinalityInfo { return nil }
func (*ten) Init()                                {}
func (s *ten) FillChunk(chunk duckdb.DataChunk) error {
	n := 0
	for ; s.next%100 < 10; n++ {
		if err := chunk.SetValue(0, n, int64(s.next)); err != nil {
			return err
		}
		s.next++
	}
	return chunk.SetSize(n)
}

func TestATableFunctionIsKnownToStatementsAndGetsTheirContext(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	f := duckdb.ChunkTableFunction{BindArgumentsContext: func(ctx context.Context, _ map[string]any, _ ...any) (duckdb.ChunkTableSource, error) {
		first, ok := ctx.Value(firstKey{}).(int)
		if !ok {
			return nil, errors.New("no first number")
		}
		return &ten{first}, nil
	}}
	for range 2 {
		if err := db.RegisterTable("ten", f); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Stage(t.Context(), "CREATE TEMP TABLE x AS FROM ten()"); err == nil {
		t.Error("it had no context")
	}
	ctx := context.WithValue(t.Context(), firstKey{}, 500)
	if _, err := db.Stage(ctx, "CREATE TEMP TABLE x AS FROM ten()"); err != nil {
		t.Fatal(err)
	}
	if n := number(t, db, "SELECT sum(n) FROM temp.main.x"); n != 5045 {
		t.Errorf("the sum is %d", n)
	}
}

func TestACopyForARepetitionHasThePastAndTheOriginalKeepsThePresent(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	mergeBars(t, db, "r1", history("A", 5, 1, "a"))
	run(t, db, "CREATE TEMP TABLE snap AS FROM ohlcv")
	if _, err := db.Write(t.Context(), "r2", func(ctx context.Context, tx *factstore.Tx) error {
		for table, rows := range map[string]string{
			factstore.Labels:        "VALUES ('A', DATE '2020-01-01', 'l', 1, 'v1')",
			factstore.FactSlices:    "VALUES ('labels', 'A', 'l', 'v1', NULL, NULL, 'r2'), ('returns', 'A', '', '', NULL, NULL, 'r2')",
			factstore.FactInputs:    "VALUES ('labels', 'A', 'l', 'v1', 'i', 'f', NULL, NULL), ('features_daily', 'A', '', 'v1', 'i', 'f', NULL, NULL)",
			factstore.FeaturesDaily: "VALUES ('A', DATE '2020-01-01', 'f', 1, 'v1', NULL)",
		} {
			if _, err := tx.Insert(ctx, table, rows); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	mergeBars(t, db, "r3", history("A", 7, 2, "b"))
	before := everything(t, db)
	digest := func(db *factstore.DB, from string) string {
		_, d, err := db.Digest(t.Context(), exactly(from))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, c := range []struct {
		past    factstore.Past
		changed bool
		bars    string
		counts  map[string]int64
	}{
		{factstore.Past{RunID: "r1", Without: factstore.TablesOf("labels")}, true, "temp.main.snap", map[string]int64{"labels": 0, "fact_slices": 1, "fact_inputs": 1, "features_daily": 1}},
		{factstore.Past{RunID: "r3", Without: factstore.TablesOf("features")}, false, "ohlcv", map[string]int64{"labels": 1, "fact_slices": 1, "fact_inputs": 1, "features_daily": 0}},
		{factstore.Past{RunID: "r3"}, false, "ohlcv", map[string]int64{"labels": 1, "fact_slices": 2, "fact_inputs": 2, "features_daily": 1}},
	} {
		dst := filepath.Join(t.TempDir(), "copy.duckdb")
		changed, err := db.CopyAsOf(t.Context(), dst, c.past)
		if err != nil || changed != c.changed {
			t.Fatalf("%+v: changed %v, %v", c.past, changed, err)
		}
		copied := openWrite(t, dst)
		if got, want := digest(copied, "ohlcv"), digest(db, c.bars); got != want {
			t.Errorf("%+v: other prices", c.past)
		}
		for table, n := range c.counts {
			if got := number(t, copied, "SELECT count(*) FROM "+table); got != n {
				t.Errorf("%+v: %s has %d rows, want %d", c.past, table, got, n)
			}
		}
		closeDB(t, copied)
	}
	if _, err := db.CopyAsOf(t.Context(), filepath.Join(t.TempDir(), "copy.duckdb"), factstore.Past{RunID: "r3", Without: []string{"nowhere"}}); quant.CodeOf(err) != quant.Invalid {
		t.Errorf("an unknown table: %v", err)
	}
	if got := everything(t, db); got != before {
		t.Error("the original changed")
	}
}
