package cli

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/jobs"
	"quant/internal/output"
)

func scheduleCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "schedule",
			Short: "Have work done again and again: at times of day, or after an exchange closes",
			Long: `Have work done again and again. When a schedule is due, a worker (quant worker) puts
its command line into the queue as a job; while none runs, nothing does. Times
that were missed so are told by the next worker, which makes up for the newest of
them, or for none (--missed skip).`,
		},
		Sub: []Command{scheduleAdd(env), scheduleLists(env), scheduleRemove(env)},
	}
}

func scheduleAdd(env *Env) Command {
	s := jobs.Schedule{}
	var missed string
	cmd := &cobra.Command{
		Use:   "add NAME [flags] -- COMMAND [ARG...]",
		Short: "Add a schedule",
		Long: `Add a schedule: --cron gives times in --time-zone, as cron does (minute, hour, day of
the month, month, day of the week); --after-close gives each session of an
exchange's calendar (XNYS, XKRX, with the closures that the lab knows), --delay
after its close. The command line is as for quant jobs submit.`,
		Example: `  quant schedule add daily --after-close XKRX --delay 30m -- pipeline run --strategy momentum.yaml
  quant schedule add backup --cron "0 3 * * 0" --time-zone Asia/Seoul -- backup lab.tar`,
		RunE: func(cmd *cobra.Command, args []string) error {
			argv, kind, err := env.jobLine(args[1:])
			if err != nil {
				return err
			}
			if s.Dir, err = os.Getwd(); err != nil {
				return quant.Errorf(quant.Failed, "the working directory is gone").WithHint("change to one that exists")
			}
			s.Name, s.Argv, s.Command, s.Missed = args[0], argv, kind, jobs.Missed(missed)
			s.AddedAt, s.AddedBy = quant.NewTime(env.Lab.Now()), quant.Text(env.RunID())
			if s.AfterClose != "" {
				s.Zone = ""
			}
			if err := jobs.AddSchedule(cmd.Context(), env.Place, s); err != nil {
				return err
			}
			return env.printSchedules(cmd.Context(), []jobs.Schedule{s})
		},
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if cmd.ArgsLenAtDash() != 1 || len(args) < 2 {
			return quant.Errorf(quant.Usage, "schedule add needs a name, and -- with a command behind it").
				WithHint("write: quant schedule add NAME [flags] -- COMMAND [ARG...]")
		}
		return nil
	}
	f := cmd.Flags()
	f.StringVar(&s.Cron, "cron", "", `times as cron has them, such as "30 18 * * 1-5"`)
	f.StringVar(&s.Zone, "time-zone", "UTC", "of --cron, such as Asia/Seoul")
	f.StringVar(&s.AfterClose, "after-close", "", "after each session of a calendar: XNYS or XKRX")
	f.Var(newDuration(&s.Delay, 0), "delay", "how long after the close")
	f.StringVar(&missed, "missed", string(jobs.RunOnce), "what becomes of times that are missed: run (the newest, once) or skip")
	f.StringVar(&s.Priority, "priority", jobs.Normal, "how urgent its jobs are: "+strings.Join(jobs.Priorities(), ", "))
	f.IntVar(&s.Retries, "retries", 0, "how often a job is tried again after it failed")
	f.Var(newDuration(&s.Timeout, 0), "timeout", "how long an attempt may take before it is ended (0: as long as it does)")
	_ = cmd.RegisterFlagCompletionFunc("priority", completeOf(jobs.Priorities()...)) // the flag is there
	_ = cmd.RegisterFlagCompletionFunc("missed", completeOf(string(jobs.RunOnce), string(jobs.Skip)))
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

// missedOf says in words what of a schedule was missed.
func missedOf(s jobs.ScheduleReport) string {
	switch {
	case s.Overdue > 0:
		return quant.Count(s.Overdue, "time") + ", no worker has come"
	case s.LastMissed > 0:
		return quant.Count(s.LastMissed, "time") + " before the last"
	}
	return ""
}

type scheduleList []jobs.ScheduleReport

func (l scheduleList) Sections() []output.Section {
	type row struct {
		Name    string `json:"name"`
		When    string `json:"when"`
		Next    string `json:"next"`
		Last    string `json:"last"`
		State   string `json:"state"`
		Missed  string `json:"missed"`
		Command string `json:"command"`
	}
	rows := []row{}
	shown := func(t *quant.Time) string {
		if t == nil {
			return ""
		}
		return second(*t)
	}
	for _, s := range l {
		rows = append(rows, row{s.Name, s.When, shown(s.NextAt), shown(s.LastAt), string(s.LastState), missedOf(s), s.Line})
	}
	return []output.Section{{Rows: rows}}
}

// printSchedules prints schedules with their last job, which the queue knows.
func (e *Env) printSchedules(ctx context.Context, list []jobs.Schedule) error {
	reports, err := jobs.Reports(ctx, e.Place, list, e.Lab.Now())
	if err != nil {
		return err
	}
	return e.Print(scheduleList(reports))
}

func scheduleLists(env *Env) Command {
	return Command{Command: &cobra.Command{
		Use:   "list",
		Short: "List the schedules, with their next and their last time",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := jobs.Schedules(cmd.Context(), env.Place)
			if err != nil {
				return err
			}
			return env.printSchedules(cmd.Context(), list)
		},
	}}
}

func scheduleRemove(env *Env) Command {
	return Command{Traits: Traits{Changes: always}, Command: &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a schedule",
		Long:  "Remove a schedule. Jobs that it has put into the queue stay there.",
		Args:  wantArgs(1, 1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			removed, err := jobs.RemoveSchedule(cmd.Context(), env.Place, args[0])
			if err != nil {
				return err
			}
			return env.printSchedules(cmd.Context(), []jobs.Schedule{removed})
		},
	}}
}
