package stated

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"

	"quant"
	"quant/internal/sqltext"
)

// The look at values that may be returns which only followed.
const (
	sampleRows  = 50_000 // about
	fewestPairs = 30
	likeness    = 0.99 // correlation from which a value is taken for the return

	// A correlation of at least that, this many standard errors of as many sessions as
	// there are without overlap, is said: no forecast is so good.
	unlikely, standardErrors = 0.3, 10
)

// span is a return that followed a day: from the close of so many sessions later to that of
// others. Of usual ones the ranks are looked at, too.
type span struct {
	from, to int
	usual    bool
}

func (s span) String() string {
	if s.from == 0 {
		return "the next " + quant.Count(s.to, "session")
	}
	return fmt.Sprintf("the sessions %d to %d that followed", s.from+1, s.to)
}

// followedSpans are the returns that are looked at: over up to 30 sessions, those that
// labels beyond usually have, and those that leave out a session, as Qlib's labels do.
func followedSpans() []span {
	var list []span
	usual := []int{1, 2, 3, 5, 10, 20, 21, 60}
	for h := 1; h <= 30; h++ {
		list = append(list, span{to: h, usual: slices.Contains(usual, h)})
	}
	for _, h := range []int{40, 42, 45, 50, 60, 63, 65, 90, 120, 125, 126, 180, 240, 250, 252} {
		list = append(list, span{to: h, usual: slices.Contains(usual, h)})
	}
	for _, h := range []int{2, 6, 11, 21} {
		list = append(list, span{from: 1, to: h, usual: true})
	}
	return list
}

// kinds are the ways in which a feature x may hold the return r that followed: as it is,
// in its order, as its order among the names of the day (of a rank, a score, what is left
// without the mean), as its direction, by its sign (of a return over its deviation), and
// as the price itself.
func kinds(i int, s span) []string {
	price := func(of string) string {
		change := "CASE WHEN abs(x / " + of + " - 1) < 0.5 THEN x / " + of + " - 1 END"
		return fmt.Sprintf("CASE WHEN count(CASE WHEN isfinite(r%d) THEN %s END) >= %d THEN corr(%[2]s, r%[1]d) END", i, change, fewestPairs)
	}
	rank, dayRank := "NULL", "NULL"
	if s.usual {
		rank = fmt.Sprintf("corr(rank, q%d)", i)
		dayRank = fmt.Sprintf("CASE WHEN count(day_rank) FILTER (d%d IS NOT NULL) >= %d THEN corr(day_rank, d%[1]d) END", i, fewestPairs)
	} else if s.to <= 20 {
		rank = fmt.Sprintf("corr(rank, q%d)", i)
	}
	return []string{
		fmt.Sprintf("corr(x, r%d)", i), rank, dayRank,
		fmt.Sprintf("corr(x, (r%d > 0)::INTEGER)", i),
		fmt.Sprintf("corr(sign(x), (r%d > 0)::INTEGER)", i),
		price("p"),
		price("c"),
	}
}

// forecasts is how many of kinds, from the first, measure how good a forecast is.
const forecasts = 3

