package cli

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/jobs"
	"quant/internal/output"
	"quant/internal/search"
)

func jobsCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "jobs",
			Short: "Have work done by workers: submit, list, cancel and retry jobs",
			Long: `Have work done by workers (quant worker). A job is a command line of quant, or any
program, that waits until a worker takes it. It is named by its number.

A job ends as succeeded, failed or cancelled. It stays in the list for 30 days;
its runs stay in the record.`,
		},
		Sub: []Command{jobsSubmit(env), jobsList(env), jobsShow(env), jobsStatus(env), jobsWatch(env), jobsCancel(env), jobsRetry(env)},
	}
}

func jobsSubmit(env *Env) Command {
	var s jobs.Submission
	var at string
	cmd := &cobra.Command{
		Use:   "submit [flags] -- COMMAND [ARG...]",
		Short: "Put a command line into the queue",
		Long: `Put a command line into the queue of the lab, for the next worker that is free. It
is one of quant, with or without that word, or else any program with its
arguments, which is run as by quant exec. It runs in the folder in which it was submitted,
in the environment of the worker, and its run stands under the run of this
command.

The same command line may be submitted twice and is done twice; with --unique one
that waits or runs is not submitted again, and is what is printed.

A job that fails is tried again --retries times, unless the same would end in the
same way: a usage error, something that is not found, a rule. A worker that dies
is not counted among these.`,
		Example: `  quant jobs submit -- pipeline run --strategy momentum.yaml
  quant jobs submit --priority high --timeout 2h -- quant backtest --strategy momentum.yaml
  quant jobs submit --retries 3 -- python train.py --lr 0.1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			argv, kind, err := env.jobLine(args)
			if err != nil {
				return err
			}
			s.Argv, s.Command, s.Parent = argv, kind, env.RunID()
			if s.Dir, err = os.Getwd(); err != nil {
				return quant.Errorf(quant.Failed, "the working directory is gone").WithHint("change to one that exists")
			}
			if at != "" {
				if s.At, err = time.Parse(time.RFC3339, at); err != nil {
					return quant.Errorf(quant.Usage, "--at %q is no time", at).WithHint("write 2026-01-15T09:30:00+09:00")
				}
			}
			store, err := env.jobs(cmd.Context(), true)
			if err != nil {
				return err
			}
			defer func() { _ = store.Close() }() // all of it is durable
			submitted, err := store.Submit(cmd.Context(), s)
			if err != nil {
				return err
			}
			if submitted.Existing {
				env.Notice("job %d does the same already", submitted.ID)
			}
			return env.Print(submittedJob{submitted})
		},
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if cmd.ArgsLenAtDash() != 0 || len(args) == 0 {
			return quant.Errorf(quant.Usage, "jobs submit needs -- and a command behind it").
				WithHint("write: quant jobs submit [flags] -- COMMAND [ARG...]")
		}
		return nil
	}
	f := cmd.Flags()
	f.StringVar(&s.Priority, "priority", jobs.Normal, "how urgent it is: "+strings.Join(jobs.Priorities(), ", "))
	f.IntVar(&s.Retries, "retries", 0, "how often it is tried again after it failed")
	f.Var(newDuration(&s.RetryDelay, 10*time.Second), "retry-delay", "how long it waits before it is tried again; each further time twice as long")
	f.Var(newDuration(&s.Timeout, 0), "timeout", "how long an attempt may take before it is ended (0: as long as it does)")
	f.StringVar(&at, "at", "", "not before this time, such as 2026-01-15T09:30:00+09:00")
	f.BoolVar(&s.Unique, "unique", false, "not where the same command line of the same folder waits or runs already")
	_ = cmd.RegisterFlagCompletionFunc("priority", completeOf(jobs.Priorities()...)) // the flag is there
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

// jobLine is the command line of quant that does what the words behind -- say, and the
// kind of its run.
func (e *Env) jobLine(words []string) (argv []string, kind string, err error) {
	if words[0] == "quant" && len(words) > 1 {
		words = words[1:]
		if e.tree.Read(words).Command == e.tree.Root {
			return nil, "", quant.Errorf(quant.Usage, "%q is no command of quant", words[0]).WithHint("`quant --help` lists the commands")
		}
	}
	line := e.tree.Read(words)
	if line.Command == e.tree.Root {
		if strings.HasPrefix(words[0], "-") {
			return nil, "", quant.Errorf(quant.Usage, "%q is no command", words[0]).WithHint("flags of jobs submit stand before --, those of the command behind it")
		}
		words = append([]string{"exec", "--"}, words...)
		line = e.tree.Read(words)
	}
	switch {
	case !e.tree.IsExecution(line) || line.Unknown:
		return nil, "", quant.Errorf(quant.Usage, "`quant %s` cannot be run", strings.Join(words, " ")).WithHint("check its words and flags with --help")
	case line.Kind() == "worker":
		return nil, "", quant.Errorf(quant.Usage, "a worker is no job").WithHint("start it by itself: quant worker")
	case e.tree.Traits(line).Places != nil:
		return nil, "", quant.Errorf(quant.Usage, "%s works in a lab of its own: a worker would not find its run", line.Kind()).WithHint("run it by itself: quant %s", line.Kind())
	case !slices.Equal(e.Mask.Args(words), words):
		return nil, "", quant.Errorf(quant.Usage, "the command line holds what looks like a secret, which would stand in the queue").
			WithHint("give it to the worker in its environment")
	}
	for _, name := range locationFlags {
		if _, given := line.Flags[name]; given {
			return nil, "", quant.Errorf(quant.Usage, "--%s cannot be given for a job: it is done in the lab of its queue", name).
				WithHint("give --%s to jobs submit", name)
		}
	}
	return words, line.Kind(), nil
}

// submittedJob is the result of jobs submit.
type submittedJob struct{ jobs.Submitted }

func (s submittedJob) CSVRows() any { return recordsOf(s.Job) }

func (s submittedJob) Sections() []output.Section {
	return []output.Section{{Lines: []string{"job " + strconv.FormatInt(s.ID, 10) + " " + string(s.State) + ": " + s.Line()}}}
}

// jobRecord is a job as CSV and a watch have it.
type jobRecord struct {
	Job         int64       `json:"job"`
	State       jobs.State  `json:"state"`
	Cancelling  bool        `json:"cancelling"`
	Abandoned   bool        `json:"abandoned"`
	Command     string      `json:"command"`
	User        quant.Text  `json:"user"`
	Priority    string      `json:"priority"`
	Attempt     int         `json:"attempt"`
	SubmittedAt quant.Time  `json:"submitted_at"`
	DueAt       quant.Time  `json:"due_at"`
	StartedAt   *quant.Time `json:"started_at"`
	EndedAt     *quant.Time `json:"ended_at"`
	RunID       quant.Text  `json:"run_id"`
	ParentRunID quant.Text  `json:"parent_run_id"`
	Host        quant.Text  `json:"host"`
	Error       quant.Text  `json:"error"`
}

func recordsOf(list ...jobs.Job) []jobRecord {
	rows := []jobRecord{}
	for _, j := range list {
		rows = append(rows, jobRecord{j.ID, j.State, j.Cancelling, j.Abandoned, j.Command, j.User, j.Priority, j.Attempt, j.SubmittedAt, j.DueAt, j.StartedAt, j.EndedAt, j.RunID, j.ParentRunID, j.Host, j.Error})
	}
	return rows
}

// jobRow is a job as a table has it.
type jobRow struct {
	Job      int64      `json:"job"`
	State    string     `json:"state"`
	Command  string     `json:"command"`
	User     quant.Text `json:"user"`
	Priority string     `json:"priority"`
	Attempt  int        `json:"attempt"`
	Due      string     `json:"due"`
	Took     string     `json:"took"`
	Run      string     `json:"run"`
	Host     quant.Text `json:"host"`
	Error    quant.Text `json:"error"`
}

func rowOf(j jobs.Job) jobRow {
	r := jobRow{Job: j.ID, State: j.Word(), Command: j.Command, User: j.User, Priority: j.Priority, Attempt: j.Attempt, Due: second(j.DueAt), Run: quant.ShortID(string(j.RunID)), Host: j.Host, Error: j.Error}
	if j.StartedAt != nil && j.EndedAt != nil {
		took := j.EndedAt.Sub(j.StartedAt.Time).Microseconds()
		r.Took = quant.Micros(&took)
	}
	return r
}

type jobList []jobs.Job

func (l jobList) CSVRows() any { return recordsOf(l...) }

func (l jobList) Sections() []output.Section {
	rows := []jobRow{}
	for _, j := range l {
		r := rowOf(j)
		r.Error = quant.Text(quant.Clip(string(r.Error), 60))
		rows = append(rows, r)
	}
	return []output.Section{{Rows: rows}}
}

func jobsList(env *Env) Command {
	var only []string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List jobs, the newest first",
		Long:  `List jobs, the newest first: those that wait, those that run, and those that are over.`,
		Example: `  quant jobs list
  quant jobs list --state running,retrying --output json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var of []jobs.State
			for _, word := range only {
				if !slices.Contains(jobs.States(), jobs.State(word)) {
					return unknownState(word)
				}
				of = append(of, jobs.State(word))
			}
			if limit < 1 || limit > maxJobs {
				return quant.Errorf(quant.Usage, "--limit %d is not from 1 to %d", limit, maxJobs)
			}
			store, err := env.jobs(cmd.Context(), false)
			if quant.CodeOf(err) == quant.NotFound {
				return env.Print(jobList{}) // as many as a lab has that never had any
			}
			if err != nil {
				return err
			}
			defer func() { _ = store.Close() }() // it was only read
			list, err := store.List(cmd.Context(), of, limit)
			if err != nil {
				return err
			}
			abandoned, err := jobs.FindAbandoned(cmd.Context(), env.Session, list)
			if err != nil {
				return err
			}
			if err := env.Print(jobList(list)); err != nil {
				return err
			}
			if abandoned > 0 {
				env.Notice("nobody works at %s any more, whose worker is dead; the next `quant worker` sees to that", quant.Count(abandoned, "job"))
			}
			return env.tellProgress(cmd.Context(), store)
		},
	}
	cmd.Flags().StringSliceVar(&only, "state", nil, "only jobs of these states: "+joinedStates())
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many")
	return Command{Command: cmd}
}

