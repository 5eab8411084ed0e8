// Package hosts proves what becomes of a team's work when its machines, their links, its
// server and its store fail while they work: hosts are namespaces of this kernel, joined
// by a bridge, in which real processes run.
package hosts

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quant/internal/test/labtest"
	"quant/internal/test/objectstest"
	"quant/internal/test/soak"
)

func TestMain(m *testing.M) { labtest.Main(m) }

const (
	shortLease = 3 * time.Second
	// found is how long a dead run may stay RUNNING while others look.
	found = 45 * time.Second
	// broken is longer than a connection outlives a cut link.
	broken = 13 * time.Second
	// programs is how many jobs of a round are programs of a user: one a step.
	programs = 3
	// keeps is how many artifacts each of them logs.
	keeps = 4
	// calm is how long nothing may move once nothing fails any more: no job, no run.
	calm = 3 * time.Minute
)

// printed is what a program of a round prints.
func printed(round int) string {
	var b strings.Builder
	for i := range 20 {
		fmt.Fprintf(&b, "round %d line %d\n", round, i)
	}
	return b.String()
}

// kept is what a program of a round keeps as an artifact.
func kept(round, program, i int) string {
	return fmt.Sprintf("round %d program %d kept %d\n", round, program, i)
}

// program is what users run: it prints, and logs artifacts as it goes.
const program = `set -e
cat "printed-$1.txt"
cd "$(mktemp -d)"
for i in 0 1 2 3; do
	echo "round $1 program $2 kept $i" >"kept-$i.txt"
	quant log artifact "kept-$i.txt"
	sleep 0.3
done
`

// steps are what is done in a round, one after the other; what stands in one step is done
// at once.
func steps(round int) [][]string {
	var ingests []string
	for i := range 4 {
		ingests = append(ingests, fmt.Sprintf("ingest prices-%d-%d.csv", round, i))
	}
	all := [][]string{
		ingests,
		{"features --feature-version v1"},
		{"pipeline run --strategy s.yaml", "sweep --strategy s.yaml --set portfolio.top_k=1,2,3 --set execution.lag_days=0,1,2,3 --workers queue"},
	}
	for i := range all {
		all[i] = append(all[i], fmt.Sprintf("exec -- sh program.sh %d %d", round, i))
	}
	return all
}

// write writes what the steps of a round read.
func write(t *testing.T, dir string, round int) {
	t.Helper()
	for i := range 4 {
		text := labtest.PriceFile(round, 220, string(rune('A'+2*i)), string(rune('B'+2*i)))
		labtest.Must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("prices-%d-%d.csv", round, i)), text, 0o644))
	}
	labtest.Must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("printed-%d.txt", round)), []byte(printed(round)), 0o644))
	labtest.Must(t, os.WriteFile(filepath.Join(dir, "program.sh"), []byte(program), 0o644))
	labtest.Must(t, os.WriteFile(filepath.Join(dir, "s.yaml"), []byte(strings.Replace(labtest.Momentum, "2015-12-31", "2015-07-31", 1)), 0o644))
}

// disturbance is a network whose parts fail while a worker works on each host.
type disturbance struct {
	*network
	lease    time.Duration
	alone    *labtest.Lab  // in files, where one process does the same work and nothing fails
	troubles []*trouble    // at most one fault of each is under way
	left     atomic.Int64  // faults
	refused  atomic.Int64  // requests to the object store that failed
	longest  time.Duration // that a step took after the last fault in it

	mu      sync.Mutex
	workers []*labtest.Process // of each host
	gone    []string           // what those before them said, with their host
	ended   map[string]int     // how workers ended by themselves
	done    map[string]int     // faults of each kind
	tried   map[string]int     // why jobs were tried again
	found   map[string]int     // by the doctor
}

func (d *disturbance) count(in map[string]int, what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	in[what]++
}

