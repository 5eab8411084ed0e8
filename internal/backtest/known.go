package backtest

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"quant"
	"quant/internal/durable"
)

// The kinds of a Known.
const (
	KindDelisting = "delisting"
	KindHalt      = "halt"
)

// Known is a delisting or a halt that the lab knows of. From Date to End, both
// included, the symbol is not traded, whatever bars there are. A delisting closes a
// position at the close of its first session, at the last price up to then x
// (1 + Return); a halt leaves it, valued at its last price.
type Known struct {
	Symbol string      `json:"symbol"`
	Kind   string      `json:"kind"` // delisting or halt
	Date   quant.Date  `json:"date"` // first day of it
	End    *quant.Date `json:"end"`  // last day of it; nil: it has none
	// Return is that of a delisting, decimal, on the last price; nil: the one that
	// is assumed where nothing is known. A halt has none.
	Return *float64   `json:"return"`
	Reason quant.Text `json:"reason"`
}

// MaxReasonBytes is how long the reason of a Known may be.
const MaxReasonBytes = 500

// Validate reports the first rule that it breaks, as Invalid.
func (e Known) Validate() error {
	bad := func(hint, format string, args ...any) error {
		return quant.Errorf(quant.Invalid, format, args...).WithHint("%s", hint)
	}
	if err := quant.ValidateSymbol(e.Symbol); err != nil {
		return err
	}
	switch {
	case e.Kind != KindDelisting && e.Kind != KindHalt:
		return bad("delisting or halt", "%s: kind %q is not known", e.Symbol, e.Kind)
	case e.End != nil && *e.End < e.Date:
		return bad("the end is the last day without trading; leave it out where there is none", "%s: the end %s is before %s", e.Symbol, *e.End, e.Date)
	case e.Kind == KindHalt && e.Return != nil:
		return bad("leave it out: after a halt the next close says it", "%s: a halt has no return", e.Symbol)
	case e.Return != nil && !(*e.Return >= -1 && *e.Return <= 10):
		return bad("decimal, -1 to 10: -0.3 loses 30 percent", "%s: return %v makes no sense", e.Symbol, *e.Return)
	case len(e.Reason) > MaxReasonBytes:
		return bad("shorten it", "%s: the reason is %d bytes long, more than %d", e.Symbol, len(e.Reason), MaxReasonBytes)
	case !utf8.ValidString(string(e.Reason)):
		return bad("save the file as UTF-8", "%s: the reason is not UTF-8", e.Symbol)
	}
	for _, r := range e.Reason {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError {
			return bad("plain text in one line", "%s: the reason contains a control character", e.Symbol)
		}
	}
	return nil
}

// Equal reports whether two say the same.
func (e Known) Equal(o Known) bool {
	same := func(a, b *float64) bool { return a == b || a != nil && b != nil && *a == *b }
	return e.Symbol == o.Symbol && e.Kind == o.Kind && e.Date == o.Date && e.Reason == o.Reason && same(e.Return, o.Return) &&
		(e.End == o.End || e.End != nil && o.End != nil && *e.End == *o.End)
}

// Merge puts entries into a list, in the order of symbol and date: one of the same
// symbol and date takes the other's place. It says which were added, changed, or
// there already. Invalid, and nothing is merged: an entry makes no sense, stands
// twice in more, or two of a symbol share a day.
func Merge(list, more []Known) (merged, added, changed, unchanged []Known, err error) {
	type key struct {
		symbol string
		date   quant.Date
	}
	given := make(map[key]bool, len(more))
	for _, e := range more {
		if err := e.Validate(); err != nil {
			return nil, nil, nil, nil, err
		}
		if given[key{e.Symbol, e.Date}] {
			return nil, nil, nil, nil, quant.Errorf(quant.Invalid, "%s on %s stands there twice", e.Symbol, e.Date).WithHint("leave one of them out")
		}
		given[key{e.Symbol, e.Date}] = true
	}
	merged = slices.Clone(list)
	at := make(map[key]int, len(merged))
	for i, e := range merged {
		at[key{e.Symbol, e.Date}] = i
	}
	for _, e := range more {
		switch i, there := at[key{e.Symbol, e.Date}]; {
		case !there:
			merged, added = append(merged, e), append(added, e)
		case merged[i].Equal(e):
			unchanged = append(unchanged, e)
		default:
			merged[i] = e
			changed = append(changed, e)
		}
	}
	if err := sortKnown(merged); err != nil {
		return nil, nil, nil, nil, err
	}
	return merged, added, changed, unchanged, nil
}

