package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/failpoint"
	"quant/internal/lab/place"
)

// suffixes are the files that belong to a part, itself first.
func suffixes() []string {
	return []string{"", "-wal", "-shm", "-journal", ".wal", ".wal.checkpoint", ".wal.recovery", place.Salvaged}
}

// move is one renaming; both are named from the folder of the Meta DB.
type move struct{ From, To string }

// aside reports whether a move takes what stands there out of its place.
func (m move) aside() bool {
	name := filepath.Base(m.To)
	return strings.Contains(name, place.Aside) || strings.Contains(name, place.Broken)
}

// Swap moves what stands in the places of a lab aside and what is staged for them
// (by the same name with place.Staging behind it) into them: all of it or, if the
// process is killed first, nothing; once it has begun, the next command finishes
// it. places are real paths, metaFile among them. It must run while nobody else
// uses the lab. It returns where the old parts are. Errors: Store; then everything
// stands where it stood, or, where it cannot be brought back either, the next
// command finishes what was begun.
func Swap(metaFile string, places []string, now time.Time) (aside []string, err error) {
	return swap(metaFile, places, place.Aside+now.UTC().Format("20060102T150405.000000Z"))
}

// swap is Swap with what is moved aside called by this ending, or, where something
// is called so, by it and a number.
func swap(metaFile string, places []string, ending string) (aside []string, err error) {
	failed := func(err error, hint string) error {
		return quant.Errorf(quant.Store, "put another lab in the place of %s: %w", metaFile, err).WithHint("%s", hint)
	}
	const untouched = "make the folder writable and make room; nothing was moved"
	if ending, err = free(places, ending); err != nil {
		return nil, failed(err, untouched)
	}
	dir := filepath.Dir(metaFile)
	var out, in []move
	for _, part := range places {
		for _, suffix := range suffixes() {
			switch _, err := os.Lstat(part + suffix); {
			case suffix == place.Salvaged: // tells of what was moved aside before
			case err == nil:
				out = append(out, move{relative(dir, part+suffix), relative(dir, part+ending+suffix)})
				if suffix == "" {
					aside = append(aside, part+ending)
				}
			case !errors.Is(err, fs.ErrNotExist):
				return nil, failed(err, untouched)
			}
			if _, err := os.Lstat(part + place.Staging + suffix); err == nil {
				to := part + suffix
				if suffix == place.Salvaged { // tells of the old one
					to = part + ending + suffix
				}
				in = append(in, move{relative(dir, part+place.Staging+suffix), relative(dir, to)})
			} else if !errors.Is(err, fs.ErrNotExist) {
				return nil, failed(err, untouched)
			}
		}
	}
	moves := append(out, in...)
	text, err := json.Marshal(moves)
	if err != nil {
		return nil, err
	}
	if err := durable.Replace(place.JournalFile(metaFile), 0o600, durable.Bytes(text)); err != nil {
		if _, e := os.Lstat(place.JournalFile(metaFile)); errors.Is(e, fs.ErrNotExist) || os.Remove(place.JournalFile(metaFile)) == nil {
			return nil, failed(err, untouched)
		}
		return nil, failed(err, "make the folder writable; the next command goes on with it")
	}
	failpoint.Hit("restore.journal")
	if err := finish(metaFile); err != nil {
		if back := undo(metaFile, moves); back != nil {
			return nil, err
		}
		return nil, failed(err, "make the folder writable; everything stands where it stood")
	}
	return aside, nil
}

// free returns an ending by which nothing is called yet.
func free(places []string, ending string) (string, error) {
	for n := 1; n < 1000; n++ {
		name := ending
		if n > 1 {
			name = fmt.Sprintf("%s-%d", ending, n)
		}
		taken := false
		for _, part := range places {
			for _, suffix := range suffixes() {
				if _, err := os.Lstat(part + name + suffix); err == nil {
					taken = true
				} else if !errors.Is(err, fs.ErrNotExist) {
					return "", err
				}
			}
		}
		if !taken {
			return name, nil
		}
	}
	return "", fmt.Errorf("every name that ends in %s is taken", ending)
}

// undo takes back, last first, the moves of a journal that were done, and then the
// journal. Wherever it ends, the journal describes what is left to do.
func undo(metaFile string, moves []move) error {
	dir := filepath.Dir(metaFile)
	folders := map[string]bool{dir: true}
	for _, m := range slices.Backward(moves) {
		from, to := m.paths(dir)
		if _, err := os.Lstat(from); err == nil {
			continue // it was not done
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Rename(to, from); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		folders[filepath.Dir(to)] = true
	}
	for folder := range folders {
		if err := durable.SyncFolder(folder); err != nil {
			return err
		}
	}
	return errors.Join(os.Remove(place.JournalFile(metaFile)), durable.SyncFolder(dir))
}

// paths are what a move renames, and to what.
func (m move) paths(dir string) (from, to string) {
	if filepath.IsAbs(m.From) {
		return m.From, m.To
	}
	return filepath.Join(dir, m.From), filepath.Join(dir, m.To)
}

// Discard removes what is staged for the places of a lab.
func Discard(places []string) {
	for _, part := range places {
		for _, suffix := range append(suffixes(), ".lock", ".tmp", ".backups") {
			os.RemoveAll(part + place.Staging + suffix)
		}
	}
}

func relative(dir, path string) string {
	if rel, err := filepath.Rel(dir, path); err == nil {
		return rel
	}
	return path
}

// finish carries out the moves of a journal, those that are not done yet, and
// takes it away. None: nothing to do. A move is done when what it moves is gone.
func finish(metaFile string) error {
	journal := place.JournalFile(metaFile)
	text, err := os.ReadFile(journal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	failed := func(err error) error {
		return quant.Errorf(quant.Store, "finish the moves that %s describes: %w", journal, err).
			WithHint("make its folder writable, then run any command again")
	}
	if err != nil {
		return failed(err)
	}
	var moves []move
	if err := json.Unmarshal(text, &moves); err != nil {
		return failed(err)
	}
	dir := filepath.Dir(metaFile)
	folders := map[string]bool{dir: true}
	for _, m := range moves {
		from, to := m.paths(dir)
		if m.aside() {
			// What stands there may be the new part already.
			if _, err := os.Lstat(to); err == nil {
				continue
			}
		}
		if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return failed(err)
		}
		folders[filepath.Dir(to)] = true
		failpoint.Hit("restore.move")
	}
	for folder := range folders {
		if err := durable.SyncFolder(folder); err != nil {
			return failed(err)
		}
	}
	failpoint.Hit("restore.moved")
	if err := errors.Join(os.Remove(journal), durable.SyncFolder(dir)); err != nil {
		return failed(err)
	}
	return nil
}
