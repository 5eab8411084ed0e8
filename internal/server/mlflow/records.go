package mlflow

import (
	"context"

	"quant/internal/tracking"
)

// runInputs are what a run read: datasets and models.
type runInputs struct{}

// runOutputs are what a run made: models.
type runOutputs struct{}

// runsOf are runs on the wire, with their inputs and outputs.
func (f *face) runsOf(_ context.Context, list []tracking.Run) ([]run, error) {
	out := make([]run, len(list))
	for i, r := range list {
		out[i] = runOf(r)
	}
	return out, nil
}
