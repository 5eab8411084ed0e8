package factstore_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/metastore/postgrestest"
	"quant/internal/test/laketest"
	"quant/internal/test/objectstest"
)

// bucketLake are the options of a lake of its own in a bucket, and the proxy before it.
func bucketLake(t *testing.T) (factstore.Options, *objectstest.Front) {
	t.Helper()
	server := objectstest.Shared(t)
	front := server.Front(t, false)
	o := options("")
	o.URL, o.Extensions = laketest.InBucket(postgrestest.Database(t), server.Bucket(t), front.Endpoint), laketest.Extensions(t)
	o.TempDir, o.Wait = filepath.Join(t.TempDir(), "tmp"), time.Minute
	return o, front
}

// What one reader of a lake in a bucket read, others read from the disk, and read the
// same, also once others have written.
func TestReadersOfALakeInABucketReadFromTheDiskWhatOneHasRead(t *testing.T) {
	t.Parallel()
	o, front := bucketLake(t)
	var contents atomic.Int64
	front.Fail(func(r *http.Request) objectstest.Fault {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, ".parquet") {
			contents.Add(1)
		}
		return objectstest.Fault{}
	})
	db := openLake(t, o)
	for _, symbol := range []string{"A", "B", "C"} {
		mustWriteBars(t, db, "run-"+symbol, symbol, 3000)
	}
	closeDB(t, db)
	plain, near := o, o
	near.Near = filepath.Join(t.TempDir(), "near")
	read := func(o factstore.Options) (digest string, from int64) {
		t.Helper()
		reader, err := factstore.OpenRead(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		before := contents.Load()
		return digestOfBars(t, reader), contents.Load() - before
	}
	want, n := read(plain)
	if n == 0 {
		t.Fatal("the bars are in no object")
	}
	for again := range 3 {
		got, n := read(near)
		if got != want || (n == 0) != (again > 0) {
			t.Errorf("time %d: digest %s, want %s, with %d reads of the store", again, got, want, n)
		}
	}
	db = openLake(t, o)
	mustWriteBars(t, db, "run-D", "D", 3000)
	closeDB(t, db)
	want, _ = read(plain)
	if got, _ := read(near); got != want {
		t.Errorf("after a write: digest %s, want %s", got, want)
	}
	// What the store says is told.
	front.Fail(func(r *http.Request) objectstest.Fault { return objectstest.Fault{Status: http.StatusForbidden} })
	near.Near = filepath.Join(t.TempDir(), "another")
	reader, err := factstore.OpenRead(t.Context(), near)
	if err == nil {
		defer reader.Close()
		err = reader.QueryRow(t.Context(), "SELECT sum(close) FROM ohlcv").Scan(new(float64))
	}
	wantCode(t, err, quant.Store, "403", "credentials")
}
