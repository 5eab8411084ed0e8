package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"quant"
)

// maxDotenv is the largest .env, in bytes.
const maxDotenv = 1 << 20

// ReadDotenv reads the .env file at path. A file that does not exist is empty.
// Errors are Usage and name the line, never its text: it may hold a secret.
// Then vars is nil, but seen still holds what the file seems to say, as
// NAME=VALUE: to be masked, and for nothing else.
func ReadDotenv(path string) (vars map[string]string, seen []string, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe of this name does not make it wait
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, quant.Errorf(quant.Usage, "settings: %w", err).WithHint("make .env readable, or move it away")
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, nil, quant.Errorf(quant.Usage, "settings: %s is not a regular file", path).WithHint("move it away")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxDotenv+1))
	if err != nil {
		return nil, nil, quant.Errorf(quant.Usage, "settings: %w", err).WithHint("make .env readable, or move it away")
	}
	vars, seen, line, problem := ParseDotenv(text)
	if problem != "" {
		return nil, seen, quant.Errorf(quant.Usage, "settings: %s line %d: %s", path, line, problem).
			WithHint(`write one NAME=VALUE a line; quote a value that has spaces or # in it`)
	}
	return vars, seen, nil
}

// ParseDotenv reads NAME=VALUE lines: an optional "export " before the name,
// # comments, single quotes (literal) and double quotes (\n \t \" \\ \$ are
// understood). A value is one line. $ has no meaning: a key may contain one,
// which is why this is not a library that expands variables. problem is empty
// on success; otherwise it says what is wrong in line, counted from 1. A name
// given twice has its last value.
//
// seen holds every value of the file as NAME=VALUE, also those of bad lines, in
// each way in which a bad one may have been meant.
func ParseDotenv(text []byte) (vars map[string]string, seen []string, line int, problem string) {
	vars = map[string]string{}
	bad := func(at int, why string) {
		if problem == "" {
			vars, line, problem = nil, at, why
		}
	}
	if len(text) > maxDotenv {
		bad(1, "the file is larger than 1 MiB")
		text = text[:maxDotenv]
	}
	s := strings.TrimPrefix(string(text), "\ufeff")
	for at := 1; s != ""; at++ {
		raw, rest, _ := strings.Cut(s, "\n")
		s = rest
		raw = strings.TrimSpace(strings.TrimSuffix(raw, "\r"))
		if raw == "" || raw[0] == '#' {
			continue
		}
		name, value, why := dotenvLine(raw)
		if why != "" {
			bad(at, why)
			seen = append(seen, guesses(raw)...)
			continue
		}
		seen = append(seen, name+"="+value)
		if problem == "" {
			vars[name] = value
		}
	}
	return vars, seen, line, problem
}

// dotenvLine reads one line that is neither empty nor a comment.
func dotenvLine(raw string) (name, value, problem string) {
	if !utf8.ValidString(raw) || strings.ContainsRune(raw, 0) {
		return "", "", "not UTF-8 text"
	}
	name, value, found := strings.Cut(raw, "=")
	name = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), "export "))
	if !found || !isVariable(name) {
		return "", "", "not of the form NAME=VALUE"
	}
	value = strings.TrimSpace(value)
	switch {
	case strings.HasPrefix(value, `"`):
		value, problem = doubleQuoted(value[1:])
	case strings.HasPrefix(value, `'`):
		body, after, closed := strings.Cut(value[1:], `'`)
		if value = body; !closed || !onlyComment(after) {
			problem = "the quote is not closed"
		}
	default:
		if i := strings.Index(value, " #"); i >= 0 {
			value = strings.TrimSpace(value[:i])
		}
	}
	return name, value, problem
}

// guesses is what a bad line may have been meant to say, as NAME=VALUE: all of
// it, without its comment, without its quotes, and what stands in them.
func guesses(raw string) []string {
	i := strings.IndexAny(raw, "=:")
	if i < 0 {
		return nil
	}
	name := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(raw[:i]), "export "))
	value := strings.TrimSpace(raw[i+1:])
	plain, _, _ := strings.Cut(value, " #")
	values := []string{value, strings.Trim(value, `"'`), plain, strings.Trim(plain, `"' `)}
	if value != "" && (value[0] == '"' || value[0] == '\'') {
		inside, _, _ := strings.Cut(value[1:], value[:1])
		values = append(values, inside)
	}
	values = append(values, strings.FieldsFunc(strings.ToValidUTF8(value, "\x00"), func(r rune) bool { return r == 0 })...)
	var out []string
	for _, v := range values {
		if pair := name + "=" + v; v != "" && !slices.Contains(out, pair) {
			out = append(out, pair)
		}
	}
	return out
}

func doubleQuoted(s string) (value, problem string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			if !onlyComment(s[i+1:]) {
				return "", "there is text after the closing quote"
			}
			return b.String(), ""
		case c == '\\' && i+1 < len(s):
			i++
			switch s[i] {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case '"', '\\', '$':
				b.WriteByte(s[i])
			default:
				b.WriteByte('\\')
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "the quote is not closed"
}

func onlyComment(s string) bool {
	s = strings.TrimSpace(s)
	return s == "" || s[0] == '#'
}

func isVariable(name string) bool {
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r != '.' && (r < '0' || r > '9')) {
			return false
		}
	}
	return name != ""
}
