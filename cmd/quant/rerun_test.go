package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func (l *lab) git(args ...string) string {
	l.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Dir = l.path("repo")
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// tagOf reads one tag of a run.
func (l *lab) tagOf(runID, name string) (value string) {
	l.t.Helper()
	_ = l.openMeta("&mode=ro").QueryRow("SELECT value FROM run_tags WHERE run_id = ? AND name = ?", runID, name).Scan(&value)
	return value
}

// runsOf are the runs of one kind, oldest first.
func (l *lab) runsOf(kind string) (list []runRow) {
	l.t.Helper()
	for _, r := range l.runs() {
		if r.Kind == kind {
			list = append(list, r)
		}
	}
	return list
}

func TestARerunRepeatsTheCommandInItsFolderAndIsLinked(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	must(t, os.MkdirAll(l.path("here and 거기"), 0o700))
	first := l.command("exec", "--data-dir", "../data", "--param", "lr=0.1", "--", "sh", "-c", `pwd; echo "$0 $1"; exit 3`, "two words", "last")
	first.Dir = l.path("here and 거기")
	origin := l.startCmd(first).wait()
	if origin.code != 3 {
		t.Fatal(origin)
	}
	r := l.want(3, "runs", "rerun", "last:exec")
	if !strings.HasPrefix(r.stdout, origin.stdout) || !strings.Contains(r.stdout, "here and 거기\ntwo words last\n") {
		t.Errorf("the program printed %q, now %q", origin.stdout, r.stdout)
	}
	runs := l.runsOf("exec")
	if len(runs) != 2 || runs[1].Status != "FAIL" || l.tagOf(runs[1].ID, "rerun_of") != runs[0].ID {
		t.Errorf("%+v", runs)
	}
	reruns := l.runsOf("runs.rerun")
	if len(reruns) != 1 || reruns[0].Exit.Int64 != 3 || l.tagOf(reruns[0].ID, "rerun_of") != runs[0].ID {
		t.Errorf("%+v", reruns)
	}
	var parent string
	must(t, l.openMeta("&mode=ro").QueryRow("SELECT parent_run_id FROM run_process WHERE run_id = ?", runs[1].ID).Scan(&parent))
	if parent != reruns[0].ID {
		t.Errorf("the repetition is a child of %q", parent)
	}
}

func TestARerunOfAMaskedArgumentWantsItAgainAndKeepsItSecret(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.must("exec", "--", "sh", "-c", `test ${#2} = 14 && echo open || echo shut`, "x", "--password", "hunter2hunter2")
	r := l.want(6, "runs", "rerun", "last:exec")
	if !strings.Contains(r.stderr, "argument 8") || !strings.Contains(r.stderr, "--set-arg 8=VALUE") {
		t.Error(r)
	}
	r = l.must("runs", "rerun", "last:exec", "--set-arg", "8=hunter2hunter2")
	if !strings.HasPrefix(r.stdout, "open\n") {
		t.Error(r)
	}
	r = l.must("runs", "rerun", l.runsOf("exec")[0].ID, "--set-arg=8=short", "--dry-run")
	if strings.Contains(r.stdout+r.stderr, "short") {
		t.Error(r)
	}
	must(t, filepath.WalkDir(l.path("data"), func(path string, d os.DirEntry, err error) error {
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
		l.want(2, "runs", "rerun", l.runsOf("exec")[0].ID, "--set-arg", bad)
	}
}

func TestARerunWithTheRecordedCodeRunsWhatStoodThereThen(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git here")
	}
	l := newLab(t)
	sub := l.path("repo", "sub dir")
	must(t, os.MkdirAll(sub, 0o700))
	write := func(name, text string) { must(t, os.WriteFile(filepath.Join(sub, name), []byte(text), 0o600)) }
	write("job.sh", "echo committed\n")
	l.git("init", "-q")
	l.git("add", "-A")
	l.git("commit", "-qm", "first")
	// The work tree differs: one file changed, one new.
	write("job.sh", "echo changed; cat new.txt\n")
	write("new.txt", "new\n")
	cmd := l.command("--data-dir", l.path("data"), "exec", "--", "sh", "job.sh")
	cmd.Dir = sub
	if r := l.startCmd(cmd).wait(); r.code != 0 || r.stdout != "changed\nnew\n" {
		t.Fatal(r)
	}
	write("job.sh", "echo later\n")
	must(t, os.Remove(filepath.Join(sub, "new.txt")))
	l.git("add", "-A")
	l.git("commit", "-qm", "second")

	if r := l.must("runs", "rerun", "last:exec"); !strings.HasPrefix(r.stdout, "later\n") {
		t.Error(r)
	}
	origin := l.runsOf("exec")[0].ID
	if r := l.must("runs", "rerun", origin, "--code"); !strings.HasPrefix(r.stdout, "changed\nnew\n") {
		t.Error(r)
	}
	if trees := l.git("worktree", "list"); strings.Count(trees, "\n") != 0 {
		t.Errorf("a worktree is left:\n%s", trees)
	}
	if left, _ := filepath.Glob(l.path("data", "tmp", "rerun-*")); len(left) != 0 {
		t.Error(left)
	}
	if status := l.git("status", "--porcelain"); status != "" {
		t.Errorf("the work tree was touched: %s", status)
	}
	r := l.must("runs", "rerun", origin, "--code", "--keep")
	if left, _ := filepath.Glob(l.path("data", "tmp", "code-*", "sub dir", "new.txt")); len(left) != 1 || !strings.Contains(r.stderr, "git worktree remove") {
		t.Error(left, r)
	}
	// A commit that is gone is named; nothing is left behind.
	must(t, os.RemoveAll(l.path("repo", ".git")))
	l.git("init", "-q")
	r = l.want(6, "runs", "rerun", origin, "--code")
	if !strings.Contains(r.stderr, "does not have the commit") {
		t.Error(r)
	}
}
