package secret

import (
	"path"
	"strings"
)

// Code masks lines that follow each other in the file of this name, without
// their ends: what Known finds; the literal values under a telling name; the user
// information of URLs; private keys in PEM. It returns lines itself when there is
// nothing to mask, else as many lines.
//
// Other than Text, it leaves alone what merely looks like a secret: code that is
// masked cannot be run again. docs/architecture.md states the rule.
func (m *Masker) Code(file string, lines []string) []string {
	c := code{m: m, form: notationOf(file)}
	c.inKey = endsKeyFirst(lines)
	var out []string
	for i, line := range lines {
		masked := c.line(line)
		if masked != line && out == nil {
			out = append(make([]string, 0, len(lines)), lines[:i]...)
		}
		if out != nil {
			out = append(out, masked)
		}
	}
	if out == nil {
		return lines
	}
	return out
}

// notation is how a file writes values.
type notation int

const (
	program notation = iota // a value is a literal in quotes
	shell                   // a value is a word
	setting                 // a value lasts to the end of its line
	prose                   // nothing is certain
)

func notationOf(file string) notation {
	base := strings.ToLower(path.Base(file))
	switch {
	case strings.HasPrefix(base, ".env"), base == "credentials", base == "config":
		return setting
	case strings.HasPrefix(base, "dockerfile"), strings.HasPrefix(base, "containerfile"), base == "makefile",
		strings.HasPrefix(base, ".bash"), strings.HasPrefix(base, ".zsh"), base == ".profile", base == "renviron", base == ".renviron":
		return shell
	}
	switch path.Ext(base) {
	case ".yaml", ".yml", ".ini", ".cfg", ".conf", ".cnf", ".properties", ".env", ".pgpass", ".netrc", ".config":
		return setting
	case ".sh", ".bash", ".zsh", ".ksh", ".fish", ".envrc", ".bat", ".cmd", ".mk", ".dockerfile", ".sbatch", ".slurm", ".service":
		return shell
	case ".md", ".rst", ".txt", ".log", ".adoc", ".tex", ".qmd", ".rmd", ".csv", ".tsv", "":
		return prose
	}
	return program
}

// code is how far a file has been looked at.
type code struct {
	m     *Masker
	form  notation
	inKey bool // within the body of a private key
	// open is the strength of a name whose value is to follow on the next lines: as
	// one literal, or, in a block of YAML, as all lines that are indented more.
	open   strength
	block  bool
	indent int
	named  strength // of the name: NAME that a line value: X is to follow
}

const (
	beginKey = "-----BEGIN "
	endKey   = "-----END "
	keyKind  = "PRIVATE KEY"
)

// endsKeyFirst reports whether a private key ends in lines that begin with its
// body.
func endsKeyFirst(lines []string) bool {
	for _, line := range lines {
		if at := strings.Index(line, keyKind); at >= 0 {
			return strings.Contains(line[:at], endKey) && !strings.Contains(line[:at], beginKey)
		}
	}
	return false
}

func (c *code) line(s string) string {
	s = maskTokens(c.m.Known(s))
	s = c.privateKey(s)
	if masked, done := c.following(s); done {
		return masked
	}
	if strings.Contains(s, "://") || strings.Contains(s, "@tcp(") || strings.Contains(s, "@unix(") {
		s = maskCodeURLs(s)
	}
	if c.named != none || mayTell(s) {
		s = c.pairs(s)
	}
	return s
}

