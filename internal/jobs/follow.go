package jobs

import (
	"context"
	"slices"
	"time"

	"github.com/riverqueue/river"

	"quant/internal/session"
)

// chunk is how many jobs are asked for at once by their numbers.
const chunk = 1000

// Follow tells of the jobs of these numbers as they stand, and of each change of one,
// until all of them are over; of none named, it follows those that are not over now. It
// returns them as they stand last. in is asked which of them are abandoned. Errors:
// NotFound, the store's, told's, ctx's cause.
func (s *Store) Follow(ctx context.Context, in *session.Session, ids []int64, every time.Duration, told func(Job) error) ([]Job, error) {
	if len(ids) == 0 {
		list, err := s.List(ctx, []State{Queued, Scheduled, Running, Retrying}, mostRunning)
		if err != nil {
			return nil, err
		}
		for i := len(list) - 1; i >= 0; i-- {
			ids = append(ids, list[i].ID)
		}
	}
	now := make([]Job, len(ids))
	for {
		left := 0
		open := make([]int64, 0, len(ids))
		for i, id := range ids {
			if !now[i].State.Ended() {
				open = append(open, id)
			}
		}
		found, err := s.byID(ctx, in, open)
		if err != nil {
			return now, err
		}
		for i, id := range ids {
			if now[i].State.Ended() {
				continue
			}
			job, there := found[id]
			if !there {
				return now, noJob(id)
			}
			before := now[i]
			now[i] = job
			if job.Word() != before.Word() || job.Attempt != before.Attempt {
				if err := told(job); err != nil {
					return now, err
				}
			}
			if !job.State.Ended() {
				left++
			}
		}
		if left == 0 {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return now, context.Cause(ctx)
		case <-time.After(every):
		}
	}
}

// byID are the jobs of these numbers; one that is not there is left out.
func (s *Store) byID(ctx context.Context, in *session.Session, ids []int64) (map[int64]Job, error) {
	found := make(map[int64]Job, len(ids))
	for part := range slices.Chunk(ids, chunk) {
		rows, err := s.client.JobList(ctx, river.NewJobListParams().IDs(part...).First(len(part)))
		if err != nil {
			return nil, s.explain("look at jobs", err)
		}
		list := jobsOf(rows.Jobs)
		if _, err := FindAbandoned(ctx, in, list); err != nil {
			return nil, err
		}
		for _, job := range list {
			found[job.ID] = job
		}
	}
	return found, nil
}
