package durable

import (
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// mark stands in the name of everything temporary, between the name of what is
// being made and random digits: .plan.json.quant-tmp-123.
const mark = ".quant-tmp-"

// maxName is how much of a name goes into that of its temporary file, so that
// the longest name that a file may have (255 bytes) leaves room.
const maxName = 200

// TemporaryPattern matches, for filepath.Match, the names of temporary files and
// folders: what stands in a lab and is old was left by a process that was killed.
const TemporaryPattern = ".*" + mark + "[0-9]*"

// TemporaryPatternOf is TemporaryPattern for those of one path alone.
func TemporaryPatternOf(path string) string {
	name := strings.TrimSuffix(temporaryPattern(path), "*")
	return strings.NewReplacer(`\`, `\\`, `?`, `\?`, `[`, `\[`).Replace(name) + "[0-9]*"
}

// IsTemporary tells whether a file or folder of this name is temporary.
func IsTemporary(name string) bool {
	ok, err := filepath.Match(TemporaryPattern, name)
	return ok && err == nil
}

// TemporaryFolder makes a folder (0700) in dir, for what is taken away again with
// remove. name says in its name what it is for. Errors: the operating system's.
func TemporaryFolder(dir, name string) (path string, remove func() error, err error) {
	path, err = os.MkdirTemp(dir, temporaryPattern(name))
	if err != nil {
		return "", nil, err
	}
	return path, func() error { return os.RemoveAll(path) }, nil
}

// TemporaryFile makes a file (0600) in dir, open for reading and writing, for
// what is taken away again. name says in its name what it is for. Errors: the
// operating system's.
func TemporaryFile(dir, name string) (*os.File, error) {
	return os.CreateTemp(dir, temporaryPattern(name))
}

// temporaryPattern is the pattern for os.CreateTemp of the temporary file of a
// path.
func temporaryPattern(path string) string {
	name := filepath.Base(path)
	if len(name) > maxName {
		name = name[:maxName]
		for !utf8.ValidString(name) && len(name) > maxName-utf8.UTFMax {
			name = name[:len(name)-1]
		}
	}
	// A star would be where the random digits go.
	return "." + strings.ReplaceAll(name, "*", "_") + mark + "*"
}
