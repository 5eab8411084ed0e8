package tracking

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"quant"
	"quant/internal/metastore"
)

// Metric is a point as a client says it.
type Metric struct {
	Key       string
	Value     float64 // NaN and infinities included
	Timestamp int64   // milliseconds
	Step      int64
	// ModelID is the logged model that was measured; "": none, or not known.
	ModelID, DatasetName, DatasetDigest string
}

// Param is a param as a client says it.
type Param struct{ Key, Value string }

// LogBatch is what a client logs at once.
type LogBatch struct {
	Metrics []Metric
	Params  []Param
	Tags    []Tag
}

// indexed is the path of an element of a list.
func indexed(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

func validTag(tag Tag, path string) error {
	if err := validName(joinPath(path, "key"), joinPath(path, "key"), tag.Key); err != nil {
		return err
	}
	return validText(joinPath(path, "value"), tag.Value, maxTagValue)
}

func validParam(p Param, path string) error {
	if err := validName("Param key", joinPath(path, "key"), p.Key); err != nil {
		return err
	}
	return validText("Param value", p.Value, maxParamValue)
}

func joinPath(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}

// points makes the points of a batch, whose names are few and whose times are often
// the same: each name is examined once, and a time once while it lasts.
type points struct {
	names  map[string]bool // those that are valid
	millis int64           // of the time before
	at     quant.Time      // zero: there was none
}

// of is the metric as it is stored; nan: it is no number. i is its place in the
// batch, below 0: it is alone.
func (c *points) of(m *Metric, i int) (p quant.MetricPoint, nan bool, err error) {
	known := c.names[m.Key]
	if known && m.Timestamp == c.millis && m.Step != quant.AutoStep {
		p.LoggedAt = c.at
	} else {
		path := ""
		if i >= 0 {
			path = indexed("metrics", i)
		}
		if p.LoggedAt, err = validPoint(m, path); err != nil {
			return p, false, err
		}
		c.millis, c.at = m.Timestamp, p.LoggedAt
		if !known {
			if c.names == nil {
				c.names = map[string]bool{}
			}
			c.names[m.Key] = true
		}
	}
	p.Name, p.Step, p.Value = m.Key, m.Step, m.Value
	switch {
	case math.IsNaN(m.Value):
		p.Value = 0
		return p, true, nil
	case math.IsInf(m.Value, 1):
		p.Value = math.MaxFloat64
	case math.IsInf(m.Value, -1):
		p.Value = -math.MaxFloat64
	}
	return p, false, nil
}

// validPoint examines all of a metric but its value, and returns its time.
func validPoint(m *Metric, path string) (at quant.Time, err error) {
	if err := validName("Metric name", joinPath(path, "name"), m.Key); err != nil {
		return at, err
	}
	if m.Timestamp < 0 || m.Timestamp > lastMillis {
		return at, invalidValue(joinPath(path, "timestamp"), m.Timestamp,
			fmt.Sprintf("metric '%s' (value=%v). Timestamp must be a nonnegative long (64-bit integer) of milliseconds before the year 10000", m.Key, m.Value))
	}
	if m.Step == quant.AutoStep {
		return at, invalidValue(joinPath(path, "step"), m.Step, "it is the lowest integer, which has a meaning of its own")
	}
	return timeOf("timestamp", m.Timestamp)
}

// LogMetric stores a point.
func (t *Tracking) LogMetric(ctx context.Context, clientID string, m Metric) error {
	p, nan, err := (&points{}).of(&m, -1)
	if err != nil {
		return err
	}
	var b metastore.ClientBatch
	if nan {
		b.NaNs = []quant.MetricPoint{p}
	} else {
		b.Metrics = []quant.MetricPoint{p}
	}
	if err := t.logOfModels(ctx, clientID, []Metric{m}); err != nil {
		return err
	}
	return t.log(ctx, clientID, b)
}

// LogParam stores a param, which may be said again but not changed.
func (t *Tracking) LogParam(ctx context.Context, clientID string, p Param) error {
	if err := validParam(p, ""); err != nil {
		return err
	}
	err := t.log(ctx, clientID, metastore.ClientBatch{Batch: metastore.Batch{Params: []quant.Param{{Name: p.Key, Value: p.Value}}}})
	if errors.Is(err, quant.Conflict) {
		if old, known := t.paramOf(ctx, clientID, p.Key); known {
			return invalidf("Changing param values is not allowed. Param with key='%s' was already logged with value='%s' for run ID='%s'. Attempted logging new value '%s'.",
				p.Key, old, clientID, t.maskValue(p.Key, p.Value))
		}
	}
	return err
}

// paramOf is the value of a param of a run.
func (t *Tracking) paramOf(ctx context.Context, clientID, key string) (value string, known bool) {
	r, err := t.find(ctx, clientID)
	if err != nil {
		return "", false
	}
	params, err := t.Store.Params(ctx, r.RunID)
	if err != nil {
		return "", false
	}
	key = t.mask(key)
	for _, p := range params {
		if p.Name == key {
			return p.Value, true
		}
	}
	return "", false
}

// SetTag stores or replaces a tag.
func (t *Tracking) SetTag(ctx context.Context, clientID string, tag Tag) error {
	if err := validTag(tag, ""); err != nil {
		return err
	}
	return t.log(ctx, clientID, metastore.ClientBatch{Batch: metastore.Batch{Tags: []quant.Tag{{Name: tagName(tag.Key), Value: tag.Value}}}})
}

// DeleteTag takes a tag away; NotFound if there is none.
func (t *Tracking) DeleteTag(ctx context.Context, clientID, key string) error {
	r, err := t.findActive(ctx, clientID)
	if err != nil {
		return err
	}
	name := t.mask(tagName(key))
	err = t.writes.do(ctx, func(ctx context.Context) error { return t.Store.DeleteTag(ctx, r.RunID, name) })
	if errors.Is(err, quant.NotFound) {
		err = notFoundf("No tag with name: %s in run with id %s", quant.Clip(key, 250), clientID)
	}
	return err
}

// Log stores a batch, all of it or nothing.
func (t *Tracking) Log(ctx context.Context, clientID string, b LogBatch) error {
	rows := metastore.ClientBatch{}
	rows.Metrics = make([]quant.MetricPoint, 0, len(b.Metrics))
	var made points
	for i := range b.Metrics {
		p, nan, err := made.of(&b.Metrics[i], i)
		if err != nil {
			return err
		}
		if nan {
			rows.NaNs = append(rows.NaNs, p)
		} else {
			rows.Metrics = append(rows.Metrics, p)
		}
	}
	for i, p := range b.Params {
		if err := validParam(p, indexed("params", i)); err != nil {
			return err
		}
		rows.Params = append(rows.Params, quant.Param{Name: p.Key, Value: p.Value})
	}
	for i, tag := range b.Tags {
		if err := validTag(tag, indexed("tags", i)); err != nil {
			return err
		}
		rows.Tags = append(rows.Tags, quant.Tag{Name: tagName(tag.Key), Value: tag.Value})
	}
	if err := withinLimits(b); err != nil {
		return err
	}
	if len(b.Metrics)+len(b.Params)+len(b.Tags) == 0 {
		_, err := t.findActive(ctx, clientID)
		return err
	}
	if err := t.logOfModels(ctx, clientID, b.Metrics); err != nil {
		return err
	}
	err := t.log(ctx, clientID, rows)
	if errors.Is(err, quant.Conflict) {
		if said := t.changedParams(ctx, clientID, b.Params); said != "" {
			return invalidf("Changing param values is not allowed. Params were already logged='[%s]' for run ID='%s'.", said, clientID)
		}
	}
	return err
}

// withinLimits holds a batch to the limits of MLflow's server.
func withinLimits(b LogBatch) error {
	for _, one := range []struct {
		noun    string
		n, most int
	}{
		{"metrics", len(b.Metrics), maxBatchMetrics},
		{"params", len(b.Params), maxBatchParams},
		{"tags", len(b.Tags), maxBatchTags},
		{"metrics, params, and tags", len(b.Metrics) + len(b.Params) + len(b.Tags), maxBatchAll},
	} {
		if one.n > one.most {
			return invalidf("A batch logging request can contain at most %d %s. Got %d %s. Please split up %s across multiple requests and try again.",
				one.most, one.noun, one.n, one.noun, one.noun)
		}
	}
	seen, twice := map[string]bool{}, []string(nil)
	for _, p := range b.Params {
		if seen[p.Key] {
			twice = append(twice, "'"+p.Key+"'")
		}
		seen[p.Key] = true
	}
	if twice != nil {
		return invalidf("Duplicate parameter keys have been submitted: [%s]. Please ensure the request contains only one param value per param key.", strings.Join(twice, ", "))
	}
	return nil
}

// changedParams names the params of a batch that the run has with other values.
func (t *Tracking) changedParams(ctx context.Context, clientID string, params []Param) string {
	var said []string
	for _, p := range params {
		value := t.maskValue(p.Key, p.Value)
		if old, known := t.paramOf(ctx, clientID, p.Key); known && old != value {
			said = append(said, fmt.Sprintf("{'key': '%s', 'old_value': '%s', 'new_value': '%s'}", p.Key, old, value))
		}
	}
	return quant.Clip(strings.Join(said, ", "), 4000)
}

// log stores a batch of a run, masked.
func (t *Tracking) log(ctx context.Context, clientID string, b metastore.ClientBatch) error {
	// The run is the store's to find; until then the entries name none of quant's.
	b.Batch = t.Registry.Masked(clientID, b.Batch)
	b.NaNs = t.Registry.Masked(clientID, metastore.Batch{Metrics: b.NaNs}).Metrics
	b.SeenAt = t.life.see(clientID, t.now())
	err := t.writes.do(ctx, func(ctx context.Context) error { return t.Store.LogClient(ctx, clientID, b) })
	switch {
	case errors.Is(err, quant.NotFound):
		return noRun(clientID)
	case errors.Is(err, quant.Conflict):
		if r, e := t.find(ctx, clientID); e == nil && !r.DeletedAt.IsZero() {
			return notActive(clientID)
		}
	}
	return err
}
