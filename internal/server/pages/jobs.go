package pages

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/jobs"
	"quant/internal/runs"
	"quant/internal/server/caller"
)

// jobRoutes are the pages of jobs.
func (p *pages) jobRoutes(mux *http.ServeMux) []section {
	p.handle(mux, "GET /jobs", p.jobList)
	p.handle(mux, "GET /jobs/rows", p.jobRows)
	p.handle(mux, "GET /jobs/{job}", p.jobPage)
	p.handle(mux, "GET /jobs/{job}/body", p.jobBody)
	act := func(name string, do func(ctx context.Context, a jobs.Actor, id int64) (jobs.Acted, error)) {
		p.change(mux, "POST /jobs/{job}/"+name, func(w http.ResponseWriter, r *http.Request) error {
			id, err := jobOf(r)
			if err != nil {
				return err
			}
			actor := jobs.Actor{Actor: runs.Actor{Session: p.Session, By: caller.From(r.Context()).Name}}
			if _, err := do(r.Context(), actor, id); err != nil {
				return err
			}
			http.Redirect(w, r, "/jobs/"+strconv.FormatInt(id, 10), http.StatusSeeOther)
			return nil
		})
	}
	act("cancel", func(ctx context.Context, a jobs.Actor, id int64) (jobs.Acted, error) { return a.Cancel(ctx, id) })
	act("retry", func(ctx context.Context, a jobs.Actor, id int64) (jobs.Acted, error) { return a.Retry(ctx, id) })
	return []section{{Name: "Jobs", Path: "/jobs", Key: "j"}}
}

func jobOf(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("job"), 10, 64)
	if err != nil || id < 1 {
		return 0, quant.Errorf(quant.NotFound, "%q is no number of a job", r.PathValue("job")).WithHint("start from the list of jobs")
	}
	return id, nil
}

// jobRow is a job as a list and its page have it.
type jobRow struct{ jobs.Job }

// Status is the class of the state, of those that runs have.
func (j jobRow) Status() string {
	if j.Abandoned {
		return "waits"
	}
	return jobStatus(string(j.State))
}

func jobStatus(state string) string {
	switch jobs.State(state) {
	case jobs.Succeeded:
		return string(quant.Success)
	case jobs.Failed:
		return string(quant.Fail)
	case jobs.Running:
		return string(quant.Running)
	}
	return "waits"
}

// Took is how long its last attempt took.
func (j jobRow) Took() *int64 {
	if j.StartedAt == nil || j.EndedAt == nil {
		return nil
	}
	us := j.EndedAt.Sub(j.StartedAt.Time).Microseconds()
	return &us
}

// MayCancel and MayRetry tell what can be done with it.
func (j jobRow) MayCancel() bool { return !j.State.Ended() && !j.Cancelling }

// MayRetry tells whether it can be done again.
func (j jobRow) MayRetry() bool {
	return j.State == jobs.Failed || j.State == jobs.Cancelled || j.State == jobs.Retrying
}

// stateLink is a state by which the list is filtered.
type stateLink struct {
	Name string
	N    int
	Link string
	At   bool
}

// jobTable is what a list of jobs shows.
type jobTable struct {
	None      bool // nothing was ever submitted
	State     string
	States    []stateLink
	Rows      []jobRow
	Next      string // address of the next page
	Back      string // of the first one, where this is not it
	Live      string // where it is asked for again
	Progress  jobs.Progress
	Line      string // how far the queue is
	Schedules []scheduleRow
}

// scheduleRow is a schedule of the list.
type scheduleRow struct{ jobs.ScheduleReport }

// Status is the class of the state of its last job.
func (s scheduleRow) Status() string { return jobStatus(string(s.LastState)) }

// Busy is how many slots are at work.
func (t jobTable) Busy() int {
	n := 0
	for _, w := range t.Progress.Workers {
		n += w.Running
	}
	return n
}

// Done and All are of the jobs that are in the queue, those for later left out.
func (t jobTable) Done() int {
	return t.Progress.Jobs[jobs.Succeeded] + t.Progress.Jobs[jobs.Failed] + t.Progress.Jobs[jobs.Cancelled]
}

// All is how many there are.
func (t jobTable) All() int {
	return t.Done() + t.Progress.Waiting() + t.Progress.Jobs[jobs.Running]
}

func (p *pages) jobList(w http.ResponseWriter, r *http.Request) error {
	table, err := p.jobTable(r)
	if err != nil {
		return err
	}
	return p.show(w, r, view{File: "jobs.html", Title: "Jobs", Section: "/jobs", Styles: []string{"jobs.css"}, Wide: true, Data: table})
}

