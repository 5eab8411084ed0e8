package feature

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"quant"
	"quant/internal/calendar"
)

// gapShare is the share of a series' rows in a year above which it is said that
// sessions without any bar remove them.
const gapShare = 0.05

// rowCounts are the rows of each series in each year.
type rowCounts map[string]map[int]int64

// countRows counts the rows that the symbols to compute have under a calendar.
func (c *computation) countRows(ctx context.Context, cal *calendar.Calendar) (rowCounts, error) {
	counts := rowCounts{}
	for _, name := range c.series {
		counts[name] = map[int]int64{}
	}
	w := writing{c: c}
	var mu sync.Mutex
	symbols := slices.Sorted(slices.Values(slices.Concat(c.changed, c.grown)))
	for part := range w.parts(symbols, 0) {
		if err := c.basis.Read(ctx, c.db, cal, c.priceRequest(), part, 0, &c.bars); err != nil {
			return nil, err
		}
		err := c.eachSymbol(ctx, func(k int, s *series) {
			days := c.bars.Days[c.bars.From[k]:c.bars.From[k+1]]
			out := outputs(nil, c.outputs, len(days))
			c.kernel(s, out)
			mu.Lock()
			defer mu.Unlock()
			for n, name := range c.series {
				for i, x := range out[n] {
					if finite(x) {
						counts[name][days[i].Time().Year()]++
					}
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// sayGaps says which series lack more than gapShare of a year's rows because of
// sessions without any bar, those that lack most first.
func (c *computation) sayGaps(ctx context.Context) error {
	if len(c.basis.Unknown) == 0 || len(c.changed)+len(c.grown) == 0 {
		return nil
	}
	closed := make([]calendar.Change, len(c.basis.Unknown))
	for i, d := range c.basis.Unknown {
		closed[i] = calendar.Change{Calendar: c.cal.Name(), Day: d, Kind: calendar.Closed}
	}
	without, err := c.countRows(ctx, c.cal.Amend(closed))
	if err != nil {
		return err
	}
	have, err := c.countRows(ctx, c.cal)
	if err != nil {
		return err
	}
	type loss struct {
		text  string
		share float64
	}
	var losses []loss
	for _, name := range c.series {
		worst := loss{}
		for _, year := range years(without[name]) {
			full := without[name][year]
			gone := full - have[name][year]
			if share := float64(gone) / float64(full); share > gapShare && share > worst.share {
				worst = loss{fmt.Sprintf("%s %d of %d rows of %d", name, gone, full, year), share}
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
