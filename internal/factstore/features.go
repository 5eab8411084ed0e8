package factstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"quant"
	"quant/internal/sqltext"
)

// Features of a version stand side by side in a table of the version, one row a bar,
// and features_daily is a view of them, one row a value. v1 and v2 are in every file;
// the others are the sets that feature_sets names (see DeclareFeatures). What has no
// place there stands in a long table that the view reads too: features of other names
// or versions, and rows that other programs wrote before there were tables of versions.
// returns is a view of the returns among the features.
const (
	// FeaturesOther and ReturnsOther hold the rows of features_daily and returns that no
	// table of a version does.
	FeaturesOther = "features_other"
	ReturnsOther  = "returns_other"
	// ReturnsVersion names, for each symbol, the feature version whose table holds
	// its returns: that of the run that last changed them.
	ReturnsVersion = "returns_version"
)

// wideVersion is a feature version with a table of its own.
type wideVersion struct {
	version string
	names   []string
}

func (w wideVersion) table() string { return TableOfVersion(w.version) }

// TableOfVersion is the table of a feature version, where the file has it.
func TableOfVersion(version string) string { return "features_" + version }

var returnNames = []string{"ret_1d", "ret_5d", "ret_20d", "ret_60d"}

// ownVersions are the versions that every file has, and whose returns are the returns.
func ownVersions() []wideVersion {
	first := append(slices.Clone(returnNames), "vol_20d", "gap_open", "hl_range", "volume_ratio_20d")
	return []wideVersion{
		{"v1", first},
		{"v2", append(slices.Clone(first), "rsi_14", "atr_14", "atr_pct_14", "macd", "macd_signal", "macd_pct", "bb_upper", "bb_lower", "bb_pctb", "mom_12_1", "amihud_20d")},
	}
}

func wideOf(versions []wideVersion, version string) (wideVersion, bool) {
	for _, w := range versions {
		if w.version == version {
			return w, true
		}
	}
	return wideVersion{}, false
}

// wideVersions are the versions with a table in this file.
func (db *DB) wideVersions(ctx context.Context) ([]wideVersion, error) {
	sets, err := db.FeatureSets(ctx)
	if err != nil {
		return nil, err
	}
	return withSets(sets), nil
}

func withSets(sets []FeatureSet) []wideVersion {
	list := ownVersions()
	for _, s := range sets {
		list = append(list, wideVersion{s.Version, s.Names()})
	}
	return list
}

// wide is the table of a version, without asking the file for those that every file has.
func (db *DB) wide(ctx context.Context, version string) (wideVersion, bool, error) {
	if w, ok := wideOf(ownVersions(), version); ok {
		return w, true, nil
	}
	versions, err := db.wideVersions(ctx)
	w, ok := wideOf(versions, version)
	return w, ok, err
}

// FeatureTable is the table that holds the features of a version side by side:
// symbol, ts, a DOUBLE column of its name for each of names, and computed_at, the
// time of the transaction that last changed any value of the row. Its rows are in no
// order. Not ok: there is no such version.
func (db *DB) FeatureTable(ctx context.Context, version string) (table string, names []string, ok bool, err error) {
	w, ok, err := db.wide(ctx, version)
	return w.table(), w.names, ok, err
}

// featureRelation is what stands after FROM to read features of a version side by
// side: symbol TEXT, ts DATE, and a DOUBLE column of its name for each, NULL where
// it has no value; a row where any of them has one. How features are stored is
// this file's alone.
func featureRelation(versions []wideVersion, version string, names ...string) string {
	var pivot, merged strings.Builder
	wide, have := wideOf(versions, version)
	var of []string // the names that the table of the version has
	for _, name := range names {
		column := sqltext.Identifier(name)
		fmt.Fprintf(&pivot, ", max(feature_value) FILTER (feature_name = %s) AS %s", sqltext.Literal(name), column)
		if have && slices.Contains(wide.names, name) {
			of = append(of, column)
			fmt.Fprintf(&merged, ", coalesce(w.%s, o.%[1]s) AS %[1]s", column)
		} else {
			fmt.Fprintf(&merged, ", o.%s", column)
		}
	}
	other := fmt.Sprintf("(SELECT symbol, ts%s FROM %s WHERE feature_version = %s AND feature_name IN (%s) GROUP BY symbol, ts)",
		pivot.String(), factTable(FeaturesOther), sqltext.Literal(version), sqltext.Literals(names))
	if of == nil {
		return other
	}
	list := strings.Join(of, ", ")
	return fmt.Sprintf("(SELECT coalesce(w.symbol, o.symbol) AS symbol, coalesce(w.ts, o.ts) AS ts%[1]s FROM (SELECT symbol, ts, %[2]s FROM %[3]s WHERE coalesce(%[2]s) IS NOT NULL) w FULL JOIN %[4]s o ON o.symbol = w.symbol AND o.ts = w.ts)",
		merged.String(), list, factTable(wide.table()), other)
}