// privateKey masks what of a PEM block stands in a line.
func (c *code) privateKey(s string) string {
	if c.inKey {
		end := strings.Index(s, endKey)
		text := s
		if end >= 0 {
			text = s[:end]
		}
		from, to, ok := keyBody(text)
		c.inKey = ok && end < 0
		switch {
		case end >= 0:
			rest := c.privateKey(s[end:]) // another key may follow
			if ok && to > from {
				return s[:from] + Placeholder + s[to:end] + rest
			}
			return s[:end] + rest
		case ok && to > from:
			return s[:from] + Placeholder + s[to:]
		case ok:
			return s
		}
		// no key after all
	}
	begin := strings.Index(s, beginKey)
	if begin < 0 {
		return s
	}
	head, rest, found := strings.Cut(s[begin+len(beginKey):], "-----")
	if !found || !strings.Contains(head, keyKind) || strings.ContainsAny(head, "({[.*") {
		return s
	}
	at := len(s) - len(rest)
	end := strings.Index(rest, endKey)
	if end < 0 {
		if strings.Trim(rest, " \t\r\\n\"',;+") == "" {
			c.inKey = true
			return s
		}
		blank := len(rest) - len(strings.TrimLeft(rest, " "))
		if blank > 0 && len(rest) < shortestKeyLine { // prose goes on
			return s
		}
		from, to, ok := joinedKey(rest[blank:])
		if !ok || to <= from {
			return s
		}
		c.inKey = true
		at += blank
		return s[:at+from] + Placeholder + s[at+to:]
	}
	more := c.privateKey(rest[end:])
	if strings.Trim(rest[:end], `\nr `) == "" {
		return s[:at] + rest[:end] + more
	}
	return s[:at] + Placeholder + more
}

// shortestKeyLine is how long, in bytes, what stands behind the mark of a key and a
// blank is at least when it is the key.
const shortestKeyLine = 32

// keyBody is where in a line, or in the part of it before its end, the body of a
// key stands; to is not more than from where there is none. ok: the line may belong
// to a key.
func keyBody(s string) (from, to int, ok bool) {
	at := len(s) - len(strings.TrimLeft(s, " \t\"'`#/*"))
	text := strings.TrimRight(s[at:], " \t\r,\\")
	if text == "" || text == Placeholder || strings.Trim(text, `\nr`) == "" {
		return 0, 0, true
	}
	if strings.Contains(text, ": ") { // Proc-Type, DEK-Info
		body := strings.TrimRight(text, `"'`)
		return at, at + len(body), true
	}
	from, to, ok = joinedKey(text)
	return at + from, at + to, ok
}

// joinedKey is where in a text that begins within quotes, or without any, the body
// of a key stands: in one literal, or in several that are joined.
func joinedKey(s string) (from, to int, ok bool) {
	from = len(s)
	for at := 0; at < len(s); at++ {
		switch c := s[at]; {
		case c == '\\' && at+1 < len(s) && (s[at+1] == 'n' || s[at+1] == 'r'):
			at++
		case isKeyByte(c):
			from, to = min(from, at), at+1
		case isQuote(c):
			next := strings.TrimLeft(s[at+1:], " \t\r+.,;)\\")
			if next == "" {
				return from, to, true
			}
			if !isQuote(next[0]) {
				return 0, 0, false
			}
			at = len(s) - len(next)
		case strings.Trim(s[at:], " \t\r\\") == "":
			return from, to, true
		default:
			return 0, 0, false
		}
	}
	return from, to, true
}

func isKeyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '='
}

