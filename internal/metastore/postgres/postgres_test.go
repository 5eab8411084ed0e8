package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/postgrestest"
	"quant/internal/test/tried"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// prepare makes the schema in an empty database.
func prepare(ctx context.Context, url string) error {
	db, err := Open(ctx, Options{URL: url, Create: true})
	if err != nil {
		return err
	}
	return db.Close()
}

// openNew opens a prepared database of its own.
func openNew(t testing.TB) *DB {
	t.Helper()
	return openAt(t, prepared(t))
}

func opened(t testing.TB, o Options) *DB {
	t.Helper()
	db, err := Open(context.Background(), o)
	ok(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// named is the name of the database of a URL of the shared server.
func named(url string) string {
	return url[strings.LastIndex(url[:strings.Index(url, "?")], "/")+1 : strings.Index(url, "?")]
}

// fails opens and expects an error that says what, and what to do.
func fails(t *testing.T, o Options, code quant.Code, says ...string) error {
	t.Helper()
	db, err := Open(context.Background(), o)
	if err == nil {
		_ = db.Close()
		t.Fatalf("%s opens", o.URL)
	}
	if quant.CodeOf(err) != code || quant.HintOf(err) == "" {
		t.Errorf("%s: %v (%s; hint: %q)", o.URL, err, quant.CodeOf(err), quant.HintOf(err))
	}
	for _, want := range says {
		if !strings.Contains(err.Error()+"\n"+quant.HintOf(err), want) {
			t.Errorf("%s: %v (hint: %s)\nsays nothing of %q", o.URL, err, quant.HintOf(err), want)
		}
	}
	for _, secret := range []string{"wrong-password", "hunter2"} {
		if all := fmt.Sprintf("%v %+v %s", err, err, quant.HintOf(err)); strings.Contains(all, secret) {
			t.Errorf("it shows the password: %s", all)
		}
	}
	return err
}

func TestOnlyInitPreparesAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	_ = fails(t, Options{URL: url}, quant.Store, "holds no lab yet", "quant init-db")
	_ = fails(t, Options{URL: url, ReadOnly: true}, quant.Store, "quant init-db")
	_ = fails(t, Options{URL: url, ReadOnly: true, Create: true}, quant.Store, "quant init-db")
	if db := opened(t, Options{URL: url, Create: true}); !db.Created() || !db.CanWrite() {
		t.Error("it was not created")
	}
	for _, o := range []Options{{URL: url}, {URL: url, Create: true}} {
		if db := opened(t, o); db.Created() || !db.CanWrite() {
			t.Errorf("created %v, can write %v", db.Created(), db.CanWrite())
		}
	}
	if db := opened(t, Options{URL: url, ReadOnly: true}); db.CanWrite() {
		t.Error("it may write")
	}
}

func TestManyThatPrepareAtOnceMakeOneSchema(t *testing.T) {
	t.Parallel()
	url := postgrestest.Database(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 8 {
		wg.Go(func() {
			db, err := Open(context.Background(), Options{URL: url, Create: true})
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = db.Close() }()
			mu.Lock()
			defer mu.Unlock()
			if db.Created() {
				made++
			}
		})
	}
	wg.Wait()
	if made != 1 {
		t.Errorf("%d have made it", made)
	}
}

func TestANewerSchemaIsRefusedUnchanged(t *testing.T) {
	t.Parallel()
	url := postgrestest.Shared(t).Prepared(t, prepare)
	db := opened(t, Options{URL: url})
	_, err := db.Pool.Exec(`INSERT INTO schema_migrations (version, name) VALUES (999, 'later')`)
	ok(t, err)
	for _, o := range []Options{{URL: url}, {URL: url, Create: true}, {URL: url, ReadOnly: true}} {
		if err := fails(t, o, quant.Store, "newer quant", "schema 999"); !errors.Is(err, metastore.ErrNewer) {
			t.Errorf("%v is not marked", err)
		}
	}
}

func TestAnOlderSchemaIsBroughtUpToDateByInitAlone(t *testing.T) {
	t.Parallel()
	url := postgrestest.Shared(t).Prepared(t, prepare)
	known := must(embedded())
	next := func(sql string) []migration {
		return append(must(embedded()), migration{version: len(known) + 1, name: "next.sql", sql: sql})
	}
	later := next(`CREATE TABLE later (x bigint)`)
	ctx := context.Background()
	_, err := open(ctx, Options{URL: url}, later)
	if !errors.Is(err, metastore.ErrOlder) || !strings.Contains(quant.HintOf(err), "quant init-db") {
		t.Fatalf("%v (%s)", err, quant.HintOf(err))
	}
	if _, err := open(ctx, Options{URL: url, Create: true}, next(`CREATE TABLE half (x bigint); SELECT nonsense`)); quant.CodeOf(err) != quant.Store {
		t.Fatal(err)
	}
	db, err := open(ctx, Options{URL: url, Create: true}, later)
	ok(t, err)
	defer func() { _ = db.Close() }()
	if from, to := db.Migrated(); from != len(known) || to != len(later) {
		t.Errorf("migrated from %d to %d", from, to)
	}
	for _, c := range must(db.Tables(ctx)) {
		if c.Table == "half" {
			t.Error("a failed migration left a table")
		}
	}
}

func TestAnotherProgramsSchemaIsRefused(t *testing.T) {
	t.Parallel()
	s := postgrestest.Shared(t)
	for _, sql := range []string{
		`CREATE SCHEMA quant CREATE TABLE trades (x int)`,
		`CREATE SCHEMA quant CREATE TABLE schema_migrations (id int)`,
		`CREATE SCHEMA quant CREATE TABLE schema_migrations (version bigint) CREATE TABLE runs (x int)`,
	} {
		url := s.Database(t)
		s.Exec(t, named(url), sql+`; GRANT ALL ON SCHEMA quant TO quant; GRANT ALL ON ALL TABLES IN SCHEMA quant TO quant`)
		if err := fails(t, Options{URL: url, Create: true}, quant.Store, "another program's", "nothing was changed"); !errors.Is(err, metastore.ErrDamaged) {
			t.Errorf("%v is not marked", err)
		}
	}
	// Tables of others beside it are nobody's business.
	url := s.Database(t)
	s.Exec(t, named(url), `CREATE TABLE public.river_job (x int)`)
	ok(t, prepare(context.Background(), url))
}

func TestAReadingRoleSufficesToRead(t *testing.T) {
	t.Parallel()
	s := postgrestest.Shared(t)
	url := s.Prepared(t, prepare)
	name := named(url)
	s.Exec(t, name, `CREATE ROLE reader_`+name+` LOGIN`)
	t.Cleanup(func() { s.Exec(t, name, `DROP OWNED BY reader_`+name+`; DROP ROLE reader_`+name) })
	reader := strings.Replace(url, "//quant@", "//reader_"+name+"@", 1)
	_ = fails(t, Options{URL: reader}, quant.Store, "may not read it", "GRANT SELECT ON ALL TABLES IN SCHEMA quant")
	s.Exec(t, name, `GRANT USAGE ON SCHEMA quant TO reader_`+name+`; GRANT SELECT ON ALL TABLES IN SCHEMA quant TO reader_`+name)
	db := opened(t, Options{URL: reader})
	defer func() { _ = db.Close() }()
	if db.CanWrite() {
		t.Error("it may write")
	}
	if _, err := db.GetRun(context.Background(), "none"); quant.CodeOf(err) != quant.NotFound {
		t.Error(err)
	}
	_, err := db.Pool.Exec(`INSERT INTO symbols (symbol) VALUES ('A')`)
	if err = db.Classify("create symbol A", err); quant.CodeOf(err) != quant.Store || !strings.Contains(err.Error(), "may only read") {
		t.Error(err)
	}
}

func TestErrorsOfTheConnectionSayWhatWhereAndWhy(t *testing.T) {
	t.Parallel()
	s := postgrestest.Start(t, postgrestest.Options{TLS: true, Durable: true, Settings: map[string]string{"max_connections": "12", "superuser_reserved_connections": "3"}})
	at := func(url string) Options { return Options{URL: url, Wait: 30 * time.Second} }
	good := s.TCP("quant", "quant", "postgres")
	host := good[strings.Index(good, "@")+1 : strings.LastIndex(good, "/")]

	_ = fails(t, at(s.TCP("quant", "wrong-password", "postgres")), quant.Store, "does not take the password of role quant", host, "PGPASSWORD")
	_ = fails(t, at(s.TCP("quant", "quant", "nowhere")), quant.Store, `no database "nowhere"`, "CREATE DATABASE nowhere")
	_ = fails(t, at(s.TCP("nobody", "hunter2", "postgres")), quant.Store, "role nobody")
	_ = fails(t, at(good+"?sslmode=disable"), quant.Store, "refuses role quant", "TLS")
	_ = fails(t, at(good+"?sslmode=verify-full"), quant.Store, "is not trusted", "sslrootcert")
	_ = fails(t, at(strings.Replace(good, "localhost", "127.0.0.1", 1)+"?sslmode=verify-full&sslrootcert="+s.CA()), quant.Store, "is not trusted", "127.0.0.1")
	_ = fails(t, at("postgres://quant:hunter2@no-such-host.invalid/lab"), quant.Store, "there is no host no-such-host.invalid")
	_ = fails(t, at(fmt.Sprintf("postgres://quant:hunter2@localhost:%d/lab", closedPort(t))), quant.Store, "no server answers", "listen_addresses")
	_ = fails(t, at("postgres://quant:hunter2@/lab?host=/nowhere"), quant.Store, "no such socket")
	_ = fails(t, at("postgres://quant:hunter2@localhost:notaport/lab"), quant.Usage)
	_ = fails(t, at("postgres://quant:hunter2@localhost/lab?sslmode=perhaps"), quant.Usage)
	_ = fails(t, at("postgres://quant:hun%zzter2@localhost/lab"), quant.Usage)
	_ = fails(t, at("host=localhost password=hunter2"), quant.Usage)
	_ = fails(t, at("mysql://quant:hunter2@localhost/lab"), quant.Usage)

	// A server that never answers.
	silent := must(net.Listen("tcp", "localhost:0"))
	defer func() { _ = silent.Close() }()
	_ = fails(t, Options{URL: "postgres://quant:hunter2@" + silent.Addr().String() + "/lab", Wait: 300 * time.Millisecond}, quant.Store, "did not answer")
	// One that knows no TLS.
	plain := postgrestest.Start(t, postgrestest.Options{TCP: true})
	_ = fails(t, at(plain.TCP("quant", "quant", "postgres")+"?sslmode=require"), quant.Store, "does not speak TLS", "sslmode=disable")

	// All connections taken.
	s.Exec(t, "postgres", `GRANT CREATE ON DATABASE postgres TO quant`)
	ok(t, prepare(context.Background(), s.URL("postgres")))
	var taken []*DB
	for {
		db, err := Open(context.Background(), at(s.URL("postgres")))
		if err == nil && len(taken) < 20 {
			taken = append(taken, db)
			continue
		}
		if quant.CodeOf(err) != quant.Locked || !strings.Contains(err.Error(), "no connection left") {
			t.Errorf("%d connections, and %v", len(taken), err)
		}
		break
	}
	for _, db := range taken {
		_ = db.Close()
	}

	// A lost server, and what comes after.
	db := opened(t, at(s.URL("postgres")))
	s.Kill()
	_, err := db.GetRun(context.Background(), "none")
	if quant.CodeOf(err) != quant.Store || quant.HintOf(err) == "" {
		t.Errorf("%v (%s)", err, quant.HintOf(err))
	}
	s.Restart(t)
	if _, err := db.GetRun(context.Background(), "none"); quant.CodeOf(err) != quant.NotFound {
		t.Errorf("after the restart: %v", err)
	}
}

func closedPort(t *testing.T) int {
	t.Helper()
	l := must(net.Listen("tcp", "localhost:0"))
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func TestADatabaseOfAnotherEncodingIsRefused(t *testing.T) {
	t.Parallel()
	s := postgrestest.Shared(t)
	name := "latin_" + named(s.Database(t))
	s.Exec(t, "postgres", `CREATE DATABASE `+name+` ENCODING 'LATIN1' TEMPLATE template0 OWNER quant`)
	t.Cleanup(func() { s.Exec(t, "postgres", `DROP DATABASE `+name) })
	_ = fails(t, Options{URL: s.URL(name), Create: true}, quant.Store, "encoding is LATIN1", "UTF8")
}

// pooler is the address of a PgBouncer before a database.
func pooler(t *testing.T, url, mode, more string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer"
		if _, err := os.Stat(program); err != nil {
			tried.Cannot(t, "PgBouncer is not installed")
		}
	}
	_, rest, _ := strings.Cut(url, "?host=")
	socket, _, _ := strings.Cut(rest, "&")
	dir := must(os.MkdirTemp("", "quant-pgbouncer-"))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ok(t, os.Chmod(dir, 0o777))
	port := closedPort(t)
	ok(t, os.WriteFile(filepath.Join(dir, "ini"), fmt.Appendf(nil, `[databases]
%[1]s = host=%[2]s port=5432 user=quant
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %[3]d
auth_type = any
pool_mode = %[4]s
%[5]s
logfile = %[6]s/log
`, named(url), strings.ReplaceAll(socket, "%2F", "/"), port, mode, more, dir), 0o644))
	args := []string{program, filepath.Join(dir, "ini")}
	if os.Geteuid() == 0 {
		args = append([]string{"setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--pdeathsig=KILL"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	ok(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGKILL); _ = cmd.Wait() })
	address := fmt.Sprintf("127.0.0.1:%d", port)
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			break
		} else if time.Since(begun) > 10*time.Second {
			said, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("PgBouncer does not start: %v: %s", err, said)
		}
	}
	return "postgres://quant:hunter2@" + address + "/" + named(url) + "?sslmode=disable"
}

