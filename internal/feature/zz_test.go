package feature

import (
	"fmt"
	"testing"

	"quant/internal/factstore"
)

func TestZZ(t *testing.T) {
	cal := weekdays("2019-01-07", 290)
	var symbols []string
	for k := range 12 {
		symbols = append(symbols, fmt.Sprintf("S%02d", k))
	}
	all := market(symbols, cal, 5, true)
	until := func(i int) string { return fmt.Sprintf("SELECT * FROM (%s) WHERE ts <= DATE '%s'", all, cal.At(i)) }
	db := lab(t, factstore.Options{})
	v := "alpha158"
	load(t, db, "SELECT * FROM ("+until(280)+") WHERE symbol <> 'S11'")
	run(t, db, cal, Request{RunID: "a", Version: v})
	load(t, db, "SELECT * FROM ("+until(281)+") WHERE symbol <> 'S11'")
	run(t, db, cal, Request{RunID: "b", Version: v})
	fresh := lab(t, factstore.Options{})
	load(t, fresh, barsOf(t, db))
	run(t, fresh, cal, Request{Version: v})
	q := fmt.Sprintf("SELECT symbol, ts, feature_name, feature_value FROM features_daily WHERE ts = DATE '%s' ORDER BY ALL", cal.At(281))
	got, want := facts(t, db, q), facts(t, fresh, q)
	have := map[string]bool{}
	for _, r := range got {
		have[fmt.Sprint(r)] = true
	}
	n := 0
	for _, r := range want {
		if !have[fmt.Sprint(r)] {
			if n++; n < 40 {
				t.Log(r)
			}
		}
	}
	t.Log(len(got), len(want), n)
	t.Log(facts(t, db, fmt.Sprintf("SELECT symbol, count(*), max(ts) FROM ohlcv WHERE ts > DATE '%s' GROUP BY ALL ORDER BY ALL", cal.At(200))))
}
