package factstore

import (
	"context"
	"fmt"
	"strings"
)

// priceColumns are those of ohlcv, in its order.
const priceColumns = "symbol, ts, open, high, low, close, volume, adjusted_close, source, ingested_at"

// TEMP tables of a merge that replaces bars.
const (
	replacedTable = "temp.main.factstore_replaced" // the old rows, each with the adjusted close that follows it
	rescaledTable = "temp.main.factstore_rescaled" // of these, the ones that a factor says
)

// maxDecimals is the finest unit in which rounded prices are looked for.
const maxDecimals = 9

// decimalsSQL is how many decimals a number has that was rounded to some, and
// NULL for any other number.
func decimalsSQL(x string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "CASE WHEN round(%s) = %[1]s THEN 0", x)
	for k := 1; k <= maxDecimals; k++ {
		fmt.Fprintf(&b, " WHEN round(%s * 1e%d) / 1e%[2]d = %[1]s THEN %[2]d", x, k)
	}
	return b.String() + " END"
}

// unitSQL is the decimals to which the prices of a group are rounded, of which a
// few may be something else, and NULL if most are not rounded.
func unitSQL(decimals string) string {
	return "CASE WHEN 2 * count(" + decimals + ") > count(*) THEN quantile_disc(" + decimals + ", 0.9) END"
}

// tenToThe is 10 to the power of the column decimals. A list, because pow is
// not the same on every machine.
func tenToThe(decimals string) string {
	powers := make([]string, maxDecimals+1)
	for k := range powers {
		powers[k] = fmt.Sprintf("1e%d", k)
	}
	return "[" + strings.Join(powers, ", ") + "][" + decimals + " + 1]"
}

// bitsSQL is a double's bits as a number: of two positive doubles that follow
// each other, the numbers do too.
func bitsSQL(x string) string { return "CAST(CAST(" + x + " AS BIT) AS BIGINT)" }

// correctionSQL is what factor x next is short of old: in units of the last
// decimal, or, where old is rounded to none, in steps from one double to the
// next. NULL if it cannot be said.
func correctionSQL() string {
	ten := tenToThe("decimals")
	return "CASE WHEN decimals IS NULL THEN " + bitsSQL("old") + " - " + bitsSQL("next * factor") +
		" ELSE TRY_CAST(round(old * " + ten + ") - round(next * factor * " + ten + ") AS BIGINT) END"
}

// rebuiltSQL is old again, from next, factor, decimals and correction. It
// rounds as correctionSQL does, operation by operation.
func rebuiltSQL() string {
	ten := tenToThe("decimals")
	return "CASE WHEN decimals IS NULL THEN CAST(CAST(" + bitsSQL("next * factor") + " + correction AS BIT) AS DOUBLE)" +
		" ELSE (round(next * factor * " + ten + ") + correction) / " + ten + " END"
}

