package secret

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"sync"

	"quant/internal/dataset"
)

// flagName is the start of "--name value" inside a text.
var flagName = sync.OnceValue(func() *regexp.Regexp { // nothing is done at start-up
	return regexp.MustCompile(`--?([A-Za-z][A-Za-z0-9_.\-]*)[ \t]+`)
})

// Text masks every secret that the rules find in s. A text that is a JSON
// object or array stays one: if it holds a secret, its keys come out sorted.
// The time it takes is linear in the length of s.
func (m *Masker) Text(s string) string {
	s = maskTokens(m.Known(s))
	if doc, ok := m.document(s); ok {
		return doc
	}
	if strings.ContainsRune(s, '@') {
		s = maskUsers(s, m.knowsVersion)
	}
	if strings.ContainsAny(s, "=:") {
		s = maskPairs(s)
	}
	if strings.Contains(s, "-") {
		s = maskFlags(s)
	}
	return s
}

// document masks s if it is one JSON object or array, and says whether it is.
func (m *Masker) document(s string) (masked string, ok bool) {
	trimmed := strings.TrimSpace(s)
	if trimmed == "" || trimmed[0] != '{' && trimmed[0] != '[' {
		return "", false
	}
	dec := json.NewDecoder(strings.NewReader(trimmed))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return "", false
	}
	if _, err := dec.Token(); err != io.EOF {
		return "", false
	}
	before, errBefore := plainJSON(v)
	after, errAfter := plainJSON(m.Value("", v))
	if errBefore != nil || errAfter != nil {
		return "", false
	}
	if bytes.Equal(before, after) {
		return s, true
	}
	return string(after), true
}

// plainJSON is v as JSON, with < > and & as they are.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isQuote(c byte) bool { return c == '"' || c == '\'' || c == '`' }

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-'
}

// endsQuote reports whether the quote at s[i] can be a closing one: what stands
// in front of it is not part of a word that goes on behind it.
func endsQuote(s string, i int) bool {
	return isQuote(s[i]) && (i+1 == len(s) || isSpace(s[i+1]) || strings.IndexByte(",;)]}>:&|\\\"'`", s[i+1]) >= 0)
}

// maskUsers masks the user information of URLs (scheme://user:password@host)
// and of DSNs without a scheme (user:password@tcp(host)). A word in which every
// @ is that of a dataset's version (targets:S@1.0.0; version knows those of features)
// names no user.
func maskUsers(s string, version func(string) bool) string {
	var out strings.Builder
	start := 0
	for i := 0; i <= len(s); i++ {
		if i == len(s) || isSpace(s[i]) || endsQuote(s, i) {
			if word := s[start:i]; strings.Contains(dataset.Without(word, version), "@") {
				out.WriteString(maskUser(word))
			} else {
				out.WriteString(word)
			}
			if i < len(s) {
				out.WriteByte(s[i])
			}
			start = i + 1
		}
	}
	return out.String()
}

// maskUser masks the user information in a text without spaces. A password may
// hold any of / ? # @, also where it should have been escaped: it lasts until
// the last @.
func maskUser(s string) string {
	if last := strings.LastIndexByte(s, '@'); last >= 0 && !namesProtocol(s[last+1:]) {
		for at := 0; ; {
			i := strings.Index(s[at:last], "://")
			if i < 0 {
				break
			}
			at += i + len("://")
			if at == len("://") || !isNameByte(s[at-len("://")-1]) {
				continue // no scheme
			}
			authority := s[at:]
			if end := strings.IndexAny(authority, "/?#"); end >= 0 {
				authority = authority[:end]
			}
			hasUser := authority == "" && s[at] != '/' || strings.ContainsRune(authority, '@') || strings.ContainsRune(authority, ':') && authority[0] != '['
			if hasUser && namesRole(s[:at], s[at:last]) {
				break
			}
			if hasUser {
				s = s[:at] + Placeholder + s[last:]
				break
			}
		}
	}
	last := len(s)
	for {
		if last = strings.LastIndexByte(s[:last], '@'); last < 0 {
			return s
		}
		if next := s[last+1:]; next != "" && (next[0] >= 0x80 || isNameByte(next[0]) || strings.IndexByte("[(/", next[0]) >= 0) {
			break
		}
	}
	// What stands behind a scheme is a URL, not a DSN, unless it names a protocol.
	from, isDSN := 0, namesProtocol(s[last+1:])
	if scheme := strings.LastIndex(s[:last], "://"); scheme > 0 && isNameByte(s[scheme-1]) && !isDSN {
		from = scheme + len("://")
	}
	for user := from; user < last; {
		end := user + strings.IndexAny(s[user:last], `:"'`+"`"+`=(,;&?[{|/`)
		if end < user {
			return s
		}
		isScheme := strings.HasPrefix(s[end:], "://") && !isDSN
		startsHere := user == 0 || strings.IndexByte(`"'`+"`"+`=(,;&?[{|`, s[user-1]) >= 0
		if s[end] == ':' && end > user && end+1 < last && startsHere && !isScheme {
			return s[:user] + Placeholder + s[last:]
		}
		user = end + 1
	}
	return s
}

