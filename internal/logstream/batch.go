package logstream

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"quant"
	"quant/internal/metastore"
)

// Sink stores batches. *registry.Registry is one.
type Sink interface {
	// Log stores b in one durable commit: all of it or nothing. Entries that name
	// no run are those of runID. It may mask b in place and keeps no part of it.
	// Errors: Invalid, NotFound, Conflict for what will never be stored; Locked,
	// Store for what the store cannot take now.
	Log(ctx context.Context, runID string, b metastore.Batch) error
}

// Clock measures how old a batch is and how long the store has been busy. It is
// not the clock of records, which a test or a replay may stop.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f in a goroutine of its own once d has passed, unless stop is
	// called before.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// systemClock is the Clock of the machine.
type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d, f).Stop
}

// Record is what is stored or refused together: a line, a point.
type Record struct {
	Number int // for Refused; later records have higher ones
	Bytes  int // its share of Limits.Bytes
	Batch  metastore.Batch
	Err    error // not nil: it is refused already, and takes its turn among the others
}

// Limits say when a Batcher stores, and what it does while it cannot.
type Limits struct {
	Records int           // a batch is stored once it has so many records,
	Bytes   int           // or so many bytes (0: any),
	Age     time.Duration // or its oldest record has waited so long
	// Retain is how many records wait at most while the store cannot take them:
	// beyond that, Add takes no more. 0: any number.
	Retain int
	// Retry is how long one Flush tries a batch again that is Locked, after the
	// store has waited itself. 0: not at all.
	Retry time.Duration
}

// BatcherOptions are what a Batcher works with. Only Sink is required.
type BatcherOptions struct {
	Sink   Sink
	RunID  string // of entries that name no run
	Limits Limits
	Clock  Clock // nil: the system's

	// Stored is told what each commit held, in how many records. It must not keep b.
	Stored func(b metastore.Batch, records int)
	// Refused is told of each record that will never be stored, in their order; the
	// others of its batch are stored. Its error is the Flush's and ends the Batcher:
	// nothing after that record is stored. nil: what the store refuses costs the
	// whole batch, and the Flush returns the store's error.
	Refused func(number int, err error) error
	// Due is called once the oldest record has waited for Limits.Age, in a goroutine
	// of its own; whoever owns the Batcher flushes it then. nil: the Batcher does it
	// itself, and the next Add or Close returns the error.
	Due func()
}

// ErrClosed is the error of an Add after Close or Abandon.
var ErrClosed = errors.New("the batcher is closed")

// Batcher stores records in batches, in the order in which they were added,
// since a commit costs the same for one record and for thousands. What the store
// cannot take now (Locked, Store) waits in memory for the next time; what it
// refuses is dropped and told. Safe for concurrent use. Close or Abandon it.
type Batcher struct {
	BatcherOptions
	ctx context.Context // of the flushes that nobody asked for

	storing sync.Mutex // keeps batches in order; locked before mu
	mu      sync.Mutex
	pending pile
	spare   pile           // the memory of a batch that is stored
	fresh   int            // records that came since the last Flush
	bytes   int            // and their bytes
	stop    func() bool    // of the age's timer; nil: none runs
	mark    metastore.Mark // of the batch that was sent last; kept by storing
	unsure  int            // how many records pending begins with that are this batch, and may be stored; kept by storing
	failed  error          // of a Flush that nobody waited for
	closed  bool
	refusal error // of Refused: nothing more is stored
}

// NewBatcher returns a Batcher. ctx is that of the flushes that it does by itself:
// its end stops their retrying, not their storing.
func NewBatcher(ctx context.Context, o BatcherOptions) *Batcher {
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	return &Batcher{BatcherOptions: o, ctx: ctx, mark: metastore.Mark{Stream: rand.Text()}}
}

// Add takes records and stores what waits if that is enough. ErrClosed: they are
// not taken. Where Limits.Retain is reached and the store still cannot take what
// waits, they are not taken either, and the error is the store's. Any other error
// is that of what was added before, or of the Flush.
func (b *Batcher) Add(ctx context.Context, records ...Record) error {
	b.mu.Lock()
	for b.Limits.Retain > 0 && b.pending.len() >= b.Limits.Retain && !b.closed {
		b.mu.Unlock()
		if err := b.Flush(ctx); err != nil {
			return err
		}
		b.mu.Lock()
	}
	if b.closed {
		defer b.mu.Unlock()
		return cmp.Or(b.refusal, ErrClosed)
	}
	for _, r := range records {
		b.pending.add(r)
		b.fresh++
		b.bytes += r.Bytes
	}
	if b.pending.len() > 0 {
		b.startTimer()
	}
	full := b.fresh >= b.Limits.Records || b.Limits.Bytes > 0 && b.bytes >= b.Limits.Bytes
	before := b.takeFailure()
	b.mu.Unlock()
	if full {
		return errors.Join(before, b.Flush(ctx))
	}
	return before
}

