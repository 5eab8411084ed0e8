package git

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"quant"
)

// Worktree is a commit checked out beside a repository's own work tree, which
// it leaves alone.
type Worktree struct {
	Dir  string // what corresponds to the folder that it was asked for
	top  string // the root of the checkout
	repo string // the root of the repository's own work tree
}

// CheckOut checks a commit of the repository around workDir out into top, which
// must not exist, applies diff to it (nil: none), and says where in it workDir
// is. No hook is started; filters that the repository's attributes name are, as
// they would be by git itself. Errors: Refused when the repository, the commit
// or the folder is not there any more, or the diff does not apply; then nothing
// is left behind.
func CheckOut(ctx context.Context, workDir, commit, top string, diff io.Reader) (_ *Worktree, err error) {
	if asCommit(commit) == "" {
		return nil, quant.Errorf(quant.Refused, "%q is no commit", commit)
	}
	real, err := filepath.EvalSymlinks(workDir)
	if err != nil {
		return nil, quant.Errorf(quant.Refused, "the folder %s is not there any more", workDir)
	}
	out, err := run(ctx, real, "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, quant.Errorf(quant.Refused, "find the repository of %s: %w", workDir, reason(err))
	}
	repo := strings.TrimSuffix(string(out), "\n")
	inside, err := filepath.Rel(repo, real)
	if err != nil || !filepath.IsLocal(inside) {
		return nil, quant.Errorf(quant.Refused, "find %s in the repository %s", workDir, repo)
	}
	if _, err := run(ctx, repo, "cat-file", "-e", commit+"^{commit}"); err != nil {
		return nil, quant.Errorf(quant.Refused, "the repository %s does not have the commit %s any more", repo, commit).
			WithHint("fetch it there first")
	}
	w := &Worktree{Dir: filepath.Join(top, inside), top: top, repo: repo}
	defer func() {
		if err != nil {
			_ = w.Remove()
		}
	}()
	if _, err := run(ctx, repo, "worktree", "add", "--detach", "--quiet", "--", top, commit); err != nil {
		return nil, quant.Errorf(quant.Failed, "check %s out into %s: %w", commit, top, reason(err))
	}
	if diff != nil {
		cmd := command(ctx, top, "apply", "--whitespace=nowarn", "-")
		cmd.Stdin = diff
		if _, err := cmd.Output(); err != nil {
			return nil, quant.Errorf(quant.Refused, "apply the recorded changes to %s: %w", commit, reason(err))
		}
	}
	if info, err := os.Stat(w.Dir); err != nil || !info.IsDir() {
		return nil, quant.Errorf(quant.Refused, "the commit %s has no folder %s", commit, inside)
	}
	return w, nil
}

// Remove takes the checkout away.
func (w *Worktree) Remove() error {
	_, err := run(context.Background(), w.repo, "worktree", "remove", "--force", "--", w.top)
	if gone := os.RemoveAll(w.top); gone != nil {
		return gone
	}
	if err != nil { // git forgets what is not there
		_, _ = run(context.Background(), w.repo, "worktree", "prune")
	}
	return nil
}

// reason is what git said, where it said something.
func reason(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if said := bytes.TrimSpace(exit.Stderr); len(said) > 0 {
			return errors.New(string(bytes.Join(bytes.Fields(said), []byte(" "))))
		}
	}
	return err
}
