package portable

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"quant"
	"quant/internal/metastore"
	"quant/internal/tracking"
)

// clientRow is what only clients of MLflow know of a run.
type clientRow struct {
	ID          string            `json:"id"`
	Status      string            `json:"status"`
	SeenAt      quant.Time        `json:"seen_at"`
	ContinuedBy quant.Text        `json:"continued_by"`
	Experiment  *experimentRow    `json:"experiment"`
	Latest      []latestRow       `json:"latest"`
	NaNs        []nanRow          `json:"nans"`
	Datasets    []datasetRow      `json:"datasets"`
	Models      []modelUseRow     `json:"models"`
	Logged      []loggedModelItem `json:"logged_models"`
}

// experimentRow is the experiment of a run. Another lab has it by its name.
type experimentRow struct {
	Name        string     `json:"name"`
	Description quant.Text `json:"description"`
	CreatedAt   quant.Time `json:"created_at"`
	UpdatedAt   quant.Time `json:"updated_at"`
	Tags        []pair     `json:"tags"`
}

type latestRow struct {
	Name  string     `json:"name"`
	Step  int64      `json:"step"`
	At    quant.Time `json:"at"`
	Value *float64   `json:"value"` // nil: no number
}

type nanRow struct {
	Name     string     `json:"name"`
	Step     int64      `json:"step"`
	LoggedAt quant.Time `json:"logged_at"`
}

type datasetRow struct {
	Name       string     `json:"name"`
	Digest     string     `json:"digest"`
	SourceType string     `json:"source_type"`
	Source     string     `json:"source"`
	Schema     quant.Text `json:"schema"`
	Profile    quant.Text `json:"profile"`
	Context    quant.Text `json:"context"`
	TagsJSON   quant.JSON `json:"tags_json"`
}

type modelUseRow struct {
	Direction quant.Direction `json:"direction"`
	ModelID   string          `json:"model_id"`
	Step      int64           `json:"step"`
}

// loggedModelItem is a model that the run made, with its files.
type loggedModelItem struct {
	ModelID       string                  `json:"model_id"`
	Name          string                  `json:"name"`
	ModelType     quant.Text              `json:"model_type"`
	Status        quant.LoggedModelStatus `json:"status"`
	StatusMessage quant.Text              `json:"status_message"`
	CreatedAt     quant.Time              `json:"created_at"`
	UpdatedAt     quant.Time              `json:"updated_at"`
	Params        []pair                  `json:"params"`
	Tags          []pair                  `json:"tags"`
	Metrics       []modelMetricRow        `json:"metrics"`
	Files         []artifactRow           `json:"files"`
}

type modelMetricRow struct {
	Name          string     `json:"name"`
	LoggedAt      quant.Time `json:"logged_at"`
	Step          int64      `json:"step"`
	RunID         string     `json:"run_id"`
	Value         *float64   `json:"value"`
	DatasetName   quant.Text `json:"dataset_name"`
	DatasetDigest quant.Text `json:"dataset_digest"`
}

