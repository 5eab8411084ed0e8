package sandbox

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unsafe"

	duck "github.com/duckdb/duckdb-go-bindings"

	"quant/internal/output/rows"
)

// reader turns the values of one DuckDB vector into texts. It is made once for
// a column, bound to each chunk's vector, and asked row by row. It reads the
// vector's memory in place; what it appends is a copy.
type reader struct {
	id       duck.Type
	isJSON   bool
	width    int       // elements of an ARRAY
	digits   int       // of a DECIMAL
	scale    int       // of a DECIMAL
	physical duck.Type // of a DECIMAL or an ENUM
	labels   []string  // of an ENUM
	names    [][]byte  // quoted member names of a STRUCT or UNION
	children []*reader // element; key and value; members (UNION: the tag first)

	data  unsafe.Pointer
	valid unsafe.Pointer
}

func newReader(t duck.LogicalType) (*reader, error) {
	r := &reader{id: duck.GetTypeId(t)}
	child := func(t duck.LogicalType) error {
		defer duck.DestroyLogicalType(&t)
		c, err := newReader(t)
		r.children = append(r.children, c)
		return err
	}
	switch r.id {
	case duck.TypeBoolean, duck.TypeTinyInt, duck.TypeSmallInt, duck.TypeInteger, duck.TypeBigInt,
		duck.TypeUTinyInt, duck.TypeUSmallInt, duck.TypeUInteger, duck.TypeUBigInt, duck.TypeHugeInt, duck.TypeUHugeInt,
		duck.TypeFloat, duck.TypeDouble, duck.TypeDate, duck.TypeTime, duck.TypeTimeNS, duck.TypeTimeTZ,
		duck.TypeTimestamp, duck.TypeTimestampS, duck.TypeTimestampMS, duck.TypeTimestampNS, duck.TypeTimestampTZ,
		duck.TypeInterval, duck.TypeUUID, duck.TypeBlob, duck.TypeBit, duck.TypeSQLNull:
	case duck.TypeVarchar:
		r.isJSON = duck.LogicalTypeGetAlias(t) == "JSON"
	case duck.TypeDecimal:
		r.digits, r.scale = int(duck.DecimalWidth(t)), int(duck.DecimalScale(t))
		r.physical = duck.DecimalInternalType(t)
	case duck.TypeEnum:
		r.physical = duck.EnumInternalType(t)
		for i := range duck.EnumDictionarySize(t) {
			r.labels = append(r.labels, duck.EnumDictionaryValue(t, duck.IdxT(i)))
		}
	case duck.TypeList:
		return r, child(duck.ListTypeChildType(t))
	case duck.TypeArray:
		r.width = int(duck.ArrayTypeArraySize(t))
		return r, child(duck.ArrayTypeChildType(t))
	case duck.TypeMap:
		if err := child(duck.MapTypeKeyType(t)); err != nil {
			return nil, err
		}
		return r, child(duck.MapTypeValueType(t))
	case duck.TypeStruct:
		for i := range duck.StructTypeChildCount(t) {
			r.names = append(r.names, rows.AppendQuoted(nil, []byte(duck.StructTypeChildName(t, i))))
			if err := child(duck.StructTypeChildType(t, i)); err != nil {
				return nil, err
			}
		}
	case duck.TypeUnion:
		r.children = append(r.children, &reader{id: duck.TypeUTinyInt})
		for i := range duck.UnionTypeMemberCount(t) {
			r.names = append(r.names, rows.AppendQuoted(nil, []byte(duck.UnionTypeMemberName(t, i))))
			if err := child(duck.UnionTypeMemberType(t, i)); err != nil {
				return nil, err
			}
		}
	default:
		return nil, fmt.Errorf("its type has no text form here")
	}
	return r, nil
}

// right reports whether the column stands to the right in a table.
func (r *reader) right() bool {
	switch r.id {
	case duck.TypeTinyInt, duck.TypeSmallInt, duck.TypeInteger, duck.TypeBigInt, duck.TypeUTinyInt, duck.TypeUSmallInt,
		duck.TypeUInteger, duck.TypeUBigInt, duck.TypeHugeInt, duck.TypeUHugeInt, duck.TypeFloat, duck.TypeDouble, duck.TypeDecimal:
		return true
	}
	return false
}

// typeName is the type of the column in DuckDB's words; JSON for what has a JSON
// document as its text.
func (r *reader) typeName() string {
	switch r.id {
	case duck.TypeVarchar:
		if r.isJSON {
			return "JSON"
		}
	case duck.TypeDecimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", r.digits, r.scale)
	}
	if name := typeNames[r.id]; name != "" {
		return name
	}
	return "VARCHAR"
}