// storeReplaced stores the rows that the diff is about to replace in
// ohlcv_revisions: bars of a symbol in which nothing but the adjusted close
// changed, and that by one factor, as one row; every other bar as it stands.
// What a row of the first kind says is rebuilt and compared before it is
// relied on, so each old bar can be had again to the last bit.
func (p *merging) storeReplaced(ctx context.Context, d *Delta) error {
	exec := func(query string, args ...any) (int64, error) { return p.tx.affected(ctx, query, args...) }
	drop := func() error {
		for _, table := range []string{replacedTable, rescaledTable} {
			if _, err := exec("DROP TABLE IF EXISTS " + table); err != nil {
				return err
			}
		}
		return nil
	}
	if err := drop(); err != nil {
		return err
	}
	same := []string{"t.adjusted_close > 0", "n.adjusted_close > 0", "isfinite(t.adjusted_close)", "isfinite(CAST(n.adjusted_close AS DOUBLE))"}
	for _, c := range []string{"open", "high", "low", "close", "volume"} {
		same = append(same, "CAST(n."+c+" AS DOUBLE) IS NOT DISTINCT FROM t."+c)
	}
	if _, err := exec("CREATE TEMP TABLE factstore_replaced AS SELECT t.*, CAST(n.adjusted_close AS DOUBLE) AS next, " + strings.Join(same, " AND ") + " AS candidate FROM " +
		diffTable + " n JOIN " + p.table + ` t ON t.rowid = n."stored rowid"`); err != nil {
		return err
	}
	// The factor is that of the highest price, which rounding falsified least.
	// Rounding may falsify both prices by one unit in all: half of one each,
	// and half in the two that gave the factor. 1e-7 is for single precision.
	if _, err := exec(`CREATE TEMP TABLE factstore_rescaled AS
		WITH candidate AS (
			SELECT symbol, ts, adjusted_close AS old, next, ` + decimalsSQL("adjusted_close") + ` AS d, ` + decimalsSQL("next") + ` AS e FROM ` + replacedTable + ` WHERE candidate),
		scale AS (
			SELECT symbol, first(old / next ORDER BY next DESC, ts) AS factor,
				` + unitSQL("d") + ` AS decimals, ` + unitSQL("e") + ` AS next_decimals
			FROM candidate GROUP BY symbol HAVING count(*) > 1),
		corrected AS (
			SELECT symbol, ts, old, next, factor, decimals, ` + correctionSQL() + ` AS correction FROM candidate JOIN scale USING (symbol)
			WHERE abs(old - next * factor) <= 1e-7 * old + coalesce(1 / ` + tenToThe("decimals") + `, 0) + coalesce(factor / ` + tenToThe("next_decimals") + `, 0))
		SELECT symbol, ts, factor, decimals, correction FROM corrected WHERE ` + rebuiltSQL() + ` = old
		QUALIFY count(*) OVER (PARTITION BY symbol) > 1`); err != nil {
		return err
	}
	whole, err := exec("INSERT INTO "+factTable(OHLCVRevisions)+" ("+priceColumns+", replaced_at, run_id, bars) SELECT "+priceColumns+", CAST(? AS TIMESTAMP), ?, 1 FROM "+
		replacedTable+" ANTI JOIN "+rescaledTable+" USING (symbol, ts) ORDER BY symbol, ts", p.tx.Now, p.tx.RunID)
	if err != nil {
		return err
	}
	// A stretch ends where a bar follows that this merge wrote and the factor
	// does not say, so between its ends it is told by ingested_at alone.
	factors, err := exec(`INSERT INTO `+factTable(OHLCVRevisions)+` (symbol, ts, replaced_at, run_id, bars, factor, decimals, corrections, stretches)
		WITH written AS (
			SELECT n.symbol, n.ts, f.symbol IS NOT NULL AS rescaled, t.source, t.ingested_at FROM `+diffTable+` n
			SEMI JOIN `+rescaledTable+` USING (symbol) LEFT JOIN `+rescaledTable+` f USING (symbol, ts) LEFT JOIN `+replacedTable+` t USING (symbol, ts)),
		numbered AS (
			SELECT *, row_number() OVER (PARTITION BY symbol ORDER BY ts) - row_number() OVER (PARTITION BY symbol, rescaled, source, ingested_at ORDER BY ts) AS island FROM written),
		stretch AS (
			SELECT symbol, min(ts) AS first, max(ts) AS last, source, ingested_at FROM numbered WHERE rescaled GROUP BY symbol, source, ingested_at, island),
		stretches AS (
			SELECT symbol, list({'first': first, 'last': last, 'source': source, 'ingested_at': ingested_at} ORDER BY first) AS stretches FROM stretch GROUP BY symbol),
		factors AS (
			SELECT symbol, min(ts) AS ts, count(*) AS bars, any_value(factor) AS factor, any_value(decimals) AS decimals,
				CASE WHEN bool_or(correction <> 0) THEN list(correction ORDER BY ts) END AS corrections FROM `+rescaledTable+` GROUP BY symbol)
		SELECT symbol, ts, CAST(? AS TIMESTAMP), ?, bars, factor, decimals, corrections, stretches FROM factors JOIN stretches USING (symbol) ORDER BY symbol`,
		p.tx.Now, p.tx.RunID)
	if err != nil {
		return err
	}
	d.Rescaled, d.Revisions = d.Updated-whole, whole+factors
	p.tx.count(OHLCVRevisions, d.Revisions, 0, 0)
	return drop()
}
