package factstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quant"
	"quant/internal/durable"
	"quant/internal/lab/place"
	"quant/internal/nearby"
	"quant/internal/secret"
	"quant/internal/serverlink"
	"quant/internal/sqltext"
)

// Facts on DuckLake: the catalog is a PostgreSQL database, the rows are Parquet files in
// a folder, and DuckDB in this process reads and writes both.
//
// DuckLake keeps no keys: two transactions that insert the same key both commit. So one
// process writes at a time, as on a file. It holds an advisory lock of the catalog's
// database while the lake is open for writing, which makes others wait their turn.
// What makes it sound is the fence: a row with a number that every transaction raises,
// if it still is what this process knows. If the lock was lost (a link was cut, the
// process slept), the fence has moved, or its change conflicts with the other's, and
// nothing is committed.
//
// Readers take no lock. Each reads the snapshot that was the newest when it opened, as
// long as it is open.

const (
	fenceSchema = "quant"
	fenceTable  = "write_fence"
	// lockClass sets the locks of quant apart from other advisory locks.
	lockClass = 0x71756e74 // "qunt"

	lakeConnectTimeout = 10 * time.Second
)

// lake is what a DB on a lake has beside its engine.
type lake struct {
	url place.LakeURL
	pg  *pgx.Conn // its session holds the writers' lock where locked; nil for readers
	// locked: the lock is held for as long as the lake is open; else each COMMIT takes it.
	locked bool
	// fence is the number that the fence had after the last transaction of this DB.
	fence int64
	// snapshot is the one that is read, or of a writer the one that it found; of a reader
	// of the newest: 0.
	snapshot int64
	written  []int64 // the snapshots that were committed
	// id tells this lake from all others: see Snapshots.
	id string
	// folder is where the files are, as the catalog says.
	folder string
	// bucket is where units stage their outputs; nil: the files are in a folder, and it is
	// within.
	bucket *stagingBucket
	// keys are those with which the engine is let in to the bucket; nil: there is none, or
	// near asks it.
	keys *engineKeys
	// near serves the files to the engine from this machine's disk; nil: it asks the
	// bucket.
	near *nearby.Server
}

// backUpLake is what to do instead of copying the file of the facts.
const backUpLake = "back up the catalog with `pg_dump`, and after it the folder of the lake's files"

// masked is a text without the passwords in URLs and in the words of libpq.
func masked(text string) string { return new(secret.Masker).Text(text) }

func (o Options) isLake() bool { return o.URL != "" }

// errNotOnLake says of something done to a file that a lake has none.
func errNotOnLake(doing, instead string) error {
	return quant.Errorf(quant.Refused, "%s: the facts are on DuckLake, not in a file", doing).WithHint("%s", instead)
}

