package curator

import (
	"context"
	"database/sql"
	"strings"

	"quant"
	"quant/internal/factstore"
)

// Revision is what a bar was before a run replaced it. With a factor it stands for
// Bars bars from TS on, of which only the adjusted close changed.
type Revision struct {
	TS         quant.Date
	Bar        StoredBar
	ReplacedAt quant.Time
	RunID      string
	Bars       int64
	Factor     *float64
}

// Revisions returns earlier states of a symbol's bars, those replaced last first, and
// how many there are.
func Revisions(ctx context.Context, db *factstore.DB, symbol string, from, size int) (list []Revision, total int64, err error) {
	if err := db.QueryRow(ctx, "SELECT count(*) FROM ohlcv_revisions WHERE symbol = ?", symbol).Scan(&total); err != nil {
		return nil, 0, err
	}
	rows, err := db.Query(ctx, `SELECT ts, open, high, low, close, volume, adjusted_close, source, ingested_at, replaced_at, run_id, bars, factor
		FROM ohlcv_revisions WHERE symbol = ? ORDER BY replaced_at DESC, ts DESC LIMIT ? OFFSET ?`, symbol, size, from)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		r := Revision{Bar: StoredBar{Symbol: symbol}}
		b := &r.Bar
		if err := rows.Scan(&r.TS, &b.Open, &b.High, &b.Low, &b.Close, &b.Volume, &b.AdjustedClose, &b.Source, &b.IngestedAt, &r.ReplacedAt, &r.RunID, &r.Bars, &r.Factor); err != nil {
			return nil, 0, err
		}
		b.TS = quant.Text(r.TS.String())
		list = append(list, r)
	}
	return list, total, rows.Err()
}

// Reject is an input row that the quality gate turned away.
type Reject struct {
	Line       int64
	Reason     string
	Source     quant.Text
	TS         quant.Text // as it stood in the input
	RowText    quant.Text
	RunID      quant.Text
	RejectedAt quant.Time
}

// Rejects returns the rejected rows of a symbol, the newest first, and how many there
// are.
func Rejects(ctx context.Context, db *factstore.DB, symbol string, from, size int) (list []Reject, total int64, err error) {
	if err := db.QueryRow(ctx, "SELECT count(*) FROM rejects WHERE symbol = ?", symbol).Scan(&total); err != nil {
		return nil, 0, err
	}
	rows, err := db.Query(ctx, `SELECT line, reason, source, ts, row_text, run_id, rejected_at
		FROM rejects WHERE symbol = ? ORDER BY rejected_at DESC, line, reason LIMIT ? OFFSET ?`, symbol, size, from)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var r Reject
		if err := rows.Scan(&r.Line, &r.Reason, &r.Source, &r.TS, &r.RowText, &r.RunID, &r.RejectedAt); err != nil {
			return nil, 0, err
		}
		list = append(list, r)
	}
	return list, total, rows.Err()
}

// RejectCounts returns how many rejected rows symbols have; those without any are left
// out.
func RejectCounts(ctx context.Context, db *factstore.DB, symbols []string) (map[string]int64, error) {
	counts := map[string]int64{}
	if len(symbols) == 0 {
		return counts, nil
	}
	args := make([]any, len(symbols))
	for i, s := range symbols {
		args[i] = s
	}
	rows, err := db.Query(ctx, "SELECT symbol, count(*) FROM rejects WHERE symbol IN ("+strings.TrimSuffix(strings.Repeat("?, ", len(args)), ", ")+") GROUP BY symbol", args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var symbol sql.NullString
		var n int64
		if err := rows.Scan(&symbol, &n); err != nil {
			return nil, err
		}
		counts[symbol.String] = n
	}
	return counts, rows.Err()
}
