package metastoretest

import (
	"context"
	"errors"
	"math"
	"testing"

	"quant"
	"quant/internal/metastore"
)

func recordTests() []test {
	ctx := context.Background()
	noon := startedAt(3600)
	point := func(run int, name string, step int64, value float64) quant.MetricPoint {
		return quant.MetricPoint{RunID: RunID(run), Name: name, Step: step, Value: value, LoggedAt: noon}
	}
	refuses := func(t *testing.T, err error, code quant.Code) {
		t.Helper()
		if !errors.Is(err, code) {
			t.Errorf("got %v, want %s", err, code)
		}
	}
	digest := func(c byte) string {
		b := []byte("sha256:")
		for range 64 {
			b = append(b, c)
		}
		return string(b)
	}
	return []test{
		{"ARunWithoutRecordsHasEmptyLists", func(t *testing.T, s metastore.Store) {
			equal(t, len(one(s.Params(ctx, RunID(1)))(t)), 0)
			equal(t, len(one(s.MetricPoints(ctx, RunID(1), "x", 0))(t)), 0)
			ok(t, s.Log(ctx, metastore.Batch{}))
			_, err := s.GetProgram(ctx, RunID(1))
			refuses(t, err, quant.NotFound)
		}},
		{"AParamIsWrittenOnce", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			five := metastore.Batch{Params: []quant.Param{{RunID: RunID(1), Name: "top_k", Value: "5.0"}, {RunID: RunID(1), Name: "algo", Value: "ridge"}}}
			ok(t, s.Log(ctx, five))
			ok(t, s.Log(ctx, five))
			refuses(t, s.Log(ctx, metastore.Batch{
				Params: []quant.Param{{RunID: RunID(1), Name: "top_k", Value: "5"}},
				Notes:  []quant.Note{{RunID: RunID(1), Text: "goes with it", LoggedAt: noon}},
			}), quant.Conflict)
			equal(t, one(s.Params(ctx, RunID(1)))(t), []quant.Param{
				{RunID: RunID(1), Name: "algo", Value: "ridge"},
				{RunID: RunID(1), Name: "top_k", Value: "5.0", Number: pointer(5.0)},
			})
			equal(t, len(one(s.Notes(ctx, RunID(1)))(t)), 0) // all of a batch or nothing
		}},
		{"ATagIsReplacedAndTakenAway", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			createRun(t, s, 2, nil)
			for _, value := range []string{"alpha", "7"} {
				ok(t, s.Log(ctx, metastore.Batch{Tags: []quant.Tag{{RunID: RunID(1), Name: "team", Value: value}, {RunID: RunID(2), Name: "team", Value: value}}}))
			}
			equal(t, one(s.Tags(ctx, RunID(1)))(t), []quant.Tag{{RunID: RunID(1), Name: "team", Value: "7", Number: pointer(7.0)}})
			equal(t, one(s.TaggedRuns(ctx, "team", "7", 5))(t), []string{RunID(2), RunID(1)})
			ok(t, s.DeleteTag(ctx, RunID(2), "team"))
			refuses(t, s.DeleteTag(ctx, RunID(2), "team"), quant.NotFound)
			equal(t, one(s.TaggedRuns(ctx, "team", "7", 5))(t), []string{RunID(1)})
		}},
		{"PointsKeepTheirOrderAndTheSumsFollow", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			ok(t, s.Log(ctx, metastore.Batch{Metrics: []quant.MetricPoint{
				point(1, "loss", quant.AutoStep, 3), point(1, "acc", 7, -1), point(1, "loss", quant.AutoStep, 2), point(1, "loss", 0, 9),
			}}))
			equal(t, one(s.Metrics(ctx, RunID(1)))(t), []quant.Metric{
				{RunID: RunID(1), Name: "acc", Points: 1, LastStep: 7, Last: -1, Min: -1, Max: -1},
				{RunID: RunID(1), Name: "loss", Points: 3, LastStep: 1, Last: 2, Min: 2, Max: 9},
			})
			ok(t, s.Log(ctx, metastore.Batch{Metrics: []quant.MetricPoint{point(1, "loss", quant.AutoStep, 1), point(1, "acc", quant.AutoStep, 4)}}))
			var steps []int64
			for i, p := range one(s.MetricPoints(ctx, RunID(1), "loss", 0))(t) {
				equal(t, p.Point, int64(i+1))
				steps = append(steps, p.Step)
			}
			equal(t, steps, []int64{0, 1, 0, 2})
			last := one(s.MetricPoints(ctx, RunID(1), "loss", 2))(t)
			equal(t, []float64{last[0].Value, last[1].Value}, []float64{9, 1})
			equal(t, one(s.Metrics(ctx, RunID(1)))(t)[0], quant.Metric{RunID: RunID(1), Name: "acc", Points: 2, LastStep: 8, Last: 4, Min: -1, Max: 4})
		}},
		{"ThousandsOfPointsInOneBatchAddUp", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			b := metastore.Batch{}
			for i := range 3001 {
				b.Metrics = append(b.Metrics, point(1, []string{"a", "b"}[i%2], quant.AutoStep, float64(i)))
			}
			ok(t, s.Log(ctx, b))
			equal(t, one(s.Metrics(ctx, RunID(1)))(t), []quant.Metric{
				{RunID: RunID(1), Name: "a", Points: 1501, LastStep: 1500, Last: 3000, Min: 0, Max: 3000},
				{RunID: RunID(1), Name: "b", Points: 1500, LastStep: 1499, Last: 2999, Min: 1, Max: 2999},
			})
			equal(t, len(one(s.MetricPoints(ctx, RunID(1), "a", 0))(t)), 1501)
		}},
		{"WhatIsNoFiniteNumberIsRefused", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
				refuses(t, s.Log(ctx, metastore.Batch{Metrics: []quant.MetricPoint{point(1, "x", 0, v)}}), quant.Invalid)
			}
			equal(t, len(one(s.Metrics(ctx, RunID(1)))(t)), 0)
		}},
		{"NotesAndArtifactsAreListed", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			a := quant.Artifact{RunID: RunID(1), Name: "plots/한글.png", Digest: digest('a'), Bytes: 3, LoggedAt: noon}
			for _, text := range []string{"first", "둘째\nline"} {
				ok(t, s.Log(ctx, metastore.Batch{Notes: []quant.Note{{RunID: RunID(1), Text: text, LoggedAt: noon}}, Artifacts: []quant.Artifact{a}}))
			}
			equal(t, one(s.Notes(ctx, RunID(1)))(t), []quant.Note{
				{RunID: RunID(1), Note: 1, Text: "first", LoggedAt: noon}, {RunID: RunID(1), Note: 2, Text: "둘째\nline", LoggedAt: noon},
			})
			equal(t, one(s.Artifacts(ctx, RunID(1)))(t), []quant.Artifact{a})
			equal(t, one(s.ArtifactUsed(ctx, a.Digest))(t), true)
			equal(t, one(s.ArtifactUsed(ctx, digest('b')))(t), false)
			other := a
			other.Digest = digest('b')
			refuses(t, s.Log(ctx, metastore.Batch{Artifacts: []quant.Artifact{other}}), quant.Conflict)
			for _, name := range []string{"", "../x", "/etc/passwd", "a/../b", "a//b", "a\\b", ".", "a\x00", "a\nb", "a\u202eb", "a/"} {
				other.Name = name
				refuses(t, s.Log(ctx, metastore.Batch{Artifacts: []quant.Artifact{other}}), quant.Invalid)
			}
		}},
		{"WhatNamesNoRunIsRefused", func(t *testing.T, s metastore.Store) {
			refuses(t, s.Log(ctx, metastore.Batch{Tags: []quant.Tag{{RunID: RunID(9), Name: "a", Value: "b"}}}), quant.NotFound)
			refuses(t, s.Log(ctx, metastore.Batch{Tags: []quant.Tag{{Name: "a", Value: "b"}}}), quant.Invalid)
		}},
		{"ABatchIsStoredWithTheEndOfItsRun", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			end := successOf(1)
			end.Batch = metastore.Batch{Metrics: []quant.MetricPoint{point(1, "sharpe", 0, 1.5)}, Params: []quant.Param{{RunID: RunID(1), Name: "k", Value: "v"}}}
			ok(t, s.FinishRun(ctx, end))
			equal(t, len(one(s.Params(ctx, RunID(1)))(t)), 1)
			equal(t, one(s.Metrics(ctx, RunID(1)))(t)[0].Last, 1.5)
			ok(t, s.Log(ctx, metastore.Batch{Notes: []quant.Note{{RunID: RunID(1), Text: "afterwards", LoggedAt: noon}}}))
		}},
		{"AProgramIsSavedAndReplaced", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			p := quant.Program{RunID: RunID(1), Path: "/bin/true", ChildPID: pointer(int64(7)), EnvironmentJSON: quant.JSON(`{"a":1}`)}
			ok(t, s.SaveProgram(ctx, p))
			p.Signal, p.UserUS = pointer(int64(9)), pointer(int64(1500))
			ok(t, s.SaveProgram(ctx, p))
			equal(t, one(s.GetProgram(ctx, RunID(1)))(t), p)
		}},
		{"AProgramIsStoredWithTheEndOfItsRun", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			p := quant.Program{RunID: RunID(1), Path: "/bin/true", OutputBytes: pointer(int64(5))}
			end := successOf(1)
			end.Program = &quant.Program{RunID: RunID(2)}
			refused(t, s.FinishRun(ctx, end), quant.Invalid)
			end.Program = &p
			ok(t, s.FinishRun(ctx, end))
			equal(t, one(s.GetProgram(ctx, RunID(1)))(t), p)
		}},
	}
}

// unusual are texts of paths, arguments and programs, which need not be those of people.
func unusual() []string {
	return append(awkward(), "\x00", "a\x00\x00b", "\x01", "\x01\x02", "no \xff\xfe UTF-8 \xed\xa0\x80", "cut off \xe2\x82", "\ufdd0", "\ufdd000", "\ufdd0zz", "\ufffd")
}
