package strategy_test

import (
	"errors"
	"strings"
	"testing"

	"quant/internal/strategy"
)

// KEY= is the file without the key; what a value has no use for says which override lets
// it stand.
func TestAnOverrideWithoutAValueTakesTheKeyOut(t *testing.T) {
	t.Parallel()
	of := strings.Replace(least, "weighting: equal", "weighting: equal, side: long_short, short_k: 3", 1) + "supervisor: {gross_exposure_cap: 2, turnover_cap: 1.5, net_exposure_cap: 0.2}\n"
	sets := []string{"portfolio.side=long"}
	_, err := strategy.Parse("s.yaml", []byte(of), sets)
	problems, are := errors.AsType[strategy.Problems](err)
	if !are || len(problems) == 0 {
		t.Fatal(err)
	}
	for _, p := range problems {
		if p.Selector != "portfolio.side" || !strings.Contains(p.Hint, "--set "+p.Instead) {
			t.Errorf("%+v", p)
		}
		sets = append(sets, p.Instead)
	}
	long := parse(t, of, sets...)
	if long.LongShort() || long.Portfolio.ShortK != 0 || long.Supervisor.NetExposureCap != nil || long.Supervisor.GrossExposureCap > 1 {
		t.Errorf("%+v", long)
	}
	if _, err := strategy.Parse("s.yaml", []byte(of), []string{"portfolio.top_k="}); err == nil || !strings.Contains(err.Error(), "portfolio.top_k is missing") {
		t.Error(err)
	}
	if got, want := parse(t, of, "portfolio.short_k=").Digest(), parse(t, of, "portfolio.short_k=", "portfolio.short_k=").Digest(); got != want {
		t.Error(got, want)
	}
}
