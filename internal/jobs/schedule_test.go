package jobs

import (
	"testing"
	"time"

	"quant"
	"quant/internal/lab/place"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Chuseok closed XKRX from 2025-10-03 to 2025-10-09; New York left daylight saving time
// on 2025-11-02 and entered it on 2026-03-08.
func TestAScheduleIsDueByTheClockOfItsExchange(t *testing.T) {
	t.Parallel()
	lab := place.In(t.TempDir())
	for _, c := range []struct {
		name  string
		s     Schedule
		after string
		want  []string
	}{
		{"the close of Seoul", Schedule{AfterClose: "XKRX"}, "2025-10-02T06:29:59Z", []string{"2025-10-02T06:30:00Z", "2025-10-10T06:30:00Z", "2025-10-13T06:30:00Z"}},
		{"half an hour after it", Schedule{AfterClose: "XKRX", Delay: 30 * time.Minute}, "2025-10-02T07:00:00Z", []string{"2025-10-10T07:00:00Z"}},
		{"two days after it", Schedule{AfterClose: "XKRX", Delay: 48 * time.Hour}, "2025-10-04T06:00:00Z", []string{"2025-10-04T06:30:00Z", "2025-10-12T06:30:00Z"}},
		{"the close of New York, over the end of its summer", Schedule{AfterClose: "XNYS"}, "2025-10-31T12:00:00Z", []string{"2025-10-31T20:00:00Z", "2025-11-03T21:00:00Z"}},
		{"and over its beginning", Schedule{AfterClose: "XNYS"}, "2026-03-06T12:00:00Z", []string{"2026-03-06T21:00:00Z", "2026-03-09T20:00:00Z"}},
		{"cron in its zone", Schedule{Cron: "30 18 * * 1-5", Zone: "Asia/Seoul"}, "2025-10-10T09:30:00Z", []string{"2025-10-13T09:30:00Z", "2025-10-14T09:30:00Z"}},
		{"cron over the end of a summer", Schedule{Cron: "0 17 * * *", Zone: "America/New_York"}, "2025-11-01T20:00:00Z", []string{"2025-11-01T21:00:00Z", "2025-11-02T22:00:00Z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.s.Name, c.s.Missed = "s", RunOnce
			now := at(t, c.after)
			for _, want := range c.want {
				next, ok, err := c.s.Next(lab, now)
				if err != nil || !ok || !next.Equal(at(t, want)) {
					t.Fatalf("after %s: %s, %v, %v; want %s", now, next, ok, err, want)
				}
				now = next
			}
		})
	}
}

func TestWhatIsNoScheduleIsRefused(t *testing.T) {
	t.Parallel()
	lab := place.In(t.TempDir())
	good := Schedule{Name: "s", Cron: "0 0 * * *", Zone: "UTC", Missed: Skip}
	if err := AddSchedule(t.Context(), lab, good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Schedule){
		"no time": func(s *Schedule) { s.Cron = "" }, "both": func(s *Schedule) { s.AfterClose = "XKRX" },
		"six fields": func(s *Schedule) { s.Cron = "0 0 0 * * *" }, "a zone in cron": func(s *Schedule) { s.Cron = "TZ=UTC 0 0 * * *" },
		"no zone": func(s *Schedule) { s.Zone = "Seoul" }, "this machine's zone": func(s *Schedule) { s.Zone = "Local" },
		"no calendar": func(s *Schedule) { s.Cron, s.AfterClose = "", "XXXX" }, "no name": func(s *Schedule) { s.Name = "../x" },
		"what of the missed": func(s *Schedule) { s.Missed = "all" },
	} {
		bad := good
		bad.Name = "bad"
		change(&bad)
		if err := AddSchedule(t.Context(), lab, bad); quant.CodeOf(err) != quant.Invalid && quant.CodeOf(err) != quant.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := AddSchedule(t.Context(), lab, good); quant.CodeOf(err) != quant.Conflict {
		t.Errorf("a name twice: %v", err)
	}
	list, err := Schedules(t.Context(), lab)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v %v", list, err)
	}
	if _, err := RemoveSchedule(t.Context(), lab, "s"); err != nil {
		t.Fatal(err)
	}
	if _, err := RemoveSchedule(t.Context(), lab, "s"); quant.CodeOf(err) != quant.NotFound {
		t.Errorf("removed twice: %v", err)
	}
}

func TestAScheduleThatIsNeverDueIsNone(t *testing.T) {
	t.Parallel()
	lab := place.In(t.TempDir())
	for cron, never := range map[string]bool{"0 0 30 2 *": true, "0 0 29 2 *": false} {
		s := Schedule{Name: "leap", Cron: cron, Zone: "UTC", Missed: Skip, Argv: []string{"runs", "list"}, AddedAt: quant.NewTime(at(t, "2026-01-15T00:00:00Z"))}
		if err := AddSchedule(t.Context(), lab, s); (quant.CodeOf(err) == quant.Invalid) != never || !never && err != nil {
			t.Errorf("%s: %v", cron, err)
		}
	}
}
