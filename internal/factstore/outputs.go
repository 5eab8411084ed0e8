package factstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"quant"
	"quant/internal/durable"
	"quant/internal/failpoint"
	"quant/internal/lab/place"
	"quant/internal/parallel"
	"quant/internal/sqltext"
)

// Staged outputs let several processes compute facts at once that one of them stores.
//
// A unit of work is a run of its own. It has the Fact DB open for reading, as others
// have, and writes what it computed as Parquet files into a folder of its run, or below
// its id in the bucket of a lake (StageOutputs); a manifest with the digest of each file comes last, so that a folder without one is
// what a killed unit left. The run of the unit records the manifest's digest and ends.
// Then one process, which has the Fact DB open for writing, takes in the outputs of
// several units in one transaction (TakeIn), in the order that it gives, which is not that
// in which they ended, and only those of runs that ended SUCCESS.

// manifestFile is the file that says what a folder of outputs holds.
const manifestFile = place.OutputsManifest

const (
	outputsVersion = 1
	// longestManifest bounds what is read of a file that anybody may have written.
	longestManifest = 256 << 20
	// dictionaryLimit bounds how many different values of a column DuckDB gathers, for each
	// row group of a staged file, to write each once. Its own bound is a fifth of the rows;
	// prices and weights reach it in vain, at a quarter to a third of the time of writing.
	dictionaryLimit = 4096
)

var (
	runFolder  = regexp.MustCompile(`^[0-9a-z][0-9a-z-]{3,63}$`)
	outputName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
)

// OutputFile is one relation of the outputs of a unit.
type OutputFile struct {
	Name   string `json:"name"` // of the unit's choice, such as the table that it is for
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"` // of the file
}

// Manifest says what a unit has staged.
type Manifest struct {
	Version int    `json:"version"`
	RunID   string `json:"run_id"` // of the unit
	// Fingerprint names what the unit was to do and on what: a unit of the same one
	// need not be done again.
	Fingerprint string       `json:"fingerprint"`
	Files       []OutputFile `json:"files"`
	// Parts and Texts are what the rows of WriteFacts have in codes: see coded.go.
	Parts []OutputPart    `json:"parts,omitempty"`
	Texts []string        `json:"texts,omitempty"`
	Note  json.RawMessage `json:"note,omitempty"` // what the unit says to who takes it in
}

// OutputPart is the rows of one run in the outputs for a table.
type OutputPart struct {
	Table string             `json:"table"`
	Of    string             `json:"of"` // what OutputsOf says of them
	Rows  int64              `json:"rows"`
	Same  map[string]*string `json:"same"` // the value of a column that all rows have; nil: NULL
}

// OutputsWriter writes the outputs of one unit. It is for one goroutine at a time.
type OutputsWriter struct {
	db       *DB
	to       staging
	dir      string // of this machine
	manifest Manifest
	texts    Names // of the manifest
}

// StageOutputs begins the outputs of the unit that is the run runID. quant.Conflict:
// it has begun some already. End them with Seal or Discard.
func (db *DB) StageOutputs(ctx context.Context, runID, fingerprint string) (*OutputsWriter, error) {
	if !runFolder.MatchString(runID) {
		return nil, quant.Errorf(quant.Invalid, "stage outputs: %q is no run id", runID)
	}
	to := db.staging()
	dir, err := to.begin(ctx, runID)
	if err != nil {
		return nil, err
	}
	return &OutputsWriter{db: db, to: to, dir: dir, manifest: Manifest{Version: outputsVersion, RunID: runID, Fingerprint: fingerprint, Files: []OutputFile{}}}, nil
}

// Write stages the rows of a query, in its order, under a name ([a-z0-9_]), and returns
// their number. quant.Invalid: the name is none, or was given before.
func (w *OutputsWriter) Write(ctx context.Context, name, query string) (int64, error) {
	if !outputName.MatchString(name) || slices.ContainsFunc(w.manifest.Files, func(f OutputFile) bool { return f.Name == name }) {
		return 0, quant.Errorf(quant.Invalid, "stage outputs: %q is no name, or stands there already", name)
	}
	ctx = w.db.within(ctx)
	if err := w.db.mustBe(ctx, "stage outputs", query, duckdb.STATEMENT_TYPE_SELECT); err != nil {
		return 0, err
	}
	path := filepath.Join(w.dir, outputFile(name))
	rows, err := w.db.affected(ctx, "COPY ("+query+") TO "+sqltext.Literal(path)+fmt.Sprintf(" (FORMAT parquet, COMPRESSION lz4_raw, DICTIONARY_SIZE_LIMIT %d)", dictionaryLimit))
	if err != nil {
		return 0, w.db.failure(ctx, "stage outputs of "+name, err)
	}
	failpoint.Hit("outputs.written")
	if err := os.Chmod(path, 0o600); err != nil {
		return 0, storeError(err, "stage outputs")
	}
	digest, size, err := durable.DigestFile(path)
	if err != nil {
		return 0, storeError(err, "stage outputs")
	}
	if err := w.to.put(ctx, w.manifest.RunID, outputFile(name)); err != nil {
		return 0, err
	}
	w.manifest.Files = append(w.manifest.Files, OutputFile{Name: name, Rows: rows, Bytes: size, Digest: digest})
	return rows, nil
}

