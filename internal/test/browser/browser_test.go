package browser

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"quant/internal/test/labtest"
	"quant/internal/test/tried"
)

// python is an interpreter that has Playwright and axe-core.
func python(t *testing.T) string {
	t.Helper()
	return tried.Python(t, "QUANT_TEST_PLAYWRIGHT_PYTHON", filepath.Join("driver", "requirements.txt"))
}

// chromium is the browser of this machine.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("QUANT_TEST_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	labtest.CannotTry(t, "there is no Chromium: apt-get install chromium, or name one with QUANT_TEST_CHROMIUM")
	return ""
}

// serve starts quant serve and is its address.
func serve(l *labtest.Lab, args ...string) string {
	l.T.Helper()
	p := l.Start(nil, append([]string{"serve", "--addr", "127.0.0.1:0", "--output", "json"}, args...)...)
	var said struct {
		URL string `json:"url"`
	}
	l.Eventually("quant serve says its address", func() bool {
		select {
		case <-p.Done:
			l.T.Fatalf("quant serve ended: %v", p.Wait())
		default:
		}
		return json.Unmarshal([]byte(p.Stdout.String()), &said) == nil && said.URL != ""
	})
	l.T.Cleanup(func() {
		p.Signal(syscall.SIGTERM)
		if r := p.Wait(); r.Code != 0 {
			l.T.Errorf("quant serve did not end well: %v", r)
		}
	})
	return said.URL
}

// token makes one of a scope.
func token(l *labtest.Lab, name, scope string) string {
	l.T.Helper()
	var made struct {
		Token string `json:"token"`
	}
	labtest.Decode(l.T, l.Must("tokens", "create", name, "--scope", scope, "--output", "json").Stdout, &made)
	return made.Token
}

// check is a line of the driver: what was looked at, and what was wrong with it.
type check struct {
	Name   string   `json:"check"`
	Wrong  []string `json:"wrong"`
	Millis float64  `json:"ms"`
}

// driven runs a program of folder driver and makes a subtest of each of its checks.
func driven(t *testing.T, program, interpreter string, settings map[string]string) {
	t.Helper()
	cmd := exec.Command(interpreter, filepath.Join("driver", program))
	home := t.TempDir()
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1", labtest.NoRaceSleep,
		"SHOTS=" + os.Getenv("QUANT_TEST_SHOTS"),
	}
	for name, value := range settings {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("%s: %v\n%s", program, err, labtest.Clipped(stderr.String()))
	}
	done := 0
	for lines := bufio.NewScanner(&stdout); lines.Scan(); done++ {
		var c check
		labtest.Decode(t, lines.Text(), &c)
		t.Run(c.Name, func(t *testing.T) {
			t.Logf("%.0f ms", c.Millis)
			for _, wrong := range c.Wrong {
				t.Error(wrong)
			}
		})
	}
	if done < 15 {
		t.Errorf("%s made only %d checks", program, done)
	}
}

func TestThePagesInABrowser(t *testing.T) {
	interpreter, browser := python(t), chromium(t)
	l := filled(t)
	base := serve(l)
	client{t, base}.many(manyRuns)
	write, read := token(l, "writer", "write"), token(l, "reader", "read")
	guarded := serve(l, "--login")
	program, err := exec.LookPath("quant")
	labtest.Must(t, err)
	downloads := t.TempDir()
	settings := map[string]string{
		"BASE": base, "GUARDED": guarded, "CHROMIUM": browser, "QUANT": program, "LAB": l.Dir, "DOWNLOADS": downloads,
		"WRITE_TOKEN": write, "READ_TOKEN": read,
	}
	t.Run("looks", func(t *testing.T) { driven(t, "looks.py", interpreter, settings) })
	t.Run("uses", func(t *testing.T) {
		driven(t, "uses.py", interpreter, settings)
		wantDownloads(t, downloads)
	})
}

// wantDownloads reads what the browser saved of SELECT symbol, count(*) AS bars ... as
// other programs do.
func wantDownloads(t *testing.T, dir string) {
	t.Helper()
	file, err := os.Open(filepath.Join(dir, "result.csv"))
	labtest.Must(t, err)
	defer file.Close()
	lines, err := csv.NewReader(file).ReadAll()
	labtest.Must(t, err)
	db, err := sql.Open("duckdb", "")
	labtest.Must(t, err)
	defer db.Close()
	rows := strings.Split(strings.TrimSpace(labtest.TextRows(t, db, "SELECT symbol, bars FROM read_parquet('"+filepath.Join(dir, "result.parquet")+"') ORDER BY symbol")), "\n")
	if len(rows) < 5 || len(lines) != len(rows)+1 || !slices.Equal(lines[0], []string{"symbol", "bars"}) {
		t.Fatalf("%d rows of CSV, %d of Parquet: %v", len(lines), len(rows), lines[0])
	}
	for i, row := range rows {
		if strings.Join(lines[i+1], " ") != row {
			t.Errorf("CSV %v, Parquet %s", lines[i+1], row)
		}
	}
}
