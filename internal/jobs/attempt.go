package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"

	"quant"
	"quant/internal/config"
	"quant/internal/exec"
	"quant/internal/exec/program"
	"quant/internal/exec/transcript"
	"quant/internal/failpoint"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// grace is how long a process that is asked to end may take before it is killed.
const grace = 10 * time.Second

// patientFlag makes a command wait for a locked Fact DB as long as it takes: in the
// embedded lab one process writes at a time, and a job has nobody who watches it.
const patientFlag = "--wait=30d"

// execKind is the kind of the run of a program, which keeps its own log.
const execKind = "exec"

// outcome is what became of an attempt.
type outcome struct {
	runID    string
	returned bool // it was ended with the worker
}

// attempt runs the command line of a job as a run of its own. Its error is why the job
// is not done. When ctx ends, the process and all that it started are ended.
func (w *worker) attempt(ctx context.Context, j *river.Job[command]) (outcome, error) {
	id, err := w.s.Registry.NewRunID()
	if err != nil {
		return outcome{}, err
	}
	o := outcome{runID: id}
	if err := w.noted(ctx, j, id); err != nil {
		o.returned = ctx.Err() != nil || errors.Is(err, errTaken)
		return o, err
	}
	failpoint.Hit("job.noted")
	how, exit, err := w.process(ctx, j, id)
	failpoint.Hit("job.ended")
	run, found, known := w.ending(ctx, id)
	closing, stop := registry.Closing(ctx)
	defer stop()
	switch {
	case !known:
		// It may have ended SUCCESS: nothing is said of the job, so that it stays this
		// attempt's until somebody can ask its run.
		w.hands.drop([]hold{w.holdOf(j)})
		o.returned = true
		return o, fmt.Errorf("run %s cannot be asked how it ended", quant.ShortID(id))
	case found && run.Status == quant.Success:
		return o, nil
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return o, w.lastly(closing, j, false, fmt.Errorf("timed out after %s", j.Args.Timeout))
	case ctx.Err() != nil:
		o.returned = true
		return o, ctx.Err() // River knows why: it was cancelled, or the worker stops
	case err != nil:
		return o, w.lastly(closing, j, false, err)
	case found:
		return o, w.lastly(closing, j, hopeless(run.Process.ExitCode), errors.New(firstLine(string(run.ErrorText))))
	}
	_ = os.Remove(w.s.LogFile(id))
	return o, w.lastly(closing, j, hopeless(&exit), fmt.Errorf("its process recorded no run, and ended with %s", how))
}

