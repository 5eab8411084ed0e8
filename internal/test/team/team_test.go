// Package team holds what several machines that share a Meta DB on a server do to each
// other: who is taken for dead, and what those still may who are not. Each machine is
// a working directory with a data folder of its own, in which real processes run.
package team

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quant/internal/metastore/postgrestest"
	"quant/internal/test/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// lease is how long a lease lasts here.
const lease = 2 * time.Second

// team is a database and the machines that share it.
type team struct {
	t   *testing.T
	url string
}

func newTeam(t *testing.T) *team {
	t.Helper()
	o := &team{t: t, url: postgrestest.Database(t)}
	o.machine().Must("init-db")
	return o
}

// machine is another machine, without facts.
func (o *team) machine() *labtest.Lab {
	o.t.Helper()
	l := labtest.New(o.t)
	l.Env = append(l.Env, "QUANT_META_URL="+o.url, "QUANT_TEST_PATIENCE=lease="+lease.String())
	l.Write("first.csv", labtest.PriceFile(1, 50, "OLD"))
	return l
}

// rows are the rows of a query, a line each, read past the program.
func (o *team) rows(query string) string {
	o.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, o.url)
	labtest.Must(o.t, err)
	defer func() { _ = conn.Close(ctx) }()
	found, err := conn.Query(ctx, query)
	labtest.Must(o.t, err)
	var lines []string
	for found.Next() {
		values, err := found.Values()
		labtest.Must(o.t, err)
		lines = append(lines, strings.TrimSpace(fmt.Sprintln(values...)))
	}
	labtest.Must(o.t, found.Err())
	return strings.Join(lines, "\n")
}

// ingest is the one run of kind ingest: its status, and its text.
func (o *team) ingest() string {
	o.t.Helper()
	return o.rows(`SELECT status, coalesce(error_text, '') FROM quant.runs WHERE kind = 'ingest'`)
}

// closesIt runs commands on a machine until the ingest is RUNNING no more, and returns
// how long that took.
func (o *team) closesIt(other *labtest.Lab) time.Duration {
	o.t.Helper()
	begun := time.Now()
	other.Eventually("the run is closed", func() bool {
		other.Must("config")
		return !strings.HasPrefix(o.ingest(), "RUNNING")
	})
	return time.Since(begun)
}

func TestAKilledProcessIsFoundByItsMachineAtOnceAndByOthersWhenItsLeaseEnds(t *testing.T) {
	t.Parallel()
	o := newTeam(t)
	a, b := o.machine(), o.machine()
	a.WantCode(a.Start([]string{"QUANT_TEST_FAILPOINT=ingest.merged"}, "ingest", "first.csv").Wait(), 1009)
	a.Must("config")
	if got := o.ingest(); got != "FAIL process ended without finishing; no facts committed" {
		t.Errorf("by its own machine: %q", got)
	}

	o = newTeam(t)
	a, b = o.machine(), o.machine()
	a.WantCode(a.Start([]string{"QUANT_TEST_FAILPOINT=ingest.merged"}, "ingest", "first.csv").Wait(), 1009)
	b.Must("config")
	if got := o.ingest(); !strings.HasPrefix(got, "RUNNING") {
		t.Errorf("by another, at once: %q", got)
	}
	if took := o.closesIt(b); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
	if got := o.ingest(); !strings.HasPrefix(got, "FAIL process ended without finishing; its lease had ended (process ") || !strings.HasSuffix(got, "; facts not checked") {
		t.Errorf("by another: %q", got)
	}
	if c := b.Doctor(); !c.Healthy || strings.HasSuffix(o.ingest(), "no facts committed") {
		t.Errorf("the doctor of another machine: %+v; %s", c, o.ingest())
	}
	if c := a.Doctor(); !c.Healthy || !strings.HasSuffix(o.ingest(), "; no facts committed") {
		t.Errorf("the doctor of its own machine: %+v; %s", c, o.ingest())
	}
}

func TestAProcessThatWakesLateCommitsNothingAndSaysWhy(t *testing.T) {
	t.Parallel()
	for at, committed := range map[string]bool{
		"ingest.merged": false, "fact.commit.before": false, "fact.fence": false, "fact.commit.after": true, "meta.finish.before": true,
	} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			o := newTeam(t)
			a, b := o.machine(), o.machine()
			late := a.Start([]string{"QUANT_TEST_FAILPOINT=" + at + ":stop"}, "ingest", "first.csv").Stopped()
			o.closesIt(b)
			closed := o.ingest()
			late.Signal(syscall.SIGCONT)
			r := late.Wait()
			if r.Code != 5 || !strings.Contains(r.Stderr, "the lease of this process was lost; run ") || !strings.Contains(r.Stderr, "its lease had ended (process ") {
				t.Errorf("it says: %v", r)
			}
			if got := o.ingest(); got != closed {
				t.Errorf("its end was %q and is %q", closed, got)
			}
			facts := "0"
			if committed {
				facts = "50"
			}
			if got := strings.TrimSpace(a.Must("sql", "-q", "--output", "csv", "SELECT count(*) AS n FROM ohlcv").Stdout); got != "n\n"+facts {
				t.Errorf("facts: %s", got)
			}
			if !strings.HasSuffix(closed, "; facts not checked") {
				t.Errorf("another machine says of its facts: %q", closed)
			}
			verdict := "no facts committed"
			if committed {
				verdict = "facts committed"
			}
			if c := a.Doctor(); !c.Healthy || !strings.HasSuffix(o.ingest(), "; "+verdict) {
				t.Errorf("%+v; %s", c, o.ingest())
			}
			if got := o.rows(`SELECT count(*) FROM quant.runs WHERE status = 'RUNNING'`); got != "0" {
				t.Errorf("%s runs are RUNNING", got)
			}
			if got := o.rows(`SELECT count(*) FROM quant.leases`); got != "0" {
				t.Errorf("%s leases are left", got)
			}
		})
	}
}

// A process that nobody has noticed goes on, however late it is.
func TestAProcessThatWakesBeforeAnybodyNoticedGoesOn(t *testing.T) {
	t.Parallel()
	o := newTeam(t)
	a := o.machine()
	late := a.Start([]string{"QUANT_TEST_FAILPOINT=ingest.merged:stop"}, "ingest", "first.csv").Stopped()
	time.Sleep(2 * lease)
	late.Signal(syscall.SIGCONT)
	a.WantCode(late.Wait(), 0)
	if got := o.ingest(); got != "SUCCESS" {
		t.Error(got)
	}
}
