package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
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
	"quant/internal/metastore/relational"
	"quant/internal/sqltext"
)

// salvageable are the tables that Salvage knows, parents first.
func salvageable() []string { return relational.ParentsFirst() }

// Salvage takes over what can be read from another, usually damaged and moved
// aside, SQLite file: rows that this schema accepts and does not hold yet, of
// the named tables, or of all that it knows for nil. The other file is not
// changed. A RUNNING row comes over as RUNNING.
//
// Carried.Rows counts the rows that were added. Carried.Lost counts those that
// the rules refuse and those that are known from an index but cannot be read;
// what left no trace cannot be counted. Carried.Unread says where the reading broke
// off, and what else is wrong with the file: then rows may be missing without a trace.
//
// Errors: Store, marked metastore.ErrDamaged, when nothing at all can be read, and
// not marked when something else than the file kept it from reading or writing;
// Invalid for a table that is not known. After an error nothing was taken over. The
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

	read, unread := int64(0), []string(nil)
	carried := metastore.Carried{Rows: map[string]int64{}, Lost: map[string]int64{}}
	if carried.Unread, err = db.doubts(ctx, broken, brokenPath, guessed); err != nil {
		return none, db.Classify("salvage from "+brokenPath, err)
	}
	expected, err := db.tablesOf(ctx, broken)
	if err != nil {
		return none, db.Classify("salvage from "+brokenPath, err)
	}
	err = db.Write(ctx, "salvage from "+brokenPath, "", func(ctx context.Context, q relational.Querier) error {
		var numbered int64
		if err := q.QueryRowContext(ctx, relational.HighestNumber).Scan(&numbered); err != nil {
			return err
		}
		for _, table := range salvageable() {
			if tables != nil && !slices.Contains(tables, table) {
				continue
			}
			if table == "client_experiments" { // those just saved had numbers of their own
				if _, err := q.ExecContext(ctx, `DELETE FROM client_experiments WHERE number > ?`, numbered); err != nil {
					return err
				}
			}
			// Of a guessed table, only a row that has its own kind of key shows
			// that the guess was right; anything could be a symbol.
			if guessed && !slices.Contains(carriedTables(), table) {
				unread = append(unread, table)
				continue
			}
			n, whole, err := salvageTable(ctx, q, broken, table, slices.Contains(expected, table), &carried)
			if err != nil {
				return err
			}
			if !whole {
				unread = append(unread, table)
			}
			read += n
		}
		if guessed && read == 0 {
			return nothing(brokenPath, fmt.Errorf("no row of a Meta DB is where it should be (%s)", strings.Join(carried.Unread, "; ")))
		}
		if unread != nil {
			carried.Unread = append(carried.Unread, "not or not wholly read: "+strings.Join(unread, ", "))
		}
		if err := relational.FillNumbers(ctx, q); err != nil {
			return err
		}
		if err := fillProcesses(ctx, q); err != nil {
			return err
		}
		if err := fillFacts(ctx, q, db.schema); err != nil {
			return err
		}
		return relational.FillMetrics(ctx, q)
	})
	if err != nil {
		return none, err
	}
	return carried, nil
}

// nothing is the error of a file of which nothing can be read.
func nothing(path string, cause error) error {
	return relational.StoreError(metastore.ErrDamaged, cause, "nothing can be read of %s: %v", path, cause)
}

// doubts says why what is read of a broken file may not be all that was in it.
func (db *DB) doubts(ctx context.Context, broken *sql.DB, path string, guessed bool) (doubts []string, err error) {
	if short := cutOff(path); short != "" {
		doubts = append(doubts, short)
	}
	if guessed {
		doubts = append(doubts, "its schema is lost, and rows were looked for where a new one has them")
	}
	if doubts != nil {
		return doubts, nil // SQLite has nothing to add
	}
	problems, err := db.checkPages(ctx, broken)
	switch {
	case excused(ctx, err) != nil:
		return nil, err
	case err != nil:
		doubts = append(doubts, err.Error())
	case len(problems) > 0:
		doubts = append(doubts, "SQLite finds: "+brief(problems[0].What))
	}
	return doubts, nil
}

// tablesOf are the tables that a file of the broken one's version has.
func (db *DB) tablesOf(ctx context.Context, broken *sql.DB) ([]string, error) {
	var version int
	err := broken.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	if err := excused(ctx, err); err != nil {
		return nil, err
	}
	if version < 1 || version > len(db.schema) {
		version = len(db.schema)
	}
	fresh := sql.OpenDB(connector(dsn(":memory:", db.wait, "mode=memory&_txlock=immediate")))
	fresh.SetMaxOpenConns(1)
	defer func() { _ = fresh.Close() }()
	if err := apply(ctx, fresh, db.schema[:version], 0); err != nil {
		return nil, err
	}
	return relational.Texts(ctx, fresh, `SELECT name FROM sqlite_schema WHERE type = 'table'`)
}

// errBroken is what a broken file says of itself before SQLite reads it.
var errBroken = errors.New("no Meta DB")

