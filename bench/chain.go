package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quant"
	"quant/internal/calendar"
)

// The seeded market: sessions of XNYS over ten years, each symbol a walk whose
// steps are hashes of symbol and day.
const (
	marketFirst = "2010-01-04"
	marketLast  = "2019-12-31"
)

const walk = `SELECT 'S' || lpad(s::TEXT, 5, '0') AS symbol, ts AS date,
	round(p * (1 + 0.004 * (hash(s, i, 1) %% 1000) / 1000), 4) AS open, round(p * 1.02, 4) AS high, round(p * 0.98, 4) AS low, round(p, 4) AS close,
	1000 + hash(s, i, 2) %% 1000000 AS volume, round(p * 0.9, 4) AS adj_close
FROM (SELECT s, i, ts, 50 * exp(sum(0.0003 + 0.02 * ((hash(s, i) %% 2001)::DOUBLE / 1000 - 1)) OVER (PARTITION BY s ORDER BY i)) AS p
	FROM range(%d, %d) m(s), (SELECT unnest(range(1, %d))::INTEGER AS i, DATE '1970-01-01' + unnest([%s]::INTEGER[]) AS ts)) ORDER BY symbol, date`

// walkOf is the query for the bars of symbols from (included) to (not included) on the
// days, each a number of days since 1970.
func walkOf(from, to int, days []string) string {
	return fmt.Sprintf(walk, from, to, len(days)+1, strings.Join(days, ","))
}

// symbolName is the symbol of this number.
func symbolName(i int) string { return fmt.Sprintf("S%05d", i) }

const strategyText = `strategy_id: top50
version: "1.0.0"
universe: {type: symbols, symbols: [%s]}
signal: {type: factor_rank, inputs: {feature_name: ret_20d, feature_version: v1}}
rebalance: {frequency: daily, asof_policy: close}
portfolio: {top_k: 50, weighting: equal}
supervisor: {max_positions: 50, max_weight_per_symbol: 0.05}
backtest: {fee_bps: 5, slippage_bps: 5}
`

// market is one seeded market in a lab of its own.
type market struct {
	dir      string // working directory; the lab is in data
	bars     string // Parquet
	strategy string
	symbols  int
	sessions int
}

// makeMarket makes a lab with the prices of this many symbols in it.
func (b *bench) makeMarket(ctx context.Context, symbols int) (market, error) {
	m, err := generateMarket(ctx, filepath.Join(b.dir, fmt.Sprintf("market%d", symbols)), symbols)
	if err != nil {
		return m, err
	}
	if _, err := process(ctx, m.dir, b.quant, "init-db"); err != nil {
		return m, err
	}
	_, err = process(ctx, m.dir, b.quant, "ingest", m.bars)
	return m, err
}

// generateMarket writes the bars and the strategy of a market into a folder.
func generateMarket(ctx context.Context, dir string, symbols int) (market, error) {
	m := market{dir: dir, symbols: symbols}
	m.bars, m.strategy = filepath.Join(m.dir, "bars.parquet"), filepath.Join(m.dir, "top50.yaml")
	cal, err := calendar.Open("XNYS")
	if err != nil {
		return m, err
	}
	first, _ := quant.ParseDate(marketFirst)
	last, _ := quant.ParseDate(marketLast)
	var days []string
	for _, d := range cal.Sessions(first, last) {
		days = append(days, fmt.Sprint(int32(d)))
	}
	m.sessions = len(days)
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return m, err
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return m, err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, fmt.Sprintf("COPY (%s) TO '%s' (FORMAT parquet)", walkOf(0, symbols, days), m.bars)); err != nil {
		return m, fmt.Errorf("generate the market: %w", err)
	}
	names := make([]string, symbols)
	for i := range names {
		names[i] = symbolName(i)
	}
	return m, os.WriteFile(m.strategy, fmt.Appendf(nil, strategyText, strings.Join(names, ", ")), 0o644)
}

// steps are the commands of the chain over a market, in order.
func (m market) steps() [][]string {
	period := []string{"--strategy", m.strategy, "--from", "2010-03-01", "--to", marketLast}
	return [][]string{
		{"features", "--feature-version", "v1"},
		{"labels", "--label-version", "v1", "--horizon", "60"},
		append([]string{"recommend"}, period...),
		append([]string{"backtest"}, period...),
	}
}

