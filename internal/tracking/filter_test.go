package tracking

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// goldenFilters are filters and what MLflow's own parser makes of them; the file says
// which version that was.
type goldenFilters struct {
	Runs             []goldenFilter `json:"runs"`
	Experiments      []goldenFilter `json:"experiments"`
	RunsOrder        []goldenOrder  `json:"runs_order"`
	ExperimentsOrder []goldenOrder  `json:"experiments_order"`
}

type goldenFilter struct {
	Filter  string         `json:"filter"`
	Clauses []goldenClause `json:"clauses"`
	Error   string         `json:"error"`
}

type goldenClause struct {
	Type       string `json:"type"`
	Key        string `json:"key"`
	Comparator string `json:"comparator"`
	Value      any    `json:"value"`
}

type goldenOrder struct {
	OrderBy   string `json:"order_by"`
	Type      string `json:"type"`
	Key       string `json:"key"`
	Ascending bool   `json:"ascending"`
	Error     string `json:"error"`
}

func golden(t *testing.T) (g goldenFilters) {
	t.Helper()
	b, err := os.ReadFile("testdata/filters.json")
	if err == nil {
		err = json.Unmarshal(b, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestFiltersAreTakenAndRefusedAsByTheReference(t *testing.T) {
	t.Parallel()
	g := golden(t)
	// The reference takes an empty key, and a list where its database then fails.
	nonsense := func(filter string) bool {
		return strings.HasPrefix(filter, "tags. ") || strings.Contains(filter, "= ('a'") || strings.Contains(filter, "LIKE ('a'")
	}
	check := func(g *grammar, list []goldenFilter) {
		for _, want := range list {
			if nonsense(want.Filter) {
				continue
			}
			got, err := g.parse(want.Filter)
			if want.Error != "" {
				if err == nil {
					t.Errorf("%q is taken: %+v; the reference says %s", want.Filter, got, want.Error)
				}
				continue
			}
			if err != nil {
				t.Errorf("%q: %v", want.Filter, err)
				continue
			}
			var said []string
			for _, c := range want.Clauses {
				values := []string{}
				switch v := c.Value.(type) {
				case string:
					values = []string{v}
				case []any:
					for _, one := range v {
						values = append(values, one.(string))
					}
				}
				said = append(said, fmt.Sprintf("%s %s %s %q", c.Type, c.Key, c.Comparator, values))
			}
			var have []string
			for _, c := range got {
				have = append(have, fmt.Sprintf("%s %s %s %q", c.kind, c.key, c.comparator, c.values))
			}
			if !slices.Equal(said, have) {
				t.Errorf("%q:\n got %q\nwant %q", want.Filter, have, said)
			}
		}
	}
	check(&runGrammar, g.Runs)
	check(&experimentGrammar, g.Experiments)
}

func TestOrdersAreTakenAndRefusedAsByTheReference(t *testing.T) {
	t.Parallel()
	g := golden(t)
	check := func(g *grammar, list []goldenOrder) {
		for _, want := range list {
			got, err := g.parseOrder([]string{want.OrderBy})
			switch {
			case want.Error != "" && err == nil:
				t.Errorf("%q is taken: %+v; the reference says %s", want.OrderBy, got, want.Error)
			case want.Error == "" && err != nil:
				t.Errorf("%q: %v", want.OrderBy, err)
			case want.Error == "" && (got[0].kind != want.Type || got[0].key != attributeName(want.Key) || got[0].descending == want.Ascending):
				t.Errorf("%q: %+v, want %+v", want.OrderBy, got[0], want)
			}
		}
	}
	check(&runGrammar, g.RunsOrder)
	check(&experimentGrammar, g.ExperimentsOrder)
}

func FuzzFilter(f *testing.F) {
	f.Add("metrics.k > 1 AND tags.`a b` ILIKE 'x%' AND run_id IN ('a', \"b\")")
	f.Fuzz(func(t *testing.T, filter string) {
		clauses, err := runGrammar.parse(filter)
		if err == nil {
			for _, c := range clauses {
				if c.kind == "" || c.comparator == "" {
					t.Errorf("%q: %+v", filter, c)
				}
			}
		}
		_, _ = runGrammar.parseOrder([]string{filter})
	})
}
