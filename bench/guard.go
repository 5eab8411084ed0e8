package main

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// The guard notices that the chain has become slower: each command on a small
// market against a yardstick that knows nothing of quant, bare SQL on DuckDB or
// a NumPy program, in turn in one run. What it compares with bench/guard.json is the ratio of
// the two, in processor time, which other work on the machine hardly moves, and in time on
// the clock, which tells of waiting and of processors left idle.
const (
	guardFile    = "bench/guard.json"
	guardWorse   = 1.5 // times what is written down
	guardRounds  = 3
	guardAgain   = 5 // more rounds for what looks worse
	guardSymbols = 40
)

// guarded is the ratio of a command to its yardstick.
type guarded struct {
	Work float64 `json:"work"` // processor time
	Wall float64 `json:"wall"`
}

func (g guarded) worse(than guarded) float64 { return max(g.Work/than.Work, g.Wall/than.Wall) }

// check is a command and its yardstick.
type check struct {
	name      string
	lab       string
	quant     []string
	yardstick func(ctx context.Context) (usage, error)

	mine, bare []usage
}

// guard compares, or with write writes down, the ratios.
func (b *bench) guard(ctx context.Context, only string, write bool) error {
	checks, err := b.checks(ctx)
	if err != nil {
		return err
	}
	checks = slices.DeleteFunc(checks, func(c *check) bool { return !strings.Contains(c.name, only) })
	for range guardRounds {
		if err := b.round(ctx, checks); err != nil {
			return err
		}
	}
	if write {
		return b.writeGuard(ctx, checks)
	}
	text, err := os.ReadFile(guardFile)
	if err != nil {
		return err
	}
	var written map[string]guarded
	if err := json.Unmarshal(text, &written); err != nil {
		return fmt.Errorf("%s: %w", guardFile, err)
	}
	var slow []*check
	for _, c := range checks {
		if _, known := written[c.name]; !known {
			return fmt.Errorf("%s has no ratio for %s: write it with go run ./bench -guard -write", guardFile, c.name)
		}
		if c.ratio().worse(written[c.name]) > guardWorse {
			slow = append(slow, c)
		}
	}
	// A disturbance passes, a regression stays.
	for range guardAgain {
		if len(slow) == 0 {
			break
		}
		if err := b.round(ctx, slow); err != nil {
			return err
		}
		slow = slices.DeleteFunc(slow, func(c *check) bool { return c.ratio().worse(written[c.name]) <= guardWorse })
	}
	fmt.Printf("%-12s %28s %28s\n", "", "processors: now, written", "clock: now, written")
	for _, c := range checks {
		now, was := c.ratio(), written[c.name]
		fmt.Printf("%-12s %14.2f %13.2f %14.2f %13.2f", c.name, now.Work, was.Work, now.Wall, was.Wall)
		if slices.Contains(slow, c) {
			fmt.Printf("   WORSE: %.2f times", now.worse(was))
		}
		fmt.Println()
	}
	if len(slow) > 0 {
		return fmt.Errorf("%d of %d ratios are more than %.1f times those of %s; find the cause, or if it is meant, write them anew with go run ./bench -guard -write", len(slow), len(checks), guardWorse, guardFile)
	}
	return nil
}

// ratio is that of the medians.
func (c *check) ratio() guarded {
	mine, bare := typical(c.mine), typical(c.bare)
	return guarded{ratio(mine.work, bare.work), ratio(mine.wall, bare.wall)}
}

func (b *bench) round(ctx context.Context, checks []*check) error {
	for _, c := range checks {
		dir, err := forkLab(b.dir, c.lab)
		if err != nil {
			return err
		}
		u, err := process(ctx, dir, b.quant, c.quant...)
		if err != nil {
			return err
		}
		c.mine = append(c.mine, u)
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if u, err = c.yardstick(ctx); err != nil {
			return err
		}
		c.bare = append(c.bare, u)
		fmt.Fprintf(os.Stderr, "%s: %s against %s\n", c.name, c.mine[len(c.mine)-1], u)
	}
	return nil
}

