package backtest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/test/soak"
)

// equities are those of a replay, by session from the first fill.
func equities(r Result) (list []float64) {
	for _, d := range r.Days {
		list = append(list, d.Equity)
	}
	return list
}

func sameMoney(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(x, y float64) bool { return math.Abs(x-y) <= 1e-6 })
}

// thousand are the options of an account of 1000 that gives up after three sessions.
func thousand() Options {
	o := defaults()
	o.InitialCapital, o.DelistAfter = 1000, 3
	return o
}

// A pauses for four sessions. What the rule closed is told by name and bought again
// by the next decision: 1000 -> 1200 -> 0.7 -> 840, which grow by a tenth.
func TestWhatTheRuleClosedIsToldByNameAndBoughtAgain(t *testing.T) {
	t.Parallel()
	m := oneSymbol(100, 120, 0, 0, 0, 0, 150, 150, 165)
	r, err := Simulate(m, []Decision{hold(0, 1), hold(7, 1)}, thousand())
	if err != nil {
		t.Fatal(err)
	}
	if want := []float64{1000, 1200, 1200, 1200, 840, 840, 840, 840, 924}; !sameMoney(equities(r), want) {
		t.Errorf("the account is %v, want %v", equities(r), want)
	}
	want := Delisting{Symbol: "A", LastBar: 1, ClosedOn: 4, LastPrice: 120, Return: -0.3, Qty: 10, PnL: -360, Cause: CauseRule}
	if len(r.Delistings) != 1 {
		t.Fatalf("%+v", r.Delistings)
	}
	got := r.Delistings[0]
	if got.TradedAgain == nil || *got.TradedAgain != 6 {
		t.Errorf("traded again on %v, want session 6", got.TradedAgain)
	}
	got.TradedAgain = nil
	if math.Abs(got.PnL-want.PnL) > 1e-9 {
		t.Errorf("lost %v", got.PnL)
	}
	if got.PnL = want.PnL; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// That it trades again is no knowledge of the account: up to then it is to the bit
// the one of a market in which it never does.
func TestTheAccountDoesNotKnowThatItWillTradeAgain(t *testing.T) {
	t.Parallel()
	back, err := Simulate(oneSymbol(100, 120, 0, 0, 0, 0, 150, 150), []Decision{hold(0, 1)}, thousand())
	if err != nil {
		t.Fatal(err)
	}
	never, err := Simulate(oneSymbol(100, 120, 0, 0, 0, 0, 0, 0), []Decision{hold(0, 1)}, thousand())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(equities(back), equities(never)) || digestOf(Summary{}, back) != digestOf(Summary{}, never) {
		t.Errorf("%v, and without later bars %v", equities(back), equities(never))
	}
	if never.Delistings[0].TradedAgain != nil {
		t.Errorf("%+v", never.Delistings)
	}
}

func TestWhatIsKnownBeatsTheRule(t *testing.T) {
	t.Parallel()
	day := func(d int) *quant.Date { return new(quant.Date(d)) }
	pause := []float64{100, 120, 0, 0, 0, 0, 0, 150, 165}
	delisting := func(date int, ret *float64, end *quant.Date) Known {
		return Known{Symbol: "A", Kind: KindDelisting, Date: quant.Date(date), Return: ret, End: end}
	}
	halt := func(date int, end *quant.Date) Known {
		return Known{Symbol: "A", Kind: KindHalt, Date: quant.Date(date), End: end}
	}
	for name, c := range map[string]struct {
		closes  []float64
		known   []Known
		ds      []Decision
		lag     int
		want    []float64
		dropped int64
	}{
		"a halt is no delisting": {pause, []Known{halt(2, day(6))}, []Decision{hold(0, 1)}, 0,
			[]float64{1000, 1200, 1200, 1200, 1200, 1200, 1200, 1500, 1650}, 0},
		"after a halt the rule counts anew": {pause, []Known{halt(2, day(3))}, []Decision{hold(0, 1)}, 0,
			[]float64{1000, 1200, 1200, 1200, 1200, 1200, 840, 840, 840}, 0},
		"a halt without an end": {pause[:7], []Known{halt(2, nil)}, []Decision{hold(0, 1)}, 0,
			[]float64{1000, 1200, 1200, 1200, 1200, 1200, 1200}, 0},
		"a halt lasts until the next entry": {pause, []Known{delisting(6, new(-1.), nil), halt(2, nil)}, []Decision{hold(0, 1)}, 0,
			[]float64{1000, 1200, 1200, 1200, 1200, 1200, 0, 0, 0}, 0},
		"a delisting on the last day of trading": {pause[:6], []Known{delisting(1, new(-0.5), nil)}, []Decision{hold(0, 1)}, 0,
			[]float64{1000, 600, 600, 600, 600, 600}, 0},
		"a delisting on the day after it": {pause[:6], []Known{delisting(2, new(-0.5), nil)}, []Decision{hold(0, 1)}, 0,
			[]float64{1000, 1200, 600, 600, 600, 600}, 0},
		"a takeover": {pause[:6], []Known{delisting(2, new(0.05), nil)}, []Decision{hold(0, 1)}, 0,
			[]float64{1000, 1200, 1260, 1260, 1260, 1260}, 0},
		"a day is known, and no return": {pause[:6], []Known{delisting(2, nil, nil)}, []Decision{hold(0, 1)}, 0,
			[]float64{1000, 1200, 840, 840, 840, 840}, 0},
		"later than the rule would have it": {pause[:7], []Known{delisting(6, new(-1.), nil)}, []Decision{hold(0, 1)}, 0,
			[]float64{1000, 1200, 1200, 1200, 1200, 1200, 0}, 0},
		"after the last session": {pause[:7], []Known{delisting(60, new(-1.), nil)}, []Decision{hold(0, 1)}, 0,
			[]float64{1000, 1200, 1200, 1200, 1200, 1200, 1200}, 0},
		"on the last session": {pause[:3], []Known{delisting(2, new(-1.), nil)}, []Decision{hold(0, 1)}, 0,
			[]float64{1000, 1200, 0}, 0},
		"the day of a fill: it is sold as delisted, and not bought": {[]float64{100, 120, 130, 140}, []Known{delisting(1, new(-0.5), nil)}, []Decision{hold(0, 1), hold(1, 1)}, 0,
			[]float64{1000, 600, 600, 600}, 1},
		"an order that waits is dropped": {[]float64{100, 120, 130, 140}, []Known{delisting(2, new(-0.5), nil)}, []Decision{hold(0, 1), hold(1, 0.5)}, 1,
			[]float64{1000, 1000 * 130. / 120 * 0.5, 1000 * 130. / 120 * 0.5}, 1},
		"bars after it are not traded": {[]float64{100, 120, 130, 140}, []Known{delisting(1, new(-0.5), nil)}, []Decision{hold(0, 1), hold(2, 1)}, 0,
			[]float64{1000, 600, 600, 600}, 1},
		"listed again after its end": {[]float64{100, 120, 130, 140, 154}, []Known{delisting(1, new(-0.5), day(2))}, []Decision{hold(0, 1), hold(3, 1)}, 0,
			[]float64{1000, 600, 600, 600, 660}, 0},
		"a halted symbol is not sold, whatever bars it has": {[]float64{100, 120, 120, 60}, []Known{halt(2, day(2))}, []Decision{hold(0, 1), {AsOf: 2}}, 0,
			[]float64{1000, 1200, 1200, 600}, 1},
		"of another symbol": {pause, []Known{{Symbol: "B", Kind: KindDelisting, Date: 1}}, []Decision{hold(0, 1)}, 0,
			[]float64{1000, 1200, 1200, 1200, 840, 840, 840, 840, 840}, 0},
		"long past": {pause, []Known{delisting(-50, new(-1.), day(-20)), halt(-10, day(-1))}, []Decision{hold(0, 1)}, 0,
			[]float64{1000, 1200, 1200, 1200, 840, 840, 840, 840, 840}, 0},
	} {
		m, o := oneSymbol(c.closes...), thousand()
		m.Known, o.Lag = c.known, c.lag
		r, err := Simulate(m, c.ds, o)
		if err != nil || !sameMoney(equities(r), c.want) || r.Metrics.Dropped != c.dropped {
			t.Errorf("%s: the account is %v, want %v; %d orders dropped, want %d; %v", name, equities(r), c.want, r.Metrics.Dropped, c.dropped, err)
		}
		sum := 0.0
		for _, x := range r.Trades {
			sum += x.PnL
		}
		if change := r.Metrics.FinalEquity - o.InitialCapital; math.Abs(sum-change) > 1e-6 {
			t.Errorf("%s: trades earn %v, equity changed by %v", name, sum, change)
		}
	}
}

// The money of what was delisted on the day of a fill is there for the others.
func TestADelistingPaysForTheFillOfItsDay(t *testing.T) {
	t.Parallel()
	m := Market{
		Symbols: []string{"A", "B"}, Sessions: []quant.Date{0, 1, 2}, Close: [][]float64{{100, 0, 0}, {50, 50, 100}},
		Known: []Known{{Symbol: "A", Kind: KindDelisting, Date: 1, Return: new(-0.2), Reason: "merger"}},
	}
	r, err := Simulate(m, []Decision{hold(0, 1), {AsOf: 1, Weights: []Weight{{"B", 1}}}}, thousand())
	if want := []float64{1000, 800, 1600}; err != nil || !sameMoney(equities(r), want) {
		t.Errorf("the account is %v, want %v; %v", equities(r), want, err)
	}
	if d := r.Delistings[0]; d.Cause != CauseKnown || d.Reason != "merger" || d.ClosedOn != 1 || d.LastBar != 0 || math.Abs(d.PnL+200) > 1e-9 {
		t.Errorf("%+v", d)
	}
}

// Nothing acts before its day: without the entries that begin after a session the
// account up to it is the same to the bit, but where the rule would have guessed
// what is known.
func TestWhatIsKnownDoesNotActBeforeItsDay(t *testing.T) {
	t.Parallel()
	seed := soak.Seed(t)
	for i := range soak.Count(t, 1000, 20_000) {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		m, ds, o := randomCase(rng)
		o.DelistAfter = len(m.Sessions) + 1
		whole, err := Simulate(m, ds, o)
		if err != nil {
			t.Fatal(err)
		}
		cut := m.Sessions[rng.IntN(len(m.Sessions))]
		m.Known = slices.DeleteFunc(m.Known, func(e Known) bool { return e.Date > cut })
		early, err := Simulate(m, ds, o)
		if err != nil {
			t.Fatal(err)
		}
		for s, d := range whole.Days {
			if d.TS > cut {
				break
			}
			if e := early.Days[s]; d.Equity != e.Equity || d.Cash != e.Cash || d.Costs != e.Costs {
				t.Fatalf("case %d, known after %s: %+v became %+v", i, cut, e, d)
			}
		}
	}
}

// A benchmark is held again once it trades again, with what the closing gave:
// 1000 / 1.01 in shares at 100, worth 0.7 of that when it is closed, bought at 200 for
// the same costs.
func TestABenchmarkHoldsAgainWhatTradesAgain(t *testing.T) {
	t.Parallel()
	o := thousand()
	o.FeeBps, o.SlippageBps = 60, 40
	m := oneSymbol(100, 0, 0, 0, 200, 220)
	r, err := simulate(m, []Decision{hold(0, 1)}, o, detail{rejoin: true})
	x := 1000 / 1.01
	y := 0.7 * x / 1.01
	if want := []float64{x, x, x, 0.7 * x, y, 1.1 * y}; err != nil || !sameMoney(equities(r), want) {
		t.Errorf("the benchmark is %v, want %v; %v", equities(r), want, err)
	}
	m.Known = []Known{{Symbol: "A", Kind: KindDelisting, Date: 1, Return: new(-1.), End: new(quant.Date(2))}}
	if r, err = simulate(m, []Decision{hold(0, 1)}, o, detail{rejoin: true}); err != nil || r.Metrics.FinalEquity != 0 {
		t.Errorf("nothing was left, and it ends at %v, %v", r.Metrics.FinalEquity, err)
	}
	m.Known[0].End, m.Known[0].Return = nil, new(-0.5)
	if r, err = simulate(m, []Decision{hold(0, 1)}, o, detail{rejoin: true}); err != nil || math.Abs(r.Metrics.FinalEquity-x/2) > 1e-6 {
		t.Errorf("it was delisted for good, and ends at %v, %v", r.Metrics.FinalEquity, err)
	}
}

func TestAFileOfDelistingsIsReadAndWritten(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"as it is written":  "symbol,kind,date,end,return,reason\nA,halt,2024-01-02,2024-02-01,,\nA,delisting,2024-03-04,,-0.95,\"부도, 청산\"\n",
		"in another order":  "\ufeffReason,Delisting Return,Date,Ticker,type,until\r\n\"부도, 청산\",-0.95,2024-03-04,A,,\r\n,,2024-01-02,A,HALT,2024-02-01\r\n",
		"with Korean names": "종목코드,상장폐지일,폐지사유,수익률,구분,해제일\nA,2024-03-04,\"부도, 청산\",-0.95,delisting,\nA,2024-01-02,,,halt,2024-02-01\n",
	} {
		list, err := ReadKnown(strings.NewReader(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var b bytes.Buffer
		if err := WriteKnown(&b, list); err != nil {
			t.Fatal(err)
		}
		if want := "symbol,kind,date,end,return,reason\nA,halt,2024-01-02,2024-02-01,,\nA,delisting,2024-03-04,,-0.95,\"부도, 청산\"\n"; b.String() != want {
			t.Errorf("%s: %q, want %q", name, b.String(), want)
		}
	}
}

func TestAFileOfDelistingsThatCannotBeUsedIsRefusedWithItsLine(t *testing.T) {
	t.Parallel()
	const head = "symbol,kind,date,end,return,reason\n"
	for text, want := range map[string]string{
		"":                                                                   "is empty",
		"\xb1\xe2":                                                           "not UTF-8",
		"symbol\nA\n":                                                        "no column date",
		"date\n2024-01-02\n":                                                 "no column symbol",
		"symbol,date,colour\n":                                               `column "colour"`,
		"symbol,date,ticker\n":                                               "two columns of the delistings mean symbol",
		head + "A,delisting,2024-01-02\n":                                    "line 2 of the delistings: 3 fields",
		head + "A,delisting,02/01/2024,,,\n":                                 "line 2",
		head + "A,delisting,,,,\n":                                           "line 2",
		head + "A,merger,2024-01-02,,,\n":                                    `kind "merger" is not known`,
		head + "A,delisting,2024-01-02,,-30%,\n":                             `return "-30%" is no number`,
		head + "A,delisting,2024-01-02,,-30,\n":                              "return -30 makes no sense",
		head + "A,delisting,2024-01-02,,nan,\n":                              `return "nan"`,
		head + "A,delisting,2024-01-02,,1e999,\n":                            "return",
		head + "A,halt,2024-01-02,,-1,\n":                                    "a halt has no return",
		head + "A,halt,2024-01-02,2024-01-01,,\n":                            "before 2024-01-02",
		head + "A B,halt,2024-01-02,,,\n":                                    "space or control character",
		head + ",halt,2024-01-02,,,\n":                                       "symbol is empty",
		head + "A,halt,2024-01-02,,,\x1b[2J\n":                               "control character",
		head + "A,halt,2024-01-02,,,\"a\nb\"\n":                              "control character",
		head + "A,halt,2024-01-02,,,\u202ex\n":                               "control character",
		head + "A,halt,2024-01-02,,," + strings.Repeat("x", 501) + "\n":      "501 bytes",
		head + "A,halt,2024-01-02,,,\"open\n":                                "the delistings: ",
		head + "A,halt,2024-01-02,,,\nA,delisting,2024-01-02,,,\n":           "line 3 of the delistings: A on 2024-01-02 stands in line 2 already",
		head + "A,halt,2024-01-02,2024-03-01,,\nA,delisting,2024-02-02,,,\n": "the halt of 2024-01-02 ends on 2024-03-01, and the delisting of 2024-02-02 begins before",
		head + "A,delisting,2024-01-02,,,\nA,delisting,2025-02-02,,,\n":      "the delisting of 2024-01-02 has no end",
		head + strings.Repeat("# a long line that makes the file larger than it may be\n", (16<<20)/50): "larger than 16 MiB",
	} {
		list, err := ReadKnown(strings.NewReader(text))
		if !errors.Is(err, quant.Invalid) || !strings.Contains(err.Error(), want) || quant.HintOf(err) == "" && !strings.Contains(want, "symbol") && want != "space or control character" {
			t.Errorf("%.60q: %v, %v (hint %q); want %q", text, list, err, quant.HintOf(err), want)
		}
	}
}

func FuzzReadKnown(f *testing.F) {
	f.Add("symbol,kind,date,end,return,reason\nA,halt,2024-01-02,2024-02-01,,x\n")
	f.Add("종목코드,상장폐지일\n005930,2024-03-04\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ReadKnown(strings.NewReader(text))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := WriteKnown(&b, list); err != nil {
			t.Fatal(err)
		}
		again, err := ReadKnown(&b)
		if err != nil || !slices.EqualFunc(list, again, Known.Equal) {
			t.Errorf("%q: %v became %v, %v", text, list, again, err)
		}
	})
}

