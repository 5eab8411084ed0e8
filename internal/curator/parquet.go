package curator

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// parquetQuery returns a query for the gate's columns of a Parquet file, and
// which columns it has, or which panels.
func (p plan) parquetQuery(ctx context.Context, db *factstore.DB, in Input) (_ string, cols columns, panels []panel, err error) {
	path, err := sqltext.File(cmp.Or(in.unpacked, in.Path))
	if err != nil {
		return "", columns{}, nil, fileError(in.Path, err)
	}
	names, isInt128, err := parquetNames(ctx, db, path)
	if err != nil {
		return "", columns{}, nil, p.parquetError(ctx, in, err)
	}
	source := "read_parquet(" + path + ", file_row_number = true, hive_partitioning = false, union_by_name = false, filename = false)"
	rows, err := db.Query(ctx, "SELECT column_name, column_type FROM (DESCRIBE SELECT * EXCLUDE (file_row_number) FROM "+source+")")
	if err != nil {
		return "", columns{}, nil, p.parquetError(ctx, in, err)
	}
	defer rows.Close()
	var idents, types []string
	for rows.Next() {
		var name, typ string
		if err := rows.Scan(&name, &typ); err != nil {
			return "", columns{}, nil, p.parquetError(ctx, in, err)
		}
		idents, types = append(idents, sqltext.Identifier(name)), append(types, typ)
	}
	if err := rows.Err(); err != nil {
		return "", columns{}, nil, p.parquetError(ctx, in, err)
	}
	rows.Close()
	if len(names) != len(idents) {
		return "", columns{}, nil, quant.Errorf(quant.Invalid, "%s: its columns cannot be told apart", in.label()).
			WithHint("no two columns may have the same name, nor one be called file_row_number")
	}
	shape, err := p.shape(in.label(), [][]string{names})
	if err != nil {
		return "", cols, nil, err
	}
	if cols, panels = shape.cols, shape.panels; panels == nil {
		if cols, err = p.parquetColumns(in, cols, types); err != nil {
			return "", cols, nil, err
		}
	}
	wrong := func(f field, want string) error {
		i := cols.at[f]
		return quant.Errorf(quant.Invalid, "%s: column %s is %s, not %s", in.label(), clip(names[i]), types[i], want).
			WithHint("write the column as dates when the file is made, or say another: --map date=COLUMN")
	}
	exprs := []string{"file_row_number + 1 AS line"}
	if i := cols.at[symbol]; i >= 0 && panels == nil {
		if types[i] != "VARCHAR" && !strings.HasPrefix(types[i], "ENUM") && (!cols.isKey(i) || types[i] != "INTEGER" && types[i] != "BIGINT") {
			return "", cols, nil, quant.Errorf(quant.Invalid, "%s: column %s is %s, and a symbol is text: 005930 keeps its zeros", in.label(), clip(names[i]), types[i]).
				WithHint("write the column as text when the file is made")
		}
		exprs = append(exprs, "nullif(trim(CAST("+idents[i]+" AS VARCHAR)), '') AS symbol")
	}
	spelled := false
	switch i := cols.at[date]; {
	case i < 0:
		exprs = append(exprs, fmt.Sprintf("DATE '1970-01-01' + %d AS ts", p.onlyDay))
	case types[i] == "DATE":
		exprs = append(exprs, idents[i]+" AS ts")
	case strings.HasPrefix(types[i], "TIMESTAMP"):
		by := ""
		if at := cols.at[symbol]; at >= 0 && panels == nil {
			by = idents[at] + ", "
		}
		local, instant := idents[i], strings.HasSuffix(types[i], "WITH TIME ZONE")
		if instant {
			zone, err := columnZone(ctx, db, path, names[i])
			if err != nil {
				return "", cols, nil, p.parquetError(ctx, in, err)
			}
			if p.zone != nil {
				zone = p.zone.String()
			}
			local = "timezone(" + sqltext.Literal(zone) + ", " + local + ")"
		}
		if err := p.timesOf(ctx, db, in, source, by, local, names[i], instant); err != nil {
			return "", cols, nil, err
		}
		exprs = append(exprs, "CAST("+local+" AS DATE) AS ts")
	case types[i] == "VARCHAR" || types[i] == "INTEGER" || types[i] == "BIGINT":
		if err := p.spellDates(ctx, db, in, source, idents[i]); err != nil {
			return "", cols, nil, err
		}
		exprs = append(exprs, "CAST("+idents[i]+" AS VARCHAR) AS spelling")
		spelled = true
	default:
		return "", cols, nil, wrong(date, "a date")
	}
	number := func(f field, at columns) (string, error) {
		i := at.at[f]
		if i < 0 {
			return "NULL::DOUBLE", nil
		}
		number := idents[i]
		switch kind, size, _ := strings.Cut(types[i], "("); kind {
		case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE":
		case "DECIMAL":
			// Beyond the digits that a double surely holds, DuckDB rounds more
			// than once; a text it rounds once.
			width, _, _ := strings.Cut(size, ",")
			if digits, err := strconv.Atoi(width); err != nil || digits > 15 {
				number = "CAST(" + number + " AS VARCHAR)"
			}
		case "BLOB":
			if isInt128[i] {
				number = int128SQL(number)
				break
			}
			fallthrough
		default:
			return "", quant.Errorf(quant.Invalid, "%s: column %s is %s, not a number", in.label(), clip(names[i]), types[i]).
				WithHint("write the column as numbers when the file is made, or the file as CSV: --decimal and what stands beside a number are for text")
		}
		return "CAST(" + number + " AS DOUBLE)", nil
	}
	if panels != nil {
		source, exprs, err = p.panelSource(exprs, source, panels, number)
		if err != nil {
			return "", cols, nil, err
		}
	}
	for f := open; f < fieldCount && panels == nil; f++ {
		expr, err := number(f, cols)
		if err != nil {
			return "", cols, nil, err
		}
		exprs = append(exprs, expr+" AS "+f.String())
	}
	if cols.at[symbol] < 0 {
		if err := p.oneInstrument(ctx, db, in, source, cols, idents, types); err != nil {
			return "", cols, nil, err
		}
	}
	query := "SELECT " + strings.Join(exprs, ", ") + " FROM " + source
	if spelled {
		return "SELECT coalesce(fault, 0::UTINYINT) AS fault, * EXCLUDE (fault) FROM (" + query + ") LEFT JOIN temp.main." + dates + " USING (spelling)", cols, panels, nil
	}
	return "SELECT 0::UTINYINT AS fault, * FROM (" + query + ")", cols, panels, nil
}

