// Package sqlfeature computes features by a SELECT that a user wrote, and proves before
// it stores one that none looks ahead: the same query over the facts as they were on
// earlier days, and over facts of which all that came later is changed, must give the
// same values up to that day.
//
// It owns what such a query may read, what its rows must be, and the proof. It runs no
// query (its caller hands in a sandbox) and owns no table.
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

	"quant"
	"quant/internal/calendar"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// Request says what to compute.
type Request struct {
	RunID       string
	Version     string  // of the features
	SQL         string  // one SELECT: symbol, ts, and feature_value (with feature_name, or Feature), or a column a feature
	Feature     string  // the name, where the query gives none
	Set         []Query // in the place of SQL: a query a feature, in the order of the set
	Description string  // of the set; "": what stands is left
	ProofDays   int     // on so many days it is proved; 0: DefaultProofDays
	Folder      string  // for files that live no longer than the call; it is empty
	Calendar    *calendar.Calendar

	// Standing returns an earlier run of the same key, by which the features were computed
	// and proved: its days, and the digest of its output. ok: there is one. nil: nothing is
	// looked for, and all is computed.
	Standing func(ctx context.Context, key string) (earlier Earlier, ok bool, err error)

	// Query runs one reading statement on the database at path, in a process that can
	// reach nothing else, and writes its rows to out as CSV with a header.
	Query func(ctx context.Context, path, query string, out io.Writer) error
}

// Query is a feature that a SELECT of symbol, ts and one column of values defines.
type Query struct{ Name, SQL string }

// Earlier is a run that computed and proved a set.
type Earlier struct {
	RunID  string
	Days   []quant.Date // of its proof
	Digest string       // of what it gave
}

// DefaultProofDays is on how many days a query is proved.
const DefaultProofDays = 8

// Report is what was computed, and what the proof looked at.
type Report struct {
	Version   string    `json:"version"`
	Features  []Feature `json:"features"`
	Symbols   int64     `json:"symbols"`
	KnownAt   string    `json:"known_at"` // proved, or stated: it rests on what was imported
	RowsRead  int64     `json:"rows_read"`
	NotFinite int64     `json:"values_not_finite"` // NaN or an infinity: no row
	Inserted  int64     `json:"values_inserted"`
	Updated   int64     `json:"values_updated"`
	Unchanged int64     `json:"values_unchanged"`
	Deleted   int64     `json:"values_deleted"`

	FirstDate quant.Text `json:"first_date"`
	LastDate  quant.Text `json:"last_date"`
	Proof     Proof      `json:"proof"`
	Reads     []Read     `json:"reads"`
	// StandingRun proved what stands, by the same queries over the same facts: nothing was
	// computed. "": no run did.
	StandingRun string `json:"standing_run"`
	// Key tells of what the features follow from: the queries, the state of what they read,
	// the days of the proof, the sessions and the engine.
	Key string `json:"-"`

	Inputs  []quant.RunIO `json:"-"`
	Outputs []quant.RunIO `json:"-"`
}

// Feature counts the values of one feature.
type Feature struct {
	Name   string `json:"name"`
	Values int64  `json:"values"`
}

// Read is a table that the query names, in the state in which it stood.
type Read struct {
	Table  string `json:"table"`
	Rows   int64  `json:"rows"`
	Digest string `json:"digest"`
}

// Proof says on which days what was computed again.
type Proof struct {
	Days     []quant.Date `json:"days"`     // history was cut after each, and changed after each
	Seed     string       `json:"seed"`     // what the days follow from: the query and the state of what it reads
	Compared int64        `json:"compared"` // values
}

// TEMP tables.
const (
	whole  = "sqlfeature_whole" // a row a symbol and day, a column a feature
	part   = "sqlfeature_part"  // the same, of less or of other history
	loaded = "sqlfeature_rows"  // as the query wrote them, texts
)

