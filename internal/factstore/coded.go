package factstore

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"

	"quant"
	"quant/internal/sqltext"
)

// Predictions, decisions and backtests have a row for each symbol and day, with texts that
// repeat: the run, the model, the strategy, the symbol. Storing these texts was most of
// what scoring and a trial of a sweep spent on storing. So a file keeps rows that are
// stored many at a time in a table of codes, and the table of the contract is a view that
// reads it; on a lake, whose files have dictionaries, the table is one.
//
// The rows that a run stores in a table are a part, and CodedParts says once what is the
// same in all of them. A text of few is a code of CodedTexts. Rows that are changed one by
// one, and those that other programs write, stand in a table with the view's own columns,
// which the view reads too.
const (
	CodedParts = "coded_parts"
	CodedTexts = "coded_texts"

	codedSuffix = "_coded" // of the table of codes
	otherSuffix = "_other" // of the table beside it

	partColumn  = "part"
	scoreColumn = "score"
	// writtenAt is the column of CodedParts for the stamp of a table.
	writtenAt = "written_at"
	// equalScores is the column of CodedParts that says that the calibrated scores of a
	// part are its scores, and are not stored again.
	equalScores = "equal_scores"
	// codeOfNull is the code of a NULL.
	codeOfNull = 0
)

// codedAs is how a column of a view is stored.
type codedAs int

const (
	asValue codedAs = iota // in each row
	asPart                 // once for the rows of a part
	asText                 // as a code
	asScore                // in each row, but not where all rows of a part have in it what they have in score: see equalScores
)

type codedColumn struct {
	name, kind string
	as         codedAs
	must       bool // is NOT NULL
}

// codedTable is a table of the contract that is a view of codes in a file.
type codedTable struct {
	name    string
	columns []codedColumn
}

func codedTables() []codedTable {
	return []codedTable{
		{Predictions, []codedColumn{
			{"symbol", "TEXT", asText, true}, {"ts", "DATE", asValue, true}, {"model_id", "TEXT", asPart, true}, {"task_id", "TEXT", asText, true},
			{scoreColumn, "DOUBLE", asValue, false}, {"calibrated_score", "DOUBLE", asScore, false}, {"generated_at", "TIMESTAMP", asPart, false},
		}},
		{Targets, []codedColumn{
			{"strategy_id", "TEXT", asPart, true}, {"version", "TEXT", asPart, false}, {"asof", "DATE", asValue, true}, {"symbol", "TEXT", asText, true},
			{"weight", "DOUBLE", asValue, false}, {"score", "DOUBLE", asValue, false}, {"approved", "BOOLEAN", asValue, false}, {"risk_flags", "TEXT", asText, false},
			{"reason", "TEXT", asValue, false}, {"generated_at", "TIMESTAMP", asPart, false},
		}},
		// What was proposed before the rules, so that it can be judged again.
		{Proposals, []codedColumn{
			{"strategy_id", "TEXT", asPart, true}, {"version", "TEXT", asPart, false}, {"asof", "DATE", asValue, true}, {"symbol", "TEXT", asText, true},
			{"rank", "BIGINT", asValue, false}, {"score", "DOUBLE", asValue, false}, {"weight", "DOUBLE", asValue, false}, {"generated_at", "TIMESTAMP", asPart, false},
		}},
		{BacktestTrades, []codedColumn{
			{"run_id", "TEXT", asPart, false}, {"strategy_id", "TEXT", asPart, false}, {"symbol", "TEXT", asText, false}, {"entry_ts", "DATE", asValue, false},
			{"entry_price", "DOUBLE", asValue, false}, {"qty", "DOUBLE", asValue, false}, {"exit_ts", "DATE", asValue, false}, {"exit_price", "DOUBLE", asValue, false},
			{"pnl", "DOUBLE", asValue, false}, {"pnl_pct", "DOUBLE", asValue, false}, {"fees", "DOUBLE", asValue, false}, {"slippage_est", "DOUBLE", asValue, false},
			{"reason", "TEXT", asText, false},
		}},
		{BacktestPositions, []codedColumn{
			{"run_id", "TEXT", asPart, true}, {"ts", "DATE", asValue, true}, {"symbol", "TEXT", asText, true}, {"qty", "DOUBLE", asValue, false},
			{"price", "DOUBLE", asValue, false}, {"value", "DOUBLE", asValue, false}, {"weight", "DOUBLE", asValue, false},
		}},
	}
}

