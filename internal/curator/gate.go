package curator

import (
	"fmt"
	"strings"
)

// The TEMP tables of an ingest.
const (
	staged     = "curator_staged" // every row read; fault says what became of it. A view while a Parquet file is read in place
	bars       = "curator_bars"   // view of the sound ones, as ohlcv has them
	repeated   = "curator_twice"  // what stands in the input more than once
	texts      = "curator_texts"  // of rows that could not be understood
	rejectRows = "curator_turned" // the new rejects, as the table has them
	dates      = "curator_dates"  // spellings of dates in one Parquet file
	days       = "curator_days"   // rows of a provider's answer
)

// firstDay is the first date that a bar may have.
const firstDay = "1900-01-01"

// quietSQL is a condition on a row that tells of a day without a trade, as a
// halted one: no volume, and instead of open, high and low nothing, 0 or the
// close, at least one of them not the close. Such a row is a bar at its close;
// without a close, it is none.
const quietSQL = `CASE WHEN low > 0 AND open > 0 AND high > 0 THEN false ELSE coalesce(coalesce(volume, 0) = 0 AND (coalesce(open, 0) = 0 OR open = close) AND (coalesce(high, 0) = 0 OR high = close) AND (coalesce(low, 0) = 0 OR low = close)
	AND (coalesce(open, 0) = 0 OR coalesce(high, 0) = 0 OR coalesce(low, 0) = 0)
	AND coalesce(close, 0) >= 0 AND coalesce(close, 0) < 'infinity'::DOUBLE AND coalesce(adjusted_close, 0) >= 0 AND coalesce(adjusted_close, 0) < 'infinity'::DOUBLE, false) END`

// gateSQL is the gate: an expression over fault (what the reader said), quiet
// (quietSQL), symbol, ts and the numbers, NULL where there is none, that gives
// the first fault of a row. NaN is greater than every number in DuckDB's order.
func gateSQL(tomorrow string) string {
	const inf = "'infinity'::DOUBLE"
	var b strings.Builder
	// Nearly every row ends here.
	fmt.Fprintf(&b, "CASE WHEN fault = 0 AND symbol IS NOT NULL AND ts BETWEEN DATE '%s' AND DATE '%s'", firstDay, tomorrow)
	fmt.Fprintf(&b, " AND low > 0 AND low <= open AND open <= high AND low <= close AND close <= high AND high < %s", inf)
	fmt.Fprintf(&b, " AND volume >= 0 AND volume < %s AND (adjusted_close IS NULL OR adjusted_close > 0 AND adjusted_close < %[1]s) THEN 0", inf)
	when := func(condition string, k fault) { fmt.Fprintf(&b, " WHEN %s THEN %d", condition, k) }
	fmt.Fprintf(&b, " WHEN fault <> 0 AND NOT (quiet AND fault IN (%d, %d, %d, %d)) THEN fault", missing.of(open), missing.of(high), missing.of(low), missing.of(closing))
	when("symbol IS NULL", symbolMissing)
	when("ts IS NULL", dateMissing)
	when(fmt.Sprintf("ts NOT BETWEEN DATE '%s' AND DATE '%s'", firstDay, tomorrow), dateOutOfRange)
	when("quiet AND (open IS NULL OR high IS NULL OR low IS NULL OR close IS NULL)", blank)
	when("quiet AND close = 0", untraded)
	when("quiet", sound)
	for f := open; f < fieldCount; f++ {
		if f != adjustedClose {
			when(f.String()+" IS NULL", missing.of(f))
		}
		when("NOT isfinite("+f.String()+")", notFinite.of(f))
		limit := " <= 0"
		if f == volume {
			limit = " < 0"
		}
		when(f.String()+limit, outOfRange.of(f))
	}
	when("low > high", lowAboveHigh)
	when("open NOT BETWEEN low AND high", openOutside)
	when("close NOT BETWEEN low AND high", closeOutside)
	fmt.Fprint(&b, " ELSE 0 END")
	return b.String()
}

const createStaged = `CREATE TEMP TABLE ` + staged + ` (file INTEGER, line BIGINT, fault UTINYINT, symbol VARCHAR, ts DATE,
	open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, adjusted_close DOUBLE, no_trade BOOLEAN)`

// passedSQL is gatedSQL where every row is known to pass the gate, and to be of a
// day with a trade.
func (p plan) passedSQL(file int, from string) string {
	return fmt.Sprintf("SELECT %d AS file, line, 0::UTINYINT AS fault, symbol, ts, open, high, low, close, %s, adjusted_close, false AS no_trade FROM (%s)", file, p.volumeSQL(), from)
}

func (p plan) volumeSQL() string {
	if p.zeroVolume {
		return "coalesce(volume, 0) AS volume"
	}
	return "volume"
}

// gatedSQL is a query for the rows of a file as staged has them. from gives
// the gate's columns and line.
func (p plan) gatedSQL(file int, from string) string {
	atClose := func(f field) string { return fmt.Sprintf("CASE WHEN no_trade THEN close ELSE %s END AS %[1]s", f) }
	return fmt.Sprintf(`SELECT %d AS file, line, CAST(%s AS UTINYINT) AS fault, symbol, ts, %s, %s, %s, close,
			CASE WHEN no_trade THEN 0 ELSE volume END AS volume, CASE WHEN no_trade THEN nullif(adjusted_close, 0) ELSE adjusted_close END AS adjusted_close, no_trade
		FROM (SELECT *, quiet AND close > 0 AND open IS NOT NULL AND high IS NOT NULL AND low IS NOT NULL AS no_trade FROM (SELECT *, %s AS quiet
			FROM (SELECT line, fault, symbol, ts, open, high, low, close, %s, adjusted_close FROM (%s))))`, file, gateSQL(p.tomorrow), atClose(open), atClose(high), atClose(low), quietSQL, p.volumeSQL(), from)
}

// stageSQL puts the rows of a file into staged.
func (p plan) stageSQL(file int, from string) string {
	return "INSERT INTO temp.main." + staged + " " + p.gatedSQL(file, from)
}
