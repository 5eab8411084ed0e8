package record

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/artifact"
	"quant/internal/durable"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/test/labtest"
)

// logs records a batch of a run, as `quant log` does.
func logs(l *labtest.Lab, runID string, b metastore.Batch) {
	l.T.Helper()
	store, err := sqlite.Open(l.T.Context(), sqlite.Options{Path: l.Meta()})
	labtest.Must(l.T, err)
	defer store.Close()
	now := quant.NewTime(time.Now())
	for i := range b.Params {
		b.Params[i].RunID = runID
	}
	for i := range b.Tags {
		b.Tags[i].RunID = runID
	}
	for i := range b.Metrics {
		b.Metrics[i].RunID, b.Metrics[i].LoggedAt = runID, now
	}
	for i := range b.Notes {
		b.Notes[i].RunID, b.Notes[i].LoggedAt = runID, now
	}
	for i := range b.Artifacts {
		b.Artifacts[i].RunID, b.Artifacts[i].LoggedAt = runID, now
	}
	labtest.Must(l.T, store.Log(l.T.Context(), b))
}

// added is the run of a command that adds a symbol.
func added(l *labtest.Lab, symbol string) string {
	l.T.Helper()
	l.Must("symbols", "add", symbol)
	return l.LastRun().ID
}

func course(name string, values ...float64) (points []quant.MetricPoint) {
	for i, v := range values {
		points = append(points, quant.MetricPoint{Name: name, Step: int64(i), Value: v})
	}
	return points
}

func asJSON(l *labtest.Lab, into any, args ...string) {
	l.T.Helper()
	r := l.Must(append(args, "--output", "json")...)
	if err := json.Unmarshal([]byte(r.Stdout), into); err != nil {
		l.T.Fatalf("%v: %v", err, r)
	}
}

