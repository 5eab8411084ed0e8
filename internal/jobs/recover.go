package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"quant"
	"quant/internal/exec/program"
	"quant/internal/failpoint"
	"quant/internal/metastore"
	"quant/internal/registry/liveness"
	"quant/internal/session"
)

const (
	// mostRunning is how many running jobs are looked at.
	mostRunning = 10000
	// mostDeaths is how often a worker may die with a job, since somebody last asked for it
	// to be done, before the job is taken for the reason.
	mostDeaths = 5
)

// recover sees to the running jobs whose worker is dead: what their runs say decides.
// Several workers may do it at once: each change is made once.
func (s *Store) recover(ctx context.Context, w *worker) error {
	list, err := s.client.JobList(ctx, river.NewJobListParams().States(rivertype.JobStateRunning).First(mostRunning))
	if err != nil {
		return err
	}
	dead := map[string]bool{w.s.RunID(): false}
	for _, row := range list.Jobs {
		if len(row.AttemptedBy) == 0 {
			continue
		}
		by := row.AttemptedBy[len(row.AttemptedBy)-1]
		gone, known := dead[by]
		if !known {
			gone = isDead(ctx, w.s, by)
			dead[by] = gone
		}
		if by == w.s.RunID() {
			if err := w.giveBackAstray(ctx, row); err != nil {
				return err
			}
		}
		if gone {
			w.endLeft(ctx, row, by)
			if err := w.settle(ctx, row, by); err != nil {
				return err
			}
		}
	}
	return nil
}

// astrayFor is how long a job may be this worker's without its having it, before it is
// given back: as long as an answer may be on its way.
const astrayFor = 15 * time.Second

// giveBackAstray gives a job back that the store gave to this worker in an answer that was
// lost on the way: nobody else would, because this worker lives. One whose run could not be
// asked how it ended is settled by its run.
func (w *worker) giveBackAstray(ctx context.Context, row *rivertype.JobRow) error {
	h := hold{row.ID, row.Attempt, w.s.RunID()}
	if had, has := w.hands.of(row.ID); has && had == h {
		delete(w.astray, h)
		return nil
	}
	since, known := w.astray[h]
	if !known {
		w.astray[h] = time.Now()
		return nil
	}
	if time.Since(since) < failpoint.Patience("astray", astrayFor) {
		return nil
	}
	delete(w.astray, h)
	for _, a := range metadataOf(row).Attempts {
		if a.Attempt == row.Attempt && a.WorkerRunID == h.by {
			return w.settle(ctx, row, h.by)
		}
	}
	err := w.store.whileHeld(ctx, h, func(tx riverdriver.ExecutorTx) error {
		at := row.ScheduledAt
		_, err := tx.JobSetStateIfRunningMany(ctx, many(&riverdriver.JobSetStateIfRunningParams{ID: row.ID, State: rivertype.JobStateAvailable, ScheduledAt: &at}, w.store.schema))
		return err
	})
	if errors.Is(err, errTaken) {
		return nil
	}
	return err
}

// endLeft ends what an attempt has left running on this machine: programs that a
// recorded program started do not end with it. A run that lives is left alone.
func (w *worker) endLeft(ctx context.Context, row *rivertype.JobRow, by string) {
	run, err := w.s.Meta.GetRun(ctx, by)
	if err != nil || string(run.Process.MachineID) != w.s.Registry.Process.MachineID {
		return
	}
	for _, a := range metadataOf(row).Attempts {
		if a.Attempt != row.Attempt || a.WorkerRunID != by {
			continue
		}
		if run, found, err := w.run(ctx, a.RunID); err != nil || found && run.Status == quant.Running {
			continue
		}
		if n := program.KillMarked(mark(row.ID, a.RunID)); n > 0 {
			w.s.Say().Notice("job %d: what its dead worker had left running was ended, %d in number", row.ID, n)
		}
	}
}

