package jobs

import (
	"context"
	"time"

	"quant"
	"quant/internal/lab/place"
)

// ScheduleReport is a schedule as it stands.
type ScheduleReport struct {
	Name       string      `json:"name"`
	When       string      `json:"when"`
	Missed     Missed      `json:"missed"`
	Command    string      `json:"command"` // the kind of its runs
	Line       string      `json:"line"`
	User       quant.Text  `json:"user"` // whose its jobs are
	NextAt     *quant.Time `json:"next_at"`
	LastAt     *quant.Time `json:"last_at"` // the last time that was seen to
	LastJob    *int64      `json:"last_job"`
	LastState  quant.Text  `json:"last_state"`
	LastRunID  quant.Text  `json:"last_run_id"`
	LastMissed int         `json:"last_missed"` // how many times, up to that one, passed while no worker was there
	Overdue    int         `json:"overdue"`     // how many times have passed since, and no worker has come
	AddedAt    quant.Time  `json:"added_at"`
	AddedByRun quant.Text  `json:"added_by_run_id"`
}

// Reports tells of schedules how they stand at a time, with their last job, which the
// queue knows. Errors: the store's; Invalid for a schedule that is none any more.
func Reports(ctx context.Context, lab place.Place, list []Schedule, now time.Time) ([]ScheduleReport, error) {
	reports := []ScheduleReport{}
	if len(list) == 0 {
		return reports, nil
	}
	store, err := Open(ctx, lab, false)
	if err != nil && quant.CodeOf(err) != quant.NotFound {
		return nil, err
	}
	if store != nil {
		defer func() { _ = store.Close() }() // it was only read
	}
	for _, s := range list {
		r := ScheduleReport{Name: s.Name, When: s.When(), Missed: s.Missed, Command: s.Command, Line: s.Line(), User: quant.Text(s.User), AddedAt: s.AddedAt, AddedByRun: s.AddedBy}
		when, err := s.times(lab.CalendarFile())
		if err != nil {
			return nil, err
		}
		if next, ok := when(now); ok {
			r.NextAt = ptr(quant.NewTime(next))
		}
		last := s.AddedAt.Time
		if store != nil {
			job, planned, found, err := store.Last(ctx, s.Name)
			if err != nil {
				return nil, err
			}
			if found && planned.After(last) {
				last = planned
				r.LastAt, r.LastJob, r.LastState, r.LastRunID, r.LastMissed = ptr(quant.NewTime(planned)), ptr(job.ID), quant.Text(job.State), job.RunID, job.Missed
			}
		}
		for r.Overdue < mostMissed {
			next, ok := when(last)
			if !ok || now.Sub(next) <= punctual {
				break
			}
			last = next
			r.Overdue++
		}
		reports = append(reports, r)
	}
	return reports, nil
}
