package postgres

import (
	"context"
	"database/sql"
	"iter"
	"strings"

	"github.com/jackc/pgx/v5"

	"quant/internal/metastore/relational"
	"quant/internal/sqltext"
)

// StoreWhole is documented at relational.Dialect. What is off are the triggers: who may
// change which run, and what is noted of who did. A run belongs to the role that stores it
// here. The statistics that plans are made by are taken at once.
func (d dialect) StoreWhole(ctx context.Context, conn *sql.Conn, tables []string, store func() error) error {
	triggers := func(verb string) error {
		var b strings.Builder
		for _, t := range tables {
			b.WriteString("ALTER TABLE " + sqltext.Identifier(t) + " " + verb + " TRIGGER USER;")
		}
		return script(ctx, conn, b.String())
	}
	if err := triggers("DISABLE"); err != nil {
		return err
	}
	if err := store(); err != nil {
		return err
	}
	if err := triggers("ENABLE"); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, `INSERT INTO run_roles (run_id, role) SELECT run_id, session_user FROM runs ON CONFLICT DO NOTHING`); err != nil {
		return err
	}
	return script(ctx, conn, "ANALYZE "+strings.Join(tables, ", "))
}

// script runs statements as they stand.
func script(ctx context.Context, c *sql.Conn, text string) error {
	return c.Raw(func(raw any) error {
		_, err := raw.(*conn).Conn.Conn().PgConn().Exec(ctx, text).ReadAll()
		return err
	})
}

// StoreRows is documented at relational.Dialect.
func (d dialect) StoreRows(ctx context.Context, c *sql.Conn, table string, columns []string, rows iter.Seq2[[]any, error]) error {
	return c.Raw(func(raw any) error {
		next, stop := iter.Pull2(rows)
		defer stop()
		source := &copySource{next: next, table: table, columns: len(columns)}
		_, err := raw.(*conn).Conn.Conn().CopyFrom(ctx, pgx.Identifier{Schema, table}, columns, source)
		if source.err != nil {
			return source.err // which the server only says that it was told
		}
		return err
	})
}

// copySource gives pgx rows in the form in which PostgreSQL stores them.
type copySource struct {
	next    func() ([]any, error, bool)
	table   string
	columns int
	row     []any
	err     error
}

func (s *copySource) Next() bool {
	row, err, more := s.next()
	if !more || err != nil {
		s.err = err
		return false
	}
	if len(row) != s.columns {
		s.err = relational.OtherColumns(s.table, len(row), s.columns)
		return false
	}
	if s.row == nil {
		s.row = make([]any, len(row))
	}
	for i, v := range row {
		if text, is := v.(string); is {
			v = carried(text)
		}
		s.row[i] = v
	}
	return true
}

func (s *copySource) Values() ([]any, error) { return s.row, nil }
func (s *copySource) Err() error             { return s.err }
