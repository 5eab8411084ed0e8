package mlflow

import (
	"context"
	"net/http"

	"quant/internal/metastore"
	"quant/internal/tracking"
)

// viewOf is a view type of MLflow; by default only what is active is shown.
func viewOf(e enumeration) tracking.View {
	switch e {
	case "DELETED_ONLY":
		return metastore.OnlyDeleted
	case "ALL":
		return metastore.DeletedToo
	}
	return metastore.NotDeleted
}

type experimentSearch struct {
	ViewType   enumeration `json:"view_type" rule:"enum:ACTIVE_ONLY|DELETED_ONLY|ALL"`
	MaxResults Int         `json:"max_results"`
	OrderBy    []string    `json:"order_by"`
	Filter     string      `json:"filter"`
	PageToken  string      `json:"page_token"`
}

func (f *face) searchExperiments(ctx context.Context, in experimentSearch) (any, error) {
	offset, err := offsetOf(in.PageToken)
	if err != nil {
		return nil, err
	}
	found, next, err := f.Tracking.SearchExperiments(ctx, tracking.ExperimentSearch{
		Filter: in.Filter, OrderBy: in.OrderBy, View: viewOf(in.ViewType), Max: in.MaxResults.V, Offset: offset,
	})
	if err != nil {
		return nil, err
	}
	var out struct {
		Experiments []experiment `json:"experiments,omitempty"`
		NextToken   string       `json:"next_page_token,omitempty"`
	}
	for _, e := range found {
		out.Experiments = append(out.Experiments, experimentOf(e))
	}
	if next > 0 {
		out.NextToken = pageToken(next)
	}
	return out, nil
}

func (f *face) searchEndpoints() []endpoint {
	const post, get = http.MethodPost, http.MethodGet
	return []endpoint{
		reading(on(post, "/2.0/mlflow/experiments/search", f.searchExperiments)),
		on(get, "/2.0/mlflow/experiments/search", f.searchExperiments),
		reading(on(post, "/2.0/mlflow/runs/search", func(ctx context.Context, in struct {
			ExperimentIDs []string    `json:"experiment_ids"`
			Filter        string      `json:"filter"`
			ViewType      enumeration `json:"run_view_type" rule:"enum:ACTIVE_ONLY|DELETED_ONLY|ALL"`
			MaxResults    Int         `json:"max_results"`
			OrderBy       []string    `json:"order_by"`
			PageToken     string      `json:"page_token"`
		}) (any, error) {
			offset, err := offsetOf(in.PageToken)
			if err != nil {
				return nil, err
			}
			page, err := f.Tracking.SearchRuns(ctx, tracking.RunSearch{
				ExperimentIDs: in.ExperimentIDs, Filter: in.Filter, OrderBy: in.OrderBy, View: viewOf(in.ViewType), Max: in.MaxResults.V, Offset: offset, After: afterOf(in.PageToken),
			})
			if err != nil {
				return nil, err
			}
			var out struct {
				Runs      []run  `json:"runs,omitempty"`
				NextToken string `json:"next_page_token,omitempty"`
			}
			if out.Runs, err = f.runsOf(ctx, page.Runs); err != nil {
				return nil, err
			}
			if page.Next > 0 {
				out.NextToken = runsToken(page.Next, page.Last)
			}
			return out, nil
		})),
	}
}
