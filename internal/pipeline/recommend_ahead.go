package pipeline

import (
	"context"
	"slices"

	"quant"
	"quant/internal/factstore"
	"quant/internal/price"
	"quant/internal/strategy"
)

// The closes, the signals and the decisions that stand are read at the same time, and what
// was read is digested while it is decided. Nothing of that is seen in what comes out.

// ahead is what is read beside, before it is asked for.
type ahead[T any] struct {
	end   context.CancelFunc
	done  chan struct{}
	value T // once done, where err is nil
	err   error
}

// readBeside begins to read; nil: nobody reads beside a lake that is written to.
func readBeside[T any](ctx context.Context, db *factstore.DB, read func(ctx context.Context, db *factstore.DB) (T, error)) *ahead[T] {
	ctx, end := context.WithCancel(ctx)
	beside, err := db.Beside(ctx, ctx)
	if err != nil {
		end()
		return nil
	}
	a := &ahead[T]{end: end, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		defer beside.Close()
		a.value, a.err = read(ctx, beside)
	}()
	return a
}

// wait waits for what is read. Not ok: it could not be read, and whoever reads it in turn
// finds out why.
func (a *ahead[T]) wait() (value T, ok bool) {
	<-a.done
	a.end()
	return a.value, a.err == nil
}

// giveUp ends the reading; of nil it does nothing.
func (a *ahead[T]) giveUp() {
	if a != nil {
		a.end()
		<-a.done
	}
}

// readAhead begins to read the signals of the days on which it will be decided, if each
// of them has prices and a signal, and what stands of them. What keeps it from that comes
// out where it is read in turn.
func (r *recommending) readAhead(ctx context.Context) error {
	var err error
	if r.extent, err = price.FindExtent(ctx, r.db, ""); err != nil || r.extent.Bars == 0 {
		return err
	}
	var low, high quant.Date
	days := []quant.Date{}
	if r.Asof != nil {
		low, high, days = *r.Asof, *r.Asof, append(days, *r.Asof)
	} else {
		low, high = *r.From, r.extent.Last
		if r.To != nil {
			high = *r.To
		}
		if from, to := max(low, r.extent.First), min(high, r.extent.Last); from <= to {
			if days, err = r.s.Rebalance.Days(r.Calendar, from, to); err != nil {
				return nil
			}
		}
	}
	r.standing = readBeside(ctx, r.db, func(ctx context.Context, db *factstore.DB) (standingRows, error) {
		return readStandingRows(ctx, db, r.s.ID, low, high)
	})
	if len(days) == 0 || r.s.Signal.Type == strategy.Strategies {
		return nil
	}
	r.aheadOf = r.withBasis(days)
	s, others, most := r.s, r.others(), r.most()
	r.ahead = readBeside(ctx, r.db, func(ctx context.Context, db *factstore.DB) (*strategy.Signals, error) {
		return s.Read(ctx, db, r.aheadOf, others, most)
	})
	return nil
}

// giveUpAhead ends what is still read ahead.
func (r *recommending) giveUpAhead() {
	r.ahead.giveUp()
	r.standing.giveUp()
	r.ahead, r.standing = nil, nil
}

// most is whether the symbols that are read are most of all.
func (r *recommending) most() bool {
	return r.extent.Most(r.Calendar, len(r.s.Universe.Symbols)+len(r.others()))
}

// withBasis are days, and before them the day of the basis: closes and signals share
// their index.
func (r *recommending) withBasis(days []quant.Date) []quant.Date {
	if r.last == nil {
		return days
	}
	return append([]quant.Date{r.last.asof}, days...)
}

// signalsOf are the signals of days: those that were read ahead, if they are of these
// days.
func (r *recommending) signalsOf(ctx context.Context, days []quant.Date) (*strategy.Signals, error) {
	if r.ahead != nil && slices.Equal(r.aheadOf, days) {
		signals, ok := r.ahead.wait()
		if r.ahead = nil; ok {
			return signals, nil
		}
	}
	r.ahead.giveUp()
	r.ahead = nil
	return r.s.Read(ctx, r.db, days, r.others(), r.most())
}

// standingOf is what stands of the range.
func (r *recommending) standingOf(ctx context.Context) (standingRows, error) {
	if r.standing != nil {
		rows, ok := r.standing.wait()
		if r.standing = nil; ok && rows.low == r.low && rows.high == r.high {
			return rows, nil
		}
	}
	return readStandingRows(ctx, r.db, r.s.ID, r.low, r.high)
}

// inputSum is the digest of an input that is worked out beside.
type inputSum struct {
	at          int // of the report's inputs
	first, last quant.Date
	sum         chan *factstore.RowSum
}

// sumLater begins to work out the digest of the input that will stand at a place.
func (r *recommending) sumLater(at int, first, last quant.Date, sum func() *factstore.RowSum) {
	s := inputSum{at, first, last, make(chan *factstore.RowSum, 1)}
	r.sums = append(r.sums, s)
	go func() { s.sum <- sum() }()
}

// sumInputs waits for the digests of the inputs.
func (r *recommending) sumInputs() {
	for _, s := range r.sums {
		if s.at >= len(r.report.Inputs) {
			continue // its writers could not be read
		}
		io := &r.report.Inputs[s.at]
		rows, digest := (<-s.sum).Digest()
		io.Rows, io.Digest = &rows, quant.Text(digest)
		if rows > 0 {
			io.FirstDate, io.LastDate = quant.Text(s.first.String()), quant.Text(s.last.String())
		}
	}
	r.sums = nil
}
