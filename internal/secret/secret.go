// Package secret masks what must be neither stored nor printed: the values of
// secret settings, of flags and KEY=VALUE pairs with a telling name, and the
// credentials in URLs and DSNs. It decides what a secret is; it stores nothing
// and prints nothing. What no rule can know (a password under an innocent
// name, in a file or a query) is written down in docs/architecture.md.
package secret

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// Placeholder stands where a secret was.
const Placeholder = "***"

// minKnown is the shortest known value, in bytes, that is masked wherever it
// occurs: a shorter one would tear numbers and words that have nothing to do
// with it. It is still masked in its own place.
const minKnown = 4

// setArg is the flag of `runs rerun` by which an argument that was masked is given
// again, as N=VALUE.
const setArg = "set-arg"

// keepSecrets is the flag of `exec` that speaks of secrets and holds none.
const keepSecrets = "keep-secrets"

// isFlag reports whether a flag of this name holds a secret.
func isFlag(name string) bool { return name == setArg || IsName(name) }

var components = map[string]bool{
	"key": true, "keys": true, "token": true, "tokens": true, "secret": true, "secrets": true,
	"password": true, "passwords": true, "passwd": true, "pwd": true, "passphrase": true,
	"credential": true, "credentials": true, "auth": true, "authorization": true,
	"pgpassword": true, "sslpassword": true, "apikey": true, "accesskey": true, "secretkey": true, "privatekey": true,
	"authtoken": true, "accesstoken": true,
}

// IsName reports whether a flag, variable or parameter of this name holds a
// secret: one of its components (split at punctuation and at aB) is key,
// token, secret, password, passwd, pwd, credential or auth, or a usual
// compound of these. The class of an error (KeyError, jwt.InvalidTokenError) is no
// such name: what follows it is what went wrong.
func IsName(name string) bool {
	if strings.TrimLeft(name, "-") == keepSecrets || isErrorClass(name) {
		return false
	}
	start, prevLower := 0, false
	for i, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			if components[strings.ToLower(name[start:i])] {
				return true
			}
			start, prevLower = i+len(string(r)), false
		case unicode.IsUpper(r) && prevLower:
			if components[strings.ToLower(name[start:i])] {
				return true
			}
			start, prevLower = i, false
		default:
			prevLower = unicode.IsLower(r)
		}
	}
	return components[strings.ToLower(name[start:])]
}

// isErrorClass reports whether a name is that of a class of errors as languages
// write one: in capitals and small letters, after dots or none.
func isErrorClass(name string) bool {
	class := name[strings.LastIndexByte(name, '.')+1:]
	if class == "" || class[0] < 'A' || class[0] > 'Z' || !isPlainName(class) || strings.ContainsAny(class, "-_") {
		return false
	}
	return strings.HasSuffix(class, "Error") || strings.HasSuffix(class, "Exception") || strings.HasSuffix(class, "Warning")
}

// Masker knows the secret values of one process. The zero Masker applies the
// rules that need no values. Safe for concurrent use.
type Masker struct {
	mu     sync.RWMutex
	values []string
	known  []form // longest first, of each value every form it may be written in
	many   bool   // ServesMany

	versions map[string]bool // KnowVersions
}

// form is how a known value may stand in a text.
type form struct {
	text string
	kind formKind
}

type formKind int

const (
	asItIs   formKind = iota
	inURL             // it holds a %
	inBase64          // a part of a longer word
)

// Knows returns how many forms of known values there are. It only grows: what
// was masked earlier is to be masked again when it has changed.
func (m *Masker) Knows() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.known)
}

// KnowVersions adds names of versions of features: features_daily:NAME@VERSION in a
// text then names no user, password and host.
func (m *Masker) KnowVersions(versions ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.versions == nil {
		m.versions = map[string]bool{}
	}
	for _, v := range versions {
		m.versions[v] = true
	}
}

func (m *Masker) knowsVersion(version string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.versions[version]
}

// Know adds a value that is masked from now on wherever it occurs, also in its
// JSON, URL, CSV and SQL forms, and from 8 bytes on within base64. Values under 4
// bytes are not searched for, nor are true and false.
func (m *Masker) Know(values ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range values {
		v = strings.TrimSpace(v)
		if len(v) < minKnown || v == Placeholder || v == "true" || v == "false" {
			continue
		}
		if !slices.Contains(m.values, v) {
			m.values = append(m.values, v)
		}
		html, _ := json.Marshal(v) // a string always has a JSON form
		plain := appendString(nil, v)
		for _, form := range []string{
			v, string(html[1 : len(html)-1]), string(plain[1 : len(plain)-1]), strings.ReplaceAll(v, " ", "+"), // a URL without a %
			strings.ReplaceAll(v, `"`, `""`), strings.ReplaceAll(v, `'`, `''`), // CSV, SQL
		} {
			m.add(form, asItIs)
		}
		for _, form := range percentForms(v) {
			m.add(form, inURL)
		}
		for _, form := range base64Forms(v) {
			m.add(form, inBase64)
		}
	}
	slices.SortFunc(m.known, func(a, b form) int {
		if d := len(b.text) - len(a.text); d != 0 {
			return d
		}
		return strings.Compare(a.text, b.text)
	})
}