var typeNames = map[duck.Type]string{
	duck.TypeBoolean: "BOOLEAN", duck.TypeTinyInt: "TINYINT", duck.TypeSmallInt: "SMALLINT", duck.TypeInteger: "INTEGER", duck.TypeBigInt: "BIGINT",
	duck.TypeUTinyInt: "UTINYINT", duck.TypeUSmallInt: "USMALLINT", duck.TypeUInteger: "UINTEGER", duck.TypeUBigInt: "UBIGINT",
	duck.TypeHugeInt: "HUGEINT", duck.TypeUHugeInt: "UHUGEINT", duck.TypeFloat: "FLOAT", duck.TypeDouble: "DOUBLE",
	duck.TypeDate: "DATE", duck.TypeTime: "TIME", duck.TypeTimeNS: "TIME_NS", duck.TypeTimeTZ: "TIMETZ",
	duck.TypeTimestamp: "TIMESTAMP", duck.TypeTimestampS: "TIMESTAMP_S", duck.TypeTimestampMS: "TIMESTAMP_MS", duck.TypeTimestampNS: "TIMESTAMP_NS",
	duck.TypeTimestampTZ: "TIMESTAMPTZ", duck.TypeInterval: "INTERVAL", duck.TypeUUID: "UUID", duck.TypeBlob: "BLOB", duck.TypeBit: "BIT",
	duck.TypeList: "JSON", duck.TypeArray: "JSON", duck.TypeMap: "JSON", duck.TypeStruct: "JSON", duck.TypeUnion: "JSON",
}

func (r *reader) bind(v duck.Vector) {
	r.valid = duck.VectorGetValidity(v)
	r.data = duck.VectorGetData(v)
	switch r.id {
	case duck.TypeList:
		r.children[0].bind(duck.ListVectorGetChild(v))
	case duck.TypeArray:
		r.children[0].bind(duck.ArrayVectorGetChild(v))
	case duck.TypeMap:
		entries := duck.ListVectorGetChild(v)
		r.children[0].bind(duck.StructVectorGetChild(entries, 0))
		r.children[1].bind(duck.StructVectorGetChild(entries, 1))
	case duck.TypeStruct, duck.TypeUnion:
		for i, c := range r.children {
			c.bind(duck.StructVectorGetChild(v, duck.IdxT(i)))
		}
	}
}

// at returns the row-th value of a vector whose values are T.
func at[T any](r *reader, row int) T {
	var zero T
	return *(*T)(unsafe.Add(r.data, uintptr(row)*unsafe.Sizeof(zero)))
}

type (
	wide struct{ lo, hi uint64 }
	span struct {
		months, days int32
		micros       int64
	}
	listSpan struct{ offset, length uint64 }
)

// inline is the longest text that stands in a string value itself.
const inline = 12

// bytes returns the row-th text of a VARCHAR, BLOB or BIT vector, in place.
func (r *reader) bytes(row int) []byte {
	p := unsafe.Add(r.data, row*16)
	n := *(*uint32)(p)
	if n <= inline {
		return unsafe.Slice((*byte)(unsafe.Add(p, 4)), n)
	}
	return unsafe.Slice(*(**byte)(unsafe.Add(p, 8)), n)
}

// has reports whether the row-th value is not NULL.
func (r *reader) has(row int) bool {
	return r.id != duck.TypeSQLNull && (r.valid == nil || *(*uint64)(unsafe.Add(r.valid, row/64*8))>>(row%64)&1 == 1)
}

