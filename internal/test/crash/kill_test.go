package crash

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

// disturbance is a lab with acknowledged data, and what it holds once the
// second file has been ingested without any trouble.
type disturbance struct {
	data              *labtest.Lab
	prices            map[string]string // by start
	symbols           map[string]string
	oldRuns           []string
	firstFile, second []byte
}

func newDisturbance(t *testing.T) *disturbance {
	t.Helper()
	d := &disturbance{
		data: labtest.New(t), prices: map[string]string{}, symbols: map[string]string{},
		firstFile: labtest.PriceFile(1, 300, "OLD", "BOTH"), second: labtest.PriceFile(2, 300, "NEW", "BOTH"),
	}
	d.data.Write("first.csv", d.firstFile)
	d.data.Write("second.csv", d.second)
	d.oldRuns = append(d.oldRuns,
		d.data.Must("symbols", "add", "KEEP", "--name", "kept").Acknowledged(),
		d.data.Must("ingest", "first.csv").Acknowledged())
	for _, start := range []string{"data", "nothing", "an empty Fact DB"} {
		l := d.lab(t, start)
		l.Must("ingest", "second.csv")
		d.prices[start], d.symbols[start] = l.Prices(), l.MetaRows("SELECT * FROM symbols ORDER BY symbol")
		if !strings.Contains(d.prices[start], "NEW") {
			t.Fatal("the undisturbed lab is empty")
		}
	}
	return d
}

func (d *disturbance) lab(t *testing.T, start string) *labtest.Lab {
	t.Helper()
	if start == "data" {
		return d.data.CopyOf(t)
	}
	l := labtest.New(t)
	l.Write("second.csv", d.second)
	if start == "an empty Fact DB" {
		labtest.Must(t, os.MkdirAll(l.Path("data"), 0o700))
		db, err := sql.Open("duckdb", l.Facts())
		labtest.Must(t, err)
		labtest.Must(t, db.Ping())
		labtest.Must(t, db.Close())
	}
	return l
}

func TestKillAtEveryStepOfAnIngestLosesNothingAndLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	d := newDisturbance(t)
	for i, step := range labtest.IngestSteps {
		t.Run(step.Name, func(t *testing.T) {
			t.Parallel()
			l := d.lab(t, step.Start)
			r := l.Start([]string{"QUANT_TEST_FAILPOINT=" + step.Name}, "ingest", "second.csv").Wait()
			l.WantCode(r, labtest.Killed)

			l.Must("runs", "list")
			l.WantClosed()
			l.WantAgreement()
			var report labtest.Checkup
			if step.Name == "fact.upgrade.before" {
				labtest.Decode(t, l.Want(1, "doctor", "--output", "json").Stdout, &report)
				if !report.Has("fault", "quant.duckdb", "schema version 0") {
					t.Fatalf("doctor does not see that the Fact DB is still an old one: %+v", report)
				}
			} else {
				report = l.Doctor()
			}
			past := func(point string) bool {
				return i >= slices.IndexFunc(labtest.IngestSteps, func(s struct{ Name, Start string }) bool { return s.Name == point })
			}
			committed := past("fact.commit.after")
			var died *labtest.RunRow
			for _, run := range l.Runs() {
				if run.Kind == "ingest" && !slices.Contains(d.oldRuns, run.ID) {
					died = &run
				}
			}
			switch {
			case !past("meta.start.after") || step.Name == "meta.create.after":
				if died != nil {
					t.Fatalf("recorded before it could be: %+v", died)
				}
			case died == nil:
				t.Fatal("the run that died is not recorded")
			case step.Name == "meta.finish.after":
				if died.Status != "SUCCESS" {
					t.Fatalf("closed as SUCCESS, and now it is %+v", died)
				}
			default:
				want := "process ended without finishing; no facts committed"
				if committed {
					want = "process ended without finishing; facts committed"
				}
				if step.Name == "fact.upgrade.before" { // an old Fact DB does not tell
					want = "process ended without finishing; facts not checked"
				}
				if died.Status != "FAIL" || died.Error != want {
					t.Fatalf("want FAIL %q, got %+v", want, died)
				}
				if noted := report.Has("note", died.ID, "ohlcv"); noted != committed {
					t.Fatalf("committed: %v, noted by doctor: %v in %+v", committed, noted, report)
				}
			}
			if committed {
				if got := l.Prices(); got != d.prices[step.Start] {
					t.Fatal("the commit is not all there")
				}
			}
			wantKept(l, d, step.Start)

			l.Must("ingest", "second.csv")
			if got := l.Prices(); got != d.prices[step.Start] {
				t.Fatalf("the same ingest again ends in other rows:\n%s", labtest.Clipped(got))
			}
			if got := l.MetaRows("SELECT * FROM symbols ORDER BY symbol"); got != d.symbols[step.Start] {
				t.Fatalf("other symbols: %s, want %s", got, d.symbols[step.Start])
			}
			wantKept(l, d, step.Start)
			l.WantClosed()
			l.WantAgreement()
			l.Doctor()
			l.WantTidy()
		})
	}
}

