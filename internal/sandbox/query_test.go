package sandbox_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/metastore/sqlite"
	"quant/internal/sandbox"

	_ "github.com/duckdb/duckdb-go/v2"
	_ "github.com/mattn/go-sqlite3"
)

// holdEnv makes the test binary a program that runs the query of its value and
// nothing else, so that a test can kill it.
const holdEnv = "QUERY_TEST_HOLD"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == sandbox.ChildArg {
		os.Exit(sandbox.ChildMain())
	}
	if path := os.Getenv(holdEnv); path != "" {
		_, err := sandbox.Run(context.Background(), sandbox.Request{Store: sandbox.Fact, Path: path, SQL: endless, Format: sandbox.CSV}, os.Stdout)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const endless = "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i % 7 FROM r) SELECT count(*) FROM r"

var factSchema = []string{
	`CREATE TABLE ohlcv (symbol TEXT, ts DATE, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE, adjusted_close DOUBLE, source TEXT, ingested_at TIMESTAMP)`,
	`INSERT INTO ohlcv SELECT s, DATE '2024-01-01' + i::INT, 100+i, 101+i, 99+i, 100.5+i, 1000*i, NULL, 'test', TIMESTAMP '2026-01-15 09:30:00'
	 FROM (VALUES ('AAPL'), ('IBM'), ('005930')) t(s), range(200) r(i)`,
	`CREATE TABLE trades (symbol TEXT, ts TIMESTAMP, px DECIMAL(18,4))`,
	`INSERT INTO trades VALUES ('AAPL', '2024-01-05 10:00:00', 105.25), ('AAPL', '2024-02-01 10:00:00', 131.5), ('IBM', '2024-01-07 12:00:00', 99.1)`,
	`CREATE VIEW last_close AS SELECT symbol, max_by(close, ts) AS close FROM ohlcv GROUP BY symbol`,
}

func makeFact(t testing.TB, more ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "quant.duckdb")
	db, err := sql.Open("duckdb", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(append([]string{}, factSchema...), more...) {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func makeMeta(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "meta ?#%.db")
	db, err := sql.Open("sqlite3", "file:"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)+"?_journal_mode=WAL")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		`CREATE TABLE runs (run_id TEXT PRIMARY KEY, kind TEXT NOT NULL, status TEXT, n INTEGER, x REAL, b BLOB)`,
		`INSERT INTO runs VALUES ('r1','ingest','SUCCESS',1,0.5,x'00ff'), ('r2','sql','FAIL',NULL,NULL,NULL), ('r3','sql','SUCCESS',3,1e300,NULL)`,
	} {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func run(t testing.TB, req sandbox.Request) (string, sandbox.Result, error) {
	t.Helper()
	var out bytes.Buffer
	if req.Format == "" {
		req.Format = sandbox.CSV
	}
	if req.Timeout == 0 {
		req.Timeout = time.Minute
	}
	res, err := sandbox.Run(t.Context(), req, &out)
	return out.String(), res, err
}

func fact(path, text string) sandbox.Request {
	return sandbox.Request{Store: sandbox.Fact, Path: path, SQL: text}
}

func meta(path, text string) sandbox.Request {
	return sandbox.Request{Store: sandbox.Meta, Path: path, SQL: text}
}

func files(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		names = append(names, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, "\n")
}

func TestAnalystsQueriesRun(t *testing.T) {
	t.Parallel()
	path := makeFact(t)
	for _, q := range analystQueries {
		out, _, err := run(t, fact(path, q))
		if err != nil {
			t.Errorf("%s\n\t%v (%s)", q, err, quant.HintOf(err))
		} else if strings.Count(out, "\n") < 2 {
			t.Errorf("%s\n\tno rows: %q", q, out)
		}
	}
	t.Logf("%d queries", len(analystQueries))
}

var analystQueries = []string{
	"SELECT 1",
	"SELECT count(*) FROM ohlcv;",
	"-- a comment\nSELECT /* another */ symbol FROM ohlcv LIMIT 3; -- the end",
	"FROM ohlcv LIMIT 2",
	"TABLE trades",
	"VALUES (1, 'a'), (2, 'b')",
	"DESCRIBE ohlcv",
	"DESCRIBE SELECT symbol, close FROM ohlcv",
	"SHOW TABLES",
	"SHOW ALL TABLES",
	"SHOW DATABASES",
	"SUMMARIZE ohlcv",
	"EXPLAIN SELECT * FROM ohlcv",
	"EXPLAIN ANALYZE SELECT sum(close) FROM ohlcv",
	"/* c */ explain -- x\n FROM ohlcv",
	"EXPLAIN (SELECT 1)",
	"SELECT symbol, ts, close / lag(close) OVER (PARTITION BY symbol ORDER BY ts) - 1 AS ret FROM ohlcv",
	"SELECT symbol, ts, avg(close) OVER (PARTITION BY symbol ORDER BY ts ROWS BETWEEN 19 PRECEDING AND CURRENT ROW) FROM ohlcv",
	"SELECT symbol, ts, stddev_samp(close) OVER w, max(high) OVER w FROM ohlcv WINDOW w AS (PARTITION BY symbol ORDER BY ts ROWS 9 PRECEDING)",
	"SELECT * FROM ohlcv QUALIFY row_number() OVER (PARTITION BY symbol ORDER BY ts DESC) = 1",
	"SELECT symbol, rank() OVER (ORDER BY close DESC), dense_rank() OVER (ORDER BY close), ntile(4) OVER (ORDER BY ts), percent_rank() OVER (ORDER BY ts), cume_dist() OVER (ORDER BY ts) FROM ohlcv",
	"SELECT first_value(close) OVER w, last_value(close IGNORE NULLS) OVER w, nth_value(close, 2) OVER w, lead(close, 2, 0) OVER w FROM ohlcv WINDOW w AS (ORDER BY ts, symbol)",
	"WITH a AS (SELECT symbol, avg(close) c FROM ohlcv GROUP BY 1), b AS MATERIALIZED (SELECT * FROM a WHERE c > 10) SELECT * FROM b ORDER BY ALL",
	"WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 100) SELECT sum(i) FROM r",
	"WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r) SELECT i FROM r LIMIT 5",
	"PIVOT (SELECT symbol, ts, close FROM ohlcv WHERE ts < '2024-01-05') ON symbol IN ('AAPL', 'IBM') USING first(close) GROUP BY ts",
	"SELECT * FROM ohlcv PIVOT (max(close) FOR symbol IN ('AAPL', 'IBM') GROUP BY ts)",
	"UNPIVOT (SELECT symbol, open, close FROM ohlcv LIMIT 4) ON open, close INTO NAME what VALUE price",
	"SELECT t.symbol, t.px, o.close FROM trades t ASOF JOIN ohlcv o ON t.symbol = o.symbol AND t.ts >= o.ts",
	"SELECT * FROM trades ASOF LEFT JOIN (SELECT symbol, ts::TIMESTAMP ts, close FROM ohlcv) o USING (symbol, ts)",
	"SELECT * FROM trades t, LATERAL (SELECT close FROM ohlcv o WHERE o.symbol = t.symbol ORDER BY ts DESC LIMIT 1)",
	"SELECT a.symbol FROM ohlcv a SEMI JOIN trades USING (symbol) LIMIT 1",
	"SELECT DISTINCT symbol FROM ohlcv a ANTI JOIN trades USING (symbol)",
	"SELECT DISTINCT ON (symbol) symbol, ts FROM ohlcv ORDER BY symbol, ts DESC",
	"SELECT * FROM trades POSITIONAL JOIN (SELECT unnest([1, 2, 3]) AS n)",
	"SELECT unnest([1, 2, 3]), unnest({'a': 1, 'b': 'x'})",
	"SELECT * FROM unnest([1, 2, 3]) AS t(n)",
	"SELECT list_transform([1, 2, 3], lambda x: x * 2), list_filter(range(10), lambda x: x % 2 = 0), list_reduce([1, 2, 3], lambda a, b: a + b)",
	"SELECT [x * 2 FOR x IN [1, 2, 3] IF x > 1], [1, 2, 3][2], [1, 2, 3][1:2], list_sort([3, 1, 2]), list_aggregate([1, 2], 'sum'), len([1]), flatten([[1], [2]])",
	"SELECT {'a': 1, 'b': [1, 2]}.b[1], struct_pack(x := 1, y := 'z'), row(1, 2), MAP {'k': 1}['k'], map_keys(MAP {'a': 1}), struct_extract({'a': 1}, 'a')",
	`SELECT '{"a": [1, {"b": 2}]}'::JSON ->> '$.a[1].b', json_extract('{"a": 1}', '$.a'), json_object('k', 1), to_json([1, 2]), json_array_length('[1, 2]')`,
	`SELECT key, value FROM json_each('{"a": 1, "b": 2}')`,
	"SELECT date_trunc('month', ts) m, count(*) FROM ohlcv GROUP BY m ORDER BY m",
	"SELECT ts + INTERVAL 1 MONTH, ts - INTERVAL '3 days', datediff('day', ts, DATE '2025-01-01'), extract(dow FROM ts), year(ts), strftime(ts, '%Y-%m'), last_day(ts), dayname(ts) FROM ohlcv LIMIT 1",
	"SELECT current_date, now(), today(), make_date(2024, 2, 29), to_timestamp(0), epoch(TIMESTAMP '2024-01-01'), age(DATE '2024-01-01', DATE '2020-02-29'), time_bucket(INTERVAL '1 week', DATE '2024-01-03'), strptime('2024-01-02', '%Y-%m-%d')",
	"SELECT TIMESTAMPTZ '2024-01-01 00:00:00+09' AT TIME ZONE 'Asia/Seoul'",
	"SELECT median(close), quantile_cont(close, [0.05, 0.5, 0.95]), approx_quantile(close, 0.9), mode(symbol), mad(close), skewness(close), kurtosis(close), entropy(symbol) FROM ohlcv",
	"SELECT corr(open, close), regr_slope(close, open), regr_r2(close, open), covar_samp(open, close), var_pop(close) FROM ohlcv",
	"SELECT sum(close) FILTER (WHERE symbol = 'IBM'), count(DISTINCT symbol), arg_max(ts, close), string_agg(DISTINCT symbol, ',' ORDER BY symbol), array_agg(close ORDER BY ts)[1:2], bool_and(close > 0), product(1 + close / 1e6), histogram(symbol) FROM ohlcv",
	"SELECT symbol, count(*) FROM ohlcv GROUP BY GROUPING SETS ((symbol), ()) HAVING count(*) > 1",
	"SELECT symbol, year(ts) y, sum(volume), grouping(symbol) FROM ohlcv GROUP BY ROLLUP (symbol, y)",
	"SELECT * FROM ohlcv USING SAMPLE 10 ROWS (reservoir, 42)",
	"SELECT * FROM ohlcv TABLESAMPLE reservoir(20 ROWS) REPEATABLE (1)",
	"SELECT * FROM ohlcv USING SAMPLE 90 PERCENT (bernoulli, 7)",
	"SELECT * EXCLUDE (source) REPLACE (round(close, 1) AS close) FROM ohlcv LIMIT 1",
	"SELECT max(COLUMNS('open|close')), min(COLUMNS(* EXCLUDE (symbol, source))) FROM ohlcv",
	"SELECT COLUMNS(c -> c LIKE 'o%') FROM ohlcv LIMIT 1",
	"SELECT CASE WHEN close > 150 THEN 'high' ELSE 'low' END c, count(*) FROM ohlcv GROUP BY c",
	"SELECT coalesce(adjusted_close, close), nullif(close, 1), ifnull(adjusted_close, 0), greatest(open, close), least(1, 2), if(close > 1, 1, 0) FROM ohlcv LIMIT 1",
	"SELECT TRY_CAST('x' AS INT), '12'::BIGINT, CAST(1.5 AS DECIMAL(10, 2)), 1::HUGEINT, 'abc' LIKE 'a%', 'ABC' ILIKE 'a%', 'a' SIMILAR TO '[a-c]', 'x' IN ('x', 'y'), 2 BETWEEN 1 AND 3, NOT true, 7 // 2, 7 % 2, 2 ** 3, 1 <> 2, 1 IS DISTINCT FROM NULL",
	"SELECT upper('a'), 'a' || 'b', concat_ws('-', 'a', 'b'), regexp_replace('abc', 'b', 'x'), regexp_extract('a1', '[0-9]'), split_part('a.b', '.', 2), string_split('a,b', ','), substring('abc' FROM 2 FOR 1), trim(BOTH ' ' FROM ' a '), position('b' IN 'abc'), lpad('1', 3, '0'), printf('%.2f', 1.5), format('{}', 1), md5('x'), levenshtein('a', 'b')",
	"SELECT round(ln(exp(1)), 3), sqrt(2), power(2, 3), floor(1.5), ceil(1.2), abs(-1), sign(-2), pi(), log10(100), isnan('nan'::DOUBLE), random() >= 0, mod(7, 3), greatest_common_divisor(4, 6), 5 & 3, 1 << 3",
	"SELECT generate_series FROM generate_series(DATE '2024-01-01', DATE '2024-01-05', INTERVAL 1 DAY)",
	"SELECT range FROM range(5)",
	"SELECT * FROM (SELECT 1 AS a) UNION BY NAME SELECT 2 AS b",
	"(SELECT symbol FROM ohlcv INTERSECT SELECT symbol FROM trades) EXCEPT SELECT 'IBM'",
	"SELECT symbol FROM ohlcv WHERE close > (SELECT avg(close) FROM ohlcv) AND EXISTS (SELECT 1 FROM trades t WHERE t.symbol = ohlcv.symbol) AND symbol = ANY (SELECT symbol FROM trades) ORDER BY close DESC NULLS LAST LIMIT 5 OFFSET 1",
	"SELECT symbol FROM ohlcv LIMIT 10%",
	"SELECT * FROM last_close ORDER BY symbol COLLATE NOCASE",
	"SELECT table_name, estimated_size FROM duckdb_tables()",
	"SELECT column_name, data_type FROM duckdb_columns WHERE table_name = 'ohlcv'",
	"SELECT * FROM information_schema.columns WHERE table_name = 'trades'",
	"SELECT * FROM information_schema.tables",
	"SELECT * FROM pragma_table_info('ohlcv')",
	"SELECT function_name FROM duckdb_functions() LIMIT 3",
	"SELECT name FROM sqlite_master",
	"SELECT relname FROM pg_catalog.pg_class",
	"SELECT 'it''s', \"symbol\", $$dollar; text$$ FROM ohlcv LIMIT 1",
	"SELECT symbol.lower(), symbol.substr(1, 2).upper() FROM ohlcv LIMIT 1",
	"SELECT 'attach; drop table ohlcv; -- ' AS harmless",
	"SELECT v, typeof(v) FROM (SELECT union_value(num := 2) AS v)",
	"SELECT 'a'::ENUM('a', 'b'), uuid(), '10101'::BIT, 'ab'::BLOB, INTERVAL '1 day', TIME '10:00', [1, 2]::INT[2]",
	"SELECT setting.s FROM (SELECT 1 AS s) setting",
	"SELECT wavg(close, volume), geomean(close), fsum(close) FROM ohlcv",
	"SELECT asof, t.symbol FROM (SELECT symbol, ts AS asof, px FROM trades) t ASOF JOIN (SELECT symbol, ts AS asof, close FROM ohlcv) o USING (symbol, asof)",
	"EXPLAIN SELECT max(asof) FROM (SELECT ts AS asof FROM ohlcv)",
}

// Every column is named plainly in the places where people name one: DuckDB's
// grammar has other uses for some words.
func TestEveryColumnOfALabCanBeSelectedByItsPlainName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	facts, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: filepath.Join(dir, "quant.duckdb")})
	if err != nil {
		t.Fatal(err)
	}
	if err := facts.Close(); err != nil {
		t.Fatal(err)
	}
	runs, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, "meta.db"), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := runs.Close(); err != nil {
		t.Fatal(err)
	}
	for _, store := range []struct {
		request func(path, text string) sandbox.Request
		path    string
		columns string
	}{
		{fact, filepath.Join(dir, "quant.duckdb"), "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal ORDER BY ALL"},
		{meta, filepath.Join(dir, "meta.db"), "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"},
	} {
		out, _, err := run(t, store.request(store.path, store.columns))
		if err != nil {
			t.Fatal(err)
		}
		list, err := csv.NewReader(strings.NewReader(out)).ReadAll()
		if err != nil || len(list) < 50 {
			t.Fatalf("%d columns, %v", len(list), err)
		}
		tables := map[string][]string{}
		for _, c := range list[1:] {
			tables[c[0]] = append(tables[c[0]], c[1])
		}
		for table, columns := range tables {
			all := strings.Join(columns, ", ")
			for _, q := range []string{
				"SELECT " + all + " FROM " + table + " WHERE " + strings.Join(columns, " IS NULL AND ") + " IS NULL AND false GROUP BY " + all + " ORDER BY " + all,
				"WITH t AS (SELECT * FROM " + table + " LIMIT 0) SELECT " + all + " FROM t",
			} {
				if out, _, err := run(t, store.request(store.path, q)); err != nil || out != strings.Join(columns, ",")+"\n" {
					t.Errorf("%s\n\t%q, %v", q, out, err)
				}
			}
		}
	}
}

