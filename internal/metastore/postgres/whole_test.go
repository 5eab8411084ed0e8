package postgres

import (
	"context"
	"path/filepath"
	"testing"

	"quant/internal/metastore"
	"quant/internal/metastore/metastoretest"
	"quant/internal/metastore/sqlite"
)

func TestAWholeMetaDBIsCopiedFromAnyEngineToAny(t *testing.T) {
	t.Parallel()
	metastoretest.RunWhole(t, map[string]func(t *testing.T) (metastore.Store, func(string)){
		"SQLite": func(t *testing.T) (metastore.Store, func(string)) {
			file, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(t.TempDir(), "meta.db")})
			ok(t, err)
			t.Cleanup(func() { _ = file.Close() })
			return file, func(s string) { must(file.Pool.Exec(s)) }
		},
		"PostgreSQL": func(t *testing.T) (metastore.Store, func(string)) {
			db := openNew(t)
			return db, func(s string) { must(db.Pool.Exec(s)) }
		},
	})
}

func TestRunsThatWereCopiedBelongToWhoCopiedThem(t *testing.T) {
	t.Parallel()
	from, to := openNew(t), openNew(t)
	metastoretest.FillEveryTable(t, from, func(s string) { must(from.Pool.Exec(s)) })
	must(metastore.CopyWhole(context.Background(), from, to, metastore.CopyOptions{}))
	var runs, roles int
	ok(t, to.Pool.QueryRow(`SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM run_roles WHERE role = session_user)`).Scan(&runs, &roles))
	if runs != 4 || roles != runs {
		t.Errorf("%d runs, %d of them with a role", runs, roles)
	}
	var off int
	ok(t, to.Pool.QueryRow(`SELECT count(*) FROM pg_trigger WHERE tgenabled = 'D'`).Scan(&off))
	if off != 0 {
		t.Errorf("%d triggers are off", off)
	}
}
