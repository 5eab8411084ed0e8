package tearsheet

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/inference"
)

// WorstDrawdowns is how many drawdowns are named.
const WorstDrawdowns = 5

// Windows of the rolling figures, in sessions: half a year, a year.
var windows = [...]int{126, 252}

// Risk is what the record of a backtest says of its risk, and of how far its figures may
// be believed. Each figure is defined in docs/judging.md; nil is what cannot be said, for
// the sample is too short.
type Risk struct {
	Returns   int         `json:"returns"`
	Intervals Intervals   `json:"intervals"`
	Benchmark *Regression `json:"benchmark"` // nil: there is none
	Rolling   []Rolling   `json:"rolling"`
	Tails     []Tail      `json:"tails"`
	Drawdowns []Drawdown  `json:"drawdowns"` // the deepest first, WorstDrawdowns at most
	Sectors   []Sector    `json:"sectors"`   // by mean gross exposure, the highest first
	Capacity  *Capacity   `json:"capacity"`  // nil: there was no trade
	// RollingDays are the rolling figures of each session.
	RollingDays []RollingDay `json:"rolling_days"`
}

// Interval is between which values a figure is with the probability of Intervals.
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Intervals are those of inference.Bootstrap.
type Intervals struct {
	Level     float64   `json:"level"`
	Resamples int       `json:"resamples"`
	Block     *float64  `json:"block_length"` // sessions, on average
	Sharpe    *Interval `json:"sharpe"`
	CAGR      *Interval `json:"cagr"`
	MaxDD     *Interval `json:"max_dd"`
}

// Regression is the account against its benchmark, see inference.Regression.
type Regression struct {
	Pairs            int      `json:"pairs"`
	Alpha            *float64 `json:"alpha"` // of a year
	AlphaT           *float64 `json:"alpha_t"`
	Beta             *float64 `json:"beta"`
	BetaT            *float64 `json:"beta_t"`
	Lags             int      `json:"lags"` // of the two t
	RSquared         *float64 `json:"r_squared"`
	TrackingError    *float64 `json:"tracking_error"` // of a year
	InformationRatio *float64 `json:"information_ratio"`
}

// Rolling are the figures of every so many neighbouring sessions.
type Rolling struct {
	Window int    `json:"window"` // sessions
	Sharpe *Range `json:"sharpe"`
	Beta   *Range `json:"beta"`
}

// Range is where a rolling figure was.
type Range struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	Last float64 `json:"last"`
}

// RollingDay are the figures of the windows that end with a session.
type RollingDay struct {
	TS        quant.Date `json:"ts"`
	Sharpe126 *float64   `json:"sharpe_126"`
	Sharpe252 *float64   `json:"sharpe_252"`
	Beta126   *float64   `json:"beta_126"`
	Beta252   *float64   `json:"beta_252"`
}

// Tail is a loss of a session at one level; returns, so a loss is negative.
type Tail struct {
	Level             float64  `json:"level"` // 0.95: one session in 20 is worse
	ValueAtRisk       *float64 `json:"value_at_risk"`
	ExpectedShortfall *float64 `json:"expected_shortfall"`
}

// Drawdown is a fall from the highest equity so far. Where that is the initial capital,
// the peak is the session of the first fill.
type Drawdown struct {
	Peak     quant.Date  `json:"peak"`
	Trough   quant.Date  `json:"trough"`
	Recovery *quant.Date `json:"recovery"` // nil: not yet
	Depth    float64     `json:"depth"`    // below 0
	Falling  int         `json:"sessions_falling"`
	Rising   *int        `json:"sessions_rising"` // nil: not yet recovered
	Length   int         `json:"sessions"`        // from the peak to the recovery, or to the last session
}

// Sector are the shares of equity in the symbols of a sector, over the sessions of the
// account. Net counts what is sold short as negative.
type Sector struct {
	Sector    quant.Text `json:"sector"` // null: of symbols whose sector is not known
	MeanNet   float64    `json:"mean_net"`
	MeanGross float64    `json:"mean_gross"`
	MaxGross  float64    `json:"max_gross"`
	LastNet   float64    `json:"last_net"`
	LastGross float64    `json:"last_gross"`
}

// ReadRisk computes Risk of a sheet that was read, with the sector of each symbol (""
// or missing: not known). It changes nothing else. Errors: those of reading the Fact DB;
// the cause of ctx.
func (s *Sheet) ReadRisk(ctx context.Context, db *factstore.DB, sectors map[string]string) error {
	r := &Risk{Rolling: []Rolling{}, Tails: []Tail{}, RollingDays: []RollingDay{}}
	own, other := s.returns()
	r.Returns = len(own)
	drawn, err := inference.Bootstrap(ctx, own)
	if err != nil {
		return err
	}
	r.Intervals = Intervals{inference.Level, inference.Resamples, finite(drawn.Block), interval(drawn.Sharpe), interval(drawn.CAGR), interval(drawn.MaxDD)}
	if other != nil {
		g := inference.AgainstBenchmark(own, other)
		r.Benchmark = &Regression{g.Pairs, finite(g.Alpha), finite(g.AlphaT), finite(g.Beta), finite(g.BetaT), g.Lags, finite(g.RSquared), finite(g.TrackingError), finite(g.InformationRatio)}
	}
	s.roll(r, own, other)
	for _, level := range []float64{0.95, 0.99} {
		tail := 1 - level
		r.Tails = append(r.Tails, Tail{level, finite(inference.ValueAtRisk(own, tail)), finite(inference.ExpectedShortfall(own, tail))})
	}
	r.Drawdowns = s.drawdowns()
	r.Sectors = s.exposures(sectors)
	r.Capacity, err = s.capacity(ctx, db)
	s.Risk = r
	return err
}

