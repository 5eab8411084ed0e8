-- What clients that speak MLflow's protocol log beside params, metrics, tags and
-- artifacts of runs: datasets, models, and the registry of models.

-- What a run was given: a companion of runs.
CREATE TABLE run_datasets (
    run_id      TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    digest      TEXT NOT NULL,
    source_type TEXT NOT NULL,
    source      TEXT NOT NULL, -- never followed
    schema      TEXT,
    profile     TEXT,
    context     TEXT,
    tags_json   TEXT,
    PRIMARY KEY (run_id, name, digest),
    CONSTRAINT "name is not empty" CHECK (name <> ''),
    CONSTRAINT "digest is not empty" CHECK (digest <> ''),
    CONSTRAINT "tags_json is valid JSON" CHECK (tags_json IS NULL OR json_valid(tags_json))
) STRICT, WITHOUT ROWID;

CREATE INDEX run_datasets_name ON run_datasets (name);
CREATE INDEX run_datasets_digest ON run_datasets (digest);
CREATE INDEX run_datasets_context ON run_datasets (context) WHERE context IS NOT NULL;

-- Which logged models a run used and made: a companion of runs.
CREATE TABLE run_models (
    run_id    TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    direction TEXT NOT NULL,
    model_id  TEXT NOT NULL,
    step      INTEGER NOT NULL,
    PRIMARY KEY (run_id, direction, model_id, step),
    CONSTRAINT "direction is in or out" CHECK (direction IN ('in', 'out')),
    CONSTRAINT "model_id is not empty" CHECK (model_id <> '')
) STRICT, WITHOUT ROWID;

CREATE INDEX run_models_model ON run_models (model_id);

