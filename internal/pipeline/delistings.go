package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"quant"
	"quant/internal/backtest"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/session"
)

// KnownChanges are the delistings and halts of a call by what became of them.
type KnownChanges struct {
	Added     []backtest.Known `json:"added"`
	Updated   []backtest.Known `json:"updated"`
	Unchanged []backtest.Known `json:"unchanged"`
	Removed   []backtest.Known `json:"removed"`
}

// Delistings returns the delistings and halts that the lab knows of, by symbol and
// date; none where it has no file of them. Errors: those of backtest.ReadKnown,
// which name the file.
func Delistings(s *session.Session) ([]backtest.Known, error) {
	path := s.DelistingsFile()
	list, _, err := readKnownFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return []backtest.Known{}, nil
	}
	if err != nil {
		return nil, quant.Errorf(quant.CodeOf(err), "%s: %w", path, err).WithHint("%s", cmp.Or(quant.HintOf(err), "mend the file, or restore it from a backup"))
	}
	return list, nil
}

// readKnownFile reads a file of delistings, which must be a regular file: a pipe
// could keep quant waiting for as long as nobody writes to it. fs.ErrNotExist: there
// is none.
func readKnownFile(path string) (list []backtest.Known, digest string, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, "", quant.Errorf(quant.Failed, "read delistings: %w", err).WithHint("make the file readable")
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, "", quant.Errorf(quant.Invalid, "it is not a regular file").WithHint("name a CSV file")
	}
	sum := durable.NewSum()
	list, err = backtest.ReadKnown(io.TeeReader(f, sum))
	return list, sum.Digest(), err
}

// ReadDelistings reads a file of delistings and halts, or in for -, and records it
// as an input. NotFound: there is none. Else the errors of backtest.ReadKnown.
func ReadDelistings(s *session.Session, path string, in io.Reader) ([]backtest.Known, error) {
	if path == "-" {
		return backtest.ReadKnown(in)
	}
	list, digest, err := readKnownFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, quant.Errorf(quant.NotFound, "file %s does not exist", path).WithHint("check the path; - reads standard input")
	}
	if err != nil {
		return nil, quant.Errorf(quant.CodeOf(err), "%s: %w", path, err).WithHint("%s", quant.HintOf(err))
	}
	rows := int64(len(list))
	s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: path, Rows: &rows, Digest: quant.Text(digest)})
	return list, nil
}

// AddDelistings adds delistings and halts to those that the lab knows, all or none;
// one of the same symbol and date takes the other's place. Invalid: one makes no
// sense, or two of a symbol share a day.
func AddDelistings(ctx context.Context, s *session.Session, more []backtest.Known) (KnownChanges, error) {
	done := noKnownChanges()
	err := changeDelistings(ctx, s, func(list []backtest.Known) ([]backtest.Known, int, error) {
		merged, added, changed, unchanged, err := backtest.Merge(list, more)
		done.Added, done.Updated, done.Unchanged = append(done.Added, added...), append(done.Updated, changed...), append(done.Unchanged, unchanged...)
		return merged, len(added) + len(changed), err
	})
	return done, err
}

// RemoveDelistings removes what the lab knows of the delistings and halts of
// symbols, all or none; only what begins on date unless it is nil. NotFound: nothing
// is known of one.
func RemoveDelistings(ctx context.Context, s *session.Session, symbols []string, date *quant.Date) (KnownChanges, error) {
	done := noKnownChanges()
	err := changeDelistings(ctx, s, func(list []backtest.Known) ([]backtest.Known, int, error) {
		goes := func(e backtest.Known, symbol string) bool {
			return e.Symbol == symbol && (date == nil || e.Date == *date)
		}
		for _, symbol := range symbols {
			if slices.ContainsFunc(list, func(e backtest.Known) bool { return goes(e, symbol) }) {
				continue
			}
			when := ""
			if date != nil {
				when = " on " + date.String()
			}
			return nil, 0, quant.Errorf(quant.NotFound, "the lab knows of no delisting or halt of %s%s", symbol, when).
				WithHint("`quant delistings list` shows what it knows; nothing was removed")
		}
		left := []backtest.Known{}
		for _, e := range list {
			if slices.ContainsFunc(symbols, func(symbol string) bool { return goes(e, symbol) }) {
				done.Removed = append(done.Removed, e)
			} else {
				left = append(left, e)
			}
		}
		return left, len(done.Removed), nil
	})
	return done, err
}

