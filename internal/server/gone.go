package server

import (
	"context"
	"os"
	"time"

	"quant"
)

// standing is the file of the Meta DB as it was when serving began. A server goes on to
// hold a file that was removed or replaced, and what it would acknowledge then is lost.
type standing struct {
	path string
	file os.FileInfo // nil: nothing is known of it
}

func standingOf(o Options) standing {
	if o.Session == nil || o.Session.Lab == nil || o.Session.Meta == nil {
		return standing{}
	}
	s := standing{path: o.Session.MetaFile()}
	if info, err := os.Stat(s.path); err == nil {
		s.file = info
	}
	return s
}

// check reports a Meta DB that is not at its place any more, as Store.
func (s standing) check() error {
	if s.file == nil {
		return nil
	}
	now, err := os.Stat(s.path)
	if err == nil && os.SameFile(now, s.file) {
		return nil
	}
	if err != nil && !os.IsNotExist(err) {
		return nil // a folder that cannot be looked into just now
	}
	return quant.Errorf(quant.Store, "the Meta DB %s was removed or replaced while it was served", s.path).
		WithHint("bring the lab back, by quant restore where it is lost, and start the server again")
}

// lookEvery is how often a server that nobody asks looks for its Meta DB.
const lookEvery = time.Second

// watch returns once the Meta DB is gone, or ctx ends.
func (s standing) watch(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.check(); err != nil {
			return err
		}
	}
}
