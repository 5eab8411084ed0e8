package factstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/lab/place"
)

const barsOutput = "bars"

// bars are rows of ohlcv of a symbol, with values that a text form would not keep.
func bars(symbol string, n int) []factstore.Column {
	days, volumes, closes := make([]quant.Date, n), make([]float64, n), make([]float64, n)
	for i := range n {
		days[i], volumes[i], closes[i] = quant.Date(18000+i), float64(i)+0.1, math.Nextafter(2, float64(3-i%3))
	}
	same := func(v float64) []float64 { return slices.Repeat([]float64{v}, n) }
	return []factstore.Column{
		{Name: "symbol", Texts: []string{symbol}, Numbers: make([]int32, n)}, {Name: "ts", Dates: days}, {Name: "open", Floats: same(2)}, {Name: "high", Floats: same(3)},
		{Name: "low", Floats: same(1)}, {Name: "close", Floats: closes}, {Name: "volume", Floats: volumes}, {Name: "adjusted_close", Floats: same(math.NaN())},
		{Name: "source", Texts: []string{"test"}, Numbers: make([]int32, n)},
	}
}

// stageUnit stages bars of a symbol from a reader of its own, as a process does.
func stageUnit(t *testing.T, o factstore.Options, run, symbol string, n int) factstore.Unit {
	t.Helper()
	db, err := factstore.OpenRead(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	w, err := db.StageOutputs(t.Context(), run, "of "+symbol)
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := w.WriteColumns(t.Context(), barsOutput, bars(symbol, n)...); err != nil || rows != int64(n) {
		t.Fatalf("%d rows were staged: %v", rows, err)
	}
	digest, err := w.Seal(t.Context(), map[string]string{"symbol": symbol})
	if err != nil {
		t.Fatal(err)
	}
	return factstore.Unit{RunID: run, Digest: digest}
}

// allSucceeded says of each run that it ended SUCCESS.
func allSucceeded(_ context.Context, ids []string) (map[string]bool, error) {
	ended := map[string]bool{}
	for _, id := range ids {
		ended[id] = true
	}
	return ended, nil
}

// mergeStagedBars stores what units staged.
func mergeStagedBars(ctx context.Context, txs []*factstore.Tx, outputs []*factstore.Outputs) error {
	relation := factstore.OutputsRelation(outputs, barsOutput)
	if _, err := txs[0].Stage(ctx, "CREATE OR REPLACE TEMP VIEW staged_bars AS SELECT *, NULL::TIMESTAMP AS ingested_at FROM "+relation); err != nil {
		return err
	}
	_, err := txs[0].Merge(ctx, factstore.Merge{Table: factstore.OHLCV, Source: "staged_bars"})
	return err
}

func digestOfBars(t *testing.T, db *factstore.DB) string {
	t.Helper()
	var digest string
	err := db.Digests(t.Context(), "SELECT '', true, hash(symbol, ts, open, high, low, close, volume, adjusted_close, source) FROM ohlcv", nil, func(_ string, _ bool, d string) { digest = d })
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func outputFolders(t *testing.T, db *factstore.DB) []string {
	t.Helper()
	dir, err := db.OutputsDir()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestStagedOutputsAreTakenInWithTheDigestsOfOneProcess(t *testing.T) {
	t.Parallel()
	direct := openWrite(t, newPath(t))
	if _, err := direct.Write(t.Context(), "parent", func(ctx context.Context, tx *factstore.Tx) error {
		for _, symbol := range []string{"A", "B", "C"} {
			relation, release, err := direct.Hold(bars(symbol, 300)...)
			if err != nil {
				return err
			}
			defer release()
			if _, err := tx.Insert(ctx, factstore.OHLCV, "SELECT *, CAST(? AS TIMESTAMP) FROM "+relation, tx.Now); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := digestOfBars(t, direct)

	// In whatever order the units end.
	for _, order := range [][]string{{"A", "B", "C"}, {"C", "A", "B"}} {
		path := newPath(t)
		closeDB(t, openWrite(t, path))
		at := map[string]factstore.Unit{}
		for _, symbol := range order {
			at[symbol] = stageUnit(t, options(path), "run-"+strings.ToLower(symbol), symbol, 300)
		}
		db := openWrite(t, path)
		units := []factstore.Unit{at["A"], at["B"], at["C"]}
		rows, err := db.TakeIn(t.Context(), opened(t, db, units...), allSucceeded, []string{"parent"}, func(ctx context.Context, txs []*factstore.Tx, outputs []*factstore.Outputs) error {
			var note map[string]string
			if err := json.Unmarshal(outputs[2].Note, &note); err != nil || note["symbol"] != "C" || outputs[2].Fingerprint != "of C" {
				t.Errorf("the third unit is %s %s: %v", outputs[2].Fingerprint, outputs[2].Note, err)
			}
			return mergeStagedBars(ctx, txs, outputs)
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) != 1 || rows[0].RunID != "parent" || rows[0].Inserted != 900 {
			t.Errorf("ledger %+v", rows)
		}
		if got := digestOfBars(t, db); got != want {
			t.Errorf("units that ended in the order %v: digest %s, of one process %s", order, got, want)
		}
		var symbols string
		if os.Getenv(lakeEnv) != "" { // whose files keep no order of their own
			symbols = "ABC"
		} else if err := db.QueryRow(t.Context(), "SELECT string_agg(symbol, '' ORDER BY rowid) FROM (SELECT symbol, min(rowid) AS rowid FROM ohlcv GROUP BY ALL)").Scan(&symbols); err != nil {
			t.Fatal(err)
		}
		if symbols != "ABC" {
			t.Errorf("stored in the order %s", symbols)
		}
		if left := outputFolders(t, db); left != nil {
			t.Errorf("outputs that were taken in are still there: %v", left)
		}
		if _, err := db.OpenOutputs(t.Context(), "run-a", at["A"].Digest); quant.CodeOf(err) != quant.NotFound {
			t.Errorf("outputs that were taken in: %v", err)
		}
	}
}

func TestOutputsThatAreNotWholeAreRefused(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	first := openWrite(t, path)
	mustWriteBars(t, first, "run-1", "Z", 10)
	closeDB(t, first)
	good := stageUnit(t, options(path), "run-good", "A", 50)
	bad := stageUnit(t, options(path), "run-bad", "B", 50)
	db := openWrite(t, path)
	dir, err := db.OutputsDir()
	if err != nil {
		t.Fatal(err)
	}
	take := func(succeeded func(context.Context, []string) (map[string]bool, error), units ...factstore.Unit) error {
		var outputs []*factstore.Outputs
		for _, u := range units {
			o, err := db.OpenOutputs(t.Context(), u.RunID, u.Digest)
			if err != nil {
				return err
			}
			outputs = append(outputs, o)
		}
		_, err := db.TakeIn(t.Context(), outputs, succeeded, []string{"parent"}, mergeStagedBars)
		return err
	}
	unchanged := func() {
		t.Helper()
		if n := number(t, db, "SELECT count(*) FROM ohlcv"); n != 10 {
			t.Errorf("%d bars are stored", n)
		}
		if n := number(t, db, "SELECT count(*) FROM ledger WHERE run_id = 'parent'"); n != 0 {
			t.Errorf("%d ledger rows of a closing merge that was refused", n)
		}
		if left := outputFolders(t, db); !slices.Contains(left, "run-good") || !slices.Contains(left, "run-bad") {
			t.Errorf("outputs were removed: %v", left)
		}
	}

	err = take(func(context.Context, []string) (map[string]bool, error) {
		return map[string]bool{"run-good": true}, nil
	}, good, bad)
	wantCode(t, err, quant.Conflict, "run-bad", "did not end SUCCESS")
	unchanged()

	wantCode(t, take(allSucceeded, good, factstore.Unit{RunID: "run-bad", Digest: good.Digest}), quant.Store, "manifest.json has another digest")
	unchanged()

	file := filepath.Join(dir, "run-bad", barsOutput+".parquet")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	change := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flipped := slices.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	change(flipped)
	wantCode(t, take(allSucceeded, good, bad), quant.Store, "bars.parquet has another digest")
	unchanged()
	change(whole[:len(whole)-1])
	wantCode(t, take(allSucceeded, good, bad), quant.Store, "bars.parquet is missing, or of another size")
	unchanged()
	change(whole)

	// A unit that failed between its files and the manifest has staged nothing.
	manifest := filepath.Join(dir, "run-bad", "manifest.json")
	doc, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(manifest); err != nil {
		t.Fatal(err)
	}
	wantCode(t, take(allSucceeded, good, bad), quant.NotFound, "no staged outputs")
	unchanged()

	// A manifest may name no file elsewhere, whatever its digest.
	escaped := []byte(strings.Replace(string(doc), `"name":"bars"`, `"name":"../run-good/bars"`, 1))
	if err := os.WriteFile(manifest, escaped, 0o600); err != nil {
		t.Fatal(err)
	}
	wantCode(t, take(allSucceeded, good, factstore.Unit{RunID: "run-bad", Digest: durable.Digest(escaped)}), quant.Store, "is no name")
	unchanged()
	if err := os.WriteFile(manifest, doc, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := take(allSucceeded, good, bad); err != nil {
		t.Fatal(err)
	}
	if n := number(t, db, "SELECT count(*) FROM ohlcv"); n != 110 {
		t.Errorf("%d bars", n)
	}
}

// opened are the outputs of units that all have some.
func opened(t *testing.T, db *factstore.DB, units ...factstore.Unit) []*factstore.Outputs {
	t.Helper()
	outputs, err := db.OpenStanding(t.Context(), units)
	if err != nil || len(outputs) != len(units) {
		t.Fatalf("outputs of %d units of %d: %v", len(outputs), len(units), err)
	}
	return outputs
}

func TestOutputsThatWereTakenInAreLeftOut(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	closeDB(t, openWrite(t, path))
	gone, stands := stageUnit(t, options(path), "run-1", "A", 5), stageUnit(t, options(path), "run-2", "B", 5)
	db := openWrite(t, path)
	if _, err := db.TakeIn(t.Context(), opened(t, db, gone), allSucceeded, []string{"parent"}, mergeStagedBars); err != nil {
		t.Fatal(err)
	}
	outputs, err := db.OpenStanding(t.Context(), []factstore.Unit{gone, stands})
	if err != nil || len(outputs) != 1 || outputs[0].RunID != "run-2" {
		t.Errorf("%v: %v", outputs, err)
	}
	if _, err := db.OpenStanding(t.Context(), []factstore.Unit{gone, {RunID: "run-2", Digest: gone.Digest}}); quant.CodeOf(err) != quant.Store {
		t.Error(err)
	}
}

func TestAFailedClosingMergeLeavesTheOutputsAndNothingElse(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	closeDB(t, openWrite(t, path))
	unit := stageUnit(t, options(path), "run-1", "A", 50)
	db := openWrite(t, path)
	boom := errors.New("boom")
	_, err := db.TakeIn(t.Context(), opened(t, db, unit), allSucceeded, []string{"parent"}, func(ctx context.Context, txs []*factstore.Tx, outputs []*factstore.Outputs) error {
		if err := mergeStagedBars(ctx, txs, outputs); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if n := number(t, db, "SELECT count(*) FROM ohlcv"); n != 0 {
		t.Errorf("%d bars", n)
	}
	for again := range 2 { // as after a process that died before it had removed them
		if again == 1 {
			unit = stageUnit(t, func() factstore.Options { closeDB(t, db); return options(path) }(), "run-1", "A", 50)
			db = openWrite(t, path)
		}
		if _, err := db.TakeIn(t.Context(), opened(t, db, unit), allSucceeded, []string{"parent"}, mergeStagedBars); err != nil {
			t.Fatal(err)
		}
		if n, ledger := number(t, db, "SELECT count(*) FROM ohlcv"), number(t, db, "SELECT count(*) FROM ledger"); n != 50 || ledger != 1 {
			t.Errorf("%d bars, %d ledger rows", n, ledger)
		}
	}
}

func TestStagedRowsAreStoredForTheRunsThatTheyName(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	closeDB(t, openWrite(t, path))
	reader, err := factstore.OpenRead(t.Context(), options(path))
	if err != nil {
		t.Fatal(err)
	}
	w, err := reader.StageOutputs(t.Context(), "unit-1", "")
	if err != nil {
		t.Fatal(err)
	}
	rows := bars("A", 7)
	rows = append(rows, factstore.Column{Name: factstore.OutputsOf, Texts: []string{"first", "second"}, Numbers: []int32{0, 1, 0, 1, 1, 1, 0}})
	if _, err := w.WriteColumns(t.Context(), factstore.OHLCV, rows...); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteColumns(t.Context(), factstore.OHLCV, rows...); quant.CodeOf(err) != quant.Invalid {
		t.Errorf("the same name again: %v", err)
	}
	digest, err := w.Seal(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.StageOutputs(t.Context(), "unit-1", ""); quant.CodeOf(err) != quant.Conflict {
		t.Errorf("the same unit again: %v", err)
	}
	closeDB(t, reader)
	db := openWrite(t, path)
	store := func(ctx context.Context, txs []*factstore.Tx, outputs []*factstore.Outputs) error {
		return factstore.InsertOutputs(ctx, db, txs, []string{"first", "second", "third"}[:len(txs)], factstore.OHLCV, outputs)
	}
	units := []factstore.Unit{{RunID: "unit-1", Digest: digest}}
	if found, err := db.FindOutputs(t.Context(), []string{"other", ""}); err != nil || !slices.Equal(found[""], []string{"unit-1"}) {
		t.Errorf("found %v: %v", found, err)
	}
	ledger, err := db.TakeIn(t.Context(), opened(t, db, units...), allSucceeded, []string{"trial-1", "trial-2", "trial-3"}, store)
	if err != nil {
		t.Fatal(err)
	}
	if len(ledger) != 2 || ledger[0].RunID != "trial-1" || ledger[0].Inserted != 3 || ledger[1].RunID != "trial-2" || ledger[1].Inserted != 4 {
		t.Errorf("ledger %+v", ledger)
	}
	if n := number(t, db, "SELECT count(*) FROM ohlcv o JOIN ledger l ON o.ingested_at = l.committed_at AND l.run_id = 'trial-2'"); n != 4 {
		t.Errorf("%d rows lead back to the second run", n)
	}
}

func TestOutputsOfAFileLieBesideIt(t *testing.T) {
	t.Parallel()
	if os.Getenv(lakeEnv) != "" {
		t.Skip("a lake keeps staged outputs in its data path")
	}
	path := newPath(t)
	db := openWrite(t, path)
	dir, err := db.OutputsDir()
	if err != nil || dir != (place.Place{FactPath: path}).OutputsDir() {
		t.Errorf("%s, and the lab looks in %s: %v", dir, place.Place{FactPath: path}.OutputsDir(), err)
	}
}
