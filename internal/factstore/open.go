package factstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the driver

	"quant"
	"quant/internal/durable"
	"quant/internal/failpoint"
	"quant/internal/lab/place"
	"quant/internal/sqltext"
)

// catalog is the name under which the file is attached to a DuckDB that is
// itself in memory. Attaching takes any path, where the driver's data source
// names break on '?' and '%', and leaves a read-only file with TEMP tables.
const catalog = "fact"

const (
	noticeAfter    = 200 * time.Millisecond
	noticeEvery    = 5 * time.Second
	firstBackOff   = 10 * time.Millisecond
	longestBackOff = 250 * time.Millisecond
)

// DB is one open Fact DB with one connection, so that TEMP tables made by Stage
// are seen by every later call. It reads, and stages rows in TEMP tables; facts
// change within Write alone. It is for one goroutine at a time; only Close
// and State may be called from others.
type DB struct {
	path     string
	o        Options
	readOnly bool
	created  bool
	upgraded bool
	engine   *sql.DB
	conn     *sql.Conn
	release  func()     // gives the file back to this process
	held     []*os.File // closed after the engine, never before: see fileID
	spill    string

	mu      sync.Mutex
	state   Commit
	writing bool
	closed  bool

	sets      []FeatureSet // what FeatureSets answers, where setsKnown
	setsKnown bool
	reshaped  bool // within Write: the schema has changed

	made *madeKnown      // to the engine, for all its connections
	life context.Context // of a DB that Beside returned: its end interrupts what runs; nil: none

	lake *lake // nil: the facts are in a file
}

// madeKnown is what Go has made known to an engine.
type madeKnown struct {
	mu        sync.Mutex
	functions []string // what RegisterTable has made known
	columns   heldColumns
}

// OpenRead opens the Fact DB for reading. quant.Store: there is none, or it
// is damaged, foreign, newer than the program, or older (init-db brings it up
// to date); quant.Locked: another process writes, still after Options.Wait, or
// this one has it open. The file is left as it is. The end of ctx ends the
// wait.
func OpenRead(ctx context.Context, o Options) (*DB, error) { return open(ctx, o, true) }

// OpenWrite opens the Fact DB for writing, makes it if there is none, and
// brings an older schema up to date. Errors are those of OpenRead; a file that
// is refused is left as it is.
func OpenWrite(ctx context.Context, o Options) (*DB, error) { return open(ctx, o, false) }

func open(ctx context.Context, o Options, readOnly bool) (_ *DB, err error) {
	if o.isLake() {
		return openLake(ctx, o, readOnly)
	}
	path, err := resolve(o.Path)
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.TempDir == "" {
		o.TempDir = path + ".tmp"
	}
	db := &DB{path: path, o: o, readOnly: readOnly, made: &madeKnown{}, spill: filepath.Join(o.TempDir, "spill-"+strconv.Itoa(os.Getpid()))}
	if readOnly {
		// Before an engine is started for nothing.
		if _, err := inspect(path); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(db.o.TempDir, 0o700); err != nil && !readOnly && makeFolder(filepath.Dir(path)) == nil {
		return nil, storeError(err, "make the folder for temporary files of fact db %s", path)
	}
	db.engine, err = sql.Open("duckdb", dsn(o, db.spill))
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "start duckdb: %w", err)
	}
	defer func() {
		if err != nil {
			db.Close()
		}
	}()
	if db.conn, err = db.engine.Conn(ctx); err != nil {
		return nil, failure("start duckdb", err)
	}
	waiting := o
	waiting.Path = path
	wait := writing
	if readOnly {
		wait = whileHeld
	}
	if err = wait(ctx, waiting, func() error { return db.attach(ctx) }); err != nil {
		return nil, err
	}
	return db, nil
}

// unsoundOptimizers are rewritings of queries that DuckDB 1.5.5 gets wrong where texts of
// ours use what they rewrite: the first row of each group by a key that may be NULL.
// They were mended after it.
const unsoundOptimizers = "top_n_window_elimination"

// dsn is the data source name of an engine in memory. Extensions are never
// fetched; files can be reached, since facts are loaded from them.
func dsn(o Options, spill string) string {
	v := url.Values{
		"autoinstall_known_extensions": {"false"},
		"autoload_known_extensions":    {"false"},
		"allow_community_extensions":   {"false"},
		"preserve_insertion_order":     {"true"},
		"temp_directory":               {spill},
		"disabled_optimizers":          {unsoundOptimizers},
	}
	v.Set("memory_limit", strconv.FormatInt(o.memory()>>10, 10)+"KiB")
	if o.Threads > 0 {
		v.Set("threads", strconv.Itoa(o.Threads))
	}
	return "?" + v.Encode()
}

