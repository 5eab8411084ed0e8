package tracking

import (
	"context"
	"encoding/json"
	"unicode/utf8"

	"quant"
	"quant/internal/metastore"
)

// The limits of a dataset, in characters, are the reference server's.
const (
	maxDatasetName    = 500
	maxDatasetDigest  = 36
	maxDatasetSource  = 65_535
	maxDatasetSchema  = 1_048_575
	maxDatasetProfile = 16_777_215
	maxInputTagKey    = 255
	maxInputTagValue  = 500
)

// Dataset is what a client says of data that a run was given. What Source names is
// never opened.
type Dataset struct {
	Name, Digest, SourceType, Source, Schema, Profile string
	Tags                                              []Tag
}

// ModelUse is a logged model that a run used or made.
type ModelUse struct {
	ModelID string
	Step    int64 // of one that it made
}

// RunInputs are the datasets and models that a run was given.
type RunInputs struct {
	Datasets []Dataset
	Models   []ModelUse
}

// LogInputs records what a run was given, also as its lineage. A dataset or model
// that it has already stays as it is. Errors: NotFound; Invalid.
func (t *Tracking) LogInputs(ctx context.Context, clientID string, in RunInputs) error {
	run, err := t.activeTarget(ctx, clientID)
	if err != nil {
		return err
	}
	var datasets []quant.RunDataset
	for _, d := range in.Datasets {
		row, err := t.dataset(run.runID, d)
		if err != nil {
			return err
		}
		datasets = append(datasets, row)
	}
	return t.logModels(ctx, run, datasets, in.Models, quant.In)
}

// LogOutputs records the models that a run made. Errors: as of LogInputs.
func (t *Tracking) LogOutputs(ctx context.Context, clientID string, models []ModelUse) error {
	run, err := t.activeTarget(ctx, clientID)
	if err != nil {
		return err
	}
	return t.logModels(ctx, run, nil, models, quant.Out)
}

func (t *Tracking) logModels(ctx context.Context, run target, datasets []quant.RunDataset, uses []ModelUse, direction quant.Direction) error {
	var models []quant.RunModel
	for _, m := range uses {
		models = append(models, quant.RunModel{RunID: run.runID, Direction: direction, ModelID: m.ModelID, Step: m.Step})
	}
	if err := t.sawRun(ctx, run); err != nil {
		return err
	}
	return t.writes.do(ctx, func(ctx context.Context) error { return t.Store.LogInputs(ctx, datasets, models) })
}

func (t *Tracking) dataset(runID string, d Dataset) (row quant.RunDataset, err error) {
	for _, limit := range []struct {
		name, text string
		most       int
	}{
		{"name", d.Name, maxDatasetName}, {"digest", d.Digest, maxDatasetDigest}, {"source", d.Source, maxDatasetSource},
		{"schema", d.Schema, maxDatasetSchema}, {"profile", d.Profile, maxDatasetProfile},
	} {
		if err := atMost(limit.name, limit.text, limit.most); err != nil {
			return row, err
		}
	}
	mask := t.mask
	row = quant.RunDataset{
		RunID: runID, Name: mask(d.Name), Digest: d.Digest, SourceType: d.SourceType, Source: mask(d.Source),
		Schema: quant.Text(mask(d.Schema)), Profile: quant.Text(mask(d.Profile)),
	}
	tags := [][2]string{}
	for _, tag := range d.Tags {
		if err := atMost("key", tag.Key, maxInputTagKey); err != nil {
			return row, err
		}
		if err := atMost("value", tag.Value, maxInputTagValue); err != nil {
			return row, err
		}
		tag.Value = t.maskValue(tag.Key, tag.Value)
		if tag.Key == quant.DatasetContextTag {
			row.Context = quant.Text(tag.Value)
		}
		tags = append(tags, [2]string{tag.Key, tag.Value})
	}
	if len(tags) > 0 {
		row.TagsJSON, err = quant.NewJSON(tags)
	}
	return row, err
}

