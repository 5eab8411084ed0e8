package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/feature"
	"quant/internal/output"
	"quant/internal/pipeline"
)

func featuresCommand(env *Env) Command {
	var o pipeline.FeaturesOptions
	var symbols, workers string
	var query pipeline.SQLFeaturesOptions
	cmd := &cobra.Command{
		Use:   "features",
		Short: "Compute the features of a version, and returns, from ohlcv",
		Long: `Compute the features of a version from ohlcv, and make features_daily and
returns hold exactly these for the symbols: all that have bars, or those of
--symbols. Only symbols whose bars, sessions or definitions have changed since
are computed again. "quant factor list" shows the features.

alpha158 and alpha360 are Qlib's sets. A version of your own is defined in a file:

  version: my_alpha
  description: two ideas
  features:
    MA20: Mean($close, 20) / $close
    STRONG: CSRank($close / Ref($close, 20) - 1)

or by a query a feature (TURN: {sql: "SELECT symbol, ts, ... FROM ohlcv"}), in all
entries or in none.

--file FILE computes it, the first time and again; once the lab has it,
--feature-version my_alpha does, too. What a version means never changes: another
definition under its name is refused (5). docs/features.md shows the language.

With --workers 4 groups of symbols are computed by four processes of this machine, as
jobs (quant jobs list); with --workers queue by whatever quant worker processes run,
on any machine. What is stored is the same, to the bit. Features that compare symbols,
and queries, are computed by this process all the same.

Prices are adjusted where a symbol has an adjusted_close on every row, else raw,
which is said. Raw prices that move as in a split are refused (exit status 6)
unless --accept-raw. No bars at all: 4.`,
		Example: `  quant features --feature-version v1
  quant features --feature-version v2 --symbols AAPL,IBM
  quant features --feature-version alpha158 --workers 4
  quant features --file features.yaml
  quant features --sql turnover.sql --feature-version my_sql`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("sql") {
				if o.File != "" {
					return quant.Errorf(quant.Usage, "--file and --sql are given, and each defines a version").WithHint("compute them one after the other")
				}
				if workers != "" {
					return quant.Errorf(quant.Usage, "--sql and --workers are given, and a query is of all symbols").WithHint("leave out --workers")
				}
				query.Version, query.Force = o.Version, o.Force
				return computeSQL(cmd, env, query)
			}
			for _, name := range []string{"feature", "proof-days", "timeout"} {
				if cmd.Flags().Changed(name) && (name == "feature" || o.File == "") {
					return quant.Errorf(quant.Usage, "--%s is of a query, and --sql gives none", name).WithHint("--sql FILE names the query")
				}
			}
			if cmd.Flags().Changed("file") {
				if o.File == "" {
					return quant.Errorf(quant.Usage, "--file names no file").WithHint("--file features.yaml")
				}
				if cmd.Flags().Changed("feature-version") {
					return quant.Errorf(quant.Usage, "--file and --feature-version are given, and the file names its version").WithHint("leave out --feature-version")
				}
				o.Version = ""
			} else if err := feature.CheckVersion(o.Version); err != nil {
				return err
			}
			var err error
			if o.Symbols, err = featureSymbols(cmd, symbols); err != nil {
				return err
			}
			if cmd.Flags().Changed("proof-days") {
				o.ProofDays = query.ProofDays
			}
			if cmd.Flags().Changed("timeout") {
				o.Timeout = query.Timeout
			}
			if o.Unit.Fingerprint != "" {
				oneProcessor()
			} else if o.Dispatch, err = env.dispatch(workers); err != nil {
				return err
			}
			report, err := pipeline.Features(cmd.Context(), env.Session, o)
			if err != nil || o.Unit.Fingerprint != "" {
				return err
			}
			return env.Print(featureReport{report})
		},
	}
	cmd.Flags().StringVar(&o.Version, "feature-version", pipeline.DefaultFeatureVersion, "version: v1, v2, alpha158, alpha360, or one of your own that the lab has")
	cmd.Flags().StringVar(&o.File, "file", "", "YAML file that defines a version of your own, to compute it")
	bindFeatureFlags(cmd, &symbols, &o.AcceptRaw, &o.Force)
	bindSQLFeatures(cmd, &query)
	bindWorkers(cmd, &workers, "compute groups of symbols", &o.Unit)
	return Command{Command: cmd, Traits: Traits{Changes: changesUnlessUnit, RunsBare: true}, Sub: []Command{featuresImport(env)}}
}

func bindFeatureFlags(cmd *cobra.Command, symbols *string, acceptRaw, force *bool) {
	cmd.Flags().StringVar(symbols, "symbols", "", "only these symbols, separated by commas (default: all that have bars)")
	cmd.Flags().BoolVar(acceptRaw, "accept-raw", false, "take raw prices as they are, also where they move as in a split")
	cmd.Flags().BoolVar(force, "force", false, "compute also what has not changed")
}

// featureSymbols reads a list of symbols; "" is nil.
func featureSymbols(cmd *cobra.Command, list string) ([]string, error) {
	if !cmd.Flags().Changed("symbols") {
		return nil, nil
	}
	symbols := []string{}
	for s := range strings.SplitSeq(list, ",") {
		s = strings.TrimSpace(s)
		if err := quant.ValidateSymbol(s); err != nil {
			return nil, quant.Errorf(quant.Usage, "--symbols %q: %w", list, err).WithHint("write --symbols AAPL,IBM; `quant symbols list` shows the symbols")
		}
		symbols = append(symbols, s)
	}
	return symbols, nil
}

// featureReport is the result of features and labels.
type featureReport struct{ feature.Report }

func (r featureReport) CSVRows() any { return r.Series }

func (r featureReport) Sections() []output.Section {
	what := r.Version
	if r.Basis != "" { // a query has none of its own
		what = fmt.Sprintf("%s, %s prices, calendar %s", r.Version, r.Basis, r.Calendar)
	}
	lines := []string{fmt.Sprintf("%s: %s with bars, %d computed", what, quant.Count(r.Symbols, "symbol"), r.Computed)}
	if r.Removed > 0 {
		lines = append(lines, quant.Count(r.Removed, "symbol")+" without bars: rows removed")
	}
	for _, t := range r.Tables {
		lines = append(lines, fmt.Sprintf("%s: %d rows inserted, %d updated, %d deleted", t.Table, t.Inserted, t.Updated, t.Deleted))
	}
	if p := r.Proof; p != nil {
		lines = append(lines, fmt.Sprintf("proved: %d values of %s come out the same without what follows %s, and with other bars after it", p.Compared, quant.Count(p.Symbols, "symbol"), quant.Count(len(p.Days), "day")))
	}
	sections := []output.Section{{Lines: lines}}
	if len(r.Series) > 0 {
		sections = append(sections, output.Section{Rows: r.Series})
	}
	return sections
}
