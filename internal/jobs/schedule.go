package jobs

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/robfig/cron/v3"

	"quant"
	"quant/internal/calendar"
	"quant/internal/durable"
	"quant/internal/lab/place"
	"quant/internal/runs"
	"quant/internal/search"
)

// Missed says what becomes of times of a schedule at which no worker was there.
type Missed string

// The ways: the newest of the missed times is made up for, or none is.
const (
	RunOnce Missed = "run"
	Skip    Missed = "skip"
)

// Schedule is a command line that is to be done again and again: at the times of Cron in
// Zone, or Delay after each close of a session of an exchange.
type Schedule struct {
	Name       string        `json:"name"`
	Cron       string        `json:"cron"`
	Zone       string        `json:"time_zone"`   // of Cron, an IANA name
	AfterClose string        `json:"after_close"` // a calendar
	Delay      time.Duration `json:"delay_ns"`
	Missed     Missed        `json:"missed"`
	Argv       []string      `json:"argv"`
	Command    string        `json:"command"` // the kind of its runs
	Dir        string        `json:"dir"`
	Priority   string        `json:"priority"`
	Retries    int           `json:"retries"`
	Timeout    time.Duration `json:"timeout_ns"`
	AddedAt    quant.Time    `json:"added_at"`
	AddedBy    quant.Text    `json:"added_by_run_id"`
	User       string        `json:"user,omitempty"` // whose its jobs are; "": the worker's
}

// When says in words when a schedule is due.
func (s Schedule) When() string {
	if s.AfterClose == "" {
		return s.Cron + " " + s.Zone
	}
	if s.Delay == 0 {
		return "at the close of " + s.AfterClose
	}
	return s.Delay.String() + " after the close of " + s.AfterClose
}

// Line is the command line of a schedule as a person types it in a shell.
func (s Schedule) Line() string { return "quant " + runs.ShellLine(s.Argv) }

var scheduleName = sync.OnceValue(func() *regexp.Regexp { // nothing is done at start-up
	return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
})

// times is when a schedule is due: the first time after another; none: never again.
type times func(after time.Time) (time.Time, bool)

// times reads when a schedule is due. Invalid for what is no schedule.
func (s Schedule) times(calendarFile string) (times, error) {
	switch {
	case !scheduleName().MatchString(s.Name):
		return nil, quant.Errorf(quant.Invalid, "schedule %q: a name has 1 to 64 of the letters a to z and A to Z, digits, dots, dashes and underlines", s.Name).
			WithHint("such as daily")
	case s.Missed != RunOnce && s.Missed != Skip:
		return nil, quant.Errorf(quant.Invalid, "schedule %s: what is missed is to %s or to %s, not %q", s.Name, RunOnce, Skip, string(s.Missed))
	case (s.Cron == "") == (s.AfterClose == ""):
		return nil, quant.Errorf(quant.Invalid, "schedule %s: it has either cron times or a close", s.Name).
			WithHint(`write --cron "30 18 * * 1-5" --time-zone Asia/Seoul, or --after-close XKRX`)
	case s.Cron != "":
		return s.cronTimes()
	}
	cal, err := calendar.Open(s.AfterClose)
	if err != nil {
		return nil, err
	}
	changes, err := calendar.ReadChanges(calendarFile)
	if err != nil {
		return nil, err
	}
	cal = cal.Amend(changes)
	zone, after := cal.Close()
	at, err := time.LoadLocation(zone)
	if err != nil {
		return nil, err
	}
	return func(than time.Time) (time.Time, bool) {
		day := quant.NewDate(than.In(at)) - quant.Date(s.Delay/(24*time.Hour)) - 1
		for i, _ := cal.Index(day); i < cal.Len(); i++ {
			midnight := cal.At(i).Time()
			// The wall clock of the exchange says when it closes, also on a day of 23 hours.
			closed := time.Date(midnight.Year(), midnight.Month(), midnight.Day(), 0, 0, int(after/time.Second), int(after%time.Second), at).Add(s.Delay)
			if closed.After(than) {
				return closed.UTC(), true
			}
		}
		return time.Time{}, false
	}, nil
}

