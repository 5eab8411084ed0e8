package cli

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/korean"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/output"
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

func (f *symbolFlags) apply(cmd *cobra.Command, s *quant.Symbol) {
	given := cmd.Flags().Changed
	if given("name") {
		s.Name = quant.Text(f.name)
	}
	if given("sector") {
		s.Sector = quant.Text(f.sector)
	}
	if given("currency") {
		s.Currency = quant.Text(f.currency)
	}
	if given("priority") {
		s.Priority = f.priority
	}
	if given("active") {
		s.IsActive = f.active
	}
}

// symbolChanges is the result of the commands that write symbols.
type symbolChanges struct {
	Added     []string `json:"added"`
	Updated   []string `json:"updated"`
	Unchanged []string `json:"unchanged"`
	Removed   []string `json:"removed"`
	Bad       []badRow `json:"bad_lines"`
}

type badRow struct {
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

func newSymbolChanges() *symbolChanges {
	return &symbolChanges{Added: []string{}, Updated: []string{}, Unchanged: []string{}, Removed: []string{}, Bad: []badRow{}}
}

// changeRow is one symbol and what became of it, or one bad line and why.
type changeRow struct {
	Symbol string     `json:"symbol"`
	Change string     `json:"change"`
	Line   *int       `json:"line"`
	Reason quant.Text `json:"reason"`
}

// parts are the changes by what they are, in the order in which they are shown.
func (c *symbolChanges) parts() []struct {
	change  string
	symbols []string
} {
	return []struct {
		change  string
		symbols []string
	}{{"added", c.Added}, {"updated", c.Updated}, {"unchanged", c.Unchanged}, {"removed", c.Removed}}
}

func (c *symbolChanges) CSVRows() any {
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

func (c *symbolChanges) Sections() []output.Section {
	var lines []string
	for _, part := range c.parts() {
		if n := len(part.symbols); n > 0 {
			lines = append(lines, fmt.Sprintf("%s %d: %s", part.change, n, someOf(part.symbols, 10)))
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

func someOf(list []string, most int) string {
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return strings.Join(list[:most], ", ") + fmt.Sprintf(", ... (%d more)", len(list)-most)
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
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			done := newSymbolChanges()
			err = meta.Tx(cmd.Context(), func(ctx context.Context) error {
				for _, ticker := range args {
					s := quant.Symbol{Symbol: ticker, IsActive: true}
					flags.apply(cmd, &s)
					if err := s.Validate(); err != nil {
						return err
					}
					old, err := meta.GetSymbol(ctx, ticker)
					if err == nil {
						wanted := old
						flags.apply(cmd, &wanted)
						if wanted != old {
							return quant.Errorf(quant.Conflict, "symbol %s exists already, with other values", ticker).
								WithHint("`quant symbols set %s ...` changes it; nothing was added", ticker)
						}
						done.Unchanged = append(done.Unchanged, ticker)
						continue
					}
					if !errors.Is(err, quant.NotFound) {
						return err
					}
					if err := meta.CreateSymbol(ctx, s); err != nil {
						return err
					}
					done.Added = append(done.Added, ticker)
				}
				return nil
			})
			if err != nil {
				return err
			}
			env.recordSymbols(int64(len(done.Added)))
			return env.Print(done)
		},
	}
	flags.bind(cmd, false)
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func (e *Env) recordSymbols(rows int64) {
	if rows > 0 {
		e.record(quant.RunIO{Direction: quant.Out, Kind: quant.IOMeta, Name: "symbols", Rows: &rows})
	}
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
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			done := newSymbolChanges()
			err = meta.Tx(cmd.Context(), func(ctx context.Context) error {
				old, err := meta.GetSymbol(ctx, args[0])
				if errors.Is(err, quant.NotFound) {
					return noSymbol(args[0])
				}
				if err != nil {
					return err
				}
				s := old
				flags.apply(cmd, &s)
				if s == old {
					done.Unchanged = append(done.Unchanged, s.Symbol)
					return nil
				}
				done.Updated = append(done.Updated, s.Symbol)
				return meta.UpdateSymbol(ctx, s)
			})
			if err != nil {
				return err
			}
			env.recordSymbols(int64(len(done.Updated)))
			return env.Print(done)
		},
	}
	flags.bind(cmd, true)
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func noSymbol(ticker string) error {
	return quant.Errorf(quant.NotFound, "no symbol %q", ticker).
		WithHint("`quant symbols list` shows the symbols; upper and lower case differ")
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
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			for _, ticker := range args {
				if _, err := meta.GetSymbol(cmd.Context(), ticker); errors.Is(err, quant.NotFound) {
					return noSymbol(ticker)
				} else if err != nil {
					return err
				}
			}
			if !force && env.HasFactDB() {
				err := env.ReadFacts(cmd.Context(), func(db *factstore.DB) error { return refuseWithFacts(cmd.Context(), db, args) })
				if err != nil {
					return err
				}
			}
			done := newSymbolChanges()
			err = meta.Tx(cmd.Context(), func(ctx context.Context) error {
				for _, ticker := range args {
					err := meta.DeleteSymbol(ctx, ticker)
					if errors.Is(err, quant.NotFound) {
						continue // named twice
					}
					if err != nil {
						return err
					}
					done.Removed = append(done.Removed, ticker)
				}
				return nil
			})
			if err != nil {
				return err
			}
			env.recordSymbols(int64(len(done.Removed)))
			return env.Print(done)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "remove a symbol although it has facts")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func refuseWithFacts(ctx context.Context, db *factstore.DB, tickers []string) error {
	for _, ticker := range tickers {
		facts, err := db.SymbolFacts(ctx, ticker)
		if err != nil {
			return err
		}
		if len(facts) == 0 {
			continue
		}
		var tables []string
		for _, table := range sortedKeys(facts) {
			tables = append(tables, fmt.Sprintf("%d rows in %s", facts[table], table))
		}
		return quant.Errorf(quant.Refused, "symbol %s has facts: %s", ticker, strings.Join(tables, ", ")).
			WithHint("--force removes the symbol and leaves its facts; `quant symbols set %s --active=false` keeps both", ticker)
	}
	return nil
}

// importColumns maps the header spellings of a symbol file to columns.
var importColumns = map[string]string{
	"symbol": "symbol", "ticker": "symbol", "code": "symbol", "종목코드": "symbol", "종목": "symbol",
	"name": "name", "종목명": "name", "이름": "name",
	"sector": "sector", "industry": "sector", "업종": "sector", "섹터": "sector",
	"currency": "currency", "통화": "currency",
	"is_active": "is_active", "active": "is_active",
	"priority": "priority", "우선순위": "priority",
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
			text, err := symbolEncoding(charset)
			if err != nil {
				return err
			}
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			in, digest := env.Streams().In, (*durable.Sum)(nil)
			if args[0] != "-" {
				f, err := openSymbolFile(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				digest = durable.NewSum()
				in = io.TeeReader(f, digest)
			}
			var bad []badRow
			rows, err := whileWaiting(cmd.Context(), func() (rows []symbolRow, err error) {
				rows, bad, err = readSymbols(in, text)
				return rows, err
			})
			if err != nil {
				return err
			}
			read := quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: args[0], Rows: ptr(int64(len(rows) + len(bad)))}
			if digest != nil {
				read.Digest = quant.Text(digest.Digest())
			}
			env.record(read)
			for i := range bad {
				bad[i].Reason = env.Mask.Text(bad[i].Reason)
			}
			done := newSymbolChanges()
			done.Bad = append(done.Bad, bad...)
			for _, b := range bad {
				env.Notice("%s line %d: %s", args[0], b.Line, b.Reason)
			}
			if strict && len(bad) > 0 {
				return quant.Errorf(quant.Refused, "%s: %d of %d lines are bad; with --strict none is imported: %s", args[0], len(bad), len(bad)+len(rows), badLines(bad)).
					WithHint("mend these lines, or leave --strict out")
			}
			err = meta.Tx(cmd.Context(), func(ctx context.Context) error { return storeSymbols(ctx, meta, rows, done) })
			if err != nil {
				return err
			}
			env.recordSymbols(int64(len(done.Added) + len(done.Updated)))
			if err := env.Print(done); err != nil {
				return err
			}
			if len(bad) > 0 {
				return quant.Errorf(quant.Partial, "%s: %d of %d lines are bad and were left out", args[0], len(bad), len(bad)+len(rows)).
					WithHint("mend the lines named above and import the file again")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "import nothing if any line is bad")
	cmd.Flags().StringVar(&charset, "encoding", "utf-8", "of the file: utf-8, cp949 or euc-kr")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

// badLines names the first bad lines, for an error.
func badLines(bad []badRow) string {
	var list []string
	for _, b := range bad {
		list = append(list, fmt.Sprintf("line %d: %s", b.Line, b.Reason))
	}
	return someOf(list, 10)
}

// openSymbolFile opens a regular file: a pipe could keep quant waiting for as
// long as nobody writes to it.
func openSymbolFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, quant.Errorf(quant.NotFound, "symbol file %s does not exist", path).WithHint("check the path; - reads standard input")
	}
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "read symbols: %w", err).WithHint("make the file readable")
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = quant.Errorf(quant.Failed, "read symbols: %w", err).WithHint("make the file readable")
	case info.IsDir():
		err = quant.Errorf(quant.Invalid, "%s is a directory", path).WithHint("name one file in it")
	case !info.Mode().IsRegular():
		err = quant.Errorf(quant.Invalid, "%s is not a regular file", path).WithHint("save it to a file first, or give it to standard input: quant symbols import - < %s", path)
	default:
		return f, nil
	}
	f.Close()
	return nil, err
}

