package expression

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"quant"
)

// walk is a random walk over weekdays.
func walk(n int, seed uint64) *Bars {
	r := rand.New(rand.NewPCG(seed, 1))
	b := &Bars{}
	price, day := 50.0, quant.Date(14_001)
	for i := range n {
		for (int(day)+3)%7 >= 5 {
			day++
		}
		open := price * (1 + 0.005*r.NormFloat64())
		price *= 1 + 0.02*r.NormFloat64()
		b.Session, b.Days = append(b.Session, int32(i)), append(b.Days, day)
		b.Open, b.Close = append(b.Open, open), append(b.Close, price)
		b.High = append(b.High, max(open, price)*(1+0.003*r.Float64()))
		b.Low = append(b.Low, min(open, price)*(1-0.003*r.Float64()))
		b.Volume = append(b.Volume, float64(100+r.IntN(1_000_000)))
		day++
	}
	return b
}

func benchmark(b *testing.B, list []Named) {
	p, err := Compile(list)
	if err != nil {
		b.Fatal(err)
	}
	w, bars := p.NewWorker(), walk(2516, 1)
	out := outputs(len(list), len(bars.Session))
	b.SetBytes(int64(len(list) * len(bars.Session) * 8))
	for b.Loop() {
		if err := w.Compute(bars, 0, out); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAlpha158(b *testing.B) { benchmark(b, Alpha158()) }
func BenchmarkAlpha360(b *testing.B) { benchmark(b, Alpha360()) }

// BenchmarkMarket computes Alpha158 of 100 symbols by as many workers as there are
// processors; without features that Polars cannot say: -bench Market/128.
func BenchmarkMarket(b *testing.B) {
	var said []Named
	for _, f := range Alpha158() {
		switch strings.TrimRight(f.Name, "0123456789") {
		case "BETA", "RSQR", "RESI", "IMAX", "IMIN", "IMXD":
		default:
			said = append(said, f)
		}
	}
	for _, list := range [][]Named{Alpha158(), said} {
		b.Run(fmt.Sprint(len(list)), func(b *testing.B) {
			p, err := Compile(list)
			if err != nil {
				b.Fatal(err)
			}
			bars := walk(2516, 1)
			for b.Loop() {
				var next atomic.Int32
				var group sync.WaitGroup
				for range runtime.GOMAXPROCS(0) {
					group.Go(func() {
						w, out := p.NewWorker(), outputs(len(list), len(bars.Session))
						for next.Add(1) <= 100 {
							if err := w.Compute(bars, 0, out); err != nil {
								b.Error(err)
							}
						}
					})
				}
				group.Wait()
			}
		})
	}
}
