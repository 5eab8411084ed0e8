package cli

import (
	"github.com/spf13/cobra"

	"quant/internal/feature"
	"quant/internal/pipeline"
)

func labelsCommand(env *Env) Command {
	var o pipeline.LabelsOptions
	var symbols string
	cmd := &cobra.Command{
		Use:   "labels",
		Short: "Compute the labels of a horizon from ohlcv",
		Long: `Compute fwd_ret_<h>d, the return over the next h sessions, and direction_<h>d,
1 where it is above 0 and else 0, and make labels hold exactly these for the
symbols: all that have bars, or those of --symbols. A label of t needs a bar of
t and one of t1, the session that is h sessions later. Only symbols whose bars
or sessions have changed since are computed again.

Prices, and what is refused, are those of "quant features".`,
		Example: `  quant labels --horizon 60
  quant labels --label-version v1 --horizon 5 --symbols AAPL,IBM`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := feature.CheckLabelVersion(o.Version); err != nil {
				return err
			}
			if err := feature.CheckHorizon(o.Horizon); err != nil {
				return err
			}
			var err error
			if o.Symbols, err = featureSymbols(cmd, symbols); err != nil {
				return err
			}
			report, err := pipeline.Labels(cmd.Context(), env.Session, o)
			if err != nil {
				return err
			}
			return env.Print(featureReport{report})
		},
	}
	cmd.Flags().StringVar(&o.Version, "label-version", feature.LabelVersion, "version of the labels")
	cmd.Flags().IntVar(&o.Horizon, "horizon", 60, "sessions from t to t1, 1 or more")
	bindFeatureFlags(cmd, &symbols, &o.AcceptRaw, &o.Force)
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}