func codedOf(table string) (codedTable, bool) {
	for _, c := range codedTables() {
		if c.name == table {
			return c, true
		}
	}
	return codedTable{}, false
}

// coded is the table of this DB that is a view of codes.
func (db *DB) coded(table string) (codedTable, bool) {
	if db.lake != nil {
		return codedTable{}, false
	}
	return codedOf(table)
}

func (c codedTable) codes() string { return c.name + codedSuffix }
func (c codedTable) other() string { return c.name + otherSuffix }

// partTerm is the column of CodedParts that has the value of one of the view's.
func (c codedColumn) partTerm() string {
	if c.kind == "TIMESTAMP" {
		return writtenAt
	}
	return c.name
}

// names are the quoted names of the view's columns.
func (c codedTable) names() string {
	list := make([]string, len(c.columns))
	for i, col := range c.columns {
		list[i] = sqltext.Identifier(col.name)
	}
	return strings.Join(list, ", ")
}

// codedStorage are the tables behind all views of codes.
func codedStorage() []string {
	list := []string{CodedParts, CodedTexts}
	for _, c := range codedTables() {
		list = append(list, c.codes(), c.other())
	}
	return list
}

// codedSchema is the part of the schema that is about these tables.
func codedSchema(onLake bool) string {
	var s strings.Builder
	for _, c := range codedTables() {
		var rows, codes []string
		for _, col := range c.columns {
			must := ""
			if col.must {
				must = " NOT NULL"
			}
			rows = append(rows, sqltext.Identifier(col.name)+" "+col.kind+must)
			switch col.as {
			case asText:
				codes = append(codes, sqltext.Identifier(col.name)+" INTEGER NOT NULL")
			case asValue, asScore:
				codes = append(codes, sqltext.Identifier(col.name)+" "+col.kind+must)
			}
		}
		if onLake {
			fmt.Fprintf(&s, "CREATE TABLE IF NOT EXISTS %s (%s);\n", c.name, strings.Join(rows, ", "))
			continue
		}
		fmt.Fprintf(&s, "CREATE TABLE IF NOT EXISTS %s (%s);\n", c.other(), strings.Join(rows, ", "))
		fmt.Fprintf(&s, "CREATE TABLE IF NOT EXISTS %s (%s INTEGER NOT NULL, %s);\n", c.codes(), partColumn, strings.Join(codes, ", "))
	}
	if onLake {
		return s.String()
	}
	fmt.Fprintf(&s, "CREATE TABLE IF NOT EXISTS %s (%s INTEGER NOT NULL, table_name TEXT NOT NULL, run_id TEXT, strategy_id TEXT, version TEXT, %s TIMESTAMP);\n", CodedParts, partColumn, writtenAt)
	fmt.Fprintf(&s, "ALTER TABLE %[1]s ADD COLUMN IF NOT EXISTS model_id TEXT;\nALTER TABLE %[1]s ADD COLUMN IF NOT EXISTS %[2]s BOOLEAN;\n", CodedParts, equalScores) // since schema 7
	fmt.Fprintf(&s, "CREATE TABLE IF NOT EXISTS %[1]s (code INTEGER NOT NULL, \"text\" TEXT);\nINSERT INTO %[1]s SELECT %[2]d, NULL WHERE NOT EXISTS (SELECT 1 FROM %[1]s);\n", CodedTexts, codeOfNull)
	for _, c := range codedTables() {
		fmt.Fprintf(&s, "CREATE OR REPLACE VIEW %s AS SELECT %s FROM main.%s UNION ALL\nSELECT %s;\n", c.name, c.names(), c.other(), c.decoded("main.", ""))
	}
	return s.String()
}

