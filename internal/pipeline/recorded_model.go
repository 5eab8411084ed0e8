package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"quant"
	"quant/internal/metastore"
	"quant/internal/session"
	"quant/internal/strategy"
)

// withRecordedModel lets a repetition take the model that the run took, where an
// alias names it: experiment:ID may mean another one by now, and that is said. A
// pipeline that trains finds its model anew.
func withRecordedModel(ctx context.Context, s *session.Session, run metastore.RunDetail, recorded []recordedRun, call Call) (Call, error) {
	alias := aliasOf(call)
	if alias == "" {
		return call, nil
	}
	id, err := recordedModel(ctx, s, recorded)
	if err != nil || id == "" {
		return call, err
	}
	newest, err := ResolveModel(ctx, s, alias)
	if err != nil && !errors.Is(err, quant.NotFound) {
		return call, err
	}
	if now := newest.ModelID; now != id {
		if now == "" {
			now = "no model"
		}
		s.Say().Notice("%s was %s for run %s, and is %s now: it is run again with %s", alias, id, quant.ShortID(run.RunID), now, id)
	}
	switch o := call.(type) {
	case ScoreOptions:
		o.Model = id
		return o, nil
	case RecommendOptions:
		o.Set = append(slices.Clone(o.Set), setModel+id)
		return o, nil
	case BacktestOptions:
		o.Set = append(slices.Clone(o.Set), setModel+id)
		return o, nil
	case RunOptions:
		o.Model = id
		return o, nil
	}
	return call, nil
}

// aliasOf is the alias by which a call names a model that it does not train; ""
// if it names none, or its file cannot be read, which is found later.
func aliasOf(call Call) string {
	ref, file, sets := "", "", []string(nil)
	switch o := call.(type) {
	case ScoreOptions:
		ref = o.Model
	case RecommendOptions:
		file, sets = o.Strategy, o.Set
	case BacktestOptions:
		file, sets = o.Strategy, o.Set
	case RunOptions:
		if !slices.Contains(o.Stages, StageTrain) {
			file, sets = o.Strategy, o.Set
		}
	}
	if file != "" {
		data, err := ReadStrategyFile(file)
		if err != nil {
			return ""
		}
		of, err := strategy.Parse(file, data, sets)
		if err != nil {
			return ""
		}
		ref = of.Signal.Inputs.ModelID
	}
	if !isAlias(ref) {
		return ""
	}
	return ref
}

// recordedModel is the model that a run, or the stages of a pipeline, took: the
// setting that recommend and backtest recorded, the file that score read. "" if
// none is recorded.
func recordedModel(ctx context.Context, s *session.Session, recorded []recordedRun) (string, error) {
	files := map[string]string{} // digests, by name
	for _, run := range recorded {
		switch Stage(run.kind) {
		case StageRecommend, StageBacktest:
			params, err := s.Meta.Params(ctx, run.id)
			if err != nil {
				return "", err
			}
			for _, p := range params {
				if p.Name == "model_id" && !isAlias(p.Value) {
					return p.Value, nil
				}
			}
		case StageScore:
			for _, io := range run.io {
				if io.Direction == quant.In && io.Kind == quant.IOFile {
					files[io.Name] = string(io.Digest)
				}
			}
		}
	}
	if len(files) == 0 {
		return "", nil
	}
	list, err := s.Meta.ListModels(ctx, metastore.ModelFilter{})
	for _, m := range list {
		var p modelParams
		if json.Unmarshal(m.ParamsJSON, &p) == nil && p.Digest != "" && files[p.File] == p.Digest {
			return m.ModelID, nil
		}
	}
	return "", err
}
