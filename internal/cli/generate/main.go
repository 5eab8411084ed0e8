// Command generate writes the reference of the command line from the command
// tree, docs/cli.md and one manual page a command in docs/man, and that of the API
// from its routes, docs/api.md. What it writes depends on these alone: no date, no
// machine. Run it at the root of the
// repository:
//
//	go run ./internal/cli/generate
//
// It owns nothing else in docs.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"quant/internal/cli"
	"quant/internal/output"
	"quant/internal/secret"
	"quant/internal/server/api"
)

func main() {
	folder := "docs"
	if len(os.Args) > 1 {
		folder = os.Args[1]
	}
	if err := generate(folder); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// generate writes cli.md, api.md and man/*.1 into folder, and removes the manual pages
// of commands that are no more.
func generate(folder string) error {
	root := tree()
	man := filepath.Join(folder, "man")
	if err := os.MkdirAll(man, 0o755); err != nil {
		return err
	}
	if err := write(filepath.Join(folder, "cli.md"), reference(root)); err != nil {
		return err
	}
	if err := write(filepath.Join(folder, "api.md"), api.Markdown()); err != nil {
		return err
	}
	pages := map[string]bool{}
	for _, cmd := range commands(root) {
		page, err := manual(cmd)
		if err != nil {
			return fmt.Errorf("manual page of %s: %w", cmd.CommandPath(), err)
		}
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		pages[name] = true
		if err := write(filepath.Join(man, name), page); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(man)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".1") && !pages[e.Name()] {
			if err := os.Remove(filepath.Join(man, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func write(path string, content []byte) error {
	return os.WriteFile(path, content, 0o644)
}

// tree is the command tree of a program that will run nothing.
func tree() *cobra.Command {
	streams := output.Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}
	mask := &secret.Masker{}
	env := &cli.Env{Now: time.Now, Mask: mask, Printer: output.NewPrinter(streams, mask, &secret.Masker{}, nil)}
	root := cli.New(env).Root
	root.DisableAutoGenTag = true
	for _, c := range commands(root) {
		c.DisableAutoGenTag = true
		c.InitDefaultHelpFlag()
	}
	return root
}

// commands returns a command and all below it that a user can see, in the
// order of their names.
func commands(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	subs := slices.Clone(c.Commands())
	slices.SortFunc(subs, func(a, b *cobra.Command) int { return strings.Compare(a.Name(), b.Name()) })
	for _, sub := range subs {
		if sub.IsAvailableCommand() {
			all = append(all, commands(sub)...)
		}
	}
	return all
}

// manual is the manual page of a command, its date left out.
func manual(cmd *cobra.Command) ([]byte, error) {
	var b bytes.Buffer
	never := time.Unix(0, 0).UTC()
	header := &doc.GenManHeader{Section: "1", Source: "quant", Manual: "quant manual", Date: &never}
	if err := doc.GenMan(cmd, header, &b); err != nil {
		return nil, err
	}
	page := bytes.Replace(b.Bytes(), []byte(`"`+never.Format("Jan 2006")+`"`), []byte(`""`), 1)
	return append(bytes.TrimRight(page, "\n"), '\n'), nil
}

// reference is docs/cli.md.
func reference(root *cobra.Command) []byte {
	var b bytes.Buffer
	b.WriteString("# The command line\n\n<!-- Written by `go run ./internal/cli/generate`; do not edit. -->\n\n")
	b.WriteString("Every command and every flag, from the program's own command tree.\n" +
		"What `--output json` prints is in [json.md](json.md); exit statuses are in [exit-codes.md](exit-codes.md).\n\n")
	fence(&b, root.Long)
	b.WriteString("## Global flags\n\nEvery command takes them, before or after its own.\n\n")
	flags(&b, root.PersistentFlags())
	for _, c := range commands(root)[1:] {
		fmt.Fprintf(&b, "## %s\n\n", c.CommandPath())
		if !strings.HasPrefix(c.Long, c.Short) {
			fmt.Fprintf(&b, "%s.\n\n", strings.TrimSuffix(c.Short, "."))
		}
		if c.Runnable() && (!c.HasAvailableSubCommands() || c.LocalNonPersistentFlags().HasAvailableFlags()) {
			fence(&b, c.UseLine())
		}
		if c.Long != "" && !isCompletion(c) {
			b.WriteString(strings.TrimSpace(c.Long) + "\n\n")
		}
		if c.HasAvailableSubCommands() {
			for _, sub := range commands(c)[1:] {
				fmt.Fprintf(&b, "- [`%s`](#%s): %s\n", sub.CommandPath(), strings.ReplaceAll(sub.CommandPath(), " ", "-"), sub.Short)
			}
			b.WriteString("\n")
		}
		if c.Example != "" {
			fence(&b, c.Example)
		}
		flags(&b, c.LocalNonPersistentFlags())
	}
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n')
}

// isCompletion tells cobra's own commands, whose long texts are instructions
// for each shell: `quant completion SHELL --help` prints them.
func isCompletion(c *cobra.Command) bool {
	return c.HasParent() && c.Parent().Name() == "completion"
}

func fence(b *bytes.Buffer, text string) {
	fmt.Fprintf(b, "```text\n%s\n```\n\n", strings.Trim(text, "\n"))
}

// flags is a table of a command's flags, --help left out.
func flags(b *bytes.Buffer, set *pflag.FlagSet) {
	begun := false
	set.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Hidden {
			return
		}
		if !begun {
			b.WriteString("| flag | value | default | meaning |\n|---|---|---|---|\n")
			begun = true
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", name, cell(value), fallback(f), cell(usage))
	})
	if begun {
		b.WriteString("\n")
	}
}

func fallback(f *pflag.Flag) string {
	if f.DefValue == "" {
		return ""
	}
	return "`" + cell(f.DefValue) + "`"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
