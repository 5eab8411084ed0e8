package curator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/failpoint"
	"quant/internal/sqltext"
)

// errDoubt ends a direct ingest, which then has changed nothing: a row must be
// looked at more closely, or what is stored beside it.
var errDoubt = errors.New("not plainly sound")

// directFrom is the size, in bytes, from which a file is compared directly with
// bars that are stored. A smaller one costs little either way, and most often
// brings new days, which the direct way leaves to the careful one.
const directFrom = 8 << 20

// direct ingests one file in one pass, from the file into the table: the gate
// judges each row on its way, and what only all rows together show, that no day
// stands twice, is looked at before the commit. errDoubt: some row is not plainly a
// bar, or the file is of a kind that is not read so; nothing is changed then, and
// the careful way, which marks rows in a staging table, has all the rules and the
// words. Both give the same tables, ledger and report for what this one takes.
func (in *ingest) direct(ctx context.Context) error {
	if len(in.inputs) != 1 || in.inputs[0].leftOut != nil {
		return errDoubt
	}
	var filled bool
	if err := in.db.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM ohlcv)").Scan(&filled); err != nil {
		return err
	}
	input := in.inputs[0]
	if filled && input.Size < in.directFrom {
		return errDoubt
	}
	in.report = newReport()
	in.noticeTwice()
	d := &directFile{ingest: in, filled: filled}
	defer d.close(context.WithoutCancel(ctx))
	open := d.openText
	if input.Format == parquetFormat {
		open = d.openParquet
	}
	cols, err := open(ctx)
	if err != nil {
		return errors.Join(errDoubt, err)
	}
	if in.Symbol != "" && cols.at[symbol] >= 0 {
		return errDoubt // each row must say it
	}
	in.noticeNames()
	in.sources = []string{"file:" + clip(input.Name)}
	in.skipped = []bool{false}
	in.report.Files = []FileReport{{Path: input.fullPath(), Name: clip(input.Name), Format: input.formatName(), IgnoredColumns: cols.ignored}}
	if _, err = in.db.Write(ctx, in.RunID, func(ctx context.Context, tx *factstore.Tx) error { return d.store(ctx, tx, cols) }); err != nil {
		r := &in.report
		r.RowsInserted, r.RowsUpdated, r.RowsUnchanged, r.RowsRescaled, r.Revisions = 0, 0, 0, 0, 0
		r.stored = nil
	}
	return err
}

// directFile is a file on its direct way.
type directFile struct {
	*ingest
	filled bool                  // the table has rows
	rows   string                // query for the gate's columns
	name   string                // the symbol of every row of a text; "": each says its own
	text   *csvFile              // nil: a Parquet file
	table  *csvTable             // of text, that rows reads
	days   *coverage             // of the rows, when they are read
	stored *factstore.Comparison // nil: the merge compares
	held   func()                // releases the rows of a Parquet file that a comparison has left; may be nil
	digest chan hashing          // of a Parquet file, which is hashed beside; nil: it is hashed
	hashed hashing
}

// hashing is the digest of a file, or why there is none.
type hashing struct {
	digest string
	err    error
}

func (d *directFile) openText(ctx context.Context) (columns, error) {
	input := d.inputs[0]
	file, err := openCSV(ctx, input, d.plan)
	if err != nil {
		return columns{}, err
	}
	d.text = file
	if file.panels != nil {
		return columns{}, errDoubt
	}
	d.report.Notices = append(d.report.Notices, file.notices...)
	d.noticeShape(0, nil)
	if file.cols.at[symbol] < 0 {
		if d.name, err = d.symbolOf(input); err != nil {
			return columns{}, err
		}
	}
	file.split.onCut = func() { d.progress(0, Reading, file.read()) }
	return file.cols, register(d.db)
}

func (d *directFile) openParquet(ctx context.Context) (columns, error) {
	input := d.inputs[0]
	if input.Member != "" || input.packed {
		return columns{}, errDoubt
	}
	query, cols, panels, err := d.parquetQuery(ctx, d.db, input)
	if err != nil {
		return columns{}, err
	}
	if panels != nil {
		return columns{}, errDoubt
	}
	d.noticeShape(0, nil)
	if cols.at[symbol] < 0 {
		s, err := d.symbolOf(input)
		if err != nil {
			return columns{}, err
		}
		query = "SELECT *, " + sqltext.Literal(s) + " AS symbol FROM (" + query + ")"
	}
	d.rows = query
	d.digest = make(chan hashing, 1)
	go func() {
		f, _, digest, err := input.whole(ctx, func(read int64) { d.progress(0, Reading, read) })
		if err == nil {
			f.Close()
		}
		d.digest <- hashing{digest, err}
	}()
	return cols, nil
}

