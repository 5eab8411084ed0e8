package feature

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"quant"
	"quant/internal/factstore"
)

func judged(t *testing.T, db *factstore.DB, n int, req FactorRequest) FactorReport {
	t.Helper()
	if req.Quantiles == 0 {
		req.Quantiles = 5
	}
	report, err := Factor(t.Context(), db, weekdays("2019-01-07", n), req)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// The daily coefficients, their summary, the decay, the quantiles and the
// autocorrelation are those of a plain computation from the stored rows.
func TestAFactorReportIsWhatAPlainComputationGives(t *testing.T) {
	t.Parallel()
	const sessions, horizon = 60, 5
	cal := weekdays("2019-01-07", sessions)
	var symbols []string
	for k := range 7 {
		symbols = append(symbols, fmt.Sprintf("S%d", k))
	}
	db := lab(t, factstore.Options{})
	load(t, db, market(symbols, cal, 2, true))
	run(t, db, cal, Request{Version: "v1"})
	if _, err := Labels(t.Context(), db, cal, Request{RunID: "l", Version: "v1", Horizon: horizon}); err != nil {
		t.Fatal(err)
	}
	got := judged(t, db, sessions, FactorRequest{Feature: "ret_5d", Label: "fwd_ret_5d", Quantiles: 3})
	features := stored(t, db, "v1")
	labels := readValues(t, db, "SELECT symbol, ts, label_name, label_value FROM labels")
	bars := adjusted(t, db, cal)
	pearson := func(x, y []float64) float64 {
		mx, my := average(x), average(y)
		var xy, xx, yy float64
		for k := range x {
			xy, xx, yy = xy+(x[k]-mx)*(y[k]-my), xx+(x[k]-mx)*(x[k]-mx), yy+(y[k]-my)*(y[k]-my)
		}
		return xy / math.Sqrt(xx*yy)
	}
	rank := func(x []float64) []float64 {
		out := make([]float64, len(x))
		for a := range x {
			for b := range x {
				switch {
				case x[b] < x[a]:
					out[a]++
				case x[b] == x[a]:
					out[a] += 0.5
				}
			}
			out[a] += 0.5
		}
		return out
	}
	same := func(what string, value *float64, want float64) {
		t.Helper()
		if value == nil || math.Abs(*value-want) > 1e-12 {
			t.Errorf("%s is %v, want %v", what, value, want)
		}
	}
	var ics, rankICs, autocorrelations, decay1 []float64
	thirds := make([][]float64, 3)
	day := 0
	for i := range sessions {
		var x, y, one, ofOne, now, before []float64
		for _, s := range symbols {
			f, have := features[key{s, cal.At(i), "ret_5d"}]
			if !have {
				continue
			}
			if l, have := labels[key{s, cal.At(i), "fwd_ret_5d"}]; have {
				x, y = append(x, f), append(y, l)
			}
			if next, have := bars[s][i+1]; have {
				one, ofOne = append(one, f), append(ofOne, next.close/bars[s][i].close-1)
			}
			if i > 0 {
				if g, have := features[key{s, cal.At(i - 1), "ret_5d"}]; have {
					now, before = append(now, f), append(before, g)
				}
			}
		}
		if len(now) >= 5 {
			autocorrelations = append(autocorrelations, pearson(rank(now), rank(before)))
		}
		if len(one) >= 5 {
			decay1 = append(decay1, pearson(rank(one), rank(ofOne)))
		}
		if len(x) == 0 {
			continue
		}
		d := got.Daily[day]
		day++
		if d.Date != cal.At(i) || d.Names != len(x) {
			t.Errorf("day %d is %v with %d names, want %v with %d", day, d.Date, d.Names, cal.At(i), len(x))
		}
		if len(x) < 5 {
			if d.IC != nil || d.RankIC != nil {
				t.Errorf("%d names have an IC", len(x))
			}
			continue
		}
		ics, rankICs = append(ics, pearson(x, y)), append(rankICs, pearson(rank(x), rank(y)))
		same("IC", d.IC, ics[len(ics)-1])
		same("RankIC", d.RankIC, rankICs[len(rankICs)-1])
		sums, counts := make([]float64, 3), make([]float64, 3)
		for k, r := range rank(x) {
			q := int((r - 0.5) * 3 / float64(len(x)))
			sums[q] += y[k]
			counts[q]++
		}
		for q := range thirds {
			thirds[q] = append(thirds[q], sums[q]/counts[q])
		}
	}
	if day != len(got.Daily) || len(ics) < 30 {
		t.Errorf("%d days, %d with an IC, of %d", day, len(ics), len(got.Daily))
	}
	effective := float64(len(rankICs)) / horizon
	same("mean", got.RankIC.Mean, average(rankICs))
	same("deviation", got.RankIC.Deviation, spread(rankICs, 1))
	same("ICIR", got.RankIC.ICIR, average(rankICs)/spread(rankICs, 1))
	same("effective sample", got.RankIC.EffectiveSample, effective)
	same("t", got.RankIC.T, average(rankICs)/spread(rankICs, 1)*math.Sqrt(effective))
	same("IC mean", got.IC.Mean, average(ics))
	same("decay over 1", got.Decay[0].RankIC, average(decay1))
	same("decay over 5, the label's own horizon", got.Decay[1].RankIC, average(rankICs))
	for q := range thirds {
		same(fmt.Sprint("third ", q+1), got.Quantiles[q].Mean, average(thirds[q]))
	}
	same("spread", got.Spread, average(thirds[2])-average(thirds[0]))
	same("rank autocorrelation", got.RankAutocorr, average(autocorrelations))
	// Threads and repetition change no bit.
	first, _ := json.Marshal(got)
	if second, _ := json.Marshal(judged(t, db, sessions, FactorRequest{Feature: "ret_5d", Label: "fwd_ret_5d", Quantiles: 3})); string(first) != string(second) {
		t.Error("the same report again differs")
	}
	from, to := cal.At(20), cal.At(30)
	part := judged(t, db, sessions, FactorRequest{Feature: "ret_5d", Label: "direction_5d", From: &from, To: &to, Symbols: symbols[:2]})
	if part.FirstDate != quant.Text(from.String()) || part.LastDate != quant.Text(to.String()) || part.Sessions != 11 || part.Symbols != 2 {
		t.Errorf("a part: %+v", part)
	}
	if part.RankIC.Sessions != 0 || part.RankIC.Mean != nil || part.RankIC.Deviation != nil || part.Spread != nil || part.TimeSeries[0].Correlation == nil || len(part.Notices) != 1 {
		t.Errorf("two names: %+v", part)
	}
}

func TestOneValueHasNoDeviation(t *testing.T) {
	t.Parallel()
	if x := deviation([]float64{1}); !math.IsNaN(x) {
		t.Errorf("of one value: %v", x)
	}
}

func TestAFactorReportRefusesPriceLevelsAndNamesTheTwin(t *testing.T) {
	t.Parallel()
	for _, e := range entries() {
		req := FactorRequest{Feature: e.Name, Label: "fwd_ret_5d", Quantiles: 5}
		_, err := req.Check()
		if e.ScaleFree && err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
		if !e.ScaleFree && (!errors.Is(err, quant.Refused) || !strings.Contains(quant.HintOf(err), e.Twin)) {
			t.Errorf("%s: %v, hint %q", e.Name, err, quant.HintOf(err))
		}
	}
	late, early := quant.Date(10), quant.Date(5)
	for code, bad := range map[quant.Code][]FactorRequest{
		quant.Invalid:  {{Feature: "ret_1d", Label: "up", Quantiles: 5}, {Feature: "ret_1d", Label: "fwd_ret_5d", Quantiles: 1}, {Feature: "ret_1d", FeatureVersion: "v9", Label: "fwd_ret_5d", Quantiles: 5}, {Feature: "ret_1d", Label: "fwd_ret_5d", LabelVersion: "v2", Quantiles: 5}, {Feature: "ret_1d", Label: "fwd_ret_5d", Quantiles: 5, From: &late, To: &early}},
		quant.NotFound: {{Feature: "nothing", Label: "fwd_ret_5d", Quantiles: 5}, {Feature: "rsi_14", FeatureVersion: "v1", Label: "fwd_ret_5d", Quantiles: 5}},
	} {
		for _, req := range bad {
			if _, err := req.Check(); !errors.Is(err, code) {
				t.Errorf("%+v: %v, want %v", req, err, code)
			}
		}
	}
}

func TestWhatHasNotBeenComputedIsNotFound(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 30)
	db := lab(t, factstore.Options{})
	load(t, db, market([]string{"A"}, cal, 1, false))
	req := FactorRequest{Feature: "ret_5d", Label: "fwd_ret_5d", Quantiles: 5}
	if _, err := Factor(t.Context(), db, cal, req); !errors.Is(err, quant.NotFound) || !strings.Contains(quant.HintOf(err), "quant features --feature-version v1") {
		t.Errorf("%v, hint %q", err, quant.HintOf(err))
	}
	run(t, db, cal, Request{Version: "v1"})
	if _, err := Factor(t.Context(), db, cal, req); !errors.Is(err, quant.NotFound) || !strings.Contains(quant.HintOf(err), "quant labels --label-version v1 --horizon 5") {
		t.Errorf("%v, hint %q", err, quant.HintOf(err))
	}
	if _, err := Labels(t.Context(), db, cal, Request{RunID: "l", Version: "v1", Horizon: 5}); err != nil {
		t.Fatal(err)
	}
	if report := judged(t, db, 30, req); report.Pairs != 20 {
		t.Errorf("%+v", report)
	}
	after := cal.At(29)
	req.From = &after
	if _, err := Factor(t.Context(), db, cal, req); !errors.Is(err, quant.NotFound) {
		t.Errorf("no pairs: %v", err)
	}
}
