package jobs

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"quant"
	"quant/internal/session"
)

const (
	// lookEvery is how often a worker looks for jobs whose worker is dead, and whether
	// there is anything left to do.
	lookEvery = time.Second
	// emptyEvery is how often a worker asks whether it may end that ends with the queue.
	emptyEvery = 50 * time.Millisecond
	// fetchPause is the least between two questions of a worker for what is next.
	fetchPause = time.Millisecond
	// never is longer than any job takes: River's clock tells of no job that it is dead.
	never = 100 * 365 * 24 * time.Hour
	// kept is how long a job that is over stays in the queue. Its runs stay.
	kept = 30 * 24 * time.Hour
)

// WorkerOptions say how a worker works.
type WorkerOptions struct {
	Slots   int             // how many jobs it does at once; at least 1
	Program string          // the file of quant
	Queue   string          // the one of which it takes jobs, and then it sees to no schedules; "": that of all workers
	Now     <-chan struct{} // closed: what runs is ended, too, and waits in the queue again
	// Until ends the worker once these jobs are over, for whoever waits for them; nil: it
	// does not end with any job.
	Until []int64
	// UntilEmpty ends the worker once there is nothing to do any more, for anybody.
	UntilEmpty bool
	// Ended is told of each attempt that is over, from several goroutines; nil: nobody.
	Ended func(Job)
	// LogMax is how many bytes are kept at most of what a job prints.
	LogMax int64
}

// Worked is what a worker did.
type Worked struct {
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"` // attempts that failed: some are tried again
	Cancelled int `json:"cancelled"`
	Returned  int `json:"returned"` // that were ended with the worker, and wait again
}

// worker does jobs within the run of a session.
type worker struct {
	s     *session.Session
	store *Store
	o     WorkerOptions
	hands *hands

	mu     sync.Mutex
	done   Worked
	told   map[int64]bool     // jobs of which it was said that their process lives on
	astray map[hold]time.Time // attempts that are this worker's, and that it does not have, since when
	until  map[int64]bool     // jobs of o.Until that are not over
	over   chan struct{}      // closed when the last of them is
}

func newWorker(store *Store, s *session.Session, o WorkerOptions) *worker {
	w := &worker{s: s, store: store, o: o, hands: &hands{has: map[int64]hold{}}, told: map[int64]bool{}, astray: map[hold]time.Time{}}
	w.until, w.over = make(map[int64]bool, len(o.Until)), make(chan struct{})
	for _, id := range o.Until {
		w.until[id] = true
	}
	return w
}

// Work takes jobs from the store and does them until ctx ends; then it waits for those
// that run, which are ended only once o.Now is closed. Errors: the store's. Whoever
// works has a run, by whose process others tell that it lives.
func (s *Store) Work(ctx context.Context, session *session.Session, o WorkerOptions) (Worked, error) {
	if session.Run == nil {
		return Worked{}, quant.Errorf(quant.Store, "a worker is a recorded run, and there is none").WithHint("run quant doctor")
	}
	var all Worked
	for {
		done, err := s.work(ctx, session, o)
		all.Succeeded, all.Failed, all.Cancelled, all.Returned = all.Succeeded+done.Succeeded, all.Failed+done.Failed, all.Cancelled+done.Cancelled, all.Returned+done.Returned
		if err != nil || o.Until == nil || ctx.Err() != nil {
			return all, err
		}
		// River notes that a job is over after the worker has seen it, and that may fail.
		jobs, err := s.byID(ctx, session, o.Until)
		if err != nil {
			return all, err
		}
		o.Until = slices.DeleteFunc(slices.Clone(o.Until), func(id int64) bool { return jobs[id].State.Ended() })
		if len(o.Until) == 0 {
			return all, nil
		}
	}
}

