package exec

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
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

	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

// program is the row of run_programs.
type programRow struct {
	Path, Start, Env                            string
	PID, Signal, User, System, Peak, Bytes, Cut sql.NullInt64
}

func programOf(l *labtest.Lab, run string) programRow {
	l.T.Helper()
	db := l.OpenMeta("&mode=ro")
	defer db.Close()
	var p programRow
	err := db.QueryRow(`SELECT coalesce(path, ''), coalesce(child_start, ''), coalesce(environment_json, ''), child_pid, signal, user_us, system_us, max_rss_bytes, output_bytes, output_cut_bytes
		FROM run_programs WHERE run_id = ?`, run).Scan(&p.Path, &p.Start, &p.Env, &p.PID, &p.Signal, &p.User, &p.System, &p.Peak, &p.Bytes, &p.Cut)
	labtest.Must(l.T, err)
	return p
}

// logOf is what `runs logs` shows of a run.
func logOf(l *labtest.Lab, run string) string {
	l.T.Helper()
	return l.Must("runs", "logs", run).Stdout
}

func TestExecEndsAsItsProgramAndSaysNothing(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	for _, c := range []struct {
		script, stdout, stderr, recorded string
		code                             int
	}{
		{"exit 0", "", "", "", 0},
		{"echo out; echo err >&2; exit 3", "out\n", "err\n", "exit status 3: err", 3},
		{"printf 'no end'", "no end", "", "", 0},
		{"printf '\\000\\377\\033[31m\\r\\n'", "\x00\xff\x1b[31m\r\n", "", "", 0},
		{"exit 125", "", "", "exit status 125", 125},
		{"exit 255", "", "", "exit status 255", 255},
		{"kill -9 $$", "", "", "killed by SIGKILL", 137},
		{"kill -TERM $$", "", "", "killed by SIGTERM", 143},
	} {
		r := l.Run("exec", "--", "sh", "-c", c.script)
		if r.Code != c.code || r.Stdout != c.stdout || r.Stderr != c.stderr {
			t.Fatalf("%q: want %q, %q and %d: %v", c.script, c.stdout, c.stderr, c.code, r)
		}
		run := l.LastRun()
		if run.Kind != "exec" || run.Exit.Int64 != int64(c.code) || run.Error != c.recorded || (run.Status == "SUCCESS") != (c.code == 0) {
			t.Fatalf("%q: recorded as %+v", c.script, run)
		}
		p := programOf(l, run.ID)
		if !strings.HasSuffix(p.Path, "/sh") || !p.PID.Valid || !p.User.Valid || p.Bytes.Int64 != int64(len(c.stdout)+len(c.stderr)) || p.Cut.Int64 != 0 {
			t.Fatalf("%q: %+v", c.script, p)
		}
		if got := logOf(l, run.ID); len(got) != len(c.stdout+c.stderr) {
			t.Fatalf("%q: the log is %q", c.script, got)
		}
	}
	l.WantClosed()
	l.Doctor()
}

func TestExecsOwnFailuresAreApartFromThoseOfPrograms(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Write("plain", []byte("text"))
	l.Write("nointerpreter", []byte("#!/no/such\n"))
	labtest.Must(t, os.Chmod(l.Path("nointerpreter"), 0o755))
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
		{[]string{"exec", "--", l.Dir}, 126, []string{"cannot be executed"}},
	} {
		r := l.Want(c.code, c.args...)
		for _, text := range c.texts {
			if !strings.Contains(r.Stderr, text) {
				t.Errorf("%q is missing: %v", text, r)
			}
		}
		l.WantFail(l.LastRun(), int64(c.code))
	}
	if _, err := os.Stat(l.Path("ran")); err == nil {
		t.Error("a program ran although its run could not be described")
	}
	l.Write("broken/meta.db", []byte("this is no database at all, and long enough to be looked at by anybody who wants to"))
	r := l.Run("exec", "--sqlite", "broken/meta.db", "--", "touch", "ran")
	l.WantCode(r, 125)
	if _, err := os.Stat(l.Path("ran")); err == nil {
		t.Error("a program ran unrecorded")
	}
}

