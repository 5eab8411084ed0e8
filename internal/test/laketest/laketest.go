// Package laketest gives tests what facts on DuckLake need: the extensions of DuckDB,
// and a lake of their own with its catalog on the tests' PostgreSQL.
package laketest

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"quant/internal/factstore"
	"quant/internal/metastore/postgrestest"
	"quant/internal/test/tried"
)

// folder names a folder that has the extensions, if set.
const folder = "QUANT_TEST_EXTENSIONS_DIR"

var fetched struct {
	sync.Mutex
	err   error
	tried bool
}

// Extensions is a folder with the extensions, checked. Where there is none they are
// fetched from PyPI, once a user, if QUANT_TEST_EVERYTHING is set; else the test is left
// out.
func Extensions(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv(folder); dir != "" {
		if err := factstore.CheckExtensions(dir, factstore.HTTPFS); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "quant-test", "extensions-s3-"+factstore.EngineVersion)
	if factstore.CheckExtensions(dir, factstore.HTTPFS) == nil {
		return dir
	}
	if os.Getenv("QUANT_TEST_EVERYTHING") == "" {
		tried.Cannot(t, "the extensions of DuckLake are fetched from PyPI only where QUANT_TEST_EVERYTHING is set; or name a folder that has them with %s", folder)
	}
	fetched.Lock()
	defer fetched.Unlock()
	if !fetched.tried {
		fetched.tried = true
		fetched.err = fetch(dir)
	}
	if fetched.err != nil {
		tried.Cannot(t, "the extensions of DuckLake cannot be had: %v", fetched.err)
	}
	return dir
}

// fetch installs the extensions' packages beside the folder and gives it the name when
// they are whole: other test binaries may do the same.
// Environment is what a process is told of a lake that is its Fact DB.
func Environment(t testing.TB, url string) []string {
	t.Helper()
	return []string{"QUANT_FACTS_URL=" + url, "QUANT_EXTENSIONS_DIR=" + Extensions(t)}
}

func fetch(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	building, err := os.MkdirTemp(filepath.Dir(dir), "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(building)
	args := []string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", building}
	for _, e := range []factstore.Extension{factstore.DuckLake, factstore.PostgresScanner, factstore.HTTPFS} {
		args = append(args, e.Package()+"=="+strings.TrimPrefix(factstore.EngineVersion, "v"))
	}
	if out, err := exec.Command("python3", args...).CombinedOutput(); err != nil {
		return &exec.Error{Name: "pip: " + strings.TrimSpace(string(out)), Err: err}
	}
	if err := factstore.CheckExtensions(building, factstore.HTTPFS); err != nil {
		return err
	}
	if err := os.Rename(building, dir); err != nil && factstore.CheckExtensions(dir, factstore.HTTPFS) != nil {
		return err
	}
	return nil
}

// URL names a lake that nobody has made yet, with its files in a temporary folder.
func URL(t testing.TB) string {
	t.Helper()
	return In(postgrestest.Database(t), t.TempDir())
}

// In names the lake with its catalog in a database and its files in a folder.
func In(database, dir string) string {
	separator := "?"
	if strings.Contains(database, "?") {
		separator = "&"
	}
	return "ducklake:" + database + separator + "data_path=" + filepath.Join(dir, "files")
}

// InBucket names the lake with its catalog in a database and its files in a bucket of a
// store.
func InBucket(database, bucket, endpoint string) string {
	return strings.TrimSuffix(In(database, ""), "files") + "s3://" + bucket + "/lake&s3_endpoint=" + url.QueryEscape(endpoint)
}
