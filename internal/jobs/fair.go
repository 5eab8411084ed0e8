package jobs

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"slices"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// fairDriver is River's driver with another order in which jobs are taken: River takes
// the oldest of the most urgent ones, whoever submitted them; here users take turns.
type fairDriver struct {
	riverdriver.Driver[*sql.Tx]
	pool *sql.DB
	in   dialect
	idle *idle
}

func (d fairDriver) GetExecutor() riverdriver.Executor {
	return fairExecutor{Executor: d.Driver.GetExecutor(), driver: d}
}

type fairExecutor struct {
	riverdriver.Executor
	driver fairDriver
}

// spare is how many more jobs are looked at than are taken: another worker may take some
// at the same moment.
const spare = 16

// waiter is a job that waits, beside what its user has already.
type waiter struct {
	id       int64
	user     string
	priority int
	share    int     // how many jobs its user has once this one and those before it are begun
	served   float64 // when one of its user was begun last, as seconds; 0: never
}

// JobGetAvailable takes the next jobs: the most urgent first; of those the ones whose user
// has the fewest running; of those the ones whose user has waited longest for a turn; and
// then the oldest. What is read here may be taken by another worker before it is taken
// here, and then is not taken twice.
func (e fairExecutor) JobGetAvailable(ctx context.Context, p *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	d := e.driver
	now := d.idle.now()
	if d.idle.still(p.Queue, now) {
		return &riverdriver.JobGetAvailableResult{}, nil
	}
	list, err := d.waiters(ctx, p.Queue, p.MaxToLock+spare)
	d.idle.found(p.Queue, err != nil || len(list) > 0, now)
	if err != nil || len(list) == 0 {
		return &riverdriver.JobGetAvailableResult{}, err
	}
	ids := make([]int64, len(list))
	for i, w := range list {
		ids[i] = w.id
	}
	doc, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	tx, err := d.pool.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // nothing is left of it once it is committed
	taken, err := numbers(ctx, tx, d.in.take, p.ClientID, string(doc), p.MaxToLock)
	if err != nil || len(taken) == 0 {
		return &riverdriver.JobGetAvailableResult{}, err
	}
	slices.SortFunc(taken, func(a, b int64) int { return slices.Index(ids, a) - slices.Index(ids, b) })
	result, err := read(ctx, d.UnwrapExecutor(tx), p.Schema, taken)
	if err != nil {
		return nil, err
	}
	return result, tx.Commit()
}

// waiters are the jobs of a queue that may be taken next, in the order in which they are:
// the first ones of each user, at most so many of one.
func (d fairDriver) waiters(ctx context.Context, queue string, most int) (list []waiter, err error) {
	rows, err := d.pool.QueryContext(ctx, d.in.waiters, most, queue)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	begun := map[string]int{}
	for rows.Next() {
		var w waiter
		var running int
		if err := rows.Scan(&w.id, &w.user, &w.priority, &running, &w.served); err != nil {
			return nil, err
		}
		begun[w.user]++
		w.share = running + begun[w.user]
		list = append(list, w)
	}
	slices.SortStableFunc(list, func(a, b waiter) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.share, b.share), cmp.Compare(a.served, b.served))
	})
	return list, rows.Err()
}

func numbers(ctx context.Context, tx *sql.Tx, query string, args ...any) (list []int64, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, rows.Err()
}

// read reads jobs that were taken. One that cannot be read is told to River as such, and
// keeps none of the others from being done.
func read(ctx context.Context, e riverdriver.Executor, schema string, ids []int64) (*riverdriver.JobGetAvailableResult, error) {
	rows, err := e.JobGetByIDMany(ctx, &riverdriver.JobGetByIDManyParams{ID: ids, Schema: schema})
	if err == nil {
		byID := map[int64]int{}
		for at, id := range ids {
			byID[id] = at
		}
		slices.SortFunc(rows, func(a, b *rivertype.JobRow) int { return cmp.Compare(byID[a.ID], byID[b.ID]) })
		return &riverdriver.JobGetAvailableResult{Jobs: rows}, nil
	}
	if ctx.Err() != nil {
		return nil, err
	}
	result := &riverdriver.JobGetAvailableResult{DecodeErrors: map[int64]error{}}
	for _, id := range ids {
		row, err := e.JobGetByID(ctx, &riverdriver.JobGetByIDParams{ID: id, Schema: schema})
		if err != nil {
			row = &rivertype.JobRow{ID: id, State: rivertype.JobStateRunning}
			result.DecodeErrors[id] = err
		}
		result.Jobs = append(result.Jobs, row)
	}
	return result, nil
}