func TestShowHasAllThatARunRecorded(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	id := added(l, "A")
	logs(l, id, metastore.Batch{
		Params:  []quant.Param{{Name: "lr", Value: "0.1"}},
		Tags:    []quant.Tag{{Name: "name", Value: "base\x1b]0;owned\aline"}},
		Metrics: course("loss", 4, 3, 2, 1),
		Notes:   []quant.Note{{Text: "two\nlines"}},
	})
	text := l.Must("runs", "show", id).Stdout
	for _, want := range []string{"lr    0.1", "█▆▃▁", `base\x1b]0;owned\x07line`, "two\n    lines"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.ContainsAny(text, "\x1b\a") {
		t.Errorf("control characters in %q", text)
	}
	var shown struct {
		Name    string
		Metrics []struct {
			Points int
			Last   float64
			Sample []float64
		}
	}
	logs(l, id, metastore.Batch{Metrics: course("loss", make([]float64, 5000)...)})
	asJSON(l, &shown, "runs", "show", id)
	if m := shown.Metrics[0]; m.Points != 5004 || m.Last != 0 || len(m.Sample) != 40 || m.Sample[0] != 4 {
		t.Errorf("%+v", shown)
	}
}

func TestCompareShowsWhatDiffers(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	a, b, c := added(l, "A"), added(l, "B"), added(l, "C")
	for i, id := range []string{a, b, c} {
		logs(l, id, metastore.Batch{
			Params:  []quant.Param{{Name: "same", Value: "x"}, {Name: "lr", Value: fmt.Sprint(i)}},
			Metrics: course("sharpe", 1, 1.5+float64(i)/2),
		})
	}
	logs(l, c, metastore.Batch{Params: []quant.Param{{Name: "only c", Value: ""}}})
	packages := artifact.Store{Dir: l.Meta() + ".artifacts"}
	for id, text := range map[string]string{a: "numpy==1.0\nscipy==2.0\n", b: "numpy==1.1\nscipy==2.0\n"} {
		digest, size, err := packages.Put(t.Context(), strings.NewReader(text))
		labtest.Must(t, err)
		logs(l, id, metastore.Batch{Artifacts: []quant.Artifact{{Name: "python-packages.txt", Digest: digest, Bytes: size}}})
	}
	if r := l.Must("runs", "compare", a, b); !strings.Contains(r.Stdout, "\nnumpy  1.0") || strings.Contains(r.Stdout, "scipy") {
		t.Error(r)
	}
	type row struct {
		Section, Name string
		Differs       bool
		RunID         string `json:"run_id"`
		Value         *string
		Delta         *float64
	}
	var got struct{ Rows []row }
	asJSON(l, &got, "runs", "compare", a, b, c)
	find := func(section, name, id string) *row {
		for i, r := range got.Rows {
			if r.Section == section && r.Name == name && r.RunID == id {
				return &got.Rows[i]
			}
		}
		return nil
	}
	if r := find("metrics", "sharpe", c); r == nil || *r.Value != "2.5" || *r.Delta != 1 {
		t.Errorf("%+v", r)
	}
	if find("params", "same", a) != nil || find("params", "lr", b) == nil || find("params", "only c", a).Value != nil || *find("params", "only c", c).Value != `""` {
		t.Errorf("%+v", got)
	}
	asJSON(l, &got, "runs", "compare", a, b, "--all")
	if r := find("params", "same", a); r == nil || r.Differs {
		t.Error("--all leaves out what is the same")
	}
	text := l.Must("runs", "compare", a, b, c).Stdout
	if !strings.Contains(text, "2.5 (+1)") || !strings.Contains(text, "\nmetrics\nNAME") {
		t.Error(text)
	}
	l.Want(2, "runs", "compare", a)
	l.Want(2, "runs", "compare", a, a)
	l.Want(4, "runs", "compare", a, "ffffffff")
}

func TestDiffIsUnifiedAndSaysSoOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	a, b := added(l, "A"), added(l, "B")
	store := artifact.Store{Dir: l.Meta() + ".artifacts"}
	for id, code := range map[string]string{a: "-x = 1\n+x = 2\n", b: "-x = 1\n+x = 3\xff\x1b[31m\n"} {
		digest, size, err := store.Put(t.Context(), strings.NewReader(code))
		labtest.Must(t, err)
		logs(l, id, metastore.Batch{Artifacts: []quant.Artifact{{Name: "code.diff", Digest: digest, Bytes: size}}})
	}
	r := l.Must("runs", "diff", a, b)
	for _, want := range []string{"--- " + a + "/config\n+++ " + b + "/config\n@@ ", "\n-    \"A\"\n", "\n+    \"B\"\n", "-+x = 2\n", `++x = 3\ufffd\x1b[31m`} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("no %q in\n%s", want, r.Stdout)
		}
	}
	l.Want(1, "runs", "diff", a, b, "--exit-code")
	if r := l.Must("runs", "diff", a, a, "--exit-code"); !strings.Contains(r.Stdout, "are the same") {
		t.Error(r)
	}
	o := l.OnTerminal(nil, "runs", "diff", a, b)
	if screen := o.End(0); !strings.Contains(screen, "\x1b[31m-") || strings.Contains(screen, "\x1b[31m\r\n") {
		t.Error(screen)
	}
	// What is too long is told apart, not compared.
	digest, size, err := store.Put(t.Context(), strings.NewReader(strings.Repeat("long\n", 300_000)))
	labtest.Must(t, err)
	c := added(l, "C")
	logs(l, c, metastore.Batch{Artifacts: []quant.Artifact{{Name: "code.diff", Digest: digest, Bytes: size}}})
	if r := l.Must("runs", "diff", a, c); !strings.Contains(r.Stdout, "# code.diff: they differ") {
		t.Error(r)
	}
}

