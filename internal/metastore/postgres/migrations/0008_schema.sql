-- The Meta DB in PostgreSQL, equal to the SQLite schema of the same number: the
-- same tables, columns, rules and their names, which are the sentence that a user
-- reads when one refuses a row. Earlier numbers were never in PostgreSQL.
--
-- Text is in byte order (COLLATE "C"), whatever the database's own. JSON is text,
-- so that it comes back as it was stored. What is text in an index with a bound,
-- because an entry of an index holds 2,700 bytes, is looked for by that beginning
-- too.

-- Without PL/pgSQL, which every connection would load for its first row. Before version
-- 16 a text that is no JSON is an error of its own, and not of the rule.
DO $do$ BEGIN
    IF current_setting('server_version_num')::int >= 160000 THEN
        CREATE FUNCTION is_json(value text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT value IS JSON $$;
    ELSE
        CREATE FUNCTION is_json(value text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT value::json IS NOT NULL OR value IS NULL $$;
    END IF;
END $do$;

-- A date that exists, with the days of its month.
CREATE FUNCTION is_date(value text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT value COLLATE "C" ~ '^([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))|([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)$'
$$;

-- A time of such a date.
CREATE FUNCTION is_instant(value text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT value COLLATE "C" ~ '^([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))|([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9][.][0-9]{6}Z$'
$$;

CREATE FUNCTION has_form_of_instant(value text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT octet_length(value) = 27 AND value COLLATE "C" ~ '^....-..-..T..:..:..[.][0-9]{6}Z$'
$$;

-- refuse is what a trigger does to a statement that breaks the rule which its
-- argument states.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = TG_ARGV[0];
END $$;

CREATE TABLE symbols (
    symbol    text COLLATE "C" NOT NULL PRIMARY KEY,
    name      text COLLATE "C",
    sector    text COLLATE "C",
    currency  text COLLATE "C",
    is_active bigint NOT NULL DEFAULT 1,
    priority  bigint NOT NULL DEFAULT 0,
    CONSTRAINT "symbol is 1 to 64 bytes long"
        CHECK (octet_length(symbol) BETWEEN 1 AND 64),
    -- Spaces, controls (Cc), format characters (Cf) and U+FFFD. PostgreSQL itself
    -- takes neither NUL nor what is not UTF-8.
    CONSTRAINT "symbol has no space or control character"
        CHECK (symbol !~ ('['
            || '\u0001-\u0020\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f'
            || '\u0890-\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064'
            || '\u2066-\u206f\u3000\ufeff\ufff9-\ufffb\ufffd\U000110bd\U000110cd'
            || '\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a'
            || '\U000e0001\U000e0020-\U000e007f' || ']')),
    -- Controls (Cc) but the line feed, and U+FFFD.
    CONSTRAINT "name has no control character but line feeds" CHECK (name !~ '[\u0001-\u0009\u000b-\u001f\u007f-\u009f\ufffd]'),
    CONSTRAINT "sector has no control character but line feeds" CHECK (sector !~ '[\u0001-\u0009\u000b-\u001f\u007f-\u009f\ufffd]'),
    CONSTRAINT "currency has no control character but line feeds" CHECK (currency !~ '[\u0001-\u0009\u000b-\u001f\u007f-\u009f\ufffd]'),
    CONSTRAINT "is_active is 0 or 1" CHECK (is_active IN (0, 1))
);

CREATE TABLE experiments (
    experiment_id     text COLLATE "C" NOT NULL PRIMARY KEY,
    name              text COLLATE "C" NOT NULL,
    description       text COLLATE "C",
    feature_set_id    text COLLATE "C",
    label_set_id      text COLLATE "C",
    split_policy_json text COLLATE "C",
    params_json       text COLLATE "C",
    created_at        text COLLATE "C" NOT NULL,
    CONSTRAINT "experiment_id is not empty" CHECK (btrim(experiment_id) <> ''),
    CONSTRAINT "name is not empty" CHECK (btrim(name) <> ''),
    CONSTRAINT "split_policy_json is valid JSON" CHECK (is_json(split_policy_json)),
    CONSTRAINT "params_json is valid JSON" CHECK (is_json(params_json)),
    CONSTRAINT "created_at has the form 2026-01-15T09:30:00.000000Z" CHECK (is_instant(created_at))
);

CREATE INDEX experiments_created_at ON experiments (created_at);

CREATE TABLE models (
    model_id        text COLLATE "C" NOT NULL PRIMARY KEY,
    experiment_id   text COLLATE "C" REFERENCES experiments (experiment_id),
    algo            text COLLATE "C",
    params_json     text COLLATE "C",
    train_range     text COLLATE "C",
    feature_version text COLLATE "C",
    label_version   text COLLATE "C",
    metrics_json    text COLLATE "C",
    created_at      text COLLATE "C" NOT NULL,
    CONSTRAINT "model_id is not empty" CHECK (btrim(model_id) <> ''),
    CONSTRAINT "params_json is valid JSON" CHECK (is_json(params_json)),
    CONSTRAINT "metrics_json is valid JSON" CHECK (is_json(metrics_json)),
    CONSTRAINT "created_at has the form 2026-01-15T09:30:00.000000Z" CHECK (is_instant(created_at))
);

CREATE INDEX models_experiment_id ON models (experiment_id);
CREATE INDEX models_created_at ON models (created_at);

CREATE TABLE runs (
    run_id      text COLLATE "C" NOT NULL PRIMARY KEY,
    kind        text COLLATE "C" NOT NULL,
    status      text COLLATE "C" NOT NULL,
    started_at  text COLLATE "C" NOT NULL,
    ended_at    text COLLATE "C",
    config_json text COLLATE "C",
    error_text  text COLLATE "C",
    CONSTRAINT "run_id is a version 7 UUID in lower case"
        CHECK (run_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'),
    CONSTRAINT "kind is not empty" CHECK (btrim(kind) <> ''),
    CONSTRAINT "status is RUNNING, SUCCESS or FAIL" CHECK (status IN ('RUNNING', 'SUCCESS', 'FAIL')),
    CONSTRAINT "started_at has the form 2026-01-15T09:30:00.000000Z" CHECK (is_instant(started_at)),
    CONSTRAINT "ended_at has the form 2026-01-15T09:30:00.000000Z" CHECK (is_instant(ended_at)),
    CONSTRAINT "an ended run has ended_at, a running one has none"
        CHECK ((status = 'RUNNING') = (ended_at IS NULL)),
    CONSTRAINT "config_json is valid JSON" CHECK (is_json(config_json)),
    CONSTRAINT "a FAIL has error_text, any other status has none"
        CHECK ((status = 'FAIL') = (error_text IS NOT NULL) AND (error_text IS NULL OR error_text <> ''))
);

-- Every index here also holds run_id, the table's key, behind its own columns:
-- runs of one kind or status come newest first without sorting.
CREATE INDEX runs_kind ON runs (kind, run_id);
CREATE INDEX runs_status ON runs (status, run_id);
CREATE INDEX runs_suffix ON runs (right(run_id, 4));

CREATE TRIGGER runs_keep_identity BEFORE UPDATE OF run_id, kind, started_at ON runs FOR EACH ROW
    WHEN (NEW.run_id IS DISTINCT FROM OLD.run_id OR NEW.kind IS DISTINCT FROM OLD.kind OR NEW.started_at IS DISTINCT FROM OLD.started_at)
    EXECUTE FUNCTION refuse('run_id, kind and started_at of a run never change');

CREATE TRIGGER runs_end_once BEFORE UPDATE OF status, ended_at ON runs FOR EACH ROW
    WHEN (OLD.status <> 'RUNNING' AND (NEW.status IS DISTINCT FROM OLD.status OR NEW.ended_at IS DISTINCT FROM OLD.ended_at))
    EXECUTE FUNCTION refuse('the status of an ended run never changes');

CREATE TABLE run_process (
    run_id         text COLLATE "C" NOT NULL PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,
    changes        bigint NOT NULL,
    -- No foreign key: a run is recorded even where its parent's row was lost.
    parent_run_id  text COLLATE "C",
    host           text COLLATE "C",
    "user"         text COLLATE "C",
    machine_id     text COLLATE "C",
    boot_id        text COLLATE "C",
    pid            bigint NOT NULL,
    process_start  text COLLATE "C",
    live_lock      text COLLATE "C",
    binary_version text COLLATE "C",
    binary_commit  text COLLATE "C",
    git_commit     text COLLATE "C",
    git_dirty      bigint,
    argv           text COLLATE "C",
    work_dir       text COLLATE "C",
    exit_code      bigint,
    duration_us    bigint,
    facts          text COLLATE "C",
    CONSTRAINT "changes is 0 or 1" CHECK (changes IN (0, 1)),
    CONSTRAINT "git_dirty is 0, 1 or NULL" CHECK (git_dirty IN (0, 1)),
    CONSTRAINT "argv is valid JSON" CHECK (is_json(argv)),
    CONSTRAINT "facts is committed, none, not_checked or NULL" CHECK (facts IN ('committed', 'none', 'not_checked'))
);

-- A RUNNING run, whoever stores it, has no end yet.
CREATE FUNCTION run_process_not_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM quant.runs WHERE run_id = NEW.run_id AND status = 'RUNNING') THEN
        NEW.exit_code := NULL;
        NEW.facts := NULL;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER run_process_not_ended BEFORE INSERT ON run_process FOR EACH ROW
    WHEN (NEW.exit_code IS NOT NULL OR NEW.facts IS NOT NULL) EXECUTE FUNCTION run_process_not_ended();

CREATE INDEX run_process_changes ON run_process (run_id) WHERE changes = 1;
CREATE INDEX run_process_parent ON run_process (parent_run_id, run_id) WHERE parent_run_id IS NOT NULL;

CREATE TABLE run_io (
    run_id     text COLLATE "C" NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    direction  text COLLATE "C" NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    rows       bigint,
    first_date text COLLATE "C",
    last_date  text COLLATE "C",
    digest     text COLLATE "C",
    CONSTRAINT "direction is in or out" CHECK (direction IN ('in', 'out')),
    CONSTRAINT "kind is not empty" CHECK (btrim(kind) <> ''),
    CONSTRAINT "name is not empty" CHECK (btrim(name) <> ''),
    CONSTRAINT "first_date has the form 2026-01-15" CHECK (is_date(first_date)),
    CONSTRAINT "last_date has the form 2026-01-15" CHECK (is_date(last_date))
);

-- The key of run_io. Names are paths and addresses of any length.
CREATE UNIQUE INDEX run_io_key ON run_io (run_id, direction, kind, left(name, 200), hashtextextended(name, 0));

-- What runs say of themselves (params, metrics, tags, notes, artifacts), what
-- `quant exec` knows of its program, and which runs are deleted or came from
-- another lab: companions of runs, gone with their run.

CREATE TABLE run_params (
    run_id text COLLATE "C" NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name   text COLLATE "C" NOT NULL,
    value  text COLLATE "C" NOT NULL,
    number double precision, -- the value, where that reads as a finite number
    PRIMARY KEY (run_id, name),
    CONSTRAINT "name is 1 to 250 bytes long" CHECK (octet_length(name) BETWEEN 1 AND 250),
    CONSTRAINT "value is at most 8192 bytes long" CHECK (octet_length(value) <= 8192),
    CONSTRAINT "number is finite" CHECK (number IS NULL OR abs(number) <= 1.7976931348623157e308)
);

-- Every index here also holds run_id, so that a search reads no table row to
-- find its runs.
CREATE INDEX run_params_value ON run_params (name, left(value, 200), run_id);
CREATE INDEX run_params_number ON run_params (name, number, run_id) WHERE number IS NOT NULL;

CREATE TABLE run_tags (
    run_id text COLLATE "C" NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name   text COLLATE "C" NOT NULL,
    value  text COLLATE "C" NOT NULL,
    number double precision,
    PRIMARY KEY (run_id, name),
    CONSTRAINT "name is 1 to 250 bytes long" CHECK (octet_length(name) BETWEEN 1 AND 250),
    CONSTRAINT "value is at most 8192 bytes long" CHECK (octet_length(value) <= 8192),
    CONSTRAINT "number is finite" CHECK (number IS NULL OR abs(number) <= 1.7976931348623157e308)
);

CREATE INDEX run_tags_value ON run_tags (name, left(value, 200), run_id);
CREATE INDEX run_tags_number ON run_tags (name, number, run_id) WHERE number IS NOT NULL;

-- One row for each metric of a run, kept in step with its points.
CREATE TABLE run_metrics (
    run_id    text COLLATE "C" NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name      text COLLATE "C" NOT NULL,
    points    bigint NOT NULL,
    last_step bigint NOT NULL,
    last      double precision NOT NULL,
    min       double precision NOT NULL,
    max       double precision NOT NULL,
    PRIMARY KEY (run_id, name),
    CONSTRAINT "name is 1 to 250 bytes long" CHECK (octet_length(name) BETWEEN 1 AND 250),
    CONSTRAINT "points is positive" CHECK (points > 0),
    CONSTRAINT "min, last and max are finite and in order"
        CHECK (min <= last AND last <= max AND min >= -1.7976931348623157e308 AND max <= 1.7976931348623157e308)
);

CREATE INDEX run_metrics_last ON run_metrics (name, last, run_id);
CREATE INDEX run_metrics_min ON run_metrics (name, min, run_id);
CREATE INDEX run_metrics_max ON run_metrics (name, max, run_id);

CREATE TABLE run_metric_points (
    run_id    text COLLATE "C" NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name      text COLLATE "C" NOT NULL,
    point     bigint NOT NULL, -- from 1, in the order of logging
    step      bigint NOT NULL,
    value     double precision NOT NULL,
    logged_at text COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id, name, point),
    CONSTRAINT "value is finite" CHECK (abs(value) <= 1.7976931348623157e308),
    CONSTRAINT "logged_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(logged_at))
);

CREATE TABLE run_notes (
    run_id    text COLLATE "C" NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    note      bigint NOT NULL, -- from 1
    text      text COLLATE "C" NOT NULL,
    logged_at text COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id, note),
    CONSTRAINT "text is 1 to 65536 bytes long" CHECK (octet_length(text) BETWEEN 1 AND 65536),
    CONSTRAINT "logged_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(logged_at))
);

CREATE TABLE run_artifacts (
    run_id    text COLLATE "C" NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name      text COLLATE "C" NOT NULL,
    digest    text COLLATE "C" NOT NULL,
    bytes     bigint NOT NULL,
    logged_at text COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id, name),
    CONSTRAINT "name is 1 to 1024 bytes long" CHECK (octet_length(name) BETWEEN 1 AND 1024),
    CONSTRAINT "digest has the form sha256:<64 hex digits>" CHECK (digest ~ '^sha256:[0-9a-f]{64}$'),
    CONSTRAINT "bytes is not negative" CHECK (bytes >= 0),
    CONSTRAINT "logged_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(logged_at))
);

CREATE INDEX run_artifacts_digest ON run_artifacts (digest);

CREATE TABLE run_programs (
    run_id           text COLLATE "C" NOT NULL PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,
    path             text COLLATE "C",
    child_pid        bigint,
    child_start      text COLLATE "C",
    signal           bigint,
    user_us          bigint,
    system_us        bigint,
    max_rss_bytes    bigint,
    output_bytes     bigint,
    output_cut_bytes bigint,
    environment_json text COLLATE "C",
    CONSTRAINT "environment_json is valid JSON" CHECK (is_json(environment_json))
);

CREATE TABLE run_deletions (
    run_id     text COLLATE "C" NOT NULL PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,
    deleted_at text COLLATE "C" NOT NULL,
    by_run_id  text COLLATE "C"
);

CREATE TABLE run_imports (
    run_id      text COLLATE "C" NOT NULL PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,
    imported_at text COLLATE "C" NOT NULL,
    by_run_id   text COLLATE "C"
);

-- What searches look for among all runs. Most runs end with 0, from a clean
-- tree, so that what is left to index is little.
CREATE INDEX runs_ended ON runs (ended_at, run_id);
CREATE INDEX run_process_duration ON run_process (duration_us, run_id);
CREATE INDEX run_process_exit ON run_process (exit_code, run_id) WHERE exit_code IS DISTINCT FROM 0;
CREATE INDEX run_process_commit ON run_process (left(git_commit, 200), run_id) WHERE git_commit IS NOT NULL;
CREATE INDEX run_process_host ON run_process (left(host, 200), run_id);
CREATE INDEX run_process_user ON run_process (left("user", 200), run_id);
CREATE INDEX run_process_dir ON run_process (left(work_dir, 200), run_id);
CREATE INDEX run_process_version ON run_process (left(binary_version, 200), run_id);

-- The runs of one machine that have not ended.
CREATE INDEX run_process_running ON run_process (machine_id, run_id) WHERE exit_code IS NULL AND facts IS NULL;

-- What clients that speak MLflow's protocol know of experiments and runs, beyond
-- the columns of the tables that they stand in.

-- Clients call an experiment by a number, which every experiment gets when it is
-- made.
CREATE TABLE client_experiments (
    experiment_id text COLLATE "C" NOT NULL PRIMARY KEY REFERENCES experiments (experiment_id) ON DELETE CASCADE,
    number        bigint NOT NULL,
    deleted_at    text COLLATE "C",
    updated_at    text COLLATE "C" NOT NULL,
    CONSTRAINT "number is not negative" CHECK (number >= 0),
    CONSTRAINT "deleted_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(deleted_at)),
    CONSTRAINT "updated_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(updated_at))
);

CREATE INDEX client_experiments_number ON client_experiments (number);
CREATE INDEX experiments_name ON experiments USING hash (name); -- of any length

-- Who makes an experiment waits for the others who do, so that no number is given
-- twice.
CREATE FUNCTION experiments_numbered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('quant name an experiment', 0)); -- relational.namingExperiments
    INSERT INTO quant.client_experiments (experiment_id, number, updated_at)
    VALUES (NEW.experiment_id, (SELECT coalesce(max(number), 0) + 1 FROM quant.client_experiments), NEW.created_at);
    RETURN NULL;
END $$;

CREATE TRIGGER experiments_numbered AFTER INSERT ON experiments FOR EACH ROW EXECUTE FUNCTION experiments_numbered();

CREATE TABLE experiment_tags (
    experiment_id text COLLATE "C" NOT NULL REFERENCES experiments (experiment_id) ON DELETE CASCADE,
    name          text COLLATE "C" NOT NULL,
    value         text COLLATE "C" NOT NULL,
    PRIMARY KEY (experiment_id, name),
    CONSTRAINT "name is 1 to 250 bytes long" CHECK (octet_length(name) BETWEEN 1 AND 250),
    CONSTRAINT "value is at most 20000 bytes long" CHECK (octet_length(value) <= 20000)
);

-- A run that a client made. One that is resumed is continued by a new run under
-- the client's id; only the last of them is current.
CREATE TABLE run_clients (
    run_id       text COLLATE "C" NOT NULL PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,
    client_id    text COLLATE "C" NOT NULL,
    status       text COLLATE "C" NOT NULL,
    seen_at      text COLLATE "C" NOT NULL,
    continued_by text COLLATE "C",
    CONSTRAINT "client_id is 1 to 256 bytes long" CHECK (octet_length(client_id) BETWEEN 1 AND 256),
    CONSTRAINT "status is RUNNING, SCHEDULED, FINISHED, FAILED or KILLED"
        CHECK (status IN ('RUNNING', 'SCHEDULED', 'FINISHED', 'FAILED', 'KILLED')),
    CONSTRAINT "seen_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(seen_at))
);

CREATE INDEX run_clients_current ON run_clients (client_id, run_id) WHERE continued_by IS NULL;
CREATE INDEX run_clients_status ON run_clients (status, seen_at, run_id);

-- The value of a metric that clients show. value is NULL for NaN.
CREATE TABLE run_metric_latest (
    run_id text COLLATE "C" NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name   text COLLATE "C" NOT NULL,
    step   bigint NOT NULL,
    at     text COLLATE "C" NOT NULL,
    value  double precision,
    PRIMARY KEY (run_id, name),
    CONSTRAINT "value is finite" CHECK (value IS NULL OR abs(value) <= 1.7976931348623157e308)
);

CREATE INDEX run_metric_latest_nan ON run_metric_latest (name, run_id) WHERE value IS NULL;

-- Points whose value is no number, which run_metric_points does not take.
CREATE TABLE run_metric_nans (
    run_id    text COLLATE "C" NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name      text COLLATE "C" NOT NULL,
    nth       bigint NOT NULL, -- from 1, in the order of logging
    step      bigint NOT NULL,
    logged_at text COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id, name, nth),
    CONSTRAINT "name is 1 to 250 bytes long" CHECK (octet_length(name) BETWEEN 1 AND 250),
    CONSTRAINT "logged_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(logged_at))
);

