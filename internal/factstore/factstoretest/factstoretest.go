// Package factstoretest writes facts for tests: statements in plain SQL, each
// through the method of factstore.Tx that counts what it changes.
package factstoretest

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"testing"

	"quant/internal/factstore"
)

// Exec runs one statement within a Write: INSERT INTO, UPDATE or DELETE FROM on
// a fact table, or one that stages rows in a TEMP table.
func Exec(ctx context.Context, tx *factstore.Tx, statement string, args ...any) error {
	m := regexp.MustCompile(`(?s)^\s*(INSERT INTO|UPDATE|DELETE FROM)\s+(?:main\.)?([a-z_]+)\b(?:\s+SET\s|\s+WHERE\s)?(.*)$`).FindStringSubmatch(statement)
	if m == nil || m[2] == "temp" {
		_, err := tx.Stage(ctx, statement, args...)
		return err
	}
	var err error
	switch table, rest := m[2], m[3]; m[1] {
	case "INSERT INTO":
		_, err = tx.Insert(ctx, table, rest, args...)
	case "UPDATE":
		_, err = tx.Update(ctx, table, rest, args...)
	default:
		if rest == "" {
			rest = "true"
		}
		_, err = tx.Delete(ctx, table, rest, args...)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// Write runs statements, as of Exec, as one run.
func Write(ctx context.Context, db *factstore.DB, runID string, statements ...string) error {
	_, err := db.Write(ctx, runID, func(ctx context.Context, tx *factstore.Tx) error {
		for _, s := range statements {
			if err := Exec(ctx, tx, s); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// Foreign runs statements on the file of a Fact DB that nobody has open, as another
// program would: without a word in the ledger.
func Foreign(t testing.TB, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("duckdb", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}
