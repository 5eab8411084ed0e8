package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A peer is a small program of bench/peers that does the work of a command of
// quant as a practitioner would write it to be fast, with a library that is
// known to be. Peers are whole processes: they read Parquet, what quant ingests
// or what was exported from its Fact DB, and write Parquet. A peer's result is
// compared with quant's, since what computes something else is no peer.

type peerOptions struct {
	size    int
	rounds  int
	keep    string
	prepare bool
	python  string
}

// peers is what the comparisons share.
type peers struct {
	*bench
	peerOptions
	market
	home    string // where markets are kept
	scripts string
}

// peerMeasurements are the comparisons with peers.
func (b *bench) peerMeasurements(ctx context.Context, o peerOptions) ([]measurement, error) {
	if o.keep == "" {
		o.keep = b.dir
	}
	folder, err := filepath.Abs(o.keep)
	if err != nil {
		return nil, err
	}
	p := &peers{bench: b, peerOptions: o}
	if p.scripts, err = filepath.Abs("bench/peers"); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	if p.python == "" {
		if p.python, err = p.install(ctx, folder); err != nil {
			return nil, err
		}
	}
	p.home = folder
	dir := filepath.Join(folder, fmt.Sprintf("market%d", p.size))
	if p.market, err = p.prepared(ctx, dir); err != nil {
		return nil, err
	}
	var list []measurement
	for _, m := range []struct {
		name, bound string
		run         func(*peers, context.Context) ([]figure, error)
	}{
		{"peers features v1", "at most the time of Polars that computes them and writes them wide", func(p *peers, ctx context.Context) ([]figure, error) { return p.features(ctx, "v1") }},
		{"peers features v2", "at most the time of Polars with TA-Lib", func(p *peers, ctx context.Context) ([]figure, error) { return p.features(ctx, "v2") }},
		{"peers alpha158", "at most the time of Polars for the expressions that it can say, within 2 GiB", (*peers).expressions},
		{"peers alpha128", "the 128 of Alpha158 that Polars can say, in at most its time, within 2 GiB", (*peers).sameExpressions},
		{"peers one day of alpha158", "one more day of Alpha158 in less than 2 s", (*peers).dayOfAlpha158},
		{"peers size", "features v1 take at most two thirds of one long table", (*peers).featureSize},
		{"peers day", "one more day's features and labels in at most 0.5 s each", (*peers).day},
		{"peers pipeline", "one more day through the whole chain in at most 3 % of the chain", (*peers).pipelines},
		{"peers recommend", "at most the time of a NumPy program", (*peers).recommend},
		{"peers backtest", "at most the time of a NumPy program", (*peers).backtest},
		{"peers sweep", "at most 0.1 s a trial, each recorded as a run, and ahead of NumPy, numba and vectorbt", (*peers).sweep},
		{"peers thousand", "1,000 trials at 0.1 s, within 2 GiB", (*peers).thousand},
		{"peers train", "at most the time of Polars with scikit-learn", (*peers).train},
		{"peers score", "at most the time of Polars with NumPy", (*peers).score},
		{"peers report", "factor report at most the time of the same figures in Polars", (*peers).report},
		{"peers growth", "every command of the chain with 5 times the symbols: within 2 GiB, no worse than linear", (*peers).growth},
	} {
		list = append(list, measurement{m.name, m.bound, func(ctx context.Context, b *bench) ([]figure, error) { return m.run(p, ctx) }})
	}
	return list, nil
}

// install makes a Python with the packages of the peers, if it is not there.
func (p *peers) install(ctx context.Context, folder string) (string, error) {
	venv := filepath.Join(folder, "venv")
	python := filepath.Join(venv, "bin", "python")
	if _, err := os.Stat(filepath.Join(venv, "ready")); err == nil {
		return python, nil
	}
	for _, args := range [][]string{
		{"python3", "-m", "venv", "--clear", venv},
		{python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "-r", filepath.Join(p.scripts, "requirements.txt")},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("no peers: %s: %w (they need python3 with venv, and PyPI; or name an interpreter that has bench/peers/requirements.txt with -python)", strings.Join(args[:3], " "), err)
		}
	}
	return python, os.WriteFile(filepath.Join(venv, "ready"), nil, 0o644)
}