// settleLeft settles a job that runs by what the queue says, where its worker is dead.
func (w *worker) settleLeft(ctx context.Context, row *rivertype.JobRow) error {
	if len(row.AttemptedBy) == 0 {
		return nil
	}
	by := row.AttemptedBy[len(row.AttemptedBy)-1]
	if !isDead(ctx, w.s, by) {
		return nil
	}
	w.endLeft(ctx, row, by)
	return w.settle(ctx, row, by)
}

// isDead tells whether a run has ended. What cannot be told from here is no death.
func isDead(ctx context.Context, s *session.Session, runID string) bool {
	run, err := s.Meta.GetRun(ctx, runID)
	if err != nil {
		return false
	}
	return run.Status != quant.Running || s.Registry.Judge(ctx, run) == liveness.Dead
}

// settle settles a job whose worker is dead.
func (w *worker) settle(ctx context.Context, row *rivertype.JobRow, by string) error {
	m := metadataOf(row)
	why := fmt.Sprintf("its worker, run %s, ended without finishing it", quant.ShortID(by))
	for _, a := range m.Attempts {
		if a.Attempt != row.Attempt || a.WorkerRunID != by {
			continue // an earlier one: it is over
		}
		run, found, err := w.run(ctx, a.RunID)
		switch {
		case err != nil:
			return err
		case !found:
			if err := w.forestall(ctx, row, a.RunID, why); err != nil {
				return nil //nolint:nilerr // it has begun meanwhile: the next look tells
			}
			failpoint.Hit("job.forestalled")
		case run.Status == quant.Success:
			done := w.s.Now()
			err := w.store.whileHeld(ctx, hold{row.ID, row.Attempt, by}, func(tx riverdriver.ExecutorTx) error {
				_, err := tx.JobSetStateIfRunningMany(ctx, many(riverdriver.JobSetStateCompleted(row.ID, done, nil), w.store.schema))
				return err
			})
			if errors.Is(err, errTaken) {
				return nil
			}
			if err == nil {
				w.s.Say().Notice("job %d was done by run %s, whose worker ended before it could say so", row.ID, quant.ShortID(a.RunID))
			}
			return err
		case run.Status == quant.Running:
			if !w.told[row.ID] {
				w.told[row.ID] = true
				w.s.Say().Notice("job %d: its worker is gone, run %s goes on: it is waited for", row.ID, quant.ShortID(a.RunID))
			}
			return nil
		case failedByItself(run.Process.ExitCode):
			return w.discharge(ctx, row, m, run)
		default:
			why += "; run " + quant.ShortID(a.RunID) + ": " + firstLine(string(run.ErrorText))
		}
	}
	return w.rescue(ctx, row, m, why)
}

// failedByItself reports whether a command line came to an end that was not forced.
func failedByItself(exit *int64) bool { return exit != nil && *exit < 128 }

// discharge says of an attempt that failed what its worker no longer could.
func (w *worker) discharge(ctx context.Context, row *rivertype.JobRow, m metadata, run metastore.RunDetail) error {
	now, why := w.s.Now(), firstLine(string(run.ErrorText))
	if m.CancelAttempted == nil && (row.Attempt >= row.MaxAttempts || hopeless(run.Process.ExitCode)) {
		return w.move(ctx, row, rivertype.JobStateDiscarded, &now, why)
	}
	return w.rescue(ctx, row, m, why)
}

// forestall records the run of an attempt that has not begun as FAIL, so that a process
// that is still on its way can no longer record itself, and so does nothing. Its exit status
// is that of a process that was killed, so that whoever sees the run takes it for the end
// of its worker and not for a failure of the command line.
func (w *worker) forestall(ctx context.Context, row *rivertype.JobRow, runID, why string) error {
	job := jobOf(row)
	parent := string(job.ParentRunID)
	c := session.Command{Kind: job.Command, Args: job.Argv, RunID: runID, Parent: &parent, Flags: map[string]string{}, Voice: session.Silent{}}
	began := false
	_, err := w.s.Inside(ctx, c, func(context.Context, *session.Session) error {
		began = true
		return quant.Exit{Status: 128 + int(syscall.SIGKILL), Err: quant.Errorf(quant.Failed, "it did not begin: %s", why)}
	})
	if began {
		return nil
	}
	return err
}

