package tracking

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/metastore"
)

// LoggedModel is a model that a client logged, as it is told.
type LoggedModel struct {
	ID          string
	Experiment  string // the number that clients know
	Name        string
	Root        string // URI of its folder
	Status      quant.LoggedModelStatus
	Message     string
	Type        string
	SourceRunID string
	Created     quant.Time
	Updated     quant.Time
	Tags        []Tag
	Params      []Param
	Metrics     []ModelMetric
}

// ModelMetric is one measured value of a logged model.
type ModelMetric struct {
	ModelID, RunID             string
	Name                       string
	Value                      float64
	At                         quant.Time
	Step                       int64
	DatasetName, DatasetDigest string
}

// NewModel is what a client says of a model that it begins to log.
type NewModel struct {
	Experiment, Name, Type, SourceRunID string
	Params                              []Param
	Tags                                []Tag
}

// CreateLoggedModel records a model whose files are yet to come: its status is
// PENDING. Errors: NotFound for the experiment; Invalid.
func (t *Tracking) CreateLoggedModel(ctx context.Context, n NewModel) (LoggedModel, error) {
	if err := validModelName(n.Name); err != nil {
		return LoggedModel{}, err
	}
	e, err := t.active(ctx, n.Experiment)
	if err != nil {
		return LoggedModel{}, err
	}
	id, err := newModelID()
	if err != nil {
		return LoggedModel{}, err
	}
	if n.Name == "" {
		n.Name = randomName()
	}
	now := t.now()
	m := quant.LoggedModel{
		ModelID: id, ExperimentID: e.ExperimentID, Name: t.mask(n.Name), SourceRunID: quant.Text(n.SourceRunID), ModelType: quant.Text(n.Type),
		Status: quant.LoggedModelPending, CreatedAt: now, UpdatedAt: now,
	}
	params, tags := t.modelRecords(id, n.Params, n.Tags)
	if err := t.writes.do(ctx, func(ctx context.Context) error { return t.Store.CreateLoggedModel(ctx, m, params, tags) }); err != nil {
		return LoggedModel{}, err
	}
	return t.GetLoggedModel(ctx, id)
}

func newModelID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", quant.Errorf(quant.Failed, "make an id: %w", err)
	}
	return "m-" + hex.EncodeToString(b[:]), nil
}

// validModelName refuses a name in the reference server's words; "" is one that is
// to be made.
func validModelName(name string) error {
	if strings.ContainsAny(name, `/:.%"'`) {
		return invalidf("Invalid model name (%s) provided. Model name must be a non-empty string and cannot contain the following characters: ('/', ':', '.', '%%', '\"', \"'\")", pythonText(name))
	}
	return atMost("name", name, maxDatasetName)
}

// pythonText is a text as Python's repr shows it, for messages.
func pythonText(s string) string {
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		return `"` + s + `"`
	}
	return "'" + strings.ReplaceAll(s, "'", `\'`) + "'"
}

func (t *Tracking) modelRecords(id string, params []Param, tags []Tag) (p []quant.LoggedModelParam, g []quant.LoggedModelTag) {
	for _, one := range params {
		p = append(p, quant.LoggedModelParam{ModelID: id, Name: t.mask(one.Key), Value: t.maskValue(one.Key, one.Value)})
	}
	for _, one := range tags {
		g = append(g, quant.LoggedModelTag{ModelID: id, Name: t.mask(one.Key), Value: t.maskValue(one.Key, one.Value)})
	}
	return p, g
}

func noLoggedModel(id string) error {
	return notFoundf("Logged model with ID '%s' not found.", id)
}

// GetLoggedModel returns a model that is not deleted; NotFound.
func (t *Tracking) GetLoggedModel(ctx context.Context, id string) (LoggedModel, error) {
	return t.loggedModel(ctx, id, false)
}

// loggedModel is GetLoggedModel, which with deleted also finds a deleted one: its
// files stay.
func (t *Tracking) loggedModel(ctx context.Context, id string, deleted bool) (LoggedModel, error) {
	list, err := t.Store.LoggedModelsOf(ctx, []string{id}, deleted)
	if err != nil {
		return LoggedModel{}, err
	}
	if len(list) == 0 {
		return LoggedModel{}, noLoggedModel(id)
	}
	told, err := t.told(ctx, list)
	if err != nil {
		return LoggedModel{}, err
	}
	return told[0], nil
}

