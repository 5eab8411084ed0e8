package secret

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
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
		{"exec --keep-secrets --name x -- true", "exec --keep-secrets --name x -- true"},
		{"exec --keep-secrets=true -- x --use-token true --y true", "exec --keep-secrets=true -- x --use-token *** --y true"},
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
		// A password may hold what separates the parts of a URL, a DSN or a list.
		"u:p@ssw0rd@tcp(h:3306)/db":            "***@tcp(h:3306)/db",
		"u:pa/ssw@tcp(h)/db":                   "***@tcp(h)/db",
		"u@server:pw@tcp(h)/db":                "***@tcp(h)/db",
		"u:pw@/db":                             "***@/db",
		"dial postgres://u:pa#ss9@h/db failed": "dial postgres://***@h/db failed",
		"postgres://u:pa?ss9@h/db":             "postgres://***@h/db",
		"postgres://u:pa/s@s9@h/db":            "postgres://***@h/db",
		// The name of a role alone is no secret, and a password ends before the parameters.
		"postgres://ann@db.example/team":                   "postgres://ann@db.example/team",
		"write it as postgresql://USER@HOST/DATABASE":      "write it as postgresql://USER@HOST/DATABASE",
		"postgres://ann@db:pw@h/db":                        "postgres://***@h/db",
		"https://gh0token@host/x":                          "https://***@host/x",
		"host=db password=***?data_path=/srv/lake":         "host=db password=***?data_path=/srv/lake",
		"host=db password=abc?data_path=/srv/lake":         "host=db password=***",
		"https://h/?next=https://u:p@h2/":                  "https://h/?next=https://***@h2/",
		"https://host/path?email=a@b":                      "https://host/path?email=a@b",
		"file:///a@b":                                      "file:///a@b",
		"https://h/@user":                                  "https://h/@user",
		"url=https://h/@user":                              "url=https://h/@user",
		"host=h password=ab12,cd34 user=u":                 "host=h password=*** user=u",
		"password=ab)cd}ef x":                              "password=*** x",
		"password=ab'cd x":                                 "password=*** x",
		"password=a&b;c x":                                 "password=*** x",
		"password='it''s' x":                               "password='***' x",
		`password="never closed, a b`:                      "password=***",
		"user=u;pwd=x y;":                                  "user=u;pwd=***;",
		"pwd=x y;user=u":                                   "pwd=***;user=u",
		"Server=h; Password=x y; Database=d":               "Server=h; Password=***; Database=d",
		"Authorization: Token zz99yy":                      "Authorization: ***",
		"curl -H 'Authorization: Token zz99yy' h":          "curl -H 'Authorization: ***' h",
		`Proxy-Authorization: Digest username="u", r="zz"`: "Proxy-Authorization: ***",
		"token: ApiKey zz99yy":                             "token: ***",
		"map[Authorization:[Token zz99yy] B:[c]]":          "map[Authorization:*** B:[c]]",
		"a=1,token=x,b=2 c=3":                              "a=1,token=*** c=3",
		`{"password":["zz99"],"x":"<1>"}`:                  `{"password":["***"],"x":"<1>"}`,
		`{"password":{"new":"zz99"}}`:                      `{"password":{"new":"***"}}`,
		`bad {"password":["zz99", "zz98"],"x":1} here`:     `bad {"password":***,"x":1} here`,
		`bad {"pin_key":1234,"x":1} here`:                  `bad {"pin_key":***,"x":1} here`,
		`"{\"password\":\"z\\\"z\",\"x\":1}"`:              `"{\"password\":\"***\",\"x\":1}"`,
		`{"b": 1, "a": "plain"}`:                           `{"b": 1, "a": "plain"}`,
		":password => \"zz99\"":                            ":password => \"***\"",
		// The name of a dataset has a colon and an @, too; a user, a password and
		// a host are masked all the same.
		"table targets:S@1.0.0 (output of recommend)":  "table targets:S@1.0.0 (output of recommend)",
		"no rows of features_daily:ret_20d@v1, run it": "no rows of features_daily:ret_20d@v1, run it",
		`{"name":"labels:fwd_ret_5d@v1"}`:              `{"name":"labels:fwd_ret_5d@v1"}`,
		"targets:hunter2@dbhost":                       "***@dbhost", // a word with which a host may be called
		`bad "target_sets:my_S@1.0": gone`:             `bad "target_sets:my_S@1.0": gone`,
		"dial u:password@host":                         "dial ***@host",
		"dial labels:password@host:3306":               "dial ***@host:3306",
		"dial targets:password@tcp(h)/db":              "dial ***@tcp(h)/db",
		"targets:S@1.0.0,u:password@host":              "***@host",
		"postgres://labels:password@v1":                "postgres://***@v1",
		"targets:S@1.0.0 and u:password@1.0.0":         "targets:S@1.0.0 and ***@1.0.0",
		"mytargets:password@v1":                        "***@v1",
		"dsn=targets:pa:ss@v1":                         "dsn=***@v1",
		// The name of a file is not the name of a secret.
		"bad date (KEY.csv:3751)":   "bad date (KEY.csv:3751)",
		"token.parquet:7, KEY.db:1": "token.parquet:7, KEY.db:1",
		"low.key:3751":              "low.key:***",
		"KEY.csv=3751":              "KEY.csv=***",
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

