package factstore

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"

	"quant"
	"quant/internal/sqltext"
)

// Tables returns every table with its number of rows, in name order.
func (db *DB) Tables(ctx context.Context) ([]TableCount, error) {
	tables, err := columns(ctx, db.conn, catalog)
	if err != nil {
		return nil, db.failure(ctx, "list tables", err)
	}
	stored, err := db.stored(ctx)
	if err != nil {
		return nil, err
	}
	var counts []TableCount
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		if slices.Contains(stored, name) {
			continue
		}
		n, err := db.count(ctx, name, "true")
		if err != nil {
			return nil, db.failure(ctx, "count "+name, err)
		}
		counts = append(counts, TableCount{Table: name, Rows: n})
	}
	return counts, nil
}

// Symbols returns the distinct symbols of ohlcv in byte order.
func (db *DB) Symbols(ctx context.Context) ([]string, error) {
	symbols, err := Values[string](ctx, db, "SELECT DISTINCT symbol FROM "+factTable(OHLCV)+" ORDER BY symbol")
	if err != nil {
		return nil, db.failure(ctx, "list symbols", err)
	}
	return symbols, nil
}

// SymbolFacts returns, for each table that holds facts of the symbol, their
// number. Rejected input rows, earlier states and bookkeeping are no facts.
func (db *DB) SymbolFacts(ctx context.Context, symbol string) (map[string]int64, error) {
	tables, err := columns(ctx, db.conn, catalog)
	if err != nil {
		return nil, db.failure(ctx, "list tables", err)
	}
	stored, err := db.stored(ctx)
	if err != nil {
		return nil, err
	}
	facts := map[string]int64{}
	for name, cols := range tables {
		if t, _ := LookupTable(name); !has(cols, "symbol") || t.Bookkeeping || slices.Contains(stored, name) {
			continue
		}
		n, err := db.count(ctx, name, "symbol = ?", symbol)
		if err != nil {
			return nil, db.failure(ctx, "count "+name, err)
		}
		if n > 0 {
			facts[name] = n
		}
	}
	return facts, nil
}

// count counts the rows of a table or a view for which where holds, a condition on
// symbol and ts. Of the view of features, which has a branch for each, it counts the
// values in the tables behind it.
func (db *DB) count(ctx context.Context, table, where string, args ...any) (int64, error) {
	from := []string{"SELECT count(*)::BIGINT AS n FROM " + factTable(table) + " WHERE " + where}
	if table == FeaturesDaily {
		versions, err := db.wideVersions(ctx)
		if err != nil {
			return 0, err
		}
		from = []string{"SELECT count(*)::BIGINT AS n FROM " + factTable(FeaturesOther) + " WHERE " + where}
		for _, w := range versions {
			from = append(from, "SELECT "+w.each("count(%s)")+" FROM "+factTable(w.table())+" WHERE "+where)
			args = append(args, args[:strings.Count(where, "?")]...)
		}
	}
	var n sql.NullInt64
	err := db.QueryRow(ctx, "SELECT sum(n)::BIGINT FROM ("+strings.Join(from, " UNION ALL ")+")", args...).Scan(&n)
	return n.Int64, err
}

// each is a sum of a term for each feature, in which %s is its column.
func (w wideVersion) each(term string) string {
	terms := make([]string, len(w.names))
	for i, name := range w.names {
		terms[i] = fmt.Sprintf(term, sqltext.Identifier(name))
	}
	return strings.Join(terms, " + ")
}

