package secret

import (
	"strings"
	"testing"

	"quant"
)

func TestATokenOfTheServerIsMaskedWhereverItStands(t *testing.T) {
	t.Parallel()
	token := quant.TokenPrefix + strings.Repeat("abcdefghijklm234567z", 3)[:quant.TokenLength]
	m := &Masker{}
	for text, want := range map[string]string{
		token:                                 "***",
		"sent " + token + ", then " + token:   "sent ***, then ***",
		"(" + token + ")":                     "(***)",
		"quant_small and quant_" + token:      "quant_small and quant_***",
		token[:len(token)-1]:                  token[:len(token)-1],
		"quant_features_daily":                "quant_features_daily",
		`["run","` + token + `"]`:             `["run","***"]`,
		"https://host/path?x=" + token + "&y": "https://host/path?x=***&y",
	} {
		if got := m.Text(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := m.Args([]string{"curl", token}); got[1] != Placeholder {
		t.Errorf("as an argument: %q", got)
	}
	if got := m.Code("a.py", []string{`client = connect("` + token + `")`}); got[0] != `client = connect("***")` {
		t.Errorf("in code: %q", got)
	}
}
