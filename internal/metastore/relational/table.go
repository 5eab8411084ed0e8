package relational

import (
	"reflect"
	"strings"

	"quant"
)

// table is a table whose rows are values of T: its columns are T's fields, in
// their order, named by their tag db. A statement that names all columns takes
// them from here, so that a column is written down in two places alone: in a
// migration and in the noun.
type table[T any] struct {
	name    string
	columns string // all of them, for a SELECT
	fields  int
}

var (
	symbolTable     = tableOf[quant.Symbol]("symbols")
	experimentTable = tableOf[quant.Experiment]("experiments")
	modelTable      = tableOf[quant.Model]("models")
	runTable        = tableOf[quant.Run]("runs")
	processTable    = tableOf[quant.RunProcess]("run_process")
	ioTable         = tableOf[quant.RunIO]("run_io")
	paramTable      = tableOf[quant.Param]("run_params")
	tagTable        = tableOf[quant.Tag]("run_tags")
	metricTable     = tableOf[quant.Metric]("run_metrics")
	pointTable      = tableOf[quant.MetricPoint]("run_metric_points")
	noteTable       = tableOf[quant.Note]("run_notes")
	artifactTable   = tableOf[quant.Artifact]("run_artifacts")
	programTable    = tableOf[quant.Program]("run_programs")
	deletionTable   = tableOf[quant.Deletion]("run_deletions")
	importTable     = tableOf[quant.Import]("run_imports")
)

func tableOf[T any](name string) table[T] {
	noun := reflect.TypeFor[T]()
	columns := make([]string, noun.NumField())
	for i := range columns {
		columns[i] = noun.Field(i).Tag.Get("db")
	}
	return table[T]{name: name, columns: strings.Join(columns, ", "), fields: len(columns)}
}

// of is the columns of a table that a query calls by an alias.
func (t table[T]) of(alias string) string {
	return alias + "." + strings.ReplaceAll(t.columns, ", ", ", "+alias+".")
}

// scan is where the columns of a row go.
func (t table[T]) scan(row *T) []any {
	v := reflect.ValueOf(row).Elem()
	into := make([]any, t.fields)
	for i := range into {
		into[i] = v.Field(i).Addr().Interface()
	}
	return into
}

// values is a row as a statement binds it.
func (t table[T]) values(row T) []any {
	v := reflect.ValueOf(row)
	values := make([]any, t.fields)
	for i := range values {
		values[i] = v.Field(i).Interface()
	}
	return values
}

// insert is the statement that stores a row.
func (t table[T]) insert() string {
	return `INSERT INTO ` + t.name + ` (` + t.columns + `) VALUES (` + placeholders(t.fields) + `)`
}

// upsert is the statement that stores a row or replaces the one of its key, the first
// column.
func (t table[T]) upsert() string {
	columns := strings.Split(t.columns, ", ")
	for i, c := range columns {
		columns[i] = c + ` = excluded.` + c
	}
	key, _, _ := strings.Cut(t.columns, ", ")
	return t.insert() + ` ON CONFLICT (` + key + `) DO UPDATE SET ` + strings.Join(columns[1:], ", ")
}

// update is the statement that replaces a row by its key, the first column, and
// what it binds.
func (t table[T]) update(row T) (query string, args []any) {
	key, others, _ := strings.Cut(t.columns, ", ")
	values := t.values(row)
	return `UPDATE ` + t.name + ` SET ` + strings.ReplaceAll(others, ", ", " = ?, ") + ` = ? WHERE ` + key + ` = ?`, append(values[1:], values[0])
}
