package facts

import (
	"context"
	"sync"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/lab"
)

// The bounds of a Shared that leaves them 0.
const (
	sharedMemory  = 256 << 20
	sharedReads   = 4
	sharedQueries = 2
	sharedWait    = time.Second
	sharedGrace   = 300 * time.Millisecond
	sharedIdle    = 100 * time.Millisecond
	sharedLongest = 30 * time.Second

	lookEvery = 20 * time.Millisecond // for writers that wait
)

// Shared is the one opening of the Fact DB that all reads of a process share, so that a
// process which lives long may read whenever it likes: it is opened late, closed when
// nobody reads, and given up to any process that waits to write.
//
// A writer that waits stops new reads at once. Those that run may finish for Grace;
// then they are interrupted and end with quant.Locked. Reads come back when the writer
// is gone.
//
// The fields are set before the first use. Its methods may be called from any
// goroutine.
type Shared struct {
	Lab    *lab.Lab
	Memory int64 // bytes that the engine may hold, for all reads together; 0: 256 MiB
	Reads  int   // at once; others wait for their turn; 0: 4
	// Queries is how many processes that Yielding runs may read at once, beside Reads;
	// 0: 2.
	Queries int
	// Wait is how long a read waits for a writer, or for its turn; 0: 1 s.
	Wait time.Duration
	// Grace is how long reads may go on while a writer waits; 0: 300 ms.
	Grace time.Duration
	// Idle is how long it stays open after the last read; 0: 100 ms.
	Idle time.Duration
	// Longest is how long one read may take; 0: 30 s.
	Longest time.Duration

	once    sync.Once
	turn    chan struct{}
	queries chan struct{}

	mu       sync.Mutex
	changed  chan struct{} // closed and made anew at every change
	open     *opening
	starting bool
	aside    int // callers of Aside that have not resumed
}

// opening is one opening, from the first read to its end.
type opening struct {
	db      *factstore.DB
	reads   map[*read]bool // that run
	since   time.Time      // of which on nobody reads
	leaving bool           // it takes no more reads
}

// read is one read of an opening.
type read struct {
	life   context.Context
	end    context.CancelCauseFunc // of its life
	made   chan struct{}           // closed once db is set, or is known not to be
	db     *factstore.DB
	closed chan struct{} // once its connection is
	once   sync.Once
}

// close closes its connection, as soon as what runs on it has ended.
func (r *read) close() {
	<-r.made
	r.once.Do(func() {
		if r.db != nil {
			_ = r.db.Close() // only read from
		}
		close(r.closed)
	})
}

func (s *Shared) settle() {
	s.once.Do(func() {
		s.Memory, s.Reads = orDefault(s.Memory, sharedMemory), orDefault(s.Reads, sharedReads)
		s.Wait, s.Grace, s.Idle, s.Longest = orDefault(s.Wait, sharedWait), orDefault(s.Grace, sharedGrace), orDefault(s.Idle, sharedIdle), orDefault(s.Longest, sharedLongest)
		s.Queries = orDefault(s.Queries, sharedQueries)
		s.turn, s.queries, s.changed = make(chan struct{}, s.Reads), make(chan struct{}, s.Queries), make(chan struct{})
		sharing.Store(s.Lab.FactPath, s)
	})
}

func orDefault[T ~int | ~int64](value, otherwise T) T {
	if value == 0 {
		return otherwise
	}
	return value
}

// Read runs fn with the Fact DB open for reading, beside other reads. Errors: those of
// factstore.OpenRead; quant.Locked where a writer holds the Fact DB, or interrupted
// the read, after which fn's results are not to be used; quant.Failed after Longest;
// those of fn. The end of ctx ends a wait, not fn.
func (s *Shared) Read(ctx context.Context, fn func(db *factstore.DB) error) error {
	s.settle()
	return s.read(ctx, s.Wait, fn)
}

func (s *Shared) read(ctx context.Context, wait time.Duration, fn func(db *factstore.DB) error) error {
	s.settle()
	deadline := time.Now().Add(wait)
	release, err := takeTurn(ctx, s.turn, wait)
	if err != nil {
		return err
	}
	defer release()
	o, r, err := s.enter(ctx, deadline)
	if err != nil {
		return err
	}
	defer s.leave(o, r)
	limit := time.AfterFunc(s.Longest, func() {
		r.end(quant.Errorf(quant.Failed, "reading the Fact DB took longer than %s", s.Longest).WithHint("ask for fewer symbols or days"))
	})
	defer limit.Stop()
	r.db, err = o.db.Beside(ctx, r.life)
	close(r.made)
	if err != nil {
		return err
	}
	err = explained(r.db, fn(r.db))
	if cause := context.Cause(r.life); cause != nil {
		return cause
	}
	return err
}

func takeTurn(ctx context.Context, turn chan struct{}, wait time.Duration) (release func(), err error) {
	release = func() { <-turn }
	select {
	case turn <- struct{}{}:
		return release, nil
	default:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case turn <- struct{}{}:
		return release, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-timer.C:
		return nil, quant.Errorf(quant.Locked, "%s at once read the Fact DB, and none has ended", quant.Count(cap(turn), "request")).WithHint("try again in a moment")
	}
}

// enter takes part in the opening, and makes it where there is none.
func (s *Shared) enter(ctx context.Context, deadline time.Time) (*opening, *read, error) {
	for {
		s.mu.Lock()
		if s.open != nil && !s.open.leaving && s.aside == 0 {
			r := &read{made: make(chan struct{}), closed: make(chan struct{})}
			r.life, r.end = context.WithCancelCause(context.Background())
			s.open.reads[r] = true
			o := s.open
			s.mu.Unlock()
			return o, r, nil
		}
		start := s.open == nil && !s.starting && s.aside == 0
		if start {
			s.starting = true
		}
		changed := s.changed
		s.mu.Unlock()
		if start {
			if err := s.start(ctx, time.Until(deadline)); err != nil {
				return nil, nil, err
			}
			continue
		}
		timer := time.NewTimer(time.Until(deadline))
		select {
		case <-changed:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return nil, nil, context.Cause(ctx)
		case <-timer.C:
			pid, _ := factstore.Wanted(s.Lab.FactPath)
			return nil, nil, s.written(ctx, pid, "")
		}
	}
}

