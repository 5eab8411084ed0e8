package exec

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"quant/internal/test/labtest"
)

func git(l *labtest.Lab, args ...string) string {
	l.T.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Dir = l.Path("repo")
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.T.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// tagOf reads one tag of a run.
func tagOf(l *labtest.Lab, runID, name string) (value string) {
	l.T.Helper()
	_ = l.OpenMeta("&mode=ro").QueryRow("SELECT value FROM run_tags WHERE run_id = ? AND name = ?", runID, name).Scan(&value)
	return value
}

// runsOf are the runs of one kind, oldest first.
func runsOf(l *labtest.Lab, kind string) (list []labtest.RunRow) {
	l.T.Helper()
	for _, r := range l.Runs() {
		if r.Kind == kind {
			list = append(list, r)
		}
	}
	return list
}

func TestARerunRepeatsTheCommandInItsFolderAndIsLinked(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	labtest.Must(t, os.MkdirAll(l.Path("here and 거기"), 0o700))
	first := l.Command("exec", "--data-dir", "../data", "--param", "lr=0.1", "--", "sh", "-c", `pwd; echo "$0 $1"; exit 3`, "two words", "last")
	first.Dir = l.Path("here and 거기")
	origin := l.StartCmd(first).Wait()
	if origin.Code != 3 {
		t.Fatal(origin)
	}
	r := l.Want(3, "runs", "rerun", "last:exec")
	if !strings.HasPrefix(r.Stdout, origin.Stdout) || !strings.Contains(r.Stdout, "here and 거기\ntwo words last\n") {
		t.Errorf("the program printed %q, now %q", origin.Stdout, r.Stdout)
	}
	runs := runsOf(l, "exec")
	if len(runs) != 2 || runs[1].Status != "FAIL" || tagOf(l, runs[1].ID, "rerun_of") != runs[0].ID {
		t.Errorf("%+v", runs)
	}
	reruns := runsOf(l, "runs.rerun")
	if len(reruns) != 1 || reruns[0].Exit.Int64 != 3 || tagOf(l, reruns[0].ID, "rerun_of") != runs[0].ID {
		t.Errorf("%+v", reruns)
	}
	var parent string
	labtest.Must(t, l.OpenMeta("&mode=ro").QueryRow("SELECT parent_run_id FROM run_process WHERE run_id = ?", runs[1].ID).Scan(&parent))
	if parent != reruns[0].ID {
		t.Errorf("the repetition is a child of %q", parent)
	}
}

func TestARerunOfAMaskedArgumentWantsItAgainAndKeepsItSecret(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	l.Must("exec", "--", "sh", "-c", `test ${#2} = 14 && echo open || echo shut`, "x", "--password", "hunter2hunter2")
	r := l.Want(6, "runs", "rerun", "last:exec")
	if !strings.Contains(r.Stderr, "argument 8") || !strings.Contains(r.Stderr, "--set-arg 8=VALUE") {
		t.Error(r)
	}
	r = l.Must("runs", "rerun", "last:exec", "--set-arg", "8=hunter2hunter2")
	if !strings.HasPrefix(r.Stdout, "open\n") {
		t.Error(r)
	}
	r = l.Must("runs", "rerun", runsOf(l, "exec")[0].ID, "--set-arg=8=short", "--dry-run")
	if strings.Contains(r.Stdout+r.Stderr, "short") {
		t.Error(r)
	}
	labtest.Must(t, filepath.WalkDir(l.Path("data"), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "hunter2hunter2") {
			t.Errorf("the secret stands in %s", path)
		}
		return err
	}))
	for _, bad := range []string{"0=x", "9=x", "8", "x=7", "-1=x", ""} {
		l.Want(2, "runs", "rerun", runsOf(l, "exec")[0].ID, "--set-arg", bad)
	}
}

