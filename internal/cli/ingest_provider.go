package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"quant"
	"quant/internal/config"
	"quant/internal/curator"
	"quant/internal/curator/provider"
	"quant/internal/curator/provider/alphavantage"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/output"
)

// providerFlags are the flags of an ingest from a provider.
type providerFlags struct {
	name      string
	symbols   []string
	full      bool
	baseURL   string
	overlap   int
	perMinute int
	retries   int
	noCache   bool
	timeout   time.Duration
}

func (p *providerFlags) bind(f *pflag.FlagSet) {
	f.StringVar(&p.name, "provider", "", "fetch from the network instead of files: alphavantage")
	f.StringSliceVar(&p.symbols, "symbols", nil, "with --provider: these symbols (default: all active ones, highest priority first)")
	f.BoolVar(&p.full, "full", false, "with --provider: the whole history, not only what is new")
	f.StringVar(&p.baseURL, "base-url", "", "with --provider: where it answers (default "+alphavantage.DefaultURL+")")
	f.IntVar(&p.overlap, "overlap", 5, "with --provider: stored days to fetch again, to see whether they changed")
	f.IntVar(&p.perMinute, "per-minute", alphavantage.PerMinute, "with --provider: at most so many requests a minute (0: no limit)")
	f.IntVar(&p.retries, "retries", 3, "with --provider: how often to try again what may succeed later")
	f.BoolVar(&p.noCache, "no-cache", false, "with --provider: ask again also for what was answered today")
	f.Var(newDuration(&p.timeout, 30*time.Second), "timeout", "with --provider: longest wait for one answer")
}

// The flags that mean something for one kind of source only.
var (
	fileOnly     = []string{"symbol", "encoding", "date-format", "volume-missing"}
	providerOnly = []string{"symbols", "full", "base-url", "overlap", "per-minute", "retries", "no-cache", "timeout"}
)

func (p *providerFlags) check(cmd *cobra.Command, args []string) error {
	given := func(names []string) string {
		i := slices.IndexFunc(names, func(n string) bool { return cmd.Flags().Changed(n) })
		if i < 0 {
			return ""
		}
		return names[i]
	}
	if !cmd.Flags().Changed("provider") {
		if flag := given(providerOnly); flag != "" {
			return quant.Errorf(quant.Usage, "--%s is for a provider", flag).WithHint("add --provider alphavantage, or leave it out")
		}
		return wantArgs(1, -1, "at least one file")(cmd, args)
	}
	switch {
	case p.name != alphavantage.Name:
		return quant.Errorf(quant.Usage, "provider %q is not known", p.name).WithHint("use --provider alphavantage")
	case len(args) > 0:
		return quant.Errorf(quant.Usage, "files and --provider at once").WithHint("ingest them one after the other")
	case given(fileOnly) != "":
		return quant.Errorf(quant.Usage, "--%s is for files", given(fileOnly)).WithHint("leave it out: a provider's answers have one form")
	case p.overlap < 0, p.retries < 0, p.perMinute < 0:
		return quant.Errorf(quant.Usage, "--overlap, --retries and --per-minute cannot be negative").WithHint("0 is the least")
	case p.timeout <= 0:
		return quant.Errorf(quant.Usage, "--timeout must be more than 0").WithHint("for example --timeout 30s")
	case cmd.Flags().Changed("symbols") && len(p.symbols) == 0:
		return quant.Errorf(quant.Usage, "--symbols names none").WithHint("for example --symbols AAPL,IBM; leave it out for all active ones")
	}
	for i, s := range p.symbols {
		p.symbols[i] = strings.TrimSpace(s)
		if err := quant.ValidateSymbol(p.symbols[i]); err != nil {
			return quant.Errorf(quant.Usage, "--symbols: %w", err).WithHint("for example --symbols AAPL,IBM")
		}
	}
	return nil
}

// provider is Alpha Vantage with everything around it.
func (e *Env) provider(p providerFlags) (provider.Provider, error) {
	key := e.Settings.Value(config.AlphaVantageKey)
	client, err := alphavantage.New(alphavantage.Options{BaseURL: p.baseURL, Key: key, Timeout: p.timeout, Now: e.Now})
	if err != nil {
		return nil, err
	}
	limited := provider.Limited(provider.Redacted(client, key), p.perMinute, provider.Clock{})
	cached := provider.Cached(provider.Retrying(limited, provider.Backoff{Retries: p.retries}), provider.Cache{
		Dir: filepath.Join(e.Settings.Value(config.DataDir), "cache", client.Name()), Scope: client.Scope(), Now: e.Now, Parse: alphavantage.Parse,
	})
	if p.noCache {
		return provider.Fresh(cached), nil
	}
	return cached, nil
}

