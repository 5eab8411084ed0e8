package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mattn/go-sqlite3"

	"quant/internal/metastore"
	"quant/internal/metastore/relational"
	"quant/internal/sqltext"
)

const (
	mendFile   = "quant doctor --fix moves the file aside, makes a new one and saves what can be read"
	mendSchema = "quant init-db --reset makes the schema anew and carries the runs over, after a backup"
)

// Check is documented at metastore.Store. What damage keeps it from examining
// is a finding as well; the error is for a database that it could not get at.
//
// Two readers work beside each other: SQLite's quick check, which reads every page
// and puts every row to the rules, and everything else. What they show to be sound
// is not looked at twice: only where the quick check finds something are indexes and
// rows examined by the slower means that name what is wrong.
func (db *DB) Check(ctx context.Context) ([]metastore.Problem, error) {
	var quick quickCheck
	var proof tableProof
	var metrics, rest []step
	inProof, stop := context.WithCancel(ctx)
	defer stop()
	first := func(q relational.Querier) error {
		if quick = quickly(ctx, q); !quick.sound {
			stop()
		}
		metrics = stepsOf(ctx, q, relational.CheckMetrics)
		return nil
	}
	second := func(q relational.Querier) error {
		proof.unproven, proof.err = db.unproven(inProof, q)
		rest = stepsOf(ctx, q, db.checkHeader, checkReferences, relational.CheckProcesses)
		return nil
	}
	ahead := make(chan struct{})
	go func() {
		defer close(ahead)
		readAhead(ctx, db.path)
	}()
	err := db.beside(ctx, first, second)
	<-ahead
	if err != nil {
		return nil, db.Classify("check", err)
	}
	q, err := db.Reader(ctx)
	if err != nil {
		return nil, err
	}
	pages := func(ctx context.Context, q relational.Querier) ([]metastore.Problem, error) {
		if !quick.sound || proof.err != nil {
			return db.checkPages(ctx, q)
		}
		return db.tableProblems(ctx, q, proof.unproven)
	}
	rows := func(ctx context.Context, q relational.Querier) ([]metastore.Problem, error) {
		// SQLite reads no CHECK of a database that it may not write.
		return db.checkSchemaAndRows(ctx, q, quick.sound && !db.readOnly)
	}
	var found []metastore.Problem
	for _, s := range slices.Concat(stepsOf(ctx, q, pages), rest[:1], stepsOf(ctx, q, rows), rest[1:], metrics) {
		if s.err != nil {
			if !isDamage(s.err) {
				return nil, db.Classify("check", s.err)
			}
			s.found = append(s.found, metastore.Problem{Object: db.Shown, What: "cannot be examined: " + s.err.Error(), Mend: mendFile})
		}
		for _, p := range s.found {
			if !slices.Contains(found, p) {
				found = append(found, p)
			}
		}
	}
	return found, nil
}

// step is what one part of a check found.
type step struct {
	found []metastore.Problem
	err   error
}

func stepsOf(ctx context.Context, q relational.Querier, parts ...func(context.Context, relational.Querier) ([]metastore.Problem, error)) []step {
	all := make([]step, len(parts))
	for i, part := range parts {
		all[i].found, all[i].err = part(ctx, q)
	}
	return all
}

// quickCheck is whether SQLite's quick check finds nothing at all: every page is in
// its place, and every row keeps the rules that the file has.
type quickCheck struct{ sound bool }

func quickly(ctx context.Context, q relational.Querier) quickCheck {
	lines, err := relational.Texts(ctx, q, `PRAGMA quick_check(1)`)
	return quickCheck{err == nil && len(lines) == 1 && lines[0] == "ok"}
}

// tableProof is which tables the pages themselves did not show to be sound.
type tableProof struct {
	unproven []string
	err      error
}

// beside runs both functions at the same time, each on a state of the database of
// its own, and inside a transaction one after the other on that.
func (db *DB) beside(ctx context.Context, first, second func(q relational.Querier) error) error {
	if db.InTx(ctx) {
		return errors.Join(db.OnSnapshot(ctx, first), db.OnSnapshot(ctx, second))
	}
	done := make(chan error, 1)
	go func() { done <- db.OnSnapshot(ctx, first) }()
	err := db.OnSnapshot(ctx, second)
	return errors.Join(<-done, err)
}

// checkPages lets SQLite examine its pages and indexes.
func (db *DB) checkPages(ctx context.Context, q relational.Querier) ([]metastore.Problem, error) {
	return db.pageProblems(ctx, q, "integrity_check")
}