func openLake(ctx context.Context, o Options, readOnly bool) (_ *DB, err error) {
	u, err := place.ParseLakeURL(o.URL)
	if err != nil {
		return nil, quant.Errorf(quant.Usage, "facts URL: %w", err).WithHint("write it as %s", place.LakeURLForm)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	db := &DB{path: place.Place{FactsURL: o.URL}.ShownFacts(), o: o, readOnly: readOnly, made: &madeKnown{}, lake: &lake{url: u}, spill: filepath.Join(o.TempDir, "spill-"+strconv.Itoa(os.Getpid()))}
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	if err := os.MkdirAll(o.TempDir, 0o700); err != nil && !readOnly {
		return nil, storeError(err, "make the folder for temporary files")
	}
	// What needs no engine goes first: it is soon known to be missing.
	found, err := db.reachCatalog(ctx)
	if err != nil {
		return nil, err
	}
	if db.engine, err = sql.Open("duckdb", dsn(o, db.spill)); err != nil {
		return nil, quant.Errorf(quant.Failed, "start duckdb: %w", err)
	}
	if db.conn, err = db.engine.Conn(ctx); err != nil {
		return nil, failure("start duckdb", err)
	}
	if err := loadExtensions(ctx, db.conn, o.Extensions, lakeExtensions()...); err != nil {
		return nil, err
	}
	if err := db.attachLake(ctx, found); err != nil {
		return nil, err
	}
	if !o.Newest {
		db.lake.snapshot = found.snapshot
	}
	if err := db.ensureSchema(ctx); err != nil {
		return nil, err
	}
	if !readOnly {
		if err := db.conn.QueryRowContext(ctx, "SELECT writes, ("+currentSnapshot+") FROM "+fence()).Scan(&db.lake.fence, &db.lake.snapshot); err != nil {
			return nil, damaged(ctx, db.path, err)
		}
		removeSpills(o.TempDir)
	}
	return db, nil
}

// catalogState is what the catalog's database says before it is attached.
type catalogState struct {
	exists   bool
	snapshot int64  // the newest, or the one that was asked for
	folder   string // of the files
	id       string // of the lake
}

// reachCatalog connects to the catalog's database, for a writer waits for the lock, and
// looks for a catalog there. quant.Store: it cannot be reached, or has none and db only
// reads (ErrMissing). quant.Locked: another process writes.
func (db *DB) reachCatalog(ctx context.Context) (s catalogState, err error) {
	cfg, err := pgx.ParseConfig(db.lake.url.Catalog)
	if err != nil {
		return s, quant.Errorf(quant.Usage, "facts URL: %s", masked(firstLine(errors.Unwrap(err)))).WithHint("name the database as `psql` takes it")
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = lakeConnectTimeout
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = applicationName()
	}
	cfg.DialFunc = serverlink.Dialer().DialContext
	for name, value := range serverlink.Settings() {
		if _, set := cfg.RuntimeParams[name]; !set {
			cfg.RuntimeParams[name] = value
		}
	}
	pg, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		if ctx.Err() != nil {
			return s, quant.Errorf(quant.Failed, "open %s: %w", db.path, context.Cause(ctx))
		}
		return s, &quant.Error{Code: quant.Store, Err: err, Msg: "the catalog of " + db.path + " cannot be reached: " + reasonOf(err),
			Hint: "check that PostgreSQL runs and that this user may connect: `psql` with the same words"}
	}
	keep := false
	defer func() {
		if !keep {
			_ = pg.Close(context.WithoutCancel(ctx))
		}
	}()
	if !db.readOnly {
		keep, db.lake.pg = true, pg
		if err := db.mayWrite(ctx, pg); err != nil {
			return s, err
		}
		if !db.o.Late {
			if err := db.lockLake(ctx, pg); err != nil {
				return s, err
			}
			db.lake.locked = true
		}
	}
	schema := pgx.Identifier{db.lake.url.Schema}.Sanitize()
	err = pg.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", schema+".ducklake_snapshot").Scan(&s.exists)
	if err == nil && s.exists {
		var newest *int64
		if err = pg.QueryRow(ctx, "SELECT max(snapshot_id) FROM "+schema+".ducklake_snapshot").Scan(&newest); err == nil && newest != nil {
			s.snapshot = *newest
		}
		if err == nil {
			err = pg.QueryRow(ctx, "SELECT value FROM "+schema+".ducklake_metadata WHERE key = 'data_path'").Scan(&s.folder)
		}
		if err == nil {
			s.id, err = db.lakeID(ctx, pg)
		}
	}
	if err != nil {
		return s, db.cannotRead(err)
	}
	switch {
	case s.exists && db.lake.url.DataPath != "" && filepath.Clean(db.lake.url.DataPath) != filepath.Clean(s.folder):
		return s, quant.Errorf(quant.Usage, "the lake at %s has its files in %s, and the URL says %s", db.path, masked(s.folder), masked(db.lake.url.DataPath)).
			WithHint("leave data_path out of the URL, or name that folder")
	case s.exists:
		return s, db.findSnapshot(ctx, pg, &s)
	case db.o.Late && !db.lake.locked: // it is made by one
		db.o.Late = false
		_ = pg.Close(context.WithoutCancel(ctx))
		keep, db.lake.pg = false, nil
		return db.reachCatalog(ctx)
	case db.readOnly:
		return s, &quant.Error{Code: quant.Store, Err: ErrMissing, Msg: "no lake at " + db.path, Hint: "run `quant init-db`"}
	case db.lake.url.DataPath == "":
		return s, quant.Errorf(quant.Usage, "there is no lake at %s yet, and the URL does not say where its files are to lie", db.path).
			WithHint("add `?data_path=/FOLDER` or `?data_path=s3://BUCKET/PREFIX` to it")
	}
	return s, nil
}

// lakeID tells the lake from all others. DuckLake draws the UUID when it makes the lake,
// and keeps it with the catalog.
func (db *DB) lakeID(ctx context.Context, pg *pgx.Conn) (string, error) {
	var drawn string
	err := pg.QueryRow(ctx, "SELECT schema_uuid::text FROM "+db.metadata("ducklake_schema")+" WHERE schema_name = 'main' ORDER BY begin_snapshot LIMIT 1").Scan(&drawn)
	return durable.Digest([]byte(drawn)), err
}

