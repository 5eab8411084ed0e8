package git

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// repository is a work tree in a folder of its own.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T) repository {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git here")
	}
	r := repository{t, filepath.Join(t.TempDir(), "w")}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.git("init", "-q", "-b", "main")
	return r
}

func (r repository) git(args ...string) string { r.t.Helper(); return r.in("", args...) }

func (r repository) in(sub string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Dir = filepath.Join(r.dir, sub)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r repository) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r repository) commit() {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-qm", "c")
}

func none(string) bool { return false }

func (r repository) changes() Changes {
	r.t.Helper()
	c, err := Uncommitted(r.t.Context(), r.dir, none)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// read reads every file of a folder, but for git's own.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == ".git" && d.IsDir():
			return filepath.SkipDir
		case d.Name() == ".git" || !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// wantCheckedOut checks what was found out again, and compares the files.
func wantCheckedOut(t *testing.T, r repository, c Changes, want map[string]string) {
	t.Helper()
	w, err := CheckOut(t.Context(), Recorded{WorkDir: r.dir, Commit: c.Commit, Folder: ".", Patch: c.Patch, Inside: c.Inside, Mark: "***"}, filepath.Join(t.TempDir(), "top"))
	if err != nil {
		t.Fatalf("%v\n%s", err, c.Patch)
	}
	got := read(t, w.Dir)
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s is %q, want %q", name, got[name], text)
		}
	}
	if len(got) != len(want) {
		t.Errorf("there are %v", got)
	}
	again, err := Uncommitted(t.Context(), w.top, none)
	if err != nil {
		t.Error(err)
	} else if marked := strings.Contains(string(c.Patch), "***"); !marked && string(again.Patch) != string(c.Patch) || !slices.Equal(again.Inside, c.Inside) || again.LeftOut != nil {
		t.Errorf("checked out, the changes are, with %v and without %v,\n%s\nand not, with %v,\n%s", again.Inside, again.LeftOut, again.Patch, c.Inside, c.Patch)
	}
	if err := w.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(w.top); err == nil {
		t.Error("it is left behind")
	}
}

// nested is a work tree with a submodule that has one itself.
func nested(t *testing.T) repository {
	t.Helper()
	deep, lib, r := newRepository(t), newRepository(t), newRepository(t)
	deep.write("deep.txt", "deep\n")
	deep.commit()
	lib.write("lib.txt", "lib\n")
	lib.git("submodule", "add", "-q", deep.dir, "in/deep")
	lib.commit()
	r.write("job", "job\n")
	r.git("submodule", "add", "-q", lib.dir, "libs/my lib")
	r.git("submodule", "update", "-q", "--init", "--recursive")
	r.commit()
	return r
}

func TestChangesInSubmodulesAreFoundAndCheckedOut(t *testing.T) {
	t.Parallel()
	r := nested(t)
	c := r.changes()
	if len(c.Patch) != 0 || len(c.Inside) != 2 || c.Inside[0].Dirty || c.Inside[1].Path != "libs/my lib/in/deep" || len(c.Inside[1].Commit) != 40 {
		t.Fatalf("%+v", c)
	}
	if dirty := Dirty(t.Context(), r.dir); dirty == nil || *dirty {
		t.Error("a clean tree is not clean")
	}
	r.write("libs/my lib/in/deep/deep.txt", "changed\n")
	r.write("libs/my lib/new.txt", "new")
	if dirty := Dirty(t.Context(), filepath.Join(r.dir, "libs")); dirty == nil || !*dirty {
		t.Error("a change in a submodule of a submodule is no change")
	}
	c = r.changes()
	if !c.Inside[0].Dirty || !c.Inside[1].Dirty {
		t.Errorf("%+v", c.Inside)
	}
	want := read(t, r.dir)
	if want["libs/my lib/in/deep/deep.txt"] != "changed\n" || want["libs/my lib/new.txt"] != "new" {
		t.Fatalf("%v", want)
	}
	wantCheckedOut(t, r, c, want)

	// Another commit than the one that the outer repository names; and then both
	// submodules are gone from the work tree, but not from the repository.
	r.write("libs/my lib/lib.txt", "second\n")
	r.in("libs/my lib", "add", "lib.txt")
	r.in("libs/my lib", "commit", "-qm", "second")
	if dirty := Dirty(t.Context(), r.dir); dirty == nil || !*dirty {
		t.Error("another commit of a submodule is no change")
	}
	c, want = r.changes(), read(t, r.dir)
	r.git("submodule", "deinit", "-q", "-f", "--all")
	wantCheckedOut(t, r, c, want)
	if trees := r.git("worktree", "list"); strings.Count(trees, "\n") != 0 {
		t.Error(trees)
	}
	if err := os.RemoveAll(filepath.Join(r.dir, ".git/modules")); err != nil {
		t.Fatal(err)
	}
	_, err := CheckOut(t.Context(), Recorded{WorkDir: r.dir, Commit: c.Commit, Inside: c.Inside}, filepath.Join(t.TempDir(), "top"))
	if err == nil || !strings.Contains(err.Error(), "libs/my lib") {
		t.Error(err)
	}
}

