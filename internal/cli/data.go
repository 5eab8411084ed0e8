package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/curator"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/output"
)

func dataCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{
			Use:   "data",
			Short: "Examine the stored prices: their quality, and what there is of them",
		},
		Sub: []Command{dataCheck(env), dataStatus(env), dataPricesCommand(env)},
	}
}

func dataCheck(env *Env) Command {
	req := curator.DefaultQuality()
	strict := false
	cmd := &cobra.Command{
		Use:   "check [SYMBOL...]",
		Short: "Report what is wrong or odd in the stored prices, by symbol",
		Long: `Report what is wrong or odd in the stored prices of the symbols named, or of all:
sessions of the calendar (QUANT_CALENDAR) without a bar, bars on days that are
no sessions, stale prices, jumps, steps of adjusted_close without a reason in
the raw price (and splits that it explains), empty values, days without volume,
short histories, symbols without bars. Returns are those of the prices in use:
adjusted where a symbol has an adjusted_close on every bar, else raw.

A finding is a warning where results that rest on these bars may be wrong, else
a note. It changes nothing. Exit status 0 whatever is found; with --strict, 6
if there is a warning; 4 for a symbol that is not known.`,
		Example: `  quant data check
  quant data check AAPL IBM --strict
  QUANT_CALENDAR=XKRX quant data check 005930 --output json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.dataCheck(cmd.Context(), args, req, strict)
		},
	}
	f := cmd.Flags()
	f.IntVar(&req.StaleSessions, "stale-sessions", req.StaleSessions, "sessions in a row with the same close that are stale")
	f.Float64Var(&req.Jump, "jump", req.Jump, "return, as a decimal, beyond which a close jumps")
	f.Float64Var(&req.Adjustment, "adjustment", req.Adjustment, "step of adjusted_close / close, as a decimal, that needs a reason")
	f.Float64Var(&req.MaxOutside, "max-outside", req.MaxOutside, "share of bars, 0 to 1, outside the calendar above which it is a warning")
	f.Int64Var(&req.MinBars, "min-bars", req.MinBars, "bars below which a history is short")
	f.BoolVar(&strict, "strict", false, "exit with 6 if there is a warning")
	return Command{Command: cmd}
}

func (e *Env) dataCheck(ctx context.Context, symbols []string, req curator.QualityRequest, strict bool) error {
	if err := req.Validate(); err != nil {
		return err
	}
	named, err := symbolArgs(symbols)
	if err != nil {
		return err
	}
	req.Symbols = named
	var report curator.QualityReport
	err = e.ReadFacts(ctx, func(db *factstore.DB) error {
		cal, err := e.calendar(ctx, db)
		if err != nil {
			return err
		}
		if report, err = curator.CheckQuality(ctx, db, cal, req); err != nil {
			return err
		}
		for _, f := range report.Findings {
			if f.Check == curator.NoBars {
				if err := e.knownSymbol(ctx, f.Symbol); err != nil {
					return err
				}
			}
		}
		return e.recordBars(ctx, db, named, report.FirstDate, report.LastDate)
	})
	if err != nil {
		return err
	}
	if err := e.Print(qualityReport{report}); err != nil {
		return err
	}
	if strict && report.Warnings > 0 {
		return quant.Errorf(quant.Refused, "data check: %s", quant.Count(int(report.Warnings), "warning")).
			WithHint("mend the prices and ingest them again, or move the threshold; `quant data check --help` lists them")
	}
	return nil
}

// symbolArgs are the symbols of a command line, once each, in byte order; nil
// for none.
func symbolArgs(args []string) ([]string, error) {
	for _, s := range args {
		if err := quant.ValidateSymbol(s); err != nil {
			return nil, err
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(args))), nil
}

// recordBars notes the stored bars of the symbols (nil: of all) as an input of
// this run, and the runs that wrote them.
func (e *Env) recordBars(ctx context.Context, db *factstore.DB, symbols []string, first, last quant.Text) error {
	where, args := "true", []any{}
	if symbols != nil {
		where = "symbol IN (" + strings.TrimSuffix(strings.Repeat("?, ", len(symbols)), ", ") + ")"
		for _, s := range symbols {
			args = append(args, s)
		}
	}
	rows, digest, err := db.Digest(ctx, "SELECT symbol, ts, open, high, low, close, volume, adjusted_close FROM ohlcv WHERE "+where, args...)
	if err != nil {
		return err
	}
	e.record(quant.RunIO{Direction: quant.In, Kind: "table", Name: "ohlcv", Rows: &rows, FirstDate: first, LastDate: last, Digest: quant.Text(digest)})
	writers, err := db.Writers(ctx, "ohlcv", where, args...)
	for _, id := range writers {
		e.record(quant.RunIO{Direction: quant.In, Kind: "run", Name: id})
	}
	return err
}

// knownSymbol reports, as NotFound, a symbol without bars that is not in
// symbols either.
func (e *Env) knownSymbol(ctx context.Context, symbol string) error {
	meta, err := e.MetaDB()
	if err != nil {
		return err
	}
	if _, err := meta.GetSymbol(ctx, symbol); errors.Is(err, quant.NotFound) {
		return quant.Errorf(quant.NotFound, "symbol %q is not known and has no bars", symbol).
			WithHint("`quant data status` lists those that are; tickers are case-sensitive")
	} else if err != nil {
		return err
	}
	return nil
}

// qualityReport is the result of data check.
type qualityReport struct{ curator.QualityReport }

func (r qualityReport) CSVRows() any { return r.Findings }

func (r qualityReport) Sections() []output.Section {
	line := fmt.Sprintf("%s, %s against %s: %s, %s", quant.Count(int(r.Symbols), "symbol"), quant.Count(int(r.Bars), "bar"), r.Calendar,
		quant.Count(int(r.Warnings), "warning"), quant.Count(int(r.Notes), "note"))
	if len(r.Findings) == 0 {
		return []output.Section{{Lines: []string{line}}}
	}
	return []output.Section{{Rows: r.Findings}, {Lines: []string{line}}}
}

// deepBars is how many bars an ingest has examined in full: what that takes is
// lost in the ingest itself.
const deepBars = 250_000

// qualityNotices examines the symbols of an ingest and gives a sentence for
// each kind of warning. It fails one only if the command is told to end
// meanwhile: the prices are stored.
func (e *Env) qualityNotices(ctx context.Context, db *factstore.DB, symbols []string) ([]string, error) {
	if e.Quiet {
		return nil, nil
	}
	req := curator.DefaultQuality()
	req.Symbols, req.DeepBars = symbols, deepBars
	var report curator.QualityReport
	cal, err := e.calendar(ctx, db)
	if err == nil {
		report, err = curator.CheckQuality(ctx, db, cal, req)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return []string{fmt.Sprintf("data check: could not be made: %v", err)}, nil
	}
	var notices, kinds []string
	found := map[string][]string{}
	for _, f := range report.Findings {
		if f.Severity != curator.Warning {
			continue
		}
		if found[f.Check] == nil {
			kinds = append(kinds, f.Check)
		}
		found[f.Check] = append(found[f.Check], f.Symbol)
	}
	for _, kind := range kinds {
		notices = append(notices, fmt.Sprintf("data check: %s for %s: see `quant data check`", kind, someOf(found[kind], 3)))
	}
	if !report.Deep {
		notices = append(notices, fmt.Sprintf("data check: %d bars, not looked at for jumps and stale prices: `quant data check` does", report.Bars))
	}
	return notices, nil
}

func dataStatus(env *Env) Command {
	return Command{Command: &cobra.Command{
		Use:   "status [SYMBOL...]",
		Short: "Show what is stored of each symbol's prices",
		Long: `Show what is stored of the prices of the symbols named, or of all that have bars
or are active: bars, first and last day, sessions of the calendar
(QUANT_CALENDAR) between these and how many have no bar, the basis on which the
prices are used (adjusted or raw), sources, and the run that wrote last. It
changes nothing. Exit status 4 for a symbol that is not known.`,
		Example: `  quant data status
  quant data status AAPL --output json`,
		RunE: func(cmd *cobra.Command, args []string) error { return env.dataStatus(cmd.Context(), args) },
	}}
}

func (e *Env) dataStatus(ctx context.Context, args []string) error {
	symbols, err := symbolArgs(args)
	if err != nil {
		return err
	}
	var list coverageList
	err = e.ReadFacts(ctx, func(db *factstore.DB) error {
		cal, err := e.calendar(ctx, db)
		if err != nil {
			return err
		}
		asked := symbols
		if asked == nil {
			if asked, err = e.symbolsAndBars(ctx, db); err != nil {
				return err
			}
		}
		if list, err = curator.Coverage(ctx, db, cal, asked); err != nil {
			return err
		}
		var first, last quant.Text
		for _, c := range list {
			if c.Bars == 0 {
				if err := e.knownSymbol(ctx, c.Symbol); err != nil {
					return err
				}
				continue
			}
			if first == "" || c.FirstDate < first {
				first = c.FirstDate
			}
			last = max(last, c.LastDate)
		}
		return e.recordBars(ctx, db, symbols, first, last)
	})
	if err != nil {
		return err
	}
	return e.Print(list)
}

// symbolsAndBars are the active symbols and those that have bars, in byte
// order; the latter alone where there is no Meta DB.
func (e *Env) symbolsAndBars(ctx context.Context, db *factstore.DB) ([]string, error) {
	list, err := db.Symbols(ctx)
	if err != nil || e.Meta == nil {
		return list, err
	}
	active, err := e.Meta.ListSymbols(ctx, metastore.SymbolFilter{Active: ptr(true)})
	for _, s := range active {
		list = append(list, s.Symbol)
	}
	slices.Sort(list)
	return slices.Compact(list), err
}

// coverageList is the result of data status.
type coverageList []curator.SymbolCoverage

func (l coverageList) Sections() []output.Section {
	type row struct {
		Symbol   string     `json:"symbol"`
		Bars     int64      `json:"bars"`
		First    quant.Text `json:"first"`
		Last     quant.Text `json:"last"`
		Sessions int64      `json:"sessions"`
		Missing  int64      `json:"missing"`
		Outside  int64      `json:"outside"`
		Coverage string     `json:"coverage"`
		Basis    string     `json:"basis"`
		Sources  string     `json:"sources"`
		Ingested string     `json:"last ingest"`
		Run      string     `json:"run"`
	}
	rows := []row{}
	for _, c := range l {
		share := ""
		if c.Coverage != nil {
			share = fmt.Sprintf("%.2f%%", 100**c.Coverage)
		}
		rows = append(rows, row{c.Symbol, c.Bars, c.FirstDate, c.LastDate, c.Sessions, c.Missing, c.Outside, share, c.Basis,
			someOf(c.Sources, 2), c.LastIngest.String(), quant.ShortID(string(c.RunID))})
	}
	return []output.Section{{Rows: rows}}
}
