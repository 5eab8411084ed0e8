package pipeline_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"quant"
	"quant/internal/backtest"
	"quant/internal/factstore"
	"quant/internal/pipeline"
	"quant/internal/session/sessiontest"
)

func TestTheLabKeepsWhatItKnowsOfDelistings(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	if list, err := pipeline.Delistings(s.Session); err != nil || list == nil || len(list) != 0 {
		t.Fatalf("of a lab that knows nothing: %v, %v", list, err)
	}
	file := s.Write("known.csv", "symbol,date,return,reason\n005930,2024-03-04,-0.95,상장폐지\nAAPL,2024-01-02,,\n")
	list, err := pipeline.ReadDelistings(s.Session, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	done, err := pipeline.AddDelistings(t.Context(), s.Session, list)
	if err != nil || len(done.Added) != 2 || done.Removed == nil {
		t.Fatalf("%+v, %v", done, err)
	}
	if done, err = pipeline.AddDelistings(t.Context(), s.Session, list); err != nil || len(done.Unchanged) != 2 || len(done.Added)+len(done.Updated) != 0 {
		t.Errorf("again: %+v, %v", done, err)
	}
	text, err := os.ReadFile(s.DelistingsFile())
	if want := "symbol,kind,date,end,return,reason\n005930,delisting,2024-03-04,,-0.95,상장폐지\nAAPL,delisting,2024-01-02,,,\n"; err != nil || string(text) != want {
		t.Errorf("%q, %v", text, err)
	}
	bad := []backtest.Known{{Symbol: "B", Kind: backtest.KindHalt, Date: 1}, {Symbol: "B", Kind: "gone", Date: 9}}
	if _, err := pipeline.AddDelistings(t.Context(), s.Session, bad); !errors.Is(err, quant.Invalid) {
		t.Errorf("%v", err)
	}
	if _, err := pipeline.RemoveDelistings(t.Context(), s.Session, []string{"AAPL", "MSFT"}, nil); !errors.Is(err, quant.NotFound) {
		t.Errorf("%v", err)
	}
	if again, err := os.ReadFile(s.DelistingsFile()); err != nil || string(again) != string(text) {
		t.Errorf("what was refused changed %q, %v", again, err)
	}
	other := quant.Date(18262)
	if _, err := pipeline.RemoveDelistings(t.Context(), s.Session, []string{"AAPL"}, &other); !errors.Is(err, quant.NotFound) {
		t.Errorf("%v", err)
	}
	if done, err = pipeline.RemoveDelistings(t.Context(), s.Session, []string{"AAPL", "005930"}, nil); err != nil || len(done.Removed) != 2 {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := os.Stat(s.DelistingsFile()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing is known, and there is a file: %v", err)
	}
	if _, err := pipeline.ReadDelistings(s.Session, file+"x", nil); !errors.Is(err, quant.NotFound) {
		t.Errorf("%v", err)
	}
	if _, err := pipeline.ReadDelistings(s.Session, t.TempDir(), nil); !errors.Is(err, quant.Invalid) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(s.DelistingsFile(), []byte("symbol,date\nA,soon\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pipeline.Delistings(s.Session); !errors.Is(err, quant.Invalid) || !strings.Contains(err.Error(), s.DelistingsFile()) || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("%v", err)
	}
	if _, err := pipeline.AddDelistings(t.Context(), s.Session, list); !errors.Is(err, quant.Invalid) {
		t.Errorf("a file that cannot be read was replaced: %v", err)
	}
}

func TestManyWritersOfDelistingsLoseNothing(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := pipeline.AddDelistings(t.Context(), s.Session, []backtest.Known{{Symbol: "S" + string(rune('A'+i)), Kind: backtest.KindDelisting, Date: 100}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if list, err := pipeline.Delistings(s.Session); err != nil || len(list) != 20 {
		t.Errorf("%d of 20, %v", len(list), err)
	}
}

// What becomes known makes the backtest run again, and nothing else; a recorded run
// is repeated with what it knew.
func TestABacktestIsMadeAgainWhenADelistingBecomesKnown(t *testing.T) {
	t.Parallel()
	s, o, first := ranLab(t, byFeature)
	read := func(id string) (b backtest.Stored) {
		t.Helper()
		if err := s.ReadFacts(t.Context(), func(db *factstore.DB) (err error) {
			b, err = backtest.Read(t.Context(), db, id)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return b
	}
	before := read(first.Backtest.RunID)
	middle := *before.FromTS + (*before.ToTS-*before.FromTS)/2
	var known []backtest.Known
	for _, symbol := range []string{"A", "B", "C", "D", "E"} {
		known = append(known, backtest.Known{Symbol: symbol, Kind: backtest.KindDelisting, Date: middle, Return: new(-0.5)})
	}
	if _, err := pipeline.AddDelistings(t.Context(), s.Session, known); err != nil {
		t.Fatal(err)
	}
	second, _ := mustRunChain(t, s, pipeline.InProcess{}, o)
	for i, stage := range second.Stages {
		if ran := stage.RunID != first.Stages[i].RunID; ran != (stage.Stage == pipeline.StageBacktest) {
			t.Errorf("%s: %+v", stage.Stage, stage)
		}
	}
	after := read(second.Backtest.RunID)
	if after.ResultDigest == before.ResultDigest || after.Metrics.Delisted == 0 || len(after.Known) == 0 || len(after.Delistings) == 0 {
		t.Errorf("%+v", after.Details)
	}
	run := s.Recorded(second.Backtest.RunID)
	if !slices.Contains(run.Names(quant.In), "table "+backtest.KnownName) {
		t.Errorf("it read %v", run.Names(quant.In))
	}
	for _, ref := range []string{first.Backtest.RunID, second.Backtest.RunID} {
		if repeated, err := pipeline.Repeat(t.Context(), s.Session, pipeline.InProcess{}, ref); err != nil || !repeated.Same {
			t.Errorf("%+v, %v", repeated, err)
		}
	}
	if _, err := pipeline.RemoveDelistings(t.Context(), s.Session, []string{"A", "B", "C", "D", "E"}, nil); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{second.Backtest.RunID, second.RunID} {
		if repeated, err := pipeline.Repeat(t.Context(), s.Session, pipeline.InProcess{}, ref); err != nil || !repeated.Same {
			t.Errorf("%+v, %v", repeated, err)
		}
		if !s.Heard.Has("the delistings that the lab knows have changed since run " + quant.ShortID(ref)) {
			t.Errorf("it said %q", s.Heard.All())
		}
	}
	third, _ := mustRunChain(t, s, pipeline.InProcess{}, o)
	if b := read(third.Backtest.RunID); b.ResultDigest != before.ResultDigest {
		t.Errorf("nothing is known any more, and the result is %+v", b.Details)
	}
}
