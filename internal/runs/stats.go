package runs

import (
	"context"

	"quant"
	"quant/internal/metastore"
)

// Stats sums up by kind the runs that f finds. Errors: Store.
func Stats(ctx context.Context, meta metastore.Store, f metastore.RunFilter) ([]Kind, error) {
	sums, err := meta.RunStats(ctx, f)
	if err != nil {
		return nil, err
	}
	var failed []string
	for _, s := range sums {
		if s.LastFail != "" {
			failed = append(failed, s.LastFail)
		}
	}
	found, err := meta.RunsOf(ctx, failed)
	if err != nil {
		return nil, err
	}
	last := map[string]metastore.RunDetail{}
	for _, r := range found {
		last[r.RunID] = r
	}
	list := []Kind{}
	for _, s := range sums {
		list = append(list, newKind(s, last[s.LastFail]))
	}
	return list, nil
}

// Kind is one kind of runs, in sums.
type Kind struct {
	Kind        string     `json:"kind"`
	Runs        int64      `json:"runs"`
	Running     int64      `json:"running"`
	Success     int64      `json:"success"`
	Fail        int64      `json:"fail"`
	SuccessRate *float64   `json:"success_rate"` // null: none has ended
	P50US       *int64     `json:"p50_us"`
	P95US       *int64     `json:"p95_us"`
	LastFailAt  quant.Time `json:"last_fail_at"`
	LastFailRun quant.Text `json:"last_fail_run"`
	LastFail    quant.Text `json:"last_fail"` // first line of its text
}

func newKind(s metastore.KindStats, last metastore.RunDetail) Kind {
	row := Kind{Kind: s.Kind, Runs: s.Runs, Running: s.Running, Success: s.Success, Fail: s.Fail, P50US: s.P50US, P95US: s.P95US}
	if ended := s.Success + s.Fail; ended > 0 {
		row.SuccessRate = new(float64(s.Success) / float64(ended))
	}
	if s.LastFail != "" {
		row.LastFailAt, row.LastFailRun, row.LastFail = last.EndedAt, quant.Text(s.LastFail), quant.Text(quant.FirstLine(string(last.ErrorText)))
	}
	return row
}
