package factstore_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/test/soak"
)

type barKey struct{ symbol, ts string }

// value is what may stand in one column: a number or NULL.
type value struct {
	f    float64
	null bool
}

func (v value) sql() string {
	switch {
	case v.null:
		return "NULL"
	case math.IsNaN(v.f):
		return "CAST('nan' AS DOUBLE)"
	case math.IsInf(v.f, 0):
		return fmt.Sprintf("CAST('%g' AS DOUBLE)", v.f)
	}
	return fmt.Sprintf("%g", v.f)
}

func same(a, b value) bool {
	return a.null && b.null || !a.null && !b.null && (a.f == b.f || math.IsNaN(a.f) && math.IsNaN(b.f))
}

type storedBar struct {
	v     value
	stamp time.Time
}

const mergeColumns = "symbol, ts, close, source, open, high, low, volume, adjusted_close"

// stage makes the TEMP table src with the bars, in the given order, its
// columns not in the order of the table's.
func stage(t *testing.T, db *factstore.DB, keys []barKey, bars map[barKey]value) {
	t.Helper()
	run(t, db, "CREATE OR REPLACE TEMP TABLE src AS SELECT "+mergeColumns+" FROM ohlcv LIMIT 0")
	if len(keys) == 0 {
		return
	}
	var rows []string
	for _, k := range keys {
		rows = append(rows, fmt.Sprintf("('%s', DATE '%s', %s, 's', 1, 1, 1, 1, NULL)", k.symbol, k.ts, bars[k].sql()))
	}
	run(t, db, "INSERT INTO src ("+mergeColumns+") VALUES "+strings.Join(rows, ", "))
}

func merge(t *testing.T, db *factstore.DB, run string) (d factstore.Delta, rows []factstore.LedgerRow, err error) {
	t.Helper()
	rows, err = db.Write(t.Context(), run, func(ctx context.Context, tx *factstore.Tx) error {
		var err error
		d, err = tx.Merge(ctx, factstore.Merge{Table: "ohlcv", Source: "src"})
		return err
	})
	return d, rows, err
}

