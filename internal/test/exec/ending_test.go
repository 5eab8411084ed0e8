package exec

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"quant/internal/process"
	"quant/internal/test/labtest"
)

// leaves is a program that ends at once and leaves a process behind, which prints
// once exec has ended and only then makes the file $0.
const leaves = `(while kill -0 $PPID 2>/dev/null; do sleep 0.05; done; sleep 0.2; echo late; echo late >&2; sleep 0.1; echo again; : > "$0") & echo soon`

func notesOf(l *labtest.Lab, run string) string {
	l.T.Helper()
	return l.MetaRows(fmt.Sprintf("SELECT text FROM run_notes WHERE run_id = '%s' ORDER BY note", run))
}

func TestWhatAProgramLeavesRunningLivesOnAndPrints(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	labtest.Must(t, err)
	defer null.Close()
	for name, c := range map[string]struct {
		streams func(l *labtest.Lab) (out, errs *os.File)
		printed string // in the file out, at last
	}{
		"pipes":    {func(*labtest.Lab) (_, _ *os.File) { return nil, nil }, ""},
		"a device": {func(*labtest.Lab) (_, _ *os.File) { return null, null }, ""},
		"files": {func(l *labtest.Lab) (_, _ *os.File) {
			out, err := os.Create(l.Path("out"))
			labtest.Must(t, err)
			return out, out
		}, "soon\nlate\nlate\nagain\n"},
		"a file and a pipe": {func(l *labtest.Lab) (_, _ *os.File) {
			out, err := os.Create(l.Path("out"))
			labtest.Must(t, err)
			return out, nil
		}, "soon\nlate\nagain\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			cmd := l.Command("exec", "--", "sh", "-c", leaves, l.Path("lived"))
			if out, errs := c.streams(l); out != nil {
				cmd.Stdout = out
				if errs != nil {
					cmd.Stderr = errs
				}
			}
			r := l.StartCmd(cmd).Wait()
			if r.Code != 0 {
				t.Fatal(r)
			}
			run := l.RunOf("exec")
			if _, err := os.Stat(l.Path("lived")); err == nil {
				t.Error("exec waited for it")
			}
			l.Eventually("what was left running has printed and lives", func() bool { _, err := os.Stat(l.Path("lived")); return err == nil })
			if run.Status != "SUCCESS" || !strings.Contains(notesOf(l, run.ID), "goes on running: ") || strings.Contains(logOf(l, run.ID), "late") {
				t.Errorf("%+v, notes %q, log %q", run, notesOf(l, run.ID), logOf(l, run.ID))
			}
			if c.printed != "" {
				got, err := os.ReadFile(l.Path("out"))
				labtest.Must(t, err)
				if string(got) != c.printed {
					t.Errorf("printed is %q, want %q", got, c.printed)
				}
			}
		})
	}
}

// Who waits for the end of such a pipe would wait for what was left running, and who
// reads it would miss what was read for nobody.
func TestWhatAProgramLeavesRunningLeavesOtherPipesToTheirOwners(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	labtest.Must(t, err)
	defer null.Close()
	pipe := func() (r, w *os.File) {
		r, w, err := os.Pipe()
		labtest.Must(t, err)
		t.Cleanup(func() { r.Close(); w.Close() })
		return r, w
	}
	five, toFive := pipe()
	seven, toSeven := pipe()
	end, nine := pipe()
	for _, w := range []*os.File{toFive, toSeven} {
		_, err := w.WriteString("mine")
		labtest.Must(t, err)
	}
	cmd := l.Command("exec", "--", "sh", "-c", `(exec 5<&- 7<&- 9>&-; while [ ! -e go ]; do sleep 0.05; done; echo late; : > lived) & echo soon >&9`)
	cmd.ExtraFiles = []*os.File{null, null, five, null, seven, null, nine}
	if r := l.StartCmd(cmd).Wait(); r.Code != 0 {
		t.Fatal(r)
	}
	nine.Close()
	labtest.Must(t, end.SetReadDeadline(time.Now().Add(10*time.Second)))
	if got, err := io.ReadAll(end); err != nil || string(got) != "soon\n" {
		t.Errorf("the end of a pipe: %q, %v", got, err)
	}
	for _, r := range []*os.File{five, seven} {
		b := make([]byte, 10)
		labtest.Must(t, r.SetReadDeadline(time.Now().Add(time.Second)))
		if n, err := r.Read(b); err != nil || string(b[:n]) != "mine" {
			t.Errorf("what was in a pipe: %q, %v", b[:n], err)
		}
	}
	l.Write("go", nil)
	l.Eventually("what was left running could print", func() bool { _, err := os.Stat(l.Path("lived")); return err == nil })
}