// clientOf reads what clients know of a run; nil: no client made it. experiment is the
// run's tag.
func clientOf(ctx context.Context, store metastore.Store, runID, experiment string) (*clientRow, error) {
	records, found, err := store.ClientRecordsOf(ctx, runID)
	if err != nil || !found {
		return nil, err
	}
	c := &clientRow{
		ID: records.ClientID, Status: records.Status, SeenAt: records.SeenAt, ContinuedBy: records.ContinuedBy,
		Latest: []latestRow{}, NaNs: []nanRow{}, Datasets: []datasetRow{}, Models: []modelUseRow{}, Logged: []loggedModelItem{},
	}
	for _, m := range records.Latest {
		row := latestRow{Name: m.Name, Step: m.Step, At: m.At}
		if !m.NaN {
			row.Value = &m.Value
		}
		c.Latest = append(c.Latest, row)
	}
	for _, p := range records.NaNs {
		c.NaNs = append(c.NaNs, nanRow{p.Name, p.Step, p.LoggedAt})
	}
	for _, d := range records.Datasets {
		c.Datasets = append(c.Datasets, datasetRow{d.Name, d.Digest, d.SourceType, d.Source, d.Schema, d.Profile, d.Context, d.TagsJSON})
	}
	var made []string
	for _, m := range records.Models {
		c.Models = append(c.Models, modelUseRow{m.Direction, m.ModelID, m.Step})
		if m.Direction == quant.Out && !slices.Contains(made, m.ModelID) {
			made = append(made, m.ModelID)
		}
	}
	all, err := store.ListClientExperiments(ctx)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(e metastore.ClientExperiment) bool { return e.ExperimentID == experiment })
	if at < 0 {
		return c, nil
	}
	e := all[at]
	c.Experiment = &experimentRow{Name: e.Name, Description: e.Description, CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt, Tags: []pair{}}
	tags, err := store.ExperimentTags(ctx, e.ExperimentID)
	if err != nil {
		return nil, err
	}
	for _, t := range tags {
		c.Experiment.Tags = append(c.Experiment.Tags, pair{t.Name, t.Value})
	}
	slices.Sort(made)
	models, err := store.LoggedModelsOf(ctx, made, false)
	if err != nil {
		return nil, err
	}
	for _, m := range models {
		if m.ExperimentID != e.ExperimentID {
			continue
		}
		item, err := loggedModel(ctx, store, e.Number, m)
		if err != nil {
			return nil, err
		}
		c.Logged = append(c.Logged, item)
	}
	return c, nil
}

func loggedModel(ctx context.Context, store metastore.Store, number int64, m metastore.LoggedModelDetail) (loggedModelItem, error) {
	item := loggedModelItem{
		ModelID: m.ModelID, Name: m.Name, ModelType: m.ModelType, Status: m.Status, StatusMessage: m.StatusMessage, CreatedAt: m.CreatedAt, UpdatedAt: m.UpdatedAt,
		Params: []pair{}, Tags: []pair{}, Metrics: []modelMetricRow{}, Files: []artifactRow{},
	}
	for _, p := range m.Params {
		item.Params = append(item.Params, pair{p.Name, p.Value})
	}
	for _, t := range m.Tags {
		item.Tags = append(item.Tags, pair{t.Name, t.Value})
	}
	for _, x := range m.Metrics {
		item.Metrics = append(item.Metrics, modelMetricRow{x.Name, x.LoggedAt, x.Step, x.RunID, x.Value, x.DatasetName, x.DatasetDigest})
	}
	folder := tracking.ModelFolder(number, m.ModelID)
	files, err := store.ClientArtifactsBelow(ctx, folder)
	if err != nil {
		return item, err
	}
	for _, f := range files {
		if name, below := strings.CutPrefix(f.Path, folder+"/"); below {
			item.Files = append(item.Files, artifactRow{name, f.Digest, f.Bytes, f.LoggedAt})
		}
	}
	slices.SortFunc(item.Files, func(a, b artifactRow) int { return strings.Compare(a.Name, b.Name) })
	return item, nil
}

// records are what the store takes of it.
func (c *clientRow) records(runID string) metastore.ClientRecords {
	r := metastore.ClientRecords{RunClient: metastore.RunClient{RunID: runID, ClientID: c.ID, Status: c.Status, SeenAt: c.SeenAt, ContinuedBy: c.ContinuedBy}}
	for _, m := range c.Latest {
		row := metastore.LatestMetric{RunID: runID, Name: m.Name, Step: m.Step, At: m.At, NaN: m.Value == nil}
		if m.Value != nil {
			row.Value = *m.Value
		}
		r.Latest = append(r.Latest, row)
	}
	for _, p := range c.NaNs {
		r.NaNs = append(r.NaNs, quant.MetricPoint{RunID: runID, Name: p.Name, Step: p.Step, LoggedAt: p.LoggedAt})
	}
	for _, d := range c.Datasets {
		r.Datasets = append(r.Datasets, quant.RunDataset{
			RunID: runID, Name: d.Name, Digest: d.Digest, SourceType: d.SourceType, Source: d.Source, Schema: d.Schema, Profile: d.Profile, Context: d.Context, TagsJSON: d.TagsJSON,
		})
	}
	for _, m := range c.Models {
		r.Models = append(r.Models, quant.RunModel{RunID: runID, Direction: m.Direction, ModelID: m.ModelID, Step: m.Step})
	}
	return r
}

