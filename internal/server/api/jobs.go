package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"quant"
	"quant/internal/jobs"
	"quant/internal/server/caller"
)

type listJobs struct {
	State  string `query:"state" doc:"only jobs of these states, with commas between: queued, scheduled, running, retrying, succeeded, failed, cancelled"`
	Before int    `query:"before" doc:"only jobs whose number is less"`
	Limit  int    `query:"limit" doc:"at most so many, up to 1,000; 50 if it is not said"`
}

type ofJob struct {
	Job int `path:"job" doc:"the number of a job"`
}

// maxJobs is how many jobs one request lists at most.
const maxJobs = 1000

// withJobs opens the queue of the lab for one request.
func withJobs[T any](ctx context.Context, h *handler, do func(*jobs.Store) (T, error)) (answer T, err error) {
	store, err := jobs.Open(ctx, h.Session.Place, false)
	if err != nil {
		return answer, err
	}
	defer func() { _ = store.Close() }() // it was only read
	return do(store)
}

// jobStates reads the states that a list is of.
func jobStates(text string) (of []jobs.State, err error) {
	if text == "" {
		return nil, nil
	}
	for _, word := range strings.Split(text, ",") {
		if !slices.Contains(jobs.States(), jobs.State(word)) {
			return nil, quant.Errorf(quant.Usage, "%q is no state of a job", word).WithHint("one of queued, scheduled, running, retrying, succeeded, failed, cancelled")
		}
		of = append(of, jobs.State(word))
	}
	return of, nil
}

// actOnJob does something to a job as who asked.
func actOnJob(do func(jobs.Actor, context.Context, int64) (jobs.Acted, error)) func(context.Context, *handler, ofJob) (jobs.Acted, error) {
	return func(ctx context.Context, h *handler, in ofJob) (jobs.Acted, error) {
		if _, err := h.Session.MetaDB(); err != nil {
			return jobs.Acted{}, err
		}
		return do(jobs.Actor{Actor: h.actor(caller.From(ctx))}, ctx, int64(in.Job))
	}
}

// routesOfJobs are those of the queue.
func routesOfJobs() []route {
	return []route{
		reads("jobs", about{id: "listJobs", group: "jobs", summary: "Jobs, the newest first", command: "jobs list"},
			func(ctx context.Context, h *handler, in listJobs) ([]jobs.Job, error) {
				of, err := jobStates(in.State)
				if err != nil {
					return nil, err
				}
				if in.Limit == 0 {
					in.Limit = 50
				}
				if in.Limit < 1 || in.Limit > maxJobs || in.Before < 0 {
					return nil, quant.Errorf(quant.Usage, "limit is from 1 to %d, and before a number of a job", maxJobs)
				}
				list, err := withJobs(ctx, h, func(s *jobs.Store) ([]jobs.Job, error) {
					list, err := s.ListBefore(ctx, of, int64(in.Before), in.Limit)
					if err != nil {
						return nil, err
					}
					_, err = jobs.FindAbandoned(ctx, h.Session, list)
					return list, err
				})
				if quant.CodeOf(err) == quant.NotFound {
					return []jobs.Job{}, nil // as many as a lab has that never had any
				}
				return list, err
			}),
		reads("jobs/progress", about{id: "getProgress", group: "jobs", summary: "How far the queue is, who works, and when it will be done", command: "jobs status",
			text: "`left_s` is guessed from what jobs of the same kind took lately and from the slots of the workers; null, with the reason in `unknown`, where nothing can be guessed from."},
			func(ctx context.Context, h *handler, _ nothing) (jobs.Progress, error) {
				p, err := withJobs(ctx, h, func(s *jobs.Store) (jobs.Progress, error) { return s.Progress(ctx, h.Session) })
				if quant.CodeOf(err) == quant.NotFound {
					return jobs.NoProgress(h.Session.Now()), nil
				}
				return p, err
			}),
		reads("jobs/{job}", about{id: "showJob", group: "jobs", summary: "A job and its attempts", command: "jobs show"},
			func(ctx context.Context, h *handler, in ofJob) (jobs.Job, error) {
				return withJobs(ctx, h, func(s *jobs.Store) (jobs.Job, error) { return s.Look(ctx, h.Session, int64(in.Job)) })
			}),
		writes(http.MethodPost, "jobs/{job}/cancel", about{id: "cancelJob", group: "jobs", summary: "Cancel a job that waits or runs",
			text: "One that runs is ended by its worker, within some seconds; one that was abandoned, at once."}, actOnJob(jobs.Actor.Cancel)),
		writes(http.MethodPost, "jobs/{job}/retry", about{id: "retryJob", group: "jobs", summary: "Do a job again that failed or was cancelled"},
			actOnJob(jobs.Actor.Retry)),
		reads("schedules", about{id: "listSchedules", group: "jobs", summary: "Schedules, with their next and their last time, and what was missed", command: "schedule list"},
			func(ctx context.Context, h *handler, _ nothing) ([]jobs.ScheduleReport, error) {
				all, err := jobs.Schedules(ctx, h.Session.Place)
				if err != nil {
					return nil, err
				}
				return jobs.Reports(ctx, h.Session.Place, all, h.Session.Now())
			}),
	}
}
