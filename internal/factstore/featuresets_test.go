package factstore_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/factstore"
)

func expression(name, text string) factstore.SetFeature {
	return factstore.SetFeature{Name: name, Kind: factstore.KindExpressions, Definition: text, Unit: "ratio", ScaleFree: true, KnownAt: factstore.KnownProved}
}

func alpha() factstore.FeatureSet {
	lookback, first := int64(19), int64(20)
	ma := expression("MA20", "Mean($close, 20) / $close")
	ma.Lookback, ma.FirstRow = &lookback, &first
	return factstore.FeatureSet{Version: "my_alpha", Kind: factstore.KindExpressions, Description: "two ideas", Features: []factstore.SetFeature{ma, expression("order", "Rank($close)")}}
}

// declare declares the set and stores three rows of it.
func declare(t *testing.T, db *factstore.DB, run string, s factstore.FeatureSet) (declared bool, err error) {
	t.Helper()
	_, err = db.Write(t.Context(), run, func(ctx context.Context, tx *factstore.Tx) error {
		if declared, err = tx.DeclareFeatures(ctx, s); err != nil || !declared {
			return err
		}
		table, names, ok, err := db.FeatureTable(ctx, s.Version)
		if err != nil || !ok || !slices.Equal(names, s.Names()) {
			t.Errorf("its table: %s %v %v %v", table, names, ok, err)
		}
		if err := tx.Store(ctx, table, `BY NAME SELECT 'A' AS symbol, DATE '2024-01-01' + i::INTEGER AS ts, i AS "`+names[0]+`", CAST(? AS TIMESTAMP) AS computed_at FROM range(3) t(i)`, tx.Now); err != nil {
			return err
		}
		tx.Count(factstore.FeaturesDaily, 3, 0, 0)
		return nil
	})
	return declared, err
}

