package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"quant/internal/test/tried"
)

const superuser = "postgres"

// noTLS is what a server that was built without TLS says when it is to speak it.
const noTLS = "SSL is not supported by this build"

var errNoTLS = errors.New("this PostgreSQL was built without TLS")

// Options says how a server differs from the shared one.
type Options struct {
	// Durable makes every commit wait for the disk, as a server in use does.
	Durable bool
	// TCP listens on a port of localhost, too, where roles need their passwords.
	TCP bool
	// TLS is TCP that takes encrypted connections alone.
	TLS bool
	// Network is an address to listen on, as 10.0.0.1/24: all of that network may log in,
	// without passwords, as hosts of a test do that are namespaces.
	Network string
	// Settings are further lines of postgresql.conf.
	Settings map[string]string
}

// Server is a running PostgreSQL. Its methods may be called from several goroutines.
type Server struct {
	dir  string // its data, its socket and its log
	port int
	bin  installation

	databases      atomic.Int64
	administration sync.Mutex
	prepare        sync.Once
	unprepared     error

	mu      sync.Mutex
	process *exec.Cmd
	ended   chan struct{} // closed when the process has ended
	free    []string      // databases that tests have done with
	watcher *os.File      // while it is open, the server is wanted
}

// Start starts a server of its own for a test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := start(find(t), o)
	if errors.Is(err, errNoTLS) {
		tried.Cannot(t, "%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.remove)
	return s
}

// Run starts a server for a program that is no test; end ends it.
func Run(o Options) (s *Server, end func(), err error) {
	bin, err := locate()
	if err != nil {
		return nil, nil, err
	}
	if s, err = start(bin, o); err != nil {
		return nil, nil, err
	}
	return s, s.remove, nil
}

// installation is where PostgreSQL's programs lie, and who may run them.
type installation struct {
	dir string
	as  *syscall.Credential // nil: who runs the test
}

// find is the newest PostgreSQL of this machine.
func find(t testing.TB) installation {
	t.Helper()
	bin, err := locate()
	if err != nil {
		tried.Cannot(t, "%v", err)
	}
	return bin
}

// locate looks in the PATH and where Debian keeps its servers, a folder a version.
func locate() (installation, error) {
	folders, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return installation{}, err
	}
	slices.SortFunc(folders, func(a, b string) int { return version(b) - version(a) })
	if named := os.Getenv("QUANT_TEST_POSTGRES"); named != "" { //nolint:forbidigo // of tests, and no setting of quant
		folders = []string{named}
	} else if found, err := exec.LookPath("initdb"); err == nil {
		folders = append(folders, filepath.Dir(found))
	}
	found := slices.IndexFunc(folders, func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, "initdb"))
		return err == nil
	})
	if found < 0 {
		return installation{}, errors.New("PostgreSQL is not installed (Debian: apt-get install postgresql; elsewhere name the folder of initdb with QUANT_TEST_POSTGRES)")
	}
	bin := installation{dir: folders[found]}
	if os.Geteuid() != 0 {
		return bin, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
			gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
			bin.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
			return bin, errors.Join(uidErr, gidErr)
		}
	}
	return bin, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}

func version(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return n
}

// command prepares one of PostgreSQL's programs.
func (i installation) command(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(i.dir, name), args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"} //nolint:forbidigo // initdb starts other programs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: i.as}
	return cmd
}

