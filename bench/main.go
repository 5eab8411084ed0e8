// Command bench measures what docs/benchmarks.md promises, each figure as a
// ratio of two things timed in turn in one run, and exits 1 when a bound is
// missed. It builds the program, works in a temporary folder, and needs no
// network.
//
//	go run ./bench                 every measurement
//	go run ./bench -only ingest    those whose name contains "ingest"
//	go run ./bench -write          also writes the table into docs/benchmarks.md
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A measurement times something against something else.
type measurement struct {
	name  string
	bound string // as the documents state it
	run   func(ctx context.Context, b *bench) ([]figure, error)
}

// A figure is one line of the result.
type figure struct {
	what  string
	value string
	met   bool
}

type bench struct {
	dir   string // temporary
	quant string // the built program
}

var measurements = []measurement{
	{"recorded command", "quant config, less its bare durable commits, at most 2.0 x quant version", recordedCommand},
	{"registry in process", "Start + Success at most 1.5 x the bare durable commits", registryInProcess},
	{"a million runs", "runs list and runs show last at most 1.5 x their cost with 1,000", millionRuns},
	{"log", "100,000 metrics through log --stdin at 100,000 a second or more, whole process", logFromStdin},
	{"search", "the search of the documents under 100 ms as a whole process with 1,000,000 runs, every other one under 100 ms in process, those apart that no index answers", searchRuns},
	{"ingest", "a first load at most 1.25 x DuckDB's own COPY; the same file again at most 1.25 x, 1 % changed at most 1.5 x the bare diff; peak memory under 1 GiB", ingestAgainstCopy},
	{"production chain", "features and labels at most 1.5 x the bare SQL; recommend and backtest under 10 s each; an unchanged pipeline under 1 s; peak memory under 4 GiB", chain},
	{"exec", "quant exec -- true at most 15 ms beyond quant version, true and its bare durable commits, outside a git work tree", recordedProgram},
	{"a declared key", "none: why ohlcv has no PRIMARY KEY", declaredKey},
}

func main() {
	only := flag.String("only", "", "run the measurements whose name contains this")
	write := flag.Bool("write", false, "write the table into docs/benchmarks.md")
	flag.Parse()
	if err := runAll(context.Background(), *only, *write); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func runAll(ctx context.Context, only string, write bool) error {
	dir, err := os.MkdirTemp("", "quant-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, quant: filepath.Join(dir, "quant")}
	build := exec.CommandContext(ctx, "go", "build", "-o", b.quant, "./cmd/quant")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build quant: %w", err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s, %s/%s, %d processors\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	fmt.Fprintf(&out, "| measured | figure | bound met |\n|---|---|---|\n")
	missed := 0
	for _, m := range measurements {
		if !strings.Contains(m.name, only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s ...\n", m.name)
		figures, err := m.run(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		fmt.Fprintf(&out, "| **%s**: %s | | |\n", m.name, m.bound)
		for _, f := range figures {
			met := "yes"
			if !f.met {
				met = "**no**"
				missed++
			}
			fmt.Fprintf(&out, "| %s | %s | %s |\n", f.what, f.value, met)
		}
	}
	fmt.Print(out.String())
	if write {
		if err := writeTable("docs/benchmarks.md", out.String()); err != nil {
			return err
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d bounds missed", missed)
	}
	return nil
}

const begin, end = "<!-- measured: begin -->\n", "<!-- measured: end -->"

// writeTable replaces what stands between the two marks of the document.
func writeTable(path, table string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok1 := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		return fmt.Errorf("%s has no marks for the table", path)
	}
	return os.WriteFile(path, []byte(before+begin+table+end+after), 0o644)
}

// note is a figure that has no bound.
func note(what, format string, args ...any) figure {
	return figure{what, fmt.Sprintf(format, args...), true}
}

// usage is what a whole process cost.
type usage struct {
	wall time.Duration
	peak int64 // bytes
}

// process runs one whole process to its end; its output is thrown away.
func process(ctx context.Context, dir, name string, args ...string) (usage, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	start := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(start)}
	if err != nil {
		return u, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	u.peak = peakOf(cmd.ProcessState)
	return u, nil
}

// peakOf is the peak memory of a process that has ended, in bytes.
func peakOf(state *os.ProcessState) int64 {
	peak := state.SysUsage().(*syscall.Rusage).Maxrss
	if runtime.GOOS == "linux" {
		peak <<= 10
	}
	return peak
}

// inTurn runs every function once a round, round after round, so that a
// machine whose speed drifts is unfair to none, and returns each one's times,
// sorted. The first round does not count.
func inTurn(rounds int, fns ...func() (time.Duration, error)) ([][]time.Duration, error) {
	times := make([][]time.Duration, len(fns))
	for round := range rounds + 1 {
		for i, fn := range fns {
			d, err := fn()
			if err != nil {
				return nil, err
			}
			if round > 0 {
				times[i] = append(times[i], d)
			}
		}
	}
	for _, t := range times {
		slices.Sort(t)
	}
	return times, nil
}

func median(sorted []time.Duration) time.Duration { return sorted[len(sorted)/2] }

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/1e6) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
