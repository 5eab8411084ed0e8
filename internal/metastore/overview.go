package metastore

import (
	"context"

	"quant"
)

// Overview is what is read of several runs at once, or of one metric in part:
// the views that compare, watch, sum up and draw. Each method is one query for a
// table, however many runs it is asked about.
type Overview interface {
	// RunsOf returns the runs of these ids, in the order of the ids; NotFound
	// where one does not exist. Deleted runs are returned as any.
	RunsOf(ctx context.Context, ids []string) ([]RunDetail, error)
	// RecordsOf returns what is recorded of these runs, each list by name and then
	// in the order of run ids; notes and points are left out. Runs that do not
	// exist have nothing.
	RecordsOf(ctx context.Context, ids []string) (Recorded, error)
	// MetricsOf returns the sums of the metrics of these runs, by run id and name.
	MetricsOf(ctx context.Context, ids []string) ([]quant.Metric, error)
	// NamesOf returns the names of these runs (quant.NameTag), by run id; one that
	// has none is left out.
	NamesOf(ctx context.Context, ids []string) (map[string]string, error)
	// MetricSample returns n points of a metric, or all where it has no more, by
	// number: the first, the last, and others spread evenly between them by their
	// numbers. It reads only those. n is at least 2.
	MetricSample(ctx context.Context, runID, name string, n int) ([]quant.MetricPoint, error)
	// EachMetricPoint calls fn for every point of a metric, by number, and keeps
	// none. The first error of fn ends it and is returned.
	EachMetricPoint(ctx context.Context, runID, name string, fn func(quant.MetricPoint) error) error
	// MarksOf tells whether a run is deleted or came from another lab.
	MarksOf(ctx context.Context, runID string) (Marks, error)
	// RunStats sums the selected runs up by kind, in the order of kinds, in one
	// pass over them. Of the filter it takes All, Kind and Since.
	RunStats(ctx context.Context, f RunFilter) ([]KindStats, error)
}

// Recorded is what is recorded of some runs.
type Recorded struct {
	Params    []quant.Param
	Tags      []quant.Tag
	Metrics   []quant.Metric
	Artifacts []quant.Artifact
	IO        []quant.RunIO
	Programs  []quant.Program
}

// Marks are what became of a run after it ended; nil: nothing.
type Marks struct {
	Deletion *quant.Deletion
	Import   *quant.Import
}

// KindStats sums up the runs of one kind.
type KindStats struct {
	Kind    string
	Runs    int64
	Running int64
	Success int64
	Fail    int64
	// P50US and P95US are percentiles of the durations of the runs whose end was
	// seen, by the nearest rank: the smallest duration that at least so many
	// percent of them do not exceed. nil: there is none.
	P50US, P95US *int64
	LastFail     string // run_id of the newest FAIL; "": there is none
}