func TestTheRecordOfAProgramIsThereBeforeItStarts(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("init-db")
	script := `quant sql --meta -q --output csv "SELECT status, (SELECT value FROM run_tags t WHERE t.run_id = r.run_id AND name = 'name'), (SELECT value FROM run_params p WHERE p.run_id = r.run_id) FROM runs r WHERE kind = 'exec'" | tail -1`
	r := l.Must("exec", "--name", "first", "--tag", "team=alpha", "--param", "lr=0.1", "--", "sh", "-c", script)
	if r.Stdout != "RUNNING,first,0.1\n" {
		t.Fatal(r)
	}
	run := l.RunOf("exec")
	if child := l.MetaRows("SELECT parent_run_id FROM run_process JOIN runs USING (run_id) WHERE kind = 'sql'"); child != run.ID+"\n" {
		t.Fatalf("its quant is the child of %q, not of %s", child, run.ID)
	}
	if out := l.Must("runs", "show", "@first").Stdout; !strings.Contains(out, run.ID) {
		t.Fatal(out)
	}
	if !strings.Contains(l.Must("runs", "list").Stdout, "exec") {
		t.Fatal("runs list leaves it out")
	}
}

func TestAProgramSeesTheLabAndNothingOfDotenv(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Write(".env", []byte("ALPHA_VANTAGE_API_KEY=canary-of-dotenv\nQUANT_CALENDAR=XKRX\nQUANT_DATA_DIR=elsewhere\nOTHER=canary-other\n"))
	r := l.Must("exec", "--", "env")
	seen := map[string]string{}
	for line := range strings.Lines(r.Stdout) {
		k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if _, twice := seen[k]; twice {
			t.Errorf("%s is there twice", k)
		}
		seen[k] = v
	}
	runs := labtest.RunsIn(t, l.Path("elsewhere", "meta.db"))
	real, err := filepath.EvalSymlinks(l.Dir)
	labtest.Must(t, err)
	for name, want := range map[string]string{"QUANT_RUN_ID": runs[len(runs)-1].ID, "QUANT_DATA_DIR": filepath.Join(real, "elsewhere"),
		"QUANT_SQLITE_PATH": filepath.Join(real, "elsewhere/meta.db"), "QUANT_DUCKDB_PATH": filepath.Join(real, "elsewhere/quant.duckdb")} {
		if seen[name] != want {
			t.Errorf("%s is %q, want %q", name, seen[name], want)
		}
	}
	if strings.Contains(r.Stdout, "canary") || seen["QUANT_CALENDAR"] != "" {
		t.Errorf(".env has leaked: %v", r)
	}
}

func TestSecretsOfAProgramAreMaskedInEveryStoredCopyAndNotForIt(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Env = append(l.Env, "MY_API_KEY=canary-from-env", "PYTHONCANARY_TOKEN=canary-of-python")
	l.Write("script", []byte(`echo "$@"; printf 'canary-fr'; sleep 0.2; printf 'om-env\n'; printf 'password='; sleep 0.1; echo canary-printed; echo https://user:canary-url@host/; printf 'canary-from-env without end'`))
	r := l.Must("exec", "--param", "token=canary-param", "--tag", "api_key=canary-tag", "--", "sh", "script", "--token", "canary-argv", "password=canary-pair")
	for _, c := range []string{"canary-argv", "canary-pair", "canary-from-env\n", "canary-printed", "canary-url"} {
		if !strings.Contains(r.Stdout, c) {
			t.Fatalf("the program's own output lacks %s: %v", c, r)
		}
	}
	log := logOf(l, l.RunOf("exec").ID)
	if !strings.Contains(log, "password=***") || strings.Count(log, "\n") < 4 {
		t.Fatalf("the log is %q", log)
	}
	labtest.Must(t, filepath.WalkDir(l.Path("data"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		labtest.Must(t, err)
		if i := bytes.Index(b, []byte("canary-")); i >= 0 {
			t.Errorf("%s holds %q", path, b[i:min(len(b), i+30)])
		}
		return nil
	}))
}

