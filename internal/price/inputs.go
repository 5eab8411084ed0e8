package price

import (
	"context"
	"database/sql"

	"quant"
	"quant/internal/factstore"
)

// StoredBars describes stored bars as the inputs of a run that reads them as
// they are, on no basis: their number, days and digest, and after that the runs
// that wrote them. source is OHLCV or what factstore.DB.StageAsOf gave; where is
// a condition on its columns.
func StoredBars(ctx context.Context, db *factstore.DB, source, where string, args ...any) ([]quant.RunIO, error) {
	rows, digest, err := db.Digest(ctx, "SELECT symbol, ts, open, high, low, close, volume, adjusted_close FROM "+source+" WHERE "+where, args...)
	if err != nil {
		return nil, err
	}
	read := quant.RunIO{Direction: quant.In, Kind: quant.IOTable, Name: factstore.OHLCV, Rows: &rows, Digest: quant.Text(digest)}
	var first, last sql.Null[quant.Date]
	if err := db.QueryRow(ctx, "SELECT min(ts), max(ts) FROM "+source+" WHERE "+where, args...).Scan(&first, &last); err != nil {
		return nil, err
	}
	if first.Valid {
		read.FirstDate, read.LastDate = quant.Text(first.V.String()), quant.Text(last.V.String())
	}
	writers, err := db.PriceWriters(ctx, source, where, args...)
	return append([]quant.RunIO{read}, factstore.WrittenBy(writers)...), err
}