// symbolEncoding is the decoder of an --encoding, nil for UTF-8.
func symbolEncoding(name string) (*encoding.Decoder, error) {
	switch strings.ToLower(name) {
	case "utf-8", "utf8":
		return nil, nil
	case "cp949", "euc-kr", "euckr":
		return korean.EUCKR.NewDecoder(), nil
	}
	return nil, quant.Errorf(quant.Usage, "encoding %q is not known", name).WithHint("use utf-8, cp949 or euc-kr")
}

// symbolRow is one good line: a ticker and the changes to make to it.
type symbolRow struct {
	line   int
	ticker string
	apply  func(*quant.Symbol)
}

func storeSymbols(ctx context.Context, meta metastore.Store, rows []symbolRow, done *symbolChanges) error {
	for _, row := range rows {
		old, err := meta.GetSymbol(ctx, row.ticker)
		missing := errors.Is(err, quant.NotFound)
		if err != nil && !missing {
			return err
		}
		s := old
		if missing {
			s = quant.Symbol{Symbol: row.ticker, IsActive: true}
		}
		row.apply(&s)
		switch {
		case missing:
			err = meta.CreateSymbol(ctx, s)
			done.Added = append(done.Added, s.Symbol)
		case s != old:
			err = meta.UpdateSymbol(ctx, s)
			done.Updated = append(done.Updated, s.Symbol)
		default:
			err = nil
			done.Unchanged = append(done.Unchanged, s.Symbol)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", row.line, err)
		}
	}
	return nil
}

