package cli

import (
	"context"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/jobs"
	"quant/internal/output"
)

func workerCommand(env *Env) Command {
	o := jobs.WorkerOptions{}
	logMax := logSize(defaultLogMax)
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Do the jobs of the lab, until a signal ends it",
		Long: `Take jobs (quant jobs submit) and do them, --slots at once, until a signal ends
it: it takes no more, and waits for those that run. A second signal ends those,
too, and they wait in the queue again. Several workers may work at once.

Each attempt of a job is a process and a run of its own, under the run that
submitted the job. If the worker or its machine dies, any other worker does the
job again, unless its run tells that it is done: docs/jobs.md.`,
		Example: `  quant worker --slots 2
  quant worker --until-empty`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Slots < 1 || o.Slots > maxSlots {
				return quant.Errorf(quant.Usage, "--slots %d is not from 1 to %d", o.Slots, maxSlots)
			}
			store, err := env.jobs(cmd.Context(), true)
			if err != nil {
				return err
			}
			defer func() { _ = store.Close() }() // all of it is durable
			env.sparing()
			ctx, now, signalled := env.untilSignalled(cmd.Context(), "jobs were ended, and wait again")
			o.Program, o.Now, o.LogMax = thisProgram(), now, int64(logMax)
			o.Ended = func(j jobs.Job) { env.Notice("%s", j.Describe()) }
			env.Notice("working for %s with %s", env.Shown(), quant.Count(o.Slots, "slot"))
			worked, err := store.Work(ctx, env.Session, o)
			if err != nil {
				return err
			}
			if err := env.Print(workedReport{worked}); err != nil {
				return err
			}
			if err := signalled(); err != nil {
				return err
			}
			return context.Cause(cmd.Context()) // nil, but for a stdout that is gone
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Slots, "slots", 1, "how many jobs are done at once")
	f.BoolVar(&o.UntilEmpty, "until-empty", false, "end once no job is waiting or running")
	f.Var(&logMax, "log-max", "most that is kept of what a job prints, such as 512KiB or 1GiB (0: nothing): half of it from the beginning, half from the end")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

const maxSlots = 1000

// jobs opens the queue of the lab.
func (e *Env) jobs(ctx context.Context, create bool) (*jobs.Store, error) {
	return jobs.Open(ctx, e.Place, create)
}

// workedReport is the result of worker.
type workedReport struct{ jobs.Worked }

func (r workedReport) CSVRows() any { return []jobs.Worked{r.Worked} }

func (r workedReport) Sections() []output.Section {
	return []output.Section{{Rows: []jobs.Worked{r.Worked}}}
}
