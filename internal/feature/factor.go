package feature

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/dataset"
	"quant/internal/factstore"
	"quant/internal/price"
	"quant/internal/sqltext"
)

// MinNames is how many names a session must have for a cross-sectional figure;
// with fewer it is NULL.
const MinNames = 5

// decayHorizons are the horizons, in sessions, of FactorReport.Decay.
func decayHorizons() []int { return []int{1, 5, 10, 20, 60} }

// FactorRequest says which feature is judged by which label.
type FactorRequest struct {
	Feature, FeatureVersion string // version "": the first that has the feature
	Label, LabelVersion     string // version "": LabelVersion
	From, To                *quant.Date
	Quantiles               int      // 2 to 100
	Symbols                 []string // nil: all
}

// Check completes the request and returns the horizon of its label. Refused: a
// price-level feature, for prices of different names cannot be ranked. Invalid
// or NotFound: no such feature, label or version, or a bad value.
func (r *FactorRequest) Check() (horizon int, err error) {
	if r.FeatureVersion == "" {
		for _, e := range entries() {
			if e.Name == r.Feature {
				r.FeatureVersion = e.Versions[0]
			}
		}
		if r.FeatureVersion == "" {
			r.FeatureVersion = Versions()[0]
		}
	}
	if r.LabelVersion == "" {
		r.LabelVersion = LabelVersion
	}
	e, err := Lookup(r.Feature, r.FeatureVersion)
	if err != nil {
		return 0, err
	}
	if !e.ScaleFree {
		return 0, quant.Errorf(quant.Refused, "feature %s is at price level: names cannot be compared by it", e.Name).
			WithHint("use its scale-free twin %s@%s", e.Twin, r.FeatureVersion)
	}
	horizon, ok := LabelHorizon(r.Label)
	if !ok {
		return 0, quant.Errorf(quant.Invalid, "label %q is not known", r.Label).WithHint("labels are fwd_ret_<h>d and direction_<h>d, such as fwd_ret_60d")
	}
	if err := CheckLabelVersion(r.LabelVersion); err != nil {
		return 0, err
	}
	if r.Quantiles < 2 || r.Quantiles > 100 {
		return 0, quant.Errorf(quant.Invalid, "%d quantiles are not between 2 and 100", r.Quantiles).WithHint("5 is usual")
	}
	if r.From != nil && r.To != nil && *r.From > *r.To {
		return 0, quant.Errorf(quant.Invalid, "the range %s to %s ends before it begins", *r.From, *r.To).WithHint("exchange the two")
	}
	return horizon, nil
}

// FactorReport judges a feature by a label. A pair is a bar that has both. A
// figure that there is not enough data for is NULL.
type FactorReport struct {
	Feature         string       `json:"feature"`
	FeatureVersion  string       `json:"feature_version"`
	Label           string       `json:"label"`
	LabelVersion    string       `json:"label_version"`
	Horizon         int          `json:"horizon"` // of the label, in sessions
	FirstDate       quant.Text   `json:"first_date"`
	LastDate        quant.Text   `json:"last_date"` // of the pairs
	Symbols         int          `json:"symbols"`   // with pairs
	Sessions        int          `json:"sessions"`  // with pairs
	Pairs           int64        `json:"pairs"`
	Bars            int64        `json:"bars"`             // in the range
	FeatureCoverage *float64     `json:"feature_coverage"` // share of the bars that have the feature
	PairCoverage    *float64     `json:"pair_coverage"`    // share of the bars that have both
	IC              Information  `json:"ic"`
	RankIC          Information  `json:"rank_ic"`
	Decay           []Decay      `json:"decay"`
	Quantiles       []Quantile   `json:"quantiles"`
	Spread          *float64     `json:"spread"`               // mean of the label, top minus bottom quantile
	RankAutocorr    *float64     `json:"rank_autocorrelation"` // mean correlation of the feature's ranks with those of the session before
	TimeSeries      []TimeSeries `json:"time_series"`
	TimeSeriesMean  *float64     `json:"time_series_mean"` // mean of their correlations
	Daily           []DailyIC    `json:"daily"`
	Notices         []string     `json:"notices"`

	Inputs []quant.RunIO `json:"-"` // what was read, and the runs that wrote it
}