func TestASubmoduleWithFiltersOfItsOwnIsNamedAndNotLookedAt(t *testing.T) {
	t.Parallel()
	r := nested(t)
	owned := filepath.Join(t.TempDir(), "owned")
	r.in("libs/my lib", "config", "filter.evil.clean", "touch "+owned+"; cat")
	r.write("libs/my lib/.gitattributes", "* filter=evil\n")
	r.write("libs/my lib/lib.txt", "changed\n")
	c := r.changes()
	if len(c.Inside) != 1 || !strings.Contains(c.Inside[0].NotKept, "filters of its own") || strings.Contains(string(c.Patch), "changed") {
		t.Errorf("%+v\n%s", c, c.Patch)
	}
	if dirty := Dirty(t.Context(), r.dir); dirty != nil {
		t.Error("it is told whether the tree is dirty")
	}
	if _, err := os.Stat(owned); err == nil {
		t.Error("its filter was started")
	}
	_, err := CheckOut(t.Context(), Recorded{WorkDir: r.dir, Commit: c.Commit, Inside: c.Inside}, filepath.Join(t.TempDir(), "top"))
	if err == nil || !strings.Contains(err.Error(), "libs/my lib") {
		t.Error(err)
	}
}

func TestAWorkTreeWithoutACommitIsFoundAndCheckedOut(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write("staged.py", "print(1)\n")
	r.git("add", "staged.py")
	r.write("staged.py", "print(2)\n")
	r.write("sub/new.py", "print(3)")
	r.write(".gitignore", "ignored\n")
	r.write("ignored", "x")
	r.write("id_map.csv", "a,b\n")
	r.write("id_rsa", "x")
	c := r.changes()
	if c.Commit != "" || len(c.LeftOut) != 1 || c.LeftOut[0].Path != "id_rsa" {
		t.Errorf("%+v", c)
	}
	want := map[string]string{"staged.py": "print(2)\n", "sub/new.py": "print(3)", ".gitignore": "ignored\n", "id_map.csv": "a,b\n"}
	wantCheckedOut(t, r, c, want)
	if err := os.RemoveAll(filepath.Join(r.dir, ".git")); err != nil {
		t.Fatal(err)
	}
	wantCheckedOut(t, r, c, want) // the patch is all
}

func TestARepositoryInsideThatIsNoSubmoduleIsCheckedOut(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write("job", "job\n")
	r.commit()
	r.in("", "init", "-q", "vendor/other")
	r.write("vendor/other/new.txt", "new\n")
	want := read(t, r.dir)
	wantCheckedOut(t, r, r.changes(), want)
	r.in("vendor/other", "add", "-A")
	r.in("vendor/other", "commit", "-qm", "c")
	r.write("vendor/other/new.txt", "changed\n")
	want = read(t, r.dir)
	wantCheckedOut(t, r, r.changes(), want)
}