func TestEntriesAreMergedBySymbolAndDay(t *testing.T) {
	t.Parallel()
	a := Known{Symbol: "A", Kind: KindDelisting, Date: 10}
	b := Known{Symbol: "B", Kind: KindHalt, Date: 5, End: new(quant.Date(9))}
	other := a
	other.Return = new(-1.)
	list, added, changed, unchanged, err := Merge([]Known{a, b}, []Known{b, other, {Symbol: "A", Kind: KindHalt, Date: 1}})
	if err != nil || len(list) != 3 || list[0].Date != 1 || !list[1].Equal(other) || !list[2].Equal(b) || len(added) != 1 || len(changed) != 1 || len(unchanged) != 1 {
		t.Errorf("%+v %+v %+v %+v %v", list, added, changed, unchanged, err)
	}
	if _, _, _, _, err := Merge(nil, []Known{a, a}); !errors.Is(err, quant.Invalid) {
		t.Errorf("twice: %v", err)
	}
	if _, _, _, _, err := Merge([]Known{a}, []Known{{Symbol: "A", Kind: KindHalt, Date: 20}}); !errors.Is(err, quant.Invalid) {
		t.Errorf("within another: %v", err)
	}
}

func TestDelistingsAreToldUpToTenAndThenCounted(t *testing.T) {
	t.Parallel()
	var list []Delisting
	for i := range 14 {
		list = append(list, Delisting{Symbol: fmt.Sprintf("S%02d", i), LastBar: 10, ClosedOn: 20, LastPrice: 8, Return: -0.3, Qty: 10, PnL: -24, Cause: CauseRule})
	}
	list[13].TradedAgain, list[1].Benchmark = new(quant.Date(30)), true
	told := delistingNotices(list)
	if len(told) != 12 || told[0] != "DELISTED S00 on 1970-01-21: no bar since 1970-01-11; last price 8, return -30 %, lost 24.00" ||
		told[1] != "benchmark: DELISTED S01 on 1970-01-21: no bar since 1970-01-11; last price 8, return -30 %, lost 24.00" ||
		told[10] != "4 more were closed as DELISTED, lost 96.00 in all" ||
		told[11] != "what traded again was halted, not delisted: `quant delistings add S13 --kind halt --date 1970-01-12 --end 1970-01-30` holds it through the halt" {
		t.Errorf("%s", strings.Join(told, "\n"))
	}
	told = delistingNotices([]Delisting{{Symbol: "A", LastBar: 10, ClosedOn: 20, LastPrice: 8, Return: 0.05, Qty: 10, PnL: 4, Cause: CauseKnown, Reason: "taken over", TradedAgain: new(quant.Date(21)), Untraded: true}})
	if len(told) != 2 || told[0] != "DELISTED A on 1970-01-21: known delisting (taken over), last bar 1970-01-11; last price 8, return 5 %, gained 4.00; traded again on 1970-01-22" ||
		told[1] != "bars after a known delisting are not traded; give that of A an --end if it was listed again" {
		t.Errorf("%s", strings.Join(told, "\n"))
	}
}

