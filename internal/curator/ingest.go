package curator

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"quant"
	"quant/internal/curator/provider"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// Ingest reads the files, lets every row through the gate, and merges those
// that pass into ohlcv, all files in one transaction: everything or nothing.
// Rows that do not pass go into rejects, once a source digest, line and
// reason, however often a file is ingested.
//
// A stored row is replaced, and its source and ingested_at with it, when one
// of its prices or its volume is another; the name of the file alone changes
// nothing, so that a row's ingested_at always leads to the run that wrote its
// values. A file without a column for adjusted closes says nothing about them:
// its rows keep the stored ones, which then belong to the close that was stored
// with them, and a new row has none. Where the column is there, an empty cell
// removes what is stored.
//
// A symbol whose stored bars the input would leave on two scales, because a
// split or a dividend moved the input's and it lacks some that are stored, stays
// as it was and is named in Report.Left; otherScale and unseenScale have the rules. The others
// are taken.
//
// Errors: quant.NotFound, quant.Invalid or quant.Failed for a file that cannot
// be read or understood, and nothing is changed; quant.Refused when more than
// Request.MaxRejectRatio of the rows were rejected: then the rejects are
// committed, ohlcv is untouched, and the report is filled; quant.Partial when
// symbols stayed as they were: the others are committed. The end of ctx
// ends the ingest, and undoes it unless its commit has begun. The database
// must be open for writing, and is used by nobody else meanwhile.
func Ingest(ctx context.Context, db *factstore.DB, req Request) (Report, error) {
	p, err := req.plan()
	if err != nil {
		return Report{}, err
	}
	inputs, err := Inspect(req.Files)
	if err != nil {
		return Report{}, err
	}
	in := &ingest{plan: p, db: db, inputs: inputs, directFrom: directFrom, rememberFrom: rememberFrom}
	return in.do(ctx)
}

// do runs an ingest whose inputs are known.
func (in *ingest) do(ctx context.Context) (Report, error) {
	defer in.drop(context.WithoutCancel(ctx))
	if err := in.run(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, quant.Refused) && !errors.Is(err, quant.Partial) {
			err = quant.Errorf(quant.Failed, "ingest: %w", cause)
		}
		if le, ok := errors.AsType[*lineError](err); ok {
			err = le.err
		}
		return in.report, err
	}
	in.remember(ctx)
	return in.report, nil
}

// ingest is one call of Ingest.
type ingest struct {
	plan
	db     *factstore.DB
	inputs []Input
	done   int64 // bytes of the files before the present one
	texts  rejectTexts
	report Report

	telling sync.Mutex // held while Progress is told

	series *provider.Series // the one input, where it is no file
	of     string           // the symbol of series
	answer int64            // rows of the answer that series is the newest part of
	newest bool             // series is not the whole history, which can still be asked for

	// directFrom is the size from which a file is read directly beside stored bars;
	// below 0 none ever is.
	directFrom int64
	// rememberFrom is the size from which a file is remembered.
	rememberFrom int64

	sources   []string // of each input, as ohlcv has it
	counts    map[fault]int64
	sound     []soundRows      // of each input
	inPlace   string           // query for the rows of the one Parquet file that staged is a view of; "": staged is a table
	skipped   []bool           // inputs that say the same as another
	unpacked  []*os.File       // members of archives that DuckDB reads
	panels    []int            // inputs whose rows have bars of several symbols
	bars      map[string]int64 // how many sound rows there are of each symbol
	fromNames []string         // symbols that are the names of their files
	silent    []int            // inputs without a column for adjusted closes
}

func (in *ingest) run(ctx context.Context) error {
	if known, err := in.recall(ctx); known || err != nil {
		return err
	}
	in.drop(ctx)
	// The gate looks at every value, whatever bounds a Parquet file gives.
	if err := in.db.TrustBounds(ctx, false); err != nil {
		return err
	}
	if in.directFrom >= 0 && in.series == nil {
		try := &ingest{plan: in.plan, db: in.db, inputs: in.inputs, directFrom: in.directFrom}
		err := try.direct(ctx)
		if !errors.Is(err, errDoubt) || ctx.Err() != nil {
			in.report = try.report
			return err
		}
		try.drop(ctx)
		if err := in.db.TrustBounds(ctx, false); err != nil {
			return err
		}
	}
	in.report = newReport()
	in.noticeTwice()
	for _, i := range in.inputs {
		if i.leftOut != nil {
			in.notice("%s: no price files by their names, and left out: %s", clip(i.Path), quant.SomeOf(i.leftOut, 5))
		}
	}
	if err := stageAll(ctx, in.db, createStaged); err != nil {
		return err
	}
	for i := range in.inputs {
		if err := in.stage(ctx, i); err != nil {
			return err
		}
	}
	in.noticeNames()
	in.progress(len(in.inputs)-1, Checking, 0)
	if err := in.check(ctx); err != nil {
		return err
	}
	return in.store(ctx)
}