// returns are the account's and its benchmark's, of the same sessions; the latter nil
// without one. As the account's, the benchmark's first is counted from the initial
// capital.
func (s *Sheet) returns() (own, other []float64) {
	compared := len(s.Days) > 0
	for _, d := range s.Days {
		compared = compared && d.Benchmark != nil && *d.Benchmark > 0
	}
	before := s.InitialCapital
	for i, d := range s.Days {
		if d.Ret == nil {
			continue
		}
		own = append(own, *d.Ret)
		if compared {
			if len(own) > 1 {
				before = *s.Days[i-1].Benchmark
			}
			other = append(other, *d.Benchmark/before-1)
		}
	}
	return own, other
}

// roll fills the rolling figures.
func (s *Sheet) roll(r *Risk, own, other []float64) {
	var sharpe, beta [len(windows)][]float64
	for k, window := range windows {
		sharpe[k] = inference.RollingSharpe(own, window)
		if other != nil {
			beta[k] = inference.RollingBeta(own, other, window)
		}
		r.Rolling = append(r.Rolling, Rolling{window, rangeOf(sharpe[k]), rangeOf(beta[k])})
	}
	at := func(list []float64, i int) *float64 {
		if list == nil {
			return nil
		}
		return finite(list[i])
	}
	i := 0
	for _, d := range s.Days {
		if d.Ret == nil {
			continue
		}
		r.RollingDays = append(r.RollingDays, RollingDay{d.TS, at(sharpe[0], i), at(sharpe[1], i), at(beta[0], i), at(beta[1], i)})
		i++
	}
}

func rangeOf(list []float64) *Range {
	var r *Range
	for _, v := range list {
		switch {
		case math.IsNaN(v):
		case r == nil:
			r = &Range{v, v, v}
		default:
			r.Low, r.High, r.Last = min(r.Low, v), max(r.High, v), v
		}
	}
	return r
}

func (s *Sheet) drawdowns() []Drawdown {
	list := []Drawdown{}
	values := []float64{s.InitialCapital}
	for _, d := range s.Days {
		values = append(values, d.Equity)
	}
	day := func(place int) quant.Date { return s.Days[max(0, place-1)].TS }
	for _, d := range inference.Drawdowns(values) {
		if len(list) == WorstDrawdowns {
			break
		}
		// The initial capital is that of the first fill's session.
		peak := max(1, d.Peak)
		one := Drawdown{Peak: day(peak), Trough: day(d.Trough), Depth: d.Depth, Falling: d.Trough - peak, Length: len(s.Days) - peak}
		if d.Recovery >= 0 {
			recovery, rising := day(d.Recovery), d.Recovery-d.Trough
			one.Recovery, one.Rising, one.Length = &recovery, &rising, d.Recovery-peak
		}
		list = append(list, one)
	}
	return list
}

func (s *Sheet) exposures(sectors map[string]string) []Sector {
	n := len(s.Days)
	net, gross := map[string][]float64{}, map[string][]float64{}
	for _, symbol := range slices.Sorted(maps.Keys(s.held)) {
		sector := sectors[symbol]
		if net[sector] == nil {
			net[sector], gross[sector] = make([]float64, n), make([]float64, n)
		}
		for i, w := range s.held[symbol] {
			net[sector][i] += w
			gross[sector][i] += math.Abs(w)
		}
	}
	list := []Sector{}
	for _, name := range slices.Sorted(maps.Keys(net)) {
		e := Sector{Sector: quant.Text(name), LastNet: net[name][n-1], LastGross: gross[name][n-1]}
		for i, w := range net[name] {
			e.MeanNet += w
			e.MeanGross += gross[name][i]
			e.MaxGross = max(e.MaxGross, gross[name][i])
		}
		e.MeanNet, e.MeanGross = e.MeanNet/float64(n), e.MeanGross/float64(n)
		list = append(list, e)
	}
	slices.SortStableFunc(list, func(a, b Sector) int {
		return cmp.Or(cmp.Compare(b.MeanGross, a.MeanGross), strings.Compare(string(a.Sector), string(b.Sector)))
	})
	return list
}

func interval(i inference.Interval) *Interval {
	if math.IsNaN(i.Low) || math.IsNaN(i.High) {
		return nil
	}
	return &Interval{i.Low, i.High}
}

// finite is x, or nil where it says nothing.
func finite(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}