func TestARerunWithTheRecordedCodeRunsWhatStoodThereThen(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		labtest.CannotTry(t, "there is no git here")
	}
	l := labtest.New(t)
	sub := l.Path("repo", "sub dir")
	labtest.Must(t, os.MkdirAll(sub, 0o700))
	write := func(name, text string) { labtest.Must(t, os.WriteFile(filepath.Join(sub, name), []byte(text), 0o600)) }
	write("job.sh", "echo committed\n")
	git(l, "init", "-q")
	git(l, "add", "-A")
	git(l, "commit", "-qm", "first")
	// The work tree differs: one file changed, one new.
	write("job.sh", "echo changed; cat new.txt\n")
	write("new.txt", "new\n")
	cmd := l.Command("--data-dir", l.Path("data"), "exec", "--", "sh", "job.sh")
	cmd.Dir = sub
	if r := l.StartCmd(cmd).Wait(); r.Code != 0 || r.Stdout != "changed\nnew\n" {
		t.Fatal(r)
	}
	write("job.sh", "echo later\n")
	labtest.Must(t, os.Remove(filepath.Join(sub, "new.txt")))
	git(l, "add", "-A")
	git(l, "commit", "-qm", "second")

	if r := l.Must("runs", "rerun", "last:exec"); !strings.HasPrefix(r.Stdout, "later\n") {
		t.Error(r)
	}
	origin := runsOf(l, "exec")[0].ID
	if r := l.Must("runs", "rerun", origin, "--code"); !strings.HasPrefix(r.Stdout, "changed\nnew\n") {
		t.Error(r)
	}
	if trees := git(l, "worktree", "list"); strings.Count(trees, "\n") != 0 {
		t.Errorf("a worktree is left:\n%s", trees)
	}
	if left, _ := filepath.Glob(l.Path("data", "tmp", "rerun-*")); len(left) != 0 {
		t.Error(left)
	}
	if status := git(l, "status", "--porcelain"); status != "" {
		t.Errorf("the work tree was touched: %s", status)
	}
	r := l.Must("runs", "rerun", origin, "--code", "--keep")
	if left, _ := filepath.Glob(l.Path("data", "tmp", "code-*", "sub dir", "new.txt")); len(left) != 1 || !strings.Contains(r.Stderr, "git worktree remove") {
		t.Error(left, r)
	}
	// A commit that is gone is named; nothing is left behind.
	labtest.Must(t, os.RemoveAll(l.Path("repo", ".git")))
	git(l, "init", "-q")
	r = l.Want(6, "runs", "rerun", origin, "--code")
	if !strings.Contains(r.Stderr, "does not have the commit") {
		t.Error(r)
	}
}

// execIn runs quant exec in the repository of the lab.
func execIn(l *labtest.Lab, args ...string) (labtest.Result, string) {
	l.T.Helper()
	cmd := l.Command(append([]string{"--data-dir", l.Path("data"), "exec"}, args...)...)
	cmd.Dir = l.Path("repo")
	r := l.StartCmd(cmd).Wait()
	return r, l.RunOf("exec").ID
}

// stored is every file of the lab in which a text stands.
func stored(l *labtest.Lab, text string) (paths []string) {
	l.T.Helper()
	labtest.Must(l.T, filepath.WalkDir(l.Path("data"), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if strings.Contains(string(content), text) {
			paths = append(paths, path)
		}
		return err
	}))
	return paths
}

func TestSecretsInUncommittedCodeAreMaskedAndCodeWithoutThemIsNotRun(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		labtest.CannotTry(t, "there is no git here")
	}
	l := labtest.New(t)
	labtest.Must(t, os.MkdirAll(l.Path("repo"), 0o700))
	l.Write("repo/train.py", []byte("import os\napi_key = 'canary-old-1'\nprint(1)\n"))
	l.Write("repo/settings.yaml", []byte("symbol: AAPL\n"))
	git(l, "init", "-q")
	git(l, "add", "-A")
	git(l, "commit", "-qm", "first")

	// The secret is committed: the changes beside it can be run again.
	l.Write("repo/train.py", []byte("import os\napi_key = 'canary-old-1'\nprint(2)\n"))
	if r, _ := execIn(l, "--", "cat", "train.py"); r.Code != 0 {
		t.Fatal(r)
	}
	l.Write("repo/train.py", []byte("import os\napi_key = os.environ['KEY']\ntoken = tokenizer.next()\n"))
	r, removed := execIn(l, "--", "wc", "-l", "train.py")
	if r.Code != 0 {
		t.Fatal(r)
	}
	l.Write("repo/train.py", []byte("later\n"))
	if r := l.Must("runs", "rerun", runsOf(l, "exec")[0].ID, "--code"); !strings.HasPrefix(r.Stdout, "import os\napi_key = 'canary-old-1'\nprint(2)\n") {
		t.Error(r)
	}
	if r := l.Must("runs", "rerun", removed, "--code"); !strings.HasPrefix(r.Stdout, "3 train.py\n") {
		t.Error(r)
	}

	// It is in what is not committed.
	l.Write("repo/train.py", []byte("import os\napi_key = 'canary-new-2'\nurl = 'postgres://me:canary-new-3@db/x'\n"))
	l.Write("repo/settings.yaml", []byte("symbol: AAPL\npassword: canary-new-4\n"))
	l.Write("repo/run.sh", []byte("export AWS_SECRET_ACCESS_KEY=canary-new-5\n"))
	l.Write("repo/nb.ipynb", []byte("{\"cells\": [{\"source\": [\"token = \\\"canary-new-6\\\"\\n\"]}]}\n"))
	r, masked := execIn(l, "--", "true")
	if r.Code != 0 || r.Stderr != "" {
		t.Fatal(r)
	}
	if paths := stored(l, "canary-new"); len(paths) != 0 {
		t.Errorf("a secret stands in %v", paths)
	}
	r = l.Want(6, "runs", "rerun", masked, "--code")
	for _, want := range []string{"masked in settings.yaml:2, train.py:2, train.py:3 and 2 more", "--keep-secrets", "without --code"} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("it does not say %q: %s", want, r.Stderr)
		}
	}
	l.Must("runs", "rerun", masked)
	l.Must("runs", "artifact", masked, "code.diff", "--out", l.Path("masked.diff"))
	apply := exec.Command("git", "apply", "--numstat", l.Path("masked.diff"))
	apply.Dir = l.Path("repo")
	if out, err := apply.CombinedOutput(); err != nil || strings.Count(string(out), "\n") != 4 {
		t.Errorf("what is masked is no patch any more: %v %s", err, out)
	}

	r, exact := execIn(l, "--keep-secrets", "--", "cat", "run.sh")
	if r.Code != 0 || len(stored(l, "canary-new-5")) == 0 {
		t.Error("asked to be kept, the secret is not", r)
	}
	l.Write("repo/run.sh", []byte("later\n"))
	if r := l.Must("runs", "rerun", exact, "--code"); !strings.HasPrefix(r.Stdout, "export AWS_") {
		t.Error(r)
	}
}

