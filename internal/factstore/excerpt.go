package factstore

import (
	"context"
	"database/sql"
	"strings"

	"quant"
	"quant/internal/sqltext"
)

// Excerpt is a database of its own beside the Fact DB, with some rows of it: for a query
// that is to see a part of the facts, or changed ones, and nothing else. Nobody must
// have it open while a method runs. For one goroutine.
type Excerpt struct{ path string }

// excerptSchema holds what was taken; what is shown is in main.
const excerptSchema = "taken"

// NewExcerpt makes the database at path, where nothing stands, with a table for the rows
// of each query, in order of the names.
func (db *DB) NewExcerpt(ctx context.Context, path string, names []string, queries map[string]string) (*Excerpt, error) {
	e := &Excerpt{path}
	exec := func(statement string) error {
		_, err := db.conn.ExecContext(ctx, statement)
		return err
	}
	if err := exec("ATTACH " + sqltext.Literal(path) + " AS excerpt (TYPE duckdb)"); err != nil {
		return nil, db.failure(ctx, "take an excerpt", err)
	}
	err := exec("CREATE SCHEMA excerpt." + excerptSchema)
	for _, name := range names {
		if err == nil {
			err = exec("CREATE TABLE " + e.table("excerpt.", name) + " AS " + queries[name])
		}
	}
	if _, ended := db.conn.ExecContext(context.WithoutCancel(ctx), "DETACH excerpt"); err == nil {
		err = ended
	}
	if err != nil {
		return nil, db.failure(ctx, "take an excerpt", err)
	}
	return e, nil
}

func (e *Excerpt) table(catalog, name string) string {
	return catalog + excerptSchema + "." + sqltext.Identifier(name)
}

// Path is that of the database.
func (e *Excerpt) Path() string { return e.path }

// Show makes the excerpt show, under each name, what is selected of the table of that
// name: selected stands before FROM, where after WHERE.
func (e *Excerpt) Show(ctx context.Context, names []string, of func(name string) (selected, where string)) error {
	db, err := sql.Open("duckdb", e.path)
	if err != nil {
		return quant.Errorf(quant.Store, "open an excerpt of the facts: %w", err)
	}
	defer db.Close()
	var views strings.Builder
	for _, name := range names {
		selected, where := of(name)
		views.WriteString("CREATE OR REPLACE VIEW main." + sqltext.Identifier(name) + " AS SELECT " + selected + " FROM " + e.table("", name) + " WHERE " + where + ";\n")
	}
	if _, err := db.ExecContext(ctx, views.String()); err != nil {
		return quant.Errorf(quant.Store, "prepare an excerpt of the facts: %w", err)
	}
	return db.Close()
}
