package tracking_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/registry"
	"quant/internal/tracking"
)

// seen is a run as a client sees it, by which a plain evaluator finds and sorts.
type seen struct {
	id, experiment, status, name, user, uri string
	start                                   int64
	end                                     *int64
	deleted                                 bool
	metrics                                 map[string]float64
	params, tags                            map[string]string
}

func seenOf(r tracking.Run) seen {
	s := seen{
		id: r.ClientID, experiment: r.ExperimentID(), status: r.Status(), name: r.Name(), user: string(r.Process.User),
		uri: tracking.ArtifactURI(r.Number, r.ClientID), start: r.StartedAt.UnixMilli(), deleted: !r.DeletedAt.IsZero(),
		metrics: map[string]float64{}, params: map[string]string{}, tags: map[string]string{},
	}
	if !r.EndedAt.IsZero() {
		end := r.EndedAt.UnixMilli()
		s.end = &end
	}
	for _, m := range r.Metrics {
		s.metrics[m.Name] = m.Value
		if m.NaN {
			s.metrics[m.Name] = math.NaN()
		}
	}
	for _, p := range r.Params {
		s.params[p.Name] = p.Value
	}
	for _, t := range r.Tags {
		s.tags[t.Key] = t.Value
	}
	return s
}

// value is what a clause compares; nil: the run has none.
func (s seen) value(field string) any {
	kind, key, _ := strings.Cut(field, ".")
	switch kind {
	case "metrics":
		if v, ok := s.metrics[key]; ok {
			return v
		}
		return nil
	case "params", "tags":
		from := s.params
		if kind == "tags" {
			from = s.tags
		}
		if v, ok := from[key]; ok {
			return v
		}
		return nil
	}
	switch field {
	case "status":
		return s.status
	case "run_name":
		return s.name
	case "user_id":
		return s.user
	case "run_id":
		return s.id
	case "artifact_uri":
		return s.uri
	case "start_time":
		return float64(s.start)
	}
	if s.end == nil {
		return nil
	}
	return float64(*s.end)
}

// is evaluates a clause, plainly.
func (s seen) is(field, op, value string) bool {
	v := s.value(field)
	switch op {
	case "IS NULL":
		return v == nil
	case "IS NOT NULL":
		return v != nil
	}
	switch v := v.(type) {
	case float64:
		n, _ := strconv.ParseFloat(value, 64)
		switch op {
		case "=":
			return v == n
		case "!=":
			return v != n && !math.IsNaN(v)
		case "<":
			return v < n
		case "<=":
			return v <= n
		case ">":
			return v > n
		}
		return v >= n
	case string:
		switch op {
		case "=":
			return v == value
		case "!=":
			return v != value
		case "IN":
			return slices.Contains(strings.Split(value, ","), v)
		case "NOT IN":
			return !slices.Contains(strings.Split(value, ","), v)
		}
		flags := "(?s)^"
		if op == "ILIKE" {
			flags = "(?si)^"
		}
		return regexp.MustCompile(flags + strings.ReplaceAll(strings.ReplaceAll(regexp.QuoteMeta(value), "%", ".*"), "_", ".") + "$").MatchString(v)
	}
	return false
}

// less sorts by a field as the reference does: those without a value last, what is
// no number before them.
func compareBy(field string, descending bool, a, b seen) int {
	x, y := a.value(field), b.value(field)
	rank := func(v any) int {
		if f, ok := v.(float64); ok && math.IsNaN(f) {
			return 1
		}
		if v == nil {
			return 2
		}
		return 0
	}
	if n := cmp.Compare(rank(x), rank(y)); n != 0 || rank(x) > 0 {
		return n
	}
	n := 0
	switch x := x.(type) {
	case float64:
		n = cmp.Compare(x, y.(float64))
	case string:
		n = strings.Compare(x, y.(string))
	}
	if descending {
		return -n
	}
	return n
}