// disturbed begins a team's work on four hosts, of which two have a clock that is off by
// an hour; each trouble has some of the hosts and some of the kinds of faults.
func disturbed(t *testing.T, lease time.Duration, troubles ...*trouble) *disturbance {
	t.Helper()
	d := &disturbance{network: newNetwork(t, lease, 0, time.Hour, -time.Hour, 0), lease: lease, alone: labtest.New(t), troubles: troubles,
		ended: map[string]int{}, done: map[string]int{}, tried: map[string]int{}, found: map[string]int{}}
	if lease == 0 {
		d.lease = 15 * time.Second
	}
	d.workers = make([]*labtest.Process, len(d.hosts))
	d.alone.Env = append(d.alone.Env, "QUANT_CALENDAR=data")
	stop := make(chan struct{})
	var over sync.WaitGroup
	for i := range d.hosts {
		over.Go(func() { d.keep(i, stop) })
	}
	t.Cleanup(func() {
		if t.Failed() {
			d.keepEvidence()
		}
		close(stop)
		over.Wait()
		if !t.Failed() {
			d.wantNoneOpen(0, "r.kind <> 'config'")
		}
		for what, counts := range map[string]map[string]int{"faults": d.done, "workers that ended by themselves": d.ended, "why jobs were tried again": d.tried, "the doctor's findings": d.found} {
			for _, name := range slices.Sorted(maps.Keys(counts)) {
				t.Logf("%s: %4d %s", what, counts[name], name)
			}
		}
		t.Logf("requests to the object store: %d, of which failed %d; the longest that a step took after its last fault: %v", d.front.Requests.Load(), d.refused.Load(), d.longest)
	})
	d.control.Eventually("all workers work", func() bool {
		for i := range d.hosts {
			if w := d.worker(i); w == nil || !strings.Contains(w.Stderr.String(), "working for") {
				return false
			}
		}
		return true
	})
	return d
}

// keepEvidence writes what a failure can be understood from into a folder that stays: what
// the workers said, and the tables of jobs and runs.
func (d *disturbance) keepEvidence() {
	dir, err := os.MkdirTemp("", "quant-hosts-")
	labtest.Must(d.t, err)
	d.mu.Lock()
	said := slices.Clone(d.gone)
	for i, w := range d.workers {
		if w != nil {
			said = append(said, fmt.Sprintf("== host%d, at work\n%s", i+1, w.Stderr))
		}
	}
	d.mu.Unlock()
	for name, text := range map[string]string{
		"workers": strings.Join(said, "\n"),
		"jobs":    d.rows(`SELECT id, state::text, attempt, max_attempts, created_at::text, finalized_at::text, args::text, metadata::text, errors::text FROM quant_jobs.river_job ORDER BY id`),
		"runs":    d.rows(`SELECT r.run_id, r.kind, r.status, r.started_at, r.ended_at, p.host, p.pid, p.exit_code, p.parent_run_id, r.error_text FROM quant.runs r JOIN quant.run_process p USING (run_id) ORDER BY r.run_id`),
		"notes":   d.rows(`SELECT run_id, text FROM quant.run_notes ORDER BY run_id`),
	} {
		labtest.Must(d.t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	d.t.Logf("what the workers said, and the tables of jobs, runs and notes, are in %s", dir)
}

// keep starts the worker of a host again whenever it ends, as a service does, until stop
// is closed.
func (d *disturbance) keep(i int, stop chan struct{}) {
	for {
		p := d.hosts[i].start("worker", "--slots", "2")
		d.mu.Lock()
		d.workers[i] = p
		d.mu.Unlock()
		select {
		case <-p.Done:
			r := p.Wait()
			if r.Code != labtest.Killed {
				d.count(d.ended, fmt.Sprintf("exit status %d: %s", r.Code, said(r.Stderr)))
			}
			d.mu.Lock()
			d.gone = append(d.gone, fmt.Sprintf("== host%d, ended with %d at %s\n%s", i+1, r.Code, time.Now().Format(time.TimeOnly), r.Stderr))
			d.mu.Unlock()
			time.Sleep(200 * time.Millisecond)
		case <-stop:
			_ = p.Process.Signal(syscall.SIGTERM)
			select {
			case <-p.Done:
			case <-time.After(found):
				d.t.Errorf("the worker of host %d does not end: %s", i, p.Stderr)
			}
			return
		}
	}
}

// said is the last error of a process.
func said(stderr string) string {
	last := ""
	for line := range strings.Lines(stderr) {
		if text, is := strings.CutPrefix(line, "quant: "); is {
			last = text
		}
	}
	return scrub(last)
}

// scrub takes what differs from run to run out of a text.
func scrub(text string) string {
	f := strings.Fields(text)
	for i, word := range f {
		if strings.ContainsAny(word, "0123456789") {
			f[i] = "*"
		}
	}
	return strings.Join(f, " ")
}

func (d *disturbance) worker(i int) *labtest.Process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.workers[i]
}

// children are all processes that a process has started, and theirs.
func children(pid int) (list []int) {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				list = append(append(list, child), children(child)...)
			}
		}
	}
	return list
}

