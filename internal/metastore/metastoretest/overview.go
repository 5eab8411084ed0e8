package metastoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"quant"
	"quant/internal/metastore"
)

func overviewTests() []test {
	ctx := context.Background()
	noon := startedAt(3600)
	points := func(run, n int) metastore.Batch {
		var b metastore.Batch
		for i := range n {
			b.Metrics = append(b.Metrics, quant.MetricPoint{RunID: RunID(run), Name: "loss", Step: int64(10 * i), Value: float64(i), LoggedAt: noon})
		}
		return b
	}
	return []test{
		{"RunsComeInTheOrderOfTheIDs", func(t *testing.T, s metastore.Store) {
			for n := range 3 {
				createRun(t, s, n, nil)
			}
			runs := one(s.RunsOf(ctx, []string{RunID(2), RunID(0), RunID(1)}))(t)
			equal(t, []string{runs[0].RunID, runs[1].RunID, runs[2].RunID}, []string{RunID(2), RunID(0), RunID(1)})
			equal(t, runs[0], one(s.GetRun(ctx, RunID(2)))(t))
			equal(t, len(one(s.RunsOf(ctx, nil))(t)), 0)
			for _, missing := range []string{RunID(7), "", "' OR 1 --", "\x00"} {
				_, err := s.RunsOf(ctx, []string{RunID(1), missing, RunID(2)})
				refused(t, err, quant.NotFound)
			}
		}},
		{"RecordsOfRunsAreOnlyTheirs", func(t *testing.T, s metastore.Store) {
			for n := range 3 {
				createRun(t, s, n, nil)
				ok(t, s.Log(ctx, metastore.Batch{
					Params:    []quant.Param{{RunID: RunID(n), Name: "lr", Value: fmt.Sprint(n)}, {RunID: RunID(n), Name: "a", Value: "x"}},
					Tags:      []quant.Tag{{RunID: RunID(n), Name: quant.NameTag, Value: fmt.Sprint("run ", n)}},
					Artifacts: []quant.Artifact{{RunID: RunID(n), Name: "f", Digest: "sha256:" + fmt.Sprintf("%064x", n), LoggedAt: noon}},
				}))
				ok(t, s.Log(ctx, points(n, n+1)))
				ok(t, s.SaveProgram(ctx, quant.Program{RunID: RunID(n), Path: "/bin/true"}))
				end := successOf(n)
				end.IO = []quant.RunIO{{RunID: RunID(n), Direction: quant.In, Kind: quant.IOFile, Name: "in.csv"}}
				ok(t, s.FinishRun(ctx, end))
			}
			ids := []string{RunID(2), RunID(0), RunID(2)} // twice counts once
			got := one(s.RecordsOf(ctx, ids))(t)
			zero := 0.0
			equal(t, got.Params, []quant.Param{
				{RunID: RunID(0), Name: "a", Value: "x"}, {RunID: RunID(2), Name: "a", Value: "x"},
				{RunID: RunID(0), Name: "lr", Value: "0", Number: &zero}, {RunID: RunID(2), Name: "lr", Value: "2", Number: pointer(2.0)},
			})
			equal(t, []int{len(got.Tags), len(got.Metrics), len(got.Artifacts), len(got.IO), len(got.Programs)}, []int{2, 2, 2, 2, 2})
			equal(t, got.Metrics, slices.Concat(one(s.Metrics(ctx, RunID(0)))(t), one(s.Metrics(ctx, RunID(2)))(t)))
			equal(t, one(s.MetricsOf(ctx, ids))(t), got.Metrics)
			equal(t, one(s.NamesOf(ctx, append(ids, RunID(9))))(t), map[string]string{RunID(0): "run 0", RunID(2): "run 2"})
			none := one(s.RecordsOf(ctx, []string{RunID(9)}))(t)
			equal(t, len(none.Params)+len(none.Tags)+len(none.Metrics)+len(none.Artifacts)+len(none.IO)+len(none.Programs), 0)
		}},
		{"ASampleHasTheEndsAndSpreadsBetweenThem", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			equal(t, len(one(s.MetricSample(ctx, RunID(1), "loss", 5))(t)), 0)
			_, err := s.MetricSample(ctx, RunID(1), "loss", 1)
			refused(t, err, quant.Invalid)
			ok(t, s.Log(ctx, points(1, 5)))
			equal(t, one(s.MetricSample(ctx, RunID(1), "loss", 5))(t), one(s.MetricPoints(ctx, RunID(1), "loss", 0))(t))
			ok(t, s.Log(ctx, points(1, 996)))
			var numbers []int64
			for _, p := range one(s.MetricSample(ctx, RunID(1), "loss", 5))(t) {
				numbers = append(numbers, p.Point)
			}
			equal(t, numbers, []int64{1, 251, 501, 751, 1001})
		}},
		{"EveryPointIsShownOnceByItsNumber", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			ok(t, s.Log(ctx, points(1, 200)))
			var seen []quant.MetricPoint
			ok(t, s.EachMetricPoint(ctx, RunID(1), "loss", func(p quant.MetricPoint) error { seen = append(seen, p); return nil }))
			equal(t, seen, one(s.MetricPoints(ctx, RunID(1), "loss", 0))(t))
			enough := errors.New("enough")
			calls := 0
			err := s.EachMetricPoint(ctx, RunID(1), "loss", func(quant.MetricPoint) error { calls++; return enough })
			if !errors.Is(err, enough) || calls != 1 {
				t.Errorf("%v after %d calls", err, calls)
			}
		}},
		{"RunsAreSummedUpByKind", func(t *testing.T, s metastore.Store) {
			equal(t, len(one(s.RunStats(ctx, metastore.RunFilter{All: true}))(t)), 0)
			// 20 that took 1 to 20 ms, every fifth a FAIL; one that runs; one whose end
			// nobody saw; one that only reads.
			for n := range 20 {
				createRun(t, s, n, nil)
				end := successOf(n)
				if n%5 == 4 {
					end = failOf(n, "it broke")
				}
				end.DurationUS = pointer(int64(20-n) * 1000)
				ok(t, s.FinishRun(ctx, end))
			}
			createRun(t, s, 20, nil)
			createRun(t, s, 21, func(r *quant.Run, _ *quant.RunProcess) { r.Kind = "exec" })
			ok(t, s.FinishRun(ctx, failOf(21, "lost")))
			createRun(t, s, 22, func(r *quant.Run, p *quant.RunProcess) { r.Kind, p.Changes = "sql", false })
			want := []metastore.KindStats{
				{Kind: "config", Runs: 21, Running: 1, Success: 16, Fail: 4, P50US: pointer(int64(10_000)), P95US: pointer(int64(19_000)), LastFail: RunID(19)},
				{Kind: "exec", Runs: 1, Fail: 1, LastFail: RunID(21)},
			}
			equal(t, one(s.RunStats(ctx, metastore.RunFilter{}))(t), want)
			equal(t, len(one(s.RunStats(ctx, metastore.RunFilter{All: true}))(t)), 3)
			equal(t, one(s.RunStats(ctx, metastore.RunFilter{Kind: "exec"}))(t), want[1:])
			late := one(s.RunStats(ctx, metastore.RunFilter{Since: startedAt(18), Kind: "config"}))(t)
			equal(t, late, []metastore.KindStats{{Kind: "config", Runs: 3, Running: 1, Success: 1, Fail: 1, P50US: pointer(int64(1000)), P95US: pointer(int64(2000)), LastFail: RunID(19)}})
		}},
		{"ARunWithoutMarksHasNone", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			equal(t, one(s.MarksOf(ctx, RunID(1)))(t), metastore.Marks{})
		}},
	}
}
