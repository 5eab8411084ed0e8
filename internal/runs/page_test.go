package runs

import (
	"fmt"
	"slices"
	"testing"

	"quant"
	"quant/internal/metastore"
	"quant/internal/session"
	"quant/internal/session/sessiontest"
)

// measured makes n runs of the kind k, of which every second has the metric m.
func measured(t *testing.T, s *sessiontest.Session, n int) (ids []string) {
	t.Helper()
	list, err := s.Begin(t.Context(), slices.Repeat([]session.Command{{Kind: "k", Args: []string{"k"}}}, n))
	if err != nil {
		t.Fatal(err)
	}
	for i, inner := range list {
		ids = append(ids, inner.RunID())
		if i%2 == 0 {
			inner.Log(metastore.Batch{Metrics: []quant.MetricPoint{{Name: "m", Step: 1, Value: float64(i % 4), LoggedAt: quant.NewTime(s.Now())}}})
		}
	}
	for _, err := range s.Finish(t.Context(), list, make([]error, n)) {
		if err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

func TestPagesTogetherAreTheWholeSearch(t *testing.T) {
	s := sessiontest.Begin(t)
	measured(t, s, 23)
	for _, query := range []string{
		`kind = "k"`, `kind = "k" order by started`, `kind = "k" order by started desc limit 11`,
		`kind = "k" order by metrics.m desc`, `kind = "k" order by metrics.m limit 15`, `kind = "k" limit 0`, `kind = "none"`,
	} {
		f, err := ParseFind(query, s.Now())
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		if _, err := f.Each(t.Context(), s.Meta, func(cells []any) error {
			want = append(want, fmt.Sprint(cells[0]))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		pages := 0
		for from := ""; pages == 0 || from != ""; pages++ {
			page, err := f.Page(t.Context(), s.Meta, from, 5)
			if err != nil {
				t.Fatalf("%s from %q: %v", query, from, err)
			}
			if len(page.IDs) > 5 || len(page.IDs) != len(page.Cells) {
				t.Fatalf("%s: a page of %d runs, %d rows", query, len(page.IDs), len(page.Cells))
			}
			got = append(got, page.IDs...)
			from = page.Next
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: pages have\n%v, the search\n%v", query, got, want)
		}
		if most := len(want)/5 + 1; pages > most {
			t.Errorf("%s: %d pages for %d runs", query, pages, len(want))
		}
	}
}

func TestAPlaceThatIsNoneIsRefused(t *testing.T) {
	s := sessiontest.Begin(t)
	f, err := ParseFind("", s.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"x", "+3", "-1", "3-", "x-" + s.RunID(), "-3-" + s.RunID(), "3-" + s.RunID()[:35]} {
		if _, err := f.Page(t.Context(), s.Meta, from, 5); quant.CodeOf(err) != quant.Usage {
			t.Errorf("from %q: %v", from, err)
		}
	}
}
