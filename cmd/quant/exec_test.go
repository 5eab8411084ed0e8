package main

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// program is the row of run_programs.
type programRow struct {
	Path, Start, Env                            string
	PID, Signal, User, System, Peak, Bytes, Cut sql.NullInt64
}

func (l *lab) programOf(run string) programRow {
	l.t.Helper()
	db := l.openMeta("&mode=ro")
	defer db.Close()
	var p programRow
	err := db.QueryRow(`SELECT coalesce(path, ''), coalesce(child_start, ''), coalesce(environment_json, ''), child_pid, signal, user_us, system_us, max_rss_bytes, output_bytes, output_cut_bytes
		FROM run_programs WHERE run_id = ?`, run).Scan(&p.Path, &p.Start, &p.Env, &p.PID, &p.Signal, &p.User, &p.System, &p.Peak, &p.Bytes, &p.Cut)
	must(l.t, err)
	return p
}

// logOf is what `runs logs` shows of a run.
func (l *lab) logOf(run string) string {
	l.t.Helper()
	return l.must("runs", "logs", run).stdout
}

func TestExecEndsAsItsProgramAndSaysNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, c := range []struct {
		script, stdout, stderr, recorded string
		code                             int
	}{
		{"exit 0", "", "", "", 0},
		{"echo out; echo err >&2; exit 3", "out\n", "err\n", "exit status 3", 3},
		{"printf 'no end'", "no end", "", "", 0},
		{"printf '\\000\\377\\033[31m\\r\\n'", "\x00\xff\x1b[31m\r\n", "", "", 0},
		{"exit 125", "", "", "exit status 125", 125},
		{"exit 255", "", "", "exit status 255", 255},
		{"kill -9 $$", "", "", "killed by SIGKILL", 137},
		{"kill -TERM $$", "", "", "killed by SIGTERM", 143},
	} {
		r := l.run("exec", "--", "sh", "-c", c.script)
		if r.code != c.code || r.stdout != c.stdout || r.stderr != c.stderr {
			t.Fatalf("%q: want %q, %q and %d: %v", c.script, c.stdout, c.stderr, c.code, r)
		}
		run := l.lastRun()
		if run.Kind != "exec" || run.Exit.Int64 != int64(c.code) || run.Error != c.recorded || (run.Status == "SUCCESS") != (c.code == 0) {
			t.Fatalf("%q: recorded as %+v", c.script, run)
		}
		p := l.programOf(run.ID)
		if !strings.HasSuffix(p.Path, "/sh") || !p.PID.Valid || !p.User.Valid || p.Bytes.Int64 != int64(len(c.stdout)+len(c.stderr)) || p.Cut.Int64 != 0 {
			t.Fatalf("%q: %+v", c.script, p)
		}
		if got := l.logOf(run.ID); len(got) != len(c.stdout+c.stderr) {
			t.Fatalf("%q: the log is %q", c.script, got)
		}
	}
	l.wantClosed()
	l.doctor()
}

func TestExecsOwnFailuresAreApartFromThoseOfPrograms(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write("plain", []byte("text"))
	l.write("nointerpreter", []byte("#!/no/such\n"))
	must(t, os.Chmod(l.path("nointerpreter"), 0o755))
	for _, c := range []struct {
		args  []string
		code  int
		texts []string
	}{
		{[]string{"exec", "no-such-program"}, 125, []string{"needs --", "quant exec [flags] -- PROGRAM"}},
		{[]string{"exec", "ls", "-l"}, 125, []string{"behind --"}},
		{[]string{"exec", "a", "--", "b"}, 125, []string{"before --"}},
		{[]string{"exec", "--"}, 125, []string{"needs a program"}},
		{[]string{"exec", "--experiment", "none", "--", "touch", "ran"}, 125, []string{"no experiment", "quant experiments create"}},
		{[]string{"exec", "--tag", "x", "--", "touch", "ran"}, 125, []string{"K=V"}},
		{[]string{"exec", "--param", "=x", "--", "touch", "ran"}, 125, []string{"name is empty"}},
		{[]string{"exec", "--log-max", "5 potatoes", "--", "touch", "ran"}, 125, []string{"no size"}},
		{[]string{"exec", "--param", "a=1", "--param", "a=2", "--", "touch", "ran"}, 125, []string{"written once"}},
		{[]string{"exec", "--", "no-such-program"}, 127, []string{"there is no program"}},
		{[]string{"exec", "--", "./no/such"}, 127, []string{"there is no program"}},
		{[]string{"exec", "--", "./plain"}, 126, []string{"cannot be executed", "chmod +x"}},
		{[]string{"exec", "--", "./nointerpreter"}, 126, []string{"cannot be executed", "interpreter"}},
		{[]string{"exec", "--", l.dir}, 126, []string{"cannot be executed"}},
	} {
		r := l.want(c.code, c.args...)
		for _, text := range c.texts {
			if !strings.Contains(r.stderr, text) {
				t.Errorf("%q is missing: %v", text, r)
			}
		}
		l.wantFail(l.lastRun(), int64(c.code))
	}
	if _, err := os.Stat(l.path("ran")); err == nil {
		t.Error("a program ran although its run could not be described")
	}
	l.write("broken/meta.db", []byte("this is no database at all, and long enough to be looked at by anybody who wants to"))
	r := l.run("exec", "--sqlite", "broken/meta.db", "--", "touch", "ran")
	l.wantCode(r, 125)
	if _, err := os.Stat(l.path("ran")); err == nil {
		t.Error("a program ran unrecorded")
	}
}

