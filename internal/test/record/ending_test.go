package record

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

	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

func TestASignalEndsTheRunAsFailAndTheProcessWith128PlusItsNumber(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]syscall.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM, "SIGHUP": syscall.SIGHUP} {
		for _, step := range []string{"meta.config.before", "ingest.staged", "ingest.merged", "fact.commit.before", "fact.commit.after", "meta.finish.before"} {
			t.Run(name+" at "+step, func(t *testing.T) {
				t.Parallel()
				l := labtest.New(t)
				l.Write("a.csv", labtest.PriceFile(1, 20, "A"))
				p := l.Start([]string{"QUANT_TEST_FAILPOINT=" + step + ":stop"}, "ingest", "a.csv").Stopped()
				p.Signal(s)
				p.Signal(syscall.SIGCONT)
				r := p.Wait()
				run := l.LastRun()
				rows := "0\n"
				if _, err := os.Stat(l.Facts()); err == nil {
					rows = l.FactRows("SELECT count(*) FROM ohlcv")
				}
				switch {
				case r.Code == 0:
					// The work was past the point where it could still be ended.
					if step == "meta.config.before" || step == "ingest.staged" || run.Status != "SUCCESS" || rows != "20\n" {
						t.Fatalf("run %+v, %s rows: %v", run, rows, r)
					}
				default:
					l.WantCode(r, 128+int(s))
					l.WantFail(run, int64(128+int(s)), "ended by "+name)
					if facts := strings.HasSuffix(run.Error, "; facts committed"); facts != (rows == "20\n") || !facts && rows != "0\n" {
						t.Fatalf("there are %s rows, and the run says %q", rows, run.Error)
					}
				}
				l.WantClosed()
				l.WantTidy()
				l.Doctor()
			})
		}
	}
}

func TestAnIgnoredHangupDoesNotEndTheRun(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Write("a.csv", labtest.PriceFile(1, 20, "A"))
	quant := l.Command("ingest", "a.csv")
	sh := exec.Command("/bin/sh", append([]string{"-c", `trap "" HUP; exec "$@"`, "sh", quant.Path}, quant.Args[1:]...)...)
	sh.Dir, sh.Env = quant.Dir, append(quant.Env, "QUANT_TEST_FAILPOINT=ingest.staged:stop")
	p := l.StartCmd(sh).Stopped()
	p.Signal(syscall.SIGHUP)
	p.Signal(syscall.SIGCONT)
	l.WantCode(p.Wait(), 0)
	if run := l.LastRun(); run.Status != "SUCCESS" {
		t.Fatalf("nohup, and yet: %+v", run)
	}
}

// hanging starts an ingest whose command does not stop when it is told to.
func hanging(l *labtest.Lab) *labtest.Process {
	l.T.Helper()
	l.Write("a.csv", labtest.PriceFile(1, 20, "A"))
	reached := l.Path("reached")
	p := l.Start([]string{"QUANT_TEST_FAILPOINT=ingest.staged:hang", "QUANT_TEST_REACHED=" + reached}, "ingest", "a.csv")
	l.Eventually("it hangs", func() bool { _, err := os.Stat(reached); return err == nil })
	return p
}

func TestASecondSignalEndsACommandThatDoesNotStop(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	p := hanging(l)
	begun := time.Now()
	// One after the other: the first must have been taken before the second.
	p.Signal(syscall.SIGTERM)
	for i := 0; ; i++ {
		select {
		case <-p.Done:
		default:
			if i > 0 {
				_ = p.Process.Signal(syscall.SIGINT)
			}
			time.Sleep(20 * time.Millisecond) // paces the signals; nothing depends on it
			continue
		}
		break
	}
	r := p.Wait()
	l.WantCode(r, 128+int(syscall.SIGTERM))
	l.WantFail(l.LastRun(), int64(128+int(syscall.SIGTERM)), "ended by SIGTERM")
	if time.Since(begun) > 8*time.Second {
		t.Fatalf("the second signal did nothing: %v", r)
	}
	l.Doctor()
}

