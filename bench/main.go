// Command bench measures what docs/benchmarks.md promises, each figure as a
// ratio of two things timed in turn in one run, and exits 1 when a bound is
// missed. It builds the program, works in a temporary folder, and needs no
// network.
//
//	go run ./bench                 every measurement
//	go run ./bench -only ingest    those whose name contains "ingest"
//	go run ./bench -write          also writes the table into docs/benchmarks.md
//	go run ./bench -guard          instead, whether the chain became slower (guard.go)
//	go run ./bench -bars           instead, the chain over a long market, with -size 10000 100 million bars (bars.go)
//	go run ./bench -peers          instead, quant beside Polars, NumPy and others (peers.go), which come from PyPI
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
	// mlflow is an interpreter that has MLflow, whose server is measured too; "": it is
	// not.
	mlflow string
}

// options are the flags.
type options struct {
	only       string
	write      bool
	quant      string // the program to measure, "" to build it
	peers      bool
	guard      bool
	bars       bool
	everything bool
	mlflow     string
	peerOptions
	barsOptions
}

var measurements = []measurement{
	{"recorded command", "quant config, less its bare durable commits, at most 2.0 x quant version", recordedCommand},
	{"registry in process", "Start + Success at most 1.5 x the bare durable commits", registryInProcess},
	{"a million runs", "runs list and runs show last at most 1.5 x their cost with 1,000", millionRuns},
	{"log", "100,000 metrics through log --stdin at 100,000 a second or more, whole process", logFromStdin},
	{"search", "the search of the documents under 100 ms as a whole process with 1,000,000 runs, every other one under 100 ms in process, those apart that no index answers", searchRuns},
	{"pages", "a page of 100 runs among 1,000,000 under 30 ms", pagesOfRuns},
	{"doctor", "a lab of 1,000,000 runs under 20 s and 256 MiB, at most linear", doctorOfManyRuns},
	{"ingest", "a first load at most 1.25 x DuckDB's own COPY; the same file again at most 1.25 x, 1 % changed at most 1.5 x the bare diff; peak memory under 1 GiB", ingestAgainstCopy},
	{"production chain", "features and labels at most 1.5 x the bare SQL; recommend and backtest under 10 s each; an unchanged pipeline under 1 s; peak memory under 4 GiB", chain},
	{"exec", "quant exec -- true at most 15 ms beyond quant version, true and its bare durable commits, outside a git work tree", recordedProgram},
	{"server: requests", "first answer at most 3 x quant version, log_metric at most 1.5 x and log_batch at most 2 x a bare handler with the same durable commit, under 64 MiB", serveRequests},
	{"server: a million runs", "a page of 100 under 30 ms, under 64 MiB", servePages},
	{"server: a crowd", "200 clients for a minute beside a pipeline: no error, no lost point, the 99th answer of a hundred under 250 ms", serveCrowd},
	{"PostgreSQL: recorded command", "quant config on a server over a local socket at most 1.5 x a process that connects and makes the same commits; the embedded lab beside it", commandOnServer},
	{"a declared key", "none: why ohlcv has no PRIMARY KEY", declaredKey},
}

