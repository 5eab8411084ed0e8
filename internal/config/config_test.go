package config

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quant"
)

func environment(vars map[string]string) Environment {
	return func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
}

func TestTheStrongestSourceWinsAndIsNamed(t *testing.T) {
	t.Parallel()
	flags := map[string]string{"data-dir": "/flag"}
	env := environment(map[string]string{DataDir: "/env", SQLitePath: "/env/m.db", LogLevel: ""})
	s := Resolve(flags, env, map[string]string{DataDir: "/dot", SQLitePath: "/dot/m.db", LogLevel: "debug", AlphaVantageKey: "k", Calendar: "XKRX"})
	want := map[string][2]string{
		DataDir:         {"/flag", "flag --data-dir"},
		SQLitePath:      {"/env/m.db", "environment"},
		DuckDBPath:      {"/flag/quant.duckdb", "default"},
		LogLevel:        {"debug", ".env"},
		AlphaVantageKey: {"k", ".env"},
		Calendar:        {"XKRX", ".env"},
		MemoryLimit:     {"auto", "default"},
		MetaURL:         {"", "default"},
		FactsURL:        {"", "default"},
		ObjectsURL:      {"", "default"},
		ExtensionsDir:   {"/flag/extensions", "default"},
	}
	for _, item := range s.List() {
		if w := want[item.Name]; item.Value != w[0] || item.Source != w[1] {
			t.Errorf("%s = %q from %q, want %q from %q", item.Name, item.Value, item.Source, w[0], w[1])
		}
	}
	if err := s.Validate(); err != nil {
		t.Errorf("Validate: %v", err)
	}
}

func TestAValueThatCannotBeUsedIsAUsageError(t *testing.T) {
	t.Parallel()
	for _, flags := range []map[string]string{{"data-dir": ""}, {"sqlite": "a\x00b"}, {"log-level": "loud"}, {"memory-limit": "much"}, {"memory-limit": "-1GiB"}, {"memory-limit": "1MiB"}, {"memory-limit": ""}} {
		if err := Resolve(flags, environment(nil), nil).Validate(); quant.CodeOf(err) != quant.Usage {
			t.Errorf("%v: got %v", flags, err)
		}
	}
}