-- What clients that speak MLflow's protocol log beside params, metrics, tags and
-- artifacts of runs: datasets, models, and the registry of models.

-- What a run was given: a companion of runs.
CREATE TABLE run_datasets (
    run_id      text COLLATE "C" NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    name        text COLLATE "C" NOT NULL,
    digest      text COLLATE "C" NOT NULL,
    source_type text COLLATE "C" NOT NULL,
    source      text COLLATE "C" NOT NULL, -- never followed
    schema      text COLLATE "C",
    profile     text COLLATE "C",
    context     text COLLATE "C",
    tags_json   text COLLATE "C",
    PRIMARY KEY (run_id, name, digest),
    CONSTRAINT "name is not empty" CHECK (name <> ''),
    CONSTRAINT "digest is not empty" CHECK (digest <> ''),
    CONSTRAINT "tags_json is valid JSON" CHECK (is_json(tags_json))
);

CREATE INDEX run_datasets_name ON run_datasets (left(name, 200), run_id);
CREATE INDEX run_datasets_digest ON run_datasets (left(digest, 200), run_id);
CREATE INDEX run_datasets_context ON run_datasets (left(context, 200), run_id) WHERE context IS NOT NULL;

-- Which logged models a run used and made: a companion of runs.
CREATE TABLE run_models (
    run_id    text COLLATE "C" NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    direction text COLLATE "C" NOT NULL,
    model_id  text COLLATE "C" NOT NULL,
    step      bigint NOT NULL,
    PRIMARY KEY (run_id, direction, model_id, step),
    CONSTRAINT "direction is in or out" CHECK (direction IN ('in', 'out')),
    CONSTRAINT "model_id is not empty" CHECK (model_id <> '')
);

