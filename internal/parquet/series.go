package parquet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"quant"
	"quant/internal/sqltext"
)

// Format is the form of a file of rows.
type Format string

// The formats. CSV has a header, and is for programs that read no Parquet.
const (
	Parquet Format = "parquet"
	CSV     Format = "csv"
)

// ParseFormat reads the name of a format; Usage for another one.
func ParseFormat(s string) (Format, error) {
	if f := Format(s); f == Parquet || f == CSV {
		return f, nil
	}
	return "", quant.Errorf(quant.Usage, "format %q is not known", s).WithHint("use parquet or csv")
}

// Series is a column with all its values. Exactly one of the slices is set.
type Series struct {
	Name   string
	Floats []float64    // DOUBLE
	Days   []quant.Date // TIMESTAMP at midnight, which pandas and polars read as dates; in CSV 2024-01-31
	Texts  []string     // VARCHAR: those that Numbers say, a row each
	// Numbers are indices of Texts.
	Numbers []int32
}

func (s Series) rows() int { return max(len(s.Floats), len(s.Days), len(s.Numbers)) }

func (s Series) kind() duckdb.Type {
	switch {
	case s.Floats != nil:
		return duckdb.TYPE_DOUBLE
	case s.Days != nil:
		return duckdb.TYPE_TIMESTAMP
	}
	return duckdb.TYPE_VARCHAR
}

// engine is an engine in memory that loads nothing and whose order is that of the
// rows.
func engine(ctx context.Context, do func(conn *sql.Conn) error) error {
	connector, err := duckdb.NewConnector("?autoinstall_known_extensions=false&autoload_known_extensions=false&allow_community_extensions=false&threads=1&memory_limit=2GB", nil)
	if err != nil {
		return err
	}
	defer func() { _ = connector.Close() }()
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return do(conn)
}

// WriteSeries writes a new file of columns of equal length. A file that exists is a
// Conflict; what cannot be written is Failed, and then a part of it may be there: it
// is for folders that are thrown away.
func WriteSeries(ctx context.Context, path string, format Format, columns []Series) error {
	if _, err := os.Lstat(path); err == nil {
		return quant.Errorf(quant.Conflict, "%s exists", path)
	}
	err := engine(ctx, func(conn *sql.Conn) error {
		source := &seriesSource{columns: columns, rows: columns[0].rows()}
		function := duckdb.ChunkTableFunction{BindArguments: func(map[string]any, ...any) (duckdb.ChunkTableSource, error) { return source, nil }}
		if err := duckdb.RegisterTableUDF(conn, "handed_out", function); err != nil {
			return err
		}
		chosen := make([]string, len(columns))
		for i, c := range columns {
			chosen[i] = fmt.Sprintf("c%d AS %s", i, sqltext.Identifier(c.Name))
			if format == CSV && c.Days != nil {
				chosen[i] = fmt.Sprintf("c%d::DATE AS %s", i, sqltext.Identifier(c.Name))
			}
		}
		how := "(FORMAT parquet)"
		if format == CSV {
			how = "(FORMAT csv, HEADER)"
		}
		_, err := conn.ExecContext(ctx, "COPY (SELECT "+strings.Join(chosen, ", ")+" FROM handed_out()) TO "+sqltext.Literal(path)+" "+how)
		return err
	})
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return quant.Errorf(quant.Failed, "write %s: %w", path, err).WithHint("make room on its disk")
}

// seriesSource gives columns to the engine.
type seriesSource struct {
	columns []Series
	rows    int
	at      int
}

// ColumnInfos implements duckdb.ChunkTableSource.
func (s *seriesSource) ColumnInfos() []duckdb.ColumnInfo {
	infos := make([]duckdb.ColumnInfo, len(s.columns))
	for i, c := range s.columns {
		kind, _ := duckdb.NewTypeInfo(c.kind()) // fails for nested types only
		infos[i] = duckdb.ColumnInfo{Name: fmt.Sprintf("c%d", i), T: kind}
	}
	return infos
}

// Cardinality implements duckdb.ChunkTableSource.
func (s *seriesSource) Cardinality() *duckdb.CardinalityInfo {
	return &duckdb.CardinalityInfo{Cardinality: uint(s.rows), Exact: true}
}

// Init implements duckdb.ChunkTableSource.
func (s *seriesSource) Init() { s.at = 0 }

