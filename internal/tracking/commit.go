package tracking

import (
	"context"
	"sync"

	"quant/internal/metastore"
)

// committer puts the writes of many clients into few transactions. A write is one
// method of the store; it returns when it is durable. While one transaction
// commits, the writes that come wait, and the next one takes them all together.
type committer struct {
	store metastore.Store

	mu      sync.Mutex
	leading bool
	waiting []*write
}

type write struct {
	ctx  context.Context
	do   func(ctx context.Context) error
	done chan error
}

// together is the most writes of one transaction: few enough that others of the
// machine do not wait long for the Meta DB.
const together = 128

// do stores a write, alone or with others, and returns its own error.
func (c *committer) do(ctx context.Context, do func(ctx context.Context) error) error {
	w := &write{ctx: ctx, do: do, done: make(chan error, 1)}
	c.mu.Lock()
	c.waiting = append(c.waiting, w)
	lead := !c.leading
	c.leading = true
	c.mu.Unlock()
	if lead {
		c.lead(w)
	}
	return <-w.done
}

// lead commits what waits until the leader's own write is done, and leaves the rest
// to a goroutine of its own.
func (c *committer) lead(own *write) {
	for {
		c.mu.Lock()
		some := c.waiting
		if len(some) == 0 {
			c.leading = false
			c.mu.Unlock()
			return
		}
		if len(some) > together {
			some = some[:together:together]
		}
		c.waiting = c.waiting[len(some):]
		c.mu.Unlock()
		c.commit(some)
		if own != nil {
			c.mu.Lock()
			more := len(c.waiting) > 0
			c.leading = more
			c.mu.Unlock()
			if more {
				go c.lead(nil)
			}
			return
		}
	}
}

// commit stores writes in one transaction. Each of them is a method of the store,
// which takes back what it did when it fails; when the transaction itself fails,
// each is tried alone.
func (c *committer) commit(some []*write) {
	if len(some) == 1 {
		some[0].done <- some[0].do(some[0].ctx)
		return
	}
	errs := make([]error, len(some))
	err := c.store.Tx(context.WithoutCancel(some[0].ctx), func(tx context.Context) error {
		for i, w := range some {
			errs[i] = w.do(tx)
		}
		return nil
	})
	for i, w := range some {
		if err != nil {
			w.done <- w.do(w.ctx)
			continue
		}
		w.done <- errs[i]
	}
}
