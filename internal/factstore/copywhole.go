package factstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/durable"
	"quant/internal/failpoint"
	"quant/internal/lab/place"
	"quant/internal/sqltext"
)

// Copying whole Fact DBs, whether in a file or on a lake: DuckDB attaches both, and each
// table is one statement.

// The names under which a database is attached beside the DB's own.
const (
	sourceCatalog = "source" // that is copied from, for reading
	targetCatalog = "target" // that is copied to
)

// Copied is what was copied of one table.
type Copied struct {
	Table  string `json:"table"`
	Rows   int64  `json:"rows"`
	Digest string `json:"digest"` // as DB.Digest makes it of all columns
}

// Held is a Fact DB that is attached for reading beside one that is open for writing. While
// it is, nobody changes it: a file is shut for writers, and of a lake one snapshot is read.
type Held struct {
	to      *DB
	catalog string
	onLake  bool
	shown   string
	release func()
	// Of a lake: its catalog, and the snapshot that is read.
	looking  *DB
	snapshot int64
}

// HoldBeside attaches a Fact DB for reading beside db, which is open for writing, waiting as from
// says. Errors are those of OpenRead. Release ends it.
func (db *DB) HoldBeside(ctx context.Context, from Options) (_ *Held, err error) {
	h := &Held{to: db, catalog: sourceCatalog, onLake: from.isLake(), release: func() {}}
	if db.readOnly || db.life != nil {
		return nil, quant.Errorf(quant.Failed, "copy into %s: it is open for reading only", db.path)
	}
	if h.onLake {
		err = h.attachLake(ctx, from)
	} else {
		err = h.attachFile(ctx, from)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.Release()
		}
	}()
	var version sql.NullInt64
	if err := db.conn.QueryRowContext(ctx, "SELECT max(version) FROM "+tableIn(h.catalog, schemaVersions)).Scan(&version); err != nil {
		return nil, damaged(ctx, h.shown, err)
	}
	needed := schemaVersion(h.onLake)
	switch {
	case version.Int64 > int64(needed):
		return nil, newer(h.shown, fmt.Sprintf("has schema version %d, this program knows %d", version.Int64, needed))
	case version.Int64 < int64(needed):
		return nil, &quant.Error{Code: quant.Store, Err: ErrOlder, Msg: fmt.Sprintf("fact db %s has schema version %d, this program needs %d", h.shown, version.Int64, needed),
			Hint: "bring it up to date with `quant init-db`"}
	}
	return h, nil
}

func (h *Held) attachLake(ctx context.Context, from Options) error {
	u, err := place.ParseLakeURL(from.URL)
	if err != nil {
		return quant.Errorf(quant.Usage, "facts URL: %w", err).WithHint("write it as %s", place.LakeURLForm)
	}
	db := h.to
	if db.lake == nil {
		if err := loadExtensions(ctx, db.conn, from.Extensions, lakeExtensions()...); err != nil {
			return err
		}
		if _, err := db.conn.ExecContext(ctx, filterHere); err != nil {
			return failure("set up the extension for PostgreSQL", err)
		}
	}
	looking := &DB{path: place.Place{FactsURL: from.URL}.ShownFacts(), o: from, readOnly: true, lake: &lake{url: u}}
	h.shown = looking.path
	found, err := looking.reachCatalog(ctx)
	if err != nil {
		return err
	}
	h.looking, h.snapshot = looking, found.snapshot
	files := &DB{path: looking.path, conn: db.conn, o: from, readOnly: true, lake: looking.lake}
	if _, err := files.openFiles(ctx, found); err != nil {
		return err
	}
	if _, err := db.conn.ExecContext(ctx, strings.Replace(attachStatement(u, true, false, found), " AS "+catalog+" (", " AS "+h.catalog+" (", 1)); err != nil {
		return refuseLake(errors.Join(ErrDamaged, err), "%s cannot be attached: %s", h.shown, masked(firstLine(err)))
	}
	return nil
}

func (h *Held) attachFile(ctx context.Context, from Options) error {
	path, err := resolve(from.Path)
	if err != nil {
		return err
	}
	h.shown, from.Path = path, path
	return whileHeld(ctx, from, func() error {
		before, err := inspect(path)
		if err != nil {
			return err
		}
		release, ok := acquire(before)
		if !ok {
			return &heldError{here: true}
		}
		_, err = h.to.conn.ExecContext(ctx, "ATTACH "+sqltext.Literal(path)+" AS "+h.catalog+" (TYPE duckdb, READ_ONLY)")
		if err != nil {
			release()
			return attachError(ctx, path, err)
		}
		if after, err := inspect(path); err != nil || after != before {
			h.release = release
			h.Release()
			h.release = func() {}
			return &heldError{}
		}
		h.release = release
		return nil
	})
}

