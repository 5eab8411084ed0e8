package factstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/failpoint"
	"quant/internal/test/soak"
)

// The test binary is also the other process: with childEnv set it does one
// thing to the file named by its second word, and tells of it on stdout.
const childEnv = "QUANT_FACTSTORE_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		os.Exit(child(strings.SplitN(role, " ", 3)))
	}
	os.Exit(m.Run())
}

func child(args []string) int {
	ctx := context.Background()
	if args[0] == "merge-lake" {
		o := factstore.Options{TempDir: args[1], Wait: time.Minute, MemoryLimit: 256e6, Threads: 1}
		rest := strings.SplitN(args[2], " ", 3)
		o.Extensions, o.URL = rest[0], rest[1]
		n, err := strconv.Atoi(rest[2])
		if err == nil {
			err = mergeLake(ctx, o, n)
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	}
	o := options(args[1])
	o.Wait = 30 * time.Second
	die := func() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	switch args[0] {
	case "hold-write", "hold-read":
		open := factstore.OpenWrite
		if args[0] == "hold-read" {
			open = factstore.OpenRead
		}
		db, err := open(ctx, o)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		if db.Close() != nil {
			return 1
		}
	case "die-at":
		failpoint.Set(func(name string) {
			if name == args[2] {
				die()
			}
		})
		db, err := factstore.OpenWrite(ctx, o)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		_, err = writeBars(ctx, db, "child", "C", 1000)
		fmt.Println("survived", err)
	case "append":
		for i := 0; ; i++ { // until killed
			db, err := factstore.OpenWrite(ctx, o)
			if err != nil {
				fmt.Println(err)
				return 1
			}
			run := fmt.Sprintf("%s-%d", args[2], i)
			if _, err := writeBars(ctx, db, run, run, 3000); err != nil {
				fmt.Println(err)
				return 1
			}
			fmt.Println(run)
			if err := db.Close(); err != nil {
				fmt.Println(err)
				return 1
			}
		}
	case "full":
		signal.Ignore(syscall.SIGXFSZ)
		db, err := factstore.OpenWrite(ctx, o)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		info, err := os.Stat(args[1])
		if err != nil {
			return 1
		}
		limit := syscall.Rlimit{Cur: uint64(info.Size()) + 1<<20, Max: uint64(info.Size()) + 1<<20}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			return 1
		}
		for i := range 1000 {
			run := fmt.Sprint("full-", i)
			if _, err := writeBars(ctx, db, run, run, 200_000); err != nil {
				fmt.Println("failed", quant.CodeOf(err), db.State(), err)
				_ = db.Close()
				return 0
			}
			fmt.Println("committed", run)
		}
	case "examine":
		for _, open := range []func(context.Context, factstore.Options) (*factstore.DB, error){factstore.OpenRead, factstore.OpenWrite} {
			db, err := open(ctx, options(args[1]))
			if err != nil {
				fmt.Println("refused", quant.CodeOf(err), errors.Is(err, factstore.ErrDamaged), errors.Is(err, factstore.ErrNewer), err)
				continue
			}
			problems, err := db.Check(ctx)
			var digest string
			_ = db.QueryRow(ctx, "SELECT CAST(bit_xor(hash(t)) AS VARCHAR) FROM ohlcv t").Scan(&digest)
			fmt.Println("checked", len(problems), err, digest, problems)
			_ = db.Close()
		}
	}
	return 0
}

// spawn starts a child and returns it with its stdout and its stdin.
func spawn(t *testing.T, role ...string) (*exec.Cmd, *bufio.Reader, io.Closer) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(role, " "))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, bufio.NewReader(stdout), stdin
}

func holder(t *testing.T, role, path string) (*exec.Cmd, io.Closer) {
	t.Helper()
	cmd, out, in := spawn(t, role, path)
	if line, err := out.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	return cmd, in
}

// output runs a child to its end and returns what it said.
func output(t *testing.T, role ...string) (string, *os.ProcessState) {
	t.Helper()
	cmd, out, in := spawn(t, role...)
	_ = in.Close()
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	return string(text), cmd.ProcessState
}

func TestAHeldFileIsLockedAndNamesItsHolder(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	cmd, in := holder(t, "hold-write", path)
	pid := fmt.Sprintf("process %d", cmd.Process.Pid)
	for name, try := range map[string]func() error{
		"OpenRead":  func() error { _, err := factstore.OpenRead(t.Context(), options(path)); return err },
		"OpenWrite": func() error { _, err := factstore.OpenWrite(t.Context(), options(path)); return err },
		"CommittedRuns": func() error {
			_, err := factstore.CommittedRuns(t.Context(), options(path), []string{"r"})
			return err
		},
		"Move": func() error { return factstore.Move(t.Context(), options(path), path+".moved") },
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, try(), quant.Locked, path, pid) })
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	closeDB(t, openWrite(t, path))
}

