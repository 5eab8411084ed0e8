package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/metastore"
	"quant/internal/output"
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
			sums, err := meta.RunStats(cmd.Context(), f)
			if err != nil {
				return err
			}
			var failed []string
			for _, s := range sums {
				if s.LastFail != "" {
					failed = append(failed, s.LastFail)
				}
			}
			runs, err := meta.RunsOf(cmd.Context(), failed)
			if err != nil {
				return err
			}
			last := map[string]metastore.RunDetail{}
			for _, r := range runs {
				last[r.RunID] = r
			}
			list := kindList{}
			for _, s := range sums {
				list = append(list, newKindRow(s, last[s.LastFail]))
			}
			return env.Print(list)
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "only this kind, such as ingest or exec (also one that only reads)")
	cmd.Flags().StringVar(&since, "since", "30d", "only runs started since then (0 or all: every run)")
	cmd.Flags().BoolVar(&all, "all", false, "also the runs that only read")
	return Command{Command: cmd}
}

// kindRow is one kind of runs in the result of runs stats.
type kindRow struct {
	Kind        string     `json:"kind"`
	Runs        int64      `json:"runs"`
	Running     int64      `json:"running"`
	Success     int64      `json:"success"`
	Fail        int64      `json:"fail"`
	SuccessRate *float64   `json:"success_rate"` // null: none has ended
	P50US       *int64     `json:"p50_us"`
	P95US       *int64     `json:"p95_us"`
	LastFailAt  quant.Time `json:"last_fail_at"`
	LastFailRun quant.Text `json:"last_fail_run"`
	LastFail    quant.Text `json:"last_fail"` // first line of its text
}

func newKindRow(s metastore.KindStats, last metastore.RunDetail) kindRow {
	row := kindRow{Kind: s.Kind, Runs: s.Runs, Running: s.Running, Success: s.Success, Fail: s.Fail, P50US: s.P50US, P95US: s.P95US}
	if ended := s.Success + s.Fail; ended > 0 {
		row.SuccessRate = ptr(float64(s.Success) / float64(ended))
	}
	if s.LastFail != "" {
		first, _, _ := strings.Cut(string(last.ErrorText), "\n")
		row.LastFailAt, row.LastFailRun, row.LastFail = last.EndedAt, quant.Text(s.LastFail), quant.Text(first)
	}
	return row
}

type kindList []kindRow

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
			k.Kind, fmt.Sprint(k.Runs), fmt.Sprint(k.Running), rate, took(k.P50US), took(k.P95US),
			second(k.LastFailAt), quant.ShortID(string(k.LastFailRun)), clipText(string(k.LastFail), 60),
		})
	}
	return []output.Section{{Rows: g}}
}
