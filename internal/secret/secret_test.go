package secret

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestNamesWithATellingComponentAreSecret(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"api-key", "API_KEY", "apiKey", "ALPHA_VANTAGE_API_KEY", "token", "github.token", "client_secret",
		"db-password", "x_passwd", "pwd", "aws_credential", "proxy-auth", "dbPassword", "apikey",
	} {
		if !IsName(name) {
			t.Errorf("IsName(%q) = false", name)
		}
	}
	for _, name := range []string{"symbol", "monkey", "author", "keyboard", "top_k", "tokenizer", "", "--", "가격"} {
		if IsName(name) {
			t.Errorf("IsName(%q) = true", name)
		}
	}
}

func TestArgumentsLoseTheirSecretsAndNothingElse(t *testing.T) {
	t.Parallel()
	const c = "CANARY-7f3a"
	for _, tc := range []struct{ in, want string }{
		{"config --api-key " + c, "config --api-key ***"},
		{"config --api-key=" + c + " --output json", "config --api-key=*** --output json"},
		{"config -token " + c, "config -token ***"},
		{"exec -- env PASSWORD=" + c + " sh", "exec -- env PASSWORD=*** sh"},
		{"x https://me:" + c + "@host/p?apikey=" + c + "&symbol=IBM", "x https://***@host/p?apikey=***&symbol=IBM"},
		{"x postgres://me:p@" + c + "@host/db", "x postgres://***@host/db"},
		{"x me:" + c + "@tcp(db:3306)/lab", "x ***@tcp(db:3306)/lab"},
		{"symbols add AAPL --name Apple", "symbols add AAPL --name Apple"},
		{"x --auth --output json", "x --auth *** json"},
	} {
		var m Masker
		got := strings.Join(m.Args(strings.Fields(tc.in)), " ")
		if got != tc.want {
			t.Errorf("Args(%q)\n got %q\nwant %q", tc.in, got, tc.want)
		}
	}
}

func TestAValueMaskedByNameIsMaskedInLaterTexts(t *testing.T) {
	t.Parallel()
	var m Masker
	m.Args([]string{"config", "--api-key", `ca"na ry`})
	for _, s := range []string{`bad value ca"na ry here`, `{"v":"ca\"na ry"}`, "x?q=ca%22na+ry"} {
		if got := m.Text(s); strings.Contains(got, "na") {
			t.Errorf("Text(%q) = %q", s, got)
		}
	}
}

func TestTextsLoseTheirSecretsAndNothingElse(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`dial "https://u:pw@h/x": refused`:                    `dial "https://***@h/x": refused`,
		"host=db password='a b' user=me":                      "host=db password='***' user=me",
		`{"password":"a\"b","x":1}`:                           `{"password":"***","x":1}`,
		"Authorization: Bearer abc.def":                       "Authorization: ***",
		"use --api-key abcdef now":                            "use --api-key *** now",
		"duplicate key: (AAPL, 2020-01-01)":                   "duplicate key: (AAPL, 2020-01-01)",
		"unknown flag: --top-k":                               "unknown flag: --top-k",
		"mail me@example.org at 10:30":                        "mail me@example.org at 10:30",
		"GET https://h/query?function=X&apikey=demo&symbol=I": "GET https://h/query?function=X&apikey=***&symbol=I",
	} {
		var m Masker
		if got := m.Text(in); got != want {
			t.Errorf("Text(%q)\n got %q\nwant %q", in, got, want)
		}
	}
}

func TestJSONValuesUnderATellingNameAreMasked(t *testing.T) {
	t.Parallel()
	var m Masker
	var doc any
	if err := json.Unmarshal([]byte(`{"a":{"token":"t0k3n","n":1},"pin_key":1234,"list":["x t0k3n y"]}`), &doc); err != nil {
		t.Fatal(err)
	}
	m.Value("", doc) // learns
	got, err := json.Marshal(m.Value("", doc))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"a":{"n":1,"token":"***"},"list":["x *** y"],"pin_key":"***"}`; string(got) != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func FuzzMaskingHidesAPlantedSecret(f *testing.F) {
	f.Add("--api-key", "s3cr3t-v4lue", " tail")
	f.Add("TOKEN=", `quo"ted\`, "\n")
	f.Fuzz(func(t *testing.T, before, value, after string) {
		if len(strings.TrimSpace(value)) < 6 || strings.Contains(Placeholder, value) {
			return
		}
		value = strings.TrimSpace(value)
		if strings.Contains(before+Placeholder+after, value) || strings.Contains(value, Placeholder) {
			return
		}
		var m Masker
		m.Know(value)
		if got := m.Known(before + value + after); strings.Contains(got, value) && !strings.Contains(before+"***"+after, value) {
			t.Errorf("%q still holds %q", got, value)
		}
		var n Masker
		if out := n.Args([]string{"--api-key", value, "x=" + value}); strings.Contains(out[1], value) {
			t.Errorf("%q still holds %q", out, value)
		}
		m.Text(before + value + after) // must not panic
	})
}
