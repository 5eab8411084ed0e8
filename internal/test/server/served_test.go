package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"quant/internal/test/labtest"
)

// The paths of MLflow's protocol that are used.
const (
	createExperiment = "/api/2.0/mlflow/experiments/create"
	createRun        = "/api/2.0/mlflow/runs/create"
	getRun           = "/api/2.0/mlflow/runs/get"
	logMetric        = "/api/2.0/mlflow/runs/log-metric"
	logBatch         = "/api/2.0/mlflow/runs/log-batch"
	searchRuns       = "/api/2.0/mlflow/runs/search"
	history          = "/api/2.0/mlflow/metrics/get-history"
	artifacts        = "/api/2.0/mlflow-artifacts/artifacts/"
)

// server is a quant serve on a port of its own.
type server struct {
	*labtest.Process
	lab    *labtest.Lab
	base   string
	client *http.Client
}

var address = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

func startServer(l *labtest.Lab) *server {
	l.T.Helper()
	s := &server{
		Process: l.Start(nil, "serve", "--addr", "127.0.0.1:0"), lab: l,
		client: &http.Client{Transport: &http.Transport{MaxIdleConns: 400, MaxIdleConnsPerHost: 400}, Timeout: time.Minute},
	}
	l.Eventually("the server answers", func() bool {
		select {
		case <-s.Done:
			l.T.Fatalf("the server ended: %v", s.Wait())
		default:
		}
		if s.base = address.FindString(s.Stderr.String() + s.Stdout.String()); s.base == "" {
			return false
		}
		resp, err := s.client.Get(s.base + "/health")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	l.T.Cleanup(s.client.CloseIdleConnections)
	return s
}

// ask sends a request and returns its answer.
func (s *server) ask(ctx context.Context, method, path string, body any) ([]byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, labtest.Clipped(string(answer)))
	}
	return answer, err
}

// must is ask, whose failure fails the test; the answer is read into into, if not nil.
func (s *server) must(method, path string, body, into any) {
	s.lab.T.Helper()
	answer, err := s.ask(context.Background(), method, path, body)
	labtest.Must(s.lab.T, err)
	if into != nil {
		labtest.Decode(s.lab.T, string(answer), into)
	}
}

// experiment makes an experiment and returns its id.
func (s *server) experiment(name string) string {
	s.lab.T.Helper()
	var e struct {
		ID string `json:"experiment_id"`
	}
	s.must("POST", createExperiment, map[string]any{"name": name}, &e)
	return e.ID
}

func (s *server) run(ctx context.Context, experiment string) (string, error) {
	answer, err := s.ask(ctx, "POST", createRun, map[string]any{"experiment_id": experiment, "start_time": time.Now().UnixMilli()})
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
	err = json.Unmarshal(answer, &r)
	if err == nil && r.Run.Info.ID == "" {
		err = fmt.Errorf("no run: %s", answer)
	}
	return r.Run.Info.ID, err
}

func (s *server) log(ctx context.Context, run, key string, step int) error {
	_, err := s.ask(ctx, "POST", logMetric, metric(run, key, step))
	return err
}

func metric(run, key string, step int) map[string]any {
	return map[string]any{"run_id": run, "key": key, "value": float64(step) / 3, "timestamp": time.Now().UnixMilli(), "step": step}
}

func (s *server) logMany(ctx context.Context, run, key string, from, n int) error {
	list := make([]map[string]any, n)
	for i := range list {
		list[i] = metric("", key, from+i)
		delete(list[i], "run_id")
	}
	_, err := s.ask(ctx, "POST", logBatch, map[string]any{"run_id": run, "metrics": list})
	return err
}

// stepsOf are the steps of a metric's points as the server tells them.
func (s *server) stepsOf(run, key string) []int {
	s.lab.T.Helper()
	var h struct {
		Metrics []struct {
			Step int `json:"step"`
		} `json:"metrics"`
	}
	s.must("GET", fmt.Sprintf("%s?run_id=%s&metric_key=%s&max_results=25000", history, run, key), nil, &h)
	var steps []int
	for _, m := range h.Metrics {
		steps = append(steps, m.Step)
	}
	return steps
}

// memory is what a process holds now, in bytes; 0 where the system does not tell.
func memory(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}
