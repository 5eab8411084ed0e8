package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"hash/maphash"
	"quant/internal/metastore/relational"
	"strconv"
	"strings"
)

// Whether indexes agree with their tables SQLite finds out by looking up every row
// in every index, one after the other: with a million runs most of what a check
// takes, as each look-up is somewhere else. Here each tree is read once, from its
// first entry to its last. An index agrees when its entries are in order, as many as
// the rows that it is for, and when the sums of the hashes of both are the same;
// the hashes are keyed anew each time. A table is in order when its keys ascend.
//
// That is a proof and no finding: a table of which it is not shown, for whatever
// reason, is SQLite's to examine.

// unproven returns the tables of which it was not shown that their keys ascend and
// that their indexes agree with them. q is a transaction that reads. The error is
// that of a statement.
func (db *DB) unproven(ctx context.Context, q relational.Querier) ([]string, error) {
	tables, err := treesOf(ctx, q)
	if err != nil {
		return nil, err
	}
	p, pagesErr := openPages(db.path)
	var left []string
	for _, t := range tables {
		switch {
		case !t.rowids:
			if pagesErr == nil && t.understood && t.agrees(ctx, p) == nil {
				continue
			}
		case len(t.indexes) == 0:
			continue // a quick check knows all
		}
		left = append(left, t.name)
	}
	if pagesErr == nil && !p.stable() {
		left = left[:0]
		for _, t := range tables {
			left = append(left, t.name)
		}
	}
	return left, ctx.Err()
}

// tableTree is a table and its indexes as trees of pages.
type tableTree struct {
	name       string
	rowids     bool // it is no table WITHOUT ROWID
	understood bool
	root       uint32
	key        int         // how many columns its key has; the first of its records
	indexes    []indexTree // but that of its key
	defaults   []bool      // of the columns of its records: NULL is not what stands for a missing one
}

// indexTree is an index: the columns of its entries, and for which rows there is one.
type indexTree struct {
	name    string
	root    uint32
	columns []indexed
	only    []onlyIf
}

// indexed is a column of an index: one of the table's records, or the last bytes of
// one.
type indexed struct{ from, last int }

// onlyIf is a condition of a partial index: that the column is, or is not, the value.
type onlyIf struct {
	from int
	not  bool
	is   cell
}

// isFor tells whether the index has an entry for a row.
func (i *indexTree) isFor(row []cell) bool {
	for n := range i.only {
		if o := &i.only[n]; (row[o.from].compare(&o.is) == 0) == o.not {
			return false
		}
	}
	return true
}

