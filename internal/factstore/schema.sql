-- The Fact DB's schema, whole. Every statement may be run again on a database
-- that has it already, so that this file also brings an older one up to date:
-- new tables by IF NOT EXISTS, new columns by ALTER TABLE ... ADD COLUMN IF NOT
-- EXISTS after the table. A change here raises SchemaVersion.
--
-- No table declares its key. Tx.Merge keeps keys unique and Check audits them.
-- A PRIMARY KEY on ohlcv is sound on DuckDB 1.5.6 as far as was tried (delete
-- and insert of the same keys in one transaction, updates, reopening), but
-- loading 5 million bars from Parquet takes three times as long with it, and
-- upstream reports read-only opens that fail while replaying a WAL with index
-- blocks. docs/benchmarks.md has the figures and the command.

CREATE TABLE IF NOT EXISTS schema_version (
    version    INTEGER   NOT NULL,
    applied_at TIMESTAMP NOT NULL
);

CREATE TABLE IF NOT EXISTS ohlcv (
    symbol         TEXT NOT NULL,
    ts             DATE NOT NULL,
    open           DOUBLE,
    high           DOUBLE,
    low            DOUBLE,
    close          DOUBLE,
    volume         DOUBLE,
    adjusted_close DOUBLE,
    source         TEXT,
    ingested_at    TIMESTAMP
);

-- targets, proposals, backtest_trades and backtest_positions are made by codedSchema of
-- coded.go.

-- features_daily and returns are views, made by featureSchema of features.go together
-- with a table for each feature version, one column a feature. What follows stands
-- beside these.
CREATE TABLE IF NOT EXISTS features_other (
    symbol          TEXT NOT NULL,
    ts              DATE NOT NULL,
    feature_name    TEXT NOT NULL,
    feature_value   DOUBLE,
    feature_version TEXT NOT NULL,
    computed_at     TIMESTAMP
);

CREATE TABLE IF NOT EXISTS returns_other (
    symbol  TEXT NOT NULL,
    ts      DATE NOT NULL,
    ret_1d  DOUBLE,
    ret_5d  DOUBLE,
    ret_20d DOUBLE,
    ret_60d DOUBLE
);

