package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"quant"
)

// The bounds of what Uncommitted keeps.
const (
	maxDiff          = 64 << 20
	maxUntrackedFile = 256 << 10
	maxUntracked     = 16 << 20
)

// secretFiles are never part of a diff, by the patterns of path.Match on any
// part of a path, in lower case.
var secretFiles = []string{".env*", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", ".pgpass"}

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

// Changes are what of a work tree is not in its commit.
type Changes struct {
	Commit string // the commit checked out; "": there is none yet
	// Patch is what differs from the commit, or all that there is where there is
	// none, in a form that `git apply` takes: that of the repositories inside, too.
	Patch []byte
	// Inside are the repositories inside: submodules and others that git does not
	// ignore, each after the one that it is in.
	Inside  []Repository
	LeftOut []LeftOut // at most maxLeftOut of them, what of the changes is not in Patch
	More    int       // and how many beside these
}

// Repository is one inside another one's work tree.
type Repository struct {
	Path   string `json:"path"`   // from the root of the outermost work tree
	Commit string `json:"commit"` // "": none yet
	Dirty  bool   `json:"dirty"`  // its files differ from its commit
	// NotKept is why its changes are not known; "": they are.
	NotKept string `json:"not_kept,omitempty"`
}

// LeftOut is a changed or new file that is not in a patch.
type LeftOut struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

const (
	maxLeftOut = 20
	maxInside  = 64
)

func (c *Changes) leaveOut(path, why string) {
	if len(c.LeftOut) < maxLeftOut {
		c.LeftOut = append(c.LeftOut, LeftOut{path, why})
	} else {
		c.More++
	}
}

// Uncommitted returns what differs between a work tree and its commit: tracked
// files, and untracked text files of at most 256 KiB that git does not ignore. It
// leaves out files that hold secrets (.env*, *.pem, *.key, id_rsa and the like) and
// those for which skip, given an absolute path, says so. It starts no program that
// the work tree's settings name; where it would have to, or where git is not there,
// it returns an error (Refused, Failed).
func Uncommitted(ctx context.Context, tree string, skip func(path string) bool) (Changes, error) {
	var c Changes
	commit, err := c.add(ctx, tree, "", skip)
	c.Commit = commit
	if err == nil && len(c.Patch) > maxDiff {
		err = quant.Errorf(quant.Refused, "the work tree differs by more than %d bytes", maxDiff)
	}
	return c, err
}

// add adds what stands in the repository at prefix, "" or a path that ends in /, and
// returns its commit.
func (c *Changes) add(ctx context.Context, tree, prefix string, skip func(path string) bool) (commit string, err error) {
	if err := startsNothing(ctx, tree); err != nil {
		return "", err
	}
	commit, base, err := head(ctx, tree)
	if err != nil {
		return "", err
	}
	of := []string{base, "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all"}
	without, secrets := []string{":/"}, []string{}
	for _, p := range secretFiles {
		for _, glob := range []string{"**/" + p, "**/" + p + "/**"} {
			without = append(without, ":(top,exclude,glob,icase)"+glob)
			secrets = append(secrets, ":(top,glob,icase)"+glob)
		}
	}
	var tracked, names, hidden []byte
	var links map[string]string
	var errs [4]error
	var all sync.WaitGroup
	all.Go(func() {
		tracked, errs[0] = run(ctx, tree, slices.Concat([]string{"diff", "--binary", "--full-index", "--no-color",
			"--src-prefix=a/" + prefix, "--dst-prefix=b/" + prefix}, of, []string{"--"}, without)...)
	})
	all.Go(func() { names, errs[1] = run(ctx, tree, "ls-files", "--others", "--exclude-standard", "-z") })
	all.Go(func() {
		hidden, errs[2] = run(ctx, tree, slices.Concat([]string{"diff", "--name-only", "-z"}, of, []string{"--"}, secrets)...)
	})
	all.Go(func() { links, errs[3] = gitlinks(ctx, tree) })
	all.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return commit, quant.Errorf(quant.Failed, "ask git what differs: %w", reason(err))
	}
	for name := range strings.SplitSeq(string(hidden), "\x00") {
		if name != "" {
			c.leaveOut(prefix+name, "a file of secrets")
		}
	}
	root, err := os.OpenRoot(tree)
	if err != nil {
		return commit, quant.Errorf(quant.Failed, "read the work tree: %w", err)
	}
	defer func() { _ = root.Close() }() // it was only read
	c.Patch = append(c.Patch, tracked...)
	inside, untracked := slices.Sorted(maps.Keys(links)), 0
	for name := range strings.SplitSeq(string(names), "\x00") {
		if name == "" || skip(filepath.Join(tree, name)) {
			continue
		}
		if folder, found := strings.CutSuffix(name, "/"); found {
			inside = append(inside, folder)
			continue
		}
		if isSecretFile(name) {
			c.leaveOut(prefix+name, "a file of secrets")
			continue
		}
		text, mode := untrackedText(root, name)
		switch {
		case mode == "":
			c.leaveOut(prefix+name, "new, and no text of at most 256 KiB")
			continue
		case untracked+len(text) > maxUntracked:
			c.leaveOut(prefix+name, "new, and there are more than 16 MiB of new files")
			continue
		}
		untracked += len(text)
		c.Patch = appendNewFile(c.Patch, prefix+name, mode, text)
	}
	for _, name := range inside {
		c.addInside(ctx, tree, prefix, name, skip)
	}
	return commit, nil
}

