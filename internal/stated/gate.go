package stated

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/sqltext"
)

// fault is what is wrong with a row, the first that is.
type fault int

const (
	sound fault = iota
	symbolMissing
	symbolUnknown
	dayMissing
	dayUnreadable
	dayTimed
	noSession
	notYet
	knownMissing
	knownUnreadable
	knownLate
	nameMissing
	nameUnusable
	noNumber
	differs
	faultCount
	repeats fault = 99 // no fault: the same values stand earlier in the file
)

// text is the reason of a rejected row.
func (f fault) text(in *importing) string {
	switch f {
	case symbolMissing:
		return "symbol is missing"
	case symbolUnknown:
		return "symbol has no prices in the lab"
	case dayMissing:
		return "ts is missing"
	case dayUnreadable:
		return "ts is no date"
	case dayTimed:
		return "ts has a time of day"
	case noSession:
		return "ts is no session of " + in.Calendar.Name()
	case notYet:
		return "ts is after the last bar of the lab"
	case knownMissing:
		return "known_at is missing"
	case knownUnreadable:
		return "known_at is no time"
	case knownLate:
		return "look-ahead: known after the close of ts"
	case nameMissing:
		return "feature_name is missing"
	case nameUnusable:
		return "feature_name cannot name a feature"
	case noNumber:
		return "value is no number"
	case differs:
		return "stands more than once with different values"
	}
	return ""
}

// clock are the expressions for a time in a column: at the wall clock of the exchange,
// TIMESTAMP; and what holds where the column has a text that is none.
type clock struct{ at, unreadable string }

// offsetPattern is how the text of an instant ends.
const offsetPattern = `'[0-9]:[0-9]{2}(\.[0-9]+)? ?(Z|z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)$'`

// timeOf reads a column as a time. wall: the offset of an instant is left out, for its
// day is the one that it shows.
func (in *importing) timeOf(i int, zone string, wall bool) clock {
	c := rawColumn(i)
	finite := func(expr string) string { return "CASE WHEN isfinite(" + expr + ") THEN " + expr + " END" }
	switch in.columns[i].kind {
	case day:
		return clock{"CAST(" + finite(c) + " AS TIMESTAMP)", "false"}
	case moment:
		return clock{finite(c), "false"}
	case instant:
		return clock{finite("timezone(" + sqltext.Literal(zone) + ", " + c + ")"), "false"}
	case number: // 20240131
		at := "CASE WHEN " + c + " BETWEEN 19000101 AND 29991231 AND " + c + " = floor(" + c + ") THEN try_strptime(CAST(CAST(" + c + " AS BIGINT) AS VARCHAR), '%Y%m%d') END"
		return clock{at, c + " IS NOT NULL AND (" + at + ") IS NULL"}
	}
	t := "trim(" + c + ")"
	missing := "(" + t + " = '' OR lower(" + t + ") IN (" + sqltext.Literals(missingWords()) + "))"
	offset := "CAST(regexp_replace(" + t + `, ' ?(Z|z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)$', '') AS TIMESTAMP)`
	if !wall {
		offset = "timezone(" + sqltext.Literal(zone) + ", TRY_CAST(" + t + " AS TIMESTAMPTZ))"
	} else {
		offset = strings.Replace(offset, "CAST(", "TRY_CAST(", 1)
	}
	at := "CASE WHEN " + c + " IS NULL OR " + missing + " THEN NULL WHEN regexp_full_match(" + t + ", '[0-9]{8}') THEN try_strptime(" + t + ", '%Y%m%d') WHEN NOT regexp_matches(" + t + `, '^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}') THEN NULL WHEN regexp_matches(` + t + ", " + offsetPattern + ") THEN " + offset +
		" ELSE TRY_CAST(" + t + " AS TIMESTAMP) END"
	return clock{finite("(" + at + ")"), c + " IS NOT NULL AND NOT " + missing + " AND (" + at + ") IS NULL"}
}