// decoded is what stands after SELECT to read the view's columns of the table of codes,
// and others of its alias c in front of them.
func (c codedTable) decoded(schema, before string) string {
	list := make([]string, len(c.columns))
	joins := ""
	for i, col := range c.columns {
		quoted := sqltext.Identifier(col.name)
		switch col.as {
		case asPart:
			list[i] = "p." + col.partTerm() + " AS " + quoted
		case asText:
			list[i] = fmt.Sprintf("t%d.\"text\" AS %s", i, quoted)
			joins += fmt.Sprintf(" JOIN %s%s t%[3]d ON t%[3]d.code = c.%[4]s", schema, CodedTexts, i, quoted)
		case asScore:
			list[i] = fmt.Sprintf("CASE WHEN p.%s THEN c.%s ELSE c.%s END AS %[3]s", equalScores, scoreColumn, quoted)
		default:
			list[i] = "c." + quoted
		}
	}
	return fmt.Sprintf("%s%s FROM %s%s c JOIN %[3]s%[5]s p ON p.%[6]s = c.%[6]s%[7]s", before, strings.Join(list, ", "), schema, c.codes(), CodedParts, partColumn, joins)
}

// renameCoded renames the tables that became views: their rows stay where they are.
func renameCoded(ctx context.Context, conn *sql.Conn, tables []string) error {
	for _, c := range codedTables() {
		if !slices.Contains(tables, c.name) {
			continue
		}
		if _, err := conn.ExecContext(ctx, "ALTER TABLE "+c.name+" RENAME TO "+c.other()); err != nil {
			return err
		}
	}
	return nil
}

// takenTable holds rows while they move from codes to the table beside.
const takenTable = "temp.main.factstore_taken"

// takeOut moves the rows of a view for which where holds from codes to the table beside,
// where they can be changed. Of other tables it does nothing.
func (tx *Tx) takeOut(ctx context.Context, table, where string, args ...any) error {
	c, ok := tx.db.coded(table)
	if !ok {
		return nil
	}
	var some bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM "+factTable(c.codes())+")").Scan(&some); err != nil || !some {
		return err
	}
	_, err := tx.affected(ctx, "CREATE OR REPLACE TEMP TABLE factstore_taken AS SELECT * FROM (SELECT "+c.decoded(catalog+".main.", `c.rowid AS "stored rowid", `)+") WHERE "+where, args...)
	if err != nil {
		return err
	}
	n, err := tx.affected(ctx, "INSERT INTO "+factTable(c.other())+" ("+c.names()+") SELECT "+c.names()+" FROM "+takenTable)
	if err != nil {
		return err
	}
	if n > 0 {
		if _, err := tx.affected(ctx, "DELETE FROM "+factTable(c.codes())+` WHERE rowid IN (SELECT "stored rowid" FROM `+takenTable+")"); err != nil {
			return err
		}
	}
	_, err = tx.affected(ctx, "DROP TABLE "+takenTable)
	return err
}

// takeOutKeys is takeOut of the rows whose keys a relation has.
func (tx *Tx) takeOutKeys(ctx context.Context, table string, key []string, source string) error {
	c, ok := tx.db.coded(table)
	if !ok {
		return nil
	}
	of := "table_name = ?"
	for _, col := range c.columns {
		if name := sqltext.Identifier(col.name); col.as == asPart && slices.Contains(key, name) {
			of += " AND " + name + " IN (SELECT " + name + " FROM " + source + ")"
		}
	}
	var some bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM "+factTable(CodedParts)+" WHERE "+of+")", table).Scan(&some); err != nil || !some {
		return err
	}
	list := strings.Join(key, ", ")
	return tx.takeOut(ctx, table, "("+list+") IN (SELECT ("+list+") FROM "+source+")")
}

// coding gives texts their codes, and rows their parts.
type coding struct {
	db    *DB
	of    map[string]int32
	fresh []string // that had none; their codes follow one another
	next  int32
	part  int32
	parts []Column // of CodedParts
}

// beginCoding reads the codes that there are.
func (db *DB) beginCoding(ctx context.Context) (*coding, error) {
	k := &coding{db: db, of: map[string]int32{}}
	err := db.Columns(ctx, `SELECT code, "text" FROM `+factTable(CodedTexts), nil, func(chunk *Chunk) error {
		codes := chunk.AppendIntegers(nil, 0)
		for i, code := range codes {
			if !chunk.Null(1, i) {
				k.of[strings.Clone(chunk.Text(1, i))] = code
			}
			k.next = max(k.next, code+1)
		}
		return nil
	})
	if err == nil {
		err = db.QueryRow(ctx, "SELECT coalesce(max("+partColumn+") + 1, 0)::INTEGER FROM "+factTable(CodedParts)).Scan(&k.part)
	}
	return k, err
}