func TestCodeThatIsCheckedOutDiffersFromItsCommitAsItDid(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	for _, name := range []string{"changed", "gone", "staged gone", "forgotten"} {
		r.write(name, "committed\n")
	}
	r.commit()
	for name, text := range map[string]string{
		"changed": "changed\n", "new": "new\n", "new, empty": "", "staged": "s\n", "staged [*] \"é\"": "no end", "staged, empty": "", "staged.bin": "\x00\x01",
		"other/new": "n\n", "other/staged": "s\n",
	} {
		r.write(name, text)
	}
	r.in("", "add", "staged", "staged [*] \"é\"", "staged, empty", "staged.bin")
	r.in("", "rm", "-q", "staged gone")
	r.in("", "rm", "-q", "--cached", "forgotten")
	r.in("other", "init", "-q")
	r.in("other", "add", "staged")
	if err := os.Remove(filepath.Join(r.dir, "gone")); err != nil {
		t.Fatal(err)
	}
	c := r.changes()
	if len(c.Inside) != 1 || len(c.LeftOut) != 0 {
		t.Fatalf("inside are %v, left out %v", c.Inside, c.LeftOut)
	}
	wantCheckedOut(t, r, c, read(t, r.dir))
}

func TestMarkedLinesThatAreCommittedComeFromTheCommit(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write("a b.py", "key = 'one'\nx = 1\nkey = 'two'\ny = 1\n")
	r.commit()
	r.write("a b.py", "x = 2\nkey = 'two'\ny = 1\n")
	c, want := r.changes(), read(t, r.dir)
	c.Patch = Rewrite(c.Patch, func(h Hunk) []string {
		var texts []string
		for _, l := range h.Lines {
			texts = append(texts, strings.NewReplacer("one", "***", "two", "***").Replace(l.Text))
		}
		return texts
	}, func(_, line string) string { return line })
	if strings.Contains(string(c.Patch), "two") {
		t.Fatalf("%s", c.Patch)
	}
	wantCheckedOut(t, r, c, want)
}

func TestAPatchIsReadAsGitWritesIt(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	r.write("-- dash", "--- a/x\n+++ b/y\n@@ -1 +1 @@\nlast")
	r.write("\"q\"\t\\ä", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n")
	r.write("binary", "\x00one")
	r.commit()
	r.write("-- dash", "-- a/x\n++ b/y\n@@ -1 +1 @@\nlast line")
	r.write("\"q\"\t\\ä", "one\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\ntwelve\n")
	r.write("binary", "\x00two")
	r.write("new file", "")
	r.write("new", "a\n\nb")
	c := r.changes()
	var added []string
	same := Rewrite(c.Patch, func(h Hunk) []string {
		lines := strings.Split(read(t, r.dir)[h.NewFile], "\n")
		for _, l := range h.Lines {
			if l.Sign != '-' && (l.New < 1 || l.New > len(lines) || lines[l.New-1] != l.Text) {
				t.Errorf("%s:%d is not %q", h.NewFile, l.New, l.Text)
			}
			if l.Sign == '+' {
				added = append(added, l.Text)
			}
		}
		return nil
	}, func(_, line string) string { return line })
	if string(same) != string(c.Patch) {
		t.Errorf("%s\nbecomes\n%s", c.Patch, same)
	}
	slices.Sort(added)
	if want := []string{"", "++ b/y", "-- a/x", "a", "b", "last line", "one", "twelve"}; !slices.Equal(added, want) {
		t.Errorf("%q", added)
	}
	wantCheckedOut(t, r, c, read(t, r.dir))
}

func FuzzAPatchThatIsNotChangedStaysAsItIs(f *testing.F) {
	f.Add("--- a/x\n+++ b/x\n@@ -1,2 +1 @@ f\n-a\n b\n\\ No newline at end of file\n")
	f.Add("@@ -1 +1 @@\n\\ x\n@@ -9999999999999999999 +1 @@\n+a")
	f.Fuzz(func(t *testing.T, patch string) {
		same := func(_, line string) string { return line }
		texts := func(h Hunk) []string {
			var out []string
			for _, l := range h.Lines {
				out = append(out, l.Text)
			}
			return out
		}
		if got := string(Rewrite([]byte(patch), texts, same)); got != patch {
			t.Errorf("%q becomes %q", patch, got)
		}
	})
}

func BenchmarkUncommitted(b *testing.B) {
	dir, err := os.Getwd()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Uncommitted(context.Background(), WorkTree(dir), none); err != nil {
			b.Fatal(err)
		}
	}
}