// Compute runs the query, proves it, and makes the set of the version hold what it
// gives, which is declared if it is new.
//
// Usage: the query cannot be read, or its columns are not those of features. Refused:
// it reads what no feature is made of, or rows that no run explains; a row of it is of
// no symbol or session of the lab, or stands twice; or a feature looks ahead, which
// says the symbol, the day and both values. Conflict: the version stands with another
// meaning. Errors of Query are returned as they are. Nothing is stored then.
func Compute(ctx context.Context, db *factstore.DB, req Request) (Report, error) {
	c := &computing{Request: req, db: db, report: Report{Version: req.Version, Features: []Feature{}, Reads: []Read{}, KnownAt: factstore.KnownProved}}
	defer c.drop(context.WithoutCancel(ctx))
	c.SQL = factstore.TrimStatement(req.SQL)
	if c.ProofDays == 0 {
		c.ProofDays = DefaultProofDays
	}
	if c.ProofDays < 3 || c.ProofDays > 1000 {
		return c.report, quant.Errorf(quant.Usage, "%d days prove nothing, or take too long", c.ProofDays).WithHint("3 to 1000; %d is the default", DefaultProofDays)
	}
	if c.Set != nil {
		if err := c.join(ctx); err != nil {
			return c.report, err
		}
	}
	if err := c.look(ctx); err != nil {
		return c.report, err
	}
	if stands, err := c.stands(ctx); err != nil || stands {
		return c.report, err
	}
	for _, step := range []func(context.Context) error{c.excerpt, c.compute, c.prove, c.rests, c.store} {
		if err := step(ctx); err != nil {
			return c.report, err
		}
	}
	return c.report, nil
}

// join makes one query of those of the set, which names the features in rows.
func (c *computing) join(ctx context.Context) error {
	parts := make([]string, len(c.Set))
	for i, q := range c.Set {
		if err := Check(ctx, c.db, q); err != nil {
			return err
		}
		statement := factstore.TrimStatement(q.SQL)
		if strings.Contains(statement, ";") { // before a comment that ends it
			if err := c.db.QueryRow(ctx, "SELECT json_deserialize_sql(json_serialize_sql(CAST(? AS VARCHAR)))", statement).Scan(&statement); err != nil {
				return quant.Errorf(quant.Usage, "feature %s: the query cannot be read: %s", q.Name, quant.Clip(quant.FirstLine(err.Error()), 300)).WithHint("write one SELECT")
			}
		}
		parts[i] = "SELECT symbol, ts, " + sqltext.Literal(q.Name) + ", * EXCLUDE (symbol, ts) FROM (" + statement + "\n)"
		c.names = append(c.names, q.Name)
	}
	c.SQL = "SELECT * FROM (" + strings.Join(parts, "\nUNION ALL\n") + ") AS q (symbol, ts, feature_name, feature_value)"
	return c.db.CheckDeclared(ctx, c.set())
}

// Check is Usage for a query that is not one statement that can be read. What it reads,
// and what it gives, is found out when it runs.
func Check(ctx context.Context, db *factstore.DB, q Query) error {
	_, err := tablesOf(ctx, db, factstore.TrimStatement(q.SQL), func(string) bool { return true })
	if err != nil {
		return quant.Errorf(quant.CodeOf(err), "feature %s: %w", q.Name, err).WithHint("%s", quant.HintOf(err))
	}
	return nil
}

type computing struct {
	Request
	db     *factstore.DB
	report Report

	tables  []string // that are read
	shown   *factstore.Excerpt
	last    quant.Date
	long    bool // the query names the features in rows
	names   []string
	columns []string // of the query
	runs    int
}

func (c *computing) drop(ctx context.Context) {
	for _, t := range []string{whole, part, loaded} {
		_, _ = c.db.Stage(ctx, "DROP TABLE IF EXISTS temp.main."+t)
	}
}

// wideNames are the features of a table of a version, nil where it is none.
func (c *computing) wideNames(ctx context.Context, table string) ([]string, error) {
	version, is := strings.CutPrefix(table, "features_")
	if !is {
		return nil, nil
	}
	_, names, ok, err := c.db.FeatureTable(ctx, version)
	if !ok || err != nil {
		return nil, err
	}
	return names, nil
}