-- No foreign key to experiments: those are not carried over when the database is
-- made anew, models are.
CREATE TABLE logged_models (
    model_id       TEXT NOT NULL PRIMARY KEY,
    experiment_id  TEXT NOT NULL,
    name           TEXT NOT NULL,
    source_run_id  TEXT,
    model_type     TEXT,
    status         TEXT NOT NULL,
    status_message TEXT,
    created_at     TEXT NOT NULL,
    updated_at     TEXT NOT NULL,
    deleted_at     TEXT,
    CONSTRAINT "model_id has the form m-<32 hex digits>" CHECK (
        length(CAST(model_id AS BLOB)) = 34 AND model_id GLOB 'm-*' AND substr(model_id, 3) NOT GLOB '*[^0-9a-f]*'),
    CONSTRAINT "experiment_id is not empty" CHECK (experiment_id <> ''),
    CONSTRAINT "name is not empty" CHECK (name <> ''),
    CONSTRAINT "status is UNSPECIFIED, PENDING, READY or FAILED" CHECK (status IN ('UNSPECIFIED', 'PENDING', 'READY', 'FAILED')),
    CONSTRAINT "created_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(created_at AS BLOB)) = 27
        AND created_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    CONSTRAINT "updated_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(updated_at AS BLOB)) = 27
        AND updated_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    CONSTRAINT "deleted_at has the form 2026-01-15T09:30:00.000000Z" CHECK (deleted_at IS NULL OR (
        length(CAST(deleted_at AS BLOB)) = 27
        AND deleted_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z'))
) STRICT, WITHOUT ROWID;

CREATE INDEX logged_models_experiment ON logged_models (experiment_id, created_at);
CREATE INDEX logged_models_run ON logged_models (source_run_id) WHERE source_run_id IS NOT NULL;

CREATE TABLE logged_model_params (
    model_id TEXT NOT NULL REFERENCES logged_models (model_id) ON DELETE CASCADE,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (model_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE logged_model_tags (
    model_id TEXT NOT NULL REFERENCES logged_models (model_id) ON DELETE CASCADE,
    name     TEXT NOT NULL,
    value    TEXT NOT NULL,
    PRIMARY KEY (model_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE logged_model_metrics (
    model_id       TEXT NOT NULL REFERENCES logged_models (model_id) ON DELETE CASCADE,
    name           TEXT NOT NULL,
    logged_at      TEXT NOT NULL,
    step           INTEGER NOT NULL,
    run_id         TEXT NOT NULL, -- that measured it, by its id
    value          REAL,          -- NULL: not a number
    dataset_name   TEXT,
    dataset_digest TEXT,
    PRIMARY KEY (model_id, name, logged_at, step, run_id),
    CONSTRAINT "name is not empty" CHECK (name <> ''),
    CONSTRAINT "value is finite" CHECK (value IS NULL OR abs(value) <= 1.7976931348623157e308),
    CONSTRAINT "logged_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(logged_at AS BLOB)) = 27
        AND logged_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z')
) STRICT, WITHOUT ROWID;

-- Files that clients put below the artifact root and that are no run's: those of
-- logged models, and whatever else.
CREATE TABLE client_artifacts (
    path      TEXT NOT NULL PRIMARY KEY, -- below the root, with slashes
    digest    TEXT NOT NULL,
    bytes     INTEGER NOT NULL,
    logged_at TEXT NOT NULL,
    CONSTRAINT "path is 1 to 1024 bytes long" CHECK (length(CAST(path AS BLOB)) BETWEEN 1 AND 1024),
    CONSTRAINT "digest has the form sha256:<64 hex digits>" CHECK (
        length(CAST(digest AS BLOB)) = 71 AND digest GLOB 'sha256:*' AND substr(digest, 8) NOT GLOB '*[^0-9a-f]*'),
    CONSTRAINT "bytes is not negative" CHECK (bytes >= 0),
    CONSTRAINT "logged_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(logged_at AS BLOB)) = 27
        AND logged_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z')
) STRICT, WITHOUT ROWID;

CREATE INDEX client_artifacts_digest ON client_artifacts (digest);

CREATE TABLE registered_models (
    name         TEXT NOT NULL PRIMARY KEY,
    description  TEXT,
    last_version INTEGER NOT NULL, -- the highest that was ever given
    created_at   TEXT NOT NULL,
    updated_at   TEXT NOT NULL,
    CONSTRAINT "name is not empty" CHECK (name <> ''),
    CONSTRAINT "last_version is not negative" CHECK (last_version >= 0),
    CONSTRAINT "created_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(created_at AS BLOB)) = 27
        AND created_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    CONSTRAINT "updated_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(updated_at AS BLOB)) = 27
        AND updated_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z')
) STRICT, WITHOUT ROWID;

CREATE TABLE registered_model_tags (
    model TEXT NOT NULL REFERENCES registered_models (name) ON DELETE CASCADE ON UPDATE CASCADE,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE registered_model_aliases (
    model   TEXT NOT NULL REFERENCES registered_models (name) ON DELETE CASCADE ON UPDATE CASCADE,
    alias   TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (model, alias)
) STRICT, WITHOUT ROWID;

CREATE TABLE model_versions (
    model          TEXT NOT NULL REFERENCES registered_models (name) ON DELETE CASCADE ON UPDATE CASCADE,
    version        INTEGER NOT NULL,
    description    TEXT,
    stage          TEXT NOT NULL,
    source         TEXT NOT NULL, -- never followed
    location       TEXT NOT NULL, -- of its files, which a client is told; never followed
    run_id         TEXT,
    run_link       TEXT,
    model_id       TEXT,
    status         TEXT NOT NULL,
    status_message TEXT,
    created_at     TEXT NOT NULL,
    updated_at     TEXT NOT NULL,
    PRIMARY KEY (model, version),
    CONSTRAINT "version is positive" CHECK (version > 0),
    CONSTRAINT "stage is not empty" CHECK (stage <> ''),
    CONSTRAINT "created_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(created_at AS BLOB)) = 27
        AND created_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    CONSTRAINT "updated_at has the form 2026-01-15T09:30:00.000000Z" CHECK (
        length(CAST(updated_at AS BLOB)) = 27
        AND updated_at GLOB '????-??-??T??:??:??.[0-9][0-9][0-9][0-9][0-9][0-9]Z')
) STRICT, WITHOUT ROWID;

CREATE INDEX model_versions_run ON model_versions (run_id) WHERE run_id IS NOT NULL;

CREATE TABLE model_version_tags (
    model   TEXT NOT NULL REFERENCES registered_models (name) ON DELETE CASCADE ON UPDATE CASCADE,
    version INTEGER NOT NULL,
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (model, version, name)
) STRICT, WITHOUT ROWID;
