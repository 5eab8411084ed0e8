package factstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"quant"
	"quant/internal/sqltext"
)

// Digest tells the rows of a query apart from any other rows, whatever their
// order: "rows:<hex>", made of their number and of two sums of DuckDB's hash
// of each row. The same rows give the same digest on any machine, with any
// number of threads; a DuckDB of another version may give another one. It
// notices change, not a forger. Leave stamps and run ids out of the query.
func (db *DB) Digest(ctx context.Context, query string, args ...any) (rows int64, digest string, err error) {
	return digest128(db.QueryRow(ctx, digestOf(query), args...))
}

// Digest is DB.Digest within the transaction.
func (tx *Tx) Digest(ctx context.Context, query string, args ...any) (rows int64, digest string, err error) {
	return digest128(tx.QueryRow(ctx, digestOf(query), args...))
}

// Digests are the digests of rows by a text. The query selects for each row that
// text, whether something holds for it, and its hash; each is told, for every text,
// whether that holds for all its rows, and their digest. Digest hashes a row by
// hash(c1, c2, ...).
func (db *DB) Digests(ctx context.Context, query string, args []any, each func(of string, holds bool, digest string)) error {
	rows, err := db.Query(ctx, `SELECT k, bool_and(holds), count(*), sum(h::HUGEINT)::VARCHAR, sum(hash(h, 1)::HUGEINT)::VARCHAR FROM (`+query+`) AS t(k, holds, h) GROUP BY k ORDER BY k`, args...)
	if err != nil {
		return db.failure(ctx, "digest rows", err)
	}
	defer rows.Close()
	for rows.Next() {
		var of, a, b string
		var holds bool
		var n int64
		if err := rows.Scan(&of, &holds, &n, &a, &b); err != nil {
			return db.failure(ctx, "digest rows", err)
		}
		each(of, holds, digestOfSums(n, a, b))
	}
	return rows.Err()
}

func digestOf(query string) string {
	return `SELECT count(*), coalesce(sum(h::HUGEINT), 0)::VARCHAR, coalesce(sum(hash(h, 1)::HUGEINT), 0)::VARCHAR FROM (SELECT hash(*COLUMNS(*)) AS h FROM (` + query + `))`
}

func digest128(row Row) (int64, string, error) {
	var n int64
	var a, b string
	if err := row.Scan(&n, &a, &b); err != nil {
		return 0, "", err
	}
	return n, digestOfSums(n, a, b), nil
}

// digestOfSums is the digest of n rows whose two sums are these, in decimal.
func digestOfSums(n int64, a, b string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %s", n, a, b))
	return "rows:" + hex.EncodeToString(sum[:16])
}

// Committed returns the run of each transaction that changed a table, by its time in
// microseconds since 1970, which is the stamp of the rows that it wrote.
func (db *DB) Committed(ctx context.Context, table string) (map[int64]string, error) {
	runs := map[int64]string{}
	err := db.Columns(ctx, "SELECT committed_at, run_id FROM "+factTable(Ledger)+" WHERE table_name = "+sqltext.Literal(table), nil, func(c *Chunk) error {
		for i, at := range c.AppendBigints(nil, 0) {
			runs[at] = strings.Clone(c.Text(1, i))
		}
		return nil
	})
	if err != nil {
		return nil, db.failure(ctx, "read the ledger", err)
	}
	return runs, nil
}

// WritersOf returns the runs of transactions that changed a table, by the stamps of
// its rows, oldest first.
func (db *DB) WritersOf(ctx context.Context, table string, stamps []int64) ([]string, error) {
	written, err := db.Committed(ctx, table)
	if err != nil {
		return nil, err
	}
	var runs []string
	for _, at := range slices.Sorted(slices.Values(stamps)) {
		if run, known := written[at]; known && !slices.Contains(runs, run) {
			runs = append(runs, run)
		}
	}
	return runs, nil
}

// ValueDigest tells of the values of one column: of the rows (symbol, ts, value)
// where it is a finite number, how many there are, their digest as DB.Digest has it,
// and their first and last day, "" of none.
type ValueDigest struct {
	Rows        int64
	Digest      string
	First, Last quant.Text
}

