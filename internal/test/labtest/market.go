package labtest

import (
	"bytes"
	"fmt"
	"testing"
)

// Momentum is a strategy for what WithPrices has, over ten months of 2015.
const Momentum = `strategy_id: momentum
version: "1.0.0"
universe:   {type: symbols, symbols: [A, B, C, D]}
signal:     {type: factor_rank, order: desc, inputs: {feature_name: ret_20d, feature_version: v1}}
rebalance:  {frequency: monthly, asof_policy: close}
portfolio:  {top_k: 2, weighting: equal}
supervisor: {gross_exposure_cap: 1.0, max_weight_per_symbol: 0.5, max_positions: 2, turnover_cap: 0.6}
backtest:   {from: "2015-03-01", to: "2015-12-31"}
`

// WithPrices is a lab with files of prices of A to D and then of E, some of them
// corrected (first.csv, second.csv), and with Momentum (s.yaml).
func WithPrices(t *testing.T) *Lab {
	t.Helper()
	l := New(t)
	l.Env = append(l.Env, "QUANT_CALENDAR=data")
	l.Write("first.csv", PriceFile(1, 420, "A", "B", "C", "D"))
	l.Write("second.csv", Corrected(2010, "A", "B", "C", "D", "E"))
	l.Write("s.yaml", []byte(Momentum))
	return l
}

// Corrected are such prices with another volume on one day.
func Corrected(volume int, symbols ...string) []byte {
	return bytes.ReplaceAll(PriceFile(1, 420, symbols...), []byte(",1010,"), fmt.Appendf(nil, ",%d,", volume))
}
