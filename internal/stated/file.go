package stated

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"quant"
	"quant/internal/arrowfile"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// kind is what the values of a column are.
type kind int

const (
	text    kind = iota // VARCHAR
	number              // DOUBLE
	day                 // DATE
	moment              // TIMESTAMP, the wall clock of nowhere in particular
	instant             // TIMESTAMP WITH TIME ZONE
	other               // nothing that is read
)

// column is a column of a file.
type column struct {
	name  string
	kind  kind
	first string // the first value that is one, as text; "": there is none
}

// The formats.
const (
	parquetFormat = "parquet"
	arrowFormat   = "arrow"
	csvFormat     = "csv"
)

// maxColumns bounds the width of a file.
const maxColumns = 20_000

// read stages the rows of the file in raw, and finds its columns, its format and its
// digest.
func (in *importing) read(ctx context.Context) error {
	f, err := os.Open(in.File)
	if err != nil {
		return in.fileError(err)
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return in.fileError(err)
	}
	in.before = before
	switch {
	case before.IsDir():
		return in.invalid("is a directory").WithHint("name a file in it")
	case !before.Mode().IsRegular():
		return in.invalid("is not a regular file").WithHint("save the data to a file first: it is read more than once")
	case before.Size() == 0:
		return in.noText()
	}
	head := make([]byte, 512)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return in.fileError(err)
	}
	head = head[:n]
	sum := durable.NewSum()
	if _, err := io.Copy(sum, f); err != nil {
		return in.fileError(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return in.fileError(err)
	}
	in.report.Digest = sum.Digest()
	switch {
	case bytes.HasPrefix(head, []byte("PAR1")):
		in.report.Format, err = parquetFormat, in.readParquet(ctx)
	case arrowfile.Begins(head):
		in.report.Format, err = arrowFormat, in.readArrow(ctx, f, before.Size())
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), bytes.HasPrefix(head, []byte("\x89HDF")), bytes.HasPrefix(head, []byte("FEA1")):
		return in.invalid("is of a format that is not read here").WithHint("write it as Parquet, Arrow (Feather version 2) or CSV")
	default:
		in.report.Format, err = csvFormat, in.readCSV(ctx)
	}
	if err != nil {
		return err
	}
	if len(in.columns) > maxColumns {
		return in.tooWide(len(in.columns))
	}
	if in.texts { // what they hold is read when it is known what they are
		return nil
	}
	if err := in.unchanged(); err != nil {
		return err
	}
	return in.look(ctx)
}

// unchanged is Failed where the file is not as it was when its reading began.
func (in *importing) unchanged() error {
	after, err := os.Stat(in.File)
	if before := in.before; err != nil || !os.SameFile(before, after) || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		return quant.Errorf(quant.Failed, "%s: was changed while it was read", in.label()).WithHint("import it again when it is whole")
	}
	return nil
}

// label is the file's name, for messages.
func (in *importing) label() string { return quant.Clip(in.masked(in.File), 200) }

func (in *importing) masked(s string) string {
	if in.Mask == nil {
		return s
	}
	return in.Mask(s)
}

func (in *importing) invalid(format string, args ...any) *quant.Error {
	return quant.Errorf(quant.Invalid, "%s: %s", in.label(), fmt.Sprintf(format, args...))
}

func (in *importing) fileError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return quant.Errorf(quant.NotFound, "%s: no such file", in.label()).WithHint("check the name")
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return quant.Errorf(quant.Failed, "%s: cannot be read: %w", in.label(), err).WithHint("check the file and its permissions")
}

// unreadable is what DuckDB or the Arrow reader says of a file that it cannot read.
func (in *importing) unreadable(ctx context.Context, as string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if factstore.OutOfMemory(err) {
		return quant.Errorf(quant.Failed, "%s: takes more memory than the Fact DB may have", in.label()).WithHint("raise --memory-limit, or import it in parts")
	}
	return in.invalid("cannot be read as %s: %s", as, quant.Clip(quant.FirstLine(err.Error()), 200)).WithHint("the file may be damaged or cut off: write it again")
}

// kindOf is the kind of a type of DuckDB.
func kindOf(typ string) kind {
	base, _, _ := strings.Cut(typ, "(")
	switch base {
	case "VARCHAR", "ENUM":
		return text
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "BOOLEAN":
		return number
	case "DATE":
		return day
	case "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS":
		return moment
	case "TIMESTAMP WITH TIME ZONE":
		return instant
	}
	return other
}

// stored is how a column of a kind stands in raw.
func (k kind) stored(expr string) string {
	switch k {
	case text:
		return "CAST(" + expr + " AS VARCHAR)"
	case number:
		return "CAST(" + expr + " AS DOUBLE)"
	case moment:
		return "CAST(" + expr + " AS TIMESTAMP)"
	case other:
		return "NULL::VARCHAR"
	}
	return expr
}

func rawColumn(i int) string { return fmt.Sprintf("c%d", i) }