// model is the row of a logged model of a run.
func (m loggedModelItem) model(experimentID, clientID string) quant.LoggedModel {
	return quant.LoggedModel{
		ModelID: m.ModelID, ExperimentID: experimentID, Name: m.Name, SourceRunID: quant.Text(clientID), ModelType: m.ModelType, Status: m.Status,
		StatusMessage: m.StatusMessage, CreatedAt: m.CreatedAt, UpdatedAt: m.UpdatedAt,
	}
}

// validate reports the first rule that it breaks.
func (c *clientRow) validate(runID string) error {
	if !slices.Contains([]string{tracking.Running, tracking.Scheduled, tracking.Finished, tracking.Failed, tracking.Killed}, c.Status) {
		return quant.Errorf(quant.Invalid, "client: status %q is none", quant.Clip(c.Status, 40))
	}
	if err := c.records(runID).Validate(); err != nil {
		return err
	}
	ordered := inOrder(c.Latest, func(a, b latestRow) int { return strings.Compare(a.Name, b.Name) }) &&
		slices.IsSortedFunc(c.NaNs, func(a, b nanRow) int { return strings.Compare(a.Name, b.Name) }) &&
		inOrder(c.Datasets, func(a, b datasetRow) int {
			return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Digest, b.Digest))
		}) &&
		inOrder(c.Models, func(a, b modelUseRow) int {
			return cmp.Or(cmp.Compare(a.Direction, b.Direction), strings.Compare(a.ModelID, b.ModelID), cmp.Compare(a.Step, b.Step))
		}) &&
		inOrder(c.Logged, func(a, b loggedModelItem) int { return strings.Compare(a.ModelID, b.ModelID) })
	for _, d := range c.Datasets {
		if depth(d.TagsJSON) > maxDepth {
			return quant.Errorf(quant.Invalid, "client: a JSON text is nested more than %d deep", maxDepth)
		}
	}
	if c.Experiment == nil && len(c.Logged) > 0 {
		return quant.Errorf(quant.Invalid, "client: a logged model without an experiment")
	}
	if e := c.Experiment; e != nil {
		if strings.TrimSpace(e.Name) == "" || e.CreatedAt.IsZero() || e.UpdatedAt.IsZero() {
			return quant.Errorf(quant.Invalid, "client: the experiment has no name or no time")
		}
		ordered = ordered && inPairOrder(e.Tags)
	}
	for _, m := range c.Logged {
		if err := m.model("any", c.ID).Validate(); err != nil {
			return err
		}
		ordered = ordered && inPairOrder(m.Params) && inPairOrder(m.Tags) && inOrder(m.Files, func(a, b artifactRow) int { return strings.Compare(a.Name, b.Name) })
		for _, f := range m.Files {
			if err := (quant.Artifact{RunID: runID, Name: f.Name, Digest: f.Digest, Bytes: f.Bytes, LoggedAt: f.LoggedAt}).Validate(); err != nil {
				return err
			}
		}
	}
	if !ordered {
		return quant.Errorf(quant.Invalid, "client: an entry is not after the one before it")
	}
	return nil
}

func inOrder[T any](list []T, compare func(a, b T) int) bool {
	for i := range list {
		if i > 0 && compare(list[i-1], list[i]) >= 0 {
			return false
		}
	}
	return true
}

