package crash

import (
	"strings"
	"testing"

	"quant/internal/test/dying"
	"quant/internal/test/labtest"
)

func TestAProcessThatCannotGoOnEndsInOneLineAndAClosedRecord(t *testing.T) {
	t.Parallel()
	original := labtest.New(t)
	original.Write("first.csv", labtest.PriceFile(1, 50, "OLD"))
	original.Write("second.csv", labtest.PriceFile(2, 50, "NEW"))
	original.Must("ingest", "first.csv")
	prices := original.Prices()
	for _, how := range dying.Ways {
		if how == "no thread" || how == "memory" {
			continue // package crash tries them: the limits are the user's, or need a trade with root
		}
		for _, at := range []struct{ step, facts string }{{"ingest.merged", "; no facts committed"}, {"fact.commit.after", "; facts committed"}} {
			t.Run(how+" at "+at.step, func(t *testing.T) {
				t.Parallel()
				l := original.CopyOf(t)
				r := l.Start([]string{"QUANT_TEST_FAILPOINT=" + at.step + ":die " + how}, "ingest", "second.csv").Wait()
				l.WantCode(r, 1)
				lines := strings.Split(strings.TrimSpace(r.Stderr), "\n")
				if n := len(lines); n < 3 || !strings.HasPrefix(lines[n-3], "quant: the program could not go on: ") || !strings.HasPrefix(lines[n-2], "  hint: ") || !strings.HasSuffix(lines[n-1], " ingest FAIL") {
					t.Fatalf("said: %v", r)
				}
				run := l.LastRun()
				l.WantFail(run, 1, "the process crashed: the program could not go on: ")
				if !strings.HasSuffix(run.Error, at.facts) {
					t.Errorf("recorded: %q, want %q", run.Error, at.facts)
				}
				if committed := l.Prices() != prices; committed != (at.step == "fact.commit.after") {
					t.Errorf("committed: %v", committed)
				}
				l.Doctor()
				l.WantAgreement()
				l.WantClosed()
			})
		}
	}
}

func TestACrashInARunInsideAnotherClosesBoth(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Write("s.yaml", []byte(`strategy_id: demo
version: "1"
universe: {type: symbols, symbols: [A]}
signal: {type: factor_rank, order: desc, inputs: {feature_name: ret_20d, feature_version: v1}}
rebalance: {frequency: monthly, asof_policy: close}
portfolio: {top_k: 1, weighting: equal}
backtest: {from: "2015-01-01", to: "2015-02-19"}
`))
	l.Write("first.csv", labtest.PriceFile(1, 50, "A"))
	r := l.Start([]string{"QUANT_TEST_FAILPOINT=ingest.merged:die abort", "QUANT_CALENDAR=data"}, "pipeline", "run", "--strategy", "s.yaml", "--ingest", "first.csv").Wait()
	l.WantCode(r, 1)
	l.WantClosed()
	l.WantFail(l.RunOf("pipeline.run"), 1, "a library aborted")
	if inner := l.RunOf("ingest"); inner.Status != "FAIL" || !strings.HasPrefix(inner.Error, "process ended without finishing") {
		t.Errorf("%+v", inner)
	}
}

func TestTheTraceOfACrashIsThereForWhoAsksForIt(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Write("first.csv", labtest.PriceFile(1, 50, "A"))
	r := l.Start([]string{"QUANT_TEST_FAILPOINT=ingest.merged:die panic"}, "ingest", "first.csv", "--log-level", "debug").Wait()
	if r.Code != 2 || !strings.Contains(r.Stderr, "goroutine ") {
		t.Fatal(r)
	}
	if next := l.Must("config"); !strings.Contains(next.Stderr, "process ended without finishing") {
		t.Error(next)
	}
	l.WantClosed()
}

func TestACrashOnTheWayOutChangesNothingOfWhatWasSaid(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("init-db")
	r := l.Start([]string{"QUANT_TEST_FAILPOINT=ended:die abort"}, "symbols", "add", "A").Wait()
	l.WantCode(r, 0)
	if r.Acknowledged() == "" || l.LastRun().Status != "SUCCESS" || strings.Contains(r.Stderr, "could not go on") {
		t.Error(r, l.LastRun())
	}
}