// Kinds of faults.
const (
	killWorker     = "a worker killed"
	killAttempt    = "an attempt killed"
	suspendHost    = "a host suspended"
	suspendWorker  = "a worker suspended"
	suspendAttempt = "an attempt suspended"
	cutLink        = "a link down for a moment"
	cutSilently    = "a link silent for a moment"
	cutLong        = "a link silent for longer than connections last"
	jumpClock      = "a clock set by an hour"
	killServer     = "PostgreSQL killed"
	stopServer     = "PostgreSQL restarted"
	storeErrors    = "the store answers 500"
	storeSlow      = "the store is slow"
	storeCuts      = "the store drops connections"
)

var (
	ofHosts  = []string{killWorker, killAttempt, suspendHost, suspendWorker, suspendAttempt, cutLink, cutSilently, cutLong, jumpClock}
	ofServer = []string{killServer, killServer, stopServer}
	ofStore  = []string{storeErrors, storeSlow, storeCuts}
)

// trouble lets one part after the other fail, and mends it: hosts of its own, and what its
// kinds name.
type trouble struct {
	hosts []int
	kinds []string
	r     *rand.Rand
	next  []int // of kinds, in an order by chance in which each comes once
}

// kind is the next.
func (x *trouble) kind() string {
	if len(x.next) == 0 {
		x.next = x.r.Perm(len(x.kinds))
	}
	kind := x.kinds[x.next[0]]
	x.next = x.next[1:]
	return kind
}

func (x *trouble) pause(least, most time.Duration) {
	time.Sleep(least + time.Duration(x.r.Int64N(int64(most-least))))
}

// victim is a host of the trouble, its worker, and the processes of the attempts there:
// one that has any, if that is asked for and comes in a moment.
func (d *disturbance) victim(x *trouble, working bool) (*host, *labtest.Process, []int) {
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		i := x.hosts[x.r.IntN(len(x.hosts))]
		w := d.worker(i)
		attempts := children(w.Process.Pid)
		if !working || len(attempts) > 0 || time.Since(begun) > time.Second {
			return d.hosts[i], w, attempts
		}
	}
}

// fault lets one part fail, and mends it.
func (d *disturbance) fault(x *trouble) {
	kind := x.kind()
	h, w, attempts := d.victim(x, !slices.Contains(append(slices.Clone(ofServer), ofStore...), kind))
	if len(attempts) == 0 && (kind == killAttempt || kind == suspendAttempt) {
		kind = killWorker
	}
	suspend := func(pids ...int) {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGSTOP)
		}
		x.pause(d.lease+time.Second, d.lease+3*time.Second)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
	d.count(d.done, kind)
	switch kind {
	case killWorker:
		_ = syscall.Kill(w.Process.Pid, syscall.SIGKILL)
	case killAttempt:
		_ = syscall.Kill(attempts[x.r.IntN(len(attempts))], syscall.SIGKILL)
	case suspendHost:
		suspend(append(attempts, w.Process.Pid)...)
	case suspendWorker:
		suspend(w.Process.Pid)
	case suspendAttempt:
		suspend(attempts...)
	case cutLink, cutSilently:
		d.cut(h, kind == cutSilently)
		x.pause(200*time.Millisecond, 3*time.Second)
		d.heal(h)
	case cutLong:
		d.cut(h, true)
		x.pause(broken, broken+2*time.Second)
		d.heal(h)
	case jumpClock:
		h.set([]time.Duration{-time.Hour, 0, time.Hour}[x.r.IntN(3)])
	case killServer, stopServer:
		if kind == killServer {
			d.server.Kill()
		} else {
			d.server.Stop()
		}
		x.pause(50*time.Millisecond, time.Second)
		d.inside(func() { d.server.Restart(d.t) })
	case storeErrors:
		d.refuse(x, objectstest.Fault{Status: http.StatusInternalServerError})
	case storeSlow:
		d.refuse(x, objectstest.Fault{Delay: 2 * time.Second})
	case storeCuts:
		lost := x.r.IntN(2) == 0 // what was asked for is done, and not answered
		d.refuse(x, objectstest.Fault{Lost: lost, Cut: !lost})
	}
}