func TestTheRecordOfAProgramIsThereBeforeItStarts(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.must("init-db")
	script := `quant sql --meta -q --output csv "SELECT status, (SELECT value FROM run_tags t WHERE t.run_id = r.run_id AND name = 'name'), (SELECT value FROM run_params p WHERE p.run_id = r.run_id) FROM runs r WHERE kind = 'exec'" | tail -1`
	r := l.must("exec", "--name", "first", "--tag", "team=alpha", "--param", "lr=0.1", "--", "sh", "-c", script)
	if r.stdout != "RUNNING,first,0.1\n" {
		t.Fatal(r)
	}
	run := l.runOf("exec")
	if child := l.metaRows("SELECT parent_run_id FROM run_process JOIN runs USING (run_id) WHERE kind = 'sql'"); child != run.ID+"\n" {
		t.Fatalf("its quant is the child of %q, not of %s", child, run.ID)
	}
	if out := l.must("runs", "show", "@first").stdout; !strings.Contains(out, run.ID) {
		t.Fatal(out)
	}
	if !strings.Contains(l.must("runs", "list").stdout, "exec") {
		t.Fatal("runs list leaves it out")
	}
}

func TestAProgramSeesTheLabAndNothingOfDotenv(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.write(".env", []byte("ALPHA_VANTAGE_API_KEY=canary-of-dotenv\nQUANT_CALENDAR=XKRX\nQUANT_DATA_DIR=elsewhere\nOTHER=canary-other\n"))
	r := l.must("exec", "--", "env")
	seen := map[string]string{}
	for line := range strings.Lines(r.stdout) {
		k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if _, twice := seen[k]; twice {
			t.Errorf("%s is there twice", k)
		}
		seen[k] = v
	}
	runs := runsIn(t, l.path("elsewhere", "meta.db"))
	real, err := filepath.EvalSymlinks(l.dir)
	must(t, err)
	for name, want := range map[string]string{"QUANT_RUN_ID": runs[len(runs)-1].ID, "QUANT_DATA_DIR": filepath.Join(real, "elsewhere"),
		"QUANT_SQLITE_PATH": filepath.Join(real, "elsewhere/meta.db"), "QUANT_DUCKDB_PATH": filepath.Join(real, "elsewhere/quant.duckdb")} {
		if seen[name] != want {
			t.Errorf("%s is %q, want %q", name, seen[name], want)
		}
	}
	if strings.Contains(r.stdout, "canary") || seen["QUANT_CALENDAR"] != "" {
		t.Errorf(".env has leaked: %v", r)
	}
}

func TestSecretsOfAProgramAreMaskedInEveryStoredCopyAndNotForIt(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.env = append(l.env, "MY_API_KEY=canary-from-env", "PYTHONCANARY_TOKEN=canary-of-python")
	l.write("script", []byte(`echo "$@"; printf 'canary-fr'; sleep 0.2; printf 'om-env\n'; printf 'password='; sleep 0.1; echo canary-printed; echo https://user:canary-url@host/; printf 'canary-from-env without end'`))
	r := l.must("exec", "--param", "token=canary-param", "--tag", "api_key=canary-tag", "--", "sh", "script", "--token", "canary-argv", "password=canary-pair")
	for _, c := range []string{"canary-argv", "canary-pair", "canary-from-env\n", "canary-printed", "canary-url"} {
		if !strings.Contains(r.stdout, c) {
			t.Fatalf("the program's own output lacks %s: %v", c, r)
		}
	}
	log := l.logOf(l.runOf("exec").ID)
	if !strings.Contains(log, "password=***") || strings.Count(log, "\n") < 4 {
		t.Fatalf("the log is %q", log)
	}
	must(t, filepath.WalkDir(l.path("data"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		must(t, err)
		if i := bytes.Index(b, []byte("canary-")); i >= 0 {
			t.Errorf("%s holds %q", path, b[i:min(len(b), i+30)])
		}
		return nil
	}))
}

