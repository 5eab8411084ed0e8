package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/metastore"
	"quant/internal/output"
	"quant/internal/symbols"
)

func symbolsCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "symbols",
			Short: "Add, list, change and remove the symbols of the lab",
		},
		Sub: []Command{
			symbolsAdd(env), symbolsImport(env), symbolsList(env), symbolsSet(env), symbolsRemove(env),
		},
	}
}

// symbolFlags are the attributes of a symbol as flags; only those that were
// given count.
type symbolFlags struct {
	name, sector, currency string
	priority               int64
	active                 bool
}

func (f *symbolFlags) bind(cmd *cobra.Command, withActive bool) {
	cmd.Flags().StringVar(&f.name, "name", "", "full name")
	cmd.Flags().StringVar(&f.sector, "sector", "", "sector")
	cmd.Flags().StringVar(&f.currency, "currency", "", "currency, such as USD or KRW")
	cmd.Flags().Int64Var(&f.priority, "priority", 0, "the higher, the sooner it is looked at")
	if withActive {
		cmd.Flags().BoolVar(&f.active, "active", true, "--active=false keeps the symbol but leaves it out of new work")
	}
}

// attributes are those that the command line has.
func (f *symbolFlags) attributes(cmd *cobra.Command) symbols.Attributes {
	return symbols.Attributes{
		Name: given(cmd, "name", &f.name), Sector: given(cmd, "sector", &f.sector), Currency: given(cmd, "currency", &f.currency),
		Priority: given(cmd, "priority", &f.priority), Active: given(cmd, "active", &f.active),
	}
}

// symbolChanges is the result of the commands that write symbols.
type symbolChanges struct{ *symbols.Changes }

// changeRow is one symbol and what became of it, or one bad line and why.
type changeRow struct {
	Symbol string     `json:"symbol"`
	Change string     `json:"change"`
	Line   *int       `json:"line"`
	Reason quant.Text `json:"reason"`
}

// parts are the changes by what they are, in the order in which they are shown.
func (c symbolChanges) parts() []struct {
	change  string
	symbols []string
} {
	return []struct {
		change  string
		symbols []string
	}{{"added", c.Added}, {"updated", c.Updated}, {"unchanged", c.Unchanged}, {"removed", c.Removed}}
}

func (c symbolChanges) CSVRows() any {
	rows := []changeRow{}
	for _, part := range c.parts() {
		for _, s := range part.symbols {
			rows = append(rows, changeRow{Symbol: s, Change: part.change})
		}
	}
	for _, b := range c.Bad {
		rows = append(rows, changeRow{Change: "bad", Line: ptr(b.Line), Reason: quant.Text(b.Reason)})
	}
	return rows
}

func (c symbolChanges) Sections() []output.Section {
	var lines []string
	for _, part := range c.parts() {
		if n := len(part.symbols); n > 0 {
			lines = append(lines, fmt.Sprintf("%s %d: %s", part.change, n, quant.SomeOf(part.symbols, 10)))
		}
	}
	if lines == nil {
		lines = []string{"nothing to change"}
	}
	sections := []output.Section{{Lines: lines}}
	if len(c.Bad) > 0 {
		sections = append(sections, output.Section{Title: "bad lines", Rows: c.Bad})
	}
	return sections
}

func symbolsAdd(env *Env) Command {
	var flags symbolFlags
	cmd := &cobra.Command{
		Use:   "add SYMBOL...",
		Short: "Add symbols, all or none",
		Long: `Add symbols, all or none. A symbol that is there already stays as it is, unless
an attribute that was given differs: then nothing is added and the exit status
is 5.`,
		Args: wantArgs(1, -1, "at least one symbol"),
		RunE: func(cmd *cobra.Command, args []string) error {
			done, err := symbols.Add(cmd.Context(), env.Session, args, flags.attributes(cmd))
			if err != nil {
				return err
			}
			return env.Print(symbolChanges{done})
		},
	}
	flags.bind(cmd, false)
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func symbolsList(env *Env) Command {
	var sector, currency, order string
	var active string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the symbols",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			f := metastore.SymbolFilter{Sector: sector, Currency: currency, Order: metastore.Order(order)}
			switch active {
			case "":
			case "true", "false":
				f.Active = ptr(active == "true")
			default:
				return quant.Errorf(quant.Usage, "--active %q is neither true nor false", active).
					WithHint("--active or --active=false; without it, all are listed")
			}
			if limit < 0 {
				return quant.Errorf(quant.Usage, "--limit %d is negative", limit).WithHint("--limit 0 shows all")
			}
			if limit > 0 {
				f.Limit = limit + 1
			}
			list, err := meta.ListSymbols(cmd.Context(), f)
			if err != nil {
				return err
			}
			if limit > 0 && len(list) > limit {
				list = list[:limit]
				env.Notice("only the first %d symbols are shown; there are more (--limit 0 shows all)", limit)
			}
			return env.Print(list)
		},
	}
	cmd.Flags().StringVar(&sector, "sector", "", "only this sector")
	cmd.Flags().StringVar(&currency, "currency", "", "only this currency")
	cmd.Flags().StringVar(&active, "active", "", "only active symbols; --active=false: only the others")
	cmd.Flags().Lookup("active").NoOptDefVal = "true"
	cmd.Flags().StringVar(&order, "order", "symbol", "symbol, name or priority; -priority for descending")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most so many (0: all)")
	return Command{Command: cmd}
}

func symbolsSet(env *Env) Command {
	var flags symbolFlags
	cmd := &cobra.Command{
		Use:   "set SYMBOL",
		Short: "Change the attributes of a symbol",
		Long:  `Change those attributes of a symbol that are given; "" clears one.`,
		Args:  wantArgs(1, 1, "one symbol"),
		RunE: func(cmd *cobra.Command, args []string) error {
			done, err := symbols.Set(cmd.Context(), env.Session, args[0], flags.attributes(cmd))
			if err != nil {
				return err
			}
			return env.Print(symbolChanges{done})
		},
	}
	flags.bind(cmd, true)
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func symbolsRemove(env *Env) Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "remove SYMBOL...",
		Short: "Remove symbols, all or none",
		Long: `Remove symbols, all or none. A symbol that has facts (prices, features, ...) is
refused unless --force; its facts stay where they are.`,
		Args: wantArgs(1, -1, "at least one symbol"),
		RunE: func(cmd *cobra.Command, args []string) error {
			done, err := symbols.Remove(cmd.Context(), env.Session, args, force)
			if err != nil {
				return err
			}
			return env.Print(symbolChanges{done})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "remove a symbol although it has facts")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func symbolsImport(env *Env) Command {
	var strict bool
	var charset string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Add or change symbols from a CSV file with a header",
		Long: `Add or change symbols from a CSV file with a header: symbol, and any of name,
sector, currency, is_active, priority ("-" reads standard input). Only the
columns that the file has are changed, and an empty is_active or priority keeps
what is there. A bad line is reported with its number;
the good ones are kept (exit status 3), or with --strict none (6).`,
		Args: wantArgs(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := whileWaiting(cmd.Context(), func() (*symbols.File, error) {
				if args[0] == "-" {
					return symbols.Read(args[0], env.Streams().In, charset)
				}
				return symbols.ReadFile(args[0], charset)
			})
			if err != nil {
				return err
			}
			done, err := symbols.Import(cmd.Context(), env.Session, file, strict)
			if done != nil {
				if printed := env.Print(symbolChanges{done}); printed != nil {
					return printed
				}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "import nothing if any line is bad")
	cmd.Flags().StringVar(&charset, "encoding", "utf-8", "of the file: utf-8, cp949 or euc-kr")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}