// refuse lets all requests to the store fail for some seconds, and until some have.
func (d *disturbance) refuse(x *trouble, f objectstest.Fault) {
	before := d.refused.Load()
	d.front.Fail(func(*http.Request) objectstest.Fault {
		d.refused.Add(1)
		return f
	})
	x.pause(time.Second, 4*time.Second)
	for begun := time.Now(); d.refused.Load() == before && time.Since(begun) < 4*time.Second; {
		time.Sleep(10 * time.Millisecond)
	}
	d.front.Fail(nil)
}

// submit puts a command line into the queue, and returns the number of its job.
func (d *disturbance) submit(line string) string {
	d.t.Helper()
	return d.enqueue(strings.Fields(line)...)
}

func (d *disturbance) enqueue(line ...string) string {
	d.t.Helper()
	c := d.control.Command(append([]string{"--output", "json", "jobs", "submit", "--retries", "100", "--retry-delay", "300ms", "--"}, line...)...)
	c.Dir = d.shared
	c.Env = append(c.Env, "QUANT_DATA_DIR="+d.control.Path("data"))
	r := d.control.StartCmd(c).Wait()
	d.control.WantCode(r, 0)
	var j struct{ Job int64 }
	labtest.Decode(d.t, r.Stdout, &j)
	return strconv.FormatInt(j.Job, 10)
}

// wait waits until jobs are over. Until then things fail, but no more than most.
func (d *disturbance) wait(jobs []string, most int) {
	d.t.Helper()
	var allowed atomic.Int64
	allowed.Store(int64(most))
	over := make(chan struct{})
	var troubles sync.WaitGroup
	for _, x := range d.troubles {
		troubles.Go(func() {
			for {
				x.pause(100*time.Millisecond, time.Second)
				select {
				case <-over:
					return
				default:
				}
				if allowed.Add(-1) < 0 || d.left.Add(-1) < 0 {
					return
				}
				d.fault(x)
			}
		})
	}
	quiet := make(chan struct{}) // nothing fails any more
	go func() {
		troubles.Wait()
		close(quiet)
	}()
	var since, moved time.Time // the last fault was over; something moved
	before := ""
	for {
		time.Sleep(100 * time.Millisecond)
		select {
		case <-quiet:
			if since.IsZero() {
				since = time.Now()
			}
		default:
		}
		states := d.rows(`SELECT id, state::text, attempt, coalesce(errors[cardinality(errors)]->>'error', '') FROM quant_jobs.river_job WHERE id IN (` + strings.Join(jobs, ",") + `) ORDER BY id`)
		open := 0
		for line := range strings.SplitSeq(states, "\n") {
			f := strings.Fields(line)
			switch f[1] {
			case "completed":
				continue
			case "discarded":
				if !strings.Contains(line, "workers have died with it") {
					d.t.Fatalf("a job was given up: %s", line)
				}
				d.count(d.tried, "by hand, because five workers had died with a job")
				d.control.Must("jobs", "retry", f[0])
			case "cancelled":
				d.t.Fatalf("a job was cancelled: %s", line)
			}
			open++
		}
		if open == 0 {
			break
		}
		if now := states + d.rows(`SELECT count(*), count(ended_at) FROM quant.runs WHERE kind <> 'worker'`); now != before {
			before, moved = now, time.Now()
		}
		if !since.IsZero() && time.Since(since) > calm && time.Since(moved) > calm {
			d.t.Fatalf("jobs do not end:\n%s\nruns:\n%s\nsessions:\n%s\nworkers: %v", states,
				d.rows(`SELECT r.run_id, r.kind, p.host, p.pid FROM quant.runs r JOIN quant.run_process p USING (run_id) WHERE r.status = 'RUNNING'`),
				d.rows(`SELECT pid, datname, client_addr, state, now() - state_change, left(query, 100) FROM pg_stat_activity WHERE datname IS NOT NULL`), d.worker(0).Stderr)
		}
	}
	if !since.IsZero() {
		d.longest = max(d.longest, time.Since(since))
	}
	close(over)
	<-quiet
	for line := range strings.Lines(d.rows(`SELECT e->>'error' FROM quant_jobs.river_job, unnest(errors) e WHERE id IN (` + strings.Join(jobs, ",") + `)`)) {
		d.count(d.tried, scrub(line))
	}
}

