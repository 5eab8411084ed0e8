package factstore

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	duck "github.com/duckdb/duckdb-go-bindings"
	"github.com/duckdb/duckdb-go/v2"

	"quant"
)

// Rows cross between DuckDB and Go a column at a time: database/sql would box
// every value, at a hundred times the cost.

// Chunk is some rows of a query, a column at a time. It is valid until the
// function that was given it returns.
type Chunk struct {
	rows    int
	columns []chunkColumn
}

type chunkColumn struct {
	name  string
	kind  duck.Type
	data  unsafe.Pointer
	valid unsafe.Pointer // nil: no row is NULL
}

// Columns runs one statement that only reads, and gives each its rows, chunk
// after chunk, in the order of the statement. A text, an integer, a float, a
// boolean and a quant.Date may be bound. Errors: as Query; the error of each ends the
// query and is returned as it is; the cause of ctx.
//
// Columns of DOUBLE, INTEGER, DATE, BIGINT, TIMESTAMP, BOOLEAN and TEXT can be read;
// cast others. Asking for a column as something else panics: the statement and
// the asking stand side by side.
func (db *DB) Columns(ctx context.Context, query string, args []any, each func(*Chunk) error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	ctx = db.within(ctx)
	if err := db.mustBe(ctx, "read", query, duckdb.STATEMENT_TYPE_SELECT); err != nil {
		return err
	}
	return db.told(db.conn.Raw(func(c any) error {
		conn, err := engineConnection(c)
		if err != nil {
			return err
		}
		var stmt duck.PreparedStatement
		defer duck.DestroyPrepare(&stmt)
		if duck.Prepare(conn, query, &stmt) == duck.StateError {
			return fmt.Errorf("%s", duck.PrepareError(stmt))
		}
		for i, arg := range args {
			if err := bindArgument(stmt, duck.IdxT(i+1), arg); err != nil {
				return err
			}
		}
		var pending duck.PendingResult
		defer duck.DestroyPending(&pending)
		if duck.PendingPreparedStreaming(stmt, &pending) == duck.StateError {
			return fmt.Errorf("%s", duck.PendingError(pending))
		}
		interrupted := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(interrupted)
			duck.Interrupt(conn)
		})
		defer func() {
			if !stop() {
				<-interrupted // it must meet neither another statement nor a connection that is closed
			}
		}()
		var res duck.Result
		defer duck.DestroyResult(&res)
		if duck.ExecutePending(pending, &res) == duck.StateError {
			return causeOr(ctx, duck.ResultError(&res))
		}
		chunk := &Chunk{columns: make([]chunkColumn, duck.ColumnCount(&res))}
		for i := range chunk.columns {
			chunk.columns[i].name = duck.ColumnName(&res, duck.IdxT(i))
			chunk.columns[i].kind = duck.ColumnType(&res, duck.IdxT(i))
		}
		chunks, end := fetchAhead(res)
		defer end()
		for data := range chunks {
			chunk.bind(data)
			if chunk.rows > 0 {
				err = each(chunk)
			}
			duck.DestroyDataChunk(&data)
			if err == nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				return err
			}
		}
		if msg := duck.ResultError(&res); msg != "" {
			return causeOr(ctx, msg)
		}
		return context.Cause(ctx)
	}))
}

// ReadAhead runs do while DuckDB makes rows of Columns further ahead of their reader than
// its one megabyte: with that its other threads mostly wait for room. It is for millions
// of rows that are dealt with faster than they are made, and costs that memory.
func (db *DB) ReadAhead(ctx context.Context, do func() error) error {
	if _, err := db.conn.ExecContext(ctx, "SET streaming_buffer_size = '32MiB'"); err != nil {
		return db.told(err)
	}
	err := do()
	if _, failed := db.conn.ExecContext(context.WithoutCancel(ctx), "RESET streaming_buffer_size"); err == nil && failed != nil && ctx.Err() == nil {
		err = db.told(failed)
	}
	return err
}

