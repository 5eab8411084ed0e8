package logstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
)

// fakeClock stands still until it is advanced.
type fakeClock struct {
	mu     sync.Mutex
	at     time.Time
	timers map[*fakeTimer]bool
}

type fakeTimer struct {
	at time.Time
	f  func()
}

func newClock() *fakeClock {
	return &fakeClock{at: time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC), timers: map[*fakeTimer]bool{}}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *fakeClock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &fakeTimer{c.at.Add(d), f}
	c.timers[t] = true
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		was := c.timers[t]
		delete(c.timers, t)
		return was
	}
}

// advance lets time pass and waits for what it starts.
func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	c.at = c.at.Add(d)
	var due []*fakeTimer
	for t := range c.timers {
		if !t.at.After(c.at) {
			due = append(due, t)
			delete(c.timers, t)
		}
	}
	c.mu.Unlock()
	for _, t := range due {
		t.f()
	}
}

// fakeSink keeps what it is given. errs are its answers, one a call, the last of
// them for all that follow; refuse names values that it never stores.
type fakeSink struct {
	mu      sync.Mutex
	batches []string // the values of points, "r" before those of the run r
	errs    []error
	refuse  map[float64]error
	calls   int
	during  func(ctx context.Context) // called within Log
}

func (s *fakeSink) Log(ctx context.Context, runID string, b metastore.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.during != nil {
		s.during(ctx)
	}
	if len(s.errs) > 0 {
		err := s.errs[0]
		if len(s.errs) > 1 {
			s.errs = s.errs[1:]
		}
		if err != nil {
			return err
		}
	}
	var texts []string
	for _, m := range b.Metrics {
		if err := s.refuse[m.Value]; err != nil {
			return err
		}
		run := m.RunID
		if run == "" {
			run = runID
		}
		texts = append(texts, fmt.Sprintf("%s%v", run, m.Value))
	}
	s.batches = append(s.batches, strings.Join(texts, " "))
	return nil
}

func (s *fakeSink) stored() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.batches, "|")
}

func point(v float64) Record {
	return Record{Number: int(v), Bytes: 10, Batch: metastore.Batch{Metrics: []quant.MetricPoint{{Name: "loss", Value: v}}}}
}

func points(from, to int) (list []Record) {
	for i := from; i < to; i++ {
		list = append(list, point(float64(i)))
	}
	return list
}