// FillChunk implements duckdb.ChunkTableSource.
func (s *seriesSource) FillChunk(chunk duckdb.DataChunk) (err error) {
	defer func() {
		if p := recover(); p != nil { // a panic must not unwind into C++
			err = fmt.Errorf("write columns: panic: %v", p)
		}
	}()
	n := min(s.rows-s.at, duckdb.GetDataChunkCapacity())
	for i, c := range s.columns {
		for row := 0; row < n && err == nil; row++ {
			switch at := s.at + row; {
			case c.Floats != nil:
				err = duckdb.SetChunkValue(chunk, i, row, c.Floats[at])
			case c.Days != nil:
				err = duckdb.SetChunkValue(chunk, i, row, time.Unix(int64(c.Days[at])*86400, 0).UTC())
			default:
				err = duckdb.SetChunkValue(chunk, i, row, c.Texts[c.Numbers[at]])
			}
		}
		if err != nil {
			return err
		}
	}
	s.at += n
	return chunk.SetSize(n)
}

// Scored is a row of scores as a file has it; a value that is NULL or of another
// form is invalid.
type Scored struct {
	Symbol sql.NullString
	Day    sql.NullTime // at midnight where it is a day
	Score  sql.NullFloat64
	Task   sql.NullString // "" where the file names no fold
}

// The columns of a file of scores. ColumnFold may be left out.
const (
	ColumnSymbol = "symbol"
	ColumnDay    = "ts"
	ColumnScore  = "score"
	ColumnFold   = "fold"
)

// ReadScores reads the rows of a file that another program wrote, the first most of
// them, in their order. The file is not trusted: a link, a folder or a pipe is
// Refused, as is a file that cannot be read or lacks a column. NotFound: there is none.
func ReadScores(ctx context.Context, path string, format Format, most int, each func(row Scored) error) error {
	name := filepath.Base(path)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return quant.Errorf(quant.NotFound, "there is no %s", name)
	case err != nil:
		return quant.Errorf(quant.Failed, "read %s: %w", name, err)
	case !info.Mode().IsRegular():
		return quant.Errorf(quant.Refused, "%s is no regular file", name).WithHint("write the file itself, not a link to it")
	}
	refused := func(err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return quant.Errorf(quant.Refused, "%s cannot be read: %w", name, err).WithHint("write %s with the columns symbol, ts and score", format)
	}
	literal := sqltext.Literal(strings.NewReplacer("*", "[*]", "?", "[?]", "[", "[[]").Replace(path))
	source := "read_parquet(" + literal + ", hive_partitioning = false, filename = false)"
	if format == CSV {
		source = "read_csv(" + literal + ", header = true, all_varchar = true, hive_partitioning = false, filename = false)"
	}
	return engine(ctx, func(conn *sql.Conn) error {
		kinds, err := columnKinds(ctx, conn, source)
		if err != nil {
			return refused(err)
		}
		for _, column := range []string{ColumnSymbol, ColumnDay, ColumnScore} {
			if kinds[column] == "" {
				return quant.Errorf(quant.Refused, "%s has no column %s", name, column).WithHint("its columns are symbol, ts and score")
			}
		}
		fold := "NULL"
		if kinds[ColumnFold] != "" {
			fold = "CAST(fold AS VARCHAR)"
		}
		rows, err := conn.QueryContext(ctx, fmt.Sprintf("SELECT CAST(symbol AS VARCHAR), TRY_CAST(ts AS TIMESTAMP), TRY_CAST(score AS DOUBLE), %s FROM %s LIMIT %d", fold, source, most))
		if err != nil {
			return refused(err)
		}
		defer rows.Close()
		for rows.Next() {
			var r Scored
			if err := rows.Scan(&r.Symbol, &r.Day, &r.Score, &r.Task); err != nil {
				return refused(err)
			}
			if err := each(r); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return refused(err)
		}
		return nil
	})
}

func columnKinds(ctx context.Context, conn *sql.Conn, source string) (map[string]string, error) {
	rows, err := conn.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM "+source+")")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	kinds := map[string]string{}
	for rows.Next() {
		var name, kind string
		if err := rows.Scan(&name, &kind); err != nil {
			return nil, err
		}
		kinds[name] = kind
	}
	return kinds, rows.Err()
}