func TestAProgramThatStopsItselfGoesOnWhenAnotherLetsIt(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"STOP", "TSTP"} {
		l := labtest.New(t)
		cmd := l.Command("exec", "--", "sh", "-c", `echo $$ > pid; kill -`+how+` $$; echo went on`)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a group that its parent does not control
		p := l.StartCmd(cmd)
		pid := 0
		l.Eventually("it has stopped", func() bool {
			text, _ := os.ReadFile(l.Path("pid"))
			_, err := fmt.Sscan(string(text), &pid)
			return err == nil && labtest.IsStopped(pid)
		})
		time.Sleep(100 * time.Millisecond) // exec sees it
		labtest.Must(t, syscall.Kill(pid, syscall.SIGCONT))
		if r := p.Wait(); r.Code != 0 || r.Stdout != "went on\n" {
			t.Fatalf("SIG%s: %v", how, r)
		}
	}
}

func TestTheErrorOfAProgramThatFailedEndsWithItsLastWords(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Env = append(l.Env, "TRAINER_TOKEN=hunter2hunter2")
	long := strings.Repeat("x", 5000)
	for script, want := range map[string]string{
		`echo 'Traceback:' >&2; echo 'ValueError: boom' >&2; echo out; exit 1`: "exit status 1: ValueError: boom",
		`printf 'ValueError: boom\n\n  \n\033[0m\n' >&2; exit 1`:               "exit status 1: ValueError: boom",
		`printf '10%%\r50%%\r\nboom' >&2; exit 2`:                              "exit status 2: boom",
		`printf '\033[31mred\033[0m \033]0;title\007\302\233x\n' >&2; exit 1`:  "",
		`printf 'Error: \033]0;title\007bad thing\n' >&2; exit 1`:              "exit status 1: Error: bad thing",
		`echo "token $TRAINER_TOKEN" >&2; exit 1`:                              "exit status 1: token ***",
		`echo only out; exit 4`:                                                "exit status 4",
		`echo warned >&2; kill -TERM $$`:                                       "killed by SIGTERM",
		`ulimit -c 0; echo 'Assertion failed' >&2; kill -ABRT $$`:              "killed by SIGABRT: Assertion failed",
		`echo ` + long + ` >&2; exit 1`:                                        "exit status 1: " + long[:397] + "...",
		`echo 'a warning' >&2; exit 0`:                                         "",
		`printf '\377\376 bytes\n' >&2; exit 1`:                                "",
	} {
		r := l.Run("exec", "--", "sh", "-c", script)
		run := l.RunOf("exec")
		if want != "" && run.Error != want {
			t.Errorf("%s: recorded as %q, want %q", labtest.Clipped(script), labtest.Clipped(run.Error), want)
		}
		if strings.ContainsAny(run.Error, "\x1b\x07\n\r") || (run.Error == "") != (r.Code == 0) {
			t.Errorf("%s: recorded as %q", script, run.Error)
		}
	}
	both := l.Command("exec", "--", "sh", "-c", "echo out; echo 'ValueError: boom' >&2; exit 1")
	file, err := os.Create(l.Path("both"))
	labtest.Must(t, err)
	defer file.Close()
	both.Stdout, both.Stderr = file, file
	l.StartCmd(both).Wait()
	if got := l.RunOf("exec").Error; got != "exit status 1: ValueError: boom" {
		t.Errorf("into one stream: %q", got)
	}
	if list := l.Must("runs", "list").Stdout; !strings.Contains(list, "exit status 1: ValueError: boom") {
		t.Errorf("the list shows\n%s", list)
	}
	l.OnTerminal(nil, "exec", "--", "sh", "-c", "echo 'ValueError: boom' >&2; exit 1").End(1)
	if got := l.RunOf("exec").Error; got != "exit status 1: ValueError: boom" {
		t.Errorf("on a terminal: %q", got)
	}
}