// panelSource gives a row for each symbol of each row of source that has a price
// of it, and the expressions for its columns. exprs are those that a row has
// once.
func (p plan) panelSource(exprs []string, source string, panels []panel, number func(field, columns) (string, error)) (string, []string, error) {
	var list []string
	for k, one := range panels {
		parts := []string{fmt.Sprintf("panel: %d::BIGINT", k), "symbol: " + sqltext.Literal(one.symbol)}
		for f := open; f < fieldCount; f++ {
			expr, err := number(f, one.cols)
			if err != nil {
				return "", nil, err
			}
			parts = append(parts, f.String()+": "+expr)
		}
		list = append(list, "{"+strings.Join(parts, ", ")+"}")
	}
	var some, out []string
	for _, f := range []field{open, high, low, closing, adjustedClose} {
		some = append(some, "coalesce(NOT isnan(bar."+f.String()+"), false)")
	}
	out = append(out, fmt.Sprintf("line + bar.panel * %d AS line", panelLines), "bar.symbol AS symbol", "COLUMNS(c -> c IN ('ts', 'spelling'))")
	for f := open; f < fieldCount; f++ {
		out = append(out, "bar."+f.String()+" AS "+f.String())
	}
	return "(SELECT " + strings.Join(exprs, ", ") + ", unnest([" + strings.Join(list, ", ") + "]) AS bar FROM " + source + ") WHERE " + strings.Join(some, " OR "), out, nil
}

// columnZone is the zone of a column of instants, as pandas and polars write it
// beside the data, or UTC.
func columnZone(ctx context.Context, db *factstore.DB, path, name string) (string, error) {
	const utc = "UTC"
	var text string
	err := db.QueryRow(ctx, "SELECT decode(value) FROM parquet_kv_metadata("+path+") WHERE decode(key) = 'ARROW:schema'").Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return utc, nil
	}
	if err != nil {
		return "", err
	}
	zone := arrowZone(text, name)
	if _, err := time.LoadLocation(zone); err != nil || zone == "" || zone == "Local" {
		return utc, nil
	}
	return zone, nil
}

