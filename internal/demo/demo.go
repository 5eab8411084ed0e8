// Package demo holds real daily prices, so that the lab can be tried without a
// network: AAPL, FB, GOOG, IBM and MSFT, 2000-03-01 to 2013-03-01, as in
// bokeh-sampledata 2026.1 (see data/ORIGIN.md). It is data, the strategy that
// the demo judges on it, and the mark that tells a demo folder from any other;
// the commands of the demo are cli's.
package demo

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"quant"
	"quant/internal/durable"
	"quant/strategies"

	_ "embed"
)

// Prices is the CSV file, gzipped: Ticker,Date,Open,High,Low,Close,Volume,Adj Close.
//
//go:embed data/stocks.csv.gz
var Prices []byte

// What the prices and the strategy are called in a demo folder, and the days
// between which the strategy is judged.
const (
	FileName     = "stocks.csv.gz"
	StrategyName = "momentum_demo.yaml"
	From         = "2001-01-01"
	To           = "2013-03-01"
)

// NewestBacktest stands in a step for the run of the demo's backtest, which is
// not known before.
const NewestBacktest = "BACKTEST"

// marker is the file that makes a folder a demo.
const marker = ".quant-demo"

// Check reports whether dir can be a demo folder: it does not exist, is empty,
// or is one already. Anything else is a Conflict. It changes nothing.
func Check(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0:
		return nil
	case err != nil:
		return quant.Errorf(quant.Conflict, "demo folder %s: %w", dir, err).WithHint("name a folder that does not exist yet")
	}
	if info, err := os.Lstat(filepath.Join(dir, marker)); err == nil && info.Mode().IsRegular() {
		return nil
	}
	return quant.Errorf(quant.Conflict, "%s is not empty and no demo folder; it stays as it is", dir).
		WithHint("name a folder that does not exist yet: quant demo DIR")
}

// Mark makes dir, if it is missing, and marks it as a demo folder. Safe to
// repeat.
func Mark(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return quant.Errorf(quant.Failed, "make the demo folder: %w", err).WithHint("name a folder that can be made: quant demo DIR")
	}
	return write(filepath.Join(dir, marker), []byte("This folder belongs to `quant demo`, which may rewrite what is in it.\n"))
}

// WritePrices puts the prices into dir and returns the path of the file.
func WritePrices(dir string) (string, error) {
	path := filepath.Join(dir, FileName)
	return path, write(path, Prices)
}

// WriteStrategy puts the strategy into dir and returns the path of the file.
func WriteStrategy(dir string) (string, error) {
	path := filepath.Join(dir, StrategyName)
	return path, write(path, strategies.MomentumDemo)
}

func write(path string, content []byte) error {
	if err := durable.Replace(path, 0o600, durable.Bytes(content)); err != nil {
		return quant.Errorf(quant.Failed, "write the demo: %w", err).WithHint("make room and the folder writable, then run it again")
	}
	return nil
}

// Steps are the command lines of the demo, in order, without the program.
func Steps(prices, strategy string) [][]string {
	return [][]string{
		{"init-db"},
		{"symbols", "add", "AAPL", "FB", "GOOG", "IBM", "MSFT", "--sector", "Technology", "--currency", "USD"},
		{"ingest", prices},
		{"data", "check"},
		{"sql", "SELECT symbol, count(*) AS bars, min(ts) AS first, max(ts) AS last, round((last(adjusted_close ORDER BY ts) / first(adjusted_close ORDER BY ts)) ^ (365.25 / (max(ts) - min(ts))) - 1, 4) AS yearly_return FROM ohlcv GROUP BY symbol ORDER BY yearly_return DESC"},
		{"pipeline", "run", "--strategy", strategy, "--from", From, "--to", To},
		{"backtest", "report", NewestBacktest},
		{"lineage", NewestBacktest},
		{"runs", "list"},
	}
}
