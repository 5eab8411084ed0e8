package model

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/dataset"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// Read is what was read of one feature or label: the rows of the range that are
// finite numbers.
type Read struct {
	Name   string     `json:"name"` // features_daily:ret_20d@v1
	Rows   int64      `json:"rows"`
	First  quant.Text `json:"first_date"`
	Last   quant.Text `json:"last_date"`
	Digest string     `json:"digest"`

	// Writers are the runs that wrote them; of several features, the first one
	// has those of all.
	Writers []string `json:"-"`
}

// Inputs are reads as the inputs of a run: each with its rows and digest, and
// the runs that wrote them.
func Inputs(reads []Read) []quant.RunIO {
	var inputs []quant.RunIO
	for _, r := range reads {
		inputs = append(inputs, quant.RunIO{
			Direction: quant.In, Kind: quant.IOTable, Name: r.Name, Rows: &r.Rows, FirstDate: r.First, LastDate: r.Last, Digest: quant.Text(r.Digest),
		})
		inputs = append(inputs, factstore.WrittenBy(r.Writers)...)
	}
	return inputs
}

// dateRange is a range of days, both included; nil is open.
type dateRange struct{ from, to *quant.Date }

// where is the SQL condition on ts.
func (r dateRange) where() string {
	cond := "true"
	if r.from != nil {
		cond += " AND ts >= " + dateLiteral(*r.from)
	}
	if r.to != nil {
		cond += " AND ts <= " + dateLiteral(*r.to)
	}
	return cond
}

func dateLiteral(d quant.Date) string { return "DATE '" + d.String() + "'" }

// features is what there is of the features of a range: rows of symbol, ts and a
// DOUBLE column x<i> for each, NULL or not finite where it has no value.
type features struct {
	list     []Feature
	relation string   // stands after FROM
	writers  []string // the runs that wrote them
}

// findFeatures finds what there is to read of the features of a range. Refused: no
// run wrote a row.
func findFeatures(ctx context.Context, db *factstore.DB, list []Feature, r dateRange) (f features, err error) {
	f.list = list
	of := byVersion(list)
	if f.writers, err = db.FeatureWriters(ctx, of, r.where()); err != nil {
		return f, err
	}
	relation, err := sideBySide(ctx, db, list, of)
	f.relation = "(SELECT * FROM " + relation + " WHERE " + r.where() + ")"
	return f, err
}

func xColumn(i int) string { return fmt.Sprintf("x%d", i) }

func byVersion(list []Feature) []factstore.VersionFeatures {
	var of []factstore.VersionFeatures
	for _, f := range list {
		k := slices.IndexFunc(of, func(v factstore.VersionFeatures) bool { return v.Version == f.Version })
		if k < 0 {
			k, of = len(of), append(of, factstore.VersionFeatures{Version: f.Version})
		}
		of[k].Names = append(of[k].Names, f.Name)
	}
	return of
}

// sideBySide is the relation of features, of one version or of several.
func sideBySide(ctx context.Context, db *factstore.DB, list []Feature, of []factstore.VersionFeatures) (string, error) {
	joined := ""
	for k, v := range of {
		relation, err := db.FeatureRelation(ctx, v.Version, v.Names...)
		if err != nil {
			return "", err
		}
		columns := ""
		for i, f := range list {
			if f.Version == v.Version {
				columns += ", " + sqltext.Identifier(f.Name) + " AS " + xColumn(i)
			}
		}
		one := "(SELECT symbol, ts" + columns + " FROM " + relation + ")"
		if k == 0 {
			joined = one
			continue
		}
		joined = "(SELECT * FROM " + joined + " FULL JOIN " + one + " USING (symbol, ts))"
	}
	return joined, nil
}