// code is the code of a text, a new one if it has none.
func (k *coding) code(text string) int32 {
	code, known := k.of[text]
	if !known {
		code = k.next
		k.of[text], k.fresh = code, append(k.fresh, text)
		k.next++
	}
	return code
}

// codes are the codes of texts, by number.
func (k *coding) codes(texts []string) []int32 {
	list := make([]int32, len(texts))
	for i, text := range texts {
		list[i] = k.code(text)
	}
	return list
}

// add makes a part of the rows of tx in a table, of which the same are the values of its
// columns asPart but the stamp, and returns its number. equal is what it says of its
// scores.
func (k *coding) add(tx *Tx, c codedTable, same map[string]sql.NullString, equal bool) int32 {
	part := k.part
	k.part++
	if k.parts == nil { // in the order of the table
		k.parts = []Column{{Name: partColumn}, {Name: "table_name"}, {Name: "run_id"}, {Name: "strategy_id"}, {Name: "version"}, {Name: writtenAt}, {Name: "model_id"}, {Name: equalScores}}
	}
	has := func(is func(col codedColumn) bool) bool { return slices.ContainsFunc(c.columns, is) }
	for i := range k.parts {
		switch to := &k.parts[i]; to.Name {
		case partColumn:
			to.Integers = append(to.Integers, part)
		case writtenAt:
			stamped := has(func(col codedColumn) bool { return col.as == asPart && col.partTerm() == writtenAt })
			to.Bigints, to.Nulls = append(to.Bigints, tx.Now.UnixMicro()), append(to.Nulls, !stamped)
		case equalScores:
			to.Booleans, to.Nulls = append(to.Booleans, equal), append(to.Nulls, !has(func(col codedColumn) bool { return col.as == asScore }))
		default:
			value := same[to.Name]
			if to.Name == "table_name" {
				value = sql.NullString{String: c.name, Valid: true}
			}
			to.Texts, to.Nulls = append(to.Texts, value.String), append(to.Nulls, !value.Valid)
		}
	}
	return part
}

// store stores the new codes and parts.
func (k *coding) store(ctx context.Context, tx *Tx) error {
	insert := func(table, selected string, columns ...Column) error {
		relation, release, err := k.db.Hold(columns...)
		if err != nil {
			return err
		}
		defer release()
		_, err = tx.affected(ctx, "INSERT INTO "+factTable(table)+" SELECT "+selected+" FROM "+relation)
		return err
	}
	if len(k.fresh) > 0 {
		codes := make([]int32, len(k.fresh))
		for i := range codes {
			codes[i] = k.next - int32(len(k.fresh)) + int32(i)
		}
		if err := insert(CodedTexts, "*", Column{Name: "code", Integers: codes}, Column{Name: "text", Texts: k.fresh}); err != nil {
			return err
		}
	}
	if k.parts == nil {
		return nil
	}
	return insert(CodedParts, "* REPLACE (make_timestamp("+writtenAt+") AS "+writtenAt+")", k.parts...)
}

// sameOf is the value that all rows of a column have.
func sameOf(table string, c Column) (sql.NullString, error) {
	value := func(k int32) (v sql.NullString) {
		if k >= 0 {
			v = sql.NullString{String: c.Texts[k], Valid: true}
		}
		return v
	}
	first := c.number(0)
	for i := range c.rows() {
		if k := c.number(i); k != first && value(k) != value(first) {
			return sql.NullString{}, quant.Errorf(quant.Invalid, "insert into %s: %s is not the same in all rows of a run", table, c.Name)
		}
	}
	return value(first), nil
}

