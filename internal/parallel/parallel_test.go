package parallel

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
)

func TestEveryBlockIsDoneOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ n, size int }{{0, 3}, {1, 3}, {3, 3}, {1000, 7}, {1000, 1}, {5, 1000}} {
		done := make([]atomic.Int32, c.n)
		err := Blocks(t.Context(), c.n, c.size, func() func(lo, hi int) {
			return func(lo, hi int) {
				if lo%c.size != 0 || hi-lo > c.size {
					t.Errorf("%+v: block [%d, %d)", c, lo, hi)
				}
				for i := lo; i < hi; i++ {
					done[i].Add(1)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range done {
			if n := done[i].Load(); n != 1 {
				t.Errorf("%+v: %d was done %d times", c, i, n)
			}
		}
	}
}

func TestTheEndOfTheContextAndAPanicAreTheCallers(t *testing.T) {
	t.Parallel()
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	var done atomic.Int32
	err := Blocks(ctx, 1_000_000, 1, func() func(lo, hi int) {
		return func(int, int) {
			if done.Add(1) == 10 {
				cancel(why)
			}
		}
	})
	if !errors.Is(err, why) || done.Load() > 1000 {
		t.Errorf("%v after %d blocks", err, done.Load())
	}
	defer func() {
		if text, _ := recover().(string); !strings.HasPrefix(text, "the seventh") {
			t.Errorf("the panic was %q", text)
		}
	}()
	_ = Blocks(t.Context(), 100, 1, func() func(lo, hi int) {
		return func(lo, _ int) {
			if lo == 7 {
				panic("the seventh")
			}
		}
	})
	t.Error("the panic was lost")
}

func TestBothThingsAreDoneUnlessTheContextHasEnded(t *testing.T) {
	t.Parallel()
	var one, other atomic.Int32
	if err := Both(t.Context(), func() { one.Add(1) }, func() { other.Add(1) }); err != nil || one.Load() != 1 || other.Load() != 1 {
		t.Error(err, one.Load(), other.Load())
	}
	cause := errors.New("enough")
	ctx, end := context.WithCancelCause(t.Context())
	end(cause)
	if err := Both(ctx, func() { one.Add(1) }, func() { other.Add(1) }); !errors.Is(err, cause) || one.Load()+other.Load() != 2 {
		t.Error(err, one.Load(), other.Load())
	}
}
