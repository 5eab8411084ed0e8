package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/riverqueue/river/rivertype"

	"quant"
	"quant/internal/metastore"
	"quant/internal/registry/liveness"
	"quant/internal/session"
)

// Worker is a worker that works now.
type Worker struct {
	RunID     string     `json:"run_id"`
	Host      quant.Text `json:"host"`
	PID       int64      `json:"pid"`
	User      quant.Text `json:"user"`
	Slots     int        `json:"slots"`   // how many jobs it does at once
	Running   int        `json:"running"` // how many it does now
	StartedAt quant.Time `json:"started_at"`
	Sure      bool       `json:"sure"` // it lives; else that cannot be told from here
}

// mostWorkers is how many workers are looked at.
const mostWorkers = 10000

// Workers are those that live, or may: whose process is on a machine that cannot be asked
// from here. The oldest is first.
func (s *Store) Workers(ctx context.Context, in *session.Session) ([]Worker, error) {
	meta, err := in.MetaDB()
	if err != nil {
		return nil, err
	}
	open, err := meta.ListRuns(ctx, metastore.RunFilter{All: true, Kind: workerKind, Status: quant.Running, Limit: mostWorkers})
	if err != nil {
		return nil, err
	}
	running, err := s.runningBy(ctx)
	if err != nil {
		return nil, err
	}
	list := []Worker{}
	for _, run := range slices.Backward(open) {
		life := in.Registry.Judge(ctx, run)
		if life == liveness.Dead {
			continue
		}
		list = append(list, Worker{
			RunID: run.RunID, Host: run.Process.Host, PID: int64(run.Process.PID), User: run.Process.User, Slots: slotsOf(run), Running: running[run.RunID],
			StartedAt: run.StartedAt, Sure: life == liveness.Alive,
		})
	}
	return list, nil
}

// workerKind is the kind of the run of a worker, and SlotsFlag the flag of its command
// that says how many jobs it does at once.
const (
	workerKind = "worker"
	SlotsFlag  = "slots"
)

// slotsOf is how many jobs a worker does at once, as its run says.
func slotsOf(run metastore.RunDetail) int {
	var config struct {
		Flags map[string]string `json:"flags"`
	}
	_ = json.Unmarshal([]byte(run.ConfigJSON), &config) // it is not written yet: then it does one at least
	n, err := strconv.Atoi(config.Flags[SlotsFlag])
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// runningBy is how many jobs each worker does, by its run.
func (s *Store) runningBy(ctx context.Context) (map[string]int, error) {
	list, err := s.List(ctx, []State{Running}, mostRunning)
	if err != nil {
		return nil, err
	}
	by := map[string]int{}
	for _, j := range list {
		if n := len(j.Attempts); n > 0 {
			by[j.Attempts[n-1].WorkerRunID]++
		}
	}
	return by, nil
}

// Progress is how far the queue is.
type Progress struct {
	Jobs    map[State]int `json:"jobs"` // of each state
	Workers []Worker      `json:"workers"`
	Slots   int           `json:"slots"`   // of all of them
	LeftS   *float64      `json:"left_s"`  // until what waits and runs is done, in seconds; null: unknown
	EndsAt  *quant.Time   `json:"ends_at"` // when that is
	Unknown quant.Text    `json:"unknown"` // why it is not known
}

// Waiting is how many jobs wait for a worker, those for later not counted.
func (p Progress) Waiting() int { return p.Jobs[Queued] + p.Jobs[Retrying] }

// NoProgress is how far a queue is in which there never was a job.
func NoProgress(now time.Time) Progress {
	p := Progress{Jobs: map[State]int{}, Workers: []Worker{}, LeftS: ptr(0.0), EndsAt: ptr(quant.NewTime(now))}
	for _, state := range States() {
		p.Jobs[state] = 0
	}
	return p
}

// tallied is a line of what there is to be done.
type tallied struct {
	kind    string
	n       int
	seconds float64
}

// Progress is how far the queue is, and when it will be done: what jobs of the same kind
// took lately, shared out among the slots of the workers that live. It is a guess, and none
// where nothing can be guessed from.
func (s *Store) Progress(ctx context.Context, in *session.Session) (Progress, error) {
	p := NoProgress(in.Now())
	p.LeftS, p.EndsAt = nil, nil
	lines := map[string][]tallied{}
	rows, err := s.pool.QueryContext(ctx, s.in.tally)
	if err != nil {
		return p, s.explain("count the jobs", err)
	}
	defer rows.Close()
	for rows.Next() {
		var what string
		var t tallied
		if err := rows.Scan(&what, &t.kind, &t.n, &t.seconds); err != nil {
			return p, s.explain("count the jobs", err)
		}
		lines[what] = append(lines[what], t)
	}
	if err := rows.Err(); err != nil {
		return p, s.explain("count the jobs", err)
	}
	rows.Close() // a file has one connection
	for _, t := range lines["state"] {
		p.Jobs[stateOf(rivertype.JobState(t.kind))] += t.n
	}
	if p.Workers, err = s.Workers(ctx, in); err != nil {
		return p, err
	}
	for _, w := range p.Workers {
		p.Slots += w.Slots
	}
	left, unknown := guess(lines["waiting"], lines["running"], lines["done"], p.Slots)
	p.Unknown = quant.Text(unknown)
	if unknown == "" {
		p.LeftS = &left
		p.EndsAt = ptr(quant.NewTime(in.Now().Add(time.Duration(left * float64(time.Second)))))
	}
	return p, nil
}

// guess is how many seconds it takes until what waits and runs is done, or why that is
// unknown.
func guess(waiting, running, done []tallied, slots int) (seconds float64, unknown string) {
	if len(waiting) == 0 && len(running) == 0 {
		return 0, ""
	}
	if slots == 0 {
		return 0, "no worker is at work"
	}
	took := map[string]float64{}
	for _, t := range done {
		took[t.kind] = t.seconds
	}
	work, longest := 0.0, 0.0
	for _, t := range waiting {
		each, known := took[t.kind]
		if !known {
			return 0, "no job of the kind " + strings.TrimSpace(t.kind) + " has succeeded yet"
		}
		work += float64(t.n) * each
		longest = max(longest, each)
	}
	for _, t := range running {
		each, known := took[t.kind]
		if !known {
			return 0, "no job of the kind " + strings.TrimSpace(t.kind) + " has succeeded yet"
		}
		left := each - t.seconds
		if left <= 0 {
			left = t.seconds // the longer it takes beyond the others, the longer it will
		}
		work += left
		longest = max(longest, left)
	}
	return max(work/float64(slots), longest), ""
}

// Describe says in a line how far the queue is.
func (p Progress) Describe() string {
	running := p.Jobs[Running]
	if p.Waiting() == 0 && running == 0 {
		return "nothing waits or runs"
	}
	text := fmt.Sprintf("%d waiting, %d running on %s", p.Waiting(), running, quant.Count(p.Slots, "slot"))
	if p.LeftS == nil {
		return text + "; time left unknown: " + string(p.Unknown)
	}
	return text + "; about " + Roughly(*p.LeftS) + " left"
}

// Roughly is a guessed number of seconds in words, no more exact than it is.
func Roughly(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return "1s"
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(10*time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%d days", int(d.Round(24*time.Hour).Hours())/24)
}
