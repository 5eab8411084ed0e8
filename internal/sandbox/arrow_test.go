package sandbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"quant"
	"quant/internal/sandbox"
)

// readArrow reads a stream: the types of its columns, and a text of each value.
func readArrow(t *testing.T, stream string) (types []string, rows [][]string) {
	t.Helper()
	r, err := ipc.NewReader(bytes.NewReader([]byte(stream)))
	if err != nil {
		t.Fatalf("%v: %q", err, stream)
	}
	defer r.Release()
	for _, f := range r.Schema().Fields() {
		types = append(types, f.Name+" "+f.Type.String())
	}
	for r.Next() {
		batch := r.RecordBatch()
		for row := range int(batch.NumRows()) {
			var texts []string
			for _, c := range batch.Columns() {
				text := "NULL"
				if c.IsValid(row) {
					text = c.ValueStr(row)
				}
				if f, ok := c.(*array.Float64); ok && c.IsValid(row) {
					text = fmt.Sprintf("%x", f.Value(row))
				}
				texts = append(texts, text)
			}
			rows = append(rows, texts)
		}
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return types, rows
}

func TestAStreamHasTheTypesOfTheColumns(t *testing.T) {
	path := makeFact(t)
	const query = `SELECT * FROM (VALUES
		(true, 1::TINYINT, -2::SMALLINT, 3, 9007199254740993, 255::UTINYINT, 18446744073709551615::UBIGINT, 0.5::FLOAT, 0.1::DOUBLE, '한 "x"', DATE '1999-12-31', TIMESTAMP '2026-01-15 09:30:00.000001', 12.345::DECIMAL(9,3), -170141183460469231731687303::HUGEINT, '\x00\xFF'::BLOB, [1.5, NULL], 'NaN'::DOUBLE, {'a': 1}),
		(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '-0.0'::DOUBLE, '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL))
		t(b, i8, i16, i32, i64, u8, u64, f, d, s, day, ts, dec, huge, raw, list, nan, st)`
	req := fact(path, query)
	req.Format = sandbox.Arrow
	out, res, err := run(t, req)
	if err != nil || res.Rows != 2 || len(res.Columns) != 18 {
		t.Fatalf("%+v %v", res, err)
	}
	types, rows := readArrow(t, out)
	same(t, strings.Join(types, "|"), "b bool|i8 int8|i16 int16|i32 int32|i64 int64|u8 uint8|u64 uint64|f float32|d float64|s utf8|day date32|ts timestamp[us, tz=UTC]|dec decimal(9, 3)|huge decimal(38, 0)|raw binary|list utf8|nan float64|st utf8")
	same(t, strings.Join(rows[0], "|"), `true|1|-2|3|9007199254740993|255|18446744073709551615|0.5|0x1.999999999999ap-04|한 "x"|1999-12-31|2026-01-15T09:30:00.000001Z|12.345|-170141183460469231731687303|AP8=|[1.5,null]|NaN|{"a":1}`)
	same(t, strings.Join(rows[1], "|"), "NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|-0x0p+00||NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL")

	req.Format = sandbox.Lines
	out, _, err = run(t, req)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out, "\n")
	var head struct {
		Columns []struct{ Name, Type string }
	}
	if err := json.Unmarshal([]byte(lines[0]), &head); err != nil || len(head.Columns) != 18 || head.Columns[12].Type != "DECIMAL(9,3)" || head.Columns[10].Type != "DATE" {
		t.Fatalf("%v %s", err, lines[0])
	}
	same(t, lines[1], `[true,1,-2,3,9007199254740993,255,18446744073709551615,0.5,0.1,"한 \"x\"","1999-12-31","2026-01-15T09:30:00.000001Z","12.345",-170141183460469231731687303,"00ff",[1.5,null],"NaN",{"a":1}]`)
	same(t, lines[2], `[null,null,null,null,null,null,null,null,-0.0,"",null,null,null,null,null,null,null,null]`)
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Many batches hold what one does; --limit cuts within one.
func TestAStreamIsWhole(t *testing.T) {
	path := makeFact(t)
	req := fact(path, "SELECT i, CASE WHEN i % 3 = 0 THEN NULL ELSE i / 7 END AS x, 'n' || i AS s, i AS i FROM range(200000) r(i)")
	req.Format = sandbox.Arrow
	out, res, err := run(t, req)
	if err != nil || res.Rows != 200000 {
		t.Fatal(res, err)
	}
	types, rows := readArrow(t, out)
	if len(rows) != 200000 || types[3] != "i_2 int64" {
		t.Fatalf("%d rows, %v", len(rows), types)
	}
	for i, row := range rows {
		x := fmt.Sprintf("%x", float64(i)/7)
		if i%3 == 0 {
			x = "NULL"
		}
		if row[0] != fmt.Sprint(i) || row[1] != x || row[2] != fmt.Sprintf("n%d", i) {
			t.Fatalf("row %d: %v", i, row)
		}
	}
	req.Limit = 3000
	out, res, err = run(t, req)
	if _, rows = readArrow(t, out); err != nil || !res.Cut || res.Rows != 3000 || len(rows) != 3000 {
		t.Fatalf("%d rows, %+v, %v", len(rows), res, err)
	}
	req.Limit, req.SQL = 0, "SELECT symbol, ts FROM ohlcv WHERE false"
	out, _, err = run(t, req)
	if types, rows = readArrow(t, out); err != nil || len(rows) != 0 || len(types) != 2 {
		t.Fatalf("an empty result: %v %v %v", types, rows, err)
	}
	req.Secrets, req.SQL = []string{"hunter2hunter2"}, "SELECT 'pw hunter2hunter2' AS a, ['hunter2hunter2'] AS b, 1 AS hunter2hunter2"
	if out, _, err = run(t, req); err != nil || strings.Contains(out, "hunter2") {
		t.Fatalf("a secret: %q %v", out, err)
	}
	req.SQL = "SELECT 170141183460469231731687303715884105727::HUGEINT AS h"
	if _, _, err = run(t, req); quant.CodeOf(err) != quant.Failed || !strings.Contains(err.Error(), "column h") {
		t.Errorf("more than 38 digits: %v", err)
	}
}

// The Meta DB's columns have the type of their values.
func TestAStreamOfTheMetaDBHasTypes(t *testing.T) {
	path := makeMeta(t)
	req := meta(path, "SELECT run_id, n, x, b, CASE n WHEN 1 THEN 1 WHEN 3 THEN 0.5 END AS mixed, CASE n WHEN 1 THEN 1 ELSE 'a' END AS texts, NULL AS empty FROM runs")
	req.Format = sandbox.Arrow
	out, res, err := run(t, req)
	if err != nil || res.Rows != 3 {
		t.Fatal(res, err)
	}
	types, rows := readArrow(t, out)
	same(t, strings.Join(types, "|"), "run_id utf8|n int64|x float64|b binary|mixed float64|texts utf8|empty utf8")
	same(t, strings.Join(rows[0], "|"), "r1|1|0x1p-01|AP8=|0x1p+00|1|NULL")
	same(t, strings.Join(rows[2], "|"), "r3|3|"+fmt.Sprintf("%x", 1e300)+"|NULL|0x1p-01|a|NULL")
	req.Limit = 1
	out, res, err = run(t, req)
	if _, rows = readArrow(t, out); err != nil || !res.Cut || len(rows) != 1 {
		t.Errorf("%+v %v %v", res, rows, err)
	}
}