func TestStdinGoesToTheProgram(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	text := strings.Repeat("line\n", 100_000)
	l.write("input", []byte(text))
	for name, redirect := range map[string]string{"file": `< input`, "pipe": "", "closed": "<&-"} {
		quant := l.command("exec", "--", "cat")
		line := `exec "$@" ` + redirect
		if name == "pipe" {
			line = `cat input | "$@"`
		}
		sh := exec.Command("/bin/sh", append([]string{"-c", line, "sh", quant.Path}, quant.Args[1:]...)...)
		sh.Dir, sh.Env = quant.Dir, quant.Env
		r := l.startCmd(sh).wait()
		if want := text; name != "closed" && (r.stdout != want || r.code != 0) || name == "closed" && r.stdout != "" {
			t.Fatalf("%s: %v", name, r)
		}
	}
	l.wantClosed()
}

func TestBothStreamsIntoOneKeepTheirOrder(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	cmd := l.command("exec", "--", "sh", "-c", "i=0; while [ $i -lt 300 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done")
	both := &stream{}
	r, w, err := os.Pipe()
	must(t, err)
	cmd.Stdout, cmd.Stderr = w, w
	p := l.startCmd(cmd)
	w.Close()
	_, err = io.Copy(both, r)
	must(t, err)
	p.wait()
	var want strings.Builder
	for i := range 300 {
		fmt.Fprintf(&want, "o%d\ne%d\n", i, i)
	}
	if both.String() != want.String() {
		t.Fatalf("torn or out of order: %s", clipped(both.String()))
	}
	if log := l.logOf("last:exec"); log != want.String() {
		t.Fatalf("the log is in another order: %s", clipped(log))
	}
}

func TestAReaderThatGoesAwayEndsTheProgramAsWithoutExec(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	read, write, err := os.Pipe()
	must(t, err)
	cmd := l.command("exec", "--", "yes")
	cmd.Stdout = write
	p := l.startCmd(cmd)
	write.Close()
	_, err = bufio.NewReader(read).ReadString('\n')
	must(t, err)
	read.Close()
	if r := p.wait(); r.code != 141 || r.stderr != "" {
		t.Fatal(r)
	}
	l.wantFail(l.lastRun(), 141, "killed by SIGPIPE")
}

func TestAGrandchildThatKeepsThePipeIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	begun := time.Now()
	r := l.must("exec", "--", "sh", "-c", "sleep 60 & echo $!; head -c 60000 /dev/zero")
	if time.Since(begun) > 30*time.Second {
		t.Fatal("it waited")
	}
	pid, rest, _ := strings.Cut(r.stdout, "\n")
	if len(rest) != 60000 {
		t.Fatalf("%d bytes of 60000", len(rest))
	}
	n, err := strconv.Atoi(pid)
	must(t, err)
	must(t, syscall.Kill(n, syscall.SIGKILL)) // it is there: nobody ended it
}

func TestSignalsGoOnToTheProgram(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for name, s := range map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "QUIT": syscall.SIGQUIT, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2} {
		// Caught: the program decides.
		p := l.start(nil, "exec", "--", "sh", "-c", `trap 'echo got; exit 7' `+name+`; echo ready; while :; do sleep 0.02; done`)
		l.eventually("it is ready", func() bool { return strings.Contains(p.stdout.String(), "ready") })
		p.signal(s)
		if r := p.wait(); r.code != 7 || r.stdout != "ready\ngot\n" || r.stderr != "" {
			t.Fatalf("%s: %v", name, r)
		}
		// Not caught: it dies of it.
		p = l.start(nil, "exec", "--", "sh", "-c", `ulimit -c 0; echo ready; exec sleep 60`)
		l.eventually("it is ready", func() bool { return strings.Contains(p.stdout.String(), "ready") })
		p.signal(s)
		if r := p.wait(); r.code != 128+int(s) {
			t.Fatalf("%s: %v", name, r)
		}
		l.wantFail(l.lastRun(), int64(128+int(s)), "killed by SIG"+name)
	}
	l.wantClosed()
}

