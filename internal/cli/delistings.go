package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/backtest"
	"quant/internal/output"
	"quant/internal/pipeline"
)

func delistingsCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "delistings",
			Short: "Tell backtests which symbols were delisted or halted, and at what return",
			Long: `Keep the delistings and halts that the lab knows of. A backtest closes a position
without a bar for delist_after sessions at delisting_return, because it knows no
better; what stands here beats that rule, for the benchmark, too:

- A delisting closes the position on its day, at the last price up to then
  x (1 + return), and not before; it takes the rule's place until then.
- A halt keeps it, at its last price, and its sessions do not count for the rule.
- From the first to the last day the symbol is not traded, whatever bars there
  are. A delisting without an end has none: give it one if the symbol was listed
  again.

They stand in delistings.csv of the data folder, with a backup of the lab; what a
backtest used of them is kept with it.`,
		},
		Sub: []Command{delistingsAdd(env), delistingsImport(env), delistingsList(env), delistingsRemove(env)},
	}
}

// knownList is the result of delistings list.
type knownList []backtest.Known

// knownRow is a delisting or a halt in a table.
type knownRow struct {
	Symbol string     `json:"symbol"`
	Kind   string     `json:"kind"`
	Date   quant.Date `json:"date"`
	End    string     `json:"end"`
	Return string     `json:"return"`
	Reason quant.Text `json:"reason"`
}

func knownRowOf(e backtest.Known) knownRow {
	r := knownRow{Symbol: e.Symbol, Kind: e.Kind, Date: e.Date, Reason: e.Reason}
	if e.End != nil {
		r.End = e.End.String()
	}
	if e.Return != nil {
		r.Return = strconv.FormatFloat(*e.Return, 'g', -1, 64)
	}
	return r
}

func (l knownList) Sections() []output.Section {
	rows := []knownRow{}
	for _, e := range l {
		rows = append(rows, knownRowOf(e))
	}
	return []output.Section{{Rows: rows}}
}

// knownChanges is the result of the commands that change them.
type knownChanges struct{ pipeline.KnownChanges }

func (c knownChanges) CSVRows() any {
	type row struct {
		Change string `json:"change"`
		knownRow
	}
	rows := []row{}
	for _, part := range c.parts() {
		for _, e := range part.list {
			rows = append(rows, row{part.change, knownRowOf(e)})
		}
	}
	return rows
}

// parts are the changes by what they are, in the order in which they are shown.
func (c knownChanges) parts() []struct {
	change string
	list   []backtest.Known
} {
	return []struct {
		change string
		list   []backtest.Known
	}{{"added", c.Added}, {"updated", c.Updated}, {"unchanged", c.Unchanged}, {"removed", c.Removed}}
}

func (c knownChanges) Sections() []output.Section {
	var lines []string
	for _, part := range c.parts() {
		var names []string
		for _, e := range part.list {
			names = append(names, e.Symbol+" "+e.Kind+" "+e.Date.String())
		}
		if len(names) > 0 {
			lines = append(lines, fmt.Sprintf("%s %d: %s", part.change, len(names), quant.SomeOf(names, 10)))
		}
	}
	if lines == nil {
		lines = []string{"nothing to change"}
	}
	return []output.Section{{Lines: lines}}
}

func delistingsAdd(env *Env) Command {
	var date, end, reason string
	var ret float64
	e := backtest.Known{}
	cmd := &cobra.Command{
		Use:   "add SYMBOL",
		Short: "Add a delisting or a halt, or change one",
		Long: `Add a delisting of a symbol or, with --kind halt, a halt. --date is its first day:
for a delisting the day on which a position is closed, at the close of that session
or of the next one, so both the last day of trading and the day after it will do.
--end is its last day. --return is what the last price still brought, decimal: -1
is a total loss, 0.05 a takeover at five percent more; without it, the strategy's
backtest.delisting_return. What the lab knows of the same symbol and day it
replaces.`,
		Example: `  quant delistings add ENRNQ --date 2002-01-15 --return -0.99 --reason bankruptcy
  quant delistings add TWTR --date 2022-10-27 --return 0.006 --reason "taken over"
  quant delistings add 005930 --kind halt --date 2018-04-30 --end 2018-05-03 --reason "stock split"`,
		Args: wantArgs(1, 1, "one symbol"),
		RunE: func(cmd *cobra.Command, args []string) error {
			first, err := dayFlag(cmd, "date", date)
			if err != nil {
				return err
			}
			if first == nil {
				return quant.Errorf(quant.Usage, "delistings add needs --date").WithHint("its first day, as YYYY-MM-DD")
			}
			if e.End, err = dayFlag(cmd, "end", end); err != nil {
				return err
			}
			e.Symbol, e.Date, e.Reason, e.Return = args[0], *first, quant.Text(reason), given(cmd, "return", &ret)
			return addDelistings(cmd.Context(), env, []backtest.Known{e})
		},
	}
	cmd.Flags().StringVar(&e.Kind, "kind", backtest.KindDelisting, "delisting or halt")
	cmd.Flags().StringVar(&date, "date", "", "its first day, 2024-01-31 (required)")
	cmd.Flags().StringVar(&end, "end", "", "its last day (default: it has no end)")
	cmd.Flags().Float64Var(&ret, "return", 0, "of a delisting, decimal, on the last price (default: delisting_return of the strategy)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, in plain text")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func delistingsImport(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "import FILE",
			Short: "Add delistings and halts from a CSV file with a header, all or none",
			Long: `Add delistings and halts from a CSV file in UTF-8 ("-" reads standard input), all or
none. Its header names the columns, in any order: symbol and date, and any of kind
(delisting, or halt), end, return and reason, with the meaning that they have for
quant delistings add. A line that cannot be used is named, and nothing is added.
What the lab knows of the same symbol and day is replaced.`,
			Args: wantArgs(1, 1, "one file"),
			RunE: func(cmd *cobra.Command, args []string) error {
				list, err := whileWaiting(cmd.Context(), func() ([]backtest.Known, error) {
					return pipeline.ReadDelistings(env.Session, args[0], env.Streams().In)
				})
				if err != nil {
					return err
				}
				return addDelistings(cmd.Context(), env, list)
			},
		},
		Traits: Traits{Changes: always},
	}
}

func addDelistings(ctx context.Context, env *Env, list []backtest.Known) error {
	done, err := pipeline.AddDelistings(ctx, env.Session, list)
	if err != nil {
		return err
	}
	return env.Print(knownChanges{done})
}

func delistingsList(env *Env) Command {
	return Command{Command: &cobra.Command{
		Use:   "list",
		Short: "List the delistings and halts that the lab knows of",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			list, err := pipeline.Delistings(env.Session)
			if err != nil {
				return err
			}
			return env.Print(knownList(list))
		},
	}}
}

func delistingsRemove(env *Env) Command {
	var date string
	cmd := &cobra.Command{
		Use:   "remove SYMBOL...",
		Short: "Remove the delistings and halts of symbols, all or none",
		Args:  wantArgs(1, -1, "at least one symbol"),
		RunE: func(cmd *cobra.Command, args []string) error {
			day, err := dayFlag(cmd, "date", date)
			if err != nil {
				return err
			}
			done, err := pipeline.RemoveDelistings(cmd.Context(), env.Session, args, day)
			if err != nil {
				return err
			}
			return env.Print(knownChanges{done})
		},
	}
	cmd.Flags().StringVar(&date, "date", "", "only the one that begins on this day (default: all)")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}