// ServesMany says that this process works for many at once, for long: what is
// masked because of its name is masked in its place from now on, and no longer
// wherever it occurs. Otherwise the token that one client calls "mean" would take
// every other's mean away.
func (m *Masker) ServesMany() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.many = true
}

// learn is Know for what was masked because of its name.
func (m *Masker) learn(values ...string) {
	m.mu.RLock()
	many := m.many
	m.mu.RUnlock()
	if !many {
		m.Know(values...)
	}
}

func (m *Masker) add(text string, kind formKind) {
	if !slices.ContainsFunc(m.known, func(f form) bool { return f.text == text }) {
		m.known = append(m.known, form{text, kind})
	}
}

// KnowVariable adds what a variable with a telling name holds, if it is long
// enough not to be a common word, and not a path (SSH_AUTH_SOCK).
func (m *Masker) KnowVariable(name, value string) {
	if IsName(name) && len(value) >= 8 && !strings.HasPrefix(value, "/") {
		m.Know(value)
	}
}

// Known masks only the known values: for output that must otherwise stay as it
// is.
func (m *Masker) Known(s string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	escaped := strings.IndexByte(s, '%') >= 0
	for _, f := range m.known {
		switch {
		case f.kind == inURL && !escaped || len(f.text) > len(s):
		case f.kind == inBase64:
			if strings.Contains(s, f.text) {
				s = maskBase64(s, f.text)
			}
		default:
			s = strings.ReplaceAll(s, f.text, Placeholder)
		}
	}
	return s
}

// KnownBytes is Known for bytes; it returns b itself when there is nothing to
// mask.
func (m *Masker) KnownBytes(b []byte) []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	escaped := bytes.IndexByte(b, '%') >= 0
	for _, f := range m.known {
		if f.kind == inURL && !escaped || len(f.text) > len(b) || !bytes.Contains(b, []byte(f.text)) {
			continue
		}
		if f.kind == inBase64 {
			b = []byte(maskBase64(string(b), f.text))
			continue
		}
		b = bytes.ReplaceAll(b, []byte(f.text), []byte(Placeholder))
	}
	return b
}

// Args returns argv masked: --name=value and NAME=VALUE with a telling name,
// the argument after such a flag, and in every other argument what Text finds.
// The values it masks by name are known from then on, so that an error message
// that repeats one is masked too, unless ServesMany was said.
func (m *Masker) Args(argv []string) []string {
	out := make([]string, len(argv))
	takesNext := false
	for i, arg := range argv {
		name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		flag := strings.HasPrefix(arg, "-") && arg != "-" && arg != "--"
		switch {
		case takesNext && arg != "--":
			if !strings.HasPrefix(arg, "--") {
				m.learn(arg, afterNumber(arg))
			}
			out[i], takesNext = Placeholder, false
			continue
		case joined && isPlainName(name) && isFlag(name):
			m.learn(value, afterNumber(value))
			out[i] = arg[:len(arg)-len(value)] + Placeholder
		default:
			out[i] = arg
		}
		takesNext = flag && !joined && isFlag(name)
	}
	for i, arg := range out {
		if arg != Placeholder {
			out[i] = m.Text(arg)
		}
	}
	return out
}

// afterNumber is the VALUE of an N=VALUE, and "" of anything else.
func afterNumber(s string) string {
	n, value, _ := strings.Cut(s, "=")
	if strings.Trim(n, "0123456789") != "" {
		return ""
	}
	return value
}

func isPlainName(s string) bool {
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '_' && r != '.' {
			return false
		}
	}
	return s != ""
}

// Value masks a decoded JSON value (map[string]any, []any, string, ...): the
// whole value under a telling name, however deep, and Text in every other
// string.
func (m *Masker) Value(name string, v any) any {
	switch v := v.(type) {
	case nil, bool:
		return v
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			under := k
			if isFlag(name) {
				under = name
			}
			out[m.Text(k)] = m.Value(under, item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = m.Value(name, item)
		}
		return out
	case string:
		if name != "" && isFlag(name) && v != "" {
			m.learn(v)
			return Placeholder
		}
		return m.Text(v)
	default:
		if name != "" && isFlag(name) {
			return Placeholder
		}
		return v
	}
}

// JSON masks a JSON document and keeps it valid: numbers keep their digits,
// objects get their keys sorted.
func (m *Masker) JSON(doc []byte) ([]byte, error) {
	var v any
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return json.Marshal(m.Value("", v))
}
