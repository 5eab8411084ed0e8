package hosts

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"quant/internal/metastore/postgrestest"
	"quant/internal/test/labtest"
	"quant/internal/test/laketest"
	"quant/internal/test/objectstest"
	"quant/internal/test/tried"
)

// serverAddress is where PostgreSQL and the object store listen, on the bridge that joins
// the hosts; it stands in network namespaces alone, so it meets no other.
const serverAddress = "10.77.0.1"

// network is PostgreSQL and an object store on one host, and others that reach them over
// links that can be cut. All share a folder, as a file server gives it.
type network struct {
	t      *testing.T
	server *postgrestest.Server
	db     int                // the process that holds the namespaces of the servers' host
	front  *objectstest.Front // the object store, as the hosts see it
	meta   string             // names of databases
	lake   string
	shared string // the folder
	hosts  []*host
	// control is a machine that no fault meets but those of PostgreSQL itself.
	control *labtest.Lab
}

// host is a machine: a network, a name, a machine id and a clock of its own.
type host struct {
	*labtest.Lab
	holder int    // the process that holds its namespaces
	link   string // of the bridge to it
	clock  string // the file that says how far its clock is off
}

// newNetwork makes a network of so many hosts with clocks that are off by skews, or leaves
// the test out where this machine's kernel or user does not permit that. lease is how long
// leases last; 0: as long as quant has it.
func newNetwork(t *testing.T, lease time.Duration, skews ...time.Duration) *network {
	t.Helper()
	extensions, store := laketest.Extensions(t), objectstest.Shared(t)
	for _, name := range []string{"unshare", "nsenter", "ip"} {
		if _, err := exec.LookPath(name); err != nil {
			tried.Cannot(t, "hosts as namespaces need %s (Debian: util-linux, iproute2)", name)
		}
	}
	if out, err := exec.Command("unshare", "--net", "--uts", "--mount", "true").CombinedOutput(); err != nil {
		tried.Cannot(t, "hosts as namespaces are not permitted here: %v: %s", err, out)
	}
	n := &network{t: t, shared: t.TempDir()}
	n.db = hold(t, "db", 0)
	n.ip(n.db, "link", "add", "br0", "type", "bridge")
	n.ip(n.db, "addr", "add", serverAddress+"/24", "dev", "br0")
	n.ip(n.db, "link", "set", "br0", "up")
	n.inside(func() {
		n.server = postgrestest.Start(t, postgrestest.Options{Durable: true, Network: serverAddress + "/24"})
		l, err := net.Listen("tcp", serverAddress+":9000")
		labtest.Must(t, err)
		n.front = store.FrontOn(t, l)
	})
	n.meta, n.lake = databaseOf(t, n.server.Database(t)), databaseOf(t, n.server.Database(t))
	bucket := store.Bucket(t)
	common := []string{"QUANT_EXTENSIONS_DIR=" + extensions, "QUANT_CALENDAR=data"}
	if lease != 0 {
		common = append(common, "QUANT_TEST_PATIENCE=lease="+lease.String())
	}
	for name, value := range objectstest.Environment() {
		common = append(common, name+"="+value)
	}
	n.control = labtest.New(t)
	n.control.Env = append(n.control.Env, append(common, "QUANT_META_URL="+n.server.URL(n.meta), "QUANT_FACTS_URL="+laketest.In(n.server.URL(n.lake), n.shared),
		"QUANT_OBJECTS_URL="+objectstest.In(store.Endpoint(), bucket))...)
	for i, skew := range skews {
		h := &host{Lab: labtest.New(t), link: fmt.Sprintf("v%d", i), holder: hold(t, fmt.Sprintf("host%d", i+1), i+1)}
		h.clock = h.Path("clock")
		h.set(skew)
		n.ip(n.db, "link", "add", h.link, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(h.holder))
		n.heal(h)
		n.ip(h.holder, "addr", "add", fmt.Sprintf("10.77.0.%d/24", 10+i), "dev", "eth0")
		n.ip(h.holder, "link", "set", "eth0", "up")
		h.Env = append(h.Env, append(common, "QUANT_TEST_CLOCK=@"+h.clock,
			"QUANT_META_URL=postgres://"+postgrestest.Owner+"@"+serverAddress+"/"+n.meta+"?sslmode=disable",
			"QUANT_FACTS_URL="+laketest.In("postgres:dbname="+n.lake+" host="+serverAddress+" user="+postgrestest.Owner+" sslmode=disable", n.shared),
			"QUANT_OBJECTS_URL="+objectstest.In(n.front.Endpoint, bucket))...)
		n.hosts = append(n.hosts, h)
	}
	n.control.Must("init-db")
	return n
}