// rescue gives a job back to the queue, or ends it where it was cancelled, or where too
// many workers have died with it.
func (w *worker) rescue(ctx context.Context, row *rivertype.JobRow, m metadata, why string) error {
	now := w.s.Now()
	state, ended := rivertype.JobStateAvailable, (*time.Time)(nil)
	switch {
	case m.CancelAttempted != nil:
		state, ended, why = rivertype.JobStateCancelled, &now, "cancelled: "+why
	case m.Rescues+1-m.Forgiven >= mostDeaths:
		state, ended = rivertype.JobStateDiscarded, &now
		why = givenUp(row.ID, m, why)
	}
	return w.move(ctx, row, state, ended, why)
}

// givenUp is why a job is not begun again with which too many workers have died: which
// attempts these were, and what to do.
func givenUp(id int64, m metadata, why string) string {
	var attempts []string
	for _, a := range m.Attempts[max(len(m.Attempts)-mostDeaths, 0):] {
		attempts = append(attempts, quant.ShortID(a.RunID))
	}
	text := fmt.Sprintf("given up: %d workers have died with it", mostDeaths)
	if len(attempts) > 0 {
		text += " (runs " + strings.Join(attempts, ", ") + ")"
	}
	return text + fmt.Sprintf("; see why they died, then `quant jobs retry %d` does it again; the last time: %s", id, why)
}

// move takes a job out of the hands of its dead worker, unless that has begun an attempt
// since it was looked at.
func (w *worker) move(ctx context.Context, row *rivertype.JobRow, state rivertype.JobState, ended *time.Time, why string) error {
	if row.AttemptedAt == nil || len(row.AttemptedBy) == 0 {
		return errors.New("a running job that nobody has begun")
	}
	said, err := json.Marshal(rivertype.AttemptError{At: w.s.Now(), Attempt: row.Attempt, Error: why})
	if err != nil {
		return err
	}
	seen := len(metadataOf(row).Attempts)
	by := row.AttemptedBy[len(row.AttemptedBy)-1]
	err = w.store.whileHeld(ctx, hold{row.ID, row.Attempt, by}, func(tx riverdriver.ExecutorTx) error {
		now, err := tx.JobGetByID(ctx, &riverdriver.JobGetByIDParams{ID: row.ID, Schema: w.store.schema})
		if err != nil {
			return err
		}
		if len(metadataOf(now).Attempts) != seen {
			return errTaken // the next look sees the attempt
		}
		// A death is none of the retries.
		if _, err := tx.JobUpdateFull(ctx, &riverdriver.JobUpdateFullParams{ID: row.ID, Schema: w.store.schema, MaxAttemptsDoUpdate: true, MaxAttempts: row.MaxAttempts + 1}); err != nil {
			return err
		}
		_, err = tx.JobRescueMany(ctx, &riverdriver.JobRescueManyParams{
			Schema: w.store.schema,
			ID:     []int64{row.ID}, Error: [][]byte{said}, FinalizedAt: []*time.Time{ended}, ScheduledAt: []time.Time{row.ScheduledAt}, State: []string{string(state)},
			StuckHorizon: row.AttemptedAt.Add(time.Millisecond), // River asks for one; the hold decides
		})
		return err
	})
	if errors.Is(err, errTaken) {
		return nil
	}
	if err == nil {
		w.s.Say().Notice("job %d %s: %s", row.ID, stateOf(state), why)
	}
	return err
}

func many(p *riverdriver.JobSetStateIfRunningParams, schema string) *riverdriver.JobSetStateIfRunningManyParams {
	return &riverdriver.JobSetStateIfRunningManyParams{
		Schema: schema, ID: []int64{p.ID}, Attempt: []*int{p.Attempt}, ErrData: [][]byte{p.ErrData}, FinalizedAt: []*time.Time{p.FinalizedAt},
		MetadataDoMerge: []bool{p.MetadataDoMerge}, MetadataUpdates: [][]byte{p.MetadataUpdates}, ScheduledAt: []*time.Time{p.ScheduledAt}, State: []rivertype.JobState{p.State},
	}
}
