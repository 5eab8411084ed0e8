package model

import (
	"context"
	"fmt"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/dataset"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// Read is what was read of one feature or label: the rows of the range that are
// finite numbers.
type Read struct {
	Name   string     `json:"name"` // features_daily:ret_20d@v1
	Rows   int64      `json:"rows"`
	First  quant.Text `json:"first_date"`
	Last   quant.Text `json:"last_date"`
	Digest string     `json:"digest"`

	// Writers are the runs that wrote them; of several features, the first one
	// has those of all.
	Writers []string `json:"-"`
}

// Inputs are reads as the inputs of a run: each with its rows and digest, and
// the runs that wrote them.
func Inputs(reads []Read) []quant.RunIO {
	var inputs []quant.RunIO
	for _, r := range reads {
		inputs = append(inputs, quant.RunIO{
			Direction: quant.In, Kind: quant.IOTable, Name: r.Name, Rows: &r.Rows, FirstDate: r.First, LastDate: r.Last, Digest: quant.Text(r.Digest),
		})
		inputs = append(inputs, factstore.WrittenBy(r.Writers)...)
	}
	return inputs
}

// dateRange is a range of days, both included; nil is open.
type dateRange struct{ from, to *quant.Date }

// where is the SQL condition on ts.
func (r dateRange) where() string {
	cond := "true"
	if r.from != nil {
		cond += " AND ts >= " + dateLiteral(*r.from)
	}
	if r.to != nil {
		cond += " AND ts <= " + dateLiteral(*r.to)
	}
	return cond
}

func dateLiteral(d quant.Date) string { return "DATE '" + d.String() + "'" }

// pivotTable is the TEMP table that stageFeatures makes: symbol, ts and a column
// x<i> for each feature, one row a (symbol, ts) that has one of them. Its view
// featureTable has the rows that have them all.
const (
	pivotTable   = "temp.main.model_pivot"
	featureTable = "temp.main.model_feature"
)

// stageFeatures pivots the features of the range, in one pass over the table,
// and tells what it read and how many rows lack a feature. NotFound: one of
// them has no rows. Refused: no run wrote a row.
func stageFeatures(ctx context.Context, db *factstore.DB, list []Feature, r dateRange) (reads []Read, incomplete int64, err error) {
	var columns, complete, wanted []string
	for i, f := range list {
		// A key stands once: any_value of one value is that value.
		columns = append(columns, fmt.Sprintf("any_value(feature_value) FILTER (feature_name = %s AND feature_version = %s) AS x%d", sqltext.Literal(f.Name), sqltext.Literal(f.Version), i))
		complete = append(complete, fmt.Sprintf("x%d IS NOT NULL", i))
		wanted = append(wanted, "("+sqltext.Literal(f.Name)+", "+sqltext.Literal(f.Version)+")")
	}
	all := strings.Join(complete, " AND ")
	where := "(feature_name, feature_version) IN (" + strings.Join(wanted, ", ") + ") AND isfinite(feature_value) AND " + r.where()
	if err := db.RequireExplained(ctx, factstore.FeaturesDaily, "", where); err != nil {
		return nil, 0, err
	}
	for _, query := range []string{
		"CREATE OR REPLACE TEMP TABLE model_pivot AS SELECT symbol, ts, " + strings.Join(columns, ", ") + " FROM features_daily WHERE " + where + " GROUP BY symbol, ts",
		"CREATE OR REPLACE TEMP VIEW model_feature AS SELECT * FROM " + pivotTable + " WHERE " + all,
	} {
		if _, err := db.Stage(ctx, query); err != nil {
			return nil, 0, err
		}
	}
	for i, f := range list {
		read, err := readOf(ctx, db, factstore.FeaturesDaily, f.String(), fmt.Sprintf("SELECT symbol, ts, x%d FROM %s WHERE x%d IS NOT NULL", i, pivotTable, i))
		if err != nil {
			return reads, 0, err
		}
		reads = append(reads, read)
	}
	if reads[0].Writers, err = db.Writers(ctx, factstore.FeaturesDaily, where); err != nil {
		return reads, 0, err
	}
	err = db.QueryRow(ctx, "SELECT count(*) FROM "+pivotTable+" WHERE NOT ("+all+")").Scan(&incomplete)
	return reads, incomplete, err
}

// readOf tells of the rows of a query, which has the column ts. NotFound: there
// are none.
func readOf(ctx context.Context, db *factstore.DB, table, ref, query string) (Read, error) {
	r := Read{Name: dataset.Name{Table: table, Rows: ref}.String()}
	var err error
	if r.Rows, r.Digest, err = db.Digest(ctx, query); err != nil {
		return r, err
	}
	if r.Rows == 0 {
		return r, quant.Errorf(quant.NotFound, "%s has no rows of %s in this range", table, ref).
			WithHint("compute them first (`quant features`, `quant labels`), or name another version or range")
	}
	return r, db.QueryRow(ctx, "SELECT min(ts)::VARCHAR, max(ts)::VARCHAR FROM ("+query+")").Scan(&r.First, &r.Last)
}

// loaded is what there is to train on.
type loaded struct {
	sampleSet
	reads      []Read
	digest     string // of the samples
	symbols    int64
	labels     int64 // rows of the label in the range
	incomplete int64 // of these, the ones without every feature
}

// load reads the samples: the days t of a symbol that have the label and every
// feature. A day that lacks one is left out and counted, nothing is imputed.
func load(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, spec Spec) (*loaded, error) {
	r := dateRange{spec.Policy.From, spec.Policy.To}
	reads, _, err := stageFeatures(ctx, db, spec.Features, r)
	if err != nil {
		return nil, err
	}
	these := "label_name = " + sqltext.Literal(spec.Label.Name) + " AND label_version = " + sqltext.Literal(spec.Label.Version) +
		" AND isfinite(label_value) AND " + r.where()
	if err := db.RequireExplained(ctx, factstore.Labels, "", these); err != nil {
		return nil, err
	}
	labels := "SELECT symbol, ts, label_value FROM labels WHERE " + these
	read, err := readOf(ctx, db, factstore.Labels, spec.Label.String(), labels)
	if err != nil {
		return nil, err
	}
	if read.Writers, err = db.SliceWriters(ctx, factstore.Labels, "name = ? AND version = ?", spec.Label.Name, spec.Label.Version); err != nil {
		return nil, err
	}
	d := &loaded{sampleSet: sampleSet{width: len(spec.Features)}, reads: append(reads, read), labels: read.Rows}
	if _, err := db.Stage(ctx, "CREATE OR REPLACE TEMP TABLE model_sample AS SELECT l.label_value AS y, f.* FROM ("+labels+") l JOIN "+featureTable+" f ON f.symbol = l.symbol AND f.ts = l.ts"); err != nil {
		return nil, err
	}
	var n int64
	if n, d.digest, err = db.Digest(ctx, "SELECT * FROM temp.main.model_sample"); err != nil {
		return nil, err
	}
	d.incomplete = d.labels - n
	if err := db.QueryRow(ctx, "SELECT count(DISTINCT symbol) FROM temp.main.model_sample").Scan(&d.symbols); err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, quant.Errorf(quant.Refused, "no day has the label %s and every one of the features", spec.Label).
			WithHint("look at the ranges of both: quant sql \"SELECT feature_name, feature_version, min(ts), max(ts) FROM features_daily GROUP BY ALL\"")
	}
	d.x, d.y, d.t = make([]float64, 0, int(n)*d.width), make([]float64, 0, n), make([]int, 0, n)
	row := make([]float64, d.width+1) // the label first
	err = eachRow(ctx, db, "model_sample", "ts, symbol", "y", d.width, func(day quant.Date, _ string) error {
		t, ok := cal.Index(day)
		if !ok || t+spec.Label.Horizon >= cal.Len() {
			return quant.Errorf(quant.Refused, "%s on %s: that day, or its end %d sessions later, is no session of the calendar %s", spec.Label, day, spec.Label.Horizon, cal.Name()).
				WithHint("train with the QUANT_CALENDAR with which the labels were computed")
		}
		d.t, d.y, d.x = append(d.t, t), append(d.y, row[0]), append(d.x, row[1:]...)
		return nil
	}, row)
	return d, err
}

// eachRow streams a TEMP table or view with symbol, ts and the columns x<i>,
// and before these the column first, if it is not "", into row.
func eachRow(ctx context.Context, db *factstore.DB, table, order, first string, width int, fn func(day quant.Date, symbol string) error, row []float64) error {
	columns := []string{"(ts - DATE '1970-01-01')::INTEGER", "symbol"}
	if first != "" {
		columns = append(columns, first)
	}
	for i := range width {
		columns = append(columns, fmt.Sprintf("x%d", i))
	}
	rows, err := db.Query(ctx, "SELECT "+strings.Join(columns, ", ")+" FROM temp.main."+table+" ORDER BY "+order)
	if err != nil {
		return err
	}
	defer rows.Close()
	var day int32
	var symbol string
	into := []any{&day, &symbol}
	for i := range row {
		into = append(into, &row[i])
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := fn(quant.Date(day), symbol); err != nil {
			return err
		}
	}
	return rows.Err()
}
