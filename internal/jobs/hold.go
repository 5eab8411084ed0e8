package jobs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"quant"
)

// River changes the state of whatever attempt of a job is running. A worker that was
// suspended or cut off may wake when its job has been given to another: what it then has
// to say of its own attempt must not hit the other's. So everything that is said of an
// attempt is said in a transaction that first takes the job's row, if it still is that
// attempt's.

// hold is an attempt of a job in the hands of a worker.
type hold struct {
	job     int64
	attempt int
	by      string // the run of the worker
}

// errTaken says that an attempt is over, because its worker was taken for dead.
var errTaken = errors.New("the job was given to another worker meanwhile")

// still takes the row of a job, in a transaction, and tells whether the attempt still has it.
func (s *Store) still(ctx context.Context, tx riverdriver.Executor, h hold) (bool, error) {
	query := `SELECT id FROM river_job WHERE id = ? AND state = 'running' AND attempt = ? AND json_extract(attempted_by, '$[#-1]') = ?`
	if s.schema != "" {
		query = `SELECT id FROM ` + s.schema + `.river_job WHERE id = $1 AND state = 'running' AND attempt = $2 AND attempted_by[cardinality(attempted_by)] = $3 FOR UPDATE`
	}
	var id int64
	err := tx.QueryRow(ctx, query, h.job, h.attempt, h.by).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// whileHeld runs do in a transaction, if the attempt still has its job until that ends;
// else errTaken.
func (s *Store) whileHeld(ctx context.Context, h hold, do func(tx riverdriver.ExecutorTx) error) error {
	tx, err := s.driver.GetExecutor().Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // after a commit it does nothing
	switch held, err := s.still(ctx, tx, h); {
	case err != nil:
		return err
	case !held:
		return errTaken
	}
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// hands are the attempts that a worker has. Safe for concurrent use.
type hands struct {
	mu  sync.Mutex
	has map[int64]hold
}

func (h *hands) take(rows []*rivertype.JobRow, by string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, row := range rows {
		h.has[row.ID] = hold{row.ID, row.Attempt, by}
	}
}

// of is the attempt of a job that the worker has.
func (h *hands) of(job int64) (hold, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held, found := h.has[job]
	return held, found
}

func (h *hands) drop(list []hold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, held := range list {
		if h.has[held.job] == held {
			delete(h.has, held.job)
		}
	}
}

// holding is River's driver for a worker: it knows what the worker took, and says of an
// attempt only what is still true of its job.
type holding struct {
	riverdriver.Driver[*sql.Tx]
	store *Store
	hands *hands
}

// GetExecutor is documented at riverdriver.Driver.
func (d holding) GetExecutor() riverdriver.Executor { return executor{d.Driver.GetExecutor(), d} }

type executor struct {
	riverdriver.Executor
	d holding
}

// JobGetAvailable is documented at riverdriver.Executor.
func (e executor) JobGetAvailable(ctx context.Context, p *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	got, err := e.Executor.JobGetAvailable(ctx, p)
	if err == nil && got != nil {
		e.d.hands.take(got.Jobs, p.ClientID)
	}
	return got, err
}

// JobSetStateIfRunningMany is documented at riverdriver.Executor.
func (e executor) JobSetStateIfRunningMany(ctx context.Context, p *riverdriver.JobSetStateIfRunningManyParams) ([]*rivertype.JobRow, error) {
	tx, err := e.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // after a commit it does nothing
	order := make([]int, len(p.ID))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return int(p.ID[a] - p.ID[b]) }) // rows are taken in one order
	ours := &riverdriver.JobSetStateIfRunningManyParams{Now: p.Now, Schema: p.Schema}
	var over []hold
	for _, i := range order {
		h, known := e.d.hands.of(p.ID[i])
		if !known || ofEarlier(p.ErrData[i], h) {
			continue
		}
		over = append(over, h)
		if held, err := e.d.store.still(ctx, tx, h); err != nil {
			return nil, err
		} else if !held {
			continue
		}
		ours.ID, ours.Attempt, ours.ErrData = append(ours.ID, p.ID[i]), append(ours.Attempt, p.Attempt[i]), append(ours.ErrData, p.ErrData[i])
		ours.FinalizedAt, ours.ScheduledAt = append(ours.FinalizedAt, p.FinalizedAt[i]), append(ours.ScheduledAt, p.ScheduledAt[i])
		ours.MetadataDoMerge, ours.MetadataUpdates = append(ours.MetadataDoMerge, p.MetadataDoMerge[i]), append(ours.MetadataUpdates, p.MetadataUpdates[i])
		ours.State = append(ours.State, p.State[i])
	}
	var rows []*rivertype.JobRow
	if len(ours.ID) > 0 {
		if rows, err = tx.JobSetStateIfRunningMany(ctx, ours); err != nil {
			return nil, err
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, err
	}
	e.d.hands.drop(over)
	return rows, nil
}

// ofEarlier tells whether what is said of a job is said of an attempt before the one that
// the worker has. River names the job alone, and a worker that was late may have taken
// the job a second time before it says how the first came out. That is always a failure,
// which bears the number of its attempt: a job whose run succeeded is not taken again.
func ofEarlier(failure []byte, h hold) bool {
	var said rivertype.AttemptError
	return json.Unmarshal(failure, &said) == nil && said.Attempt != 0 && said.Attempt < h.attempt
}

// clock gives River the time of the lab: that of its server, where it has one.
type clock struct{ now func() time.Time }

// Now is documented at rivertype.TimeGenerator.
func (c clock) Now() time.Time { return c.now() }

// NowOrNil is documented at rivertype.TimeGenerator: statements take the database's time.
func (clock) NowOrNil() *time.Time { return nil }

// away reports whether an error says nothing of what was asked, because the store could
// not be asked: it is worth asking again.
func away(err error) bool {
	switch quant.CodeOf(err) {
	case quant.Invalid, quant.NotFound, quant.Conflict, quant.Usage, quant.Refused:
		return false
	}
	return err != nil && !errors.Is(err, errTaken)
}