// whileHeld tries again and again, with jittered back-off, while another
// process has the file open, as long as o.Wait.
func whileHeld(ctx context.Context, o Options, try func() error) error {
	// Not the global source: processes that wait together must not knock
	// together, and nothing else depends on these numbers.
	jitter := rand.New(rand.NewPCG(uint64(os.Getpid()), 0))
	backOff, waited, notice := firstBackOff, time.Duration(0), noticeAfter
	for {
		if err := context.Cause(ctx); err != nil {
			return quant.Errorf(quant.Locked, "wait for fact db %s: %w", o.Path, err)
		}
		err := try()
		var held *heldError
		if !errors.As(err, &held) {
			return err
		}
		if waited >= o.Wait || held.here {
			return held.locked(o.Path, waited)
		}
		if o.Waiting != nil && waited >= notice {
			notice += noticeEvery
			o.Waiting(Wait{Path: o.Path, PID: held.pid, Program: held.program, Waited: waited})
		}
		pause := min(backOff/2+time.Duration(jitter.Int64N(int64(backOff/2))), o.Wait-waited)
		if waited < notice {
			pause = min(pause, max(notice-waited, time.Millisecond))
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
		waited += pause
		backOff = min(backOff*3/2, longestBackOff)
	}
}

// heldError says that somebody has the file open.
type heldError struct {
	pid     int
	program string
	here    bool // this very process: waiting cannot help
}

func (e *heldError) Error() string { return "held" }

func (e *heldError) locked(path string, waited time.Duration) error {
	if e.here {
		return &quant.Error{Code: quant.Locked, Err: e, Msg: fmt.Sprintf("fact db %s is open in this process already", path)}
	}
	by := "another process"
	if e.pid > 0 {
		by = fmt.Sprintf("process %d", e.pid)
		if e.program != "" {
			by += " (" + filepath.Base(e.program) + ")"
		}
	}
	after := ""
	if waited > 0 {
		after = fmt.Sprintf(", still after %v", waited.Round(100*time.Millisecond))
	}
	return &quant.Error{Code: quant.Locked, Err: e, Msg: fmt.Sprintf("fact db %s is held by %s%s", path, by, after),
		Hint: "try again when it has finished, or wait longer with `--wait`"}
}

// attach makes one attempt: *heldError if somebody holds the file.
func (db *DB) attach(ctx context.Context) (err error) {
	if !db.readOnly {
		// The lock file keeps creating, opening and moving aside apart.
		if err := makeFolder(filepath.Dir(db.path)); err != nil {
			return err
		}
		lock, err := lockFile(db.path)
		if err != nil {
			return err
		}
		defer lock.Close()
		if _, err := inspect(db.path); errors.Is(err, ErrMissing) {
			if err := db.create(ctx); err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
	}
	before, err := inspect(db.path)
	if err != nil {
		return err
	}
	if db.readOnly && db.o.Yields {
		if pid, wanted := Wanted(db.path); wanted {
			return &heldError{pid: pid}
		}
	}
	release, ok := acquire(before)
	if !ok {
		return &heldError{here: true}
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	mode := "READ_WRITE"
	if db.readOnly {
		mode = "READ_ONLY"
	}
	_, err = db.conn.ExecContext(ctx, "ATTACH "+sqltext.Literal(db.path)+" AS "+catalog+" (TYPE duckdb, "+mode+")")
	if err != nil {
		return attachError(ctx, db.path, err)
	}
	// What was opened must be what stands there: it may have been moved aside
	// between the two steps.
	after, err := inspect(db.path)
	if err != nil || after != before {
		db.detach()
		return &heldError{}
	}
	if err := db.ensureSchema(ctx); err != nil {
		db.detach()
		return err
	}
	db.release = release
	if !db.readOnly {
		removeSpills(db.o.TempDir)
	}
	return nil
}

// detach gives up the file without writing to it.
func (db *DB) detach() {
	ctx := context.Background()
	for _, q := range []string{"ROLLBACK", "PRAGMA disable_checkpoint_on_shutdown", "USE memory", "DETACH " + catalog} {
		_, _ = db.conn.ExecContext(ctx, q) // ROLLBACK fails when there is nothing to roll back
	}
}

// ensureSchema checks that the attached file is a Fact DB of this version, or makes
// it one.
func (db *DB) ensureSchema(ctx context.Context) error {
	if _, err := db.conn.ExecContext(ctx, "USE "+catalog); err != nil {
		return damaged(ctx, db.path, err)
	}
	tables, err := columns(ctx, db.conn, catalog)
	if err != nil {
		return damaged(ctx, db.path, err)
	}
	version := 0
	if len(tables) > 0 {
		marker := tables[schemaVersions]
		if !has(marker, "version") || !has(marker, "applied_at") || tables[Ledger] == nil {
			if db.lake != nil {
				return refuseLake(ErrDamaged, "%s is a DuckLake, but not one of quant", db.path)
			}
			return refuse(ErrDamaged, "fact db %s is a DuckDB database, but not one of quant", db.path)
		}
		var v sql.NullInt64
		if err := db.conn.QueryRowContext(ctx, "SELECT max(version) FROM schema_version").Scan(&v); err != nil {
			return damaged(ctx, db.path, err)
		}
		if !v.Valid {
			return refuse(ErrDamaged, "fact db %s does not say its schema version", db.path)
		}
		version = int(v.Int64)
	}
	needed := schemaVersion(db.lake != nil)
	switch {
	case version > needed:
		return newer(db.path, fmt.Sprintf("has schema version %d, this program knows %d", version, needed))
	case version == needed:
		return nil
	case db.readOnly:
		return &quant.Error{Code: quant.Store, Err: ErrOlder, Msg: fmt.Sprintf("fact db %s has schema version %d, this program needs %d", db.path, version, needed),
			Hint: "bring it up to date with `quant init-db`"}
	}
	if db.lake != nil && !db.lake.locked {
		if err := db.lockLake(ctx, db.lake.pg); err != nil {
			return err
		}
		db.lake.locked = true
	}
	if version > 0 && db.o.Upgrading != nil {
		db.o.Upgrading(version, needed)
	}
	if err := makeSchema(ctx, db.conn, db.lake != nil, db.o.Now(), "fact.upgrade.before", "fact.upgrade.after"); err != nil {
		return quant.Errorf(quant.Store, "bring fact db %s up to date: %w", db.path, err).
			WithHint("nothing was changed; `quant doctor` examines it")
	}
	db.upgraded = version > 0 || db.lake == nil
	return nil
}

// makeSchema runs schema.sql in one transaction in the catalog in use, and for a file a
// checkpoint, because replaying a WAL with schema changes is what DuckDB does
// least well.
func makeSchema(ctx context.Context, conn *sql.Conn, onLake bool, now time.Time, before, after string) error {
	if err := begin(ctx, conn, "BEGIN"); err != nil {
		return err
	}
	if err := changeSchema(ctx, conn, onLake); err != nil {
		rollBack(ctx, conn)
		return err
	}
	_, err := conn.ExecContext(ctx, "INSERT INTO schema_version VALUES (?, ?)", schemaVersion(onLake), quant.NewTime(now).Time)
	if err != nil {
		rollBack(ctx, conn)
		return err
	}
	ctx = context.WithoutCancel(ctx)
	failpoint.Hit(before)
	if _, err := conn.ExecContext(ctx, "COMMIT"); err != nil {
		return err
	}
	failpoint.Hit(after)
	if onLake {
		return nil
	}
	_, err = conn.ExecContext(ctx, "CHECKPOINT")
	return err
}

// changeSchema makes what is missing in the catalog in use, and moves the rows of
// tables that an older schema had.
func changeSchema(ctx context.Context, conn *sql.Conn, onLake bool) error {
	old, err := tablesInUse(ctx, conn)
	if err != nil {
		return err
	}
	if err := setAside(ctx, conn, old); err != nil {
		return err
	}
	if !onLake {
		if err := renameCoded(ctx, conn, old); err != nil {
			return err
		}
	}
	if _, err := conn.ExecContext(ctx, schemaSQL+codedSchema(onLake)); err != nil {
		return err
	}
	if onLake {
		if _, err := conn.ExecContext(ctx, fenceSchemaSQL()); err != nil {
			return err
		}
	}
	sets, err := readSets(ctx, conn, FeatureSets)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, featureSchema(withSets(sets), onLake)); err != nil {
		return err
	}
	return moveFeatures(ctx, conn, old)
}

// create makes the file, whole or not at all. The caller holds the lock file.
func (db *DB) create(ctx context.Context) (err error) {
	for _, suffix := range walSuffixes() {
		if _, err := os.Lstat(db.path + suffix); err == nil {
			return refuse(ErrDamaged, "fact db %s is missing, but its log %s is there", db.path, filepath.Base(db.path)+suffix)
		}
	}
	building := db.path + place.Building
	discard := func() {
		for _, suffix := range append(walSuffixes(), "") {
			_ = os.Remove(building + suffix)
		}
	}
	discard()
	defer func() {
		if err != nil {
			discard()
			if quant.CodeOf(err) == quant.Failed {
				err = storeError(err, "create fact db %s", db.path)
			}
		}
	}()
	if err := db.build(ctx, building); err != nil {
		return err
	}
	if err := os.Chmod(building, 0o600); err != nil {
		return err
	}
	failpoint.Hit("fact.create.before")
	if err := durable.Publish(building, db.path); err != nil {
		return err
	}
	failpoint.Hit("fact.create.after")
	db.created = true
	return nil
}

func (db *DB) build(ctx context.Context, path string) error {
	engine, err := sql.Open("duckdb", dsn(db.o, db.spill))
	if err != nil {
		return err
	}
	defer engine.Close()
	conn, err := engine.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "ATTACH "+sqltext.Literal(path)+" AS "+catalog+" (TYPE duckdb); USE "+catalog); err != nil {
		return err
	}
	if err := makeSchema(ctx, conn, false, db.o.Now(), "fact.schema.before", "fact.schema.after"); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "USE memory; DETACH "+catalog); err != nil {
		return err
	}
	return reread(ctx, conn, path)
}

