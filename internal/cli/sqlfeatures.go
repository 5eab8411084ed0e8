package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/output"
	"quant/internal/pipeline"
	"quant/internal/sandbox"
	"quant/internal/sqlfeature"
)

func bindSQLFeatures(cmd *cobra.Command, o *pipeline.SQLFeaturesOptions) {
	f := cmd.Flags()
	f.StringVar(&o.File, "sql", "", "file with one SELECT of symbol, ts and feature_value: features of a version of its own, proved not to look ahead")
	f.StringVar(&o.Feature, "feature", "", "name of the feature of --sql, where the query gives none")
	f.IntVar(&o.ProofDays, "proof-days", sqlfeature.DefaultProofDays, "on how many days --sql is proved")
	f.Var(newDuration(&o.Timeout, sandbox.DefaultTimeout), "timeout", "stop each run of --sql after this time")
}

// computeSQL computes the features of a query.
func computeSQL(cmd *cobra.Command, env *Env, o pipeline.SQLFeaturesOptions) error {
	for _, name := range []string{"symbols", "accept-raw"} {
		if cmd.Flags().Changed(name) {
			return quant.Errorf(quant.Usage, "--%s and --sql do not go together", name).WithHint("say it in the query")
		}
	}
	if !cmd.Flags().Changed("feature-version") {
		return quant.Errorf(quant.Usage, "the features of --sql need a version of their own").WithHint("--feature-version my_sql")
	}
	report, err := pipeline.SQLFeatures(cmd.Context(), env.Session, o)
	if err != nil {
		return err
	}
	return env.Print(sqlFeatureReport{report})
}

type sqlFeatureReport struct{ sqlfeature.Report }

func (r sqlFeatureReport) CSVRows() any { return r.Features }

func (r sqlFeatureReport) Sections() []output.Section {
	if r.StandingRun != "" {
		return []output.Section{{Lines: []string{
			fmt.Sprintf("%s: %s, up to date since run %s", r.Version, quant.Count(int(r.Symbols), "symbol"), r.StandingRun),
			fmt.Sprintf("features_daily: unchanged; known at: %s; history was cut at, and changed after, %s", r.KnownAt, days(r.Proof.Days)),
		}}, {Rows: r.Features}}
	}
	lines := []string{
		fmt.Sprintf("%s: %s, %d rows of the query, %d values not finite", r.Version, quant.Count(int(r.Symbols), "symbol"), r.RowsRead, r.NotFinite),
		fmt.Sprintf("features_daily: %d values inserted, %d updated, %d unchanged, %d deleted", r.Inserted, r.Updated, r.Unchanged, r.Deleted),
		fmt.Sprintf("known at: %s; history cut at, and changed after, %s; %d values compared", r.KnownAt, days(r.Proof.Days), r.Proof.Compared),
	}
	return []output.Section{{Lines: lines}, {Rows: r.Features}}
}

func days(list []quant.Date) string {
	texts := make([]string, len(list))
	for i, d := range list {
		texts[i] = d.String()
	}
	return quant.SomeOf(texts, 10)
}
