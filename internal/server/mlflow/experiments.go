package mlflow

import (
	"context"
	"net/http"

	"quant/internal/tracking"
)

// tag is a key with its value, on the wire.
type tag struct {
	Key   string `json:"key" rule:"required"`
	Value string `json:"value"`
}

func tagsOf(list []tag) []tracking.Tag {
	tags := make([]tracking.Tag, len(list))
	for i, t := range list {
		tags[i] = tracking.Tag{Key: t.Key, Value: t.Value}
	}
	return tags
}

// experiment is an experiment on the wire.
type experiment struct {
	ID               string `json:"experiment_id"`
	Name             string `json:"name"`
	ArtifactLocation string `json:"artifact_location"`
	LifecycleStage   string `json:"lifecycle_stage"`
	LastUpdateTime   int64  `json:"last_update_time"`
	CreationTime     int64  `json:"creation_time"`
	Tags             []tag  `json:"tags,omitempty"`
}

// The stages of experiments and runs.
const (
	activeStage  = "active"
	deletedStage = "deleted"
)

func stage(deleted bool) string {
	if deleted {
		return deletedStage
	}
	return activeStage
}

func experimentOf(e tracking.Experiment) experiment {
	out := experiment{
		ID: e.ID(), Name: e.Name, ArtifactLocation: e.ArtifactLocation(), LifecycleStage: stage(!e.DeletedAt.IsZero()),
		LastUpdateTime: e.UpdatedAt.UnixMilli(), CreationTime: e.CreatedAt.UnixMilli(),
	}
	for _, t := range e.Tags {
		out.Tags = append(out.Tags, tag{t.Name, t.Value})
	}
	return out
}

type experimentAnswer struct {
	Experiment experiment `json:"experiment"`
}

func (f *face) experimentEndpoints() []endpoint {
	const post, get = http.MethodPost, http.MethodGet
	type byID struct {
		ID string `json:"experiment_id" rule:"required"`
	}
	return []endpoint{
		on(post, "/2.0/mlflow/experiments/create", func(ctx context.Context, in struct {
			Name             string `json:"name" rule:"required"`
			ArtifactLocation string `json:"artifact_location"`
			Tags             []tag  `json:"tags"`
		}) (any, error) {
			id, err := f.Tracking.CreateExperiment(ctx, in.Name, in.ArtifactLocation, tagsOf(in.Tags))
			return struct {
				ID string `json:"experiment_id"`
			}{id}, err
		}),
		on(get, "/2.0/mlflow/experiments/get", func(ctx context.Context, in byID) (any, error) {
			e, err := f.Tracking.GetExperiment(ctx, in.ID)
			return experimentAnswer{experimentOf(e)}, err
		}),
		on(get, "/2.0/mlflow/experiments/get-by-name", func(ctx context.Context, in struct {
			Name string `json:"experiment_name" rule:"required"`
		}) (any, error) {
			e, err := f.Tracking.ExperimentNamed(ctx, in.Name)
			return experimentAnswer{experimentOf(e)}, err
		}),
		on(post, "/2.0/mlflow/experiments/update", func(ctx context.Context, in struct {
			ID   string `json:"experiment_id" rule:"required"`
			Name string `json:"new_name" rule:"required"`
		}) (any, error) {
			return empty{}, f.Tracking.RenameExperiment(ctx, in.ID, in.Name)
		}),
		on(post, "/2.0/mlflow/experiments/delete", func(ctx context.Context, in byID) (any, error) {
			return empty{}, f.Tracking.DeleteExperiment(ctx, in.ID)
		}),
		on(post, "/2.0/mlflow/experiments/restore", func(ctx context.Context, in byID) (any, error) {
			return empty{}, f.Tracking.RestoreExperiment(ctx, in.ID)
		}),
		on(post, "/2.0/mlflow/experiments/set-experiment-tag", func(ctx context.Context, in struct {
			ID    string `json:"experiment_id" rule:"required"`
			Key   string `json:"key" rule:"required"`
			Value string `json:"value"`
		}) (any, error) {
			return empty{}, f.Tracking.SetExperimentTag(ctx, in.ID, tracking.Tag{Key: in.Key, Value: in.Value})
		}),
		on(post, "/2.0/mlflow/experiments/delete-experiment-tag", func(ctx context.Context, in struct {
			ID  string `json:"experiment_id" rule:"required"`
			Key string `json:"key" rule:"required"`
		}) (any, error) {
			return empty{}, f.Tracking.DeleteExperimentTag(ctx, in.ID, in.Key)
		}),
	}
}
