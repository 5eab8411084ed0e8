package metastoretest

import (
	"context"
	"errors"
	"testing"

	"quant"
	"quant/internal/metastore"
)

func portableTests() []test {
	ctx := context.Background()
	noon := startedAt(3600)
	ended := func(n int) metastore.EndedRun {
		r, p := newRun(n)
		r.Status, r.EndedAt = quant.Success, startedAt(n+1)
		return metastore.EndedRun{RunDetail: metastore.RunDetail{Run: r, Process: p}}
	}
	mark := func(n int) quant.Import {
		return quant.Import{RunID: RunID(n), ImportedAt: noon, ByRunID: quant.Text(RunID(99))}
	}
	point := func(n int, name string, number, step int64, value float64) quant.MetricPoint {
		return quant.MetricPoint{RunID: RunID(n), Name: name, Point: number, Step: step, Value: value, LoggedAt: noon}
	}
	return []test{
		{"AnImportedRunIsAsItWas", func(t *testing.T, s metastore.Store) {
			r := ended(1)
			r.Status, r.ErrorText = quant.Fail, "it broke"
			r.Process.ExitCode, r.Process.Host, r.Process.ParentRunID = pointer(int64(3)), "elsewhere", quant.Text(RunID(77))
			r.IO = []quant.RunIO{{RunID: RunID(1), Direction: quant.Out, Kind: quant.IOTable, Name: "ohlcv", Rows: pointer(int64(5))}}
			r.Program = &quant.Program{RunID: RunID(1), Path: "/bin/true"}
			r.Batch = metastore.Batch{
				Params: []quant.Param{{RunID: RunID(1), Name: "k", Value: "5"}},
				Tags:   []quant.Tag{{RunID: RunID(1), Name: "team", Value: "alpha"}},
				Notes:  []quant.Note{{RunID: RunID(1), Text: "hm", LoggedAt: noon}},
			}
			ok(t, s.ImportRun(ctx, r, mark(1)))
			equal(t, one(s.GetRun(ctx, RunID(1)))(t), r.RunDetail)
			equal(t, one(s.RunIO(ctx, RunID(1)))(t), r.IO)
			equal(t, one(s.GetProgram(ctx, RunID(1)))(t), *r.Program)
			equal(t, one(s.Params(ctx, RunID(1)))(t), []quant.Param{{RunID: RunID(1), Name: "k", Value: "5", Number: pointer(5.0)}})
			equal(t, len(one(s.Notes(ctx, RunID(1)))(t)), 1)
			equal(t, one(s.Imports(ctx))(t), []quant.Import{mark(1)})
			equal(t, one(s.IsDeleted(ctx, RunID(1)))(t), false)
			refused(t, s.ImportRun(ctx, r, mark(1)), quant.Conflict)
		}},
		{"OnlyAWholeEndedRunIsImported", func(t *testing.T, s metastore.Store) {
			for _, change := range []func(r *metastore.EndedRun, m *quant.Import){
				func(r *metastore.EndedRun, _ *quant.Import) { r.Status, r.EndedAt = quant.Running, quant.Time{} },
				func(r *metastore.EndedRun, _ *quant.Import) { r.EndedAt = quant.Time{} },
				func(r *metastore.EndedRun, _ *quant.Import) { r.Status = quant.Fail },
				func(r *metastore.EndedRun, _ *quant.Import) { r.RunID = "x" },
				func(r *metastore.EndedRun, _ *quant.Import) { r.Process.RunID = RunID(2) },
				func(r *metastore.EndedRun, _ *quant.Import) { r.ConfigJSON = quant.JSON(`{`) },
				func(r *metastore.EndedRun, m *quant.Import) { m.RunID = RunID(2) },
				func(r *metastore.EndedRun, m *quant.Import) { m.ImportedAt = quant.Time{} },
				func(r *metastore.EndedRun, _ *quant.Import) {
					r.Batch.Tags = []quant.Tag{{RunID: RunID(2), Name: "a", Value: "b"}}
				},
				func(r *metastore.EndedRun, _ *quant.Import) {
					r.Batch.Params = []quant.Param{{RunID: RunID(1), Name: "a\nb", Value: "b"}}
				},
				func(r *metastore.EndedRun, _ *quant.Import) {
					r.Batch.Metrics = []quant.MetricPoint{point(1, "a", 1, 0, 1)}
				},
				func(r *metastore.EndedRun, _ *quant.Import) {
					r.IO = []quant.RunIO{{RunID: RunID(1), Direction: "up", Kind: "a", Name: "b"}}
				},
			} {
				r, m := ended(1), mark(1)
				change(&r, &m)
				refused(t, s.ImportRun(ctx, r, m), quant.Invalid)
			}
			equal(t, len(one(s.ListRuns(ctx, metastore.RunFilter{All: true}))(t)), 0)
		}},
		{"ImportedPointsAreNumberedAsTheyWereAndSummedUp", func(t *testing.T, s metastore.Store) {
			ok(t, s.ImportRun(ctx, ended(1), mark(1)))
			ok(t, s.ImportPoints(ctx, []quant.MetricPoint{point(1, "loss", 1, 4, 3), point(1, "loss", 2, 5, 1)}))
			ok(t, s.ImportPoints(ctx, []quant.MetricPoint{point(1, "loss", 3, 2, 9), point(1, "acc", 1, -7, 0.5)}))
			equal(t, one(s.Metrics(ctx, RunID(1)))(t), []quant.Metric{
				{RunID: RunID(1), Name: "acc", Points: 1, LastStep: -7, Last: 0.5, Min: 0.5, Max: 0.5},
				{RunID: RunID(1), Name: "loss", Points: 3, LastStep: 5, Last: 1, Min: 1, Max: 9},
			})
			var all []quant.MetricPoint
			ok(t, s.EachPoint(ctx, RunID(1), func(p quant.MetricPoint) error {
				all = append(all, p)
				return nil
			}))
			equal(t, all, []quant.MetricPoint{point(1, "acc", 1, -7, 0.5), point(1, "loss", 1, 4, 3), point(1, "loss", 2, 5, 1), point(1, "loss", 3, 2, 9)})
			for _, wrong := range []int64{0, 3, 5} {
				refused(t, s.ImportPoints(ctx, []quant.MetricPoint{point(1, "loss", wrong, 1, 1)}), quant.Invalid)
			}
			refused(t, s.ImportPoints(ctx, []quant.MetricPoint{point(1, "loss", 4, quant.AutoStep, 1)}), quant.Invalid)
			createRun(t, s, 2, nil)
			refused(t, s.ImportPoints(ctx, []quant.MetricPoint{point(2, "loss", 1, 1, 1)}), quant.Conflict)
		}},
		{"EachPointHandsOnAnError", func(t *testing.T, s metastore.Store) {
			ok(t, s.ImportRun(ctx, ended(1), mark(1)))
			ok(t, s.ImportPoints(ctx, []quant.MetricPoint{point(1, "loss", 1, 4, 3), point(1, "loss", 2, 5, 1)}))
			boom, calls := errors.New("boom"), 0
			err := s.EachPoint(ctx, RunID(1), func(quant.MetricPoint) error { calls++; return boom })
			if !errors.Is(err, boom) || calls != 1 {
				t.Fatalf("%d calls, %v", calls, err)
			}
		}},
		{"ASnapshotDoesNotSeeWhatOthersWriteAndWritesNothing", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			count := func(ctx context.Context) int {
				return len(one(s.ListRuns(ctx, metastore.RunFilter{All: true}))(t))
			}
			ok(t, s.Snapshot(ctx, func(inside context.Context) error {
				createRun(t, s, 2, nil) // by somebody else, who does not wait
				equal(t, count(inside), 1)
				equal(t, count(ctx), 2)
				r, p := newRun(3)
				refused(t, s.CreateRun(inside, r, p), quant.Failed)
				return nil
			}))
			equal(t, count(ctx), 2)
			boom := errors.New("boom")
			if err := s.Snapshot(ctx, func(context.Context) error { return boom }); !errors.Is(err, boom) {
				t.Fatalf("got %v", err)
			}
		}},
	}
}
