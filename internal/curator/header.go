package curator

import (
	"slices"
	"strings"
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

// fieldOf knows a column by its name, whatever its case, spaces, underscores,
// dots, dashes, slashes and brackets. A weak name is that of the field only if
// no other column is.
func fieldOf(name string) (f field, weak, ok bool) {
	plain := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), strings.ContainsRune("_.-()[]<>/*\ufeff", r):
			return -1
		}
		return unicode.ToLower(r)
	}, name)
	switch plain {
	case "symbol", "ticker", "code", "종목코드", "종목", "티커", "단축코드":
		return symbol, false, true
	case "date", "ts", "timestamp", "datetime", "tradedate", "datum", "날짜", "일자":
		return date, false, true
	case "time":
		return date, true, true
	case "open", "시가":
		return open, false, true
	case "high", "고가":
		return high, false, true
	case "low", "저가":
		return low, false, true
	case "close", "last", "closelast", "종가":
		return closing, false, true
	case "price":
		return closing, true, true
	case "volume", "vol", "거래량":
		return volume, false, true
	case "adjclose", "adjustedclose", "closeadj", "closeadjusted", "수정종가":
		return adjustedClose, false, true
	}
	return 0, false, false
}

// columns is where the fields stand in a file; -1: not there.
type columns struct {
	at      [fieldCount]int
	count   int      // columns in the file
	ignored []string // columns that no field has, by name
}

// mapHeader finds the fields in a header. quant.Invalid: a required field is
// missing, or two columns are the same field. The symbol, adjusted close and,
// if volumeOptional, the volume may be absent.
func mapHeader(path string, names []string, volumeOptional bool) (columns, error) {
	c := columns{count: len(names), ignored: []string{}}
	for f := range c.at {
		c.at[f] = -1
	}
	for _, weak := range [2]bool{false, true} {
		sure := c.at
		for i, name := range names {
			f, isWeak, ok := fieldOf(name)
			if !ok || isWeak != weak || weak && sure[f] >= 0 {
				continue
			}
			if first := c.at[f]; first >= 0 {
				return c, quant.Errorf(quant.Invalid, "%s: columns %q and %q are both the %s", path, names[first], name, f).
					WithHint("rename or drop one of them")
			}
			c.at[f] = i
		}
	}
	for i, name := range names {
		if !slices.Contains(c.at[:], i) {
			c.ignored = append(c.ignored, clip(strings.TrimSpace(name)))
		}
	}
	var lacking []string
	for f := date; f <= volume; f++ {
		if c.at[f] < 0 && (f != volume || !volumeOptional) {
			lacking = append(lacking, f.String())
		}
	}
	if lacking == nil {
		return c, nil
	}
	hint := "the first line must name the columns: symbol (or one file a symbol), date, open, high, low, close, volume, adjusted_close (if any)"
	if len(lacking) == 1 && lacking[0] == "volume" {
		hint = "an index has no volume: say --volume-missing zero"
	}
	return c, quant.Errorf(quant.Invalid, "%s: no column for %s in the header %s", path, strings.Join(lacking, ", "), clip(strings.Join(names, " | "))).
		WithHint("%s", hint)
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
