package curator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/price"
	"quant/internal/sqltext"
)

// Left is a symbol that stayed as it was: the input is on another scale than
// its stored bars, and lacks some of these, which would have kept the old one; or
// may be, and lacks the stored day that would show it.
type Left struct {
	Symbol string     `json:"symbol"`
	Day    quant.Text `json:"day"`    // the first day on which this shows: a stored one, or a new one next to Beside
	Beside quant.Text `json:"beside"` // the stored day next to a new one, which the input lacks; "" where Day is stored
	Price  string     `json:"price"`  // what moved there: adjusted_close (against close), or close
	Factor float64    `json:"factor"` // by which it did: of the input over what is stored
	Rows   int64      `json:"rows"`   // of the input, which were not taken
	Stored int64      `json:"stored"` // days that are stored
	Lacks  int64      `json:"lacks"`  // of these, the ones that the input lacks, from First to Last
	First  quant.Text `json:"lacks_first"`
	Last   quant.Text `json:"lacks_last"`
}

// String says what was seen.
func (l Left) String() string { return l.Symbol + ": " + l.reason() }

func (l Left) reason() string {
	if l.Beside != "" {
		return fmt.Sprintf("the %s of the new day %s is x %.4g of that of %s, the stored day next to it, as after a split, and the input lacks that day", l.Price, l.Day, l.Factor, l.Beside)
	}
	what := "the close"
	if l.Price == adjustedClose.String() {
		what = "adjusted_close / close"
	}
	return fmt.Sprintf("on %s %s is x %.4g of what is stored, as after a split or a dividend, and the input lacks %d of %d stored days (%s to %s)",
		l.Day, what, l.Factor, l.Lacks, l.Stored, l.First, l.Last)
}

// The TEMP tables of the comparison of scales.
const (
	overlapTable = "curator_overlap" // stored days of doubtful symbols, with what the input says of them
	unitTable    = "curator_unit"    // to what their prices are rounded
)

const (
	// scaleSlack is how far a factor may be from another one, relatively, beyond
	// what rounding explains: single precision, and sources that compute anew.
	scaleSlack = "5e-6"
	// alone is how far the four prices of one day must move by themselves to be
	// no correction of that day, relatively: more than any dividend.
	alone = "0.2"
)

// seamDays is how many days may lie between a stored day and a new one that are next
// to each other: a month and a half, more than a missed update. Over a longer gap a price may
// have moved by any factor.
const seamDays = "45"

// roundingUnit is an expression for the unit to which a group's prices are rounded: as
// many decimals as the finest of them has, but not more than a hundredth, which
// the last digits of a few prices may hide, unless all are whole numbers of a
// thousand and more.
func roundingUnit(x string) string {
	decimals := "CASE WHEN round(" + x + ") = " + x + " THEN 0"
	for k := 1; k <= 6; k++ {
		decimals += fmt.Sprintf(" WHEN round(%s * 1e%d) / 1e%[2]d = %[1]s THEN %[2]d", x, k)
	}
	decimals += " ELSE 9 END"
	return "CASE WHEN max(" + decimals + ") = 0 AND min(" + x + ") >= 1000 THEN 1.0" +
		" ELSE [1e-2, 1e-2, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-9, 1e-9, 1e-9][coalesce(max(" + decimals + "), 9) + 1] END"
}

// factorOf is the two ends of the factors that may lead from an old to a new
// price, each of which stands for all that round to it; of the same number the
// factor is 1.
func factorOf(to, toUnit, from, fromUnit, name string) string {
	end := func(sign, other, slack string) string {
		return fmt.Sprintf("CASE WHEN %[1]s = %[3]s THEN 1 ELSE (%[1]s %[5]s %[2]s / 2) / greatest(%[3]s %[6]s %[4]s / 2, %[3]s / 2) END * (1 %[5]s %[7]s)", to, toUnit, from, fromUnit, sign, other, slack)
	}
	return end("-", "+", scaleSlack) + " AS " + name + "_lo, " + end("+", "-", scaleSlack) + " AS " + name + "_hi"
}