func TestMaskingTakesTimeThatGrowsWithTheText(t *testing.T) {
	t.Parallel()
	for _, part := range []string{
		"a", " ", "@", ":", "=", ";", "-", "[", "{", "\"", "'", `\`, `\"`, "a:", "u:p@", "u:p@ ", "://", "a://b:", "x://u:p@h ", "@/",
		"password=", "password= ", `password="`, `password="a" `, "password=[", "password=[a] ", "pwd=x ;", ";pwd=", "pwd=x;", "pwd=a;b ",
		"authorization:", "Authorization: T x\n", "--key ", "--key -", "-a", "?key=", "&key=a", `"key":`, `"key":1,`, "KEY.csv:1 ", `{"a":`, `["`,
	} {
		var m Masker
		text := strings.Repeat(part, 1<<20/len(part))
		begun := time.Now()
		m.Text(text)
		m.Text("password='" + text)
		if d := time.Since(begun); d > 10*time.Second {
			t.Errorf("%q: %s", part, d)
		}
	}
}

// places are the forms in which a password without spaces and quotes stands in
// a text; %s is the password.
var places = []string{
	"postgres://u:%s@h/db", "dial u:%s@tcp(h:3306)/db", "host=h password=%s user=me", "--password %s --x", "Authorization: Token %s",
	"user=u;pwd=%s;", `x {"password":["%s"]} y`, "Server=h; Password=%s %s; Database=d", `bad "https://u:%s@h/": refused`,
}

func FuzzNoPlaceShowsAPassword(f *testing.F) {
	for _, seed := range []string{"p@ssw0rd", "pa/ssw9", "pa#ss9", "pa?ss9", "ab12,cd34", "zz99yy", "a)b]c}", "a&b;c", "a=b:c", "x://y@z", "$2[3]{4}", "://#0", "//#0a", "///abc"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, password string) {
		if len(password) < 5 || strings.ContainsAny(password, " \t\r\n\v\f\"'`\\") || strings.Trim(password, "@*=:>") == "" || password[0] == '-' {
			return
		}
		for _, place := range places {
			if strings.Contains(place, password) {
				return
			}
			if strings.Contains(place, ";") && strings.Contains(password, ";") {
				continue // nothing tells it from the end of the member
			}
			var m Masker
			if got := m.Text(strings.ReplaceAll(place, "%s", password)); strings.Contains(got, password) {
				t.Errorf("%q in %q gives %q", password, place, got)
			}
		}
	})
}

func FuzzMaskingHidesAPlantedSecret(f *testing.F) {
	f.Add("--api-key", "s3cr3t-v4lue", " tail")
	f.Add("TOKEN=", `quo"ted\`, "\n")
	f.Add("u:p@ssw0rd@tcp(h:3306)/db", "s3cr3t-v4lue", "u:pa/ssw@tcp(h)/db")
	f.Add("postgres://u:pa#ss9@h/db", "s3cr3t-v4lue", "host=h password=ab12,cd34")
	f.Add("Authorization: Token zz99yy", "s3cr3t-v4lue", `{"password":["zz99"]}`)
	f.Add("user=u;pwd=x y;", "s3cr3t-v4lue", "(KEY.csv:3751)")
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

func TestAnArgumentGivenAgainIsSecret(t *testing.T) {
	t.Parallel()
	m := &Masker{}
	got := strings.Join(m.Args([]string{"runs", "rerun", "last", "--set-arg", "5=hunter2", "--set-arg=6=--token=abcdef"}), " ")
	if got != "runs rerun last --set-arg *** --set-arg=***" {
		t.Error(got)
	}
	if got := m.Text("there is no hunter2 here"); got != "there is no *** here" {
		t.Error(got)
	}
	if got := m.Value("", map[string]any{"set-arg": "[5=abc]"}); got.(map[string]any)["set-arg"] != Placeholder {
		t.Error(got)
	}
	// It is no telling name anywhere else: a hint may speak of it.
	if hint := "give it again: --set-arg 5=VALUE"; m.Text(hint) != hint {
		t.Error(m.Text(hint))
	}
}
