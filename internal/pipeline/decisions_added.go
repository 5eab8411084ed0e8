package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// addedDecisions are decisions of which those of the first days stand in the Fact DB as
// they were decided again, and nothing else stands in their range: only the rows of the
// later days are to be stored.
type addedDecisions struct {
	standing int                  // days
	rows     [][]factstore.Column // by table, of the later days
	digests  []string             // by table, of all days
}

// ofRange are the rows of the strategy in the range that is decided.
const ofRange = `strategy_id = ? AND "asof" BETWEEN CAST(? AS DATE) AND CAST(? AS DATE)`

// standingRows are the rows of a strategy that stand in a range, as a proof needs them.
type standingRows struct {
	low, high quant.Date
	days      []quant.Date    // of its decisions
	digests   []string        // by table
	explained map[string]bool // by table: a run wrote each row
}

func readStandingRows(ctx context.Context, db *factstore.DB, id string, low, high quant.Date) (standingRows, error) {
	rows := standingRows{low: low, high: high, explained: map[string]bool{}}
	within := []any{id, low, high}
	var err error
	if rows.days, err = factstore.Values[quant.Date](ctx, db, `SELECT "asof" FROM main.target_sets WHERE `+ofRange+` ORDER BY "asof"`, within...); err != nil {
		return rows, err
	}
	for _, of := range (&decisionRows{}).tables() {
		_, digest, err := db.Digest(ctx, "SELECT "+digestedColumns(of.digested)+" FROM main."+of.table+" WHERE "+ofRange, within...)
		if err != nil {
			return rows, err
		}
		err = db.RequireExplained(ctx, of.table, "", ofRange, within...)
		if err != nil && !errors.Is(err, quant.Refused) {
			return rows, err
		}
		rows.digests, rows.explained[of.table] = append(rows.digests, digest), err == nil
	}
	return rows, nil
}

// added finds what is to be added; nil: the decisions have to be compared row by row.
// What stands is proved by the digests of its rows, and by their stamps: a row that
// another program wrote is not this strategy's decision, whatever it says.
func (r *recommending) added(ctx context.Context, d *decisionRows) (*addedDecisions, error) {
	stand, err := r.standingOf(ctx)
	if err != nil {
		return nil, err
	}
	days := stand.days
	if len(days) > len(r.sets) {
		return nil, nil
	}
	a := &addedDecisions{standing: len(days)}
	targets, proposals := 0, 0
	for i, day := range days {
		if r.sets[i].asof != day {
			return nil, nil
		}
		targets, proposals = targets+len(r.sets[i].decision.Rows), proposals+len(r.sets[i].proposal)
	}
	for n, of := range d.tables() {
		from := []int{targets, proposals, len(days)}[n]
		var stands, later []factstore.Column
		for _, name := range of.digested {
			c := of.columns[slices.IndexFunc(of.columns, func(c factstore.Column) bool { return c.Name == name })]
			stands, later = append(stands, c.Rows(0, from)), append(later, c.Rows(from, c.Len()))
		}
		var sum, rest factstore.RowSum
		sum.Add(stands...)
		_, want := sum.Digest()
		if stand.digests[n] != want || !stand.explained[of.table] {
			return nil, nil
		}
		rest.Add(later...)
		sum.Join(&rest)
		_, digest := sum.Digest()
		rows := make([]factstore.Column, len(of.columns))
		for k, c := range of.columns {
			rows[k] = c.Rows(from, c.Len())
		}
		a.rows, a.digests = append(a.rows, rows), append(a.digests, digest)
	}
	return a, nil
}

// add stores the decisions of the later days.
func (r *recommending) add(ctx context.Context, d *decisionRows, a *addedDecisions) error {
	changed := map[string]int64{}
	if a.standing < len(r.sets) {
		_, err := r.db.Write(ctx, r.RunID, func(ctx context.Context, tx *factstore.Tx) error {
			// In their order: what is left of the last row group stands at the end then, where
			// the next day is added to it without writing the others again.
			for n, of := range d.tables() {
				if err := factstore.InsertColumns(ctx, r.db, []*factstore.Tx{tx}, of.table, a.rows[n:n+1]); err != nil {
					return err
				}
				changed[of.table] = int64(a.rows[n][0].Len())
			}
			r.report.Changed = len(r.sets) - a.standing
			return r.markStale(ctx, tx, changed)
		})
		if err != nil {
			return err
		}
	}
	for n, of := range d.tables() {
		r.report.Outputs = append(r.report.Outputs, r.output(of.table, changed[of.table], a.digests[n]))
	}
	return nil
}

// digestedColumns are the columns of a table that are digested, for a query.
func digestedColumns(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = sqltext.Identifier(name)
	}
	return strings.Join(quoted, ", ")
}
