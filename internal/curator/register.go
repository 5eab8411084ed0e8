package curator

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/duckdb/duckdb-go/v2"

	"quant/internal/factstore"
)

// csvFunction is the table function that reads the csvTable of the context that
// a statement runs with.
const csvFunction = "curator_csv"

// register makes csvFunction known to the database, unless it is already.
func register(ctx context.Context, db *factstore.DB) error {
	var known bool
	if err := db.QueryRow(ctx, "SELECT count(*) > 0 FROM duckdb_functions() WHERE function_name = ?", csvFunction).Scan(&known); err != nil || known {
		return err
	}
	f := duckdb.ChunkTableFunction{
		BindArgumentsContext: func(ctx context.Context, _ map[string]any, _ ...any) (duckdb.ChunkTableSource, error) {
			if ctx != nil {
				if t, ok := ctx.Value(csvTableKey{}).(*csvTable); ok {
					return t, nil
				}
			}
			return nil, errors.New("no csv file is being read")
		},
	}
	return db.Raw(ctx, func(dc driver.Conn) error {
		// RegisterTableUDF takes only an *sql.Conn.
		conn, err := sql.OpenDB(oneConn{dc}).Conn(ctx)
		if err != nil {
			return err
		}
		return duckdb.RegisterTableUDF(conn, csvFunction, f)
	})
}

type oneConn struct{ conn driver.Conn }

func (c oneConn) Connect(context.Context) (driver.Conn, error) { return c.conn, nil }
func (c oneConn) Driver() driver.Driver                        { return nil }