func TestReadersShareAndShutWritersOut(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	closeDB(t, openWrite(t, path))
	holder(t, "hold-read", path)
	read, err := factstore.OpenRead(t.Context(), options(path))
	if err != nil {
		t.Fatal(err)
	}
	closeDB(t, read)
	_, err = factstore.OpenWrite(t.Context(), options(path))
	wantCode(t, err, quant.Locked)
}

func TestTheWaitEndsWhenTheHolderCloses(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	cmd, in := holder(t, "hold-write", path)
	o := options(path)
	o.Wait = time.Minute
	var once sync.Once
	var waits []factstore.Wait
	o.Waiting = func(w factstore.Wait) {
		waits = append(waits, w)
		once.Do(func() { _ = in.Close() })
	}
	db, err := factstore.OpenWrite(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	closeDB(t, db)
	if len(waits) == 0 || waits[0].PID != cmd.Process.Pid || waits[0].Path != path || waits[0].Program == "" || waits[0].Waited <= 0 {
		t.Errorf("waits %+v, want pid %d", waits, cmd.Process.Pid)
	}
}

func TestMoveWaitsForTheHolder(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"hold-write", "hold-read"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			closeDB(t, openWrite(t, path))
			_, in := holder(t, mode, path)
			moved := path + ".moved"
			o := options(path)
			wantCode(t, factstore.Move(t.Context(), o, moved), quant.Locked, path)
			o.Wait = time.Minute
			var once sync.Once
			o.Waiting = func(factstore.Wait) { once.Do(func() { _ = in.Close() }) }
			if err := factstore.Move(t.Context(), o, moved); err != nil {
				t.Fatal(err)
			}
			closeDB(t, openWrite(t, moved))
		})
	}
}

func TestTheWaitEndsAtItsLimitAndWithItsContext(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	holder(t, "hold-write", path)
	o := options(path)
	o.Wait = 300 * time.Millisecond
	_, err := factstore.OpenRead(t.Context(), o)
	wantCode(t, err, quant.Locked, "still after 300ms", "--wait")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("told to stop")
	o.Wait = time.Hour
	o.Waiting = func(factstore.Wait) { cancel(stop) }
	_, err = factstore.OpenWrite(ctx, o)
	if !errors.Is(err, stop) {
		t.Errorf("ended with %v", err)
	}
}

func TestProcessesThatStartTogetherMakeOneFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	var ends []func()
	for i := range 8 {
		cmd, out, in := spawn(t, "die-at", path, fmt.Sprint("never-", i))
		ends = append(ends, func() {
			_ = in.Close()
			text, _ := io.ReadAll(out)
			if err := cmd.Wait(); err != nil || string(text) != "survived <nil>\n" {
				t.Errorf("child: %q, %v", text, err)
			}
		})
	}
	for _, end := range ends {
		end()
	}
	db := openWrite(t, path)
	if n := number(t, db, "SELECT count(DISTINCT committed_at) FROM ledger"); n != 8 {
		t.Errorf("%d transactions", n)
	}
}

func TestAProcessKilledAtAnyStepLeavesFactsAndLedgerInAgreement(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at        string
		committed bool
	}{
		{"fact.schema.before", false}, {"fact.schema.after", false}, {"fact.create.before", false}, {"fact.create.after", false},
		{"fact.commit.before", false}, {"fact.commit.after", true},
	} {
		t.Run(c.at, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			text, state := output(t, "die-at", path, c.at)
			if status := state.Sys().(syscall.WaitStatus); !status.Signaled() || text != "" {
				t.Fatalf("the child was not killed: %v %q", state, text)
			}
			runs, err := factstore.CommittedRuns(t.Context(), options(path), []string{"child", "other"})
			if err != nil || runs["child"] != c.committed || runs["other"] {
				t.Fatalf("committed runs %v, %v", runs, err)
			}
			if strings.HasPrefix(c.at, "fact.commit") {
				// The WAL is not in the file yet; a reader sees it all the same.
				db, err := factstore.OpenRead(t.Context(), options(path))
				if err != nil {
					t.Fatal(err)
				}
				wantSound(t, db)
				closeDB(t, db)
			}
			db := openWrite(t, path)
			want := map[bool]int64{true: 1000, false: 0}[c.committed]
			if n := number(t, db, "SELECT count(*) FROM ohlcv"); n != want {
				t.Errorf("%d bars, want %d", n, want)
			}
			wantSound(t, db)
			closeDB(t, db)
			if _, err := os.Stat(path + ".new"); err == nil {
				t.Error("the half-made file is still there")
			}
		})
	}
}