// atMost refuses a text that is longer, in the reference server's words.
func atMost(name, text string, most int) error {
	if n := utf8.RuneCountInString(text); n > most {
		return invalidf("'%s' exceeds the maximum length of %d characters", name, most)
	}
	return nil
}

// InputsOf returns what runs were given and the models they made, by run_id.
func (t *Tracking) InputsOf(ctx context.Context, runIDs []string) (inputs map[string]RunInputs, outputs map[string][]ModelUse, err error) {
	datasets, err := t.Store.DatasetsOf(ctx, runIDs)
	if err != nil {
		return nil, nil, err
	}
	models, err := t.Store.ModelsOf(ctx, runIDs)
	if err != nil {
		return nil, nil, err
	}
	inputs, outputs = map[string]RunInputs{}, map[string][]ModelUse{}
	for _, row := range datasets {
		d := Dataset{
			Name: row.Name, Digest: row.Digest, SourceType: row.SourceType, Source: row.Source,
			Schema: string(row.Schema), Profile: string(row.Profile),
		}
		var tags [][2]string
		if len(row.TagsJSON) > 0 {
			if err := json.Unmarshal(row.TagsJSON, &tags); err != nil {
				return nil, nil, quant.Errorf(quant.Store, "the tags of dataset %s of run %s cannot be read: %w", row.Name, row.RunID, err).
					WithHint("run quant doctor")
			}
		}
		for _, tag := range tags {
			d.Tags = append(d.Tags, Tag{tag[0], tag[1]})
		}
		in := inputs[row.RunID]
		in.Datasets = append(in.Datasets, d)
		inputs[row.RunID] = in
	}
	for _, m := range models {
		use := ModelUse{ModelID: m.ModelID, Step: m.Step}
		if m.Direction == quant.Out {
			outputs[m.RunID] = append(outputs[m.RunID], use)
			continue
		}
		in := inputs[m.RunID]
		in.Models = append(in.Models, use)
		inputs[m.RunID] = in
	}
	return inputs, outputs, nil
}

// The limits of a search of datasets are the reference server's.
const (
	maxDatasetExperiments = 20
	maxDatasetSummaries   = 1000
)

// DatasetSummary is a dataset that runs of an experiment were given.
type DatasetSummary struct{ Experiment, Name, Digest, Context string }

// DatasetsOfExperiments returns the datasets of these experiments, at most 1,000.
// Invalid for none or more than 20 experiments.
func (t *Tracking) DatasetsOfExperiments(ctx context.Context, experiments []string) ([]DatasetSummary, error) {
	if len(experiments) == 0 {
		return nil, invalidf("SearchDatasets request must specify at least one experiment_id.")
	}
	if n := len(experiments); n > maxDatasetExperiments {
		return nil, invalidf("SearchDatasets request cannot specify more than %d experiment_ids. Received %d experiment_ids.", maxDatasetExperiments, n)
	}
	known, err := t.experimentIDs(ctx, experiments)
	if err != nil {
		return nil, err
	}
	var ids []string
	number := map[string]string{}
	for _, e := range known {
		ids = append(ids, e.id)
		number[e.id] = e.number
	}
	rows, err := t.Store.DatasetsOfExperiments(ctx, ids, maxDatasetSummaries)
	if err != nil {
		return nil, err
	}
	found := []DatasetSummary{}
	for _, r := range rows {
		found = append(found, DatasetSummary{number[r.ExperimentID], r.Name, r.Digest, string(r.Context)})
	}
	return found, nil
}

// datasetCondition is a condition on the runs that have a dataset.
func datasetCondition(_ context.Context, c DatasetCondition) (metastore.Expr, error) {
	switch c.Key {
	case "name", "digest", "context":
		return metastore.HasDataset{Key: c.Key, Op: c.Comparator, Values: c.Values}, nil
	}
	return nil, invalidf("Invalid dataset key '%s' specified. Valid keys are 'name', 'digest', 'context'", c.Key)
}
