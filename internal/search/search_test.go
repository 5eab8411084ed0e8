package search_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/search"
)

func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func TestAQueryIsReadAndWritten(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ query, want string }{
		{``, ``},
		{`kind = "backtest" and metrics.sharpe > 1 and (params.top_k in (5, 10) or tags.team = "alpha") and started > -7d order by metrics.sharpe desc`,
			`kind = "backtest" and metrics.sharpe > 1 and (params.top_k in (5, 10) or tags.team = "alpha") and started > 2026-02-22T12:00:00.000000Z order by metrics.sharpe desc`},
		{`not status='fail' OR error LIKE '%it''s%' and duration >= 1h30m`, `not status = "FAIL" or error like "%it's%" and duration >= 1h30m0s`},
		{"params.`a.b/c` is not null", "not params.`a.b/c` is null"},
		{`metrics.loss.min <> -1e-3 and metrics.max.last = .5`, `metrics.loss.min != -0.001 and metrics.max = 0.5`},
		{`params.x not in ("a", 5) and name not like "a\_%"`, `not params.x in ("a", 5) and not name like "a\_%"`},
		{`ended <= now and started >= 2026-01-15 and started < "2026-01-15T09:30:00+09:00"`,
			`ended <= 2026-03-01T12:00:00.000000Z and started >= 2026-01-15T00:00:00.000000Z and started < 2026-01-15T00:30:00.000000Z`},
		{`git_dirty = TRUE order by kind, started desc limit 5`, `git_dirty = true order by kind asc, started desc limit 5`},
		{`((kind = "a")) and (kind = "b" and kind = "c")`, `kind = "a" and (kind = "b" and kind = "c")`},
		{`order by duration limit 0`, `order by duration asc limit 0`},
		{`params.order = 1 and tags.limit = "x" and params.` + "`5m`" + ` = 2`, "params.order = 1 and tags.limit = \"x\" and params.`5m` = 2"},
	} {
		q, err := search.Parse(tt.query, noon())
		if err != nil {
			t.Errorf("%s: %v", tt.query, err)
			continue
		}
		if got := q.String(); got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.query, got, tt.want)
		}
		again, err := search.Parse(q.String(), noon())
		if err != nil || !reflect.DeepEqual(again, q) {
			t.Errorf("%s: read again as %s (%v)", q, again, err)
		}
	}
}

func TestAnErrorPointsAtItsColumn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ query, text, hint string }{
		{`statsu = "FAIL"`, "column 1: a run has no attribute \"statsu\"\n  statsu = \"FAIL\"\n  ^", "did you mean status?"},
		{`kind = "a" and sharpe > 1`, "column 16: a run has no attribute", "metrics.sharpe"},
		{`status > 5`, "column 10: status is a text", `status = "..."`},
		{`started = "abc"`, "column 11: started is a time", "-7d"},
		{`started > 7d`, "column 11: started is a time", "-7d"},
		{`duration > 5`, "column 12: duration is a duration", "5m"},
		{`duration > -5m`, "column 12:", "5m"},
		{`metrics.sharpe > "1"`, "column 18: metrics.sharpe is a number", ""},
		{`metrics.sharpe like "1"`, "column 21: metrics.sharpe is no text", ""},
		{`git_dirty > true`, "column 13: git_dirty is true or false", ""},
		{`status = "DONE"`, "column 10: \"DONE\" is no status", "RUNNING"},
		{`kind = backtest`, "column 8: backtest is no value", `"backtest"`},
		{`kind = "backtest`, "column 8: this quote is not closed\n  kind = \"backtest\n         ^", ""},
		{"params.`x = 1", "column 8: this quote is not closed", ""},
		{`kind = "a" and`, "column 15: the query ends too early", ""},
		{`kind == "a"`, "column 7: \"=\" is not expected here", ""},
		{`(kind = "a"`, "column 12: the query ends too early", ""},
		{`kind = "a"; drop table runs`, "column 11: \";\" is not expected here", ""},
		{`params.a.b = 1`, "column 10: params.a has no b", "params.`a.b`"},
		{`metrics.a.mean = 1`, "column 11: metrics.a has no mean", ".max"},
		{`params = 1`, "column 1:", "params.NAME"},
		{`params.x in ()`, "column 14:", ""},
		{`params.x = 1e999`, "column 12: 1e999 is too large a number", ""},
		{`error like "a\b"`, `column 12: in this pattern a \ stands before`, `\\`},
		{`kind = "é" and 日本 = 1`, "column 16: a run has no attribute", ""},
		{`limit -1`, "column 7: limit -1", ""},
		{`limit 1.5`, "column 7: limit 1.5", ""},
		{strings.Repeat("(", 100), "column 51: this is nested more than 50 deep", ""},
		{strings.Repeat("not ", 300) + `kind = "a"`, "nested", ""},
		{strings.Repeat(`kind = "a" or `, 300) + `kind = "a"`, "more than 200 conditions", ""},
	} {
		_, err := search.Parse(tt.query, noon())
		if err == nil {
			t.Errorf("%s: no error", tt.query)
			continue
		}
		if !errors.Is(err, quant.Usage) || !strings.Contains(err.Error(), tt.text) || !strings.Contains(quant.HintOf(err), tt.hint) {
			t.Errorf("%s:\n%v\nhint: %s\nwant %s", tt.query, err, quant.HintOf(err), tt.text)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		``, `kind = "a" and (not status in ("FAIL") or metrics.x.min >= -1.5e3) order by started desc, params.a limit 7`,
		"params.`a.b/c` like 'x\\%%' or duration < 1w2d3h4m5s6ms7us8ns", `started > -7d and ended < now`, `((((`, `not not kind is not null`, "`", `"`, `name = 'a''b'`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := search.Parse(text, noon())
		if err != nil {
			if !errors.Is(err, quant.Usage) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		again, err := search.Parse(q.String(), noon())
		if err != nil && len(q.String()) <= search.MaxBytes && !strings.Contains(err.Error(), "nested") {
			t.Fatalf("%q is written %q: %v", text, q, err)
		}
		if err == nil && !reflect.DeepEqual(again, q) {
			t.Fatalf("%q is written %q, which is %q", text, q, again)
		}
	})
}