func (s Schedule) cronTimes() (times, error) {
	if strings.Contains(s.Cron, "TZ=") || strings.HasPrefix(s.Cron, "@every") {
		return nil, quant.Errorf(quant.Invalid, "schedule %s: %q is no time of day", s.Name, s.Cron).WithHint(`write five fields, such as "30 18 * * 1-5", and --time-zone`)
	}
	zone, err := time.LoadLocation(s.Zone)
	if err != nil || s.Zone == "Local" {
		return nil, quant.Errorf(quant.Invalid, "schedule %s: there is no time zone %q", s.Name, s.Zone).WithHint("write an IANA name, such as Asia/Seoul")
	}
	plan, err := cron.ParseStandard(s.Cron)
	if err != nil {
		return nil, quant.Errorf(quant.Invalid, "schedule %s: cron %q: %w", s.Name, s.Cron, err).WithHint(`five fields: minute, hour, day of the month, month, day of the week, such as "30 18 * * 1-5"`)
	}
	return func(than time.Time) (time.Time, bool) {
		next := plan.Next(than.In(zone))
		return next.UTC(), !next.IsZero()
	}, nil
}

// Next is when a schedule is due next after a time; none: never again. Invalid for what
// is no schedule.
func (s Schedule) Next(lab place.Place, after time.Time) (time.Time, bool, error) {
	when, err := s.times(lab.CalendarFile())
	if err != nil {
		return time.Time{}, false, err
	}
	next, ok := when(after)
	return next, ok, nil
}

// Schedules reads the schedules of a lab, by name: those of a team stand beside its
// queue, so that all see the same. Errors: Store.
func Schedules(ctx context.Context, lab place.Place) ([]Schedule, error) {
	if lab.MetaURL == "" {
		return readSchedules(lab)
	}
	s, err := Open(ctx, lab, false)
	if quant.CodeOf(err) == quant.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }() // it was only read
	return s.schedules(ctx, lab)
}

// schedules are those of the lab of a store.
func (s *Store) schedules(ctx context.Context, lab place.Place) (list []Schedule, err error) {
	if s.in.schedules == "" {
		return readSchedules(lab)
	}
	rows, err := s.pool.QueryContext(ctx, s.in.schedules)
	if err != nil {
		return nil, s.explain("read the schedules", err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, s.explain("read the schedules", err)
		}
		var one Schedule
		if err := decodeStrictly([]byte(text), &one); err != nil {
			return nil, quant.Errorf(quant.Store, "a schedule in schema %s cannot be read: %w", serverSchema, err).WithHint("a newer quant may have added it: use that one")
		}
		list = append(list, one)
	}
	if err := rows.Err(); err != nil {
		return nil, s.explain("read the schedules", err)
	}
	return list, nil
}

// decodeStrictly refuses what a newer quant wrote, so that nothing of it is lost.
func decodeStrictly(text []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(v)
}

// readSchedules reads the file of an embedded lab.
func readSchedules(lab place.Place) ([]Schedule, error) {
	text, err := os.ReadFile(lab.SchedulesFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, quant.Errorf(quant.Store, "read the schedules: %w", err)
	}
	var list []Schedule
	if err := decodeStrictly(text, &list); err != nil {
		return nil, quant.Errorf(quant.Store, "the schedules %s cannot be read: %w", lab.SchedulesFile(), err).WithHint("mend or remove the file")
	}
	return list, nil
}

// AddSchedule adds a schedule to a lab. Errors: Invalid, Conflict for a name that is
// taken, Store, Locked.
func AddSchedule(ctx context.Context, lab place.Place, s Schedule) error {
	when, err := s.times(lab.CalendarFile())
	if err != nil {
		return err
	}
	if _, ever := when(s.AddedAt.Time); !ever {
		return quant.Errorf(quant.Invalid, "schedule %s is never due", s.Name).WithHint("`quant schedule add --help` shows how times are written")
	}
	taken := quant.Errorf(quant.Conflict, "there is a schedule %s already", s.Name).WithHint("quant schedule remove %s", s.Name)
	if lab.MetaURL != "" {
		store, err := Open(ctx, lab, true)
		if err != nil {
			return err
		}
		defer func() { _ = store.Close() }() // all of it is durable
		s.User = store.submitter(ctx, s.User)
		text, err := json.Marshal(s)
		if err != nil {
			return err
		}
		added, err := store.pool.ExecContext(ctx, store.in.addSchedule, s.Name, string(text))
		if err != nil {
			return store.explain("add a schedule", err)
		}
		if n, err := added.RowsAffected(); err != nil || n == 0 {
			return taken
		}
		return nil
	}
	if s.User == "" {
		s.User = systemUser()
	}
	return changeSchedules(ctx, lab, func(list []Schedule) ([]Schedule, error) {
		at, there := slices.BinarySearchFunc(list, s.Name, byName)
		if there {
			return nil, taken
		}
		return slices.Insert(list, at, s), nil
	})
}

