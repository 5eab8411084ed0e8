package tracking

import (
	"context"
	"maps"
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

// IntervalSearch asks for a sample of a metric of several runs, by its steps.
type IntervalSearch struct {
	ClientIDs   []string
	Key         string
	First, Last *int64 // steps; both or none
	Max         *int64 // steps in the sample, 1 to 2,500; nil: 2,500
}

// Interval returns the points at a sample of the steps between two: of all steps
// that any of the runs has, so many at equal distances, and of each run its first
// and last one. All runs are sampled at the same steps. Errors: Invalid; NotFound.
func (t *Tracking) Interval(ctx context.Context, s IntervalSearch) ([]RunPoints, error) {
	most := int64(maxSamplesPerMetric)
	if s.Max != nil {
		most = *s.Max
	}
	switch {
	case len(s.ClientIDs) > maxHistoryRuns:
		return nil, invalidf("GetMetricHistoryBulkInterval request must specify at most %d run_ids. Received %d run_ids.", maxHistoryRuns, len(s.ClientIDs))
	case most < 1 || most > maxSamplesPerMetric:
		return nil, invalidf("max_results must be between 1 and %d.", maxSamplesPerMetric)
	case (s.First == nil) != (s.Last == nil):
		return nil, invalidf("If either start step or end step are specified, both must be specified.")
	case s.First != nil && *s.First > *s.Last:
		return nil, invalidf("end_step must be greater than start_step. Found start_step=%d and end_step=%d.", *s.First, *s.Last)
	}
	name := t.mask(s.Key)
	ids := make([]string, len(s.ClientIDs))
	steps, wanted := map[int64]bool{}, map[int64]bool{}
	for i, clientID := range s.ClientIDs {
		r, err := t.find(ctx, clientID)
		if err != nil {
			return nil, err
		}
		ids[i] = r.RunID
		ofRun, err := t.Store.ClientSteps(ctx, r.RunID, name)
		if err != nil {
			return nil, err
		}
		ofRun = slices.DeleteFunc(ofRun, func(step int64) bool { return s.First != nil && (step < *s.First || step > *s.Last) })
		for _, step := range ofRun {
			steps[step] = true
		}
		if len(ofRun) > 0 {
			wanted[ofRun[0]], wanted[ofRun[len(ofRun)-1]] = true, true
		}
	}
	for _, step := range sampled(slices.Sorted(maps.Keys(steps)), int(most)) {
		wanted[step] = true
	}
	at := slices.Sorted(maps.Keys(wanted))
	var all []RunPoints
	for i, id := range ids {
		points, err := t.Store.ClientHistory(ctx, id, name, append([]int64{}, at...), 0, maxHistory)
		if err != nil {
			return nil, err
		}
		if len(points) > 0 {
			all = append(all, RunPoints{s.ClientIDs[i], points})
		}
	}
	return all, nil
}

// sampled are n of some steps at equal distances, and the last one.
func sampled(steps []int64, n int) []int64 {
	if len(steps) <= n {
		return steps
	}
	some := make([]int64, 0, n+1)
	for i := range n {
		some = append(some, steps[int(float64(i)*float64(len(steps))/float64(n))])
	}
	return append(some, steps[len(steps)-1])
}
