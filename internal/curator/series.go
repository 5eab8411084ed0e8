package curator

import (
	"context"
	"database/sql/driver"
	"math"
	"strings"

	"quant"
	"quant/internal/curator/provider"
	"quant/internal/durable"
	"quant/internal/factstore"
)

// ingestSeries takes the bars of one symbol, from a provider's answer of so many
// rows, through the gate and merges them: one transaction. newest: the answer is
// not the whole history. Errors are those of Ingest, and errOtherScale.
func ingestSeries(ctx context.Context, db *factstore.DB, req Request, name, symbol string, s provider.Series, answer int64, newest bool) (Report, error) {
	p, err := req.plan()
	if err != nil {
		return Report{}, err
	}
	label := name + ":" + symbol
	p.Symbol = ""
	in := &ingest{plan: p, db: db, series: &s, of: symbol, answer: answer, newest: newest, inputs: []Input{{Path: label, Name: label, Format: name, Size: int64(len(s.Raw))}}}
	return in.do(ctx)
}

// stageSeries reads the rows of a provider's answer into staged, as those of a
// CSV file; the line is the row's place among them.
func (in *ingest) stageSeries(ctx context.Context) (digest string, cols columns, err error) {
	for f := range cols.at {
		cols.at[f] = f
	}
	cols.count, cols.clock, cols.ignored = len(cols.at), -1, []string{}
	if _, err := in.db.Stage(ctx, "CREATE TEMP TABLE "+days+` (line BIGINT, fault UTINYINT, symbol VARCHAR, ts DATE,
		open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, adjusted_close DOUBLE)`); err != nil {
		return "", cols, err
	}
	r := rowReader{path: in.inputs[0].Path, delim: ',', cols: cols, dates: &dateRule{}, mark: pointMark}
	err = in.db.Append(ctx, days, func(put func(...driver.Value) error) error {
		for i, from := range in.series.Rows {
			// In the order of the fields.
			texts := []string{in.of, from.Date, from.Open, from.High, from.Low, from.Close, from.Volume, from.AdjustedClose}
			r.fields = r.fields[:0]
			for _, text := range texts {
				r.fields = append(r.fields, []byte(text))
			}
			out := row{line: int64(i + 1)}
			if err := r.understand(&out); err != nil {
				return err
			}
			values := make([]driver.Value, 0, 4+numberFields)
			values = append(values, out.line, uint8(out.fault), in.of, quant.Date(out.day))
			for _, x := range out.number {
				if out.fault != sound && !out.fault.lacksPrice() || math.IsNaN(x) {
					values = append(values, nil)
				} else {
					values = append(values, x)
				}
			}
			if out.fault != sound {
				in.texts.add(0, out.line, []byte(strings.Join(texts, ",")))
			}
			if err := put(values...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", cols, err
	}
	_, err = in.db.Stage(ctx, in.stageSQL(0, "FROM temp.main."+days))
	return durable.Digest(in.series.Raw), cols, err
}