// chunksAhead is how many chunks DuckDB makes while one is read.
const chunksAhead = 4

// fetchAhead gives the chunks of a result in their order, and makes the next ones while
// one is read. After end nothing of the result is used any more.
func fetchAhead(res duck.Result) (chunks <-chan duck.DataChunk, end func()) {
	ahead, ended := make(chan duck.DataChunk, chunksAhead), make(chan struct{})
	go func() {
		defer close(ahead)
		for {
			data := duck.FetchChunk(res)
			if data.Ptr == nil {
				return
			}
			select {
			case ahead <- data:
			case <-ended:
				duck.DestroyDataChunk(&data)
				return
			}
		}
	}()
	return ahead, func() {
		close(ended)
		for data := range ahead {
			duck.DestroyDataChunk(&data)
		}
	}
}

func causeOr(ctx context.Context, msg string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%s", msg)
}

// engineConnection is DuckDB's own connection of the driver's, which the driver
// does not show: TEMP tables and the transaction are its.
func engineConnection(c any) (conn duck.Connection, err error) {
	driver, ok := c.(*duckdb.Conn)
	if !ok {
		return conn, quant.Errorf(quant.Failed, "the connection to duckdb is a %T", c)
	}
	field := reflect.ValueOf(driver).Elem().FieldByName("conn")
	if !field.IsValid() || field.Type() != reflect.TypeFor[duck.Connection]() {
		return conn, quant.Errorf(quant.Failed, "duckdb-go keeps its connection elsewhere than the version that this program is built for")
	}
	return *(*duck.Connection)(field.Addr().UnsafePointer()), nil
}

func bindArgument(stmt duck.PreparedStatement, i duck.IdxT, arg any) error {
	var state duck.State
	switch v := arg.(type) {
	case string:
		state = duck.BindVarchar(stmt, i, v)
	case quant.Text:
		state = duck.BindVarchar(stmt, i, string(v))
	case quant.Date:
		state = duck.BindVarchar(stmt, i, v.String())
	case int:
		state = duck.BindInt64(stmt, i, int64(v))
	case int32:
		state = duck.BindInt64(stmt, i, int64(v))
	case int64:
		state = duck.BindInt64(stmt, i, v)
	case float64:
		state = duck.BindDouble(stmt, i, v)
	case bool:
		state = duck.BindBoolean(stmt, i, v)
	default:
		return quant.Errorf(quant.Failed, "argument %d is a %T, which cannot be bound here", i, arg)
	}
	if state == duck.StateError {
		return quant.Errorf(quant.Failed, "argument %d cannot be bound: %s", i, duck.PrepareError(stmt))
	}
	return nil
}

func (c *Chunk) bind(data duck.DataChunk) {
	c.rows = int(duck.DataChunkGetSize(data))
	for i := range c.columns {
		v := duck.DataChunkGetVector(data, duck.IdxT(i))
		c.columns[i].data = duck.VectorGetData(v)
		c.columns[i].valid = unsafe.Pointer(duck.VectorGetValidity(v))
	}
}

// Len is the number of rows.
func (c *Chunk) Len() int { return c.rows }

// Null reports whether a value is NULL.
func (c *Chunk) Null(column, row int) bool {
	valid := c.columns[column].valid
	return valid != nil && *(*uint64)(unsafe.Add(valid, row/64*8))>>(row%64)&1 == 0
}

// view is a column in DuckDB's own memory; a NULL stands there as anything.
func view[T any](c *Chunk, column int, kinds ...duck.Type) []T {
	of := c.columns[column]
	if !slices.Contains(kinds, of.kind) {
		panic(fmt.Sprintf("column %s of the query is of DuckDB's type %d, and is asked for as another", of.name, of.kind))
	}
	return unsafe.Slice((*T)(of.data), c.rows)
}

// AppendFloats appends a column of DOUBLE; NULL is NaN.
func (c *Chunk) AppendFloats(to []float64, column int) []float64 {
	from := len(to)
	to = append(to, view[float64](c, column, duck.TypeDouble)...)
	if c.columns[column].valid != nil {
		for i := range c.rows {
			if c.Null(column, i) {
				to[from+i] = math.NaN()
			}
		}
	}
	return to
}

