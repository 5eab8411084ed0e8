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

// added finds what is to be added; nil: the decisions have to be compared row by row.
// What stands is proved by the digests of its rows, and by their stamps: a row that
// another program wrote is not this strategy's decision, whatever it says.
func (r *recommending) added(ctx context.Context, d *decisionRows) (*addedDecisions, error) {
	within := []any{r.s.ID, r.low, r.high}
	days, err := factstore.Values[quant.Date](ctx, r.db, `SELECT "asof" FROM main.target_sets WHERE `+ofRange+` ORDER BY "asof"`, within...)
	if err != nil {
		return nil, err
	}
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
		if _, digest, err := r.db.Digest(ctx, "SELECT "+digestedColumns(of.digested)+" FROM main."+of.table+" WHERE "+ofRange, within...); err != nil || digest != want {
			return nil, err
		}
		switch err := r.db.RequireExplained(ctx, of.table, "", ofRange, within...); {
		case errors.Is(err, quant.Refused):
			return nil, nil
		case err != nil:
			return nil, err
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
			err := r.db.Unordered(ctx, func() error {
				for n, of := range d.tables() {
					if err := factstore.InsertColumns(ctx, r.db, []*factstore.Tx{tx}, of.table, a.rows[n:n+1]); err != nil {
						return err
					}
					changed[of.table] = int64(a.rows[n][0].Len())
				}
				return nil
			})
			if err != nil {
				return err
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