func (in *ingest) noticeTwice() {
	if files(in.inputs) < len(in.Files) {
		in.notice("a file was named more than once and is read once")
	}
}

func (in *ingest) notice(format string, args ...any) {
	in.report.Notices = append(in.report.Notices, fmt.Sprintf(format, args...))
}

func (in *ingest) progress(file int, stage Stage, read int64) {
	if in.Progress == nil {
		return
	}
	var total int64
	for _, i := range in.inputs {
		total += i.Size
	}
	// The reading goroutine may be told to stop and not yet be seen to have.
	in.telling.Lock()
	defer in.telling.Unlock()
	in.Progress(Progress{File: in.inputs[file].Path, Stage: stage, Done: in.done + read, Total: total})
}

// drop removes what an ingest leaves in the connection.
func (in *ingest) drop(ctx context.Context) {
	_ = in.db.TrustBounds(ctx, true)
	_, _ = in.db.Stage(ctx, "DROP VIEW IF EXISTS temp.main."+bars)
	// A table where a view was made of it may be undone with its transaction.
	_, _ = in.db.Stage(ctx, "DROP VIEW IF EXISTS temp.main."+staged)
	in.inPlace = ""
	for _, f := range in.unpacked {
		f.Close()
	}
	in.unpacked = nil
	for _, table := range []string{staged, repeated, texts, rejectRows, dates, days} {
		_, _ = in.db.Stage(ctx, "DROP TABLE IF EXISTS temp.main."+table)
	}
}

// stage reads one file into staged.
func (in *ingest) stage(ctx context.Context, i int) error {
	input := in.inputs[i]
	fr := FileReport{Path: input.fullPath(), Name: clip(input.Name), Format: input.formatName()}
	var cols columns
	var err error
	source := "file:" + fr.Name
	switch {
	case in.series != nil:
		source = input.Format
		fr.Digest, cols, err = in.stageSeries(ctx)
	case input.Format == parquetFormat:
		fr.Digest, cols, err = in.stageParquet(ctx, i)
	default:
		fr.Digest, cols, err = in.stageCSV(ctx, i)
	}
	if err != nil {
		return err
	}
	in.done += input.Size
	fr.IgnoredColumns = cols.ignored
	if cols.at[adjustedClose] < 0 {
		in.silent = append(in.silent, i)
	}
	if in.Symbol != "" && cols.at[symbol] >= 0 {
		if err := in.checkSymbol(ctx, i); err != nil {
			return err
		}
	}
	skip := false
	for j, other := range in.report.Files {
		// Without a symbol column the names of the files make the difference.
		if other.Digest == fr.Digest && (cols.at[symbol] >= 0 || in.Symbol != "" || in.inputs[j].symbolByName() == input.symbolByName()) && !in.skipped[j] {
			if _, err := in.db.Stage(ctx, fmt.Sprintf("DELETE FROM temp.main.%s WHERE file = %d", staged, i)); err != nil {
				return err
			}
			in.notice("%s is the same as %s and is read once", input.label(), in.inputs[j].label())
			skip = true
			break
		}
	}
	in.skipped = append(in.skipped, skip)
	in.sources = append(in.sources, source)
	in.report.Files = append(in.report.Files, fr)
	return nil
}

// symbolOf is the symbol of a file without a symbol column.
func (in *ingest) symbolOf(input Input) (string, error) {
	if in.Symbol != "" {
		return in.Symbol, nil
	}
	s := input.symbolByName()
	if err := quant.ValidateSymbol(s); err != nil {
		return "", quant.Errorf(quant.Invalid, "%s: has no symbol column, and its name is no symbol: %w", input.label(), err).
			WithHint("say whose prices they are: --symbol SYMBOL, or which column is the symbol: --map symbol=COLUMN")
	}
	in.fromNames = append(in.fromNames, s)
	return s, nil
}