// AppendIntegers appends a column of INTEGER; NULL is 0.
func (c *Chunk) AppendIntegers(to []int32, column int) []int32 {
	return appendView(c, to, column, duck.TypeInteger)
}

// AppendDates appends a column of DATE; NULL is 0.
func (c *Chunk) AppendDates(to []quant.Date, column int) []quant.Date {
	return appendView(c, to, column, duck.TypeDate)
}

// AppendBigints appends a column of BIGINT, or of TIMESTAMP in microseconds since
// 1970; NULL is 0.
func (c *Chunk) AppendBigints(to []int64, column int) []int64 {
	return appendView(c, to, column, duck.TypeBigInt, duck.TypeTimestamp)
}

// AppendHashes appends a column of what DuckDB's hash gives; NULL is 0.
func (c *Chunk) AppendHashes(to []uint64, column int) []uint64 {
	return appendView(c, to, column, duck.TypeUBigInt)
}

// AppendBooleans appends a column of BOOLEAN; NULL is false.
func (c *Chunk) AppendBooleans(to []bool, column int) []bool {
	return appendView(c, to, column, duck.TypeBoolean)
}

func appendView[T any](c *Chunk, to []T, column int, kinds ...duck.Type) []T {
	from := len(to)
	to = append(to, view[T](c, column, kinds...)...)
	if c.columns[column].valid != nil {
		var zero T
		for i := range c.rows {
			if c.Null(column, i) {
				to[from+i] = zero
			}
		}
	}
	return to
}

// Text is a value of a column of TEXT, "" for NULL, in DuckDB's own memory: copy
// (strings.Clone) what must outlive the chunk.
func (c *Chunk) Text(column, row int) string {
	const inline = 12 // bytes of a text that stands in the value itself
	if c.Null(column, row) {
		return ""
	}
	value := unsafe.Pointer(&view[[16]byte](c, column, duck.TypeVarchar)[row])
	n := *(*uint32)(value)
	if n <= inline {
		return unsafe.String((*byte)(unsafe.Add(value, 4)), n)
	}
	return unsafe.String(*(**byte)(unsafe.Add(value, 8)), n)
}

// Names gives each text a number, so that rows can be told apart by a comparison
// of numbers. The zero value has none.
type Names struct {
	List   []string // by number, in the order of their first appearance
	number map[string]int32
	last   int32
	next   []int32 // the text that came after each the last time
}

// Number is the number of a text, which may be in DuckDB's memory. The same text
// as the time before costs least, and then the one that followed it before.
func (n *Names) Number(text string) int32 {
	if n.number == nil {
		n.number = map[string]int32{}
	} else if text == n.List[n.last] {
		return n.last
	} else if k := n.next[n.last]; text == n.List[k] {
		n.last = k
		return k
	}
	k, known := n.number[text]
	if !known {
		text = strings.Clone(text)
		k = int32(len(n.List))
		n.List, n.next = append(n.List, text), append(n.next, k)
		n.number[text] = k
	}
	n.next[n.last] = k
	n.last = k
	return k
}

// AppendNumbers appends the numbers of a column of TEXT.
func (c *Chunk) AppendNumbers(to []int32, column int, names *Names) []int32 {
	values := view[[2]uint64](c, column, duck.TypeVarchar)
	var number int32
	for i := range c.rows {
		// Two values of a chunk that are alike, with what they point to, are one text.
		if i == 0 || values[i] != values[i-1] || c.columns[column].valid != nil {
			number = names.Number(c.Text(column, i))
		}
		to = append(to, number)
	}
	return to
}

