// Package git asks a repository what stands in it (commit, uncommitted changes) and
// checks commits out, starting nothing that the repository names: no hook, no
// monitor, and for a look no filter either. It records nothing.
package git

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Commit returns the commit checked out in the work tree around dir, read
// from git's own files so that it costs no process; "" when there is none or
// its files are in a form this does not know.
func Commit(dir string) string {
	tree := WorkTree(dir)
	if tree == "" {
		return ""
	}
	return headOf(dirOf(filepath.Join(tree, ".git")))
}

// dirOf follows the file that stands in for .git in worktrees and submodules.
func dirOf(path string) string {
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

// patience is how long a run's closing waits for git at most.
const patience = 250 * time.Millisecond

// AskDirty starts asking git, beside the run, whether tracked files differ
// from the commit. The answer is nil when git is not there or not quick enough,
// or when it would have to start a program that the work tree's own settings
// name: to look at a file, git runs the clean filter of its attributes. The
// user's own settings may name filters.
func AskDirty(dir string) func() *bool {
	answer := make(chan *bool, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	go func() { answer <- Dirty(ctx, dir) }()
	return func() *bool {
		defer cancel()
		select {
		case dirty := <-answer:
			return dirty
		case <-time.After(patience):
			return nil
		}
	}
}

// Dirty reports whether tracked files of the work tree around dir, or of the
// submodules in it, differ from the commit; nil: git cannot say, or would have to
// start a program for it.
func Dirty(ctx context.Context, dir string) *bool {
	dirty, err := differs(ctx, dir)
	if err != nil {
		return nil
	}
	return &dirty
}

func differs(ctx context.Context, dir string) (bool, error) {
	if err := startsNothing(ctx, dir); err != nil {
		return false, err
	}
	out, err := run(ctx, dir, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
	if err != nil || len(out) > 0 {
		return err == nil, err
	}
	tree := WorkTree(dir)
	links, err := gitlinks(ctx, tree)
	if err != nil || len(links) == 0 {
		return false, err
	}
	out, err = run(ctx, tree, "diff", "--cached", "--name-only", "--ignore-submodules=dirty")
	if err != nil || len(out) > 0 {
		return err == nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(links)) {
		inside := filepath.Join(tree, name)
		gitDir := dirOf(filepath.Join(inside, ".git"))
		if gitDir == "" || linked(tree, name) {
			continue // not checked out
		}
		if commit := headOf(gitDir); commit != "" && commit != links[name] {
			return true, nil
		}
		if dirty, err := differs(ctx, inside); err != nil || dirty {
			return dirty, err
		}
	}
	return false, nil
}

// run runs git where neither hooks nor a file system monitor are started, and
// nothing is fetched to complete a partial clone.
func run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	return command(ctx, dir, args...).Output()
}

func command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=true"}, args...)...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not meant for it
	cmd.Env = append(cmd.Environ(), "GIT_OPTIONAL_LOCKS=0", "GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none", "LC_ALL=C")
	return cmd
}
