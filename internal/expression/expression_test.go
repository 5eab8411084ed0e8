package expression

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"quant"
)

func TestErrorsPointAtTheColumn(t *testing.T) {
	for _, c := range []struct {
		text          string
		column        int
		problem, hint string
	}{
		{"", 1, "empty", "Mean("},
		{"Maen($close, 20)", 1, "no function Maen", "did you mean Mean(x, n)?"},
		{"mean($close, 20)", 1, "no function mean", "did you mean Mean(x, n)?"},
		{"1 + Xyzzyx($close)", 5, "no function Xyzzyx", "docs/features.md"},
		{"$clsoe/$open", 1, "no field $clsoe", "did you mean $close?"},
		{"$close/$factor", 8, "no field $factor", "adjusted already"},
		{"$close/$$eps", 8, "point-in-time", ""},
		{"Mean($close 20)", 13, `"20" is not expected`, "comma is missing"},
		{"Mean($close, 20", 16, "ends too early", "close every bracket"},
		{"Mean($close, 20))", 17, `")" is not expected`, ""},
		{"Mean($close, 2.5)", 14, "whole number", "n in digits"},
		{"Mean($close, $volume)", 14, "whole number", ""},
		{"Mean($close)", 1, "Mean has 2 arguments, not 1", "write Mean(x, n)"},
		{"Mean($close, 0)", 14, "whole history", ""},
		{"Std($close, 1)", 13, "at least 2 sessions", ""},
		{"Mean($close, 9999)", 14, "at most 2520", ""},
		{"Ref($close, -1)/$close", 13, "reads the future", "quant labels"},
		{"$close/Ref($close, -2+1)", 22, "whole number", "in digits"},
		{"Delta($close, -5)", 15, "reads the future", ""},
		{"Ref(Ref(Ref($close, 2000), 2000), 2000)", 1, "6000 sessions back", "shorter"},
		{"If($close, 1, 2)", 4, "If needs a condition", "comparison"},
		{"$close > 1 & $open > 1", 10, "And needs a condition", "brackets"},
		{"$low < $close < $high", 15, "chained", "&"},
		{"($close > $open) and ($close > 1)", 18, `"and" is not expected`, "and is &"},
		{"~$close", 2, "Not needs a condition", ""},
		{"-($close > $open)", 1, "needs a number", "not is ~"},
		{"$close ^ 2", 8, "no meaning", "**"},
		{"$close % 2", 8, "no meaning", ""},
		{"$close = 2", 8, "no meaning", "=="},
		{"$close + é", 10, "no meaning", ""},
		{"close/open", 1, `"close" is not expected`, "$close"},
		{"Mean(close, 20)", 6, `"close" is not expected`, "$close"},
		{"1e999", 1, "no number", ""},
		{"1.2.3+$close", 1, "no number", ""},
		{"2*3", 2, "reads no field", "$close"},
		{"Mean(1, 5) + $close", 6, "reads no field", ""},
		{"Quantile($close, 5, 1.5)", 21, "from 0 to 1", ""},
		{"CSRank($close)", 8, "compares symbols, and this is in units of price", "scale-free"},
		{"CSZScore(Log($volume))", 10, "log shares", "scale-free"},
		{"CSRank($close + 5)", 15, "it adds price and number", ""},
		{"CSRank($close/$open, industry)", 22, "no group", "sector"},
		{"Mean($close, sector)", 14, `"sector" is not expected`, ""},
		{"Mask($close, SH600000)", 1, "no function Mask", "SQL"},
		{strings.Repeat("(", 200) + "$close" + strings.Repeat(")", 200), MaxDepth + 1, "nested", "split"},
		{strings.Repeat("-", 200) + "$close", 100, "nested", "split"},
		{"$close" + strings.Repeat("+$close", 500), 1407, "nested", "split"},
		{strings.Repeat(" ", MaxText+1), 1, "8193 bytes", "split"},
	} {
		_, err := Parse(c.text)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%.60s: %v", c.text, err)
			continue
		}
		if e.Column != c.column || !strings.Contains(e.Problem, c.problem) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("%.60s: column %d: %s (%s)", c.text, e.Column, e.Problem, e.Hint)
		}
		if quant.CodeOf(err) != quant.Invalid || quant.HintOf(err) != e.Hint {
			t.Errorf("%.60s: %s with the hint %q", c.text, quant.CodeOf(err), quant.HintOf(err))
		}
	}
}

