package pipeline

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/test/soak"
)

// playLab is a lab in which a stage computes a text from texts: what the real
// ones do to tables, without the tables. It keeps to the two rules of facts:
// writing what stands already changes nothing, and every change has a later
// time than all before it.
type playLab struct {
	t      *testing.T
	meta   metastore.Store
	tables map[string]string
	newest map[string]string
	own    map[string]bool
	clock  int
	runs   int

	file, strategy, code, symbols string // the world outside the Fact DB
	skipped, ran                  int
}

func newPlayLab(t *testing.T) *playLab {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "meta.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return &playLab{
		t: t, meta: db, tables: map[string]string{}, newest: map[string]string{}, own: map[string]bool{},
		file: "f0", strategy: "s0", code: "c0", symbols: "y0",
	}
}

func (l *playLab) newRun() string {
	l.runs++
	start := time.Date(2026, 1, 15, 9, 30, l.runs, 0, time.UTC)
	ms := start.UnixMilli()
	return fmt.Sprintf("%08x-%04x-7000-8000-0000%08x", ms>>16, ms&0xffff, l.runs)
}

// write gives a table its content, as Tx.Merge does.
func (l *playLab) write(runID, table, content string) {
	if l.tables[table] == content {
		return
	}
	l.clock++
	l.tables[table] = content
	if of, _ := factstore.LookupTable(table); !of.PerRun {
		l.newest[table] = fmt.Sprintf("2026-01-15T09:30:00.%06dZ %s", l.clock, runID)
	}
}

func (l *playLab) state() tableState { return tableState{maps.Clone(l.newest), maps.Clone(l.own)} }

// compute is what a stage does: its tables become a function of what it reads.
func (l *playLab) compute(stage Stage, args []string, runID string) {
	var from string
	for _, table := range slices.Sorted(maps.Keys(l.tables)) {
		if stage.reads(table) {
			from += table + "=" + l.tables[table] + ";"
		}
	}
	switch stage {
	case StageIngest:
		from += l.file
	case StageRecommend, StageBacktest:
		from += l.strategy + l.symbols
	default:
		from += l.symbols
	}
	if stage == StageBacktest {
		l.tables["backtest_summary"] = durable.Digest([]byte(from + strings.Join(args, " ") + l.code)) // the latest
		l.own[runID] = true
		return
	}
	for _, table := range stage.Writes() {
		if table == "rejects" || table == "ohlcv_revisions" || table == "proposals" {
			continue
		}
		l.write(runID, table, durable.Digest([]byte(table+from+strings.Join(args, " ")+l.code)))
	}
}

func (l *playLab) inputs(stage Stage) stageInputs {
	in := stageInputs{Code: l.code, Files: map[string]string{}, Meta: map[string]string{}}
	switch stage {
	case StageIngest:
		in.Files["f"] = l.file
	case StageRecommend, StageBacktest:
		in.Files["s"] = l.strategy
		in.Meta["symbols"] = l.symbols
	default:
		in.Meta["symbols"] = l.symbols
	}
	return in
}

// run runs the chain; failAt is a stage that fails after it has written.
func (l *playLab) run(args []string, force bool, failAt Stage) {
	ctx := context.Background()
	for _, stage := range []Stage{StageIngest, StageFeatures, StageLabels, StageRecommend, StageBacktest} {
		if !force {
			id, err := standingRun(ctx, l.meta, stage, args, l.inputs(stage), l.state())
			if err != nil {
				l.t.Fatal(err)
			}
			if id != "" {
				l.skipped++
				continue
			}
		}
		l.ran++
		id := l.newRun()
		notes := stageNotes(stage, args, l.inputs(stage), l.state())
		started := quant.NewTime(time.Date(2026, 1, 15, 9, 30, l.runs, 0, time.UTC))
		if err := l.meta.CreateRun(ctx, quant.Run{RunID: id, Kind: string(stage), Status: quant.Running, StartedAt: started}, quant.RunProcess{RunID: id, Changes: true}); err != nil {
			l.t.Fatal(err)
		}
		l.compute(stage, args, id)
		for i := range notes {
			notes[i].RunID = id
		}
		end := metastore.RunEnd{RunID: id, Status: quant.Success, EndedAt: started, IO: notes}
		if stage == failAt {
			end.Status, end.ErrorText = quant.Fail, "failed"
		}
		if err := l.meta.FinishRun(ctx, end); err != nil {
			l.t.Fatal(err)
		}
		if stage == failAt {
			return
		}
	}
}

