// Package feature computes what is known at the close of a session from the
// bars up to it (features, returns) and what came after it (labels), and judges
// the one by the other (factor reports). Its catalogue is the one place that
// says what a feature is. It reads prices through package price, on one basis,
// and owns the tables features_daily, returns, labels and fact_inputs; who ranks
// or trains with them reads the tables.
//
// A slice (the rows of one symbol and version) is computed whole or not at all,
// and only where its bars, its sessions or its definition changed: what stands
// afterwards is what computing everything again would give.
package feature

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/price"
)

// Request says which features, or labels, of which symbols.
type Request struct {
	RunID     string
	Version   string   // feature version or label version
	Horizon   int      // of labels, in sessions
	Symbols   []string // nil: all that have bars, or had some
	AcceptRaw bool     // see price.Request
	Force     bool     // compute also what has not changed
}

// Report is what a computation did.
type Report struct {
	Version    string     `json:"version"`
	Calendar   string     `json:"calendar"`
	Basis      string     `json:"basis"`    // of the prices: adjusted, raw, mixed or none
	Symbols    int        `json:"symbols"`  // with bars
	Computed   int        `json:"computed"` // of these, those whose inputs had changed
	Removed    int        `json:"removed"`  // symbols whose bars are gone, and with them their rows
	BarsRead   int64      `json:"bars_read"`
	FirstDate  quant.Text `json:"first_date"` // of the bars
	LastDate   quant.Text `json:"last_date"`
	BarsDigest string     `json:"bars_digest"`
	Series     []Series   `json:"series"`
	Tables     []Table    `json:"tables"`
	Notices    []string   `json:"notices"`

	// What was read, with the runs that wrote it, and what was written; set where
	// the computation succeeded.
	Inputs  []quant.RunIO `json:"-"`
	Outputs []quant.RunIO `json:"-"`
}

// Series is one feature or label as it was computed by this run, for those
// symbols whose inputs had changed.
type Series struct {
	Name      string `json:"name"`
	Rows      int64  `json:"rows"`
	NonFinite int64  `json:"non_finite"` // NaN or infinite: these have no row
}

// Table is what became of a table.
type Table struct {
	Table    string `json:"table"`
	Inserted int64  `json:"rows_inserted"`
	Updated  int64  `json:"rows_updated"`
	Deleted  int64  `json:"rows_deleted"`
	Digest   string `json:"digest"` // of the rows that now stand of the version and symbols that the run was responsible for
}

// Changed is the number of rows that the run changed.
func (t Table) Changed() int64 { return t.Inserted + t.Updated + t.Deleted }

// Features computes the features of a version, and returns, and makes
// features_daily and returns hold exactly these for the symbols asked for.
// Invalid: no such version. NotFound: there is nothing to compute from.
// Refused: see price.Stage.
func Features(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req Request) (Report, error) {
	if err := CheckVersion(req.Version); err != nil {
		return Report{}, err
	}
	list, err := Catalogue(req.Version)
	if err != nil {
		return Report{}, err
	}
	return compute(ctx, db, cal, req, list)
}

// compute computes these entries as the features of the version.
func compute(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req Request, list []Entry) (Report, error) {
	c := &computation{
		db: db, cal: cal, req: req, what: "features " + req.Version,
	}
	var recursions []string
	returns := part{table: factstore.Returns, from: wideTable, slice: 1}
	returnList := []Entry{}
	for _, e := range list {
		p := part{table: factstore.FeaturesDaily, stamp: "computed_at", from: wideTable, name: e.Name, values: []string{"feature_value", e.Name}}
		p.fixed = []string{"feature_name", e.Name, "feature_version", req.Version}
		if e.lagged+e.rolled == "" {
			p.from = recursiveTable
			recursions = append(recursions, e.Name)
		}
		c.parts = append(c.parts, p)
		if strings.HasPrefix(e.Name, "ret_") {
			returns.values = append(returns.values, e.Name, e.Name)
			returnList = append(returnList, e)
		}
	}
	c.slices = []slice{{factstore.FeaturesDaily, "", req.Version, fmt.Sprintf("%s\nkernel %d %s", wideSQL(list), kernelVersion, recursions)}}
	if len(returnList) > 0 {
		c.parts = append(c.parts, returns)
		c.slices = append(c.slices, slice{factstore.Returns, "", "", wideSQL(returnList)})
	}
	c.stage = func(ctx context.Context) error {
		// Long rows are stored, and read by day, for less when the wide ones
		// stand in the order of days.
		if _, err := db.Stage(ctx, "CREATE OR REPLACE TEMP TABLE "+wideTable+" AS "+wideSQL(list)+" ORDER BY ts, symbol"); err != nil {
			return err
		}
		if recursions == nil {
			return nil
		}
		return stageRecursions(ctx, db, recursions)
	}
	return c.run(ctx)
}

