package secret

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCodeLosesTheValuesUnderTellingNames(t *testing.T) {
	t.Parallel()
	const c = "hunter2canary"
	for _, tc := range []struct{ file, in, want string }{
		// Python
		{"a.py", `api_key = "CANARY"`, `api_key = "***"`},
		{"a.py", `API_KEY: Final[str] = 'CANARY'  # mine`, `API_KEY: Final[str] = '***'  # mine`},
		{"a.py", `password="secretpw"`, `password="***"`},
		{"a.py", `password = (b"CANARY")`, `password = (b"***")`},
		{"a.py", `self.db_password = r'CANARY'`, `self.db_password = r'***'`},
		{"a.py", `os.environ["TIINGO_TOKEN"] = "CANARY"`, `os.environ["TIINGO_TOKEN"] = "***"`},
		{"a.py", `os.environ.setdefault('API_KEY', 'CANARY')`, `os.environ.setdefault('API_KEY', '***')`},
		{"a.py", `key = os.getenv("API_KEY", "CANARY")`, `key = os.getenv("API_KEY", "***")`},
		{"a.py", `api_key = os.getenv("AV") or "CANARY"`, `api_key = os.getenv("AV") or "***"`},
		{"a.py", `connect(host="h", password="CANARY", port=1)`, `connect(host="h", password="***", port=1)`},
		{"a.py", `cfg = {"user": "u", "password": "CANARY"}`, `cfg = {"user": "u", "password": "***"}`},
		{"a.py", `parser.add_argument("--api-key", default="CANARY", help="the key")`, `parser.add_argument("--api-key", default="***", help="the key")`},
		{"a.py", `run(["tool", "--api-key", "CANARY"])`, `run(["tool", "--api-key", "***"])`},
		{"a.py", `requests.get(u, auth=("me", "CANARY"))`, `requests.get(u, auth=("me", "***"))`},
		{"a.py", `headers = {"Authorization": "Bearer CANARY"}`, `headers = {"Authorization": "***"}`},
		{"a.py", `dsn = "host=db password=CANARY user=me"`, `dsn = "host=db password=*** user=me"`},
		{"a.py", `url = "https://h/q?apikey=CANARY&symbol=IBM"`, `url = "https://h/q?apikey=***&symbol=IBM"`},
		{"a.py", `e = create_engine("postgresql://me:CANARY@db/x")`, `e = create_engine("postgresql://***@db/x")`},
		{"a.py", `if password == "CANARY":`, `if password == "***":`},
		{"a.py", `token = "CANARY"`, `token = "***"`},
		{"a.py", `key = "0f3a9c1be27d4f5586aa01b2c3d4e5f6"`, `key = "***"`},
		{"a.py", `aws_access_key_id = "AKIAIOSFODNN7EXAMPLE"`, `aws_access_key_id = "***"`},
		{"a.py", `passwords = ["one two", "CANARY"]`, `passwords = ["***", "***"]`},
		{"a.py", `secret = SecretStr("CANARY")`, `secret = SecretStr("***")`},
		{"a.py", `password = 12345678`, `password = ***`},
		{"a.py", `# password: CANARY`, `# password: ***`},
		{"a.py", `api_key = """CANARY"""`, `api_key = """***"""`},
		{"a.py", `api_key = f"a1b2c3d4e5f6{x}"`, `api_key = f"***"`},
		{"a.py", `api_key = f"CANARY"`, `api_key = f"***"`},
		{"a.py", `os.system("tool --api-key CANARY1")`, `os.system("tool --api-key ***")`},
		// other languages
		{"a.R", `api_key <- "CANARY"`, `api_key <- "***"`},
		{"a.R", `Sys.setenv(API_KEY = 'CANARY')`, `Sys.setenv(API_KEY = '***')`},
		{"a.go", `apiKey := "CANARY"`, `apiKey := "***"`},
		{"a.go", `const apiKey string = "CANARY"`, `const apiKey string = "***"`},
		{"a.js", `const cfg = { apiKey: 'CANARY' };`, `const cfg = { apiKey: '***' };`},
		{"a.jl", `ENV["API_KEY"] = "CANARY"`, `ENV["API_KEY"] = "***"`},
		{"a.java", `String password = "CANARY";`, `String password = "***";`},
		// settings
		{"a.yaml", `password: x`, `password: ***`},
		{"a.yml", `  db_password:   CANARY and more # why`, `  db_password:   *** # why`},
		{"a.yaml", `  - {user: u, password: CANARY, port: 1}`, `  - {user: u, password: ***, port: 1}`},
		{"a.yaml", `api_key: "CANARY"`, `api_key: "***"`},
		{"a.yaml", `url: postgres://u:CANARY@h/db`, `url: postgres://***@h/db`},
		{"a.toml", `password = "CANARY"`, `password = "***"`},
		{"a.toml", `database = { password = 'CANARY' }`, `database = { password = '***' }`},
		{"a.ini", `password = CANARY ; the old one`, `password = *** ; the old one`},
		{"a.properties", `spring.datasource.password=CANARY`, `spring.datasource.password=***`},
		{"a.json", `  "api_key": "CANARY",`, `  "api_key": "***",`},
		{"a.json", `{"a":{"password":"CANARY","n":1}}`, `{"a":{"password":"***","n":1}}`},
		{"a.ipynb", `    "api_key = \"CANARY\"\n",`, `    "api_key = \"***\"\n",`},
		{"a.ipynb", `    "os.environ['API_KEY'] = 'CANARY'\n",`, `    "os.environ['API_KEY'] = '***'\n",`},
		{"a.ipynb", `    "!export API_KEY=CANARY\n",`, `    "!export API_KEY=***\n",`},
		{"credentials", `aws_secret_access_key = CANARY`, `aws_secret_access_key = ***`},
		// shells
		{"a.sh", `export AWS_SECRET_ACCESS_KEY=CANARY`, `export AWS_SECRET_ACCESS_KEY=***`},
		{"a.sh", `API_KEY='CANARY' python x.py`, `API_KEY='***' python x.py`},
		{"a.sh", `tool --password CANARY --x`, `tool --password *** --x`},
		{"a.sh", `curl -H "Authorization: Bearer CANARY" https://h`, `curl -H "Authorization: Bearer ***" https://h`},
		{"a.sh", `: ${API_KEY:-CANARY}`, `: ${API_KEY:-***}`},
		{"Dockerfile", `ENV API_KEY CANARY`, `ENV API_KEY ***`},
		{"Dockerfile", `ENV API_KEY=CANARY`, `ENV API_KEY=***`},
		{"README.md", "export API_KEY=CANARY", "export API_KEY=***"},
		// Quotes that are escaped, spaces and the other kind of quote in them.
		{"a.py", `password = "it's \"CANARY\""`, `password = "***"`},
		{"a.py", `key = "-----BEGIN RSA PRIVATE KEY-----\nMIIECANARY\n-----END RSA PRIVATE KEY-----"`, `key = "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----"`},
	} {
		var m Masker
		in := strings.ReplaceAll(tc.in, "CANARY1", "hunter2canary")
		in = strings.ReplaceAll(in, "CANARY", c)
		if got := m.Code(tc.file, []string{in})[0]; got != tc.want {
			t.Errorf("%s: %s\n got %s\nwant %s", tc.file, in, got, tc.want)
		}
	}
}

