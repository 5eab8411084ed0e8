package factstore_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// valuesOf are two values of every type that a column of the Fact DB has.
var valuesOf = map[string][2]string{
	"VARCHAR":   {"'삼성 ''x'' '", "''"},
	"DATE":      {"DATE '1969-12-31'", "DATE '2024-02-29'"},
	"TIMESTAMP": {"TIMESTAMP '2026-01-15 09:30:00.123456'", "TIMESTAMP '1900-01-01'"},
	"DOUBLE":    {"'-0.0'::DOUBLE", "0.1"},
	"BIGINT":    {"9223372036854775807", "-5"},
	"INTEGER":   {"7", "-7"},
	"BOOLEAN":   {"true", "false"},
	"BIGINT[]":  {"[1, -2]", "[]::BIGINT[]"},
	"STRUCT":    {`[{'first': DATE '2020-01-01', 'last': NULL, 'source': 'x', 'ingested_at': TIMESTAMP '2026-01-15'}]`, "NULL"},
}

// fillEveryTable stores rows in every table, with values that are stored in ways of their
// own, and a set of features.
func fillEveryTable(t *testing.T, db *factstore.DB) {
	t.Helper()
	mustWriteBars(t, db, "run-1", "A", 300)
	if _, err := declare(t, db, "run-2", alpha()); err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(t.Context(), "SELECT t.table_name, string_agg(c.column_name || '=' || c.data_type, '|' ORDER BY c.column_index) FROM duckdb_tables() t JOIN duckdb_columns() c USING (database_name, schema_name, table_name) WHERE schema_name = 'main' AND database_name = 'fact' GROUP BY 1")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var statements []string
	for rows.Next() {
		var table, columns string
		if err := rows.Scan(&table, &columns); err != nil {
			t.Fatal(err)
		}
		if table == factstore.FeatureSets || table == "schema_version" {
			continue
		}
		for i := range 2 {
			var values []string
			for part := range strings.SplitSeq(columns, "|") {
				_, kind, _ := strings.Cut(part, "=")
				if strings.HasPrefix(kind, "STRUCT(") {
					kind = "STRUCT"
				}
				v, known := valuesOf[kind]
				if !known {
					t.Fatalf("%s: the test knows no value of %s", table, kind)
				}
				values = append(values, v[i])
			}
			statements = append(statements, "INSERT INTO "+sqltext.Identifier(table)+" VALUES ("+strings.Join(values, ", ")+")")
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, odd := range []string{"'nan'", "'inf'", "'-inf'", "5e-324", "NULL"} {
		statements = append(statements, "INSERT INTO labels VALUES ('odd', DATE '2020-01-01', 'x', "+odd+"::DOUBLE, 'v1')")
	}
	for _, s := range statements {
		run(t, db, s)
	}
}

// copyInto copies one Fact DB into another.
func copyInto(ctx context.Context, from, to factstore.Options) ([]factstore.Copied, error) {
	db, err := factstore.OpenWrite(ctx, to)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	held, err := db.HoldBeside(ctx, from)
	if err != nil {
		return nil, err
	}
	defer held.Release()
	return held.Copy(ctx, "run-of-the-copy")
}

func TestAWholeFactDBIsCopiedFromAnyPlaceToAny(t *testing.T) {
	t.Parallel()
	places := map[string]func(t *testing.T) factstore.Options{
		"File": func(t *testing.T) factstore.Options { o := options(newPath(t)); o.Wait = time.Minute; return o },
		"Lake": lake,
	}
	for from, source := range places {
		for to, target := range places {
			t.Run(from+"To"+to, func(t *testing.T) {
				t.Parallel()
				from, to := source(t), target(t)
				db, err := factstore.OpenWrite(t.Context(), from)
				if err != nil {
					t.Fatal(err)
				}
				fillEveryTable(t, db)
				closeDB(t, db)

				copied, err := copyInto(t.Context(), from, to)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range copied {
					if c.Rows == 0 {
						t.Errorf("table %s: nothing was copied; the test fills every table", c.Table)
					}
				}
				for _, table := range factstore.Tables() {
					stored := table.Name == factstore.FeaturesDaily || table.Name == factstore.Returns || table.Name == "schema_version"
					if !stored && !slices.ContainsFunc(copied, func(c factstore.Copied) bool { return c.Table == table.Name }) {
						t.Errorf("table %s is not copied", table.Name)
					}
				}
				// Once more, it finds all of it there, and says the same.
				again, err := copyInto(t.Context(), from, to)
				if err != nil || !slices.Equal(again, copied) {
					t.Errorf("again: %v, %v", again, err)
				}
				// Both are what they say.
				for _, o := range []factstore.Options{from, to} {
					db, err := factstore.OpenRead(t.Context(), o)
					if err != nil {
						t.Fatal(err)
					}
					for view, n := range map[string]int64{"features_daily": 45, "returns": 0, "ohlcv": 302, "ledger": 4} {
						if got := number(t, db, "SELECT count(*) FROM "+view); got < n {
							t.Errorf("%s: %d rows of %s", o.Path, got, view)
						}
					}
					sets, err := db.FeatureSets(t.Context())
					if err != nil || len(sets) != 1 || sets[0].Version != "my_alpha" || number(t, db, "SELECT count(*) FROM features_daily WHERE feature_name = 'MA20'") < 3 {
						t.Errorf("the sets: %v, %v", sets, err)
					}
					closeDB(t, db)
				}
				// The copy goes on as a lab of its own: what it has then is not the source's.
				db, err = factstore.OpenWrite(t.Context(), to)
				if err != nil {
					t.Fatal(err)
				}
				mustWriteBars(t, db, "run-3", "Z", 5)
				closeDB(t, db)
				_, err = copyInto(t.Context(), from, to)
				wantCode(t, err, quant.Conflict, "holds facts already")
			})
		}
	}
}

func TestACopyThatWasBegunIsMadeAnewAndOneOfOthersIsRefused(t *testing.T) {
	t.Parallel()
	from, to := options(newPath(t)), options(newPath(t))
	db := openWrite(t, from.Path)
	mustWriteBars(t, db, "run-1", "A", 10)
	closeDB(t, db)
	if _, err := copyInto(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	// The source goes on; what stands in the target is a part of it.
	db = openWrite(t, from.Path)
	mustWriteBars(t, db, "run-2", "B", 10)
	if _, err := declare(t, db, "run-3", alpha()); err != nil {
		t.Fatal(err)
	}
	closeDB(t, db)
	if copied, err := copyInto(t.Context(), from, to); err != nil || len(copied) == 0 {
		t.Fatal(copied, err)
	}
	db = openWrite(t, to.Path)
	if n := number(t, db, "SELECT count(*) FROM ohlcv"); n != 20 {
		t.Errorf("%d bars", n)
	}
	wantSound(t, db)
	closeDB(t, db)
	_, err := copyInto(t.Context(), to, from) // the same
	if err != nil {
		t.Error(err)
	}
	other := options(newPath(t))
	db = openWrite(t, other.Path)
	mustWriteBars(t, db, "run-9", "A", 10)
	closeDB(t, db)
	_, err = copyInto(t.Context(), from, other)
	wantCode(t, err, quant.Conflict, "holds facts already")
}

// A source that is held lets nobody write, and a copy that ends in the middle leaves nothing.
func TestASourceIsHeldWhileItIsCopied(t *testing.T) {
	t.Parallel()
	from, to := options(newPath(t)), options(newPath(t))
	db := openWrite(t, from.Path)
	mustWriteBars(t, db, "run-1", "A", 10)
	closeDB(t, db)
	before, err := os.ReadFile(from.Path)
	if err != nil {
		t.Fatal(err)
	}
	target := openWrite(t, to.Path)
	held, err := target.HoldBeside(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	_, err = factstore.OpenWrite(t.Context(), from)
	wantCode(t, err, quant.Locked)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fmt.Errorf("enough"))
	if _, err := held.Copy(ctx, "r"); err == nil {
		t.Error("it was copied")
	}
	if n := number(t, target, "SELECT count(*) FROM ohlcv"); n != 0 {
		t.Errorf("%d bars of a copy that was ended", n)
	}
	held.Release()
	if after, err := os.ReadFile(from.Path); err != nil || string(after) != string(before) {
		t.Errorf("the source was changed: %v", err)
	}
	if found, err := filepath.Glob(from.Path + "?*"); err != nil || len(found) > 1 { // its lock
		t.Errorf("beside the source: %v", found)
	}
	writer, err := factstore.OpenWrite(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	closeDB(t, writer)
}

func TestALakeIsBackedUpIntoAFile(t *testing.T) {
	t.Parallel()
	o := lake(t)
	db := openLake(t, o)
	fillEveryTable(t, db)
	want := number(t, db, "SELECT count(*) FROM features_daily")
	dst := filepath.Join(t.TempDir(), "copy.duckdb")
	reader, err := factstore.OpenRead(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	mustWriteBars(t, db, "later", "Z", 10) // not of the snapshot
	if err := reader.Backup(t.Context(), dst); err != nil {
		t.Fatal(err)
	}
	wantCode(t, reader.Backup(t.Context(), dst), quant.Conflict)
	closeDB(t, reader)
	file := openWrite(t, dst)
	if n := number(t, file, "SELECT count(*) FROM features_daily"); n != want || number(t, file, "SELECT count(*) FROM ohlcv WHERE symbol = 'Z'") != 0 {
		t.Errorf("%d values of %d", n, want)
	}
	if left, err := exec.Command("ls", filepath.Dir(dst)).Output(); err != nil || strings.Contains(string(left), ".new") {
		t.Errorf("beside it: %s, %v", left, err)
	}
}
