package mlflow

import (
	"context"
	"net/http"

	"quant"
	"quant/internal/metastore"
	"quant/internal/tracking"
)

type modelMetric struct {
	Key           string `json:"key"`
	Value         Float  `json:"value"`
	Timestamp     int64  `json:"timestamp"`
	Step          int64  `json:"step"`
	DatasetName   string `json:"dataset_name,omitempty"`
	DatasetDigest string `json:"dataset_digest,omitempty"`
	ModelID       string `json:"model_id,omitempty"`
	RunID         string `json:"run_id,omitempty"`
}

type loggedModelDocument struct {
	Info struct {
		ModelID       string `json:"model_id"`
		Experiment    string `json:"experiment_id"`
		Name          string `json:"name"`
		Created       int64  `json:"creation_timestamp_ms"`
		Updated       int64  `json:"last_updated_timestamp_ms"`
		Root          string `json:"artifact_uri"`
		Status        string `json:"status"`
		Type          string `json:"model_type,omitempty"`
		SourceRunID   string `json:"source_run_id"`
		StatusMessage string `json:"status_message,omitempty"`
		Tags          []tag  `json:"tags,omitempty"`
	} `json:"info"`
	Data struct {
		Params  []tag         `json:"params,omitempty"`
		Metrics []modelMetric `json:"metrics,omitempty"`
	} `json:"data"`
}

const statusPrefix = "LOGGED_MODEL_"

// loggedStatus is the state that a status of the protocol names.
func loggedStatus(name string) quant.LoggedModelStatus {
	switch name {
	case statusPrefix + "PENDING":
		return quant.LoggedModelPending
	case statusPrefix + "READY":
		return quant.LoggedModelReady
	case statusPrefix + "UPLOAD_FAILED":
		return quant.LoggedModelFailed
	}
	return quant.LoggedModelUnspecified
}

func statusName(s quant.LoggedModelStatus) string {
	switch s {
	case quant.LoggedModelUnspecified:
		return statusPrefix + "STATUS_UNSPECIFIED"
	case quant.LoggedModelFailed:
		return statusPrefix + "UPLOAD_FAILED"
	}
	return statusPrefix + string(s)
}

func loggedDocument(m tracking.LoggedModel) loggedModelDocument {
	var doc loggedModelDocument
	i := &doc.Info
	i.ModelID, i.Experiment, i.Name, i.Root = m.ID, m.Experiment, m.Name, m.Root
	i.Created, i.Updated, i.Status = m.Created.UnixMilli(), m.Updated.UnixMilli(), statusName(m.Status)
	i.Type, i.SourceRunID, i.StatusMessage, i.Tags = m.Type, m.SourceRunID, m.Message, tagDocuments(m.Tags)
	for _, p := range m.Params {
		doc.Data.Params = append(doc.Data.Params, tag{p.Key, p.Value})
	}
	for _, one := range m.Metrics {
		doc.Data.Metrics = append(doc.Data.Metrics, modelMetric{
			Key: one.Name, Value: Float{V: one.Value, Set: true}, Timestamp: one.At.UnixMilli(), Step: one.Step,
			DatasetName: one.DatasetName, DatasetDigest: one.DatasetDigest, ModelID: one.ModelID, RunID: one.RunID,
		})
	}
	return doc
}

type oneModel struct {
	Model loggedModelDocument `json:"model"`
}

func answerModel(m tracking.LoggedModel, err error) (any, error) {
	return oneModel{loggedDocument(m)}, err
}

