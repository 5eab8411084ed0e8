package expression

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"quant"
	"quant/internal/test/tried"
)

// author writes random expressions. What jumps where its argument moves a little (ranks,
// signs, comparisons) is given arguments that every evaluator computes to the last bit.
type author struct{ *rand.Rand }

func (a author) of(list ...string) string { return list[a.IntN(len(list))] }

func (a author) price() string { return a.of("$open", "$high", "$low", "$close", "$close", "$vwap") }

func (a author) field() string {
	if a.IntN(4) == 0 {
		return "$volume"
	}
	return a.price()
}

func (a author) window() int { return 4 + a.IntN(9) }

// exact is an expression without logarithms and without sums over windows.
func (a author) exact(depth int) string {
	if depth <= 0 {
		return a.field()
	}
	x := func() string { return a.exact(depth - 1 - a.IntN(2)) }
	switch a.IntN(10) {
	case 0:
		return fmt.Sprintf("%s %s %s", x(), a.of("+", "-", "*"), a.field())
	case 1:
		return fmt.Sprintf("%s/(%s)", a.of("(", "Abs(")+x()+")", x())
	case 2:
		return fmt.Sprintf("Ref(%s, %d)", x(), a.IntN(8))
	case 3:
		return fmt.Sprintf("Delta(%s, %d)", x(), 1+a.IntN(6))
	case 4:
		return fmt.Sprintf("%s(%s, %d)", a.of("Max", "Min"), x(), a.window())
	case 5:
		return fmt.Sprintf("%s(%s, %s)", a.of("Greater", "Less"), x(), x())
	case 6:
		return fmt.Sprintf("%s(%s, %d)", a.of("IdxMax", "IdxMin", "Rank", "Count"), x(), a.window())
	case 7:
		return fmt.Sprintf("If(%s, %s, %s)", a.condition(depth-1), x(), x())
	case 8:
		return fmt.Sprintf("Sign(%s)", x())
	default:
		return a.field()
	}
}

func (a author) condition(depth int) string {
	switch a.IntN(6) {
	case 0:
		if depth > 0 {
			return fmt.Sprintf("(%s) %s (%s)", a.condition(depth-1), a.of("&", "|"), a.condition(depth-1))
		}
	case 1:
		return fmt.Sprintf("~(%s > %s)", a.field(), a.field())
	}
	return fmt.Sprintf("%s %s %s", a.price(), a.of(">", ">=", "<", "<=", "==", "!="), a.of("Ref("+a.price()+", 1)", a.price(), fmt.Sprintf("Max(%s, %d)", a.price(), a.window())))
}

// ratio is an expression that a split leaves as it is.
func (a author) ratio() string {
	switch p := a.price(); a.IntN(5) {
	case 0:
		return fmt.Sprintf("%s/Ref(%s, %d)", p, a.price(), 1+a.IntN(5))
	case 1:
		return fmt.Sprintf("($close-%s)/%s", p, a.price())
	case 2:
		return "$volume*" + p
	case 3:
		return fmt.Sprintf("Rank(%s, %d)", a.field(), a.window())
	default:
		return fmt.Sprintf("If(%s, %s/$open, 1)", a.condition(1), p)
	}
}

func (a author) group() string { return a.of("", "", ", sector") }