func TestStdinGoesToTheProgram(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	text := strings.Repeat("line\n", 100_000)
	l.Write("input", []byte(text))
	for name, redirect := range map[string]string{"file": `< input`, "pipe": "", "closed": "<&-"} {
		quant := l.Command("exec", "--", "cat")
		line := `exec "$@" ` + redirect
		if name == "pipe" {
			line = `cat input | "$@"`
		}
		sh := exec.Command("/bin/sh", append([]string{"-c", line, "sh", quant.Path}, quant.Args[1:]...)...)
		sh.Dir, sh.Env = quant.Dir, quant.Env
		r := l.StartCmd(sh).Wait()
		if want := text; name != "closed" && (r.Stdout != want || r.Code != 0) || name == "closed" && r.Stdout != "" {
			t.Fatalf("%s: %v", name, r)
		}
	}
	l.WantClosed()
}

func TestBothStreamsIntoOneKeepTheirOrder(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	cmd := l.Command("exec", "--", "sh", "-c", "i=0; while [ $i -lt 300 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done")
	both := &labtest.Stream{}
	r, w, err := os.Pipe()
	labtest.Must(t, err)
	cmd.Stdout, cmd.Stderr = w, w
	p := l.StartCmd(cmd)
	w.Close()
	_, err = io.Copy(both, r)
	labtest.Must(t, err)
	p.Wait()
	var want strings.Builder
	for i := range 300 {
		fmt.Fprintf(&want, "o%d\ne%d\n", i, i)
	}
	if both.String() != want.String() {
		t.Fatalf("torn or out of order: %s", labtest.Clipped(both.String()))
	}
	if log := logOf(l, "last:exec"); log != want.String() {
		t.Fatalf("the log is in another order: %s", labtest.Clipped(log))
	}
}

func TestAReaderThatGoesAwayEndsTheProgramAsWithoutExec(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	read, write, err := os.Pipe()
	labtest.Must(t, err)
	cmd := l.Command("exec", "--", "yes")
	cmd.Stdout = write
	p := l.StartCmd(cmd)
	write.Close()
	_, err = bufio.NewReader(read).ReadString('\n')
	labtest.Must(t, err)
	read.Close()
	if r := p.Wait(); r.Code != 141 || r.Stderr != "" {
		t.Fatal(r)
	}
	l.WantFail(l.LastRun(), 141, "killed by SIGPIPE")
}

func TestAGrandchildThatKeepsThePipeIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	begun := time.Now()
	r := l.Must("exec", "--", "sh", "-c", "sleep 60 & echo $!; head -c 60000 /dev/zero")
	if time.Since(begun) > 30*time.Second {
		t.Fatal("it waited")
	}
	pid, rest, _ := strings.Cut(r.Stdout, "\n")
	if len(rest) != 60000 {
		t.Fatalf("%d bytes of 60000", len(rest))
	}
	n, err := strconv.Atoi(pid)
	labtest.Must(t, err)
	labtest.Must(t, syscall.Kill(n, syscall.SIGKILL)) // it is there: nobody ended it
}

func TestSignalsGoOnToTheProgram(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	for name, s := range map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "QUIT": syscall.SIGQUIT, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2} {
		// Caught: the program decides.
		p := l.Start(nil, "exec", "--", "sh", "-c", `trap 'echo got; exit 7' `+name+`; echo ready; while :; do sleep 0.02; done`)
		l.Eventually("it is ready", func() bool { return strings.Contains(p.Stdout.String(), "ready") })
		p.Signal(s)
		if r := p.Wait(); r.Code != 7 || r.Stdout != "ready\ngot\n" || r.Stderr != "" {
			t.Fatalf("%s: %v", name, r)
		}
		// Not caught: it dies of it.
		p = l.Start(nil, "exec", "--", "sh", "-c", `ulimit -c 0; echo ready; exec sleep 60`)
		l.Eventually("it is ready", func() bool { return strings.Contains(p.Stdout.String(), "ready") })
		p.Signal(s)
		if r := p.Wait(); r.Code != 128+int(s) {
			t.Fatalf("%s: %v", name, r)
		}
		l.WantFail(l.LastRun(), int64(128+int(s)), "killed by SIG"+name)
	}
	l.WantClosed()
}

