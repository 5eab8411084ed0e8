package factstore_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"quant"
	"quant/internal/factstore"
)

// The values of each column that are finite have the digest that DuckDB gives these
// rows alone, in whatever parts they are added.
func TestValuesHaveTheDigestThatDuckDBGivesTheirRows(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	rng := rand.New(rand.NewPCG(5, 5))
	var names factstore.Names
	var symbols []int32
	var days []quant.Date
	columns := make([][]float64, 3)
	for k := range 5_003 {
		symbols, days = append(symbols, names.Number(fmt.Sprint("a symbol ", k%37))), append(days, quant.Date(k/37-20))
		for j := range columns {
			columns[j] = append(columns[j], []float64{rng.NormFloat64(), math.NaN(), math.Inf(1), math.Copysign(0, -1), 0}[rng.IntN(5)])
		}
	}
	for k := range columns[2] {
		columns[2][k] = math.NaN()
	}
	relation, release, err := db.Hold(factstore.Column{Name: "symbol", Numbers: symbols, Texts: names.List}, factstore.Column{Name: "ts", Dates: days},
		factstore.Column{Name: "x0", Floats: columns[0]}, factstore.Column{Name: "x1", Floats: columns[1]}, factstore.Column{Name: "x2", Floats: columns[2]})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	var sums factstore.ValueSums
	for from := 0; from < len(days); from += 999 {
		to := min(from+999, len(days))
		sums.Add(&names, symbols[from:to], days[from:to], columns[0][from:to], columns[1][from:to], columns[2][from:to])
	}
	for j, got := range sums.Digests() {
		x := fmt.Sprint("x", j)
		rows, digest, err := db.Digest(t.Context(), "SELECT symbol, ts, "+x+" FROM "+relation+" WHERE isfinite("+x+")")
		if err != nil {
			t.Fatal(err)
		}
		var first, last quant.Text
		if err := db.QueryRow(t.Context(), "SELECT min(ts)::VARCHAR, max(ts)::VARCHAR FROM "+relation+" WHERE isfinite("+x+")").Scan(&first, &last); err != nil {
			t.Fatal(err)
		}
		if want := (factstore.ValueDigest{Rows: rows, Digest: digest, First: first, Last: last}); got != want {
			t.Errorf("%s: %+v, DuckDB has %+v", x, got, want)
		}
	}
}

// Features are read from where they stand, and each of the runs that wrote one of
// them is known; what no run wrote is refused.
func TestFeaturesAreReadWithTheRunsThatWroteThem(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	for i, r := range []string{"r1", "r2", "r3", "r4"} {
		run(t, db, fmt.Sprintf("INSERT INTO ledger VALUES ('%s', 'features_daily', 1, 0, 0, TIMESTAMP '2024-01-0%d')", r, i+1))
	}
	run(t, db, "INSERT INTO features_v1 BY NAME SELECT 'A' AS symbol, DATE '2023-01-02' AS ts, 1.0 AS ret_1d, TIMESTAMP '2024-01-02' AS computed_at")
	run(t, db, "INSERT INTO features_v1 BY NAME SELECT 'B' AS symbol, DATE '2023-01-03' AS ts, 2.0 AS ret_5d, TIMESTAMP '2024-01-01' AS computed_at")
	check := func(where string, want []string, of ...string) {
		t.Helper()
		runs, err := db.FeatureWriters(t.Context(), []factstore.VersionFeatures{{Version: "v1", Names: of}}, where)
		if err != nil || !slices.Equal(runs, want) {
			t.Errorf("%v where %s: %v, not %v (%v)", of, where, runs, want, err)
		}
	}
	rows := func(want int64, of ...string) {
		t.Helper()
		relation, err := db.FeatureRelation(t.Context(), "v1", of...)
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range []string{relation, factstore.FeatureRelation("v1", of...)} {
			if got := number(t, db, "SELECT count(*) FROM "+from); got != want {
				t.Errorf("%v: %d rows, not %d, of %s", of, got, want, from)
			}
		}
	}
	check("true", []string{"r1", "r2"}, "ret_1d", "ret_5d")
	check("true", []string{"r2"}, "ret_1d")
	check("ts > DATE '2023-01-02'", []string{"r1"}, "ret_1d", "ret_5d")
	check("true", nil, "hl_range", "mine")
	rows(2, "ret_1d", "ret_5d")
	rows(1, "ret_5d")
	rows(0, "mine")
	run(t, db, "INSERT INTO features_other VALUES ('C', DATE '2023-01-02', 'ret_5d', 3, 'v1', TIMESTAMP '2024-01-04'), ('C', DATE '2023-01-02', 'mine', 3, 'v1', TIMESTAMP '2024-01-03'), ('C', DATE '2023-01-02', 'ret_1d', 'inf', 'v1', NULL)")
	check("true", []string{"r1", "r4"}, "ret_5d")
	check("true", []string{"r2", "r3"}, "ret_1d", "mine")
	rows(2, "ret_5d")
	rows(2, "ret_1d", "mine")
	for _, stamp := range []string{"NULL", "TIMESTAMP '2024-02-01'"} {
		run(t, db, "INSERT INTO features_other VALUES ('D', DATE '2023-02-02', 'ret_5d', 3, 'v1', "+stamp+")")
		if runs, err := db.FeatureWriters(t.Context(), []factstore.VersionFeatures{{Version: "v1", Names: []string{"ret_5d"}}}, "true"); quant.CodeOf(err) != quant.Refused {
			t.Errorf("%s: %v, %v", stamp, runs, err)
		}
		check("ts < DATE '2023-02-02'", []string{"r1", "r4"}, "ret_5d")
		run(t, db, "DELETE FROM features_other WHERE symbol = 'D'")
	}
	// Of few stamps each is asked for its first value, of many all values are read.
	want := []string{"r1"}
	for k := range 12 {
		runID, stamp := fmt.Sprintf("s%02d", k), fmt.Sprintf("TIMESTAMP '2024-03-%02d'", k+1)
		run(t, db, "INSERT INTO ledger VALUES ('"+runID+"', 'features_daily', 1, 0, 0, "+stamp+")")
		run(t, db, "INSERT INTO features_v1 BY NAME SELECT 'E' AS symbol, DATE '2023-01-02' + "+fmt.Sprint(k)+" AS ts, "+[]string{"2.0", "NULL", "'inf'::DOUBLE"}[k%3]+" AS ret_5d, 1.0 AS hl_range, "+stamp+" AS computed_at")
		if k%3 == 0 {
			want = append(want, runID)
		}
		check("symbol <> 'C'", want, "ret_5d")
	}
	check("ts = DATE '2023-01-03' AND symbol = 'E'", []string{"s01"}, "hl_range", "ret_5d")
	run(t, db, "INSERT INTO features_v1 BY NAME SELECT 'F' AS symbol, DATE '2023-06-01' AS ts, 2.0 AS ret_5d")
	if runs, err := db.FeatureWriters(t.Context(), []factstore.VersionFeatures{{Version: "v1", Names: []string{"ret_5d"}}}, "ts > DATE '2023-05-31'"); quant.CodeOf(err) != quant.Refused {
		t.Errorf("a row without a stamp: %v, %v", runs, err)
	}
}