func (b *bench) writeGuard(ctx context.Context, checks []*check) error {
	for range guardRounds {
		if err := b.round(ctx, checks); err != nil {
			return err
		}
	}
	// What is not measured now stays as it is.
	ratios := map[string]guarded{}
	text, err := os.ReadFile(guardFile)
	if err == nil {
		err = json.Unmarshal(text, &ratios)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: %w", guardFile, err)
	}
	round := func(x float64) float64 { return float64(int(x*100+0.5)) / 100 }
	for _, c := range checks {
		r := c.ratio()
		ratios[c.name] = guarded{round(r.Work), round(r.Wall)}
	}
	var out strings.Builder
	out.WriteString("{\n")
	for i, name := range slices.Sorted(maps.Keys(ratios)) {
		comma := ","
		if i == len(ratios)-1 {
			comma = ""
		}
		fmt.Fprintf(&out, "  %q: {\"work\": %.2f, \"wall\": %.2f}%s\n", name, ratios[name].Work, ratios[name].Wall, comma)
	}
	out.WriteString("}\n")
	return os.WriteFile(guardFile, []byte(out.String()), 0o644)
}

// checks makes the labs and the yardsticks.
func (b *bench) checks(ctx context.Context) ([]*check, error) {
	m, err := b.makeMarket(ctx, guardSymbols)
	if err != nil {
		return nil, err
	}
	scripts, err := filepath.Abs("bench/peers")
	if err != nil {
		return nil, err
	}
	raw := m.dir
	// stage is a copy of a lab after some commands.
	stage := func(from string, commands ...[]string) (string, error) {
		dir, err := forkLab(b.dir, from)
		if err != nil {
			return "", err
		}
		for _, args := range commands {
			if _, err := process(ctx, dir, b.quant, args...); err != nil {
				return "", err
			}
		}
		return dir, nil
	}
	empty := filepath.Join(b.dir, "empty")
	if err := os.MkdirAll(empty, 0o755); err != nil {
		return nil, err
	}
	if _, err := process(ctx, empty, b.quant, "init-db"); err != nil {
		return nil, err
	}
	computed, err := stage(raw, []string{"features", "--feature-version", "v1"}, []string{"labels", "--horizon", "60"}, []string{"labels", "--horizon", modelHorizon},
		[]string{"experiments", "create", "bench", "--features", strings.Join(modelFeatures(), "@v1,") + "@v1", "--label", modelLabel + "@v1", "--folds", modelFolds, "--algo", "ridge", "--param", "alpha=" + modelAlpha})
	if err != nil {
		return nil, err
	}
	later, err := stage(computed, append([]string{"recommend"}, period(m.strategy)...), []string{"train", "--experiment", "bench"})
	if err != nil {
		return nil, err
	}
	// Bare SQL works on the same prices in a file of its own.
	bare := func(statements ...string) func(context.Context) (usage, error) {
		return func(ctx context.Context) (usage, error) {
			path := filepath.Join(b.dir, "yardstick.duckdb")
			if err := os.RemoveAll(path); err != nil {
				return usage{}, err
			}
			return b.sqlProcess(ctx, path, statements)
		}
	}
	prices := fmt.Sprintf(`CREATE TABLE ohlcv AS SELECT symbol, date AS ts, open, high, low, close, volume::DOUBLE AS volume, adj_close AS adjusted_close, 'bare' AS source, now()::TIMESTAMP AS ingested_at FROM '%s'`, m.bars)
	judged := `SELECT avg(ic), avg(rank_ic) FROM (SELECT corr(x, y) AS ic, corr(rx, ry) AS rank_ic FROM (
		SELECT f.ts, feature_value AS x, label_value AS y, rank() OVER (PARTITION BY f.ts ORDER BY feature_value) AS rx, rank() OVER (PARTITION BY f.ts ORDER BY label_value) AS ry
		FROM bare.features_daily f JOIN bare.labels l USING (symbol, ts) WHERE feature_name = 'ret_20d' AND label_name = 'fwd_ret_60d') GROUP BY ts)`
	one := slices.Concat([]string{prices}, bareFeatures)
	all := slices.Concat(one, slices.DeleteFunc(slices.Clone(bareLabels), func(s string) bool { return s == "CREATE SCHEMA bare" }), []string{judged})
	checks := []*check{
		{name: "ingest", lab: empty, quant: []string{"ingest", m.bars}, yardstick: bare(prices)},
		{name: "features", lab: raw, quant: []string{"features", "--feature-version", "v1"}, yardstick: bare(one...)},
		{name: "features v2", lab: raw, quant: []string{"features", "--feature-version", "v2"}, yardstick: bare(one...)},
		{name: "labels", lab: raw, quant: []string{"labels", "--horizon", "60"}, yardstick: bare(slices.Concat([]string{prices}, bareLabels)...)},
		{name: "report", lab: computed, quant: []string{"factor", "report", "--feature", "ret_20d@v1", "--label", "fwd_ret_60d@v1"}, yardstick: bare(all...)},
	}
	python, err := b.pythonWithNumPy(ctx, filepath.Join(scripts, "requirements.txt"))
	if err != nil {
		if os.Getenv("QUANT_TEST_EVERYTHING") != "" {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "recommend, backtest, sweep, train and score are not compared: %v\n", err)
		return checks, nil
	}
	closes := filepath.Join(b.dir, "closes.f64")
	if err := writeCloses(ctx, m, closes); err != nil {
		return nil, err
	}
	numpy := func(how string) func(context.Context) (usage, error) {
		return func(ctx context.Context) (usage, error) {
			return process(ctx, scripts, python, "guard.py", how, closes, fmt.Sprint(m.symbols), filepath.Join(b.dir, "result.npy"))
		}
	}
	return append(checks,
		&check{name: "recommend", lab: computed, quant: append([]string{"recommend"}, period(m.strategy)...), yardstick: numpy("account")},
		&check{name: "backtest", lab: later, quant: append([]string{"backtest"}, period(m.strategy)...), yardstick: numpy("account")},
		&check{name: "sweep", lab: computed, quant: append([]string{"sweep", "--set", "portfolio.top_k=10,20,30,40"}, period(m.strategy)...), yardstick: numpy("sweep")},
		&check{name: "train", lab: computed, quant: []string{"train", "--experiment", "bench"}, yardstick: numpy("ridge")},
		&check{name: "score", lab: later, quant: []string{"score", "--model", "experiment:bench", "--from", scoreFrom, "--to", marketLast}, yardstick: numpy("ridge")},
	), nil
}