// namesRole reports whether what stands before the @ of a URL is the name of a role of
// PostgreSQL and nothing else: no service of that takes a token for a name.
func namesRole(before, user string) bool {
	before = strings.TrimSuffix(before, "://")
	if !strings.HasSuffix(before, "postgres") && !strings.HasSuffix(before, "postgresql") {
		return false
	}
	return user != "" && until(user, func(i int) bool { return !isNameByte(user[i]) }) == len(user)
}

// namesProtocol reports whether s begins like tcp(host).
func namesProtocol(s string) bool {
	n := until(s, func(i int) bool { return !isNameByte(s[i]) })
	return n > 0 && n < len(s) && s[n] == '('
}

// maskPairs masks the value of NAME=VALUE, name: value, "name":"value" and
// ?name=value& where the name tells.
func maskPairs(s string) string {
	var out strings.Builder
	written, floor := 0, 0 // s[:written] is in out; a name does not begin before floor
	for {
		i := strings.IndexAny(s[floor:], "=:")
		if i < 0 {
			out.WriteString(s[written:])
			return out.String()
		}
		p := pairAt(s, floor, floor+i)
		floor = p.value
		if p.isSecret(s) {
			if n := p.length(s); n > 0 {
				out.WriteString(s[written:p.value])
				out.WriteString(requote(s[p.value : p.value+n]))
				written = p.value + n
				floor = written
			}
		}
	}
}

// pair is a name, a separator and the place of its value in a text.
type pair struct {
	name   string
	sep    byte // = or :
	quoted bool // the name stands in quotes
	before int  // where the name begins
	value  int  // where the value begins
}

func pairAt(s string, floor, sep int) pair {
	p := pair{sep: s[sep], value: sep + 1}
	end := sep
	for end > floor && (s[end-1] == ' ' || s[end-1] == '\t') {
		end--
	}
	if end > floor && isQuote(s[end-1]) {
		p.quoted = true
		for end--; end > floor && s[end-1] == '\\'; {
			end--
		}
	}
	p.before = end
	for p.before > floor && isNameByte(s[p.before-1]) {
		p.before--
	}
	p.name = s[p.before:end]
	if p.value < len(s) && (s[p.value] == '=' || s[p.value] == '>') { // ==, := and =>
		p.value++
	}
	for p.value < len(s) && (s[p.value] == ' ' || s[p.value] == '\t') {
		p.value++
	}
	return p
}

func (p pair) isSecret(s string) bool {
	if !IsName(p.name) {
		return false
	}
	if p.sep == ':' && !p.quoted {
		// "duplicate key: (AAPL, ...)" is prose, KEY.csv:12 a line of a file.
		return !strings.EqualFold(p.name, "key") && !(isFileName(p.name) && startsWithNumber(s[p.value:]))
	}
	return true
}

func isFileName(name string) bool {
	switch strings.ToLower(name[strings.LastIndexByte(name, '.')+1:]) {
	case "csv", "tsv", "gz", "parquet", "db", "duckdb", "txt", "json", "log", "sql", "go", "md":
		return strings.Contains(name, ".")
	}
	return false
}

func startsWithNumber(s string) bool {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n > 0 && n < 10 && (n == len(s) || !isNameByte(s[n]) || s[n] == '.' && (n+1 == len(s) || isSpace(s[n+1])))
}

// length is how long the value is. Where the text does not say where a value
// ends, it is rather too long than too short.
func (p pair) length(s string) int {
	v := s[p.value:]
	if v == "" {
		return 0
	}
	if n := quotedLength(v); n > 0 {
		return n
	}
	if after, ok := strings.CutPrefix(v, Placeholder+"?"); ok && after != "" && isNameByte(after[0]) { // masked, and the end of a URL without a scheme
		return len(Placeholder)
	}
	if v[0] == '[' || v[0] == '{' {
		n := bracketLength(v)
		if !p.quoted {
			n = max(n+wordLength(v[n:]), p.listLength(s))
		}
		return n
	}
	if name := strings.ToLower(p.name); strings.HasSuffix(name, "authorization") {
		return p.headerLength(s)
	}
	inQuery := p.before > 0 && (s[p.before-1] == '?' || s[p.before-1] == '&')
	switch {
	case p.quoted:
		return until(v, func(i int) bool { return isSpace(v[i]) || strings.IndexByte(",}])", v[i]) >= 0 || isQuote(v[i]) })
	case inQuery:
		return until(v, func(i int) bool { return isSpace(v[i]) || strings.IndexByte("&;#", v[i]) >= 0 || isQuote(v[i]) })
	}
	if n := p.listLength(s); n > 0 {
		return n
	}
	n := wordLength(v)
	switch strings.ToLower(v[:n]) {
	case "bearer", "basic", "token", "digest", "negotiate", "apikey":
		next := n
		for next < len(v) && (v[next] == ' ' || v[next] == '\t') {
			next++
		}
		if next > n && next < len(v) {
			n = next + wordLength(v[next:])
		}
	}
	return n
}