func start(bin installation, o Options) (s *Server, err error) {
	// A socket's path has 107 bytes at most, so a long TMPDIR does not serve.
	parent := os.TempDir()
	if len(parent) > 60 {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "quant-postgres-")
	if err != nil {
		return nil, err
	}
	made := &Server{dir: dir, bin: bin, port: 5432}
	defer func() {
		if err != nil {
			made.remove()
		}
	}()
	s = made
	if err := s.own(dir, 0o755); err != nil {
		return nil, err
	}
	if err := s.watch(); err != nil {
		return nil, err
	}
	initdb := bin.command(dir, "initdb", "--pgdata", s.data(), "--username", superuser, "--auth-local=trust", "--auth-host=scram-sha-256",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %.2000s", err, out)
	}
	if o.TLS {
		if out, err := bin.command(dir, "postgres", "-D", s.data(), "-c", "ssl=on", "-C", "ssl").CombinedOutput(); err != nil && bytes.Contains(out, []byte(noTLS)) {
			return nil, errNoTLS
		}
	}
	if err := s.configure(o); err != nil {
		return nil, err
	}
	if err := s.run(); err != nil {
		return nil, err
	}
	return s, execute(s.Superuser("postgres"), `CREATE ROLE `+Owner+` LOGIN PASSWORD '`+Owner+`'`)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// own gives a file to who runs the server.
func (s *Server) own(path string, mode os.FileMode) error {
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	if s.bin.as == nil {
		return nil
	}
	return os.Chown(path, int(s.bin.as.Uid), int(s.bin.as.Gid))
}

func (s *Server) write(name string, content []byte) error {
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	return s.own(path, 0o600)
}

func (s *Server) configure(o Options) error {
	settings := map[string]string{
		"unix_socket_directories": s.dir, "listen_addresses": "", "max_connections": "300", "shared_buffers": "64MB",
		"autovacuum": "off", "log_min_messages": "fatal", "dynamic_shared_memory_type": "mmap", "max_parallel_workers_per_gather": "0",
	}
	if !o.Durable {
		settings["fsync"], settings["synchronous_commit"], settings["full_page_writes"] = "off", "off", "off"
	}
	if o.TCP || o.TLS {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.port = port
		settings["listen_addresses"] = "localhost"
	}
	settings["port"] = strconv.Itoa(s.port)
	if o.TLS {
		if err := s.certify(); err != nil {
			return err
		}
		settings["ssl"], settings["ssl_cert_file"], settings["ssl_key_file"] = "on", filepath.Join(s.dir, "server.crt"), filepath.Join(s.dir, "server.key")
		rules := "local all all trust\nhostssl all all all scram-sha-256\n"
		if err := s.write("data/pg_hba.conf", []byte(rules)); err != nil {
			return err
		}
	}
	if o.Network != "" {
		address, _, _ := strings.Cut(o.Network, "/")
		settings["listen_addresses"] = address
		if err := s.write("data/pg_hba.conf", []byte("local all all trust\nhost all all "+o.Network+" trust\n")); err != nil {
			return err
		}
	}
	for name, value := range o.Settings {
		settings[name] = value
	}
	var lines bytes.Buffer
	for name, value := range settings {
		fmt.Fprintf(&lines, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''"))
	}
	return s.write("data/postgresql.auto.conf", lines.Bytes())
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// watch starts a shell that ends the server and removes its folder once nobody holds the
// other end of its input: also when the test binary is killed.
func (s *Server) watch() error {
	input, held, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = input.Close() }()
	const script = `cat >/dev/null; for try in 1 2 3 4 5 6 7 8 9 10; do
		read -r pid <"$1/data/postmaster.pid" 2>/dev/null && kill -QUIT "$pid" 2>/dev/null && sleep 0.1 || break; done
		sleep 0.1; rm -rf "$1"`
	watcher := exec.Command("/bin/sh", "-c", script, "sh", s.dir)
	watcher.Stdin, watcher.Dir = input, "/"
	watcher.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := watcher.Start(); err != nil {
		return errors.Join(err, held.Close())
	}
	go func() { _ = watcher.Wait() }()
	s.watcher = held
	return nil
}

// run starts the server and waits until it takes connections.
func (s *Server) run() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	deadline := time.Now().Add(time.Minute)
	for {
		process := s.bin.command(s.dir, "postgres", "-D", s.data())
		process.Stdout, process.Stderr = log, log
		if err := process.Start(); err != nil {
			return err
		}
		ended := make(chan struct{})
		go func() { _ = process.Wait(); close(ended) }()
		s.process, s.ended = process, ended
		for {
			if err = execute(s.Superuser("postgres"), "SELECT 1"); err == nil {
				return nil
			}
			select {
			case <-ended:
			case <-time.After(10 * time.Millisecond):
				if time.Now().Before(deadline) {
					continue
				}
			}
			break
		}
		// After a kill, the processes of the former server may still hold its memory.
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			return fmt.Errorf("postgres does not start: %w: %s", err, said)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// Kill ends the server and all processes of its connections at once, as a crash does:
// kill -9.
func (s *Server) Kill() {
	s.mu.Lock()
	pid := s.process.Process.Pid
	s.mu.Unlock()
	connections, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid)) // Linux; elsewhere they end by themselves
	s.signal(syscall.SIGKILL)
	for _, child := range strings.Fields(string(connections)) {
		if pid, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// Stop ends the server in order, and breaks the connections that it has.
func (s *Server) Stop() { s.signal(syscall.SIGINT) }

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(sig)
	<-s.ended
}

func (s *Server) alive() bool {
	conn, err := pgx.Connect(context.Background(), s.Superuser("postgres"))
	if err != nil {
		return false
	}
	return conn.Close(context.Background()) == nil
}

// Restart starts the server again after Kill or Stop.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}

// Log is what the server has said.
func (s *Server) Log() string {
	said, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(said)
}

func (s *Server) remove() {
	s.signal(syscall.SIGQUIT)
	if s.watcher != nil {
		_ = s.watcher.Close()
	}
	_ = os.RemoveAll(s.dir)
}
