package provider

import (
	"context"
	"math/rand/v2"
	"os"
	"time"
)

// Backoff says how often, and after which pauses, a Temporary failure is tried
// again: First, doubled each time up to Longest, of which a random part between
// a half and the whole is waited, so that many clients do not knock together.
type Backoff struct {
	Retries int           // after the first attempt; 0 or less: none
	First   time.Duration // 0: 1s
	Longest time.Duration // 0: 30s
	// Patience is the longest pause that a provider may ask for; what asks for
	// more is not tried again. 0: 2m.
	Patience time.Duration
	Random   func() float64 // 0 up to 1; nil: a source of this process
	Clock    Clock
}

// Retrying asks next again after Temporary failures. A provider that says when
// it may be asked again is not asked before.
func Retrying(next Provider, b Backoff) Provider {
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{{&b.First, time.Second}, {&b.Longest, 30 * time.Second}, {&b.Patience, 2 * time.Minute}} {
		if *d.value <= 0 {
			*d.value = d.fallback
		}
	}
	if b.Random == nil {
		b.Random = rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(b.Clock.now().UnixNano()))).Float64
	}
	return &retrying{next, b}
}

type retrying struct {
	Provider
	Backoff
}

func (r *retrying) Daily(ctx context.Context, q Query) (Series, error) {
	pause := r.First
	for attempt := 0; ; attempt++ {
		s, err := r.Provider.Daily(ctx, q)
		f := failureOf(err)
		if err == nil || f == nil || f.Kind != Temporary || attempt >= r.Retries {
			return s, err
		}
		if f.After > r.Patience {
			return s, err
		}
		wait := time.Duration(float64(pause) * (0.5 + 0.5*r.Random()))
		if err := r.Clock.sleep(ctx, max(wait, f.After)); err != nil {
			return s, err
		}
		pause = min(2*pause, r.Longest)
	}
}