func TestSearchesFindWhatAPlainEvaluatorFinds(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p := opened(t)
	random := rand.New(rand.NewPCG(5, 7))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	other, err := p.CreateExperiment(ctx, "other", "", nil)
	p.ok(err)
	statuses := []string{tracking.Running, tracking.Scheduled, tracking.Finished, tracking.Failed, tracking.Killed}
	values := []string{"", "a", "A", "ab", "a%b", `a\b`, "5", "5.0", "été", "É", "x*y", "[x]", "a_b"}
	var all []seen
	var ids []string
	for n := range 60 {
		start := int64(1_700_000_000_000 + 1000*(n/2))
		r := p.run(tracking.NewRun{ExperimentID: pick("0", "0", other), UserID: pick("ann", "bob"), Name: pick("first", "second", "Third"), Start: &start})
		b := tracking.LogBatch{}
		for _, name := range []string{"m", "k"} {
			if random.IntN(4) > 0 {
				b.Metrics = append(b.Metrics, tracking.Metric{Key: name, Value: []float64{-1, 0, 0.5, 2, math.NaN(), math.Inf(1), 7}[random.IntN(7)], Step: int64(random.IntN(3)), Timestamp: int64(random.IntN(3))})
			}
			if random.IntN(3) > 0 {
				b.Params = append(b.Params, tracking.Param{Key: name, Value: pick(values...)})
			}
			if random.IntN(3) > 0 {
				b.Tags = append(b.Tags, tracking.Tag{Key: name, Value: pick(values...)})
			}
		}
		p.ok(p.Log(ctx, r.ClientID, b))
		end := start + int64(random.IntN(5000))
		for range 1 + random.IntN(2) { // some are resumed
			_, err := p.UpdateRun(ctx, tracking.RunUpdate{ID: r.ClientID, Status: text(pick(statuses...)), End: &end})
			p.ok(err)
		}
		if random.IntN(5) == 0 {
			p.ok(p.DeleteRun(ctx, r.ClientID))
		}
		all, ids = append(all, seenOf(p.get(r.ClientID))), append(ids, r.ClientID)
	}
	for n := range 12 { // quant's own, among them in the order of ids
		run, process, err := p.Registry.PrepareElsewhere(registry.Elsewhere{Kind: "train", Started: time.UnixMilli(1_700_000_000_000 + 3000*int64(n)), User: "bob"})
		p.ok(err)
		p.ok(p.store.CreateRun(ctx, run, process))
		p.ok(p.store.FinishRun(ctx, metastore.RunEnd{RunID: run.RunID, Status: quant.Success, EndedAt: quant.NewTime(run.StartedAt.Add(time.Second)), Batch: metastore.Batch{
			Tags: []quant.Tag{{RunID: run.RunID, Name: quant.ExperimentTag, Value: "mlflow-" + pick("0", other)}, {RunID: run.RunID, Name: quant.NameTag, Value: pick("first", "Third")}},
		}}))
		id := strings.ReplaceAll(run.RunID, "-", "")
		all, ids = append(all, seenOf(p.get(id))), append(ids, id)
	}
	clause := func() (string, func(seen) bool) {
		var field, op, value, said string
		switch random.IntN(8) {
		case 0, 1:
			field, op, value = pick("metrics.m", "metrics.k", "metrics.none"), pick("=", "!=", "<", "<=", ">", ">="), pick("0", "0.5", "2", "-1", "1e400")
			said = value
		case 2:
			field, op = pick("start_time", "end_time"), pick("=", "!=", "<", "<=", ">", ">=")
			value = fmt.Sprint(1_700_000_000_000 + 500*random.IntN(70))
			said = value
		case 3:
			field, op = pick("params.m", "tags.k", "tags.none"), pick("IS NULL", "IS NOT NULL")
		case 4:
			field, op = "run_id", pick("IN", "NOT IN")
			value = strings.Join([]string{ids[random.IntN(len(ids))], ids[random.IntN(len(ids))], "none"}, ",")
			said = "('" + strings.ReplaceAll(value, ",", "', '") + "')"
		case 5:
			field, op = pick("status", "run_name", "user_id", "artifact_uri", "run_id"), pick("=", "!=", "LIKE", "ILIKE")
			value = pick("FINISHED", "FAILED", "KILLED", "RUNNING", "SCHEDULED", "F%", "f%", "first", "third", "ann", "%/1/%", "%a%", ids[0])
			said = "'" + value + "'"
		default:
			field, op, value = pick("params.m", "params.k", "tags.m", "tags.k", "tags.mlflow.runName"), pick("=", "!=", "LIKE", "ILIKE"), pick(append([]string{"%", "_", "a%", "%B", "A_B", "first"}, values...)...)
			said = "'" + value + "'"
		}
		return field + " " + op + " " + said, func(s seen) bool { return s.is(field, op, value) }
	}
	for range 400 {
		var said []string
		var tests []func(seen) bool
		for range random.IntN(4) {
			text, test := clause()
			said, tests = append(said, text), append(tests, test)
		}
		search := tracking.RunSearch{Filter: strings.Join(said, " AND "), View: metastore.Lifecycle(random.IntN(3)), ExperimentIDs: [][]string{{"0"}, {other}, {"0", other, "0", "99"}}[random.IntN(3)]}
		var keys []string
		for len(keys) < random.IntN(3) {
			key := pick("metrics.m", "metrics.k", "params.m", "tags.k", "status", "run_name", "user_id", "start_time", "end_time", "artifact_uri", "run_id")
			if !slices.Contains(keys, key) {
				keys = append(keys, key)
				search.OrderBy = append(search.OrderBy, key+pick("", " ASC", " DESC"))
			}
		}
		var want []seen
		for _, s := range all {
			shown := s.deleted && search.View != metastore.NotDeleted || !s.deleted && search.View != metastore.OnlyDeleted
			if shown && slices.Contains(search.ExperimentIDs, s.experiment) && !slices.ContainsFunc(tests, func(is func(seen) bool) bool { return !is(s) }) {
				want = append(want, s)
			}
		}
		slices.SortStableFunc(want, func(a, b seen) int {
			for i, key := range keys {
				if n := compareBy(key, strings.HasSuffix(search.OrderBy[i], "DESC"), a, b); n != 0 {
					return n
				}
			}
			return cmp.Or(cmp.Compare(b.start, a.start), strings.Compare(a.id, b.id))
		})
		var order []string
		for _, s := range want {
			order = append(order, s.id)
		}
		var got []string
		search.Max = int64(1 + random.IntN(20))
		goesOn := random.IntN(2) == 0 // rather than that it counts
		for {
			page, err := p.SearchRuns(ctx, search)
			if err != nil {
				t.Fatalf("%+v: %v", search, err)
			}
			for _, r := range page.Runs {
				got = append(got, r.ClientID)
			}
			if search.Offset = page.Next; page.Next == 0 {
				break
			}
			if goesOn {
				search.After = page.Last
			}
		}
		if !slices.Equal(got, order) {
			t.Fatalf("%q %q %v in %v:\n got %v\nwant %v", search.Filter, search.OrderBy, search.View, search.ExperimentIDs, got, order)
		}
	}
}
