// Package universe knows who belonged to a universe on which day: lists of members as
// index providers publish them. It is arithmetic and reading only: it owns no file.
package universe

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"quant"
	"quant/internal/durable"
)

// Member is one stay of a symbol in a universe.
type Member struct {
	Symbol string      `json:"symbol"`
	From   quant.Date  `json:"from"` // its first day
	To     *quant.Date `json:"to"`   // its last day; nil: it has not left
}

// List is a universe: its members by symbol and day, no two stays of a symbol sharing
// a day.
type List struct {
	Name    string   `json:"name"`
	Members []Member `json:"members"`
}

// Columns are the columns of the file of a list.
const Columns = "symbol,from,to"

const (
	maxBytes = 64 << 20
	hint     = "its first line names the columns: symbol,from,to; or date,symbol with a row for each member on each day of a change"
)

var namePattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`) })

// CheckName reports, as Invalid, a name that no universe can have.
func CheckName(name string) error {
	if !namePattern().MatchString(name) {
		return quant.Errorf(quant.Invalid, "%q cannot name a universe", name).WithHint("small letters, digits, _ and -, at most 63, such as sp500")
	}
	return nil
}

// names maps the header spellings of a file to columns.
var names = map[string]string{
	"symbol": "symbol", "ticker": "symbol", "code": "symbol", "종목코드": "symbol", "universe": "universe",
	"from": "from", "start": "from", "start_date": "from", "added": "from", "date_added": "from", "편입일": "from", "시작일": "from",
	"to": "to", "end": "to", "end_date": "to", "thru": "to", "removed": "to", "date_removed": "to", "편출일": "to", "제외일": "to", "종료일": "to",
	"date": "date", "asof": "date", "as_of": "date", "기준일": "date",
}

// Read reads the file of one list: CSV in UTF-8 with a header. With the columns symbol,
// from and to each line is a stay, both days included; to is empty where the symbol has
// not left. With the columns date and symbol the lines of a day are all members from
// that day to the day before the next one that the file has. Tabs may stand for the
// commas; then a first line that is a stay already, as in an instruments file of Qlib,
// needs no header. Invalid: it is no such file, a line cannot be used, or two contradict
// each other; the line is named.
func Read(name string, in io.Reader) (List, error) {
	lists, err := read(in, name)
	if err != nil {
		return List{Name: name}, err
	}
	if len(lists) == 0 {
		return List{Name: name}, quant.Errorf(quant.Invalid, "the list of members has no line").WithHint(hint)
	}
	return lists[0], nil
}

// ReadAll reads what WriteAll wrote.
func ReadAll(in io.Reader) ([]List, error) { return read(in, "") }

func read(in io.Reader, name string) ([]List, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxBytes+1))
	switch {
	case err != nil:
		return nil, quant.Errorf(quant.Failed, "read the list of members: %w", err).WithHint("make the file readable")
	case len(text) > maxBytes:
		return nil, quant.Errorf(quant.Invalid, "the list of members is larger than %d MiB", maxBytes>>20).WithHint("give stays (symbol,from,to) instead of every day")
	case !utf8.Valid(text):
		return nil, quant.Errorf(quant.Invalid, "the list of members is not UTF-8").WithHint("save it as UTF-8")
	}
	body := strings.TrimPrefix(string(text), "\ufeff")
	r := csv.NewReader(strings.NewReader(body))
	r.FieldsPerRecord = -1
	first, _, _ := strings.Cut(body, "\n")
	fields := strings.Split(strings.TrimSpace(first), "\t")
	var header []string
	if name != "" && len(fields) > 1 && !strings.Contains(first, ",") {
		r.Comma = '\t'
		if _, err := quant.ParseDate(fields[1]); err == nil && len(fields) == 3 {
			header = strings.Split(Columns, ",")
		}
	}
	if header == nil {
		header, err = r.Read()
	}
	r.ReuseRecord = true
	if errors.Is(err, io.EOF) {
		return nil, quant.Errorf(quant.Invalid, "the list of members is empty").WithHint(hint)
	}
	if err != nil {
		return nil, quant.Errorf(quant.Invalid, "the header of the list of members: %w", err).WithHint(hint)
	}
	at := map[string]int{}
	for i, h := range header {
		column := names[strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(strings.TrimSpace(h)))]
		if column == "" || column == "universe" && name != "" {
			return nil, quant.Errorf(quant.Invalid, "column %q of the list of members is not known", h).WithHint(hint)
		}
		if _, twice := at[column]; twice {
			return nil, quant.Errorf(quant.Invalid, "two columns of the list of members mean %s", column).WithHint("leave one of them out")
		}
		at[column] = i
	}
	has := func(columns ...string) bool {
		for _, c := range columns {
			if _, is := at[c]; !is {
				return false
			}
		}
		return len(at) == len(columns)
	}
	var days snapshots
	switch {
	case name == "" && has("universe", "symbol", "from", "to"), name != "" && has("symbol", "from", "to"):
	case name != "" && has("date", "symbol"):
		days = snapshots{}
	default:
		return nil, quant.Errorf(quant.Invalid, "the list of members has the columns %s", strings.Join(slices.Sorted(keys(at)), ", ")).WithHint(hint)
	}
	lists := map[string][]Member{}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, quant.Errorf(quant.Invalid, "the list of members: %w", err).WithHint("nothing was read; mend the line")
		}
		line, _ := r.FieldPos(0)
		of := name
		if err := func() error {
			if len(record) != len(header) {
				return quant.Errorf(quant.Invalid, "%d fields where the header has %d", len(record), len(header))
			}
			field := func(column string) string { return strings.TrimSpace(record[at[column]]) }
			m := Member{Symbol: strings.Clone(field("symbol"))}
			if err := quant.ValidateSymbol(m.Symbol); err != nil {
				return err
			}
			if days != nil {
				day, err := quant.ParseDate(field("date"))
				if err != nil {
					return err
				}
				return days.add(day, m.Symbol)
			}
			var err error
			if m.From, err = quant.ParseDate(field("from")); err != nil {
				return err
			}
			if to := field("to"); to != "" {
				last, err := quant.ParseDate(to)
				if err != nil {
					return err
				}
				if last < m.From {
					return quant.Errorf(quant.Invalid, "%s leaves on %s, before it comes on %s", m.Symbol, last, m.From)
				}
				m.To = &last
			}
			if name == "" {
				of = strings.Clone(field("universe"))
				if err := CheckName(of); err != nil {
					return err
				}
			}
			lists[of] = append(lists[of], m)
			return nil
		}(); err != nil {
			return nil, quant.Errorf(quant.Invalid, "line %d of the list of members: %w", line, err).WithHint("%s", cmp.Or(quant.HintOf(err), "nothing was read; mend the line"))
		}
	}
	if len(days) > 0 {
		lists[name] = days.stays()
	}
	var all []List
	for _, of := range slices.Sorted(keys(lists)) {
		l := List{Name: of, Members: lists[of]}
		if err := l.sort(); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// snapshots are the members of some days.
type snapshots map[quant.Date]map[string]bool

func (s snapshots) add(day quant.Date, symbol string) error {
	if s[day] == nil {
		s[day] = map[string]bool{}
	}
	if s[day][symbol] {
		return quant.Errorf(quant.Invalid, "%s stands twice on %s", symbol, day).WithHint("leave one of them out")
	}
	s[day][symbol] = true
	return nil
}

// stays are the members as stays: each from a day on which it is listed to the day
// before the next one on which it is not.
func (s snapshots) stays() []Member {
	var days []quant.Date
	for day := range s {
		days = append(days, day)
	}
	slices.Sort(days)
	since := map[string]quant.Date{}
	var list []Member
	for _, day := range days {
		for symbol, from := range since {
			if !s[day][symbol] {
				list = append(list, Member{symbol, from, new(day - 1)})
				delete(since, symbol)
			}
		}
		for symbol := range s[day] {
			if _, in := since[symbol]; !in {
				since[symbol] = day
			}
		}
	}
	for symbol, from := range since {
		list = append(list, Member{symbol, from, nil})
	}
	return list
}

// sort brings the members into order. Invalid: two stays of a symbol share a day.
func (l List) sort() error {
	slices.SortFunc(l.Members, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(a.From, b.From)) })
	for i := 1; i < len(l.Members); i++ {
		a, b := l.Members[i-1], l.Members[i]
		if a.Symbol == b.Symbol && (a.To == nil || *a.To >= b.From) {
			return quant.Errorf(quant.Invalid, "universe %s: the stays of %s from %s and from %s overlap", l.Name, a.Symbol, a.From, b.From).WithHint("end the first one before the second begins")
		}
	}
	return nil
}

// Symbols are all that were ever members, in byte order.
func (l List) Symbols() []string {
	var list []string
	for _, m := range l.Members {
		if n := len(list); n == 0 || list[n-1] != m.Symbol {
			list = append(list, m.Symbol)
		}
	}
	return list
}

// Has reports whether a symbol was a member on a day.
func (l List) Has(symbol string, day quant.Date) bool {
	i, _ := slices.BinarySearchFunc(l.Members, symbol, func(m Member, symbol string) int { return cmp.Compare(m.Symbol, symbol) })
	for ; i < len(l.Members) && l.Members[i].Symbol == symbol && l.Members[i].From <= day; i++ {
		if to := l.Members[i].To; to == nil || day <= *to {
			return true
		}
	}
	return false
}

// On is the list with the stays alone that a day lies in; none: an empty one.
func (l List) On(day quant.Date) List {
	on := List{Name: l.Name, Members: []Member{}}
	for _, m := range l.Members {
		if m.From <= day && (m.To == nil || day <= *m.To) {
			on.Members = append(on.Members, m)
		}
	}
	return on
}

// Digest is sha256:<hex> of the members.
func (l List) Digest() string {
	sum := durable.NewSum()
	for _, m := range l.Members {
		_, _ = fmt.Fprintf(sum, "%s\x00%s\x00%s\n", m.Symbol, m.From, dayOrNone(m.To))
	}
	return sum.Digest()
}

func dayOrNone(d *quant.Date) string {
	if d == nil {
		return ""
	}
	return d.String()
}

// WriteAll writes lists, in their order, as ReadAll reads them.
func WriteAll(out io.Writer, lists []List) error {
	w := csv.NewWriter(out)
	rows := [][]string{strings.Split("universe,"+Columns, ",")}
	for _, l := range lists {
		for _, m := range l.Members {
			rows = append(rows, []string{l.Name, m.Symbol, m.From.String(), dayOrNone(m.To)})
		}
	}
	return w.WriteAll(rows)
}

// Write writes the list as Read reads it.
func (l List) Write(out io.Writer) error {
	w := csv.NewWriter(out)
	rows := [][]string{strings.Split(Columns, ",")}
	for _, m := range l.Members {
		rows = append(rows, []string{m.Symbol, m.From.String(), dayOrNone(m.To)})
	}
	return w.WriteAll(rows)
}

// enoughBars is the share of a window's sessions on which a symbol must have traded to
// be ranked by Top.
const enoughBars = 0.8

// Top are, of each of some days, the symbols with the highest mean of a value over the
// window of sessions up to it, as indices; ties go to the lower one, and a symbol counts that
// has a value on four fifths of them. values are by symbol and session, NaN: none; at
// are the sessions of the days. A session before the first counts as one without a
// value.
func Top(values [][]float64, at []int, window, most int) [][]int {
	least := int(float64(window)*enoughBars + 0.999999)
	chosen := make([][]int, len(at))
	type ranked struct {
		symbol int
		mean   float64
	}
	for d, end := range at {
		var list []ranked
		for symbol, of := range values {
			sum, n := 0.0, 0
			for s := max(end-window+1, 0); s <= min(end, len(of)-1); s++ {
				if v := of[s]; v == v {
					sum, n = sum+v, n+1
				}
			}
			if n >= least && n > 0 {
				list = append(list, ranked{symbol, sum / float64(n)})
			}
		}
		slices.SortFunc(list, func(a, b ranked) int { return cmp.Or(cmp.Compare(b.mean, a.mean), cmp.Compare(a.symbol, b.symbol)) })
		for _, r := range list[:min(most, len(list))] {
			chosen[d] = append(chosen[d], r.symbol)
		}
		slices.Sort(chosen[d])
	}
	return chosen
}
