package stated

import (
	"context"
	"fmt"
	"strings"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

func dates(name string, days []quant.Date) factstore.Column {
	if days == nil {
		days = []quant.Date{}
	}
	return factstore.Column{Name: name, Dates: days}
}

// store commits the rejects, and with them the values unless there are too many
// rejects.
func (in *importing) store(ctx context.Context) error {
	r := &in.report
	r.Refused = r.RowsRejected > 0 && (float64(r.RowsRejected) > in.MaxRejectRatio*float64(in.judged()) || in.names == nil)
	if r.RowsRejected > 0 {
		if err := in.stageRejects(ctx); err != nil {
			return err
		}
	}
	if !r.Refused && in.names != nil {
		if err := in.stageKnown(ctx); err != nil {
			return err
		}
	}
	_, err := in.db.Write(ctx, in.RunID, func(ctx context.Context, tx *factstore.Tx) error {
		if r.RowsRejected > 0 {
			if _, err := tx.Merge(ctx, factstore.Merge{Table: factstore.Rejects, Source: turned}); err != nil {
				return err
			}
		}
		if r.Refused || in.names == nil {
			return nil
		}
		if in.declare != nil {
			if err := in.declare(ctx, tx, in.names); err != nil {
				return err
			}
		}
		return in.merge(ctx, tx)
	})
	if err != nil {
		r.ValuesInserted, r.ValuesUpdated, r.ValuesUnchanged, r.ValuesDeleted, r.Revisions, r.Revised = 0, 0, 0, 0, 0, []Revision{}
		return err
	}
	switch {
	case r.Refused:
		return in.refusal()
	case r.LookedAhead > 0:
		return quant.Errorf(quant.Partial, "%s: %d rows look ahead and were not taken: %s", in.label(), r.LookedAhead, in.first()).WithHint("the others are stored; see these with: %s", in.seeRejects())
	}
	return nil
}

// judged are the rows that rejects are held against: of a panel its values.
func (in *importing) judged() int64 {
	if in.layout.layout == panel {
		return in.report.RowsRead * int64(len(in.layout.values))
	}
	return in.report.RowsRead
}

// first tells the first rejected row of the reason that weighs most: one that looks
// ahead, else the most frequent.
func (in *importing) first() string {
	reason := in.report.Reasons[0]
	for _, one := range in.report.Reasons {
		if one.Reason == knownLate.text(in) || one.Reason == notYet.text(in) {
			reason = one
			break
		}
	}
	if len(reason.Examples) == 0 {
		return reason.Reason
	}
	e := reason.Examples[0]
	return fmt.Sprintf("%s (%d; first row %d: %s %s, %s)", reason.Reason, reason.Rows, e.Row, e.Symbol, e.TS, e.Detail)
}

// digestHead is how much of a digest tells files apart: 48 bits.
const digestHead = len(durable.DigestPrefix) + 12

func (in *importing) seeRejects() string {
	return fmt.Sprintf("quant sql \"SELECT line, reason, row_text FROM rejects WHERE left(source_digest, %d) = %s\"", digestHead, sqltext.Literal(in.report.Digest[:digestHead]))
}

func (in *importing) refusal() error {
	r := &in.report
	return quant.Errorf(quant.Refused, "%s: %d of %d rows rejected (%.2f %%, allowed %.2f %%); %s; nothing was stored in %s",
		in.label(), r.RowsRejected, in.judged(), 100*float64(r.RowsRejected)/float64(max(1, in.judged())), 100*in.MaxRejectRatio, in.first(), in.Table()).
		WithHint("see them with: %s; mend the file, or allow more with --max-reject-ratio", in.seeRejects())
}

// stageRejects makes the table turned: the rejects that are not stored yet.
func (in *importing) stageRejects(ctx context.Context) error {
	var reason strings.Builder
	reason.WriteString("CASE fault")
	for f := sound + 1; f < faultCount; f++ {
		fmt.Fprintf(&reason, " WHEN %d THEN %s", f, sqltext.Literal(f.text(in)))
	}
	reason.WriteString(" END")
	if in.layout.layout == panel { // a row has values of many symbols
		reason.WriteString(" || coalesce(': ' || symbol, '')")
	}
	return in.stage(ctx, fmt.Sprintf(`CREATE TEMP TABLE %s AS SELECT r.* FROM (SELECT DISTINCT ON (line, reason) %s AS source_digest, line, %s AS reason, %s AS source,
			symbol, coalesce(CAST(ts AS VARCHAR), CAST(day AS VARCHAR)) AS ts, %s AS row_text, %s AS run_id
		FROM temp.main.%s WHERE fault NOT IN (0, %d) ORDER BY line, reason, name) r ANTI JOIN rejects USING (source_digest, line, reason)`,
		turned, sqltext.Literal(in.report.Digest), reason.String(), sqltext.Literal(in.masked(in.File)), in.detail(), sqltext.Literal(in.RunID), staged, repeats))
}

// stageKnown makes the table of the times at which rows were known, UTC, as known_times
// has them. A day alone stands for its close.
func (in *importing) stageKnown(ctx context.Context) error {
	if in.layout.known < 0 {
		return nil
	}
	at := fmt.Sprintf("CASE WHEN date_trunc('day', known) = known THEN known + to_microseconds(%d) ELSE known END", in.close.Microseconds())
	return in.stage(ctx, fmt.Sprintf("CREATE TEMP TABLE %s AS SELECT %s AS table_name, %s AS name, symbol, ts, timezone('UTC', timezone(%s, %s)) AS known_at FROM temp.main.%s",
		knownRows, sqltext.Literal(in.Table()), sqltext.Literal(in.Set), sqltext.Literal(in.zone), at, fresh))
}

// merge makes the set hold the values of fresh.
func (in *importing) merge(ctx context.Context, tx *factstore.Tx) error {
	r := &in.report
	var d factstore.StatedDelta
	var err error
	if in.Predictions {
		d, err = tx.MergeStatedPredictions(ctx, factstore.StatedMerge{Name: in.Set, Task: Task, Source: fresh, Names: in.names, Exact: in.Replace})
	} else {
		d, err = tx.MergeFeatures(ctx, factstore.StatedMerge{Name: in.Set, Source: fresh, Names: in.names, Exact: in.Replace})
	}
	if err != nil {
		return err
	}
	r.ValuesInserted, r.ValuesUpdated, r.ValuesUnchanged, r.ValuesDeleted, r.Revisions = d.Inserted, d.Updated, d.Unchanged, d.Deleted, d.Revisions
	if in.layout.known >= 0 {
		if _, err := tx.Merge(ctx, factstore.Merge{Table: factstore.KnownTimes, Source: knownRows}); err != nil {
			return err
		}
	}
	if d.Revisions == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, "SELECT symbol, ts, item, before, after FROM "+factstore.StatedRevisions+" WHERE replaced_at = CAST(? AS TIMESTAMP) AND before IS NOT NULL ORDER BY ts, symbol, item LIMIT 3", tx.Now)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var one Revision
		if err := rows.Scan(&one.Symbol, &one.TS, &one.Name, &one.Before, &one.After); err != nil {
			return err
		}
		r.Revised = append(r.Revised, one)
	}
	return rows.Err()
}
