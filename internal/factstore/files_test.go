package factstore_test

import (
	"bytes"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/factstore"
)

func TestSchemaHasTheContractsColumns(t *testing.T) {
	t.Parallel()
	db := openWrite(t, newPath(t))
	for table, want := range map[string]string{
		"ohlcv":            "symbol VARCHAR,ts DATE,open DOUBLE,high DOUBLE,low DOUBLE,close DOUBLE,volume DOUBLE,adjusted_close DOUBLE,source VARCHAR,ingested_at TIMESTAMP",
		"returns":          "symbol VARCHAR,ts DATE,ret_1d DOUBLE,ret_5d DOUBLE,ret_20d DOUBLE,ret_60d DOUBLE",
		"features_daily":   "symbol VARCHAR,ts DATE,feature_name VARCHAR,feature_value DOUBLE,feature_version VARCHAR,computed_at TIMESTAMP",
		"labels":           "symbol VARCHAR,ts DATE,label_name VARCHAR,label_value DOUBLE,label_version VARCHAR",
		"predictions":      "symbol VARCHAR,ts DATE,model_id VARCHAR,task_id VARCHAR,score DOUBLE,calibrated_score DOUBLE,generated_at TIMESTAMP",
		"targets":          "strategy_id VARCHAR,version VARCHAR,asof DATE,symbol VARCHAR,weight DOUBLE,score DOUBLE,approved BOOLEAN,risk_flags VARCHAR,reason VARCHAR,generated_at TIMESTAMP",
		"backtest_trades":  "run_id VARCHAR,strategy_id VARCHAR,symbol VARCHAR,entry_ts DATE,entry_price DOUBLE,qty DOUBLE,exit_ts DATE,exit_price DOUBLE,pnl DOUBLE,pnl_pct DOUBLE,fees DOUBLE,slippage_est DOUBLE,reason VARCHAR",
		"backtest_summary": "run_id VARCHAR,strategy_id VARCHAR,from_ts DATE,to_ts DATE,cagr DOUBLE,sharpe DOUBLE,max_dd DOUBLE,vol DOUBLE,turnover DOUBLE,win_rate DOUBLE,avg_trade DOUBLE,num_trades BIGINT,fee_bps DOUBLE,slippage_bps DOUBLE,created_at TIMESTAMP",
		"ledger":           "run_id VARCHAR,table_name VARCHAR,rows_inserted BIGINT,rows_updated BIGINT,rows_deleted BIGINT,committed_at TIMESTAMP",
	} {
		var got string
		if err := db.QueryRow(t.Context(), "SELECT string_agg(column_name || ' ' || data_type, ',' ORDER BY column_index) FROM duckdb_columns() WHERE database_name = 'fact' AND table_name = ?", table).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, want %s (%v)", table, got, want, err)
		}
	}
}

// makeDuckDB makes a database that is not opened by this package.
func makeDuckDB(t *testing.T, path, statements string) {
	t.Helper()
	db, err := sql.Open("duckdb", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statements); err != nil {
		t.Fatal(err)
	}
}

func snapshot(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		content, _ := os.ReadFile(filepath.Join(dir, e.Name()))
		if !strings.HasSuffix(e.Name(), ".lock") {
			b.WriteString(e.Name() + "\x00" + string(content) + "\x00")
		}
	}
	return b.String()
}

func TestForeignNewerAndUnusableFilesAreRefusedUnchanged(t *testing.T) {
	t.Parallel()
	made := func(statements string) func(*testing.T, string) {
		return func(t *testing.T, path string) { makeDuckDB(t, path, statements) }
	}
	for name, c := range map[string]struct {
		make func(*testing.T, string)
		kind error
		says string
	}{
		"a foreign database": {made("CREATE TABLE mine AS SELECT 42 AS answer"), factstore.ErrDamaged, "not one of quant"},
		"a foreign database with a log": {made("PRAGMA disable_checkpoint_on_shutdown; CREATE TABLE mine AS SELECT 42 AS answer"),
			factstore.ErrDamaged, "not one of quant"},
		"a foreign schema_version": {made("CREATE TABLE schema_version AS SELECT 1 AS version"), factstore.ErrDamaged, "not one of quant"},
		"no version": {made("CREATE TABLE schema_version(version INTEGER, applied_at TIMESTAMP); CREATE TABLE ledger(x INTEGER)"),
			factstore.ErrDamaged, "does not say"},
		"a newer schema": {made("CREATE TABLE schema_version AS SELECT 99 AS version, now()::TIMESTAMP AS applied_at; CREATE TABLE ledger(x INTEGER)"),
			factstore.ErrNewer, "schema version 99"},
		"a folder":      {func(t *testing.T, path string) { _ = os.Mkdir(path, 0o700) }, factstore.ErrDamaged, "folder"},
		"an empty file": {func(t *testing.T, path string) { _ = os.WriteFile(path, nil, 0o600) }, factstore.ErrDamaged, "empty"},
		"a SQLite header": {func(t *testing.T, path string) {
			_ = os.WriteFile(path, append([]byte("SQLite format 3\x00"), make([]byte, 8192)...), 0o600)
		}, factstore.ErrDamaged, "cannot be read"},
		"only its log": {func(t *testing.T, path string) { _ = os.WriteFile(path+".wal", []byte("log"), 0o600) }, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "quant.duckdb")
			c.make(t, path)
			before := snapshot(t, filepath.Dir(path))
			_, readErr := factstore.OpenRead(t.Context(), options(path))
			_, writeErr := factstore.OpenWrite(t.Context(), options(path))
			_, runsErr := factstore.CommittedRuns(t.Context(), options(path), []string{"r"})
			for _, err := range []error{readErr, writeErr, runsErr} {
				wantCode(t, err, quant.Store, path, c.says)
				if c.kind != nil && !errors.Is(err, c.kind) {
					t.Errorf("%v is not %v", err, c.kind)
				}
			}
			if snapshot(t, filepath.Dir(path)) != before {
				t.Error("something was changed")
			}
		})
	}
}