// round does the work of a round here and in one process alone, with so many faults at
// most in each step, and judges what it came to.
func (d *disturbance) round(round, most int) {
	d.t.Helper()
	write(d.t, d.alone.Dir, round)
	write(d.t, d.shared, round)
	begun, before := time.Now(), d.left.Load()
	want := make(chan string, 1)
	go func() { want <- d.undisturbed(round) }()
	for _, step := range steps(round) {
		var jobs []string
		for _, line := range step {
			jobs = append(jobs, d.submit(line))
		}
		d.wait(jobs, most)
	}
	took := time.Since(begun)
	d.judge(round, <-want)
	d.t.Logf("round %d: %d faults in %v", round, before-max(d.left.Load(), 0), took.Round(100*time.Millisecond))
	if d.t.Failed() {
		d.t.FailNow()
	}
}

// undisturbed does the work of a round in one process after the other, and returns the
// facts.
func (d *disturbance) undisturbed(round int) string {
	for _, step := range steps(round) {
		for _, line := range step {
			line, _, _ = strings.Cut(line, " --workers")
			if r := d.alone.Run(strings.Fields(line)...); r.Code != 0 {
				d.t.Errorf("with nothing disturbed: %v", r)
			}
		}
	}
	_, rows, _ := strings.Cut(d.alone.Run("sql", "-q", "--output", "csv", facts).Stdout, "\n")
	return rows
}

// Whatever fails, a team's work ends as that of one process that nothing disturbs: no fact
// is lost, double or half, no run stays RUNNING, and no bit is another.
func TestWorkOfATeamOutlivesItsFaults(t *testing.T) {
	faults, most, seed := 4, 8, soak.Seed(t)
	// A few of the short ones always: the long ones take minutes.
	some := []*trouble{{hosts: []int{0, 1}, kinds: []string{killWorker, killAttempt, cutLink}}, {hosts: []int{2, 3}, kinds: []string{killAttempt, storeErrors, storeCuts}}}
	if soak.Full(t) {
		faults, most = 300, 24
		some[0].kinds, some[1].kinds = append(slices.Clone(ofHosts), ofServer...), append(slices.Clone(ofHosts), ofStore...)
	}
	for i, x := range some {
		x.r = rand.New(rand.NewPCG(seed, uint64(i+1)))
	}
	d := disturbed(t, shortLease, some...)
	d.left.Store(int64(faults))
	for round := 1; d.left.Load() > 0; round++ {
		d.round(round, most)
	}
}

// What nothing disturbs is what the disturbed is held against.
func TestWorkOfATeamIsThatOfOneProcess(t *testing.T) {
	if !soak.Full(t) {
		t.Skip("the disturbed work shows it, too; alone it is tried with QUANT_SOAK=1")
	}
	disturbed(t, shortLease).round(1, 0)
}