func TestHostileQueriesAreRefusedAndLeaveNothing(t *testing.T) {
	t.Parallel()
	path := makeFact(t, "CREATE SEQUENCE seq", "CREATE MACRO peek(f) AS TABLE SELECT * FROM read_text(f)")
	dir := filepath.Dir(path)
	secret := filepath.Join(dir, "secret.csv")
	if err := os.WriteFile(secret, []byte("canary,1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range hostileQueries {
		q = strings.NewReplacer("{file}", secret, "{dir}", dir).Replace(q)
		out, _, err := run(t, fact(path, q))
		if err == nil {
			t.Errorf("allowed: %s\n%s", q, out)
			continue
		}
		switch quant.CodeOf(err) {
		case quant.Refused, quant.Usage, quant.Failed:
		default:
			t.Errorf("%s: code %s: %v", q, quant.CodeOf(err), err)
		}
		if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "crashed") || quant.HintOf(err) == "" && quant.CodeOf(err) != quant.Failed {
			t.Errorf("%s: poor error %q, hint %q", q, err, quant.HintOf(err))
		}
		if strings.Contains(out, "canary") {
			t.Errorf("%s: read the file", q)
		}
	}
	if after := files(t, dir); after != before {
		t.Errorf("files changed:\n%s\nbefore:\n%s", after, before)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, whole) {
		t.Errorf("the database changed (%v)", err)
	}
	t.Logf("%d statements", len(hostileQueries))
}