// mayWrite refuses a role that has no right to write to a catalog that is there, before
// anything is computed or waited for.
func (db *DB) mayWrite(ctx context.Context, pg *pgx.Conn) error {
	var role string
	var may bool
	err := pg.QueryRow(ctx, "SELECT current_user, coalesce(has_table_privilege(to_regclass($1), 'INSERT'), true)", db.metadata("ducklake_snapshot")).Scan(&role, &may)
	if err != nil {
		return db.cannotRead(err)
	}
	if !may {
		return db.readOnlyRole(role, nil)
	}
	return nil
}

// readOnlyRole says that the role of the catalog, where it is known, lacks a right that
// writing needs.
func (db *DB) readOnlyRole(role string, cause error) error {
	if role != "" {
		role = " " + role
	}
	return &quant.Error{Code: quant.Store, Err: cause, Msg: "the role" + role + " may only read the lake at " + db.path,
		Hint: "write as the role that owns its tables (`options=-c%20role%3Dlake_writer` in the URL, where that is its name), or use a command that only reads"}
}

func (db *DB) cannotRead(err error) error {
	return &quant.Error{Code: quant.Store, Err: err, Msg: "the catalog of " + db.path + " cannot be read: " + reasonOf(err),
		Hint: "check that this user may read the tables of the catalog"}
}

// reasonOf is what PostgreSQL or the network says, in one line without secrets.
func reasonOf(err error) string {
	if e, is := errors.AsType[*pgconn.PgError](err); is {
		return masked(e.Message)
	}
	if e := errors.Unwrap(err); e != nil {
		err = e
	}
	return masked(firstLine(err))
}

// applicationName tells other processes who holds the lock.
func applicationName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("quant %d %.40s", os.Getpid(), host)
}

// lockNumber tells the lakes of one database apart.
func lockNumber(schema string) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(schema))
	return int32(h.Sum32() >> 1)
}

// lockLake waits for the writers' lock as Options say. PostgreSQL serves who waits in
// the order of their coming; a notice costs the place.
func (db *DB) lockLake(ctx context.Context, pg *pgx.Conn) error {
	number := lockNumber(db.lake.url.Schema)
	var got bool
	if err := pg.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, $2)", lockClass, number).Scan(&got); err != nil {
		return db.lockFailed(ctx, err)
	}
	for waited, step := time.Duration(0), noticeAfter; !got; step = noticeEvery {
		held := db.holderOfLock(ctx, pg, number)
		if waited >= db.o.Wait {
			return held.locked(db.path, waited)
		}
		if waited > 0 && db.o.Waiting != nil {
			db.o.Waiting(Wait{Path: db.path, PID: held.pid, Program: held.program, Waited: waited})
		}
		step = min(step, db.o.Wait-waited)
		waited += step
		if _, err := pg.Exec(ctx, "SET lock_timeout = "+strconv.FormatInt(max(1, step.Milliseconds()), 10)); err != nil {
			return db.lockFailed(ctx, err)
		}
		_, err := pg.Exec(ctx, "SELECT pg_advisory_lock($1, $2)", lockClass, number)
		if e, is := errors.AsType[*pgconn.PgError](err); is && e.Code == "55P03" {
			continue // lock_not_available
		}
		if err != nil {
			return db.lockFailed(ctx, err)
		}
		got = true
	}
	return nil
}

func (db *DB) lockFailed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return quant.Errorf(quant.Locked, "wait for %s: %w", db.path, context.Cause(ctx))
	}
	return &quant.Error{Code: quant.Store, Err: err, Msg: "lock " + db.path + ": " + reasonOf(err), Hint: "try again; connect to PostgreSQL itself, not to a pooler in transaction mode"}
}

// holderOfLock says who holds the lock, as far as that is known.
func (db *DB) holderOfLock(ctx context.Context, pg *pgx.Conn, number int32) *heldError {
	held := &heldError{}
	var name string
	err := pg.QueryRow(ctx, `SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.locktype = 'advisory' AND l.granted AND l.classid = $1::bigint::oid AND l.objid = $2::bigint::oid AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`, int64(lockClass), int64(number)).Scan(&name)
	if err != nil {
		return held
	}
	f := strings.Fields(name)
	if len(f) != 3 || f[0] != "quant" {
		held.program = name
		return held
	}
	host, _ := os.Hostname()
	if pid, err := strconv.Atoi(f[1]); err == nil && fmt.Sprintf("%.40s", host) == f[2] {
		held.pid = pid
	} else {
		held.program = "quant on " + f[2]
	}
	return held
}

