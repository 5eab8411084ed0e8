package feature

import (
	"context"
	"fmt"
	"math"
	"slices"

	"quant"
	"quant/internal/calendar"
	"quant/internal/correlation"
	"quant/internal/dataset"
	"quant/internal/factstore"
	"quant/internal/inference"
	"quant/internal/parallel"
	"quant/internal/price"
	"quant/internal/sqltext"
)

// MinNames is how many names a session must have for a cross-sectional figure;
// with fewer it is NULL.
const MinNames = 5

// decayHorizons are the horizons, in sessions, of FactorReport.Decay.
var decayHorizons = [...]int{1, 5, 10, 20, 60}

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
// or NotFound: no such feature, label or version, or a bad value. Of a version that is
// not built in it knows the name alone; Factor asks the lab.
func (r *FactorRequest) Check() (horizon int, err error) {
	if r.FeatureVersion == "" {
		for _, e := range entries() {
			if e.Name == r.Feature {
				r.FeatureVersion = e.Versions[0]
			}
		}
		if r.FeatureVersion == "" {
			r.FeatureVersion = "v1"
		}
	}
	if r.LabelVersion == "" {
		r.LabelVersion = LabelVersion
	}
	if err := CheckVersion(r.FeatureVersion); err != nil {
		return 0, err
	}
	if slices.Contains(Versions(), r.FeatureVersion) {
		if err := r.checkFeature(); err != nil {
			return 0, err
		}
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

// checkFeature checks the feature against the catalogue and the sets of a lab.
func (r *FactorRequest) checkFeature(sets ...factstore.FeatureSet) error {
	e, err := Lookup(r.Feature, r.FeatureVersion, sets...)
	if err != nil {
		return err
	}
	return e.CheckScale()
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
	KnownAt         quant.Text   `json:"known_at"` // of an imported feature: as its source states; null: proved
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
	// The t of inference.NeweyWest: labels of neighbouring sessions overlap on horizon - 1
	// sessions, which are its lags. Sessions without a coefficient are skipped.
	NeweyWestT    *float64 `json:"newey_west_t"`
	NeweyWestLags int      `json:"newey_west_lags"`
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
	sets, err := db.FeatureSets(ctx)
	if err != nil {
		return FactorReport{}, err
	}
	if err := req.checkFeature(sets...); err != nil {
		return FactorReport{}, err
	}
	stored, err := db.FeatureRows(ctx, req.FeatureVersion, req.Feature)
	if err != nil {
		return FactorReport{}, err
	}
	for _, t := range []struct{ what, query, name, version, hint string }{
		{"feature", "SELECT EXISTS (SELECT 1 FROM " + stored + " WHERE feature_name = ? AND feature_version = ?)", req.Feature, req.FeatureVersion, "quant features --feature-version " + req.FeatureVersion},
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
	if err := db.RequireExplained(ctx, factstore.FeaturesDaily, stored, featureRows); err != nil {
		return FactorReport{}, err
	}
	if err := db.RequireExplained(ctx, factstore.Labels, "", labelRows); err != nil {
		return FactorReport{}, err
	}
	p, err := readPanel(ctx, db, cal, basis, req)
	if err != nil {
		return FactorReport{}, err
	}
	j := newJudgement(req, horizon, p)
	j.report.Notices = append([]string{}, basis.Notices...)
	if err := j.judge(ctx, cal); err != nil {
		return FactorReport{}, err
	}
	report := j.report
	if report.Pairs == 0 {
		return FactorReport{}, quant.Errorf(quant.NotFound, "no bar in the range has both %s@%s and %s@%s", req.Feature, req.FeatureVersion, req.Label, req.LabelVersion).
			WithHint("widen --from and --to, or the symbols")
	}
	report.Inputs, err = factorInputs(ctx, db, req, report, stored)
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
// runs that wrote them. stored is where the feature's rows are.
func factorInputs(ctx context.Context, db *factstore.DB, req FactorRequest, report FactorReport, stored string) ([]quant.RunIO, error) {
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
		{dataset.Feature(report.Feature, report.FeatureVersion), "SELECT symbol, ts, feature_value FROM " + stored + " WHERE " + featureRows},
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
	features, err := db.FeatureWriters(ctx, []factstore.VersionFeatures{{Version: req.FeatureVersion, Names: []string{req.Feature}}}, symbols)
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

// judgement is a factor report in the making: what the sessions and the symbols
// say each by itself, put together in their order.
type judgement struct {
	report  FactorReport
	horizon int
	wanted  int // quantiles
	*panel
}

func newJudgement(req FactorRequest, horizon int, p *panel) *judgement {
	return &judgement{
		horizon: horizon, wanted: req.Quantiles, panel: p,
		report: FactorReport{
			Feature: req.Feature, FeatureVersion: req.FeatureVersion, Label: req.Label, LabelVersion: req.LabelVersion, Horizon: horizon,
			Daily: []DailyIC{}, TimeSeries: []TimeSeries{}, Decay: []Decay{}, Quantiles: []Quantile{},
		},
	}
}

// crossSection is what one session says. A figure that it does not have is NaN.
type crossSection struct {
	bars, features, names int // names have a pair
	ic, rankIC            float64
	decay                 [][2]float64 // by horizon: IC, RankIC
	quantiles             []float64    // by quantile: mean of the label
	spread                float64
	autocorr              float64
}

// sectionBlock is how many sessions a core takes at a time: neighbours share the
// cache lines of a symbol.
const sectionBlock = 32

// sections are those of the sessions of the panel, computed on all cores.
func (j *judgement) sections(ctx context.Context) ([]crossSection, error) {
	out := make([]crossSection, j.to-j.from)
	err := parallel.Blocks(ctx, len(out), sectionBlock, func() func(lo, hi int) {
		w := sectioning{panel: j.panel, wanted: j.wanted}
		return func(lo, hi int) {
			w.before = -1
			for k := lo; k < hi; k++ {
				out[k] = w.section(j.from + k)
			}
		}
	})
	return out, err
}

// sectioning is one goroutine's room for the cross-sections of neighbouring
// sessions.
type sectioning struct {
	*panel
	wanted int
	ranker correlation.Ranker

	x, label         []float64 // of the session's bars that have the feature
	forward          [len(decayHorizons)][]float64
	rank, rankBefore []float64 // of x, and of that of the session before
	before           int       // how many have the feature in the session before; -1: it was not looked at

	subX, subY, rankX, rankY []float64
}

func (w *sectioning) section(i int) crossSection {
	c := crossSection{decay: make([][2]float64, len(decayHorizons)), spread: math.NaN(), autocorr: math.NaN()}
	w.rank, w.rankBefore = w.rankBefore, w.rank
	w.x, w.label = w.x[:0], w.label[:0]
	for k := range w.forward {
		w.forward[k] = w.forward[k][:0]
	}
	w.subX, w.subY = w.subX[:0], w.subY[:0] // features of those that had one in the session before: now, then
	for _, s := range w.series {
		if i < s.first || i > s.last {
			continue
		}
		cell := s.at + i - s.first
		if !w.bar[cell] {
			continue
		}
		c.bars++
		x := w.feature[cell]
		if math.IsNaN(x) {
			continue
		}
		w.x, w.label = append(w.x, x), append(w.label, w.labels[cell])
		for k, h := range decayHorizons {
			next := math.NaN()
			if i+h <= s.last {
				next = w.close[cell+h]/w.close[cell] - 1
			}
			w.forward[k] = append(w.forward[k], next)
		}
		if i > w.from && i > s.first && !math.IsNaN(w.feature[cell-1]) {
			w.subX, w.subY = append(w.subX, x), append(w.subY, w.feature[cell-1])
		}
	}
	c.features = len(w.x)
	w.rank = w.ranker.Ranks(w.rank, w.x)
	if n := len(w.subX); n >= MinNames {
		now, then := w.rank, w.rankBefore
		if n != len(w.x) {
			w.rankX = w.ranker.Ranks(w.rankX, w.subX)
			now = w.rankX
		}
		if n != w.before {
			w.rankY = w.ranker.Ranks(w.rankY, w.subY)
			then = w.rankY
		}
		c.autocorr = correlation.Pearson(now, then)
	}
	w.before = len(w.x)
	x, y, rank := w.pairs(w.label)
	c.names = len(x)
	c.ic, c.rankIC = w.coefficients(x, y, rank)
	w.quantilesOf(&c, x, y, rank)
	for k := range c.decay {
		x, y, rank := w.pairs(w.forward[k])
		c.decay[k][0], c.decay[k][1] = w.coefficients(x, y, rank)
	}
	return c
}

// pairs returns the features and the other values of those that have both, and
// the features' ranks.
func (w *sectioning) pairs(other []float64) (x, y, rank []float64) {
	whole := true
	for _, v := range other {
		whole = whole && finite(v)
	}
	if whole {
		return w.x, other, w.rank
	}
	w.subX, w.subY = w.subX[:0], w.subY[:0]
	for k, v := range other {
		if finite(v) {
			w.subX, w.subY = append(w.subX, w.x[k]), append(w.subY, v)
		}
	}
	w.rankX = w.ranker.Ranks(w.rankX, w.subX)
	return w.subX, w.subY, w.rankX
}

// coefficients returns IC and RankIC, NaN below MinNames names or where one
// side is all the same.
func (w *sectioning) coefficients(x, y, rank []float64) (ic, rankIC float64) {
	if len(x) < MinNames {
		return math.NaN(), math.NaN()
	}
	w.rankY = w.ranker.Ranks(w.rankY, y)
	return correlation.Pearson(x, y), correlation.Pearson(rank, w.rankY)
}

// quantilesOf puts the names of a session into quantiles by the rank of the
// feature; equal values share one.
func (w *sectioning) quantilesOf(c *crossSection, x, y, rank []float64) {
	if len(x) < max(MinNames, w.wanted) {
		return
	}
	c.quantiles = make([]float64, w.wanted)
	counts := make([]int, w.wanted)
	for k, r := range rank {
		q := min(int((r-0.5)*float64(w.wanted)/float64(len(x))), w.wanted-1)
		c.quantiles[q] += y[k]
		counts[q]++
	}
	for q, n := range counts {
		c.quantiles[q] /= float64(n) // of none: NaN
	}
	c.spread = c.quantiles[w.wanted-1] - c.quantiles[0]
}

// judge fills the report.
func (j *judgement) judge(ctx context.Context, cal *calendar.Calendar) error {
	sections, err := j.sections(ctx)
	if err != nil {
		return err
	}
	r := &j.report
	var ic, rankIC, spread, autocorr []float64
	decay := make([][2][]float64, len(decayHorizons))
	quantiles := make([][]float64, j.wanted)
	withFeature := 0
	for k, c := range sections {
		r.Bars += int64(c.bars)
		withFeature += c.features
		if c.names > 0 {
			date := cal.At(j.from + k)
			r.Sessions++
			r.Pairs += int64(c.names)
			if r.FirstDate == "" {
				r.FirstDate = quant.Text(date.String())
			}
			r.LastDate = quant.Text(date.String())
			ic, rankIC = appendFinite(ic, c.ic), appendFinite(rankIC, c.rankIC)
			r.Daily = append(r.Daily, DailyIC{date, c.names, known(c.ic), known(c.rankIC)})
		}
		for k, d := range c.decay {
			decay[k] = [2][]float64{appendFinite(decay[k][0], d[0]), appendFinite(decay[k][1], d[1])}
		}
		for q, mean := range c.quantiles {
			quantiles[q] = appendFinite(quantiles[q], mean)
		}
		spread, autocorr = appendFinite(spread, c.spread), appendFinite(autocorr, c.autocorr)
	}
	if r.Bars > 0 {
		r.FeatureCoverage, r.PairCoverage = known(float64(withFeature)/float64(r.Bars)), known(float64(r.Pairs)/float64(r.Bars))
	}
	r.IC, r.RankIC = information(ic, j.horizon), information(rankIC, j.horizon)
	for k, h := range decayHorizons {
		r.Decay = append(r.Decay, Decay{h, len(decay[k][1]), known(correlation.Mean(decay[k][0])), known(correlation.Mean(decay[k][1]))})
	}
	for q, means := range quantiles {
		r.Quantiles = append(r.Quantiles, Quantile{q + 1, known(correlation.Mean(means)), len(means)})
	}
	r.Spread, r.RankAutocorr = known(correlation.Mean(spread)), known(correlation.Mean(autocorr))
	if err := j.along(ctx); err != nil {
		return err
	}
	if r.RankIC.Sessions == 0 {
		r.Notices = append(r.Notices, fmt.Sprintf("no session has the %d names that an IC needs; what there is to see is each symbol's own time series", MinNames))
	}
	return nil
}

// along judges each symbol along its sessions.
func (j *judgement) along(ctx context.Context) error {
	all := make([]TimeSeries, len(j.series))
	coefficients := make([]float64, len(j.series))
	err := parallel.Blocks(ctx, len(all), 1, func() func(lo, hi int) {
		var x, y []float64
		return func(k, _ int) {
			s := j.series[k]
			x, y = x[:0], y[:0]
			for i := max(s.first, j.from); i <= min(s.last, j.to-1); i++ {
				cell := s.at + i - s.first
				if f, l := j.feature[cell], j.labels[cell]; !math.IsNaN(f) && !math.IsNaN(l) {
					x, y = append(x, f), append(y, l)
				}
			}
			all[k] = TimeSeries{Symbol: j.symbols[k], Pairs: len(x), EffectiveSample: float64(len(x)) / float64(j.horizon)}
			coefficients[k] = math.NaN()
			if len(x) >= MinNames {
				coefficients[k] = correlation.Pearson(x, y)
				all[k].Correlation = known(coefficients[k])
			}
		}
	})
	var found []float64
	for k, t := range all {
		if t.Pairs > 0 {
			j.report.TimeSeries = append(j.report.TimeSeries, t)
			found = appendFinite(found, coefficients[k])
		}
	}
	j.report.Symbols = len(j.report.TimeSeries)
	j.report.TimeSeriesMean = known(correlation.Mean(found))
	return err
}

func information(daily []float64, horizon int) Information {
	m, dev := correlation.Mean(daily), deviation(daily)
	effective := float64(len(daily)) / float64(horizon)
	_, _, t := inference.NeweyWest(daily, horizon-1)
	return Information{
		Sessions: len(daily), Mean: known(m), Deviation: known(dev), ICIR: known(m / dev),
		EffectiveSample: known(effective), T: known(m / dev * math.Sqrt(effective)),
		NeweyWestT: known(t), NeweyWestLags: horizon - 1,
	}
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

// deviation is the sample deviation, NaN below two values.
func deviation(x []float64) float64 {
	if len(x) < 2 {
		return math.NaN()
	}
	m := correlation.Mean(x)
	var total float64
	for _, v := range x {
		total += float64((v - m) * (v - m))
	}
	return math.Sqrt(total / float64(len(x)-1))
}
