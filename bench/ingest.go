package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the yardstick: DuckDB's own COPY

	"quant/internal/factstore"
)

const ingestRows = 5_000_000

// bars generates 5 million plausible daily bars of 2,000 symbols.
const bars = `SELECT 'S' || lpad((i // 2500)::TEXT, 5, '0') AS symbol, DATE '2000-01-03' + (i %% 2500)::INTEGER AS date,
	p AS open, p + 1.25 AS high, p - 1.5 AS low, round(p + 0.33, 2) AS close, 1000 + (i * 7919) %% 1000000 AS volume, round((p + 0.33) * 0.97, 4) AS adj_close
FROM (SELECT i, round(20 + (hash(i) %% 100000) / 100.0, 2) AS p FROM range(%d) t(i))`

func ingestAgainstCopy(ctx context.Context, b *bench) ([]figure, error) {
	var figures []figure
	for _, format := range []string{"csv", "parquet"} {
		file, err := b.barsFile(ctx, format)
		if err != nil {
			return nil, err
		}
		var peak int64
		ingest := func() (time.Duration, error) {
			dir, err := os.MkdirTemp(b.dir, "ingest")
			if err != nil {
				return 0, err
			}
			defer os.RemoveAll(dir)
			if _, err := process(ctx, dir, b.quant, "init-db"); err != nil {
				return 0, err
			}
			u, err := process(ctx, dir, b.quant, "ingest", file)
			peak = max(peak, u.peak)
			return u.wall, err
		}
		times, err := inTurn(3, ingest, func() (time.Duration, error) { return copyInto(ctx, b, file, "") })
		if err != nil {
			return nil, err
		}
		mine, copied := median(times[0]), median(times[1])
		r := ratio(copied, mine)
		figures = append(figures,
			note(fmt.Sprintf("`quant ingest`, 5 million rows of %s, whole process", format), "%.2f s, %.2f million rows/s", mine.Seconds(), ingestRows/mine.Seconds()/1e6),
			note("DuckDB's COPY of the same file into the same table", "%.2f s, %.2f million rows/s", copied.Seconds(), ingestRows/copied.Seconds()/1e6),
			figure{"rows per second, ingest / COPY", fmt.Sprintf("%.2f", r), r >= 0.5},
			figure{"peak memory of ingest", fmt.Sprintf("%.2f GiB", float64(peak)/(1<<30)), peak < 2<<30})
	}
	return figures, nil
}

// barsFile makes the file of bars in this format, once.
func (b *bench) barsFile(ctx context.Context, format string) (string, error) {
	path := filepath.Join(b.dir, "bars."+format)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return "", err
	}
	defer db.Close()
	options := map[string]string{"csv": "FORMAT csv, HEADER", "parquet": "FORMAT parquet"}[format]
	if _, err := db.ExecContext(ctx, fmt.Sprintf("COPY ("+bars+") TO '%s' (%s)", ingestRows, path, options)); err != nil {
		return "", fmt.Errorf("generate: %w", err)
	}
	return path, nil
}

// declaredKey times DuckDB's COPY into ohlcv with and without a PRIMARY KEY.
func declaredKey(ctx context.Context, b *bench) ([]figure, error) {
	file, err := b.barsFile(ctx, "parquet")
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
