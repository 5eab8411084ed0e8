package lab

import (
	"sync"
	"time"
)

// serverClock tells the time of a server by a clock of this machine that nobody sets. It
// is for concurrent use.
type serverClock struct {
	boot func() time.Duration // of this machine: it goes on while the machine sleeps

	mu     sync.Mutex
	at     time.Duration // by boot, when it was
	server time.Time     // by the server
}

func (c *serverClock) set(at time.Duration, server time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.server = at, server
}

// Now is the server's time.
func (c *serverClock) Now() time.Time { return c.by(c.boot()) }

func (c *serverClock) by(at time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server.Add(at - c.at)
}

// mostOff is how far this clock may be off before it is set anew: a smaller difference
// would make times run backwards for nothing.
const mostOff = time.Second

// told hears what the server answered that was asked at a moment of boot. If that was not
// its time between then and now, the server's clock was set, or this machine's stood
// still.
func (c *serverClock) told(asked time.Duration, server time.Time) {
	now := c.boot()
	if server.Before(c.by(asked).Add(-mostOff)) || server.After(c.by(now).Add(mostOff)) {
		c.set(now, server)
	}
}
