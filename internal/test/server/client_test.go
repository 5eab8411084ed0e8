package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"quant/internal/test/labtest"
	"quant/internal/test/tried"
)

// What MLflow's own server answers to the program of folder client was recorded
// once, since it takes 15 to 60 s to start and is ten times as large to install
// as its client. To record it again: QUANT_TEST_MLFLOW_SERVER=.../bin/mlflow go
// test ./internal/test/server -run Reference -update.
var (
	update    = flag.Bool("update", false, "write what the reference server answers to testdata")
	reference = filepath.Join("testdata", "mlflow-3.17.2.jsonl")
)

// python is an interpreter that has MLflow's client.
func python(t *testing.T) string {
	t.Helper()
	return tried.Python(t, "QUANT_TEST_MLFLOW_PYTHON", filepath.Join("client", "requirements.txt"))
}

var served = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// serve starts quant serve on a fresh lab and is its address.
func serve(t *testing.T, l *labtest.Lab) string {
	t.Helper()
	l.Must("init-db")
	p := l.Start(nil, "serve", "--addr", "127.0.0.1:0")
	var uri string
	l.Eventually("quant serve says its address", func() bool {
		select {
		case <-p.Done:
			t.Fatalf("quant serve ended: %v", p.Wait())
		default:
		}
		uri = served.FindString(p.Stderr.String())
		return uri != ""
	})
	t.Cleanup(func() {
		p.Signal(syscall.SIGTERM)
		if r := p.Wait(); r.Code != 0 && r.Code < 128 {
			t.Errorf("quant serve did not end well: %v", r)
		}
	})
	return uri
}

// script runs a program of Python's with MLFLOW_TRACKING_URI set and nothing of
// the tester's home.
func script(t *testing.T, interpreter, uri string, args ...string) string {
	t.Helper()
	cmd := exec.Command(interpreter, args...)
	home := t.TempDir()
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "LC_ALL=C.UTF-8", "MLFLOW_TRACKING_URI=" + uri, "MLFLOW_DISABLE_TELEMETRY=true", "USER=tester",
		"MPLCONFIGDIR=" + home, "PYTHONDONTWRITEBYTECODE=1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES=0", "OMP_NUM_THREADS=1",
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", strings.Join(args, " "), err, labtest.Clipped(stderr.String()), labtest.Clipped(stdout.String()))
	}
	return stdout.String()
}

// answers are the documents of a program's steps by GROUP/STEP.
func answers(t *testing.T, lines string) map[string]any {
	t.Helper()
	all := map[string]any{}
	scanner := bufio.NewScanner(strings.NewReader(lines))
	scanner.Buffer(nil, 1<<24)
	for scanner.Scan() {
		if strings.HasPrefix(scanner.Text(), "#") {
			continue
		}
		var line struct {
			Group, Step string
			Result      any
		}
		labtest.Decode(t, scanner.Text(), &line)
		all[line.Group+"/"+line.Step] = line.Result
	}
	labtest.Must(t, scanner.Err())
	return all
}

func recorded(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile(reference)
	labtest.Must(t, err)
	return answers(t, string(text))
}

// The program gets from quant what it gets from MLflow's server, in every field,
// but for the differences that the documents name.
func TestClientOfMLflow(t *testing.T) {
	want := recorded(t)
	got := answers(t, script(t, python(t), serve(t, labtest.New(t)), "client"))
	if len(got) < 80 {
		t.Errorf("the program has %d steps, not 80", len(got))
	}
	table := deliberate(t)
	for _, step := range slices.Sorted(maps(want, got)) {
		for _, d := range differences("", want[step], got[step]) {
			if !slices.ContainsFunc(table, func(r *rule) bool { return r.explains(step, d) }) {
				t.Errorf("%s%s\n  MLflow: %s\n  quant:  %s", step, d.at, shortened(d.want), shortened(d.got))
			}
		}
	}
	for _, r := range table {
		if !r.used {
			t.Errorf("docs/server.md names a difference that is none: %s %s", r.step, r.at)
		}
	}
}

// MLflow's server still answers what was recorded.
func TestReference(t *testing.T) {
	program := os.Getenv("QUANT_TEST_MLFLOW_SERVER")
	if program == "" {
		t.Skip("QUANT_TEST_MLFLOW_SERVER names no program mlflow")
	}
	lines := script(t, filepath.Join(filepath.Dir(program), "python"), mlflowServer(t, program), "client")
	if strings.Contains(lines, `"unexpected"`) {
		t.Fatalf("a step ended with an error that it does not expect:\n%s", labtest.Clipped(lines))
	}
	if *update {
		head := "# MLflow's server 3.17.2 (SQLite, --serve-artifacts) asked by internal/test/server/client; written by: go test -run Reference -update\n"
		labtest.Must(t, os.WriteFile(reference, []byte(head+lines), 0o644))
	}
	want, got := recorded(t), answers(t, lines)
	for _, step := range slices.Sorted(maps(want, got)) {
		for _, d := range differences("", want[step], got[step]) {
			t.Errorf("%s%s\n  recorded: %s\n  now:      %s", step, d.at, shortened(d.want), shortened(d.got))
		}
	}
}

func mlflowServer(t *testing.T, program string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	labtest.Must(t, err)
	addr := l.Addr().String()
	labtest.Must(t, l.Close())
	dir := t.TempDir()
	cmd := exec.Command(program, "server", "--host", "127.0.0.1", "--port", addr[strings.LastIndex(addr, ":")+1:], "--workers", "1",
		"--backend-store-uri", "sqlite:///"+filepath.Join(dir, "mlflow.db"), "--artifacts-destination", filepath.Join(dir, "artifacts"), "--serve-artifacts")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	labtest.Must(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if r, err := http.Get("http://" + addr + "/health"); err == nil {
			_ = r.Body.Close()
			return "http://" + addr
		}
	}
	t.Fatal("MLflow's server does not start")
	return ""
}

func shortened(v any) string {
	if v == absent {
		return "(not there)"
	}
	b, _ := json.Marshal(v)
	if len(b) > 400 {
		return string(b[:400]) + "..."
	}
	return string(b)
}