// The TEMP tables of a computation: one row a bar, one column a series.
const (
	wideTable      = "feature_wide"
	recursiveTable = "feature_recursive"
)

// wideSQL selects the wide table of these entries for the symbols of
// symbolTable.
//
// Entries see of a bar: symbol, i, ts, open, high, low, close, volume, and i0,
// the symbol's first bar; for sums p (close), v (volume), r1 (ret_1d) and illiq,
// which are NULL where they are no number, so that a sum takes such a bar for a
// missing one. (A figure of 1e100 is none either: its square is infinite.) Of
// these each that is asked for has, over the last 20 sessions, _n, their number,
// _mean, and _sq, the sum of the squared distances from it.
//
// The sums are written out, lag by lag, from the newest bar to the oldest: no
// window of DuckDB promises an order of addition, and those over DOUBLE change
// their last bits with the rows around the frame. They are taken from the
// newest value, which keeps a flat series flat.
func wideSQL(list []Entry) string {
	var lagged, rolled, lags, inWindow, sums, means, squares strings.Builder
	for _, e := range list {
		switch {
		case e.lagged != "":
			fmt.Fprintf(&lagged, ", %s AS %s", e.lagged, e.Name)
			fmt.Fprintf(&rolled, ", %s", e.Name)
		case e.rolled != "":
			fmt.Fprintf(&rolled, ", %s AS %s", e.rolled, e.Name)
		}
	}
	const window = 20
	some := false
	for _, x := range []string{"p", "v", "r1", "illiq"} {
		if !strings.Contains(rolled.String(), " "+x+"_n ") {
			continue
		}
		if !some {
			for k := 1; k < window; k++ {
				fmt.Fprintf(&lags, ", lag(i, %d) OVER w >= i - %d AS has%[1]d", k, window-1)
			}
			some = true
		}
		n, total, sq := "("+x+" IS NOT NULL)::INTEGER", "0", fmt.Sprintf("coalesce((%s - %[1]s_mean) * (%[1]s - %[1]s_mean), 0)", x)
		for k := 1; k < window; k++ {
			y := fmt.Sprintf("%s_%d", x, k)
			fmt.Fprintf(&lags, ", lag(%s, %d) OVER w AS lag_%s", x, k, y)
			fmt.Fprintf(&inWindow, ", CASE WHEN has%d THEN lag_%s END AS %[2]s", k, y)
			n += fmt.Sprintf(" + (%s IS NOT NULL)::INTEGER", y)
			total += fmt.Sprintf(" + coalesce(%s - %s_0, 0)", y, x)
			sq += fmt.Sprintf(" + coalesce((%s - %s_mean) * (%[1]s - %[2]s_mean), 0)", y, x)
		}
		fmt.Fprintf(&sums, ", %s AS %s_n, %s AS %[2]s_total", n, x, total)
		fmt.Fprintf(&inWindow, ", coalesce(%s, 0) AS %[1]s_0", x)
		fmt.Fprintf(&means, ", %[1]s_0 + %[1]s_total / %[1]s_n AS %[1]s_mean", x)
		if strings.Contains(rolled.String(), x+"_sq") {
			fmt.Fprintf(&squares, ", %s AS %s_sq", sq, x)
		}
	}
	return fmt.Sprintf(`
WITH b AS (
	SELECT symbol, i, ts, open, high, low, close, volume, CASE WHEN abs(close) < 1e100 THEN close END AS p, CASE WHEN abs(volume) < 1e100 THEN volume END AS v
	FROM temp.main.%s SEMI JOIN temp.main.%s USING (symbol)),
r AS (
	SELECT *, min(i) OVER (PARTITION BY symbol) AS i0, CASE WHEN i - lag(i) OVER o = 1 THEN p / lag(p) OVER o - 1 END AS r1
	FROM b WINDOW o AS (PARTITION BY symbol ORDER BY i)),
q AS (
	SELECT * REPLACE (CASE WHEN abs(r1) < 1e100 THEN r1 END AS r1), CASE WHEN p * v > 0 AND abs(r1) / (p * v) < 1e100 THEN abs(r1) / (p * v) END AS illiq FROM r),
l AS (SELECT symbol, i, ts, i0, p, v, r1, illiq%s%s FROM q WINDOW w AS (PARTITION BY symbol ORDER BY i)),
k AS (SELECT *%s FROM l),
s AS (SELECT *%s FROM k),
m AS (SELECT *%s FROM s),
d AS (SELECT *%s FROM m)
SELECT symbol, ts%s FROM d`, price.BarView, symbolTable, lagged.String(), lags.String(), inWindow.String(), sums.String(), means.String(), squares.String(), rolled.String())
}