// findSnapshot looks for the snapshot that Options ask for, if they do. NotFound: it is
// not kept.
func (db *DB) findSnapshot(ctx context.Context, pg *pgx.Conn, s *catalogState) error {
	if db.o.Snapshot == 0 {
		return nil
	}
	if db.o.SnapshotOf != "" && db.o.SnapshotOf != s.id {
		return quant.Errorf(quant.NotFound, "snapshot %d is of another lake than %s", db.o.Snapshot, db.path).
			WithHint("the run worked on that lake, before the lab was moved or its record was imported")
	}
	var kept bool
	newest := s.snapshot
	if err := pg.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM "+db.metadata("ducklake_snapshot")+" WHERE snapshot_id = $1)", db.o.Snapshot).Scan(&kept); err != nil {
		return db.failure(ctx, "look for the snapshot", err)
	}
	if !kept {
		return quant.Errorf(quant.NotFound, "%s keeps no snapshot %d; its newest is %d", db.path, db.o.Snapshot, newest).
			WithHint("snapshots that no run refers to may have been expired by `quant lab compact`")
	}
	s.snapshot = db.o.Snapshot
	return nil
}

// Reading is how another engine reads a lake.
type Reading struct {
	Statements []string // load the extensions, attach a snapshot for reading, make it the default; with what secrets the URL has
	Folder     string   // of the files
	Snapshot   int64
	Lake       string // which lake it is: see Snapshots
}

// LakeReading tells how another engine reads the newest snapshot of a lake, or the one
// that Options ask for. Errors are those of OpenRead; NotFound: the snapshot is not kept.
func LakeReading(ctx context.Context, o Options) (Reading, error) {
	u, err := place.ParseLakeURL(o.URL)
	if err != nil {
		return Reading{}, quant.Errorf(quant.Usage, "facts URL: %w", err).WithHint("write it as %s", place.LakeURLForm)
	}
	if err := CheckExtensions(o.Extensions); err != nil {
		return Reading{}, err
	}
	db := &DB{path: place.Place{FactsURL: o.URL}.ShownFacts(), o: o, readOnly: true, lake: &lake{url: u}}
	found, err := db.reachCatalog(ctx)
	if err != nil {
		return Reading{}, err
	}
	var statements []string
	for _, e := range lakeExtensions() {
		file, err := filepath.Abs(e.file(o.Extensions))
		if err != nil {
			return Reading{}, storeError(err, "find the extension %s", e)
		}
		statements = append(statements, "LOAD "+sqltext.Literal(file))
	}
	at, in, err := s3Files(u, o.Cloud, found)
	if err != nil {
		return Reading{}, err
	}
	if in {
		if err := checkExtensions(o.Extensions, HTTPFS); err != nil {
			return Reading{}, err
		}
		file, err := filepath.Abs(HTTPFS.file(o.Extensions))
		if err != nil {
			return Reading{}, storeError(err, "find the extension %s", HTTPFS)
		}
		let, err := s3Statements(ctx, o, at)
		if err != nil {
			return Reading{}, err
		}
		statements = append(append(statements, "LOAD "+sqltext.Literal(file)), let...)
	}
	return Reading{
		Statements: append(statements, filterHere, attachStatement(u, true, false, found), "USE "+catalog),
		Folder:     found.folder, Snapshot: found.snapshot, Lake: found.id,
	}, nil
}

// filterHere keeps the catalog's database from comparing texts, which it does by rules of
// its own.
const filterHere = "SET pg_experimental_filter_pushdown = false"

// attachStatement attaches a lake under the catalog's name.
func attachStatement(u place.LakeURL, readOnly, newest bool, found catalogState) string {
	options := []string{"METADATA_SCHEMA " + sqltext.Literal(u.Schema), "CREATE_IF_NOT_EXISTS " + strconv.FormatBool(!found.exists)}
	if u.DataPath != "" && !found.exists { // the catalog keeps it
		options = append(options, "DATA_PATH "+sqltext.Literal(strings.TrimSuffix(u.DataPath, "/")+"/"))
	}
	if readOnly {
		options = append(options, "READ_ONLY")
		if !newest { // the newest when it was opened, or the one that was asked for
			options = append(options, "SNAPSHOT_VERSION "+strconv.FormatInt(found.snapshot, 10))
		}
	}
	return "ATTACH " + sqltext.Literal("ducklake:postgres:"+serverlink.Libpq(u.Catalog)) + " AS " + catalog + " (" + strings.Join(options, ", ") + ")"
}

