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
		err := db.eachText(ctx, func(id string) { naming[id] = append(naming[id], table) },
			"SELECT DISTINCT run_id FROM "+factTable(table)+" WHERE run_id IN (SELECT unnest(string_split(?, ',')))", strings.Join(runIDs, ","))
		if err != nil {
			return nil, db.failure(ctx, "look for runs in "+table, err)
		}
	}
	return naming, nil
}

func (db *DB) eachText(ctx context.Context, fn func(string), query string, args ...any) error {
	rows, err := db.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return err
		}
		fn(s)
	}
	return rows.Err()
}
