package pipeline

import (
	"context"
	"slices"

	"quant"
	"quant/internal/session"
)

// ModelRun is the run that trained a model last; "" where none is recorded.
func ModelRun(ctx context.Context, s *session.Session, modelID string) (string, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return "", err
	}
	trained, err := meta.ListOutputs(ctx, quant.IOModel) // newest run first
	if err != nil {
		return "", err
	}
	if i := slices.IndexFunc(trained, func(io quant.RunIO) bool { return io.Name == modelID }); i >= 0 {
		return trained[i].RunID, nil
	}
	return "", nil
}
