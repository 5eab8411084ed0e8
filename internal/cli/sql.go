package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/config"
	"quant/internal/lab/facts"
	"quant/internal/output"
	"quant/internal/sandbox"
)

func sqlCommand(env *Env) Command {
	var meta bool
	var stream, asOf string
	var limit int64
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "sql QUERY",
		Short: "Run one read-only query on the Fact DB, or with --meta on the Meta DB",
		Long: `Run one reading SQL statement, in a process of its own that can reach no file
and no network, on the Fact DB (DuckDB's SQL) or with --meta on the Meta DB
(SQLite's, or PostgreSQL's where it is on a server). There is no row limit unless
--limit.

--as-of reads facts that are on DuckLake as a run left them, or, if it wrote none, as
it read them: all tables at once. It takes a run, or snapshot:N, the number that
"quant runs show" says; a snapshot stays while a run refers to it.

--stream is for programs, which learn the types of the columns from it: arrow is an
Arrow stream, which pandas, polars and R read; lines is JSON, the columns with their
types on the first line and then an array a row. Only with exit status 0 is all of
it there.`,
		Example: `  quant sql "SELECT symbol, count(*) AS bars FROM ohlcv GROUP BY symbol"
  quant sql --output csv "FROM ohlcv WHERE symbol = 'AAPL'" > aapl.csv
  quant sql --stream arrow "FROM ohlcv" > ohlcv.arrows
  quant sql --as-of last:features "SELECT count(*) FROM features_daily"
  quant sql --meta "SELECT kind, status, count(*) FROM runs GROUP BY 1, 2"`,
		Args: wantArgs(1, 1, "one query, in quotes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("timeout") && timeout <= 0 {
				return quant.Errorf(quant.Usage, "--timeout must be more than 0")
			}
			req := sandbox.Request{
				Store: sandbox.Fact, Path: env.Settings.Value(config.DuckDBPath), SQL: args[0],
				Format: string(env.Format), Exact: env.Exact, Limit: limit, Timeout: timeout, Wait: env.tree.Globals.Wait,
				SchemaVersion: facts.SchemaVersion, WayBack: facts.WayBack, Secrets: env.Secrets.Values(), Environ: env.Environ,
				OnWait: func(pid int) {
					env.Notice("waiting for the Fact DB, held by %s (--wait %s)",
						env.FactsHolder(cmd.Context(), pid), env.tree.Globals.Wait)
				},
			}
			if stream != "" {
				if err := checkStream(cmd, env, stream); err != nil {
					return err
				}
				req.Format = stream
			}
			var err error
			if !meta {
				snapshot, err := snapshotOf(cmd, env, asOf)
				if err != nil {
					return err
				}
				if req.Attach, err = env.Facts().Attachment(cmd.Context(), snapshot); err != nil {
					return err
				}
			} else if asOf != "" {
				return quant.Errorf(quant.Usage, "--as-of is for facts, and --meta for the record")
			} else {
				req.Store, req.Path, req.Server = sandbox.Meta, env.MetaPath, env.MetaURL
			}
			done, err := sandbox.Run(cmd.Context(), req, env.Out())
			env.GuardNotice(done.Guarded)
			if err != nil {
				return err
			}
			if done.Cut {
				env.Notice("only the first %d rows are shown; there are more (leave --limit out for all)", done.Rows)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&meta, "meta", false, "query the Meta DB")
	cmd.Flags().StringVar(&asOf, "as-of", "", "on DuckLake: as a run left the facts, or snapshot:N")
	cmd.Flags().StringVar(&stream, "stream", "", "a form for programs, with types: "+sandbox.Arrow+" or "+sandbox.Lines)
	cmd.Flags().Int64Var(&limit, "limit", 0, "at most so many rows (0: all)")
	cmd.Flags().Var(newDuration(&timeout, sandbox.DefaultTimeout), "timeout", "stop after this time")
	return Command{Command: cmd}
}

// snapshotOf is the snapshot that --as-of names; 0: none.
func snapshotOf(cmd *cobra.Command, env *Env, asOf string) (at facts.Snapshot, err error) {
	if !cmd.Flags().Changed("as-of") {
		return at, nil
	}
	if number, is := strings.CutPrefix(asOf, "snapshot:"); is {
		id, err := strconv.ParseInt(number, 10, 64)
		if err != nil || id <= 0 {
			return at, quant.Errorf(quant.Usage, "--as-of %q names no snapshot", quant.Clip(asOf, 80)).WithHint("such as --as-of snapshot:42, or a run")
		}
		return facts.Snapshot{ID: id}, nil
	}
	run, err := env.Resolve(cmd.Context(), asOf)
	if err != nil {
		return at, err
	}
	return env.Facts().SnapshotOf(cmd.Context(), run)
}

func checkStream(cmd *cobra.Command, env *Env, stream string) error {
	switch {
	case stream != sandbox.Arrow && stream != sandbox.Lines:
		return quant.Errorf(quant.Usage, "--stream %q is neither %s nor %s", stream, sandbox.Arrow, sandbox.Lines)
	case cmd.Flags().Changed("output"):
		return quant.Errorf(quant.Usage, "--stream and --output exclude one another")
	case stream == sandbox.Arrow && output.IsTerminal(env.Streams().Out):
		return quant.Errorf(quant.Usage, "an Arrow stream is nothing for a terminal").WithHint("write it to a file: quant sql --stream arrow QUERY > rows.arrows")
	}
	return nil
}
