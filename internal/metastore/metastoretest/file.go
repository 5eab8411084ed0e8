package metastoretest

import (
	"context"
	"path/filepath"
	"testing"

	"quant"
	"quant/internal/metastore"
)

// RunFile checks what a backend in a file does beyond Run. open makes an empty
// store, closed when its test ends.
func RunFile(t *testing.T, open func(t *testing.T) metastore.FileStore) {
	t.Helper()
	for _, tt := range fileTests() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, open(t))
		})
	}
}

type fileTest struct {
	name string
	run  func(t *testing.T, s metastore.FileStore)
}

func fileTests() []fileTest {
	ctx := context.Background()
	return []fileTest{
		{"IsFoundBehindTheContractOfAll", func(t *testing.T, s metastore.FileStore) {
			one(metastore.AsFile(s))(t)
			_, err := metastore.AsFile(struct{ metastore.Store }{s})
			refused(t, err, quant.Refused)
		}},
		{"IsMadeOnce", func(t *testing.T, s metastore.FileStore) {
			equal(t, s.Created(), true)
			from, to, backup := s.Migrated()
			equal(t, []any{from, to, backup}, []any{0, 0, ""})
			ok(t, s.Damage(ctx))
		}},
		{"ResetKeepsTheRunsAndNothingElse", func(t *testing.T, s metastore.FileStore) {
			fill(t, s)
			before := one(s.ListRuns(ctx, metastore.RunFilter{All: true}))(t)
			io := one(s.RunIO(ctx, RunID(1)))(t)
			carried := one(s.Reset(ctx, ""))(t)
			equal(t, carried, metastore.Carried{Rows: map[string]int64{"runs": 3, "run_process": 3, "run_io": 1}, Lost: map[string]int64{}})
			equal(t, one(s.ListRuns(ctx, metastore.RunFilter{All: true}))(t), before)
			equal(t, one(s.RunIO(ctx, RunID(1)))(t), io)
			equal(t, len(one(s.ListSymbols(ctx, metastore.SymbolFilter{}))(t)), 0)
			equal(t, len(one(s.ListExperiments(ctx, metastore.ExperimentFilter{}))(t)), 0)
			equal(t, len(one(s.ListModels(ctx, metastore.ModelFilter{}))(t)), 0)
			equal(t, len(one(s.Check(ctx))(t)), 0)
			ok(t, s.FinishRun(ctx, successOf(3))) // a running one goes on
			equal(t, one(s.Reset(ctx, ""))(t).Rows["runs"], 3)
		}},
		{"AResetIsNotDoneWithoutItsBackup", func(t *testing.T, s metastore.FileStore) {
			fill(t, s)
			path := filepath.Join(t.TempDir(), "backup.db")
			ok(t, s.Backup(ctx, path))
			_, err := s.Reset(ctx, path)
			refused(t, err, quant.Conflict)
			_, err = s.Reset(ctx, filepath.Join(path, "no", "folder.db"))
			refused(t, err, quant.Store)
			equal(t, len(one(s.ListSymbols(ctx, metastore.SymbolFilter{}))(t)), 2)
			one(s.Reset(ctx, path+"-2"))(t)
			equal(t, len(one(s.ListSymbols(ctx, metastore.SymbolFilter{}))(t)), 0)
		}},
		{"ABackupRefusesAnExistingFile", func(t *testing.T, s metastore.FileStore) {
			fill(t, s)
			path := filepath.Join(t.TempDir(), "한글 %20?#.db")
			ok(t, s.Backup(ctx, path))
			refused(t, s.Backup(ctx, path), quant.Conflict)
			refused(t, s.Backup(ctx, filepath.Dir(path)), quant.Conflict)
			refused(t, s.Backup(ctx, filepath.Join(path, "no", "folder.db")), quant.Store)
		}},
		{"BackupAndResetStayOutOfATransaction", func(t *testing.T, s metastore.FileStore) {
			ok(t, s.Tx(ctx, func(ctx context.Context) error {
				refused(t, s.Backup(ctx, filepath.Join(t.TempDir(), "b.db")), quant.Failed)
				_, err := s.Reset(ctx, "")
				refused(t, err, quant.Failed)
				return nil
			}))
		}},
		{"IsWholeByItselfOnceItIsSealed", func(t *testing.T, s metastore.FileStore) {
			fill(t, s)
			ok(t, s.Seal(ctx))
			_, err := s.ListRuns(ctx, metastore.RunFilter{All: true})
			if err == nil {
				t.Error("it is still open")
			}
			ok(t, s.Close())
		}},
		{"TakesOverWhatIsReadableAndMissing", func(t *testing.T, s metastore.FileStore) {
			fill(t, s)
			path := filepath.Join(t.TempDir(), "old.db")
			ok(t, s.Backup(ctx, path))
			one(s.Reset(ctx, ""))(t)
			carried := one(s.Salvage(ctx, path, nil))(t)
			equal(t, carried, metastore.Carried{Rows: map[string]int64{"symbols": 2, "client_experiments": 1, "experiments": 1, "models": 1}, Lost: map[string]int64{}})
			equal(t, len(one(s.ListSymbols(ctx, metastore.SymbolFilter{}))(t)), 2)
			_, err := s.Salvage(ctx, path, []string{"no_table"})
			refused(t, err, quant.Invalid)
		}},
	}
}