func TestAPoolerByTransactionIsRefusedAndOneBySessionServes(t *testing.T) {
	t.Parallel()
	s := postgrestest.Shared(t)
	const ignoring = "ignore_startup_parameters = search_path,lock_timeout,row_security,tcp_keepalives_idle,tcp_keepalives_interval,tcp_keepalives_count,tcp_user_timeout,default_transaction_read_only"
	for _, more := range []string{"", ignoring} {
		url := s.Prepared(t, prepare)
		_ = fails(t, Options{URL: pooler(t, url, "transaction", more)}, quant.Store, "shares its connections by transaction", "PostgreSQL itself")
		db := opened(t, Options{URL: pooler(t, url, "session", more)})
		if _, err := db.GetRun(context.Background(), "none"); quant.CodeOf(err) != quant.NotFound {
			t.Error(err)
		}
	}
}

func TestAURLIsShownWithoutItsSecrets(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"postgres://u:hunter2@db.example:5433/lab?sslmode=require&password=hunter2": "postgres://u@db.example:5433/lab",
		"postgresql:///lab?host=/run&sslpassword=hunter2":                           "postgresql:///lab",
		"postgres://u:hunt%zzer2@h/lab":                                             "postgres://...",
		"password=hunter2 host=x":                                                   "postgres://...",
	} {
		if got := Shown(text); got != want {
			t.Errorf("%s is shown as %s", text, got)
		}
	}
}

func TestATextIsCarriedWhateverItsBytes(t *testing.T) {
	t.Parallel()
	db := openNew(t)
	for _, s := range []string{"", "plain", "nul\x00inside", "\xff\xfe", "a\ufdd0b", "\ufdd000", "\ufdd0", "삼성전자\x00", "\ufdd0\x00\ufdd0"} {
		if got := restored(carried(s)); got != s {
			t.Errorf("%q came back as %q", s, got)
		}
		var got string
		ok(t, db.Pool.QueryRow(`SELECT ?::text`, s).Scan(&got))
		if got != s {
			t.Errorf("%q came back as %q from the database", s, got)
		}
	}
}

func FuzzCarried(f *testing.F) {
	f.Add("a\x00b")
	f.Add("\ufdd0zz")
	f.Add("\xff")
	f.Fuzz(func(t *testing.T, s string) {
		if c := carried(s); restored(c) != s || strings.ContainsRune(c, 0) {
			t.Fatalf("%q: %q", s, c)
		}
		_ = restored(s) // somebody else's
	})
}