func TestAfterASignalExecNamesWhatStillRuns(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	p := l.Start(nil, "exec", "--", "sh", "-c", `sleep 61 & echo $! > worker; env -i "$(command -v sleep)" 62 & echo $! > bare; echo ready; wait`)
	l.Eventually("it is ready", func() bool { return strings.Contains(p.Stdout.String(), "ready") })
	p.Signal(syscall.SIGTERM)
	r := p.Wait()
	if r.Code != 143 {
		t.Fatal(r)
	}
	notes := notesOf(l, l.RunOf("exec").ID)
	for _, name := range []string{"worker", "bare"} {
		text, err := os.ReadFile(l.Path(name))
		labtest.Must(t, err)
		pid := 0
		_, err = fmt.Sscan(string(text), &pid)
		labtest.Must(t, err)
		labtest.Must(t, syscall.Kill(pid, syscall.SIGKILL)) // it is there: nobody ended it
		want := fmt.Sprintf("%d sleep", pid)
		if !strings.Contains(r.Stderr, want) || !strings.Contains(notes, want) || !strings.Contains(r.Stderr, "SIGTERM") {
			t.Errorf("%s is not named: %q, notes %q", want, r.Stderr, notes)
		}
	}
	q := l.Start(nil, "exec", "--", "sh", "-c", `echo ready; exec sleep 60`)
	l.Eventually("it is ready", func() bool { return strings.Contains(q.Stdout.String(), "ready") })
	q.Signal(syscall.SIGTERM)
	if r := q.Wait(); r.Code != 143 || r.Stderr != "" {
		t.Errorf("with nothing left: %v", r)
	}
}

func TestALogLeavesRoomForItsRecord(t *testing.T) {
	for _, mib := range []int{4, 8, 16} {
		l := labtest.New(t)
		labtest.Must(t, os.Mkdir(l.Path("data"), 0o700))
		if err := labtest.MountTiny(l.Path("data"), mib); err != nil {
			labtest.CannotTry(t, "a small file system cannot be mounted here: %v", err)
		}
		defer func() { _ = labtest.Unmount(l.Path("data")) }()
		const lines = 200_000
		r := l.Must("exec", "--", "sh", "-c", fmt.Sprintf(`yes %099d | head -n %d; quant log metric loss=1 --quiet >&2`, 0, lines))
		run := l.RunOf("exec")
		p := programOf(l, run.ID)
		if len(r.Stdout) != lines*100 || run.Status != "SUCCESS" || p.Bytes.Int64 != int64(len(r.Stdout)) || p.Cut.Int64 == 0 {
			t.Fatalf("%d MiB: %d bytes, %+v, %+v", mib, len(r.Stdout), run, p)
		}
		if want := fmt.Sprintf("the log was cut at %d bytes because the disk was full", p.Bytes.Int64-p.Cut.Int64); !strings.Contains(notesOf(l, run.ID), want) {
			t.Errorf("%d MiB: the notes are %q, want %q", mib, notesOf(l, run.ID), want)
		}
		if got := l.MetaRows("SELECT count(*) FROM run_metric_points"); got != "1\n" {
			t.Errorf("%d MiB: %s points are stored", mib, got)
		}
		l.Must("gc", "--yes")
		soundBesidesRoom(l)
	}
}

