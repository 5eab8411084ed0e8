// Package postgres is the PostgreSQL backend of the Meta DB. It owns how a database is
// reached, prepared and migrated, and what PostgreSQL spells otherwise than other
// engines; the statements are package relational's. It makes no server, saves none and
// mends none: those who run it do.
//
// All of it lies in the schema quant of a database, so that the tables of other
// programs, of a catalog or a queue, may stand beside it.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/relational"
	"quant/internal/serverlink"
)

// Schema is the schema that everything of the Meta DB lies in.
const Schema = "quant"

// Options says which database to open and how.
type Options struct {
	// URL is postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full. What it leaves out
	// comes from PostgreSQL's own variables (PGPASSWORD, PGPASSFILE, PGSSLROOTCERT) and
	// ~/.pgpass. It is never shown as it is: Shown is.
	URL  string
	Wait time.Duration // how long to wait for a lock, and for an answer to a connection; 0 is 15 s
	// Patience is how long to wait for a server that is away: nobody answers at its address,
	// it starts or shuts down, it has no connection left. 0: not at all. Waiting is told,
	// once each time, that it is waited for, and why; nil: nobody is.
	Patience time.Duration
	Waiting  func(why error)
	// ReadOnly makes every write a Store error, also for a role that may write.
	ReadOnly bool
	// Create prepares an empty database and brings an older schema up to date; nothing
	// else does either.
	Create bool
	Now    func() time.Time // nil is time.Now
}

// DB is an open Meta DB. Its methods may be called from several goroutines.
type DB struct {
	*relational.DB
	engine     dialect
	now        func() time.Time
	schema     []migration
	readOnly   bool
	canWrite   bool
	created    bool
	from, to   int
	ahead      time.Duration // of the server's clock before now
	knowsAhead bool

	connector connector // of the pool's connections

	// unsettled: something stands before the server that takes no settings with a
	// connection, so they are made afterwards.
	unsettled bool
}

// defaultWait is how long is waited for a lock, and for an answer to a connection.
const defaultWait = 15 * time.Second

// oldest is the first version of PostgreSQL that the statements are tried with.
const oldest = 15

// Open opens the Meta DB in the database that o.URL names. One that is prepared and
// current costs a connection and one statement.
//
// Errors: Usage for what is no URL of PostgreSQL; Locked while the server starts or has no
// connection left for longer than o.Patience, or somebody prepares the database for longer
// than o.Wait; else Store, marked metastore.ErrNewer, metastore.ErrOlder,
// metastore.ErrDamaged or metastore.ErrAway where that is the reason. Nothing was changed
// then. The end of ctx ends a wait at once.
func Open(ctx context.Context, o Options) (*DB, error) {
	schema, err := embedded()
	if err != nil {
		return nil, err
	}
	return open(ctx, o, schema)
}