// sortKnown sorts by symbol and date. Invalid: two of a symbol share a day. A halt
// without an end lasts until the next entry.
func sortKnown(list []Known) error {
	slices.SortFunc(list, func(a, b Known) int { return cmp.Or(cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(a.Date, b.Date)) })
	for i := 1; i < len(list); i++ {
		a, b := list[i-1], list[i]
		if a.Symbol == b.Symbol && (a.End == nil && (a.Kind == KindDelisting || a.Date == b.Date) || a.End != nil && *a.End >= b.Date) {
			end := "has no end"
			if a.End != nil {
				end = "ends on " + a.End.String()
			}
			return quant.Errorf(quant.Invalid, "%s: the %s of %s %s, and the %s of %s begins before", a.Symbol, a.Kind, a.Date, end, b.Kind, b.Date).
				WithHint("give the first one an end before %s, or remove it", b.Date)
		}
	}
	return nil
}

// KnownName is what a run calls the delistings and halts that it read.
const KnownName = "delistings"

// KnownColumns are the columns of a file of delistings and halts.
const KnownColumns = "symbol,kind,date,end,return,reason"

// knownColumns maps the header spellings of such a file to columns.
var knownColumns = map[string]string{
	"symbol": "symbol", "ticker": "symbol", "code": "symbol", "종목코드": "symbol", "종목": "symbol", "단축코드": "symbol",
	"kind": "kind", "type": "kind", "구분": "kind",
	"date": "date", "delisting_date": "date", "delisted": "date", "상장폐지일": "date", "폐지일": "date", "폐지일자": "date", "상장폐지일자": "date", "정지일": "date",
	"end": "end", "end_date": "end", "until": "end", "해제일": "end",
	"return": "return", "delisting_return": "return", "ret": "return", "수익률": "return",
	"reason": "reason", "사유": "reason", "폐지사유": "reason", "정지사유": "reason",
}

// maxKnownBytes is how large a file of delistings and halts may be.
const maxKnownBytes = 16 << 20

// ReadKnown reads a file of delistings and halts: CSV in UTF-8 with a header that
// names the columns of KnownColumns in any order; symbol and date must be there, and
// what has no kind is a delisting. Invalid: it is no such file, a line cannot be
// used, or two lines contradict each other; the line is named, and nothing is
// returned.
func ReadKnown(in io.Reader) ([]Known, error) {
	const hint = "its first line names the columns: " + KnownColumns
	text, err := io.ReadAll(io.LimitReader(in, maxKnownBytes+1))
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "read delistings: %w", err).WithHint("make the file readable")
	}
	if len(text) > maxKnownBytes {
		return nil, quant.Errorf(quant.Invalid, "the file of delistings is larger than %d MiB", maxKnownBytes>>20).WithHint("it has a line for each delisting or halt")
	}
	if !utf8.Valid(text) {
		return nil, quant.Errorf(quant.Invalid, "the file of delistings is not UTF-8").WithHint("save it as UTF-8; a Korean file of Windows is usually CP949")
	}
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(text), "\ufeff")))
	r.FieldsPerRecord = -1
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, quant.Errorf(quant.Invalid, "the file of delistings is empty").WithHint(hint)
	}
	if err != nil {
		return nil, quant.Errorf(quant.Invalid, "the header of the delistings: %w", err).WithHint(hint)
	}
	columns := make([]string, len(header))
	for i, h := range header {
		columns[i] = knownColumns[strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(strings.TrimSpace(h)))]
		if columns[i] == "" {
			return nil, quant.Errorf(quant.Invalid, "column %q of the delistings is not known", h).WithHint("the columns are %s", KnownColumns)
		}
		if slices.Contains(columns[:i], columns[i]) {
			return nil, quant.Errorf(quant.Invalid, "two columns of the delistings mean %s", columns[i]).WithHint("leave one of them out")
		}
	}
	for _, must := range []string{"symbol", "date"} {
		if !slices.Contains(columns, must) {
			return nil, quant.Errorf(quant.Invalid, "the delistings have no column %s", must).WithHint(hint)
		}
	}
	list := []Known{}
	lines := map[string]int{}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return list, sortKnown(list)
		}
		if err != nil {
			return nil, quant.Errorf(quant.Invalid, "the delistings: %w", err).WithHint("nothing was read; mend the line")
		}
		line, _ := r.FieldPos(0)
		e, err := knownOf(columns, record)
		if err == nil {
			err = e.Validate()
		}
		if err != nil {
			return nil, quant.Errorf(quant.Invalid, "line %d of the delistings: %w", line, err).WithHint("%s", cmp.Or(quant.HintOf(err), "nothing was read; mend the line"))
		}
		key := e.Symbol + " " + e.Date.String()
		if first, twice := lines[key]; twice {
			return nil, quant.Errorf(quant.Invalid, "line %d of the delistings: %s on %s stands in line %d already", line, e.Symbol, e.Date, first).WithHint("leave one of them out")
		}
		lines[key] = line
		list = append(list, e)
	}
}

