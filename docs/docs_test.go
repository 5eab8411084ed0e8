// Package docs_test holds the documents to the program: it runs the commands
// that they show, and compares what they say of schemas, exit statuses and
// JSON with what is there. It tests no rule of the program itself.
package docs_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3" // to read the Meta DB without the program
	"github.com/rogpeppe/go-internal/testscript"

	"quant"
	"quant/internal/app"
	"quant/internal/artifact"
	"quant/internal/curator/provider/alphavantage/alphavantagetest"
	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
	"quant/internal/test/laketest"
	"quant/internal/test/tried"
)

// TestMain makes this test binary a quant of its own: while tests run, the
// command `quant` on PATH is a real process.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"quant": func() {
		os.Exit(app.Main(os.Args[1:]))
	}})
}

// root is the root of the repository, seen from this package.
const root = ".."

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// environment is that of a user who has set nothing.
func environment(home string) []string {
	env := []string{"HOME=" + home, "TMPDIR=" + os.TempDir(), "LC_ALL=C", "TZ=UTC"}
	// Under the race detector each process would sleep for a second at its end.
	env = append(env, "GORACE=atexit_sleep_ms=0")
	return append(env, "PATH="+os.Getenv("PATH"))
}

// block is one fenced block.
type block struct {
	info, text string
	line       int // of its first line of text
}

func blocks(text string) []block {
	var all []block
	var open *block
	for i, line := range strings.Split(text, "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{info: info, line: i + 2}
		case fence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	return all
}

// step is one command of a sh block with what the document says of it.
type step struct {
	command string // without its comment
	exit    int
	line    int
}

// session is a sh block and the text block that follows it, if one does.
type session struct {
	steps []step
	want  string // "" when the document does not show the output
	shown bool
}

var exitComment = regexp.MustCompile(`\s+# exit (\d+)(?:\D.*)?$`)
var comment = regexp.MustCompile(`\s+# .*$`)

// sessions reads the convention of the documents: a line of a sh block is a
// command (a here-document belongs to it), which must exit with 0, or with the
// N of its comment "# exit N"; a text block right after it is what the block
// prints, stdout and stderr as a terminal shows them.
func sessions(t *testing.T, path string) []session {
	t.Helper()
	var all []session
	list := blocks(read(t, path))
	for i, b := range list {
		if b.info != "sh" {
			continue
		}
		s := session{}
		lines := strings.Split(strings.TrimSuffix(b.text, "\n"), "\n")
		for n := 0; n < len(lines); n++ {
			line := lines[n]
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			one := step{line: b.line + n}
			if m := exitComment.FindStringSubmatch(line); m != nil {
				one.exit, _ = strconv.Atoi(m[1])
			}
			one.command = comment.ReplaceAllString(line, "")
			if _, end, here := strings.Cut(one.command, "<<'"); here {
				end, _, _ = strings.Cut(end, "'")
				for n++; n < len(lines); n++ {
					one.command += "\n" + lines[n]
					if lines[n] == end {
						break
					}
				}
			}
			s.steps = append(s.steps, one)
		}
		if i+1 < len(list) && list[i+1].info == "text" {
			s.want, s.shown = list[i+1].text, true
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		t.Fatalf("%s has no sh block", path)
	}
	return all
}

// follow types a document's sh blocks into one shell in an empty folder and
// compares exit statuses and output.
func follow(t *testing.T, path string) {
	t.Helper()
	dir := t.TempDir()
	followIn(t, path, dir, environment(dir), 3*time.Minute)
}

// followIn is follow in dir, under env, for at most limit.
func followIn(t *testing.T, path, dir string, env []string, limit time.Duration) {
	t.Helper()
	all := sessions(t, path)
	var script strings.Builder
	for _, s := range all {
		for _, step := range s.steps {
			fmt.Fprintf(&script, "%s\nprintf '\\036%%d\\036' $?\n", step.command)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), limit)
	defer stop()
	file := filepath.Join(t.TempDir(), "steps.sh")
	if err := os.WriteFile(file, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	sh := exec.CommandContext(ctx, "sh", file)
	sh.Dir, sh.Env = dir, env
	var out bytes.Buffer
	sh.Stdout, sh.Stderr = &out, &out
	sh.WaitDelay = 10 * time.Second
	if err := sh.Run(); err != nil {
		t.Errorf("%s: the shell ended with %v", path, err)
	}
	parts := strings.Split(out.String(), "\036")
	for _, s := range all {
		printed := ""
		for _, step := range s.steps {
			if len(parts) < 2 {
				t.Fatalf("%s:%d: %s\nwas not reached; the end of the output:\n%s", path, step.line, step.command, strings.Join(parts, ""))
			}
			printed += parts[0]
			if parts[1] != strconv.Itoa(step.exit) {
				t.Errorf("%s:%d: %s\nexit status %s, the document says %d; it printed:\n%s", path, step.line, step.command, parts[1], step.exit, parts[0])
			}
			parts = parts[2:]
		}
		if s.shown && !shows(s.want, printed) {
			t.Errorf("%s:%d: the document shows\n%s\nprinted was\n%s", path, s.steps[0].line, s.want, printed)
		}
	}
}

// shows reports whether a text block fits what was printed: line by line,
// where ... stands for any text within a line, and a line of ... alone for any
// number of lines.
func shows(want, got string) bool {
	var expr strings.Builder
	expr.WriteString(`\A`)
	for line := range strings.Lines(want) {
		line = strings.TrimRight(line, "\n")
		if line == "..." {
			expr.WriteString(`(?:.*\n)*`)
			continue
		}
		for i, piece := range strings.Split(line, "...") {
			if i > 0 {
				expr.WriteString(`.*`)
			}
			expr.WriteString(regexp.QuoteMeta(piece))
		}
		expr.WriteString(`\n`)
	}
	expr.WriteString(`\z`)
	var trimmed strings.Builder
	for line := range strings.Lines(got) {
		trimmed.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return regexp.MustCompile(expr.String()).MatchString(trimmed.String())
}

// The Korean documents are not followed: TestBothLanguagesGiveTheSameCommands
// holds their commands, exit statuses and outputs to those of the English ones.
func TestEveryCommandOfTheDocumentsDoesWhatTheyShow(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"README.md", "docs/runbook.md", "docs/exit-codes.md", "docs/walkthrough/p1-meta-db.md", "docs/walkthrough/chain.md"} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			follow(t, path)
		})
	}
}