// dayZone is the zone in which the instants of the day's column are midnights: the one
// that was said, the exchange's, or UTC.
func (in *importing) dayZone(ctx context.Context) (string, error) {
	zones := []string{in.zone, "UTC"}
	if in.Timezone != "" {
		zones = []string{in.Timezone}
	}
	if in.columns[in.layout.ts].kind != instant {
		return zones[0], nil
	}
	for _, zone := range zones {
		var timed bool
		at := in.timeOf(in.layout.ts, zone, true).at
		if err := in.db.QueryRow(ctx, "SELECT coalesce(bool_or(date_trunc('day', t) <> t), false) FROM (SELECT "+at+" AS t FROM temp.main."+raw+")").Scan(&timed); err != nil {
			return "", err
		}
		if !timed {
			return zone, nil
		}
	}
	return zones[0], nil
}

// valueOf reads a column as a number, and says where it is a text that is none.
func (in *importing) valueOf(i int) (value, none string) {
	c := rawColumn(i)
	if in.texts || in.columns[i].kind == number {
		return c, "false"
	}
	t := "trim(" + c + ")"
	value = "TRY_CAST(" + t + " AS DOUBLE)"
	return value, c + " IS NOT NULL AND " + t + " <> '' AND lower(" + t + ") NOT IN (" + sqltext.Literals(missingWords()) + ") AND " + value + " IS NULL"
}

func valueColumn(i int) string { return fmt.Sprintf("v%d", i) }

