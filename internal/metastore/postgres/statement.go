package postgres

import (
	"strconv"
	"strings"
	"sync"
)

// translations are statements as PostgreSQL takes them, by the text that they were
// written in: each is made once. Searches make texts of their own without end, so they
// are forgotten when there are many.
type translations struct {
	mu    sync.Mutex
	known map[string]string
}

// translated are those of all connections.
var translated translations

const mostTranslations = 2048

func (t *translations) of(text string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if made, ok := t.known[text]; ok {
		return made
	}
	if t.known == nil || len(t.known) >= mostTranslations {
		t.known = map[string]string{}
	}
	made := translate(text)
	t.known[text] = made
	return made
}

// translate writes a statement of package relational, which is written for both
// engines, as PostgreSQL takes it. Outside of quotes and comments
//
//   - ? and ?2 become $1 and $2,
//   - json_each(?) alias, a list with key and value, becomes unnest of an array of texts, with the same columns,
//   - what SQLite is told of how to find rows, which says nothing of which they are, goes:
//     INDEXED BY name, NOT INDEXED, a + before a name, the CROSS of a CROSS JOIN, which has
//     an ON there,
//   - the column user, which is a function of PostgreSQL, is quoted.
//
// Everything else stays as it is.
func translate(text string) string {
	t := translation{rest: text}
	for t.rest != "" {
		t.step()
	}
	return t.made.String()
}

type translation struct {
	made  strings.Builder
	rest  string
	bound int  // the highest number of what is bound so far
	after byte // the last byte that was written, but for spaces
}

func (t *translation) write(s string) {
	t.made.WriteString(s)
	if s = strings.TrimRight(s, " \t\n"); s != "" {
		t.after = s[len(s)-1]
	}
}

// take writes the first n bytes of the rest as they are.
func (t *translation) take(n int) {
	t.write(t.rest[:n])
	t.rest = t.rest[n:]
}

func (t *translation) step() {
	switch c := t.rest[0]; {
	case c == '\'' || c == '"':
		end := strings.IndexByte(t.rest[1:], c)
		if end < 0 {
			end = len(t.rest) - 2
		}
		t.take(end + 2) // a doubled quote begins another text beside it
	case strings.HasPrefix(t.rest, "--"):
		t.take(len(line(t.rest)))
	case strings.HasPrefix(t.rest, "/*"):
		_, after, closed := strings.Cut(t.rest[2:], "*/")
		if !closed {
			after = ""
		}
		t.take(len(t.rest) - len(after))
	case c == '?':
		t.rest = t.rest[1:]
		t.write(t.parameter())
	case c == '+' && len(t.rest) > 1 && begins(t.rest[1]):
		t.rest = t.rest[1:]
	case begins(c):
		t.word()
	case c >= '0' && c <= '9':
		n := 1
		for n < len(t.rest) && (goesOn(t.rest[n]) || t.rest[n] == '.') {
			n++
		}
		t.take(n)
	default:
		t.take(1)
	}
}

func line(s string) string {
	if n := strings.IndexByte(s, '\n'); n >= 0 {
		return s[:n]
	}
	return s
}

// parameter is what is bound by the ? that has just been taken.
func (t *translation) parameter() string {
	digits := len(t.rest) - len(strings.TrimLeft(t.rest, "0123456789"))
	n, err := strconv.Atoi(t.rest[:digits])
	if err != nil {
		n = t.bound + 1
	}
	t.rest = t.rest[digits:]
	t.bound = max(t.bound, n)
	return "$" + strconv.Itoa(n)
}

func begins(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80 }

func goesOn(c byte) bool { return begins(c) || c >= '0' && c <= '9' || c == '$' }

// next is the word that the rest begins with, behind spaces.
func next(s string) (word, rest string) {
	s = strings.TrimLeft(s, " \t\n")
	n := 0
	for n < len(s) && (n == 0 && begins(s[n]) || n > 0 && goesOn(s[n])) {
		n++
	}
	return s[:n], s[n:]
}

func (t *translation) word() {
	word, rest := next(t.rest)
	second, behind := next(rest)
	switch {
	case t.after == '.':
		t.take(len(word))
	case word == "user":
		t.write(`"user"`)
		t.rest = rest
	case word == "CROSS" && second == "JOIN":
		t.rest = strings.TrimLeft(rest, " \t\n")
	case word == "NOT" && second == "INDEXED":
		t.rest = behind
	case word == "INDEXED" && second == "BY":
		_, t.rest = next(behind)
	case word == "json_each" && strings.HasPrefix(rest, "(?"):
		t.rest = rest[2:]
		list := t.parameter()
		t.rest = strings.TrimPrefix(t.rest, ")")
		t.write(`(SELECT ordinality - 1 AS key, value FROM unnest(CAST(` + list + ` AS text[])) WITH ORDINALITY AS u (value, ordinality))`)
		if alias, _ := next(t.rest); alias == "" || strings.ToUpper(alias) == alias {
			t.write(` AS listed`)
		}
	default:
		t.take(len(word))
	}
}