// hopeless reports whether the same command line again would end in the same way: it is
// no command line, what it names is not there, or a rule forbids it.
func hopeless(exit *int64) bool {
	if exit == nil {
		return false
	}
	switch int(*exit) {
	case quant.ExitStatus(quant.Errorf(quant.Usage, "")), quant.ExitStatus(quant.Errorf(quant.NotFound, "")), quant.ExitStatus(quant.Errorf(quant.Refused, "")):
		return true
	}
	return false
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// noted writes down, before an attempt begins, as which run. While the store is away it
// asks again: nothing has failed. errTaken: the job is another's meanwhile.
func (w *worker) noted(ctx context.Context, j *river.Job[command], runID string) error {
	for said := false; ; {
		err := w.note(ctx, j, runID)
		if err == nil || !away(err) {
			return err
		}
		if !said && ctx.Err() == nil {
			said = true
			w.s.Say().Warn("job %d cannot be begun, and is begun later: %s", j.ID, firstLine(w.store.explain("write down its run", err).Error()))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

func (w *worker) note(ctx context.Context, j *river.Job[command], runID string) error {
	list := append(slices.Clone(metadataOf(j.JobRow).Attempts), attempt{
		Attempt: j.Attempt, RunID: runID, WorkerRunID: w.s.RunID(), Host: w.s.Registry.Process.Host, StartedAt: w.s.Now().UTC(),
	})
	doc, err := json.Marshal(map[string]any{"attempts": list})
	if err != nil {
		return err
	}
	failpoint.Hit("job.note")
	return w.store.whileHeld(ctx, w.holdOf(j), func(tx riverdriver.ExecutorTx) error {
		_, err := tx.JobUpdate(ctx, &riverdriver.JobUpdateParams{ID: j.ID, Schema: w.store.schema, MetadataDoMerge: true, Metadata: doc})
		return err
	})
}

func (w *worker) holdOf(j *river.Job[command]) hold { return hold{j.ID, j.Attempt, w.s.RunID()} }

// lastly makes an error the last one of a job where trying again is hopeless.
func (w *worker) lastly(ctx context.Context, j *river.Job[command], hopeless bool, err error) error {
	if hopeless && j.Attempt < j.MaxAttempts {
		failed := w.store.whileHeld(ctx, w.holdOf(j), func(tx riverdriver.ExecutorTx) error {
			_, err := tx.JobUpdateFull(ctx, &riverdriver.JobUpdateFullParams{ID: j.ID, Schema: w.store.schema, MaxAttemptsDoUpdate: true, MaxAttempts: j.Attempt})
			return err
		})
		if failed == nil {
			j.MaxAttempts = j.Attempt
		}
	}
	return err
}

// ending is the run of an attempt whose process has ended. A Meta DB that does not answer
// says nothing of a run, and neither does a run that the process could not close: both
// are waited for until ctx ends. It is known unless the Meta DB did not answer until then.
func (w *worker) ending(ctx context.Context, id string) (run metastore.RunDetail, found, known bool) {
	for said := false; ; {
		closing, stop := registry.Closing(ctx)
		run, found, err := w.run(closing, id)
		stop()
		if err == nil && (!found || run.Status != quant.Running) {
			return run, found, true
		}
		if err != nil && !said {
			said = true
			w.s.Say().Warn("run %s cannot be asked how it ended, and is asked again: %v", quant.ShortID(id), err)
		}
		select {
		case <-ctx.Done():
			return run, found, err == nil
		case <-time.After(lookEvery):
		}
	}
}

// run is the run of an attempt, closed if its process is dead. Errors: the store's; that
// there is none is no error.
func (w *worker) run(ctx context.Context, id string) (run metastore.RunDetail, found bool, err error) {
	for range 2 {
		run, err = w.s.Meta.GetRun(ctx, id)
		if quant.CodeOf(err) == quant.NotFound {
			return run, false, nil
		}
		if err != nil {
			return run, false, err
		}
		if run.Status != quant.Running {
			break
		}
		_ = w.s.Registry.ReconcileRun(ctx, run) // what it leaves open is told as it stands
	}
	return run, true, nil
}

// mark is the variable by which all processes of an attempt are known, and no others of
// this machine: other labs have jobs of the same number.
func mark(job int64, runID string) string {
	return config.Job + "=" + strconv.FormatInt(job, 10) + ":" + runID
}

// process runs the process of an attempt to its end, and says how it ended; exit is -1
// where a signal ended it.
func (w *worker) process(ctx context.Context, j *river.Job[command], runID string) (how string, exit int64, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return "", -1, err
	}
	defer null.Close()
	argv := j.Args.Argv
	if !slices.ContainsFunc(argv, func(word string) bool { return word == "--wait" || strings.HasPrefix(word, "--wait=") }) {
		argv = append([]string{patientFlag}, argv...)
	}
	marked := mark(j.ID, runID)
	added := []string{config.JobRun + "=" + runID, marked}
	if j.Args.User != "" && j.Args.User != w.store.user {
		added = append(added, config.JobUser+"="+j.Args.User)
	}
	environ, err := exec.Environ(w.s, j.Args.Parent, w.s.Programs().Environ, added...)
	if err != nil {
		return "", -1, err
	}
	c := program.Command{
		Path: w.o.Program, Argv: append([]string{"quant"}, argv...), Env: environ, Dir: j.Args.Dir,
		In: null, Out: null, Err: null, Apart: true,
	}
	c.Copy = func(bool, []byte) {}
	if j.Args.Command == execKind {
		c.Mark = marked // its program may have left others, of sessions of their own
	} else {
		log, _ := transcript.Create(w.s.LogFile(runID), w.o.LogMax, w.s.Mask) // without a file it only counts
		defer log.Close()
		copies := map[bool]*transcript.Input{true: log.Input(), false: log.Input()}
		c.Copy = func(out bool, b []byte) { _, _ = copies[out].Write(b) }
	}
	result, err := c.RunUntil(ctx, grace)
	if err != nil {
		return "", -1, quant.Errorf(quant.Failed, "start quant in %s: %w", j.Args.Dir, err)
	}
	if result.Status.Signaled() {
		return "signal " + result.Status.Signal().String(), -1, nil
	}
	exit = int64(result.Status.ExitStatus())
	return "exit status " + strconv.FormatInt(exit, 10), exit, nil
}