// ofFeatures reports whether a table of the contract is a view of features.
func ofFeatures(table string) bool { return table == FeaturesDaily || table == Returns }

// isView reports whether a table of the contract is a view of others.
func (db *DB) isView(table string) bool {
	_, ok := db.coded(table)
	return ok || ofFeatures(table)
}

// storage are the tables behind a view of the contract, nil for a table that is one;
// the last takes rows of the view's own columns.
func (db *DB) storage(ctx context.Context, table string) ([]string, error) {
	switch table {
	case FeaturesDaily:
		versions, err := db.wideVersions(ctx)
		if err != nil {
			return nil, err
		}
		var list []string
		for _, w := range versions {
			list = append(list, w.table())
		}
		return append(list, FeaturesOther), nil
	case Returns:
		return []string{ReturnsVersion, ReturnsOther}, nil
	}
	if c, ok := db.coded(table); ok {
		return []string{c.codes(), c.other()}, nil
	}
	return nil, nil
}

// stored are all the tables behind views of the contract.
func (db *DB) stored(ctx context.Context) ([]string, error) {
	list, err := db.storage(ctx, FeaturesDaily)
	list = append(list, ReturnsVersion, ReturnsOther)
	if db.lake == nil {
		list = append(list, codedStorage()...)
	}
	return list, err
}

// longTable is the table that takes rows with the columns of a table of the
// contract: itself, or the one that stands beside those of the versions or of codes.
func (db *DB) longTable(table string) string {
	if c, ok := db.coded(table); ok {
		return c.other()
	}
	switch table {
	case FeaturesDaily:
		return FeaturesOther
	case Returns:
		return ReturnsOther
	}
	return table
}

// plain is how values of features are stored: what compresses them by a sixth costs a
// quarter of the time of storing them.
const plain = " USING COMPRESSION uncompressed"

// featureSchema is the part of the schema that follows from the versions. DuckLake
// chooses compression itself.
func featureSchema(versions []wideVersion, onLake bool) string {
	var s, daily, returns strings.Builder
	stored := plain
	if onLake {
		stored = ""
	}
	for _, w := range versions {
		s.WriteString("CREATE TABLE IF NOT EXISTS " + w.table() + " (symbol TEXT NOT NULL, ts DATE NOT NULL")
		for _, name := range w.names {
			s.WriteString(", " + sqltext.Identifier(name) + " DOUBLE" + stored)
			if !onLake {
				daily.WriteString(w.rows(name, "main."+w.table()) + " UNION ALL\n")
			}
		}
		if onLake {
			daily.WriteString(w.allRows("main."+w.table()) + " UNION ALL\n")
		}
		s.WriteString(", computed_at TIMESTAMP);\n")
	}
	for _, w := range ownVersions() {
		list := strings.Join(returnNames, ", ")
		fmt.Fprintf(&returns, "SELECT symbol, ts, %s FROM main.%s WHERE coalesce(%[1]s) IS NOT NULL AND symbol IN (SELECT symbol FROM main.%[3]s WHERE version = '%[4]s') UNION ALL\n", list, w.table(), ReturnsVersion, w.version)
	}
	fmt.Fprintf(&s, "CREATE OR REPLACE VIEW %s AS %sSELECT symbol, ts, feature_name, feature_value, feature_version, computed_at FROM main.%s;\n", FeaturesDaily, daily.String(), FeaturesOther)
	fmt.Fprintf(&s, "CREATE OR REPLACE VIEW %s AS %sSELECT symbol, ts, %s FROM main.%s;\n", Returns, returns.String(), strings.Join(returnNames, ", "), ReturnsOther)
	return s.String()
}

