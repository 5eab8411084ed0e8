package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// pageBound is how long a page of runs may take, whole, of a lab of a million.
const pageBound = 30 * time.Millisecond

// pagesOfRuns asks a server for pages of its runs, over one connection.
func pagesOfRuns(ctx context.Context, b *bench) ([]figure, error) {
	now := time.Now()
	few, many := filepath.Join(b.dir, "pages-few"), filepath.Join(b.dir, "pages-many")
	for dir, n := range map[string]int{few: 1_000, many: manyRuns} {
		if err := makeLab(ctx, b, dir, n, now); err != nil {
			return nil, fmt.Errorf("make a lab of %d runs: %w", n, err)
		}
	}
	servers := map[string]string{}
	for _, dir := range []string{few, many} {
		address, stop, err := startServer(ctx, b, dir)
		if err != nil {
			return nil, err
		}
		defer stop()
		servers[dir] = address
	}
	var figures []figure
	for _, page := range []struct{ what, path string }{
		{"the newest", "/runs"},
		{"the third page", "/runs@@"},
		{"by a metric, with params", "/runs?sort=-metrics.sharpe&columns=" + url.QueryEscape("status,started,params.top_k,metrics.sharpe")},
		{"found by kind and metric", "/runs?q=" + url.QueryEscape(`kind = "backtest" and metrics.sharpe > 1`)},
		{"one run", "/runs/last:backtest"},
	} {
		timed := func(dir string) func() (time.Duration, error) {
			path := page.path
			return func() (time.Duration, error) {
				if before, deep := strings.CutSuffix(page.path, "@@"); deep && path == page.path {
					path = before
					for range 2 {
						text, err := fetch(ctx, servers[dir]+path)
						if err != nil {
							return 0, err
						}
						head, _, _ := strings.Cut(text, `" rel="next"`)
						path = strings.ReplaceAll(head[strings.LastIndex(head, `"`)+1:], "&amp;", "&")
					}
				}
				begun := time.Now()
				_, err := fetch(ctx, servers[dir]+path)
				return time.Since(begun), err
			}
		}
		times, err := inTurn(20, timed(few), timed(many))
		if err != nil {
			return nil, err
		}
		small, large := median(times[0]), median(times[1])
		figures = append(figures, figure{"a page of runs, " + page.what + ", with 1,000,000 runs against 1,000", fmt.Sprintf("%s / %s = %.2f", ms(large), ms(small), ratio(large, small)), large < pageBound})
	}
	return figures, nil
}

// serve starts a server of a lab and returns its address.
func startServer(ctx context.Context, b *bench, dir string) (address string, stop func(), err error) {
	cmd := exec.CommandContext(ctx, b.quant, "serve", "--addr", "127.0.0.1:0")
	cmd.Dir = dir
	said, err := cmd.StderrPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if at := strings.Index(lines.Text(), "http://"); at >= 0 {
			go func() { _, _ = io.Copy(io.Discard, said) }()
			return strings.Fields(lines.Text()[at:])[0], stop, nil
		}
	}
	stop()
	return "", nil, fmt.Errorf("quant serve in %s says no address", dir)
}

func fetch(ctx context.Context, address string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", address, answer.Status)
	}
	return string(text), err
}
