package mlflow

import (
	"context"
	"math"
	"net/http"

	"quant/internal/tracking"
)

var notANumber = Float{V: math.NaN(), Set: true}

func (f *face) metricEndpoints() []endpoint {
	const get = http.MethodGet
	return []endpoint{
		on(get, "/2.0/mlflow/metrics/get-history", func(ctx context.Context, in struct {
			runRef
			Key        string `json:"metric_key" rule:"required"`
			PageToken  string `json:"page_token"`
			MaxResults Int    `json:"max_results"`
		}) (any, error) {
			id, err := in.id()
			if err != nil {
				return nil, err
			}
			offset, err := offsetOf(in.PageToken)
			if err != nil {
				return nil, err
			}
			limit := int(max(in.MaxResults.V, 0))
			points, more, err := f.Tracking.History(ctx, id, in.Key, offset, limit)
			if err != nil {
				return nil, err
			}
			var out struct {
				Metrics   []metric `json:"metrics,omitempty"`
				NextToken string   `json:"next_page_token,omitempty"`
			}
			for _, p := range points {
				out.Metrics = append(out.Metrics, metricOf(p))
			}
			if more {
				out.NextToken = pageToken(offset + limit)
			}
			return out, nil
		}),
		on(get, "/2.0/mlflow/metrics/get-history-bulk", func(ctx context.Context, in struct {
			RunIDs     []string `json:"run_id"`
			Key        string   `json:"metric_key"`
			MaxResults Int      `json:"max_results"`
		}) (any, error) {
			runs, err := f.Tracking.Histories(ctx, in.RunIDs, in.Key, int(in.MaxResults.V))
			return bulkOf(runs), err
		}),
		on(get, "/2.0/mlflow/metrics/get-history-bulk-interval", func(ctx context.Context, in struct {
			RunIDs     []string `json:"run_ids" rule:"required"`
			Key        string   `json:"metric_key" rule:"required"`
			First      Int      `json:"start_step"`
			Last       Int      `json:"end_step"`
			MaxResults Int      `json:"max_results"`
		}) (any, error) {
			runs, err := f.Tracking.Interval(ctx, tracking.IntervalSearch{
				ClientIDs: in.RunIDs, Key: in.Key, First: in.First.pointer(), Last: in.Last.pointer(), Max: in.MaxResults.pointer(),
			})
			return bulkOf(runs), err
		}),
	}
}

// bulk are points of several runs.
type bulk struct {
	Metrics []metric `json:"metrics"`
}

func bulkOf(runs []tracking.RunPoints) bulk {
	out := bulk{Metrics: []metric{}}
	for _, r := range runs {
		for _, p := range r.Points {
			m := metricOf(p)
			m.RunID = r.ClientID
			out.Metrics = append(out.Metrics, m)
		}
	}
	return out
}
