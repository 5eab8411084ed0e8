package stated

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strings"

	"quant"
	"quant/internal/sqltext"
)

// The look at values that may be returns which only followed.
const (
	longestFollowed = 20     // sessions
	sampleRows      = 50_000 // about
	fewestPairs     = 30
	likeness        = 0.99 // correlation, of values or of ranks, from which a value is taken for the return
)

// suspect refuses values that are all but the return over the next 1 to 20 sessions:
// whatever the file says of when they were known, they cannot have been. Values of some
// symbols stand for all.
func (in *importing) suspect(ctx context.Context) error {
	if in.names == nil || in.AcceptStated {
		return nil
	}
	var rows int64
	if err := in.db.QueryRow(ctx, "SELECT count(*) FROM temp.main."+fresh).Scan(&rows); err != nil {
		return err
	}
	share := max(1, rows/sampleRows)
	leads, ranks := make([]string, longestFollowed), make([]string, longestFollowed)
	for h := range leads {
		leads[h] = fmt.Sprintf("lead(p, %d) OVER w / p - 1 AS r%[1]d", h+1)
		ranks[h] = fmt.Sprintf("CASE WHEN isfinite(r%d) THEN rank() OVER (ORDER BY r%[1]d) END AS q%[1]d", h+1)
	}
	if err := in.stage(ctx, fmt.Sprintf(`CREATE TEMP TABLE %s AS SELECT *, %s FROM (SELECT s.*, r.* EXCLUDE (symbol, ts, p) FROM (SELECT * EXCLUDE (known) FROM temp.main.%s WHERE symbol IN
			(SELECT symbol FROM (SELECT DISTINCT symbol FROM temp.main.%[3]s) QUALIFY (row_number() OVER (ORDER BY hash(symbol), symbol) - 1) %% %d = 0)) s
		JOIN (SELECT symbol, ts, p, %s FROM (SELECT symbol, ts, coalesce(adjusted_close, close) AS p FROM ohlcv) WINDOW w AS (PARTITION BY symbol ORDER BY ts)) r ON r.symbol = s.symbol AND r.ts = s.ts)`,
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
	var parts []string
	const kinds = 3
	for h := 1; h <= longestFollowed; h++ {
		parts = append(parts, fmt.Sprintf("corr(x, r%d)", h), fmt.Sprintf("corr(rank, q%d)", h),
			// Two values, one of them exactly on the days that a rise followed: a direction.
			fmt.Sprintf("corr(x, (r%d > 0)::INTEGER)", h), fmt.Sprintf("count(q%d)", h))
	}
	values, targets := make([]sql.NullFloat64, len(parts)), make([]any, len(parts))
	for i := range values {
		targets[i] = &values[i]
	}
	if err := in.db.QueryRow(ctx, fmt.Sprintf("SELECT %s FROM (SELECT *, %s AS x, rank() OVER (ORDER BY %[2]s) AS rank FROM temp.main.%[3]s WHERE %[2]s IS NOT NULL)", strings.Join(parts, ", "), x, forward)).Scan(targets...); err != nil {
		return err
	}
	best, at := likeness, 0
	for h := range longestFollowed {
		of := values[h*(kinds+1) : (h+1)*(kinds+1)]
		for _, one := range of[:kinds] {
			if of[kinds].Float64 >= fewestPairs && one.Valid && math.Abs(one.Float64) > best {
				best, at = math.Abs(one.Float64), h+1
			}
		}
	}
	if at == 0 {
		return nil
	}
	var symbol string
	var ts quant.Date
	var value, followed float64
	if err := in.db.QueryRow(ctx, fmt.Sprintf("SELECT symbol, ts, %s, r%d FROM temp.main.%s WHERE %[1]s IS NOT NULL AND isfinite(r%[2]d) ORDER BY abs(r%[2]d) DESC, ts, symbol LIMIT 1", x, at, forward)).Scan(&symbol, &ts, &value, &followed); err != nil {
		return err
	}
	in.report.Refused = true
	return quant.Errorf(quant.Refused, "%s: %s looks ahead: it goes with the return over the next %s by %.3f; %s %s says %v, and the return that followed is %v; nothing was stored",
		in.label(), name, quant.Count(at, "session"), best, symbol, ts, value, followed).
		WithHint("move it to the day on which it was known; if it is right all the same: --accept-stated")
}
