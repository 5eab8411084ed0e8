package mlflow

import (
	"context"
	"net/http"

	"quant/internal/metastore"
	"quant/internal/tracking"
)

// runInfo is what clients read first of a run.
type runInfo struct {
	RunID          string `json:"run_id"`
	RunUUID        string `json:"run_uuid"`
	RunName        string `json:"run_name,omitempty"`
	ExperimentID   string `json:"experiment_id"`
	UserID         string `json:"user_id,omitempty"`
	Status         string `json:"status"`
	StartTime      int64  `json:"start_time"`
	EndTime        *int64 `json:"end_time,omitempty"`
	ArtifactURI    string `json:"artifact_uri"`
	LifecycleStage string `json:"lifecycle_stage"`
}

// metric is a point on the wire.
type metric struct {
	Key       string `json:"key"`
	Value     Float  `json:"value"`
	Timestamp int64  `json:"timestamp"`
	Step      int64  `json:"step"`
	RunID     string `json:"run_id,omitempty"`
}

// runData are the latest metrics, the params and the tags of a run.
type runData struct {
	Metrics []metric `json:"metrics,omitempty"`
	Params  []tag    `json:"params,omitempty"`
	Tags    []tag    `json:"tags,omitempty"`
}

// run is a run on the wire.
type run struct {
	Info    runInfo     `json:"info"`
	Data    runData     `json:"data"`
	Inputs  *runInputs  `json:"inputs,omitempty"`
	Outputs *runOutputs `json:"outputs,omitempty"`
}

type runAnswer struct {
	Run run `json:"run"`
}

func infoOf(r tracking.Run) runInfo {
	info := runInfo{
		RunID: r.ClientID, RunUUID: r.ClientID, RunName: r.Name(), ExperimentID: r.ExperimentID(),
		UserID: string(r.Process.User), Status: r.Status(), StartTime: r.StartedAt.UnixMilli(),
		ArtifactURI: tracking.ArtifactURI(r.Number, r.ClientID), LifecycleStage: stage(!r.DeletedAt.IsZero()),
	}
	if !r.EndedAt.IsZero() {
		ended := r.EndedAt.UnixMilli()
		info.EndTime = &ended
	}
	return info
}

func metricOf(m metastore.LatestMetric) metric {
	out := metric{Key: m.Name, Value: Float{V: m.Value}, Timestamp: m.At.UnixMilli(), Step: m.Step}
	if m.NaN {
		out.Value = notANumber
	}
	return out
}

func runOf(r tracking.Run) run {
	out := run{Info: infoOf(r), Inputs: &runInputs{}, Outputs: &runOutputs{}}
	for _, m := range r.Metrics {
		out.Data.Metrics = append(out.Data.Metrics, metricOf(m))
	}
	for _, p := range r.Params {
		out.Data.Params = append(out.Data.Params, tag{p.Name, p.Value})
	}
	for _, t := range r.Tags {
		out.Data.Tags = append(out.Data.Tags, tag{t.Key, t.Value})
	}
	return out
}

// runRef names a run by its id, which old clients call run_uuid.
type runRef struct {
	RunID   string `json:"run_id"`
	RunUUID string `json:"run_uuid"`
}

// id is the run's; an error where none is said.
func (r runRef) id() (string, error) {
	switch {
	case r.RunID != "":
		return r.RunID, nil
	case r.RunUUID != "":
		return r.RunUUID, nil
	}
	return "", missing("run_id")
}

func (f *face) runEndpoints() []endpoint {
	const post, get = http.MethodPost, http.MethodGet
	return []endpoint{
		on(post, "/2.0/mlflow/runs/create", func(ctx context.Context, in struct {
			ExperimentID string `json:"experiment_id"`
			UserID       string `json:"user_id"`
			RunName      string `json:"run_name"`
			StartTime    Int    `json:"start_time"`
			Tags         []tag  `json:"tags"`
		}) (any, error) {
			n := tracking.NewRun{ExperimentID: in.ExperimentID, UserID: in.UserID, Name: in.RunName, Start: in.StartTime.pointer(), Tags: tagsOf(in.Tags)}
			r, err := f.Tracking.CreateRun(ctx, n)
			if err != nil {
				return nil, err
			}
			return runAnswer{runOf(r)}, nil
		}),
		on(get, "/2.0/mlflow/runs/get", func(ctx context.Context, in runRef) (any, error) {
			id, err := in.id()
			if err != nil {
				return nil, err
			}
			r, err := f.Tracking.GetRun(ctx, id)
			if err != nil {
				return nil, err
			}
			list, err := f.runsOf(ctx, []tracking.Run{r})
			if err != nil {
				return nil, err
			}
			return runAnswer{list[0]}, nil
		}),
		on(post, "/2.0/mlflow/runs/update", func(ctx context.Context, in struct {
			runRef
			Status  *string `json:"status"`
			EndTime Int     `json:"end_time"`
			RunName *string `json:"run_name"`
		}) (any, error) {
			id, err := in.id()
			if err != nil {
				return nil, err
			}
			r, err := f.Tracking.UpdateRun(ctx, tracking.RunUpdate{ID: id, Status: in.Status, End: in.EndTime.pointer(), Name: in.RunName})
			if err != nil {
				return nil, err
			}
			return struct {
				Info runInfo `json:"run_info"`
			}{infoOf(r)}, nil
		}),
		on(post, "/2.0/mlflow/runs/delete", func(ctx context.Context, in runRef) (any, error) {
			id, err := in.id()
			if err != nil {
				return nil, err
			}
			return empty{}, f.Tracking.DeleteRun(ctx, id)
		}),
		on(post, "/2.0/mlflow/runs/restore", func(ctx context.Context, in runRef) (any, error) {
			id, err := in.id()
			if err != nil {
				return nil, err
			}
			return empty{}, f.Tracking.RestoreRun(ctx, id)
		}),
	}
}