// soundBesidesRoom fails the test unless all that doctor finds is that the disk has
// little room.
func soundBesidesRoom(l *labtest.Lab) {
	l.T.Helper()
	var c labtest.Checkup
	labtest.Decode(l.T, l.Run("doctor", "--output", "json").Stdout, &c)
	for _, f := range c.Findings {
		if f.Severity != "note" && !strings.HasSuffix(f.What, "MiB are free") {
			l.T.Errorf("doctor finds %+v", f)
		}
	}
}

// filled leaves free bytes of a disk, and no more.
func filled(t *testing.T, dir string, free int64) {
	t.Helper()
	var disk syscall.Statfs_t
	labtest.Must(t, syscall.Statfs(dir, &disk))
	rest := int64(disk.Bavail)*disk.Bsize - free
	if rest > 0 {
		labtest.Must(t, os.WriteFile(filepath.Join(dir, "filler"), make([]byte, rest), 0o600))
	}
}

func TestADiskThatIsNearlyFullAtTheStartTellsTheTruth(t *testing.T) {
	for _, free := range []int64{0, 64 << 10, 128 << 10, 256 << 10, 320 << 10, 512 << 10, 1 << 20, 2 << 20, 3 << 20} {
		t.Run(fmt.Sprint(free>>10), func(t *testing.T) {
			l := labtest.New(t)
			labtest.Must(t, os.Mkdir(l.Path("data"), 0o700))
			if err := labtest.MountTiny(l.Path("data"), 8); err != nil {
				labtest.CannotTry(t, "a small file system cannot be mounted here: %v", err)
			}
			defer func() { _ = labtest.Unmount(l.Path("data")) }()
			l.Must("init-db")
			filled(t, l.Path("data"), free)
			r := l.Run("exec", "--", "sh", "-c", ": > ran; seq 1 400000")
			_, missing := os.Stat(l.Path("ran"))
			switch {
			case r.Code == 0 && missing == nil:
				if run := l.RunOf("exec"); run.Status != "SUCCESS" || !strings.HasSuffix(r.Stdout, "\n400000\n") {
					t.Fatalf("%+v", run)
				}
			case r.Code == 125 && missing != nil && strings.Contains(r.Stderr, "did not start"):
				if free >= 1<<20 {
					t.Fatal(r)
				}
			default:
				t.Fatalf("it ran: %v; %v", missing == nil, r)
			}
			labtest.Must(t, os.Remove(l.Path("data", "filler")))
			l.Must("runs", "list")
			if running := l.MetaRows("SELECT count(*) FROM runs WHERE status = 'RUNNING'"); running != "0\n" {
				t.Errorf("%s runs stay RUNNING", running)
			}
			soundBesidesRoom(l)
		})
	}
}

func TestGCFreesAFullDisk(t *testing.T) {
	for _, free := range []int64{0, 4 << 10, 32 << 10, 100 << 10, 400 << 10} {
		t.Run(fmt.Sprint(free>>10), func(t *testing.T) {
			l := labtest.New(t)
			labtest.Must(t, os.Mkdir(l.Path("data"), 0o700))
			if err := labtest.MountTiny(l.Path("data"), 8); err != nil {
				labtest.CannotTry(t, "a small file system cannot be mounted here: %v", err)
			}
			defer func() { _ = labtest.Unmount(l.Path("data")) }()
			l.Must("init-db")
			// What a purged run has left, and is older than what gc leaves alone.
			left := l.Path("data", "meta.db.logs", "01900000-0000-7000-8000-000000000000.log")
			labtest.Must(t, os.MkdirAll(filepath.Dir(left), 0o700))
			labtest.Must(t, os.WriteFile(left, make([]byte, 3<<20), 0o600))
			old := time.Now().Add(-48 * time.Hour)
			labtest.Must(t, os.Chtimes(left, old, old))
			filled(t, l.Path("data"), free)
			r := l.Must("gc", "--yes")
			if _, err := os.Stat(left); err == nil || !strings.Contains(r.Stdout, "log") {
				t.Fatal(r)
			}
			if run := l.RunOf("gc"); run.Status != "SUCCESS" {
				t.Fatalf("%+v", run)
			}
			if _, err := os.Stat(l.Path("data", "meta.db.reserve")); err != nil {
				t.Error("the next time there is no room set aside:", err)
			}
			soundBesidesRoom(l)
		})
	}
}

