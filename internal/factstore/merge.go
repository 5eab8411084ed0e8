package factstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"quant"
	"quant/internal/sqltext"
)

// Merge is a set of rows to be merged into a table.
type Merge struct {
	Table  string // of Tables, with a key
	Source string // TEMP table, or view, with the table's columns in any order, matched by name; one for the stamp is ignored
	Unique bool   // the caller shows, in this transaction, that no key of the source is NULL or stands twice; it is not shown here
	// Aside are columns of which a change alone changes no row: the stored row stays
	// whole. Where another value of it changes, they change with it.
	Aside []string
	// Once, which may be nil, says that the source is to be read one time only, and
	// tells afterwards how many rows it had. Its keys are then not looked at before
	// the rows are compared, so it must be Unique.
	Once func() int64
	// Compared says that a Comparison has found what differs: the source has those rows
	// alone, and a column "stored rowid" with the row that each replaces, or NULL. It goes
	// with Once, which then tells how many rows were compared.
	Compared bool
	// Review, which may be nil, is told the TEMP table or view of the rows that will
	// change, as the source has them, with "stored rowid", that of the row that each
	// replaces or NULL; not where the table is empty. again: it has taken rows out of
	// the source, and the diff is made anew. Its error is Merge's.
	Review func(ctx context.Context, diff string) (again bool, err error)
}

// diffTable holds the rows that a merge changes while it runs.
const diffTable = "temp.main.factstore_diff"

// Merge makes the table hold the rows of the source: a row with a new key is
// inserted; one whose other columns are distinct from the stored ones, NULL and
// NaN being equal to themselves, replaces it; an identical one leaves the stored
// row as it is, unless another program wrote that: then it becomes this run's. Other rows stay. The table's stamp is not compared: it becomes
// Tx.Now on the rows that change. The same merge again changes nothing. A key that is NULL or
// stands twice in the source, a column too many or too few: quant.Invalid, and
// nothing is changed.
//
// What a row of ohlcv was before it is replaced is kept in ohlcv_revisions, for
// StageAsOf.
//
// A source that shares no key with the table is stored in its own order, for
// sorting millions of rows costs more than storing them, and no reader may
// depend on the order of a table; otherwise the changed rows are stored in key
// order. Strictly ascending keys (TEXT in byte order) are the cheapest to show
// unique.
func (tx *Tx) Merge(ctx context.Context, m Merge) (Delta, error) {
	p, err := tx.plan(ctx, m)
	if err != nil {
		return Delta{}, err
	}
	if !m.Unique {
		if err := p.assertKeys(ctx); err != nil {
			return Delta{}, err
		}
	}
	if err := tx.takeOutKeys(ctx, m.Table, p.key, p.source); err != nil {
		return Delta{}, p.failure(ctx, err)
	}
	filled, overlap, err := p.overlaps(ctx)
	if err != nil {
		return Delta{}, err
	}
	var d Delta
	if overlap {
		d, err = p.replace(ctx)
	} else {
		if filled && m.Review != nil {
			err = p.reviewNew(ctx)
		}
		if err == nil {
			d.Inserted, err = p.insert(ctx, p.source, "")
		}
	}
	if err != nil {
		return Delta{}, err
	}
	tx.count(m.Table, d.Inserted, d.Updated, d.Deleted)
	return d, nil
}

// merging is a Merge whose names are checked and quoted.
type merging struct {
	tx      *Tx
	m       Merge
	stamp   string // of the table
	foreign string // holds for a row f that no run wrote
	table   string
	source  string
	key     []string
	values  []string // neither key nor stamp
	types   map[string]string
}

