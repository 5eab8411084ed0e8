package sqlite

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quant/internal/metastore/metastoretest"
	"quant/internal/metastore/relational"
	"quant/internal/sqltext"
)

// companioned makes a database with three runs and a row of each companion of
// each.
func companioned(t *testing.T) (*DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "meta.db")
	db := openAt(t, path)
	metastoretest.FillOfRuns(t, db, func(statement string) { raw(t, path, statement) })
	return db, path
}

// contents are the rows of the tables that are carried over.
func contents(t *testing.T, db *DB) string {
	t.Helper()
	var b strings.Builder
	for _, table := range carriedTables() {
		columns, err := columnsOf(context.Background(), db.Pool, "main", table)
		ok(t, err)
		var cells []string
		for _, c := range columns {
			cells = append(cells, `coalesce(`+sqltext.Identifier(c.name)+`, 'NULL')`)
		}
		rows := must(relational.Texts(context.Background(), db.Pool, `SELECT `+strings.Join(cells, ` || ' ' || `)+` FROM `+sqltext.Identifier(table)+` ORDER BY 1`))
		if len(rows) < 3 {
			t.Errorf("%s has %d rows: the test does not fill it", table, len(rows))
		}
		b.WriteString(table + "\n" + strings.Join(rows, "\n") + "\n")
	}
	return b.String()
}

func TestEveryCompanionIsCarriedByResetSalvageAndBackup(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db, path := companioned(t)
	want := contents(t, db)
	copied := filepath.Join(t.TempDir(), "copy.db")
	ok(t, db.Backup(ctx, copied))
	if got := contents(t, openAt(t, copied)); got != want {
		t.Errorf("the backup has\n%s\nwant\n%s", got, want)
	}
	salvaged := openAt(t, filepath.Join(t.TempDir(), "meta.db"))
	carried := must(salvaged.Salvage(ctx, path, nil))
	if got := contents(t, salvaged); got != want || len(carried.Lost) > 0 {
		t.Errorf("salvaged %v\n%s\nwant\n%s", carried, got, want)
	}
	carried = must(db.Reset(ctx, ""))
	if got := contents(t, db); got != want || len(carried.Lost) > 0 {
		t.Errorf("after a reset %v\n%s\nwant\n%s", carried, got, want)
	}
	if rows := slices.Sorted(maps.Keys(carried.Rows)); len(rows) != len(carriedTables()) {
		t.Errorf("carried %v", rows)
	}
}

func TestSumsThatAreNotThoseOfTheirPointsAreFoundAndMended(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db, path := companioned(t)
	want := contents(t, db)
	id := func(n int) string { return `run_id = '` + metastoretest.RunID(n) + `'` }
	for _, broken := range []string{
		`UPDATE run_metrics SET points = 3 WHERE ` + id(0),
		`UPDATE run_metrics SET last = 3 WHERE ` + id(1),
		`UPDATE run_metrics SET max = 8 WHERE ` + id(2),
		`UPDATE run_metrics SET last_step = 6 WHERE ` + id(2),
		`DELETE FROM run_metrics WHERE ` + id(0),
	} {
		raw(t, path, broken)
		problems := must(db.Check(ctx))
		if len(problems) != 1 || !strings.Contains(problems[0].What, "sums") {
			t.Errorf("%s: %v", broken, problems)
		}
		must(db.Reset(ctx, ""))
		if got := contents(t, db); got != want {
			t.Errorf("%s: mended to\n%s", broken, got)
		}
		if problems := must(db.Check(ctx)); len(problems) > 0 {
			t.Errorf("%s: still %v", broken, problems)
		}
	}
}
