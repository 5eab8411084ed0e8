package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// sampled is one symbol in ten, all of a small market: what is compared value by
// value.
func (p *peers) sampled(column string) string {
	if p.size <= 100 {
		return "true"
	}
	return column + " LIKE '%7'"
}

// features compares a whole version.
func (p *peers) features(ctx context.Context, version string) ([]figure, error) {
	raw, err := p.raw(ctx)
	if err != nil || p.prepare {
		return nil, err
	}
	out := filepath.Join(p.bench.dir, "features.parquet")
	peer := "Polars"
	if version == "v2" {
		peer = "Polars with TA-Lib"
	}
	return p.contest(ctx, contest{
		what: "features " + version, lab: raw, quant: []string{"features", "--feature-version", version},
		peer: peer + ", from the same Parquet to one wide Parquet file", script: []string{"features.py", version, p.bars, out},
		agrees: func(ctx context.Context, dir string) (figure, error) {
			return p.sameFeatures(ctx, dir, version, out, "true", 1e-6)
		},
	})
}

func (p *peers) sameFeatures(ctx context.Context, dir, version, file, where string, enough float64) (figure, error) {
	return agreement(ctx, dir, "symbol, ts, name",
		fmt.Sprintf("SELECT symbol, ts, feature_name AS name, feature_value AS value FROM features_daily WHERE feature_version = '%s' AND %s AND %s", version, where, p.sampled("symbol")),
		fmt.Sprintf("SELECT symbol, date AS ts, name, value FROM (UNPIVOT (SELECT * FROM '%s' WHERE %s) ON COLUMNS(* EXCLUDE (symbol, date)) INTO NAME name VALUE value)", file, p.sampled("symbol")), enough)
}

// featureSize compares what features v1 add to the Fact DB with what the long
// table of the contract, and returns, would.
func (p *peers) featureSize(ctx context.Context) ([]figure, error) {
	raw, err := p.raw(ctx)
	if err != nil || p.prepare {
		return nil, err
	}
	var sizes [3]int64
	for i, fill := range []func(dir string) error{
		func(string) error { return nil },
		func(dir string) error {
			_, err := process(ctx, dir, p.quant, "features", "--feature-version", "v1")
			return err
		},
		func(dir string) error {
			_, err := bareSQL(ctx, filepath.Join(dir, "data", "quant.duckdb"), bareFeatures)
			return err
		},
	} {
		dir, err := p.forked(raw)
		if err != nil {
			return nil, err
		}
		if err := fill(dir); err != nil {
			return nil, err
		}
		// The whole data folder: how a version is stored is free.
		err = filepath.WalkDir(filepath.Join(dir, "data"), func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			info, err := entry.Info()
			sizes[i] += info.Size()
			return err
		})
		if err != nil {
			return nil, err
		}
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	mine, long := float64(sizes[1]-sizes[0]), float64(sizes[2]-sizes[0])
	return []figure{{"features v1: what they add to the data folder, at most two thirds of one long table", fmt.Sprintf("%.0f MB / %.0f MB = %.2f", mine/1e6, long/1e6, mine/long), mine <= long*2/3}}, nil
}

// day compares what one more day costs by single commands.
func (p *peers) day(ctx context.Context) ([]figure, error) {
	lab, err := p.lab(ctx, "day", "", []string{"ingest", p.file("most.parquet")}, []string{"features", "--feature-version", "v1"}, []string{"features", "--feature-version", "v2"},
		[]string{"labels", "--horizon", "60"}, []string{"ingest", p.file("last.parquet")})
	if err != nil {
		return nil, err
	}
	if p.prepare {
		return nil, nil
	}
	var figures []figure
	for _, c := range []struct{ what, peer, quant, name, flag string }{
		{"v1", "Polars, from the last 70 sessions", "features", "--feature-version", "v1"},
		{"v2", "Polars with TA-Lib, from the last 300 sessions", "features", "--feature-version", "v2"},
		{"labels", "Polars, from the last 70 sessions", "labels", "--horizon", "60"},
	} {
		out := filepath.Join(p.bench.dir, "day.parquet")
		more, err := p.contest(ctx, contest{
			what: "one more day, " + c.what, lab: lab, quant: []string{c.quant, c.name, c.flag}, peer: c.peer, script: []string{"day.py", c.what, p.bars, out}, limit: time.Second / 2,
			agrees: func(ctx context.Context, dir string) (figure, error) {
				if c.what != "labels" {
					return p.sameFeatures(ctx, dir, c.what, out, "ts = DATE '"+marketLast+"'", 1e-6)
				}
				return agreement(ctx, dir, "symbol, ts, name", "SELECT symbol, ts, label_name AS name, label_value AS value FROM labels WHERE ts = (SELECT max(ts) FROM labels)",
					fmt.Sprintf("SELECT symbol, date AS ts, name, value FROM (UNPIVOT '%s' ON COLUMNS(* EXCLUDE (symbol, date)) INTO NAME name VALUE value)", out), 1e-6)
			},
		})
		if err != nil {
			return nil, err
		}
		figures = append(figures, more...)
	}
	return figures, nil
}

// dayOfAlpha158 measures what one more day of Alpha158 costs, beside the whole.
func (p *peers) dayOfAlpha158(ctx context.Context) ([]figure, error) {
	lab, err := p.lab(ctx, "day158", "", []string{"ingest", p.file("most.parquet")}, []string{"features", "--feature-version", "alpha158"}, []string{"ingest", p.file("last.parquet")})
	if err != nil || p.prepare {
		return nil, err
	}
	var mine []usage
	for range p.rounds {
		dir, err := p.forked(lab)
		if err != nil {
			return nil, err
		}
		u, err := process(ctx, dir, p.quant, "features", "--feature-version", "alpha158")
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "  one more day of alpha158: quant %s\n", u)
		mine = append(mine, u)
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	u := typical(mine)
	return []figure{{"`quant features --feature-version alpha158` with one more day, less than 2 s", u.String(), u.wall < 2*time.Second}}, nil
}

// pipelines compares the chain from nothing with the chain after one more day.
func (p *peers) pipelines(ctx context.Context) ([]figure, error) {
	if p.prepare {
		return nil, nil
	}
	pipeline := func(file string) []string {
		return []string{"pipeline", "run", "--strategy", p.strategy, "--from", "2010-03-01", "--to", marketLast, "--ingest", p.file(file)}
	}
	var full, more []usage
	for range p.rounds {
		dir, err := os.MkdirTemp(p.bench.dir, "fork")
		if err != nil {
			return nil, err
		}
		if _, err := process(ctx, dir, p.quant, "init-db"); err != nil {
			return nil, err
		}
		u, err := process(ctx, dir, p.quant, pipeline("most.parquet")...)
		if err != nil {
			return nil, err
		}
		full = append(full, u)
		if u, err = process(ctx, dir, p.quant, pipeline("last.parquet")...); err != nil {
			return nil, err
		}
		more = append(more, u)
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	a, b := typical(full), typical(more)
	return []figure{
		note("`pipeline run` from nothing: ingest, features, labels, recommend, backtest", "%s", a),
		figure{"`pipeline run` with one more day, at most 3 % of that", fmt.Sprintf("%s = %.1f %%", b, 100*ratio(b.wall, a.wall)), ratio(b.wall, a.wall) <= 0.03},
	}, nil
}
