package jobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver of the file
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"

	"quant"
	"quant/internal/durable"
	"quant/internal/failpoint"
	"quant/internal/lab/place"
)

// Store is where jobs stand. Safe for concurrent use, by several processes too.
type Store struct {
	driver riverdriver.Driver[*sql.Tx]
	client *river.Client[*sql.Tx] // that works nothing
	schema string                 // of its tables; "": the database has no others
	pool   *sql.DB
	in     dialect
	user   string // who uses it
	close  func() error
	// explain is an error of the store's statements in our words.
	explain func(what string, err error) error
}

// Open opens the jobs of a lab: on its server, or else in its file. Errors: NotFound where
// there are none and create does not make them; Store, Locked.
func Open(ctx context.Context, lab place.Place, create bool) (*Store, error) {
	if lab.MetaURL != "" {
		return OpenServer(ctx, lab.MetaURL, create)
	}
	return OpenFile(ctx, lab.JobsFile(), create)
}

const (
	// lockWait bounds the wait for another process that writes to the file, or makes it.
	lockWait = 15 * time.Second
	lockEnds = ".lock"
)

// OpenFile opens the file of the jobs of an embedded lab. create makes it where it is
// missing, or brings it up to date; else a missing one is NotFound. Errors: Store, Locked.
func OpenFile(ctx context.Context, path string, create bool) (*Store, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && !create {
		return nil, noJobs()
	}
	lock, err := durable.OpenLock(path + lockEnds)
	if err != nil {
		return nil, unusable(path, err)
	}
	defer lock.Close()
	// One process at a time looks whether there is a schema to be made.
	if err := lock.Wait(ctx, durable.Exclusive, lockWait); err != nil {
		return nil, quant.Errorf(quant.Locked, "the jobs %s: another process is making the file: %w", path, err).WithHint("try again")
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // its log takes its mode
	if err != nil {
		return nil, unusable(path, err)
	}
	file.Close()
	escaped := strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
	pool, err := sql.Open("sqlite3", fmt.Sprintf("file:%s?mode=rw&_journal_mode=WAL&_synchronous=FULL&_foreign_keys=on&_txlock=immediate&_busy_timeout=%d",
		escaped, lockWait.Milliseconds()))
	if err != nil {
		return nil, unusable(path, err)
	}
	pool.SetMaxOpenConns(1)
	s, err := open(ctx, riversqlite.New(pool), pool, fileDialect(), "", true, newIdle(path))
	if err != nil {
		pool.Close()
		return nil, unusable(path, err)
	}
	return s, nil
}

func noJobs() error {
	return quant.Errorf(quant.NotFound, "this lab has no jobs").WithHint("`quant jobs submit -- COMMAND` makes one")
}

func unusable(path string, err error) error {
	if _, ok := errors.AsType[*quant.Error](err); ok {
		return err
	}
	return quant.Errorf(quant.Store, "the jobs %s: %w", path, err).WithHint("check the folder; a file that is damaged may be moved away: what was done stands in the Meta DB")
}

// open makes or checks the schema of River, and the client that submits and asks.
func open(ctx context.Context, driver riverdriver.Driver[*sql.Tx], pool *sql.DB, in dialect, schema string, migrate bool, idle *idle) (*Store, error) {
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: silent(), Schema: schema})
	if err != nil {
		return nil, err
	}
	there, err := migrator.ExistingVersions(ctx)
	if err != nil {
		// A schema of which a migration is not known here.
		return nil, quant.Errorf(quant.Store, "the jobs were made by a newer quant: %w", err).WithHint("use that one")
	}
	if known := migrator.AllVersions(); len(there) < len(known) {
		if !migrate {
			return nil, quant.Errorf(quant.Store, "the jobs were made by an older quant").WithHint("`quant worker` brings them up to date")
		}
		failpoint.Hit("jobs.migrate")
		if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
			return nil, err
		}
	}
	if migrate {
		if err := in.prepare(ctx, pool); err != nil {
			return nil, err
		}
	}
	driver = fairDriver{driver, pool, in, idle}
	client, err := river.NewClient(driver, &river.Config{Logger: silent(), Schema: schema})
	if err != nil {
		return nil, err
	}
	s := &Store{driver: driver, client: client, schema: schema, pool: pool, in: in, close: pool.Close, explain: explainFile}
	if in.session == "" {
		s.user = systemUser()
		return s, nil
	}
	if err := pool.QueryRowContext(ctx, in.session).Scan(&s.user); err != nil {
		return nil, err
	}
	return s, nil
}

// systemUser is who runs this process.
func systemUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}

// Close closes the store.
func (s *Store) Close() error { return s.close() }

// explainFile is the error of a statement on the file of the jobs.
func explainFile(what string, err error) error {
	if _, ok := errors.AsType[*quant.Error](err); ok {
		return err
	}
	return quant.Errorf(quant.Store, "%s: %w", what, err)
}

// silent is where River logs: what is to be said of jobs, this package says.
func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }
