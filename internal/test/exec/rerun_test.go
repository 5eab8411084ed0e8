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
		t.Skip("there is no git here")
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
