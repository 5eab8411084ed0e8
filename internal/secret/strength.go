package secret

import (
	"slices"
	"strings"
	"unicode"
)

// strength is how much a name says that its value is a secret. The words key and
// token mean other things in code more often than not.
type strength int

const (
	none       strength = iota
	weak                // the value must look like the output of a generator
	medium              // the value must not look like a word
	veryStrong          // any value that is written out
)

// strengthOf tells how telling a name is in code.
func strengthOf(name string) strength {
	if !IsName(name) {
		return none
	}
	parts := componentsOf(name)
	s := none
	for i, part := range parts {
		before := ""
		if i > 0 {
			before = parts[i-1]
		}
		switch part {
		case "password", "passwords", "passwd", "pwd", "passphrase", "pgpassword", "secret", "secrets",
			"apikey", "accesskey", "secretkey", "privatekey", "authtoken", "accesstoken", "authorization":
			s = max(s, veryStrong)
		case "key", "keys":
			if keyOf(before) {
				s = max(s, veryStrong)
			}
			s = max(s, weak)
		case "token":
			switch {
			case before == "":
				s = max(s, medium)
			case tokenOfText(before):
				s = max(s, weak)
			default:
				s = max(s, veryStrong)
			}
		case "credential", "credentials":
			s = max(s, medium)
		case "tokens", "auth":
			s = max(s, weak)
		}
	}
	if last := parts[len(parts)-1]; s > weak && (describes(last) || !IsName(name[strings.LastIndexByte(name, '.')+1:])) {
		return weak
	}
	return s
}

func componentsOf(name string) []string {
	var parts []string
	start, prevLower := 0, false
	add := func(part string) {
		if part != "" {
			parts = append(parts, strings.ToLower(part))
		}
	}
	for i, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			add(name[start:i])
			start, prevLower = i+len(string(r)), false
		case unicode.IsUpper(r) && prevLower:
			add(name[start:i])
			start, prevLower = i, false
		default:
			prevLower = unicode.IsLower(r)
		}
	}
	add(name[start:])
	return parts
}

// keyOf reports whether a key of this is a secret.
func keyOf(word string) bool {
	switch word {
	case "api", "access", "secret", "private", "auth", "encryption", "signing", "master", "account", "storage", "subscription",
		"license", "licence", "ssh", "gpg", "pgp", "aws", "azure", "gcp", "google", "openai", "anthropic", "shared", "sas", "hmac", "jwt",
		"client", "app", "service", "vault", "admin", "webhook", "bot", "vantage", "tiingo", "polygon", "fred", "quandl", "finnhub", "iex",
		"alpaca", "binance", "eodhd", "fmp", "nasdaq", "dart", "wandb":
		return true
	}
	return false
}

// tokenOfText reports whether a token of this is a part of a text, or a coin.
func tokenOfText(word string) bool {
	switch word {
	case "pad", "padding", "eos", "bos", "unk", "unknown", "sep", "cls", "mask", "special", "start", "end", "next", "prev", "previous", "current",
		"cur", "stop", "word", "sub", "subword", "first", "last", "max", "min", "num", "n", "base", "quote", "target", "image", "per", "new",
		"begin", "boundary", "separator", "delimiter", "control", "prefix", "suffix", "byte", "per_token", "text", "input", "output", "query":
		return true
	}
	return false
}

// describes reports whether a name that ends so speaks about a secret and is
// none: token_type, password_file.
func describes(word string) bool {
	switch word {
	case "name", "names", "id", "ids", "file", "files", "path", "paths", "dir", "folder", "url", "uri", "endpoint", "env", "var", "variable",
		"field", "fields", "col", "cols", "column", "columns", "type", "types", "kind", "header", "headers", "prefix", "suffix", "length", "len",
		"size", "count", "index", "idx", "format", "algo", "algorithm", "hint", "label", "error", "err", "msg", "message", "prompt", "help",
		"title", "description", "doc", "regex", "pattern", "policy", "class", "func", "function", "fn", "method", "mode", "schema", "table",
		"ref", "source", "store", "manager", "provider", "backend", "scheme", "scope", "scopes", "expiry", "expires", "ttl", "version", "role",
		"group", "user", "users", "host", "port", "region", "enabled", "required", "vocab", "vocabulary", "position", "separator", "sep", "order", "by", "arn", "used", "last", "missing", "usage",
		"sources", "fd", "stdin", "profile":
		return true
	}
	return false
}

