package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/search"
	"quant/internal/test/soak"
)

// world is what the plain evaluator knows: the same runs as the database.
type world struct {
	runs    []metastore.RunDetail
	params  map[string]map[string]string
	tags    map[string]map[string]string
	metrics map[string]map[string]quant.Metric
	deleted map[string]bool
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

var searchBegin = time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC)

// fillWorld makes n random runs in the database, and the same for the
// evaluator.
func fillWorld(t testing.TB, db *DB, r *rand.Rand, n int) *world {
	t.Helper()
	w := &world{
		params: map[string]map[string]string{}, tags: map[string]map[string]string{},
		metrics: map[string]map[string]quant.Metric{}, deleted: map[string]bool{},
	}
	tx := must(db.pool.Begin())
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := tx.Exec(query, args...); err != nil {
			t.Fatal(err)
		}
	}
	at := searchBegin
	for i := range n {
		at = at.Add(time.Duration(r.IntN(100_000)) * time.Millisecond)
		ms := at.UnixMilli()
		d := metastore.RunDetail{}
		d.RunID = fmt.Sprintf("%08x-%04x-7%03x-8000-%04x%08x", ms>>16, ms&0xffff, i%4096, r.IntN(1<<16), i)
		d.Kind = pick(r, "backtest", "config", "train", "pipeline.run", "pipeline.show")
		d.StartedAt = quant.NewTime(at.Add(time.Duration(r.IntN(900)) * time.Microsecond))
		d.Status = pick(r, quant.Success, quant.Success, quant.Success, quant.Fail, quant.Running)
		p := &d.Process
		p.RunID, p.PID, p.Changes = d.RunID, int64(i), r.IntN(3) > 0
		if d.Status != quant.Running {
			d.EndedAt = quant.NewTime(d.StartedAt.Add(time.Duration(r.IntN(10)) * time.Minute))
			if r.IntN(8) > 0 {
				p.DurationUS = ptr(int64(r.IntN(10)) * 60_000_000)
				p.ExitCode = ptr(int64(0))
			}
			if d.Status == quant.Fail {
				d.ErrorText = quant.Text(pick(r, "disk full", "50% of a_b", "it's \\ *?[x]", "Disk", "é\nnext"))
				p.ExitCode = pick(r, nil, ptr(int64(1)), ptr(int64(2)), ptr(int64(130)))
			}
		}
		p.Host, p.User = quant.Text(pick(r, "", "alpha", "beta")), quant.Text(pick(r, "ann", "bob"))
		p.GitCommit, p.WorkDir = quant.Text(pick(r, "", "abc", "abd", "b")), quant.Text(pick(r, "/a", "/a/b", "/c"))
		p.BinaryVersion = quant.Text(pick(r, "", "v1", "v2"))
		if r.IntN(2) == 0 {
			p.GitDirty = ptr(r.IntN(2) == 0)
		}
		if r.IntN(2) == 0 {
			p.Argv = quant.JSON(pick(r, `["quant","config"]`, `["quant","backtest","--strategy","a b"]`, `[]`))
		}
		if i > 0 && r.IntN(4) == 0 {
			p.ParentRunID = quant.Text(w.runs[r.IntN(i)].RunID)
		}
		lost := r.IntN(20) == 0 // its process row is
		if lost {
			*p = quant.RunProcess{Changes: true}
		}
		exec(`INSERT INTO runs (`+runColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?)`, d.RunID, d.Kind, string(d.Status), d.StartedAt, d.EndedAt, nil, d.ErrorText)
		if !lost {
			exec(`INSERT INTO run_process (`+processColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
				p.RunID, p.Changes, p.ParentRunID, p.Host, p.User, p.MachineID, p.BootID, p.PID, p.ProcessStart, p.LiveLock,
				p.BinaryVersion, p.BinaryCommit, p.GitCommit, p.GitDirty, p.Argv, p.WorkDir, p.ExitCode, p.DurationUS, p.Facts)
		} else {
			p.PID = -1
		}
		w.runs = append(w.runs, d)
		for table, into := range map[string]map[string]map[string]string{"run_params": w.params, "run_tags": w.tags} {
			into[d.RunID] = map[string]string{}
			for _, name := range []string{"a", "b", "a.b/c", "name", "experiment"} {
				if r.IntN(2) == 0 {
					v := pick(r, "1", "2", "10", "1e1", "-3", "x", "y", "xylo", "", "1.0", "X", "a_b", "50%")
					into[d.RunID][name] = v
					exec(`INSERT INTO `+table+` VALUES (?, ?, ?, ?)`, d.RunID, name, v, number(v))
				}
			}
		}
		w.metrics[d.RunID] = map[string]quant.Metric{}
		for _, name := range []string{"m", "loss/x", "last"} {
			if r.IntN(2) == 0 {
				low := float64(r.IntN(5))
				m := quant.Metric{RunID: d.RunID, Name: name, Points: 1, Last: low, Min: low, Max: low}
				if r.IntN(3) == 0 {
					m.Points, m.Last, m.Max = 3, low+1, low+float64(1+r.IntN(3))
				}
				w.metrics[d.RunID][name] = m
				exec(`INSERT INTO run_metrics VALUES (?, ?, ?, ?, ?, ?, ?)`, d.RunID, name, m.Points, 0, m.Last, m.Min, m.Max)
			}
		}
		if r.IntN(15) == 0 {
			w.deleted[d.RunID] = true
			exec(`INSERT INTO run_deletions VALUES (?, ?, NULL)`, d.RunID, d.StartedAt)
		}
	}
	ok(t, tx.Commit())
	return w
}

func ptr[T any](v T) *T { return &v }

// value is a field of a run; nil is NULL. Of a Mixed one: its text.
func (w *world) value(d metastore.RunDetail, f metastore.Field) any {
	text := func(s quant.Text) any {
		if s == "" {
			return nil
		}
		return string(s)
	}
	switch f.Of {
	case metastore.ParamOf, metastore.TagOf:
		from := w.params
		if f.Of == metastore.TagOf {
			from = w.tags
		}
		if v, found := from[d.RunID][f.Name]; found {
			return v
		}
		return nil
	case metastore.MetricOf:
		m, found := w.metrics[d.RunID][f.Name]
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
		if p.PID < 0 {
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
func (w *world) eval(d metastore.RunDetail, e metastore.Expr) three {
	switch e := e.(type) {
	case nil:
		return yes
	case metastore.And:
		least := yes
		for _, part := range e {
			least = min(least, w.eval(d, part))
		}
		return least
	case metastore.Or:
		most := no
		for _, part := range e {
			most = max(most, w.eval(d, part))
		}
		return most
	case metastore.Not:
		return yes - w.eval(d, e.Expr)
	case metastore.IsNull:
		return truth(w.value(d, e.Field) == nil)
	case metastore.In:
		most := no
		for _, v := range e.Values {
			most = max(most, w.eval(d, metastore.Compare{Field: e.Field, Op: metastore.Eq, Value: v}))
		}
		return most
	case metastore.Like:
		v := w.value(d, e.Field)
		if v == nil {
			return unknown
		}
		return truth(like([]rune(v.(string)), []rune(e.Pattern)))
	case metastore.Compare:
		v := w.value(d, e.Field)
		if text, isText := v.(string); isText && isNumber(e.Value) {
			v = nil
			if x, isNumber := quant.ParseNumber(text); isNumber {
				v = x
			}
		}
		if v == nil {
			return unknown
		}
		c := compareValues(v, e.Value)
		switch e.Op {
		case metastore.Eq:
			return truth(c == 0)
		case metastore.Ne:
			return truth(c != 0)
		case metastore.Lt:
			return truth(c < 0)
		case metastore.Le:
			return truth(c <= 0)
		case metastore.Gt:
			return truth(c > 0)
		default:
			return truth(c >= 0)
		}
	}
	panic(fmt.Sprintf("%T", e))
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
		return cmp.Compare(bound(a).(int64), bound(b).(int64))
	}
	panic(fmt.Sprintf("%T", a))
}

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

// search is the answer of the evaluator.
func (w *world) search(s metastore.Search) []string {
	var found []metastore.RunDetail
	for _, d := range w.runs {
		if !w.deleted[d.RunID] && d.RunID != s.Except && (s.All || d.Process.Changes && d.Process.RunID != "") && w.eval(d, s.Where) == yes {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, func(a, b metastore.RunDetail) int {
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
			x, y := w.value(a, k.Field), w.value(b, k.Field)
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
	})
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

func (w *world) field(r *rand.Rand) metastore.Field {
	switch r.IntN(4) {
	case 0:
		return metastore.Field{Of: metastore.ParamOf, Name: pick(r, "a", "b", "a.b/c", "none")}
	case 1:
		return metastore.Field{Of: metastore.TagOf, Name: pick(r, "a", "name", "experiment")}
	case 2:
		return metastore.Field{Of: metastore.MetricOf, Name: pick(r, "m", "loss/x", "last", "none"), Agg: pick(r, metastore.Last, metastore.Min, metastore.Max)}
	}
	names := search.Attributes()
	for {
		f := metastore.Field{Name: pick(r, names...)}
		if _, isAttribute := f.Type(); isAttribute {
			return f
		}
	}
}

func (w *world) literal(r *rand.Rand, f metastore.Field) any {
	t, _ := f.Type()
	d := pick(r, w.runs...)
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
	if v, isText := w.value(d, f).(string); isText && r.IntN(4) > 0 {
		return v
	}
	return pick(r, "x", "1", "", "'", "ann'; DROP TABLE runs; --", "SUCCESS")
}

func (w *world) expr(r *rand.Rand, depth int) metastore.Expr {
	if depth > 0 {
		switch r.IntN(4) {
		case 0, 1:
			var list []metastore.Expr
			for range 2 + r.IntN(3) {
				list = append(list, w.expr(r, depth-1))
			}
			if r.IntN(2) == 0 {
				return metastore.And(list)
			}
			return metastore.Or(list)
		case 2:
			return metastore.Not{Expr: w.expr(r, depth-1)}
		}
	}
	f := w.field(r)
	t, _ := f.Type()
	switch r.IntN(8) {
	case 0:
		return metastore.IsNull{Field: f}
	case 1, 2:
		in := metastore.In{Field: f}
		for range 1 + r.IntN(3) {
			in.Values = append(in.Values, w.literal(r, f))
		}
		return in
	case 3, 4:
		if t == metastore.Text || t == metastore.Mixed {
			return metastore.Like{Field: f, Pattern: pick(r, "%", "a%", "%b%", "x_", "x%o", `a\_b`, `50\%`, "pipeline.%", "%[x]", "%*%", "_isk%", "/a%", "", "abc", `%\\%`, "é%", "01%")}
		}
	}
	op := pick(r, metastore.Eq, metastore.Eq, metastore.Ne, metastore.Lt, metastore.Le, metastore.Gt, metastore.Ge)
	return metastore.Compare{Field: f, Op: op, Value: w.literal(r, f)}
}

func (w *world) question(r *rand.Rand) metastore.Search {
	s := metastore.Search{All: r.IntN(2) == 0, Limit: pick(r, 0, 0, 1, 3, 30, 1000), Columns: []metastore.Field{{Name: "run_id"}}}
	if r.IntN(10) > 0 {
		s.Where = w.expr(r, r.IntN(4))
	}
	for range r.IntN(3) {
		s.Order = append(s.Order, metastore.OrderKey{Field: pick(r, w.field(r), metastore.Field{Name: "started"}, metastore.Field{Of: metastore.MetricOf, Name: "m"}), Desc: r.IntN(2) == 0})
	}
	if r.IntN(5) == 0 {
		s.Except = pick(r, w.runs...).RunID
	}
	return s
}

func (s *searcher) answer(t *testing.T, db *DB, q metastore.Search) ([]string, error) {
	t.Helper()
	var ids []string
	err := db.snapshot(context.Background(), func(conn querier) (err error) {
		s.ctx, s.q, s.newest = context.Background(), conn, newestFirst(q.Order)
		ids, err = s.ids(q)
		return err
	})
	return ids, err
}

func shown(s metastore.Search) string {
	return fmt.Sprintf("%s (all %v, limit %d, except %s)", search.Query{Where: s.Where, Order: s.Order}, s.All, s.Limit, s.Except)
}

// TestASearchAnswersAsAPlainEvaluator compares random questions on random runs:
// by the plan that a search chooses, with looks so short that it walks, and by
// every driver that it could have chosen.
func TestASearchAnswersAsAPlainEvaluator(t *testing.T) {
	t.Parallel()
	r := soak.Random(t)
	db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	w := fillWorld(t, db, r, 400)
	found, drivers := 0, 0
	for range soak.Count(t, 1_500, 30_000) {
		q := w.question(r)
		want := w.search(q)
		found += len(want)
		var got []string
		err := db.SearchRuns(context.Background(), q, func(cells []any) error {
			got = append(got, cells[0].(string))
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%s\n got %d %q %v\nwant %d %q", shown(q), len(got), got, err, len(want), want)
		}
		if got, err = (&searcher{look: 8}).answer(t, db, q); err != nil || !slices.Equal(got, want) {
			t.Fatalf("with short looks: %s\n got %d %q %v\nwant %d %q", shown(q), len(got), got, err, len(want), want)
		}
		for n := 1; ; n++ {
			got, err := (&searcher{force: n}).answer(t, db, q)
			if errors.Is(err, errNoDriver) {
				break
			}
			drivers++
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("by driver %d: %s\n got %d %q %v\nwant %d %q", n, shown(q), len(got), got, err, len(want), want)
			}
		}
	}
	t.Logf("%d runs found, %d drivers tried", found, drivers)
}

// TestASearchReadsNoTableFromEndToEnd looks at the plan of every statement with
// which a search that has an index finds its runs.
func TestASearchReadsNoTableFromEndToEnd(t *testing.T) {
	t.Parallel()
	db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	fillWorld(t, db, rand.New(rand.NewPCG(1, 2)), 300)
	for _, tt := range []struct{ query, want string }{
		{`kind = "backtest" and metrics.sharpe > 1 and (params.top_k in (5, 10) or tags.team = "alpha") and started > 2026-01-15 order by metrics.sharpe desc`, "run_metrics_last"},
		{`kind = "rare"`, "runs_kind"},
		{`kind like "rare%"`, "runs_kind"},
		{`status = "RUNNING" and host = "x"`, "run_process_host"},
		{`ended is null and kind = "nothing"`, "runs_kind"},
		{`started > 2027-01-01`, "PRIMARY KEY (run_id>?)"},
		{`ended > 2027-01-01`, "runs_ended"},
		{`duration > 100h`, "run_process_duration"},
		{`exit_code = 7`, "run_process_exit"},
		{`git_commit = "none"`, "run_process_commit"},
		{`user = "none"`, "run_process_user"},
		{`work_dir like "/none%"`, "run_process_dir"},
		{`binary_version = "none"`, "run_process_version"},
		{`parent = "none"`, "run_process_parent"},
		{`params.a = "none"`, "run_params_value"},
		{`params.a > 1000`, "run_params_number"},
		{`tags.a in ("none", 77)`, "run_tags_number"},
		{`name like "none%"`, "run_tags_value"},
		{`metrics.m.min < -7`, "run_metrics_min"},
		{`metrics.m.max > 70`, "run_metrics_max"},
		{`params.a = "none" or (tags.b = "none" and metrics.m > 1)`, "run_tags_value"},
		{`not (params.a != "none")`, "run_params_value"},
		{`status != "SUCCESS"`, "runs_status"},
		{`status not in ("SUCCESS", "FAIL")`, "runs_status"},
		{`not (status = "SUCCESS" or status = "FAIL")`, "runs_status"},
		{`kind != "backtest" and host != "x"`, "INDEX run"},
		{`not params.none is null`, "run_params_value"},
	} {
		q, err := search.Parse(tt.query, searchBegin)
		ok(t, err)
		statements, err := db.ExplainSearch(context.Background(), metastore.Search{Where: q.Where, Order: q.Order, All: true})
		ok(t, err)
		if len(statements) == 0 {
			t.Errorf("%s: nothing was asked", tt.query)
		}
		for _, one := range statements {
			all := strings.Join(one.Plan, "\n") + "\n"
			if !strings.Contains(all, tt.want) {
				t.Errorf("%s: no %s in\n%s", tt.query, tt.want, all)
			}
			for _, table := range []string{"SCAN r", "SCAN p", "SCAN run", "SCAN runs"} {
				if strings.Contains(all, table+"\n") || strings.Contains(all, table+" USING") {
					t.Errorf("%s scans:\n%s", tt.query, all)
				}
			}
		}
	}
}

// TestNamesAreListedOnceAndInOrder holds the names of kinds, params, tags,
// metrics and runs to what is stored.
func TestNamesAreListedOnceAndInOrder(t *testing.T) {
	t.Parallel()
	db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	fillWorld(t, db, rand.New(rand.NewPCG(3, 4)), 200)
	for _, tt := range []struct {
		of     metastore.NameSource
		prefix string
		want   []string
	}{
		{metastore.KindNames, "", []string{"backtest", "config", "pipeline.run", "pipeline.show", "train"}},
		{metastore.KindNames, "pipeline.", []string{"pipeline.run", "pipeline.show"}},
		{metastore.ParamNames, "a", []string{"a", "a.b/c"}},
		{metastore.TagNames, "e", []string{"experiment"}},
		{metastore.MetricNames, "", []string{"last", "loss/x", "m"}},
		{metastore.RunNames, "x", []string{"x", "xylo"}},
		{metastore.RunNames, "%", nil},
	} {
		got, err := db.Names(context.Background(), tt.of, tt.prefix, 50)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%d %q: got %q %v, want %q", tt.of, tt.prefix, got, err, tt.want)
		}
		if got, err := db.Names(context.Background(), tt.of, tt.prefix, 1); err != nil || !slices.Equal(got, tt.want[:min(1, len(tt.want))]) {
			t.Errorf("%d %q, one: got %q %v", tt.of, tt.prefix, got, err)
		}
	}
}
