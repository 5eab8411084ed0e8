package feature

import (
	"context"

	"quant/internal/factstore"
)

// Stored names features, or labels, that have been computed.
type Stored struct {
	Name, Version string
	Symbols       int64
	ScaleFree     bool // names can be ranked by it; of a feature
}

// ListStored returns the features and the labels that have been computed, by name and
// version. It reads what is kept of their slices, not the values.
func ListStored(ctx context.Context, db *factstore.DB) (features, labels []Stored, err error) {
	sets, err := db.FeatureSets(ctx)
	if err != nil {
		return nil, nil, err
	}
	rows, err := db.Query(ctx, `SELECT table_name, name, version, count(DISTINCT symbol) FROM fact_inputs
		WHERE table_name IN (?, ?) GROUP BY ALL ORDER BY ALL`, factstore.FeaturesDaily, factstore.Labels)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var table string
		var one Stored
		if err := rows.Scan(&table, &one.Name, &one.Version, &one.Symbols); err != nil {
			return nil, nil, err
		}
		if table == factstore.Labels {
			labels = append(labels, one)
			continue
		}
		entries, err := Catalogue(one.Version, sets...)
		if err != nil {
			continue // of a version that this program does not know
		}
		for _, e := range entries {
			if one.Name == "" || one.Name == e.Name { // "": the whole version
				features = append(features, Stored{e.Name, one.Version, one.Symbols, e.ScaleFree})
			}
		}
	}
	return features, labels, rows.Err()
}