// Store inserts into a table of facts, or one that FeatureTable names, and counts nothing:
// Count does. rows is as of Insert.
func (tx *Tx) Store(ctx context.Context, table, rows string, args ...any) error {
	if err := tx.db.without(ctx, "fsst"); err != nil { // as of a merge: the texts are symbols, which repeat
		return tx.db.failed(ctx, "insert into "+table, err)
	}
	defer func() { _ = tx.db.without(context.WithoutCancel(ctx), "") }()
	return tx.changeUncounted(ctx, "insert into", table, "INSERT INTO "+factTable(table)+" "+rows, args)
}

// Remove deletes rows of a table as Store names it, and counts nothing.
func (tx *Tx) Remove(ctx context.Context, table, where string, args ...any) error {
	return tx.changeUncounted(ctx, "delete from", table, "DELETE FROM "+factTable(table)+" WHERE "+where, args)
}

func (tx *Tx) changeUncounted(ctx context.Context, doing, table, query string, args []any) error {
	if t, known := LookupTable(table); !known || t.Bookkeeping || tx.db.isView(table) {
		stored, err := tx.db.stored(ctx)
		if err != nil {
			return err
		}
		if !slices.Contains(stored, table) {
			return quant.Errorf(quant.Invalid, "%s %s: it is no table for facts", doing, table)
		}
	}
	_, err := tx.runChange(ctx, doing, query, args...)
	return err
}

// Count counts in the ledger what Store and Remove changed: rows of the table of the
// contract, which are one a value for features_daily.
func (tx *Tx) Count(table string, inserted, updated, deleted int64) {
	tx.count(table, inserted, updated, deleted)
}

// longSuffix is what the tables of the contract are called while their rows move.
const longSuffix = "_long"

// setAside renames the tables that became views, so that their rows can move.
func setAside(ctx context.Context, conn *sql.Conn, tables []string) error {
	for _, table := range []string{FeaturesDaily, Returns} {
		if !slices.Contains(tables, table) {
			continue
		}
		if _, err := conn.ExecContext(ctx, "ALTER TABLE "+table+" RENAME TO "+table+longSuffix); err != nil {
			return err
		}
	}
	return nil
}

// symbolsAtATime bounds the memory of moving features.
const symbolsAtATime = 400

// moveFeatures moves the rows that setAside kept. A value goes to the table of its
// version where that has a column of its name and its key stands once; the row's stamp
// is the newest of its values'. The others stay as they are, beside them. Returns
// that are those of a version become its; the others stay as they are.
func moveFeatures(ctx context.Context, conn *sql.Conn, tables []string) error {
	exec := func(query string, args ...any) error {
		_, err := conn.ExecContext(ctx, query, args...)
		return err
	}
	if slices.Contains(tables, FeaturesDaily) {
		if err := moveLong(ctx, conn); err != nil {
			return err
		}
		if err := exec("DROP TABLE " + FeaturesDaily + longSuffix); err != nil {
			return err
		}
	}
	if !slices.Contains(tables, Returns) {
		return nil
	}
	const old = Returns + longSuffix
	differ := make([]string, len(returnNames))
	for i, name := range returnNames {
		differ[i] = fmt.Sprintf("r.%s IS DISTINCT FROM w.%[1]s", name)
	}
	for _, w := range ownVersions() {
		if err := exec(fmt.Sprintf(`INSERT INTO %[1]s SELECT symbol, '%[2]s' FROM (
			SELECT coalesce(r.symbol, w.symbol) AS symbol, bool_or(r.symbol IS NULL OR w.symbol IS NULL OR %[3]s) AS other
			FROM (SELECT * FROM %[4]s WHERE symbol NOT IN (SELECT symbol FROM %[1]s)) r
			FULL JOIN (SELECT * FROM %[5]s WHERE coalesce(%[6]s) IS NOT NULL AND symbol IN (SELECT symbol FROM %[4]s) AND symbol NOT IN (SELECT symbol FROM %[1]s)) w ON w.symbol = r.symbol AND w.ts = r.ts
			GROUP BY ALL) WHERE NOT other ORDER BY symbol`, ReturnsVersion, w.version, strings.Join(differ, " OR "), old, w.table(), strings.Join(returnNames, ", "))); err != nil {
			return err
		}
	}
	if err := exec(fmt.Sprintf("INSERT INTO %s BY NAME SELECT * FROM %s WHERE symbol NOT IN (SELECT symbol FROM %s)", ReturnsOther, old, ReturnsVersion)); err != nil {
		return err
	}
	return exec("DROP TABLE " + old)
}