func TestALogThatIsCutKeepsHeadAndTailAndSaysHowMuchIsMissing(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	r := l.Must("exec", "--log-max", "64KiB", "--", "seq", "1", "100000")
	whole := r.Stdout
	run := l.RunOf("exec")
	log := logOf(l, run.ID)
	p := programOf(l, run.ID)
	head, tail, found := strings.Cut(log, "[quant: "+strconv.FormatInt(p.Cut.Int64, 10)+" bytes of output are not kept]\n")
	head = strings.TrimSuffix(head, "\n")
	if !found || !strings.HasPrefix(whole, head) || !strings.HasSuffix(whole, tail) || tail == "" || head == "" {
		t.Fatalf("%+v: %s", p, labtest.Clipped(log))
	}
	if int(p.Bytes.Int64) != len(whole) || len(strings.TrimSuffix(head, "\n"))+len(tail)+int(p.Cut.Int64) < len(whole)-1 {
		t.Fatalf("%d + %d + %d are not %d", len(head), len(tail), p.Cut.Int64, len(whole))
	}
	info, err := os.Stat(l.Path("data", "meta.db.logs", run.ID+".log"))
	labtest.Must(t, err)
	if info.Size() > 65<<10 {
		t.Fatalf("the log is %d bytes long", info.Size())
	}
	if got := l.Must("runs", "logs", run.ID, "-n", "3").Stdout; got != "99998\n99999\n100000\n" {
		t.Fatalf("%q", got)
	}
	var doc struct {
		RunID    string `json:"run_id"`
		CutBytes int64  `json:"cut_bytes"`
		Text     string
	}
	labtest.Decode(t, l.Must("runs", "logs", run.ID, "--output", "json").Stdout, &doc)
	if doc.RunID != run.ID || doc.CutBytes != p.Cut.Int64 || doc.Text != log {
		t.Fatalf("%s %d", doc.RunID, doc.CutBytes)
	}
	l.Must("exec", "--log-max", "0", "--", "echo", "hi")
	if got := logOf(l, "last:exec"); got != "[quant: 3 bytes of output are not kept]\n" {
		t.Fatalf("%q", got)
	}
	l.Want(4, "runs", "logs", "last:sql")
	l.Want(2, "runs", "logs", "last:exec", "-f", "--output", "json")
}

func TestAFullDiskUnderTheLogStopsNeitherTheProgramNorItsOutput(t *testing.T) {
	l := labtest.New(t)
	l.Must("init-db")
	labtest.Must(t, os.MkdirAll(l.Path("data", "meta.db.logs"), 0o700))
	if err := labtest.MountTiny(l.Path("data", "meta.db.logs"), 1); err != nil {
		labtest.CannotTry(t, "a small file system cannot be mounted here: %v", err)
	}
	defer func() { _ = labtest.Unmount(l.Path("data", "meta.db.logs")) }()
	r := l.Must("exec", "--", "seq", "1", "400000")
	if !strings.HasSuffix(r.Stdout, "\n400000\n") || r.Stderr != "" {
		t.Fatalf("its output is not whole: %v", r)
	}
	run := l.RunOf("exec")
	p := programOf(l, run.ID)
	log := logOf(l, run.ID)
	kept, found := strings.CutSuffix(log, fmt.Sprintf("[quant: %d bytes of output are not kept]\n", p.Cut.Int64))
	kept = strings.TrimSuffix(kept, "\n")
	if run.Status != "SUCCESS" || !found || !strings.HasPrefix(r.Stdout, kept) || len(kept) < 500<<10 || int64(len(kept))+p.Cut.Int64 < int64(len(r.Stdout))-1 {
		t.Fatalf("%+v %+v: %s", run, p, labtest.Clipped(log))
	}
	// Not even its first line has room.
	r = l.Must("exec", "--", "echo", "hi")
	if r.Stdout != "hi\n" || r.Stderr != "" {
		t.Fatal(r)
	}
	if run := l.RunOf("exec"); run.Status != "SUCCESS" {
		t.Fatalf("%+v", run)
	}
}

