-- What clients that speak MLflow's protocol know of experiments and runs, beyond
-- the columns of the tables that they stand in.

-- Clients call an experiment by a number, which every experiment gets when it is
-- made.
CREATE TABLE client_experiments (
    experiment_id TEXT NOT NULL PRIMARY KEY REFERENCES experiments (experiment_id) ON DELETE CASCADE,
    number        INTEGER NOT NULL,
    deleted_at    TEXT,
    updated_at    TEXT NOT NULL,
    CONSTRAINT "number is not negative" CHECK (number >= 0),
    CONSTRAINT "deleted_at has the form 2026-01-15T09:30:00.000000Z" CHECK (deleted_at IS NULL OR (
        length(CAST(deleted_at AS BLOB)) = 27
        AND deleted_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z')),
    CONSTRAINT "updated_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(updated_at AS BLOB)) = 27
        AND updated_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z')
) STRICT, WITHOUT ROWID;

CREATE INDEX client_experiments_number ON client_experiments (number);
CREATE INDEX experiments_name ON experiments (name);

INSERT INTO client_experiments (experiment_id, number, updated_at)
    SELECT experiment_id, row_number() OVER (ORDER BY created_at, experiment_id), created_at FROM experiments;

CREATE TRIGGER experiments_numbered AFTER INSERT ON experiments
BEGIN
    INSERT INTO client_experiments (experiment_id, number, updated_at)
    VALUES (NEW.experiment_id, (SELECT coalesce(max(number), 0) + 1 FROM client_experiments), NEW.created_at);
END;

CREATE TABLE experiment_tags (
    experiment_id TEXT NOT NULL REFERENCES experiments (experiment_id) ON DELETE CASCADE,
    name          TEXT NOT NULL,
    value         TEXT NOT NULL,
    PRIMARY KEY (experiment_id, name),
    CONSTRAINT "name is 1 to 250 bytes long" CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 250),
    CONSTRAINT "value is at most 20000 bytes long" CHECK (length(CAST(value AS BLOB)) <= 20000)
) STRICT, WITHOUT ROWID;

-- A run that a client made. One that is resumed is continued by a new run under
-- the client's id; only the last of them is current.
CREATE TABLE run_clients (
    run_id       TEXT NOT NULL PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,
    client_id    TEXT NOT NULL,
    status       TEXT NOT NULL,
    seen_at      TEXT NOT NULL,
    continued_by TEXT,
    CONSTRAINT "client_id is 1 to 256 bytes long" CHECK (length(CAST(client_id AS BLOB)) BETWEEN 1 AND 256),
    CONSTRAINT "status is RUNNING, SCHEDULED, FINISHED, FAILED or KILLED"
        CHECK (status IN ('RUNNING', 'SCHEDULED', 'FINISHED', 'FAILED', 'KILLED')),
    CONSTRAINT "seen_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(seen_at AS BLOB)) = 27
        AND seen_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z')
) STRICT, WITHOUT ROWID;

CREATE INDEX run_clients_current ON run_clients (client_id) WHERE continued_by IS NULL;
CREATE INDEX run_clients_status ON run_clients (status, seen_at);

-- The value of a metric that clients show. value is NULL for NaN.
CREATE TABLE run_metric_latest (
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name   TEXT NOT NULL,
    step   INTEGER NOT NULL,
    at     TEXT NOT NULL,
    value  REAL,
    PRIMARY KEY (run_id, name),
    CONSTRAINT "value is finite" CHECK (value IS NULL OR abs(value) <= 1.7976931348623157e308)
) STRICT, WITHOUT ROWID;

CREATE INDEX run_metric_latest_nan ON run_metric_latest (name, value) WHERE value IS NULL;

-- Points whose value is no number, which run_metric_points does not take.
CREATE TABLE run_metric_nans (
    run_id    TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name      TEXT NOT NULL,
    nth       INTEGER NOT NULL, -- from 1, in the order of logging
    step      INTEGER NOT NULL,
    logged_at TEXT NOT NULL,
    PRIMARY KEY (run_id, name, nth),
    CONSTRAINT "name is 1 to 250 bytes long" CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 250),
    CONSTRAINT "logged_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(logged_at AS BLOB)) = 27
        AND logged_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z')
) STRICT, WITHOUT ROWID;