// look finds the tables that are read, and the state that they are in.
func (c *computing) look(ctx context.Context) error {
	var failed error
	tables, err := tablesOf(ctx, c.db, c.SQL, func(name string) bool {
		names, err := c.wideNames(ctx, name)
		if err != nil {
			failed = err
		}
		return names != nil && name != "features_"+c.Version || slices.Contains([]string{factstore.OHLCV, factstore.Returns, factstore.FeaturesDaily, factstore.Labels, factstore.Predictions}, name)
	})
	if err != nil || failed != nil {
		return firstOf(failed, err)
	}
	if len(tables) == 0 {
		return quant.Errorf(quant.Refused, "the query reads no table, and so is no feature of the market").WithHint("read ohlcv, for example")
	}
	c.tables = tables
	if err := c.db.QueryRow(ctx, "SELECT max(ts) FROM ohlcv").Scan(&c.last); err != nil || c.last == 0 {
		return quant.Errorf(quant.NotFound, "the lab has no prices").WithHint("`quant ingest FILE` loads prices")
	}
	for _, name := range tables {
		writers, err := c.writers(ctx, name)
		if err != nil {
			return err
		}
		rows, digest, err := c.db.Digest(ctx, c.rowsOf(name))
		if err != nil {
			return err
		}
		c.report.Reads = append(c.report.Reads, Read{name, rows, digest})
		n := rows
		c.report.Inputs = append(c.report.Inputs, quant.RunIO{Direction: quant.In, Kind: quant.IOTable, Name: name, Rows: &n, Digest: quant.Text(digest)})
		c.report.Inputs = append(c.report.Inputs, factstore.WrittenBy(writers)...)
	}
	return nil
}

// rowsOf is a query for what is read of a table.
func (c *computing) rowsOf(table string) string {
	switch table {
	case factstore.OHLCV:
		return "SELECT * EXCLUDE (ingested_at) FROM ohlcv"
	case factstore.FeaturesDaily:
		return "SELECT * EXCLUDE (computed_at) FROM features_daily WHERE feature_version <> " + sqltext.Literal(c.Version)
	case factstore.Predictions:
		return "SELECT * EXCLUDE (generated_at) FROM predictions"
	case factstore.Returns, factstore.Labels:
		return "SELECT * FROM " + sqltext.Identifier(table)
	}
	return "SELECT * EXCLUDE (computed_at) FROM " + sqltext.Identifier(table)
}

// excerpt takes an excerpt of the tables.
func (c *computing) excerpt(ctx context.Context) error {
	queries := map[string]string{}
	for _, name := range c.tables {
		query := c.rowsOf(name)
		if name == factstore.Labels {
			release, known, err := c.knownLabels(query)
			if err != nil {
				return err
			}
			defer release()
			query = known
		}
		queries[name] = query
	}
	var err error
	c.shown, err = c.db.NewExcerpt(ctx, filepath.Join(c.Folder, "excerpt.duckdb"), c.tables, queries)
	return err
}

// kernel stands for what this package does with a query: it is raised when the same query
// gives other rows, or a proof means another thing.
const kernel = 1

// reads reports whether a query reads features of a version: never of the one that it
// makes.
func (c *computing) reads(version string) bool {
	return version != c.Version && (has(c.tables, factstore.FeaturesDaily) || has(c.tables, factstore.TableOfVersion(version)))
}