// loggedModelEndpoints are those of the models that clients log.
func (f *face) loggedModelEndpoints() []endpoint {
	const models, model = "/2.0/mlflow/logged-models", "/2.0/mlflow/logged-models/{model_id}"
	return []endpoint{
		on(http.MethodPost, models, f.createLoggedModel),
		reading(on(http.MethodPost, models+"/search", f.searchLoggedModels)),
		on(http.MethodGet, model, func(ctx context.Context, in modelInput) (any, error) {
			return answerModel(f.Tracking.GetLoggedModel(ctx, in.ModelID))
		}),
		on(http.MethodPatch, model, func(ctx context.Context, in struct {
			ModelID string      `json:"model_id" rule:"required"`
			Status  enumeration `json:"status" rule:"required,enum:LOGGED_MODEL_PENDING|LOGGED_MODEL_READY|LOGGED_MODEL_UPLOAD_FAILED"`
		},
		) (any, error) {
			return answerModel(f.Tracking.FinishLoggedModel(ctx, in.ModelID, loggedStatus(string(in.Status))))
		}),
		on(http.MethodDelete, model, func(ctx context.Context, in modelInput) (any, error) {
			return empty{}, f.Tracking.DeleteLoggedModel(ctx, in.ModelID)
		}),
		on(http.MethodPatch, model+"/tags", func(ctx context.Context, in struct {
			ModelID string `json:"model_id" rule:"required"`
			Tags    []tag  `json:"tags"`
		},
		) (any, error) {
			return empty{}, f.Tracking.SetLoggedModelTags(ctx, in.ModelID, tagsOf(in.Tags))
		}),
		on(http.MethodDelete, model+"/tags/{tag_key}", func(ctx context.Context, in struct {
			ModelID string `json:"model_id" rule:"required"`
			Key     string `json:"tag_key" rule:"required"`
		},
		) (any, error) {
			return empty{}, f.Tracking.DeleteLoggedModelTag(ctx, in.ModelID, in.Key)
		}),
		on(http.MethodPost, model+"/params", func(ctx context.Context, in struct {
			ModelID string `json:"model_id" rule:"required"`
			Params  []tag  `json:"params"`
		},
		) (any, error) {
			return empty{}, f.Tracking.LogLoggedModelParams(ctx, in.ModelID, paramsOf(in.Params))
		}),
		on(http.MethodPost, "/2.0/mlflow/runs/log-model", func(ctx context.Context, in struct {
			RunID string `json:"run_id" rule:"required"`
			Model string `json:"model_json" rule:"required"`
		},
		) (any, error) {
			return empty{}, f.Tracking.RecordModel(ctx, in.RunID, in.Model)
		}),
		on(http.MethodGet, model+"/artifacts/directories", func(ctx context.Context, in struct {
			ModelID string `json:"model_id" rule:"required"`
			Path    string `json:"artifact_directory_path"`
		},
		) (any, error) {
			root, files, err := f.Tracking.ModelFiles(ctx, in.ModelID, in.Path)
			return listing{RootURI: root, Files: fileInfos(files)}, err
		}),
		raw(http.MethodGet, model+"/artifacts/files", func(w http.ResponseWriter, r *http.Request, parts map[string]string) error {
			name := r.URL.Query().Get("artifact_file_path")
			if name == "" {
				return apiErrorf(badRequest, `Request must include the "artifact_file_path" query parameter.`)
			}
			content, err := f.Tracking.OpenModelFile(r.Context(), parts["model_id"], name)
			return send(w, r, content, err)
		}),
	}
}

func (f *face) createLoggedModel(ctx context.Context, in struct {
	Experiment  string `json:"experiment_id" rule:"required"`
	Name        string `json:"name"`
	Type        string `json:"model_type"`
	SourceRunID string `json:"source_run_id"`
	Params      []tag  `json:"params"`
	Tags        []tag  `json:"tags"`
},
) (any, error) {
	return answerModel(f.Tracking.CreateLoggedModel(ctx, tracking.NewModel{
		Experiment: in.Experiment, Name: in.Name, Type: in.Type, SourceRunID: in.SourceRunID, Params: paramsOf(in.Params), Tags: tagsOf(in.Tags),
	}))
}

func (f *face) searchLoggedModels(ctx context.Context, in struct {
	Experiments []string `json:"experiment_ids" rule:"required"`
	Filter      string   `json:"filter"`
	Datasets    []struct {
		Name   string `json:"dataset_name"`
		Digest string `json:"dataset_digest"`
	} `json:"datasets"`
	MaxResults Int `json:"max_results"`
	OrderBy    []struct {
		Field         string `json:"field_name" rule:"required"`
		Ascending     *bool  `json:"ascending"`
		DatasetName   string `json:"dataset_name"`
		DatasetDigest string `json:"dataset_digest"`
	} `json:"order_by"`
	PageToken string `json:"page_token"`
},
) (any, error) {
	s := tracking.ModelSearch{Experiments: in.Experiments, Filter: in.Filter, Limit: int(min(max(in.MaxResults.V, 0), maxLoggedModels))}
	for _, d := range in.Datasets {
		s.Datasets = append(s.Datasets, metastore.DatasetFilter{Name: d.Name, Digest: d.Digest})
	}
	for _, o := range in.OrderBy {
		s.Order = append(s.Order, tracking.ModelOrder{
			Field: o.Field, Desc: o.Ascending != nil && !*o.Ascending, DatasetName: o.DatasetName, DatasetDigest: o.DatasetDigest,
		})
	}
	var err error
	if s.Offset, err = offsetOf(in.PageToken); err != nil {
		return nil, err
	}
	found, more, err := f.Tracking.SearchLoggedModels(ctx, s)
	if err != nil {
		return nil, err
	}
	var out struct {
		Models []loggedModelDocument `json:"models,omitempty"`
		Next   string                `json:"next_page_token,omitempty"`
	}
	for _, m := range found {
		out.Models = append(out.Models, loggedDocument(m))
	}
	if more {
		out.Next = pageToken(s.Offset + len(found))
	}
	return out, nil
}

// maxLoggedModels is the longest page of logged models.
const maxLoggedModels = 1000
