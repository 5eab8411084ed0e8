package mlflow

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"quant"
	"quant/internal/portable/sqlitefile"
)

// database is a store in a SQLite file. What a run has but its points is read as it is
// at one moment; a program that writes the file is never kept waiting for longer.
type database struct {
	file *sqlitefile.File
	note *notes
}

func openDatabase(ctx context.Context, name string, n *notes) (source, error) {
	file, err := sqlitefile.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	d := &database{file, n}
	if !file.Has("alembic_version") || !file.Has("experiments", "experiment_id", "name") || !file.Has("runs", "run_uuid", "status", "experiment_id") {
		d.close()
		return nil, quant.Errorf(quant.Invalid, "%s is no store of MLflow: it does not have its tables", name).
			WithHint("name MLflow's SQLite file (mlflow.db), or its folder (mlruns)")
	}
	return d, nil
}

func (d *database) close() { _ = d.file.Close() }

// reading reads the columns of a row and keeps the first error.
type reading struct {
	sqlitefile.Row
	err error
}

func (r *reading) text(column string) string {
	s, err := r.Text(column)
	r.err = or(r.err, err)
	return s
}

func (r *reading) int(column string) int64 {
	n, err := r.Int(column)
	r.err = or(r.err, err)
	return n
}

// keyed names a row of a table, in errors.
func keyed(err error, key string) error {
	if err == nil || key == "" {
		return err
	}
	return fmt.Errorf("%q: %w", key, err)
}

// pairs reads names and values. What cannot be read is noted.
func (d *database) pairs(ctx context.Context, object, table, key, value string, where ...sqlitefile.Equal) ([]pair, error) {
	var out []pair
	err := d.file.Each(ctx, sqlitefile.Query{Table: table, Columns: []string{key, value}, Where: where, Order: []string{key}}, func(row sqlitefile.Row) error {
		r := reading{Row: row}
		p := pair{r.text(key), r.text(value)}
		if r.err != nil {
			d.note.add(Note{Object: object, Why: fmt.Sprintf("left out of its %s: %v", table, keyed(r.err, p.Key))})
			return nil
		}
		out = append(out, p)
		return nil
	})
	return out, err
}

// each collects the rows of a query before fn is called, so that fn may read the file.
func each[T any](ctx context.Context, d *database, q sqlitefile.Query, read func(*reading) (T, string), fn func(T) error) error {
	var list []T
	err := d.file.Each(ctx, q, func(row sqlitefile.Row) error {
		r := &reading{Row: row}
		one, object := read(r)
		if r.err != nil {
			d.note.skip(object, r.err)
			return nil
		}
		list = append(list, one)
		return nil
	})
	if err != nil {
		return err
	}
	for _, one := range list {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := fn(one); err != nil {
			return err
		}
	}
	return nil
}

func (d *database) eachExperiment(ctx context.Context, fn func(experiment) error) error {
	q := sqlitefile.Query{
		Table: "experiments", Order: []string{"experiment_id"},
		Columns: []string{"experiment_id", "name", "artifact_location", "lifecycle_stage", "creation_time", "last_update_time"},
	}
	return each(ctx, d, q, func(r *reading) (experiment, string) {
		e := experiment{
			ID: r.text("experiment_id"), Name: r.text("name"), ArtifactLocation: r.text("artifact_location"),
			Deleted: r.text("lifecycle_stage") == "deleted", Created: r.int("creation_time"), Updated: r.int("last_update_time"),
		}
		if e.ID == "" || e.Name == "" {
			r.err = or(r.err, errors.New("it has no id or no name"))
		}
		return e, "experiment " + e.ID
	}, func(e experiment) (err error) {
		if e.Tags, err = d.pairs(ctx, "experiment "+e.ID, "experiment_tags", "key", "value", sqlitefile.Equal{Column: "experiment_id", Value: whole(e.ID)}); err != nil {
			return err
		}
		return fn(e)
	})
}

// whole is an id as its column has it.
func whole(id string) any {
	if n, err := strconv.ParseInt(id, 10, 64); err == nil {
		return n
	}
	return id
}

