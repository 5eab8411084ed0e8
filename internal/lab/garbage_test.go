package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quant"
	"quant/internal/artifact"
	"quant/internal/durable"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/registry"
	"quant/internal/registry/liveness"
	"quant/internal/test/soak"
)

type testYard struct {
	yard
	registry *registry.Registry
	dir      string
}

func newYard(t *testing.T) testYard {
	t.Helper()
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, "meta.db")})
	ok(t, err)
	t.Cleanup(func() { db.Close() })
	g := registry.New(registry.Options{Store: db, Liveness: liveness.NewLocks(filepath.Join(dir, "live"), nil)})
	t.Cleanup(g.Close)
	return testYard{yard{
		Meta: db, Artifacts: artifact.Store{Dir: filepath.Join(dir, "artifacts")}, RunDirs: []string{filepath.Join(dir, "logs"), filepath.Join(dir, "runs")},
		Leftovers: map[string][]string{filepath.Join(dir, "tmp"): {"repro-*"}, filepath.Join(dir, "models"): {".model-*", durable.TemporaryPattern}},
		Before:    time.Now().Add(-MinAge),
	}, g, dir}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put stores a content in a run that has ended, with its row or without.
func (y testYard) put(t *testing.T, content string, logged bool) (runID, digest string) {
	t.Helper()
	ctx := t.Context()
	id, err := y.registry.Start(ctx, "exec", nil)
	ok(t, err)
	digest, size, err := y.Artifacts.Put(ctx, strings.NewReader(content))
	ok(t, err)
	if logged {
		ok(t, y.registry.Log(ctx, id, metastore.Batch{Artifacts: []quant.Artifact{{Name: "a", Digest: digest, Bytes: size}}}))
	}
	ok(t, y.registry.Success(ctx, id))
	return id, digest
}

func age(t *testing.T, path string) {
	t.Helper()
	old := time.Now().Add(-48 * time.Hour)
	ok(t, os.Chtimes(path, old, old))
}

func (y testYard) age(t *testing.T, digest string) {
	t.Helper()
	path, err := y.Artifacts.Path(digest)
	ok(t, err)
	age(t, path)
}

func (y testYard) collect(t *testing.T) map[Kind]int {
	t.Helper()
	gone := map[Kind]int{}
	ok(t, y.find(t.Context(), func(g garbage) error {
		removed, err := y.remove(t.Context(), g)
		if removed {
			gone[g.Kind]++
		}
		return err
	}))
	return gone
}

func (y testYard) write(t *testing.T, name string, old bool) string {
	t.Helper()
	path := filepath.Join(y.dir, name)
	ok(t, os.MkdirAll(filepath.Dir(path), 0o700))
	ok(t, os.WriteFile(path, []byte("text"), 0o600))
	if old {
		age(t, path)
	}
	return path
}

