// Package secret masks what must be neither stored nor printed: the values of
// secret settings, of flags and KEY=VALUE pairs with a telling name, and the
// credentials in URLs and DSNs. It decides what a secret is; it stores nothing
// and prints nothing. What no rule can know (a password under an innocent
// name, in a file or a query) is written down in docs/architecture.md.
package secret

import (
	"bytes"
	"encoding/json"
	"net/url"
	"regexp"
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

var components = map[string]bool{
	"key": true, "keys": true, "token": true, "tokens": true, "secret": true, "secrets": true,
	"password": true, "passwords": true, "passwd": true, "pwd": true, "passphrase": true,
	"credential": true, "credentials": true, "auth": true, "authorization": true,
	"pgpassword": true, "apikey": true, "accesskey": true, "secretkey": true, "privatekey": true,
	"authtoken": true, "accesstoken": true,
}

// IsName reports whether a flag, variable or parameter of this name holds a
// secret: one of its components (split at punctuation and at aB) is key,
// token, secret, password, passwd, pwd, credential or auth, or a usual
// compound of these.
func IsName(name string) bool {
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

// Masker knows the secret values of one process. The zero Masker applies the
// rules that need no values. Safe for concurrent use.
type Masker struct {
	mu    sync.RWMutex
	known []string // longest first, each in every form it may be written in
}

// Knows returns how many forms of known values there are. It only grows: what
// was masked earlier is to be masked again when it has changed.
func (m *Masker) Knows() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.known)
}

