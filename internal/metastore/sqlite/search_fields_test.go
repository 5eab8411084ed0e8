package sqlite

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quant/internal/metastore"
)

// TestTheFieldsOfSearchesAreThoseOfRuns holds the table of fields to the contract
// and to the indexes that the schema makes.
func TestTheFieldsOfSearchesAreThoseOfRuns(t *testing.T) {
	t.Parallel()
	want, got := slices.Sorted(maps.Keys(metastore.Attributes())), slices.Sorted(maps.Keys(searchFields))
	if !slices.Equal(want, got) {
		t.Errorf("the attributes are %q, the table has %q", want, got)
	}
	indexes := []index{paramValues, paramNumbers, tagValues, tagNumbers, metricLasts, metricMins, metricMaxes, metricNaNs, allRuns, changingRuns}
	for _, f := range searchFields {
		if f.index != nil {
			indexes = append(indexes, *f.index)
		}
	}
	db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	for _, i := range indexes {
		var where, columns string
		if i.name != "" {
			err := db.pool.QueryRow(`SELECT coalesce(substr(sql, nullif(instr(sql, ' WHERE '), 0) + 7), '') FROM sqlite_schema
				WHERE type = 'index' AND name = ? AND tbl_name = ?`, i.name, i.table).Scan(&where)
			if err != nil {
				t.Errorf("%s of %s: %v", i.name, i.table, err)
				continue
			}
		}
		name := i.name
		if name == "" {
			name = "sqlite_autoindex_" + i.table + "_1"
		}
		ok(t, db.pool.QueryRow(`SELECT coalesce(group_concat(name, ','), '') FROM (SELECT name FROM pragma_index_xinfo(?) ORDER BY seqno)`, name).Scan(&columns))
		sorted := strings.Split(columns, ",")
		record := sorted[0] == "name"
		if record {
			sorted = sorted[1:]
		}
		if i.column == "" { // its condition stands for the values
			if wanted, _, _ := strings.Cut(i.condition, " "); wanted != sorted[0] || !slices.Contains(sorted, "run_id") {
				t.Errorf("%+v has the columns %s", i, columns)
			}
			continue
		}
		if sorted[0] != i.column || !slices.Contains(sorted, "run_id") {
			t.Errorf("%+v has the columns %s", i, columns)
		}
		if where != i.condition {
			t.Errorf("%+v is made with the condition %q", i, where)
		}
	}
}