func (m market) pipeline() []string {
	return []string{"pipeline", "run", "--strategy", m.strategy, "--from", "2010-03-01", "--to", marketLast, "--ingest", m.bars}
}

// chain measures the production chain over a market of 1,000 symbols, and how
// its cost grows from 100.
func chain(ctx context.Context, b *bench) ([]figure, error) {
	var figures []figure
	small, err := b.makeMarket(ctx, 100)
	if err != nil {
		return nil, err
	}
	large, err := b.makeMarket(ctx, 1000)
	if err != nil {
		return nil, err
	}
	figures = append(figures, note("bars of the market", "%d symbols x %d sessions = %.2f million", large.symbols, large.sessions, float64(large.symbols*large.sessions)/1e6))

	// Against the bare SQL, in turn, each on a copy of the same prices.
	var peak int64
	for _, c := range []struct {
		name string
		args []string
		bare []string
	}{
		{"features v1 (with returns)", large.steps()[0], bareFeatures},
		{"labels, horizon 60", large.steps()[1], bareLabels},
	} {
		times, err := inTurn(2,
			func() (time.Duration, error) {
				dir, err := large.fork(b.dir)
				if err != nil {
					return 0, err
				}
				defer os.RemoveAll(dir)
				u, err := process(ctx, dir, b.quant, c.args...)
				peak = max(peak, u.peak)
				return u.wall, err
			},
			func() (time.Duration, error) {
				dir, err := large.fork(b.dir)
				if err != nil {
					return 0, err
				}
				defer os.RemoveAll(dir)
				return bareSQL(ctx, filepath.Join(dir, "data", "quant.duckdb"), c.bare)
			})
		if err != nil {
			return nil, err
		}
		mine, bare := median(times[0]), median(times[1])
		r := ratio(mine, bare)
		figures = append(figures,
			note("`quant "+c.args[0]+"`, whole process: "+c.name, "%.2f s", mine.Seconds()),
			note("the bare SQL that computes and stores the same rows", "%.2f s", bare.Seconds()),
			figure{"ratio", fmt.Sprintf("%.2f", r), r <= 1.5})
	}

	cost := map[string][2]time.Duration{}
	for i, m := range []market{small, large} {
		for _, step := range m.steps() {
			u, err := process(ctx, m.dir, b.quant, step...)
			if err != nil {
				return nil, err
			}
			peak = max(peak, u.peak)
			c := cost[step[0]]
			c[i] = u.wall
			cost[step[0]] = c
		}
	}
	for _, name := range []string{"recommend", "backtest"} {
		wall := cost[name][1]
		figures = append(figures, figure{"`quant " + name + "`, daily top 50 over the whole period", fmt.Sprintf("%.2f s", wall.Seconds()), wall < 10*time.Second})
	}
	for _, name := range []string{"features", "labels", "recommend", "backtest"} {
		c := cost[name]
		figures = append(figures, note("`quant "+name+"`, 1,000 symbols / 100 symbols", "%.2f s / %.2f s = %.1f", c[1].Seconds(), c[0].Seconds(), ratio(c[1], c[0])))
	}
	first, err := process(ctx, large.dir, b.quant, large.pipeline()...)
	if err != nil {
		return nil, err
	}
	second, err := process(ctx, large.dir, b.quant, large.pipeline()...)
	if err != nil {
		return nil, err
	}
	peak = max(peak, first.peak, second.peak)
	return append(figures,
		note("`quant pipeline run` after the single commands", "%.2f s", first.wall.Seconds()),
		figure{"`quant pipeline run` again, nothing changed", fmt.Sprintf("%.2f s", second.wall.Seconds()), second.wall < time.Second},
		figure{"peak memory of all of these", fmt.Sprintf("%.2f GiB", float64(peak)/(1<<30)), peak < 4<<30}), nil
}

// fork copies the market's lab to a new folder.
func (m market) fork(within string) (string, error) {
	dir, err := os.MkdirTemp(within, "fork")
	if err != nil {
		return "", err
	}
	return dir, os.CopyFS(filepath.Join(dir, "data"), os.DirFS(filepath.Join(m.dir, "data")))
}