// expression is any.
func (a author) expression(depth int) string {
	if depth <= 0 {
		return a.field()
	}
	x := func() string { return a.expression(depth - 1 - a.IntN(2)) }
	switch a.IntN(14) {
	case 0:
		return fmt.Sprintf("%s %s (%s)", x(), a.of("+", "-", "*", "/"), x())
	case 1, 2:
		return fmt.Sprintf("%s(%s, %d)", a.of("Mean", "Sum", "Std", "Var", "Max", "Min", "Med", "Mad", "WMA", "Slope", "Resi", "Rsquare", "Skew", "Kurt"), x(), a.window())
	case 3:
		return fmt.Sprintf("%s(%s, %d)/%s", a.of("Mean", "Std", "WMA", "Slope", "Resi", "Max", "Min"), a.price(), a.window(), a.price())
	case 4:
		return fmt.Sprintf("%s(%s, %s, %d)", a.of("Corr", "Corr", "Cov"), x(), a.exact(1), a.window())
	case 5:
		return fmt.Sprintf("Corr(%s, Log($volume+1), %d)", a.price(), a.window())
	case 6:
		return fmt.Sprintf("Quantile(%s, %d, %s)", x(), a.window(), a.of("0", "0.2", "0.5", "0.8", "1", "0.333"))
	case 7:
		return fmt.Sprintf("EMA(%s, %d)", x(), 1+a.IntN(2))
	case 8:
		return fmt.Sprintf("%s(%s, %d)", a.of("Ref", "Delta"), x(), a.IntN(8))
	case 9:
		return fmt.Sprintf("%s(%s%s)", a.of("CSRank", "CSMean", "CSMed", "CSStd", "CSDemean", "CSZScore"), a.ratio(), a.group())
	case 10:
		return fmt.Sprintf("%s(%s(%s%s), %d)", a.of("Mean", "Std", "Max", "Ref"), a.of("CSRank", "CSDemean"), a.ratio(), a.group(), a.window())
	case 11:
		return fmt.Sprintf("%s(Abs(%s) + 1)%s", a.of("Log", ""), x(), a.of("", "**2", "**0.5"))
	case 12:
		return fmt.Sprintf("Mean(%s, %d)", a.condition(1), a.window())
	default:
		return a.exact(depth)
	}
}

// gappy are bars that lack sessions, and numbers; some stand still for a while.
func (a author) gappy(sessions int) *Bars {
	first := int32(a.IntN(5))
	b := &Bars{First: first}
	day, price, volume := quant.Date(15_000+a.IntN(7)), 20+80*a.Float64(), 1000.0
	cents := func(x float64) float64 { return math.Round(100*x) / 100 }
	gap, still := 0, 0
	for s := first; s < int32(sessions); s++ {
		for day++; (int(day)+3)%7 >= 5; day++ {
		}
		if a.IntN(40) == 0 {
			gap = 1 + a.IntN(4)
		}
		if gap--; gap >= 0 && s > first {
			continue
		}
		if a.IntN(30) == 0 {
			still = 2 + a.IntN(12)
		}
		open := price
		if still--; still < 0 {
			open = cents(price * (1 + 0.01*a.NormFloat64()))
			price = cents(price * (1 + 0.03*a.NormFloat64()))
			volume = float64(a.IntN(5000))
		}
		b.Session, b.Days = append(b.Session, s), append(b.Days, day)
		b.Open, b.Close = append(b.Open, open), append(b.Close, price)
		b.High, b.Low = append(b.High, max(open, price)+cents(a.Float64())), append(b.Low, min(open, price)-cents(a.Float64()))
		if b.Volume = append(b.Volume, volume); a.IntN(50) == 0 {
			b.Volume[len(b.Volume)-1] = math.NaN()
		}
	}
	return b
}

type barsDocument struct {
	Session []int32    `json:"session"`
	Open    []*float64 `json:"open"`
	High    []*float64 `json:"high"`
	Low     []*float64 `json:"low"`
	Close   []*float64 `json:"close"`
	Volume  []*float64 `json:"volume"`
	Sector  int32      `json:"sector"`
}

func document(b *Bars, sector int32) barsDocument {
	column := func(x []float64) []*float64 {
		list := make([]*float64, len(x))
		for i := range x {
			if x[i] == x[i] {
				list[i] = &x[i]
			}
		}
		return list
	}
	return barsDocument{b.Session, column(b.Open), column(b.High), column(b.Low), column(b.Close), column(b.Volume), sector}
}

// evaluated is what a program gives for some symbols from a session on, by feature, symbol
// and bar.
func evaluated(t testing.TB, p *Program, bars []*Bars, sectors []int32, session int32) [][][]float64 {
	t.Helper()
	w, s := p.NewWorker(), p.NewSections(len(bars))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for stage := range p.Stages() {
		for k, b := range bars {
			must(w.Collect(s, stage, k, sectors[k], b, session))
		}
		for part := range 3 {
			must(s.Compare(stage, part, 3))
		}
	}
	features := make([][][]float64, len(p.Features()))
	for k, b := range bars {
		out := outputs(len(features), len(b.Session))
		must(w.ComputeWith(s, k, b, firstFrom(b.Session, int64(session)), out))
		for f := range features {
			features[f] = append(features[f], out[f])
		}
	}
	return features
}