// stands finds whether an earlier run computed and proved the features by the same
// queries over the same facts, and what it gave is what stands. Then there is nothing to
// do.
func (c *computing) stands(ctx context.Context) (bool, error) {
	var engine string
	if err := c.db.QueryRow(ctx, "SELECT version()").Scan(&engine); err != nil {
		return false, err
	}
	// Of imported values a query may make a set that is stated: whether it does follows
	// from what they are.
	sets, err := c.db.FeatureSets(ctx)
	if err != nil {
		return false, err
	}
	parts := []any{kernel, engine, c.Version, c.ProofDays, c.seed(), c.Calendar.Name()}
	for i := range c.Calendar.Len() {
		parts = append(parts, int(c.Calendar.At(i)))
	}
	for _, s := range sets {
		if c.reads(s.Version) {
			parts = append(parts, s.Version, s.KnownAt)
		}
	}
	c.report.Key = durable.Digest(fmt.Append(nil, parts...))
	if c.Standing == nil {
		return false, nil
	}
	at := slices.IndexFunc(sets, func(s factstore.FeatureSet) bool { return s.Version == c.Version && s.Kind == factstore.KindSQL })
	if at < 0 {
		return false, nil
	}
	set := sets[at]
	if c.Feature != "" && len(set.Features) == 1 && set.Features[0].Name != c.Feature {
		return false, nil
	}
	if c.Set != nil && factstore.DigestOf(c.set()) != set.Digest {
		return false, nil
	}
	earlier, ok, err := c.Standing(ctx, c.report.Key)
	if err != nil || !ok {
		return false, err
	}
	list := make([]string, len(set.Features))
	for i, f := range set.Features {
		list[i] = sqltext.Identifier(f.Name)
	}
	table := "SELECT symbol, ts, " + strings.Join(list, ", ") + " FROM " + factstore.TableOfVersion(c.Version)
	_, digest, err := c.db.Digest(ctx, table)
	if err != nil || digest != earlier.Digest {
		return false, err
	}
	if err := c.db.RequireExplained(ctx, factstore.FeaturesDaily, "", "feature_version = "+sqltext.Literal(c.Version)); err != nil {
		return false, nil //nolint:nilerr // computing sets it right
	}
	set.Description = c.Description
	if err := c.db.DescribeFeatures(ctx, c.RunID, set); err != nil {
		return false, err
	}
	r := &c.report
	r.StandingRun, r.KnownAt, r.Proof = earlier.RunID, set.KnownAt, Proof{Days: earlier.Days, Seed: c.seed()}
	c.names = set.Names()
	if err := c.counted(ctx, table); err != nil {
		return false, err
	}
	for _, f := range r.Features {
		r.Unchanged += f.Values
	}
	none := int64(0)
	r.Outputs = []quant.RunIO{{Direction: quant.Out, Kind: quant.IOTable, Name: factstore.FeaturesDaily, Rows: &none, FirstDate: r.FirstDate, LastDate: r.LastDate, Digest: quant.Text(digest)}}
	return true, nil
}

// writers are the runs that wrote what is read of a table. Refused: no run wrote some of
// it.
func (c *computing) writers(ctx context.Context, table string) ([]string, error) {
	where := "true"
	switch table {
	case factstore.OHLCV, factstore.Predictions, factstore.FeaturesDaily:
		if table == factstore.FeaturesDaily {
			where = "feature_version <> " + sqltext.Literal(c.Version)
		}
		if err := c.db.RequireExplained(ctx, table, "", where); err != nil {
			return nil, err
		}
		return c.db.Writers(ctx, table, where)
	case factstore.Labels, factstore.Returns:
		if err := c.db.RequireExplained(ctx, table, "", where); err != nil {
			return nil, err
		}
		return c.db.SliceWriters(ctx, table, where)
	}
	names, err := c.wideNames(ctx, table)
	if err != nil {
		return nil, err
	}
	version, _ := strings.CutPrefix(table, "features_")
	return c.db.FeatureWriters(ctx, []factstore.VersionFeatures{{Version: version, Names: names}}, where)
}

// knownOn is the column of the day at whose close a label is known.
const knownOn = "quant_known_on"

// knownLabels adds to labels the day on which each is known.
func (c *computing) knownLabels(query string) (release func(), known string, err error) {
	sessions := make([]quant.Date, c.Calendar.Len())
	index := make([]int32, len(sessions))
	for i := range sessions {
		sessions[i], index[i] = c.Calendar.At(i), int32(i)
	}
	relation, release, err := c.db.Hold(factstore.Column{Name: "session", Dates: sessions}, factstore.Column{Name: "i", Integers: index})
	if err != nil {
		return nil, "", err
	}
	return release, "SELECT l.*, coalesce(z.session, DATE '9999-12-31') AS " + knownOn + " FROM (" + query + ") l LEFT JOIN " + relation +
		" a ON a.session = l.ts LEFT JOIN " + relation + " z ON z.i = a.i + TRY_CAST(regexp_extract(l.label_name, '_([0-9]+)d$', 1) AS INTEGER)", nil
}

// history says what a query is to see.
type history struct {
	cut, changed quant.Date // nothing after; changed after; 0: all, as it is
	proved       bool       // nothing that was imported
}