// Ledger returns the ledger rows of a run, of all runs for "", oldest first.
func (db *DB) Ledger(ctx context.Context, runID string) ([]LedgerRow, error) {
	rows, err := db.Query(ctx, `SELECT run_id, table_name, rows_inserted, rows_updated, rows_deleted, committed_at FROM `+factTable(Ledger)+`
		WHERE ? = '' OR run_id = ? ORDER BY committed_at, table_name`, runID, runID)
	if err != nil {
		return nil, db.failure(ctx, "read the ledger", err)
	}
	defer rows.Close()
	var ledger []LedgerRow
	for rows.Next() {
		var r LedgerRow
		if err := rows.Scan(&r.RunID, &r.Table, &r.Inserted, &r.Updated, &r.Deleted, &r.CommittedAt); err != nil {
			return nil, db.failure(ctx, "read the ledger", err)
		}
		ledger = append(ledger, r)
	}
	if err := rows.Err(); err != nil {
		return nil, db.failure(ctx, "read the ledger", err)
	}
	return ledger, nil
}

// EachChange calls fn for every run in the ledger with the tables that it changed, in
// their order: the newest run first, by id. The first error of fn ends it and is
// returned.
func (db *DB) EachChange(ctx context.Context, fn func(runID string, tables []string) error) error {
	const what = "read the ledger"
	rows, err := db.Query(ctx, `SELECT DISTINCT run_id, table_name FROM `+factTable(Ledger)+` ORDER BY run_id DESC, table_name`)
	if err != nil {
		return db.failure(ctx, what, err)
	}
	defer rows.Close()
	var run string
	var tables []string
	for rows.Next() {
		var next, table string
		if err := rows.Scan(&next, &table); err != nil {
			return db.failure(ctx, what, err)
		}
		if next != run && len(tables) > 0 {
			if err := fn(run, tables); err != nil {
				return err
			}
			tables = nil
		}
		run, tables = next, append(tables, table)
	}
	if err := rows.Err(); err != nil {
		return db.failure(ctx, what, err)
	}
	if len(tables) == 0 {
		return nil
	}
	return fn(run, tables)
}

// Check reads everything and returns what is wrong, worst first; nil when all
// is well. The error is that of ctx only: a database that cannot be read is a
// problem.
func (db *DB) Check(ctx context.Context) ([]Problem, error) {
	a := &audit{db: db}
	if a.shape(ctx) {
		for _, table := range slices.Sorted(maps.Keys(a.tables)) {
			if !a.db.isView(table) {
				a.readable(ctx, table)
			}
		}
		for _, t := range Tables() {
			a.keys(ctx, t)
		}
		a.codes(ctx)
		a.values(ctx)
		a.ledger(ctx)
	}
	if ctx.Err() != nil {
		return nil, quant.Errorf(quant.Failed, "check fact db %s: %w", db.path, context.Cause(ctx))
	}
	return a.problems, nil
}

const (
	mendReset   = "restore a backup, or `quant init-db --reset`"
	mendRewrite = "run again what wrote these rows"
)

// audit collects what Check finds.
type audit struct {
	db       *DB
	versions []wideVersion // with a table
	tables   map[string][]column
	unsound  map[string]bool // tables that cannot be examined further
	problems []Problem
}

func (a *audit) found(object, mend, format string, args ...any) {
	a.problems = append(a.problems, Problem{Object: object, What: fmt.Sprintf(format, args...), Mend: mend})
}

// shape compares schema version and columns with those of a fresh database,
// and reports whether there is anything more to examine.
func (a *audit) shape(ctx context.Context) bool {
	a.unsound = map[string]bool{}
	var err error
	if a.tables, err = columns(ctx, a.db.conn, catalog); err != nil {
		a.found(a.db.path, mendReset, "the catalog cannot be read: %s", firstLine(err))
		return false
	}
	var version sql.NullInt64
	if err := a.db.QueryRow(ctx, "SELECT max(version) FROM "+factTable(schemaVersions)).Scan(&version); err != nil {
		a.found(schemaVersions, mendReset, "cannot be read: %s", firstLine(err))
	} else if needed := schemaVersion(a.db.lake != nil); version.Int64 != int64(needed) {
		a.found(schemaVersions, "run `quant init-db`", "says %d, this program needs %d", version.Int64, needed)
	}
	a.versions = ownVersions()
	if sets, err := readSets(ctx, a.db.conn, factTable(FeatureSets)); err != nil {
		a.found(FeatureSets, mendReset, "cannot be read: %s", firstLine(err))
	} else {
		a.versions = withSets(sets)
	}
	fresh, err := freshColumns(ctx, a.versions, a.db.lake != nil)
	if err != nil {
		a.found(a.db.path, mendReset, "no fresh schema to compare with: %s", firstLine(err))
		return true
	}
	for _, table := range slices.Sorted(maps.Keys(fresh)) {
		switch got := a.tables[table]; {
		case got == nil:
			a.found(table, mendReset, "the table is missing")
		case !slices.Equal(got, fresh[table]):
			a.unsound[table] = true
			a.found(table, mendReset, "its columns are %s; they should be %s", describe(got), describe(fresh[table]))
		}
	}
	return true
}