// readRelation stages what DuckDB reads.
func (in *importing) readRelation(ctx context.Context, as, relation, line string) error {
	rows, err := in.db.Query(ctx, "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM "+relation+")")
	if err != nil {
		return in.unreadable(ctx, as, err)
	}
	defer rows.Close()
	selected := []string{line + " AS line"}
	for rows.Next() {
		var name, typ string
		if err := rows.Scan(&name, &typ); err != nil {
			return in.unreadable(ctx, as, err)
		}
		if name == rowNumber {
			continue
		}
		k := kindOf(typ)
		selected = append(selected, k.stored(sqltext.Identifier(name))+" AS "+rawColumn(len(in.columns)))
		in.columns = append(in.columns, column{name: name, kind: k})
	}
	if err := rows.Err(); err != nil {
		return in.unreadable(ctx, as, err)
	}
	rows.Close()
	if _, err := in.db.Stage(ctx, "CREATE TEMP TABLE "+raw+" AS SELECT "+strings.Join(selected, ", ")+" FROM "+relation); err != nil {
		return in.unreadable(ctx, as, err)
	}
	return nil
}

// rowNumber is the column by which DuckDB tells the rows of a Parquet file.
const rowNumber = "file_row_number"

func (in *importing) readParquet(ctx context.Context) error {
	path, err := sqltext.File(in.File)
	if err != nil {
		return in.fileError(err)
	}
	return in.readRelation(ctx, "Parquet", "read_parquet("+path+", file_row_number = true, hive_partitioning = false, union_by_name = false, filename = false)", rowNumber+" + 1")
}

// readArrow stages the batches of an Arrow file.
func (in *importing) readArrow(ctx context.Context, f *os.File, size int64) error {
	line := int64(0)
	var create []string
	err := arrowfile.Read(ctx, f, size, func(schema *arrow.Schema) error {
		create = []string{"line BIGINT"}
		for i, field := range schema.Fields() {
			k := kindOfArrow(field.Type)
			in.columns = append(in.columns, column{name: field.Name, kind: k})
			create = append(create, rawColumn(i)+" "+[]string{"VARCHAR", "DOUBLE", "DATE", "TIMESTAMP", "TIMESTAMPTZ", "VARCHAR"}[k])
		}
		return in.stage(ctx, "CREATE TEMP TABLE "+raw+" ("+strings.Join(create, ", ")+")")
	}, func(batch arrow.RecordBatch) error {
		rows := int(batch.NumRows())
		for from := 0; from < rows; from += arrowStep {
			to := min(from+arrowStep, rows)
			if err := in.stageBatch(ctx, batch, from, to, line); err != nil {
				return err
			}
			line += int64(to - from)
		}
		return nil
	})
	if _, ours := errors.AsType[*quant.Error](err); err == nil || ours {
		return err
	}
	return in.unreadable(ctx, "Arrow", err)
}

// arrowStep is how many rows of a batch are staged at once: a batch of nulls may say
// that it has any number.
const arrowStep = 100_000

func (in *importing) stageBatch(ctx context.Context, batch arrow.RecordBatch, from, to int, line int64) error {
	n := to - from
	numbers := make([]int64, n)
	for i := range numbers {
		numbers[i] = line + int64(i) + 1
	}
	held := []factstore.Column{{Name: "line", Bigints: numbers}}
	selected := []string{"line"}
	for i, c := range in.columns {
		name := rawColumn(i)
		values, err := arrowValues(name, c.kind, batch.Column(i), from, to)
		if err != nil {
			return err
		}
		held = append(held, values)
		switch c.kind {
		case moment:
			name = "make_timestamp(" + name + ")"
		case instant:
			name = "timezone('UTC', make_timestamp(" + name + "))"
		}
		selected = append(selected, name)
	}
	relation, release, err := in.db.Hold(held...)
	if err != nil {
		return err
	}
	defer release()
	return in.stage(ctx, "INSERT INTO temp.main."+raw+" SELECT "+strings.Join(selected, ", ")+" FROM "+relation)
}

func kindOfArrow(t arrow.DataType) kind {
	switch t := t.(type) {
	case *arrow.DictionaryType:
		return kindOfArrow(t.ValueType)
	case *arrow.TimestampType:
		if t.TimeZone != "" {
			return instant
		}
		return moment
	}
	switch t.ID() {
	case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW:
		return text
	case arrow.DATE32:
		return day
	case arrow.DATE64:
		return moment
	case arrow.FLOAT16, arrow.FLOAT32, arrow.FLOAT64, arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64,
		arrow.UINT8, arrow.UINT16, arrow.UINT32, arrow.UINT64, arrow.BOOL,
		arrow.DECIMAL32, arrow.DECIMAL64, arrow.DECIMAL128, arrow.DECIMAL256:
		return number
	}
	return other
}

