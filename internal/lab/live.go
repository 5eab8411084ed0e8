package lab

import (
	"context"

	"quant"
	"quant/internal/metastore"
	"quant/internal/registry/liveness"
)

// LiveRuns returns the runs whose processes live, other than self, newest first.
// The lab is open for writing.
func (l *Lab) LiveRuns(ctx context.Context, self string) ([]metastore.RunDetail, error) {
	running, err := l.Meta.ListRuns(ctx, metastore.RunFilter{All: true, Status: quant.Running, Except: self, Brief: true})
	if err != nil {
		return nil, err
	}
	var live []metastore.RunDetail
	for _, run := range running {
		if l.Registry.Judge(ctx, run) == liveness.Alive {
			live = append(live, run)
		}
	}
	return live, nil
}
