// Package objectstest gives tests an S3 store of their own: a real server (versitygw) in a
// temporary folder, that ends when its test binary does, however that ends, behind
// proxies that fail as they are told. It knows S3 and nothing of quant's objects.
package objectstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"quant/internal/test/tried"
)

// The credentials of the server's user. The secret is one that masking must find.
const (
	KeyID  = "quanttestkey"
	Secret = "s3cr3tOfTheObjectStoreTest77"
)

// Region is the server's.
const Region = "us-east-1"

// named is the variable that names the program of the server; version is the one that
// tools/objectstore pins.
const (
	named   = "QUANT_TEST_VERSITYGW"
	version = "v1.8.0"
)

// Server is a running store.
type Server struct {
	dir     string
	wanted  io.Closer // while it is open, the server runs
	ended   chan struct{}
	output  *os.File
	buckets atomic.Int64
	front   *Front
}

var shared struct {
	sync.Mutex
	server *Server
	err    error
	tried  bool
}

// Shared is the server that all tests of a test binary share. Its credentials are in the
// environment of the test binary from then on. Where there is none the test is left out.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !shared.tried {
		program := find(t)
		shared.tried = true
		shared.server, shared.err = start(program)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

// Environment is what lets a client in.
func Environment() map[string]string {
	return map[string]string{"AWS_ACCESS_KEY_ID": KeyID, "AWS_SECRET_ACCESS_KEY": Secret, "AWS_EC2_METADATA_DISABLED": "true"}
}

// find is the server's program: the one that is named, the one that was built before, or,
// where QUANT_TEST_EVERYTHING is set, one that is built from the module that
// tools/objectstore pins.
func find(t testing.TB) string {
	t.Helper()
	if program := os.Getenv(named); program != "" {
		return program
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	program := filepath.Join(cache, "quant-test", "versitygw-"+version)
	if _, err := os.Stat(program); err == nil {
		return program
	}
	if os.Getenv("QUANT_TEST_EVERYTHING") == "" {
		tried.Cannot(t, "versitygw %s is built only where QUANT_TEST_EVERYTHING is set; or name it with %s", version, named)
	}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "quant").Output()
	if err != nil {
		tried.Cannot(t, "versitygw cannot be built: %v", err)
	}
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	building := fmt.Sprintf("%s.%d", program, os.Getpid()) // other test binaries may do the same
	cmd := exec.Command("go", "build", "-o", building, "github.com/versity/versitygw/cmd/versitygw")
	cmd.Dir = filepath.Join(string(root[:len(root)-1]), "tools", "objectstore")
	if out, err := cmd.CombinedOutput(); err != nil {
		tried.Cannot(t, "versitygw cannot be built: %v: %.2000s", err, out)
	}
	if err := os.Rename(building, program); err != nil {
		t.Fatal(err)
	}
	return program
}

func start(program string) (s *Server, err error) {
	parent := os.TempDir()
	if len(parent) > 60 { // a socket's path has 107 bytes at most
		parent = "/tmp"
	}
	s = &Server{ended: make(chan struct{})}
	if s.dir, err = os.MkdirTemp(parent, "quant-objects-"); err != nil {
		return nil, err
	}
	for _, dir := range []string{"store", "side"} {
		if err := os.Mkdir(filepath.Join(s.dir, dir), 0o700); err != nil {
			return nil, err
		}
	}
	if s.output, err = os.Create(filepath.Join(s.dir, "output")); err != nil {
		return nil, err
	}
	// The shell ends the server, and takes its folder away, when nobody holds its standard
	// input any more. Attributes go into files: not every file system has any.
	cmd := exec.Command("sh", "-c", `"$0" --quiet --port "$1/socket" posix --sidecar "$1/side" "$1/store" </dev/null & read -r wait; kill -KILL $!; wait $! 2>/dev/null; rm -rf "$1"`, program, s.dir)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+KeyID, "ROOT_SECRET_KEY="+Secret)
	cmd.Stdout, cmd.Stderr = s.output, s.output
	if s.wanted, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait()
		close(s.ended)
	}()
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("unix", s.socket())
		if err == nil {
			c.Close()
			break
		}
		select {
		case <-s.ended:
			err = errors.Join(err, errors.New("it has ended"))
		default:
			if time.Since(begun) < 30*time.Second {
				continue
			}
		}
		said, _ := os.ReadFile(s.output.Name())
		return nil, fmt.Errorf("versitygw does not start: %w: %.2000s", err, said)
	}
	for name, value := range Environment() {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	s.front = s.open(false)
	return s, nil
}

func (s *Server) socket() string { return filepath.Join(s.dir, "socket") }

// Endpoint is the server's URL, behind a proxy that never fails.
func (s *Server) Endpoint() string { return s.front.Endpoint }

// Bucket makes a bucket and returns its name.
func (s *Server) Bucket(t testing.TB) string {
	t.Helper()
	c := s.administrator(t)
	name := fmt.Sprintf("test-%d", s.buckets.Add(1))
	if err := c.MakeBucket(context.Background(), name, minio.MakeBucketOptions{Region: Region}); err != nil {
		t.Fatal(err)
	}
	return name
}

// Remove removes an object.
func (s *Server) Remove(t testing.TB, bucket, key string) {
	t.Helper()
	if err := s.administrator(t).RemoveObject(context.Background(), bucket, key, minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) administrator(t testing.TB) *minio.Client {
	t.Helper()
	u, err := url.Parse(s.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	c, err := minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(KeyID, Secret, ""), Region: Region, BucketLookup: minio.BucketLookupPath})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// URL names a place of its own for a lab's objects.
func (s *Server) URL(t testing.TB) string {
	t.Helper()
	return In(s.Endpoint(), s.Bucket(t))
}

// In names a place for a lab's objects in a bucket of an endpoint.
func In(endpoint, bucket string) string {
	return "s3://" + bucket + "/lab?" + url.Values{"endpoint": {endpoint}}.Encode()
}

// File is where the server keeps an object, for tests that damage it.
func (s *Server) File(bucket, key string) string {
	return filepath.Join(s.dir, "store", bucket, filepath.FromSlash(key))
}

// client reaches the server past all proxies.
func (s *Server) client() *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.socket())
	}, MaxIdleConnsPerHost: 16, DisableCompression: true}
}