// WriteColumns is Write of rows that Go holds.
func (w *OutputsWriter) WriteColumns(ctx context.Context, name string, columns ...Column) (int64, error) {
	relation, release, err := w.db.Hold(columns...)
	if err != nil {
		return 0, err
	}
	defer release()
	return w.Write(ctx, name, "SELECT * FROM "+relation)
}

// WriteFacts is WriteColumns of rows of a table of facts, for InsertOutputs: those of
// several runs, one after the other, which have the same columns and OutputsOf; of a run
// without rows nothing is left.
func (w *OutputsWriter) WriteFacts(ctx context.Context, table string, runs [][]Column) (int64, error) {
	c, coded := w.db.coded(table)
	var filled [][]Column
	for _, rows := range runs {
		if rows[0].rows() == 0 {
			continue
		}
		if coded {
			var err error
			if rows, err = w.inCodes(c, rows); err != nil {
				return 0, err
			}
		}
		filled = append(filled, rows)
	}
	if filled == nil {
		return 0, nil
	}
	return w.WriteColumns(ctx, table, joinColumns(filled)...)
}

func outputFile(name string) string { return name + ".parquet" }

// Seal writes the manifest, with what the unit says to who takes its outputs in, and
// returns its digest, which the unit's run records before it ends: only then the
// outputs are whole. All of it is durable when Seal returns.
func (w *OutputsWriter) Seal(ctx context.Context, note any) (digest string, err error) {
	w.manifest.Texts = w.texts.List
	if w.manifest.Note, err = json.Marshal(note); err != nil {
		return "", quant.Errorf(quant.Failed, "stage outputs: %w", err)
	}
	doc, err := json.Marshal(w.manifest)
	if err != nil {
		return "", quant.Errorf(quant.Failed, "stage outputs: %w", err)
	}
	failpoint.Hit("outputs.manifest.before")
	if err := w.to.seal(ctx, w.manifest.RunID, doc); err != nil {
		return "", err
	}
	failpoint.Hit("outputs.manifest.after")
	return durable.Digest(doc), nil
}

// Discard removes what was staged.
func (w *OutputsWriter) Discard() { w.to.discard(w.manifest.RunID) }

// Outputs are the outputs of one unit, whose files have been found to be those of its
// manifest.
type Outputs struct {
	Manifest
	from  staging
	paths map[string]string // of the files on this machine, by name
}

// OpenOutputs reads the outputs of the unit that is the run runID. digest is that of the
// manifest, as Seal returned it. They can be read as long as db is open. quant.NotFound:
// there are none, or they were never sealed. quant.Store: the manifest or a file is not
// what was staged.
func (db *DB) OpenOutputs(ctx context.Context, runID, digest string) (*Outputs, error) {
	if !runFolder.MatchString(runID) {
		return nil, quant.Errorf(quant.Invalid, "read outputs: %q is no run id", runID)
	}
	o := &Outputs{from: db.staging(), paths: map[string]string{}}
	where := o.from.shown(runID)
	changed := func(what string) error {
		return &quant.Error{Code: quant.Store, Err: ErrDamaged, Msg: "the outputs of run " + quant.ShortID(runID) + " in " + where + " are not those that it staged: " + what,
			Hint: "remove that folder, and run the command again: it does that part anew"}
	}
	doc, err := o.from.manifest(ctx, runID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, quant.Errorf(quant.NotFound, "run %s has no staged outputs in %s", quant.ShortID(runID), where).WithHint("run the command again: it does that part anew")
	}
	if err != nil {
		return nil, err
	}
	if durable.Digest(doc) != digest {
		return nil, changed(manifestFile + " has another digest")
	}
	if err := json.Unmarshal(doc, &o.Manifest); err != nil || o.Version != outputsVersion || o.RunID != runID {
		return nil, changed(manifestFile + " is not its manifest, or that of another version of quant")
	}
	for _, f := range o.Files {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !outputName.MatchString(f.Name) {
			return nil, changed(fmt.Sprintf("%q is no name", f.Name))
		}
		name := outputFile(f.Name)
		path, err := o.from.fetch(ctx, runID, name, f.Bytes)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		digest, size := "", int64(-1)
		if err == nil {
			if digest, size, err = durable.DigestFile(path); err != nil {
				return nil, storeError(err, "read outputs")
			}
		}
		switch {
		case size != f.Bytes:
			return nil, changed(name + " is missing, or of another size")
		case digest != f.Digest:
			return nil, changed(name + " has another digest")
		}
		o.paths[f.Name] = path
	}
	return o, nil
}

