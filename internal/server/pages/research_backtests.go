package pages

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"

	"quant"
	"quant/internal/backtest"
	"quant/internal/backtest/tearsheet"
	"quant/internal/chart"
	"quant/internal/pipeline"
	"quant/internal/session"
)

func (p *pages) backtestList(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	from, err := fromOf(r, "start")
	if err != nil {
		return err
	}
	heads, order, descending := sortable(r, []sortHead{
		{Label: "run"}, {Name: "strategy", Label: "strategy"}, {Label: "version"}, {Name: "from", Label: "from"}, {Name: "to", Label: "to"},
		{Name: "lag", Label: "lag", Number: true}, {Name: "costs", Label: "cost, bps", Number: true}, {Name: "cagr", Label: "CAGR", Number: true},
		{Name: "vol", Label: "vol", Number: true}, {Name: "sharpe", Label: "Sharpe", Number: true}, {Name: "max_dd", Label: "max DD", Number: true},
		{Name: "turnover", Label: "turnover", Number: true}, {Name: "trades", Label: "trades", Number: true}, {Name: "created", Label: "made"},
	})
	q := backtest.Query{StrategyID: r.URL.Query().Get("strategy"), Order: order, Descending: descending, From: from, Size: listSize}
	list, total, err := pipeline.PageBacktests(r.Context(), s, q)
	if err != nil {
		return err
	}
	return p.show(w, r, view{File: "research_backtests.html", Styles: []string{"research.css"}, Title: "Backtests", Section: "/backtests", Wide: true, Data: struct {
		List     []backtest.Overview
		Heads    []sortHead
		Pager    pager
		Strategy string
		All      string
		Sort     string
	}{list, heads, newPager(r, "start", from, len(list), listSize, total, "backtest"), q.StrategyID, linkWith(withoutFrom(r), "strategy", ""), r.URL.Query().Get("sort")}})
}

// tradeSize is how many trades a page shows at once.
const tradeSize = 50

func tradeQuery(r *http.Request) (tearsheet.TradeQuery, error) {
	from, err := fromOf(r, "trades")
	q := r.URL.Query()
	return tearsheet.TradeQuery{Symbol: q.Get("symbol"), Order: q.Get("order"), From: from, Size: tradeSize}, err
}

// sheetView is what the page of a backtest shows.
type sheetView struct {
	pipeline.OpenSheet
	Stretch        tearsheet.Stretch
	Whole          bool // all days are shown
	ShownFrom      string
	ShownTo, Other string
	Measures       []sheetMeasure
	Plots          []*plotFigure
	Price          *plotFigure // of the chosen symbol, with its trades
	Months         []string
	List           tradeList
	Log            bool
	First, Last    string // bounds of the days
	CompareWith    []string
}

// tradeList is a part of the trades.
type tradeList struct {
	RunID  string
	Trades []tearsheet.Trade
	Pager  pager
	Symbol string
	Order  string
	Orders []string
}

// sheetMeasure is one figure, of the account and of its benchmark.
type sheetMeasure struct{ Name, Strategy, Benchmark string }

func (p *pages) backtestPage(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	ctx, q := r.Context(), r.URL.Query()
	from, to, err := daysOf(q)
	if err != nil {
		return err
	}
	trades, err := tradeQuery(r)
	if err != nil {
		return err
	}
	sheet, err := pipeline.ReadSheet(ctx, s, r.PathValue("run"), trades)
	if err != nil {
		return err
	}
	v := sheetView{OpenSheet: sheet, ShownFrom: q.Get("from"), ShownTo: q.Get("to"), Other: q.Get("benchmark"), Log: q.Get("log") != "", Measures: measuresOf(sheet.Sheet),
		Months: []string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}}
	days, stretch := sheet.Between(from, to)
	v.Stretch, v.Whole = stretch, len(days) == len(sheet.Days)
	if n := len(sheet.Days); n > 0 {
		v.First, v.Last = sheet.Days[0].TS.String(), sheet.Days[n-1].TS.String()
	}
	var other []pipeline.ClosePrice
	if v.Other != "" && v.Other != sheet.Benchmark && len(days) > 0 {
		if other, _, err = pipeline.Closes(ctx, s, v.Other, &days[0].TS, &days[len(days)-1].TS); err != nil {
			return err
		}
	}
	v.Plots = append(drawSheet(sheet.Sheet, days, v.Other, other, v.Log), drawRolling(sheet.Risk.RollingDays, days)...)
	if trades.Symbol != "" && len(days) > 0 {
		if v.Price, err = p.drawTrades(r, s, sheet, trades.Symbol, &days[0].TS, &days[len(days)-1].TS); err != nil {
			return err
		}
	}
	v.List = newTradeList(r, sheet.RunID, trades, sheet.Trades, sheet.Matching)
	v.CompareWith = sheet.Weights.Names
	return p.show(w, r, view{
		File: "research_backtest.html", Title: sheet.StrategyID + " " + quant.ShortID(sheet.RunID), Section: "/backtests", Scripts: plotScripts(), Styles: plotStyles(), Data: v,
	})
}

