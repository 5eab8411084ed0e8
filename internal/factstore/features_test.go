package factstore_test

import (
	"testing"

	"quant/internal/factstore"
)

// A file as schema 3 left it.
func TestFeaturesOfAnOlderSchemaMoveAndStay(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	db := openWrite(t, path)
	for _, q := range []string{
		"DROP VIEW features_daily", "DROP VIEW returns", "DROP TABLE features_v1", "DROP TABLE features_v2", "DROP TABLE features_other", "DROP TABLE returns_other", "DROP TABLE returns_version",
		"CREATE TABLE features_daily (symbol TEXT NOT NULL, ts DATE NOT NULL, feature_name TEXT NOT NULL, feature_value DOUBLE, feature_version TEXT NOT NULL, computed_at TIMESTAMP)",
		"CREATE TABLE returns (symbol TEXT NOT NULL, ts DATE NOT NULL, ret_1d DOUBLE, ret_5d DOUBLE, ret_20d DOUBLE, ret_60d DOUBLE)",
		"ALTER TABLE fact_inputs DROP COLUMN sums", "ALTER TABLE fact_inputs DROP COLUMN last_ts",
		"INSERT INTO ledger VALUES ('r1', 'features_daily', 1, 0, 0, TIMESTAMP '2024-01-01'), ('r2', 'features_daily', 1, 0, 0, TIMESTAMP '2024-01-02')",
		"INSERT INTO fact_inputs VALUES ('features_daily', 'A', '', 'v1', 'inputs', 'facts')",
		`INSERT INTO features_daily SELECT s, DATE '2023-01-02' + i::INTEGER, f, hash(s, i, f) / 1e19, v, TIMESTAMP '2024-01-01'
			FROM (VALUES ('A'), ('B'), ('C')) a(s), range(50) b(i), (VALUES ('ret_1d', 'v1'), ('ret_60d', 'v1'), ('vol_20d', 'v1'), ('ret_1d', 'v2'), ('macd', 'v2'), ('mine', 'v1'), ('macd', 'v1'), ('ret_1d', 'v9')) c(f, v)`,
		"UPDATE features_daily SET computed_at = TIMESTAMP '2024-01-02' WHERE symbol = 'A' AND ts = DATE '2023-01-05' AND feature_version = 'v1' AND feature_name IN ('ret_1d', 'ret_60d', 'vol_20d')",
		"INSERT INTO features_daily VALUES ('A', DATE '2023-01-02', 'hl_range', 7, 'v1', NULL), ('A', DATE '2023-01-02', 'gap_open', NULL, 'v1', TIMESTAMP '2024-01-01'), ('A', DATE '2023-01-03', 'gap_open', 'nan', 'v1', TIMESTAMP '2024-01-01'), ('B', DATE '2023-01-02', 'ret_1d', 9, 'v1', TIMESTAMP '2024-01-01'), ('Z', DATE '2023-01-02', 'ret_1d', 9, 'v1', TIMESTAMP '2020-01-01')",
		"INSERT INTO returns SELECT symbol, ts, max(feature_value) FILTER (feature_name = 'ret_1d'), NULL, NULL, max(feature_value) FILTER (feature_name = 'ret_60d') FROM features_daily WHERE feature_version = 'v1' AND symbol IN ('A', 'C') AND feature_name LIKE 'ret%' GROUP BY ALL",
		"UPDATE returns SET ret_1d = 5 WHERE symbol = 'C' AND ts = DATE '2023-01-10'",
		"INSERT INTO schema_version VALUES (3, now()::TIMESTAMP)", "DELETE FROM schema_version WHERE version > 3",
		"CREATE TABLE features_before AS FROM features_daily", "CREATE TABLE returns_before AS FROM returns",
	} {
		run(t, db, q)
	}
	closeDB(t, db)
	o := options(path)
	var told [2]int
	o.Upgrading = func(from, to int) { told = [2]int{from, to} }
	db, err := factstore.OpenWrite(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if told != [2]int{3, factstore.SchemaVersion} {
		t.Errorf("told of %v", told)
	}
	if !db.Upgraded() {
		t.Fatal("it was not moved")
	}
	for query, want := range map[string]int64{
		"SELECT count(*) FROM (FROM features_before EXCEPT ALL FROM features_daily)":                                                   0,
		"SELECT count(*) FROM (FROM features_daily EXCEPT ALL FROM features_before)":                                                   0,
		"SELECT count(*) FROM (FROM returns_before EXCEPT ALL FROM returns)":                                                           0,
		"SELECT count(*) FROM (FROM returns EXCEPT ALL FROM returns_before)":                                                           0,
		"SELECT count(*) FROM features_v1":                                                                                             149, // of B one key stands twice
		"SELECT count(*) FROM features_v2":                                                                                             150,
		"SELECT count(*) FROM features_other WHERE feature_name NOT IN ('mine', 'macd') AND feature_version = 'v1'":                    8,
		"SELECT count(*) FROM returns_version WHERE symbol = 'A' AND version = 'v1'":                                                   1,
		"SELECT count(*) FROM returns_other WHERE symbol = 'C'":                                                                        50,
		"SELECT count(*) FROM fact_inputs WHERE inputs = 'inputs' AND facts = 'facts' AND sums IS NULL":                                1,
		"SELECT count(*) FROM " + factstore.FeatureRelation("v1", "ret_1d", "mine") + " WHERE ret_1d IS NOT NULL AND mine IS NOT NULL": 150,
		"SELECT count(*) FROM " + factstore.FeatureRelation("v1", "hl_range") + " WHERE hl_range = 7":                                  1,
		"SELECT count(*) FROM " + factstore.FeatureRelation("v2", "macd", "ret_1d"):                                                    150,
		"SELECT count(*) FROM " + factstore.FeatureRelation("v9", "ret_1d"):                                                            150,
	} {
		if got := number(t, db, query); got != want {
			t.Errorf("%d, not %d: %s", got, want, query)
		}
	}
}