// following masks the value of a name that stood on an earlier line.
func (c *code) following(s string) (masked string, done bool) {
	text := strings.TrimSpace(s)
	if c.open == none || text == "" {
		return s, false
	}
	in := len(s) - len(strings.TrimLeft(s, " \t"))
	if c.block {
		if in <= c.indent {
			c.open, c.block = none, false
			return s, false
		}
		if text == Placeholder || isTemplate(text) {
			return s, true
		}
		return s[:in] + Placeholder, true
	}
	l, ok := literalAt(s, in)
	if !ok {
		c.open = none
		return s, false
	}
	open := c.open
	if rest := strings.TrimSpace(s[l.end:]); rest != "" && rest != "+" && rest != `\` {
		c.open = none
	}
	if strings.HasPrefix(strings.TrimSpace(s[l.end:]), ":") || !open.masks("", l.text(s), l.template) {
		return s, false
	}
	return l.replace(s), true
}

// mayTell is a quick look for lines without any telling name.
func mayTell(s string) bool {
	for _, word := range []string{"key", "tok", "secret", "passw", "pwd", "passphrase", "redential", "uth"} {
		if indexFold(s, word) {
			return true
		}
	}
	return false
}

// indexFold reports whether s holds word, in lower case, in either case.
func indexFold(s, word string) bool {
	low, up := word[0], word[0]-'a'+'A'
	for at := 0; at+len(word) <= len(s); at++ {
		if (s[at] == low || s[at] == up) && strings.EqualFold(s[at:at+len(word)], word) {
			return true
		}
	}
	return false
}

// maxLiteral is the longest value, in bytes, that is looked for.
const maxLiteral = 4096

// pairs masks the values of the telling names of a line.
func (c *code) pairs(s string) string {
	var out strings.Builder
	written := 0
	var quote byte // of the text that s[at] is in
	mapping, command := strings.IndexByte(s, '{'), len(s)
	for _, sign := range []string{"export ", "=", "&"} {
		if i := strings.Index(s, sign); i >= 0 {
			command = min(command, i)
		}
	}
	named := c.named
	c.named = none
	for at := 0; at < len(s); {
		if !isNameByte(s[at]) {
			switch {
			case s[at] == '\\':
				at++
			case isQuote(s[at]) && quote == 0:
				quote = s[at]
			case s[at] == quote:
				quote = 0
			}
			at++
			continue
		}
		end := at
		for end < len(s) && isNameByte(s[end]) {
			end++
		}
		n := occurrence{code: c, s: s, from: at, end: end, inText: quote != 0, inMapping: mapping >= 0 && mapping < at, inCommand: command < at}
		at = end
		strong := strengthOf(s[n.from:n.end])
		if strong == none && named != none && (s[n.from:n.end] == "value" || s[n.from:n.end] == "default") {
			strong = named
		}
		if strong == none {
			c.noteName(s, n)
			continue
		}
		if from, to, with := n.value(strong); to > from {
			out.WriteString(s[written:from])
			out.WriteString(with)
			written, at = to, to
			if quote != 0 && to <= len(s) && to > 0 && s[to-1] == quote {
				quote = 0
			}
		}
	}
	out.WriteString(s[written:])
	return out.String()
}

// noteName keeps the telling name that a line `name: NAME` gives to the line
// `value: X` that follows it, as in the manifests of containers.
func (c *code) noteName(s string, n occurrence) {
	if c.form != setting || s[n.from:n.end] != "name" {
		return
	}
	rest, found := strings.CutPrefix(strings.TrimLeft(s[n.end:], " "), ":")
	if found {
		c.named = strengthOf(strings.Trim(rest, " \t\r\"'"))
	}
}

// occurrence is a name in a line.
type occurrence struct {
	*code
	s         string
	from, end int
	inText    bool // in quotes
	inMapping bool // behind a {
	inCommand bool // behind what only commands and queries have in a file of settings
}

// value is the place of the value of the name, and what stands there instead;
// to is 0 where there is none to mask.
func (n occurrence) value(strong strength) (from, to int, with string) {
	s, name := n.s, n.s[n.from:n.end]
	at := n.end
	quoted := false
	slashes := 0
	for at+slashes < len(s) && s[at+slashes] == '\\' {
		slashes++
	}
	if q := at + slashes; q < len(s) && isQuote(s[q]) && n.from-1-slashes >= 0 && s[n.from-1] == s[q] {
		quoted, at = true, q+1
	}
	at = skipBlank(s, at)
	if at < len(s) && s[at] == ']' {
		at = skipBlank(s, at+1)
	}
	if at == len(s) {
		return 0, 0, ""
	}
	take := func(at int) (int, int, string) { return n.literalOr(at, name, strong, quoted) }
	switch rest := s[at:]; {
	case strings.HasPrefix(rest, "<<-"):
		return take(at + 3)
	case n.from >= 2 && s[n.from-2:n.from] == "${" && rest[0] == ':':
		if len(rest) < 2 || rest[1] != '-' && rest[1] != '=' {
			return 0, 0, ""
		}
		end := strings.IndexByte(rest[:min(len(rest), maxLiteral)], '}')
		if end > 2 && !strings.ContainsAny(rest[2:end], "$`") && strong.masks(name, rest[2:end], false) {
			return at + 2, at + end, Placeholder
		}
		return 0, 0, ""
	case strings.HasPrefix(rest, "<-"), strings.HasPrefix(rest, ":="), strings.HasPrefix(rest, "=>"), strings.HasPrefix(rest, "?="), strings.HasPrefix(rest, "+="):
		return take(at + 2)
	case strings.HasPrefix(rest, "=="), strings.HasPrefix(rest, "!="):
		if strong == medium { // what a parser compares
			strong = weak
		}
		return take(at + 2 + until(rest[2:], func(i int) bool { return rest[2+i] != '=' }))
	case rest[0] == '=':
		return take(at + 1)
	case rest[0] == ':':
		if typed, ok := afterType(s, at+1); ok && !quoted && n.form != setting {
			return take(typed)
		}
		if strings.TrimSpace(rest[1:]) == "" && n.form != setting {
			return 0, 0, "" // def f() -> Secret:
		}
		return take(at + 1)
	case rest[0] == ',' && quoted:
		return n.second(at+1, name, strong)
	case strings.HasPrefix(name, "--") && !quoted && at > n.end && (n.inText || n.form != program):
		return n.flag(at, name, strong)
	case at > n.end && n.form == shell && n.isInstruction():
		return n.word(at, name, strong)
	case at > n.end && n.form == program && !quoted && !n.inText:
		// apiKey string = "...": the type stands behind the name.
		end := at
		for end < len(s) && isNameByte(s[end]) {
			end++
		}
		if eq := skipBlank(s, end); end > at && eq < len(s) && s[eq] == '=' && !strings.HasPrefix(s[eq:], "==") {
			if l, ok := literalAt(s, skipBlank(s, eq+1)); ok && strong.masks(name, l.text(s), l.template) {
				return l.from, l.end, l.with(s)
			}
		}
	}
	return 0, 0, ""
}