func TestASetIsDeclaredWithItsFirstFactsAndStandsAsLongAsTheFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	db := openWrite(t, path)
	boom := errors.New("boom")
	if _, err := db.Write(t.Context(), "r0", func(ctx context.Context, tx *factstore.Tx) error {
		if _, err := tx.DeclareFeatures(ctx, alpha()); err != nil {
			t.Error(err)
		}
		return boom
	}); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if sets, err := db.FeatureSets(t.Context()); err != nil || len(sets) != 0 {
		t.Fatalf("a set of a transaction that was rolled back stands: %v %v", sets, err)
	}
	if declared, err := declare(t, db, "r1", alpha()); err != nil || !declared {
		t.Fatal(declared, err)
	}
	again := alpha()
	again.Description = "said otherwise"
	slices.Reverse(again.Features)
	if declared, err := declare(t, db, "r2", again); err != nil || declared {
		t.Errorf("the same set again: %v %v", declared, err)
	}
	if ledger, err := db.Ledger(t.Context(), ""); err != nil || len(ledger) != 3 || ledger[0].Table != factstore.FeatureSets || ledger[0].Inserted != 1 || ledger[1].Inserted != 3 || ledger[2].Table != factstore.FeatureSets || ledger[2].Updated != 1 || ledger[2].RunID != "r2" {
		t.Errorf("the ledger: %+v %v", ledger, err)
	}
	for name, change := range map[string]func(*factstore.FeatureSet){
		"MA20 is Mean($close, 20) / $close": func(s *factstore.FeatureSet) { s.Features[0].Definition = "Mean($close, 21) / $close" },
		"it has no MORE":                    func(s *factstore.FeatureSet) { s.Features = append(s.Features, expression("MORE", "$open")) },
		"it also has order":                 func(s *factstore.FeatureSet) { s.Features = s.Features[:1] },
	} {
		other := alpha()
		change(&other)
		for _, err := range []error{db.CheckDeclared(t.Context(), other), func() error { _, err := declare(t, db, "r3", other); return err }()} {
			if quant.CodeOf(err) != quant.Conflict || !strings.Contains(err.Error(), name) || !strings.Contains(quant.HintOf(err), "new version") {
				t.Errorf("%s: %v (%s)", name, err, quant.HintOf(err))
			}
		}
	}
	backup := filepath.Join(t.TempDir(), "copy.duckdb")
	if err := db.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	closeDB(t, db)
	for _, file := range []string{path, backup} {
		db, err := factstore.OpenRead(t.Context(), options(file))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		sets, err := db.FeatureSets(t.Context())
		if err != nil || len(sets) != 1 || sets[0].RunID != "r1" || sets[0].Digest != factstore.DigestOf(alpha()) || sets[0].KnownAt != factstore.KnownProved || *sets[0].Features[0].Lookback != 19 || sets[0].Features[1].Lookback != nil || sets[0].Description != "said otherwise" {
			t.Fatalf("%+v %v", sets, err)
		}
		if _, err := db.FeatureSet(t.Context(), "another"); quant.CodeOf(err) != quant.NotFound {
			t.Error(err)
		}
		relation, err := db.FeatureRelation(t.Context(), "my_alpha", "MA20", "order")
		if err != nil {
			t.Fatal(err)
		}
		rows, err := db.FeatureRows(t.Context(), "my_alpha", "MA20")
		if err != nil {
			t.Fatal(err)
		}
		for query, want := range map[string]int64{
			"SELECT count(*) FROM features_daily WHERE feature_version = 'my_alpha' AND feature_name = 'MA20'": 3,
			"SELECT count(*) FROM features_daily WHERE feature_version = 'my_alpha'":                           3,
			"SELECT count(*) FROM " + relation:                                                                 3,
			"SELECT sum(feature_value)::BIGINT FROM " + rows + " f":                                            3,
			"SELECT count(*) FROM feature_sets WHERE features[1].name = 'MA20'":                                1,
		} {
			if got := number(t, db, query); got != want {
				t.Errorf("%d, not %d: %s", got, want, query)
			}
		}
		if runs, err := db.FeatureWriters(t.Context(), []factstore.VersionFeatures{{Version: "my_alpha", Names: []string{"MA20"}}}, "true"); err != nil || !slices.Equal(runs, []string{"r1"}) {
			t.Errorf("its writers: %v %v", runs, err)
		}
		counts, err := db.Tables(t.Context())
		if err != nil || !slices.Contains(counts, factstore.TableCount{Table: factstore.FeaturesDaily, Rows: 3}) || slices.ContainsFunc(counts, func(c factstore.TableCount) bool { return c.Table == "features_my_alpha" }) {
			t.Errorf("its tables: %v %v", counts, err)
		}
		if facts, err := db.SymbolFacts(t.Context(), "A"); err != nil || facts[factstore.FeaturesDaily] != 3 {
			t.Errorf("facts of a symbol: %v %v", facts, err)
		}
		if problems, err := db.Check(t.Context()); err != nil || len(problems) != 0 {
			t.Errorf("what the check finds: %v %v", problems, err)
		}
		closeDB(t, db)
	}
}

func TestTheCheckFindsWhatIsWrongWithASet(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string][2]string{
		"a value that is no number": {"INSERT INTO features_my_alpha BY NAME SELECT 'B' AS symbol, DATE '2024-01-01' AS ts, 'nan'::DOUBLE AS MA20, (SELECT max(committed_at) FROM ledger) AS computed_at", "features_daily: 1 rows hold NaN or infinity"},
		"a row of another program":  {`INSERT INTO features_my_alpha BY NAME SELECT 'B' AS symbol, DATE '2024-01-01' AS ts, 1 AS MA20, 2 AS "order", now()::TIMESTAMP AS computed_at`, "features_daily: 2 rows have a computed_at that no ledger row explains"},
		"a key that stands twice":   {"INSERT INTO features_my_alpha FROM features_my_alpha WHERE ts = DATE '2024-01-02'", "features_daily: 1 keys (symbol, ts, feature_name, feature_version) are there more than once"},
		"a missing table":           {"DROP TABLE features_my_alpha", "features_my_alpha: the table is missing"},
		"a column too many":         {"ALTER TABLE features_my_alpha ADD COLUMN x DOUBLE", "features_my_alpha: its columns are"},
		"a run that was not":        {"UPDATE feature_sets SET run_id = 'r9'", "feature_sets: 1 rows name a run that has no ledger row for it"},
		"a name that is none":       {`UPDATE feature_sets SET version = 'x"; DROP TABLE ohlcv; --'`, "feature_sets: cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openWrite(t, newPath(t))
			if _, err := declare(t, db, "r1", alpha()); err != nil {
				t.Fatal(err)
			}
			run(t, db, broken[0])
			problems, err := db.Check(t.Context())
			if err != nil || !slices.ContainsFunc(problems, func(p factstore.Problem) bool {
				return strings.HasPrefix(p.Object+": "+p.What, broken[1])
			}) {
				t.Errorf("%+v %v", problems, err)
			}
		})
	}
}

