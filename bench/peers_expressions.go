package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"quant/internal/expression"
)

// unsaid are the features of Alpha158 that Polars has no expression for.
const unsaid = "^(BETA|RSQR|RESI|IMAX|IMIN|IMXD)[0-9]"

// expressions compares Alpha158 with Polars, which computes those of its expressions that
// it can say.
func (p *peers) expressions(ctx context.Context) ([]figure, error) {
	return p.alpha158(ctx, "alpha158", "--feature-version", "alpha158")
}

// sameExpressions compares a set of exactly those expressions.
func (p *peers) sameExpressions(ctx context.Context) ([]figure, error) {
	var set strings.Builder
	set.WriteString("version: alpha128\nfeatures:\n")
	without := regexp.MustCompile(unsaid)
	for _, f := range expression.Alpha158() {
		if !without.MatchString(f.Name) {
			fmt.Fprintf(&set, "  %s: %q\n", f.Name, f.Text)
		}
	}
	file := filepath.Join(p.bench.dir, "alpha128.yaml")
	if err := os.WriteFile(file, []byte(set.String()), 0o644); err != nil {
		return nil, err
	}
	return p.alpha158(ctx, "alpha128", "--file", file)
}

// alpha158 compares a version with what Polars says of Alpha158. Of the values, those of
// every 17th day are compared.
func (p *peers) alpha158(ctx context.Context, version string, flags ...string) ([]figure, error) {
	raw, err := p.raw(ctx)
	if err != nil || p.prepare {
		return nil, err
	}
	out := filepath.Join(p.bench.dir, "alpha158.parquet")
	const some = "(%s - DATE '1970-01-01') %% 17 = 3 AND %s"
	return p.contest(ctx, contest{
		what: version, lab: raw, quant: append([]string{"features"}, flags...),
		peer: "Polars' lazy engine, the 128 features that it can say, from the same Parquet to one wide Parquet file", script: []string{"alpha158.py", p.bars, out}, memory: 2 << 30,
		agrees: func(ctx context.Context, dir string) (figure, error) {
			return agreement(ctx, dir, "symbol, ts, name",
				fmt.Sprintf("SELECT symbol, ts, feature_name AS name, feature_value AS value FROM features_daily WHERE feature_version = '%s' AND NOT regexp_matches(feature_name, '%s') AND "+some, version, unsaid, "ts", p.sampled("symbol")),
				fmt.Sprintf("SELECT symbol, date AS ts, name, value FROM (UNPIVOT (SELECT * FROM '%s' WHERE "+some+") ON COLUMNS(* EXCLUDE (symbol, date)) INTO NAME name VALUE value)", out, "date", p.sampled("symbol")), 1e-6)
		},
	})
}