CREATE INDEX run_models_model ON run_models (model_id, run_id);

-- No foreign key to experiments: those are not carried over when the database is
-- made anew, models are.
CREATE TABLE logged_models (
    model_id       text COLLATE "C" NOT NULL PRIMARY KEY,
    experiment_id  text COLLATE "C" NOT NULL,
    name           text COLLATE "C" NOT NULL,
    source_run_id  text COLLATE "C",
    model_type     text COLLATE "C",
    status         text COLLATE "C" NOT NULL,
    status_message text COLLATE "C",
    created_at     text COLLATE "C" NOT NULL,
    updated_at     text COLLATE "C" NOT NULL,
    deleted_at     text COLLATE "C",
    CONSTRAINT "model_id has the form m-<32 hex digits>" CHECK (model_id ~ '^m-[0-9a-f]{32}$'),
    CONSTRAINT "experiment_id is not empty" CHECK (experiment_id <> ''),
    CONSTRAINT "name is not empty" CHECK (name <> ''),
    CONSTRAINT "status is UNSPECIFIED, PENDING, READY or FAILED" CHECK (status IN ('UNSPECIFIED', 'PENDING', 'READY', 'FAILED')),
    CONSTRAINT "created_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(created_at)),
    CONSTRAINT "updated_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(updated_at)),
    CONSTRAINT "deleted_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(deleted_at))
);

