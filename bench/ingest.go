package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the yardstick: DuckDB's own COPY

	"quant/internal/factstore"
)

const ingestRows = 5_000_000

// bars generates 5 million plausible daily bars of 2,000 symbols.
const bars = `SELECT 'S' || lpad((i // 2500)::TEXT, 5, '0') AS symbol, DATE '2000-01-03' + (i %% 2500)::INTEGER AS date,
	p AS open, p + 1.25 AS high, p - 1.5 AS low, round(p + 0.33, 2) AS close, 1000 + (i * 7919) %% 1000000 AS volume, round((p + 0.33) * 0.97, 4) AS adj_close
FROM (SELECT i, round(20 + (hash(i) %% 100000) / 100.0, 2) AS p FROM range(%d) t(i))`

// changedBars are the same with 1 % of the highs corrected.
var changedBars = strings.Replace(bars, "p + 1.25 AS high", "CASE WHEN hash(i * 31) %% 100 = 0 THEN p + 1.26 ELSE p + 1.25 END AS high", 1)

// ingestBounds are how much longer an ingest may take than what it is held against,
// and what memory it may take.
const (
	firstBound     = 1.25 // of DuckDB's COPY of the file into the empty table
	unchangedBound = 1.25 // of the bare comparison with the stored bars
	changedBound   = 1.5  // of the same, which stores the changed ones
	ingestMemory   = 1 << 30
)

func ingestAgainstCopy(ctx context.Context, b *bench) ([]figure, error) {
	var figures []figure
	for _, format := range []string{"csv", "parquet"} {
		file, err := b.barsFile(ctx, "bars", format, bars)
		if err != nil {
			return nil, err
		}
		changed, err := b.barsFile(ctx, "changed", format, changedBars)
		if err != nil {
			return nil, err
		}
		full, err := os.MkdirTemp(b.dir, "full")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(full)
		if _, err := process(ctx, full, b.quant, "ingest", file); err != nil {
			return nil, err
		}
		for _, c := range []struct {
			what, peer, file, lab string
			bound                 float64
			bare                  func(context.Context, *bench, string, string) (time.Duration, error)
		}{
			{"first load", "DuckDB's COPY of the same file into the same table", file, "", firstBound, func(ctx context.Context, b *bench, file, _ string) (time.Duration, error) {
				return copyInto(ctx, b, file, "")
			}},
			{"the same file again", "the bare diff: the file joined to ohlcv, what differs deleted and inserted", file, full, unchangedBound, bareDiff},
			{"1 % of the rows changed", "the bare diff of this file", changed, full, changedBound, bareDiff},
		} {
			var peak int64
			times, err := inTurn(3, func() (time.Duration, error) {
				dir, err := b.copyOfLab(ctx, c.lab)
				if err != nil {
					return 0, err
				}
				defer os.RemoveAll(dir)
				u, err := process(ctx, dir, b.quant, "ingest", c.file)
				peak = max(peak, u.peak)
				return u.wall, err
			}, func() (time.Duration, error) { return c.bare(ctx, b, c.file, c.lab) })
			if err != nil {
				return nil, err
			}
			mine, bare := median(times[0]), median(times[1])
			r := ratio(mine, bare)
			figures = append(figures,
				note(fmt.Sprintf("`quant ingest`, 5 million rows of %s, whole process: %s", format, c.what), "%.2f s", mine.Seconds()),
				note(c.peer, "%.2f s", bare.Seconds()),
				figure{"ratio", fmt.Sprintf("%.2f, at most %.2f", r, c.bound), r <= c.bound},
				figure{"peak memory of ingest", fmt.Sprintf("%.2f GiB", float64(peak)/(1<<30)), peak < ingestMemory})
		}
	}
	return figures, nil
}

// copyOfLab makes a folder with a copy of the lab in from, or, where that is "", with
// a new one.
func (b *bench) copyOfLab(ctx context.Context, from string) (string, error) {
	dir, err := os.MkdirTemp(b.dir, "ingest")
	if err != nil {
		return "", err
	}
	if from == "" {
		_, err = process(ctx, dir, b.quant, "init-db")
	} else {
		err = os.CopyFS(dir, os.DirFS(from))
	}
	return dir, err
}

