package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/calendar"
	"quant/internal/output"
	"quant/internal/pipeline"
)

func calendarCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "calendar",
			Short: "Show the sessions of the exchange, add closures and extra sessions, check them",
			Long: `Show the sessions of the exchange (QUANT_CALENDAR), and keep the lab's own file of
closures and extra sessions that the built-in calendar does not know. Look-backs,
horizons, lags and rebalance days count the sessions that result.`,
		},
		Sub: []Command{calendarAdd(env), calendarRemove(env), calendarList(env), calendarCheck(env)},
	}
}

// daysOf parses the days of a flag or of the arguments.
func daysOf(name string, texts []string) ([]quant.Date, error) {
	var days []quant.Date
	for _, text := range texts {
		d, err := quant.ParseDate(text)
		if err != nil {
			return nil, quant.Errorf(quant.Usage, "%s: %w", name, err).WithHint("days are written YYYY-MM-DD")
		}
		days = append(days, d)
	}
	return days, nil
}

func calendarAdd(env *Env) Command {
	var closed, sessions []string
	var reason string
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Add closures and extra sessions to the lab's own file, all or none",
		Long: `Add closures and extra sessions of the exchange (QUANT_CALENDAR) to the lab's own
file, calendar.csv in the data folder, all or none. A day that is so already stays
as it is. What was computed before stands until it is computed again: features,
labels and recommend do that on their next run.`,
		Example: `  quant calendar add --closed 2026-06-03 --reason "local elections"
  quant calendar add --session 2026-08-15`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			shut, err := daysOf("--closed", closed)
			if err != nil {
				return err
			}
			extra, err := daysOf("--session", sessions)
			if err != nil {
				return err
			}
			done, err := pipeline.AddToCalendar(cmd.Context(), env.Session, shut, extra, reason)
			if err != nil {
				return err
			}
			return env.Print(calendarChanges{done})
		},
	}
	cmd.Flags().StringSliceVar(&closed, "closed", nil, "days on which the exchange is closed")
	cmd.Flags().StringSliceVar(&sessions, "session", nil, "days on which it trades, against its calendar")
	cmd.Flags().StringVar(&reason, "reason", "", "why, a line of text")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func calendarRemove(env *Env) Command {
	return Command{Command: &cobra.Command{
		Use:   "remove DATE...",
		Short: "Take days out of the lab's own file, all or none",
		Long: `Take days of the exchange (QUANT_CALENDAR) out of the lab's own file, all or none:
the built-in calendar counts for them again. Exit status 4 for a day that is not in
the file.`,
		Args: wantArgs(1, -1, "at least one day"),
		RunE: func(cmd *cobra.Command, args []string) error {
			days, err := daysOf("DATE", args)
			if err != nil {
				return err
			}
			done, err := pipeline.RemoveFromCalendar(cmd.Context(), env.Session, days)
			if err != nil {
				return err
			}
			return env.Print(calendarChanges{done})
		},
	}, Traits: Traits{Changes: always}}
}

// calendarChanges is the result of the commands that change the lab's own file.
type calendarChanges struct{ pipeline.CalendarChanges }

type calendarChangeRow struct {
	Change string        `json:"change"`
	Day    quant.Date    `json:"day"`
	Kind   calendar.Kind `json:"kind"`
	Reason quant.Text    `json:"reason"`
}

func (c calendarChanges) CSVRows() any {
	rows := []calendarChangeRow{}
	for _, a := range c.Added {
		rows = append(rows, calendarChangeRow{"added", a.Day, a.Kind, a.Reason})
	}
	for _, r := range c.Removed {
		rows = append(rows, calendarChangeRow{"removed", r.Day, r.Kind, r.Reason})
	}
	for _, d := range c.Unchanged {
		rows = append(rows, calendarChangeRow{Change: "unchanged", Day: d})
	}
	return rows
}

func (c calendarChanges) Sections() []output.Section {
	var lines []string
	for _, a := range c.Added {
		lines = append(lines, fmt.Sprintf("added %s %s", a.Kind, a.Day))
	}
	for _, r := range c.Removed {
		lines = append(lines, fmt.Sprintf("removed %s %s", r.Kind, r.Day))
	}
	for _, d := range c.Unchanged {
		lines = append(lines, fmt.Sprintf("unchanged %s: it is so already", d))
	}
	return []output.Section{{Lines: append(lines, "calendar "+c.Calendar)}}
}

func calendarList(env *Env) Command {
	var from, to string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the lab's own closures and sessions, or every day of a range",
		Long: `List the closures and extra sessions of the lab's own file that change the calendar
of the exchange (QUANT_CALENDAR). With --from or --to: every session and every
closed weekday of the range, and where each comes from, the exchange's calendar or
the lab's own file.`,
		Example: `  quant calendar list
  quant calendar list --from 2026-07-01 --to 2026-07-31`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var bounds [2]*quant.Date
			for i, text := range []string{from, to} {
				if text == "" {
					continue
				}
				days, err := daysOf([]string{"--from", "--to"}[i], []string{text})
				if err != nil {
					return err
				}
				bounds[i] = &days[0]
			}
			list, err := pipeline.ListCalendar(env.Session, bounds[0], bounds[1])
			if err != nil {
				return err
			}
			return env.Print(list)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "first day, YYYY-MM-DD")
	cmd.Flags().StringVar(&to, "to", "", "last day, YYYY-MM-DD")
	return Command{Command: cmd}
}

func calendarCheck(env *Env) Command {
	return Command{Command: &cobra.Command{
		Use:   "check",
		Short: "Hold the calendar against the stored bars",
		Long: `Hold the calendar of the exchange (QUANT_CALENDAR), with the lab's own file, against
all stored bars: sessions on which no symbol has a bar, between the first and the
last day with one, and days with bars that are no session. Each comes with the
command that would make the calendar agree. It changes nothing; exit status 6 if
there is such a day.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := pipeline.CheckCalendar(cmd.Context(), env.Session)
			if err != nil {
				return err
			}
			if err := env.Print(list); err != nil || len(list) == 0 {
				return err
			}
			return doubtful(list)
		},
	}}
}

// doubtful is the error of a calendar that the bars do not agree with.
func doubtful(list []pipeline.CalendarDoubt) error {
	var days []string
	for _, d := range list {
		days = append(days, d.Day.String())
	}
	return quant.Errorf(quant.Refused, "%s on which calendar and bars do not agree: %s", quant.Count(len(list), "day"), quant.SomeOf(days, 3)).
		WithHint("add what the exchange announced with the command of its line, or set QUANT_CALENDAR to their market")
}