// Information is a daily information coefficient over the sessions that have
// one.
type Information struct {
	Sessions        int      `json:"sessions"`
	Mean            *float64 `json:"mean"`
	Deviation       *float64 `json:"deviation"`        // sample deviation
	ICIR            *float64 `json:"icir"`             // mean / deviation, not annualised
	EffectiveSample *float64 `json:"effective_sample"` // sessions / horizon: labels of neighbouring sessions overlap
	T               *float64 `json:"t"`                // icir x sqrt(effective sample)
}

// Decay is the feature against the return over another horizon.
type Decay struct {
	Horizon  int      `json:"horizon"`
	Sessions int      `json:"sessions"`
	IC       *float64 `json:"ic"`
	RankIC   *float64 `json:"rank_ic"`
}

// Quantile is a quantile of the names by feature, 1 the lowest. A session
// counts if it has at least MinNames names and one a quantile.
type Quantile struct {
	Quantile int      `json:"quantile"`
	Mean     *float64 `json:"mean"` // mean over the sessions of the label's mean
	Sessions int      `json:"sessions"`
}

// TimeSeries is the correlation of feature and label along the sessions of one
// symbol.
type TimeSeries struct {
	Symbol          string   `json:"symbol"`
	Pairs           int      `json:"pairs"`
	EffectiveSample float64  `json:"effective_sample"` // pairs / horizon
	Correlation     *float64 `json:"correlation"`
}

// DailyIC is the cross-section of one session.
type DailyIC struct {
	Date   quant.Date `json:"ts"`
	Names  int        `json:"names"`
	IC     *float64   `json:"ic"`
	RankIC *float64   `json:"rank_ic"`
}

// Factor judges a stored feature by a stored label. It changes nothing. Every
// sum runs in the order of sessions and symbols. NotFound: there is no such
// feature, or label, in that range.
func Factor(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, req FactorRequest) (FactorReport, error) {
	horizon, err := req.Check()
	if err != nil {
		return FactorReport{}, err
	}
	for _, t := range []struct{ what, query, name, version, hint string }{
		{"feature", "SELECT EXISTS (SELECT 1 FROM features_daily WHERE feature_name = ? AND feature_version = ?)", req.Feature, req.FeatureVersion, "quant features --feature-version " + req.FeatureVersion},
		{"label", "SELECT EXISTS (SELECT 1 FROM labels WHERE label_name = ? AND label_version = ?)", req.Label, req.LabelVersion, fmt.Sprintf("quant labels --label-version %s --horizon %d", req.LabelVersion, horizon)},
	} {
		var exists bool
		if err := db.QueryRow(ctx, t.query, t.name, t.version).Scan(&exists); err != nil {
			return FactorReport{}, err
		}
		if !exists {
			return FactorReport{}, quant.Errorf(quant.NotFound, "%s %s@%s has not been computed", t.what, t.name, t.version).WithHint("run `%s`", t.hint)
		}
	}
	// The basis was judged when the feature was computed.
	basis, err := price.Stage(ctx, db, cal, price.Request{Symbols: req.Symbols, AcceptRaw: true})
	if err != nil {
		return FactorReport{}, err
	}
	featureRows, labelRows := req.rows()
	if err := db.RequireExplained(ctx, factstore.FeaturesDaily, "", featureRows); err != nil {
		return FactorReport{}, err
	}
	if err := db.RequireExplained(ctx, factstore.Labels, "", labelRows); err != nil {
		return FactorReport{}, err
	}
	j := newJudgement(req, horizon)
	j.report.Notices = append([]string{}, basis.Notices...)
	if err := j.read(ctx, db, basis.Symbols); err != nil {
		return FactorReport{}, err
	}
	if j.report.Pairs == 0 {
		return FactorReport{}, quant.Errorf(quant.NotFound, "no bar in the range has both %s@%s and %s@%s", req.Feature, req.FeatureVersion, req.Label, req.LabelVersion).
			WithHint("widen --from and --to, or the symbols")
	}
	report := j.finish(basis.Symbols)
	report.Inputs, err = factorInputs(ctx, db, req, report)
	return report, err
}

// rows are the conditions on the rows of the feature and of the label, whatever
// their day.
func (r FactorRequest) rows() (feature, label string) {
	symbols := "true"
	if r.Symbols != nil {
		symbols = "symbol IN (" + sqltext.Literals(r.Symbols) + ")"
	}
	return symbols + " AND feature_name = " + sqltext.Literal(r.Feature) + " AND feature_version = " + sqltext.Literal(r.FeatureVersion),
		symbols + " AND label_name = " + sqltext.Literal(r.Label) + " AND label_version = " + sqltext.Literal(r.LabelVersion)
}

