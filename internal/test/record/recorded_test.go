package record

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"quant/internal/cli"
	"quant/internal/output"
	"quant/internal/secret"
	"quant/internal/test/labtest"
)

// commandTree is the tree of this binary, built without running anything.
func commandTree() *cli.Tree {
	mask := &secret.Masker{}
	env := &cli.Env{Mask: mask}
	env.Printer = output.NewPrinter(output.Streams{}, mask, &secret.Masker{}, nil)
	return cli.New(env)
}

// leaves returns the words of every runnable command without subcommands, and
// of every group.
func leaves(c *cobra.Command, words []string) (out, groups [][]string) {
	for _, sub := range c.Commands() {
		path := append(append([]string{}, words...), sub.Name())
		if sub.HasSubCommands() {
			groups = append(groups, path)
			o, g := leaves(sub, path)
			out, groups = append(out, o...), append(groups, g...)
		} else {
			out = append(out, path)
		}
	}
	return out, groups
}

// worksBare are the groups that also do something of their own where no flag is given.
var worksBare = []string{"features"}

func TestEveryLeafOfTheCommandTreeIsRecordedOnceUnderItsPath(t *testing.T) {
	t.Parallel()
	tree := commandTree()
	all, groups := leaves(tree.Root, nil)
	unrecorded := map[string]bool{"help": true, "version": true}
	recorded := 0
	for _, words := range all {
		kind := strings.Join(words, ".")
		if unrecorded[kind] || words[0] == "completion" {
			continue
		}
		recorded++
		for name, extra := range map[string][]string{
			"bare":          nil,
			"usage error":   {"--no-such-flag"},
			"too many args": {"--", "a", "b c", "--no-such-flag"},
			"empty value":   {"--sqlite="},
			"bad format":    {"--output", "yaml"},
			"bad wait":      {"--wait", "soon"},
		} {
			if labtest.RaceDetector && name != "bare" {
				continue // it ends at its flags, where nothing is concurrent
			}
			t.Run(kind+"/"+name, func(t *testing.T) {
				t.Parallel()
				l := labtest.New(t)
				if kind == "serve" && name == "bare" {
					extra = []string{"--addr", "127.0.0.1:0"} // others may be at the port that it has by itself
				}
				p := l.Start(nil, append(append([]string{}, words...), extra...)...)
				if name == "bare" && (kind == "runs.watch" || kind == "serve" || kind == "worker") { // goes on until it is ended
					l.Eventually("it has been recorded", func() bool {
						_, err := os.Stat(l.Meta())
						return err == nil && len(l.Runs()) == 1
					})
					p.Signal(syscall.SIGTERM)
				}
				r := p.Wait()
				wantRecorded(l, r, kind)
				if name != "bare" && name != "too many args" {
					want := 2
					if kind == "exec" {
						want = 125 // its own failures are apart from those of programs
					}
					l.WantCode(r, want)
				}
			})
		}
	}
	if recorded < 13 {
		t.Fatalf("only %d leaves were found: the walk is broken", recorded)
	}
	for _, words := range groups {
		if words[0] == "completion" {
			continue
		}
		t.Run(strings.Join(words, ".")+"/unknown subcommand", func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			r := l.Run(append(append([]string{}, words...), "no-such-command")...)
			l.WantCode(r, 2)
			wantRecorded(l, r, strings.Join(words, "."))
		})
		if slices.Contains(worksBare, strings.Join(words, " ")) {
			t.Run(strings.Join(words, ".")+"/bare", func(t *testing.T) {
				t.Parallel()
				l := labtest.New(t)
				r := l.Run(words...)
				wantRecorded(l, r, strings.Join(words, "."))
			})
		}
		group, _, err := tree.Root.Find(words)
		if err != nil {
			t.Fatal(err)
		}
		group.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { // of a group that is a leaf as well
			t.Run(strings.Join(words, ".")+"/as a leaf with --"+f.Name+" without a value", func(t *testing.T) {
				t.Parallel()
				l := labtest.New(t)
				r := l.Run(append(append([]string{}, words...), "--"+f.Name+"=")...)
				l.WantCode(r, 2)
				wantRecorded(l, r, strings.Join(words, "."))
			})
		})
	}
	for name, args := range map[string][]string{
		"unknown command":                 {"no-such-command"},
		"unknown command after a flag":    {"--quiet", "no-such-command", "init-db"},
		"only an unknown flag":            {"--no-such-flag"},
		"an empty word":                   {""},
		"a command after the terminator":  {"--", "init-db"},
		"an unknown flag with its value":  {"--no-such-flag", "value", "config"},
		"a bad value of a global flag":    {"no-such-command", "--output", "yaml"},
		"bytes that are no text":          {"\xff\xfe"},
		"a name that is nearly a command": {"init_db"},
	} {
		t.Run("unknown/"+name, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			r := l.Run(args...)
			l.WantCode(r, 2)
			wantRecorded(l, r, "unknown")
		})
	}
}

