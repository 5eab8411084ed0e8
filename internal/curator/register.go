package curator

import (
	"context"
	"errors"

	"github.com/duckdb/duckdb-go/v2"

	"quant/internal/factstore"
)

// csvFunction is the table function that reads the csvTable of the context that
// a statement runs with.
const csvFunction = "curator_csv"

// register makes csvFunction known to the database, unless it is already.
func register(db *factstore.DB) error {
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
	return db.RegisterTable(csvFunction, f)
}
