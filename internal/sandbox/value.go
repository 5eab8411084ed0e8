package sandbox

import (
	"math"
	"math/big"
	"math/bits"
	"strconv"
	"time"

	"quant/internal/output/rows"
)

// appendFloat writes the shortest text that reads back as the same number.
// NaN and the infinities have no JSON number: they are the texts NaN, Infinity
// and -Infinity.
func appendFloat(b []byte, f float64, bitSize int) ([]byte, rows.Kind) {
	switch {
	case math.IsNaN(f):
		return append(b, "NaN"...), rows.Text
	case math.IsInf(f, 1):
		return append(b, "Infinity"...), rows.Text
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...), rows.Text
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, bitSize), rows.Number
}

// appendDate writes YYYY-MM-DD for days since 1970-01-01; years beyond 0..9999
// carry a sign, as in ISO 8601. DuckDB's infinities are infinity, -infinity.
func appendDate(b []byte, days int32) []byte {
	switch days {
	case math.MaxInt32:
		return append(b, "infinity"...)
	case -math.MaxInt32:
		return append(b, "-infinity"...)
	}
	y, m, d := civil(int64(days))
	return appendYMD(b, y, m, d)
}

// civil turns days since 1970-01-01 into a date of the proleptic Gregorian
// calendar, for every 32-bit number of days.
func civil(days int64) (year int64, month, day int) {
	days += 719468 // from 0000-03-01
	era := floorDiv(days, 146097)
	doe := days - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = int(doy - (153*mp+2)/5 + 1)
	month = int(mp + 3)
	if month > 12 {
		month -= 12
	}
	year = yoe + era*400
	if month <= 2 {
		year++
	}
	return year, month, day
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func appendYMD(b []byte, y int64, m, d int) []byte {
	switch {
	case y < 0:
		b = append(b, '-')
		y = -y
	case y > 9999:
		b = append(b, '+')
	}
	b = appendPadded(b, uint64(y), 4)
	b = append(b, '-')
	b = appendPadded(b, uint64(m), 2)
	b = append(b, '-')
	return appendPadded(b, uint64(d), 2)
}

func appendPadded(b []byte, v uint64, width int) []byte {
	for limit := pow10(width - 1); v < limit && limit > 1; limit /= 10 {
		b = append(b, '0')
	}
	return strconv.AppendUint(b, v, 10)
}

func pow10(n int) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}

// appendTimestamp writes RFC 3339 UTC. ticks count from 1970-01-01, perSecond
// of them a second; at least microseconds are written.
func appendTimestamp(b []byte, ticks, perSecond int64) []byte {
	switch ticks {
	case math.MaxInt64:
		return append(b, "infinity"...)
	case -math.MaxInt64:
		return append(b, "-infinity"...)
	}
	secs := floorDiv(ticks, perSecond)
	frac := ticks - secs*perSecond
	days := floorDiv(secs, 86400)
	y, m, d := civil(days)
	b = appendYMD(b, y, m, d)
	b = append(b, 'T')
	b = appendClock(b, secs-days*86400)
	b = append(b, '.')
	if perSecond == 1e9 {
		b = appendPadded(b, uint64(frac), 9)
	} else {
		b = appendPadded(b, uint64(frac*(1e6/perSecond)), 6)
	}
	return append(b, 'Z')
}

func appendClock(b []byte, secs int64) []byte {
	b = appendPadded(b, uint64(secs/3600), 2)
	b = append(b, ':')
	b = appendPadded(b, uint64(secs/60%60), 2)
	b = append(b, ':')
	return appendPadded(b, uint64(secs%60), 2)
}

// appendTime writes HH:MM:SS, with a fraction when there is one.
func appendTime(b []byte, ticks, perSecond int64) []byte {
	b = appendClock(b, ticks/perSecond)
	if frac := ticks % perSecond; frac != 0 {
		b = append(b, '.')
		b = appendPadded(b, uint64(frac), len(strconv.FormatInt(perSecond, 10))-1)
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	return b
}

// appendOffset writes a zone's distance from UTC: +02, -03:30.
func appendOffset(b []byte, secs int64) []byte {
	sign := byte('+')
	if secs < 0 {
		sign, secs = '-', -secs
	}
	b = append(b, sign)
	b = appendPadded(b, uint64(secs/3600), 2)
	if secs%3600 != 0 {
		b = append(b, ':')
		b = appendPadded(b, uint64(secs/60%60), 2)
	}
	if secs%60 != 0 {
		b = append(b, ':')
		b = appendPadded(b, uint64(secs%60), 2)
	}
	return b
}

// appendInterval writes what DuckDB prints: 1 year 2 months 3 days 04:05:06.7.
func appendInterval(b []byte, months, days int32, micros int64) []byte {
	start := len(b)
	part := func(n int64, unit string) {
		if n == 0 {
			return
		}
		if len(b) > start {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, n, 10)
		b = append(b, ' ')
		b = append(b, unit...)
		if n != 1 && n != -1 {
			b = append(b, 's')
		}
	}
	part(int64(months/12), "year")
	part(int64(months%12), "month")
	part(int64(days), "day")
	if micros != 0 || len(b) == start {
		if len(b) > start {
			b = append(b, ' ')
		}
		u := uint64(micros)
		if micros < 0 {
			b = append(b, '-')
			u = -u
		}
		b = appendTime(b, int64(u&math.MaxInt64), 1e6)
	}
	return b
}

// appendWide writes a 128-bit integer, with its decimal point scale digits from
// the right.
func appendWide(b []byte, hi int64, lo uint64, scale int) []byte {
	neg := hi < 0
	uhi := uint64(hi)
	if neg {
		var borrow uint64
		lo, borrow = bits.Sub64(0, lo, 0)
		uhi, _ = bits.Sub64(0, uhi, borrow)
	}
	return appendScaled(b, neg, appendUwide(nil, uhi, lo), scale)
}

func appendUwide(b []byte, hi, lo uint64) []byte {
	if hi == 0 {
		return strconv.AppendUint(b, lo, 10)
	}
	n := new(big.Int).SetUint64(hi)
	n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(lo))
	return n.Append(b, 10)
}

// appendDecimal writes an integer with its decimal point scale digits from the
// right.
func appendDecimal(b []byte, v int64, scale int) []byte {
	u := uint64(v)
	if v < 0 {
		u = -u
	}
	var digits [20]byte
	return appendScaled(b, v < 0, strconv.AppendUint(digits[:0], u, 10), scale)
}

func appendScaled(b []byte, neg bool, digits []byte, scale int) []byte {
	if neg {
		b = append(b, '-')
	}
	if scale == 0 {
		return append(b, digits...)
	}
	if n := len(digits) - scale; n > 0 {
		b = append(b, digits[:n]...)
		digits = digits[n:]
	} else {
		b = append(b, '0')
	}
	b = append(b, '.')
	for range scale - len(digits) {
		b = append(b, '0')
	}
	return append(b, digits...)
}

const hexDigits = "0123456789abcdef"

// appendHex writes two lower-case digits for each byte: the text of a BLOB.
func appendHex(b, blob []byte) []byte {
	for _, c := range blob {
		b = append(b, hexDigits[c>>4], hexDigits[c&15])
	}
	return b
}

// appendUUID writes the 8-4-4-4-12 form.
func appendUUID(b []byte, hi, lo uint64) []byte {
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			b = append(b, '-')
		}
		v, at := hi, i
		if i >= 16 {
			v, at = lo, i-16
		}
		b = append(b, hexDigits[v>>(60-4*at)&15])
	}
	return b
}

// appendGoTime writes an instant as appendTimestamp does.
func appendGoTime(b []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
}
