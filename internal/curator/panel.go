package curator

import (
	"errors"
	"slices"
	"strings"

	"quant"
)

// panel is where the prices of one symbol stand in a file that has columns for
// several.
type panel struct {
	symbol string
	cols   columns
}

// panelLines is one more than the number of rows that a file of panels may have:
// a row gives a bar of each symbol, and the row and the symbol together are its
// place in staged.
const panelLines = 1 << 24

// headerShape is what the first rows of a file say.
type headerShape struct {
	rows   int // of the header; 0: the first row is a bar
	cols   columns
	panels []panel // nil: a row is one bar
}

// shape finds the fields, and the symbols if they stand in the header, in the
// first rows of a file; records has up to three of them, and one at least.
func (p plan) shape(label string, records [][]string) (headerShape, error) {
	if p.wide {
		if err := p.rowOnly(label); err != nil {
			return headerShape{}, err
		}
		return p.wideShape(label, records[0])
	}
	if p.NoHeader {
		cols, _, err := p.headerRule().find(label, records[0])
		return headerShape{cols: cols}, err
	}
	if levels, ok := tupleLevels(records[0]); ok {
		if err := p.rowOnly(label); err != nil {
			return headerShape{}, err
		}
		panels, date, err := p.panels(label, levels[0], levels[1], -1)
		return headerShape{1, panelColumns(panels, records[0], date), panels}, err
	}
	if fields, tickers, rows, date, ok := headerLevels(records); ok {
		if err := p.rowOnly(label); err != nil {
			return headerShape{}, err
		}
		panels, date, err := p.panels(label, fields, tickers, date)
		return headerShape{rows, panelColumns(panels, fields, date), panels}, err
	}
	cols, isRow, err := p.headerRule().find(label, records[0])
	rows := 1
	if isRow {
		rows = 0
	}
	return headerShape{rows: rows, cols: cols}, err
}

// columnsComplete reports the fields that a file with a row for each bar lacks, as
// headerRule.complete, and with CloseOnly has the close stand for open, high and
// low.
func (p plan) columnsComplete(label string, c *columns) error {
	h := p.headerRule()
	if p.CloseOnly {
		for _, f := range []field{open, high, low} {
			if c.at[f] < 0 {
				continue
			}
			if c.at[open] >= 0 && c.at[high] >= 0 && c.at[low] >= 0 {
				return quant.Errorf(quant.Invalid, "%s: has open, high and low", label).WithHint("leave --close-only out")
			}
			return quant.Errorf(quant.Invalid, "%s: has a column for %s, and not all of open, high and low", label, f).
				WithHint("leave that column out of the file to take the close for all three with --close-only")
		}
		c.at[open], c.at[high], c.at[low] = c.at[closing], c.at[closing], c.at[closing]
	}
	err := h.complete(label, *c)
	if e, ok := errors.AsType[*quant.Error](err); ok && !p.CloseOnly {
		switch {
		case (c.at[date] >= 0 || h.noDate) && c.at[closing] >= 0 && c.at[open] < 0 && c.at[high] < 0 && c.at[low] < 0:
			return e.WithHint("a file of closes alone? --close-only takes them for open, high and low, and 0 for a volume that is not there; other names: --map open=COLUMN")
		case mayBeWide(c.names):
			return e.WithHint("a column of closes for each symbol? --layout wide reads them so; other names: --map close=COLUMN")
		}
	}
	return err
}

// rowOnly refuses what is said of a file with a row for each bar, where the header
// has the symbols.
func (p plan) rowOnly(label string) error {
	for _, said := range []struct {
		flag string
		is   bool
	}{{"--map", p.named != nil}, {"--no-header", p.NoHeader}, {"--date", p.fixedDay}} {
		if said.is {
			return quant.Errorf(quant.Invalid, "%s: has columns for several symbols, of which %s says nothing", label, said.flag).WithHint("leave %s out", said.flag)
		}
	}
	return nil
}

// mapHeader finds the fields of one symbol's columns by their names. quant.Invalid:
// two columns are the same field, or a required field is missing.
func mapHeader(label string, names []string, volumeOptional bool) (columns, error) {
	h := headerRule{volumeOptional: volumeOptional}
	c, err := h.mapHeader(label, names)
	if err != nil {
		return c, err
	}
	c.clock = -1
	c.settle(func(maybeColumn) bool { return false })
	return c, h.complete(label, c)
}