// each gives the rows of the features chunk by chunk: the numbers of their symbols
// in names, their days, and their values by feature. It keeps none of these. What
// it returns tells of each feature. NotFound: one of them has no rows.
func (f features) each(ctx context.Context, db *factstore.DB, names *factstore.Names, fn func(symbols []int32, days []quant.Date, x [][]float64) error) ([]Read, error) {
	x := make([][]float64, len(f.list))
	columns := "symbol, ts"
	for i := range x {
		columns += ", " + xColumn(i)
	}
	var symbols []int32
	var days []quant.Date
	var sums factstore.ValueSums
	sums.Add(names, nil, nil, x...)
	if err := db.Columns(ctx, "SELECT "+columns+" FROM "+f.relation, nil, func(c *factstore.Chunk) error {
		symbols, days = c.AppendNumbers(symbols[:0], 0, names), c.AppendDates(days[:0], 1)
		for j := range x {
			x[j] = c.AppendFloats(x[j][:0], 2+j)
		}
		sums.Add(names, symbols, days, x...)
		return fn(symbols, days, x)
	}); err != nil {
		return nil, err
	}
	var reads []Read
	for i, d := range sums.Digests() {
		read, err := readOf(factstore.FeaturesDaily, f.list[i].String(), d)
		if err != nil {
			return nil, err
		}
		reads = append(reads, read)
	}
	reads[0].Writers = f.writers
	return reads, nil
}

// readOf tells of the values of a column. NotFound: there are none.
func readOf(table, ref string, d factstore.ValueDigest) (Read, error) {
	r := Read{Name: dataset.Name{Table: table, Rows: ref}.String(), Rows: d.Rows, Digest: d.Digest, First: d.First, Last: d.Last}
	if r.Rows == 0 {
		return r, quant.Errorf(quant.NotFound, "%s has no rows of %s in this range", table, ref).
			WithHint("compute them first (`quant features`, `quant labels`), or name another version or range")
	}
	return r, nil
}

// loaded is what there is to train on.
type loaded struct {
	sampleSet
	reads      []Read
	digest     string // of the samples
	symbols    int64
	incomplete int64 // labels of days without every feature

	names  []string     // of symbols
	symbol []int32      // of each sample, its name's number
	dates  []quant.Date // of each session with samples
}

// load reads the samples: the days t of a symbol that have the label and every
// feature. A day that lacks one is left out and counted, nothing is imputed.
func load(ctx context.Context, db *factstore.DB, cal *calendar.Calendar, spec Spec) (*loaded, error) {
	r := dateRange{spec.Policy.From, spec.Policy.To}
	f, err := findFeatures(ctx, db, spec.Features, r)
	if err != nil {
		return nil, err
	}
	these := "label_name = " + sqltext.Literal(spec.Label.Name) + " AND label_version = " + sqltext.Literal(spec.Label.Version) +
		" AND isfinite(label_value) AND " + r.where()
	if err := db.RequireExplained(ctx, factstore.Labels, "", these); err != nil {
		return nil, err
	}
	k, read, err := readLabels(ctx, db, spec.Label, these)
	if errors.Is(err, quant.NotFound) {
		// What is missing of the features comes first in the chain, and is told first.
		if _, missing := f.each(ctx, db, &factstore.Names{}, func([]int32, []quant.Date, [][]float64) error { return nil }); missing != nil {
			return nil, missing
		}
	}
	if err != nil {
		return nil, err
	}
	if read.Writers, err = db.SliceWriters(ctx, factstore.Labels, "name = ? AND version = ?", spec.Label.Name, spec.Label.Version); err != nil {
		return nil, err
	}
	debug.FreeOSMemory() // the rows as they came, before the features need as much again
	d := &loaded{sampleSet: sampleSet{width: len(spec.Features)}}
	if err := k.fill(ctx, db, f, d); err != nil {
		return nil, err
	}
	d.reads = append(d.reads, read)
	d.incomplete = read.Rows - int64(len(d.y))
	if len(d.y) == 0 {
		return nil, quant.Errorf(quant.Refused, "no day has the label %s and every one of the features", spec.Label).
			WithHint("look at the ranges of both: quant sql \"SELECT feature_name, feature_version, min(ts), max(ts) FROM features_daily GROUP BY ALL\"")
	}
	d.digest = k.digest(d)
	for _, day := range k.days {
		t, ok := cal.Index(day.date)
		if !ok || t+spec.Label.Horizon >= cal.Len() {
			return nil, quant.Errorf(quant.Refused, "%s on %s: that day, or its end %d sessions later, is no session of the calendar %s", spec.Label, day.date, spec.Label.Horizon, cal.Name()).
				WithHint("train with the QUANT_CALENDAR with which the labels were computed")
		}
		d.days, d.dates = append(d.days, sessionStart{t, day.at}), append(d.dates, day.date)
	}
	d.names, d.symbol = k.names.List, k.symbol
	debug.FreeOSMemory() // what it took to put them in order
	return d, nil
}