func TestSubmodulesAreRecordedAndRunAgain(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		labtest.CannotTry(t, "there is no git here")
	}
	l := labtest.New(t)
	labtest.Must(t, os.MkdirAll(l.Path("repo"), 0o700))
	for _, sub := range []string{"deep", "lib"} {
		labtest.Must(t, os.MkdirAll(l.Path(sub), 0o700))
		l.Write(sub+"/code.sh", []byte("echo "+sub+"\n"))
		git(l, "-C", l.Path(sub), "init", "-q")
		git(l, "-C", l.Path(sub), "add", "-A")
		if sub == "lib" {
			git(l, "-C", l.Path(sub), "-c", "protocol.file.allow=always", "submodule", "add", "-q", l.Path("deep"), "deep")
		}
		git(l, "-C", l.Path(sub), "commit", "-qm", "first")
	}
	l.Write("repo/job.sh", []byte("sh lib/code.sh; sh lib/deep/code.sh\n"))
	git(l, "init", "-q")
	git(l, "-c", "protocol.file.allow=always", "submodule", "add", "-q", l.Path("lib"), "lib")
	git(l, "-c", "protocol.file.allow=always", "submodule", "update", "-q", "--init", "--recursive")
	git(l, "add", "-A")
	git(l, "commit", "-qm", "first")
	clean, cleanID := execIn(l, "--", "sh", "job.sh")
	l.Write("repo/lib/deep/code.sh", []byte("echo changed deep\n"))
	l.Write("repo/lib/code.sh", []byte("echo second\n"))
	git(l, "-C", l.Path("repo", "lib"), "commit", "-qam", "second")
	changed, changedID := execIn(l, "--", "sh", "job.sh")
	if clean.Stdout != "lib\ndeep\n" || changed.Stdout != "second\nchanged deep\n" {
		t.Fatal(clean, changed)
	}
	if got := l.MetaRows("SELECT git_dirty FROM run_process JOIN runs USING (run_id) WHERE kind = 'exec' ORDER BY run_id"); got != "0\n1\n" {
		t.Errorf("dirty: %q", got)
	}
	if env := programOf(l, changedID).Env; !strings.Contains(env, `"path":"lib/deep"`) || !strings.Contains(env, git(l, "-C", l.Path("repo", "lib"), "rev-parse", "HEAD")) {
		t.Error(env)
	}
	git(l, "submodule", "deinit", "-q", "-f", "--all")
	for id, want := range map[string]string{cleanID: clean.Stdout, changedID: changed.Stdout} {
		if r := l.Must("runs", "rerun", id, "--code"); !strings.HasPrefix(r.Stdout, want) {
			t.Error(r)
		}
	}
	if left, _ := filepath.Glob(l.Path("data", "tmp", "rerun-*")); len(left) != 0 {
		t.Error(left)
	}
	labtest.Must(t, os.RemoveAll(l.Path("repo", ".git", "modules", "lib")))
	if r := l.Want(6, "runs", "rerun", changedID, "--code"); !strings.Contains(r.Stderr, "/lib is not there any more") || !strings.Contains(r.Stderr, "git submodule update") {
		t.Error(r)
	}
}