// noticeNames tells which symbols were taken from the names of files, and which of
// these look like more than a symbol.
func (in *ingest) noticeNames() {
	names := in.fromNames
	if len(names) == 0 {
		return
	}
	quoted := func(list []string) string {
		var out []string
		for _, s := range list {
			out = append(out, "`"+clip(s)+"`")
		}
		return quant.SomeOf(out, 5)
	}
	if len(names) == 1 {
		in.notice("no symbol column; took %s from the file's name", quoted(names))
	} else {
		in.notice("no symbol column in %d files; took %s from the files' names", len(names), quoted(names))
	}
	var odd []string
	for _, s := range names {
		if moreThanSymbol(s) {
			odd = append(odd, s)
		}
	}
	if odd != nil {
		in.notice("%s looks like more than a symbol: if it is, say --symbol SYMBOL or rename the file, and remove what was stored", quoted(odd))
	}
}

func (in *ingest) stageCSV(ctx context.Context, i int) (string, columns, error) {
	file, err := openCSV(ctx, in.inputs[i], in.plan)
	if err != nil {
		return "", columns{}, err
	}
	defer file.file.Close()
	in.report.Notices = append(in.report.Notices, file.notices...)
	in.noticeShape(i, file.panels)
	name := ""
	if file.cols.at[symbol] < 0 {
		if name, err = in.symbolOf(in.inputs[i]); err != nil {
			return "", columns{}, err
		}
	}
	file.split.onCut = func() { in.progress(i, Reading, file.read()) }
	if err := register(in.db); err != nil {
		return "", file.cols, err
	}
	table := newCSVTable(file, i, &in.texts, nil)
	_, err = in.db.Stage(table.serve(ctx), in.stageSQL(i, table.rowsSQL(name)))
	table.close()
	if table.err != nil {
		return "", file.cols, file.readError(table.err)
	}
	if err != nil {
		return "", file.cols, in.stagingError(i, err)
	}
	if err := file.checkNumbers(); err != nil {
		return "", file.cols, err
	}
	digest, err := file.finish()
	return digest, file.cols, err
}

func (in *ingest) stageParquet(ctx context.Context, i int) (string, columns, error) {
	input := in.inputs[i]
	f, _, digest, err := input.whole(ctx, func(read int64) { in.progress(i, Reading, read) })
	if err != nil {
		return "", columns{}, err
	}
	if input.Member == "" && !input.packed {
		f.Close()
	} else {
		in.unpacked = append(in.unpacked, f) // until the rows are read
		input.unpacked = fmt.Sprintf("/dev/fd/%d", f.Fd())
	}
	query, cols, panels, err := in.parquetQuery(ctx, in.db, input)
	if err != nil {
		return "", cols, err
	}
	in.noticeShape(i, panels)
	if cols.at[symbol] < 0 {
		s, err := in.symbolOf(input)
		if err != nil {
			return "", cols, err
		}
		query = "SELECT *, " + sqltext.Literal(s) + " AS symbol FROM (" + query + ")"
	}
	if len(in.inputs) == 1 {
		// Its rows need not be copied unless one of them must be marked.
		return digest, cols, in.readInPlace(ctx, query)
	}
	if _, err := in.db.Stage(ctx, in.stageSQL(i, query)); err != nil {
		return "", cols, in.parquetError(ctx, input, err)
	}
	return digest, cols, in.stillSame(i)
}

// noticeShape says what was made of a header that is not a field a column.
func (in *ingest) noticeShape(i int, panels []panel) {
	if panels != nil {
		in.panels = append(in.panels, i)
		var names []string
		for _, one := range panels {
			names = append(names, one.symbol)
		}
		in.notice("%s: columns for %s: %s", in.inputs[i].label(), quant.Count(len(names), "symbol"), quant.SomeOf(names, 5))
	}
	if in.wide || in.CloseOnly {
		in.notice("%s: the close is taken for open, high and low, and 0 for a volume that is not there", in.inputs[i].label())
	}
}

// lineSQL is the number of a row within its file, of expressions for the file
// and the place of a row in staged.
func (in *ingest) lineSQL(file, place string) string {
	if in.panels == nil {
		return place
	}
	return fmt.Sprintf("CASE WHEN %s THEN %s %% %d ELSE %s END", in.isPanelSQL(file), place, panelLines, place)
}

func (in *ingest) isPanelSQL(file string) string {
	if in.panels == nil {
		return "false"
	}
	return file + " IN (" + strings.Trim(strings.ReplaceAll(fmt.Sprint(in.panels), " ", ", "), "[]") + ")"
}