func (t *Tracking) told(ctx context.Context, list []metastore.LoggedModelDetail) ([]LoggedModel, error) {
	models := make([]LoggedModel, len(list))
	for i, d := range list {
		number, err := t.experimentNumber(ctx, d.ExperimentID)
		if err != nil {
			return nil, err
		}
		m := LoggedModel{
			ID: d.ModelID, Experiment: number, Name: d.Name, Root: artifactScheme + modelFolder(number, d.ModelID), Status: d.Status,
			Message: string(d.StatusMessage), Type: string(d.ModelType), SourceRunID: string(d.SourceRunID), Created: d.CreatedAt, Updated: d.UpdatedAt,
		}
		for _, tag := range d.Tags {
			m.Tags = append(m.Tags, Tag{tag.Name, tag.Value})
		}
		for _, p := range d.Params {
			m.Params = append(m.Params, Param{p.Name, p.Value})
		}
		for _, metric := range d.Metrics {
			value := math.NaN()
			if metric.Value != nil {
				value = *metric.Value
			}
			m.Metrics = append(m.Metrics, ModelMetric{
				ModelID: d.ModelID, RunID: metric.RunID, Name: metric.Name, Value: value, At: metric.LoggedAt, Step: metric.Step,
				DatasetName: string(metric.DatasetName), DatasetDigest: string(metric.DatasetDigest),
			})
		}
		models[i] = m
	}
	return models, nil
}

// FinishLoggedModel says how the logging of a model ended. NotFound.
func (t *Tracking) FinishLoggedModel(ctx context.Context, id string, status quant.LoggedModelStatus) (LoggedModel, error) {
	err := t.changeModel(ctx, id, func(m *quant.LoggedModel) { m.Status = status })
	if err != nil {
		return LoggedModel{}, err
	}
	return t.GetLoggedModel(ctx, id)
}

// DeleteLoggedModel hides a model for good; its files stay. NotFound.
func (t *Tracking) DeleteLoggedModel(ctx context.Context, id string) error {
	return t.changeModel(ctx, id, func(m *quant.LoggedModel) { m.DeletedAt = m.UpdatedAt })
}

func (t *Tracking) changeModel(ctx context.Context, id string, change func(*quant.LoggedModel)) error {
	now := t.now()
	return modelGone(id, t.Store.ChangeLoggedModel(ctx, id, func(m *quant.LoggedModel) {
		m.UpdatedAt = now
		change(m)
	}))
}

func modelGone(id string, err error) error {
	if errors.Is(err, quant.NotFound) {
		return noLoggedModel(id)
	}
	return err
}

// SetLoggedModelTags stores or replaces tags. NotFound.
func (t *Tracking) SetLoggedModelTags(ctx context.Context, id string, tags []Tag) error {
	if _, err := t.GetLoggedModel(ctx, id); err != nil {
		return err
	}
	_, rows := t.modelRecords(id, nil, tags)
	return modelGone(id, t.Store.LogLoggedModel(ctx, nil, rows, nil))
}

// DeleteLoggedModelTag takes a tag away; NotFound for the model and for the tag.
func (t *Tracking) DeleteLoggedModelTag(ctx context.Context, id, name string) error {
	if _, err := t.GetLoggedModel(ctx, id); err != nil {
		return err
	}
	err := t.Store.DeleteLoggedModelTag(ctx, id, name)
	if errors.Is(err, quant.NotFound) {
		return notFoundf("No tag with key %s found for model with ID %s.", pythonText(name), pythonText(id))
	}
	return err
}

// LogLoggedModelParams adds params. NotFound; Invalid for a param that has another
// value.
func (t *Tracking) LogLoggedModelParams(ctx context.Context, id string, params []Param) error {
	if _, err := t.GetLoggedModel(ctx, id); err != nil {
		return err
	}
	rows, _ := t.modelRecords(id, params, nil)
	return modelGone(id, t.Store.LogLoggedModel(ctx, rows, nil, nil))
}

