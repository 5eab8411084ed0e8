package backtest

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
)

// Replayed is a backtest that is not stored yet: its report, Outputs aside, and the
// rows of each table.
type Replayed struct {
	Report
	tables map[string][]factstore.Column // in the order of the table's columns
	facts  []quant.RunIO
}

// column of n rows, filled by set, which returns the value of row i.
func floats(name string, n int, set func(i int) float64) factstore.Column {
	c := factstore.Column{Name: name, Floats: make([]float64, n)}
	for i := range c.Floats {
		c.Floats[i] = set(i)
	}
	return c
}

func dates(name string, n int, set func(i int) *quant.Date) factstore.Column {
	c := factstore.Column{Name: name, Dates: make([]quant.Date, n)}
	for i := range c.Dates {
		if d := set(i); d != nil {
			c.Dates[i] = *d
			continue
		}
		if c.Nulls == nil {
			c.Nulls = make([]bool, n)
		}
		c.Nulls[i] = true
	}
	return c
}

// same is a column with one text in every row.
func same(name string, n int, text string) factstore.Column {
	return factstore.Column{Name: name, Texts: []string{text}, Numbers: make([]int32, n)}
}

// chosen is a column of texts, which number chooses for row i.
func chosen(name string, n int, texts []string, number func(i int) int32) factstore.Column {
	c := factstore.Column{Name: name, Texts: texts, Numbers: make([]int32, n)}
	for i := range c.Numbers {
		c.Numbers[i] = number(i)
	}
	return c
}

func orNaN(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}

func orNull(v *float64) func(int) float64         { return func(int) float64 { return orNaN(v) } }
func exactly(v float64) func(int) float64         { return func(int) float64 { return v } }
func orNoDay(d *quant.Date) func(int) *quant.Date { return func(int) *quant.Date { return d } }

// reasons are why a trade ended.
var reasons = []string{Closed, Reduced, Delisted, Open, MarginCall}

// arrange makes the rows of the tables, in the order of their columns, and their
// digests.
func (r *Replayed) arrange(result Result) {
	s, d := r.Summary, r.Details
	index, names := map[string]int32{}, []string{}
	number := func(symbol string) int32 {
		k, known := index[symbol]
		if !known {
			k = int32(len(names))
			index[symbol], names = k, append(names, symbol)
		}
		return k
	}
	var documents [3]string
	for i, v := range []any{d.Sensitivity, measuredText{d.Metrics, d.Delistings, d.Known, string(d.KnownAt)}, d.Notices} {
		text, _ := json.Marshal(v) // numbers, texts and dates: cannot fail; replay lets no NaN pass
		documents[i] = string(text)
	}
	text := func(name string, v quant.Text) factstore.Column {
		c := same(name, 1, string(v))
		if v == "" {
			c.Numbers[0] = -1
		}
		return c
	}
	bigint := func(name string, v int64) factstore.Column { return factstore.Column{Name: name, Bigints: []int64{v}} }
	prices := bigint("prices_at", 0)
	if d.PricesAt.IsZero() {
		prices.Nulls = []bool{true}
	} else {
		prices.Bigints[0] = d.PricesAt.UnixMicro()
	}
	days, held, trades := result.Days, result.Holdings, result.Trades
	n, h, t := len(days), len(held), len(trades)
	r.tables = map[string][]factstore.Column{
		factstore.BacktestSummary: {
			same("run_id", 1, s.RunID), same("strategy_id", 1, s.StrategyID), dates("from_ts", 1, orNoDay(s.FromTS)), dates("to_ts", 1, orNoDay(s.ToTS)),
			floats("cagr", 1, orNull(s.CAGR)), floats("sharpe", 1, orNull(s.Sharpe)), floats("max_dd", 1, orNull(s.MaxDD)), floats("vol", 1, orNull(s.Vol)),
			floats("turnover", 1, orNull(s.Turnover)), floats("win_rate", 1, orNull(s.WinRate)), floats("avg_trade", 1, orNull(s.AvgTrade)), bigint("num_trades", s.NumTrades),
			floats("fee_bps", 1, exactly(s.FeeBps)), floats("slippage_bps", 1, exactly(s.SlippageBps)),
		},
		factstore.BacktestDetails: {
			same("run_id", 1, s.RunID), same("strategy_id", 1, s.StrategyID), same("version", 1, d.Version), same("strategy_digest", 1, d.StrategyDigest),
			bigint("lag_days", d.LagDays), same("basis", 1, d.Basis), same("calendar", 1, d.Calendar), prices, text("benchmark", d.BenchmarkName),
			floats("initial_capital", 1, exactly(d.InitialCapital)), floats("cash_rate", 1, exactly(d.CashRate)), {Name: "in_sample", Booleans: []bool{d.InSample}},
			dates("universe_fixed_at", 1, orNoDay(d.UniverseFixedAt)), same("result_digest", 1, d.ResultDigest),
			same("sensitivity_json", 1, documents[0]), same("metrics_json", 1, documents[1]), same("notices_json", 1, documents[2]), same("trial_digest", 1, string(d.TrialDigest)),
		},
		factstore.BacktestEquity: {
			same("run_id", n, s.RunID), dates("ts", n, func(i int) *quant.Date { return &days[i].TS }), floats("equity", n, func(i int) float64 { return days[i].Equity }),
			floats("cash", n, func(i int) float64 { return days[i].Cash }), floats("positions", n, func(i int) float64 { return days[i].Positions }),
			floats("ret", n, func(i int) float64 { return orNaN(days[i].Ret) }), floats("drawdown", n, func(i int) float64 { return days[i].Drawdown }),
			floats("turnover", n, func(i int) float64 { return days[i].Turnover }), floats("costs", n, func(i int) float64 { return days[i].Costs }),
			floats("benchmark", n, func(i int) float64 { return orNaN(days[i].Benchmark) }),
		},
	}
	heldOf := make([]int32, h)
	for i := range held {
		heldOf[i] = number(held[i].Symbol)
	}
	tradedOf := make([]int32, t)
	for i := range trades {
		tradedOf[i] = number(trades[i].Symbol)
	}
	r.tables[factstore.BacktestPositions] = []factstore.Column{
		same("run_id", h, s.RunID), dates("ts", h, func(i int) *quant.Date { return &held[i].TS }), {Name: "symbol", Texts: names, Numbers: heldOf},
		floats("qty", h, func(i int) float64 { return held[i].Qty }), floats("price", h, func(i int) float64 { return held[i].Price }),
		floats("value", h, func(i int) float64 { return held[i].Value }), floats("weight", h, func(i int) float64 { return held[i].Weight }),
	}
	r.tables[factstore.BacktestTrades] = []factstore.Column{
		same("run_id", t, s.RunID), same("strategy_id", t, s.StrategyID), {Name: "symbol", Texts: names, Numbers: tradedOf},
		dates("entry_ts", t, func(i int) *quant.Date { return &trades[i].EntryTS }), floats("entry_price", t, func(i int) float64 { return trades[i].EntryPrice }),
		floats("qty", t, func(i int) float64 { return trades[i].Qty }), dates("exit_ts", t, func(i int) *quant.Date { return trades[i].ExitTS }),
		floats("exit_price", t, func(i int) float64 { return trades[i].ExitPrice }), floats("pnl", t, func(i int) float64 { return trades[i].PnL }),
		floats("pnl_pct", t, func(i int) float64 { return trades[i].PnLPct }), floats("fees", t, func(i int) float64 { return trades[i].Fees }),
		floats("slippage_est", t, func(i int) float64 { return trades[i].Slippage }),
		chosen("reason", t, reasons, func(i int) int32 { return int32(slices.Index(reasons, trades[i].Reason)) }),
	}
	for _, of := range stored {
		excluded := strings.Split(of.exclude, ", ")
		var digested []factstore.Column
		for _, c := range r.tables[of.table] {
			if !slices.Contains(excluded, c.Name) {
				digested = append(digested, c)
			}
		}
		rows, digest := factstore.RowDigest(digested...)
		io := quant.RunIO{Direction: quant.Out, Kind: quant.IOTable, Name: of.table, Rows: &rows, Digest: quant.Text(digest)}
		if r.FromTS != nil {
			io.FirstDate, io.LastDate = quant.Text(r.FromTS.String()), quant.Text(r.ToTS.String())
		}
		r.facts = append(r.facts, io)
	}
}

