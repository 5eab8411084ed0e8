package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/output"
	"quant/internal/pipeline"
)

func recommendCommand(env *Env) Command {
	var o pipeline.RecommendOptions
	var asof, from, to string
	cmd := &cobra.Command{
		Use:   "recommend --strategy FILE [--asof DAY | [--from DAY] [--to DAY]]",
		Short: "Decide what to hold: propose by a strategy's signal, judge by its risk rules, write targets",
		Long: `Decide what to hold. For each day the strategy proposes its best names by the
signal of that very day, and the supervisor judges: R5 score floor and R3
positions reject, R2 clips to the maximum weight, R1 scales to the gross exposure
cap, R4 limits the turnover from the last decision, drifted to the day.

--from and --to decide every rebalance day of the strategy between them, in
order, and replace all its decisions in there. Without --from they begin on
backtest.from of the file; --from without --to goes up to the last bar, and
without both backtest.to is the last day. --asof decides on that one session, a
rebalance day or not.

A decision without an approved weight means cash; where there is no decision, the
book is held. Deciding a day again replaces its whole set and, if it came out
otherwise, marks the strategy's later ones stale: decide those again, too. The
same again changes nothing.

The exit status is 4 where there is nothing to decide on (no prices, no signal, no
rebalance day), and 6 where the signal is in units of the price or raw prices move
as in a split.`,
		Example: `  quant recommend --strategy strategies/momentum_demo.yaml --from 2001-01-01 --to 2013-03-01
  quant recommend --strategy strategies/momentum_demo.yaml --asof 2013-03-01 --set portfolio.top_k=2`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			for _, f := range []struct {
				name, value string
				to          **quant.Date
			}{{"asof", asof, &o.Asof}, {"from", from, &o.From}, {"to", to, &o.To}} {
				if *f.to, err = dayFlag(cmd, f.name, f.value); err != nil {
					return err
				}
			}
			report, err := pipeline.Recommend(cmd.Context(), env.Session, o)
			if err != nil {
				return err
			}
			return env.Print(recommendation{report})
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Strategy, "strategy", "", "strategy file")
	f.StringVar(&asof, "asof", "", "decide on this session (YYYY-MM-DD)")
	f.StringVar(&from, "from", "", "decide the rebalance days from this day on (default: backtest.from of the file)")
	f.StringVar(&to, "to", "", "... up to this day (default: the last bar; without --from, backtest.to of the file)")
	f.BoolVar(&o.AcceptRaw, "accept-raw", false, "take raw prices that move as in a split as they are")
	setFlag(cmd, &o.Set)
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

// dayFlag reads a flag that is a day; nil where it is not given.
func dayFlag(cmd *cobra.Command, name, value string) (*quant.Date, error) {
	if !cmd.Flags().Changed(name) {
		return nil, nil
	}
	d, err := quant.ParseDate(value)
	if err != nil {
		return nil, quant.Errorf(quant.Usage, "--%s %q is no day", name, value).WithHint("write it as YYYY-MM-DD")
	}
	return &d, nil
}

// recommendation is the result of recommend.
type recommendation struct{ pipeline.Recommendation }

func (r recommendation) CSVRows() any { return r.Targets }

func (r recommendation) Sections() []output.Section {
	head := []string{fmt.Sprintf("%s version %s: %s from %s to %s, %d changed", r.StrategyID, r.Version, quant.Count(r.Decisions, "decision"), r.From, r.To, r.Changed)}
	if r.KnownAt != "" {
		head = append(head, "known at: "+string(r.KnownAt))
	}
	if r.InSample {
		head = append(head, "in sample: the scores are of dates that their model was trained on")
	}
	if r.ToCash > 0 {
		head = append(head, fmt.Sprintf("to cash: %d", r.ToCash))
	}
	var struck []string
	for _, f := range r.Flags {
		struck = append(struck, fmt.Sprintf("%s %d", f.Flag, f.Rows))
	}
	if len(struck) > 0 {
		head = append(head, "rules struck: "+strings.Join(struck, ", "))
	}
	const shown = 10
	type setRow struct {
		Asof     string `json:"asof"`
		Proposed int    `json:"proposed"`
		Approved int    `json:"approved"`
		Gross    string `json:"gross"`
		Turnover string `json:"turnover"`
		Exempt   string `json:"exempt"`
	}
	// The net exposure says something of a book that may be short alone.
	type netRow struct {
		Asof     string `json:"asof"`
		Proposed int    `json:"proposed"`
		Approved int    `json:"approved"`
		Gross    string `json:"gross"`
		Net      string `json:"net"`
		Turnover string `json:"turnover"`
		Exempt   string `json:"exempt"`
	}
	var sets []setRow
	var nets []netRow
	for _, s := range r.Sets[max(0, len(r.Sets)-shown):] {
		sets = append(sets, setRow{s.Asof.String(), s.Proposed, s.Approved, four(s.Gross), four(s.Turnover), four(s.ExemptTurnover)})
		if s.Net != nil {
			nets = append(nets, netRow{s.Asof.String(), s.Proposed, s.Approved, four(s.Gross), four(*s.Net + 0), four(s.Turnover), four(s.ExemptTurnover)})
		}
	}
	type targetRow struct {
		Symbol   string `json:"symbol"`
		Weight   string `json:"weight"`
		Score    string `json:"score"`
		Approved bool   `json:"approved"`
		Reason   string `json:"reason"`
	}
	var targets []targetRow
	for _, t := range r.Targets {
		row := targetRow{Symbol: t.Symbol, Weight: four(t.Weight), Approved: t.Approved, Reason: t.Reason}
		if t.Score != nil {
			row.Score = strconv.FormatFloat(*t.Score, 'g', 6, 64)
		}
		targets = append(targets, row)
	}
	title := "the decisions"
	if len(r.Sets) > shown {
		title = fmt.Sprintf("the last %d decisions", shown)
	}
	decisions := output.Section{Title: title, Rows: sets}
	if len(nets) > 0 {
		decisions.Rows = nets
	}
	return []output.Section{{Lines: head}, decisions, {Title: "decision of " + r.To.String(), Rows: targets}}
}

func four(x float64) string { return strconv.FormatFloat(x, 'f', 4, 64) }
