package app

import (
	"context"
	"io"
	"os"

	"quant"
	"quant/internal/cli"
	"quant/internal/config"
	"quant/internal/lab"
	"quant/internal/lab/facts"
	"quant/internal/registry"
	"quant/internal/session"
)

// recording is the life of one run, from before its row to its closing line.
type recording struct {
	app    *App
	env    *cli.Env
	line   cli.Line
	traits cli.Traits
}

func (a *App) newRecording(env *cli.Env, line cli.Line, traits cli.Traits) *recording {
	r := &recording{app: a, env: env, line: line, traits: traits}
	where := env.Settings.Place()
	env.Session = session.New(session.Options{
		Lab: lab.New(lab.Options{
			Place: where, Now: a.Now, Mask: env.Mask, BinaryVersion: env.Build.Version, BinaryCommit: env.Build.Commit, Facts: facts.Committed(where), FactsShared: where.FactsURL != "",
			Prepare:  traits.Prepares != nil && traits.Prepares(line),
			Patience: line.Wait(), Waiting: func(text string) { env.Notice("%s", text) },
		}),
		Voice: voice{env, traits.Silent}, Build: env.Build, Explain: a.end.explain,
		Programs: session.Programs{Environ: env.Environ, Show: shown(env, line)},
	})
	return r
}

// shown is where a program that a command calls prints: on stderr, as all that is no
// result, unless --quiet.
func shown(env *cli.Env, line cli.Line) *os.File {
	if line.Flags["quiet"] == "true" {
		return nil
	}
	file, _ := env.Streams().Err.(*os.File)
	return file
}

// voice says on stderr what an execution has to say.
type voice struct {
	env    *cli.Env
	silent bool
}

func (v voice) Notice(format string, args ...any) { v.env.Notice(format, args...) }

func (v voice) Warn(format string, args ...any) {
	if v.silent {
		v.env.Notice(format, args...)
		return
	}
	v.env.Warn(format, args...)
}

func (v voice) Failed(err error) {
	if !isBrokenPipe(err) && !isSilent(err) {
		v.env.Error(firstLines(err, v.env.Settings.Value(config.LogLevel)))
	}
}

// begin records the run, durably, before anything else happens.
func (r *recording) begin(ctx context.Context, c session.Command) error {
	env := r.env
	c.Reads = r.traits.Changes == nil || !r.traits.Changes(r.line)
	remedy := r.traits.Remedy != nil && r.traits.Remedy(r.line)

	if r.traits.MakesRoom != nil && r.traits.MakesRoom(r.line) {
		env.SpendReserve()
	}
	err := r.open(ctx, remedy)
	if env.MetaURL != "" && quant.CodeOf(err) == quant.Usage { // what names the lab names none, whatever the command does
		if wrong := env.Settings.Validate(); wrong != nil {
			return wrong
		}
		return err
	}
	if err == nil {
		err = r.start(ctx, c)
		if remedy && lab.Remediable(err) && r.setAside(ctx, err) == nil {
			err = r.start(ctx, c)
		}
	}
	if err == nil {
		r.reconcile(ctx)
		return nil
	}
	if !c.Reads || lab.IsNewer(err) {
		return quant.Errorf(quant.CodeOf(err), "this run cannot be recorded, so it did not start: %w", err).
			WithHint("%s", quant.HintOf(err))
	}
	env.Warn("this run is not recorded: %v", err)
	env.MetaErr = err
	if env.Meta == nil && !lab.IsAway(err) { // it has been waited for
		if older := env.OpenReadOnly(ctx); lab.IsOlder(older) {
			env.MetaErr = older // what else it says is what err says
		}
	}
	return nil
}

// open opens the lab, and says what was made, upgraded or moved aside.
func (r *recording) open(ctx context.Context, remedy bool) error {
	if r.traits.Prepare != nil {
		if err := r.traits.Prepare(); err != nil {
			return err
		}
	}
	err := r.env.Open(ctx, remedy)
	r.sayOpening()
	return err
}

// setAside is the remedy for a Meta DB that turned out unusable while the run was
// recorded.
func (r *recording) setAside(ctx context.Context, why error) error {
	err := r.env.SetAside(ctx, why)
	if r.env.Opening.MovedAside != "" {
		r.sayOpening()
	}
	return err
}

func (r *recording) sayOpening() {
	env, found := r.env, r.env.Opening
	if found.MovedAside != "" {
		env.Warn("the Meta DB cannot be used (%v); moved to %s", found.Damage, found.MovedAside)
		if !found.Salvaged.Whole() {
			env.Warn("not all of it was taken over: %s", found.Salvaged.Missing())
		}
		return
	}
	switch found.Meta {
	case lab.Created:
		env.Notice("new lab at %s", env.Shown())
		for _, old := range found.Unsalvaged {
			env.Warn("%s was moved aside, and nothing or not all of it was taken over: quant doctor says more", old)
		}
	case lab.Upgraded:
		backup := ""
		if found.Backup != "" {
			backup = "; backup: " + found.Backup
		}
		env.Notice("brought the Meta DB %s from schema %d to %d%s", env.ShownMeta(), found.From, found.To, backup)
	}
}

func (r *recording) start(ctx context.Context, c session.Command) error {
	env := r.env
	c.RunID = env.RunAs
	argv, err := env.Start(ctx, c, env.ParentRun)
	if err != nil {
		return err
	}
	env.Argv = argv
	go func() { // what it still did would be stored nowhere
		if lost := env.Registry.Lost(ctx, env.RunID()); lost != nil {
			r.app.end.stopBecause(lost)
		}
	}()
	env.Exec = func(ctx context.Context, args []string, out io.Writer) (string, error) {
		streams := env.Streams()
		streams.Out = out
		return r.app.execute(ctx, args, env.RunID(), streams)
	}
	return nil
}

// deadNamed is how many dead runs are named one by one.
const deadNamed = 10

// reconcile closes the runs whose processes died, and says so.
func (r *recording) reconcile(ctx context.Context) {
	done, err := r.env.Registry.Reconcile(ctx)
	if n := len(done.Closed); n > deadNamed {
		newest := done.Closed[0]
		r.env.Notice("%d runs FAIL: %s; the newest is run %s %s, `quant runs list --all --status FAIL` shows them", n, registry.DeadText, newest.RunID, newest.Kind)
	} else {
		for _, run := range done.Closed {
			r.env.Notice("run %s %s FAIL: %s", run.RunID, run.Kind, run.ErrorText)
		}
	}
	if done.Left > 0 {
		// Lists show them as they stand.
		voice{r.env, r.traits.Silent}.Warn("%d older runs are RUNNING that may be dead as well; every command closes some, `quant doctor` all", done.Left)
	}
	if err != nil {
		r.env.Notice("dead runs could not be closed: %v", err)
	}
}

// close writes out the result, then closes the record. After an error the
// result is not waited for: nobody may be reading it.
func (r *recording) close(ctx context.Context, err error) error {
	patience := ctx
	if err != nil {
		ended, cancel := context.WithCancelCause(ctx)
		cancel(err)
		patience = ended
	}
	if flushed := r.env.Flush(patience); err == nil {
		err = flushed
	}
	return r.end(ctx, err)
}

func (r *recording) end(ctx context.Context, err error) error {
	ended := r.env.End(ctx, err)
	if err == nil {
		return r.traits.Exit(ended) // the record could not be closed
	}
	return ended
}

func (r *recording) release() { _ = r.env.Close() }
