package cli

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/config"
	"quant/internal/demo"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/output"
)

const defaultDemo = "quant-demo"

// demoDir is the folder that a line asks for; "" if the line cannot be right,
// so that a usage error makes no folder.
func demoDir(l Line) string {
	for _, name := range locationFlags {
		if _, given := l.Flags[name]; given {
			return ""
		}
	}
	switch {
	case l.Unknown || len(l.Args) > 1:
		return ""
	case len(l.Args) == 1:
		return l.Args[0]
	}
	return defaultDemo
}

func demoCommand(env *Env) Command {
	cmd := &cobra.Command{
		Use:   "demo [DIR]",
		Short: "Do the whole job on real prices, in a folder of its own",
		Long: `Do the whole job on real prices of five stocks, in DIR (default ./quant-demo) and
nowhere else, without a network: make the lab, name the symbols, ingest the
prices, ask a question, run the pipeline of a momentum strategy from features to
a backtest, draw its report, list the runs. Safe to repeat. A folder that holds
anything else is refused (exit status 5).

The strategy is an example of the format, not advice.`,
		Args: wantArgs(0, 1, "at most one folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := defaultDemo
			if len(args) == 1 {
				dir = args[0]
			}
			if dir == "" {
				return quant.Errorf(quant.Usage, "the name of the demo folder is empty").
					WithHint("quant demo DIR, or quant demo for ./%s", defaultDemo)
			}
			for _, name := range locationFlags {
				if cmd.Flags().Changed(name) {
					return quant.Errorf(quant.Usage, "demo works in its own folder: --%s does not go with it", name).
						WithHint("quant demo DIR")
				}
			}
			if err := demo.Check(dir); err != nil {
				return err
			}
			defer env.Target(filepath.Join(dir, demo.FileName), filepath.Join(dir, demo.StrategyName))()
			prices, err := demo.WritePrices(dir)
			if err != nil {
				return err
			}
			strategy, err := demo.WriteStrategy(dir)
			if err != nil {
				return err
			}
			data := filepath.Join(dir, "data")
			report := demoReport{Dir: dir, DataDir: data}
			for _, step := range demo.Steps(prices, strategy) {
				if step, err = nameBacktest(cmd.Context(), env.Meta, step); err != nil {
					return err
				}
				env.Notice("\n$ quant %s", commandLine(step))
				done, err := demoStep(cmd.Context(), env, data, step)
				if err != nil {
					return quant.Errorf(quant.CodeOf(err), "the step `quant %s` failed", step[0]).
						WithHint("`%s --data-dir %s runs list --all` shows what ran", env.Program(), data)
				}
				report.Steps = append(report.Steps, done)
			}
			if env.Format != output.Table {
				if err := env.Print(report); err != nil {
					return err
				}
			}
			at := []string{"--data-dir", data}
			if env.Settings.Value(config.MetaURL) != "" {
				at = append(at, "--sqlite", place.In(data).MetaPath)
			}
			if env.Settings.Value(config.FactsURL) != "" {
				at = append(at, "--duckdb", place.In(data).FactPath)
			}
			env.Notice("\nThe lab is in %s. Go on with: %s %s runs show last", data, env.Program(), commandLine(at))
			return nil
		},
	}
	// The demo's own run stands in the demo's lab. A folder that is refused is
	// left untouched: the refusal is then recorded where the settings point. What
	// the disk says is asked once, before the demo changes it.
	taken := ""
	return Command{Command: cmd, Traits: Traits{
		Changes: always,
		Places: func(l Line) map[string]string {
			dir := demoDir(l)
			if dir == "" || demo.Check(dir) != nil {
				return nil
			}
			taken = dir
			lab := place.In(filepath.Join(dir, "data"))
			return map[string]string{"data-dir": lab.DataDir, "sqlite": lab.MetaPath, "duckdb": lab.FactPath}
		},
		Prepare: func() error {
			if taken == "" {
				return nil
			}
			return demo.Mark(taken)
		},
	}}
}

// demoReport is the result of demo as JSON: every step with its own result.
type demoReport struct {
	Dir     string     `json:"dir"`
	DataDir string     `json:"data_dir"`
	Steps   []demoDone `json:"steps"`
}

type demoDone struct {
	Command string     `json:"command"`
	RunID   string     `json:"run_id"`
	Result  quant.JSON `json:"result" table:"-"`
}

func (r demoReport) CSVRows() any { return r.Steps }

// demoStep runs one step: a table goes straight to stdout, for the other
// formats its result becomes part of the demo's.
func demoStep(ctx context.Context, e *Env, data string, step []string) (demoDone, error) {
	// All three: the environment may name other databases, and the demo's prices belong
	// in nobody's facts.
	lab := place.In(data)
	args := append([]string{"--data-dir", lab.DataDir, "--sqlite", lab.MetaPath, "--duckdb", lab.FactPath}, step...)
	if e.Quiet {
		args = append([]string{"--quiet"}, args...)
	}
	done := demoDone{Command: commandLine(append([]string{"quant"}, step...))}
	if e.Format == output.Table {
		err := e.Flush(ctx)
		if err == nil {
			done.RunID, err = e.Exec(ctx, args, e.Streams().Out)
		}
		return done, err
	}
	var out bytes.Buffer
	var err error
	done.RunID, err = e.Exec(ctx, append([]string{"--output", "json"}, args...), &out)
	done.Result = quant.JSON(out.Bytes())
	return done, err
}

// nameBacktest puts the newest backtest in its place. It need not be a child
// of this run: a pipeline that is repeated runs nothing again.
func nameBacktest(ctx context.Context, meta metastore.Store, step []string) ([]string, error) {
	i := slices.Index(step, demo.NewestBacktest)
	if i < 0 {
		return step, nil
	}
	runs, err := meta.ListRuns(ctx, metastore.RunFilter{Kind: "backtest", Status: quant.Success, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(runs) == 0 {
		return nil, quant.Errorf(quant.Failed, "the demo's pipeline left no backtest").WithHint("quant --data-dir DIR/data runs list --all shows what ran")
	}
	step = slices.Clone(step)
	step[i] = quant.ShortID(runs[0].RunID)
	return step, nil
}

// commandLine is a step as one would type it.
func commandLine(step []string) string {
	words := make([]string, len(step))
	for i, w := range step {
		if strings.ContainsAny(w, " *()$'\"") {
			w = `"` + w + `"`
		}
		words[i] = w
	}
	return strings.Join(words, " ")
}