// wantRecorded checks that the one execution in this lab left exactly one
// closed row that tells the same as the process did.
func wantRecorded(l *labtest.Lab, r labtest.Result, kind string) {
	l.T.Helper()
	path := l.Meta()
	for _, dir := range []string{"quant-demo", "a"} { // demo records itself in its own folder
		if own := l.Path(dir, "data", "meta.db"); kind == "demo" {
			if _, err := os.Stat(own); err == nil {
				path = own
			}
		}
	}
	var rows []labtest.RunRow
	for _, row := range labtest.RunsIn(l.T, path) {
		if kind == "demo" && row.Kind != "demo" {
			continue // its steps are runs of their own
		}
		rows = append(rows, row)
	}
	if len(rows) != 1 || rows[0].Kind != kind {
		l.T.Fatalf("want exactly one run of kind %s, got %+v\n%v", kind, rows, r)
	}
	row := rows[0]
	if !row.Exit.Valid || int(row.Exit.Int64) != r.Code {
		l.T.Fatalf("the row says exit status %v: %v", row.Exit, r)
	}
	if (row.Status == "SUCCESS") != (r.Code == 0) || row.Status == "RUNNING" {
		l.T.Fatalf("status %s: %v", row.Status, r)
	}
	if r.Code != 0 && row.Error == "" {
		l.T.Fatalf("a FAIL without a text: %v", r)
	}
}

func TestWhatIsNoExecutionLeavesNoRowAndNoFolder(t *testing.T) {
	t.Parallel()
	if labtest.RaceDetector {
		t.Skip("what is no execution starts nothing that the race detector could watch")
	}
	tree := commandTree()
	all, groups := leaves(tree.Root, nil)
	lines := [][]string{
		{}, {"help"}, {"--help"}, {"-h"}, {"version"}, {"version", "--output", "json"}, {"version", "--output", "csv"},
		{"help", "runs", "list"}, {"help", "no-such-command"}, {"--quiet"}, {"--data-dir", "elsewhere"},
		{"completion", "bash"}, {"completion", "zsh"}, {"completion", "fish"}, {"completion", "powershell"},
		{"__complete", "runs", ""}, {"__completeNoDesc", "symbols", "a"}, {"--no-such-flag", "--help"},
	}
	for _, words := range groups {
		if !slices.Contains(worksBare, strings.Join(words, " ")) {
			lines = append(lines, words)
		}
	}
	for _, words := range all {
		lines = append(lines, append(append([]string{}, words...), "--help"), append(append([]string{}, words...), "-h"))
	}
	for _, args := range lines {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			r := l.Run(args...)
			if strings.Contains(strings.Join(args, " "), "no-such") {
				return // how it exits is not the point
			}
			l.WantCode(r, 0)
			left, err := os.ReadDir(l.Dir)
			labtest.Must(t, err)
			if len(left) > 0 {
				t.Fatalf("it left %s behind: %v", left[0].Name(), r)
			}
			if labtest.ClosingLine.MatchString(r.Stderr) {
				t.Fatalf("it speaks of a run: %v", r)
			}
		})
	}
}

func TestAMalformedLocationFlagIsRecordedWhereTheOthersPoint(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		meta string
		code int
	}{
		"empty data-dir":                     {[]string{"config", "--data-dir="}, "data/meta.db", 2},
		"empty data-dir, good sqlite":        {[]string{"config", "--data-dir=", "--sqlite", "m.db"}, "m.db", 2},
		"data-dir without a value":           {[]string{"config", "--sqlite", "m.db", "--data-dir"}, "m.db", 2},
		"sqlite without a value":             {[]string{"config", "--data-dir", "other", "--sqlite"}, "other/meta.db", 2},
		"empty sqlite":                       {[]string{"--data-dir", "other", "--sqlite", "", "config"}, "other/meta.db", 2},
		"empty duckdb":                       {[]string{"config", "--duckdb=", "--sqlite=m.db"}, "m.db", 2},
		"after the terminator it is no flag": {[]string{"config", "--", "--data-dir", "other"}, "data/meta.db", 2},
		"before an unknown flag":             {[]string{"--data-dir", "other", "config", "--no-such-flag"}, "other/meta.db", 2},
		"after an unknown flag":              {[]string{"config", "--no-such-flag", "--data-dir", "other"}, "other/meta.db", 2},
		"before an unknown command":          {[]string{"--data-dir", "other", "no-such-command"}, "other/meta.db", 2},
		"twice, the last one counts":         {[]string{"config", "--data-dir", "one", "--data-dir", "two"}, "two/meta.db", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := labtest.New(t)
			l.Want(c.code, c.args...)
			if rows := labtest.RunsIn(t, l.Path(c.meta)); len(rows) != 1 || rows[0].Status == "RUNNING" {
				t.Fatalf("want one closed run in %s, got %+v", c.meta, rows)
			}
		})
	}
}
