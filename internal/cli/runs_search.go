package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/metastore"
	"quant/internal/output"
	"quant/internal/runs"
	"quant/internal/search"
)

func runsSearch(env *Env) Command {
	var columns, file string
	var limit int
	var all, force, explain bool
	cmd := &cobra.Command{
		Use:   "search [QUERY]",
		Short: "Find runs by what they are and what they recorded",
		Long: `Find runs. A query is conditions, with and, or, not and parentheses, then
"order by" with keys, then "limit"; each may be left out.

A condition compares what a run has with a value:

  ATTRIBUTE = != < <= > >= VALUE
  ATTRIBUTE [not] in (VALUE, ...)
  ATTRIBUTE [not] like "TEXT"
  ATTRIBUTE is [not] null

Attributes: ` + attributesText() + `.
What runs recorded: params.NAME, tags.NAME, metrics.NAME (its last value),
metrics.NAME.min and metrics.NAME.max; name and experiment are the tags of that
name. A NAME that is more than letters, digits, _ and - stands in backticks:
params.` + "`a.b/c`" + `. parent is the run_id of the run inside which it was started.

Values: a text in "..." or '...' (the quote itself twice), a number, true and
false (git_dirty, changes), a duration (90s, 1h30m, 7d), a time: -7d and -12h
are ago, now, 2026-01-31 (its first moment, UTC) or 2026-01-31T09:30:00Z.
A param or tag compares with a number where its own text is one, else it is
unknown; with a text in quotes it compares as text. Texts compare by their bytes,
with their case. In the text of like, % is any text, _ any one character, and
\ takes the meaning from the % _ or \ after it; its case counts as well.

A condition on what a run does not have is neither true nor false but unknown,
as in SQL; so is its opposite. "not params.x = 1" finds the runs whose x is
something else, not those without x: add "or params.x is null" for those.

Without an order the newest come first. What a run does not have comes last,
whatever the direction; params and tags come as numbers first, then as texts.
Runs that are equal there come by time, in the direction of the last key.

Deleted runs are never found. Runs that only read are found with --all, or if
the query speaks of kind, changes, run_id or parent.

A query that an index answers costs what it returns, however many runs there
are. --explain runs it and shows the plan of each statement that found runs: one
that says SCAN of a table passes over all of that table.`,
		Example: `  quant runs search 'status = "FAIL" and started > -7d'
  quant runs search 'kind = "backtest" and metrics.sharpe > 1 order by metrics.sharpe desc limit 10'
  quant runs search 'params.top_k in (5, 10) or tags.team = "alpha"' --columns run_id,params.top_k,metrics.sharpe
  quant runs search 'error like "%disk full%"' --limit 0 --output csv
  quant runs search 'duration > 1h30m' --parquet slow.parquet`,
		Args: wantArgs(0, 1, "one query, in quotes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text := ""
			if len(args) > 0 {
				text = args[0]
			}
			f, err := runs.ParseFind(text, env.Now())
			if err != nil {
				return err
			}
			switch {
			case limit < 0:
				return quant.Errorf(quant.Usage, "--limit %d is negative", limit).WithHint("--limit 0 shows all")
			case f.Limited && cmd.Flags().Changed("limit"):
				return quant.Errorf(quant.Usage, "there is a limit in the query and --limit").WithHint("leave one of them out")
			case cmd.Flags().Changed("parquet") && file == "":
				return quant.Errorf(quant.Usage, "--parquet names no file")
			case force && file == "":
				return quant.Errorf(quant.Usage, "--force is for --parquet")
			case explain && (file != "" || cmd.Flags().Changed("columns")):
				return quant.Errorf(quant.Usage, "--explain shows no runs, so it goes with neither --columns nor --parquet").WithHint("leave one of them out")
			case file != "" && cmd.Flags().Changed("output"):
				return quant.Errorf(quant.Usage, "--parquet and --output exclude each other").WithHint("leave one of them out")
			}
			if cmd.Flags().Changed("columns") {
				if f.Columns, err = search.ParseColumns(columns); err != nil {
					return err
				}
			}
			if !f.Limited {
				f.Limit = limit
			}
			f.All, f.Except = f.All || all, env.RunID()
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			if explain {
				return explainSearch(env, cmd, meta, f)
			}
			var found runs.Found
			each := func(show func(cells []any) error) (err error) {
				found, err = f.Each(cmd.Context(), meta, show)
				return err
			}
			if file != "" {
				defer env.Target(file)()
				err = runs.WriteParquet(cmd.Context(), file, force, f.Columns, env.Secrets.Known, each)
			} else {
				err = printSearch(env, f.Columns, each)
			}
			if err != nil {
				return err
			}
			missing, err := f.Unrecorded(cmd.Context(), meta)
			if err != nil {
				return err
			}
			for _, m := range missing {
				near := ""
				if len(m.Near) > 0 {
					near = "; did you mean " + strings.Join(m.Near, " or ") + "?"
				}
				env.Notice("no run has %s%s", m.Field, near)
			}
			if file != "" {
				env.Notice("wrote %s to %s", quant.Count(found.Runs, "run"), file)
			}
			if found.More {
				env.Notice("only the first %d runs are shown; there are more (--limit 0 shows all)", f.Limit)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&columns, "columns", "", "what to show, such as run_id,started,params.top_k,metrics.sharpe")
	cmd.Flags().IntVar(&limit, "limit", 30, "at most so many (0: all)")
	cmd.Flags().BoolVar(&all, "all", false, "also the runs that only read")
	cmd.Flags().StringVar(&file, "parquet", "", "write a Parquet file instead")
	cmd.Flags().BoolVar(&force, "force", false, "replace the Parquet file if it exists")
	cmd.Flags().BoolVar(&explain, "explain", false, "show instead by which indexes the database finds the runs")
	cmd.ValidArgsFunction = completeQuery(env)
	_ = cmd.RegisterFlagCompletionFunc("columns", completeColumns(env))
	return Command{Command: cmd, Traits: Traits{}}
}

// attributesText lists the attributes in lines of a help text.
func attributesText() string {
	var b strings.Builder
	width := len("Attributes: ")
	for i, a := range search.Attributes() {
		if i > 0 {
			b.WriteString(",")
			width++
		}
		if width+len(a)+2 > 78 {
			b.WriteString("\n")
			width = 0
		} else if i > 0 {
			b.WriteString(" ")
			width++
		}
		b.WriteString(a)
		width += len(a)
	}
	return b.String()
}

func printSearch(e *Env, columns []metastore.Field, each func(func([]any) error) error) error {
	names := make([]string, len(columns))
	for i, f := range columns {
		names[i] = search.Name(f)
	}
	sheet, err := e.NewSheet(names)
	if err != nil {
		return err
	}
	err = each(func(cells []any) error {
		for i, f := range columns {
			cells[i] = shownCell(f, cells[i], e.Format == output.Table)
		}
		return sheet.Row(cells)
	})
	if err != nil {
		return err
	}
	return sheet.Close()
}

// explainSearch prints how a search is answered, a row for each step of a plan.
func explainSearch(e *Env, cmd *cobra.Command, meta metastore.Store, f runs.Find) error {
	statements, err := f.Explain(cmd.Context(), meta)
	if err != nil {
		return err
	}
	sheet, err := e.NewSheet([]string{"statement", "runs", "plan"})
	if err != nil {
		return err
	}
	for i, one := range statements {
		for _, step := range one.Plan {
			if err := sheet.Row([]any{int64(i + 1), int64(one.Runs), step}); err != nil {
				return err
			}
		}
	}
	return sheet.Close()
}

// shownCell is a cell as it is printed; short for a person's table.
func shownCell(f metastore.Field, v any, short bool) any {
	switch v := v.(type) {
	case time.Duration:
		if short {
			us := v.Microseconds()
			return quant.Micros(&us)
		}
		return v.Seconds()
	case quant.Time:
		if short {
			return v.UTC().Format("2006-01-02 15:04:05Z")
		}
		return v
	case string:
		switch {
		case f == (metastore.Field{Name: "status"}):
			return quant.Status(v)
		case short && f.Of == metastore.Attribute && (f.Name == "run_id" || f.Name == "parent"):
			return quant.ShortID(v)
		case short:
			first, _, _ := strings.Cut(v, "\n")
			if text := []rune(first); len(text) > 60 {
				first = string(text[:57]) + "..."
			}
			return first
		}
	}
	return v
}
