package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/relational"
)

// Codes of errors, as PostgreSQL's appendix A lists them.
const (
	uniqueViolation     = "23505"
	foreignKeyViolation = "23503"
	checkViolation      = "23514"
	brokenRule          = "23000" // of our triggers
	undefinedTable      = "42P01"
	undefinedColumn     = "42703"
	undefinedSchema     = "3F000"
	noPrivilege         = "42501"
	readOnlyTransaction = "25006"
	lockNotAvailable    = "55P03"
	deadlock            = "40P01"
	serialization       = "40001"
	tooManyConnections  = "53300"
	diskFull            = "53100"
	ended               = "57P01" // by an operator
	crashed             = "57P02"
	starting            = "57P03"
	protocolViolation   = "08P01"
	noDatabase          = "3D000"
	wrongPassword       = "28P01"
	refusedRole         = "28000"
	tooLong             = "54000"
)

// raised is the routine of the server from which an error of a trigger comes.
const raised = "exec_stmt_raise"

// reach makes the first connection. A server that is away is waited for as long as o says.
func (db *DB) reach(ctx context.Context, config *pgx.ConnConfig, o Options) (*sql.Conn, error) {
	begun, told := time.Now(), false
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		conn, err := db.connect(ctx, begun.Add(o.Patience), !told)
		if err == nil {
			return conn, nil
		}
		if hasCode(err, protocolViolation) && strings.Contains(err.Error(), "startup parameter") && !db.unsettled {
			// It stands before a server, and takes no settings of a session.
			db.repool(config)
			continue
		}
		waited := time.Since(begun)
		if !db.engine.Away(err) || ctx.Err() != nil || waited+pause > o.Patience {
			return nil, db.unreachable(err, config, waited)
		}
		if !told {
			told = true
			if o.Waiting != nil {
				o.Waiting(db.unreachable(err, config, 0))
			}
		}
		select {
		case <-ctx.Done():
			return nil, db.Classify("open", context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// connect makes a connection. The first question takes as long as the server lets it, those
// after it end with the wait.
func (db *DB) connect(ctx context.Context, until time.Time, first bool) (*sql.Conn, error) {
	if first {
		return db.Pool.Conn(ctx)
	}
	trying, stop := context.WithDeadline(ctx, until)
	defer stop()
	return db.Pool.Conn(trying)
}

// repool has the pool's connections make their settings after they are made.
func (db *DB) repool(config *pgx.ConnConfig) {
	_ = db.Pool.Close()
	bare, settings := unsettled(config)
	db.pool(connector{config: bare, settings: settings})
	db.unsettled = true
}

// unreachable is the error of a connection that was not made: what, where, why, and what
// to do.
func (db *DB) unreachable(err error, config *pgx.ConnConfig, waited time.Duration) error {
	mark, after := error(nil), ""
	if db.engine.Away(err) {
		mark = metastore.ErrAway
		if waited >= time.Second {
			after = fmt.Sprintf(" (waited %s)", waited.Round(time.Second))
		}
	}
	fail := func(why, hint string, args ...any) error {
		return relational.StoreError(mark, bare{err}, "meta db %s: %s%s", db.engine.shown, why, after).WithHint(hint, args...)
	}
	if errors.Is(err, context.Canceled) {
		return quant.Errorf(quant.Failed, "open meta db %s: %w", db.engine.shown, context.Canceled)
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch e.Code {
		case wrongPassword:
			return fail(fmt.Sprintf("the server at %s does not take the password of role %s", db.engine.address, config.User),
				"set PGPASSWORD, or a line of ~/.pgpass (mode 0600), to the password of that role")
		case refusedRole:
			return fail(fmt.Sprintf("the server at %s refuses role %s: %s", db.engine.address, config.User, e.Message),
				"check the role's name and that pg_hba.conf lets it in from this machine (with TLS: sslmode=require or verify-full)")
		case noDatabase:
			return fail(fmt.Sprintf("there is no database %q on the server at %s", config.Database, db.engine.address),
				"make it (CREATE DATABASE %s ENCODING 'UTF8' TEMPLATE template0), then run quant init-db; or name another", config.Database)
		case starting:
			return quant.Errorf(quant.Locked, "meta db %s: the server at %s is starting up or shutting down%s: %w", db.engine.shown, db.engine.address, after, away{bare{err}}).
				WithHint("try again in a moment")
		case tooManyConnections:
			return quant.Errorf(quant.Locked, "meta db %s: the server at %s has no connection left%s: %w", db.engine.shown, db.engine.address, after, away{bare{err}}).
				WithHint("try again when other programs have ended, or raise max_connections")
		}
		return fail(fmt.Sprintf("the server at %s says: %s", db.engine.address, e.Message), "ask who runs the server")
	}
	text := reasonOf(err)
	switch {
	case strings.Contains(text, "server refused TLS connection"):
		return fail(fmt.Sprintf("the server at %s does not speak TLS", db.engine.address), "have the server's ssl turned on; only on this machine or in a network of yours: sslmode=disable in the address")
	case isA[*tls.CertificateVerificationError](err) || isA[x509.UnknownAuthorityError](err) || isA[x509.HostnameError](err) || isA[x509.CertificateInvalidError](err):
		return fail(fmt.Sprintf("the certificate of the server at %s is not trusted%s", db.engine.address, text),
			"name the authority that signed it with sslrootcert=FILE (or PGSSLROOTCERT), and the host as the certificate does")
	case isA[*net.DNSError](err):
		return fail(fmt.Sprintf("there is no host %s", config.Host), "check the name in the address, and that this machine's network reaches it")
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail(fmt.Sprintf("no server answers at %s", db.engine.address), "check host and port, and that PostgreSQL runs there and listens (listen_addresses)")
	case errors.Is(err, os.ErrNotExist):
		return fail(fmt.Sprintf("no server answers at %s: there is no such socket", db.engine.address), "check the folder and the port, and that PostgreSQL runs on this machine")
	case errors.Is(err, os.ErrPermission):
		return fail(fmt.Sprintf("you may not use the socket %s", db.engine.address), "ask who runs the server, or connect over TCP")
	case pgconn.Timeout(err) || errors.Is(err, context.DeadlineExceeded):
		return fail(fmt.Sprintf("the server at %s did not answer within %s", db.engine.address, config.ConnectTimeout), "check host and port, and that no firewall stands between")
	}
	return fail(fmt.Sprintf("cannot connect to the server at %s%s", db.engine.address, text), "check the address, and that PostgreSQL runs there")
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// bare is a cause that errors.Is and errors.As find, and whose text, which names what it
// connected with, is not shown.
type bare struct{ err error }

func (b bare) Error() string {
	if e, ok := errors.AsType[*pgconn.PgError](b.err); ok {
		return e.Message
	}
	return "no connection"
}
func (b bare) Unwrap() error { return b.err }

// away is a cause that is metastore.ErrAway as well.
type away struct{ bare }

func (away) Is(target error) bool { return target == metastore.ErrAway }

// reasonOf is the innermost text of an error, which names no address that somebody wrote:
// ": WHY", or "".
func reasonOf(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return ": " + e.Err.Error()
	}
	for {
		next := errors.Unwrap(err)
		if next == nil {
			break
		}
		err = next
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) > 0 {
		return reasonOf(joined.Unwrap()[0])
	}
	if _, ok := err.(*pgconn.ParseConfigError); ok { //nolint:errorlint // the innermost one
		return ""
	}
	return ": " + err.Error()
}

// goneNumbers are what the kernel says of a server that is away: nobody listens, there is no
// socket, the connection or the way to it broke.
var goneNumbers = []syscall.Errno{
	syscall.ECONNREFUSED, syscall.ENOENT, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE,
	syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.EHOSTDOWN, syscall.ENETUNREACH, syscall.ENETDOWN,
}

// Away is documented at relational.Dialect: nobody answers, the connection broke, the
// server starts, shuts down or has no connection left. A name that is not known, a role, a
// password or a certificate that is refused will be so in a moment as well.
func (dialect) Away(err error) bool {
	if errors.Is(err, metastore.ErrAway) {
		return true
	}
	if errors.Is(err, context.Canceled) {
		return false
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == starting || e.Code == ended || e.Code == crashed || e.Code == tooManyConnections
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return e.IsTemporary || e.IsTimeout
	}
	for _, number := range goneNumbers {
		if errors.Is(err, number) {
			return true
		}
	}
	return errors.Is(err, driver.ErrBadConn) || pgconn.Timeout(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "conn closed")
}

// Classify is documented at relational.Dialect.
func (d dialect) Classify(what string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*quant.Error](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return quant.Errorf(quant.Failed, "%s: %w", what, err)
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		if errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone) || err.Error() == "sql: database is closed" {
			return quant.Errorf(quant.Failed, "%s: %w", what, err)
		}
		if isA[*pgconn.ConnectError](err) && (errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrNotExist)) {
			return relational.StoreError(metastore.ErrAway, bare{err}, "%s: meta db %s: no server answers at %s", what, d.shown, d.address).
				WithHint("check that PostgreSQL runs there, then run the command again; what was committed is kept")
		}
		if errors.Is(err, driver.ErrBadConn) || isA[net.Error](err) || isA[*pgconn.ConnectError](err) || pgconn.SafeToRetry(err) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || strings.Contains(err.Error(), "unexpected EOF") || strings.Contains(err.Error(), "conn closed") {
			return relational.StoreError(metastore.ErrAway, bare{err}, "%s: meta db %s: the connection to the server at %s is lost", what, d.shown, d.address).
				WithHint("check the server and the network, then run the command again; what was committed is kept")
		}
		return quant.Errorf(quant.Failed, "%s: %w", what, err)
	}
	// The message alone: its SQLSTATE says nothing to who reads it.
	said := e.Message
	switch e.Code {
	case uniqueViolation:
		return quant.Errorf(quant.Conflict, "%s: it exists already: %w", what, err)
	case foreignKeyViolation:
		return quant.Errorf(quant.Conflict, "%s: another row refers to it: %w", what, err)
	case brokenRule:
		return &quant.Error{Code: quant.Conflict, Msg: what + ": " + said, Err: err}
	case checkViolation:
		return &quant.Error{Code: quant.Invalid, Msg: what + ": rule broken: " + e.ConstraintName, Err: err}
	case tooLong:
		return &quant.Error{Code: quant.Invalid, Msg: what + ": a name is longer than an index of PostgreSQL holds: " + said, Err: err}
	case deadlock, serialization:
		return quant.Errorf(quant.Locked, "%s: meta db %s: two programs were in each other's way: %s", what, d.shown, said).
			WithHint("nothing was changed; run it again")
	case lockNotAvailable:
		return quant.Errorf(quant.Locked, "%s: meta db %s is locked by another process (waited %s): %w", what, d.shown, d.wait, err).
			WithHint("try again when the other program has finished with it")
	case tooManyConnections, starting:
		return quant.Errorf(quant.Locked, "%s: meta db %s: %w", what, d.shown, away{bare{err}}).WithHint("try again in a moment")
	case diskFull:
		return relational.StoreError(nil, err, "%s: meta db %s: the disk of the server is full: %s", what, d.shown, said).
			WithHint("make room there and run the command again")
	case noPrivilege, readOnlyTransaction:
		if e.Routine == raised {
			refused := &quant.Error{Code: quant.Refused, Msg: fmt.Sprintf("%s: meta db %s: %s", what, d.shown, said), Err: err}
			return refused.WithHint("what an ended run says is changed by the role that started it, and by the owner of the lab")
		}
		return relational.StoreError(nil, err, "%s: meta db %s: the role may only read it: %s", what, d.shown, said).
			WithHint("use a role that may write, or a command that only reads")
	case undefinedTable, undefinedColumn, undefinedSchema:
		return relational.StoreError(metastore.ErrSchema, err, "%s: the schema of meta db %s is not the one this program made: %s", what, d.shown, said).
			WithHint("run quant doctor")
	}
	switch e.Code[:2] {
	case "23", "22": // a constraint, or a value that a column does not take
		return quant.Errorf(quant.Invalid, "%s: %w", what, err)
	case "57", "08": // an operator ended it
		var mark error
		if d.Away(err) {
			mark = metastore.ErrAway
		}
		return relational.StoreError(mark, err, "%s: meta db %s: the server at %s ended the connection: %s", what, d.shown, d.address, said).
			WithHint("check the server, then run the command again; what was committed is kept")
	}
	return quant.Errorf(quant.Failed, "%s: %w", what, err)
}
