package cli

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The help of every command is read as pflag prints it: a backquote in a usage text
// makes what stands between two of them the name of the flag's value.
func TestTheHelpOfEveryFlagNamesItsValueAndItsDefault(t *testing.T) {
	t.Parallel()
	value := regexp.MustCompile(`^[A-Za-z|=-]*$`)
	seen := 0
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		check := func(f *pflag.Flag) {
			seen++
			name, usage := pflag.UnquoteUsage(f)
			if !value.MatchString(name) || strings.Contains(usage, "`") || strings.TrimSpace(usage) == "" {
				t.Errorf("%s --%s: the value is called %q: %s", cmd.CommandPath(), f.Name, name, usage)
			}
		}
		cmd.LocalFlags().VisitAll(check)
		for line := range strings.Lines(cmd.LocalFlags().FlagUsages()) {
			if strings.Contains(line, "(default )") || strings.Count(line, "(default") > 1 {
				t.Errorf("%s: %s", cmd.CommandPath(), line)
			}
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newTree().Root)
	if seen < 100 {
		t.Errorf("only %d flags were seen", seen)
	}
}
