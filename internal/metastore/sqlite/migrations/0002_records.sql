-- What runs say of themselves (params, metrics, tags, notes, artifacts), what
-- `quant exec` knows of its program, and which runs are deleted or came from
-- another lab: companions of runs, gone with their run.

CREATE TABLE run_params (
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name   TEXT NOT NULL,
    value  TEXT NOT NULL,
    number REAL, -- the value, where that reads as a finite number
    PRIMARY KEY (run_id, name),
    CONSTRAINT "name is 1 to 250 bytes long" CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 250),
    CONSTRAINT "value is at most 8192 bytes long" CHECK (length(CAST(value AS BLOB)) <= 8192),
    CONSTRAINT "number is finite" CHECK (number IS NULL OR abs(number) <= 1.7976931348623157e308)
) STRICT, WITHOUT ROWID;

-- Every index here also holds run_id, so that a search reads no table row to
-- find its runs.
CREATE INDEX run_params_value ON run_params (name, value);
CREATE INDEX run_params_number ON run_params (name, number) WHERE number IS NOT NULL;

CREATE TABLE run_tags (
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name   TEXT NOT NULL,
    value  TEXT NOT NULL,
    number REAL,
    PRIMARY KEY (run_id, name),
    CONSTRAINT "name is 1 to 250 bytes long" CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 250),
    CONSTRAINT "value is at most 8192 bytes long" CHECK (length(CAST(value AS BLOB)) <= 8192),
    CONSTRAINT "number is finite" CHECK (number IS NULL OR abs(number) <= 1.7976931348623157e308)
) STRICT, WITHOUT ROWID;

CREATE INDEX run_tags_value ON run_tags (name, value);
CREATE INDEX run_tags_number ON run_tags (name, number) WHERE number IS NOT NULL;

-- One row for each metric of a run, kept in step with its points.
CREATE TABLE run_metrics (
    run_id    TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name      TEXT NOT NULL,
    points    INTEGER NOT NULL,
    last_step INTEGER NOT NULL,
    last      REAL NOT NULL,
    min       REAL NOT NULL,
    max       REAL NOT NULL,
    PRIMARY KEY (run_id, name),
    CONSTRAINT "name is 1 to 250 bytes long" CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 250),
    CONSTRAINT "points is positive" CHECK (points > 0),
    CONSTRAINT "min, last and max are finite and in order"
        CHECK (min <= last AND last <= max AND min >= -1.7976931348623157e308 AND max <= 1.7976931348623157e308)
) STRICT, WITHOUT ROWID;

CREATE INDEX run_metrics_last ON run_metrics (name, last);
CREATE INDEX run_metrics_min ON run_metrics (name, min);
CREATE INDEX run_metrics_max ON run_metrics (name, max);

CREATE TABLE run_metric_points (
    run_id    TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name      TEXT NOT NULL,
    point     INTEGER NOT NULL, -- from 1, in the order of logging
    step      INTEGER NOT NULL,
    value     REAL NOT NULL,
    logged_at TEXT NOT NULL,
    PRIMARY KEY (run_id, name, point),
    CONSTRAINT "value is finite" CHECK (abs(value) <= 1.7976931348623157e308),
    CONSTRAINT "logged_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(logged_at AS BLOB)) = 27
        AND logged_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z')
) STRICT, WITHOUT ROWID;

CREATE TABLE run_notes (
    run_id    TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    note      INTEGER NOT NULL, -- from 1
    text      TEXT NOT NULL,
    logged_at TEXT NOT NULL,
    PRIMARY KEY (run_id, note),
    CONSTRAINT "text is 1 to 65536 bytes long" CHECK (length(CAST(text AS BLOB)) BETWEEN 1 AND 65536),
    CONSTRAINT "logged_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(logged_at AS BLOB)) = 27
        AND logged_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z')
) STRICT, WITHOUT ROWID;

CREATE TABLE run_artifacts (
    run_id    TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name      TEXT NOT NULL,
    digest    TEXT NOT NULL,
    bytes     INTEGER NOT NULL,
    logged_at TEXT NOT NULL,
    PRIMARY KEY (run_id, name),
    CONSTRAINT "name is 1 to 1024 bytes long" CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 1024),
    CONSTRAINT "digest has the form sha256:<64 hex digits>" CHECK (
        length(CAST(digest AS BLOB)) = 71 AND digest GLOB 'sha256:*' AND substr(digest, 8) NOT GLOB '*[^0-9a-f]*'),
    CONSTRAINT "bytes is not negative" CHECK (bytes >= 0),
    CONSTRAINT "logged_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(logged_at AS BLOB)) = 27
        AND logged_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z')
) STRICT, WITHOUT ROWID;

CREATE INDEX run_artifacts_digest ON run_artifacts (digest);

CREATE TABLE run_programs (
    run_id           TEXT NOT NULL PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,
    path             TEXT,
    child_pid        INTEGER,
    child_start      TEXT,
    signal           INTEGER,
    user_us          INTEGER,
    system_us        INTEGER,
    max_rss_bytes    INTEGER,
    output_bytes     INTEGER,
    output_cut_bytes INTEGER,
    environment_json TEXT,
    CONSTRAINT "environment_json is valid JSON" CHECK (environment_json IS NULL OR json_valid(environment_json))
) STRICT, WITHOUT ROWID;

CREATE TABLE run_deletions (
    run_id     TEXT NOT NULL PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,
    deleted_at TEXT NOT NULL,
    by_run_id  TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE run_imports (
    run_id      TEXT NOT NULL PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,
    imported_at TEXT NOT NULL,
    by_run_id   TEXT
) STRICT, WITHOUT ROWID;

-- What searches look for among all runs. Most runs end with 0, from a clean
-- tree, so that what is left to index is little.
CREATE INDEX runs_ended ON runs (ended_at);
CREATE INDEX run_process_duration ON run_process (duration_us);
CREATE INDEX run_process_exit ON run_process (exit_code) WHERE exit_code IS NOT 0;
CREATE INDEX run_process_commit ON run_process (git_commit) WHERE git_commit IS NOT NULL;
CREATE INDEX run_process_host ON run_process (host);
CREATE INDEX run_process_user ON run_process (user);
CREATE INDEX run_process_dir ON run_process (work_dir);
CREATE INDEX run_process_version ON run_process (binary_version);
