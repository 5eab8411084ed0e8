package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/factstore"
	"quant/internal/price"
)

func dataPricesCommand(env *Env) Command {
	var asOf, from, to string
	cmd := &cobra.Command{
		Use:   "prices SYMBOL...",
		Short: "Show the stored bars of symbols, as they are or as a run saw them",
		Long: `Show the stored bars of symbols, by symbol and day. With --as-of RUN they are
those that the run left behind or, if it wrote no prices, those that stood when
it ended: bit for bit, with the source and the time of each bar, whatever later
runs revised or rescaled. A symbol without bars is named on stderr; if none has
any, the exit status is 4.`,
		Example: `  quant data prices AAPL --from 2024-01-01
  quant data prices AAPL IBM --as-of last --output csv`,
		Args: wantArgs(1, -1, "at least one symbol"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := priceList{symbols: slices.Compact(slices.Sorted(slices.Values(args)))}
			for _, s := range req.symbols {
				if err := quant.ValidateSymbol(s); err != nil {
					return quant.Errorf(quant.Usage, "%w", err).WithHint("for example quant data prices AAPL")
				}
			}
			for _, day := range []struct {
				flag, text string
				into       **quant.Date
			}{{"from", from, &req.from}, {"to", to, &req.to}} {
				if !cmd.Flags().Changed(day.flag) {
					continue
				}
				d, err := quant.ParseDate(day.text)
				if err != nil {
					return quant.Errorf(quant.Usage, "--%s: %w", day.flag, err).WithHint("for example --%s 2024-01-31", day.flag)
				}
				*day.into = &d
			}
			if req.from != nil && req.to != nil && *req.from > *req.to {
				return quant.Errorf(quant.Usage, "--from %s is after --to %s", *req.from, *req.to).WithHint("exchange them")
			}
			return env.printPrices(cmd.Context(), req, asOf, cmd.Flags().Changed("as-of"))
		},
	}
	cmd.Flags().StringVar(&asOf, "as-of", "", "a run: its id, a unique part of it, or last")
	cmd.Flags().StringVar(&from, "from", "", "first day, such as 2024-01-31")
	cmd.Flags().StringVar(&to, "to", "", "last day")
	return Command{Command: cmd}
}

// priceList says which bars.
type priceList struct {
	symbols  []string
	from, to *quant.Date // nil: no bound
}

func (p priceList) where() (string, []any) {
	where, args := "symbol IN ("+strings.TrimSuffix(strings.Repeat("?, ", len(p.symbols)), ", ")+")", []any{}
	for _, s := range p.symbols {
		args = append(args, s)
	}
	if p.from != nil {
		where, args = where+" AND ts >= CAST(? AS DATE)", append(args, *p.from)
	}
	if p.to != nil {
		where, args = where+" AND ts <= CAST(? AS DATE)", append(args, *p.to)
	}
	return where, args
}

// barRow is a bar as ohlcv has it.
type barRow struct {
	Symbol        string     `json:"symbol"`
	TS            quant.Text `json:"ts"`
	Open          *float64   `json:"open"`
	High          *float64   `json:"high"`
	Low           *float64   `json:"low"`
	Close         *float64   `json:"close"`
	Volume        *float64   `json:"volume"`
	AdjustedClose *float64   `json:"adjusted_close"`
	Source        quant.Text `json:"source"`
	IngestedAt    quant.Time `json:"ingested_at"`
}

func (e *Env) printPrices(ctx context.Context, req priceList, ref string, asOf bool) error {
	var run string
	var ended time.Time
	if asOf {
		meta, err := e.MetaDB()
		if err != nil {
			return err
		}
		if run, err = e.Resolve(ctx, ref); err != nil {
			return err
		}
		found, err := meta.GetRun(ctx, run)
		if err != nil {
			return err
		}
		ended = found.EndedAt.Time
	}
	list := []barRow{}
	err := e.ReadFacts(ctx, func(db *factstore.DB) error {
		source := "ohlcv"
		if asOf {
			at, err := db.PricesAsOf(ctx, run, ended)
			if err != nil {
				return err
			}
			if source, err = db.StageAsOf(ctx, at); err != nil {
				return err
			}
		}
		if err := e.wantBars(ctx, db, source, req.symbols); err != nil {
			return err
		}
		where, args := req.where()
		rows, err := db.Query(ctx, "SELECT symbol, ts, open, high, low, close, volume, adjusted_close, source, ingested_at FROM "+source+" WHERE "+where+" ORDER BY symbol, ts", args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var b barRow
			var ts quant.Date
			if err := rows.Scan(&b.Symbol, &ts, &b.Open, &b.High, &b.Low, &b.Close, &b.Volume, &b.AdjustedClose, &b.Source, &b.IngestedAt); err != nil {
				return err
			}
			b.TS = quant.Text(ts.String())
			list = append(list, b)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		rows.Close()
		inputs, err := price.StoredBars(ctx, db, source, where, args...)
		for _, read := range inputs {
			e.record(read)
		}
		return err
	})
	if err != nil {
		return err
	}
	return e.Print(list)
}

// wantBars names the symbols without bars: NotFound if that is all of them.
func (e *Env) wantBars(ctx context.Context, db *factstore.DB, source string, symbols []string) error {
	where, args := priceList{symbols: symbols}.where()
	rows, err := db.Query(ctx, "SELECT DISTINCT symbol FROM "+source+" WHERE "+where, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	lacking := slices.Clone(symbols)
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return err
		}
		lacking = slices.DeleteFunc(lacking, func(l string) bool { return l == s })
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if len(lacking) == len(symbols) {
		return quant.Errorf(quant.NotFound, "no bars of %s", someOf(lacking, 10)).WithHint("`quant sql \"SELECT DISTINCT symbol FROM ohlcv\"` shows which symbols have some")
	}
	if len(lacking) > 0 {
		e.Notice("no bars of %s", someOf(lacking, 10))
	}
	return nil
}
