package mlflow

import (
	"context"
	"net/http"

	"quant/internal/tracking"
)

// logged is a point as a client sends it.
type logged struct {
	Key       string `json:"key" rule:"required"`
	Value     Float  `json:"value" rule:"required"`
	Timestamp Int    `json:"timestamp" rule:"required"`
	Step      Int    `json:"step"`
	// Of a metric of a logged model.
	ModelID       string `json:"model_id"`
	DatasetName   string `json:"dataset_name"`
	DatasetDigest string `json:"dataset_digest"`
}

func (m logged) metric() tracking.Metric {
	return tracking.Metric{
		Key: m.Key, Value: m.Value.V, Timestamp: m.Timestamp.V, Step: m.Step.V,
		ModelID: m.ModelID, DatasetName: m.DatasetName, DatasetDigest: m.DatasetDigest,
	}
}

// logBatch is what a client logs at once.
type logBatch struct {
	RunID   string   `json:"run_id" rule:"required"`
	Metrics []logged `json:"metrics"`
	Params  []tag    `json:"params"`
	Tags    []tag    `json:"tags"`
}

func (f *face) logEndpoints() []endpoint {
	const post = http.MethodPost
	return []endpoint{
		on(post, "/2.0/mlflow/runs/log-metric", func(ctx context.Context, in struct {
			runRef
			logged
		}) (any, error) {
			id, err := in.id()
			if err != nil {
				return nil, err
			}
			return empty{}, f.Tracking.LogMetric(ctx, id, in.metric())
		}),
		on(post, "/2.0/mlflow/runs/log-parameter", func(ctx context.Context, in struct {
			runRef
			Key   string `json:"key" rule:"required"`
			Value string `json:"value"`
		}) (any, error) {
			id, err := in.id()
			if err != nil {
				return nil, err
			}
			return empty{}, f.Tracking.LogParam(ctx, id, tracking.Param{Key: in.Key, Value: in.Value})
		}),
		on(post, "/2.0/mlflow/runs/set-tag", func(ctx context.Context, in struct {
			runRef
			Key   string `json:"key" rule:"required"`
			Value string `json:"value"`
		}) (any, error) {
			id, err := in.id()
			if err != nil {
				return nil, err
			}
			return empty{}, f.Tracking.SetTag(ctx, id, tracking.Tag{Key: in.Key, Value: in.Value})
		}),
		on(post, "/2.0/mlflow/runs/delete-tag", func(ctx context.Context, in struct {
			RunID string `json:"run_id" rule:"required"`
			Key   string `json:"key" rule:"required"`
		}) (any, error) {
			return empty{}, f.Tracking.DeleteTag(ctx, in.RunID, in.Key)
		}),
		on(post, "/2.0/mlflow/runs/log-batch", func(ctx context.Context, in logBatch) (any, error) {
			b := tracking.LogBatch{Tags: tagsOf(in.Tags), Metrics: make([]tracking.Metric, len(in.Metrics))}
			for i, m := range in.Metrics {
				b.Metrics[i] = m.metric()
			}
			for _, p := range in.Params {
				b.Params = append(b.Params, tracking.Param{Key: p.Key, Value: p.Value})
			}
			return empty{}, f.Tracking.Log(ctx, in.RunID, b)
		}),
	}
}
