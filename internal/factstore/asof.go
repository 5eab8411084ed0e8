package factstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"quant"
	"quant/internal/sqltext"
)

// The TEMP view that StageAsOf makes, and the table behind it.
const (
	asOfView  = "ohlcv_asof"
	asOfTable = "ohlcv_rescaled" // the bars that ohlcv_revisions keeps as factors, with their replaced_at
)

// PricesAt names the present state of ohlcv: the time of the newest
// transaction that changed it, as StageAsOf takes it; the zero time if there
// is none.
func (db *DB) PricesAt(ctx context.Context) (time.Time, error) {
	return db.pricesAt(ctx, "true")
}

// PricesAsOf names the state of ohlcv that a run left behind, or, if it wrote
// no prices, the one that stood when it ended (the zero time: has not ended,
// and then the present one). The zero time: before the first price.
func (db *DB) PricesAsOf(ctx context.Context, runID string, ended time.Time) (time.Time, error) {
	at, err := db.pricesAt(ctx, "run_id = ?", runID)
	if err != nil || !at.IsZero() {
		return at, err
	}
	if ended.IsZero() {
		return db.PricesAt(ctx)
	}
	return db.pricesAt(ctx, "committed_at <= CAST(? AS TIMESTAMP)", ended.UTC())
}

func (db *DB) pricesAt(ctx context.Context, where string, args ...any) (time.Time, error) {
	var at sql.NullTime
	err := db.QueryRow(ctx, "SELECT max(committed_at) FROM "+factTable(Ledger)+" WHERE table_name = "+sqltext.Literal(OHLCV)+" AND "+where, args...).Scan(&at)
	if err != nil {
		return time.Time{}, db.failure(ctx, "read the ledger", err)
	}
	if !at.Valid {
		return time.Time{}, nil
	}
	return at.Time.UTC(), nil
}

// StageAsOf returns what to read instead of ohlcv to see it as it stood right
// after the transaction with this time (PricesAt, PricesAsOf, or any other
// moment: the last transaction up to it), bit for bit, source and ingested_at
// included. If that is how it stands now, the answer is "ohlcv" and nothing is
// done; else it is a TEMP view with ohlcv's columns, in no order, good until the
// next call and the next Write.
//
// The rule: a version of a bar stands from its ingested_at until its
// replaced_at. It relies on bars being replaced, never deleted. The cost is a
// pass over the bars for each transaction after it that rescaled a history.
func (db *DB) StageAsOf(ctx context.Context, at time.Time) (table string, err error) {
	now, err := db.PricesAt(ctx)
	if err != nil {
		return "", err
	}
	if !now.After(at) {
		return OHLCV, nil
	}
	if err := db.stageRescaled(ctx, at); err != nil {
		return "", db.failure(ctx, "read earlier prices", err)
	}
	stood := func(replaced bool) string {
		moment := timestamp(at)
		if !replaced {
			return " WHERE ingested_at <= " + moment
		}
		return " WHERE ingested_at <= " + moment + " AND replaced_at > " + moment
	}
	query := "CREATE OR REPLACE TEMP VIEW " + asOfView + " AS SELECT " + priceColumns + " FROM " + factTable(OHLCV) + stood(false) +
		" UNION ALL SELECT " + priceColumns + " FROM " + factTable(OHLCVRevisions) + stood(true) + " AND factor IS NULL" +
		" UNION ALL SELECT " + priceColumns + " FROM temp.main." + asOfTable + stood(true)
	if _, err := db.Stage(ctx, query); err != nil {
		return "", db.failure(ctx, "read earlier prices", err)
	}
	return "temp.main." + asOfView, nil
}

// stageRescaled makes asOfTable: every version that a factor stands for and
// that was replaced after the moment. A factor speaks of the version that came
// next, so the newest are rebuilt first.
func (db *DB) stageRescaled(ctx context.Context, at time.Time) error {
	if _, err := db.Stage(ctx, "CREATE OR REPLACE TEMP TABLE "+asOfTable+" AS SELECT "+priceColumns+", ingested_at AS replaced_at FROM "+factTable(OHLCV)+" LIMIT 0"); err != nil {
		return err
	}
	moments, err := db.rescaledAfter(ctx, at)
	if err != nil {
		return err
	}
	const values = "symbol, ts, open, high, low, close, volume, adjusted_close AS next"
	for _, moment := range moments {
		is := timestamp(moment)
		after := make([]string, 0, 3)
		for _, from := range []string{factTable(OHLCV) + " WHERE true", factTable(OHLCVRevisions) + " WHERE factor IS NULL", "temp.main." + asOfTable + " WHERE true"} {
			after = append(after, "SELECT "+values+" FROM "+from+" AND ingested_at = "+is)
		}
		if _, err := db.Stage(ctx, `INSERT INTO temp.main.`+asOfTable+`
			WITH factors AS (SELECT * FROM `+factTable(OHLCVRevisions)+` WHERE factor IS NOT NULL AND replaced_at = `+is+`),
			stretch AS (SELECT symbol, factor, decimals, unnest(stretches) AS s FROM factors),
			corrections AS (SELECT symbol, unnest(corrections) AS correction, generate_subscripts(corrections, 1) AS n FROM factors),
			after AS (`+strings.Join(after, " UNION ALL ")+`),
			rescaled AS (
				SELECT a.*, factor, decimals, s.source AS source, s.ingested_at AS ingested_at, row_number() OVER (PARTITION BY symbol ORDER BY ts) AS n
				FROM after a JOIN stretch USING (symbol) WHERE a.ts BETWEEN s.first AND s.last),
			corrected AS (
				SELECT rescaled.* EXCLUDE (n), coalesce(c.correction, 0) AS correction FROM rescaled LEFT JOIN corrections c USING (symbol, n))
			SELECT symbol, ts, open, high, low, close, volume, `+rebuiltSQL()+`, source, ingested_at, `+is+` FROM corrected`); err != nil {
			return err
		}
	}
	return nil
}

// rescaledAfter lists the transactions after the moment that kept a factor,
// newest first.
func (db *DB) rescaledAfter(ctx context.Context, at time.Time) ([]time.Time, error) {
	return Values[time.Time](ctx, db, "SELECT DISTINCT replaced_at FROM "+factTable(OHLCVRevisions)+" WHERE factor IS NOT NULL AND replaced_at > "+timestamp(at)+" ORDER BY replaced_at DESC")
}

// timestamp is a moment as SQL, for views, which take no parameters.
func timestamp(t time.Time) string {
	return fmt.Sprintf("TIMESTAMP '%s'", strings.TrimSuffix(strings.Replace(quant.NewTime(t).UTC().Format(quant.TimeLayout), "T", " ", 1), "Z"))
}