// stillSame reports whether what DuckDB has read is what was hashed.
func (in *ingest) stillSame(i int) error {
	info, err := statFile(in.inputs[i].Path)
	if err != nil {
		return err
	}
	return in.inputs[i].same(info)
}

// readInPlace makes staged a view of a Parquet file, gate included.
func (in *ingest) readInPlace(ctx context.Context, query string) error {
	in.inPlace = query
	return stageAll(ctx, in.db, "DROP TABLE temp.main."+staged, "CREATE TEMP VIEW "+staged+" AS "+in.gatedSQL(0, query))
}

// settleInPlace is called once the rows of a file that is read in place have
// been counted: if all are sound the gate need not look at them again, and
// otherwise they are copied, so that they can be marked.
func (in *ingest) settleInPlace(ctx context.Context) error {
	if err := in.stillSame(0); err != nil {
		return err
	}
	if in.counts[sound] != in.report.RowsRead || in.report.RowsNoTrade > 0 {
		return in.materialise(ctx)
	}
	return stageAll(ctx, in.db, "CREATE OR REPLACE TEMP VIEW "+staged+" AS "+in.passedSQL(0, in.inPlace))
}

// materialise makes staged a table, so that its rows can be marked.
func (in *ingest) materialise(ctx context.Context) error {
	if in.inPlace == "" {
		return nil
	}
	query := in.inPlace
	in.inPlace = ""
	return stageAll(ctx, in.db, "DROP VIEW temp.main."+staged, createStaged, in.stageSQL(0, query))
}

func (in *ingest) stagingError(i int, err error) error {
	return quant.Errorf(quant.Failed, "%s: stage its rows: %w", in.inputs[i].label(), err)
}

// checkSymbol refuses a file whose symbol column says another symbol than
// Request.Symbol.
func (in *ingest) checkSymbol(ctx context.Context, i int) error {
	var line int64
	var other string
	err := in.db.QueryRow(ctx, fmt.Sprintf("SELECT line, symbol FROM temp.main.%s WHERE file = %d AND symbol <> ? ORDER BY line LIMIT 1", staged, i), in.Symbol).Scan(&line, &other)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return quant.Errorf(quant.Invalid, "%s: line %d: its symbol is %s, not %s", in.inputs[i].label(), line, clip(other), in.Symbol).
		WithHint("leave --symbol out: the file has a symbol column")
}

// check finds what only all rows together show, and fills the report.
func (in *ingest) check(ctx context.Context) error {
	if err := in.count(ctx); err != nil {
		if in.inPlace != "" {
			err = in.parquetError(ctx, in.inputs[0], err)
		}
		return err
	}
	if in.inPlace != "" {
		if err := in.settleInPlace(ctx); err != nil {
			return err
		}
	}
	if in.counts[blank] > 0 {
		if err := in.settleBlank(ctx); err != nil {
			return err
		}
	}
	widened, err := in.widenRounded(ctx)
	if err != nil {
		return err
	}
	if widened {
		if err := in.count(ctx); err != nil {
			return err
		}
	}
	doubtful, err := in.summarise(ctx)
	if err != nil {
		return err
	}
	invalid, err := in.rejectSymbols(ctx)
	if err != nil {
		return err
	}
	if invalid {
		if err := in.count(ctx); err != nil {
			return err
		}
		if doubtful, err = in.summarise(ctx); err != nil {
			return err
		}
	}
	if doubtful {
		some, err := in.findTwice(ctx)
		if err != nil {
			return err
		}
		if some {
			if err := in.count(ctx); err != nil {
				return err
			}
			if _, err := in.summarise(ctx); err != nil {
				return err
			}
		}
	}
	for i, f := range in.report.Files {
		if f.RowsRead == 0 && !in.skipped[i] {
			in.notice("%s has a header and no rows", in.inputs[i].label())
		}
	}
	if err := in.carryRatio(ctx); err != nil {
		return err
	}
	if err := in.noticeNoTrade(ctx); err != nil {
		return err
	}
	return in.listReasons(ctx)
}