// equalIn is whether the rows of every one have in a column asScore what they have in
// score.
func (c codedTable) equalIn(rows [][]Column) bool {
	k := slices.IndexFunc(c.columns, func(col codedColumn) bool { return col.as == asScore })
	if k < 0 {
		return false
	}
	for _, have := range rows {
		is := func(name string) int {
			return slices.IndexFunc(have, func(col Column) bool { return col.Name == name })
		}
		a, b := is(scoreColumn), is(c.columns[k].name)
		if a < 0 || b < 0 || have[a].Nulls != nil || have[b].Nulls != nil || have[a].NaNs != have[b].NaNs || len(have[a].Floats) != len(have[b].Floats) {
			return false
		}
		if len(have[a].Floats) > 0 && &have[a].Floats[0] == &have[b].Floats[0] {
			continue
		}
		for i, x := range have[a].Floats {
			if math.Float64bits(x) != math.Float64bits(have[b].Floats[i]) {
				return false
			}
		}
	}
	return true
}

// number says which of its Texts a row of a column has; below 0: NULL.
func (c *Column) number(row int) int32 {
	switch {
	case c.Nulls != nil && c.Nulls[row]:
		return -1
	case c.Numbers != nil:
		return c.Numbers[row]
	}
	return int32(row)
}

// insertCoded is InsertColumns into a table of codes.
func insertCoded(ctx context.Context, db *DB, txs []*Tx, c codedTable, rows [][]Column) error {
	k, err := db.beginCoding(ctx)
	if err != nil {
		return err
	}
	var parts [][]Column
	equal := c.equalIn(rows)
	for i, tx := range txs {
		n := rows[i][0].rows()
		if n == 0 {
			continue
		}
		same := map[string]sql.NullString{}
		part := []Column{{Name: partColumn}}
		for _, col := range c.columns {
			at := slices.IndexFunc(rows[i], func(have Column) bool { return have.Name == col.name })
			switch {
			case at < 0 && col.as == asPart && col.partTerm() == writtenAt:
			case at < 0:
				return quant.Errorf(quant.Invalid, "insert into %s: column %s is missing", c.name, col.name)
			case col.as == asPart:
				if same[col.name], err = sameOf(c.name, rows[i][at]); err != nil {
					return err
				}
			case col.as == asText:
				part = append(part, k.column(rows[i][at]))
			case col.as == asScore && equal:
			default:
				part = append(part, rows[i][at])
			}
		}
		part[0].Integers = slices.Repeat([]int32{k.add(tx, c, same, equal)}, n)
		parts = append(parts, part)
		tx.count(c.name, int64(n), 0, 0)
	}
	if parts == nil {
		return nil
	}
	if err := k.store(ctx, txs[0]); err != nil {
		return err
	}
	return txs[0].insertHeld(ctx, c.name, c.codes(), joinColumns(parts))
}

// column is a column of texts as codes.
func (k *coding) column(c Column) Column {
	codes := k.codes(c.Texts)
	to := Column{Name: c.Name, Integers: make([]int32, c.rows())}
	if c.Numbers != nil && c.Nulls == nil { // millions of rows
		for i, n := range c.Numbers {
			to.Integers[i] = codeOfNull
			if n >= 0 {
				to.Integers[i] = codes[n]
			}
		}
		return to
	}
	for i := range to.Integers {
		to.Integers[i] = codeOfNull
		if n := c.number(i); n >= 0 {
			to.Integers[i] = codes[n]
		}
	}
	return to
}

// inCodes are rows as they are staged: which part they are of, and the numbers of their
// texts in the manifest, behind that of NULL.
func (w *OutputsWriter) inCodes(c codedTable, rows []Column) ([]Column, error) {
	p := OutputPart{Table: c.name, Rows: int64(rows[0].rows()), Same: map[string]*string{}}
	staged := []Column{{Name: OutputsOf, Integers: slices.Repeat([]int32{int32(len(w.manifest.Parts))}, rows[0].rows())}}
	for _, have := range rows {
		at := slices.IndexFunc(c.columns, func(col codedColumn) bool { return col.name == have.Name })
		switch {
		case have.Name == OutputsOf || at >= 0 && c.columns[at].as == asPart:
			same, err := sameOf(c.name, have)
			if err != nil {
				return nil, err
			}
			if have.Name == OutputsOf {
				p.Of = same.String
			} else if same.Valid {
				p.Same[have.Name] = &same.String
			} else {
				p.Same[have.Name] = nil
			}
		case at >= 0 && c.columns[at].as == asText:
			numbers := make([]int32, len(have.Texts))
			for i, text := range have.Texts {
				numbers[i] = w.texts.Number(text) + 1
			}
			to := Column{Name: have.Name, Integers: make([]int32, have.rows())}
			for i := range to.Integers {
				if n := have.number(i); n >= 0 {
					to.Integers[i] = numbers[n]
				}
			}
			staged = append(staged, to)
		default:
			staged = append(staged, have)
		}
	}
	w.manifest.Parts = append(w.manifest.Parts, p)
	return staged, nil
}

