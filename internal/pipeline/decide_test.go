package pipeline

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"quant/internal/durable"
	"quant/internal/strategy"
	"quant/internal/supervisor"
)

// digestOfPlainly prints with fmt what digestOf does without it. It is stored with each
// decision, so it may not change.
func digestOfPlainly(set decided) string {
	h := durable.NewSum()
	var b []byte
	for _, c := range set.proposal {
		b = fmt.Appendf(b[:0], "%s\x00%x\x00%x\n", c.Symbol, math.Float64bits(c.Score), math.Float64bits(c.Weight))
		h.Write(b)
	}
	h.Write([]byte{0})
	for _, row := range set.decision.Rows {
		b = fmt.Appendf(b[:0], "%s\x00%x\x00%x\x00%v\x00%s\n", row.Symbol, math.Float64bits(row.Weight), math.Float64bits(row.Score), row.Flags, row.Reason)
		h.Write(b)
	}
	return h.Digest()
}

func TestTheDigestOfADecisionIsThatOfItsValuesAsFmtPrintsThem(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	number := func() float64 {
		if r.IntN(4) == 0 {
			return []float64{0, math.Copysign(0, -1), 1, math.NaN(), math.Inf(-1), 5e-324}[r.IntN(6)]
		}
		return r.NormFloat64()
	}
	var buffer []byte
	for range 200 {
		var set decided
		for k := range r.IntN(5) {
			set.proposal = append(set.proposal, strategy.Candidate{Symbol: fmt.Sprint("S", k), Score: number(), Weight: number()})
		}
		for k := range r.IntN(6) {
			row := supervisor.Row{Symbol: fmt.Sprint("S", k), Score: number(), Weight: number(), Reason: "as proposed; 50 % é"}
			row.Flags = []supervisor.Flag{supervisor.MaxWeight, supervisor.Turnover, supervisor.NoBar}[:r.IntN(4)]
			if len(row.Flags) == 0 && r.IntN(2) == 0 {
				row.Flags = nil
			}
			set.decision.Rows = append(set.decision.Rows, row)
		}
		var got string
		if got, buffer = digestOf(&set, buffer); got != digestOfPlainly(set) {
			t.Fatalf("%s, want %s of %+v", got, digestOfPlainly(set), set)
		}
	}
}