func (d *directFile) close(ctx context.Context) {
	if d.table != nil {
		d.table.close()
	}
	if d.text != nil {
		d.text.file.Close()
	}
	if d.held != nil {
		d.held()
	}
	d.awaitDigest()
}

func (d *directFile) awaitDigest() {
	if d.digest != nil {
		d.hashed = <-d.digest
		d.digest = nil
	}
}

// soundSQL is a condition on a row of the gate's columns that only plain bars
// fulfil, which no other rule looks at. It says what the first line of gateSQL
// says, with few comparisons, for those of doubles cost most: x - abs(x) is 0 for
// a number from 0 on, less for one below, and NaN for NaN and the infinite; and a
// sum of such is 0 only if each is.
func soundSQL(tomorrow string) string {
	var terms []string
	for _, x := range []string{"open - low", "high - open", "close - low", "high - close", "volume", "coalesce(adjusted_close, 1)"} {
		terms = append(terms, fmt.Sprintf("((%s) - abs(%[1]s))", x))
	}
	return fmt.Sprintf("fault = 0 AND symbol IS NOT NULL AND ts BETWEEN DATE '%s' AND DATE '%s' AND low > 0 AND coalesce(adjusted_close, 1) > 0 AND %s = 0",
		firstDay, tomorrow, strings.Join(terms, " + "))
}

// store merges the rows, judging them on the way, and fills the report.
func (d *directFile) store(ctx context.Context, tx *factstore.Tx, cols columns) error {
	doubtful := func(err error) error {
		if err == nil || ctx.Err() != nil {
			return err
		}
		return errors.Join(errDoubt, err)
	}
	if d.filled && cols.at[adjustedClose] < 0 {
		// Its rows keep the stored ones.
		var some bool
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM ohlcv WHERE adjusted_close IS NOT NULL)").Scan(&some); err != nil || some {
			return doubtful(errDoubt)
		}
	}
	err := d.compare(ctx, tx)
	if err != nil {
		return doubtful(err)
	}
	if d.text != nil {
		d.days = newCoverage(d.name)
		rules, err := d.directRows()
		if err != nil {
			return err
		}
		d.table = newCSVTable(d.text, 0, &d.texts, rules)
		d.rows = d.table.rowsSQL(d.name)
		ctx = d.table.serve(ctx)
	}
	replaces := ""
	if d.stored != nil {
		replaces = ", " + sqltext.Identifier(factstore.StoredRow)
	}
	// The doubt is an error of the statement, because a condition of it would be put
	// to the bounds that a file claims for its columns.
	if _, err := tx.Stage(ctx, "CREATE TEMP VIEW "+bars+" AS SELECT symbol, ts, CASE WHEN "+soundSQL(d.tomorrow)+" THEN open ELSE error('not plainly sound')::DOUBLE END AS open, high, low, close, volume, adjusted_close, "+
		sqltext.Literal(d.sources[0])+" AS "+sourceColumn+replaces+" FROM (SELECT fault, symbol, ts, open, high, low, close, "+d.volumeSQL()+", adjusted_close"+replaces+" FROM ("+d.rows+"))"); err != nil {
		return doubtful(err)
	}
	failpoint.Hit("ingest.staged")
	if d.table == nil && d.filled && d.days == nil {
		if err := d.survey(ctx, bars); err != nil {
			return doubtful(err)
		}
	}
	m := factstore.Merge{Table: factstore.OHLCV, Source: bars, Unique: true, Aside: []string{sourceColumn}, Review: func(ctx context.Context, diff string) (bool, error) {
		if d.table != nil {
			d.tellDays()
		}
		// Whether a symbol is on another scale is for the careful way to say.
		if list, err := lackingDays(ctx, tx, diff, d.bars); err != nil || list != "" {
			return false, cmp.Or(err, errDoubt)
		}
		return false, nil
	}}
	if m.Compared = d.stored != nil; m.Compared || d.table != nil {
		m.Once = func() int64 { return d.days.rows }
	}
	delta, err := d.merge(ctx, tx, m)
	d.awaitDigest() // which tells of its progress, too
	d.progress(0, Checking, d.inputs[0].Size)
	if err == nil && d.table == nil && !d.filled {
		err = d.survey(ctx, factstore.OHLCV)
	}
	if err != nil {
		return doubtful(err)
	}
	d.tellDays()
	if err := d.finish(); err != nil {
		return err
	}
	d.progress(0, Storing, d.inputs[0].Size)
	r := &d.report
	if r.RowsRead == 0 || delta.Inserted+delta.Updated+delta.Unchanged != r.RowsRead {
		return errDoubt
	}
	r.RowsInserted, r.RowsUpdated, r.RowsUnchanged = delta.Inserted, delta.Updated, delta.Unchanged
	r.RowsRescaled, r.Revisions = delta.Rescaled, delta.Revisions
	if all, err := d.isAll(ctx, tx); err != nil {
		return err
	} else if all {
		r.stored = d.days
	}
	if d.BeforeCommit != nil {
		if err := d.BeforeCommit(ctx, r.Symbols); err != nil {
			return err
		}
	}
	failpoint.Hit("ingest.merged")
	return nil
}

