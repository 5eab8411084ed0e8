package jobs

import (
	"context"
	"strconv"

	"quant/internal/runs"
	"quant/internal/session"
)

// Actor does to jobs what somebody asks for through a face of the lab that serves
// several, as runs.Actor does to runs.
type Actor struct{ runs.Actor }

// Acted is what became of a job.
type Acted struct {
	ActionID string `json:"action_run_id"` // the run as which it is recorded
	By       string `json:"by"`
	Job      Job    `json:"job"` // as it stands then
}

// Cancel is Store.Cancel as an action.
func (a Actor) Cancel(ctx context.Context, id int64) (Acted, error) {
	return a.act(ctx, "cancel", id, (*Store).Cancel)
}

// Retry is Store.Retry as an action.
func (a Actor) Retry(ctx context.Context, id int64) (Acted, error) {
	return a.act(ctx, "retry", id, func(s *Store, ctx context.Context, _ *session.Session, id int64) (Job, error) {
		return s.Retry(ctx, id)
	})
}

func (a Actor) act(ctx context.Context, verb string, id int64, do func(*Store, context.Context, *session.Session, int64) (Job, error)) (Acted, error) {
	s, err := Open(ctx, a.Session.Place, false)
	if err != nil {
		return Acted{}, err
	}
	defer func() { _ = s.Close() }() // all of it is durable
	acted, number := Acted{By: a.By}, strconv.FormatInt(id, 10)
	c := session.Command{Kind: "jobs." + verb, Args: []string{"jobs", verb, number}, Operands: []string{number}, Flags: map[string]string{}}
	acted.ActionID, err = a.Do(ctx, c, func(ctx context.Context, in *session.Session) (err error) {
		acted.Job, err = do(s, ctx, in, id)
		return err
	})
	return acted, err
}