CREATE TABLE IF NOT EXISTS returns_version (
    symbol  TEXT NOT NULL,
    version TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS labels (
    symbol        TEXT NOT NULL,
    ts            DATE NOT NULL,
    label_name    TEXT NOT NULL,
    label_value   DOUBLE,
    label_version TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS backtest_summary (
    run_id       TEXT NOT NULL,
    strategy_id  TEXT,
    from_ts      DATE,
    to_ts        DATE,
    cagr         DOUBLE,
    sharpe       DOUBLE,
    max_dd       DOUBLE,
    vol          DOUBLE,
    turnover     DOUBLE,
    win_rate     DOUBLE,
    avg_trade    DOUBLE,
    num_trades   BIGINT,
    fee_bps      DOUBLE,
    slippage_bps DOUBLE,
    created_at   TIMESTAMP
);

CREATE TABLE IF NOT EXISTS ledger (
    run_id        TEXT      NOT NULL,
    table_name    TEXT      NOT NULL,
    rows_inserted BIGINT    NOT NULL,
    rows_updated  BIGINT    NOT NULL,
    rows_deleted  BIGINT    NOT NULL,
    committed_at  TIMESTAMP NOT NULL
);

-- The last writer of facts that carry no time of their own.
CREATE TABLE IF NOT EXISTS fact_slices (
    table_name TEXT NOT NULL,
    symbol     TEXT NOT NULL,
    name       TEXT NOT NULL,
    version    TEXT NOT NULL,
    from_ts    DATE,
    to_ts      DATE,
    run_id     TEXT NOT NULL
);

-- Input rows that a quality gate turned away; symbol and ts as they stood there.
CREATE TABLE IF NOT EXISTS rejects (
    source_digest TEXT   NOT NULL,
    line          BIGINT NOT NULL,
    reason        TEXT   NOT NULL,
    source        TEXT,
    symbol        TEXT,
    ts            TEXT,
    row_text      TEXT,
    run_id        TEXT,
    rejected_at   TIMESTAMP
);

-- Features and labels: what a slice of computed facts was computed from, and
-- what came of it.
CREATE TABLE IF NOT EXISTS fact_inputs (
    table_name TEXT NOT NULL,
    symbol     TEXT NOT NULL,
    name       TEXT NOT NULL,
    version    TEXT NOT NULL,
    inputs     TEXT NOT NULL,
    facts      TEXT NOT NULL
);

-- Curator.

-- What a row of ohlcv was before a run replaced it. With a factor, one row for
-- many bars of a symbol (ts is the first): only their adjusted_close changed.
CREATE TABLE IF NOT EXISTS ohlcv_revisions (
    symbol         TEXT NOT NULL,
    ts             DATE NOT NULL,
    open           DOUBLE,
    high           DOUBLE,
    low            DOUBLE,
    close          DOUBLE,
    volume         DOUBLE,
    adjusted_close DOUBLE,
    source         TEXT,
    ingested_at    TIMESTAMP,
    replaced_at    TIMESTAMP NOT NULL,
    run_id         TEXT NOT NULL,
    bars           BIGINT NOT NULL,
    factor         DOUBLE,
    decimals       INTEGER,
    corrections    BIGINT[],
    stretches      STRUCT("first" DATE, "last" DATE, source TEXT, ingested_at TIMESTAMP)[]
);

-- Strategy and supervisor.

-- The decisions: that there was one, also where it approved nothing.
CREATE TABLE IF NOT EXISTS target_sets (
    strategy_id     TEXT NOT NULL,
    version         TEXT,
    "asof"          DATE NOT NULL,
    status          TEXT,
    proposed        BIGINT,
    approved        BIGINT,
    gross           DOUBLE,
    turnover        DOUBLE,
    exempt_turnover DOUBLE,
    basis_asof      DATE,
    config_digest   TEXT,
    digest          TEXT,
    run_id          TEXT,
    decided_at      TIMESTAMP
);

-- Backtest.

CREATE TABLE IF NOT EXISTS backtest_equity (
    run_id    TEXT NOT NULL,
    ts        DATE NOT NULL,
    equity    DOUBLE,
    cash      DOUBLE,
    positions DOUBLE,
    ret       DOUBLE,
    drawdown  DOUBLE,
    turnover  DOUBLE,
    costs     DOUBLE,
    benchmark DOUBLE
);

CREATE TABLE IF NOT EXISTS backtest_details (
    run_id            TEXT NOT NULL,
    strategy_id       TEXT,
    version           TEXT,
    strategy_digest   TEXT,
    lag_days          BIGINT,
    basis             TEXT,
    calendar          TEXT,
    prices_at         TIMESTAMP,
    benchmark         TEXT,
    initial_capital   DOUBLE,
    cash_rate         DOUBLE,
    in_sample         BOOLEAN,
    universe_fixed_at DATE,
    result_digest     TEXT,
    sensitivity_json  TEXT,
    metrics_json      TEXT,
    notices_json      TEXT,
    created_at        TIMESTAMP
);

-- Tells a trial from every other: what was set, decided and replayed on. NULL in
-- what was stored before there was this column.
ALTER TABLE backtest_details ADD COLUMN IF NOT EXISTS trial_digest TEXT;

-- How far a slice was computed, so that later bars can be added to it: the day of
-- its last bar, and the sums that facts digests. NULL in what was stored before there
-- were these columns.
ALTER TABLE fact_inputs ADD COLUMN IF NOT EXISTS last_ts DATE;
ALTER TABLE fact_inputs ADD COLUMN IF NOT EXISTS sums TEXT;

-- Features of one's own: what each set that has a table features_<version> holds.
CREATE TABLE IF NOT EXISTS feature_sets (
    version     TEXT      NOT NULL,
    kind        TEXT      NOT NULL,
    description TEXT,
    known_at    TEXT      NOT NULL,
    digest      TEXT      NOT NULL,
    features    STRUCT("name" TEXT, kind TEXT, definition TEXT, canonical TEXT, lookback BIGINT, first_row BIGINT, unit TEXT, scale_free BOOLEAN, cross_sectional BOOLEAN, known_at TEXT)[] NOT NULL,
    run_id      TEXT      NOT NULL,
    created_at  TIMESTAMP NOT NULL
);

-- Features and predictions that were imported.

-- What a value was that a later file states otherwise, or no longer: what was known
-- then is not what is stated now. item is the feature, or the task of predictions;
-- stated_at the stamp that the value had; after is NULL where it was deleted.
CREATE TABLE IF NOT EXISTS stated_revisions (
    table_name  TEXT      NOT NULL,
    name        TEXT      NOT NULL,
    symbol      TEXT      NOT NULL,
    ts          DATE      NOT NULL,
    item        TEXT      NOT NULL,
    before      DOUBLE,
    after       DOUBLE,
    stated_at   TIMESTAMP,
    replaced_at TIMESTAMP NOT NULL,
    run_id      TEXT      NOT NULL
);

-- When the rows of an import were known, UTC, as its file states it. Without a row here:
-- at the close of ts.
CREATE TABLE IF NOT EXISTS known_times (
    table_name TEXT      NOT NULL,
    name       TEXT      NOT NULL,
    symbol     TEXT      NOT NULL,
    ts         DATE      NOT NULL,
    known_at   TIMESTAMP NOT NULL
);