// append writes the row-th value's text after b.
func (r *reader) append(b []byte, row int) ([]byte, rows.Kind) {
	if !r.has(row) {
		return b, rows.Null
	}
	switch r.id {
	case duck.TypeDouble:
		return appendFloat(b, at[float64](r, row), 64)
	case duck.TypeFloat:
		return appendFloat(b, float64(at[float32](r, row)), 32)
	case duck.TypeVarchar:
		s := r.bytes(row)
		if r.isJSON && json.Valid(s) {
			return append(b, s...), rows.Nested
		}
		return append(b, s...), rows.Text
	case duck.TypeBigInt:
		return strconv.AppendInt(b, at[int64](r, row), 10), rows.Number
	case duck.TypeInteger:
		return strconv.AppendInt(b, int64(at[int32](r, row)), 10), rows.Number
	case duck.TypeSmallInt:
		return strconv.AppendInt(b, int64(at[int16](r, row)), 10), rows.Number
	case duck.TypeTinyInt:
		return strconv.AppendInt(b, int64(at[int8](r, row)), 10), rows.Number
	case duck.TypeUBigInt:
		return strconv.AppendUint(b, at[uint64](r, row), 10), rows.Number
	case duck.TypeUInteger:
		return strconv.AppendUint(b, uint64(at[uint32](r, row)), 10), rows.Number
	case duck.TypeUSmallInt:
		return strconv.AppendUint(b, uint64(at[uint16](r, row)), 10), rows.Number
	case duck.TypeUTinyInt:
		return strconv.AppendUint(b, uint64(at[uint8](r, row)), 10), rows.Number
	case duck.TypeHugeInt:
		w := at[wide](r, row)
		return appendWide(b, int64(w.hi), w.lo, 0), rows.Number
	case duck.TypeUHugeInt:
		w := at[wide](r, row)
		return appendUwide(b, w.hi, w.lo), rows.Number
	case duck.TypeDecimal:
		switch r.physical {
		case duck.TypeSmallInt:
			return appendDecimal(b, int64(at[int16](r, row)), r.scale), rows.Number
		case duck.TypeInteger:
			return appendDecimal(b, int64(at[int32](r, row)), r.scale), rows.Number
		case duck.TypeBigInt:
			return appendDecimal(b, at[int64](r, row), r.scale), rows.Number
		}
		w := at[wide](r, row)
		return appendWide(b, int64(w.hi), w.lo, r.scale), rows.Number
	case duck.TypeBoolean:
		return strconv.AppendBool(b, at[uint8](r, row) != 0), rows.Bool
	case duck.TypeDate:
		return appendDate(b, at[int32](r, row)), rows.Text
	case duck.TypeTimestamp, duck.TypeTimestampTZ:
		return appendTimestamp(b, at[int64](r, row), 1e6), rows.Text
	case duck.TypeTimestampS:
		return appendTimestamp(b, at[int64](r, row), 1), rows.Text
	case duck.TypeTimestampMS:
		return appendTimestamp(b, at[int64](r, row), 1e3), rows.Text
	case duck.TypeTimestampNS:
		return appendTimestamp(b, at[int64](r, row), 1e9), rows.Text
	case duck.TypeTime:
		return appendTime(b, at[int64](r, row), 1e6), rows.Text
	case duck.TypeTimeNS:
		return appendTime(b, at[int64](r, row), 1e9), rows.Text
	case duck.TypeTimeTZ:
		// 40 bits of microseconds, then 24 bits of offset, stored reversed so
		// that values sort by instant.
		v := at[uint64](r, row)
		const maxOffset = 16*60*60 - 1
		b = appendTime(b, int64(v>>24), 1e6)
		return appendOffset(b, maxOffset-int64(v&0xffffff)), rows.Text
	case duck.TypeInterval:
		s := at[span](r, row)
		return appendInterval(b, s.months, s.days, s.micros), rows.Text
	case duck.TypeUUID:
		w := at[wide](r, row)
		return appendUUID(b, w.hi^1<<63, w.lo), rows.Text
	case duck.TypeBlob:
		return appendHex(b, r.bytes(row)), rows.Text
	case duck.TypeBit:
		s := r.bytes(row) // the first byte says how many leading bits are padding
		for i := int(s[0]); i < (len(s)-1)*8; i++ {
			b = append(b, '0'+s[1+i/8]>>(7-i%8)&1)
		}
		return b, rows.Text
	case duck.TypeEnum:
		i := uint32(0)
		switch r.physical {
		case duck.TypeUTinyInt:
			i = uint32(at[uint8](r, row))
		case duck.TypeUSmallInt:
			i = uint32(at[uint16](r, row))
		default:
			i = at[uint32](r, row)
		}
		return append(b, r.labels[i]...), rows.Text
	}
	return r.appendNested(b, row), rows.Nested
}

// appendNested writes a list, array, struct, map or union as JSON. A map is an
// object whose keys are the texts of its keys; a union is an object with the
// one member that it holds.
func (r *reader) appendNested(b []byte, row int) []byte {
	switch r.id {
	case duck.TypeList, duck.TypeArray:
		s := listSpan{uint64(row * r.width), uint64(r.width)}
		if r.id == duck.TypeList {
			s = at[listSpan](r, row)
		}
		b = append(b, '[')
		for i := range s.length {
			if i > 0 {
				b = append(b, ',')
			}
			b = r.children[0].appendJSON(b, int(s.offset+i))
		}
		return append(b, ']')
	case duck.TypeStruct:
		b = append(b, '{')
		for i, c := range r.children {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, r.names[i]...)
			b = append(b, ':')
			b = c.appendJSON(b, row)
		}
		return append(b, '}')
	case duck.TypeMap:
		s := at[listSpan](r, row)
		b = append(b, '{')
		for i := range s.length {
			if i > 0 {
				b = append(b, ',')
			}
			key, _ := r.children[0].append(nil, int(s.offset+i))
			b = rows.AppendQuoted(b, key)
			b = append(b, ':')
			b = r.children[1].appendJSON(b, int(s.offset+i))
		}
		return append(b, '}')
	}
	tag := int(at[uint8](r.children[0], row))
	b = append(b, '{')
	b = append(b, r.names[tag]...)
	b = append(b, ':')
	b = r.children[1+tag].appendJSON(b, row)
	return append(b, '}')
}

// appendJSON writes the row-th value as a JSON value.
func (r *reader) appendJSON(b []byte, row int) []byte {
	start := len(b)
	b, k := r.append(b, row)
	switch k {
	case rows.Null:
		return append(b, "null"...)
	case rows.Text:
		t := append([]byte(nil), b[start:]...)
		return rows.AppendQuoted(b[:start], t)
	}
	return b
}