func TestAnOlderSchemaIsBroughtUpToDateByAWriterOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "quant.duckdb")
	makeDuckDB(t, path, `CREATE TABLE schema_version(version INTEGER NOT NULL, applied_at TIMESTAMP NOT NULL); INSERT INTO schema_version VALUES (0, now()::TIMESTAMP);
		CREATE TABLE ledger(run_id TEXT NOT NULL, table_name TEXT NOT NULL, rows_inserted BIGINT NOT NULL, rows_updated BIGINT NOT NULL, rows_deleted BIGINT NOT NULL, committed_at TIMESTAMP NOT NULL);
		INSERT INTO ledger VALUES ('old', 'ohlcv', 1, 0, 0, TIMESTAMP '2020-01-01')`)
	_, err := factstore.OpenRead(t.Context(), options(path))
	wantCode(t, err, quant.Store, "schema version 0", "init-db")
	db := openWrite(t, path)
	if !db.Upgraded() || db.Created() {
		t.Error("not upgraded")
	}
	wantSound(t, db)
	if n := number(t, db, "SELECT count(*) FROM ledger"); n != 1 {
		t.Errorf("%d ledger rows", n)
	}
	closeDB(t, db)
	if again := openWrite(t, path); again.Upgraded() {
		t.Error("upgraded again")
	}
}

