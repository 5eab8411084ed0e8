package cli

import (
	"github.com/spf13/cobra"

	"quant/internal/server"
)

func serveCommand(env *Env) Command {
	var addr string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the lab to browsers and to clients of MLflow",
		Long: `Serve the lab to browsers and to clients that speak MLflow's protocol, until a
signal ends it.`,
		Example: `  quant serve
  MLFLOW_TRACKING_URI=http://127.0.0.1:5000 python train.py`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return server.Serve(cmd.Context(), server.Options{
				Session: env.Session, Addr: addr,
				Ready: func(url string) { env.Notice("serving %s at %s", env.Shown(), url) },
			})
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:5000", "where to listen, HOST:PORT")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}
