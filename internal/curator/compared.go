package curator

import (
	"context"
	"math"

	"quant"
	"quant/internal/factstore"
)

// maxChanged is how many rows of a Parquet file may be held that are not stored as they
// are; of more the merge finds out which they are.
const maxChanged = 1 << 20

// comparedAtOnce is how many rows of a Parquet file are held against stored ones at a time.
const comparedAtOnce = 1 << 16

// numbersSound reports of a bar without a fault and with a symbol what soundSQL does of
// its numbers; NaN is a missing one.
func numbersSound(bar *factstore.BarValues) bool {
	at := func(f field) float64 { return bar[f-open] }
	high, low, adjusted := at(high), at(low), at(adjustedClose)
	return low > 0 && low <= at(open) && at(open) <= high && low <= at(closing) && at(closing) <= high && high <= math.MaxFloat64 &&
		at(volume) >= 0 && at(volume) <= math.MaxFloat64 && (math.IsNaN(adjusted) || adjusted > 0 && adjusted <= math.MaxFloat64)
}

// leaveStored takes the sound rows out that are stored as they are.
func (b *batch) leaveStored(d *directRows) {
	list := make([]*factstore.ComparedSymbol, max(1, len(b.names.List)))
	list[0] = d.stored.Symbol(d.days.name)
	for k, name := range b.names.List {
		list[k] = d.stored.Symbol(name)
	}
	to := 0
	for i := range b.n {
		of := list[0]
		if d.days.name == "" {
			of = list[b.symbol[i]]
		}
		var bar factstore.BarValues
		for f := range bar {
			if bar[f] = math.NaN(); len(b.number[f]) > 0 {
				bar[f] = b.number[f][i]
			}
		}
		if f := volume - open; d.zeroVolume && math.IsNaN(bar[f]) {
			bar[f] = 0
		}
		day := quant.Date(b.day[i])
		id, same := of.Compare(day, &bar)
		if same && numbersSound(&bar) && day >= d.first && day <= d.last {
			continue
		}
		b.day[to] = b.day[i]
		if d.days.name == "" {
			b.symbol[to] = b.symbol[i]
		}
		for f := range b.number {
			if len(b.number[f]) > 0 {
				b.number[f][to] = b.number[f][i]
			}
		}
		b.stored, b.fresh = append(b.stored, id), append(b.fresh, id == factstore.NoRow)
		to++
	}
	b.n = to
}

// compare has the rows of the file held against those that are stored on their way: of a
// Parquet file here, of a text while the merge takes them. errDoubt, errTwice.
func (d *directFile) compare(ctx context.Context, tx *factstore.Tx) (err error) {
	if !d.filled {
		return nil
	}
	if d.stored, err = tx.CompareBars(ctx); err != nil || d.stored == nil || d.text != nil {
		return err
	}
	changed, err := d.changedRows(ctx)
	if err != nil {
		return err
	}
	if changed == nil {
		d.stored = nil
		return nil
	}
	columns := []factstore.Column{
		{Name: symbol.String(), Numbers: changed.symbol, Texts: changed.names.List},
		{Name: "day", Integers: changed.day},
		{Name: factstore.StoredRow, Bigints: changed.stored, Nulls: changed.fresh},
	}
	for f, values := range changed.number {
		columns = append(columns, factstore.Column{Name: (open + field(f)).String(), Floats: values})
	}
	relation, release, err := d.db.Hold(columns...)
	if err != nil {
		return err
	}
	d.held = release
	d.rows = "SELECT 0::UTINYINT AS fault, DATE '1970-01-01' + day AS ts, * EXCLUDE (day) FROM " + relation
	return nil
}

// changedRows reads a Parquet file, fills the report from its rows, and returns those that
// are not stored as they are; nil: they are too many.
func (d *directFile) changedRows(ctx context.Context) (*batch, error) {
	d.days = newCoverage("")
	direct, err := d.directRows()
	if err != nil {
		return nil, err
	}
	changed := &batch{day: []int32{}, symbol: []int32{}, stored: []int64{}, fresh: []bool{}}
	for f := range changed.number {
		changed.number[f] = []float64{}
	}
	var rows batch
	look := func() error {
		rows.n = len(rows.day)
		if err := d.days.add(&rows); err != nil {
			return err
		}
		if changed != nil {
			rows.leaveStored(direct)
			if changed.take(&rows); changed.n > maxChanged {
				changed = nil
			}
		}
		names := rows.names
		rows.reset()
		rows.names = names
		return nil
	}
	var days []quant.Date
	var faulty []bool
	each := func(chunk *factstore.Chunk) error {
		rows.symbol = chunk.AppendNumbers(rows.symbol, 0, &rows.names)
		days, faulty = chunk.AppendDates(days[:0], 1), chunk.AppendBooleans(faulty[:0], 2)
		for i, at := range days {
			if faulty[i] || chunk.Null(0, i) || chunk.Null(1, i) || at < direct.first || at > direct.last {
				return errDoubt
			}
			rows.day = append(rows.day, int32(at))
		}
		for f := range rows.number {
			from := len(rows.number[f])
			rows.number[f] = chunk.AppendFloats(rows.number[f], 3+f)
			for i, x := range rows.number[f][from:] {
				// An adjusted close alone may be missing, and none is NaN.
				if math.IsNaN(x) && !(open+field(f) == adjustedClose && chunk.Null(3+f, i)) {
					return errDoubt
				}
			}
		}
		if len(rows.day) < comparedAtOnce {
			return nil
		}
		return look()
	}
	err = d.db.ReadAhead(ctx, func() error {
		return d.db.Columns(ctx, "SELECT symbol, ts, fault <> 0, open, high, low, close, volume, adjusted_close FROM (SELECT fault, symbol, ts, open, high, low, close, "+
			d.volumeSQL()+", adjusted_close FROM ("+d.rows+"))", nil, each)
	})
	if err == nil {
		err = look()
	}
	if err == nil {
		err = d.judgeSymbols()
	}
	if err != nil || changed == nil {
		return nil, err
	}
	changed.names = rows.names
	return changed, nil
}

// directRows are the rules of the rows of this file.
func (d *directFile) directRows() (*directRows, error) {
	first, last, err := d.reachOfDays()
	return &directRows{d.days, d.stored, d.zeroVolume, quant.Date(first), quant.Date(last)}, err
}

// take appends the rows of another batch, whose names have the same numbers.
func (b *batch) take(rows *batch) {
	b.day, b.symbol = append(b.day, rows.day[:rows.n]...), append(b.symbol, rows.symbol[:rows.n]...)
	for f := range b.number {
		b.number[f] = append(b.number[f], rows.number[f][:rows.n]...)
	}
	b.stored, b.fresh = append(b.stored, rows.stored...), append(b.fresh, rows.fresh...)
	b.n += rows.n
}
