package lab

import (
	"testing"
	"time"
)

func TestAClockOfAServerGoesByWhatNobodySetsAndIsSetWhereItIsOff(t *testing.T) {
	boot := 100 * time.Hour
	c := &serverClock{boot: func() time.Duration { return boot }}
	noon := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	want := func(at time.Time) {
		t.Helper()
		if now := c.Now(); !now.Equal(at) {
			t.Fatalf("it is %s, not %s", now, at)
		}
	}
	c.set(boot, noon)
	boot += time.Minute
	want(noon.Add(time.Minute))

	// An answer that was long on its way says nothing.
	asked := boot
	boot += 30 * time.Second
	c.told(asked, noon.Add(time.Minute+100*time.Millisecond))
	want(noon.Add(90 * time.Second))
	c.told(asked, noon.Add(91*time.Second))
	want(noon.Add(90 * time.Second))

	// The machine was stopped from outside for an hour, which it does not know.
	c.told(boot, noon.Add(time.Hour))
	want(noon.Add(time.Hour))

	// The server's clock was set back.
	c.told(boot, noon)
	want(noon)
	boot += time.Second
	want(noon.Add(time.Second))
}