CREATE INDEX logged_models_experiment ON logged_models (experiment_id, created_at);
CREATE INDEX logged_models_run ON logged_models (source_run_id) WHERE source_run_id IS NOT NULL;

CREATE TABLE logged_model_params (
    model_id text COLLATE "C" NOT NULL REFERENCES logged_models (model_id) ON DELETE CASCADE,
    name     text COLLATE "C" NOT NULL,
    value    text COLLATE "C" NOT NULL,
    PRIMARY KEY (model_id, name)
);

CREATE TABLE logged_model_tags (
    model_id text COLLATE "C" NOT NULL REFERENCES logged_models (model_id) ON DELETE CASCADE,
    name     text COLLATE "C" NOT NULL,
    value    text COLLATE "C" NOT NULL,
    PRIMARY KEY (model_id, name)
);

CREATE TABLE logged_model_metrics (
    model_id       text COLLATE "C" NOT NULL REFERENCES logged_models (model_id) ON DELETE CASCADE,
    name           text COLLATE "C" NOT NULL,
    logged_at      text COLLATE "C" NOT NULL,
    step           bigint NOT NULL,
    run_id         text COLLATE "C" NOT NULL, -- that measured it, by its id
    value          double precision,          -- NULL: not a number
    dataset_name   text COLLATE "C",
    dataset_digest text COLLATE "C",
    PRIMARY KEY (model_id, name, logged_at, step, run_id),
    CONSTRAINT "name is not empty" CHECK (name <> ''),
    CONSTRAINT "value is finite" CHECK (value IS NULL OR abs(value) <= 1.7976931348623157e308),
    CONSTRAINT "logged_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(logged_at))
);