// RemoveSchedule takes a schedule away and returns it. What it has put into the queue
// stays there. Errors: NotFound, Store, Locked.
func RemoveSchedule(ctx context.Context, lab place.Place, name string) (removed Schedule, err error) {
	if lab.MetaURL != "" {
		return removeFromServer(ctx, lab, name)
	}
	err = changeSchedules(ctx, lab, func(list []Schedule) ([]Schedule, error) {
		at, there := slices.BinarySearchFunc(list, name, byName)
		if !there {
			return nil, noSchedule(name, list)
		}
		removed = list[at]
		return slices.Delete(list, at, at+1), nil
	})
	return removed, err
}

func removeFromServer(ctx context.Context, lab place.Place, name string) (removed Schedule, err error) {
	store, err := Open(ctx, lab, false)
	if quant.CodeOf(err) == quant.NotFound {
		return removed, noSchedule(name, nil)
	}
	if err != nil {
		return removed, err
	}
	defer func() { _ = store.Close() }() // all of it is durable
	var text string
	err = store.pool.QueryRowContext(ctx, store.in.removeSchedule, name).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		list, err := store.schedules(ctx, lab)
		if err != nil {
			return removed, err
		}
		return removed, noSchedule(name, list)
	}
	if err != nil {
		return removed, store.explain("remove a schedule", err)
	}
	return removed, json.Unmarshal([]byte(text), &removed)
}

// noSchedule says that there is none of a name, and which ones are named alike.
func noSchedule(name string, list []Schedule) error {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.Name
	}
	if near := search.Nearest(name, names); len(near) > 0 {
		return quant.Errorf(quant.NotFound, "there is no schedule %q", name).WithHint("did you mean %s?", strings.Join(near, " or "))
	}
	return quant.Errorf(quant.NotFound, "there is no schedule %q", name).WithHint("`quant schedule list` shows them")
}

func byName(s Schedule, name string) int { return strings.Compare(s.Name, name) }

func changeSchedules(ctx context.Context, lab place.Place, change func([]Schedule) ([]Schedule, error)) error {
	lock, err := durable.OpenLock(lab.SchedulesFile() + lockEnds)
	if err != nil {
		return quant.Errorf(quant.Store, "change the schedules: %w", err)
	}
	defer lock.Close()
	if err := lock.Wait(ctx, durable.Exclusive, lockWait); err != nil {
		return quant.Errorf(quant.Locked, "change the schedules: another process does: %w", err).WithHint("try again")
	}
	list, err := readSchedules(lab)
	if err != nil {
		return err
	}
	if list, err = change(list); err != nil {
		return err
	}
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	if err := durable.Replace(lab.SchedulesFile(), 0o600, durable.Bytes(append(text, '\n'))); err != nil {
		return quant.Errorf(quant.Store, "change the schedules: %w", err)
	}
	return nil
}

// scheduledTag is the tag of the jobs of a schedule.
func scheduledTag(name string) string { return "schedule-" + strings.ReplaceAll(name, ".", "_") + "_" }

// Last is the newest job of a schedule, with the time that it was planned for; none: it
// has put none into the queue, or that is gone from it.
func (s *Store) Last(ctx context.Context, name string) (job Job, planned time.Time, found bool, err error) {
	list, err := s.client.JobList(ctx, river.NewJobListParams().TagsAny(scheduledTag(name)).OrderBy(river.JobListOrderByID, river.SortOrderDesc).First(mostAlike))
	if err != nil {
		return job, planned, false, s.explain("look for the jobs of schedule "+name, err)
	}
	for _, row := range list.Jobs {
		var c command
		if json.Unmarshal(row.EncodedArgs, &c) != nil || c.Schedule != name {
			continue // of a schedule whose tag is the same
		}
		if planned, err = time.Parse(time.RFC3339Nano, c.Planned); err == nil {
			return jobOf(row), planned, true, nil
		}
	}
	return job, planned, false, nil
}