// isInstruction reports whether the name stands behind ENV, ARG or set, which
// give it the word behind it.
func (n occurrence) isInstruction() bool {
	if n.from > 64 {
		return false
	}
	switch strings.ToLower(strings.TrimSpace(n.s[:n.from])) {
	case "env", "arg", "set", "set -x", "set -gx", "setenv", "setx":
		return true
	}
	return false
}

func skipBlank(s string, at int) int {
	for at < len(s) && (s[at] == ' ' || s[at] == '\t') {
		at++
	}
	return at
}

// afterType skips an annotation, str or Optional[str], up to behind its =.
func afterType(s string, at int) (int, bool) {
	start := skipBlank(s, at)
	for at = start; at < len(s) && at-start < 128; at++ {
		switch c := s[at]; {
		case c == '=' && at > start:
			if strings.HasPrefix(s[at:], "==") || strings.HasPrefix(s[at:], "=>") {
				return 0, false
			}
			return at + 1, true
		case isNameByte(c), c == ' ', c == '[', c == ']', c == '|', c == '?', c == '<', c == '>', c == '&', c == '\'':
		default:
			return 0, false
		}
	}
	return 0, false
}

// literalOr is the value that stands at s[at:], behind a separator.
func (n occurrence) literalOr(at int, name string, strong strength, quoted bool) (from, to int, with string) {
	s := n.s
	at = skipBlank(s, at)
	if at < len(s) && s[at] == '(' && strings.HasSuffix(strings.ToLower(name), "auth") { // ("user", "password")
		if user, ok := literalAt(s, skipBlank(s, at+1)); ok {
			if comma := skipBlank(s, user.end); comma < len(s) && s[comma] == ',' {
				if l, ok := literalAt(s, skipBlank(s, comma+1)); ok && veryStrong.masks(name, l.text(s), l.template) {
					return l.from, l.end, l.with(s)
				}
			}
		}
		return 0, 0, ""
	}
	rest := strings.TrimSpace(s[at:])
	if (rest == "(" || rest == `\` || rest == "" && !quoted && n.form == program) && !n.inText {
		n.open, n.block = strong, false
		return 0, 0, ""
	}
	if n.form == setting && rest != "" && (rest[0] == '|' || rest[0] == '>' || strings.HasPrefix(rest, "!vault")) && len(rest) < 12 {
		n.open, n.block, n.indent = strong, true, len(s)-len(strings.TrimLeft(s, " \t-"))
		return 0, 0, ""
	}
	if from, to, with, ok := n.list(at, name, strong); ok {
		return from, to, with
	}
	at = skipWrapper(s, at)
	if at < len(s) && s[at] == '`' && n.form == shell { // a command
		return 0, 0, ""
	}
	if l, ok := literalAt(s, at); ok {
		if n.form == shell && l.end < len(s) && isNameByte(s[l.end]) {
			return n.word(at, name, strong)
		}
		if strong.masks(name, l.text(s), l.template) {
			return l.from, l.end, l.with(s)
		}
		return 0, 0, ""
	}
	if digits := numberLength(s[at:]); digits >= 4 && strong == veryStrong {
		return at, at + digits, Placeholder
	}
	if n.inText || n.form == prose || n.isComment() {
		return n.inside(at, name, strong)
	}
	switch n.form {
	case shell:
		return n.word(at, name, strong)
	case setting:
		return n.toEnd(at, name, strong)
	default:
		return n.fallback(at, name, strong)
	}
}