// foreign is a run of another machine, of which nobody here can tell whether it
// lives; ended closes it.
func foreign(l *labtest.Lab, kind string) (id string, ended func(status string)) {
	l.T.Helper()
	id = "01900000-0000-7000-8000-00000000abcd"
	db := l.OpenMeta("")
	exec := func(query string, args ...any) {
		l.T.Helper()
		_, err := db.Exec(query, args...)
		labtest.Must(l.T, err)
	}
	exec(`INSERT INTO runs (run_id, kind, status, started_at) VALUES (?, ?, 'RUNNING', '2024-06-10T00:00:00.000000Z')`, id, kind)
	exec(`INSERT INTO run_process (run_id, changes, pid, machine_id) VALUES (?, 1, 1, 'another machine')`, id)
	return id, func(status string) {
		l.T.Helper()
		var text any
		if status == "FAIL" {
			text = "it broke\nmore"
		}
		exec(`UPDATE runs SET status = ?, ended_at = '2024-06-10T00:01:00.000000Z', error_text = ? WHERE run_id = ?`, status, text, id)
	}
}

func TestAWatchEndsWithTheRunsThatItNames(t *testing.T) {
	t.Parallel()
	for status, code := range map[string]int{"SUCCESS": 0, "FAIL": 1} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			l.Must("init-db")
			id, ended := foreign(l, "exec")
			p := l.Start(nil, "runs", "watch", id, "--every", "100ms")
			lines := l.Start(nil, "runs", "watch", id, "--every", "100ms", "--output", "json")
			l.Eventually("it is seen to run", func() bool {
				return strings.Contains(p.Stdout.String(), "RUNNING") && strings.Contains(lines.Stdout.String(), "RUNNING")
			})
			logs(l, id, metastore.Batch{Metrics: course("loss", 0.25), Tags: []quant.Tag{{Name: "name", Value: "a\nb"}}})
			l.Eventually("its metric is seen", func() bool {
				return strings.Contains(p.Stdout.String(), `a\nb`) && strings.Contains(p.Stdout.String(), "loss=0.25")
			})
			l.Eventually("the other one sees it too", func() bool { return strings.Contains(lines.Stdout.String(), "0.25") })
			ended(status)
			r := p.Wait()
			l.WantCode(r, code)
			if n := strings.Count(r.Stdout, "\n"); n != 3 || !strings.Contains(r.Stdout, status) {
				t.Errorf("%d lines: %v", n, r)
			}
			r = lines.Wait()
			l.WantCode(r, code)
			var events []struct{ Status string }
			if err := json.Unmarshal([]byte(r.Stdout), &events); err != nil || len(events) != 3 || events[2].Status != status {
				t.Errorf("%v: %v", err, r)
			}
		})
	}
}

func TestAWatchOnATerminalGivesItBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		leave func(o *labtest.Terminal)
		code  int
	}{
		"q":       {func(o *labtest.Terminal) { o.Typing("q") }, 0},
		"Ctrl-C":  {func(o *labtest.Terminal) { o.Typing("\x03") }, 0},
		"SIGTERM": {func(o *labtest.Terminal) { o.Signal(syscall.SIGTERM) }, 143},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			l.Must("init-db")
			id, _ := foreign(l, "exec")
			logs(l, id, metastore.Batch{
				Tags:    []quant.Tag{{Name: "name", Value: "n\x1b]0;owned\a\u202e"}},
				Metrics: course("한글\u0301-metric-of-a-name-that-is-long", 1.5),
			})
			o := l.OnTerminal(nil, "runs", "watch", "--every", "100ms")
			o.WaitFor("1 running")
			modes := func() unix.Termios {
				m, err := unix.IoctlGetTermios(int(o.TTY.Fd()), getTermios)
				labtest.Must(t, err)
				return *m
			}
			if modes().Lflag&unix.ECHO != 0 {
				t.Error("keys are shown")
			}
			labtest.Must(t, pty.Setsize(o.TTY, &pty.Winsize{Rows: 3, Cols: 30}))
			o.Signal(syscall.SIGWINCH)
			o.WaitFor("... and ")
			c.leave(o)
			screen := o.End(c.code)
			if modes().Lflag&unix.ECHO == 0 || !strings.Contains(screen, "\x1b[?25h\x1b[?1049l") {
				t.Errorf("the terminal is not given back: %q", screen)
			}
			if strings.Contains(screen, "\x1b]0;") || strings.Contains(screen, "\u202e") || !strings.Contains(screen, `n\x1b]0;owned`) {
				t.Errorf("a name rewrites the terminal: %q", screen)
			}
			status := "SUCCESS"
			if c.code != 0 {
				status = "FAIL"
			}
			if run := l.LastRun(); run.Kind != "runs.watch" || run.Status != status || int(run.Exit.Int64) != c.code {
				t.Errorf("%+v", run)
			}
		})
	}
}

