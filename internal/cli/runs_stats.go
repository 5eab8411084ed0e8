package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/metastore"
	"quant/internal/output"
	"quant/internal/runs"
)

func runsStats(env *Env) Command {
	var kind, since string
	var all bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Sum up the runs by kind: how many, how well, how long, what failed last",
		Long: `Sum up by kind the runs that may change something; --all also those that only
read, and --kind a kind of either sort. Deleted runs are left out.

--since takes what it does in runs list, and 0 or all for every run there is.
Without it the last 30 days are summed up, so that the answer takes no longer the
older the lab is.

The success rate is SUCCESS / (SUCCESS + FAIL). The durations p50 and p95 are
exact: the smallest duration that at least 50 or 95 percent of the durations of
the ended runs, successful or not, do not exceed (nearest rank). A run whose end
nobody saw has no duration.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f := metastore.RunFilter{All: all || kind != "", Kind: kind}
			if since != "all" && since != "0" {
				var err error
				if f.Since, err = parseSince(since, env.Now()); err != nil {
					return err
				}
			}
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			list, err := runs.Stats(cmd.Context(), meta, f)
			if err != nil {
				return err
			}
			return env.Print(kindList(list))
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "only this kind, such as ingest or exec (also one that only reads)")
	cmd.Flags().StringVar(&since, "since", "30d", "only runs started since then (0 or all: every run)")
	cmd.Flags().BoolVar(&all, "all", false, "also the runs that only read")
	return Command{Command: cmd}
}

// kindList is the result of runs stats.
type kindList []runs.Kind

func (l kindList) Sections() []output.Section {
	g := output.Grid{
		Columns: []string{"KIND", "RUNS", "RUNNING", "SUCCESS", "P50", "P95", "LAST FAIL", "RUN", "ERROR"},
		Numbers: []bool{false, true, true, true, true, true},
	}
	for _, k := range l {
		rate := ""
		if k.SuccessRate != nil {
			rate = fmt.Sprintf("%.1f%%", *k.SuccessRate*100)
		}
		g.Cells = append(g.Cells, []string{
			k.Kind, fmt.Sprint(k.Runs), fmt.Sprint(k.Running), rate, quant.Micros(k.P50US), quant.Micros(k.P95US),
			second(k.LastFailAt), quant.ShortID(string(k.LastFailRun)), quant.Clip(string(k.LastFail), 60),
		})
	}
	return []output.Section{{Rows: g}}
}