// settleBlank decides what rows without volume are whose prices are empty. Where
// other days of the file were traded they are days without a trade. A file in
// which none was may only lack the columns, and such rows lack a price.
func (in *ingest) settleBlank(ctx context.Context) error {
	if err := in.materialise(ctx); err != nil {
		return err
	}
	const traded = "file IN (SELECT DISTINCT file FROM temp.main." + staged + " WHERE fault = 0 AND volume > 0)"
	for _, set := range []string{
		fmt.Sprintf("fault = CASE WHEN close > 0 THEN %d ELSE %d END, no_trade = coalesce(close > 0, false), open = close, high = close, low = close, volume = 0, adjusted_close = nullif(adjusted_close, 0) WHERE fault = %d AND %s",
			sound, untraded, blank, traded),
		fmt.Sprintf("fault = CASE WHEN open IS NULL THEN %d WHEN high IS NULL THEN %d WHEN low IS NULL THEN %d ELSE %d END WHERE fault = %d",
			missing.of(open), missing.of(high), missing.of(low), missing.of(closing), blank),
	} {
		if _, err := in.db.Stage(ctx, "UPDATE temp.main."+staged+" SET "+set); err != nil {
			return err
		}
	}
	return in.count(ctx)
}

// ratioStep is how far two ratios of adjusted close to close may be apart that are
// one: what rounding makes of them, and less than a dividend does.
const ratioStep = "1e-4"

// carryRatio gives the days without a trade that lack an adjusted close the one
// that the ratio of adjusted close to close of their neighbours says. One bar
// without it would put the whole symbol on the raw basis. The ratio is known where
// the traded bars before and behind a stretch have the same; and behind the last
// traded bar if its adjusted close is its close: nothing moved it since. Anywhere
// else a split or a dividend may lie between them, and the day stays without.
func (in *ingest) carryRatio(ctx context.Context) error {
	if in.report.RowsNoTrade == 0 {
		return nil
	}
	said := "true"
	if len(in.silent) > 0 {
		said = "file NOT IN (" + in.silentFiles() + ")"
	}
	_, err := in.db.Stage(ctx, `UPDATE temp.main.`+staged+` AS s SET adjusted_close = CASE WHEN s.close = k.close_before THEN k.adj_before ELSE s.close * (k.adj_before / k.close_before) END
		FROM (
			SELECT file, line, no_trade AND adjusted_close IS NULL AS lacks,
				last_value(close_of IGNORE NULLS) OVER before AS close_before, last_value(adj_of IGNORE NULLS) OVER before AS adj_before,
				first_value(close_of IGNORE NULLS) OVER behind AS close_behind, first_value(adj_of IGNORE NULLS) OVER behind AS adj_behind,
				last_value(without IGNORE NULLS) OVER before AS without_before, first_value(without IGNORE NULLS) OVER behind AS without_behind
			FROM (SELECT *, CASE WHEN NOT no_trade OR adjusted_close IS NOT NULL THEN adjusted_close IS NULL END AS without,
					CASE WHEN adjusted_close IS NOT NULL THEN close END AS close_of, adjusted_close AS adj_of
				FROM temp.main.`+staged+` WHERE fault = 0 AND `+said+` AND symbol IN (SELECT symbol FROM temp.main.`+staged+` WHERE fault = 0 AND no_trade AND adjusted_close IS NULL))
			WINDOW before AS (PARTITION BY symbol ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
				behind AS (PARTITION BY symbol ORDER BY ts ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)) k
		WHERE s.file = k.file AND s.line = k.line AND k.lacks AND NOT k.without_before
			AND CASE WHEN k.without_behind IS NOT NULL THEN NOT k.without_behind AND abs(k.adj_behind / k.close_behind / (k.adj_before / k.close_before) - 1) <= `+ratioStep+`
				ELSE k.adj_before = k.close_before END`)
	return err
}

// noticeNoTrade tells of the days without a trade.
func (in *ingest) noticeNoTrade(ctx context.Context) error {
	r := &in.report
	if r.RowsNoTrade > 0 {
		names, err := factstore.Values[string](ctx, in.db, "SELECT DISTINCT symbol FROM temp.main."+staged+" WHERE fault = 0 AND no_trade ORDER BY symbol")
		if err != nil {
			return err
		}
		moved, err := in.findMovedNoTrade(ctx)
		if err != nil {
			return err
		}
		in.notice("%s of %s without a trade (no volume; open, high and low 0 or empty) became bars at the close%s", quant.Count(int(r.RowsNoTrade), "day"), quant.SomeOf(names, 3), moved)
	}
	if r.RowsSkipped > 0 {
		examples, err := in.examples(ctx, untraded)
		if err != nil {
			return err
		}
		in.notice("%s without a price or a volume (first: %s line %d) became no bars", quant.Count(int(r.RowsSkipped), "row"), examples[0].File, examples[0].Line)
	}
	return nil
}

