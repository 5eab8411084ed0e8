package provider

import (
	"context"
	"time"
)

// Limited lets at most perMinute requests through in any minute, and holds
// further ones back; 0 or less: no limit. It knows the requests of this process
// only.
func Limited(next Provider, perMinute int, clock Clock) Provider {
	return &limited{Provider: next, perMinute: perMinute, clock: clock}
}

type limited struct {
	Provider
	perMinute int
	clock     Clock
	asked     []time.Time // the last perMinute requests, oldest first
}

func (l *limited) Daily(ctx context.Context, q Query) (Series, error) {
	if l.perMinute > 0 {
		if len(l.asked) == l.perMinute {
			if wait := time.Minute - l.clock.now().Sub(l.asked[0]); wait > 0 {
				if err := l.clock.sleep(ctx, min(wait, time.Minute)); err != nil {
					return Series{}, err
				}
			}
			l.asked = l.asked[1:]
		}
		l.asked = append(l.asked, l.clock.now())
	}
	return l.Provider.Daily(ctx, q)
}
