package factstore

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/duckdb/duckdb-go/v2"
)

// The engine holds what it works on, and pages of the file that it may read again,
// up to a limit; what does not fit it writes to disk, where the work can be cut into
// parts. Beside it a command holds arrays of its own: with the default both stay
// within 2 GiB for 12.5 million bars.
const (
	memoryShare = 4 // of the machine's memory: one in so many
	leastMemory = 512 << 20
	mostMemory  = 768 << 20
)

// DefaultMemory is the engine's limit where none is named, in bytes: a quarter of
// the memory of the machine, or of the control group that the process runs in, and
// from 512 MiB to 768 MiB.
var DefaultMemory = sync.OnceValue(func() int64 {
	return shareOf(memlimit.FromCgroup, memlimit.FromSystem)
})

// shareOf takes the smallest of what the sources know. Nothing known: the least.
func shareOf(sources ...func() (uint64, error)) int64 {
	memory := uint64(0)
	for _, source := range sources {
		if n, err := source(); err == nil && n > 0 && (memory == 0 || n < memory) {
			memory = n
		}
	}
	return int64(max(leastMemory, min(mostMemory, memory/memoryShare)))
}

func (o Options) memory() int64 {
	if o.MemoryLimit > 0 {
		return o.MemoryLimit
	}
	return DefaultMemory()
}

// Memory is the engine's limit, in bytes.
func (db *DB) Memory() int64 { return db.o.memory() }

// WithMemory runs do while the engine's limit is at most so many bytes, so that pages
// it has no more use for leave room for what Go holds.
func (db *DB) WithMemory(ctx context.Context, limit int64, do func() error) error {
	if limit >= db.Memory() || db.life != nil { // the limit is the engine's, and others work with it
		return do()
	}
	set := func(ctx context.Context, limit int64) error {
		_, err := db.conn.ExecContext(ctx, "SET memory_limit = '"+strconv.FormatInt(limit>>10, 10)+"KiB'")
		return err
	}
	if err := set(ctx, limit); err != nil {
		return do() // it holds more now than that
	}
	err := do()
	if failed := set(context.WithoutCancel(ctx), db.Memory()); failed != nil && err == nil {
		err = failed
	}
	return err
}

// OutOfMemory reports whether the engine gave up because what it could not spill
// passed its limit.
func OutOfMemory(err error) bool {
	var engine *duckdb.Error
	if errors.As(err, &engine) {
		return engine.Type == duckdb.ErrorTypeOutOfMemory
	}
	return err != nil && strings.Contains(err.Error(), "Out of Memory Error: ") // of DB.Columns, which has the text alone
}