func open(ctx context.Context, o Options, schema []migration) (_ *DB, err error) {
	if o.Wait <= 0 {
		o.Wait = defaultWait
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	config, err := parse(o)
	if err != nil {
		return nil, err
	}
	d := dialect{shown: Shown(o.URL), wait: o.Wait, address: address(config), held: &atomic.Pointer[lease]{}}
	db := &DB{
		DB:     relational.New(relational.Options{Shown: d.shown, Dialect: d, Wait: o.Wait, Outage: relational.Outage{Patience: o.Patience, Waiting: o.Waiting}}),
		engine: d, now: o.Now, schema: schema, readOnly: o.ReadOnly,
	}
	db.pool(connector{config: config})
	defer func() {
		if err != nil {
			_ = db.Pool.Close()
		}
	}()
	conn, err := db.reach(ctx, config, o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := db.suits(conn); err != nil {
		return nil, err
	}
	found, err := db.look(ctx, conn)
	if err != nil {
		return nil, err
	}
	if found.path != Schema && !db.unsettled { // a pooler has dropped the settings
		_ = conn.Close()
		db.repool(config)
		if conn, err = db.reach(ctx, config, o); err != nil {
			return nil, err
		}
		defer func() { _ = conn.Close() }()
	}
	if db.behindPooler(conn, found.backend) && db.shares(ctx, conn) {
		return nil, db.pooled()
	}
	if err := db.bring(ctx, conn, found.version, o.Create); err != nil {
		return nil, err
	}
	return db, nil
}

// pool makes the pool: some statements at once, and few enough that the processes of a
// team fit into the connections of one server.
func (db *DB) pool(c connector) {
	db.connector = c
	db.Pool = sql.OpenDB(c)
	db.Pool.SetMaxOpenConns(4)
	db.Pool.SetMaxIdleConns(4)
}

// bring brings a schema of this version to the program's, where that is wanted.
func (db *DB) bring(ctx context.Context, conn *sql.Conn, version int, create bool) error {
	if version > len(db.schema) {
		return relational.StoreError(metastore.ErrNewer, nil, "meta db %s was prepared by a newer quant (schema %d, this program knows %d)", db.engine.shown, version, len(db.schema)).
			WithHint("use the newer program; the database was not changed and needs no repair")
	}
	if version == len(db.schema) {
		return nil
	}
	if create && !db.readOnly {
		return db.prepare(ctx, conn)
	}
	if version == 0 {
		return relational.StoreError(nil, nil, "meta db %s: the database holds no lab yet", db.engine.shown).
			WithHint("quant init-db prepares it; its role must be able to create a schema there")
	}
	return relational.StoreError(metastore.ErrOlder, nil, "meta db %s has schema %d, this program needs %d", db.engine.shown, version, len(db.schema)).
		WithHint("back it up (pg_dump --schema=%s), then quant init-db brings it up to date, for all who use it", Schema)
}

// Created reports whether this Open prepared the database.
func (db *DB) Created() bool { return db.created }

// Migrated returns the schema versions before and after this Open; two zeros when it did
// not migrate.
func (db *DB) Migrated() (from, to int) { return db.from, db.to }

// CanWrite reports whether the role may record a run, on a server that takes writes, and
// Options.ReadOnly was not asked for.
func (db *DB) CanWrite() bool { return db.canWrite && !db.readOnly }

// Ahead is how far the server's clock is ahead of Options.Now. Opening a database that is
// prepared has told that already.
func (db *DB) Ahead(ctx context.Context) (time.Duration, error) {
	if db.knowsAhead {
		return db.ahead, nil
	}
	now, err := db.Now(ctx)
	return now.Sub(db.now()), err
}

// Shown is the form of a database's URL that messages and records show: without a
// password and without parameters.
func Shown(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "postgres://..."
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if name := u.User.Username(); name != "" {
		shown.User = url.User(name)
	}
	return shown.String()
}

// parse reads the URL and says what every connection of ours is like.
func parse(o Options) (*pgx.ConnConfig, error) {
	hint := "a database is named like postgres://USER@HOST:5432/DATABASE?sslmode=verify-full; the password belongs in PGPASSWORD or ~/.pgpass"
	if !strings.HasPrefix(o.URL, "postgres://") && !strings.HasPrefix(o.URL, "postgresql://") {
		return nil, quant.Errorf(quant.Usage, "the address of the meta db does not begin with postgres://").WithHint("%s", hint)
	}
	config, err := pgx.ParseConfig(o.URL)
	if file, ok := errors.AsType[*fs.PathError](err); ok { // of a certificate, a key or a service
		return nil, quant.Errorf(quant.Usage, "meta db %s: %s, which its address or a variable of PostgreSQL names, cannot be read: %w", Shown(o.URL), file.Path, file.Err).
			WithHint("name a file that you may read with sslrootcert, sslcert, sslkey or servicefile (or PGSSLROOTCERT, PGSSLCERT, PGSSLKEY, PGSERVICEFILE)")
	}
	if err != nil {
		return nil, quant.Errorf(quant.Usage, "meta db %s: its address cannot be read%s", Shown(o.URL), reasonOf(err)).WithHint("%s", hint)
	}
	if config.Database == "" {
		return nil, quant.Errorf(quant.Usage, "meta db %s: the address names no database", Shown(o.URL)).WithHint("%s", hint)
	}
	// One trip a statement and nothing that a session keeps: commands are short.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	config.StatementCacheCapacity, config.DescriptionCacheCapacity = 0, 0
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = o.Wait
	}
	config.DialFunc = serverlink.Dialer().DialContext
	for name, value := range map[string]string{
		"search_path":                   Schema,
		"application_name":              "quant",
		"client_encoding":               "UTF8",
		"lock_timeout":                  strconv.FormatInt(o.Wait.Milliseconds(), 10),
		"TimeZone":                      "UTC",
		"row_security":                  "off", // a row that is hidden is an error, never a missing one
		"default_transaction_read_only": onOff(o.ReadOnly),
	} {
		if _, set := config.RuntimeParams[name]; !set || name == "search_path" {
			config.RuntimeParams[name] = value
		}
	}
	for name, value := range serverlink.Settings() {
		if _, set := config.RuntimeParams[name]; !set {
			config.RuntimeParams[name] = value
		}
	}
	return config, nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// address is where a server is reached: a host with its port, or a folder's socket.
func address(config *pgx.ConnConfig) string {
	if strings.HasPrefix(config.Host, "/") {
		return fmt.Sprintf("%s/.s.PGSQL.%d", config.Host, config.Port)
	}
	return net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
}