func TestALogThatIsCutKeepsHeadAndTailAndSaysHowMuchIsMissing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r := l.must("exec", "--log-max", "64KiB", "--", "seq", "1", "100000")
	whole := r.stdout
	run := l.runOf("exec")
	log := l.logOf(run.ID)
	p := l.programOf(run.ID)
	head, tail, found := strings.Cut(log, "[quant: "+strconv.FormatInt(p.Cut.Int64, 10)+" bytes of output are not kept]\n")
	head = strings.TrimSuffix(head, "\n")
	if !found || !strings.HasPrefix(whole, head) || !strings.HasSuffix(whole, tail) || tail == "" || head == "" {
		t.Fatalf("%+v: %s", p, clipped(log))
	}
	if int(p.Bytes.Int64) != len(whole) || len(strings.TrimSuffix(head, "\n"))+len(tail)+int(p.Cut.Int64) < len(whole)-1 {
		t.Fatalf("%d + %d + %d are not %d", len(head), len(tail), p.Cut.Int64, len(whole))
	}
	info, err := os.Stat(l.path("data", "meta.db.logs", run.ID+".log"))
	must(t, err)
	if info.Size() > 65<<10 {
		t.Fatalf("the log is %d bytes long", info.Size())
	}
	if got := l.must("runs", "logs", run.ID, "-n", "3").stdout; got != "99998\n99999\n100000\n" {
		t.Fatalf("%q", got)
	}
	var doc struct {
		RunID    string `json:"run_id"`
		CutBytes int64  `json:"cut_bytes"`
		Text     string
	}
	decode(t, l.must("runs", "logs", run.ID, "--output", "json").stdout, &doc)
	if doc.RunID != run.ID || doc.CutBytes != p.Cut.Int64 || doc.Text != log {
		t.Fatalf("%s %d", doc.RunID, doc.CutBytes)
	}
	l.must("exec", "--log-max", "0", "--", "echo", "hi")
	if got := l.logOf("last:exec"); got != "[quant: 3 bytes of output are not kept]\n" {
		t.Fatalf("%q", got)
	}
	l.want(4, "runs", "logs", "last:sql")
	l.want(2, "runs", "logs", "last:exec", "-f", "--output", "json")
}

func TestAFullDiskUnderTheLogStopsNeitherTheProgramNorItsOutput(t *testing.T) {
	l := newLab(t)
	l.must("init-db")
	must(t, os.MkdirAll(l.path("data", "meta.db.logs"), 0o700))
	if err := mountTiny(l.path("data", "meta.db.logs"), 1); err != nil {
		t.Skip("a small file system cannot be mounted here:", err)
	}
	defer func() { _ = unmount(l.path("data", "meta.db.logs")) }()
	r := l.must("exec", "--", "seq", "1", "400000")
	if !strings.HasSuffix(r.stdout, "\n400000\n") || r.stderr != "" {
		t.Fatalf("its output is not whole: %v", r)
	}
	run := l.runOf("exec")
	p := l.programOf(run.ID)
	log := l.logOf(run.ID)
	kept, found := strings.CutSuffix(log, fmt.Sprintf("[quant: %d bytes of output are not kept]\n", p.Cut.Int64))
	kept = strings.TrimSuffix(kept, "\n")
	if run.Status != "SUCCESS" || !found || !strings.HasPrefix(r.stdout, kept) || len(kept) < 500<<10 || int64(len(kept))+p.Cut.Int64 < int64(len(r.stdout))-1 {
		t.Fatalf("%+v %+v: %s", run, p, clipped(log))
	}
	// Not even its first line has room.
	r = l.must("exec", "--", "echo", "hi")
	if r.stdout != "hi\n" || r.stderr != "" {
		t.Fatal(r)
	}
	if run := l.runOf("exec"); run.Status != "SUCCESS" {
		t.Fatalf("%+v", run)
	}
}

func TestALogIsFollowedUntilTheRunEnds(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.must("init-db")
	for _, kill := range []bool{false, true} {
		fifo := l.path(fmt.Sprintf("fifo%t", kill))
		must(t, syscall.Mkfifo(fifo, 0o600))
		p := l.start(nil, "exec", "--", "sh", "-c", "echo one; cat "+fifo)
		l.eventually("the run is there", func() bool { return l.runOfOrNone("exec", "RUNNING") != "" })
		run := l.runOfOrNone("exec", "RUNNING")
		f := l.start(nil, "runs", "logs", run, "-f")
		l.eventually("the first line is followed", func() bool { return f.stdout.String() == "one\n" })
		w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
		must(t, err)
		_, err = w.WriteString("two\n")
		must(t, err)
		l.eventually("the second line is followed", func() bool { return f.stdout.String() == "one\ntwo\n" })
		if kill {
			must(t, p.Process.Kill())
		}
		w.Close()
		p.wait()
		if r := f.wait(); r.code != 0 || r.stdout != "one\ntwo\n" {
			t.Fatal(r)
		}
	}
	l.wantClosed()
}