// isComment reports whether the name stands in a comment of its own line.
func (n occurrence) isComment() bool {
	before := strings.TrimLeft(n.s[:n.from], " \t")
	return n.form == program && (strings.HasPrefix(before, "#") || strings.HasPrefix(before, "//") || strings.HasPrefix(before, "*"))
}

// list masks the literals of a list of values, up to its end on this line.
func (n occurrence) list(at int, name string, strong strength) (from, to int, with string, ok bool) {
	s := n.s
	if at >= len(s) || s[at] != '[' && s[at] != '(' && !strings.HasPrefix(s[at:], "c(") {
		return 0, 0, "", false
	}
	var out strings.Builder
	from = strings.IndexAny(s[at:], "[(") + at + 1
	i, found, any := from, false, false
	for i < len(s) && i-from < maxLiteral {
		l, isLiteral := literalAt(s, i)
		switch {
		case isLiteral:
			any = true
			if strong.masks(name, l.text(s), l.template) {
				found = true
				out.WriteString(l.with(s))
			} else {
				out.WriteString(s[l.from:l.end])
			}
			i = l.end
			continue
		case s[i] == ' ', s[i] == ',', s[i] == '\t':
			out.WriteByte(s[i])
			i++
			continue
		}
		break
	}
	if !any {
		return 0, 0, "", false
	}
	if !found {
		return 0, 0, "", true
	}
	return from, i, out.String(), true
}

// wrappers are the calls that make a secret of the literal that they are given.
var wrappers = []string{"SecretStr(", "SecretBytes(", "pydantic.SecretStr(", "str(", "bytes(", "String(", "Secret(", "[]byte(", "(", "base64.b64decode(", "b64decode(", "bytes.fromhex(", "I("}

func skipWrapper(s string, at int) int {
	for range 2 {
		for _, w := range wrappers {
			if strings.HasPrefix(s[at:], w) {
				at = skipBlank(s, at+len(w))
				break
			}
		}
	}
	return at
}

