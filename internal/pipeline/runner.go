package pipeline

import (
	"context"

	"quant"
	"quant/internal/session"
)

// Call is what can be run as a recorded run: a stage, or a pipeline, with what it
// is asked for. Its values are FetchOptions, IngestOptions, FeaturesOptions,
// LabelsOptions, TrainOptions, ScoreOptions, RecommendOptions, BacktestOptions and
// RunOptions.
type Call interface {
	// Command is what the run is recorded as: its kind is the stage, its args the
	// command line that does the same.
	Command() session.Command
}

// Runner runs stages.
type Runner interface {
	// Run runs a call as a recorded run inside that of s, with notes in its record,
	// and returns the run's id; "" if it could not be recorded. Its error has been
	// said and recorded.
	Run(ctx context.Context, s *session.Session, call Call, notes []quant.RunIO) (runID string, err error)
}

// InProcess runs stages in this process. Its zero value is ready.
type InProcess struct {
	Quiet bool // of a run nothing is said but warnings and errors
	// Unsaid leaves errors to the caller, which has them returned: Sweep says each
	// once.
	Unsaid bool
}

// unsaid leaves out why a run failed.
type unsaid struct{ session.Voice }

func (unsaid) Failed(error) {}

// Run implements Runner.
func (p InProcess) Run(ctx context.Context, s *session.Session, call Call, notes []quant.RunIO) (runID string, err error) {
	c := p.voiced(s, call.Command())
	c.Notes = notes
	return s.Inside(ctx, c, func(ctx context.Context, inner *session.Session) error { return p.run(ctx, inner, call) })
}

// voiced is a command that says what it has to say as p does.
func (p InProcess) voiced(s *session.Session, c session.Command) session.Command {
	if p.Quiet {
		c.Voice = session.Quiet{Voice: s.Say()}
	}
	if p.Unsaid {
		if c.Voice == nil {
			c.Voice = s.Say()
		}
		c.Voice = unsaid{c.Voice}
	}
	return c
}

func (p InProcess) run(ctx context.Context, s *session.Session, call Call) (err error) {
	switch o := call.(type) {
	case IngestOptions:
		_, err = Ingest(ctx, s, o)
	case FetchOptions:
		_, err = Fetch(ctx, s, o)
	case FeaturesOptions:
		_, err = Features(ctx, s, o)
	case LabelsOptions:
		_, err = Labels(ctx, s, o)
	case TrainOptions:
		_, err = Train(ctx, s, o)
	case ScoreOptions:
		_, err = Score(ctx, s, o)
	case RecommendOptions:
		_, err = Recommend(ctx, s, o)
	case BacktestOptions:
		_, err = Backtest(ctx, s, o)
	case RunOptions:
		_, err = Run(ctx, s, p, o)
	default:
		err = quant.Errorf(quant.Failed, "a %s cannot be run in process", call.Command().Kind)
	}
	return err
}