// bareDiff times by hand what a merge does: the file is read and joined to the stored
// bars of a copy of the lab, and what differs is deleted and inserted.
func bareDiff(ctx context.Context, b *bench, file, lab string) (time.Duration, error) {
	dir, err := b.copyOfLab(ctx, lab)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	start := time.Now()
	db, err := sql.Open("duckdb", filepath.Join(dir, "data", "quant.duckdb"))
	if err != nil {
		return 0, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // TEMP tables are a connection's
	for _, statement := range []string{
		"BEGIN",
		`CREATE TEMP TABLE diff AS SELECT s.*, o.rowid AS stored FROM '` + file + `' s LEFT JOIN ohlcv o ON s.symbol = o.symbol AND s.date = o.ts
			WHERE o.rowid IS NULL OR s.open IS DISTINCT FROM o.open OR s.high IS DISTINCT FROM o.high OR s.low IS DISTINCT FROM o.low
			OR s.close IS DISTINCT FROM o.close OR s.volume IS DISTINCT FROM o.volume OR s.adj_close IS DISTINCT FROM o.adjusted_close`,
		"DELETE FROM ohlcv WHERE rowid IN (SELECT stored FROM diff)",
		"INSERT INTO ohlcv SELECT symbol, date, open, high, low, close, volume, adj_close, 'diff', now()::TIMESTAMP FROM diff",
		"COMMIT",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return 0, fmt.Errorf("bare diff: %w", err)
		}
	}
	if err := db.Close(); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

// barsFile makes a file of what a query for a number of rows gives, once.
func (b *bench) barsFile(ctx context.Context, name, format, query string) (string, error) {
	path := filepath.Join(b.dir, name+"."+format)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return "", err
	}
	defer db.Close()
	options := map[string]string{"csv": "FORMAT csv, HEADER", "parquet": "FORMAT parquet"}[format]
	if _, err := db.ExecContext(ctx, fmt.Sprintf("COPY ("+query+") TO '%s' (%s)", ingestRows, path, options)); err != nil {
		return "", fmt.Errorf("generate: %w", err)
	}
	return path, nil
}

// declaredKey times DuckDB's COPY into ohlcv with and without a PRIMARY KEY.
func declaredKey(ctx context.Context, b *bench) ([]figure, error) {
	file, err := b.barsFile(ctx, "bars", "parquet", bars)
	if err != nil {
		return nil, err
	}
	times, err := inTurn(3,
		func() (time.Duration, error) { return copyInto(ctx, b, file, "") },
		func() (time.Duration, error) {
			return copyInto(ctx, b, file, "ALTER TABLE ohlcv ADD PRIMARY KEY (symbol, ts)")
		})
	if err != nil {
		return nil, err
	}
	without, with := median(times[0]), median(times[1])
	return []figure{note("DuckDB's COPY of 5 million rows of Parquet into ohlcv with PRIMARY KEY (symbol, ts), against without", "%.2f s / %.2f s = %.2f",
		with.Seconds(), without.Seconds(), ratio(with, without))}, nil
}

// copyInto times DuckDB's COPY into the ohlcv of a fresh Fact DB, changed by a
// statement if one is given; the final checkpoint is included, as a command
// that closes the file has it.
func copyInto(ctx context.Context, b *bench, file, change string) (time.Duration, error) {
	dir, err := os.MkdirTemp(b.dir, "copy")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "quant.duckdb")
	fresh, err := factstore.OpenWrite(ctx, factstore.Options{Path: path})
	if err != nil {
		return 0, err
	}
	if err := fresh.Close(); err != nil {
		return 0, err
	}
	start := time.Now()
	db, err := sql.Open("duckdb", path)
	if err != nil {
		return 0, err
	}
	if change != "" {
		if _, err := db.ExecContext(ctx, change); err != nil {
			return 0, err
		}
	}
	format := filepath.Ext(file)[1:]
	// COPY fills the table's columns by position: the file's eight are the first
	// eight of ohlcv, which the table's source and ingested_at follow.
	statement := fmt.Sprintf("COPY ohlcv (symbol, ts, open, high, low, close, volume, adjusted_close) FROM '%s' (FORMAT %s%s)",
		file, format, map[string]string{"csv": ", HEADER"}[format])
	if _, err := db.ExecContext(ctx, statement); err != nil {
		return 0, fmt.Errorf("copy: %w", err)
	}
	if err := db.Close(); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}