// masks reports whether v, written out under the name, is taken for a secret.
// template: v is made of other values.
func (s strength) masks(name, v string, template bool) bool {
	v = strings.TrimSpace(v)
	if strings.IndexFunc(v, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) < 0 || slices.Contains(schemes, v+" ") || v == Placeholder || template || isTemplate(v) || isCommon(v) || sameWord(name, v) || isVariable(v) {
		return false
	}
	for _, scheme := range schemes {
		if len(v) > len(scheme) && strings.EqualFold(v[:len(scheme)], scheme) {
			return !isTemplate(v[len(scheme):])
		}
	}
	switch s {
	case veryStrong:
		return !(strings.EqualFold(name[strings.LastIndexByte(name, '_')+1:], "pwd") && strings.HasPrefix(v, "/"))
	case medium:
		return looksGenerated(v) || len(v) >= 6 && !strings.ContainsAny(v, " \t<>[](){}/") && hasLetterAndDigit(v)
	case weak:
		return looksGenerated(v)
	}
	return false
}

// Record masks the value of a param or tag that a program's client says of its run:
// the whole value where it looks like a secret for one of that name, by the rule of
// Code (api_key and password hold one, max_tokens and key only where a generated
// value stands there), otherwise what Text finds.
func (m *Masker) Record(name, value string) string {
	if strengthOf(name).masks(name, value, false) {
		m.learn(value)
		return Placeholder
	}
	return m.Text(value)
}

// isCommon reports whether v is a word of the language rather than a value.
func isCommon(v string) bool {
	if len(v) > 16 {
		return false
	}
	switch strings.ToLower(v) {
	case "none", "null", "nil", "~", "true", "false", "yes", "no", "na", "n/a", "undefined", "default", "auto", "required", "optional", "inherit", "demo",
		"str", "string", "bytes", "int", "integer", "float", "bool", "boolean", "any", "object", "self", "todo", "null,", "none,":
		return true
	}
	return false
}

// isVariable reports whether a value is the name of a variable that holds a secret:
// AWS_SECRET_ACCESS_KEY.
func isVariable(v string) bool {
	return strings.Trim(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == "" && strings.Contains(v, "_") && IsName(v)
}

// sameWord reports whether a value only repeats its name.
func sameWord(name, v string) bool {
	if len(v) > 2*len(name)+16 {
		return false
	}
	plain := func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.IsDigit(r) {
				return unicode.ToLower(r)
			}
			return -1
		}, s)
	}
	a, b := plain(name), plain(v)
	return b != "" && (a == b || len(b) >= 3 && components[strings.ToLower(v)] && strings.HasSuffix(a, b))
}

func hasLetterAndDigit(v string) bool {
	letter, digit := false, false
	for i := range len(v) {
		letter = letter || isLetter(v[i])
		digit = digit || v[i] >= '0' && v[i] <= '9'
	}
	return letter && digit
}

// tokenStarts are how the tokens of well-known services begin.
var tokenStarts = []string{"sk-", "sk_", "pk_live", "rk_live", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "AKIA", "ASIA", "AIza", "ya29.", "eyJ", "hf_", "npm_", "pypi-", "SG."}

// looksGenerated reports whether v looks like what a generator of keys puts
// out: long, without spaces, letters and digits mixed as words do not mix them.
func looksGenerated(v string) bool {
	if len(v) < 12 || strings.ContainsAny(v, " \t(){}<>[]") || strings.HasPrefix(v, "/") || strings.HasPrefix(v, "./") || strings.Contains(v, "://") {
		return false
	}
	for _, start := range tokenStarts {
		if strings.HasPrefix(v, start) && len(v) >= 16 {
			return true
		}
	}
	if !hasLetterAndDigit(v) {
		return false
	}
	for part := range strings.FieldsFuncSeq(v, func(r rune) bool { return strings.ContainsRune("_-.:/=+@,", r) }) {
		if !wordy(part) {
			return true
		}
	}
	return false
}

// wordy reports whether a part of a value reads as a word: letters, a number,
// letters with a number behind them (ret20), a number with a unit (20d).
func wordy(part string) bool {
	changes, digits := 0, 0
	for i := range len(part) {
		isDigit := part[i] >= '0' && part[i] <= '9'
		if isDigit {
			digits++
		}
		if i > 0 && isDigit != (part[i-1] >= '0' && part[i-1] <= '9') {
			changes++
		}
	}
	return changes == 0 || changes == 1 && digits <= 8 || len(part) <= 6
}