// gate stages the rows of the set, and says of each what is wrong with it.
func (in *importing) gate(ctx context.Context) error {
	a := in.layout
	zone, err := in.dayZone(ctx)
	if err != nil {
		return err
	}
	knownZone := in.zone
	if in.Timezone != "" {
		knownZone = in.Timezone
	}
	ts := in.timeOf(a.ts, zone, true)
	known, knownFaults := clock{"NULL::TIMESTAMP", "false"}, ""
	if a.known >= 0 {
		known = in.timeOf(a.known, in.zone, false)
		// A time without a zone is one of knownZone.
		if k := in.columns[a.known].kind; (k == moment || k == text) && knownZone != in.zone {
			known.at = "CASE WHEN date_trunc('day', " + known.at + ") = " + known.at + " THEN " + known.at + " ELSE timezone(" + sqltext.Literal(in.zone) + ", timezone(" + sqltext.Literal(knownZone) + ", " + known.at + ")) END"
		}
		knownFaults = fmt.Sprintf(" WHEN no_known THEN %d WHEN known IS NULL THEN %d WHEN known > day + to_microseconds(%d) THEN %d", knownUnreadable, knownMissing, in.close.Microseconds(), knownLate)
	}
	dayText, knownText := "CAST("+rawColumn(a.ts)+" AS VARCHAR)", "NULL"
	if a.known >= 0 {
		knownText = "CAST(" + rawColumn(a.known) + " AS VARCHAR)"
	}
	symbol, name := "''", "NULL::VARCHAR"
	if a.symbol >= 0 {
		symbol = "nullif(trim(" + rawColumn(a.symbol) + "), '')"
	}
	if a.name >= 0 {
		name = "nullif(trim(" + rawColumn(a.name) + "), '')"
	}
	columns := []string{"line", symbol + " AS symbol", ts.at + " AS day", "(" + ts.unreadable + ") AS no_day", known.at + " AS known", "(" + known.unreadable + ") AS no_known", name + " AS name", "CASE WHEN no_day THEN 'ts=' || " + dayText + " WHEN no_known THEN 'known_at=' || " + knownText + " END AS unread"}
	from := "temp.main." + raw
	var values []string // v0, v1 ...
	wrong := "NULL::VARCHAR"
	nameFaults := ""
	if a.layout == panel && in.texts {
		columns[1], columns[6] = "symbol", "name"
		columns = append(columns, "v0", wrongColumn)
		values = []string{"v0"}
	} else if a.layout == panel {
		var list []string
		for _, v := range a.values {
			value, none := in.valueOf(v.column)
			list = append(list, fmt.Sprintf("{'symbol': %s, 'name': %s, 'v': %s, 'wrong': CASE WHEN %s THEN %s END}", sqltext.Literal(v.symbol), sqltext.Literal(v.name), value, none, rawColumn(v.column)+"::VARCHAR"))
		}
		columns[1], columns[6] = "one.symbol AS symbol", "one.name AS name"
		from = "(SELECT *, unnest([" + strings.Join(list, ", ") + "]) AS one FROM " + from + ")"
		columns = append(columns, "one.v AS v0", "one.wrong AS wrong")
		values = []string{"v0"}
	} else {
		var wrongs []string
		for k, v := range a.values {
			value, none := in.valueOf(v.column)
			columns = append(columns, value+" AS "+valueColumn(k))
			values = append(values, valueColumn(k))
			if none != "false" {
				wrongs = append(wrongs, "CASE WHEN "+none+" THEN "+sqltext.Literal(in.columns[v.column].name+"=")+" || "+rawColumn(v.column)+" END")
			}
		}
		if in.texts {
			wrong = wrongColumn
		} else if len(wrongs) > 0 {
			wrong = "coalesce(" + strings.Join(append(wrongs, "NULL"), ", ") + ")"
		}
		columns = append(columns, wrong+" AS wrong")
		if a.name >= 0 {
			nameFaults = fmt.Sprintf(" WHEN name IS NULL THEN %d WHEN NOT regexp_full_match(name, '[A-Za-z][A-Za-z0-9_]{0,62}') THEN %d", nameMissing, nameUnusable)
		}
	}
	last, err := in.lastBar(ctx)
	if err != nil {
		return err
	}
	sessions := in.Calendar.Sessions(quant.Date(-25567), last)
	held, release, err := in.db.Hold(dates("session", sessions))
	if err != nil {
		return err
	}
	defer release()
	fault := fmt.Sprintf(`CASE WHEN symbol IS NULL THEN %d WHEN no_day THEN %d WHEN day IS NULL THEN %d WHEN date_trunc('day', day) <> day THEN %d
		WHEN symbol NOT IN (SELECT symbol FROM (SELECT DISTINCT symbol FROM ohlcv)) THEN %d WHEN CAST(day AS DATE) > DATE '%s' THEN %d WHEN CAST(day AS DATE) NOT IN (SELECT session FROM %s) THEN %d%s%s WHEN wrong IS NOT NULL THEN %d ELSE 0 END`,
		symbolMissing, dayUnreadable, dayMissing, dayTimed, symbolUnknown, last, notYet, held, noSession, knownFaults, nameFaults, noNumber)
	only := ""
	if a.layout == panel { // where there is nothing there is nothing to reject
		only = " WHERE v0 IS NOT NULL OR wrong IS NOT NULL"
	}
	query := func(from string) string {
		if r := in.Features; r != nil && a.name >= 0 {
			from = "(SELECT * FROM " + from + " WHERE trim(" + rawColumn(a.name) + ") IN (" + sqltext.Literals(r) + "))"
		}
		return "CREATE TEMP TABLE " + staged + " AS SELECT line, symbol, CASE WHEN fault NOT IN (" + fmt.Sprint(int(dayTimed)) + ") THEN CAST(day AS DATE) END AS ts, known, name, " + strings.Join(values, ", ") + ", coalesce(unread, wrong) AS wrong, fault::UTINYINT AS fault, day, length(concat(symbol, name)) AS size FROM (SELECT *, " + fault + " AS fault FROM (SELECT " +
			strings.Join(columns, ", ") + " FROM " + from + ")" + only + ")"
	}
	if in.texts {
		return in.gateCSV(ctx, query)
	}
	if _, err := in.db.Stage(ctx, query(from)); err != nil {
		return in.unreadable(ctx, in.report.Format, err)
	}
	return in.stage(ctx, "DROP TABLE temp.main."+raw)
}

// lastBar is the last day of which the lab has a bar.
func (in *importing) lastBar(ctx context.Context) (quant.Date, error) {
	var last quant.Date
	err := in.db.QueryRow(ctx, "SELECT max(ts) FROM ohlcv").Scan(&last)
	return last, err
}

// once finds keys that stand more than once: with the same values the first row counts,
// with different ones none.
func (in *importing) once(ctx context.Context) error {
	if in.layout.layout == panel {
		// A key is of a day and a column: its table is as long as the values.
		twice, err := in.daysOrColumnsTwice(ctx)
		if err != nil || !twice {
			return err
		}
	}
	key := "symbol, ts"
	if in.layout.layout != Wide {
		key += ", name"
	}
	hash := "hash(" + in.valueList() + ", known)"
	return in.stage(ctx,
		fmt.Sprintf("CREATE TEMP TABLE %s AS SELECT %s, min(line) AS first, min(%s) <> max(%[3]s) AS other FROM temp.main.%s WHERE fault = 0 GROUP BY %[2]s HAVING count(*) > 1", twice, key, hash, staged),
		fmt.Sprintf("UPDATE temp.main.%s AS s SET fault = CASE WHEN t.other THEN %d ELSE %d END FROM temp.main.%s t WHERE s.fault = 0 AND s.symbol = t.symbol AND s.ts = t.ts AND s.name IS NOT DISTINCT FROM %s AND (t.other OR s.line <> t.first)",
			staged, differs, repeats, twice, map[bool]string{true: "NULL", false: "t.name"}[in.layout.layout == Wide]))
}

