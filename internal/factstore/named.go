package factstore

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// NamingRuns returns, for those of the runs that any table names, the names of
// these tables in order: the ledger, slices, results, rejected rows. What they
// hold leads back to the run.
func (db *DB) NamingRuns(ctx context.Context, runIDs []string) (map[string][]string, error) {
	tables, err := columns(ctx, db.conn, catalog)
	if err != nil {
		return nil, db.failure(ctx, "list tables", err)
	}
	naming := map[string][]string{}
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		if !has(tables[table], "run_id") {
			continue
		}
		ids, err := Values[string](ctx, db, "SELECT DISTINCT run_id FROM "+factTable(table)+" WHERE run_id IN (SELECT unnest(string_split(?, ',')))", strings.Join(runIDs, ","))
		if err != nil {
			return nil, db.failure(ctx, "look for runs in "+table, err)
		}
		for _, id := range ids {
			naming[id] = append(naming[id], table)
		}
	}
	return naming, nil
}