// columnsHint names the columns of a symbol file.
const columnsHint = "its first line names the columns: symbol,name,sector,currency,is_active,priority"

// readSymbols reads a symbol file, with a byte order mark or without. A header
// that cannot be used is an Invalid error; a bad line is returned with its
// number.
func readSymbols(in io.Reader, decoder *encoding.Decoder) (rows []symbolRow, bad []badRow, err error) {
	notText := "not UTF-8; --encoding cp949 reads Korean files of Windows"
	if decoder != nil {
		in, notText = decoder.Reader(in), "not in the encoding that --encoding names"
	}
	buffered := bufio.NewReader(in)
	if mark, _ := buffered.Peek(3); string(mark) == "\ufeff" {
		_, _ = buffered.Discard(3) // they are in the buffer
	}
	r := csv.NewReader(buffered)
	r.FieldsPerRecord = -1
	r.LazyQuotes = false
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, nil, quant.Errorf(quant.Invalid, "the symbol file is empty").WithHint(columnsHint)
	}
	if err != nil {
		return nil, nil, quant.Errorf(quant.Invalid, "read the header: %w", err).WithHint(columnsHint)
	}
	if h := strings.Join(header, ","); !isText(h, decoder != nil) {
		return nil, nil, quant.Errorf(quant.Invalid, "the header %q cannot be read", h).
			WithHint("if it is a Korean file of Windows, --encoding cp949 reads it; otherwise save it as UTF-8")
	}
	columns := make([]string, len(header))
	at := map[string]bool{}
	for i, h := range header {
		name := strings.ToLower(strings.TrimSpace(h))
		columns[i] = importColumns[strings.NewReplacer(" ", "_", "-", "_").Replace(name)]
		if columns[i] == "" {
			return nil, nil, quant.Errorf(quant.Invalid, "column %q of the header is not known", h).
				WithHint("the columns are symbol, name, sector, currency, is_active, priority")
		}
		if at[columns[i]] {
			return nil, nil, quant.Errorf(quant.Invalid, "two columns of the header mean %s", columns[i]).
				WithHint("leave one of them out")
		}
		at[columns[i]] = true
	}
	if !at["symbol"] {
		return nil, nil, quant.Errorf(quant.Invalid, "the header %q has no column symbol", strings.Join(header, ",")).WithHint(columnsHint)
	}
	seen := map[string]int{}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, bad, nil
		}
		if parse, ok := errors.AsType[*csv.ParseError](err); ok {
			bad = append(bad, badRow{parse.StartLine, parse.Err.Error()})
			continue
		}
		if err != nil {
			return nil, nil, quant.Errorf(quant.Failed, "read symbols: %w", err).WithHint("nothing was imported; run it again")
		}
		line, _ := r.FieldPos(0)
		row, reason := symbolRow{}, notText
		if isText(strings.Join(record, ","), decoder != nil) {
			row, reason = symbolOf(columns, record)
		}
		row.line = line
		if first, again := seen[row.ticker]; again && reason == "" {
			reason = fmt.Sprintf("symbol %s stands in line %d already", row.ticker, first)
		}
		if reason != "" {
			bad = append(bad, badRow{line, reason})
			continue
		}
		seen[row.ticker] = line
		rows = append(rows, row)
	}
}

