package pages

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/runs"
	"quant/internal/session"
	"quant/internal/test/soak"
)

// recorded makes a run inside the session's that has recorded a batch.
func (b *browser) recorded(kind string, batch metastore.Batch) string {
	b.t.Helper()
	id, _ := b.Inside(b.t.Context(), session.Command{Kind: kind, Args: []string{kind}}, func(_ context.Context, inner *session.Session) error {
		now := quant.NewTime(b.Now())
		for i := range batch.Metrics {
			batch.Metrics[i].LoggedAt = now
		}
		for i := range batch.Notes {
			batch.Notes[i].LoggedAt = now
		}
		inner.Log(batch)
		return nil
	})
	return id
}

func TestTheListShowsWhatRunsAreAndEscapesWhatTheySay(t *testing.T) {
	b := browse(t)
	id := b.recorded("train", metastore.Batch{
		Tags:    []quant.Tag{{Name: quant.NameTag, Value: `<script>alert("모멘텀")</script>`}, {Name: runs.StarTag, Value: "1"}, {Name: "team", Value: "a\u202Eb\x1b[31m"}},
		Params:  []quant.Param{{Name: "top_k", Value: "5"}},
		Metrics: []quant.MetricPoint{{Name: "sharpe", Step: 1, Value: 1.23456789}},
	})
	page := b.get("/runs?columns=" + url.QueryEscape("kind, status, params.top_k, metrics.sharpe, tags.team"))
	page.wants(t, http.StatusOK, `href="/runs/`+id+`"`, `&lt;script&gt;alert(`, "모멘텀", "★", `<span class="status SUCCESS">`, ">5<", `title="1.23456789">1.23457<`, `a\u202eb\x1b[31m`)
	for _, hostile := range []string{"<script>alert", "\u202E", "\x1b"} {
		if strings.Contains(page.text, hostile) {
			t.Errorf("the page has %q as it stands", hostile)
		}
	}
	if strings.Contains(page.text, b.RunID()) {
		t.Error("the run that serves the page is in its list")
	}
}

func TestAQueryThatIsWrongIsPointedAt(t *testing.T) {
	b := browse(t)
	page := b.get("/runs?q=" + url.QueryEscape(`kind = "x" and foo = 1`))
	page.wants(t, http.StatusOK, `value="kind = &#34;x&#34; and foo = 1"`, "kind = &#34;x&#34; and foo = 1\n", "^", `aria-invalid="true"`)
	b.get("/runs?sort=nothing").wants(t, http.StatusOK, "nothing")
	b.get("/runs?from=x").wants(t, http.StatusOK, "no place in this list", "begin with the first page")
	b.get("/runs?q="+url.QueryEscape("metrics.los > 1")).wants(t, http.StatusOK, "No run is like that", "No run has", "metrics.los")
}

func TestTheListGoesOnPageByPage(t *testing.T) {
	b := browse(t)
	list, err := b.Begin(t.Context(), slices.Repeat([]session.Command{{Kind: "k", Args: []string{"k"}}}, 2*pageSize+10))
	if err != nil {
		t.Fatal(err)
	}
	b.Finish(t.Context(), list, make([]error, len(list)))
	seen := map[string]bool{}
	path := "/runs"
	for pages := 1; path != ""; pages++ {
		page := b.get(path)
		rows := strings.Count(page.text, `<tr data-key="`)
		if last := pages == 3; rows != pageSize && !last || last && rows != 10 {
			t.Fatalf("page %d has %d rows", pages, rows)
		}
		for _, s := range list {
			if strings.Contains(page.text, `data-key="`+s.RunID()) {
				if seen[s.RunID()] {
					t.Errorf("run %s is on two pages", s.RunID())
				}
				seen[s.RunID()] = true
			}
		}
		if pages < 3 {
			page.wants(t, http.StatusOK, "of more")
		}
		_, next, found := strings.Cut(page.text, `Next 100`)
		path = ""
		if _ = next; found {
			before := page.text[:strings.Index(page.text, `" rel="next"`)]
			path = strings.ReplaceAll(before[strings.LastIndex(before, `"`)+1:], "&amp;", "&")
		}
	}
	if len(seen) != len(list) {
		t.Errorf("the pages have %d of %d runs", len(seen), len(list))
	}
}