// paused is a lab in which A, half of the account, pauses for 12 sessions after its
// second and comes back as it went; B stands still. The universe in equal weights is
// the benchmark.
func paused(t *testing.T) (*lab, Request) {
	t.Helper()
	l := newLab(t)
	a, b := make([]float64, 18), make([]float64, 18)
	for i := range a {
		b[i] = 10
		if i < 2 || i > 13 {
			a[i] = 100
		}
	}
	l.prices("A", a...)
	l.prices("B", b...)
	l.decide(0, "current", "A", 0.5, "B", 0.5)
	l.decide(15, "current", "A", 0.5, "B", 0.5)
	req := l.request()
	req.Benchmark = EqualWeight
	return l, req
}

func TestABacktestNamesWhatItClosedAndKeepsIt(t *testing.T) {
	t.Parallel()
	l, req := paused(t)
	r, err := l.run(req)
	if err != nil {
		t.Fatal(err)
	}
	// 5,000 shares at 100 give 350,000; the strategy halves 850,000, the benchmark buys
	// back for 350,000.
	if math.Abs(r.Metrics.FinalEquity-850_000) > 1e-6 || math.Abs(r.Metrics.Benchmark.FinalEquity-850_000) > 1e-6 {
		t.Errorf("ends at %v and %v", r.Metrics.FinalEquity, r.Metrics.Benchmark.FinalEquity)
	}
	want := []string{
		"1 positions were closed as DELISTED",
		"DELISTED A on 2020-01-12: no bar since 2020-01-02; last price 100, return -30 %, lost 150000.00; traded again on 2020-01-15",
		"benchmark: DELISTED A on 2020-01-12: no bar since 2020-01-02; last price 100, return -30 %, lost 150000.00; traded again on 2020-01-15",
		"what traded again was halted, not delisted: `quant delistings add A --kind halt --date 2020-01-03 --end 2020-01-14` holds it through the halt",
	}
	at := slices.Index(r.Notices, want[0])
	if at < 0 || !slices.Equal(r.Notices[at:at+4], want) {
		t.Errorf("%s", strings.Join(r.Notices, "\n"))
	}
	if got := l.number("SELECT sum(value) FROM backtest_positions WHERE ts = DATE '2020-01-18' AND symbol = 'A'"); math.Abs(got-425_000) > 1e-6 {
		t.Errorf("A is worth %v at the end, want it held again", got)
	}
	if got := l.number("SELECT sum(pnl) FROM backtest_trades WHERE reason = 'DELISTED'"); math.Abs(got+150_000) > 1e-6 {
		t.Errorf("the trade earns %v", got)
	}
	b, err := Read(t.Context(), l.db, req.RunID)
	if err != nil || len(b.Delistings) != 2 || b.Delistings[0].Benchmark || !b.Delistings[1].Benchmark || b.Delistings[0].Symbol != "A" || len(b.Known) != 0 {
		t.Fatalf("%+v, %v", b.Delistings, err)
	}
	if d := b.Delistings[1]; d.TradedAgain == nil || d.TradedAgain.String() != "2020-01-15" || d.LastBar.String() != "2020-01-02" || d.ClosedOn.String() != "2020-01-12" || math.Abs(d.PnL+150_000) > 1e-6 {
		t.Errorf("%+v", d)
	}
	if got := l.number("SELECT json_array_length(metrics_json, '$.delistings') FROM backtest_details"); got != 2 {
		t.Errorf("backtest_details has %v of them", got)
	}
}