// findMovedNoTrade counts the days without a trade whose close is not that of the day
// before, in the input or stored, and names the first: nothing was traded at it. ""
// where there is none.
func (in *ingest) findMovedNoTrade(ctx context.Context) (string, error) {
	rows, err := in.db.Query(ctx, `
		WITH input AS (
			SELECT symbol, ts, close, no_trade, lag(ts) OVER w AS ts_before, lag(close) OVER w AS close_before
			FROM temp.main.`+staged+` s WHERE fault = 0 AND symbol IN (SELECT symbol FROM temp.main.`+staged+` WHERE fault = 0 AND no_trade)
			WINDOW w AS (PARTITION BY symbol ORDER BY ts)),
		quiet AS (SELECT * FROM input WHERE no_trade),
		joined AS (SELECT q.*, o.ts AS stored_before, o.close AS stored_close FROM quiet q ASOF LEFT JOIN (SELECT symbol, ts, close FROM ohlcv SEMI JOIN quiet USING (symbol)) o ON o.symbol = q.symbol AND q.ts > o.ts)
		SELECT symbol, ts, count(*) OVER () FROM joined
		WHERE close <> CASE WHEN ts_before IS NULL OR stored_before > ts_before THEN stored_close ELSE close_before END ORDER BY symbol, ts LIMIT 3`)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var first []string
	n := &in.report.RowsNoTradeMoved
	for rows.Next() {
		var name string
		var day quant.Date
		if err := rows.Scan(&name, &day, n); err != nil {
			return "", err
		}
		first = append(first, name+" "+day.String())
	}
	if err := rows.Err(); err != nil || *n == 0 {
		return "", err
	}
	more := ""
	if rest := *n - int64(len(first)); rest > 0 {
		more = fmt.Sprintf(" and %d more", rest)
	}
	return fmt.Sprintf("; of these, %d with another close than the day before: %s%s", *n, strings.Join(first, ", "), more), nil
}

// rejectSymbols rejects the rows whose symbol is none: those of Parquet files,
// for the others are checked where they are read.
func (in *ingest) rejectSymbols(ctx context.Context) (some bool, err error) {
	var invalid []any
	for _, s := range in.report.Symbols {
		if quant.ValidateSymbol(s) != nil {
			invalid = append(invalid, s)
		}
	}
	if invalid != nil {
		if err := in.materialise(ctx); err != nil {
			return false, err
		}
	}
	for part := range slices.Chunk(invalid, 1000) {
		if _, err := in.db.Stage(ctx, fmt.Sprintf("UPDATE temp.main.%s SET fault = %d WHERE fault = 0 AND symbol IN (%s)",
			staged, symbolInvalid, strings.TrimSuffix(strings.Repeat("?, ", len(part)), ", ")), part...); err != nil {
			return false, err
		}
	}
	return invalid != nil, nil
}

// placeSpan makes one number of a file's index and a line.
const placeSpan = "17592186044416::BIGINT" // 2^44

// findTwice settles the days that stand in the input more than once: of
// identical rows the first stays, differing ones are all rejected.
func (in *ingest) findTwice(ctx context.Context) (some bool, err error) {
	if err := in.materialise(ctx); err != nil {
		return false, err
	}
	// Each different set of values of such a day is a variant, known by its
	// first row. n is how many variants a day has, and other a row that says
	// something else.
	if _, err := in.db.Stage(ctx, `CREATE TEMP TABLE `+repeated+` AS
		WITH again AS (SELECT symbol, ts FROM temp.main.`+staged+` WHERE fault = 0 GROUP BY symbol, ts HAVING count(*) > 1),
		part AS (SELECT s.*, file * `+placeSpan+` + line AS place FROM temp.main.`+staged+` s SEMI JOIN again USING (symbol, ts) WHERE fault = 0),
		variant AS (SELECT symbol, ts, open, high, low, close, volume, adjusted_close, min(place) AS head FROM part GROUP BY ALL),
		days AS (SELECT symbol, ts, count(*) AS n, min(head, 2) AS heads FROM variant GROUP BY symbol, ts)
		SELECT part.file, part.line, n, part.place = head AS stays, CASE WHEN head = heads[1] THEN heads[2] ELSE heads[1] END AS other
		FROM part JOIN variant v ON part.symbol = v.symbol AND part.ts = v.ts AND part.open = v.open AND part.high = v.high AND part.low = v.low
			AND part.close = v.close AND part.volume = v.volume AND part.adjusted_close IS NOT DISTINCT FROM v.adjusted_close
		JOIN days d ON part.symbol = d.symbol AND part.ts = d.ts`); err != nil {
		return false, err
	}
	n, err := in.db.Stage(ctx, fmt.Sprintf(`UPDATE temp.main.%s AS s SET fault = CASE WHEN n > 1 THEN %d ELSE %d END
		FROM temp.main.%s t WHERE s.file = t.file AND s.line = t.line AND (n > 1 OR NOT stays)`, staged, differs, collapsed, repeated))
	return n > 0, err
}

