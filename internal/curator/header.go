package curator

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"quant"
)

// field is a column that ingest understands.
type field int

const (
	symbol field = iota
	date
	open
	high
	low
	closing
	volume
	adjustedClose
	fieldCount
)

// numberFields is how many of the fields are numbers; they are the last ones.
const numberFields = int(fieldCount - open)

func (f field) String() string {
	return [fieldCount]string{"symbol", "date", "open", "high", "low", "close", "volume", "adjusted_close"}[f]
}

// Ranks of the words for a field: of two columns that may be the field the one
// with the lower rank is, and two of one rank are an error.
const (
	rankKey   = iota // the key of a data base, which never changes hands: CRSP's permno
	rankName         // the field's own name
	rankNear         // a name that the field often has, beside which its own may stand
	rankCode         // an identifier, or a last price
	rankWeak         // a name that is the field's only if nothing else is
	rankIndex        // a column of which only the values say that it is the field
)

// word is what a column's name stands for.
type word struct {
	field field
	rank  int
}

// fieldWords are the names of columns, in the spelling that plainName makes.
var fieldWords = sync.OnceValue(func() map[string]word {
	words := map[string]word{}
	for _, line := range []struct {
		field field
		rank  int
		names string
	}{
		{symbol, rankKey, "permno lpermno"},
		{symbol, rankName, "symbol ticker tickersymbol tic code stockcode stocksymbol stockticker actsymbol tscode 종목코드 종목 티커 단축코드 srtncd 股票代码 证券代码 代码 コード 銘柄コード localcode"},
		{symbol, rankNear, "contract contractcode instrument instrumentid instrumentcode asset assetid security securityid securitycode secid secucode secucd sid stock stockid stockname ric bbgid bbgticker mnemonic symbolid tickerid symbolcode epic pair coin"},
		{symbol, rankCode, "isin isincode isincd figi compositefigi sharefigi cusip sedol wkn 표준코드"},
		{symbol, rankWeak, "name 종목명 itmsnm"},
		{date, rankName, "date tradedate tradingdate tradingday pricedate quotedate caldt datadate businessdate asofdate basdt datum fecha 날짜 일자 거래일 거래일자 기준일 기준일자 日期 交易日期 日付"},
		{date, rankNear, "datetime timestamp ts dt"},
		{date, rankCode, "unix unixtime unixtimestamp epoch opentime windowstart day data"},
		{date, rankWeak, "time"},
		{date, rankIndex, "index unnamed:0 indexlevel0 level0"},
		{open, rankName, "open openprice opening openingprice pxopen openprc prcod mkp erster eröffnung eröffn eröffnungskurs ouverture apertura 시가 开盘 开盘价 始値"},
		{high, rankName, "high highprice pxhigh askhi prchd hipr hoch tageshoch höchst haut 고가 最高 最高价 高値"},
		{low, rankName, "low lowprice pxlow bidlo prcld lopr tief tagestief tiefst bas 저가 最低 最低价 安値"},
		{closing, rankName, "close closelast closeprice closingprice prccd clpr schlusskurs schluss clôture 종가 收盘 收盘价 終値"},
		{closing, rankCode, "last pxlast lastprice tradeprice zuletzt dernier 현재가"},
		{closing, rankWeak, "price prc"},
		{volume, rankName, "volume vol pxvolume sharevolume tottrdqty cshtrd trqu stücke stuecke 거래량 成交量 出来高"},
		{volume, rankWeak, "tickvol tickvolume volumen"},
		{adjustedClose, rankName, "adjclose adjustedclose closeadj closeadjusted adjustmentclose adjcloseprice adjustedcloseprice adjustedclosingprice 수정종가"},
		{adjustedClose, rankWeak, "adjusted"},
	} {
		for name := range strings.FieldsSeq(line.names) {
			words[name] = word{line.field, line.rank}
		}
	}
	return words
})

