package share

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/lab"
	"quant/internal/lab/facts"
	"quant/internal/lab/place"
	"quant/internal/sandbox"
	"quant/internal/test/labtest"
)

// heavy takes minutes on any machine.
const heavy = "SELECT sum(a.close * b.close / (c.close + 1)) FROM ohlcv a, ohlcv b, ohlcv c"

func begin(t *testing.T) (*labtest.Lab, *facts.Shared) {
	t.Helper()
	l := labtest.New(t)
	l.Write("prices.csv", labtest.PriceFile(0, 500, "AAA", "BBB", "CCC", "가나다"))
	l.Must("ingest", "prices.csv")
	at := place.In(l.Path("data"))
	opened := lab.New(lab.Options{Place: at, Facts: facts.Committed(at)})
	labtest.Must(t, opened.Open(t.Context(), false))
	t.Cleanup(func() { labtest.Must(t, opened.Close()) })
	shared := &facts.Shared{Lab: opened}
	t.Cleanup(shared.Close)
	return l, shared
}

func count(ctx context.Context, s *facts.Shared) (n int64, err error) {
	err = s.Read(ctx, func(db *factstore.DB) error {
		return db.QueryRow(ctx, "SELECT count(*) FROM ohlcv").Scan(&n)
	})
	return n, err
}

// Writers of other processes come through within a second beside short reads without
// end and a read that would take minutes; no write fails; reading goes on behind each.
func TestWritersComeThroughReads(t *testing.T) {
	l, shared := begin(t)
	ctx, stop := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	var good, locked, cut atomic.Int64
	for range 3 {
		reading.Go(func() {
			for ctx.Err() == nil {
				switch n, err := count(ctx, shared); {
				case err == nil && n < 2000:
					t.Errorf("a read sees %d bars, not all that were there before it", n)
				case err == nil:
					good.Add(1)
				case quant.CodeOf(err) == quant.Locked:
					locked.Add(1)
				case ctx.Err() == nil:
					t.Errorf("a read fails: %v", err)
				}
			}
		})
	}
	reading.Go(func() {
		for ctx.Err() == nil {
			err := shared.Read(ctx, func(db *factstore.DB) error {
				var sum float64
				return db.QueryRow(ctx, heavy).Scan(&sum)
			})
			if quant.CodeOf(err) == quant.Locked {
				cut.Add(1)
			} else if ctx.Err() == nil {
				t.Errorf("the long read ends with %v", err)
			}
		}
	})
	time.Sleep(300 * time.Millisecond)
	const writes = 6
	for i := range writes {
		before := good.Load()
		for deadline := time.Now().Add(20 * time.Second); good.Load() < before+20; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("before write %d reading has not come back within 20 s: %d good, %d locked", i, good.Load(), locked.Load())
			}
		}
		time.Sleep(150 * time.Millisecond) // the long read is back, too
		l.Write("prices.csv", labtest.PriceFile(i+1, 500, "AAA", "BBB", "CCC", "가나다"))
		// It fails if it waits longer than a second.
		l.Must("ingest", "prices.csv", "--wait", "1s")
	}
	stop()
	reading.Wait()
	t.Logf("%d reads, %d told that the Fact DB is written, %d long ones interrupted by %d writes", good.Load(), locked.Load(), cut.Load(), writes)
	if cut.Load() < writes-1 {
		t.Errorf("%d long reads were interrupted by %d writes", cut.Load(), writes)
	}
}

// While a process writes, a read waits for its time, and says which run writes.
func TestReadsSayWhoWrites(t *testing.T) {
	l, shared := begin(t)
	shared.Wait = 100 * time.Millisecond
	symbols := make([]string, 60)
	for i := range symbols {
		symbols[i] = fmt.Sprintf("S%02d", i)
	}
	l.Write("many.csv", labtest.PriceFile(3, 4000, symbols...))
	writer := l.Start(nil, "ingest", "many.csv")
	told := ""
	for told == "" {
		begun := time.Now()
		_, err := count(t.Context(), shared)
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("a read beside a writer takes %v", took)
		}
		if quant.CodeOf(err) == quant.Locked {
			told = err.Error()
		} else if err != nil {
			t.Fatal(err)
		}
		select {
		case <-writer.Done:
			t.Fatalf("no read met the writer\n%s", writer.Stderr)
		default:
		}
	}
	<-writer.Done
	if run := l.RunOf("ingest"); !strings.Contains(told, "run "+quant.ShortID(run.ID)+" (ingest)") {
		t.Errorf("a read beside run %s says %q", run.ID, told)
	}
	if n, err := count(t.Context(), shared); err != nil || n != 2000+60*4000 {
		t.Errorf("after the writer a read gives %d, %v", n, err)
	}
}