-- Files that clients put below the artifact root and that are no run's: those of
-- logged models, and whatever else.
CREATE TABLE client_artifacts (
    path      text COLLATE "C" NOT NULL PRIMARY KEY, -- below the root, with slashes
    digest    text COLLATE "C" NOT NULL,
    bytes     bigint NOT NULL,
    logged_at text COLLATE "C" NOT NULL,
    CONSTRAINT "path is 1 to 1024 bytes long" CHECK (octet_length(path) BETWEEN 1 AND 1024),
    CONSTRAINT "digest has the form sha256:<64 hex digits>" CHECK (digest ~ '^sha256:[0-9a-f]{64}$'),
    CONSTRAINT "bytes is not negative" CHECK (bytes >= 0),
    CONSTRAINT "logged_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(logged_at))
);

CREATE INDEX client_artifacts_digest ON client_artifacts (digest);

CREATE TABLE registered_models (
    name         text COLLATE "C" NOT NULL PRIMARY KEY,
    description  text COLLATE "C",
    last_version bigint NOT NULL, -- the highest that was ever given
    created_at   text COLLATE "C" NOT NULL,
    updated_at   text COLLATE "C" NOT NULL,
    CONSTRAINT "name is not empty" CHECK (name <> ''),
    CONSTRAINT "last_version is not negative" CHECK (last_version >= 0),
    CONSTRAINT "created_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(created_at)),
    CONSTRAINT "updated_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(updated_at))
);