// prepared makes the market, unless it is there.
func (p *peers) prepared(ctx context.Context, dir string) (market, error) {
	done := filepath.Join(dir, "sessions")
	if _, err := os.Stat(done); err == nil {
		m := market{dir: dir, symbols: p.size, bars: filepath.Join(dir, "bars.parquet"), strategy: filepath.Join(dir, "top50.yaml")}
		text, err := os.ReadFile(done)
		if err != nil {
			return m, err
		}
		_, err = fmt.Sscan(string(text), &m.sessions)
		return m, err
	}
	m, err := generateMarket(ctx, dir, p.size)
	if err != nil {
		return m, err
	}
	if err := query(ctx, "", fmt.Sprintf("COPY (FROM '%s' WHERE date < DATE '%s' ORDER BY symbol, date) TO '%s' (FORMAT parquet)", m.bars, marketLast, m.file("most.parquet")),
		fmt.Sprintf("COPY (FROM '%s' WHERE date = DATE '%s' ORDER BY symbol) TO '%s' (FORMAT parquet)", m.bars, marketLast, m.file("last.parquet"))); err != nil {
		return m, err
	}
	return m, os.WriteFile(done, fmt.Append(nil, m.sessions), 0o644)
}

func (m market) file(name string) string { return filepath.Join(m.dir, name) }

// lab makes the lab of this name by the commands, unless it is there, and
// returns its folder. One that was kept is brought up to date.
func (p *peers) lab(ctx context.Context, name, from string, commands ...[]string) (string, error) {
	dir := p.file(name)
	if _, err := os.Stat(dir); err == nil {
		_, err := process(ctx, dir, p.quant, "init-db")
		return dir, err
	}
	making := dir + ".making"
	if err := os.RemoveAll(making); err != nil {
		return "", err
	}
	if err := os.MkdirAll(making, 0o755); err != nil {
		return "", err
	}
	if from != "" {
		if err := os.CopyFS(filepath.Join(making, "data"), os.DirFS(filepath.Join(from, "data"))); err != nil {
			return "", err
		}
	}
	for _, args := range append([][]string{{"init-db"}}, commands...) {
		if _, err := process(ctx, making, p.quant, args...); err != nil {
			return "", err
		}
	}
	return dir, os.Rename(making, dir)
}

// raw is the lab that has the prices.
func (p *peers) raw(ctx context.Context) (string, error) {
	return p.lab(ctx, "raw", "", []string{"ingest", p.bars})
}

// forked copies a lab to a new folder.
func (p *peers) forked(lab string) (string, error) { return forkLab(p.bench.dir, lab) }

// forkLab copies a lab to a new folder, whose files are on the disk when it
// returns: what the copy costs is no part of what comes next.
func forkLab(within, lab string) (string, error) {
	dir, err := os.MkdirTemp(within, "fork")
	if err != nil {
		return "", err
	}
	data := filepath.Join(dir, "data")
	if err := os.CopyFS(data, os.DirFS(filepath.Join(lab, "data"))); err != nil {
		return "", err
	}
	file, err := os.Open(filepath.Join(data, "quant.duckdb"))
	if err != nil {
		return "", err
	}
	defer file.Close()
	return dir, file.Sync()
}

// contest is a command of quant and the peer that does the same.
type contest struct {
	what   string
	lab    string
	quant  []string
	peer   string // what it is made of
	script []string
	limit  time.Duration // of quant, beside the peer; 0: the peer's time
	memory int64         // at most, of quant, in bytes; 0: any
	agrees func(ctx context.Context, dir string) (figure, error)
}

