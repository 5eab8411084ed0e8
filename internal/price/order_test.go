package price

import (
	"math/rand/v2"
	"slices"
	"testing"

	"quant"
)

// Bars that come in any order are brought into that of symbols and sessions, all columns
// alike: whether few stand behind the others, such as those of a day that was added, or many.
func TestBarsComeIntoTheOrderOfSymbolsAndSessions(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for try := range 400 {
		type key struct{ symbol, session int32 }
		symbols := 1 + r.IntN(9)
		var main, late []key
		for s := range symbols {
			for day := range r.IntN(60) {
				if k := (key{int32(s), int32(day)}); r.IntN(40) == 0 || try%4 == 0 && day > 50 {
					late = append(late, k)
				} else {
					main = append(main, k)
				}
			}
		}
		r.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
		if try%5 == 0 {
			r.Shuffle(len(main), func(i, j int) { main[i], main[j] = main[j], main[i] })
		}
		b := Bars{}
		b.reset(make([]string, symbols))
		for _, k := range slices.Concat(main, late) {
			v := float64(k.symbol)*1000 + float64(k.session)
			b.symbol, b.Session, b.Days = append(b.symbol, k.symbol), append(b.Session, k.session), append(b.Days, quant.Date(v))
			for i, x := range []*[]float64{&b.Open, &b.High, &b.Low, &b.Close, &b.Volume, &b.adjusted} {
				*x = append(*x, v+float64(i)/10)
			}
		}
		b.sort()
		n := len(main) + len(late)
		if len(b.symbol) != n || len(b.From) != symbols+1 || b.From[symbols] != n {
			t.Fatalf("try %d: %d bars became %d, from %v", try, n, len(b.symbol), b.From)
		}
		for i := range n {
			if i > 0 && !b.before(i-1, i) {
				t.Fatalf("try %d: bar %d of %d stands before its place (%d late)", try, i, n, len(late))
			}
			if s := int(b.symbol[i]); i < b.From[s] || i >= b.From[s+1] {
				t.Fatalf("try %d: bar %d is of symbol %d, whose bars are %d to %d", try, i, s, b.From[s], b.From[s+1])
			}
			v := float64(b.symbol[i])*1000 + float64(b.Session[i])
			for k, x := range [][]float64{b.Open, b.High, b.Low, b.Close, b.Volume, b.adjusted} {
				if x[i] != v+float64(k)/10 || b.Days[i] != quant.Date(v) {
					t.Fatalf("try %d: column %d of bar %d is that of another bar", try, k, i)
				}
			}
		}
	}
}
