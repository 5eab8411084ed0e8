package sqlfeature

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// ProofDays chooses so many days, or all there are, of days in order on which a query is
// proved. They follow from the seed: the same each time, and not to be known when the
// query is written. The last but one, and those about a week and a month before the last,
// are among them, where values of the end are; the others are spread over all thirds.
func ProofDays(days []quant.Date, n int, seed string) []quant.Date {
	if len(days) < 2 {
		return nil
	}
	days = days[:len(days)-1] // after the last nothing can be cut or changed
	chosen := map[quant.Date]bool{}
	for _, back := range []int{1, 5, 21} {
		if back <= len(days) && len(chosen) < n {
			chosen[days[len(days)-back]] = true
		}
	}
	for k := 0; len(chosen) < min(n, len(days)); k++ {
		h := fnv.New64a()
		_, _ = fmt.Fprintf(h, "%s %d", seed, k)
		from, to := k%3*len(days)/3, (k%3+1)*len(days)/3
		if k > 100*n { // a third may be used up
			from, to = 0, len(days)
		}
		if from < to {
			chosen[days[from+int(h.Sum64()%uint64(to-from))]] = true
		}
	}
	var list []quant.Date
	for d := range chosen {
		list = append(list, d)
	}
	slices.Sort(list)
	return list
}

// difference is a value that is another one on another history.
type difference struct {
	name, symbol string
	day          quant.Date
	whole, part  sql.NullFloat64
}

// same is how near two values must be to be one: relative to the larger, or to how far
// the values of the feature are spread. A sum in another order differs by less.
const same = 1e-9

// prove runs the query on history that ends on each day, and on history that is another
// one after it. Refused: a value up to that day is another.
func (c *computing) prove(ctx context.Context) error {
	days, err := c.barDays(ctx)
	if err != nil {
		return err
	}
	seed := c.seed()
	c.report.Proof = Proof{Days: append([]quant.Date{}, ProofDays(days, c.ProofDays, seed)...), Seed: seed}
	if len(c.report.Proof.Days) == 0 {
		return quant.Errorf(quant.Refused, "one day of prices proves nothing").WithHint("`quant ingest FILE` loads more")
	}
	// The latest first: most of what looks ahead shows there.
	for _, day := range slices.Backward(c.report.Proof.Days) {
		for _, h := range []history{{cut: day}, {changed: day}} {
			if err := c.run(ctx, h); err != nil {
				return err
			}
			if err := c.gather(ctx, part); err != nil {
				return err
			}
			found, err := c.differs(ctx, day)
			if err != nil {
				return err
			}
			if found != nil {
				return c.leak(h, day, *found)
			}
			for _, name := range c.names {
				var n int64
				if err := c.db.QueryRow(ctx, "SELECT count("+sqltext.Identifier(name)+") FROM temp.main."+part+" WHERE ts <= DATE '"+day.String()+"'").Scan(&n); err != nil {
					return err
				}
				c.report.Proof.Compared += n
			}
		}
	}
	return nil
}

// barDays are the days of which the lab has bars.
func (c *computing) barDays(ctx context.Context) ([]quant.Date, error) {
	return factstore.Values[quant.Date](ctx, c.db, "SELECT DISTINCT ts FROM ohlcv ORDER BY ts")
}

// differs is the latest value up to a day that is another one in part; nil: none is.
func (c *computing) differs(ctx context.Context, day quant.Date) (*difference, error) {
	var list []string
	for _, name := range c.names {
		x := sqltext.Identifier(name)
		list = append(list, fmt.Sprintf(`SELECT %s AS name, coalesce(a.symbol, b.symbol) AS symbol, coalesce(a.ts, b.ts) AS ts, a.%s AS whole, b.%[2]s AS part
			FROM temp.main.%[3]s a FULL JOIN temp.main.%[4]s b ON b.symbol = a.symbol AND b.ts = a.ts, (SELECT coalesce(stddev_pop(%[2]s), 0) AS spread FROM temp.main.%[3]s)
			WHERE (a.%[2]s IS NULL) <> (b.%[2]s IS NULL) OR abs(a.%[2]s - b.%[2]s) > %[5]g * greatest(abs(a.%[2]s), abs(b.%[2]s), spread)`,
			sqltext.Literal(name), x, whole, part, same))
	}
	where := ""
	if day < quant.Date(1<<20) {
		where = " WHERE ts <= DATE '" + day.String() + "'"
	}
	var d difference
	err := c.db.QueryRow(ctx, "SELECT name, symbol, ts, whole, part FROM ("+strings.Join(list, " UNION ALL ")+")"+where+" ORDER BY ts DESC, symbol, name LIMIT 1").Scan(&d.name, &d.symbol, &d.day, &d.whole, &d.part)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &d, nil
}

func (c *computing) leak(h history, day quant.Date, d difference) error {
	value := func(v sql.NullFloat64) string {
		if !v.Valid {
			return "no value"
		}
		return fmt.Sprint(v.Float64)
	}
	how := "with the history up to " + day.String()
	if h.changed != 0 {
		how = "with other facts after " + day.String()
	}
	return quant.Errorf(quant.Refused, "feature %s looks ahead: %s on %s is %s with all history, and %s %s; nothing was stored", d.name, d.symbol, d.day, value(d.whole), value(d.part), how).
		WithHint("a value may read rows up to its own day: no LEAD, no join to later days, no aggregate over the whole table; labels are known a horizon later")
}
