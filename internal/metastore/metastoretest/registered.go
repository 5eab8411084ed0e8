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

func registeredTests() []test {
	ctx := context.Background()
	noon := startedAt(3600)
	later := startedAt(7200)
	digest := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	file := func(n int, name, c string) quant.Artifact {
		return quant.Artifact{RunID: RunID(n), Name: name, Digest: digest(c), Bytes: 1, LoggedAt: noon}
	}
	modelID := func(n int) string { return fmt.Sprintf("m-%032x", n) }
	logged := func(n int) quant.LoggedModel {
		return quant.LoggedModel{
			ModelID: modelID(n), ExperimentID: "e", Name: fmt.Sprintf("model-%d", n), SourceRunID: "abc", Status: quant.LoggedModelPending,
			CreatedAt: startedAt(n), UpdatedAt: startedAt(n),
		}
	}
	register := func(t *testing.T, s metastore.Store, name string) {
		t.Helper()
		ok(t, s.CreateRegisteredModel(ctx, quant.RegisteredModel{Name: name, CreatedAt: noon, UpdatedAt: noon}, nil))
	}
	version := func(t *testing.T, s metastore.Store, name string) int64 {
		t.Helper()
		return one(s.CreateModelVersion(ctx, quant.ModelVersion{
			Model: name, Stage: "None", Source: "runs:/x/model", Location: "mlflow-artifacts:/1/x/artifacts/model", RunID: "x", Status: "READY", CreatedAt: noon, UpdatedAt: noon,
		}, []quant.ModelVersionTag{{Name: "k", Value: "v"}}))(t)
	}
	names := func(list []quant.Artifact) (all []string) {
		for _, a := range list {
			all = append(all, a.RunID[len(a.RunID)-1:]+":"+a.Name+":"+a.Digest[7:8])
		}
		return all
	}
	return []test{
		{"AnArtifactOfAClientIsReplacedAndTakenAway", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			createRun(t, s, 2, nil)
			for _, a := range []quant.Artifact{file(1, "a/b.txt", "1"), file(1, "a/b.txt", "2"), file(1, "a.txt", "3"), file(1, "a/c/d", "4"), file(2, "a/b.txt", "5"), file(1, "ab", "6")} {
				ok(t, s.PutArtifact(ctx, a))
			}
			both := []string{RunID(1), RunID(2)}
			equal(t, names(one(s.ArtifactsBelow(ctx, both, "a"))(t)), []string{"1:a/b.txt:2", "2:a/b.txt:5", "1:a/c/d:4"})
			equal(t, names(one(s.ArtifactsBelow(ctx, both[:1], ""))(t)), []string{"1:a.txt:3", "1:a/b.txt:2", "1:a/c/d:4", "1:ab:6"})
			equal(t, names(one(s.ArtifactsBelow(ctx, both[:1], "a/b.txt"))(t)), []string{"1:a/b.txt:2"})
			equal(t, one(s.ArtifactUsed(ctx, digest("1")))(t), false)
			refused(t, s.PutArtifact(ctx, file(1, "a", "7")), quant.Conflict)
			refused(t, s.PutArtifact(ctx, file(1, "a.txt/x", "7")), quant.Conflict)
			refused(t, s.PutArtifact(ctx, file(9, "x", "7")), quant.NotFound)
			refused(t, s.PutArtifact(ctx, file(1, "../x", "7")), quant.Invalid)
			equal(t, one(s.RemoveArtifacts(ctx, both, "a"))(t), 3)
			equal(t, names(one(s.ArtifactsBelow(ctx, both, ""))(t)), []string{"1:a.txt:3", "1:ab:6"})
			equal(t, one(s.RemoveArtifacts(ctx, both, "nothing"))(t), 0)
			ok(t, s.FinishRun(ctx, successOf(1)))
			one(s.DeleteRuns(ctx, []quant.Deletion{{RunID: RunID(1), DeletedAt: noon}}))(t)
			refused(t, s.PutArtifact(ctx, file(1, "x", "7")), quant.Conflict)
		}},
		{"AFileThatIsNoRunsIsUsedUntilItIsTakenAway", func(t *testing.T, s metastore.Store) {
			put := func(path, c string) error {
				return s.PutClientArtifact(ctx, quant.ClientArtifact{Path: path, Digest: digest(c), Bytes: 3, LoggedAt: noon})
			}
			ok(t, put("1/models/x/artifacts/MLmodel", "a"))
			ok(t, put("1/models/x/artifacts/MLmodel", "b"))
			ok(t, put("1/models/x/artifacts/data/model.pkl", "c"))
			ok(t, put("1/models/xy", "d"))
			equal(t, one(s.ArtifactUsed(ctx, digest("a")))(t), false)
			equal(t, one(s.ArtifactUsed(ctx, digest("b")))(t), true)
			equal(t, len(one(s.StoredArtifacts(ctx))(t)), 3)
			equal(t, len(one(s.ClientArtifactsBelow(ctx, "1/models/x"))(t)), 2)
			equal(t, len(one(s.ClientArtifactsBelow(ctx, ""))(t)), 3)
			refused(t, put("1/models/x", "e"), quant.Conflict)
			refused(t, put("1/models/xy/z", "e"), quant.Conflict)
			refused(t, put("/etc/passwd", "e"), quant.Invalid)
			equal(t, one(s.RemoveClientArtifacts(ctx, "1/models/x"))(t), 2)
			equal(t, one(s.ArtifactUsed(ctx, digest("b")))(t), false)
		}},
		{"DatasetsAndModelsOfARunAreInputsAndOutputsOfIt", func(t *testing.T, s metastore.Store) {
			createRun(t, s, 1, nil)
			d := quant.RunDataset{
				RunID: RunID(1), Name: "train", Digest: "abc", SourceType: "local", Source: `{"uri":"x"}`, Schema: "{}", Context: "training",
				TagsJSON: quant.JSON(`[["mlflow.data.context","training"]]`),
			}
			second, again := d, d
			second.Digest, again.Source = "def", "changed"
			used := quant.RunModel{RunID: RunID(1), Direction: quant.In, ModelID: modelID(1)}
			made := quant.RunModel{RunID: RunID(1), Direction: quant.Out, ModelID: modelID(2), Step: 7}
			ok(t, s.LogInputs(ctx, []quant.RunDataset{d, second, again}, []quant.RunModel{used, made, made}))
			ok(t, s.LogInputs(ctx, []quant.RunDataset{again}, nil))
			equal(t, one(s.DatasetsOf(ctx, []string{RunID(1)}))(t), []quant.RunDataset{d, second})
			equal(t, one(s.ModelsOf(ctx, []string{RunID(1)}))(t), []quant.RunModel{used, made})
			equal(t, one(s.RunIO(ctx, RunID(1)))(t), []quant.RunIO{
				{RunID: RunID(1), Direction: quant.In, Kind: quant.IODataset, Name: "train", Digest: "abc"},
				{RunID: RunID(1), Direction: quant.In, Kind: quant.IODataset, Name: "train@def", Digest: "def"},
				{RunID: RunID(1), Direction: quant.In, Kind: quant.IOLoggedModel, Name: modelID(1)},
				{RunID: RunID(1), Direction: quant.Out, Kind: quant.IOLoggedModel, Name: modelID(2)},
			})
			ok(t, s.Log(ctx, metastore.Batch{Tags: []quant.Tag{{RunID: RunID(1), Name: quant.ExperimentTag, Value: "e"}}}))
			equal(t, one(s.DatasetsOfExperiments(ctx, []string{"e", "f"}, 10))(t), []metastore.DatasetSummary{
				{ExperimentID: "e", Name: "train", Digest: "abc", Context: "training"}, {ExperimentID: "e", Name: "train", Digest: "def", Context: "training"},
			})
			equal(t, len(one(s.DatasetsOfExperiments(ctx, []string{"e"}, 1))(t)), 1)
			createRun(t, s, 2, nil)
			for _, tt := range []struct {
				e    metastore.Expr
				want int
			}{
				{metastore.HasDataset{Key: "name", Op: "=", Values: []string{"train"}}, 1},
				{metastore.HasDataset{Key: "name", Op: "LIKE", Values: []string{"TR%"}}, 0},
				{metastore.HasDataset{Key: "name", Op: "ILIKE", Values: []string{"TR%"}}, 1},
				{metastore.HasDataset{Key: "digest", Op: "IN", Values: []string{"def", "x"}}, 1},
				{metastore.HasDataset{Key: "digest", Op: "NOT IN", Values: []string{"abc", "def"}}, 0},
				{metastore.HasDataset{Key: "context", Op: "!=", Values: []string{"training"}}, 0},
				{metastore.And{metastore.HasDataset{Key: "context", Op: "=", Values: []string{"training"}}, metastore.Compare{Field: metastore.Field{Of: metastore.TagOf, Name: quant.ExperimentTag}, Op: metastore.Eq, Value: "e"}}, 1},
			} {
				got := 0
				ok(t, s.SearchRuns(ctx, metastore.Search{Where: tt.e, All: true}, func([]any) error { got++; return nil }))
				if got != tt.want {
					t.Errorf("%+v: found %d, want %d", tt.e, got, tt.want)
				}
			}
			d.RunID = RunID(9)
			refused(t, s.LogInputs(ctx, []quant.RunDataset{d}, nil), quant.NotFound)
			used.Direction = "sideways"
			refused(t, s.LogInputs(ctx, nil, []quant.RunModel{used}), quant.Invalid)
		}},
		{"ALoggedModelIsCreatedChangedAndDeleted", func(t *testing.T, s metastore.Store) {
			m := logged(1)
			ok(t, s.CreateLoggedModel(ctx, m, []quant.LoggedModelParam{{ModelID: m.ModelID, Name: "a", Value: "1"}}, []quant.LoggedModelTag{{ModelID: m.ModelID, Name: "t", Value: "v"}}))
			refused(t, s.CreateLoggedModel(ctx, m, nil, nil), quant.Conflict)
			ok(t, s.LogLoggedModel(ctx, []quant.LoggedModelParam{{ModelID: m.ModelID, Name: "a", Value: "1"}, {ModelID: m.ModelID, Name: "b", Value: ""}},
				[]quant.LoggedModelTag{{ModelID: m.ModelID, Name: "t", Value: "w"}},
				[]quant.LoggedModelMetric{{ModelID: m.ModelID, Name: "auc", LoggedAt: noon, RunID: "r", Value: pointer(0.5)}, {ModelID: m.ModelID, Name: "auc", LoggedAt: noon, Step: 1, RunID: "r"}}))
			refused(t, s.LogLoggedModel(ctx, []quant.LoggedModelParam{{ModelID: m.ModelID, Name: "a", Value: "2"}}, nil, nil), quant.Conflict)
			refused(t, s.LogLoggedModel(ctx, nil, []quant.LoggedModelTag{{ModelID: modelID(9), Name: "a", Value: "2"}}, nil), quant.NotFound)
			ok(t, s.ChangeLoggedModel(ctx, m.ModelID, func(m *quant.LoggedModel) { m.Status, m.UpdatedAt = quant.LoggedModelReady, later }))
			m.Status, m.UpdatedAt = quant.LoggedModelReady, later
			equal(t, one(s.LoggedModelsOf(ctx, []string{modelID(7), m.ModelID}, false))(t), []metastore.LoggedModelDetail{{
				LoggedModel: m,
				Params:      []quant.LoggedModelParam{{ModelID: m.ModelID, Name: "a", Value: "1"}, {ModelID: m.ModelID, Name: "b", Value: ""}},
				Tags:        []quant.LoggedModelTag{{ModelID: m.ModelID, Name: "t", Value: "w"}},
				Metrics: []quant.LoggedModelMetric{
					{ModelID: m.ModelID, Name: "auc", LoggedAt: noon, RunID: "r", Value: pointer(0.5)}, {ModelID: m.ModelID, Name: "auc", LoggedAt: noon, Step: 1, RunID: "r"},
				},
			}})
			ok(t, s.DeleteLoggedModelTag(ctx, m.ModelID, "t"))
			refused(t, s.DeleteLoggedModelTag(ctx, m.ModelID, "t"), quant.NotFound)
			ok(t, s.ChangeLoggedModel(ctx, m.ModelID, func(m *quant.LoggedModel) { m.DeletedAt = later }))
			equal(t, len(one(s.LoggedModelsOf(ctx, []string{m.ModelID}, false))(t)), 0)
			equal(t, len(one(s.LoggedModelsOf(ctx, []string{m.ModelID}, true))(t)), 1)
			refused(t, s.ChangeLoggedModel(ctx, m.ModelID, func(*quant.LoggedModel) {}), quant.NotFound)
			for _, breakIt := range []func(*quant.LoggedModel){
				func(m *quant.LoggedModel) { m.ModelID = "m-1" },
				func(m *quant.LoggedModel) { m.Name = "" },
				func(m *quant.LoggedModel) { m.ExperimentID = "" },
				func(m *quant.LoggedModel) { m.Status = "DONE" },
				func(m *quant.LoggedModel) { m.CreatedAt = quant.Time{} },
			} {
				bad := logged(2)
				breakIt(&bad)
				refused(t, s.CreateLoggedModel(ctx, bad, nil, nil), quant.Invalid)
			}
		}},
		{"LoggedModelsAreFound", func(t *testing.T, s metastore.Store) {
			for n := 1; n <= 3; n++ {
				m := logged(n)
				ok(t, s.CreateLoggedModel(ctx, m, []quant.LoggedModelParam{{ModelID: m.ModelID, Name: "depth", Value: fmt.Sprint(n)}},
					[]quant.LoggedModelTag{{ModelID: m.ModelID, Name: "team", Value: "Alpha"}}))
				ok(t, s.LogLoggedModel(ctx, nil, nil, []quant.LoggedModelMetric{
					{ModelID: m.ModelID, Name: "auc", LoggedAt: noon, RunID: "r", Value: pointer(float64(n)), DatasetName: "d", DatasetDigest: quant.Text(fmt.Sprint(n))},
					{ModelID: m.ModelID, Name: "old", LoggedAt: noon, RunID: "r", Value: pointer(float64(n))}, {ModelID: m.ModelID, Name: "old", LoggedAt: later, RunID: "r", Value: pointer(-float64(n))},
				}))
			}
			where := func(list ...metastore.ModelCondition) metastore.LoggedModelSearch {
				return metastore.LoggedModelSearch{ExperimentIDs: []string{"e"}, Where: list, Limit: 10}
			}
			attribute := func(name, op string, v any) metastore.ModelCondition {
				return metastore.ModelCondition{Of: metastore.AttributeField, Name: name, Op: op, Value: v}
			}
			ordered := func(list ...metastore.ModelOrder) metastore.LoggedModelSearch {
				return metastore.LoggedModelSearch{ExperimentIDs: []string{"e"}, Order: list, Limit: 10}
			}
			for _, tt := range []struct {
				search metastore.LoggedModelSearch
				want   string
			}{
				{where(), "3 2 1"},
				{where(attribute("name", "=", "model-1")), "1"},
				{where(attribute("name", "LIKE", "MODEL-%")), ""},
				{where(attribute("name", "ILIKE", "MODEL-_")), "3 2 1"},
				{where(attribute("name", "IN", []string{"model-1", "model-3"})), "3 1"},
				{where(attribute("name", "NOT IN", []string{"model-1", "model-3"})), "2"},
				{where(attribute("created_at", "=", startedAt(2).UnixMilli())), "2"},
				{where(attribute("created_at", "!=", startedAt(2).UnixMilli())), "3 1"},
				{where(attribute("created_at", ">", startedAt(2).UnixMilli())), "3"},
				{where(attribute("created_at", ">=", startedAt(2).UnixMilli()), attribute("created_at", "<=", startedAt(2).UnixMilli())), "2"},
				{where(attribute("created_at", "<", startedAt(2).UnixMilli())), "1"},
				{where(metastore.ModelCondition{Of: metastore.ParamField, Name: "depth", Op: "!=", Value: "2"}), "3 1"},
				{where(metastore.ModelCondition{Of: metastore.TagField, Name: "team", Op: "LIKE", Value: "Al%"}), "3 2 1"},
				{where(metastore.ModelCondition{Of: metastore.MetricField, Name: "auc", Op: ">", Value: 1.5}), "3 2"},
				{metastore.LoggedModelSearch{ExperimentIDs: []string{"e"}, Limit: 10, Datasets: []metastore.DatasetFilter{{Name: "d", Digest: "1"}, {Name: "d", Digest: "3"}}}, "3 1"},
				{metastore.LoggedModelSearch{
					ExperimentIDs: []string{"e"}, Limit: 10, Datasets: []metastore.DatasetFilter{{Name: "d", Digest: "1"}},
					Where: []metastore.ModelCondition{{Of: metastore.MetricField, Name: "auc", Op: "<", Value: 9.0}},
				}, "1"},
				{ordered(metastore.ModelOrder{Of: metastore.AttributeField, Name: "name"}), "1 2 3"},
				{ordered(metastore.ModelOrder{Of: metastore.MetricField, Name: "auc"}), "1 2 3"},
				{ordered(metastore.ModelOrder{Of: metastore.MetricField, Name: "old"}), "3 2 1"}, // of the latest value
				{ordered(metastore.ModelOrder{Of: metastore.MetricField, Name: "auc", DatasetName: "d", DatasetDigest: "2", Desc: true}), "2 3 1"},
				{metastore.LoggedModelSearch{ExperimentIDs: []string{"e"}, Limit: 1, Offset: 1}, "2+"},
				{metastore.LoggedModelSearch{ExperimentIDs: []string{"e"}, Limit: 1, Offset: 2}, "1"},
				{metastore.LoggedModelSearch{ExperimentIDs: []string{"f"}, Limit: 1}, ""},
			} {
				list, more, err := s.SearchLoggedModels(ctx, tt.search)
				ok(t, err)
				var got []string
				for _, m := range list {
					got = append(got, strings.TrimLeft(m.ModelID[2:], "0"))
				}
				text := strings.Join(got, " ")
				if more {
					text += "+"
				}
				if text != tt.want {
					t.Errorf("%+v: found %q, want %q", tt.search, text, tt.want)
				}
			}
			for _, c := range []metastore.ModelCondition{
				attribute("1; DROP TABLE runs", "=", "x"), attribute("name", "= 1 OR 1", "x"), attribute("name", "LIKE", 1.5), attribute("name", "IN", "x"),
				attribute("created_at", "=", "x"), attribute("created_at", "LIKE", int64(1)), {Of: "nothing", Name: "x", Op: "=", Value: "x"},
			} {
				_, _, err := s.SearchLoggedModels(ctx, where(c))
				refused(t, err, quant.Invalid)
			}
			_, _, err := s.SearchLoggedModels(ctx, ordered(metastore.ModelOrder{Of: metastore.AttributeField, Name: "x"}))
			refused(t, err, quant.Invalid)
		}},
		{"ARegisteredModelCountsItsVersionsAndNeverAgain", func(t *testing.T, s metastore.Store) {
			register(t, s, "alpha")
			refused(t, s.CreateRegisteredModel(ctx, quant.RegisteredModel{Name: "alpha", CreatedAt: noon, UpdatedAt: noon}, nil), quant.Conflict)
			for want := int64(1); want <= 3; want++ {
				equal(t, version(t, s, "alpha"), want)
			}
			ok(t, s.SetRegisteredModelAlias(ctx, quant.RegisteredModelAlias{Model: "alpha", Alias: "champion", Version: 3}))
			ok(t, s.DeleteModelVersion(ctx, "alpha", 3, later))
			equal(t, version(t, s, "alpha"), 4)
			_, err := s.GetModelVersion(ctx, "alpha", 3)
			refused(t, err, quant.NotFound)
			refused(t, s.DeleteModelVersion(ctx, "alpha", 3, later), quant.NotFound)
			_, err = s.ModelVersionOf(ctx, "alpha", "champion")
			refused(t, err, quant.NotFound)
			_, err = s.CreateModelVersion(ctx, quant.ModelVersion{Model: "none", Stage: "None", Status: "READY", CreatedAt: noon, UpdatedAt: noon}, nil)
			refused(t, err, quant.NotFound)
			ok(t, s.DeleteRegisteredModel(ctx, "alpha"))
			refused(t, s.DeleteRegisteredModel(ctx, "alpha"), quant.NotFound)
			_, err = s.GetModelVersion(ctx, "alpha", 1)
			refused(t, err, quant.NotFound)
		}},
		{"ARenamedModelKeepsWhatItHas", func(t *testing.T, s metastore.Store) {
			register(t, s, "alpha")
			register(t, s, "beta")
			version(t, s, "alpha")
			ok(t, s.SetRegisteredModelTag(ctx, quant.RegisteredModelTag{Model: "alpha", Name: "t", Value: "v"}))
			ok(t, s.SetRegisteredModelAlias(ctx, quant.RegisteredModelAlias{Model: "alpha", Alias: "a", Version: 1}))
			refused(t, s.RenameRegisteredModel(ctx, "alpha", "beta", later), quant.Conflict)
			refused(t, s.RenameRegisteredModel(ctx, "none", "x", later), quant.NotFound)
			ok(t, s.RenameRegisteredModel(ctx, "alpha", "gamma/δ", later))
			got := one(s.GetRegisteredModel(ctx, "gamma/δ"))(t)
			equal(t, got.Tags, []quant.RegisteredModelTag{{Model: "gamma/δ", Name: "t", Value: "v"}})
			equal(t, got.Aliases, []quant.RegisteredModelAlias{{Model: "gamma/δ", Alias: "a", Version: 1}})
			equal(t, got.UpdatedAt, later)
			equal(t, got.Latest, []metastore.ModelVersionDetail{one(s.ModelVersionOf(ctx, "gamma/δ", "a"))(t)})
			equal(t, got.Latest[0].Tags, []quant.ModelVersionTag{{Model: "gamma/δ", Version: 1, Name: "k", Value: "v"}})
			equal(t, got.Latest[0].UpdatedAt, later)
			_, err := s.GetRegisteredModel(ctx, "alpha")
			refused(t, err, quant.NotFound)
		}},
		{"StagesMoveAndTagsAndAliasesComeAndGo", func(t *testing.T, s metastore.Store) {
			register(t, s, "alpha")
			for range 3 {
				version(t, s, "alpha")
			}
			ok(t, s.StageModelVersion(ctx, "alpha", 1, "Production", "", later))
			ok(t, s.StageModelVersion(ctx, "alpha", 2, "Production", "Archived", later))
			refused(t, s.StageModelVersion(ctx, "alpha", 9, "Production", "", later), quant.NotFound)
			var stages []string
			for _, v := range one(s.GetRegisteredModel(ctx, "alpha"))(t).Latest {
				stages = append(stages, fmt.Sprint(v.Version, " ", v.Stage))
			}
			equal(t, stages, []string{"1 Archived", "2 Production", "3 None"})
			refused(t, s.SetRegisteredModelAlias(ctx, quant.RegisteredModelAlias{Model: "alpha", Alias: "x", Version: 9}), quant.NotFound)
			ok(t, s.SetRegisteredModelAlias(ctx, quant.RegisteredModelAlias{Model: "alpha", Alias: "x", Version: 1}))
			ok(t, s.SetRegisteredModelAlias(ctx, quant.RegisteredModelAlias{Model: "alpha", Alias: "x", Version: 2}))
			equal(t, one(s.ModelVersionOf(ctx, "alpha", "x"))(t).Version, 2)
			equal(t, one(s.GetModelVersion(ctx, "alpha", 2))(t).Aliases, []string{"x"})
			ok(t, s.DeleteRegisteredModelAlias(ctx, "alpha", "x"))
			ok(t, s.DeleteRegisteredModelAlias(ctx, "alpha", "x"))
			refused(t, s.DeleteRegisteredModelAlias(ctx, "none", "x"), quant.NotFound)
			ok(t, s.SetModelVersionTag(ctx, quant.ModelVersionTag{Model: "alpha", Version: 1, Name: "k", Value: "w"}))
			equal(t, one(s.GetModelVersion(ctx, "alpha", 1))(t).Tags, []quant.ModelVersionTag{{Model: "alpha", Version: 1, Name: "k", Value: "w"}})
			ok(t, s.DeleteModelVersionTag(ctx, "alpha", 1, "k"))
			equal(t, len(one(s.GetModelVersion(ctx, "alpha", 1))(t).Tags), 0)
			refused(t, s.DeleteModelVersionTag(ctx, "alpha", 9, "k"), quant.NotFound)
			ok(t, s.DescribeModelVersion(ctx, "alpha", 1, "words", later))
			equal(t, one(s.GetModelVersion(ctx, "alpha", 1))(t).Description, "words")
			ok(t, s.DescribeRegisteredModel(ctx, "alpha", "more words", later))
			equal(t, one(s.GetRegisteredModel(ctx, "alpha"))(t).Description, "more words")
			ok(t, s.SetRegisteredModelTag(ctx, quant.RegisteredModelTag{Model: "alpha", Name: "a", Value: ""}))
			ok(t, s.DeleteRegisteredModelTag(ctx, "alpha", "a"))
			refused(t, s.DeleteRegisteredModelTag(ctx, "none", "a"), quant.NotFound)
			refused(t, s.SetRegisteredModelTag(ctx, quant.RegisteredModelTag{Model: "none", Name: "a", Value: ""}), quant.NotFound)
		}},
		{"RegisteredModelsAndVersionsAreFound", func(t *testing.T, s metastore.Store) {
			for i, name := range []string{"alpha", "Beta", "gamma"} {
				at := startedAt(10 - i)
				ok(t, s.CreateRegisteredModel(ctx, quant.RegisteredModel{Name: name, CreatedAt: at, UpdatedAt: at},
					[]quant.RegisteredModelTag{{Name: "n", Value: fmt.Sprint(i)}}))
				version(t, s, name)
				version(t, s, name)
			}
			ok(t, s.SetRegisteredModelTag(ctx, quant.RegisteredModelTag{Model: "gamma", Name: "hidden", Value: "true"}))
			ok(t, s.SetModelVersionTag(ctx, quant.ModelVersionTag{Model: "gamma", Version: 1, Name: "hidden", Value: "true"}))
			ok(t, s.DescribeRegisteredModel(ctx, "alpha", "", quant.NewTime(later.Add(time.Hour))))
			for _, tt := range []struct {
				search           metastore.ModelSearch
				models, versions string
			}{
				{metastore.ModelSearch{}, "Beta alpha gamma", "Beta/2 Beta/1 alpha/2 alpha/1 gamma/2 gamma/1"},
				{metastore.ModelSearch{Hidden: "hidden"}, "Beta alpha", "Beta/2 Beta/1 alpha/2 alpha/1"},
				{metastore.ModelSearch{Where: []metastore.ModelCondition{{Of: metastore.AttributeField, Name: "name", Op: "LIKE", Value: "%a"}}}, "Beta alpha gamma", "Beta/2 Beta/1 alpha/2 alpha/1 gamma/2 gamma/1"},
				{metastore.ModelSearch{Where: []metastore.ModelCondition{{Of: metastore.AttributeField, Name: "name", Op: "LIKE", Value: "b%"}}}, "", ""},
				{metastore.ModelSearch{Where: []metastore.ModelCondition{{Of: metastore.AttributeField, Name: "name", Op: "ILIKE", Value: "b%"}}}, "Beta", "Beta/2 Beta/1"},
				{metastore.ModelSearch{Where: []metastore.ModelCondition{{Of: metastore.AttributeField, Name: "name", Op: "!=", Value: "Beta"}}, Offset: 1}, "gamma", "alpha/1 gamma/2 gamma/1"},
				{metastore.ModelSearch{Where: []metastore.ModelCondition{{Of: metastore.TagField, Name: "n", Op: "=", Value: "1"}}}, "Beta", ""},
				{metastore.ModelSearch{Order: []metastore.ModelOrder{{Of: metastore.AttributeField, Name: "name", Desc: true}}, Limit: 2}, "gamma alpha+", "gamma/2 gamma/1+"},
			} {
				if tt.search.Limit == 0 {
					tt.search.Limit = 100
				}
				var got []string
				list, more, err := s.SearchRegisteredModels(ctx, tt.search)
				ok(t, err)
				for _, m := range list {
					got = append(got, m.Name)
				}
				text := strings.Join(got, " ")
				if more {
					text += "+"
				}
				if text != tt.models {
					t.Errorf("%+v: found models %q, want %q", tt.search, text, tt.models)
				}
				got = nil
				versions, more, err := s.SearchModelVersions(ctx, tt.search)
				ok(t, err)
				for _, v := range versions {
					got = append(got, fmt.Sprint(v.Model, "/", v.Version))
				}
				if text = strings.Join(got, " "); more {
					text += "+"
				}
				if text != tt.versions {
					t.Errorf("%+v: found versions %q, want %q", tt.search, text, tt.versions)
				}
			}
			for _, c := range []metastore.ModelCondition{
				{Of: metastore.AttributeField, Name: "run_id", Op: "IN", Value: []string{"x", "y"}},
				{Of: metastore.AttributeField, Name: "version", Op: ">", Value: int64(0)},
				{Of: metastore.AttributeField, Name: "source", Op: "LIKE", Value: "runs:%"},
			} {
				versions, _, err := s.SearchModelVersions(ctx, metastore.ModelSearch{Where: []metastore.ModelCondition{c}, Limit: 10})
				ok(t, err)
				equal(t, len(versions), 6)
			}
			newest, _, err := s.SearchRegisteredModels(ctx, metastore.ModelSearch{Order: []metastore.ModelOrder{{Of: metastore.AttributeField, Name: "updated_at", Desc: true}}, Limit: 1})
			ok(t, err)
			equal(t, newest[0].Name, "alpha")
			_, _, err = s.SearchRegisteredModels(ctx, metastore.ModelSearch{Where: []metastore.ModelCondition{{Of: metastore.AttributeField, Name: "source", Op: "=", Value: "x"}}, Limit: 1})
			refused(t, err, quant.Invalid)
		}},
	}
}