// parquetColumns finds the fields in the columns of a Parquet file. A doubtful one
// is a field if its type can be.
func (p plan) parquetColumns(in Input, cols columns, types []string) (columns, error) {
	h := p.headerRule()
	if h.noHeader {
		return columns{}, namedColumns(in.label())
	}
	cols.clock = -1
	cols.settle(func(m maybeColumn) bool {
		text := types[m.column] == "VARCHAR"
		if m.field == symbol && p.Symbol != "" {
			return false
		}
		return text || m.field == symbol && strings.HasPrefix(types[m.column], "ENUM") ||
			m.field == date && (types[m.column] == "DATE" || strings.HasPrefix(types[m.column], "TIMESTAMP"))
	})
	if h.noDate && cols.at[date] >= 0 {
		return cols, quant.Errorf(quant.Invalid, "%s: --date says the day of every row, and the file has a column for it", in.label()).WithHint("leave --date out")
	}
	return cols, p.columnsComplete(in.label(), &cols)
}

// timesOf refuses a column of moments that are not all midnight, unless the zone is
// said and no day has two; by is the symbol's column and a comma, or nothing.
func (p plan) timesOf(ctx context.Context, db *factstore.DB, in Input, source, by, column, name string, instant bool) error {
	var line sql.NullInt64
	// Not a WHERE: that would be put to the bounds that the file claims.
	query := "SELECT min(CASE WHEN isfinite(" + column + ") AND epoch_us(" + column + ") % 86400000000 <> 0 THEN file_row_number + 1 END) FROM " + source
	if err := db.QueryRow(ctx, query).Scan(&line); err != nil {
		return p.parquetError(ctx, in, err)
	}
	if !line.Valid {
		return nil
	}
	var first, second int64
	err := db.QueryRow(ctx, "SELECT min(file_row_number) + 1, max(file_row_number) + 1 FROM "+source+" WHERE isfinite("+column+") GROUP BY "+by+
		"epoch_us("+column+") // 86400000000 HAVING count(DISTINCT epoch_us("+column+")) > 1 ORDER BY 1 LIMIT 1").Scan(&first, &second)
	switch {
	case err == nil:
		return quant.Errorf(quant.Invalid, "%s: is intraday data: rows %d and %d are two times of one day in the column %s; only daily bars are stored", in.label(), first, second, clip(name)).
			WithHint("make daily bars of it first: the first open, the highest high, the lowest low, the last close, the sum of volume")
	case !errors.Is(err, sql.ErrNoRows):
		return p.parquetError(ctx, in, err)
	case p.zone != nil:
		return nil
	case instant:
		return quant.Errorf(quant.Invalid, "%s: row %d: column %s is an instant, and which session's day it is depends on the exchange", in.label(), line.Int64, clip(name)).
			WithHint("say the exchange's zone: --timezone America/New_York, --timezone Asia/Seoul")
	}
	return quant.Errorf(quant.Invalid, "%s: row %d: column %s has a time of day; only daily bars are stored", in.label(), line.Int64, clip(name)).
		WithHint("for daily bars that bear a time say the exchange's zone: --timezone America/New_York, --timezone Asia/Seoul; intraday data must be made daily bars first")
}

// oneInstrument is survey.oneInstrument for a Parquet file.
func (p plan) oneInstrument(ctx context.Context, db *factstore.DB, in Input, source string, cols columns, idents, types []string) error {
	for i, typ := range types {
		if typ != "VARCHAR" && !strings.HasPrefix(typ, "ENUM") || slices.Contains(cols.at[:], i) {
			continue
		}
		day := ""
		if at := cols.at[date]; at >= 0 {
			day = " GROUP BY " + idents[at]
		}
		var one, other string
		err := db.QueryRow(ctx, "SELECT CAST(min("+idents[i]+") AS VARCHAR), CAST(max("+idents[i]+") AS VARCHAR) FROM "+source+day+" HAVING min("+idents[i]+") <> max("+idents[i]+") LIMIT 1").Scan(&one, &other)
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return p.parquetError(ctx, in, err)
		default:
			return severalInstruments(in.label(), cols.names[i], fmt.Sprintf("%q and %q", clip(one), clip(other)), one, other)
		}
	}
	return nil
}