func TestABacktestTakesWhatTheLabKnowsAndSaysSo(t *testing.T) {
	t.Parallel()
	l, req := paused(t)
	req.Known = []Known{
		{Symbol: "A", Kind: KindHalt, Date: date(t, "2020-01-03"), End: new(date(t, "2020-01-14")), Reason: "거래정지"},
		{Symbol: "ZZ", Kind: KindDelisting, Date: date(t, "2020-01-03")},
	}
	r, err := l.run(req)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(r.Metrics.FinalEquity-1e6) > 1e-6 || math.Abs(r.Metrics.Benchmark.FinalEquity-1e6) > 1e-6 || r.Metrics.Delisted != 0 || r.Delistings == nil || len(r.Delistings) != 0 {
		t.Errorf("%+v", r.Metrics)
	}
	at := slices.IndexFunc(r.Inputs, func(io quant.RunIO) bool { return io.Name == KnownName })
	if at < 0 || *r.Inputs[at].Rows != 1 || r.Inputs[at].Digest == "" {
		t.Errorf("%+v", r.Inputs)
	}
	b, err := Read(t.Context(), l.db, req.RunID)
	if err != nil || len(b.Known) != 1 || !b.Known[0].Equal(req.Known[0]) || b.Delistings == nil {
		t.Errorf("%+v, %v", b.Known, err)
	}
}