// A file that a stronger source names is the lab's, whatever server a weaker one
// names; two flags contradict each other.
func TestTheMetaDBIsWhereTheStrongerSourceSays(t *testing.T) {
	t.Parallel()
	const server = "postgres://ann:pa55@db.example/team?sslmode=require"
	for name, c := range map[string]struct {
		flags, env, dotenv map[string]string
		server, usage      bool
	}{
		"nothing":               {},
		"a server":              {env: map[string]string{MetaURL: server}, server: true},
		"a server in .env":      {dotenv: map[string]string{MetaURL: server}, server: true},
		"a file by flag":        {flags: map[string]string{"sqlite": "m.db"}, env: map[string]string{MetaURL: server}},
		"a file in environment": {env: map[string]string{SQLitePath: "m.db"}, dotenv: map[string]string{MetaURL: server}},
		"both in environment":   {env: map[string]string{SQLitePath: "m.db", MetaURL: server}, server: true},
		"a server by flag":      {flags: map[string]string{"meta-url": server}, env: map[string]string{SQLitePath: "m.db"}, server: true},
		"both by flag":          {flags: map[string]string{"sqlite": "m.db", "meta-url": server}, server: true, usage: true},
		"another engine":        {flags: map[string]string{"meta-url": "mysql://h/d"}, server: true, usage: true},
		"no URL":                {flags: map[string]string{"meta-url": "postgres://a:b%zz@h"}, server: true, usage: true},
		"empty":                 {flags: map[string]string{"meta-url": ""}, usage: true},
		"words of libpq":        {flags: map[string]string{"meta-url": "host=h password=pa55x dbname=team"}, server: true, usage: true},
		"an @ as it stands":     {flags: map[string]string{"meta-url": "postgres://ann:x@pa55x@h/team"}, server: true, usage: true},
		"a # as it stands":      {flags: map[string]string{"meta-url": "postgres://ann:pa55#x@h/team"}, server: true, usage: true},
	} {
		s := Resolve(c.flags, environment(c.env), c.dotenv)
		err := s.Validate()
		if got := s.Place().MetaURL != ""; got != c.server || (quant.CodeOf(err) == quant.Usage) != c.usage {
			t.Errorf("%s: %+v, %v", name, s.Place(), err)
		}
		if err != nil && strings.Contains(err.Error(), "pa55") {
			t.Errorf("%s: %v", name, err)
		}
		if name := s.Place().MetaPath; strings.Contains(name, "pa55") {
			t.Errorf("a name on disk holds the password: %s", name)
		}
	}
	inPieces := Resolve(nil, environment(map[string]string{MetaURL: "postgres://ann:x@pa55x@h/team"}), nil)
	if !slices.Contains(inPieces.Secrets(), "pa55x") { // PostgreSQL's clients take it for a part of the host
		t.Errorf("a piece of the password is no secret: %q", inPieces.Secrets())
	}
	s := Resolve(nil, environment(map[string]string{MetaURL: server}), nil)
	if p := s.Place(); strings.Contains(p.ShownMeta(), "pa55") || p.ShownMeta() != "postgres://ann@db.example/team" || strings.Contains(p.MetaPath, "pa55") {
		t.Errorf("%s, %s", p.ShownMeta(), p.MetaPath)
	}
	if !slices.Contains(s.Secrets(), "pa55") {
		t.Errorf("the password is no secret: %q", s.Secrets())
	}
	other := Resolve(nil, environment(map[string]string{MetaURL: "postgresql://bob@db.example:5432/team"}), nil)
	if s.Place().MetaPath != other.Place().MetaPath {
		t.Errorf("one database has two names: %s, %s", s.Place().MetaPath, other.Place().MetaPath)
	}
}

func TestTheMemoryOfTheFactDBIsASize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"auto": 0, "2GiB": 2 << 30, "1500MB": 1_500_000_000, "268435456": 256 << 20} {
		s := Resolve(nil, environment(map[string]string{MemoryLimit: text}), nil)
		if got, err := s.MemoryLimit(); err != nil || got != want || s.Validate() != nil {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
}

func TestDotenvLines(t *testing.T) {
	t.Parallel()
	text := "\ufeff# comment\r\nA=1\r\nexport B = two words # note\nC=\"q # \\\"x\\\" \\n\" # c\nD='l$\\n'\nE=pa$$word#1\nA=2\n\nF=\n"
	vars, _, _, problem := ParseDotenv([]byte(text))
	if problem != "" {
		t.Fatal(problem)
	}
	want := map[string]string{"A": "2", "B": "two words", "C": "q # \"x\" \n", "D": `l$\n`, "E": "pa$$word#1", "F": ""}
	for k, w := range want {
		if vars[k] != w {
			t.Errorf("%s = %q, want %q", k, vars[k], w)
		}
	}
}

func TestABadDotenvLineIsNamedByNumberAndNotQuoted(t *testing.T) {
	t.Parallel()
	for text, line := range map[string]int{
		"A=1\nCANARY": 2, "1A=CANARY": 1, "A=\"CANARY": 1, "A='CANARY": 1, "\n\nA=\"CANARY\" CANARY": 3, "A=CANARY\xff": 1,
	} {
		_, _, got, problem := ParseDotenv([]byte(text))
		if problem == "" || got != line || strings.Contains(problem, "CANARY") {
			t.Errorf("%q: line %d, problem %q", text, got, problem)
		}
	}
}

func TestABrokenDotenvStillTellsWhatToMask(t *testing.T) {
	t.Parallel()
	text := "A_KEY=first\nA_KEY=second\nnonsense\nexport B_KEY=\"open quote\nC_KEY=\"closed\" tail\nD_KEY: colon # note\n1E_KEY=digit\nF_KEY=by\xfftes\nG_KEY='last'\n"
	path := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	vars, seen, err := ReadDotenv(path)
	if quant.CodeOf(err) != quant.Usage || !strings.Contains(err.Error(), "line 3") || quant.HintOf(err) == "" || vars != nil {
		t.Errorf("%v, %v", vars, err)
	}
	for _, want := range []string{
		"A_KEY=first", "A_KEY=second", "B_KEY=open quote", "C_KEY=closed", "D_KEY=colon", "1E_KEY=digit", "F_KEY=by\xfftes", "F_KEY=by", "F_KEY=tes", "G_KEY=last",
	} {
		if !slices.Contains(seen, want) {
			t.Errorf("%q is not among %q", want, seen)
		}
	}
}

func FuzzParseDotenv(f *testing.F) {
	f.Add([]byte("A=1\nB='x'\nC=\"y\\n\""))
	f.Fuzz(func(t *testing.T, text []byte) {
		vars, seen, line, problem := ParseDotenv(text)
		if problem != "" {
			if vars != nil || line < 1 || line > 1+strings.Count(string(text), "\n") {
				t.Fatalf("line %d, vars %v, problem %q", line, vars, problem)
			}
			return
		}
		if len(seen) < len(vars) {
			t.Fatalf("%d values seen of %d", len(seen), len(vars))
		}
		for name := range vars {
			if !isVariable(name) {
				t.Fatalf("accepted the name %q", name)
			}
		}
	})
}

// The facts are where the stronger source says, and no password of a lake's URL is shown.
// Two servers that one URL may mean, by the variables of PostgreSQL, are two labs: what
// stands beside the one Meta DB is not the other's.
func TestLabsOfTwoServersHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	place := func(url string, variables map[string]string) string {
		env := map[string]string{MetaURL: url}
		maps.Copy(env, variables)
		return Resolve(nil, environment(env), nil).Place().MetaPath
	}
	const url = "postgres:///team"
	here := place(url, nil)
	for _, other := range []map[string]string{{"PGHOST": "db.example"}, {"PGPORT": "5433"}} {
		if got := place(url, other); got == here {
			t.Errorf("%v: %s is the name for both", other, got)
		}
	}
	if got := place("postgres://db.example/team", map[string]string{"PGHOST": "another"}); got != place("postgres://db.example:5432/team", nil) {
		t.Errorf("what the URL says is another name: %s", got)
	}
	if got := place(url, map[string]string{"PGHOST": "db.example", "PGPORT": "5432"}); got != place("postgres://db.example/team", nil) {
		t.Errorf("the same server has another name: %s", got)
	}
	if got, want := place("postgres://db.example", map[string]string{"PGDATABASE": "team"}), place("postgres://db.example/team", nil); got != want {
		t.Errorf("the same database is %s and %s", got, want)
	}
}

