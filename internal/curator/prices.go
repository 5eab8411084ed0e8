package curator

import (
	"context"
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/price"
)

// PriceRequest says which stored bars.
type PriceRequest struct {
	Symbols  []string    // in byte order
	From, To *quant.Date // nil: no bound
	Source   string      // table or view with ohlcv's columns; "": ohlcv
}

// StoredBar is a bar as ohlcv has it.
type StoredBar struct {
	Symbol        string     `json:"symbol"`
	TS            quant.Text `json:"ts"`
	Open          *float64   `json:"open"`
	High          *float64   `json:"high"`
	Low           *float64   `json:"low"`
	Close         *float64   `json:"close"`
	Volume        *float64   `json:"volume"`
	AdjustedClose *float64   `json:"adjusted_close"`
	Source        quant.Text `json:"source"`
	IngestedAt    quant.Time `json:"ingested_at"`
}

// Stored is what Prices found.
type Stored struct {
	Bars    []StoredBar   // by symbol and day
	Lacking []string      // symbols without bars at all
	Reads   []quant.RunIO // the bars, and the runs that wrote them
}

func (r PriceRequest) where() (string, []any) {
	where, args := "symbol IN ("+strings.TrimSuffix(strings.Repeat("?, ", len(r.Symbols)), ", ")+")", []any{}
	for _, s := range r.Symbols {
		args = append(args, s)
	}
	if r.From != nil {
		where, args = where+" AND ts >= CAST(? AS DATE)", append(args, *r.From)
	}
	if r.To != nil {
		where, args = where+" AND ts <= CAST(? AS DATE)", append(args, *r.To)
	}
	return where, args
}

// Prices reads the stored bars of symbols. That there are none is no error.
func Prices(ctx context.Context, db *factstore.DB, req PriceRequest) (Stored, error) {
	if req.Source == "" {
		req.Source = factstore.OHLCV
	}
	found := Stored{Bars: []StoredBar{}}
	var err error
	if found.Lacking, err = lacking(ctx, db, req); err != nil {
		return found, err
	}
	where, args := req.where()
	rows, err := db.Query(ctx, "SELECT symbol, ts, open, high, low, close, volume, adjusted_close, source, ingested_at FROM "+req.Source+" WHERE "+where+" ORDER BY symbol, ts", args...)
	if err != nil {
		return found, err
	}
	defer rows.Close()
	for rows.Next() {
		var b StoredBar
		var ts quant.Date
		if err := rows.Scan(&b.Symbol, &ts, &b.Open, &b.High, &b.Low, &b.Close, &b.Volume, &b.AdjustedClose, &b.Source, &b.IngestedAt); err != nil {
			return found, err
		}
		b.TS = quant.Text(ts.String())
		found.Bars = append(found.Bars, b)
	}
	if err := rows.Err(); err != nil {
		return found, err
	}
	rows.Close()
	found.Reads, err = price.StoredBars(ctx, db, req.Source, where, args...)
	return found, err
}

// lacking names those of the symbols that have no bars.
func lacking(ctx context.Context, db *factstore.DB, req PriceRequest) ([]string, error) {
	where, args := PriceRequest{Symbols: req.Symbols}.where()
	there, err := factstore.Values[string](ctx, db, "SELECT DISTINCT symbol FROM "+req.Source+" WHERE "+where, args...)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(req.Symbols), func(s string) bool { return slices.Contains(there, s) }), nil
}
