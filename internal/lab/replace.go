package lab

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/failpoint"
	"quant/internal/lab/place"
)

// suffixes are the files that belong to a part, itself first.
func suffixes() []string {
	return []string{"", "-wal", "-shm", "-journal", ".wal", ".wal.checkpoint", ".wal.recovery"}
}

// move is one renaming; both are named from the folder of the Meta DB.
type move struct{ From, To string }

// Swap moves what stands in the places of a lab aside and what is staged for them
// (by the same name with place.Staging behind it) into them: all of it or, if the
// process is killed first, nothing; once it has begun, the next command finishes
// it. places are real paths, metaFile among them. It must run while nobody else
// uses the lab. It returns where the old parts are. Errors: Store; what was begun
// is finished by the next command.
func Swap(metaFile string, places []string, now time.Time) (aside []string, err error) {
	stamp := place.Aside + now.UTC().Format("20060102T150405.000000Z")
	dir := filepath.Dir(metaFile)
	var out, in []move
	for _, part := range places {
		for _, suffix := range suffixes() {
			if _, err := os.Lstat(part + suffix); err == nil {
				out = append(out, move{relative(dir, part+suffix), relative(dir, part+stamp+suffix)})
				if suffix == "" {
					aside = append(aside, part+stamp)
				}
			}
			if _, err := os.Lstat(part + place.Staging + suffix); err == nil {
				in = append(in, move{relative(dir, part+place.Staging+suffix), relative(dir, part+suffix)})
			}
		}
	}
	text, err := json.Marshal(append(out, in...))
	if err != nil {
		return nil, err
	}
	failed := func(err error) error {
		return quant.Errorf(quant.Store, "put the restored lab in its place: %w", err).WithHint("make the folder writable; the next command goes on with it")
	}
	if err := durable.Replace(place.JournalFile(metaFile), 0o600, durable.Bytes(text)); err != nil {
		return nil, failed(err)
	}
	failpoint.Hit("restore.journal")
	if err := finish(metaFile); err != nil {
		return nil, err
	}
	return aside, nil
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
		return quant.Errorf(quant.Store, "finish the restore that %s describes: %w", journal, err).
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
		from, to := m.From, m.To
		if !filepath.IsAbs(from) {
			from, to = filepath.Join(dir, from), filepath.Join(dir, to)
		}
		if strings.Contains(filepath.Base(to), place.Aside) {
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
