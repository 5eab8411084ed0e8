package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"quant"
	"quant/internal/durable"
	"quant/internal/lab/place"
)

func TestWhatAKilledRunLeftOutsideTheLabIsNamedAndTaken(t *testing.T) {
	t.Parallel()
	l := New(Options{Place: place.In(t.TempDir())})
	ok(t, l.Open(t.Context(), false))
	t.Cleanup(func() { l.Close() })
	start := func() string {
		id, err := l.Registry.Start(t.Context(), "backup", nil)
		ok(t, err)
		return id
	}
	self, killed := start(), start()
	outside := t.TempDir()
	target := filepath.Join(outside, "we[i]rd?.tar")

	l.Target(self, filepath.Join(outside, "made.tar"))()
	if notes, err := Entries(l.TargetDir()); err != nil || len(notes) != 0 {
		t.Errorf("a file that was made is still noted: %v, %v", notes, err)
	}
	l.Target(self, "-", "", filepath.Join(l.DataDir, "in-the-lab.tar"), filepath.Join(outside, "no", "folder.tar"))
	if notes, err := Entries(l.TargetDir()); err != nil || len(notes) != 0 {
		t.Errorf("what needs no note has one: %v, %v", notes, err)
	}

	l.Target(killed, target)
	f, err := durable.Begin(target, 0o600)
	ok(t, err)
	_, _, err = durable.TemporaryFolder(outside, filepath.Base(target))
	ok(t, err)
	found, err := filepath.Glob(filepath.Join(outside, durable.TemporaryPattern))
	ok(t, err)
	if len(found) != 2 || found[0] != f.Name() && found[1] != f.Name() {
		t.Fatal(found)
	}
	for _, name := range []string{".other.tar.quant-tmp-1", ".we[i]rd?.tar.quant-tmp-", "we[i]rd?.tar", ".weird.tar.quant-tmp-1", ".we[i]rd?.tar.quant-tmp-x"} {
		ok(t, os.WriteFile(filepath.Join(outside, name), []byte("text"), 0o600))
	}
	everything, err := Entries(outside)
	ok(t, err)
	for _, e := range everything {
		age(t, filepath.Join(outside, e.Name()))
	}
	left := func() []string {
		all, err := l.Leftovers(t.Context(), self)
		ok(t, err)
		var paths []string
		for _, one := range all {
			paths = append(paths, one.Path)
		}
		slices.Sort(paths)
		return paths
	}
	if got := left(); len(got) != 0 {
		t.Errorf("while its run runs: %v", got)
	}
	ok(t, l.Registry.Fail(t.Context(), killed, quant.Errorf(quant.Failed, "killed")))
	if got := left(); fmt.Sprint(got) != fmt.Sprint(found) {
		t.Errorf("left %v, want %v", got, found)
	}
	done, err := l.Collect(t.Context(), self, CollectOptions{MinAge: MinAge, Remove: true})
	ok(t, err)
	if got := done.Found[len(done.Found)-1]; got.Kind != Leftover || got.Count != 2 {
		t.Errorf("taken: %+v", got)
	}
	remain, err := Entries(outside)
	if err != nil || len(remain) != 5 {
		t.Errorf("what is not of that run: %v, %v", remain, err)
	}
	if notes, err := Entries(l.TargetDir()); err != nil || len(notes) != 0 {
		t.Errorf("noted still: %v, %v", notes, err)
	}
}