func knownOf(columns, record []string) (e Known, err error) {
	if len(record) != len(columns) {
		return e, quant.Errorf(quant.Invalid, "%d fields where the header has %d", len(record), len(columns)).WithHint("a text with a comma stands in quotes")
	}
	e.Kind = KindDelisting
	var date, end, ret string
	for i, value := range record {
		value = strings.TrimSpace(value)
		switch columns[i] {
		case "symbol":
			e.Symbol = value
		case "kind":
			e.Kind = cmp.Or(strings.ToLower(value), KindDelisting)
		case "date":
			date = value
		case "end":
			end = value
		case "return":
			ret = value
		case "reason":
			e.Reason = quant.Text(value)
		}
	}
	if e.Date, err = quant.ParseDate(date); err != nil {
		return e, err
	}
	if end != "" {
		day, err := quant.ParseDate(end)
		if err != nil {
			return e, err
		}
		e.End = &day
	}
	if ret != "" {
		v, err := strconv.ParseFloat(ret, 64)
		if err != nil || math.IsNaN(v) {
			return e, quant.Errorf(quant.Invalid, "return %q is no number", ret).WithHint("decimal: -0.3 loses 30 percent")
		}
		e.Return = &v
	}
	return e, nil
}

// WriteKnown writes the file that ReadKnown reads.
func WriteKnown(out io.Writer, list []Known) error {
	w := csv.NewWriter(out)
	rows := [][]string{strings.Split(KnownColumns, ",")}
	for _, e := range list {
		end, ret := "", ""
		if e.End != nil {
			end = e.End.String()
		}
		if e.Return != nil {
			ret = strconv.FormatFloat(*e.Return, 'g', -1, 64)
		}
		rows = append(rows, []string{e.Symbol, e.Kind, e.Date.String(), end, ret, string(e.Reason)})
	}
	return w.WriteAll(rows)
}

// knownDigest is sha256:<hex> of entries; "" of none.
func knownDigest(list []Known) string {
	if len(list) == 0 {
		return ""
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(fmt.Sprintf("backtest: days, texts and finite numbers have no JSON form: %v", err))
	}
	return durable.Digest(text)
}

// span is a Known in sessions of a market.
type span struct {
	first, last int // sessions that it covers; first is their number where it begins after the last one
	known       Known
}

// spansOf places what is known of a market's symbols on its sessions, by symbol, in
// the order of time. What ended before the first session, or covers none, is left
// out, but for a delisting to come: that it is known counts before its day. Invalid: an entry makes no sense, or two of a symbol share a day.
func spansOf(market Market) ([][]span, error) {
	spans := make([][]span, len(market.Symbols))
	if len(market.Known) == 0 {
		return spans, nil
	}
	list := slices.Clone(market.Known)
	for _, e := range list {
		if err := e.Validate(); err != nil {
			return nil, err
		}
	}
	if err := sortKnown(list); err != nil {
		return nil, err
	}
	n := len(market.Sessions)
	for i, e := range list {
		if next := i + 1; e.End == nil && next < len(list) && list[next].Symbol == e.Symbol {
			e.End = new(list[next].Date - 1)
		}
		k, found := slices.BinarySearch(market.Symbols, e.Symbol)
		if !found {
			continue
		}
		first, _ := slices.BinarySearch(market.Sessions, e.Date)
		last := n
		if e.End != nil {
			last, _ = slices.BinarySearch(market.Sessions, *e.End+1)
			last--
		}
		if first <= last || first == n || e.Kind == KindDelisting && first > 0 {
			spans[k] = append(spans[k], span{first, last, e})
		}
	}
	return spans, nil
}
