package feature

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
)

// lab opens a Fact DB in a folder of its own.
func lab(t testing.TB, o factstore.Options) *factstore.DB {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "quant.duckdb")
	}
	db, err := factstore.OpenWrite(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// load merges the rows of a query with ohlcv's columns, source apart.
func load(t testing.TB, db *factstore.DB, query string) {
	t.Helper()
	_, err := db.Write(t.Context(), "load", func(ctx context.Context, tx *factstore.Tx) error {
		if _, err := tx.Stage(ctx, "CREATE OR REPLACE TEMP TABLE loaded AS SELECT *, 'test' AS source FROM ("+query+")"); err != nil {
			return err
		}
		_, err := tx.Merge(ctx, factstore.Merge{Table: "ohlcv", Source: "loaded"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// remove deletes bars.
func remove(t testing.TB, db *factstore.DB, where string) {
	t.Helper()
	_, err := db.Write(t.Context(), "remove", func(ctx context.Context, tx *factstore.Tx) error {
		_, err := tx.Delete(ctx, "ohlcv", where)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// weekdays are the sessions of the tests: Monday to Friday.
func weekdays(first string, n int) *calendar.Calendar {
	d, err := quant.ParseDate(first)
	if err != nil {
		panic(err)
	}
	var days []quant.Date
	for ; len(days) < n; d++ {
		if wd := d.Time().Weekday(); wd != 0 && wd != 6 {
			days = append(days, d)
		}
	}
	return calendar.FromDates(days)
}

// market is a query for made-up bars of symbols on the sessions of a calendar:
// a seeded walk, with adjusted closes, some days without volume and, where
// holes is so, about one bar in fifty missing.
func market(symbols []string, cal *calendar.Calendar, seed int, holes bool) string {
	var days, names []string
	for i := range cal.Len() {
		days = append(days, fmt.Sprint(int32(cal.At(i))))
	}
	for _, s := range symbols {
		names = append(names, "'"+strings.ReplaceAll(s, "'", "''")+"'")
	}
	hole := ""
	if holes {
		hole = fmt.Sprintf("WHERE hash(s, d, %d, 9) %% 50 <> 0", seed)
	}
	return fmt.Sprintf(`WITH day AS (SELECT unnest([%s]) AS d), name AS (SELECT unnest([%s]) AS s),
	x AS (SELECT s AS symbol, (DATE '1970-01-01' + d::INTEGER) AS ts, exp(4 + sum((hash(s, d, %d)::DOUBLE / 18446744073709551616 - 0.49) * 0.05) OVER (PARTITION BY s ORDER BY d)) AS c,
		hash(s, d, %[3]d, 1)::DOUBLE / 18446744073709551616 AS u, hash(s, d, %[3]d, 2)::DOUBLE / 18446744073709551616 AS v, hash(s, d, %[3]d, 3)::DOUBLE / 18446744073709551616 AS w FROM day, name)
	SELECT symbol, ts, round(c * (0.99 + u * 0.02), 2) AS open, round(c * (1.01 + v * 0.02), 2) AS high, round(c * (0.97 + u * 0.01), 2) AS low, round(c, 2) AS close,
		CASE WHEN w < 0.05 THEN 0.0 ELSE floor(w * 1e6) END AS volume, round(c, 2) * (0.5 + (ts - DATE '2000-01-01') / 20000.0) AS adjusted_close
	FROM x JOIN day ON ts = DATE '1970-01-01' + d::INTEGER JOIN name ON s = symbol %[4]s`, strings.Join(days, ","), strings.Join(names, ","), seed, hole)
}

// run computes the features of a version.
func run(t testing.TB, db *factstore.DB, cal *calendar.Calendar, req Request) Report {
	t.Helper()
	if req.RunID == "" {
		req.RunID = "run"
	}
	r, err := Features(t.Context(), db, cal, req)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// facts is a table as text, values bit by bit, in key order.
func facts(t testing.TB, db *factstore.DB, query string) []string {
	t.Helper()
	rows, err := db.Query(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, _ := rows.Columns()
	var list []string
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for k := range values {
			into[k] = &values[k]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		line := ""
		for _, v := range values {
			if x, ok := v.(float64); ok {
				line += fmt.Sprintf(" %b", x)
			} else {
				line += fmt.Sprintf(" %v", v)
			}
		}
		list = append(list, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

const allFeatures = "SELECT symbol, ts, feature_name, feature_version, feature_value FROM features_daily ORDER BY ALL"