// Labels computes fwd_ret_<h>d and direction_<h>d, and makes labels hold
// exactly these for the symbols asked for. A label of t ends at t1, the session
// with the index of t plus h, and is known only then; without a bar at t1 there
// is none. Invalid: a horizon below 1, or no version. Otherwise as Features.
func Labels(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req Request) (Report, error) {
	if err := CheckHorizon(req.Horizon); err != nil {
		return Report{}, err
	}
	if err := CheckLabelVersion(req.Version); err != nil {
		return Report{}, err
	}
	forward, direction := LabelNames(req.Horizon)
	c := &computation{
		db: db, cal: cal, req: req, what: fmt.Sprintf("labels %s, %d sessions", req.Version, req.Horizon),
	}
	for k, name := range []string{forward, direction} {
		c.parts = append(c.parts, part{
			table: factstore.Labels, from: wideTable, slice: k, name: name,
			fixed: []string{"label_name", name, "label_version", req.Version}, values: []string{"label_value", []string{"forward", "direction"}[k]},
		})
	}
	query := `
WITH b AS (SELECT symbol, i::BIGINT AS i, ts, close FROM temp.main.` + price.BarView + ` SEMI JOIN temp.main.` + symbolTable + ` USING (symbol)),
f AS (SELECT b.symbol, b.ts, t1.close / b.close - 1 AS forward FROM b JOIN b t1 ON t1.symbol = b.symbol AND t1.i = b.i + ` + strconv.Itoa(req.Horizon) + `)
SELECT symbol, ts, forward, CASE WHEN isfinite(forward) THEN CASE WHEN forward > 0 THEN 1.0::DOUBLE ELSE 0.0::DOUBLE END END AS direction FROM f`
	c.slices = []slice{{factstore.Labels, forward, req.Version, query}, {factstore.Labels, direction, req.Version, query}}
	c.stage = func(ctx context.Context) error {
		_, err := db.Stage(ctx, "CREATE OR REPLACE TEMP TABLE "+wideTable+" AS "+query)
		return err
	}
	return c.run(ctx)
}

// LabelVersion is the version of the definitions of the labels.
const LabelVersion = "v1"

// CheckLabelVersion is Invalid for any version but LabelVersion.
func CheckLabelVersion(version string) error {
	if version != LabelVersion {
		return quant.Errorf(quant.Invalid, "label version %q is not known", version).WithHint("use %s", LabelVersion)
	}
	return nil
}

// maxHorizon keeps the sum of an index and a horizon far from any overflow.
const maxHorizon = 100_000

// CheckHorizon is Invalid for a horizon that is no positive number of sessions.
func CheckHorizon(h int) error {
	if h < 1 || h > maxHorizon {
		return quant.Errorf(quant.Invalid, "horizon %d is not between 1 and %d sessions", h, maxHorizon).WithHint("a horizon of 5 is a week, 21 a month, 60 a quarter")
	}
	return nil
}

// LabelNames returns the names of the labels of a horizon: fwd_ret_<h>d,
// P[t1] / P[t] - 1, decimal, and direction_<h>d, 1 if that is above 0, else 0.
func LabelNames(h int) (forward, direction string) {
	return fmt.Sprintf("fwd_ret_%dd", h), fmt.Sprintf("direction_%dd", h)
}

// LabelHorizon returns the horizon of a label by its name: the digits of
// fwd_ret_<h>d or direction_<h>d, without sign or leading zero. t1 is so many
// sessions after t.
func LabelHorizon(name string) (h int, ok bool) {
	for _, prefix := range []string{"fwd_ret_", "direction_"} {
		digits, found := strings.CutPrefix(name, prefix)
		if !found {
			continue
		}
		digits, found = strings.CutSuffix(digits, "d")
		h, err := strconv.Atoi(digits)
		return h, found && err == nil && CheckHorizon(h) == nil && strconv.Itoa(h) == digits
	}
	return 0, false
}
