package secret

import (
	"encoding/base64"
	"strings"
)

// escapers are the usual encoders of URLs: which marks each leaves as they are,
// beside letters and digits, and whether it writes a space as a +.
var escapers = []struct {
	marks string
	plus  bool
}{
	{"_.-~/", false},                // Python's quote
	{"_.-~", false},                 // the same with safe="", RFC 3986
	{"_.-~", true},                  // quote_plus, Go's QueryEscape
	{"*-._", true},                  // HTML forms, URLSearchParams
	{"-_.~$&+=:@", false},           // Go's PathEscape
	{"-_.~$&+,;=", false},           // Go's user information
	{"-_.!~*'()", false},            // encodeURIComponent
	{"-_.!~*'();,/?:@&=+$#", false}, // encodeURI
	{"-._~!$&'()*+,;=", false},      // what RFC 3986 allows in user information
}

// percentForms are the forms in which v stands in URLs, but for those without a %.
func percentForms(v string) []string {
	var forms []string
	add := func(form string) {
		if strings.Contains(form, "%") {
			forms = append(forms, form)
		}
	}
	for _, e := range escapers {
		for _, hex := range []string{"0123456789ABCDEF", "0123456789abcdef"} {
			var b strings.Builder
			for i := range len(v) {
				switch c := v[i]; {
				case isLetter(c) || c >= '0' && c <= '9' || strings.IndexByte(e.marks, c) >= 0:
					b.WriteByte(c)
				case c == ' ' && e.plus:
					b.WriteByte('+')
				default:
					b.WriteString(string([]byte{'%', hex[c>>4], hex[c&15]}))
				}
			}
			add(b.String())
		}
	}
	return forms
}

// minBase64 is the shortest value that is looked for within base64, in bytes.
const minBase64 = 8

// base64Forms are what base64 makes of v, wherever it stands in what is encoded
// (user:password of basic authentication), but for the signs at its ends that
// hold bits of its neighbours.
func base64Forms(v string) []string {
	if len(v) < minBase64 {
		return nil
	}
	var forms []string
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			all := encoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + v))
			from := (shift*8 + 5) / 6
			to := (shift + len(v)) * 8 / 6
			forms = append(forms, all[from:to])
		}
	}
	return forms
}

func isBase64(c byte) bool {
	return isLetter(c) || c >= '0' && c <= '9' || strings.IndexByte("+/-_", c) >= 0
}

// maskBase64 masks the words of base64 that hold a form.
func maskBase64(s, form string) string {
	var out strings.Builder
	for {
		at := strings.Index(s, form)
		if at < 0 {
			out.WriteString(s)
			return out.String()
		}
		from, to := at, at+len(form)
		for from > 0 && isBase64(s[from-1]) {
			from--
		}
		for to < len(s) && (isBase64(s[to]) || s[to] == '=') {
			to++
		}
		out.WriteString(s[:from])
		out.WriteString(Placeholder)
		s = s[to:]
	}
}