// logOfModels adds those metrics of a run that are of logged models to these.
func (t *Tracking) logOfModels(ctx context.Context, clientID string, metrics []Metric) error {
	var of []ModelMetric
	for _, m := range metrics {
		if m.ModelID == "" {
			continue
		}
		at, err := timeOf("timestamp", m.Timestamp)
		if err != nil {
			return err
		}
		of = append(of, ModelMetric{
			ModelID: m.ModelID, RunID: clientID, Name: m.Key, Value: m.Value, At: at, Step: m.Step, DatasetName: m.DatasetName, DatasetDigest: m.DatasetDigest,
		})
	}
	if of == nil {
		return nil
	}
	if _, err := t.findActive(ctx, clientID); err != nil {
		return err
	}
	return t.LogModelMetrics(ctx, of)
}

// LogModelMetrics adds what a run measured of logged models: the metrics of a
// client's batch that name a model. Infinities are kept as the greatest numbers.
// NotFound for a model.
func (t *Tracking) LogModelMetrics(ctx context.Context, metrics []ModelMetric) error {
	var rows []quant.LoggedModelMetric
	for _, m := range metrics {
		row := quant.LoggedModelMetric{
			ModelID: m.ModelID, Name: t.mask(m.Name), LoggedAt: m.At, Step: m.Step, RunID: m.RunID,
			DatasetName: quant.Text(m.DatasetName), DatasetDigest: quant.Text(m.DatasetDigest),
		}
		if !math.IsNaN(m.Value) {
			v := max(-math.MaxFloat64, min(math.MaxFloat64, m.Value))
			row.Value = &v
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil
	}
	err := t.writes.do(ctx, func(ctx context.Context) error { return t.Store.LogLoggedModel(ctx, nil, nil, rows) })
	if errors.Is(err, quant.NotFound) {
		for _, m := range metrics {
			if _, e := t.GetLoggedModel(ctx, m.ModelID); e != nil {
				return e
			}
		}
	}
	return err
}

// ModelOrder is a key of an order of logged models.
type ModelOrder struct {
	Field                      string // an attribute, or metrics.NAME
	Desc                       bool
	DatasetName, DatasetDigest string
}

// ModelSearch says which logged models to find.
type ModelSearch struct {
	Experiments []string
	Filter      string
	Datasets    []metastore.DatasetFilter
	Order       []ModelOrder
	Offset      int
	Limit       int // 0: 50
}

// defaultLoggedModels is how many logged models a page has.
const defaultLoggedModels = 50

// SearchLoggedModels finds models, and tells whether there are more. Invalid for a
// filter or an order that cannot be read.
func (t *Tracking) SearchLoggedModels(ctx context.Context, s ModelSearch) ([]LoggedModel, bool, error) {
	where, err := loggedConditions(s.Filter)
	if err != nil {
		return nil, false, err
	}
	known, err := t.experimentIDs(ctx, s.Experiments)
	if err != nil {
		return nil, false, err
	}
	q := metastore.LoggedModelSearch{Where: where, Datasets: s.Datasets, Offset: s.Offset, Limit: s.Limit}
	for _, e := range known {
		q.ExperimentIDs = append(q.ExperimentIDs, e.id)
	}
	if q.Limit <= 0 {
		q.Limit = defaultLoggedModels
	}
	for _, d := range s.Datasets {
		if d.Name == "" {
			return nil, false, invalidf("`dataset_name` in the `datasets` clause must be specified.")
		}
	}
	if err := checkOrders(len(s.Order)); err != nil {
		return nil, false, err
	}
	for _, o := range s.Order {
		key := metastore.ModelOrder{Desc: o.Desc, DatasetName: o.DatasetName, DatasetDigest: o.DatasetDigest}
		of, name, dotted := strings.Cut(o.Field, ".")
		switch {
		case !dotted:
			attribute, ok := loggedAttributes()[o.Field]
			if !ok {
				return nil, false, invalidf("Invalid order by field name: %s", o.Field)
			}
			key.Of, key.Name = metastore.AttributeField, attribute
		case of != "metrics":
			return nil, false, invalidf("Invalid order by field name: %s. Only metrics are supported.", o.Field)
		default:
			key.Of, key.Name = metastore.MetricField, name
		}
		q.Order = append(q.Order, key)
	}
	list, more, err := t.Store.SearchLoggedModels(ctx, q)
	if err != nil {
		return nil, false, err
	}
	told, err := t.told(ctx, list)
	return told, more, err
}

// loggedAttributes are the attributes of logged models, by the names that clients
// use.
func loggedAttributes() map[string]string {
	return map[string]string{
		"name": "name", "model_id": "model_id", "model_type": "model_type", "status": "status", "source_run_id": "source_run_id",
		"experiment_id": "experiment_id", "creation_timestamp": "created_at", "creation_time": "created_at", "creation_timestamp_ms": "created_at",
		"last_updated_timestamp": "updated_at", "last_updated_time": "updated_at", "last_updated_timestamp_ms": "updated_at",
	}
}

// loggedConditions reads a filter of logged models.
func loggedConditions(filter string) ([]metastore.ModelCondition, error) {
	list, err := parseModelFilter(filter)
	if err != nil {
		return nil, err
	}
	var where []metastore.ModelCondition
	for _, c := range list {
		one := metastore.ModelCondition{Op: c.op}
		switch c.of {
		case "", "attributes":
			name, ok := loggedAttributes()[c.key]
			if !ok {
				return nil, invalidf("Invalid attribute key '%s' specified.", c.key)
			}
			one.Of, one.Name = metastore.AttributeField, name
		case "metrics":
			one.Of, one.Name = metastore.MetricField, c.key
		case "params":
			one.Of, one.Name = metastore.ParamField, c.key
		case "tags":
			one.Of, one.Name = metastore.TagField, c.key
		default:
			return nil, invalidf("Invalid entity type: %s. Expected one of ['attributes', 'metrics', 'params', 'tags'].", pythonText(c.of))
		}
		number := one.Of == metastore.MetricField || strings.HasSuffix(one.Name, "_at") && one.Of == metastore.AttributeField
		ops := []string{"=", "!=", "LIKE", "ILIKE", "IN", "NOT IN"}
		if number {
			ops = []string{"<", "<=", ">", ">=", "=", "!="}
		}
		if !slices.Contains(ops, c.op) {
			return nil, invalidf("Invalid comparison operator for %s: %s. Expected one of %s.", c.named(), pythonText(c.op), strings.Join(ops, ", "))
		}
		switch {
		case number:
			v, err := strconv.ParseFloat(c.text, 64)
			if err != nil || c.list != nil {
				return nil, invalidf("Expected a number for %s, got %s", c.named(), c.written)
			}
			if one.Value = v; one.Of == metastore.AttributeField {
				one.Value = int64(v)
			}
		case c.list != nil:
			one.Value = c.list
		default:
			one.Value = c.text
		}
		if (c.list != nil) != strings.HasSuffix(c.op, "IN") {
			return nil, invalidf("Invalid comparison: %s does not compare with %s", c.op, c.written)
		}
		where = append(where, one)
	}
	return where, nil
}

// historyTag is the tag of a run in which older clients keep the models they logged.
const historyTag = "mlflow.log-model.history"

// RecordModel adds the document of a model to the history of a run. Errors: NotFound;
// Invalid for what is no document of a model.
func (t *Tracking) RecordModel(ctx context.Context, clientID, document string) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(document), &fields); err != nil {
		return invalidf("Malformed model info. \n %s \n is not a valid JSON.", quant.Clip(document, 200))
	}
	var absent []string
	for _, name := range []string{"artifact_path", "flavors", "run_id", "utc_time_created"} {
		if _, given := fields[name]; !given {
			absent = append(absent, "'"+name+"'")
		}
	}
	if absent != nil {
		return invalidf("Model json is missing mandatory fields: {%s}", strings.Join(absent, ", "))
	}
	r, err := t.GetRun(ctx, clientID)
	if err != nil {
		return err
	}
	var history []json.RawMessage
	for _, tag := range r.Tags {
		if tag.Key != historyTag {
			continue
		}
		if err := json.Unmarshal([]byte(tag.Value), &history); err != nil {
			return invalidf("the tag %s of run %s is no list of models", historyTag, clientID)
		}
	}
	value, err := json.Marshal(append(history, json.RawMessage(document)))
	if err != nil {
		return err
	}
	return t.SetTag(ctx, clientID, Tag{historyTag, string(value)})
}
