package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestASignalEndsTheRunAsFailAndTheProcessWith128PlusItsNumber(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]syscall.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM, "SIGHUP": syscall.SIGHUP} {
		for _, step := range []string{"meta.config.before", "ingest.staged", "ingest.merged", "fact.commit.before", "fact.commit.after", "meta.finish.before"} {
			t.Run(name+" at "+step, func(t *testing.T) {
				t.Parallel()
				l := newLab(t)
				l.write("a.csv", priceFile(1, 20, "A"))
				p := l.start([]string{"QUANT_TEST_FAILPOINT=" + step + ":stop"}, "ingest", "a.csv").stopped()
				p.signal(s)
				p.signal(syscall.SIGCONT)
				r := p.wait()
				run := l.lastRun()
				rows := "0\n"
				if _, err := os.Stat(l.facts()); err == nil {
					rows = l.factRows("SELECT count(*) FROM ohlcv")
				}
				switch {
				case r.code == 0:
					// The work was past the point where it could still be ended.
					if step == "meta.config.before" || step == "ingest.staged" || run.Status != "SUCCESS" || rows != "20\n" {
						t.Fatalf("run %+v, %s rows: %v", run, rows, r)
					}
				default:
					l.wantCode(r, 128+int(s))
					l.wantFail(run, int64(128+int(s)), "ended by "+name)
					if facts := strings.HasSuffix(run.Error, "; facts committed"); facts != (rows == "20\n") || !facts && rows != "0\n" {
						t.Fatalf("there are %s rows, and the run says %q", rows, run.Error)
					}
				}
				l.wantClosed()
				l.wantTidy()
				l.doctor()
			})
		}
	}
}

func TestAnIgnoredHangupDoesNotEndTheRun(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write("a.csv", priceFile(1, 20, "A"))
	quant := l.command("ingest", "a.csv")
	sh := exec.Command("/bin/sh", append([]string{"-c", `trap "" HUP; exec "$@"`, "sh", quant.Path}, quant.Args[1:]...)...)
	sh.Dir, sh.Env = quant.Dir, append(quant.Env, "QUANT_TEST_FAILPOINT=ingest.staged:stop")
	p := l.startCmd(sh).stopped()
	p.signal(syscall.SIGHUP)
	p.signal(syscall.SIGCONT)
	l.wantCode(p.wait(), 0)
	if run := l.lastRun(); run.Status != "SUCCESS" {
		t.Fatalf("nohup, and yet: %+v", run)
	}
}

// hanging starts an ingest whose command does not stop when it is told to.
func hanging(l *lab) *process {
	l.t.Helper()
	l.write("a.csv", priceFile(1, 20, "A"))
	reached := l.path("reached")
	p := l.start([]string{"QUANT_TEST_FAILPOINT=ingest.staged:hang", "QUANT_TEST_REACHED=" + reached}, "ingest", "a.csv")
	l.eventually("it hangs", func() bool { _, err := os.Stat(reached); return err == nil })
	return p
}

func TestASecondSignalEndsACommandThatDoesNotStop(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	p := hanging(l)
	begun := time.Now()
	// One after the other: the first must have been taken before the second.
	p.signal(syscall.SIGTERM)
	for i := 0; ; i++ {
		select {
		case <-p.done:
		default:
			if i > 0 {
				_ = p.Process.Signal(syscall.SIGINT)
			}
			time.Sleep(20 * time.Millisecond) // paces the signals; nothing depends on it
			continue
		}
		break
	}
	r := p.wait()
	l.wantCode(r, 128+int(syscall.SIGTERM))
	l.wantFail(l.lastRun(), int64(128+int(syscall.SIGTERM)), "ended by SIGTERM")
	if time.Since(begun) > 8*time.Second {
		t.Fatalf("the second signal did nothing: %v", r)
	}
	l.doctor()
}

func TestACommandThatDoesNotStopIsEndedAfterAWhile(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	p := hanging(l)
	p.signal(syscall.SIGHUP)
	r := p.wait()
	l.wantCode(r, 128+int(syscall.SIGHUP))
	l.wantFail(l.lastRun(), int64(128+int(syscall.SIGHUP)), "ended by SIGHUP")
	l.doctor()
}

func TestAReaderThatGoesAwayEndsTheRunAsFailWith141(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var symbols strings.Builder
	symbols.WriteString("symbol,name\n")
	for i := range 20000 {
		fmt.Fprintf(&symbols, "S%d,the name of the symbol number %d\n", i, i)
	}
	l.write("symbols.csv", []byte(symbols.String()))
	l.must("symbols", "import", "symbols.csv")
	l.write("a.csv", priceFile(1, 3000, "A", "B", "C", "D", "E", "F", "G", "H"))
	l.must("ingest", "a.csv")
	for name, args := range map[string][]string{
		"table":    {"symbols", "list"},
		"json":     {"symbols", "list", "--output", "json"},
		"csv":      {"symbols", "list", "--output", "csv"},
		"sql":      {"sql", "FROM ohlcv", "--output", "csv"},
		"sql meta": {"sql", "--meta", "SELECT * FROM symbols"},
	} {
		t.Run(name, func(t *testing.T) {
			read, write, err := os.Pipe()
			must(t, err)
			defer read.Close()
			cmd := l.command(args...)
			cmd.Stdout = write
			p := l.startCmd(cmd)
			write.Close()
			if _, err := bufio.NewReader(read).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			read.Close()
			r := p.wait()
			l.wantCode(result{line: r.line, stderr: r.stderr + " ", code: r.code}, 128+int(syscall.SIGPIPE))
			l.wantFail(l.lastRun(), int64(128+int(syscall.SIGPIPE)), "SIGPIPE", "closed by its reader")
			if strings.Contains(r.stderr, "quant:") {
				t.Fatalf("it complains about head: %v", r)
			}
		})
	}
	l.doctor()
}

