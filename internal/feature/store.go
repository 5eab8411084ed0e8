package feature

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"slices"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/price"
	"quant/internal/sqltext"
)

// symbolTable is the TEMP table of the symbols whose inputs have changed.
const symbolTable = "feature_symbol"

// slice names the rows that are computed together, for each symbol: what
// fact_inputs and fact_slices call table_name, name and version.
type slice struct {
	table, name, version string
	definition           string // any change of it changes the digest of the inputs
}

// part is the rows of a table that come from a wide table: one a bar that has
// a value.
type part struct {
	table  string
	slice  int      // of computation.slices
	name   string   // as the report calls it; "": not reported
	fixed  []string // column, value, column, value ...
	from   string   // wide table with symbol, ts
	values []string // column, column of from ...
	stamp  string
}

// computation is one run of Features or Labels.
type computation struct {
	db     *factstore.DB
	cal    *calendar.Calendar
	req    Request
	what   string // for notices and errors
	slices []slice
	parts  []part
	stage  func(context.Context) error // makes the wide tables of the symbols in symbolTable

	basis   price.Basis
	report  Report
	inputs  []map[string]string // by slice, symbol: digest of what it is computed from
	before  []map[string]record // by slice, symbol: what stands
	changed []string
	gone    []string
}

// record is a row of fact_inputs.
type record struct{ inputs, facts string }

func (c *computation) run(ctx context.Context) (Report, error) {
	var err error
	if c.basis, err = price.Stage(ctx, c.db, c.cal, price.Request{Symbols: c.req.Symbols, AcceptRaw: c.req.AcceptRaw}); err != nil {
		return Report{}, err
	}
	b := c.basis
	c.report = Report{
		Version: c.req.Version, Calendar: c.cal.Identity(), Basis: b.Name(), Symbols: len(b.Symbols), BarsRead: b.Bars, Notices: append([]string{}, b.Notices...),
		Series: []Series{}, Tables: []Table{},
	}
	if len(b.Symbols) > 0 {
		c.report.FirstDate, c.report.LastDate = quant.Text(b.First.String()), quant.Text(b.Last.String())
	}
	for _, step := range []func(context.Context) error{c.digestInputs, c.readBefore, c.choose, c.compute, c.describe} {
		if err := step(ctx); err != nil {
			return c.report, c.failure(ctx, err)
		}
	}
	return c.report, nil
}

// failure says what was being done when a statement failed.
func (c *computation) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if quant.CodeOf(err) != quant.Failed {
		return err
	}
	return quant.Errorf(quant.Store, "compute %s: %w", c.what, err).WithHint("`quant doctor` examines the Fact DB")
}

// digestInputs fills inputs: a symbol's bars as they are stored, the sessions
// from its first to its last, and the definition.
func (c *computation) digestInputs(ctx context.Context) error {
	rows, err := c.db.Query(ctx, `SELECT symbol, min(ts), max(ts), concat_ws(' ', count(*), sum(h::HUGEINT), sum(hash(h, 1)::HUGEINT)) FROM (
			SELECT symbol, ts, hash(ts, open, high, low, close, volume, adjusted_close) AS h FROM ohlcv SEMI JOIN temp.main.`+price.BasisTable+` USING (symbol))
		GROUP BY symbol ORDER BY symbol`)
	if err != nil {
		return err
	}
	defer rows.Close()
	c.inputs = make([]map[string]string, len(c.slices))
	for k := range c.slices {
		c.inputs[k] = map[string]string{}
	}
	sessions := map[[2]quant.Date]string{}
	definitions := make([][sha256.Size]byte, len(c.slices))
	for k, s := range c.slices {
		definitions[k] = sha256.Sum256([]byte(s.definition))
	}
	bars := sha256.New()
	for rows.Next() {
		var symbol, of string
		var first, last quant.Date
		if err := rows.Scan(&symbol, &first, &last, &of); err != nil {
			return err
		}
		span := [2]quant.Date{first, last}
		if sessions[span] == "" {
			h := sha256.New()
			_ = binary.Write(h, binary.LittleEndian, c.cal.Sessions(first, last))
			sessions[span] = sum(h)
		}
		_, _ = fmt.Fprintln(bars, symbol, of) // a hash takes everything
		for k := range c.slices {
			h := sha256.New()
			_, _ = fmt.Fprintf(h, "%s %s %x", of, sessions[span], definitions[k])
			c.inputs[k][symbol] = sum(h)
		}
	}
	c.report.BarsDigest = sum(bars)
	return rows.Err()
}