// attachLake attaches the lake under the catalog's name, made where there is none.
func (db *DB) attachLake(ctx context.Context, found catalogState) error {
	u := db.lake.url
	inBucket, err := db.openFiles(ctx, found)
	if err != nil {
		return err
	}
	if !found.exists && !inBucket {
		if err := durable.MakeFolder(u.DataPath); err != nil {
			return storeError(err, "make the folder of the lake's files")
		}
	}
	if _, err := db.conn.ExecContext(ctx, filterHere); err != nil {
		return failure("set up the extension for PostgreSQL", err)
	}
	_, err = db.conn.ExecContext(ctx, attachStatement(u, db.readOnly, db.o.Newest, found))
	if err == nil {
		db.created, db.lake.id, db.lake.folder = !found.exists, found.id, cmp.Or(found.folder, u.DataPath)
		if db.created {
			db.lake.id, err = db.lakeID(ctx, db.lake.pg)
		}
		return db.failed(ctx, "read the catalog", err)
	}
	if ctx.Err() != nil {
		return quant.Errorf(quant.Failed, "open %s: %w", db.path, context.Cause(ctx))
	}
	if told := db.told(err); quant.CodeOf(told) == quant.Store {
		return told
	}
	return refuseLake(errors.Join(ErrDamaged, err), "%s cannot be attached: %s", db.path, masked(firstLine(err)))
}

func refuseLake(kind error, format string, args ...any) error {
	return &quant.Error{Code: quant.Store, Err: kind, Msg: fmt.Sprintf(format, args...), Hint: "`quant doctor` examines it"}
}

func fence() string { return catalog + "." + fenceSchema + "." + fenceTable }

// fenceSchemaSQL is what a lake has beside the schema of every Fact DB.
func fenceSchemaSQL() string {
	return "CREATE SCHEMA IF NOT EXISTS " + fenceSchema + ";\n" +
		"CREATE TABLE IF NOT EXISTS " + fenceSchema + "." + fenceTable + " (writes BIGINT NOT NULL);\n" +
		"INSERT INTO " + fenceSchema + "." + fenceTable + " SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM " + fenceSchema + "." + fenceTable + ");\n"
}

// passFence is the first statement of a transaction on a lake: it raises the fence if
// that stands where this DB left it. quant.Conflict: another process has written since.
func (db *DB) passFence(ctx context.Context) error {
	n, err := db.affected(ctx, "UPDATE "+fence()+" SET writes = writes + 1 WHERE writes = ?", db.lake.fence)
	if err != nil {
		return db.failure(ctx, "begin", err)
	}
	if n != 1 {
		return db.overtaken()
	}
	return nil
}

// ErrOvertaken is what the error of a transaction on a lake wraps that another process
// came before: it committed nothing.
var ErrOvertaken = errors.New("another process has written")

// overtaken says that another process wrote since this one began: while it held the
// lock, as it thought, or before it asked for it.
func (db *DB) overtaken() error {
	lost, hint := ", whose lock was lost", "run the command again; check the connection to PostgreSQL"
	if db.o.Late {
		lost, hint = "", "run the command again"
	}
	return &quant.Error{Code: quant.Conflict, Err: ErrOvertaken, Hint: hint,
		Msg: fmt.Sprintf("%s: another process has written since this one began%s; nothing was committed", db.path, lost)}
}

// takeTurn takes the writers' lock for the COMMIT of a transaction that began without
// it, and fails as overtaken where the lake has changed since. begun is the snapshot
// that the transaction reads.
func (db *DB) takeTurn(ctx context.Context, begun int64) (release func(), err error) {
	if db.lake.locked {
		return func() {}, nil
	}
	if err := db.lockLake(ctx, db.lake.pg); err != nil {
		return nil, err
	}
	release = func() {
		// Where it fails the session has ended, and the lock with it.
		_, _ = db.lake.pg.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1, $2)", lockClass, lockNumber(db.lake.url.Schema))
	}
	var newest int64
	err = db.lake.pg.QueryRow(ctx, "SELECT max(snapshot_id) FROM "+db.metadata("ducklake_snapshot")).Scan(&newest)
	if err == nil && newest != begun {
		err = db.overtaken()
	}
	if err != nil {
		release()
		return nil, db.told(err)
	}
	return release, nil
}

// currentSnapshot is the query for the snapshot that the connection reads.
const currentSnapshot = "SELECT id FROM ducklake_current_snapshot('" + catalog + "')"

// conflicts reports whether a COMMIT failed because of another's.
func conflicts(err error) bool {
	text := err.Error()
	return strings.Contains(text, "Transaction conflict") || strings.Contains(text, "conflict")
}

// closeLake gives up the writers' lock, and ends the session that has it. The lock goes
// first: a server ends a session some time after its client has gone, and the command
// that is typed next would find it held.
func (l *lake) closeLake() {
	if l == nil || l.pg == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, _ = l.pg.Exec(ctx, "SELECT pg_advisory_unlock_all()") // what fails here ends with the session
	_ = l.pg.Close(ctx)
	l.pg = nil
}