// Column is a column that Go holds, for DB.Hold and RowDigest. Exactly one of the
// slices of values is set.
type Column struct {
	Name     string
	Floats   []float64 // DOUBLE; NaN is NULL, unless NaNs
	Integers []int32   // INTEGER
	Dates    []quant.Date
	Bigints  []int64
	Booleans []bool
	// Texts are dear, about 100 ns each, but where Numbers say which of them each row
	// has: then a text costs once.
	Texts   []string
	Numbers []int32 // indices of Texts; below 0: NULL
	Nulls   []bool  // the rows that are NULL whatever their value; nil: none
	NaNs    bool    // NaN is a number
}

// Len is the number of rows.
func (c Column) Len() int { return c.rows() }

func (c Column) rows() int {
	if c.Numbers != nil {
		return len(c.Numbers)
	}
	return max(len(c.Floats), len(c.Integers), len(c.Dates), len(c.Bigints), len(c.Booleans), len(c.Texts))
}

func (c Column) kind() duckdb.Type {
	switch {
	case c.Floats != nil:
		return duckdb.TYPE_DOUBLE
	case c.Integers != nil:
		return duckdb.TYPE_INTEGER
	case c.Dates != nil:
		return duckdb.TYPE_DATE
	case c.Bigints != nil:
		return duckdb.TYPE_BIGINT
	case c.Booleans != nil:
		return duckdb.TYPE_BOOLEAN
	}
	return duckdb.TYPE_VARCHAR
}

// Rows are the rows from one to before another.
func (c Column) Rows(from, to int) Column {
	cut := Column{Name: c.Name, Texts: c.Texts, NaNs: c.NaNs}
	switch {
	case c.Floats != nil:
		cut.Floats = c.Floats[from:to]
	case c.Integers != nil:
		cut.Integers = c.Integers[from:to]
	case c.Dates != nil:
		cut.Dates = c.Dates[from:to]
	case c.Bigints != nil:
		cut.Bigints = c.Bigints[from:to]
	case c.Booleans != nil:
		cut.Booleans = c.Booleans[from:to]
	case c.Numbers != nil:
		cut.Numbers = c.Numbers[from:to]
	default:
		cut.Texts = c.Texts[from:to]
	}
	if c.Nulls != nil {
		cut.Nulls = c.Nulls[from:to]
	}
	return cut
}

// joinColumns are the rows of several relations of the same columns, one after
// the other.
func joinColumns(parts [][]Column) []Column {
	if len(parts) == 1 {
		return parts[0]
	}
	joined := make([]Column, len(parts[0]))
	for k := range joined {
		to := &joined[k]
		to.Name = parts[0][k].Name
		var names Names
		nulls := false
		for _, part := range parts {
			nulls = nulls || part[k].Nulls != nil
		}
		for _, part := range parts {
			c := part[k]
			to.Floats, to.Integers, to.Dates = append(to.Floats, c.Floats...), append(to.Integers, c.Integers...), append(to.Dates, c.Dates...)
			to.Bigints, to.Booleans = append(to.Bigints, c.Bigints...), append(to.Booleans, c.Booleans...)
			if nulls {
				to.Nulls = append(to.Nulls, c.Nulls...)
				if c.Nulls == nil {
					to.Nulls = append(to.Nulls, make([]bool, c.rows())...)
				}
			}
			if c.Numbers == nil {
				to.Texts = append(to.Texts, c.Texts...)
				continue
			}
			number := make([]int32, len(c.Texts))
			for i, text := range c.Texts {
				number[i] = names.Number(text)
			}
			for _, n := range c.Numbers {
				if n >= 0 {
					n = number[n]
				}
				to.Numbers = append(to.Numbers, n)
			}
		}
		if to.Numbers != nil {
			to.Texts = names.List
		}
	}
	return joined
}

// heldFunction is the table function of DB.Hold; its argument is which.
const heldFunction = "quant_held"

// held are the columns that statements of a DB may read.
type heldColumns struct {
	mu   sync.Mutex
	next int64
	by   map[int64]heldRelation
}

// heldRelation is what one call of Hold or Produce made known. With a producer the
// columns say names, types and texts, and blocks have the rows.
type heldRelation struct {
	columns []heldColumn
	rows    int
	produce func() func() ([]Column, error)
}

