package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/curator"
	"quant/internal/output"
	"quant/internal/pipeline"
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
			req.Symbols = args
			report, err := pipeline.CheckData(cmd.Context(), env.Session, req)
			if err != nil {
				return err
			}
			if err := env.Print(qualityReport{report}); err != nil {
				return err
			}
			if strict && report.Warnings > 0 {
				return quant.Errorf(quant.Refused, "data check: %s", quant.Count(int(report.Warnings), "warning")).
					WithHint("mend the prices and ingest them again, or move the threshold; `quant data check --help` lists them")
			}
			return nil
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
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := pipeline.DataStatus(cmd.Context(), env.Session, args)
			if err != nil {
				return err
			}
			return env.Print(coverageList(list))
		},
	}}
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
			quant.SomeOf(c.Sources, 2), c.LastIngest.String(), quant.ShortID(string(c.RunID))})
	}
	return []output.Section{{Rows: rows}}
}