CREATE TABLE registered_model_tags (
    model text COLLATE "C" NOT NULL REFERENCES registered_models (name) ON DELETE CASCADE ON UPDATE CASCADE,
    name  text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    PRIMARY KEY (model, name)
);

CREATE TABLE registered_model_aliases (
    model   text COLLATE "C" NOT NULL REFERENCES registered_models (name) ON DELETE CASCADE ON UPDATE CASCADE,
    alias   text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (model, alias)
);

CREATE TABLE model_versions (
    model          text COLLATE "C" NOT NULL REFERENCES registered_models (name) ON DELETE CASCADE ON UPDATE CASCADE,
    version        bigint NOT NULL,
    description    text COLLATE "C",
    stage          text COLLATE "C" NOT NULL,
    source         text COLLATE "C" NOT NULL, -- never followed
    location       text COLLATE "C" NOT NULL, -- of its files, which a client is told; never followed
    run_id         text COLLATE "C",
    run_link       text COLLATE "C",
    model_id       text COLLATE "C",
    status         text COLLATE "C" NOT NULL,
    status_message text COLLATE "C",
    created_at     text COLLATE "C" NOT NULL,
    updated_at     text COLLATE "C" NOT NULL,
    PRIMARY KEY (model, version),
    CONSTRAINT "version is positive" CHECK (version > 0),
    CONSTRAINT "stage is not empty" CHECK (stage <> ''),
    CONSTRAINT "created_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(created_at)),
    CONSTRAINT "updated_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(updated_at))
);

