package search

import (
	"slices"
	"strings"
	"testing"

	"quant/internal/metastore"
)

func TestTheLastWordIsCompleted(t *testing.T) {
	known := map[metastore.NameSource][]string{
		metastore.KindNames:   {"backtest", "backup", "train"},
		metastore.ParamNames:  {"lr", "top_k", "a.b/c"},
		metastore.TagNames:    {"name", "team", "te\nam"},
		metastore.MetricNames: {"loss", "sharpe"},
		metastore.RunNames:    {"모멘텀", `say "hi"`},
	}
	names := func(of metastore.NameSource, prefix string) (found []string) {
		for _, n := range known[of] {
			if strings.HasPrefix(n, prefix) {
				found = append(found, n)
			}
		}
		return found
	}
	for _, c := range []struct {
		text string
		want []string
	}{
		{"sta", []string{"started", "status"}},
		{`status = "FAIL" and du`, []string{`status = "FAIL" and duration`}},
		{"params.t", []string{"params.top_k"}},
		{"run_id,metrics.", []string{"run_id,metrics.loss", "run_id,metrics.sharpe"}},
		{"params.`a", []string{"params.`a.b/c`"}},
		{"metrics.sharpe.m", []string{"metrics.sharpe.max", "metrics.sharpe.min"}},
		{"tags.", []string{"tags.name", "tags.team"}},
		{"kind = ba", []string{`kind = "backtest"`, `kind = "backup"`}},
		{`kind = "tr`, []string{`kind = "train"`}},
		{`kind in ("train", "backt`, []string{`kind in ("train", "backtest"`}},
		{"status != s", []string{`status != "SUCCESS"`}},
		{"name = 모", []string{`name = "모멘텀"`}},
		{"name = s", []string{`name = "say ""hi"""`}},
		{`error like "kin`, nil},
		{"nothing.x", nil},
	} {
		got := Complete(c.text, names)
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("Complete(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}