// pythonWithNumPy is an interpreter that has NumPy: the system's, or a new venv.
func (b *bench) pythonWithNumPy(ctx context.Context, requirements string) (string, error) {
	if exec.CommandContext(ctx, "python3", "-c", "import numpy").Run() == nil {
		return exec.LookPath("python3")
	}
	text, err := os.ReadFile(requirements)
	if err != nil {
		return "", err
	}
	pinned := ""
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "numpy==") {
			pinned = strings.TrimSpace(line)
		}
	}
	venv := filepath.Join(b.dir, "numpy")
	python := filepath.Join(venv, "bin", "python")
	for _, args := range [][]string{{"python3", "-m", "venv", venv}, {python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", pinned}} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		if text, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("no NumPy: %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(text)))
		}
	}
	return python, nil
}

// writeCloses writes the adjusted closes, a session after another, as they lie in
// memory.
func writeCloses(ctx context.Context, m market, path string) error {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, fmt.Sprintf("SELECT adj_close FROM '%s' ORDER BY date, symbol", m.bars))
	if err != nil {
		return err
	}
	defer rows.Close()
	var out []byte
	for rows.Next() {
		var v float64
		if err := rows.Scan(&v); err != nil {
			return err
		}
		out = binary.NativeEndian.AppendUint64(out, math.Float64bits(v))
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return os.WriteFile(path, out, 0o644)
}