// heldColumn is a column with the vector of its texts, where numbers say which.
type heldColumn struct {
	Column
	dictionary duck.Vector
}

// dictionaryOf is a vector of texts, and behind them a NULL.
func dictionaryOf(texts []string) duck.Vector {
	kind := duck.CreateLogicalType(duck.TypeVarchar)
	defer duck.DestroyLogicalType(&kind)
	v := duck.CreateVector(kind, duck.IdxT(len(texts)+1))
	for i, text := range texts {
		duck.VectorAssignStringElement(v, duck.IdxT(i), text)
	}
	setNull(v, len(texts))
	return v
}

// Hold makes columns of equal length a relation that statements of Query, Columns,
// Stage and Tx.Insert read, and returns the text that stands for it after FROM.
// The columns are read where they are: they must not change until release is
// called, which ends the relation. DuckDB keeps their order, and reads them on one
// thread; within Unordered on all.
func (db *DB) Hold(columns ...Column) (relation string, release func(), err error) {
	for _, c := range columns {
		if c.rows() != columns[0].rows() {
			return "", nil, quant.Errorf(quant.Failed, "column %s has %d rows, %s has %d", c.Name, c.rows(), columns[0].Name, columns[0].rows())
		}
	}
	return db.hold(heldRelation{rows: columns[0].rows()}, columns)
}

// Produce is Hold of about so many rows that are made while they are read: each thread
// of DuckDB that reads calls a function of its own, which produce returns, for a block
// of rows until that has none. A block is read before the next call, and its memory may
// then be used again. columns say, without rows, the names, the types and the Texts of
// the columns of every block. Within Unordered produce and what it returned are called
// by several threads at a time.
func (db *DB) Produce(columns []Column, rows int, produce func() func() ([]Column, error)) (relation string, release func(), err error) {
	return db.hold(heldRelation{rows: rows, produce: produce}, columns)
}

func (db *DB) hold(r heldRelation, columns []Column) (relation string, release func(), err error) {
	bigint, err := duckdb.NewTypeInfo(duckdb.TYPE_BIGINT)
	if err != nil {
		return "", nil, err
	}
	if err := register(db, heldFunction, duckdb.ParallelChunkTableFunction{
		Config: duckdb.TableFunctionConfig{Arguments: []duckdb.TypeInfo{bigint}},
		BindArguments: func(_ map[string]any, args ...any) (duckdb.ParallelChunkTableSource, error) {
			id, _ := args[0].(int64)
			db.made.columns.mu.Lock()
			defer db.made.columns.mu.Unlock()
			relation, ok := db.made.columns.by[id]
			if !ok {
				return nil, fmt.Errorf("there are no columns %d", id)
			}
			return &heldTable{heldRelation: relation}, nil
		},
	}); err != nil {
		return "", nil, err
	}
	held := make([]heldColumn, len(columns))
	for i, c := range columns {
		held[i].Column = c
		if c.Numbers != nil {
			held[i].dictionary = dictionaryOf(c.Texts)
		}
	}
	r.columns = held
	db.made.columns.mu.Lock()
	defer db.made.columns.mu.Unlock()
	if db.made.columns.by == nil {
		db.made.columns.by = map[int64]heldRelation{}
	}
	db.made.columns.next++
	id := db.made.columns.next
	db.made.columns.by[id] = r
	return fmt.Sprintf("%s(%d)", heldFunction, id), func() {
		db.made.columns.mu.Lock()
		defer db.made.columns.mu.Unlock()
		delete(db.made.columns.by, id)
		for i := range held {
			duck.DestroyVector(&held[i].dictionary)
		}
	}, nil
}

