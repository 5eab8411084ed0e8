package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/config"
	"quant/internal/factstore"
	"quant/internal/lab"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/output"
	"quant/internal/secret"
	"quant/internal/session"
)

// unreset is a store whose reset fails.
type unreset struct{ *sqlite.DB }

func (unreset) Reset(context.Context, string) (metastore.Carried, error) {
	return metastore.Carried{}, quant.Errorf(quant.Store, "the disk is full")
}

// resetting makes a lab with one symbol and a Fact DB in a folder of its own,
// and the environment of a run in it.
func resetting(t *testing.T) (*Env, *sqlite.DB) {
	t.Helper()
	meta, facts := filepath.Join(t.TempDir(), "meta.db"), filepath.Join(t.TempDir(), "f.duckdb")
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: meta})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if err := store.CreateSymbol(t.Context(), quant.Symbol{Symbol: "KEEP"}); err != nil {
		t.Fatal(err)
	}
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: facts})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	mask := &secret.Masker{}
	open := lab.New(lab.Options{Place: place.Place{DataDir: filepath.Dir(meta), MetaPath: meta, FactPath: facts}})
	if err := open.Open(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { open.Close() })
	env := &Env{
		Printer: output.NewPrinter(output.Streams{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, mask, mask, nil),
		Now:     time.Now, Mask: mask, Session: session.New(session.Options{Lab: open}),
		Settings: config.Resolve(map[string]string{"data-dir": filepath.Dir(meta), "duckdb": facts}, func(string) (string, bool) { return "", false }, nil),
	}
	New(env)
	if _, err := env.Start(t.Context(), session.Command{Kind: "init-db"}, ""); err != nil {
		t.Fatal(err)
	}
	return env, store
}

func TestAFailedResetOfTheMetaDBPutsTheFactDBBack(t *testing.T) {
	t.Parallel()
	env, store := resetting(t)
	env.Meta = unreset{store}
	facts := env.Settings.Value(config.DuckDBPath)
	before, err := os.ReadFile(facts)
	if err != nil {
		t.Fatal(err)
	}
	if err := env.reset(t.Context(), &labReport{}); quant.CodeOf(err) != quant.Store {
		t.Fatal(err)
	}
	after, err := os.ReadFile(facts)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the Fact DB is not what it was: %v", err)
	}
	if err := env.Registry.Success(t.Context(), env.Run.ID); err != nil {
		t.Fatal(err)
	}
	if notes, err := store.RunIO(t.Context(), env.Run.ID); err != nil || len(notes) != 0 {
		t.Errorf("it says that it backed up %v, %v", notes, err)
	}
}

func TestEachDatabaseIsBackedUpBesideItself(t *testing.T) {
	t.Parallel()
	env, store := resetting(t)
	var report labReport
	if err := env.reset(t.Context(), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Backups) != 2 {
		t.Fatal(report.Backups)
	}
	for i, database := range []string{config.SQLitePath, config.DuckDBPath} {
		folder, err := filepath.EvalSymlinks(filepath.Dir(env.Settings.Value(database)))
		if err != nil || !strings.HasPrefix(report.Backups[i].Path, filepath.Join(folder, "backups")) || report.Backups[i].Digest == "" {
			t.Errorf("%s: %+v, %v", database, report.Backups[i], err)
		}
	}
	backup, err := sqlite.Open(t.Context(), sqlite.Options{Path: report.Backups[0].Path, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer backup.Close()
	if _, err := backup.GetSymbol(t.Context(), "KEEP"); err != nil {
		t.Error(err)
	}
	if _, err := store.GetSymbol(t.Context(), "KEEP"); quant.CodeOf(err) != quant.NotFound {
		t.Error(err)
	}
}
