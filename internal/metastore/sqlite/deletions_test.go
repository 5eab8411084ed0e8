package sqlite

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/metastoretest"
	"quant/internal/metastore/relational"
	"quant/internal/sqltext"
)

// companioned makes a database with three runs and a row of each companion of
// each.
func companioned(t *testing.T) (*DB, string) {
	t.Helper()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "meta.db")
	db := openAt(t, path)
	at := quant.NewTime(noon())
	for n := range 3 {
		id := metastoretest.RunID(n)
		r, p := aRun(n)
		ok(t, db.CreateRun(ctx, r, p))
		ok(t, db.FinishRun(ctx, metastore.RunEnd{
			RunID: id, Status: quant.Success, EndedAt: at,
			IO: []quant.RunIO{{RunID: id, Direction: quant.In, Kind: "file", Name: "f"}},
			Batch: metastore.Batch{
				Params:    []quant.Param{{RunID: id, Name: "p", Value: "1"}},
				Metrics:   []quant.MetricPoint{{RunID: id, Name: "m", Step: 5, Value: 2, LoggedAt: at}, {RunID: id, Name: "m", Step: 1, Value: 7, LoggedAt: at}},
				Tags:      []quant.Tag{{RunID: id, Name: "t", Value: "v"}},
				Notes:     []quant.Note{{RunID: id, Text: "n", LoggedAt: at}},
				Artifacts: []quant.Artifact{{RunID: id, Name: "a", Digest: "sha256:" + strings.Repeat("0", 64), LoggedAt: at}},
			},
		}))
		ok(t, db.SaveProgram(ctx, quant.Program{RunID: id, Path: "/bin/true"}))
		raw(t, path, `INSERT INTO run_clients VALUES ('`+id+`', 'client `+id+`', 'FINISHED', '`+at.String()+`', NULL)`)
		raw(t, path, `INSERT INTO run_metric_latest VALUES ('`+id+`', 'm', 5, '`+at.String()+`', 2)`)
		raw(t, path, `INSERT INTO run_metric_nans VALUES ('`+id+`', 'm', 1, 1, '`+at.String()+`')`)
		ok(t, db.LogInputs(ctx, []quant.RunDataset{{RunID: id, Name: "d", Digest: "1", SourceType: "local", Source: "x"}},
			[]quant.RunModel{{RunID: id, Direction: quant.Out, ModelID: loggedID(n)}}))
		ok(t, db.PutClientArtifact(ctx, quant.ClientArtifact{Path: "traces/" + id, Digest: "sha256:" + strings.Repeat("1", 64), LoggedAt: at}))
		ok(t, db.CreateLoggedModel(ctx, quant.LoggedModel{ModelID: loggedID(n), ExperimentID: "e", Name: "m", Status: quant.LoggedModelReady, CreatedAt: at, UpdatedAt: at},
			[]quant.LoggedModelParam{{ModelID: loggedID(n), Name: "p", Value: "1"}}, []quant.LoggedModelTag{{ModelID: loggedID(n), Name: "t", Value: "v"}}))
		ok(t, db.LogLoggedModel(ctx, nil, nil, []quant.LoggedModelMetric{{ModelID: loggedID(n), Name: "auc", LoggedAt: at, RunID: "x", Value: new(float64)}}))
		name := "registered-" + id
		ok(t, db.CreateRegisteredModel(ctx, quant.RegisteredModel{Name: name, CreatedAt: at, UpdatedAt: at}, []quant.RegisteredModelTag{{Name: "t", Value: "v"}}))
		must(db.CreateModelVersion(ctx, quant.ModelVersion{Model: name, Stage: "None", Source: "s", Location: "s", Status: "READY", CreatedAt: at, UpdatedAt: at},
			[]quant.ModelVersionTag{{Name: "t", Value: "v"}}))
		ok(t, db.SetRegisteredModelAlias(ctx, quant.RegisteredModelAlias{Model: name, Alias: "champion", Version: 1}))
		raw(t, path, `INSERT INTO run_imports VALUES ('`+id+`', '`+at.String()+`', NULL)`)
	}
	must(db.DeleteRuns(ctx, []quant.Deletion{{RunID: metastoretest.RunID(0), DeletedAt: at}, {RunID: metastoretest.RunID(1), DeletedAt: at}, {RunID: metastoretest.RunID(2), DeletedAt: at}}))
	return db, path
}

// loggedID is the id of the nth logged model of a test.
func loggedID(n int) string { return fmt.Sprintf("m-%032x", n) }

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
