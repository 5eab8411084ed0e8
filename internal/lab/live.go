package lab

import (
	"context"

	"quant/internal/metastore"
	"quant/internal/registry/liveness"
)

// LiveRuns returns the runs whose processes live, other than self, newest first.
// The lab is open for writing.
func (l *Lab) LiveRuns(ctx context.Context, self string) ([]metastore.RunDetail, error) {
	running, err := l.Meta.RunningOn(ctx, l.Registry.Process.MachineID, "", 0)
	if err != nil {
		return nil, err
	}
	var live []metastore.RunDetail
	for _, run := range running {
		if run.RunID != self && l.Registry.Judge(ctx, run) == liveness.Alive {
			live = append(live, run)
		}
	}
	return live, nil
}
