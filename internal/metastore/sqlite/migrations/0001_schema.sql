-- The four tables of the contract, columns in its order, and the companions of
-- runs. The name of a constraint is the sentence that a user reads when it
-- refuses a row.
--
-- The tables are STRICT and, as their keys are text, WITHOUT ROWID: one B-tree
-- less to write for every commit. Lengths are taken of the bytes, because
-- length(text) and GLOB stop at the first NUL.

CREATE TABLE symbols (
    symbol    TEXT NOT NULL PRIMARY KEY,
    name      TEXT,
    sector    TEXT,
    currency  TEXT,
    is_active INTEGER NOT NULL DEFAULT 1,
    priority  INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT "symbol is 1 to 64 bytes long"
        CHECK (length(CAST(symbol AS BLOB)) BETWEEN 1 AND 64),
    -- Code points as char() takes them: 42 91 is "*[", 93 42 is "]*", 45 makes
    -- a range. Spaces, controls (Cc), format characters (Cf), U+FFFD, and what
    -- SQLite reads as U+FFFD because it is not UTF-8.
    CONSTRAINT "symbol has no space or control character"
        CHECK (instr(symbol, char(0)) = 0 AND symbol NOT GLOB char(42, 91,
            1, 45, 32,  127, 45, 160,  173,  1536, 45, 1541,  1564,  1757,  1807,
            2192, 45, 2193,  2274,  5760,  6158,  8192, 45, 8207,  8232, 45, 8239,
            8287, 45, 8292,  8294, 45, 8303,  12288,  65279,  65529, 45, 65531,  65533,
            69821,  69837,  78896, 45, 78911,  113824, 45, 113827,
            119155, 45, 119162,  917505,  917536, 45, 917631,  93, 42)),
    -- Controls (Cc) but the line feed, U+FFFD, and what SQLite reads as that.
    CONSTRAINT "name has no control character but line feeds" CHECK (name IS NULL
        OR (instr(name, char(0)) = 0 AND name NOT GLOB char(42, 91, 1, 45, 9,  11, 45, 31,  127, 45, 159,  65533,  93, 42))),
    CONSTRAINT "sector has no control character but line feeds" CHECK (sector IS NULL
        OR (instr(sector, char(0)) = 0 AND sector NOT GLOB char(42, 91, 1, 45, 9,  11, 45, 31,  127, 45, 159,  65533,  93, 42))),
    CONSTRAINT "currency has no control character but line feeds" CHECK (currency IS NULL
        OR (instr(currency, char(0)) = 0 AND currency NOT GLOB char(42, 91, 1, 45, 9,  11, 45, 31,  127, 45, 159,  65533,  93, 42))),
    CONSTRAINT "is_active is 0 or 1" CHECK (is_active IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE experiments (
    experiment_id     TEXT NOT NULL PRIMARY KEY,
    name              TEXT NOT NULL,
    description       TEXT,
    feature_set_id    TEXT,
    label_set_id      TEXT,
    split_policy_json TEXT,
    params_json       TEXT,
    created_at        TEXT NOT NULL,
    CONSTRAINT "experiment_id is not empty" CHECK (trim(experiment_id) <> ''),
    CONSTRAINT "name is not empty" CHECK (trim(name) <> ''),
    CONSTRAINT "split_policy_json is valid JSON" CHECK (split_policy_json IS NULL OR json_valid(split_policy_json)),
    CONSTRAINT "params_json is valid JSON" CHECK (params_json IS NULL OR json_valid(params_json)),
    CONSTRAINT "created_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(created_at AS BLOB)) = 27
        AND created_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z'
        AND strftime('%Y-%m-%dT%H:%M:%S', substr(created_at, 1, 19)) IS substr(created_at, 1, 19))
) STRICT, WITHOUT ROWID;

CREATE INDEX experiments_created_at ON experiments (created_at);

CREATE TABLE models (
    model_id        TEXT NOT NULL PRIMARY KEY,
    experiment_id   TEXT REFERENCES experiments (experiment_id),
    algo            TEXT,
    params_json     TEXT,
    train_range     TEXT,
    feature_version TEXT,
    label_version   TEXT,
    metrics_json    TEXT,
    created_at      TEXT NOT NULL,
    CONSTRAINT "model_id is not empty" CHECK (trim(model_id) <> ''),
    CONSTRAINT "params_json is valid JSON" CHECK (params_json IS NULL OR json_valid(params_json)),
    CONSTRAINT "metrics_json is valid JSON" CHECK (metrics_json IS NULL OR json_valid(metrics_json)),
    CONSTRAINT "created_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(created_at AS BLOB)) = 27
        AND created_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z'
        AND strftime('%Y-%m-%dT%H:%M:%S', substr(created_at, 1, 19)) IS substr(created_at, 1, 19))
) STRICT, WITHOUT ROWID;

CREATE INDEX models_experiment_id ON models (experiment_id);
CREATE INDEX models_created_at ON models (created_at);

