package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The period and the costs of the account, as the strategy has them.
const (
	decideFrom = "2010-03-01"
	costBps    = "10" // 5 of fees, 5 of slippage
)

// peerStrategy is the market's strategy without a cap on turnover: peers have
// none.
func (p *peers) peerStrategy() (string, error) {
	path := p.file("peers.yaml")
	text, err := os.ReadFile(p.strategy)
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(strings.Replace(string(text), "supervisor: {", "supervisor: {turnover_cap: 1, ", 1)), 0o644)
}

func period(strategy string) []string {
	return []string{"--strategy", strategy, "--from", decideFrom, "--to", marketLast}
}

// computed is the lab that has features v1 and two labels.
func (p *peers) computed(ctx context.Context) (string, error) {
	raw, err := p.raw(ctx)
	if err != nil {
		return "", err
	}
	return p.lab(ctx, "computed", raw, []string{"features", "--feature-version", "v1"}, []string{"labels", "--horizon", "5"}, []string{"labels", "--horizon", "60"})
}

// exported writes what a query of a lab gives into a Parquet file of the market,
// unless it is there: what a peer reads instead of the Fact DB.
func (p *peers) exported(ctx context.Context, lab, name, query string) (string, error) {
	path := p.file(name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	making := path + ".making"
	_, err := bareSQL(ctx, filepath.Join(lab, "data", "quant.duckdb"), []string{fmt.Sprintf("COPY (%s) TO '%s' (FORMAT parquet)", query, making)})
	if err != nil {
		return "", err
	}
	return path, os.Rename(making, path)
}

func (p *peers) signal(ctx context.Context, lab string) (string, error) {
	return p.exported(ctx, lab, "signal.parquet", "SELECT symbol, ts AS date, feature_value AS value FROM features_daily WHERE feature_name = 'ret_20d' AND feature_version = 'v1' ORDER BY symbol, ts")
}

// recommend compares deciding.
func (p *peers) recommend(ctx context.Context) ([]figure, error) {
	strategy, err := p.peerStrategy()
	if err != nil {
		return nil, err
	}
	lab, err := p.computed(ctx)
	if err != nil {
		return nil, err
	}
	signal, err := p.signal(ctx, lab)
	if err != nil || p.prepare {
		return nil, err
	}
	decisions := filepath.Join(p.bench.dir, "decisions.parquet")
	return p.contest(ctx, contest{
		what: "recommend, daily top 50", lab: lab, quant: append([]string{"recommend"}, period(strategy)...),
		peer: "NumPy, from the signal as Parquet", script: p.decides(signal, decisions),
		agrees: func(ctx context.Context, dir string) (figure, error) {
			return agreement(ctx, dir, "symbol, ts", "SELECT symbol, \"asof\" AS ts, weight AS value FROM targets WHERE approved", fmt.Sprintf("SELECT symbol, date AS ts, weight AS value FROM '%s'", decisions), 1e-9)
		},
	})
}

func (p *peers) decides(signal, out string) []string {
	return []string{"recommend.py", signal, decideFrom, "50", "0.05", out}
}

// backtest compares replaying.
func (p *peers) backtest(ctx context.Context) ([]figure, error) {
	strategy, err := p.peerStrategy()
	if err != nil {
		return nil, err
	}
	lab, err := p.computed(ctx)
	if err != nil {
		return nil, err
	}
	decided, err := p.lab(ctx, "decided", lab, append([]string{"recommend"}, period(strategy)...))
	if err != nil {
		return nil, err
	}
	signal, err := p.signal(ctx, lab)
	if err != nil {
		return nil, err
	}
	decisions, replay := p.file("decisions.parquet"), filepath.Join(p.bench.dir, "replay")
	if _, err := process(ctx, p.scripts, p.python, p.decides(signal, decisions)...); err != nil || p.prepare {
		return nil, err
	}
	return p.contest(ctx, contest{
		what: "backtest, with costs", lab: decided, quant: append([]string{"backtest"}, period(strategy)...),
		peer: "NumPy, from decisions and closes as Parquet (lag 0 alone; quant replays lag 1, too)", script: []string{"backtest.py", decisions, p.bars, costBps, replay},
		agrees: func(ctx context.Context, dir string) (figure, error) {
			return agreement(ctx, dir, "ts", "SELECT ts, equity AS value FROM backtest_equity", fmt.Sprintf("SELECT date AS ts, equity AS value FROM '%s.equity.parquet'", replay), 1e-9)
		},
	})
}

// grid are the trials of a sweep.
type grid struct{ names, weights []string }

func (g grid) trials() int { return len(g.names) * len(g.weights) }

func numbers(first, last, step float64) []string {
	var list []string
	for v := first; v < last+step/2; v += step {
		list = append(list, strconv.FormatFloat(v, 'g', 6, 64))
	}
	return list
}

func (g grid) sweep(strategy string) []string {
	return append(append([]string{"sweep"}, period(strategy)...), "--max-trials", strconv.Itoa(g.trials()),
		"--set", "portfolio.top_k="+strings.Join(g.names, ","), "--set", "supervisor.max_weight_per_symbol="+strings.Join(g.weights, ","))
}

// sweep compares trials.
func (p *peers) sweep(ctx context.Context) ([]figure, error) {
	strategy, err := p.peerStrategy()
	if err != nil {
		return nil, err
	}
	lab, err := p.computed(ctx)
	if err != nil {
		return nil, err
	}
	signal, err := p.signal(ctx, lab)
	if err != nil || p.prepare {
		return nil, err
	}
	out := filepath.Join(p.bench.dir, "sweep.parquet")
	script := func(how string, g grid) []string {
		return []string{"sweep.py", how, signal, p.bars, decideFrom, strings.Join(g.names, ","), strings.Join(g.weights, ","), costBps, out}
	}
	twenty := grid{numbers(5, 50, 5), []string{"0.05", "0.03"}}
	few := grid{[]string{"20", "50"}, []string{"0.05"}} // each trial takes the same there
	var figures []figure
	var mine, best usage
	each := func(u usage, g grid) string {
		u.wall, u.work = u.wall/time.Duration(g.trials()), u.work/time.Duration(g.trials())
		return fmt.Sprintf("%.3f s (processors %.3f s) a trial, %.2f GiB", u.wall.Seconds(), u.work.Seconds(), float64(u.peak)/(1<<30))
	}
	var times = map[string][]usage{}
	var same figure
	for round := range p.rounds {
		dir, err := p.forked(lab)
		if err != nil {
			return nil, err
		}
		u, err := process(ctx, dir, p.quant, twenty.sweep(strategy)...)
		if err != nil {
			return nil, err
		}
		times["quant"] = append(times["quant"], u)
		for _, how := range []string{"numba", "numpy"} {
			if u, err = process(ctx, p.scripts, p.python, script(how, twenty)...); err != nil {
				return nil, err
			}
			times[how] = append(times[how], u)
		}
		if round == p.rounds-1 {
			if same, err = agreement(ctx, dir, "place", "SELECT row_number() OVER (ORDER BY cagr) AS place, cagr AS value FROM backtest_summary",
				fmt.Sprintf("SELECT row_number() OVER (ORDER BY cagr) AS place, cagr AS value FROM '%s'", out), 1e-9); err != nil {
				return nil, err
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	mine = typical(times["quant"])
	best = usage{wall: 1 << 62}
	for _, how := range []string{"numpy", "numba"} {
		u := typical(times[how])
		if u.wall < best.wall {
			best = u
		}
		figures = append(figures, note(fmt.Sprintf("sweep of %d trials: %s, whole process", twenty.trials(), how), "%s", each(u, twenty)))
	}
	u, err := process(ctx, p.scripts, p.python, script("vectorbt", few)...)
	if err != nil {
		return nil, err
	}
	figures = append(figures, note(fmt.Sprintf("sweep of %d trials: vectorbt, vectorised; it sizes before costs", few.trials()), "%s", each(u, few)))
	took := mine.wall / time.Duration(twenty.trials())
	same.what = "the same growth of each trial as NumPy's"
	return append(figures,
		figure{fmt.Sprintf("sweep of %d trials: quant, recorded, at most 0.1 s a trial", twenty.trials()), each(mine, twenty), took <= time.Second/10},
		figure{"sweep: quant / the fastest of them, at most 1", fmt.Sprintf("%.2f", ratio(mine.wall, best.wall)), mine.wall <= best.wall},
		figure{"sweep: " + same.what, same.value, same.met}), nil
}

// thousand runs a thousand trials: their memory.
func (p *peers) thousand(ctx context.Context) ([]figure, error) {
	strategy, err := p.peerStrategy()
	if err != nil {
		return nil, err
	}
	lab, err := p.computed(ctx)
	if err != nil || p.prepare {
		return nil, err
	}
	g := grid{numbers(11, 50, 1), numbers(0.002, 0.05, 0.002)}
	dir, err := p.forked(lab)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	u, err := process(ctx, dir, p.quant, g.sweep(strategy)...)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("duckdb", filepath.Join(dir, "data", "quant.duckdb")+"?access_mode=read_only")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var recorded int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM backtest_summary").Scan(&recorded); err != nil {
		return nil, err
	}
	return []figure{
		{fmt.Sprintf("sweep of %d trials, all recorded, at most 0.1 s each", g.trials()), fmt.Sprintf("%s = %.3f s a trial; %d results", u, u.wall.Seconds()/float64(g.trials()), recorded), recorded == g.trials() && u.wall <= time.Duration(g.trials())*time.Second/10},
		{"its peak memory, at most 2 GiB", fmt.Sprintf("%.2f GiB", float64(u.peak)/(1<<30)), u.peak <= 2<<30},
	}, nil
}
