package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

// A writer logs to a run of its own, single points and batches in turn, until the server
// no longer answers.
type writer struct {
	run            string
	points, batchs int // acknowledged
}

const batch = 20

func (w *writer) write(ctx context.Context, s *server, experiment string) {
	var err error
	if w.run, err = s.run(ctx, experiment); err != nil {
		w.run = ""
		return
	}
	for {
		if s.log(ctx, w.run, "one", w.points) != nil {
			return
		}
		w.points++
		if s.logMany(ctx, w.run, "many", w.batchs*batch, batch) != nil {
			return
		}
		w.batchs++
	}
}

func TestEveryAcknowledgedPointIsThereAfterAKill(t *testing.T) {
	t.Parallel()
	kills, random := soak.Count(t, 5, 100), rand.New(rand.NewPCG(soak.Seed(t), 0))
	l := labtest.New(t)
	var known []*writer
	var experiment string
	for kill := range kills {
		s := startServer(l)
		if kill == 0 {
			experiment = s.experiment("killed")
		}
		for _, w := range known { // of the server that was killed before
			wantPoints(t, w.run+" one", s.stepsOf(w.run, "one"), w.points, 1)
			wantPoints(t, w.run+" many", s.stepsOf(w.run, "many"), w.batchs*batch, batch)
		}
		known = nil
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for range 8 {
			w := &writer{}
			known = append(known, w)
			wg.Go(func() { w.write(ctx, s, experiment) })
		}
		time.Sleep(time.Duration(20+random.IntN(400)) * time.Millisecond)
		s.Signal(syscall.SIGKILL)
		s.Wait()
		cancel()
		wg.Wait()
		s.client.CloseIdleConnections()
		var begun []*writer
		for _, w := range known {
			if w.run != "" {
				begun = append(begun, w)
			}
		}
		known = begun
	}
	if len(known) == 0 {
		t.Fatal("the last server was killed before it had a run: nothing was tried")
	}
	for what, query := range map[string]string{
		"a run of a client without its process":                "SELECT r.run_id FROM runs r LEFT JOIN run_process p USING (run_id) WHERE r.kind = 'mlflow' AND p.run_id IS NULL",
		"a run of a client without what its client knows":      "SELECT r.run_id FROM runs r LEFT JOIN run_clients c USING (run_id) WHERE r.kind = 'mlflow' AND c.run_id IS NULL",
		"a run of a client without its experiment":             "SELECT r.run_id FROM runs r LEFT JOIN run_tags t ON t.run_id = r.run_id AND t.name = 'experiment' WHERE r.kind = 'mlflow' AND t.run_id IS NULL",
		"a metric whose sum is not that of its points":         "SELECT m.run_id, m.name FROM run_metrics m WHERE m.points <> (SELECT count(*) FROM run_metric_points p WHERE p.run_id = m.run_id AND p.name = m.name)",
		"a metric whose latest value is not one of its points": "SELECT l.run_id, l.name FROM run_metric_latest l WHERE NOT EXISTS (SELECT 1 FROM run_metric_points p WHERE p.run_id = l.run_id AND p.name = l.name AND p.step = l.step)",
		"half a batch": fmt.Sprintf("SELECT run_id FROM run_metrics WHERE name = 'many' AND points %% %d <> 0", batch),
	} {
		if got := strings.TrimSpace(l.MetaRows(query)); got != "" {
			t.Errorf("%s: %s", what, labtest.Clipped(got))
		}
	}
	l.Must("runs", "list") // closes the servers that died
	if left := strings.TrimSpace(l.MetaRows("SELECT run_id FROM runs WHERE kind = 'serve' AND status = 'RUNNING'")); left != "" {
		t.Errorf("servers that were killed are RUNNING: %s", left)
	}
}

// wantPoints fails the test unless the steps are 0, 1, 2, ... with all acknowledged ones,
// and at most one more request's.
func wantPoints(t *testing.T, what string, steps []int, acknowledged, more int) {
	t.Helper()
	for i, step := range steps {
		if step != i {
			t.Errorf("%s: point %d has step %d", what, i, step)
			return
		}
	}
	if len(steps) != acknowledged && len(steps) != acknowledged+more {
		t.Errorf("%s: %d points, acknowledged were %d", what, len(steps), acknowledged)
	}
}