func TestAProcessKilledAtAnyMomentLosesNoAcknowledgedRun(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	acknowledged := []string{}
	rng := soak.Random(t)
	for i := range soak.Count(t, 8, 200) {
		cmd, out, _ := spawn(t, "append", path, fmt.Sprint("r", i))
		// As many acknowledgements, then a moment within the next run.
		for range rng.IntN(3) {
			line, err := out.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			acknowledged = append(acknowledged, strings.TrimSpace(line))
		}
		timer := time.NewTimer(time.Duration(rng.IntN(150)) * time.Millisecond)
		<-timer.C
		_ = cmd.Process.Kill()
		rest, _ := io.ReadAll(out)
		acknowledged = append(acknowledged, strings.Fields(string(rest))...)
		_ = cmd.Wait()
		runs, err := factstore.CommittedRuns(t.Context(), options(path), acknowledged)
		if err != nil {
			t.Fatal(err)
		}
		for _, run := range acknowledged {
			if !runs[run] {
				t.Fatalf("round %d: %s was acknowledged and is not there", i, run)
			}
		}
	}
	db := openWrite(t, path)
	wantSound(t, db)
	if n := number(t, db, "SELECT count(*) FROM (SELECT symbol FROM ohlcv GROUP BY symbol HAVING count(*) <> 3000)"); n != 0 {
		t.Errorf("%d runs are there in part", n)
	}
	if n := number(t, db, "SELECT (SELECT count(*) FROM ohlcv) - (SELECT sum(rows_inserted) FROM ledger)"); n != 0 {
		t.Errorf("facts and ledger differ by %d rows", n)
	}
}

func TestAFullDiskFailsTheWriteAndKeepsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	db := openWrite(t, path)
	mustWriteBars(t, db, "before", "B", 1000)
	closeDB(t, db)
	text, state := output(t, "full", path)
	if state.ExitCode() != 0 || !strings.Contains(text, "failed store") {
		t.Fatalf("child: %v\n%s", state, text)
	}
	t.Log(text)
	again := openWrite(t, path)
	wantSound(t, again)
	committed := []string{"before"}
	for line := range strings.Lines(text) {
		if run, ok := strings.CutPrefix(strings.TrimSpace(line), "committed "); ok {
			committed = append(committed, run)
		}
	}
	for _, run := range committed {
		if rows, err := again.Ledger(t.Context(), run); err != nil || len(rows) != 1 {
			t.Errorf("%s: %v, %v", run, rows, err)
		}
	}
	if n := number(t, again, "SELECT count(*) FROM ledger"); n != int64(len(committed)) {
		t.Errorf("%d ledger rows, %d acknowledged", n, len(committed))
	}
}

func TestADamagedFileIsRefusedOrReportedNeverChangedAndNeverFatal(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	db := openWrite(t, path)
	mustWriteBars(t, db, "r", "A", 200_000)
	var digest string
	if err := db.QueryRow(t.Context(), "SELECT CAST(bit_xor(hash(t)) AS VARCHAR) FROM ohlcv t").Scan(&digest); err != nil {
		t.Fatal(err)
	}
	closeDB(t, db)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(at int) []byte {
		b := append([]byte(nil), whole...)
		b[at] ^= 0x10
		return b
	}
	cases := map[string][]byte{}
	for _, n := range []int{1, 7, 100, 4096, 12288, 20000, len(whole) / 2, len(whole) - 1} {
		cases[fmt.Sprintf("cut at %d", n)] = whole[:n]
	}
	for _, at := range []int{0, 8, 11, 12, 40, 4096, 4104, 8192, 8200, 12288, 12296, 20000, 262144 + 12288, len(whole) / 2, len(whole)*3/4 + 5} {
		cases[fmt.Sprintf("bit flipped at %d", at)] = flip(at)
	}
	cases["text"] = []byte(strings.Repeat("not a database\n", 5000))
	cases["zeros"] = make([]byte, 1<<20)
	for name, content := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "quant.duckdb")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			text, state := output(t, "examine", path)
			t.Logf("%v\n%s", state, text)
			if state.ExitCode() != 0 {
				t.Error("the process was ended by it")
			}
			for line := range strings.Lines(text) {
				// A flipped bit in a block that holds nothing harms nothing.
				harmless := strings.HasPrefix(line, "checked 0 <nil> "+digest)
				if !strings.HasPrefix(line, "refused store true false") && !strings.HasPrefix(line, "checked 1 <nil>") && !harmless {
					t.Errorf("%s", line)
				}
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(content) {
				t.Error("the file was changed")
			}
		})
	}
}
