package postgres

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"quant/internal/metastore"
	"quant/internal/metastore/relational"
	"quant/internal/sqltext"
)

// mendSchema is what to do about a schema that somebody changed: quant cannot tell what
// was meant.
const mendSchema = "undo the change, or restore the database from its backup (pg_restore)"

// Check is documented at metastore.Store. PostgreSQL puts every row to the rules, so that
// what is looked for is whether the rules still stand, rows that refer to nothing, and
// what no rule can say. Damaged files are its own to find (amcheck, checksums).
func (db *DB) Check(ctx context.Context) ([]metastore.Problem, error) {
	var found []metastore.Problem
	err := db.OnSnapshot(ctx, func(q relational.Querier) error {
		for _, part := range []func(context.Context, relational.Querier) ([]metastore.Problem, error){
			db.checkSchema, checkReferences, relational.CheckProcesses, relational.CheckMetrics,
		} {
			problems, err := part(ctx, q)
			if err != nil {
				return err
			}
			found = append(found, problems...)
		}
		return nil
	})
	return found, db.Classify("check", err)
}

// part is one thing that the schema has: a column, a rule, an index or a trigger.
type part struct{ table, name string }

// checkSchema finds what the migrations made and is gone, or is no longer heeded.
func (db *DB) checkSchema(ctx context.Context, q relational.Querier) ([]metastore.Problem, error) {
	var found []metastore.Problem
	for _, kind := range []struct{ noun, query string }{
		{"column", `SELECT c.table_name || ' ' || c.column_name FROM information_schema.columns c WHERE c.table_schema = '` + Schema + `'`},
		{"rule", `SELECT t.relname || ' ' || c.conname FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_class t ON t.oid = c.conrelid
			JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = '` + Schema + `' AND c.contype = 'c' AND c.convalidated`},
		{"index", `SELECT tablename || ' ' || indexname FROM pg_catalog.pg_indexes WHERE schemaname = '` + Schema + `'`},
		{"trigger", `SELECT t.relname || ' ' || g.tgname FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class t ON t.oid = g.tgrelid
			JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = '` + Schema + `' AND NOT g.tgisinternal AND g.tgenabled = 'O'`},
	} {
		have, err := relational.Texts(ctx, q, kind.query)
		if err != nil {
			return nil, err
		}
		for _, want := range db.wanted(kind.noun) {
			if !slices.Contains(have, want.table+" "+want.name) {
				found = append(found, metastore.Problem{
					Object: "table " + want.table, What: fmt.Sprintf("its %s %q is missing or not in force", kind.noun, want.name), Mend: mendSchema,
				})
			}
		}
	}
	return found, nil
}

// made are what the migrations make: their names as they stand in a statement.
var made = sync.OnceValue(func() (m struct{ table, rule, index, trigger *regexp.Regexp }) { // nothing is done at start-up
	m.table = regexp.MustCompile(`(?s)CREATE TABLE (\w+) \((.*?)\n\);`)
	m.rule = regexp.MustCompile(`CONSTRAINT "([^"]+)"`)
	m.index = regexp.MustCompile(`CREATE (?:UNIQUE )?INDEX (\w+) ON (\w+)`)
	m.trigger = regexp.MustCompile(`CREATE TRIGGER (\w+) \w+ [A-Za-z_, ]+ ON (\w+)`)
	return m
})

// wanted are the parts of a kind that the migrations make.
func (db *DB) wanted(kind string) []part {
	var all []part
	if kind == "column" {
		for table, columns := range relational.TableColumns() {
			for _, name := range strings.Split(columns, ", ") {
				all = append(all, part{table, name})
			}
		}
		slices.SortFunc(all, func(a, b part) int { return strings.Compare(a.table+" "+a.name, b.table+" "+b.name) })
		return all
	}
	for _, m := range db.schema {
		switch kind {
		case "rule":
			for _, table := range made().table.FindAllStringSubmatch(m.sql, -1) {
				for _, rule := range made().rule.FindAllStringSubmatch(table[2], -1) {
					all = append(all, part{table[1], clipped(rule[1])})
				}
			}
		case "index":
			for _, index := range made().index.FindAllStringSubmatch(m.sql, -1) {
				all = append(all, part{index[2], index[1]})
			}
		case "trigger":
			for _, trigger := range made().trigger.FindAllStringSubmatch(m.sql, -1) {
				all = append(all, part{trigger[2], trigger[1]})
			}
		}
	}
	return all
}

// clipped is a name as PostgreSQL keeps it: its first 63 bytes.
func clipped(name string) string { return name[:min(len(name), 63)] }

// checkReferences finds rows that refer to none: somebody had triggers switched off.
func checkReferences(ctx context.Context, q relational.Querier) ([]metastore.Problem, error) {
	references, err := relational.Texts(ctx, q, `SELECT t.relname || ' ' || a.attname || ' ' || p.relname || ' ' || k.attname
		FROM pg_catalog.pg_constraint c
		JOIN pg_catalog.pg_class t ON t.oid = c.conrelid JOIN pg_catalog.pg_class p ON p.oid = c.confrelid
		JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
		JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
		JOIN pg_catalog.pg_attribute k ON k.attrelid = c.confrelid AND k.attnum = c.confkey[1]
		WHERE n.nspname = '`+Schema+`' AND c.contype = 'f' AND cardinality(c.conkey) = 1 ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	var found []metastore.Problem
	for _, reference := range references {
		names := strings.Fields(reference)
		table, column, parent, key := sqltext.Identifier(names[0]), sqltext.Identifier(names[1]), sqltext.Identifier(names[2]), sqltext.Identifier(names[3])
		var n int64
		err := q.QueryRowContext(ctx, `SELECT count(*) FROM `+table+` c WHERE `+column+` IS NOT NULL
			AND NOT EXISTS (SELECT 1 FROM `+parent+` p WHERE p.`+key+` = c.`+column+`)`).Scan(&n)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			found = append(found, metastore.Problem{
				Object: names[0], What: fmt.Sprintf("%d rows refer to rows of %s that do not exist", n, names[2]), Mend: mendSchema,
			})
		}
	}
	return found, nil
}
