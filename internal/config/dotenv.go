package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"unicode/utf8"

	"quant"
)

// maxDotenv is the largest .env, in bytes.
const maxDotenv = 1 << 20

// ReadDotenv reads the .env file at path. A file that does not exist is empty.
// Errors are Usage and name the line, never its text: it may hold a secret.
func ReadDotenv(path string) (map[string]string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe of this name does not make it wait
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, quant.Errorf(quant.Usage, "settings: %w", err).WithHint("make .env readable, or move it away")
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, quant.Errorf(quant.Usage, "settings: %s is not a regular file", path).WithHint("move it away")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxDotenv+1))
	if err != nil {
		return nil, quant.Errorf(quant.Usage, "settings: %w", err)
	}
	vars, line, problem := ParseDotenv(text)
	if problem != "" {
		return nil, quant.Errorf(quant.Usage, "settings: %s line %d: %s", path, line, problem).
			WithHint(`write one NAME=VALUE a line; quote a value that has spaces or # in it`)
	}
	return vars, nil
}

// ParseDotenv reads NAME=VALUE lines: an optional "export " before the name,
// # comments, single quotes (literal) and double quotes (\n \t \" \\ \$ are
// understood). A value is one line. $ has no meaning: a key may contain one,
// which is why this is not a library that expands variables. problem is empty
// on success; otherwise it says what is wrong in line, counted from 1. A name
// given twice has its last value.
func ParseDotenv(text []byte) (vars map[string]string, line int, problem string) {
	if len(text) > maxDotenv {
		return nil, 1, "the file is larger than 1 MiB"
	}
	s := strings.TrimPrefix(string(text), "\ufeff")
	vars = map[string]string{}
	for line = 1; s != ""; line++ {
		raw, rest, _ := strings.Cut(s, "\n")
		s = rest
		raw = strings.TrimSpace(strings.TrimSuffix(raw, "\r"))
		if raw == "" || raw[0] == '#' {
			continue
		}
		if !utf8.ValidString(raw) || strings.ContainsRune(raw, 0) {
			return nil, line, "not UTF-8 text"
		}
		name, value, found := strings.Cut(raw, "=")
		name = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), "export "))
		if !found || !isVariable(name) {
			return nil, line, "not of the form NAME=VALUE"
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
		if problem != "" {
			return nil, line, problem
		}
		vars[name] = value
	}
	return vars, 0, ""
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
