package jobs

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"

	"quant"
	"quant/internal/metastore/postgres"
)

const (
	// serverSchema is where the tables of the queue stand in the database of a team's
	// Meta DB: apart from those of the Meta DB, which has its own migrations.
	serverSchema = "quant_jobs"
	// serverLock keeps apart those who make them.
	serverLock = 0x716a6f6273
)

// OpenServer opens the jobs of a lab whose Meta DB is the database of a URL, in a schema
// of their own. create makes that where it is missing, or brings it up to date; else a
// missing one is NotFound. Errors: Usage for no URL; Store; Locked while the server starts.
func OpenServer(ctx context.Context, url string, create bool) (*Store, error) {
	beside, err := postgres.NewBeside(url)
	if err != nil {
		return nil, err
	}
	pool := beside.Open()
	s, err := openServer(ctx, pool, create)
	if err != nil {
		pool.Close()
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == noPrivilege {
			return nil, quant.Errorf(quant.Store, "the jobs in schema %s of the Meta DB's database: %s", serverSchema, e.Message).
				WithHint("the role needs the schema, or the right to make one: docs/team.md has the grants")
		}
		return nil, beside.Classify("open the jobs", err)
	}
	s.explain = beside.Classify
	return s, nil
}

// noPrivilege is PostgreSQL's code of what a role may not.
const noPrivilege = "42501"

func openServer(ctx context.Context, pool *sql.DB, create bool) (*Store, error) {
	var there bool
	if err := pool.QueryRowContext(ctx, "SELECT to_regclass('"+serverSchema+".river_job') IS NOT NULL").Scan(&there); err != nil {
		return nil, err
	}
	if !there && !create {
		return nil, noJobs()
	}
	if !create {
		return open(ctx, riverdatabasesql.New(pool), pool, serverDialect(), serverSchema, false, nil)
	}
	// One at a time looks whether there is a schema to be made.
	turn, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = turn.Rollback() }() // it holds a lock and nothing else
	if _, err := turn.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", serverLock); err != nil {
		return nil, err
	}
	if !there {
		if _, err := pool.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+serverSchema); err != nil {
			return nil, err
		}
	}
	return open(ctx, riverdatabasesql.New(pool), pool, serverDialect(), serverSchema, true, nil)
}
