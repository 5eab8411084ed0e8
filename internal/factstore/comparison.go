package factstore

import (
	"context"

	"quant"
)

// BarValues are the numbers of a bar: open, high, low, close, volume and adjusted_close.
// NaN stands for NULL.
type BarValues [6]float64

// StoredRow is the column of a merge's diff that has the rowid of the row which each
// replaces, or NULL.
const StoredRow = "stored rowid"

// Comparison holds the bars that ohlcv has, so that rows which pass in any order are held
// against them one by one: a join of the two would put all rows of one of them into a
// table of hashes. It is for Merge in the transaction that it was made in, and for several
// goroutines.
type Comparison struct {
	symbols map[string]*ComparedSymbol
	values  [len(BarValues{})][]float64
	ids     []int64 // rowids
}

// ComparedSymbol are the bars of one symbol; nil has none.
type ComparedSymbol struct {
	of          *Comparison
	first, last quant.Date
	at          []int32 // by day from first: one more than the index in values; 0: no bar
}

// comparedBytes is what a Comparison takes for a row while it is made.
const comparedBytes = 48 + 8 + 4 + 4 + 8

// comparisonShare is the part of the engine's memory, one in so many, that a Comparison
// may take beside it.
const comparisonShare = 2

// CompareBars reads the bars that are stored. nil: they would take more than half of the
// engine's memory, some run of quant did not write one of them, or a day of a symbol is
// stored more than once; then Merge has to compare them.
func (tx *Tx) CompareBars(ctx context.Context) (*Comparison, error) {
	table := factTable(OHLCV)
	most := tx.db.Memory() / comparisonShare / comparedBytes
	var n int64
	if err := tx.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		return nil, tx.db.failure(ctx, "count the bars", err)
	}
	if n > most {
		return nil, nil
	}
	t, _ := LookupTable(OHLCV)
	var foreign bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM (SELECT DISTINCT "+t.Stamp+" FROM "+table+") f WHERE "+t.Unexplained()+")").Scan(&foreign); err != nil {
		return nil, tx.db.failure(ctx, "look for rows of other programs", err)
	}
	if foreign {
		return nil, nil
	}
	c := &Comparison{ids: make([]int64, 0, n)}
	for k := range c.values {
		c.values[k] = make([]float64, 0, n)
	}
	numbers, days := make([]int32, 0, n), make([]quant.Date, 0, n)
	var names Names
	var symbols []*ComparedSymbol // by number
	each := func(chunk *Chunk) error {
		from := len(days)
		numbers, days, c.ids = chunk.AppendNumbers(numbers, 0, &names), chunk.AppendDates(days, 1), chunk.AppendBigints(c.ids, 2)
		for k := range c.values {
			c.values[k] = chunk.AppendFloats(c.values[k], 3+k)
		}
		for i, day := range days[from:] {
			number := numbers[from+i]
			if int(number) == len(symbols) {
				symbols = append(symbols, &ComparedSymbol{of: c, first: day, last: day})
			}
			of := symbols[number]
			of.first, of.last = min(of.first, day), max(of.last, day)
		}
		return nil
	}
	err := tx.db.ReadAhead(ctx, func() error {
		return tx.db.Columns(ctx, "SELECT symbol, ts, rowid, open, high, low, close, volume, adjusted_close FROM "+table, nil, each)
	})
	if err != nil {
		return nil, tx.db.failure(ctx, "read the bars", err)
	}
	var places int64
	for _, of := range symbols {
		if places += int64(of.last) - int64(of.first) + 1; places > 2*most {
			return nil, nil // so far apart days are not found by their place
		}
	}
	c.symbols = make(map[string]*ComparedSymbol, len(symbols))
	for k, of := range symbols {
		of.at = make([]int32, int(of.last)-int(of.first)+1)
		c.symbols[names.List[k]] = of
	}
	for i, number := range numbers {
		of := symbols[number]
		at := &of.at[days[i]-of.first]
		if *at != 0 {
			return nil, nil
		}
		*at = int32(i + 1)
	}
	return c, nil
}

// Symbol are the stored bars of a symbol.
func (c *Comparison) Symbol(name string) *ComparedSymbol { return c.symbols[name] }

// NoRow is the rowid of no row.
const NoRow = -1

// Compare holds a bar against the stored one of its day. same: it would change nothing.
// id is the rowid of the row that it would replace, or NoRow.
func (s *ComparedSymbol) Compare(day quant.Date, values *BarValues) (id int64, same bool) {
	if s == nil || day < s.first || day > s.last {
		return NoRow, false
	}
	at := int(s.at[day-s.first]) - 1
	if at < 0 {
		return NoRow, false
	}
	for k, y := range values {
		if x := s.of.values[k][at]; x != y && (x == x || y == y) {
			return s.of.ids[at], false
		}
	}
	return s.of.ids[at], true
}