// startTimer begins to measure the age of what waits. mu is held.
func (b *Batcher) startTimer() {
	if b.stop == nil && b.Limits.Age > 0 && !b.closed {
		b.stop = b.Clock.AfterFunc(b.Limits.Age, b.aged)
	}
}

// takeFailure returns what failed unseen, once. mu is held.
func (b *Batcher) takeFailure() error {
	err := b.failed
	b.failed = nil
	return err
}

// aged stores what has waited long enough, or has it stored.
func (b *Batcher) aged() {
	if b.Due != nil {
		b.Due()
		return
	}
	_ = b.flush(b.ctx, true) // remembered
}

// Flush stores what waits, whatever becomes of ctx, whose end only stops its
// retrying. After Locked and Store what is not stored goes on waiting; after any
// other error it is dropped.
func (b *Batcher) Flush(ctx context.Context) error { return b.flush(ctx, false) }

// flush is Flush; unseen: nobody gets its error, so that it must be remembered.
func (b *Batcher) flush(ctx context.Context, unseen bool) error {
	b.storing.Lock()
	defer b.storing.Unlock()
	b.mu.Lock()
	p := b.pending
	b.pending, b.spare = b.spare, pile{}
	b.fresh, b.bytes = 0, 0
	if b.stop != nil {
		b.stop()
		b.stop = nil
	}
	ended := b.refusal
	b.mu.Unlock()
	if ended != nil {
		return ended
	}
	settled, err := b.storeAll(ctx, &p)
	if err == nil {
		err = b.refuse(&p, nil)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil && waits(b.failed):
		b.failed = nil // what could not be stored then has been now
	case err != nil && unseen && (b.failed == nil || waits(b.failed)):
		b.failed = err // that records are lost is told rather than that they wait
	}
	if waits(err) {
		b.pending = p.from(settled, b.pending)
		b.startTimer()
	} else {
		b.recycle(p)
	}
	return err
}

// recycle keeps the memory of a pile for a later one, unless it is much more than
// a batch needs. mu is held.
func (b *Batcher) recycle(p pile) {
	if cap(p.ends) <= 2*b.Limits.Records {
		b.spare = p.emptied()
	}
}

// storeAll stores the records of p. A batch that was sent to a server which then was away
// goes first, as the batch that it was: it may be stored.
func (b *Batcher) storeAll(ctx context.Context, p *pile) (settled int, err error) {
	if n := b.unsure; n > 0 && n < len(p.ends) {
		if settled, err = b.store(ctx, p, 0, n); err != nil {
			return settled, err
		}
		return b.store(ctx, p, n, len(p.ends))
	}
	return b.store(ctx, p, 0, len(p.ends))
}

// store commits the records of p from lo to hi, and returns up to where they are
// settled. Those that the store refuses are looked for by halves, from the first
// on, so that a record costs only itself.
func (b *Batcher) store(ctx context.Context, p *pile, lo, hi int) (settled int, err error) {
	if lo == hi {
		return hi, nil
	}
	batch := p.batch(lo, hi)
	if lo > 0 || hi != b.unsure {
		b.mark.Number++
	}
	batch.Mark, b.unsure = b.mark, 0
	err = b.commit(ctx, batch)
	if errors.Is(err, metastore.ErrAway) { // it may have been told to commit
		b.unsure = hi - lo // lo is where what waits will begin
	}
	switch {
	case err == nil:
		if b.Stored != nil {
			b.Stored(batch, hi-lo)
		}
		return hi, nil
	case b.Refused == nil || !refuses(err):
		return lo, err
	case hi-lo == 1:
		return hi, b.refuse(p, &refusal{p.ends[lo].number, err})
	}
	middle := lo + (hi-lo)/2
	if settled, err = b.store(ctx, p, lo, middle); err != nil {
		return settled, err
	}
	return b.store(ctx, p, middle, hi)
}

// commit stores a batch, and tries again while others hold the store.
func (b *Batcher) commit(ctx context.Context, batch metastore.Batch) error {
	begun := b.Clock.Now()
	for {
		err := b.Sink.Log(context.WithoutCancel(ctx), b.RunID, batch)
		if !errors.Is(err, quant.Locked) || ctx.Err() != nil || b.Clock.Now().Sub(begun) >= b.Limits.Retry {
			return err
		}
	}
}

// refuse tells of a record that the store refuses, and before it of those that
// were refused when they were added; nil: of all the latter.
func (b *Batcher) refuse(p *pile, last *refusal) error {
	for len(p.refused) > 0 && (last == nil || p.refused[0].number < last.number) {
		first := p.refused[0]
		p.refused = p.refused[1:]
		if err := b.tell(first); err != nil {
			return err
		}
	}
	if last == nil {
		return nil
	}
	return b.tell(*last)
}

