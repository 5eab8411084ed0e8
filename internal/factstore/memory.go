package factstore

import (
	"errors"
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
	mostMemory  = 1 << 30
)

// DefaultMemory is the engine's limit where none is named, in bytes: a quarter of
// the memory of the machine, or of the control group that the process runs in, and
// from 512 MiB to 1 GiB.
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

// OutOfMemory reports whether the engine gave up because what it could not spill
// passed its limit.
func OutOfMemory(err error) bool {
	var engine *duckdb.Error
	if errors.As(err, &engine) {
		return engine.Type == duckdb.ErrorTypeOutOfMemory
	}
	return err != nil && strings.Contains(err.Error(), "Out of Memory Error: ") // of DB.Columns, which has the text alone
}