// second masks "NAME", "value" where a call sets or gets a variable, or the name
// is a flag; and the default of a flag that is declared.
func (n occurrence) second(at int, name string, strong strength) (from, to int, with string) {
	s := n.s
	flag := strings.HasPrefix(name, "-")
	open := n.from - 2 // of the call; s[n.from-1] is the quote
	for open >= 0 && (s[open] == ' ' || s[open] == '\\') {
		open--
	}
	call := false
	if open >= 0 && s[open] == '(' {
		begin := open
		for begin > 0 && (isNameByte(s[begin-1])) {
			begin--
		}
		switch f := strings.ToLower(s[begin:open]); {
		case strings.HasSuffix(f, "env"), strings.HasSuffix(f, "environ.get"), strings.HasSuffix(f, "setdefault"), strings.HasSuffix(f, "environ.pop"),
			strings.HasSuffix(f, "set"), strings.HasSuffix(f, "header"), strings.HasSuffix(f, "put"), strings.HasSuffix(f, "set_password"):
			call = true
		case flag && strings.Contains(f, "arg"), strings.HasSuffix(f, "option"), strings.HasSuffix(f, "flag.string"):
			if d := strings.Index(s[at:], "default"); d >= 0 {
				eq := skipBlank(s, at+d+len("default"))
				if eq < len(s) && s[eq] == '=' {
					if l, ok := literalAt(s, skipBlank(s, eq+1)); ok && strong.masks(name, l.text(s), l.template) {
						return l.from, l.end, l.with(s)
					}
				}
			}
			return 0, 0, ""
		}
	}
	if !call && !flag {
		return 0, 0, ""
	}
	l, ok := literalAt(s, skipBlank(s, at))
	if ok && !strings.HasPrefix(l.text(s), "-") && strong.masks(name, l.text(s), l.template) {
		return l.from, l.end, l.with(s)
	}
	return 0, 0, ""
}

// flag masks the word behind --name.
func (n occurrence) flag(at int, name string, strong strength) (from, to int, with string) {
	word := n.s[at:]
	word = word[:until(word, func(i int) bool { return isSpace(word[i]) })]
	if strings.HasPrefix(word, "-") || strings.ToUpper(word) == word && strings.Trim(word, "0123456789") == word {
		return 0, 0, "" // another flag; --token TOKEN
	}
	if n.form == program {
		strong = min(strong, medium) // a message speaks of flags, too
	}
	return n.word(at, name, strong)
}

