package mlflow

import (
	"context"
	"net/http"

	"quant/internal/tracking"
)

type datasetDocument struct {
	Name       string `json:"name" rule:"required"`
	Digest     string `json:"digest" rule:"required"`
	SourceType string `json:"source_type" rule:"required"`
	Source     string `json:"source" rule:"required"`
	Schema     string `json:"schema,omitempty"`
	Profile    string `json:"profile,omitempty"`
}

type datasetInput struct {
	Tags    []tag            `json:"tags,omitempty"`
	Dataset *datasetDocument `json:"dataset" rule:"required"`
}

type modelInput struct {
	ModelID string `json:"model_id" rule:"required"`
}

type modelOutput struct {
	ModelID string `json:"model_id"`
	Step    int64  `json:"step"`
}

// runInputs are what a run was given: datasets and models.
type runInputs struct {
	Datasets []datasetInput `json:"dataset_inputs,omitempty"`
	Models   []modelInput   `json:"model_inputs,omitempty"`
}

// runOutputs are what a run made: models.
type runOutputs struct {
	Models []modelOutput `json:"model_outputs,omitempty"`
}

func inputsOf(in tracking.RunInputs) *runInputs {
	doc := &runInputs{}
	for _, d := range in.Datasets {
		doc.Datasets = append(doc.Datasets, datasetInput{
			Tags: tagDocuments(d.Tags),
			Dataset: &datasetDocument{
				Name: d.Name, Digest: d.Digest, SourceType: d.SourceType, Source: d.Source, Schema: d.Schema, Profile: d.Profile,
			},
		})
	}
	for _, m := range in.Models {
		doc.Models = append(doc.Models, modelInput{m.ModelID})
	}
	return doc
}

func outputsOf(models []tracking.ModelUse) *runOutputs {
	doc := &runOutputs{}
	for _, m := range models {
		doc.Models = append(doc.Models, modelOutput{m.ModelID, m.Step})
	}
	return doc
}

// datasetEndpoints are those of what runs are given and make.
func (f *face) datasetEndpoints() []endpoint {
	return []endpoint{
		on(http.MethodPost, "/2.0/mlflow/runs/log-inputs", f.logInputs),
		on(http.MethodPost, "/2.0/mlflow/runs/outputs", f.logOutputs),
		reading(on(http.MethodPost, "/2.0/mlflow/experiments/search-datasets", f.searchDatasets)),
	}
}

func (f *face) logInputs(ctx context.Context, in struct {
	RunID    string         `json:"run_id" rule:"required"`
	Datasets []datasetInput `json:"datasets"`
	Models   []modelInput   `json:"models"`
},
) (any, error) {
	var inputs tracking.RunInputs
	for _, d := range in.Datasets {
		inputs.Datasets = append(inputs.Datasets, tracking.Dataset{
			Name: d.Dataset.Name, Digest: d.Dataset.Digest, SourceType: d.Dataset.SourceType, Source: d.Dataset.Source,
			Schema: d.Dataset.Schema, Profile: d.Dataset.Profile, Tags: tagsOf(d.Tags),
		})
	}
	for _, m := range in.Models {
		inputs.Models = append(inputs.Models, tracking.ModelUse{ModelID: m.ModelID})
	}
	return empty{}, f.Tracking.LogInputs(ctx, in.RunID, inputs)
}

func (f *face) logOutputs(ctx context.Context, in struct {
	RunID  string `json:"run_id" rule:"required"`
	Models []struct {
		ModelID string `json:"model_id" rule:"required"`
		Step    Int    `json:"step"`
	} `json:"models" rule:"required"`
},
) (any, error) {
	var models []tracking.ModelUse
	for _, m := range in.Models {
		models = append(models, tracking.ModelUse{ModelID: m.ModelID, Step: m.Step.V})
	}
	return empty{}, f.Tracking.LogOutputs(ctx, in.RunID, models)
}

func (f *face) searchDatasets(ctx context.Context, in struct {
	Experiments []string `json:"experiment_ids"`
},
) (any, error) {
	type summary struct {
		Experiment string `json:"experiment_id"`
		Name       string `json:"name"`
		Digest     string `json:"digest"`
		Context    string `json:"context,omitempty"`
	}
	var out struct {
		Summaries []summary `json:"dataset_summaries,omitempty"`
	}
	list, err := f.Tracking.DatasetsOfExperiments(ctx, in.Experiments)
	for _, d := range list {
		out.Summaries = append(out.Summaries, summary(d))
	}
	return out, err
}