// plainName is a column's name without what tools vary: case, spaces,
// underscores, dots, dashes, slashes, asterisks and brackets, and a number before
// it as in "1. open".
func plainName(name string) string {
	name = strings.TrimLeft(name, "\ufeff ")
	if digits := strings.TrimLeft(name, "0123456789"); len(digits) < len(name) && strings.HasPrefix(digits, ". ") {
		name = digits[2:]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), strings.ContainsRune("_.-()[]<>/*\ufeff", r):
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// units are what may stand in brackets behind a name and changes nothing.
const units = " usd eur krw jpy gbp cny hkd chf $ € £ ¥ ₩ 원 주 円 元 株 shares "

// wordOf knows a column by its name.
func wordOf(name string) (word, bool) {
	if w, ok := fieldWords()[plainName(name)]; ok {
		return w, true
	}
	trimmed := strings.TrimSpace(name)
	at := strings.LastIndexAny(trimmed, "([")
	if at > 0 && strings.HasSuffix(strings.TrimRight(trimmed, "]"), ")") == (trimmed[at] == '(') &&
		strings.Contains(units, " "+strings.ToLower(strings.TrimSpace(strings.TrimRight(trimmed[at+1:], ")]")))+" ") {
		w, ok := fieldWords()[plainName(trimmed[:at])]
		return w, ok
	}
	return word{}, false
}

// columns is where the fields stand in a file; -1: not there.
type columns struct {
	at      [fieldCount]int
	clock   int           // a time of day beside the date; -1: none
	count   int           // columns in the file
	names   []string      // as the header has them, fit to be shown; nil: no header
	ignored []string      // columns that no field has, by name
	maybe   []maybeColumn // that are a field if their values look like it, lowest rank first
}

// maybeColumn is a column of which the values decide whether it is a field.
type maybeColumn struct {
	field  field
	column int
}

// headerRule is how the columns of a file are found.
type headerRule struct {
	named          []mapping // what the user said
	noHeader       bool
	noDate         bool // the date is said elsewhere
	volumeOptional bool
}

// mapping is one FIELD=COLUMN of the user.
type mapping struct {
	field  field
	column string
}

// parseMap understands the user's FIELD=COLUMN. quant.Invalid: no such field, or
// a field or a column twice.
func parseMap(texts []string) ([]mapping, error) {
	var list []mapping
	for _, text := range texts {
		name, column, ok := strings.Cut(text, "=")
		name, column = strings.TrimSpace(name), strings.TrimSpace(column)
		m := mapping{field: fieldCount, column: column}
		for f := range fieldCount {
			if f.String() == strings.ToLower(name) {
				m.field = f
			}
		}
		switch {
		case !ok || column == "":
			return nil, quant.Errorf(quant.Invalid, "--map %q is not FIELD=COLUMN", clip(text)).WithHint("for example --map open=o,high=h,low=l,close=c")
		case m.field == fieldCount:
			return nil, quant.Errorf(quant.Invalid, "--map %q: %q is no field", clip(text), clip(name)).
				WithHint("the fields are symbol, date, open, high, low, close, volume and adjusted_close")
		}
		for _, other := range list {
			if other.field == m.field {
				return nil, quant.Errorf(quant.Invalid, "--map names %s twice: %s and %s", m.field, clip(other.column), clip(column)).WithHint("one column is one field")
			}
			if other.column == column {
				return nil, quant.Errorf(quant.Invalid, "--map gives the column %s to %s and to %s", clip(column), other.field, m.field).WithHint("one column is one field")
			}
		}
		list = append(list, m)
	}
	return list, nil
}

// byPosition reports whether the user told every column by its number.
func (h headerRule) byPosition() bool {
	for _, m := range h.named {
		if n, err := strconv.Atoi(m.column); err != nil || n < 1 {
			return false
		}
	}
	return len(h.named) > 0
}

// mapped finds the columns that the user named, by name or, where none has it, by
// position from 1. names is nil for a file without a header of so many columns.
func (h headerRule) mapped(path string, names []string, count int) (columns, error) {
	c := columns{count: count, clock: -1, ignored: []string{}}
	for f := range c.at {
		c.at[f] = -1
	}
	for _, m := range h.named {
		at := -1
		for i, name := range names {
			if strings.TrimSpace(name) != m.column {
				continue
			}
			if at >= 0 {
				return c, quant.Errorf(quant.Invalid, "%s: --map %s=%s: two columns have this name", path, m.field, clip(m.column)).
					WithHint("say the column by its position, from 1: --map %s=%d", m.field, at+1)
			}
			at = i
		}
		if n, err := strconv.Atoi(m.column); at < 0 && err == nil && n >= 1 && n <= count {
			at = n - 1
		}
		if at < 0 {
			what := fmt.Sprintf("the header %s", clip(strings.Join(names, " | ")))
			if names == nil {
				what = fmt.Sprintf("its first line, which has %d", count)
			}
			return c, quant.Errorf(quant.Invalid, "%s: --map %s=%s: no such column in %s", path, m.field, clip(m.column), what).
				WithHint("name a column as the header does, or by its position from 1")
		}
		for f, other := range c.at {
			if other == at {
				return c, quant.Errorf(quant.Invalid, "%s: --map gives one column to %s and to %s", path, field(f), m.field).WithHint("one column is one field")
			}
		}
		c.at[m.field] = at
	}
	return c, nil
}

// mapHeader finds the fields in a header. quant.Invalid: two columns are the same
// field, or what --map says is not there. Whether a required field is missing,
// complete tells, once the values of the doubtful columns are known.
func (h headerRule) mapHeader(path string, names []string) (columns, error) {
	c, err := h.mapped(path, names, len(names))
	if err != nil {
		return c, err
	}
	c.names = make([]string, len(names))
	for i, name := range names {
		c.names[i] = clip(strings.TrimSpace(name))
	}
	for rank := rankKey; rank <= rankIndex; rank++ {
		sure := c.at
		for i, name := range names {
			w, ok := wordOf(name)
			if i == 0 && strings.Trim(name, "\ufeff ") == "" {
				w, ok = word{date, rankIndex}, true // pandas writes its index so
			}
			if !ok || w.rank != rank || sure[w.field] >= 0 || slices.Contains(sure[:], i) {
				continue
			}
			if rank == rankIndex || w.field == symbol && rank >= rankNear {
				c.maybe = append(c.maybe, maybeColumn{w.field, i})
				continue
			}
			if first := c.at[w.field]; first >= 0 {
				hint := "rename or drop one of them, or say which: --map " + w.field.String() + "=" + c.names[i]
				return c, quant.Errorf(quant.Invalid, "%s: columns %q and %q are both the %s", path, names[first], name, w.field).
					WithHint("%s", hint)
			}
			c.at[w.field] = i
		}
	}
	for i, name := range names {
		switch plainName(name) {
		case "time", "시간", "시각", "时间", "uhrzeit", "clock", "timeofday":
			if c.at[date] >= 0 && c.at[date] != i && c.clock < 0 && !slices.Contains(c.at[:], i) {
				c.clock = i
			}
		}
	}
	return c, nil
}

// find finds the fields by the first line of a text. isRow: the line is no header
// but a row, because the user says so, or told every column by its position and
// the line has numbers there.
func (h headerRule) find(path string, first []string) (c columns, isRow bool, err error) {
	isRow = h.noHeader
	if !isRow && h.byPosition() {
		if c, err = h.mapped(path, nil, len(first)); err == nil {
			isRow = c.rowOfNumbers(first)
		}
	}
	if isRow {
		c, err = h.mapped(path, nil, len(first))
		return c, true, err
	}
	c, err = h.mapHeader(path, first)
	return c, false, err
}

// rowOfNumbers reports whether a line has numbers where the numbers are told to be.
func (c columns) rowOfNumbers(line []string) bool {
	some := false
	for f := open; f < fieldCount; f++ {
		if c.at[f] < 0 {
			continue
		}
		text := []byte(line[c.at[f]])
		_, asPoint := parseNumber(text)
		_, asComma := parseMarked(text, commaMark)
		if asPoint != sound && asComma != sound {
			return false
		}
		some = true
	}
	return some
}

// settle makes the doubtful columns fields whose values look like it.
func (c *columns) settle(looks func(maybeColumn) bool) {
	for _, m := range c.maybe {
		if c.at[m.field] < 0 && looks(m) {
			c.at[m.field] = m.column
		}
	}
	c.ignored = []string{}
	for i, name := range c.names {
		if !slices.Contains(c.at[:], i) {
			c.ignored = append(c.ignored, name)
		}
	}
}

// complete reports the required fields that are missing, as quant.Invalid. The
// symbol, adjusted close and, if it is optional, the volume may be absent.
func (h headerRule) complete(path string, c columns) error {
	var lacking []string
	for f := date; f <= volume; f++ {
		if c.at[f] < 0 && !(f == volume && h.volumeOptional) && !(f == date && h.noDate) {
			lacking = append(lacking, f.String())
		}
	}
	if lacking == nil {
		return nil
	}
	hint := "the first line must name the columns: symbol (or one file a symbol), date, open, high, low, close, volume, adjusted_close (if any); or say which is which: --map " + lacking[0] + "=COLUMN"
	switch {
	case len(lacking) == 1 && lacking[0] == "volume":
		hint = "an index has no volume: say --volume-missing zero; a column of another name: --map volume=COLUMN"
	case len(lacking) == 1 && lacking[0] == "date":
		hint = "the first line must name the date; a column of another name: --map date=COLUMN; a snapshot of one day: --date YYYY-MM-DD"
	}
	if c.names == nil {
		return quant.Errorf(quant.Invalid, "%s: --map does not say which column is %s", path, strings.Join(lacking, ", ")).WithHint("%s", hint)
	}
	if looksLikeRow(c.names) {
		return quant.Errorf(quant.Invalid, "%s: has no header: its first line is %s", path, clip(strings.Join(c.names, " | "))).
			WithHint("say which column is which by position, from 1: --map date=1,open=2,high=3,low=4,close=5,volume=6")
	}
	return quant.Errorf(quant.Invalid, "%s: no column for %s in the header %s", path, strings.Join(lacking, ", "), clip(strings.Join(c.names, " | "))).
		WithHint("%s", hint)
}

// looksLikeRow tells a first line that is a row: at least four numbers.
func looksLikeRow(names []string) bool {
	n := 0
	for _, name := range names {
		if _, k := parseNumber([]byte(name)); k == sound {
			n++
		}
	}
	return n >= 4
}

// nameWords are parts of a file's name that are no part of a symbol.
var nameWords = sync.OnceValue(func() map[string]bool {
	words := map[string]bool{}
	for w := range strings.FieldsSeq("d d1 1d 1day daily day eod w 1w weekly m 1mo monthly max adjusted adj unadjusted raw us price prices stock stocks data history historical hist ohlc ohlcv candles candlestick bars quotes quote chart table export download intraday yahoo stooq nasdaq krx merged all") {
		words[w] = true
	}
	return words
})

// moreThanSymbol reports whether a name looks as if a tool had put more into it
// than a symbol: aapl_us_d, daily_adjusted_AAPL, AAPL_2020-2024, 005930.KS-1d.
func moreThanSymbol(name string) bool {
	parts := strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune("_-. ()[]", r) })
	if len(parts) > 2 && strings.Contains(name, "_") || strings.ContainsAny(name, "()[]") {
		return true
	}
	for i, part := range parts {
		digits := strings.Trim(part, "0123456789") == ""
		year := digits && len(part) == 4 && (part[:2] == "19" || part[:2] == "20")
		word := nameWords()[strings.ToLower(part)]
		// One letter behind a point is a class of shares: BRK.D.
		if word && (len(parts) == 1 && len(part) > 3 || len(parts) > 1 && !(len(part) <= 2 && i > 0 && !strings.Contains(name, "_") && part == strings.ToUpper(part))) {
			return true
		}
		if digits && len(parts) > 1 && i > 0 && (year || len(part) >= 6) {
			return true
		}
	}
	return false
}

// maxText is how much of a row or a name is kept or shown, in bytes.
const maxText = 200

// clip makes hostile text fit to be stored and shown: valid UTF-8 without
// control characters, at most maxText bytes.
func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