// word masks a word as a shell reads it.
func (n occurrence) word(at int, name string, strong strength) (from, to int, with string) {
	s := n.s
	if l, ok := literalAt(s, at); ok && (l.end == len(s) || !isNameByte(s[l.end])) {
		if strong.masks(name, l.text(s), l.template || strings.ContainsAny(l.text(s), "$`")) {
			return l.from, l.end, l.with(s)
		}
		return 0, 0, ""
	}
	v := s[at:min(len(s), at+maxLiteral)]
	length := until(v, func(i int) bool {
		return isSpace(v[i]) || strings.IndexByte(";&|)\"'`", v[i]) >= 0 && (v[i] != '\'' && v[i] != '"' || n.inText || i > 0 && i+1 == len(v))
	})
	v = v[:length]
	if strings.ContainsAny(v, "$`") || strings.HasPrefix(v, "(") || !strong.masks(name, strings.Trim(v, `'"\`), isTemplate(v)) {
		return 0, 0, ""
	}
	return at, at + len(strings.TrimRight(v, `\`)), Placeholder
}

// toEnd masks a value that lasts to the end of its line, or of its flow mapping.
func (n occurrence) toEnd(at int, name string, strong strength) (from, to int, with string) {
	v := n.s[at:min(len(n.s), at+maxLiteral)]
	if n.inMapping {
		v = v[:until(v, func(i int) bool { return v[i] == ',' || v[i] == '}' })]
	}
	if n.inCommand {
		v = v[:until(v, func(i int) bool { return isSpace(v[i]) || strings.IndexByte("&;\"'", v[i]) >= 0 })]
	}
	for _, comment := range []string{" #", "\t#", " ;"} {
		v, _, _ = strings.Cut(v, comment)
	}
	v = strings.TrimRight(v, " \t\r")
	if v == "" || strings.IndexByte("{[&*!|>#", v[0]) >= 0 || !strong.masks(name, v, isTemplate(v)) {
		return 0, 0, ""
	}
	return at, at + len(v), Placeholder
}

// inside masks a value within a text, a comment or prose: a connection string, a
// query, a command.
func (n occurrence) inside(at int, name string, strong strength) (from, to int, with string) {
	s := n.s
	if at >= len(s) {
		return 0, 0, ""
	}
	v := s[at:min(len(s), at+maxLiteral)]
	for _, scheme := range schemes {
		if len(v) > len(scheme) && strings.EqualFold(v[:len(scheme)], scheme) {
			at += len(scheme)
			v = v[len(scheme):]
			break
		}
	}
	v = v[:until(v, func(i int) bool { return isSpace(v[i]) || strings.IndexByte("\"'`\\;&,)<>|", v[i]) >= 0 })]
	v = strings.TrimRight(v, ".")
	if v == "" || strings.ContainsAny(v, "(){}[]$%*<>=") {
		return 0, 0, ""
	}
	spaced := at > 0 && isSpace(s[at-1]) || n.form == prose || n.isComment() || s[skipBlank(s, n.end)] == ':'
	if spaced && strong > medium && !bearer(s[:at]) {
		strong = medium // prose speaks of secrets, too
	}
	if plainWord(v) && strings.Contains(v, ".") || !strong.masks(name, v, false) {
		return 0, 0, ""
	}
	return at, at + len(v), Placeholder
}

// schemes stand in front of the credentials of a header.
var schemes = []string{"Bearer ", "Basic ", "Token ", "ApiKey ", "Digest "}

func bearer(before string) bool {
	for _, scheme := range schemes {
		if len(before) >= len(scheme) && strings.EqualFold(before[len(before)-len(scheme):], scheme) {
			return true
		}
	}
	return false
}

// fallback masks the literal that stands in for a value that is missing: x or "y".
func (n occurrence) fallback(at int, name string, strong strength) (from, to int, with string) {
	if strong != veryStrong || at >= len(n.s) {
		return 0, 0, ""
	}
	rest := n.s[at:min(len(n.s), at+maxLiteral)]
	for _, operator := range []string{" or ", "|| ", "?? ", " else "} {
		if i := strings.Index(rest, operator); i >= 0 && strings.Count(rest[:i], "(") == strings.Count(rest[:i], ")") {
			if l, ok := literalAt(n.s, skipBlank(n.s, at+i+len(operator))); ok && strong.masks(name, l.text(n.s), l.template) {
				return l.from, l.end, l.with(n.s)
			}
		}
	}
	return 0, 0, ""
}

func numberLength(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	if n < len(s) && (isNameByte(s[n]) || s[n] == '(') {
		return 0
	}
	return n
}

// literal is a text in quotes within a line; from and end include the quotes.
type literal struct {
	from, end   int
	first, last int // of what stands in the quotes
	template    bool
}

func (l literal) text(s string) string    { return s[l.first:l.last] }
func (l literal) with(s string) string    { return s[l.from:l.first] + Placeholder + s[l.last:l.end] }
func (l literal) replace(s string) string { return s[:l.from] + l.with(s) + s[l.end:] }

// literalAt reads the literal that begins at s[at], with the letters that may
// stand in front of it (b"x") and its quotes escaped as they are inside another.
func literalAt(s string, at int) (l literal, ok bool) {
	l.from = at
	formatted := false
	for at < len(s) && at-l.from < 3 && strings.IndexByte("bBrRfFuU@$", s[at]) >= 0 {
		formatted = formatted || strings.IndexByte("fF$", s[at]) >= 0
		at++
	}
	slashes := 0
	for at < len(s) && s[at] == '\\' {
		slashes++
		at++
	}
	if at >= len(s) || !isQuote(s[at]) || slashes > 7 {
		return l, false
	}
	quote := s[at]
	width := 1
	if slashes == 0 && strings.HasPrefix(s[at:], strings.Repeat(string(quote), 3)) {
		width = 3
	}
	l.first = at + width
	run := 0
	for i := l.first; i < len(s) && i-l.first < maxLiteral; i++ {
		if s[i] == '\\' {
			run++
			continue
		}
		closes := s[i] == quote && (slashes == 0 && run%2 == 0 || slashes > 0 && run == slashes)
		if closes && (width == 1 || strings.HasPrefix(s[i:], s[at:at+3])) {
			l.last, l.end = i-slashes, i+width
			l.template = templated(l.text(s), formatted)
			return l, true
		}
		run = 0
	}
	if width == 3 { // goes on, on the next lines
		return l, false
	}
	return l, false
}

// templated reports whether a text is made of other values, but for words and marks.
func templated(v string, formatted bool) bool {
	if isTemplate(v) {
		return true
	}
	if !formatted {
		return false
	}
	rest, fields := "", false
	for v != "" {
		before, inner, found := strings.Cut(v, "{")
		rest += before
		if !found {
			break
		}
		if _, v, found = strings.Cut(inner, "}"); !found {
			break
		}
		fields = true
	}
	return fields && !looksGenerated(rest)
}

// isTemplate reports whether a value only says where the value comes from.
func isTemplate(v string) bool {
	v = strings.TrimSpace(v)
	for _, scheme := range schemes {
		if len(v) > len(scheme) && strings.EqualFold(v[:len(scheme)], scheme) {
			v = v[len(scheme):]
		}
	}
	switch {
	case v == "":
		return true
	case strings.HasPrefix(v, "${") && strings.HasSuffix(v, "}"):
		return !strings.Contains(v, ":-")
	case strings.HasPrefix(v, "$") && len(v) > 1 && (v[1] == '(' || isLetter(v[1]) || v[1] == '_') && plainWord(strings.Trim(v[1:], "()")):
		return true
	case strings.HasPrefix(v, "{") && strings.HasSuffix(v, "}"), strings.HasPrefix(v, "<") && strings.HasSuffix(v, ">"),
		strings.HasPrefix(v, "[") && strings.HasSuffix(v, "]"), strings.HasPrefix(v, "%(") && strings.HasSuffix(v, ")s"),
		strings.HasPrefix(v, "@Microsoft.KeyVault("), strings.HasPrefix(v, "!"):
		return true
	}
	return v == "%s" || v == "%v" || v == "%d" || v == "?" || strings.Trim(v, "*.") == "" || len(v) >= 3 && strings.Trim(v, "xX_-") == ""
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// plainWord reports whether v is made of names alone, joined by dots.
func plainWord(v string) bool {
	for i := range len(v) {
		if !isLetter(v[i]) && v[i] != '_' && v[i] != '.' && v[i] != ' ' {
			return false
		}
	}
	return v != ""
}

// maskCodeURLs masks user and password in the URLs of a line, where they are
// written out.
func maskCodeURLs(s string) string {
	var out strings.Builder
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && !isSpace(s[i]) && !isQuote(s[i]) && strings.IndexByte("<>|", s[i]) < 0 {
			continue
		}
		word := s[start:i]
		if at := strings.LastIndexByte(word, '@'); at > 0 && (strings.Contains(word[:at], "://") || strings.HasPrefix(word[at:], "@tcp(") || strings.HasPrefix(word[at:], "@unix(")) {
			user := word[:at]
			if scheme := strings.Index(user, "://"); scheme >= 0 {
				user = user[scheme+len("://"):]
			}
			_, password, found := strings.Cut(user, ":")
			if found && password != "" && !strings.ContainsAny(password, "{}$<") && password != "%s" && password != "%v" && password != Placeholder {
				word = maskUser(word)
			}
		}
		out.WriteString(word)
		if i < len(s) {
			out.WriteByte(s[i])
		}
		start = i + 1
	}
	return out.String()
}
