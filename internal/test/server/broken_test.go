package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

// send writes a request by hand: a body of said bytes, of which only the beginning comes.
func send(t *testing.T, s *server, method, path string, said int, begin string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
	labtest.Must(t, err)
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		method, path, strings.TrimPrefix(s.base, "http://"), said, begin)
	labtest.Must(t, err)
	return conn.(*net.TCPConn)
}

// reset ends a connection as a client that dies does.
func reset(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	labtest.Must(t, conn.SetLinger(0))
	labtest.Must(t, conn.Close())
}

func TestARequestThatEndsInTheMiddleStoresNothingAndTheServerGoesOn(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	s := startServer(l)
	experiment := s.experiment("broken")
	run, err := s.run(context.Background(), experiment)
	labtest.Must(t, err)
	before := l.MetaRows("SELECT count(*) FROM run_metric_points")
	var stalled []*net.TCPConn
	defer func() {
		for _, c := range stalled {
			_ = c.Close()
		}
	}()
	whole := fmt.Sprintf(`{"run_id":"%s","metrics":[{"key":"half","value":1,"timestamp":1700000000000,"step":0},`, run)
	upload := fmt.Sprintf("%s%s/%s/artifacts/half.bin", artifacts, experiment, run)
	for i := range 40 {
		for _, conn := range []*net.TCPConn{
			send(t, s, "POST", logBatch, 1<<20, whole),
			send(t, s, "POST", logMetric, 200, fmt.Sprintf(`{"run_id":"%s","key":"half","val`, run)),
			send(t, s, "PUT", upload, 1<<24, strings.Repeat("x", 64<<10)),
			send(t, s, "POST", createRun, 100, `{"experiment_id":"`),
		} {
			if i%2 == 0 {
				reset(t, conn)
			} else {
				stalled = append(stalled, conn) // a client that was stopped
			}
		}
	}
	// A request that nobody reads the answer of.
	deaf := send(t, s, "POST", searchRuns, 2, "{}")
	stalled = append(stalled, deaf)

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for i := range 20 {
		labtest.Must(t, s.log(ctx, run, "whole", i))
	}
	wantPoints(t, "whole", s.stepsOf(run, "whole"), 20, 0)
	for _, c := range stalled {
		reset(t, c)
	}
	stalled = nil
	if got := l.MetaRows("SELECT count(*) FROM run_metric_points WHERE name = 'half'"); strings.TrimSpace(got) != strings.TrimSpace(before) {
		t.Errorf("points of half a request are stored: %s", got)
	}
	if got := strings.TrimSpace(l.MetaRows("SELECT count(*) FROM run_artifacts")); got != "0" {
		t.Errorf("half an artifact is stored: %s", got)
	}
	if got := strings.TrimSpace(l.MetaRows("SELECT count(*) FROM runs WHERE kind = 'mlflow'")); got != "1" {
		t.Errorf("there are %s runs, one was made", got)
	}
	req, err := http.NewRequest("PUT", s.base+upload, strings.NewReader("whole"))
	labtest.Must(t, err)
	resp, err := s.client.Do(req)
	labtest.Must(t, err)
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("a whole upload: %s %s %v", resp.Status, b, err)
	}
	_ = resp.Body.Close()
	resp, err = s.client.Get(s.base + upload)
	labtest.Must(t, err)
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "whole" {
		t.Errorf("the artifact is %q after a whole upload (%v)", b, err)
	}
}

// A server that has answered many requests holds no more memory than after the first of
// them.
func TestMemoryDoesNotGrowWithRequests(t *testing.T) {
	t.Parallel()
	requests := soak.Count(t, 4000, 100_000)
	l := labtest.New(t)
	s := startServer(l)
	if memory(s.Process.Process.Pid) == 0 {
		labtest.CannotTry(t, "the system does not tell the memory of a process")
	}
	experiment := s.experiment("flat")
	ctx := context.Background()
	run, err := s.run(ctx, experiment)
	labtest.Must(t, err)
	some := func(n int) {
		done := make(chan error, 8)
		for w := range cap(done) {
			go func() {
				for i := range n / cap(done) {
					var err error
					switch i % 4 {
					case 0, 1:
						err = s.log(ctx, run, fmt.Sprintf("m%d", w), i)
					case 2:
						_, err = s.ask(ctx, "GET", getRun+"?run_id="+run, nil)
					case 3:
						_, err = s.ask(ctx, "POST", searchRuns, map[string]any{"experiment_ids": []string{experiment}, "max_results": 10})
					}
					if err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range cap(done) {
			labtest.Must(t, <-done)
		}
	}
	some(2000)
	first := memory(s.Process.Process.Pid)
	some(requests)
	last := memory(s.Process.Process.Pid)
	t.Logf("%d MiB after 2,000 requests, %d MiB after %d more", first>>20, last>>20, requests)
	if last > first+first/2+16<<20 {
		t.Errorf("memory grew from %d to %d MiB over %d requests", first>>20, last>>20, requests)
	}
}