// Unordered runs do while DuckDB is free to store and return rows in any order,
// which lets it insert on all threads. What do inserts must mean the same in every
// order.
//
// A DB that shares its engine with others (Beside) keeps the order: the setting is the
// engine's.
func (db *DB) Unordered(ctx context.Context, do func() error) error {
	if db.life != nil {
		return do()
	}
	if _, err := db.conn.ExecContext(ctx, "SET preserve_insertion_order = false"); err != nil {
		return err
	}
	err := do()
	if _, failed := db.conn.ExecContext(context.WithoutCancel(ctx), "SET preserve_insertion_order = true"); failed != nil && err == nil {
		err = failed
	}
	return err
}

// heldTable is one reading of held columns.
type heldTable struct {
	heldRelation
	taken atomic.Int64 // rows that some thread has taken
}

// heldBlock is how many rows a thread takes at a time: those of one of DuckDB's
// row groups.
const heldBlock = 122_880

// heldBlockRead is what a thread is reading.
type heldBlockRead struct {
	columns  []heldColumn
	from, to int
	next     func() ([]Column, error) // of a producer
}

// block begins the next rows; none are left: from is to.
func (t *heldTable) block(b *heldBlockRead) error {
	if t.produce == nil {
		b.columns = t.columns
		b.from = min(int(t.taken.Add(heldBlock))-heldBlock, t.rows)
		b.to = min(b.from+heldBlock, t.rows)
		return nil
	}
	if b.next == nil {
		b.next, b.columns = t.produce(), slices.Clone(t.columns)
	}
	rows, err := b.next()
	if b.from, b.to = 0, 0; err != nil || rows == nil {
		return err
	}
	for k := range b.columns {
		b.columns[k].Column = rows[k]
	}
	b.to = rows[0].rows()
	return nil
}

// ColumnInfos implements duckdb.ParallelChunkTableSource.
func (t *heldTable) ColumnInfos() []duckdb.ColumnInfo {
	infos := make([]duckdb.ColumnInfo, len(t.columns))
	for i, c := range t.columns {
		kind, _ := duckdb.NewTypeInfo(c.kind()) // fails for nested types only
		infos[i] = duckdb.ColumnInfo{Name: c.Name, T: kind}
	}
	return infos
}

// Cardinality implements duckdb.ParallelChunkTableSource.
func (t *heldTable) Cardinality() *duckdb.CardinalityInfo {
	return &duckdb.CardinalityInfo{Cardinality: uint(t.rows), Exact: t.produce == nil}
}

// Init implements duckdb.ParallelChunkTableSource.
func (t *heldTable) Init() duckdb.ParallelTableSourceInfo {
	if t.produce != nil {
		return duckdb.ParallelTableSourceInfo{MaxThreads: runtime.GOMAXPROCS(0)}
	}
	return duckdb.ParallelTableSourceInfo{MaxThreads: (t.rows + heldBlock - 1) / heldBlock}
}

// NewLocalState implements duckdb.ParallelChunkTableSource.
func (t *heldTable) NewLocalState() any { return &heldBlockRead{} }

// FillChunk implements duckdb.ParallelChunkTableSource.
func (t *heldTable) FillChunk(state any, chunk duckdb.DataChunk) (err error) {
	defer func() {
		if p := recover(); p != nil { // a panic must not unwind into C++
			err = fmt.Errorf("read columns: panic: %v", p)
		}
	}()
	b := state.(*heldBlockRead)
	if b.from == b.to {
		if err := t.block(b); err != nil {
			return err
		}
	}
	n := min(b.to-b.from, duckdb.GetDataChunkCapacity())
	raw, projection, err := engineChunk(&chunk)
	if err != nil {
		return err
	}
	for i, c := range b.columns {
		k := i
		if projection != nil {
			k = projection[i]
		}
		if k >= 0 {
			c.fill(duck.DataChunkGetVector(raw, duck.IdxT(k)), b.from, n)
		}
	}
	b.from += n
	duck.DataChunkSetSize(raw, duck.IdxT(n))
	return nil
}