func TestCompileNamesTheFeature(t *testing.T) {
	for _, c := range []struct {
		named []Named
		want  string
	}{
		{nil, "0 features"},
		{[]Named{{"a-b", "$close"}}, `feature name "a-b"`},
		{[]Named{{"1a", "$close"}}, `feature name "1a"`},
		{[]Named{{"a", "$close"}, {"A", "$open"}}, "feature A is there twice"},
		{[]Named{{"a", "$close"}, {"b", "Maen($close, 5)"}}, "feature b: column 1: there is no function Maen"},
	} {
		_, err := Compile(c.named)
		if err == nil || !strings.Contains(err.Error(), c.want) || quant.CodeOf(err) != quant.Invalid {
			t.Errorf("%v: %v", c.named, err)
		}
	}
}

func TestWhatIsDerived(t *testing.T) {
	for _, c := range []struct {
		text      string
		lookback  int
		unit      string
		scaleFree bool
		canonical string
	}{
		{"$close", 0, "price", false, "$close"},
		{"Mean($close,20)", 19, "price", false, "Mean($close,20)"},
		{" ( Mean( $close , 20 ) ) / $close ", 19, "number", true, "Div(Mean($close,20),$close)"},
		{"Ref(Mean($close, 20), 5)", 24, "price", false, "Ref(Mean($close,20),5)"},
		{"Mean(Delta($close, 1), 10)", 10, "price", false, "Mean(Delta($close,1),10)"},
		{"EMA($close, 12)/$close", 95, "number", true, "Div(EMA($close,12),$close)"},
		{"$volume", 0, "shares", false, "$volume"},
		{"$volume*$close", 0, "money", true, "Mul($volume,$close)"},
		{"Var($close, 5)", 4, "price^2", false, "Var($close,5)"},
		{"Var($close, 5)**0.5/$close", 4, "number", true, "Div(Power(Var($close,5),0.5),$close)"},
		{"1/$close", 0, "price^-1", false, "Div(1,$close)"},
		{"-2**2*$close", 0, "price", false, "Mul(Sub(0,Power(2,2)),$close)"},
		{"2**-1*$close", 0, "price", false, "Mul(Power(2,-1),$close)"},
		{"$close-$open-$low", 0, "price", false, "Sub(Sub($close,$open),$low)"},
		{"$close/$open*2", 0, "number", true, "Mul(Div($close,$open),2)"},
		{"$close > $open", 0, "condition", true, "Gt($close,$open)"},
		{"$close > 5", 0, "mixed", false, "Gt($close,5)"},
		{"($close > 0) & ($volume > 0) | ($open < $low)", 0, "condition", true, "Or(And(Gt($close,0),Gt($volume,0)),Lt($open,$low))"},
		{"$close + 1", 0, "mixed", false, "Add($close,1)"},
		{"$close - $volume", 0, "mixed", false, "Sub($close,$volume)"},
		{"$high - $low + 1e-12", 0, "price", false, "Add(Sub($high,$low),1e-12)"},
		{"Log($close)", 0, "log price", false, "Log($close)"},
		{"Log($close) - Log(Ref($close, 1))", 1, "number", true, "Sub(Log($close),Log(Ref($close,1)))"},
		{"Log($close) + Log($volume)", 0, "number", true, "Add(Log($close),Log($volume))"},
		{"Std(Log($close), 5)", 4, "number", true, "Std(Log($close),5)"},
		{"Mean(Log($close), 5)", 4, "log price", false, "Mean(Log($close),5)"},
		{"Sum(Log($close), 5)", 4, "mixed", false, "Sum(Log($close),5)"},
		{"Corr($close, Log($volume+1), 10)", 9, "number", true, "Corr($close,Log(Add($volume,1)),10)"},
		{"Log($close/$open)", 0, "number", true, "Log(Div($close,$open))"},
		{"Rank($close, 10)", 9, "number", true, "Rank($close,10)"},
		{"Rank($close/$open)", 0, "number", true, "CSRank(Div($close,$open))"},
		{"Rank($close/$open, sector)", 0, "number", true, "CSRank(Div($close,$open),sector)"},
		{"Mean(CSRank(Mean($close,5)/$close), 10)", 13, "number", true, "Mean(CSRank(Div(Mean($close,5),$close)),10)"},
		{"Greater($close-Ref($close, 1), 0)", 1, "price", false, "Greater(Sub($close,Ref($close,1)),0)"},
		{"If($close > $open, $volume, -$volume)", 0, "shares", false, "If(Gt($close,$open),$volume,Sub(0,$volume))"},
		{"Sign(Delta($close, 1))", 1, "number", true, "Sign(Delta($close,1))"},
		{"IdxMax($high, 5)/5", 4, "number", true, "Div(IdxMax($high,5),5)"},
		{"Cov($close, $volume, 5)", 4, "money", true, "Cov($close,$volume,5)"},
		{"Quantile($close, 5, 0.8)", 4, "price", false, "Quantile($close,5,0.8)"},
		{"Count($close, 5)", 4, "number", true, "Count($close,5)"},
	} {
		p, err := Compile([]Named{{"x", c.text}})
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		f := p.Features()[0]
		if f.Lookback != c.lookback || f.FirstRow != c.lookback+1 || f.Unit != c.unit || f.ScaleFree != c.scaleFree || f.Canonical != c.canonical {
			t.Errorf("%s: %+v", c.text, f)
		}
		if again, err := Parse(f.Canonical); err != nil || again.String() != f.Canonical {
			t.Errorf("%s: its own spelling gives %v, %v", c.text, again, err)
		}
	}
}