func TestALogIsFollowedUntilTheRunEnds(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("init-db")
	for _, kill := range []bool{false, true} {
		fifo := l.Path(fmt.Sprintf("fifo%t", kill))
		labtest.Must(t, syscall.Mkfifo(fifo, 0o600))
		p := l.Start(nil, "exec", "--", "sh", "-c", "echo one; cat "+fifo)
		l.Eventually("the run is there", func() bool { return runOfOrNone(l, "exec", "RUNNING") != "" })
		run := runOfOrNone(l, "exec", "RUNNING")
		f := l.Start(nil, "runs", "logs", run, "-f")
		l.Eventually("the first line is followed", func() bool { return f.Stdout.String() == "one\n" })
		w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
		labtest.Must(t, err)
		_, err = w.WriteString("two\n")
		labtest.Must(t, err)
		l.Eventually("the second line is followed", func() bool { return f.Stdout.String() == "one\ntwo\n" })
		if kill {
			labtest.Must(t, p.Process.Kill())
		}
		w.Close()
		p.Wait()
		if r := f.Wait(); r.Code != 0 || r.Stdout != "one\ntwo\n" {
			t.Fatal(r)
		}
	}
	l.WantClosed()
}

func runOfOrNone(l *labtest.Lab, kind, status string) string {
	for _, r := range l.Runs() {
		if r.Kind == kind && r.Status == status {
			return r.ID
		}
	}
	return ""
}

func TestTheLogOfAHostileProgramIsHarmlessOnATerminalAndUntouchedInAPipe(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	hostile := "\x1b]0;title\x07\x1b[2J\x1b[31mred\x1b[0m\x1b]52;c;Y2FuYXJ5\x07\x9b2J\x1bP1$q\x1b\\hidden\rshown\u202e\n"
	l.Must("exec", "--", "printf", "%s", hostile)
	if got := logOf(l, "last:exec"); got != hostile {
		t.Fatalf("%q", got)
	}
	o := l.OnTerminal(nil, "runs", "logs", "last:exec", "-q")
	screen := strings.ReplaceAll(o.End(0), "\r\n", "\n")
	if !strings.Contains(screen, "\x1b[31mred\x1b[0m") || !strings.Contains(screen, "hidden\nshown") {
		t.Fatalf("%q", screen)
	}
	if bare := strings.NewReplacer("\x1b[31m", "", "\x1b[0m", "").Replace(screen); strings.ContainsAny(bare, "\x1b\x07\u202e\r\u009b") {
		t.Fatalf("%q", screen)
	}
	o = l.OnTerminal([]string{"NO_COLOR=1"}, "runs", "logs", "last:exec", "-q")
	if screen := o.End(0); strings.Contains(screen, "\x1b") {
		t.Fatalf("%q", screen)
	}
}

func TestManyProgramsAtOnceAreAllRecorded(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("init-db")
	n := soak.Count(t, 16, 64)
	var list []*labtest.Process
	for i := range n {
		list = append(list, l.Start(nil, "exec", "--name", fmt.Sprint("n", i), "--", "sh", "-c", fmt.Sprintf("seq 1 200; exit %d", i%3)))
	}
	for i, p := range list {
		if r := p.Wait(); r.Code != i%3 || r.Stderr != "" {
			t.Fatal(r)
		}
	}
	l.WantClosed()
	if got := l.MetaRows("SELECT count(*), count(DISTINCT value) FROM runs JOIN run_tags USING (run_id) JOIN run_programs USING (run_id) WHERE kind = 'exec' AND output_bytes = 692"); got != fmt.Sprintf("%d %d\n", n, n) {
		t.Fatalf("recorded: %s", got)
	}
	l.Doctor()
	wantNoLocks(l)
}