// Rows is how many rows are to be stored.
func (r *Replayed) Rows() int {
	n := 0
	for _, columns := range r.tables {
		n += rowsOf(columns)
	}
	return n
}

func rowsOf(columns []factstore.Column) int { return len(columns[0].Numbers) }

// StoreAll stores backtests of runs that have stored none, all of them in one
// transaction or none, as Run would store each, and sets their Outputs.
func StoreAll(ctx context.Context, db *factstore.DB, list []*Replayed) error {
	runs := make([]string, len(list))
	for i, r := range list {
		runs[i] = r.RunID
	}
	_, err := db.WriteAll(ctx, runs, func(ctx context.Context, txs []*factstore.Tx) error {
		for i, tx := range txs {
			list[i].CreatedAt = quant.NewTime(tx.Now)
		}
		insert := func() error {
			for _, of := range stored {
				rows := make([][]factstore.Column, len(list))
				for i, r := range list {
					rows[i] = r.tables[of.table]
				}
				if err := factstore.InsertColumns(ctx, db, txs, of.table, rows); err != nil {
					return err
				}
			}
			return nil
		}
		if len(list) == 1 {
			// In their order: what is left of the last row group stands at the end then, and
			// what is stored next does not write the others again.
			return insert()
		}
		return db.Unordered(ctx, insert)
	})
	if err != nil {
		return err
	}
	for _, r := range list {
		r.Outputs, r.tables = r.facts, nil
	}
	return nil
}

// StoredTables are the tables of a backtest, in the order in which StoreAll fills them.
func StoredTables() []string {
	tables := make([]string, len(stored))
	for i, of := range stored {
		tables[i] = of.table
	}
	return tables
}

// Staged hands out the rows of the tables, for somebody else to store in the place of
// StoreAll, and sets Outputs as that does.
func (r *Replayed) Staged() map[string][]factstore.Column {
	tables := r.tables
	r.Outputs, r.tables = r.facts, nil
	return tables
}
