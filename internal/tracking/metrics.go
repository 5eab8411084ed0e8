package tracking

import (
	"context"
	"slices"

	"quant/internal/metastore"
)

// History returns the points of a metric of a run, in the order of time, step and
// value, from number offset on; more: there are others behind them. limit 0: at
// most maxHistory for a page that was asked for, or all.
func (t *Tracking) History(ctx context.Context, clientID, key string, offset, limit int) (points []metastore.LatestMetric, more bool, err error) {
	r, err := t.find(ctx, clientID)
	if err != nil {
		return nil, false, err
	}
	ask := limit
	if limit > 0 {
		ask++
	}
	points, err = t.Store.ClientHistory(ctx, r.RunID, t.mask(key), nil, offset, ask)
	if limit > 0 && len(points) > limit {
		points, more = points[:limit], true
	}
	return points, more, err
}

// RunPoints are points of a metric of one run, which the client calls ClientID.
type RunPoints struct {
	ClientID string
	Points   []metastore.LatestMetric
}

// Histories returns the first points of a metric of several runs, in the order of
// their ids, at most maxHistory in all. Runs that do not exist have none. Invalid
// for none, or more than a hundred.
func (t *Tracking) Histories(ctx context.Context, clientIDs []string, key string, most int) ([]RunPoints, error) {
	switch {
	case len(clientIDs) == 0:
		return nil, invalidf("GetMetricHistoryBulk request must specify at least one run_id.")
	case len(clientIDs) > maxHistoryRuns:
		return nil, invalidf("GetMetricHistoryBulk request cannot specify more than %d run_ids. Received %d run_ids.", maxHistoryRuns, len(clientIDs))
	case key == "":
		return nil, invalidf("GetMetricHistoryBulk request must specify a metric_key.")
	}
	if most <= 0 || most > maxHistory {
		most = maxHistory
	}
	ids := slices.Clone(clientIDs)
	slices.Sort(ids)
	var all []RunPoints
	for _, id := range slices.Compact(ids) {
		found, err := t.Store.ClientRuns(ctx, []string{id}, true)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			continue
		}
		points, err := t.Store.ClientHistory(ctx, found[0].RunID, t.mask(key), nil, 0, most)
		if err != nil {
			return nil, err
		}
		if len(points) > 0 {
			all = append(all, RunPoints{id, points})
		}
		if most -= len(points); most <= 0 {
			break
		}
	}
	return all, nil
}
