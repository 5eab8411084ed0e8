package mlflow

import (
	"context"

	"quant/internal/tracking"
)

// runsOf are runs on the wire, with their inputs and outputs.
func (f *face) runsOf(ctx context.Context, list []tracking.Run) ([]run, error) {
	out, ids := make([]run, len(list)), make([]string, len(list))
	for i, r := range list {
		out[i], ids[i] = runOf(r), r.RunID
	}
	inputs, outputs, err := f.Tracking.InputsOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		out[i].Inputs, out[i].Outputs = inputsOf(inputs[id]), outputsOf(outputs[id])
	}
	return out, nil
}

// tagDocuments are tags on the wire.
func tagDocuments(list []tracking.Tag) []tag {
	var all []tag
	for _, t := range list {
		all = append(all, tag(t))
	}
	return all
}

// paramsOf are params from the wire.
func paramsOf(list []tag) []tracking.Param {
	var all []tracking.Param
	for _, p := range list {
		all = append(all, tracking.Param(p))
	}
	return all
}
