//go:build linux && (amd64 || arm64)

package faults

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"quant/internal/test/soak"
)

func TestAKillOrAnErrorAtAnyCallLosesNothingAndNothingIsSaidThatIsNotSo(t *testing.T) {
	wantWatching(t)
	each, seed := soak.Count(t, 2, 80), soak.Seed(t)
	var mu sync.Mutex
	hits, missed, failures := tally{}, 0, 0
	t.Run("of", func(t *testing.T) {
		for i, s := range scenarios() {
			t.Run(strings.ReplaceAll(s.name, " ", "-"), func(t *testing.T) {
				t.Parallel()
				o, places := s.oracle(t)
				random := rand.New(rand.NewPCG(seed, uint64(i)))
				for n, f := range chosen(places, each, random) {
					t.Run(fmt.Sprintf("%d-%s", f.n, strings.ReplaceAll(f.kind(), " ", "-")), func(t *testing.T) {
						l := s.stage(t)
						r, now := run(l, f, s.args...)
						mu.Lock()
						defer mu.Unlock()
						if len(now) < f.n {
							missed++
							return
						}
						mu.Unlock()
						at := now[f.n-1]
						findings := s.afterwards(t, l, o, r, n%3 == 0)
						mu.Lock()
						hits.add(s.name, f.kind())
						if len(findings) > 0 {
							failures++
							t.Errorf("quant %s, %s: %s\n  %s\nQUANT_SEED=%d repeats it\n%v", strings.Join(s.args, " "), f, at, strings.Join(findings, "\n  "), seed, r)
						}
					})
				}
			})
		}
	})
	all := 0
	for _, row := range hits {
		for _, n := range row {
			all += n
		}
	}
	t.Logf("%d hits, %d missed their call, %d findings\n%s", all, missed, failures, hits.table())
	if all < missed {
		t.Errorf("of %d faults only %d were hits", all+missed, all)
	}
}