func describe(cols []column) string {
	texts := make([]string, len(cols))
	for i, c := range cols {
		texts[i] = c.Name + " " + c.Type
		if c.NotNull {
			texts[i] += " NOT NULL"
		}
	}
	return strings.Join(texts, ", ")
}

// sound reports whether a table can be asked more.
func (a *audit) sound(table string) bool { return a.tables[table] != nil && !a.unsound[table] }

// number runs a query for one number; a failure is a finding, once a table.
func (a *audit) number(ctx context.Context, table, query string) int64 {
	if !a.sound(table) || ctx.Err() != nil {
		return 0
	}
	var n sql.NullInt64
	if err := a.db.QueryRow(ctx, query).Scan(&n); err != nil {
		a.unsound[table] = true
		a.found(table, mendReset, "cannot be read: %s", firstLine(err))
	}
	return n.Int64
}

// readable reads every value, so that DuckDB compares every block with its
// checksum.
func (a *audit) readable(ctx context.Context, table string) {
	a.number(ctx, table, "SELECT count(h) FROM (SELECT hash(t) AS h FROM "+factTable(table)+" t) WHERE h <> 0")
}

func (a *audit) keys(ctx context.Context, t Table) {
	if t.Key == nil {
		return
	}
	quoted, null := make([]string, len(t.Key)), make([]string, len(t.Key))
	for i, c := range t.Key {
		quoted[i] = sqltext.Identifier(c)
		null[i] = sqltext.Identifier(c) + " IS NULL"
	}
	from := factTable(t.Name)
	if ofFeatures(t.Name) {
		a.storedKeys(ctx, t)
	}
	if t.Name == FeaturesDaily { // the key of what stands in tables of versions cannot be NULL
		from = factTable(FeaturesOther)
	}
	if !t.openKey {
		if n := a.number(ctx, t.Name, "SELECT count(*) FROM "+from+" WHERE "+strings.Join(null, " OR ")); n > 0 {
			a.found(t.Name, mendReset, "%d rows have a NULL in their key (%s)", n, strings.Join(t.Key, ", "))
		}
	}
	list := strings.Join(quoted, ", ")
	if !ofFeatures(t.Name) {
		a.twice(ctx, t, "SELECT count(*) FROM (SELECT 1 FROM "+from+" GROUP BY "+list+" HAVING count(*) > 1)")
	}
	if t.Stamp == "" || !a.sound(Ledger) {
		return
	}
	n := a.number(ctx, t.Name, "SELECT count(*) FROM "+from+" f WHERE "+t.Unexplained())
	if t.Name == FeaturesDaily {
		for _, w := range a.versions {
			n += a.number(ctx, w.table(), "SELECT sum("+w.each("(%s IS NOT NULL)::BIGINT")+")::BIGINT FROM "+factTable(w.table())+" f WHERE "+t.Unexplained())
		}
	}
	if n > 0 {
		a.found(t.Name, mendRewrite, "%d rows have a %s that no ledger row explains", n, t.Stamp)
	}
}

func (a *audit) twice(ctx context.Context, t Table, query string) {
	if n := a.number(ctx, t.Name, query); n > 0 {
		a.found(t.Name, mendReset, "%d keys (%s) are there more than once", n, strings.Join(t.Key, ", "))
	}
}

