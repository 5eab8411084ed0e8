package lab

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"quant"
	"quant/internal/failpoint"
	"quant/internal/lab/place"
	"quant/internal/metastore"
)

func noon() time.Time { return time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC) }

func newLab(t *testing.T) *Lab {
	t.Helper()
	l := New(Options{Place: place.In(t.TempDir()), Now: noon})
	if err := l.Open(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// spoil overwrites the beginning of a lab's Meta DB, which is closed for that.
func spoil(t *testing.T, l *Lab) (file []byte) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(l.MetaPath)
	if err != nil {
		t.Fatal(err)
	}
	clear(file[:100])
	put(t, l.MetaPath, string(file))
	return file
}

func TestAnAsideIsKnownByItsNameAndByWhatWasTakenOver(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if _, err := l.Meta.EnsureSymbols(t.Context(), []string{"A", "B"}); err != nil {
		t.Fatal(err)
	}
	for round, want := range []string{".broken-20260115T120000Z", ".broken-20260115T120000Z-2"} { // in the same second
		spoil(t, l)
		if err := l.Open(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if got := l.Opening.MovedAside; got != l.MetaPath+want || l.Opening.Meta != Created {
			t.Errorf("%+v", l.Opening)
		}
		if taken := l.Opening.Salvaged; !taken.Whole() || taken.Rows["symbols"] != 2 || taken.Missing() != "" {
			t.Errorf("%+v", taken)
		}
		all, err := l.Asides()
		if err != nil || len(all) != round+1 || all[round].Taken == nil || !all[round].Taken.Whole() {
			t.Errorf("%+v, %v", all, err)
		}
	}
	if left, err := l.Unsalvaged(); err != nil || len(left) != 0 {
		t.Errorf("%+v, %v", left, err)
	}
	if again, err := l.TakeUp(t.Context()); err != nil || len(again) != 0 {
		t.Errorf("%+v, %v", again, err)
	}
	for name, want := range map[string]bool{
		"meta.db.broken-1": true, "meta.db.broken-1-2": true, "meta.db.broken-1-wal": false, "meta.db.broken-1.salvaged": false,
		"meta.db": false, "other.db.broken-1": false, "meta.db.broken-1-journal": false,
	} {
		if IsAside("meta.db", name) != want {
			t.Error(name)
		}
	}
}

func TestADatabaseThatIsSoundAfterAllStaysWhereItIs(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if _, err := l.Meta.EnsureSymbols(t.Context(), []string{"A"}); err != nil {
		t.Fatal(err)
	}
	if err := l.SetAside(t.Context(), metastore.ErrDamaged); err != nil {
		t.Fatal(err)
	}
	if l.Opening.MovedAside != "" || l.Opening.Meta != Unchanged {
		t.Errorf("%+v", l.Opening)
	}
	if list, err := l.Meta.ListSymbols(t.Context(), metastore.SymbolFilter{}); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestABrokenDatabaseIsReplacedOnlyByWhoHasTheLabAlone(t *testing.T) {
	l := newLab(t)
	file := spoil(t, l)
	other, err := Use(t.Context(), l.MetaFile())
	if err != nil {
		t.Fatal(err)
	}
	failpoint.SetPatience(func(string, time.Duration) time.Duration { return time.Millisecond })
	defer failpoint.SetPatience(nil)
	if err := l.Open(t.Context(), true); !errors.Is(err, quant.Locked) {
		t.Errorf("%v", err)
	}
	if now, err := os.ReadFile(l.MetaPath); err != nil || string(now) != string(file) {
		t.Errorf("it was touched: %v", err)
	}
	other.Release()
	if err := l.Open(t.Context(), true); err != nil || l.Opening.MovedAside == "" {
		t.Errorf("%+v, %v", l.Opening, err)
	}
}

// A swap that fails is taken back from wherever it failed.
func TestASwapThatFailsLeavesEverythingWhereItStood(t *testing.T) {
	t.Parallel()
	for _, staged := range []int{0, 1, 2} {
		dir := t.TempDir()
		meta := filepath.Join(dir, "meta.db")
		places := []string{filepath.Join(dir, "quant.duckdb"), filepath.Join(dir, "folder"), meta}
		for _, path := range places {
			put(t, path, "old "+filepath.Base(path))
			put(t, path+place.Staging, "new "+filepath.Base(path))
		}
		moves := []move{}
		for _, path := range places {
			moves = append(moves, move{filepath.Base(path), filepath.Base(path) + place.Aside + "1"})
		}
		for _, path := range places {
			moves = append(moves, move{filepath.Base(path) + place.Staging, filepath.Base(path)})
		}
		for _, m := range moves[:3+staged] {
			if err := os.Rename(filepath.Join(dir, m.From), filepath.Join(dir, m.To)); err != nil {
				t.Fatal(err)
			}
		}
		put(t, place.JournalFile(meta), "[]")
		if err := undo(meta, moves); err != nil {
			t.Fatal(err)
		}
		list, err := os.ReadDir(dir)
		if err != nil || len(list) != 2*len(places) {
			t.Errorf("%v, %v", list, err)
		}
		for _, path := range places {
			for suffix, want := range map[string]string{"": "old ", place.Staging: "new "} {
				if got, err := os.ReadFile(path + suffix); string(got) != want+filepath.Base(path) {
					t.Errorf("after %d: %s is %q, %v", 3+staged, path+suffix, got, err)
				}
			}
		}
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	t.Parallel()
	for want, taken := range map[string]Taken{
		"":                       {},
		"at least 1 row lost; x": {Carried: metastore.Carried{Lost: map[string]int64{"runs": 1}, Unread: []string{"x"}}},
		"at least 3 rows lost":   {Carried: metastore.Carried{Lost: map[string]int64{"runs": 1, "run_io": 2}}},
		"nothing":                {Unreadable: "nothing"},
	} {
		if got := taken.Missing(); got != want || taken.Whole() != (want == "") {
			t.Errorf("%q, want %q (%v)", got, want, taken.Whole())
		}
	}
}
