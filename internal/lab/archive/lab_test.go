package archive_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/lab"
	"quant/internal/lab/archive"
	"quant/internal/lab/facts"
	"quant/internal/lab/place"
	"quant/internal/metastore"
)

// begun is the Fact DB of an open lab in which a run has started.
func begun(t *testing.T, at place.Place, kind string) *facts.Store {
	t.Helper()
	l := lab.New(lab.Options{Place: at, Facts: facts.Committed(at)})
	if err := l.Open(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	id, err := l.Registry.Start(t.Context(), kind, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &facts.Store{Lab: l, Self: id}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func made(t *testing.T, f *facts.Store) {
	t.Helper()
	if err := f.Write(t.Context(), func(*factstore.DB) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

// full is a lab of everything, with a run that is RUNNING.
func full(t *testing.T) (f *facts.Store, model string) {
	t.Helper()
	f = begun(t, place.In(t.TempDir()), "backup")
	made(t, f)
	digest, size, err := f.Lab.Artifacts().Put(t.Context(), strings.NewReader("kept"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Lab.Registry.Log(t.Context(), f.Self, metastore.Batch{Artifacts: []quant.Artifact{{Name: "a", Digest: digest, Bytes: size}}}); err != nil {
		t.Fatal(err)
	}
	write(t, f.Lab.LogFile(f.Self), "printed")
	write(t, f.Lab.PlanFile(f.Self), "{}")
	model = strings.Repeat("b", 64) + ".json"
	write(t, filepath.Join(f.Lab.ModelDir(), model), "trained")
	return f, model
}

func TestALabComesBackFromItsBackupInAnotherPlace(t *testing.T) {
	t.Parallel()
	f, model := full(t)
	path := filepath.Join(t.TempDir(), "lab.backup")
	taken, err := archive.Create(t.Context(), f, path, archive.CreateOptions{Program: "v1"})
	if err != nil || taken.Incomplete() != nil {
		t.Fatal(err, taken.Missing)
	}
	if got, want := taken.Contents(), (archive.Contents{Artifacts: 1, Logs: 1, Models: 1, FactDB: true}); got != want || taken.Quant != "v1" {
		t.Errorf("it holds %+v, want %+v", taken, want)
	}
	if len(taken.IO) != 1 || taken.IO[0].Kind != quant.IOBackup || taken.IO[0].Name != path || *taken.IO[0].Rows != int64(len(taken.Members)) {
		t.Errorf("to be recorded: %+v", taken.IO)
	}
	found, err := archive.Verify(t.Context(), path)
	if info, _ := os.Stat(path); err != nil || found.Bytes != info.Size() || found.Bytes != taken.Bytes || len(found.Members) != len(taken.Members) {
		t.Errorf("%+v, %v", found, err)
	}

	to := begun(t, place.In(t.TempDir()), "restore")
	done, err := archive.Restore(t.Context(), to, path, archive.RestoreOptions{Confirm: func(context.Context, string, string) error {
		t.Error("it asks before it replaces a lab that was made for it")
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if done.Runs != 2 || done.Closed != 1 || len(done.MovedAside) != 0 || len(done.IO) != 1 || done.IO[0].Direction != quant.In {
		t.Errorf("%+v", done)
	}
	backup, err := to.Lab.Meta.GetRun(t.Context(), f.Self)
	if err != nil || backup.Status != quant.Success { // it took the backup
		t.Errorf("%+v, %v", backup.Run, err)
	}
	if own, err := to.Lab.Meta.GetRun(t.Context(), to.Self); err != nil || own.Status != quant.Running {
		t.Errorf("%+v, %v", own.Run, err)
	}
	for _, p := range []string{to.Lab.FactPath, to.Lab.LogFile(f.Self), to.Lab.PlanFile(f.Self), filepath.Join(to.Lab.ModelDir(), model)} {
		if _, err := os.Stat(p); err != nil {
			t.Error(err)
		}
	}
	if _, err := to.Lab.Artifacts().Open(t.Context(), durable.Digest([]byte("kept"))); err != nil {
		t.Error(err)
	}
	if err := to.Read(t.Context(), func(*factstore.DB) error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestALabThatStandsThereIsMovedAsideOnceSomebodyAgrees(t *testing.T) {
	t.Parallel()
	f, _ := full(t)
	path := filepath.Join(t.TempDir(), "lab.backup")
	if _, err := archive.Create(t.Context(), f, path, archive.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	to := begun(t, place.In(t.TempDir()), "restore")
	made(t, to)
	no := quant.Errorf(quant.Refused, "no")
	asked := ""
	options := archive.RestoreOptions{Confirm: func(_ context.Context, _, factFile string) error { asked = factFile; return no }}
	if _, err := archive.Restore(t.Context(), to, path, options); !errors.Is(err, no) || asked != place.Real(to.Lab.FactPath) {
		t.Errorf("%v, asked about %q", err, asked)
	}
	done, err := archive.Restore(t.Context(), to, path, archive.RestoreOptions{})
	if err != nil || len(done.MovedAside) != 1 || !strings.HasPrefix(done.MovedAside[0], place.Real(to.Lab.FactPath)+place.Aside) {
		t.Errorf("%+v, %v", done.MovedAside, err)
	}
}

func TestABackupReplacesNothingAndSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	f, _ := full(t)
	path := filepath.Join(t.TempDir(), "lab.backup")
	write(t, path, "other")
	if b, err := archive.Create(t.Context(), f, path, archive.CreateOptions{}); quant.CodeOf(err) != quant.Conflict || len(b.IO) != 0 {
		t.Errorf("%+v, %v", b, err)
	}
	content, err := f.Lab.Artifacts().Path(durable.Digest([]byte("kept")))
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(content)
	b, err := archive.Create(t.Context(), f, path, archive.CreateOptions{Force: true})
	if err != nil || quant.CodeOf(b.Incomplete()) != quant.Partial || len(b.Missing) != 1 {
		t.Errorf("%+v, %v", b, err)
	}
	var out bytes.Buffer
	if b, err = archive.Create(t.Context(), f, "-", archive.CreateOptions{Stdout: &out}); err != nil || int64(out.Len()) != b.Bytes {
		t.Errorf("%d bytes on stdout, %+v, %v", out.Len(), b, err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("it leaves %v", left)
	}
}

func TestNothingIsRestoredWhileARunLivesOrFromWhatIsNoBackup(t *testing.T) {
	t.Parallel()
	to := begun(t, place.In(t.TempDir()), "restore")
	path := filepath.Join(t.TempDir(), "no.backup")
	if _, err := archive.Verify(t.Context(), path); quant.CodeOf(err) != quant.NotFound {
		t.Error(err)
	}
	write(t, path, "nonsense")
	if _, err := archive.Restore(t.Context(), to, path, archive.RestoreOptions{}); quant.CodeOf(err) != quant.Refused || !strings.HasPrefix(err.Error(), path) {
		t.Error(err)
	}
	if _, err := archive.Verify(t.Context(), filepath.Dir(path)); quant.CodeOf(err) != quant.Usage {
		t.Error(err)
	}
	other, err := to.Lab.Registry.Start(t.Context(), "train", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Restore(t.Context(), to, path, archive.RestoreOptions{}); quant.CodeOf(err) != quant.Locked || !strings.Contains(err.Error(), quant.ShortID(other)) {
		t.Error(err)
	}
}
