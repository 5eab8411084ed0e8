package sandbox

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"quant"
	"quant/internal/output/rows"
)

// serverEnv is what the client of a server reads from the environment: PostgreSQL's
// own variables, and where the home with its files of passwords and certificates is.
func serverEnv(req Request) []string {
	if req.Server == "" && req.Attach == nil {
		return nil
	}
	var env []string
	for _, pair := range req.Environ {
		if strings.HasPrefix(pair, "PG") || strings.HasPrefix(pair, "HOME=") {
			env = append(env, pair)
		}
	}
	return env
}

// fetchRows is how many rows the server sends at once.
const fetchRows = 2000

// runPostgres runs the query on a Meta DB on a server: as a cursor, which takes one
// SELECT, VALUES or WITH alone and nothing in it that changes data, in a transaction
// that only reads. What else a role can do with functions is for the server to refuse,
// so that a superuser, whom it refuses nothing, is refused here.
func runPostgres(t task, r *report, w *rowWriter) error {
	ctx := context.Background() // the deadline is kept by killing the process
	if err := vetPostgres(t.SQL); err != nil {
		return err
	}
	config, err := pgx.ParseConfig(t.Server)
	if err != nil {
		return quant.Errorf(quant.Usage, "the URL of the Meta DB cannot be read").WithHint("quant config shows where it comes from")
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	config.RuntimeParams["application_name"], config.RuntimeParams["search_path"] = "quant sql", "quant"
	config.RuntimeParams["default_transaction_read_only"] = "on"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return quant.Errorf(quant.Store, "open the Meta DB: %s", plain(err)).WithHint("is the server up, and may this role log in? quant doctor says more")
	}
	defer func() { _ = conn.Close(ctx) }()
	var super bool
	if err := conn.QueryRow(ctx, `SELECT rolsuper OR pg_has_role(oid, 'pg_execute_server_program', 'MEMBER') OR pg_has_role(oid, 'pg_read_server_files', 'MEMBER')
		OR pg_has_role(oid, 'pg_write_server_files', 'MEMBER') FROM pg_roles WHERE rolname = current_user`).Scan(&super); err != nil {
		return errPostgres(err)
	}
	if super {
		return quant.Errorf(quant.Refused, "the role %q may read files of the server and start programs there; no query of a user runs as it", conn.Config().User).
			WithHint("log in with a role that only has the tables of quant: docs/team.md says what it needs")
	}
	if _, err := conn.Exec(ctx, "BEGIN READ ONLY"); err != nil {
		return errPostgres(err)
	}
	r.send(event{Kind: "opened"})
	// With a prepared statement, not as text: that would take several statements.
	if _, err := conn.PgConn().ExecParams(ctx, "DECLARE query NO SCROLL CURSOR FOR "+strings.TrimRight(t.SQL, "; \t\r\n"), nil, nil, nil, nil).Close(); err != nil {
		return errPostgres(err)
	}
	c := &cursor{conn: conn.PgConn()}
	if err := c.fetch(ctx); err != nil {
		return errPostgres(err)
	}
	return untyped(w, c.names, func(dest []driver.Value) error { return c.next(ctx, dest) }, errPostgres)
}

// vetPostgres makes sure that the first word of a text reads; that there is but one
// statement, and nothing in it that writes, the server sees to.
func vetPostgres(sql string) error {
	for _, word := range []string{"select", "with", "values", "table", "("} {
		if rest := skipBlank(sql); word == "(" && strings.HasPrefix(rest, word) {
			return nil
		} else if _, ok := cutWord(rest, word); ok {
			return nil
		}
	}
	return quant.Errorf(quant.Refused, "the statement is not one that only reads").WithHint("write one SELECT, WITH, VALUES or TABLE")
}

// cursor reads the rows of the query.
type cursor struct {
	conn  *pgconn.PgConn
	names []string
	types []uint32
	rows  [][][]byte
}

func (c *cursor) fetch(ctx context.Context) error {
	reader := c.conn.ExecParams(ctx, "FETCH FORWARD "+strconv.Itoa(fetchRows)+" FROM query", nil, nil, nil, nil)
	found := reader.Read()
	if found.Err != nil {
		return found.Err
	}
	if c.names == nil {
		c.names = []string{}
		for _, f := range reader.FieldDescriptions() { // those of found are missing where there are no rows
			c.names, c.types = append(c.names, f.Name), append(c.types, f.DataTypeOID)
		}
	}
	c.rows = found.Rows
	return nil
}

func (c *cursor) next(ctx context.Context, dest []driver.Value) error {
	if len(c.rows) == 0 {
		if err := c.fetch(ctx); err != nil {
			return err
		}
		if len(c.rows) == 0 {
			return io.EOF
		}
	}
	for i, text := range c.rows[0] {
		dest[i] = valueOf(c.types[i], text)
	}
	c.rows = c.rows[1:]
	return nil
}

// valueOf is a value of what the server wrote as text. What is neither a whole number,
// a double nor a truth value is a text, as SQLite has it.
func valueOf(oid uint32, text []byte) driver.Value {
	if text == nil {
		return nil
	}
	switch oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID:
		if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			return n
		}
	case pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID:
		if f, err := strconv.ParseFloat(string(text), 64); err == nil {
			if oid == pgtype.NumericOID {
				if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
					return n // a sum of whole numbers
				}
			}
			return f
		}
	case pgtype.BoolOID:
		return string(text) == "t"
	}
	return string(text)
}

func plain(err error) string { return string(rows.AppendClean(nil, []byte(err.Error()))) }

func errPostgres(err error) error {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return quant.Errorf(quant.Store, "read the Meta DB: %s", plain(err)).WithHint("`quant doctor` examines it")
	}
	msg := string(rows.AppendClean(nil, []byte(e.Message)))
	switch {
	case e.Code == "42601" && strings.Contains(msg, "multiple commands"):
		return quant.Errorf(quant.Refused, "there are several statements, one is allowed").WithHint("run them one by one")
	case strings.HasPrefix(e.Code, "25") || e.Code == "42501" || e.Code == "0A000" || e.Code == "42P11":
		return quant.Errorf(quant.Refused, "query: %s", msg).WithHint("a query reads the lab's own tables only; it writes nothing")
	case strings.HasPrefix(e.Code, "53"):
		return quant.Errorf(quant.Failed, "query: %s", msg).WithHint("ask for less, or later")
	case strings.HasPrefix(e.Code, "42") || strings.HasPrefix(e.Code, "22"):
		// Position counts characters, and those of ours come before the user's.
		return quant.Errorf(quant.Usage, "query: %s", msg).WithHint(`"SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'quant'" shows what there is`)
	case strings.HasPrefix(e.Code, "08") || strings.HasPrefix(e.Code, "57P"):
		return quant.Errorf(quant.Store, "read the Meta DB: %s", msg).WithHint("`quant doctor` examines it")
	}
	return quant.Errorf(quant.Failed, "query: %s", msg)
}
