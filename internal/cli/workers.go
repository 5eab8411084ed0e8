package cli

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/jobs"
	"quant/internal/output"
	"quant/internal/pipeline"
	"quant/internal/session"
)

const (
	workersFlag = "workers"
	// queueWorkers is the value of --workers for the workers that run by themselves.
	queueWorkers = "queue"
	mostWorkers  = 64
	// unitsEvery is how often the jobs of units are looked at, and unitsHereEvery where
	// workers of this process do them.
	unitsEvery     = 200 * time.Millisecond
	unitsHereEvery = 25 * time.Millisecond
	// cancelWait bounds the wait for jobs that were cancelled: a process that was asked
	// to end does so within 10 seconds of the signal.
	cancelWait = 7 * time.Second
	// unitRetries is how often a unit is done again whose process failed or was killed.
	unitRetries = 2
)

// bindWorkers binds the flag that has others do a command's work, whose units are what
// it says, and those by which a unit is asked for.
func bindWorkers(cmd *cobra.Command, workers *string, units string, unit *pipeline.UnitOf) {
	f := cmd.Flags()
	f.Var((*filled)(workers), workersFlag, units+" with so many processes, or with the workers of the queue: a number, or queue")
	f.Var((*filled)(&unit.Name), "unit", "work out this unit for a run with workers")
	f.Var((*filled)(&unit.Plan), "unit-plan", "what that run is asked for")
	f.Var((*filled)(&unit.Fingerprint), "unit-fingerprint", "what the unit is worked out on")
	for _, name := range []string{"unit", "unit-plan", "unit-fingerprint"} {
		_ = f.MarkHidden(name) // it is there
	}
}

// filled is the value of a flag that is left out or says something.
type filled string

func (f *filled) String() string { return string(*f) }
func (f *filled) Type() string   { return "string" }

func (f *filled) Set(text string) error {
	if text == "" {
		return errors.New("it is empty")
	}
	*f = filled(text)
	return nil
}

// changesUnlessUnit: a unit stages what who asked for it stores.
func changesUnlessUnit(l Line) bool { return l.Flags["unit-fingerprint"] == "" }

// oneProcessor has this process use one processor: others work beside it.
func oneProcessor() { runtime.GOMAXPROCS(1) }

// dispatch is how units of work are done with --workers; nil without.
func (e *Env) dispatch(workers string) (pipeline.Dispatch, error) {
	if workers == "" {
		return nil, nil
	}
	slots := 0
	if workers != queueWorkers {
		n, err := strconv.Atoi(workers)
		if err != nil || n < 1 || n > mostWorkers {
			return nil, quant.Errorf(quant.Usage, "--workers %q is neither a number from 1 to %d nor %s", workers, mostWorkers, queueWorkers).
				WithHint("--workers 2 starts two processes here; --workers queue leaves it to `quant worker`")
		}
		slots = n
	}
	return func(ctx context.Context, s *session.Session, name string, lines [][]string) ([]string, error) {
		dir, err := os.Getwd()
		if err != nil {
			return nil, quant.Errorf(quant.Failed, "the working directory is gone").WithHint("change to one that exists")
		}
		store, err := e.jobs(ctx, true)
		if err != nil {
			return nil, err
		}
		defer func() { _ = store.Close() }() // all of it is durable
		queue := ""
		if slots > 0 {
			queue = name // taken by the workers of this process alone
		}
		if err := store.Tidy(ctx, s); err != nil { // else this run would wait for a job of a dead one
			return nil, err
		}
		ids := make([]int64, len(lines))
		for i, line := range lines {
			job, err := store.Submit(ctx, jobs.Submission{Argv: line, Command: line[0], Dir: dir, Parent: s.RunID(), Unique: true, Queue: queue, Retries: unitRetries, RetryDelay: time.Second})
			if err != nil {
				return nil, e.cancelled(ctx, store, ids[:i], err)
			}
			ids[i] = job.ID
		}
		if slots == 0 {
			e.Notice("%s wait for workers, jobs %d to %d; `quant worker` starts one, `quant jobs list` shows them", quant.Count(len(lines), "unit"), ids[0], ids[len(ids)-1])
			return e.unitsDone(ctx, s, store, ids, unitsEvery)
		}
		working, end := context.WithCancel(context.WithoutCancel(ctx))
		now := make(chan struct{})
		var worker sync.WaitGroup
		var failed error
		following, stop := context.WithCancelCause(ctx)
		defer stop(nil)
		worker.Go(func() {
			_, failed = store.Work(working, e.Session, jobs.WorkerOptions{Slots: slots, Queue: queue, Until: ids, Program: thisProgram(), Now: now, LogMax: defaultLogMax})
			if failed != nil {
				stop(failed)
			}
		})
		runs, err := e.unitsDone(following, s, store, ids, unitsHereEvery)
		end()
		if err != nil {
			close(now)
		}
		worker.Wait()
		return runs, err
	}, nil
}

// unitsDone waits for jobs, and returns the run that did each. Of jobs that are not all
// done none is left.
func (e *Env) unitsDone(ctx context.Context, s *session.Session, store *jobs.Store, ids []int64, every time.Duration) ([]string, error) {
	begun, over := time.Now(), 0
	shown := output.IsTerminal(e.Streams().Err)
	last, err := store.Follow(ctx, s, ids, every, func(j jobs.Job) error {
		switch j.State {
		case jobs.Failed, jobs.Cancelled:
			return unitFailed(ctx, s, j)
		case jobs.Succeeded:
			over++
			if shown && over < len(ids) {
				left := time.Since(begun) / time.Duration(over) * time.Duration(len(ids)-over)
				e.Notice("unit %d of %d done, about %s left", over, len(ids), max(left, time.Second).Round(time.Second))
			}
		}
		return nil
	})
	if err != nil {
		return nil, e.cancelled(ctx, store, ids, err)
	}
	runs := make([]string, len(last))
	for i, j := range last {
		runs[i] = string(j.RunID)
	}
	return runs, nil
}

// unitFailed is why a job did not do its unit. Its code is that with which the unit's run
// ended, as it would have been without workers.
func unitFailed(ctx context.Context, s *session.Session, j jobs.Job) error {
	code, what := quant.Failed, "was cancelled"
	if j.State == jobs.Failed {
		what = string(j.State)
		if j.Error != "" {
			what += ": " + string(j.Error)
		}
		if run, err := s.Meta.GetRun(ctx, string(j.RunID)); err == nil && run.Process.ExitCode != nil {
			for _, c := range slices.Backward(quant.Codes()) {
				if int64(c.ExitStatus()) == *run.Process.ExitCode {
					code = c
				}
			}
		}
	}
	return quant.Errorf(code, "job %d of this run %s", j.ID, what).
		WithHint("`quant jobs show %d` says more; the same command again goes on with what the others came to", j.ID)
}

// cancelled cancels those of the jobs that are not over, waits until none runs, and
// returns why.
func (e *Env) cancelled(ctx context.Context, store *jobs.Store, ids []int64, why error) error {
	ending, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelWait)
	defer stop()
	var left []int64
	for _, id := range ids {
		if _, err := store.Cancel(ending, e.Session, id); err == nil {
			left = append(left, id)
		}
	}
	if len(left) > 0 {
		if _, err := store.Follow(ending, e.Session, left, unitsEvery, func(jobs.Job) error { return nil }); err != nil {
			e.Warn("the jobs of this run have not all ended yet; `quant jobs list` shows them")
		}
	}
	return why
}