func wantStored(t *testing.T, s *fakeSink, want string) {
	t.Helper()
	if got := s.stored(); got != want {
		t.Errorf("stored %q, want %q", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func batcher(t *testing.T, s *fakeSink, c *fakeClock, l Limits) *Batcher {
	b := NewBatcher(t.Context(), BatcherOptions{Sink: s, Limits: l, Clock: c})
	t.Cleanup(b.Abandon)
	return b
}

var errBusy = quant.Errorf(quant.Locked, "held")

func TestABatchIsStoredWhenItIsLongLargeOrOld(t *testing.T) {
	t.Parallel()
	ctx, clock, sink := t.Context(), newClock(), &fakeSink{}
	b := batcher(t, sink, clock, Limits{Records: 3, Bytes: 45, Age: time.Second})
	must(t, b.Add(ctx, points(1, 3)...))
	wantStored(t, sink, "")
	must(t, b.Add(ctx, point(3)))
	wantStored(t, sink, "1 2 3")

	long := point(4)
	long.Bytes = 45
	must(t, b.Add(ctx, long))
	wantStored(t, sink, "1 2 3|4")

	must(t, b.Add(ctx, point(5)))
	clock.advance(900 * time.Millisecond)
	must(t, b.Add(ctx, point(6))) // the oldest one's age counts
	wantStored(t, sink, "1 2 3|4")
	clock.advance(100 * time.Millisecond)
	wantStored(t, sink, "1 2 3|4|5 6")
	clock.advance(time.Hour)
	must(t, b.Add(ctx, point(7)))
	must(t, b.Flush(ctx))
	clock.advance(time.Hour)
	must(t, b.Close(ctx))
	wantStored(t, sink, "1 2 3|4|5 6|7")
	if sink.calls != 4 {
		t.Errorf("%d commits for 4 batches", sink.calls)
	}
	if err := b.Add(ctx, point(8)); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	must(t, b.Close(ctx))
	if len(clock.timers) != 0 {
		t.Error("a timer is left")
	}
}

func TestWhoWantsToFlushIsToldWhenItIsDue(t *testing.T) {
	t.Parallel()
	ctx, clock, sink := t.Context(), newClock(), &fakeSink{}
	due := 0
	b := NewBatcher(ctx, BatcherOptions{Sink: sink, Limits: Limits{Records: 9, Age: time.Second}, Clock: clock, Due: func() { due++ }})
	must(t, b.Add(ctx, point(1)))
	clock.advance(time.Second)
	must(t, b.Add(ctx, point(2)))
	clock.advance(time.Hour)
	wantStored(t, sink, "")
	if due != 1 {
		t.Errorf("told %d times", due)
	}
	must(t, b.Flush(ctx))
	must(t, b.Add(ctx, point(3)))
	clock.advance(time.Second)
	if due != 2 {
		t.Errorf("told %d times", due)
	}
	must(t, b.Close(ctx))
	wantStored(t, sink, "1 2|3")
}

func TestWhatABusyStoreCannotTakeWaitsInItsOrder(t *testing.T) {
	t.Parallel()
	ctx, clock := t.Context(), newClock()
	for _, busy := range []error{errBusy, quant.Errorf(quant.Store, "the disk is full")} {
		sink := &fakeSink{errs: []error{busy, busy, nil}}
		b := batcher(t, sink, clock, Limits{Records: 2, Age: time.Second})
		must(t, b.Add(ctx, point(1)))
		if err := b.Add(ctx, point(2)); !errors.Is(err, busy) {
			t.Error(err)
		}
		must(t, b.Add(ctx, point(3)))
		if err := b.Add(ctx, point(4)); !errors.Is(err, busy) {
			t.Error(err)
		}
		must(t, b.Add(ctx, point(5)))
		clock.advance(time.Second) // it is tried again without another Add
		wantStored(t, sink, "1 2 3 4 5")
		must(t, b.Close(ctx))
	}
}

func TestAFlushTriesAgainForAWhile(t *testing.T) {
	t.Parallel()
	ctx, clock := t.Context(), newClock()
	sink := &fakeSink{errs: []error{errBusy, errBusy, nil}, during: func(context.Context) { clock.advance(time.Second) }}
	b := batcher(t, sink, clock, Limits{Records: 1, Retry: 10 * time.Second})
	must(t, b.Add(ctx, point(1)))
	wantStored(t, sink, "1")

	sink.errs = []error{errBusy}
	sink.calls = 0
	if err := b.Add(ctx, point(2)); !errors.Is(err, quant.Locked) || sink.calls != 10 {
		t.Errorf("%d tries of a second in 10 seconds: %v", sink.calls, err)
	}
	sink.errs = []error{quant.Errorf(quant.Store, "the disk is full")} // which does not pass by itself
	sink.calls = 0
	if err := b.Flush(ctx); !errors.Is(err, quant.Store) || sink.calls != 1 {
		t.Errorf("%d tries: %v", sink.calls, err)
	}
}

func TestAContextThatEndsStopsTheTryingAndNotTheStoring(t *testing.T) {
	t.Parallel()
	clock := newClock()
	ctx, cancel := context.WithCancel(t.Context())
	sink := &fakeSink{errs: []error{errBusy}}
	sink.during = func(inner context.Context) {
		if inner.Err() != nil {
			t.Error("the commit is given a context that has ended")
		}
		if sink.calls == 3 {
			cancel()
		}
	}
	b := batcher(t, sink, clock, Limits{Records: 9, Retry: time.Hour})
	must(t, b.Add(ctx, point(1)))
	if err := b.Flush(ctx); !errors.Is(err, quant.Locked) || sink.calls != 3 {
		t.Errorf("%d tries: %v", sink.calls, err)
	}
	sink.errs = nil
	must(t, b.Add(ctx, point(2)))
	must(t, b.Flush(ctx)) // stored although ctx has ended
	wantStored(t, sink, "1 2")
}

func TestWhatNobodyWaitedForIsToldByWhatComesNext(t *testing.T) {
	t.Parallel()
	ctx, clock, sink := t.Context(), newClock(), &fakeSink{errs: []error{errBusy}}
	b := batcher(t, sink, clock, Limits{Records: 9, Age: time.Second})
	must(t, b.Add(ctx, point(1)))
	clock.advance(time.Second)
	if err := b.Add(ctx, point(2)); !errors.Is(err, quant.Locked) {
		t.Error(err)
	}
	must(t, b.Add(ctx, point(3))) // told once

	// What could be stored after all is not worth a word; what is lost is.
	clock.advance(time.Second)
	sink.errs = nil
	clock.advance(time.Second)
	must(t, b.Add(ctx, point(4)))
	wantStored(t, sink, "1 2 3")
	sink.errs = []error{quant.Errorf(quant.Conflict, "the run is deleted"), errBusy}
	clock.advance(time.Second)
	must(t, b.Flush(ctx))
	clock.advance(time.Second)
	if err := b.Close(ctx); !errors.Is(err, quant.Conflict) {
		t.Error(err)
	}
	wantStored(t, sink, "1 2 3")
}

func TestMoreThanMemoryMayHoldIsNotTaken(t *testing.T) {
	t.Parallel()
	ctx, clock, sink := t.Context(), newClock(), &fakeSink{errs: []error{errBusy}}
	b := batcher(t, sink, clock, Limits{Records: 2, Retain: 5})
	untaken := 0
	for i := 1; i <= 8; i++ {
		before := b.pending.len()
		err := b.Add(ctx, point(float64(i)))
		if b.pending.len() == before {
			untaken++
			if !errors.Is(err, quant.Locked) {
				t.Errorf("point %d is not taken: %v", i, err)
			}
		}
	}
	if untaken != 3 || b.pending.len() != 5 {
		t.Errorf("%d are not taken, %d wait", untaken, b.pending.len())
	}
	sink.errs = nil
	must(t, b.Add(ctx, point(9)))
	must(t, b.Close(ctx))
	wantStored(t, sink, "1 2 3 4 5|9")

	sink = &fakeSink{errs: []error{errBusy}}
	b = batcher(t, sink, clock, Limits{Records: 9})
	must(t, b.Add(ctx, point(1)))
	if err := b.Close(ctx); !errors.Is(err, quant.Locked) {
		t.Errorf("a point is lost without a word: %v", err)
	}
}

func TestARefusedRecordCostsOnlyItself(t *testing.T) {
	t.Parallel()
	clock := newClock()
	conflict := quant.Errorf(quant.Conflict, "written once")
	var told []string
	sink := &fakeSink{refuse: map[float64]error{3: conflict, 12: conflict}}
	stored := 0
	b := NewBatcher(t.Context(), BatcherOptions{
		Sink: sink, RunID: "r", Limits: Limits{Records: 20}, Clock: clock,
		Stored:  func(batch metastore.Batch, n int) { stored += n },
		Refused: func(number int, err error) error { told = append(told, fmt.Sprintf("%d %v", number, err)); return nil },
	})
	records := points(0, 20)
	for _, at := range []int{1, 7, 19} {
		records[at] = Record{Number: at, Err: errors.New("not JSON")}
	}
	must(t, b.Add(t.Context(), records...))
	if got := strings.Join(told, ", "); got != "1 not JSON, 3 written once, 7 not JSON, 12 written once, 19 not JSON" {
		t.Error(got)
	}
	all := strings.Fields(strings.ReplaceAll(sink.stored(), "|", " "))
	if stored != 15 || len(all) != 15 {
		t.Errorf("%d are stored, %d told: %s", len(all), stored, sink.stored())
	}
	for i, want := 0, 0; i < len(all); i, want = i+1, want+1 {
		for want == 1 || want == 3 || want == 7 || want == 12 {
			want++
		}
		if all[i] != fmt.Sprintf("r%d", want) {
			t.Fatalf("out of order: %v", all)
		}
	}
	// Without anybody to tell, the batch is lost and its error returned.
	sink = &fakeSink{refuse: map[float64]error{2: conflict}}
	b = batcher(t, sink, clock, Limits{Records: 3})
	if err := b.Add(t.Context(), points(0, 3)...); !errors.Is(err, quant.Conflict) {
		t.Error(err)
	}
	must(t, b.Add(t.Context(), points(3, 6)...))
	wantStored(t, sink, "3 4 5")
}

func TestWhatHasBeenStoredIsNotStoredAgain(t *testing.T) {
	t.Parallel()
	// A refusal makes it try halves; then the store gets busy after the first.
	sink := &fakeSink{errs: []error{quant.Errorf(quant.Conflict, "once"), nil, errBusy, nil}}
	stored := 0
	b := NewBatcher(t.Context(), BatcherOptions{
		Sink: sink, Limits: Limits{Records: 4}, Clock: newClock(),
		Stored:  func(_ metastore.Batch, n int) { stored += n },
		Refused: func(number int, err error) error { t.Errorf("%d: %v", number, err); return nil },
	})
	if err := b.Add(t.Context(), points(0, 4)...); !errors.Is(err, quant.Locked) {
		t.Error(err)
	}
	must(t, b.Add(t.Context(), point(4)))
	must(t, b.Close(t.Context()))
	wantStored(t, sink, "0 1|2 3 4")
	if stored != 5 {
		t.Errorf("%d", stored)
	}
}

// lossySink stores what it is given unless it has it already, and loses its answers.
type lossySink struct {
	fakeSink
	lost int // answers that are lost from now on
	have metastore.Mark
}

func (s *lossySink) Log(ctx context.Context, runID string, b metastore.Batch) error {
	if b.Mark.Stream == "" || s.have.Stream != "" && s.have.Stream != b.Mark.Stream {
		return errors.New("another stream")
	}
	if b.Mark.Number > s.have.Number {
		if err := s.fakeSink.Log(ctx, runID, b); err != nil {
			return err
		}
		s.have = b.Mark
	}
	if s.lost > 0 {
		s.lost--
		return &quant.Error{Code: quant.Store, Msg: "the connection is lost", Err: metastore.ErrAway}
	}
	return nil
}

func TestABatchWhoseAnswerWasLostIsSentAgainAsTheBatchThatItWas(t *testing.T) {
	t.Parallel()
	sink, stored := &lossySink{}, 0
	b := NewBatcher(t.Context(), BatcherOptions{
		Sink: sink, Limits: Limits{Records: 2}, Clock: newClock(), Stored: func(_ metastore.Batch, n int) { stored += n },
		Refused: func(number int, err error) error { t.Errorf("%d: %v", number, err); return nil },
	})
	must(t, b.Add(t.Context(), points(0, 2)...))
	sink.lost = 2
	for from := 2; from < 6; from += 2 {
		if err := b.Add(t.Context(), points(from, from+2)...); !errors.Is(err, metastore.ErrAway) {
			t.Fatal(err)
		}
	}
	// The halves of a batch that is refused are batches of their own.
	sink.errs = []error{quant.Errorf(quant.Conflict, "once"), nil}
	sink.lost = 0
	must(t, b.Add(t.Context(), point(6)))
	must(t, b.Close(t.Context()))
	wantStored(t, &sink.fakeSink, "0 1|2 3|4|5 6")
	if stored != 7 {
		t.Errorf("%d", stored)
	}
}

func TestARefusalMayEndIt(t *testing.T) {
	t.Parallel()
	ended := errors.New("strict")
	sink := &fakeSink{refuse: map[float64]error{2: quant.Errorf(quant.Invalid, "bad")}}
	b := NewBatcher(t.Context(), BatcherOptions{
		Sink: sink, Limits: Limits{Records: 4}, Clock: newClock(),
		Refused: func(int, error) error { return ended },
	})
	if err := b.Add(t.Context(), points(0, 4)...); !errors.Is(err, ended) {
		t.Error(err)
	}
	for _, err := range []error{b.Add(t.Context(), point(5)), b.Flush(t.Context())} {
		if !errors.Is(err, ended) {
			t.Error(err)
		}
	}
	wantStored(t, sink, "0 1")
}

func TestManyAddAtOnceAndNothingIsLostOrOutOfOrder(t *testing.T) {
	t.Parallel()
	sink := &fakeSink{errs: []error{nil, errBusy, nil, errBusy, nil}}
	b := NewBatcher(t.Context(), BatcherOptions{Sink: sink, Limits: Limits{Records: 16, Age: time.Millisecond}})
	const writers, each = 8, 500
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				r := point(float64(i))
				r.Batch.Metrics[0].RunID = fmt.Sprintf("w%d:", w)
				if err := b.Add(t.Context(), r); err != nil && !errors.Is(err, quant.Locked) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	must(t, b.Close(t.Context()))
	next := map[string]int{}
	for _, text := range strings.Fields(strings.ReplaceAll(sink.stored(), "|", " ")) {
		writer, number, _ := strings.Cut(text, ":")
		if number != fmt.Sprint(next[writer]) {
			t.Fatalf("%s follows %d", text, next[writer]-1)
		}
		next[writer]++
	}
	for w := range writers {
		if n := next[fmt.Sprintf("w%d", w)]; n != each {
			t.Errorf("writer %d: %d", w, n)
		}
	}
}