// pageProblems is what a check of SQLite finds: integrity_check, or quick_check,
// which leaves out whether indexes agree with their tables. A page that the disk did
// not give is an error and no finding: nothing is known of it.
func (db *DB) pageProblems(ctx context.Context, q relational.Querier, check string) ([]metastore.Problem, error) {
	lines, err := relational.Texts(ctx, q, `PRAGMA `+check+`(20)`)
	found, pageErr := db.problemsIn(lines)
	return found, cmp.Or(pageErr, err)
}

// tableProblems is what SQLite's integrity check finds in some tables.
func (db *DB) tableProblems(ctx context.Context, q relational.Querier, tables []string) ([]metastore.Problem, error) {
	var lines []string
	for _, table := range tables {
		more, err := relational.Texts(ctx, q, `PRAGMA integrity_check(`+sqltext.Literal(table)+`)`)
		lines = append(lines, more...)
		if err != nil {
			found, _ := db.problemsIn(lines)
			return found, err
		}
	}
	return db.problemsIn(lines)
}

// problemsIn makes problems of the lines of a check of SQLite.
func (db *DB) problemsIn(lines []string) ([]metastore.Problem, error) {
	var found []metastore.Problem
	for _, line := range lines {
		if e := pageNotRead(line); e != nil {
			return nil, e
		}
		switch {
		case line == "ok":
		// Rows that break a rule are named by checkSchemaAndRows.
		case strings.HasPrefix(line, "CHECK constraint failed"), strings.HasPrefix(line, "NULL value in "),
			strings.HasPrefix(line, "non-"), strings.Contains(line, " value in "):
		default:
			found = append(found, metastore.Problem{Object: db.Shown, What: line, Mend: mendFile})
		}
	}
	return found, nil
}

// pageNotRead is the error in a line of integrity_check, which may be several lines
// of text, about a page that could not be got for a reason that is not the file's; nil
// for any other line.
func pageNotRead(line string) error {
	for text := range strings.Lines(line) {
		_, number, told := strings.Cut(text, "unable to get the page. error code=")
		code, err := strconv.Atoi(strings.TrimSpace(number))
		if !told || err != nil {
			continue
		}
		e := sqlite3.Error{Code: sqlite3.ErrNo(code & 0xff), ExtendedCode: sqlite3.ErrNoExtended(code)}
		if !isDamage(e) {
			return e
		}
	}
	return nil
}

func (db *DB) checkHeader(ctx context.Context, q relational.Querier) ([]metastore.Problem, error) {
	var id int64
	var version int
	if err := q.QueryRowContext(ctx, `PRAGMA application_id`).Scan(&id); err != nil {
		return nil, err
	}
	if err := q.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return nil, err
	}
	var found []metastore.Problem
	if id != applicationID {
		found = append(found, metastore.Problem{
			Object: db.Shown, What: fmt.Sprintf("application_id is %d, not %d", id, applicationID), Mend: mendSchema,
		})
	}
	if version != len(db.schema) {
		found = append(found, metastore.Problem{
			Object: db.Shown, What: fmt.Sprintf("schema version is %d, not %d", version, len(db.schema)), Mend: mendSchema,
		})
	}
	return found, nil
}