// otherScale lists the symbols whose stored bars the input would leave on two
// scales, in byte order.
//
// A rescaling moves every day before it. So what counts is each stored day that
// the input has next to one that it lacks, or at an end of what is stored, where
// new days join. Two things are looked at: the factor of the close, and that of
// the adjusted close, as intervals in which they lie whatever the rounding was.
//
//   - The two differ there. Not if it is one corrected close: no other day shows
//     it, and the adjusted close may be what it was; nor if it is one corrected
//     adjusted close at an end, whose ratio comes closer to its neighbour's.
//   - The close moved, and by the same factor on the next day that the input has.
//     A day alone has moved if its open, high, low and close did by one factor:
//     one that is more than any dividend, and takes the close away from that of
//     the day that the input lacks, or, where it is the only day and not flat,
//     a smaller one.
//   - A stretch of days elsewhere moved by one factor, so that the input is on
//     two scales in itself: several at an end of what is stored, or by more than
//     any dividend several anywhere or one at an end. Not if the latter brings
//     its close nearer to that of the day beside it: that is a correction.
//
// every: any day on which the first is so counts, wherever it is; and one on
// which only one side has an adjusted close.
//
// diff is that of the merge (factstore.Merge.Review), doubtful what lackingDays lists: of
// the symbols in which it changes no close and no adjusted close nothing is read.
func (in *ingest) otherScale(ctx context.Context, tx *factstore.Tx, diff, doubtful string, every bool) ([]Left, error) {
	changed := "SELECT DISTINCT n.symbol FROM " + diff + ` n JOIN ohlcv o ON o.rowid = n."stored rowid" WHERE n.symbol IN (` + doubtful + `) AND (n.close IS DISTINCT FROM o.close OR n.adjusted_close IS DISTINCT FROM o.adjusted_close)`
	var some bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS ("+changed+")").Scan(&some); err != nil || !some {
		return nil, err
	}
	defer func() {
		for _, table := range []string{overlapTable, unitTable} {
			_, _ = tx.Stage(context.WithoutCancel(ctx), "DROP TABLE IF EXISTS temp.main."+table)
		}
	}()
	said := "true" // the row says something about adjusted closes
	if len(in.silent) > 0 {
		said = "s.file NOT IN (" + in.silentFiles() + ")"
	}
	if _, err := tx.Stage(ctx, `CREATE OR REPLACE TEMP TABLE `+overlapTable+` AS
		WITH changed AS (`+changed+`),
		input AS (SELECT *, `+said+` AS said FROM temp.main.`+staged+` s SEMI JOIN changed USING (symbol) WHERE `+given+`),
		paired AS (
			SELECT o.symbol, o.ts, s.ts IS NOT NULL AS given, o.open, o.high, o.low, o.close, CASE WHEN s.said THEN o.adjusted_close END AS adj,
				s.open AS to_open, s.high AS to_high, s.low AS to_low, s.close AS to_close, CASE WHEN s.said THEN s.adjusted_close END AS to_adj
			FROM (SELECT * FROM ohlcv SEMI JOIN changed USING (symbol)) o LEFT JOIN input s ON s.symbol = o.symbol AND s.ts = o.ts
			QUALIFY bool_and(given) OVER (PARTITION BY o.symbol) = false)
		SELECT *, lag(given) OVER w = false AS after_kept, lead(given) OVER w = false AS before_kept, lag(given) OVER w IS NULL OR lead(given) OVER w IS NULL AS at_end, lag(close) OVER w AS close_before, lead(close) OVER w AS close_after
		FROM paired WINDOW w AS (PARTITION BY symbol ORDER BY ts)`); err != nil {
		return nil, err
	}
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM temp.main."+overlapTable+")").Scan(&some); err != nil || !some {
		return nil, err
	}
	if _, err := tx.Stage(ctx, `CREATE OR REPLACE TEMP TABLE `+unitTable+` AS
		SELECT symbol, `+roundingUnit("close")+` AS u, `+roundingUnit("adj")+` AS adj_u, `+roundingUnit("to_close")+` AS to_u, `+roundingUnit("to_adj")+` AS to_adj_u
		FROM temp.main.`+overlapTable+` WHERE given GROUP BY symbol`); err != nil {
		return nil, err
	}
	ratioRule := "ratio AND NOT (ratios = 1 AND adj_lo <= 1 AND adj_hi >= 1) AND (edge OR at_end AND NOT (ratios = 1 AND ratio_nearer))"
	if every {
		ratioRule = "ratio OR (adj IS NULL) <> (to_adj IS NULL)"
	}
	rows, err := tx.Query(ctx, `
		WITH factor AS (
			SELECT o.*, `+factorOf("to_close", "to_u", "close", "u", "close")+`, `+factorOf("to_adj", "to_adj_u", "adj", "adj_u", "adj")+`,
				`+factorOf("to_open", "to_u", "open", "u", "open")+`, `+factorOf("to_high", "to_u", "high", "u", "high")+`, `+factorOf("to_low", "to_u", "low", "u", "low")+`
			FROM temp.main.`+overlapTable+` o JOIN temp.main.`+unitTable+` USING (symbol) WHERE given),
		day AS (
			SELECT *, coalesce(after_kept, false) OR coalesce(before_kept, false) AS edge,
				coalesce(adj_lo > close_hi OR adj_hi < close_lo, false) AS ratio,
				close_lo > 1 OR close_hi < 1 AS moved,
				greatest(close_lo, open_lo, high_lo, low_lo) AS lo, least(close_hi, open_hi, high_hi, low_hi) AS hi,
				high = low AND to_high = to_low AS flat,
				abs(ln(to_close / close)) > ln(1 + `+alone+`) AS far,
				abs(ln(to_close / CASE WHEN after_kept THEN close_before ELSE close_after END)) < abs(ln(close / CASE WHEN after_kept THEN close_before ELSE close_after END)) AS nearer
			FROM factor),
		beside AS (
			SELECT *, count(*) OVER s AS given_days, count(*) FILTER (WHERE ratio) OVER s AS ratios,
				lag(to_close) OVER w AS to_before, lead(to_close) OVER w AS to_after,
				coalesce(abs(ln(to_adj / to_close / beside_ratio)) < abs(ln(adj / close / beside_ratio)), false) AS ratio_nearer,
				moved AND lag(moved) OVER w AND greatest(close_lo, lag(close_lo) OVER w) <= least(close_hi, lag(close_hi) OVER w) AS as_before,
				moved AND lead(moved) OVER w AND greatest(close_lo, lead(close_lo) OVER w) <= least(close_hi, lead(close_hi) OVER w) AS as_after
			FROM (SELECT *, coalesce(lag(to_adj / to_close) OVER (PARTITION BY symbol ORDER BY ts), lead(to_adj / to_close) OVER (PARTITION BY symbol ORDER BY ts)) AS beside_ratio FROM day)
			WINDOW s AS (PARTITION BY symbol), w AS (PARTITION BY symbol ORDER BY ts)),
		run AS (
			SELECT *, count(*) FILTER (NOT coalesce(as_before, false)) OVER (PARTITION BY symbol ORDER BY ts) AS run FROM beside),
		stretch AS (
			SELECT *, count(*) OVER r AS run_days, bool_or(at_end) OVER r AS run_at_end,
				bool_or(NOT coalesce(as_before, false) AND abs(ln(to_close / to_before)) < abs(ln(close / to_before))
					OR NOT coalesce(as_after, false) AND abs(ln(to_close / to_after)) < abs(ln(close / to_after))) OVER r AS mends
			FROM run WINDOW r AS (PARTITION BY symbol, run)),
		verdict AS (
			SELECT symbol, ts, to_close / close AS close_factor, to_adj / adj / (to_close / close) AS ratio_factor, `+ratioRule+` AS ratio_moved,
				edge AND (coalesce(as_before, false) OR coalesce(as_after, false)
					OR moved AND lo <= hi AND (lo > 1 OR hi < 1) AND (far AND NOT nearer OR NOT far AND NOT flat AND given_days = 1))
				OR moved AND run_days > 1 AND (far AND NOT coalesce(mends, false) OR NOT far AND run_at_end)
				OR moved AND at_end AND run_days = 1 AND given_days > 1 AND lo <= hi AND (lo > 1 OR hi < 1) AND far AND NOT coalesce(mends, false) AS level_moved
			FROM stretch),
		found AS (
			SELECT symbol, min(ts) AS ts, first(level_moved ORDER BY ts) AS level, coalesce(first(CASE WHEN level_moved THEN close_factor ELSE ratio_factor END ORDER BY ts), 1) AS factor
			FROM verdict WHERE ratio_moved OR level_moved GROUP BY symbol)
		SELECT f.*, (SELECT count(*) FROM temp.main.`+staged+` s WHERE `+given+` AND s.symbol = f.symbol), k.* EXCLUDE (symbol)
		FROM found f JOIN (
			SELECT symbol, count(*) AS stored, count(*) FILTER (NOT given) AS lacks, min(ts) FILTER (NOT given) AS first, max(ts) FILTER (NOT given) AS last
			FROM temp.main.`+overlapTable+` GROUP BY symbol) k ON k.symbol = f.symbol
		ORDER BY f.symbol`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Left
	for rows.Next() {
		l := Left{Price: adjustedClose.String()}
		var day, first, last quant.Date
		var level bool
		if err := rows.Scan(&l.Symbol, &day, &level, &l.Factor, &l.Rows, &l.Stored, &l.Lacks, &first, &last); err != nil {
			return nil, err
		}
		if level {
			l.Price = closing.String()
		}
		l.Day, l.First, l.Last = dayText(day), dayText(first), dayText(last)
		list = append(list, l)
	}
	return list, rows.Err()
}