func wantNoLocks(l *labtest.Lab) {
	l.T.Helper()
	live, err := os.ReadDir(l.Path("data", "meta.db.live"))
	labtest.Must(l.T, err)
	if len(live) > 0 {
		l.T.Fatalf("%d lock files of runs that have ended", len(live))
	}
}

func TestKillingExecAtEachOfItsStepsTellsTheTruth(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"meta.start.after", "meta.config.before", "meta.config.after", "meta.program.before", "meta.program.after", "meta.finish.before", "meta.finish.after"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			l.Must("init-db")
			script := "exec sleep 60"
			if strings.HasPrefix(step, "meta.finish") {
				script = "exit 0"
			}
			r := l.Start([]string{"QUANT_TEST_FAILPOINT=" + step}, "exec", "--name", "x", "--param", "a=1", "--", "sh", "-c", script).Wait()
			l.WantCode(r, labtest.Killed)
			l.Must("config")
			l.WantClosed()
			run := l.RunOf("exec")
			said := l.MetaRows("SELECT count(*) FROM run_tags") == "1\n" && l.MetaRows("SELECT count(*) FROM run_params") == "1\n"
			if want := !slices.Contains([]string{"meta.start.after", "meta.config.before"}, step); said != want {
				t.Fatalf("tags and params are stored: %v", said)
			}
			switch step {
			case "meta.finish.after":
				if run.Status != "SUCCESS" {
					t.Fatalf("%+v", run)
				}
			case "meta.program.after":
				p := programOf(l, run.ID)
				want := fmt.Sprintf("process ended without finishing; its program still runs: pid %d; no facts committed", p.PID.Int64)
				if run.Status != "FAIL" || run.Error != want {
					t.Fatalf("want %q: %+v", want, run)
				}
				labtest.Must(t, syscall.Kill(int(p.PID.Int64), syscall.SIGKILL))
			default:
				if run.Status != "FAIL" || run.Error != "process ended without finishing; no facts committed" {
					t.Fatalf("%+v", run)
				}
			}
			l.Doctor()
			wantNoLocks(l)
		})
	}
}

func TestKillsOfWrapperAndProgramAtRandomMomentsLoseNoRun(t *testing.T) {
	t.Parallel()
	times := soak.Count(t, 24, 300)
	random := soak.Random(t)
	l := labtest.New(t)
	whole := l.Must("exec", "--name", "true", "--", "true").Took
	recorded, ends := 1, map[string]int{}
	for i := range times {
		name := fmt.Sprint("kill", i)
		pidFile := l.Path(name)
		p := l.Start(nil, "exec", "--name", name, "--", "sh", "-c", "echo $$ > "+pidFile+".new; mv "+pidFile+".new "+pidFile+"; while :; do echo x; sleep 0.003; done")
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
		r := p.Wait()
		if what == 1 && (r.Code != 137 || r.Stderr != "") {
			t.Fatalf("the program was killed: %v", r)
		}
		l.Must("config")
		l.WantClosed()
		var run labtest.RunRow
		for _, candidate := range l.Runs() {
			if candidate.Kind == "exec" {
				run = candidate
			}
		}
		all := strings.Count(l.MetaRows("SELECT run_id FROM runs WHERE kind = 'exec'"), "\n")
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
		if log := l.Run("runs", "logs", run.ID); log.Code == 0 && strings.Trim(log.Stdout, "x\n") != "" {
			t.Fatalf("a torn log: %s", labtest.Clipped(log.Stdout))
		}
		if pid := l.MetaRows("SELECT coalesce(child_pid, 0) FROM run_programs WHERE run_id = '" + run.ID + "'"); what == 0 && pid != "" {
			if n, _ := strconv.Atoi(strings.TrimSpace(pid)); n > 0 {
				_ = syscall.Kill(n, syscall.SIGKILL)
			}
		}
	}
	t.Logf("%d of %d were recorded before they died: %v", recorded-1, times, ends)
	if recorded == 1 {
		t.Fatal("every one was killed before it was recorded")
	}
	l.Doctor()
	wantNoLocks(l)
}