// fieldOf knows a column of a panel by its name. weak: the name is that of the
// field only if no other column is.
func fieldOf(name string) (f field, weak, ok bool) {
	w, ok := wordOf(name)
	return w.field, w.rank > rankName, ok && w.rank != rankIndex
}

// columnsOf is mapHeader, and with CloseOnly the close stands for open, high and
// low.
func (p plan) columnsOf(label string, names []string) (columns, error) {
	if i := slices.Index(names, pandasIndex); i >= 0 && !slices.ContainsFunc(names, isDateName) {
		names = slices.Clone(names)
		names[i] = date.String()
	}
	alone := slices.Concat(names, []string{"open", "high", "low"})
	if !p.CloseOnly && !p.wide {
		cols, err := mapHeader(label, names, p.zeroVolume)
		if err == nil {
			return cols, nil
		}
		if closes, other := mapHeader(label, alone, true); other == nil && closes.at[closing] >= 0 {
			if e, ok := errors.AsType[*quant.Error](err); ok {
				return cols, e.WithHint("a file of closes alone? --close-only takes them for open, high and low, and 0 for a volume that is not there")
			}
		}
		if e, ok := errors.AsType[*quant.Error](err); ok && mayBeWide(names) {
			return cols, e.WithHint("a column of closes for each symbol? --layout wide reads them so")
		}
		return cols, err
	}
	if cols, err := mapHeader(label, names, p.zeroVolume); err == nil {
		return cols, quant.Errorf(quant.Invalid, "%s: has open, high and low", label).WithHint("leave --close-only out")
	}
	for _, f := range []field{open, high, low} {
		if slices.ContainsFunc(names, func(name string) bool { g, weak, ok := fieldOf(name); return ok && !weak && g == f }) {
			return columns{}, quant.Errorf(quant.Invalid, "%s: has a column for %s, and not all of open, high and low", label, f).
				WithHint("leave that column out of the file to take the close for all three with --close-only")
		}
	}
	cols, err := mapHeader(label, alone, true)
	if err != nil {
		return cols, err
	}
	cols.count = len(names)
	cols.at[open], cols.at[high], cols.at[low] = cols.at[closing], cols.at[closing], cols.at[closing]
	return cols, nil
}

// mayBeWide reports whether names are a date and symbols.
func mayBeWide(names []string) bool {
	if len(names) < 2 || !isDateName(names[0]) && strings.TrimSpace(names[0]) != "" {
		return false
	}
	return !slices.ContainsFunc(names[1:], func(name string) bool {
		_, _, known := fieldOf(name)
		return known || quant.ValidateSymbol(name) != nil
	})
}

// wideShape is a date, then a column of closes for each symbol. An index that
// pandas wrote behind them is the date.
func (p plan) wideShape(label string, names []string) (headerShape, error) {
	date := 0
	if i := slices.Index(names, pandasIndex); i > 0 {
		date = i
	} else if i := slices.IndexFunc(names, isDateName); i > 0 && !isDateName(names[0]) {
		date = i
	}
	tickers, fields := slices.Clone(names), make([]string, len(names))
	for i := range names {
		fields[i] = closing.String()
		if strings.TrimSpace(names[i]) == "" && i != date {
			return headerShape{}, quant.Errorf(quant.Invalid, "%s: column %d of the wide layout has no symbol for a name", label, i+1).
				WithHint("name it, or take it out")
		}
	}
	fields[date], tickers[date] = "date", ""
	panels, date, err := p.panels(label, fields, tickers, date)
	return headerShape{1, panelColumns(panels, nil, date), panels}, err
}

// pandasIndex is the name that pandas gives an index without one in Parquet and
// Feather.
const pandasIndex = "__index_level_0__"

// isDateName knows the names of the column that has the day.
func isDateName(name string) bool {
	w, ok := wordOf(name)
	if !ok || w.field != date {
		return false
	}
	switch plainName(name) {
	case "datetime", "timestamp", "time":
		return true
	}
	return w.rank == rankName // DT, TS and DAY are symbols, too
}

// isPriceField knows the names of open, high, low, close, volume and adjusted
// close.
func isPriceField(name string) bool {
	f, weak, ok := fieldOf(name)
	return ok && !weak && f >= open
}

// isLevelName knows what stands before a row of a header of several rows: the
// name of a level of pandas' columns, or nothing.
func isLevelName(name string) bool {
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "", "price", "prices", "ticker", "tickers", "symbol", "symbols", "attributes", "field", "fields", "variable":
		return true
	}
	return false
}