// arrowValues are rows of a column. NULL is NULL; NaN stays a number.
func arrowValues(name string, k kind, a arrow.Array, from, to int) (factstore.Column, error) {
	n := to - from
	c := factstore.Column{Name: name, Nulls: make([]bool, n)}
	at := func(i int) int { return i } // of a dictionary: which of its values
	values := a
	if d, ok := a.(*array.Dictionary); ok {
		values = d.Dictionary()
		at = d.GetValueIndex
	}
	for i := range n {
		c.Nulls[i] = a.IsNull(from+i) || values.IsNull(at(from+i))
	}
	switch k {
	case number:
		c.Floats, c.NaNs = make([]float64, n), true
		double, err := arrowDouble(values)
		if err != nil {
			return c, err
		}
		for i := range n {
			if !c.Nulls[i] {
				c.Floats[i] = double(at(from + i))
			}
		}
	case day:
		c.Dates = make([]quant.Date, n)
		for i := range n {
			if !c.Nulls[i] {
				c.Dates[i] = quant.Date(values.(*array.Date32).Value(at(from + i)))
			}
		}
	case moment, instant:
		c.Bigints = make([]int64, n)
		for i := range n {
			if c.Nulls[i] {
				continue
			}
			switch v := values.(type) {
			case *array.Date64:
				c.Bigints[i] = int64(v.Value(at(from+i))) * 1000
			case *array.Timestamp:
				micros, ok := microseconds(int64(v.Value(at(from+i))), v.DataType().(*arrow.TimestampType).Unit)
				c.Bigints[i], c.Nulls[i] = micros, !ok
			}
		}
	case text:
		// Few symbols stand on many rows.
		var names factstore.Names
		c.Numbers = make([]int32, n)
		for i := range n {
			if c.Nulls[i] {
				c.Numbers[i] = -1
				continue
			}
			c.Numbers[i] = names.Number(strings.ToValidUTF8(values.ValueStr(at(from+i)), "?"))
		}
		c.Nulls, c.Texts = nil, names.List
	default:
		c.Numbers, c.Nulls, c.Texts = make([]int32, n), nil, []string{""}
		for i := range c.Numbers {
			c.Numbers[i] = -1
		}
	}
	return c, nil
}

// microseconds since 1970 of a time in a unit; not ok beyond what a timestamp holds.
func microseconds(v int64, unit arrow.TimeUnit) (int64, bool) {
	const most = int64(9e18)
	factor := int64(1)
	switch unit {
	case arrow.Second:
		factor = 1_000_000
	case arrow.Millisecond:
		factor = 1000
	case arrow.Nanosecond:
		micros := v / 1000
		if v%1000 < 0 {
			micros--
		}
		return micros, true
	}
	if v > most/factor || v < -most/factor {
		return 0, false
	}
	return v * factor, true
}

func arrowDouble(a arrow.Array) (func(int) float64, error) {
	switch a := a.(type) {
	case *array.Float64:
		return a.Value, nil
	case *array.Float32:
		return func(i int) float64 { return float64(a.Value(i)) }, nil
	case *array.Float16:
		return func(i int) float64 { return float64(a.Value(i).Float32()) }, nil
	case *array.Int64:
		return func(i int) float64 { return float64(a.Value(i)) }, nil
	case *array.Int32:
		return func(i int) float64 { return float64(a.Value(i)) }, nil
	case *array.Int16:
		return func(i int) float64 { return float64(a.Value(i)) }, nil
	case *array.Int8:
		return func(i int) float64 { return float64(a.Value(i)) }, nil
	case *array.Uint64:
		return func(i int) float64 { return float64(a.Value(i)) }, nil
	case *array.Uint32:
		return func(i int) float64 { return float64(a.Value(i)) }, nil
	case *array.Uint16:
		return func(i int) float64 { return float64(a.Value(i)) }, nil
	case *array.Uint8:
		return func(i int) float64 { return float64(a.Value(i)) }, nil
	case *array.Boolean:
		return func(i int) float64 {
			if a.Value(i) {
				return 1
			}
			return 0
		}, nil
	case *array.Decimal32, *array.Decimal64, *array.Decimal128, *array.Decimal256:
		return func(i int) float64 {
			x, _ := quant.ParseNumber(a.ValueStr(i)) // its own spelling of a decimal
			return x
		}, nil
	}
	return nil, quant.Errorf(quant.Invalid, "a column of %s cannot be read", a.DataType()).WithHint("write it as a double")
}

// look finds the first value of each column of text.
func (in *importing) look(ctx context.Context) error {
	if err := in.db.QueryRow(ctx, "SELECT count(*) FROM temp.main."+raw).Scan(&in.report.RowsRead); err != nil {
		return err
	}
	if in.report.RowsRead == 0 {
		return in.empty()
	}
	var list []string
	var at []int
	for i, c := range in.columns {
		if c.kind == text {
			list, at = append(list, "arg_min("+rawColumn(i)+", line) FILTER (trim("+rawColumn(i)+") <> '')"), append(at, i)
		}
	}
	if list == nil {
		return nil
	}
	values, targets := make([]sql.NullString, len(list)), make([]any, len(list))
	for i := range values {
		targets[i] = &values[i]
	}
	if err := in.db.QueryRow(ctx, "SELECT "+strings.Join(list, ", ")+" FROM temp.main."+raw).Scan(targets...); err != nil {
		return err
	}
	for i, k := range at {
		in.columns[k].first = values[i].String
	}
	return nil
}
