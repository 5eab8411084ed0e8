package expression

import (
	"compress/gzip"
	"encoding/csv"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
	"testing"

	"quant"
)

// records are the rows of a gzipped CSV, without its header.
func records(t testing.TB, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	r := csv.NewReader(z)
	if _, err := r.Read(); err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for {
		row, err := r.Read()
		if err == io.EOF {
			return rows
		}
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
}

func parseNumber(t testing.TB, s string) float64 {
	t.Helper()
	x, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// stocks are the bars of the demo, on their adjusted basis and rounded to float32 as
// Qlib's store is.
func stocks(t testing.TB) map[string]*Bars {
	t.Helper()
	all := map[string]*Bars{}
	for _, row := range records(t, "../demo/data/stocks.csv.gz") {
		day, err := quant.ParseDate(row[1])
		if err != nil {
			t.Fatal(err)
		}
		var x [6]float64
		for i := range x {
			x[i] = parseNumber(t, row[2+i])
		}
		b := all[row[0]]
		if b == nil {
			b = &Bars{}
			all[row[0]] = b
		}
		factor := x[5] / x[3]
		at := func(i int) float64 { return float64(float32(x[i] * factor)) }
		b.Session, b.Days = append(b.Session, int32(len(b.Session))), append(b.Days, day)
		b.Open, b.High, b.Low, b.Close = append(b.Open, at(0)), append(b.High, at(1)), append(b.Low, at(2)), append(b.Close, at(3))
		b.Volume = append(b.Volume, float64(float32(x[4]/factor)))
	}
	return all
}

func outputs(features, bars int) [][]float64 {
	out := make([][]float64, features)
	for i := range out {
		out[i] = make([]float64, bars)
	}
	return out
}

// computed is what a program gives for the bars from start on.
func computed(t testing.TB, p *Program, b *Bars, start int) [][]float64 {
	t.Helper()
	out := outputs(len(p.Features()), len(b.Session))
	if err := p.NewWorker().Compute(b, start, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func compiled(t testing.TB, named ...Named) *Program {
	t.Helper()
	p, err := Compile(named)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Qlib adds and multiplies in float32, which is 6e-8 of a price and much more of a
// difference of two. With its columns taken as float64 every feature agrees; as it is,
// those whose value is what is left of larger ones agree less, the others do.
func TestAlphasAreThoseOfQlib(t *testing.T) {
	bars := stocks(t)
	type set struct {
		out map[string][][]float64 // by symbol
		at  map[string]int         // by name
	}
	sets := map[string]set{}
	for name, list := range map[string][]Named{"alpha158": Alpha158(), "alpha360": Alpha360()} {
		p, v := compiled(t, list...), set{map[string][][]float64{}, map[string]int{}}
		for i, f := range list {
			v.at[f.Name] = i
		}
		for symbol, b := range bars {
			v.out[symbol] = computed(t, p, b, 0)
		}
		sets[name] = v
	}
	type worst struct{ float32s, float64s, absolute float64 }
	features := map[string]worst{}
	for _, row := range records(t, "testdata/qlib_alphas.csv.gz") {
		k, ok := sets[row[0]].at[row[3]]
		if !ok {
			t.Fatalf("%s has no %s", row[0], row[3])
		}
		session, err := strconv.Atoi(row[2])
		if err != nil {
			t.Fatal(err)
		}
		x := sets[row[0]].out[row[1]][k][session]
		w := features[row[0]+" "+row[3]]
		w.float32s = max(w.float32s, relative(x, parseNumber(t, row[4])))
		w.absolute = max(w.absolute, math.Abs(x-parseNumber(t, row[4])))
		w.float64s = max(w.float64s, relative(x, parseNumber(t, row[5])))
		features[row[0]+" "+row[3]] = w
	}
	if len(features) != 158+360 {
		t.Errorf("%d features were compared", len(features))
	}
	rounded := regexp.MustCompile("^alpha158 (CORR|CORD|VSUMD|WVMA)[0-9]+$")
	for name, w := range features {
		if !(w.float64s <= 1e-6) {
			t.Errorf("%s differs by %g from Qlib in float64", name, w.float64s)
		}
		if !(w.float32s <= 1e-6) && !(w.absolute <= 2e-5 && rounded.MatchString(name)) {
			t.Errorf("%s differs by %g from Qlib in float32", name, w.float32s)
		}
	}
}

// relative is by how much of the larger two numbers differ.
func relative(x, y float64) float64 {
	if x == y {
		return 0
	}
	return math.Abs(x-y) / max(math.Abs(x), math.Abs(y))
}