func (d *database) eachRun(ctx context.Context, fn func(run) error) error {
	var ids []string
	err := d.file.Each(ctx, sqlitefile.Query{Table: "runs", Columns: []string{"run_uuid"}}, func(row sqlitefile.Row) error {
		id, err := row.Text("run_uuid")
		if err != nil || id == "" {
			d.note.skip("a run", or(err, errors.New("it has no id")))
			return nil
		}
		ids = append(ids, id)
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var one *run
		q := sqlitefile.Query{Table: "runs", Where: []sqlitefile.Equal{{Column: "run_uuid", Value: id}}, Columns: []string{
			"run_uuid", "name", "source_name", "entry_point_name", "user_id", "status", "start_time", "end_time", "source_version",
			"lifecycle_stage", "artifact_uri", "experiment_id", "deleted_time",
		}}
		err := d.file.Together(ctx, func() error {
			return each(ctx, d, q, func(r *reading) (run, string) { return readRun(r), "run " + id }, func(r run) error {
				one = &r
				return d.records(ctx, one)
			})
		})
		if err != nil {
			return err
		}
		if one == nil {
			continue // noted, or gone meanwhile
		}
		if err := fn(*one); err != nil {
			return err
		}
	}
	return nil
}

func readRun(r *reading) run {
	one := run{
		ID: r.text("run_uuid"), ExperimentID: r.text("experiment_id"), Name: r.text("name"), User: r.text("user_id"),
		Start: r.int("start_time"), End: r.int("end_time"), Deleted: r.text("lifecycle_stage") == "deleted", DeletedAt: r.int("deleted_time"),
		ArtifactURI: r.text("artifact_uri"),
	}
	var err error
	one.Status, err = statusOf(r.text("status"))
	r.err = or(r.err, err)
	one.Tags = withSource(nil, "", r.text("source_name"), r.text("entry_point_name"), r.text("source_version"))
	return one
}

// records reads what a run has beside its row.
func (d *database) records(ctx context.Context, r *run) (err error) {
	object, of := "run "+r.ID, sqlitefile.Equal{Column: "run_uuid", Value: r.ID}
	if r.Params, err = d.pairs(ctx, object, "params", "key", "value", of); err != nil {
		return err
	}
	old := r.Tags
	if r.Tags, err = d.pairs(ctx, object, "tags", "key", "value", of); err != nil {
		return err
	}
	r.Tags = withSource(r.Tags, r.Name, valueOf(old, "mlflow.source.name"), valueOf(old, "mlflow.project.entryPoint"), valueOf(old, "mlflow.source.git.commit"))
	type link struct{ id, source, kind, target string }
	q := sqlitefile.Query{
		Table: "inputs", Columns: []string{"input_uuid", "source_type", "source_id"},
		Where: []sqlitefile.Equal{{Column: "destination_type", Value: "RUN"}, {Column: "destination_id", Value: r.ID}},
	}
	err = each(ctx, d, q, func(row *reading) (link, string) {
		return link{row.text("input_uuid"), row.text("source_id"), row.text("source_type"), ""}, object + ", an input"
	}, func(l link) error { return d.input(ctx, object, l.id, l.kind, l.source, r) })
	if err != nil {
		return err
	}
	q = sqlitefile.Query{
		Table: "inputs", Columns: []string{"destination_type", "destination_id", "step"}, Where: []sqlitefile.Equal{{Column: "source_id", Value: r.ID}},
	}
	return d.file.Each(ctx, q, func(row sqlitefile.Row) error {
		l := reading{Row: row}
		kind, target, step := l.text("destination_type"), l.text("destination_id"), l.int("step")
		switch {
		case l.err != nil:
			d.note.add(Note{Object: object, Why: "left out of its models: " + l.err.Error()})
		case kind == "MODEL_OUTPUT":
			r.ModelOutputs = append(r.ModelOutputs, modelOutput{target, step})
		case kind == "MODEL_INPUT":
			r.ModelInputs = append(r.ModelInputs, target)
		}
		return nil
	})
}

func (d *database) input(ctx context.Context, object, id, kind, source string, r *run) error {
	if kind != "DATASET" {
		d.note.add(Note{Object: object, Why: fmt.Sprintf("left out of its inputs: a %s", kind)})
		return nil
	}
	tags, err := d.pairs(ctx, object, "input_tags", "name", "value", sqlitefile.Equal{Column: "input_uuid", Value: id})
	if err != nil {
		return err
	}
	q := sqlitefile.Query{Table: "datasets", Where: []sqlitefile.Equal{{Column: "dataset_uuid", Value: source}}, Columns: []string{
		"name", "digest", "dataset_source_type", "dataset_source", "dataset_schema", "dataset_profile",
	}}
	found := false
	err = each(ctx, d, q, func(row *reading) (dataset, string) {
		return dataset{
			row.text("name"), row.text("digest"), row.text("dataset_source_type"), row.text("dataset_source"),
			row.text("dataset_schema"), row.text("dataset_profile"),
		}, object + ", dataset " + source
	}, func(data dataset) error {
		found = true
		r.Inputs = append(r.Inputs, input{data, tags})
		return nil
	})
	if err == nil && !found {
		d.note.add(Note{Object: object, Why: fmt.Sprintf("left out of its inputs: there is no dataset %s", source)})
	}
	return err
}

func valueOf(list []pair, key string) string {
	for _, p := range list {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

func (d *database) eachPoint(ctx context.Context, r run, fn func(point) error) error {
	q := sqlitefile.Query{
		Table: "metrics", Columns: []string{"key", "value", "timestamp", "step", "is_nan"}, Where: []sqlitefile.Equal{{Column: "run_uuid", Value: r.ID}},
	}
	return d.file.Each(ctx, q, func(row sqlitefile.Row) error {
		c := reading{Row: row}
		p := point{Key: c.text("key"), Timestamp: c.int("timestamp"), Step: c.int("step")}
		nan := c.int("is_nan")
		var err error
		p.Value, err = row.Real("value")
		if err = or(c.err, err); err != nil {
			d.note.add(Note{Object: "run " + r.ID, Why: fmt.Sprintf("left out of its metrics: %v", keyed(err, p.Key))})
			return nil
		}
		p.Value = fromSQL(p.Value, nan != 0)
		return fn(p)
	})
}

// fromSQL is a value of a metric as it was logged: MLflow keeps what is infinite as the
// greatest finite number.
func fromSQL(v float64, nan bool) float64 {
	switch {
	case nan:
		return math.NaN()
	case v == math.MaxFloat64:
		return math.Inf(1)
	case v == -math.MaxFloat64:
		return math.Inf(-1)
	}
	return v
}

func (d *database) eachLoggedModel(ctx context.Context, fn func(loggedModel) error) error {
	q := sqlitefile.Query{Table: "logged_models", Columns: []string{
		"model_id", "experiment_id", "name", "artifact_location", "creation_timestamp_ms", "last_updated_timestamp_ms", "status",
		"lifecycle_stage", "model_type", "source_run_id", "status_message",
	}}
	return each(ctx, d, q, func(r *reading) (loggedModel, string) {
		m := loggedModel{
			ID: r.text("model_id"), ExperimentID: r.text("experiment_id"), Name: r.text("name"), ArtifactLocation: r.text("artifact_location"),
			Created: r.int("creation_timestamp_ms"), Updated: r.int("last_updated_timestamp_ms"), StatusMessage: r.text("status_message"),
			ModelType: r.text("model_type"), SourceRunID: r.text("source_run_id"), Deleted: r.text("lifecycle_stage") == "deleted",
		}
		var err error
		m.Status, err = modelStatus(r.text("status"))
		r.err = or(r.err, err)
		if m.ID == "" {
			r.err = or(r.err, errors.New("it has no id"))
		}
		return m, "logged model " + m.ID
	}, func(m loggedModel) (err error) {
		object, of := "logged model "+m.ID, sqlitefile.Equal{Column: "model_id", Value: m.ID}
		if m.Params, err = d.pairs(ctx, object, "logged_model_params", "param_key", "param_value", of); err != nil {
			return err
		}
		if m.Tags, err = d.pairs(ctx, object, "logged_model_tags", "tag_key", "tag_value", of); err != nil {
			return err
		}
		q := sqlitefile.Query{Table: "logged_model_metrics", Where: []sqlitefile.Equal{of}, Columns: []string{
			"metric_name", "metric_timestamp_ms", "metric_step", "metric_value", "run_id", "dataset_name", "dataset_digest",
		}}
		err = d.file.Each(ctx, q, func(row sqlitefile.Row) error {
			r := reading{Row: row}
			one := modelMetric{
				point: point{Key: r.text("metric_name"), Timestamp: r.int("metric_timestamp_ms"), Step: r.int("metric_step")},
				RunID: r.text("run_id"), DatasetName: r.text("dataset_name"), DatasetDigest: r.text("dataset_digest"),
			}
			v, err := row.Real("metric_value")
			if err = or(r.err, err); err != nil {
				d.note.add(Note{Object: object, Why: "left out of its metrics: " + err.Error()})
				return nil
			}
			one.Value = fromSQL(v, row.Null("metric_value"))
			m.Metrics = append(m.Metrics, one)
			return nil
		})
		if err != nil {
			return err
		}
		return fn(m)
	})
}

func (d *database) eachRegisteredModel(ctx context.Context, fn func(registeredModel) error) error {
	q := sqlitefile.Query{Table: "registered_models", Order: []string{"name"}, Columns: []string{"name", "creation_time", "last_updated_time", "description"}}
	return each(ctx, d, q, func(r *reading) (registeredModel, string) {
		m := registeredModel{Name: r.text("name"), Description: r.text("description"), Created: r.int("creation_time"), Updated: r.int("last_updated_time")}
		if m.Name == "" {
			r.err = or(r.err, errors.New("it has no name"))
		}
		return m, "registered model " + m.Name
	}, func(m registeredModel) (err error) {
		object, of := "registered model "+m.Name, sqlitefile.Equal{Column: "name", Value: m.Name}
		if m.Tags, err = d.pairs(ctx, object, "registered_model_tags", "key", "value", of); err != nil {
			return err
		}
		q := sqlitefile.Query{Table: "registered_model_aliases", Columns: []string{"alias", "version"}, Where: []sqlitefile.Equal{of}, Order: []string{"alias"}}
		err = each(ctx, d, q, func(r *reading) (alias, string) {
			return alias{r.text("alias"), r.int("version")}, object + ", an alias"
		},
			func(a alias) error { m.Aliases = append(m.Aliases, a); return nil })
		if err != nil {
			return err
		}
		q = sqlitefile.Query{Table: "model_versions", Where: []sqlitefile.Equal{of}, Order: []string{"version"}, Columns: []string{
			"version", "creation_time", "last_updated_time", "description", "user_id", "current_stage", "source", "run_id", "status",
			"status_message", "run_link", "model_id",
		}}
		err = each(ctx, d, q, func(r *reading) (modelVersion, string) {
			v := modelVersion{
				Version: r.int("version"), Created: r.int("creation_time"), Updated: r.int("last_updated_time"), Description: r.text("description"),
				User: r.text("user_id"), Stage: r.text("current_stage"), Source: r.text("source"), RunID: r.text("run_id"),
				RunLink: r.text("run_link"), ModelID: r.text("model_id"), Status: r.text("status"), StatusDetail: r.text("status_message"),
			}
			return v, fmt.Sprintf("%s, version %d", object, v.Version)
		}, func(v modelVersion) (err error) {
			v.Tags, err = d.pairs(ctx, object, "model_version_tags", "key", "value", of, sqlitefile.Equal{Column: "version", Value: v.Version})
			m.Versions = append(m.Versions, v)
			return err
		})
		if err != nil {
			return err
		}
		return fn(m)
	})
}

// otherTables are what MLflow keeps that has no place here.
var otherTables = map[string]string{
	"trace_info": "traces", "assessments": "assessments", "evaluation_datasets": "evaluation datasets", "scorers": "scorers", "webhooks": "webhooks",
}

func (d *database) others(ctx context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	for table, noun := range otherTables {
		n, err := d.file.Count(ctx, table)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			out[noun] = n
		}
	}
	return out, nil
}

// runOf finds another run by its id.
func (d *database) runOf(ctx context.Context, _ run, id string) (r run, found bool, err error) {
	q := sqlitefile.Query{
		Table: "runs", Columns: []string{"experiment_id", "start_time", "end_time", "artifact_uri"}, Where: []sqlitefile.Equal{{Column: "run_uuid", Value: id}},
	}
	err = d.file.Each(ctx, q, func(row sqlitefile.Row) error {
		c := reading{Row: row}
		r = run{ID: id, ExperimentID: c.text("experiment_id"), Start: c.int("start_time"), End: c.int("end_time"), ArtifactURI: c.text("artifact_uri")}
		found = c.err == nil
		return nil
	})
	return r, found, err
}