func TestCodeWithoutWrittenOutSecretsStaysAsItIs(t *testing.T) {
	t.Parallel()
	for file, lines := range map[string][]string{
		"a.py": {
			`token = tokenizer.next()`, `password=None`, `key = "symbol"`, `api_key = os.environ["API_KEY"]`, `keys: list[str]`, `keys: list[str] = []`,
			`def f(api_key: str, password: Optional[str] = None, *, token=None) -> str:`, `api_key = os.getenv("API_KEY")`, `api_key = os.environ.get("API_KEY", "")`,
			`password = getpass.getpass("Password: ")`, `df.sort_values(key="date")`, `sorted(x, key=lambda r: r["password"])`, `pad_token="<pad>"`, `tokenizer.pad_token = "[PAD]"`,
			`eos_token = "</s>"`, `max_tokens = 4096`, `n_tokens=512`, `key = 5`, `tokens = "the quick fox".split()`, `primary_key = "asof"`, `cache_key = "prices:daily:v1"`,
			`key = "ret_20d"`, `key="mom_12_1"`, `keys = ["symbol", "asof"]`, `columns = ["user", "password", "email"]`, `PASSWORD = "password"`, `API_KEY = "api_key"`,
			`token_type = "bearer"`, `password_file = "/run/secrets/db"`, `api_key_env = "ALPHA_VANTAGE_API_KEY"`, `headers = {"Authorization": f"Bearer {token}"}`,
			`url = f"https://h/q?apikey={api_key}&symbol={s}"`, `dsn = f"postgres://{user}:{password}@{host}/db"`, `dsn = "postgres://%s:%s@%s/db" % (u, p, h)`,
			`params = {"apikey": api_key, "symbol": "IBM"}`, `params = {"apikey": self.api_key}`, `logger.info("token: %s", token)`, `print(f"api_key={api_key!r}")`,
			`raise ValueError("the password is missing")`, `help="API key: get one at https://example.org/keys"`, `parser.add_argument("--api-key", help="the key", required=True)`,
			`password: str = field(default=None)`, `auth = HTTPBasicAuth(user, password)`, `auth = (user, password)`, `from secrets import token_hex as key`, `secret = secrets.token_hex(16)`,
			`# the token: see the vault`, `# api_key = os.environ["API_KEY"]`, `assert token == "word2vec"[0:4]`, `for key, value in d.items():`, `d[key] = value`, `if key == "symbol":`,
			`author = "Jane Doe 1999"`, `monkey = "CapuchinMonkey12345x"`, `key = "2024-01-02"`, `key = "features_daily_2024_01"`, `tok = "x"`, `access_token = response.json()["access_token"]`,
			`api_key = cfg["api_key"]`, `api_key=args.api_key,`, `password = "***"`, `password = ""`, `token = "AAPL"`, `quote_token = "USDC"`, `key = "GradientBoostingRegressor"`,
			`begin = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")`, `x = {"key": "close", "order": "desc"}`, `secret_name = "prod/db"`, `@app.route("/token")`, `a = b @ c`,
			`merge(left, right, on="key")`, `client.get_secret_value(SecretId="prod/db")`, `auth="basic"`, `"password": password,`, `keyring.get_password("service", "me")`,
		},
		"a.yaml": {
			`api_key: ${API_KEY}`, `token: ${{ secrets.GITHUB_TOKEN }}`, `key: symbol`, `keys: [symbol, asof]`, `password:`, `token: null`, `secrets: inherit`, `auth: basic`,
			`order_key: ret_20d`, `max_tokens: 4096`, `secretName: db-prod`, `password: "{{ vault_password }}"`, `key: prices/daily/v1`, `sort: {key: close, order: desc}`,
			`password: !vault x`, `tokenizer: bert-base-uncased`, `apiKeyHeader: X-Api-Key`, `type: apiKey`, `password: string`,
		},
		"a.sh": {
			`export API_KEY="$API_KEY"`, `TOKEN=$(cat token)`, `for key in a b; do`, `key=$1`, `API_KEY=${API_KEY:?missing}`, `if [ "$key" = foo ]; then`, `tool --token "$TOKEN"`,
			`tool --sort-key date`, "PASSWORD=`cat x`", `pwd=$(pwd)`, `echo "usage: x --token TOKEN"`,
		},
		"a.go": {
			`apiKey := os.Getenv("API_KEY")`, `func f(key string, token []byte) error {`, `key := "symbol"`, `case token == "":`, `Key: "close",`, `PrimaryKey string ` + "`json:\"primary_key\"`",
			"type T struct { Password string `json:\"password\"` }",
		},
		"a.json":    {`"key": "symbol",`, `"max_tokens": 512,`, `"api_key": null,`, `"tokenizer": "bert-base-uncased",`, `"primaryKey": "asof"`, `"pad_token": "<pad>",`},
		"a.toml":    {`key = "ret_20d"`, `api_key = ""`, `max_tokens = 10`, `[secrets]`, `keywords = ["a1b2c3d4e5f6"]`},
		"a.R":       {`api_key <- Sys.getenv("API_KEY")`, `setkey(dt, symbol)`, `key(dt) <- "symbol"`, `keyby = "date"`},
		"README.md": {"The password: ask an admin.", "key: the column that sorts", "| token | what |", "use --api-key KEY", "mail me@example.org", "token: a word of the text"},
		"a.ipynb":   {`    "api_key = os.environ[\"API_KEY\"]\n",`, `    "df.sort_values(key=\"date\")\n",`, `   "outputs": [],`},
	} {
		for _, line := range lines {
			var m Masker
			if got := m.Code(file, []string{line})[0]; got != line {
				t.Errorf("%s: %s\n got %s", file, line, got)
			}
		}
	}
}