// A file that could not be removed, as on a disk that has become read-only, would be
// found by nobody without the note.
func TestTheNoteOfATargetStaysAsLongAsItsTemporaryFile(t *testing.T) {
	t.Parallel()
	l := New(Options{Place: place.In(t.TempDir())})
	ok(t, l.Open(t.Context(), false))
	t.Cleanup(func() { l.Close() })
	id, err := l.Registry.Start(t.Context(), "backup", nil)
	ok(t, err)
	outside := t.TempDir()
	stuck, made := filepath.Join(outside, "stuck.tar"), filepath.Join(outside, "made.tar")
	done := l.Target(id, stuck, made)
	temporary, err := durable.TemporaryFile(outside, filepath.Base(stuck))
	ok(t, err)
	ok(t, temporary.Close())
	ok(t, os.WriteFile(made, nil, 0o600))
	done()
	noted := func() (paths []string) {
		notes, err := Entries(l.TargetDir())
		ok(t, err)
		for _, e := range notes {
			path, err := os.ReadFile(filepath.Join(l.TargetDir(), e.Name()))
			ok(t, err)
			paths = append(paths, string(path))
		}
		return paths
	}
	if got := noted(); fmt.Sprint(got) != fmt.Sprint([]string{stuck}) {
		t.Fatalf("noted is %v, want the one beside which a temporary file stands", got)
	}
	ok(t, l.Registry.Fail(t.Context(), id, quant.Errorf(quant.Failed, "read-only file system")))
	age(t, temporary.Name())
	_, err = l.Collect(t.Context(), "", CollectOptions{MinAge: MinAge, Remove: true})
	ok(t, err)
	if left, err := Entries(outside); err != nil || len(left) != 1 || left[0].Name() != "made.tar" {
		t.Errorf("beside it stand %v, %v", left, err)
	}
	if got := noted(); len(got) != 0 {
		t.Errorf("noted still: %v", got)
	}
}

func TestEveryTemporaryNameOfThisAndFormerVersionsIsFound(t *testing.T) {
	t.Parallel()
	l := New(Options{Place: place.In(t.TempDir())})
	ok(t, l.Open(t.Context(), false))
	t.Cleanup(func() { l.Close() })
	self, err := l.Registry.Start(t.Context(), "gc", nil)
	ok(t, err)
	outside := t.TempDir()
	l.Registry.Get(self).Record(quant.RunIO{Direction: quant.Out, Kind: quant.IOFile, Name: filepath.Join(outside, "runs.jsonl")})
	ok(t, l.Registry.Success(t.Context(), self))
	self, err = l.Registry.Start(t.Context(), "gc", nil)
	ok(t, err)
	ok(t, os.WriteFile(l.FactPath, []byte("stands"), 0o600))
	var want []string
	for _, path := range []string{
		l.MetaFile() + ".creating", l.MetaFile() + ".creating-wal", l.MetaFile() + ".creating-shm", l.MetaFile() + ".creating-journal",
		l.FactPath + ".new", l.FactPath + ".new.wal", l.MetaFile() + ".partial-1", l.MetaFile() + ".salvage-1",
		filepath.Join(place.BackupDir(l.MetaFile()), "meta.db.schema-3-20260115T120000Z.partial-7"), filepath.Join(place.BackupDir(l.MetaFile()), ".meta.db.quant-tmp-7"),
		filepath.Join(l.DataDir, ".quant-backup-12"), filepath.Join(l.LogDir(), ".import-3"), filepath.Join(l.ReportDir(), ".report-3"),
		filepath.Join(l.RunDir(), self, ".plan-4"), filepath.Join(l.RunDir(), self, ".plan.json.quant-tmp-4"), filepath.Join(l.CacheDir("p"), ".day.quant-tmp-4"), filepath.Join(l.CacheDir("p"), ".part-4"),
		filepath.Join(outside, ".quant-export-5"), filepath.Join(outside, ".quant-backup-5"), filepath.Join(outside, "runs.jsonl.partial-6"),
	} {
		ok(t, os.MkdirAll(filepath.Dir(path), 0o700))
		ok(t, os.WriteFile(path, []byte("text"), 0o600))
		age(t, path)
		want = append(want, path)
	}
	for _, name := range []string{".quant-exports", ".quant-backup-notes", "runs.jsonl", "x.partial-1"} {
		ok(t, os.WriteFile(filepath.Join(outside, name), nil, 0o600))
		age(t, filepath.Join(outside, name))
	}
	all, err := l.Leftovers(t.Context(), self)
	ok(t, err)
	var got []string
	for _, one := range all {
		got = append(got, one.Path)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("found %v\nwant %v", got, want)
	}
	_, err = l.Collect(t.Context(), self, CollectOptions{MinAge: MinAge, Remove: true})
	ok(t, err)
	for _, path := range want {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	if left, err := Entries(outside); err != nil || len(left) != 4 {
		t.Errorf("what is not ours: %v, %v", left, err)
	}
}