func TestMergeAgreesWithAMapOnRandomData(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	rng := soak.Random(t)
	model := map[barKey]storedBar{}
	values := []value{{f: 1}, {f: 2}, {f: 3.5}, {null: true}, {f: math.NaN()}, {f: math.Inf(1)}}
	for round := range soak.Count(t, 150, 500) {
		bars := map[barKey]value{}
		days, names := 1+rng.IntN(20), 1+rng.IntN(5)
		for range rng.IntN(40) {
			k := barKey{fmt.Sprintf("S%d", rng.IntN(names)), fmt.Sprintf("2020-01-%02d", 1+rng.IntN(days))}
			bars[k] = values[rng.IntN(len(values))]
			if old, ok := model[k]; ok && rng.IntN(2) == 0 {
				bars[k] = old.v
			}
		}
		keys := slices.SortedFunc(maps.Keys(bars), func(a, b barKey) int { return strings.Compare(a.symbol+a.ts, b.symbol+b.ts) })
		if rng.IntN(2) == 0 {
			rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		}
		if rng.IntN(10) == 0 {
			for k := range model {
				if k.symbol == "S0" {
					delete(model, k)
				}
			}
			if _, err := db.Write(t.Context(), "delete", func(ctx context.Context, tx *factstore.Tx) error {
				_, err := tx.Delete(ctx, "ohlcv", "symbol = 'S0'")
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		stage(t, db, keys, bars)
		var want factstore.Delta
		for k, v := range bars {
			switch old, ok := model[k]; {
			case !ok:
				want.Inserted++
			case same(old.v, v):
				want.Unchanged++
			default:
				want.Updated++
				want.Revisions++
			}
		}
		got, ledger, err := merge(t, db, fmt.Sprint("run", round))
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("round %d: delta %+v, want %+v", round, got, want)
		}
		if changed := want.Inserted+want.Updated > 0; changed != (len(ledger) > 0) {
			t.Fatalf("round %d: ledger %v", round, ledger)
		}
		for k, v := range bars {
			if old, ok := model[k]; !ok || !same(old.v, v) {
				model[k] = storedBar{v, ledger[0].CommittedAt.Time}
			}
		}
		compareBars(t, db, model)
	}
	if problems, err := db.Check(t.Context()); err != nil || slices.ContainsFunc(problems, func(p factstore.Problem) bool {
		return !strings.Contains(p.What, "NaN") && !strings.Contains(p.What, "impossible")
	}) {
		t.Errorf("%v, %v", problems, err)
	}
}

func compareBars(t *testing.T, db *factstore.DB, model map[barKey]storedBar) {
	t.Helper()
	rows, err := db.Query(t.Context(), "SELECT symbol, CAST(ts AS VARCHAR), close, ingested_at FROM ohlcv")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var k barKey
		var f *float64
		var stamp time.Time
		if err := rows.Scan(&k.symbol, &k.ts, &f, &stamp); err != nil {
			t.Fatal(err)
		}
		v := value{null: f == nil}
		if f != nil {
			v.f = *f
		}
		if want, ok := model[k]; !ok || !same(want.v, v) || !want.stamp.Equal(stamp) {
			t.Fatalf("%v holds %v of %v, want %v", k, v, stamp, model[k])
		}
		n++
	}
	if err := rows.Err(); err != nil || n != len(model) {
		t.Fatalf("%d rows, want %d, %v", n, len(model), err)
	}
}

func TestMergeLeavesAnIdenticalReloadUnchanged(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	keys := []barKey{{"B", "2020-01-01"}, {"A", "2020-01-02"}, {"A", "2020-01-01"}}
	bars := map[barKey]value{keys[0]: {f: 1}, keys[1]: {null: true}, keys[2]: {f: math.NaN()}}
	stage(t, db, keys, bars)
	if d, rows, err := merge(t, db, "r1"); err != nil || d.Inserted != 3 || len(rows) != 1 {
		t.Fatalf("%+v, %v, %v", d, rows, err)
	}
	if d, rows, err := merge(t, db, "r2"); err != nil || d != (factstore.Delta{Unchanged: 3}) || rows != nil {
		t.Fatalf("%+v, %v, %v", d, rows, err)
	}
}

func TestMergeRefusesWhatWouldBreakTheKey(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	for name, c := range map[string]struct{ source, want string }{
		"twice, apart":     {"SELECT * FROM (VALUES ('B', DATE '2020-01-01'), ('A', DATE '2020-01-01'), ('B', DATE '2020-01-01')) v(symbol, ts)", "key (B, 2020-01-01) stands there more than once"},
		"twice, in order":  {"SELECT * FROM (VALUES ('A', DATE '2020-01-01'), ('A', DATE '2020-01-01')) v(symbol, ts)", "key (A, 2020-01-01) stands there more than once"},
		"null":             {"SELECT * FROM (VALUES ('A', DATE '2020-01-01'), (NULL, DATE '2020-01-01')) v(symbol, ts)", "key (NULL, 2020-01-01) is NULL in part"},
		"null, alone":      {"SELECT 'A' AS symbol, CAST(NULL AS DATE) AS ts", "key (A, NULL) is NULL in part"},
		"a column missing": {"SELECT 'A' AS symbol", "lacks column ts"},
		"a column more":    {"SELECT 'A' AS symbol, DATE '2020-01-01' AS ts, 1 AS nonsense", "no column nonsense"},
	} {
		run(t, db, "CREATE OR REPLACE TEMP TABLE src AS SELECT *, 0 AS ret_1d, 0 AS ret_5d, 0 AS ret_20d, 0 AS ret_60d FROM ("+c.source+")")
		_, err := db.Write(t.Context(), "r", func(ctx context.Context, tx *factstore.Tx) error {
			_, err := tx.Merge(ctx, factstore.Merge{Table: "returns", Source: "src"})
			return err
		})
		t.Run(name, func(t *testing.T) { wantCode(t, err, quant.Invalid, c.want) })
	}
	for _, m := range []factstore.Merge{
		{Table: "nowhere", Source: "src"},
		{Table: `returns" AS r; --`, Source: "src"},
		{Table: "returns", Source: `sr"c`},
		{Table: factstore.BacktestTrades, Source: "src"}, // its rows have no key
	} {
		_, err := db.Write(t.Context(), "r", func(ctx context.Context, tx *factstore.Tx) error {
			_, err := tx.Merge(ctx, m)
			return err
		})
		wantCode(t, err, quant.Invalid)
	}
	if n := number(t, db, "SELECT count(*) FROM returns"); n != 0 {
		t.Errorf("%d rows", n)
	}
}

func TestMergeTakesAViewAndQuotesItsName(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	run(t, db, `CREATE TEMP VIEW "my ""view" AS SELECT 'm' AS model_id, 't' AS task_id, 0.5 AS score, NULL AS calibrated_score, DATE '2020-01-01' + CAST(i AS INTEGER) AS ts, 'A' AS symbol FROM range(10) r(i)`)
	_, err := db.Write(t.Context(), "r", func(ctx context.Context, tx *factstore.Tx) error {
		d, err := tx.Merge(ctx, factstore.Merge{Table: "predictions", Source: `my "view`})
		if d.Inserted != 10 {
			t.Errorf("%+v", d)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantSound(t, db)
}

// Review sees the rows that change and what each replaces, may take rows out of the
// source, and its error ends the merge.
func TestAMergeIsReviewedBeforeItChangesAnything(t *testing.T) {
	ctx := t.Context()
	db := openWrite(t, filepath.Join(t.TempDir(), "quant.duckdb"))
	defer closeDB(t, db)
	rows := func(tx *factstore.Tx, values string) {
		t.Helper()
		if _, err := tx.Stage(ctx, "CREATE OR REPLACE TEMP TABLE reviewed AS SELECT symbol, ts::DATE AS ts, p AS open, p AS high, p AS low, p AS close, 1.0 AS volume, p AS adjusted_close, 's' AS source FROM (VALUES "+values+") AS v(symbol, ts, p)"); err != nil {
			t.Fatal(err)
		}
	}
	merge := func(run, values string, review func(*factstore.Tx, string) (bool, error)) (d factstore.Delta, err error) {
		t.Helper()
		_, err = db.Write(ctx, run, func(ctx context.Context, tx *factstore.Tx) error {
			rows(tx, values)
			d, err = tx.Merge(ctx, factstore.Merge{Table: factstore.OHLCV, Source: "reviewed", Review: func(_ context.Context, diff string) (bool, error) { return review(tx, diff) }})
			return err
		})
		return d, err
	}
	never := func(*factstore.Tx, string) (bool, error) {
		t.Error("an empty table was reviewed")
		return false, nil
	}
	if _, err := merge("one", "('A', '2020-01-02', 1.0), ('B', '2020-01-02', 2.0)", never); err != nil {
		t.Fatal(err)
	}
	const next = "('A', '2020-01-02', 1.0), ('A', '2020-01-03', 3.0), ('B', '2020-01-02', 5.0)"
	var seen string
	d, err := merge("two", next, func(tx *factstore.Tx, diff string) (bool, error) {
		if err := tx.QueryRow(ctx, "SELECT string_agg(concat_ws(' ', n.symbol, n.close, coalesce(o.close::VARCHAR, '-')), ', ' ORDER BY n.symbol) FROM "+diff+` n LEFT JOIN ohlcv o ON o.rowid = n."stored rowid"`).Scan(&seen); err != nil {
			t.Fatal(err)
		}
		_, err := tx.Stage(ctx, "DELETE FROM temp.main.reviewed WHERE symbol = 'B'")
		return true, err
	})
	if err != nil || seen != "A 3.0 -, B 5.0 2.0" || d.Inserted != 1 || d.Updated != 0 || d.Unchanged != 1 {
		t.Fatalf("%+v, %v; reviewed %q", d, err, seen)
	}
	mine := errors.New("mine")
	if _, err := merge("three", next, func(*factstore.Tx, string) (bool, error) { return false, mine }); !errors.Is(err, mine) {
		t.Fatalf("got %v", err)
	}
	var closes string
	if err := db.QueryRow(ctx, "SELECT string_agg(close::VARCHAR, ' ' ORDER BY symbol, ts) FROM ohlcv").Scan(&closes); err != nil || closes != "1.0 3.0 2.0" {
		t.Fatalf("%q, %v", closes, err)
	}
}