// storedKeys finds keys of a view that stand twice, in one of the tables behind it or in
// two: for less than the view's rows, one by one, would cost.
func (a *audit) storedKeys(ctx context.Context, t Table) {
	long := a.db.longTable(t.Name)
	if !a.sound(long) || t.Name == Returns && !a.sound(ReturnsVersion) {
		return
	}
	a.twice(ctx, t, "SELECT count(*) FROM (SELECT 1 FROM "+factTable(long)+" GROUP BY "+strings.Join(t.Key, ", ")+" HAVING count(*) > 1)")
	if t.Name == Returns {
		a.twice(ctx, t, "SELECT count(*) FROM (SELECT symbol FROM "+factTable(ReturnsVersion)+" GROUP BY symbol HAVING count(*) > 1)")
		a.twice(ctx, t, "SELECT count(*) FROM "+factTable(long)+" WHERE symbol IN (SELECT symbol FROM "+factTable(ReturnsVersion)+")")
		return
	}
	for _, w := range a.versions {
		if !a.sound(w.table()) {
			continue
		}
		a.twice(ctx, t, "SELECT count(*) FROM (SELECT 1 FROM "+factTable(w.table())+" GROUP BY symbol, ts HAVING count(*) > 1)")
		if a.number(ctx, long, "SELECT count(*) FROM "+factTable(long)+" WHERE feature_version = "+sqltext.Literal(w.version)) == 0 {
			continue
		}
		both := make([]string, len(w.names))
		for i, name := range w.names {
			both[i] = fmt.Sprintf("o.feature_name = %s AND w.%s IS NOT NULL", sqltext.Literal(name), sqltext.Identifier(name))
		}
		a.twice(ctx, t, fmt.Sprintf("SELECT count(*) FROM %s o JOIN %s w ON w.symbol = o.symbol AND w.ts = o.ts WHERE o.feature_version = '%s' AND (%s)",
			factTable(long), factTable(w.table()), w.version, strings.Join(both, " OR ")))
	}
}

// codes finds rows in codes that a view does not show, or twice: what they name is not
// there, or more than once.
func (a *audit) codes(ctx context.Context) {
	if a.db.lake != nil || !a.sound(CodedParts) || !a.sound(CodedTexts) {
		return
	}
	for _, of := range [][2]string{{CodedParts, partColumn}, {CodedTexts, "code"}} {
		if n := a.number(ctx, of[0], "SELECT count(*) FROM (SELECT 1 FROM "+factTable(of[0])+" GROUP BY "+of[1]+" HAVING count(*) > 1)"); n > 0 {
			a.found(of[0], mendReset, "%d of %s are there more than once", n, of[1])
		}
	}
	for _, c := range codedTables() {
		lost := []string{"c." + partColumn + " NOT IN (SELECT " + partColumn + " FROM " + factTable(CodedParts) + " WHERE table_name = " + sqltext.Literal(c.name) + ")"}
		for _, col := range c.columns {
			if col.as == asText {
				lost = append(lost, "c."+sqltext.Identifier(col.name)+" NOT IN (SELECT code FROM "+factTable(CodedTexts)+")")
			}
		}
		if n := a.number(ctx, c.codes(), "SELECT count(*) FROM "+factTable(c.codes())+" c WHERE "+strings.Join(lost, " OR ")); n > 0 {
			a.found(c.name, mendReset, "%d rows of %s cannot be read: %s or %s lacks what they name", n, c.codes(), CodedParts, CodedTexts)
		}
	}
}