// backtestTrades answers with the table of trades alone.
func (p *pages) backtestTrades(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	q, err := tradeQuery(r)
	if err != nil {
		return err
	}
	sheet, err := pipeline.ReadTrades(r.Context(), s, r.PathValue("run"), q)
	if err != nil {
		return err
	}
	// Its links lead to the page.
	page := *r
	u := *r.URL
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/trades"), ""
	page.URL = &u
	return p.part(w, r, "research_backtest.html", "trades", newTradeList(&page, sheet.RunID, q, sheet.Trades, sheet.Matching))
}

func newTradeList(r *http.Request, run string, q tearsheet.TradeQuery, list []tearsheet.Trade, matching int64) tradeList {
	return tradeList{run, list, newPager(r, "trades", q.From, len(list), tradeSize, matching, "trade"), q.Symbol, q.Order, []string{"entry", "exit", "pnl", "pnl_pct"}}
}

// measuresOf are the figures that the report has.
func measuresOf(s *tearsheet.Sheet) []sheetMeasure {
	m := s.Measured
	var b tearsheet.Performance
	if m.Benchmark != nil {
		b = m.Benchmark.Performance
	}
	list := []sheetMeasure{
		{"total return", percentText(m.TotalReturn), percentText(b.TotalReturn)}, {"CAGR", percentText(m.CAGR), percentText(b.CAGR)}, {"volatility", percentText(m.Vol), percentText(b.Vol)},
		{"Sharpe", figureText(m.Sharpe), figureText(b.Sharpe)}, {"Sortino", figureText(m.Sortino), figureText(b.Sortino)}, {"Calmar", figureText(m.Calmar), figureText(b.Calmar)},
		{"max drawdown", percentText(m.MaxDD), percentText(b.MaxDD)}, {"skew", figureText(m.Skew), figureText(b.Skew)}, {"kurtosis", figureText(m.Kurtosis), figureText(b.Kurtosis)},
		{"turnover a year", percentText(m.Turnover), ""}, {"average exposure", percentText(m.AvgExposure), ""}, {"trades", figureText(m.NumTrades), ""},
		{"win rate", percentText(m.WinRate), ""}, {"average trade", figureText(m.AvgTrade), ""}, {"fees", figureText(m.Fees), ""}, {"slippage", figureText(m.Slippage), ""},
		{"interest", figureText(m.Interest), ""}, {"final equity", figureText(m.FinalEquity), figureText(b.FinalEquity)},
	}
	if book := m.Book; book != nil {
		list = slices.Insert(list, len(list)-1, bookMeasures(book)...)
	}
	if m.Benchmark == nil {
		for i := range list {
			list[i].Benchmark = ""
		}
	}
	return list
}

// bookMeasures are the figures of an account that is not filled whole at the close, or
// may be short.
func bookMeasures(b *tearsheet.Book) []sheetMeasure {
	list := []sheetMeasure{{"filled at the", b.Price, ""}}
	if b.MaxVolumeShare > 0 {
		list = append(list, sheetMeasure{"filled of what was ordered", percentText(b.FilledShare), ""})
	}
	if b.Impact > 0 {
		list = append(list, sheetMeasure{"impact", figureText(b.ImpactCost), ""})
	}
	if b.Side == backtest.SideLongShort {
		list = append(list, sheetMeasure{"average gross exposure", percentText(b.AvgGross), ""}, sheetMeasure{"average net exposure", percentText(b.AvgNet), ""},
			sheetMeasure{"made by longs", figureText(b.LongPnL), ""}, sheetMeasure{"made by shorts", figureText(b.ShortPnL), ""},
			sheetMeasure{"borrow fees", figureText(b.Borrow), ""}, sheetMeasure{"margin calls", figureText(b.MarginCalls), ""})
	}
	return list
}

