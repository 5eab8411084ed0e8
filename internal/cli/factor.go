package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/guptarohit/asciigraph"
	"github.com/spf13/cobra"

	"quant"
	"quant/internal/feature"
	"quant/internal/output"
	"quant/internal/pipeline"
)

func factorCommand(env *Env) Command {
	return Command{
		Command: &cobra.Command{Use: "factor", Short: "Show the features there are, and judge one by a label"},
		Sub:     []Command{factorList(env), factorReport(env)},
	}
}

func factorList(env *Env) Command {
	var version string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the catalogue of features",
		Long: `List the features of v1, v2 and of the lab's own versions: what each is, how
many sessions it looks back, and whether it is scale-free (names can be ranked by
it) or at price level, with the scale-free one to use instead where there is one.
Then the versions that the lab has beside v1 and v2. --feature-version shows one
version, such as alpha158.`,
		Example: `  quant factor list
  quant factor list --feature-version alpha158`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			catalogue, err := pipeline.CatalogueOf(cmd.Context(), env.Session, version)
			if err != nil {
				return err
			}
			return env.Print(featureCatalogue{catalogue})
		},
	}
	cmd.Flags().StringVar(&version, "feature-version", "", "only the features of this version")
	return Command{Command: cmd}
}

// featureCatalogue is the result of factor list; its table leaves out what
// would make it too wide.
type featureCatalogue struct{ pipeline.FeatureCatalogue }

func (c featureCatalogue) MarshalJSON() ([]byte, error) { return json.Marshal(c.Entries) }

func (c featureCatalogue) CSVRows() any { return c.Entries }

func (c featureCatalogue) Sections() []output.Section {
	type row struct {
		Name       string `json:"name"`
		Versions   string `json:"versions"`
		Lookback   int    `json:"lookback"`
		FirstRow   int    `json:"first_row"`
		Unit       string `json:"unit"`
		Rank       string `json:"ranking"`
		Definition string `json:"definition"`
	}
	rows := []row{}
	for _, e := range c.Entries {
		rank := "scale-free"
		switch {
		case e.ScaleFree:
		case e.Twin != "":
			rank = "price level: use " + e.Twin
		default:
			rank = "not scale-free"
		}
		rows = append(rows, row{e.Name, strings.Join(e.Versions, " "), e.Lookback, e.FirstRow, e.Unit, rank, e.Definition})
	}
	sections := []output.Section{{Rows: rows}}
	type setRow struct {
		Version     string `json:"version"`
		Kind        string `json:"kind"`
		Features    int    `json:"features"`
		KnownAt     string `json:"known_at"`
		Description string `json:"description"`
	}
	var sets []setRow
	for _, s := range c.Sets {
		sets = append(sets, setRow{s.Version, s.Kind, len(s.Features), s.KnownAt, s.Description})
	}
	if sets != nil {
		sections = append(sections, output.Section{Title: "versions of this lab", Rows: sets})
	}
	return sections
}

func factorReport(env *Env) Command {
	var req feature.FactorRequest
	var of, by, from, to, symbols, svg string
	var plot bool
	cmd := &cobra.Command{
		Use:   "report --feature F[@VERSION] --label L[@VERSION]",
		Short: "Judge a stored feature by a stored label",
		Long: `Judge a stored feature by a stored label: the daily information coefficient (IC,
Pearson's) and the same on ranks (RankIC) over sessions with at least 5 names,
their mean, deviation and ratio (ICIR), with the effective sample, sessions /
horizon, its t, and the t of Newey and West with horizon - 1 lags; their decay over the returns of 1, 5, 10, 20 and 60
sessions; the label's mean by quantile of the feature, and top minus bottom; how
much the ranks resemble those of the session before; coverage; and each symbol's
own time series, which is all there is with fewer names.

A feature at price level is refused (exit status 6). What has not been computed,
or has no pairs in the range, is not found (4).`,
		Example: `  quant factor report --feature ret_20d --label fwd_ret_60d
  quant factor report --feature rsi_14@v2 --label fwd_ret_5d@v1 --from 2010-01-01 --plot`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if of == "" || by == "" {
				return quant.Errorf(quant.Usage, "factor report needs --feature and --label").
					WithHint("such as --feature ret_20d --label fwd_ret_60d; `quant factor list` shows the features")
			}
			req.Feature, req.FeatureVersion, _ = strings.Cut(of, "@")
			req.Label, req.LabelVersion, _ = strings.Cut(by, "@")
			for _, bound := range []struct {
				name, value string
				into        **quant.Date
			}{{"from", from, &req.From}, {"to", to, &req.To}} {
				if bound.value == "" {
					continue
				}
				d, err := quant.ParseDate(bound.value)
				if err != nil {
					return quant.Errorf(quant.Usage, "--%s: %w", bound.name, err).WithHint("write it as 2024-01-31")
				}
				*bound.into = &d
			}
			var err error
			if req.Symbols, err = featureSymbols(cmd, symbols); err != nil {
				return err
			}
			if _, err := req.Check(); err != nil {
				return err
			}
			report, err := pipeline.Factor(cmd.Context(), env.Session, pipeline.FactorOptions{FactorRequest: req, SVG: svg})
			if err != nil {
				return err
			}
			return env.Print(factorResult{report, plot})
		},
	}
	f := cmd.Flags()
	f.StringVar(&of, "feature", "", "the feature, such as ret_20d or rsi_14@v2")
	f.StringVar(&by, "label", "", "the label, such as fwd_ret_60d or direction_5d@v1")
	f.StringVar(&from, "from", "", "first day, YYYY-MM-DD (default: all)")
	f.StringVar(&to, "to", "", "last day, YYYY-MM-DD (default: all)")
	f.IntVar(&req.Quantiles, "quantiles", 5, "groups of names by feature, 2 to 100")
	f.StringVar(&symbols, "symbols", "", "only these symbols, separated by commas (default: all that have bars)")
	f.BoolVar(&plot, "plot", false, "draw the running sum of RankIC below the table")
	f.StringVar(&svg, "svg", "", "draw it into this SVG file, which must not exist")
	return Command{Command: cmd}
}