// OpenStanding is OpenOutputs of units, several at once, without those whose outputs
// nobody has any more: whoever did the same elsewhere has taken them in.
func (db *DB) OpenStanding(ctx context.Context, units []Unit) ([]*Outputs, error) {
	opened, errs := make([]*Outputs, len(units)), make([]error, len(units))
	err := parallel.Blocks(ctx, len(units), 1, func() func(lo, hi int) {
		return func(lo, _ int) { opened[lo], errs[lo] = db.OpenOutputs(ctx, units[lo].RunID, units[lo].Digest) }
	})
	if err != nil {
		return nil, err
	}
	var standing []*Outputs
	for i, o := range opened {
		switch {
		case quant.CodeOf(errs[i]) == quant.NotFound:
		case errs[i] != nil:
			return nil, errs[i]
		default:
			standing = append(standing, o)
		}
	}
	return standing, nil
}

// FindOutputs returns which runs have sealed outputs of these fingerprints, by
// fingerprint: whether a run ended SUCCESS, and with which digest, its record says.
// Outputs that cannot be read are passed over.
func (db *DB) FindOutputs(ctx context.Context, fingerprints []string) (map[string][]string, error) {
	at := db.staging()
	runIDs, err := at.sealed(ctx)
	if err != nil {
		return nil, err
	}
	found := map[string][]string{}
	for _, id := range runIDs {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var m Manifest
		doc, err := at.manifest(ctx, id)
		if err != nil || json.Unmarshal(doc, &m) != nil || m.RunID != id || !slices.Contains(fingerprints, m.Fingerprint) {
			continue
		}
		found[m.Fingerprint] = append(found[m.Fingerprint], id)
	}
	return found, nil
}

func readRegular(path string, most int64) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, fmt.Errorf("%s is not a file of at most %d bytes", path, most)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// Remove removes the outputs, once what they were staged for is stored.
func (o *Outputs) Remove() { o.from.remove(o.RunID) }

// File is the relation of a name.
func (o *Outputs) File(name string) (f OutputFile, ok bool) {
	i := slices.IndexFunc(o.Files, func(f OutputFile) bool { return f.Name == name })
	if i < 0 {
		return f, false
	}
	return o.Files[i], true
}

// OutputsRelation is what stands after FROM to read, in the order of the units and of
// their rows, what they staged under a name; "" where no unit has any rows there. The
// columns of one name must be of the same types in all of them.
func OutputsRelation(units []*Outputs, name string) string {
	var paths []string
	for _, o := range units {
		if f, ok := o.File(name); ok && f.Rows > 0 {
			paths = append(paths, sqltext.Literal(literalGlob(o.paths[name])))
		}
	}
	if paths == nil {
		return ""
	}
	return "read_parquet([" + strings.Join(paths, ", ") + "])"
}

// literalGlob makes a path a pattern that matches it alone.
func literalGlob(path string) string {
	return strings.NewReplacer("[", "[[]", "*", "[*]", "?", "[?]").Replace(path)
}

// Unit is one unit whose outputs are to be taken in.
type Unit struct {
	RunID  string
	Digest string // of its manifest, as its run recorded it
}

// TakeIn is the closing merge of units: it runs fn in one transaction of the runs
// writers, as WriteAll does, with what the units staged, in the order of outputs, as
// OpenOutputs has found it. Each must have ended SUCCESS, as succeeded says of run ids:
// else quant.Conflict. Then nothing is changed, and the outputs stay. fn stores what it reads through OutputsRelation by Tx.Merge and the like. Once
// that is committed, or was found to change nothing, the outputs are removed; a process
// that dies before leaves them, and taking them in again must change nothing: facts of
// fn are merged by keys, or under ids of runs that can begin once.
func (db *DB) TakeIn(ctx context.Context, outputs []*Outputs, succeeded func(ctx context.Context, runIDs []string) (map[string]bool, error),
	writers []string, fn func(ctx context.Context, txs []*Tx, outputs []*Outputs) error) ([]LedgerRow, error) {
	ids := make([]string, len(outputs))
	for i, o := range outputs {
		ids[i] = o.RunID
	}
	ended, err := succeeded(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if !ended[id] {
			return nil, quant.Errorf(quant.Conflict, "the outputs of run %s cannot be taken in: it did not end SUCCESS", quant.ShortID(id)).
				WithHint("`quant runs show %s` says how it ended; run the command again", quant.ShortID(id))
		}
	}
	rows, err := db.WriteAll(ctx, writers, func(ctx context.Context, txs []*Tx) error {
		failpoint.Hit("outputs.take.before")
		return fn(ctx, txs, outputs)
	})
	if err != nil {
		return nil, err
	}
	failpoint.Hit("outputs.take.after")
	for _, o := range outputs {
		o.Remove()
	}
	return rows, nil
}

