package git

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"quant"
)

// Worktree is recorded code, checked out beside a repository's own work tree,
// which it leaves alone.
type Worktree struct {
	Dir  string // what corresponds to the folder that it was asked for
	top  string // the root of the checkout
	owns []owner
}

// owner is a repository that keeps a list of its checkouts.
type owner struct{ repo, at string }

// Registered reports whether a repository knows of the checkout, so that `git
// worktree remove` takes it away.
func (w *Worktree) Registered() bool { return len(w.owns) > 0 && w.owns[0].at == w.top }

// Recorded is code that is to be checked out.
type Recorded struct {
	WorkDir string // a folder of the work tree that it was in
	Commit  string // "": the work tree had none, and Patch is all
	Folder  string // without Commit: where WorkDir is in the work tree
	Patch   []byte // of what was not committed, in the repositories inside, too
	Inside  []Repository
	// Mark stands in Patch for what is not on record. Where it stands in the lines
	// that the commit has, those of the commit are taken.
	Mark string
}

// CheckOut checks recorded code out into top, which must not exist, applies its
// patch, and says where in it its folder is. Commits are taken from the
// repositories on this machine; nothing is fetched. No hook is started; filters that
// the repositories' attributes name are, as they would be by git itself. Errors:
// Refused when a repository, a commit or the folder is not there any more, or the
// patch does not apply; then nothing is left behind.
func CheckOut(ctx context.Context, code Recorded, top string) (_ *Worktree, err error) {
	w := &Worktree{top: top}
	defer func() {
		if err != nil {
			_ = w.Remove()
		}
	}()
	if code.Commit == "" {
		if !filepath.IsLocal(code.Folder) {
			return nil, quant.Errorf(quant.Refused, "%q is no folder of a work tree", code.Folder)
		}
		w.Dir = filepath.Join(top, code.Folder)
		if err := start(ctx, top, code.WorkDir); err != nil {
			return nil, err
		}
	}
	repo := ""
	if code.Commit != "" || len(code.Inside) > 0 {
		if repo, err = w.own(ctx, code); err != nil {
			return nil, err
		}
	}
	for _, inside := range code.Inside {
		if err := w.inside(ctx, repo, inside); err != nil {
			return nil, err
		}
	}
	if len(code.Patch) > 0 {
		patch, err := completed(ctx, top, code)
		if err != nil {
			return nil, err
		}
		cmd := command(ctx, top, "apply", "--whitespace=nowarn", "-")
		cmd.Stdin = bytes.NewReader(patch)
		if _, err := cmd.Output(); err != nil {
			return nil, quant.Errorf(quant.Refused, "apply the recorded changes to %s: %w", or(code.Commit, "an empty folder"), reason(err))
		}
		if err := asIndexed(ctx, top, code); err != nil {
			return nil, err
		}
	}
	if info, err := os.Stat(w.Dir); err != nil || !info.IsDir() {
		return nil, quant.Errorf(quant.Refused, "the commit %s has no folder %s", or(code.Commit, "(none)"), strings.TrimPrefix(w.Dir, top+"/"))
	}
	return w, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// start makes an empty repository, of the kind of the one around like, where that
// is still there: so git takes top for a work tree, and not for a folder of one
// around it.
func start(ctx context.Context, top, like string) error {
	if err := os.MkdirAll(top, 0o700); err != nil {
		return quant.Errorf(quant.Store, "make the folder for the code: %w", err)
	}
	format := "sha1"
	if out, err := run(ctx, like, "rev-parse", "--show-object-format"); err == nil && strings.TrimSpace(string(out)) == "sha256" {
		format = "sha256"
	}
	if _, err := run(ctx, top, "init", "--quiet", "--template=", "--object-format="+format); err != nil {
		return quant.Errorf(quant.Failed, "make a repository in %s: %w", top, reason(err))
	}
	return nil
}

// own checks the commit of the outermost repository out, if there is one, and
// returns the root of that repository's work tree.
func (w *Worktree) own(ctx context.Context, code Recorded) (repo string, err error) {
	real, err := filepath.EvalSymlinks(code.WorkDir)
	if err != nil {
		return "", quant.Errorf(quant.Refused, "the folder %s is not there any more", code.WorkDir)
	}
	out, err := run(ctx, real, "rev-parse", "--show-toplevel")
	if err != nil {
		return "", quant.Errorf(quant.Refused, "find the repository of %s: %w", code.WorkDir, reason(err))
	}
	repo = strings.TrimSuffix(string(out), "\n")
	inside, err := filepath.Rel(repo, real)
	if err != nil || !filepath.IsLocal(inside) {
		return "", quant.Errorf(quant.Refused, "find %s in the repository %s", code.WorkDir, repo)
	}
	if code.Commit == "" {
		return repo, nil
	}
	w.Dir = filepath.Join(w.top, inside)
	return repo, w.checkOut(ctx, repo, code.Commit, w.top)
}

// checkOut checks a commit of a repository out into at.
func (w *Worktree) checkOut(ctx context.Context, repo, commit, at string) error {
	if asCommit(commit) == "" {
		return quant.Errorf(quant.Refused, "%q is no commit", commit)
	}
	if _, err := w.ask(ctx, repo, "cat-file", "-e", commit+"^{commit}"); err != nil {
		return quant.Errorf(quant.Refused, "the repository %s does not have the commit %s any more", repo, commit).
			WithHint("fetch it there first")
	}
	w.owns = append(w.owns, owner{repo, at})
	if _, err := w.ask(ctx, repo, "worktree", "add", "--detach", "--quiet", "--", at, commit); err != nil {
		return quant.Errorf(quant.Failed, "check %s out into %s: %w", commit, at, reason(err))
	}
	return nil
}

// ask runs git in a repository, also in that of a submodule whose work tree, which
// its settings name, is gone.
func (w *Worktree) ask(ctx context.Context, repo string, args ...string) ([]byte, error) {
	if dirOf(filepath.Join(repo, ".git")) == "" {
		args = append([]string{"--git-dir=" + repo, "--work-tree=" + filepath.Dir(w.top)}, args...)
	}
	return run(ctx, repo, args...)
}

// inside checks a repository inside out, from its work tree where that is still
// there, else from where git keeps the repositories of submodules.
func (w *Worktree) inside(ctx context.Context, repo string, r Repository) error {
	if !filepath.IsLocal(r.Path) || linked(w.top, path.Dir(r.Path)) {
		return quant.Errorf(quant.Refused, "%q is no path of a repository inside", r.Path)
	}
	if r.NotKept != "" {
		return quant.Errorf(quant.Refused, "what %s had uncommitted is not on record: %s", r.Path, r.NotKept).
			WithHint("run it again without --code")
	}
	at := filepath.Join(w.top, r.Path)
	from := filepath.Join(repo, r.Path)
	if r.Commit == "" { // all of it is in the patch
		return start(ctx, at, from)
	}
	if dirOf(filepath.Join(from, ".git")) == "" {
		out, err := run(ctx, repo, "rev-parse", "--path-format=absolute", "--git-common-dir")
		if err != nil {
			return quant.Errorf(quant.Refused, "find the repository of %s: %w", r.Path, reason(err))
		}
		from = strings.TrimSuffix(string(out), "\n")
		for part := range strings.SplitSeq(r.Path, "/") {
			if next := filepath.Join(from, "modules", part); dirOf(next) != "" {
				from = next
			} else {
				from = filepath.Join(from, part)
			}
		}
		if dirOf(from) == "" {
			return quant.Errorf(quant.Refused, "the repository that was in %s is not there any more", filepath.Join(repo, r.Path)).
				WithHint("get it back first, for a submodule with: git submodule update --init --recursive")
		}
	}
	return w.checkOut(ctx, from, r.Commit, at)
}

// completed is the patch with what the commits have of the lines that hold the mark.
func completed(ctx context.Context, top string, code Recorded) ([]byte, error) {
	if code.Mark == "" || !bytes.Contains(code.Patch, []byte(code.Mark)) {
		return code.Patch, nil
	}
	files := map[string][]string{}
	var failed error
	patch := Rewrite(code.Patch, func(h Hunk) []string {
		var texts []string
		for i, l := range h.Lines {
			if l.Sign == '+' || !strings.Contains(l.Text, code.Mark) {
				continue
			}
			committed, found := files[h.OldFile]
			if !found {
				var err error
				if committed, err = committedLines(ctx, top, h.OldFile, code.Inside); err != nil && failed == nil {
					failed = err
				}
				files[h.OldFile] = committed
			}
			if l.Old < 1 || l.Old > len(committed) {
				continue
			}
			if texts == nil {
				for _, l := range h.Lines {
					texts = append(texts, l.Text)
				}
			}
			texts[i] = committed[l.Old-1]
		}
		return texts
	}, func(_, line string) string { return line })
	return patch, failed
}

// committedLines are the lines of a file of a checkout as its commit has it.
func committedLines(ctx context.Context, top, file string, inside []Repository) ([]string, error) {
	repo, name := within(file, inside)
	out, err := run(ctx, filepath.Join(top, repo), "cat-file", "blob", "HEAD:"+name)
	if err != nil {
		return nil, quant.Errorf(quant.Refused, "read %s as it is committed: %w", file, reason(err))
	}
	return strings.Split(string(out), "\n"), nil
}

// Remove takes the checkout away.
func (w *Worktree) Remove() error {
	if w.Registered() && len(w.owns) == 1 {
		_, _ = run(context.Background(), w.owns[0].repo, "worktree", "remove", "--force", "--", w.top)
	}
	err := os.RemoveAll(w.top)
	for _, o := range w.owns { // git forgets what is not there
		if _, statErr := os.Stat(o.at); statErr != nil {
			_, _ = w.ask(context.Background(), o.repo, "worktree", "prune")
		}
	}
	return err
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