func TestAReaderThatNeverReadsIsNoDifferentFromOneThatGoesAway(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.must("init-db")
	read, write, err := os.Pipe()
	must(t, err)
	read.Close()
	cmd := l.command("config")
	cmd.Stdout = write
	p := l.startCmd(cmd)
	write.Close()
	if r := p.wait(); r.code != 141 {
		t.Fatal(r)
	}
	l.wantFail(l.lastRun(), 141, "closed by its reader")
}

func TestAStdoutThatTakesNothingFailsTheRun(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full:", err)
	}
	defer full.Close()
	l := newLab(t)
	l.write("a.csv", priceFile(1, 2000, "A", "B"))
	for _, args := range [][]string{{"init-db"}, {"config"}, {"symbols", "add", "X"}, {"ingest", "a.csv"}, {"sql", "FROM ohlcv"}, {"runs", "list"}, {"doctor"}} {
		cmd := l.command(args...)
		cmd.Stdout = full
		r := l.startCmd(cmd).wait()
		l.wantCode(r, 1)
		l.wantFail(l.lastRun(), 1, "write to stdout", "no space left")
		if args[0] == "ingest" && !strings.Contains(l.lastRun().Error, "facts committed") {
			t.Fatalf("the prices are stored, and the run does not say so: %+v", l.lastRun())
		}
		if !strings.Contains(r.stderr, "write to stdout") {
			t.Fatalf("not clear: %v", r)
		}
	}
	version := l.command("version")
	version.Stdout = full
	l.wantCode(l.startCmd(version).wait(), 1)
	l.doctor()
}

// A closed descriptor 1 must not become the number of a database file, into
// which results would then be printed.
func TestAClosedStdoutOrStderrHarmsNoDatabase(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write("a.csv", priceFile(1, 20, "A"))
	for _, closed := range []string{">&-", "2>&-", "<&-", "<&- >&- 2>&-"} {
		for _, args := range [][]string{{"init-db"}, {"symbols", "list"}, {"ingest", "a.csv"}, {"sql", "FROM ohlcv LIMIT 2"}} {
			quant := l.command(args...)
			sh := exec.Command("/bin/sh", append([]string{"-c", `exec "$@" ` + closed, "sh", quant.Path}, quant.Args[1:]...)...)
			sh.Dir, sh.Env = quant.Dir, quant.Env
			if r := l.startCmd(sh).wait(); r.code != 0 && r.code != 1 {
				t.Fatalf("%s: %v", closed, r)
			}
		}
	}
	l.wantClosed()
	l.doctor()
}

func TestAPanicIsRecordedWithItsStackAndShownWithout(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"meta.config.before", "meta.config.after", "fact.schema.before", "fact.create.after",
		"ingest.staged", "meta.symbols.before", "ingest.merged", "fact.commit.before", "fact.commit.after"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.write("a.csv", priceFile(1, 20, "A"))
			r := l.start([]string{"QUANT_TEST_FAILPOINT=" + step + ":panic"}, "ingest", "a.csv").wait()
			l.wantCode(r, 1)
			run := l.lastRun()
			l.wantFail(run, 1, "panic: failpoint "+step, "goroutine ", "quant/internal/")
			if !strings.Contains(r.stderr, "panic: failpoint "+step) || strings.Contains(r.stderr, ".go:") {
				t.Fatalf("a person wants the panic and not its stack: %v", r)
			}
			if committed := step == "fact.commit.after"; committed != strings.Contains(run.Error, "; facts committed") {
				t.Fatalf("committed: %v, and the run says %q", committed, run.Error)
			}
			l.doctor()
			l.must("ingest", "a.csv")
			if got := l.factRows("SELECT count(*) FROM ohlcv"); got != "20\n" {
				t.Fatalf("%s rows after the panic", got)
			}
			l.doctor()
		})
	}
	t.Run("with its stack at --log-level debug", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		r := l.start([]string{"QUANT_TEST_FAILPOINT=meta.config.after:panic"}, "config", "--log-level", "debug").wait()
		if r.code != 1 || !strings.Contains(r.stderr, "goroutine ") {
			t.Fatal(r)
		}
	})
}

func TestSignalsDuringAQueryEndItAndItsChild(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write("a.csv", priceFile(1, 3000, "A"))
	l.must("ingest", "a.csv")
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		read, write, err := os.Pipe()
		must(t, err)
		cmd := l.command("sql", "--output", "csv", "SELECT a.symbol, b.ts, c.close FROM ohlcv a, ohlcv b, ohlcv c")
		cmd.Stdout = write
		p := l.startCmd(cmd)
		write.Close()
		_, err = io.ReadFull(read, make([]byte, 1000)) // it runs, and now waits for us to read more
		must(t, err)
		p.signal(s)
		go func() { _, _ = io.Copy(io.Discard, read) }()
		l.wantCode(p.wait(), 128+int(s))
		l.wantFail(l.lastRun(), int64(128+int(s)), "ended by SIG")
		read.Close()
	}
	// Whoever writes now finds the file free: no child has kept it.
	l.must("ingest", "a.csv", "--wait", "5s")
}
