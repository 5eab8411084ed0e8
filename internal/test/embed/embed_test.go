package embed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"quant"
	"quant/internal/lab"
	"quant/internal/lab/place"
	"quant/internal/metastore"
)

// asProgram names the folder in which this test binary is to be the program.
const asProgram = "QUANT_TEST_EMBED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asProgram); dir != "" {
		if err := Program(context.Background(), dir, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(quant.ExitStatus(err))
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// run runs the program as a process of its own and returns all that it prints.
func run(t *testing.T, dir string) (stdout, stderr string, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), asProgram+"="+dir)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func TestAProgramWorksWithALabAndNothingElseIsPrinted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wanted := regexp.MustCompile(`^pipeline: 7 stages, \d+ trades
sweep: 2 trials, the best with portfolio\.top_k=[12]
compare: run [0-9a-f]{8} has top_k 1
compare: run [0-9a-f]{8} has top_k 2
search: \d+ backtests
$`)
	for range 2 { // the second time the prices, features and labels stand
		stdout, stderr, err := run(t, dir)
		if err != nil || stderr != "" || !wanted.MatchString(stdout) {
			t.Fatalf("%v\nstdout %s\nstderr %q", err, stdout, stderr)
		}
	}

	// What it did is recorded as if it had been typed.
	l := lab.New(lab.Options{Place: place.In(filepath.Join(dir, "data"))})
	if err := l.Open(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	own, err := l.Meta.ListRuns(t.Context(), metastore.RunFilter{Kind: "embed"})
	if err != nil || len(own) != 2 {
		t.Fatal(own, err)
	}
	kinds := map[string]int{}
	for _, program := range own {
		inside, err := l.Meta.ListRuns(t.Context(), metastore.RunFilter{All: true, Parent: program.RunID})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range append(inside, program) {
			if r.Status != quant.Success || len(r.ConfigJSON) == 0 {
				t.Errorf("%s %s: %s", r.Kind, r.Status, r.ErrorText)
			}
			kinds[r.Kind]++
		}
	}
	for kind, n := range map[string]int{"ingest": 1, "features": 1, "labels": 1, "recommend": 2 + 4, "backtest": 2 + 4} {
		if kinds[kind] != n {
			t.Errorf("%d runs of %s, want %d", kinds[kind], kind, n)
		}
	}
}

func TestAProgramThatFailsLeavesAClosedRecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"momentum_demo.yaml", "stocks.csv.gz"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("strategy_id: [\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stdout, stderr, err := run(t, dir)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || stdout != "" || stderr == "" {
		t.Fatalf("%v %q %q", err, stdout, stderr)
	}
	l := lab.New(lab.Options{Place: place.In(filepath.Join(dir, "data"))})
	if err := l.Open(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	all, err := l.Meta.ListRuns(t.Context(), metastore.RunFilter{All: true})
	if err != nil || len(all) != 1 || all[0].Status != quant.Fail || all[0].ErrorText == "" {
		t.Errorf("%+v, %v", all, err)
	}
}
