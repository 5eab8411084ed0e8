package factstore

import (
	"fmt"
	"strings"

	"quant/internal/sqltext"
)

// FeatureRelation is what stands after FROM to read features of a version side by
// side: symbol TEXT, ts DATE, and a DOUBLE column of its name for each, NULL where
// it has no value; a row where any of them has one. How features are stored is
// this file's alone.
func FeatureRelation(version string, names ...string) string {
	var columns strings.Builder
	for _, name := range names {
		fmt.Fprintf(&columns, ", max(feature_value) FILTER (feature_name = %s) AS %s", sqltext.Literal(name), sqltext.Identifier(name))
	}
	return fmt.Sprintf("(SELECT symbol, ts%s FROM %s WHERE feature_version = %s AND feature_name IN (%s) GROUP BY symbol, ts)",
		columns.String(), FeaturesDaily, sqltext.Literal(version), sqltext.Literals(names))
}