CREATE INDEX model_versions_run ON model_versions (run_id) WHERE run_id IS NOT NULL;

CREATE TABLE model_version_tags (
    model   text COLLATE "C" NOT NULL REFERENCES registered_models (name) ON DELETE CASCADE ON UPDATE CASCADE,
    version bigint NOT NULL,
    name    text COLLATE "C" NOT NULL,
    value   text COLLATE "C" NOT NULL,
    PRIMARY KEY (model, version, name)
);

-- The tokens with which a server lets clients in: their digests, never themselves.
CREATE TABLE tokens (
    digest       text COLLATE "C" NOT NULL PRIMARY KEY,
    name         text COLLATE "C" NOT NULL,
    scope        text COLLATE "C" NOT NULL,
    created_at   text COLLATE "C" NOT NULL,
    expires_at   text COLLATE "C",
    last_used_at text COLLATE "C",
    revoked_at   text COLLATE "C",
    CONSTRAINT "digest has the form sha256:<64 hex digits>" CHECK (digest ~ '^sha256:[0-9a-f]{64}$'),
    CONSTRAINT "name is 1 to 64 bytes long" CHECK (octet_length(name) BETWEEN 1 AND 64),
    CONSTRAINT "scope is read or write" CHECK (scope IN ('read', 'write')),
    CONSTRAINT "created_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(created_at)),
    CONSTRAINT "expires_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(expires_at)),
    CONSTRAINT "last_used_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(last_used_at)),
    CONSTRAINT "revoked_at has the form 2026-01-15T09:30:00.000000Z" CHECK (has_form_of_instant(revoked_at))
);

