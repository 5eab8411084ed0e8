package cli

import (
	"context"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"quant"
	"quant/internal/config"
	"quant/internal/feature"
	"quant/internal/jobs"
	"quant/internal/metastore"
	"quant/internal/output"
	"quant/internal/secret"
	"quant/internal/session"
)

// Env is what a command works with. app fills it before the command runs.
type Env struct {
	*output.Printer
	*session.Session                // nil for what is no execution
	Mask             *secret.Masker // of what is stored, and of notices and errors
	Secrets          *secret.Masker // knows the secret settings: of texts in results
	Now              func() time.Time
	Build            session.Build
	Program          func() string // what a person types to start this program: quant, where it is on the PATH

	Settings    config.Settings
	Named       config.Settings // as they would be if the command implied no other place
	SettingsErr error           // what is wrong with .env, to be reported once the run is recorded

	// ParentRun names the run inside which this execution was started, as the
	// environment has it: perhaps no run id at all; "" for none.
	ParentRun string

	// RunAs is the run id that this execution is to be recorded under; "": a new one.
	RunAs string
	// AskedBy is who had a worker do this; "": whoever runs it.
	AskedBy string

	// TakeSignals makes the signals that this process is sent from now on the
	// caller's: they no longer end the command.
	TakeSignals func() <-chan os.Signal

	Environ []string // NAME=VALUE of this process; nothing of .env
	Argv    []string // masked, as recorded
	// Exec runs another command line as a recorded child of this run, its result
	// on out, and returns the child's run id.
	Exec func(ctx context.Context, args []string, out io.Writer) (runID string, err error)

	// OpenToComplete opens the Meta DB that the line to be completed names, for
	// one look, creating nothing; nil if there is none. Set for completions only.
	OpenToComplete func(ctx context.Context) metastore.Store
	// JobsToComplete are the newest jobs, likewise.
	JobsToComplete func(ctx context.Context) []jobs.Job
	// OwnFeaturesToComplete are the features of the lab's own versions, likewise; none
	// while another process writes facts.
	OwnFeaturesToComplete func(ctx context.Context) []feature.Entry

	tree     *Tree
	recorded map[string]string // the location flags that the run was recorded with
}

// Recorded tells the environment with which location flags the run has been
// recorded.
func (e *Env) Recorded(flags map[string]string) { e.recorded = flags }

// locationFlags decide where an execution is recorded.
var locationFlags = []string{"data-dir", "sqlite", "duckdb", "meta-url", "facts-url", "objects-url"}

// settingFlags are the global flags that set a setting.
func settingFlags() []string { return append([]string{"log-level", "memory-limit"}, locationFlags...) }

// LocationFlags returns the well-formed location flags of the line.
func (l Line) LocationFlags() map[string]string {
	out := map[string]string{}
	for _, name := range settingFlags() {
		if v, ok := l.Flags[name]; ok {
			out[name] = v
		}
	}
	return out
}

// configure runs between the parsing of a command line and its command: it
// checks the settings and replaces the recorded config by the resolved one.
func (e *Env) configure(cmd *cobra.Command, args []string) error {
	traits := e.tree.traits[cmd]
	e.SetQuiet(e.tree.Globals.Quiet || traits.Silent, e.Settings.Value(config.LogLevel))
	if e.tree.Globals.NoColor {
		e.NoColor = true
	}
	if traits.Unrecorded || e.Settings.List() == nil {
		return nil
	}
	var records metastore.Batch
	var recordsErr error
	if traits.Records != nil {
		records, recordsErr = traits.Records(cmd.Context())
	}
	memory, _ := e.Settings.MemoryLimit() // Validate tells what is wrong with it
	e.Settle(e.Settings.Value(config.Calendar), e.tree.Globals.Wait, memory, settingsOf(e.Settings), flagsIn(cmd.Root().PersistentFlags()))
	if err := e.Resolved(cmd.Context(), e.Argv, flagsOf(cmd), e.Mask.Args(args), records); err != nil {
		return err
	}
	if recordsErr != nil {
		return recordsErr
	}
	if e.SettingsErr != nil {
		return e.SettingsErr
	}
	for _, name := range locationFlags {
		f := cmd.Flags().Lookup(name)
		value, given := e.recorded[name]
		if f.Changed && (!given || value != f.Value.String()) {
			return quant.Errorf(quant.Usage, "--%s %q cannot be used", name, e.Mask.Text(f.Value.String())).
				WithHint("give it once, with a value that is not empty, before any --")
		}
	}
	if err := e.Settings.Validate(); err != nil {
		return err
	}
	if e.Exact && e.Format != output.CSV {
		return quant.Errorf(quant.Usage, "--exact is for --output csv")
	}
	return nil
}

// settingsOf are the settings as a run records them.
func settingsOf(s config.Settings) map[string]string {
	out := map[string]string{}
	for _, item := range s.List() {
		out[item.Name] = item.Value
		if (item.Name == config.MetaURL || item.Name == config.ObjectsURL) && item.Value == "" {
			delete(out, item.Name) // a lab in files says nothing of servers
		}
		if (item.Name == config.FactsURL || item.Name == config.ExtensionsDir) && s.Value(config.FactsURL) == "" {
			delete(out, item.Name)
		}
	}
	return out
}

// flagsOf are the flags of a parsed command line that are no settings.
func flagsOf(cmd *cobra.Command) map[string]string { return flagsIn(cmd.Flags()) }

func flagsIn(set *pflag.FlagSet) map[string]string {
	flags := map[string]string{}
	set.VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			flags[f.Name] = f.Value.String()
		}
	})
	for _, name := range settingFlags() {
		delete(flags, name) // these are settings
	}
	return flags
}

// SetQuiet leaves notices out where --quiet or a log level above info asks for
// it. Warnings and errors are always printed.
func (e *Env) SetQuiet(quiet bool, logLevel string) {
	e.Quiet = quiet || logLevel == "warn" || logLevel == "error"
}

// record notes an input or output of this run.
func (e *Env) record(io quant.RunIO) { e.Record(io) }

// whileWaiting runs a read that nothing can interrupt (of a terminal, of a
// pipe) and returns what it read, or the cause of ctx as soon as that ends: the
// read is left behind.
func whileWaiting[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

func ptr[T any](v T) *T { return &v }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
