package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inject has f run before each step until the test ends.
func inject(t *testing.T, f func(step string) error) {
	t.Helper()
	fault.Store(&f)
	t.Cleanup(func() { fault.Store(nil) })
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "(none)"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if IsTemporary(e.Name()) {
			found = append(found, e.Name())
		}
	}
	return found
}

// steps are the steps of a file of a mode other than 0600, in their order.
var steps = []string{"begin", "write", "mode", "sync", "close", "rename", "sync folder"}

func TestStepsComeInTheOrderThatSurvivesAPowerLoss(t *testing.T) {
	for name, make := range map[string]func(string, fs.FileMode, func(io.Writer) error) error{"Create": Create, "Replace": Replace} {
		var taken []string
		inject(t, func(step string) error { taken = append(taken, step); return nil })
		if err := make(filepath.Join(t.TempDir(), "f"), 0o400, Bytes([]byte("new"))); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(taken, steps) {
			t.Errorf("%s: steps %q, want %q", name, taken, steps)
		}
	}
}

func TestFileHasContentsAndMode(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	for _, mode := range []fs.FileMode{0o600, 0o400, 0o644} {
		path := filepath.Join(t.TempDir(), "f")
		if err := Create(path, mode, From(strings.NewReader("text"))); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != mode || read(t, path) != "text" {
			t.Errorf("mode %v: %v %v %q", mode, info.Mode(), err, read(t, path))
		}
	}
}

// Whatever step fails, the old file stands, or the whole new one, and nothing
// temporary is left.
func TestFailureLeavesTheOldFileAndNothingElse(t *testing.T) {
	for _, failing := range steps {
		for _, old := range []string{"(none)", "old"} {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			if old != "(none)" {
				if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			inject(t, func(step string) error {
				if step == failing {
					return syscall.ENOSPC
				}
				return nil
			})
			err := Replace(path, 0o400, Bytes([]byte("new")))
			var disk *Error
			if !errors.As(err, &disk) || disk.Path != path || !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("%s: error %v", failing, err)
			}
			want := old
			if failing == "sync folder" {
				want = "new" // it has its name
			}
			if got := read(t, path); got != want {
				t.Errorf("%s over %s: %q stands there", failing, old, got)
			}
			if left := leftovers(t, dir); left != nil {
				t.Errorf("%s over %s left %q", failing, old, left)
			}
		}
	}
}

func TestErrorOfFill(t *testing.T) {
	mine := errors.New("mine")
	path := filepath.Join(t.TempDir(), "f")
	err := Replace(path, 0o600, func(w io.Writer) error {
		fmt.Fprint(w, "half")
		return mine
	})
	if !errors.Is(err, mine) {
		t.Errorf("fill's own error came back as %v", err)
	}
	// What the disk refused is said also where fill hides it.
	for _, hidden := range []error{mine, nil} {
		inject(t, func(step string) error {
			if step == "write" {
				return syscall.ENOSPC
			}
			return nil
		})
		err = Replace(path, 0o600, func(w io.Writer) error {
			fmt.Fprint(w, "half")
			return hidden
		})
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("a full disk under an error %v is told as %v", hidden, err)
		}
	}
	if got := read(t, path); got != "(none)" {
		t.Errorf("%q stands there", got)
	}
	if left := leftovers(t, filepath.Dir(path)); left != nil {
		t.Errorf("left %q", left)
	}
}

func TestCreateRefusesWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	for name, put := range map[string]func(path string) error{
		"file":            func(p string) error { return os.WriteFile(p, []byte("old"), 0o600) },
		"folder":          func(p string) error { return os.Mkdir(p, 0o700) },
		"link":            func(p string) error { return os.Symlink(filepath.Join(dir, "file"), p) },
		"link to nowhere": func(p string) error { return os.Symlink("nowhere", p) },
	} {
		for _, late := range []bool{false, true} {
			path := filepath.Join(dir, fmt.Sprint(name, late))
			if !late {
				if err := put(path); err != nil {
					t.Fatal(err)
				}
			}
			filled := false
			err := Create(path, 0o600, func(w io.Writer) error {
				filled = true
				if late {
					return put(path)
				}
				return nil
			})
			if !errors.Is(err, ErrExists) || filled != late {
				t.Errorf("%s, late %v: %v, filled %v", name, late, err, filled)
			}
		}
	}
	if left := leftovers(t, dir); left != nil {
		t.Errorf("left %q", left)
	}
}

func TestReplaceDoesNotFollowALink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := Replace(link, 0o600, Bytes([]byte("ours"))); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(link)
	if err != nil || !info.Mode().IsRegular() || read(t, link) != "ours" || read(t, target) != "theirs" {
		t.Errorf("link %v %v %q, target %q", info.Mode(), err, read(t, link), read(t, target))
	}
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed")
	if err := os.Mkdir(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	folders := []string{filepath.Join(dir, "missing"), "/proc"}
	if os.Geteuid() != 0 {
		folders = append(folders, closed)
	}
	for _, folder := range folders {
		var disk *Error
		err := Replace(filepath.Join(folder, "f"), 0o600, func(io.Writer) error { t.Error("filled"); return nil })
		if !errors.As(err, &disk) {
			t.Errorf("%s: %v", folder, err)
		}
	}
}