func main() {
	if len(os.Args) > 2 {
		var part func() error
		switch os.Args[1] {
		case launchPart:
			part = func() error { return launch(os.Args[2], os.Args[3:]) }
		case barePart:
			part = func() error { return bareServer(os.Args[2], os.Args[3]) }
		case serverCommitsPart:
			part = func() error { return serverCommits(os.Args[2], os.Args[3:]) }
		case sqlPart:
			part = func() error {
				_, err := bareSQL(context.Background(), os.Args[2], os.Args[3:])
				return err
			}
		}
		if part != nil {
			if err := part(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	var o options
	flag.StringVar(&o.only, "only", "", "run the measurements whose name contains this")
	flag.BoolVar(&o.write, "write", false, "write the table into docs/benchmarks.md")
	flag.StringVar(&o.quant, "quant", "", "measure this program (default: build it from ./cmd/quant)")
	flag.BoolVar(&o.peers, "peers", false, "compare with peer programs in Python instead")
	flag.BoolVar(&o.guard, "guard", false, "compare a small market with the ratios of bench/guard.json instead, or with -write write them")
	flag.BoolVar(&o.everything, "everything", false, "with -guard: fail, rather than leave out what needs NumPy, where it is missing")
	flag.StringVar(&o.mlflow, "mlflow", "", "an interpreter that has the package mlflow: its server is measured beside quant's")
	flag.BoolVar(&o.bars, "bars", false, "measure the chain over a long market instead")
	flag.IntVar(&o.years, "years", 40, "with -bars: years of the market, from 1990 on")
	flag.BoolVar(&o.byYear, "by-year", false, "with -bars: a file a year in place of one for each 250 symbols")
	flag.StringVar(&o.lake, "lake", "", "with -bars: on a lake, with DuckDB's extensions from this folder")
	flag.IntVar(&o.size, "size", 1000, "with -peers and -bars: symbols of the market")
	flag.IntVar(&o.rounds, "rounds", 3, "with -peers: how often everything is timed, in turn")
	flag.StringVar(&o.keep, "keep", "", "with -peers and -bars: make the market and its labs in this folder, and use what is there (default: a temporary one)")
	flag.BoolVar(&o.prepare, "prepare", false, "with -peers and -bars: only make what the measurements need, in -keep")
	flag.StringVar(&o.python, "python", "", "with -peers: an interpreter that has the packages of bench/peers/requirements.txt (default: a new venv from PyPI)")
	flag.Parse()
	if err := runAll(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func runAll(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "quant-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, quant: o.quant, mlflow: o.mlflow}
	if b.quant == "" {
		b.quant = filepath.Join(dir, "quant")
		build := exec.CommandContext(ctx, "go", "build", "-o", b.quant, "./cmd/quant")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build quant: %w", err)
		}
	} else if b.quant, err = filepath.Abs(b.quant); err != nil {
		return err
	}
	if o.guard {
		return b.guard(ctx, o)
	}
	list, part := measurements, ""
	if o.bars {
		list = []measurement{{"bars", "the chain over a long market, each command within 4 GiB", func(ctx context.Context, b *bench) ([]figure, error) { return b.longChain(ctx, o) }}}
		o.only, o.write = "", false
	}
	if o.peers {
		part = "peers "
		if list, err = b.peerMeasurements(ctx, o.peerOptions); err != nil {
			return err
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s, %s/%s, %d processors\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	fmt.Fprintf(&out, "| measured | figure | bound met |\n|---|---|---|\n")
	missed := 0
	for _, m := range list {
		if !strings.Contains(m.name, o.only) {
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
	if o.write {
		if err := writeTable("docs/benchmarks.md", part, out.String()); err != nil {
			return err
		}
	}
	if missed > 0 {
		return fmt.Errorf("%d bounds missed", missed)
	}
	return nil
}

// writeTable replaces what stands between the two marks of the part in the
// document.
func writeTable(path, part, table string) error {
	begin, end := "<!-- "+part+"measured: begin -->\n", "<!-- "+part+"measured: end -->"
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
	work time.Duration // of the processors
	peak int64         // bytes
}

// The first arguments with which this program is a part of itself in a process of
// its own: launch NAME ARGUMENT... runs a command and tells what it cost, sql FILE
// STATEMENT... runs statements on a DuckDB file.
const (
	launchPart = "launch"
	sqlPart    = "sql"
)

// process runs one whole process to its end; its output is thrown away. A small
// process launches it: the peak that the kernel tells of a process is never below
// the memory of the one that launched it, and this one has held databases.
func process(ctx context.Context, dir, name string, args ...string) (usage, error) {
	self, err := os.Executable()
	if err != nil {
		return usage{}, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{launchPart, name}, args...)...)
	cmd.Dir = dir
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return usage{}, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	var u usage
	_, err = fmt.Sscan(stdout.String(), &u.wall, &u.work, &u.peak)
	return u, err
}

// sqlProcess runs statements on a DuckDB file as a process of their own.
func (b *bench) sqlProcess(ctx context.Context, path string, statements []string) (usage, error) {
	self, err := os.Executable()
	if err != nil {
		return usage{}, err
	}
	return process(ctx, b.dir, self, append([]string{sqlPart, path}, statements...)...)
}

// launch runs a command and writes its usage: nanoseconds of the wall clock and of
// the processors, and bytes.
func launch(name string, args []string) error {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return err
	}
	wall := time.Since(start)
	_, err := fmt.Println(int64(wall), int64(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()), peakOf(cmd.ProcessState))
	return err
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