// openBroken opens a copy of a damaged file, mended as far as the header and
// the schema go: SQLite refuses a whole file for a byte there, or for being cut
// off. guessed says that the schema is not the file's own. The original is only
// read.
func (db *DB) openBroken(ctx context.Context, path string) (pool *sql.DB, guessed bool, done func(), err error) {
	unreadable := func(cause error) error { return nothing(path, cause) }
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil, unreadable(err)
	case err != nil:
		return nil, false, nil, unjudged(path, err)
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
	for _, suffix := range []string{"", "-wal"} {
		err := copyFile(path+suffix, copied+suffix)
		if suffix != "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if of, ok := errors.AsType[*fs.PathError](err); ok && of.Path == path+suffix {
			return nil, false, nil, unjudged(path, err)
		}
		if err != nil {
			return nil, false, nil, db.fileError(err)
		}
	}
	err = mendHeader(copied)
	if err == nil {
		pool, err = db.openCopy(ctx, copied)
	}
	if isDamage(err) {
		guessed = true
		if err = db.graftSchema(ctx, dir, copied); err == nil {
			pool, err = db.openCopy(ctx, copied)
		}
	}
	switch {
	case isDamage(err), errors.Is(err, errBroken):
		return nil, false, nil, unreadable(err)
	case err != nil:
		return nil, false, nil, db.Classify("salvage from "+path, err)
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
	roots, err := relational.Texts(ctx, pool, `SELECT rootpage FROM sqlite_schema WHERE rootpage > 0`)
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
		return fmt.Errorf("%w: it is shorter than a page (%d bytes)", errBroken, info.Size())
	}
	header := make([]byte, 100)
	if _, err := f.ReadAt(header, 0); err != nil {
		return err
	}
	// The fixed bytes of the file format: magic, page size, versions (2 is
	// WAL), reserved space, payload fractions; then schema format and encoding.
	start := append([]byte(magic), pageSize>>8, pageSize&0xff, 2, 2, 0, 64, 32, 32)
	if !bytes.Equal(header[:16], start[:16]) || !bytes.Equal(header[20:24], start[20:24]) ||
		binary.BigEndian.Uint32(header[56:]) != 1 {
		copy(header, start)
		binary.BigEndian.PutUint32(header[44:], 4)
		binary.BigEndian.PutUint32(header[56:], 1)
		// A Meta DB has no auto-vacuum; and where the free pages are may be lost, too.
		clear(header[52:56])
		clear(header[64:68])
		all := info.Size() / pageSize
		if first, count := binary.BigEndian.Uint32(header[32:]), binary.BigEndian.Uint32(header[36:]); int64(first) > all || int64(count) > all {
			clear(header[32:40])
		}
	}
	size := int64(binary.BigEndian.Uint16(header[16:]))
	if size < 512 {
		return fmt.Errorf("%w: its page size is not one of a Meta DB", errBroken)
	}
	// What is cut off is made up with empty pages, as SQLite refuses a schema
	// that names a page beyond the end; not so a number too high to be true. They
	// take no room.
	pages := (info.Size() + size - 1) / size
	if told := int64(binary.BigEndian.Uint32(header[28:])); told > pages && told <= max(4*pages+64, 1<<18) {
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
// returns how many different rows it could read, and whether the reading came to the
// table's end. expected: the file should have it.
func salvageTable(ctx context.Context, q relational.Querier, broken *sql.DB, table string, expected bool, carried *metastore.Carried) (read int64, whole bool, err error) {
	ours, err := columnsOf(ctx, q, "main", table)
	if err != nil {
		return 0, false, err
	}
	theirs, err := columnsOf(ctx, broken, "main", table)
	if err := excused(ctx, err); err != nil {
		return 0, false, err
	}
	if len(theirs) == 0 {
		return 0, !expected, nil
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
			return 0, false, nil // no key, no row
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
	return int64(len(s.seen)), complete, err
}

type salvager struct {
	q       relational.Querier
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
		return false, excused(ctx, err)
	}
	defer func() { _ = rows.Close() }()
	values := make([]any, len(s.columns))
	targets := make([]any, len(s.columns))
	for i := range values {
		targets[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return false, excused(ctx, err)
		}
		if err := s.storeRow(ctx, values); err != nil {
			return false, err
		}
	}
	return rows.Err() == nil, excused(ctx, rows.Err())
}

// excused is nil for what damage makes of reading a broken file: the reading ends
// there and goes on elsewhere. What else kept it from being read is an error, so
// that nobody takes the file for read.
func excused(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, driver := errors.AsType[sqlite3.Error](err); !driver || isDamage(err) {
		return nil // else a value is not of its type
	}
	return err
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
	indexes, err := relational.Texts(ctx, s.broken, `SELECT name FROM pragma_index_list(?) WHERE origin = 'c'`, s.table)
	if err := excused(ctx, err); err != nil {
		return err
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
	if lost > 0 {
		s.carried.Lost[s.table] += lost
	}
	return nil
}

// keysOf adds the keys of an index that no scan has met.
func (s *salvager) keysOf(ctx context.Context, index, direction string, missing map[string][]any) error {
	partial, err := relational.Texts(ctx, s.broken, `SELECT coalesce(substr(sql, instr(upper(sql), ' WHERE ')), '') FROM sqlite_schema
		WHERE type = 'index' AND name = ? AND instr(upper(sql), ' WHERE ') > 0`, index)
	if err != nil {
		return excused(ctx, err)
	}
	first, err := relational.Texts(ctx, s.broken, `SELECT coalesce(name, '') FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno LIMIT 1`, index)
	if err != nil {
		return excused(ctx, err)
	}
	query := `SELECT ` + strings.Join(s.keys, ", ") + ` FROM main.` + sqltext.Identifier(s.table) + ` INDEXED BY ` + sqltext.Identifier(index) + strings.Join(partial, "")
	if len(first) == 1 && first[0] != "" {
		query += ` ORDER BY ` + sqltext.Identifier(first[0]) + direction
	}
	rows, err := s.broken.QueryContext(ctx, query)
	if err != nil {
		return excused(ctx, err)
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
			return excused(ctx, err)
		}
		for i, at := range s.keyAt {
			row[at] = key[i]
		}
		if id := s.id(row); !s.seen[id] {
			missing[id] = key
		}
	}
	return excused(ctx, rows.Err()) // where the damage begins the walk ends; what it found counts
}
