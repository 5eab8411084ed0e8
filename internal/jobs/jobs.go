// Package jobs does work later, and elsewhere: a job is a command line of quant that
// stands in a queue until a worker takes it, and runs it as a recorded run of its own
// under the run that submitted it. The queue is River's (riverqueue.com); this package
// adds what River leaves to its users: that what a job does counts once.
//
// River does a job at least once. Here each attempt has a run id, written down with the
// job before the attempt begins, under which its process records itself or does not
// start. So whoever finds a job whose worker is dead asks the run of the attempt, not a
// clock: one that ended SUCCESS has done the job; one whose process lives is left alone;
// one that never began is recorded as FAIL, so that it cannot begin any more; and only
// then the job is done again.
package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"quant"
	"quant/internal/config"
	"quant/internal/runs"
	"quant/internal/session"
)

// State is where a job stands.
type State string

// The states. A job begins as Queued or Scheduled; Succeeded, Failed and Cancelled are
// its ends.
const (
	Queued    State = "queued"
	Scheduled State = "scheduled" // for later
	Running   State = "running"
	Retrying  State = "retrying" // it failed, and is tried again later
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// States are all states, those that end a job last.
func States() []State {
	return []State{Queued, Scheduled, Running, Retrying, Succeeded, Failed, Cancelled}
}

var states = map[State][]rivertype.JobState{
	Queued: {rivertype.JobStateAvailable, rivertype.JobStatePending}, Scheduled: {rivertype.JobStateScheduled},
	Running: {rivertype.JobStateRunning}, Retrying: {rivertype.JobStateRetryable},
	Succeeded: {rivertype.JobStateCompleted}, Failed: {rivertype.JobStateDiscarded}, Cancelled: {rivertype.JobStateCancelled},
}

// Ended reports whether a job of this state is over.
func (s State) Ended() bool { return s == Succeeded || s == Failed || s == Cancelled }

func stateOf(state rivertype.JobState) State {
	for _, s := range States() {
		if slices.Contains(states[s], state) {
			return s
		}
	}
	return State(state)
}

// Priorities are the words for how urgent a job is, the most urgent first: a worker
// takes the next job of the first one that has any.
func Priorities() []string { return []string{"high", "normal", "low", "idle"} }

// Normal is the priority of a job of which nothing is said.
const Normal = "normal"

// command is what stands in the queue for a job.
type command struct {
	Argv       []string      `json:"argv" river:"unique"` // a command line of quant, without the program
	Dir        string        `json:"dir" river:"unique"`  // the folder that its process starts in
	Command    string        `json:"command"`             // the kind of its run
	Parent     string        `json:"parent_run_id"`
	Timeout    time.Duration `json:"timeout_ns"`     // 0: none
	RetryDelay time.Duration `json:"retry_delay_ns"` // before the first retry; each further one waits twice as long
	User       string        `json:"user,omitempty"` // who submitted it

	// Schedule is the schedule that it belongs to, and Planned the time of that which it
	// stands for.
	Schedule string `json:"schedule,omitempty" river:"unique"`
	Planned  string `json:"planned,omitempty" river:"unique"`
	Missed   int    `json:"missed,omitempty"` // how many times of the schedule, up to that one, nobody was there
}

// Kind implements river.JobArgs.
func (command) Kind() string { return "command" }

// attempt is one time that a job was begun, as it stands in the queue.
type attempt struct {
	Attempt     int       `json:"attempt"`
	RunID       string    `json:"run_id"`
	WorkerRunID string    `json:"worker_run_id"`
	Host        string    `json:"host"`
	StartedAt   time.Time `json:"started_at"`
}

// metadata is what else stands in the queue for a job.
type metadata struct {
	Attempts        []attempt `json:"attempts"`
	CancelAttempted any       `json:"cancel_attempted_at"` // River's
	Rescues         int       `json:"river:rescue_count"`  // River's: how many workers have died with it
	Forgiven        int       `json:"forgiven_deaths"`     // of these, those before somebody had it done again
}

func metadataOf(row *rivertype.JobRow) (m metadata) {
	_ = json.Unmarshal(row.Metadata, &m) // what is not as it should be is none
	return m
}

// Attempt is one time that a job was begun.
type Attempt struct {
	Attempt     int        `json:"attempt"`
	RunID       string     `json:"run_id"` // what it was recorded as
	WorkerRunID string     `json:"worker_run_id"`
	Host        string     `json:"host"`
	StartedAt   quant.Time `json:"started_at"`
	Error       quant.Text `json:"error"` // why it did not do the job
}

// Job is a job as it stands.
type Job struct {
	ID          int64       `json:"job"`
	State       State       `json:"state"`
	Cancelling  bool        `json:"cancelling"` // it runs, and was asked to end
	Abandoned   bool        `json:"abandoned"`  // it runs by what the queue says, and nobody works at it: see FindAbandoned
	Command     string      `json:"command"`    // the kind of its run
	Argv        []string    `json:"argv"`
	Dir         string      `json:"dir"`
	User        quant.Text  `json:"user"` // who submitted it
	Priority    string      `json:"priority"`
	Queue       string      `json:"queue"`
	Schedule    quant.Text  `json:"schedule"`   // that it belongs to
	PlannedAt   *quant.Time `json:"planned_at"` // the time of that which it stands for
	Missed      int         `json:"missed"`     // how many times of that had passed while no worker was there
	Attempt     int         `json:"attempt"`    // how often it was begun
	Retries     int         `json:"retries"`    // how often it is tried again at most after it failed
	TimeoutS    float64     `json:"timeout_s"`
	SubmittedAt quant.Time  `json:"submitted_at"`
	DueAt       quant.Time  `json:"due_at"`
	StartedAt   *quant.Time `json:"started_at"` // of the last attempt
	EndedAt     *quant.Time `json:"ended_at"`
	RunID       quant.Text  `json:"run_id"` // of the last attempt
	ParentRunID quant.Text  `json:"parent_run_id"`
	Host        quant.Text  `json:"host"`  // that the last attempt was made on
	Error       quant.Text  `json:"error"` // of the last attempt that did not do it
	Attempts    []Attempt   `json:"attempts"`

	rescues int // how many workers have died with it
}

// Line is the command line of a job as a person types it in a shell.
func (j Job) Line() string { return "quant " + runs.ShellLine(j.Argv) }

func jobOf(row *rivertype.JobRow) Job {
	var c command
	_ = json.Unmarshal(row.EncodedArgs, &c)
	m := metadataOf(row)
	j := Job{
		ID: row.ID, State: stateOf(row.State), Command: c.Command, Argv: c.Argv, Dir: c.Dir, Queue: row.Queue, Attempt: row.Attempt, Retries: max(row.MaxAttempts-1-m.Rescues, 0),
		User: quant.Text(c.User), Schedule: quant.Text(c.Schedule), Missed: c.Missed,
		TimeoutS: c.Timeout.Seconds(), SubmittedAt: quant.NewTime(row.CreatedAt), DueAt: quant.NewTime(row.ScheduledAt), ParentRunID: quant.Text(c.Parent),
		Attempts: []Attempt{}, rescues: m.Rescues,
	}
	if planned, err := time.Parse(time.RFC3339Nano, c.Planned); err == nil {
		j.PlannedAt = ptr(quant.NewTime(planned))
	}
	j.Cancelling = j.State == Running && m.CancelAttempted != nil
	if at := row.Priority - 1; at >= 0 && at < len(Priorities()) {
		j.Priority = Priorities()[at]
	}
	if row.FinalizedAt != nil {
		j.EndedAt = ptr(quant.NewTime(*row.FinalizedAt))
	}
	said := map[int]string{}
	for _, e := range row.Errors {
		if e.Error == rivertype.ErrJobCancelledRemotely.Error() {
			e.Error = "cancelled"
		}
		said[e.Attempt] = e.Error
		j.Error = quant.Text(e.Error)
	}
	for _, a := range m.Attempts {
		j.Attempts = append(j.Attempts, Attempt{a.Attempt, a.RunID, a.WorkerRunID, a.Host, quant.NewTime(a.StartedAt), quant.Text(said[a.Attempt])})
	}
	if n := len(j.Attempts); n > 0 {
		last := j.Attempts[n-1]
		j.RunID, j.Host, j.StartedAt = quant.Text(last.RunID), quant.Text(last.Host), &last.StartedAt
	}
	if j.State == Succeeded {
		j.Error = ""
	}
	return j
}

// Word is how a job stands, in a word for people: its state, or what is special about one
// that runs.
func (j Job) Word() string {
	switch {
	case j.Abandoned:
		return "abandoned"
	case j.Cancelling:
		return "cancelling"
	}
	return string(j.State)
}

func ptr[T any](v T) *T { return &v }

// Submission is a job that is to be done.
type Submission struct {
	Argv       []string // a command line of quant, without the program
	Command    string   // the kind of its run
	Dir        string   // the folder that its process starts in
	Parent     string   // the run that its run stands under; "": none
	User       string   // who submits it; "": the role of the database, or else the user of the system
	Priority   string   // "": Normal
	Retries    int      // how often it is tried again after it failed
	RetryDelay time.Duration
	Timeout    time.Duration // 0: none
	At         time.Time     // not before; zero: at once
	Unique     bool          // not where the same command line of the same folder is to be done already
	Tags       []string
	Queue      string // the one of which workers take it; "": that of all workers
}

// Submitted is what became of a submission.
type Submitted struct {
	Job
	Existing bool `json:"existing"` // a unique one was there already: it is that
}

// defaultRetryDelay is how long a job that failed waits before it is tried again.
const defaultRetryDelay = 10 * time.Second

// waiting are the states of a job that is to be done or is being done.
var waiting = []rivertype.JobState{
	rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateScheduled, rivertype.JobStateRetryable, rivertype.JobStateRunning,
}

// Submit puts a job into the queue: it is durable there when Submit returns. Errors:
// Invalid for what cannot be one, the store's.
func (s *Store) Submit(ctx context.Context, sub Submission) (Submitted, error) {
	priority := slices.Index(Priorities(), sub.Priority)
	switch {
	case sub.Priority == "":
		priority = slices.Index(Priorities(), Normal)
	case priority < 0:
		return Submitted{}, quant.Errorf(quant.Invalid, "%q is no priority", sub.Priority).WithHint("one of %s", strings.Join(Priorities(), ", "))
	}
	if sub.Retries < 0 || sub.Retries > maxRetries {
		return Submitted{}, quant.Errorf(quant.Invalid, "%d retries are not from 0 to %d", sub.Retries, maxRetries)
	}
	o := &river.InsertOpts{MaxAttempts: sub.Retries + 1, Priority: priority + 1, ScheduledAt: sub.At, Tags: sub.Tags, Queue: sub.Queue}
	if sub.Unique {
		o.UniqueOpts = river.UniqueOpts{ByArgs: true, ByState: waiting, ByQueue: sub.Queue != ""}
	}
	delay := sub.RetryDelay
	if delay <= 0 {
		delay = defaultRetryDelay
	}
	inserted, err := s.client.Insert(ctx, command{Argv: sub.Argv, Dir: sub.Dir, Command: sub.Command, Parent: sub.Parent, Timeout: sub.Timeout, RetryDelay: delay, User: s.submitter(ctx, sub.User)}, o)
	if err != nil {
		return Submitted{}, s.explain("submit a job", err)
	}
	return Submitted{jobOf(inserted.Job), inserted.UniqueSkippedAsDuplicate}, nil
}

const maxRetries = 100

// submitter is for whom a job is submitted: who is named, or else, within a job, who that
// was submitted by, or else who uses the store.
func (s *Store) submitter(ctx context.Context, named string) string {
	if named != "" {
		return named
	}
	if number, run, within := strings.Cut(config.WithinJob(), ":"); within {
		id, err := strconv.ParseInt(number, 10, 64)
		if err == nil {
			if job, err := s.Get(ctx, id); err == nil && job.State == Running && string(job.RunID) == run && job.User != "" {
				return string(job.User)
			}
		}
	}
	return s.user
}

// Get is a job. NotFound: there is none of that number.
func (s *Store) Get(ctx context.Context, id int64) (Job, error) {
	row, err := s.client.JobGet(ctx, id)
	if err != nil {
		return Job{}, s.failed("look at", id, err)
	}
	return jobOf(row), nil
}

func (s *Store) failed(what string, id int64, err error) error {
	if errors.Is(err, rivertype.ErrNotFound) {
		return noJob(id)
	}
	return s.explain(quant.Errorf(quant.Store, "%s job %d", what, id).Error(), err)
}

func noJob(id int64) error {
	return quant.Errorf(quant.NotFound, "there is no job %d", id).WithHint("`quant jobs list` shows them")
}

// List are jobs, the newest first, at most limit of them; of all states where none is
// named.
func (s *Store) List(ctx context.Context, of []State, limit int) ([]Job, error) {
	return s.ListBefore(ctx, of, 0, limit)
}

// ListBefore is List of the jobs whose number is less than before; 0: of all.
func (s *Store) ListBefore(ctx context.Context, of []State, before int64, limit int) ([]Job, error) {
	p := river.NewJobListParams().OrderBy(river.JobListOrderByID, river.SortOrderDesc).First(limit)
	var list []rivertype.JobState
	for _, state := range of {
		list = append(list, states[state]...)
	}
	if len(list) > 0 {
		p = p.States(list...)
	}
	if before > 0 {
		p = p.Where("id < @before", river.NamedArgs{"before": before})
	}
	found, err := s.client.JobList(ctx, p)
	if err != nil {
		return nil, s.explain("list the jobs", err)
	}
	return jobsOf(found.Jobs), nil
}

func jobsOf(rows []*rivertype.JobRow) []Job {
	jobs := make([]Job, len(rows))
	for i, row := range rows {
		jobs[i] = jobOf(row)
	}
	return jobs
}

// Cancel ends a job: one that waits at once, one that runs by its worker, which ends its
// process, or at once where that is dead and nobody works at the job any more. Errors:
// NotFound; Conflict for one that is over; the Meta DB's.
func (s *Store) Cancel(ctx context.Context, in *session.Session, id int64) (Job, error) {
	before, err := s.Get(ctx, id)
	if err != nil {
		return Job{}, err
	}
	if before.State.Ended() {
		return Job{}, quant.Errorf(quant.Conflict, "job %d is over: it %s", id, ended(before.State))
	}
	row, err := s.client.JobCancel(ctx, id)
	if err != nil {
		return Job{}, s.failed("cancel", id, err)
	}
	if jobOf(row).State != Running {
		return jobOf(row), nil
	}
	if _, err := in.MetaDB(); err != nil {
		return Job{}, err
	}
	if err := newWorker(s, in, WorkerOptions{}).settleLeft(ctx, row); err != nil {
		return Job{}, s.failed("cancel", id, err)
	}
	return s.Get(ctx, id)
}

func ended(s State) string {
	if s == Cancelled {
		return "was cancelled"
	}
	return string(s)
}

// Retry does a job again that failed or was cancelled, or does one at once that waits to
// be tried again. Workers that have died with it count no more. Errors: NotFound; Conflict for any other.
func (s *Store) Retry(ctx context.Context, id int64) (Job, error) {
	before, err := s.Get(ctx, id)
	if err != nil {
		return Job{}, err
	}
	if before.State != Failed && before.State != Cancelled && before.State != Retrying {
		return Job{}, quant.Errorf(quant.Conflict, "job %d is %s: there is nothing to try again", id, before.State).
			WithHint("a job is tried again that failed or was cancelled; submit a new one")
	}
	if before.rescues > 0 {
		doc, err := json.Marshal(map[string]int{"forgiven_deaths": before.rescues})
		if err != nil {
			return Job{}, err
		}
		_, err = s.driver.GetExecutor().JobUpdate(ctx, &riverdriver.JobUpdateParams{ID: id, Schema: s.schema, MetadataDoMerge: true, Metadata: doc})
		if err != nil {
			return Job{}, s.failed("retry", id, err)
		}
	}
	row, err := s.client.JobRetry(ctx, id)
	if err != nil {
		return Job{}, s.failed("retry", id, err)
	}
	return jobOf(row), nil
}