func TestBackupIsTheDatabaseAndKeepsTheLock(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	db := openWrite(t, path)
	mustWriteBars(t, db, "r", "A", 5000)
	copied := filepath.Join(t.TempDir(), "copy.duckdb")
	if err := db.Backup(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	wantCode(t, db.Backup(t.Context(), copied), quant.Conflict, copied)
	// Another process must still be refused: the copy has closed nothing.
	text, _ := output(t, "examine", path)
	if strings.Count(text, "refused locked") != 2 {
		t.Errorf("another process got: %s", text)
	}
	mustWriteBars(t, db, "r2", "B", 1)
	closeDB(t, db)
	if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	read, err := factstore.OpenRead(t.Context(), options(copied))
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	if n := number(t, read, "SELECT count(*) FROM ohlcv"); n != 5000 {
		t.Errorf("%d rows", n)
	}
	wantSound(t, read)
}

func TestABackupOfAReaderTakesTheLogAlong(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	output(t, "die-at", path, "fact.commit.after") // its commits are in the WAL
	copied := path + ".backup"
	read, err := factstore.OpenRead(t.Context(), options(path))
	if err != nil {
		t.Fatal(err)
	}
	if err := read.Backup(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	wantCode(t, read.Backup(t.Context(), copied), quant.Conflict)
	closeDB(t, read)
	for _, suffix := range []string{"", ".wal"} {
		a, errA := os.ReadFile(path + suffix)
		b, errB := os.ReadFile(copied + suffix)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%q differs: %v, %v", suffix, errA, errB)
		}
	}
	db := openWrite(t, copied)
	if n := number(t, db, "SELECT count(*) FROM ohlcv"); n != 1000 {
		t.Errorf("%d rows", n)
	}
}

func TestMoveTakesWhateverStandsThere(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	dst := func(name string) string { return filepath.Join(filepath.Dir(path), name) }
	output(t, "die-at", path, "fact.commit.after")
	if err := factstore.Move(t.Context(), options(path), dst("a")); err != nil {
		t.Fatal(err)
	}
	db := openWrite(t, dst("a"))
	if n := number(t, db, "SELECT count(*) FROM ohlcv"); n != 1000 {
		t.Errorf("%d rows came along", n)
	}
	for name, put := range map[string]func() error{
		"a database": func() error {
			fresh := openWrite(t, path)
			if !fresh.Created() {
				t.Error("something was left")
			}
			closeDB(t, fresh)
			return nil
		},
		"a folder":   func() error { return os.Mkdir(path, 0o700) },
		"garbage":    func() error { return os.WriteFile(path, []byte("garbage"), 0o600) },
		"only a log": func() error { return os.WriteFile(path+".wal", []byte("x"), 0o600) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if err := factstore.Move(t.Context(), options(path), dst(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantCode(t, factstore.Move(t.Context(), options(path), dst("b")), quant.Store) // nothing is left
	}
}

func TestAMovedFactDBComesBackWhole(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	moved := filepath.Join(t.TempDir(), "quant.duckdb")
	o := options(path)
	if err := factstore.Move(t.Context(), o, moved); !errors.Is(err, factstore.ErrMissing) {
		t.Error(err)
	}
	output(t, "die-at", path, "fact.commit.after") // its commits are in the WAL
	if err := factstore.Move(t.Context(), o, moved); err != nil {
		t.Fatal(err)
	}
	if _, err := factstore.OpenRead(t.Context(), o); !errors.Is(err, factstore.ErrMissing) {
		t.Error(err)
	}
	if err := factstore.MoveBack(t.Context(), o, moved); err != nil {
		t.Fatal(err)
	}
	db := openWrite(t, path)
	if n := number(t, db, "SELECT count(*) FROM ohlcv"); n != 1000 {
		t.Errorf("%d rows came back", n)
	}
	closeDB(t, db)
	if err := factstore.Move(t.Context(), o, moved); err != nil {
		t.Fatal(err)
	}
	closeDB(t, openWrite(t, path)) // somebody makes another
	wantCode(t, factstore.MoveBack(t.Context(), o, moved), quant.Conflict, moved)
	wantCode(t, factstore.Move(t.Context(), o, moved), quant.Conflict, moved)
}

func TestCommittedRunsOfAMissingFileAreNone(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	if runs, err := factstore.CommittedRuns(t.Context(), options(path), []string{"r"}); err != nil || len(runs) != 0 {
		t.Errorf("%v, %v", runs, err)
	}
	if _, err := os.Stat(filepath.Dir(path)); err == nil {
		t.Error("the folder was made")
	}
}

func TestCheckNamesWhatAHandWrittenStatementSpoiled(t *testing.T) {
	t.Parallel()
	const bar = "INSERT INTO ohlcv SELECT 'A', DATE '2020-01-01', %, committed_at FROM ledger WHERE table_name = 'ohlcv'"
	values := func(v string) string { return strings.Replace(bar, "%", v, 1) }
	for name, c := range map[string]struct{ statement, object, what string }{
		"a key twice":             {values("2, 3, 1, 2, 10, NULL, 't'") + "; " + values("2, 3, 1, 2, 10, NULL, 't'"), "ohlcv", "more than once"},
		"low above high":          {values("2, 1, 3, 2, 10, NULL, 't'"), "ohlcv", "impossible"},
		"a price of nothing":      {values("0, 3, 0, 2, 10, NULL, 't'"), "ohlcv", "impossible"},
		"a price missing":         {values("NULL, 3, 1, 2, 10, NULL, 't'"), "ohlcv", "impossible"},
		"NaN":                     {values("2, 3, 1, 2, 10, 'nan', 't'"), "ohlcv", "NaN"},
		"infinity":                {"INSERT INTO returns_other VALUES ('A', DATE '2020-01-01', 'inf', 0, 0, 0)", "returns", "infinity"},
		"a feature's key twice":   {"INSERT INTO features_v1 (symbol, ts, ret_1d) VALUES ('A', DATE '2020-01-01', 1), ('A', DATE '2020-01-01', 2)", "features_daily", "more than once"},
		"a feature in two tables": {"INSERT INTO features_v2 (symbol, ts, macd) VALUES ('A', DATE '2020-01-01', 1); INSERT INTO features_other VALUES ('A', DATE '2020-01-01', 'macd', 2, 'v2', NULL)", "features_daily", "more than once"},
		"returns of two kinds":    {"INSERT INTO returns_version VALUES ('A', 'v1'); INSERT INTO returns_other VALUES ('A', DATE '2020-01-01', 1, 0, 0, 0); INSERT INTO features_v1 (symbol, ts, ret_1d) VALUES ('A', DATE '2020-01-01', 1)", "returns", "more than once"},
		"a feature of nobody":     {"INSERT INTO features_v1 (symbol, ts, ret_1d) VALUES ('A', DATE '2020-01-01', 1)", "features_daily", "no ledger row"},
		"a view missing":          {"DROP VIEW features_daily", "features_daily", "missing"},
		"an unexplained stamp":    {"UPDATE ohlcv SET ingested_at = TIMESTAMP '2001-01-01' WHERE ts = DATE '2020-01-02'", "ohlcv", "no ledger row"},
		"a run unknown":           {"INSERT INTO backtest_trades_other(run_id) VALUES ('nobody')", "backtest_trades", "no ledger row"},
		"a time shared":           {"INSERT INTO ledger SELECT 'other', 'labels', 1, 0, 0, committed_at FROM ledger", "ledger", "more than one run"},
		"time going back":         {"INSERT INTO ledger VALUES ('other', 'labels', 1, 0, 0, TIMESTAMP '2001-01-01')", "ledger", "earlier"},
		"an empty ledger row":     {"INSERT INTO ledger VALUES ('other', 'labels', 0, 0, 0, TIMESTAMP '2101-01-01')", "ledger", "no change"},
		"a revision of nothing":   {"INSERT INTO ohlcv_revisions (symbol, ts, replaced_at, run_id, bars, factor) SELECT 'A', DATE '2020-01-01', committed_at, run_id, 1, 2 FROM ledger", "ohlcv_revisions", "cannot say"},
		"labels of nobody":        {"INSERT INTO labels VALUES ('A', DATE '2020-01-01', 'l', 1, 'v1')", "labels", "no writer"},
		"a table missing":         {"DROP TABLE rejects", "rejects", "missing"},
		"a part missing":          {"INSERT INTO backtest_positions_coded VALUES (3, DATE '2020-01-01', 0, 1, 1, 1, 1)", "backtest_positions", "cannot be read"},
		"a text missing":          {"INSERT INTO coded_parts VALUES (3, 'backtest_positions', 'r', NULL, NULL, NULL, NULL, NULL); INSERT INTO backtest_positions_coded VALUES (3, DATE '2020-01-01', 9, 1, 1, 1, 1)", "backtest_positions", "cannot be read"},
		"a part twice":            {"INSERT INTO coded_parts VALUES (3, 'targets', 'r', NULL, NULL, NULL, NULL, NULL), (3, 'targets', 'q', NULL, NULL, NULL, NULL, NULL)", "coded_parts", "more than once"},
		"a code twice":            {"INSERT INTO coded_texts VALUES (0, 'a')", "coded_texts", "more than once"},
		"NaN among codes":         {"INSERT INTO coded_parts VALUES (3, 'backtest_positions', 'r', NULL, NULL, NULL, NULL, NULL); INSERT INTO backtest_positions_coded VALUES (3, DATE '2020-01-01', 0, 'nan', 1, 1, 1)", "backtest_positions", "NaN"},
		"a column more":           {"ALTER TABLE labels ADD COLUMN extra INTEGER", "labels", "its columns are"},
		"a key nullable":          {"ALTER TABLE labels ALTER COLUMN symbol DROP NOT NULL", "labels", "its columns are"},
		"another version":         {"UPDATE schema_version SET version = 0", "schema_version", "says 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openWrite(t, newPath(t))
			mustWriteBars(t, db, "r", "B", 10)
			wantSound(t, db)
			run(t, db, c.statement)
			problems, err := db.Check(t.Context())
			if err != nil || !slices.ContainsFunc(problems, func(p factstore.Problem) bool {
				return p.Object == c.object && strings.Contains(p.What, c.what) && p.Mend != ""
			}) {
				t.Errorf("%v, %v", problems, err)
			}
		})
	}
}

// What the operating system refuses says nothing of the file.
func TestAReadThatFailsIsNoDamage(t *testing.T) {
	t.Parallel()
	for text, damage := range map[string]bool{
		`IO Error: Could not read from file "quant.duckdb": Input/output error`:                 false,
		`IO Error: Cannot open file "quant.duckdb": Too many open files`:                        false,
		`IO Error: Cannot open file "quant.duckdb": Permission denied`:                          false,
		`IO Error: Could not read from file "quant.duckdb": Resource temporarily unavailable`:   false,
		`IO Error: The file "quant.duckdb" exists, but it is not a valid DuckDB database file!`: true,
		`IO Error: Corrupt database file: computed checksum 1 does not match stored checksum 2`: true,
	} {
		err := factstore.AttachError(t.Context(), "quant.duckdb", errors.New(text))
		if got := errors.Is(err, factstore.ErrDamaged); got != damage || !errors.Is(err, quant.Store) {
			t.Errorf("%s: %v", text, err)
		}
		if !damage && !strings.Contains(err.Error(), "cannot be judged now") {
			t.Error(err)
		}
	}
}
