package tearsheet

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"testing"
	"time"

	"quant"
	"quant/internal/factstore"
)

// market is a made up backtest: what its tables hold.
type market struct {
	strategyID string
	symbols    []string
	days       int
	benchmark  bool
	lag        int64
	basis      string
}

func ordinary() market {
	return market{"momentum_demo", []string{"AAPL", "MSFT", "IBM", "GOOG", "FB", "005930.KS", "BRK.B", "XOM", "KO", "삼성전자"}, 1300, true, 0, "adjusted"}
}

const runID = "01997e4c-5a00-7000-8000-00000000abcd"

// store writes the market's tables as a backtest would, and returns the
// database.
func (m market) store(t *testing.T) *factstore.DB {
	t.Helper()
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{
		Path: filepath.Join(t.TempDir(), "f.duckdb"),
		Now:  func() time.Time { return time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	ctx := t.Context()
	fill := func(table string, rows [][]driver.Value) {
		t.Helper()
		if _, err := db.Stage(ctx, fmt.Sprintf("CREATE TEMP TABLE new_%s AS FROM %s LIMIT 0", table, table)); err != nil {
			t.Fatal(err)
		}
		err := db.Append(ctx, "new_"+table, func(row func(...driver.Value) error) error {
			for _, r := range rows {
				if err := row(r...); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(table, err)
		}
		_, err = db.Write(ctx, runID, func(ctx context.Context, tx *factstore.Tx) error {
			_, err := tx.Insert(ctx, table, "FROM temp.main.new_"+table)
			return err
		})
		if err != nil {
			t.Fatal(table, err)
		}
	}
	first, _ := quant.ParseDate("2019-01-02")
	equity, other, peak := 1e6, 1e6, 1e6
	var account, positions, trades [][]driver.Value
	ts := first
	for i := range m.days {
		x := float64(i)
		ret := 0.0006 + 0.011*math.Sin(x*2.399) + 0.004*math.Sin(x/90)
		var r driver.Value
		if i > 0 {
			equity *= 1 + ret
			other *= 1 + 0.0004 + 0.009*math.Sin(x*2.1+1) + 0.003*math.Sin(x/120)
			r = ret
		}
		peak = max(peak, equity)
		cash := equity * (0.08 + 0.07*math.Sin(x/200))
		var b driver.Value
		if m.benchmark {
			b = other
		}
		account = append(account, []driver.Value{runID, ts, equity, cash, equity - cash, r, equity/peak - 1, 0.02, 1.5, b})
		total := 0.0
		share := make([]float64, len(m.symbols))
		for k := range m.symbols {
			share[k] = max(0, 1/float64(k+1)+0.3*math.Sin(x/60+float64(k)))
			total += share[k]
		}
		for k, symbol := range m.symbols {
			if share[k] > 0 {
				value := share[k] / total * (equity - cash)
				positions = append(positions, []driver.Value{runID, ts, symbol, value / 50, 50.0, value, value / equity})
			}
		}
		if i%9 == 0 && len(m.symbols) > 0 {
			pnl := 9000 * math.Sin(x/3)
			var exit driver.Value = ts + 20
			reason := "CLOSED"
			if i+20 > m.days {
				exit, reason = nil, "OPEN"
			}
			trades = append(trades, []driver.Value{runID, m.strategyID, m.symbols[i/9%len(m.symbols)], ts, 50 + math.Sin(x)*5, 1234.5, exit, 55.25, pnl, pnl / 1e5, 3.5, 1.25, reason})
		}
		ts++
		for ts.Time().Weekday() == time.Saturday || ts.Time().Weekday() == time.Sunday {
			ts++
		}
	}
	fill("backtest_equity", account)
	fill("backtest_positions", positions)
	fill("backtest_trades", trades)
	var from, to driver.Value
	if m.days > 0 {
		from, to = first, account[len(account)-1][1]
	}
	fill("backtest_summary", [][]driver.Value{{runID, m.strategyID, from, to, 0.1234567891, 0.987654321, -0.2345678, 0.1777, 3.21, 0.55, 120.5, int64(len(trades)), 10.0, 5.0, time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC)}})
	measured := map[string]any{
		"returns": max(0, m.days-1), "total_return": equity/1e6 - 1, "cagr": 0.1234567891, "vol": 0.1777, "sharpe": 0.987654321, "sortino": 1.31, "calmar": 0.52,
		"max_dd": -0.2345678, "skew": -0.41, "kurtosis": 5.2, "final_equity": equity, "turnover": 3.21, "avg_exposure": 0.92, "fees": 4321.09, "slippage": 2160.5,
		"interest": 0, "num_trades": len(trades), "win_rate": 0.55, "avg_trade": 120.5, "decisions": 260, "dropped": 2, "gaps": 3, "delisted": 0,
		"lags": []any{
			map[string]any{"lag_days": 0, "cagr": 0.1234567891, "vol": 0.1777, "sharpe": 0.987654321, "max_dd": -0.2345678, "turnover": 3.21},
			map[string]any{"lag_days": 1, "cagr": 0.09, "vol": 0.18, "sharpe": 0.7, "max_dd": -0.25, "turnover": 3.2},
		},
	}
	var benchmark driver.Value
	if m.benchmark {
		benchmark = "equal"
		measured["benchmark"] = map[string]any{"name": "equal", "total_return": other/1e6 - 1, "cagr": 0.0876, "vol": 0.15, "sharpe": 0.63, "sortino": 0.9, "calmar": 0.3, "max_dd": -0.31, "skew": -0.2, "kurtosis": 4.1, "final_equity": other}
	}
	var sensitivity []any
	for lag := range 3 {
		for k, bps := range []float64{0, 5, 10, 20, 50} {
			cagr := 0.14 - 0.03*float64(lag) - 0.035*float64(k)
			sensitivity = append(sensitivity, map[string]any{"lag_days": lag, "cost_bps": bps, "cagr": cagr, "sharpe": cagr * 7, "max_dd": -0.2 - 0.02*float64(k)})
		}
	}
	text := func(v any) driver.Value { b, _ := json.Marshal(v); return string(b) }
	fill("backtest_details", [][]driver.Value{{runID, m.strategyID, "1.0.0", "sha256:" + fmt.Sprintf("%064x", 7), m.lag, m.basis, "XNYS", time.Date(2026, 1, 14, 8, 0, 0, 0, time.UTC), benchmark, 1e6, 0.0, false,
		first, "sha256:" + fmt.Sprintf("%064x", 9), text(sensitivity), text(measured), text([]string{"3 position-sessions were valued at the last price"}), time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC), "sha256:" + fmt.Sprintf("%064x", 11)}})
	return db
}

func (m market) sheet(t *testing.T) *Sheet {
	t.Helper()
	s, err := Read(t.Context(), m.store(t), runID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