// mostAlike is how many jobs of one tag are looked at.
const mostAlike = 100

// punctual is how late a job of a schedule may be put into the queue and is not missed.
const punctual = time.Minute

// mostMissed is how many missed times are counted.
const mostMissed = 10000

// planner puts jobs of schedules into the queue. Several workers may at once: a time of
// a schedule is one job.
type planner struct {
	last map[string]time.Time // of each schedule, the time that was seen to
	said map[string]string    // of each, what is wrong with it
}

// plan puts what is due into the queue. What is wrong with a schedule is said once.
func (p *planner) plan(ctx context.Context, w *worker, now time.Time) {
	list, err := w.store.schedules(ctx, w.s.Place)
	if err != nil {
		list = nil
		p.say(w, "", err)
	}
	for _, s := range list {
		key := s.Name + s.AddedAt.String()
		if err := p.one(ctx, w, s, key, now); err != nil && ctx.Err() == nil {
			p.say(w, key, err)
		}
	}
}

func (p *planner) say(w *worker, key string, err error) {
	if p.said[key] != err.Error() {
		p.said[key] = err.Error()
		w.s.Say().Warn("%v", err)
	}
}

func (p *planner) one(ctx context.Context, w *worker, s Schedule, key string, now time.Time) error {
	when, err := s.times(w.s.CalendarFile())
	if err != nil {
		return err
	}
	last, known := p.last[key]
	if !known {
		last = s.AddedAt.Time
		_, planned, found, err := w.store.Last(ctx, s.Name)
		if err != nil {
			return err
		}
		if found && planned.After(last) {
			last = planned
		}
		p.last[key] = last
	}
	var due []time.Time
	for at := last; len(due) < mostMissed; {
		next, ok := when(at)
		if !ok || next.After(now) {
			break
		}
		due, at = append(due, next), next
	}
	if len(due) == 0 {
		return nil
	}
	newest := due[len(due)-1]
	late := now.Sub(newest) > punctual
	missed := len(due) - 1
	if late {
		missed++
	}
	skipped := late && s.Missed == Skip
	submitted, err := w.store.submitScheduled(ctx, s, newest, missed, w.s.RunID(), skipped)
	if err != nil {
		return err
	}
	p.last[key] = newest
	if submitted.Existing {
		return nil // another worker was first, and has said it
	}
	if missed > 0 {
		made := fmt.Sprintf("job %d makes up for the newest", submitted.ID)
		if skipped {
			made = "skipped"
		} else if !late {
			made = "not made up for"
		}
		w.s.Say().Warn("schedule %s: %s missed, from %s to %s: %s", s.Name, quant.Count(missed, "time"), due[0].Format(time.RFC3339), due[missed-1].Format(time.RFC3339), made)
	}
	w.s.Say().Notice("schedule %s, due %s: job %d", s.Name, newest.Format(time.RFC3339), submitted.ID)
	return nil
}

// submitScheduled puts the job of one time of a schedule into the queue; skipped: as one
// that was cancelled, which says that the time was seen to.
func (s *Store) submitScheduled(ctx context.Context, plan Schedule, at time.Time, missed int, parent string, skipped bool) (Submitted, error) {
	c := command{Argv: plan.Argv, Dir: plan.Dir, Command: plan.Command, Parent: parent, Timeout: plan.Timeout, RetryDelay: defaultRetryDelay,
		Schedule: plan.Name, Planned: at.UTC().Format(time.RFC3339Nano), Missed: missed, User: s.submitter(ctx, plan.User)}
	o := &river.InsertOpts{
		MaxAttempts: plan.Retries + 1, Priority: max(slices.Index(Priorities(), plan.Priority), 0) + 1, Tags: []string{scheduledTag(plan.Name)}, Pending: skipped,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: rivertype.JobStates()},
	}
	inserted, err := s.client.Insert(ctx, c, o)
	if err != nil {
		return Submitted{}, s.explain("submit the job of schedule "+plan.Name, err)
	}
	if skipped && !inserted.UniqueSkippedAsDuplicate {
		if _, err := s.client.JobCancel(ctx, inserted.Job.ID); err != nil {
			return Submitted{}, s.explain("skip a time of schedule "+plan.Name, err)
		}
	}
	return Submitted{jobOf(inserted.Job), inserted.UniqueSkippedAsDuplicate}, nil
}
