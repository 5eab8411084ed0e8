package secret

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
)

// The encoded texts are those of CPython 3.11.7 (urllib.parse.quote,
// quote(safe=""), quote_plus) and of the ECMAScript functions encodeURIComponent
// and encodeURI as Node.js 20 has them.
func TestAKnownValueIsMaskedInTheFormsOfURLs(t *testing.T) {
	t.Parallel()
	const value = "p@s/s w+d!é~(x)'&=:;"
	for name, encoded := range map[string]string{
		"quote":               "p%40s/s%20w%2Bd%21%C3%A9~%28x%29%27%26%3D%3A%3B",
		"quote, all":          "p%40s%2Fs%20w%2Bd%21%C3%A9~%28x%29%27%26%3D%3A%3B",
		"quote_plus":          "p%40s%2Fs+w%2Bd%21%C3%A9~%28x%29%27%26%3D%3A%3B",
		"encodeURIComponent":  "p%40s%2Fs%20w%2Bd!%C3%A9~(x)'%26%3D%3A%3B",
		"encodeURI":           "p@s/s%20w+d!%C3%A9~(x)'&=:;",
		"QueryEscape":         url.QueryEscape(value),
		"PathEscape":          url.PathEscape(value),
		"a form":              "p%40s%2Fs+w%2Bd%21%C3%A9%7E%28x%29%27%26%3D%3A%3B",
		"user info":           strings.TrimPrefix(url.UserPassword("", value).String(), ":"),
		"itself":              value,
		"a form without a %":  "",
		"basic authorization": base64.StdEncoding.EncodeToString([]byte("me:" + value)),
		"base64":              base64.StdEncoding.EncodeToString([]byte(value)),
		"base64 of more":      base64.RawURLEncoding.EncodeToString([]byte("user:" + value + "!tail")),
	} {
		known := value
		if encoded == "" {
			known, encoded = "two words", "two+words"
		}
		lower := []byte(encoded)
		for i := range lower {
			if lower[i] == '%' {
				copy(lower[i:], strings.ToLower(encoded[i:i+3]))
			}
		}
		for _, form := range []string{encoded, string(lower)} {
			var m Masker
			m.Know(known)
			text := "GET /x?q=" + form + " HTTP/1.1"
			for which, got := range map[string]string{"Known": m.Known(text), "KnownBytes": string(m.KnownBytes([]byte(text))), "Text": m.Text(text)} {
				if !strings.HasPrefix(got, "GET /x?q=***") || !strings.HasSuffix(got, " HTTP/1.1") || strings.Contains(got, form[:6]) {
					t.Errorf("%s, %s: %s", name, which, got)
				}
			}
		}
	}
}

func TestTheLongestFormIsMaskedFirst(t *testing.T) {
	t.Parallel()
	var m Masker
	m.Know("hunter2", "hunter2/extra")
	if got := m.Known("x=hunter2%2Fextra y=hunter2%2fextra z=hunter2"); got != "x=*** y=*** z=***" {
		t.Error(got)
	}
}