// show makes the excerpt show a history.
func (c *computing) show(ctx context.Context, h history) error {
	stated := ""
	if h.proved {
		sets, err := c.db.FeatureSets(ctx)
		if err != nil {
			return err
		}
		var list []string
		for _, s := range sets {
			if s.KnownAt == factstore.KnownStated {
				list = append(list, s.Version)
			}
		}
		stated = sqltext.Literals(list)
	}
	wide := map[string][]string{}
	for _, name := range c.tables {
		names, err := c.wideNames(ctx, name)
		if err != nil {
			return err
		}
		wide[name] = names
	}
	return c.shown.Show(ctx, c.tables, func(name string) (selected, where string) {
		when := "ts"
		var values []string
		selected, where = "*", "true"
		switch name {
		case factstore.OHLCV:
			values = []string{"open", "high", "low", "close", "adjusted_close", "volume"}
		case factstore.Returns:
			values = []string{"ret_1d", "ret_5d", "ret_20d", "ret_60d"}
		case factstore.FeaturesDaily:
			values = []string{"feature_value"}
			if stated != "" {
				where = "feature_version NOT IN (" + stated + ")"
			}
		case factstore.Labels:
			values, when, selected = []string{"label_value"}, knownOn, "* EXCLUDE ("+knownOn+")"
		case factstore.Predictions:
			values = []string{"score", "calibrated_score"}
			if h.proved {
				where = "task_id <> 'imported'"
			}
		default:
			values = wide[name]
			if version, _ := strings.CutPrefix(name, "features_"); stated != "" && strings.Contains(stated, sqltext.Literal(version)) {
				where = "false"
			}
		}
		if h.cut != 0 {
			where += " AND " + when + " <= DATE '" + h.cut.String() + "'"
		}
		if h.changed != 0 {
			// One factor a row, so that a bar stays one.
			list := make([]string, len(values))
			for i, v := range values {
				column := sqltext.Identifier(v)
				list[i] = fmt.Sprintf("CASE WHEN %s > DATE '%s' THEN %s * (0.5 + (hash(symbol, ts) %% 1000) / 1000.0) ELSE %[3]s END AS %[3]s", when, h.changed, column)
			}
			selected += " REPLACE (" + strings.Join(list, ", ") + ")"
		}
		return selected, where
	})
}

// run stages what the query gives on a history, as texts, in loaded.
func (c *computing) run(ctx context.Context, h history) (err error) {
	if err := c.show(ctx, h); err != nil {
		return err
	}
	c.runs++
	path := filepath.Join(c.Folder, fmt.Sprintf("rows%d.csv", c.runs))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return quant.Errorf(quant.Failed, "keep the rows of the query: %w", err)
	}
	defer os.Remove(path)
	defer f.Close()
	if err := c.Query(ctx, c.shown.Path(), c.SQL, f); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return quant.Errorf(quant.Failed, "keep the rows of the query: %w", err).WithHint("make room")
	}
	name, err := sqltext.File(path)
	if err != nil {
		return err
	}
	_, err = c.db.Stage(ctx, "CREATE OR REPLACE TEMP TABLE "+loaded+" AS SELECT * FROM read_csv("+name+", header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"', nullstr = '', parallel = false, null_padding = false)")
	return err
}

// compute runs the query on all there is, and examines its rows.
func (c *computing) compute(ctx context.Context) error {
	if err := c.run(ctx, history{}); err != nil {
		return err
	}
	var err error
	c.columns, err = factstore.Values[string](ctx, c.db, "SELECT column_name FROM duckdb_columns() WHERE database_name = 'temp' AND table_name = ? ORDER BY column_index", loaded)
	if err != nil {
		return err
	}
	if err := c.arrange(ctx); err != nil {
		return err
	}
	if err := c.examine(ctx); err != nil {
		return err
	}
	if err := c.gather(ctx, whole); err != nil {
		return err
	}
	return c.count(ctx)
}

func has(list []string, name string) bool { return slices.Contains(list, name) }

