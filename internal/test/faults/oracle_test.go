package faults

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"quant/internal/test/labtest"
)

// state is what a lab holds, read past every rule of quant.
type state struct {
	meta  map[string][]string // the rows of the Meta DB, by table
	facts map[string]string   // a digest of each fact table, without times and run ids
	files map[string]string   // digests of all files but the databases, by path
}

// isDatabase tells what is compared by its rows, not by its bytes.
var isDatabase = regexp.MustCompile(`^data/(meta\.db|quant\.duckdb)(-wal|-shm|-journal|\.wal|\.lock|\.live/.*|\.turn|\.reserve)?$`)

// stateOf reads a lab; a database that cannot be read is an error. What is not
// there has no rows.
func stateOf(t *testing.T, l *labtest.Lab) (state, error) {
	t.Helper()
	s := state{files: map[string]string{}}
	var err error
	if s.meta, err = metaRows(l.Meta()); err != nil {
		return s, fmt.Errorf("meta.db: %w", err)
	}
	if s.facts, err = factDigests(l.Facts()); err != nil {
		return s, fmt.Errorf("quant.duckdb: %w", err)
	}
	err = filepath.WalkDir(l.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(l.Dir, path)
		if err != nil || isDatabase.MatchString(name) {
			return err
		}
		b, err := os.ReadFile(path)
		s.files[name] = sumOf(b)
		return err
	})
	return s, err
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func metaRows(path string) (map[string][]string, error) {
	rows := map[string][]string{}
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return rows, nil
	}
	db, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=20000&mode=rw")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	found, err := text(db, "PRAGMA integrity_check")
	if err == nil && !slices.Equal(found, []string{"ok"}) {
		err = fmt.Errorf("integrity_check: %v", found)
	}
	if err != nil {
		return nil, err
	}
	if found, err = text(db, "PRAGMA foreign_key_check"); err != nil || len(found) > 0 {
		return nil, fmt.Errorf("foreign_key_check: %v %w", found, err)
	}
	tables, err := text(db, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose%' ORDER BY 1")
	for _, table := range tables {
		if rows[table], err = text(db, `SELECT * FROM "`+table+`" ORDER BY 1, 2`); err != nil {
			return nil, err
		}
	}
	return rows, err
}

func factDigests(path string) (map[string]string, error) {
	digests := map[string]string{}
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return digests, nil
	}
	db, err := sql.Open("duckdb", path+"?access_mode=READ_ONLY&threads=1")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	tables, err := text(db, `SELECT table_name FROM duckdb_tables() WHERE NOT temporary AND table_name NOT IN ('ledger', 'schema_version', 'fact_inputs') AND NOT regexp_matches(table_name, '`+labtest.StoredInCodes+`')
		UNION ALL SELECT view_name FROM duckdb_views() WHERE view_name IN ('predictions', 'targets', 'proposals', 'backtest_trades', 'backtest_positions')`)
	for _, table := range tables {
		columns, err := text(db, "SELECT '\"' || column_name || '\"' FROM duckdb_columns() WHERE table_name = '"+table+
			"' AND NOT (column_name IN ('run_id', 'by_run_id', 'run') OR column_name LIKE '%\\_at' ESCAPE '\\') ORDER BY column_index")
		if err != nil {
			return nil, err
		}
		digest, err := text(db, "SELECT count(*), bit_xor(hash(ROW("+strings.Join(columns, ", ")+"))), sum(hash(ROW("+strings.Join(columns, ", ")+")) % 1000003) FROM \""+table+"\"")
		if err != nil {
			return nil, err
		}
		digests[table] = digest[0]
	}
	return digests, err
}