// labelled are the labels in the order of (day, symbol), and where that of a symbol
// and a day is.
type labelled struct {
	names  factstore.Names
	y      []float64
	symbol []int32      // the name's number
	days   []labelledOn // ascending
	first  quant.Date   // of the days
	of     []int32      // the place in days of each day from first on; -1: none
	series []series     // by symbol
	at     []int32      // by cell of a series: the place in y; -1: none
}

// labelledOn is a day and the first of its labels.
type labelledOn struct {
	date quant.Date
	at   int
}

// series is where a symbol's days stand: from the first to the last of days, the
// cell of the first at.
type series struct{ first, last, at int }

func (k *labelled) place(symbol int32, day quant.Date) int {
	if int(symbol) >= len(k.series) || day < k.first || int(day-k.first) >= len(k.of) {
		return -1
	}
	s, i := k.series[symbol], int(k.of[day-k.first])
	if i < s.first || i > s.last {
		return -1
	}
	return int(k.at[s.at+i-s.first])
}

// readLabels reads the values of a label for which a condition holds. NotFound:
// there are none.
func readLabels(ctx context.Context, db *factstore.DB, label Label, where string) (*labelled, Read, error) {
	k := &labelled{}
	var rows int
	if err := db.QueryRow(ctx, "SELECT count(*) FROM labels WHERE "+where).Scan(&rows); err != nil {
		return nil, Read{}, err
	}
	symbol, date, y := make([]int32, 0, rows), make([]quant.Date, 0, rows), make([]float64, 0, rows)
	if err := db.Columns(ctx, "SELECT symbol, ts, label_value FROM labels WHERE "+where, nil, func(c *factstore.Chunk) error {
		symbol, date, y = c.AppendNumbers(symbol, 0, &k.names), c.AppendDates(date, 1), c.AppendFloats(y, 2)
		return nil
	}); err != nil {
		return nil, Read{}, err
	}
	var sums factstore.ValueSums
	const atOnce = 1 << 16 // so that the sums hold little beside the rows
	for from := 0; from < len(y) || from == 0; from += atOnce {
		to := min(from+atOnce, len(y))
		sums.Add(&k.names, symbol[from:to], date[from:to], y[from:to])
	}
	read, err := readOf(factstore.Labels, label.String(), sums.Digests()[0])
	if err != nil {
		return nil, read, err
	}
	last := slices.Max(date)
	k.first = slices.Min(date)
	k.of = make([]int32, last-k.first+1)
	for _, d := range date {
		k.of[d-k.first]++
	}
	at := 0
	for i, n := range k.of {
		k.of[i] = -1
		if n > 0 {
			k.of[i] = int32(len(k.days))
			k.days = append(k.days, labelledOn{k.first + quant.Date(i), at})
			at += int(n)
		}
	}
	k.series = make([]series, len(k.names.List))
	for i := range k.series {
		k.series[i] = series{first: len(k.days), last: -1}
	}
	for row, d := range date {
		s, i := &k.series[symbol[row]], int(k.of[d-k.first])
		s.first, s.last = min(s.first, i), max(s.last, i)
	}
	cells := 0
	for i := range k.series {
		s := &k.series[i]
		s.at = cells
		cells += s.last - s.first + 1
	}
	k.at = make([]int32, cells)
	for i := range k.at {
		k.at[i] = -1
	}
	for row, d := range date {
		s := k.series[symbol[row]]
		k.at[s.at+int(k.of[d-k.first])-s.first] = int32(row)
	}
	// Symbol after symbol in their order, each row takes the next place of its day.
	k.y, k.symbol = make([]float64, len(y)), make([]int32, len(y))
	next := make([]int, len(k.days))
	for i, day := range k.days {
		next[i] = day.at
	}
	for _, n := range k.inOrder() {
		s := k.series[n]
		for i := s.first; i <= s.last; i++ {
			if row := k.at[s.at+i-s.first]; row >= 0 {
				k.y[next[i]], k.symbol[next[i]] = y[row], n
				k.at[s.at+i-s.first] = int32(next[i])
				next[i]++
			}
		}
	}
	return k, read, nil
}