// drawSheet draws equity, drawdown and weights of days.
func drawSheet(s *tearsheet.Sheet, days []tearsheet.Day, otherName string, other []pipeline.ClosePrice, log bool) []*plotFigure {
	if len(days) < 2 {
		return nil
	}
	dates := make([]quant.Date, len(days))
	for i, d := range days {
		dates[i] = d.TS
	}
	lines := []plotLine{{Name: s.StrategyID, Color: "c1"}}
	of := []func(i int) any{func(i int) any { return short6(days[i].Equity) }}
	if s.Benchmark != "" && s.Measured.Benchmark != nil {
		lines, of = append(lines, plotLine{Name: "benchmark " + s.Measured.Benchmark.Name, Color: "c2", Kind: dashLine}), append(of, func(i int) any { return shortOf(days[i].Benchmark) })
	}
	if len(other) > 0 {
		// Rebased: what the account had on the first day that has a close.
		at := make(map[quant.Date]float64, len(other))
		for _, c := range other {
			at[c.TS] = c.Close
		}
		scale := 0.0
		for _, d := range days {
			if c := at[d.TS]; c > 0 {
				scale = d.Equity / c
				break
			}
		}
		lines, of = append(lines, plotLine{Name: otherName + ", rebased", Color: "c3", Kind: dashLine}), append(of, func(i int) any {
			if c, traded := at[days[i].TS]; traded && scale > 0 {
				return short6(c * scale)
			}
			return nil
		})
	}
	equity := &plotFigure{Title: "Equity", factPlot: overDays(dates, lines, of)}
	equity.Height, equity.Sync, equity.Log = 280, "sheet", log
	equity.Shown = thinnedText(len(equity.X), len(days), "session")
	for _, l := range equity.Lines {
		equity.Summary += lineEnds(l.Name, l.Y) + ". "
	}
	depth := &plotFigure{Title: "Drawdown", factPlot: overDays(dates, []plotLine{{Name: "drawdown", Color: "bad", Kind: areaLine}}, []func(i int) any{func(i int) any { return short6(days[i].Drawdown) }})}
	depth.Height, depth.Unit, depth.Sync = 140, "%", "sheet"
	depth.Shown = thinnedText(len(depth.X), len(days), "session")
	depth.Summary = "deepest " + percentText(deepestOf(days))
	return append([]*plotFigure{equity, depth}, drawWeights(s, dates))
}

// drawRolling draws the rolling figures of days, where there are at least two.
func drawRolling(list []tearsheet.RollingDay, days []tearsheet.Day) (plots []*plotFigure) {
	if len(days) == 0 {
		return nil
	}
	first, last := days[0].TS, days[len(days)-1].TS
	list = slices.DeleteFunc(slices.Clone(list), func(d tearsheet.RollingDay) bool { return d.TS < first || d.TS > last })
	dates := make([]quant.Date, len(list))
	for i, d := range list {
		dates[i] = d.TS
	}
	for _, figure := range []struct {
		title string
		pick  func(tearsheet.RollingDay) (half, year *float64)
	}{
		{"Rolling Sharpe ratio", func(d tearsheet.RollingDay) (half, year *float64) { return d.Sharpe126, d.Sharpe252 }},
		{"Rolling beta", func(d tearsheet.RollingDay) (half, year *float64) { return d.Beta126, d.Beta252 }},
	} {
		known := 0
		low, high := math.Inf(1), math.Inf(-1)
		for _, d := range list {
			if half, _ := figure.pick(d); half != nil {
				known, low, high = known+1, min(low, *half), max(high, *half)
			}
		}
		if known < 2 {
			continue
		}
		lines := []plotLine{{Name: "252 sessions", Color: "c1"}, {Name: "126 sessions", Color: "c2", Kind: dashLine}}
		d := &plotFigure{Title: figure.title, factPlot: overDays(dates, lines, []func(i int) any{
			func(i int) any { _, year := figure.pick(list[i]); return shortOf(year) },
			func(i int) any { half, _ := figure.pick(list[i]); return shortOf(half) },
		})}
		d.Height, d.Sync = 140, "sheet"
		d.Shown = thinnedText(len(d.X), len(list), "session")
		d.Summary = "over 126 sessions from " + figureText(low) + " to " + figureText(high)
		plots = append(plots, d)
	}
	return plots
}

func deepestOf(days []tearsheet.Day) *float64 {
	low := 0.0
	for _, d := range days {
		low = min(low, d.Drawdown)
	}
	return &low
}

