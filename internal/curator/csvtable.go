package curator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"

	"github.com/duckdb/duckdb-go/v2"

	"quant"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// csvTable gives the rows of one CSV file to DuckDB in the file's order, as a
// table function. Goroutines parse blocks ahead of it; DuckDB's thread only
// copies what they made.
type csvTable struct {
	file   *csvFile
	index  int // of the file
	texts  *rejectTexts
	direct *directRows // nil: rows of any kind

	names   bool  // there is a symbol column
	numbers []int // the number fields that the file has
	ordered chan chan *batch
	done    chan struct{}
	stopped sync.Once
	workers sync.WaitGroup
	batch   *batch
	pos     int
	err     error
	pool    sync.Pool
}

// directRows are those of a table that holds sound rows alone: one with a fault, or a
// day that stands twice, ends it (errDoubt), and neither lines nor faults are among its
// columns.
type directRows struct {
	days *coverage
	// stored, which may be nil, leaves the rows out that are stored as they are; the
	// others have a column factstore.StoredRow.
	stored      *factstore.Comparison
	zeroVolume  bool       // a row without a volume has 0
	first, last quant.Date // that a bar may be of
}

// batch is the rows of one block, column by column.
type batch struct {
	n      int
	line   []int64
	fault  []uint8
	day    []int32
	symbol []int32 // numbers of names
	names  factstore.Names
	number [numberFields][]float64
	stored []int64 // rowids of what the rows replace
	fresh  []bool  // the rows that replace none
	err    error   // that stands behind the rows
}

// rejectText is the text of a row that could not be understood.
type rejectText struct {
	file int
	line int64
	text string
}

// rejectTexts keeps such texts, up to a limit over all files; the rows
// themselves are all kept.
type rejectTexts struct {
	mu    sync.Mutex
	bytes int
	rows  []rejectText
}

// maxTexts is how many bytes of such texts are kept.
const maxTexts = 64 << 20

func (t *rejectTexts) add(file int, line int64, text []byte) {
	s := clip(string(text[:min(len(text), 2*maxText)]))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bytes+len(s) <= maxTexts {
		t.bytes += len(s)
		t.rows = append(t.rows, rejectText{file, line, s})
	}
}

func newCSVTable(file *csvFile, index int, texts *rejectTexts, d *directRows) *csvTable {
	t := &csvTable{file: file, index: index, texts: texts, direct: d, names: file.cols.at[symbol] >= 0,
		ordered: make(chan chan *batch, runtime.GOMAXPROCS(0)+1), done: make(chan struct{})}
	for f := range numberFields {
		if file.cols.at[open+field(f)] >= 0 {
			t.numbers = append(t.numbers, f)
		}
	}
	t.pool.New = func() any { return new(batch) }
	t.workers.Add(1)
	go t.read()
	return t
}

// close ends the goroutines. What the table has not yet given is lost.
func (t *csvTable) close() {
	t.stopped.Do(func() { close(t.done) })
	t.workers.Wait()
}

// read takes the blocks off the file and has them parsed, each by a goroutine
// of its own; cap(t.ordered) bounds how many there are.
func (t *csvTable) read() {
	defer t.workers.Done()
	defer close(t.ordered)
	for {
		b, err := t.file.split.next()
		if errors.Is(err, io.EOF) {
			return
		}
		result := make(chan *batch, 1)
		select {
		case <-t.done:
			return
		case t.ordered <- result:
		}
		if err != nil {
			result <- &batch{err: err}
			return
		}
		t.workers.Add(1)
		go func() {
			defer t.workers.Done()
			result <- t.parse(b)
		}()
	}
}

func (t *csvTable) parse(b block) (out *batch) {
	defer func() {
		if p := recover(); p != nil {
			out = &batch{err: fmt.Errorf("read %s: panic: %v", t.file.split.path, p)}
		}
	}()
	out = t.pool.Get().(*batch)
	out.reset()
	r := t.file.rows(b)
	var row row
	known, number := "", int32(-1)
	for {
		more, err := r.read(&row)
		if more && err == nil && t.direct != nil && row.fault != sound {
			err = errDoubt
		}
		if err != nil || !more {
			out.err = err
			if err == nil && t.direct != nil {
				if out.err = t.direct.days.add(out); out.err == nil && t.direct.stored != nil {
					out.leaveStored(t.direct)
				}
			}
			t.file.split.release(b)
			return out
		}
		place := row.line
		if t.file.panels != nil {
			if place >= panelLines {
				out.err = quant.Errorf(quant.Invalid, "%s: has more than %d rows, with columns for several symbols", t.file.split.path, panelLines-1).
					WithHint("write it with a row for each bar")
				return out
			}
			place += int64(row.panel) * panelLines
		}
		if row.fault != sound {
			t.texts.add(t.index, place, row.text)
			if !row.fault.lacksPrice() {
				if t.file.panels == nil {
					row.symbol = nil
				}
				row.day, row.number = 0, [numberFields]float64{}
			}
		}
		out.line = append(out.line, place)
		out.fault = append(out.fault, uint8(row.fault))
		out.day = append(out.day, int32(row.day))
		for _, f := range t.numbers {
			out.number[f] = append(out.number[f], row.number[f])
		}
		if t.names {
			if number < 0 || string(row.symbol) != known {
				known = string(row.symbol)
				number = out.names.Number(known)
			}
			out.symbol = append(out.symbol, number)
		}
		out.n++
	}
}

