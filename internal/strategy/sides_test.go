package strategy_test

import (
	"errors"
	"strings"
	"testing"

	"quant"
	"quant/internal/strategy"
)

const sided = least + "supervisor: {max_weight_per_symbol: 0.5}\n"

// What a book cannot be is refused where the file says it, with what would be right.
func TestABookThatCannotBeIsRefusedWithWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sets       []string
		where, say string
	}{
		{[]string{"portfolio.side=long_short", "portfolio.weighting=score_weighted"}, "portfolio.weighting", "portfolio.weighting score_weighted does not go with portfolio.side long_short: it gives no weight to a low score|set portfolio.weighting: equal"},
		{[]string{"supervisor.net_exposure_cap=0.5"}, "supervisor.net_exposure_cap", "supervisor.net_exposure_cap is not of portfolio.side long|set portfolio.side: long_short, or leave it out: the net of a book that is only long is its gross, which supervisor.gross_exposure_cap caps"},
		{[]string{"portfolio.short_k=2"}, "portfolio.short_k", "portfolio.short_k is not of portfolio.side long|set portfolio.side: long_short, or leave it out"},
		{[]string{"supervisor.gross_exposure_cap=2"}, "supervisor.gross_exposure_cap", "supervisor.gross_exposure_cap is 2; with portfolio.side long it must be at most 1|a book that is only long borrows nothing; portfolio.side: long_short may go up to 4"},
		{[]string{"execution.price=open"}, "execution.price", "execution.price open with lag_days 0 looks ahead: that open is before the close that the decision knows|set execution.lag_days: 1, the open after the decision"},
		{[]string{"portfolio.side=long_short", "supervisor.gross_exposure_cap=3"}, "supervisor.gross_exposure_cap", "supervisor.gross_exposure_cap 3 needs 150 % of equity for an initial margin of 0.5: no account can open it|set supervisor.gross_exposure_cap to 2 or less, or lower backtest.margin_initial"},
		{[]string{"portfolio.side=long_short", "backtest.margin_initial=0.8"}, "backtest.margin_initial", "supervisor.gross_exposure_cap 2 needs 160 % of equity for an initial margin of 0.8: no account can open it|set supervisor.gross_exposure_cap to 1.25 or less, or lower backtest.margin_initial"},
		{[]string{"backtest.margin_maintenance=0.6"}, "backtest.margin_maintenance", "backtest.margin_maintenance 0.6 is more than backtest.margin_initial 0.5|what is opened must be able to stay"},
		{[]string{"portfolio.side=long_short", "portfolio.long_exposure=0", "portfolio.short_exposure=0"}, "portfolio.short_exposure", "portfolio.long_exposure and portfolio.short_exposure are both 0: nothing would be held|leave one of them out"},
	} {
		_, err := strategy.Parse("s.yaml", []byte(least), c.sets)
		problems, ok := errors.AsType[strategy.Problems](err)
		if !ok || !errors.Is(err, quant.Invalid) {
			t.Errorf("%v: %v", c.sets, err)
			continue
		}
		if p := problems[0]; len(problems) != 1 || p.Key != c.where || p.Where != "--set "+c.where || p.Message+"|"+p.Hint != c.say {
			t.Errorf("%v: %+v", c.sets, problems)
		}
	}
}

// A default that is written out is no other strategy.
func TestADefaultOfABookThatIsWrittenOutHasTheSameDigest(t *testing.T) {
	t.Parallel()
	for _, c := range [][]string{
		{"", "portfolio.side=long execution.max_volume_share=null backtest.impact=0 backtest.borrow_bps=0 backtest.short_rebate=0 backtest.margin_initial=0.5 backtest.margin_maintenance=0.25"},
		{"portfolio.side=long_short", "portfolio.side=long_short portfolio.short_k=5 portfolio.long_exposure=1 portfolio.short_exposure=1 supervisor.gross_exposure_cap=2 supervisor.net_exposure_cap=null"},
	} {
		a, b := parse(t, least, strings.Fields(c[0])...), parse(t, least, strings.Fields(c[1])...)
		if a.Digest() != b.Digest() {
			t.Errorf("%s\n%s", a.Canonical(), b.Canonical())
		}
	}
}

func TestTheNoticesOfABookSayWhatItsCapsLeave(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sets, want string }{
		{"portfolio.side=long_short", ""},
		{"portfolio.side=long_short supervisor.gross_exposure_cap=1.5", "100 % long and 100 % short are more than the gross_exposure_cap of 150 %: both are scaled to it"},
		{"portfolio.side=long_short portfolio.short_k=1", "1 name short of 100 % each: clipped to the max_weight_per_symbol of 50 %"},
		{"portfolio.side=long_short portfolio.short_k=1 portfolio.weighting=min_variance", "min_variance is to have 100 % of equity short, and 1 name of at most 50 % can have 50 %: recommend refuses it; raise max_weight_per_symbol or take more names"},
		{"portfolio.side=long_short portfolio.short_k=2 portfolio.weighting=min_variance", ""},
		{"portfolio.side=long_short portfolio.short_exposure=0.3 supervisor.net_exposure_cap=0.2", "100 % long and 30 % short differ by more than the net_exposure_cap of 20 %: the larger side is scaled to it"},
		{"portfolio.side=long_short portfolio.short_exposure=0.3 supervisor.net_exposure_cap=0.7", ""},
		{"portfolio.side=long_short portfolio.short_k=6", "11 names are proposed, and max_positions is 10: the rest of both sides is rejected"},
	} {
		if got := strings.Join(parse(t, sided, strings.Fields(c.sets)...).Notices(), "; "); got != c.want {
			t.Errorf("%s: %q, want %q", c.sets, got, c.want)
		}
	}
}