// What is not there leaves no trace in what is digested.
func TestABacktestWithoutDelistingsIsStoredAsItAlwaysWas(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.prices("A", 100, 101, 102)
	l.decide(0, "current", "A", 0.5)
	req := l.request()
	req.Known = []Known{{Symbol: "ZZ", Kind: KindDelisting, Date: 5}}
	r, err := l.run(req)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.number("SELECT count(*) FROM backtest_details WHERE metrics_json LIKE '%delistings%'"); got != 0 {
		t.Error("metrics_json has more than it had")
	}
	if slices.ContainsFunc(r.Inputs, func(io quant.RunIO) bool { return io.Name == KnownName }) {
		t.Errorf("%+v", r.Inputs)
	}
}

func TestABenchmarkThatIsHalted(t *testing.T) {
	t.Parallel()
	l, req := paused(t)
	req.Benchmark = "A"
	r, err := l.run(req)
	if err != nil || math.Abs(r.Metrics.Benchmark.FinalEquity-700_000) > 1e-6 {
		t.Errorf("ends at %v, %v; want it bought back", r.Metrics.Benchmark, err)
	}
	if d := r.Curve[len(r.Curve)-1]; d.Benchmark == nil || math.Abs(*d.Benchmark-700_000) > 1e-6 {
		t.Errorf("%+v", d)
	}
	req.RunID, req.Known = "backtest-2", []Known{{Symbol: "A", Kind: KindHalt, Date: date(t, "2020-01-03"), End: new(date(t, "2020-01-14"))}}
	if r, err = l.run(req); err != nil || math.Abs(r.Metrics.Benchmark.FinalEquity-1e6) > 1e-6 {
		t.Errorf("ends at %v, %v", r.Metrics.Benchmark, err)
	}
	// At the first fill of the strategy, which buys B.
	req.RunID, req.Known[0].Date = "backtest-3", date(t, "2020-01-01")
	if _, err = l.run(req); !errors.Is(err, quant.NotFound) || !strings.Contains(err.Error(), "benchmark A is not traded on 2020-01-01") || quant.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
}

