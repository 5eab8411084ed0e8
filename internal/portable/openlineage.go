package portable

import (
	"context"
	"encoding/json"
	"io"
	"slices"

	"quant"
	"quant/internal/lab"
	"quant/internal/metastore"
)

// exportEvents writes these runs as OpenLineage run events (specification 2-0-2),
// one JSON document a line: for each run, in the order of their ids, START and
// then COMPLETE or FAIL, which has everything. The job is the run's kind in the
// namespace of its host; a dataset is what the run read or wrote, in a namespace
// of its kind. Params, tags, metrics and artifacts stand in the run facet
// quant_run. Errors: as exportRuns'.
func exportEvents(ctx context.Context, from *lab.Lab, runIDs []string, w io.Writer) (Summary, error) {
	ids := slices.Clone(runIDs)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	sum := Summary{Runs: int64(len(ids))}
	err := from.Meta.Snapshot(ctx, func(ctx context.Context) error {
		for _, id := range ids {
			if err := mayLeave(ctx, from.Meta, id); err != nil {
				return err
			}
		}
		for _, id := range ids {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			d, err := documentOf(ctx, from.Meta, id, nil)
			if err != nil {
				return err
			}
			parent, err := parentOf(ctx, from.Meta, d)
			if err != nil {
				return err
			}
			for _, event := range events(d, parent) {
				line, err := encode(event)
				if err != nil {
					return named("run "+id, err)
				}
				if _, err := w.Write(line); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return sum, err
}

// The names of what writes the events and of what they follow. They name, and
// nothing fetches them.
const (
	lineageProducer = "https://quant.invalid/"
	lineageSchema   = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
	facetSchemas    = "https://openlineage.io/spec/facets/"
	ownSchema       = lineageProducer + "docs/portable.md#openlineage"
)

type lineageEvent struct {
	EventTime string           `json:"eventTime"`
	Producer  string           `json:"producer"`
	SchemaURL string           `json:"schemaURL"`
	EventType string           `json:"eventType"`
	Run       lineageRun       `json:"run"`
	Job       lineageJob       `json:"job"`
	Inputs    []lineageDataset `json:"inputs"`
	Outputs   []lineageDataset `json:"outputs"`
}

type lineageRun struct {
	RunID  string         `json:"runId"`
	Facets map[string]any `json:"facets,omitempty"`
}

type lineageJob struct {
	Namespace string         `json:"namespace"`
	Name      string         `json:"name"`
	Facets    map[string]any `json:"facets,omitempty"`
}

type lineageDataset struct {
	Namespace    string         `json:"namespace"`
	Name         string         `json:"name"`
	Facets       map[string]any `json:"facets,omitempty"`
	OutputFacets map[string]any `json:"outputFacets,omitempty"`
}

// facet is a facet with these members.
func facet(schema string, members map[string]any) map[string]any {
	members["_producer"], members["_schemaURL"] = lineageProducer, schema
	return members
}

// parentOf is the facet of the run above this one; nil for none, or for one that
// this lab does not know.
func parentOf(ctx context.Context, store metastore.Store, d document) (any, error) {
	if d.Process.ParentRunID == "" {
		return nil, nil
	}
	parent, err := store.GetRun(ctx, string(d.Process.ParentRunID))
	if quant.CodeOf(err) == quant.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	job := jobOf(document{Run: parent.Run, Process: processRow{parent.Process, FormatVersion}})
	return facet(facetSchemas+"1-2-0/ParentRunFacet.json#/$defs/ParentRunFacet", map[string]any{
		"run": map[string]any{"runId": parent.RunID},
		"job": map[string]any{"namespace": job.Namespace, "name": job.Name},
	}), nil
}

func jobOf(d document) lineageJob {
	host := string(d.Process.Host)
	if host == "" {
		host = "unknown"
	}
	return lineageJob{Namespace: "quant://" + host, Name: d.Run.Kind}
}

func events(d document, parent any) [2]lineageEvent {
	job := jobOf(d)
	job.Facets = map[string]any{
		"jobType": facet(facetSchemas+"2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet", map[string]any{
			"processingType": "BATCH", "integration": "QUANT", "jobType": "COMMAND",
		}),
	}
	first := lineageEvent{
		EventTime: d.Run.StartedAt.String(), Producer: lineageProducer, SchemaURL: lineageSchema, EventType: "START",
		Run: lineageRun{RunID: d.Run.RunID, Facets: map[string]any{}}, Job: job,
		Inputs: []lineageDataset{}, Outputs: []lineageDataset{},
	}
	if parent != nil {
		first.Run.Facets["parent"] = parent
	}
	last := first
	last.EventTime, last.EventType = d.Run.EndedAt.String(), "COMPLETE"
	last.Run.Facets = map[string]any{"quant_run": ownFacet(d)}
	if parent != nil {
		last.Run.Facets["parent"] = parent
	}
	if d.Run.Status == quant.Fail {
		last.EventType = "FAIL"
		last.Run.Facets["errorMessage"] = facet(facetSchemas+"1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet", map[string]any{
			"message": string(d.Run.ErrorText), "programmingLanguage": "none",
		})
	}
	for _, io := range d.IO {
		set := lineageDataset{Namespace: "quant." + io.Kind, Name: io.Name, Facets: map[string]any{}}
		if io.Digest != "" {
			set.Facets["version"] = facet(facetSchemas+"1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet", map[string]any{
				"datasetVersion": string(io.Digest),
			})
		}
		if io.Direction == quant.In {
			last.Inputs = append(last.Inputs, set)
			continue
		}
		if io.Rows != nil && *io.Rows >= 0 {
			set.OutputFacets = map[string]any{
				"outputStatistics": facet(facetSchemas+"1-0-2/OutputStatisticsOutputDatasetFacet.json#/$defs/OutputStatisticsOutputDatasetFacet", map[string]any{"rowCount": *io.Rows}),
			}
		}
		last.Outputs = append(last.Outputs, set)
	}
	return [2]lineageEvent{first, last}
}

// ownFacet is what OpenLineage has no place for. The code is here, not in the
// facet sourceCodeLocation, which demands the address of a repository.
func ownFacet(d document) map[string]any {
	p := d.Process
	named := func(list []pair) map[string]any {
		m := map[string]any{}
		for _, one := range list {
			m[one.Name] = one.Value
		}
		return m
	}
	metrics := map[string]any{}
	for _, m := range d.Metrics {
		metrics[m.Name] = map[string]any{"points": m.Points, "last_step": m.LastStep, "last": m.Last, "min": m.Min, "max": m.Max}
	}
	return facet(ownSchema, map[string]any{
		"argv": json.RawMessage(orNull(p.Argv)), "config": json.RawMessage(orNull(d.Run.ConfigJSON)),
		"exitCode": p.ExitCode, "durationUs": p.DurationUS, "version": string(p.BinaryVersion), "binaryCommit": p.BinaryCommit,
		"gitCommit": p.GitCommit, "gitDirty": p.GitDirty,
		"params": named(d.Params), "tags": named(d.Tags), "metrics": metrics, "artifacts": d.Artifacts,
	})
}

func orNull(j quant.JSON) []byte {
	if len(j) == 0 {
		return []byte("null")
	}
	return j
}