func TestAlphasAreScaleFree(t *testing.T) {
	for _, list := range [][]Named{Alpha158(), Alpha360()} {
		p := compiled(t, list...)
		b := walk(300, 7)
		scaled := &Bars{Session: b.Session, Days: b.Days}
		const c = 0.37
		for _, x := range []struct {
			from []float64
			to   *[]float64
			by   float64
		}{{b.Open, &scaled.Open, c}, {b.High, &scaled.High, c}, {b.Low, &scaled.Low, c}, {b.Close, &scaled.Close, c}, {b.Volume, &scaled.Volume, 1 / c}} {
			for _, v := range x.from {
				*x.to = append(*x.to, v*x.by)
			}
		}
		before, after := computed(t, p, b, 0), computed(t, p, scaled, 0)
		for k, f := range p.Features() {
			if !f.ScaleFree {
				t.Errorf("%s is %s (%s)", f.Name, f.Unit, f.Mixed)
			}
			most := 1e-9
			if strings.HasPrefix(f.Name, "CORR") {
				most = 1e-4 // the 1 in Log($volume+1)
			}
			for i := range before[k] {
				if x, y := before[k][i], after[k][i]; math.Abs(x-y) > most*max(1, math.Abs(x)) || (x == x) != (y == y) {
					t.Errorf("%s: %v becomes %v", f.Name, x, y)
					break
				}
			}
		}
	}
}