// reread proves that a database that nobody has open is whole by itself: its log is
// gone, and what was written can be read. Only then may it get its name.
func reread(ctx context.Context, conn *sql.Conn, path string) error {
	for _, suffix := range walSuffixes() {
		if _, err := os.Lstat(path + suffix); err == nil {
			return fmt.Errorf("%s still holds what is not in the database", path+suffix)
		}
	}
	if _, err := conn.ExecContext(ctx, "ATTACH "+sqltext.Literal(path)+" AS "+catalog+" (TYPE duckdb, READ_ONLY)"); err != nil {
		return err
	}
	var version int
	if err := conn.QueryRowContext(ctx, "SELECT max(version) FROM "+factTable(schemaVersions)).Scan(&version); err != nil {
		return err
	}
	if version != SchemaVersion {
		return fmt.Errorf("what was written has schema version %d", version)
	}
	_, err := conn.ExecContext(ctx, "DETACH "+catalog)
	return err
}

// Close closes the file and gives up the lock. It may be called twice.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.closed = true
	db.mu.Unlock()
	var err error
	if db.conn != nil {
		err = db.conn.Close()
	}
	if db.engine != nil {
		err = errors.Join(err, db.engine.Close())
	}
	db.lake.closeLake() // after the engine, whose transactions it guards
	for _, f := range db.held {
		_ = f.Close() // only read from
	}
	if db.release != nil {
		db.release()
	}
	if db.life != nil {
		return closed(db.path, err) // the folders are those of the DB beside it
	}
	if db.lake != nil {
		db.lake.bucket.close()
		db.lake.near.Close()
	}
	_ = os.Remove(db.spill)     // the engine empties it
	_ = os.Remove(db.o.TempDir) // only when empty
	return closed(db.path, err)
}

