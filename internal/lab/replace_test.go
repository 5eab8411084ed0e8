package lab

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"quant"
	"quant/internal/lab/place"
)

// A journal is carried out from wherever a kill left it.
func TestAJournalIsFinishedFromEveryPoint(t *testing.T) {
	t.Parallel()
	for done := range 7 {
		dir := t.TempDir()
		meta := filepath.Join(dir, "meta.db")
		moves := []move{
			{"quant.duckdb", "quant.duckdb.before-restore-1"}, {"meta.db", "meta.db.before-restore-1"},
			{"quant.duckdb.restoring", "quant.duckdb"}, {"meta.db.restoring", "meta.db"},
		}
		for _, name := range []string{"quant.duckdb", "meta.db"} {
			put(t, filepath.Join(dir, name), "old "+name)
			put(t, filepath.Join(dir, name+".restoring"), "new "+name)
		}
		text, err := json.Marshal(moves)
		if err != nil {
			t.Fatal(err)
		}
		put(t, place.JournalFile(meta), string(text))
		for _, m := range moves[:min(done, len(moves))] {
			if err := os.Rename(filepath.Join(dir, m.From), filepath.Join(dir, m.To)); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the second time there is nothing to do
			c, err := Use(t.Context(), meta)
			if err != nil {
				t.Fatal(err)
			}
			c.Release()
		}
		for name, want := range map[string]string{"meta.db": "new meta.db", "quant.duckdb": "new quant.duckdb", "meta.db.before-restore-1": "old meta.db", "quant.duckdb.before-restore-1": "old quant.duckdb"} {
			if got, err := os.ReadFile(filepath.Join(dir, name)); string(got) != want {
				t.Errorf("after %d moves %s is %q, %v", done, name, got, err)
			}
		}
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestALabIsReplacedOnlyByWhoHasItAlone(t *testing.T) {
	t.Parallel()
	meta := filepath.Join(t.TempDir(), "meta.db")
	one, err := Use(t.Context(), meta)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Use(t.Context(), meta)
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Alone(t.Context(), 0, func() error { t.Error("not alone"); return nil }); !errors.Is(err, quant.Locked) {
		t.Error(err)
	}
	two.Release()
	entered := make(chan struct{})
	err = one.Alone(t.Context(), 0, func() error {
		go func() {
			three, err := Use(context.Background(), meta) // waits
			if err == nil {
				three.Release()
			}
			close(entered)
		}()
		select {
		case <-entered:
			t.Error("somebody came in meanwhile")
		default:
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	<-entered
}

// Next to what is moved aside a note would say that it was taken over already.
func TestANoteOfALiveFileIsNotMovedAsideWithIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	meta := filepath.Join(dir, "meta.db")
	put(t, meta, "old")
	put(t, meta+place.Salvaged, "note")
	put(t, meta+place.Staging, "new")
	aside, err := swap(meta, []string{meta}, place.Aside+"1")
	if err != nil || len(aside) != 1 {
		t.Fatal(aside, err)
	}
	for name, want := range map[string]string{meta: "new", aside[0]: "old", meta + place.Salvaged: "note"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	if _, err := os.Lstat(aside[0] + place.Salvaged); !errors.Is(err, os.ErrNotExist) {
		t.Error("what was moved aside has a note:", err)
	}
}