// Release gives the source up.
func (h *Held) Release() {
	_, _ = h.to.conn.ExecContext(context.Background(), "DETACH "+h.catalog) // its engine ends with the DB
	h.release()
}

// Stands reports whether the source still stands as it is held: of a lake, whether nobody
// has committed since.
func (h *Held) Stands(ctx context.Context) (bool, error) {
	if h.looking == nil {
		return true, nil
	}
	return h.looking.isNewest(ctx, h.snapshot)
}

// Stands reports whether what db reads is still the newest state: nobody else can change a
// file meanwhile, and of a lake a snapshot is read.
func (db *DB) Stands(ctx context.Context) (bool, error) {
	if db.lake == nil || !db.readOnly {
		return true, nil
	}
	return db.isNewest(ctx, db.lake.snapshot)
}

// isNewest reports whether a snapshot of a lake is the newest.
func (db *DB) isNewest(ctx context.Context, snapshot int64) (bool, error) {
	looking := &DB{path: db.path, o: db.o, readOnly: true, lake: &lake{url: db.lake.url}}
	found, err := looking.reachCatalog(ctx)
	return found.snapshot == snapshot, err
}

// StoredTables are the tables that a copy takes over, with their rows: what is stored, not
// the views of it.
func (db *DB) StoredTables(ctx context.Context) ([]TableCount, error) {
	names, err := tablesIn(ctx, db.conn, catalog)
	if err != nil {
		return nil, db.failure(ctx, "list tables", err)
	}
	counts := make([]TableCount, len(names))
	for i, name := range names {
		counts[i].Table = name
		if err := db.conn.QueryRowContext(ctx, "SELECT count(*) FROM "+factTable(name)).Scan(&counts[i].Rows); err != nil {
			return nil, db.failure(ctx, "count rows", err)
		}
	}
	return counts, nil
}

// Copy copies every table of the source into the DB, which must be empty or hold a part of
// what the source does, in one transaction, fenced as one of the run: all of it or nothing.
// What was stored is read again, and its digests are compared, before it is committed. A
// DB that holds the same already is left as it is.
//
// Errors: Conflict for a DB that holds facts of others; else Store.
func (h *Held) Copy(ctx context.Context, runID string) (copied []Copied, err error) {
	db := h.to
	if err := begin(ctx, db.conn, "BEGIN"); err != nil {
		return nil, db.failure(ctx, "begin", err)
	}
	open := true
	defer func() {
		db.sets, db.setsKnown = nil, false
		if open {
			rollBack(ctx, db.conn)
		}
	}()
	want, err := digests(ctx, db.conn, h.catalog)
	if err != nil {
		return nil, db.failure(ctx, "read the source", err)
	}
	standing, err := db.partOf(ctx, h.catalog, want)
	if err != nil || standing {
		return want, err
	}
	if db.lake != nil {
		if err := db.passFence(ctx); err != nil {
			return nil, err
		}
	}
	err = copyTables(ctx, db.conn, h.catalog, catalog, h.onLake, db.lake != nil)
	if err != nil && quant.CodeOf(err) == quant.Failed {
		err = db.failure(ctx, "copy", err)
	}
	if err != nil {
		return nil, err
	}
	if err := sameAs(ctx, db.conn, catalog, want); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, quant.Errorf(quant.Failed, "copy facts: %w", context.Cause(ctx))
	}
	failpoint.Hit("fact.copy.before")
	commit := func() error {
		open = false
		if _, err := db.conn.ExecContext(context.WithoutCancel(ctx), "COMMIT"); err != nil {
			rollBack(ctx, db.conn)
			return db.failure(ctx, "commit", err)
		}
		return nil
	}
	if db.o.Fence == nil {
		err = commit()
	} else {
		err = db.o.Fence(context.WithoutCancel(ctx), []string{runID}, commit)
	}
	if err != nil {
		return nil, err
	}
	failpoint.Hit("fact.copy.after")
	if db.lake != nil {
		db.lake.fence++
	} else {
		_, _ = db.conn.ExecContext(context.WithoutCancel(ctx), "CHECKPOINT") // see makeSchema
	}
	return want, nil
}

