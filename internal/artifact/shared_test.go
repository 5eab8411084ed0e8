package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/lab/place"
	"quant/internal/objectstore"
	"quant/internal/test/objectstest"
)

func named(name string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return name, nil }
}

// machine is a machine of a lab whose contents are in a bucket.
func machine(t *testing.T, endpoint, bucket string) Store {
	t.Helper()
	at, err := place.ParseObjects(objectstest.In(endpoint, bucket), place.Cloud{})
	if err != nil {
		t.Fatal(err)
	}
	return Store{Dir: filepath.Join(t.TempDir(), "artifacts"), Shared: &Shared{Bucket: objectstore.New(objectstore.Options{At: at.S3}), Lab: named("one"), Now: time.Now}}
}

func read(t *testing.T, s Store, digest string) string {
	t.Helper()
	f, err := s.Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWhatOneMachineStoresAnotherReads(t *testing.T) {
	t.Parallel()
	server := objectstest.Shared(t)
	bucket := server.Bucket(t)
	front := server.Front(t, false)
	a, b := machine(t, server.Endpoint(), bucket), machine(t, front.Endpoint, bucket)
	digest := put(t, a, "what was measured")
	if text := read(t, b, digest); text != "what was measured" {
		t.Errorf("%q", text)
	}
	asked := front.Requests.Load()
	if read(t, b, digest); front.Requests.Load() != asked {
		t.Error("a content that was read is asked for again")
	}
	if err := b.Verify(t.Context(), digest); err != nil {
		t.Error(err)
	}
	if where := b.Where(digest); !strings.HasPrefix(where, "s3://"+bucket+"/lab/sha256/") {
		t.Error(where)
	}
	_, err := b.Open(t.Context(), "sha256:"+strings.Repeat("0", 64))
	if !errors.Is(err, quant.NotFound) || !strings.Contains(err.Error(), "s3://"+bucket) {
		t.Error(err)
	}
	for _, digest := range []string{"sha256:../../etc/passwd", "sha256:" + strings.Repeat("/", 64), ""} {
		if _, err := b.Open(t.Context(), digest); !errors.Is(err, quant.Invalid) {
			t.Errorf("%q: %v", digest, err)
		}
	}
	// A folder that cannot be made does not keep anybody from reading.
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if text := read(t, Store{Dir: filepath.Join(plain, "below"), Shared: b.Shared}, digest); text != "what was measured" {
		t.Errorf("%q", text)
	}
	var all []Content
	if err := a.Each(t.Context(), func(c Content) error { all = append(all, c); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || !all[0].Object || all[0].Digest != digest || all[1].Object || !all[1].Copy {
		t.Errorf("%+v", all)
	}
}

func TestAnObjectThatWasChangedIsRefused(t *testing.T) {
	t.Parallel()
	server := objectstest.Shared(t)
	bucket := server.Bucket(t)
	a, b := machine(t, server.Endpoint(), bucket), machine(t, server.Endpoint(), bucket)
	digest := put(t, a, "what was measured")
	name, _ := durable.DigestHex(digest)
	object := server.File(bucket, "lab/"+key(contentsName, name))
	if err := os.WriteFile(object, []byte("what was wished!!"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := b.Open(t.Context(), digest)
	if !errors.Is(err, quant.Refused) || !strings.Contains(err.Error(), b.Where(digest)) || quant.HintOf(err) == "" {
		t.Error(err)
	}
	if found := contents(t, Store{Dir: b.Dir}); len(found) != 0 {
		t.Errorf("what is refused was kept: %+v", found)
	}
	if err := a.Verify(t.Context(), digest); !errors.Is(err, quant.Refused) {
		t.Error(err)
	}
	if err := os.WriteFile(object, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Put(t.Context(), strings.NewReader("what was measured")); !errors.Is(err, quant.Refused) {
		t.Error("it was written over, or taken for what it is not:", err)
	}
}

func TestTwoLabsDoNotShareOnePlace(t *testing.T) {
	t.Parallel()
	server := objectstest.Shared(t)
	bucket := server.Bucket(t)
	folder := t.TempDir()
	for name, stores := range map[string][2]Store{
		"bucket": {machine(t, server.Endpoint(), bucket), machine(t, server.Endpoint(), bucket)},
		"folder": {{Dir: SharedIn(folder), Shared: &Shared{Lab: named("one"), Now: time.Now}}, {Dir: SharedIn(folder), Shared: &Shared{Now: time.Now}}},
	} {
		stores[1].Shared.Lab = named("another")
		put(t, stores[0], "of one")
		if _, _, err := stores[1].Put(t.Context(), strings.NewReader("of another")); !errors.Is(err, quant.Conflict) || !strings.Contains(err.Error(), "one") {
			t.Errorf("%s: %v", name, err)
		}
		if name == "bucket" {
			gone, err := stores[1].RemoveObject(t.Context(), Content{Digest: durable.Digest([]byte("of one")), Object: true}, time.Now().Add(time.Hour), unused)
			if gone || !errors.Is(err, quant.Conflict) {
				t.Error("another lab's content was removed:", gone, err)
			}
		}
	}
}

func unused() (bool, error) { return false, nil }

func TestAFolderOfAllMachinesIsAsOpenAsItIs(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.Chmod(folder, 0o2770|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	s := Store{Dir: SharedIn(folder), Shared: &Shared{Lab: named("one"), Now: time.Now}}
	digest := put(t, s, "shared")
	if text := read(t, Store{Dir: SharedIn(folder), Shared: &Shared{Lab: named("one"), Now: time.Now}}, digest); text != "shared" {
		t.Errorf("%q", text)
	}
	at, _ := s.Path(digest)
	for path, mode := range map[string]os.FileMode{filepath.Dir(at): 0o770, at: 0o444, s.Dir + ".lock": 0o660} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Error(path, info.Mode(), err)
		}
	}
	gone := Store{Dir: SharedIn(filepath.Join(folder, "not", "mounted")), Shared: &Shared{Lab: named("one"), Now: time.Now}}
	if _, _, err := gone.Put(t.Context(), strings.NewReader("x")); !errors.Is(err, quant.Store) {
		t.Error("a folder that is not mounted was made:", err)
	}
}

func TestAContentInUseIsNotRemovedByAnotherMachine(t *testing.T) {
	t.Parallel()
	server := objectstest.Shared(t)
	bucket := server.Bucket(t)
	a, b := machine(t, server.Endpoint(), bucket), machine(t, server.Endpoint(), bucket)
	digest := put(t, a, "content")
	var object Content
	find := func() {
		t.Helper()
		object = Content{}
		if err := a.Each(t.Context(), func(c Content) error {
			if c.Object {
				object = c
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if find(); object.Digest != digest {
		t.Fatalf("%+v", object)
	}
	remove := func(before time.Time, used func() (bool, error)) bool {
		t.Helper()
		gone, err := a.RemoveObject(t.Context(), object, before, used)
		if err != nil {
			t.Fatal(err)
		}
		return gone
	}
	if remove(time.Now().Add(-time.Minute), unused) {
		t.Error("a young content was removed")
	}
	later := time.Now().Add(time.Hour)
	if remove(later, func() (bool, error) { return true, nil }) {
		t.Error("a content in use was removed")
	}
	// What is old, and stored again, is young.
	old := time.Now().Add(-3 * time.Hour)
	name, _ := durable.DigestHex(digest)
	if err := os.Chtimes(server.File(bucket, "lab/"+key(contentsName, name)), old, old); err != nil {
		t.Fatal(err)
	}
	if find(); time.Since(object.Written) < 2*time.Hour {
		t.Fatal(object.Written)
	}
	put(t, b, "content")
	if find(); time.Since(object.Written) > time.Hour {
		t.Error("a content that was stored again is as old as before:", object.Written)
	}
	if remove(time.Now().Add(-time.Hour), unused) {
		t.Error("a content that another machine has just stored again was removed")
	}
	// Who stores it while it is being removed waits, and has it then.
	var stored sync.WaitGroup
	var early atomic.Bool
	if !remove(later, func() (bool, error) {
		done := make(chan struct{})
		stored.Go(func() {
			put(t, b, "content")
			close(done)
		})
		select {
		case <-done:
			early.Store(true)
		case <-time.After(500 * time.Millisecond):
		}
		return false, nil
	}) && !early.Load() {
		t.Error("nothing was removed")
	}
	stored.Wait()
	if early.Load() {
		t.Error("it was stored while somebody was about to remove it")
	}
	if err := b.Verify(t.Context(), digest); err != nil {
		t.Error("it was lost:", err)
	}
	if find(); !remove(later, unused) || b.Verify(t.Context(), digest) == nil {
		t.Error("it was not removed")
	}
	left := 0
	if err := a.Shared.Bucket.List(t.Context(), "", func(o objectstore.Object) error {
		if o.Key != labName {
			left++
		}
		return nil
	}); err != nil || left != 0 {
		t.Error("objects are left:", left, err)
	}
}

func TestContentsAreStoredAndRemovedAtOnce(t *testing.T) {
	t.Parallel()
	server := objectstest.Shared(t)
	bucket := server.Bucket(t)
	front := server.Front(t, false)
	front.Fail(objectstest.Every(7, objectstest.Fault{Cut: true}))
	var machines []Store
	for range 3 {
		machines = append(machines, machine(t, front.Endpoint, bucket))
	}
	// A removal at any moment; each content that was stored is then in use.
	var inUse sync.Map
	var all sync.WaitGroup
	end := make(chan struct{})
	all.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
			}
			_ = machines[2].Each(t.Context(), func(c Content) error {
				if c.Object {
					// Everything is old but what was said to be used just now.
					_, _ = machines[2].RemoveObject(t.Context(), c, c.Written.Add(time.Second), func() (bool, error) {
						_, used := inUse.Load(c.Digest)
						return used, nil
					})
				}
				return nil
			})
		}
	})
	var storing sync.WaitGroup
	for m := range 2 {
		storing.Go(func() {
			for i := range 15 {
				digest := put(t, machines[m], strings.Repeat("x", i+1))
				inUse.Store(digest, true)
			}
		})
	}
	storing.Wait()
	close(end)
	all.Wait()
	inUse.Range(func(digest, _ any) bool {
		name, _ := durable.DigestHex(digest.(string))
		var text bytes.Buffer
		if err := machines[0].Shared.get(t.Context(), digest.(string), name, &text); err != nil {
			t.Error("lost while in use:", err)
		}
		return true
	})
}
