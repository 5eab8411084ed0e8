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
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/price"
	"quant/internal/sqltext"
)

// Request says which features, or labels, of which symbols.
type Request struct {
	RunID     string
	Version   string   // feature version or label version
	Horizon   int      // of labels, in sessions
	Symbols   []string // nil: all that have bars, or had some
	AcceptRaw bool     // see price.Request
	Force     bool     // compute also what has not changed

	// Set is the set to compute, of a version that is not v1 or v2; nil: the one that is
	// built in or stands in the lab by the version.
	Set     *factstore.FeatureSet
	Sectors map[string]string // of symbols, which a set may group by

	Units *Units // of Features: runs that have computed some of its values; nil: none

	instead func(context.Context, *computation) error // of what is computed once it is known what; nil: it is stored
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
	Proof      *Proof     `json:"proof,omitempty"` // of a set whose values were computed from the beginning

	// What was read, with the runs that wrote it, and what was written; set where
	// the computation succeeded.
	Inputs  []quant.RunIO `json:"-"`
	Outputs []quant.RunIO `json:"-"`
}

// Series is one feature or label as it was computed by this run: for those symbols
// whose inputs had changed, from their first new bar on where only bars were added.
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
// features_daily and returns hold exactly these for the symbols asked for. A set is
// declared with its first facts, and holds no returns; where its features compare
// symbols, they compare all that have bars.
// Invalid: no such version. NotFound: the lab has no such set, or there is nothing to
// compute from. Conflict: the version stands with another definition. Refused: see
// price.Stage.
func Features(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req Request) (Report, error) {
	if req.Set != nil {
		req.Version = req.Set.Version
		return computeSet(ctx, db, cal, req, *req.Set)
	}
	if err := CheckVersion(req.Version); err != nil {
		return Report{}, err
	}
	if req.Version != "v1" && req.Version != "v2" {
		s, err := SetOf(ctx, db, req.Version)
		if err != nil {
			return Report{}, err
		}
		return computeSet(ctx, db, cal, req, s)
	}
	list, err := Catalogue(req.Version)
	if err != nil {
		return Report{}, err
	}
	return compute(ctx, db, cal, req, list)
}

// compute computes these entries as the features of the version.
func compute(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req Request, list []Entry) (Report, error) {
	table, columns, _, err := db.FeatureTable(ctx, req.Version)
	if err != nil {
		return Report{}, err
	}
	c := &computation{db: db, cal: cal, req: req, what: "features " + req.Version, outputs: len(list)}
	features := &sink{
		table: factstore.FeaturesDaily, stored: table, stamp: "computed_at", other: "feature_version = " + sqltext.Literal(req.Version),
	}
	plain, recursions, returns := digestPart{}, digestPart{}, digestPart{}
	for k, e := range list {
		c.series = append(c.series, e.Name)
		if slices.Contains(columns, e.Name) {
			features.columns, features.values = append(features.columns, e.Name), append(features.values, k)
		}
		part := &plain
		if e.recursive() {
			part, c.recursions = &recursions, true
		} else {
			c.lookback = max(c.lookback, e.Lookback)
		}
		part.add(e.Name, k)
		if strings.HasPrefix(e.Name, "ret_") {
			returns.add(e.Name, k)
		}
	}
	c.sinks = []*sink{features}
	c.slices = []slice{{factstore.FeaturesDaily, "", req.Version, definitionOf(req.Version, list), compactParts(plain, recursions)}}
	if len(returns.columns) > 0 {
		c.returns = returns.columns
		c.slices = append(c.slices, slice{factstore.Returns, "", "", returnsDefinition, compactParts(returns)})
	}
	c.kernel = func(s *series, out [][]float64) {
		for k, e := range list {
			e.compute(s, out[k])
		}
	}
	return c.run(ctx)
}

// The definitions of what is computed, as digests. One is replaced when an entry of it
// gets other values, so that what was computed by the earlier one is computed anew;
// TestDefinitionsStandForTheirValues holds them to the values. They are of the SQL that
// first defined these values, so that what it computed stands.
const (
	definitionV1      = "c15462cf35141eeee24baf8a5fbb0f4e5a0d03335e7773795b96b4d9e2384a3a"
	definitionV2      = "15de9e4ab26b5d680451ca0dfc8189890bed897411349466f4a87f93ed1f9cbc"
	returnsDefinition = "2a3251f228216b4047eeb202adca7b3c3bbfd42cd36d2acc9ac5b358a3bb7c88"
)

func definitionOf(version string, list []Entry) string {
	switch whole, _ := Catalogue(version); {
	case len(list) != len(whole):
		var names []string // a test's
		for _, e := range list {
			names = append(names, e.Name)
		}
		return strings.Join(names, " ")
	case version == "v1":
		return definitionV1
	}
	return definitionV2
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
		db: db, cal: cal, req: req, what: fmt.Sprintf("labels %s, %d sessions", req.Version, req.Horizon), series: []string{forward, direction}, outputs: 2,
		lookback: req.Horizon, horizon: req.Horizon,
		kernel: func(s *series, out [][]float64) { labelsOf(s, req.Horizon, out[0], out[1]) },
	}
	definition := fmt.Sprintf("%x", sha256.Sum256([]byte(labelDefinition(req.Horizon))))
	for k, name := range c.series {
		c.sinks = append(c.sinks, &sink{
			table: factstore.Labels, stored: factstore.Labels, columns: []string{"label_value"}, values: []int{k}, slice: k,
			fixed: []string{"label_name", name, "label_version", req.Version},
		})
		var part digestPart
		part.add([]string{"forward", "direction"}[k], k)
		c.slices = append(c.slices, slice{factstore.Labels, name, req.Version, definition, compactParts(part)})
	}
	return c.run(ctx)
}

// labelDefinition is SQL that gives the labels from BarView and a table of symbols. It
// says what labels are; labelsOf computes them.
func labelDefinition(horizon int) string {
	return `
WITH b AS (SELECT symbol, i::BIGINT AS i, ts, close FROM temp.main.` + price.BarView + ` SEMI JOIN temp.main.` + symbolTable + ` USING (symbol)),
f AS (SELECT b.symbol, b.ts, t1.close / b.close - 1 AS forward FROM b JOIN b t1 ON t1.symbol = b.symbol AND t1.i = b.i + ` + strconv.Itoa(horizon) + `)
SELECT symbol, ts, forward, CASE WHEN isfinite(forward) THEN CASE WHEN forward > 0 THEN 1.0::DOUBLE ELSE 0.0::DOUBLE END END AS direction FROM f`
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
