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

// Unexplained is the SQL condition that holds for a row, called f, of a table
// that no run of quant wrote: its stamp is in no ledger row of the table, or,
// where rows have no stamp, no slice of fact_slices holds it. "" where neither
// is kept.
func (t Table) Unexplained() string {
	switch {
	case t.Stamp != "":
		stamp := "f." + sqltext.Identifier(t.Stamp)
		return "(" + stamp + " IS NULL OR " + stamp + " NOT IN (SELECT committed_at FROM " + factTable(Ledger) + " WHERE table_name = " + sqltext.Literal(t.Name) + "))"
	case slices.Contains(t.Companions, FactSlices):
		condition := "NOT EXISTS (SELECT 1 FROM " + factTable(FactSlices) + " s WHERE s.table_name = " + sqltext.Literal(t.Name) + " AND s.symbol = f.symbol AND f.ts BETWEEN s.from_ts AND s.to_ts"
		if t.sliceName != "" {
			condition += " AND s.name = f." + t.sliceName + " AND s.version = f." + t.sliceVersion
		}
		return condition + ")"
	}
	return ""
}

// RequireExplained refuses to read rows that no run of quant wrote: what another
// program put into the file has no origin, and a result would be traced to nothing.
// from is the table or a view with its columns, "" the table itself; where is on
// the columns of f, the rows that are read. Its cost is a pass over their stamps.
// Refused, with the table, the number of rows and one of them.
func (db *DB) RequireExplained(ctx context.Context, table, from, where string, args ...any) error {
	t, _ := LookupTable(table)
	condition := t.Unexplained()
	if condition == "" {
		return quant.Errorf(quant.Invalid, "of the rows of %s nobody says who wrote them", table)
	}
	if from == "" {
		from = factTable(table)
	}
	if t.Stamp == "" {
		// Where no slice speaks of the table, the ledger alone does.
		var sliced, written bool
		err := db.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM "+factTable(FactSlices)+" WHERE table_name = ?), EXISTS (SELECT 1 FROM "+factTable(Ledger)+" WHERE table_name = ?)", table, table).Scan(&sliced, &written)
		if err != nil {
			return db.failure(ctx, "look for the writers of "+table, err)
		}
		if written && !sliced {
			return nil
		}
		if whole, err := db.withinSlices(ctx, t, from, where, args...); err != nil || whole {
			return err
		}
	}
	if t.Stamp != "" {
		// Most rows share their stamps.
		var unexplained bool
		err := db.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM (SELECT DISTINCT f."+sqltext.Identifier(t.Stamp)+" FROM "+from+" f WHERE ("+where+")) f WHERE "+condition+")", args...).Scan(&unexplained)
		if err != nil {
			return db.failure(ctx, "look for the writers of "+table, err)
		}
		if !unexplained {
			return nil
		}
	}
	var shown []string
	for _, c := range t.Key {
		shown = append(shown, sqltext.Literal(c+" ")+" || CAST(f."+sqltext.Identifier(c)+" AS VARCHAR)")
	}
	if t.Stamp != "" {
		shown = append(shown, sqltext.Literal(t.Stamp+" ")+" || coalesce(CAST(f."+sqltext.Identifier(t.Stamp)+" AS VARCHAR), 'NULL')")
	}
	var n int64
	var example sql.NullString
	err := db.QueryRow(ctx, "SELECT count(*), min(concat_ws(', ', "+strings.Join(shown, ", ")+")) FROM "+from+" f WHERE ("+where+") AND "+condition, args...).Scan(&n, &example)
	if err != nil {
		return db.failure(ctx, "look for the writers of "+table, err)
	}
	if n == 0 {
		return nil
	}
	rows := "1 row that is read was not written by quant: no run explains it"
	if n > 1 {
		rows = fmt.Sprintf("%d rows that are read were not written by quant: no run explains them, such as", n)
	}
	return quant.Errorf(quant.Refused, "%s: %s (%s)", table, rows, example.String).
		WithHint("%s, or delete them with the program that wrote them; `quant doctor` counts all there are", t.anew)
}

// withinSlices reports whether one slice alone holds all the rows of each symbol:
// then each row is explained, and asking so is a hundred times cheaper than asking
// row by row. false does not say that one is not.
func (db *DB) withinSlices(ctx context.Context, t Table, from, where string, args ...any) (whole bool, err error) {
	rows, same := "f.symbol", "s.symbol = g.symbol"
	if t.sliceName != "" {
		rows += ", f." + t.sliceName + ", f." + t.sliceVersion
		same += " AND s.name = g." + t.sliceName + " AND s.version = g." + t.sliceVersion
	}
	err = db.QueryRow(ctx, "SELECT NOT EXISTS (SELECT 1 FROM (SELECT "+rows+", min(f.ts) AS first, max(f.ts) AS last, bool_and(f.ts IS NOT NULL) AS dated FROM "+from+" f WHERE ("+where+") GROUP BY ALL) g WHERE NOT dated OR NOT EXISTS (SELECT 1 FROM "+
		factTable(FactSlices)+" s WHERE s.table_name = "+sqltext.Literal(t.Name)+" AND "+same+" AND s.from_ts <= g.first AND s.to_ts >= g.last))", args...).Scan(&whole)
	if err != nil {
		return false, db.failure(ctx, "look for the writers of "+t.Name, err)
	}
	return whole, nil
}
