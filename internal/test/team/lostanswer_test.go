package team

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"quant/internal/test/labtest"
)

// way is a way to a server that may lose the answer to a COMMIT.
type way struct {
	lose   atomic.Bool  // the next COMMIT's
	losing atomic.Int64 // how many were lost
}

// to makes a URL of the server's lead over the way.
func (w *way) to(t *testing.T, at string) string {
	t.Helper()
	u, err := url.Parse(at)
	labtest.Must(t, err)
	q := u.Query()
	server, dir := filepath.Join(q.Get("host"), ".s.PGSQL."+q.Get("port")), t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL."+q.Get("port")))
	labtest.Must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(client, server)
		}
	}()
	q.Set("host", dir)
	u.RawQuery = q.Encode()
	return u.String()
}

// carry carries a connection, until either side ends it or an answer is to be lost.
func (w *way) carry(client net.Conn, at string) {
	defer client.Close()
	server, err := net.Dial("unix", at)
	if err != nil {
		return
	}
	defer server.Close()
	var lost atomic.Bool
	go func() {
		defer server.Close()
		b := make([]byte, 1<<16)
		for {
			n, err := client.Read(b)
			if err != nil {
				return
			}
			if bytes.Contains(b[:n], []byte("COMMIT\x00")) && w.lose.CompareAndSwap(true, false) {
				lost.Store(true)
			}
			if _, err := server.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	b := make([]byte, 1<<16)
	for {
		n, err := server.Read(b)
		if err != nil {
			return
		}
		if lost.Load() {
			w.losing.Add(1)
			return
		}
		if _, err := client.Write(b[:n]); err != nil {
			return
		}
	}
}

// A batch whose COMMIT the server did, and whose answer was lost, is stored once, and the
// stream goes on.
func TestABatchWhoseAnswerWasLostIsStoredOnce(t *testing.T) {
	t.Parallel()
	o := newTeam(t)
	l, w := o.machine(), &way{}
	l.Must("config")
	id := strings.TrimSpace(o.rows(`SELECT run_id FROM quant.runs WHERE kind = 'config'`))
	l.Env = append(l.Env, "QUANT_META_URL="+w.to(t, o.url))
	cmd := l.Command("--output", "json", "--wait", "5m", "log", "--stdin", "--run", id)
	say, err := cmd.StdinPipe()
	labtest.Must(t, err)
	p := l.StartCmd(cmd)
	note := func(text string) {
		_, err := fmt.Fprintf(say, `{"note":%q}`+"\n"+`{"metric":"m","value":1}`+"\n", text)
		labtest.Must(t, err)
	}
	notes := func() string { return o.rows(`SELECT text FROM quant.run_notes ORDER BY note`) }
	note("first")
	l.Eventually("the first batch is stored", func() bool { return notes() == "first" })
	w.lose.Store(true)
	note("second")
	l.Eventually("an answer is lost", func() bool { return w.losing.Load() == 1 })
	note("third")
	labtest.Must(t, say.Close())
	r := p.Wait()
	if got := notes(); r.Code != 0 || got != "first\nsecond\nthird" {
		t.Errorf("stored are\n%s\n%v", got, r)
	}
	if got := o.rows(`SELECT count(*) FROM quant.run_metric_points`); got != "3" {
		t.Errorf("%s points, want 3", got)
	}
	for what, query := range map[string]string{"marks outlived their process": `SELECT count(*) FROM quant.batches`, "runs are left open": `SELECT count(*) FROM quant.runs WHERE status = 'RUNNING'`} {
		if got := o.rows(query); got != "0" {
			t.Errorf("%s %s", got, what)
		}
	}
	var said struct {
		Stored int `json:"stored"`
	}
	labtest.Decode(t, r.Stdout, &said)
	if said.Stored != 6 {
		t.Errorf("it says %s", r.Stdout)
	}
}
