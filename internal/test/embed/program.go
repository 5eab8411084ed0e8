// Package embed is a program that works with a lab in process, without the command
// line: the example for whoever writes another face of the lab.
package embed

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"quant"
	"quant/internal/demo"
	"quant/internal/lab"
	"quant/internal/lab/facts"
	"quant/internal/lab/place"
	"quant/internal/pipeline"
	"quant/internal/runs"
	"quant/internal/session"
)

// Program opens a lab in dir, runs the pipeline of the demo's strategy and a sweep
// over it, compares the two best trials, finds the backtests with a Sharpe ratio,
// and writes one line about each to out. Nothing else is printed anywhere.
func Program(ctx context.Context, dir string, out io.Writer) (err error) {
	prices, strategy := filepath.Join(dir, demo.FileName), filepath.Join(dir, demo.StrategyName)
	if _, err := os.Stat(strategy); err != nil {
		if _, err := demo.WritePrices(dir); err != nil {
			return err
		}
		if _, err := demo.WriteStrategy(dir); err != nil {
			return err
		}
	}
	at := place.In(filepath.Join(dir, "data"))
	l := lab.New(lab.Options{Place: at, BinaryVersion: "embed", Facts: facts.Committed(at)})
	defer l.Close()
	if err := l.Open(ctx, false); err != nil {
		return err
	}
	s := session.New(session.Options{Lab: l, Calendar: "XNYS", Build: session.Build{Version: "embed", Commit: "example"}, Wait: time.Minute})
	if _, err := s.Start(ctx, session.Command{Kind: "embed", Args: []string{"embed"}}, ""); err != nil {
		return err
	}
	defer func() { err = s.End(ctx, err) }()

	// The stages are runs inside that of this program.
	done, err := pipeline.Run(ctx, s, pipeline.InProcess{}, pipeline.RunOptions{
		Arguments: pipeline.Arguments{Strategy: strategy, From: "2004-01-02", To: "2006-12-29", Ingest: []string{prices}},
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "pipeline: %s, %s\n", quant.Count(len(done.Stages), "stage"), quant.Count(int(*done.Backtest.NumTrades), "trade"))

	from, to := quant.NewDate(time.Date(2004, 1, 2, 0, 0, 0, 0, time.UTC)), quant.NewDate(time.Date(2006, 12, 29, 0, 0, 0, 0, time.UTC))
	swept, err := pipeline.Sweep(ctx, s, pipeline.InProcess{}, pipeline.SweepOptions{
		Strategy: strategy, Sets: []string{"portfolio.top_k=1,2"}, From: &from, To: &to, MaxTrials: 10,
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "sweep: %s, the best with %s\n", quant.Count(len(swept.Trials), "trial"), swept.Best.Overrides)

	compared, err := runs.Compare(ctx, s.Meta, s.Artifacts(), []string{string(swept.Trials[0].RunID), string(swept.Trials[1].RunID)})
	if err != nil {
		return err
	}
	for _, row := range compared.Differences().Rows {
		if row.Section == "params" && row.Name == "top_k" {
			fmt.Fprintf(out, "compare: run %s has top_k %s\n", quant.ShortID(row.RunID), *row.Value)
		}
	}

	query, err := runs.ParseFind(`kind = "backtest" and metrics.sharpe is not null order by metrics.sharpe desc`, time.Now())
	if err != nil {
		return err
	}
	found, err := query.Each(ctx, s.Meta, func([]any) error { return nil })
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "search: %s\n", quant.Count(found.Runs, "backtest"))
	return nil
}