// factorInputs describes the three tables that a report was made of, and the
// runs that wrote them.
func factorInputs(ctx context.Context, db *factstore.DB, req FactorRequest, report FactorReport) ([]quant.RunIO, error) {
	symbols := "true"
	if req.Symbols != nil {
		symbols = "symbol IN (" + sqltext.Literals(req.Symbols) + ")"
	}
	featureRows, labelRows := req.rows()
	var inputs []quant.RunIO
	for _, in := range []struct {
		name  dataset.Name
		query string
	}{
		{dataset.Feature(report.Feature, report.FeatureVersion), "SELECT symbol, ts, feature_value FROM features_daily WHERE " + featureRows},
		{dataset.Label(report.Label, report.LabelVersion), "SELECT symbol, ts, label_value FROM labels WHERE " + labelRows},
		{dataset.Name{Table: dataset.OHLCV}, "SELECT symbol, ts, close, adjusted_close FROM ohlcv WHERE " + symbols},
	} {
		rows, digest, err := db.Digest(ctx, in.query)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, quant.RunIO{
			Direction: quant.In, Kind: quant.IOTable, Name: in.name.String(), Rows: &rows,
			FirstDate: report.FirstDate, LastDate: report.LastDate, Digest: quant.Text(digest),
		})
	}
	features, err := db.Writers(ctx, factstore.FeaturesDaily, featureRows)
	if err != nil {
		return nil, err
	}
	bars, err := db.Writers(ctx, factstore.OHLCV, symbols)
	if err != nil {
		return nil, err
	}
	labels, err := db.SliceWriters(ctx, factstore.Labels, symbols+" AND name = ? AND version = ?", report.Label, report.LabelVersion)
	return append(inputs, factstore.WrittenBy(slices.Concat(features, bars, labels))...), err
}

// judgement gathers a factor report, session by session.
type judgement struct {
	report   FactorReport
	from, to *quant.Date
	horizon  int
	wanted   int // quantiles

	withFeature int64
	ic, rankIC  []float64
	decay       [][2][]float64 // by horizon: IC, RankIC
	quantiles   [][]float64    // by quantile: means of the label
	spread      []float64
	autocorr    []float64
	along       map[int][2][]float64 // by symbol: feature, label
	before      []observation
	beforeAt    int
}

// observation is one bar: the symbol's index, the feature, and the label and
// the returns over decayHorizons, NaN where there is none.
type observation struct {
	symbol  int
	feature float64
	label   float64
	forward []float64
}

func newJudgement(req FactorRequest, horizon int) *judgement {
	return &judgement{
		from: req.From, to: req.To,
		horizon: horizon, wanted: req.Quantiles, decay: make([][2][]float64, len(decayHorizons())), quantiles: make([][]float64, req.Quantiles), along: map[int][2][]float64{},
		report: FactorReport{
			Feature: req.Feature, FeatureVersion: req.FeatureVersion, Label: req.Label, LabelVersion: req.LabelVersion, Horizon: horizon,
			Daily: []DailyIC{}, TimeSeries: []TimeSeries{}, Decay: []Decay{}, Quantiles: []Quantile{},
		},
	}
}

