package jobs

import (
	"os"
	"strings"
	"testing"
	"time"

	"quant/internal/test/labtest"
)

// scheduled is what a document says of a schedule.
type scheduled struct {
	Name      string `json:"name"`
	NextAt    string `json:"next_at"`
	LastAt    string `json:"last_at"`
	LastJob   int64  `json:"last_job"`
	LastState string `json:"last_state"`

	LastMissed int `json:"last_missed"`
	Overdue    int `json:"overdue"`
}

func TestWhatAScheduleMissedIsToldAndMadeUpForOnceOrSkipped(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("schedule", "add", "once", "--cron", "0 0 1 1 *", "--", "sh", "-c", "echo once >> done")
	l.Must("schedule", "add", "never", "--cron", "0 0 1 1 *", "--missed", "skip", "--", "sh", "-c", "echo never >> done")
	l.Must("schedule", "add", "later", "--after-close", "XKRX", "--", "sh", "-c", "echo later >> done")
	l.Want(5, "schedule", "add", "once", "--cron", "0 0 1 1 *", "--", "true")
	// They were added three years ago, while no worker was there.
	text, err := os.ReadFile(l.Path("data", "schedules.json"))
	labtest.Must(t, err)
	now := time.Now().UTC()
	before := now.AddDate(-3, 0, 0).Format("2006-01-02T15:04:05.000000Z")
	parts := strings.Split(string(text), `"added_at": "`)
	for i := 1; i < len(parts); i++ {
		if strings.Contains(parts[i-1], `"later"`) {
			continue
		}
		parts[i] = before + parts[i][len(before):]
	}
	l.Write("data/schedules.json", []byte(strings.Join(parts, `"added_at": "`)))
	first := l.Must("worker", "--until-empty")
	for _, want := range []string{"schedule once: 3 times missed", "makes up for the newest", "schedule never: 3 times missed", ": skipped"} {
		if !strings.Contains(first.Stderr, want) {
			t.Fatalf("it does not say %q: %v", want, first)
		}
	}
	second := l.Must("worker", "--until-empty")
	if strings.Contains(second.Stderr, "missed") {
		t.Fatalf("it is told again: %v", second)
	}
	done, err := os.ReadFile(l.Path("done"))
	labtest.Must(t, err)
	if string(done) != "once\n" {
		t.Fatalf("done was %q", done)
	}
	planned := now.Format("2006") + "-01-01T00:00:00.000000Z"
	states := map[string]string{}
	for _, s := range document[[]scheduled](l, "schedule", "list") {
		states[s.Name] = s.LastState
		if s.Name != "later" && s.LastAt != planned {
			t.Fatalf("%+v, planned was %s", s, planned)
		}
		if s.NextAt <= now.Format(time.RFC3339) {
			t.Fatalf("%+v is due in the past", s)
		}
	}
	if states["once"] != "succeeded" || states["never"] != "cancelled" || states["later"] != "" {
		t.Fatalf("%v", states)
	}
	l.Must("schedule", "remove", "once")
	l.Want(4, "schedule", "remove", "once")
	l.WantClosed()
}

func TestTwoWorkersDoATimeOfAScheduleOnce(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("schedule", "add", "yearly", "--cron", "0 0 1 1 *", "--", "sh", "-c", "echo x >> done")
	text, err := os.ReadFile(l.Path("data", "schedules.json"))
	labtest.Must(t, err)
	head, tail, _ := strings.Cut(string(text), `"added_at": "`)
	before := time.Now().UTC().AddDate(-1, 0, 0).Format("2006-01-02T15:04:05.000000Z")
	l.Write("data/schedules.json", []byte(head+`"added_at": "`+before+tail[len(before):]))
	a, b := l.Start(nil, "worker", "--until-empty"), l.Start(nil, "worker", "--until-empty")
	l.WantCode(a.Wait(), 0)
	l.WantCode(b.Wait(), 0)
	l.Must("worker", "--until-empty")
	if done, err := os.ReadFile(l.Path("done")); err != nil || string(done) != "x\n" {
		t.Fatalf("done was %q: %v", done, err)
	}
}