// run times both in turn, each time on a fresh copy of the lab, and compares
// the last results.
func (p *peers) contest(ctx context.Context, c contest) ([]figure, error) {
	var mine, theirs []usage
	var agreement figure
	for round := range p.rounds {
		dir, err := p.forked(c.lab)
		if err != nil {
			return nil, err
		}
		u, err := process(ctx, dir, p.quant, c.quant...)
		if err != nil {
			return nil, err
		}
		mine = append(mine, u)
		fmt.Fprintf(os.Stderr, "  %s: quant %s\n", c.what, u)
		u, err = process(ctx, p.scripts, p.python, c.script...)
		if err != nil {
			return nil, err
		}
		theirs = append(theirs, u)
		fmt.Fprintf(os.Stderr, "  %s: peer %s\n", c.what, u)
		if round == p.rounds-1 && c.agrees != nil {
			if agreement, err = c.agrees(ctx, dir); err != nil {
				return nil, err
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	a, b := typical(mine), typical(theirs)
	limit, bound := b.wall, "the peer's"
	if c.limit > 0 {
		limit, bound = c.limit, c.limit.String()
	}
	figures := []figure{
		note(c.what+": "+c.peer, "%s", b),
		{c.what + ": quant, at most " + bound, fmt.Sprintf("%s, ratio %.2f", a, ratio(a.wall, b.wall)), a.wall <= limit},
	}
	if c.memory > 0 {
		figures = append(figures, figure{fmt.Sprintf("%s: quant's peak memory, at most %.0f GiB", c.what, float64(c.memory)/(1<<30)), fmt.Sprintf("%.2f GiB", float64(a.peak)/(1<<30)), a.peak <= c.memory})
	}
	if c.agrees != nil {
		figures = append(figures, figure{c.what + ": " + agreement.what, agreement.value, agreement.met})
	}
	return figures, nil
}

// typical has the median of each.
func typical(list []usage) usage {
	middle := func(of func(usage) int64) int64 {
		var values []int64
		for _, u := range list {
			values = append(values, of(u))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return usage{
		wall: time.Duration(middle(func(u usage) int64 { return int64(u.wall) })),
		work: time.Duration(middle(func(u usage) int64 { return int64(u.work) })),
		peak: middle(func(u usage) int64 { return u.peak }),
	}
}

func (u usage) String() string {
	return fmt.Sprintf("%.2f s (processors %.2f s, %.2f GiB)", u.wall.Seconds(), u.work.Seconds(), float64(u.peak)/(1<<30))
}

// query runs statements on a DuckDB file, "" for one in memory.
func query(ctx context.Context, path string, statements ...string) error {
	_, err := bareSQL(ctx, path, statements)
	return err
}

// agreement compares two relations of (a key ..., value) on a Fact DB, of which
// the keys are named: the rows that one of them lacks, and the largest
// difference, relative where values are above the floor.
func agreement(ctx context.Context, lab, keys, mine, peer string, enough float64) (figure, error) {
	const floor = 1e-6
	f := figure{what: "the same values as the peer's"}
	db, err := sql.Open("duckdb", filepath.Join(lab, "data", "quant.duckdb")+"?access_mode=read_only")
	if err != nil {
		return f, err
	}
	defer db.Close()
	var both, lacking int64
	var worst sql.NullFloat64
	err = db.QueryRowContext(ctx, fmt.Sprintf(`SELECT count(*) FILTER (m.value IS NOT NULL AND p.value IS NOT NULL), count(*) FILTER (m.value IS NULL OR p.value IS NULL),
		max(abs(m.value - p.value) / greatest(abs(m.value), abs(p.value), %g)) FROM (%s) m FULL JOIN (%s) p USING (%s)`, floor, mine, peer, keys)).Scan(&both, &lacking, &worst)
	if err != nil {
		return f, fmt.Errorf("compare with the peer: %w", err)
	}
	f.value = fmt.Sprintf("%d values, differences up to %.1e; %d that one side lacks", both, worst.Float64, lacking)
	f.met = both > 0 && lacking == 0 && worst.Float64 <= enough
	return f, nil
}