// hold starts the process that holds the namespaces of a host, and returns its number.
func hold(t *testing.T, name string, number int) int {
	t.Helper()
	id := filepath.Join(t.TempDir(), "machine-id")
	labtest.Must(t, os.WriteFile(id, fmt.Appendf(nil, "%032x\n", os.Getpid()*100+number), 0o644))
	script := `hostname "$1" && ip link set lo up && { [ ! -e /etc/machine-id ] || mount --bind "$2" /etc/machine-id; } && echo ready && exec sleep 86400`
	cmd := exec.Command("unshare", "--net", "--uts", "--mount", "--propagation", "private", "sh", "-c", script, "sh", name, id)
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	out, err := cmd.StdoutPipe()
	labtest.Must(t, err)
	cmd.Stderr = os.Stderr
	// The signal comes when the thread ends that started it, so that thread stays.
	runtime.LockOSThread()
	labtest.Must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		runtime.UnlockOSThread()
	})
	if _, err := out.Read(make([]byte, 6)); err != nil {
		tried.Cannot(t, "a host as namespaces cannot be made: %v", err)
	}
	return cmd.Process.Pid
}

// databaseOf is the name of the database of a URL.
func databaseOf(t *testing.T, url string) string {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	labtest.Must(t, err)
	return config.Database
}

// ip changes the network of a host.
func (n *network) ip(holder int, args ...string) {
	n.t.Helper()
	cmd := exec.Command("nsenter", append([]string{"--target", strconv.Itoa(holder), "--net", "--", "ip"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Errorf("%s: %v: %s", strings.Join(cmd.Args, " "), err, out)
	}
}

// inside does something in the network of the servers' host: what it starts and opens
// stays there.
func (n *network) inside(do func()) {
	n.t.Helper()
	runtime.LockOSThread() // and not unlocked where it cannot go back: then the thread ends with the goroutine
	home, err := os.Open("/proc/thread-self/ns/net")
	labtest.Must(n.t, err)
	defer home.Close()
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", n.db))
	labtest.Must(n.t, err)
	defer there.Close()
	labtest.Must(n.t, unix.Setns(int(there.Fd()), unix.CLONE_NEWNET))
	defer func() {
		labtest.Must(n.t, unix.Setns(int(home.Fd()), unix.CLONE_NEWNET))
		runtime.UnlockOSThread()
	}()
	do()
}

// start starts quant on a host.
func (h *host) start(args ...string) *labtest.Process {
	h.T.Helper()
	cmd := h.Command(args...)
	enter := []string{"--target", strconv.Itoa(h.holder), "--net", "--uts", "--mount", "--", "env", "--chdir=" + h.Dir, cmd.Path}
	inner := exec.Command("nsenter", append(enter, cmd.Args[1:]...)...)
	inner.Env, inner.Dir = cmd.Env, h.Dir
	return h.StartCmd(inner)
}

// set sets the clock of a host ahead, for all that runs there.
func (h *host) set(ahead time.Duration) {
	labtest.Must(h.T, os.WriteFile(h.clock+".new", []byte(ahead.String()), 0o644))
	labtest.Must(h.T, os.Rename(h.clock+".new", h.clock))
}

// cut cuts the link of a host: by taking it down, or silently, so that it seems to be there
// and nothing comes through. heal mends it.
func (n *network) cut(h *host, silently bool) {
	if silently {
		n.ip(n.db, "link", "set", h.link, "nomaster")
		return
	}
	n.ip(n.db, "link", "set", h.link, "down")
}

func (n *network) heal(h *host) { n.ip(n.db, "link", "set", h.link, "master", "br0", "up") }

// rows are the rows of a query of the Meta DB, a line each, read past the program. It waits
// for a server that is away.
func (n *network) rows(query string) string {
	n.t.Helper()
	var last error
	for range 100 {
		text, err := rowsOf(n.server.Superuser(n.meta), query)
		if err == nil {
			return text
		}
		last = err
		time.Sleep(300 * time.Millisecond)
	}
	n.t.Fatal(last)
	return ""
}

func rowsOf(url, query string) (string, error) {
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	found, err := conn.Query(ctx, query)
	if err != nil {
		return "", err
	}
	var lines []string
	for found.Next() {
		values, err := found.Values()
		if err != nil {
			return "", err
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintln(values...)))
	}
	return strings.Join(lines, "\n"), found.Err()
}
