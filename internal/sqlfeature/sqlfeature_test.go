package sqlfeature

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
	"quant/internal/sqltext"
)

// market is a Fact DB with 120 sessions of five symbols, one of them from the 60th on,
// and labels over 5 sessions.
func market(t *testing.T) (*factstore.DB, *calendar.Calendar) {
	t.Helper()
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: filepath.Join(t.TempDir(), "quant.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	cal, err := calendar.Open("XNYS")
	if err != nil {
		t.Fatal(err)
	}
	from, _ := quant.ParseDate("2024-01-02")
	at, _ := cal.Index(from)
	var days []string
	for i := range 120 {
		days = append(days, fmt.Sprintf("(%d, DATE '%s')", i, cal.At(at+i)))
	}
	_, err = db.Write(t.Context(), "prices", func(ctx context.Context, tx *factstore.Tx) error {
		bars := `SELECT symbol, ts, p AS open, p AS high, p AS low, p AS close, 1000 + 10 * i AS volume, NULL::DOUBLE AS adjusted_close, 'test' AS source FROM
			(SELECT symbol, i, ts, 100 * exp(sum(((hash(symbol, ts) % 1000)::INTEGER - 500) / 20000.0) OVER (PARTITION BY symbol ORDER BY ts)) AS p
			FROM (SELECT unnest(['A', 'B', 'C', 'D', 'E']) AS symbol), (VALUES ` + strings.Join(days, ", ") + `) d(i, ts) WHERE symbol <> 'E' OR i >= 60)`
		if _, err := tx.Stage(ctx, "CREATE OR REPLACE TEMP TABLE bars AS "+bars); err != nil {
			return err
		}
		_, err := tx.Merge(ctx, factstore.Merge{Table: factstore.OHLCV, Source: "bars"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = factstoretest.Write(t.Context(), db, "labels", `INSERT INTO labels SELECT symbol, ts, 'fwd_ret_5d', lead(close, 5) OVER (PARTITION BY symbol ORDER BY ts) / close - 1, 'v1' FROM ohlcv QUALIFY lead(close, 5) OVER (PARTITION BY symbol ORDER BY ts) IS NOT NULL`)
	if err != nil {
		t.Fatal(err)
	}
	return db, cal
}

// query runs a statement in this process, as the sandbox would in another.
func query(ctx context.Context, path, text string, out io.Writer) error {
	db, err := sql.Open("duckdb", path+"?access_mode=READ_ONLY")
	if err != nil {
		return err
	}
	defer db.Close()
	file := path + ".csv"
	defer os.Remove(file)
	if _, err := db.ExecContext(ctx, "COPY ("+text+"\n) TO "+sqltext.Literal(file)+" (FORMAT csv, HEADER)"); err != nil {
		return err
	}
	rows, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	_, err = out.Write(rows)
	return err
}

func compute(t *testing.T, db *factstore.DB, cal *calendar.Calendar, version, text string) (Report, error) {
	t.Helper()
	return Compute(t.Context(), db, Request{RunID: "run-" + version, Version: version, SQL: text, Feature: "f", Folder: t.TempDir(), Calendar: cal, Query: query})
}

func TestAQueryThatLooksAheadIsRefusedWithTheSymbolTheDayAndBothValues(t *testing.T) {
	t.Parallel()
	db, cal := market(t)
	const w = " OVER (PARTITION BY symbol ORDER BY ts) "
	for name, text := range map[string]string{
		"lead":                              "SELECT symbol, ts, lead(close)" + w + "/ close - 1 AS feature_value FROM ohlcv",
		"lead of 20":                        "SELECT symbol, ts, lead(close, 20)" + w + "AS feature_value FROM ohlcv",
		"a frame that follows":              "SELECT symbol, ts, avg(close) OVER (PARTITION BY symbol ORDER BY ts ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING) AS feature_value FROM ohlcv",
		"a join to later days":              "SELECT a.symbol, a.ts, b.close / a.close AS feature_value FROM ohlcv a ASOF JOIN ohlcv b ON a.symbol = b.symbol AND a.ts < b.ts",
		"the mean of all":                   "SELECT symbol, ts, close - avg(close) OVER (PARTITION BY symbol) AS feature_value FROM ohlcv",
		"a rank over all":                   "SELECT symbol, ts, percent_rank() OVER (PARTITION BY symbol ORDER BY close) AS feature_value FROM ohlcv",
		"scaled by the last":                "SELECT symbol, ts, close / last_value(close) OVER (PARTITION BY symbol ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS feature_value FROM ohlcv",
		"days to the end":                   "SELECT symbol, ts, CAST((SELECT max(ts) FROM ohlcv) - ts AS DOUBLE) AS feature_value FROM ohlcv",
		"the last day alone":                "SELECT symbol, ts, close AS feature_value FROM ohlcv WHERE ts = (SELECT max(ts) FROM ohlcv)",
		"who survived":                      "SELECT symbol, ts, close AS feature_value FROM ohlcv WHERE symbol IN (SELECT symbol FROM ohlcv GROUP BY symbol HAVING count(*) > 100)",
		"labels":                            "SELECT symbol, ts, label_value AS feature_value FROM labels",
		"labels, when later ones are there": "SELECT o.symbol, o.ts, l.label_value AS feature_value FROM ohlcv o JOIN (SELECT symbol, lead(ts, 5)" + w + "AS ts, label_value FROM labels) l USING (symbol, ts)",
		"labels one day early":              "SELECT o.symbol, o.ts, l.label_value AS feature_value FROM ohlcv o JOIN (SELECT symbol, lead(ts, 4)" + w + "AS ts, label_value FROM labels) l USING (symbol, ts)",
		"one feature of two":                "SELECT symbol, ts, close AS fine, lead(close)" + w + "AS leaks FROM ohlcv",
		"a value of later days":             "SELECT symbol, ts, (max(close) OVER (PARTITION BY symbol ORDER BY ts ROWS BETWEEN 1 FOLLOWING AND 1 FOLLOWING) > close)::INTEGER AS feature_value FROM ohlcv",
	} {
		_, err := compute(t, db, cal, "leak", text)
		if quant.CodeOf(err) != quant.Refused {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, part := range []string{"looks ahead: ", " on 2024-", " with all history, and ", "nothing was stored"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v lacks %q", name, err, part)
			}
		}
	}
	if sets, err := db.FeatureSets(t.Context()); err != nil || len(sets) != 0 {
		t.Errorf("stored all the same: %v %v", sets, err)
	}
}

func TestAQueryThatDoesNotIsStoredWithWhatItRead(t *testing.T) {
	t.Parallel()
	db, cal := market(t)
	for version, text := range map[string]string{
		"windows": "SELECT symbol, ts, 'm' AS feature_name, avg(close) OVER (PARTITION BY symbol ORDER BY ts ROWS 9 PRECEDING) AS feature_value FROM ohlcv UNION ALL SELECT symbol, ts, 'v', volume FROM ohlcv;",
		"across":  "WITH r AS (SELECT symbol, ts, close / lag(close) OVER (PARTITION BY symbol ORDER BY ts) - 1 AS r FROM ohlcv) SELECT symbol, ts, r - avg(r) OVER (PARTITION BY ts) AS excess, rank() OVER (PARTITION BY ts ORDER BY r) AS place FROM r WHERE r IS NOT NULL -- all names of the day",
		"labels":  "SELECT o.symbol, o.ts, l.label_value AS feature_value FROM (SELECT symbol, ts, lag(ts, 5) OVER (PARTITION BY symbol ORDER BY ts) AS five FROM ohlcv) o JOIN labels l ON l.symbol = o.symbol AND l.ts = o.five",
		"whole":   "SELECT symbol, ts, sum(close * volume) OVER (PARTITION BY symbol ORDER BY ts) AS feature_value FROM ohlcv",
	} {
		r, err := compute(t, db, cal, version, text)
		if err != nil {
			t.Errorf("%s: %v", version, err)
			continue
		}
		if r.Inserted == 0 || r.KnownAt != factstore.KnownProved || len(r.Proof.Days) != DefaultProofDays || r.Proof.Compared == 0 || len(r.Reads) == 0 || r.Reads[0].Digest == "" || !strings.HasPrefix(r.Proof.Seed, "sha256:") {
			t.Errorf("%s: %+v", version, r)
		}
		set, err := db.FeatureSet(t.Context(), version)
		if err != nil || set.Kind != factstore.KindSQL || set.KnownAt != factstore.KnownProved || set.RunID != "run-"+version {
			t.Errorf("%s: %v %+v", version, err, set)
		}
		again, err := compute(t, db, cal, version, text)
		if err != nil || again.Inserted+again.Updated+again.Deleted != 0 || again.Unchanged != r.Inserted || !slices.Equal(again.Proof.Days, r.Proof.Days) {
			t.Errorf("%s again: %v %+v", version, err, again)
		}
	}
	if _, err := compute(t, db, cal, "windows", "SELECT symbol, ts, close AS m, volume AS v FROM ohlcv"); quant.CodeOf(err) != quant.Conflict {
		t.Errorf("another query under the same version: %v", err)
	}
	if problems, err := db.Check(t.Context()); err != nil || slices.ContainsFunc(problems, func(p factstore.Problem) bool { return p.Object != factstore.Labels }) {
		t.Error(problems, err)
	}
}

func TestWhatAQueryMayReadAndCall(t *testing.T) {
	t.Parallel()
	db, cal := market(t)
	for text, part := range map[string]string{
		"SELECT symbol, ts, random() AS f FROM ohlcv":                                  "random",
		"SELECT symbol, ts, 1.0 AS f FROM ohlcv USING SAMPLE 10":                       "sample",
		"SELECT symbol, ts, date_diff('day', ts, current_date) AS f FROM ohlcv":        "current_date",
		"SELECT symbol, ts, 1.0 AS f FROM taken.ohlcv":                                 "without a schema",
		"SELECT symbol, ts, 1.0 AS f FROM ledger, ohlcv":                               "reads ledger",
		"SELECT symbol, ts, (SELECT count(*) FROM duckdb_tables()) AS f FROM ohlcv":    "duckdb_tables",
		"SELECT symbol, ts, 1.0 AS f FROM read_csv('/etc/passwd')":                     "read_csv",
		"SELECT 'A' AS symbol, DATE '2024-01-03' AS ts, 1.0 AS f":                      "reads no table",
		"SELECT symbol, ts FROM ohlcv":                                                 "which are features",
		"SELECT symbol, close AS feature_value FROM ohlcv":                             "symbol and ts are not both there",
		"SELECT symbol, ts, close AS \"my feature\" FROM ohlcv":                        "cannot name a feature",
		"SELECT a.symbol, a.ts, b.close AS f FROM ohlcv a JOIN ohlcv b USING (symbol)": "more than once",
		"SELECT symbol, ts + 1 AS ts, close AS f FROM ohlcv":                           "none of features",
		"SELECT 'ZZ' || symbol AS symbol, ts, close AS f FROM ohlcv":                   "no prices in the lab",
		"SELECT symbol, ts, NULL::DOUBLE AS f FROM ohlcv":                              "no value",
		"SELECT symbol, ts, symbol AS f FROM ohlcv":                                    "no number",
		"SELECT symbol, ts, close AS f FROM ohlcv; DROP TABLE ohlcv":                   "",
		"DROP TABLE ohlcv": "",
	} {
		_, err := compute(t, db, cal, "never", text)
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if sets, err := db.FeatureSets(t.Context()); err != nil || len(sets) != 0 {
		t.Errorf("stored all the same: %v %v", sets, err)
	}
}

func TestTheDaysOfAProofFollowFromTheSeedAndCoverAllThirds(t *testing.T) {
	t.Parallel()
	days := make([]quant.Date, 300)
	for i := range days {
		days[i] = quant.Date(1000 + i)
	}
	for n := 3; n < 40; n++ {
		for k := range 20 {
			seed := fmt.Sprint(n, k)
			list := ProofDays(days, n, seed)
			if len(list) != n || !slices.IsSorted(list) || !slices.Equal(list, ProofDays(days, n, seed)) {
				t.Fatalf("%d days: %v", n, list)
			}
			if last := list[len(list)-1]; last != days[len(days)-2] || n >= 8 && (list[0] >= days[100] || !slices.ContainsFunc(list, func(d quant.Date) bool { return d >= days[100] && d < days[200] })) {
				t.Fatalf("%d days: %v", n, list)
			}
		}
	}
	if a, b := ProofDays(days, 8, "a"), ProofDays(days, 8, "b"); slices.Equal(a, b) {
		t.Error("another seed, the same days")
	}
	if list := ProofDays(days[:3], 8, "s"); len(list) != 2 {
		t.Errorf("of two days: %v", list)
	}
	if ProofDays(days[:1], 8, "s") != nil {
		t.Error("one day proves nothing")
	}
}

func FuzzTablesOfNeverPanicsAndNamesOnlyWhatIsOffered(f *testing.F) {
	db, err := factstore.OpenWrite(f.Context(), factstore.Options{Path: filepath.Join(f.TempDir(), "quant.duckdb")})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { db.Close() })
	for _, seed := range []string{"SELECT * FROM ohlcv", "WITH a AS (SELECT 1) SELECT * FROM a, labels", "FROM x.y.z", "SELECT (", "SELECT * FROM 'file.csv'", "PIVOT ohlcv ON symbol USING sum(close)"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tables, err := tablesOf(t.Context(), db, text, func(name string) bool { return name == "ohlcv" || name == "labels" })
		if err == nil && slices.ContainsFunc(tables, func(name string) bool { return name != "ohlcv" && name != "labels" }) {
			t.Errorf("%q reads %v", text, tables)
		}
	})
}

func TestAConditionIsOneOrZero(t *testing.T) {
	t.Parallel()
	db, cal := market(t)
	r, err := compute(t, db, cal, "up", "SELECT symbol, ts, close > lag(close) OVER (PARTITION BY symbol ORDER BY ts) AS up FROM ohlcv")
	if err != nil {
		t.Fatal(err)
	}
	var ones, zeros int64
	if err := db.QueryRow(t.Context(), "SELECT count(*) FILTER (up = 1), count(*) FILTER (up = 0) FROM features_up").Scan(&ones, &zeros); err != nil {
		t.Fatal(err)
	}
	if ones == 0 || zeros == 0 || ones+zeros != r.Features[0].Values {
		t.Errorf("%d ones, %d zeros, %+v", ones, zeros, r)
	}
}