// moveLong moves the values that fit into the tables of the versions, some symbols at a
// time, and all others into FeaturesOther.
func moveLong(ctx context.Context, conn *sql.Conn) error {
	const old, pivoted = FeaturesDaily + longSuffix, "temp.main.features_pivoted"
	exec := func(format string, args ...any) error {
		_, err := conn.ExecContext(ctx, fmt.Sprintf(format, args...))
		return err
	}
	symbols, err := texts(ctx, conn, "SELECT DISTINCT symbol FROM "+old+" ORDER BY symbol")
	if err != nil {
		return err
	}
	const fits = "coalesce(isfinite(feature_value) AND computed_at IN (SELECT committed_at FROM " + Ledger + " WHERE table_name = '" + FeaturesDaily + "'), false)"
	known := []string{"false"}
	for _, w := range ownVersions() {
		of := fmt.Sprintf("feature_version = '%s' AND feature_name IN (%s)", w.version, sqltext.Literals(w.names))
		known = append(known, of)
		var pivot strings.Builder
		once := make([]string, len(w.names))
		for i, name := range w.names {
			fmt.Fprintf(&pivot, ", max(feature_value) FILTER (feature_name = '%s') AS %[1]s", name)
			once[i] = fmt.Sprintf("count(*) FILTER (feature_name = '%s') < 2", name)
		}
		for rest := symbols; len(rest) > 0; {
			some := rest[:min(symbolsAtATime, len(rest))]
			rest = rest[len(some):]
			these := of + " AND symbol BETWEEN " + sqltext.Literal(some[0]) + " AND " + sqltext.Literal(some[len(some)-1])
			if err := exec("CREATE OR REPLACE TEMP TABLE features_pivoted AS SELECT symbol, ts%s, max(computed_at) AS computed_at, %s AS once FROM %s WHERE %s AND %s GROUP BY symbol, ts",
				pivot.String(), strings.Join(once, " AND "), old, these, fits); err != nil {
				return err
			}
			if err := exec("INSERT INTO %s SELECT * EXCLUDE (once) FROM %s WHERE once ORDER BY symbol, ts", w.table(), pivoted); err != nil {
				return err
			}
			twice := ""
			var found bool
			if err := conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM "+pivoted+" WHERE NOT once)").Scan(&found); err != nil {
				return err
			}
			if found {
				twice = " OR (symbol, ts) IN (SELECT (symbol, ts) FROM " + pivoted + " WHERE NOT once)"
			}
			if err := exec("INSERT INTO %s BY NAME SELECT * FROM %s WHERE %s AND (NOT %s%s)", FeaturesOther, old, these, fits, twice); err != nil {
				return err
			}
		}
	}
	if err := exec("DROP TABLE IF EXISTS %s", pivoted); err != nil {
		return err
	}
	return exec("INSERT INTO %s BY NAME SELECT * FROM %s WHERE NOT (%s)", FeaturesOther, old, strings.Join(known, " OR "))
}

// tablesInUse are the tables, not the views, of the catalog in use.
func tablesInUse(ctx context.Context, conn *sql.Conn) ([]string, error) {
	return texts(ctx, conn, "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = 'main'")
}

func texts(ctx context.Context, conn *sql.Conn, query string) ([]string, error) {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}