func TestTheCodeOfAProgramIsKeptAsItWasAtTheStart(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	l := labtest.New(t)
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main"}, args...)...)
		cmd.Dir = l.Dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	l.Write("tracked.txt", []byte("one\n"))
	l.Write(".env", []byte("A=canary-env-one\n"))
	git("init", "-q")
	git("add", "-A", "-f")
	git("commit", "-qm", "first")
	l.Must("exec", "--", "true")
	if got := l.MetaRows("SELECT name FROM run_artifacts"); got != "" {
		t.Fatalf("a clean tree has artifacts: %s", got)
	}
	l.Write("tracked.txt", []byte("one\ntwo\n"))
	l.Write(".env", []byte("A=canary-env-two\n"))
	for _, name := range []string{"id_rsa", "sub/server.PEM", "a.key", ".env.local", ".env.d/x"} {
		l.Write(name, []byte("canary-file\n"))
	}
	l.Write("new file.txt", []byte("without end"))
	l.Write("binary", []byte("\x00\x01"))
	labtest.Must(t, os.Symlink("/etc/passwd", l.Path("link")))
	l.Must("exec", "--", "sh", "-c", "echo three >> tracked.txt")
	digest := strings.TrimSpace(l.MetaRows("SELECT digest FROM run_artifacts WHERE name = 'code.diff'"))
	hex := strings.TrimPrefix(digest, "sha256:")
	diff, err := os.ReadFile(l.Path("data", "meta.db.artifacts", hex[:2], hex[2:]))
	labtest.Must(t, err)
	for _, never := range []string{"canary", "three", "link", "binary", "meta.db"} {
		if strings.Contains(string(diff), never) {
			t.Errorf("the diff holds %q:\n%s", never, diff)
		}
	}
	clone := t.TempDir()
	git("clone", "-q", l.Dir, clone)
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
	if dirty := l.MetaRows("SELECT count(*) FROM run_process WHERE git_dirty = 1 AND git_commit IS NOT NULL"); dirty == "0\n" {
		t.Error("no run says that the tree is dirty")
	}
}

func TestAHostileWorkTreeStartsNothing(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	for _, args := range [][]string{{"init", "-q"}, {"-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "x"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = l.Dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skip(err, string(out))
		}
	}
	evil := "touch " + l.Path("owned") + "; cat"
	l.Write(".gitattributes", []byte("* filter=evil diff=evil\n"))
	l.Write("a.txt", []byte("a\n"))
	for _, name := range []string{"filter.evil.clean", "filter.evil.process", "diff.evil.command", "diff.evil.textconv", "core.fsmonitor", "core.pager", "diff.external", "core.sshCommand"} {
		cmd := exec.Command("git", "config", name, evil)
		cmd.Dir = l.Dir
		labtest.Must(t, cmd.Run())
	}
	l.Must("exec", "--", "true")
	for _, name := range []string{"filter.evil.clean", "filter.evil.process"} { // the rest is worth a diff
		cmd := exec.Command("git", "config", "--unset", name)
		cmd.Dir = l.Dir
		labtest.Must(t, cmd.Run())
	}
	l.Must("exec", "--", "true")
	if _, err := os.Stat(l.Path("owned")); err == nil {
		t.Fatal("a work tree's own program was started")
	}
	if got := l.MetaRows("SELECT count(*) FROM run_artifacts"); got != "1\n" {
		t.Fatalf("%s artifacts", got)
	}
	if got := l.MetaRows("SELECT text FROM run_notes"); !strings.Contains(got, "filters of its own") {
		t.Fatalf("the notes say %q", got)
	}
}