func (e *Env) fetch(ctx context.Context, files curator.Request, p providerFlags) error {
	if err := files.Validate(); err != nil {
		return err
	}
	source, err := e.provider(p)
	if err != nil {
		return err
	}
	meta, err := e.MetaDB()
	if err != nil {
		return err
	}
	if len(p.symbols) == 0 {
		if p.symbols, err = activeSymbols(ctx, meta); err != nil {
			return err
		}
	}
	added := []string{}
	bar := e.symbolBar(len(p.symbols))
	report, series, err := curator.Fetch(ctx, curator.FetchRequest{
		RunID: files.RunID, Provider: source, Symbols: p.symbols, Full: p.full, Overlap: p.overlap, MaxRejectRatio: files.MaxRejectRatio, Now: e.Now,
		Facts: func(ctx context.Context, use func(*factstore.DB) error) error { return e.WriteFacts(ctx, use) },
		BeforeCommit: func(ctx context.Context, symbols []string) error {
			more, err := meta.EnsureSymbols(ctx, symbols)
			added = append(added, more...)
			return err
		},
		Progress: bar.show,
	})
	bar.clear()
	var ended error // told to end after the prices were stored
	if len(report.Symbols) > 0 && !e.Quiet && ctx.Err() == nil {
		unread := e.ReadFacts(ctx, func(db *factstore.DB) error {
			findings, err := e.qualityNotices(ctx, db, report.Symbols)
			report.Notices = append(report.Notices, findings...)
			return err
		})
		switch {
		case ctx.Err() != nil:
			ended = context.Cause(ctx)
		case unread != nil:
			report.Notices = append(report.Notices, fmt.Sprintf("data check: could not be made: %v", unread))
		}
	}
	e.maskNames(&report)
	for i := range series {
		series[i].Error = quant.Text(e.Mask.Text(string(series[i].Error)))
	}
	for _, notice := range report.Notices {
		e.Notice("%s", notice)
	}
	if n := cachedSeries(series); n > 0 {
		e.Notice("%d of %d symbols: the provider's answer of earlier today; --no-cache asks again", n, len(series))
	}
	e.recordSymbols(int64(len(added)))
	e.recordStored(report, err == nil)
	for _, s := range series {
		if s.Digest != "" {
			e.record(quant.RunIO{
				Direction: quant.In, Kind: "answer", Name: source.Name() + ":" + s.Symbol, Rows: ptr(s.Fetched),
				FirstDate: s.FirstDate, LastDate: s.LastDate, Digest: s.Digest,
			})
		}
	}
	if err != nil && !errors.Is(err, quant.Partial) && !errors.Is(err, quant.Provider) {
		return err
	}
	if err == nil {
		e.noticeUnchanged(report)
	}
	if printed := e.Print(ingestReport{report, added, false, quant.Text(source.Name()), series}); err == nil {
		err = cmp.Or(printed, ended)
	}
	return err
}

func cachedSeries(list []curator.SeriesReport) (n int) {
	for _, s := range list {
		if s.Cached {
			n++
		}
	}
	return n
}

// activeSymbols are those that new work includes, highest priority first.
func activeSymbols(ctx context.Context, meta metastore.Store) ([]string, error) {
	list, err := meta.ListSymbols(ctx, metastore.SymbolFilter{Active: ptr(true), Order: "-priority"})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, quant.Errorf(quant.Usage, "there are no active symbols").WithHint("name some: --symbols AAPL,IBM, or add them: quant symbols add AAPL")
	}
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.Symbol
	}
	return names, nil
}

// seriesRows are the symbols of a provider as the table shows them.
func (r ingestReport) seriesRows() any {
	type row struct {
		Symbol    string `json:"symbol"`
		Answer    string `json:"answer"`
		Fetched   int64  `json:"fetched"`
		Inserted  int64  `json:"inserted"`
		Revised   int64  `json:"revised"`
		Rescaled  int64  `json:"rescaled"`
		Unchanged int64  `json:"unchanged"`
		Rejected  int64  `json:"rejected"`
		First     string `json:"first"`
		Last      string `json:"last"`
		Error     string `json:"error"`
	}
	var rows []row
	for _, s := range r.Series {
		answer := string(s.Size)
		if s.Cached {
			answer += ", cached"
		}
		rows = append(rows, row{s.Symbol, answer, s.Fetched, s.Inserted, s.Revised, s.Rescaled, s.Unchanged, s.Rejected, string(s.FirstDate), string(s.LastDate), string(s.Error)})
	}
	return rows
}

// symbolBar counts symbols on stderr, or does nothing where that is no terminal.
type symbolBar struct{ bar *progressbar.ProgressBar }

func (e *Env) symbolBar(n int) *symbolBar {
	if e.Quiet || !output.IsTerminal(e.Streams().Err) {
		return &symbolBar{}
	}
	return &symbolBar{progressbar.NewOptions(n, progressbar.OptionSetWriter(e.Streams().Err), progressbar.OptionShowCount(),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetRenderBlankState(true))}
}

func (b *symbolBar) show(symbol string, done, _ int) {
	if b.bar != nil {
		b.bar.Describe(symbol)
		_ = b.bar.Set(done) // a bar that cannot be drawn is no reason to stop
	}
}

func (b *symbolBar) clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}
