package metastoretest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
)

// FillOfRuns stores three runs, a row of each companion of each, and three rows of each
// table of what clients log beside runs. exec runs a statement on the database past the
// store, for rows that only come about in other ways.
func FillOfRuns(t *testing.T, db metastore.Store, exec func(statement string)) {
	t.Helper()
	ctx := context.Background()
	at := quant.NewTime(time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC))
	for n := range 3 {
		id := RunID(n)
		r, p := newRun(n)
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
		exec(`INSERT INTO run_clients VALUES ('` + id + `', 'client ` + id + `', 'FINISHED', '` + at.String() + `', NULL)`)
		exec(`INSERT INTO run_metric_latest VALUES ('` + id + `', 'm', 5, '` + at.String() + `', 2)`)
		exec(`INSERT INTO run_metric_nans VALUES ('` + id + `', 'm', 1, 1, '` + at.String() + `')`)
		ok(t, db.LogInputs(ctx, []quant.RunDataset{{RunID: id, Name: "d", Digest: "1", SourceType: "local", Source: "x"}},
			[]quant.RunModel{{RunID: id, Direction: quant.Out, ModelID: loggedID(n)}}))
		ok(t, db.PutClientArtifact(ctx, quant.ClientArtifact{Path: "traces/" + id, Digest: "sha256:" + strings.Repeat("1", 64), LoggedAt: at}))
		ok(t, db.CreateLoggedModel(ctx, quant.LoggedModel{ModelID: loggedID(n), ExperimentID: "e", Name: "m", Status: quant.LoggedModelReady, CreatedAt: at, UpdatedAt: at},
			[]quant.LoggedModelParam{{ModelID: loggedID(n), Name: "p", Value: "1"}}, []quant.LoggedModelTag{{ModelID: loggedID(n), Name: "t", Value: "v"}}))
		ok(t, db.LogLoggedModel(ctx, nil, nil, []quant.LoggedModelMetric{{ModelID: loggedID(n), Name: "auc", LoggedAt: at, RunID: "x", Value: new(float64)}}))
		name := "registered-" + id
		ok(t, db.CreateRegisteredModel(ctx, quant.RegisteredModel{Name: name, CreatedAt: at, UpdatedAt: at}, []quant.RegisteredModelTag{{Name: "t", Value: "v"}}))
		_, err := db.CreateModelVersion(ctx, quant.ModelVersion{Model: name, Stage: "None", Source: "s", Location: "s", Status: "READY", CreatedAt: at, UpdatedAt: at},
			[]quant.ModelVersionTag{{Name: "t", Value: "v"}})
		ok(t, err)
		ok(t, db.SetRegisteredModelAlias(ctx, quant.RegisteredModelAlias{Model: name, Alias: "champion", Version: 1}))
		exec(`INSERT INTO run_imports VALUES ('` + id + `', '` + at.String() + `', NULL)`)
	}
	_, err := db.DeleteRuns(ctx, []quant.Deletion{{RunID: RunID(0), DeletedAt: at}, {RunID: RunID(1), DeletedAt: at}, {RunID: RunID(2), DeletedAt: at}})
	ok(t, err)
}

// loggedID is the id of the nth logged model of a test.
func loggedID(n int) string { return fmt.Sprintf("m-%032x", n) }

// FillEveryTable stores a row in every table, and texts and numbers that engines store in
// ways of their own. A new table is filled here, or the test of copies fails.
func FillEveryTable(t *testing.T, db metastore.Store, exec func(statement string)) {
	t.Helper()
	ctx := context.Background()
	at := quant.NewTime(time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC))
	FillOfRuns(t, db, exec)
	ok(t, db.CreateSymbol(ctx, quant.Symbol{Symbol: "005930.KS", Name: "삼성", IsActive: true, Priority: -3}))
	ok(t, db.CreateSymbol(ctx, quant.Symbol{Symbol: "a"}))
	for _, id := range []string{"e1", "e2", "e3"} {
		ok(t, db.CreateExperiment(ctx, quant.Experiment{ExperimentID: id, Name: "name of " + id, CreatedAt: at}))
	}
	exec(`DELETE FROM experiments WHERE experiment_id = 'e1'`) // the numbers of the others stay
	ok(t, db.SetExperimentTag(ctx, metastore.ExperimentTag{ExperimentID: "e2", Name: "t", Value: "v"}))
	ok(t, db.CreateModel(ctx, quant.Model{ModelID: "m", ExperimentID: "e3", CreatedAt: at}))
	ok(t, db.CreateToken(ctx, quant.Token{Digest: "sha256:" + strings.Repeat("2", 64), Name: "ci", Scope: "write", CreatedAt: at}))
	id := RunID(7)
	r, p := newRun(7)
	p.Argv, p.WorkDir = quant.JSON(`["quant", "x\u0000y"]`), "/a/\xff\x00b\ufdd0"
	ok(t, db.CreateRun(ctx, r, p))
	ok(t, db.FinishRun(ctx, metastore.RunEnd{RunID: id, Status: quant.Fail, EndedAt: at, ErrorText: "it broke\x00 in the middle", Facts: quant.FactsNone, ExitCode: pointer(int64(-1)), Batch: metastore.Batch{
		Params: []quant.Param{{RunID: id, Name: "empty", Value: ""}, {RunID: id, Name: "number", Value: "1e-300"}},
		Metrics: []quant.MetricPoint{
			{RunID: id, Name: "m", Step: -1 << 62, Value: 0.1, LoggedAt: at}, {RunID: id, Name: "m", Step: 1 << 62, Value: -1.7976931348623157e308, LoggedAt: at},
			{RunID: id, Name: "m", Step: 3, Value: 5e-324, LoggedAt: at}, {RunID: id, Name: "m", Step: 4, Value: 3, LoggedAt: at},
		},
		Notes: []quant.Note{{RunID: id, Text: "\ufdd0 and \u00e9", LoggedAt: at}},
	}}))
}

