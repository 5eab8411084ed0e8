package relational

import (
	"fmt"

	"quant"
	"quant/internal/metastore"
)

// index is an index that finds runs, or a table's key. A search reads ids from
// it alone.
type index struct {
	table string
	name  string // "": the key of the table
	// column is the one in whose order the index has its rows, and by run_id within
	// a value; "": it has the runs of the field, and not the values of that.
	column string
	// condition is that of a partial index. SQLite takes the index only for a
	// statement that repeats it.
	condition string
	// noZeros: the condition leaves out the value 0.
	noZeros bool
}

// from is the index as the source of a SELECT.
func (i index) from() string {
	if i.name == "" {
		return i.table + " NOT INDEXED"
	}
	return i.table + " INDEXED BY " + i.name
}

// presence says what an index knows of the runs that have a value at all.
type presence int

const (
	inAllRuns   presence = iota // nearly every run has one: they are no choice
	inIndex                     // the index has those runs and no others
	inCondition                 // a condition on its column tells
)

// searchField is a field as the database has it.
type searchField struct {
	value   string // as SQL, over runs r and run_process p
	index   *index // nil: none
	present presence
	// holdsNulls: the index has also those runs whose value is NULL. One of
	// run_process lacks the runs whose process was lost.
	holdsNulls bool
	// walkable: an order by the field may go through the index.
	walkable bool
	// unsorted: not even within one value does SQLite take the ids of the index in
	// their order.
	unsorted bool
	// byTime: the order of the field is that of the ids.
	byTime bool
}

// searchFields are the attributes of runs.
var searchFields = map[string]searchField{
	"run_id":  {value: "r.run_id", index: &index{table: "runs", column: "run_id"}, byTime: true},
	"started": {value: "r.started_at", byTime: true},
	"kind":    {value: "r.kind", index: &index{table: "runs", name: "runs_kind", column: "kind"}, holdsNulls: true},
	"status":  {value: "r.status", index: &index{table: "runs", name: "runs_status", column: "status"}, holdsNulls: true},
	"ended": {
		value: "r.ended_at", index: &index{table: "runs", name: "runs_ended", column: "ended_at"},
		present: inCondition, holdsNulls: true, walkable: true,
	},
	// Who has an error_text is a FAIL: the schema says so.
	"error": {
		value: "r.error_text", index: &index{table: "runs", name: "runs_status", condition: "status = 'FAIL'"}, present: inIndex,
	},
	"duration": {
		value: "p.duration_us", index: &index{table: "run_process", name: "run_process_duration", column: "duration_us"},
		present: inCondition, walkable: true,
	},
	"exit_code": {
		value: "p.exit_code", unsorted: true,
		index: &index{table: "run_process", name: "run_process_exit", column: "exit_code", condition: "exit_code IS NOT 0", noZeros: true},
	},
	"git_commit": {
		value: "p.git_commit", present: inIndex,
		index: &index{table: "run_process", name: "run_process_commit", column: "git_commit", condition: "git_commit IS NOT NULL"},
	},
	"parent": {
		value: "p.parent_run_id", present: inIndex,
		index: &index{table: "run_process", name: "run_process_parent", column: "parent_run_id", condition: "parent_run_id IS NOT NULL"},
	},
	"host":           {value: "p.host", index: &index{table: "run_process", name: "run_process_host", column: "host"}},
	"user":           {value: "p.user", index: &index{table: "run_process", name: "run_process_user", column: "user"}, walkable: true},
	"work_dir":       {value: "p.work_dir", index: &index{table: "run_process", name: "run_process_dir", column: "work_dir"}},
	"binary_version": {value: "p.binary_version", index: &index{table: "run_process", name: "run_process_version", column: "binary_version"}},
	"binary_commit":  {value: "p.binary_commit"},
	"git_dirty":      {value: "p.git_dirty"},
	"pid":            {value: "p.pid"},
	"changes":        {value: "coalesce(p.changes, 1)"}, // as everywhere, where its process was lost
	"argv":           {value: "(SELECT group_concat(value, ' ') FROM json_each(p.argv))"},
}

// millisecondChars is how long the head of an id is that is the millisecond of the
// start.
const millisecondChars = 13

func millisecondOf(id string) string { return fmt.Sprintf(`substr(%s, 1, %d)`, id, millisecondChars) }