func (l *lab) runOfOrNone(kind, status string) string {
	for _, r := range l.runs() {
		if r.Kind == kind && r.Status == status {
			return r.ID
		}
	}
	return ""
}

func TestTheLogOfAHostileProgramIsHarmlessOnATerminalAndUntouchedInAPipe(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	hostile := "\x1b]0;title\x07\x1b[2J\x1b[31mred\x1b[0m\x1b]52;c;Y2FuYXJ5\x07\x9b2J\x1bP1$q\x1b\\hidden\rshown\u202e\n"
	l.must("exec", "--", "printf", "%s", hostile)
	if got := l.logOf("last:exec"); got != hostile {
		t.Fatalf("%q", got)
	}
	o := l.onTerminal(nil, "runs", "logs", "last:exec", "-q")
	screen := strings.ReplaceAll(o.end(0), "\r\n", "\n")
	if !strings.Contains(screen, "\x1b[31mred\x1b[0m") || !strings.Contains(screen, "hidden\nshown") {
		t.Fatalf("%q", screen)
	}
	if bare := strings.NewReplacer("\x1b[31m", "", "\x1b[0m", "").Replace(screen); strings.ContainsAny(bare, "\x1b\x07\u202e\r\u009b") {
		t.Fatalf("%q", screen)
	}
	o = l.onTerminal([]string{"NO_COLOR=1"}, "runs", "logs", "last:exec", "-q")
	if screen := o.end(0); strings.Contains(screen, "\x1b") {
		t.Fatalf("%q", screen)
	}
}

func TestManyProgramsAtOnceAreAllRecorded(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.must("init-db")
	n := 16
	if soak(t) {
		n = 64
	}
	var list []*process
	for i := range n {
		list = append(list, l.start(nil, "exec", "--name", fmt.Sprint("n", i), "--", "sh", "-c", fmt.Sprintf("seq 1 200; exit %d", i%3)))
	}
	for i, p := range list {
		if r := p.wait(); r.code != i%3 || r.stderr != "" {
			t.Fatal(r)
		}
	}
	l.wantClosed()
	if got := l.metaRows("SELECT count(*), count(DISTINCT value) FROM runs JOIN run_tags USING (run_id) JOIN run_programs USING (run_id) WHERE kind = 'exec' AND output_bytes = 692"); got != fmt.Sprintf("%d %d\n", n, n) {
		t.Fatalf("recorded: %s", got)
	}
	l.doctor()
	l.wantNoLocks()
}

func (l *lab) wantNoLocks() {
	l.t.Helper()
	live, err := os.ReadDir(l.path("data", "meta.db.live"))
	must(l.t, err)
	if len(live) > 0 {
		l.t.Fatalf("%d lock files of runs that have ended", len(live))
	}
}

func TestKillingExecAtEachOfItsStepsTellsTheTruth(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"meta.start.after", "meta.config.before", "meta.config.after", "meta.program.before", "meta.program.after", "meta.finish.before", "meta.finish.after"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.must("init-db")
			script := "exec sleep 60"
			if strings.HasPrefix(step, "meta.finish") {
				script = "exit 0"
			}
			r := l.start([]string{"QUANT_TEST_FAILPOINT=" + step}, "exec", "--name", "x", "--param", "a=1", "--", "sh", "-c", script).wait()
			l.wantCode(r, killed)
			l.must("config")
			l.wantClosed()
			run := l.runOf("exec")
			said := l.metaRows("SELECT count(*) FROM run_tags") == "1\n" && l.metaRows("SELECT count(*) FROM run_params") == "1\n"
			if want := !slices.Contains([]string{"meta.start.after", "meta.config.before"}, step); said != want {
				t.Fatalf("tags and params are stored: %v", said)
			}
			switch step {
			case "meta.finish.after":
				if run.Status != "SUCCESS" {
					t.Fatalf("%+v", run)
				}
			case "meta.program.after":
				p := l.programOf(run.ID)
				want := fmt.Sprintf("process ended without finishing; its program still runs: pid %d; no facts committed", p.PID.Int64)
				if run.Status != "FAIL" || run.Error != want {
					t.Fatalf("want %q: %+v", want, run)
				}
				must(t, syscall.Kill(int(p.PID.Int64), syscall.SIGKILL))
			default:
				if run.Status != "FAIL" || run.Error != "process ended without finishing; no facts committed" {
					t.Fatalf("%+v", run)
				}
			}
			l.doctor()
			l.wantNoLocks()
		})
	}
}

