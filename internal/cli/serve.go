package cli

import (
	"context"
	"io"
	"os"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/config"
	"quant/internal/output"
	"quant/internal/server"
	"quant/internal/tracking"
)

func serveCommand(env *Env) Command {
	var o server.Options
	var accessLog string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the lab to browsers and to clients of MLflow",
		Long: `Serve the lab to browsers and to clients that speak MLflow's protocol, until a
signal ends it: requests that are being answered are finished, and a second
signal does not wait for them. The exit status is then 0.

It listens at loopback unless --addr says otherwise. Any other address lets in
only who has a token (quant tokens create), and is to be reached by TLS: with
--tls-cert and --tls-key, or behind a proxy.`,
		Example: `  quant serve
  MLFLOW_TRACKING_URI=http://127.0.0.1:5000 python train.py
  quant tokens create laptop && quant serve --addr 0.0.0.0:5000 --tls-cert cert.pem --tls-key key.pem`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.ClientLease == 0 {
				return quant.Errorf(quant.Usage, "--client-lease 0 would close every run of a client at once").WithHint("give a duration, such as 90m or 7d")
			}
			to, err := env.accessLog(accessLog)
			if err != nil {
				return err
			}
			if to != nil {
				o.AccessLog = to
				defer to.Close()
			}
			env.sparing()
			ctx, now, signalled := env.untilSignalled(cmd.Context(), "requests were cut off")
			o.Session, o.Now, o.Clock = env.Session, now, env.Now
			o.Ready = func(url string) { env.serving(cmd.Context(), url) }
			if err := server.Serve(ctx, o); err != nil {
				return err
			}
			if err := signalled(); err != nil {
				return err
			}
			return context.Cause(cmd.Context()) // nil, but for a stdout that is gone
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Addr, "addr", "127.0.0.1:5000", "where to listen, HOST:PORT; port 0 is any that is free")
	f.BoolVar(&o.Auth, "login", false, "demand a token at loopback, too")
	f.StringVar(&o.TLSCert, "tls-cert", "", "certificate with its chain, a PEM file")
	f.StringVar(&o.TLSKey, "tls-key", "", "private key of the certificate, a PEM file")
	f.StringArrayVar(&o.TrustedHosts, "trusted-host", nil, "another name under which this server is reached, as a proxy passes it on; may be given more than once")
	f.Var(newDuration(&o.ClientLease, tracking.DefaultLease), "client-lease", "how long a client of MLflow may be silent before its run is closed as FAIL")
	f.StringVar(&accessLog, "access-log", "", "file to which a line is added for each request; - is stderr")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

// served is what serve prints once it answers.
type served struct {
	URL   string `json:"url"`
	RunID string `json:"run_id"`
}

// serving says where the server answers: to who reads stdout as a document, too,
// which is complete before anything is asked.
func (e *Env) serving(ctx context.Context, url string) {
	e.Notice("serving %s at %s", e.Shown(), url)
	if e.Format == output.Table {
		return // the notice is for people
	}
	if err := e.Print(served{URL: url, RunID: e.RunID()}); err == nil {
		_ = e.Flush(ctx) // a stdout that is gone ends the command by itself
	}
}

// sparing makes the collector of garbage keep a server small, which lives long and
// mostly waits. What the environment asks of it counts more.
func (e *Env) sparing() {
	lookup, _ := config.System()
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if _, set := lookup(name); set {
			return
		}
	}
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(48 << 20)
}

// accessLog opens where a line for each request goes; nil: nowhere.
func (e *Env) accessLog(path string) (io.WriteCloser, error) {
	if path == "" && e.Settings.Value(config.LogLevel) == "debug" {
		path = "-"
	}
	switch path {
	case "":
		return nil, nil
	case "-":
		return open{e.Streams().Err}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, quant.Errorf(quant.Invalid, "open the access log: %w", err).WithHint("choose another file with --access-log; - is stderr")
	}
	return f, nil
}

// open is a stream that stays open.
type open struct{ io.Writer }

func (open) Close() error { return nil }

// untilSignalled returns a context that the first signal to end cancels, a channel
// that the second one closes, and what that was: cut says what became of what was done.
func (e *Env) untilSignalled(ctx context.Context, cut string) (until context.Context, now <-chan struct{}, second func() error) {
	until, cancel := context.WithCancel(ctx)
	signals, at := e.TakeSignals(), make(chan struct{})
	var forced quant.Signalled
	go func() {
		ends := 0
		for s := range signals {
			n, ok := s.(syscall.Signal)
			if !ok || n != syscall.SIGINT && n != syscall.SIGTERM && n != syscall.SIGHUP && n != syscall.SIGQUIT {
				continue
			}
			if ends++; ends == 1 {
				e.Notice("ending; another signal ends at once")
				cancel()
				continue
			}
			forced = quant.Signalled{Number: int(n), Name: unix.SignalName(n), Detail: cut}
			close(at)
			return
		}
	}()
	return until, at, func() error {
		select {
		case <-at:
			return forced
		default:
			return nil
		}
	}
}
