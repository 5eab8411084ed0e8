package record

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quant/internal/test/labtest"

	_ "embed"
)

// olderLab is a lab that the program made before it kept in a column what became of
// a failed run's facts (Meta DB of schema 2): a symbol, an ingest, one of a file
// that is not there, one whose reader left after its facts were committed, and a
// program that logged a metric. Names of its host are replaced.
//
//go:embed testdata/lab-of-schema-2.tar.gz
var olderLab []byte

// unpack puts the older lab into a folder.
func unpack(t *testing.T) *labtest.Lab {
	t.Helper()
	l := labtest.New(t)
	z, err := gzip.NewReader(bytes.NewReader(olderLab))
	labtest.Must(t, err)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return l
		}
		labtest.Must(t, err)
		if h.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(r)
		labtest.Must(t, err)
		labtest.Must(t, os.MkdirAll(filepath.Dir(l.Path(filepath.FromSlash(h.Name))), 0o700))
		l.Write(h.Name, content)
		labtest.Must(t, os.Chmod(l.Path("data"), 0o700))
	}
}

func TestALabMadeBeforeOpensAfter(t *testing.T) {
	t.Parallel()
	l := unpack(t)
	prices := "2024-01-02 10.5, 2024-01-03 11.0, 2024-01-04 11.5, 2024-01-08 11.5"
	r := l.Must("sql", "SELECT string_agg(ts || ' ' || close, ', ' ORDER BY ts) AS prices FROM ohlcv", "--output", "csv")
	if got := strings.Trim(strings.TrimPrefix(r.Stdout, "prices\n"), "\"\n"); got != prices {
		t.Errorf("prices %q, want %q", got, prices)
	}
	if !strings.Contains(r.Stderr, "brought the Meta DB") || !strings.Contains(r.Stderr, "from schema 2") {
		t.Errorf("nothing is said of the upgrade: %s", r.Stderr)
	}
	if left, err := filepath.Glob(l.Path("data", "backups", "*")); err != nil || len(left) != 1 {
		t.Errorf("backups before the upgrade: %v, %v", left, err)
	}

	// What a sentence said of the facts of a failed run, a column says.
	want := "exec|SUCCESS|NULL\ningest|FAIL|committed\ningest|FAIL|NULL\ningest|SUCCESS|NULL\nsymbols.add|SUCCESS|NULL\n"
	got := l.MetaRows(`SELECT kind || '|' || status || '|' || coalesce(facts, 'NULL') FROM runs JOIN run_process USING (run_id) WHERE changes ORDER BY kind, status, facts DESC`)
	if strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("runs\n%swant\n%s", got, want)
	}

	// What it logged is found, what it printed is shown, and it goes on from there.
	if r := l.Must("runs", "search", "metrics.loss = 0.5 and params.lr = 0.1", "--output", "csv"); strings.Count(r.Stdout, "\n") != 2 {
		t.Error(r)
	}
	if r := l.Must("runs", "logs", "last:exec"); !strings.Contains(r.Stdout, "done") {
		t.Error(r)
	}
	l.Write("more.csv", []byte("date,symbol,open,high,low,close,adjusted_close,volume\n2024-01-09,AAPL,11,12,10,11.5,11.5,1200\n"))
	l.Must("ingest", "more.csv")
	l.Must("doctor")
}
