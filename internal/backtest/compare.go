package backtest

import (
	"fmt"
	"strconv"

	"quant"
)

// Overview is a backtest in a list.
type Overview struct {
	Summary
	Version      string     `json:"version"`
	LagDays      int64      `json:"lag_days"`
	Basis        string     `json:"basis"`
	Benchmark    quant.Text `json:"benchmark"`
	InSample     bool       `json:"in_sample"`
	ResultDigest string     `json:"result_digest"`
}

// Overview is what a list says of a backtest.
func (b Stored) Overview() Overview {
	return Overview{b.Summary, b.Version, b.LagDays, b.Basis, b.BenchmarkName, b.InSample, b.ResultDigest}
}

// Comparison is what was measured in backtests, and what they were made of, side
// by side.
type Comparison struct {
	Backtests []Stored       `json:"backtests"`
	Lines     []ComparedLine `json:"lines"`
}

// ComparedLine is one figure or setting in every backtest; nil is NULL.
type ComparedLine struct {
	Name   string    `json:"name"`
	Same   bool      `json:"same"`
	Values []*string `json:"values"`
}

// Compare lays backtests side by side.
func Compare(backtests []Stored) Comparison {
	c := Comparison{Backtests: backtests}
	add := func(name string, value func(b Stored) any) {
		l := ComparedLine{Name: name, Same: true}
		for i, b := range c.Backtests {
			l.Values = append(l.Values, written(value(b)))
			l.Same = l.Same && (i == 0 || sameText(l.Values[i], l.Values[0]))
		}
		c.Lines = append(c.Lines, l)
	}
	add("strategy_id", func(b Stored) any { return b.StrategyID })
	add("version", func(b Stored) any { return b.Version })
	add("strategy_digest", func(b Stored) any { return b.StrategyDigest })
	add("from_ts", func(b Stored) any { return b.FromTS })
	add("to_ts", func(b Stored) any { return b.ToTS })
	add("lag_days", func(b Stored) any { return b.LagDays })
	add("fee_bps", func(b Stored) any { return b.FeeBps })
	add("slippage_bps", func(b Stored) any { return b.SlippageBps })
	add("initial_capital", func(b Stored) any { return b.InitialCapital })
	add("cash_rate", func(b Stored) any { return b.CashRate })
	add("benchmark", func(b Stored) any { return string(b.BenchmarkName) })
	add("basis", func(b Stored) any { return b.Basis })
	add("calendar", func(b Stored) any { return b.Calendar })
	add("known_delistings", func(b Stored) any { return knownDigest(b.Known) })
	add("prices_at", func(b Stored) any { return b.PricesAt.String() })
	add("in_sample", func(b Stored) any { return b.InSample })
	c.addBooks(add)
	add("result_digest", func(b Stored) any { return b.ResultDigest })
	add("returns", func(b Stored) any { return b.Metrics.Returns })
	add("total_return", func(b Stored) any { return b.Metrics.TotalReturn })
	add("cagr", func(b Stored) any { return b.CAGR })
	add("vol", func(b Stored) any { return b.Vol })
	add("sharpe", func(b Stored) any { return b.Sharpe })
	add("sortino", func(b Stored) any { return b.Metrics.Sortino })
	add("calmar", func(b Stored) any { return b.Metrics.Calmar })
	add("max_dd", func(b Stored) any { return b.MaxDD })
	add("turnover", func(b Stored) any { return b.Turnover })
	add("num_trades", func(b Stored) any { return b.NumTrades })
	add("win_rate", func(b Stored) any { return b.WinRate })
	add("avg_trade", func(b Stored) any { return b.AvgTrade })
	add("final_equity", func(b Stored) any { return b.Metrics.FinalEquity })
	return c
}

// written is a value in full; nil for NULL.
func written(v any) *string {
	switch v := v.(type) {
	case *float64:
		if v == nil {
			return nil
		}
		return new(strconv.FormatFloat(*v, 'g', -1, 64))
	case float64:
		return new(strconv.FormatFloat(v, 'g', -1, 64))
	case *quant.Date:
		if v == nil {
			return nil
		}
		return new(v.String())
	case string:
		if v == "" {
			return nil
		}
		return &v
	default:
		return new(fmt.Sprint(v))
	}
}

func sameText(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }
