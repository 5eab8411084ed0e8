package postgrestest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var said string
	if err := conn.QueryRow(context.Background(), sql).Scan(&said); err != nil {
		t.Fatal(err)
	}
	return said
}

func TestADatabaseIsEmptyAndItsOwnersAlone(t *testing.T) {
	t.Parallel()
	a, b := Database(t), Database(t)
	if a == b {
		t.Fatal("two tests share a database")
	}
	if n := query(t, a, `SELECT count(*)::text FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`); n != "0" {
		t.Errorf("%s tables", n)
	}
	if is := query(t, a, `SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user`); is != "false" {
		t.Error("its owner is a superuser")
	}
}

func TestAPreparedDatabaseIsACopy(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{})
	prepare := func(_ context.Context, url string) error {
		return execute(url, `CREATE TABLE t AS SELECT 'made' AS what`)
	}
	a, b := s.Prepared(t, prepare), s.Prepared(t, prepare)
	if err := execute(a, `UPDATE t SET what = 'changed'`); err != nil {
		t.Fatal(err)
	}
	if got := query(t, b, `SELECT what FROM t`); got != "made" {
		t.Errorf("got %s", got)
	}
}

func TestACommitOutlivesAKilledServer(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{Durable: true})
	url := s.Database(t)
	if err := execute(url, `CREATE TABLE t AS SELECT 'kept' AS what`); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	if err := execute(url, `SELECT 1`); err == nil {
		t.Fatal("a killed server answers")
	}
	s.Restart(t)
	if got := query(t, url, `SELECT what FROM t`); got != "kept" {
		t.Errorf("got %s", got)
	}
}

func TestAServerWithTLSTakesNothingElse(t *testing.T) {
	t.Parallel()
	s := Start(t, Options{TLS: true})
	url := s.TCP(Owner, Owner, "postgres")
	if got := query(t, url+"?sslmode=verify-full&sslrootcert="+s.CA(), `SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()`); got != "true" {
		t.Errorf("ssl is %s", got)
	}
	if err := execute(url+"?sslmode=disable", `SELECT 1`); err == nil {
		t.Error("it answers without TLS")
	}
}

// TestMain plays the test binary that is killed: it starts a server and waits.
func TestMain(m *testing.M) {
	if os.Getenv("QUANT_POSTGRESTEST_VICTIM") != "" {
		bin, err := locate()
		if err != nil {
			panic(err)
		}
		s, err := start(bin, Options{})
		if err != nil {
			panic(err)
		}
		_, _ = os.Stdout.WriteString(s.dir + "\n")
		time.Sleep(time.Minute)
		return
	}
	os.Exit(m.Run())
}

func TestAServerEndsWithATestBinaryThatIsKilled(t *testing.T) {
	t.Parallel()
	find(t)
	victim := exec.Command(os.Args[0])
	victim.Env = append(os.Environ(), "QUANT_POSTGRESTEST_VICTIM=1")
	said, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	n, err := said.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSpace(string(buffer[:n]))
	if _, err := os.Stat(filepath.Join(dir, "data", "postmaster.pid")); err != nil {
		t.Fatal(err)
	}
	if err := victim.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			return
		}
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("%s is still there", dir)
		}
	}
}
