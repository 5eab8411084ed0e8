package metastoretest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
)

func deletionTests() []test {
	ctx := context.Background()
	noon := startedAt(3600)
	refuses := func(t *testing.T, err error, code quant.Code) {
		t.Helper()
		if !errors.Is(err, code) {
			t.Errorf("got %v, want %s", err, code)
		}
	}
	ended := func(t *testing.T, s metastore.Store, n int, change func(*quant.Run, *quant.RunProcess)) {
		t.Helper()
		createRun(t, s, n, change)
		ok(t, s.FinishRun(ctx, successOf(n)))
	}
	mark := func(list ...int) (marks []quant.Deletion) {
		for _, n := range list {
			marks = append(marks, quant.Deletion{RunID: RunID(n), DeletedAt: noon, ByRunID: quant.Text(RunID(9))})
		}
		return marks
	}
	listed := func(t *testing.T, s metastore.Store, f metastore.RunFilter) (ids []string) {
		t.Helper()
		for _, run := range one(s.ListRuns(ctx, f))(t) {
			ids = append(ids, run.RunID)
		}
		return ids
	}
	return []test{
		{"ADeletedRunIsLeftOutOfListsAndComesBack", func(t *testing.T, s metastore.Store) {
			ended(t, s, 1, nil)
			ended(t, s, 2, nil)
			equal(t, one(s.DeleteRuns(ctx, mark(1)))(t), []string{RunID(1)})
			equal(t, one(s.DeleteRuns(ctx, mark(1, 2)))(t), []string{RunID(2)}) // the other is deleted already
			equal(t, len(listed(t, s, metastore.RunFilter{})), 0)
			equal(t, listed(t, s, metastore.RunFilter{Deleted: true}), []string{RunID(2), RunID(1)})
			equal(t, one(s.Deletions(ctx, quant.Time{}))(t), mark(1, 2))
			equal(t, len(one(s.Deletions(ctx, noon))(t)), 0)
			equal(t, len(one(s.Deletions(ctx, startedAt(3601)))(t)), 2)
			equal(t, one(s.ResolveRun(ctx, RunID(1)))(t), []string{RunID(1)})
			equal(t, one(s.RestoreRuns(ctx, []string{RunID(1), RunID(1)}))(t), []string{RunID(1)})
			equal(t, listed(t, s, metastore.RunFilter{}), []string{RunID(1)})
		}},
		{"ARunThatRunsIsNotDeletedNorAnyBesideIt", func(t *testing.T, s metastore.Store) {
			ended(t, s, 1, nil)
			createRun(t, s, 2, nil)
			_, err := s.DeleteRuns(ctx, mark(1, 2))
			refuses(t, err, quant.Conflict)
			_, err = s.DeleteRuns(ctx, mark(1, 3))
			refuses(t, err, quant.NotFound)
			_, err = s.RestoreRuns(ctx, []string{RunID(3)})
			refuses(t, err, quant.NotFound)
			equal(t, len(one(s.Deletions(ctx, quant.Time{}))(t)), 0)
		}},
		{"OnlyDeletedRunsArePurgedWithAllThatIsRecorded", func(t *testing.T, s metastore.Store) {
			for n := 1; n <= 3; n++ {
				ended(t, s, n, nil)
				everything(t, s, n)
			}
			refuses(t, s.PurgeRuns(ctx, []string{RunID(1)}), quant.Conflict)
			one(s.DeleteRuns(ctx, mark(1, 2)))(t)
			refuses(t, s.PurgeRuns(ctx, []string{RunID(1), RunID(3)}), quant.Conflict)
			refuses(t, s.PurgeRuns(ctx, []string{RunID(1), RunID(4)}), quant.NotFound)
			ok(t, s.PurgeRuns(ctx, []string{RunID(1), RunID(2)}))
			for _, table := range one(s.Tables(ctx))(t) {
				switch {
				case table.Table != "runs" && !strings.HasPrefix(table.Table, "run_"):
				case table.Table == "run_io", table.Table == "run_deletions", table.Table == "run_imports", table.Table == "run_clients":
				default:
					if table.Rows == 0 || table.Rows > 2 {
						t.Errorf("%s has %d rows", table.Table, table.Rows)
					}
				}
			}
			equal(t, one(s.ArtifactUsed(ctx, digestOf(1)))(t), false)
			equal(t, one(s.ArtifactUsed(ctx, digestOf(3)))(t), true)
			equal(t, len(one(s.Check(ctx))(t)), 0)
		}},
		{"WhatLeadsToARunKeepsIt", func(t *testing.T, s metastore.Store) {
			ended(t, s, 1, nil)
			ended(t, s, 2, func(_ *quant.Run, p *quant.RunProcess) { p.ParentRunID = quant.Text(RunID(1)) })
			createRun(t, s, 3, nil)
			end := successOf(3)
			end.IO = []quant.RunIO{{RunID: RunID(3), Direction: quant.Out, Kind: quant.IOModel, Name: "m"}}
			ok(t, s.FinishRun(ctx, end))
			ok(t, s.CreateModel(ctx, quant.Model{ModelID: "m", CreatedAt: noon}))
			createRun(t, s, 4, func(r *quant.Run, _ *quant.RunProcess) { r.Kind = "init-db" })
			end = successOf(4)
			end.IO = []quant.RunIO{{RunID: RunID(4), Direction: quant.Out, Kind: quant.IOBackup, Name: "b"}}
			ok(t, s.FinishRun(ctx, end))
			one(s.DeleteRuns(ctx, mark(1, 2, 3, 4)))(t)
			for _, n := range []int{1, 3, 4} {
				refuses(t, s.PurgeRuns(ctx, []string{RunID(n)}), quant.Refused)
			}
			ok(t, s.PurgeRuns(ctx, []string{RunID(1), RunID(2)}))
		}},
		{"OnlyOldReadingRunsWithNothingToTellAreCleared", func(t *testing.T, s metastore.Store) {
			reads := func(_ *quant.Run, p *quant.RunProcess) { p.Changes = false }
			ended(t, s, 1, reads)
			ended(t, s, 2, nil) // may have changed something
			createRun(t, s, 3, reads)
			ended(t, s, 4, reads)
			ok(t, s.Log(ctx, metastore.Batch{Notes: []quant.Note{{RunID: RunID(4), Text: "remember", LoggedAt: noon}}}))
			ended(t, s, 5, reads) // a parent
			ended(t, s, 6, func(_ *quant.Run, p *quant.RunProcess) { p.Changes, p.ParentRunID = true, quant.Text(RunID(5)) })
			ended(t, s, 7, reads) // deleted: purge is for it
			one(s.DeleteRuns(ctx, mark(7)))(t)
			ended(t, s, 8, reads)
			ended(t, s, 100, reads) // young
			before := startedAt(50)
			equal(t, one(s.CountReads(ctx, before))(t), int64(2))
			gone, after, batches := int64(0), "", 0
			for {
				n, next, err := s.ClearReads(ctx, before, after, 2)
				ok(t, err)
				gone, batches = gone+n, batches+1
				if after = next; next == "" {
					break
				}
			}
			equal(t, gone, int64(2))
			if batches < 4 {
				t.Errorf("%d batches of two runs", batches)
			}
			var left []string
			for _, n := range []int{100, 6, 5, 4, 3, 2} {
				left = append(left, RunID(n))
			}
			equal(t, listed(t, s, metastore.RunFilter{All: true}), left)
			equal(t, one(s.CountReads(ctx, before))(t), int64(0))
			ok(t, func() error { _, err := s.GetRun(ctx, RunID(7)); return err }())
		}},
		{"AnArtifactIsStoredOnceADigest", func(t *testing.T, s metastore.Store) {
			for n := 1; n <= 3; n++ {
				ended(t, s, n, nil)
				ok(t, s.Log(ctx, metastore.Batch{Artifacts: []quant.Artifact{{RunID: RunID(n), Name: "a", Digest: digestOf(n / 3), Bytes: int64(n / 3), LoggedAt: noon}}}))
			}
			one(s.DeleteRuns(ctx, mark(1, 2)))(t) // their contents are still theirs
			stored := one(s.StoredArtifacts(ctx))(t)
			equal(t, len(stored), 2)
			equal(t, stored[0].Digest, digestOf(0))
		}},
	}
}

