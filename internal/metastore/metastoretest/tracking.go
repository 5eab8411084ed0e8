package metastoretest

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
)

// clientRun stores a run that a client made in the experiment of a number.
func clientRun(t *testing.T, s metastore.Store, n int, experiment string) metastore.RunClient {
	t.Helper()
	r := quant.Run{RunID: RunID(n), Kind: "mlflow", Status: quant.Running, StartedAt: quant.NewTime(start())}
	c := metastore.RunClient{RunID: RunID(n), ClientID: clientOf(n), Status: "RUNNING", SeenAt: quant.NewTime(start())}
	ok(t, s.CreateClientRun(context.Background(), r, quant.RunProcess{RunID: RunID(n), Changes: true}, c,
		metastore.Batch{Tags: []quant.Tag{{RunID: RunID(n), Name: quant.ExperimentTag, Value: experiment}, {RunID: RunID(n), Name: "a", Value: "1"}}}))
	return c
}

// clientExperiment makes an experiment as a client does, and returns its row.
func clientExperiment(t *testing.T, s metastore.Store, name string) metastore.ClientExperiment {
	t.Helper()
	ctx := context.Background()
	n := one(s.CreateClientExperiment(ctx, quant.Experiment{Name: name, CreatedAt: quant.NewTime(start())}, []metastore.ExperimentTag{{Name: "k", Value: "v"}}))(t)
	return one(s.GetClientExperiment(ctx, n))(t)
}

