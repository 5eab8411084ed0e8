package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"quant"
	"quant/internal/lab"
)

// Line is a command line read leniently, ahead of every check: enough to know
// where and as what to record the execution.
type Line struct {
	Command *cobra.Command    // the longest command path found
	Args    []string          // what is not a flag, after the command path
	Flags   map[string]string // well-formed flags before the first --, by long name; the last one counts
	Help    bool              // --help or -h asks for help instead of an execution
	Unknown bool              // there is a flag that the command does not have
	Own     bool              // there is a flag of the command's own, well-formed or not

	path       []string // the command's words
	rest       []string // everything but the command's words, in order
	completion bool     // the shell's hidden request for completions
}

// Wait is what the line says of how long to wait, or the default where that is not
// well-formed.
func (l Line) Wait() time.Duration {
	if wait, err := parseDuration(l.Flags[waitFlag]); err == nil {
		return wait
	}
	return lab.Patience
}

// Read reads a command line the way the flag parser will, but never fails:
// what is malformed is left out.
func (t *Tree) Read(args []string) Line {
	l := Line{Command: t.Root, Flags: map[string]string{}}
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		l.Args, l.rest, l.completion = args, args, true
		return l
	}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			l.rest = append(l.rest, args[i:]...)
			l.Args = append(l.Args, args[i+1:]...)
			return l
		case len(arg) > 1 && arg[0] == '-':
			l.rest = append(l.rest, arg)
			if t.readFlag(&l, arg, args[i+1:]) {
				i++
				l.rest = append(l.rest, args[i])
			}
		default:
			if sub := subcommand(l.Command, arg); sub != nil && len(l.Args) == 0 {
				l.Command = sub
				l.path = append(l.path, arg)
				continue
			}
			l.rest = append(l.rest, arg)
			l.Args = append(l.Args, arg)
		}
	}
	return l
}

// readFlag notes one flag and reports whether it takes the next argument.
func (t *Tree) readFlag(l *Line, arg string, next []string) bool {
	if !strings.HasPrefix(arg, "--") {
		return t.readShort(l, arg[1:], next)
	}
	name, value, joined := strings.Cut(arg[2:], "=")
	if name == "help" && !joined {
		l.Help = true
		return false
	}
	return l.note(findFlag(l.Command, name), value, joined, next)
}

func (t *Tree) readShort(l *Line, cluster string, next []string) bool {
	for i := range len(cluster) { // byte by byte, as the strict parser does
		if cluster[i] == 'h' {
			l.Help = l.Help || cluster == "h"
			continue
		}
		f := findShort(l.Command, cluster[i:i+1])
		rest := cluster[i+1:]
		if f == nil || f.NoOptDefVal == "" {
			return l.note(f, strings.TrimPrefix(rest, "="), rest != "", next)
		}
		l.own(f)
		l.Flags[f.Name] = f.NoOptDefVal
	}
	return false
}

func (l *Line) own(f *pflag.Flag) {
	l.Own = l.Own || f != nil && l.Command.Root().PersistentFlags().Lookup(f.Name) != f
}

func (l *Line) note(f *pflag.Flag, value string, joined bool, next []string) (takesNext bool) {
	l.own(f)
	switch {
	case f == nil:
		l.Unknown = true
		return false
	case f.NoOptDefVal != "" && !joined:
		value = f.NoOptDefVal
	case !joined:
		if len(next) == 0 {
			return false
		}
		value, takesNext = next[0], true
	}
	if strings.ContainsRune(value, 0) || value == "" && f.NoOptDefVal == "" {
		delete(l.Flags, f.Name)
		return takesNext
	}
	l.Flags[f.Name] = value
	return takesNext
}

// ToComplete returns the command line that the shell asks to complete.
func (l Line) ToComplete() (args []string, ok bool) {
	if !l.completion {
		return nil, false
	}
	return l.Args[1:], true
}

func subcommand(parent *cobra.Command, word string) *cobra.Command {
	for _, c := range parent.Commands() {
		if c.Name() == word || c.HasAlias(word) {
			return c
		}
	}
	return nil
}

func findFlag(cmd *cobra.Command, name string) *pflag.Flag {
	if f := cmd.Flags().Lookup(name); f != nil {
		return f
	}
	for c := cmd; c != nil; c = c.Parent() {
		if f := c.PersistentFlags().Lookup(name); f != nil {
			return f
		}
	}
	return nil
}

func findShort(cmd *cobra.Command, letter string) *pflag.Flag {
	if letter[0] >= 0x80 {
		return nil // the library panics on what is not ASCII
	}
	if f := cmd.Flags().ShorthandLookup(letter); f != nil {
		return f
	}
	for c := cmd; c != nil; c = c.Parent() {
		if f := c.PersistentFlags().ShorthandLookup(letter); f != nil {
			return f
		}
	}
	return nil
}

// Kind is the command's path joined by dots, "unknown" for no command at all.
func (l Line) Kind() string {
	var words []string
	for c := l.Command; c.HasParent(); c = c.Parent() {
		words = append([]string{c.Name()}, words...)
	}
	if len(words) == 0 {
		return "unknown"
	}
	return strings.Join(words, ".")
}

// Traits returns what is known of the line's command.
func (t *Tree) Traits(l Line) Traits { return t.traits[l.Command] }

// IsExecution reports whether the line executes a command: help, version,
// completion and a bare group do not.
func (t *Tree) IsExecution(l Line) bool {
	if l.Help || t.traits[l.Command].Unrecorded || l.completion {
		return false
	}
	bareGroup := l.Command.HasSubCommands() && len(l.Args) == 0 && !l.Unknown && !l.Own
	return !bareGroup || t.traits[l.Command].RunsBare
}

// Execute parses the line strictly and runs its command. An error from before
// the command ran is Usage, unless it says otherwise.
func (t *Tree) Execute(ctx context.Context, l Line) error {
	if l.Help {
		return l.Command.Help()
	}
	if !l.Command.HasParent() && len(l.Args) > 0 && !l.completion && !l.Unknown {
		return unknownCommand(t.Root, l.Args[0])
	}
	if t.IsExecution(l) {
		t.recorded = l.Command
	}
	// The command's words first: the parser then finds the command that was
	// recorded, whatever flags stood before it.
	t.Root.SetArgs(append(append([]string{}, l.path...), l.rest...))
	err := t.Root.ExecuteContext(ctx)
	var typed *quant.Error
	if err != nil && !t.parsed && !errors.As(err, &typed) {
		return quant.Errorf(quant.Usage, "%w", err).WithHint("`%s --help` shows how to call it", l.Command.CommandPath())
	}
	return err
}