func TestTheFactsAreWhereTheStrongerSourceSays(t *testing.T) {
	t.Parallel()
	const lake = "ducklake:postgres:dbname=lake host=db password='pa 55x'?data_path=/srv/lake"
	for name, c := range map[string]struct {
		flags, env, dotenv map[string]string
		lake, usage        bool
	}{
		"nothing":               {},
		"a lake":                {env: map[string]string{FactsURL: lake}, lake: true},
		"a lake by URL":         {dotenv: map[string]string{FactsURL: "ducklake:postgres://ann:pa%2055x@db/lake?sslmode=require&data_path=/srv/lake"}, lake: true},
		"a file by flag":        {flags: map[string]string{"duckdb": "f.duckdb"}, env: map[string]string{FactsURL: lake}},
		"a file in environment": {env: map[string]string{DuckDBPath: "f.duckdb"}, dotenv: map[string]string{FactsURL: lake}},
		"a lake by flag":        {flags: map[string]string{"facts-url": lake}, env: map[string]string{DuckDBPath: "f.duckdb"}, lake: true},
		"both by flag":          {flags: map[string]string{"duckdb": "f.duckdb", "facts-url": lake}, lake: true, usage: true},
		"another catalog":       {flags: map[string]string{"facts-url": "ducklake:catalog.ducklake"}, lake: true, usage: true},
		"another engine":        {flags: map[string]string{"facts-url": "postgres://ann:pa55x@db/lake"}, lake: true, usage: true},
		"an object store":       {flags: map[string]string{"facts-url": "ducklake:postgres:dbname=lake?data_path=s3://bucket/lake&s3_endpoint=http://minio:9000&s3_url_style=path"}, lake: true},
		"another store":         {flags: map[string]string{"facts-url": "ducklake:postgres:dbname=lake?data_path=gs://bucket/lake"}, lake: true, usage: true},
		"a bucket with a key":   {flags: map[string]string{"facts-url": "ducklake:postgres:dbname=lake?data_path=s3://k:v@bucket/lake"}, lake: true, usage: true},
		"no style":              {flags: map[string]string{"facts-url": "ducklake:postgres:dbname=lake?data_path=s3://bucket/lake&s3_url_style=other"}, lake: true, usage: true},
		"an unknown parameter":  {flags: map[string]string{"facts-url": "ducklake:postgres:dbname=lake?datapath=/srv"}, lake: true, usage: true},
		"an @ as it stands":     {flags: map[string]string{"facts-url": "ducklake:postgres://ann:x@pa55x@h/lake"}, lake: true, usage: true},
		"no database":           {flags: map[string]string{"facts-url": "ducklake:postgres:?data_path=/srv"}, lake: true, usage: true},
		"empty":                 {flags: map[string]string{"facts-url": ""}, usage: true},
	} {
		s := Resolve(c.flags, environment(c.env), c.dotenv)
		err := s.Validate()
		if got := s.Place().FactsURL != ""; got != c.lake || (quant.CodeOf(err) == quant.Usage) != c.usage {
			t.Errorf("%s: %+v, %v", name, s.Place(), err)
		}
		if err != nil && strings.Contains(err.Error()+quant.HintOf(err), "55x") {
			t.Errorf("%s: %v", name, err)
		}
		if shown := s.Place().ShownFacts(); strings.Contains(shown, "55x") {
			t.Errorf("%s: %s", name, shown)
		}
		if got := slices.Contains(s.Secrets(), "pa 55x"); got != (strings.HasPrefix(name, "a lake") || strings.HasPrefix(name, "a file ") || name == "both by flag") {
			t.Errorf("%s: secrets %q", name, s.Secrets())
		}
	}
	s := Resolve(nil, environment(map[string]string{FactsURL: lake}), nil)
	if shown := s.Place().ShownFacts(); shown != "ducklake:postgres:dbname=lake host=db?data_path=/srv/lake" {
		t.Error(shown)
	}
}

// What is shown has all of a URL but its passwords, and of two settings that exclude each
// other the one that is in force.
func TestASettingIsShownWithoutItsPasswordsAndOnlyIfItCounts(t *testing.T) {
	t.Parallel()
	const meta, lake = "postgres://ann:pa55w@db:5433/team?sslmode=verify-full&sslpassword=k3y", "ducklake:postgres:dbname=lake host=db password='pa 55' user=ann?data_path=/srv/lake&metadata_schema=cat"
	s := Resolve(nil, environment(map[string]string{MetaURL: meta, FactsURL: lake, AlphaVantageKey: "kkkk"}), nil)
	for name, want := range map[string][2]string{
		MetaURL:         {"postgres://ann:***@db:5433/team?sslmode=verify-full&sslpassword=***", "environment"},
		FactsURL:        {"ducklake:postgres:dbname=lake host=db password=*** user=ann?data_path=/srv/lake&metadata_schema=cat", "environment"},
		SQLitePath:      {"", "unused: QUANT_META_URL"},
		DuckDBPath:      {"", "unused: QUANT_FACTS_URL"},
		AlphaVantageKey: {"***", "environment"},
		DataDir:         {"./data", "default"},
	} {
		wantShown(t, s, name, want)
	}
	s = Resolve(map[string]string{"sqlite": "m.db", "duckdb": "f.db"}, environment(map[string]string{MetaURL: meta, FactsURL: lake}), nil)
	wantShown(t, s, MetaURL, [2]string{"", "unused: QUANT_SQLITE_PATH"})
	wantShown(t, s, FactsURL, [2]string{"", "unused: QUANT_DUCKDB_PATH"})
	wantShown(t, s, SQLitePath, [2]string{"m.db", "flag --sqlite"})
	s = Resolve(nil, environment(map[string]string{MetaURL: "postgres://u:a/pa55w@h/d", FactsURL: "ducklake:postgres://u:pa55w@db/lake?data_path=/srv/lake&sslmode=require"}), nil)
	wantShown(t, s, MetaURL, [2]string{"***", "environment"})
	wantShown(t, s, FactsURL, [2]string{"ducklake:postgres://u:***@db/lake?data_path=/srv/lake&sslmode=require", "environment"})
}

