package main

import (
	"database/sql"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
	_ "github.com/mattn/go-sqlite3"
)

// killed is the code of a process that SIGKILL ended.
const killed = 1000 + int(syscall.SIGKILL)

// steps are all failpoints that a recorded ingest passes, in its order. start
// says what stands in the lab when it begins.
var steps = []struct{ name, start string }{
	{"meta.create.before", "nothing"},
	{"meta.create.after", "nothing"},
	{"meta.start.before", "data"},
	{"meta.start.after", "data"},
	{"meta.config.before", "data"},
	{"meta.config.after", "data"},
	{"fact.schema.before", "nothing"},
	{"fact.schema.after", "nothing"},
	{"fact.create.before", "nothing"},
	{"fact.create.after", "nothing"},
	{"fact.upgrade.before", "an empty Fact DB"},
	{"fact.upgrade.after", "an empty Fact DB"},
	{"ingest.staged", "data"},
	{"meta.symbols.before", "data"},
	{"meta.symbols.after", "data"},
	{"ingest.merged", "data"},
	{"fact.commit.before", "data"},
	{"fact.commit.after", "data"},
	{"meta.finish.before", "data"},
	{"meta.finish.after", "data"},
}

// recordSteps are the failpoints of what runs record of themselves.
var recordSteps = []string{"meta.log.before", "meta.log.after", "meta.program.before", "meta.program.after"}

func TestTheStepsOfThisTestAreAllFailpointsOfTheProgram(t *testing.T) {
	t.Parallel()
	found := failpointsIn(t, filepath.Join("..", "..", "internal"))
	var listed []string
	for _, s := range steps {
		listed = append(listed, s.name)
	}
	listed = append(listed, pipelineSteps...)
	listed = append(listed, recordSteps...)
	listed = append(listed, carrySteps...)
	listed = append(listed, keepSteps...)
	slices.Sort(listed)
	if !slices.Equal(found, listed) {
		t.Errorf("in the sources: %v\nin this test:   %v", found, listed)
	}
}

// failpointsIn reads the names of all failpoints from the sources, also where
// a name is put together from a parameter.
func failpointsIn(t *testing.T, root string) []string {
	t.Helper()
	packages := map[string][]*ast.FuncDecl{}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				packages[filepath.Dir(path)] = append(packages[filepath.Dir(path)], f)
			}
		}
		return nil
	}))
	names := map[string]bool{}
	for _, functions := range packages {
		for _, f := range functions {
			calls(f, func(call *ast.CallExpr) {
				if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Hit" && len(call.Args) == 1 {
					for _, name := range values(t, functions, f, call.Args[0]) {
						if !strings.HasPrefix(name, ".") { // no point was asked for
							names[name] = true
						}
					}
				}
			})
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func calls(f *ast.FuncDecl, each func(*ast.CallExpr)) {
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			each(call)
		}
		return true
	})
}

// values returns every text that an expression inside f can have: literals,
// sums, and parameters, which are followed to the callers of f.
func values(t *testing.T, functions []*ast.FuncDecl, f *ast.FuncDecl, e ast.Expr) []string {
	t.Helper()
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		must(t, err)
		return []string{s}
	case *ast.BinaryExpr:
		var out []string
		for _, left := range values(t, functions, f, e.X) {
			for _, right := range values(t, functions, f, e.Y) {
				out = append(out, left+right)
			}
		}
		return out
	case *ast.Ident:
		at, found := 0, -1
		for _, field := range f.Type.Params.List {
			for _, name := range field.Names {
				if name.Name == e.Name {
					found = at
				}
				at++
			}
		}
		if found < 0 {
			break
		}
		var out []string
		for _, caller := range functions {
			calls(caller, func(call *ast.CallExpr) {
				name := ""
				switch fun := call.Fun.(type) {
				case *ast.Ident:
					name = fun.Name
				case *ast.SelectorExpr:
					name = fun.Sel.Name
				}
				if name == f.Name.Name && len(call.Args) == at {
					out = append(out, values(t, functions, caller, call.Args[found])...)
				}
			})
		}
		return out
	}
	t.Fatalf("%s: the name of a failpoint is neither a text nor a parameter", f.Name.Name)
	return nil
}