func trackingTests() []test {
	ctx := context.Background()
	at := func(ms int) quant.Time { return quant.NewTime(start().Add(time.Duration(ms) * time.Millisecond)) }
	metric := func(name string, step int64, ms int, value float64) quant.MetricPoint {
		return quant.MetricPoint{Name: name, Step: step, Value: value, LoggedAt: at(ms)}
	}
	return []test{
		{"EveryExperimentHasANumber", func(t *testing.T, s metastore.Store) {
			ok(t, s.CreateExperiment(ctx, quant.Experiment{ExperimentID: "own", Name: "same", CreatedAt: at(0)}))
			ok(t, s.CreateExperiment(ctx, quant.Experiment{ExperimentID: "other", Name: "same", CreatedAt: at(1)}))
			_, err := s.CreateClientExperiment(ctx, quant.Experiment{Name: "same", CreatedAt: at(2)}, nil)
			refused(t, err, quant.Conflict)
			e := clientExperiment(t, s, "mine")
			equal(t, e.Number, 3)
			equal(t, one(s.GetClientExperiment(ctx, 2))(t).ExperimentID, "other")
			equal(t, one(s.ClientExperimentNamed(ctx, "same"))(t).Number, 1)
			_, err = s.GetClientExperiment(ctx, 9)
			refused(t, err, quant.NotFound)
			_, err = s.ClientExperimentNamed(ctx, "nobody")
			refused(t, err, quant.NotFound)
			ok(t, s.EnsureDefaultExperiment(ctx, quant.Experiment{ExperimentID: "zero", Name: "Default", CreatedAt: at(3)}))
			ok(t, s.EnsureDefaultExperiment(ctx, quant.Experiment{ExperimentID: "zero", Name: "Default", CreatedAt: at(3)}))
			equal(t, one(s.GetClientExperiment(ctx, 0))(t).ExperimentID, "zero")
			equal(t, len(one(s.ListClientExperiments(ctx))(t)), 4)

			refused(t, s.RenameClientExperiment(ctx, e.Number, "same", at(4)), quant.Conflict)
			ok(t, s.RenameClientExperiment(ctx, e.Number, "new", at(4)))
			equal(t, one(s.GetExperiment(ctx, e.ExperimentID))(t).Name, "new")
			equal(t, one(s.GetClientExperiment(ctx, e.Number))(t).UpdatedAt, at(4))
			ok(t, s.SetExperimentTag(ctx, metastore.ExperimentTag{ExperimentID: e.ExperimentID, Name: "k", Value: "w"}))
			equal(t, one(s.ExperimentTags(ctx, ""))(t), []metastore.ExperimentTag{{ExperimentID: e.ExperimentID, Name: "k", Value: "w"}})
			ok(t, s.DeleteExperimentTag(ctx, e.ExperimentID, "k"))
			refused(t, s.DeleteExperimentTag(ctx, e.ExperimentID, "k"), quant.NotFound)
			refused(t, s.SetExperimentTag(ctx, metastore.ExperimentTag{ExperimentID: "none", Name: "k"}), quant.NotFound)
			equal(t, len(one(s.Check(ctx))(t)), 0)
		}},
		{"AnExperimentIsDeletedWithTheRunsOfItsClients", func(t *testing.T, s metastore.Store) {
			e := clientExperiment(t, s, "e")
			clientRun(t, s, 1, e.ExperimentID)
			createRun(t, s, 2, nil)
			ok(t, s.Log(ctx, metastore.Batch{Tags: []quant.Tag{{RunID: RunID(2), Name: quant.ExperimentTag, Value: e.ExperimentID}}}))
			ok(t, s.MarkClientExperiment(ctx, e.Number, true, at(5), RunID(9)))
			equal(t, one(s.GetClientExperiment(ctx, e.Number))(t).DeletedAt, at(5))
			equal(t, one(s.IsDeleted(ctx, RunID(1)))(t), true)
			equal(t, one(s.IsDeleted(ctx, RunID(2)))(t), false)
			ok(t, s.MarkClientExperiment(ctx, e.Number, false, at(6), ""))
			equal(t, one(s.IsDeleted(ctx, RunID(1)))(t), false)
			equal(t, one(s.GetClientExperiment(ctx, e.Number))(t).DeletedAt.IsZero(), true)
		}},
		{"ARunIsFoundByWhatItsClientCallsIt", func(t *testing.T, s metastore.Store) {
			e := clientExperiment(t, s, "e")
			c := clientRun(t, s, 1, e.ExperimentID)
			createRun(t, s, 2, nil)
			createRun(t, s, 3, nil) // in no experiment
			ok(t, s.Log(ctx, metastore.Batch{Tags: []quant.Tag{{RunID: RunID(2), Name: quant.ExperimentTag, Value: e.ExperimentID}}}))
			found := one(s.ClientRuns(ctx, []string{clientOf(3), clientOf(2), "nobody", c.ClientID}, true))(t)
			equal(t, len(found), 2)
			equal(t, found[0].RunID, RunID(2))
			equal(t, found[0].Status, "")
			equal(t, found[1].RunID, RunID(1))
			equal(t, found[1].Number, e.Number)
			r := quant.Run{RunID: RunID(4), Kind: "mlflow", Status: quant.Running, StartedAt: at(0)}
			c.RunID = RunID(4)
			refused(t, s.CreateClientRun(ctx, r, quant.RunProcess{RunID: RunID(4)}, c, metastore.Batch{}), quant.Conflict)
		}},
		{"TheLatestValueIsThatOfTheHighestStepThenTimeThenValue", func(t *testing.T, s metastore.Store) {
			e := clientExperiment(t, s, "e")
			c := clientRun(t, s, 1, e.ExperimentID)
			log := func(points, nans []quant.MetricPoint) {
				t.Helper()
				ok(t, s.LogClient(ctx, c.ClientID, metastore.ClientBatch{Batch: metastore.Batch{Metrics: points}, NaNs: nans, SeenAt: at(1)}))
			}
			latest := func(want string) {
				t.Helper()
				got := ""
				for _, m := range one(s.LatestMetrics(ctx, []string{RunID(1)}))(t) {
					v := m.Value
					if m.NaN {
						v = math.NaN()
					}
					got += fmt.Sprintf("%s=%v@%d ", m.Name, v, m.Step)
				}
				equal(t, got, want)
				equal(t, len(one(s.Check(ctx))(t)), 0)
			}
			log([]quant.MetricPoint{metric("m", 2, 10, 1), metric("m", 2, 10, 3), metric("m", 2, 10, 2), metric("m", 1, 99, 9)}, nil)
			latest("m=3@2 ")
			log([]quant.MetricPoint{metric("m", 2, 9, 7)}, nil)
			latest("m=3@2 ")
			equal(t, one(s.Metrics(ctx, RunID(1)))(t)[0].Last, 3)
			log(nil, []quant.MetricPoint{metric("m", 3, 11, 0), metric("only", 1, 1, 0)})
			latest("m=NaN@3 only=NaN@1 ")
			log([]quant.MetricPoint{metric("m", 2, 12, 5), metric("m", 2, 11, 6)}, nil)
			latest("m=NaN@3 only=NaN@1 ")
			equal(t, one(s.Metrics(ctx, RunID(1)))(t)[0].Last, 5)
			equal(t, one(s.HasNaN(ctx, "only"))(t), true)
			log([]quant.MetricPoint{metric("m", 3, 12, -1), metric("m", 3, 12, -1)}, nil)
			latest("m=-1@3 only=NaN@1 ")
			equal(t, one(s.HasNaN(ctx, "m"))(t), false)
			equal(t, one(s.ClientSteps(ctx, RunID(1), "m"))(t), []int64{1, 2, 3})
			got := ""
			for _, p := range one(s.ClientHistory(ctx, RunID(1), "m", nil, 1, 8))(t) {
				got += fmt.Sprintf("%d/%d/%v/%v ", p.At.UnixMilli()-start().UnixMilli(), p.Step, p.Value, p.NaN)
			}
			equal(t, got, "10/2/1/false 10/2/2/false 10/2/3/false 11/2/6/false 11/3/0/true 12/2/5/false 12/3/-1/false 99/1/9/false ") // the point that was said twice is one
			equal(t, len(one(s.ClientHistory(ctx, RunID(1), "m", []int64{1, 3}, 0, 0))(t)), 3)
		}},
		{"AClientsBatchIsStoredWhollyOrNotAtAll", func(t *testing.T, s metastore.Store) {
			e := clientExperiment(t, s, "e")
			c := clientRun(t, s, 1, e.ExperimentID)
			refused(t, s.LogClient(ctx, "nobody", metastore.ClientBatch{}), quant.NotFound)
			ok(t, s.LogClient(ctx, c.ClientID, metastore.ClientBatch{Batch: metastore.Batch{Params: []quant.Param{{Name: "p", Value: "1"}}}}))
			refused(t, s.LogClient(ctx, c.ClientID, metastore.ClientBatch{Batch: metastore.Batch{
				Params: []quant.Param{{Name: "p", Value: "2"}}, Metrics: []quant.MetricPoint{metric("m", 0, 0, 1)}, Tags: []quant.Tag{{Name: "t", Value: "1"}},
			}}), quant.Conflict)
			refused(t, s.LogClient(ctx, c.ClientID, metastore.ClientBatch{Batch: metastore.Batch{Tags: []quant.Tag{{Name: "t", Value: "1"}}}, ClearTags: []string{"none"}}), quant.NotFound)
			equal(t, len(one(s.LatestMetrics(ctx, []string{RunID(1)}))(t)), 0)
			equal(t, len(one(s.Tags(ctx, RunID(1)))(t)), 2)
			ok(t, s.DeleteClientRun(ctx, quant.Deletion{RunID: RunID(1), DeletedAt: at(1)})) // although it runs
			refused(t, s.LogClient(ctx, c.ClientID, metastore.ClientBatch{Batch: metastore.Batch{Tags: []quant.Tag{{Name: "t", Value: "1"}}}}), quant.Conflict)
		}},
		{"ARunThatContinuesAnotherHasItsRecordsAndItsClient", func(t *testing.T, s metastore.Store) {
			e := clientExperiment(t, s, "e")
			c := clientRun(t, s, 1, e.ExperimentID)
			ok(t, s.LogClient(ctx, c.ClientID, metastore.ClientBatch{
				Batch: metastore.Batch{Params: []quant.Param{{Name: "p", Value: "1"}}, Metrics: []quant.MetricPoint{metric("m", 0, 0, 1)}},
				NaNs:  []quant.MetricPoint{metric("n", 0, 0, 0)},
			}))
			ok(t, s.Log(ctx, metastore.Batch{Artifacts: []quant.Artifact{{RunID: RunID(1), Name: "a", Digest: digestOf(1), Bytes: 1, LoggedAt: at(0)}}}))
			next := quant.Run{RunID: RunID(2), Kind: "mlflow", Status: quant.Running, StartedAt: at(0)}
			client := metastore.RunClient{RunID: RunID(2), ClientID: c.ClientID, Status: "RUNNING", SeenAt: at(9)}
			p := quant.RunProcess{RunID: RunID(2), Changes: true}
			refused(t, s.ContinueClientRun(ctx, next, p, client, RunID(1)), quant.Conflict) // it runs
			end := successOf(1)
			ok(t, s.EndClientRun(ctx, end, "FINISHED", at(8)))
			refused(t, s.EndClientRun(ctx, end, "FINISHED", at(8)), quant.Conflict)
			refused(t, s.SetClientStatus(ctx, RunID(1), "RUNNING", at(8)), quant.Conflict)
			ok(t, s.ContinueClientRun(ctx, next, p, client, RunID(1)))
			refused(t, s.ContinueClientRun(ctx, next, p, client, RunID(1)), quant.Conflict)
			found := one(s.ClientRuns(ctx, []string{c.ClientID}, true))(t)
			equal(t, found[0].RunID, RunID(2))
			equal(t, found[0].Run.Status, quant.Running)
			equal(t, one(s.GetRun(ctx, RunID(1)))(t).Status, quant.Success)
			equal(t, len(one(s.LatestMetrics(ctx, []string{RunID(1), RunID(2)}))(t)), 4)
			params, tags, err := s.ParamsAndTagsOf(ctx, []string{RunID(2)})
			ok(t, err)
			equal(t, len(params), 1)
			equal(t, len(tags), 2)
			equal(t, one(s.Artifacts(ctx, RunID(2)))(t)[0].Digest, digestOf(1))
			equal(t, one(s.RunIO(ctx, RunID(2)))(t), []quant.RunIO{{RunID: RunID(2), Direction: quant.In, Kind: quant.IORun, Name: RunID(1)}})
			ok(t, s.LogClient(ctx, c.ClientID, metastore.ClientBatch{Batch: metastore.Batch{Params: []quant.Param{{Name: "q", Value: "1"}}}}))
			equal(t, len(one(s.Params(ctx, RunID(1)))(t)), 1)
			equal(t, len(one(s.Params(ctx, RunID(2)))(t)), 2)
			current := metastore.IsNull{Field: metastore.Field{Of: metastore.ClientOf, Name: metastore.ContinuedBy}}
			var ids []any
			ok(t, s.SearchRuns(ctx, metastore.Search{Where: current, Columns: []metastore.Field{{Name: "run_id"}}}, func(cells []any) error {
				ids = append(ids, cells[0])
				return nil
			}))
			equal(t, ids, []any{RunID(2)})
			equal(t, len(one(s.Check(ctx))(t)), 0)
		}},
		{"SilentClientsAreFound", func(t *testing.T, s metastore.Store) {
			e := clientExperiment(t, s, "e")
			for n := 1; n <= 3; n++ {
				clientRun(t, s, n, e.ExperimentID)
			}
			ok(t, s.EndClientRun(ctx, successOf(3), "FINISHED", at(0)))
			ok(t, s.SeeClientRuns(ctx, map[string]quant.Time{RunID(2): at(50)}))
			silent := one(s.SilentClientRuns(ctx, at(40), 10))(t)
			equal(t, len(silent), 1)
			equal(t, silent[0].RunID, RunID(1))
			equal(t, len(one(s.SilentClientRuns(ctx, at(60), 10))(t)), 2)
		}},
		{"DeletedRunsAreFoundOnRequestAndTextsWithoutTheirCase", func(t *testing.T, s metastore.Store) {
			e := clientExperiment(t, s, "e")
			for n := 1; n <= 3; n++ {
				clientRun(t, s, n, e.ExperimentID)
				ok(t, s.LogClient(ctx, clientOf(n), metastore.ClientBatch{Batch: metastore.Batch{Tags: []quant.Tag{{Name: "text", Value: fmt.Sprintf("Größe*%d", 10-n)}}}}))
			}
			ok(t, s.DeleteClientRun(ctx, quant.Deletion{RunID: RunID(2), DeletedAt: at(1)}))
			find := func(q metastore.Search, want ...any) {
				t.Helper()
				q.Columns = []metastore.Field{{Name: "run_id"}}
				var ids []any
				ok(t, s.SearchRuns(ctx, q, func(cells []any) error {
					ids = append(ids, cells[0])
					return nil
				}))
				equal(t, ids, want)
			}
			text := metastore.Field{Of: metastore.TagOf, Name: "text", Agg: metastore.AsText}
			byText := []metastore.OrderKey{{Field: text}, {Field: metastore.Field{Name: "started"}, Desc: true}}
			find(metastore.Search{Order: byText, Limit: 5}, RunID(3), RunID(1))
			find(metastore.Search{Order: byText, Deleted: metastore.DeletedToo}, RunID(3), RunID(2), RunID(1))
			find(metastore.Search{Order: byText, Limit: 2, Deleted: metastore.DeletedToo}, RunID(3), RunID(2))
			find(metastore.Search{Deleted: metastore.OnlyDeleted}, RunID(2))
			find(metastore.Search{Where: metastore.Like{Field: text, Pattern: "größE*9", Fold: true}}, RunID(1))
			find(metastore.Search{Where: metastore.Like{Field: text, Pattern: "größE*9"}})
			find(metastore.Search{Where: metastore.Compare{Field: metastore.Field{Of: metastore.ClientOf, Name: metastore.ClientID}, Op: metastore.Eq, Value: clientOf(3)}}, RunID(3))
			find(metastore.Search{Where: metastore.Compare{
				Field: metastore.Field{Of: metastore.ClientOf, Name: metastore.ClientArtifactURI}, Op: metastore.Eq,
				Value: fmt.Sprintf("mlflow-artifacts:/%d/%s/artifacts", e.Number, clientOf(1)),
			}}, RunID(1))
			err := s.SearchRuns(ctx, metastore.Search{Where: metastore.IsNull{Field: metastore.Field{Of: metastore.ClientOf, Name: "none"}}}, nil)
			refused(t, err, quant.Invalid)
		}},
	}
}