func (b *batch) reset() {
	b.n, b.err, b.names = 0, nil, factstore.Names{}
	b.line, b.fault, b.day, b.symbol = b.line[:0], b.fault[:0], b.day[:0], b.symbol[:0]
	b.stored, b.fresh = b.stored[:0], b.fresh[:0]
	for f := range b.number {
		b.number[f] = b.number[f][:0]
	}
}

// ColumnInfos implements duckdb.ChunkTableSource.
func (t *csvTable) ColumnInfos() []duckdb.ColumnInfo {
	info := func(typ duckdb.Type, name string) duckdb.ColumnInfo {
		ti, _ := duckdb.NewTypeInfo(typ) // fails for nested types only
		return duckdb.ColumnInfo{Name: name, T: ti}
	}
	var infos []duckdb.ColumnInfo
	if t.direct == nil {
		infos = append(infos, info(duckdb.TYPE_BIGINT, "line"), info(duckdb.TYPE_UTINYINT, "fault"))
	}
	infos = append(infos, info(duckdb.TYPE_INTEGER, "day"))
	for _, f := range t.numbers {
		infos = append(infos, info(duckdb.TYPE_DOUBLE, (open+field(f)).String()))
	}
	if t.names {
		infos = append(infos, info(duckdb.TYPE_VARCHAR, "symbol"))
	}
	if t.compares() {
		infos = append(infos, info(duckdb.TYPE_BIGINT, factstore.StoredRow))
	}
	return infos
}

// compares reports whether rows that are stored are left out.
func (t *csvTable) compares() bool { return t.direct != nil && t.direct.stored != nil }

// Cardinality implements duckdb.ChunkTableSource: not known.
func (t *csvTable) Cardinality() *duckdb.CardinalityInfo { return nil }

// Init implements duckdb.ChunkTableSource.
func (t *csvTable) Init() {}

// FillChunk implements duckdb.ChunkTableSource.
func (t *csvTable) FillChunk(chunk duckdb.DataChunk) (err error) {
	defer func() {
		if p := recover(); p != nil { // a panic must not unwind into C++
			err = fmt.Errorf("read %s: panic: %v", t.file.split.path, p)
		}
	}()
	for t.batch == nil || t.pos >= t.batch.n {
		if t.batch != nil {
			if t.batch.err != nil {
				t.err = t.batch.err
				t.batch = &batch{err: t.err}
				return errors.Join(chunk.SetSize(0), t.err)
			}
			t.pool.Put(t.batch)
			t.batch = nil
		}
		result, more := <-t.ordered
		if !more {
			return chunk.SetSize(0)
		}
		t.batch, t.pos = <-result, 0
	}
	return t.copy(chunk)
}

func (t *csvTable) copy(chunk duckdb.DataChunk) error {
	b, from := t.batch, t.pos
	n := min(b.n-from, duckdb.GetDataChunkCapacity())
	t.pos += n
	at := 0
	var err error
	fill := func(c factstore.Column) {
		err = errors.Join(err, factstore.FillColumn(&chunk, at, c, from, n))
		at++
	}
	if t.direct == nil {
		fill(factstore.Column{Bigints: b.line})
		for i, f := range b.fault[from : from+n] {
			err = errors.Join(err, duckdb.SetChunkValue(chunk, at, i, f))
		}
		at++
	}
	fill(factstore.Column{Integers: b.day})
	for _, f := range t.numbers {
		fill(factstore.Column{Floats: b.number[f], NaNs: true})
	}
	if t.names {
		fill(factstore.Column{Numbers: b.symbol, Texts: b.names.List})
	}
	if t.compares() {
		fill(factstore.Column{Bigints: b.stored, Nulls: b.fresh})
	}
	return errors.Join(err, chunk.SetSize(n))
}

// rowsSQL is a query for the table's rows as the gate reads them. name is the symbol
// of each, where there is no column.
func (t *csvTable) rowsSQL(name string) string {
	exprs := []string{"DATE '1970-01-01' + day AS ts", "symbol"}
	if !t.names {
		exprs[1] = sqltext.Literal(name) + " AS symbol"
	}
	if t.direct == nil {
		exprs = append(exprs, "line", "fault")
	} else {
		exprs = append(exprs, fmt.Sprintf("%d::UTINYINT AS fault", sound))
	}
	for f := open; f < fieldCount; f++ {
		switch {
		case t.file.cols.at[f] < 0:
			exprs = append(exprs, "NULL::DOUBLE AS "+f.String())
		case t.direct != nil && f < volume: // a sound row has them
			exprs = append(exprs, f.String())
		default:
			exprs = append(exprs, "nullif("+f.String()+", 'nan'::DOUBLE) AS "+f.String())
		}
	}
	if t.compares() {
		exprs = append(exprs, sqltext.Identifier(factstore.StoredRow))
	}
	return "SELECT " + strings.Join(exprs, ", ") + " FROM " + csvFunction + "()"
}

type csvTableKey struct{}

// serve makes t the table that a statement run with the returned context may
// read from, by the table function that register made known.
func (t *csvTable) serve(ctx context.Context) context.Context {
	return context.WithValue(ctx, csvTableKey{}, t)
}
