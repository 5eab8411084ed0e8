package jobs

import (
	"os"
	"sync"
	"time"
)

const (
	// askAtLeast is how often a worker asks a file that has not changed.
	askAtLeast = time.Second
	// stampsTell is how old a change of a file has to be before another one is sure to
	// have another time.
	stampsTell = 100 * time.Millisecond
)

// idle saves a worker that has nothing to do from asking the file of the jobs: it looks
// whether the file has changed since there was no job for it. nil: it always asks. Safe
// for concurrent use.
type idle struct {
	path string

	mu    sync.Mutex
	empty map[string]stamp // by queue
}

// stamp is how a file was at a time; zero: that is not known.
type stamp struct {
	size    int64
	changed time.Time
	at      time.Time
}

func newIdle(path string) *idle { return &idle{path: path, empty: map[string]stamp{}} }

// now is the state of what writers to the file append to.
func (i *idle) now() stamp {
	if i == nil {
		return stamp{}
	}
	at := time.Now()
	info, err := os.Stat(i.path + "-wal")
	if err != nil || at.Sub(info.ModTime()) < stampsTell {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime(), at}
}

// found notes whether there was a job in a queue, as of a state taken before asking.
func (i *idle) found(queue string, any bool, before stamp) {
	if i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if any || before.at.IsZero() {
		delete(i.empty, queue)
		return
	}
	i.empty[queue] = before
}

// still tells whether a queue is empty as before, in this state.
func (i *idle) still(queue string, now stamp) bool {
	if i == nil || now.at.IsZero() {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	before, known := i.empty[queue]
	return known && before.size == now.size && before.changed.Equal(now.changed) && now.at.Sub(before.at) < askAtLeast
}
