package cli

import (
	"slices"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"quant"
	"quant/internal/curator/provider/alphavantage"
	"quant/internal/output"
	"quant/internal/pipeline"
)

func bindProvider(f *pflag.FlagSet, o *pipeline.FetchOptions) {
	f.StringVar(&o.Provider, "provider", "", "fetch from the network instead of files: alphavantage")
	f.StringSliceVar(&o.Symbols, "symbols", nil, "with --provider: these symbols (default: all active ones, highest priority first)")
	f.BoolVar(&o.Full, "full", false, "with --provider: the whole history, not only what is new")
	f.StringVar(&o.BaseURL, "base-url", "", "with --provider: where it answers (default "+alphavantage.DefaultURL+")")
	f.IntVar(&o.Overlap, "overlap", o.Overlap, "with --provider: stored days to fetch again, to see whether they changed")
	f.IntVar(&o.PerMinute, "per-minute", o.PerMinute, "with --provider: at most so many requests a minute (0: no limit)")
	f.IntVar(&o.Retries, "retries", o.Retries, "with --provider: how often to try again what may succeed later")
	f.BoolVar(&o.NoCache, "no-cache", false, "with --provider: ask again also for what was answered today")
	f.Var(newDuration(&o.Timeout, o.Timeout), "timeout", "with --provider: longest wait for one answer")
}

// The flags that mean something for one kind of source only.
var (
	fileOnly     = []string{"symbol", "encoding", "date-format", "volume-missing"}
	providerOnly = []string{"symbols", "full", "base-url", "overlap", "per-minute", "retries", "no-cache", "timeout"}
)

// checkSource refuses flags and files that do not go with the source.
func checkSource(cmd *cobra.Command, args []string, provider string) error {
	first := func(names []string) string {
		i := slices.IndexFunc(names, func(n string) bool { return cmd.Flags().Changed(n) })
		if i < 0 {
			return ""
		}
		return names[i]
	}
	if !cmd.Flags().Changed("provider") {
		if flag := first(providerOnly); flag != "" {
			return quant.Errorf(quant.Usage, "--%s is for a provider", flag).WithHint("add --provider alphavantage, or leave it out")
		}
		return wantArgs(1, -1, "at least one file")(cmd, args)
	}
	switch {
	case provider != alphavantage.Name:
		return pipeline.FetchOptions{Provider: provider}.Validate()
	case len(args) > 0:
		return quant.Errorf(quant.Usage, "files and --provider at once").WithHint("ingest them one after the other")
	case first(fileOnly) != "":
		return quant.Errorf(quant.Usage, "--%s is for files", first(fileOnly)).WithHint("leave it out: a provider's answers have one form")
	}
	return nil
}

func fetch(cmd *cobra.Command, env *Env, o pipeline.FetchOptions) (*pipeline.IngestReport, error) {
	if o.Symbols == nil && cmd.Flags().Changed("symbols") {
		o.Symbols = []string{}
	}
	for i, symbol := range o.Symbols {
		o.Symbols[i] = strings.TrimSpace(symbol)
	}
	return pipeline.Fetch(cmd.Context(), env.Session, o)
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
type symbolBar struct {
	env *Env
	bar *progressbar.ProgressBar
}

func (b *symbolBar) show(symbol string, done, total int) {
	if b.env.Quiet || !output.IsTerminal(b.env.Streams().Err) {
		return
	}
	if b.bar == nil {
		b.bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(b.env.Streams().Err), progressbar.OptionShowCount(),
			progressbar.OptionClearOnFinish(), progressbar.OptionSetRenderBlankState(true))
	}
	b.bar.Describe(symbol)
	_ = b.bar.Set(done) // a bar that cannot be drawn is no reason to stop
}

func (b *symbolBar) clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}
