package git

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"quant"
)

// asIndexed makes the indexes of a checkout hold the names that those of the work
// tree held, so that what differs from the commit is found in the same form again:
// git tells of a new file whose name is in the index in another form than of one
// that it does not know, and a patch says which one it is.
func asIndexed(ctx context.Context, top string, code Recorded) error {
	known, unknown := map[string][]string{}, map[string][]string{} // by repository
	name, added := "", false
	list := func(names map[string][]string) {
		repo, rest := within(name, code.Inside)
		names[repo] = append(names[repo], rest)
	}
	Rewrite(code.Patch, func(Hunk) []string { return nil }, func(_, line string) string {
		switch {
		case strings.HasPrefix(line, "diff --git "):
			name, added = bothNames(line[len("diff --git "):]), false
		case !filepath.IsLocal(name):
		case strings.HasPrefix(line, "new file mode "):
			added = true
		case strings.HasPrefix(line, "deleted file mode "):
			if _, err := os.Lstat(filepath.Join(top, name)); err == nil {
				list(unknown)
			}
		case added && strings.HasPrefix(line, "index "):
			if none, _, _ := strings.Cut(line[len("index "):], ".."); asCommit(none) != "" { // in full, as git wrote it
				list(known)
			}
		}
		return line
	})
	for _, change := range []struct {
		names map[string][]string
		args  []string
	}{
		{unknown, []string{"update-index", "--force-remove", "-z", "--stdin"}},
		{known, []string{"--literal-pathspecs", "add", "--intent-to-add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul"}},
	} {
		for repo, names := range change.names {
			cmd := command(ctx, filepath.Join(top, repo), change.args...)
			cmd.Stdin = strings.NewReader(strings.Join(names, "\x00") + "\x00")
			if _, err := cmd.Output(); err != nil {
				return quant.Errorf(quant.Failed, "tell git of the recorded files in %s: %w", filepath.Join(top, repo), reason(err))
			}
		}
	}
	return nil
}

// within is the innermost repository that a file is in, "" for the outermost one,
// and the file's name there.
func within(file string, inside []Repository) (repo, name string) {
	name = file
	for _, r := range inside { // the innermost comes last
		if rest, found := strings.CutPrefix(file, r.Path+"/"); found {
			repo, name = r.Path, rest
		}
	}
	return repo, name
}

// bothNames reads the name behind diff --git, which stands there twice.
func bothNames(names string) string {
	middle := len(names) / 2
	if len(names) < 5 || names[middle] != ' ' {
		return ""
	}
	return strings.TrimPrefix(unquoted(names[middle+1:]), "b/")
}