func TestRunsThatStillRunAreListedWhereverTheyBegan(t *testing.T) {
	b := browse(t)
	running, err := b.Begin(t.Context(), []session.Command{{Kind: "slow", Args: []string{"slow"}}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := b.Begin(t.Context(), slices.Repeat([]session.Command{{Kind: "k", Args: []string{"k"}}}, pageSize))
	if err != nil {
		t.Fatal(err)
	}
	b.Finish(t.Context(), list, make([]error, len(list)))
	rows := b.get("/runs/rows")
	rows.wants(t, http.StatusOK, "Running since earlier", running[0].RunID())
	if strings.Contains(rows.text, "<html") {
		t.Error("the rows come as a whole page")
	}
	b.Finish(t.Context(), running, make([]error, 1))
	if again := b.get("/runs/rows"); strings.Contains(again.text, running[0].RunID()) {
		t.Error("a run that has ended is still listed as running")
	}
}

func TestTheSearchIsCompleted(t *testing.T) {
	b := browse(t)
	b.recorded("train", metastore.Batch{Metrics: []quant.MetricPoint{{Name: "sharpe", Step: 1, Value: 1}}})
	for text, want := range map[string]string{`kind = "tr`: `kind = "train"`, "metrics.sh": "metrics.sharpe", "sta": "started"} {
		var found []string
		if err := json.Unmarshal([]byte(b.get("/runs/complete?text="+url.QueryEscape(text)).text), &found); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(found, want) {
			t.Errorf("%q is completed as %q, want %q among them", text, found, want)
		}
	}
}

// filled makes n runs by hand, each with a metric and a param.
func (b *browser) filled(n int) {
	b.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+b.MetaPath+"?_foreign_keys=on")
	if err != nil {
		b.t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, statement := range []string{
		fmt.Sprintf(`CREATE TEMP TABLE n AS WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d - 1)
			SELECT i, printf('%%08x-%%04x-7000-8000-%%012x', 0x019bc0de + (i >> 6), (i & 63) << 10, (i * 2654435761) & 0xffffffffffff) AS id,
			strftime('%%Y-%%m-%%dT%%H:%%M:%%S.000000Z', 1768469400 + i, 'unixepoch') AS at FROM n`, n),
		`INSERT INTO runs SELECT id, 'kind' || (i % 10), CASE WHEN i % 200 = 0 THEN 'FAIL' ELSE 'SUCCESS' END, at, at, '{}', CASE WHEN i % 200 = 0 THEN 'x' END FROM n`,
		`INSERT INTO run_process (run_id, changes, pid, host, machine_id, exit_code, duration_us) SELECT id, 1, i, 'h', 'm', 0, 1000 FROM n`,
		`INSERT INTO run_metrics (run_id, name, points, last_step, last, min, max) SELECT id, 'sharpe', 1, 0, v, v, v FROM (SELECT id, (i * 7919) % 10007 AS v FROM n)`,
		`INSERT INTO run_params (run_id, name, value, number) SELECT id, 'top_k', i % 50, i % 50 FROM n`,
	} {
		if _, err := db.Exec(statement); err != nil {
			b.t.Fatalf("%s: %v", statement, err)
		}
	}
}

func TestAPageOfManyRunsIsAsFastAsOneOfFew(t *testing.T) {
	few, many := browse(t), browse(t)
	few.filled(1_000)
	many.filled(soak.Count(t, 20_000, 100_000))
	next := func(b *browser, path string) string {
		page := b.get(path).text
		before := page[:strings.Index(page, `" rel="next"`)]
		return strings.ReplaceAll(before[strings.LastIndex(before, `"`)+1:], "&amp;", "&")
	}
	fastest := func(b *browser, path string) time.Duration {
		best := time.Hour
		for range 5 {
			begun := time.Now()
			b.get(path).wants(t, http.StatusOK, ">2026-")
			best = min(best, time.Since(begun))
		}
		return best
	}
	for _, query := range []string{"", "?sort=-metrics.sharpe&columns=started,metrics.sharpe,params.top_k", "?q=" + url.QueryEscape("metrics.sharpe > 5000 and params.top_k = 7")} {
		small, large := fastest(few, "/runs"+query), fastest(many, "/runs"+query)
		if strings.HasPrefix(query, "?q") { // of these the smaller lab has few
			t.Logf("%-30s %8v of 1,000 runs, %8v of many", query, small, large)
			continue
		}
		second := fastest(many, next(many, next(many, "/runs"+query)))
		t.Logf("%-30s %8v of 1,000 runs, %8v of many, its third page %8v", query, small, large, second)
		if bound := 4*small + 20*time.Millisecond; large > bound || second > bound {
			t.Errorf("/runs%s: %v and %v with many runs, %v with 1,000", query, large, second, small)
		}
	}
}
