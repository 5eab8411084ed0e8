package curator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/factstore"
)

// What is said of a row that is stored as it is, is what the gate's condition says.
func TestNumbersAreSoundWhereTheGateFindsThemSo(t *testing.T) {
	l := newLab(t)
	odd := []float64{10, 0, math.Copysign(0, -1), -1, 9, 11, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, 5e-324}
	text := func(x float64) string { return fmt.Sprintf("'%v'::DOUBLE", x) }
	var bars []factstore.BarValues
	var rows []string
	for f := range numberFields {
		for _, x := range odd {
			for _, y := range odd {
				bar := factstore.BarValues{10, 12, 9, 11, 100, 11}
				bar[f], bar[(f+1)%numberFields] = x, y
				bars = append(bars, bar)
				var fields []string
				for g, x := range bar {
					if math.IsNaN(x) && open+field(g) == adjustedClose {
						fields = append(fields, "NULL")
					} else {
						fields = append(fields, text(x))
					}
				}
				rows = append(rows, fmt.Sprintf("(%d, %s)", len(rows), strings.Join(fields, ", ")))
			}
		}
	}
	want, err := factstore.Values[bool](t.Context(), l.db, "SELECT coalesce("+soundSQL("2100-01-01")+", false) FROM (SELECT *, 0 AS fault, 'A' AS symbol, DATE '2020-01-02' AS ts FROM (VALUES "+strings.Join(rows, ", ")+
		") v(i, open, high, low, close, volume, adjusted_close)) ORDER BY i")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for i, bar := range bars {
		if numbersSound(&bar) != want[i] {
			t.Errorf("%v: %v, the gate says %v", bar, !want[i], want[i])
		}
		if want[i] {
			found++
		}
	}
	if len(want) != len(bars) || found == 0 || found == len(bars) {
		t.Errorf("%d of %d, %d rows are sound", found, len(bars), len(want))
	}
}

// Beside stored bars, what is read directly leaves what is marked in a staging table
// first: with Korean names, one bar corrected, one new, one that lacks, one that stands
// twice, one that is none behind thousands that are stored, and very many of these.
func TestStoredBarsAreLeftOutAndEveryOtherRowIsNot(t *testing.T) {
	t.Parallel()
	header := "symbol,date,open,high,low,close,volume,adj_close\n"
	var rows []string
	for _, name := range []string{"삼성전자", "005930", "A"} {
		for d := range 1500 {
			p := 20 + float64(d%77)/4
			rows = append(rows, fmt.Sprintf("%s,%s,%v,%v,%v,%v,%d,%v", name, quant.Date(16000+d), p, p+1.25, p-1.5, p+0.25, d%3*100, p))
		}
	}
	end := len(rows) - 1
	last := func(row string) []string { return slices.Concat(rows[:end], []string{row}) }
	odd := slices.Clone(rows)
	for i := range odd[:1400] {
		odd[i] = strings.Replace(odd[i], ",2", ",-2", 1)
	}
	for name, changed := range map[string][]string{
		"the same":             rows,
		"in another order":     slices.Concat(rows[2000:], rows[:2000]),
		"one corrected":        last(rows[end] + "1"),
		"one new":              slices.Concat(rows, []string{"A,2019-12-30,20,22,19,21,5,21", "새회사,2019-12-30,20,22,19,21,5,21"}),
		"one lacks":            rows[:end],
		"one lacks, corrected": slices.Concat(rows[:700], rows[701:end], []string{rows[end] + "1"}),
		"a day twice":          slices.Concat(rows, rows[:1]),
		"none at the end":      last("A,2018-02-07,20,19,22,21,5,21"),
		"very many are none":   odd,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &lab{T: t, dir: t.TempDir()}
			stored, file := l.file("stored.csv", header+strings.Join(rows, "\n")+"\n"), l.file("changed.csv", header+strings.Join(changed, "\n")+"\n")
			columnar := l.parquetOf(file)
			ask := func(path string) Request { return Request{Files: []string{path}, MaxRejectRatio: 0.01} }
			sameBothWays(t, name+", text", ask(stored), ask(file), ask(file))
			sameBothWays(t, name+", Parquet", ask(stored), ask(columnar), ask(columnar))
		})
	}
}

// parquetOf writes the rows of a text as Parquet.
func (l *lab) parquetOf(text string) string {
	l.Helper()
	path := strings.TrimSuffix(text, ".csv") + ".parquet"
	duck(l.T, "COPY (SELECT * FROM read_csv('"+text+"', types = {'symbol': 'VARCHAR', 'adj_close': 'DOUBLE', 'date': 'DATE'})) TO '"+path+"' (FORMAT parquet)")
	return path
}

// A row that is the same as a stored one is looked at closely where that is not sound.
func TestAStoredRowThatIsNotSoundIsNoReasonToPassOne(t *testing.T) {
	const text = "symbol,date,open,high,low,close,volume,adj_close\nA,2020-01-02,10,12,9,11,100,11\nA,2020-01-03,10,12,9,%d,100,11\n"
	for _, format := range []string{"csv", "parquet"} {
		t.Run(format, func(t *testing.T) {
			l := newLab(t)
			l.mustIngest(nil, l.file("stored.csv", fmt.Sprintf(text, 11)))
			if _, err := l.db.Write(t.Context(), "other", func(ctx context.Context, tx *factstore.Tx) error {
				_, err := tx.Update(ctx, factstore.OHLCV, "close = 13 WHERE ts = DATE '2020-01-03'")
				return err
			}); err != nil {
				t.Fatal(err)
			}
			path := l.file("bars.csv", fmt.Sprintf(text, 13))
			if format == "parquet" {
				path = l.parquetOf(path)
			}
			p, err := Request{RunID: "r", Files: []string{path}, MaxRejectRatio: 1, Now: clock}.plan()
			if err != nil {
				t.Fatal(err)
			}
			inputs, err := Inspect(p.Files)
			if err != nil {
				t.Fatal(err)
			}
			in := &ingest{plan: p, db: l.db, inputs: inputs}
			defer in.drop(t.Context())
			if err := in.direct(t.Context()); !errors.Is(err, errDoubt) {
				t.Errorf("%v, want a doubt", err)
			}
		})
	}
}
