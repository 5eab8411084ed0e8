package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"quant/internal/output"
	"quant/internal/secret"
)

func newTree() *Tree {
	// Without settings, nothing is configured before a command runs.
	env := &Env{Printer: output.NewPrinter(output.Streams{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, &secret.Masker{}, &secret.Masker{}, nil)}
	return New(env)
}

func TestALineIsReadLeniently(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		line, kind, dir string
		args            string
		executes        bool
	}{
		{"config", "config", "", "", true},
		{"--data-dir /x config", "config", "/x", "", true},
		{"symbols --data-dir=/x add AAPL --bogus IBM", "symbols.add", "/x", "AAPL IBM", true},
		{"symbols add AAPL --name --data-dir /x", "symbols.add", "", "AAPL /x", true}, // --data-dir is the name
		{"symbols add -- --data-dir /x", "symbols.add", "", "--data-dir /x", true},
		{"config --data-dir", "config", "", "", true},
		{"config --data-dir=", "config", "", "", true},
		{"config --data-dir /a --data-dir /b", "config", "/b", "", true},
		{"ingst x", "unknown", "", "ingst x", true},
		{"symbols bogus", "symbols", "", "bogus", true},
		{"--bogus", "unknown", "", "", true},
		{"", "unknown", "", "", false},
		{"--data-dir /x", "unknown", "/x", "", false},
		{"symbols", "symbols", "", "", false},
		{"symbols add --help", "symbols.add", "", "", false},
		{"symbols add AAPL -h --bogus", "symbols.add", "", "AAPL", false},
		{"symbols add AAPL --name --help", "symbols.add", "", "AAPL", true}, // --help is the name
		{"help config", "help", "", "config", false},
		{"version", "version", "", "", false},
		{"completion bash", "completion.bash", "", "", false},
		{"__complete symbols --na", "unknown", "", "__complete symbols --na", false},
		{"-q config", "config", "", "", true},
	} {
		tree := newTree()
		l := tree.Read(strings.Fields(tc.line))
		if l.Kind() != tc.kind || l.Flags["data-dir"] != tc.dir || strings.Join(l.Args, " ") != tc.args || tree.IsExecution(l) != tc.executes {
			t.Errorf("%q: kind %s, data-dir %q, args %q, executes %v", tc.line, l.Kind(), l.Flags["data-dir"], l.Args, tree.IsExecution(l))
		}
	}
}

// A group with a RunE of its own is a leaf when a flag of its own is given.
func TestAGroupWithWorkOfItsOwnRunsWhenItsFlagsAreGiven(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]struct {
		kind, ran string
		executes  bool
	}{
		"both":                      {"both", "help", false},
		"both --quiet":              {"both", "help", false},
		"both --file x":             {"both", "both", true},
		"--data-dir /x both -f x":   {"both", "both", true},
		"both --file=":              {"both", "both", true},
		"both --file":               {"both", "error", true},
		"both --help --file x":      {"both", "help", false},
		"both --file list":          {"both", "both", true}, // list is the file
		"both list":                 {"both.list", "list", true},
		"both list --file x":        {"both.list", "error", true},
		"both --file x list":        {"both.list", "error", true}, // list has no such flag
		"both nonsense":             {"both", "error", true},
		"both --file x nonsense":    {"both", "error", true},
		"both --file x -- nonsense": {"both", "error", true},
	} {
		tree := newTree()
		ran := ""
		run := func(name string) func(*cobra.Command, []string) error {
			return func(*cobra.Command, []string) error { ran = name; return nil }
		}
		both := &cobra.Command{Use: "both", RunE: run("both")}
		both.Flags().StringP("file", "f", "", "")
		both.SetHelpFunc(func(*cobra.Command, []string) { ran = "help" })
		tree.add(tree.Root, []Command{{Command: both, Sub: []Command{{Command: &cobra.Command{Use: "list", RunE: run("list")}}}}})
		l := tree.Read(strings.Fields(line))
		if err := tree.Execute(t.Context(), l); err != nil {
			ran = "error"
		}
		if l.Kind() != want.kind || tree.IsExecution(l) != want.executes || ran != want.ran {
			t.Errorf("%q: kind %s, executes %v, ran %s", line, l.Kind(), tree.IsExecution(l), ran)
		}
	}
}

// What the lenient reading says of a line must be what the strict parser says
// of it, wherever that accepts the line: otherwise a run would be recorded in
// one place and act in another.
func FuzzLenientAndStrictReadingAgree(f *testing.F) {
	for _, seed := range []string{
		"config\x1f--data-dir\x1fx", "symbols\x1fadd\x1f-q\x1fA\x1f--sqlite=y", "sql\x1fSELECT 1\x1f--meta\x1f--timeout\x1f1s",
		"ingest\x1f--symbol\x1f--data-dir\x1fx\x1f--\x1f--duckdb\x1fz", "-qh", "runs\x1flist\x1f--all=false\x1f--data-dir\x1f-q",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, joined string) {
		args := strings.Split(joined, "\x1f")
		tree := newTree()
		l := tree.Read(args)
		if !tree.IsExecution(l) || l.Help {
			return
		}
		var ran *cobra.Command
		var values map[string]string
		var positional []string
		capture(tree.Root, func(cmd *cobra.Command, args []string) {
			ran, positional, values = cmd, args, map[string]string{}
			for _, name := range locationFlags {
				if f := cmd.Flags().Lookup(name); f.Changed {
					values[name] = f.Value.String()
				}
			}
		})
		if tree.Execute(t.Context(), l) != nil || ran == nil {
			return
		}
		if ran != l.Command {
			t.Fatalf("%q: strict runs %s, lenient reads %s", args, ran.CommandPath(), l.Command.CommandPath())
		}
		if !slices.Equal(positional, l.Args) {
			t.Fatalf("%q: strict args %q, lenient %q", args, positional, l.Args)
		}
		for name, value := range values {
			if value != "" && !strings.ContainsRune(value, 0) && l.Flags[name] != value {
				t.Fatalf("%q: strict --%s %q, lenient %q", args, name, value, l.Flags[name])
			}
		}
	})
}

// capture replaces what every command does.
func capture(cmd *cobra.Command, note func(*cobra.Command, []string)) {
	if cmd.RunE != nil {
		cmd.RunE = func(c *cobra.Command, args []string) error { note(c, args); return nil }
	}
	for _, sub := range cmd.Commands() {
		capture(sub, note)
	}
}

func TestDurationsTakeDays(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"500ms": "500ms", "7d": "168h0m0s", "1d12h": "36h0m0s", "0": "0s", "0.5d": "12h0m0s"} {
		if d, err := parseDuration(in); err != nil || d.String() != want {
			t.Errorf("%q: %v, %v", in, d, err)
		}
	}
	for _, in := range []string{"", "d", "-1s", "7", "1w", "-3d", "1e9d", "7dd", "nand"} {
		if d, err := parseDuration(in); err == nil {
			t.Errorf("%q: %v", in, d)
		}
	}
}