func TestFirstRowIsTheFirst(t *testing.T) {
	list := append(Alpha158(), Named{"E", "EMA($close, 12)"}, Named{"F", "Ref(Mean(Delta($close, 1), 5), 3)"}, Named{"G", "If($close > $open, $close, Ref($close, 7))"})
	p := compiled(t, list...)
	for k, x := range computed(t, p, walk(150, 3), 0) {
		f := p.Features()[k]
		for i := range x {
			if has := x[i] == x[i]; has != (i >= f.FirstRow-1) {
				t.Errorf("%s has its first row at %d, and bar %d is %v", f.Name, f.FirstRow, i+1, x[i])
				break
			}
		}
	}
}

// clone is the bars from one to before another.
func clone(b *Bars, from, to int) *Bars {
	c := &Bars{Session: b.Session[from:to], Days: b.Days[from:to], First: b.First}
	for _, x := range []struct {
		from []float64
		to   *[]float64
	}{{b.Open, &c.Open}, {b.High, &c.High}, {b.Low, &c.Low}, {b.Close, &c.Close}, {b.Volume, &c.Volume}} {
		*x.to = append([]float64(nil), x.from[from:to]...)
	}
	return c
}

// equal is whether columns have the same bits from a bar on; the second begins shift bars
// later.
func equal(t *testing.T, what string, p *Program, x, y [][]float64, from, to, shift int) {
	t.Helper()
	for k := range x {
		for i := from; i < to; i++ {
			a, b := x[k][i], y[k][i-shift]
			if math.Float64bits(a) != math.Float64bits(b) && (a == a || b == b) || IsNone(a) != IsNone(b) {
				t.Errorf("%s: %s, bar %d: %v becomes %v", what, p.Features()[k].Text, i, a, b)
				break
			}
		}
	}
}

// Bits depend neither on where the bars begin, nor on later ones, nor on what else the
// program computes.
func TestBitsDependOnTheWindowAlone(t *testing.T) {
	a := author{rand.New(rand.NewPCG(5, 5))}
	list := Alpha158()
	for len(list) < 400 {
		text := a.expression(3)
		if e, err := Parse(text); err == nil && e.root.section == 0 && e.Lookback() < 100 {
			list = append(list, Named{fmt.Sprintf("r%d", len(list)), text})
		}
	}
	p := compiled(t, list...)
	every := walk(260, 9)
	crypto := clone(every, 0, 260)
	crypto.Days = nil
	for i := range crypto.Session {
		crypto.Days = append(crypto.Days, quant.Date(15_000+i))
	}
	for name, b := range map[string]*Bars{"weekdays": every, "every day": crypto, "gaps": a.gappy(400)} {
		n := len(b.Session)
		whole := computed(t, p, b, 0)
		for _, at := range []int{1, 2, 100, 163, n - 7, n - 1} {
			equal(t, name+", from a bar on", p, whole, computed(t, p, b, at), at, n, 0)
			from := at
			for from > 0 && int(b.Session[at]-b.Session[from-1]) <= p.Lookback() {
				from--
			}
			equal(t, name+", without earlier bars", p, whole, computed(t, p, clone(b, from, n), at-from), at, n, from)
			equal(t, name+", without later bars", p, whole, computed(t, p, clone(b, 0, at+1), 0), 0, at+1, 0)
			changed := clone(b, 0, n)
			for i := at + 1; i < n; i++ {
				changed.Close[i] *= 3
				changed.High[i] = math.NaN()
				changed.Volume[i] = 0
			}
			equal(t, name+", with other later bars", p, whole, computed(t, p, changed, 0), 0, at+1, 0)
		}
		for k := 0; k < len(list); k += 13 {
			equal(t, name+", alone", compiled(t, list[k]), whole[k:k+1], computed(t, compiled(t, list[k]), b, 0), 0, n, 0)
		}
	}
}

