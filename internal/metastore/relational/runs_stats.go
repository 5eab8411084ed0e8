package relational

import (
	"context"
	"slices"
	"strings"

	"quant"
	"quant/internal/metastore"
)

// RunStats is documented at metastore.Overview.
func (db *DB) RunStats(ctx context.Context, f metastore.RunFilter) ([]metastore.KindStats, error) {
	query, args, err := listRuns(metastore.RunFilter{All: f.All, Kind: f.Kind, Since: f.Since})
	if err != nil {
		return nil, err
	}
	// The same selection as a list's, of the columns that are summed up only.
	query = `SELECT r.kind, r.status, r.run_id, p.duration_us ` + query[len(`SELECT `+detailColumns+` `):]
	q, err := db.Reader(ctx)
	if err != nil {
		return nil, err
	}
	const what = "sum up runs"
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, db.Classify(what, err)
	}
	defer func() { _ = rows.Close() }()
	kinds := map[string]*kindSums{}
	var kind, status, id []byte
	for rows.Next() {
		var durationUS *int64
		if err := rows.Scan(&kind, &status, &id, &durationUS); err != nil {
			return nil, db.unreadable(what, err)
		}
		k := kinds[string(kind)]
		if k == nil {
			k = &kindSums{KindStats: metastore.KindStats{Kind: string(kind)}}
			kinds[k.Kind] = k
		}
		k.add(quant.Status(status), id, durationUS)
	}
	if err := rows.Err(); err != nil {
		return nil, db.Classify(what, err)
	}
	var all []metastore.KindStats
	for _, k := range kinds {
		slices.Sort(k.durations)
		k.P50US, k.P95US = nearestRank(k.durations, 50), nearestRank(k.durations, 95)
		all = append(all, k.KindStats)
	}
	slices.SortFunc(all, func(a, b metastore.KindStats) int { return strings.Compare(a.Kind, b.Kind) })
	return all, nil
}

type kindSums struct {
	metastore.KindStats
	durations []int64
}

// add takes a run; runs come newest first.
func (k *kindSums) add(status quant.Status, id []byte, durationUS *int64) {
	k.Runs++
	switch status {
	case quant.Running:
		k.Running++
		return
	case quant.Success:
		k.Success++
	case quant.Fail:
		k.Fail++
		if k.LastFail == "" {
			k.LastFail = string(id)
		}
	}
	if durationUS != nil {
		k.durations = append(k.durations, *durationUS)
	}
}

// nearestRank is the smallest of sorted values that at least p percent of them
// do not exceed; nil of none.
func nearestRank(sorted []int64, p int) *int64 {
	if len(sorted) == 0 {
		return nil
	}
	v := sorted[(len(sorted)*p+99)/100-1]
	return &v
}
