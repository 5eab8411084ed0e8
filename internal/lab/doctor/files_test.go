package doctor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/lab/doctor"
	"quant/internal/lab/facts"
	"quant/internal/metastore"
)

func TestContentsAndLogsAreHeldAgainstTheRuns(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ctx := t.Context()
	id, err := l.Registry.Start(ctx, "exec", nil)
	must(t, err)
	var digests []string
	for _, name := range []string{"sound", "missing", "shorter", "changed"} {
		digest, size, err := l.Artifacts().Put(ctx, strings.NewReader("content "+name))
		must(t, err)
		must(t, l.Registry.Log(ctx, id, metastore.Batch{Artifacts: []quant.Artifact{{Name: name, Digest: digest, Bytes: size}}}))
		digests = append(digests, digest)
	}
	must(t, l.Registry.Success(ctx, id))
	for i, damage := range []func(path string) error{
		func(string) error { return nil },
		os.Remove,
		func(path string) error { return os.Truncate(path, 3) },
		func(path string) error {
			must(t, os.Chmod(path, 0o600))
			return os.WriteFile(path, []byte("CONTENT changed"), 0o600)
		},
	} {
		path, err := l.Artifacts().Path(digests[i])
		must(t, err)
		must(t, damage(path))
	}
	must(t, os.MkdirAll(l.LogDir(), 0o700))
	for _, name := range []string{id + ".log", "019bc1a4-4a00-7000-8000-000000000001.log", "README"} {
		must(t, os.WriteFile(filepath.Join(l.LogDir(), name), nil, 0o600))
	}
	must(t, os.WriteFile(l.MetaPath+".before-restore-20260115T093000.000000Z", nil, 0o600))
	faults := func() (found map[string]bool) {
		report, err := doctor.Examine(ctx, &facts.Store{Lab: l.Lab}, l.Options)
		must(t, err)
		found = map[string]bool{}
		for _, f := range report.Findings {
			if f.Severity == doctor.Fault && strings.HasPrefix(f.Object, "artifact ") {
				found[strings.TrimPrefix(f.Object, "artifact ")] = true
			}
			found[f.What] = true
		}
		return found
	}
	quick := faults()
	for i, fault := range []bool{false, true, true, false} {
		if quick[digests[i]] != fault {
			t.Errorf("content %d: a fault: %v", i, quick[digests[i]])
		}
	}
	if !quick["1 logs are of runs that are gone, such as 019bc1a4-4a00-7000-8000-000000000001.log"] || !quick["it was moved aside by a restore"] {
		t.Errorf("%v", quick)
	}
	l.Deep = true
	if deep := faults(); !deep[digests[3]] || deep[digests[0]] {
		t.Errorf("deep: %v", deep)
	}
}

// A reset that was deleted still tells where the facts of earlier runs are.
func TestDeletedRunsAreHeldAgainstTheLedgerToo(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ctx := t.Context()
	wrote, rows := quant.RunIO{Direction: quant.Out, Kind: quant.IOTable, Name: "ohlcv"}, int64(3)
	wrote.Rows = &rows
	id, err := l.Registry.Start(ctx, "ingest", nil)
	must(t, err)
	l.Registry.Get(id).Record(wrote)
	must(t, l.Registry.Success(ctx, id))
	faults := func() (n int) {
		report, err := doctor.Examine(ctx, &facts.Store{Lab: l.Lab}, l.Options)
		must(t, err)
		for _, f := range report.Findings {
			if f.Severity == doctor.Fault {
				n++
			}
		}
		return n
	}
	remove := func(id string) {
		_, err := l.store.DeleteRuns(ctx, []quant.Deletion{{RunID: id, DeletedAt: quant.NewTime(time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC))}})
		must(t, err)
	}
	remove(id)
	if n := faults(); n != 1 {
		t.Errorf("%d faults of a deleted run without its ledger rows", n)
	}
	reset, err := l.Registry.Start(ctx, "init-db", nil)
	must(t, err)
	l.Registry.Get(reset).Record(quant.RunIO{Direction: quant.Out, Kind: "backup", Name: "quant.duckdb"})
	must(t, l.Registry.Success(ctx, reset))
	remove(reset)
	if n := faults(); n != 0 {
		t.Errorf("%d faults once a reset explains it", n)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
