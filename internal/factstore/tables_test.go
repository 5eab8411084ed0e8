package factstore_test

import (
	"slices"
	"testing"

	"quant/internal/factstore"
)

func TestTheCatalogueIsOfTheTablesThatTheSchemaMakes(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	counts, err := db.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var made, listed []string
	for _, c := range counts {
		made = append(made, c.Table)
	}
	for _, table := range factstore.Tables() {
		listed = append(listed, table.Name)
		for _, column := range append(slices.Clone(table.Key), table.Stamp) {
			if column == "" {
				continue
			}
			if n := number(t, db, "SELECT count(*) FROM duckdb_columns() WHERE database_name = 'fact' AND table_name = ? AND column_name = ?", table.Name, column); n != 1 {
				t.Errorf("%s has no column %s", table.Name, column)
			}
		}
		for _, companion := range table.Companions {
			if n := number(t, db, "SELECT count(*) FROM duckdb_columns() WHERE database_name = 'fact' AND table_name = ? AND column_name = 'table_name'", companion); n != 1 {
				t.Errorf("%s, a companion of %s, does not say of which table it speaks", companion, table.Name)
			}
		}
		if found, known := factstore.LookupTable(table.Name); !known || found.Name != table.Name {
			t.Errorf("%s is not found", table.Name)
		}
		if table.Stamp == "" && !table.PerRun && !table.Bookkeeping && !slices.Contains(table.Companions, factstore.FactSlices) {
			t.Errorf("nothing says which run wrote a row of %s", table.Name)
		}
	}
	slices.Sort(listed)
	if !slices.Equal(made, listed) {
		t.Errorf("the schema makes %v\nthe catalogue lists %v", made, listed)
	}
	if _, known := factstore.LookupTable("nowhere"); known {
		t.Error("a table is known that is not there")
	}
	if got := factstore.TablesOf("features"); !slices.Equal(got, []string{"features_daily", "returns"}) {
		t.Errorf("features writes %v", got)
	}
	if got := factstore.TablesOf(""); got != nil {
		t.Errorf("no kind writes %v", got)
	}
}