// partOf reports whether the DB holds what the other catalog does, by its digests. Conflict:
// it holds what that does not.
func (db *DB) partOf(ctx context.Context, other string, want []Copied) (same bool, err error) {
	have, err := digests(ctx, db.conn, catalog)
	if err != nil {
		return false, db.failure(ctx, "read what stands there", err)
	}
	if slices.Equal(have, want) {
		return true, nil
	}
	rows := int64(0)
	for _, t := range have {
		rows += t.Rows
	}
	if rows == 0 {
		return false, nil
	}
	var own, foreign int64
	err = db.conn.QueryRowContext(ctx, "SELECT count(*), count(*) FILTER (NOT EXISTS (SELECT 1 FROM "+tableIn(other, Ledger)+" s WHERE s.run_id = t.run_id AND s.table_name = t.table_name AND s.committed_at = t.committed_at)) FROM "+
		factTable(Ledger)+" t").Scan(&own, &foreign)
	if err != nil {
		return false, db.failure(ctx, "read the ledger", err)
	}
	if own == 0 || foreign > 0 {
		return false, quant.Errorf(quant.Conflict, "%s holds facts already that are not of %s", db.path, "the source").WithHint("name an empty place")
	}
	return false, nil
}

// Backup of a lake: a file that holds the snapshot that db reads.
func (db *DB) copyToFile(ctx context.Context, dst string) (err error) {
	if _, err := os.Lstat(dst); err == nil {
		return quant.Errorf(quant.Conflict, "copy facts: %s exists already", dst).WithHint("choose another name")
	}
	building := dst + place.Building
	discard := func() {
		for _, suffix := range append(walSuffixes(), "") {
			_ = os.Remove(building + suffix)
		}
	}
	discard()
	defer func() {
		if err != nil {
			_, _ = db.conn.ExecContext(context.Background(), "DETACH "+targetCatalog)
			discard()
			if quant.CodeOf(err) == quant.Failed && ctx.Err() == nil {
				err = storeError(err, "copy the facts to %s", dst)
			}
		}
	}()
	if err := db.build(ctx, building); err != nil {
		return err
	}
	if err := os.Chmod(building, 0o600); err != nil {
		return err
	}
	if _, err := db.conn.ExecContext(ctx, "ATTACH "+sqltext.Literal(building)+" AS "+targetCatalog+" (TYPE duckdb)"); err != nil {
		return err
	}
	if err := begin(ctx, db.conn, "BEGIN"); err != nil {
		return err
	}
	if err := db.copyOut(ctx); err != nil {
		rollBack(ctx, db.conn)
		return err
	}
	if _, err := db.conn.ExecContext(ctx, "COMMIT"); err != nil {
		return err
	}
	if _, err := db.conn.ExecContext(ctx, "DETACH "+targetCatalog); err != nil {
		return err
	}
	if err := proveFile(ctx, building); err != nil {
		return err
	}
	return durable.Publish(building, dst)
}

func (db *DB) copyOut(ctx context.Context) error {
	want, err := digests(ctx, db.conn, catalog)
	if err != nil {
		return err
	}
	if err := copyTables(ctx, db.conn, catalog, targetCatalog, db.lake != nil, false); err != nil {
		return err
	}
	return sameAs(ctx, db.conn, targetCatalog, want)
}

// proveFile is reread with an engine of its own.
func proveFile(ctx context.Context, path string) error {
	engine, err := sql.Open("duckdb", dsn(Options{}, path+".tmp"))
	if err != nil {
		return err
	}
	defer engine.Close()
	conn, err := engine.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return reread(ctx, conn, path)
}

// tableIn names a table of a catalog.
func tableIn(catalog, name string) string { return catalog + ".main." + sqltext.Identifier(name) }

// tablesIn are the tables of a catalog that are copied: all but the one that says which
// schema it is. Of rows in codes it is the view that reads them, for only files have codes.
func tablesIn(ctx context.Context, conn *sql.Conn, catalog string) ([]string, error) {
	var views []string
	for _, c := range codedTables() {
		views = append(views, c.name)
	}
	of := "database_name = " + sqltext.Literal(catalog) + " AND schema_name = 'main'"
	return texts(ctx, conn, "SELECT table_name FROM duckdb_tables() WHERE "+of+" AND table_name NOT IN ("+sqltext.Literals(append(codedStorage(), schemaVersions))+
		") UNION ALL SELECT view_name FROM duckdb_views() WHERE "+of+" AND view_name IN ("+sqltext.Literals(views)+") ORDER BY ALL")
}