// suspect refuses values that are all but the return over the next sessions: whatever the
// file says of when they were known, they cannot have been. Of values that forecast it
// better than forecasts are it says so. Values of some symbols stand for all.
func (in *importing) suspect(ctx context.Context) error {
	if in.names == nil || in.AcceptStated {
		return nil
	}
	var rows int64
	if err := in.db.QueryRow(ctx, "SELECT count(*) FROM temp.main."+fresh).Scan(&rows); err != nil {
		return err
	}
	share := max(1, rows/sampleRows)
	var leads, ranks []string
	for i, of := range followedSpans() {
		leads = append(leads, fmt.Sprintf("lead(p, %d) OVER w / lead(p, %d) OVER w - 1 AS r%d", of.to, of.from, i))
		if of.usual || of.to <= 20 {
			ranks = append(ranks, fmt.Sprintf("CASE WHEN isfinite(r%d) THEN rank() OVER (ORDER BY r%[1]d) END AS q%[1]d", i))
		}
		if of.usual {
			ranks = append(ranks, fmt.Sprintf("CASE WHEN isfinite(r%d) AND names >= 3 THEN percent_rank() OVER (PARTITION BY ts ORDER BY r%[1]d) END AS d%[1]d", i))
		}
	}
	if err := in.stage(ctx, fmt.Sprintf(`CREATE TEMP TABLE %s AS SELECT *, %s FROM (SELECT s.*, r.* EXCLUDE (symbol, ts), count(*) OVER (PARTITION BY s.ts) AS names FROM (SELECT * EXCLUDE (known) FROM temp.main.%s WHERE symbol IN
			(SELECT symbol FROM (SELECT DISTINCT symbol FROM temp.main.%[3]s) QUALIFY (row_number() OVER (ORDER BY hash(symbol), symbol) - 1) %% %d = 0)) s
		JOIN (SELECT symbol, ts, nullif(p, 0) AS p, nullif(close, 0) AS c, %s FROM (SELECT symbol, ts, close, coalesce(adjusted_close, close) AS p FROM ohlcv) WINDOW w AS (PARTITION BY symbol ORDER BY ts)) r ON r.symbol = s.symbol AND r.ts = s.ts)`,
		forward, strings.Join(ranks, ", "), fresh, share, strings.Join(leads, ", "))); err != nil {
		return err
	}
	for _, name := range in.names {
		if err := in.suspectFeature(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (in *importing) suspectFeature(ctx context.Context, name string) error {
	x := sqltext.Identifier(name)
	parts := []string{"count(DISTINCT ts)"}
	spans := followedSpans()
	each := len(kinds(0, spans[0])) + 1
	for i, of := range spans {
		parts = append(append(parts, kinds(i, of)...), fmt.Sprintf("count(CASE WHEN isfinite(r%d) THEN 1 END)", i))
	}
	values, targets := make([]sql.NullFloat64, len(parts)), make([]any, len(parts))
	for i := range values {
		targets[i] = &values[i]
	}
	if err := in.db.QueryRow(ctx, fmt.Sprintf(`SELECT %s FROM (SELECT *, %s AS x, rank() OVER (ORDER BY %[2]s) AS rank, CASE WHEN count(*) OVER (PARTITION BY ts) >= 3 THEN percent_rank() OVER (PARTITION BY ts ORDER BY %[2]s) END AS day_rank
		FROM temp.main.%[3]s WHERE %[2]s IS NOT NULL)`, strings.Join(parts, ", "), x, forward)).Scan(targets...); err != nil {
		return err
	}
	best, at := likeness, -1
	good, over := 0.0, -1
	for i, span := range spans {
		of := values[1+i*each : 1+(i+1)*each]
		for k, one := range of[:each-1] {
			c := math.Abs(one.Float64)
			if of[each-1].Float64 < fewestPairs || !one.Valid {
				continue
			}
			if c > best {
				best, at = c, i
			}
			if k < forecasts && c >= unlikely && c > good && c*math.Sqrt(values[0].Float64/float64(span.to-span.from)) >= standardErrors {
				good, over = c, i
			}
		}
	}
	if at < 0 {
		if over >= 0 {
			in.report.Notices = append(in.report.Notices, fmt.Sprintf("%s goes with the return over %s by %.2f, and what is known in time seldom does by 0.1: when was it known?", name, spans[over], good))
		}
		return nil
	}
	var symbol string
	var ts quant.Date
	var value, followed float64
	if err := in.db.QueryRow(ctx, fmt.Sprintf("SELECT symbol, ts, %s, r%d FROM temp.main.%s WHERE %[1]s IS NOT NULL AND isfinite(r%[2]d) ORDER BY abs(r%[2]d) DESC, ts, symbol LIMIT 1", x, at, forward)).Scan(&symbol, &ts, &value, &followed); err != nil {
		return err
	}
	in.report.Refused = true
	return quant.Errorf(quant.Refused, "%s: %s looks ahead: it goes with the return over %s by %.3f; %s %s says %v, and the return that followed is %v; nothing was stored",
		in.label(), name, spans[at], best, symbol, ts, value, followed).
		WithHint("move it to the day on which it was known; if it is right all the same: --accept-stated")
}