// FillColumn writes n rows of a column, from one on, into a column of a chunk that a
// table function is to fill, or nothing where the statement does not read it.
func FillColumn(chunk *duckdb.DataChunk, at int, c Column, from, n int) error {
	raw, projection, err := engineChunk(chunk)
	if err != nil {
		return err
	}
	if projection != nil {
		if at = projection[at]; at < 0 {
			return nil
		}
	}
	held := heldColumn{Column: c}
	switch {
	case c.Numbers == nil:
	case len(c.Texts) > n: // a dictionary of them would be larger than the rows
		texts := make([]string, n)
		for i, number := range c.Numbers[from : from+n] {
			texts[i] = c.Texts[number]
		}
		held, from = heldColumn{Column: Column{Texts: texts}}, 0
	default:
		held.dictionary = dictionaryOf(c.Texts)
		defer duck.DestroyVector(&held.dictionary)
	}
	held.fill(duck.DataChunkGetVector(raw, duck.IdxT(at)), from, n)
	return nil
}

// fill writes rows of the column into a vector of DuckDB.
func (c heldColumn) fill(v duck.Vector, from, n int) {
	switch {
	case c.Numbers != nil:
		c.choose(v, from, n)
		return
	case c.Floats != nil:
		values := c.Floats[from : from+n]
		copyInto(v, values)
		for i, x := range values {
			if x != x && !c.NaNs {
				setNull(v, i)
			}
		}
	case c.Integers != nil:
		copyInto(v, c.Integers[from:from+n])
	case c.Dates != nil:
		copyInto(v, c.Dates[from:from+n])
	case c.Bigints != nil:
		copyInto(v, c.Bigints[from:from+n])
	case c.Booleans != nil:
		copyInto(v, c.Booleans[from:from+n])
	default:
		for i, text := range c.Texts[from : from+n] {
			if c.Nulls == nil || !c.Nulls[from+i] {
				duck.VectorAssignStringElement(v, duck.IdxT(i), text)
			}
		}
	}
	if c.Nulls != nil {
		for i, null := range c.Nulls[from : from+n] {
			if null {
				setNull(v, i)
			}
		}
	}
}

// choose makes a vector of the texts that numbers say: each text stands in memory
// once.
func (c heldColumn) choose(v duck.Vector, from, n int) {
	chosen := duck.CreateSelectionVector(duck.IdxT(n))
	defer duck.DestroySelectionVector(&chosen)
	at := unsafe.Slice((*uint32)(unsafe.Pointer(duck.SelectionVectorGetDataPtr(chosen))), n)
	for i, number := range c.Numbers[from : from+n] {
		if number < 0 || c.Nulls != nil && c.Nulls[from+i] {
			number = int32(len(c.Texts))
		}
		at[i] = uint32(number)
	}
	duck.VectorReferenceVector(v, c.dictionary)
	duck.SliceVector(v, chosen, duck.IdxT(n))
}

func copyInto[T any](v duck.Vector, values []T) {
	copy(unsafe.Slice((*T)(duck.VectorGetData(v)), len(values)), values)
}

func setNull(v duck.Vector, row int) {
	valid := duck.VectorGetValidity(v)
	if valid == nil {
		duck.VectorEnsureValidityWritable(v)
		valid = duck.VectorGetValidity(v)
	}
	*(*uint64)(unsafe.Add(valid, row/64*8)) &^= 1 << (row % 64)
}

// engineChunk is DuckDB's own chunk of the driver's, which the driver lets be
// filled value by value, and for each column the vector of it that is read, or
// -1.
func engineChunk(chunk *duckdb.DataChunk) (raw duck.DataChunk, projection []int, err error) {
	of := reflect.ValueOf(chunk).Elem()
	data, columns := of.FieldByName("chunk"), of.FieldByName("projection")
	if !data.IsValid() || data.Type() != reflect.TypeFor[duck.DataChunk]() || !columns.IsValid() || columns.Type() != reflect.TypeFor[[]int]() {
		return raw, nil, quant.Errorf(quant.Failed, "duckdb-go keeps its chunks elsewhere than the version that this program is built for")
	}
	return *(*duck.DataChunk)(data.Addr().UnsafePointer()), *(*[]int)(columns.Addr().UnsafePointer()), nil
}
