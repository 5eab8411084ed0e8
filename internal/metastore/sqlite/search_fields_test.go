package sqlite

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quant/internal/metastore"
	"quant/internal/metastore/relational"
)

// TestTheFieldsOfSearchesAreThoseOfRuns holds the table of fields to the contract
// and to the indexes that the schema makes.
func TestTheFieldsOfSearchesAreThoseOfRuns(t *testing.T) {
	t.Parallel()
	want, got := slices.Sorted(maps.Keys(metastore.Attributes())), slices.Sorted(slices.Values(relational.SearchFields()))
	if !slices.Equal(want, got) {
		t.Errorf("the attributes are %q, the table has %q", want, got)
	}
	db := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	for _, i := range relational.SearchIndexes() {
		var where, columns string
		if i.Name != "" {
			err := db.Pool.QueryRow(`SELECT coalesce(substr(sql, nullif(instr(sql, ' WHERE '), 0) + 7), '') FROM sqlite_schema
				WHERE type = 'index' AND name = ? AND tbl_name = ?`, i.Name, i.Table).Scan(&where)
			if err != nil {
				t.Errorf("%s of %s: %v", i.Name, i.Table, err)
				continue
			}
		}
		name := i.Name
		if name == "" {
			name = "sqlite_autoindex_" + i.Table + "_1"
		}
		ok(t, db.Pool.QueryRow(`SELECT coalesce(group_concat(name, ','), '') FROM (SELECT name FROM pragma_index_xinfo(?) ORDER BY seqno)`, name).Scan(&columns))
		sorted := strings.Split(columns, ",")
		record := sorted[0] == "name"
		if record {
			sorted = sorted[1:]
		}
		if i.Column == "" { // its condition stands for the values
			if wanted, _, _ := strings.Cut(i.Condition, " "); wanted != sorted[0] || !slices.Contains(sorted, "run_id") {
				t.Errorf("%+v has the columns %s", i, columns)
			}
			continue
		}
		if sorted[0] != i.Column || !slices.Contains(sorted, "run_id") {
			t.Errorf("%+v has the columns %s", i, columns)
		}
		if where != i.Condition {
			t.Errorf("%+v is made with the condition %q", i, where)
		}
	}
}
