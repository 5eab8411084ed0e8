package pipeline

import (
	"context"

	"quant"
	"quant/internal/session"
)

// Call is a stage with what it is asked for. Its values are the options of the
// stages: FeaturesOptions and the like.
type Call interface {
	// Command is what the run of the stage is recorded as: its kind is the stage,
	// its args the command line that does the same.
	Command() session.Command
}

// Runner runs stages.
type Runner interface {
	// Run runs a stage as a recorded run inside that of s, with notes in its record,
	// and returns the run's id; "" if none could be recorded. Its error has been
	// said and recorded.
	Run(ctx context.Context, s *session.Session, call Call, notes []quant.RunIO) (runID string, err error)
}