// DigestValues digests DOUBLE columns of a relation that has symbol and ts, each by
// itself, in one pass.
func (db *DB) DigestValues(ctx context.Context, relation string, columns []string) ([]ValueDigest, error) {
	var hashes, sums []string
	for i, c := range columns {
		hashes = append(hashes, fmt.Sprintf("CASE WHEN isfinite(%[1]s) THEN hash(symbol, ts, %[1]s) END AS h%[2]d", sqltext.Identifier(c), i))
		sums = append(sums, fmt.Sprintf(`count(h%[1]d), coalesce(sum(h%[1]d::HUGEINT), 0)::VARCHAR, coalesce(sum(hash(h%[1]d, 1)::HUGEINT) FILTER (h%[1]d IS NOT NULL), 0)::VARCHAR,
			min(ts) FILTER (h%[1]d IS NOT NULL), max(ts) FILTER (h%[1]d IS NOT NULL)`, i))
	}
	type row struct {
		n           int64
		a, b        string
		first, last sql.Null[quant.Date]
	}
	rows := make([]row, len(columns))
	var into []any
	for i := range rows {
		into = append(into, &rows[i].n, &rows[i].a, &rows[i].b, &rows[i].first, &rows[i].last)
	}
	if err := db.QueryRow(ctx, "SELECT "+strings.Join(sums, ", ")+" FROM (SELECT ts, "+strings.Join(hashes, ", ")+" FROM "+relation+")").Scan(into...); err != nil {
		return nil, err
	}
	out := make([]ValueDigest, len(columns))
	for i, r := range rows {
		out[i] = ValueDigest{Rows: r.n, Digest: digestOfSums(r.n, r.a, r.b)}
		if r.n > 0 {
			out[i].First, out[i].Last = quant.Text(r.first.V.String()), quant.Text(r.last.V.String())
		}
	}
	return out, nil
}

// Writers returns the runs that wrote the rows of a table for which where
// holds, oldest first: by the table's stamp and the ledger. It is for the
// tables that have a stamp; SliceWriters for labels and returns.
func (db *DB) Writers(ctx context.Context, table, where string, args ...any) ([]string, error) {
	return db.writers(ctx, table, factTable(table), where, args...)
}

// PriceWriters is Writers of ohlcv as StageAsOf gave it.
func (db *DB) PriceWriters(ctx context.Context, staged, where string, args ...any) ([]string, error) {
	return db.writers(ctx, OHLCV, staged, where, args...)
}

// writers are those of the rows of from, which has the table's columns.
func (db *DB) writers(ctx context.Context, table, from, where string, args ...any) ([]string, error) {
	t, _ := LookupTable(table)
	if t.Stamp == "" {
		return nil, quant.Errorf(quant.Invalid, "table %s has no stamp", table)
	}
	return db.runs(ctx, fmt.Sprintf(`SELECT DISTINCT run_id, committed_at FROM %s WHERE committed_at IN (SELECT DISTINCT %s FROM %s WHERE %s)
		AND table_name = %s ORDER BY committed_at`, factTable(Ledger), sqltext.Identifier(t.Stamp), from, where, sqltext.Literal(table)), args...)
}

// SliceWriters returns the runs that last wrote the slices of labels or
// returns for which where holds (columns symbol, name, version, from_ts,
// to_ts), in run id order.
func (db *DB) SliceWriters(ctx context.Context, table, where string, args ...any) ([]string, error) {
	return db.runs(ctx, fmt.Sprintf(`SELECT DISTINCT run_id, run_id FROM %s WHERE table_name = %s AND (%s) ORDER BY run_id`,
		factTable(FactSlices), sqltext.Literal(table), where), args...)
}

func (db *DB) runs(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := db.Query(ctx, query, args...)
	if err != nil {
		return nil, db.failure(ctx, "find the writers", err)
	}
	defer rows.Close()
	var runs []string
	for rows.Next() {
		var id string
		var by any
		if err := rows.Scan(&id, &by); err != nil {
			return nil, err
		}
		runs = append(runs, id)
	}
	return runs, rows.Err()
}

// WrittenBy are runs that wrote what another run read, as its inputs.
func WrittenBy(runs []string) []quant.RunIO {
	var inputs []quant.RunIO
	for _, run := range runs {
		inputs = append(inputs, quant.RunIO{Direction: quant.In, Kind: quant.IORun, Name: run})
	}
	return inputs
}
