// Package symbols keeps the symbols of a lab: adding, changing and removing them,
// all of a call or none, and what a symbol file may say of them. What was changed
// is recorded as the run's; which facts a symbol has is the Fact DB's to say.
package symbols

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/session"
)

// Changes are the symbols of a call by what became of them.
type Changes struct {
	Added     []string  `json:"added"`
	Updated   []string  `json:"updated"`
	Unchanged []string  `json:"unchanged"`
	Removed   []string  `json:"removed"`
	Bad       []BadLine `json:"bad_lines"`
}

func none() *Changes {
	return &Changes{Added: []string{}, Updated: []string{}, Unchanged: []string{}, Removed: []string{}, Bad: []BadLine{}}
}

// Attributes are those of a symbol that a call sets; nil leaves one as it is.
type Attributes struct {
	Name, Sector, Currency *string
	Priority               *int64
	Active                 *bool
}

func (a Attributes) apply(s *quant.Symbol) {
	for _, text := range []struct {
		from *string
		to   *quant.Text
	}{{a.Name, &s.Name}, {a.Sector, &s.Sector}, {a.Currency, &s.Currency}} {
		if text.from != nil {
			*text.to = quant.Text(*text.from)
		}
	}
	if a.Priority != nil {
		s.Priority = *a.Priority
	}
	if a.Active != nil {
		s.IsActive = *a.Active
	}
}

// Add adds symbols, all or none; one that is there already stays as it is.
// Conflict: an attribute that is set differs from what is there. Invalid: one is
// no symbol.
func Add(ctx context.Context, s *session.Session, tickers []string, a Attributes) (*Changes, error) {
	return change(ctx, s, func(ctx context.Context, meta metastore.Store, done *Changes) error {
		for _, ticker := range tickers {
			wanted := quant.Symbol{Symbol: ticker, IsActive: true}
			a.apply(&wanted)
			if err := wanted.Validate(); err != nil {
				return err
			}
			old, err := meta.GetSymbol(ctx, ticker)
			if errors.Is(err, quant.NotFound) {
				if err := meta.CreateSymbol(ctx, wanted); err != nil {
					return err
				}
				done.Added = append(done.Added, ticker)
				continue
			}
			if err != nil {
				return err
			}
			wanted = old
			a.apply(&wanted)
			if wanted != old {
				return quant.Errorf(quant.Conflict, "symbol %s exists already, with other values", ticker).
					WithHint("`quant symbols set %s ...` changes it; nothing was added", ticker)
			}
			done.Unchanged = append(done.Unchanged, ticker)
		}
		return nil
	})
}

// Set changes the attributes of a symbol that are set. NotFound: there is none.
func Set(ctx context.Context, s *session.Session, ticker string, a Attributes) (*Changes, error) {
	return change(ctx, s, func(ctx context.Context, meta metastore.Store, done *Changes) error {
		old, err := get(ctx, meta, ticker)
		if err != nil {
			return err
		}
		wanted := old
		a.apply(&wanted)
		if wanted == old {
			done.Unchanged = append(done.Unchanged, ticker)
			return nil
		}
		done.Updated = append(done.Updated, ticker)
		return meta.UpdateSymbol(ctx, wanted)
	})
}

// Remove removes symbols, all or none; their facts stay. NotFound: one is not
// there. Refused: one has facts, unless force.
func Remove(ctx context.Context, s *session.Session, tickers []string, force bool) (*Changes, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return nil, err
	}
	for _, ticker := range tickers {
		if _, err := get(ctx, meta, ticker); err != nil {
			return nil, err
		}
	}
	if !force && s.HasFactDB() {
		if err := s.ReadFacts(ctx, func(db *factstore.DB) error { return refuseWithFacts(ctx, db, tickers) }); err != nil {
			return nil, err
		}
	}
	return change(ctx, s, func(ctx context.Context, meta metastore.Store, done *Changes) error {
		for _, ticker := range tickers {
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
}

// Import adds or changes the symbols of a file; only what its columns say is
// changed. With strict, none is where a line is bad: Refused. Else the good lines
// are kept, and the changes come with Partial.
func Import(ctx context.Context, s *session.Session, f *File, strict bool) (*Changes, error) {
	lines := len(f.Bad) + len(f.rows)
	s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: f.Name, Rows: new(int64(lines)), Digest: f.Digest})
	bad := slices.Clone(f.Bad)
	for i := range bad {
		bad[i].Reason = s.Mask.Text(bad[i].Reason)
		s.Say().Notice("%s line %d: %s", f.Name, bad[i].Line, bad[i].Reason)
	}
	if strict && len(bad) > 0 {
		return nil, quant.Errorf(quant.Refused, "%s: %d of %d lines are bad; with --strict none is imported: %s", f.Name, len(bad), lines, badLines(bad)).
			WithHint("mend these lines, or leave --strict out")
	}
	done, err := change(ctx, s, func(ctx context.Context, meta metastore.Store, done *Changes) error {
		done.Bad = append(done.Bad, bad...)
		return storeRows(ctx, meta, f.rows, done)
	})
	if err == nil && len(bad) > 0 {
		err = quant.Errorf(quant.Partial, "%s: %d of %d lines are bad and were left out", f.Name, len(bad), lines).
			WithHint("mend the lines named above and import the file again")
	}
	return done, err
}

// change runs do in a transaction of the Meta DB, and records how many symbols it
// changed.
func change(ctx context.Context, s *session.Session, do func(ctx context.Context, meta metastore.Store, done *Changes) error) (*Changes, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return nil, err
	}
	done := none()
	if err := meta.Tx(ctx, func(ctx context.Context) error { return do(ctx, meta, done) }); err != nil {
		return nil, err
	}
	if rows := int64(len(done.Added) + len(done.Updated) + len(done.Removed)); rows > 0 {
		s.Record(quant.RunIO{Direction: quant.Out, Kind: quant.IOMeta, Name: "symbols", Rows: &rows})
	}
	return done, nil
}

func get(ctx context.Context, meta metastore.Store, ticker string) (quant.Symbol, error) {
	found, err := meta.GetSymbol(ctx, ticker)
	if errors.Is(err, quant.NotFound) {
		return found, quant.Errorf(quant.NotFound, "no symbol %q", ticker).
			WithHint("`quant symbols list` shows the symbols; upper and lower case differ")
	}
	return found, err
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
		for _, table := range slices.Sorted(maps.Keys(facts)) {
			tables = append(tables, fmt.Sprintf("%d rows in %s", facts[table], table))
		}
		return quant.Errorf(quant.Refused, "symbol %s has facts: %s", ticker, strings.Join(tables, ", ")).
			WithHint("--force removes the symbol and leaves its facts; `quant symbols set %s --active=false` keeps both", ticker)
	}
	return nil
}

// badLines names the first bad lines, for an error.
func badLines(bad []BadLine) string {
	var list []string
	for _, b := range bad {
		list = append(list, fmt.Sprintf("line %d: %s", b.Line, b.Reason))
	}
	return quant.SomeOf(list, 10)
}

// storeRows adds or changes the symbols of a file.
func storeRows(ctx context.Context, meta metastore.Store, rows []row, done *Changes) error {
	for _, r := range rows {
		old, err := meta.GetSymbol(ctx, r.ticker)
		missing := errors.Is(err, quant.NotFound)
		if err != nil && !missing {
			return err
		}
		s := old
		if missing {
			s = quant.Symbol{Symbol: r.ticker, IsActive: true}
		}
		r.apply(&s)
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
			return fmt.Errorf("line %d: %w", r.line, err)
		}
	}
	return nil
}
