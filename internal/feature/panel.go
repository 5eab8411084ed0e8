package feature

import (
	"context"
	"math"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/price"
	"quant/internal/sqltext"
)

// panel holds the bars of a factor report, a symbol after another and each in
// the order of its sessions.
type panel struct {
	symbols  []string  // in byte order
	series   []stretch // of each symbol
	from, to int       // the sessions [from, to) that are judged, by the calendar's index

	// By cell: a session of a symbol. Without a bar, or without a value, NaN.
	bar                    []bool
	close, feature, labels []float64
}

// stretch is where a symbol's sessions first to last stand: the cell of the first
// is at, and the others follow.
type stretch struct{ first, last, at int }

// readPanel reads the closes on their basis, as price.Stage has staged them, and
// the feature and the label of each bar.
func readPanel(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, basis price.Basis, req FactorRequest) (*panel, error) {
	p := &panel{symbols: basis.Symbols}
	var names factstore.Names
	for _, symbol := range p.symbols {
		names.Number(symbol) // so the number of a symbol is its place
	}
	sessions := cal.Sessions(basis.First, basis.Last)
	if len(sessions) == 0 {
		return p, nil
	}
	begin, _ := cal.Index(sessions[0])
	p.from, p.to = begin, begin+len(sessions)
	if req.From != nil {
		i, _ := cal.Index(*req.From)
		p.from = max(p.from, i)
	}
	if req.To != nil {
		i, _ := cal.Index(*req.To + 1)
		p.to = min(p.to, i)
	}
	p.to = max(p.to, p.from)

	cells := 0
	var first, last []quant.Date
	if err := db.Columns(ctx, "SELECT first, last FROM temp.main."+price.BasisTable+" ORDER BY symbol", nil, func(c *factstore.Chunk) error {
		first, last = c.AppendDates(first, 0), c.AppendDates(last, 1)
		return nil
	}); err != nil {
		return nil, err
	}
	for k := range first {
		i, _ := cal.Index(first[k])
		end, _ := cal.Index(last[k] + 1)
		p.series = append(p.series, stretch{i, end - 1, cells})
		cells += max(0, end-i)
	}
	p.bar = make([]bool, cells)
	p.close, p.feature, p.labels = make([]float64, cells), make([]float64, cells), make([]float64, cells)
	for i := range cells {
		p.close[i], p.feature[i], p.labels[i] = math.NaN(), math.NaN(), math.NaN()
	}
	if err := db.Columns(ctx, "SELECT symbol, i, close FROM temp.main."+price.BarView, nil, p.into(p.close, &names, nil)); err != nil {
		return nil, err
	}
	// The calendar's index of each day from the first bar to the last.
	index := make([]int32, basis.Last-basis.First+1)
	for i := range index {
		index[i] = -1
	}
	for k, d := range sessions {
		index[d-basis.First] = int32(begin + k)
	}
	at := func(d quant.Date) int32 {
		if d < basis.First || d > basis.Last {
			return -1
		}
		return index[d-basis.First]
	}
	feature, label := req.values()
	if err := db.Columns(ctx, feature, nil, p.into(p.feature, &names, at)); err != nil {
		return nil, err
	}
	return p, db.Columns(ctx, label, nil, p.into(p.labels, &names, at))
}

// values are the queries of the feature and of the label, whatever their day:
// symbol, ts, value.
func (r FactorRequest) values() (feature, label string) {
	symbols := ""
	if r.Symbols != nil {
		symbols = " AND symbol IN (" + sqltext.Literals(r.Symbols) + ")"
	}
	name := sqltext.Identifier(r.Feature)
	_, labels := r.rows()
	return "SELECT symbol, ts, " + name + " FROM " + factstore.FeatureRelation(r.FeatureVersion, r.Feature) + " WHERE " + name + " IS NOT NULL" + symbols,
		"SELECT symbol, ts, label_value FROM labels WHERE " + labels
}

// into writes the values of rows (symbol, session or day, value) to their cells.
// at is the session of a day, -1 of none; nil: the rows are bars, and have the
// session itself. Only a cell with a bar takes a value.
func (p *panel) into(values []float64, names *factstore.Names, at func(quant.Date) int32) func(*factstore.Chunk) error {
	known := int32(len(p.symbols))
	var symbols, sessions []int32
	var days []quant.Date
	var column []float64
	return func(c *factstore.Chunk) error {
		symbols, column = c.AppendNumbers(symbols[:0], 0, names), c.AppendFloats(column[:0], 2)
		if at == nil {
			sessions = c.AppendIntegers(sessions[:0], 1)
		} else {
			days, sessions = c.AppendDates(days[:0], 1), sessions[:0]
			for _, d := range days {
				sessions = append(sessions, at(d))
			}
		}
		for row, k := range symbols {
			if k >= known || sessions[row] < 0 {
				continue
			}
			s, i := p.series[k], int(sessions[row])
			if i < s.first || i > s.last {
				continue
			}
			cell := s.at + i - s.first
			if at == nil {
				p.bar[cell] = true
			}
			if p.bar[cell] {
				values[cell] = column[row]
			}
		}
		return nil
	}
}
