package lab

import (
	"context"
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
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
)

// Aside is a Meta DB that was moved aside because it could not be used.
type Aside struct {
	Path string
	// Taken is what was taken over from it; nil: nothing yet.
	Taken *Taken
}

// Taken is what was taken over from a Meta DB that was moved aside. It stands beside
// it, so that what is not taken over yet is known whatever happens.
type Taken struct {
	metastore.Carried
	// Unreadable says why nothing at all could be read; "" when something could.
	Unreadable string `json:"unreadable,omitempty"`
}

// Whole reports whether all that was in it was taken over.
func (t Taken) Whole() bool { return t.Unreadable == "" && t.Carried.Whole() }

// Missing says what was not taken over, or why it is not certain that nothing is
// missing; "" when all was.
func (t Taken) Missing() string {
	if t.Unreadable != "" {
		return t.Unreadable
	}
	parts := t.Unread
	if lost := t.LostRows(); lost > 0 {
		parts = slices.Concat([]string{fmt.Sprintf("at least %s lost", quant.Count(int(lost), "row"))}, parts)
	}
	return strings.Join(parts, "; ")
}

// Asides returns the Meta DBs of this lab that were moved aside, by name. Errors:
// Store for a folder that cannot be read.
func (l *Lab) Asides() ([]Aside, error) {
	var all []Aside
	for _, path := range slices.Compact([]string{l.MetaFile(), l.MetaPath}) {
		dir, base := filepath.Split(path)
		list, err := Entries(filepath.Clean(dir))
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			if !IsAside(base, e.Name()) {
				continue
			}
			a := Aside{Path: filepath.Join(dir, e.Name())}
			if slices.ContainsFunc(all, func(b Aside) bool { return place.Real(b.Path) == place.Real(a.Path) }) {
				continue
			}
			text, err := os.ReadFile(a.Path + place.Salvaged)
			if err == nil {
				taken := &Taken{}
				if json.Unmarshal(text, taken) == nil {
					a.Taken = taken
				}
			}
			all = append(all, a)
		}
	}
	return all, nil
}

// IsAside reports whether a name is that of a database, itself and none of the files
// beside it, that was moved aside from the name base.
func IsAside(base, name string) bool {
	if !strings.HasPrefix(name, base+place.Broken) {
		return false
	}
	return !slices.ContainsFunc(suffixes()[1:], func(suffix string) bool { return strings.HasSuffix(name, suffix) })
}

// Unsalvaged returns the Meta DBs that were moved aside and may hold what the lab's
// own does not: nothing was taken over from them yet, or not all of it could be
// read. While one stands there, what nothing refers to may be theirs.
func (l *Lab) Unsalvaged() ([]Aside, error) {
	all, err := l.Asides()
	return slices.DeleteFunc(all, func(a Aside) bool { return a.Taken != nil && a.Taken.Whole() }), err
}

// TakeUp takes over what can be read of every Meta DB that was moved aside and
// nothing was taken over from yet: its remedy was cut short. It returns those, and
// what came of each. An error ends it; what was taken over before it stays.
func (l *Lab) TakeUp(ctx context.Context) (taken []Aside, err error) {
	all, err := l.Asides()
	if err != nil || l.Registry == nil || len(all) == 0 {
		return nil, err
	}
	into, err := metastore.AsFile(l.store)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if a.Taken != nil {
			continue
		}
		if a.Taken, err = salvage(ctx, into, a.Path); err != nil {
			return taken, err
		}
		if err := a.Taken.write(a.Path + place.Salvaged); err != nil {
			return taken, err
		}
		taken = append(taken, a)
	}
	return taken, nil
}

// salvage takes over what can be read of a broken file. That nothing can be read is
// no error; that it cannot be read now is. What is not whole is read a second time:
// SQLite calls a page damaged also when the disk did not give it.
func salvage(ctx context.Context, into metastore.FileStore, broken string) (*Taken, error) {
	first, err := salvageOnce(ctx, into, broken)
	if err != nil || first.Whole() {
		return first, err
	}
	second, err := salvageOnce(ctx, into, broken)
	if err != nil {
		return nil, err
	}
	if second.Unreadable != "" && first.Unreadable == "" {
		return first, nil
	}
	for table, n := range first.Rows {
		second.Rows[table] += n
	}
	return second, nil
}