func (b *Batcher) tell(r refusal) error {
	if b.Refused == nil {
		return r.err
	}
	err := b.Refused(r.number, r.err)
	if err != nil {
		b.end()
		b.mu.Lock()
		b.refusal = err
		b.mu.Unlock()
	}
	return err
}

// waits reports whether an error leaves it to a later time to store.
func waits(err error) bool { return errors.Is(err, quant.Locked) || errors.Is(err, quant.Store) }

// refuses reports whether what met this error will never be stored.
func refuses(err error) bool {
	switch quant.CodeOf(err) {
	case quant.Invalid, quant.NotFound, quant.Conflict:
		return true
	}
	return false
}

// Close stores what waits and ends the Batcher; what cannot be stored now is
// lost, and the error says why. The error is also that of what was added before.
// A second Close does nothing.
func (b *Batcher) Close(ctx context.Context) error {
	if !b.end() {
		return nil
	}
	err := b.Flush(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(b.takeFailure(), err)
}

// Abandon ends the Batcher and stores nothing more. A commit that is going on is
// waited for.
func (b *Batcher) Abandon() {
	b.end()
	b.storing.Lock()
	defer b.storing.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending = pile{}
}

// end lets nothing more in; false: it had ended before.
func (b *Batcher) end() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.closed = true
	if b.stop != nil {
		b.stop()
		b.stop = nil
	}
	return true
}

// pile is records one after the other, their entries in common lists: a part of
// it is a batch without anything being copied.
type pile struct {
	all     metastore.Batch
	ends    []recordEnd
	refused []refusal // when they were added; they have no place in the lists
}

// recordEnd is where the entries of a record end in the lists.
type recordEnd struct {
	number                                  int
	params, tags, metrics, notes, artifacts int32
}

type refusal struct {
	number int
	err    error
}

func (p *pile) len() int { return len(p.ends) + len(p.refused) }

func (p *pile) add(r Record) {
	if r.Err != nil {
		p.refused = append(p.refused, refusal{r.Number, r.Err})
		return
	}
	p.all.Params = append(p.all.Params, r.Batch.Params...)
	p.all.Tags = append(p.all.Tags, r.Batch.Tags...)
	p.all.Metrics = append(p.all.Metrics, r.Batch.Metrics...)
	p.all.Notes = append(p.all.Notes, r.Batch.Notes...)
	p.all.Artifacts = append(p.all.Artifacts, r.Batch.Artifacts...)
	p.ends = append(p.ends, p.end(r.Number))
}

func (p *pile) end(number int) recordEnd {
	return recordEnd{
		number: number, params: int32(len(p.all.Params)), tags: int32(len(p.all.Tags)),
		metrics: int32(len(p.all.Metrics)), notes: int32(len(p.all.Notes)), artifacts: int32(len(p.all.Artifacts)),
	}
}

// batch is the records from lo to hi.
func (p *pile) batch(lo, hi int) metastore.Batch {
	var from recordEnd
	if lo > 0 {
		from = p.ends[lo-1]
	}
	to := p.ends[hi-1]
	return metastore.Batch{
		Params:    part(p.all.Params, from.params, to.params),
		Tags:      part(p.all.Tags, from.tags, to.tags),
		Metrics:   part(p.all.Metrics, from.metrics, to.metrics),
		Notes:     part(p.all.Notes, from.notes, to.notes),
		Artifacts: part(p.all.Artifacts, from.artifacts, to.artifacts),
	}
}

func part[E any](list []E, from, to int32) []E {
	if from == to {
		return nil
	}
	return list[from:to:to]
}

// from is the records from lo on, and after them those of later.
func (p *pile) from(lo int, later pile) pile {
	out := *p
	if lo > 0 {
		out = pile{refused: p.refused}
		out.take(p, lo)
	}
	out.take(&later, 0)
	out.refused = append(slices.Clip(out.refused), later.refused...)
	return out
}

// take adds the records of another pile from lo on.
func (p *pile) take(from *pile, lo int) {
	for i := lo; i < len(from.ends); i++ {
		p.add(Record{Number: from.ends[i].number, Batch: from.batch(i, i+1)})
	}
}

// emptied is a pile of no records in the memory of p.
func (p *pile) emptied() pile {
	return pile{
		all: metastore.Batch{
			Params: emptied(p.all.Params), Tags: emptied(p.all.Tags), Metrics: emptied(p.all.Metrics),
			Notes: emptied(p.all.Notes), Artifacts: emptied(p.all.Artifacts),
		},
		ends: p.ends[:0],
	}
}

// emptied is a list of nothing that holds on to none of its texts.
func emptied[E any](list []E) []E {
	clear(list)
	return list[:0]
}