func TestNamesThatCannotStandInADatabaseAreRefused(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	refused := func(s factstore.FeatureSet) {
		t.Helper()
		if _, err := declare(t, db, "r1", s); quant.CodeOf(err) != quant.Invalid {
			t.Errorf("%s %v: %v", s.Version, s.Names(), err)
		}
	}
	for _, version := range []string{"", "v3", "other", "daily", "Upper", "a b", "a;b", `a"b`, "é", "../x", "1st", "_a", strings.Repeat("a", 64), "a\x00"} {
		s := alpha()
		s.Version = version
		refused(s)
	}
	for _, names := range [][]string{{""}, {"ts"}, {"Symbol"}, {"COMPUTED_AT"}, {"a-b"}, {`x"y`}, {"KMID", "kmid"}, {"a", "a"}, {strings.Repeat("a", 64)}, {}, make([]string, 1001)} {
		s := alpha()
		s.Features = nil
		for i, name := range names {
			if len(names) > 10 {
				name = fmt.Sprint("f", i)
			}
			s.Features = append(s.Features, expression(name, "$close"))
		}
		refused(s)
	}
	s := alpha()
	s.Features[0].Definition = ""
	refused(s)
	if ledger, err := db.Ledger(t.Context(), ""); err != nil || len(ledger) != 0 {
		t.Error(ledger, err)
	}
}

// A file as schema 4 left it.
func TestAnOlderFileTakesSetsOnceItIsUpToDate(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	db := openWrite(t, path)
	for _, q := range []string{
		"DROP TABLE feature_sets", "INSERT INTO schema_version VALUES (4, now()::TIMESTAMP)", "DELETE FROM schema_version WHERE version > 4",
		"INSERT INTO features_other VALUES ('A', DATE '2024-01-01', 'MA20', 7, 'my_alpha', NULL), ('A', DATE '2024-01-01', 'MA20', 7, 'theirs', NULL)",
	} {
		run(t, db, q)
	}
	closeDB(t, db)
	if _, err := factstore.OpenRead(t.Context(), options(path)); !errors.Is(err, factstore.ErrOlder) {
		t.Fatal(err)
	}
	db = openWrite(t, path)
	if declared, err := declare(t, db, "r1", alpha()); err != nil || !declared {
		t.Fatal(err)
	}
	relation, err := db.FeatureRelation(t.Context(), "my_alpha", "MA20")
	if err != nil {
		t.Fatal(err)
	}
	if got := number(t, db, "SELECT count(*) FROM "+relation); got != 3 {
		t.Errorf("%d rows", got)
	}
	if got := number(t, db, "SELECT count(*) FROM features_daily WHERE feature_name = 'MA20'"); got != 5 {
		t.Errorf("%d rows of features_daily", got)
	}
}

// The view stays fast to plan with as many branches as hundreds of features give.
func TestAVeryWideSetIsReadByName(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	db := openWrite(t, path)
	wide := factstore.FeatureSet{Version: "wide", Kind: factstore.KindExpressions}
	for i := range 360 {
		wide.Features = append(wide.Features, expression(fmt.Sprint("CLOSE", i), fmt.Sprintf("Ref($close, %d) / $close", i)))
	}
	if _, err := declare(t, db, "r1", wide); err != nil {
		t.Fatal(err)
	}
	if got := number(t, db, "SELECT count(*) FROM features_daily WHERE feature_name = 'CLOSE0' AND feature_version = 'wide'"); got != 3 {
		t.Errorf("%d rows", got)
	}
	if problems, err := db.Check(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}
