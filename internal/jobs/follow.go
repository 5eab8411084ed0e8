package jobs

import (
	"context"
	"time"
)

// Follow tells of the jobs of these numbers as they stand, and of each change of one,
// until all of them are over; of none named, it follows those that are not over now. It
// returns them as they stand last. Errors: NotFound, the store's, told's, ctx's cause.
func (s *Store) Follow(ctx context.Context, ids []int64, every time.Duration, told func(Job) error) ([]Job, error) {
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
		for i, id := range ids {
			if now[i].State.Ended() {
				continue
			}
			job, err := s.Get(ctx, id)
			if err != nil {
				return now, err
			}
			before := now[i]
			now[i] = job
			if job.State != before.State || job.Attempt != before.Attempt || job.Cancelling != before.Cancelling {
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