// count counts the rows of each file by their fault.
func (in *ingest) count(ctx context.Context) error {
	r := &in.report
	r.RowsRead, r.RowsCollapsed, r.RowsRejected, r.RowsNoTrade, r.RowsNoTradeMoved, r.RowsSkipped = 0, 0, 0, 0, 0, 0
	for i := range r.Files {
		r.Files[i].RowsRead, r.Files[i].RowsRejected = 0, 0
	}
	in.counts = map[fault]int64{}
	in.sound = make([]soundRows, len(r.Files))
	rows, err := in.db.Query(ctx, `SELECT file, fault, count(*), coalesce(min(ts) - DATE '1970-01-01', 0), coalesce(max(ts) - DATE '1970-01-01', 0), approx_count_distinct(symbol), count(*) FILTER (no_trade)
		FROM temp.main.`+staged+" GROUP BY file, fault")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var file, k int
		var n, first, last, about, noTrade int64
		if err := rows.Scan(&file, &k, &n, &first, &last, &about, &noTrade); err != nil {
			return err
		}
		f := &r.Files[file]
		f.RowsRead += n
		r.RowsRead += n
		switch fault(k) {
		case sound:
			in.sound[file] = soundRows{about, first, last}
			r.RowsNoTrade += noTrade
		case collapsed:
			r.RowsCollapsed += n
		case untraded:
			r.RowsSkipped += n
		default:
			f.RowsRejected += n
			r.RowsRejected += n
		}
		in.counts[fault(k)] += n
	}
	return rows.Err()
}

// maxDayBits bounds the memory of the quick search for days that stand twice,
// in bits over all symbols.
const maxDayBits = 1 << 29

// summarise fills the report with the symbols and dates of the sound rows, and
// reports whether one of them may stand there twice.
func (in *ingest) summarise(ctx context.Context) (doubtful bool, err error) {
	r := &in.report
	r.Symbols, r.FirstDate, r.LastDate = []string{}, "", ""
	for i := range r.Files {
		f := &r.Files[i]
		f.Symbols, f.FirstDate, f.LastDate = 0, "", ""
	}
	spans := map[string][]fileSpan{}
	in.bars = map[string]int64{}
	for _, search := range daySearches(in.sound, maxDayBits) {
		twice, err := in.summariseFiles(ctx, search, spans)
		if err != nil {
			return false, err
		}
		doubtful = doubtful || twice
	}
	for name, list := range spans {
		r.Symbols = append(r.Symbols, name)
		doubtful = doubtful || overlap(list)
	}
	slices.Sort(r.Symbols)
	return doubtful, nil
}

// summariseFiles fills the report with what some files say, and adds the first and the
// last day of each of their symbols to spans. twice: a day of a symbol stands twice in a
// file, or was not looked for.
func (in *ingest) summariseFiles(ctx context.Context, search daySearch, spans map[string][]fileSpan) (twice bool, err error) {
	r := &in.report
	// A bit for each day of a symbol: no day stands twice if there are as many
	// bits as rows. This costs a fourth of grouping by day.
	days := "0"
	if search.bits {
		days = fmt.Sprintf("bit_count(bitstring_agg((ts - DATE '1970-01-01')::INTEGER, %d, %d))", search.first, search.last)
	}
	rows, err := in.db.Query(ctx, fmt.Sprintf("SELECT symbol, file, count(*), %s::BIGINT, min(ts), max(ts) FROM temp.main.%s WHERE %s AND file BETWEEN %d AND %d GROUP BY symbol, file",
		days, staged, given, search.from, search.to))
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var file int
		var n, days int64
		var from, to time.Time
		if err := rows.Scan(&name, &file, &n, &days, &from, &to); err != nil {
			return false, err
		}
		first, last := dateText(from), dateText(to)
		f := &r.Files[file]
		f.Symbols++
		f.FirstDate, f.LastDate = earlier(f.FirstDate, first), max(f.LastDate, last)
		r.FirstDate, r.LastDate = earlier(r.FirstDate, first), max(r.LastDate, last)
		twice = twice || days != n
		spans[name] = append(spans[name], fileSpan{quant.NewDate(from), quant.NewDate(to)})
		in.bars[name] += n
	}
	return twice, rows.Err()
}