func closed(path string, err error) error {
	if err != nil {
		return quant.Errorf(quant.Store, "close fact db %s: %w", path, err)
	}
	return nil
}

// Path returns the file's absolute path, symbolic links resolved, or the lake's URL
// without its secrets.
func (db *DB) Path() string { return db.path }

// Created reports whether OpenWrite made the file.
func (db *DB) Created() bool { return db.created }

// Upgraded reports whether OpenWrite brought an older schema up to date.
func (db *DB) Upgraded() bool { return db.upgraded }

// State tells what became of the writes so far, for the closing text of a run.
func (db *DB) State() Commit {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.state
}

// fileID names a file for the operating system.
type fileID struct{ dev, ino uint64 }

// openFiles are the Fact DBs that this process has open. DuckDB's lock is a
// POSIX record lock: it belongs to the process, so a second open in the same
// process is not refused, and closing any descriptor of the file drops it. The
// lock is the process's, and so this must be, too.
var openFiles = struct {
	sync.Mutex
	ids map[fileID]bool
}{ids: map[fileID]bool{}}

// acquire takes the file for one opener in this process.
func acquire(id fileID) (release func(), ok bool) {
	openFiles.Lock()
	defer openFiles.Unlock()
	if openFiles.ids[id] {
		return nil, false
	}
	openFiles.ids[id] = true
	return func() {
		openFiles.Lock()
		defer openFiles.Unlock()
		delete(openFiles.ids, id)
	}, true
}