func TestAWatchThatNobodyReadsEndsQuietly(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	added(l, "A")
	p := l.Start(nil, "runs", "watch", "--every", "100ms")
	l.Eventually("the newest run is seen", func() bool { return strings.Contains(p.Stdout.String(), "symbols.add") })
	p.Signal(syscall.SIGINT)
	l.WantCode(p.Wait(), 130)
	l.Want(2, "runs", "watch", "--every", "1ms")
	l.Want(4, "runs", "watch", "ffffffff")
}

func TestStatsSumUpByKind(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	added(l, "A")
	l.Want(2, "symbols", "add", "a b")
	fail := l.LastRun().ID
	var stats []struct {
		Kind                  string
		Runs, Success, Fail   int
		SuccessRate           float64 `json:"success_rate"`
		P50                   int64   `json:"p50_us"`
		P95                   int64   `json:"p95_us"`
		LastFail, LastFailRun string
		Run                   string `json:"last_fail_run"`
	}
	for _, since := range []string{"30d", "0", "all", "1h"} {
		asJSON(l, &stats, "runs", "stats", "--since", since)
		if len(stats) != 1 || stats[0].Runs != 2 || stats[0].SuccessRate != 0.5 || stats[0].Run != fail || stats[0].P50 > stats[0].P95 || stats[0].P50 <= 0 {
			t.Errorf("--since %s: %+v", since, stats)
		}
	}
	asJSON(l, &stats, "runs", "stats", "--kind", "nosuch")
	if len(stats) != 0 {
		t.Errorf("%+v", stats)
	}
	l.Want(2, "runs", "stats", "--since", "soon")
}

func TestAPlotShowsTheSpikeAndReplacesNothing(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	a, b := added(l, "A"), added(l, "B")
	values := make([]float64, 50_000)
	for i := range values {
		values[i] = math.Sin(float64(i) / 5000)
	}
	values[31_234] = 9
	logs(l, a, metastore.Batch{Metrics: course("loss", values...), Tags: []quant.Tag{{Name: "name", Value: "<b>&\x1b[31m"}}})
	logs(l, b, metastore.Batch{Metrics: course("loss", -1, -2)})
	var got struct {
		Runs []struct {
			Points int
			Drawn  []struct{ X, Value float64 }
		}
	}
	asJSON(l, &got, "runs", "plot", "loss", a, b)
	highest := 0.0
	for _, p := range got.Runs[0].Drawn {
		highest = max(highest, p.Value)
	}
	if got.Runs[0].Points != 50_000 || len(got.Runs[0].Drawn) > 4*80 || highest != 9 || len(got.Runs[1].Drawn) != 2 {
		t.Errorf("%d points, %d drawn, highest %v", got.Runs[0].Points, len(got.Runs[0].Drawn), highest)
	}
	text := l.Must("runs", "plot", "loss", a, b, "--x", "time", "--width", "60", "--height", "8").Stdout
	if strings.Contains(text, "\x1b") || strings.Count(text, "\n") < 12 {
		t.Errorf("%q", text)
	}

	l.Must("runs", "plot", "loss", a, b, "--out", "a.png")
	f, err := os.Open(l.Path("a.png"))
	labtest.Must(t, err)
	defer f.Close()
	if img, err := png.Decode(f); err != nil || img.Bounds().Dx() != 1200 || img.Bounds().Dy() != 600 {
		t.Error(err)
	}
	l.Must("runs", "plot", "loss", a, b, "--out", "a.svg", "--width", "400", "--height", "300")
	svg, err := os.ReadFile(l.Path("a.svg"))
	labtest.Must(t, err)
	for dec := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if bytes.Contains(svg, []byte("<b>")) || bytes.ContainsAny(svg, "\x1b") {
		t.Errorf("%s", svg)
	}
	l.Want(5, "runs", "plot", "loss", b, "--out", "a.svg")
	if now, _ := os.ReadFile(l.Path("a.svg")); !bytes.Equal(now, svg) {
		t.Error("a file was overwritten")
	}
	l.Must("runs", "plot", "loss", b, "--out", "a.svg", "--force")
	l.Want(2, "runs", "plot", "loss", b, "--out", "a.gif")
	l.Want(2, "runs", "plot", "loss", b, "--log-y")
	l.Want(2, "runs", "plot", "loss", b, "--width", "999999")
	l.Want(4, "runs", "plot", "nosuch", b)
	l.Want(1, "runs", "plot", "loss", b, "--out", "no/such/folder.png")
}

func TestAnArtifactComesOutWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	id := added(l, "A")
	store := artifact.Store{Dir: l.Meta() + ".artifacts"}
	const text = "what was\nmeasured \x1b[31m\n"
	for name, content := range map[string]string{"t.txt": text, "bin/b": "\x00\xff\x1b[2J"} {
		digest, size, err := store.Put(t.Context(), strings.NewReader(content))
		labtest.Must(t, err)
		logs(l, id, metastore.Batch{Artifacts: []quant.Artifact{{Name: name, Digest: digest, Bytes: size}}})
	}
	if r := l.Must("runs", "artifact", id, "--output", "csv"); !strings.Contains(r.Stdout, "bin/b,6,sha256:") || !strings.Contains(r.Stdout, "\nt.txt,24,") {
		t.Error(r)
	}
	if r := l.Must("runs", "artifact", id, "t.txt"); r.Stdout != text {
		t.Errorf("%q", r.Stdout)
	}
	o := l.OnTerminal(nil, "runs", "artifact", id, "bin/b")
	if screen := o.End(6); !strings.Contains(screen, "--out FILE") || strings.Contains(screen, "\x1b[2J") {
		t.Errorf("%q", screen)
	}
	o = l.OnTerminal(nil, "runs", "artifact", id, "t.txt")
	if screen := o.End(0); !strings.Contains(screen, `measured \x1b[31m`) {
		t.Errorf("%q", screen)
	}

	l.Write("kept", []byte("mine"))
	labtest.Must(t, os.Symlink("kept", l.Path("link")))
	labtest.Must(t, os.Symlink("nowhere", l.Path("dangling")))
	for _, name := range []string{"kept", "link", "dangling", "."} {
		l.Want(5, "runs", "artifact", id, "t.txt", "--out", name)
	}
	l.Must("runs", "artifact", id, "t.txt", "--out", "link", "--force")
	l.Must("runs", "artifact", id, "t.txt", "--out", "new")
	for name, want := range map[string]string{"kept": "mine", "link": text, "new": text} {
		if got, err := os.ReadFile(l.Path(name)); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	if info, err := os.Lstat(l.Path("link")); err != nil || !info.Mode().IsRegular() {
		t.Error("the link was followed", err)
	}
	if left, _ := filepath.Glob(l.Path(durable.TemporaryPattern)); left != nil {
		t.Error(left)
	}
	l.Want(4, "runs", "artifact", id, "../../etc/passwd")
	l.Want(2, "runs", "artifact", id, "--out", "x")

	// What is not what was stored is refused before a byte of it is written.
	labtest.Must(t, store.Each(t.Context(), func(c artifact.Content) error {
		labtest.Must(t, os.Chmod(c.Path, 0o600))
		return os.WriteFile(c.Path, []byte("forged"), 0o600)
	}))
	if r := l.Want(6, "runs", "artifact", id, "t.txt"); r.Stdout != "" {
		t.Error(r)
	}
	l.Want(6, "runs", "artifact", id, "t.txt", "--out", "forged")
	if _, err := os.Lstat(l.Path("forged")); err == nil {
		t.Error("a forged content was written")
	}
}