// factorResult is the result of factor report.
type factorResult struct {
	feature.FactorReport
	plot bool
}

func (r factorResult) CSVRows() any { return r.Daily }

func (r factorResult) Sections() []output.Section {
	type informationRow struct {
		Name      string `json:"coefficient"`
		Sessions  int    `json:"sessions"`
		Mean      string `json:"mean"`
		Deviation string `json:"deviation"`
		ICIR      string `json:"icir"`
		Effective string `json:"effective_sample"`
		T         string `json:"t"`
		NeweyWest string `json:"newey_west_t"`
	}
	type decayRow struct {
		Horizon  int    `json:"horizon"`
		Sessions int    `json:"sessions"`
		IC       string `json:"ic"`
		RankIC   string `json:"rank_ic"`
	}
	type quantileRow struct {
		Quantile int    `json:"quantile"`
		Mean     string `json:"mean"`
		Sessions int    `json:"sessions"`
	}
	type seriesRow struct {
		Symbol    string `json:"symbol"`
		Pairs     int    `json:"pairs"`
		Effective string `json:"effective_sample"`
		C         string `json:"correlation"`
	}
	of := func(name string, i feature.Information) informationRow {
		return informationRow{name, i.Sessions, figure(i.Mean), figure(i.Deviation), figure(i.ICIR), figure(i.EffectiveSample), figure(i.T), figure(i.NeweyWestT)}
	}
	var decay []decayRow
	for _, d := range r.Decay {
		decay = append(decay, decayRow{d.Horizon, d.Sessions, figure(d.IC), figure(d.RankIC)})
	}
	var quantiles []quantileRow
	for _, q := range r.Quantiles {
		quantiles = append(quantiles, quantileRow{q.Quantile, figure(q.Mean), q.Sessions})
	}
	var head []string
	if r.KnownAt != "" {
		head = append(head, "known at: "+string(r.KnownAt))
	}
	sections := []output.Section{
		{Lines: append([]string{
			fmt.Sprintf("%s@%s against %s@%s, %s to %s", r.Feature, r.FeatureVersion, r.Label, r.LabelVersion, r.FirstDate, r.LastDate),
			fmt.Sprintf("%s, %s, %d pairs; coverage %s of the bars, with the label %s", quant.Count(r.Symbols, "symbol"), quant.Count(r.Sessions, "session"), r.Pairs, figure(r.FeatureCoverage), figure(r.PairCoverage)),
		}, head...)},
		{Rows: []informationRow{of("IC", r.IC), of("RankIC", r.RankIC)}},
		{Title: "decay over the horizon", Rows: decay},
		{Title: "label by quantile of the feature", Rows: quantiles},
		{Lines: []string{
			"spread, top minus bottom: " + figure(r.Spread),
			"rank autocorrelation: " + figure(r.RankAutocorr),
			"mean correlation along time: " + figure(r.TimeSeriesMean),
		}},
	}
	const most = 10
	if len(r.TimeSeries) <= most || r.RankIC.Sessions == 0 {
		var rows []seriesRow
		for _, t := range r.TimeSeries[:min(most, len(r.TimeSeries))] {
			rows = append(rows, seriesRow{t.Symbol, t.Pairs, figure(&t.EffectiveSample), figure(t.Correlation)})
		}
		sections = append(sections, output.Section{Title: "along time, by symbol", Rows: rows})
	}
	if r.plot {
		sections = append(sections, output.Section{Title: "running sum of RankIC", Lines: r.chart()})
	}
	return sections
}

// figure is a number for a table: 4 digits, - for NULL.
func figure(x *float64) string {
	if x == nil {
		return "-"
	}
	return strconv.FormatFloat(*x, 'g', 4, 64)
}

func (r factorResult) chart() []string {
	dates, sums := r.RunningRankIC()
	if len(sums) < 2 {
		return []string{fmt.Sprintf("nothing to draw: fewer than 2 sessions have %d names", feature.MinNames)}
	}
	drawn := asciigraph.Plot(sums, asciigraph.Width(72), asciigraph.Height(12), asciigraph.Precision(2))
	return append(strings.Split(drawn, "\n"), dates[0]+" to "+dates[len(dates)-1])
}
