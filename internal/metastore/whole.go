package metastore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"
	"math"

	"quant"
)

// Whole is what copies a whole Meta DB into another, whatever the engines.
type Whole interface {
	// WholeTables are all tables of the contract, those that others refer to first.
	WholeTables() []WholeTable
	// Rows are the rows of one of these tables, in no order. A value is nil, an int64, a
	// float64 or a string, in the order of the table's columns. A row is valid until the
	// next. An error is the last that is given.
	Rows(ctx context.Context, table string) iter.Seq2[[]any, error]
	// StoreWhole calls fn in one transaction, in which StoreRows is quick: rows are held to
	// what they refer to and to the rules of their own table, but not to what is only asked of
	// whoever records a run, because another Meta DB has held them to that. Refused for a role
	// that does not own the tables.
	StoreWhole(ctx context.Context, fn func(ctx context.Context) error) error
	// StoreRows adds rows as Rows gives them to one of the tables. It is called within
	// StoreWhole.
	StoreRows(ctx context.Context, table string, rows iter.Seq2[[]any, error]) error
	// ClearRows removes all rows of a table. It is called within StoreWhole.
	ClearRows(ctx context.Context, table string) error
}

// WholeTable is one table of Whole.
type WholeTable struct {
	Name   string
	OfRuns bool // runs, or a companion of them
	// Implied rows are added by the database itself when what they refer to is.
	Implied bool
}

// Copied is what CopyWhole copied of one table.
type Copied struct {
	Table  string `json:"table"`
	Rows   int64  `json:"rows"`
	Digest string `json:"digest"` // of the rows, in any order
}

// CopyOptions say what CopyWhole takes for granted.
type CopyOptions struct {
	// Beside tells of a run that stands in the target, and may have changed something,
	// whether it is none of a lab that is in use. nil: no run is.
	Beside func(RunDetail) bool
	// Before is called when everything is stored and proved, just before it is committed;
	// nil: nothing is.
	Before func() error
}