// unseenScale lists the symbols of which the input has a new day next to a stored one
// that it lacks, with a step between them that looks like a split: of the adjusted
// closes where both days have one, otherwise of the closes. Nothing tells such a
// step from another scale of the input; the stored day would. Days that are further
// apart than seamDays say nothing about each other. In byte order. diff is that of
// the merge (factstore.Merge.Review), doubtful what lackingDays lists.
func (in *ingest) unseenScale(ctx context.Context, tx *factstore.Tx, diff, doubtful string) ([]Left, error) {
	fresh := "SELECT symbol, ts, close, adjusted_close FROM " + diff + ` WHERE "stored rowid" IS NULL AND symbol IN (` + doubtful + `)`
	var some bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS ("+fresh+")").Scan(&some); err != nil || !some {
		return nil, err
	}
	input := "SELECT symbol, ts FROM temp.main." + staged + " WHERE " + given
	rows, err := tx.Query(ctx, `
		WITH fresh AS (`+fresh+`),
		ends AS (SELECT symbol, min(ts) AS first, max(ts) AS last FROM fresh GROUP BY symbol),
		reach AS (
			SELECT symbol, coalesce(max(o.ts) FILTER (o.ts < first), first) AS since, coalesce(min(o.ts) FILTER (o.ts > last), last) AS until
			FROM ohlcv o JOIN ends USING (symbol) GROUP BY symbol, first, last),
		near AS (SELECT o.symbol, o.ts, o.close, o.adjusted_close FROM ohlcv o JOIN reach r ON r.symbol = o.symbol AND o.ts BETWEEN since AND until),
		joined AS (
			SELECT *, true AS new, false AS kept FROM fresh SEMI JOIN reach USING (symbol)
			UNION ALL SELECT n.*, false, g.ts IS NULL FROM near n LEFT JOIN (`+input+`) g ON g.symbol = n.symbol AND g.ts = n.ts),
		beside AS (
			SELECT symbol, new, lag(kept) OVER w AS kept_before, lead(kept) OVER w AS kept_after, ts, lag(ts) OVER w AS ts_before, lead(ts) OVER w AS ts_after,
				CASE WHEN adjusted_close IS NOT NULL AND lag(adjusted_close) OVER w IS NOT NULL THEN adjusted_close / lag(adjusted_close) OVER w ELSE close / lag(close) OVER w END AS from_before,
				CASE WHEN adjusted_close IS NOT NULL AND lead(adjusted_close) OVER w IS NOT NULL THEN lead(adjusted_close) OVER w / adjusted_close ELSE lead(close) OVER w / close END AS to_after,
				adjusted_close IS NOT NULL AND lag(adjusted_close) OVER w IS NOT NULL AS adj_before, adjusted_close IS NOT NULL AND lead(adjusted_close) OVER w IS NOT NULL AS adj_after
			FROM joined WINDOW w AS (PARTITION BY symbol ORDER BY ts)),
		step AS (
			SELECT symbol, ts, ts_before AS beside, from_before AS factor, adj_before AS adj FROM beside WHERE new AND kept_before AND ts - ts_before <= `+seamDays+` AND `+price.LooksLikeSplit("from_before")+`
			UNION ALL SELECT symbol, ts, ts_after, 1 / to_after, adj_after FROM beside WHERE new AND kept_after AND ts_after - ts <= `+seamDays+` AND `+price.LooksLikeSplit("to_after")+`),
		found AS (SELECT DISTINCT ON (symbol) * FROM step ORDER BY symbol, ts, beside),
		days AS (
			SELECT o.symbol, count(*) AS stored, count(*) FILTER (g.ts IS NULL) AS lacks, min(o.ts) FILTER (g.ts IS NULL) AS first, max(o.ts) FILTER (g.ts IS NULL) AS last
			FROM (SELECT symbol, ts FROM ohlcv SEMI JOIN found USING (symbol)) o LEFT JOIN (`+input+`) g ON g.symbol = o.symbol AND g.ts = o.ts GROUP BY o.symbol)
		SELECT f.*, (SELECT count(*) FROM (`+input+`) g WHERE g.symbol = f.symbol), d.* EXCLUDE (symbol) FROM found f JOIN days d ON d.symbol = f.symbol ORDER BY f.symbol`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Left
	for rows.Next() {
		l := Left{Price: closing.String()}
		var day, beside, first, last quant.Date
		var adjusted bool
		if err := rows.Scan(&l.Symbol, &day, &beside, &l.Factor, &adjusted, &l.Rows, &l.Stored, &l.Lacks, &first, &last); err != nil {
			return nil, err
		}
		if adjusted {
			l.Price = adjustedClose.String()
		}
		l.Day, l.Beside, l.First, l.Last = dayText(day), dayText(beside), dayText(first), dayText(last)
		list = append(list, l)
	}
	return list, rows.Err()
}