func TestSkippingGivesTheFactsThatRunningEverythingGives(t *testing.T) {
	t.Parallel()
	rounds := soak.Count(t, 4, 300)
	start := soak.Seed(t)
	for n := range uint64(rounds) {
		random := rand.New(rand.NewPCG(start, n))
		l := newPlayLab(t)
		for change := range 15 {
			what := random.IntN(9)
			some := fmt.Sprint(random.IntN(3))
			switch what {
			case 0:
				l.file = "f" + some
			case 1:
				l.strategy = "s" + some
			case 2:
				l.code = "c" + some
			case 3:
				l.symbols = "y" + some
			case 4:
				l.write("by hand", "ohlcv", "h"+some)
			case 5:
				l.write("by hand", []string{"features_daily", "returns", "labels", "targets", "target_sets", "predictions", "something_new"}[random.IntN(7)], "h"+some)
			case 6:
				l.run([]string{"another", some}, false, "")
			case 7:
				l.run([]string{"args"}, false, Stages()[random.IntN(7)])
			default: // nothing
			}
			before := *l
			before.tables, before.newest, before.own = maps.Clone(l.tables), maps.Clone(l.newest), maps.Clone(l.own)
			l.run([]string{"args"}, false, "")
			before.runs = 1000 + 100*change // its runs stay apart
			forced := before
			other := newPlayLab(t)
			forced.meta = other.meta
			forced.run([]string{"args"}, true, "")
			if !maps.Equal(l.tables, forced.tables) {
				t.Fatalf("round %d, change %d (%d): skipping gives %v, running %v", n, change, what, l.tables, forced.tables)
			}
		}
		if l.skipped == 0 || l.ran == 0 {
			t.Fatalf("round %d shows nothing: %d skipped, %d ran", n, l.skipped, l.ran)
		}
	}
}

func TestASecondUnchangedRunSkipsEveryStage(t *testing.T) {
	t.Parallel()
	l := newPlayLab(t)
	l.run([]string{"args"}, false, "")
	ran := l.ran
	l.run([]string{"args"}, false, "")
	if l.ran != ran || l.skipped != ran {
		t.Fatalf("of %d stages %d were skipped, and %d ran again", ran, l.skipped, l.ran-ran)
	}
}

func TestTwoPipelinesThatTakeTurnsComeToRestOnceEachHasRunTwice(t *testing.T) {
	t.Parallel()
	l := newPlayLab(t)
	// They compute the same tables from the same arguments but for the backtest,
	// so that neither undoes what the other did.
	for range 2 {
		l.run([]string{"a"}, false, "")
	}
	ran := l.ran
	l.run([]string{"a"}, false, "")
	if l.ran != ran {
		t.Fatal("it does not come to rest")
	}
}

func TestTheStateOfATableIsItsNewestChangeInTheLedger(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, err := factstore.OpenWrite(ctx, factstore.Options{Path: filepath.Join(t.TempDir(), "q.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	write := func(runID, statement string) {
		t.Helper()
		if err := factstoretest.Write(ctx, db, runID, statement); err != nil {
			t.Fatal(err)
		}
	}
	at := func(table string) string {
		t.Helper()
		state, err := readState(ctx, db)
		if err != nil {
			t.Fatal(err)
		}
		return state.at(table)
	}
	if got := at("ohlcv"); got != "ledger:none" {
		t.Fatalf("an empty table stands at %s", got)
	}
	write("r1", "INSERT INTO ohlcv (symbol, ts) VALUES ('A', DATE '2024-01-02')")
	first := at("ohlcv")
	write("r2", "INSERT INTO labels VALUES ('A', DATE '2024-01-02', 'l', 1, 'v1')")
	if at("ohlcv") != first || !strings.HasSuffix(first, "Z r1") {
		t.Fatalf("ohlcv stands at %s, then %s", first, at("ohlcv"))
	}
	write("r3", "INSERT INTO ohlcv (symbol, ts) VALUES ('A', DATE '2024-01-03')")
	if got := at("ohlcv"); got == first || !strings.HasSuffix(got, " r3") {
		t.Fatalf("changed, it stands at %s", got)
	}
	write("r4", "INSERT INTO backtest_summary (run_id) VALUES ('r4')")
	if got := at("backtest_summary"); got != "ledger:none" {
		t.Fatalf("another run's own rows are news: %s", got)
	}
	state, err := readState(ctx, db)
	if err != nil || !state.own["r4"] {
		t.Fatalf("r4 is not known to have a backtest: %v", err)
	}
	write("r5", "DELETE FROM backtest_summary")
	if got := at("backtest_summary"); !strings.HasSuffix(got, " r5") {
		t.Fatalf("a deletion is no news: %s", got)
	}
}