// daysOrColumnsTwice reports whether a panel has a day on two rows, or a feature of a
// symbol in two columns.
func (in *importing) daysOrColumnsTwice(ctx context.Context) (bool, error) {
	seen := map[[2]string]bool{}
	for _, v := range in.layout.values {
		key := [2]string{strings.TrimSpace(v.symbol), v.name}
		if seen[key] {
			return true, nil
		}
		seen[key] = true
	}
	var days, rows int64
	err := in.db.QueryRow(ctx, "SELECT count(DISTINCT ts), count(*) FROM (SELECT DISTINCT line, ts FROM temp.main."+staged+" WHERE fault = 0)").Scan(&days, &rows)
	return days < rows, err
}

// valueList are the columns of staged that hold values.
func (in *importing) valueList() string {
	if in.layout.layout == panel {
		return "v0"
	}
	list := make([]string, len(in.layout.values))
	for i := range list {
		list[i] = valueColumn(i)
	}
	return strings.Join(list, ", ")
}

// maxExamples is how many rows of a reason are shown.
const maxExamples = 3

// count counts the rows that were turned away, and shows the first of each reason.
func (in *importing) count(ctx context.Context) error {
	r := &in.report
	rows, err := in.db.Query(ctx, "SELECT fault, count(*), count(DISTINCT line) FROM temp.main."+staged+" WHERE fault <> 0 GROUP BY fault ORDER BY 2 DESC, 1")
	if err != nil {
		return err
	}
	defer rows.Close()
	var faults []fault
	for rows.Next() {
		var f fault
		var n, lines int64
		if err := rows.Scan(&f, &n, &lines); err != nil {
			return err
		}
		if f == repeats {
			r.RowsCollapsed = n
			continue
		}
		if f == knownLate || f == notYet {
			r.LookedAhead += n
		}
		faults = append(faults, f)
		r.RowsRejected += n
		r.Reasons = append(r.Reasons, Reason{Reason: f.text(in), Rows: n, Examples: []Example{}})
	}
	if err := rows.Err(); err != nil {
		return err
	}
	rows.Close()
	for i, f := range faults {
		if err := in.examples(ctx, f, &r.Reasons[i]); err != nil {
			return err
		}
	}
	return nil
}

// detail is an expression for what a row holds.
func (in *importing) detail() string {
	parts := []string{}
	if in.layout.layout == Wide {
		for i, v := range in.layout.values[:min(len(in.layout.values), 20)] {
			parts = append(parts, sqltext.Literal(v.name+"=")+" || "+valueColumn(i))
		}
	} else {
		parts = append(parts, "coalesce(name, "+sqltext.Literal(in.Feature)+") || '=' || v0")
	}
	if in.layout.known >= 0 {
		parts = append(parts, "'known_at=' || strftime(known, '%Y-%m-%d %H:%M:%S')")
	}
	return "concat_ws(', ', " + strings.Join(append(parts, "wrong"), ", ") + ")"
}

func (in *importing) examples(ctx context.Context, f fault, reason *Reason) error {
	rows, err := in.db.Query(ctx, fmt.Sprintf("SELECT line, coalesce(symbol, ''), coalesce(CAST(ts AS VARCHAR), CAST(day AS VARCHAR), ''), %s FROM temp.main.%s WHERE fault = %d ORDER BY line, symbol LIMIT %d", in.detail(), staged, f, maxExamples))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var e Example
		var detail sql.NullString
		if err := rows.Scan(&e.Row, &e.Symbol, &e.TS, &detail); err != nil {
			return err
		}
		e.Symbol, e.Detail = quant.Text(quant.Clip(in.masked(string(e.Symbol)), 64)), quant.Clip(in.masked(detail.String), 200)
		reason.Examples = append(reason.Examples, e)
	}
	return rows.Err()
}

