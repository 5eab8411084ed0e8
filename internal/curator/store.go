package curator

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/failpoint"
	"quant/internal/sqltext"
)

// differsFrom begins the reason of a row whose day stands elsewhere with other
// values; the line follows, and the file if it is another: the reason is part of
// a reject's key, which a file's own name must not change.
const differsFrom = "differs from line "

// sourceColumn is the column of ohlcv that says where a bar comes from.
const sourceColumn = "source"

// store commits the rejects, and with them the bars unless there are too many
// rejects.
func (in *ingest) store(ctx context.Context) error {
	r := &in.report
	failpoint.Hit("ingest.staged")
	if r.RowsRejected > 0 {
		if err := in.stageRejects(ctx); err != nil {
			return err
		}
	}
	// A few new days are judged with the answer that they came in.
	judged := max(r.RowsRead, in.answer)
	refused := judged > 0 && float64(r.RowsRejected)/float64(judged) > in.MaxRejectRatio
	if !refused {
		if _, err := in.db.Stage(ctx, "CREATE TEMP VIEW "+bars+" AS SELECT symbol, ts, open, high, low, close, volume, adjusted_close, "+
			in.byFile(in.sources)+" AS source FROM temp.main."+staged+" WHERE fault = 0"); err != nil {
			return err
		}
		in.progress(len(in.inputs)-1, Storing, 0)
	}
	_, err := in.db.Write(ctx, in.RunID, func(ctx context.Context, tx *factstore.Tx) error {
		if r.RowsRejected > 0 {
			if _, err := tx.Merge(ctx, factstore.Merge{Table: factstore.Rejects, Source: rejectRows}); err != nil {
				return err
			}
		}
		if refused {
			return nil
		}
		return in.mergeBars(ctx, tx)
	})
	if err != nil {
		r.RowsInserted, r.RowsUpdated, r.RowsUnchanged, r.RowsRescaled, r.Revisions = 0, 0, 0, 0, 0
		r.RowsLeft, r.Left = 0, []Left{}
		return err
	}
	if refused {
		reason := r.Reasons[0]
		first := reason.Examples[0]
		return quant.Errorf(quant.Refused, "%d of %d rows rejected (%.2f %%, allowed %.2f %%); most often: %s (%d, first %s line %d); nothing was stored in ohlcv",
			r.RowsRejected, judged, 100*float64(r.RowsRejected)/float64(judged), 100*in.MaxRejectRatio, reason.Reason, reason.Rows, first.File, first.Line).
			WithHint("%s", in.refusalHint())
	}
	if len(r.Left) > 0 {
		return leftError(r.Left)
	}
	return nil
}

// digestHead is how much of a digest tells files apart: 48 bits.
const digestHead = len("sha256:") + 12

// refusalHint says how to see the rejects, and what to do. It asks for them by
// their files: a run only has those that no earlier one has.
func (in *ingest) refusalHint() string {
	r := &in.report
	var heads []string
	for _, f := range r.Files {
		if f.RowsRejected > 0 && len(heads) < 3 {
			heads = append(heads, sqltext.Literal(f.Digest[:digestHead]))
		}
	}
	hint := fmt.Sprintf("see them with: quant sql \"SELECT source, line, reason, row_text FROM rejects WHERE left(source_digest, %d) IN (%s)\"; mend the file, or allow more with --max-reject-ratio",
		digestHead, strings.Join(heads, ", "))
	if first := r.Reasons[0]; in.layout == nil && first.Reason == dateUnreadable.String() && 2*first.Rows > r.RowsRejected {
		hint = "say how the dates are written, for example --date-format %d-%b-%Y for 31-Jan-2020; " + hint
	}
	if in.fromNames != nil && r.Reasons[0].Reason == differs.String() {
		hint = "if the rows are of several instruments, say which column is the symbol: --map symbol=COLUMN; " + hint
	}
	return hint
}

// keepAdjusted gives the rows of files without a column for adjusted closes the
// stored ones.
func (in *ingest) keepAdjusted(ctx context.Context, tx *factstore.Tx) error {
	if len(in.silent) == 0 || len(in.report.Symbols) == 0 {
		return nil
	}
	within, args := in.reach()
	var some bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM ohlcv o WHERE o.adjusted_close IS NOT NULL AND "+within+")", args...).Scan(&some); err != nil || !some {
		return err
	}
	if err := in.materialise(ctx); err != nil {
		return err
	}
	_, err := tx.Stage(ctx, fmt.Sprintf(`UPDATE temp.main.%s AS s SET adjusted_close = o.adjusted_close FROM ohlcv o WHERE s.fault = 0 AND s.file IN (%s)
		AND s.symbol = o.symbol AND s.ts = o.ts AND o.adjusted_close IS NOT NULL`, staged, in.silentFiles()))
	return err
}

// silentFiles are the files without a column for adjusted closes, as a list.
func (in *ingest) silentFiles() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(in.silent), " ", ", "), "[]")
}

// reach is a condition that every stored row o fulfils that the bars may touch.
func (in *ingest) reach() (string, []any) {
	r := &in.report
	return "o.ts BETWEEN CAST(? AS DATE) AND CAST(? AS DATE) AND o.symbol BETWEEN ? AND ?",
		[]any{string(r.FirstDate), string(r.LastDate), r.Symbols[0], r.Symbols[len(r.Symbols)-1]}
}