CREATE TABLE runs (
    run_id      TEXT NOT NULL PRIMARY KEY,
    kind        TEXT NOT NULL,
    status      TEXT NOT NULL,
    started_at  TEXT NOT NULL,
    ended_at    TEXT,
    config_json TEXT,
    error_text  TEXT,
    CONSTRAINT "run_id is a version 7 UUID in lower case" CHECK (
        length(CAST(run_id AS BLOB)) = 36
        AND run_id GLOB '????????-????-7???-[89ab]???-????????????'
        AND replace(run_id, '-', '') NOT GLOB '*[^0-9a-f]*'
        AND length(replace(run_id, '-', '')) = 32),
    CONSTRAINT "kind is not empty" CHECK (trim(kind) <> ''),
    CONSTRAINT "status is RUNNING, SUCCESS or FAIL" CHECK (status IN ('RUNNING', 'SUCCESS', 'FAIL')),
    CONSTRAINT "started_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(started_at AS BLOB)) = 27
        AND started_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z'
        AND strftime('%Y-%m-%dT%H:%M:%S', substr(started_at, 1, 19)) IS substr(started_at, 1, 19)),
    CONSTRAINT "ended_at has the form 2026-01-15T09:30:00.000000Z" CHECK (ended_at IS NULL OR (
        length(CAST(ended_at AS BLOB)) = 27
        AND ended_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z'
        AND strftime('%Y-%m-%dT%H:%M:%S', substr(ended_at, 1, 19)) IS substr(ended_at, 1, 19))),
    CONSTRAINT "an ended run has ended_at, a running one has none"
        CHECK ((status = 'RUNNING') = (ended_at IS NULL)),
    CONSTRAINT "config_json is valid JSON" CHECK (config_json IS NULL OR json_valid(config_json)),
    CONSTRAINT "a FAIL has error_text, any other status has none"
        CHECK ((status = 'FAIL') = (error_text IS NOT NULL) AND (error_text IS NULL OR error_text <> ''))
) STRICT, WITHOUT ROWID;

-- Every index here also holds run_id, the table's key, behind its own columns:
-- runs of one kind or status come newest first without sorting.
CREATE INDEX runs_kind ON runs (kind);
CREATE INDEX runs_status ON runs (status);
CREATE INDEX runs_suffix ON runs (substr(run_id, -4));

CREATE TRIGGER runs_keep_identity BEFORE UPDATE OF run_id, kind, started_at ON runs
WHEN NEW.run_id IS NOT OLD.run_id OR NEW.kind IS NOT OLD.kind OR NEW.started_at IS NOT OLD.started_at
BEGIN
    SELECT RAISE(ABORT, 'run_id, kind and started_at of a run never change');
END;

CREATE TRIGGER runs_end_once BEFORE UPDATE OF status, ended_at ON runs
WHEN OLD.status <> 'RUNNING' AND (NEW.status IS NOT OLD.status OR NEW.ended_at IS NOT OLD.ended_at)
BEGIN
    SELECT RAISE(ABORT, 'the status of an ended run never changes');
END;

CREATE TABLE run_process (
    run_id         TEXT NOT NULL PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,
    changes        INTEGER NOT NULL,
    -- No foreign key: a run is recorded even where its parent's row was lost.
    parent_run_id  TEXT,
    host           TEXT,
    user           TEXT,
    machine_id     TEXT,
    boot_id        TEXT,
    pid            INTEGER NOT NULL,
    process_start  TEXT,
    live_lock      TEXT,
    binary_version TEXT,
    binary_commit  TEXT,
    git_commit     TEXT,
    git_dirty      INTEGER,
    argv           TEXT,
    work_dir       TEXT,
    exit_code      INTEGER,
    duration_us    INTEGER,
    CONSTRAINT "changes is 0 or 1" CHECK (changes IN (0, 1)),
    CONSTRAINT "git_dirty is 0, 1 or NULL" CHECK (git_dirty IN (0, 1)),
    CONSTRAINT "argv is valid JSON" CHECK (argv IS NULL OR json_valid(argv))
) STRICT, WITHOUT ROWID;

CREATE INDEX run_process_changes ON run_process (run_id) WHERE changes = 1;
CREATE INDEX run_process_parent ON run_process (parent_run_id) WHERE parent_run_id IS NOT NULL;

CREATE TABLE run_io (
    run_id     TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    direction  TEXT NOT NULL,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    rows       INTEGER,
    first_date TEXT,
    last_date  TEXT,
    digest     TEXT,
    PRIMARY KEY (run_id, direction, kind, name),
    CONSTRAINT "direction is in or out" CHECK (direction IN ('in', 'out')),
    CONSTRAINT "kind is not empty" CHECK (trim(kind) <> ''),
    CONSTRAINT "name is not empty" CHECK (trim(name) <> ''),
    CONSTRAINT "first_date has the form 2026-01-15" CHECK (first_date IS NULL
        OR (length(CAST(first_date AS BLOB)) = 10 AND strftime('%Y-%m-%d', first_date) IS first_date)),
    CONSTRAINT "last_date has the form 2026-01-15" CHECK (last_date IS NULL
        OR (length(CAST(last_date AS BLOB)) = 10 AND strftime('%Y-%m-%d', last_date) IS last_date))
) STRICT, WITHOUT ROWID;