// wantKept checks that what was acknowledged before is still there.
func wantKept(l *labtest.Lab, d *disturbance, start string) {
	l.T.Helper()
	if start != "data" {
		return
	}
	status := map[string]string{}
	for _, run := range l.Runs() {
		status[run.ID] = run.Status
	}
	for _, id := range d.oldRuns {
		if status[id] != "SUCCESS" {
			l.T.Fatalf("the acknowledged run %s is %q", id, status[id])
		}
	}
	if got := l.MetaRows("SELECT name FROM symbols WHERE symbol = 'KEEP'"); got != "kept\n" {
		l.T.Fatalf("the acknowledged symbol is gone: %q", got)
	}
	if got := l.FactRows("SELECT count(*) FROM ohlcv WHERE symbol = 'OLD'"); got != "300\n" {
		l.T.Fatalf("of 300 acknowledged rows there are %s", got)
	}
}

func TestKillAtRandomMomentsLosesNothingAndLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	times, labs, seed := soak.Count(t, 24, 200), 2, soak.Seed(t)
	for n := range labs {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, uint64(n)))
			l := labtest.New(t)
			const files = 3
			for i := range files {
				l.Write(fmt.Sprintf("%d.csv", i), labtest.PriceFile(i, 400, fmt.Sprintf("S%d", i), "ALL"))
			}
			whole := l.Must("ingest", "0.csv").Took
			var acknowledged []string
			died := 0
			for i := range times / labs {
				p := l.Start(nil, "ingest", fmt.Sprintf("%d.csv", i%files))
				timer := time.AfterFunc(time.Duration(random.Int64N(int64(whole)*5/4)), func() { _ = p.Process.Kill() })
				r := p.Wait()
				timer.Stop()
				if r.Code == labtest.Killed {
					died++
				} else {
					l.WantCode(r, 0)
				}
				if id := r.Acknowledged(); id != "" {
					acknowledged = append(acknowledged, id)
				}
				l.Must("config")
				l.WantClosed()
				l.WantAgreement()
				if i%8 == 7 {
					l.Doctor()
				}
			}
			if died == 0 {
				t.Fatal("not one process was killed in time")
			}
			t.Logf("%d of %d were killed", died, times/labs)
			status := map[string]string{}
			for _, run := range l.Runs() {
				status[run.ID] = run.Status
				if run.Status == "FAIL" && !strings.HasPrefix(run.Error, "process ended without finishing; ") {
					t.Fatalf("a killed run says %q", run.Error)
				}
			}
			for _, id := range acknowledged {
				if status[id] != "SUCCESS" {
					t.Fatalf("the acknowledged run %s is %q", id, status[id])
				}
			}
			l.Doctor()
			undisturbed := labtest.New(t)
			for i := range files {
				name := fmt.Sprintf("%d.csv", i)
				undisturbed.Write(name, labtest.PriceFile(i, 400, fmt.Sprintf("S%d", i), "ALL"))
				undisturbed.Must("ingest", name)
				l.Must("ingest", name)
			}
			if l.Prices() != undisturbed.Prices() {
				t.Fatal("the same files end in other rows than without the kills")
			}
			l.Doctor()
			l.WantTidy()
		})
	}
}
