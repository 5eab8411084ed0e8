package git

import (
	"bytes"
	"strconv"
	"strings"
)

// Line is one line of a hunk.
type Line struct {
	Sign byte   // ' ', '+' or '-'
	Text string // without its end
	Old  int    // its number before, from 1; 0: it is new
	New  int    // its number after, from 1; 0: it is gone
}

// Hunk is a part of a patch whose lines follow each other in one file.
type Hunk struct {
	OldFile, NewFile string // "": the file is new, or gone
	Lines            []Line
}

// File is the name of the hunk's file.
func (h Hunk) File() string {
	if h.NewFile != "" {
		return h.NewFile
	}
	return h.OldFile
}

// Rewrite returns a patch with other texts in its lines, as many as there were.
// hunk returns the texts of the lines of a hunk, nil to leave them; other returns
// what stands for a line outside of hunks, of which file is the name as far as it
// is known by then.
func Rewrite(patch []byte, hunk func(h Hunk) []string, other func(file, line string) string) []byte {
	var out bytes.Buffer
	out.Grow(len(patch))
	var h Hunk
	for len(patch) > 0 {
		line, ending := cutLine(patch)
		before, after, ok := hunkRanges(line)
		if !ok {
			switch {
			case strings.HasPrefix(line, "diff --git "):
				h = Hunk{}
			case strings.HasPrefix(line, "--- "):
				h.OldFile = fileOf(line[4:], "a/")
			case strings.HasPrefix(line, "+++ "):
				h.NewFile = fileOf(line[4:], "b/")
			}
			out.WriteString(other(h.File(), line))
			out.WriteString(ending)
			patch = patch[len(line)+len(ending):]
			continue
		}
		out.WriteString(other(h.File(), line))
		out.WriteString(ending)
		patch = patch[len(line)+len(ending):]
		var raw []string // each line with its end, and what says that it has none
		h.Lines = h.Lines[:0]
		rest := patch
		for len(rest) > 0 && (before.n > 0 || after.n > 0 || rest[0] == '\\') {
			text, end := cutLine(rest)
			if text == "" || strings.IndexByte(" +-\\", text[0]) < 0 || text[0] == '\\' && len(raw) == 0 {
				break // no patch of git's
			}
			rest = rest[len(text)+len(end):]
			if text[0] == '\\' {
				raw[len(raw)-1] += text + end
				continue
			}
			l := Line{Sign: text[0], Text: text[1:]}
			if l.Sign != '+' {
				l.Old = before.next()
			}
			if l.Sign != '-' {
				l.New = after.next()
			}
			h.Lines = append(h.Lines, l)
			raw = append(raw, end)
		}
		patch = rest
		texts := hunk(h)
		for i, l := range h.Lines {
			out.WriteByte(l.Sign)
			if texts != nil {
				out.WriteString(texts[i])
			} else {
				out.WriteString(l.Text)
			}
			out.WriteString(raw[i])
		}
	}
	return out.Bytes()
}

func cutLine(b []byte) (line, ending string) {
	if end := bytes.IndexByte(b, '\n'); end >= 0 {
		return string(b[:end]), "\n"
	}
	return string(b), ""
}

// lines counts the lines of one side of a hunk.
type lines struct{ at, n int }

func (l *lines) next() int {
	l.at++
	l.n--
	return l.at - 1
}

// hunkRanges reads @@ -1,2 +3,4 @@.
func hunkRanges(line string) (before, after lines, ok bool) {
	rest, found := strings.CutPrefix(line, "@@ -")
	if !found {
		return before, after, false
	}
	rest, _, found = strings.Cut(rest, " @@")
	a, b, both := strings.Cut(rest, " +")
	if !found || !both {
		return before, after, false
	}
	before, ok = rangeOf(a)
	if !ok {
		return before, after, false
	}
	after, ok = rangeOf(b)
	return before, after, ok
}

func rangeOf(s string) (lines, bool) {
	at, n, found := strings.Cut(s, ",")
	l := lines{n: 1}
	var err, errN error
	l.at, err = strconv.Atoi(at)
	if found {
		l.n, errN = strconv.Atoi(n)
	}
	return l, err == nil && errN == nil && l.at >= 0 && l.n >= 0
}

// fileOf reads the name of a file as git writes it behind --- or +++.
func fileOf(name, prefix string) string {
	name = strings.TrimSuffix(name, "\t")
	if name == "/dev/null" {
		return ""
	}
	return strings.TrimPrefix(unquoted(name), prefix)
}

// unquoted undoes quoted.
func unquoted(name string) string {
	if len(name) < 2 || name[0] != '"' || name[len(name)-1] != '"' {
		return name
	}
	name = name[1 : len(name)-1]
	var out []byte
	for i := 0; i < len(name); i++ {
		if name[i] != '\\' || i+1 == len(name) {
			out = append(out, name[i])
			continue
		}
		i++
		if i+3 <= len(name) {
			if n, err := strconv.ParseUint(name[i:i+3], 8, 8); err == nil {
				out = append(out, byte(n))
				i += 2
				continue
			}
		}
		if at := strings.IndexByte("abtnvfr", name[i]); at >= 0 {
			out = append(out, "\a\b\t\n\v\f\r"[at])
		} else {
			out = append(out, name[i])
		}
	}
	return string(out)
}
