package backtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"quant"
	"quant/internal/durable"
)

// A digest is stored with each backtest, so what it is made of may not change: the
// values as fmt prints them, each with a tab behind it.
func TestTheDigestOfAResultIsThatOfItsValuesAsFmtPrintsThem(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	number := func() float64 {
		switch random.IntN(6) {
		case 0:
			return []float64{0, math.Copysign(0, -1), 1e6, 123456, 1234567, 1e21, 1e-5, 0.0001, math.Inf(1), math.NaN(), math.MaxFloat64, 5e-324}[random.IntN(12)]
		case 1:
			return math.Round(random.Float64()*1e6) / 1e4
		}
		return math.Float64frombits(random.Uint64())
	}
	maybe := func() *float64 {
		if random.IntN(3) == 0 {
			return nil
		}
		return new(number())
	}
	day := func() quant.Date { return quant.Date(random.IntN(30000)) }
	for range 50 {
		var r Result
		for range random.IntN(40) {
			r.Days = append(r.Days, Day{TS: day(), Equity: number(), Cash: number(), Positions: number(), Ret: maybe(), Drawdown: number(), Turnover: number(), Costs: number(), Benchmark: maybe()})
			trade := Trade{Symbol: "S", EntryTS: day(), EntryPrice: number(), Qty: number(), ExitPrice: number(), PnL: number(), Fees: number(), Slippage: number(), Reason: Closed}
			if random.IntN(2) == 0 {
				trade.ExitTS = new(day())
			}
			r.Trades = append(r.Trades, trade)
		}
		s := Summary{StrategyID: "s#1", FromTS: new(day()), CAGR: maybe(), Sharpe: maybe(), MaxDD: maybe(), Vol: maybe(), Turnover: maybe(), WinRate: maybe(), AvgTrade: maybe(), NumTrades: random.Int64(), FeeBps: number(), SlippageBps: number()}
		var b strings.Builder
		line := func(values ...any) {
			for _, v := range values {
				switch v := v.(type) {
				case *float64:
					if v != nil {
						fmt.Fprint(&b, *v)
					}
				case *quant.Date:
					if v != nil {
						fmt.Fprint(&b, *v)
					}
				default:
					fmt.Fprint(&b, v)
				}
				b.WriteByte('\t')
			}
			b.WriteByte('\n')
		}
		for _, d := range r.Days {
			line("E", d.TS, d.Equity, d.Cash, d.Positions, d.Ret, d.Drawdown, d.Turnover, d.Costs, d.Benchmark)
		}
		for _, t := range r.Trades {
			line("T", t.Symbol, t.EntryTS, t.EntryPrice, t.Qty, t.ExitTS, t.ExitPrice, t.PnL, t.Fees, t.Slippage, t.Reason)
		}
		line("S", s.StrategyID, s.FromTS, s.ToTS, s.CAGR, s.Sharpe, s.MaxDD, s.Vol, s.Turnover, s.WinRate, s.AvgTrade, s.NumTrades, s.FeeBps, s.SlippageBps)
		if got, want := digestOf(s, r), durable.Digest([]byte(b.String())); got != want {
			t.Fatalf("%s, want %s of\n%s", got, want, b.String())
		}
	}
}
