package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mattn/go-sqlite3"

	"quant"
	"quant/internal/metastore"
)

// salvageable are the tables that Salvage knows, parents first.
func salvageable() []string {
	return []string{"symbols", "experiments", "models", "runs", "run_process", "run_io"}
}

// Salvage takes over what can be read from another, usually damaged and moved
// aside, SQLite file: rows that this schema accepts and does not hold yet, of
// the named tables, or of all that it knows for nil. The other file is not
// changed. A RUNNING row comes over as RUNNING.
//
// Carried.Rows counts the rows that were added. Carried.Lost counts those that
// the rules refuse and those that are known from an index but cannot be read;
// what left no trace cannot be counted, and a table broken off without one
// counts as one lost.
//
// Errors: Store, marked ErrDamaged, when nothing at all can be read; Invalid
// for a table that is not known. After an error nothing was taken over.
func (db *DB) Salvage(ctx context.Context, brokenPath string, tables []string) (metastore.Carried, error) {
	none := metastore.Carried{}
	for _, t := range tables {
		if !slices.Contains(salvageable(), t) {
			return none, quant.Errorf(quant.Invalid, "salvage from %s: table %q is not known", brokenPath, t)
		}
	}
	broken, err := openBroken(ctx, brokenPath)
	if err != nil {
		return none, err
	}
	defer func() { _ = broken.Close() }()

	carried := metastore.Carried{Rows: map[string]int64{}, Lost: map[string]int64{}}
	err = db.write(ctx, "salvage from "+brokenPath, "", func(ctx context.Context, q querier) error {
		for _, table := range salvageable() {
			if tables != nil && !slices.Contains(tables, table) {
				continue
			}
			if err := salvageTable(ctx, q, broken, table, &carried); err != nil {
				return err
			}
		}
		return fillProcesses(ctx, q)
	})
	if err != nil {
		return none, err
	}
	return carried, nil
}