// Merging costs by the entry, not by the pair: a list of every listing of a market is
// merged at once. Of three tries the quickest counts, as others share the machine.
func TestMergingALongListIsQuick(t *testing.T) {
	list := make([]Known, 100_000)
	for i := range list {
		list[i] = Known{Symbol: fmt.Sprintf("S%06d", i), Kind: KindDelisting, Date: quant.Date(i % 1000)}
	}
	best := time.Hour
	for range 3 {
		start := time.Now()
		merged, added, _, unchanged, err := Merge(list[:1000], list)
		if err != nil || len(merged) != len(list) || len(added) != len(list)-1000 || len(unchanged) != 1000 {
			t.Fatalf("%d merged, %d added, %d unchanged, %v", len(merged), len(added), len(unchanged), err)
		}
		if best = min(best, time.Since(start)); best < time.Second {
			return
		}
	}
	t.Errorf("100,000 entries took %s", best)
}

// A delisting whose days have no session acts on none, and is known to come all the
// same: until its day the rule closes nothing.
func TestADelistingBetweenSessionsIsWaitedFor(t *testing.T) {
	t.Parallel()
	m := oneSymbol(100, 120, 0, 0, 0, 0, 0, 0)
	m.Sessions = slices.Clone(m.Sessions)
	for i := range m.Sessions {
		m.Sessions[i] = quant.Date(2 * i)
	}
	m.Known = []Known{{Symbol: "A", Kind: KindDelisting, Date: 11, End: new(quant.Date(11))}}
	r, err := Simulate(m, []Decision{hold(0, 1)}, thousand())
	if err != nil {
		t.Fatal(err)
	}
	if want := []float64{1000, 1200, 1200, 1200, 1200, 1200, 840, 840}; !sameMoney(equities(r), want) {
		t.Errorf("the account is %v, want %v", equities(r), want)
	}
}