func TestWhatAProgramLeavesRunningOnATerminalLivesOnAndPrints(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("here a program leads its session, whose end hangs up what it left")
	}
	for name, script := range map[string]string{
		"on the terminal":  `(` + lateOnTerminal + `) & echo soon`,
		"elsewhere":        `(` + lateOnTerminal + `) >/dev/null 2>&1 </dev/null & echo soon`,
		"stderr elsewhere": `(` + lateOnTerminal + `) 2>/dev/null & echo soon`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			l.Must("init-db")
			l.Write("job.sh", []byte(script))
			o := shellOnTerminal(l, "quant exec --")
			o.WaitFor("PROMPT")
			o.Typing("exec 9</dev/null; $RUN sh job.sh; echo en''ded:$?\n")
			o.WaitFor("ended:0")
			if _, err := os.Stat(l.Path("lived")); err == nil {
				t.Error("exec waited for it")
			}
			l.Eventually("what was left running lives", func() bool { _, err := os.Stat(l.Path("lived")); return err == nil })
			run, onTerminal := l.RunOf("exec"), name != "elsewhere"
			if run.Status != "SUCCESS" || strings.Contains(notesOf(l, run.ID), "goes on running: ") != onTerminal || strings.Contains(logOf(l, run.ID), "late") {
				t.Errorf("%+v, notes %q, log %q", run, notesOf(l, run.ID), logOf(l, run.ID))
			}
			if onTerminal {
				o.WaitFor("late")
			}
			text, err := os.ReadFile(l.Path("lived"))
			labtest.Must(t, err)
			var relay int
			if _, err := fmt.Sscan(string(text), &relay); err != nil || relay <= 1 {
				t.Fatalf("the leader of its session is %q", text)
			}
			if strings.Contains(string(text), "lost") || strings.Contains(string(text), "held") {
				t.Errorf("what the program was given besides its streams: %q", text)
			}
			l.Eventually("no process of quant is left", func() bool { _, err := process.Of(relay); return err != nil })
			o.Typing("exit\n")
		})
	}
}

// lateOnTerminal waits until exec has ended and writes the leader of its session,
// and whether that has what its starter gave the program as descriptor 9.
const lateOnTerminal = `while kill -0 $PPID 2>/dev/null; do sleep 0.05; done; sleep 0.3; echo late; leader=$(cut -d' ' -f6 /proc/self/stat); { echo $leader; [ -e /proc/self/fd/9 ] || echo lost; [ -e /proc/$leader/fd/9 ] && echo held; } > lived.new; mv lived.new lived`

func TestAProgramOnATerminalIsHungUpWhenExecIsKilled(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("init-db")
	o := l.OnTerminal(nil, "exec", "--", "sh", "-c", `trap 'echo hup > hup; exit' HUP; echo $$ > pid; while :; do sleep 0.02; done`)
	pid := 0
	l.Eventually("it runs", func() bool {
		text, _ := os.ReadFile(l.Path("pid"))
		_, err := fmt.Sscan(string(text), &pid)
		return err == nil
	})
	labtest.Must(t, syscall.Kill(process.ParentOf(pid), syscall.SIGKILL))
	l.Eventually("the program is hung up", func() bool { _, err := os.Stat(l.Path("hup")); return err == nil })
	<-o.Done
}
