package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"quant"
)

// The bounds of what Diff keeps.
const (
	maxDiff          = 64 << 20
	maxUntrackedFile = 256 << 10
	maxUntracked     = 16 << 20
)

// secretFiles are never part of a diff, by the patterns of path.Match on any
// part of a path, in lower case.
var secretFiles = []string{".env*", "*.pem", "*.key", "id_*"}

func isSecretFile(name string) bool {
	for part := range strings.SplitSeq(strings.ToLower(name), "/") {
		for _, pattern := range secretFiles {
			if ok, _ := path.Match(pattern, part); ok {
				return true
			}
		}
	}
	return false
}

// WorkTree is the folder of the git work tree around dir, "" if there is none.
func WorkTree(dir string) string {
	for dir != "" {
		if dirOf(filepath.Join(dir, ".git")) != "" {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	return ""
}

// Diff returns what differs between a work tree and its commit, in a form
// that `git apply` takes: tracked files, and untracked text files of at most 256
// KiB that git does not ignore. It leaves out files that hold secrets (.env*,
// *.pem, *.key, id_*) and those for which skip, given an absolute path, says so.
// It starts no program that the work tree's settings name; where it would have
// to, or where git is not there, it returns an error (Refused, Failed).
func Diff(ctx context.Context, tree string, skip func(path string) bool) ([]byte, error) {
	if err := startsNothing(ctx, tree); err != nil {
		return nil, err
	}
	var tracked []byte
	var names []byte
	var trackedErr, namesErr error
	var both sync.WaitGroup
	both.Go(func() {
		args := []string{"diff", "HEAD", "--binary", "--full-index", "--no-color", "--no-renames", "--no-ext-diff", "--no-textconv",
			"--ignore-submodules=all", "--src-prefix=a/", "--dst-prefix=b/", "--", ":/"}
		for _, p := range secretFiles {
			args = append(args, ":(top,exclude,glob,icase)**/"+p, ":(top,exclude,glob,icase)**/"+p+"/**")
		}
		tracked, trackedErr = run(ctx, tree, args...)
	})
	both.Go(func() { names, namesErr = run(ctx, tree, "ls-files", "--others", "--exclude-standard", "-z") })
	both.Wait()
	if err := errors.Join(trackedErr, namesErr); err != nil {
		return nil, quant.Errorf(quant.Failed, "ask git what differs: %w", err)
	}
	root, err := os.OpenRoot(tree)
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "read the work tree: %w", err)
	}
	defer func() { _ = root.Close() }() // it was only read
	out, untracked := tracked, 0
	for name := range strings.SplitSeq(string(names), "\x00") {
		if name == "" || isSecretFile(name) || skip(filepath.Join(tree, name)) {
			continue
		}
		text, mode := untrackedText(root, name)
		if mode == "" || untracked+len(text) > maxUntracked {
			continue
		}
		untracked += len(text)
		out = appendNewFile(out, name, mode, text)
	}
	if len(out) > maxDiff {
		return nil, quant.Errorf(quant.Refused, "the work tree differs by more than %d bytes", maxDiff)
	}
	return out, nil
}

// startsNothing makes sure that git can look at files without starting a
// program that the work tree's own settings name: the clean filter of its
// attributes. The user's own settings may name filters.
func startsNothing(ctx context.Context, dir string) error {
	filters, err := run(ctx, dir, "config", "--show-scope", "--get-regexp", `^filter\..*\.(clean|process)$`)
	if none, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || none.ExitCode() != 1) {
		return quant.Errorf(quant.Failed, "ask git for its filters: %w", err)
	}
	for line := range strings.Lines(string(filters)) {
		switch scope, _, _ := strings.Cut(line, "\t"); scope {
		case "system", "global":
		default: // a value of several lines also ends here
			return quant.Errorf(quant.Refused, "the work tree has filters of its own, which git would start")
		}
	}
	return nil
}

// untrackedText reads a small text file; mode is "" for anything else.
func untrackedText(root *os.Root, name string) (text []byte, mode string) {
	before, err := root.Lstat(name)
	if err != nil || !before.Mode().IsRegular() || before.Size() > maxUntrackedFile {
		return nil, ""
	}
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, ""
	}
	defer f.Close()
	text = make([]byte, maxUntrackedFile+1)
	n := 0
	for n < len(text) {
		got, err := f.Read(text[n:])
		n += got
		if err != nil {
			break
		}
	}
	text = text[:n]
	if n > maxUntrackedFile || bytes.IndexByte(text, 0) >= 0 || !utf8.Valid(text) {
		return nil, ""
	}
	if before.Mode()&0o100 != 0 {
		return text, "100755"
	}
	return text, "100644"
}

// appendNewFile adds a file to a diff as git does.
func appendNewFile(out []byte, name, mode string, text []byte) []byte {
	a, b := quoted("a/"+name), quoted("b/"+name)
	out = fmt.Appendf(out, "diff --git %s %s\nnew file mode %s\n", a, b, mode)
	if len(text) == 0 {
		return append(out, "index 0000000..e69de29\n"...)
	}
	lines := bytes.Count(text, []byte("\n"))
	whole := text[len(text)-1] == '\n'
	if !whole {
		lines++
	}
	if strings.ContainsRune(b, ' ') && b[0] != '"' {
		b += "\t" // ends a name with spaces
	}
	out = fmt.Appendf(out, "--- /dev/null\n+++ %s\n@@ -0,0 +1,%d @@\n", b, lines)
	for line := range bytes.Lines(text) {
		out = append(append(out, '+'), line...)
	}
	if !whole {
		out = append(out, "\n\\ No newline at end of file\n"...)
	}
	return out
}

// quoted is a path as git writes it: in quotes where it holds what could be
// taken for something else.
func quoted(name string) string {
	plain := func(c byte) bool { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\' }
	for i := range len(name) {
		if plain(name[i]) {
			continue
		}
		out := []byte{'"'}
		for i := range len(name) {
			switch c := name[i]; {
			case plain(c):
				out = append(out, c)
			case c == '"' || c == '\\':
				out = append(out, '\\', c)
			default:
				out = fmt.Appendf(out, `\%03o`, c)
			}
		}
		return string(append(out, '"'))
	}
	return name
}