// disturbance is a lab with acknowledged data, and what it holds once the
// second file has been ingested without any trouble.
type disturbance struct {
	data              *lab
	prices            map[string]string // by start
	symbols           map[string]string
	oldRuns           []string
	firstFile, second []byte
}

func newDisturbance(t *testing.T) *disturbance {
	t.Helper()
	d := &disturbance{
		data: newLab(t), prices: map[string]string{}, symbols: map[string]string{},
		firstFile: priceFile(1, 300, "OLD", "BOTH"), second: priceFile(2, 300, "NEW", "BOTH"),
	}
	d.data.write("first.csv", d.firstFile)
	d.data.write("second.csv", d.second)
	d.oldRuns = append(d.oldRuns,
		d.data.must("symbols", "add", "KEEP", "--name", "kept").acknowledged(),
		d.data.must("ingest", "first.csv").acknowledged())
	for _, start := range []string{"data", "nothing", "an empty Fact DB"} {
		l := d.lab(t, start)
		l.must("ingest", "second.csv")
		d.prices[start], d.symbols[start] = l.prices(), l.metaRows("SELECT * FROM symbols ORDER BY symbol")
		if !strings.Contains(d.prices[start], "NEW") {
			t.Fatal("the undisturbed lab is empty")
		}
	}
	return d
}

func (d *disturbance) lab(t *testing.T, start string) *lab {
	t.Helper()
	if start == "data" {
		return d.data.copyOf(t)
	}
	l := newLab(t)
	l.write("second.csv", d.second)
	if start == "an empty Fact DB" {
		must(t, os.MkdirAll(l.path("data"), 0o700))
		db, err := sql.Open("duckdb", l.facts())
		must(t, err)
		must(t, db.Ping())
		must(t, db.Close())
	}
	return l
}

func TestKillAtEveryStepOfAnIngestLosesNothingAndLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	d := newDisturbance(t)
	for i, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			l := d.lab(t, step.start)
			r := l.start([]string{"QUANT_TEST_FAILPOINT=" + step.name}, "ingest", "second.csv").wait()
			l.wantCode(r, killed)

			l.must("runs", "list")
			l.wantClosed()
			l.wantAgreement()
			var report checkup
			if step.name == "fact.upgrade.before" {
				decode(t, l.want(1, "doctor", "--output", "json").stdout, &report)
				if !report.has("fault", "quant.duckdb", "schema version 0") {
					t.Fatalf("doctor does not see that the Fact DB is still an old one: %+v", report)
				}
			} else {
				report = l.doctor()
			}
			past := func(point string) bool {
				return i >= slices.IndexFunc(steps, func(s struct{ name, start string }) bool { return s.name == point })
			}
			committed := past("fact.commit.after")
			var died *runRow
			for _, run := range l.runs() {
				if run.Kind == "ingest" && !slices.Contains(d.oldRuns, run.ID) {
					died = &run
				}
			}
			switch {
			case !past("meta.start.after") || step.name == "meta.create.after":
				if died != nil {
					t.Fatalf("recorded before it could be: %+v", died)
				}
			case died == nil:
				t.Fatal("the run that died is not recorded")
			case step.name == "meta.finish.after":
				if died.Status != "SUCCESS" {
					t.Fatalf("closed as SUCCESS, and now it is %+v", died)
				}
			default:
				want := "process ended without finishing; no facts committed"
				if committed {
					want = "process ended without finishing; facts committed"
				}
				if step.name == "fact.upgrade.before" { // an old Fact DB does not tell
					want = "process ended without finishing; facts not checked"
				}
				if died.Status != "FAIL" || died.Error != want {
					t.Fatalf("want FAIL %q, got %+v", want, died)
				}
				if noted := report.has("note", died.ID, "ohlcv"); noted != committed {
					t.Fatalf("committed: %v, noted by doctor: %v in %+v", committed, noted, report)
				}
			}
			if committed {
				if got := l.prices(); got != d.prices[step.start] {
					t.Fatal("the commit is not all there")
				}
			}
			l.wantKept(d, step.start)

			l.must("ingest", "second.csv")
			if got := l.prices(); got != d.prices[step.start] {
				t.Fatalf("the same ingest again ends in other rows:\n%s", clipped(got))
			}
			if got := l.metaRows("SELECT * FROM symbols ORDER BY symbol"); got != d.symbols[step.start] {
				t.Fatalf("other symbols: %s, want %s", got, d.symbols[step.start])
			}
			l.wantKept(d, step.start)
			l.wantClosed()
			l.wantAgreement()
			l.doctor()
			l.wantTidy()
		})
	}
}