// arrange finds the features in the columns of the query.
func (c *computing) arrange(ctx context.Context) error {
	if c.Set != nil && (len(c.columns) != 4 || !has(c.columns, "feature_value")) {
		return quant.Errorf(quant.Usage, "the queries of %s give more than symbol, ts and one column of values", c.Version).WithHint("SELECT symbol, ts, and the value")
	}
	bad := func(format string, args ...any) *quant.Error {
		return quant.Errorf(quant.Usage, "the query's columns are %s: %s", quant.SomeOf(c.columns, 10), fmt.Sprintf(format, args...))
	}
	if !has(c.columns, "symbol") || !has(c.columns, "ts") {
		return bad("symbol and ts are not both there").WithHint("select symbol, ts, feature_value")
	}
	var rest []string
	for _, name := range c.columns {
		if name != "symbol" && name != "ts" {
			rest = append(rest, name)
		}
	}
	switch {
	case has(rest, "feature_value") && has(rest, "feature_name") && len(rest) == 2:
		c.long = true
		if c.Set != nil {
			return nil
		}
		rows, err := c.db.Query(ctx, "SELECT DISTINCT coalesce(feature_name, '') FROM temp.main."+loaded+" ORDER BY 1")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() && len(c.names) <= 1000 {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			c.names = append(c.names, name)
		}
		if err := rows.Err(); err != nil {
			return err
		}
	case has(rest, "feature_value") && len(rest) == 1:
		if c.Feature == "" {
			return bad("none names the feature").WithHint("--feature NAME, or select a column feature_name, or call the column of the values by the name of the feature")
		}
		c.names = []string{c.Feature}
	case len(rest) > 0 && !has(rest, "feature_value"):
		c.names = rest
	default:
		return bad("which are features?").WithHint("select symbol, ts, feature_name, feature_value; or symbol, ts and a column a feature")
	}
	if len(c.names) == 0 {
		return quant.Errorf(quant.Refused, "the query gives no rows").WithHint("run it with `quant sql`")
	}
	for _, name := range c.names {
		if err := factstore.CheckFeatureName(name); err != nil {
			return quant.Errorf(quant.Usage, "the query: %w", err).WithHint("%s", quant.HintOf(err))
		}
	}
	return nil
}

// dayText are the days as the query wrote them: a date, or a timestamp at midnight.
var dayText = `^[0-9]{4}-[0-9]{2}-[0-9]{2}(T00:00:00(\.0+)?Z?)?$`

// number reads the text of a value; a condition is 1 or 0.
func number(v string) string {
	return "CASE " + v + " WHEN 'true' THEN 1.0 WHEN 'false' THEN 0.0 ELSE TRY_CAST(" + v + " AS DOUBLE) END"
}

// examine refuses rows that can be none of features.
func (c *computing) examine(ctx context.Context) error {
	release, sessions, err := c.sessions()
	if err != nil {
		return err
	}
	defer release()
	values := []string{}
	for _, v := range c.valueColumns() {
		values = append(values, "("+v+" IS NOT NULL AND "+number(v)+" IS NULL)")
	}
	day := "TRY_CAST(left(ts, 10) AS DATE)"
	fault := fmt.Sprintf(`CASE WHEN symbol IS NULL THEN 'symbol is NULL' WHEN ts IS NULL THEN 'ts is NULL' WHEN NOT regexp_full_match(ts, %s) OR %s IS NULL THEN 'ts is no date'
		WHEN symbol NOT IN (SELECT symbol FROM ohlcv) THEN 'the symbol has no prices in the lab' WHEN %[2]s > DATE '%[3]s' THEN 'ts is after the last bar of the lab'
		WHEN %[2]s NOT IN (SELECT session FROM %[4]s) THEN 'ts is no session of %[5]s' WHEN %[6]s THEN 'a value is no number' END`,
		sqltext.Literal(dayText), day, c.last, sessions, c.Calendar.Name(), strings.Join(values, " OR "))
	var n int64
	var what, symbol, ts sql.NullString
	query := "SELECT count(fault), arg_min(fault, concat(ts, symbol)) FILTER (fault IS NOT NULL), arg_min(symbol, concat(ts, symbol)) FILTER (fault IS NOT NULL), arg_min(ts, concat(ts, symbol)) FILTER (fault IS NOT NULL), count(*) FROM (SELECT symbol, ts, " + fault + " AS fault FROM temp.main." + loaded + ")"
	if err := c.db.QueryRow(ctx, query).Scan(&n, &what, &symbol, &ts, &c.report.RowsRead); err != nil {
		return err
	}
	if n > 0 {
		return quant.Errorf(quant.Refused, "the query gives %s that are none of features, such as %s %s: %s", quant.Count(int(n), "row"), symbol.String, ts.String, what.String).WithHint("leave them out in the query; nothing was stored")
	}
	key := "symbol, left(ts, 10)"
	if c.long {
		key += ", feature_name"
	}
	err = c.db.QueryRow(ctx, "SELECT concat_ws(' ', "+key+") FROM temp.main."+loaded+" GROUP BY "+key+" HAVING count(*) > 1 ORDER BY 1 LIMIT 1").Scan(&what)
	switch {
	case err == nil:
		return quant.Errorf(quant.Refused, "the query gives %s more than once", what.String).WithHint("one row a symbol and day: does a join multiply them? Nothing was stored")
	case err != sql.ErrNoRows: //nolint:errorlint // Scan returns it as it is
		return err
	}
	return nil
}

