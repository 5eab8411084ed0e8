package jobs

import (
	"context"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"quant"
	"quant/internal/session"
)

// FindAbandoned marks those jobs of a list as Abandoned that run by what the queue says, and
// at which nobody works: their worker is dead, and no other has looked yet. It returns how
// many. Errors: the Meta DB's.
func FindAbandoned(ctx context.Context, in *session.Session, list []Job) (n int, err error) {
	dead := map[string]bool{}
	for i, j := range list {
		if j.State != Running || len(j.Attempts) == 0 {
			continue
		}
		if _, err := in.MetaDB(); err != nil {
			return n, err
		}
		last := j.Attempts[len(j.Attempts)-1]
		by := last.WorkerRunID
		gone, known := dead[by]
		if !known {
			gone = isDead(ctx, in, by)
			dead[by] = gone
		}
		if gone && !lives(ctx, in, last.RunID) {
			list[i].Abandoned = true
			n++
		}
	}
	return n, nil
}

// Look is Get of a job that is also told to be Abandoned.
func (s *Store) Look(ctx context.Context, in *session.Session, id int64) (Job, error) {
	job, err := s.Get(ctx, id)
	if err != nil {
		return job, err
	}
	list := []Job{job}
	_, err = FindAbandoned(ctx, in, list)
	return list[0], err
}

// lives tells whether the process of a run may live; one that is not recorded does not.
func lives(ctx context.Context, in *session.Session, runID string) bool {
	_, err := in.Meta.GetRun(ctx, runID)
	return quant.CodeOf(err) != quant.NotFound && !isDead(ctx, in, runID)
}

// Tidy sees to what dead workers have left, as a worker does while it works: jobs that
// run are settled by what their runs say; those that then wait in a queue of a run that is
// over are cancelled, since nobody would take them. Errors: the store's.
func (s *Store) Tidy(ctx context.Context, session *session.Session) error {
	if _, err := session.MetaDB(); err != nil {
		return err
	}
	if err := newWorker(s, session, WorkerOptions{}).tidy(ctx); err != nil {
		return s.explain("look for jobs of dead workers", err)
	}
	return nil
}

// tidy is Tidy of a worker that works.
func (w *worker) tidy(ctx context.Context) error {
	if err := w.store.recover(ctx, w); err != nil {
		return err
	}
	list, err := w.store.client.JobList(ctx, river.NewJobListParams().
		States(rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateScheduled, rivertype.JobStateRetryable).
		Where("queue <> @all", river.NamedArgs{"all": river.QueueDefault}).First(mostRunning))
	if err != nil {
		return err
	}
	dead := map[string]bool{w.s.RunID(): false}
	ended := 0
	for _, row := range list.Jobs {
		parent := string(jobOf(row).ParentRunID)
		gone, known := dead[parent]
		if !known {
			gone = isDead(ctx, w.s, parent)
			dead[parent] = gone
		}
		if !gone {
			continue
		}
		if _, err := w.store.client.JobCancel(ctx, row.ID); err != nil {
			return err
		}
		ended++
	}
	if ended > 0 {
		w.s.Say().Notice("jobs of runs that are over, and which only these would have done, were cancelled, %d in number", ended)
	}
	return nil
}
