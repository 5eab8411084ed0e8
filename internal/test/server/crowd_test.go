package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

// Many clients at once write and read while other processes change the lab: no request
// fails and no point is lost.
func TestACrowdOfClientsBesideOtherCommandsLosesNothing(t *testing.T) {
	t.Parallel()
	const clients = 200
	each := soak.Count(t, 20, 400)
	l := labtest.New(t)
	l.Write("prices.csv", labtest.PriceFile(1, 300, "AAA", "BBB"))
	s := startServer(l)
	experiment := s.experiment("crowd")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	runs, failed := make([]string, clients), make([]error, clients)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			if runs[c], failed[c] = s.run(ctx, experiment); failed[c] != nil {
				return
			}
			for i := range each {
				if failed[c] = s.log(ctx, runs[c], "loss", i); failed[c] != nil {
					return
				}
				switch (c + i) % 10 {
				case 0:
					_, failed[c] = s.ask(ctx, "GET", getRun+"?run_id="+runs[c], nil)
				case 5:
					_, failed[c] = s.ask(ctx, "POST", searchRuns, map[string]any{"experiment_ids": []string{experiment}, "max_results": 5})
				}
				if failed[c] != nil {
					return
				}
				time.Sleep(time.Duration(c%10) * time.Millisecond)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	others := 0
	for busy := true; busy; {
		l.Must("ingest", "prices.csv")
		l.Must("symbols", "add", fmt.Sprintf("S%d", others))
		others++
		select {
		case <-done:
			busy = false
		default:
		}
	}
	for c, err := range failed {
		if err != nil {
			t.Fatalf("client %d: %v", c, err)
		}
	}
	for _, run := range runs {
		wantPoints(t, run, s.stepsOf(run, "loss"), each, 0)
	}
	slices.Sort(runs)
	if len(slices.Compact(runs)) != clients {
		t.Error("two clients were given the same run")
	}
	t.Logf("%d clients, %d points each, beside %d commands of others", clients, each, 2*others)
}