func sum(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// readBefore reads what fact_inputs says of the slices.
func (c *computation) readBefore(ctx context.Context) error {
	for _, s := range c.slices {
		stands := map[string]record{}
		rows, err := c.db.Query(ctx, "SELECT symbol, inputs, facts FROM fact_inputs WHERE table_name = ? AND name = ? AND version = ?", s.table, s.name, s.version)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var symbol string
			var r record
			if err := rows.Scan(&symbol, &r.inputs, &r.facts); err != nil {
				return err
			}
			stands[symbol] = r
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			return err
		}
		c.before = append(c.before, stands)
	}
	return nil
}

// choose finds the symbols to compute, and those that have rows but no bars.
func (c *computation) choose(context.Context) error {
	for _, symbol := range c.basis.Symbols {
		same := !c.req.Force
		for k := range c.slices {
			same = same && c.before[k][symbol].inputs == c.inputs[k][symbol]
		}
		if !same {
			c.changed = append(c.changed, symbol)
		}
	}
	missing := map[string]bool{}
	for _, symbol := range c.req.Symbols {
		if c.inputs[0][symbol] == "" {
			missing[symbol] = true
		}
	}
	if len(missing) > 0 {
		c.report.Notices = append(c.report.Notices, "no bars of "+someOf(sorted(missing)))
	}
	gone := map[string]bool{}
	for k := range c.slices {
		for symbol := range c.before[k] {
			if missing[symbol] || c.req.Symbols == nil && c.inputs[0][symbol] == "" {
				gone[symbol] = true
			}
		}
	}
	c.gone = sorted(gone)
	c.report.Computed, c.report.Removed = len(c.changed), len(c.gone)
	if len(c.basis.Symbols) == 0 && len(c.gone) == 0 {
		return quant.Errorf(quant.NotFound, "compute %s: ohlcv has no bars of these symbols", c.what).WithHint("`quant ingest FILE` loads prices; `quant symbols list` shows the symbols")
	}
	return nil
}

