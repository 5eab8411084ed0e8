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

// gateSQL is the gate: an expression over fault (what the reader said), symbol,
// ts and the numbers, NULL where there is none, that gives the first fault of a
// row. NaN is greater than every number in DuckDB's order.
func gateSQL(tomorrow string) string {
	const inf = "'infinity'::DOUBLE"
	var b strings.Builder
	// Nearly every row ends here.
	fmt.Fprintf(&b, "CASE WHEN fault = 0 AND symbol IS NOT NULL AND ts BETWEEN DATE '%s' AND DATE '%s'", firstDay, tomorrow)
	fmt.Fprintf(&b, " AND low > 0 AND low <= open AND open <= high AND low <= close AND close <= high AND high < %s", inf)
	fmt.Fprintf(&b, " AND volume >= 0 AND volume < %s AND (adjusted_close IS NULL OR adjusted_close > 0 AND adjusted_close < %[1]s) THEN 0", inf)
	when := func(condition string, k fault) { fmt.Fprintf(&b, " WHEN %s THEN %d", condition, k) }
	fmt.Fprint(&b, " WHEN fault <> 0 THEN fault")
	when("symbol IS NULL", symbolMissing)
	when("ts IS NULL", dateMissing)
	when(fmt.Sprintf("ts NOT BETWEEN DATE '%s' AND DATE '%s'", firstDay, tomorrow), dateOutOfRange)
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
	open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, adjusted_close DOUBLE)`

// gatedSQL is a query for the rows of a file as staged has them. from gives
// the gate's columns and line; fault is gateSQL, or 0 if every row is known to
// pass it.
func (p plan) gatedSQL(file int, fault, from string) string {
	vol := "volume"
	if p.zeroVolume {
		vol = "coalesce(volume, 0) AS volume"
	}
	return fmt.Sprintf(`SELECT %d AS file, line, CAST(%s AS UTINYINT) AS fault, symbol, ts, open, high, low, close, volume, adjusted_close
		FROM (SELECT line, fault, symbol, ts, open, high, low, close, %s, adjusted_close FROM (%s))`, file, fault, vol, from)
}

// stageSQL puts the rows of a file into staged.
func (p plan) stageSQL(file int, from string) string {
	return "INSERT INTO temp.main." + staged + " " + p.gatedSQL(file, gateSQL(p.tomorrow), from)
}
