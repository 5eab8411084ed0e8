package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"quant/internal/metastore/relational"
)

// connector makes connections that take the statements and values of package
// relational.
type connector struct {
	config   *pgx.ConnConfig
	settings string // a statement that each connection begins with; may be empty
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	made, err := stdlib.GetConnector(*c.config, stdlib.OptionShouldPing(hasBeenIdle)).Connect(ctx)
	if err != nil {
		return nil, err
	}
	inner := made.(*stdlib.Conn)
	if c.settings != "" {
		if _, err := inner.Conn().PgConn().Exec(ctx, c.settings).ReadAll(); err != nil {
			_ = inner.Close()
			return nil, err
		}
	}
	return &conn{inner}, nil
}

// hasBeenIdle asks for a ping of a connection that was idle, which may have broken, and
// for none of one that has just been made, which pgx takes for idle since ever.
func hasBeenIdle(_ context.Context, p stdlib.ShouldPingParams) bool {
	return p.IdleDuration > time.Second && p.IdleDuration < 365*24*time.Hour
}

func (c connector) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

// conn is pgx's connection, to which ? is a value, a truth value is 0 or 1, and a text
// may hold any byte.
type conn struct{ *stdlib.Conn }

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.ExecContext(ctx, translated.of(query), args)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	found, err := c.Conn.QueryContext(ctx, translated.of(query), args)
	if err != nil {
		return nil, err
	}
	return rows{found.(*stdlib.Rows)}, nil
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return c.Conn.PrepareContext(ctx, translated.of(query))
}

// CheckNamedValue gives a value the form in which it is bound.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	switch value := v.Value.(type) {
	case string: // most are
		v.Value = carried(value)
		return nil
	case relational.List:
		texts := value.Texts()
		for i, s := range texts {
			texts[i] = carried(s)
		}
		v.Value = texts
		return nil
	case relational.Pattern:
		v.Value = carried(value.Like())
		return nil
	case []string, []int64, []float64: // of our own
		return nil
	}
	value, err := driver.DefaultParameterConverter.ConvertValue(v.Value)
	if err != nil {
		return err
	}
	switch value := value.(type) {
	case bool:
		v.Value = int64(0)
		if value {
			v.Value = int64(1)
		}
	case string:
		v.Value = carried(value)
	default:
		v.Value = value
	}
	return nil
}

type rows struct{ *stdlib.Rows }

func (r rows) Next(dest []driver.Value) error {
	if err := r.Rows.Next(dest); err != nil {
		return err
	}
	for i, v := range dest {
		if text, ok := v.(string); ok {
			dest[i] = restored(text)
		}
	}
	return nil
}

var _ interface {
	driver.QueryerContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.SessionResetter
	driver.ConnBeginTx
} = (*conn)(nil)

// greeting is what a server said of itself when a connection was made.
func greeting(c *sql.Conn) (pid int64, version, encoding string, err error) {
	err = c.Raw(func(raw any) error {
		server := raw.(*conn).Conn.Conn().PgConn()
		pid, version, encoding = int64(server.PID()), server.ParameterStatus("server_version"), server.ParameterStatus("server_encoding")
		return nil
	})
	return pid, version, encoding, err
}