func noKnownChanges() KnownChanges {
	return KnownChanges{Added: []backtest.Known{}, Updated: []backtest.Known{}, Unchanged: []backtest.Known{}, Removed: []backtest.Known{}}
}

// changeDelistings replaces the lab's file by what do makes of it, and records it. A
// list that is empty has no file, and what did not change is left alone.
func changeDelistings(ctx context.Context, s *session.Session, do func(list []backtest.Known) (changed []backtest.Known, rows int, err error)) error {
	return changeFile(ctx, s, s.DelistingsFile(), func() ([]byte, int, error) {
		list, err := Delistings(s)
		if err != nil {
			return nil, 0, err
		}
		list, changed, err := do(list)
		if err != nil || changed == 0 || len(list) == 0 {
			return nil, changed, err
		}
		var text bytes.Buffer
		err = backtest.WriteKnown(&text, list)
		return text.Bytes(), changed, err
	})
}

// writeKnownFile makes a file of delistings, whole or not at all, and returns its
// digest.
func writeKnownFile(path string, list []backtest.Known) (digest string, err error) {
	var text bytes.Buffer
	if err := backtest.WriteKnown(&text, list); err != nil {
		return "", err
	}
	return durable.Digest(text.Bytes()), durable.Replace(path, 0o600, durable.Bytes(text.Bytes()))
}

// delistingsDigest is sha256:<hex> of what the lab knows; "" where it knows nothing.
func delistingsDigest(s *session.Session) (string, error) {
	list, err := Delistings(s)
	if err != nil || len(list) == 0 {
		return "", err
	}
	text, err := json.Marshal(list)
	return durable.Digest(text), err
}

// copyDelistings gives a copy of the lab the delistings and halts that the backtest of
// a run, or of a stage of it, knew of; the lab's own where there is no backtest.
func copyDelistings(ctx context.Context, s *session.Session, path string, run metastore.RunDetail) error {
	list, err := Delistings(s)
	if err != nil {
		return err
	}
	if run.Kind == string(StageBacktest) || run.Kind == RunKind {
		past, found, err := backtestOf(ctx, s, run)
		if err != nil {
			return err
		}
		if !found {
			past.Known = list
		}
		for _, e := range past.Known {
			if !slices.ContainsFunc(list, e.Equal) {
				s.Say().Notice("the delistings that the lab knows have changed since run %s: it is run again on those that it read", quant.ShortID(run.RunID))
				break
			}
		}
		list = past.Known
	}
	if len(list) == 0 {
		return nil
	}
	if _, err := writeKnownFile(path, list); err != nil {
		return quant.Errorf(quant.Store, "copy the delistings to %s: %w", path, err).WithHint("make room there")
	}
	return nil
}

// backtestOf is the backtest that a run made, or that a stage of it made or found
// standing.
func backtestOf(ctx context.Context, s *session.Session, run metastore.RunDetail) (past backtest.Stored, found bool, err error) {
	ids := []string{run.RunID}
	if run.Kind == RunKind {
		children, err := s.Meta.ListRuns(ctx, metastore.RunFilter{All: true, Parent: run.RunID, Kind: string(StageBacktest), Brief: true})
		if err != nil {
			return past, false, err
		}
		for _, c := range children {
			ids = append(ids, c.RunID)
		}
		noted, err := s.Meta.RunIO(ctx, run.RunID)
		if err != nil {
			return past, false, err
		}
		for _, io := range noted {
			if io.Direction == quant.In && io.Kind == quant.IORun {
				ids = append(ids, io.Name)
			}
		}
	}
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		for _, id := range ids {
			past, err = backtest.Read(ctx, db, id)
			if err == nil {
				found = true
				return nil
			}
			if !errors.Is(err, quant.NotFound) {
				return err
			}
		}
		return nil
	})
	return past, found, err
}