// soundRows is what is known of the sound rows of a file: about how many symbols they are
// of, and their first and last day since 1970-01-01.
type soundRows struct{ about, first, last int64 }

// daySearch is a search for days that stand twice within each of the files from one to
// another; with a bit for each day from first to last, or none.
type daySearch struct {
	from, to    int
	first, last int64
	bits        bool
}

// daySearches divides the files into searches of neighbours that take so many bits at
// most. If one file alone takes more, there is one search without bits.
func daySearches(files []soundRows, most int64) []daySearch {
	list := []daySearch{}
	var about int64
	for i, f := range files {
		next := daySearch{from: i, to: i, first: f.first, last: f.last, bits: true}
		symbols := f.about
		if n := len(list) - 1; n >= 0 {
			with := list[n]
			with.to = i
			switch {
			case about == 0:
				with.first, with.last = f.first, f.last
			case f.about > 0:
				with.first, with.last = min(with.first, f.first), max(with.last, f.last)
			}
			if bitsOf(about+f.about, with) <= most {
				list[n], about = with, about+f.about
				continue
			}
		}
		if bitsOf(symbols, next) > most {
			return []daySearch{{to: len(files) - 1}}
		}
		list, about = append(list, next), symbols
	}
	return list
}

// bitsOf is how many bits a search takes that is over about so many symbols of files.
func bitsOf(about int64, s daySearch) int64 { return (about + about/4 + 1) * (s.last - s.first + 1) }

// fileSpan is the first and the last day of a symbol in a file.
type fileSpan struct{ first, last quant.Date }

// overlap reports whether two of the spans, which it sorts, have a day in common.
func overlap(list []fileSpan) bool {
	slices.SortFunc(list, func(a, b fileSpan) int { return cmp.Compare(a.first, b.first) })
	for i := 1; i < len(list); i++ {
		if list[i].first <= list[i-1].last {
			return true
		}
	}
	return false
}

func earlier(a, b quant.Text) quant.Text {
	if a == "" || b < a {
		return b
	}
	return a
}

func (in *ingest) listReasons(ctx context.Context) error {
	r := &in.report
	for k, n := range in.counts {
		if k.passes() {
			continue
		}
		examples, err := in.examples(ctx, k)
		if err != nil {
			return err
		}
		r.Reasons = append(r.Reasons, Reason{Reason: k.String(), Rows: n, Examples: examples})
	}
	slices.SortFunc(r.Reasons, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Reason, b.Reason))
	})
	return nil
}

func dateText(t time.Time) quant.Text { return quant.Text(t.Format(time.DateOnly)) }

func (in *ingest) examples(ctx context.Context, k fault) ([]Example, error) {
	query := fmt.Sprintf("SELECT file, %s, 0, 0 FROM temp.main.%s WHERE fault = %d ORDER BY file, line LIMIT 3", in.lineSQL("file", "line"), staged, k)
	if k == differs {
		query = "SELECT file, " + in.lineSQL("file", "line") + ", other // " + placeSpan + ", " + in.lineSQL("(other // "+placeSpan+")", "(other % "+placeSpan+")") + " FROM temp.main." + repeated + " WHERE n > 1 ORDER BY file, line LIMIT 3"
	}
	rows, err := in.db.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []Example{}
	for rows.Next() {
		var file, otherFile int
		var otherLine int64
		var e Example
		if err := rows.Scan(&file, &e.Line, &otherFile, &otherLine); err != nil {
			return nil, err
		}
		e.File, e.Reason = in.report.Files[file].Name, k.String()
		if k == differs {
			e.Reason = fmt.Sprint(differsFrom, otherLine)
			if otherFile != file {
				e.Reason += " of " + in.report.Files[otherFile].Name
			}
		}
		list = append(list, e)
	}
	return list, rows.Err()
}
