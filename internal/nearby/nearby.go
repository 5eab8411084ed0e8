// Package nearby keeps on this machine's disk what its processes read of objects in a
// bucket, so that the next of them reads it there, and serves the objects to an engine of
// this process that reads them by S3's protocol.
//
// What is kept is blocks of objects. The name of a block is a digest of the store, the
// object, the store's mark of its content, and the block's number, so that a block of
// another content is never found; a block begins with the digest of itself, and one that
// is not what was kept is read anew. Several processes may use one folder at once.
package nearby

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"quant/internal/durable"
)

const (
	// blockSize is what is kept of an object at once: little enough that a column of a
	// row group does not bring its neighbours along, enough that requests are few.
	blockSize = 1 << 20
	// blocksAtOnce is how many blocks that lie beside one another are asked for at once.
	blocksAtOnce = 8
	// Most is how many bytes a folder keeps unless told otherwise.
	Most = 4 << 30
	// lookAgain is after how many bytes of its own a process looks at the folder again.
	lookAgain = 64 << 20
)

// Folder keeps blocks. Safe for concurrent use.
type Folder struct {
	dir  string
	most int64

	mu    sync.Mutex
	added int64 // since the folder was looked at
}

// In keeps blocks in a folder, which need not be there, up to so many bytes (0: Most) and
// what the processes that use it have added since each looked at it, lookAgain at most.
// Those that were not used for the longest time go.
func In(dir string, most int64) *Folder {
	if most == 0 {
		most = Most
	}
	return &Folder{dir: dir, most: most, added: lookAgain}
}

// name is that of a block's file.
func name(of ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", of))
	return hex.EncodeToString(sum[:])
}

// get reads a block; nil: it is not kept, or is not what was kept.
func (f *Folder) get(name string, size int64) []byte {
	path := filepath.Join(f.dir, name)
	content, err := os.ReadFile(path)
	if err != nil || int64(len(content)) != sha256.Size+size {
		return nil
	}
	sum := sha256.Sum256(content[sha256.Size:])
	if !bytes.Equal(sum[:], content[:sha256.Size]) {
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // who is used stays
	return content[sha256.Size:]
}

// put keeps a block. Where that cannot be done it is read anew the next time.
func (f *Folder) put(name string, block []byte) {
	f.makeRoom(int64(len(block)))
	if durable.MakeFolder(f.dir) != nil {
		return
	}
	to, err := durable.TemporaryFile(f.dir, "block")
	if err != nil {
		return
	}
	sum := sha256.Sum256(block)
	_, err = to.Write(append(sum[:], block...))
	if closed := to.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(to.Name(), filepath.Join(f.dir, name))
	}
	if err != nil {
		_ = os.Remove(to.Name())
	}
}

// makeRoom removes blocks that were not used for the longest time where there are too
// many.
func (f *Folder) makeRoom(size int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.added += size; f.added < min(lookAgain, f.most/4) {
		return
	}
	f.added = 0
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return
	}
	var blocks []fs.FileInfo
	var total int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			blocks, total = append(blocks, info), total+info.Size()
		}
	}
	if total+size <= f.most {
		return
	}
	slices.SortFunc(blocks, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, b := range blocks {
		if total+size <= f.most/4*3 {
			return
		}
		if os.Remove(filepath.Join(f.dir, b.Name())) == nil {
			total -= b.Size()
		}
	}
}