func TestKillsOfWrapperAndProgramAtRandomMomentsLoseNoRun(t *testing.T) {
	t.Parallel()
	times := 24
	if soak(t) {
		times = 300
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	l := newLab(t)
	whole := l.must("exec", "--name", "true", "--", "true").took
	recorded, ends := 1, map[string]int{}
	for i := range times {
		name := fmt.Sprint("kill", i)
		pidFile := l.path(name)
		p := l.start(nil, "exec", "--name", name, "--", "sh", "-c", "echo $$ > "+pidFile+".new; mv "+pidFile+".new "+pidFile+"; while :; do echo x; sleep 0.003; done")
		time.Sleep(time.Duration(random.Int64N(int64(3 * whole)))) // the moment is what is random here
		child := 0
		if text, err := os.ReadFile(pidFile); err == nil {
			child, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		what := random.IntN(3) // the wrapper, the program, or both
		if child == 0 {
			what = 0
		}
		if what != 0 {
			_ = syscall.Kill(child, syscall.SIGKILL)
		}
		if what != 1 {
			_ = p.Process.Kill()
		}
		r := p.wait()
		if what == 1 && (r.code != 137 || r.stderr != "") {
			t.Fatalf("the program was killed: %v", r)
		}
		l.must("config")
		l.wantClosed()
		var run runRow
		for _, candidate := range l.runs() {
			if candidate.Kind == "exec" {
				run = candidate
			}
		}
		all := strings.Count(l.metaRows("SELECT run_id FROM runs WHERE kind = 'exec'"), "\n")
		if all == recorded { // killed before its row was there: then it has not started anything
			if child != 0 {
				t.Fatal("a program ran unrecorded")
			}
			continue
		}
		recorded = all
		switch {
		case run.Status != "FAIL":
			t.Fatalf("%+v", run)
		case what == 1 && run.Error != "killed by SIGKILL":
			t.Fatalf("%+v", run)
		case what != 1 && !strings.HasPrefix(run.Error, "process ended without finishing; ") && run.Error != "killed by SIGKILL":
			t.Fatalf("%+v", run)
		}
		ends[strings.NewReplacer("0", "", "1", "", "2", "", "3", "", "4", "", "5", "", "6", "", "7", "", "8", "", "9", "").Replace(run.Error)]++
		if strings.Contains(run.Error, "still runs") && what != 0 {
			t.Fatalf("its program was killed: %+v", run)
		}
		if log := l.run("runs", "logs", run.ID); log.code == 0 && strings.Trim(log.stdout, "x\n") != "" {
			t.Fatalf("a torn log: %s", clipped(log.stdout))
		}
		if pid := l.metaRows("SELECT coalesce(child_pid, 0) FROM run_programs WHERE run_id = '" + run.ID + "'"); what == 0 && pid != "" {
			if n, _ := strconv.Atoi(strings.TrimSpace(pid)); n > 0 {
				_ = syscall.Kill(n, syscall.SIGKILL)
			}
		}
	}
	t.Logf("%d of %d were recorded before they died: %v", recorded-1, times, ends)
	if recorded == 1 {
		t.Fatal("every one was killed before it was recorded")
	}
	l.doctor()
	l.wantNoLocks()
}

func TestTheCodeOfAProgramIsKeptAsItWasAtTheStart(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	l := newLab(t)
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main"}, args...)...)
		cmd.Dir = l.dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	l.write("tracked.txt", []byte("one\n"))
	l.write(".env", []byte("A=canary-env-one\n"))
	git("init", "-q")
	git("add", "-A", "-f")
	git("commit", "-qm", "first")
	l.must("exec", "--", "true")
	if got := l.metaRows("SELECT name FROM run_artifacts"); got != "" {
		t.Fatalf("a clean tree has artifacts: %s", got)
	}
	l.write("tracked.txt", []byte("one\ntwo\n"))
	l.write(".env", []byte("A=canary-env-two\n"))
	for _, name := range []string{"id_rsa", "sub/server.PEM", "a.key", ".env.local", ".env.d/x"} {
		l.write(name, []byte("canary-file\n"))
	}
	l.write("new file.txt", []byte("without end"))
	l.write("binary", []byte("\x00\x01"))
	must(t, os.Symlink("/etc/passwd", l.path("link")))
	l.must("exec", "--", "sh", "-c", "echo three >> tracked.txt")
	digest := strings.TrimSpace(l.metaRows("SELECT digest FROM run_artifacts WHERE name = 'code.diff'"))
	hex := strings.TrimPrefix(digest, "sha256:")
	diff, err := os.ReadFile(l.path("data", "meta.db.artifacts", hex[:2], hex[2:]))
	must(t, err)
	for _, never := range []string{"canary", "three", "link", "binary", "meta.db"} {
		if strings.Contains(string(diff), never) {
			t.Errorf("the diff holds %q:\n%s", never, diff)
		}
	}
	clone := t.TempDir()
	git("clone", "-q", l.dir, clone)
	apply := exec.Command("git", "apply")
	apply.Dir, apply.Stdin = clone, bytes.NewReader(diff)
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, diff)
	}
	for name, want := range map[string]string{"tracked.txt": "one\ntwo\n", "new file.txt": "without end"} {
		if got, _ := os.ReadFile(filepath.Join(clone, name)); string(got) != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if dirty := l.metaRows("SELECT count(*) FROM run_process WHERE git_dirty = 1 AND git_commit IS NOT NULL"); dirty == "0\n" {
		t.Error("no run says that the tree is dirty")
	}
}

func TestAHostileWorkTreeStartsNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for _, args := range [][]string{{"init", "-q"}, {"-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "x"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = l.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skip(err, string(out))
		}
	}
	evil := "touch " + l.path("owned") + "; cat"
	l.write(".gitattributes", []byte("* filter=evil diff=evil\n"))
	l.write("a.txt", []byte("a\n"))
	for _, name := range []string{"filter.evil.clean", "filter.evil.process", "diff.evil.command", "diff.evil.textconv", "core.fsmonitor", "core.pager", "diff.external", "core.sshCommand"} {
		cmd := exec.Command("git", "config", name, evil)
		cmd.Dir = l.dir
		must(t, cmd.Run())
	}
	l.must("exec", "--", "true")
	for _, name := range []string{"filter.evil.clean", "filter.evil.process"} { // the rest is worth a diff
		cmd := exec.Command("git", "config", "--unset", name)
		cmd.Dir = l.dir
		must(t, cmd.Run())
	}
	l.must("exec", "--", "true")
	if _, err := os.Stat(l.path("owned")); err == nil {
		t.Fatal("a work tree's own program was started")
	}
	if got := l.metaRows("SELECT count(*) FROM run_artifacts"); got != "1\n" {
		t.Fatalf("%s artifacts", got)
	}
	if got := l.metaRows("SELECT text FROM run_notes"); !strings.Contains(got, "filters of its own") {
		t.Fatalf("the notes say %q", got)
	}
}