func TestConcurrentWritersLeaveOneWholeFile(t *testing.T) {
	dir := t.TempDir()
	replaced, created := filepath.Join(dir, "replaced"), filepath.Join(dir, "created")
	content := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 1<<16) }
	var wg sync.WaitGroup
	var mu sync.Mutex
	winners := 0
	for i := range 16 {
		wg.Go(func() {
			if err := Replace(replaced, 0o600, Bytes(content(i))); err != nil {
				t.Error(err)
			}
			switch err := Create(created, 0o600, Bytes(content(i))); {
			case err == nil:
				mu.Lock()
				winners++
				mu.Unlock()
			case !errors.Is(err, ErrExists):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if winners != 1 {
		t.Errorf("%d made the one file", winners)
	}
	for _, path := range []string{replaced, created} {
		text := read(t, path)
		if text != string(content(int(text[0]-'a'))) {
			t.Errorf("%s is mixed of several", path)
		}
	}
	if left := leftovers(t, dir); left != nil {
		t.Errorf("left %q", left)
	}
}

// TestKilled ends a process at every step: the old file stands or the new one,
// whole, and what is left has a temporary name.
func TestKilled(t *testing.T) {
	if step, path, ok := strings.Cut(os.Getenv("DURABLE_KILL"), ":"); ok {
		inject(t, func(at string) error {
			if at == step {
				_ = unix.Kill(os.Getpid(), unix.SIGKILL)
				select {}
			}
			return nil
		})
		t.Fatal("not killed: ", Replace(path, 0o400, Bytes([]byte("new"))))
	}
	for i, step := range steps {
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "DURABLE_KILL="+step+":"+path)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%s: %v\n%s", step, err, out)
		}
		want := "old"
		if step == "sync folder" {
			want = "new"
		}
		if got := read(t, path); got != want {
			t.Errorf("killed at %s: %q stands there", step, got)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		left := leftovers(t, dir)
		if len(entries) != 1+len(left) {
			t.Errorf("killed at %s: %v, of which only %q are known as left over", step, entries, left)
		}
		if half := i > 0 && step != "sync folder"; half != (len(left) == 1) {
			t.Errorf("killed at %s: left %q", step, left)
		}
	}
}

// A name that depends on the contents is told last; one that is taken may be
// followed by another.
func TestSetPath(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	taken, free := filepath.Join(dir, "a", "f"), filepath.Join(dir, "b", "f")
	if err := os.WriteFile(taken, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Begin(filepath.Join(dir, "f"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Discard()
	if _, err := f.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	if err := f.SetPath(filepath.Join(dir, "c", "f")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is missing: %v", err)
	}
	if err := f.SetPath(taken); err != nil {
		t.Fatal(err)
	}
	if err := f.Create(); !errors.Is(err, ErrExists) {
		t.Errorf("created where a file stands: %v", err)
	}
	if err := f.SetPath(free); err != nil {
		t.Fatal(err)
	}
	if err := f.Create(); err != nil {
		t.Fatal(err)
	}
	f.Discard()
	if read(t, taken) != "old" || read(t, free) != "new" || leftovers(t, dir) != nil {
		t.Errorf("%q, %q, left %q", read(t, taken), read(t, free), leftovers(t, dir))
	}
}

func TestPublish(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "db.new"), filepath.Join(dir, "db")
	if err := os.WriteFile(from, []byte("whole"), 0o600); err != nil {
		t.Fatal(err)
	}
	var taken []string
	inject(t, func(step string) error { taken = append(taken, step); return nil })
	if err := Publish(from, to); err != nil {
		t.Fatal(err)
	}
	if read(t, to) != "whole" || read(t, from) != "(none)" || !slices.Equal(taken, []string{"sync", "rename", "sync folder"}) {
		t.Errorf("%q, %q, steps %q", read(t, to), read(t, from), taken)
	}
	if err := Publish(from, to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("published nothing: %v", err)
	}
}

func TestMakeFolderSyncsWhatItMade(t *testing.T) {
	dir := t.TempDir()
	synced := 0
	inject(t, func(step string) error { synced++; return nil })
	for _, want := range []int{3, 0} {
		synced = 0
		if err := MakeFolder(filepath.Join(dir, "a", "b", "c")); err != nil {
			t.Fatal(err)
		}
		if synced != want {
			t.Errorf("%d folders synced, want %d", synced, want)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "a", "b"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := MakeFolder(filepath.Join(dir, "f", "g")); err == nil {
		t.Error("made a folder in a file")
	}
}

func TestTemporaryNames(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"plan.json", "a*b", strings.Repeat("n", 255), strings.Repeat("\uac00", 85), ".hidden"} {
		f, err := TemporaryFile(dir, name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f.Close()
		if !IsTemporary(filepath.Base(f.Name())) {
			t.Errorf("%s is not known as temporary", f.Name())
		}
	}
	path, remove, err := TemporaryFolder(dir, "backup")
	if err != nil || !IsTemporary(filepath.Base(path)) {
		t.Fatalf("%s: %v", path, err)
	}
	if err := os.WriteFile(filepath.Join(path, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	for _, name := range []string{"plan.json", ".hidden", "meta.db", "x.quant-tmp-1", ".quant-demo"} {
		if IsTemporary(name) {
			t.Errorf("%s passes for temporary", name)
		}
	}
}

func TestDigest(t *testing.T) {
	const abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	digest, size, err := DigestFile(path)
	if err != nil || digest != abc || size != 3 || Digest([]byte("abc")) != abc {
		t.Errorf("%s %d %v, %s", digest, size, err, Digest([]byte("abc")))
	}
	if hex, ok := DigestHex(abc); !ok || "sha256:"+hex != abc {
		t.Errorf("%s %v", hex, ok)
	}
	for _, bad := range []string{"", abc[7:], abc[:70], abc + "0", strings.ToUpper(abc), "sha256:" + strings.Repeat("g", 64)} {
		if hex, ok := DigestHex(bad); ok || hex != "" {
			t.Errorf("%q passes for a digest", bad)
		}
	}
	if _, _, err := DigestFile(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