func TestCodeWithoutACommitIsRecordedAndRunAgain(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		labtest.CannotTry(t, "there is no git here")
	}
	l := labtest.New(t)
	labtest.Must(t, os.MkdirAll(l.Path("repo"), 0o700))
	git(l, "init", "-q")
	l.Write("repo/job.sh", []byte("echo first; cat part.txt\n"))
	l.Write("repo/part.txt", []byte("part\n"))
	git(l, "add", "part.txt")
	r, id := execIn(l, "--", "sh", "job.sh")
	if r.Code != 0 || r.Stdout != "first\npart\n" || r.Stderr != "" {
		t.Fatal(r)
	}
	if notes := l.MetaRows("SELECT text FROM run_notes"); notes != "the work tree has no commit yet: its files are kept as code.diff\n" {
		t.Error(notes)
	}
	l.Write("repo/job.sh", []byte("echo later\n"))
	if r := l.Must("runs", "rerun", id, "--code"); !strings.HasPrefix(r.Stdout, "first\npart\n") {
		t.Error(r)
	}
	// Also once there are commits, and where the folder of the lab is in the work tree.
	git(l, "add", "-A")
	git(l, "commit", "-qm", "first")
	if r := l.Must("runs", "rerun", id, "--code", "--keep"); !strings.HasPrefix(r.Stdout, "first\npart\n") || !strings.Contains(r.Stderr, "rm -r") {
		t.Error(r)
	}
}

func TestCodeThatIsRunAgainIsRecordedAsTheSame(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git here")
	}
	l := labtest.New(t)
	labtest.Must(t, os.MkdirAll(l.Path("lib"), 0o700))
	labtest.Must(t, os.MkdirAll(l.Path("repo", "vendored"), 0o700))
	l.Write("lib/code.sh", []byte("echo lib\n"))
	git(l, "-C", l.Path("lib"), "init", "-q")
	git(l, "-C", l.Path("lib"), "add", "-A")
	git(l, "-C", l.Path("lib"), "commit", "-qm", "first")
	l.Write("repo/job.sh", []byte("sh lib/code.sh; sh vendored/code.sh\n"))
	git(l, "init", "-q")
	git(l, "-c", "protocol.file.allow=always", "submodule", "add", "-q", l.Path("lib"), "lib")
	git(l, "add", "-A")
	git(l, "commit", "-qm", "first")
	l.Write("repo/vendored/code.sh", []byte("echo vendored\n"))
	git(l, "-C", l.Path("repo", "vendored"), "init", "-q")
	git(l, "-C", l.Path("repo", "vendored"), "add", "-A")
	git(l, "-C", l.Path("repo", "vendored"), "commit", "-qm", "first")
	for name, text := range map[string]string{
		"lib/code.sh": "echo changed\n", "lib/new.sh": "echo new\n", "vendored/code.sh": "echo other\n", "vendored/new.sh": "", "new.sh": "echo no end",
	} {
		l.Write("repo/"+name, []byte(text))
	}
	_, origin := execIn(l, "--", "sh", "job.sh")
	l.Must("runs", "rerun", origin, "--code", "--keep")
	if got := l.MetaRows("SELECT count(*), count(DISTINCT digest) FROM run_artifacts WHERE name = 'code.diff'"); got != "2 1\n" {
		t.Errorf("the code is recorded as %q", got)
	}
	if got := l.MetaRows("SELECT count(*), count(DISTINCT json_extract(environment_json, '$.code')) FROM run_programs"); got != "2 1\n" {
		t.Errorf("what is recorded of the code is %q", got)
	}
}

func TestAFileThatIsNamedLikeTheLabIsCode(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git here")
	}
	l := labtest.New(t)
	for _, name := range []string{"repo", "data-code"} {
		labtest.Must(t, os.MkdirAll(l.Path(name), 0o700))
	}
	l.Write("repo/job.sh", []byte("true\n"))
	git(l, "-C", l.Path(), "init", "-q")
	git(l, "add", "-A")
	git(l, "commit", "-qm", "first")
	l.Write("data.py", []byte("new\n"))
	l.Write("data-code/a.py", []byte("new\n"))
	l.Write("data/note", []byte("the lab's own\n"))
	_, origin := execIn(l, "--", "sh", "job.sh")
	diff := l.Must("runs", "artifact", origin, "code.diff").Stdout
	for _, name := range []string{"data.py", "data-code/a.py"} {
		if !strings.Contains(diff, "+++ b/"+name+"\n") {
			t.Errorf("%s is missing in\n%s", name, diff)
		}
	}
	if strings.Contains(diff, "b/data/") {
		t.Errorf("a file of the lab is code:\n%s", diff)
	}
}