func TestACommandThatDoesNotStopIsEndedAfterAWhile(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	waits := 10 * time.Second
	if !soak.Full(t) { // else as long as it takes
		waits = 500 * time.Millisecond
		l.Env = append(l.Env, "QUANT_TEST_PATIENCE=signal="+waits.String())
	}
	p := hanging(l)
	begun := time.Now()
	p.Signal(syscall.SIGHUP)
	r := p.Wait()
	if took := time.Since(begun); took < waits {
		t.Errorf("it was ended after %s, and a command may take %s to stop", took, waits)
	}
	l.WantCode(r, 128+int(syscall.SIGHUP))
	l.WantFail(l.LastRun(), int64(128+int(syscall.SIGHUP)), "ended by SIGHUP")
	l.Doctor()
}

func TestAReaderThatGoesAwayEndsTheRunAsFailWith141(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	var symbols strings.Builder
	symbols.WriteString("symbol,name\n")
	for i := range 20000 {
		fmt.Fprintf(&symbols, "S%d,the name of the symbol number %d\n", i, i)
	}
	l.Write("symbols.csv", []byte(symbols.String()))
	l.Must("symbols", "import", "symbols.csv")
	l.Write("a.csv", labtest.PriceFile(1, 3000, "A", "B", "C", "D", "E", "F", "G", "H"))
	l.Must("ingest", "a.csv")
	for name, args := range map[string][]string{
		"table":    {"symbols", "list"},
		"json":     {"symbols", "list", "--output", "json"},
		"csv":      {"symbols", "list", "--output", "csv"},
		"sql":      {"sql", "FROM ohlcv", "--output", "csv"},
		"sql meta": {"sql", "--meta", "SELECT * FROM symbols"},
	} {
		t.Run(name, func(t *testing.T) {
			read, write, err := os.Pipe()
			labtest.Must(t, err)
			defer read.Close()
			cmd := l.Command(args...)
			cmd.Stdout = write
			p := l.StartCmd(cmd)
			write.Close()
			if _, err := bufio.NewReader(read).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			read.Close()
			r := p.Wait()
			l.WantCode(labtest.Result{Line: r.Line, Stderr: r.Stderr + " ", Code: r.Code}, 128+int(syscall.SIGPIPE))
			l.WantFail(l.LastRun(), int64(128+int(syscall.SIGPIPE)), "SIGPIPE", "closed by its reader")
			if strings.Contains(r.Stderr, "quant:") {
				t.Fatalf("it complains about head: %v", r)
			}
		})
	}
	l.Doctor()
}

func TestAReaderThatNeverReadsIsNoDifferentFromOneThatGoesAway(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("init-db")
	read, write, err := os.Pipe()
	labtest.Must(t, err)
	read.Close()
	cmd := l.Command("config")
	cmd.Stdout = write
	p := l.StartCmd(cmd)
	write.Close()
	if r := p.Wait(); r.Code != 141 {
		t.Fatal(r)
	}
	l.WantFail(l.LastRun(), 141, "closed by its reader")
}

func TestAStdoutThatTakesNothingFailsTheRun(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full:", err)
	}
	defer full.Close()
	l := labtest.New(t)
	l.Write("a.csv", labtest.PriceFile(1, 2000, "A", "B"))
	for _, args := range [][]string{{"init-db"}, {"config"}, {"symbols", "add", "X"}, {"ingest", "a.csv"}, {"sql", "FROM ohlcv"}, {"runs", "list"}, {"doctor"}} {
		cmd := l.Command(args...)
		cmd.Stdout = full
		r := l.StartCmd(cmd).Wait()
		l.WantCode(r, 1)
		l.WantFail(l.LastRun(), 1, "write to stdout", "no space left")
		if args[0] == "ingest" && !strings.Contains(l.LastRun().Error, "facts committed") {
			t.Fatalf("the prices are stored, and the run does not say so: %+v", l.LastRun())
		}
		if !strings.Contains(r.Stderr, "write to stdout") {
			t.Fatalf("not clear: %v", r)
		}
	}
	version := l.Command("version")
	version.Stdout = full
	l.WantCode(l.StartCmd(version).Wait(), 1)
	l.Doctor()
}