func (in *ingest) mergeBars(ctx context.Context, tx *factstore.Tx) error {
	r := &in.report
	if err := in.keepAdjusted(ctx, tx); err != nil {
		return err
	}
	// A file of another name with the values that are stored brings nothing new.
	delta, err := tx.Merge(ctx, factstore.Merge{Table: factstore.OHLCV, Source: bars, Unique: true, Aside: []string{sourceColumn}, Review: func(ctx context.Context, diff string) (bool, error) {
		err := in.leave(ctx, tx, diff)
		return len(r.Left) > 0, err
	}})
	if err != nil {
		return err
	}
	if in.inPlace != "" {
		if err := in.stillSame(0); err != nil {
			return err
		}
	}
	r.RowsInserted, r.RowsUpdated, r.RowsUnchanged = delta.Inserted, delta.Updated, delta.Unchanged
	r.RowsRescaled, r.Revisions = delta.Rescaled, delta.Revisions
	if in.BeforeCommit != nil && len(r.Symbols) > 0 {
		if err := in.BeforeCommit(ctx, r.Symbols); err != nil {
			return err
		}
	}
	failpoint.Hit("ingest.merged")
	return nil
}

// byFile is an expression that gives each file's rows its text.
func (in *ingest) byFile(values []string) string {
	if len(values) == 1 {
		return sqltext.Literal(values[0])
	}
	var b strings.Builder
	b.WriteString("CASE file")
	for i, v := range values {
		fmt.Fprintf(&b, " WHEN %d THEN %s", i, sqltext.Literal(v))
	}
	b.WriteString(" END")
	return b.String()
}

// stageRejects makes the table rejectRows: the rejects that are not stored yet.
func (in *ingest) stageRejects(ctx context.Context) error {
	if err := in.loadTexts(ctx); err != nil {
		return err
	}
	digests, names := make([]string, len(in.report.Files)), make([]string, len(in.report.Files))
	for i, f := range in.report.Files {
		digests[i], names[i] = f.Digest, f.Name
	}
	var reason strings.Builder
	reason.WriteString("CASE fault")
	for k := sound + 1; k < faultCount; k++ {
		if k != differs && !k.passes() {
			fmt.Fprintf(&reason, " WHEN %d THEN %s", k, sqltext.Literal(k.String()))
		}
	}
	join, ref := "", ""
	if in.counts[differs] > 0 {
		ref = fmt.Sprintf(" WHEN %d THEN '%s' || (%s) || CASE WHEN other // %s = file THEN '' ELSE ' of ' || %s END", differs, differsFrom, in.lineSQL("(other // "+placeSpan+")", "(other % "+placeSpan+")"), placeSpan,
			strings.Replace(in.byFile(names), "CASE file", "CASE (other // "+placeSpan+")", 1))
		join = " LEFT JOIN temp.main." + repeated + " t USING (file, line)"
	}
	reason.WriteString(ref + " END")
	ofSymbol := "''" // a line with bars of several symbols may have several rejects
	if in.panels != nil {
		ofSymbol = "CASE WHEN " + in.isPanelSQL("file") + " AND symbol IS NOT NULL THEN ': ' || symbol ELSE '' END"
	}
	fields := make([]string, 0, int(fieldCount))
	for _, c := range []string{"symbol", "ts", "open", "high", "low", "close", "volume", "adjusted_close"} {
		fields = append(fields, "coalesce(CAST("+c+" AS VARCHAR), '')")
	}
	query := fmt.Sprintf(`CREATE TEMP TABLE %s AS SELECT r.* FROM (
			SELECT * FROM (
				SELECT %s AS source_digest, %s AS line, %s || %s AS reason, %s AS source,
					CASE WHEN x.text IS NULL THEN symbol END AS symbol, CASE WHEN x.text IS NULL THEN CAST(ts AS VARCHAR) END AS ts,
					coalesce(x.text, concat_ws(',', %s)) AS row_text, %s AS run_id
				FROM (SELECT * FROM temp.main.%s WHERE fault NOT IN (%s)) s%s LEFT JOIN temp.main.%s x USING (file, line))
			QUALIFY row_number() OVER (PARTITION BY source_digest, line, reason) = 1 -- goes to disk where it must, unlike DISTINCT ON
			ORDER BY source_digest, line, reason) r
		ANTI JOIN rejects USING (source_digest, line, reason)`,
		rejectRows, in.byFile(digests), in.lineSQL("file", "line"), reason.String(), ofSymbol, in.byFile(in.sources), strings.Join(fields, ", "), sqltext.Literal(in.RunID),
		staged, passing(), join, texts)
	_, err := in.db.Stage(ctx, query)
	return err
}

// loadTexts makes the table texts.
func (in *ingest) loadTexts(ctx context.Context) error {
	if _, err := in.db.Stage(ctx, "CREATE TEMP TABLE "+texts+" (file INTEGER, line BIGINT, text VARCHAR)"); err != nil {
		return err
	}
	return in.db.Append(ctx, texts, func(row func(...driver.Value) error) error {
		for _, t := range in.texts.rows {
			if err := row(int32(t.file), t.line, t.text); err != nil {
				return err
			}
		}
		return nil
	})
}