// work is Work of one client of River.
func (s *Store) work(ctx context.Context, session *session.Session, o WorkerOptions) (Worked, error) {
	w := newWorker(s, session, o)
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, &commands{worker: w}); err != nil {
		return Worked{}, err
	}
	client, err := river.NewClient[*sql.Tx](holding{s.driver, s, w.hands}, &river.Config{
		ID:     session.RunID(),
		Logger: silent(), Schema: s.schema,
		Queues: map[string]river.QueueConfig{cmp.Or(o.Queue, river.QueueDefault): {MaxWorkers: o.Slots}}, Workers: workers,
		FetchPollInterval: s.in.fetchEvery, FetchCooldown: fetchPause, PollOnly: true,
		JobTimeout: -1, RescueStuckJobsAfter: never, JobStuckThreshold: never,
		CompletedJobRetentionPeriod: kept, CancelledJobRetentionPeriod: kept, DiscardedJobRetentionPeriod: kept,
		RetryPolicy: retries{session.Now},
		// River decides with it who is due, also for others, so it is no host's own.
		Test: river.TestConfig{Time: clock{session.Now}},
	})
	if err != nil {
		return Worked{}, s.explain("start the worker", err)
	}
	lasting := context.WithoutCancel(ctx)
	if err := client.Start(lasting); err != nil {
		return Worked{}, s.explain("start the worker", err)
	}
	failed := w.watch(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- client.Stop(lasting) }()
	select {
	case err = <-stopped:
	case <-o.Now:
		err = errors.Join(client.StopAndCancel(lasting), <-stopped)
	}
	if failed == nil && err != nil {
		failed = s.explain("end the worker", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done, failed
}

// watch sees to schedules, and to the jobs of dead workers until ctx ends, or there is nothing to do.
func (w *worker) watch(ctx context.Context) error {
	look, empty := time.NewTicker(lookEvery), time.NewTicker(emptyEvery)
	defer look.Stop()
	defer empty.Stop()
	if !w.o.UntilEmpty {
		empty.Stop()
	}
	p := planner{last: map[string]time.Time{}, said: map[string]string{}}
	away := false // the last look failed, and that was said
	for due := true; ; {
		if due {
			err := w.tidy(ctx)
			if err != nil && !away && ctx.Err() == nil {
				w.s.Say().Warn("jobs of dead workers cannot be looked for, and are looked for again: %s", firstLine(w.store.explain("look for them", err).Error()))
			}
			away = err != nil
			if w.o.Queue == "" {
				p.plan(ctx, w, w.s.Now())
			}
		}
		if w.o.UntilEmpty {
			left, err := w.store.client.JobList(ctx, river.NewJobListParams().States(waiting...).First(1))
			if err == nil && len(left.Jobs) == 0 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.over:
			return nil
		case <-look.C:
			due = true
		case <-empty.C:
			due = false
		}
	}
}

// commands is the worker of River's kind of job.
type commands struct {
	river.WorkerDefaults[command]
	worker *worker
}

// Timeout implements river.Worker.
func (*commands) Timeout(j *river.Job[command]) time.Duration {
	if j.Args.Timeout > 0 {
		return j.Args.Timeout
	}
	return -1
}

// NextRetry implements river.Worker.
func (c *commands) NextRetry(j *river.Job[command]) time.Time {
	doubled := min(max(j.Attempt-1, 0), 10)
	return c.worker.s.Lab.Now().Add(j.Args.RetryDelay << doubled)
}

// retries is when a job is tried again whose arguments cannot be read.
type retries struct{ now func() time.Time }

// NextRetry is documented at river.ClientRetryPolicy.
func (r retries) NextRetry(*rivertype.JobRow) time.Time { return r.now().Add(defaultRetryDelay) }

// Work implements river.Worker: one attempt.
func (c *commands) Work(ctx context.Context, j *river.Job[command]) error {
	w := c.worker
	outcome, err := w.attempt(ctx, j)
	job := jobOf(j.JobRow)
	job.RunID, job.StartedAt, job.Error = quant.Text(outcome.runID), nil, "" // the row's error is that of an earlier attempt
	w.mu.Lock()
	switch {
	case err == nil:
		job.State = Succeeded
		w.done.Succeeded++
	case errors.Is(context.Cause(ctx), rivertype.ErrJobCancelledRemotely):
		job.State = Cancelled
		w.done.Cancelled++
	case outcome.returned:
		job.State = Queued
		w.done.Returned++
	default:
		job.State, job.Error = Failed, quant.Text(err.Error())
		if j.Attempt < j.MaxAttempts {
			job.State = Retrying
		}
		w.done.Failed++
	}
	if w.until[j.ID] && job.State.Ended() && !errors.Is(err, errTaken) {
		if delete(w.until, j.ID); len(w.until) == 0 {
			close(w.over)
		}
	}
	w.mu.Unlock()
	if w.o.Ended != nil && !errors.Is(err, errTaken) {
		w.o.Ended(job)
	}
	return err
}

// Describe is a line about an attempt that is over.
func (j Job) Describe() string {
	text := fmt.Sprintf("job %d %s %s", j.ID, j.Command, j.State)
	if j.RunID != "" {
		text += ", run " + quant.ShortID(string(j.RunID))
	}
	if j.Error != "" {
		text += ": " + string(j.Error)
	}
	return text
}
