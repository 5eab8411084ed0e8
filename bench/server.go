package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// barePart makes this program a bare server: bare ADDRESS FILE.
const barePart = "bare"

// bareServer is what a server of log_metric and log_batch cannot do without: it
// decodes the request and stores its points in one durable commit.
func bareServer(addr, file string) error {
	db, err := sql.Open("sqlite3", "file:"+file+"?_journal_mode=WAL&_synchronous=FULL&_txlock=immediate")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`CREATE TABLE IF NOT EXISTS points (run TEXT NOT NULL, name TEXT NOT NULL, step INTEGER NOT NULL, value REAL NOT NULL, at INTEGER NOT NULL)`); err != nil {
		return err
	}
	insert, err := db.Prepare(`INSERT INTO points VALUES (?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	type metric struct {
		RunID     string  `json:"run_id"`
		Key       string  `json:"key"`
		Value     float64 `json:"value"`
		Timestamp int64   `json:"timestamp"`
		Step      int64   `json:"step"`
	}
	store := func(w http.ResponseWriter, run string, list []metric) {
		tx, err := db.Begin()
		if err == nil {
			one := tx.Stmt(insert)
			defer func() { _ = one.Close() }()
			for _, m := range list {
				if _, err = one.Exec(run, m.Key, m.Step, m.Value, m.Timestamp); err != nil {
					break
				}
			}
			if err == nil {
				err = tx.Commit()
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "OK") })
	mux.HandleFunc("POST "+logMetric, func(w http.ResponseWriter, r *http.Request) {
		var m metric
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		store(w, m.RunID, []metric{m})
	})
	mux.HandleFunc("POST "+logBatch, func(w http.ResponseWriter, r *http.Request) {
		var b struct {
			RunID   string   `json:"run_id"`
			Metrics []metric `json:"metrics"`
		}
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		store(w, b.RunID, b.Metrics)
	})
	srv := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		<-ended
		_ = srv.Close()
	}()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// The paths of MLflow's protocol that are measured.
const (
	logMetric        = "/api/2.0/mlflow/runs/log-metric"
	logBatch         = "/api/2.0/mlflow/runs/log-batch"
	createRun        = "/api/2.0/mlflow/runs/create"
	getRun           = "/api/2.0/mlflow/runs/get"
	updateRun        = "/api/2.0/mlflow/runs/update"
	searchTheRuns    = "/api/2.0/mlflow/runs/search"
	metricHistory    = "/api/2.0/mlflow/metrics/get-history"
	createExperiment = "/api/2.0/mlflow/experiments/create"
)

// served is a server in a process of its own.
type served struct {
	cmd    *exec.Cmd
	base   string
	client *http.Client
	first  time.Duration // from its start to its first answer
	peak   int64         // memory, once stopped
}

// freePort is a port that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// startServed starts a server and waits for its first answer. args are made of the address.
func startServed(ctx context.Context, dir, name string, limit time.Duration, args func(addr string) []string) (*served, error) {
	addr, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &served{base: "http://" + addr, client: &http.Client{Transport: &http.Transport{MaxIdleConns: 400, MaxIdleConnsPerHost: 400}}}
	s.cmd = exec.CommandContext(ctx, name, args(addr)...)
	s.cmd.Dir = dir
	s.cmd.WaitDelay = 5 * time.Second
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	start := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for {
		resp, err := s.client.Get(s.base + "/health")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				s.first = time.Since(start)
				return s, nil
			}
			err = errors.New(resp.Status)
		}
		if time.Since(start) > limit {
			_ = s.stop()
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("%s does not answer after %s: %w\n%s", filepath.Base(name), limit, err, text)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// stop ends the server by a signal, as its user would.
func (s *served) stop() error {
	s.peak = memoryOf(s.cmd.Process.Pid, "VmHWM:")
	s.client.CloseIdleConnections()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := s.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil // 143, as whoever a signal ends
	}
	return err
}

// memoryOf is a figure of a process's memory in bytes, 0 where the system does not
// tell: VmHWM the peak, VmRSS the present.
func memoryOf(pid int, name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, name); found {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}

// ask sends one request and returns its answer and how long that took.
func (s *served) ask(ctx context.Context, method, path string, body any) (answer []byte, took time.Duration, err error) {
	var in []byte
	switch b := body.(type) {
	case nil:
	case []byte:
		in = b
	default:
		if in, err = json.Marshal(b); err != nil {
			return nil, 0, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(in))
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header["Idempotency-Key"] = nil // is not sent: asked again where a server closed the connection while it was idle
	start := time.Now()
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	answer, err = io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	took = time.Since(start)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.200s", path, resp.Status, answer)
	}
	return answer, took, err
}

// begin makes an experiment of a name, and a run in it, and returns the run's id.
func (s *served) begin(ctx context.Context, name string) (run string, err error) {
	answer, _, err := s.ask(ctx, "POST", createExperiment, map[string]any{"name": name})
	if err != nil {
		return "", err
	}
	var e struct {
		ID string `json:"experiment_id"`
	}
	if err := json.Unmarshal(answer, &e); err != nil {
		return "", err
	}
	return s.run(ctx, e.ID)
}

func (s *served) run(ctx context.Context, experiment string) (string, error) {
	answer, _, err := s.ask(ctx, "POST", createRun, map[string]any{"experiment_id": experiment, "start_time": time.Now().UnixMilli()})
	if err != nil {
		return "", err
	}
	var r struct {
		Run struct {
			Info struct {
				ID string `json:"run_id"`
			} `json:"info"`
		} `json:"run"`
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		return "", err
	}
	if r.Run.Info.ID == "" {
		return "", fmt.Errorf("%s: no run: %.200s", createRun, answer)
	}
	return r.Run.Info.ID, nil
}

// batchPoints is how many points MLflow's clients send at once.
const batchPoints = 1000

// onePoint and manyPoints time a log_metric and a log_batch of 1,000.
func (s *served) onePoint(ctx context.Context, run string) func() (time.Duration, error) {
	step := 0
	return func() (time.Duration, error) {
		step++
		_, took, err := s.ask(ctx, "POST", logMetric, map[string]any{
			"run_id": run, "run_uuid": run, "key": "loss", "value": 1 / float64(step), "timestamp": time.Now().UnixMilli(), "step": step,
		})
		return took, err
	}
}

func (s *served) manyPoints(ctx context.Context, run string) func() (time.Duration, error) {
	step := 0
	return func() (time.Duration, error) {
		list := make([]map[string]any, batchPoints)
		at := time.Now().UnixMilli()
		for i := range list {
			list[i] = map[string]any{"key": fmt.Sprintf("m%d", i%10), "value": float64(i) / 7, "timestamp": at, "step": step + i/10}
		}
		step += batchPoints / 10
		body, err := json.Marshal(map[string]any{"run_id": run, "metrics": list, "params": []any{}, "tags": []any{}})
		if err != nil {
			return 0, err
		}
		_, took, err := s.ask(ctx, "POST", logBatch, body)
		return took, err
	}
}

// maxServerMemory is the most that the server may take over all that is measured.
const maxServerMemory = 64 << 20

// serveRequests times the server beside a bare handler, its start, and its pages of a
// lab of a million runs.
func serveRequests(ctx context.Context, b *bench) ([]figure, error) {
	dir := filepath.Join(b.dir, "served")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if _, err := process(ctx, dir, b.quant, "config"); err != nil {
		return nil, err
	}
	quantArgs := func(addr string) []string { return []string{"serve", "--addr", addr} }
	var figures []figure

	times, err := inTurn(20, func() (time.Duration, error) {
		s, err := startServed(ctx, dir, b.quant, 10*time.Second, quantArgs)
		if err != nil {
			return 0, err
		}
		return s.first, s.stop()
	}, func() (time.Duration, error) {
		u, err := process(ctx, dir, b.quant, "version")
		return u.wall, err
	})
	if err != nil {
		return nil, err
	}
	r := ratio(median(times[0]), median(times[1]))
	figures = append(figures, figure{"from the start of `quant serve` to its first answer / `quant version`, median of 20",
		fmt.Sprintf("%s / %s = %.2f", ms(median(times[0])), ms(median(times[1])), r), r <= 3})

	bare, err := startServed(ctx, dir, self, 10*time.Second, func(addr string) []string { return []string{barePart, addr, filepath.Join(dir, "bare.db")} })
	if err != nil {
		return nil, err
	}
	defer func() { _ = bare.stop() }()
	ours, err := startServed(ctx, dir, b.quant, 10*time.Second, quantArgs)
	if err != nil {
		return nil, err
	}
	stopped := false
	defer func() {
		if !stopped {
			_ = ours.stop()
		}
	}()
	run, err := ours.begin(ctx, "latency")
	if err != nil {
		return nil, err
	}
	fns := []func() (time.Duration, error){bare.onePoint(ctx, "r"), ours.onePoint(ctx, run), bare.manyPoints(ctx, "r"), ours.manyPoints(ctx, run)}
	rounds, nouns := 300, "of 300"
	var theirs *served
	if b.mlflow != "" {
		if theirs, err = serveMLflow(ctx, dir, b.mlflow); err != nil {
			return nil, err
		}
		defer func() { _ = theirs.stop() }()
		run, err := theirs.begin(ctx, "latency")
		for try := 1; err != nil && try < 10; try++ { // its workers may still be starting, and close what they took
			time.Sleep(2 * time.Second)
			run, err = theirs.begin(ctx, fmt.Sprintf("latency %d", try))
		}
		if err != nil {
			return nil, err
		}
		fns = append(fns, theirs.onePoint(ctx, run), theirs.manyPoints(ctx, run))
		rounds, nouns = 100, "of 100"
	}
	if times, err = inTurn(rounds, fns...); err != nil {
		return nil, err
	}
	one, many := ratio(median(times[1]), median(times[0])), ratio(median(times[3]), median(times[2]))
	figures = append(figures,
		figure{"log_metric / a bare Go handler with one durable SQLite insert, keep-alive, median " + nouns,
			fmt.Sprintf("%s / %s = %.2f", ms(median(times[1])), ms(median(times[0])), one), one <= 1.5},
		note("the 99th of a hundred of both", "%s / %s", ms(times[1][len(times[1])*99/100]), ms(times[0][len(times[0])*99/100])),
		figure{"log_batch of 1,000 / the bare handler with one durable commit, median " + nouns,
			fmt.Sprintf("%s / %s = %.2f", ms(median(times[3])), ms(median(times[2])), many), many <= 2})
	if theirs != nil {
		figures = append(figures,
			note("MLflow's own server on SQLite: start; log_metric; log_batch of 1,000; peak memory of its processes", "%.1f s; %s; %s; %d MiB",
				theirs.first.Seconds(), ms(median(times[4])), ms(median(times[5])), memoryOfGroup(theirs.cmd.Process.Pid)>>20))
		for _, one := range []struct {
			name   string
			server *served
		}{{"quant", ours}, {"MLflow's server", theirs}} {
			called, stored, err := one.server.asynchronous(ctx, dir, b.mlflow)
			if err != nil {
				return nil, err
			}
			figures = append(figures, note(fmt.Sprintf("%d asynchronous log_metric calls of MLflow's client to %s: all called; all stored", asyncPoints, one.name), "%s; %s", ms(called), ms(stored)))
		}
	}
	stopped = true
	if err := ours.stop(); err != nil {
		return nil, err
	}
	figures = append(figures, figure{"peak memory of `quant serve` over these", fmt.Sprintf("%d MiB", ours.peak>>20), ours.peak < maxServerMemory})
	return figures, nil
}

// asyncProgram logs points without waiting for them, as MLflow's client does it, and
// prints how long the calls took together, and how long until all were stored.
const asyncProgram = `
import sys, time, mlflow
n = int(sys.argv[1])
with mlflow.start_run():
    mlflow.log_metric("warm", 0.0, step=0, synchronous=True)
    begun = time.perf_counter()
    for step in range(n):
        mlflow.log_metric("loss", 1 / (step + 1), step=step, synchronous=False)
    called = time.perf_counter()
    mlflow.flush_async_logging()
    print(called - begun, time.perf_counter() - begun)
    run = mlflow.active_run().info.run_id
points = mlflow.MlflowClient().get_metric_history(run, "loss")
assert len(points) == n, f"{len(points)} points"
`

// asyncPoints is how many points are logged so.
const asyncPoints = 500

// asynchronous times them against a server: until the last call came back, and until
// everything was stored.
func (s *served) asynchronous(ctx context.Context, dir, python string) (called, stored time.Duration, err error) {
	cmd := exec.CommandContext(ctx, python, "-c", asyncProgram, strconv.Itoa(asyncPoints))
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "MLFLOW_TRACKING_URI="+s.base, "MLFLOW_DISABLE_TELEMETRY=true")
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("log asynchronously: %w\n%s", err, log.Bytes())
	}
	line, _, _ := strings.Cut(out.String(), "\n")
	var a, b float64
	if _, err := fmt.Sscan(line, &a, &b); err != nil {
		return 0, 0, fmt.Errorf("log asynchronously: %q: %w", line, err)
	}
	return time.Duration(a * float64(time.Second)), time.Duration(b * float64(time.Second)), nil
}

// serveMLflow starts MLflow's own server, with its defaults, on a SQLite file.
func serveMLflow(ctx context.Context, dir, python string) (*served, error) {
	s, err := startServed(ctx, dir, python, 2*time.Minute, func(addr string) []string {
		host, port, _ := net.SplitHostPort(addr)
		return []string{"-m", "mlflow", "server", "--host", host, "--port", port, "--backend-store-uri", "sqlite:///peer.db", "--artifacts-destination", "./peer-artifacts"}
	})
	if err != nil {
		return nil, fmt.Errorf("mlflow server: %w", err)
	}
	return s, nil
}

// memoryOfGroup is the present memory of a process and its descendants.
func memoryOfGroup(pid int) int64 {
	total := memoryOf(pid, "VmRSS:")
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return total
	}
	for _, child := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(child); err == nil {
			total += memoryOfGroup(n)
		}
	}
	return total
}

// maxPage is the longest that a page of a million runs may take.
const maxPage = 30 * time.Millisecond

// pagesOfMany are the searches of 100 runs whose pages are timed, as MLflow's clients
// ask for them.
var pagesOfMany = []struct {
	what    string
	request map[string]any
	page    int
}{
	{"newest", map[string]any{}, 1},
	{"filter by metric", map[string]any{"filter": "metrics.sharpe > 2.9"}, 1},
	{"ordered by metric", map[string]any{"order_by": []string{"metrics.sharpe DESC"}}, 1},
	{"filter and order by metric", map[string]any{"filter": "metrics.sharpe > 1", "order_by": []string{"metrics.sharpe DESC"}}, 1},
	{"filter by param", map[string]any{"filter": "params.algo = 'gbm'"}, 1},
	{"filter by a rare param", map[string]any{"filter": "params.seed = '4711'"}, 1},
	{"filter by tag", map[string]any{"filter": "tags.team = 'alpha'"}, 1},
	{"filter by status", map[string]any{"filter": "attributes.status = 'FAILED'"}, 1},
	{"ordered by param", map[string]any{"order_by": []string{"params.top_k ASC"}}, 1},
	{"ordered by start time", map[string]any{"order_by": []string{"attributes.start_time ASC"}}, 1},
	{"newest, page 50", map[string]any{}, 50},
	{"ordered by metric, page 50", map[string]any{"order_by": []string{"metrics.sharpe DESC"}}, 50},
}

// servePages times pages of a lab of a million runs, all in one experiment.
func servePages(ctx context.Context, b *bench) ([]figure, error) {
	dir := filepath.Join(b.dir, "many")
	if _, err := os.Stat(dir); err != nil {
		if err := makeLab(ctx, b, dir, manyRuns, time.Now()); err != nil {
			return nil, fmt.Errorf("make a lab of %d runs: %w", manyRuns, err)
		}
	}
	s, err := startServed(ctx, dir, b.quant, 30*time.Second, func(addr string) []string { return []string{"serve", "--addr", addr} })
	if err != nil {
		return nil, err
	}
	stopped := false
	defer func() {
		if !stopped {
			_ = s.stop()
		}
	}()
	answer, _, err := s.ask(ctx, "POST", createExperiment, map[string]any{"name": "everything"})
	if err != nil {
		return nil, err
	}
	var e struct {
		ID string `json:"experiment_id"`
	}
	if err := json.Unmarshal(answer, &e); err != nil {
		return nil, err
	}
	if err := s.stop(); err != nil {
		return nil, err
	}
	if err := putAllInto(ctx, dir, "everything"); err != nil {
		return nil, err
	}
	if s, err = startServed(ctx, dir, b.quant, 30*time.Second, func(addr string) []string { return []string{"serve", "--addr", addr} }); err != nil {
		return nil, err
	}
	figures := []figure{note("from its start to its first answer, with 1,000,000 runs", "%s", ms(s.first))}
	for _, p := range pagesOfMany {
		request := map[string]any{"experiment_ids": []string{e.ID}, "max_results": 100}
		for k, v := range p.request {
			request[k] = v
		}
		found := 0
		page := func() (time.Duration, error) {
			answer, took, err := s.ask(ctx, "POST", searchTheRuns, request)
			if err != nil {
				return 0, err
			}
			var list struct {
				Runs []json.RawMessage `json:"runs"`
				Next string            `json:"next_page_token"`
			}
			if err := json.Unmarshal(answer, &list); err != nil {
				return 0, err
			}
			found = len(list.Runs)
			if p.page > 1 {
				request["page_token"] = list.Next
			}
			return took, nil
		}
		for range p.page - 1 {
			if _, err := page(); err != nil {
				return nil, fmt.Errorf("%s: %w", p.what, err)
			}
		}
		token := request["page_token"]
		times, err := inTurn(9, func() (time.Duration, error) {
			if token != nil {
				request["page_token"] = token
			}
			return page()
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.what, err)
		}
		f := figure{"100 of 1,000,000 runs, " + p.what, fmt.Sprintf("%s (%d runs)", ms(median(times[0])), found), median(times[0]) < maxPage}
		figures = append(figures, f)
		fmt.Fprintf(os.Stderr, "  %s: %s\n", p.what, f.value)
	}
	stopped = true
	if err := s.stop(); err != nil {
		return nil, err
	}
	return append(figures, figure{"peak memory of `quant serve` over these", fmt.Sprintf("%d MiB", s.peak>>20), s.peak < maxServerMemory}), nil
}

// putAllInto makes every run of a lab one of an experiment, by its tag.
func putAllInto(ctx context.Context, dir, name string) error {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "data", "meta.db")+"?_foreign_keys=off&_busy_timeout=5000")
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, `INSERT OR IGNORE INTO run_tags (run_id, name, value)
		SELECT run_id, 'experiment', (SELECT experiment_id FROM experiments WHERE name = ?) FROM runs WHERE kind <> 'serve'`, name)
	return err
}

// The crowd: so many clients at once, for so long, and how slow one answer of a hundred
// may be.
const (
	crowdClients = 200
	crowdTime    = time.Minute
	maxCrowdWait = 250 * time.Millisecond
)

// serveCrowd lets 200 clients write and read at once while a pipeline runs in another
// process, and then looks for every point that was acknowledged.
func serveCrowd(ctx context.Context, b *bench) ([]figure, error) {
	m, err := b.makeMarket(ctx, 60)
	if err != nil {
		return nil, err
	}
	dir := m.dir
	s, err := startServed(ctx, dir, b.quant, 10*time.Second, func(addr string) []string { return []string{"serve", "--addr", addr} })
	if err != nil {
		return nil, err
	}
	stopped := false
	defer func() {
		if !stopped {
			_ = s.stop()
		}
	}()
	answer, _, err := s.ask(ctx, "POST", createExperiment, map[string]any{"name": "crowd"})
	if err != nil {
		return nil, err
	}
	var e struct {
		ID string `json:"experiment_id"`
	}
	if err := json.Unmarshal(answer, &e); err != nil {
		return nil, err
	}
	var (
		mu      sync.Mutex
		waits   []time.Duration
		writes  atomic.Int64
		failure atomic.Pointer[error]
		wg      sync.WaitGroup
	)
	until := time.Now().Add(crowdTime)
	during, end := context.WithCancel(ctx)
	defer end()
	fail := func(err error) {
		failure.CompareAndSwap(nil, &err)
		end()
	}
	stored := make([]int, crowdClients)
	runs := make([]string, crowdClients)
	for c := range crowdClients {
		wg.Go(func() {
			var own []time.Duration
			defer func() {
				mu.Lock()
				waits = append(waits, own...)
				mu.Unlock()
			}()
			run, err := s.run(during, e.ID)
			if err != nil {
				fail(err)
				return
			}
			runs[c] = run
			for i := 0; time.Now().Before(until) && during.Err() == nil; i++ {
				var took time.Duration
				var err error
				if i%4 == 3 {
					_, took, err = s.ask(during, "GET", getRun+"?run_id="+run, nil)
				} else {
					_, took, err = s.ask(during, "POST", logMetric, map[string]any{
						"run_id": run, "key": "loss", "value": 1.5, "timestamp": time.Now().UnixMilli(), "step": stored[c],
					})
					if err == nil {
						stored[c]++
						writes.Add(1)
					}
				}
				if err != nil {
					fail(err)
					return
				}
				own = append(own, took)
				time.Sleep(time.Duration(50+c%50) * time.Millisecond) // a training step
			}
		})
	}
	pipelines := 0
	for time.Now().Before(until) && during.Err() == nil {
		if _, err := process(ctx, dir, b.quant, append(m.pipeline(), "--force")...); err != nil {
			fail(err)
			break
		}
		pipelines++
	}
	wg.Wait()
	if err := failure.Load(); err != nil {
		return nil, *err
	}
	lost := 0
	for c, run := range runs {
		answer, _, err := s.ask(ctx, "GET", fmt.Sprintf("%s?run_id=%s&metric_key=loss&max_results=25000", metricHistory, run), nil)
		if err != nil {
			return nil, err
		}
		var h struct {
			Metrics []json.RawMessage `json:"metrics"`
		}
		if err := json.Unmarshal(answer, &h); err != nil {
			return nil, err
		}
		if len(h.Metrics) != stored[c] {
			lost++
		}
	}
	slices.Sort(waits)
	p99 := waits[len(waits)*99/100]
	stopped = true
	if err := s.stop(); err != nil {
		return nil, err
	}
	return []figure{
		{fmt.Sprintf("%d clients for a minute beside %d pipelines, %d requests, %d of them writes: the 99th answer of a hundred", crowdClients, pipelines, len(waits), writes.Load()),
			fmt.Sprintf("%s (median %s, longest %s)", ms(p99), ms(median(waits)), ms(waits[len(waits)-1])), p99 < maxCrowdWait},
		{"runs that have other points than were acknowledged", strconv.Itoa(lost), lost == 0},
		{"peak memory of `quant serve`", fmt.Sprintf("%d MiB", s.peak>>20), s.peak < maxServerMemory},
	}, nil
}