// OutputsOf is the column of staged rows, beside those of their table, that tells whose
// they are where outputs of a unit are of several runs: see InsertOutputs.
const OutputsOf = "staged_of"

// InsertOutputs inserts into a table of facts what units have staged under its name,
// in one statement: for each of txs the rows of which OutputsOf says what of says of it.
// The run of txs is their run_id where the table has that column, and its time the
// table's stamp; both need not be staged. It counts the rows of each. Other rows stay out.
func InsertOutputs(ctx context.Context, db *DB, txs []*Tx, of []string, table string, outputs []*Outputs) error {
	relation := OutputsRelation(outputs, table)
	if relation == "" || len(txs) == 0 {
		return nil
	}
	if c, ok := db.coded(table); ok {
		return db.failed(ctx, "insert into "+table, insertCodedOutputs(ctx, db, txs, of, c, outputs))
	}
	t, _ := LookupTable(table)
	types, err := columns(ctx, db.conn, catalog)
	if err != nil {
		return db.failure(ctx, "list tables", err)
	}
	// Rows that Go held have times as microseconds.
	numbered, err := texts(ctx, db.conn, "SELECT column_name FROM (DESCRIBE SELECT * FROM "+relation+") WHERE column_type = 'BIGINT'")
	if err != nil {
		return db.failure(ctx, "read staged outputs of "+table, err)
	}
	counts, err := db.countOutputs(ctx, relation)
	if err != nil {
		return db.failure(ctx, "read staged outputs of "+table, err)
	}
	ids, stamps, numbers := make([]string, len(txs)), make([]int64, len(txs)), make([]int32, len(txs))
	var want int64
	for i, tx := range txs {
		ids[i], stamps[i], numbers[i] = tx.RunID, tx.Now.UnixMicro(), int32(i)
		want += counts[of[i]]
	}
	held, release, err := db.Hold(Column{Name: "quant_of", Texts: of, Numbers: numbers}, Column{Name: "quant_run", Texts: ids, Numbers: numbers}, Column{Name: "quant_stamp", Bigints: stamps})
	if err != nil {
		return err
	}
	defer release()
	var names, values []string
	for _, c := range types[table] {
		quoted := sqltext.Identifier(c.Name)
		names = append(names, quoted)
		switch {
		case c.Name == t.Stamp:
			values = append(values, "make_timestamp(w.quant_stamp)")
		case c.Type == "TIMESTAMP" && slices.Contains(numbered, c.Name):
			values = append(values, "make_timestamp(o."+quoted+")")
		case c.Name == "run_id":
			values = append(values, "w.quant_run")
		default:
			values = append(values, "o."+quoted)
		}
	}
	n, err := txs[0].change(ctx, "insert into", table, "INSERT INTO "+factTable(table)+" ("+strings.Join(names, ", ")+") SELECT "+strings.Join(values, ", ")+
		" FROM "+relation+" o JOIN "+held+" w ON o."+OutputsOf+" = w.quant_of")
	if err != nil {
		return db.failure(ctx, "insert into "+table, err)
	}
	if n != want {
		return quant.Errorf(quant.Failed, "insert into %s: %d rows were stored, and %d belong to the runs", table, n, want)
	}
	for i, tx := range txs {
		tx.count(table, counts[of[i]], 0, 0)
	}
	return nil
}

// countOutputs counts staged rows by whose they are.
func (db *DB) countOutputs(ctx context.Context, relation string) (map[string]int64, error) {
	rows, err := db.Query(ctx, "SELECT coalesce("+OutputsOf+", ''), count(*) FROM "+relation+" GROUP BY ALL")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	of := map[string]int64{}
	for rows.Next() {
		var id string
		var n int64
		if err := rows.Scan(&id, &n); err != nil {
			return nil, err
		}
		of[id] = n
	}
	return of, rows.Err()
}
