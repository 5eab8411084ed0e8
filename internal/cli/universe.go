package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/output"
	"quant/internal/pipeline"
)

func universeCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "universe",
			Short: "Keep who belonged to a universe on which day, such as the members of an index",
			Long: `Keep lists of the members of universes over time. A strategy whose universe is
{type: membership, name: NAME} proposes on each day those that were members on that
day, and sells what has left. A backtest of it bears no stamp of a universe that was
chosen knowing who survived.

They stand in universes.csv of the data folder, with a backup of the lab.`,
		},
		Sub: []Command{universeImport(env), universeList(env), universeShow(env), universeRemove(env)},
	}
}

// universeRows is the result of universe list.
type universeRows []pipeline.UniverseChange

// universeRow is a list of members in a table.
type universeRow struct {
	Name    string     `json:"name"`
	Symbols int        `json:"symbols"`
	Stays   int        `json:"stays"`
	First   quant.Date `json:"first"`
	Digest  string     `json:"digest"`
}

func (l universeRows) Sections() []output.Section {
	rows := []universeRow{}
	for _, u := range l {
		rows = append(rows, universeRow{u.Name, u.Symbols, u.Stays, *u.First, short(string(u.Digest))})
	}
	return []output.Section{{Rows: rows}}
}

// universeChanged is the result of the commands that change a list.
type universeChanged struct{ pipeline.UniverseChange }

func (c universeChanged) CSVRows() any {
	type row struct {
		Name    string     `json:"name"`
		Change  string     `json:"change"`
		Symbols int        `json:"symbols"`
		Stays   int        `json:"stays"`
		Digest  quant.Text `json:"digest"`
	}
	return []row{{c.Name, c.Change, c.Symbols, c.Stays, c.Digest}}
}

func (c universeChanged) Sections() []output.Section {
	line := fmt.Sprintf("universe %s %s", c.Name, c.Change)
	if c.First != nil {
		line += fmt.Sprintf(": %s, %s from %s on, %s", quant.Count(c.Symbols, "symbol"), quant.Count(c.Stays, "stay"), c.First, short(string(c.Digest)))
	}
	return []output.Section{{Lines: []string{line}}}
}

func universeImport(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "import NAME FILE",
			Short: "Take a CSV file for the list of members of a universe",
			Long: `Take a CSV file in UTF-8 ("-" reads standard input) for the list of members of the
universe NAME, in the place of the one that there was. Its header names the columns, in
any order:

- symbol, from, to: a line for each stay, both days included; to is empty where the
  symbol has not left.
- date, symbol: a line for each member on each day of a change, or on every day. The
  members of a day stay until the next day that the file has.

Tabs may stand for the commas; an instruments file of Qlib, without a header, is taken
as it is.

A line that cannot be used is named, and nothing is taken.`,
			Example: `  quant universe import sp500 sp500_members.csv`,
			Args:    wantArgs(2, 2, "a name and one file"),
			RunE: func(cmd *cobra.Command, args []string) error {
				done, err := whileWaiting(cmd.Context(), func() (pipeline.UniverseChange, error) {
					return pipeline.ImportUniverse(cmd.Context(), env.Session, args[0], args[1], env.Streams().In)
				})
				if err != nil {
					return err
				}
				return env.Print(universeChanged{done})
			},
		},
		Traits: Traits{Changes: always},
	}
}

func universeList(env *Env) Command {
	return Command{Command: &cobra.Command{
		Use:   "list",
		Short: "List the universes whose members the lab knows",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			lists, err := pipeline.Universes(env.Session)
			if err != nil {
				return err
			}
			rows := universeRows{}
			for _, l := range lists {
				rows = append(rows, pipeline.UniverseOf(l, "kept"))
			}
			return env.Print(rows)
		},
	}}
}

// membership is the result of universe show.
type membership struct{ pipeline.Membership }

// CSVRows is a file that universe import takes.
func (m membership) CSVRows() any { return m.Members }

func (m membership) Sections() []output.Section {
	line := fmt.Sprintf("universe %s: %s, %s, %s", m.Name, quant.Count(m.Symbols, "symbol"), quant.Count(len(m.Members), "stay"), short(string(m.Digest)))
	if m.At != nil {
		line = fmt.Sprintf("universe %s on %s: %s, %s", m.Name, m.At, quant.Count(m.Symbols, "symbol"), short(string(m.Digest)))
	}
	return []output.Section{{Lines: []string{line}}, {Rows: m.Members}}
}

func universeShow(env *Env) Command {
	var at string
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show the members of a universe: every stay, or who belonged to it on a day",
		Long: `Show the members of the universe NAME: every stay with its first and last day, both
included, or with --at the stays of that day alone. With --output csv the rows are a
file that universe import takes.

The list as a run read it is an artifact of that run: quant runs artifact RUN
universe/NAME.csv.`,
		Example: `  quant universe show sp500 --at 2008-09-15`,
		Args:    wantArgs(1, 1, "the name of a universe"),
		RunE: func(cmd *cobra.Command, args []string) error {
			day, err := dayFlag(cmd, "at", at)
			if err != nil {
				return err
			}
			shown, err := pipeline.MembersOf(env.Session, args[0], day)
			if err != nil {
				return err
			}
			return env.Print(membership{shown})
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "only the members on this day (YYYY-MM-DD)")
	return Command{Command: cmd}
}

func universeRemove(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "remove NAME",
			Short: "Remove the list of members of a universe",
			Args:  wantArgs(1, 1, "the name of a universe"),
			RunE: func(cmd *cobra.Command, args []string) error {
				done, err := pipeline.RemoveUniverse(cmd.Context(), env.Session, args[0])
				if err != nil {
					return err
				}
				return env.Print(universeChanged{done})
			},
		},
		Traits: Traits{Changes: always},
	}
}