// digests are the numbers and digests of the rows of every table of a catalog, in the
// order of their names. Columns are taken in the order of their names, which does not
// depend on when they were added.
func digests(ctx context.Context, conn *sql.Conn, in string) ([]Copied, error) {
	names, err := tablesIn(ctx, conn, in)
	if err != nil {
		return nil, err
	}
	all, err := columns(ctx, conn, in)
	if err != nil {
		return nil, err
	}
	list := make([]Copied, 0, len(names))
	for _, name := range names {
		c := Copied{Table: name}
		if c.Rows, c.Digest, err = digest128(Row{row: conn.QueryRowContext(ctx, digestOf("SELECT "+columnsByName(all[name])+" FROM "+tableIn(in, name)))}); err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
		list = append(list, c)
	}
	return list, nil
}

func columnsByName(cols []column) string {
	names := make([]string, len(cols))
	for i, c := range cols {
		names[i] = sqltext.Identifier(c.Name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// sameAs is a Store error unless the tables of a catalog are these.
func sameAs(ctx context.Context, conn *sql.Conn, in string, want []Copied) error {
	have, err := digests(ctx, conn, in)
	if err != nil {
		return err
	}
	for i, w := range want {
		if i >= len(have) || have[i] != w {
			return quant.Errorf(quant.Store, "copy facts: table %s was stored otherwise than it was read", w.Table).WithHint("nothing was changed; `quant doctor` examines the source")
		}
	}
	if len(have) != len(want) {
		return quant.Errorf(quant.Store, "copy facts: the target has %s tables, the source %s", strconv.Itoa(len(have)), strconv.Itoa(len(want))).WithHint("name an empty place")
	}
	return nil
}

// copyTables replaces what the tables of a catalog hold by what those of another do, in the
// transaction that is open. Rows come from a file in their order, from a lake in that of
// their keys, so that equal facts lie alike.
func copyTables(ctx context.Context, conn *sql.Conn, from, to string, fromLake, toLake bool) error {
	exec := func(statement string) error {
		_, err := conn.ExecContext(ctx, statement)
		return err
	}
	names, err := tablesIn(ctx, conn, from)
	if err != nil {
		return err
	}
	standing, err := tablesIn(ctx, conn, to)
	if err != nil {
		return err
	}
	for _, name := range standing {
		if !slices.Contains(names, name) { // a set of features that is no more
			if err := exec("DROP TABLE " + tableIn(to, name)); err != nil {
				return err
			}
			continue
		}
		stored := []string{name}
		if c, ok := codedOf(name); ok && !toLake {
			stored = []string{c.codes(), c.other()}
		}
		for _, table := range stored {
			if err := exec("DELETE FROM " + tableIn(to, table)); err != nil {
				return err
			}
		}
	}
	if !toLake {
		if err := exec("DELETE FROM " + tableIn(to, CodedParts)); err != nil {
			return err
		}
	}
	sets, err := readSets(ctx, conn, tableIn(from, FeatureSets))
	if err != nil {
		return err
	}
	if len(sets) > 0 {
		var before string
		if err := conn.QueryRowContext(ctx, "SELECT current_database()").Scan(&before); err != nil {
			return err
		}
		if err := exec("USE " + to); err != nil {
			return err
		}
		made := exec(featureSchema(withSets(sets), toLake))
		if err := errors.Join(made, exec("USE "+sqltext.Identifier(before))); err != nil {
			return err
		}
	}
	there, err := columns(ctx, conn, to)
	if err != nil {
		return err
	}
	here, err := columns(ctx, conn, from)
	if err != nil {
		return err
	}
	for _, name := range names {
		if there[name] == nil || columnsByName(there[name]) != columnsByName(here[name]) {
			return quant.Errorf(quant.Store, "table %s has columns that this program does not know, or lacks some: %s", name, strings.Join(slices.Sorted(maps.Keys(differing(here[name], there[name]))), ", ")).
				WithHint("copy what you need of it to a file of its own")
		}
		order := ""
		if fromLake && has(here[name], "symbol") && has(here[name], "ts") {
			order = " ORDER BY symbol, ts"
		}
		into := name
		if c, ok := codedOf(name); ok && !toLake {
			into = c.other()
		}
		if err := exec("INSERT INTO " + tableIn(to, into) + " BY NAME SELECT * FROM " + tableIn(from, name) + order); err != nil {
			return fmt.Errorf("table %s: %w", name, err)
		}
	}
	return nil
}

// differing are the names of columns that only one of two tables has.
func differing(a, b []column) map[string]bool {
	names := map[string]bool{}
	for _, c := range a {
		if !has(b, c.Name) {
			names[c.Name] = true
		}
	}
	for _, c := range b {
		if !has(a, c.Name) {
			names[c.Name] = true
		}
	}
	return names
}
