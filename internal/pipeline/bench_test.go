package pipeline_test

import (
	"fmt"
	"strings"
	"testing"

	"quant/internal/pipeline"
)

// The daily top 50 of a market of 1,000 symbols over 10 years, from an open
// Fact DB: signals read, decided and stored.
func BenchmarkRecommend(b *testing.B) {
	const symbols, days = 1000, 2520
	for b.Loop() {
		b.StopTimer()
		l := newLabOf(b)
		market := fmt.Sprintf(`SELECT 'S' || lpad(s::TEXT, 4, '0') AS symbol, DATE '2010-01-01' + d::INTEGER AS ts, %%s FROM range(%d) a(s), range(%d) b(d) ORDER BY 1, 2`, symbols, days)
		price := "(100 + (hash(s, d, 1) % 1000) / 100)::DOUBLE"
		l.merge("ohlcv", fmt.Sprintf(market, strings.ReplaceAll("P AS open, P AS high, P AS low, P AS close, 1e6::DOUBLE AS volume, P AS adjusted_close, 'bench' AS source", "P", price)))
		l.merge("features_daily", fmt.Sprintf(market, "'f' AS feature_name, ((hash(s, d // 5, 2) % 1000000) / 1e6)::DOUBLE AS feature_value, 'v1' AS feature_version"))
		var names []string
		for i := range symbols {
			names = append(names, fmt.Sprintf("S%04d", i))
		}
		req := l.request("2010-01-01..2020-01-01", "universe.symbols="+strings.Join(names, ","), "portfolio.top_k=50", "supervisor.max_positions=50", "supervisor.max_weight_per_symbol=0.05", "supervisor.turnover_cap=0.3")
		b.StartTimer()
		r, err := pipeline.Decide(b.Context(), l.db, req)
		if err != nil {
			b.Fatal(err)
		}
		if r.Decisions != days {
			b.Fatalf("%d decisions", r.Decisions)
		}
	}
}