// given is a condition on a staged row: it is a bar of the input.
const given = "fault = 0"

// lackingDays lists the symbols, as SQL texts, in which the merge changes something and
// of which the input lacks a stored day: of the others no bar keeps an old scale.
// "" where there is none. bars is how many the input has of each symbol.
func lackingDays(ctx context.Context, tx *factstore.Tx, diff string, bars map[string]int64) (string, error) {
	rows, err := tx.Query(ctx, `SELECT d.symbol, d.fresh, k.stored FROM (SELECT symbol, count(*) FILTER ("stored rowid" IS NULL) AS fresh FROM `+diff+` GROUP BY symbol) d
		JOIN (SELECT symbol, count(*) AS stored FROM ohlcv GROUP BY symbol) k ON k.symbol = d.symbol ORDER BY d.symbol`)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var symbol string
		var fresh, stored int64
		if err := rows.Scan(&symbol, &fresh, &stored); err != nil {
			return "", err
		}
		if bars[symbol]-fresh < stored {
			list = append(list, symbol)
		}
	}
	return sqltext.Literals(list), rows.Err()
}

// leave takes the rows of symbols out that would be left on two scales.
func (in *ingest) leave(ctx context.Context, tx *factstore.Tx, diff string) error {
	doubtful, err := lackingDays(ctx, tx, diff, in.bars)
	if err != nil || doubtful == "" {
		return err
	}
	list, err := in.otherScale(ctx, tx, diff, doubtful, in.newest)
	if err != nil {
		return err
	}
	unseen, err := in.unseenScale(ctx, tx, diff, doubtful)
	if err != nil {
		return err
	}
	for _, l := range unseen {
		if i, known := slices.BinarySearchFunc(list, l.Symbol, func(a Left, symbol string) int { return cmp.Compare(a.Symbol, symbol) }); !known {
			list = slices.Insert(list, i, l)
		}
	}
	if list == nil {
		return nil
	}
	if in.series != nil {
		return &errOtherScale{list[0]}
	}
	if err := in.materialise(ctx); err != nil {
		return err
	}
	names := make([]any, len(list))
	for i, l := range list {
		names[i] = l.Symbol
		in.report.RowsLeft += l.Rows
	}
	in.report.Left = list
	of := " AND symbol IN (" + strings.TrimSuffix(strings.Repeat("?, ", len(names)), ", ") + ")"
	if _, err := tx.Stage(ctx, fmt.Sprintf("UPDATE temp.main.%s SET fault = %d WHERE %s%s", staged, left, given, of), names...); err != nil {
		return err
	}
	_, err = in.summarise(ctx)
	return err
}