func (tx *Tx) plan(ctx context.Context, m Merge) (*merging, error) {
	t, known := LookupTable(m.Table)
	p := &merging{tx: tx, m: m, stamp: t.Stamp, foreign: t.Unexplained(), table: factTable(tx.db.longTable(m.Table)), source: "temp.main." + sqltext.Identifier(m.Source), types: map[string]string{}}
	tables, err := columns(ctx, tx.db.conn, catalog)
	if err != nil {
		return nil, p.failure(ctx, err)
	}
	want := tables[m.Table]
	if !known || want == nil {
		return nil, p.invalid("there is no such table")
	}
	if t.Key == nil {
		return nil, p.invalid("its rows have no key")
	}
	got, err := p.sourceColumns(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range t.Key {
		p.key = append(p.key, sqltext.Identifier(k))
	}
	for _, c := range want {
		p.types[sqltext.Identifier(c.Name)] = c.Type
		if c.Name == t.Stamp {
			continue
		}
		if !slices.Contains(got, c.Name) {
			return nil, p.invalid("source %s lacks column %s", m.Source, c.Name)
		}
		if !slices.Contains(t.Key, c.Name) {
			p.values = append(p.values, sqltext.Identifier(c.Name))
		}
	}
	for _, name := range got {
		if !has(want, name) && !(m.Compared && name == StoredRow) {
			return nil, p.invalid("the table has no column %s, as source %s does", name, m.Source)
		}
	}
	return p, nil
}

func (p *merging) sourceColumns(ctx context.Context) ([]string, error) {
	names, err := Values[string](ctx, p.tx, "SELECT column_name FROM duckdb_columns() WHERE database_name = 'temp' AND schema_name = 'main' AND table_name = ?", p.m.Source)
	if err != nil {
		return nil, p.failure(ctx, err)
	}
	if names == nil {
		return nil, p.invalid("there is no TEMP table or view %s", p.m.Source)
	}
	return names, nil
}

// assertKeys proves the keys of the source unique and not NULL.
func (p *merging) assertKeys(ctx context.Context) error {
	lags, exprs := make([]string, len(p.key)), make([]string, len(p.key))
	ascending := ""
	for i := len(p.key) - 1; i >= 0; i-- {
		now, before := fmt.Sprintf("k%d", i), fmt.Sprintf("p%d", i)
		exprs[i] = p.key[i] + " AS " + now
		lags[i] = "lag(" + p.key[i] + ") OVER () AS " + before
		if ascending == "" {
			ascending = now + " > " + before
		} else {
			ascending = fmt.Sprintf("%s > %s OR (%s = %s AND (%s))", now, before, now, before, ascending)
		}
	}
	null := make([]string, len(p.key))
	for i := range null {
		null[i] = fmt.Sprintf("k%d IS NULL", i)
	}
	var nulls, falls int64
	err := p.tx.QueryRow(ctx, fmt.Sprintf("SELECT count(*) FILTER (%s), count(*) FILTER (NOT (%s)) FROM (SELECT %s, %s FROM %s)",
		strings.Join(null, " OR "), ascending, strings.Join(exprs, ", "), strings.Join(lags, ", "), p.source)).Scan(&nulls, &falls)
	if err != nil {
		return p.failure(ctx, err)
	}
	if nulls > 0 {
		return p.offender(ctx, "is NULL in part", fmt.Sprintf("WHERE %s IS NULL", strings.Join(p.key, " IS NULL OR ")))
	}
	if falls == 0 {
		return nil
	}
	keys := strings.Join(p.key, ", ")
	var twice int64
	if err := p.tx.QueryRow(ctx, fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM %s GROUP BY %s HAVING count(*) > 1)", p.source, keys)).Scan(&twice); err != nil {
		return p.failure(ctx, err)
	}
	if twice > 0 {
		return p.offender(ctx, "stands there more than once", fmt.Sprintf("GROUP BY %s HAVING count(*) > 1", keys))
	}
	return nil
}