func TestOneDayOfCrossSections(t *testing.T) {
	a := author{rand.New(rand.NewPCG(6, 6))}
	list := []Named{
		{"a", "CSRank(Mean($close, 5)/$close)"}, {"b", "Mean(CSRank($close/Ref($close, 1), sector), 5)"},
		{"c", "CSZScore(Std(CSDemean($close/$open), 5))*Mean($volume, 10)"}, {"d", "CSRank($close/$open) - CSMean($close/$open, sector)"},
	}
	p := compiled(t, list...)
	if p.Stages() != 2 {
		t.Errorf("%d stages", p.Stages())
	}
	var bars []*Bars
	sectors := []int32{0, 1, 1, -1, 0}
	for range sectors {
		bars = append(bars, a.gappy(80))
	}
	whole := evaluated(t, p, bars, sectors, 0)
	const session = 70
	var late []*Bars
	var at, from []int
	for _, b := range bars {
		start := 0
		for start < len(b.Session) && b.Session[start] < session {
			start++
		}
		begin := 0
		for begin < len(b.Session) && int(b.Session[begin]) < session-p.Lookback() {
			begin++
		}
		late, at, from = append(late, clone(b, begin, len(b.Session))), append(at, start-begin), append(from, begin)
	}
	day := evaluated(t, p, late, sectors, session)
	for f := range list {
		some := false
		for k, b := range bars {
			one := compiled(t, list[f])
			equal(t, fmt.Sprintf("symbol %d", k), one, whole[f][k:k+1], day[f][k:k+1], from[k]+at[k], len(b.Session), from[k])
			some = some || day[f][k][len(late[k].Session)-1] == day[f][k][len(late[k].Session)-1]
		}
		if !some {
			t.Errorf("%s has no value", list[f].Text)
		}
	}
	if x := whole[1][3]; x[len(x)-1] == x[len(x)-1] {
		t.Errorf("a symbol without a sector has %v", x[len(x)-1])
	}
}

// column is what one expression gives for closes, session by session; NaN is a session
// without a bar.
func column(t *testing.T, text string, closes ...float64) []float64 {
	t.Helper()
	b := &Bars{}
	for i, c := range closes {
		if c == c {
			b.Session, b.Days = append(b.Session, int32(i)), append(b.Days, quant.Date(15_000+i))
			b.Open, b.High, b.Low, b.Close, b.Volume = append(b.Open, 1), append(b.High, c), append(b.Low, c), append(b.Close, c), append(b.Volume, 0)
		}
	}
	return computed(t, compiled(t, Named{"x", text}), b, 0)[0]
}

func TestWhatHasNoValue(t *testing.T) {
	gap, no := math.NaN(), none
	for _, c := range []struct {
		text   string
		closes []float64
		want   []float64 // by bar; none and NaN are told apart
	}{
		{"Ref($close, 1)", []float64{1, 2, gap, 4, 5}, []float64{no, 1, no, 4}},
		{"Ref($close, 2)", []float64{1, 2, gap, 4, 5}, []float64{no, no, 2, no}},
		{"Mean($close, 5)", []float64{1, 2, gap, 4, 5, gap, 7}, []float64{no, no, no, 3, no}},
		{"Mean($close, 4)", []float64{1, 2, gap, 4, 5, 6, 7}, []float64{no, no, no, no, no, 5.5}},
		{"Mean($close > $open, 4)", []float64{1, 2, 3, 4}, []float64{no, no, no, 0.75}},
		{"Count($close, 4)", []float64{1, 2, gap, 4, 5}, []float64{no, no, 3, 3}},
		{"$close/$volume", []float64{1, 2}, []float64{math.NaN(), math.NaN()}},
		{"Log($volume)", []float64{1}, []float64{math.NaN()}},
		{"If($volume > 0, $close/$volume, 7)", []float64{1, 2}, []float64{7, 7}},
		{"Std($close, 3)", []float64{0.1, 0.1, 0.1, 0.1}, []float64{no, no, 0, 0}},
		{"Mean($close, 3)/$close-1", []float64{0.1, 0.1, 0.1, 0.1}, []float64{no, no, 0, 0}},
		{"Corr($close, $open, 3)", []float64{1, 2, 3, 4}, []float64{no, no, math.NaN(), math.NaN()}},
		{"Rsquare($close, 3)", []float64{2, 2, 2, 4}, []float64{no, no, math.NaN(), 0.75}},
		{"Rank($close, 3)", []float64{2, 2, 1, 1}, []float64{no, no, 1. / 3, 0.5}},
		{"IdxMax($close, 3)", []float64{1, 3, 3, 1, 0}, []float64{no, no, 2, 1, 1}},
		{"Slope($close, 3)", []float64{1, 3, 5, 7}, []float64{no, no, 2, 2}},
		{"Resi($close, 3)", []float64{1, 3, 5, 7}, []float64{no, no, 0, 0}},
		{"WMA($close, 3)", []float64{1, 2, 4}, []float64{no, no, (1 + 2*2 + 3*4) / 6.}},
		{"EMA($close, 1)", []float64{1, 2, 3, 4, 5, 6, 7, 8, 9}, []float64{no, no, no, no, no, no, no, 8, 9}},
	} {
		got := column(t, c.text, c.closes...)
		for i := range got {
			if math.Abs(got[i]-c.want[i]) > 1e-12 || (got[i] == got[i]) != (c.want[i] == c.want[i]) || IsNone(got[i]) != IsNone(c.want[i]) {
				t.Errorf("%s of %v: %v instead of %v", c.text, c.closes, got, c.want)
				break
			}
		}
	}
}

