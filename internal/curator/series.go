package curator

import (
	"context"
	"database/sql/driver"
	"fmt"
	"math"
	"strings"

	"quant"
	"quant/internal/curator/provider"
	"quant/internal/durable"
	"quant/internal/factstore"
)

// ingestSeries takes the bars of one symbol, from a provider's answer of so many
// rows, through the gate and merges them: one transaction. Errors are those of
// Ingest, and errHalfRescaled.
func ingestSeries(ctx context.Context, db *factstore.DB, req Request, name, symbol string, s provider.Series, answer int64) (Report, error) {
	p, err := req.plan()
	if err != nil {
		return Report{}, err
	}
	label := name + ":" + symbol
	p.Symbol = ""
	in := &ingest{plan: p, db: db, series: &s, of: symbol, answer: answer, inputs: []Input{{Path: label, Name: label, Format: name, Size: int64(len(s.Raw))}}}
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
				if out.fault != sound || math.IsNaN(x) {
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

// errHalfRescaled is the error of an answer that would leave a symbol's
// adjusted history on two bases.
type errHalfRescaled struct {
	symbol      string
	day         quant.Date // that has another ratio than is stored
	rest        int64      // stored bars that the answer lacks
	first, last quant.Date
}

func (e *errHalfRescaled) Error() string {
	return fmt.Sprintf("%s: the provider rescaled the adjusted history (%s has another adjusted_close / close than is stored), and its answer lacks %d stored bars from %s to %s",
		e.symbol, e.day, e.rest, e.first, e.last)
}

// roundingUnit is that of a provider's prices: four decimals.
const roundingUnit = "1e-4"

// otherRatio is a condition on two bars of a day, s and o: their ratios of
// adjusted close and close differ by more than rounding.
//
// Rounding falsifies a price by up to half a unit u, and so the ratio r = a/c by
// up to (u/2 + r u/2) / c; there are two ratios.
const otherRatio = `coalesce(abs(s.adjusted_close / s.close - o.adjusted_close / o.close) > 1e-9 +
		` + roundingUnit + ` * (1 + greatest(s.adjusted_close / s.close, o.adjusted_close / o.close)) / least(s.close, o.close),
	s.adjusted_close IS DISTINCT FROM o.adjusted_close)`

// refuseHalfRescaled compares adjusted_close / close with what is stored. Where
// it changed by more than rounding, the whole history was rescaled, and then
// every stored adjusted close must be replaced, or none.
func (in *ingest) refuseHalfRescaled(ctx context.Context, tx *factstore.Tx) error {
	rows, err := tx.Query(ctx, `SELECT s.ts FROM temp.main.`+staged+` s JOIN ohlcv o ON o.symbol = s.symbol AND o.ts = s.ts WHERE s.fault = 0 AND o.symbol = ?
		AND `+otherRatio+`
		ORDER BY s.ts LIMIT 1`, in.of)
	if err != nil {
		return err
	}
	defer rows.Close()
	e := errHalfRescaled{symbol: in.of}
	if !rows.Next() {
		return rows.Err()
	}
	if err := rows.Scan(&e.day); err != nil {
		return err
	}
	rows.Close()
	if err := tx.QueryRow(ctx, `SELECT count(*), coalesce(min(ts), DATE '1970-01-01'), coalesce(max(ts), DATE '1970-01-01') FROM ohlcv o WHERE symbol = ? AND adjusted_close IS NOT NULL
		AND ts NOT IN (SELECT ts FROM temp.main.`+staged+` WHERE fault = 0)`, in.of).Scan(&e.rest, &e.first, &e.last); err != nil || e.rest == 0 {
		return err
	}
	return &e
}

// noticeHalfRescaled tells of symbols of which files replaced some adjusted
// closes on another basis, and left others that they do not have. Files cannot
// be fetched again: whether the history was rescaled, the user knows.
func (in *ingest) noticeHalfRescaled(ctx context.Context, tx *factstore.Tx) error {
	rows, err := tx.Query(ctx, `
		WITH moved AS (
			SELECT symbol, bars FROM ohlcv_revisions WHERE replaced_at = CAST(? AS TIMESTAMP) AND abs(factor - 1) > 1e-6
			UNION ALL SELECT o.symbol, 1 FROM ohlcv_revisions o JOIN ohlcv s ON s.symbol = o.symbol AND s.ts = o.ts
				WHERE o.replaced_at = CAST(? AS TIMESTAMP) AND o.factor IS NULL AND o.adjusted_close IS NOT NULL AND `+otherRatio+`),
		changed AS (SELECT symbol, sum(bars)::BIGINT AS bars FROM moved GROUP BY symbol)
		SELECT c.symbol, c.bars, count(*) FROM ohlcv o JOIN changed c ON c.symbol = o.symbol
		WHERE o.adjusted_close IS NOT NULL AND NOT EXISTS (SELECT 1 FROM temp.main.`+staged+fmt.Sprintf(` s WHERE s.fault IN (%d, %d) AND s.symbol = o.symbol AND s.ts = o.ts)`, sound, stored)+`
		GROUP BY c.symbol, c.bars ORDER BY c.symbol`, tx.Now, tx.Now)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var symbol string
		var moved, rest int64
		if err := rows.Scan(&symbol, &moved, &rest); err != nil {
			return err
		}
		in.notice("%s: %d stored days have another adjusted_close / close now, and %d that the input lacks kept theirs; if its history was rescaled, ingest all of it", symbol, moved, rest)
	}
	return rows.Err()
}
