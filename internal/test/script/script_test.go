package script

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/transform"

	"quant/internal/factstore"
	"quant/internal/metastore/postgres"
	"quant/internal/metastore/postgrestest"
	"quant/internal/test/labtest"
	"quant/internal/test/laketest"
)

// TestScripts runs the acceptance tests: each file is a session of commands
// with what they must print and how they must exit.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, params(func(*testscript.Env) {}))
}

// onServer are the scripts whose lab may have its Meta DB on a server as well: they
// name no file of it, and must print the same, digests included.
var onServer = []string{
	"pipeline", "runs", "runs_search", "log", "exec", "features", "labels", "models", "recommend", "backtest",
	"calendar", "carry_mlflow", "ingest", "jobs", "prices", "see", "serve", "sql", "strategy", "symbols", "symbols_import",
}

// onTeam are those whose facts may be on a lake as well.
var onTeam = []string{"backtest", "exec", "features", "labels"}

// TestScriptsOnPostgreSQL runs scripts in labs whose Meta DB is a database of
// PostgreSQL, prepared for each.
func TestScriptsOnPostgreSQL(t *testing.T) {
	t.Parallel()
	server := postgrestest.Shared(t)
	runOn(t, onServer, []string{"server"}, func(env *testscript.Env) { env.Setenv("QUANT_META_URL", metaOn(t, server)) })
}

// TestScriptsOnATeamsBackends runs scripts in labs of which nothing is in a file: the Meta
// DB is a database of PostgreSQL, and the facts are on a lake. Each of both is new.
func TestScriptsOnATeamsBackends(t *testing.T) {
	t.Parallel()
	server, extensions := postgrestest.Shared(t), laketest.Extensions(t)
	runOn(t, onTeam, []string{"server", "lake"}, func(env *testscript.Env) {
		env.Setenv("QUANT_META_URL", metaOn(t, server))
		lake := laketest.URL(t)
		db, err := factstore.OpenWrite(context.Background(), factstore.Options{URL: lake, Extensions: extensions, TempDir: t.TempDir()})
		if err == nil {
			err = db.Close()
		}
		labtest.Must(t, err)
		env.Setenv("QUANT_FACTS_URL", lake)
		env.Setenv("QUANT_EXTENSIONS_DIR", extensions)
	})
}

// metaOn is the URL of a prepared Meta DB of its own.
func metaOn(t *testing.T, server *postgrestest.Server) string {
	return server.Prepared(t, func(ctx context.Context, url string) error {
		db, err := postgres.Open(ctx, postgres.Options{URL: url, Create: true})
		if err != nil {
			return err
		}
		return db.Close()
	})
}

// runOn runs scripts, to which what holds of their lab are conditions: its Meta DB is on a
// server, its facts are on a lake.
func runOn(t *testing.T, names, holds []string, where func(env *testscript.Env)) {
	p := params(where)
	p.Condition = func(cond string) (bool, error) { return slices.Contains(holds, cond), nil }
	for _, name := range names {
		p.Files = append(p.Files, filepath.Join(p.Dir, name+".txtar"))
	}
	p.Dir = ""
	testscript.Run(t, p)
}

// params are those of a run of the scripts; where is told of each before it begins.
func params(where func(env *testscript.Env)) testscript.Params {
	return testscript.Params{
		Dir:                 filepath.Join("..", "..", "..", "testdata", "script"),
		RequireExplicitExec: true,
		Condition:           func(string) (bool, error) { return false, nil },
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			name, value, _ := strings.Cut(labtest.NoRaceSleep, "=")
			env.Setenv(name, value)
			where(env)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": wantStatus, "json": wantJSON, "encode": encode, "foreignrun": foreignRun, "signals": signals,
		},
	}
}

// wantStatus runs a command and checks its exit status: status N quant ...
func wantStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command ...")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit status %d, want %s", got, args[0])
	}
}

// wantJSON checks that a file (or stdout) is one JSON document, and that the
// values at PATH=VALUE pairs (a.0.b=text) are these: json stdout 0.kind=ingest
func wantJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: json FILE [PATH=VALUE ...]")
	}
	var doc any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &doc); err != nil {
		ts.Fatalf("%s is not one JSON document: %v", args[0], err)
	}
	for _, pair := range args[1:] {
		path, want, _ := strings.Cut(pair, "=")
		at := doc
		for _, step := range strings.Split(path, ".") {
			switch v := at.(type) {
			case map[string]any:
				at = v[step]
			case []any:
				i, err := strconv.Atoi(step)
				if step == "length" {
					at = len(v)
				} else if err != nil || i >= len(v) {
					ts.Fatalf("%s: no %s among %d", path, step, len(v))
				} else {
					at = v[i]
				}
			default:
				ts.Fatalf("%s: nothing is under %s", path, step)
			}
		}
		got := fmt.Sprint(at)
		if f, ok := at.(float64); ok {
			got = strconv.FormatFloat(f, 'f', -1, 64)
		}
		if got != want {
			ts.Fatalf("%s is %q, want %q", path, got, want)
		}
	}
}

// foreignRun records a RUNNING run of another machine: foreignrun META-DB
func foreignRun(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: foreignrun FILE")
	}
	db, err := sql.Open("sqlite3", ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	_, err = db.Exec(`INSERT INTO runs (run_id, kind, status, started_at) VALUES ('01900000-0000-7000-8000-00000000abcd', 'ingest', 'RUNNING', '2024-06-09T17:20:44.000000Z');
		INSERT INTO run_process (run_id, changes, host, machine_id, boot_id, pid, process_start) VALUES ('01900000-0000-7000-8000-00000000abcd', 1, 'elsewhere', 'another', 'boot', 1, '1')`)
	ts.Check(err)
}

// encode writes a file in another form: encode cp949|gzip|bom FROM TO
func encode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: encode cp949|gzip|bom FROM TO")
	}
	text := []byte(ts.ReadFile(args[1]))
	var out bytes.Buffer
	var err error
	switch args[0] {
	case "cp949":
		w := transform.NewWriter(&out, korean.EUCKR.NewEncoder())
		_, err = w.Write(text)
		err = errors.Join(err, w.Close())
	case "gzip":
		w := gzip.NewWriter(&out)
		_, err = w.Write(text)
		err = errors.Join(err, w.Close())
	case "bom":
		out.WriteString("\ufeff")
		out.Write(text)
	default:
		ts.Fatalf("unknown form %s", args[0])
	}
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), out.Bytes(), 0o600))
}

// signals puts values of features_daily into a Fact DB, beside the program and
// its records: signals FACT-DB CSV (symbol,ts,feature_name,feature_value,feature_version)
func signals(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: signals FACT-DB CSV")
	}
	ctx := context.Background()
	db, err := factstore.OpenWrite(ctx, factstore.Options{Path: ts.MkAbs(args[0])})
	ts.Check(err)
	defer db.Close()
	_, err = db.Write(ctx, "signals", func(ctx context.Context, tx *factstore.Tx) error {
		if _, err := tx.Stage(ctx, "CREATE TEMP TABLE given AS FROM read_csv(?, header = true, types = {'symbol': 'TEXT', 'ts': 'DATE', 'feature_value': 'DOUBLE'})", ts.MkAbs(args[1])); err != nil {
			return err
		}
		_, err := tx.Merge(ctx, factstore.Merge{Table: "features_daily", Source: "given"})
		return err
	})
	ts.Check(err)
}
