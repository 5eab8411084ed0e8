package main

import (
	"context"
	"fmt"
	"path/filepath"
)

// expressions compares Alpha158 with Polars, which computes those of its expressions that
// it can say. Of the values, those of every 17th day are compared.
func (p *peers) expressions(ctx context.Context) ([]figure, error) {
	raw, err := p.raw(ctx)
	if err != nil || p.prepare {
		return nil, err
	}
	out := filepath.Join(p.bench.dir, "alpha158.parquet")
	const some = "(%s - DATE '1970-01-01') %% 17 = 3 AND %s"
	return p.contest(ctx, contest{
		what: "alpha158", lab: raw, quant: []string{"features", "--feature-version", "alpha158"},
		peer: "Polars' lazy engine, the 128 features that it can say, from the same Parquet to one wide Parquet file", script: []string{"alpha158.py", p.bars, out},
		agrees: func(ctx context.Context, dir string) (figure, error) {
			return agreement(ctx, dir, "symbol, ts, name",
				"SELECT symbol, ts, feature_name AS name, feature_value AS value FROM features_daily WHERE feature_version = 'alpha158' AND NOT regexp_matches(feature_name, '^(BETA|RSQR|RESI|IMAX|IMIN|IMXD)[0-9]') AND "+fmt.Sprintf(some, "ts", p.sampled("symbol")),
				fmt.Sprintf("SELECT symbol, date AS ts, name, value FROM (UNPIVOT (SELECT * FROM '%s' WHERE "+some+") ON COLUMNS(* EXCLUDE (symbol, date)) INTO NAME name VALUE value)", out, "date", p.sampled("symbol")), 1e-6)
		},
	})
}