// headerLevels recognises a header of several rows, as pandas writes the columns
// of yfinance: one row says the field, another the symbol, in either order, and
// a third may name the index. date is the column of the days.
func headerLevels(records [][]string) (fields, tickers []string, rows, date int, ok bool) {
	head := slices.Clone(records[:min(3, len(records))])
	date, rows = -1, 2
	for i, r := range head {
		if len(r) != len(head[0]) {
			head = head[:i]
			break
		}
		if date < 0 && len(r) > 1 && (isDateName(r[0]) || r[0] == "index") && allBlank(r[1:]) {
			date, rows = 0, 3
			head = slices.Delete(head, i, i+1)
			break
		}
	}
	if len(head) < 2 {
		return nil, nil, 0, 0, false
	}
	for _, order := range [2][2]int{{0, 1}, {1, 0}} {
		fields, tickers = filled(head[order[0]], head[order[1]]), filled(head[order[1]], head[order[0]])
		if isLevels(fields, tickers, rows == 3) {
			return fields, tickers, rows, date, true
		}
	}
	return nil, nil, 0, 0, false
}

func allBlank(cells []string) bool {
	return !slices.ContainsFunc(cells, func(c string) bool { return strings.TrimSpace(c) != "" })
}

// filled is a row with what stands left of each gap: cells that Excel shows as
// one have their text in the first. Only where the other row has a text is a gap
// one.
func filled(row, other []string) []string {
	out := slices.Clone(row)
	for i := 2; i < len(out); i++ {
		if out[i] == "" && strings.TrimSpace(other[i]) != "" && out[i-1] != "" && !isDateName(other[i]) {
			out[i] = out[i-1]
		}
	}
	return out
}

// isLevels reports whether two rows are the fields and the symbols of columns.
// certain: another row says that they are no bars.
func isLevels(fields, tickers []string, certain bool) bool {
	known, other, numbers := 0, 0, 0
	for i, f := range fields {
		t := strings.TrimSpace(tickers[i])
		switch {
		case i == 0 && (isLevelName(f) || isDateName(f)) && isLevelName(t), isDateName(f) && t == "", strings.TrimSpace(f) == "" && (t == "" || isDateName(t)):
			continue
		case t == "" || isPriceField(t) || isDateName(t):
			return false
		case isPriceField(f):
			known++
		default:
			other++
		}
		if !isText([]byte(t)) {
			numbers++
		}
		if isDay([]byte(t)) && !certain {
			return false
		}
	}
	named := func(s string) bool {
		s = strings.ToLower(strings.TrimSpace(s))
		return s != "" && s != "price" && isLevelName(s)
	}
	return known > 0 && known >= other && (isLevelName(fields[0]) || isDateName(fields[0]) || fields[0] == "") &&
		(numbers == 0 || certain || named(tickers[0]))
}

// tupleLevels takes names such as ('Close', 'AAPL'), which is how pandas writes
// columns of two levels where a name must be one text, apart into fields and
// symbols.
func tupleLevels(names []string) ([2][]string, bool) {
	var levels [2][]string
	tuples := 0
	for _, name := range names {
		parts, ok := tuple(name)
		if ok {
			tuples++
		} else {
			parts = [2]string{name, ""}
		}
		levels[0], levels[1] = append(levels[0], parts[0]), append(levels[1], parts[1])
	}
	if tuples == 0 || tuples+2 < len(names) {
		return levels, false
	}
	if !isLevels(slices.Concat([]string{""}, levels[0]), slices.Concat([]string{""}, levels[1]), true) {
		levels[0], levels[1] = levels[1], levels[0]
		for i := range names {
			if _, ok := tuple(names[i]); !ok {
				levels[0][i], levels[1][i] = names[i], ""
			}
		}
	}
	return levels, slices.ContainsFunc(levels[0], isPriceField)
}

// tuple reads Python's spelling of two texts.
func tuple(name string) (parts [2]string, ok bool) {
	inside, ok := strings.CutPrefix(strings.TrimSpace(name), "(")
	if !ok {
		return parts, false
	}
	if inside, ok = strings.CutSuffix(inside, ")"); !ok {
		return parts, false
	}
	for i := range parts {
		inside = strings.TrimLeft(inside, " ")
		if inside == "" || inside[0] != '\'' && inside[0] != '"' {
			return parts, false
		}
		end := strings.IndexByte(inside[1:], inside[0])
		if end < 0 {
			return parts, false
		}
		parts[i], inside = inside[1:1+end], inside[2+end:]
		if i == 0 {
			if inside, ok = strings.CutPrefix(inside, ","); !ok {
				return parts, false
			}
		}
	}
	return parts, inside == ""
}

