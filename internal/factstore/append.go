package factstore

import (
	"context"
	"database/sql/driver"

	"github.com/duckdb/duckdb-go/v2"

	"quant"
)

// Append fills a TEMP table, made by Exec before, with rows that Go computed:
// fill calls row once for each, with the table's columns in their order (nil
// is NULL; a DATE takes quant.Date). About a million rows a second; nothing is
// visible until Append returns. An error of fill is returned as it is.
func (db *DB) Append(ctx context.Context, table string, fill func(row func(values ...driver.Value) error) error) error {
	return db.Raw(ctx, func(conn driver.Conn) error {
		a, err := duckdb.NewAppender(conn, "temp", "main", table)
		if err != nil {
			return quant.Errorf(quant.Failed, "append to %s: %w", table, err)
		}
		n := 0
		err = fill(func(values ...driver.Value) error {
			if n++; n%4096 == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			for i, v := range values {
				if d, ok := v.(quant.Date); ok {
					values[i] = d.Time()
				}
			}
			return a.AppendRow(values...)
		})
		if err != nil {
			_ = a.Close()
			return err
		}
		return a.CloseWithCancel(ctx)
	})
}