// A closed descriptor 1 must not become the number of a database file, into
// which results would then be printed.
func TestAClosedStdoutOrStderrHarmsNoDatabase(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Write("a.csv", labtest.PriceFile(1, 20, "A"))
	for _, closed := range []string{">&-", "2>&-", "<&-", "<&- >&- 2>&-"} {
		for _, args := range [][]string{{"init-db"}, {"symbols", "list"}, {"ingest", "a.csv"}, {"sql", "FROM ohlcv LIMIT 2"}} {
			quant := l.Command(args...)
			sh := exec.Command("/bin/sh", append([]string{"-c", `exec "$@" ` + closed, "sh", quant.Path}, quant.Args[1:]...)...)
			sh.Dir, sh.Env = quant.Dir, quant.Env
			if r := l.StartCmd(sh).Wait(); r.Code != 0 && r.Code != 1 {
				t.Fatalf("%s: %v", closed, r)
			}
		}
	}
	l.WantClosed()
	l.Doctor()
}

func TestAPanicIsRecordedWithItsStackAndShownWithout(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"meta.config.before", "meta.config.after", "fact.schema.before", "fact.create.after",
		"ingest.staged", "meta.symbols.before", "ingest.merged", "fact.commit.before", "fact.commit.after"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			l.Write("a.csv", labtest.PriceFile(1, 20, "A"))
			r := l.Start([]string{"QUANT_TEST_FAILPOINT=" + step + ":panic"}, "ingest", "a.csv").Wait()
			l.WantCode(r, 1)
			run := l.LastRun()
			l.WantFail(run, 1, "panic: failpoint "+step, "goroutine ", "quant/internal/")
			if !strings.Contains(r.Stderr, "panic: failpoint "+step) || strings.Contains(r.Stderr, ".go:") {
				t.Fatalf("a person wants the panic and not its stack: %v", r)
			}
			if committed := step == "fact.commit.after"; committed != strings.Contains(run.Error, "; facts committed") {
				t.Fatalf("committed: %v, and the run says %q", committed, run.Error)
			}
			l.Doctor()
			l.Must("ingest", "a.csv")
			if got := l.FactRows("SELECT count(*) FROM ohlcv"); got != "20\n" {
				t.Fatalf("%s rows after the panic", got)
			}
			l.Doctor()
		})
	}
	t.Run("with its stack at --log-level debug", func(t *testing.T) {
		t.Parallel()
		l := labtest.New(t)
		r := l.Start([]string{"QUANT_TEST_FAILPOINT=meta.config.after:panic"}, "config", "--log-level", "debug").Wait()
		if r.Code != 1 || !strings.Contains(r.Stderr, "goroutine ") {
			t.Fatal(r)
		}
	})
}

func TestSignalsDuringAQueryEndItAndItsChild(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Write("a.csv", labtest.PriceFile(1, 3000, "A"))
	l.Must("ingest", "a.csv")
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		read, write, err := os.Pipe()
		labtest.Must(t, err)
		cmd := l.Command("sql", "--output", "csv", "SELECT a.symbol, b.ts, c.close FROM ohlcv a, ohlcv b, ohlcv c")
		cmd.Stdout = write
		p := l.StartCmd(cmd)
		write.Close()
		_, err = io.ReadFull(read, make([]byte, 1000)) // it runs, and now waits for us to read more
		labtest.Must(t, err)
		p.Signal(s)
		go func() { _, _ = io.Copy(io.Discard, read) }()
		l.WantCode(p.Wait(), 128+int(s))
		l.WantFail(l.LastRun(), int64(128+int(s)), "ended by SIG")
		read.Close()
	}
	// Whoever writes now finds the file free: no child has kept it.
	l.Must("ingest", "a.csv", "--wait", "5s")
}