func TestOnlyWhatIsOldAndUnusedGoes(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	used, _ := y.put(t, "used", true)
	_, d1 := y.put(t, "used too", true)
	_, unused := y.put(t, "unused and old", false)
	_, young := y.put(t, "unused and young", false)
	y.age(t, d1)
	y.age(t, unused)
	stranger := "019bc1a4-4a00-7000-8000-000000000001"
	y.write(t, "logs/"+used+".log", true)
	goneLog := y.write(t, "logs/"+stranger+".log", true)
	y.write(t, "logs/"+stranger+".young.log", false)
	y.write(t, "logs/README", true)
	y.write(t, "runs/"+used+"/plan.json", true)
	goneLogs := filepath.Dir(y.write(t, "runs/"+stranger+"/plan.json", true))
	age(t, goneLogs)
	y.write(t, "models/m.json", true)
	goneModel := y.write(t, "models/.model-1", true)
	goneTemp := y.write(t, "artifacts/.new-1", true)
	goneMaking := y.write(t, "models/.m.json.quant-tmp-1", true)
	y.write(t, "models/.m.json.quant-tmp-2", false)
	y.write(t, "artifacts/.new-2", false)
	y.write(t, "tmp/repro-1/meta.db", true)
	age(t, filepath.Join(y.dir, "tmp", "repro-1"))
	y.write(t, "tmp/repro-2/meta.db", false)
	age(t, filepath.Join(y.dir, "tmp", "repro-2")) // but something in it is young
	outside := filepath.Join(t.TempDir(), "outside")
	ok(t, os.WriteFile(outside, nil, 0o600))
	ok(t, os.Symlink(outside, filepath.Join(y.dir, "logs", stranger+".link")))
	ok(t, os.Symlink(filepath.Dir(outside), filepath.Join(y.dir, "tmp", "repro-3")))

	if got, want := fmt.Sprint(y.collect(t)), "map[artifact:1 leftover:4 log:2]"; got != want {
		t.Errorf("removed %s, want %s", got, want)
	}
	for _, path := range []string{goneLog, goneLogs, goneModel, goneTemp, goneMaking, filepath.Join(y.dir, "tmp", "repro-1")} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	for _, path := range []string{outside, filepath.Join(y.dir, "tmp", "repro-2", "meta.db"), filepath.Join(y.dir, "models", "m.json")} {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	for digest, stays := range map[string]bool{d1: true, young: true, unused: false} {
		if err := y.Artifacts.Verify(t.Context(), digest); (err == nil) != stays {
			t.Errorf("%s: %v", digest, err)
		}
	}
	if got := y.collect(t); len(got) != 0 {
		t.Errorf("a second time %v went", got)
	}
}

func TestAnOldContentThatIsPutAgainStays(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	_, digest := y.put(t, "again", false)
	y.age(t, digest)
	err := y.find(t.Context(), func(g garbage) error {
		_, _, err := y.Artifacts.Put(t.Context(), strings.NewReader("again")) // between the finding and the removing
		ok(t, err)
		if gone, err := y.remove(t.Context(), g); gone || err != nil {
			t.Errorf("removed: %v, %v", gone, err)
		}
		return nil
	})
	ok(t, err)
	ok(t, y.Artifacts.Verify(t.Context(), digest))
}

func TestWhatIsYoungerThanTheOldestOpenRunStays(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	ctx := t.Context()
	now := time.Now()
	old := registry.New(registry.Options{Store: y.Meta, Liveness: liveness.NewLocks(filepath.Join(y.dir, "live"), nil), Now: func() time.Time { return now.Add(-72 * time.Hour) }})
	t.Cleanup(old.Close)
	id, err := old.Start(ctx, "exec", nil)
	ok(t, err)
	before, err := youngest(ctx, y.Meta, now, MinAge, "")
	ok(t, err)
	if limit := now.Add(-72 * time.Hour); before.After(limit) {
		t.Errorf("a content that the open run stored at %v could go: before %v", limit, before)
	}
	if self, err := youngest(ctx, y.Meta, now, MinAge, id); err != nil || !self.Equal(now.Add(-MinAge)) {
		t.Errorf("%v, %v", self, err)
	}
}

// The same few contents are put and logged, put and forgotten, aged and
// collected, all at once: whatever a run has in the end is there.
func TestNoContentThatARunHasIsCollectedInAStorm(t *testing.T) {
	t.Parallel()
	rounds := soak.Count(t, 150, 2000)
	y := newYard(t)
	ctx := context.Background()
	content := func(n int) []byte { return bytes.Repeat([]byte{byte('0' + n%40)}, 10_000) }
	stop := make(chan struct{})
	var writers, others sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range rounds {
				id, err := y.registry.Start(ctx, "exec", nil)
				if err != nil {
					t.Error(err)
					return
				}
				digest, size, err := y.Artifacts.Put(ctx, bytes.NewReader(content(7*w+i)))
				if err != nil {
					t.Error(err)
					return
				}
				if i%3 != 0 {
					err = y.registry.Log(ctx, id, metastore.Batch{Artifacts: []quant.Artifact{{Name: "a", Digest: digest, Bytes: size}}})
				}
				if err := errors.Join(err, y.registry.Success(ctx, id)); err != nil {
					t.Error(err)
					return
				}
				if i%3 == 1 { // and it is forgotten again
					_, err := y.Meta.DeleteRuns(ctx, []quant.Deletion{{RunID: id, DeletedAt: quant.NewTime(time.Now())}})
					if err := errors.Join(err, y.Meta.PurgeRuns(ctx, []string{id})); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	var removed int
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			// What no open run can have put is aged, as if days had passed until it is
			// put again.
			oldest, err := youngest(ctx, y.Meta, time.Now().Add(-time.Minute), 0, "")
			if err != nil {
				t.Error(err)
				return
			}
			oldest = oldest.Add(time.Minute - 50*time.Millisecond) // a file's clock has coarse ticks
			err = y.Artifacts.Remove(ctx, func() error {
				return y.Artifacts.Each(ctx, func(c artifact.Content) error {
					if used, err := y.Meta.ArtifactUsed(ctx, c.Digest); used || err != nil || !c.Written.Before(oldest) {
						return err
					}
					old := time.Now().Add(-48 * time.Hour)
					return os.Chtimes(c.Path, old, old)
				})
			})
			if err == nil {
				err = y.find(ctx, func(g garbage) error {
					gone, err := y.remove(ctx, g)
					if gone {
						removed++
					}
					return err
				})
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	writers.Wait()
	close(stop)
	others.Wait()
	stored, err := y.Meta.StoredArtifacts(ctx)
	ok(t, err)
	for _, a := range stored {
		ok(t, y.Artifacts.Verify(t.Context(), a.Digest))
	}
	if removed == 0 {
		t.Error("nothing was collected: this was no storm")
	}
	t.Logf("%d contents were removed in between, %d remain", removed, len(stored))
}

func TestALabCollectsWhatIsAskedForAndSaysWhatItRemoved(t *testing.T) {
	t.Parallel()
	l := New(Options{Place: place.In(t.TempDir())})
	ok(t, l.Open(t.Context(), false))
	t.Cleanup(func() { l.Close() })
	self, err := l.Registry.Start(t.Context(), "gc", nil)
	ok(t, err)
	read, err := l.Registry.Start(t.Context(), "runs.list", nil, registry.ReadsOnly())
	ok(t, err)
	ok(t, l.Registry.Success(t.Context(), read))
	var old []string
	for _, path := range []string{
		filepath.Join(l.ScratchDir(), place.Repetition+"1"), filepath.Join(l.ScratchDir(), place.Checkout+"1"), filepath.Join(l.ModelDir(), ".m.json.quant-tmp-1"),
		filepath.Join(l.LogDir(), ".import-1"), l.MetaFile() + place.Staging, l.FactPath + place.Staging + ".wal", l.MetaFile() + ".salvage-1", l.RunDir() + place.Staging,
		filepath.Join(l.OutputsDir(), "0198c4a0-0000-7000-8000-000000000001"),
	} {
		ok(t, os.MkdirAll(filepath.Dir(path), 0o700))
		ok(t, os.WriteFile(path, []byte("text"), 0o600))
		age(t, path)
		old = append(old, path)
	}
	kept := filepath.Join(l.ScratchDir(), place.KeptCheckout+"1")
	ok(t, os.WriteFile(kept, nil, 0o600))
	age(t, kept)

	if _, err := l.Collect(t.Context(), self, CollectOptions{MinAge: time.Minute}); quant.CodeOf(err) != quant.Usage {
		t.Error(err)
	}
	o := CollectOptions{MinAge: MinAge, Reads: true, ReadsBefore: time.Now().Add(time.Hour)}
	want := []Count{{ReadingRun, 1, 0}, {Artifact, 0, 0}, {Log, 0, 0}, {Leftover, int64(len(old)), int64(4 * len(old))}}
	done, err := l.Collect(t.Context(), self, o)
	if err != nil || !slices.Equal(done.Found, want) || len(done.IO) != 0 || done.ReadsPerSecond != nil {
		t.Errorf("only counted: %+v, %v", done, err)
	}
	o.Remove = true
	done, err = l.Collect(t.Context(), self, o)
	if err != nil || !slices.Equal(done.Found, want) || done.ReadsPerSecond == nil {
		t.Errorf("removed: %+v, %v", done, err)
	}
	if len(done.IO) != 2 || done.IO[0].Kind != quant.IOMeta || *done.IO[0].Rows != 1 || done.IO[1].Kind != quant.IORemoved || *done.IO[1].Rows != int64(len(old)) {
		t.Errorf("to be recorded: %+v", done.IO)
	}
	for _, path := range old {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	if _, err := os.Lstat(kept); err != nil {
		t.Error(err)
	}
	if _, err := l.Meta.GetRun(t.Context(), read); quant.CodeOf(err) != quant.NotFound {
		t.Error(err)
	}
}
