package serving

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quant"
	"quant/internal/test/labtest"
)

// serving is a real server.
type serving struct {
	*labtest.Process
	lab        *labtest.Lab
	url, runID string
}

// serve starts a server at a free port, unless args say where, and waits until it
// answers.
func serve(l *labtest.Lab, args ...string) *serving {
	l.T.Helper()
	s := &serving{lab: l, Process: l.Start(nil, append([]string{"--output", "json", "serve", "--addr", "127.0.0.1:0"}, args...)...)}
	l.Eventually("the server says where it is", func() bool {
		select {
		case <-s.Done:
			l.T.Fatalf("it ended instead: %v", s.Wait())
		default:
		}
		return strings.HasSuffix(s.Stdout.String(), "}\n")
	})
	var said struct {
		URL   string `json:"url"`
		RunID string `json:"run_id"`
	}
	labtest.Decode(l.T, s.Stdout.String(), &said)
	s.url, s.runID = said.URL, said.RunID
	return s
}

// ends asks the server to end and wants it to succeed.
func (s *serving) ends(signal syscall.Signal) {
	s.lab.T.Helper()
	s.Signal(signal)
	s.lab.WantCode(s.Wait(), 0)
	s.wantRun("SUCCESS", "")
}

func (s *serving) wantRun(status, text string) {
	s.lab.T.Helper()
	for _, r := range s.lab.Runs() {
		if r.ID == s.runID {
			if r.Kind != "serve" || r.Status != status || !strings.Contains(r.Error, text) {
				s.lab.T.Fatalf("the run of the server: %+v, want %s %q", r, status, text)
			}
			return
		}
	}
	s.lab.T.Fatalf("run %s is not recorded", s.runID)
}

// answer is what came back; status 0 and the error for none.
type answer struct {
	status int
	body   string
	header http.Header
}

// curl asks as a simple client does: headers are NAME: VALUE.
func curl(client *http.Client, method, url, body string, headers ...string) answer {
	r, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		return answer{0, err.Error(), nil}
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	res, err := client.Do(r)
	if err != nil {
		return answer{0, err.Error(), nil}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{0, err.Error(), nil}
	}
	return answer{res.StatusCode, string(b), res.Header}
}

// browser follows nothing and waits a minute at most.
func browser() *http.Client {
	return &http.Client{
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true},
	}
}

func (s *serving) get(path string, headers ...string) answer {
	return curl(browser(), http.MethodGet, s.url+path, "", headers...)
}

func (s *serving) post(path, body string, headers ...string) answer {
	return curl(browser(), http.MethodPost, s.url+path, body, headers...)
}

// fresh is a lab that exists.
var fresh = labtest.Prepared{Make: func(l *labtest.Lab) { l.Must("symbols", "add", "AAPL") }}

func TestASignalEndsAServerAsASuccess(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			l := fresh.Copy(t)
			s := serve(l)
			if a := s.get("/health"); a.status != 200 || a.body != "OK" {
				t.Fatalf("%+v", a)
			}
			s.wantRun("RUNNING", "")
			s.ends(signal)
			if got := s.Wait(); !strings.Contains(got.Stderr, "serving ./data at "+s.url) {
				t.Errorf("it does not say where it serves: %v", got)
			}
			if got := l.MetaRows("SELECT value FROM run_tags WHERE name = 'server.url' AND run_id = '" + s.runID + "'"); got != s.url+"\n" {
				t.Errorf("its url is recorded as %q", got)
			}
			l.WantClosed()
			l.Doctor()
		})
	}
}

func TestARequestThatIsAnsweredIsFinishedAndASecondSignalDoesNotWait(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprint(again), func(t *testing.T) {
			t.Parallel()
			l := fresh.Copy(t)
			s := serve(l)
			// A login whose body does not come to its end is a request that is answered.
			c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
			labtest.Must(t, err)
			defer c.Close()
			_, err = io.WriteString(c, "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\ntoken")
			labtest.Must(t, err)
			l.Eventually("the request is in flight", func() bool {
				return strings.Contains(s.get("/metrics").body, "\nquant_http_requests_in_flight 2\n")
			})
			s.Signal(syscall.SIGTERM)
			l.Eventually("nobody else is let in", func() bool { return s.get("/health").status == 0 })
			if again {
				begun := time.Now()
				s.Signal(syscall.SIGTERM)
				r := s.Wait()
				l.WantCode(r, 128+int(syscall.SIGTERM))
				if took := time.Since(begun); took > 4*time.Second {
					t.Errorf("it took %v", took)
				}
				s.wantRun("FAIL", "SIGTERM")
				return
			}
			_, err = io.WriteString(c, "=x")
			labtest.Must(t, err)
			line, err := bufio.NewReader(c).ReadString('\n')
			if err != nil || !strings.Contains(line, " 401 ") {
				t.Errorf("%q %v", line, err)
			}
			l.WantCode(s.Wait(), 0)
			s.wantRun("SUCCESS", "")
		})
	}
}

func TestWhatCannotListenSaysWhy(t *testing.T) {
	t.Parallel()
	l := fresh.Copy(t)
	s := serve(l)
	at := strings.TrimPrefix(s.url, "http://")
	r := l.Want(5, "serve", "--addr", at)
	if !strings.Contains(r.Stderr, "the address "+at+" is taken by quant run "+s.runID) || !strings.Contains(r.Stderr, fmt.Sprintf("pid %d", s.Process.Process.Pid)) {
		t.Errorf("%v", r)
	}
	_, port, _ := net.SplitHostPort(at)
	l.Must("tokens", "create", "a")
	if r := l.Want(5, "serve", "--addr", "0.0.0.0:"+port); !strings.Contains(r.Stderr, s.runID) {
		t.Errorf("%v", r)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	labtest.Must(t, err)
	defer other.Close()
	if r := l.Want(5, "serve", "--addr", other.Addr().String()); !strings.Contains(r.Stderr, "is taken\n") {
		t.Errorf("by somebody else: %v", r)
	}
	if r := l.Want(2, "serve", "--addr", "192.0.2.1:5000"); !strings.Contains(r.Stderr, "no address of this machine") {
		t.Errorf("%v", r)
	}
	s.ends(syscall.SIGTERM)
	l.WantClosed()
}

func TestAServerWhoseLabIsRemovedAcknowledgesNothingAndEnds(t *testing.T) {
	t.Parallel()
	l := fresh.Copy(t)
	s := serve(l)
	const create, json = "/api/2.0/mlflow/experiments/create", "Content-Type: application/json"
	if a := s.post(create, `{"name":"there"}`, json); a.status != 200 {
		t.Fatalf("%+v", a)
	}
	labtest.Must(t, os.RemoveAll(filepath.Join(l.Dir, "data")))
	if a := s.post(create, `{"name":"gone"}`, json); a.status != 503 && a.status != 0 { // 0: it has ended
		t.Errorf("acknowledged in a file that nobody finds: %+v", a)
	}
	got := s.Wait()
	l.WantCode(got, 8)
	if !strings.Contains(got.Stderr, "removed or replaced while it was served") {
		t.Errorf("it does not say why it ended: %v", got)
	}
}

func TestTwoServersOfOneLabStandBesideEachOther(t *testing.T) {
	t.Parallel()
	l := fresh.Copy(t)
	a, b := serve(l), serve(l)
	secret := token(l, "both")
	for _, s := range []*serving{a, b} {
		if got := s.get("/metrics", "Authorization: Bearer "+secret); got.status != 200 || !strings.Contains(got.body, "\nquant_runs_open 2\n") {
			t.Errorf("%+v", got)
		}
	}
	l.Must("tokens", "revoke", "both")
	for _, s := range []*serving{a, b} {
		if got := s.get("/metrics", "Authorization: Bearer "+secret); got.status != 401 {
			t.Errorf("%+v", got)
		}
		s.ends(syscall.SIGINT)
	}
}

func TestAServerClosesTheRunsOfProcessesThatDied(t *testing.T) {
	t.Parallel()
	l := fresh.Copy(t)
	s := serve(l)
	dead := l.Start([]string{"QUANT_TEST_FAILPOINT=meta.finish.before"}, "symbols", "add", "MSFT").Wait()
	if dead.Code != labtest.Killed {
		t.Fatalf("it was not killed: %v", dead)
	}
	l.Eventually("the dead run is closed", func() bool { return l.RunOf("symbols.add").Status == string(quant.Fail) })
	if got := s.get("/metrics"); !strings.Contains(got.body, "\nquant_runs_found_dead_total 1\n") {
		t.Error("the metrics do not count it")
	}
	s.ends(syscall.SIGTERM)
}

func TestTheNextCommandClosesTheRunOfAServerThatWasKilled(t *testing.T) {
	t.Parallel()
	l := fresh.Copy(t)
	s := serve(l)
	s.Signal(syscall.SIGKILL)
	s.Wait()
	l.Must("symbols", "list")
	s.wantRun("FAIL", "process ended without finishing")
	serve(l, "--addr", strings.TrimPrefix(s.url, "http://")).ends(syscall.SIGTERM) // the port is free again
	l.Doctor()
}

func TestABackupIsTakenBesideAServerAndNoOtherLabIsPutInItsPlace(t *testing.T) {
	t.Parallel()
	l := fresh.Copy(t)
	s := serve(l)
	l.Must("backup", "lab.tar")
	for _, args := range [][]string{{"restore", "lab.tar", "--yes", "--wait", "200ms"}, {"init-db", "--reset", "--yes", "--wait", "200ms"}} {
		if r := l.Want(5, args...); !strings.Contains(r.Stderr, "is still running") || !strings.Contains(r.Stderr, "serve") {
			t.Errorf("%v", r)
		}
	}
	if a := s.get("/health"); a.status != 200 {
		t.Errorf("%+v", a)
	}
	s.ends(syscall.SIGTERM)
	l.Must("restore", "lab.tar", "--yes")
	s.wantRun("FAIL", "") // as it was when the backup was taken, its process has ended
	l.Doctor()
}

// token makes a token that may write.
func token(l *labtest.Lab, name string, args ...string) string {
	l.T.Helper()
	var made struct {
		Token string `json:"token"`
	}
	labtest.Decode(l.T, l.Must(append([]string{"tokens", "create", name, "--output", "json"}, args...)...).Stdout, &made)
	return made.Token
}

func TestATokenLivesFromItsCreationToItsRevocation(t *testing.T) {
	t.Parallel()
	l := fresh.Copy(t)
	if r := l.Want(6, "serve", "--login"); !strings.Contains(r.Stderr, "quant tokens create") {
		t.Errorf("%v", r)
	}
	if r := l.Want(6, "serve", "--addr", "0.0.0.0:0"); !strings.Contains(r.Stderr, "quant tokens create") {
		t.Errorf("%v", r)
	}
	secret, reads := token(l, "ci"), token(l, "watcher", "--scope", "read", "--expires", "1d")
	s := serve(l, "--addr", "0.0.0.0:0", "--access-log", "access.log")
	if got := s.Stderr.String(); !strings.Contains(got, "can be read on its way") {
		t.Errorf("it does not warn of a network without TLS: %s", got)
	}
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.url, "http://"))
	s.url = "http://127.0.0.1:" + port
	asks := func(headers ...string) (get, post int) {
		return s.get("/no-such-page", headers...).status, s.post("/no-such-page", "", headers...).status
	}
	if get, post := asks(); get != 303 || post != 401 {
		t.Errorf("without: %d %d", get, post)
	}
	if get, post := asks("Authorization: Bearer " + secret); get != 404 || post == 401 || post == 403 {
		t.Errorf("with: %d %d", get, post)
	}
	if get, post := asks("Authorization: Bearer " + reads); get != 404 || post != 403 {
		t.Errorf("with one that reads: %d %d", get, post)
	}
	if get, _ := asks("Host: evil.example", "Authorization: Bearer "+secret); get != 403 {
		t.Errorf("under another name: %d", get)
	}
	if a := s.post("/api/2.0/mlflow/no-such-thing", "{}", "Authorization: Bearer "+secret, "Origin: https://evil.example"); a.status != 403 {
		t.Errorf("from another origin: %+v", a)
	}
	if a := s.get("/"); a.status != 303 || a.header.Get("Location") != "/login?next=%2F" {
		t.Errorf("a browser: %+v", a)
	}
	l.Must("tokens", "revoke", "ci")
	if get, post := asks("Authorization: Bearer " + secret); get != 401 || post != 401 {
		t.Errorf("revoked: %d %d", get, post)
	}
	s.ends(syscall.SIGTERM)
	if got := l.MetaRows("SELECT name, last_used_at IS NOT NULL, revoked_at IS NOT NULL FROM tokens ORDER BY name"); got != "ci 1 1\nwatcher 1 0\n" {
		t.Errorf("%q", got)
	}
	log, err := os.ReadFile(l.Path("access.log"))
	labtest.Must(t, err)
	if !strings.Contains(string(log), ` watcher "POST /no-such-page" 403 `) {
		t.Errorf("the access log:\n%s", log)
	}
	for _, secret := range []string{secret, reads} {
		if strings.Contains(string(log)+s.Wait().Stderr, secret) {
			t.Error("a token is logged")
		}
		if n := l.MetaRows("SELECT count(*) FROM tokens WHERE digest LIKE '%" + secret[6:] + "%'"); n != "0\n" {
			t.Error("a token is stored")
		}
		file, err := os.ReadFile(l.Meta())
		labtest.Must(t, err)
		if strings.Contains(string(file), secret) {
			t.Error("a token is in the Meta DB")
		}
	}
}

// certificate makes a key and a certificate of localhost, as PEM files.
func certificate(l *labtest.Lab, name string) *x509.CertPool {
	l.T.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	labtest.Must(l.T, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	labtest.Must(l.T, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	labtest.Must(l.T, err)
	l.Write(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	l.Write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	labtest.Must(l.T, err)
	pool.AddCert(parsed)
	return pool
}

func TestTLS(t *testing.T) {
	t.Parallel()
	l := fresh.Copy(t)
	pool := certificate(l, "one")
	certificate(l, "other")
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--tls-cert", "one.pem"}, "together or not at all"},
		{[]string{"--tls-key", "one.key"}, "together or not at all"},
		{[]string{"--tls-cert", "none.pem", "--tls-key", "one.key"}, "no such file"},
		{[]string{"--tls-cert", "one.pem", "--tls-key", "none.key"}, "no such file"},
		{[]string{"--tls-cert", "one.pem", "--tls-key", "other.key"}, "do not belong together"},
		{[]string{"--tls-cert", "one.key", "--tls-key", "one.pem"}, "cannot be used"},
	} {
		if r := l.Want(2, append([]string{"serve"}, c.args...)...); !strings.Contains(r.Stderr, c.says) || !strings.Contains(r.Stderr, "hint:") {
			t.Errorf("%v", r)
		}
	}
	s := serve(l, "--tls-cert", "one.pem", "--tls-key", "one.key")
	if !strings.HasPrefix(s.url, "https://127.0.0.1:") {
		t.Fatalf("url %s", s.url)
	}
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.url, "https://"))
	speaks := func(version uint16) answer {
		client := browser()
		client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: version}
		return curl(client, http.MethodGet, "https://localhost:"+port+"/health", "")
	}
	for version, status := range map[uint16]int{tls.VersionTLS11: 0, tls.VersionTLS12: 200, tls.VersionTLS13: 200} {
		if a := speaks(version); a.status != status {
			t.Errorf("%s: %+v", tls.VersionName(version), a)
		}
	}
	if a := curl(browser(), http.MethodGet, "http://localhost:"+port+"/health", ""); a.status == 200 {
		t.Errorf("without TLS: %+v", a)
	}
	secret := token(l, "me")
	client := browser()
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
	a := curl(client, http.MethodPost, "https://localhost:"+port+"/login", "token="+secret, "Content-Type: application/x-www-form-urlencoded")
	if cookie := a.header.Get("Set-Cookie"); a.status != 303 || !strings.Contains(cookie, "; Secure") {
		t.Errorf("%+v", a)
	}
	s.ends(syscall.SIGTERM)
}

func TestAClientThatSendsSlowlyHoldsUpNobody(t *testing.T) {
	t.Parallel()
	l := fresh.Copy(t)
	s := serve(l)
	at := strings.TrimPrefix(s.url, "http://")
	var slow []net.Conn
	for range 300 {
		c, err := net.Dial("tcp", at)
		labtest.Must(t, err)
		defer c.Close()
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nX-")
		labtest.Must(t, err)
		slow = append(slow, c)
	}
	begun := time.Now()
	for range 20 {
		if a := s.get("/health"); a.status != 200 {
			t.Fatalf("%+v", a)
		}
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("20 requests took %v", took)
	}
	// One byte a second keeps a header going, not the connection.
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
				_, _ = io.WriteString(slow[0], "x")
			}
		}
	}()
	for _, c := range []net.Conn{slow[0], slow[299]} {
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.ReadAll(c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("it is still open: %v", err)
		}
	}
	close(stop)
	s.ends(syscall.SIGTERM)
}

func TestTwoHundredClientsAtOnceAreAnswered(t *testing.T) {
	t.Parallel()
	l := fresh.Copy(t)
	secret := token(l, "crowd")
	s := serve(l, "--login")
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxConnsPerHost: 200, MaxIdleConnsPerHost: 200}}
	var wg sync.WaitGroup
	failed := make(chan answer, 200)
	for i := range 200 {
		wg.Go(func() {
			for range 50 {
				path, want := "/health", 200
				if i%2 == 0 {
					path, want = "/api/2.0/mlflow/no-such-thing", 404
				}
				if a := curl(client, http.MethodGet, s.url+path, "", "Authorization: Bearer "+secret); a.status != want {
					failed <- a
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case a := <-failed:
		t.Errorf("%d clients failed, one with %+v", len(failed)+1, a)
	default:
	}
	client.CloseIdleConnections()
	s.ends(syscall.SIGTERM)
}

// TestTheStartOfEveryCommandKnowsNothingOfTheServer bounds what the packages of the
// server do before main: other commands would pay for it.
func TestTheStartOfEveryCommandKnowsNothingOfTheServer(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	p := l.Start([]string{"GODEBUG=inittrace=1"}, "version")
	r := p.Wait()
	seen, bytes := 0, 0
	for line := range strings.Lines(r.Stderr) {
		var pkg string
		var at, clock float64
		var n, allocs int
		if _, err := fmt.Sscanf(line, "init %s @%f ms, %f ms clock, %d bytes, %d allocs", &pkg, &at, &clock, &n, &allocs); err != nil {
			continue
		}
		seen++
		if strings.HasPrefix(pkg, "quant/internal/server") || strings.HasPrefix(pkg, "quant/internal/tracking") {
			bytes += n
			t.Logf("%s", strings.TrimSpace(line))
		}
	}
	if seen == 0 {
		t.Fatalf("the runtime told nothing: %v", r)
	}
	if bytes > 4<<10 {
		t.Errorf("%d bytes are made before main: make them when they are asked for (sync.OnceValue)", bytes)
	}
}