// addInside adds a repository inside of tree.
func (c *Changes) addInside(ctx context.Context, tree, prefix, name string, skip func(path string) bool) {
	path := filepath.Join(tree, name)
	if linked(tree, name) || dirOf(filepath.Join(path, ".git")) == "" {
		return // not checked out: its folder is empty
	}
	if len(c.Inside) == maxInside {
		c.leaveOut(prefix+name, "a repository of its own, and there are more than 64")
		return
	}
	at, from := len(c.Inside), len(c.Patch)
	c.Inside = append(c.Inside, Repository{Path: prefix + name, Commit: headOf(dirOf(filepath.Join(path, ".git")))})
	commit, err := c.add(ctx, path, prefix+name+"/", skip)
	inside := &c.Inside[at]
	if commit != "" {
		inside.Commit = commit
	}
	if err != nil {
		c.Patch = c.Patch[:from]
		c.Inside = c.Inside[:at+1]
		inside.NotKept = err.Error()
	}
	inside.Dirty = len(c.Patch) > from
}

// linked reports whether a part of name is a symbolic link, which could lead
// anywhere.
func linked(tree, name string) bool {
	for part := name; part != "." && part != "/"; part = path.Dir(part) {
		info, err := os.Lstat(filepath.Join(tree, part))
		if err != nil && !errors.Is(err, os.ErrNotExist) || err == nil && info.Mode()&os.ModeSymlink != 0 {
			return true
		}
	}
	return false
}

// head is the commit checked out in a work tree, and what its files are compared
// with: without a commit, a tree without files.
func head(ctx context.Context, tree string) (commit, base string, err error) {
	out, err := run(ctx, tree, "rev-parse", "--quiet", "--verify", "HEAD^{commit}")
	if commit = asCommit(strings.TrimSpace(string(out))); err == nil && commit != "" {
		return commit, "HEAD", nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		return "", "", quant.Errorf(quant.Failed, "ask git for the commit: %w", reason(err))
	}
	cmd := command(ctx, tree, "hash-object", "-t", "tree", "--stdin")
	cmd.Stdin = strings.NewReader("")
	out, err = cmd.Output()
	if err != nil {
		return "", "", quant.Errorf(quant.Failed, "ask git for the tree without files: %w", reason(err))
	}
	return "", strings.TrimSpace(string(out)), nil
}

// gitlinks are the paths at which a work tree has other repositories, each with the
// commit that the index holds.
func gitlinks(ctx context.Context, tree string) (map[string]string, error) {
	out, err := run(ctx, tree, "ls-files", "--stage", "--full-name", "-z", ":/")
	links := map[string]string{}
	for entry := range bytes.SplitSeq(out, []byte{0}) {
		if rest, found := bytes.CutPrefix(entry, []byte("160000 ")); found {
			id, name, _ := strings.Cut(string(rest), " ")
			_, name, found = strings.Cut(name, "\t")
			if found && filepath.IsLocal(name) {
				links[name] = id
			}
		}
	}
	return links, err
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