// gather makes the table fresh of the sound rows, and counts what they hold.
func (in *importing) gather(ctx context.Context) error {
	r := &in.report
	a := in.layout
	var selected []string
	if a.layout == Wide {
		for i, v := range a.values {
			in.names = append(in.names, v.name)
			selected = append(selected, fmt.Sprintf("CASE WHEN isfinite(%s) THEN %[1]s END AS %s", valueColumn(i), sqltext.Identifier(v.name)))
		}
	} else {
		if a.layout == Long && a.name < 0 {
			in.names = []string{in.Feature}
		} else if err := in.namesIn(ctx); err != nil {
			return err
		}
		for _, name := range in.names {
			of := "name = " + sqltext.Literal(name)
			if len(in.names) == 1 { // a key stands once
				selected = append(selected, "CASE WHEN isfinite(v0) THEN v0 END AS "+sqltext.Identifier(name))
				continue
			}
			selected = append(selected, fmt.Sprintf("max(v0) FILTER (%s AND isfinite(v0)) AS %s", of, sqltext.Identifier(name)))
		}
	}
	if len(in.names) == 0 {
		in.names = nil
		return nil // every row was turned away
	}
	group, known := "", "known"
	if a.layout != Wide && len(in.names) > 1 {
		group, known = " GROUP BY symbol, ts", "max(known) AS known"
	}
	some := make([]string, len(in.names))
	for i, name := range in.names {
		some[i] = sqltext.Identifier(name)
	}
	if err := in.stage(ctx, fmt.Sprintf("CREATE TEMP TABLE %s AS SELECT * FROM (SELECT symbol, ts, %s, %s FROM temp.main.%s WHERE fault = 0%s) WHERE coalesce(%s) IS NOT NULL ORDER BY symbol, ts",
		fresh, known, strings.Join(selected, ", "), staged, group, strings.Join(some, ", "))); err != nil {
		return err
	}
	missing, notFinite := make([]string, 0), make([]string, 0)
	for v := range strings.SplitSeq(in.valueList(), ", ") {
		missing, notFinite = append(missing, "count(*) FILTER ("+v+" IS NULL)"), append(notFinite, "count(*) FILTER (NOT isfinite("+v+"))")
	}
	if err := in.db.QueryRow(ctx, "SELECT "+strings.Join(missing, " + ")+", "+strings.Join(notFinite, " + ")+" FROM temp.main."+staged+" WHERE fault = 0").Scan(&r.ValuesMissing, &r.ValuesNotFinite); err != nil {
		return err
	}
	var first, last sql.NullString
	if err := in.db.QueryRow(ctx, "SELECT count(DISTINCT symbol), CAST(min(ts) AS VARCHAR), CAST(max(ts) AS VARCHAR) FROM temp.main."+fresh).Scan(&r.Symbols, &first, &last); err != nil {
		return err
	}
	r.FirstDate, r.LastDate = quant.Text(first.String), quant.Text(last.String)
	counts, targets := make([]int64, len(in.names)), make([]any, len(in.names))
	for i := range counts {
		some[i], targets[i] = "count("+some[i]+")", &counts[i]
	}
	if err := in.db.QueryRow(ctx, "SELECT "+strings.Join(some, ", ")+" FROM temp.main."+fresh).Scan(targets...); err != nil {
		return err
	}
	for i, name := range in.names {
		r.Features = append(r.Features, Feature{name, counts[i]})
	}
	return nil
}

// maxFeatures bounds how many features a file may name.
const maxFeatures = 1000

// namesIn finds the features that the sound rows name.
func (in *importing) namesIn(ctx context.Context) error {
	names, err := factstore.Values[string](ctx, in.db, "SELECT DISTINCT name FROM temp.main."+staged+" WHERE fault = 0 ORDER BY name")
	if err != nil {
		return err
	}
	folded := map[string]string{}
	for _, name := range names {
		if other, twice := folded[strings.ToLower(name)]; twice {
			return in.invalid("%s and %s are one name to a database", other, name).WithHint("rename one of the features")
		}
		folded[strings.ToLower(name)] = name
		if in.names = append(in.names, name); len(in.names) > maxFeatures {
			return in.invalid("has more than %d features", maxFeatures).WithHint("choose some: --features a,b; or is the column of the names another one?")
		}
	}
	return nil
}
