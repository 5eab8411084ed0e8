package tearsheet

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"quant"
	"quant/internal/chart"

	_ "embed"
)

var (
	//go:embed sheet.html
	pageText string
	//go:embed sheet.css
	ownStyle string
	// letters is the font of pictures, with the letters that a figure needs.
	// Origin: letters.md.
	//go:embed letters.woff2
	letters string
	// styleText is the whole style of the page.
	styleText = sync.OnceValue(func() string {
		return `@font-face { font-family: "quant figures"; src: url(data:font/woff2;base64,` + base64.StdEncoding.EncodeToString([]byte(letters)) + `) format("woff2"); }` + "\n" + ownStyle
	})
)

// Limits of the page: a tear sheet is read by a person. What is left out is
// counted, and stands in backtest_trades.
const (
	ExtremeTrades = 10   // best and worst trades shown
	MaxTrades     = 2000 // of all trades
)

var page = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("sheet").Funcs(template.FuncMap{"tradeTable": newTradeTable}).Parse(pageText))
})

// HTML writes the sheet as one page that needs nothing else: no script, no
// network, style and charts inline, and a content security policy that holds
// it to that. Everything is escaped. The same sheet gives the same bytes.
func (s *Sheet) HTML(w io.Writer) error {
	style := styleText()
	sum := sha256.Sum256([]byte(style))
	return page().Execute(w, view{
		Sheet: s, Style: template.CSS(style),
		Policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; font-src data:; base-uri 'none'; form-action 'none'",
	})
}

// view is the sheet as the template asks for it.
type view struct {
	*Sheet
	Style  template.CSS // our own file, not data
	Policy string
}

// Number is a value as a person reads it, and in full.
type Number struct{ Text, Full string }

// Missing marks a number that cannot be said.
const Missing = "\u2013"

func number(v *float64, show func(float64) string) Number {
	if v == nil {
		return Number{Text: Missing}
	}
	return Number{show(*v), strconv.FormatFloat(*v, 'g', -1, 64)}
}

func count(n int64) *float64 { f := float64(n); return &f }

func decimals2(v float64) string { return fixed(v, 2) }

// whole is a number without decimals.
func whole(v float64) string { return thousands(chart.Unsigned(strconv.FormatFloat(v, 'f', 0, 64))) }

func hundredths(v float64) string { return fixed(v*100, 1) }

func signed(v float64) string {
	text := fixed(v*100, 1)
	if v > 0 && strings.ContainsAny(text, "123456789") {
		return "+" + text
	}
	return text
}

// Headline is one of the figures at the top.
type Headline struct {
	Name  string
	Value Number
	Note  string
}

func (v view) Headlines() []Headline {
	m := v.Measured
	against := func(pick func(Performance) *float64, show func(float64) string) string {
		if m.Benchmark == nil {
			return ""
		}
		return "benchmark " + number(pick(m.Benchmark.Performance), show).Text
	}
	final := m.FinalEquity
	if final == nil && len(v.Days) > 0 {
		final = &v.Days[len(v.Days)-1].Equity
	}
	out := []Headline{
		{"Final equity", number(final, whole), "from " + amount(v.InitialCapital)},
		{"CAGR", number(m.CAGR, percent), against(func(p Performance) *float64 { return p.CAGR }, percent)},
		{"Sharpe", number(m.Sharpe, decimals2), against(func(p Performance) *float64 { return p.Sharpe }, decimals2)},
		{"Max drawdown", number(m.MaxDD, percent), against(func(p Performance) *float64 { return p.MaxDD }, percent)},
		{"Volatility", number(m.Vol, percent), against(func(p Performance) *float64 { return p.Vol }, percent)},
	}
	if d := v.Deflation; d != nil {
		out = append(out, Headline{"Deflated Sharpe", number(d.DSR, probability), "probability, " + quant.Count(int(d.Trials), "recorded trial")})
	}
	return out
}

// probability never rounds a doubt away.
func probability(v float64) string {
	switch {
	case v > 0.999 && v < 1:
		return "> 99.9\u00a0%"
	case v > 0 && v < 0.001:
		return "< 0.1\u00a0%"
	}
	return percent(v)
}