func (j *judgement) read(ctx context.Context, db *factstore.DB, symbols []string) error {
	var forward, joins strings.Builder
	for k, h := range decayHorizons() {
		fmt.Fprintf(&forward, ", d%d.close / b.close - 1", k)
		fmt.Fprintf(&joins, " LEFT JOIN b d%d ON d%[1]d.k = b.k AND d%[1]d.i = b.i + %d", k, h)
	}
	where, args := "true", []any{j.report.Feature, j.report.FeatureVersion, j.report.Label, j.report.LabelVersion}
	for _, bound := range []struct {
		op string
		d  *quant.Date
	}{{">=", j.from}, {"<=", j.to}} {
		if bound.d != nil {
			where += " AND b.ts " + bound.op + " CAST(? AS DATE)"
			args = append(args, *bound.d)
		}
	}
	rows, err := db.Query(ctx, `WITH k AS (SELECT symbol, row_number() OVER (ORDER BY symbol) - 1 AS k FROM temp.main.`+price.BasisTable+`),
		b AS (SELECT symbol, k, i, ts, close FROM temp.main.`+price.BarView+` JOIN k USING (symbol))
		SELECT b.i, (b.ts - DATE '1970-01-01')::INTEGER, b.k, f.feature_value, l.label_value`+forward.String()+` FROM b
		LEFT JOIN (SELECT symbol, ts, feature_value FROM features_daily WHERE feature_name = ? AND feature_version = ?) f ON f.symbol = b.symbol AND f.ts = b.ts
		LEFT JOIN (SELECT symbol, ts, label_value FROM labels WHERE label_name = ? AND label_version = ?) l ON l.symbol = b.symbol AND l.ts = b.ts`+joins.String()+
		` WHERE `+where+` ORDER BY b.i, b.k`, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var day []observation
	at, date := -1, quant.Date(0)
	var i int
	var d int32
	var feature, label sql.NullFloat64
	returns := make([]sql.NullFloat64, len(decayHorizons()))
	o := observation{}
	into := []any{&i, &d, &o.symbol, &feature, &label}
	for k := range returns {
		into = append(into, &returns[k])
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if i != at && at >= 0 {
			j.session(at, date, day)
			day = day[:0:0]
		}
		at, date = i, quant.Date(d)
		j.report.Bars++
		if !feature.Valid {
			continue
		}
		o.feature, o.label, o.forward = feature.Float64, orNaN(label), make([]float64, len(returns))
		for k, r := range returns {
			o.forward[k] = orNaN(r)
		}
		day = append(day, o)
	}
	if at >= 0 {
		j.session(at, date, day)
	}
	return rows.Err()
}

func (j *judgement) session(at int, date quant.Date, day []observation) {
	j.withFeature += int64(len(day))
	x, y := pairs(day, func(o observation) float64 { return o.label })
	if len(x) > 0 {
		j.report.Sessions++
		j.report.Pairs += int64(len(x))
		if j.report.FirstDate == "" {
			j.report.FirstDate = quant.Text(date.String())
		}
		j.report.LastDate = quant.Text(date.String())
		ic, rankIC := coefficients(x, y)
		j.ic, j.rankIC = appendFinite(j.ic, ic), appendFinite(j.rankIC, rankIC)
		j.report.Daily = append(j.report.Daily, DailyIC{date, len(x), known(ic), known(rankIC)})
		j.rankInto(x, y)
	}
	for _, o := range day {
		if !math.IsNaN(o.label) {
			s := j.along[o.symbol]
			j.along[o.symbol] = [2][]float64{append(s[0], o.feature), append(s[1], o.label)}
		}
	}
	for k := range j.decay {
		ic, rankIC := coefficients(pairs(day, func(o observation) float64 { return o.forward[k] }))
		j.decay[k] = [2][]float64{appendFinite(j.decay[k][0], ic), appendFinite(j.decay[k][1], rankIC)}
	}
	if j.before != nil && j.beforeAt == at-1 {
		var now, then []float64
		for _, o := range day {
			if k, found := slices.BinarySearchFunc(j.before, o.symbol, func(b observation, symbol int) int { return b.symbol - symbol }); found {
				now, then = append(now, o.feature), append(then, j.before[k].feature)
			}
		}
		if len(now) >= MinNames {
			j.autocorr = appendFinite(j.autocorr, correlation(ranks(now), ranks(then)))
		}
	}
	j.before, j.beforeAt = day, at
}

// rankInto puts the names of a session into quantiles by the rank of the
// feature; equal values share one.
func (j *judgement) rankInto(x, y []float64) {
	if len(x) < max(MinNames, j.wanted) {
		return
	}
	sums, counts := make([]float64, j.wanted), make([]int, j.wanted)
	for k, r := range ranks(x) {
		q := min(int((r-0.5)*float64(j.wanted)/float64(len(x))), j.wanted-1)
		sums[q] += y[k]
		counts[q]++
	}
	for q := range sums {
		if counts[q] > 0 {
			j.quantiles[q] = appendFinite(j.quantiles[q], sums[q]/float64(counts[q]))
		}
	}
	if top := j.wanted - 1; counts[0] > 0 && counts[top] > 0 {
		j.spread = appendFinite(j.spread, sums[top]/float64(counts[top])-sums[0]/float64(counts[0]))
	}
}

func (j *judgement) finish(symbols []string) FactorReport {
	r := &j.report
	r.Symbols = len(j.along)
	if r.Bars > 0 {
		r.FeatureCoverage, r.PairCoverage = known(float64(j.withFeature)/float64(r.Bars)), known(float64(r.Pairs)/float64(r.Bars))
	}
	r.IC, r.RankIC = information(j.ic, j.horizon), information(j.rankIC, j.horizon)
	for k, h := range decayHorizons() {
		r.Decay = append(r.Decay, Decay{h, len(j.decay[k][1]), known(mean(j.decay[k][0])), known(mean(j.decay[k][1]))})
	}
	for q, means := range j.quantiles {
		r.Quantiles = append(r.Quantiles, Quantile{q + 1, known(mean(means)), len(means)})
	}
	r.Spread, r.RankAutocorr = known(mean(j.spread)), known(mean(j.autocorr))
	var along []float64
	for k, symbol := range symbols {
		s, found := j.along[k]
		if !found {
			continue
		}
		t := TimeSeries{Symbol: symbol, Pairs: len(s[0]), EffectiveSample: float64(len(s[0])) / float64(j.horizon)}
		if len(s[0]) >= MinNames {
			c := correlation(s[0], s[1])
			t.Correlation, along = known(c), appendFinite(along, c)
		}
		r.TimeSeries = append(r.TimeSeries, t)
	}
	r.TimeSeriesMean = known(mean(along))
	if r.RankIC.Sessions == 0 {
		r.Notices = append(r.Notices, fmt.Sprintf("no session has the %d names that an IC needs; what there is to see is each symbol's own time series", MinNames))
	}
	return *r
}

func information(daily []float64, horizon int) Information {
	m, dev := mean(daily), deviation(daily)
	effective := float64(len(daily)) / float64(horizon)
	return Information{
		Sessions: len(daily), Mean: known(m), Deviation: known(dev), ICIR: known(m / dev),
		EffectiveSample: known(effective), T: known(m / dev * math.Sqrt(effective)),
	}
}

// pairs returns the features and the other values of those that have both.
func pairs(day []observation, other func(observation) float64) (x, y []float64) {
	for _, o := range day {
		if v := other(o); finite(v) {
			x, y = append(x, o.feature), append(y, v)
		}
	}
	return x, y
}

// coefficients returns IC and RankIC, NaN below MinNames names or where one
// side is all the same.
func coefficients(x, y []float64) (ic, rankIC float64) {
	if len(x) < MinNames {
		return math.NaN(), math.NaN()
	}
	return correlation(x, y), correlation(ranks(x), ranks(y))
}

// known is nil for what is no number.
func known(x float64) *float64 {
	if !finite(x) {
		return nil
	}
	return &x
}

func appendFinite(list []float64, x float64) []float64 {
	if !finite(x) {
		return list
	}
	return append(list, x)
}

// mean is NaN of nothing.
func mean(x []float64) float64 {
	var total float64
	for _, v := range x {
		total += v
	}
	return total / float64(len(x))
}

// deviation is the sample deviation, NaN below two values.
func deviation(x []float64) float64 {
	if len(x) < 2 {
		return math.NaN()
	}
	m := mean(x)
	var total float64
	for _, v := range x {
		total += float64((v - m) * (v - m))
	}
	return math.Sqrt(total / float64(len(x)-1))
}

// correlation is Pearson's, NaN where one side is all the same.
func correlation(x, y []float64) float64 {
	if same(x) || same(y) {
		return math.NaN()
	}
	mx, my := mean(x), mean(y)
	var xx, yy, xy float64
	for k := range x {
		dx, dy := x[k]-mx, y[k]-my
		xx, yy, xy = xx+float64(dx*dx), yy+float64(dy*dy), xy+float64(dx*dy)
	}
	return max(-1, min(1, xy/(math.Sqrt(xx)*math.Sqrt(yy))))
}

func same(x []float64) bool {
	for _, v := range x {
		if v != x[0] {
			return false
		}
	}
	return true
}

// ranks returns the rank of each value, from 1; equal values have the mean of
// their ranks.
func ranks(x []float64) []float64 {
	order := make([]int, len(x))
	for k := range order {
		order[k] = k
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case x[a] < x[b]:
			return -1
		case x[a] > x[b]:
			return 1
		}
		return a - b
	})
	r := make([]float64, len(x))
	for from := 0; from < len(order); {
		to := from + 1
		for to < len(order) && x[order[to]] == x[order[from]] {
			to++
		}
		for _, k := range order[from:to] {
			r[k] = float64(from+1+to) / 2
		}
		from = to
	}
	return r
}