func (c *computing) sessions() (release func(), relation string, err error) {
	days := c.Calendar.Sessions(quant.Date(-25567), c.last)
	if days == nil {
		days = []quant.Date{}
	}
	relation, release, err = c.db.Hold(factstore.Column{Name: "session", Dates: days})
	return release, relation, err
}

func (c *computing) valueColumns() []string {
	if c.long || has(c.columns, "feature_value") {
		return []string{"feature_value"}
	}
	list := make([]string, len(c.names))
	for i, name := range c.names {
		list[i] = sqltext.Identifier(name)
	}
	return list
}

// gather makes a table of what is loaded: a row a symbol and day, a column a feature.
func (c *computing) gather(ctx context.Context, into string) error {
	finite := func(v string) string {
		v = number(v)
		return "CASE WHEN isfinite(" + v + ") THEN " + v + " END"
	}
	selected := make([]string, len(c.names))
	some := make([]string, len(c.names))
	group := ""
	for i, name := range c.names {
		column := sqltext.Identifier(name)
		switch {
		case c.long:
			selected[i], group = "max("+finite("feature_value")+") FILTER (feature_name = "+sqltext.Literal(name)+") AS "+column, " GROUP BY ALL"
		case has(c.columns, "feature_value"):
			selected[i] = finite("feature_value") + " AS " + column
		default:
			selected[i] = finite(column) + " AS " + column
		}
		some[i] = column
	}
	_, err := c.db.Stage(ctx, fmt.Sprintf("CREATE OR REPLACE TEMP TABLE %s AS SELECT * FROM (SELECT symbol, TRY_CAST(left(ts, 10) AS DATE) AS ts, %s FROM temp.main.%s WHERE symbol IS NOT NULL%s) WHERE coalesce(%s) IS NOT NULL ORDER BY symbol, ts",
		into, strings.Join(selected, ", "), loaded, group, strings.Join(some, ", ")))
	return err
}

// counted counts the values of a table of features.
func (c *computing) counted(ctx context.Context, query string) error {
	r := &c.report
	var first, last sql.NullString
	if err := c.db.QueryRow(ctx, "SELECT count(DISTINCT symbol), CAST(min(ts) AS VARCHAR), CAST(max(ts) AS VARCHAR) FROM ("+query+")").Scan(&r.Symbols, &first, &last); err != nil {
		return err
	}
	r.FirstDate, r.LastDate = quant.Text(first.String), quant.Text(last.String)
	for _, name := range c.names {
		f := Feature{Name: name}
		if err := c.db.QueryRow(ctx, "SELECT count("+sqltext.Identifier(name)+") FROM ("+query+")").Scan(&f.Values); err != nil {
			return err
		}
		r.Features = append(r.Features, f)
	}
	return nil
}

func (c *computing) count(ctx context.Context) error {
	r := &c.report
	if err := c.counted(ctx, "SELECT * FROM temp.main."+whole); err != nil {
		return err
	}
	var all int64
	for _, f := range r.Features {
		if c.Set != nil && f.Values == 0 {
			return quant.Errorf(quant.Refused, "the query of %s gives no value", f.Name).WithHint("run it with `quant sql`")
		}
		all += f.Values
	}
	if all == 0 {
		return quant.Errorf(quant.Refused, "the query gives no value").WithHint("run it with `quant sql`")
	}
	var given int64
	counts := []string{}
	for _, v := range c.valueColumns() {
		counts = append(counts, "count("+v+")")
	}
	if err := c.db.QueryRow(ctx, "SELECT "+strings.Join(counts, " + ")+" FROM temp.main."+loaded).Scan(&given); err != nil {
		return err
	}
	r.NotFinite = given - all
	return nil
}

