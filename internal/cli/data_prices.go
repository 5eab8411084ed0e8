package cli

import (
	"github.com/spf13/cobra"

	"quant"
	"quant/internal/pipeline"
)

func dataPricesCommand(env *Env) Command {
	var o pipeline.PricesOptions
	var asOf, from, to string
	cmd := &cobra.Command{
		Use:   "prices SYMBOL...",
		Short: "Show the stored bars of symbols, as they are or as a run saw them",
		Long: `Show the stored bars of symbols, by symbol and day. With --as-of RUN they are
those that the run left behind or, if it wrote no prices, those that stood when
it ended: bit for bit, with the source and the time of each bar, whatever later
runs revised or rescaled. A symbol without bars is named on stderr; if none has
any, the exit status is 4.`,
		Example: `  quant data prices AAPL --from 2024-01-01
  quant data prices AAPL IBM --as-of last --output csv`,
		Args: wantArgs(1, -1, "at least one symbol"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Symbols = args
			for _, day := range []struct {
				flag, text string
				into       **quant.Date
			}{{"from", from, &o.From}, {"to", to, &o.To}} {
				if !cmd.Flags().Changed(day.flag) {
					continue
				}
				d, err := quant.ParseDate(day.text)
				if err != nil {
					return quant.Errorf(quant.Usage, "--%s: %w", day.flag, err).WithHint("for example --%s 2024-01-31", day.flag)
				}
				*day.into = &d
			}
			if cmd.Flags().Changed("as-of") {
				o.AsOf = &asOf
			}
			list, err := pipeline.Prices(cmd.Context(), env.Session, o)
			if err != nil {
				return err
			}
			return env.Print(list)
		},
	}
	cmd.Flags().StringVar(&asOf, "as-of", "", "a run: its id, a unique part of it, or last")
	cmd.Flags().StringVar(&from, "from", "", "first day, such as 2024-01-31")
	cmd.Flags().StringVar(&to, "to", "", "last day")
	return Command{Command: cmd}
}
