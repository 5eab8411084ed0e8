package pages

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/metastore"
	"quant/internal/runs"
	"quant/internal/session"
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