// bareSQL times statements in one transaction on a Fact DB, the final
// checkpoint included.
func bareSQL(ctx context.Context, path string, statements []string) (time.Duration, error) {
	start := time.Now()
	db, err := sql.Open("duckdb", path)
	if err != nil {
		return 0, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return 0, err
	}
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return 0, fmt.Errorf("bare SQL: %w\n%s", err, s)
		}
	}
	if err := conn.Close(); err != nil {
		return 0, err
	}
	if err := db.Close(); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

// What one would write by hand: plain window functions, one INSERT a feature.
// The market has no gaps, so rows are sessions here.
// It fills tables of its own, as the contract has them.
var bareFeatures = append(append([]string{
	`BEGIN`,
	`CREATE SCHEMA bare`,
	`CREATE TABLE bare.features_daily (symbol TEXT NOT NULL, ts DATE NOT NULL, feature_name TEXT NOT NULL, feature_value DOUBLE, feature_version TEXT NOT NULL, computed_at TIMESTAMP)`,
	`CREATE TABLE bare.returns (symbol TEXT NOT NULL, ts DATE NOT NULL, ret_1d DOUBLE, ret_5d DOUBLE, ret_20d DOUBLE, ret_60d DOUBLE)`,
	`CREATE TEMP TABLE r AS SELECT symbol, ts, adjusted_close AS p, close, volume, open * adjusted_close / close AS o, (high - low) / close AS hl_range, volume * close / adjusted_close AS v,
		adjusted_close / lag(adjusted_close) OVER w - 1 AS ret_1d, adjusted_close / lag(adjusted_close, 5) OVER w - 1 AS ret_5d,
		adjusted_close / lag(adjusted_close, 20) OVER w - 1 AS ret_20d, adjusted_close / lag(adjusted_close, 60) OVER w - 1 AS ret_60d,
		row_number() OVER w AS n
		FROM ohlcv WINDOW w AS (PARTITION BY symbol ORDER BY ts)`,
	`CREATE OR REPLACE TEMP TABLE wide AS SELECT *, CASE WHEN n > 20 THEN stddev_samp(ret_1d) OVER (PARTITION BY symbol ORDER BY ts ROWS 19 PRECEDING) END AS vol_20d,
		o / lag(p) OVER (PARTITION BY symbol ORDER BY ts) - 1 AS gap_open,
		CASE WHEN n >= 20 THEN v / avg(v) OVER (PARTITION BY symbol ORDER BY ts ROWS 19 PRECEDING) END AS volume_ratio_20d
		FROM r ORDER BY ts, symbol`,
	`INSERT INTO bare.returns SELECT symbol, ts, ret_1d, ret_5d, ret_20d, ret_60d FROM wide WHERE ret_1d IS NOT NULL ORDER BY symbol, ts`,
}, bareInserts("bare.features_daily", "'v1', now()::TIMESTAMP", "ret_1d", "ret_5d", "ret_20d", "ret_60d", "vol_20d", "gap_open", "hl_range", "volume_ratio_20d")...), `COMMIT`)

var bareLabels = append(append([]string{
	`BEGIN`,
	`CREATE SCHEMA bare`,
	`CREATE TABLE bare.labels (symbol TEXT NOT NULL, ts DATE NOT NULL, label_name TEXT NOT NULL, label_value DOUBLE, label_version TEXT NOT NULL)`,
	`CREATE OR REPLACE TEMP TABLE wide AS SELECT *, CASE WHEN fwd_ret_60d > 0 THEN 1 WHEN fwd_ret_60d <= 0 THEN 0 END AS direction_60d FROM (
		SELECT symbol, ts, lead(adjusted_close, 60) OVER (PARTITION BY symbol ORDER BY ts) / adjusted_close - 1 AS fwd_ret_60d FROM ohlcv) ORDER BY ts, symbol`,
}, bareInserts("bare.labels", "'v1'", "fwd_ret_60d", "direction_60d")...), `COMMIT`)

func bareInserts(table, rest string, names ...string) []string {
	var list []string
	for _, name := range names {
		list = append(list, fmt.Sprintf("INSERT INTO %s SELECT symbol, ts, '%s', %s, %s FROM wide WHERE %s IS NOT NULL", table, name, name, rest, name))
	}
	return list
}