func TestCodeThatGoesOnOverLinesIsMasked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, in, want string }{
		"a private key":               {"a.py", "K = '''\n-----BEGIN PRIVATE KEY-----\nMIIEabc+/=\n  QQ==\n-----END PRIVATE KEY-----\n'''\nx = 1", "K = '''\n-----BEGIN PRIVATE KEY-----\n***\n  ***\n-----END PRIVATE KEY-----\n'''\nx = 1"},
		"the end of a private key":    {"a.txt", "MIIEabc\nQQ==\n-----END EC PRIVATE KEY-----\nx", "***\n***\n-----END EC PRIVATE KEY-----\nx"},
		"a public key":                {"a.txt", "-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----", ""},
		"a key and its end":           {"a.py", `K = ("-----BEGIN RSA PRIVATE KEY-----\n"` + "\n" + `  "MIIEfake\n-----END RSA PRIVATE KEY-----")`, `K = ("-----BEGIN RSA PRIVATE KEY-----\n"` + "\n" + `  "***\n-----END RSA PRIVATE KEY-----")`},
		"a key behind its begin":      {"a.go", `k = "-----BEGIN EC PRIVATE KEY-----\nMIIEfake" +` + "\n" + `  "MIIDfake\n" +` + "\n" + `  "AAAAfake\n-----END EC PRIVATE KEY-----"` + "\nx = y + z", `k = "-----BEGIN EC PRIVATE KEY-----\n***" +` + "\n" + `  "***\n" +` + "\n" + `  "***\n-----END EC PRIVATE KEY-----"` + "\nx = y + z"},
		"a key that ends its text":    {"a.py", "K = \"\"\"-----BEGIN PRIVATE KEY-----\nMIIEfake\nAAAABBBB-----END PRIVATE KEY-----\"\"\"\nx", "K = \"\"\"-----BEGIN PRIVATE KEY-----\n***\n***-----END PRIVATE KEY-----\"\"\"\nx"},
		"two keys in a row":           {"a.txt", "-----BEGIN PRIVATE KEY-----\nMIIEfake-----END PRIVATE KEY----------BEGIN PRIVATE KEY-----MIIEfake\nQQ==\n-----END PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n***-----END PRIVATE KEY----------BEGIN PRIVATE KEY-----***\n***\n-----END PRIVATE KEY-----"},
		"a mark that is built on":     {"a.py", "s = '-----BEGIN PRIVATE KEY-----' + body\nload(s)", ""},
		"a mark in prose":             {"a.md", "after -----BEGIN PRIVATE KEY----- follows\nthe key", ""},
		"a mark in a program":         {"a.py", "if s == '-----BEGIN PRIVATE KEY-----':\n    load(s)", ""},
		"a literal of its own":        {"a.py", "password = (\n    \"hunter2\"\n    \"hunter3\"\n)\nx = 'y'", "password = (\n    \"***\"\n    \"***\"\n)\nx = 'y'"},
		"a call":                      {"a.py", "api_key = (\n    os.environ['A']\n)\n'x'", ""},
		"a dict":                      {"a.py", "key = \\\n    'symbol'\nx = 'y'", ""},
		"a block of YAML":             {"a.yaml", "db:\n  password: |\n    hunter2\n    b\n  user: me", "db:\n  password: |\n    ***\n    ***\n  user: me"},
		"a docstring":                 {"a.py", "def f() -> Secret:\n    \"\"\"Create a secret.\"\"\"", ""},
		"a manifest":                  {"a.yaml", "- name: API_KEY\n  value: hunter2\n- name: PATH\n  value: x", "- name: API_KEY\n  value: ***\n- name: PATH\n  value: x"},
		"a manifest with a reference": {"a.yaml", "- name: API_KEY\n  valueFrom:\n    secretKeyRef: {name: s, key: k}", ""},
	} {
		var m Masker
		if c.want == "" {
			c.want = c.in
		}
		if got := strings.Join(m.Code(c.file, strings.Split(c.in, "\n")), "\n"); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", name, got, c.want)
		}
	}
	lines := []string{"a", "b"}
	if got := new(Masker).Code("a.py", lines); &got[0] != &lines[0] {
		t.Error("lines were copied for nothing")
	}
}