// wantKept checks that what was acknowledged before is still there.
func (l *lab) wantKept(d *disturbance, start string) {
	l.t.Helper()
	if start != "data" {
		return
	}
	status := map[string]string{}
	for _, run := range l.runs() {
		status[run.ID] = run.Status
	}
	for _, id := range d.oldRuns {
		if status[id] != "SUCCESS" {
			l.t.Fatalf("the acknowledged run %s is %q", id, status[id])
		}
	}
	if got := l.metaRows("SELECT name FROM symbols WHERE symbol = 'KEEP'"); got != "kept\n" {
		l.t.Fatalf("the acknowledged symbol is gone: %q", got)
	}
	if got := l.factRows("SELECT count(*) FROM ohlcv WHERE symbol = 'OLD'"); got != "300\n" {
		l.t.Fatalf("of 300 acknowledged rows there are %s", got)
	}
}

// wantTidy checks that no process left files behind which nobody owns.
func (l *lab) wantTidy() {
	l.t.Helper()
	entries, err := os.ReadDir(l.path("data"))
	must(l.t, err)
	for _, e := range entries {
		switch e.Name() {
		case "meta.db", "meta.db.lock", "meta.db.live", "meta.db-wal", "meta.db-shm", "quant.duckdb", "quant.duckdb.lock":
		default:
			l.t.Fatalf("left behind: data/%s", e.Name())
		}
	}
	live, err := os.ReadDir(l.path("data", "meta.db.live"))
	must(l.t, err)
	if len(live) > 0 {
		l.t.Fatalf("%d lock files of runs that have ended", len(live))
	}
}

func TestKillAtRandomMomentsLosesNothingAndLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	times, labs := 24, 2
	if soak(t) {
		times = 200
	}
	for n := range labs {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, uint64(n)))
			l := newLab(t)
			const files = 3
			for i := range files {
				l.write(fmt.Sprintf("%d.csv", i), priceFile(i, 400, fmt.Sprintf("S%d", i), "ALL"))
			}
			whole := l.must("ingest", "0.csv").took
			var acknowledged []string
			died := 0
			for i := range times / labs {
				p := l.start(nil, "ingest", fmt.Sprintf("%d.csv", i%files))
				timer := time.AfterFunc(time.Duration(random.Int64N(int64(whole)*5/4)), func() { _ = p.Process.Kill() })
				r := p.wait()
				timer.Stop()
				if r.code == killed {
					died++
				} else {
					l.wantCode(r, 0)
				}
				if id := r.acknowledged(); id != "" {
					acknowledged = append(acknowledged, id)
				}
				l.must("config")
				l.wantClosed()
				l.wantAgreement()
				if i%8 == 7 {
					l.doctor()
				}
			}
			if died == 0 {
				t.Fatal("not one process was killed in time")
			}
			t.Logf("%d of %d were killed", died, times/labs)
			status := map[string]string{}
			for _, run := range l.runs() {
				status[run.ID] = run.Status
				if run.Status == "FAIL" && !strings.HasPrefix(run.Error, "process ended without finishing; ") {
					t.Fatalf("a killed run says %q", run.Error)
				}
			}
			for _, id := range acknowledged {
				if status[id] != "SUCCESS" {
					t.Fatalf("the acknowledged run %s is %q", id, status[id])
				}
			}
			l.doctor()
			undisturbed := newLab(t)
			for i := range files {
				name := fmt.Sprintf("%d.csv", i)
				undisturbed.write(name, priceFile(i, 400, fmt.Sprintf("S%d", i), "ALL"))
				undisturbed.must("ingest", name)
				l.must("ingest", name)
			}
			if l.prices() != undisturbed.prices() {
				t.Fatal("the same files end in other rows than without the kills")
			}
			l.doctor()
			l.wantTidy()
		})
	}
}
