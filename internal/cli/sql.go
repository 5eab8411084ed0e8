package cli

import (
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/config"
	"quant/internal/lab/facts"
	"quant/internal/sandbox"
)

func sqlCommand(env *Env) Command {
	var meta bool
	var limit int64
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "sql QUERY",
		Short: "Run one read-only query on the Fact DB, or with --meta on the Meta DB",
		Long: `Run one reading SQL statement, in a process of its own that can reach no file
and no network, on the Fact DB (DuckDB's SQL) or with --meta on the Meta DB
(SQLite's). There is no row limit unless --limit.`,
		Example: `  quant sql "SELECT symbol, count(*) AS bars FROM ohlcv GROUP BY symbol"
  quant sql --output csv "FROM ohlcv WHERE symbol = 'AAPL'" > aapl.csv
  quant sql --meta "SELECT kind, status, count(*) FROM runs GROUP BY 1, 2"`,
		Args: wantArgs(1, 1, "one query, in quotes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("timeout") && timeout <= 0 {
				return quant.Errorf(quant.Usage, "--timeout must be more than 0")
			}
			req := sandbox.Request{
				Store: sandbox.Fact, Path: env.Settings.Value(config.DuckDBPath), SQL: args[0],
				Format: string(env.Format), Exact: env.Exact, Limit: limit, Timeout: timeout, Wait: env.tree.Globals.Wait,
				SchemaVersion: facts.SchemaVersion, Secrets: env.Secrets.Values(),
				OnWait: func(pid int) {
					env.Notice("waiting for the Fact DB, held by %s (--wait %s)",
						env.FactsHolder(cmd.Context(), pid), env.tree.Globals.Wait)
				},
			}
			if meta {
				req.Store, req.Path = sandbox.Meta, env.Settings.Value(config.SQLitePath)
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
	cmd.Flags().Int64Var(&limit, "limit", 0, "at most so many rows (0: all)")
	cmd.Flags().Var(newDuration(&timeout, sandbox.DefaultTimeout), "timeout", "stop after this time")
	return Command{Command: cmd}
}