// EveryRow is what a store holds: the number and digest of the rows of every table. Each
// has a row, unless some is false.
func EveryRow(t *testing.T, s metastore.Store, some bool) string {
	t.Helper()
	ctx := context.Background()
	tables, err := s.Tables(ctx)
	ok(t, err)
	known := map[string]bool{}
	for _, w := range s.WholeTables() {
		known[w.Name] = true
	}
	var b strings.Builder
	for _, table := range tables {
		if !known[table.Table] {
			t.Errorf("table %s is not among those that are copied", table.Table)
		}
		delete(known, table.Table)
		n, digest, err := metastore.RowsDigest(s.Rows(ctx, table.Table))
		ok(t, err)
		if n != table.Rows || some && n == 0 {
			t.Errorf("table %s: %d rows were read of %d; the test fills every table", table.Table, n, table.Rows)
		}
		fmt.Fprintf(&b, "%s %d %s\n", table.Table, n, digest)
	}
	if len(known) > 0 {
		t.Errorf("copied are tables that are not there: %v", known)
	}
	return b.String()
}

// RunWhole checks copies from any of these engines to any. open makes an empty store and
// what runs a statement on its database.
func RunWhole(t *testing.T, engines map[string]func(t *testing.T) (metastore.Store, func(statement string))) {
	t.Helper()
	ctx := context.Background()
	for from, openFrom := range engines {
		for to, openTo := range engines {
			t.Run(from+"To"+to, func(t *testing.T) {
				t.Parallel()
				source, exec := openFrom(t)
				FillEveryTable(t, source, exec)
				want := EveryRow(t, source, true)
				target, execThere := openTo(t)
				copied, err := metastore.CopyWhole(ctx, source, target, metastore.CopyOptions{})
				ok(t, err)
				if got := EveryRow(t, target, true); got != want {
					t.Errorf("copied\n%s\nwant\n%s", got, want)
				}
				if got := EveryRow(t, source, true); got != want {
					t.Errorf("the source has become\n%s\nfrom\n%s", got, want)
				}
				if len(copied) != len(target.WholeTables()) {
					t.Errorf("it says %v", copied)
				}
				equal(t, one(target.GetRun(ctx, RunID(7)))(t), one(source.GetRun(ctx, RunID(7)))(t))
				// The rules hold again.
				if problems, err := target.Check(ctx); err != nil || len(problems) > 0 {
					t.Errorf("it is not sound: %v, %v", problems, err)
				}
				r, p := newRun(8)
				ok(t, target.CreateRun(ctx, r, p))
				ok(t, target.CreateExperiment(ctx, quant.Experiment{ExperimentID: "e4", Name: "after", CreatedAt: startedAt(8)}))
				execThere(`DELETE FROM experiments WHERE experiment_id = 'e4'`)
				_, err = metastore.CopyWhole(ctx, source, target, metastore.CopyOptions{})
				refused(t, err, quant.Conflict)
			})
		}
	}
	for to, openTo := range engines {
		t.Run("BesideRunsThatPreparedIt"+to, func(t *testing.T) {
			t.Parallel()
			source, exec := engines["SQLite"](t)
			FillEveryTable(t, source, exec)
			target, _ := openTo(t)
			r, p := newRun(90)
			ok(t, target.CreateRun(ctx, r, p))
			ok(t, target.FinishRun(ctx, successOf(90)))
			empty := EveryRow(t, target, false)
			_, err := metastore.CopyWhole(ctx, source, target, metastore.CopyOptions{})
			refused(t, err, quant.Conflict)
			mine := metastore.CopyOptions{Beside: func(r metastore.RunDetail) bool { return r.Kind == "config" }}
			broken := mine
			broken.Before = func() error { return quant.Errorf(quant.Failed, "not now") }
			_, err = metastore.CopyWhole(ctx, source, target, broken)
			refused(t, err, quant.Failed)
			if got := EveryRow(t, target, false); got != empty {
				t.Errorf("after a copy that failed it holds\n%s", got)
			}
			_, err = metastore.CopyWhole(ctx, source, target, mine)
			ok(t, err)
			if runs := one(target.ListRuns(ctx, metastore.RunFilter{All: true}))(t); len(runs) != 2 {
				t.Errorf("runs: %v", runs)
			}
			_, err = metastore.CopyWhole(ctx, source, target, mine)
			refused(t, err, quant.Conflict)
		})
	}
}
