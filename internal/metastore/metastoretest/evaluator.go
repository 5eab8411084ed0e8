package metastoretest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/search"
)

// Evaluator answers searches as a plain reader of the language would: it goes
// through all runs and evaluates the condition of each. It shares nothing with a
// backend but the tree of a condition.
type Evaluator struct {
	runs    []metastore.RunDetail
	params  map[string]map[string]string
	tags    map[string]map[string]string
	metrics map[string]map[string]quant.Metric
	deleted map[string]bool
	lost    map[string]bool // the process was lost
}

// NewEvaluator stores n random runs, and returns an evaluator that knows the
// same.
func NewEvaluator(t testing.TB, s metastore.Store, r *rand.Rand, n int) *Evaluator {
	t.Helper()
	e := &Evaluator{
		params: map[string]map[string]string{}, tags: map[string]map[string]string{},
		metrics: map[string]map[string]quant.Metric{}, deleted: map[string]bool{}, lost: map[string]bool{},
	}
	err := s.Tx(context.Background(), func(ctx context.Context) error {
		at := start()
		for i := range n {
			at = at.Add(time.Duration(r.IntN(100_000)) * time.Millisecond)
			if err := e.add(ctx, s, r, i, at); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// add stores a random run that starts at a time.
func (e *Evaluator) add(ctx context.Context, s metastore.Store, r *rand.Rand, i int, at time.Time) error {
	ms := at.UnixMilli()
	d := metastore.RunDetail{}
	d.RunID = fmt.Sprintf("%08x-%04x-7%03x-8000-%04x%08x", ms>>16, ms&0xffff, i%4096, r.IntN(1<<16), i)
	d.Kind = pick(r, "backtest", "config", "train", "pipeline.run", "pipeline.show")
	d.StartedAt = quant.NewTime(at.Add(time.Duration(r.IntN(900)) * time.Microsecond))
	d.Status = quant.Running
	p := &d.Process
	p.RunID, p.PID, p.Changes = d.RunID, int64(i), r.IntN(3) > 0
	p.Host, p.User = quant.Text(pick(r, "", "alpha", "beta")), quant.Text(pick(r, "ann", "bob"))
	p.GitCommit, p.WorkDir = quant.Text(pick(r, "", "abc", "abd", "b")), quant.Text(pick(r, "/a", "/a/b", "/c"))
	p.BinaryVersion = quant.Text(pick(r, "", "v1", "v2"))
	if r.IntN(2) == 0 {
		p.GitDirty = pointer(r.IntN(2) == 0)
	}
	if r.IntN(2) == 0 {
		p.Argv = quant.JSON(pick(r, `["quant","config"]`, `["quant","backtest","--strategy","a b"]`, `[]`))
	}
	if i > 0 && r.IntN(4) == 0 {
		p.ParentRunID = quant.Text(e.runs[r.IntN(i)].RunID)
	}
	if err := s.CreateRun(ctx, d.Run, d.Process); err != nil {
		return err
	}
	if err := s.Log(ctx, e.records(r, d)); err != nil {
		return err
	}
	d.Status = pick(r, quant.Success, quant.Success, quant.Success, quant.Fail, quant.Running)
	if d.Status != quant.Running {
		d.EndedAt = quant.NewTime(d.StartedAt.Add(time.Duration(r.IntN(10)) * time.Minute))
		if r.IntN(8) > 0 {
			p.DurationUS, p.ExitCode = pointer(int64(r.IntN(10))*60_000_000), pointer(int64(0))
		}
		if d.Status == quant.Fail {
			d.ErrorText = quant.Text(pick(r, "disk full", "50% of a_b", "it's \\ *?[x]", "Disk", "é\nnext"))
			p.ExitCode = pick(r, nil, pointer(int64(1)), pointer(int64(2)), pointer(int64(130)))
		}
		end := metastore.RunEnd{
			RunID: d.RunID, Status: d.Status, EndedAt: d.EndedAt, ErrorText: string(d.ErrorText), ExitCode: p.ExitCode, DurationUS: p.DurationUS,
		}
		if err := s.FinishRun(ctx, end); err != nil {
			return err
		}
		if r.IntN(12) == 0 {
			e.deleted[d.RunID] = true
			if _, err := s.DeleteRuns(ctx, []quant.Deletion{{RunID: d.RunID, DeletedAt: d.EndedAt}}); err != nil {
				return err
			}
		}
	}
	e.runs = append(e.runs, d)
	return nil
}

// records returns what a run logs.
func (e *Evaluator) records(r *rand.Rand, d metastore.RunDetail) (b metastore.Batch) {
	value := func() string {
		return pick(r, "1", "2", "10", "1e1", "-3", "x", "y", "xylo", "", "1.0", "X", "a_b", "50%")
	}
	e.params[d.RunID], e.tags[d.RunID], e.metrics[d.RunID] = map[string]string{}, map[string]string{}, map[string]quant.Metric{}
	for _, name := range []string{"a", "b", "a.b/c", "name", "experiment"} {
		if r.IntN(2) == 0 {
			v := value()
			e.params[d.RunID][name] = v
			b.Params = append(b.Params, quant.Param{RunID: d.RunID, Name: name, Value: v})
		}
		if r.IntN(2) == 0 {
			v := value()
			e.tags[d.RunID][name] = v
			b.Tags = append(b.Tags, quant.Tag{RunID: d.RunID, Name: name, Value: v})
		}
	}
	for _, name := range []string{"m", "loss/x", "last"} {
		if r.IntN(2) > 0 {
			continue
		}
		low := float64(r.IntN(5))
		points := []float64{low}
		if r.IntN(3) == 0 {
			points = append(points, low+float64(1+r.IntN(3)), low+1)
		}
		e.metrics[d.RunID][name] = quant.Metric{Last: points[len(points)-1], Min: low, Max: slices.Max(points)}
		for step, v := range points {
			b.Metrics = append(b.Metrics, quant.MetricPoint{RunID: d.RunID, Name: name, Step: int64(step), Value: v, LoggedAt: d.StartedAt})
		}
	}
	return b
}

// LoseProcesses calls lose with the ids of some runs, and takes their processes
// for lost from then on: no attribute of theirs has a value, and whether they
// may have changed something is not known.
func (e *Evaluator) LoseProcesses(r *rand.Rand, lose func(runID string)) {
	for i := range e.runs {
		d := &e.runs[i]
		if r.IntN(20) == 0 {
			d.Process = quant.RunProcess{Changes: true}
			e.lost[d.RunID] = true
			lose(d.RunID)
		}
	}
}

// Describe writes a question out, for messages of a test.
func Describe(s metastore.Search) string {
	return fmt.Sprintf("%s (all %v, limit %d, except %s, after %s)", search.Query{Where: s.Where, Order: s.Order}, s.All, s.Limit, s.Except, s.After)
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// value is a field of a run; nil is NULL. Of a Mixed one: its text.
func (e *Evaluator) value(d metastore.RunDetail, f metastore.Field) any {
	text := func(s quant.Text) any {
		if s == "" {
			return nil
		}
		return string(s)
	}
	switch f.Of {
	case metastore.ParamOf, metastore.TagOf:
		from := e.params
		if f.Of == metastore.TagOf {
			from = e.tags
		}
		if v, found := from[d.RunID][f.Name]; found {
			return v
		}
		return nil
	case metastore.MetricOf:
		m, found := e.metrics[d.RunID][f.Name]
		switch {
		case !found:
			return nil
		case f.Agg == metastore.Min:
			return m.Min
		case f.Agg == metastore.Max:
			return m.Max
		}
		return m.Last
	}
	p := d.Process
	switch f.Name {
	case "run_id":
		return d.RunID
	case "kind":
		return d.Kind
	case "status":
		return string(d.Status)
	case "started":
		return d.StartedAt
	case "ended":
		if d.EndedAt.IsZero() {
			return nil
		}
		return d.EndedAt
	case "duration":
		if p.DurationUS == nil {
			return nil
		}
		return time.Duration(*p.DurationUS) * time.Microsecond
	case "exit_code":
		if p.ExitCode == nil {
			return nil
		}
		return float64(*p.ExitCode)
	case "pid":
		if e.lost[d.RunID] {
			return nil
		}
		return float64(p.PID)
	case "error":
		return text(d.ErrorText)
	case "host":
		return text(p.Host)
	case "user":
		return text(p.User)
	case "git_commit":
		return text(p.GitCommit)
	case "git_dirty":
		if p.GitDirty == nil {
			return nil
		}
		return *p.GitDirty
	case "work_dir":
		return text(p.WorkDir)
	case "parent":
		return text(p.ParentRunID)
	case "binary_version":
		return text(p.BinaryVersion)
	case "binary_commit":
		return text(p.BinaryCommit)
	case "changes":
		return p.Changes
	case "argv":
		switch string(p.Argv) {
		case `["quant","config"]`:
			return "quant config"
		case `["quant","backtest","--strategy","a b"]`:
			return "quant backtest --strategy a b"
		}
		return nil
	}
	panic(f.Name)
}

// three is true, false or unknown.
type three int

const (
	no three = iota
	unknown
	yes
)

func truth(b bool) three {
	if b {
		return yes
	}
	return no
}

// eval is the language as a plain reader of its help understands it.
func (e *Evaluator) eval(d metastore.RunDetail, condition metastore.Expr) three {
	switch c := condition.(type) {
	case nil:
		return yes
	case metastore.And:
		least := yes
		for _, part := range c {
			least = min(least, e.eval(d, part))
		}
		return least
	case metastore.Or:
		most := no
		for _, part := range c {
			most = max(most, e.eval(d, part))
		}
		return most
	case metastore.Not:
		return yes - e.eval(d, c.Expr)
	case metastore.IsNull:
		return truth(e.value(d, c.Field) == nil)
	case metastore.In:
		most := no
		for _, v := range c.Values {
			most = max(most, e.eval(d, metastore.Compare{Field: c.Field, Op: metastore.Eq, Value: v}))
		}
		return most
	case metastore.Like:
		v := e.value(d, c.Field)
		if v == nil {
			return unknown
		}
		return truth(like([]rune(v.(string)), []rune(c.Pattern)))
	case metastore.Compare:
		v := e.value(d, c.Field)
		if text, isText := v.(string); isText && isNumber(c.Value) {
			v = nil
			if x, isNumber := quant.ParseNumber(text); isNumber {
				v = x
			}
		}
		if v == nil {
			return unknown
		}
		order := compareValues(v, c.Value)
		switch c.Op {
		case metastore.Eq:
			return truth(order == 0)
		case metastore.Ne:
			return truth(order != 0)
		case metastore.Lt:
			return truth(order < 0)
		case metastore.Le:
			return truth(order <= 0)
		case metastore.Gt:
			return truth(order > 0)
		default:
			return truth(order >= 0)
		}
	}
	panic(fmt.Sprintf("%T", condition))
}

func compareValues(a, b any) int {
	switch a := a.(type) {
	case string:
		return strings.Compare(a, b.(string))
	case float64:
		return cmp.Compare(a, b.(float64))
	case quant.Time:
		return a.Compare(b.(quant.Time).Time)
	case time.Duration:
		return cmp.Compare(a, b.(time.Duration))
	case bool:
		return cmp.Compare(rank(a), rank(b.(bool)))
	}
	panic(fmt.Sprintf("%T", a))
}

// rank is the order of false and true.
func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func isNumber(v any) bool { _, ok := v.(float64); return ok }

func like(s, pattern []rune) bool {
	if len(pattern) == 0 {
		return len(s) == 0
	}
	switch c := pattern[0]; {
	case c == '%':
		return like(s, pattern[1:]) || len(s) > 0 && like(s[1:], pattern)
	case len(s) == 0:
		return false
	case c == '_':
		return like(s[1:], pattern[1:])
	case c == '\\':
		return s[0] == pattern[1] && like(s[1:], pattern[2:])
	default:
		return s[0] == c && like(s[1:], pattern[1:])
	}
}

// Search returns the ids of the runs that a search finds, in their order.
func (e *Evaluator) Search(s metastore.Search) []string {
	var found []metastore.RunDetail
	for _, d := range e.runs {
		if !e.deleted[d.RunID] && d.RunID != s.Except && (s.All || d.Process.Changes && !e.lost[d.RunID]) && e.eval(d, s.Where) == yes {
			found = append(found, d)
		}
	}
	order := func(a, b metastore.RunDetail) int {
		key := func(x, y any, desc bool) int {
			switch {
			case x == nil && y == nil:
				return 0
			case x == nil:
				return 1
			case y == nil:
				return -1
			case desc:
				return compareValues(y, x)
			}
			return compareValues(x, y)
		}
		desc := true
		for _, k := range s.Order {
			desc = k.Desc
			if k.Field == (metastore.Field{Name: "started"}) {
				k.Field.Name = "run_id"
			}
			x, y := e.value(a, k.Field), e.value(b, k.Field)
			if t, _ := k.Field.Type(); t == metastore.Mixed {
				number := func(v any) any {
					text, _ := v.(string)
					if n, isNumber := quant.ParseNumber(text); isNumber {
						return n
					}
					return nil
				}
				if c := key(number(x), number(y), desc); c != 0 {
					return c
				}
			}
			if c := key(x, y, desc); c != 0 {
				return c
			}
		}
		return key(a.RunID, b.RunID, desc)
	}
	slices.SortFunc(found, order)
	for _, d := range e.runs {
		if d.RunID == s.After {
			found = slices.DeleteFunc(found, func(other metastore.RunDetail) bool { return order(other, d) <= 0 })
		}
	}
	var ids []string
	for _, d := range found {
		ids = append(ids, d.RunID)
	}
	if s.Limit > 0 {
		ids = ids[:min(len(ids), s.Limit)]
	}
	return ids
}

// The shapes of random queries.

func (e *Evaluator) field(r *rand.Rand) metastore.Field {
	switch r.IntN(4) {
	case 0:
		return metastore.Field{Of: metastore.ParamOf, Name: pick(r, "a", "b", "a.b/c", "none")}
	case 1:
		return metastore.Field{Of: metastore.TagOf, Name: pick(r, "a", "name", "experiment")}
	case 2:
		return metastore.Field{Of: metastore.MetricOf, Name: pick(r, "m", "loss/x", "last", "none"), Agg: pick(r, metastore.Last, metastore.Min, metastore.Max)}
	}
	return metastore.Field{Name: pick(r, slices.Sorted(maps.Keys(metastore.Attributes()))...)}
}

func (e *Evaluator) literal(r *rand.Rand, f metastore.Field) any {
	t, _ := f.Type()
	d := pick(r, e.runs...)
	switch t {
	case metastore.Time:
		return quant.NewTime(d.StartedAt.Add(pick(r, 0, time.Microsecond, -time.Microsecond, time.Minute, -1500*time.Millisecond)))
	case metastore.Duration:
		return time.Duration(r.IntN(10)) * 30 * time.Second
	case metastore.Bool:
		return r.IntN(2) == 0
	case metastore.Number:
		return float64(r.IntN(6) - 1)
	case metastore.Mixed:
		if r.IntN(2) == 0 {
			return pick(r, 1.0, 2, 10, -3, 1.5)
		}
	}
	if v, isText := e.value(d, f).(string); isText && r.IntN(4) > 0 {
		return v
	}
	return pick(r, "x", "1", "", "'", "ann'; DROP TABLE runs; --", "SUCCESS")
}

func (e *Evaluator) expr(r *rand.Rand, depth int) metastore.Expr {
	if depth > 0 {
		switch r.IntN(4) {
		case 0, 1:
			var list []metastore.Expr
			for range 2 + r.IntN(3) {
				list = append(list, e.expr(r, depth-1))
			}
			if r.IntN(2) == 0 {
				return metastore.And(list)
			}
			return metastore.Or(list)
		case 2:
			return metastore.Not{Expr: e.expr(r, depth-1)}
		}
	}
	f := e.field(r)
	t, _ := f.Type()
	switch r.IntN(8) {
	case 0:
		return metastore.IsNull{Field: f}
	case 1, 2:
		in := metastore.In{Field: f}
		for range 1 + r.IntN(3) {
			in.Values = append(in.Values, e.literal(r, f))
		}
		return in
	case 3, 4:
		if t == metastore.Text || t == metastore.Mixed {
			return metastore.Like{Field: f, Pattern: pick(r, "%", "a%", "%b%", "x_", "x%o", `a\_b`, `50\%`, "pipeline.%", "%[x]", "%*%", "_isk%", "/a%", "", "abc", `%\\%`, "é%", "01%")}
		}
	}
	op := pick(r, metastore.Eq, metastore.Eq, metastore.Ne, metastore.Lt, metastore.Le, metastore.Gt, metastore.Ge)
	return metastore.Compare{Field: f, Op: op, Value: e.literal(r, f)}
}

// Question returns a random search. Its one column is the id of a run.
func (e *Evaluator) Question(r *rand.Rand) metastore.Search {
	s := metastore.Search{All: r.IntN(2) == 0, Limit: pick(r, 0, 0, 1, 3, 30, 1000), Columns: []metastore.Field{{Name: "run_id"}}}
	if r.IntN(10) > 0 {
		s.Where = e.expr(r, r.IntN(4))
	}
	for range r.IntN(3) {
		s.Order = append(s.Order, metastore.OrderKey{Field: pick(r, e.field(r), metastore.Field{Name: "started"}, metastore.Field{Of: metastore.MetricOf, Name: "m"}), Desc: r.IntN(2) == 0})
	}
	if r.IntN(5) == 0 {
		s.Except = pick(r, e.runs...).RunID
	}
	if r.IntN(3) == 0 {
		s.After = pick(r, e.runs...).RunID
	}
	return s
}
