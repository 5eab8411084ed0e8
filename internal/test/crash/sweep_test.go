package crash

import (
	"fmt"
	"strings"
	"testing"

	"quant/internal/test/labtest"
)

const sweptStrategy = `strategy_id: s
version: "1"
universe: {type: symbols, symbols: [A, B, C]}
signal: {type: factor_rank, inputs: {feature_name: ret_20d, feature_version: v1}}
rebalance: {frequency: daily, asof_policy: close}
portfolio: {top_k: 2, weighting: equal}
backtest: {from: "2020-02-03", to: "2020-12-31", fee_bps: 5}
`

// A sweep that dies while the facts of its trials are stored leaves each of its runs
// closed, and said truly what it had committed; the same sweep again completes it.
func TestASweepThatIsKilledLeavesNoRunRunningAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	prepared := labtest.New(t)
	prepared.Write("p.csv", labtest.PriceFile(1, 300, "A", "B", "C"))
	prepared.Write("s.yaml", []byte(sweptStrategy))
	prepared.Write(".env", []byte("QUANT_CALENDAR=data\n"))
	prepared.Must("ingest", "p.csv")
	prepared.Must("features")
	days := strings.Fields(prepared.FactRows("SELECT CAST(min(ts) AS TEXT), CAST(max(ts) AS TEXT) FROM features_daily"))
	sweep := []string{"sweep", "--strategy", "s.yaml", "--set", "portfolio.top_k=1,2,3", "--from", days[0], "--to", days[len(days)-1]}
	for _, c := range []struct {
		at                           string
		recommends, backtests, known string // runs of each that ended so, and how many trials have facts
	}{
		{at: "fact.commit.before", recommends: "3 no facts committed", backtests: "0", known: "0 0"},
		{at: "fact.commit.after", recommends: "3 facts committed", backtests: "0", known: "3 0"},
		{at: "fact.commit.before#2", recommends: "0", backtests: "3 no facts committed", known: "3 0"},
		{at: "fact.commit.after#2", recommends: "0", backtests: "3 facts committed", known: "3 3"},
	} {
		t.Run(c.at, func(t *testing.T) {
			t.Parallel()
			l := prepared.CopyOf(t)
			l.WantCode(l.Start([]string{"QUANT_TEST_FAILPOINT=" + c.at}, sweep...).Wait(), labtest.Killed)
			l.Must("runs", "list")
			l.WantClosed()
			l.WantAgreement()
			for kind, want := range map[string]string{"recommend": c.recommends, "backtest": c.backtests} {
				n := 0
				for _, r := range l.Runs() {
					if r.Kind == kind && r.Status == "FAIL" {
						n++
						if _, clause, _ := strings.Cut(want, " "); !strings.HasSuffix(r.Error, clause) {
							t.Errorf("%s: %q, want %s", kind, r.Error, clause)
						}
					}
				}
				if got := fmt.Sprint(n); got != strings.Fields(want)[0] {
					t.Errorf("%s %s failed, want %s", got, kind, want)
				}
			}
			got := strings.Join(strings.Fields(l.FactRows("SELECT (SELECT count(DISTINCT strategy_id) FROM target_sets), (SELECT count(*) FROM backtest_summary)")), " ")
			if got != c.known {
				t.Errorf("trials with decisions and results: %s, want %s", got, c.known)
			}
			l.Must(sweep...)
			l.Must("doctor")
		})
	}
}