// Know adds a value that is masked from now on wherever it occurs, also in its
// JSON and URL forms. Values under 4 bytes are not searched for.
func (m *Masker) Know(values ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range values {
		v = strings.TrimSpace(v)
		if len(v) < minKnown || v == Placeholder {
			continue
		}
		quoted, _ := json.Marshal(v) // a string always has a JSON form
		for _, form := range []string{v, string(quoted[1 : len(quoted)-1]), url.QueryEscape(v), url.PathEscape(v)} {
			if !slices.Contains(m.known, form) {
				m.known = append(m.known, form)
			}
		}
	}
	slices.SortFunc(m.known, func(a, b string) int {
		if d := len(b) - len(a); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
}

var (
	// scheme://user:password@host, also where the password holds an @.
	urlUser = onUse(`([A-Za-z][A-Za-z0-9+.\-]*://)[^\s/?#"'<>]*@`)
	// user:password@tcp(host) and user:password@host, without a scheme.
	dsnUser = onUse(`(^|[\s"'=(,])[^\s:/@"'=(,]+:[^\s/@"']+@([A-Za-z0-9\[(])`)
	// NAME=VALUE, NAME = 'VALUE', "name":"value", and ?name=value&...
	pair = onUse(`([A-Za-z0-9_.\-]+)(\\?["']?[ \t]*[=:][ \t]*)(\\?"(?:[^"\\]|\\.)*"|'[^']*'|(?:(?i:bearer|basic)\s+)?[^\s&;,"'})\]]+)`)
	// --name value inside a text.
	flagPair = onUse(`--?([A-Za-z][A-Za-z0-9_.\-]*)([ \t]+)("(?:[^"\\]|\\.)*"|'[^']*'|[^\s"']+)`)
)

// onUse compiles an expression when it is first needed: nothing is done at
// start-up.
func onUse(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// Text masks every secret that the rules find in s.
func (m *Masker) Text(s string) string {
	s = m.Known(s)
	if strings.ContainsRune(s, '@') {
		s = urlUser().ReplaceAllString(s, "${1}"+Placeholder+"@")
		s = dsnUser().ReplaceAllString(s, "${1}"+Placeholder+"@${2}")
	}
	if strings.ContainsAny(s, "=:") {
		s = maskAfter(pair(), s, func(name, sep, value string) bool {
			// "duplicate key: (AAPL, ...)" is prose; "password: x" is not.
			prose := strings.EqualFold(name, "key") && strings.Contains(sep, ":") && !strings.ContainsAny(sep, `"'`)
			return IsName(name) && !prose
		})
	}
	if strings.Contains(s, "-") {
		s = maskAfter(flagPair(), s, func(name, _, value string) bool {
			return IsName(name) && !strings.HasPrefix(value, "-")
		})
	}
	return s
}

// maskAfter replaces the value (group 3) of every match of re (name, separator,
// value) for which isSecret says so. Where it says no, the value itself is
// searched too: in x=https://h/?token=y the name x is no secret, token is.
func maskAfter(re *regexp.Regexp, s string, isSecret func(name, sep, value string) bool) string {
	var out strings.Builder
	for {
		at := re.FindStringSubmatchIndex(s)
		if at == nil {
			out.WriteString(s)
			return out.String()
		}
		name, sep, value := s[at[2]:at[3]], s[at[4]:at[5]], s[at[6]:at[7]]
		out.WriteString(s[:at[6]])
		s = s[at[6]:]
		if isSecret(name, sep, value) {
			out.WriteString(requote(value))
			s = s[len(value):]
		}
	}
}

// requote keeps the quotes of a masked value, so that JSON stays JSON.
func requote(value string) string {
	for _, q := range []string{`\"`, `"`, `'`} {
		if strings.HasPrefix(value, q) && strings.HasSuffix(value, q) && len(value) >= 2*len(q) {
			return q + Placeholder + q
		}
	}
	return Placeholder
}

// Known masks only the known values: for output that must otherwise stay as it
// is.
func (m *Masker) Known(s string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, v := range m.known {
		s = strings.ReplaceAll(s, v, Placeholder)
	}
	return s
}

// KnownBytes is Known for bytes; it returns b itself when there is nothing to
// mask.
func (m *Masker) KnownBytes(b []byte) []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, v := range m.known {
		if bytes.Contains(b, []byte(v)) {
			b = bytes.ReplaceAll(b, []byte(v), []byte(Placeholder))
		}
	}
	return b
}

// Beginning returns how many bytes at the end of b could be the beginning of a
// known value that what follows completes.
func (m *Masker) Beginning(b []byte) int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	longest := 0
	for _, v := range m.known {
		for n := min(len(v)-1, len(b)); n > longest; n-- {
			if string(b[len(b)-n:]) == v[:n] {
				longest = n
			}
		}
	}
	return longest
}

// Args returns argv masked: --name=value and NAME=VALUE with a telling name,
// the argument after such a flag, and in every other argument what Text finds.
// The values it masks by name are known from then on, so that an error message
// that repeats one is masked too.
func (m *Masker) Args(argv []string) []string {
	out := make([]string, len(argv))
	takesNext := false
	for i, arg := range argv {
		name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		isFlag := strings.HasPrefix(arg, "-") && arg != "-" && arg != "--"
		switch {
		case takesNext && arg != "--":
			if !strings.HasPrefix(arg, "--") {
				m.Know(arg)
			}
			out[i], takesNext = Placeholder, false
			continue
		case joined && isPlainName(name) && IsName(name):
			m.Know(value)
			out[i] = arg[:len(arg)-len(value)] + Placeholder
		default:
			out[i] = arg
		}
		takesNext = isFlag && !joined && IsName(name)
	}
	for i, arg := range out {
		if arg != Placeholder {
			out[i] = m.Text(arg)
		}
	}
	return out
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
// whole value under a telling name, and Text in every other string.
func (m *Masker) Value(name string, v any) any {
	switch v := v.(type) {
	case nil, bool:
		return v
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[m.Text(k)] = m.Value(k, item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = m.Value(name, item)
		}
		return out
	case string:
		if name != "" && IsName(name) && v != "" {
			m.Know(v)
			return Placeholder
		}
		return m.Text(v)
	default:
		if name != "" && IsName(name) {
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