var hostileQueries = []string{
	"", ";", "-- nothing", "/* nothing */ ;;",
	"SELECT 1; SELECT 2",
	"SELECT 1; DROP TABLE ohlcv",
	"DROP TABLE ohlcv; SELECT 1",
	"INSERT INTO ohlcv SELECT * FROM ohlcv",
	"INSERT INTO ohlcv SELECT * FROM ohlcv; SELECT 1",
	"UPDATE ohlcv SET close = 0",
	"DELETE FROM ohlcv",
	"DELETE FROM ohlcv RETURNING *",
	"TRUNCATE ohlcv",
	"MERGE INTO ohlcv USING trades ON false WHEN NOT MATCHED THEN INSERT DEFAULT VALUES",
	"CREATE TABLE x AS SELECT 1",
	"CREATE TEMP TABLE x AS SELECT 1",
	"CREATE VIEW v AS SELECT 1",
	"CREATE MACRO m(a) AS a",
	"CREATE SCHEMA s",
	"CREATE SECRET s (TYPE s3)",
	"CREATE TYPE e AS ENUM ('a')",
	"DROP VIEW last_close",
	"ALTER TABLE ohlcv ADD COLUMN x INT",
	"WITH x AS (DELETE FROM ohlcv RETURNING *) SELECT * FROM x",
	"SELECT * INTO x FROM ohlcv",
	"COPY ohlcv TO '{dir}/out.csv'",
	"COPY (SELECT 1) TO '{dir}/out.parquet'",
	"COPY ohlcv FROM '{file}'",
	"EXPORT DATABASE '{dir}/export'",
	"IMPORT DATABASE '{dir}/export'",
	"ATTACH '{dir}/other.duckdb' AS other",
	"ATTACH ':memory:' AS m",
	"DETACH quant",
	"USE memory",
	"INSTALL httpfs",
	"LOAD httpfs",
	"FORCE INSTALL spatial",
	"UPDATE EXTENSIONS",
	"SET threads = 1",
	"SET enable_external_access = true",
	"RESET memory_limit",
	"SET VARIABLE x = 1",
	"PRAGMA database_list",
	"PRAGMA enable_profiling",
	"PRAGMA table_info('ohlcv')",
	"CALL pragma_version()",
	"CALL enable_logging()",
	"CHECKPOINT",
	"FORCE CHECKPOINT",
	"VACUUM",
	"ANALYZE",
	"BEGIN",
	"COMMIT",
	"PREPARE p AS SELECT 1",
	"EXECUTE p",
	"DEALLOCATE p",
	"COMMENT ON TABLE ohlcv IS 'x'",
	"EXPLAIN DELETE FROM ohlcv",
	"EXPLAIN ANALYZE DELETE FROM ohlcv",
	"EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1",
	"EXPLAIN SELECT 1; DELETE FROM ohlcv",
	"EXPLAIN EXPLAIN SELECT 1",
	"EXPLAIN ANALYZE COPY ohlcv TO '{dir}/out.csv'",
	"SELECT * FROM '{file}'",
	"SELECT * FROM \"{file}\"",
	"SELECT * FROM read_csv('{file}')",
	"SELECT * FROM READ_CSV_AUTO('{file}')",
	"SELECT * FROM \"read_csv\"('{file}')",
	"SELECT * FROM main.read_csv('{file}')",
	"SELECT * FROM system.main.read_text('{file}')",
	"SELECT (SELECT content FROM read_text('{file}'))",
	"WITH a AS (SELECT * FROM read_blob('{file}')) SELECT 1",
	"SELECT * FROM read_json('{file}')",
	"SELECT * FROM read_parquet('{file}')",
	"SELECT * FROM parquet_metadata('{file}')",
	"SELECT * FROM sniff_csv('{file}')",
	"SELECT * FROM read_duckdb('{dir}/quant.duckdb')",
	"SELECT * FROM glob('{dir}/*')",
	"SELECT * FROM peek('{file}')",
	"FROM ohlcv, LATERAL (SELECT * FROM read_text(source))",
	"PIVOT (SELECT * FROM read_csv('{file}')) ON column0 IN ('a') USING count(*)",
	"DESCRIBE SELECT * FROM read_csv('{file}')",
	"SUMMARIZE SELECT * FROM read_csv('{file}')",
	"DESCRIBE '{file}'",
	"SELECT * FROM query('SELECT 1')",
	"SELECT * FROM query_table('ohlcv')",
	"SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
	"SELECT json_serialize_plan('SELECT 1')",
	"SELECT * FROM duckdb_settings()",
	"SELECT * FROM duckdb_secrets()",
	"SELECT * FROM which_secret('x', 's3')",
	"SELECT * FROM duckdb_extensions()",
	"SELECT * FROM duckdb_logs",
	"SELECT * FROM duckdb_logs()",
	"SELECT * FROM pg_catalog.pg_settings",
	"SELECT * FROM pg_settings",
	"SELECT * FROM system.pg_catalog.pg_settings",
	"SHOW VARIABLES",
	"SELECT * FROM duckdb_variables()",
	"SELECT * FROM enable_logging()",
	"SELECT * FROM enable_profiling()",
	"SELECT * FROM checkpoint()",
	"SELECT * FROM force_checkpoint()",
	"SELECT * FROM enable_peg_parser()",
	"SELECT * FROM truncate_duckdb_logs()",
	"SELECT * FROM pragma_user_agent()",
	"SELECT * FROM test_all_types()",
	"SELECT current_setting('temp_directory')",
	"SELECT getenv('PATH')",
	"SELECT getvariable('x')",
	"SELECT nextval('seq')",
	"SELECT currval('seq')",
	"SELECT write_log('x')",
	"SELECT sleep_ms(100000)",
	"SELECT pg_sleep(1000)",
	"SELECT list_transform([1], lambda x: sleep_ms(x))",
	"SELECT count(*) FILTER (WHERE sleep_ms(5) IS NULL) OVER (ORDER BY nextval('seq')) FROM ohlcv",
	"SELECT * FROM ohlcv ORDER BY sleep_ms(1)",
	"SELECT * FROM ohlcv LIMIT (SELECT nextval('seq'))",
	"SELECT $1",
	"SELECT ?",
	"SELECT error('stop')",
	"SELECT * FROM no_such_table",
	"SELECT no_such_column FROM ohlcv",
	"SELECT no_such_function(1)",
	"SELEC 1",
	"SELECT 'open",
	"SELECT 1 /* open",
	"\\copy ohlcv to x", ".read {file}",
}

