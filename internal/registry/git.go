package registry

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// gitCommit returns the commit checked out in the work tree around dir, read
// from git's own files so that it costs no process; "" when there is none or
// its files are in a form this does not know.
func gitCommit(dir string) string {
	for dir != "" {
		if gitDir := gitDirOf(filepath.Join(dir, ".git")); gitDir != "" {
			return headOf(gitDir)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	return ""
}

// gitDirOf follows the file that stands in for .git in worktrees and submodules.
func gitDirOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	if info.IsDir() {
		return path
	}
	target, found := strings.CutPrefix(smallFile(path), "gitdir: ")
	if !found {
		return ""
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(path), target)
	}
	return target
}

func headOf(gitDir string) string {
	head := smallFile(filepath.Join(gitDir, "HEAD"))
	ref, symbolic := strings.CutPrefix(head, "ref: ")
	if !symbolic {
		return asCommit(head)
	}
	if !filepath.IsLocal(ref) {
		return ""
	}
	common := gitDir
	if rel := smallFile(filepath.Join(gitDir, "commondir")); rel != "" {
		common = rel
		if !filepath.IsAbs(rel) {
			common = filepath.Join(gitDir, rel)
		}
	}
	for _, d := range []string{gitDir, common} {
		if id := asCommit(smallFile(filepath.Join(d, ref))); id != "" {
			return id
		}
	}
	packed, err := os.ReadFile(filepath.Join(common, "packed-refs"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(packed)) {
		if id, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == ref {
			return asCommit(id)
		}
	}
	return ""
}

func smallFile(path string) string {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > 4096 {
		return ""
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func asCommit(s string) string {
	if (len(s) != 40 && len(s) != 64) || strings.Trim(s, "0123456789abcdef") != "" {
		return ""
	}
	return s
}

// gitPatience is how long a run's closing waits for git at most.
const gitPatience = 250 * time.Millisecond

// askGitDirty starts asking git, beside the run, whether tracked files differ
// from the commit. The answer is nil when git is not there or not quick enough.
// A work tree's own settings cannot make git start anything here.
func askGitDirty(dir string) func() *bool {
	answer := make(chan *bool, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	cmd := exec.CommandContext(ctx, "git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
		"status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C")
	go func() {
		out, err := cmd.Output()
		if err != nil {
			answer <- nil
			return
		}
		dirty := len(out) > 0
		answer <- &dirty
	}()
	return func() *bool {
		defer cancel()
		select {
		case dirty := <-answer:
			return dirty
		case <-time.After(gitPatience):
			return nil
		}
	}
}