// treesOf reads from the schema which trees there are.
func treesOf(ctx context.Context, q relational.Querier) ([]tableTree, error) {
	type named struct {
		name   string
		rowids bool
	}
	tables, err := rowsOf(ctx, q, `SELECT name, wr = 0 FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name`,
		nil, func(n *named) []any { return []any{&n.name, &n.rowids} })
	if err != nil {
		return nil, err
	}
	var all []tableTree
	for _, n := range tables {
		t := tableTree{name: n.name, rowids: n.rowids}
		if err := t.read(ctx, q); err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// read fills a table in; what it does not understand it leaves so.
func (t *tableTree) read(ctx context.Context, q relational.Querier) error {
	type entry struct {
		name, origin, sql string
		unique, partial   bool
		root              uint32
	}
	indexes, err := rowsOf(ctx, q, `SELECT i.name, i.origin, i."unique", i.partial, coalesce(s.sql, ''), coalesce(s.rootpage, 0)
		FROM pragma_index_list(?) i LEFT JOIN sqlite_schema s ON s.type = 'index' AND s.name = i.name`,
		[]any{t.name}, func(e *entry) []any { return []any{&e.name, &e.origin, &e.unique, &e.partial, &e.sql, &e.root} })
	if err != nil {
		return err
	}
	if t.rowids {
		t.indexes = make([]indexTree, len(indexes))
		return nil
	}
	if err := q.QueryRowContext(ctx, `SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = ?`, t.name).Scan(&t.root); err != nil {
		return err
	}
	position, names := map[int]int{}, map[string]int{} // of a column in a record
	t.understood = true
	for pass := range 2 { // the key's first: it says where the columns are
		for _, e := range indexes {
			if (e.origin == "pk") != (pass == 0) {
				continue
			}
			columns, err := columnsOfIndex(ctx, q, e.name)
			if err != nil {
				return err
			}
			for _, c := range columns {
				t.understood = t.understood && !(c.key && (c.descending || c.collation != "BINARY"))
			}
			if pass == 0 {
				for at, c := range columns {
					position[c.id], names[c.name] = at, at
					if c.key {
						t.key++
					}
				}
				continue
			}
			i := indexTree{name: e.name, root: e.root}
			t.understood = t.understood && !e.unique && i.understand(columns, e.sql, e.partial, position, names)
			t.indexes = append(t.indexes, i)
		}
	}
	t.defaults = make([]bool, len(position))
	type given struct {
		id    int
		value sql.NullString
	}
	columns, err := rowsOf(ctx, q, `SELECT cid, dflt_value FROM pragma_table_xinfo(?)`, []any{t.name}, func(g *given) []any { return []any{&g.id, &g.value} })
	for _, c := range columns {
		at, known := position[c.id]
		if !known {
			t.understood = false
			continue
		}
		t.defaults[at] = c.value.Valid
	}
	t.understood = t.understood && t.key > 0 && len(columns) == len(position)
	return err
}

type indexColumn struct {
	id              int
	name, collation string
	descending, key bool
}

func columnsOfIndex(ctx context.Context, q relational.Querier, name string) ([]indexColumn, error) {
	return rowsOf(ctx, q, `SELECT cid, coalesce(name, ''), coalesce(coll, ''), "desc", key FROM pragma_index_xinfo(?) ORDER BY seqno`, []any{name},
		func(c *indexColumn) []any { return []any{&c.id, &c.name, &c.collation, &c.descending, &c.key} })
}

// understand works out of which columns an index is made, and for which rows; false
// if it cannot. position is where a column of the table stands in its records, by
// its number, and names by its name.
func (i *indexTree) understand(columns []indexColumn, definition string, partial bool, position map[int]int, names map[string]int) bool {
	_, definition, _ = strings.Cut(definition, "(")
	listed, condition, isPartial := strings.Cut(definition, ") WHERE ")
	if isPartial != partial {
		return false
	}
	for _, c := range columns {
		if c.id >= 0 {
			at, known := position[c.id]
			if !known {
				return false
			}
			i.columns = append(i.columns, indexed{from: at})
			continue
		}
		// An expression: the end of a text, and only by itself.
		inner, isSubstr := strings.CutPrefix(listed, "substr(")
		column, n, two := strings.Cut(strings.TrimRight(inner, ")"), ", -")
		at, known := names[column]
		last, err := strconv.Atoi(n)
		if !isSubstr || !two || !known || err != nil || last < 1 || strings.Contains(inner, "substr") {
			return false
		}
		i.columns = append(i.columns, indexed{from: at, last: last})
	}
	if !partial {
		return true
	}
	for one := range strings.SplitSeq(condition, " AND ") {
		words := strings.Fields(one)
		if len(words) < 3 {
			return false
		}
		at, known := names[words[0]]
		o := onlyIf{from: at, not: len(words) == 4}
		switch is := strings.Join(words[1:len(words)-1], " "); {
		case !known, is != "=" && is != "IS" && is != "IS NOT":
			return false
		case words[len(words)-1] != "NULL":
			v, err := strconv.ParseInt(words[len(words)-1], 10, 64)
			if err != nil {
				return false
			}
			o.is = wholeCell(v)
		case is == "=":
			return false
		}
		i.only = append(i.only, o)
	}
	return true
}

// agrees is nil where the keys of the table ascend and its indexes agree with it.
func (t tableTree) agrees(ctx context.Context, p *pages) error {
	seed := maphash.MakeSeed()
	want := make([]agreed, len(t.indexes))
	width := len(t.defaults)
	row := sequence{most: width + 1}
	if len(t.indexes) == 0 {
		row.most, width = t.key, t.key
	}
	var encoded, key []byte
	var ends []int
	err := p.records(t.root, func(record []byte) error {
		cells, err := row.next(record)
		if err != nil {
			return err
		}
		for len(cells) < width {
			if t.defaults[len(cells)] {
				return noPages("a row of %s without its later columns", t.name)
			}
			cells = append(cells, cell{})
		}
		if len(cells) != width || !row.ascends(t.key) {
			return noPages("a row of %s with another number of columns, or out of order", t.name)
		}
		if row.now = cells; len(t.indexes) == 0 {
			return stopped(ctx, row.count)
		}
		encoded, ends = encoded[:0], ends[:0]
		for n := range cells {
			encoded = cells[n].appended(encoded)
			ends = append(ends, len(encoded))
		}
		for n := range t.indexes {
			i := &t.indexes[n]
			if !i.isFor(cells) {
				continue
			}
			if key, err = i.entry(key[:0], cells, encoded, ends); err != nil {
				return err
			}
			want[n].add(maphash.Bytes(seed, key))
		}
		return stopped(ctx, row.count)
	})
	if err != nil {
		return err
	}
	for n, i := range t.indexes {
		var have agreed
		entries := sequence{most: len(i.columns) + 1}
		err := p.records(i.root, func(record []byte) error {
			cells, err := entries.next(record)
			if err != nil {
				return err
			}
			if len(cells) != len(i.columns) || !entries.ascends(len(cells)) {
				return noPages("an entry of %s with another number of columns, or out of order", i.name)
			}
			key = key[:0]
			for n := range cells {
				key = cells[n].appended(key)
			}
			have.add(maphash.Bytes(seed, key))
			return stopped(ctx, entries.count)
		})
		if err != nil {
			return err
		}
		if have != want[n] {
			return noPages("%s does not agree with its table", i.name)
		}
	}
	return nil
}

var errStopped = errors.New("stopped")

func stopped(ctx context.Context, n int) error {
	if n%4096 == 0 && ctx.Err() != nil {
		return errStopped
	}
	return nil
}

// entry is what an index should hold of a row.
func (i *indexTree) entry(b []byte, row []cell, encoded []byte, ends []int) ([]byte, error) {
	for _, c := range i.columns {
		if c.last == 0 {
			from := 0
			if c.from > 0 {
				from = ends[c.from-1]
			}
			b = append(b, encoded[from:ends[c.from]]...)
			continue
		}
		text := row[c.from]
		if text.kind != isText {
			return nil, noPages("a key of %s that is no text", i.name)
		}
		for _, char := range text.bytes {
			if char == 0 || char >= 0x80 {
				return nil, noPages("a key of %s that is not ASCII", i.name)
			}
		}
		text.bytes = text.bytes[max(0, len(text.bytes)-c.last):]
		b = text.appended(b)
	}
	return b, nil
}

// agreed is the number of entries and the sum of their hashes.
type agreed struct{ count, sum uint64 }

func (a *agreed) add(hash uint64) { a.count, a.sum = a.count+1, a.sum+hash }

// sequence takes records apart and keeps the one before.
type sequence struct {
	most         int // values of a record
	count        int
	now, before  []cell
	bytes, older []byte
}

func (s *sequence) next(record []byte) ([]cell, error) {
	s.count++
	s.now, s.before = s.before, s.now
	s.bytes, s.older = append(s.older[:0], record...), s.bytes
	var err error
	s.now, err = cells(s.bytes, s.now, s.most)
	return s.now, err
}

// ascends tells whether the first n values are greater than those of the record
// before.
func (s *sequence) ascends(n int) bool {
	if s.count == 1 {
		return len(s.now) >= n
	}
	if len(s.now) < n || len(s.before) < n {
		return false
	}
	for at := range n {
		if c := s.now[at].compare(&s.before[at]); c != 0 {
			return c > 0
		}
	}
	return false
}

// rowsOf runs a query and scans each row.
func rowsOf[T any](ctx context.Context, q relational.Querier, query string, args []any, scan func(*T) []any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []T
	for rows.Next() {
		var one T
		if err := rows.Scan(scan(&one)...); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}
