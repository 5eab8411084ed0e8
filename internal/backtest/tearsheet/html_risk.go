package tearsheet

import (
	"fmt"
	"strconv"

	"quant"
	"quant/internal/chart"
)

// between is an interval in words.
func between(i *Interval, show func(float64) string) string {
	if i == nil {
		return Missing
	}
	return show(i.Low) + " to " + show(i.High)
}

// IntervalRows are the intervals of the figures.
func (v view) IntervalRows() []Measure {
	m, i := v.Measured, v.Risk.Intervals
	row := func(name string, figure *float64, of *Interval, show func(float64) string) Measure {
		return Measure{name, "", []Number{number(figure, show), {Text: between(of, show)}}}
	}
	return []Measure{
		row("Sharpe ratio", m.Sharpe, i.Sharpe, decimals2), row("CAGR", m.CAGR, i.CAGR, percent), row("Maximum drawdown", m.MaxDD, i.MaxDD, percent),
	}
}

// IntervalLead says how the intervals were drawn.
func (v view) IntervalLead() string {
	i := v.Risk.Intervals
	if i.Block == nil {
		return "Too few returns to draw others from."
	}
	return "Stationary bootstrap: " + whole(float64(i.Resamples)) + " series drawn in blocks of " + fixed(*i.Block, 1) + " sessions on average."
}

// TailRows are the losses of a session.
func (v view) TailRows() []Measure {
	var out []Measure
	for _, t := range v.Risk.Tails {
		level := percent0(t.Level)
		out = append(out,
			Measure{"Value at risk " + level, "return of a session that " + percent0(chart.Round(1-t.Level, 6)) + " are below", []Number{number(t.ValueAtRisk, percent)}},
			Measure{"Expected shortfall " + level, "mean of the returns below it", []Number{number(t.ExpectedShortfall, percent)}})
	}
	return out
}

// AgainstRows are the account against its benchmark.
func (v view) AgainstRows() []Measure {
	b := v.Risk.Benchmark
	if b == nil {
		return nil
	}
	t := "t by Newey and West, " + quant.Count(b.Lags, "lag") + ": "
	row := func(name, definition string, n Number) Measure { return Measure{name, definition, []Number{n}} }
	return []Measure{
		row("Alpha a year", t+number(b.AlphaT, decimals2).Text, number(b.Alpha, percent)),
		row("Beta", t+number(b.BetaT, decimals2).Text, number(b.Beta, decimals2)),
		row("R squared", "of the regression", number(b.RSquared, decimals2)),
		row("Tracking error", "deviation of the difference \u00d7 \u221a252", number(b.TrackingError, percent)),
		row("Information ratio", "difference a year / tracking error", number(b.InformationRatio, decimals2)),
	}
}

// DrawdownRow is one of the worst drawdowns.
type DrawdownRow struct {
	Depth                          Number
	Peak, Trough, Recovery, Length string
}

// DrawdownRows are the worst drawdowns.
func (v view) DrawdownRows() []DrawdownRow {
	var out []DrawdownRow
	for _, d := range v.Risk.Drawdowns {
		r := DrawdownRow{Depth: number(&d.Depth, percent), Peak: d.Peak.String(), Trough: d.Trough.String(), Recovery: "not yet"}
		r.Length = strconv.Itoa(d.Falling) + " down"
		if d.Recovery != nil {
			r.Recovery = d.Recovery.String()
			r.Length += ", " + strconv.Itoa(*d.Rising) + " up"
		} else {
			r.Length += ", " + strconv.Itoa(d.Length-d.Falling) + " since"
		}
		out = append(out, r)
	}
	return out
}

// SectorRow is the exposure to a sector.
type SectorRow struct {
	Name  string
	Cells []Number
}

// SectorRows are the exposures by sector.
func (v view) SectorRows() []SectorRow {
	var out []SectorRow
	for _, e := range v.Risk.Sectors {
		r := SectorRow{Name: string(e.Sector)}
		if r.Name == "" {
			r.Name = "not known"
		}
		for _, f := range []float64{e.MeanNet, e.MeanGross, e.MaxGross, e.LastNet, e.LastGross} {
			r.Cells = append(r.Cells, number(&f, percent))
		}
		out = append(out, r)
	}
	return out
}

// CapacityRow is the capacity at one share of the dollar volume.
type CapacityRow struct {
	Share string
	Cells []Number
}

// CapacityRows are the capacities.
func (v view) CapacityRows() []CapacityRow {
	c := v.Risk.Capacity
	if c == nil {
		return nil
	}
	var out []CapacityRow
	for _, l := range c.Limits {
		out = append(out, CapacityRow{percent0(l.Share), []Number{number(l.Median, whole), number(l.Tail, whole), number(l.Days, decimals2)}})
	}
	return out
}

// CapacityLead says what the capacities rest on.
func (v view) CapacityLead() string {
	c := v.Risk.Capacity
	text := fmt.Sprintf("Capital with which trades exceed a share of their symbol's mean dollar volume over the %d bars before; %s", volumeBars, quant.Count(c.Trades, "trade"))
	if c.Unknown > 0 {
		text += ", " + whole(float64(c.Unknown)) + " of them without a known volume"
	}
	return text + "."
}

// RollingCharts are those that have something to draw.
func (v view) RollingCharts() []svg {
	var out []svg
	for _, p := range v.rollingPlots() {
		out = append(out, newSVG(p, 190))
	}
	return out
}

// rollingPlots are the rolling Sharpe ratio and beta.
func (s *Sheet) rollingPlots() []plot {
	var out []plot
	for _, of := range []struct {
		id, title string
		pick      func(RollingDay) [2]*float64
	}{
		{"rolling-sharpe", "Rolling Sharpe ratio", func(d RollingDay) [2]*float64 { return [2]*float64{d.Sharpe126, d.Sharpe252} }},
		{"rolling-beta", "Rolling beta", func(d RollingDay) [2]*float64 { return [2]*float64{d.Beta126, d.Beta252} }},
	} {
		values := []float64{0}
		for _, d := range s.Risk.RollingDays {
			for _, f := range of.pick(d) {
				if f != nil {
					values = append(values, *f)
				}
			}
		}
		if len(values) < 3 {
			continue
		}
		y, x := chart.NewAxis(false, values...), s.span()
		zero := y.At(0)
		p := plot{ID: of.id, Title: of.title, X: x.ticks(), Y: y.Ticks(4, chart.Compact), Zero: &zero}
		for k, class := range []string{"benchmark", "strategy"} { // the longer window on top
			var points []point
			for _, d := range s.Risk.RollingDays {
				if f := of.pick(d)[k]; f != nil {
					points = append(points, point{X: x.at(d.TS), Y: y.At(*f)})
				}
			}
			if len(points) > 1 {
				p.Lines = append(p.Lines, line{Class: class, Name: fmt.Sprintf("%s, %d sessions", of.title, windows[k]), Points: chart.Reduce(points)})
			}
		}
		low, high := values[1], values[1]
		for _, f := range values[1:] {
			low, high = min(low, f), max(high, f)
		}
		p.Desc = fmt.Sprintf("%s over %d and %d sessions, from %s to %s.", of.title, windows[0], windows[1], decimals2(low), decimals2(high))
		out = append(out, p)
	}
	return out
}