func digestOf(n int) string {
	b := []byte("sha256:")
	for range 64 {
		b = append(b, byte('0'+n))
	}
	return string(b)
}

// everything records something of every kind for a run.
func everything(t *testing.T, s metastore.Store, n int) {
	t.Helper()
	ctx := context.Background()
	at := quant.NewTime(start().Add(time.Hour))
	ok(t, s.Log(ctx, metastore.Batch{
		Params:    []quant.Param{{RunID: RunID(n), Name: "p", Value: "1"}},
		Metrics:   []quant.MetricPoint{{RunID: RunID(n), Name: "m", Step: 3, Value: 2, LoggedAt: at}, {RunID: RunID(n), Name: "m", Step: 1, Value: 5, LoggedAt: at}},
		Tags:      []quant.Tag{{RunID: RunID(n), Name: "t", Value: "v"}},
		Notes:     []quant.Note{{RunID: RunID(n), Text: "note", LoggedAt: at}},
		Artifacts: []quant.Artifact{{RunID: RunID(n), Name: "a", Digest: digestOf(n), Bytes: 1, LoggedAt: at}},
	}))
	ok(t, s.SaveProgram(ctx, quant.Program{RunID: RunID(n), Path: "/bin/true"}))
	ok(t, s.LogInputs(ctx, []quant.RunDataset{{RunID: RunID(n), Name: "d", Digest: "1", SourceType: "local", Source: "x"}},
		[]quant.RunModel{{RunID: RunID(n), Direction: quant.Out, ModelID: "m-" + strings.Repeat("0", 32)}}))
	ok(t, s.LogClient(ctx, clientOf(n), metastore.ClientBatch{NaNs: []quant.MetricPoint{{Name: "nan", LoggedAt: at}}}))
}

// clientOf is what clients call a run of quant by.
func clientOf(n int) string { return strings.ReplaceAll(RunID(n), "-", "") }