// clientFields are what clients of MLflow know of a run r.
var clientFields = map[string]string{
	metastore.ClientID: `coalesce((SELECT client_id FROM run_clients WHERE run_id = r.run_id), replace(r.run_id, '-', ''))`,
	metastore.ClientStatus: `(CASE r.status WHEN 'SUCCESS' THEN 'FINISHED'
		WHEN 'FAIL' THEN CASE (SELECT status FROM run_clients WHERE run_id = r.run_id) WHEN 'KILLED' THEN 'KILLED' ELSE 'FAILED' END
		ELSE CASE (SELECT status FROM run_clients WHERE run_id = r.run_id) WHEN 'SCHEDULED' THEN 'SCHEDULED' ELSE 'RUNNING' END END)`,
	metastore.ClientArtifactURI: `('mlflow-artifacts:/' || (SELECT e.number FROM run_tags t JOIN client_experiments e ON e.experiment_id = t.value
		WHERE t.run_id = r.run_id AND t.name = '` + quant.ExperimentTag + `') || '/' ||
		coalesce((SELECT client_id FROM run_clients WHERE run_id = r.run_id), replace(r.run_id, '-', '')) || '/artifacts')`,
	metastore.ClientStarted: millisecondOf("r.run_id"),
	metastore.ClientNamed:   `(SELECT client_id FROM run_clients WHERE run_id = r.run_id AND continued_by IS NULL)`,
	metastore.ContinuedBy:   `(SELECT continued_by FROM run_clients WHERE run_id = r.run_id)`,
}

// The indexes of params, tags and metrics, by name and then by their column, and of what
// clients call their runs by.
var (
	paramValues  = index{table: "run_params", name: "run_params_value", column: "value"}
	paramNumbers = index{table: "run_params", name: "run_params_number", column: "number", condition: "number IS NOT NULL"}
	tagValues    = index{table: "run_tags", name: "run_tags_value", column: "value"}
	tagNumbers   = index{table: "run_tags", name: "run_tags_number", column: "number", condition: "number IS NOT NULL"}
	metricLasts  = index{table: "run_metrics", name: "run_metrics_last", column: "last"}
	metricMins   = index{table: "run_metrics", name: "run_metrics_min", column: "min"}
	metricNaNs   = index{table: "run_metric_latest", name: "run_metric_latest_nan", condition: "value IS NULL"}
	metricMaxes  = index{table: "run_metrics", name: "run_metrics_max", column: "max"}
	clientIDs    = index{table: "run_clients", name: "run_clients_current", column: "client_id", condition: "continued_by IS NULL"}
)

// The indexes of all runs, and of those that may change something.
var (
	allRuns      = index{table: "runs", column: "run_id"}
	changingRuns = index{table: "run_process", name: "run_process_changes", column: "run_id", condition: "changes = 1"}
)

// recordIndex is the index of a param, a tag or a metric; numeric chooses that
// of the numbers of a Mixed one.
func recordIndex(f metastore.Field, numeric bool) index {
	switch {
	case f.Of == metastore.ParamOf && numeric:
		return paramNumbers
	case f.Of == metastore.ParamOf:
		return paramValues
	case f.Of == metastore.TagOf && numeric:
		return tagNumbers
	case f.Of == metastore.TagOf:
		return tagValues
	case f.Agg == metastore.Min:
		return metricMins
	case f.Agg == metastore.Max:
		return metricMaxes
	case f.Agg == metastore.IsNaN:
		return metricNaNs
	default:
		return metricLasts
	}
}

// fieldOf is a field of a search as the database has it, without its value where
// that is a record's.
func fieldOf(f metastore.Field, numeric bool) searchField {
	if f.Of == metastore.Attribute {
		return searchFields[f.Name]
	}
	if f.Of == metastore.ClientOf && f.Name == metastore.ClientNamed {
		return searchField{value: clientFields[f.Name], index: &clientIDs, present: inIndex, walkable: true}
	}
	if f.Of == metastore.ClientOf {
		return searchField{value: clientFields[f.Name]}
	}
	i := recordIndex(f, numeric)
	return searchField{index: &i, present: inIndex, walkable: f.Of == metastore.MetricOf && f.Agg != metastore.IsNaN && f.Agg != metastore.Shown || f.Agg == metastore.AsText}
}

// valueOf is the value of a field as SQL; numeric chooses the number of a Mixed
// one.
func valueOf(f metastore.Field, numeric bool) fragment {
	if f.Of == metastore.Attribute {
		return fragmentOf(searchFields[f.Name].value)
	}
	if f.Of == metastore.ClientOf {
		return fragmentOf(clientFields[f.Name])
	}
	i := recordIndex(f, numeric)
	if f.Agg == metastore.IsNaN {
		return fragmentOf(`(SELECT 1 FROM run_metric_latest WHERE run_id = r.run_id AND name = ? AND value IS NULL)`, f.Name)
	}
	if f.Agg == metastore.Shown {
		return fragmentOf(`(SELECT m.last FROM run_metrics m WHERE m.run_id = r.run_id AND m.name = ?
			AND NOT EXISTS (SELECT 1 FROM run_metric_latest l WHERE l.run_id = m.run_id AND l.name = m.name AND l.value IS NULL))`, f.Name)
	}
	return fragmentOf(`(SELECT `+i.column+` FROM `+i.table+` WHERE run_id = r.run_id AND name = ?)`, f.Name)
}

// isTime tells whether the order of a field is the order of ids.
func isTime(f metastore.Field) bool {
	return f.Of == metastore.Attribute && searchFields[f.Name].byTime
}