// text is a line for each row of a query.
func text(db *sql.DB, query string) ([]string, error) {
	rows, err := db.QueryContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	cells, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range cells {
		into[i] = &cells[i]
	}
	var lines []string
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		words := make([]string, len(cells))
		for i, c := range cells {
			words[i] = fmt.Sprint(c)
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return lines, rows.Err()
}

// oracle knows what a lab held before a command, and what it holds after one that
// nothing disturbed.
type oracle struct {
	before, after state
	target        string // the file that the command makes outside the lab, "" for none
	resets        bool   // the facts of earlier runs are gone afterwards
	// swaps: the lab is the old one or the new one, nothing between.
	swaps bool
	// archived is what the new one holds at least.
	archived state
}

// judge returns every finding, none if all is well. r is how the command ended;
// repeated: it was run once more since.
func (o oracle) judge(t *testing.T, l *labtest.Lab, r labtest.Result, repeated bool) (findings []string) {
	t.Helper()
	note := func(format string, args ...any) { findings = append(findings, fmt.Sprintf(format, args...)) }
	now, err := stateOf(t, l)
	if err != nil {
		note("a database cannot be read: %v", err)
		return findings
	}
	o.kept(now, note)
	o.factsWhole(now, repeated, note)
	if o.resets && len(now.facts) == 0 && len(o.before.facts) > 0 {
		o.factsBackedUp(l, note)
	}
	o.statuses(l, r, note)
	contents(l, note)
	return findings
}

// kept: what stood before, and stands after the undisturbed command, stands now.
func (o oracle) kept(now state, note func(string, ...any)) {
	missing := func(want, unless state) (lost []string) {
		for table, rows := range want.meta {
			for _, row := range rows {
				if slices.Contains(unless.meta[table], row) && !slices.Contains(now.meta[table], row) {
					lost = append(lost, table+": "+row)
				}
			}
		}
		for file, digest := range want.files {
			if unless.files[file] == digest && now.files[file] != digest {
				lost = append(lost, file)
			}
		}
		return lost
	}
	if o.swaps {
		old, restored := missing(o.before, o.before), missing(o.archived, o.archived)
		if len(old) > 0 && len(restored) > 0 {
			note("neither the old lab nor the new one: of the old %d are lost (%s), of the new %d (%s)", len(old), old[0], len(restored), restored[0])
		}
		return
	}
	if lost := missing(o.before, o.after); len(lost) > 0 {
		note("lost: %d, such as %s", len(lost), lost[0])
	}
}

// factsWhole: each table holds what it held, or what it should.
func (o oracle) factsWhole(now state, repeated bool, note func(string, ...any)) {
	for table, digest := range now.facts {
		old, was := o.before.facts[table]
		if !was {
			old = digestOfNothing
		}
		if table == "fact_slices" || repeated && grows(table) {
			continue // of several tables: each commit adds its own
		}
		if digest != old && digest != o.after.facts[table] {
			note("%s holds neither its old rows nor its new ones: %s, was %s, would be %s", table, digest, old, o.after.facts[table])
		}
	}
	for table, digest := range o.before.facts {
		if _, there := now.facts[table]; !there && !o.resets && digest != digestOfNothing {
			if _, removed := o.after.facts[table]; removed {
				note("the table %s is gone", table)
			}
		}
	}
}

// grows tells of a table to which a repetition of a command adds.
func grows(table string) bool {
	return strings.HasPrefix(table, "backtest_") || table == "ohlcv_revisions" || table == "rejects"
}

// factsBackedUp: facts that a reset took away, and made no new place for yet,
// stand in its backup.
func (o oracle) factsBackedUp(l *labtest.Lab, note func(string, ...any)) {
	copies, err := filepath.Glob(l.Path("data", "backups", "*", "quant.duckdb"))
	labtest.Must(l.T, err)
	for _, path := range copies {
		if digests, err := factDigests(path); err == nil && maps.Equal(digests, o.before.facts) {
			return
		}
	}
	note("the facts are gone, and none of %d backups has them", len(copies))
}

const digestOfNothing = "0 <nil> <nil>"

// done: a command that said that it was done did all of it.
func (o oracle) done(t *testing.T, l *labtest.Lab, r labtest.Result) (findings []string) {
	t.Helper()
	now, err := stateOf(t, l)
	if err != nil {
		return []string{fmt.Sprintf("done, and a database cannot be read: %v", err)}
	}
	// exec lets its program go on where the disk does not take what it prints, and
	// notes with the run what was not kept.
	noted := len(now.meta["run_notes"]) > len(o.after.meta["run_notes"])
	for table, rows := range o.after.meta {
		if strings.Contains(r.Stderr, "this run is not recorded: ") {
			continue // one that reads says so
		}
		if table == "run_notes" && noted {
			continue
		}
		if len(now.meta[table]) != len(rows) {
			findings = append(findings, fmt.Sprintf("done, and %s has %d rows, not %d", table, len(now.meta[table]), len(rows)))
		}
	}
	for table, digest := range o.after.facts {
		if now.facts[table] != digest {
			findings = append(findings, fmt.Sprintf("done, and %s is another: %s, want %s", table, now.facts[table], digest))
		}
	}
	for name := range o.after.files {
		if noted && strings.HasPrefix(name, "data/meta.db.logs/") {
			continue
		}
		if !slices.ContainsFunc(slices.Collect(maps.Keys(now.files)), func(n string) bool { return shape(n) == shape(name) }) {
			findings = append(findings, fmt.Sprintf("done, and there is no %s", shape(name)))
		}
	}
	return findings
}

// statuses: no run is open, what a process said is recorded, and the ledger
// agrees with the record.
func (o oracle) statuses(l *labtest.Lab, r labtest.Result, note func(string, ...any)) {
	if _, err := os.Stat(l.Meta()); err != nil {
		return
	}
	ledger := map[string]bool{}
	if db, err := sql.Open("duckdb", l.Facts()+"?access_mode=READ_ONLY&threads=1"); err == nil {
		if lines, err := text(db, "SELECT DISTINCT run_id FROM ledger"); err == nil {
			for _, id := range lines {
				ledger[id] = true
			}
		}
		db.Close()
	}
	meta, err := sql.Open("sqlite3", "file:"+l.Meta()+"?_busy_timeout=20000&mode=rw")
	if err != nil {
		note("%v", err)
		return
	}
	defer meta.Close()
	rows, err := meta.Query(`SELECT r.run_id, r.kind, r.status, coalesce(r.error_text, ''), coalesce(p.exit_code, -1),
		EXISTS (SELECT 1 FROM run_io i WHERE i.run_id = r.run_id AND i.direction = 'out' AND i.kind = 'table' AND i.rows > 0)
			AND NOT EXISTS (SELECT 1 FROM run_imports m WHERE m.run_id = r.run_id)
		FROM runs r LEFT JOIN run_process p USING (run_id)`)
	if err != nil {
		note("the runs cannot be read: %v", err)
		return
	}
	defer rows.Close()
	status := map[string]string{}
	for rows.Next() {
		var id, kind, was, why string
		var exit int
		var wrote bool
		if err := rows.Scan(&id, &kind, &was, &why, &exit, &wrote); err != nil {
			note("%v", err)
			return
		}
		status[id] = was
		switch {
		case was == "RUNNING":
			note("run %s %s is still RUNNING", id, kind)
		case was == "SUCCESS" && wrote && !ledger[id] && !o.resets:
			note("run %s %s is a SUCCESS without its ledger rows", id, kind)
		case strings.HasSuffix(why, "no facts committed") && ledger[id]:
			note("run %s %s says %q, and the ledger has rows of it", id, kind, why)
		case strings.HasSuffix(why, "; facts committed") && !ledger[id] && !o.resets:
			note("run %s %s says %q, and the ledger has no row of it", id, kind, why)
		case was == "FAIL" && exit == 0 && kind != "exec":
			note("run %s %s is a FAIL with exit status 0", id, kind)
		}
	}
	if rows.Err() != nil {
		note("%v", rows.Err())
	}
	for _, m := range labtest.ClosingLine.FindAllStringSubmatch(r.Stderr, -1) {
		if status[m[1]] != m[3] {
			note("it said that run %s is %s, and it is %q", m[1], m[3], status[m[1]])
		}
		if last := m[2] == strings.ReplaceAll(strings.Join(strings.Fields(r.Line)[1:], "."), " ", "."); last && r.Code != labtest.Killed && (m[3] == "SUCCESS") != (r.Code == 0) {
			note("exit status %d of a %s", r.Code, m[3])
		}
	}
	for id := range ledger {
		if _, recorded := status[id]; !recorded {
			note("the ledger names run %s, which no record knows", id)
		}
	}
}

// contents: every artifact that a run has is there, and is what it was.
func contents(l *labtest.Lab, note func(string, ...any)) {
	if _, err := os.Stat(l.Meta()); err != nil {
		return
	}
	meta, err := sql.Open("sqlite3", "file:"+l.Meta()+"?_busy_timeout=20000&mode=rw")
	if err != nil {
		note("%v", err)
		return
	}
	defer meta.Close()
	digests, err := text(meta, "SELECT DISTINCT digest FROM run_artifacts")
	if err != nil && !strings.Contains(err.Error(), "no such table") {
		note("%v", err)
	}
	for _, digest := range digests {
		name := strings.TrimPrefix(digest, "sha256:")
		b, err := os.ReadFile(filepath.Join(l.Meta()+".artifacts", name[:2], name[2:]))
		if err != nil || sumOf(b) != name {
			note("the artifact %s is not what a run has: %v", digest, err)
		}
	}
}

// said: no process may end with a trace, in silence, or late.
func said(r labtest.Result) (findings []string) {
	for _, never := range []string{"goroutine ", "SIGSEGV", "SIGABRT", "panic:", "fatal error", "terminate called", "<nil>", "%!"} {
		if strings.Contains(r.Stderr, never) {
			findings = append(findings, fmt.Sprintf("%q on stderr", never))
		}
	}
	if r.Code > 0 && r.Code < 1000 && strings.TrimSpace(r.Stderr) == "" {
		findings = append(findings, "a failure without a word")
	}
	if r.Code > 1000 && r.Code != labtest.Killed {
		findings = append(findings, fmt.Sprintf("ended by signal %d", r.Code-1000))
	}
	if r.Took > bound {
		findings = append(findings, fmt.Sprintf("it took %v", r.Took))
	}
	return findings
}

// bound is how long a command may take on a lab as small as these.
const bound = 40 * time.Second

var changing = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|\d{8}T\d{6}(\.\d+)?Z(-[0-9a-f]{8})?|[0-9a-f]{62,64}|artifacts/[0-9a-f]{2}`)

// shape is a file's name without what differs from run to run.
func shape(name string) string { return changing.ReplaceAllString(name, "*") }

// leftBehind are files that an undisturbed lab does not have.
func (o oracle) leftBehind(t *testing.T, l *labtest.Lab) (findings []string) {
	t.Helper()
	known := map[string]bool{}
	for _, s := range []state{o.before, o.after, o.archived} {
		for name := range s.files {
			known[shape(name)] = true
		}
	}
	labtest.Must(t, filepath.WalkDir(l.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(l.Dir, path)
		if err != nil || isDatabase.MatchString(name) || known[shape(name)] || strings.Contains(name, ".broken-") || strings.Contains(name, ".before-restore-") ||
			strings.HasPrefix(name, "data/backups/") || strings.HasSuffix(name, ".lock") {
			return err
		}
		if strings.HasPrefix(name, "data/runs/") || strings.HasPrefix(name, "data/meta.db.logs/") || strings.HasPrefix(name, "data/models/") || strings.HasPrefix(name, "data/reports/") {
			if !strings.HasPrefix(filepath.Base(name), ".") {
				return err // of a run that is recorded; gc removes what nobody knows
			}
		}
		for making, made := range map[string]string{"data/meta.db.creating": l.Meta(), "data/quant.duckdb.new": l.Facts()} {
			if _, err := os.Stat(made); err != nil && strings.HasPrefix(name, making) {
				return nil // who makes it, begins by taking that away
			}
		}
		findings = append(findings, "left behind: "+name)
		return err
	}))
	return findings
}

// aged makes everything in the lab old enough for gc.
func aged(t *testing.T, l *labtest.Lab) {
	t.Helper()
	old := time.Now().Add(-3 * time.Hour)
	labtest.Must(t, filepath.WalkDir(l.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		return os.Chtimes(path, old, old)
	}))
}