func wantShown(t *testing.T, s Settings, name string, want [2]string) {
	t.Helper()
	for _, item := range s.Shown("***") {
		if item.Name == name && (item.Value != want[0] || item.Source != want[1]) {
			t.Errorf("%s = %q from %q, want %q from %q", name, item.Value, item.Source, want[0], want[1])
		}
	}
}

// Where shared objects lie is checked before anything is done, and never shown with a key.
func TestSharedObjectsBelongToALabOnAServer(t *testing.T) {
	t.Parallel()
	const server = "postgres://ann@db.example/team"
	for url, good := range map[string]bool{
		"s3://lab": true, "s3://lab/team/one?endpoint=http://localhost:9000&region=eu-west-1&use_path_style=true": true, "file:///shared/lab": true,
		"lab": false, "s3://": false, "s3://L/x": false, "s3://lab/../x": false, "s3://lab/a?endpoint=ftp://x": false, "s3://lab/a?endpoint=https://u:p@x": false,
		"s3://lab?region=a b": false, "s3://lab?acl=public": false, "s3://key:pa55word@lab/x": false, "file://host/x": false, "file:x": false, "https://lab/x": false, "s3://lab/a\nb": false,
		"s3://lab?use_path_style=maybe": false, "s3://lab/x#y": false,
	} {
		s := Resolve(map[string]string{"meta-url": server, "objects-url": url}, environment(nil), nil)
		err := s.Validate()
		if (err == nil) != good || err != nil && (quant.CodeOf(err) != quant.Usage || strings.Contains(err.Error()+quant.HintOf(err), "pa55word")) {
			t.Errorf("%q: %v", url, err)
		}
	}
	s := Resolve(map[string]string{"objects-url": "s3://key:pa55word@lab/x"}, environment(map[string]string{"AWS_SECRET_ACCESS_KEY": "deep", "AWS_SESSION_TOKEN": "deeper"}), nil)
	if got := strings.Join(s.Secrets(), " "); got != "pa55word deep deeper" {
		t.Errorf("masked are %q", got)
	}
	s = Resolve(map[string]string{"objects-url": "s3://lab/x"}, environment(nil), nil)
	if err := s.Validate(); quant.CodeOf(err) != quant.Usage || !strings.Contains(err.Error(), MetaURL) {
		t.Error(err)
	}
	env := map[string]string{"QUANT_OBJECTS_URL": "s3://lab/x", "AWS_ENDPOINT_URL": "http://general:1", "AWS_ENDPOINT_URL_S3": "http://s3:2", "AWS_DEFAULT_REGION": "eu-north-1"}
	s = Resolve(map[string]string{"meta-url": server}, environment(env), nil)
	at, err := s.Place().Objects()
	if err != nil || at.S3.Endpoint != "http://s3:2" || at.S3.Region != "eu-north-1" || !at.S3.PathStyle || at.S3.URL() != "s3://lab/x/" {
		t.Errorf("%+v, %v", at, err)
	}
	if p := Resolve(map[string]string{"sqlite": "here.db"}, environment(map[string]string{"QUANT_META_URL": server, "QUANT_OBJECTS_URL": "s3://lab/x"}), nil).Place(); p.ObjectsURL != "" {
		t.Error("the artifacts of a lab in a file lie in another's bucket:", p.ObjectsURL)
	}
}
