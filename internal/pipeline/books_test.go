package pipeline_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"quant/internal/pipeline"
	"quant/internal/universe"
)

// bar is a row of the market of the tests of books.
type bar struct {
	symbol, day           string
	close, volume, signal float64
	traded                bool
}

// history makes bars of eight names on n days, with gaps and names that come later. What
// comes after day cut is another for every other.
func history(seed, other uint64, n, cut int) []bar {
	var bars []bar
	for s := range 8 {
		r := rand.New(rand.NewPCG(seed, uint64(s)))
		later := rand.New(rand.NewPCG(other, uint64(s)))
		p := 10 + 90*r.Float64()
		begin := 0
		if s == 3 {
			begin = 25
		}
		for d := range n {
			from := r
			if d > cut {
				from = later
			}
			p *= math.Exp(from.NormFloat64() / (10 + 8*float64(s)))
			bars = append(bars, bar{fmt.Sprint("N", s), fmt.Sprintf("2024-%02d-%02d", 1+d/28, 1+d%28), p, float64(1 + from.IntN(1000)), from.NormFloat64(), d >= begin && from.IntN(15) > 0})
		}
	}
	return bars
}

func labOf(t *testing.T, bars []bar) *lab {
	l := newLab(t)
	var prices, signals []string
	for _, b := range bars {
		if b.traded {
			prices = append(prices, fmt.Sprintf("('%s','%s',%v,%v)", b.symbol, b.day, b.close, b.volume))
			signals = append(signals, fmt.Sprintf("('%s','%s',%v)", b.symbol, b.day, b.signal))
		}
	}
	l.merge("ohlcv", "SELECT symbol, ts::DATE AS ts, c::DOUBLE AS open, c::DOUBLE AS high, c::DOUBLE AS low, c::DOUBLE AS close, v::DOUBLE AS volume, c::DOUBLE AS adjusted_close, 'f' AS source FROM (VALUES "+strings.Join(prices, ",")+") t(symbol, ts, c, v)")
	l.signals(strings.Join(signals, ","))
	return l
}

// books are strategies of every weighting, side and universe.
var books = [][]string{
	{"portfolio.weighting=inverse_vol"},
	{"portfolio.weighting=risk_parity", "portfolio.fill=redistribute"},
	{"portfolio.weighting=min_variance"},
	{"portfolio.weighting=mean_variance", "supervisor.sector_cap=0.7"},
	{"portfolio.weighting=equal", "supervisor.sector_cap=0.3"},
	{"portfolio.weighting=min_variance", "supervisor.sector_cap={Energy: 0.5, default: 0.7}"},
	{"portfolio.weighting=equal", "supervisor.sector_cap={Energy: 0.1, without a sector: 0.3}"},
	{"portfolio.weighting=score_weighted", "portfolio.sector_neutral=true"},
	{"portfolio.weighting=min_variance", "portfolio.side=long_short", "portfolio.short_k=2", "portfolio.short_exposure=0.4", "portfolio.long_exposure=0.6", "portfolio.top_k=3"},
	{"portfolio.weighting=risk_parity", "portfolio.side=long_short", "portfolio.short_k=2", "portfolio.short_exposure=0.4", "portfolio.long_exposure=0.6", "portfolio.top_k=3", "portfolio.sector_neutral=true"},
	{"portfolio.weighting=inverse_vol", "universe.type=rule", "universe.by=dollar_volume", "universe.window=10", "universe.top=4"},
	{"portfolio.weighting=equal", "universe.type=membership", "universe.name=u"},
}

// requestOf is the request of a book.
func requestOf(l *lab, days string, sets []string) pipeline.DecideRequest {
	sets = append([]string{"portfolio.top_k=4", "portfolio.covariance_window=20", "supervisor.max_weight_per_symbol=0.6", "supervisor.turnover_cap=0.4"}, sets...)
	changing := strings.Contains(strings.Join(sets, " "), "universe.type")
	text := file
	if changing {
		text = strings.Replace(file, "symbols: [A, B, C]", "", 1)
		text = strings.Replace(text, "{type: symbols, }", "{type: all}", 1)
	} else {
		sets = append(sets, "universe.symbols=N0,N1,N2,N3,N4,N5,N6,N7")
	}
	req := l.requestOf(text, days, sets...)
	all := []string{"N0", "N1", "N2", "N3", "N4", "N5", "N6", "N7"}
	req.Strategy = req.Strategy.WithSymbols(all)
	req.Sectors = map[string]string{}
	for i, symbol := range all {
		req.Sectors[symbol] = []string{"Energy", "Health", ""}[i%3]
	}
	req.Members = universe.List{Name: "u", Members: []universe.Member{
		{Symbol: "N0", From: *day("2024-01-01"), To: day("2024-02-10")}, {Symbol: "N1", From: *day("2024-01-01")}, {Symbol: "N2", From: *day("2024-02-05")},
		{Symbol: "N4", From: *day("2024-01-01"), To: day("2024-02-20")}, {Symbol: "N5", From: *day("2024-02-15")},
	}}
	return req
}

func (l *lab) exact() string {
	return l.text(`SELECT concat_ws(' ', "asof", symbol, format('{:.17g}', weight), risk_flags) AS line FROM targets WHERE "asof" <= '2024-02-26' ORDER BY "asof", symbol`)
}