func TestMetaQueriesRunAndAnythingElseIsRefused(t *testing.T) {
	t.Parallel()
	path := makeMeta(t)
	for _, q := range []string{
		"SELECT * FROM runs", "select count(*) from runs;", "-- c\n/* c */ SELECT ';' || \"kind\" FROM runs -- ;",
		"WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 5) SELECT * FROM r",
		"VALUES (1), (2)", "EXPLAIN QUERY PLAN SELECT * FROM runs", "SELECT name, sql FROM sqlite_master",
		"SELECT name FROM pragma_table_info('runs')", "SELECT kind, count(*), group_concat(run_id) FROM runs GROUP BY 1 HAVING count(*) > 0",
		"SELECT json_extract('{\"a\":1}', '$.a'), date('now'), strftime('%Y', 'now'), row_number() OVER () FROM runs",
		"SELECT [kind], `status` FROM runs WHERE kind LIKE 's%' AND run_id GLOB 'r*'", "SELECT value FROM json_each('[1,2]')",
	} {
		out, _, err := run(t, meta(path, q))
		if err != nil || strings.Count(out, "\n") < 2 {
			t.Errorf("%s: %v\n%s", q, err, out)
		}
	}
	dir := t.TempDir()
	for _, q := range []string{
		"", ";", "-- x", "SELECT 1; SELECT 2", "SELECT 1; DELETE FROM runs", "DELETE FROM runs", "UPDATE runs SET kind = ''",
		"INSERT INTO runs(run_id, kind) VALUES ('x', 'y')", "REPLACE INTO runs(run_id, kind) VALUES ('x', 'y')", "WITH x AS (SELECT 1) DELETE FROM runs",
		"WITH x AS (SELECT 1) INSERT INTO runs(run_id, kind) SELECT 'a', 'b'", "CREATE TABLE x(a)", "CREATE TEMP TABLE x(a)", "DROP TABLE runs",
		"ALTER TABLE runs ADD COLUMN z", "ATTACH '" + dir + "/x.db' AS x", "DETACH main", "PRAGMA query_only = 0", "PRAGMA journal_mode = DELETE",
		"SELECT * FROM pragma_journal_mode('DELETE')", "SELECT * FROM pragma_query_only(0)", "VACUUM", "VACUUM INTO '" + dir + "/x.db'", "REINDEX", "ANALYZE", "BEGIN", "SAVEPOINT a",
		"SELECT load_extension('x')", "SELECT fts3_tokenizer('simple')", "SELECT readfile('/etc/passwd')", "SELECT writefile('" + dir + "/x', 'y')",
		"SELECT edit('x')", "SELECT zeroblob(2000000000)", "SELECT randomblob(1000000000)", "SELECT printf('%2000000000d', 1)",
		"SELECT sqlite_log(1, 'x')", "EXPLAIN DELETE FROM runs", "EXPLAIN QUERY PLAN DELETE FROM runs", "SELECT ?1", "SELECT :a", "SELECT 'open", "SELECT \"x",
		"SELECT nope FROM runs", "SELECT * FROM nope", "CREATE VIRTUAL TABLE f USING fts4(a)",
	} {
		out, _, err := run(t, meta(path, q))
		if err == nil {
			t.Errorf("allowed: %s\n%s", q, out)
		} else if strings.Contains(err.Error(), "crashed") {
			t.Errorf("%s: %v", q, err)
		}
	}
	if got := files(t, dir); got != dir {
		t.Errorf("files were made:\n%s", got)
	}
	if out, _, err := run(t, meta(path, "SELECT count(*) FROM runs")); err != nil || out != "count(*)\n3\n" {
		t.Errorf("rows afterwards: %q, %v", out, err)
	}
}

func TestMetaIsReadInAFolderThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	path := makeMeta(t)
	if err := os.Chmod(filepath.Dir(path), 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Dir(path), 0o700) })
	if out, _, err := run(t, meta(path, "SELECT count(*) n FROM runs")); err != nil || out != "n\n3\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

const everyType = `SELECT 1::TINYINT a, '-170141183460469231731687303715884105728'::HUGEINT b, '340282366920938463463374607431768211455'::UHUGEINT c,
 -0.05::DECIMAL(4,2) d, '12345678901234567890.123456789'::DECIMAL(38,9) e, 0.1::DOUBLE f, 0.1::FLOAT g, 'nan'::DOUBLE h, '-inf'::DOUBLE i,
 true j, DATE '2024-02-29' k, DATE '0044-03-15 (BC)' l, TIMESTAMP '2026-01-15 09:30:00' m, TIMESTAMPTZ '2026-01-15 09:30:00+09' n,
 TIMESTAMP_NS '2026-01-15 09:30:00.123456789' o, TIMESTAMP_S '1969-12-31 23:59:59' p, 'infinity'::DATE q, TIME '09:30:00.5' r, INTERVAL '14 months 3 days -1 second' s,
 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6'::UUID t, '\x00\xff'::BLOB u, '0101'::BIT v, 'x'::ENUM('w', 'x') w,
 [1, NULL, 3] x, {'z': 'q"', 'a': [{'n': NULL}]} y, MAP {'k': 1.5} z, [1, 2]::INT[2] aa, '{"n": 1e400}'::JSON ab, NULL ac, '' ad, 'a,"b' || chr(10) ae,
 union_value(num := 2) af, 1e300 ag, 1e-7 ah, TIMETZ '10:00:00+02:30' ai, 'a fairly long text, longer than twelve' aj, 123456789012345678 ak`