func (a *audit) values(ctx context.Context) {
	n := a.number(ctx, FeaturesDaily, "SELECT count(*) FROM "+factTable(FeaturesOther)+" WHERE NOT isfinite(feature_value)")
	stored := append(codedStorage(), FeaturesDaily, FeaturesOther, ReturnsVersion, ReturnsOther)
	for _, w := range a.versions {
		stored = append(stored, w.table())
		n += a.number(ctx, w.table(), "SELECT sum("+w.each("coalesce(NOT isfinite(%s), false)::BIGINT")+")::BIGINT FROM "+factTable(w.table()))
	}
	if n > 0 {
		a.found(FeaturesDaily, mendRewrite, "%d rows hold NaN or infinity", n)
	}
	for _, table := range slices.Sorted(maps.Keys(a.tables)) {
		var bad []string
		if slices.Contains(stored, table) {
			continue // the views of the returns and of codes show what they hold
		}
		for _, c := range a.tables[table] {
			if c.Type == "DOUBLE" {
				bad = append(bad, "NOT isfinite("+sqltext.Identifier(c.Name)+")")
			}
		}
		if bad == nil {
			continue
		}
		if n := a.number(ctx, table, "SELECT count(*) FROM "+factTable(table)+" WHERE "+strings.Join(bad, " OR ")); n > 0 {
			a.found(table, mendRewrite, "%d rows hold NaN or infinity", n)
		}
	}
	n = a.number(ctx, OHLCV, `SELECT count(*) FROM `+factTable(OHLCV)+` WHERE coalesce(NOT (low > 0 AND low <= open AND low <= close
		AND open <= high AND close <= high AND volume >= 0), true)`)
	if n > 0 {
		a.found(OHLCV, mendRewrite, "%d bars are impossible: a price or volume missing, a price not positive, or low <= open, close <= high not so", n)
	}
	n = a.number(ctx, OHLCVRevisions, "SELECT count(*) FROM "+factTable(OHLCVRevisions)+" WHERE replaced_at <= ingested_at OR bars < 1 OR (factor IS NULL) <> (stretches IS NULL)")
	if n > 0 {
		a.found(OHLCVRevisions, mendReset, "%d rows cannot say what was replaced", n)
	}
}

func (a *audit) ledger(ctx context.Context) {
	ledger := factTable(Ledger)
	if n := a.number(ctx, Ledger, "SELECT count(*) FROM "+ledger+" WHERE rows_inserted < 0 OR rows_updated < 0 OR rows_deleted < 0 OR rows_inserted + rows_updated + rows_deleted = 0"); n > 0 {
		a.found(Ledger, mendReset, "%d rows count no change, or a negative one", n)
	}
	if n := a.number(ctx, Ledger, "SELECT count(*) FROM (SELECT 1 FROM "+ledger+" GROUP BY committed_at HAVING count(DISTINCT run_id) > 1)"); n > 0 {
		a.found(Ledger, mendReset, "%d times of commit belong to more than one run", n)
	}
	if n := a.number(ctx, Ledger, "SELECT count(*) FROM (SELECT committed_at < lag(committed_at) OVER (ORDER BY rowid) AS falls FROM "+ledger+") WHERE falls"); n > 0 {
		a.found(Ledger, mendReset, "%d rows were written later, but with an earlier time of commit, than the row before", n)
	}
	if !a.sound(Ledger) {
		return
	}
	for _, t := range Tables() {
		if !t.ledgered {
			continue
		}
		written := sqltext.Literal(t.Name)
		if t.Name == FactSlices {
			written = "f.table_name" // names the writer of that table
		}
		n := a.number(ctx, t.Name, "SELECT count(*) FROM "+factTable(t.Name)+" f WHERE f.run_id IS NULL OR NOT EXISTS (SELECT 1 FROM "+ledger+
			" l WHERE l.run_id = f.run_id AND l.table_name = "+written+")")
		if n > 0 {
			a.found(t.Name, mendRewrite, "%d rows name a run that has no ledger row for it", n)
		}
	}
	for _, t := range Tables() {
		if !slices.Contains(t.Companions, FactSlices) || !a.sound(FactSlices) {
			continue
		}
		n := a.number(ctx, t.Name, "SELECT count(DISTINCT symbol) FROM "+factTable(t.Name)+" f WHERE "+t.Unexplained())
		if n > 0 {
			a.found(t.Name, mendRewrite, "rows of %d symbols have no writer in fact_slices", n)
		}
	}
}