// OtherNotices are the notices that no stamp says already.
func (v view) OtherNotices() []string {
	caveats := []string{"in-sample", "known at:", "optimistic", "unadjusted", "universe fixed", "short sample"}
	return slices.DeleteFunc(slices.Clone(v.Notices), func(notice string) bool {
		low := strings.ToLower(notice)
		return slices.ContainsFunc(caveats, func(s string) bool { return strings.Contains(low, s) })
	})
}

func (v view) Sessions() string { return quant.Count(len(v.Days), "session") }

// Measure is one row of the table of metrics.
type Measure struct {
	Name, Definition string
	Columns          []Number // strategy, then the benchmark if there is one
}

func (v view) Metrics() []Measure {
	var out []Measure
	m := v.Measured
	add := func(name, definition string, show func(float64) string, pick func(Performance) *float64) {
		row := Measure{Name: name, Definition: definition, Columns: []Number{number(pick(m.Performance), show)}}
		if m.Benchmark != nil {
			row.Columns = append(row.Columns, number(pick(m.Benchmark.Performance), show))
		}
		out = append(out, row)
	}
	add("Total return", "last equity / initial capital \u2212 1", percent, func(p Performance) *float64 { return p.TotalReturn })
	add("CAGR", "(1 + total return)^(252/n) \u2212 1", percent, func(p Performance) *float64 { return p.CAGR })
	add("Volatility", "sample deviation \u00d7 \u221a252", percent, func(p Performance) *float64 { return p.Vol })
	add("Sharpe ratio", "mean / deviation \u00d7 \u221a252", decimals2, func(p Performance) *float64 { return p.Sharpe })
	add("Sortino ratio", "mean / downside deviation \u00d7 \u221a252", decimals2, func(p Performance) *float64 { return p.Sortino })
	add("Calmar ratio", "CAGR / depth of the maximum drawdown", decimals2, func(p Performance) *float64 { return p.Calmar })
	add("Maximum drawdown", "deepest fall from a peak", percent, func(p Performance) *float64 { return p.MaxDD })
	add("Skewness", "of the session returns", decimals2, func(p Performance) *float64 { return p.Skew })
	add("Kurtosis", "3 for a normal distribution", decimals2, func(p Performance) *float64 { return p.Kurtosis })
	return out
}

// Account is what only the strategy has.
func (v view) Account() []Measure {
	m := v.Measured
	one := func(name, definition string, n Number) Measure {
		return Measure{name, definition, []Number{n}}
	}
	out := []Measure{
		one("Turnover a year", "max(buys, sells) / equity, first purchase apart", number(m.Turnover, percent)),
		one("Mean exposure", "positions / equity", number(m.AvgExposure, percent)),
		one("Trades", "positions, from flat to flat", number(count(m.NumTrades), whole)),
		one("Win rate", "share of the trades with a profit", number(m.WinRate, percent)),
		one("Average trade", "profit or loss, in currency", number(m.AvgTrade, amount)),
		one("Fees", fixedTrim(v.FeeBps)+" bps of what is traded", number(m.Fees, amount)),
		one("Slippage", fixedTrim(v.SlippageBps)+" bps of what is traded", number(m.Slippage, amount)),
	}
	if b := m.Book; b != nil {
		add := func(when bool, name, definition string, n Number) {
			if when {
				out = append(out, one(name, definition, n))
			}
		}
		short := b.Side == "long_short"
		add(true, "Filled at", "price of the session", Number{Text: "the " + b.Price})
		add(b.MaxVolumeShare > 0, "Filled share", "of what was ordered, at most "+percent0(b.MaxVolumeShare)+" of a session\u2019s volume", number(b.FilledShare, percent))
		add(b.Impact > 0, "Impact", fixedTrim(b.Impact)+" \u00d7 daily volatility \u00d7 \u221a(value / average daily value)", number(&b.ImpactCost, amount))
		add(short, "Mean gross exposure", "longs and shorts / equity", number(b.AvgGross, percent))
		add(short, "Mean net exposure", "longs less shorts / equity", number(b.AvgNet, percent))
		add(short, "Made by longs", "after costs, in currency", number(&b.LongPnL, amount))
		add(short, "Made by shorts", "after costs, before borrow fees", number(&b.ShortPnL, amount))
		add(short, "Borrow fees", fixedTrim(b.BorrowBps)+" bps a year of what is short", number(&b.Borrow, amount))
		add(short, "Margin calls", "equity below "+percent0(b.MarginMaintenance)+" of longs and shorts", number(count(b.MarginCalls), whole))
	}
	if m.Interest != nil && *m.Interest != 0 {
		out = append(out, one("Interest on cash", percent0(v.CashRate)+" a year", number(m.Interest, amount)))
	}
	if m.Dropped+m.Gaps+m.Delisted > 0 {
		out = append(out,
			one("Orders dropped", "no bar at the fill", number(count(m.Dropped), whole)),
			one("Gaps", "position-sessions valued at the last price", number(count(m.Gaps), whole)),
			one("Delisted", "positions closed for want of prices", number(count(m.Delisted), whole)))
	}
	return out
}

