package feature

import (
	"context"
	"fmt"
	"slices"

	"quant"
	"quant/internal/calendar"
	"quant/internal/price"
)

// gapShare is the share of a series' rows in a year above which it is said that
// sessions without any bar remove them.
const gapShare = 0.05

// rowCounts are the rows of each series in each year.
type rowCounts map[string]map[int]int64

// rowsWithoutGaps counts the rows that there would be if no session without any
// bar were one; nil where there is no such session. The prices are staged as they
// were afterwards.
func (c *computation) rowsWithoutGaps(ctx context.Context) (rowCounts, error) {
	if len(c.basis.Unknown) == 0 {
		return nil, nil
	}
	closed := make([]calendar.Change, len(c.basis.Unknown))
	for i, d := range c.basis.Unknown {
		closed[i] = calendar.Change{Calendar: c.cal.Name(), Day: d, Kind: calendar.Closed}
	}
	req := price.Request{Symbols: c.req.Symbols, AcceptRaw: true}
	if _, err := price.Stage(ctx, c.db, c.cal.Amend(closed), req); err != nil {
		return nil, err
	}
	if err := c.stage(ctx); err != nil {
		return nil, err
	}
	counts, err := c.countRows(ctx)
	if err != nil {
		return nil, err
	}
	_, err = price.Stage(ctx, c.db, c.cal, req)
	return counts, err
}

func (c *computation) countRows(ctx context.Context) (rowCounts, error) {
	counts := rowCounts{}
	for _, p := range c.parts {
		if p.name == "" {
			continue
		}
		rows, err := c.db.Query(ctx, fmt.Sprintf("SELECT year(ts), count(*) FROM temp.main.%s WHERE isfinite(%s) GROUP BY ALL", p.from, p.values[1]))
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		counts[p.name] = map[int]int64{}
		for rows.Next() {
			var year int
			var n int64
			if err := rows.Scan(&year, &n); err != nil {
				return nil, err
			}
			counts[p.name][year] = n
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// sayGaps says which series lack more than gapShare of a year's rows because of
// sessions without any bar, those that lack most first.
func (c *computation) sayGaps(ctx context.Context, without rowCounts) error {
	if without == nil {
		return nil
	}
	have, err := c.countRows(ctx)
	if err != nil {
		return err
	}
	type loss struct {
		text  string
		share float64
	}
	var losses []loss
	for _, p := range c.parts {
		worst := loss{}
		for _, year := range years(without[p.name]) {
			full := without[p.name][year]
			gone := full - have[p.name][year]
			if share := float64(gone) / float64(full); share > gapShare && share > worst.share {
				worst = loss{fmt.Sprintf("%s %d of %d rows of %d", p.name, gone, full, year), share}
			}
		}
		if worst.share > 0 {
			losses = append(losses, worst)
		}
	}
	if len(losses) == 0 {
		return nil
	}
	slices.SortStableFunc(losses, func(a, b loss) int {
		switch {
		case a.share > b.share:
			return -1
		case a.share < b.share:
			return 1
		}
		return 0
	})
	var texts, days []string
	for _, l := range losses {
		texts = append(texts, l.text)
	}
	for _, d := range c.basis.Unknown {
		days = append(days, d.String())
	}
	c.report.Notices = append(c.report.Notices, fmt.Sprintf("sessions without a bar (%s) remove more than %g %% of a year's rows: %s; a closure is added with `quant calendar add --closed DATE`",
		quant.SomeOf(days, 3), 100*gapShare, quant.SomeOf(texts, 3)))
	return nil
}

func years(counts map[int]int64) []int {
	list := make([]int, 0, len(counts))
	for y := range counts {
		list = append(list, y)
	}
	slices.Sort(list)
	return list
}