func TestSumsAreAccurate(t *testing.T) {
	// A deviation of 1e-3 around 1e9, after a bar of 1e12: sums of squares would have no
	// digit of it.
	closes := []float64{1e12}
	for i := range 40 {
		closes = append(closes, 1e9+1e-3*float64(i%2))
	}
	for _, c := range []struct {
		text string
		want float64
	}{
		{"Std($close, 20)", 1e-3 * math.Sqrt(20./4/19)},
		{"Sum(Delta($close, 1), 20)", 0},
		{"Slope($close, 20)", 1e-3 * 10 / 2 * 1 / 665 * 1},
	} {
		got := column(t, c.text, closes...)
		if x := got[len(got)-1]; math.Abs(x-c.want) > 1e-4*max(1e-3, math.Abs(c.want)) {
			t.Errorf("%s: %g instead of %g", c.text, x, c.want)
		}
	}
}

func TestOneWorkerTakesOneSymbolAfterAnother(t *testing.T) {
	p := compiled(t, Alpha158()...)
	w := p.NewWorker()
	for _, n := range []int{200, 0, 1, 3000, 61, 200} {
		b := walk(n, uint64(n))
		out := outputs(158, n)
		if err := w.Compute(b, 0, out); err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprint(n, " bars"), p, computed(t, p, b, 0), out, 0, n, 0)
	}
	b := walk(10, 1)
	b.Session[4] = b.Session[3]
	if err := w.Compute(b, 0, outputs(158, 10)); err == nil {
		t.Error("bars out of order were computed")
	}
}

func FuzzParse(f *testing.F) {
	for _, list := range [][]Named{Alpha158(), Alpha360()[:2]} {
		for _, n := range list {
			f.Add(n.Text)
		}
	}
	for _, text := range []string{"CSRank($close/$open, sector)", "~($a", "((((", "1e-", "Ref($close,-1)", "$", "Rank(x, sector)", "--1", "\xff"} {
		f.Add(text)
	}
	b := walk(30, 1)
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text)
		if err != nil {
			var at *Error
			if !errors.As(err, &at) || at.Column < 1 || at.Column > len(text)+1 {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		again, err := Parse(e.String())
		if err != nil && len(e.String()) <= MaxText && e.root.depth < MaxDepth-1 || err == nil && again.String() != e.String() {
			t.Errorf("%q: its own spelling %q gives %v", text, e, err)
		}
		if e.root.section == 0 && e.Lookback() < 100 {
			computed(t, compiled(t, Named{"x", text}), b, 0)
		}
	})
}
