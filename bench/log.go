package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// loggedMetrics is how many points one `quant log --stdin` is given.
const loggedMetrics = 100_000

// logFromStdin times `quant log --stdin` as whole processes.
func logFromStdin(ctx context.Context, b *bench) ([]figure, error) {
	dir := filepath.Join(b.dir, "log")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if _, err := process(ctx, dir, b.quant, "config"); err != nil {
		return nil, err
	}
	files := map[string]func(f *bufio.Writer, i int){
		"one.jsonl": func(f *bufio.Writer, i int) {
			_, _ = fmt.Fprintf(f, `{"metric":"loss","value":%v,"step":%d,"time":"2026-01-15T09:30:00.%06dZ"}`+"\n", 1/float64(i+1), i, i)
		},
		"many.jsonl": func(f *bufio.Writer, i int) {
			if i%4 == 0 {
				_, _ = fmt.Fprintf(f, `{"metrics":{"loss":%v,"acc":%v,"lr":0.001,"grad_norm":%v},"step":%d}`+"\n", 1/float64(i+1), 1-1/float64(i+1), float64(i%97)/97, i/4)
			}
		},
	}
	for name, line := range files {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		w := bufio.NewWriter(f)
		for i := range loggedMetrics {
			line(w, i)
		}
		if err := w.Flush(); err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	var peak int64
	var busy time.Duration
	logged := func(file string) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			// A run of its own each time: no round finds the points of another.
			if _, err := process(ctx, dir, b.quant, "config"); err != nil {
				return 0, err
			}
			in, err := os.Open(filepath.Join(dir, file))
			if err != nil {
				return 0, err
			}
			defer in.Close()
			cmd := exec.CommandContext(ctx, b.quant, "log", "--stdin", "--run", "last:config", "--output", "csv")
			cmd.Dir, cmd.Stdin = dir, in
			var out strings.Builder
			cmd.Stdout = &out
			start := time.Now()
			if err := cmd.Run(); err != nil {
				return 0, fmt.Errorf("quant log --stdin: %w", err)
			}
			took := time.Since(start)
			if !strings.Contains(out.String(), fmt.Sprintf(",%d,", loggedMetrics)) {
				return 0, fmt.Errorf("not all is stored: %s", out.String())
			}
			peak, busy = max(peak, peakOf(cmd.ProcessState)), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
			return took, nil
		}
	}
	times, err := inTurn(9, logged("one.jsonl"), logged("many.jsonl"), func() (time.Duration, error) {
		u, err := process(ctx, dir, b.quant, "log", "metric", "--run", "last:config", "loss=0.5")
		return u.wall, err
	})
	if err != nil {
		return nil, err
	}
	rate := func(d time.Duration) float64 { return loggedMetrics / d.Seconds() }
	one, many := rate(median(times[0])), rate(median(times[1]))
	return []figure{
		{fmt.Sprintf("%d metrics through `quant log --stdin`, a line each with step and time, whole process, median of 9", loggedMetrics), fmt.Sprintf("%.0f a second", one), one >= 100_000},
		{"the same number, four a line", fmt.Sprintf("%.0f a second", many), many >= 100_000},
		note("processor time of the last of these", "%s", ms(busy)),
		note("peak memory", "%d MiB", peak>>20),
		note("`quant log metric loss=0.5`, whole process", "%s", ms(median(times[2]))),
	}, nil
}
