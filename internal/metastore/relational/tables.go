package relational

import (
	"context"
	"strings"

	"quant/internal/metastore"
	"quant/internal/sqltext"
)

// Tables is documented at metastore.Store.
func (db *DB) Tables(ctx context.Context) ([]metastore.TableCount, error) {
	q, err := db.Reader(ctx)
	if err != nil {
		return nil, err
	}
	names, err := Texts(ctx, q, db.dialect.TableNames())
	if err != nil {
		return nil, db.Classify("list tables", err)
	}
	if len(names) == 0 {
		return nil, nil
	}
	parts := make([]string, len(names))
	args := make([]any, len(names))
	for i, name := range names {
		parts[i], args[i] = `SELECT ? AS name, count(*) FROM `+sqltext.Identifier(name), name
	}
	// One statement, so that the counts belong together.
	return list(ctx, db, "count rows", strings.Join(parts, ` UNION ALL `)+` ORDER BY name`, args,
		func(t *metastore.TableCount) []any { return []any{&t.Table, &t.Rows} })
}

// Companions are the tables keyed by run_id whose rows go with their run.
func Companions() []string {
	return []string{
		"run_process", "run_io", "run_params", "run_tags", "run_metrics", "run_metric_points",
		"run_notes", "run_artifacts", "run_programs", "run_deletions", "run_imports",
		"run_clients", "run_metric_latest", "run_metric_nans",
		"run_datasets", "run_models",
	}
}

// Registered are the tables of what clients log beside runs, parents first, each
// with what a row needs to have its parent.
func Registered() []struct{ Table, Parent string } {
	const model, version = `model_id IN (SELECT model_id FROM main.logged_models)`, `model IN (SELECT name FROM main.registered_models)`
	return []struct{ Table, Parent string }{
		{"client_artifacts", ""},
		{"logged_models", ""}, {"logged_model_params", model}, {"logged_model_tags", model}, {"logged_model_metrics", model},
		{"registered_models", ""}, {"registered_model_tags", version}, {"registered_model_aliases", version},
		{"model_versions", version}, {"model_version_tags", version},
	}
}

// RunsAndRegistered are runs, their companions and what clients log beside them, parents
// first.
func RunsAndRegistered() []string {
	tables := append([]string{"runs"}, Companions()...)
	for _, r := range Registered() {
		tables = append(tables, r.Table)
	}
	return tables
}

// numbers is the table whose rows come with those of experiments.
const numbers = "client_experiments"

// ParentsFirst are all tables, those that others refer to first.
func ParentsFirst() []string {
	return append([]string{"symbols", "experiments", numbers, "experiment_tags", "models", "tokens"}, RunsAndRegistered()...)
}
