package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// growth runs the chain once with the market's symbols and once with 5 times as
// many.
func (p *peers) growth(ctx context.Context) ([]figure, error) {
	small := *p
	large := *p
	large.size *= 5
	var err error
	if large.market, err = large.prepared(ctx, filepath.Join(p.home, fmt.Sprintf("market%d", large.size))); err != nil || p.prepare {
		return nil, err
	}
	var costs [2][]usage
	var names []string
	for i, of := range []*peers{&small, &large} {
		dir, err := os.MkdirTemp(p.bench.dir, "grow")
		if err != nil {
			return nil, err
		}
		names = nil
		for _, args := range [][]string{
			{"init-db"},
			{"ingest", of.bars},
			{"features", "--feature-version", "v1"},
			{"features", "--feature-version", "v2"},
			{"labels", "--horizon", modelHorizon},
			{"labels", "--horizon", "60"},
			{"factor", "report", "--feature", "ret_20d@v1", "--label", factorLabel + "@v1"},
			{"experiments", "create", "bench", "--features", strings.Join(modelFeatures(), "@v1,") + "@v1", "--label", modelLabel + "@v1", "--folds", modelFolds, "--algo", "ridge", "--param", "alpha=" + modelAlpha},
			{"train", "--experiment", "bench"},
			{"score", "--model", "experiment:bench", "--from", scoreFrom, "--to", marketLast},
			append([]string{"recommend"}, period(of.strategy)...),
			append([]string{"backtest"}, period(of.strategy)...),
			append([]string{"sweep", "--set", "portfolio.top_k=10,20,30,40"}, period(of.strategy)...),
		} {
			u, err := process(ctx, dir, p.quant, args...)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(os.Stderr, "  %d symbols, %s: %s\n", of.size, strings.Join(args[:min(len(args), 3)], " "), u)
			name := args[0]
			if strings.HasPrefix(name, "feature") || name == "labels" {
				name = strings.Join(args, " ")
			}
			names, costs[i] = append(names, name), append(costs[i], u)
		}
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	var figures []figure
	for i, name := range names {
		a, b := costs[0][i], costs[1][i]
		// A command that does not depend on the market is in the noise of a start.
		linear := ratio(b.wall, a.wall) <= 5.5 || b.wall.Seconds() < 1
		figures = append(figures, figure{fmt.Sprintf("`quant %s`: %d symbols / %d", name, large.size, small.size),
			fmt.Sprintf("%s / %s = %.1f", b, a, ratio(b.wall, a.wall)), linear && b.peak <= 2<<30})
	}
	return figures, nil
}