func TestMaskingCodeTakesTimeThatGrowsWithIt(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"key=", `key="`, `key='key="`, `password = \"`, "://u:p@", `"key", `, "--key ", "key: [", "key: a|", `\`, "password: '", "-----BEGIN PRIVATE KEY-----", `auth=("`, "key or ", "quant_", "quant_aaaaaaa ", "quant_a2"} {
		took := func(size int) time.Duration {
			var m Masker
			line := strings.Repeat(part, size/len(part))
			begun := time.Now()
			m.Code("a.py", []string{line})
			m.Code("a.yaml", []string{line})
			return time.Since(begun)
		}
		// A quarter takes a quarter of the time, on a machine however busy; a sixteenth where time grows with the square.
		if quarter, whole := took(1<<15), took(1<<17); whole > 10*time.Second && whole > 8*quarter {
			t.Errorf("%q: %s, and a quarter of it %s", part, whole, quarter)
		}
	}
}

func FuzzMaskedCodeKeepsItsLines(f *testing.F) {
	f.Add("a.py", "api_key = \"hunter2canary\"\npassword = (\n'x'\n)")
	f.Add("a.yaml", "password: |\n  x\n- {key: a1b2c3d4e5f6}")
	f.Add("a.sh", "export TOKEN='x' --key \\\"")
	f.Fuzz(func(t *testing.T, file, text string) {
		lines := strings.Split(text, "\n")
		before := slices.Clone(lines)
		var m Masker
		once := m.Code(file, lines)
		if len(once) != len(lines) || !slices.Equal(lines, before) {
			t.Errorf("%q becomes %q", before, once)
		}
		for _, line := range once {
			if strings.Contains(line, "\n") {
				t.Errorf("%q", line)
			}
		}
	})
}
