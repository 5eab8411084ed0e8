package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mattn/go-sqlite3"

	"quant"
	"quant/internal/durable"
	"quant/internal/metastore"
	"quant/internal/sqltext"
)

// salvageable are the tables that Salvage knows, parents first.
func salvageable() []string {
	return append([]string{"symbols", "experiments", "models"}, carriedTables()...)
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
// Errors: Store, marked metastore.ErrDamaged, when nothing at all can be read; Invalid
// for a table that is not known. After an error nothing was taken over. The
// work is done on a copy, for which the folder needs room.
func (db *DB) Salvage(ctx context.Context, brokenPath string, tables []string) (metastore.Carried, error) {
	none := metastore.Carried{}
	for _, t := range tables {
		if !slices.Contains(salvageable(), t) {
			return none, quant.Errorf(quant.Invalid, "salvage from %s: table %q is not known", brokenPath, t)
		}
	}
	broken, guessed, done, err := db.openBroken(ctx, brokenPath)
	if err != nil {
		return none, err
	}
	defer done()

	read := int64(0)
	carried := metastore.Carried{Rows: map[string]int64{}, Lost: map[string]int64{}}
	err = db.write(ctx, "salvage from "+brokenPath, "", func(ctx context.Context, q querier) error {
		for _, table := range salvageable() {
			if tables != nil && !slices.Contains(tables, table) {
				continue
			}
			// Of a guessed table, only a row that has its own kind of key shows
			// that the guess was right; anything could be a symbol.
			if guessed && !slices.Contains(carriedTables(), table) {
				carried.Lost[table]++
				continue
			}
			n, err := salvageTable(ctx, q, broken, table, &carried)
			if err != nil {
				return err
			}
			read += n
		}
		if guessed && read == 0 {
			return storeError(metastore.ErrDamaged, nil, "salvage from %s: nothing can be read: no row of a Meta DB is where it should be", brokenPath)
		}
		if err := fillProcesses(ctx, q); err != nil {
			return err
		}
		if err := fillFacts(ctx, q, db.schema); err != nil {
			return err
		}
		return fillMetrics(ctx, q)
	})
	if err != nil {
		return none, err
	}
	return carried, nil
}

// openBroken opens a copy of a damaged file, mended as far as the header and
// the schema go: SQLite refuses a whole file for a byte there, or for being cut
// off. guessed says that the schema is not the file's own. The original is only
// read.
func (db *DB) openBroken(ctx context.Context, path string) (pool *sql.DB, guessed bool, done func(), err error) {
	unreadable := func(cause error) error {
		return storeError(metastore.ErrDamaged, cause, "salvage from %s: nothing can be read: %v", path, cause)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, false, nil, unreadable(err)
	case !info.Mode().IsRegular():
		return nil, false, nil, unreadable(errors.New("it is no regular file"))
	}
	dir, removeFolder, err := durable.TemporaryFolder(filepath.Dir(db.path), filepath.Base(db.path)+".salvage")
	if err != nil {
		return nil, false, nil, db.fileError(err)
	}
	remove := func() { _ = removeFolder() }
	defer func() {
		if err != nil {
			remove()
		}
	}()
	copied := filepath.Join(dir, "copy.db")
	if err := copyFile(path, copied); err != nil {
		return nil, false, nil, db.fileError(err)
	}
	if err := copyFile(path+"-wal", copied+"-wal"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil, db.fileError(err)
	}
	if err := mendHeader(copied); err != nil {
		return nil, false, nil, unreadable(err)
	}
	pool, err = db.openCopy(ctx, copied)
	if err != nil {
		if e := db.graftSchema(ctx, dir, copied); e != nil {
			return nil, false, nil, unreadable(errors.Join(err, e))
		}
		if pool, err = db.openCopy(ctx, copied); err != nil {
			return nil, false, nil, unreadable(err)
		}
		guessed = true
	}
	return pool, guessed, func() { _ = pool.Close(); remove() }, nil
}

func (db *DB) openCopy(ctx context.Context, path string) (*sql.DB, error) {
	pool := sql.OpenDB(connector(dsn(path, db.wait, "mode=rw")))
	pool.SetMaxOpenConns(1)
	var n int64
	if err := pool.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema`).Scan(&n); err != nil {
		_ = pool.Close()
		return nil, err
	}
	return pool, nil
}

// graftSchema replaces the pages of a damaged copy that hold its schema by
// those of a new database. One made by this program and never rebuilt has its
// tables in the same places.
func (db *DB) graftSchema(ctx context.Context, dir, copied string) error {
	fresh := filepath.Join(dir, "fresh.db")
	if err := os.WriteFile(fresh, nil, 0o600); err != nil {
		return err
	}
	if err := db.fill(ctx, fresh); err != nil {
		return err
	}
	pool, err := db.openCopy(ctx, fresh)
	if err != nil {
		return err
	}
	roots, err := texts(ctx, pool, `SELECT rootpage FROM sqlite_schema WHERE rootpage > 0`)
	if err := errors.Join(err, pool.Close()); err != nil {
		return err
	}
	content, err := os.ReadFile(fresh)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(copied, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	for page := range len(content) / pageSize {
		if !slices.Contains(roots, strconv.Itoa(page+1)) {
			_, e := f.WriteAt(content[page*pageSize:][:pageSize], int64(page*pageSize))
			err = errors.Join(err, e)
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return mendHeader(copied)
}

// pageSize is SQLite's default, which a Meta DB keeps.
const pageSize = 4096

func copyFile(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

// mendHeader gives a file the header that every Meta DB has where its own is
// not readable, and as many pages as the header says.
func mendHeader(path string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < pageSize {
		return errors.New("it is shorter than a page")
	}
	header := make([]byte, 100)
	if _, err := f.ReadAt(header, 0); err != nil {
		return err
	}
	// The fixed bytes of the file format: magic, page size, versions (2 is
	// WAL), reserved space, payload fractions; then schema format and encoding.
	start := append([]byte("SQLite format 3\x00"), pageSize>>8, pageSize&0xff, 2, 2, 0, 64, 32, 32)
	if !bytes.Equal(header[:16], start[:16]) || !bytes.Equal(header[20:24], start[20:24]) ||
		binary.BigEndian.Uint32(header[56:]) != 1 {
		copy(header, start)
		binary.BigEndian.PutUint32(header[44:], 4)
		binary.BigEndian.PutUint32(header[56:], 1)
	}
	size := int64(binary.BigEndian.Uint16(header[16:]))
	if size < 512 {
		return errors.New("its page size is not one of a Meta DB")
	}
	// What is cut off is made up with empty pages, as SQLite refuses a schema
	// that names a page beyond the end; not so a number too high to be true.
	pages := (info.Size() + size - 1) / size
	if told := int64(binary.BigEndian.Uint32(header[28:])); told > pages && told <= 4*pages+64 {
		pages = told
	}
	binary.BigEndian.PutUint32(header[28:], uint32(pages))
	copy(header[92:96], header[24:28]) // the number of pages is valid
	if _, err := f.WriteAt(header, 0); err != nil {
		return err
	}
	return f.Truncate(pages * size)
}

// salvageTable reads a table forward until it breaks off, backward until it
// breaks off, and then asks for those rows by key that only an index knows. It
// returns how many different rows it could read.
func salvageTable(ctx context.Context, q querier, broken *sql.DB, table string, carried *metastore.Carried) (read int64, err error) {
	ours, err := columnsOf(ctx, q, "main", table)
	if err != nil {
		return 0, err
	}
	theirs, err := columnsOf(ctx, broken, "main", table)
	if err != nil || len(theirs) == 0 {
		return 0, ctx.Err() // not there, or its definition is lost
	}
	s := &salvager{q: q, broken: broken, table: table, carried: carried, seen: map[string]bool{}}
	for _, c := range ours {
		if slices.ContainsFunc(theirs, func(t column) bool { return t.name == c.name }) {
			s.columns = append(s.columns, sqltext.Identifier(c.name))
			if c.key > 0 {
				s.keys = append(s.keys, sqltext.Identifier(c.name))
				s.keyAt = append(s.keyAt, len(s.columns)-1)
			}
		} else if c.key > 0 {
			return 0, nil // no key, no row
		}
	}
	all := `SELECT ` + strings.Join(s.columns, ", ") + ` FROM main.` + sqltext.Identifier(table)
	complete, err := s.storeRows(ctx, all+` ORDER BY `+strings.Join(s.keys, ", "))
	if err == nil && !complete {
		_, err = s.storeRows(ctx, all+` ORDER BY `+strings.Join(s.keys, " DESC, ")+` DESC`)
		if err == nil {
			err = s.storeByIndex(ctx, all)
		}
	}
	return int64(len(s.seen)), err
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

// storeRows stores what a query returns before it breaks off. The error is this
// database's, never the broken one's.
func (s *salvager) storeRows(ctx context.Context, query string, args ...any) (complete bool, err error) {
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
		if err := s.storeRow(ctx, values); err != nil {
			return false, err
		}
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return rows.Err() == nil, nil
}

func (s *salvager) storeRow(ctx context.Context, values []any) error {
	id := s.id(values)
	if s.seen[id] {
		return nil
	}
	s.seen[id] = true
	res, err := s.q.ExecContext(ctx, `INSERT INTO main.`+sqltext.Identifier(s.table)+` (`+strings.Join(s.columns, ", ")+`) VALUES (?`+
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
		case int64: // the number of a point or a note
			b.WriteString(strconv.FormatInt(v, 10))
		}
		b.WriteByte(0)
	}
	return b.String()
}

// storeByIndex asks for the rows that indexes know and no scan has met.
func (s *salvager) storeByIndex(ctx context.Context, all string) error {
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
		if _, err := s.storeRows(ctx, all+where, key...); err != nil {
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
	query := `SELECT ` + strings.Join(s.keys, ", ") + ` FROM main.` + sqltext.Identifier(s.table) + ` INDEXED BY ` + sqltext.Identifier(index) + strings.Join(partial, "")
	if len(first) == 1 && first[0] != "" {
		query += ` ORDER BY ` + sqltext.Identifier(first[0]) + direction
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
	_ = rows.Err() // where the damage begins the walk ends; what it found counts
	return ctx.Err()
}
