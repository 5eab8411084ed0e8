package team

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"quant/internal/metastore/postgrestest"
	"quant/internal/test/labtest"
)

// onOwnServer is a prepared lab on a server of its own.
func onOwnServer(t *testing.T) (*labtest.Lab, *postgrestest.Server) {
	t.Helper()
	server := postgrestest.Start(t, postgrestest.Options{Durable: true})
	l := labtest.New(t)
	l.Env = append(l.Env, "QUANT_META_URL="+server.Database(t))
	l.Must("init-db")
	return l, server
}

const waits = "waiting for the Meta DB's server (--wait "

// What a program logs while the server is being started again waits for that, and stands
// there once.
func TestAProgramLogsThroughARestartOfTheServer(t *testing.T) {
	t.Parallel()
	l, server := onOwnServer(t)
	l.Write("kept.txt", []byte("kept\n"))
	for name, line := range map[string]string{
		"metric":   "quant log metric --wait 5m loss=0.5",
		"param":    "quant log param --wait 5m lr=0.1",
		"note":     "quant log note --wait 5m said",
		"artifact": "quant log artifact --wait 5m kept.txt",
		"stream":   `echo '{"metric":"loss","value":0.5}' | quant log --wait 5m --stdin`,
	} {
		begun, away := l.Path("begun-"+name), l.Path("away-"+name)
		p := l.Start(nil, "exec", "--", "sh", "-ec", `touch "$1"; while [ ! -e "$2" ]; do sleep 0.05; done; `+line, "sh", begun, away)
		l.Eventually("the program begins", func() bool { _, err := os.Stat(begun); return err == nil })
		server.Stop()
		l.Write("away-"+name, nil)
		l.Eventually(name+" waits", func() bool { return strings.Contains(p.Stderr.String(), waits+"5m0s): ") })
		server.Restart(t)
		r := p.Wait()
		l.WantCode(r, 0)
		if !strings.Contains(r.Stderr, "no server answers at ") {
			t.Errorf("%s: it waits for nobody: %v", name, r)
		}
	}
	points := l.Must("runs", "search", "metrics.loss = 0.5", "--output", "csv").Stdout
	if n := strings.Count(points, "\n") - 1; n != 2 {
		t.Errorf("%d runs have the metric: %s", n, points)
	}
	if open := l.Must("runs", "list", "--all", "--status", "RUNNING", "--output", "csv").Stdout; strings.Count(open, "\n") > 2 { // its header, and the list itself
		t.Errorf("runs are left open: %s", open)
	}
}

// Each command waits as long as --wait says, and says so; what it is that does not answer,
// and what to do, is said in the end.
func TestAServerThatStaysAwayEndsACommandAfterItsWait(t *testing.T) {
	t.Parallel()
	l, server := onOwnServer(t)
	server.Stop()
	for _, line := range []string{"symbols add A", "symbols list", "runs list", "init-db", "log metric a=1 --run last"} {
		r := l.Want(8, append(strings.Fields(line), "--wait", "300ms")...)
		if strings.Count(r.Stderr, waits+"300ms): ") != 1 || !strings.Contains(r.Stderr, "no server answers at ") || !strings.Contains(r.Stderr, "\n  hint: ") {
			t.Errorf("%v", r)
		}
		if r = l.Want(8, append(strings.Fields(line), "--wait", "0s")...); strings.Contains(r.Stderr, waits) {
			t.Errorf("it waits: %v", r)
		}
	}
	p := l.Start(nil, "symbols", "add", "A", "--wait", "1h")
	l.Eventually("it waits", func() bool { return strings.Contains(p.Stderr.String(), waits+"1h0m0s): ") })
	p.Signal(syscall.SIGINT)
	l.WantCode(p.Wait(), 130)
	server.Restart(t)
	if r := l.Must("symbols", "list", "--output", "csv"); strings.Count(r.Stdout, "\n") != 1 {
		t.Errorf("something was stored: %v", r)
	}
}