// checkSchemaAndRows compares the schema with one made just now, and puts the
// rows to that one's rules: a statement may have gone round the rules, or have
// dropped them. kept: SQLite has put every row to the rules that the file has, and
// all keep them; where those are the same nothing is left to look for.
func (db *DB) checkSchemaAndRows(ctx context.Context, q relational.Querier, kept bool) ([]metastore.Problem, error) {
	fresh := sql.OpenDB(connector(dsn(":memory:", db.wait, "mode=memory&_txlock=immediate")))
	fresh.SetMaxOpenConns(1)
	defer func() { _ = fresh.Close() }()
	if err := apply(ctx, fresh, db.schema, 0); err != nil {
		return nil, err
	}
	want, err := objects(ctx, fresh)
	if err != nil {
		return nil, err
	}
	have, err := objects(ctx, q)
	if err != nil {
		return nil, err
	}
	found := compare(want, have)

	for _, o := range want {
		at := slices.IndexFunc(have, func(h object) bool { return h.kind == "table" && h.name == o.name })
		if o.kind != "table" || at < 0 || kept && have[at].sql == o.sql {
			continue
		}
		broken, err := brokenRows(ctx, fresh, q, o)
		found = append(found, broken...)
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// object is one entry of a schema.
type object struct{ kind, name, table, sql string }

func objects(ctx context.Context, q relational.Querier) ([]object, error) {
	rows, err := q.QueryContext(ctx, `SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema
		WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY type DESC, name`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []object
	for rows.Next() {
		var o object
		if err := rows.Scan(&o.kind, &o.name, &o.table, &o.sql); err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, rows.Err()
}

// compare names what is missing, changed, or added where it could alter what
// is stored. Tables and indexes that somebody added are left in peace.
func compare(want, have []object) []metastore.Problem {
	var found []metastore.Problem
	add := func(o object, format string, args ...any) {
		found = append(found, metastore.Problem{Object: o.kind + " " + o.name, What: fmt.Sprintf(format, args...), Mend: mendSchema})
	}
	for _, w := range want {
		i := slices.IndexFunc(have, func(h object) bool { return h.kind == w.kind && h.name == w.name })
		switch {
		case i < 0:
			add(w, "is missing")
		case have[i].sql != w.sql:
			add(w, "is not defined as this program made it")
		}
	}
	for _, h := range have {
		ours := slices.ContainsFunc(want, func(w object) bool { return w.kind == "table" && w.name == h.table })
		known := slices.ContainsFunc(want, func(w object) bool { return w.kind == h.kind && w.name == h.name })
		if h.kind == "trigger" && ours && !known {
			add(h, "was added to table %s by somebody else", h.table)
		}
	}
	return found
}

// brokenRows names rows of a table that the rules would refuse. The rules are
// read from the fresh table's own definition, so that they stand in one place.
func brokenRows(ctx context.Context, fresh, q relational.Querier, want object) ([]metastore.Problem, error) {
	table := want.name
	theirs, err := columnsOf(ctx, q, "main", table)
	if err != nil {
		return nil, err
	}
	ours, err := columnsOf(ctx, fresh, "main", table)
	if err != nil {
		return nil, err
	}
	var found []metastore.Problem
	var keys []string
	var rules []rule
	for _, c := range ours {
		if !slices.ContainsFunc(theirs, func(t column) bool { return t.name == c.name }) {
			return nil, nil // compare has said that the table is another
		}
		if c.key > 0 {
			keys = append(keys, sqltext.Identifier(c.name))
		}
		if c.required {
			rules = append(rules, rule{c.name + " is missing", sqltext.Identifier(c.name) + ` IS NOT NULL`})
		}
		rules = append(rules, rule{c.name + " is not of type " + c.kind, typed(c, sqltext.Identifier(c.name))})
	}
	if len(keys) == 0 {
		keys = []string{`''`}
	}
	rules = append(rules, rulesOf(want.sql)...)
	parts := make([]string, len(rules))
	for i, r := range rules {
		parts[i] = `WHEN NOT (` + r.expr + `) THEN ` + sqltext.Literal(r.name)
	}
	query := `SELECT * FROM (SELECT ` + strings.Join(keys, ` || ' ' || `) + ` AS id, CASE ` + strings.Join(parts, " ") +
		` END AS rule FROM main.` + sqltext.Identifier(table) + `) WHERE rule IS NOT NULL LIMIT 20`
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, rule sql.NullString
		if err := rows.Scan(&id, &rule); err != nil {
			return found, err
		}
		found = append(found, metastore.Problem{
			Object: fmt.Sprintf("%s %q", table, id.String), What: "breaks a rule: " + rule.String, Mend: relational.MendRows,
		})
	}
	return found, rows.Err()
}

// rule is a named CHECK constraint.
type rule struct{ name, expr string }

// rulesOf returns the constraints of the form CONSTRAINT "name" CHECK (...) in
// a table's definition.
func rulesOf(definition string) []rule {
	var rules []rule
	for rest := definition; ; {
		_, after, ok := strings.Cut(rest, `CONSTRAINT "`)
		if !ok {
			return rules
		}
		name, after, ok := strings.Cut(after, `"`)
		if !ok {
			return rules
		}
		rest = after
		body, ok := strings.CutPrefix(strings.TrimSpace(after), `CHECK (`)
		if !ok {
			continue
		}
		end := closing(body)
		if end < 0 {
			return rules
		}
		rules = append(rules, rule{name, body[:end]})
		rest = body[end:]
	}
}

// closing returns where the parenthesis closes that was opened before s, or -1.
func closing(s string) int {
	depth := 1
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\'', '"':
			n := strings.IndexByte(s[i+1:], s[i])
			if n < 0 {
				return -1
			}
			i += n + 1
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}