func fixedTrim(v float64) string { return chart.Plain(chart.Round(v, 4)) }

// Judged is the deflated Sharpe ratio with what it is made of.
func (v view) Judged() []Measure {
	d := v.Deflation
	if d == nil {
		return nil
	}
	row := func(name, definition string, n Number) Measure { return Measure{name, definition, []Number{n}} }
	year := math.Sqrt(252)
	hurdle := d.ExpectedMaximum * year
	out := []Measure{
		row("Trials recorded", "distinct backtests of this strategy and of its sweeps", number(count(d.Trials), whole)),
		row("Expected best by chance", "yearly Sharpe ratio that the best of so many trials without skill would have", number(&hurdle, decimals2)),
		row("Probabilistic Sharpe ratio", "probability that the true ratio is above 0", number(d.PSR, probability)),
		row("Deflated Sharpe ratio", "probability that the true ratio is above the best by chance", number(d.DSR, probability)),
		row("Minimum track record", "returns until the probabilistic ratio is 95 %; there are "+whole(float64(d.Returns)), number(d.MinTrackRecord, whole)),
	}
	c := v.Selection
	if c == nil {
		return out
	}
	if c.EffectiveTrials != nil {
		out = append(out,
			row("Effective trials", "independent ones, at a mean correlation of "+number(c.MeanCorrelation, decimals2).Text, number(c.EffectiveTrials, decimals2)),
			row("Deflated for these", "the deflated Sharpe ratio of so many", number(c.DSREffective, probability)))
	}
	if c.Combinations > 0 {
		out = append(out,
			row("Probability of backtest overfitting", "that the best of "+quant.Count(int(c.Compared), "trial")+" in one half of "+quant.Count(c.Sessions, "session")+" is in their lower half in the other", number(c.PBO, probability)),
			row("Probability of loss", "that the chosen one loses there", number(c.Loss, probability)))
	}
	if c.Tested > 1 {
		out = append(out,
			row("Significant trials", "of "+whole(float64(c.Tested))+", with a Sharpe ratio above 0 at 5 %", number(count(c.Significant), whole)),
			row("by Holm", "so that not one is false, at 5 %; this one's p "+number(c.PHolm, decimals4).Text, number(count(c.Holm), whole)),
			row("by Benjamini, Hochberg and Yekutieli", "so that at most 5 % of them are false; this one's p "+number(c.PBHY, decimals4).Text, number(count(c.BHY), whole)))
	}
	return out
}

func decimals4(v float64) string { return fixed(v, 4) }

// Cell is a number with its shade: "" or n5 (lowest) to n1, p1 to p5 (highest).
type Cell struct {
	Number
	Shade string
}

// shade is the class of v where largest is the largest magnitude.
func shade(v *float64, largest float64) string {
	if v == nil || largest == 0 || *v == 0 {
		return ""
	}
	level := strconv.Itoa(int(min(5, max(1, math.Ceil(5*math.Abs(*v)/largest)))))
	if *v < 0 {
		return "n" + level
	}
	return "p" + level
}

func largest(values []*float64) float64 {
	out := 0.0
	for _, v := range values {
		if v != nil {
			out = max(out, math.Abs(*v))
		}
	}
	return out
}

// YearRow is a year of the heat map.
type YearRow struct {
	Year   string
	Months []Cell
	Total  Cell
}

func (v view) MonthRows() []YearRow {
	var all, totals []*float64
	for _, y := range v.Months {
		all, totals = append(all, y.Month[:]...), append(totals, &y.Total)
	}
	top, topYear := largest(all), largest(totals)
	var out []YearRow
	for _, y := range v.Months {
		row := YearRow{Year: strconv.Itoa(y.Year), Total: Cell{number(&y.Total, signed), shade(&y.Total, topYear)}}
		for _, m := range y.Month {
			cell := Cell{Number{}, ""}
			if m != nil {
				cell = Cell{number(m, signed), shade(m, top)}
			}
			row.Months = append(row.Months, cell)
		}
		out = append(out, row)
	}
	return out
}

