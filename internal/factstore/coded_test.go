package factstore_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/factstore"
)

// targetRows are the rows of decisions of a strategy on n days for each of three symbols.
func targetRows(strategy string, n int) []factstore.Column {
	symbols := []string{"A", "삼성", "it's"}
	rows := 3 * n
	same := func(name, text string, number int32) factstore.Column {
		return factstore.Column{Name: name, Texts: []string{text}, Numbers: slices.Repeat([]int32{number}, rows)}
	}
	asof, symbol, weight := make([]quant.Date, rows), make([]int32, rows), make([]float64, rows)
	flags, reasons := make([]int32, rows), make([]string, rows)
	for i := range rows {
		asof[i], symbol[i], weight[i] = quant.Date(18000+i/3), int32(i%3), float64(i)/7
		flags[i], reasons[i] = int32(i%3)-1, fmt.Sprintf("%s %d", strategy, i)
	}
	return []factstore.Column{
		same("strategy_id", strategy, 0), same("version", "", -1), {Name: "asof", Dates: asof}, {Name: "symbol", Texts: symbols, Numbers: symbol},
		{Name: "weight", Floats: weight}, {Name: "score", Floats: weight}, {Name: "approved", Booleans: make([]bool, rows)},
		{Name: "risk_flags", Texts: []string{"[]", `["R4"]`}, Numbers: flags}, {Name: "reason", Texts: reasons},
	}
}

