package team

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"quant/internal/test/labtest"
)

// clocked is a machine whose clock is set by set, also while processes run there.
func (o *team) clocked(ahead time.Duration) (l *labtest.Lab, set func(ahead time.Duration)) {
	o.t.Helper()
	l = o.machine()
	set = func(ahead time.Duration) {
		l.Write("clock.new", []byte(ahead.String()))
		labtest.Must(o.t, os.Rename(l.Path("clock.new"), l.Path("clock")))
	}
	set(ahead)
	l.Env = append(l.Env, "QUANT_TEST_CLOCK=@"+l.Path("clock"))
	return l, set
}

// Clocks of machines may be hours apart: the order of runs is that in which they were
// started, nobody who lives is taken for dead, and what is due is due by the server's clock.
func TestClocksOfMachinesMayBeHoursApart(t *testing.T) {
	t.Parallel()
	o := newTeam(t)
	ahead, _ := o.clocked(time.Hour)
	behind, _ := o.clocked(-time.Hour)
	day, _ := o.clocked(-26 * time.Hour)
	var want []string
	for range 2 {
		for _, l := range []*labtest.Lab{ahead, behind, day, o.machine(), behind} {
			l.Must("symbols", "add", fmt.Sprintf("S%d", len(want)))
			want = append(want, fmt.Sprintf("S%d", len(want)))
		}
	}
	for _, order := range []string{"run_id", "started_at", "ended_at"} {
		got := o.rows(`SELECT config_json::json->'args'->>0 FROM quant.runs WHERE kind = 'symbols.add' ORDER BY ` + order)
		if got != strings.Join(want, "\n") {
			t.Errorf("by %s they stand as %q, not %q", order, got, want)
		}
	}
	if off := o.rows(`SELECT count(*) FROM quant.runs WHERE abs(extract(epoch FROM now() - started_at::timestamptz)) > 600 OR ended_at < started_at`); off != "0" {
		t.Errorf("%s runs have times that are not the server's", off)
	}

	// One that lives is left alone, by whoever looks; one that was killed is found.
	working := behind.Start(nil, "exec", "--", "sleep", "600")
	status := func() string { return o.rows(`SELECT status FROM quant.runs WHERE kind = 'exec'`) }
	behind.Eventually("it is recorded", func() bool { return status() == "RUNNING" })
	for begun := time.Now(); time.Since(begun) < 2*lease; {
		ahead.Must("config")
		day.Must("config")
	}
	if got := status(); got != "RUNNING" {
		t.Errorf("a process whose clock is behind is taken for dead: %s", got)
	}
	working.Signal(syscall.SIGKILL)
	working.Wait()
	ahead.Eventually("it is found", func() bool {
		ahead.Must("config")
		return status() == "FAIL"
	})

	// A time is that of the server.
	at := time.Now().Add(4 * time.Second).UTC().Truncate(time.Second)
	behind.Must("jobs", "submit", "--at", at.Format(time.RFC3339), "--", "symbols", "add", "DUE")
	ahead.Must("worker", "--until-empty")
	if early := o.rows(`SELECT started_at FROM quant.runs WHERE kind = 'symbols.add' AND started_at >= '` + at.Format("2006-01-02T15:04:05") + `'`); early == "" {
		t.Errorf("a job for %s was done before: %s", at, o.rows(`SELECT max(started_at) FROM quant.runs WHERE kind = 'symbols.add'`))
	}
}

// A worker whose machine's clock is set while it works does what is due when it is due.
func TestAClockThatIsSetWhileAWorkerWorksPutsNothingOff(t *testing.T) {
	t.Parallel()
	o := newTeam(t)
	l, set := o.clocked(0)
	worker := l.Start(nil, "worker")
	l.Eventually("it works", func() bool { return strings.Contains(worker.Stderr.String(), "working for") })
	for i, ahead := range []time.Duration{-time.Hour, time.Hour} {
		set(ahead)
		once := fmt.Sprintf("test -e once%d || { touch once%[1]d; exit 1; }", i)
		l.Must("jobs", "submit", "--retries", "1", "--retry-delay", "1s", "--", "exec", "--", "sh", "-c", once)
		l.Eventually("the job is tried again", func() bool {
			return o.rows(`SELECT count(*) FROM quant.runs WHERE kind = 'exec' AND status = 'SUCCESS'`) == fmt.Sprint(i+1)
		})
	}
	if off := o.rows(`SELECT count(*) FROM quant.runs WHERE abs(extract(epoch FROM now() - started_at::timestamptz)) > 600`); off != "0" {
		t.Errorf("%s runs have times that are not the server's", off)
	}
	worker.Signal(syscall.SIGTERM)
	worker.Wait()
}