// resolve returns the one name that a file has for everybody: WAL and lock
// stand beside it under that name, whatever link led there.
func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil || path == "" || strings.ContainsRune(path, 0) {
		return "", quant.Errorf(quant.Invalid, "fact db path %q cannot be used", path)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real, nil
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		return filepath.Join(dir, filepath.Base(abs)), nil
	}
	return abs, nil
}

// inspect says which file stands at path: a quant.Store error if there is
// none (ErrMissing), or none that could be a database (ErrDamaged).
func inspect(path string) (fileID, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fileID{}, &quant.Error{Code: quant.Store, Err: ErrMissing, Msg: "no Fact DB at " + path, Hint: "run `quant init-db`"}
	case err != nil:
		return fileID{}, storeError(err, "open fact db %s", path)
	case info.IsDir():
		return fileID{}, refuse(ErrDamaged, "fact db %s is a folder, not a file", path)
	case !info.Mode().IsRegular():
		return fileID{}, refuse(ErrDamaged, "fact db %s is not a regular file", path)
	case info.Size() == 0:
		return fileID{}, refuse(ErrDamaged, "fact db %s is empty", path)
	}
	st := info.Sys().(*syscall.Stat_t)
	return fileID{uint64(st.Dev), uint64(st.Ino)}, nil
}

func refuse(kind error, format string, args ...any) error {
	return &quant.Error{Code: quant.Store, Err: kind, Msg: fmt.Sprintf(format, args...),
		Hint: WayBack}
}

func newer(path, why string) error {
	return &quant.Error{Code: quant.Store, Err: ErrNewer, Msg: "fact db " + path + " " + why,
		Hint: "use the newer program that wrote it; nothing was changed"}
}

// damaged wraps an error of reading the file: ErrDamaged, unless the operating
// system refused to read it.
func damaged(ctx context.Context, path string, err error) error {
	if ctx.Err() != nil {
		return quant.Errorf(quant.Failed, "open fact db %s: %w", path, context.Cause(ctx))
	}
	if notRead(err.Error()) {
		return storeError(errors.New(firstLine(err)), "fact db %s cannot be judged now", path)
	}
	return refuse(errors.Join(ErrDamaged, err), "fact db %s cannot be read: %s", path, firstLine(err))
}

// storeError wraps an error of the file system.
func storeError(err error, format string, args ...any) error {
	return &quant.Error{Code: quant.Store, Err: err, Msg: fmt.Sprintf(format, args...) + ": " + firstLine(err),
		Hint: "check the folder's permissions and the free space"}
}

// failure wraps an error of the engine, keeping only its first line: the rest
// is a picture of the statement or a stack.
func failure(doing string, err error) error {
	return &quant.Error{Code: quant.CodeOf(err), Err: err, Msg: doing + ": " + firstLine(err)}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimSpace(line)
}

// attachError tells apart why DuckDB did not open the file, for which it has
// texts only.
func attachError(ctx context.Context, path string, err error) error {
	text := err.Error()
	switch {
	case ctx.Err() != nil:
		return damaged(ctx, path, err)
	case strings.Contains(text, "already held in current process"):
		return &heldError{here: true}
	case strings.Contains(text, "Could not set lock"):
		h := &heldError{}
		if m := holder(text); m != nil {
			h.program = m[1]
			h.pid, _ = strconv.Atoi(m[2])
		}
		return h
	case strings.Contains(text, "version number"), strings.Contains(text, "newer version of DuckDB"), strings.Contains(text, "newer storage version"):
		return newer(path, "has a newer format: "+firstLine(err))
	}
	return damaged(ctx, path, err)
}

// notRead reports whether an error of the engine is one of the operating system:
// it says nothing of what is in the file.
func notRead(text string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc([]syscall.Errno{
		syscall.EIO, syscall.EAGAIN, syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE,
		syscall.ENOMEM, syscall.EINTR, syscall.ESTALE, syscall.ENXIO,
	}, func(e syscall.Errno) bool { return strings.Contains(text, e.Error()) })
}

// holder finds program and pid in the text of a refused lock.
func holder(text string) []string {
	return regexp.MustCompile(`lock is held in (?:(.*?) )?\(?PID (\d+)\)?`).FindStringSubmatch(text)
}