func (v view) MonthNames() []string {
	return []string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}
}

// Grid is a heat map of one metric over lag and cost.
type Grid struct {
	Name  string
	Costs []string
	Rows  []GridRow
}

// GridRow is one lag.
type GridRow struct {
	Lag   string
	Cells []Cell
}

func (v view) Grids() []Grid {
	var lags []int64
	var costs []float64
	for _, s := range v.Sensitivity {
		lags, costs = append(lags, s.LagDays), append(costs, s.CostBps)
	}
	slices.Sort(lags)
	slices.Sort(costs)
	lags, costs = slices.Compact(lags), slices.Compact(costs)
	if len(lags) == 0 {
		return nil
	}
	grid := func(name string, show func(float64) string, pick func(Sensitivity) *float64) Grid {
		var all []*float64
		for _, s := range v.Sensitivity {
			all = append(all, pick(s))
		}
		top := largest(all)
		g := Grid{Name: name}
		for _, c := range costs {
			g.Costs = append(g.Costs, fixedTrim(c))
		}
		for _, lag := range lags {
			row := GridRow{Lag: strconv.FormatInt(lag, 10)}
			for _, cost := range costs {
				cell := Cell{Number{Text: Missing}, ""}
				for _, s := range v.Sensitivity {
					if s.LagDays == lag && s.CostBps == cost {
						cell = Cell{number(pick(s), show), shade(pick(s), top)}
					}
				}
				row.Cells = append(row.Cells, cell)
			}
			g.Rows = append(g.Rows, row)
		}
		return g
	}
	return []Grid{
		grid("CAGR, %", hundredths, func(s Sensitivity) *float64 { return s.CAGR }),
		grid("Sharpe ratio", decimals2, func(s Sensitivity) *float64 { return s.Sharpe }),
		grid("Maximum drawdown, %", hundredths, func(s Sensitivity) *float64 { return s.MaxDD }),
	}
}

// LagRow is the strategy at one lag.
type LagRow struct {
	Lag        string
	Optimistic bool
	Cells      []Number
}

func (v view) Lags() []LagRow {
	var out []LagRow
	for _, l := range v.Measured.Lags {
		out = append(out, LagRow{strconv.FormatInt(l.LagDays, 10), l.LagDays == 0, []Number{
			number(l.CAGR, percent), number(l.Vol, percent), number(l.Sharpe, decimals2), number(l.MaxDD, percent), number(l.Turnover, percent),
		}})
	}
	return out
}

// TradeRow is a trade as the page has it.
type TradeRow struct {
	Symbol, Entry, Exit, Reason string
	Qty, EntryPrice, ExitPrice  Number
	PnL, PnLPct, Fees, Slipped  Number
	Loss                        bool
}

// TradeTable is a table of trades and what a screen reader calls it.
type TradeTable struct {
	Label string
	Rows  []TradeRow
}

func newTradeTable(label string, rows []TradeRow) TradeTable { return TradeTable{label, rows} }

func row(t Trade) TradeRow {
	out := TradeRow{
		Symbol: t.Symbol, Entry: t.EntryTS.String(), Exit: Missing, Reason: t.Reason,
		Qty: number(&t.Qty, shares), EntryPrice: number(&t.EntryPrice, decimals2), ExitPrice: number(t.ExitPrice, decimals2),
		PnL: number(t.PnL, whole), PnLPct: number(t.PnLPct, percent), Fees: number(t.Fees, decimals2), Slipped: number(t.Slipped, decimals2),
		Loss: t.PnL != nil && *t.PnL < 0,
	}
	if t.ExitTS != nil {
		out.Exit = t.ExitTS.String()
	}
	return out
}

func shares(v float64) string {
	if v >= 1000 {
		return whole(v)
	}
	return fixed(v, 2)
}