// panels puts the columns of each symbol together. date -1: it is found by its
// name, or is the first column that belongs to no symbol.
func (p plan) panels(label string, fields, tickers []string, day int) ([]panel, int, error) {
	of := map[string][]int{}
	var order []string
	for i := range fields {
		t, f := strings.TrimSpace(tickers[i]), strings.TrimSpace(fields[i])
		switch {
		case i == day:
		case day < 0 && (isDateName(f) && t == "" || isDateName(t) && f == "" || f == pandasIndex || t == pandasIndex):
			day = i
		case t == "" || i == 0 && isLevelName(t) && isLevelName(f):
		default:
			if of[t] == nil {
				order = append(order, t)
			}
			of[t] = append(of[t], i)
		}
	}
	if day < 0 {
		if t, f := tickers[0], fields[0]; !isLevelName(t) || !isLevelName(f) {
			return nil, 0, quant.Errorf(quant.Invalid, "%s: no column for date in the header", label).
				WithHint("in pandas: write the index, too, or reset_index() before")
		}
		day = 0
	}
	if len(order) == 0 {
		return nil, day, quant.Errorf(quant.Invalid, "%s: no column has the prices of a symbol", label).WithHint("a wide layout is a date, then a column of closes for each symbol")
	}
	var list []panel
	for _, s := range order {
		if err := quant.ValidateSymbol(s); err != nil {
			return nil, day, quant.Errorf(quant.Invalid, "%s: the header's %s is no symbol: %w", label, clip(s), err).WithHint("rename the column, or take it out")
		}
		names, at := []string{"date"}, []int{day}
		for _, i := range of[s] {
			names, at = append(names, fields[i]), append(at, i)
		}
		cols, err := p.columnsOf(label+": "+clip(s), names)
		if err != nil {
			return nil, day, err
		}
		for f, i := range cols.at {
			if i >= 0 {
				cols.at[f] = at[i]
			}
		}
		cols.count = len(fields)
		list = append(list, panel{s, cols})
	}
	return list, day, nil
}

// panelColumns is what all panels of a file have, for those who ask which
// columns there are: the symbol is said to stand where the date does.
func panelColumns(panels []panel, names []string, day int) columns {
	all := columns{ignored: []string{}, clock: -1}
	for f := range all.at {
		all.at[f] = -1
	}
	used := map[int]bool{day: true}
	for _, one := range panels {
		all.count = one.cols.count
		for f, i := range one.cols.at {
			if i >= 0 {
				all.at[f] = i
				used[i] = true
			}
		}
	}
	for i, name := range names {
		if name = clip(strings.TrimSpace(name)); !used[i] && !slices.Contains(all.ignored, name) && !isLevelName(name) {
			all.ignored = append(all.ignored, name)
		}
	}
	all.at[symbol] = day
	return all
}

// isBlankPanel reports whether a symbol has no price in a row: it was not traded
// yet, or no more.
func isBlankPanel(cols *columns, fields [][]byte) bool {
	for f := open; f < fieldCount; f++ {
		if i := cols.at[f]; i >= 0 && f != volume {
			if text := trimSpace(fields[i]); !isMissing(text) && !strings.EqualFold(string(text), "nan") {
				return false
			}
		}
	}
	return true
}

// panelRow gives the next bar of the present record, one of each symbol that has
// a price in it; false: there is none.
func (r *rowReader) panelRow(out *row) (bool, error) {
	for r.panel < len(r.panels) {
		one := &r.panels[r.panel]
		r.panel++
		out.line, out.panel, out.fault, out.text, out.symbol = r.recordLine, r.panel-1, sound, nil, []byte(one.symbol)
		if len(r.fields) != one.cols.count {
			out.fault, out.text, r.panel = raggedRow, r.record, len(r.panels)
			return true, nil
		}
		if isBlankPanel(&one.cols, r.fields) {
			continue
		}
		r.cols = one.cols
		err := r.understand(out)
		if out.fault != sound {
			out.text = r.record
		}
		return err == nil, err
	}
	return false, nil
}