-- The processes that have runs open, as those of other machines see it: who has not
-- renewed its lease by expires_at, by this server's clock, is taken for dead. A
-- process whose lease is gone writes nothing any more: each of its transactions begins
-- by locking its row here, with its token.
CREATE TABLE leases (
    name       text COLLATE "C" NOT NULL PRIMARY KEY,
    token      bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    role       text COLLATE "C" NOT NULL DEFAULT session_user,
    host       text COLLATE "C" NOT NULL,
    machine_id text COLLATE "C" NOT NULL,
    boot_id    text COLLATE "C" NOT NULL,
    pid        bigint NOT NULL,
    lasts      interval NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT "name is not empty" CHECK (name <> '')
);

CREATE INDEX run_process_live_lock ON run_process (live_lock) WHERE exit_code IS NULL AND facts IS NULL AND live_lock IS NOT NULL;

-- Who started a run: the role that logged in, whatever the program says.
CREATE TABLE run_roles (
    run_id text COLLATE "C" NOT NULL PRIMARY KEY REFERENCES runs (run_id) ON DELETE CASCADE,
    role   text COLLATE "C" NOT NULL
);

CREATE FUNCTION note_role() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO quant.run_roles (run_id, role) VALUES (NEW.run_id, session_user);
    RETURN NULL;
END $$;

CREATE TRIGGER runs_note_role AFTER INSERT ON runs FOR EACH ROW EXECUTE FUNCTION note_role();

-- What an ended run says is its own role's, and the owner's of the tables.
CREATE FUNCTION is_others(id text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT o.role FROM quant.runs r JOIN quant.run_roles o ON o.run_id = r.run_id
    WHERE r.run_id = id AND r.status <> 'RUNNING' AND o.role <> session_user
    AND NOT pg_has_role(session_user, (SELECT relowner FROM pg_catalog.pg_class WHERE oid = 'quant.runs'::regclass), 'MEMBER')
$$;

CREATE FUNCTION keep_others() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    run text;
    other text;
BEGIN
    FOR run IN SELECT DISTINCT run_id FROM changed LOOP
        other := quant.is_others(run);
        IF other IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('run %s has ended and belongs to the role %s', run, other);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

CREATE FUNCTION keep_others_run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    other text := quant.is_others(OLD.run_id);
BEGIN
    IF other IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = format('run %s has ended and belongs to the role %s', OLD.run_id, other);
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER runs_keep_others BEFORE UPDATE ON runs FOR EACH ROW WHEN (OLD.status <> 'RUNNING') EXECUTE FUNCTION keep_others_run();

CREATE TRIGGER run_io_keep_others_new AFTER INSERT ON run_io REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_io_keep_others_now AFTER UPDATE ON run_io REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_io_keep_others_old AFTER DELETE ON run_io REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_params_keep_others_new AFTER INSERT ON run_params REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_params_keep_others_now AFTER UPDATE ON run_params REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_params_keep_others_old AFTER DELETE ON run_params REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_tags_keep_others_new AFTER INSERT ON run_tags REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_tags_keep_others_now AFTER UPDATE ON run_tags REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_tags_keep_others_old AFTER DELETE ON run_tags REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_metrics_keep_others_new AFTER INSERT ON run_metrics REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_metrics_keep_others_now AFTER UPDATE ON run_metrics REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_metrics_keep_others_old AFTER DELETE ON run_metrics REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_metric_points_keep_others_new AFTER INSERT ON run_metric_points REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_metric_points_keep_others_now AFTER UPDATE ON run_metric_points REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_metric_points_keep_others_old AFTER DELETE ON run_metric_points REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_notes_keep_others_new AFTER INSERT ON run_notes REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_notes_keep_others_now AFTER UPDATE ON run_notes REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_notes_keep_others_old AFTER DELETE ON run_notes REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_artifacts_keep_others_new AFTER INSERT ON run_artifacts REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_artifacts_keep_others_now AFTER UPDATE ON run_artifacts REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_artifacts_keep_others_old AFTER DELETE ON run_artifacts REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_programs_keep_others_new AFTER INSERT ON run_programs REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_programs_keep_others_now AFTER UPDATE ON run_programs REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_programs_keep_others_old AFTER DELETE ON run_programs REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_deletions_keep_others_new AFTER INSERT ON run_deletions REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_deletions_keep_others_now AFTER UPDATE ON run_deletions REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
CREATE TRIGGER run_deletions_keep_others_old AFTER DELETE ON run_deletions REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION keep_others();