// start makes the opening. The caller has set starting.
func (s *Shared) start(ctx context.Context, wait time.Duration) error {
	o := where(s.Lab.Place)
	o.Wait, o.Yields, o.Newest, o.Now, o.MemoryLimit = max(wait, 0), true, true, s.Lab.Now, s.Memory
	db, err := factstore.OpenRead(ctx, o)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starting = false
	defer s.tell()
	if err != nil {
		if quant.CodeOf(err) == quant.Locked && ctx.Err() == nil {
			pid, program := factstore.Holder(err)
			return s.written(ctx, pid, program)
		}
		return err
	}
	s.open = &opening{db: db, reads: map[*read]bool{}, since: time.Now()}
	go s.keep(s.open)
	return nil
}

// written says that somebody writes.
func (s *Shared) written(ctx context.Context, pid int, program string) error {
	by := "another process"
	if pid != 0 {
		by = (&Store{Lab: s.Lab}).Holder(context.WithoutCancel(ctx), pid, program)
	}
	return quant.Errorf(quant.Locked, "the Fact DB is being written by %s", by).WithHint("try again in a moment")
}

// tell wakes who waits for a change. The caller holds mu.
func (s *Shared) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// leave ends a read.
func (s *Shared) leave(o *opening, r *read) {
	r.end(nil)
	r.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(o.reads, r)
	if len(o.reads) == 0 {
		o.since = time.Now()
	}
	if o.leaving {
		s.tell()
	}
}

// keep watches over an opening, and ends it.
func (s *Shared) keep(o *opening) {
	for {
		time.Sleep(lookEvery)
		pid, wanted := factstore.Wanted(s.Lab.FactPath)
		s.mu.Lock()
		wanted = wanted || s.aside > 0
		o.leaving = wanted || len(o.reads) == 0 && time.Since(o.since) >= s.Idle
		leaving := o.leaving
		s.mu.Unlock()
		if leaving {
			s.finish(o, pid)
			return
		}
	}
}

// finish closes an opening that takes no more reads: it lets those that run finish for
// Grace, and interrupts them then.
func (s *Shared) finish(o *opening, pid int) {
	grace := time.NewTimer(s.Grace)
	defer grace.Stop()
	for over := false; !over; {
		s.mu.Lock()
		over = len(o.reads) == 0
		changed := s.changed
		s.mu.Unlock()
		if over {
			break
		}
		select {
		case <-changed:
		case <-grace.C:
			over = true
		}
	}
	s.mu.Lock()
	left := make([]*read, 0, len(o.reads))
	for r := range o.reads {
		left = append(left, r)
	}
	s.mu.Unlock()
	if len(left) > 0 {
		cause := s.written(context.Background(), pid, "")
		for _, r := range left {
			r.end(cause)
		}
		for _, r := range left {
			go r.close()
		}
		for _, r := range left {
			<-r.closed
		}
	}
	_ = o.db.Close() // only read from
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = nil
	s.tell()
}

// Aside gives the Fact DB up to this process itself, which will open it on its own, until
// resume is called. The end of ctx ends the wait. Readers of a lake are in nobody's way.
func (s *Shared) Aside(ctx context.Context) (resume func(), err error) {
	s.settle()
	if s.Lab.FactsURL != "" {
		return func() {}, nil
	}
	return s.giveUp(ctx)
}

func (s *Shared) giveUp(ctx context.Context) (resume func(), err error) {
	s.mu.Lock()
	s.aside++
	s.mu.Unlock()
	resume = sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.aside--
		s.tell()
	})
	for {
		s.mu.Lock()
		gone, changed := s.open == nil && !s.starting, s.changed
		s.mu.Unlock()
		if gone {
			return resume, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			resume()
			return nil, context.Cause(ctx)
		}
	}
}

// Yielding runs fn, which lets another process read the Fact DB, as Read does: it waits
// for writers first, and the context that fn is given ends with quant.Locked when one
// has waited for Grace. fn must let the file go then, and return the context's cause.
func (s *Shared) Yielding(ctx context.Context, fn func(ctx context.Context) error) error {
	s.settle()
	release, err := takeTurn(ctx, s.queries, s.Wait)
	if err != nil {
		return err
	}
	defer release()
	for begun := time.Now(); ; {
		pid, wanted := factstore.Wanted(s.Lab.FactPath)
		switch {
		case !wanted:
		case time.Since(begun) >= s.Wait:
			return s.written(ctx, pid, "")
		default:
			select {
			case <-time.After(lookEvery):
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		break
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for seen := time.Duration(0); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			pid, wanted := factstore.Wanted(s.Lab.FactPath)
			if !wanted {
				seen = 0
			} else if seen += lookEvery; seen >= s.Grace {
				end(s.written(context.WithoutCancel(ctx), pid, ""))
				return
			}
		}
	}()
	return fn(ctx)
}

// Close gives the Fact DB up for good: it ends the reads that run after Grace, and later
// ones do not start.
func (s *Shared) Close() {
	_, _ = s.giveUp(context.Background())
	sharing.CompareAndDelete(s.Lab.FactPath, s)
}

// sharing are the Shared of this process, by the path of their Fact DB: what a process
// may open once, it opens once, whoever asks.
var sharing sync.Map
