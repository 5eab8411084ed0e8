package archive_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quant"
	"quant/internal/lab"
	"quant/internal/lab/archive"
	"quant/internal/lab/facts"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
)

// unreset is a store whose reset fails.
type unreset struct{ metastore.FileStore }

func (unreset) Reset(context.Context, string) (metastore.Carried, error) {
	return metastore.Carried{}, quant.Errorf(quant.Store, "the disk is full")
}

// resetting is a lab with one symbol and a Fact DB in a folder of its own.
func resetting(t *testing.T) *facts.Store {
	t.Helper()
	at := place.In(t.TempDir())
	at.FactPath = filepath.Join(t.TempDir(), "f.duckdb")
	f := begun(t, at, "init-db")
	if err := f.Lab.Meta.CreateSymbol(t.Context(), quant.Symbol{Symbol: "KEEP"}); err != nil {
		t.Fatal(err)
	}
	if made, err := f.Make(t.Context()); err != nil || made.Change != lab.Created || len(made.Tables) == 0 {
		t.Fatalf("%+v, %v", made, err)
	}
	return f
}

func TestAFailedResetOfTheMetaDBPutsTheFactDBBack(t *testing.T) {
	t.Parallel()
	f := resetting(t)
	store, err := metastore.AsFile(f.Lab.Meta)
	if err != nil {
		t.Fatal(err)
	}
	f.Lab.Meta = unreset{store}
	before, err := os.ReadFile(f.Lab.FactPath)
	if err != nil {
		t.Fatal(err)
	}
	r, err := archive.Anew(t.Context(), f)
	if quant.CodeOf(err) != quant.Store {
		t.Fatal(err)
	}
	after, err := os.ReadFile(f.Lab.FactPath)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the Fact DB is not what it was: %v", err)
	}
	if len(r.IO) != 0 || len(r.Copies) != 0 {
		t.Errorf("it says that it backed up %+v", r)
	}
}

func TestEachDatabaseIsBackedUpBesideItself(t *testing.T) {
	t.Parallel()
	f := resetting(t)
	r, err := archive.Anew(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Copies) != 2 {
		t.Fatal(r.Copies)
	}
	for i, database := range []string{f.Lab.MetaPath, f.Lab.FactPath} {
		folder, err := filepath.EvalSymlinks(filepath.Dir(database))
		if err != nil || !strings.HasPrefix(r.Copies[i].Path, filepath.Join(folder, "backups")) || r.Copies[i].Digest == "" || r.Copies[i].Bytes == 0 {
			t.Errorf("%s: %+v, %v", database, r.Copies[i], err)
		}
		if last := r.IO[len(r.IO)-2+i]; last.Kind != quant.IOBackup || last.Name != r.Copies[i].Path || string(last.Digest) != r.Copies[i].Digest {
			t.Errorf("to be recorded: %+v", last)
		}
	}
	backup, err := sqlite.Open(t.Context(), sqlite.Options{Path: r.Copies[0].Path, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer backup.Close()
	if _, err := backup.GetSymbol(t.Context(), "KEEP"); err != nil {
		t.Error(err)
	}
	if _, err := f.Lab.Meta.GetSymbol(t.Context(), "KEEP"); quant.CodeOf(err) != quant.NotFound {
		t.Error(err)
	}
	if _, err := f.Lab.Meta.GetRun(t.Context(), f.Self); err != nil {
		t.Error(err)
	}
	if made, err := f.Make(t.Context()); err != nil || made.Change != lab.Created {
		t.Errorf("the Fact DB is not made anew: %+v, %v", made, err)
	}
}