// The walk from a file of prices to a judged book is typed in a folder that has the
// examples of a clone, with a Python that has what its first block installs: the one
// that QUANT_TEST_MODELS_PYTHON names, or one made from PyPI.
func TestTheWalkToAJudgedBookDoesWhatItShows(t *testing.T) {
	t.Parallel()
	path := "docs/walkthrough/research.md"
	pinned := filepath.Join(root, "internal", "test", "models", "python", "requirements.txt")
	requirements := strings.Fields(read(t, "internal/test/models/python/requirements.txt"))
	named := regexp.MustCompile(`\w+==[0-9.]+`).FindAllString(read(t, path), -1)
	for _, version := range named {
		if !slices.Contains(requirements, version) {
			t.Errorf("%s installs %s; the test runs on others", path, version)
		}
	}
	if len(named) != 3 {
		t.Errorf("%s installs %v", path, named)
	}
	python := tried.Python(t, "QUANT_TEST_MODELS_PYTHON", pinned)
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS(filepath.Join(root, "examples"))); err != nil {
		t.Fatal(err)
	}
	env := append(environment(dir), "PATH="+filepath.Dir(python)+string(os.PathListSeparator)+os.Getenv("PATH"))
	followIn(t, path, dir, env, 5*time.Minute)
}

func TestShownOutputThatDiffersIsNoticed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, got string
		fits      bool
	}{
		{"a\nb\n", "a\nb\n", true},
		{"a\n", "a\nb\n", false},
		{"a\n...\nz\n", "a\nz\n", true},
		{"a\n...\nz\n", "a\nb\nc\nz\n", true},
		{"run ... SUCCESS\n", "run 01a2 SUCCESS\n", true},
		{"run ... SUCCESS\n", "run 01a2\n SUCCESS\n", false},
		{"a.c\n", "abc\n", false},
		{"", "", true},
	} {
		if shows(c.want, c.got) != c.fits {
			t.Errorf("shows(%q, %q) is %v", c.want, c.got, !c.fits)
		}
	}
}

func TestBothLanguagesGiveTheSameCommands(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"README.md", "README.ko.md"}, {"docs/runbook.md", "docs/runbook.ko.md"}, {"docs/walkthrough/research.md", "docs/walkthrough/research.ko.md"}} {
		english, korean := sessions(t, pair[0]), sessions(t, pair[1])
		if len(english) != len(korean) {
			t.Errorf("%s has %d sh blocks, %s has %d", pair[0], len(english), pair[1], len(korean))
			continue
		}
		for i := range english {
			for n := range max(len(english[i].steps), len(korean[i].steps)) {
				var e, k step
				if n < len(english[i].steps) {
					e = english[i].steps[n]
				}
				if n < len(korean[i].steps) {
					k = korean[i].steps[n]
				}
				if e.command != k.command || e.exit != k.exit {
					t.Errorf("%s:%d: %s\n%s:%d: %s", pair[0], e.line, e.command, pair[1], k.line, k.command)
				}
			}
			if english[i].want != korean[i].want || english[i].shown != korean[i].shown {
				t.Errorf("block %d of %s and %s show different output", i+1, pair[0], pair[1])
			}
		}
		var plain [2][]string
		for i, path := range pair {
			for _, b := range blocks(read(t, path)) {
				if b.info == "shell" {
					plain[i] = append(plain[i], regexp.MustCompile(`(?m)\s*#.*$`).ReplaceAllString(b.text, ""))
				}
			}
		}
		if !slices.Equal(plain[0], plain[1]) {
			t.Errorf("the shell blocks of %s and %s differ:\n%q\n%q", pair[0], pair[1], plain[0], plain[1])
		}
	}
}

// quantIn runs the program in dir and returns its stdout.
func quantIn(t *testing.T, dir string, wantExit int, args ...string) []byte {
	t.Helper()
	return quantFed(t, dir, "", wantExit, args...)
}

// quantFed is quantIn with a text on standard input.
func quantFed(t *testing.T, dir, in string, wantExit int, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "quant", args...)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, environment(dir), strings.NewReader(in)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // the exit status says it
	if code := cmd.ProcessState.ExitCode(); code != wantExit {
		t.Fatalf("quant %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), code, wantExit, out.String(), errs.String())
	}
	return out.Bytes()
}

// asleep starts a recorded program that does nothing, and returns its run.
func asleep(t *testing.T, dir string) string {
	t.Helper()
	var listed []struct {
		RunID string `json:"run_id"`
	}
	cmd := exec.CommandContext(t.Context(), "quant", "exec", "--", "sleep", "600")
	cmd.Dir, cmd.Env = dir, environment(dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	for len(listed) == 0 {
		if err := json.Unmarshal(quantIn(t, dir, 0, "--output", "json", "runs", "list", "--kind", "exec", "--status", "RUNNING"), &listed); err != nil {
			t.Fatal(err)
		}
	}
	return listed[0].RunID
}

// column is one column as document and database have it.
type column struct {
	Name, Type string
	Null       bool
}

var cells = regexp.MustCompile("^\\| `([a-z0-9_]+)` \\| ([A-Z][^|]*?) \\| (yes|no) \\|")

// documentedTables reads the tables of one part of docs/db-schema.md: a
// heading "### `name`", a line "Key: ...", and the rows of its columns.
func documentedTables(t *testing.T, part string) (tables map[string][]column, keys map[string][]string) {
	t.Helper()
	_, text, found := strings.Cut(read(t, "docs/db-schema.md"), "\n## "+part+"\n")
	if !found {
		t.Fatalf("docs/db-schema.md has no part %q", part)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	tables, keys = map[string][]column{}, map[string][]string{}
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if heading, ok := strings.CutPrefix(line, "### "); ok {
			name = strings.Trim(heading, "`")
			tables[name] = nil
		}
		if key, ok := strings.CutPrefix(line, "Key: "); ok {
			key = regexp.MustCompile(`[;:.]`).Split(key, 2)[0]
			keys[name] = regexp.MustCompile("[a-z0-9_]+").FindAllString(strings.Join(regexp.MustCompile("`[^`]+`").FindAllString(key, -1), " "), -1)
		}
		if m := cells.FindStringSubmatch(line); m != nil {
			tables[name] = append(tables[name], column{m[1], m[2], m[3] == "yes"})
		}
	}
	return tables, keys
}

func compareTables(t *testing.T, part string, documented, real map[string][]column) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(real)) {
		if _, ok := documented[name]; !ok {
			t.Errorf("%s: table %s is not documented", part, name)
		} else if !slices.Equal(documented[name], real[name]) {
			t.Errorf("%s: table %s\n  document %v\n  database %v", part, name, documented[name], real[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		if _, ok := real[name]; !ok {
			t.Errorf("%s: the document has a table %s, the database has none", part, name)
		}
	}
}

func TestTheSchemaDocumentIsTheMetaDB(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	quantIn(t, dir, 0, "init-db")
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "data", "meta.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), `SELECT m.name, c.name, c.type, c."notnull", c.pk FROM sqlite_schema m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' ORDER BY m.name, c.cid`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	real, keys := map[string][]column{}, map[string][]string{}
	for rows.Next() {
		var table string
		var c column
		var notNull bool
		var key int
		if err := rows.Scan(&table, &c.Name, &c.Type, &notNull, &key); err != nil {
			t.Fatal(err)
		}
		c.Null = !notNull
		real[table] = append(real[table], c)
		if key > 0 {
			keys[table] = append(keys[table], c.Name)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	documented, documentedKeys := documentedTables(t, "Meta DB")
	compareTables(t, "Meta DB", documented, real)
	for table, key := range keys {
		if !slices.Equal(documentedKeys[table], key) {
			t.Errorf("Meta DB: table %s: the document says its key is %v, the database %v", table, documentedKeys[table], key)
		}
	}
}

func TestTheSchemaDocumentIsTheFactDB(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	quantIn(t, dir, 0, "init-db")
	db, err := factstore.OpenRead(t.Context(), factstore.Options{Path: filepath.Join(dir, "data", "quant.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(t.Context(), `SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns()
		WHERE database_name = current_database() AND schema_name = 'main' AND NOT internal ORDER BY table_name, column_index`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	real := map[string][]column{}
	for rows.Next() {
		var table string
		var c column
		if err := rows.Scan(&table, &c.Name, &c.Type, &c.Null); err != nil {
			t.Fatal(err)
		}
		if c.Type == "VARCHAR" {
			c.Type = "TEXT" // the same type under the name of the schema
		}
		real[table] = append(real[table], c)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	documented, documentedKeys := documentedTables(t, "Fact DB")
	compareTables(t, "Fact DB", documented, real)
	// No key is declared in the database; the catalogue has them.
	for _, table := range factstore.Tables() {
		if !slices.Equal(documentedKeys[table.Name], table.Key) {
			t.Errorf("Fact DB: table %s: the document says its key is %v, the program %v", table.Name, documentedKeys[table.Name], table.Key)
		}
	}
}

func TestTheExitStatusDocumentIsTheProgramsTable(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| (\\d+) \\| `([^`]+)` \\|").FindAllStringSubmatch(read(t, "docs/exit-codes.md"), -1) {
		documented[m[1]+" "+m[2]] = true
	}
	want := map[string]bool{"0 done": true}
	for _, c := range quant.Codes() {
		want[fmt.Sprintf("%d %s", c.ExitStatus(), c)] = true
	}
	for number, name := range map[int]string{125: "exec failed", 126: "not executable", 127: "no such program"} {
		want[fmt.Sprintf("%d %s", number, name)] = true // its tests hold them to the program
	}
	for number, name := range map[int]string{1: "SIGHUP", 2: "SIGINT", 13: "SIGPIPE", 15: "SIGTERM"} {
		want[fmt.Sprintf("%d %s", quant.ExitStatus(quant.Signalled{Number: number, Name: name}), name)] = true
	}
	if !maps.Equal(documented, want) {
		t.Errorf("docs/exit-codes.md has %v, the program %v", slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(want)))
	}
}

// opaque are the members whose insides are the user's or the program's own
// record, or another command's document, not part of a document's shape.
var opaque = []string{"config_json", "argv", "result", "split_policy_json", "params_json", "metrics_json", "environment_json"}

// paths adds the members of a JSON value: a, a.b, a[].b.
func paths(into map[string]bool, prefix string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			path := strings.TrimPrefix(prefix+"."+name, ".")
			into[path] = true
			if !slices.Contains(opaque, name) {
				paths(into, path, member)
			}
		}
	case []any:
		for _, element := range v {
			paths(into, prefix+"[]", element)
		}
	}
}

// TestTheJSONDocumentIsWhatTheCommandsPrint compares every member of every
// command's JSON, both ways.
func TestTheJSONDocumentIsWhatTheCommandsPrint(t *testing.T) {
	t.Parallel()
	documented := map[string]map[string]bool{}
	section := ""
	for line := range strings.Lines(read(t, "docs/json.md")) {
		if strings.HasPrefix(line, "## ") {
			section = ""
		}
		if heading, ok := strings.CutPrefix(line, "## `quant "); ok {
			section, _, _ = strings.Cut(heading, "`")
			documented[section] = map[string]bool{}
		}
		if m := regexp.MustCompile("^\\| `([^`]+)` \\|").FindStringSubmatch(line); m != nil && section != "" {
			documented[section][m[1]] = true
		}
	}

	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("prices.csv", "date,symbol,open,high,low,close,volume,note\n2024-01-02,IBM,162,163,160,161,3825000,x\n2024-01-03,IBM,1,2,3,1,5,x\n")
	write("names.csv", "symbol,name\nMSFT,Microsoft\nBAD ONE,x\n")
	printed := map[string]map[string]bool{}
	stdin := ""
	run := func(section string, exit int, args ...string) {
		t.Helper()
		out := quantFed(t, dir, stdin, exit, append([]string{"--output", "json"}, args...)...)
		if printed[section] == nil {
			printed[section] = map[string]bool{}
		}
		var v any
		if err := json.Unmarshal(out, &v); err != nil {
			t.Fatalf("quant %s: not one JSON document: %v\n%s", strings.Join(args, " "), err, out)
		}
		if section != "sql" && section != "strategy schema" { // their members are the query's columns, and JSON Schema's
			paths(printed[section], "", v)
		}
	}
	run("init-db", 0, "init-db")
	run("init-db", 0, "init-db", "--reset", "--yes")
	run("config", 0, "config")
	run("version", 0, "version")
	run("symbols add", 0, "symbols", "add", "AAPL")
	run("symbols import", 3, "symbols", "import", "names.csv")
	run("symbols set", 0, "symbols", "set", "AAPL", "--name", "Apple")
	run("symbols list", 0, "symbols", "list")
	run("symbols remove", 0, "symbols", "remove", "MSFT")
	run("tokens create", 0, "tokens", "create", "laptop", "--expires", "1d")
	run("tokens list", 0, "tokens", "list")
	run("tokens revoke", 0, "tokens", "revoke", "laptop")
	run("calendar add", 0, "calendar", "add", "--closed", "2031-01-02", "--reason", "why")
	run("calendar add", 0, "calendar", "add", "--closed", "2031-01-01")
	run("calendar list", 0, "calendar", "list")
	run("calendar remove", 0, "calendar", "remove", "2031-01-02")
	run("calendar list", 0, "calendar", "list", "--from", "2031-01-01", "--to", "2031-01-03")
	run("ingest", 0, "ingest", "prices.csv", "--max-reject-ratio", "1")
	run("calendar add", 0, "calendar", "add", "--closed", "2024-01-02")
	run("calendar check", 6, "calendar", "check")
	run("calendar remove", 0, "calendar", "remove", "2024-01-02")
	run("data check", 0, "data", "check")
	run("data status", 0, "data", "status")
	experiment := []string{"experiments", "create", "e", "--features", "ret_20d@v1", "--label", "fwd_ret_5d@v1", "--folds", "2", "--min-train", "10"}
	run("experiments create", 0, experiment...)
	run("experiments list", 0, "experiments", "list")
	run("experiments show", 0, "experiments", "show", "e")
	plantFeatures(t, dir)
	run("train", 0, "train", "--experiment", "e")
	run("models list", 0, "models", "list")
	run("models show", 0, "models", "show", "experiment:e")
	run("score", 0, "score", "--model", "experiment:e", "--asof", "2024-03-30")
	server := alphavantagetest.New(t)
	server.PlayDays("IBM", alphavantagetest.Weekdays(20468, 5, 1))
	write(".env", "ALPHA_VANTAGE_API_KEY="+alphavantagetest.Key+"\n")
	run("ingest", 0, "ingest", "--provider", "alphavantage", "--base-url", server.URL, "--symbols", "IBM")
	write("ibm.csv", "symbol,date,open,high,low,close,volume,adjusted_close\nIBM,2026-01-15,1,1,1,1,10,0.5\n")
	run("ingest", 3, "ingest", "ibm.csv")
	run("data prices", 0, "data", "prices", "IBM")
	write("chain.yaml", chainStrategy)
	run("pipeline run --dry-run", 0, "pipeline", "run", "--strategy", "chain.yaml", "--dry-run")
	const factor = "{type: factor_rank, inputs: {feature_name: ret_20d, feature_version: v1}}"
	write("by_model.yaml", strings.Replace(chainStrategy, factor, "{type: model_score, inputs: {model_id: experiment:e, task_id: wf}}", 1))
	run("pipeline run --dry-run", 0, "pipeline", "run", "--strategy", "by_model.yaml", "--dry-run", "--", "true")
	write("own.yaml", "version: own\nfeatures: {UP: \"$close / Ref($close, 1)\"}\n")
	write("by_own.yaml", strings.Replace(chainStrategy, factor, "{type: factor_rank, inputs: {feature_name: UP, feature_version: own}}", 1))
	run("pipeline run --dry-run", 0, "pipeline", "run", "--strategy", "by_own.yaml", "--features", "own.yaml", "--dry-run")
	run("pipeline run", 0, "pipeline", "run", "--strategy", "chain.yaml")
	run("lineage", 0, "lineage", "last")
	run("repro", 0, "repro", "last")
	run("sql", 0, "sql", "SELECT * FROM ohlcv")
	run("runs list", 0, "runs", "list")
	run("runs search", 0, "runs", "search")
	run("runs show", 0, "runs", "show", "last")
	run("runs export", 0, "runs", "export", "last", "runs.qrx")
	run("runs import", 0, "runs", "import", "runs.qrx")
	quantIn(t, dir, 0, "exec", "--", "echo", "hi")
	run("runs logs", 0, "runs", "logs", "last:exec")
	run("demo", 0, "demo")
	recorded := plantRecords(t, dir)
	run("runs show", 0, "runs", "show", recorded)
	run("runs compare", 0, "runs", "compare", recorded, "last", "--all")
	run("runs diff", 0, "runs", "diff", recorded, "last")
	run("runs rerun", 0, "runs", "rerun", "last:exec")
	run("runs rerun --dry-run", 0, "runs", "rerun", "last:exec", "--dry-run")
	run("runs watch", 0, "runs", "watch", recorded)
	run("jobs submit", 0, "jobs", "submit", "--", "symbols", "list")
	run("jobs cancel", 0, "jobs", "cancel", "1")
	run("jobs retry", 0, "jobs", "retry", "1")
	run("worker", 0, "worker", "--until-empty")
	run("schedule add", 0, "schedule", "add", "daily", "--after-close", "XKRX", "--", "symbols", "list")
	run("schedule list", 0, "schedule", "list")
	run("schedule remove", 0, "schedule", "remove", "daily")
	run("jobs list", 0, "jobs", "list")
	run("jobs show", 0, "jobs", "show", "1")
	run("jobs status", 0, "jobs", "status")
	run("jobs watch", 0, "jobs", "watch", "1")
	run("runs stats", 0, "runs", "stats")
	run("runs plot", 0, "runs", "plot", "loss", recorded, "--out", "loss.svg")
	run("runs artifact", 0, "runs", "artifact", recorded)
	write(".env", "QUANT_CALENDAR=data\n")
	run("features", 0, "--data-dir", "quant-demo/data", "features", "--force")
	run("labels", 0, "--data-dir", "quant-demo/data", "labels", "--horizon", "20")
	write("own.csv", "symbol,date,open,high,low,close,volume\nIBM,2024-01-02,9,11,9,10,1\nIBM,2024-01-03,9,11,9,10,1\nIBM,2024-01-04,9,11,9,10,1\nIBM,2026-01-15,9,11,9,10,1\n")
	quantIn(t, dir, 0, "--data-dir", "own/data", "ingest", "own.csv")
	write("stated.csv", statedFile)
	run("features import", 3, "--data-dir", "own/data", "features", "import", "stated.csv", "--feature-version", "stated", "--features", "mom", "--max-reject-ratio", "0.5")
	write("stated.csv", strings.ReplaceAll(statedFile, "0.5", "0.75"))
	run("features import", 3, "--data-dir", "own/data", "features", "import", "stated.csv", "--feature-version", "stated", "--features", "mom", "--max-reject-ratio", "0.5")
	run("predictions import", 3, "--data-dir", "own/data", "predictions", "import", "stated.csv", "--model", "m", "--map", "score=mom", "--max-reject-ratio", "0.5")
	write("stated.csv", strings.ReplaceAll(statedFile, "0.5", "0.25"))
	run("predictions import", 3, "--data-dir", "own/data", "predictions", "import", "stated.csv", "--model", "m", "--map", "score=mom", "--max-reject-ratio", "0.5")
	write("range.sql", rangeQuery)
	run("features --sql", 0, "--data-dir", "own/data", "features", "--sql", "range.sql", "--feature-version", "ranged", "--proof-days", "3")
	run("factor list", 0, "factor", "list")
	run("factor report", 0, "--data-dir", "quant-demo/data", "factor", "report", "--feature", "ret_20d", "--label", "fwd_ret_20d")
	out := quantIn(t, dir, 0, "--output", "json", "--data-dir", "quant-demo/data", "runs", "list", "--kind", "demo")
	var demos []struct {
		RunID string `json:"run_id"`
	}
	if err := json.Unmarshal(out, &demos); err != nil || len(demos) != 1 {
		t.Fatalf("the demo's run: %v %s", err, out)
	}
	run("runs show", 0, "--data-dir", "quant-demo/data", "runs", "show", demos[0].RunID)
	decided, err := filepath.Abs(filepath.Join(root, "strategies", "momentum_demo.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	run("backtest report", 0, "--data-dir", "quant-demo/data", "backtest", "report", "--full")
	write("known.csv", knownDelistings)
	run("delistings import", 0, "--data-dir", "quant-demo/data", "delistings", "import", "known.csv")
	run("delistings add", 0, "--data-dir", "quant-demo/data", "delistings", "add", "GONE", "--date", "2010-01-04", "--return", "-1")
	run("delistings remove", 0, "--data-dir", "quant-demo/data", "delistings", "remove", "GONE")
	run("delistings list", 0, "--data-dir", "quant-demo/data", "delistings", "list")
	write("members.csv", universeFile)
	run("universe import", 0, "universe", "import", "few", "members.csv")
	run("universe list", 0, "universe", "list")
	run("universe show", 0, "universe", "show", "few", "--at", "2024-01-02")
	run("universe remove", 0, "universe", "remove", "few")
	run("backtest", 0, "--data-dir", "quant-demo/data", "backtest", "--strategy", decided)
	run("sweep", 0, "--data-dir", "quant-demo/data", "sweep", "--strategy", decided, "--set", "portfolio.top_k=1,2")
	run("backtest list", 0, "--data-dir", "quant-demo/data", "backtest", "list")
	run("backtest compare", 0, "--data-dir", "quant-demo/data", "backtest", "compare", "last", "last")
	sided := []string{"--strategy", decided, "--set", "strategy_id=sided", "--set", "portfolio.side=long_short", "--set", "backtest.impact=1", "--from", "2012-06-01", "--to", "2012-12-31"}
	run("recommend", 0, append([]string{"--data-dir", "quant-demo/data", "recommend"}, sided...)...)
	run("backtest", 0, append([]string{"--data-dir", "quant-demo/data", "backtest"}, sided...)...)
	run("backtest compare", 0, "--data-dir", "quant-demo/data", "backtest", "compare", "last", "last")
	const elsewhere = "01890000-0000-7000-8000-00000000abcd"
	db, err := sql.Open("sqlite3", filepath.Join(dir, "data", "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, insert := range []string{
		`INSERT INTO runs (run_id, kind, status, started_at) VALUES (?, 'ingest', 'RUNNING', '2023-06-28T00:00:00.000000Z')`,
		`INSERT INTO run_process (run_id, changes, pid, machine_id) VALUES (?, 1, 1, 'another machine')`,
	} {
		if _, err := db.ExecContext(t.Context(), insert, elsewhere); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	run("doctor", 0, "doctor")
	run("runs close", 0, "runs", "close", "abcd")
	run("runs delete", 0, "runs", "delete", "abcd")
	run("runs restore", 0, "runs", "restore", "abcd")
	run("runs delete", 0, "runs", "delete", "abcd")
	run("runs purge", 0, "runs", "purge", "abcd", "--yes")
	run("gc", 0, "gc", "--reads")
	run("lab move", 0, "lab", "move", "--to-data-dir", "moved")
	run("backup", 0, "backup", "lab.tar")
	run("restore", 0, "restore", "lab.tar", "--yes")
	run("log metric", 0, "log", "metric", "--run", "last", "loss=0.5")
	run("log param", 0, "log", "param", "--run", "last", "lr=0.1")
	run("log tag", 0, "log", "tag", "--run", "last", "team=alpha")
	run("log note", 0, "log", "note", "--run", "last", "text")
	run("log artifact", 0, "log", "artifact", "--run", "last", "names.csv")
	stdin = "{\"metric\":\"loss\",\"value\":1}\n{}\n"
	run("log", 3, "log", "--stdin", "--run", "last")
	stdin = "{\"metric\":\"loss\",\"value\":1,\"run\":\"last\"}\n"
	run("log", 0, "log", "--stdin")
	stdin = ""
	run("runs stop", 0, "runs", "stop", asleep(t, dir))

	dir = strategyLab(t)
	run("strategy validate", 2, "strategy", "validate", "good.yaml", "bad.yaml")
	run("strategy show", 0, "strategy", "show", "good.yaml")
	run("strategy schema", 0, "strategy", "schema")
	run("recommend", 0, "recommend", "--strategy", "good.yaml", "--from", "2024-01-02")
	if !inLake(t, func(lake string) {
		dir = lake
		run("lab compact", 0, "lab", "compact")
	}) {
		printed["lab compact"] = documented["lab compact"]
	}

	for _, section := range slices.Sorted(maps.Keys(printed)) {
		if documented[section] == nil {
			t.Errorf("docs/json.md has no part `quant %s`", section)
			continue
		}
		for path := range printed[section] {
			if !documented[section][path] {
				t.Errorf("quant %s prints %s, docs/json.md does not have it", section, path)
			}
		}
		for path := range documented[section] {
			if !printed[section][path] {
				t.Errorf("docs/json.md: quant %s has %s, the command does not print it", section, path)
			}
		}
	}
	for _, command := range leaves(t) {
		if documented[command] == nil && command != "exec" && command != "serve" && !strings.HasPrefix(command, "completion") {
			t.Errorf("docs/json.md has no part `quant %s`", command)
		}
	}
	for section := range documented {
		if printed[section] == nil {
			t.Errorf("docs/json.md has `quant %s`, which this test does not run", section)
		}
	}
}

// leaves are the commands that have none below them, of the generated reference.
func leaves(t *testing.T) (list []string) {
	t.Helper()
	var all []string
	for _, m := range regexp.MustCompile("(?m)^## quant (.+)$").FindAllStringSubmatch(read(t, "docs/cli.md"), -1) {
		all = append(all, m[1])
	}
	for _, command := range all {
		if !slices.ContainsFunc(all, func(other string) bool { return strings.HasPrefix(other, command+" ") }) {
			list = append(list, command)
		}
	}
	if len(list) < 50 {
		t.Fatalf("docs/cli.md has %d commands", len(list))
	}
	return list
}

// statedFile holds a feature of the days that the documents' lab has, and a row that
// looks ahead.
const statedFile = "symbol,ts,known_at,mom,note\nIBM,2024-01-02,2024-01-02,0.5,x\nIBM,2024-01-02,2024-01-02,0.5,x\nIBM,2026-01-15,2026-01-16,1,x\n"

// rangeQuery computes a feature.
const rangeQuery = "SELECT symbol, ts, high / low - 1 AS day_range FROM ohlcv"

// inLake calls fn with a lab that has its facts on a lake, and reports whether this
// machine can have one.
func inLake(t *testing.T, fn func(dir string)) (could bool) {
	t.Helper()
	t.Run("lake", func(t *testing.T) {
		dir := t.TempDir()
		settings := "QUANT_FACTS_URL=" + laketest.URL(t) + "\nQUANT_EXTENSIONS_DIR=" + laketest.Extensions(t) + "\n"
		if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
		could = true
		quantIn(t, dir, 0, "init-db")
		fn(dir)
	})
	return could
}

// strategyLab is a folder with a lab of two names on three days, their signals,
// and strategies: a good one that some rule strikes, and a bad one.
func strategyLab(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	const good = "strategy_id: demo\nversion: \"1\"\nuniverse: {type: symbols, symbols: [A, B]}\nsignal: {type: factor_rank, inputs: {feature_name: ret_20d, feature_version: v1}}\n" +
		"rebalance: {frequency: daily, asof_policy: close}\nportfolio: {top_k: 2, weighting: equal}\n"
	for name, text := range map[string]string{
		".env":       "QUANT_CALENDAR=data\n",
		"good.yaml":  good,
		"bad.yaml":   good + "top_k: 3\n",
		"prices.csv": "date,symbol,open,high,low,close,adjusted_close,volume\n2024-01-02,A,1,1,1,1,1,1\n2024-01-03,A,1,1,1,1,1,1\n2024-01-02,B,1,1,1,1,1,1\n2024-01-03,B,1,1,1,1,1,1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	quantIn(t, dir, 0, "ingest", "prices.csv")
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: filepath.Join(dir, "data", "quant.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Write(t.Context(), "signals", func(ctx context.Context, tx *factstore.Tx) error {
		if _, err := tx.Stage(ctx, "CREATE TEMP TABLE given AS SELECT symbol, ts, 'ret_20d' AS feature_name, 1::DOUBLE AS feature_value, 'v1' AS feature_version FROM ohlcv"); err != nil {
			return err
		}
		_, err := tx.Merge(ctx, factstore.Merge{Table: "features_daily", Source: "given"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTheCSVHeadersAreTheDocumentedOnes(t *testing.T) {
	t.Parallel()
	_, text, found := strings.Cut(read(t, "docs/json.md"), "\n## CSV\n")
	if !found {
		t.Fatal("docs/json.md has no part CSV")
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]+)` \\|").FindAllStringSubmatch(text, -1) {
		documented[m[1]] = m[2]
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"prices.csv":  "date,symbol,open,high,low,close,volume\n2024-01-02,IBM,162,163,160,161,3825000\n2024-01-03,IBM,162,163,160,162,3825000\n",
		".env":        "QUANT_CALENDAR=data\n",
		"names.csv":   "symbol,name\nMSFT,Microsoft\n",
		"known.csv":   knownDelistings,
		"members.csv": universeFile,
		"chain.yaml":  chainStrategy,
		"stated.csv":  "symbol,ts,mom\nIBM,2024-01-02,0.5\n",
		"range.sql":   rangeQuery,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	quantIn(t, dir, 0, "exec", "--", "echo", "hi")
	printed := map[string]string{}
	decided, err := filepath.Abs(filepath.Join(root, "strategies", "momentum_demo.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ command, args string }{
		{"init-db", ""},
		{"config", ""},
		{"version", ""},
		{"symbols add", "AAPL"},
		{"symbols import", "names.csv"},
		{"symbols set", "AAPL --sector Technology"},
		{"symbols remove", "MSFT"},
		{"symbols list", ""},
		{"tokens create", "laptop"},
		{"tokens list", ""},
		{"tokens revoke", "laptop"},
		{"calendar add", "--closed 2031-01-02"},
		{"calendar list", ""},
		{"calendar remove", "2031-01-02"},
		{"ingest", "prices.csv"},
		{"data check", ""},
		{"data status", ""},
		{"experiments create", "e --features ret_20d@v1 --label fwd_ret_5d@v1 --folds 2 --min-train 10"},
		{"experiments list", ""},
		{"experiments show", "e"},
		{"train", "--experiment e"},
		{"models list", ""},
		{"models show", "experiment:e"},
		{"score", "--model experiment:e --asof 2024-03-30"},
		{"data prices", "IBM"},
		{"pipeline run", "--strategy chain.yaml"},
		{"lineage", "last"},
		{"repro", "last"},
		{"features", ""},
		{"features import", "stated.csv --feature-version stated"},
		{"features --sql", "range.sql --feature-version ranged"},
		{"predictions import", "stated.csv --model m --map score=mom"},
		{"labels", "--horizon 1"},
		{"factor list", ""},
		{"runs list", ""},
		{"runs search", ""},
		{"runs show", "last"},
		{"runs export", "last runs.qrx"},
		{"runs import", "runs.qrx"},
		{"log", "--stdin --run last"},
		{"log metric", "--run last loss=0.5"},
		{"log param", "--run last lr=0.1"},
		{"log tag", "--run last team=alpha"},
		{"log note", "--run last text"},
		{"log artifact", "--run last names.csv"},
		{"runs compare", "last last:ingest"},
		{"runs rerun", "last:exec"},
		{"runs rerun --dry-run", "last:exec"},
		{"runs diff", "last last"},
		{"runs watch", "last"},
		{"jobs submit", "-- symbols list"},
		{"jobs list", ""},
		{"jobs show", "1"},
		{"jobs status", ""},
		{"jobs cancel", "1"},
		{"jobs watch", ""},
		{"jobs retry", "1"},
		{"worker", "--until-empty"},
		{"schedule add", "daily --after-close XKRX -- symbols list"},
		{"schedule list", ""},
		{"schedule remove", "daily"},
		{"runs stats", ""},
		{"runs plot", "loss RECORDED"},
		{"runs artifact", "last"},
		{"runs logs", "last:exec"},
		{"doctor", ""},
		{"runs delete", "last:labels"},
		{"gc", ""},
		{"backup", "lab.tar"},
		{"restore", "lab.tar --yes"},
		{"demo", ""},
		{"delistings import", "known.csv"},
		{"delistings add", "GONE --date 2010-01-04"},
		{"delistings remove", "GONE"},
		{"delistings list", ""},
		{"universe import", "few members.csv"},
		{"universe list", ""},
		{"universe show", "few"},
		{"universe remove", "few"},
		{"backtest", "--data-dir quant-demo/data --strategy " + decided},
		{"backtest list", "--data-dir quant-demo/data"},
		{"calendar check", "--data-dir quant-demo/data"},
		{"backtest compare", "last last --data-dir quant-demo/data"},
		{"lab move", "--to-data-dir moved"},
		{"factor report", "--feature hl_range --label fwd_ret_1d"},
		{"strategy validate", "good.yaml"},
		{"strategy show", "good.yaml"},
		{"strategy schema", ""},
		{"recommend", "--strategy good.yaml --from 2024-01-02"},
	} {
		dir := dir
		if strings.HasPrefix(c.command, "strategy") || c.command == "recommend" {
			dir = strategyLab(t)
		}
		of := "data"
		if strings.HasPrefix(c.command, "calendar") { // data has no days of its own
			of = "XNYS"
		}
		if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("QUANT_CALENDAR="+of+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if c.command == "train" {
			plantFeatures(t, dir)
		}
		if before, after, planted := strings.Cut(c.args, "RECORDED"); planted {
			c.args = before + plantRecords(t, dir) + after
		}
		out := quantIn(t, dir, 0, append([]string{"--output", "csv"}, strings.Fields(c.command+" "+c.args)...)...)
		printed[c.command], _, _ = strings.Cut(string(out), "\n")
	}
	if !inLake(t, func(lake string) {
		printed["lab compact"], _, _ = strings.Cut(string(quantIn(t, lake, 0, "--output", "csv", "lab", "compact")), "\n")
	}) {
		printed["lab compact"] = documented["lab compact"]
	}
	if !maps.Equal(documented, printed) {
		t.Errorf("docs/json.md has %q\nprinted is %q", documented, printed)
	}
}

// knownDelistings has every symbol of the demo delisted within its days.
const knownDelistings = "symbol,date,return\nAAPL,2012-06-04,-1\nFB,2012-06-04,-1\nGOOG,2012-06-04,-1\nIBM,2012-06-04,-1\nMSFT,2012-06-04,-1\n"

// universeFile has a member that stays and one that leaves.
const universeFile = "symbol,from,to\nIBM,2024-01-02,\nAAPL,2024-01-02,2024-06-28\n"

// chainStrategy is a strategy on the symbols that plantFeatures plants.
const chainStrategy = `strategy_id: chain
version: "1"
universe:  {type: symbols, symbols: [S0, S1, S2]}
signal:    {type: factor_rank, inputs: {feature_name: ret_20d, feature_version: v1}}
rebalance: {frequency: monthly, asof_policy: close}
portfolio: {top_k: 2, weighting: equal}
backtest:  {from: "2024-02-01", to: "2024-03-20"}
`

// plantFeatures writes a feature and a label of five symbols on 90 days, as
// its last ingest, and the bars that make these days sessions.
func plantFeatures(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("QUANT_CALENDAR=data\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var ingests []struct {
		RunID string `json:"run_id"`
	}
	if err := json.Unmarshal(quantIn(t, dir, 0, "--output", "json", "runs", "list", "--kind", "ingest"), &ingests); err != nil || len(ingests) == 0 {
		t.Fatal("no ingest before", err)
	}
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: filepath.Join(dir, "data", "quant.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Write(t.Context(), ingests[0].RunID, func(ctx context.Context, tx *factstore.Tx) error {
		for _, q := range []string{
			"CREATE TEMP TABLE n AS SELECT 'S' || s AS symbol, DATE '2024-01-01' + i::INTEGER AS ts, sin(7 * i + s * i) AS x, i, TIMESTAMP '" + tx.Now.Format("2006-01-02 15:04:05.000000") + "' AS now FROM range(90) a(i), range(5) b(s)",
			"INSERT INTO ohlcv SELECT symbol, ts, 1, 2, 0.5, 1, 9, NULL, 'planted', now FROM temp.main.n",
			"INSERT INTO features_daily SELECT symbol, ts, 'ret_20d', x, 'v1', now FROM temp.main.n",
			"INSERT INTO labels SELECT symbol, ts, 'fwd_ret_5d', x / 10, 'v1' FROM temp.main.n WHERE i < 85",
			"INSERT INTO fact_slices SELECT 'labels', symbol, 'fwd_ret_5d', 'v1', min(ts), max(ts), '" + tx.RunID + "' FROM temp.main.n GROUP BY symbol",
		} {
			if err := factstoretest.Exec(ctx, tx, q); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// plantRecords gives the newest ingest everything that a run can have beside
// what quant records of it, and returns its id.
func plantRecords(t *testing.T, dir string) string {
	t.Helper()
	db, err := sql.Open("sqlite3", filepath.Join(dir, "data", "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var id string
	if err := db.QueryRowContext(t.Context(), `SELECT run_id FROM runs WHERE kind = 'ingest' AND status = 'SUCCESS' ORDER BY run_id DESC LIMIT 1`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	digest, _, err := artifact.Store{Dir: filepath.Join(dir, "data", "meta.db.artifacts")}.Put(t.Context(), strings.NewReader("plot\n"))
	if err != nil {
		t.Fatal(err)
	}
	const now = `'2024-03-01T00:00:00.000000Z'`
	for _, insert := range []string{
		`INSERT INTO run_params VALUES (?, 'lr', '0.1', 0.1)`,
		`INSERT INTO run_tags VALUES (?, 'name', 'baseline', NULL)`,
		`INSERT INTO run_metrics VALUES (?, 'loss', 2, 1, 0.5, 0.5, 1)`,
		`INSERT INTO run_metric_points VALUES (?1, 'loss', 1, 0, 1, ` + now + `), (?1, 'loss', 2, 1, 0.5, ` + now + `)`,
		`INSERT INTO run_notes VALUES (?, 1, 'looks good', ` + now + `)`,
		`INSERT INTO run_artifacts VALUES (?, 'plot.png', '` + digest + `', 5, ` + now + `)`,
		`INSERT INTO run_programs (run_id, path) VALUES (?, '/usr/bin/python3')`,
		`INSERT INTO run_imports VALUES (?, ` + now + `, NULL)`,
		`INSERT INTO run_deletions VALUES (?, ` + now + `, NULL)`,
	} {
		if _, err := db.ExecContext(t.Context(), insert, id); err != nil {
			t.Fatalf("%s: %v", insert, err)
		}
	}
	return id
}

// declared returns every function, method and test of a Go file, and every
// type and constant.
func declared(t *testing.T, path string) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, filepath.FromSlash(path)), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return nil
	}
	names := map[string]bool{}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names[d.Name.Name] = true
			if d.Recv != nil && len(d.Recv.List) == 1 {
				receiver := d.Recv.List[0].Type
				if star, ok := receiver.(*ast.StarExpr); ok {
					receiver = star.X
				}
				if id, ok := receiver.(*ast.Ident); ok {
					names[id.Name+"."+d.Name.Name] = true
				}
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					names[s.Name.Name] = true
				case *ast.ValueSpec:
					for _, n := range s.Names {
						names[n.Name] = true
					}
				}
			}
		}
	}
	return names
}

// reference is `path/file.go` or `path/file.go` `Name`, as the documents write
// them: in one code span, a space between.
var reference = regexp.MustCompile("`((?:[a-z0-9_]+/)*[a-z0-9_]+\\.go)(?: ([A-Za-z0-9_.]+))?`")

func TestEveryFileAndFunctionThatTheDocumentsNameIsThere(t *testing.T) {
	t.Parallel()
	counted := map[string]int{}
	for _, path := range []string{"docs/walkthrough/p1-meta-db.md", "docs/walkthrough/chain.md", "docs/architecture.md", "docs/plan.md", "docs/server.md", "CONTRIBUTING.md"} {
		for _, m := range reference.FindAllStringSubmatch(read(t, path), -1) {
			counted[path]++
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s names %s: %v", path, m[1], err)
			} else if m[2] != "" && !declared(t, m[1])[m[2]] {
				t.Errorf("%s names %s in %s, which does not declare it", path, m[2], m[1])
			}
		}
	}
	if counted["docs/walkthrough/p1-meta-db.md"] < 20 {
		t.Errorf("the walkthrough names %d files and functions", counted["docs/walkthrough/p1-meta-db.md"])
	}
}

// Each class of weakness that other servers had names the test that shows that this
// one does not; that the test is there, TestEveryFileAndFunctionThatTheDocumentsNameIsThere
// shows.
func TestEveryWeaknessOfOtherServersNamesATest(t *testing.T) {
	t.Parallel()
	_, table, found := strings.Cut(read(t, "docs/server.md"), "\n| class | known as | here | test |\n|---|---|---|---|\n")
	if !found {
		t.Fatal("docs/server.md has no table of them")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")
	if len(rows) < 15 {
		t.Errorf("it has %d rows", len(rows))
	}
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		if len(cells) != 4 {
			t.Errorf("%d cells: %s", len(cells), row)
			continue
		}
		named := reference.FindAllStringSubmatch(cells[3], -1)
		for _, m := range named {
			if !strings.HasPrefix(m[2], "Test") && !strings.HasPrefix(m[2], "Fuzz") {
				t.Errorf("%s is no test: %s", m[0], row)
			}
		}
		if len(named) != strings.Count(cells[3], "`")/2 || len(named) == 0 {
			t.Errorf("it names no test, or something else: %s", row)
		}
	}
}

// TestEveryItemOfThePlanNamesATestThatIsThere reads docs/plan.md: the last cell
// of a row holds `Test` names or `path/to.txtar`.
func TestEveryItemOfThePlanNamesATestThatIsThere(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			tests[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	items := 0
	for line := range strings.Lines(read(t, "docs/plan.md")) {
		row := strings.Split(strings.TrimSpace(line), " | ")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| item") || len(row) != 4 {
			continue
		}
		items++
		named := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[3], -1)
		if len(named) == 0 {
			t.Errorf("docs/plan.md: no test in %s", line)
		}
		for _, m := range named {
			if strings.HasSuffix(m[1], ".txtar") {
				if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(m[1]))); err != nil {
					t.Errorf("docs/plan.md: %v", err)
				}
			} else if !tests[m[1]] {
				t.Errorf("docs/plan.md: there is no test %s", m[1])
			}
		}
	}
	if items < 10 {
		t.Errorf("docs/plan.md has %d items", items)
	}
}

// TestEveryLinkLeadsSomewhere follows the links between the documents.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	t.Parallel()
	var pages []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	if len(pages) < 10 {
		t.Fatalf("only %d documents", len(pages))
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(string(text), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			to := page
			if target != "" {
				to = filepath.Join(filepath.Dir(page), filepath.FromSlash(target))
			}
			linked, err := os.Stat(to)
			if err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
				continue
			}
			if anchor != "" && !linked.IsDir() && !anchors(t, to)[anchor] {
				t.Errorf("%s links to %s: no such heading", page, m[1])
			}
		}
	}
}

// anchors are the headings of a document as links name them.
func anchors(t *testing.T, path string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			continue
		}
		name := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
		name = regexp.MustCompile(`[^\p{L}\p{N}\- _]`).ReplaceAllString(name, "")
		found[strings.ReplaceAll(name, " ", "-")] = true
	}
	return found
}