func TestEveryTypeHasItsDocumentedText(t *testing.T) {
	t.Parallel()
	path := makeFact(t)
	req := fact(path, everyType)
	req.Format = sandbox.JSON
	out, _, err := run(t, req)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[
{"a":1,"b":-170141183460469231731687303715884105728,"c":340282366920938463463374607431768211455,"d":-0.05,"e":12345678901234567890.123456789,"f":0.1,"g":0.1,"h":"NaN","i":"-Infinity","j":true,"k":"2024-02-29","l":"-0043-03-15","m":"2026-01-15T09:30:00.000000Z","n":"2026-01-15T00:30:00.000000Z","o":"2026-01-15T09:30:00.123456789Z","p":"1969-12-31T23:59:59.000000Z","q":"infinity","r":"09:30:00.5","s":"1 year 2 months 3 days -00:00:01","t":"f81d4fae-7dec-11d0-a765-00a0c91e6bf6","u":"00ff","v":"0101","w":"x","x":[1,null,3],"y":{"z":"q\"","a":[{"n":null}]},"z":{"k":1.5},"aa":[1,2],"ab":{"n": 1e400},"ac":null,"ad":"","ae":"a,\"b\n","af":{"num":2},"ag":` + "1e+300" + `,"ah":1e-07,"ai":"10:00:00+02:30","aj":"a fairly long text, longer than twelve","ak":123456789012345678}
]
`
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	if !json.Valid([]byte(out)) {
		t.Error("not valid JSON")
	}
	req.Format = sandbox.CSV
	out, _, err = run(t, req)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, `,,"","a,""b`+"\n"+`",`) {
		t.Errorf("NULL, empty text and quotes in CSV: %s", out)
	}
	if rows, err := csv.NewReader(strings.NewReader(out)).ReadAll(); err != nil || len(rows) != 2 {
		t.Errorf("csv: %v", err)
	}
}

func TestJSONIsValidForAnyResult(t *testing.T) {
	t.Parallel()
	path := makeFact(t)
	for q, want := range map[string]string{
		"SELECT 1 AS a WHERE false":       "[]\n",
		"SELECT 1 AS a, 2 AS a, 3 AS a_2": "[\n{\"a\":1,\"a_3\":2,\"a_2\":3}\n]\n",
		"SELECT chr(27) || chr(0) AS x":   "[\n{\"x\":\"\\u001b\\u0000\"}\n]\n",
	} {
		req := fact(path, q)
		req.Format = sandbox.JSON
		out, _, err := run(t, req)
		if err != nil || out != want || !json.Valid([]byte(out)) {
			t.Errorf("%s: %v\n got %q\nwant %q", q, err, out, want)
		}
	}
}

func TestATableIsAlignedAndCannotDriveTheTerminal(t *testing.T) {
	t.Parallel()
	path := makeFact(t)
	req := fact(path, "SELECT * FROM (VALUES ('삼성전자', 1.5, NULL), ('a' || chr(27) || '[2J' || chr(10) || chr(8238), 20, 'x')) t(name, px, note)")
	req.Format = sandbox.Table
	out, _, err := run(t, req)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out, "\n")
	if len(lines) != 5 || !strings.Contains(lines[2], "삼성전자"+strings.Repeat(" ", 16-8+2)+" 1.5  NULL") || !strings.Contains(lines[3], `a\x1b[2J\n\u202e`) {
		t.Errorf("got\n%s", out)
	}
	if strings.ContainsAny(out, "\x1b\u202e") {
		t.Error("a control character got through")
	}
}

func TestLimitCutsAndSaysSo(t *testing.T) {
	t.Parallel()
	for _, req := range []sandbox.Request{fact(makeFact(t), "SELECT range AS i FROM range(5)"), meta(makeMeta(t), "VALUES (0), (1), (2), (3), (4)")} {
		for limit, cut := range map[int64]bool{0: false, 4: true, 5: false, 6: false} {
			req.Limit = limit
			_, res, err := run(t, req)
			want := int64(5)
			if cut {
				want = limit
			}
			if err != nil || res.Cut != cut || res.Rows != want || len(res.Columns) != 1 {
				t.Errorf("%s limit %d: %+v, %v", req.Store, limit, res, err)
			}
		}
	}
}

func TestAQueryEndsAtItsDeadlineWhateverItDoes(t *testing.T) {
	t.Parallel()
	factPath, metaPath := makeFact(t), makeMeta(t)
	for name, req := range map[string]sandbox.Request{
		"recursion":           fact(factPath, endless),
		"a deaf scalar call":  fact(factPath, "SELECT list_reduce(range(30000000), lambda a, b: (a + b) % 1000)"),
		"cross joins":         fact(factPath, "SELECT count(*) FROM range(1000000) a, range(1000000) b, range(1000000) c WHERE a.range + b.range < c.range"),
		"endless rows":        fact(factPath, "SELECT a.range FROM range(10000000) a, range(10000000) b"),
		"recursion in SQLite": meta(metaPath, "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i % 7 FROM r) SELECT count(*) FROM r"),
	} {
		req.Format, req.Timeout = sandbox.CSV, time.Second
		start := time.Now()
		_, err := sandbox.Run(t.Context(), req, io.Discard)
		took := time.Since(start)
		if quant.CodeOf(err) != quant.Failed || !strings.Contains(fmt.Sprint(err), "query ran longer than 1s") || !strings.Contains(quant.HintOf(err), "--timeout") {
			t.Errorf("%s: %v", name, err)
		}
		if took > 20*time.Second {
			t.Errorf("%s: took %s", name, took)
		}
		t.Logf("%s: %s", name, took)
	}
}

func TestACancelledQueryEndsAtOnce(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("interrupted by the user")
	time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
	start := time.Now()
	_, err := sandbox.Run(ctx, sandbox.Request{Store: sandbox.Fact, Path: makeFact(t), SQL: endless, Format: sandbox.CSV}, io.Discard)
	if !errors.Is(err, why) || time.Since(start) > 20*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

func TestAQueryThatNeedsTooMuchMemorySaysSo(t *testing.T) {
	t.Parallel()
	factPath, metaPath := makeFact(t), makeMeta(t)
	before := files(t, filepath.Dir(factPath))
	for _, req := range []sandbox.Request{
		fact(factPath, "SELECT length(repeat('x', 4000000000))"),
		fact(factPath, "SELECT len(range(1000000000))"),
		fact(factPath, "SELECT len(list(a.range + b.range)) FROM range(100000) a, range(100000) b"),
		fact(factPath, "SELECT a.range, b.range FROM range(100000) a, range(100000) b ORDER BY hash(a.range * b.range), 1 LIMIT 1000000000 OFFSET 999999999"),
		fact(factPath, "SELECT DISTINCT a.range * 1000000 + b.range FROM range(1000000) a, range(1000000) b"),
		fact(factPath, "SELECT string_agg(repeat('x', 1000), ',') FROM range(100000000)"),
		meta(metaPath, "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 5000) SELECT group_concat(hex(zeroblob(100000))) FROM r"),
	} {
		req.MemoryLimit, req.Timeout = 256<<20, 2*time.Minute
		_, _, err := run(t, req)
		if quant.CodeOf(err) != quant.Failed || !strings.Contains(fmt.Sprint(err), "needed more memory than 256 MiB") || quant.HintOf(err) == "" {
			t.Errorf("%s: %v", req.SQL, err)
		}
	}
	if left := files(t, filepath.Dir(factPath)); left != before {
		t.Errorf("something was spilled:\n%s", left)
	}
}

func TestOutputThatNobodyReadsStopsTheQuery(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	start := time.Now()
	_, err = sandbox.Run(t.Context(), sandbox.Request{Store: sandbox.Fact, Path: makeFact(t), SQL: "SELECT a.range FROM range(10000000) a, range(10000000) b", Format: sandbox.CSV}, w)
	if !errors.Is(err, syscall.EPIPE) || time.Since(start) > 20*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

func TestAQueryDiesWithItsParent(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+makeFact(t))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child := 0
	for end := time.Now().Add(60 * time.Second); child == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", cmd.Process.Pid))
		for _, f := range tasks {
			b, _ := os.ReadFile(f)
			child, _ = strconv.Atoi(strings.TrimSpace(string(b)))
			if child != 0 {
				break
			}
		}
	}
	if child == 0 {
		t.Fatal("no child seen")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		if err != nil || bytes.Contains(b, []byte(") Z ")) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("process %d outlived its parent: %s", child, b)
		}
	}
}

func TestTheChildCannotBeStartedByHand(t *testing.T) {
	t.Parallel()
	for _, files := range [][]*os.File{nil, {os.Stdin, os.Stdout}} {
		cmd := exec.Command(os.Args[0], sandbox.ChildArg)
		cmd.ExtraFiles = files
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || bytes.Count(out, []byte("\n")) != 1 {
			t.Errorf("%v: %q", err, out)
		}
	}
}

func TestAWriterIsWaitedFor(t *testing.T) {
	t.Parallel()
	path := makeFact(t)
	db, err := sql.Open("duckdb", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	req := fact(path, "SELECT count(*) AS n FROM trades")
	_, _, err = run(t, req)
	if quant.CodeOf(err) != quant.Locked || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("%v", err)
	}
	req.Wait = time.Minute
	req.OnWait = func(pid int) {
		if pid != os.Getpid() {
			t.Errorf("held by %d", pid)
		}
		db.Close()
	}
	if out, _, err := run(t, req); err != nil || out != "n\n3\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestAStoreThatCannotBeReadIsAStoreError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, bytes.Repeat([]byte("not a database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, store := range []string{sandbox.Fact, sandbox.Meta} {
		for _, path := range []string{filepath.Join(dir, "none"), dir, bad} {
			_, _, err := run(t, sandbox.Request{Store: store, Path: path, SQL: "SELECT 1"})
			if quant.CodeOf(err) != quant.Store || quant.HintOf(err) == "" {
				t.Errorf("%s %s: %v", store, path, err)
			}
		}
	}
	if _, _, err := run(t, fact(filepath.Join(dir, "none"), "SELECT 1")); !strings.Contains(quant.HintOf(err), "quant init-db") {
		t.Errorf("hint %q", quant.HintOf(err))
	}
}

func TestAChildThatDiesIsAnErrorAndNoHang(t *testing.T) {
	t.Parallel()
	_, err := sandbox.Run(t.Context(), sandbox.Request{Store: sandbox.Fact, Path: makeFact(t), SQL: "SELECT 1", Format: sandbox.CSV, Executable: "/bin/false"}, io.Discard)
	if quant.CodeOf(err) != quant.Failed || !strings.Contains(err.Error(), "crashed") {
		t.Errorf("a child that ends at once: %v", err)
	}
}

func BenchmarkStartUp(b *testing.B) {
	path := makeFact(b)
	for b.Loop() {
		if _, _, err := run(b, fact(path, "SELECT 1")); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFormats writes 2.5 million rows of 10 columns.
func BenchmarkFormats(b *testing.B) {
	path := makeFact(b, `CREATE TABLE big AS SELECT 'S' || (i % 500) AS symbol, DATE '2000-01-01' + (i // 500)::INT AS ts,
	 100 + random() AS open, 101 + random() AS high, 99 + random() AS low, 100 + random() AS close, (random() * 1e6)::INT::DOUBLE AS volume,
	 NULL::DOUBLE AS adjusted_close, 'bench' AS source, TIMESTAMP '2026-01-15 09:30:00' AS ingested_at FROM range(2500000) t(i)`)
	for _, format := range []string{sandbox.CSV, sandbox.JSON, sandbox.Table} {
		b.Run(format, func(b *testing.B) {
			rows := int64(0)
			for b.Loop() {
				res, err := sandbox.Run(b.Context(), sandbox.Request{Store: sandbox.Fact, Path: path, SQL: "FROM big", Format: format}, io.Discard)
				if err != nil {
					b.Fatal(err)
				}
				rows += res.Rows
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