// jobRows answers with what the list shows alone.
func (p *pages) jobRows(w http.ResponseWriter, r *http.Request) error {
	table, err := p.jobTable(r)
	if err != nil {
		return err
	}
	return p.part(w, r, "jobs.html", "jobtable", table)
}

func (p *pages) jobTable(r *http.Request) (t jobTable, err error) {
	ctx, q := r.Context(), r.URL.Query()
	t.State = q.Get("state")
	link := func(path, state, before string) string {
		var parts []string
		if state != "" {
			parts = append(parts, "state="+state)
		}
		if before != "" {
			parts = append(parts, "before="+before)
		}
		if len(parts) == 0 {
			return path
		}
		return path + "?" + strings.Join(parts, "&")
	}
	var of []jobs.State
	if t.State != "" {
		if !slices.Contains(jobs.States(), jobs.State(t.State)) {
			return t, quant.Errorf(quant.Usage, "%q is no state of a job", t.State).WithHint("choose one on the page of jobs")
		}
		of = []jobs.State{jobs.State(t.State)}
	}
	before := int64(0)
	if text := q.Get("before"); text != "" {
		if before, err = strconv.ParseInt(text, 10, 64); err != nil || before < 1 {
			return t, quant.Errorf(quant.Usage, "%q is no number of a job", text).WithHint("start from the list of jobs")
		}
		t.Back = link("/jobs", t.State, "")
	}
	t.Live = link("/jobs/rows", t.State, q.Get("before"))
	list, err := jobs.Schedules(ctx, p.Place)
	if err != nil {
		return t, err
	}
	reports, err := jobs.Reports(ctx, p.Place, list, p.Now())
	if err != nil {
		return t, err
	}
	for _, s := range reports {
		t.Schedules = append(t.Schedules, scheduleRow{s})
	}
	store, err := jobs.Open(ctx, p.Place, false)
	if quant.CodeOf(err) == quant.NotFound {
		t.None = true
		return t, nil
	}
	if err != nil {
		return t, err
	}
	defer func() { _ = store.Close() }() // it was only read
	if t.Progress, err = store.Progress(ctx, p.Session); err != nil {
		return t, err
	}
	t.Line = t.Progress.Describe()
	all := 0
	for _, n := range t.Progress.Jobs {
		all += n
	}
	t.None = all == 0
	t.States = []stateLink{{Name: "all", N: all, Link: "/jobs", At: t.State == ""}}
	for _, s := range jobs.States() {
		if n := t.Progress.Jobs[s]; n > 0 || string(s) == t.State {
			t.States = append(t.States, stateLink{Name: string(s), N: n, Link: link("/jobs", string(s), ""), At: string(s) == t.State})
		}
	}
	rows, err := store.ListBefore(ctx, of, before, pageSize+1)
	if err != nil {
		return t, err
	}
	if _, err := jobs.FindAbandoned(ctx, p.Session, rows); err != nil {
		return t, err
	}
	for _, j := range rows[:min(len(rows), pageSize)] {
		t.Rows = append(t.Rows, jobRow{j})
	}
	if len(rows) > pageSize {
		t.Next = link("/jobs", t.State, strconv.FormatInt(rows[pageSize-1].ID, 10))
	}
	return t, nil
}

// jobShown is what the page of a job shows.
type jobShown struct {
	jobRow
	Write bool
}

// Live tells whether it may still change by itself.
func (j jobShown) Live() bool { return !j.State.Ended() }

func (p *pages) jobShown(r *http.Request) (jobShown, error) {
	id, err := jobOf(r)
	if err != nil {
		return jobShown{}, err
	}
	store, err := jobs.Open(r.Context(), p.Place, false)
	if err != nil {
		return jobShown{}, err
	}
	defer func() { _ = store.Close() }() // it was only read
	job, err := store.Look(r.Context(), p.Session, id)
	slices.Reverse(job.Attempts) // the last one is looked for
	return jobShown{jobRow{job}, mayWrite(r)}, err
}

func (p *pages) jobPage(w http.ResponseWriter, r *http.Request) error {
	job, err := p.jobShown(r)
	if err != nil {
		return err
	}
	return p.show(w, r, view{File: "job.html", Title: "Job " + strconv.FormatInt(job.ID, 10), Section: "/jobs", Styles: []string{"jobs.css"}, Data: job})
}

// jobBody answers with what the page of a job shows alone.
func (p *pages) jobBody(w http.ResponseWriter, r *http.Request) error {
	job, err := p.jobShown(r)
	if err != nil {
		return err
	}
	return p.part(w, r, "job.html", "job", job)
}