// inOrder are the numbers of the symbols, in byte order of these.
func (k *labelled) inOrder() []int32 {
	order := make([]int32, len(k.names.List))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return strings.Compare(k.names.List[a], k.names.List[b]) })
	return order
}

// fill reads the features of the labels, and leaves in both only what has all.
func (k *labelled) fill(ctx context.Context, db *factstore.DB, f features, d *loaded) error {
	n := len(k.y)
	d.x = make([][]float64, d.width)
	for j := range d.x {
		d.x[j] = make([]float64, n)
	}
	have := make([]bool, n)
	var err error
	d.reads, err = f.each(ctx, db, &k.names, func(symbols []int32, days []quant.Date, x [][]float64) error {
		for row, symbol := range symbols {
			i := k.place(symbol, days[row])
			if i < 0 || !complete(x, row) {
				continue
			}
			have[i] = true
			for j := range x {
				d.x[j][i] = x[j][row]
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	to, seen := 0, make([]bool, len(k.series))
	days := k.days[:0]
	for i, day := range k.days {
		end := n
		if i+1 < len(k.days) {
			end = k.days[i+1].at
		}
		from := to
		for at := day.at; at < end; at++ {
			if !have[at] {
				continue
			}
			if to != at {
				k.y[to], k.symbol[to] = k.y[at], k.symbol[at]
				for _, x := range d.x {
					x[to] = x[at]
				}
			}
			seen[k.symbol[to]] = true
			to++
		}
		if to > from {
			days = append(days, labelledOn{day.date, from})
		}
	}
	k.days, k.y, k.symbol, k.at = days, k.y[:to], k.symbol[:to], nil
	for j := range d.x {
		d.x[j] = d.x[j][:to]
	}
	d.y = k.y
	for _, s := range seen {
		if s {
			d.symbols++
		}
	}
	return nil
}

// complete reports whether a row has a number of every feature.
func complete(x [][]float64, row int) bool {
	for _, column := range x {
		if v := column[row]; v-v != 0 { // NaN or infinite
			return false
		}
	}
	return true
}

// digest is that of the samples: label, symbol, day, features.
func (k *labelled) digest(d *loaded) string {
	days := make([]quant.Date, len(d.y))
	for i, day := range k.days {
		end := len(days)
		if i+1 < len(k.days) {
			end = k.days[i+1].at
		}
		for at := day.at; at < end; at++ {
			days[at] = day.date
		}
	}
	columns := []factstore.Column{{Floats: d.y}, {Numbers: k.symbol, Texts: k.names.List}, {Dates: days}}
	for _, x := range d.x {
		columns = append(columns, factstore.Column{Floats: x})
	}
	_, digest := factstore.RowDigest(columns...)
	return digest
}