// headerLength is the length of the value of an Authorization header, which
// has several words: to the end of the line, or of the quotes around it.
func (p pair) headerLength(s string) int {
	v := s[p.value:]
	var around byte
	if p.before > 0 && isQuote(s[p.before-1]) {
		around = s[p.before-1]
	}
	return until(v, func(i int) bool { return v[i] == '\n' || v[i] == '\r' || v[i] == around && around != 0 })
}

// listLength is the length of a value in a list user=u;pwd=x y;..., in which a
// value may hold spaces, and 0 outside of one.
func (p pair) listLength(s string) int {
	if p.sep != '=' {
		return 0
	}
	v := s[p.value:]
	before := p.before
	for before > 0 && s[before-1] == ' ' {
		before--
	}
	inList := before > 0 && s[before-1] == ';'
	for i := range len(v) {
		switch {
		case v[i] == ';':
			rest := strings.TrimLeft(v[i+1:min(len(v), i+1+maxListName)], " ")
			name := until(rest, func(i int) bool { return !isNameByte(rest[i]) && rest[i] != ' ' })
			if inList && strings.TrimSpace(rest) == "" || name > 0 && name < len(rest) && rest[name] == '=' {
				if !inList { // perhaps no list at all, but a password with a ; in it
					return max(i, wordLength(v))
				}
				return i
			}
		case v[i] == '\n', endsQuote(v, i):
			if inList {
				return i
			}
			return 0
		case v[i] == '=' && !inList:
			return 0
		}
	}
	if inList {
		return len(v)
	}
	return 0
}

// maxListName is the longest name of a list's next member that is looked for.
const maxListName = 64

// maskFlags masks the value of --name value inside a text.
func maskFlags(s string) string {
	var out strings.Builder
	for {
		at := flagName().FindStringSubmatchIndex(s)
		if at == nil {
			out.WriteString(s)
			return out.String()
		}
		out.WriteString(s[:at[1]])
		name := s[at[2]:at[3]]
		s = s[at[1]:]
		if !IsName(name) || s == "" || s[0] == '-' {
			continue
		}
		n := quotedLength(s)
		if n == 0 {
			n = wordLength(s)
		}
		if n > 0 {
			out.WriteString(requote(s[:n]))
			s = s[n:]
		}
	}
}

// until is the length of the text in front of the first place where stop holds.
func until(s string, stop func(i int) bool) int {
	for i := range len(s) {
		if stop(i) {
			return i
		}
	}
	return len(s)
}

// wordLength is the length of a word: it ends at a space or a closing quote.
func wordLength(s string) int {
	return until(s, func(i int) bool { return isSpace(s[i]) || endsQuote(s, i) })
}

// quotedLength is the length of the quoted text at the beginning of s, with
// what is joined to it, and 0 if there is none. A quote that is not closed
// lasts to the end. The quotes may be escaped themselves: JSON in JSON.
func quotedLength(s string) int {
	level := 0
	for level < len(s) && s[level] == '\\' {
		level++
	}
	if level == len(s) || !isQuote(s[level]) {
		return 0
	}
	quote, run := s[level], 0
	for i := level + 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			run++
			continue
		case s[i] == quote && quote == '\'' && i+1 < len(s) && s[i+1] == quote: // 'it''s'
			i++
		case s[i] == quote && (run%2 == 0 || level > 0 && (run-1)/2%2 == 0):
			n := i + 1
			if n == len(s) || endsQuote(s, i) {
				return n
			}
			return n + wordLength(s[n:])
		}
		run = 0
	}
	return len(s)
}

// bracketLength is the length of the bracketed text at the beginning of s; one
// that is not closed lasts to the end.
func bracketLength(s string) int {
	depth, quote := 0, byte(0)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"':
			quote = c
		case strings.IndexByte("[{(", c) >= 0:
			depth++
		case strings.IndexByte("]})", c) >= 0:
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
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