func TestAPythonProgramIsRecordedWithItsInterpreterAndPackages(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip(err)
	}
	l := newLab(t)
	l.write("json.py", []byte("import os; open('owned', 'w')\n")) // no module of the folder is imported
	l.write("script", []byte("#!/usr/bin/env python3\nprint('hi')\n"))
	must(t, os.Chmod(l.path("script"), 0o755))
	for _, args := range [][]string{{"python3", "-c", "print('hi')"}, {"./script"}} {
		r := l.must(append([]string{"exec", "--"}, args...)...)
		if r.stdout != "hi\n" {
			t.Fatal(r)
		}
		run := l.runOf("exec")
		var env struct {
			Python struct{ Executable, Version string }
		}
		must(t, json.Unmarshal([]byte(l.programOf(run.ID).Env), &env))
		if !strings.HasPrefix(env.Python.Version, "3.") || env.Python.Executable == "" {
			t.Fatalf("%+v: %s", env, l.metaRows("SELECT text FROM run_notes"))
		}
	}
	if _, err := os.Stat(l.path("owned")); err == nil {
		t.Error("a module of the program's folder was imported")
	}
	l.must("exec", "--", "true")
	if env := l.programOf(l.runOf("exec").ID).Env; strings.Contains(env, "python\"") {
		t.Errorf("true is no Python: %s", env)
	}
}

// shellOnTerminal runs an interactive shell on a terminal, with exec before
// each program, or without it: what a person sees must be the same.
func (l *lab) shellOnTerminal(prefix string) *onTerminal {
	l.t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		l.t.Skip(err)
	}
	cmd := l.command()
	quant := cmd.Path
	cmd.Path, cmd.Args = bash, []string{"bash", "--norc", "--noediting", "-i"}
	cmd.Env = append(cmd.Env, "TERM=xterm", "PS1=PROMPT", "RUN="+strings.ReplaceAll(prefix, "quant", quant))
	master, slave, err := pty.Open()
	must(l.t, err)
	must(l.t, pty.Setsize(master, &pty.Winsize{Rows: 40, Cols: 120}))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	o := &onTerminal{screen: &stream{}, tty: master}
	o.process = l.startCmd(cmd)
	must(l.t, slave.Close())
	drained := make(chan struct{})
	go func() {
		_, _ = io.Copy(o.screen, master)
		close(drained)
	}()
	l.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-o.done
		_ = master.Close()
		<-drained
	})
	return o
}