// parquetNames returns the names of the top columns as the file spells them, and
// which of them are 16 bytes that nothing else is said of: polars writes Int128
// so, and DuckDB takes it for a BLOB.
func parquetNames(ctx context.Context, db *factstore.DB, path string) (names []string, isInt128 []bool, err error) {
	rows, err := db.Query(ctx, `SELECT name, coalesce(num_children, 0),
		coalesce(type = 'FIXED_LEN_BYTE_ARRAY' AND type_length = '16' AND converted_type IS NULL AND logical_type IS NULL, false) FROM parquet_schema(`+path+")")
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	// The schema is a tree, parents first: below counts what is still to come of
	// the column being skipped.
	root, below := true, int64(0)
	for rows.Next() {
		var name string
		var children int64
		var bytes16 bool
		if err := rows.Scan(&name, &children, &bytes16); err != nil {
			return nil, nil, err
		}
		switch {
		case root:
			root = false
		case below > 0:
			below += children - 1
		default:
			names, isInt128 = append(names, name), append(isInt128, bytes16)
			below = children
		}
	}
	return names, isInt128, rows.Err()
}

// int128SQL reads a BLOB of 16 bytes as an integer, lowest byte first.
func int128SQL(blob string) string {
	var terms []string
	unit := big.NewInt(1)
	for i := range 16 {
		digit := func(at int) string {
			return fmt.Sprintf("(instr('0123456789ABCDEF', substr(hex(%s), %d, 1)) - 1)", blob, at)
		}
		value := digit(2*i+1) + " * 16 + " + digit(2*i+2)
		if i == 15 { // with the sign
			value = "(" + value + " + 128) % 256 - 128"
		}
		terms = append(terms, "("+value+")::HUGEINT * "+unit.String()+"::HUGEINT")
		unit.Lsh(unit, 8)
	}
	return "(" + strings.Join(terms, " + ") + ")"
}

// spellDates reads every spelling of a date that a column has, once, with the
// rules for dates in CSV files.
func (p plan) spellDates(ctx context.Context, db *factstore.DB, in Input, source, column string) error {
	if err := stageAll(ctx, db, "DROP TABLE IF EXISTS temp.main."+dates,
		"CREATE TEMP TABLE "+dates+" AS SELECT CAST("+column+" AS VARCHAR) AS spelling, min(file_row_number) + 1 AS first_line, NULL::DATE AS ts, 0::UTINYINT AS fault FROM "+
			source+" WHERE "+column+" IS NOT NULL GROUP BY 1"); err != nil {
		return p.parquetError(ctx, in, err)
	}
	rows, err := db.Query(ctx, "SELECT spelling, first_line FROM temp.main."+dates+" ORDER BY first_line")
	if err != nil {
		return err
	}
	defer rows.Close()
	type spelling struct {
		text  string
		line  int64
		day   day
		fault fault
	}
	var spellings []spelling
	var evidence dateEvidence
	for rows.Next() {
		var r spelling
		if err := rows.Scan(&r.text, &r.line); err != nil {
			return err
		}
		evidence.add([]byte(r.text))
		spellings = append(spellings, r)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	rows.Close()
	rule := &dateRule{layout: p.layout, zone: p.zone}
	if rule.layout == nil {
		evidence.settle(rule)
	}
	for i := range spellings {
		r := &spellings[i]
		text := []byte(r.text)
		r.day, err = rule.day(text, nil)
		switch {
		case errors.Is(err, errAmbiguous):
			return ambiguousDate(in.label(), r.line, r.text)
		case errors.Is(err, errTimed):
			return timedDate(in.label(), r.line, text, nil, rule)
		case err != nil && isMissing(trimSpace(text)):
			r.fault = dateMissing
		case err != nil:
			r.fault = dateUnreadable
		}
	}
	const step = 1000
	for len(spellings) > 0 {
		part := spellings[:min(step, len(spellings))]
		spellings = spellings[len(part):]
		var args []any
		for _, r := range part {
			args = append(args, r.text, int64(r.day), int64(r.fault))
		}
		values := strings.TrimSuffix(strings.Repeat("(?, ?, ?), ", len(part)), ", ")
		if _, err := db.Stage(ctx, fmt.Sprintf(`UPDATE temp.main.%s AS t SET ts = CASE WHEN v.fault = 0 THEN DATE '1970-01-01' + CAST(v.day AS INTEGER) END, fault = v.fault
			FROM (VALUES %s) AS v(spelling, day, fault) WHERE t.spelling = v.spelling`, dates, values), args...); err != nil {
			return err
		}
	}
	return nil
}

func (p plan) parquetError(ctx context.Context, in Input, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return &quant.Error{Code: quant.Invalid, Msg: fmt.Sprintf("%s: cannot be read as Parquet: %s", in.label(), clip(first)),
		Hint: "the file may be damaged or cut off: fetch it again", Err: err}
}

func stageAll(ctx context.Context, db *factstore.DB, statements ...string) error {
	for _, s := range statements {
		if _, err := db.Stage(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
