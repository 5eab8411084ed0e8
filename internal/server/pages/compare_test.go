package pages

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/session"
)

// trials records so many runs of one kind inside another run, over two params, with
// a metric whose best is at top_k 3 and cap 0.2, and returns its id and theirs.
func (b *browser) trials(n, points int, hostile bool) (sweep string, ids []string) {
	b.t.Helper()
	ctx := b.t.Context()
	sweep, err := b.Inside(ctx, session.Command{Kind: "sweep", Args: []string{"sweep"}}, func(ctx context.Context, s *session.Session) error {
		var list []session.Command
		for i := range n {
			list = append(list, session.Command{Kind: "backtest", Args: []string{"backtest"}, Flags: map[string]string{"set": fmt.Sprint(i)}})
		}
		inner, err := s.Begin(ctx, list)
		if err != nil {
			return err
		}
		for i, one := range inner {
			k, limit := i%5+1, float64(i/5%10+1)/10
			batch := metastore.Batch{Params: []quant.Param{
				{Name: "top_k", Value: fmt.Sprint(k)}, {Name: "cap", Value: fmt.Sprint(limit)}, {Name: "fee_bps", Value: "5"},
				{Name: "strategy_id", Value: fmt.Sprintf("momentum#%08x", i)},
			}}
			at := quant.NewTime(time.Now())
			for name, v := range map[string]float64{"sharpe": 2 - math.Abs(float64(k)-3)/4 - math.Abs(limit-0.2) - float64(i/50)/1e3, "max_dd": -0.1 - limit/10, "turnover": float64(k) + limit, "num_trades": float64(i)} {
				batch.Metrics = append(batch.Metrics, quant.MetricPoint{Name: name, Value: v, LoggedAt: at})
			}
			for step := range points {
				batch.Metrics = append(batch.Metrics, quant.MetricPoint{Name: "loss", Step: int64(step), Value: 1 / float64(step+k), LoggedAt: at})
			}
			if hostile {
				batch.Params = append(batch.Params, quant.Param{Name: `<script>alert("n")</script>`, Value: fmt.Sprintf(`</script><svg/onload=alert(%d)>`, i%2)})
				batch.Tags = append(batch.Tags, quant.Tag{Name: quant.NameTag, Value: `"><b>` + fmt.Sprint(i)})
				batch.Metrics = append(batch.Metrics, quant.MetricPoint{Name: `a'b"<i>`, Value: float64(i), LoggedAt: at}, quant.MetricPoint{Name: `a'b"<i>`, Step: 1, Value: float64(i), LoggedAt: at})
			}
			one.Log(batch)
			ids = append(ids, one.RunID())
		}
		for _, err := range s.Finish(ctx, inner, make([]error, n)) {
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return sweep, ids
}

func runsQuery(ids []string) string {
	q := url.Values{}
	for _, id := range ids {
		q.Add("run", id)
	}
	return q.Encode()
}

func (a answer) has(t testing.TB, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(a.text, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
}

func (a answer) lacks(t testing.TB, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(a.text, part) {
			t.Errorf("the page has %q", part)
		}
	}
}

func TestAFewRunsStandAsColumns(t *testing.T) {
	t.Parallel()
	b := browse(t)
	_, ids := b.trials(2, 3, false)
	a := b.get("/compare?" + runsQuery(ids))
	// top_k 2 is nearer to 3 than 1: the second run has the better Sharpe ratio.
	a.has(t, "Compare 2 runs", "What differs", "top_k", "Highest sharpe", quant.ShortID(ids[1]), `data-metric="loss"`, "Config and code", "★")
	a.lacks(t, "fee_bps", `id="parallel"`, `id="heat"`)
	b.get("/compare?all=1&"+runsQuery(ids)).has(t, "fee_bps", "All that is recorded")
	b.get("/compare?by=metrics.turnover&"+runsQuery(ids)).has(t, "Lowest turnover", "/runs/"+ids[0])
	b.get("/compare?better=high&by=metrics.turnover&"+runsQuery(ids)).has(t, "Highest turnover")
	// A run that is named twice, or by another of its names, stands once.
	b.get("/compare?"+runsQuery([]string{ids[0], quant.ShortID(ids[0]), ids[1]})).has(t, "Compare 2 runs")
}

func TestTheTrialsOfASweepStandAsRows(t *testing.T) {
	t.Parallel()
	b := browse(t)
	sweep, ids := b.trials(120, 0, false)
	a := b.get("/runs/" + sweep + "/sweep")
	best := ids[7] // top_k 3, cap 0.2, of the first round
	a.has(t, "Trials of sweep", "1–100 of 120", "Highest sharpe", "/runs/"+best, `hx-get="/compare/deflated?run=`+best, "Heat map", "Parallel coordinates", "Scatter", `rel="next"`)
	first := strings.Index(a.text, `<tr data-run="`)
	if first < 0 || !strings.HasPrefix(a.text[first+len(`<tr data-run="`):], best) {
		t.Error("the best does not stand first")
	}
	a.lacks(t, ">strategy_id<", "fee_bps")
	if n := strings.Count(a.text, "<tr data-run="); n != 100 {
		t.Errorf("%d rows", n)
	}
	if n := strings.Count(b.get("/runs/"+sweep+"/sweep?from=100").text, "<tr data-run="); n != 20 {
		t.Errorf("%d rows on the second page", n)
	}
	a = b.get("/runs/" + sweep + "/sweep?sort=metrics.num_trades")
	if first := strings.Index(a.text, `<tr data-run="`); !strings.HasPrefix(a.text[first+len(`<tr data-run="`):], ids[0]) {
		t.Error("sorted by trades, the first is not that with the fewest")
	}
	a.has(t, `aria-sort="ascending"`)
	// The same by what a search finds.
	b.get("/compare?q="+url.QueryEscape(`kind = "backtest" and params.top_k = 3`)).has(t, "Compare 24 runs")
	for _, odd := range []string{"?from=99999999999999999999", "?from=-1", "?from=x", "?sort=nothing", "?by=nothing", "?hx=nothing&hy=params.cap", "?better=up"} {
		if a := b.get("/runs/" + sweep + "/sweep" + odd); a.StatusCode != 200 {
			t.Errorf("%s: %d", odd, a.StatusCode)
		}
	}
	if a := b.get("/compare/deflated?run=" + best); a.StatusCode != 200 || !strings.Contains(a.text, "not judged") {
		t.Errorf("without facts: %d %s", a.StatusCode, a.text)
	}
}

func TestAHeatMapHasTheBestOfEachCell(t *testing.T) {
	t.Parallel()
	b := browse(t)
	sweep, ids := b.trials(100, 0, false)
	a := b.get("/runs/" + sweep + "/sweep?hx=params.top_k&hy=params.cap")
	_, heat, _ := strings.Cut(a.text, `<table class="heat">`)
	heat, _, _ = strings.Cut(heat, "</table>")
	if n := strings.Count(heat, "<td"); n != 50 {
		t.Errorf("%d cells of 5 by 10", n)
	}
	if n := strings.Count(heat, "the best of 2 runs"); n != 50 {
		t.Errorf("%d cells of two runs", n)
	}
	_, cell, _ := strings.Cut(heat, " h8")
	if !strings.Contains(heat, `h8"><a href="/runs/`+ids[7]+`"`) || !strings.Contains(cell, "★") {
		t.Errorf("the best cell is not that of %s", ids[7])
	}
}

func TestCoursesAreSampledAndSaySo(t *testing.T) {
	t.Parallel()
	b := browse(t)
	_, ids := b.trials(45, 1000, false)
	var doc comparedChart
	if err := json.Unmarshal([]byte(b.get("/compare/points?metric=loss&"+runsQuery(ids)).text), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Lines) != maxLines || !strings.Contains(doc.Note, "40 of 45 runs, with the lowest last values") || !strings.Contains(doc.Note, "of 40,000 points") {
		t.Errorf("%d lines, %q", len(doc.Lines), doc.Note)
	}
	for _, line := range doc.Lines {
		if len(line.X) != len(line.Y) || len(line.X) > linePoints || line.X[0] != 0 || line.X[len(line.X)-1] != 999 {
			t.Fatalf("a line of %d points", len(line.X))
		}
	}
	if err := json.Unmarshal([]byte(b.get("/compare/points?metric=loss&x=time&"+runsQuery(ids[:1])).text), &doc); err != nil || doc.X != "time" || doc.Lines[0].X[0] < 0 || doc.Lines[0].X[0] > 60 {
		t.Errorf("by time: %v %+v", err, doc.Lines)
	}
	for path, status := range map[string]int{
		"/compare/points?metric=none&" + runsQuery(ids): 404, "/compare/points?metric=loss": 400, "/compare/points?metric=loss&x=moon&" + runsQuery(ids): 400, "/compare/points?metric=loss&run=ffffffff": 404,
	} {
		if a := b.get(path); a.StatusCode != status {
			t.Errorf("%s: %d, want %d", quant.Clip(path, 60), a.StatusCode, status)
		}
	}
}

func TestHostileNamesAreTextOnThePage(t *testing.T) {
	t.Parallel()
	b := browse(t)
	sweep, ids := b.trials(10, 2, true)
	for _, path := range []string{"/runs/" + sweep + "/sweep", "/compare?all=1&" + runsQuery(ids[:3]), "/compare?" + runsQuery(ids[:2]), "/runs/" + sweep + "/sweep?sort=" + url.QueryEscape("params.`<script>alert(\"n\")</script>`")} {
		a := b.get(path)
		a.has(t, "&lt;script&gt;", "a&#39;b&#34;&lt;i&gt;")
		a.lacks(t, "<script>alert", "<svg/onload", `"><b>`, "<i>")
		if _, held, found := strings.Cut(a.text, `id="compared" data-values="`); found {
			held, _, _ = strings.Cut(held, `"`)
			var data plotData
			if err := json.Unmarshal([]byte(html.UnescapeString(held)), &data); err != nil || len(data.Runs) == 0 {
				t.Errorf("what is drawn is no document: %v", err)
			}
		}
	}
	if a := b.get("/compare?q=" + url.QueryEscape(`kind = "<script>alert(1)</script>" and`)); a.StatusCode != 200 {
		t.Error(a.StatusCode)
	} else {
		a.lacks(t, "<script>alert")
		a.has(t, "column")
	}
}

func TestThereIsSomethingToSayWithoutRuns(t *testing.T) {
	t.Parallel()
	b := browse(t)
	b.get("/compare").has(t, "Choose runs in the")
	b.get("/compare?q="+url.QueryEscape(`kind = "none"`)).has(t, "No run is like that")
	b.get("/runs/"+b.RunID()+"/sweep").has(t, "No run ran inside of it")
	if a := b.get("/compare?run=ffffffff"); a.StatusCode != 404 {
		t.Error(a.StatusCode)
	}
	many := make([]string, maxCompared+1)
	for i := range many {
		many[i] = fmt.Sprintf("%08x", i)
	}
	if a := b.get("/compare?" + runsQuery(many)); !strings.Contains(a.text, "more than the 1000") {
		t.Error(a.StatusCode)
	}
}

// BenchmarkCompare500 is the page of a sweep of 500 trials.
func BenchmarkCompare500(b *testing.B) {
	page := browse(b)
	sweep, _ := page.trials(500, 0, false)
	for b.Loop() {
		if a := page.get("/runs/" + sweep + "/sweep"); a.StatusCode != 200 {
			b.Fatal(a.StatusCode)
		}
	}
}