// rests finds whether the features rest on what was imported: they do if they come out
// otherwise without it.
func (c *computing) rests(ctx context.Context) error {
	sets, err := c.db.FeatureSets(ctx)
	if err != nil {
		return err
	}
	stated := slices.ContainsFunc(sets, func(s factstore.FeatureSet) bool { return s.KnownAt == factstore.KnownStated })
	imported := has(c.tables, factstore.Predictions) || stated && slices.ContainsFunc(c.tables, func(t string) bool { return strings.HasPrefix(t, "features_") })
	if !imported {
		return nil
	}
	if err := c.run(ctx, history{proved: true}); err != nil {
		return err
	}
	if err := c.gather(ctx, part); err != nil {
		return err
	}
	found, err := c.differs(ctx, quant.Date(1<<30))
	if found != nil {
		c.report.KnownAt = factstore.KnownStated
	}
	return err
}

// set is the set as it is declared.
func (c *computing) set() factstore.FeatureSet {
	s := factstore.FeatureSet{Version: c.Version, Kind: factstore.KindSQL, Description: c.Description}
	for i, name := range c.names {
		f := factstore.SetFeature{Name: name, Kind: factstore.KindSQL, Definition: c.SQL, ScaleFree: true, KnownAt: c.report.KnownAt}
		if c.Set != nil {
			f = factstore.QueryFeature(c.Set[i].Name, c.Set[i].SQL)
			f.KnownAt = c.report.KnownAt
		}
		s.Features = append(s.Features, f)
	}
	return s
}

// QueriesOf are the queries of a set whose features have queries of their own; nil: one
// query gives all of them.
func QueriesOf(s factstore.FeatureSet) []Query {
	var list []Query
	for _, f := range s.Features {
		if !f.OwnQuery() {
			return nil
		}
		list = append(list, Query{f.Name, f.Definition})
	}
	return list
}

func (c *computing) store(ctx context.Context) error {
	r := &c.report
	set := c.set()
	_, err := c.db.Write(ctx, c.RunID, func(ctx context.Context, tx *factstore.Tx) error {
		if stands, err := tx.FeatureSet(ctx, c.Version); err == nil && stands.Kind == factstore.KindSQL && stands.KnownAt != r.KnownAt {
			return quant.Errorf(quant.Conflict, "feature version %s stands as %s, and is %s by what it reads now", c.Version, stands.KnownAt, r.KnownAt).WithHint("give it a new version: what a name means never changes")
		}
		if _, err := tx.DeclareFeatures(ctx, set); err != nil {
			return err
		}
		d, err := tx.MergeFeatures(ctx, factstore.StatedMerge{Name: c.Version, Source: whole, Names: c.names, Exact: true, Computed: true})
		r.Inserted, r.Updated, r.Unchanged, r.Deleted = d.Inserted, d.Updated, d.Unchanged, d.Deleted
		return err
	})
	if err != nil {
		r.Inserted, r.Updated, r.Unchanged, r.Deleted = 0, 0, 0, 0
		return err
	}
	_, digest, err := c.db.Digest(ctx, "SELECT * FROM temp.main."+whole)
	if err != nil {
		return err
	}
	changed := r.Inserted + r.Updated + r.Deleted
	r.Outputs = []quant.RunIO{{Direction: quant.Out, Kind: quant.IOTable, Name: factstore.FeaturesDaily, Rows: &changed, FirstDate: r.FirstDate, LastDate: r.LastDate, Digest: quant.Text(digest)}}
	return nil
}

// seed is what the days of the proof follow from.
func (c *computing) seed() string {
	parts := []string{c.SQL}
	for _, read := range c.report.Reads {
		parts = append(parts, read.Table+" "+read.Digest)
	}
	return durable.Digest([]byte(strings.Join(parts, "\n")))
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