// offender names the first key of the source that breaks a rule.
func (p *merging) offender(ctx context.Context, what, clause string) error {
	parts := make([]string, len(p.key))
	for i, k := range p.key {
		parts[i] = "coalesce(CAST(" + k + " AS VARCHAR), 'NULL')"
	}
	var key string
	err := p.tx.QueryRow(ctx, fmt.Sprintf("SELECT concat_ws(', ', %s) FROM %s %s ORDER BY %s LIMIT 1",
		strings.Join(parts, ", "), p.source, clause, strings.Join(p.key, ", "))).Scan(&key)
	if err != nil {
		return p.failure(ctx, err)
	}
	return p.invalid("key (%s) %s", key, what)
}

// overlaps reports whether the table has rows, and whether one lies within the bounds
// of the source's keys, column by column; the stored ones are pruned by their own
// bounds.
func (p *merging) overlaps(ctx context.Context) (filled, overlap bool, err error) {
	if err := p.tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM "+p.table+")").Scan(&filled); err != nil {
		return filled, false, p.failure(ctx, err)
	}
	if !filled {
		return filled, false, nil // spares the pass over the source
	}
	if p.m.Once != nil {
		return filled, true, nil // may be: the comparison shows it
	}
	bounds := make([]string, 0, 2*len(p.key))
	for _, k := range p.key {
		t := p.types[k]
		bounds = append(bounds, fmt.Sprintf("CAST(min(CAST(%s AS %s)) AS VARCHAR)", k, t), fmt.Sprintf("CAST(max(CAST(%s AS %s)) AS VARCHAR)", k, t))
	}
	values, targets := make([]sql.NullString, len(bounds)), make([]any, len(bounds))
	for i := range values {
		targets[i] = &values[i]
	}
	if err := p.tx.QueryRow(ctx, "SELECT "+strings.Join(bounds, ", ")+" FROM "+p.source).Scan(targets...); err != nil {
		return filled, false, p.failure(ctx, err)
	}
	within, args := make([]string, len(p.key)), make([]any, len(values))
	for i, k := range p.key {
		t := p.types[k]
		within[i] = fmt.Sprintf("%s BETWEEN CAST(? AS %s) AND CAST(? AS %s)", k, t, t)
		args[2*i], args[2*i+1] = values[2*i], values[2*i+1]
	}
	if !values[0].Valid { // a source without rows has no bounds
		return filled, false, nil
	}
	err = p.tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM "+p.table+" WHERE "+strings.Join(within, " AND ")+")", args...).Scan(&overlap)
	if err != nil {
		return filled, false, p.failure(ctx, err)
	}
	return filled, overlap, nil
}

// reviewNew lets a source be reviewed of which every row is new.
func (p *merging) reviewNew(ctx context.Context) error {
	if _, err := p.tx.affected(ctx, `CREATE TEMP VIEW factstore_diff AS SELECT *, NULL::BIGINT AS "stored rowid" FROM `+p.source); err != nil {
		return p.failure(ctx, err)
	}
	if _, err := p.m.Review(ctx, diffTable); err != nil {
		return err
	}
	if _, err := p.tx.affected(ctx, "DROP VIEW "+diffTable); err != nil {
		return p.failure(ctx, err)
	}
	return nil
}

// insert inserts all rows of a relation with the source's columns.
func (p *merging) insert(ctx context.Context, from, order string) (int64, error) {
	columns := append(slices.Clone(p.key), p.values...)
	into, values, args := strings.Join(columns, ", "), strings.Join(columns, ", "), []any(nil)
	if p.stamp != "" {
		into += ", " + sqltext.Identifier(p.stamp)
		values += ", CAST(? AS TIMESTAMP)"
		args = append(args, p.tx.Now)
	}
	// FSST is for texts that differ: to find that those of bars, which repeat, are
	// smaller in a dictionary costs a tenth of the whole.
	if err := p.tx.db.without(ctx, "fsst"); err != nil {
		return 0, p.failure(ctx, err)
	}
	defer func() { _ = p.tx.db.without(context.WithoutCancel(ctx), "") }()
	n, err := p.tx.affected(ctx, "INSERT INTO "+p.table+" ("+into+") SELECT "+values+" FROM "+from+order, args...)
	if err != nil {
		return 0, p.failure(ctx, err)
	}
	return n, nil
}