func inPairOrder(list []pair) bool {
	return inOrder(list, func(a, b pair) int { return strings.Compare(a.Name, b.Name) })
}

// compared is what has to be the same in two labs: not the experiment and the models,
// which live on there by themselves, and nothing where one says nothing.
func (c *clientRow) compared(with *clientRow) *clientRow {
	if c == nil || with == nil {
		return nil
	}
	part := *c
	part.Experiment, part.Logged = nil, nil
	return &part
}

// files are the contents that the models of a run have.
func (c *clientRow) files() []artifactRow {
	if c == nil {
		return nil
	}
	var all []artifactRow
	for _, m := range c.Logged {
		all = append(all, m.Files...)
	}
	return all
}

// metrics are the names of the metrics of which the client says what their last point is.
func (c *clientRow) metrics() map[string]bool {
	if c == nil {
		return nil
	}
	names := map[string]bool{}
	for _, m := range c.Latest {
		names[m.Name] = true
	}
	return names
}

// client stores what clients know of a run that was just imported. A run of theirs of
// which the file says nothing gets the id that they would have given it.
func (im *importing) client(ctx context.Context, d document) error {
	c := d.Client
	if c == nil {
		if d.Run.Kind != tracking.Kind {
			return nil
		}
		c = &clientRow{ID: strings.ReplaceAll(d.Run.RunID, "-", ""), Status: tracking.Failed, SeenAt: d.Run.StartedAt}
		if d.Run.Status == quant.Success {
			c.Status = tracking.Finished
		}
	}
	meta := im.lab.Meta
	var experiment metastore.ClientExperiment
	if e := c.Experiment; e != nil {
		var tags []metastore.ExperimentTag
		for _, t := range e.Tags {
			tags = append(tags, metastore.ExperimentTag{Name: t.Name, Value: t.Value})
		}
		var err error
		experiment, _, err = meta.ImportClientExperiment(ctx, metastore.ClientExperiment{
			Experiment: quant.Experiment{Name: e.Name, Description: e.Description, CreatedAt: e.CreatedAt}, Number: -1, UpdatedAt: e.UpdatedAt,
		}, tags)
		if err != nil {
			return err
		}
	}
	if err := meta.ImportClientRecords(ctx, c.records(d.Run.RunID), experiment.ExperimentID); err != nil {
		return err
	}
	for _, m := range c.Logged {
		there, err := meta.LoggedModelsOf(ctx, []string{m.ModelID}, true)
		if err != nil {
			return err
		}
		if len(there) > 0 {
			continue // the lab's own
		}
		var params []quant.LoggedModelParam
		var tags []quant.LoggedModelTag
		var metrics []quant.LoggedModelMetric
		for _, p := range m.Params {
			params = append(params, quant.LoggedModelParam{ModelID: m.ModelID, Name: p.Name, Value: p.Value})
		}
		for _, t := range m.Tags {
			tags = append(tags, quant.LoggedModelTag{ModelID: m.ModelID, Name: t.Name, Value: t.Value})
		}
		for _, x := range m.Metrics {
			metrics = append(metrics, quant.LoggedModelMetric{
				ModelID: m.ModelID, Name: x.Name, LoggedAt: x.LoggedAt, Step: x.Step, RunID: x.RunID, Value: x.Value, DatasetName: x.DatasetName, DatasetDigest: x.DatasetDigest,
			})
		}
		if err := meta.CreateLoggedModel(ctx, m.model(experiment.ExperimentID, c.ID), params, tags); err != nil {
			return err
		}
		if err := meta.LogLoggedModel(ctx, nil, nil, metrics); err != nil {
			return err
		}
		for _, f := range m.Files {
			a := quant.ClientArtifact{Path: tracking.ModelFolder(experiment.Number, m.ModelID) + "/" + f.Name, Digest: f.Digest, Bytes: f.Bytes, LoggedAt: f.LoggedAt}
			if err := meta.PutClientArtifact(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}
