package exec

import (
	"context"
	"errors"
	"os"
	"time"

	"quant"
	"quant/internal/logstream"
	"quant/internal/metastore"
	"quant/internal/session"
)

// Follow is a run of a program that runs already and says itself how it ends.
type Follow struct {
	Kind   string          // of the run
	Argv   []string        // of the program, which started this process; Argv[0] is its file
	Parent string          // the run that the program works in; "": none
	First  metastore.Batch // tags, stored with the beginning
	// Stream is what the program says; Run and Own are the run that is started.
	Stream  logstream.Stream
	Environ []string
	// KeepSecrets and Sample are as in Options.
	KeepSecrets bool
	Sample      time.Duration
	// Started tells the run's id, once it is recorded.
	Started func(runID string) error
}

// checkParent is how often Follow looks whether the program lives.
const checkParent = 500 * time.Millisecond

// afterDeath is how long the stream of a program that has died may go on: its end
// comes at once unless another process holds it open.
const afterDeath = 3 * time.Second

// errGone ends a stream whose program has died.
var errGone = errors.New("the program has died")

// FollowProgram records a run for as long as the program tells of it: until it says
// how the run ended, or ends itself. It returns what was stored; the error of a run
// that failed is recorded with the run, and is none of FollowProgram's. A program that
// ends without a word, however it ends, leaves a run that failed. The code around the
// program and its packages are recorded as those of a program that Run runs.
func FollowProgram(ctx context.Context, s *session.Session, f Follow) (logstream.Report, error) {
	if f.Kind == "" || len(f.Argv) == 0 {
		return logstream.Report{}, quant.Errorf(quant.Usage, "a run that a program starts needs a kind and the program's command line").
			WithHint("write: quant log --stdin --start KIND -- PROGRAM [ARG...]")
	}
	program := os.Getppid()
	list, err := s.Begin(ctx, []session.Command{{Kind: f.Kind, Program: f.Argv, Parent: &f.Parent, Voice: session.Silent{}}})
	if err != nil {
		return logstream.Report{}, err
	}
	inner := list[0]
	report, err := follow(ctx, inner, f, program)
	ending := report.End
	why := err
	switch {
	case err == nil && ending == nil, errors.Is(err, errGone):
		err, why = nil, quant.Errorf(quant.Failed, "the program ended without finishing the run")
	case err == nil && ending.Status == quant.Fail && ending.Reason == "":
		why = quant.Errorf(quant.Failed, "the program said that it failed")
	case err == nil && ending.Status == quant.Fail:
		why = quant.Errorf(quant.Failed, "%s", quant.Clip(ending.Reason, mostWords))
	}
	_ = s.Finish(ctx, list, []error{why})
	return report, err
}

func follow(ctx context.Context, inner *session.Session, f Follow, program int) (logstream.Report, error) {
	for i := range f.First.Tags {
		f.First.Tags[i].RunID = inner.RunID()
	}
	if f.First.Len() > 0 {
		if err := inner.Registry.Log(ctx, inner.RunID(), f.First); err != nil {
			return logstream.Report{}, err
		}
	}
	if err := f.Started(inner.RunID()); err != nil {
		return logstream.Report{}, err
	}
	inspected := inspect(ctx, inner, f.Argv[0], f.Argv, f.Environ, f.KeepSecrets)
	inspected.started(program)
	sampled := sampling{session: inner, every: f.Sample}
	sampled.started(ctx, program)
	about := map[string]any{"variables": recorded(f.Environ)}
	// The process is not the one that ends the run: what is recorded of it is its file
	// and its environment.
	p := quant.Program{Path: quant.Text(f.Argv[0]), ChildPID: ptr(int64(program)), EnvironmentJSON: document(about)}
	save := inner.Registry.ProgramStarted(inner.RunID(), p)
	saved := make(chan struct{})
	go func() {
		defer close(saved)
		_ = save(context.WithoutCancel(ctx)) // the end stores it again
	}()
	living, gone := context.WithCancelCause(ctx)
	defer gone(nil)
	go func() {
		tick := time.NewTicker(checkParent)
		defer tick.Stop()
		for {
			select {
			case <-living.Done():
				return
			case <-tick.C:
				if os.Getppid() != program {
					time.AfterFunc(afterDeath, func() { gone(errGone) })
					return
				}
			}
		}
	}()
	stream := f.Stream
	stream.Run, stream.Own = inner.RunID(), true
	report, err := stream.Store(living)
	<-saved
	sampled.finish(ctx, about)
	inspected.finish(about)
	return report, errors.Join(err, inner.Registry.ProgramEnded(inner.RunID(), func(p *quant.Program) { p.EnvironmentJSON = document(about) }))
}
