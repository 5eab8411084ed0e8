package metastore

import (
	"context"

	"quant"
)

// Parts is what one run has recorded, a part at a time: for who shows a run that may
// have thousands of each. The parts come by name, those after a name ("": from the
// first), limit of them at most. A run without any, or no such run, has none.
type Parts interface {
	CountRecords(ctx context.Context, runID string) (RecordCounts, error)
	ParamsAfter(ctx context.Context, runID, name string, limit int) ([]quant.Param, error)
	TagsAfter(ctx context.Context, runID, name string, limit int) ([]quant.Tag, error)
	MetricsAfter(ctx context.Context, runID, name string, limit int) ([]quant.Metric, error)
	ArtifactsAfter(ctx context.Context, runID, name string, limit int) ([]quant.Artifact, error)
	// LastNotes returns the last notes, by number.
	LastNotes(ctx context.Context, runID string, limit int) ([]quant.Note, error)
	// TagOf returns one tag; NotFound where the run has none of that name.
	TagOf(ctx context.Context, runID, name string) (quant.Tag, error)
	// MetricOf returns one metric; NotFound where the run has none of that name.
	MetricOf(ctx context.Context, runID, name string) (quant.Metric, error)
	// ArtifactOf returns one artifact; NotFound where the run has none of that name.
	ArtifactOf(ctx context.Context, runID, name string) (quant.Artifact, error)
}

// RecordCounts is how much a run has recorded.
type RecordCounts struct {
	Params, Tags, Metrics, Notes, Artifacts int64
	Inputs, Outputs                         int64
}
