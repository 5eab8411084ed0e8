// Package labtest is the kit of the end-to-end tests: labs in temporary folders,
// a real quant in processes of its own (the test binary, see Main), and both
// databases read by SQL alone, past every rule of the program. The packages
// beside it are named for what they prove. It tests nothing itself.
package labtest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait of the kit; reaching it is a failure.
const patience = 90 * time.Second

// Lab is a working directory in which quant runs. Its methods fail T at the
// first thing that is not as they were told; they may be called from several
// goroutines.
type Lab struct {
	T   *testing.T
	Dir string
	Env []string // beyond a bare PATH, HOME and TMPDIR

	mu      sync.Mutex
	printed bytes.Buffer
}

// New is an empty folder, which the end of the test takes away.
func New(t *testing.T) *Lab {
	t.Helper()
	return &Lab{T: t, Dir: t.TempDir()}
}

// Path is a path below the folder.
func (l *Lab) Path(names ...string) string {
	return filepath.Join(append([]string{l.Dir}, names...)...)
}

// Meta is the path of the Meta DB.
func (l *Lab) Meta() string { return l.Path("data", "meta.db") }

// Facts is the path of the Fact DB.
func (l *Lab) Facts() string { return l.Path("data", "quant.duckdb") }

// Printed is all that ended processes wrote to stdout and stderr.
func (l *Lab) Printed() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.printed.String()
}

// Write makes a file below the folder.
func (l *Lab) Write(name string, content []byte) {
	l.T.Helper()
	Must(l.T, os.MkdirAll(filepath.Dir(l.Path(name)), 0o700))
	Must(l.T, os.WriteFile(l.Path(name), content, 0o600))
}

// CopyOf makes a lab with the same files; nothing may run in l.
func (l *Lab) CopyOf(t *testing.T) *Lab {
	t.Helper()
	c := New(t)
	Must(t, os.CopyFS(c.Dir, os.DirFS(l.Dir)))
	Must(t, os.Chmod(c.Path("data"), 0o700))
	return c
}

// Must fails the test if there is an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// PriceFile is a CSV of days rows for each symbol; every value depends on salt.
func PriceFile(salt, days int, symbols ...string) []byte {
	var b bytes.Buffer
	b.WriteString("symbol,date,open,high,low,close,volume,adj close\n")
	first := time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, s := range symbols {
		for d := range days {
			p := 10 + float64((i*31+d*7+salt*13)%1000)/8
			fmt.Fprintf(&b, "%s,%s,%g,%g,%g,%g,%d,%g\n", s, first.AddDate(0, 0, d).Format(time.DateOnly), p, p+2, p-1, p+1, 1000+d, p+0.5)
		}
	}
	return b.Bytes()
}

// Gzipped is b as a gzip file.
func Gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	Must(t, errors.Join(err, w.Close()))
	return out.Bytes()
}

// Decode reads one JSON document.
func Decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("not one JSON document: %v\n%s", err, Clipped(text))
	}
}
