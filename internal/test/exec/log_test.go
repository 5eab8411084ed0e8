package exec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quant/internal/test/labtest"
	"quant/internal/test/soak"
)

// logging starts `quant log --stdin` for a run, and returns where to write.
func logging(l *labtest.Lab, id string, args ...string) (*labtest.Process, io.WriteCloser) {
	l.T.Helper()
	cmd := l.Command(append([]string{"log", "--stdin"}, args...)...)
	cmd.Env = append(cmd.Env, "QUANT_RUN_ID="+id)
	in, err := cmd.StdinPipe()
	labtest.Must(l.T, err)
	return l.StartCmd(cmd), in
}

func metricLines(name string, from, to int) []byte {
	var b bytes.Buffer
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, `{"metrics":{"%s":%d,"%s_twin":%d},"step":%d}`+"\n", name, i, name, i, i)
	}
	return b.Bytes()
}

func TestLinesAreStoredWhileTheStreamGoesOn(t *testing.T) {
	t.Parallel()
	l, id := reading(t)
	p, in := logging(l, id)
	for n := 1; n <= 3; n++ {
		_, err := in.Write(metricLines("loss", n, n+1))
		labtest.Must(t, err)
		l.Eventually("the point is there", func() bool {
			return l.MetaRows("SELECT coalesce(max(points), 0) FROM run_metrics") == fmt.Sprintln(n)
		})
	}
	// Half a line waits for its other half.
	_, err := io.WriteString(in, `{"metric":"loss","val`)
	labtest.Must(t, err)
	_, err = io.WriteString(in, `ue":9}`)
	labtest.Must(t, err)
	labtest.Must(t, in.Close())
	l.WantCode(p.Wait(), 0)
	if got := l.MetaRows("SELECT name, points, last FROM run_metrics ORDER BY name"); got != "loss 4 9\nloss_twin 3 3\n" && got != "loss 4 9.0\nloss_twin 3 3.0\n" {
		t.Error(got)
	}
	if got := l.MetaRows("SELECT count(*) FROM runs WHERE kind = 'log'"); got != "1\n" {
		t.Error(got)
	}
}

func TestASignalledStreamKeepsWhatItHadRead(t *testing.T) {
	t.Parallel()
	l, id := reading(t)
	// Long enough for the lines to be read before the signal, and short enough for
	// them to be pending often; both must end the same.
	for n, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		name := fmt.Sprintf("m%d", n)
		p, in := logging(l, id)
		_, err := in.Write(metricLines(name, 0, 100))
		labtest.Must(t, err)
		l.Eventually("it has begun", func() bool {
			return l.MetaRows("SELECT count(*) FROM run_metrics WHERE name = '"+name+"'") == "1\n"
		})
		_, err = in.Write(metricLines(name, 100, 200))
		labtest.Must(t, err)
		time.Sleep(20 * time.Millisecond) // a moment to read them; what is read is kept
		p.Signal(signal)
		l.WantCode(p.Wait(), 128+int(signal))
		in.Close()
		got := l.MetaRows("SELECT max(points) = min(points) FROM run_metrics WHERE name LIKE '" + name + "%'")
		if got != "1\n" {
			t.Error("a line is torn")
		}
		l.WantFail(l.LastRun(), int64(128+int(signal)), "ended by ")
	}
}

func TestAKilledStreamLeavesWholeBatches(t *testing.T) {
	t.Parallel()
	l, id := reading(t)
	rounds := soak.Count(t, 8, 100)
	random := soak.Random(t)
	for n := range rounds {
		name := fmt.Sprintf("m%d", n)
		p, in := logging(l, id)
		go func() {
			for i := 0; ; i += 500 {
				if _, err := in.Write(metricLines(name, i, i+500)); err != nil {
					return
				}
			}
		}()
		if n%2 == 0 { // else anywhere, also before the first commit
			l.Eventually("it has stored something", func() bool {
				return l.MetaRows("SELECT count(*) FROM run_metrics WHERE name = '"+name+"'") == "1\n"
			})
		}
		time.Sleep(time.Duration(random.IntN(700)) * time.Millisecond)
		labtest.Must(t, p.Process.Kill())
		p.Wait()
		in.Close()
	}
	// The next command closes what died, and whatever is stored is whole.
	l.Must("config")
	for what, query := range map[string]string{
		"a metric without its twin":       "SELECT count(*) FROM run_metrics a LEFT JOIN run_metrics b ON b.run_id = a.run_id AND b.name = a.name || '_twin' WHERE a.name NOT LIKE '%twin' AND (b.points IS NULL OR a.points <> b.points)",
		"a sum that is not its points'":   "SELECT count(*) FROM run_metrics m WHERE points <> (SELECT count(*) FROM run_metric_points p WHERE p.run_id = m.run_id AND p.name = m.name) OR last <> (SELECT value FROM run_metric_points p WHERE p.run_id = m.run_id AND p.name = m.name ORDER BY point DESC LIMIT 1)",
		"a point that is not the next":    "SELECT count(*) FROM run_metric_points WHERE point <> step + 1 OR value <> step",
		"a stream that is still RUNNING":  "SELECT count(*) FROM runs WHERE status = 'RUNNING'",
		"a run that was logged to, ended": "SELECT count(*) FROM runs WHERE run_id = '" + id + "' AND status <> 'SUCCESS'",
	} {
		if got := l.MetaRows(query); got != "0\n" {
			t.Errorf("%s: %s", what, got)
		}
	}
	if got := l.MetaRows("SELECT sum(points) > 0 FROM run_metrics"); got != "1\n" {
		t.Error("nothing was stored before any kill")
	}
}

func TestManyWritersAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	writers, points := soak.Count(t, 8, 64), soak.Count(t, 200, 1000)/4*4
	l, id := reading(t)
	var all sync.WaitGroup
	results := make([]labtest.Result, writers)
	for w := range writers {
		p, in := logging(l, id)
		all.Go(func() {
			defer in.Close()
			// In parts, so that each of them commits several times among the others.
			for i := 0; i < points; i += points / 4 {
				if _, err := in.Write(metricLines(fmt.Sprintf("m%d", w), i, i+points/4)); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Duration(w%7) * 100 * time.Millisecond)
			}
			in.Close()
			results[w] = p.Wait()
		})
	}
	all.Wait()
	for _, r := range results {
		l.WantCode(r, 0)
		if strings.Contains(r.Stderr, "locked") {
			t.Error(r)
		}
	}
	want := fmt.Sprintf("%d %d %d %d\n", 2*writers, 2*writers*points, points, points)
	if got := l.MetaRows("SELECT count(*), sum(points), min(points), max(last_step) + 1 FROM run_metrics"); got != want {
		t.Errorf("got %swant %s", got, want)
	}
	if got := l.MetaRows("SELECT count(*) FROM run_metric_points WHERE point <> step + 1 OR value <> step"); got != "0\n" {
		t.Error(got)
	}
	l.WantClosed()
}

func TestManySingleLogsAtOnceLoseNothing(t *testing.T) {
	t.Parallel()
	writers, calls := soak.Count(t, 8, 64), soak.Count(t, 5, 20)
	l, id := reading(t)
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range calls {
				l.Must("log", "metric", "--run", id, "loss=1")
			}
		})
	}
	all.Wait()
	if got := l.MetaRows("SELECT points, last_step FROM run_metrics"); got != fmt.Sprintf("%d %d\n", writers*calls, writers*calls-1) {
		t.Error(got)
	}
}

func TestAStreamTakesLittleMemory(t *testing.T) {
	t.Parallel()
	l, id := reading(t)
	size := soak.Count(t, 8<<20, 256<<20)
	p, in := logging(l, id)
	long := []byte(`{"note":"` + strings.Repeat("x", 60<<10) + `"}` + "\n")
	huge := []byte(`{"note":"` + strings.Repeat("x", 3<<20) + `"}` + "\n")
	for sent := 0; sent < size; sent += len(long) {
		_, err := in.Write(long)
		labtest.Must(t, err)
	}
	_, err := in.Write(huge)
	labtest.Must(t, err)
	// Not what its end reports: that begins with the memory of this process.
	peak, known := peakMemory(t, p.Process.Pid)
	_, err = io.WriteString(in, `{"metric":"end","value":1}`)
	labtest.Must(t, err)
	labtest.Must(t, in.Close())
	r := p.Wait()
	l.WantCode(r, 3)
	if !strings.Contains(r.Stderr, "bytes long, more than 1048576") {
		t.Error(r)
	}
	if got := l.MetaRows("SELECT points FROM run_metrics WHERE name = 'end'"); got != "1\n" {
		t.Error(got)
	}
	if known {
		t.Logf("peak %d MiB for %d MiB", peak>>20, size>>20)
		if peak > 150<<20 && !labtest.RaceDetector { // which takes several times the memory
			t.Errorf("peak memory %d MiB", peak>>20)
		}
	}
}

// peakMemory is the most that a process has held so far, in bytes.
func peakMemory(t *testing.T, pid int) (peak int64, known bool) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false
	}
	labtest.Must(t, err)
	_, rest, found := strings.Cut(string(status), "VmHWM:")
	if !found {
		t.Fatalf("no VmHWM in\n%s", status)
	}
	_, err = fmt.Sscanf(rest, "%d kB", &peak)
	labtest.Must(t, err)
	return peak << 10, true
}

func TestARefusedLineOfABatchCostsOnlyItself(t *testing.T) {
	t.Parallel()
	l, id := reading(t)
	l.Must("log", "param", "--run", id, "lr=1")
	cmd := l.Command("log", "--stdin", "--run", id, "--output", "json")
	var in bytes.Buffer
	for i := range 3000 {
		fmt.Fprintf(&in, `{"metric":"loss","value":%d}`+"\n", i)
		if i%300 == 7 {
			fmt.Fprintf(&in, `{"params":{"new%d":1,"lr":2}}`+"\n", i)
		}
	}
	cmd.Stdin = &in
	r := l.StartCmd(cmd).Wait()
	l.WantCode(r, 3)
	var report struct {
		Stored int `json:"stored"`
		Bad    []struct {
			Line int `json:"line"`
		} `json:"bad_lines"`
	}
	labtest.Decode(t, r.Stdout, &report)
	if report.Stored != 3000 || len(report.Bad) != 10 || report.Bad[0].Line != 9 || report.Bad[9].Line != 2718 {
		t.Error(report)
	}
	if got := l.MetaRows("SELECT points, last_step, max, (SELECT count(*) FROM run_params) FROM run_metrics"); got != "3000 2999 2999 1\n" && got != "3000 2999 2999.0 1\n" {
		t.Error(got)
	}
}