// Two evaluators in Python follow the definitions: pandas, and numpy in extended
// precision. Where they agree within 1e-10, as they do unless a value is what is left of
// far larger ones, quant must agree with them within 1e-9; or within 1e-14 of the
// column's largest value, or of 1, where they have a plain 0.
func TestRandomExpressionsAreThoseOfPandas(t *testing.T) {
	python := tried.Python(t, "QUANT_TEST_PANDAS_PYTHON", filepath.Join("testdata", "requirements.txt"))
	const panels, each, sessions = 20, 500, 44
	sectors := []int32{0, 1, 0, -1}
	type panel struct {
		Bars        []barsDocument `json:"bars"`
		Expressions []string       `json:"expressions"`

		bars  []*Bars
		named []Named
	}
	var cases []*panel
	for k := range panels {
		a := author{rand.New(rand.NewPCG(uint64(k), 158))}
		c := &panel{}
		for _, sector := range sectors {
			b := a.gappy(sessions)
			c.bars, c.Bars = append(c.bars, b), append(c.Bars, document(b, sector))
		}
		for len(c.named) < each {
			text := a.expression(1 + a.IntN(3))
			e, err := Parse(text)
			if err != nil || e.Lookback() > sessions-8 {
				continue // a cross-section of prices, a comparison of a number alone
			}
			c.named = append(c.named, Named{fmt.Sprintf("f%d", len(c.named)), text})
			c.Expressions = append(c.Expressions, e.String())
		}
		cases = append(cases, c)
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "cases.json"), filepath.Join(dir, "values")
	text, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command(python, "-P", filepath.Join("testdata", "evaluate.py"), in, out).CombinedOutput(); err != nil {
		t.Fatalf("evaluate.py: %v: %.3000s", err, said)
	}
	values, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	next := func() float64 {
		x := math.Float64frombits(binary.LittleEndian.Uint64(values))
		values = values[8:]
		return x
	}
	same := func(x, y, within float64) bool {
		return x == y || x != x && y != y || math.Abs(x-y) <= within*max(math.Abs(x), math.Abs(y))
	}
	cells, some, unsure, wrong := 0, 0, 0, 0
	for _, c := range cases {
		first, last := c.bars[0].First, int32(0)
		for _, b := range c.bars {
			first, last = min(first, b.First), max(last, b.Session[len(b.Session)-1])
		}
		features := evaluated(t, compiled(t, c.named...), c.bars, sectors, 0)
		table := make([][2]float64, int(last-first+1)*len(sectors))
		for f := range c.named {
			for e := range 2 {
				for i := range table {
					table[i][e] = next()
				}
			}
			said, largest := false, 0.0
			for i := range table {
				if x := math.Abs(table[i][1]); x > largest {
					largest = x
				}
			}
			for k, b := range c.bars {
				for i, session := range b.Session {
					want := table[int(session-first)*len(sectors)+k]
					got := features[f][k][i]
					cells++
					if !same(want[0], want[1], 1e-10) {
						unsure++
						continue
					}
					if got == got {
						some++
					}
					if !same(got, want[1], 1e-9) && !(math.Abs(got-want[1]) <= 1e-14*max(1, largest)) {
						if wrong++; wrong < 20 && !said {
							said = true
							t.Errorf("%s, symbol %d session %d: %v, pandas has %v and numpy %v", c.Expressions[f], k, session, got, want[0], want[1])
						}
					}
				}
			}
		}
	}
	t.Logf("%d expressions, %d cells, %d with a value, %d left out, %d wrong", panels*each, cells, some, unsure, wrong)
	if len(values) != 0 || unsure*50 > cells || some*2 < cells || wrong > 0 {
		t.Errorf("%d cells: %d with a value, %d left out, %d wrong; %d bytes left", cells, some, unsure, wrong, len(values))
	}
}