func salvageOnce(ctx context.Context, into metastore.FileStore, broken string) (*Taken, error) {
	carried, err := into.Salvage(ctx, broken, nil)
	if errors.Is(err, metastore.ErrDamaged) {
		return &Taken{Unreadable: err.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	return &Taken{Carried: carried}, nil
}

func (t *Taken) write(path string) error {
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := durable.Replace(path, 0o600, durable.Bytes(text)); err != nil {
		return quant.Errorf(quant.Store, "write down what was taken over: %w", err).WithHint("make the folder writable and make room; the next `quant doctor --fix` goes on with it")
	}
	return nil
}

// SetAside puts a new Meta DB in the place of one that cannot be used, with all in
// it that can be read of the old, which is moved aside. The new one is complete and
// durable before anything is moved, so that whatever ends this early, the old one
// stands in its place, or the next command finishes the moves. A file that turns out
// to be sound is opened and left where it is. Errors: Store when it cannot be judged
// or replaced now, and Locked while another process uses the lab, or would have to
// write to it: nothing was moved.
func (l *Lab) SetAside(ctx context.Context, why error) error {
	if err := l.metaInFile("move the Meta DB aside"); err != nil {
		return err
	}
	if l.store != nil {
		l.Registry.Close()
		_ = l.store.Close() // it cannot be used
		l.store, l.Meta, l.Registry = nil, nil, nil
	}
	opening := Opening{Meta: Unchanged}
	err := l.claim.Alone(ctx, failpoint.Patience("remedy", 15*time.Second), func() (err error) {
		if errors.Is(why, metastore.ErrDamaged) {
			// What was seen once may have been a read that failed.
			if why = sqlite.Examine(ctx, l.options(false)); !errors.Is(why, metastore.ErrDamaged) {
				return why
			}
		}
		opening, err = l.remake(ctx, why)
		return err
	})
	if err != nil {
		return err
	}
	store, err := sqlite.Open(ctx, l.options(false))
	if err != nil {
		l.Opening = opening
		return err
	}
	l.use(store)
	l.Opening = opening
	return nil
}

// remake makes the new Meta DB beside the old and swaps the two.
func (l *Lab) remake(ctx context.Context, why error) (Opening, error) {
	file, err := filepath.Abs(l.MetaFile())
	if err != nil {
		return Opening{}, quant.Errorf(quant.Failed, "find the Meta DB: %w", err)
	}
	Discard([]string{file})
	swapped := false
	defer func() {
		if !swapped {
			if _, err := os.Lstat(place.JournalFile(file)); errors.Is(err, fs.ErrNotExist) {
				Discard([]string{file})
			}
		}
	}()
	taken, err := l.fillNext(ctx, file, file+place.Staging)
	if err != nil {
		return Opening{}, err
	}
	if err := taken.write(file + place.Staging + place.Salvaged); err != nil {
		return Opening{}, err
	}
	failpoint.Hit("remedy.staged")
	aside, err := swap(file, []string{file}, place.Broken+l.Now().UTC().Format("20060102T150405Z"))
	if err != nil {
		return Opening{}, err
	}
	swapped = true
	o := Opening{Meta: Created, Damage: why, Salvaged: *taken}
	if len(aside) > 0 {
		o.MovedAside = aside[0]
	}
	return o, nil
}

// fillNext makes a Meta DB at next, which nobody else sees, with what can be read
// of the file that it is to replace.
func (l *Lab) fillNext(ctx context.Context, file, next string) (*Taken, error) {
	store, err := sqlite.Open(ctx, sqlite.Options{Path: next, Now: l.Now, BackupDir: next + ".backups"})
	if err != nil {
		return nil, err
	}
	taken, err := salvage(ctx, store, file)
	if err == nil {
		err = store.Seal(ctx)
	}
	_ = store.Close() // it is sealed, or not used
	_ = os.Remove(next + ".lock")
	return taken, err
}
