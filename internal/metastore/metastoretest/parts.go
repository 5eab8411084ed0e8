package metastoretest

import (
	"context"
	"fmt"
	"testing"

	"quant"
	"quant/internal/metastore"
)

func partTests() []test {
	ctx := context.Background()
	noon := startedAt(3600)
	return []test{
		{"PartsTogetherAreTheWhole", func(t *testing.T, s metastore.Store) {
			var b metastore.Batch
			for run := range 2 {
				createRun(t, s, run, nil)
				for i := range 7 {
					name := fmt.Sprintf("n%d", i)
					b.Params = append(b.Params, quant.Param{RunID: RunID(run), Name: name, Value: fmt.Sprint(run)})
					b.Tags = append(b.Tags, quant.Tag{RunID: RunID(run), Name: name, Value: fmt.Sprint(run)})
					b.Metrics = append(b.Metrics, quant.MetricPoint{RunID: RunID(run), Name: name, Value: float64(run), LoggedAt: noon})
					b.Artifacts = append(b.Artifacts, quant.Artifact{RunID: RunID(run), Name: name, Digest: "sha256:" + fmt.Sprintf("%064x", run), LoggedAt: noon})
					b.Notes = append(b.Notes, quant.Note{RunID: RunID(run), Text: name, LoggedAt: noon})
				}
			}
			ok(t, s.Log(ctx, b))
			end := successOf(1)
			end.IO = []quant.RunIO{{RunID: RunID(1), Direction: quant.In, Kind: quant.IOFile, Name: "in.csv"}, {RunID: RunID(1), Direction: quant.Out, Kind: quant.IOTable, Name: "ohlcv"}, {RunID: RunID(1), Direction: quant.Out, Kind: quant.IOTable, Name: "returns"}}
			ok(t, s.FinishRun(ctx, end))
			id := RunID(1)
			equal(t, one(s.CountRecords(ctx, id))(t), metastore.RecordCounts{Params: 7, Tags: 7, Metrics: 7, Notes: 7, Artifacts: 7, Inputs: 1, Outputs: 2})
			equal(t, one(s.CountRecords(ctx, RunID(9)))(t), metastore.RecordCounts{})
			equal(t, inParts(t, id, s.ParamsAfter, func(p quant.Param) string { return p.Name }), one(s.Params(ctx, id))(t))
			equal(t, inParts(t, id, s.TagsAfter, func(p quant.Tag) string { return p.Name }), one(s.Tags(ctx, id))(t))
			equal(t, inParts(t, id, s.MetricsAfter, func(p quant.Metric) string { return p.Name }), one(s.Metrics(ctx, id))(t))
			equal(t, inParts(t, id, s.ArtifactsAfter, func(p quant.Artifact) string { return p.Name }), one(s.Artifacts(ctx, id))(t))
			equal(t, one(s.LastNotes(ctx, id, 3))(t), one(s.Notes(ctx, id))(t)[4:])
			equal(t, one(s.MetricOf(ctx, id, "n3"))(t), one(s.Metrics(ctx, id))(t)[3])
			equal(t, one(s.ArtifactOf(ctx, id, "n3"))(t), one(s.Artifacts(ctx, id))(t)[3])
			equal(t, one(s.TagOf(ctx, id, "n3"))(t), one(s.Tags(ctx, id))(t)[3])
			_, err := s.MetricOf(ctx, id, "' OR 1 --")
			refused(t, err, quant.NotFound)
			_, err = s.ArtifactOf(ctx, RunID(9), "n3")
			refused(t, err, quant.NotFound)
		}},
	}
}

// inParts reads all parts of a run, three at a time.
func inParts[T any](t *testing.T, id string, after func(ctx context.Context, runID, name string, limit int) ([]T, error), name func(T) string) (all []T) {
	t.Helper()
	for from := ""; ; from = name(all[len(all)-1]) {
		some := one(after(context.Background(), id, from, 3))(t)
		all = append(all, some...)
		if len(some) < 3 {
			return all
		}
	}
}