// isText reports whether s is text; what a decoder could not read it has
// replaced.
func isText(s string, decoded bool) bool {
	return utf8.ValidString(s) && !(decoded && strings.ContainsRune(s, utf8.RuneError))
}

func symbolOf(columns, record []string) (row symbolRow, reason string) {
	if len(record) != len(columns) {
		return row, fmt.Sprintf("%d fields where the header has %d", len(record), len(columns))
	}
	var s quant.Symbol
	var given []string
	for i, value := range record {
		value = strings.TrimSpace(value)
		var err error
		switch columns[i] {
		case "symbol":
			s.Symbol = value
		case "name":
			s.Name = quant.Text(value)
		case "sector":
			s.Sector = quant.Text(value)
		case "currency":
			s.Currency = quant.Text(value)
		case "is_active":
			if value == "" {
				continue // keeps what is there
			}
			s.IsActive, err = strconv.ParseBool(value)
		case "priority":
			if value == "" {
				continue
			}
			s.Priority, err = strconv.ParseInt(value, 10, 64)
		}
		if err != nil {
			return row, fmt.Sprintf("%s %q cannot be read", columns[i], value)
		}
		given = append(given, columns[i])
	}
	if err := s.Validate(); err != nil {
		return row, err.Error()
	}
	return symbolRow{ticker: s.Symbol, apply: func(to *quant.Symbol) {
		for _, column := range given {
			switch column {
			case "name":
				to.Name = s.Name
			case "sector":
				to.Sector = s.Sector
			case "currency":
				to.Currency = s.Currency
			case "is_active":
				to.IsActive = s.IsActive
			case "priority":
				to.Priority = s.Priority
			}
		}
	}}, ""
}