// drawWeights draws the weights of days, one on the other.
func drawWeights(s *tearsheet.Sheet, dates []quant.Date) *plotFigure {
	at := slices.IndexFunc(s.Days, func(d tearsheet.Day) bool { return d.TS == dates[0] })
	weights := slices.Clone(s.Weights.Days)
	names := slices.Clone(s.Weights.Names)
	if s.Weights.Others != nil {
		weights, names = append(weights, s.Weights.Others), append(names, fmt.Sprintf("%d others", s.Weights.NOthers))
	}
	if !s.Weights.Short { // else they are no parts of a whole
		weights, names = append(weights, s.Weights.Cash), append(names, "cash")
	}
	d := &plotFigure{Title: "Weights by day"}
	d.Time, d.Stack, d.Height, d.Unit, d.Sync = true, !s.Weights.Short, 220, "%", "sheet"
	// Evenly: the extremes of one name are not those of another.
	const most = plotPoints / 2
	n := len(dates)
	for k := range names {
		color := fmt.Sprintf("c%d", k%8+1)
		if k == len(names)-1 && !s.Weights.Short {
			color = "line"
		}
		d.Lines = append(d.Lines, plotLine{Name: names[k], Color: color})
	}
	for j := range min(n, most) {
		i := j
		if n > most {
			i = j * (n - 1) / (most - 1)
		}
		d.X = append(d.X, secondsOf(dates[i]))
		for k := range names {
			d.Lines[k].Y = append(d.Lines[k].Y, short6(weights[k][at+i]))
		}
	}
	if n > most {
		d.Shown = thousands(most) + " of " + thousands(int64(n)) + " sessions shown, evenly spaced"
	}
	d.Summary = "mean weights: "
	for k, name := range s.Weights.Names {
		d.Summary += name + " " + percentText(&s.Weights.Mean[k]) + ", "
	}
	d.Summary = strings.TrimSuffix(d.Summary, ", ")
	return d
}

// markTrades is how many trades are marked on a price at most.
const markTrades = 400

// drawTrades draws the price of a symbol with the trades of the backtest on it.
func (p *pages) drawTrades(r *http.Request, s *session.Session, sheet pipeline.OpenSheet, symbol string, from, to *quant.Date) (*plotFigure, error) {
	closes, adjusted, err := pipeline.Closes(r.Context(), s, symbol, from, to)
	if quant.CodeOf(err) == quant.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := pipeline.ReadTrades(r.Context(), s, sheet.RunID, tearsheet.TradeQuery{Symbol: symbol, Size: markTrades})
	if err != nil || len(closes) == 0 {
		return nil, err
	}
	basis := "close"
	if adjusted {
		basis = "adjusted close"
	}
	d := &plotFigure{Title: "Trades on the price of " + symbol}
	d.Time, d.Height, d.Sync = true, 260, "sheet"
	of := make(map[quant.Date]float64, len(closes))
	for _, c := range closes {
		of[c.TS] = c.Close
	}
	d.Lines = []plotLine{{Name: symbol + ", " + basis, Color: "c1"}}
	for _, i := range chart.Thin(len(closes), plotPoints, func(i int) float64 { return closes[i].Close }) {
		d.X, d.Lines[0].Y = append(d.X, secondsOf(closes[i].TS)), append(d.Lines[0].Y, short6(closes[i].Close))
	}
	for _, t := range all.Trades {
		if y, shown := of[t.EntryTS]; shown {
			d.Marks = append(d.Marks, plotMark{secondsOf(t.EntryTS), short6(y), "entry", fmt.Sprintf("in %s at %s", t.EntryTS, figureText(t.EntryPrice))})
		}
		if t.ExitTS == nil {
			continue
		}
		if y, shown := of[*t.ExitTS]; shown {
			d.Marks = append(d.Marks, plotMark{secondsOf(*t.ExitTS), short6(y), "exit", fmt.Sprintf("out %s at %s, %s", t.ExitTS, figureText(t.ExitPrice), percentText(t.PnLPct))})
		}
	}
	d.Shown = thinnedText(len(d.X), len(closes), "session")
	if all.Matching > int64(len(all.Trades)) {
		d.Shown += fmt.Sprintf(" The first %d of %s trades are marked.", len(all.Trades), thousands(all.Matching))
	}
	d.Summary = lineEnds(symbol, d.Lines[0].Y) + fmt.Sprintf(", %d marks", len(d.Marks))
	return d, nil
}