// CopyWhole copies every table of one Meta DB, as it stands at one moment, into another
// that is empty, in one transaction: all of it or nothing. Runs that Beside speaks for stay
// beside what is copied, as do runs that only read. What was stored is read again and
// compared before it is committed.
//
// Errors: Conflict for a target that is not empty, and then nothing was changed; Store when
// something cannot be read or stored, or is stored otherwise than it was read.
func CopyWhole(ctx context.Context, from, to Store, o CopyOptions) (copied []Copied, err error) {
	err = from.Snapshot(ctx, func(ctx context.Context) error {
		if err := lacks(ctx, from, to); err != nil {
			return err
		}
		return to.StoreWhole(ctx, func(ctx context.Context) error {
			copied = nil
			if err := Vacant(ctx, to, o.Beside); err != nil {
				return err
			}
			for _, t := range to.WholeTables() {
				done, err := copyTable(ctx, from, to, t)
				if err != nil {
					return err
				}
				copied = append(copied, done)
			}
			if o.Before != nil {
				return o.Before()
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return copied, nil
}

// lacks refuses a source with a table that the copy would leave out.
func lacks(ctx context.Context, from, to Store) error {
	known := map[string]bool{}
	for _, t := range to.WholeTables() {
		known[t.Name] = true
	}
	tables, err := from.Tables(ctx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if !known[t.Table] {
			return quant.Errorf(quant.Store, "copy the meta db: nobody knows what its table %s is", t.Table).
				WithHint("move a table of your own to a database of its own")
		}
	}
	return nil
}

// Vacant is a Conflict for a Meta DB that is a lab in use: it holds something beside runs,
// or a run that may have changed something and for which beside does not speak.
func Vacant(ctx context.Context, s Store, beside func(RunDetail) bool) error {
	taken := func(format string, args ...any) error {
		return quant.Errorf(quant.Conflict, "the target holds a lab already: "+format, args...).WithHint("name an empty one")
	}
	counts, err := s.Tables(ctx)
	if err != nil {
		return err
	}
	rows := map[string]int64{}
	for _, c := range counts {
		rows[c.Table] = c.Rows
	}
	for _, t := range s.WholeTables() {
		if n := rows[t.Name]; n > 0 && !t.OfRuns {
			return taken("%s in %s", quant.Count(int(n), "row"), t.Name)
		}
	}
	runs, err := s.ListRuns(ctx, RunFilter{Brief: true, Limit: mostBeside})
	if err != nil {
		return err
	}
	for _, r := range runs {
		if beside == nil || !beside(r) {
			return taken("run %s (%s)", quant.ShortID(r.RunID), r.Kind)
		}
	}
	if len(runs) == mostBeside {
		return taken("%d runs", len(runs))
	}
	return nil
}

// mostBeside is how many runs of preparing a target there may be.
const mostBeside = 1000

// copyTable copies the rows of one table and proves that they are there.
func copyTable(ctx context.Context, from, to Store, t WholeTable) (Copied, error) {
	if t.Implied {
		if err := to.ClearRows(ctx, t.Name); err != nil {
			return Copied{}, err
		}
	}
	before, err := sumOf(to.Rows(ctx, t.Name))
	if err != nil {
		return Copied{}, err
	}
	var read rowSum
	err = to.StoreRows(ctx, t.Name, func(yield func([]any, error) bool) {
		for row, err := range from.Rows(ctx, t.Name) {
			if err == nil {
				read.add(row)
			}
			if !yield(row, err) {
				return
			}
		}
	})
	if err != nil {
		return Copied{}, err
	}
	stored, err := sumOf(to.Rows(ctx, t.Name))
	if err != nil {
		return Copied{}, err
	}
	if before.join(read); stored != before {
		return Copied{}, quant.Errorf(quant.Store, "copy the meta db: of table %s %d rows are stored, and not as they were read", t.Name, stored.rows).
			WithHint("nothing was changed; `quant doctor` examines the source")
	}
	return Copied{t.Name, read.rows, read.digest()}, nil
}

// RowsDigest is the number and the digest of rows, whatever their order: the same for the
// same rows in every engine.
func RowsDigest(rows iter.Seq2[[]any, error]) (int64, string, error) {
	s, err := sumOf(rows)
	return s.rows, s.digest(), err
}

// rowSum sums up rows in any order.
type rowSum struct {
	rows      int64
	low, high uint64 // of hashes, modulo 2^64 each
}

func sumOf(rows iter.Seq2[[]any, error]) (s rowSum, err error) {
	for row, err := range rows {
		if err != nil {
			return s, err
		}
		s.add(row)
	}
	return s, nil
}

func (s *rowSum) add(row []any) {
	text := make([]byte, 0, 256)
	for _, v := range row {
		switch v := v.(type) {
		case nil:
			text = append(text, 'n')
		case int64:
			text = binary.LittleEndian.AppendUint64(append(text, 'i'), uint64(v))
		case float64:
			if v == 0 {
				v = 0 // SQLite keeps no sign of it
			}
			text = binary.LittleEndian.AppendUint64(append(text, 'f'), math.Float64bits(v))
		case string:
			text = append(binary.LittleEndian.AppendUint64(append(text, 't'), uint64(len(v))), v...)
		default:
			text = fmt.Appendf(append(text, '?'), "%T %v", v, v)
		}
	}
	h := sha256.Sum256(text)
	s.rows++
	s.low += binary.LittleEndian.Uint64(h[:8])
	s.high += binary.LittleEndian.Uint64(h[8:])
}

// join adds the rows of another sum.
func (s *rowSum) join(o rowSum) {
	s.rows, s.low, s.high = s.rows+o.rows, s.low+o.low, s.high+o.high
}

func (s rowSum) digest() string {
	h := sha256.Sum256(fmt.Appendf(nil, "%d %d %d", s.rows, s.low, s.high))
	return "rows:" + hex.EncodeToString(h[:16])
}