// leftError is the error of an ingest that left symbols as they were.
func leftError(list []Left) error {
	var moved, unseen, what []string
	beside := "last"
	for i, l := range list {
		if l.Beside == "" {
			moved = append(moved, l.Symbol)
		} else {
			unseen = append(unseen, l.Symbol)
			if l.Beside > l.Day {
				beside = "next"
			}
		}
		switch {
		case i < 3:
			what = append(what, l.String())
		case i == 3:
			what = append(what, fmt.Sprintf("and %d more", len(list)-3))
		}
	}
	var hints []string
	if moved != nil {
		hints = append(hints, fmt.Sprintf("ingest the whole history of %s in one run, from the first stored day on: it replaces what is stored; if the source has dropped the oldest days, docs/price-files.md says how to scale these", quant.SomeOf(moved, 3)))
	}
	if unseen != nil {
		hints = append(hints, fmt.Sprintf("for %s, ingest a file that also has the %s stored days: they show whether the scale moved", quant.SomeOf(unseen, 3), beside))
	}
	return quant.Errorf(quant.Partial, "%s stayed as %s: %s", quant.Count(len(list), "symbol"), asWas(len(list)), strings.Join(what, "; ")).
		WithHint("%s", strings.Join(hints, "; "))
}

func asWas(n int) string {
	if n == 1 {
		return "it was"
	}
	return "they were"
}

// errOtherScale is the error of a provider's answer that would leave a symbol
// on two scales.
type errOtherScale struct{ Left }

func (e *errOtherScale) Error() string {
	if e.Beside != "" {
		return e.String()
	}
	return e.Symbol + ": the provider rescaled its history: " + e.reason()
}