// insertCodedOutputs is InsertOutputs into a table of codes.
func insertCodedOutputs(ctx context.Context, db *DB, txs []*Tx, of []string, c codedTable, outputs []*Outputs) error {
	k, err := db.beginCoding(ctx)
	if err != nil {
		return err
	}
	// Parts and texts of all units are numbered one after the other.
	partNumbers, parts := Column{Name: "number"}, Column{Name: "becomes"}
	codes := Column{Name: "becomes"}
	var units []string
	var want, firstPart int64
	for _, o := range outputs {
		if f, ok := o.File(c.name); !ok || f.Rows == 0 {
			continue
		}
		firstText := len(codes.Integers)
		codes.Integers = append(append(codes.Integers, codeOfNull), k.codes(o.Texts)...)
		for i, p := range o.Parts {
			at := slices.Index(of, p.Of)
			if p.Table != c.name || at < 0 {
				continue
			}
			same := map[string]sql.NullString{}
			for name, value := range p.Same {
				if value != nil {
					same[name] = sql.NullString{String: *value, Valid: true}
				}
			}
			if _, has := same["run_id"]; has {
				same["run_id"] = sql.NullString{String: txs[at].RunID, Valid: true}
			}
			partNumbers.Integers, parts.Integers = append(partNumbers.Integers, int32(firstPart)+int32(i)), append(parts.Integers, k.add(txs[at], c, same, false))
			want += p.Rows
			txs[at].count(c.name, p.Rows, 0, 0)
		}
		selected := fmt.Sprintf("%s + %d AS %[1]s", OutputsOf, firstPart)
		for _, col := range c.columns {
			switch quoted := sqltext.Identifier(col.name); col.as {
			case asText:
				selected += fmt.Sprintf(", %s + %d AS %[1]s", quoted, firstText)
			case asValue, asScore:
				selected += ", " + quoted
			}
		}
		units = append(units, "SELECT "+selected+" FROM "+OutputsRelation([]*Outputs{o}, c.name))
		firstPart += int64(len(o.Parts))
	}
	if want == 0 {
		return nil
	}
	if err := k.store(ctx, txs[0]); err != nil {
		return err
	}
	ofParts, release, err := db.Hold(partNumbers, parts)
	if err != nil {
		return err
	}
	defer release()
	textNumbers := Column{Name: "number", Integers: make([]int32, len(codes.Integers))}
	for i := range textNumbers.Integers {
		textNumbers.Integers[i] = int32(i)
	}
	ofTexts, release, err := db.Hold(textNumbers, codes)
	if err != nil {
		return err
	}
	defer release()
	into, values, joins := partColumn, "w.becomes", ""
	for i, col := range c.columns {
		quoted := sqltext.Identifier(col.name)
		switch col.as {
		case asText:
			into, values = into+", "+quoted, values+fmt.Sprintf(", t%d.becomes", i)
			joins += fmt.Sprintf(" JOIN %s t%d ON t%[2]d.number = o.%[3]s", ofTexts, i, quoted)
		case asValue, asScore:
			into, values = into+", "+quoted, values+", o."+quoted
		}
	}
	return db.onOneThread(ctx, func() error {
		n, err := txs[0].change(ctx, "insert into", c.name, "INSERT INTO "+factTable(c.codes())+" ("+into+") SELECT "+values+
			" FROM ("+strings.Join(units, " UNION ALL ")+") o JOIN "+ofParts+" w ON w.number = o."+OutputsOf+joins)
		if err == nil && n != want {
			err = quant.Errorf(quant.Failed, "%d rows were stored, and %d belong to the runs", n, want)
		}
		return err
	})
}
