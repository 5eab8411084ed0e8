package factstore

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"quant"
)

// WayBack is what to do about a file of facts that is damaged.
const WayBack = "`quant doctor` examines it; `quant restore FILE` brings back a backup, `quant init-db --reset` moves it aside and makes a new one to ingest into again"

// tornBlock reports whether an error is that a block of a file is not what was written
// there. DuckDB has a text for it only.
func tornBlock(err error) bool {
	if _, ours := errors.AsType[*quant.Error](err); ours {
		return false
	}
	return strings.Contains(err.Error(), "Corrupt database file")
}

// told is an error of the engine as a user can act on it. What DuckDB says of a lake is
// the text of its own statements to PostgreSQL, over several lines, so it is put into
// words in this one place; any other error comes back as it is, an error of several
// lines as its first one.
func (db *DB) told(err error) error {
	if err != nil && db.lake == nil && tornBlock(err) {
		return &quant.Error{Code: quant.Store, Err: errors.Join(ErrDamaged, err), Msg: "fact db " + db.path + " is damaged: " + firstLine(err), Hint: WayBack}
	}
	if err == nil || db.lake == nil {
		return err
	}
	if _, ours := errors.AsType[*quant.Error](err); ours {
		return err
	}
	text := err.Error()
	// A result of several threads that is asked for more after one of them failed says so
	// first, and then why it failed.
	if _, why, found := strings.Cut(text, "an unsuccessful query result\nError: "); found {
		text, err = why, errors.New(why)
	}
	if failed := db.lake.near.Failed(); failed != nil && strings.Contains(text, "HTTP") {
		return &quant.Error{Code: quant.CodeOf(failed), Err: errors.Join(failed, err), Msg: "a file of " + db.path + " cannot be read: " + failed.Error(), Hint: quant.HintOf(failed)}
	}
	switch {
	case strings.Contains(text, "permission denied for ") && strings.Contains(text, "Failed to execute query"): // PostgreSQL's of a statement of the catalog
		return db.readOnlyRole("", err)
	case strings.Contains(text, "Cannot open file") && strings.Contains(text, "Permission denied") && !db.readOnly:
		return &quant.Error{Code: quant.Store, Err: err, Msg: "a file of " + db.path + " cannot be written or read: " + masked(firstLine(err)),
			Hint: "this user needs the right to write to the folder of the lake, or a command that only reads"}
	case catalogLost(err, text):
		return &quant.Error{Code: quant.Store, Err: err, Msg: "the connection to the catalog of " + db.path + " was lost",
			Hint: "run the command again when PostgreSQL answers; what was not committed is undone"}
	case strings.Contains(text, "No snapshot found at version"):
		return &quant.Error{Code: quant.Store, Err: err, Msg: "the snapshot of " + db.path + " that is read here was expired meanwhile",
			Hint: "run the command again: it reads the newest"}
	case db.lake.keys != nil && (strings.Contains(text, "HTTP 403") || strings.Contains(text, "HTTP code 403") || strings.Contains(text, "Forbidden")):
		return &quant.Error{Code: quant.Store, Err: err, Msg: "the store does not let this user in to a file of " + db.path + ": " + masked(firstLine(err)),
			Hint: "check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE) and what they may do with this prefix; where temporary ones were taken back, run the command again"}
	case strings.Contains(text, "Cannot open file"), strings.Contains(text, "No files found that match"):
		return &quant.Error{Code: quant.Store, Err: err, Msg: "a file of " + db.path + " cannot be read: " + masked(firstLine(err)),
			Hint: "check that the folder of the lake is mounted here, whole and readable; `quant doctor` examines it"}
	case strings.Contains(text, "footer"), strings.Contains(text, "No magic bytes"):
		return &quant.Error{Code: quant.Store, Err: errors.Join(ErrDamaged, err), Msg: "a file of " + db.path + " is damaged: " + masked(firstLine(err)),
			Hint: "bring the file back from a backup; `quant doctor` examines the rest"}
	case strings.Contains(text, "\n"):
		return &quant.Error{Code: quant.CodeOf(err), Err: err, Msg: masked(firstLine(err))}
	}
	return err
}

// catalogLost reports whether an error is that of a connection to PostgreSQL which
// ended. libpq and DuckDB's extension have texts for it only.
func catalogLost(err error, text string) bool {
	if e, is := errors.AsType[*pgconn.PgError](err); is {
		return strings.HasPrefix(e.Code, "57P") || strings.HasPrefix(e.Code, "08")
	}
	for _, part := range []string{
		"server closed the connection", "terminating connection", "connection to server", "Unable to connect to Postgres", "could not connect to server",
		"no connection to the server", "connection has been closed", "connection not open", "SSL SYSCALL error", "could not receive data from server", "could not send data to server",
		"the database system is", `Failed to execute query "ROLLBACK"`, `Failed to execute query "BEGIN`,
	} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
