package hosts

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

// Each kind of fault alone, with the lease that users have: it meets the host that works
// on a job, the job is done all the same and counts once, and it is told how long that
// took and what was said.
func TestEachFaultAloneIsSurvivedByAJob(t *testing.T) {
	if !soak.Full(t) {
		t.Skip("some kinds are tried together always; each alone takes minutes and is tried with QUANT_SOAK=1")
	}
	x := &trouble{r: rand.New(rand.NewPCG(soak.Seed(t), 3))}
	d := disturbed(t, 0)
	write(t, d.shared, 1)
	const work = `for i in 1 2 3 4 5 6; do echo $i >kept-$QUANT_RUN_ID-$i.txt; quant log artifact kept-$QUANT_RUN_ID-$i.txt; sleep 1; done`
	for _, kind := range append([]string{"nothing"}, slices.Concat(ofHosts, ofServer[1:], ofStore)...) {
		t.Run(kind, func(t *testing.T) {
			begun := time.Now()
			job := d.enqueue("exec", "--", "sh", "-ec", work)
			host := -1
			d.control.Eventually("a host works on the job", func() bool {
				by := d.rows(`SELECT p.host FROM quant_jobs.river_job j, jsonb_array_elements(j.metadata->'attempts') a, quant.run_process p WHERE j.id = ` + job + ` AND p.run_id = a->>'run_id'`)
				n, err := strconv.Atoi(strings.TrimPrefix(by, "host"))
				host = n - 1
				return err == nil
			})
			d.control.Eventually("its program runs", func() bool { return len(children(d.worker(host).Process.Pid)) > 1 })
			w := d.worker(host)
			said := len(w.Stderr.String())
			if kind != "nothing" {
				x.hosts, x.kinds, x.next = []int{host}, []string{kind}, nil
				d.fault(x)
			}
			healed := time.Now()
			d.wait([]string{job}, 0)
			t.Logf("%s: done after %v, %v after the fault was over; attempts %s", kind, time.Since(begun).Round(100*time.Millisecond), time.Since(healed).Round(100*time.Millisecond),
				d.rows(`SELECT metadata->'attempts' #>> '{}', errors::text FROM quant_jobs.river_job WHERE id = `+job))
			t.Logf("%s: its worker said: %s", kind, labtest.Clipped(w.Stderr.String()[said:]))
			if done := d.rows(`SELECT count(*) FROM quant_jobs.river_job j, jsonb_array_elements(j.metadata->'attempts') a, quant.runs r WHERE j.id = ` + job + ` AND r.run_id = a->>'run_id' AND r.status = 'SUCCESS'`); done != "1" {
				t.Errorf("%s: %s runs of the job ended SUCCESS", kind, done)
			}
			for i := range d.hosts {
				d.hosts[i].set(0)
			}
			if kept := d.rows(`SELECT count(*) FROM quant.run_artifacts a JOIN quant.runs r USING (run_id) WHERE r.kind = 'exec' AND r.status = 'SUCCESS' AND a.name LIKE 'kept-%'`); kept == "0" {
				t.Errorf("%s: nothing was kept", kind)
			}
			d.control.Eventually("all workers work", func() bool {
				for i := range d.hosts {
					if w := d.worker(i); w == nil || !strings.Contains(w.Stderr.String(), "working for") {
						return false
					}
				}
				return true
			})
		})
	}
	d.wantNoneOpen(1, `r.kind <> 'worker' OR NOT EXISTS (SELECT 1 FROM quant.leases l WHERE l.name = p.live_lock AND l.expires_at > now())`)
}