func TestProgramsOnATerminalBehaveUnderExecAsWithoutIt(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "quant exec --"} {
		t.Run("with "+prefix, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.must("init-db")
			o := l.shellOnTerminal(prefix)
			o.waitFor("PROMPT")
			asked := 0
			// ask types a line, and what follows once the screen shows a text; then
			// it waits for the line's end and returns what came.
			ask := func(line string, steps ...string) string {
				t.Helper()
				asked++
				from := len(o.screen.String())
				mark := fmt.Sprintf("end%d:", asked)
				since := func() string { return o.screen.String()[from:] }
				acted := from
				act := func(do func()) { acted = len(o.screen.String()); do() }
				act(func() { o.typing(line + "\n") })
				for i := 0; i+1 < len(steps); i += 2 {
					l.eventually(fmt.Sprintf("%s: the terminal shows %q", line, steps[i]), func() bool { return strings.Contains(since(), steps[i]) })
					if size, found := strings.CutPrefix(steps[i+1], "size "); found {
						cols, _ := strconv.Atoi(size)
						act(func() { must(t, pty.Setsize(o.tty, &pty.Winsize{Rows: 40, Cols: uint16(cols)})) })
					} else if steps[i+1] != "" {
						act(func() { o.typing(steps[i+1]) })
					}
				}
				// What is typed ahead of the shell's prompt is the program's.
				l.eventually(line+" gives the shell back", func() bool { return strings.Contains(o.screen.String()[acted:], "PROMPT") })
				o.typing("echo en''d" + fmt.Sprint(asked) + ":$?\n")
				l.eventually(line+" ends", func() bool {
					_, after, found := strings.Cut(since(), mark)
					return found && strings.Contains(after, "\n")
				})
				return since()
			}
			has := func(got string, texts ...string) {
				t.Helper()
				for _, text := range texts {
					if !strings.Contains(got, text) {
						t.Errorf("%q is missing in %q", text, got)
					}
				}
			}
			has(ask(`$RUN sh -c 'stty size; test -t 0 && test -t 1 && test -t 2 && echo "ter"minal; exit 5'`, "terminal", ""), "40 120", "terminal", ":5")
			has(ask(`$RUN sh -c 'trap "stty size; exit" WINCH; echo rea"dy"; while :; do sleep 0.02; done'`, "ready", "size 99", "40 99", ""), "40 99", ":0")
			has(ask(`$RUN sh -c 'echo rea"dy"; exec sleep 60'`, "ready", "\x03"), ":130")
			has(ask(`$RUN sh -c 'trap "echo go\"t\"; exit 9" INT; echo rea"dy"; while :; do sleep 0.02; done'`, "ready", "\x03"), "got", ":9")
			has(ask(`$RUN sh -c 'read x; echo "<$x>"; read -r y; echo "<$y>"; cat'`, "cat'", "hello\n", "<hello>", "wor\x7fld\n", "<wold>", "\x04"), ":0")
			has(ask(`$RUN sh -c 'stty -echo; printf "Pass"word:; read x; stty echo; echo; echo ${#x}'`, "Password:", "hunter22\n"), "8\r\n", ":0")
			if strings.Contains(o.screen.String(), "hunter22") {
				t.Error("a password was echoed")
			}
			// Ctrl-Z stops it, the shell has the terminal, fg goes on. It starts no
			// process meanwhile: a shell that is in the middle of vfork when its child
			// is stopped does not stop itself, and hangs, without exec as well.
			has(ask(`$RUN sh -c 'echo rea"dy"; read x; echo wen"ton"; exit 6'`,
				"ready", "\x1a", "Stopped", "jobs\n", "+  Stopped", "echo now''fg; fg\n", "nowfg", "\n", "wenton", ""), "wenton", ":6")
			has(ask(`stty -a`), " echo ", "icanon ", "isig ")
			// In a pipeline only stderr is a terminal.
			has(ask(`$RUN sh -c 'test -t 1 || echo pi"pe"; test -t 2 && echo ter"minal" >&2; yes' | head -2`, "terminal", ""), "pipe", "terminal", ":0")
			has(ask(`$RUN sh -c 'echo rea"dy" >&2; exec sleep 60' | cat`, "ready", "\x03"), ":130")
			// In the background it runs on; a program that ignores Ctrl-Z goes on.
			has(ask(`$RUN sh -c 'sleep 0.2; echo back"ground"' & wait`, "background", ""), "background")
			if prefix != "" {
				if runs := l.metaRows("SELECT count(*) FROM runs WHERE kind = 'exec'"); runs != "10\n" {
					t.Errorf("%s programs are recorded", runs)
				}
			}
			o.typing("exit\n")
			o.wait()
			l.wantClosed()
		})
	}
}
