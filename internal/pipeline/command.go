package pipeline

import (
	"cmp"
	"encoding/csv"
	"strconv"
	"strings"

	"quant"
	"quant/internal/session"
)

// commandLine builds the command line that does what the options of a stage say,
// and its flags as a run of that command records them: every one, those that are
// not given with their default.
type commandLine struct {
	session.Command
}

func command(stage Stage) *commandLine {
	return &commandLine{session.Command{Kind: string(stage), Args: []string{string(stage)}, Flags: map[string]string{}, Operands: []string{}}}
}

// flag gives a flag, or only notes its default.
func (c *commandLine) flag(name, value string, given bool) {
	c.Flags[name] = value
	if given {
		c.Args = append(c.Args, "--"+name, value)
	}
}

// text gives a flag that is not given where it is "".
func (c *commandLine) text(name, value string) { c.flag(name, value, value != "") }

func (c *commandLine) yes(name string, value bool) {
	c.Flags[name] = strconv.FormatBool(value)
	if value {
		c.Args = append(c.Args, "--"+name)
	}
}

func (c *commandLine) number(name string, value, otherwise float64) {
	c.flag(name, decimal(value), value != otherwise)
}

// whole gives a number that is not given where it is 0.
func (c *commandLine) whole(name string, value, otherwise int) {
	c.flag(name, strconv.Itoa(cmp.Or(value, otherwise)), value != 0)
}

// word gives a text that is not given where it is "" or what it is otherwise.
func (c *commandLine) word(name, value, otherwise string) {
	c.flag(name, cmp.Or(value, otherwise), value != "" && value != otherwise)
}

func (c *commandLine) day(name string, d *quant.Date) {
	value := ""
	if d != nil {
		value = d.String()
	}
	c.text(name, value)
}

// each gives a flag once for each value.
func (c *commandLine) each(name string, values []string) {
	c.Flags[name] = bracketed(values)
	for _, value := range values {
		c.Args = append(c.Args, "--"+name, value)
	}
}

// operands are what follows the flags.
func (c *commandLine) operands(list []string) {
	if len(list) > 0 {
		c.Args = append(append(c.Args, "--"), list...)
		c.Operands = append(c.Operands, list...)
	}
}

// bracketed is a list as a flag that may be given again is recorded.
func bracketed(values []string) string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write(values) // into memory
	w.Flush()
	return "[" + strings.TrimSuffix(b.String(), "\n") + "]"
}