func TestAPythonProgramIsRecordedWithItsInterpreterAndPackages(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip(err)
	}
	l := labtest.New(t)
	l.Write("json.py", []byte("import os; open('owned', 'w')\n")) // no module of the folder is imported
	l.Write("script", []byte("#!/usr/bin/env python3\nprint('hi')\n"))
	labtest.Must(t, os.Chmod(l.Path("script"), 0o755))
	for _, args := range [][]string{{"python3", "-c", "print('hi')"}, {"./script"}} {
		r := l.Must(append([]string{"exec", "--"}, args...)...)
		if r.Stdout != "hi\n" {
			t.Fatal(r)
		}
		run := l.RunOf("exec")
		var env struct {
			Python struct{ Executable, Version string }
		}
		labtest.Must(t, json.Unmarshal([]byte(programOf(l, run.ID).Env), &env))
		if !strings.HasPrefix(env.Python.Version, "3.") || env.Python.Executable == "" {
			t.Fatalf("%+v: %s", env, l.MetaRows("SELECT text FROM run_notes"))
		}
	}
	if _, err := os.Stat(l.Path("owned")); err == nil {
		t.Error("a module of the program's folder was imported")
	}
	l.Must("exec", "--", "true")
	if env := programOf(l, l.RunOf("exec").ID).Env; strings.Contains(env, "python\"") {
		t.Errorf("true is no Python: %s", env)
	}
}

// shellOnTerminal runs an interactive shell on a terminal, with exec before
// each program, or without it: what a person sees must be the same.
func shellOnTerminal(l *labtest.Lab, prefix string) *labtest.Terminal {
	l.T.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		l.T.Skip(err)
	}
	cmd := l.Command()
	quant := cmd.Path
	cmd.Path, cmd.Args = bash, []string{"bash", "--norc", "--noediting", "-i"}
	cmd.Env = append(cmd.Env, "PS1=PROMPT", "RUN="+strings.ReplaceAll(prefix, "quant", quant))
	return l.StartOnTerminal(cmd)
}

func TestProgramsOnATerminalBehaveUnderExecAsWithoutIt(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "quant exec --"} {
		t.Run("with "+prefix, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			l.Must("init-db")
			o := shellOnTerminal(l, prefix)
			o.WaitFor("PROMPT")
			asked := 0
			// ask types a line, and what follows once the screen shows a text; then
			// it waits for the line's end and returns what came.
			ask := func(line string, steps ...string) string {
				t.Helper()
				asked++
				from := len(o.Screen.String())
				mark := fmt.Sprintf("end%d:", asked)
				since := func() string { return o.Screen.String()[from:] }
				acted := from
				act := func(do func()) { acted = len(o.Screen.String()); do() }
				act(func() { o.Typing(line + "\n") })
				for i := 0; i+1 < len(steps); i += 2 {
					l.Eventually(fmt.Sprintf("%s: the terminal shows %q", line, steps[i]), func() bool { return strings.Contains(since(), steps[i]) })
					if size, found := strings.CutPrefix(steps[i+1], "size "); found {
						cols, _ := strconv.Atoi(size)
						act(func() { labtest.Must(t, pty.Setsize(o.TTY, &pty.Winsize{Rows: 40, Cols: uint16(cols)})) })
					} else if steps[i+1] != "" {
						act(func() { o.Typing(steps[i+1]) })
					}
				}
				// What is typed ahead of the shell's prompt is the program's.
				l.Eventually(line+" gives the shell back", func() bool { return strings.Contains(o.Screen.String()[acted:], "PROMPT") })
				o.Typing("echo en''d" + fmt.Sprint(asked) + ":$?\n")
				l.Eventually(line+" ends", func() bool {
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
			if strings.Contains(o.Screen.String(), "hunter22") {
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
				if runs := l.MetaRows("SELECT count(*) FROM runs WHERE kind = 'exec'"); runs != "10\n" {
					t.Errorf("%s programs are recorded", runs)
				}
			}
			o.Typing("exit\n")
			o.Wait()
			l.WantClosed()
		})
	}
}