// Reads of one process see one opening, which ends soon after the last.
func TestOpeningEndsWhenIdle(t *testing.T) {
	l, shared := begin(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := count(t.Context(), shared); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	time.Sleep(400 * time.Millisecond)
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: l.Facts()}) // does not wait
	if err != nil {
		t.Fatalf("idle, it is still open: %v", err)
	}
	labtest.Must(t, db.Close())
}

// TEMP tables and held columns of one read are its own.
func TestReadsAreApart(t *testing.T) {
	_, shared := begin(t)
	ctx := t.Context()
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			err := shared.Read(ctx, func(db *factstore.DB) error {
				if _, err := db.Stage(ctx, fmt.Sprintf("CREATE TEMP TABLE mine AS SELECT %d AS i", i)); err != nil {
					return err
				}
				relation, release, err := db.Hold(factstore.Column{Name: "x", Integers: []int32{int32(i), 1}})
				if err != nil {
					return err
				}
				defer release()
				var staged, held int
				if err := db.QueryRow(ctx, "SELECT (SELECT i FROM mine), (SELECT sum(x) FROM "+relation+")").Scan(&staged, &held); err != nil {
					return err
				}
				if staged != i || held != i+1 {
					return fmt.Errorf("read %d sees %d and %d", i, staged, held)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// A read takes no longer than it may, and ends at once with its request.
func TestReadsAreBounded(t *testing.T) {
	_, shared := begin(t)
	shared.Longest = 300 * time.Millisecond
	read := func(ctx context.Context) (time.Duration, error) {
		begun := time.Now()
		err := shared.Read(ctx, func(db *factstore.DB) error {
			var sum float64
			return db.QueryRow(ctx, heavy).Scan(&sum)
		})
		return time.Since(begun), err
	}
	if took, err := read(t.Context()); err == nil || !strings.Contains(err.Error(), "longer than 300ms") || took > 30*time.Second {
		t.Errorf("a long read ends with %v after %v", err, took)
	}
	shared.Longest = time.Minute
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if took, err := read(ctx); err == nil || took > 30*time.Second {
		t.Errorf("a read whose request ended goes on: %v after %v", err, took)
	}
}

// The process itself may write: its own reads stand aside.
func TestOwnWritesComeThrough(t *testing.T) {
	_, shared := begin(t)
	if _, err := count(t.Context(), shared); err != nil {
		t.Fatal(err)
	}
	store := facts.Store{Lab: shared.Lab, Shared: shared}
	err := store.Write(t.Context(), func(db *factstore.DB) error {
		_, err := db.Write(t.Context(), "r", func(context.Context, *factstore.Tx) error { return nil })
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := count(t.Context(), shared); err != nil || n != 2000 {
		t.Errorf("after it a read gives %d, %v", n, err)
	}
}

// A query in a process of its own gives the Fact DB up to a writer as well.
func TestQueriesYield(t *testing.T) {
	l, shared := begin(t)
	ended := make(chan error, 1)
	go func() {
		ended <- shared.Yielding(t.Context(), func(ctx context.Context) error {
			var out strings.Builder
			_, err := sandbox.Run(ctx, sandbox.Request{Store: sandbox.Fact, Path: l.Facts(), SQL: heavy, Format: sandbox.JSON}, &out)
			return err
		})
	}()
	time.Sleep(500 * time.Millisecond)
	l.Write("prices.csv", labtest.PriceFile(1, 500, "AAA"))
	l.Must("ingest", "prices.csv", "--wait", "1s")
	select {
	case err := <-ended:
		if quant.CodeOf(err) != quant.Locked || !strings.Contains(err.Error(), "written by") {
			t.Errorf("the query ends with %v", err)
		}
	case <-time.After(60 * time.Second):
		t.Error("the query goes on")
	}
}

// What is missing is said as ever.
func TestNoFactDB(t *testing.T) {
	l := labtest.New(t)
	l.Must("symbols", "add", "AAA")
	at := place.In(l.Path("data"))
	opened := lab.New(lab.Options{Place: at})
	labtest.Must(t, opened.Open(t.Context(), false))
	t.Cleanup(func() { labtest.Must(t, opened.Close()) })
	shared := &facts.Shared{Lab: opened}
	if _, err := count(t.Context(), shared); !errors.Is(err, factstore.ErrMissing) {
		t.Errorf("without a Fact DB: %v", err)
	}
	shared.Close()
	if _, err := count(t.Context(), shared); err == nil {
		t.Error("a read after Close is answered")
	}
}