const (
	tellEvery = 10 * time.Second // how often a watch says at most how far the queue is
	maxJobs   = 10000
)

// unknownState says that a word is no state, and which one it may have been.
func unknownState(word string) error {
	err := quant.Errorf(quant.Usage, "--state %q is no state of a job", word)
	if near := search.Nearest(word, stateWords()); len(near) > 0 {
		return err.WithHint("did you mean %s?", strings.Join(near, " or "))
	}
	return err.WithHint("one of %s", joinedStates())
}

func stateWords() (words []string) {
	for _, s := range jobs.States() {
		words = append(words, string(s))
	}
	return words
}

func joinedStates() string { return strings.Join(stateWords(), ", ") }

// jobIDs reads the numbers of jobs.
func jobIDs(args []string) ([]int64, error) {
	var ids []int64
	for _, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || id < 1 {
			return nil, quant.Errorf(quant.Usage, "%q is no number of a job", arg).WithHint("`quant jobs list` shows them")
		}
		if slices.Contains(ids, id) {
			return nil, quant.Errorf(quant.Usage, "job %d is named twice", id).WithHint("name each job once")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// shownJob is the result of jobs show.
type shownJob struct{ jobs.Job }

func (s shownJob) CSVRows() any { return recordsOf(s.Job) }

func (s shownJob) Sections() []output.Section {
	type row struct {
		Attempt int        `json:"attempt"`
		Run     string     `json:"run"`
		Worker  string     `json:"worker"`
		Host    string     `json:"host"`
		Started string     `json:"started"`
		Error   quant.Text `json:"error"`
	}
	rows := []row{}
	for _, a := range s.Attempts {
		rows = append(rows, row{a.Attempt, quant.ShortID(a.RunID), quant.ShortID(a.WorkerRunID), a.Host, second(a.StartedAt), a.Error})
	}
	lines := []string{s.Line(), "in " + s.Dir}
	if s.Schedule != "" && s.PlannedAt != nil {
		planned := "of schedule " + string(s.Schedule) + ", planned for " + second(*s.PlannedAt)
		if s.Missed > 0 {
			planned += "; " + quant.Count(s.Missed, "time") + " missed up to then"
		}
		lines = append(lines, planned)
	}
	sections := []output.Section{{Rows: []jobRow{rowOf(s.Job)}}, {Lines: lines}}
	if len(rows) > 0 {
		sections = append(sections, output.Section{Rows: rows})
	}
	return sections
}

func jobsShow(env *Env) Command {
	return Command{Command: &cobra.Command{
		Use:   "show JOB",
		Short: "Show a job and its attempts",
		Long:  "Show a job, its command line, and each attempt with its run. `quant runs logs RUN` has what it printed.",
		Args:  wantArgs(1, 1, "one job"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := jobIDs(args)
			if err != nil {
				return err
			}
			store, err := env.jobs(cmd.Context(), false)
			if err != nil {
				return err
			}
			defer func() { _ = store.Close() }() // it was only read
			job, err := store.Look(cmd.Context(), env.Session, ids[0])
			if err != nil {
				return err
			}
			return env.Print(shownJob{job})
		},
	}}
}

// statusReport is the result of jobs status.
type statusReport struct{ jobs.Progress }

// CSVRows has a row for each state.
func (r statusReport) CSVRows() any {
	type row struct {
		State jobs.State `json:"state"`
		Jobs  int        `json:"jobs"`
	}
	rows := []row{}
	for _, s := range jobs.States() {
		rows = append(rows, row{s, r.Jobs[s]})
	}
	return rows
}

func (r statusReport) Sections() []output.Section {
	type row struct {
		Run     string     `json:"run"`
		Host    quant.Text `json:"host"`
		PID     int64      `json:"pid"`
		User    quant.Text `json:"user"`
		Busy    int        `json:"busy"`
		Slots   int        `json:"slots"`
		Started string     `json:"started"`
	}
	rows := []row{}
	for _, w := range r.Workers {
		rows = append(rows, row{quant.ShortID(w.RunID), w.Host, w.PID, w.User, w.Running, w.Slots, second(w.StartedAt)})
	}
	sections := []output.Section{{Rows: r.CSVRows()}, {Lines: []string{r.Describe()}}}
	if len(rows) > 0 {
		sections = append(sections, output.Section{Title: "workers", Rows: rows})
	}
	return sections
}

func jobsStatus(env *Env) Command {
	return Command{Command: &cobra.Command{
		Use:   "status",
		Short: "Show how far the queue is, and who works",
		Long: `Show how many jobs there are of each state, the workers that live with their
machines and slots, and how long it takes until nothing waits or runs any more. That
is a guess, from what jobs of the same kind took lately; where there is nothing to
guess from, it says so.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := env.jobs(cmd.Context(), false)
			if quant.CodeOf(err) == quant.NotFound {
				return env.Print(statusReport{jobs.NoProgress(env.Session.Now())})
			}
			if err != nil {
				return err
			}
			defer func() { _ = store.Close() }() // it was only read
			p, err := store.Progress(cmd.Context(), env.Session)
			if err != nil {
				return err
			}
			return env.Print(statusReport{p})
		},
	}}
}

// tellProgress says how far the queue is, where something waits or runs.
func (e *Env) tellProgress(ctx context.Context, store *jobs.Store) error {
	p, err := store.Progress(ctx, e.Session)
	if err == nil && p.Waiting()+p.Jobs[jobs.Running] > 0 {
		e.Notice("%s", p.Describe())
	}
	return err
}

func jobsWatch(env *Env) Command {
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "watch [JOB...]",
		Short: "Watch jobs until they are over",
		Long: `Watch the jobs that are named, or all that are not over yet: a row for each as it
stands, and for each change. The watch ends when all of them are over: with 0 if
all succeeded, else with 1.`,
		Example: `  quant jobs watch
  quant jobs watch 12 13 --output json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if every < 100*time.Millisecond {
				return quant.Errorf(quant.Usage, "--every %s is less than 100ms", every)
			}
			ids, err := jobIDs(args)
			if err != nil {
				return err
			}
			store, err := env.jobs(cmd.Context(), false)
			if quant.CodeOf(err) == quant.NotFound && len(ids) == 0 {
				return env.Print(jobList{})
			}
			if err != nil {
				return err
			}
			defer func() { _ = store.Close() }() // it was only read
			out := output.NewStream(env.Printer, func(r jobRecord) string {
				state := jobs.Job{State: r.State, Cancelling: r.Cancelling, Abandoned: r.Abandoned}.Word()
				parts := []string{"job " + strconv.FormatInt(r.Job, 10), state, r.Command}
				for _, part := range []string{quant.ShortID(string(r.RunID)), string(r.Error)} {
					if part != "" {
						parts = append(parts, part)
					}
				}
				return strings.Join(parts, "  ")
			})
			said := time.Time{}
			last, err := store.Follow(cmd.Context(), env.Session, ids, every, func(j jobs.Job) error {
				if err := out.Add(cmd.Context(), recordsOf(j)[0]); err != nil {
					return err
				}
				if time.Since(said) < tellEvery {
					return nil
				}
				said = time.Now()
				return env.tellProgress(cmd.Context(), store)
			})
			if closing := out.Close(); err == nil {
				err = closing
			}
			if err != nil {
				return err
			}
			bad := 0
			for _, j := range last {
				if j.State != jobs.Succeeded {
					bad++
				}
			}
			if bad > 0 {
				return quant.Errorf(quant.Failed, "%d of %s did not succeed", bad, quant.Count(len(last), "job")).WithHint("`quant jobs show JOB` says why")
			}
			return nil
		},
	}
	cmd.Flags().Var(newDuration(&every, time.Second), "every", "how often it looks")
	return Command{Command: cmd}
}

func jobsCancel(env *Env) Command {
	return Command{Traits: Traits{Changes: always}, Command: &cobra.Command{
		Use:   "cancel JOB...",
		Short: "Cancel jobs: those that wait, and those that run",
		Long: `Cancel jobs. One that waits is cancelled at once. The process of one that runs is
asked to end by its worker, with SIGTERM to it and all that it started, and killed
10 seconds later: what it has committed stays, and its run is a FAIL that says so. One
whose worker is dead, and at which nobody works any more, is cancelled at once.`,
		Args: wantArgs(1, -1, "one job or several"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.eachJob(cmd, args, func(s *jobs.Store, ctx context.Context, id int64) (jobs.Job, error) {
				return s.Cancel(ctx, env.Session, id)
			})
		},
	}}
}

func jobsRetry(env *Env) Command {
	return Command{Traits: Traits{Changes: always}, Command: &cobra.Command{
		Use:   "retry JOB...",
		Short: "Do jobs again that failed or were cancelled",
		Long:  `Put jobs into the queue again that failed or were cancelled, or do those now that wait to be tried again. Each keeps its number.`,
		Args:  wantArgs(1, -1, "one job or several"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.eachJob(cmd, args, (*jobs.Store).Retry)
		},
	}}
}

// eachJob does something to each of the jobs that are named, and prints them as they
// stand then. What was done before an error stays done, and is printed.
func (e *Env) eachJob(cmd *cobra.Command, args []string, do func(*jobs.Store, context.Context, int64) (jobs.Job, error)) error {
	ids, err := jobIDs(args)
	if err != nil {
		return err
	}
	store, err := e.jobs(cmd.Context(), false)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }() // all of it is durable
	list := jobList{}
	for _, id := range ids {
		job, err := do(store, cmd.Context(), id)
		if err != nil {
			if len(list) == 0 {
				return err
			}
			return errors.Join(err, e.Print(list))
		}
		list = append(list, job)
	}
	return e.Print(list)
}
