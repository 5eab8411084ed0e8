package factstore_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"quant/internal/factstore"
	"quant/internal/test/objectstest"
)

// giver gives out temporary credentials, as a container's platform does. A store before
// which it stands takes none but its newest, as long as they last.
type giver struct {
	mu      sync.Mutex
	given   int
	lasts   time.Duration
	ends    time.Time
	revoked bool // the newest
	refused int
}

func (g *giver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch r.URL.Path {
	case "/credentials":
		g.given++
		g.revoked, g.ends = false, time.Now().Add(g.lasts)
		fmt.Fprintf(w, `{"AccessKeyId":%q,"SecretAccessKey":%q,"Token":"token-%d","Expiration":%q}`, objectstest.KeyID, objectstest.Secret, g.given, g.ends.UTC().Format(time.RFC3339Nano))
	case "/revoke":
		g.revoked = true
		g.lasts, _ = time.ParseDuration(r.URL.Query().Get("next"))
	case "/count":
		fmt.Fprintf(w, "%d %d %d", g.given, g.refused, time.Until(g.ends).Milliseconds())
	}
}

// fault refuses a request, or signs it anew as the server takes it, which knows no tokens.
func (g *giver) fault(r *http.Request) objectstest.Fault {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Header.Get("X-Amz-Security-Token") == "token-"+strconv.Itoa(g.given) && !g.revoked && time.Now().Before(g.ends) {
		for _, name := range []string{"X-Amz-Security-Token", "Authorization", "X-Amz-Date"} {
			r.Header.Del(name)
		}
		r.URL.Host = r.Host
		r.Header = signer.SignV4(*r, objectstest.KeyID, objectstest.Secret, "", objectstest.Region).Header
		return objectstest.Fault{}
	}
	g.refused++
	return objectstest.Fault{Status: http.StatusForbidden}
}

const giverEnv = "QUANT_TEST_GIVER"

// A lake in a bucket outlives its temporary credentials: within a transaction they are
// renewed before they end, and a query that meets a refusal is asked again with new ones.
func TestALakeInABucketOutlivesItsTemporaryCredentials(t *testing.T) {
	t.Parallel()
	if os.Getenv(giverEnv) != "" {
		outlive(t)
		return
	}
	o, front := bucketLake(t)
	g := &giver{lasts: time.Hour}
	server := httptest.NewServer(g)
	defer server.Close()
	front.Fail(g.fault)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestALakeInABucketOutlivesItsTemporaryCredentials$", "-test.v")
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+server.URL+"/credentials",
		giverEnv+"="+strings.Join([]string{server.URL, o.Extensions, o.URL}, " "))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// outlive is the part of a process that has no other credentials.
func outlive(t *testing.T) {
	f := strings.SplitN(os.Getenv(giverEnv), " ", 3)
	ask := func(path string) string {
		answer, err := http.Get(f[0] + path)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		said, _ := io.ReadAll(answer.Body)
		return string(said)
	}
	count := func() (given, refused int, left time.Duration) {
		if _, err := fmt.Sscan(ask("/count"), &given, &refused, &left); err != nil {
			t.Fatal(err)
		}
		return given, refused, left * time.Millisecond
	}
	o := options("")
	o.Extensions, o.URL, o.TempDir, o.Wait = f[1], f[2], filepath.Join(t.TempDir(), "tmp"), time.Minute
	db := openLake(t, o)
	mustWriteBars(t, db, "run-1", "A", 3000)
	closeDB(t, db)
	reader, err := factstore.OpenRead(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	ask("/revoke?next=20s")
	if n := number(t, reader, "SELECT count(*) FROM ohlcv WHERE volume > 0"); n != 3000 {
		t.Errorf("%d bars, want 3000", n)
	}
	if given, refused, _ := count(); given < 3 || refused == 0 {
		t.Fatalf("credentials were given %d times, and refused %d times", given, refused)
	}
	closeDB(t, reader)
	db = openLake(t, o)
	mustWriteBars(t, db, "run-2", "B", 3000)
	_, before, _ := count()
	_, err = db.Write(t.Context(), "run-3", func(ctx context.Context, tx *factstore.Tx) error {
		const bars = "SELECT ?, DATE '2020-01-01' + CAST(i AS INTEGER), 2, 3, 1, 2, 10 + i, NULL, 'test', CAST(? AS TIMESTAMP) FROM range(3000) r(i)"
		for _, symbol := range []string{"C", "D"} {
			if _, err := tx.Insert(ctx, factstore.OHLCV, bars, symbol, tx.Now); err != nil {
				return err
			}
			if _, _, left := count(); symbol == "C" {
				time.Sleep(left + time.Second) // until what it has is taken no more
			}
		}
		var n float64
		return tx.QueryRow(ctx, "SELECT sum(volume) FROM ohlcv").Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, after, _ := count(); after != before {
		t.Errorf("%d requests were refused while it wrote", after-before)
	}
	if n := number(t, db, "SELECT count(*) FROM ohlcv WHERE volume > 0"); n != 12000 {
		t.Errorf("%d bars, want 12000", n)
	}
}