// Extremes are the best and the worst trades by profit; no trade is both.
func (v view) Extremes() struct{ Best, Worst []TradeRow } {
	sorted := slices.Clone(v.Trades)
	sorted = slices.DeleteFunc(sorted, func(t Trade) bool { return t.PnL == nil })
	slices.SortStableFunc(sorted, func(a, b Trade) int { return cmp.Compare(*b.PnL, *a.PnL) })
	var out struct{ Best, Worst []TradeRow }
	for i := range min(ExtremeTrades, (len(sorted)+1)/2) {
		out.Best = append(out.Best, row(sorted[i]))
	}
	for i := range min(ExtremeTrades, len(sorted)/2) {
		out.Worst = append(out.Worst, row(sorted[len(sorted)-1-i]))
	}
	return out
}

func (v view) LotCount() int { return len(v.Trades) }

// TradesAndLots counts both: a trade is what num_trades counts, a position from
// flat to flat; a lot is a row of backtest_trades, and of the page's tables.
func (v view) TradesAndLots() string {
	return quant.Count(int(v.Measured.NumTrades), "trade") + ", positions from flat to flat, in " + quant.Count(len(v.Trades), "lot")
}

// AllTrades are the first MaxTrades trades.
func (v view) AllTrades() []TradeRow {
	var out []TradeRow
	for i := range min(len(v.Trades), MaxTrades) {
		out = append(out, row(v.Trades[i]))
	}
	return out
}

// DelistingRow is a position that was closed because its symbol had left the market.
type DelistingRow struct {
	Symbol, Whose, LastBar, ClosedOn, TradedAgain, Why string
	LastPrice, Return, PnL                             Number
	Loss                                               bool
}

// Delistings are the first MaxTrades of them.
func (v view) Delistings() []DelistingRow {
	var out []DelistingRow
	for _, d := range v.Measured.Delistings[:min(len(v.Measured.Delistings), MaxTrades)] {
		r := DelistingRow{
			Symbol: d.Symbol, Whose: "strategy", LastBar: d.LastBar.String(), ClosedOn: d.ClosedOn.String(), TradedAgain: Missing, Why: "no bars",
			LastPrice: number(&d.LastPrice, decimals2), Return: number(&d.Return, percent), PnL: number(&d.PnL, whole), Loss: d.PnL < 0,
		}
		if d.Benchmark {
			r.Whose = "benchmark"
		}
		if d.Cause == "known" {
			r.Why = "known"
			if d.Reason != "" {
				r.Why += ": " + string(d.Reason)
			}
		}
		if d.TradedAgain != nil {
			r.TradedAgain = d.TradedAgain.String()
		}
		out = append(out, r)
	}
	return out
}

// DelistingCount is how many there are.
func (v view) DelistingCount() int { return len(v.Measured.Delistings) }

// Fact is a line of the provenance.
type Fact struct{ Name, Value string }

func (v view) Provenance() []Fact {
	var out []Fact
	add := func(name, value string) {
		if value != "" {
			out = append(out, Fact{name, value})
		}
	}
	add("Run", v.RunID)
	add("Made", v.CreatedAt.String())
	add("Strategy file", v.StrategyDigest)
	add("Result", v.ResultDigest)
	add("Prices", strings.TrimSuffix(v.Basis+" basis, as of "+v.PricesAt.String(), ", as of "))
	add("Calendar", v.Calendar)
	add("Fill", "close of session +"+strconv.FormatInt(v.LagDays, 10)+" after the decision")
	add("Costs", fixedTrim(v.FeeBps)+" bps fees, "+fixedTrim(v.SlippageBps)+" bps slippage")
	add("Initial capital", amount(v.InitialCapital))
	add("Interest on cash", percent0(v.CashRate)+" a year")
	add("Benchmark", v.Benchmark)
	return out
}

// InputRow is something that the run read.
type InputRow struct{ Kind, Name, Rows, Range, Digest string }

func (v view) InputRows() []InputRow {
	var out []InputRow
	for _, in := range v.Inputs {
		if in.Direction != quant.In {
			continue
		}
		r := InputRow{Kind: in.Kind, Name: in.Name, Digest: string(in.Digest)}
		if in.Rows != nil {
			r.Rows = whole(float64(*in.Rows))
		}
		if in.FirstDate != "" {
			r.Range = string(in.FirstDate) + " to " + string(in.LastDate)
		}
		out = append(out, r)
	}
	return out
}

// Charts, as SVG.
func (v view) EquityChart() svg   { return newSVG(v.equity(), 320) }
func (v view) DrawdownChart() svg { return newSVG(v.drawdown(), 170) }
func (v view) WeightsChart() svg  { return newSVG(v.weights(), 280) }