// openBroken opens a damaged file for reading. writable_schema makes SQLite
// bear with a file shorter than its header says.
func openBroken(ctx context.Context, path string) (*sql.DB, error) {
	unreadable := func(cause error, why string) error {
		return storeError(ErrDamaged, cause, "salvage from %s: nothing can be read: %s", path, why)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, unreadable(err, err.Error())
	}
	info, err := os.Stat(abs)
	switch {
	case err != nil:
		return nil, unreadable(err, err.Error())
	case !info.Mode().IsRegular():
		return nil, unreadable(nil, "it is no regular file")
	}
	var last error
	for _, mode := range []string{"mode=ro", "mode=ro&immutable=1"} {
		pool := sql.OpenDB(connector(dsn(abs, 0, mode+"&_query_only=on&_writable_schema=1")))
		pool.SetMaxOpenConns(1)
		var n int64
		if last = pool.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema`).Scan(&n); last == nil {
			return pool, nil
		}
		_ = pool.Close()
	}
	return nil, unreadable(last, last.Error())
}

// salvageTable reads a table forward until it breaks off, backward until it
// breaks off, and then asks for those rows by key that only an index knows.
func salvageTable(ctx context.Context, q querier, broken *sql.DB, table string, carried *metastore.Carried) error {
	ours, err := columnsOf(ctx, q, "main", table)
	if err != nil {
		return err
	}
	theirs, err := columnsOf(ctx, broken, "main", table)
	if err != nil || len(theirs) == 0 {
		return ctx.Err() // not there, or its definition is lost
	}
	s := &salvager{q: q, broken: broken, table: table, carried: carried, seen: map[string]bool{}}
	for _, c := range ours {
		if slices.ContainsFunc(theirs, func(t column) bool { return t.name == c.name }) {
			s.columns = append(s.columns, quote(c.name))
			if c.key > 0 {
				s.keys = append(s.keys, quote(c.name))
				s.keyAt = append(s.keyAt, len(s.columns)-1)
			}
		} else if c.key > 0 {
			return nil // no key, no row
		}
	}
	all := `SELECT ` + strings.Join(s.columns, ", ") + ` FROM main.` + quote(table)
	complete, err := s.take(ctx, all+` ORDER BY `+strings.Join(s.keys, ", "))
	if err != nil || complete {
		return err
	}
	if _, err := s.take(ctx, all+` ORDER BY `+strings.Join(s.keys, " DESC, ")+` DESC`); err != nil {
		return err
	}
	return s.byIndex(ctx, all)
}

type salvager struct {
	q       querier
	broken  *sql.DB
	table   string
	columns []string
	keys    []string
	keyAt   []int // where in a row the keys stand
	seen    map[string]bool
	carried *metastore.Carried
}

// take stores what a query returns before it breaks off. The error is this
// database's, never the broken one's.
func (s *salvager) take(ctx context.Context, query string, args ...any) (complete bool, err error) {
	rows, err := s.broken.QueryContext(ctx, query, args...)
	if err != nil {
		return false, ctx.Err()
	}
	defer func() { _ = rows.Close() }()
	values := make([]any, len(s.columns))
	targets := make([]any, len(s.columns))
	for i := range values {
		targets[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return false, ctx.Err()
		}
		if err := s.store(ctx, values); err != nil {
			return false, err
		}
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return rows.Err() == nil, nil
}

func (s *salvager) store(ctx context.Context, values []any) error {
	id := s.id(values)
	if s.seen[id] {
		return nil
	}
	s.seen[id] = true
	res, err := s.q.ExecContext(ctx, `INSERT INTO main.`+quote(s.table)+` (`+strings.Join(s.columns, ", ")+`) VALUES (?`+
		strings.Repeat(", ?", len(s.columns)-1)+`) ON CONFLICT DO NOTHING`, values...)
	if e, ok := errors.AsType[sqlite3.Error](err); ok && (e.Code == sqlite3.ErrConstraint || e.Code == sqlite3.ErrMismatch || e.Code == sqlite3.ErrTooBig) {
		s.carried.Lost[s.table]++
		return nil
	}
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if n > 0 {
		s.carried.Rows[s.table] += n
	}
	return err
}

// id is a row's key as one text.
func (s *salvager) id(values []any) string {
	var b strings.Builder
	for _, at := range s.keyAt {
		switch v := values[at].(type) {
		case string:
			b.WriteString(v)
		case []byte:
			b.Write(v)
		}
		b.WriteByte(0)
	}
	return b.String()
}

// byIndex asks for the rows that indexes know and no scan has met.
func (s *salvager) byIndex(ctx context.Context, all string) error {
	indexes, err := texts(ctx, s.broken, `SELECT name FROM pragma_index_list(?) WHERE origin = 'c'`, s.table)
	if err != nil {
		indexes = nil
	}
	missing := map[string][]any{}
	for _, index := range indexes {
		for _, direction := range []string{"", " DESC"} {
			if err := s.keysOf(ctx, index, direction, missing); err != nil {
				return err
			}
		}
	}
	lost := int64(0)
	where := ` WHERE ` + strings.Join(s.keys, ` = ? AND `) + ` = ?`
	for id, key := range missing {
		if _, err := s.take(ctx, all+where, key...); err != nil {
			return err
		}
		if !s.seen[id] {
			lost++
		}
	}
	s.carried.Lost[s.table] += max(lost, 1)
	return nil
}

// keysOf adds the keys of an index that no scan has met.
func (s *salvager) keysOf(ctx context.Context, index, direction string, missing map[string][]any) error {
	partial, err := texts(ctx, s.broken, `SELECT coalesce(substr(sql, instr(upper(sql), ' WHERE ')), '') FROM sqlite_schema
		WHERE type = 'index' AND name = ? AND instr(upper(sql), ' WHERE ') > 0`, index)
	if err != nil {
		return ctx.Err()
	}
	first, err := texts(ctx, s.broken, `SELECT coalesce(name, '') FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno LIMIT 1`, index)
	if err != nil {
		return ctx.Err()
	}
	query := `SELECT ` + strings.Join(s.keys, ", ") + ` FROM main.` + quote(s.table) + ` INDEXED BY ` + quote(index) + strings.Join(partial, "")
	if len(first) == 1 && first[0] != "" {
		query += ` ORDER BY ` + quote(first[0]) + direction
	}
	rows, err := s.broken.QueryContext(ctx, query)
	if err != nil {
		return ctx.Err()
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		row := make([]any, len(s.columns))
		key := make([]any, len(s.keys))
		targets := make([]any, len(s.keys))
		for i := range key {
			targets[i] = &key[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return ctx.Err()
		}
		for i, at := range s.keyAt {
			row[at] = key[i]
		}
		if id := s.id(row); !s.seen[id] {
			missing[id] = key
		}
	}
	return ctx.Err()
}