// revise keeps the bars that the diff replaces, if there are any.
func (p *merging) revise(ctx context.Context, d *Delta) error {
	if err := p.tx.QueryRow(ctx, `SELECT count("stored rowid") FROM `+diffTable).Scan(&d.Updated); err != nil || d.Updated == 0 {
		return err
	}
	return p.storeReplaced(ctx, d)
}

// replace merges into a table that may hold some of the keys. Updated rows are
// deleted and inserted, which costs less than UPDATE when they are scattered.
func (p *merging) replace(ctx context.Context) (d Delta, err error) {
	join, selected, distinct := make([]string, len(p.key)), make([]string, 0, len(p.key)+len(p.values)), []string{"f.rowid IS NULL"}
	for i, k := range p.key {
		join[i] = "s." + k + " = f." + k
		selected = append(selected, "s."+k)
	}
	for _, v := range p.values {
		selected = append(selected, "s."+v)
		if slices.ContainsFunc(p.m.Aside, func(c string) bool { return sqltext.Identifier(c) == v }) {
			continue
		}
		// Compared as they would be stored.
		distinct = append(distinct, fmt.Sprintf("CAST(s.%s AS %s) IS DISTINCT FROM f.%s", v, p.types[v], v))
	}
	if p.stamp != "" {
		distinct = append(distinct, p.foreign)
	}
	exec := func(query string) (n int64) {
		if err == nil {
			n, err = p.tx.affected(ctx, query)
		}
		return n
	}
	compare := func() {
		exec("DROP TABLE IF EXISTS " + diffTable)
		if p.m.Compared && err == nil {
			err = p.tx.db.onOneThread(ctx, func() error {
				exec("CREATE TEMP TABLE factstore_diff AS SELECT " + strings.Join(selected, ", ") + `, s."` + StoredRow + `" FROM ` + p.source + " s")
				return err
			})
			return
		}
		exec("CREATE TEMP TABLE factstore_diff AS SELECT " + strings.Join(selected, ", ") + ", f.rowid AS \"stored rowid\" FROM " + p.source + " s LEFT JOIN " +
			p.table + " f ON " + strings.Join(join, " AND ") + " WHERE " + strings.Join(distinct, " OR "))
	}
	compare()
	if err == nil && p.m.Review != nil {
		again, err := p.m.Review(ctx, diffTable)
		if err != nil {
			return Delta{}, err
		}
		if again {
			compare()
		}
	}
	if err == nil && p.m.Table == OHLCV {
		err = p.revise(ctx, &d)
	}
	d.Updated = exec("DELETE FROM " + p.table + " WHERE rowid IN (SELECT \"stored rowid\" FROM " + diffTable + " WHERE \"stored rowid\" IS NOT NULL)")
	if err != nil {
		return Delta{}, p.failure(ctx, err)
	}
	changed, err := p.insert(ctx, diffTable, " ORDER BY "+strings.Join(p.key, ", "))
	if err != nil {
		return Delta{}, err
	}
	exec("DROP TABLE " + diffTable)
	var total int64
	if p.m.Once != nil {
		total = p.m.Once()
	} else if err == nil {
		err = p.tx.QueryRow(ctx, "SELECT count(*) FROM "+p.source).Scan(&total)
	}
	if err != nil {
		return Delta{}, p.failure(ctx, err)
	}
	d.Inserted, d.Unchanged = changed-d.Updated, total-changed
	return d, nil
}

func (p *merging) invalid(format string, args ...any) error {
	return quant.Errorf(quant.Invalid, "merge into %s: %s", p.m.Table, fmt.Sprintf(format, args...))
}

func (p *merging) failure(ctx context.Context, err error) error {
	return p.tx.db.failure(ctx, "merge into "+p.m.Table, err)
}