// storeTargets stores them for runs of these names, in one transaction.
func storeTargets(t *testing.T, db *factstore.DB, n int, strategies ...string) {
	t.Helper()
	_, err := db.WriteAll(t.Context(), strategies, func(ctx context.Context, txs []*factstore.Tx) error {
		var rows [][]factstore.Column
		for _, s := range strategies {
			rows = append(rows, targetRows(s, n))
		}
		return factstore.InsertColumns(ctx, db, txs, factstore.Targets, rows)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// plainly is SQL of the rows that targetRows has, with the stamps of the ledger.
func plainly(n int, strategies ...string) string {
	return fmt.Sprintf(`(SELECT s AS strategy_id, NULL::TEXT AS version, DATE '2019-04-14' + (i // 3)::INTEGER AS "asof", ['A', '삼성', 'it''s'][i %% 3 + 1] AS symbol, i / 7 AS weight, i / 7 AS score,
		false AS approved, [NULL, '[]', '["R4"]'][i %% 3 + 1] AS risk_flags, s || ' ' || i AS reason, committed_at AS generated_at
		FROM range(%d) r(i), ledger l, unnest(['%s']) u(s) WHERE l.table_name = 'targets' AND l.run_id = s)`, 3*n, strings.Join(strategies, "', '"))
}

func wantTargets(t *testing.T, db *factstore.DB, want string) {
	t.Helper()
	for _, q := range []string{"FROM targets EXCEPT ALL FROM " + want, "FROM " + want + " EXCEPT ALL FROM targets"} {
		if n := number(t, db, "SELECT count(*) FROM ("+q+")"); n != 0 {
			t.Errorf("%d rows: %s", n, q)
		}
	}
}

func TestRowsInCodesReadAsTheyWere(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	db := openWrite(t, path)
	storeTargets(t, db, 50, "one", "two")
	storeTargets(t, db, 50, "three")
	wantTargets(t, db, plainly(50, "one", "two", "three"))
	wantSound(t, db)
	for query, want := range map[string]int64{
		"SELECT count(*) FROM targets_coded": 450, "SELECT count(*) FROM targets_other": 0, "SELECT count(*) FROM coded_parts": 3,
		"SELECT count(*) FROM coded_texts":                      6, // three symbols, two texts of flags, NULL
		"SELECT count(*) FROM targets WHERE risk_flags IS NULL": 150, "SELECT count(*) FROM targets WHERE strategy_id = 'two' AND symbol = '삼성'": 50,
		"SELECT rows_inserted FROM ledger WHERE run_id = 'two'": 150,
	} {
		if got := number(t, db, query); got != want {
			t.Errorf("%d, not %d: %s", got, want, query)
		}
	}
	counts, err := db.Tables(t.Context())
	if err != nil || !slices.Contains(counts, factstore.TableCount{Table: factstore.Targets, Rows: 450}) || slices.ContainsFunc(counts, func(c factstore.TableCount) bool { return strings.Contains(c.Table, "coded") }) {
		t.Errorf("%v: %v", counts, err)
	}
	// Another process finds the codes and goes on with them.
	closeDB(t, db)
	db = openWrite(t, path)
	storeTargets(t, db, 50, "four")
	wantTargets(t, db, plainly(50, "one", "two", "three", "four"))
	if n := number(t, db, "SELECT count(*) FROM coded_texts"); n != 6 {
		t.Errorf("%d texts", n)
	}
	wantSound(t, db)
}

func TestRowsOfARunMustHaveWhatIsTheSameInThem(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	_, err := db.WriteAll(t.Context(), []string{"r"}, func(ctx context.Context, txs []*factstore.Tx) error {
		rows := targetRows("one", 2)
		rows[0].Texts, rows[0].Numbers[3] = []string{"one", "two"}, 1
		return factstore.InsertColumns(ctx, db, txs, factstore.Targets, [][]factstore.Column{rows})
	})
	if err == nil || !strings.Contains(err.Error(), "strategy_id is not the same") {
		t.Error(err)
	}
}

// Rows in codes are deleted, updated and merged as rows of a table are.
func TestRowsInCodesCanBeChanged(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(ctx context.Context, db *factstore.DB, tx *factstore.Tx) error{
		"delete": func(ctx context.Context, _ *factstore.DB, tx *factstore.Tx) error {
			n, err := tx.Delete(ctx, factstore.Targets, `strategy_id = ? AND "asof" BETWEEN DATE '2019-04-20' AND DATE '2019-04-22' AND symbol <> ?`, "two", "삼성")
			if n != 6 {
				err = fmt.Errorf("%d rows deleted: %w", n, err)
			}
			return err
		},
		"update": func(ctx context.Context, _ *factstore.DB, tx *factstore.Tx) error {
			_, err := tx.Update(ctx, factstore.Targets, `weight = 9, symbol = 'new ' || symbol WHERE strategy_id = 'one' AND "asof" < DATE '2019-04-20'`)
			return err
		},
		"insert": func(ctx context.Context, _ *factstore.DB, tx *factstore.Tx) error {
			_, err := tx.Insert(ctx, factstore.Targets, `VALUES ('four', 'v', DATE '2020-01-01', 'B', 1, 1, true, '[]', '', CAST(? AS TIMESTAMP))`, tx.Now)
			return err
		},
		"merge": func(ctx context.Context, db *factstore.DB, tx *factstore.Tx) error {
			if _, err := tx.Stage(ctx, `CREATE TEMP TABLE staged_targets AS SELECT * EXCLUDE (generated_at) REPLACE (CASE WHEN symbol = 'A' THEN weight + 1 ELSE weight END AS weight) FROM targets WHERE strategy_id = 'two' AND day("asof") < 20
				UNION ALL SELECT 'two', NULL, DATE '2031-01-01', 'A', 1, 1, true, '[]', ''`); err != nil {
				return err
			}
			d, err := tx.Merge(ctx, factstore.Merge{Table: factstore.Targets, Source: "staged_targets"})
			if err == nil && (d.Inserted != 1 || d.Updated == 0 || d.Unchanged != 2*d.Updated) {
				err = fmt.Errorf("merged %+v", d)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var rows [2]int64
			var digests [2]string
			var ledgers [2][]factstore.LedgerRow
			for i := range 2 {
				db := openWrite(t, newPath(t))
				storeTargets(t, db, 50, "one", "two", "three")
				if i == 1 { // the same rows, none of them in codes
					run(t, db, "INSERT INTO targets_other FROM targets")
					run(t, db, "DELETE FROM targets_coded")
				}
				var err error
				if ledgers[i], err = db.Write(t.Context(), "later", func(ctx context.Context, tx *factstore.Tx) error { return change(ctx, db, tx) }); err != nil {
					t.Fatal(err)
				}
				wantSound(t, db)
				if rows[i], digests[i], err = db.Digest(t.Context(), "SELECT * EXCLUDE (generated_at), (SELECT run_id FROM ledger WHERE committed_at = generated_at) FROM targets"); err != nil {
					t.Fatal(err)
				}
				if n := number(t, db, "SELECT count(*) FROM targets_coded WHERE part = (SELECT part FROM coded_parts WHERE strategy_id = 'three')"); i == 0 && n != 150 && name != "update" {
					t.Errorf("of other rows %d are left in codes", n)
				}
			}
			for i := range 2 {
				for k := range ledgers[i] {
					ledgers[i][k].CommittedAt = quant.Time{}
				}
			}
			if rows[0] != rows[1] || digests[0] != digests[1] || !slices.Equal(ledgers[0], ledgers[1]) {
				t.Errorf("%d rows, %s, %+v; of a table %d, %s, %+v", rows[0], digests[0], ledgers[0], rows[1], digests[1], ledgers[1])
			}
		})
	}
}

// A file as schema 5 left it.
func TestTablesOfAnOlderSchemaBecomeViewsAndKeepTheirRows(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	db := openWrite(t, path)
	run(t, db, "INSERT INTO ledger VALUES ('one', 'targets', 1, 0, 0, TIMESTAMP '2024-01-01'), ('b', 'backtest_trades', 1, 0, 0, TIMESTAMP '2024-01-02')")
	run(t, db, "INSERT INTO targets_other FROM "+plainly(50, "one"))
	run(t, db, "INSERT INTO backtest_trades_other (run_id, symbol, qty) VALUES ('b', 'A', 3)")
	for _, table := range []string{"predictions", "targets", "proposals", "backtest_trades", "backtest_positions"} {
		for _, q := range []string{"DROP VIEW " + table, "DROP TABLE " + table + "_coded", "ALTER TABLE " + table + "_other RENAME TO " + table} {
			run(t, db, q)
		}
	}
	for _, q := range []string{"DROP TABLE coded_parts", "DROP TABLE coded_texts", "INSERT INTO schema_version VALUES (5, now()::TIMESTAMP)", "DELETE FROM schema_version WHERE version > 5"} {
		run(t, db, q)
	}
	closeDB(t, db)
	db = openWrite(t, path)
	if !db.Upgraded() {
		t.Fatal("it was not brought up to date")
	}
	wantTargets(t, db, plainly(50, "one"))
	if n := number(t, db, "SELECT sum(qty)::BIGINT FROM backtest_trades WHERE run_id = 'b' AND symbol = 'A'"); n != 3 {
		t.Errorf("trades of %d", n)
	}
	storeTargets(t, db, 50, "two")
	wantTargets(t, db, plainly(50, "one", "two"))
	wantSound(t, db)
}

// A file as schema 6 left it: predictions were a table, and parts named no model.
func TestPredictionsOfAnOlderSchemaKeepTheirRowsBesideThoseInCodes(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	db := openWrite(t, path)
	run(t, db, "INSERT INTO ledger VALUES ('old', 'predictions', 2, 0, 0, TIMESTAMP '2024-01-01')")
	storeTargets(t, db, 50, "one")
	run(t, db, "INSERT INTO predictions_other VALUES ('A', DATE '2020-01-01', 'm', 'wf:1', 1, NULL, TIMESTAMP '2024-01-01'), ('A', DATE '2020-01-02', 'm', 'wf:1', 2, 2, TIMESTAMP '2024-01-01')")
	before := predictionsDigest(t, db)
	for _, q := range []string{"DROP VIEW predictions", "DROP TABLE predictions_coded", "ALTER TABLE predictions_other RENAME TO predictions", "ALTER TABLE coded_parts DROP COLUMN model_id", "ALTER TABLE coded_parts DROP COLUMN equal_scores",
		"INSERT INTO schema_version VALUES (6, now()::TIMESTAMP)", "DELETE FROM schema_version WHERE version > 6"} {
		run(t, db, q)
	}
	closeDB(t, db)
	db = openWrite(t, path)
	if !db.Upgraded() {
		t.Fatal("it was not brought up to date")
	}
	if after := predictionsDigest(t, db); after != before {
		t.Errorf("%s, before %s", after, before)
	}
	wantTargets(t, db, plainly(50, "one"))
	storePredictions(t, db, "new", "n", 10, false)
	if n := number(t, db, "SELECT count(*) FROM predictions"); n != 32 {
		t.Errorf("%d predictions", n)
	}
	storeTargets(t, db, 50, "two")
	wantTargets(t, db, plainly(50, "one", "two"))
	wantSound(t, db)
}

// predictionRows are the scores of a model on n days for each of three symbols; odds: what
// they are calibrated to is another number.
func predictionRows(model string, n int, odds bool) []factstore.Column {
	rows := 3 * n
	day, symbol, task, score := make([]quant.Date, rows), make([]int32, rows), make([]int32, rows), make([]float64, rows)
	calibrated := score
	if odds {
		calibrated = make([]float64, rows)
	}
	for i := range rows {
		day[i], symbol[i], task[i], score[i] = quant.Date(18000+i/3), int32(i%3), int32(i/3%2), math.Sqrt(float64(i))
		if odds {
			calibrated[i] = 1 / (1 + score[i])
		}
	}
	if odds {
		calibrated[1] = math.NaN() // NULL
	}
	return []factstore.Column{
		{Name: "symbol", Texts: []string{"A", "삼성", "it's"}, Numbers: symbol}, {Name: "ts", Dates: day},
		{Name: "model_id", Texts: []string{model}, Numbers: make([]int32, rows)}, {Name: "task_id", Texts: []string{"wf:1", "final"}, Numbers: task},
		{Name: "score", Floats: score}, {Name: "calibrated_score", Floats: calibrated},
	}
}

func storePredictions(t *testing.T, db *factstore.DB, runID, model string, n int, odds bool) {
	t.Helper()
	if _, err := db.Write(t.Context(), runID, func(ctx context.Context, tx *factstore.Tx) error {
		return factstore.InsertColumns(ctx, db, []*factstore.Tx{tx}, factstore.Predictions, [][]factstore.Column{predictionRows(model, n, odds)})
	}); err != nil {
		t.Fatal(err)
	}
}

func predictionsDigest(t *testing.T, db *factstore.DB) string {
	t.Helper()
	_, digest, err := db.Digest(t.Context(), "SELECT * EXCLUDE (generated_at), (SELECT run_id FROM ledger WHERE committed_at = generated_at) FROM predictions")
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// Calibrated scores that are the scores are stored once; others, and those that are
// NULL, stay what they are. Predictions are deleted and merged over as rows of a table.
func TestPredictionsInCodesReadAndChangeAsRowsOfATable(t *testing.T) {
	t.Parallel()
	var digests [2]string
	for i := range 2 {
		db := openWrite(t, newPath(t))
		storePredictions(t, db, "r1", "ridge", 50, false)
		storePredictions(t, db, "r2", "logistic", 50, true)
		for query, want := range map[string]int64{
			"SELECT count(*) FROM predictions WHERE model_id = 'ridge' AND calibrated_score = score":                               150,
			"SELECT count(*) FROM predictions WHERE model_id = 'logistic' AND calibrated_score IS NULL":                            1,
			"SELECT count(*) FROM predictions WHERE model_id = 'logistic' AND calibrated_score = 1 / (1 + score)":                  149,
			"SELECT count(*) FROM predictions WHERE task_id = 'final' AND symbol = '삼성' AND model_id = 'ridge'":                    25,
			"SELECT count(*) FROM predictions p JOIN ledger l ON l.committed_at = p.generated_at AND l.table_name = 'predictions'": 300,
			"SELECT count(*) FROM predictions_coded WHERE calibrated_score IS NOT NULL":                                            149,
			"SELECT count(*) FROM coded_parts WHERE model_id = 'ridge' AND equal_scores":                                           1,
		} {
			if got := number(t, db, query); got != want {
				t.Errorf("%d, not %d: %s", got, want, query)
			}
		}
		wantSound(t, db)
		if i == 1 { // the same rows, none of them in codes
			run(t, db, "INSERT INTO predictions_other FROM predictions")
			run(t, db, "DELETE FROM predictions_coded")
		}
		if _, err := db.Write(t.Context(), "later", func(ctx context.Context, tx *factstore.Tx) error {
			if n, err := tx.Delete(ctx, factstore.Predictions, "model_id = 'logistic' AND ts > DATE '2019-05-01'"); err != nil || n != 96 {
				return fmt.Errorf("%d rows deleted: %w", n, err)
			}
			if _, err := tx.Stage(ctx, `CREATE TEMP TABLE staged AS SELECT * EXCLUDE (generated_at) REPLACE (CASE WHEN symbol = 'A' THEN score + 1 ELSE score END AS score) FROM predictions WHERE model_id = 'ridge' AND day(ts) < 20
				UNION ALL SELECT 'A', DATE '2031-01-01', 'ridge', 'final', 1, 1`); err != nil {
				return err
			}
			d, err := tx.Merge(ctx, factstore.Merge{Table: factstore.Predictions, Source: "staged"})
			if err == nil && (d.Inserted != 1 || d.Updated == 0 || d.Unchanged != 2*d.Updated) {
				err = fmt.Errorf("merged %+v", d)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		wantSound(t, db)
		digests[i] = predictionsDigest(t, db)
		if n := number(t, db, "SELECT count(*) FROM predictions_coded"); i == 0 && (n == 0 || n >= 204) {
			t.Errorf("%d rows are left in codes", n)
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("%s; of a table %s", digests[0], digests[1])
	}
}

// On a lake the same rows stand in a table.
func TestPredictionsOnALakeAreThoseOfAFile(t *testing.T) {
	t.Parallel()
	file, other := openWrite(t, newPath(t)), openLake(t, lake(t))
	var digests [2]string
	for i, db := range []*factstore.DB{file, other} {
		if err := db.Unordered(t.Context(), func() error {
			storePredictions(t, db, "r1", "ridge", 50, false)
			storePredictions(t, db, "r2", "logistic", 50, true)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		digests[i] = predictionsDigest(t, db)
	}
	if digests[0] != digests[1] {
		t.Errorf("%s; on a lake %s", digests[0], digests[1])
	}
}

// What units stage in codes of their own is stored in those of the file.
func TestStagedCodesBecomeThoseOfTheFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	db := openWrite(t, path)
	storeTargets(t, db, 1, "before")
	closeDB(t, db)
	reader, err := factstore.OpenRead(t.Context(), options(path))
	if err != nil {
		t.Fatal(err)
	}
	var units []factstore.Unit
	for _, u := range [][]string{{"two", "left"}, {"one"}} {
		w, err := reader.StageOutputs(t.Context(), "unit-"+u[0], u[0])
		if err != nil {
			t.Fatal(err)
		}
		var runs [][]factstore.Column
		for _, s := range u {
			rows := targetRows(s, 50)
			slices.Reverse(rows[3].Texts) // its own order of the symbols
			for i, n := range rows[3].Numbers {
				rows[3].Numbers[i] = 2 - n
			}
			runs = append(runs, append(rows, factstore.Column{Name: factstore.OutputsOf, Texts: []string{"of " + s}, Numbers: make([]int32, 150)}))
		}
		none := targetRows("none", 0)
		runs = append(runs, append(none, factstore.Column{Name: factstore.OutputsOf, Texts: []string{"of none"}, Numbers: []int32{}}))
		if _, err := w.WriteFacts(t.Context(), factstore.Targets, runs); err != nil {
			t.Fatal(err)
		}
		digest, err := w.Seal(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		units = append(units, factstore.Unit{RunID: "unit-" + u[0], Digest: digest})
	}
	closeDB(t, reader)
	db = openWrite(t, path)
	ledger, err := db.TakeIn(t.Context(), opened(t, db, units...), allSucceeded, []string{"one", "two", "none"}, func(ctx context.Context, txs []*factstore.Tx, outputs []*factstore.Outputs) error {
		return factstore.InsertOutputs(ctx, db, txs, []string{"of one", "of two", "of none"}, factstore.Targets, outputs)
	})
	if err != nil || len(ledger) != 2 || ledger[0].Inserted != 150 || ledger[1].Inserted != 150 {
		t.Fatalf("%+v: %v", ledger, err)
	}
	if _, err := db.Write(t.Context(), "after", func(ctx context.Context, tx *factstore.Tx) error {
		_, err := tx.Delete(ctx, factstore.Targets, "strategy_id = 'before'")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	wantTargets(t, db, plainly(50, "one", "two"))
	wantSound(t, db)
}