// Whatever comes after a day, no book that was decided up to it is another, and each
// keeps to the rules.
func TestNoBookKnowsWhatComesLater(t *testing.T) {
	t.Parallel()
	for number, sets := range books {
		t.Run(strings.Join(sets, " "), func(t *testing.T) {
			t.Parallel()
			seed := uint64(number)
			const cut = 53 // 2024-02-26
			first := ""
			for _, c := range []struct {
				other uint64
				days  int
			}{{1, cut + 1}, {1, 70}, {2, 70}} {
				l := labOf(t, history(seed, c.other, c.days, cut))
				req := requestOf(l, "2024-01-25..2024-03-30", sets)
				if _, err := pipeline.Decide(t.Context(), l.db, req); err != nil {
					t.Fatal(err)
				}
				got := l.exact()
				if first == "" {
					first = got
				}
				if got != first || len(got) < 500 {
					t.Fatalf("with another future\n%s\nnot\n%s", got, first)
				}
				v := req.Strategy.Supervisor
				var sectorCaps [3]any // of the sectors of N0, N1 and N2
				for i := range sectorCaps {
					sectorCaps[i] = 99.0
					if most, capped := v.SectorCap.Of(cmp.Or(req.Sectors[fmt.Sprint("N", i)], "without a sector")); capped {
						sectorCaps[i] = most
					}
				}
				broken := l.text(fmt.Sprintf(`SELECT "asof"::TEXT AS line FROM (SELECT t."asof", sum(abs(weight)) AS gross, max(abs(weight)) AS most, count(*) FILTER (weight <> 0) AS n FROM targets t WHERE approved GROUP BY ALL)
						WHERE gross > %v + 1e-11 OR most > %v + 1e-11 OR n > %d
					UNION ALL SELECT "asof"::TEXT FROM target_sets WHERE turnover - exempt_turnover > %v + 1e-11
					UNION ALL SELECT "asof"::TEXT FROM (SELECT "asof", substr(symbol, 2)::INT %% 3 AS k, sum(abs(weight)) AS w FROM targets WHERE approved GROUP BY ALL) WHERE w > [%v, %v, %v][k + 1] + 1e-11`,
					append([]any{v.GrossExposureCap, v.MaxWeightPerSymbol, v.MaxPositions, v.TurnoverCap}, sectorCaps[:]...)...))
				if broken != "" {
					t.Fatalf("rules are broken on %s", broken)
				}
			}
		})
	}
}

// A symbol is proposed only on days on which it is a member, and sold when it leaves.
func TestMembersAreThoseOfTheDay(t *testing.T) {
	t.Parallel()
	l := labOf(t, history(7, 1, 70, 53))
	req := requestOf(l, "2024-01-25..2024-03-10", books[len(books)-1])
	if _, err := pipeline.Decide(t.Context(), l.db, req); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, line := range strings.Split(l.text(`SELECT concat_ws(' ', "asof", symbol) AS line FROM proposals ORDER BY ALL`), "; ") {
		at, symbol, _ := strings.Cut(line, " ")
		if !req.Members.Has(symbol, *day(at)) {
			t.Errorf("%s was proposed on %s", symbol, at)
		}
		seen++
	}
	if left := l.text(`SELECT concat_ws(' ', "asof", symbol) AS line FROM targets WHERE risk_flags LIKE '%LEFT_UNIVERSE%' ORDER BY ALL`); seen < 50 || !strings.Contains(left, "N0") || !strings.Contains(left, "N4") {
		t.Errorf("%d proposals, left: %s", seen, left)
	}
	for _, at := range []string{"N0 2024-02-11", "N4 2024-02-21"} {
		symbol, since, _ := strings.Cut(at, " ")
		if held := l.text(`SELECT "asof"::TEXT AS line FROM targets WHERE approved AND symbol = '` + symbol + `' AND "asof" >= '` + since + `'`); held != "" {
			t.Errorf("%s is held on %s", symbol, held)
		}
	}
}

// What inverse_vol gives is computed again, plainly, from the bars.
func TestInverseVolatilitiesAreThoseOfTheBars(t *testing.T) {
	t.Parallel()
	bars := history(3, 1, 56, 99)
	l := labOf(t, bars)
	if _, err := pipeline.Decide(t.Context(), l.db, requestOf(l, "2024-02-28", books[len(books)-2])); err != nil {
		t.Fatal(err)
	}
	vol := map[string]float64{}
	for s := range 8 {
		name := fmt.Sprint("N", s)
		var closes []float64
		for _, b := range bars {
			if b.symbol == name {
				c := math.NaN()
				if b.traded {
					c = b.close
				} else if n := len(closes); n > 0 {
					c = closes[n-1]
				}
				closes = append(closes, c)
			}
		}
		var returns []float64
		mean := 0.0
		for d := 36; d < 56; d++ {
			returns = append(returns, closes[d]/closes[d-1]-1)
			mean += returns[len(returns)-1] / 20
		}
		for _, x := range returns {
			vol[name] += (x - mean) * (x - mean)
		}
		vol[name] = math.Sqrt(vol[name])
	}
	got := strings.Split(l.text(`SELECT concat_ws(' ', symbol, format('{:.17g}', weight)) AS line FROM proposals ORDER BY symbol`), "; ")
	total := 0.0
	weights := map[string]float64{}
	for _, line := range got {
		var symbol string
		var w float64
		if _, err := fmt.Sscan(line, &symbol, &w); err != nil {
			t.Fatal(err)
		}
		weights[symbol] = w
		total += 1 / vol[symbol]
	}
	if len(weights) == 0 || len(weights) > 4 {
		t.Fatalf("%v", got)
	}
	for symbol, w := range weights {
		if want := float64(len(weights)) / 4 / vol[symbol] / total; math.Abs(w-want) > 1e-12 {
			t.Errorf("%s: %v, want %v of %v", symbol, w, want, weights)
		}
	}
}