func sorted(set map[string]bool) []string {
	list := make([]string, 0, len(set))
	for s := range set {
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}

func someOf(list []string) string {
	if len(list) > 5 {
		return strings.Join(list[:5], ", ") + fmt.Sprintf(" and %d more", len(list)-5)
	}
	return strings.Join(list, ", ")
}

func (c *computation) compute(ctx context.Context) error {
	facts := make([]map[string]string, len(c.slices))
	if len(c.changed) > 0 {
		if err := c.stageSymbols(ctx); err != nil {
			return err
		}
		without, err := c.rowsWithoutGaps(ctx)
		if err != nil {
			return err
		}
		if err := c.stage(ctx); err != nil {
			return err
		}
		if err := c.sayGaps(ctx, without); err != nil {
			return err
		}
		for k := range c.slices {
			var err error
			if facts[k], err = c.digestFacts(ctx, k); err != nil {
				return err
			}
		}
		for _, p := range c.parts {
			if p.name == "" {
				continue
			}
			s := Series{Name: p.name}
			x := p.values[1]
			if err := c.db.QueryRow(ctx, fmt.Sprintf("SELECT count(*) FILTER (isfinite(%s)), count(*) FILTER (%s IS NOT NULL AND NOT isfinite(%s)) FROM temp.main.%s", x, x, x, p.from)).
				Scan(&s.Rows, &s.NonFinite); err != nil {
				return err
			}
			if s.NonFinite > 0 {
				c.report.Notices = append(c.report.Notices, fmt.Sprintf("%s: %d values are NaN or infinite and have no row", s.Name, s.NonFinite))
			}
			c.report.Series = append(c.report.Series, s)
		}
	}
	var ledger []factstore.LedgerRow
	if len(c.changed)+len(c.gone) > 0 {
		var err error
		ledger, err = c.db.Write(ctx, c.req.RunID, func(ctx context.Context, tx *factstore.Tx) error { return c.write(ctx, tx, facts) })
		if err != nil {
			return err
		}
	} else {
		c.report.Notices = append(c.report.Notices, c.what+": nothing changed")
	}
	c.tables(facts, ledger)
	return nil
}

// describe says what was read and written.
func (c *computation) describe(ctx context.Context) error {
	where := "true"
	if c.req.Symbols != nil {
		where = "symbol IN (" + sqltext.Literals(c.req.Symbols) + ")"
	}
	writers, err := c.db.Writers(ctx, factstore.OHLCV, where)
	if err != nil {
		return err
	}
	r := &c.report
	bars := r.BarsRead
	r.Inputs = append([]quant.RunIO{{
		Direction: quant.In, Kind: quant.IOTable, Name: factstore.OHLCV, Rows: &bars,
		FirstDate: r.FirstDate, LastDate: r.LastDate, Digest: quant.Text(r.BarsDigest),
	}}, factstore.WrittenBy(writers)...)
	for _, t := range r.Tables {
		changed := t.Changed()
		r.Outputs = append(r.Outputs, quant.RunIO{
			Direction: quant.Out, Kind: quant.IOTable, Name: t.Table, Rows: &changed,
			FirstDate: r.FirstDate, LastDate: r.LastDate, Digest: quant.Text(t.Digest),
		})
	}
	return nil
}

func (c *computation) stageSymbols(ctx context.Context) error {
	if _, err := c.db.Stage(ctx, "CREATE OR REPLACE TEMP TABLE "+symbolTable+" (symbol TEXT NOT NULL)"); err != nil {
		return err
	}
	return c.db.Append(ctx, symbolTable, func(row func(...driver.Value) error) error {
		for _, s := range c.changed {
			if err := row(s); err != nil {
				return err
			}
		}
		return nil
	})
}

// digestFacts digests the rows of a slice, symbol by symbol, as they are
// staged.
func (c *computation) digestFacts(ctx context.Context, k int) (map[string]string, error) {
	of := map[string]hash.Hash{}
	for _, from := range []string{wideTable, recursiveTable} {
		var columns []string
		for _, p := range c.parts {
			if p.slice == k && p.from == from {
				for j := 1; j < len(p.values); j += 2 {
					columns = append(columns, p.values[j])
				}
			}
		}
		if columns == nil {
			continue
		}
		list := strings.Join(columns, ", ")
		rows, err := c.db.Query(ctx, fmt.Sprintf(`SELECT symbol, concat_ws(' ', count(*), sum(h::HUGEINT), sum(hash(h, 1)::HUGEINT)) FROM (
			SELECT symbol, hash(ts, %s) AS h FROM temp.main.%s WHERE coalesce(%s) IS NOT NULL) GROUP BY symbol`, list, from, list))
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		for rows.Next() {
			var symbol, text string
			if err := rows.Scan(&symbol, &text); err != nil {
				return nil, err
			}
			if of[symbol] == nil {
				of[symbol] = sha256.New()
			}
			_, _ = fmt.Fprintln(of[symbol], list, text)
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	facts := map[string]string{}
	for _, symbol := range c.changed {
		facts[symbol] = "" // no rows
		if h := of[symbol]; h != nil {
			facts[symbol] = sum(h)
		}
	}
	return facts, nil
}

func (c *computation) write(ctx context.Context, tx *factstore.Tx, facts []map[string]string) error {
	for k, s := range c.slices {
		for _, p := range c.parts {
			if p.slice != k {
				continue
			}
			if len(c.gone) > 0 {
				if _, err := tx.Delete(ctx, p.table, p.where()+" AND symbol IN ("+sqltext.Literals(c.gone)+")"); err != nil {
					return err
				}
			}
			if len(c.changed) == 0 {
				continue
			}
			if err := p.write(ctx, tx); err != nil {
				return err
			}
			if p.stamp == "" {
				if err := c.writeSlices(ctx, tx, p, s); err != nil {
					return err
				}
			}
		}
		if len(c.gone) > 0 {
			for _, table := range []string{factstore.FactSlices, factstore.FactInputs} {
				if _, err := tx.Delete(ctx, table, "table_name = ? AND name = ? AND version = ? AND symbol IN ("+sqltext.Literals(c.gone)+")", s.table, s.name, s.version); err != nil {
					return err
				}
			}
		}
		if err := c.writeInputs(ctx, tx, k, facts[k]); err != nil {
			return err
		}
	}
	return nil
}

func (p part) where() string {
	where := "true"
	for k := 0; k < len(p.fixed); k += 2 {
		where += " AND " + p.fixed[k] + " = " + sqltext.Literal(p.fixed[k+1])
	}
	return where
}

// diffTable and touchedTable hold the rows that differ, and their symbols.
const (
	diffTable    = "feature_diff"
	touchedTable = "feature_touched"
)

// write makes the table hold the part's rows for the symbols of symbolTable,
// and no other rows of that part; rows that are the same stay untouched, with
// their stamps, unless another program wrote them.
func (p part) write(ctx context.Context, tx *factstore.Tx) error {
	var targets, wanted, stored, differ, present []string
	for k := 0; k < len(p.values); k += 2 {
		target, v := p.values[k], fmt.Sprintf("v%d", k/2)
		targets = append(targets, target)
		wanted = append(wanted, fmt.Sprintf("CASE WHEN isfinite(%s) THEN %s END AS %s", p.values[k+1], p.values[k+1], v))
		stored = append(stored, fmt.Sprintf("%s AS %s", target, v))
		differ = append(differ, fmt.Sprintf("s.%s IS DISTINCT FROM t.%s", v, v))
		present = append(present, v)
	}
	into, literalsOf, args := "symbol, ts, "+strings.Join(targets, ", "), "", []any(nil)
	for k := 0; k < len(p.fixed); k += 2 {
		into += ", " + p.fixed[k]
		literalsOf += ", " + sqltext.Literal(p.fixed[k+1])
	}
	if p.stamp != "" {
		into, literalsOf = into+", "+p.stamp, literalsOf+", CAST(? AS TIMESTAMP)"
		args = append(args, tx.Now)
	}
	if p.stamp != "" {
		t, _ := factstore.LookupTable(p.table)
		stored, differ = append(stored, t.Unexplained()+" AS alien"), append(differ, "t.alien")
	}
	list := strings.Join(present, ", ")
	rows := fmt.Sprintf("(%s) SELECT symbol, ts, %s%s FROM ", into, list, literalsOf)
	source := fmt.Sprintf("(SELECT symbol, ts, %s FROM temp.main.%s)", strings.Join(wanted, ", "), p.from)
	some := " WHERE coalesce(" + list + ") IS NOT NULL"

	var overlap bool
	stand := p.where() + " AND symbol IN (SELECT symbol FROM temp.main." + symbolTable + ")"
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM "+p.table+" WHERE "+stand+")").Scan(&overlap); err != nil {
		return err
	}
	if !overlap {
		if _, err := tx.Insert(ctx, p.table, rows+source+some, args...); err != nil {
			return err
		}
		_, err := tx.Stage(ctx, fmt.Sprintf("CREATE OR REPLACE TEMP TABLE %s AS SELECT symbol FROM temp.main.%s", touchedTable, symbolTable))
		return err
	}
	if _, err := tx.Stage(ctx, fmt.Sprintf(`CREATE OR REPLACE TEMP TABLE %s AS SELECT coalesce(s.symbol, t.symbol) AS symbol, coalesce(s.ts, t.ts) AS ts, s.* EXCLUDE (symbol, ts), s.symbol IS NOT NULL AS wanted, t.stored
		FROM (SELECT * FROM %s%s) s FULL JOIN (SELECT rowid AS stored, symbol, ts, %s FROM %s f WHERE %s) t ON s.symbol = t.symbol AND s.ts = t.ts
		WHERE s.symbol IS NULL OR t.symbol IS NULL OR %s`, diffTable, source, some, strings.Join(stored, ", "), p.table, stand, strings.Join(differ, " OR "))); err != nil {
		return err
	}
	var updated int64
	if err := tx.QueryRow(ctx, "SELECT count(*) FILTER (wanted AND stored IS NOT NULL) FROM temp.main."+diffTable).Scan(&updated); err != nil {
		return err
	}
	if _, err := tx.Delete(ctx, p.table, "rowid IN (SELECT stored FROM temp.main."+diffTable+" WHERE stored IS NOT NULL)"); err != nil {
		return err
	}
	if _, err := tx.Insert(ctx, p.table, rows+"temp.main."+diffTable+" WHERE wanted ORDER BY symbol, ts", args...); err != nil {
		return err
	}
	tx.Replaced(p.table, updated)
	_, err := tx.Stage(ctx, fmt.Sprintf("CREATE OR REPLACE TEMP TABLE %s AS SELECT DISTINCT symbol FROM temp.main.%s", touchedTable, diffTable))
	return err
}

// writeSlices names this run as the last writer of the slices that it touched.
func (c *computation) writeSlices(ctx context.Context, tx *factstore.Tx, p part, s slice) error {
	var some []string
	for k := 1; k < len(p.values); k += 2 {
		some = append(some, "isfinite("+p.values[k]+")")
	}
	old, err := tx.Delete(ctx, factstore.FactSlices, "table_name = ? AND name = ? AND version = ? AND symbol IN (SELECT symbol FROM temp.main."+touchedTable+")", s.table, s.name, s.version)
	if err != nil {
		return err
	}
	now, err := tx.Insert(ctx, factstore.FactSlices, fmt.Sprintf(`(table_name, symbol, name, version, from_ts, to_ts, run_id)
		SELECT ?, symbol, ?, ?, min(ts), max(ts), ? FROM temp.main.%s SEMI JOIN temp.main.%s USING (symbol) WHERE %s GROUP BY symbol ORDER BY symbol`, p.from, touchedTable, strings.Join(some, " OR ")),
		s.table, s.name, s.version, tx.RunID)
	if err != nil {
		return err
	}
	tx.Replaced(factstore.FactSlices, min(old, now))
	return nil
}

// writeInputs notes what the slices were computed from.
func (c *computation) writeInputs(ctx context.Context, tx *factstore.Tx, k int, facts map[string]string) error {
	const source = "feature_inputs"
	if _, err := tx.Stage(ctx, "CREATE OR REPLACE TEMP TABLE "+source+" (table_name TEXT, symbol TEXT, name TEXT, version TEXT, inputs TEXT, facts TEXT)"); err != nil {
		return err
	}
	s := c.slices[k]
	err := c.db.Append(ctx, source, func(row func(...driver.Value) error) error {
		for _, symbol := range c.changed {
			if err := row(s.table, symbol, s.name, s.version, c.inputs[k][symbol], facts[symbol]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = tx.Merge(ctx, factstore.Merge{Table: factstore.FactInputs, Source: source})
	return err
}

// tables fills in what became of each table, and the digest of what now stands.
func (c *computation) tables(facts []map[string]string, ledger []factstore.LedgerRow) {
	digests := map[string]hash.Hash{}
	for k, s := range c.slices {
		if digests[s.table] == nil {
			digests[s.table] = sha256.New()
			c.report.Tables = append(c.report.Tables, Table{Table: s.table})
		}
		for _, symbol := range c.basis.Symbols {
			of, computed := facts[k][symbol]
			if !computed {
				of = c.before[k][symbol].facts
			}
			_, _ = fmt.Fprintln(digests[s.table], s.name, symbol, of)
		}
	}
	for k, t := range c.report.Tables {
		c.report.Tables[k].Digest = sum(digests[t.Table])
		for _, l := range ledger {
			if l.Table == t.Table {
				c.report.Tables[k].Inserted, c.report.Tables[k].Updated, c.report.Tables[k].Deleted = l.Inserted, l.Updated, l.Deleted
			}
		}
	}
}

// stageRecursions runs the kernel over the bars of the symbols of symbolTable,
// one symbol after the other, in the order of their sessions.
func stageRecursions(ctx context.Context, db *factstore.DB, names []string) error {
	bars, spans, err := readBars(ctx, db)
	if err != nil {
		return err
	}
	if _, err := db.Stage(ctx, "CREATE OR REPLACE TEMP TABLE "+recursiveTable+" (symbol TEXT, ts DATE, "+strings.Join(names, " DOUBLE, ")+" DOUBLE)"); err != nil {
		return err
	}
	return db.Append(ctx, recursiveTable, func(row func(...driver.Value) error) error {
		values := make([]driver.Value, 2+len(names))
		for _, s := range spans {
			var kernel recursion
			for _, b := range bars[s.from:s.to] {
				state := kernel.step(b.bar)
				some := false
				for k, name := range names {
					values[2+k] = nil
					if x := state.value(name, b.close); !math.IsNaN(x) {
						values[2+k], some = x, true
					}
				}
				if !some {
					continue
				}
				values[0], values[1] = s.symbol, b.ts
				if err := row(values...); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

type datedBar struct {
	bar
	ts quant.Date
}

// span is where the bars of a symbol stand.
type span struct {
	symbol   string
	from, to int
}

func readBars(ctx context.Context, db *factstore.DB) ([]datedBar, []span, error) {
	rows, err := db.Query(ctx, `SELECT symbol, i, (ts - DATE '1970-01-01')::INTEGER, high, low, close FROM temp.main.`+price.BarView+` SEMI JOIN temp.main.`+symbolTable+` USING (symbol) ORDER BY symbol, i`)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	var bars []datedBar
	var spans []span
	var name sql.RawBytes
	for rows.Next() {
		var b datedBar
		var high, low, close sql.NullFloat64
		var day int32
		if err := rows.Scan(&name, &b.i, &day, &high, &low, &close); err != nil {
			return nil, nil, err
		}
		b.ts, b.high, b.low, b.close = quant.Date(day), orNaN(high), orNaN(low), orNaN(close)
		if n := len(spans); n == 0 || spans[n-1].symbol != string(name) {
			spans = append(spans, span{string(name), len(bars), 0})
		}
		bars = append(bars, b)
		spans[len(spans)-1].to = len(bars)
	}
	return bars, spans, rows.Err()
}

func orNaN(x sql.NullFloat64) float64 {
	if !x.Valid {
		return math.NaN()
	}
	return x.Float64
}