// merge merges; rows that goroutines parse and one thread stores in their order are
// stored by this thread.
func (d *directFile) merge(ctx context.Context, tx *factstore.Tx, m factstore.Merge) (delta factstore.Delta, err error) {
	if d.table != nil && !d.filled {
		if err := d.db.Alone(ctx, true); err != nil {
			return delta, err
		}
		defer func() { err = cmp.Or(err, d.db.Alone(context.WithoutCancel(ctx), false)) }()
	}
	return tx.Merge(ctx, m)
}

// isAll reports whether the table now has the rows of the file, and no others.
func (d *directFile) isAll(ctx context.Context, tx *factstore.Tx) (bool, error) {
	if !d.filled {
		return true, nil
	}
	var n int64
	err := tx.QueryRow(ctx, "SELECT count(*) FROM ohlcv").Scan(&n)
	return n == d.days.rows, err
}

// survey fills the report from the rows of a relation: their symbols and days.
// errTwice: a day of a symbol may stand there more than once.
func (d *directFile) survey(ctx context.Context, from string) error {
	first, last, err := d.reachOfDays()
	if err != nil {
		return err
	}
	d.days = newCoverage("")
	if err := d.days.addRows(ctx, d.db, from, first, last); err != nil {
		return err
	}
	return d.judgeSymbols()
}

// reachOfDays are the first day and the last that a bar may be of.
func (d *directFile) reachOfDays() (first, last day, err error) {
	from, err := quant.ParseDate(firstDay)
	if err != nil {
		return 0, 0, err
	}
	to, err := quant.ParseDate(d.tomorrow)
	return day(from), day(to), err
}

// judgeSymbols fills the report from the rows of a Parquet file, whose symbols are looked
// at once all are known.
func (d *directFile) judgeSymbols() error {
	for name := range d.days.symbols {
		if err := quant.ValidateSymbol(name); err != nil {
			return err
		}
	}
	d.tellDays()
	return nil
}

// tellDays fills the report from what is known of the rows.
func (d *directFile) tellDays() {
	if d.bars != nil {
		return
	}
	d.bars = map[string]int64{}
	d.days.fill(&d.report, d.bars)
	slices.Sort(d.report.Symbols)
}

// add takes a symbol of the one file and its days into the report.
func (r *Report) add(symbol string, first, last quant.Text) {
	f := &r.Files[0]
	r.Symbols = append(r.Symbols, symbol)
	f.Symbols++
	f.FirstDate, f.LastDate = earlier(f.FirstDate, first), max(f.LastDate, last)
	r.FirstDate, r.LastDate = f.FirstDate, f.LastDate
}

// finish is called once the rows are read: the file is still the same, and has a
// digest.
func (d *directFile) finish() (err error) {
	f := &d.report.Files[0]
	if d.text != nil {
		if err := d.text.checkNumbers(); err != nil {
			return err
		}
		f.Digest, err = d.text.finish()
		return err
	}
	if d.hashed.err != nil {
		return d.hashed.err
	}
	f.Digest = d.hashed.digest
	return d.stillSame(0)
}
